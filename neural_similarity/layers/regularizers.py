"""Penalties: on large weights, on a similarity matrix that leaves the identity, on filters that resemble each other."""

import keras

from neural_similarity import ops


def weight_decay(strength):
    """The penalty `strength · Σ w² / 2`, whose gradient is `strength · w`.

    Keras' `L2(x)` is x · Σ w², twice as much. A plain `keras.regularizers.L2` is returned, so that files of models that
    use it load without this package.
    """
    return keras.regularizers.L2(strength / 2)


def penalty_terms(weight):
    """The penalties on one weight by name, as a training log lists them.

    Args:
        weight: a Keras variable, or another tensor with an attribute `regularizer`.

    Returns:
        Name → scalar. It is empty where the weight has no regulariser. A regulariser of several terms names them by a
        method `terms`; the value of any other one is called `"penalty"`.
    """
    if weight.regularizer is None:
        return {}
    if hasattr(weight.regularizer, "terms"):
        return weight.regularizer.terms(weight)
    return {"penalty": weight.regularizer(weight)}


@keras.saving.register_keras_serializable("neural_similarity")
class TowardsIdentity(keras.regularizers.Regularizer):
    """The penalty `l2 · Σ (M − I)²` on a similarity matrix M, a `(k,)` diagonal or a `(k, k)` matrix.

    Ours. The released code penalises Σ M², which pulls M to zero, although M starts as the identity.
    """

    def __init__(self, l2):
        self.l2 = float(l2)

    def __call__(self, x):
        """The penalty of one matrix, a scalar."""
        identity = keras.ops.ones_like(x) if len(x.shape) == 1 else keras.ops.eye(x.shape[0], dtype=x.dtype)
        return self.l2 * keras.ops.sum(keras.ops.square(x - identity))

    def get_config(self):
        """The constructor's arguments."""
        return {"l2": self.l2}


@keras.saving.register_keras_serializable("neural_similarity")
class Orthogonality(keras.regularizers.Regularizer):
    """The penalty `strength · ‖WᵀW − I‖² + l2 · Σ w²` on a `(kh, kw, i, o)` kernel.

    W is the kernel as a `(kh·kw·i, o)` matrix: each column is one filter. The first term is zero when all filters have
    length 1 and every two of them are at right angles, as the released SphereNets want them. The second term is that of
    `keras.regularizers.L2`.

    Args:
        strength: factor of the first term.
        l2: factor of the second term.
        normalize: whether the first term divides each filter by its length, so that only the angles count. That is for
            decoupled networks.
    """

    def __init__(self, strength, l2=0.0, normalize=False):
        self.strength = float(strength)
        self.l2 = float(l2)
        self.normalize = normalize

    def __call__(self, x):
        """The penalty of one kernel, a scalar in float32 or wider."""
        return sum(self.terms(x).values())

    def terms(self, x):
        """The two terms apart, for `penalty_terms`: `"orthogonality"`, and `"penalty"` where `l2` is not zero."""
        x = ops.at_least_float32(x)
        terms = {"orthogonality": self._orthogonality(x)}
        if self.l2:
            terms["penalty"] = self.l2 * keras.ops.sum(keras.ops.square(x))
        return terms

    def _orthogonality(self, x):
        if self.normalize:
            x /= ops.filter_norm(x)
        gram = keras.ops.einsum("klio,klip->op", x, x)
        return self.strength * keras.ops.sum(keras.ops.square(gram - keras.ops.eye(x.shape[-1], dtype=x.dtype)))

    def get_config(self):
        """The constructor's arguments."""
        return {"strength": self.strength, "l2": self.l2, "normalize": self.normalize}
