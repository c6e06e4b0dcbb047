"""The penalty that pulls a similarity matrix to the identity instead of to zero."""

import keras


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
