"""Writes the README's tables anew from the lines of `results/*.jsonl`: a row is a mean over seeds.

python -m neural_similarity tables [--check]
"""

import statistics
import sys
from pathlib import Path
from typing import Annotated

import pydantic
import yaml

from neural_similarity.config import REPOSITORY
from neural_similarity.config.paths import CONFIGS
from neural_similarity.config.schema import NOT_OF_A_RECIPE
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import shown, write_atomically
from neural_similarity.reporting.record import RESULTS, read

README = REPOSITORY / "README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

GROUPED_BY = ("config", "recipe", "config_hash", "scale", "precision", "device")
_RECIPES = ("ours", "released", "custom")  # in the order of the rows

_Percent = Annotated[float, pydantic.Field(strict=True, ge=0, le=100)]
_PaperValues = pydantic.TypeAdapter(dict[str, _Percent])


def group(results):
    """Puts together what differs in nothing but the seed.

    Args:
        results: `Result`s; of several with one seed the last that finished counts.

    Returns:
        Lists of `Result`s, one per seed and in the order of the seeds. Rows that can be compared, with equal recipe,
        scale, precision and device, follow each other.
    """
    groups = {}
    for result in sorted(results, key=lambda result: result.finished):
        groups.setdefault(tuple(getattr(result, name) for name in GROUPED_BY), {})[result.seed] = result
    rows = [[seeds[seed] for seed in sorted(seeds)] for seeds in groups.values()]

    def place(row):
        first = row[0]
        return (
            *(_RECIPES.index(first.recipe), -first.scale, first.precision, first.device),
            *(first.config, _newest(row).overrides, first.config_hash),
        )

    return sorted(rows, key=place)


def mean_and_std(fractions):
    """Fractions → percent, `"93.10 ± 0.24"`: the mean and, from two values on, the sample standard deviation."""
    percent = [100 * fraction for fraction in fractions]
    spread = f" ± {statistics.stdev(percent):.2f}" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.2f}{spread}"


def table(results, paper_values):
    """One Markdown table of `Result`s.

    Args:
        results: the lines of one set.
        paper_values: {config: test accuracy in percent} of the published numbers that somebody has looked up.
    """
    rows = group(results)
    selected = any(result.selected_test_accuracy is not None for result in results)
    hashes = {}  # what a row is called → the recipes of that name
    for row in rows:
        hashes.setdefault(_name(row), set()).add(row[0].config_hash)
    columns = {
        "config": [_name(row) + (f" ({row[0].config_hash})" if len(hashes[_name(row)]) > 1 else "") for row in rows],
        "recipe": [row[0].recipe for row in rows],
        "paper": [_paper(paper_values.get(row[0].config)) for row in rows],
        "test accuracy, %": [mean_and_std([r.final_test_accuracy for r in row]) for row in rows],
    }
    if selected:
        columns["selected test accuracy, %"] = [_selected(row) for row in rows]
    columns |= {
        "n": [str(len(row)) for row in rows],
        "steps": [f"{row[0].steps:,}" for row in rows],
        "scale": [f"{row[0].scale:g}" for row in rows],
        "precision": [row[0].precision for row in rows],
        "parameters": [f"{row[0].parameters:,}" for row in rows],
        "s/step": [f"{statistics.fmean(r.seconds_per_step for r in row):.3g}" for row in rows],
        "peak GB": [f"{max(r.peak_memory_bytes for r in row) / 1e9:.2f}" for row in rows],
        "device": [_escaped(row[0].device) for row in rows],
    }
    words = ("config", "recipe", "precision", "device")
    lines = [columns, ["---" if name in words else "---:" for name in columns], *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(results=RESULTS):
    """The Markdown of all sets, one table each; links start at the repository's root.

    Args:
        results: folder of the `.jsonl` files and of `paper_values.yaml`.
    """
    paper_values = read_paper_values(Path(results) / "paper_values.yaml")
    sets = {path.name: read(path) for path in sorted(Path(results).glob("*.jsonl"))}
    parts = [
        f"**{name.removesuffix('.jsonl')}**, from [its lines](results/{name}) "
        f"([what the columns mean](docs/results.md#a-table))\n\n{table(lines, paper_values)}"
        for name, lines in sets.items()
        if lines
    ]
    return "\n\n".join(parts or ["No finished run is recorded yet."])


def read_paper_values(path):
    """{config: percent} of `paper_values.yaml`; {} where there is no such file.

    Raises:
        UserError: something else than percentages, or a config that is not shipped.
    """
    if not path.exists():
        return {}
    try:
        values = _PaperValues.validate_python(yaml.safe_load(path.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError, pydantic.ValidationError):
        raise UserError(
            f"{shown(path)}: expected `config: test accuracy in percent` on each line, as `cifar10/static_dns: 12.34`, "
            "or `{}` for none."
        ) from None
    known = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in sorted(CONFIGS.rglob("*.yaml"))]
    for name in values:
        if name not in known:
            raise UserError(f"{shown(path)}: `{name}` is no config under configs/.{nearest(name, known)}")
    return values


def put_between_markers(document, text, place):
    """Returns `document` with `text` in the place of what stands between the two markers.

    Raises:
        UserError: the markers are not there once each, in their order; `place` names the document.
    """
    if (document.count(BEGIN), document.count(END)) != (1, 1) or document.index(BEGIN) > document.index(END):
        raise UserError(f"{place}: the tables go between a line `{BEGIN}` and a line `{END}`. Put each in once.")
    before, after = document.split(BEGIN)[0], document.split(END)[1]
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _name(row):
    """The config and, for a custom recipe, what was set otherwise."""
    first = row[0]
    name = _code(first.config)
    changed = {text.partition("=")[0].strip(): text for text in _newest(row).overrides}  # of two for one key the last
    left_out = set(NOT_OF_A_RECIPE) - ({"data.root"} if first.data == "folder" else set())
    told = [text for key, text in changed.items() if not {key, key.partition(".")[0]} & left_out]
    return f"{name} with {', '.join(map(_code, told))}" if first.recipe == "custom" and told else name


def _newest(row):
    return max(row, key=lambda result: result.finished)


def _paper(value):
    return "unverified" if value is None else f"{value:g}"


def _selected(row):
    found = [result.selected_test_accuracy for result in row if result.selected_test_accuracy is not None]
    return mean_and_std(found) if found else "–"


def _code(text):
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{_escaped(text)}{ticks}"


def _escaped(text):
    """Text for one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def write(readme=README, results=RESULTS, check=False):
    """Prints the tables and puts them between the markers of the README.

    Args:
        readme: the file with the markers.
        results: folder of the `.jsonl` files.
        check: writes nothing.

    Returns:
        The exit code: 1 if `check` found other tables in the README, else 0.

    Raises:
        UserError: a line is damaged, or the README cannot be read or lacks the markers.
    """
    text = tables(results)
    print(text)
    try:
        before = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{shown(readme)}: cannot be read ({error.strerror}).") from None
    after = put_between_markers(before, text, shown(readme))
    if check and after != before:
        print(f"{shown(readme)}: its tables are not those of {shown(results)}. Run: make tables", file=sys.stderr)
        return 1
    if after != before:
        write_atomically(readme, after)
    return 0
