"""Time and memory of a meta-training step of MAML: an eager loop over tasks, two graphs of all tasks, and ours.

All forms compute the same: Conv-4 with a linear head on 32×32 images, 5 ways, 5 shots and 15 queries, 5 inner steps.

python -m benchmarks.meta_batch
"""

import functools

import numpy as np
import tensorflow as tf

from benchmarks import measure
from neural_similarity.few_shot.functional import call_with
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.few_shot.meta_batch import mean_over_tasks
from neural_similarity.models import conv4
from neural_similarity.models.seeding import seeded

FORMS = ("eager", "unrolled", "vectorised", "ours")
N_WAY, K_SHOT, N_QUERY = 5, 5, 15
INNER_RATE, INNER_STEPS = 0.01, 5


def step_of(form, tasks, second_order=True, image_size=32, filters=64, inner_steps=INNER_STEPS):
    """A function without arguments that computes the meta-gradient once; returns the loss and the gradient's norm.

    Args:
        form: `"eager"` is a Python loop over the tasks without a graph, as published TensorFlow 2 code has it;
            `"unrolled"` the same loop in one graph; `"vectorised"` is `tf.vectorized_map`; `"ours"` is
            `few_shot.meta_batch.mean_over_tasks`.
        tasks: tasks per step.
        second_order: whether the gradient goes through the inner gradients.
        image_size, filters, inner_steps: of the network and its adaptation.
    """
    with seeded(0):
        model = conv4(filters=filters, image_size=image_size)
    paths = [weight.path for weight in model.trainable_variables]
    random = np.random.default_rng(0)
    shape = (tasks, N_WAY, K_SHOT + N_QUERY, image_size, image_size, 3)
    episodes = tf.constant(random.uniform(0, 255, shape), tf.float32)
    head = [tf.constant(random.normal(0, 0.01, (model.output_shape[-1], N_WAY)), tf.float32), tf.zeros(N_WAY)]

    def cross_entropy(parameters, images):
        *weights, kernel, bias = parameters
        batch = tf.reshape(images, (-1, *images.shape[2:]))
        features = call_with(model, dict(zip(paths, weights, strict=True)), batch, training=True)
        labels = tf.repeat(tf.range(N_WAY), images.shape[1])
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, features @ kernel + bias))

    def task(parameters, images):
        def inner(values):
            return cross_entropy(values, images[:, :K_SHOT])

        rates = [INNER_RATE] * len(parameters)
        return {"loss": cross_entropy(adapted(inner, parameters, rates, inner_steps, second_order), images[:, K_SHOT:])}

    def loop(parameters, episodes):
        losses, total = [], None
        for number in range(tasks):
            with tf.GradientTape() as tape:
                tape.watch(parameters)
                losses.append(task(parameters, episodes[number])["loss"])
            gradients = tape.gradient(losses[-1], parameters)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
        return tf.add_n(losses) / tasks, [gradient / tasks for gradient in total]

    def vectorised(parameters, episodes):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            loss = tf.reduce_mean(tf.vectorized_map(lambda images: task(parameters, images)["loss"], episodes))
        return loss, tape.gradient(loss, parameters)

    def ours(parameters, episodes):
        means, gradients = mean_over_tasks(task, parameters, episodes, second_order)
        return means["loss"], gradients

    function = {"eager": loop, "unrolled": loop, "vectorised": vectorised, "ours": ours}[form]
    if form != "eager":
        function = tf.function(function)
    parameters = [weight.value for weight in model.trainable_variables] + head
    return functools.partial(_call, function, parameters, episodes)


def _call(function, parameters, episodes):
    loss, gradients = function(parameters, episodes)
    return float(loss), float(tf.linalg.global_norm(gradients))


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "meta_batch", rounds=5, memory=True)
    parser.set_defaults(batch_size=4)
    options = parser.parse_args(arguments)
    rows = []
    for second_order in (True, False):
        forms = {form: step_of(form, options.batch_size, second_order) for form in FORMS}
        times = {form: measure.summary(each) for form, each in measure.alternate(forms, options.rounds, 1).items()}
        for form in FORMS:
            memory = (step_of, form, options.batch_size, second_order)
            rows.append(
                {
                    **{"form": form, "second_order": second_order, **times[form]},
                    "episodes_per_s": options.batch_size / times[form]["median_s"],
                    "times_faster_than_eager": times["eager"]["median_s"] / times[form]["median_s"],
                    "added_memory_bytes": None if options.no_memory else measure.added_memory_bytes(*memory),
                }
            )
    measure.report("meta_batch", COLUMNS, rows, options)


COLUMNS = {
    "form": lambda row: row["form"],
    "order": lambda row: "second" if row["second_order"] else "first",
    "ms": measure.milliseconds,
    "episodes/s": measure.ratio("episodes_per_s"),
    "times faster than eager": measure.ratio("times_faster_than_eager"),
    "MB": lambda row: "" if row["added_memory_bytes"] is None else f"{row['added_memory_bytes'] / 1e6:,.0f}",
}


if __name__ == "__main__":
    main()
