"""Few-shot networks of two filters, and episodes of noise for them."""

import numpy as np
import tensorflow as tf

from neural_similarity import config as configs
from neural_similarity.data.class_splits import ClassImages, ClassSplits
from neural_similarity.families import few_shot
from neural_similarity.families.few_shot_methods import method_of

SIZE = 16
NARROW = ["data.name=folder", "data.root=/nowhere", f"data.image_size={SIZE}", "data.class_splits=none"]
NARROW += ["model.filters=2", "data.augmentation=none", "episode.n_way=3", "episode.k_shot=2", "episode.n_query=2"]
FEW = {
    "protonet": ["method.training_n_way=4"],
    "maml": ["method.tasks=2", "method.inner_steps=2", "method.test_inner_steps=3"],
    "protonet_mahalanobis": ["method.training_n_way=4", "method.rank=2"],
    "protonet_max_affine": ["method.training_n_way=4", "method.pieces=3", "method.curvature=0.1"],
    "protonet_input_convex": ["method.training_n_way=4", "method.width=3"],
    "baseline": ["method.global_batch_size=8", "method.fine_tune_steps=5"],
    "baseline_pp": ["method.global_batch_size=8", "method.fine_tune_steps=5"],
}
METHODS = {  # config → the method that it names
    **{name: name for name in ("protonet", "maml", "baseline", "baseline_pp")},
    **dict.fromkeys(("anil", "static_dns", "static_uns"), "maml"),
    "dynamic_proto": "protonet",
    "dynamic_cosine": "baseline_pp",
    **{f"bregman/cifar_fs/{name}": f"protonet_{name}" for name in ("mahalanobis", "max_affine", "input_convex")},
}


def load(name, *overrides):
    """The config configs/cifar_fs/5shot_NAME.yaml, or configs/NAME.yaml, tiny."""
    path = name if "/" in name else f"cifar_fs/5shot_{name}"
    settings = [*NARROW, *FEW[METHODS[name]], *overrides]
    return configs.load(f"configs/{path}.yaml", settings, environment={})


def build(name, *overrides, dtype="float32"):
    """(config, method, network for six training classes)."""
    config = load(name, *overrides)
    return config, method_of(config), few_shot.network(config, 6, dtype)


def part(classes, images_per_class=6, seed=0):
    """Noise, a little brighter from class to class."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 200, (classes * images_per_class, SIZE, SIZE, 3), np.uint8)
    rows = tuple(np.arange(len(images)).reshape(classes, images_per_class))
    images += np.repeat(np.arange(classes, dtype=np.uint8) * 5, images_per_class)[:, None, None, None]
    return ClassImages(images, rows, tuple(f"class {i}" for i in range(classes)))


def noise_splits():
    """Six training classes, three of validation and four of test."""
    return ClassSplits(train=part(6), validation=part(3, seed=1), test=part(4, seed=2))


def episode(config, number=0, seed=3):
    """(support images, their labels, queries) of three classes, float32."""
    rng = np.random.default_rng((seed, number))
    n_way, k_shot, n_query = config.episode.n_way, config.episode.k_shot, config.episode.n_query
    support, queries = (rng.uniform(0, 255, (n_way * m, SIZE, SIZE, 3)) for m in (k_shot, n_query))
    labels = np.repeat(np.arange(n_way), k_shot).astype(np.int32)
    return tf.constant(support, tf.float32), tf.constant(labels), tf.constant(queries, tf.float32)
