"""Prints the tables of recorded measurements again.

python -m benchmarks.show results/benchmarks/train_step.jsonl
"""

import argparse
import json
from pathlib import Path

from benchmarks import inference, input_pipeline, layers, measure, memory, train_step

COLUMNS = {
    module.__name__.split(".")[1]: module.COLUMNS for module in (inference, input_pipeline, layers, memory, train_step)
}


def tables(file):
    """(when, on what, Markdown) of every line of a file that a benchmark's `--json` has written."""
    for line in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        environment = found["environment"]
        place = f"{environment['device']}, TensorFlow {environment['tensorflow']}, commit {environment['commit']}"
        yield found["finished"], place, measure.table(COLUMNS[found["benchmark"]], found["rows"])


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.show", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    for file in parser.parse_args(arguments).files:
        for finished, place, table in tables(file):
            print(f"{finished}, {place}\n\n{table}\n")


if __name__ == "__main__":
    main()
