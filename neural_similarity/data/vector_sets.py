"""Sets of vectors, sets of points, or images, for learned divergences.

n samples · d features · m points of a set
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Name → (classes, features) of scikit-learn's tables. `digits_table` are the handwritten digits as 64 grey levels.
TABLES = {"iris": (3, 4), "wine": (3, 13), "breast_cancer": (2, 30), "digits_table": (10, 64)}
RING_RADII = (0.2, 0.6, 1.0)  # of the classes
RING_NOISE, POINT_VARIANCE = 0.05, 0.1


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples with their classes.

    Attributes:
        x: `(n, d)` float32; sets of points, `(n, m, d)`; or images `(n, h, w, 3)` uint8.
        labels: `(n,)` int32.
    """

    x: np.ndarray
    labels: np.ndarray

    def __len__(self):
        """The number of samples, n."""
        return len(self.x)


@dataclass(frozen=True, eq=False)
class VectorSplits:
    """Training and test samples. `train_classes` are the names of the classes, which both have."""

    train: Samples
    test: Samples
    train_classes: tuple[str, ...]

    def facts(self) -> dict:
        """What a run must find again when it is resumed: the classes, and a checksum of all numbers."""
        crc = 0
        for part in (self.train, self.test):
            for array in (part.x, part.labels):
                crc = zlib.crc32(np.ascontiguousarray(array), crc)
        return {"train_classes": list(self.train_classes), "data_checksum": f"{crc:08x}"}


def load_table(name: str, test_fraction: float, seed: int) -> VectorSplits:
    """One of scikit-learn's tables, a share of every class for testing.

    Each feature is centred and scaled by mean and standard deviation of the training samples.

    Args:
        name: one of `TABLES`.
        test_fraction: the share of the samples to test on.
        seed: of the split.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    load = {"digits_table": datasets.load_digits}.get(name) or getattr(datasets, f"load_{name}")
    table = load()
    parts = train_test_split(
        table.data, table.target, test_size=test_fraction, random_state=seed % 2**32, stratify=table.target
    )
    train, test, train_labels, test_labels = parts
    mean, deviation = train.mean(0), train.std(0)
    deviation = np.where(deviation > 0, deviation, 1)  # of a feature that is always the same
    return VectorSplits(
        Samples(((train - mean) / deviation).astype(np.float32), train_labels.astype(np.int32)),
        Samples(((test - mean) / deviation).astype(np.float32), test_labels.astype(np.int32)),
        tuple(map(str, table.target_names)),
    )


def gaussian_rings(counts: Mapping[str, int], points: int, seed: int) -> VectorSplits:
    """Samples of Gaussians in the plane, whose means lie on three rings around the origin.

    The rings are the classes. A set of points is a sample of one Gaussian, with covariance 0.1·I, so that the rings,
    with radii 0.2, 0.6 and 1, overlap: a single point tells little of its ring. This is the task of Cilingir et al.
    (ICML 2020, section 5.1) as a re-implementation has it.

    Args:
        counts: `{"train": …, "test": …}`, how many Gaussians.
        points: m, of each.
        seed: of the draws.
    """
    return VectorSplits(
        *(_rings(counts[split], points, np.random.default_rng((seed, zlib.crc32(split.encode())))) for split in counts),
        ("inner ring", "middle ring", "outer ring"),
    )


def _rings(count, points, random):
    labels = (np.arange(count) % len(RING_RADII)).astype(np.int32)
    angles = random.uniform(0, 2 * np.pi, count)
    radii = np.array(RING_RADII)[labels] + RING_NOISE * random.normal(size=count)
    means = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    x = means[:, None] + POINT_VARIANCE**0.5 * random.normal(size=(count, points, 2))
    return Samples(x.astype(np.float32), labels)


def single_points(samples: Samples) -> Samples:
    """The points of all sets as samples of their own, with the classes of their sets."""
    n, m, d = samples.x.shape
    return Samples(samples.x.reshape(n * m, d), np.repeat(samples.labels, m))
