"""Writes the tables of measurements in the documents anew, from what is recorded in results/benchmarks.

In front of each table stands a comment with the arguments of `benchmarks.show` that print it.

python -m benchmarks.docs
"""

import contextlib
import io
import re
import shlex

from benchmarks import show
from neural_similarity.config import REPOSITORY

DOCS = (
    "README.md",
    "docs/deviations.md",
    "docs/export.md",
    "docs/metric_learning.md",
    "docs/performance.md",
    "docs/scaling.md",
)
_TABLE = re.compile(r"<!-- benchmarks\.show (.+?) -->\n\n((?:\|.*\n)*)")


def printed(command):
    """What `python -m benchmarks.show` prints for the arguments that a comment holds."""
    arguments = [REPOSITORY / word if word.endswith(".jsonl") else word for word in shlex.split(command)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show.main(list(map(str, arguments)))
    return out.getvalue()


def tables(document):
    """A (command, table) for every comment in a document: the arguments, and the table that stands there now."""
    return _TABLE.findall((REPOSITORY / document).read_text(encoding="utf-8"))


def write(document):
    """Replaces every table of a document by what its command prints now."""
    path = REPOSITORY / document
    text = path.read_text(encoding="utf-8")

    def renewed(match):
        blank_line = "" if match[2] else "\n"  # only where no table stood there before
        return f"<!-- benchmarks.show {match[1]} -->\n\n{printed(match[1])}{blank_line}"

    path.write_text(_TABLE.sub(renewed, text), encoding="utf-8")


def main():
    """The command line."""
    for document in DOCS:
        write(document)


if __name__ == "__main__":
    main()
