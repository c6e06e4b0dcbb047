"""The command line of reproduce_tables.py."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from neural_similarity.command import check_clone, guarded
from neural_similarity.data.places import REPOSITORY, typed_path
from neural_similarity.data.streams import Parser, say
from neural_similarity.errors import UserError
from neural_similarity.files import shown, write_atomically

_RESULTS, _RUNS = REPOSITORY / "results", REPOSITORY / "runs"
_SUFFIXES = {"markdown": ".md", "csv": ".csv", "latex": ".tex", "html": ".html"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Lists the tables, trains what a table lacks and prints it, or checks the documents; exits with a code.

    Args:
        arguments: instead of the command line's, for tests.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    sys.exit(guarded(lambda: _main(words), f"Go on: {shlex.join(['python', 'reproduce_tables.py', *words])}"))


def _main(words):
    check_clone(Path.cwd())
    parser = _parser()
    options = parser.parse_args(words)
    _check_options(parser, options)
    if options.check:
        from neural_similarity.reporting import tables

        return tables.write(options.results, check=True)
    if options.table is None:
        for line in listed(options.results):
            say(line)
        return 0
    from neural_similarity.reporting import plans

    plan = plans.load_plan(options.table, options.scale, options.seeds, options.precision)
    return _dry_run(plan, options) if options.dry_run else _reproduce(plan, options)


def _parser():
    parser = Parser(
        prog="python reproduce_tables.py",
        description="Trains the runs that a table lacks, then prints the table. Without options: lists the tables.",
    )
    parser.add_argument("--table", metavar="NAME", help="a table of configs/tables, or the path of a file like those")
    parser.add_argument("--scale", type=_positive, metavar="X", help="schedule.scale of every run")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="seeds of every row")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), help="of every run")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and what it would cost")
    parser.add_argument("--format", choices=_SUFFIXES, default="markdown", help="of the table (default: %(default)s)")
    parser.add_argument("--out", type=typed_path, metavar="FILE", help="for the table (default: in runs/tables)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a table of README or docs is stale")
    parser.add_argument(
        "--runs", type=typed_path, default=_RUNS, metavar="DIR", help="of the run folders (default: runs)"
    )
    parser.add_argument(
        "--results", type=typed_path, default=_RESULTS, metavar="DIR", help="of the result lines (default: results)"
    )
    return parser


def _check_options(parser, options):
    """Refuses options that would be ignored, and folders that are none."""
    given = [name for name in ("scale", "seeds", "precision", "dry_run", "out") if getattr(options, name)]
    if given and options.table is None:
        parser.error(f"--{given[0].replace('_', '-')} goes with --table NAME")
    if options.check and options.table is not None:
        parser.error("--check is about all tables of the documents. Leave out --table")
    seeds = options.seeds or ()
    if min(seeds, default=0) < 0 or len(set(seeds)) < len(seeds):
        parser.error(f"--seeds {' '.join(map(str, seeds))}: expected different whole numbers from 0 on")
    for folder in (options.results, options.runs):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{shown(folder)}: a file, and a folder is wanted. Name another.")


def listed(results: Path) -> Iterator[str]:
    """Yields the lines that list the tables, each with how many of its runs have a result line."""
    from neural_similarity.reporting import plans
    from neural_similarity.reporting.record import read_all_results

    known = set(map(plans.key_of, read_all_results(results)))
    names = plans.names()
    width = max(map(len, names))
    yield f"{'table':<{width}}  recorded  title"
    for name in names:
        plan = plans.load_plan(name)
        runs = plan.runs()
        recorded = f"{sum(run.key in known for run in runs)} of {len(runs)}"
        yield f"{name:<{width}}  {recorded:>8}  {plan.title}"
    yield ""
    yield "What a table would cost:  python reproduce_tables.py --table quickstart --dry-run"
    yield "Train and print it:       python reproduce_tables.py --table quickstart"


def _runner(plan, options):
    from neural_similarity.quiet import import_tensorflow

    import_tensorflow()
    from neural_similarity.reporting.costs import read_measurements
    from neural_similarity.reporting.runner import Runner
    from neural_similarity.training.environment import environment

    return Runner(plan, options.runs, options.results, environment()["device"], read_measurements(_RESULTS))


def _headline(plan, runner, jobs):
    from neural_similarity.reporting.costs import Estimate
    from neural_similarity.reporting.result_table import how_it_was_run

    yield f"{plan.title}: {how_it_was_run(plan)}, seeds {', '.join(map(str, plan.seeds))}"
    words = f"To train: {len(jobs)} of {len(runner.runs)} runs"
    yield f"{words}: {Estimate.of(job.estimate for job in jobs)}." if jobs else f"{words}."
    elsewhere = sorted({job.measured_on for job in jobs if job.measured_on} - {runner.device})
    if elsewhere:
        yield f"(Some of that was measured on another machine: {'; '.join(elsewhere)}. This one: {runner.device}.)"


def _dry_run(plan, options):
    from neural_similarity.reporting.costs import in_words
    from neural_similarity.reporting.runner import last_step

    runner = _runner(plan, options)
    jobs = runner.missing()
    for line in _headline(plan, runner, jobs):
        say(line)
    for job in jobs:
        step, steps = last_step(job.folder), job.run.config.schedule.scaled_train_steps
        begun = f", of which {step:,} are done" if step else ""
        cost = "the cost is not known" if job.estimate is None else f"about {in_words(job.estimate)}"
        say(f"  {job} ({job.run.row.config}): {steps:,} steps{begun}; {cost}")
    return 0


def _reproduce(plan, options):
    from neural_similarity.families import family_of

    if options.out and options.out.is_dir():
        raise UserError(f"{shown(options.out)}: a folder. Name a file with --out.")
    runner = _runner(plan, options)
    jobs = runner.missing()
    for line in _headline(plan, runner, jobs):
        say(line)
    for config in {job.run.config.data: job.run.config for job in jobs}.values():
        family_of(config).check_data(config)
    runner.work()
    say("")
    _write_table(plan, options)
    for job, lines in runner.failures.items():
        say("\n  ".join([f"\nFailed: {job}", *lines]), sys.stderr)
    return 1 if runner.failures else 0


def _write_table(plan, options):
    from neural_similarity.reporting import tables
    from neural_similarity.reporting.formats import FORMATS
    from neural_similarity.reporting.markdown import as_markdown
    from neural_similarity.reporting.paper_values import read_paper_values
    from neural_similarity.reporting.record import alone_in, read_all_results
    from neural_similarity.reporting.result_table import result_table

    table = result_table(plan, read_all_results(options.results), read_paper_values(_RESULTS / "paper_values.yaml"))
    name = f"{plan.name}_{plan.scale:g}_{plan.precision}{_SUFFIXES[options.format]}"
    path = options.out or options.runs / "tables" / name
    root = os.path.relpath(REPOSITORY, path.resolve().parent) + "/"
    text = as_markdown(table, root) if options.format == "markdown" else FORMATS[options.format](table)
    with alone_in(options.results):  # two runners may end at once
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text + "\n")
    say(text)
    say(f"\ntable: {shown(path)}")
    if options.results.resolve() == _RESULTS:
        tables.write()


def _positive(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, as 0.02; got {text!r}")
    return value
