"""Prints a `summary.Table` as CSV, LaTeX or HTML; `markdown` prints it as Markdown."""

import csv
import io

from neural_similarity.reporting.html import fragment
from neural_similarity.reporting.markdown import as_markdown
from neural_similarity.reporting.summary import Difference, Name, Spread, Table, number_text

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"${c}$" for c in "<>|"},
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
}


def as_csv(table: Table) -> str:
    """A `Table` as CSV with plain numbers, for programs. Title and notes are left out.

    A column of means also gives a column of standard deviations, "NAME, std". A column of differences also gives
    "NAME, interval95" and "NAME, n". What is not known is empty.
    """
    heads, columns = [], []
    for column in table.columns:
        kinds = {type(cell) for cell in column.cells}
        if Spread in kinds:
            parts = {column.name: "mean", f"{column.name}, std": "std"}
        elif Difference in kinds:
            parts = {column.name: "mean", f"{column.name}, interval95": "interval", f"{column.name}, n": "n"}
        else:
            heads.append(column.name)
            columns.append(["" if cell is None else _for_programs(cell) for cell in column.cells])
            continue
        for head, part in parts.items():
            heads.append(head)
            columns.append(["" if cell is None else getattr(cell, part) for cell in column.cells])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([heads, *zip(*columns, strict=True)])
    return out.getvalue().rstrip("\n")


def _for_programs(cell):
    return cell if isinstance(cell, int | float) else text_of(cell, None)


def as_latex(table: Table) -> str:
    """A `Table` as a LaTeX `tabular`, which needs `\\usepackage{booktabs}`; the notes are comments below it."""
    alignment = "".join("l" if column.form is None else "r" for column in table.columns)
    forms = [column.form for column in table.columns]
    rows = [[text_of(cell, form) for cell, form in zip(row, forms, strict=True)] for row in table.rows()]

    def line(cells):
        text = " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"
        return f"{{}}{text}" if text.startswith(("[", "*")) else text  # else an argument of the `\\` before it

    body = [line([column.name for column in table.columns]), r"\midrule", *map(line, rows)]
    comments = [" ".join(f"% {text}".split()) for text in (table.title, *table.notes)]
    return "\n".join(
        [
            comments[0],
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *comments[1:],
        ]
    )


def as_html(table: Table) -> str:
    """A `Table` as an HTML `<table>` with its title and notes; every text in it is escaped."""
    return fragment("table.html", table=table, text_of=text_of)


def text_of(cell, form: str | None) -> str:
    """A cell as plain text in one line."""
    if cell is None:
        return "–"
    if isinstance(cell, Name):
        changes = f" with {', '.join(cell.changes)}" if cell.changes else ""
        cell = cell.config + changes + (f" ({cell.config_hash})" if cell.config_hash else "")
    return " ".join(cell.split()) if isinstance(cell, str) else number_text(cell, form)


FORMATS = {"markdown": as_markdown, "csv": as_csv, "latex": as_latex, "html": as_html}
