"""On paper: what 8 and 64 devices would make of a step of each kind of network. Nothing is timed.

A step's work is three times the multiply-adds of its forward pass, two operations each, and is shared equally. After it
the devices add up their gradients in a ring: each sends and receives 2 (n − 1)/n times the gradients' bytes, in
2 (n − 1) messages, while it does nothing else. The efficiency is the share of the time that goes into the work.

python -m benchmarks.scaling
"""

import argparse

from benchmarks import measure
from neural_similarity import config as configs
from neural_similarity.config import CONFIGS
from neural_similarity.data.places import typed_path
from neural_similarity.families import family_of
from neural_similarity.reporting.multiply_adds import multiply_adds

NETWORKS = {  # config → how many training classes its set has
    "cifar10/baseline": 10,
    "cifar10/static_uns": 10,
    "cifar10/dynamic_dns": 10,
    "cifar10/dynamic_uns": 10,
    "cifar10/nsl_fspherenet": 10,
    "cifar10/sa_spherenet": 10,
    "cifar_fs/5shot_baseline": 64,
    "cifar_fs/5shot_maml": 64,
    "cub200/mobilenet/structural": 100,
    "cub200/multisimilarity_structural": 100,
    "sop/proxy_anchor_global": 11318,
}
DEVICES = (8, 64)


def row_of(name, classes, options):
    """The row of a config, as `COLUMNS` show it."""
    config = configs.load(CONFIGS / f"{name}.yaml", environment={})
    network = family_of(config).network(config, classes)
    trained = sum(int(weight.shape.num_elements()) for weight in network.trainable_weights)
    row = {"config": name, "shared": config.global_batch_size(), "images": config.images_per_step()}
    row |= {"gradient_bytes": 4 * trained, "multiply_adds": multiply_adds(network)}
    row["input_bytes"] = row["images"] * _bytes(network.input_shape[1:])
    work_s = 6 * row["multiply_adds"] * row["images"] / (1e12 * options.teraflops)
    for n in DEVICES:
        sent_s = 2 * (n - 1) / n * row["gradient_bytes"] / (1e9 * options.gigabytes_per_s)
        sent_s += 2 * (n - 1) * 1e-6 * options.microseconds
        fits = row["shared"] % n == 0
        row[f"work_s_{n}"], row[f"all_reduce_s_{n}"] = work_s / n, sent_s
        row[f"efficiency_{n}"] = work_s / n / (work_s / n + sent_s) if fits else None
    return row


def _bytes(shape):
    """Of an image as it is sent to the device, in float32."""
    height, width, channels = shape
    return 4 * height * width * channels


def _on(n):
    def cell(row):
        if row[f"efficiency_{n}"] is None:
            return f"{row['shared']} do not divide by {n}"
        times = f"{1e3 * row[f'work_s_{n}']:.2f} + {1e3 * row[f'all_reduce_s_{n}']:.2f} ms"
        return f"{row['shared'] // n} each, {times}, {100 * row[f'efficiency_{n}']:.0f} %"

    return cell


COLUMNS = {
    "config": lambda row: row["config"],
    "shared": lambda row: f"{row['shared']}",
    "MB of gradients": lambda row: f"{row['gradient_bytes'] / 1e6:.1f}",
    "million multiply-adds an image": lambda row: f"{row['multiply_adds'] / 1e6:,.0f}",
    "MB of images": lambda row: f"{row['input_bytes'] / 1e6:.1f}",
    **{f"on {n}: work + all-reduce, efficiency": _on(n) for n in DEVICES},
}


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=measure.first_line(__doc__), allow_abbrev=False
    )
    about = {
        "teraflops": (10.0, "operations per second that a device attains, in 10¹²"),
        "gigabytes-per-s": (12.5, "what a device sends per second"),
        "microseconds": (20.0, "what a message takes in any case, added to the time for its bytes"),
    }
    for name, (default, what) in about.items():
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{what} (default: %(default)s)")
    parser.add_argument("--json", type=typed_path, metavar="FILE.jsonl", help="append the table to this file")
    options = parser.parse_args(arguments)
    rows = [row_of(name, classes, options) for name, classes in NETWORKS.items()]
    measure.report("scaling", COLUMNS, rows, options)


if __name__ == "__main__":
    main()
