"""The shipped configs of learned divergences: headers, what they have in common, and mistakes that are refused."""

import re

import pytest

from configs import message, settings
from neural_similarity.config import CONFIGS, differing_keys, experiment_files

FILES = [file for file in experiment_files() if "metric_learning/bregman/train.py" in file.read_text()]
NAMES = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in FILES]
QUICKSTART = "configs/quickstart/bregman.yaml"
IMAGES = "configs/bregman/mnist/input_convex.yaml"
KNOWN = "configs/bregman/known/quartic_input_convex.yaml"
RINGS = "configs/bregman/gaussian_rings/functional.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_header(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert len(header) == 4
    assert max(map(len, header)) <= 120
    assert header[2] == f"# Run:   python metric_learning/bregman/train.py --config configs/{name}.yaml"
    config = settings(CONFIGS / f"{name}.yaml")
    (results,) = re.findall(r"^# Paper: none   Ours: results/(\w+)\.jsonl   Cost: ", text, re.MULTILINE)
    assert results == name.partition("/")[0]
    assert config.owner() == "metric_learning/bregman"
    assert (config.seed, config.schedule.scale) == (0, 1)


@pytest.mark.parametrize("folder", sorted({name.rpartition("/")[0] for name in NAMES if name.count("/") == 2}))
def test_controls_have_the_same_network_and_budget(folder):
    """All rows of a set differ in the divergence alone; those of rings also in what is compared."""
    names = [name for name in NAMES if name.rpartition("/")[0] == folder]
    assert len(names) >= 3
    for name in names:
        keys = differing_keys(*(settings(CONFIGS / f"{each}.yaml") for each in (names[0], name)))
        allowed = {"bregman/gaussian_rings": {"data.compared", "data.global_batch_size"}}.get(folder, set())
        allowed |= {"data.divergence", "data.vectors"} if folder == "bregman/known" else set()
        assert {key for key in keys if key.partition(".")[0] not in ("divergence", "distance")} <= allowed


@pytest.mark.parametrize("name", ["mahalanobis", "max_affine", "input_convex"])
def test_matching_differs_from_that_by_cosines_in_the_cost_alone(name):
    pair = (f"configs/{p}.yaml" for p in ("cifar100_unseen/margin_structural", f"bregman/cifar100_structural/{name}"))
    cosines, divergence = (settings(path) for path in pair)
    keys = differing_keys(cosines, divergence)
    assert {key for key in keys if not key.startswith("distance.")} == {"ranking.name"}
    same = ("cells", "entropy", "sweeps", "marginals", "gradient")
    assert not {f"distance.{key}" for key in same} & {*keys}


@pytest.mark.parametrize(
    ("config", "setting", "expected"),
    [
        (QUICKSTART, "data.name=known_divergence", "unknown key `data.test_fraction`"),
        (QUICKSTART, "loss.name=regression", "unknown key `loss.temperature`"),
        (
            "configs/bregman/cifar100_unseen/mahalanobis.yaml",
            "distance.rank=65",
            "`distance.rank` is 65, and the vectors have 64 numbers (`model.embedding_size`). Take at most 64.",
        ),
        (
            "configs/bregman/cifar_fs/mahalanobis.yaml",
            "model.filters=8",
            "`method.rank` is 256, and the vectors have 32 numbers (`model.filters`). Take at most 32.",
        ),
        (
            "configs/bregman/known/quartic_mahalanobis.yaml",
            "data.dimensions=3",
            "and the vectors have 3 numbers (`data.dimensions`). Take at most 3.",
        ),
        ("configs/bregman/iris/mahalanobis.yaml", "divergence.rank=17", "the vectors have 16 numbers"),
        (IMAGES, "data.name=cub200", "`data.name` must be one of `iris`, `wine`, `breast_cancer`, `digits_table`"),
        (IMAGES, "data.augmentation=crop", "`data.augmentation` must be one of `none`, `flip`, `crop_flip`"),
        (QUICKSTART, "data.test_fraction=1", "`data.test_fraction` must be a number between 0 and 1; got 1"),
        (QUICKSTART, "divergence.name=moment_matching", "unknown key `divergence.layers`"),
        (QUICKSTART, "divergence.direction=up", "`divergence.direction` must be one of `forward`, `backward`"),
        (KNOWN, "data.divergence=generalized_kl", "`data.divergence: generalized_kl` is for positive numbers"),
        (RINGS, "data.compared=points", "compares sets of points, and the samples are vectors"),
    ],
)
def test_mistakes_are_named(config, setting, expected):
    assert expected in message(config, setting)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("distance.name=cosine", "unknown key `distance.layers`"),
        ("loss.name=multi_similarity", "unknown key `loss.temperature`"),
        ("ranking.name=structural_divergence", "missing key `ranking.candidates`"),
        ("ranking.name=euclid", "`ranking.name` must be one of `cosine`, `euclidean`, `structural`, `divergence`"),
    ],
)
def test_mistakes_in_configs_of_images(setting, expected):
    assert expected in message("configs/bregman/cifar100_unseen/input_convex.yaml", setting)


