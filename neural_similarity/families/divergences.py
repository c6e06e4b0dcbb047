"""The divergences that the sections of configs describe."""

from neural_similarity import potentials
from neural_similarity.config.divergences import Divergence


def build_divergence(section: Divergence, shape: tuple, seed: int) -> potentials.Divergence:
    """The layer of a section, with its weights.

    Args:
        section: one of `config.divergences`.
        shape: of what it compares, `(None, c)` for vectors with c channels.
        seed: of the weights.
    """
    layer = _layer(section, seed)
    layer.build(shape)
    return layer


def _layer(section, seed):
    named = {"name": section.name}  # a checkpoint finds weights by name, and Keras would number those of a process
    if section.name == "squared_euclidean":
        return potentials.SquaredEuclidean(**named)
    if section.name == "moment_matching":
        return potentials.MomentMatching(**named)
    if section.name == "mahalanobis":
        return potentials.Mahalanobis(section.rank, **named)
    if section.name == "input_convex":
        how = {"curvature": section.curvature, "sharpness": section.sharpness, "seed": seed}
        return potentials.InputConvex(section.layers, section.width, **how, **named)
    if section.name == "functional_max_affine":
        how = {"temperature": section.temperature, "seed": seed}
        return potentials.FunctionalMaxAffine(section.pieces, section.width, **how, **named)
    how = {"temperature": section.temperature, "curvature": section.curvature, "scale": section.scale, "seed": seed}
    return potentials.MaxAffine(section.pieces, **how, **named)
