"""Divergences in scikit-learn's manner: its own checks, classifiers and clusters by them, and what they refuse."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from slow_forms import normal

from neural_similarity.estimators import BregmanDivergence, BregmanKMeans, k_means
from neural_similarity.estimators.named import FIXED, LEARNED
from neural_similarity.potentials import FunctionalMaxAffine, GeneralizedKL, InputConvex, MaxAffine, SquaredEuclidean

FEW = 30  # steps


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([BregmanDivergence(steps=2), BregmanKMeans(3)])
def test_scikit_learns_own_checks(estimator, check):
    """All of them pass. None asks for what a divergence lacks: symmetry and the triangle inequality."""
    check(estimator)


def wine():
    x, y = load_wine(return_X_y=True)
    return train_test_split(StandardScaler().fit_transform(x), y, test_size=0.4, random_state=0, stratify=y)


@pytest.mark.parametrize("loss", ["n_pair", "triplet", "contrastive"])
def test_learning_brings_classes_together(loss):
    x, test, y, labels = wine()
    learned = BregmanDivergence(loss=loss, steps=FEW, learning_rate=0.05, random_state=0).fit(x, y)
    start = BregmanDivergence(loss=loss, steps=0, random_state=0).fit(x, y)

    def contrast(estimator):
        divergences, same = estimator.pairwise(test), labels[:, None] == labels
        return divergences[~same].mean() / divergences[same & ~np.eye(len(test), dtype=bool)].mean()

    assert contrast(learned) > 1.3 * contrast(start)
    assert len(learned.loss_curve_) == FEW
    assert learned.loss_curve_[-5:].mean() < learned.loss_curve_[:5].mean()


def test_a_classifier_in_a_pipeline():
    x, y = load_wine(return_X_y=True)
    classifier = make_pipeline(
        StandardScaler(),
        BregmanDivergence(steps=FEW, learning_rate=0.05, random_state=0),
        KNeighborsClassifier(5, metric="precomputed"),
    )
    assert cross_val_score(classifier, x, y, cv=3).min() > 0.9


def test_a_function_as_metric():
    """scikit-learn calls it for a sample and a reference, in this order."""
    x, test, y, _ = wine()
    divergence = BregmanDivergence(steps=FEW, random_state=0).fit(x, y)
    one = KNeighborsClassifier(3, metric="precomputed").fit(divergence.transform(x), y)
    other = KNeighborsClassifier(3, metric=divergence.divergence_of, algorithm="brute").fit(x, y)
    few = test[:3]
    np.testing.assert_array_equal(other.predict(few), one.predict(divergence.transform(few)))
    table = divergence.pairwise(few, x[:2])
    assert table[1, 0] == pytest.approx(divergence.divergence_of(few[1], x[0]), rel=1e-4)
    assert table[1, 0] != pytest.approx(divergence.divergence_of(x[0], few[1]), rel=1e-3)


def test_all_pairs_are_computed_in_blocks(monkeypatch):
    x, test, y, _ = wine()
    divergence = BregmanDivergence(steps=2, random_state=0).fit(x, y)
    expected = divergence.pairwise(test, x)
    monkeypatch.setattr("neural_similarity.estimators.divergence._ALL_AT_ONCE", 10 * len(x))
    np.testing.assert_allclose(divergence.pairwise(test, x), expected, atol=1e-5)
    np.testing.assert_array_equal(np.diag(divergence.pairwise(test)), 0)
    assert list(divergence.get_feature_names_out()[:2]) == ["bregmandivergence0", "bregmandivergence1"]


def test_the_same_seed_gives_the_same_divergence():
    x, test, y, _ = wine()
    first, again, other = (BregmanDivergence(steps=3, random_state=seed).fit(x, y).pairwise(test) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_features_far_from_the_origin():
    """In float32, iris moved by 1,000 has nearly the divergences of iris, and the same in float64."""
    x, y = load_iris(return_X_y=True)
    for dtype, tolerance in (("float32", 1e-3), ("float64", 1e-9)):
        here, there = (
            BregmanDivergence(steps=3, dtype=dtype, random_state=0).fit(moved, y).pairwise(moved)
            for moved in (x, x + 1000)
        )
        np.testing.assert_allclose(there, here, atol=tolerance * here.max())


def test_one_feature_far_from_the_origin_leaves_the_scale_alone():
    x, y = load_iris(return_X_y=True)
    moved = x + np.array([0, 0, 0, 1e6])
    scales = [BregmanDivergence(steps=0).fit(each, y).scale_ for each in (x, moved)]
    assert scales[0] == pytest.approx(scales[1], rel=1e-6)
    assert scales[0] == pytest.approx((x - x.mean(0)).std())
    assert BregmanDivergence(steps=0).fit(np.full_like(x, 0.1), y).scale_ == 1


def test_a_layer_of_ones_own_is_copied():
    """With its weights, if it has them; without, with weights of the estimator's seed."""
    x, y = load_iris(return_X_y=True)
    mine = InputConvex(1, 4)
    one, same, other = (BregmanDivergence(mine, steps=2, random_state=seed).fit(x, y) for seed in (0, 0, 1))
    assert not mine.built
    np.testing.assert_array_equal(one.transform(x), same.transform(x))
    assert np.any(one.transform(x) != other.transform(x))
    mine = MaxAffine(3)
    mine.start_from(normal(5, 3, 4))
    for copy in (BregmanDivergence(mine, steps=0).fit(x, y), BregmanKMeans(3, divergence=mine).fit(x)):
        assert copy.layer_ is not mine
        np.testing.assert_array_equal(copy.layer_.slopes, mine.slopes)


