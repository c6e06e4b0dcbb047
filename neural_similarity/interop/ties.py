"""Ties: units of a ReLU whose input is so near to zero that rounding decides its sign."""

import functools

import keras
import numpy as np
import tensorflow as tf

MOST_MOVED = 3  # if more units had to be moved, something else than rounding would be wrong


class Ties:
    """Takes over the ReLUs of a model, so that single units can be put on the other side of zero.

    A ReLU passes a gradient where its input is above zero, and none where it is below. Example: the exact input of a
    unit is 1e-9, and float32 is off by 1e-7 there. Then one machine may compute 5e-8, and another one −5e-8. The output
    is almost the same, 5e-8 or 0. But the gradient through this unit is there on one machine and missing on the other,
    and so the gradients of all layers before it differ, by as much as a percent. docs/parity.md tells more.

    From then on the model must be called eagerly.

    Args:
        model: a released network. Its ReLU layers, and those of its predictors, are changed in place; the ReLU on the
            query of an attention is not.

    Attributes:
        inputs: number of each ReLU, in the model's order → its latest input, an array.
        flipped: number of a ReLU → the flat positions of its units that are on the other side now.
        tried: how many units were tried on the other side.
    """

    def __init__(self, model):
        self.inputs = {}
        self.flipped = {}
        self.tried = 0
        for number, relu in enumerate(_relus(model)):
            relu.call = functools.partial(self._relu, number)

    def _relu(self, number, x):
        self.inputs[number] = x.numpy()
        positive = self.inputs[number] > 0
        for position in self.flipped.get(number, ()):
            positive.flat[position] ^= True
        return tf.where(positive, x, tf.zeros((), x.dtype))

    @property
    def count(self):
        """How many units are on the other side now."""
        return sum(map(len, self.flipped.values()))

    def settle(self, count_wrong, wrong, rounding):
        """Puts units on the other side of zero, as long as that makes more gradients agree.

        Tries every unit within rounding of zero, the last ReLU first. A unit stays on the other side if fewer gradients
        are wrong then. Ends when no gradient is wrong, or when `MOST_MOVED` units have been moved.

        Args:
            count_wrong: a function that runs the model and returns how many gradients are wrong.
            wrong: how many are wrong before any unit is moved.
            rounding: number of each ReLU → how far from zero an input may be to count as a tie.
        """
        for number, inputs in sorted(self.inputs.items(), reverse=True):
            for position in np.flatnonzero(np.abs(inputs) < rounding[number]):
                if not wrong or self.count == MOST_MOVED:
                    return
                self.tried += 1
                self.flipped.setdefault(number, set()).add(position)
                wrong_now = count_wrong()
                if wrong_now < wrong:
                    wrong = wrong_now
                else:
                    self.flipped[number].remove(position)


def _relus(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.ReLU):
            yield layer
        elif hasattr(layer, "predictor"):
            yield layer.predictor.relu
