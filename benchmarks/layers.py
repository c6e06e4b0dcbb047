"""Time of single operations, forward and backward: the released form beside ours, at the resolutions of CNN-9.

python -m benchmarks.layers
"""

import functools

import tensorflow as tf

from benchmarks import measure
from benchmarks.released import bank_convolution, moments_batch_norm, patch_norm, shifted_sums
from neural_similarity import ops

SHAPES = ((32, 32), (16, 64), (8, 128))  # (height and width, channels in and out)
WINDOW = ops.Window((3, 3))
EPSILON = 1e-3


def plain(image, kernel):
    """The plain convolution, to which dynamic similarity adds its work."""
    return tf.nn.conv2d(image, kernel, 1, "SAME")


def dynamic(image, kernel, matrix):
    """Our form of dynamic similarity; the shape of `matrix` decides between DNS and UNS."""
    return ops.dynamic_similarity_conv2d(image, kernel, matrix, WINDOW)


def cases(batch_size):
    """What is measured; for each operation the released form comes first.

    Yields:
        (operation, form, precision, size, function, arguments), where size is height and width in pixels.
    """
    for size, channels in SHAPES:
        random = tf.random.Generator.from_seed(0)
        map_shape = (batch_size, size, size)
        image, kernel = random.normal((*map_shape, channels)), 0.05 * random.normal((3, 3, channels, channels))
        for structure, shape, released in (("DNS", (9,), bank_convolution), ("UNS", (9, 9), shifted_sums)):
            arguments = (image, kernel, 1 + 0.1 * random.normal((*map_shape, *shape)))
            yield f"dynamic {structure}", "released", "float32", size, released, arguments
            for precision in (tf.float32, tf.bfloat16):
                cast = [tf.cast(argument, precision) for argument in arguments]
                yield f"dynamic {structure}", "ours", precision.name, size, dynamic, cast
                yield f"dynamic {structure}", "plain convolution", precision.name, size, plain, cast[:2]
        for width in (channels, 9):  # behind a convolution of the network, and behind the predictor's last
            arguments = (random.normal((*map_shape, width)), random.normal((width,)), random.normal((width,)))
            for form, function in (("released", moments_batch_norm), ("ours", ops.batch_norm)):
                normalise = functools.partial(_first, function)
                yield f"batch normalisation, {width} channels", form, "float32", size, normalise, arguments
        yield "patch norm", "released", "float32", size, patch_norm, (image,)
        yield "patch norm", "ours", "float32", size, functools.partial(ops.patch_norm, window=WINDOW), (image,)


def _first(function, *arguments):
    return function(*arguments, EPSILON)[0]


def forward_and_backward(function, arguments):
    """A function without arguments that computes outputs and all gradients once, and returns when they are there.

    The upstream gradient is random, as a constant one might be simplified away.
    """
    upstream = tf.random.Generator.from_seed(1).normal(function(*arguments).shape)

    @tf.function(autograph=False)
    def both(arguments, upstream):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = function(*arguments)
        gradients = tape.gradient(outputs, arguments, output_gradients=tf.cast(upstream, outputs.dtype))
        last = [tf.cast(tf.reshape(each, (-1,))[-1], tf.float32) for each in gradients]
        return outputs, gradients, tf.add_n(last)

    return lambda: float(both(arguments, upstream)[-1])


def main(arguments=None):
    """The command line."""
    options = measure.parser(measure.first_line(__doc__), "layers", rounds=7).parse_args(arguments)
    rows = []
    todo = [(case[:4], forward_and_backward(*case[4:])) for case in cases(options.batch_size)]
    for operation, size in dict.fromkeys((name[0], name[3]) for name, _ in todo):
        forms = {name: call for name, call in todo if (name[0], name[3]) == (operation, size)}
        seconds = {name: measure.summary(times) for name, times in measure.alternate(forms, options.rounds).items()}
        replaced = seconds[operation, "released", "float32", size]["median_s"]
        for (_, form, precision, _), times in seconds.items():
            faster = None if form == "plain convolution" else replaced / times["median_s"]
            row = {"operation": operation, "size": size, "form": form, "precision": precision}
            rows.append({**row, **times, "times_faster_than_released": faster})
    measure.report("layers", COLUMNS, rows, options)


COLUMNS = {
    "operation": lambda row: f"{row['operation']}, {row['size']}×{row['size']}",
    "form": lambda row: row["form"],
    "precision": lambda row: row["precision"],
    "ms": measure.milliseconds,
    "times faster than released": measure.ratio("times_faster_than_released"),
}


if __name__ == "__main__":
    main()
