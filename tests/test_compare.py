"""Two few-shot runs on the same test episodes."""

import json
import re

import numpy as np
import pytest
from few_shot_runs import few_shot_run

from neural_similarity.reporting.compare import paired_difference
from neural_similarity.reporting.record import RESULTS
from neural_similarity.training.results import what_ran
from neural_similarity.training.runs import open_run


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs that differ in the weights and in the batch normalisation of the tests."""
    folder = tmp_path_factory.mktemp("runs")
    return few_shot_run(folder / "a"), few_shot_run(folder / "b", "batch_norm.mode=batch", weights=1)


def test_the_paired_interval_is_that_of_a_hand_computation():
    """Differences 0.1, 0.2, 0.3, −0.2: mean 0.1; squares of what differs from it 0, 0.01, 0.04, 0.09; 0.14 / 3."""
    found = paired_difference(np.array([0.5, 0.5, 0.2, 0.8]), np.array([0.6, 0.7, 0.5, 0.6]))
    assert found.mean == pytest.approx(0.1)
    assert found.interval95 == pytest.approx(1.96 * (0.14 / 3) ** 0.5 / 2)
    assert (found.won, found.lost, found.equal) == (3, 1, 0)
    assert "no difference can be told" in found.in_words()


def test_pairs_tell_a_difference_that_the_two_means_do_not():
    one = np.linspace(0.2, 0.8, 50)  # ± 0.05
    other = one + np.resize([0.01, 0.03], 50)
    assert "OTHER is better by 2.00 ± 0.28 points" in paired_difference(one, other).in_words()
    assert "RUN is better by 2.00 ± 0.28 points" in paired_difference(other, one).in_words()


def test_a_run_differs_from_itself_by_exactly_nothing(two, command, tmp_path):
    code, said, _ = command("compare", two[0], two[0], "--out", tmp_path / "new" / "x.jsonl")
    assert code == 0
    assert "OTHER − RUN: +0.00 ± 0.00 points (95 %, paired, the same 4 episodes)" in said
    assert "OTHER is better in 0, worse in 0, equal in 4." in said
    assert "no difference can be told from these episodes" in said
    line = json.loads((tmp_path / "new" / "x.jsonl").read_text())
    assert line["difference"] == line["interval95"] == 0.0
    assert line["run"] == line["other"]


def test_it_tells_both_means_and_adds_a_line_that_says_all(two, command, tmp_path):
    out = tmp_path / "x.jsonl"
    out.write_text('{"earlier": 1}\n')
    code, said, _ = command("compare", *two, "--episodes", 8, "--out", out)
    assert code == 0
    assert "5-way 5-shot, 3 queries, batch norm: running\n" in said
    assert "5-way 5-shot, 3 queries, batch norm: batch (transductive)\n" in said
    assert "Not alike" in said
    assert said.count("step 5 of 400") == 2
    earlier, line = map(json.loads, out.read_text().splitlines())
    assert earlier == {"earlier": 1}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line["date"])
    assert line["n"] == line["won"] + line["lost"] + line["equal"] == 8
    assert line["episode"] == {"n_way": 5, "k_shot": 5, "n_query": 3}
    means = [line[which]["test_accuracy"]["value"] for which in ("run", "other")]
    assert line["difference"] == pytest.approx(means[1] - means[0])
    assert f"{100 * line['difference']:+.2f} ± {100 * line['interval95']:.2f} points" in said
    assert all(f"test accuracy {100 * mean:.2f} ± " in said for mean in means)
    for which, folder in zip(("run", "other"), two, strict=True):
        ran = what_ran(open_run(folder))
        fields = ("config", "config_hash", "recipe", "overrides", "seed", "steps", "scale", "protocol")
        assert {name: line[which][name] for name in fields} == {name: ran[name] for name in fields}
        assert line[which]["checkpoint_step"] == 5


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"settings": ["episode.k_shot=1"]}, "`episode.k_shot` is 5 and 1"),
        ({"facts": {"test_classes": list("98765")}}, "the `test_classes` in their files run.json differ"),
        ({"facts": {"data_checksum": "00000000"}}, "the `data_checksum` in their files run.json differ"),
    ],
    ids=["episode", "classes", "checksum"],
)
def test_other_episodes_are_refused(two, tmp_path, command, made, words):
    other = few_shot_run(tmp_path / "other", *made.get("settings", ()), facts=made.get("facts", ()))
    code, _, said = command("compare", two[0], other)
    assert code == 2
    assert "are not tested on the same episodes: " + words in said
    assert said.count("\n") == 1


def test_what_is_no_comparison_is_refused(two, run_folder, tmp_path, command):
    def refused(*words):
        code, out, said = command(*words)
        assert (code, out, said.count("\n")) == (2, "", 1)
        return said

    for folders in ((run_folder, two[0]), (two[0], run_folder)):
        assert "a run of image recognition (cifar10/static_uns)" in refused("compare", *folders)
    assert "a run of image recognition" in refused("episode", run_folder)
    assert "not a run folder" in refused("compare", two[0], tmp_path)
    assert "One episode has no interval" in refused("compare", *two, "--episodes", 1)
    for out in ("x.json", RESULTS / "cifar_fs.jsonl"):
        assert "--out results/differences/few_shot.jsonl" in refused("compare", *two, "--out", out)
    other_data = few_shot_run(tmp_path / "c", facts={"data_checksum": "00000000"})
    assert "data are not those that this run began with" in refused("compare", other_data, other_data)
