"""Adaptation to a task by gradient descent, through which the outer loop can differentiate (Finn et al., 2017)."""

from collections.abc import Callable, Sequence

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
        gradients = gradients_of(loss, parameters)
        if not second_order:
            gradients = [tf.stop_gradient(gradient) for gradient in gradients]
        parameters = [p - rate * g for p, rate, g in zip(parameters, rates, gradients, strict=True)]
    return parameters


def gradients_of(loss: Callable, parameters: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The gradients of `loss(parameters)`, in the order of the parameters, which are tensors.

    Raises:
        ValueError: the loss does not depend on one of the parameters.
    """
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        value = loss(parameters)
    gradients = tape.gradient(value, parameters)
    unused = [place for place, gradient in enumerate(gradients) if gradient is None]
    if unused:
        raise ValueError(f"The loss does not depend on the parameters at the places {unused}")
    return gradients
