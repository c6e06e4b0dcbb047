"""What the benchmarks share: they call forms in turn to time them, and run them in fresh processes for their memory."""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime, timezone
from pathlib import Path

import tensorflow as tf

from neural_similarity.data.places import typed_path
from neural_similarity.training.environment import environment, peak_memory_bytes


def first_line(doc):
    """The first line of a docstring; "" where there is none, as under `python -OO`."""
    return (doc or "").split("\n")[0]


def parser(about, name, rounds=None, memory=False, batches=True):
    """The command line that the benchmarks share.

    Args:
        about: one sentence for `--help`.
        name: of the module.
        rounds: default of `--rounds`; None for a benchmark that times nothing, which has no such option.
        memory: whether there is `--no-memory`, for a benchmark that also calls `added_memory_bytes`.
        batches: whether there is `--batch-size`.
    """
    shared = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about, allow_abbrev=False)
    if rounds:
        shared.add_argument(
            "--rounds", type=int, default=rounds, help="timed calls of each form (default: %(default)s)"
        )
    if batches:
        shared.add_argument("--batch-size", type=int, default=128, help="images per batch (default: %(default)s)")
    if memory:
        about_memory = "leave out the fresh processes that measure memory"
        shared.add_argument("--no-memory", action="store_true", help=about_memory)
    shared.add_argument("--json", type=typed_path, metavar="FILE.jsonl", help="append the measurement to this file")
    return shared


def alternate(forms, rounds, warm_up=2):
    """Times several functions by calling them in turn: a, b, c, a, b, c, …

    Other work on the machine thus slows all of them down alike.

    Args:
        forms: `{name: function}`; a function has no arguments and returns when its work is done.
        rounds: timed calls of each function.
        warm_up: calls of each function before those; they trace, compile and allocate.

    Returns:
        `{name: [seconds of each timed call]}`.
    """
    for function in forms.values():
        for _ in range(warm_up):
            function()
    seconds = {name: [] for name in forms}
    for _ in range(rounds):
        for name, function in forms.items():
            begun = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def summary(seconds):
    """Median, minimum and maximum of a list of times, and their number."""
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "n": len(seconds)}


def added_memory_bytes(prepare, *arguments):
    """How much memory a piece of work adds at its peak, measured in a fresh process.

    Args:
        prepare: a function that imports what it needs, makes the data and returns the work, a function without
            arguments. What the process holds when `prepare` returns is not counted.
        *arguments: of `prepare`.

    Returns:
        Bytes; None if the process was killed, which is what happens to one that needs more memory than there is.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as process:
            return process.submit(_added_memory_bytes, prepare, arguments).result()
    except BrokenProcessPool:
        return None


def _added_memory_bytes(prepare, arguments):
    work = prepare(*arguments)
    before = _resident_bytes()
    work()
    return peak_memory_bytes() - before


def _resident_bytes():
    """What the process holds now, on a GPU if there is one; where the system does not tell, the most it has held."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["current"]
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory_bytes()


def report(name, columns, rows, options):
    """Prints a table of a measurement, and with `--json` appends the measurement to a file as one line.

    Args:
        name: of the benchmark.
        columns: `{title: function(row) → text}`.
        rows: what was measured, a list of dicts that JSON can hold.
        options: what the parser made by `parser` has read.
    """
    print(table(columns, rows), flush=True)
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key != "json"}
        finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"benchmark": name, "finished": finished, **settings, "environment": environment(), "rows": rows}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        with options.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{options.json}: appended one line", file=sys.stderr)


def recorded(file):
    """The measurements in a file that `--json` has written, a dict for each line; none if there is no such file."""
    if file is None or not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(columns, rows):
    """A Markdown table with a line for each of `rows`; `columns` as for `report`."""
    cells = [list(columns), ["---", *["---:"] * (len(columns) - 1)]]
    cells += [[text(row) for text in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def milliseconds(row):
    """The median of a row, with minimum and maximum: `6.7 (4.5–7.1)`."""
    return f"{1e3 * row['median_s']:.1f} ({1e3 * row['min_s']:.1f}–{1e3 * row['max_s']:.1f})"


def ratio(key):
    """A column that shows the number under `key` with two decimals, and nothing where a row has none."""
    return lambda row: "" if row.get(key) is None else f"{row[key]:.2f}"
