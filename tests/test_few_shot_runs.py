"""Few-shot runs on the digits, by way of the command line: training, stopping, going on, evaluating, refusing."""

import shutil

import numpy as np
import pytest
from commands import run_tool
from digits_runs import interrupt_at, refusal, run_main
from PIL import Image
from run_checks import assert_equal_runs

from neural_similarity import config as configs
from neural_similarity.families import few_shot, load_run
from neural_similarity.interop.merge import merge
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run

BREGMAN = "configs/bregman/cifar_fs/input_convex.yaml"
PROTONET, STATIC = "configs/quickstart/few_shot.yaml", "configs/cifar_fs/5shot_static_dns.yaml"
OWN = "configs/mini_imagenet/5shot_protonet.yaml"  # the train.py of this one also trains on people's own images
FEW = ["data.name=digits", "model.filters=3", "schedule.train_steps=12", "schedule.boundaries_steps=[6]"]
FEW += ["evaluation.every_steps=6", "evaluation.episodes=8", "evaluation.validation_episodes=8"]
FEW_TASKS = ["method.tasks=2", "method.inner_steps=1", "method.test_inner_steps=2", "method.learn_inner_rates=true"]


def arguments(config, folder, *extra):
    settings = FEW + {STATIC: FEW_TASKS, BREGMAN: ["method.training_n_way=5", "method.width=4"]}.get(config, [])
    return ["--config", config, *(w for s in settings for w in ("--set", s)), "--run-dir", str(folder), *extra]


def train(config, folder, *extra):
    return run_main(arguments(config, folder, *extra), default=OWN if config == OWN else PROTONET)


def refused(capsys, config, folder, *extra):
    return refusal(capsys, arguments(config, folder, *extra), default=OWN if config == OWN else PROTONET)


@pytest.fixture(scope="module", params=[PROTONET, STATIC, BREGMAN], ids=["protonet", "static", "bregman"])
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert train(request.param, folder) == 0
    return request.param, folder


def test_a_result_tells_how_it_was_measured(finished):
    config, folder = finished
    result = Run(folder).result
    score = result.scores["test/accuracy"]
    accuracies = [row["accuracy"] for row in read_rows(folder / "metrics.jsonl") if row["split"] == "test"]
    assert len(accuracies) == 2
    assert (score.value, score.n) == (accuracies[-1], 8)
    assert 0 < score.interval95 < 0.2
    mode = "batch (transductive)" if config == STATIC else "running"
    assert result.protocol == f"5-way 5-shot, 15 queries, batch norm: {mode}"
    assert result.seconds_per_episode > 0
    assert f"± {100 * score.interval95:.2f} % (5-way 5-shot" in result.in_words()[0]


def test_a_stopped_run_goes_on_to_the_same_end(finished, tmp_path, monkeypatch):
    config, reference = finished
    with monkeypatch.context() as patch:
        interrupt_at(8, patch)
        assert train(config, tmp_path / "run") == 130
    assert train(config, tmp_path / "run", "--resume") == 0
    assert_equal_runs(tmp_path / "run", reference)


def test_an_evaluation_may_take_other_episodes_and_another_mode(finished, capsys):
    config, folder = finished
    capsys.readouterr()
    assert train(config, folder, "--eval-only", "--set", "evaluation.episodes=20") == 0
    text = capsys.readouterr().out
    assert "measured: 5-way 5-shot, 15 queries, batch norm: " in text
    assert "test accuracy: " in text
    assert train(config, folder, "--eval-only", "--set", "batch_norm.mode=support") == 0
    assert "batch norm: support" in capsys.readouterr().out
    text = refused(capsys, config, folder, "--eval-only", "--set", "episode.k_shot=1")
    assert "`episode.k_shot` differs" in text
    text = refused(capsys, config, folder, "--resume", "--set", "evaluation.episodes=20")
    assert "`evaluation.episodes` differs" in text


def test_a_trained_network_loads_and_merges(finished):
    config, folder = finished
    model = load_run(folder)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    if config == PROTONET:
        np.testing.assert_allclose(merge(model)(images), model(images, training=False), rtol=1e-4, atol=1e-4)
    assert model(images).shape[0] == 3


