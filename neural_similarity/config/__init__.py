"""Configs: the schema of the YAML files under configs/, and the strict loader."""

from neural_similarity.config.loader import load, name_of, recipe_of, run_folder
from neural_similarity.config.paths import REPOSITORY
from neural_similarity.config.schema import Config, differing_keys, experiment_of

__all__ = ["REPOSITORY", "Config", "differing_keys", "experiment_of", "load", "name_of", "recipe_of", "run_folder"]
