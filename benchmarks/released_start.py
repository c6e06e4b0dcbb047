"""Why the released recipe learns so late: its first steps, with one thing changed at a time.

It trains networks of configs/cifar10/released on CIFAR-10 for 1,000 steps. Each variant changes one thing that might be
the cause. Variants that are in the file of `--json` already are passed over, so that a stopped measurement goes on with
the same command.

python -m benchmarks.released_start --json results/benchmarks/released_start.jsonl [--networks static_dns] [--seeds 0 1]
python -m benchmarks.show results/benchmarks/released_start.jsonl --summary
"""

import dataclasses

import numpy as np
import tensorflow as tf

from benchmarks import measure
from benchmarks.precision import accuracy
from neural_similarity import config as configs
from neural_similarity.data.batches import training_batch
from neural_similarity.families import image_recognition
from neural_similarity.losses import smoothed_cross_entropy
from neural_similarity.training.loop import batches
from neural_similarity.training.optimizers import Momentum, build_schedule

NETWORKS = ("static_dns", "static_uns")
STEPS = 1000
WINDOW = 100  # steps at the end, over which the training accuracy is a mean
LEFT_CHANCE = 0.2  # a training accuracy that chance, 0.1, does not give over 50 steps of 128 images
_CHANCE_WINDOW = 50
_TEST_IMAGES = 2000
_OVERRIDES = ("runtime.precision=mixed_bfloat16",)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is changed in the released recipe.

    Attributes:
        overrides: texts of `--set`.
        classifier_rate: multiplies the learning rate of the classifier, the layer "score".
        log_epsilon: the number in log(softmax + ε) of the loss; 0 for the usual cross-entropy.
    """

    overrides: tuple[str, ...] = ()
    classifier_rate: float = 1.0
    log_epsilon: float = 1e-4


VARIANTS = {
    "as released": Variant(),
    "images as (x − 127.5)/128": Variant(("data.input_scaling=centred",)),
    "classifier at a tenth of the rate": Variant(classifier_rate=0.1),
    "classifier at a hundredth of the rate": Variant(classifier_rate=0.01),
    "log(softmax), without 1e-4": Variant(log_epsilon=0.0),
    "warm-up of 100 steps": Variant(("schedule.warmup_steps=100",)),
    "warm-up of 500 steps": Variant(("schedule.warmup_steps=500",)),
    "averages as ours: debiased, decay 0.99": Variant(("batch_norm.debias=true", "batch_norm.decay=0.99")),
    "M starts as the identity": Variant(("similarity.initializer=identity",)),
    "a tenth of the rate": Variant(("optimizer.learning_rate=0.01",)),
}


def variants_of(network):
    """The names of the variants that change something in a network. An unconstrained M starts as the identity."""
    return [name for name in VARIANTS if network == "static_dns" or name != "M starts as the identity"]


def loss_of(logits, labels, label_smoothing, log_epsilon):
    """The mean loss of a batch, with another ε; 0 gives −Σ ỹ log(softmax), whose gradient never fades."""
    if log_epsilon:
        return tf.reduce_mean(smoothed_cross_entropy(labels, logits, label_smoothing, log_epsilon))
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - label_smoothing, 0.0) + label_smoothing / classes
    return -tf.reduce_mean(tf.einsum("bc,bc->b", targets, tf.nn.log_softmax(logits)))


def step_of(config, model, variant):
    """A function from a batch to (training accuracy, share of faded examples, largest |logit|) of one update.

    An example is faded if its right class has a probability below 1e-4: with log(softmax + 1e-4) it then has less than
    half of the gradient that it would have without 1e-4.
    """
    optimizer = Momentum(build_schedule(config.optimizer, config.schedule), config.optimizer.momentum)
    optimizer.build(model.trainable_variables)
    rates = [variant.classifier_rate if weight.path.startswith("score/") else 1 for weight in model.trainable_variables]

    @tf.function
    def step(batch):
        images, labels = batch
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = loss_of(logits, labels, config.loss.label_smoothing, variant.log_epsilon)
            total = loss + tf.add_n(list(image_recognition.penalties(model).values()))
        gradients = tape.gradient(total, model.trainable_variables)
        # `Momentum` adds up gradients and multiplies by the rate, so that a tenth of the gradient is a tenth of it.
        optimizer.apply([rate * gradient for rate, gradient in zip(rates, gradients, strict=True)])
        right = tf.gather(tf.nn.softmax(logits), labels, axis=1, batch_dims=1)
        correct = tf.argmax(logits, -1, tf.int32) == labels
        faded = tf.reduce_mean(tf.cast(right < 1e-4, tf.float32))
        return tf.reduce_mean(tf.cast(correct, tf.float32)), faded, tf.reduce_max(tf.abs(logits))

    return step


def measured(network, name, seed, steps, batch_size):
    """The row of one training: what its first steps were like."""
    variant = VARIANTS[name]
    overrides = [f"seed={seed}", f"data.global_batch_size={batch_size}", *_OVERRIDES, *variant.overrides]
    config = configs.load(f"configs/cifar10/released/{network}.yaml", overrides)
    splits = image_recognition.load_data(config)
    model = image_recognition.network(config, len(splits.classes))
    batch = training_batch(splits.train, seed, config.data.global_batch_size, config.data.augmentation)
    step = step_of(config, model, variant)
    found = np.array([[float(value) for value in step(each)] for each in batches(batch, 0, steps)])
    accuracies = found[:, 0]
    running = np.convolve(accuracies, np.full(_CHANCE_WINDOW, 1 / _CHANCE_WINDOW), "valid")
    left = np.flatnonzero(running > LEFT_CHANCE)
    test = splits.test.take(np.arange(_TEST_IMAGES))
    return {
        "network": network,
        "variant": name,
        "seed": seed,
        "steps": steps,
        "training_accuracy": float(accuracies[-WINDOW:].mean()),
        "left_chance_at_step": int(left[0]) + _CHANCE_WINDOW if left.size else None,
        "test_accuracy_by_batch": accuracy(model, test, config.data.global_batch_size, training=True),
        "test_accuracy_by_averages": accuracy(model, test, config.data.global_batch_size, training=False),
        "faded_in_the_first_100": float(found[:100, 1].mean()),
        "largest_logit_in_the_first_100": float(found[:100, 2].max()),
    }


def percent(key):
    """A column with the fraction under `key` in percent, of each seed where a row stands for several."""
    return lambda row: ", ".join(f"{100 * value:.1f}" for value in _values(row, key))


def _values(row, key):
    return row[key] if isinstance(row[key], list) else [row[key]]


COLUMNS = {
    "network": lambda row: row["network"],
    "what is changed": lambda row: row["variant"],
    f"training accuracy, the last {WINDOW} steps, %": percent("training_accuracy"),
    "above 20 % from step": lambda row: ", ".join(str(v or "never") for v in _values(row, "left_chance_at_step")),
    "test accuracy, %": percent("test_accuracy_by_averages"),
    "by each batch's own statistics, %": percent("test_accuracy_by_batch"),
    "right class below 1e-4, first 100 steps, %": percent("faded_in_the_first_100"),
    "largest logit, first 100 steps": lambda row: ", ".join(
        f"{value:.0f}" for value in _values(row, "largest_logit_in_the_first_100")
    ),
}


def summary(lines):
    """The Markdown table of all measurements: a row for each network and variant, in which seeds stand side by side."""
    groups = {}
    for row in sorted((row for line in lines for row in line["rows"]), key=lambda row: row["seed"]):
        groups.setdefault((row["network"], row["variant"]), []).append(row)
    order = [(network, name) for network in NETWORKS for name in VARIANTS if (network, name) in groups]
    merged = []
    for network, name in order:
        rows = groups[network, name]
        merged.append({key: [row[key] for row in rows] for key in rows[0]} | {"network": network, "variant": name})
    return measure.table(COLUMNS, merged)


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "released_start")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (default: %(default)s)")
    options = parser.parse_args(arguments)
    known = measure.recorded(options.json)
    done = {(row["network"], row["variant"], row["seed"], row["steps"]) for line in known for row in line["rows"]}
    for seed in options.seeds:
        for network in options.networks:
            for name in variants_of(network):
                if (network, name, seed, options.steps) not in done:
                    row = measured(network, name, seed, options.steps, options.batch_size)
                    measure.report("released_start", COLUMNS, [row], options)


if __name__ == "__main__":
    main()