@pytest.mark.parametrize("name", [*FIXED, *LEARNED])
@pytest.mark.parametrize("direction", ["backward", "jeffreys"])
def test_every_divergence_is_fitted(name, direction):
    x, y = load_iris(return_X_y=True)
    x = x / 10  # between 0 and 1
    fitted = BregmanDivergence(name, direction=direction, steps=3, random_state=0).fit(x, y)
    found = fitted.pairwise(x[:20], x[20:40])
    inside = (fitted.layer_.pairwise(fitted._scaled(b), fitted._scaled(a)) for a, b in ((x[:20], x[20:40]),))
    backward = next(inside).numpy().T
    forward = fitted.layer_.pairwise(fitted._scaled(x[:20]), fitted._scaled(x[20:40])).numpy()
    expected = backward if direction == "backward" else forward + backward
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-4 * expected.max() + 1e-6)
    assert (len(fitted.loss_curve_) == 3) == (name in LEARNED)


def test_a_second_fit_forgets_the_first_divergence():
    x = np.abs(normal(6, 30, 2)) + 0.1
    model = BregmanKMeans(2, divergence="itakura_saito", random_state=0).fit(x)
    model.set_params(divergence=lambda a, b: ((a[:, None] - b) ** 2).sum(-1)).fit(x)
    expected = BregmanKMeans(2, random_state=0).fit(x)
    np.testing.assert_array_equal(model.labels_, expected.labels_)


def test_a_function_as_metric_is_wrong_for_the_samples_that_it_was_fitted_with():
    """scikit-learn takes D(y, x) to be D(x, y) there, as the class says; `precomputed` is right."""
    x, y = load_iris(return_X_y=True)
    few = np.r_[0:4, 50:54, 100:104]
    divergence = BregmanDivergence(steps=30, random_state=0).fit(x, y)
    by_function = KNeighborsClassifier(1, metric=divergence.divergence_of, algorithm="brute").fit(x[few], y[few])
    distances, _ = by_function.kneighbors(n_neighbors=11)
    right = np.sort(divergence.pairwise(x[few], x[few]), axis=1)[:, 1:]
    assert np.abs(np.sort(distances, 1) - right).max() > 1e-3


def test_fitted_estimators_are_pickled():
    x, y = load_iris(return_X_y=True)
    fitted = BregmanDivergence(steps=2, random_state=0).fit(x, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(x), fitted.transform(x))


# Clusters


def test_squared_distances_cluster_as_k_means():
    from sklearn.cluster import KMeans

    x = np.concatenate([normal(0, 40, 2), normal(1, 60, 2) + 6, normal(2, 50, 2) * 0.5 + [0, 7]])
    found = BregmanKMeans(3, random_state=0).fit(x)
    expected = KMeans(3, n_init=5, random_state=0).fit(x)
    assert adjusted_rand_score(found.labels_, expected.labels_) == 1
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
    np.testing.assert_array_equal(found.predict(x), found.labels_)
    np.testing.assert_allclose(np.sort(found.cluster_centers_, 0), np.sort(expected.cluster_centers_, 0), atol=1e-9)
    assert list(found.get_feature_names_out()) == ["bregmankmeans0", "bregmankmeans1", "bregmankmeans2"]


def test_each_noise_has_its_divergence():
    """Gamma noise is multiplicative: Itakura–Saito finds the clusters that squared distances cut in two."""
    random = np.random.default_rng(0)
    levels = np.array([[1.0, 1.0, 1.0], [6.0, 6.0, 1.0], [40.0, 40.0, 40.0]])
    labels = np.repeat(np.arange(3), 100)
    x = levels[labels] * random.gamma(8, 1 / 8, (300, 3))
    scores = {
        name: adjusted_rand_score(labels, BregmanKMeans(3, divergence=name, n_init=5, random_state=0).fit_predict(x))
        for name in ("squared_euclidean", "itakura_saito")
    }
    assert scores["itakura_saito"] > 0.95
    assert scores["squared_euclidean"] < 0.8