def changed(tmp_path, config, **lines):
    """A copy of a config with some of its lines replaced, by the section's name."""
    text = (CONFIGS.parent / config).read_text()
    for section, value in lines.items():
        text = re.sub(rf"^{section}:.*$", f"{section}: {value}", text, flags=re.MULTILINE)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_what_does_not_go_together_is_named(tmp_path):
    path = changed(tmp_path, QUICKSTART, loss="{name: regression, weight_decay: 0}")
    assert "`data.name: digits_table` has classes. Take `loss.name` `contrastive`, `triplet`" in message(path)
    path = changed(tmp_path, KNOWN, loss="{name: n_pair, temperature: 1, weight_decay: 0}")
    assert "has pairs with a known divergence. Take `loss.name` `regression`; got `n_pair`" in message(path)
    path = changed(tmp_path, IMAGES, model="{name: identity}")
    assert "`data.name: mnist` has images. Take `model.name` `conv4`; got `identity`" in message(path)
    path = changed(tmp_path, RINGS, divergence="{name: squared_euclidean, direction: forward}")
    assert "compares vectors, and the samples are sets. Take `moment_matching` or" in message(path)
    unseen = "configs/bregman/cifar100_unseen/input_convex.yaml"
    matched = "{name: structural_divergence, cells: 4, entropy: 0.05, sweeps: 20, marginals: uniform, candidates: 9}"
    path = changed(tmp_path, unseen, ranking=matched)
    assert "matches cells by a divergence that was trained for cells. Take `distance.name`" in message(path)
    path = changed(tmp_path, "configs/bregman/cifar100_structural/mahalanobis.yaml", ranking="{name: divergence}")
    assert "and `distance.name: structural_mahalanobis` trains none for whole images" in message(path)
    path = changed(tmp_path, unseen, distance="{name: cosine}")
    assert "`ranking.name: divergence` compares whole images by a trained divergence" in message(path)
    mined = "{name: triplet, margin: 1, squared: true, miner: distance_weighted, weight_decay: 0}"
    path = changed(tmp_path, unseen, loss=mined)
    assert "chooses by distances on a sphere, and `distance.name: input_convex` is a divergence" in message(path)
    path = changed(
        tmp_path,
        unseen,
        loss="{name: proxy_anchor, alpha: 32, margin: 0.1, proxy_learning_rate: 1e-2, weight_decay: 0}",
    )
    assert "`loss.name: proxy_anchor` compares images with vectors that it learns" in message(path)
    squared = "{name: squared_euclidean, direction: forward}"
    path = changed(tmp_path, QUICKSTART, model="{name: identity}", divergence=squared)
    assert "have no weights, so that there is nothing to train. Take `model.name: mlp`" in message(path)
