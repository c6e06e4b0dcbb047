"""The few-shot configs: what they say, how siblings differ, which values do not go together. No TensorFlow."""

import pytest

from configs import message, settings
from neural_similarity.config import REPOSITORY, differing_keys, messages
from neural_similarity.config.few_shot import FewShot

SETS = {"mini_imagenet": "Mini-ImageNet", "cifar_fs": "CIFAR-FS", "fc100": "FC100"}
METHODS = (
    "baseline",
    "baseline_pp",
    "protonet",
    "maml",
    "anil",
    "static_dns",
    "static_uns",
    "dynamic_proto",
    "dynamic_cosine",
)
ROWS = [f"{shots}shot_{method}" for shots in (1, 5) for method in METHODS]
MAML = "configs/cifar_fs/5shot_maml.yaml"


@pytest.mark.parametrize("name", SETS)
def test_the_rows_are_all_there(name):
    assert sorted(file.stem for file in (REPOSITORY / "configs" / name).glob("*.yaml")) == sorted(ROWS)


@pytest.mark.parametrize("name", SETS)
def test_header(name):
    for row in ROWS:
        path = f"configs/{name}/{row}.yaml"
        text = (REPOSITORY / path).read_text()
        header = [line for line in text.splitlines() if line.startswith("#")]
        config = settings(path)
        assert header == text.splitlines()[: len(header)]
        assert f"# Run:   python {config.owner()}/train.py --config {path}" in header
        assert header[0].startswith(f"# {SETS[name]}, 5-way {row[0]}-shot, ")
        assert f"Ours: results/{name}.jsonl" in header[-1]
        assert ("reconstruction" in text) == (row.split("_")[1] in ("static", "dynamic"))
        assert config.episode.k_shot == int(row[0])


@pytest.mark.parametrize("row", ROWS)
def test_sets_differ_by_their_data_alone(row):
    """And MAML by its inner rate, which is the published one on Mini-ImageNet (docs/few_shot.md)."""
    configs = [settings(f"configs/{name}/{row}.yaml") for name in SETS]
    for other in configs[1:]:
        assert differing_keys(configs[0], other) == ["data.name"] + ["method.inner_learning_rate"] * ("maml" in row)
    assert [config.owner() for config in configs] == ["few_shot/mini_imagenet", *["few_shot/cifar_fs"] * 2]


@pytest.mark.parametrize("method", METHODS)
def test_shots_differ_by_their_number_alone(method):
    pair = [settings(f"configs/cifar_fs/{shots}shot_{method}.yaml") for shots in (1, 5)]
    assert differing_keys(*pair) == ["episode.k_shot"]


@pytest.mark.parametrize(
    ("one", "other", "sections"),
    [
        ("protonet", "dynamic_proto", {"similarity"}),
        ("baseline_pp", "dynamic_cosine", {"similarity"}),
        ("baseline", "baseline_pp", {"method"}),
        ("maml", "anil", {"method"}),
        ("anil", "static_dns", {"method", "similarity"}),
        ("static_dns", "static_uns", {"similarity"}),
    ],
)
def test_methods_differ_where_they_should(one, other, sections):
    """So that a difference between two rows is one of the methods, not of backbone, augmentation or episodes."""
    pair = [settings(f"configs/cifar_fs/5shot_{row}.yaml") for row in (one, other)]
    assert {key.partition(".")[0] for key in differing_keys(*pair)} == sections


@pytest.mark.parametrize("name", ["mahalanobis", "max_affine", "input_convex"])
def test_learned_divergences_differ_from_prototypes_in_the_method_alone(name):
    path = f"configs/bregman/cifar_fs/{name}.yaml"
    config = settings(path)
    protonet = settings("configs/cifar_fs/5shot_protonet.yaml")
    keys = differing_keys(protonet, config)
    assert {key.partition(".")[0] for key in keys} == {"method"}
    assert not {"method.training_n_way", "method.tasks"} & {*keys}
    assert config.images_per_step() == protonet.images_per_step()
    assert f"# Run:   python few_shot/cifar_fs/train.py --config {path}\n" in (REPOSITORY / path).read_text()
    if name == "mahalanobis":  # L begins as √2 times the identity, and D as the squared distance
        assert config.method.rank == config.model.filters * (config.data.image_size // 16) ** 2
    assert "`method.direction` must be one of `forward`, `backward`" in message(path, "method.direction=up")


def test_what_does_not_go_together_is_refused():
    assert "which has matrices to adapt" in message(MAML, "method.adapt=similarity")
    assert "fit none of the networks that adapted to one" in message(MAML, "batch_norm.mode=running")
    assert "an integer from 2 to" in message(MAML, "episode.n_way=1")
    assert "`method.name` must be one of" in message(MAML, "method.name=protonett")
    text = message(MAML, "method.training_n_way=20")
    assert "unknown key `method.training_n_way`" in text
    assert "with `method.name: maml`" in text


def test_image_recognition_has_no_few_shot_sets():
    for name in SETS:
        assert "`data.name` must be" in message("configs/cifar10/baseline.yaml", f"data.name={name}")


def test_own_images(tmp_path):
    overrides = ["data.name=folder", f"data.root={tmp_path}", "data.image_size=84"]
    config = settings(MAML, *overrides, "data.class_splits=[0.6, 0.2, 0.2]")
    assert config.data.class_splits == (0.6, 0.2, 0.2)
    assert config.owner() == "few_shot/mini_imagenet"
    assert settings(MAML, *overrides, "data.class_splits=lists/splits.yaml").data.class_splits == "lists/splits.yaml"
    for wrong in ("[0.6, 0.4]", "3", "[0.6, 0.2, two]", "[1.5, 0.2, 0.2]", "null"):
        text = message(MAML, *overrides, f"data.class_splits={wrong}")
        assert "`data.class_splits` must be a list of three numbers from 0 to 1, or the path of a file" in text
        assert len(text.splitlines()) == 1
    assert "missing key `data.class_splits`" in message(MAML, *overrides)


def test_what_evaluation_alone_reads_makes_another_recipe():
    """It changes the reported number; how often one evaluates does not."""
    assert settings(MAML).config_hash() == settings(MAML, "evaluation.every_steps=7").config_hash()
    for key in FewShot.only_evaluation_reads:
        path = "configs/cifar_fs/5shot_baseline.yaml" if "fine_tune" in key else MAML
        value = {"batch_norm.mode": "support"}.get(key, 7)
        assert settings(path).config_hash() != settings(path, f"{key}={value}").config_hash()


def test_the_page_explains_every_key():
    page = (REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8")
    page = page[page.index("### Keys of few-shot recognition") : page.index("## Your own images")]
    shared = {"seed", "optimizer", "schedule", "checkpoint", "runtime"}
    for section in set(messages.sections_of(FewShot)) - shared:
        for key in messages.keys_of(FewShot, section):
            assert f"`{key}`" in page, f"{section}.{key}"
