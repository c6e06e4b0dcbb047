"""Penalties: of a similarity matrix towards the identity instead of zero, and of filters towards right angles."""

import keras

from neural_similarity import ops


@keras.saving.register_keras_serializable("neural_similarity")
class TowardsIdentity(keras.regularizers.Regularizer):
    """`l2 · Σ (M − I)²` for a `(k,)` diagonal or a `(k, k)` matrix: the "identity" of `similarity.penalty_target`.

    Ours; the released code pulls M to zero.
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
    """`strength · ‖WᵀW − I‖² + l2 · Σ w²`, W a `(kh, kw, i, o)` kernel as a matrix of a column a filter.

    The first term pulls filters to length 1 and at right angles to each other, as the released SphereNets do.

    Args:
        strength: of the first term, half of the "orthogonality" of a config.
        l2: of the second term, as `keras.regularizers.L2`'s.
        normalize: divides the filters by their length first, so that only their angles count (decoupled networks).
    """

    def __init__(self, strength, l2=0.0, normalize=False):
        self.strength = float(strength)
        self.l2 = float(l2)
        self.normalize = normalize

    def __call__(self, x):
        """The penalty of one kernel, a scalar in float32 or wider."""
        return self.orthogonality(x) + self.decay(x)

    def orthogonality(self, x):
        """The first term alone."""
        x = ops.at_least_float32(x)
        if self.normalize:
            x /= ops.filter_norm(x)
        gram = keras.ops.einsum("klio,klip->op", x, x)
        return self.strength * keras.ops.sum(keras.ops.square(gram - keras.ops.eye(x.shape[-1], dtype=x.dtype)))

    def decay(self, x):
        """The second term alone."""
        return self.l2 * keras.ops.sum(keras.ops.square(ops.at_least_float32(x)))

    def get_config(self):
        """The constructor's arguments."""
        return {"strength": self.strength, "l2": self.l2, "normalize": self.normalize}
