"""The divergences that the sections of configs describe."""

from neural_similarity import potentials
from neural_similarity.config import divergences as sections


def build_divergence(
    section: sections.Divergence, shape: tuple, seed: int, dtype: str | None = None
) -> potentials.Divergence:
    """The layer of a section, with its weights.

    Args:
        section: one of `config.divergences`.
        shape: of what it compares, `(None, c)` for vectors with c channels.
        seed: of the weights.
        dtype: of the layer, as for `potentials.Divergence`.
    """
    layer = _layer(section, seed, dtype)
    layer.build(shape)
    return layer


def _layer(section, seed, dtype):
    # A checkpoint finds weights by name. Without a name, Keras would number the layers of a process.
    named = {"name": section.name, "dtype": dtype}
    if isinstance(section, sections.SquaredEuclidean):
        return potentials.SquaredEuclidean(**named)
    if isinstance(section, sections.MomentMatching):
        return potentials.MomentMatching(**named)
    if isinstance(section, sections.Mahalanobis):
        return potentials.Mahalanobis(section.rank, **named)
    if isinstance(section, sections.InputConvex):
        how = {"curvature": section.curvature, "sharpness": section.sharpness, "seed": seed}
        return potentials.InputConvex(section.layers, section.width, **how, **named)
    if isinstance(section, sections.FunctionalMaxAffine):
        how = {"temperature": section.temperature, "seed": seed}
        return potentials.FunctionalMaxAffine(section.pieces, section.width, **how, **named)
    how = {"temperature": section.temperature, "curvature": section.curvature, "scale": section.scale, "seed": seed}
    return potentials.MaxAffine(section.pieces, **how, **named)
