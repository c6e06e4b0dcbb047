"""Where the repository is, and the configs in it."""

from pathlib import Path

from neural_similarity.data.places import REPOSITORY

__all__ = ["CONFIGS", "REPOSITORY", "TABLES", "experiment_files"]

CONFIGS = REPOSITORY / "configs"
TABLES = CONFIGS / "tables"


def experiment_files() -> list[Path]:
    """The files of the shipped configs, sorted. Those in `TABLES` list rows of tables, and are no experiments."""
    return sorted(file for file in CONFIGS.rglob("*.yaml") if file.parent != TABLES)
