"""Time of divergences between all pairs of vectors: beside the squared Euclidean distance and a loop over pairs.

The vectors are normal numbers. Each form makes the whole matrix D of q samples and q references; `--batch-size` is q.
The loop compares a few samples and references, pair by pair, and is told as if it went on to all pairs.

python -m benchmarks.bregman
"""

import numpy as np
import tensorflow as tf

from benchmarks import measure
from neural_similarity import potentials

DIMENSIONS = 64
LOOPED = 16  # samples and references of the loop
FORMS = {
    "squared Euclidean": potentials.SquaredEuclidean,
    "Mahalanobis": potentials.Mahalanobis,
    "ln Σ exp": potentials.LogSumExp,
    "max-affine, 32 pieces": lambda: potentials.MaxAffine(32, temperature=0, seed=0),
    "max-affine, 32 pieces, smooth": lambda: potentials.MaxAffine(32, seed=0),
    "input-convex, 2 × 64": lambda: potentials.InputConvex(2, 64, seed=0),
    "functional max-affine, 32 × 64": lambda: potentials.FunctionalMaxAffine(32, 64, seed=0),
}
PLAIN = "squared Euclidean"
LOOP = "input-convex, 2 × 64"


def all_pairs(make, x, y):
    """A function without arguments that computes the matrix of a divergence in a graph."""
    pairwise = tf.function(make().pairwise)
    return lambda: pairwise(x, y).numpy()


def loop(make, x, y):
    """A function without arguments that computes D pair by pair, as φ(x) − φ(y) − ⟨∇φ(y), x − y⟩, each in one graph."""
    potential = make()
    potential.build((None, DIMENSIONS))

    @tf.function
    def divergence(sample, reference):
        phi, gradient = potential.phi(reference[None])[0], potential.grad(reference[None])[0]
        return potential.phi(sample[None])[0] - phi - tf.tensordot(gradient, sample - reference, 1)

    return lambda: np.array([[divergence(a, b).numpy() for b in tf.unstack(y)] for a in tf.unstack(x)])


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "bregman", rounds=5)
    parser.set_defaults(batch_size=4096)
    options = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.normal(size=(options.batch_size, DIMENSIONS)), tf.float32) for _ in range(2))
    forms = {name: all_pairs(make, x, y) for name, make in FORMS.items()}
    forms["loop over pairs, input-convex"] = loop(FORMS[LOOP], x[:LOOPED], y[:LOOPED])
    times = {name: measure.summary(each) for name, each in measure.alternate(forms, options.rounds).items()}
    rows = []
    for name, time in times.items():
        pairs = LOOPED**2 if name.startswith("loop") else options.batch_size**2
        rows.append({"form": name, **time, "pairs": pairs, "nanoseconds_per_pair": 1e9 * time["median_s"] / pairs})
    plain = next(row for row in rows if row["form"] == PLAIN)["nanoseconds_per_pair"]
    slowest = max(row["nanoseconds_per_pair"] for row in rows)
    for row in rows:
        row["times_euclidean"] = row["nanoseconds_per_pair"] / plain
        row["times_faster_than_loop"] = slowest / row["nanoseconds_per_pair"]
    measure.report("bregman", COLUMNS, rows, options)


COLUMNS = {
    "form": lambda row: row["form"],
    "pairs": lambda row: f"{row['pairs']:,}",
    "ms": measure.milliseconds,
    "ns a pair": lambda row: f"{row['nanoseconds_per_pair']:.3g}",
    "× squared Euclidean": measure.ratio("times_euclidean"),
    "times faster than the loop": lambda row: f"{row['times_faster_than_loop']:,.0f}",
}


if __name__ == "__main__":
    main()
