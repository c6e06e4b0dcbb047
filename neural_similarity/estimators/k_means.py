"""Hard clustering by a Bregman divergence, in scikit-learn's manner (Banerjee et al., JMLR 2005).

m samples · k clusters · d features
"""

from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from neural_similarity.arguments import count
from neural_similarity.estimators.named import FIXED, check_domain, layer_for
from neural_similarity.potentials import Divergence, Potential


class BregmanKMeans(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator):
    """k-means with D(x, centre) in the place of the squared distance.

    Each sample is assigned to the centre c with the smallest D(sample, c). Then each centre becomes the mean of its
    samples, which is the best reference for them, whatever φ is. So the sum of the divergences never grows. A cluster
    that loses all its samples gets the sample that is farthest from its own centre.

    Args:
        n_clusters: k.
        divergence: the name of a fixed one, as for `BregmanDivergence`; a `potentials.Potential`, with its weights if
            it is learned; or a function of samples and references, such as `pairwise` of a `BregmanDivergence` that was
            fitted with `direction="forward"`.
        n_init: how often it starts anew; the best end is kept.
        max_iter: of each start, how often the centres move at most.
        random_state: an integer, a `RandomState` or None: what the first centres are drawn by. The first is any sample,
            each other one a sample drawn in proportion to its divergence from the nearest centre, as in k-means++.

    Attributes:
        layer_: the `potentials.Potential`; None where a function was given.
        cluster_centers_: `(k, d)`.
        labels_: `(m,)` int32.
        inertia_: the sum of the divergences of all samples from their centres.
        n_iter_: how often the centres moved.
        n_features_in_: d.
    """

    def __init__(self, n_clusters=8, *, divergence="squared_euclidean", n_init=3, max_iter=300, random_state=None):
        self.n_clusters = n_clusters
        self.divergence = divergence
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X, y=None):
        """Finds the clusters of samples X `(m, d)`. `y` is not looked at.

        Raises:
            ValueError: X is no such array, has fewer samples than there are clusters, or lies outside of the domain of
                the divergence.
        """
        X = validate_data(self, X, dtype=np.float64)
        starts, moves = count("n_init", self.n_init), count("max_iter", self.max_iter)
        if count("n_clusters", self.n_clusters) > len(X):
            raise ValueError(f"`n_clusters` must be from 1 to {len(X)}, the n_samples. Received: {self.n_clusters}")
        random = check_random_state(self.random_state)
        self.layer_ = None
        if not callable(self.divergence) or isinstance(self.divergence, Divergence):
            self.layer_ = self._layer()
            check_domain(X, self.layer_)
        found = bregman_k_means(self._pairwise, X, self.n_clusters, random, starts, moves)
        self._n_features_out = self.n_clusters
        self.inertia_, self.cluster_centers_, self.labels_, self.n_iter_ = found
        return self

    def _layer(self):
        if isinstance(self.divergence, Divergence) and not isinstance(self.divergence, Potential):
            raise ValueError(
                f"{type(self.divergence).__name__} compares sets, and the mean of samples is not their best centre. "
                "Next: a potential of neural_similarity.potentials"
            )
        if isinstance(self.divergence, Potential) and self.divergence.has_weights and not self.divergence.built:
            raise ValueError(
                f"{type(self.divergence).__name__} is learned, and has no weights yet. Next: train it, by "
                "BregmanDivergence(…).fit(X, y), and give its `pairwise`"
            )
        return layer_for(self.divergence, 0, "float64", names=FIXED)

    def _pairwise(self, samples, references):
        """D of all pairs, as NumPy arrays."""
        if self.layer_ is None:
            return self.divergence(samples, references)
        return np.maximum(self.layer_.pairwise(samples, references).numpy(), 0)

    def predict(self, X):
        """The cluster of each sample, `(q,)` int32."""
        return self.transform(X).argmin(1).astype(np.int32)

    def transform(self, X):
        """D of samples `(q, d)` and all centres, `(q, k)`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        if self.layer_ is not None:
            check_domain(X, self.layer_)
        return self._pairwise(X, self.cluster_centers_)


class Clusters(NamedTuple):
    """What `bregman_k_means` found.

    Attributes:
        inertia: the sum of the divergences of all samples from their centres.
        centres: `(k, d)`.
        labels: `(m,)` int32.
        moves: how often the centres moved.
    """

    inertia: float
    centres: np.ndarray
    labels: np.ndarray
    moves: int


def bregman_k_means(pairwise, x, k, random, starts=3, most_moves=300) -> Clusters:
    """Clusters samples; see `BregmanKMeans`.

    Args:
        pairwise: `pairwise(samples, references)` returns D of all pairs, of which the mean of samples must be the best
            reference.
        x: `(m, d)` samples.
        k: how many clusters.
        random: a `numpy.random.RandomState`.
        starts: how often it starts anew; the best end is kept.
        most_moves: of each start.
    """
    found = [_clusters_from(pairwise, x, _first_centres(pairwise, x, k, random), most_moves) for _ in range(starts)]
    return min(found, key=lambda one: one.inertia)


def _first_centres(pairwise, x, k, random):
    centres = [x[random.randint(len(x))]]
    nearest = pairwise(x, centres[0][None])[:, 0]
    while len(centres) < k:
        total = nearest.sum(dtype=np.float64)
        probabilities = nearest / total if total > 0 else np.full(len(x), 1 / len(x))
        centres.append(x[random.choice(len(x), p=probabilities)])
        nearest = np.minimum(nearest, pairwise(x, centres[-1][None])[:, 0])
    return np.array(centres)


def _clusters_from(pairwise, x, centres, most_moves):
    divergences = pairwise(x, centres)
    labels, before, moves = divergences.argmin(1), None, 0
    while moves < most_moves and (before is None or (before != labels).any()):
        moves += 1
        centres = _means(x, labels, divergences)
        divergences = pairwise(x, centres)
        before, labels = labels, divergences.argmin(1)
    own = divergences[np.arange(len(x)), labels]
    return Clusters(float(own.sum()), centres, labels.astype(np.int32), moves)


def _means(x, labels, divergences):
    """The mean of each cluster. Clusters without samples get those that are farthest from their own centres."""
    counts = np.bincount(labels, minlength=divergences.shape[1])
    sums = np.zeros((len(counts), x.shape[1]), x.dtype)
    np.add.at(sums, labels, x)
    centres = sums / np.maximum(counts, 1)[:, None].astype(x.dtype)
    empty = np.flatnonzero(counts == 0)
    farthest = np.argsort(-divergences[np.arange(len(x)), labels], kind="stable")
    centres[empty] = x[farthest[: len(empty)]]
    return centres
