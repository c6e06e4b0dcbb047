"""Distances and miners as entries of a Keras config, so that a saved model keeps its loss."""

import keras

from neural_similarity import miners
from neural_similarity.distances import Bregman, Cosine, Euclidean, Structural, StructuralBregman

_OURS = {
    part.__name__: part
    for part in (
        Bregman,
        Cosine,
        Euclidean,
        Structural,
        StructuralBregman,
        miners.DistanceWeighted,
        miners.RandomNegatives,
        miners.SemiHard,
    )
}


def to_config(part):
    """A dict that JSON can hold, of a distance or a miner.

    Those of other people need what any object needs that Keras saves: `get_config`, `from_config`, and a registration.
    """
    if type(part) not in _OURS.values():
        return keras.saving.serialize_keras_object(part)
    return {"part": type(part).__name__, "arguments": part.get_config()}


def from_config(config):
    """The distance or the miner that `to_config` was given."""
    if "part" not in config:
        return keras.saving.deserialize_keras_object(config)
    return _OURS[config["part"]](**config["arguments"])
