"""Tasks of the families' narrow networks on noise, and single steps of them, without a run folder."""

import functools

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.data import ImageSet, Splits
from neural_similarity.families import image_recognition
from neural_similarity.training.runtime import Replicas, Runtime

NARROW = ["model.widths=[3, 4, 5]", "data.global_batch_size=16", "schedule.warmup_steps=0"]
NARROW += ["optimizer.learning_rate=0.01"]


def noise(n):
    """n images of noise with labels from 0 to 9, both for training and for testing."""
    rng = np.random.default_rng(0)
    images = ImageSet(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), (np.arange(n) % 10).astype(np.int32))
    return Splits(images, None, images, tuple("0123456789"))


def one_replica(jit_compile=False):
    return Replicas(tf.distribute.get_strategy(), jit_compile=jit_compile)


@functools.cache
def two_replicas():
    """The same for all tests of a process: a second `MirroredStrategy` would count its collective sums from 0 again,
    and TensorFlow would take them for those of the first."""
    return Runtime("mirrored", 2, "float32", False, False).start()


def build(name, replicas=None, overrides=(), splits=None, dtype=None):
    """The config configs/cifar10/NAME.yaml, narrow, and its `Task`."""
    replicas = replicas or one_replica()
    config = configs.load(f"configs/cifar10/{name}.yaml", [*NARROW, *overrides], environment={})
    with replicas.scope():
        model = image_recognition.network(config, 10, dtype)
        return config, image_recognition.build_task(config, model, replicas, splits or noise(48))


def train_steps(task, replicas, steps):
    """What each of the first `steps` steps measures."""
    compiled = replicas.compile(task.step, reduce="mean")
    return [{k: float(v) for k, v in compiled(task.batch(tf.constant(s, tf.int64))).items()} for s in range(steps)]
