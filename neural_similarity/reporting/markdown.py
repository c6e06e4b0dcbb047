"""Prints a `summary.Table` as Markdown, and puts texts into documents."""

from neural_similarity.errors import UserError
from neural_similarity.reporting.summary import Name, Spread


def as_markdown(table):
    """The lines of a `Table` in Markdown's form: columns of words to the left, of numbers to the right."""
    head = [_escaped(column.name) for column in table.columns]
    rule = ["---" if column.form is None else "---:" for column in table.columns]
    body = [[_cell(cell, column.form) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def put_between_markers(document, name, text, place):
    """Returns `document` with `text` in the place of what stands between the two markers of that name.

    Raises:
        UserError: the markers are not there once each, in their order; `place` names the document.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if (document.count(begin), document.count(end)) != (1, 1) or document.index(begin) > document.index(end):
        raise UserError(f"{place}: a table goes between a line `{begin}` and a line `{end}`. Put each in once.")
    before, after = document.split(begin)[0], document.split(end)[1]
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _cell(cell, form):
    if cell is None:
        return "–"
    if isinstance(cell, Name):
        changes = f" with {', '.join(map(_code, cell.changes))}" if cell.changes else ""
        return _code(cell.config) + changes + (f" ({cell.config_hash})" if cell.config_hash else "")
    if isinstance(cell, Spread):
        return format(cell.mean, form) + ("" if cell.std is None else f" ± {cell.std:{form}}")
    return _escaped(cell) if isinstance(cell, str) else format(cell, form)


def _code(text):
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{_escaped(text)}{ticks}"


def _escaped(text):
    """Text that neither ends a cell nor a line."""
    return " ".join(text.split()).replace("|", "\\|")
