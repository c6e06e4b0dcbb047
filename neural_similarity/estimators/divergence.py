"""A Bregman divergence that is learned from labelled vectors, in scikit-learn's manner.

q samples · n references · m training samples · d features
"""

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from neural_similarity.arguments import count
from neural_similarity.distances import Bregman
from neural_similarity.estimators.named import check_domain, layer_for
from neural_similarity.losses import ContrastiveLoss, NPairLoss, TripletLoss
from neural_similarity.miners import RandomNegatives, SemiHard

LOSSES = ("n_pair", "triplet", "contrastive")
_ALL_AT_ONCE = 1 << 22  # divergences that are computed together


class BregmanDivergence(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learns a divergence D(x, y) under which samples of one class are near, and others are far.

    D(x, y) = φ(x) − φ(y) − ⟨∇φ(y), x − y⟩ with a convex φ that is learned. x is a sample, and y a reference: D(x, y)
    and D(y, x) differ. It is no metric: there is no triangle inequality, so that trees for neighbours do not apply. Two
    ways to classify by it:

        make_pipeline(BregmanDivergence(), KNeighborsClassifier(metric="precomputed")).fit(X, y)
        KNeighborsClassifier(metric=BregmanDivergence().fit(X, y).divergence_of, algorithm="brute").fit(X, y)

    The first compares all at once, by `transform`. The second calls a function for every two vectors, which is slow.
    Predict with it only for samples that it was not fitted with: for an array and itself, scikit-learn computes half of
    the pairs and copies them, as if D(y, x) were D(x, y).

    Where the divergence is learned, the features are centred, and divided by one common number, their standard
    deviation. Features of very different units should be scaled before, by `StandardScaler`.

    Args:
        divergence: `"squared_euclidean"`, `"mahalanobis"`, `"max_affine"`, `"input_convex"`, which are learned but for
            the first; `"generalized_kl"`, `"itakura_saito"`, `"logistic"`, `"log_sum_exp"`, which are fixed; or a
            `potentials.Potential`, of which a copy is trained, from its weights if it has them.
        loss: what is made small: `"n_pair"`, `"triplet"` or `"contrastive"`; see `neural_similarity.losses`.
        margin: of the triplet and the contrastive loss. The temperature of the N-pair loss is 1.
        direction: `"forward"`, `"backward"`, `"jeffreys"` or `"minimum"`; see `distances.Bregman`. It holds for
            training and for all results.
        steps: updates by Adam.
        batch_size: samples of an update; all of them where there are fewer.
        learning_rate: of Adam.
        dtype: `"float32"` or `"float64"`, in which it is computed; a layer that is given has its own.
        random_state: an integer, a `RandomState` or None: what weights and batches are drawn by.

    Attributes:
        layer_: the trained `potentials.Potential`. It takes centred and scaled vectors.
        center_: `(d,)` float64, what is taken away; zeros for fixed divergences.
        scale_: what the rest is divided by.
        references_: `(m, d)`, the training samples.
        classes_: the classes of the training samples.
        loss_curve_: the loss of each update.
        n_features_in_: d.
    """

    def __init__(
        self,
        divergence="input_convex",
        *,
        loss="n_pair",
        margin=1.0,
        direction="forward",
        steps=300,
        batch_size=128,
        learning_rate=0.01,
        dtype="float64",
        random_state=None,
    ):
        self.divergence = divergence
        self.loss = loss
        self.margin = margin
        self.direction = direction
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dtype = dtype
        self.random_state = random_state

    def fit(self, X, y):
        """Learns the divergence.

        Args:
            X: `(m, d)` numbers.
            y: `(m,)` classes.

        Returns:
            The estimator itself.

        Raises:
            ValueError: X or y is not as above; there is one class only; or X lies outside of the potential's domain.
        """
        steps, batch_size = count("steps", self.steps, least=0), count("batch_size", self.batch_size)
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"`dtype` must be 'float32' or 'float64'. Received: {self.dtype!r}")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has 1 class ({self.classes_[0]}); expected two classes or more, as a divergence is learned from "
                "what differs"
            )
        random = check_random_state(self.random_state)
        self.layer_ = layer_for(self.divergence, int(random.randint(2**31 - 1)), self.dtype)
        check_domain(X, self.layer_)
        self.center_, self.scale_ = np.zeros(X.shape[1]), 1.0
        if self.layer_.has_weights:
            self.center_ = X.mean(0)
            deviation = float((X - self.center_).std())
            if deviation > np.finfo(np.float64).eps * np.abs(X).max():  # and not what rounding leaves of equal samples
                self.scale_ = deviation
        self.references_, self._n_features_out = X, len(X)
        self.layer_.ready(X[:1])
        self.loss_curve_ = self._train(self._scaled(X), labels, random, steps, batch_size)
        return self

    def _train(self, x, labels, random, steps, batch_size):
        distance = Bregman(self.layer_, direction=self.direction)
        loss, weights = self._loss(distance), self.layer_.trainable_variables
        if not weights:
            return np.zeros(0)
        optimizer = keras.optimizers.Adam(self.learning_rate)
        optimizer.build(weights)

        @tf.function(reduce_retracing=True)
        def update(vectors, classes, key):
            with tf.GradientTape() as tape:
                value = loss.measure(vectors, classes, key)[0]
            optimizer.apply(tape.gradient(value, weights), weights)
            return value

        values, size = [], min(batch_size, len(x))
        for _ in range(steps):
            rows = random.choice(len(x), size, replace=False)
            key = random.randint(2**31 - 1, size=2).astype(np.int32)
            values.append(update(tf.constant(x[rows]), tf.constant(labels[rows]), tf.constant(key)))
        values = np.array([float(value) for value in values])
        finite = np.isfinite(values)
        if not finite.all() or not all(np.isfinite(weight.numpy()).all() for weight in weights):
            where = f"The loss of update {int(np.argmin(finite)) + 1} is" if not finite.all() else "The weights are"
            raise ValueError(f"{where} not finite. Next: a smaller `learning_rate`")
        return values

    def _loss(self, distance):
        if self.loss == "n_pair":
            return NPairLoss(temperature=1.0, distance=distance)
        if self.loss == "triplet":
            return TripletLoss(margin=self.margin, squared=False, miner=SemiHard(self.margin), distance=distance)
        if self.loss == "contrastive":
            return ContrastiveLoss(negative_margin=self.margin, miner=RandomNegatives(), distance=distance)
        raise ValueError(f"`loss` must be one of {', '.join(map(repr, LOSSES))}. Received: {self.loss!r}")

    def pairwise(self, X, Y=None):
        """D of all pairs, computed in blocks.

        Args:
            X: `(q, d)` samples.
            Y: `(n, d)` references; None for X itself, with a diagonal of zeros.

        Returns:
            `(q, n)` of the estimator's dtype. Numbers that rounding made negative are 0.

        Raises:
            ValueError: X or Y is not as above, or lies outside of the potential's domain.
        """
        found = self._pairwise(self._checked(X), self._checked(X if Y is None else Y))
        if Y is None:
            np.fill_diagonal(found, 0)
        return found

    def transform(self, X):
        """D of samples and all training samples, `(q, m)`; see `pairwise`."""
        return self._pairwise(self._checked(X), self.references_)

    def divergence_of(self, x, y):
        """D of one sample and one reference, vectors `(d,)`: a float, for what takes a function as `metric`."""
        found = self._pairwise(np.asarray(x, np.float64)[None], np.asarray(y, np.float64)[None])
        return float(found[0, 0])

    def _checked(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        check_domain(X, self.layer_)
        return X

    def _scaled(self, X):
        return ((X - self.center_) / self.scale_).astype(self.dtype)

    def _pairwise(self, X, Y):
        distance = Bregman(self.layer_, direction=self.direction)
        references = distance.prepare(self._scaled(Y))
        found = np.empty((len(X), len(Y)), self.dtype)
        rows = max(1, _ALL_AT_ONCE // len(Y))
        for start in range(0, len(X), rows):
            block = slice(start, start + rows)
            found[block] = -distance.coarse(distance.prepare(self._scaled(X[block])), references).numpy()
        return np.maximum(found, 0, out=found)

    def __sklearn_tags__(self):
        """What scikit-learn asks of an estimator: y is needed, and results are of `dtype`, whatever X is."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags
