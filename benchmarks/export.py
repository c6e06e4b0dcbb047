"""Time of a batch in each format that a network can be exported to, beside the network in TensorFlow with this package.

SavedModel is run by TensorFlow, TFLite by its interpreter and ONNX by ONNX Runtime, if its packages are installed: each
on all cores. The weights are those that training starts from.

python -m benchmarks.export [--batch-size 1]
"""

import functools
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.inference import call_of
from benchmarks.train_step import Form, build
from neural_similarity.errors import UserError
from neural_similarity.interop.export import FORMATS, size_mb, write
from neural_similarity.interop.merge import merge

NETWORKS = ("static_dns", "dynamic_dns", "dynamic_uns")
HERE = "this package"


def forms_of(network, batch_size, folder):
    """{form: a function without arguments that computes one batch}, and {form: MB of what was written}.

    Args:
        network: a config of `configs/cifar10`. A static network is merged, as `export` merges it.
        batch_size: how many images.
        folder: where the exported networks are written.
    """
    model = build(Form(network, "ours"))[1]
    static = network.startswith("static")
    model = merge(model) if static else model
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, *model.input_shape[1:])).astype(np.float32)
    calls, sizes = {HERE: call_of(network, "merged" if static else "as trained", batch_size)}, {}
    for form, (_, reader, ending) in FORMATS.items():
        path = folder / f"{network}_{form}{ending}"
        try:
            write(model, form, "logits", path)
            run = reader(path)
        except UserError as error:  # an operation is missing, or the packages of ONNX
            print(f"{network} as {form}: {error}")
            continue
        calls[form] = functools.partial(run, images)
        sizes[form] = size_mb(path)
    return calls, sizes


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "export", rounds=9)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK", help="these alone")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for network in options.only:
            calls, sizes = forms_of(network, options.batch_size, Path(folder))
            times = {form: measure.summary(each) for form, each in measure.alternate(calls, options.rounds).items()}
            for form, found in times.items():
                ratio = found["median_s"] / times[HERE]["median_s"]
                rows.append(
                    {"network": network, "form": form, **found, "times_here": ratio, "size_mb": sizes.get(form)}
                )
    measure.report("export", COLUMNS, rows, options)


COLUMNS = {
    "network": lambda row: row["network"],
    "form": lambda row: row["form"],
    "ms": measure.milliseconds,
    f"× {HERE}": measure.ratio("times_here"),
    "MB on disk": lambda row: "" if row["size_mb"] is None else f"{row['size_mb']:.1f}",
}


if __name__ == "__main__":
    main()
