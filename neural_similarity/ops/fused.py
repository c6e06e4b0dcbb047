"""Operations that XLA compiles as a piece, inside a step that is otherwise TensorFlow's own."""

import functools
import math

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops  # the barrier is not among tf.raw_ops

# How many an unknown size, as that of a batch, is taken for.
_UNKNOWN = 16
# With fewer numbers than this in its largest tensor a piece is not worth compiling: that takes most of a second, and
# saves less than half a millisecond a step (docs/performance.md).
_LARGE = 1 << 16


def fused(function):
    """Compiles `function(*tensors, **settings)` by XLA where a tensor is large.

    XLA makes one pass over memory of gathers, products and sums that would take one each; convolutions and matrix
    products are faster outside of it on a CPU. The settings are hashable, and each has a compiled function of its own.
    A piece `after=` a tensor is computed only after it, and never taken from an earlier call on the same tensors: what
    a gradient recomputes must not be kept from the forward pass.
    """

    def piece(again, settings, *tensors):
        if again:  # XLA does not look across a barrier for what it has computed before
            *tensors, _ = gen_xla_ops.xla_optimization_barrier(tensors)
        return function(*tensors, **settings)

    @functools.cache
    def compiled(signature, again, **settings):
        # One a signature, each a partial: TensorFlow warns when what it takes for one function is traced five times.
        return tf.function(functools.partial(piece, again, settings), jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, after=None, **settings):
        tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
        again = after is not None
        if max(map(_numbers, tensors)) >= _LARGE:
            tensors += [after] if again else []
            signature = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
            return compiled(signature, again, **settings)(*tensors)
        if again:
            with tf.control_dependencies([after]):
                tensors = [tf.identity(tensor) for tensor in tensors]
        return function(*tensors, **settings)

    return call


def recomputed(function):
    """`fused`, with a gradient that is one compiled pass too and keeps nothing but the arguments.

    For functions that are cheap beside reading and writing their tensors; settings as of `fused`. The gradient of a
    compiled piece would otherwise keep every intermediate result that it uses.
    """
    forward = fused(function)

    @fused
    def backward(*tensors, **settings):
        *arguments, upstream = tensors
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = function(*arguments, **settings)
        return tape.gradient(outputs, arguments, upstream)

    @functools.wraps(function)
    def call(*tensors, **settings):
        @tf.custom_gradient
        def compute(*tensors):
            return forward(*tensors, **settings), lambda up: backward(*tensors, up, after=up, **settings)

        return compute(*map(tf.convert_to_tensor, tensors))

    return call


def _numbers(tensor):
    return math.prod(_UNKNOWN if size is None else size for size in tensor.shape)


@tf.RegisterGradient("XlaOptimizationBarrier")
def _barrier_gradient(op, *upstream):
    return upstream
