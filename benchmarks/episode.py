"""Time and memory of training steps of few-shot recognition with Conv-4: as it is usually written in Keras, and ours.

The images are random, as many and as large as those of the configs in configs/mini_imagenet.

python -m benchmarks.episode
"""

import functools

import keras
import tensorflow as tf

from benchmarks import measure
from neural_similarity import config as configs
from neural_similarity.families.few_shot_methods import method_of
from neural_similarity.families.similarity import convolution
from neural_similarity.layers.initializers import he_normal
from neural_similarity.models.parts import flattened
from neural_similarity.models.seeding import seeded
from neural_similarity.training.optimizers import build_optimizer

CASES = ("5shot_protonet", "5shot_maml", "5shot_static_dns")
FORMS = ("usual", "ours")
IMAGE_SIZE = 84
CLASSES = 64  # of the training split; no method here depends on it


def step_of(case, form, image_size=IMAGE_SIZE, overrides=(), rate=1e-6):
    """A function without arguments that makes one train step; returns the loss.

    Args:
        case: the name of a config of `configs/mini_imagenet`.
        form: `"usual"`: normalisation by Keras' layer, which TensorFlow computes and differentiates operation by
            operation, and ReLU in front of the pooling. `"ours"`: `models.conv4`. Both are the same function with the
            same gradient. The gradient of the gradient is right in ours alone: Keras' layer treats the mean as a
            constant when it differentiates the variance.
        image_size: height and width.
        overrides: settings of the config, as `--set` takes them.
        rate: of the optimiser. By default so small that the weights stay near their start.
    """
    config = configs.load(
        configs.REPOSITORY / "configs" / "mini_imagenet" / f"{case}.yaml", list(overrides), environment={}
    )
    method = method_of(config)
    if form == "usual":
        method.backbone = functools.partial(_usual_conv4, config)
    with seeded(0):
        model = method.network(image_size, CLASSES, config.runtime.precision)
    optimizer = build_optimizer(config.optimizer, rate)
    optimizer.build(model.trainable_variables)
    ways = getattr(config.method, "training_n_way", config.episode.n_way)
    images = config.episode.k_shot + config.episode.n_query
    shape = config.method.tasks, ways, images, image_size, image_size, 3
    episodes = tf.random.Generator.from_seed(0).uniform(shape, maxval=255.0)
    return functools.partial(_call, tf.function(method.step(model, optimizer)), episodes)


def _call(step, episodes):
    return float(step(episodes)["cross_entropy"])


def _usual_conv4(config, image_size, dtype):
    inputs = keras.Input((image_size, image_size, 3), dtype="float32")
    x = keras.layers.Rescaling(1 / 127.5, -1.0, dtype=dtype)(inputs)
    for block in range(1, 5):
        x = convolution(config.similarity)(
            config.model.filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=he_normal(),
            dtype=dtype,
            name=f"conv{block}",
        )(x)
        x = keras.layers.BatchNormalization(momentum=config.batch_norm.decay, epsilon=1e-5, dtype=dtype)(x)
        x = keras.layers.MaxPooling2D(2, dtype=dtype)(keras.layers.ReLU(dtype=dtype)(x))
    return keras.Model(inputs, flattened(x, "features", dtype))


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "episode", rounds=3, memory=True, batches=False)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, metavar="CONFIG", help="these alone")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, metavar="FORM", help="these alone")
    options = parser.parse_args(arguments)
    rows = []
    for case in options.only:
        steps = {form: step_of(case, form) for form in options.forms}
        times = {form: measure.summary(each) for form, each in measure.alternate(steps, options.rounds, 1).items()}
        for form, found in times.items():
            usual = times.get("usual")
            rows.append(
                {
                    **{"config": case, "form": form, **found},
                    "times_faster_than_usual": usual and usual["median_s"] / found["median_s"],
                    "added_memory_bytes": None if options.no_memory else measure.added_memory_bytes(_work, case, form),
                }
            )
    measure.report("episode", COLUMNS, rows, options)


def _work(case, form):
    """One train step, for `added_memory_bytes`: TensorFlow and XLA are started before it is returned."""
    tf.function(lambda x: x + 1, jit_compile=True)(tf.ones(1))
    return step_of(case, form)


COLUMNS = {
    "config": lambda row: row["config"],
    "form": lambda row: row["form"],
    "ms": measure.milliseconds,
    "times faster than usual": measure.ratio("times_faster_than_usual"),
    "GB": lambda row: "" if row["added_memory_bytes"] is None else f"{row['added_memory_bytes'] / 1e9:.2f}",
}


if __name__ == "__main__":
    main()
