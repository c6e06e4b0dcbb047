"""Images per second that are read from JPEG files, cropped and scaled, beside those that a train step takes.

python -m benchmarks.streaming
"""

import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import measure
from neural_similarity.data.image_files import resized_centre
from neural_similarity.data.places import typed_path
from neural_similarity.data.retrieval_batches import training_batch
from neural_similarity.data.retrieval_sets import load_retrieval_set
from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.data.streamed import ImageFiles
from neural_similarity.training.loop import batches

SIZE = 224  # height and width of what the network takes
PHOTOS = 256
CLASSES = 16  # of the photos
ALPHA = 0.75  # the width of MobileNet


def photo(seed, width=500, height=375):
    """A picture with details of all sizes, as a photo has: noise at every scale, the larger the stronger."""
    random = np.random.default_rng(seed)
    layers = []
    for cells in (3, 6, 12, 25, 50, 125, 250):
        noise = random.normal(0, 1, (cells * height // width + 1, cells, 3)).astype(np.float32)
        channels = [Image.fromarray(noise[..., i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(3)]
        layers.append(np.stack(channels, -1) * 70 / cells**0.45)
    return np.clip(128 + np.sum(layers, 0), 0, 255).astype(np.uint8)


def photos(folder, count=PHOTOS):
    """Writes photos of `CLASSES` classes to a folder, as JPEGs of 500×375 pixels; returns them as a RetrievalPart."""
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(photo(i)).save(path, quality=90)
    labels = np.sort(np.arange(count) % CLASSES).astype(np.int32)
    files = ImageFiles(paths, SIZE, resized_centre, folder)
    return RetrievalPart(files, labels, tuple(map(str, range(CLASSES))), files.names)


def reader_of(part, augmentation, batch_size):
    """A function without arguments that takes one batch from the pipeline of the training loop.

    Args:
        part: a RetrievalPart.
        augmentation: `none` or `resized_crop`.
        batch_size: images per batch, an even number: two of a class.
    """
    batch = training_batch(part, 0, batch_size // 2, 2, True, augmentation)
    stream = iter(batches(batch, 0, 1 << 40))
    return lambda: tf.nest.map_structure(lambda x: x.numpy(), next(stream))


def step_of(batch_size):
    """A function without arguments that makes one update of MobileNet on a batch, and returns when it is made.

    What the network learns does not matter to the time: the loss is the mean square of its pooled features.
    """
    image = keras.Input((SIZE, SIZE, 3))
    network = keras.applications.MobileNet(alpha=ALPHA, include_top=False, weights=None, input_tensor=image)
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(network.trainable_variables)
    images = tf.random.Generator.from_seed(0).uniform((batch_size, SIZE, SIZE, 3), -1.0, 1.0)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.reduce_mean(network(images, training=False), (1, 2))))
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return functools.partial(_call, step, images)


def _call(step, images):
    step(images).numpy()


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "streaming", rounds=6)
    parser.set_defaults(batch_size=112)
    parser.add_argument(
        "--root",
        type=typed_path,
        metavar="DIR",
        help="read CUB-200-2011 from this folder of sets, not generated photos",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.root:
            part, of = load_retrieval_set("cub200", options.root, SIZE).train, "CUB-200-2011"
        else:
            part, of = photos(Path(folder)), "photos of 500×375"
        options.root = of  # what was measured, and not where it lies
        forms = {f"{of}, {name}": reader_of(part, name, options.batch_size) for name in ("none", "resized_crop")}
        step = f"step of MobileNet {ALPHA}, float32"
        forms[step] = step_of(options.batch_size)
        # One form after the other, not in turn: during a step, the pipeline's threads would fill its buffer. The
        # buffer is full at first, so that of a reader more calls are timed than of a step, which takes seconds.
        times_of = {}
        for name, call in forms.items():
            rounds = options.rounds if name == step else 5 * options.rounds
            times_of[name] = measure.summary(measure.alternate({name: call}, rounds)[name])
    rows = [
        {
            **{"what": name, **times},
            "images_per_s": options.batch_size / times["median_s"],
            "times_the_step": times_of[step]["median_s"] / times["median_s"],
        }
        for name, times in times_of.items()
    ]
    measure.report("streaming", COLUMNS, rows, options)


COLUMNS = {
    "what": lambda row: row["what"],
    "ms a batch": measure.milliseconds,
    "images/s": lambda row: f"{row['images_per_s']:,.0f}",
    "× the step's rate": measure.ratio("times_the_step"),
}


if __name__ == "__main__":
    main()
