"""The config of a run that began with an earlier version of the schema. No TensorFlow."""

import pytest
import yaml

from configs import BASELINE, DYNAMIC, SPHERE, message, settings
from neural_similarity.config import experiment_files, older
from neural_similarity.config.experiment import flattened, nested

# Written by an earlier version into the folders of its runs, shortened to what has changed since.
EARLIER = {
    BASELINE: {
        "similarity": {"kind": "none"},
        "batch_norm": {"moving_average": "debiased", "decay": 0.99},
        "loss": {"label_smoothing": 0.01, "weight_decay": 0.0005},
    },
    DYNAMIC: {
        "similarity": {"kind": "dynamic", "structure": "diagonal"},
        "predictor": {
            "normalization": "partial",
            "initializer": "identity",
            "filters": 64,
            "init_scales": [0.1, 0.001],
            "batch_norm": True,
            "decay_multiplier": 1.0,
        },
        "batch_norm": {"moving_average": "debiased", "decay": 0.99},
    },
    "configs/cifar10/released/dynamic_dns.yaml": {
        "similarity": {"kind": "dynamic", "structure": "diagonal"},
        "predictor": {
            "normalization": "partial",
            "initializer": "released",
            "filters": 64,
            "init_scales": [0.1, 0.001],
            "batch_norm": True,
            "decay_multiplier": 1.0,
        },
        "batch_norm": {"moving_average": "released", "decay": 0.999},
    },
    "configs/cifar10/released/static_dns.yaml": {
        "similarity": {
            "kind": "static",
            "structure": "diagonal",
            "initializer": "released",
            "penalty_target": "zero",
            "weight_decay": 0.0,
        },
        "batch_norm": {"moving_average": "released", "decay": 0.999},
    },
    "configs/cifar10/released/static_uns.yaml": {
        "similarity": {
            "kind": "static",
            "structure": "unconstrained",
            "initializer": "released",
            "penalty_target": "zero",
            "weight_decay": 0.005,
        },
        "batch_norm": {"moving_average": "released", "decay": 0.999},
    },
    SPHERE: {
        "model": {"name": "spherenet9", "operator": "cosine", "widths": [128, 192, 256], "head_batch_norm": False},
        "attention": {"enabled": True, "query_relu": True},
        "batch_norm": {"moving_average": "debiased", "decay": 0.99},
        "loss": {"label_smoothing": 0.01, "weight_decay": 0.0005, "orthogonality": 0.0002},
    },
}


def earlier(path, without=("family",)):
    """The document of a config as the earlier version wrote it."""
    document = {**settings(path).to_dict(), **EARLIER[path]}
    return {name: section for name, section in document.items() if name not in without}


@pytest.fixture
def run_config(tmp_path):
    """Writes a document as the config of a run folder; returns the path."""

    def write(document, run=True):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        if run:
            (tmp_path / "run.json").write_text("{}")
        return tmp_path / "config.yaml"

    return write


@pytest.mark.parametrize("path", EARLIER)
def test_a_run_folders_config_is_read_in_todays_form(path, run_config):
    assert settings(run_config(earlier(path))) == settings(path)


@pytest.mark.parametrize("path", [*EARLIER, "configs/folder/dynamic_dns.yaml"])
def test_todays_run_folders_are_read_too(path, run_config):
    assert settings(run_config(settings(path).to_dict())) == settings(path)


def test_a_key_that_came_later_means_what_was_done_before(run_config):
    document = earlier(BASELINE)
    del document["data"]["input_scaling"]
    assert settings(run_config(document)).data.input_scaling == "none"


def test_todays_names_override_an_older_config(run_config):
    path = run_config(earlier(DYNAMIC))
    assert settings(path, "similarity.filters=3", "batch_norm.debias=false") == settings(
        DYNAMIC, "similarity.filters=3", "batch_norm.debias=false"
    )


def test_elsewhere_a_config_has_todays_form(run_config):
    text = message(run_config(earlier(DYNAMIC), run=False))
    assert "missing key `family`" in text
    text = message(run_config(earlier(DYNAMIC, without=()), run=False))
    assert "unknown section `predictor`" in text
    assert "unknown key `batch_norm.moving_average`" in text


@pytest.mark.parametrize(
    "document", [{"predictor": 3}, {"similarity": [1]}, {"batch_norm": {"moving_average": {"a": 1}}}, {"data": None}]
)
def test_a_damaged_config_of_a_run_is_one_message(document, run_config):
    text = message(run_config({**earlier(DYNAMIC), **document}))
    assert str(run_config(document)) in text


def test_the_tables_are_of_keys_that_there_are():
    """Each key stands in a shipped config, in its form of today, and with every value that has a name of its own."""
    found = {}
    for file in experiment_files():
        for path, value in flattened(settings(file).to_dict()).items():
            found.setdefault(path, []).append(value)
    assert {*older.ADDED, *older.MOVED, *older.RENAMED} <= found.keys()
    for path, names in older.RENAMED.items():
        assert [value for value in names if value not in found[path]] == []


def test_flat_and_nested_are_inverse():
    document = settings(DYNAMIC).to_dict()
    assert nested(flattened(document)) == document
