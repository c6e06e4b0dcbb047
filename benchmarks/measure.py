"""Timing in alternation, memory in fresh processes, and what both print and write."""

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

from neural_similarity.training.environment import environment, peak_memory_bytes


def parser(about, name, rounds=None):
    """The options that every benchmark has, and `--rounds` where calls are timed."""
    found = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about, allow_abbrev=False)
    if rounds:
        found.add_argument("--rounds", type=int, default=rounds, help="timed calls of each form (default: %(default)s)")
    found.add_argument("--batch-size", type=int, default=128, help="images a batch (default: %(default)s)")
    found.add_argument("--json", type=Path, metavar="FILE.jsonl", help="append the measurement to this file")
    return found


def alternate(forms, rounds, warm_up=2):
    """Seconds of every call of `forms`, `{name: function()}`, one call each in turn, so that all see the same machine.

    The first `warm_up` calls of each are not counted: they trace, compile and allocate. A function returns when its
    work is done.
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
    """Median, least and most of a list of times."""
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "n": len(seconds)}


def added_memory_bytes(prepare, *arguments):
    """The peak memory of `prepare(*arguments)()` in a process of its own, beyond what it held before the call.

    `prepare` imports, makes the data and returns the work. Returns None where the process was killed, as one is that
    needs more memory than there is.
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
    """What the process holds now; on a GPU, and where that cannot be told, the most it has held."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["current"]
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_memory_bytes()


def report(name, columns, rows, options):
    """Prints `rows`, a list of dicts, as a table of `columns`, and appends them to `options.json`, where given.

    Args:
        name: of the benchmark.
        columns: `{title: function(row) → text}`.
        rows: what was measured; what JSON can hold.
        options: of `parser`.
    """
    print(table(columns, rows), flush=True)
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key != "json"}
        finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"benchmark": name, "finished": finished, **settings, "environment": environment(), "rows": rows}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        with options.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{options.json}: one line more", file=sys.stderr)


def table(columns, rows):
    """Markdown."""
    cells = [list(columns), ["---", *["---:"] * (len(columns) - 1)]]
    cells += [[text(row) for text in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def milliseconds(row):
    """The median of a row, and its spread."""
    return f"{1e3 * row['median_s']:.1f} ({1e3 * row['min_s']:.1f}–{1e3 * row['max_s']:.1f})"


def ratio(key):
    """A column that shows a ratio of the row, or nothing where there is none."""
    return lambda row: "" if row.get(key) is None else f"{row[key]:.2f}"
