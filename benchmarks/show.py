"""Prints the tables of recorded measurements again.

python -m benchmarks.show results/benchmarks/train_step.jsonl [--column "× the line"]
"""

import argparse
import json
from pathlib import Path

from benchmarks import attention, inference, input_pipeline, layers, measure, memory, train_step

COLUMNS = {
    module.__name__.split(".")[1]: module.COLUMNS
    for module in (attention, inference, input_pipeline, layers, memory, train_step)
}


def tables(file):
    """(when, on what, Markdown) of every line of a file that a benchmark's `--json` has written."""
    for line in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        environment = found["environment"]
        place = f"{environment['device']}, TensorFlow {environment['tensorflow']}, commit {environment['commit']}"
        yield found["finished"], place, measure.table(COLUMNS[found["benchmark"]], found["rows"])


def ratios(file, title):
    """Markdown of one column over all lines of a file: a row of it by its first two columns, a column a measurement."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    columns = COLUMNS[lines[0]["benchmark"]]
    first, second = list(columns)[:2]
    found = [
        {(columns[first](row), columns[second](row)): columns[title](row) for row in line["rows"]} for line in lines
    ]
    keys = [key for key in dict.fromkeys(key for one in found for key in one) if any(one.get(key) for one in found)]
    shown = {first: lambda key: key[0], second: lambda key: key[1]}
    for number, one in enumerate(found, start=1):
        shown[f"{title}, {number}"] = lambda key, one=one: one.get(key, "")
    return measure.table(shown, keys)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.show", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--column", metavar="TITLE", help="this column alone, over all measurements of a file")
    options = parser.parse_args(arguments)
    for file in options.files:
        if options.column:
            print(ratios(file, options.column))
            continue
        for finished, place, table in tables(file):
            print(f"{finished}, {place}\n\n{table}\n")


if __name__ == "__main__":
    main()