@pytest.mark.parametrize("name", ["generalized_kl", "itakura_saito", "logistic"])
def test_the_sum_never_grows(name):
    x = 1 / (1 + np.exp(-normal(3, 80, 3)))
    sums = [
        BregmanKMeans(5, divergence=name, n_init=1, max_iter=count, random_state=0).fit(x).inertia_
        for count in range(1, 8)
    ]
    assert np.all(np.diff(sums) <= 1e-12)
    assert sums[-1] < sums[0]


def test_a_cluster_without_samples_gets_the_farthest_one():
    """Two starts at one place: the second one has nothing, as ties go to the first."""
    x = np.array([[0.0], [0.1], [8.0], [9.0]])
    squared = lambda a, b: ((a[:, None] - b) ** 2).sum(-1)  # noqa: E731
    found = k_means._clusters_from(squared, x, np.array([[0.0], [0.0]]), 10)
    assert sorted(np.bincount(found.labels)) == [2, 2]
    assert np.isfinite(found.centres).all()


def test_samples_that_are_all_equal():
    model = BregmanKMeans(2, random_state=0).fit(np.ones((5, 2)))
    assert model.inertia_ == 0
    assert np.isfinite(model.cluster_centers_).all()


def test_clusters_of_a_learned_divergence():
    x, test, y, labels = wine()
    learned = BregmanDivergence(steps=100, learning_rate=0.05, random_state=0).fit(x, y)
    model = clone(BregmanKMeans(3, divergence=learned.pairwise, random_state=0)).fit(test)
    assert adjusted_rand_score(labels, model.labels_) > 0.8
    divergences = model.transform(test)
    np.testing.assert_array_equal(divergences.argmin(1), model.labels_)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: BregmanDivergence("kl").fit(x, y), "`divergence` must be one of 'squared_euclidean'"),
        (lambda x, y: BregmanDivergence(loss="mse").fit(x, y), "`loss` must be one of 'n_pair', 'triplet'"),
        (lambda x, y: BregmanDivergence(direction="up").fit(x, y), "`direction` must be one of"),
        (lambda x, y: BregmanDivergence().fit(x, 0 * y), r"y has 1 class \(0\); expected two classes or more"),
        (lambda x, y: BregmanDivergence().fit(x[:0], y[:0]), "Found array with 0 sample"),
        (lambda x, y: BregmanDivergence().fit(x * np.nan, y), "Input X contains NaN"),
        (
            lambda x, y: BregmanDivergence(GeneralizedKL()).fit(x - x.min(), y),
            r"X\[\d+, \d+\] is 0; GeneralizedKL is for numbers greater than 0\. Next: another divergence",
        ),
        (
            lambda x, y: BregmanKMeans(2, divergence="logistic").fit(x),
            "Logistic is for numbers between 0 and 1, both excluded",
        ),
        (lambda x, y: BregmanKMeans(0).fit(x), "`n_clusters` must be an integer of at least 1. Received: 0"),
        (lambda x, y: BregmanKMeans(151).fit(x), "`n_clusters` must be from 1 to 150, the n_samples"),
        (lambda x, y: BregmanKMeans(2, n_init=0).fit(x), "`n_init` must be an integer of at least 1"),
        (lambda x, y: BregmanKMeans(2, divergence="input_convex").fit(x), "`divergence` must be one of 'squared_"),
        (lambda x, y: BregmanKMeans(2, divergence=InputConvex()).fit(x), "is learned, and has no weights yet. Next"),
        (lambda x, y: BregmanKMeans(2, divergence=FunctionalMaxAffine()).fit(x), "compares sets, and the mean"),
        (lambda x, y: BregmanDivergence(steps=-1).fit(x, y), "`steps` must be an integer of at least 0"),
        (lambda x, y: BregmanDivergence(batch_size=0).fit(x, y), "`batch_size` must be an integer of at least 1"),
        (lambda x, y: BregmanDivergence(dtype="float16").fit(x, y), "`dtype` must be 'float32' or 'float64'"),
        (lambda x, y: BregmanDivergence("generalized_kl").fit(x + 1e-50 - x, y), "0; GeneralizedKL is for numbers"),
        (
            lambda x, y: BregmanKMeans(2, divergence="itakura_saito").fit(x).predict(-x),
            "ItakuraSaito is for numbers greater than 0",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(*load_iris(return_X_y=True))


def test_a_training_that_diverges_says_so():
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"of update \d+ is not finite\. Next: a smaller"):
        BregmanDivergence(SquaredEuclideanWithWeight(), steps=60, learning_rate=1e30).fit(x, y)


class SquaredEuclideanWithWeight(SquaredEuclidean):
    """w·‖x − y‖², which nothing keeps from leaving all bounds."""

    has_weights = True

    def build(self, input_shape):
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

    def all_pairs(self, samples, references):
        return self.factor**3 * super().all_pairs(samples, references)


def test_estimators_are_cloned():
    for estimator in (BregmanDivergence(InputConvex(), margin=2), BregmanKMeans(4, divergence="logistic")):
        assert clone(estimator).get_params().keys() == estimator.get_params().keys()
