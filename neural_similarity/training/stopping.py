"""How a training is asked to stop, by a signal."""

import signal
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C; `kill` and batch systems; a closed terminal


class StopAsked:
    """Notes that Ctrl-C, SIGTERM or SIGHUP came, instead of stopping at once.

    `with StopAsked() as stop_asked:` gives a function that says whether one came. A second Ctrl-C stops at once, as
    Python does by itself. The others may come twice for one wish: a shell whose terminal closes passes on a SIGHUP that
    the training gets from the system too.

    A signal that is ignored stays ignored: SIGHUP under `nohup`, Ctrl-C in what a script started with `&`. Outside of
    the main thread Python takes no signals, so that nothing is noted.
    """

    def __enter__(self):
        """Begins to take note; returns the function."""
        self.asked = False
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            now = {number: signal.getsignal(number) for number in _SIGNALS}
            # None: not set from Python, which could not set it again
            self.before = {number: handler for number, handler in now.items() if handler not in (signal.SIG_IGN, None)}
        for number in self.before:
            signal.signal(number, self._note)
        return lambda: self.asked

    def _note(self, number, frame):
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(number, self.before[number])

    def __exit__(self, *error):
        """Puts the handlers back that were there before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
