"""Adaptation to a task by gradient descent, through which the outer loop can differentiate (Finn et al., 2017)."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def adapted(
    loss: Callable, parameters: Sequence[tf.Tensor], rates: Sequence, steps: int, second_order: bool = True
) -> list[tf.Tensor]:
    """The parameters after some steps of gradient descent: θ ← θ − rate · ∂loss/∂θ.

    With `second_order`, a tape around the call differentiates through the steps, and so through the gradients in them.
    Without, it takes the gradients for constants, which is first-order MAML: less work, and another gradient.

    Args:
        loss: `loss(parameters)` returns a scalar.
        parameters: tensors or variables. They are not changed.
        rates: the learning rate of each parameter: numbers, or tensors that may be learned.
        steps: how many.
        second_order: as above.

    Returns:
        The adapted parameters, tensors in the order of `parameters`.

    Raises:
        ValueError: the loss does not depend on one of the parameters.
    """
    parameters = [tf.convert_to_tensor(parameter) for parameter in parameters]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            value = loss(parameters)
        gradients = tape.gradient(value, parameters)
        unused = [place for place, gradient in enumerate(gradients) if gradient is None]
        if unused:
            raise ValueError(f"The loss does not depend on the parameters at the places {unused}")
        if not second_order:
            gradients = [tf.stop_gradient(gradient) for gradient in gradients]
        parameters = [p - rate * g for p, rate, g in zip(parameters, rates, gradients, strict=True)]
    return parameters


def call_with(model: keras.Model, parameters: dict[str, tf.Tensor], images: tf.Tensor, training: bool) -> tf.Tensor:
    """Calls a model with other values in the place of some of its trainable weights.

    Args:
        model: a built model. Neither its weights nor its moving averages change.
        parameters: a weight's path → its value, as `"conv1/similarity_matrix"`. Other weights keep theirs.
        images: `(b, h, w, 3)`.
        training: whether batch normalisation takes the statistics of this batch.

    Returns:
        The model's output.

    Raises:
        ValueError: `parameters` name a weight that the model does not have.
    """
    known = {weight.path for weight in model.trainable_variables}
    if parameters.keys() - known:
        raise ValueError(f"The model has no trainable weights {sorted(parameters.keys() - known)}")
    trainable = [parameters.get(weight.path, weight.value) for weight in model.trainable_variables]
    others = [weight.value for weight in model.non_trainable_variables]
    return model.stateless_call(trainable, others, images, training=training)[0]
