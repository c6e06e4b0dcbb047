"""Functions that XLA compiles where their tensors are large: `fused`, and `recomputed` for the gradient too."""

import contextlib
import contextvars
import functools
import logging
import math

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops  # the barrier is not among tf.raw_ops

log = logging.getLogger(__name__)

# A batch of unknown size counts as this many.
_ASSUMED_SIZE = 16
# A call is compiled if its largest tensor has this many numbers or more. Below that, compiling is not worth its time:
# it takes most of a second, and saves less than half a millisecond per step (docs/performance.md).
_LARGE = 1 << 16
# How many functions a process compiles. XLA keeps a program until the process ends, and TensorFlow has no way to give
# its memory back: to drop a function from here and compile it again later would keep two programs. So what comes after
# the last one runs as TensorFlow runs it. A program took 0.7 to 1.7 MB where that was measured, and so all of them take
# less than 1 GB. To train and evaluate configs/cifar10/nsl_fspherenet.yaml takes 57, so that eight such networks fit.
_MOST = 512
_COMPILED = {}  # (function, settings, signature) → the TensorFlow function


# Whether `fused` compiles at all.
_XLA = contextvars.ContextVar("xla", default=True)


@contextlib.contextmanager
def without_xla():
    """Within it, `fused` compiles nothing: for graphs that other programs than TensorFlow run, and without gradient."""
    token = _XLA.set(False)
    try:
        yield
    finally:
        _XLA.reset(token)


def fused(function, otherwise=None):
    """Compiles `function(*tensors, **settings)` with XLA where one of the tensors is large.

    XLA turns a chain of gathers, products and sums into one pass over memory, where TensorFlow makes one pass for each.
    Convolutions and large matrix products do not belong into such a function: on a CPU, TensorFlow's own are faster.

    Args:
        function: takes tensors, and settings as keywords, and returns tensors. Settings must be hashable. The function
            is compiled once for each combination of shapes, dtypes and settings, until `_MOST` functions are. Where a
            size other than the batch's is unknown, it is not compiled: XLA would compile it anew for each size to come.
        otherwise: computes the same, and is called where `function` is not compiled; by default `function` itself. It
            is for functions with intermediate results that are too large to be stored; XLA does not store them.

    Returns:
        A function that is called in the same way, and has one more keyword. `wait_for=t` delays the computation until
        the tensor `t` is known. The gradients of this package pass the upstream gradient, because they compute again
        what the forward pass computed before. XLA would otherwise notice the repetition, and keep the forward pass's
        result in memory until the gradient needs it. For the patches of a 3×3 kernel that is nine times the image.
    """

    uncompiled = otherwise or function

    @functools.wraps(function)
    def call(*tensors, wait_for=None, **settings):
        tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
        if not _XLA.get():
            return uncompiled(*tensors, **settings)
        waits = wait_for is not None
        everything = [*tensors, wait_for] if waits else tensors
        if max(map(_count_numbers, tensors)) >= _LARGE and _are_known_but_for_batch(everything):
            compiled = _compiled(function, settings, waits, everything)
            if compiled:
                return compiled(*everything)
        if waits:
            with tf.control_dependencies([wait_for]):
                tensors = [tf.identity(tensor) for tensor in tensors]
        return uncompiled(*tensors, **settings)

    return call


def recomputed(function):
    """`fused`, with a gradient that calls `function` again and is compiled into one pass too.

    The gradient needs the arguments alone, so nothing else stays in memory after the forward pass. The gradient that
    TensorFlow derives by itself would keep every intermediate result that it uses. Repeating the function pays where
    the computation is cheap beside reading and writing the tensors.

    Args:
        function: as for `fused`.

    Returns:
        A function that is called as `function` is.
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
            def grad(upstream):
                return backward(*tensors, upstream, wait_for=upstream, **settings)

            return forward(*tensors, **settings), grad

        return compute(*map(tf.convert_to_tensor, tensors))

    return call


def _compiled(function, settings, waits, tensors):
    """The TensorFlow function for such tensors, which XLA compiles at its first call; None beyond the last one."""
    signature = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
    key = (function, waits, tuple(sorted(settings.items())), signature)
    if key not in _COMPILED and len(_COMPILED) < _MOST:
        # Each signature has a TensorFlow function of its own, made from a new partial. TensorFlow would otherwise count
        # all traces as those of one function, and warn of retracing at the fifth.
        run = functools.partial(_run, function, waits, settings)
        _COMPILED[key] = tf.function(run, jit_compile=True, autograph=False)
        if len(_COMPILED) == _MOST:
            log.warning(
                "%d functions are compiled, which are all that neural_similarity compiles in one process. What has yet "
                "other sizes is computed without XLA: as exact, but slower and with more memory. Few sizes of images "
                "and batches avoid it.",
                _MOST,
            )
    return _COMPILED.get(key)


def _run(function, waits, settings, *tensors):
    if waits:  # the last tensor is the one to wait for
        # XLA computes nothing behind a barrier before everything in front of it is known, and does not look across it
        # for results that it could use twice.
        *tensors, _ = gen_xla_ops.xla_optimization_barrier(tensors)
    return function(*tensors, **settings)


def _are_known_but_for_batch(tensors):
    return all(None not in tensor.shape[1:].as_list() for tensor in tensors)


def _count_numbers(tensor):
    return math.prod(_ASSUMED_SIZE if size is None else size for size in tensor.shape)


@tf.RegisterGradient("XlaOptimizationBarrier")
def _barrier_gradient(op, *upstream):
    return upstream
