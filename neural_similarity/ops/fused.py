"""Operations that XLA compiles as a piece, inside a step that is otherwise TensorFlow's own."""

import functools

import tensorflow as tf

# Below this many numbers in the largest argument a compilation costs more than all the steps it would speed up.
_LARGE = 1 << 16


def fused(function):
    """Compiles `function(*tensors, window)` by XLA where its tensors are large or of unknown size.

    XLA fuses gathers, products and sums over taps into single passes over memory; the matrix products between them
    are faster outside.
    """
    compiled = {}

    @functools.wraps(function)
    def call(*arguments):
        *tensors, window = arguments
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        if None not in sizes and max(sizes) < _LARGE:
            return function(*arguments)
        if window not in compiled:
            compiled[window] = tf.function(lambda *tensors: function(*tensors, window), jit_compile=True, autograph=False)
        return compiled[window](*tensors)

    return call
