"""Places things on a figure, and prepares texts for it."""

from neural_similarity.data.streams import printable


class Canvas:
    """Places things on a figure by inches from its left and upper edge."""

    def __init__(self, figure):
        self.figure = figure
        self.width, self.height = figure.get_size_inches()

    def axes(self, x, y, width, height):
        """Axes whose upper left corner is at (x, y)."""
        left, bottom = x / self.width, 1 - (y + height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def text(self, x, y, words, **style):
        """A text whose middle is at height y, and starts at x unless `ha` says otherwise."""
        self.figure.text(x / self.width, 1 - y / self.height, words, **{"va": "center", **style})


def plain(text):
    """A text for matplotlib, which would take what stands between two `$` for a formula; lines stay."""
    return "\n".join(printable(line) for line in text.split("\n")).replace("$", r"\$")
