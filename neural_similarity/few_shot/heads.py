"""Heads that know a class by a few examples, in float32 or wider.

n ways · s support images, of all classes together · q queries · f features
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from neural_similarity.few_shot.inner_loop import gradients_of
from neural_similarity.ops.cosine import cosine_logits
from neural_similarity.ops.wide import at_least_float32

_MOMENTUM = 0.9


def prototypes(features, labels, n_way):
    """The mean feature of each class (Snell et al., 2017, equation 1).

    Args:
        features: `(s, f)` of the support images.
        labels: `(s,)` integers from 0 to n − 1. Every class has an image; the classes may have different numbers of
            them.
        n_way: n.

    Returns:
        `(n, f)`, in float32 or wider.
    """
    features = at_least_float32(features)
    members = tf.one_hot(labels, n_way, dtype=features.dtype)  # (s, n)
    return tf.einsum("sn,sf->nf", members, features) / tf.reduce_sum(members, axis=0)[:, None]


def linear_head(features, labels, n_way, steps, rate) -> Callable:
    """Trains a new linear classifier on the support images, with features that stay as they are.

    It starts at zero, and takes steps of gradient descent with momentum 0.9, each on all support images.

    Args:
        features, labels, n_way: as for `prototypes`.
        steps: how many.
        rate: the learning rate.

    Returns:
        A function from features `(q, f)` to logits `(q, n)`.
    """
    features = at_least_float32(features)
    start = [tf.zeros((features.shape[-1], n_way), features.dtype), tf.zeros(n_way, features.dtype)]

    def logits(parameters, features):
        kernel, bias = parameters
        return at_least_float32(features) @ kernel + bias

    return _trained(logits, start, features, labels, steps, rate)


def cosine_head(features, labels, n_way, steps, rate, scale) -> Callable:
    """Trains a new cosine classifier on the support images, as `linear_head` does a linear one.

    The class vectors start at random, always at the same numbers.

    Args:
        features, labels, n_way, steps, rate: as for `linear_head`.
        scale: what the cosines are multiplied by.
    """
    features = at_least_float32(features)
    size = features.shape[-1]
    start = [_normal((n_way, size), size**-0.5, features.dtype)]

    def logits(parameters, features):
        return cosine_logits(features, parameters[0], scale)

    return _trained(logits, start, features, labels, steps, rate)


def _normal(shape, stddev, dtype):
    """Random numbers, the same ones wherever they are drawn: without a name, XLA would take another generator."""
    return tf.random.stateless_normal(shape, (0, 0), stddev=stddev, dtype=dtype, alg="philox")


def _trained(logits, parameters: Sequence[tf.Tensor], features, labels, steps, rate):
    """The head `features → logits` after gradient descent from `parameters`. One step is in the graph, not all."""

    def loss(parameters):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits(parameters, features))
        return tf.reduce_mean(losses)

    def step(number, parameters, velocities):
        gradients = gradients_of(loss, parameters)
        velocities = [_MOMENTUM * v + g for v, g in zip(velocities, gradients, strict=True)]
        return number + 1, [p - rate * v for p, v in zip(parameters, velocities, strict=True)], velocities

    start = (0, list(parameters), [tf.zeros_like(p) for p in parameters])
    _, parameters, _ = tf.while_loop(lambda number, *_: number < steps, step, start, maximum_iterations=steps)
    return lambda queries: logits(parameters, queries)
