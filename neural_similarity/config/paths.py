"""Where the repository is."""

from neural_similarity.data.places import REPOSITORY

__all__ = ["CONFIGS", "REPOSITORY"]

CONFIGS = REPOSITORY / "configs"
