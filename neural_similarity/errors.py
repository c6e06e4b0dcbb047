"""What ends a command early: a mistake of the user's, or the wish to stop."""

import difflib
import functools

_mistakes = set()  # the messages of `UserError`s that `remembered` has seen


class UserError(Exception):
    """A mistake that its reader can repair: the message says what, where, what was expected and what to do next.

    `command.guarded` prints the message to the standard error, without a traceback, and the command exits with 2.
    """


class Interrupted(Exception):
    """Somebody asked a training to stop, and everything up to `step` is saved. `advice` says how to go on."""

    def __init__(self, step, advice=""):
        super().__init__(step)
        self.step = step
        self.advice = advice


def nearest(name, known):
    """Returns " Did you mean `x`?" for the name in `known` that looks most like `name`, or "" if none does."""
    close = difflib.get_close_matches(str(name)[:200], list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def remembered(function):
    """Wraps a function that a library calls, so that `mistake_in` finds a `UserError` that the function raises.

    TensorFlow makes an error of its own from whatever a Python function raises in `tf.data`, with a traceback in its
    text. Who gets that error can then tell the mistake instead.
    """

    @functools.wraps(function)
    def call(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            _mistakes.add(str(error))
            raise

    return call


def mistake_in(error):
    """The remembered message that stands in the text of a library's exception; None if there is none."""
    text = str(error)
    return max((message for message in tuple(_mistakes) if message in text), key=len, default=None)
