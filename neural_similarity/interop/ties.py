"""ReLUs that sit on a tie: their input is so near zero that rounding decides which side it falls on."""

import functools

import keras
import numpy as np
import tensorflow as tf

MOST_MOVED = 3  # that more are on a tie is not to be believed


class Ties:
    """Lets the ReLUs of a model be taken to the other side of a tie, one unit at a time.

    A unit whose input is within rounding of zero hardly changes a network's output, but its gradient is either there
    or not: two faithful networks in float32 can differ by a percent in a gradient because of one such unit. While a
    `Ties` is at work the model runs eagerly.

    Args:
        model: a released network; its ReLU layers are replaced in place, but for the one inside an attention.

    Attributes:
        flipped: number of the ReLU → flat positions of the units that were moved.
        tried: how many units lie within rounding and were tried.
    """

    def __init__(self, model):
        self.tried = 0
        self.inputs = {}  # number of the ReLU → its latest input
        self.flipped = {}
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

    def settle(self, wrong, rounding):
        """Moves those units to the other side that reduce `wrong()`, a count, from the output backwards.

        Args:
            wrong: runs the model and counts what disagrees.
            rounding: number of the ReLU → how far from zero an input still counts as a tie.
        """
        fewest = wrong()
        for number, inputs in sorted(self.inputs.items(), reverse=True):
            for position in np.flatnonzero(np.abs(inputs) < rounding[number]):
                if not fewest or self.count == MOST_MOVED:
                    return
                self.tried += 1
                self.flipped.setdefault(number, set()).add(position)
                now = wrong()
                if now < fewest:
                    fewest = now
                else:
                    self.flipped[number].remove(position)


def _relus(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.ReLU):
            yield layer
        elif hasattr(layer, "predictor"):
            yield layer.predictor.relu
