"""Vectors with a divergence between them that is known, to see whether it can be learned.  n vectors · d numbers"""

import zlib
from dataclasses import dataclass

import numpy as np

DIVERGENCES = ("mahalanobis", "generalized_kl", "itakura_saito", "quartic")
POINTS = ("gaussian", "gamma", "simplex")
POSITIVE = ("generalized_kl", "itakura_saito")  # divergences that are for positive numbers alone


@dataclass(frozen=True, eq=False)
class KnownDivergence:
    """Training and test vectors, `(n, d)` float32 each, and the name of the divergence between what they stand for.

    Attributes:
        train, test: the vectors.
        train_values, test_values: what they stand for, `(n, e)` float32: the vectors themselves, or numbers.
        name: one of `DIVERGENCES`.
        matrix: `(d, d)` float64, M of the Mahalanobis divergence; the others do not look at it.
    """

    train: np.ndarray
    test: np.ndarray
    train_values: np.ndarray
    test_values: np.ndarray
    name: str
    matrix: np.ndarray

    def between(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The true D(x, y) of pairs of values `(p, e)`: `(p,)` float32."""
        return _divergence(self.name, x.astype(np.float64), y.astype(np.float64), self.matrix).astype(np.float32)

    def facts(self) -> dict:
        """What a run must find again when it is resumed: a checksum of all vectors."""
        crc = 0
        for array in (self.train, self.test, self.train_values, self.test_values, self.matrix):
            crc = zlib.crc32(np.ascontiguousarray(array), crc)
        return {"data_checksum": f"{crc:08x}"}


def known_divergence(name: str, points: str, dimensions: int, train: int, test: int, seed: int) -> KnownDivergence:
    """Draws vectors.

    Args:
        name: one of `DIVERGENCES`: ½ (x − y)ᵀM(x − y) with a random M; those of `potentials.GeneralizedKL` and
            `ItakuraSaito`; `quartic`, the divergence of φ(x) = Σ x⁴/12.
        points: one of `POINTS`: correlated normal numbers; positive numbers with mean 1, of which each is two thirds of
            a gamma number of its own and a third of one that all numbers of a vector share; or shares that sum to 1, by
            softmax from the normal numbers.
        dimensions: d.
        train, test: how many vectors.
        seed: of the draws.
    """
    random = np.random.default_rng((seed, zlib.crc32(b"vectors")))
    factor = random.normal(size=(dimensions, dimensions)) / dimensions**0.5
    mixing = (np.eye(dimensions) + random.normal(size=(dimensions, dimensions)) / dimensions**0.5) / 2**0.5
    normal = random.normal(size=(train + test, dimensions)) @ mixing
    if points == "gamma":
        hidden = random.gamma(4.0, 0.25, (train + test, dimensions))
        shared = random.gamma(4.0, 0.25, (train + test, 1))
        x = (2 * hidden + shared) / 3
    elif points == "simplex":
        x = np.exp(normal - normal.max(1, keepdims=True))
        x /= x.sum(1, keepdims=True)
    else:
        x = normal
    x = x.astype(np.float32)
    return KnownDivergence(x[:train], x[train:], x[:train], x[train:], name, factor @ factor.T)


def digit_pairs(name: str, test_fraction: float, seed: int) -> KnownDivergence:
    """Handwritten digits as 64 grey levels from 0 to 1, which stand for the numbers 1 to 10: the digit plus one.

    So a network has to read the digits to learn the divergence between them (after Lu, Raff and Ferraro, ICLR 2023, who
    do so with photos of two digits).

    Args:
        name: one of `DIVERGENCES`.
        test_fraction: the share of every digit to test on.
        seed: of the split.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    table = datasets.load_digits()
    parts = train_test_split(
        table.data, table.target, test_size=test_fraction, random_state=seed % 2**32, stratify=table.target
    )
    train, test, train_digits, test_digits = (part.astype(np.float32) for part in parts)
    values = train_digits[:, None] + 1, test_digits[:, None] + 1
    return KnownDivergence(train / 16, test / 16, *values, name, np.eye(1))


def _divergence(name, x, y, matrix):
    if name == "mahalanobis":
        return np.einsum("pd,de,pe->p", x - y, matrix, x - y) / 2
    if name == "generalized_kl":
        return (x * np.log(x / y) - x + y).sum(-1)
    if name == "itakura_saito":
        return (x / y - np.log(x / y) - 1).sum(-1)
    return (x**4 / 12 - y**4 / 12 - y**3 / 3 * (x - y)).sum(-1)
