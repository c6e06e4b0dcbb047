"""Networks: layers composed, nothing else."""

from neural_similarity.models.cnn9 import cnn9

__all__ = ["cnn9"]
