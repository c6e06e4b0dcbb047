"""How a training is asked to stop, by a signal."""

import signal


class StopAsked:
    """Notes that SIGINT (Ctrl-C) or SIGTERM came, instead of stopping at once.

    `with StopAsked() as stop_asked:` gives a function that says whether one came. The first signal of a kind puts that
    kind's earlier handler back, so a second Ctrl-C stops at once, as Python does by itself.
    """

    def __enter__(self):
        """Begins to take note; returns the function."""
        self.asked = False
        self.before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self.asked

    def _note(self, number, frame):
        self.asked = True
        signal.signal(number, self.before[number])

    def __exit__(self, *error):
        """Puts the handlers back that were there before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
