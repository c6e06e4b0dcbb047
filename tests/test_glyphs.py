"""The task that is drawn by a rule: its images are what the rule says, and matching finds what pooling loses."""

import json

import numpy as np

from benchmarks import glyphs, show


def test_images_are_what_the_rule_says(monkeypatch):
    monkeypatch.setattr(glyphs, "NOISE", 0.0)
    maps, labels = glyphs.task(3, classes=5, images_per_class=4)
    assert maps.shape == (20, 4, 4, 64)
    assert set(np.unique(maps)) == {0.0, 1.0}
    cells = [{cell.tobytes() for cell in image.reshape(16, 64) if cell.any()} for image in maps]
    assert all(len(image) == 3 + 4 for image in cells)
    for label in range(5):
        of_class = [image for image, own in zip(cells, labels, strict=True) if own == label]
        assert len(set.intersection(*of_class)) == 3  # the glyphs
        assert len(set.union(*of_class)) == 3 + 4 * 4  # and clutter that no two images share


def test_a_task_depends_on_its_seed_alone():
    first, again, other = (glyphs.task(seed, classes=3, images_per_class=2)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_pooling_loses_what_matching_keeps():
    found = glyphs.scores_of(*glyphs.task(0, classes=30, images_per_class=8))
    recall = {name: scores["recall_at_1"] for name, scores in found.items()}
    assert recall["cosine"] < 0.6
    assert recall["cosine + SS, correlation marginals"] > recall["cosine"] + 0.15
    assert recall["cosine + SS, correlation marginals"] > recall["cosine + SS, uniform marginals"]


def test_the_table(tmp_path, capsys, monkeypatch):
    task = glyphs.task
    monkeypatch.setattr(glyphs, "task", lambda seed: task(seed, classes=4, images_per_class=3))
    glyphs.main(["--seeds", "0", "1", "--json", str(tmp_path / "g.jsonl")])
    row, *_ = json.loads((tmp_path / "g.jsonl").read_text())["rows"]
    assert row["ranking"] == "cosine"
    assert len(row["map_at_r"]) == 2
    printed = capsys.readouterr().out
    assert "| cosine + SS, uniform marginals | " in printed
    show.main([str(tmp_path / "g.jsonl"), "--number", "1"])
    assert capsys.readouterr().out == printed
