"""Prints the tables of recorded measurements.

python -m benchmarks.show results/benchmarks/train_step.jsonl [--number 2 | --column "× equal work" | --summary]
"""

import argparse
import json
import statistics

from benchmarks import attention, inference, input_pipeline, layers, measure, memory, meta_batch, train_step
from neural_similarity.data.places import typed_path

COLUMNS = {
    module.__name__.split(".")[1]: module.COLUMNS
    for module in (attention, inference, input_pipeline, layers, memory, meta_batch, train_step)
}
SUMMARY = {
    "released, float32": ("released", "float32"),
    "ours, float32": ("ours", "float32"),
    "ours, bfloat16": ("ours", "mixed_bfloat16"),
    "equal work, float32": ("equal_work", "float32"),
}


def measurements(file):
    """The measurements in a file that a benchmark's `--json` has written: a dict for each line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(line):
    """The Markdown table of one measurement."""
    return measure.table(COLUMNS[line["benchmark"]], line["rows"])


def place(line):
    """When, on which device and with which versions a measurement was made."""
    environment = line["environment"]
    where = f"{environment['device']}, TensorFlow {environment['tensorflow']}, commit {environment['commit']}"
    return f"{line['finished']}, {where}"


def one_column(lines, title):
    """The Markdown table of one column over all measurements; rows without a value in it are left out."""
    columns = COLUMNS[lines[0]["benchmark"]]
    first, second = list(columns)[:2]
    found = []
    for line in lines:
        found.append({(columns[first](row), columns[second](row)): columns[title](row) for row in line["rows"]})
    keys = [key for key in found[0] if any(one.get(key) for one in found)]
    shown = {first: lambda key: key[0], second: lambda key: key[1]}
    for number, one in enumerate(found, start=1):
        shown[f"{title}, {number}"] = lambda key, one=one: one.get(key, "")
    return measure.table(shown, keys)


def summary(lines):
    """The Markdown table of all measurements of `train_step`: ms per step, for each network in each form.

    A cell is the median of the measurements' medians.
    """
    times = {}
    for line in lines:
        for row in line["rows"]:
            times.setdefault((row["network"], row["kind"], row["precision"]), []).append(row["median_s"])

    def cell(form):
        def median(network):
            found = times.get((network, *form))
            return f"{1e3 * statistics.median(found):,.0f}" if found else ""

        return median

    networks = list(dict.fromkeys(network for network, *_ in times))
    return measure.table({"ms a step": str, **{title: cell(form) for title, form in SUMMARY.items()}}, networks)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.show", description=measure.first_line(__doc__))
    parser.add_argument("files", nargs="+", type=typed_path, metavar="FILE.jsonl")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--number", type=int, metavar="N", help="the Nth measurement alone, counted from 1")
    what.add_argument("--column", metavar="TITLE", help="this column alone, of all measurements")
    what.add_argument("--summary", action="store_true", help="of train_step: ms per step for each network and form")
    options = parser.parse_args(arguments)
    for file in options.files:
        lines = measurements(file) if file.is_file() else parser.error(f"{file}: no such file")
        columns = COLUMNS[lines[0]["benchmark"]]
        if options.column is not None and options.column not in columns:
            parser.error(f"--column {options.column}: {file} has {', '.join(columns)}")
        if options.number is not None and not 1 <= options.number <= len(lines):
            parser.error(f"--number {options.number}: {file} has {len(lines)} measurements")
        if options.summary and columns is not train_step.COLUMNS:
            parser.error(f"--summary: {file} holds no measurements of train_step")
        if options.column:
            print(one_column(lines, options.column))
        elif options.summary:
            print(summary(lines))
        elif options.number:
            print(table(lines[options.number - 1]))
        else:
            for line in lines:
                print(f"{place(line)}\n\n{table(line)}\n")


if __name__ == "__main__":
    main()
