"""What all losses of embeddings have in common."""

import keras
import tensorflow as tf

from neural_similarity.distances import Cosine, Distance
from neural_similarity.losses import parts


class EmbeddingLoss(keras.losses.Loss):
    """A loss that compares the images of a batch with each other, or with vectors that it learns.

    It is used in `model.compile(loss=…)`, or in a loop of one's own by `measure`. The labels are integers, the classes
    of the images. The loss is one number for the whole batch, so that single images have no weights.

    A loss with weights of its own, or whose distance has some, holds them in a layer, `parameters`. A model that has
    this layer as an attribute trains them and saves them:

        model.loss_parameters = loss.parameters  # before compile
        model.compile("adam", loss=loss)

    A `keras.Sequential` overlooks the attribute, and would leave the weights as they are: make a
    `keras.Model(model.inputs, model.outputs)` of it before. A model that `keras.saving.load_model` read has the loss,
    with the weights that it had learned, as `model.loss`. To train on, repeat the two lines.

    The letters of the shapes: b images of a batch · c channels · n classes · t triplets

    Args:
        distance: a `Distance`, by which images are compared. None for `Cosine()`.
        name: of the loss.
        dtype: of the weights, and of what `model.compile` computes, in float32 or wider. None for Keras' floatx.
            `measure` computes in the dtype of the embeddings, in float32 or wider.
    """

    # Those weights among `parameters` that are not of the distance.
    own_weights = ()
    # A `SeedGenerator`, for `model.fit`; None if the loss makes no random choices.
    _keys = None

    def __init__(self, *, distance=None, name=None, dtype=None):
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        super().__init__(name=name, dtype=keras.backend.result_type(policy.compute_dtype, "float32"))
        self.distance = Cosine() if distance is None else distance
        if not isinstance(self.distance, Distance):
            raise TypeError(f"`distance` must be a Distance, such as Cosine(). Received: {distance!r}")
        self.parameters = self.distance.parameters

    def measure(self, embeddings, labels, key):
        """The loss of a batch, and numbers that say how the training goes.

        Args:
            embeddings: what `distance.prepare` takes: vectors `(b, c)` or maps `(b, h, w, c)`.
            labels: `(b,)` integers.
            key: `(2,)` integers. The same key gives the same loss. A loss without random choices does not use it.

        Returns:
            (the loss, a scalar; name → scalar), in float32 or wider.

        Raises:
            ValueError: the embeddings or the labels have another shape.
        """
        raise NotImplementedError

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss of labels `(b,)` and embeddings, a scalar.

        Raises:
            ValueError: images have weights.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{type(self).__name__} compares images with each other, so that single images or classes have no "
                "weights. Received: weights of them. Leave out `sample_weight` and `class_weight`"
            )
        return super().__call__(y_true, y_pred)

    def call(self, y_true, y_pred):
        """The loss as a tensor `(1,)`, as Keras divides the sum of what it gets by the number of replicas."""
        key = None if self._keys is None else tf.cast(self._keys.next(), tf.int32)
        return self.measure(y_pred, y_true, key)[0][None]

    def get_config(self):
        """The constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype, "distance": parts.to_config(self.distance)}

    @classmethod
    def from_config(cls, config):
        """The loss whose `get_config` returned `config`."""
        objects = {key: parts.from_config(config[key]) for key in ("distance", "miner") if key in config}
        return cls(**{**config, **objects})

    def _add_weight(self, name, shape, initializer):
        """Creates the only weight of the loss, in the layer `parameters`, which also holds those of the distance."""
        layer = keras.layers.Layer(name=f"{self.name}_parameters", dtype=self.dtype)
        weight = layer.add_weight(name=name, shape=shape, initializer=initializer)
        if self.parameters is not None:
            layer.of_distance = self.parameters
        layer.built = True
        self.own_weights = (weight,)
        self.parameters = layer
        return weight


def class_labels(labels, num_classes=None):
    """Labels as `(b,)` int64. Keras hands them over as floats.

    Args:
        labels: `(b,)` or `(b, 1)` numbers.
        num_classes: n. None for any number of classes.

    Raises:
        ValueError: the labels have another shape.
        tf.errors.InvalidArgumentError: a label is not from 0 to n − 1. Compiled by XLA, the program does not notice.
    """
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape.rank != 1:
        raise ValueError(
            "labels must be integers of the shape (b,), the class of each image; of one-hot labels take tf.argmax. "
            f"Received the shape {tuple(labels.shape)}"
        )
    labels = tf.cast(labels, tf.int64)
    if num_classes is None:
        return labels
    known = tf.reduce_all((labels >= 0) & (labels < num_classes))
    wanted = f"labels must be from 0 to {num_classes - 1}, as the loss has {num_classes} classes. Received:"
    with tf.control_dependencies([tf.debugging.Assert(known, [wanted, labels], summarize=10)]):
        return tf.identity(labels)
