"""The shipped configs of metric learning: their headers, and what they have in common."""

import re

import pytest

from configs import settings
from neural_similarity.config import CONFIGS, REPOSITORY, differing_keys, experiment_files
from neural_similarity.reporting.paper_values import read_paper_values

FILES = [
    file
    for file in experiment_files()
    if "family:     metric_learning" in file.read_text() and CONFIGS / "bregman" not in file.parents
]
NAMES = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in FILES]
SETS = ("cub200", "cars196", "sop")
LOSSES = ("contrastive", "triplet", "margin", "multisimilarity", "proxy_anchor", "normalized_softmax")


def load(name):
    return settings(CONFIGS / f"{name}.yaml")


def differing(one, other):
    return {path.partition(".")[0] for path in differing_keys(load(one), load(other))}


@pytest.mark.parametrize("name", NAMES)
def test_header(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert 4 <= len(header) <= 7
    assert header == text.splitlines()[: len(header)]
    assert f"# Run:   python metric_learning/diml/train.py --config configs/{name}.yaml" in header
    assert max(map(len, header)) <= 120
    config = load(name)
    paper = re.search(r"# Paper: (.+?)   Ours: results/(\w+)\.jsonl   Cost: ", text)
    assert paper[2] == name.partition("/")[0]
    published = read_paper_values(REPOSITORY / "results" / "paper_values.yaml").get(name)
    if published:
        assert paper[1] == f"{published.value:.2f} % Recall@1"
    else:
        assert paper[1] in ("unverified", "none")
    assert config.owner() == "metric_learning/diml"
    assert config.seed == 0
    assert config.schedule.scale == 1


def test_every_published_row_has_a_config():
    for data in SETS:
        for loss in ("margin", "multisimilarity"):
            for kind in ("global", "plugin", "structural"):
                assert f"{data}/{loss}_{kind}" in NAMES
        assert f"{data}/proxy_anchor_plugin" in NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_global")])
def test_three_ways_differ_by_what_compares(name):
    """So that the plug-in ranks the very networks of the global rows."""
    plugin, structural = (name.replace("_global", kind) for kind in ("_plugin", "_structural"))
    if plugin in NAMES:
        assert differing(name, plugin) == {"ranking"}
    if structural in NAMES:
        assert differing(plugin, structural) == {"distance"}


@pytest.mark.parametrize("data", SETS)
def test_losses_of_a_set_differ_by_the_loss(data):
    names = [f"{data}/{loss}_plugin" for loss in LOSSES]
    for name in names:
        assert differing(names[0], name) <= {"loss"}


def test_sets_differ_by_their_lengths():
    for name in (name for name in NAMES if name.startswith("cub200/") and name.replace("cub200", "sop") in NAMES):
        keys = set(differing_keys(load(name), load(name.replace("cub200", "sop"))))
        expected = {"data.name", "schedule.train_steps", "evaluation.recall_at", "evaluation.clustering"}
        assert keys - {"loss.proxy_learning_rate"} == expected
    for name in (name for name in NAMES if name.startswith("cub200/") and name.replace("cub200", "cars196") in NAMES):
        keys = differing_keys(load(name), load(name.replace("cub200", "cars196")))
        assert keys == ["data.name", "schedule.train_steps"]


@pytest.mark.parametrize("name", [name for name in NAMES if "/released/" in name])
def test_released_twins_differ_by_the_switches(name):
    switches = {"distance.swap_marginals", "evaluation.r_excludes_query"}
    switches |= {"loss.every_beta"} if "margin" in name else set()
    assert set(differing_keys(load(name.replace("released/", "")), load(name))) == switches
