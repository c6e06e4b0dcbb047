"""Training and test accuracy of short runs in float32 and in bfloat16, to see what the precision costs.

python -m benchmarks.precision RUN [RUN …]

Test accuracy is shown twice. The usual one normalises by the moving averages of batch normalisation. While the learning
rate is high, those averages lag behind the weights, and test accuracy suffers for it in either precision. The other one
normalises each test batch by its own mean and variance, and so shows the effect of the precision alone.
"""

import argparse
import statistics

import numpy as np
import tensorflow as tf

from benchmarks.measure import first_line, table
from neural_similarity.data.batches import evaluation_batches
from neural_similarity.data.places import typed_path
from neural_similarity.families import image_recognition, load_run
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import open_run

ROWS = 10  # of training accuracy in metrics.jsonl; each covers ten steps


def accuracy(model, images, batch_size, training):
    """The share of images that a model classifies correctly.

    Args:
        model: a Keras model.
        images: an `ImageSet`. The last images, if they do not fill a batch, are left out: statistics of a smaller batch
            would be less exact than the others.
        batch_size: images per batch.
        training: True normalises by each batch's own statistics, False by the moving averages.
    """

    @tf.function
    def is_correct(images, labels):
        return tf.argmax(model(images, training=training), -1, tf.int32) == labels

    whole = images.take(np.arange(len(images) // batch_size * batch_size))
    correct = [is_correct(pixels, labels) for pixels, labels, _ in evaluation_batches(whole, batch_size)]
    return float(np.mean(correct))


def row(folder):
    """The row of the table for one run folder, which must hold a checkpoint."""
    run = open_run(folder)
    config = run.config
    test = image_recognition.load_data(config).test
    accuracies = [each["accuracy"] for each in read_rows(run.folder / "metrics.jsonl") if each["split"] == "train"]
    model = load_run(folder)
    by_averages, by_batch = (
        accuracy(model, test, config.data.global_batch_size, training) for training in (False, True)
    )
    return {
        "run": run.details.config,
        "precision": config.runtime.precision,
        "train": statistics.fmean(accuracies[-ROWS:]),
        "test_by_averages": by_averages,
        "test_by_batch": by_batch,
    }


def percent(key):
    """A column that shows the fraction under `key` in percent."""
    return lambda row: f"{100 * row[key]:.1f}"


COLUMNS = {
    "run": lambda row: row["run"],
    "precision": lambda row: row["precision"],
    f"training accuracy, the last {10 * ROWS} steps, %": percent("train"),
    "test accuracy, %": percent("test_by_averages"),
    "by each batch's own statistics, %": percent("test_by_batch"),
}


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=first_line(__doc__))
    parser.add_argument("runs", nargs="+", type=typed_path, metavar="RUN", help="run folder")
    print(table(COLUMNS, [row(folder) for folder in parser.parse_args(arguments).runs]))


if __name__ == "__main__":
    main()
