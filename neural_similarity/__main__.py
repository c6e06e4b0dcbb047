"""The tools on the command line: `python -m neural_similarity COMMAND …`, or, where installed, `neural-similarity`.

Each function in `COMMANDS` is one command. It adds the command's arguments to a parser and returns the function that
runs the command. TensorFlow is imported only when a command runs, so that the help appears at once.
"""

import argparse
import re
import sys
from pathlib import Path

from neural_similarity.command import add_config_arguments, check_clone, count, guarded
from neural_similarity.data.places import REPOSITORY, typed_path
from neural_similarity.data.streams import Parser, say

_RESULTS = REPOSITORY / "results"


def _predict(parser):
    parser.add_argument(
        "run",
        metavar="RUN",
        type=typed_path,
        help="run folder; or weights that are shipped: cifar10/static_dns",
    )
    parser.add_argument("images", metavar="IMAGE", type=typed_path, nargs="+", help="PNG, JPEG, GIF, BMP or WebP file")
    parser.add_argument("--top", metavar="N", type=count, default=3, help="classes to name (default: %(default)s)")
    parser.add_argument(
        "--support", metavar="DIR", type=typed_path, help="for a few-shot run: example images of classes in DIR/CLASS"
    )

    def run(options):
        from neural_similarity.predict import describe

        all_read = True
        for line, was_read in describe(options.run, options.images, options.top, options.support):
            say(line, sys.stdout if was_read else sys.stderr)
            all_read = all_read and was_read
        return 0 if all_read else 2

    return run


def _weights(parser):
    parser.add_argument("runs", nargs="+", metavar="RUN", type=typed_path, help="finished runs of one recipe")
    parser.add_argument(
        "--out", type=typed_path, default=REPOSITORY / "weights", metavar="DIR", help="default: %(default)s"
    )

    def run(options):
        from neural_similarity.pretrained import export_weights

        for line in export_weights(options.runs, options.out):
            say(line)

    return run


