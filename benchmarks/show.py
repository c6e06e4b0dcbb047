"""Prints the tables of recorded measurements.

python -m benchmarks.show results/benchmarks/train_step.jsonl [--number 2 | --column "× equal work" | --summary]
"""

import argparse

from benchmarks import (
    attention,
    bregman,
    episode,
    export,
    faithfulness,
    filters,
    first_prediction,
    glyphs,
    inference,
    input_pipeline,
    layers,
    measure,
    memory,
    meta_batch,
    pieces,
    plug_in,
    profile,
    released_start,
    reranking,
    scaling,
    streaming,
    structural_step,
    train_step,
)
from neural_similarity.data.places import typed_path

MODULES = {
    module.__name__.split(".")[1]: module
    for module in (
        *(attention, bregman, episode, export, faithfulness, first_prediction, glyphs, inference, input_pipeline),
        *(filters, layers, memory, meta_batch, pieces, plug_in, profile, released_start, reranking, scaling),
        *(streaming, structural_step, train_step),
    )
}


def table(line):
    """The Markdown table of one measurement."""
    return measure.table(MODULES[line["benchmark"]].COLUMNS, line["rows"])


def place(line):
    """When, on which device and with which versions a measurement was made."""
    environment = line["environment"]
    where = f"{environment['device']}, TensorFlow {environment['tensorflow']}, commit {environment['commit']}"
    return f"{line['finished']}, {where}"


def one_column(lines, title):
    """The Markdown table of one column over all measurements; rows without a value in it are left out."""
    columns = MODULES[lines[0]["benchmark"]].COLUMNS
    first, second = list(columns)[:2]
    found = []
    for line in lines:
        found.append({(columns[first](row), columns[second](row)): columns[title](row) for row in line["rows"]})
    keys = [key for key in found[0] if any(one.get(key) for one in found)]
    shown = {first: lambda key: key[0], second: lambda key: key[1]}
    for number, one in enumerate(found, start=1):
        shown[f"{title}, {number}"] = lambda key, one=one: one.get(key, "")
    return measure.table(shown, keys)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.show", description=measure.first_line(__doc__))
    parser.add_argument("files", nargs="+", type=typed_path, metavar="FILE.jsonl")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--number", type=int, metavar="N", help="the Nth measurement alone, counted from 1")
    what.add_argument("--column", metavar="TITLE", help="this column alone, of all measurements")
    what.add_argument(
        "--summary", action="store_true", help="one table of all measurements, for benchmarks that have one"
    )
    options = parser.parse_args(arguments)
    for file in options.files:
        lines = measure.recorded(file) if file.is_file() else parser.error(f"{file}: no such file")
        module = MODULES[lines[0]["benchmark"]]
        columns = module.COLUMNS
        if options.column is not None and options.column not in columns:
            parser.error(f"--column {options.column}: {file} has {', '.join(columns)}")
        if options.number is not None and not 1 <= options.number <= len(lines):
            parser.error(f"--number {options.number}: {file} has {len(lines)} measurements")
        if options.summary and not hasattr(module, "summary"):
            parser.error(f"--summary: {file} holds no measurements of train_step, profile or released_start")
        if options.column:
            print(one_column(lines, options.column))
        elif options.summary:
            print(module.summary(lines))
        elif options.number:
            print(table(lines[options.number - 1]))
        else:
            for line in lines:
                print(f"{place(line)}\n\n{table(line)}\n")


if __name__ == "__main__":
    main()
