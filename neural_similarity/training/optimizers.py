"""Optimisers and learning-rate schedules of the released code."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("neural_similarity")
class Momentum(keras.optimizers.Optimizer):
    """TensorFlow 1's momentum, which the released code trains with (`tf.train.MomentumOptimizer` there).

    Keeps one accumulator `a` per weight `w`, of the weight's shape and dtype. An update with the gradient `g` is

        a ← momentum · a + g
        w ← w − rate · a

    Keras' SGD multiplies by the rate before it accumulates: a ← momentum · a + rate · g, w ← w − a. The two differ
    after the rate drops. Example: the momentum is 0.9 and every gradient was 1, so that here `a` is 10. Now the rate
    drops from 0.1 to 0.01. The next update here is 0.01 · 10 = 0.1, a tenth of the one before. Keras' accumulator still
    holds 0.1 · 10 = 1, so its next update is 0.9 · 1 + 0.01 · 1 = 0.91.

    Args:
        learning_rate: a number or a schedule.
        momentum: a number from 0 to below 1.
        name, kwargs: as any Keras optimiser takes them.
    """

    def __init__(self, learning_rate, momentum, name="momentum", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        """Creates one accumulator per weight, all 0."""
        if not self.built:
            super().build(variables)
            self.accumulators = self.add_optimizer_variables(variables, "accumulator")

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight and its accumulator."""
        accumulator = self.accumulators[self._get_variable_index(variable)]
        self.assign(accumulator, self.momentum * accumulator + gradient)
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * accumulator)

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable("neural_similarity")
class WarmupThenSteps(keras.optimizers.schedules.LearningRateSchedule):
    """The rate rises linearly to `learning_rate`, and is then multiplied by `factor` at each boundary.

    The rate depends on the number of the update alone; the first update has the number 0. Example:
    `WarmupThenSteps(0.1, [20, 30], 0.1, warmup_steps=5)` gives the updates 0 to 4 the rates 0.02, 0.04, 0.06, 0.08 and
    0.1. Updates up to 19 have the rate 0.1, those from 20 to 29 have 0.01, and all from 30 on have 0.001.

    Args:
        learning_rate: the rate after the warm-up.
        boundaries_steps: numbers of the updates from which on the rate is multiplied by `factor` once more.
        factor: a number, as 0.1.
        warmup_steps: how many updates the warm-up takes. Update s of them has the rate · (s + 1) / warmup_steps. 0 for
            no warm-up.
    """

    def __init__(self, learning_rate, boundaries_steps, factor, warmup_steps=0):
        self.learning_rate = learning_rate
        self.boundaries_steps = tuple(boundaries_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """The rate of the update number `step`, a float32 scalar."""
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
    """The schedule that the config sections `optimizer` and `schedule` describe, `schedule.scale` included."""
    return WarmupThenSteps(
        optimizer.learning_rate, schedule.scaled_boundaries_steps, schedule.factor, schedule.scaled_warmup_steps
    )


class _WithFactors:
    """An optimiser that multiplies the learning rate of some weights. `factors`: {path of a weight: factor}."""

    factors = {}  # noqa: RUF012  it is replaced, not changed

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        super().update_step(gradient, variable, learning_rate * self.factors.get(path, 1.0))


class _AdamWithFactors(_WithFactors, keras.optimizers.Adam):
    pass


class _MomentumWithFactors(_WithFactors, Momentum):
    pass


def build_optimizer(optimizer, rate, factors=None):
    """The optimiser that the config section `optimizer` describes.

    Args:
        optimizer: the section.
        rate: the learning rate: a number, a function or a schedule.
        factors: {path of a weight: what multiplies the rate for it}; the others have 1.
    """
    # Named, because a checkpoint finds variables by their names, and Keras would call a process' second Adam "adam_1".
    if optimizer.name == "sgd":
        made = (_MomentumWithFactors if factors else Momentum)(rate, optimizer.momentum)
    else:
        adam = _AdamWithFactors if factors else keras.optimizers.Adam
        made = adam(rate, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, name="adam")
    if factors:
        made.factors = factors
    return made
