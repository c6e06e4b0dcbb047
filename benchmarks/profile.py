"""Milliseconds and share of a train step's time for each kind of operation, as TensorFlow's profiler records them.

python -m benchmarks.profile [--network dynamic_dns] [--kind released] [--precision mixed_bfloat16]
"""

import collections
import tempfile
from pathlib import Path

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import measure
from benchmarks.train_step import NETWORKS, Form, batch_of, step_of

STEPS = 3
KINDS = {  # an operation belongs to the first kind that has a word of its type
    "gradients of kernels": ("Conv2DBackpropFilter",),
    "gradients of images": ("Conv2DBackpropInput",),
    "convolutions": ("Conv2D",),
    "matrix products": ("MatMul", "Einsum"),
    "batch normalisation, fused kernel": ("FusedBatchNorm",),
    "pieces compiled by XLA": ("ExecuteAsyncOnStream",),
    "ReLU": ("Relu",),
    "updates of weights": ("Assign",),
    "elementwise, sums, copies": (
        *("Mul", "Sub", "Add", "Div", "Neg", "Sq", "Rsqrt", "Sum", "Mean", "Tile", "Pad", "Slice", "Gather", "Cast"),
        *("Reshape", "Transpose", "Concat", "Pack", "Broadcast", "Select"),
    ),
    "pooling": ("Pool",),
}


def milliseconds(step):
    """Profiles a few calls of a train step.

    Args:
        step: a function without arguments that calls a `tf.function` named `step`, and returns when its work is done.

    Returns:
        `{type of operation: ms per step}`, and the ms that the whole step takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(STEPS):
            step()
        tf.profiler.experimental.stop()
        (trace,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(trace.read_bytes())
    found, whole = collections.Counter(), 0.0
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                took = event.duration_ps / 1e9 / STEPS
                if name.startswith("EagerLocalExecute: __inference_step"):
                    whole += took
                elif name.endswith("ExecuteAsyncOnStream"):
                    found["ExecuteAsyncOnStream"] += took
                elif ":" in name and " " not in name and not name.startswith("Thunk"):  # node:type
                    found[name.rsplit(":", 1)[1]] += took
    return found, whole


def by_kind(found, whole):
    """The rows of the table, the kind that takes longest first; then what no kind claims, and the whole step.

    Args:
        found, whole: what `milliseconds` returned.
    """
    totals = collections.Counter()
    for operation, took in found.items():
        kind = next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), None)
        if kind:
            totals[kind] += took
    rest = whole - sum(totals.values())
    rows = [*totals.most_common(), ("everything else", rest), ("the step", whole)]
    return [{"kind": kind, "ms": took, "share": took / whole} for kind, took in rows]


def summary(lines):
    """The Markdown table of several profiles: ms of each kind of operation, and their share of the step."""
    kinds = list(dict.fromkeys(row["kind"] for line in lines for row in line["rows"]))

    def cell(line):
        rows = {row["kind"]: f"{COLUMNS['ms'](row)} ({COLUMNS['share'](row)})" for row in line["rows"]}
        return lambda kind: rows.get(kind, "")

    titles = {f"{line['network']}, {line['kind']}, {line['precision']}": cell(line) for line in lines}
    return measure.table({"kind": str, **titles}, kinds)


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "profile")
    parser.add_argument("--network", choices=NETWORKS, default="dynamic_dns")
    parser.add_argument("--kind", choices=("ours", "released", "equal_work"), default="ours")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    options = parser.parse_args(arguments)
    tf.config.threading.set_inter_op_parallelism_threads(1)  # one operation after the other, so that the times add up
    step = step_of(Form(options.network, options.kind, options.precision), batch_of(options.batch_size))
    step()
    step()
    measure.report("profile", COLUMNS, by_kind(*milliseconds(step)), options)


COLUMNS = {
    "kind": lambda row: row["kind"],
    "ms": lambda row: f"{row['ms']:.0f}",
    "share": lambda row: f"{100 * row['share']:.0f} %",
}


if __name__ == "__main__":
    main()
