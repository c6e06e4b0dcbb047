"""Time of 3×3 convolutions with as many filters as the predictors of M have, and with rounder numbers beside them.

The maps are those of CNN-9's first convolutions, 32×32. A rate is the number of multiply-adds in a nanosecond.

python -m benchmarks.filters
"""

import functools

import tensorflow as tf

from benchmarks import measure

SIZE = 32
CHANNELS_AND_FILTERS = ((64, (8, 9, 16)), (128, (80, 81, 96)))
PRECISIONS = ("float32", "bfloat16")
OPERATIONS = {  # of image, kernel and the gradient with respect to the output
    "forward": lambda x, w, g: tf.nn.conv2d(x, w, 1, "SAME"),
    "gradient of the image": lambda x, w, g: tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=w, out_backprop=g, strides=[1] * 4, padding="SAME"
    ),
    "gradient of the kernel": lambda x, w, g: tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=tf.shape(w), out_backprop=g, strides=[1] * 4, padding="SAME"
    ),
}


def call_of(operation, arguments):
    """A function without arguments that makes one convolution, and returns when it is done."""
    first = tf.function(lambda *tensors: operation(*tensors)[0, 0, 0, 0])
    return functools.partial(_call, first, arguments)


def _call(function, arguments):
    function(*arguments).numpy()


def main(arguments=None):
    """The command line."""
    options = measure.parser(measure.first_line(__doc__), "filters", rounds=9).parse_args(arguments)
    calls, work = {}, {}
    random = tf.random.Generator.from_seed(0)
    for precision in PRECISIONS:
        for channels, numbers in CHANNELS_AND_FILTERS:
            for filters in numbers:
                shapes = (options.batch_size, SIZE, SIZE, channels), (3, 3, channels, filters)
                tensors = [tf.cast(random.normal(shape), precision) for shape in (*shapes, (*shapes[0][:3], filters))]
                for name, operation in OPERATIONS.items():
                    key = channels, filters, precision, name
                    calls[key] = call_of(operation, tensors)
                    work[key] = options.batch_size * SIZE**2 * 9 * channels * filters
    rows = []
    for key, each in measure.alternate(calls, options.rounds).items():
        names = ("channels", "filters", "precision", "operation")
        found = measure.summary(each)
        rate = work[key] / found["median_s"] / 1e9
        rows.append({**dict(zip(names, key, strict=True)), **found, "multiply_adds_per_ns": rate})
    measure.report("filters", COLUMNS, rows, options)


COLUMNS = {
    "channels → filters": lambda row: f"{row['channels']} → {row['filters']}",
    "precision": lambda row: row["precision"],
    "operation": lambda row: row["operation"],
    "ms": measure.milliseconds,
    "multiply-adds a ns": lambda row: f"{row['multiply_adds_per_ns']:.0f}",
}


if __name__ == "__main__":
    main()
