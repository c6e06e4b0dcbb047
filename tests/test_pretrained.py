"""The weights that come with the repository, and how they get there."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from result_lines import refusal

from neural_similarity import load_pretrained, load_run, pretrained
from neural_similarity.config import REPOSITORY
from neural_similarity.predict import predict

SHIPPED = pretrained.names()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_whole_small_and_promise_what_the_run_scored(name):
    file = pretrained.WEIGHTS / f"{name}.npz"
    assert file.stat().st_size < 1_500_000
    card = pretrained.read_card(name)
    assert card.result.config == name
    (line,) = [  # the line of its run is among the recorded ones
        line
        for line in map(json.loads, (REPOSITORY / "results" / f"{name.split('/')[0]}.jsonl").read_text().splitlines())
        if (line["config"], line["finished"]) == (name, card.result.finished)
    ]
    assert line["scores"] == {k: v.model_dump(exclude_none=True) for k, v in card.result.scores.items()}
    score = card.scores["test/accuracy"].value
    assert abs(score - card.result.scores["test/accuracy"].value) < 0.002
    assert "/root" not in file.with_suffix(".json").read_text()
    model = load_pretrained(name)
    assert model.count_params() > card.result.parameters
    logits = np.asarray(model(np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)))
    assert logits.shape == (2, len(card.facts["classes"]))
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_scores_what_its_card_says(name):
    card = pretrained.read_card(name)
    root = Path(os.environ.get("NEURAL_SIMILARITY_DATA", REPOSITORY / "data"))
    if not (root / {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}[card.result.data]).is_dir():
        pytest.skip(f"no {card.result.data} in {root}; ./dataset_setup.sh {card.result.data}")
    found = pretrained.scores_on_test_images(card.experiment(), load_pretrained(name), card.facts)
    for score, expected in card.scores.items():
        assert found[score].value == pytest.approx(expected.value, abs=5e-4)  # other processors round otherwise


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """A folder with the weights of `finished_run`, and the lines that were told."""
    folder = tmp_path_factory.mktemp("weights")
    return folder, list(pretrained.export_weights([finished_run], folder))


def test_weights_are_those_of_the_run_rounded(exported, finished_run):
    folder, lines = exported
    (name,) = pretrained.names(folder)
    assert name == "cifar10/static_dns"
    assert "test accuracy" in lines[0]
    model, ours = load_pretrained(name, folder), load_run(finished_run)
    for read, trained in zip(model.variables, ours.variables, strict=True):
        value = np.asarray(trained)
        expected = value.astype(np.float16).astype(np.float32) if value.ndim > 1 else value
        np.testing.assert_array_equal(read, expected, err_msg=read.path)
    card = pretrained.read_card(name, folder)
    assert card.facts == {"classes": list("0123456789")}
    found = pretrained.scores_on_test_images(card.experiment(), model, card.facts)
    assert found == card.scores
    assert card.config["data"]["root"] == "data"


def test_predict_takes_the_name_of_weights(exported, finished_run, tmp_path, monkeypatch, command):
    folder, _ = exported
    monkeypatch.setattr(pretrained, "WEIGHTS", folder)
    for function in (pretrained.names, pretrained.read_card, pretrained.load_pretrained):
        monkeypatch.setattr(function, "__defaults__", (folder,))
    picture = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(picture)
    np.testing.assert_allclose(predict("cifar10/static_dns", [picture]), predict(finished_run, [picture]), atol=0.02)
    code, out, _ = command("predict", "cifar10/static_dns", picture)
    assert code == 0
    assert out.startswith(f"{picture}: ")
    code, _, err = command("predict", "cifar10/static_dsn", picture)
    assert code == 2
    assert "Did you mean `cifar10/static_dns`?" in err


def test_damaged_weights_are_told(exported, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(exported[0], folder)
    name = "cifar10/static_dns"
    assert "Known: cifar10/static_dns." in refusal(load_pretrained, "cifar10/x", folder)
    file, card = folder / f"{name}.npz", folder / f"{name}.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    assert "not the file that its card tells of. Restore both from git." in refusal(load_pretrained, name, folder)
    text = card.read_text()
    card.write_text(text.replace('"sha256"', '"sha255"'))
    assert "damaged (`sha256`" in refusal(load_pretrained, name, folder)
    card.unlink()
    assert "cannot be read (No such file" in refusal(load_pretrained, name, folder)


def test_of_several_seeds_the_one_nearest_to_the_mean_is_taken(make_run):
    runs = [
        make_run(f"s{seed}", {"seed": seed, "scores": {"test/accuracy": {"value": value}}})
        for seed, value in enumerate((0.90, 0.80, 0.87))
    ]
    opened = list(map(pretrained.open_run, runs))
    assert pretrained._nearest_to_the_mean(opened).config.seed == 2  # the mean is 0.857
    other = make_run("other", {"config": "cifar10/baseline"})
    assert "are of two recipes" in refusal(pretrained._nearest_to_the_mean, [opened[0], pretrained.open_run(other)])
    unfinished = make_run("unfinished", None)
    assert "not finished. Go on with it: python" in refusal(list, pretrained.export_weights([unfinished]))


def test_few_shot_runs_have_no_weights(tmp_path):
    from few_shot_runs import few_shot_run

    assert "not finished" in refusal(list, pretrained.export_weights([few_shot_run(tmp_path / "run")], tmp_path))


def test_data_of_other_classes_are_refused(exported):
    card = pretrained.read_card("cifar10/static_dns", exported[0])
    config = card.experiment()
    assert "of other classes" in refusal(pretrained.scores_on_test_images, config, None, {"classes": ["a"]})


def test_the_repository_has_weights_of_its_own_recipes_and_longer_runs_stay(exported, finished_run, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "WEIGHTS", tmp_path)
        said = refusal(list, pretrained.export_weights([finished_run], tmp_path))
    assert "the weights of the repository are of its own recipes" in said
    folder = tmp_path / "w"
    shutil.copytree(exported[0], folder)
    card = folder / "cifar10/static_dns.json"
    card.write_text(card.read_text().replace('"steps": 25', '"steps": 26', 1))
    before = (folder / "cifar10/static_dns.npz").read_bytes()
    assert "of a run of 26 steps, longer than 25" in refusal(list, pretrained.export_weights([finished_run], folder))
    assert (folder / "cifar10/static_dns.npz").read_bytes() == before


def test_a_card_of_an_earlier_or_damaged_config(exported):
    card = pretrained.read_card("cifar10/static_dns", exported[0])
    config = {name: section for name, section in card.config.items() if name != "family"}  # before there was the key
    assert card.model_copy(update={"config": config}).experiment() == card.experiment()
    for damaged in ({}, {**card.config, "data": 3}, {**card.config, "model": {}}):
        assert "its config is damaged" in refusal(card.model_copy(update={"config": damaged}).experiment)
