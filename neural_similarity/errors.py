"""Mistakes of the user's, told in words instead of a traceback."""

import difflib


class UserError(Exception):
    """A mistake that its reader can repair: the message says what, where, what was expected and what to do next.

    Every `main` prints it to stderr without a traceback and exits with code 2.
    """


def nearest(name, known):
    """Returns " Did you mean `x`?" for the name in `known` that looks most like `name`, or "" if none does."""
    close = difflib.get_close_matches(str(name)[:200], list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
