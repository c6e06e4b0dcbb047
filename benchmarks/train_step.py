"""Time and memory of the whole train step: the released form, ours, and a plain network of as many multiply-adds.

It measures seven networks of configs/cifar10; `--quick` measures three of them, in under a minute.

python -m benchmarks.train_step [--quick]
"""

import dataclasses
import functools
import statistics

import tensorflow as tf

from benchmarks import measure
from benchmarks.equal_work import widths_of_equal_work
from benchmarks.released import released_form
from neural_similarity import config as configs
from neural_similarity.families import image_recognition
from neural_similarity.reporting.multiply_adds import multiply_adds
from neural_similarity.training.loop import gradient_step
from neural_similarity.training.optimizers import build_optimizer

QUICK = ("baseline", "dynamic_dns", "dynamic_uns")
DYNAMIC = ("dynamic_dns", "nsl_fspherenet", "dynamic_uns")
NETWORKS = ("baseline", "baseline_matched", "static_dns", "static_uns", *DYNAMIC)
OPERATORS = ("cosine", "linear", "sigmoid", "learnable_sigmoid")
SPHERENETS = ("cnn9_128", "sa_spherenet", *(f"spherenet_{operator}" for operator in OPERATORS))
ALL = (*NETWORKS, *SPHERENETS)  # SphereNets are measured only where `--only` names them
KINDS = ("released", "ours", "equal_work", "compiled")
COMPILED = ("baseline", "static_dns", "dynamic_dns")
SUMMARY = {
    "released, float32": ("released", "float32"),
    "ours, float32": ("ours", "float32"),
    "ours, bfloat16": ("ours", "mixed_bfloat16"),
    "equal work, float32": ("equal_work", "float32"),
}


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to compute the train step of a network.

    Attributes:
        network: name of a config in `configs/cifar10`.
        kind: `"released"`: the released form. `"ours"`: our form. `"compiled"`: our form with
            `runtime.jit_compile: true`. `"equal_work"`: a plain CNN-9 in our form, with about as many multiply-adds.
        precision: a Keras dtype policy.
    """

    network: str
    kind: str
    precision: str = "float32"


def forms_of(networks):
    """The forms in which each network is measured. A SphereNet has no released form here, only ours."""
    for network in networks:
        if network not in SPHERENETS:
            yield Form(network, "released")
        yield Form(network, "ours")
        yield Form(network, "ours", "mixed_bfloat16")
        if network in DYNAMIC:
            yield Form(network, "equal_work")
            yield Form(network, "equal_work", "mixed_bfloat16")
        if network in COMPILED:
            yield Form(network, "compiled")


@functools.cache
def build(form):
    """The config and the model of a form. Further calls return the same two objects."""

    def load(name, *overrides):
        path = configs.REPOSITORY / "configs" / "cifar10" / f"{name}.yaml"
        return configs.load(path, [f"runtime.precision={form.precision}", *overrides], environment={})

    config = load(form.network)
    model = image_recognition.network(config, 10)
    if form.kind == "released":
        model = released_form(model)
    elif form.kind == "equal_work":
        config = load("baseline", f"model.widths={list(widths_of_equal_work(multiply_adds(model)))}")
        model = image_recognition.network(config, 10)
    return config, model


def step_of(form, batch):
    """A function without arguments that makes one train step on a batch, and returns when the weights are updated."""
    step = tf.function(update_of(*build(form)), jit_compile=form.kind == "compiled")
    return functools.partial(_call, step, batch)


def update_of(config, model):
    """The train step as the training loop makes it, `batch → metrics`.

    The learning rate is 1e-6: small enough that the weights stay near their start, whatever the images are.
    """
    optimizer = build_optimizer(config.optimizer, 1e-6)
    optimizer.build(model.trainable_variables)
    return gradient_step(model, optimizer, image_recognition.build_loss(config, model))


def batch_of(batch_size):
    """Random images, `(batch_size, 32, 32, 3)` from 0 to 255, and random labels, `(batch_size,)`."""
    random = tf.random.Generator.from_seed(0)
    images = random.uniform((batch_size, 32, 32, 3), maxval=255.0)
    return images, random.uniform((batch_size,), maxval=10, dtype=tf.int32)


def _call(step, batch):
    float(step(batch)["loss"])


def two_steps(form, batch_size):
    """Two train steps of a form, for `added_memory_bytes`.

    The batch is made, and TensorFlow and XLA are started, before the work is returned. The network is built by the work
    itself, so that its memory is counted.
    """
    batch = batch_of(batch_size)
    tf.function(lambda x: x + 1, jit_compile=True)(tf.ones(1))
    step_of(Form("baseline", "ours"), batch_of(1))()

    def work():
        step = step_of(form, batch)
        step()
        step()

    return work


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
    parser = measure.parser(measure.first_line(__doc__), "train_step", rounds=5, memory=True)
    parser.add_argument(
        "--only", nargs="+", choices=ALL, metavar="NETWORK", help=f"measure these alone: {', '.join(ALL)}"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND", help=f"these alone: {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="float32, batches of 16, one round, no memory: under a minute"
    )
    options = parser.parse_args(arguments)
    networks = options.only or (QUICK if options.quick else NETWORKS)
    forms = [form for form in forms_of(networks) if form.kind in options.kinds]
    if not forms:
        parser.error(f"{', '.join(networks)}: not measured as {', '.join(options.kinds)}")
    if options.quick:
        options.batch_size, options.rounds, options.no_memory = 16, 1, True
        forms = [form for form in forms if form.precision == "float32" and form.kind != "compiled"]
    batch = batch_of(options.batch_size)
    calls = {form: step_of(form, batch) for form in forms}
    seconds = measure.alternate(calls, options.rounds, warm_up=1 if options.quick else 2)
    found = {form: measure.summary(times) for form, times in seconds.items()}
    rows = [_row(form, found, options) for form in forms]
    measure.report("train_step", COLUMNS, rows, options)


def _row(form, found, options):
    def times(**changes):
        other = found.get(dataclasses.replace(form, **changes))
        return other and found[form]["median_s"] / other["median_s"]

    released = times(kind="released", precision="float32")
    memory = None if options.no_memory else measure.added_memory_bytes(two_steps, form, options.batch_size)
    return {
        **dataclasses.asdict(form),
        **found[form],
        "times_faster_than_released_float32": released and 1 / released,
        "times_the_plain_step": times(network="baseline", kind="released" if form.kind == "released" else "ours"),
        "times_equal_work": times(kind="equal_work"),
        "multiply_adds": multiply_adds(build(form)[1]),
        "added_memory_bytes": memory,
    }


COLUMNS = {
    "step": lambda row: f"{row['network']}, {row['kind']}",
    "precision": lambda row: row["precision"],
    "ms": measure.milliseconds,
    "times faster than released float32": measure.ratio("times_faster_than_released_float32"),
    "× the plain step": measure.ratio("times_the_plain_step"),
    "× equal work": measure.ratio("times_equal_work"),
    "M multiply-adds an image": lambda row: f"{row['multiply_adds'] / 1e6:,.0f}",
    "GB": lambda row: "" if row["added_memory_bytes"] is None else f"{row['added_memory_bytes'] / 1e9:.2f}",
}


if __name__ == "__main__":
    main()