def _merge(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of a static network")
    parser.add_argument("--out", metavar="FILE.keras", type=typed_path, required=True, help="file to write; a new one")

    def run(options):
        from neural_similarity.interop.merge import export

        say(export(options.run, options.out))

    return run


def _export(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder")
    parser.add_argument(
        "--format",
        choices=("saved_model", "tflite", "onnx"),
        default="saved_model",
        help="saved_model takes every network, and is a folder; onnx needs the extra packages of [onnx] "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="PATH", type=typed_path, required=True, help="folder or file to write; a new one"
    )

    def run(options):
        from neural_similarity.interop.export import export

        say(export(options.run, options.format, options.out))

    return run


def _convert(parser):
    parser.description += (
        " CKPT is what the released train.py saved, as model_cifar10/dynamic_dns/42499. The config says which network "
        "it is: a dynamic DNS network and one with the full SphereNet predictor have the same variables."
    )
    parser.add_argument("checkpoint", metavar="CKPT", type=typed_path, help="a checkpoint of the released code")
    add_config_arguments(parser)
    parser.add_argument("--out", metavar="FILE.keras", type=typed_path, required=True, help="file to write; a new one")

    def run(options):
        from neural_similarity.interop.convert import export

        say(export(options.checkpoint, options.config, options.set, options.out))

    return run


def _parity(parser):
    parser.add_argument(
        "folder", metavar="DIR", type=typed_path, help="NAME.json and NAME.npz; the project's: tests/golden"
    )
    parser.add_argument(
        "--require-all",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fail where DIR lacks one of the six networks (default)",
    )
    parser.add_argument("--rtol", type=float, help="one relative tolerance in place of the table's")

    def run(options):
        from neural_similarity.interop.parity import check

        all_agree = True
        for line, agrees in check(options.folder, options.require_all, options.rtol):
            say(line)
            all_agree = all_agree and agrees
        return 0 if all_agree else 1

    return run


def _record(parser):
    parser.add_argument("runs", nargs="+", metavar="RUN", type=typed_path, help="folder of a finished run")
    parser.add_argument("--results", type=typed_path, default=_RESULTS, metavar="DIR", help="default: %(default)s")

    def run(options):
        from neural_similarity.reporting.record import record_all

        for line in record_all(options.runs, options.results):
            say(line)

    return run


def _tables(parser):
    parser.add_argument("--results", type=typed_path, default=_RESULTS, metavar="DIR", help="default: %(default)s")

    def run(options):
        from neural_similarity.reporting.tables import write

        return write(options.results)

    return run


def _plots(parser):
    parser.add_argument("runs", nargs="+", metavar="RUN", type=typed_path, help="run folder")
    parser.add_argument("--out", type=typed_path, required=True, metavar="FILE", help="picture: .png, .svg or .pdf")
    parser.add_argument("--title", help="above the picture")

    def run(options):
        from neural_similarity.files import shown
        from neural_similarity.reporting.plots import training_curves

        say(shown(training_curves(options.runs, options.out, options.title)))

    return run


def _attention(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of a network with attention")
    parser.add_argument(
        "--images",
        metavar="IMAGE",
        nargs="+",
        type=_image,
        required=True,
        help="number of a test image, from 0, or an image file",
    )
    parser.add_argument("--pixels", metavar="ROW,COLUMN", nargs="+", type=_pixel, help="default: three on the diagonal")
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="default: attention.png in RUN")

    def run(options):
        from neural_similarity.interpret.attention import draw_run

        for line in draw_run(options.run, options.images, options.pixels, options.out):
            say(line)

    return run


def _report(parser):
    parser.add_argument("what", metavar="RUN|TABLE", help="a run folder, or a table of configs/tables")
    parser.add_argument(
        "--out", metavar="FILE.html", type=typed_path, help="default: report.html in RUN, runs/tables/TABLE.html"
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=count,
        const=30,
        help="of a run that is training: look again each time, and write the page anew (default: 30 seconds)",
    )

    def run(options):
        from neural_similarity.reporting.report import write_report

        for line in write_report(options.what, options.out, options.watch):
            say(line)

    return run


def _matrices(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of a static or dynamic network")
    parser.add_argument(
        "--images",
        metavar="IMAGE",
        nargs="+",
        type=_image,
        help="for a dynamic network: number of a test image, from 0, or an image file (default: 0 1 2)",
    )
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="default: matrices.png in RUN")

    def run(options):
        from neural_similarity.interpret.matrix_pictures import draw_run

        images = {"names": options.images} if options.images else {}
        for line in draw_run(options.run, out=options.out, **images):
            say(line)

    return run


def _compare(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of few-shot recognition")
    parser.add_argument("other", metavar="OTHER", type=typed_path, help="the run folder to compare it with")
    parser.add_argument("--episodes", metavar="N", type=count, help="test episodes (default: as RUN's config)")
    parser.add_argument(
        "--out",
        metavar="FILE.jsonl",
        type=typed_path,
        help="file to add a line of JSON to, as results/differences/few_shot.jsonl",
    )

    def run(options):
        from neural_similarity.reporting.compare import compare

        for line in compare(options.run, options.other, options.episodes, options.out):
            say(line)

    return run


def _episode(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of few-shot recognition")
    parser.add_argument("--number", metavar="N", type=_index, default=0, help="of the episode (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="default: episode_N.png in RUN")

    def run(options):
        from neural_similarity.interpret.episodes import draw_run

        for line in draw_run(options.run, options.number, options.out):
            say(line)

    return run


def _pair(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of metric learning")
    parser.add_argument("images", metavar="IMAGE", type=typed_path, nargs=2, help="PNG, JPEG, GIF, BMP or WebP file")
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="default: pair.png in RUN")
    parser.add_argument(
        "--links", metavar="N", type=count, default=5, help="strongest links to draw (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE.json", type=typed_path, help="file for all numbers")

    def run(options):
        from neural_similarity.interpret.pair_command import draw_pair

        for line in draw_pair(options.run, *options.images, options.out, options.links, options.json):
            say(line)

    return run


def _retrieve(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of metric learning")
    parser.add_argument("images", metavar="IMAGE", type=typed_path, nargs="+", help="what is searched for: image files")
    parser.add_argument(
        "--gallery", metavar="DIR", type=typed_path, required=True, help="folder of the images that are searched"
    )
    parser.add_argument("--top", metavar="N", type=count, default=5, help="images to name (default: %(default)s)")
    parser.add_argument(
        "--candidates",
        metavar="N",
        type=_index,
        help="how many of the nearest images, by cosine or by the trained divergence, are ranked again by their cells; "
        "0 for none. Not for a run whose divergence compares whole images (default: as in the run's own evaluation, or "
        "100)",
    )
    parser.add_argument("--label", metavar="CLASS", help="class of the images, where they lie outside of DIR/CLASS")
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="draw what was found")

    def run(options):
        from neural_similarity.predict.retrieval_command import retrieve

        how = {name: getattr(options, name) for name in ("top", "candidates", "label", "out")}
        all_read = True
        for line, was_read in retrieve(options.run, options.gallery, options.images, **how):
            say(line, sys.stdout if was_read else sys.stderr)
            all_read = all_read and was_read
        return 0 if all_read else 2

    return run


def _divergence(parser):
    parser.add_argument("run", metavar="RUN", type=typed_path, help="run folder of learned divergences")
    parser.add_argument("--out", metavar="FILE.png", type=typed_path, help="default: divergence.png in RUN")

    def run(options):
        from neural_similarity.interpret.divergence_pictures import draw_divergence

        for line in draw_divergence(options.run, options.out):
            say(line)

    return run


def _launch(parser):
    parser.add_argument("--workers", metavar="N", type=count, required=True, help="processes that train together")
    parser.add_argument("script", metavar="TRAIN.py", type=typed_path, help="the train.py of an experiment")
    parser.add_argument("arguments", metavar="…", nargs=argparse.REMAINDER, help="the arguments of that train.py")

    def run(options):
        from neural_similarity.launch import launch

        return launch(options.workers, options.script, options.arguments)

    return run


COMMANDS = {  # not in docstrings, which python -OO leaves out
    "predict": (_predict, "Names what a trained network sees in images."),
    "weights": (_weights, "Puts the weights of a finished run into weights/, with their scores."),
    "export": (_export, "Writes a trained network as SavedModel, TFLite or ONNX."),
    "merge": (_merge, "Writes a trained static network as plain Keras, M merged into its kernels."),
    "convert": (_convert, "Turns a checkpoint of the released TensorFlow 1 code into a Keras model."),
    "parity": (_parity, "Compares our networks with numbers that the released code computed."),
    "record": (_record, "Adds the result lines of finished runs to results/<set>.jsonl."),
    "tables": (_tables, "Writes the tables of README and docs anew from results/*.jsonl."),
    "plots": (_plots, "Draws the training curves of runs, finished or not."),
    "launch": (_launch, "Trains one run in several processes on this machine."),
    "report": (_report, "Writes the HTML report of a run or a table: one file."),
    "matrices": (_matrices, "Draws the similarity matrices of a static or dynamic network."),
    "attention": (_attention, "Draws where a network with global similarity looks."),
    "compare": (_compare, "Compares two few-shot runs on the same test episodes."),
    "episode": (_episode, "Draws a few-shot test episode: images, answers, similarity."),
    "pair": (_pair, "Draws which parts of two images match, and what each adds to their score."),
    "divergence": (_divergence, "Draws a learned divergence: its level sets, or its means between classes."),
    "retrieve": (_retrieve, "Finds the images of a folder that are most similar to an image."),
}


def main(arguments=None):
    """Runs one command and exits with its code; without arguments prints the list of the commands."""
    sys.exit(guarded(lambda: _main(arguments)))


def _main(arguments):
    check_clone(Path.cwd())
    parser = Parser(
        prog="python -m neural_similarity",
        usage="%(prog)s COMMAND …",
        description="\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items()),
        epilog="Help on one: %(prog)s COMMAND --help\n"
        "To train: the train.py of an experiment, as: python nsl_image_recog/static/train.py --help\n"
        "To train all rows of a table: python reproduce_tables.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(help=argparse.SUPPRESS, prog=parser.prog)
    for name, (command, about) in COMMANDS.items():
        one = commands.add_parser(name, description=about)
        one.set_defaults(run_command=command(one))
    options = parser.parse_args(arguments)
    if not hasattr(options, "run_command"):
        parser.print_help()
        return 0
    return options.run_command(options)


def _image(text):
    """The number of a test image, as it was typed, or the path of a file."""
    return text if re.fullmatch(r"\d+", text, re.ASCII) else str(typed_path(text))


def _index(text):
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def _pixel(text):
    if not re.fullmatch(r"\d+,\d+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected row,column, as 8,20; got {text!r}")
    row, column = text.split(",")
    return int(row), int(column)


if __name__ == "__main__":
    main()