def test_results_are_recorded(finished, tmp_path, capsys):
    _, folder = finished
    assert run_tool("record", str(folder), "--results", str(tmp_path)) == 0
    (file,) = tmp_path.glob("*.jsonl")
    assert file.stem == {"protonet": "quickstart"}.get(finished[0], file.stem)
    assert '"protocol": "5-way 5-shot' in file.read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("episode.n_way=6", "the split `test` has 5 classes, and `episode.n_way` is 6. Next: --set episode.n_way=5"),
        ("method.training_n_way=9", "`method.training_n_way` is 9. Next: --set method.training_n_way=5"),
        ("episode.n_query=400", "images, and an episode takes 405 (k_shot + n_query)"),
        ("data.name=cifar10", "`data.name` must be"),
    ],
)
def test_impossible_episodes_are_refused(override, expected, tmp_path, capsys):
    dry_run = [["--dry-run"]] if "n_query" not in override else []  # how many images a class has, the images tell
    for action in ([], *dry_run):
        assert expected in refused(capsys, PROTONET, tmp_path / "run", "--set", override, *action)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_classes_and_protocol(tmp_path, capsys):
    capsys.readouterr()
    assert train(PROTONET, tmp_path / "run", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "measured: 5-way 5-shot, 15 queries, batch norm: running" in text
    assert "data: 5 train classes (901 images), 5 test classes (896 images)" in text
    assert train("configs/mini_imagenet/5shot_protonet.yaml", tmp_path / "run", "--set", "data.name=cifar_fs") == 2
    capsys.readouterr()


def test_other_classes_than_those_trained_on_are_refused(finished, tmp_path, capsys):
    config, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run/run.json"
    path.write_text(path.read_text().replace('"train_classes"', '"classes"'))
    assert "no longer belong together" in refused(capsys, config, tmp_path / "run", "--eval-only")


@pytest.fixture
def own_images(tmp_path):
    """Nine classes of eight images: ROOT/class0 to ROOT/class8."""
    rng = np.random.default_rng(0)
    for label in range(9):
        folder = tmp_path / f"images/class{label}"
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 60, (18, 20, 3)) + 20 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_own_images_are_split_trained_on_and_tested(own_images, tmp_path, capsys):
    (own_images / "lists.yaml").write_text(
        "train: [class0, class1, class2, class3, class4]\ntest: [class5, class6, class7]\n"
    )
    settings = [f"data.root={own_images}", "data.name=folder", "data.image_size=16", "data.class_splits=lists.yaml"]
    settings += ["episode.n_way=3", "episode.k_shot=2", "episode.n_query=4", "method.training_n_way=4"]
    words = [word for text in settings for word in ("--set", text)]
    assert train(OWN, tmp_path / "run", *words) == 0
    run = Run(tmp_path / "run")
    assert run.facts["test_classes"] == ["class5", "class6", "class7"]
    assert "validation_classes" not in run.facts
    assert run.result.protocol.startswith("3-way 2-shot, 4 queries")
    assert not any("lists.yaml" in text for text in run.result.overrides)  # a path says nothing to others
    # fractions: a third of nine classes each
    capsys.readouterr()
    fractions = [*words, "--set", "data.class_splits=[0.4, 0.3, 0.3]", "--set", "method.training_n_way=3"]
    assert train(OWN, tmp_path / "other", *fractions, "--dry-run") == 0
    assert "data: 3 train classes (24 images), 3 validation classes" in capsys.readouterr().out
    few = [*words, "--set", "episode.k_shot=5"]
    assert "has 8 images, and an episode takes 9" in refused(capsys, OWN, tmp_path / "other", *few)
    (own_images / "lists.yaml").write_text("train: [class0, class1, clas2]\ntest: [class5, class6, class7]\n")
    assert "Did you mean `class2`?" in refused(capsys, OWN, tmp_path / "other", *words)
    (own_images / "lists.yaml").write_text(
        "train: [class0, class1, class2, class3, class4]\ntest: [class5, class6, class8]\n"
    )
    text = refused(capsys, OWN, tmp_path / "run", *words, "--eval-only")
    assert "the test_classes of the data are not those that this run began with" in text
    own_images.rename(tmp_path / "moved")
    for tool in (["compare", str(run.folder), str(run.folder)], ["episode", str(run.folder)]):
        assert run_tool(*tool) == 2
        text = capsys.readouterr().err
        assert f"its images are not in {own_images} any more. Next: put them back" in text
        assert "--set" not in text


def test_fractions_give_all_seeds_the_same_classes(own_images):
    settings = [
        f"data.root={own_images}",
        "data.name=folder",
        "data.image_size=16",
        "data.class_splits=[0.4, 0.3, 0.3]",
    ]
    settings += ["episode.n_way=3", "episode.k_shot=2", "episode.n_query=4", "method.training_n_way=3"]
    facts = [few_shot.load_data(configs.load(OWN, [*settings, f"seed={seed}"])).facts() for seed in (0, 1, 2)]
    assert facts[0] == facts[1] == facts[2]


def test_an_evaluation_of_no_run_names_the_option(tmp_path, capsys):
    text = refused(capsys, PROTONET, tmp_path / "none", "--eval-only")
    assert "not a run folder (no run.json). Name the run's own with --run-dir DIR: a config" in text
