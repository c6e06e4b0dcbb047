"""Optimisers and learning-rate schedules of the released code."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("neural_similarity")
class Momentum(keras.optimizers.Optimizer):
    """TensorFlow 1's momentum: a ← momentum·a + g, w ← w − rate·a.

    Keras' SGD accumulates rate·g instead, which differs for a while after each drop of the rate.
    """

    def __init__(self, learning_rate, momentum, name="momentum", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        """Creates one accumulator a per weight."""
        if not self.built:
            super().build(variables)
            self.accumulators = self.add_optimizer_variables(variables, "accumulator")

    def update_step(self, gradient, variable, learning_rate):
        """One weight's update."""
        accumulator = self.accumulators[self._get_variable_index(variable)]
        self.assign(accumulator, self.momentum * accumulator + gradient)
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * accumulator)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable("neural_similarity")
class WarmupThenSteps(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to `learning_rate`, then a factor at each boundary, as a function of the step alone.

    Args:
        learning_rate: the rate after the warm-up.
        boundaries_steps: updates, counted from 0, from which on one more `factor` applies.
        factor: what the rate is multiplied by at each boundary.
        warmup_steps: update s of the warm-up has the rate · (s + 1) / warmup_steps; 0 for none.
    """

    def __init__(self, learning_rate, boundaries_steps, factor, warmup_steps=0):
        self.learning_rate = learning_rate
        self.boundaries_steps = tuple(boundaries_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """The rate of update `step` (from 0): a float32 scalar."""
        step = tf.cast(step, tf.float32)
        passed = tf.add_n([tf.zeros(())] + [tf.cast(step >= b, tf.float32) for b in self.boundaries_steps])
        warm = tf.minimum(1.0, (step + 1.0) / max(self.warmup_steps, 1))
        return self.learning_rate * warm * self.factor**passed

    def get_config(self):
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "boundaries_steps": self.boundaries_steps,
            "factor": self.factor,
            "warmup_steps": self.warmup_steps,
        }


def build_schedule(optimizer, schedule):
    """The learning rate that the config sections `optimizer` and `schedule` describe."""
    return WarmupThenSteps(
        optimizer.learning_rate, schedule.scaled_boundaries_steps, schedule.factor, schedule.scaled_warmup_steps
    )


def build_optimizer(optimizer, rate):
    """The optimiser that the config section `optimizer` describes, at a `rate` that is a number or a schedule."""
    if optimizer.name == "sgd":
        return Momentum(rate, optimizer.momentum)
    # named, as Keras numbers a process' second Adam, and checkpoints go by these names
    return keras.optimizers.Adam(rate, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, name="adam")
