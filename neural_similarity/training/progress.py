"""What a training shows of how far it is."""

import sys

from tqdm import tqdm

from neural_similarity.training.logs import log
from neural_similarity.training.results import percent


class Progress:
    """Shows how far a training is: one line at each evaluation, and on a terminal a bar as well.

    Args:
        total: the last step.
        initial: the step that the training starts from.
        scores: the names of the measures that are shown in percent.
        protocol: how these are measured, in words, or None.
    """

    def __init__(self, total, initial, scores, protocol=None):
        self.scores = scores
        self.protocol = protocol
        hidden = not (sys.stderr and sys.stderr.isatty())
        self.bar = tqdm(total=total, initial=initial, unit="step", disable=hidden, dynamic_ncols=True)

    def __enter__(self):
        """Returns itself; the bar is drawn already."""
        return self

    def __exit__(self, *error):
        """Leaves the bar as it is."""
        self.bar.close()

    def advance(self, step, loss):
        """Moves the bar to `step`, and shows the loss there."""
        self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.bar.update(step - self.bar.n)

    def say(self, step, rows, seconds_left):
        """Logs a line of what the rows of metrics tell about `step`, and of how many seconds are left."""
        last = {row["split"]: row for row in rows[-8:] if row["step"] == step}
        words = [f"step {step:,}/{self.bar.total:,}"]
        numbers = ("loss", "learning_rate", "seconds_per_step")
        words += [f"{name} {last['train'][name]:.4g}" for name in numbers if name in last["train"]]
        for split, row in last.items():
            words += [f"{split} {name} {percent(row, name)}" for name in self.scores if name in row]
        words += [f"({self.protocol})"] if self.protocol else []
        words += [f"{seconds_left / 60:.0f} min left"] if seconds_left else []
        with tqdm.external_write_mode():
            log.info("   ".join(words))
