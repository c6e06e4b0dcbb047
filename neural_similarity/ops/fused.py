"""Operations that XLA compiles as a piece, inside a step that is otherwise TensorFlow's own."""

import functools

import tensorflow as tf

# With fewer numbers than this in its largest tensor a piece is not worth the time of compiling it.
_LARGE = 1 << 16


def fused(function):
    """Compiles `function(*tensors, **settings)` by XLA where a tensor is large or of unknown size.

    XLA makes one pass over memory of gathers, products and sums that would take one each; convolutions and matrix
    products are faster outside of it on a CPU. The settings are hashable, and each has a compiled function of its own.
    """

    @functools.cache
    def compiled(**settings):
        return tf.function(functools.partial(function, **settings), jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, **settings):
        tensors = tuple(map(tf.convert_to_tensor, tensors))
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        if None in sizes or max(sizes) >= _LARGE:
            return compiled(**settings)(*tensors)
        return function(*tensors, **settings)

    return call
