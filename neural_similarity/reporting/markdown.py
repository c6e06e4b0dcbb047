"""Prints a `summary.Table` as Markdown, and puts it into a document."""

import re
import urllib.parse

from neural_similarity.errors import UserError
from neural_similarity.reporting.summary import Markdown, Name, Table, number_text


def as_markdown(table: Table, root: str = "") -> str:
    """A `Table` as the text of a Markdown table: words are aligned to the left, numbers to the right.

    Args:
        table: the `Table`. Its title is left to the document; its notes become a list below it.
        root: the way from the document to the repository's root, for links: "../" from docs/.
    """
    head = [_escaped(column.name) for column in table.columns]
    rule = ["---" if column.form is None else "---:" for column in table.columns]
    body = [
        [_cell(cell, column.form, root) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows()
    ]
    lines = [f"| {' | '.join(line)} |" for line in (head, rule, *body)]
    notes = ["", *(f"- {_escaped(note)}" for note in table.notes)] if table.notes else []
    return "\n".join([*lines, *notes])


def put_between_markers(document: str, name: str, text: str, place: str) -> str:
    """Replaces what stands between two markers in a document; returns the new document.

    Args:
        document: a text with a line `<!-- NAME:begin -->`, and below it a line `<!-- NAME:end -->`.
        name: of the markers.
        text: what to put between them.
        place: what a message calls the document, its path.

    Raises:
        UserError: a marker is missing or there twice, or the end stands before the beginning.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if (document.count(begin), document.count(end)) != (1, 1) or document.index(begin) > document.index(end):
        raise UserError(f"{place}: a table goes between a line `{begin}` and a line `{end}`. Put each in once.")
    before, after = document.split(begin)[0], document.split(end)[1]
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _cell(cell, form, root):
    """A cell as Markdown. `form` is how its column writes numbers; `root` leads to the repository's root."""
    if cell is None:
        return "–"
    if isinstance(cell, Name):
        changes = f" with {', '.join(map(_code, cell.changes))}" if cell.changes else ""
        config = _code(cell.config)
        if cell.file:
            config = f"[{config}]({root}{urllib.parse.quote(cell.file)})"
        return config + changes + (f" ({cell.config_hash})" if cell.config_hash else "")
    return _escaped(cell) if isinstance(cell, str) else number_text(cell, form)


def _code(text):
    """The text as code: between backticks, one more than ever follow each other in the text.

    A text that looks like HTML is put into HTML, where it can be escaped: a `<!-- results:end -->` between backticks
    would count as a marker of the document.
    """
    if "<" in text:
        return f"<code>{_escaped(text)}</code>"
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""  # which Markdown takes away again
    return f"{ticks}{space}{_in_a_cell(text)}{space}{ticks}"


def _escaped(text):
    """The text as Markdown that shows just that text: no HTML, no emphasis, no links, no code."""
    if isinstance(text, Markdown):
        return _in_a_cell(text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return _in_a_cell(re.sub(r"([\\`*\[\]~]|\b_|_\b)", r"\\\1", text))


def _in_a_cell(text):
    """The text with nothing in it that would end a cell (`|`) or a row (a line end)."""
    return " ".join(text.split()).replace("|", "\\|")
