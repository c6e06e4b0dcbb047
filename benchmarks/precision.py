"""What precision does to short runs: their training accuracy, and test accuracy by the averages and by the batch.

python -m benchmarks.precision RUN [RUN …]

While the learning rate is high, the moving averages of batch normalisation lag behind the weights. Test accuracy by the
test batches' own mean and variance shows what precision does, without what the averages do.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.measure import table
from neural_similarity.data.batches import evaluation_batches
from neural_similarity.families import image_recognition, load_run
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import open_run

ROWS = 10  # of the training accuracy, ten steps each


def accuracy(model, images, batch_size, training):
    """The share of `images`, an `ImageSet`, that a model gets right; with `training` by each batch's own statistics.

    Images that would not fill a batch are left out, so that all statistics are of as many.
    """

    @tf.function
    def right(images, labels):
        return tf.argmax(model(images, training=training), -1, tf.int32) == labels

    whole = images.take(np.arange(len(images) // batch_size * batch_size))
    found = [right(pixels, labels) for pixels, labels, _ in evaluation_batches(whole, batch_size)]
    return float(np.mean(found))


def row(folder):
    """What there is to say of a run that has reached a checkpoint."""
    run = open_run(folder)
    config = run.config
    test = image_recognition.load_data(config).test
    rows = [each["accuracy"] for each in read_rows(run.folder / "metrics.jsonl") if each["split"] == "train"]
    model = load_run(folder)
    by_averages, by_batch = (accuracy(model, test, config.data.global_batch_size, how) for how in (False, True))
    return {
        "run": run.details["config"],
        "precision": config.runtime.precision,
        "train": statistics.fmean(rows[-ROWS:]),
        "test_by_averages": by_averages,
        "test_by_batch": by_batch,
    }


def percent(key):
    """A column of percentages."""
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder")
    print(table(COLUMNS, [row(folder) for folder in parser.parse_args(arguments).runs]))


if __name__ == "__main__":
    main()
