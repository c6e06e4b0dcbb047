"""Which configs are the same recipe and the same run, today and in recorded results. No TensorFlow."""

import json
import re

import pytest

from configs import BASELINE, DYNAMIC, FOLDER, SHIPPED, TEXT, settings
from neural_similarity.config import REPOSITORY, differing_keys, name_of, recipe_of

# Hashes and recipes

NOT_THE_RECIPE = [
    "seed=5",
    "schedule.scale=0.5",
    "data.root=elsewhere",
    "runtime.precision=mixed_bfloat16",
    "runtime.deterministic=true",
    "evaluation.every_steps=3",
    "checkpoint.keep=9",
]
THE_RECIPE = [
    "data.global_batch_size=64",
    "data.validation_fraction=0.1",
    "model.widths=[32, 64, 127]",
    "similarity.decay_multiplier=2",
    "batch_norm.debias=false",
    "loss.weight_decay=5.1e-4",
    "optimizer.learning_rate=0.2",
    "schedule.train_steps=42499",
    "schedule.warmup_steps=0",
]


@pytest.mark.parametrize("override", NOT_THE_RECIPE)
def test_config_hash_is_the_same(override):
    config = settings(DYNAMIC, override)
    assert config.config_hash() == settings(DYNAMIC).config_hash()
    assert recipe_of(config, "cifar10/dynamic_dns") == "ours"
    same_run = override.startswith(("data.root", "evaluation", "checkpoint"))
    assert (config.run_hash() == settings(DYNAMIC).run_hash()) == same_run


@pytest.mark.parametrize("override", THE_RECIPE)
def test_config_hash_differs(override):
    config = settings(DYNAMIC, override)
    assert config.config_hash() != settings(DYNAMIC).config_hash()
    assert config.run_hash() != settings(DYNAMIC).run_hash()
    assert recipe_of(config, "cifar10/dynamic_dns") == "custom"


def test_the_root_of_a_folder_is_its_set():
    """Two sets of one's own never meet in a run folder, nor in a mean."""
    one, other = (settings(FOLDER, f"data.root={root}") for root in ("/sets/cats", "/sets/flowers"))
    assert one.config_hash() != other.config_hash()
    assert one.run_hash() != other.run_hash()
    assert differing_keys(one, other, of_runs=True) == ["data.root"]
    assert recipe_of(settings(FOLDER), "folder/dynamic_dns") == "ours"
    assert recipe_of(one, "folder/dynamic_dns") == "custom"
    same = settings(FOLDER, "data.root=/sets/cats/", "evaluation.every_steps=3")
    assert (same.config_hash(), same.run_hash()) == (one.config_hash(), one.run_hash())
    assert differing_keys(settings(DYNAMIC), settings(DYNAMIC, "data.root=elsewhere"), of_runs=True) == []
    variable = {"NEURAL_SIMILARITY_DATA": "/sets"}  # the folder of the sets
    assert settings(FOLDER, environment=variable).data.root == "data"
    assert settings(DYNAMIC, "data.name=folder", environment=variable).data.root == "data"
    assert settings(FOLDER, "data.name=folder", "data.root=/sets/cats", environment=variable) == one


def test_hashes_are_of_the_values_not_of_the_text(tmp_path):
    config = settings(DYNAMIC)
    assert len(config.config_hash()) == 12
    assert len(config.run_hash()) == 6
    int((config.config_hash() + config.run_hash()), 16)
    text = TEXT.replace("5e-4", "0.0005").replace("decay_multiplier: 1", "decay_multiplier: 1.0")
    sections = re.split(r"\n(?! )", text)
    (tmp_path / "x.yaml").write_text("\n".join(reversed(sections)))
    other = settings(tmp_path / "x.yaml")
    assert (other.config_hash(), other.run_hash()) == (config.config_hash(), config.run_hash())
    hashes = [settings(path).config_hash() for path in SHIPPED]
    assert len(set(hashes)) == len(hashes)


def test_recipes():
    for path in SHIPPED:
        expected = "released" if "/released/" in path else "ours"
        assert recipe_of(settings(path), name_of(path)) == expected
    assert recipe_of(settings(DYNAMIC), "custom/dynamic_dns") == "custom"
    assert recipe_of(settings(DYNAMIC), "cifar10/released/dynamic_dns") == "custom"


def test_recipe_does_not_read_the_environment(monkeypatch):
    config = settings(DYNAMIC)
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", "a\nb")
    assert recipe_of(config, "cifar10/dynamic_dns") == "ours"


def test_differing_keys():
    config = settings(DYNAMIC)
    assert differing_keys(config, config) == []
    other = settings(DYNAMIC, "loss.weight_decay=0", "seed=1", "schedule.boundaries_steps=[1]")
    assert differing_keys(config, other) == ["seed", "loss.weight_decay", "schedule.boundaries_steps"]
    keys = differing_keys(settings(BASELINE), config)
    assert set(keys) == {f"similarity.{key}" for key in config.to_dict()["similarity"]}


# Recorded results


def test_keys_that_are_younger_than_results_leave_their_hashes():
    """`ec713a3c057f` is the hash of a recorded result, from before `data.input_scaling`."""
    then = ["schedule.train_steps=300", "batch_norm.decay=0.999"]
    assert settings(BASELINE, *then).config_hash() == "ec713a3c057f"
    assert settings(BASELINE, *then, "data.input_scaling=centred").config_hash() != "ec713a3c057f"


# Of somebody's own images the path belongs to the recipe, and is not recorded; of a config of one's own, the file.
RECORDED = [
    json.loads(line)
    for file in sorted((REPOSITORY / "results").glob("*.jsonl"))
    for line in file.read_text().splitlines()
    if file.stem not in ("folder", "custom")
]


@pytest.mark.parametrize("line", RECORDED, ids=lambda line: f"{line['config']} {line['finished']}")
def test_every_recorded_hash_follows_from_its_config_and_overrides(line):
    config = settings(f"configs/{line['config']}.yaml", *line["overrides"])
    assert config.config_hash() == line["config_hash"]
    assert recipe_of(config, line["config"]) == line["recipe"]
