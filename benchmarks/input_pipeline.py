"""Images per second that the input pipeline delivers, beside those that the fastest network's train step takes.

python -m benchmarks.input_pipeline
"""

import numpy as np
import tensorflow as tf

from benchmarks import measure
from benchmarks.train_step import Form, batch_of, step_of
from neural_similarity.data import ImageSet
from neural_similarity.data.batches import training_batch
from neural_similarity.training.loop import batches

IMAGES = 50_000  # as many as CIFAR's training set, so that a batch is read from equally distant places in memory


def pipeline_of(augmentation, batch_size):
    """A function without arguments that takes one batch from the pipeline of the training loop.

    Args:
        augmentation: as `data.augmentation` in a config.
        batch_size: images per batch.
    """
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    images = ImageSet(pixels, random.integers(0, 10, IMAGES, np.int32))
    stream = iter(batches(training_batch(images, 0, batch_size, augmentation), 0, 1 << 40))
    return lambda: tf.nest.map_structure(lambda x: x.numpy(), next(stream))


def main(arguments=None):
    """The command line."""
    options = measure.parser(measure.first_line(__doc__), "input_pipeline", rounds=30).parse_args(arguments)
    forms = {f"pipeline, {name}": pipeline_of(name, options.batch_size) for name in ("none", "crop_flip")}
    batch = batch_of(options.batch_size)
    for precision in ("float32", "mixed_bfloat16"):
        forms[f"baseline step, {precision}"] = step_of(Form("baseline", "ours", precision), batch)
    # One form after the other, not in turn: during a step, the pipeline's threads would fill its buffer.
    times_of = {}
    for name, call in forms.items():
        times_of[name] = measure.summary(measure.alternate({name: call}, options.rounds)[name])
    fastest = min(times["median_s"] for name, times in times_of.items() if "step" in name)
    rows = [
        {
            **{"what": name, **times},
            "images_per_s": options.batch_size / times["median_s"],
            "times_the_fastest_network": fastest / times["median_s"],
        }
        for name, times in times_of.items()
    ]
    measure.report("input_pipeline", COLUMNS, rows, options)


COLUMNS = {
    "what": lambda row: row["what"],
    "ms a batch": measure.milliseconds,
    "images/s": lambda row: f"{row['images_per_s']:,.0f}",
    "× the fastest network's rate": measure.ratio("times_the_fastest_network"),
}


if __name__ == "__main__":
    main()
