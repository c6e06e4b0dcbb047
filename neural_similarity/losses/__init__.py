"""Losses: tensors in, a tensor out."""

from neural_similarity.losses.smoothed import smoothed_cross_entropy

__all__ = ["smoothed_cross_entropy"]
