"""MAML, ANIL and static NSN: weights adapt to each task by gradient descent.

t tasks · n ways · m images of a class (the support images, then the queries) · s support images · q queries
"""

import keras
import tensorflow as tf

from neural_similarity import models
from neural_similarity.families.few_shot_methods.method import Method, class_labels, features_of, flat, measures
from neural_similarity.few_shot.functional import Learned, call_with, pass_support
from neural_similarity.few_shot.inner_loop import adapted
from neural_similarity.few_shot.meta_batch import mean_over_tasks


class Maml(Method):
    """MAML (Finn et al., ICML 2017), ANIL (Raghu et al., ICLR 2020), and our static NSN: what adapts differs.

    The network is Conv-4 with a linear head of `episode.n_way` classes.
    """

    def network(self, image_size, num_classes, dtype):
        """Conv-4 with a linear head, and with `method.learn_inner_rates` a rate for each adapted weight."""
        backbone = self.backbone(image_size, dtype)
        n_way, method = self.config.episode.n_way, self.method
        if not method.learn_inner_rates:
            return models.with_linear_head(backbone, n_way)
        count = len(self.adapted_paths(models.with_linear_head(backbone, n_way)))
        return models.with_linear_head(backbone, n_way, count, method.inner_learning_rate)

    def adapted_paths(self, model: keras.Model) -> list[str]:
        """The paths of the weights that the inner loop changes, as `["conv1/similarity_matrix", "head/kernel"]`."""
        chosen = {
            "all": lambda path: not path.startswith("inner_rates/"),
            "head": lambda path: path.startswith("head/"),
            "similarity": lambda path: path.startswith("head/") or path.endswith("/similarity_matrix"),
        }[self.method.adapt]
        return [weight.path for weight in model.trainable_variables if chosen(weight.path)]

    def batch(self, splits):
        """Tasks of `episode.n_way` classes."""
        return self._episodes(splits, self.config.episode.n_way)

    def step(self, model, optimizer):
        """One step on the mean loss of the tasks' queries after adaptation.

        The inner loop normalises by the statistics of the support images, and the queries by those of the queries.
        """
        k_shot, method = self.config.episode.k_shot, self.method
        paths = [weight.path for weight in model.trainable_variables]

        def task(parameters, images):
            n_way, images_per_class = images.shape[:2]
            support, queries = flat(images[:, :k_shot]), flat(images[:, k_shot:])
            values = dict(zip(paths, parameters, strict=True))
            labels = class_labels(n_way, k_shot)
            values |= self.adapt(model, values, support, labels, method.inner_steps, method.second_order)
            logits = call_with(model, values, queries, training=True)
            cross_entropy, accuracy = measures(logits, class_labels(n_way, images_per_class - k_shot))
            return {"loss": cross_entropy, "cross_entropy": cross_entropy, "accuracy": accuracy}

        def step(episodes):
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            parameters = [v.value for v in model.trainable_variables]
            measured, gradients = mean_over_tasks(task, parameters, episodes, method.second_order)
            if replicas > 1:  # what is clipped is the gradient of the whole meta-batch
                context = tf.distribute.get_replica_context()
                gradients = [g / replicas for g in context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)]
            clip = method.gradient_clip
            gradients = [tf.clip_by_value(gradient, -clip, clip) / replicas for gradient in gradients]
            rate = tf.identity(optimizer.learning_rate)
            optimizer.apply(gradients, model.trainable_variables)
            return {**measured, "learning_rate": rate}

        return step

    def adapt(self, model, values, support, labels, steps, second_order=False) -> dict[str, tf.Tensor]:
        """The weights that the inner loop changes, after it: `{path: tensor}`.

        Args:
            model: a `network`.
            values: `{path: tensor}` of weights that differ from the model's own.
            support: `(s, h, w, 3)` images.
            labels: `(s,)` integers.
            steps: of gradient descent.
            second_order: as in `few_shot.inner_loop.adapted`.
        """
        own = {weight.path: weight.value for weight in model.trainable_variables}
        values = {**own, **values}
        paths = self.adapted_paths(model)
        rates = [self.method.inner_learning_rate] * len(paths)
        if self.method.learn_inner_rates:
            rates = tf.unstack(values["inner_rates/rates"])
        if self.method.adapt == "head":  # the features stay as they are, and are computed once
            backbone = features_of(model)
            of_backbone = {weight.path: values[weight.path] for weight in backbone.trainable_variables}
            features = call_with(backbone, of_backbone, support, training=True)

            def logits(kernel, bias):
                return features @ kernel + bias
        else:

            def logits(*parameters):
                chosen = {**values, **dict(zip(paths, parameters, strict=True))}
                return call_with(model, chosen, support, training=True)

        def loss(parameters):
            return measures(logits(*parameters), labels)[0]

        start = [values[path] for path in paths]
        return dict(zip(paths, adapted(loss, start, rates, steps, second_order), strict=True))

    def answer(self, model, support, labels, queries, n_way):
        """See `Method.answer`."""
        if self.config.batch_norm.mode == "support":
            return self.learn(model, support, labels, n_way)(queries)
        values = self.adapt(model, {}, support, labels, self.method.test_inner_steps)
        return call_with(model, values, queries, training=True)

    def learn(self, model, support, labels, n_way):
        """See `Method.learn`."""
        values = self.adapt(model, {}, support, labels, self.method.test_inner_steps)
        _, averages = pass_support(model, values, support)
        return Learned(model, values, averages, head=None)
