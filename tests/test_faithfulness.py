"""Whether the tests of faithfulness measure what they say: on descriptors made for it, on images, and on bird parts."""

import json

import numpy as np
import pytest
from metric_runs import digits_of_classes, metric_run
from pictures import save
from PIL import Image

from benchmarks import faithfulness as benchmark
from benchmarks import measure
from neural_similarity.data.bird_parts import PARTS, parts_in_cells, parts_of_images, read_bird_parts
from neural_similarity.data.image_files import resized_centre
from neural_similarity.data.retrieval_splits import RetrievalPart
from neural_similarity.data.streamed import ImageFiles
from neural_similarity.distances import Structural
from neural_similarity.errors import UserError
from neural_similarity.interpret import faithfulness
from neural_similarity.interpret.faithfulness import (
    deletion_test,
    flip_consistency,
    image_deletion_test,
    keypoint_hit_rate,
    self_match,
)
from neural_similarity.interpret.trained_metrics import load_metric


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return metric_run(tmp_path_factory.mktemp("faithfulness") / "run")


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def pairs_that_share(shared, count=6, r=16, channels=64):
    """Descriptors of pairs whose cells are unlike each other, but for the cells `shared`, which both images have."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, count, r, channels))
    b[:, shared] = a[:, shared]
    return tuple(unit(np.concatenate([x[:, shared].sum(1, keepdims=True), x], 1)) for x in (a, b))


def test_the_score_falls_without_the_cells_that_both_images_share():
    a, b = pairs_that_share([0, 5, 10])
    found = deletion_test(Structural(), a, b, 3)
    assert all(values.shape == (6,) for values in found)
    assert np.all(found.before > 1.5)
    assert np.all(found.strongest < found.random - 0.1)
    assert np.all(found.strongest < found.central - 0.1)
    np.testing.assert_allclose(found.before, np.asarray(Structural().match(a, b).score))


def test_a_masked_cell_is_as_if_it_had_no_weight():
    """Where one cell of each image is left, it has all weight, so that the score is its similarity and the cosine."""
    a, b = pairs_that_share([1, 2])
    found = deletion_test(Structural(), a, b, 15)
    contributions = Structural().match(a, b).contributions.numpy()
    left = [1 + np.argsort(-contributions.sum(axis), 1, kind="stable")[:, -1] for axis in (2, 1)]
    cosines = np.einsum("pc,pc->p", a[np.arange(6), left[0]], b[np.arange(6), left[1]])
    whole = np.einsum("pc,pc->p", a[:, 0], b[:, 0])
    np.testing.assert_allclose(found.strongest, whole + cosines, atol=1e-5)


def test_random_cells_follow_from_the_seed():
    a, b = pairs_that_share([3])
    one, same, other = (deletion_test(Structural(), a, b, 4, seed).random for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    alone = deletion_test(Structural(), a[:3], b[:3], 4, 1)
    np.testing.assert_allclose(alone.strongest, deletion_test(Structural(), a, b, 4, 1).strongest[:3], atol=1e-6)


@pytest.mark.parametrize("m", [0, 16, 17])
def test_some_cells_must_be_masked_and_some_left(m):
    a, b = pairs_that_share([3])
    with pytest.raises(ValueError, match="`m` must be from 1 to 15"):
        deletion_test(Structural(), a, b, m)


def test_the_middle_comes_first():
    assert sorted(faithfulness._central(4)[:4]) == [5, 6, 9, 10]
    assert faithfulness._central(3)[0] == 4


def mean_colours(distance):
    """An `embed`: each cell of an image is described by its mean colour."""

    def embed(images):
        cells = distance.cells
        p, size = images.shape[:2]
        means = images.reshape(p, cells, size // cells, cells, size // cells, 3).mean((2, 4)).reshape(p, -1, 3)
        return unit(np.concatenate([means.mean(1, keepdims=True), means], 1) - 127.5)

    return embed


def test_images_are_masked_and_looked_at_again():
    distance = Structural(cells=2)
    random = np.random.default_rng(0)
    images = np.repeat(np.repeat(random.uniform(0, 255, (5, 2, 2, 3)), 4, 1), 4, 2).astype(np.float32)
    embed, seen = mean_colours(distance), []

    def recorded(given):
        seen.append(given)
        return embed(given)

    found = image_deletion_test(recorded, distance, images, images, 1)
    np.testing.assert_allclose(found.before, distance.match(*[embed(images)] * 2).score)
    changed = [np.any(given != images, axis=(3,)).mean((1, 2)) for given in seen]
    assert sorted(np.mean(share) for share in changed) == [0, 0, 0.25, 0.25, 0.25]
    masked = seen[2]
    strongest = distance.match(*[embed(images)] * 2).contributions.numpy().sum(2).argmax(1)
    for i, cell in enumerate(strongest):
        y, x = divmod(int(cell), 2)
        there = masked[i, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        np.testing.assert_allclose(there, np.broadcast_to(images[i].mean((0, 1)), there.shape), rtol=1e-5)
    assert np.mean(found.before - found.strongest) > 0


def test_an_image_matches_itself():
    a, _ = pairs_that_share([0])
    assert np.all(self_match(Structural(), a) > 0.99)
    same = np.repeat(unit(np.ones((1, 17, 4))), 3, 0)  # of cells that are all alike, each gets its share
    np.testing.assert_allclose(self_match(Structural(), same), 1 / 16, atol=1e-5)


def test_an_image_matches_its_mirror_image_in_mirrored_cells():
    a, b = pairs_that_share([0])
    mirrored = a[:, [0, *(1 + np.arange(16).reshape(4, 4)[:, ::-1].ravel())]]
    np.testing.assert_allclose(flip_consistency(Structural(), a, mirrored), 1, atol=1e-5)
    assert np.all(flip_consistency(Structural(), a, a) < 1e-3)
    assert flip_consistency(Structural(), a, b).shape == (6,)


def test_the_hit_rate_by_hand():
    """Two cells, three parts. Cell 0 of the first image holds part 0, and cell 1 of the second image too."""
    plan = np.array([[[0.1, 0.3], [0.2, 0.4]]])
    first, second = np.zeros((2, 1, 2, 3), bool)
    first[0, 0, 0] = second[0, 1, 0] = True
    np.testing.assert_allclose(keypoint_hit_rate(plan, first, second), [0.3 / 0.4])
    first[0, 1, [1, 2]] = second[0, 0, 2] = True
    np.testing.assert_allclose(keypoint_hit_rate(plan, first, second), [0.5])
    assert np.isnan(keypoint_hit_rate(plan, np.zeros_like(first), second)).all()


def test_parts_lie_in_the_cells_where_they_are_seen(tmp_path):
    """A white dot at the place of each part: in the image that a network sees, it is in the cell that is named."""
    width, height, size, cells = 90, 60, 32, 4
    random = np.random.default_rng(0)
    paths, places = [], []
    for i in range(12):
        x, y = random.uniform(0, (width, height))
        image = np.zeros((height, width, 3), np.uint8)
        image[int(y), int(x)] = 255
        paths.append(save(tmp_path / f"{i}.png", image))
        places.append(np.array([[int(x) + 0.5, int(y) + 0.5, 1], [x, y, 0]], np.float32))
    found = parts_of_images(paths, places, size, cells)
    assert found.shape == (12, 16, 2)
    assert not found[..., 1].any()  # what is not visible
    seen = 0
    for path, holds in zip(paths, found, strict=True):
        levels = np.asarray(resized_centre(Image.open(path), size), float)[..., 0]
        if levels.max() < 25:  # cut off, or at the very border
            continue
        in_cells = levels.reshape(4, 8, 4, 8).sum((1, 3)).ravel()
        assert holds[:, 0].sum() == 1
        assert in_cells[np.argmax(holds[:, 0])] > 0.3 * in_cells.sum()
        seen += 1
    assert seen >= 4


def test_a_border_that_is_cut_off_holds_no_part():
    parts = np.array([[0, 30, 1], [45, 30, 1], [89, 30, 1]], np.float32)
    assert parts_in_cells(parts, 90, 60, 32, 4).sum(0).tolist() == [0, 1, 0]


def write_lists(folder, lines=None):
    (folder / "parts").mkdir(parents=True)
    (folder / "images.txt").write_text("1 001.A/x.jpg\n2 002.B/y.jpg\n")
    lines = lines or [f"{image} {part} {part}.5 {2 * part} {part % 2}" for image in (1, 2) for part in range(1, 16)]
    (folder / "parts" / "part_locs.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_the_lists_of_parts_are_read(tmp_path):
    assert read_bird_parts(tmp_path) is None
    found = read_bird_parts(write_lists(tmp_path / "birds"))
    assert [*found] == ["001.A/x.jpg", "002.B/y.jpg"]
    assert found["001.A/x.jpg"].shape == (PARTS, 3)
    assert found["002.B/y.jpg"][2].tolist() == [3.5, 6, 1]


@pytest.mark.parametrize("line", ["1 2 3", "3 1 0 0 1", "1 16 0 0 1", "1 0 0 0 1", "1 1 x 0 1"])
def test_odd_lists_are_refused(line, tmp_path):
    with pytest.raises(UserError, match=r"part_locs\.txt: .* is no line of this list.* Next: restore it"):
        read_bird_parts(write_lists(tmp_path / "birds", [line]))


def test_pairs_are_of_one_class_and_all_classes_count_alike():
    labels = np.repeat(np.arange(5), [1, 2, 3, 9, 30])
    pairs = benchmark.chosen_pairs(labels, 42, 0)
    assert pairs.shape == (42, 2)
    assert np.all(labels[pairs[:, 0]] == labels[pairs[:, 1]])
    assert np.all(pairs[:, 0] != pairs[:, 1])
    counts = np.bincount(labels[pairs[:, 0]], minlength=5)
    assert counts[0] == 0
    assert np.ptp(counts[1:]) <= 1
    np.testing.assert_array_equal(pairs, benchmark.chosen_pairs(labels, 42, 0))


def test_the_benchmark_prints_a_table_and_writes_a_line(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "MASKED", (4, 16))  # an image has 16 cells, so that not all can be masked
    words = [str(folder), "--pairs", "6", "--batch-size", "4", "--json", str(tmp_path / "f.jsonl")]
    benchmark.main(words)
    (line,) = measure.recorded(tmp_path / "f.jsonl")
    assert line["run"] == "quickstart/diml, seed 0"
    assert str(folder) not in json.dumps(line)
    tests = [(row["test"], row["on"], row["masked"]) for row in line["rows"]]
    deletions = [("deletion", on, 4) for on in ("descriptors", "images")]
    assert tests == [*deletions, ("self-match", "images", 0), ("flip", "images", 0)]
    assert {row["pairs"] for row in line["rows"]} == {6}
    printed = capsys.readouterr().out
    assert "| deletion of 4 cells, image masked | 6 |" in printed
    assert printed == measure.table(benchmark.COLUMNS, line["rows"]) + "\n"


def test_the_benchmark_measures_bird_parts_where_they_are_known(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "MASKED", ())
    metric = load_metric(folder)
    paths = []
    for i, image in enumerate(digits_of_classes(4)["8"]):
        (tmp_path / "images").mkdir(exist_ok=True)
        paths.append(save(tmp_path / "images" / f"{i}.png", np.asarray(image)))
    files = ImageFiles(paths, 32, metric.scaled, tmp_path)
    part = RetrievalPart(files, np.zeros(4, np.int32), ("8",), files.names)
    everywhere = np.array([[x, y, 1] for x in range(4, 32, 8) for y in range(4, 32, 8)][:PARTS], np.float32)
    parts = {f"{i}.png": everywhere for i in range(4)}
    rows = benchmark.rows_of(metric, part, np.array([[0, 1], [2, 3]]), 2, 0, parts)
    row = rows[-1]
    assert (row["test"], row["pairs"]) == ("bird parts", 2)
    assert 0 <= row["value"] <= 1
    assert 0 < row["by_chance"] < 1
