"""Operations that XLA compiles as a piece, inside a step that is otherwise TensorFlow's own."""

import functools

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

# With fewer numbers than this in its largest tensor a piece is not worth compiling: that takes most of a second, and
# saves less than half a millisecond a step (docs/performance.md).
_LARGE = 1 << 16


def fused(function):
    """Compiles `function(*tensors, **settings)` by XLA where a tensor is large or of unknown size.

    XLA makes one pass over memory of gathers, products and sums that would take one each; convolutions and matrix
    products are faster outside of it on a CPU. The settings are hashable, and each has a compiled function of its own.
    A piece `after=` a tensor is computed once that is known, and never taken from an earlier call on the same tensors:
    what a gradient recomputes must not be kept from the forward pass.
    """

    @functools.cache
    def compiled(again, **settings):
        def piece(*tensors):
            if again:
                *tensors, _ = _apart(*tensors)
            return function(*tensors, **settings)

        return tf.function(piece, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, after=None, **settings):
        tensors = tuple(map(tf.convert_to_tensor, tensors))
        sizes = [tensor.shape.num_elements() for tensor in tensors]
        if None not in sizes and max(sizes) < _LARGE:
            return function(*tensors, **settings)
        again = after is not None
        return compiled(again, **settings)(*tensors, *([after] if again else []))

    return call


@tf.custom_gradient
def _apart(*tensors):
    """The same tensors at once, of which XLA does not know that something was computed from them before."""
    return gen_xla_ops.xla_optimization_barrier(tensors), lambda *upstream: upstream
