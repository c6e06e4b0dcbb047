"""Time and memory of global similarity, forward and backward: our blocks beside the plain form with its whole map.

python -m benchmarks.attention
"""

import functools

import tensorflow as tf

from benchmarks import measure
from neural_similarity import ops

SIDES = (16, 32, 64)
FORMS = ("plain", "ours")
CHANNELS = (16, 16, 128)  # of query, key and value; as in the first attention of SphereNet-9


def plain(query, key, value):
    """softmax(QKᵀ) V with the gradient that TensorFlow derives by itself; that one keeps the whole map in memory.

    Args:
        query, key, value: as for `ops.global_similarity`.
    """
    return tf.einsum("bnm,bmc->bnc", tf.cast(ops.attention_map(query, key), value.dtype), value)


def step_of(form, side, dtype, batch_size):
    """A function without arguments that computes outputs and gradients once, and returns when they are there.

    Args:
        form: `"plain"` or `"ours"`.
        side: height and width of the feature maps, in pixels.
        dtype: of query, key and value.
        batch_size: feature maps per step.
    """
    attend = plain if form == "plain" else ops.global_similarity
    random = tf.random.Generator.from_seed(0)
    tensors = [tf.cast(random.normal((batch_size, side * side, channels)), dtype) for channels in CHANNELS]

    @tf.function
    def step(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = attend(*tensors)
        return outputs, *tape.gradient(outputs, tensors, output_gradients=outputs)

    return functools.partial(_call, step, tensors)


def _call(step, tensors):
    float(tf.reduce_sum(step(*tensors)[1]))


def prepared(form, side, dtype, batch_size):
    """`step_of`, for `added_memory_bytes`: what TensorFlow and XLA take when they start is taken before it returns."""
    step_of(form, 2, dtype, 1)()
    tf.function(lambda x: x + 1, jit_compile=True)(tf.ones(1))
    return step_of(form, side, dtype, batch_size)


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "attention", rounds=9, memory=True)
    parser.set_defaults(batch_size=8)
    options = parser.parse_args(arguments)
    rows = []
    for side in SIDES:
        for dtype in ("float32", "bfloat16"):
            forms = {form: step_of(form, side, dtype, options.batch_size) for form in FORMS}
            times = {form: measure.summary(each) for form, each in measure.alternate(forms, options.rounds).items()}
            for form in FORMS:
                memory = (prepared, form, side, dtype, options.batch_size)
                rows.append(
                    {
                        **{"side": side, "form": form, "precision": dtype, **times[form]},
                        "times_faster_than_plain": times["plain"]["median_s"] / times[form]["median_s"],
                        "map_bytes": 4 * options.batch_size * side**4,
                        "added_memory_bytes": None if options.no_memory else measure.added_memory_bytes(*memory),
                    }
                )
    measure.report("attention", COLUMNS, rows, options)


def _megabytes(key):
    return lambda row: "" if row[key] is None else f"{row[key] / 1e6:,.0f}"


COLUMNS = {
    "map": lambda row: f"{row['side']}×{row['side']}, {row['form']}",
    "precision": lambda row: row["precision"],
    "ms": measure.milliseconds,
    "times faster than plain": measure.ratio("times_faster_than_plain"),
    "MB": _megabytes("added_memory_bytes"),
    "one map in float32, MB": _megabytes("map_bytes"),
}


if __name__ == "__main__":
    main()
