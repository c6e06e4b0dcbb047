"""The loss and the gradient of a meta-batch: the mean over several tasks, in one graph."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def mean_over_tasks(
    task: Callable, parameters: Sequence[tf.Tensor], data, second_order: bool = True
) -> tuple[dict, list[tf.Tensor]]:
    """The mean of what tasks measure, and the gradient of their mean loss.

    The graph holds the inner loop of one task, whatever their number, and runs it once for each. A graph with all tasks
    written out is hardly faster, and takes more memory: twice as much in second order (benchmarks/meta_batch.py).

    Args:
        task: `task(parameters, data)` adapts to one task and returns `{name: scalar}`, with `"loss"` among the names.
        parameters: what the gradient is taken of, tensors or variables.
        data: a tensor `(t, …)`, or a structure of them; a task gets its entry of each.
        second_order: whether tasks differentiate through their inner gradients. It does not change the result.

    Returns:
        `{name: mean}` and the gradients, in the order of `parameters`.

    Raises:
        ValueError: the loss does not depend on one of the parameters.
    """
    parameters = [tf.convert_to_tensor(parameter) for parameter in parameters]
    dtype, names = parameters[0].dtype, []

    def one(data):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            measured = task(parameters, data)
        gradients = tape.gradient(measured["loss"], parameters)
        unused = [place for place, gradient in enumerate(gradients) if gradient is None]
        if unused:
            raise ValueError(f"The loss does not depend on the parameters at the places {unused}")
        names[:] = measured
        return tf.stack([tf.cast(value, dtype) for value in measured.values()]), gradients

    # With second order a task keeps the activations of all its inner steps, and a second task would double them.
    at_once = 1 if second_order else 2
    signature = (tf.TensorSpec([None], dtype), [tf.TensorSpec(p.shape, p.dtype) for p in parameters])
    measured, gradients = tf.map_fn(one, data, fn_output_signature=signature, parallel_iterations=at_once)
    means = tf.unstack(tf.reduce_mean(measured, 0), len(names))
    return dict(zip(names, means, strict=True)), [tf.reduce_mean(gradient, 0) for gradient in gradients]
