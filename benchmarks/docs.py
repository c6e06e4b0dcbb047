"""Writes the tables in the docs anew, each behind a comment with the command that prints it.

python -m benchmarks.docs
"""

import contextlib
import io
import re
import shlex

from benchmarks import show
from neural_similarity.config import REPOSITORY

DOCS = ("README.md", "docs/performance.md")
_TABLE = re.compile(r"<!-- benchmarks\.show (.+?) -->\n\n((?:\|.*\n)*)")


def printed(command):
    """What `python -m benchmarks.show` prints for the arguments in a comment."""
    arguments = [REPOSITORY / word if word.endswith(".jsonl") else word for word in shlex.split(command)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show.main(list(map(str, arguments)))
    return out.getvalue()


def tables(document):
    """(command, table as it stands) of every comment in a document."""
    return _TABLE.findall((REPOSITORY / document).read_text(encoding="utf-8"))


def write(document):
    """Puts the tables of now into a document."""
    path = REPOSITORY / document
    text = path.read_text(encoding="utf-8")

    def renewed(found):
        rest = "" if found[2] else "\n"
        return f"<!-- benchmarks.show {found[1]} -->\n\n{printed(found[1])}{rest}"

    path.write_text(_TABLE.sub(renewed, text), encoding="utf-8")


def main():
    """The command line."""
    for document in DOCS:
        write(document)


if __name__ == "__main__":
    main()
