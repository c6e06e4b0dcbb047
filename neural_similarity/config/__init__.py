"""Configs: the schemas of the YAML files under configs/, one for each family, and the strict loader."""

from neural_similarity.config.experiment import NOT_OF_A_RECIPE, Experiment, differing_keys
from neural_similarity.config.loader import SCHEMAS, keys_called, load, name_of, recipe_of, run_folder, takes_text
from neural_similarity.config.paths import CONFIGS, REPOSITORY, TABLES, experiment_files

__all__ = [
    "CONFIGS",
    "NOT_OF_A_RECIPE",
    "REPOSITORY",
    "SCHEMAS",
    "TABLES",
    "Experiment",
    "differing_keys",
    "experiment_files",
    "keys_called",
    "load",
    "name_of",
    "recipe_of",
    "run_folder",
    "takes_text",
]
