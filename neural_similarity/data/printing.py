"""What may be printed on a terminal. The standard library alone; see setup.py."""


def printable(text):
    r"""The text with everything in it written out that a terminal would not show as it is.

    Texts from files and servers may hold characters that move the cursor, colour the screen or change its title, and
    file names may hold bytes that are no text. An escape becomes `\x1b`. Line ends stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
