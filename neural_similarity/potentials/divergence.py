"""What all learned and fixed divergences have in common."""

import keras
import tensorflow as tf


class Divergence(keras.layers.Layer):
    """A number D(x, y) ≥ 0 for a sample x and a reference y, which may differ from D(y, x), and is 0 for x = y.

    What a divergence needs of a vector is computed once by `describe`, so that a gallery is compared with many samples
    at little cost. `all_pairs` and `pairs` take what it returned; `pairwise` and `paired` take the vectors themselves.
    Subclasses say what `describe`, `all_pairs` and `pairs` are.

    The letters of the shapes: q samples · n references · p pairs · b vectors · d dimensions · … any number of axes

    Args:
        dtype: of the weights and of all results: float32 or wider, also where Keras' own policy is narrower.
        **kwargs: `name` and what else a Keras layer takes.
    """

    # Whether it is learned, so that `build` creates weights.
    has_weights = False

    # Which numbers it is for: "real", "positive", or "unit" for those between 0 and 1. Others give NaN.
    domain = "real"

    # Whether three axes are sets of points, (b, m, d).
    of_sets = False

    def __init__(self, *, dtype=None, **kwargs):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        super().__init__(dtype=keras.backend.result_type(policy.compute_dtype, "float32"), **kwargs)

    def describe(self, x):
        """What is needed of b vectors `(b, d)`: a tensor, or a nested structure of tensors, whose first axis is b."""
        raise NotImplementedError

    def all_pairs(self, samples, references):
        """D of all pairs, `(…, q, n)`, of what `describe` returned for q samples and n references.

        The arguments may have further axes in front. For example `(2, 3, …)` and `(2, 4, …)` give `(2, 3, 4)`: the
        first three samples are compared with the first four references, and the second three with the second four.
        """
        raise NotImplementedError

    def pairs(self, samples, references):
        """D of p pairs, `(p,)`, of what `describe` returned for their samples and their references."""
        raise NotImplementedError

    def symmetric_all_pairs(self, samples, references):
        """D(x, y) + D(y, x) of all pairs, `(…, q, n)`, which is called the Jeffreys divergence."""
        return self.all_pairs(samples, references) + tf.linalg.matrix_transpose(self.all_pairs(references, samples))

    def symmetric_pairs(self, samples, references):
        """D(x, y) + D(y, x) of p pairs, `(p,)`."""
        return self.pairs(samples, references) + self.pairs(references, samples)

    def pairwise(self, x, y=None):
        """D of all pairs, `(q, n)`.

        Args:
            x: `(q, d)` samples.
            y: `(n, d)` references. None: the samples themselves, and then D(x, x) is exactly 0.

        Raises:
            ValueError: the vectors have another shape.
        """
        samples = self.described(x)
        if y is not None:
            return self.all_pairs(samples, self.described(y))
        found = self.all_pairs(samples, samples)
        return tf.linalg.set_diag(found, tf.zeros_like(tf.linalg.diag_part(found)))

    def paired(self, x, y):
        """D of each sample and its own reference, `(p,)`; `x` and `y` are `(p, d)`.

        Raises:
            ValueError: the vectors have another shape.
        """
        return self.pairs(self.described(x), self.described(y))

    def described(self, x):
        """`describe` of vectors of any dtype. The layer's weights are created if they are not there yet.

        Raises:
            ValueError: the vectors have another shape.
        """
        return self.describe(self.ready(x))

    def ready(self, x):
        """Vectors in the layer's dtype; makes sure that the layer has its weights.

        Raises:
            ValueError: the vectors have another shape.
        """
        x = tf.cast(x, self.compute_dtype)
        self.check_shape(x.shape)
        if not self.built:
            self.build(tuple(x.shape))
        return x

    @property
    def dimensions(self):
        """d, the numbers of a vector, of a divergence that has its weights; None where it takes vectors of any size."""
        return getattr(self, "_dimensions", None)

    def check_shape(self, shape):
        """Raises a `ValueError` for inputs of another shape than `(b, d)`."""
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__} compares vectors (b, d). Received the shape {tuple(shape)}")

    def compute_output_shape(self, input_shape):
        """One number for each vector."""
        return tuple(input_shape[:1])
