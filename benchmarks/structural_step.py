"""Time and memory of structural multi-similarity and its gradient: all pairs repeated as in released code, and ours.

Images have 4×4 cells of 128 channels. A class has two images, which are no more alike than others, as for a network at
the beginning of its training. All forms compute the same numbers.

python -m benchmarks.structural_step
"""

import functools

import tensorflow as tf

from benchmarks import measure
from benchmarks.reranking import CELLS, ENTROPY, SWEEPS, maps
from neural_similarity.distances import Structural
from neural_similarity.losses import MultiSimilarityLoss

FORMS = ("pairs", "ours", "compiled")
ALPHA, BETA, BASE, EPSILON = 2.0, 40.0, 0.5, 0.1  # of the multi-similarity loss


def pairs_loss(embeddings, labels):
    """The loss as the released code of DIML (Zhao et al., ICCV 2021) computes it, but for its exchanged marginals.

    Both images of all b² ordered pairs are written out, and the loss is summed anchor by anchor.

    Args:
        embeddings: `(b, y, x, c)`.
        labels: `(b,)` integers.
    """
    b, _, _, c = embeddings.shape
    cells = tf.reshape(embeddings, (b, -1, c))
    whole = tf.math.l2_normalize(tf.reduce_mean(cells, 1), -1)
    cells = tf.math.l2_normalize(cells, -1)
    first, second = tf.repeat(cells, b, 0), tf.tile(cells, (b, 1, 1))  # (b², r, c)
    first_whole, second_whole = tf.repeat(whole, b, 0), tf.tile(whole, (b, 1))  # (b², c)
    similarities = tf.matmul(first, second, transpose_b=True)
    plan = tf.stop_gradient(
        _plan(similarities, tf.linalg.matvec(first, second_whole), tf.linalg.matvec(second, first_whole))
    )
    scores = tf.reduce_sum(plan * similarities, (1, 2)) + tf.reduce_sum(first_whole * second_whole, 1)
    scores = tf.reshape(scores / 2, (b, b))
    total, count = 0.0, 0.0
    for anchor in range(b):
        same = labels == labels[anchor]
        positives = tf.boolean_mask(scores[anchor], same & (tf.range(b) != anchor))
        negatives = tf.boolean_mask(scores[anchor], ~same)
        kept_positives = tf.boolean_mask(positives, positives - EPSILON < tf.reduce_max(negatives))
        kept_negatives = tf.boolean_mask(negatives, negatives + EPSILON > tf.reduce_min(positives))
        counts = tf.cast((tf.size(kept_positives) > 0) & (tf.size(kept_negatives) > 0), scores.dtype)
        loss = tf.math.log(1 + tf.reduce_sum(tf.exp(-ALPHA * (kept_positives - BASE)))) / ALPHA
        loss += tf.math.log(1 + tf.reduce_sum(tf.exp(BETA * (kept_negatives - BASE)))) / BETA
        total, count = total + counts * loss, count + counts
    return total / tf.maximum(count, 1)


def _plan(similarities, u, v):
    """T of all pairs `(p, r, s)`, for cells weighted by the positive part of u `(p, r)` and v `(p, s)`."""
    u, v = (tf.nn.relu(tf.stop_gradient(weights)) for weights in (u, v))
    u, v = (weights / tf.reduce_sum(weights, -1, keepdims=True) for weights in (u, v))
    kernel = tf.exp((tf.stop_gradient(similarities) - 1) / ENTROPY)
    b = tf.ones_like(v)
    for _ in range(SWEEPS):
        a = u / tf.linalg.matvec(kernel, b)
        b = v / tf.linalg.matvec(kernel, a, transpose_a=True)
    return a[..., None] * kernel * b[:, None]


def step_of(form, batch_size):
    """A function without arguments that computes the loss and its gradient once; returns both.

    Args:
        form: `"pairs"` is `pairs_loss`, `"ours"` is `MultiSimilarityLoss`, and `"compiled"` the same with
            `jit_compile=True`. Each is one `tf.function`.
        batch_size: images per batch.
    """
    ours = MultiSimilarityLoss(
        alpha=ALPHA,
        beta=BETA,
        base=BASE,
        epsilon=EPSILON,
        distance=Structural(cells=CELLS, whole="cells", entropy=ENTROPY, sweeps=SWEEPS),
    )

    @functools.partial(tf.function, jit_compile=form == "compiled", autograph=False)
    def step(embeddings, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            loss = pairs_loss(embeddings, labels) if form == "pairs" else ours.measure(embeddings, labels)[0]
        return loss, tape.gradient(loss, embeddings)

    return functools.partial(_call, step, tf.constant(maps("alike", batch_size)), tf.range(batch_size) // 2)


def _call(step, images, labels):
    return tuple(x.numpy() for x in step(images, labels))


def prepared(form, batch_size):
    """`step_of`, for `added_memory_bytes`: what TensorFlow and XLA take when they start is taken before it returns."""
    step_of(form, 4)()
    return step_of(form, batch_size)


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "structural_step", rounds=9, memory=True)
    parser.set_defaults(batch_size=112)
    options = parser.parse_args(arguments)
    forms = {form: step_of(form, options.batch_size) for form in FORMS}
    times = {form: measure.summary(each) for form, each in measure.alternate(forms, options.rounds).items()}
    rows = []
    for form in FORMS:
        memory = (prepared, form, options.batch_size)
        rows.append(
            {
                **{"form": form, **times[form]},
                "times_faster_than_pairs": times["pairs"]["median_s"] / times[form]["median_s"],
                "added_memory_bytes": None if options.no_memory else measure.added_memory_bytes(*memory),
            }
        )
    measure.report("structural_step", COLUMNS, rows, options)


COLUMNS = {
    "form": lambda row: row["form"],
    "ms": measure.milliseconds,
    "times faster than pairs": measure.ratio("times_faster_than_pairs"),
    "MB": lambda row: "" if row["added_memory_bytes"] is None else f"{row['added_memory_bytes'] / 1e6:,.0f}",
}


if __name__ == "__main__":
    main()
