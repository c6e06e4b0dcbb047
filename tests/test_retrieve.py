"""Searching a folder for similar images: what is found, and what is kept of the folder's images."""

import dataclasses
import itertools
import json
import os
import re
import shutil

import numpy as np
import pytest
from metric_runs import digits_of_classes, metric_run, write_gallery
from pictures import pixels, save
from PIL import Image

from neural_similarity.config import REPOSITORY
from neural_similarity.data import image_files
from neural_similarity.distances import Cosine, Structural, nearest, rerank
from neural_similarity.errors import UserError
from neural_similarity.interpret import retrieval_pictures
from neural_similarity.interpret.trained_metrics import load_metric
from neural_similarity.predict import gallery as galleries
from neural_similarity.predict import retrieval
from neural_similarity.predict.gallery import open_gallery
from neural_similarity.predict.retrieval import search


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(run folder, gallery); tests only read them, but for the index in the run folder."""
    folder = tmp_path_factory.mktemp("retrieve")
    return metric_run(folder / "run"), write_gallery(folder / "gallery")


@pytest.fixture(scope="module")
def metric(made):
    return load_metric(made[0])


@pytest.fixture
def gallery(made, tmp_path):
    """A copy of the gallery that a test may change."""
    return shutil.copytree(made[1], tmp_path / "gallery")


@pytest.fixture
def read_files(monkeypatch):
    """The names of the image files that are read, as they are read."""
    names, read = [], image_files._read
    monkeypatch.setattr(image_files, "_read", lambda path, *rest: names.append(path.name) or read(path, *rest))
    return names


def index_of(metric):
    """The path of the one index in the run's folder that was written last."""
    return max((metric.run.folder / "gallery").glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)


def test_what_is_found_is_what_the_ranking_says(made, metric):
    folder = made[1]
    opened = open_gallery(folder, metric)
    paths = [folder / "5" / "0.png", folder / "8" / "2.png"]
    ours = [opened.number_of(path) for path in paths]
    every = rerank(metric.distance, opened.descriptors, candidates=7, depth=19)
    cosines = rerank(Cosine(), opened.descriptors[:, 0], candidates=0, depth=19)
    for row, found in zip(ours, search(metric, opened, paths, top=5, candidates=7), strict=True):
        assert [neighbour.number for neighbour in found.reranked] == every.indices[row, :5].tolist()
        assert [neighbour.number for neighbour in found.by_coarse] == cosines.indices[row, :5].tolist()
        np.testing.assert_allclose([n.score for n in found.reranked], every.scores[row, :5], atol=1e-4)
        np.testing.assert_allclose([n.coarse for n in found.by_coarse], cosines.scores[row, :5], atol=1e-5)
        for neighbour in found.reranked:
            assert cosines.indices[row, neighbour.rank - 1] == neighbour.number
            assert neighbour.links[0].contribution == max(link.contribution for link in neighbour.links)


def test_an_image_outside_has_all_neighbours_and_one_inside_not_itself(made, metric, tmp_path):
    folder = made[1]
    opened = open_gallery(folder, metric)
    inside = folder / "6" / "1.png"
    outside = shutil.copy(inside, tmp_path / "copy.png")
    found_outside, found_inside = search(metric, opened, [outside, inside], top=99, candidates=99)
    assert len(found_outside.reranked) == 20
    assert found_outside.by_coarse[0].number == opened.number_of(inside)
    assert found_outside.label is None
    assert len(found_inside.reranked) == 19
    assert opened.number_of(inside) not in [neighbour.number for neighbour in found_inside.reranked]
    assert found_inside.label == "6"
    assert sum(neighbour.is_right for neighbour in found_inside.by_coarse) == 3


def test_many_images_are_searched_in_blocks(made, metric, monkeypatch):
    opened = open_gallery(made[1], metric)
    paths = [opened.path(number) for number in range(5)]
    expected = [[n.number for n in found.reranked] for found in search(metric, opened, paths)]
    monkeypatch.setattr(retrieval, "_BLOCK", 2)
    assert [[n.number for n in found.reranked] for found in search(metric, opened, paths)] == expected


def test_classes_are_the_folders_names(metric, gallery):
    assert open_gallery(gallery, metric).classes[::4] == tuple("56789")
    (gallery / "more" / "cats").mkdir(parents=True)
    shutil.move(gallery / "5", gallery / "more" / "cats" / "5")
    assert "5" in open_gallery(gallery, metric).classes
    assert open_gallery(gallery / "6", metric).classes is None
    save(gallery / "loose.png", pixels())
    assert open_gallery(gallery, metric).classes is None


def test_the_index_is_read_again_and_refreshed(metric, gallery, read_files, logged):
    first = open_gallery(gallery, metric)
    assert len(read_files) == 20
    written = index_of(metric).stat().st_mtime_ns
    read_files.clear()
    again = open_gallery(gallery, metric)
    assert read_files == []
    assert index_of(metric).stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.descriptors, first.descriptors)

    (gallery / "5" / "0.png").unlink()
    save(gallery / "6" / "0.png", pixels(seed=1))
    save(gallery / "9" / "new.png", pixels(seed=2))
    logged.clear()
    changed = open_gallery(gallery, metric)
    assert sorted(read_files) == ["0.png", "new.png"]
    assert f"{gallery}: 20 images; 2 were read now, 1 are gone." in logged.messages
    assert "5/0.png" not in changed.names
    kept = [name for name in first.names if name in changed.names and name != "6/0.png"]
    for name in kept:
        rows = (found.descriptors[found.names.index(name)] for found in (first, changed))
        np.testing.assert_array_equal(*rows)
    assert changed.names == tuple(sorted(changed.names))
    expected = metric.descriptors(pixels(seed=2)[None].astype(np.float32))[0]
    np.testing.assert_allclose(changed.descriptors[changed.names.index("9/new.png")], expected, atol=1e-5)


def test_a_changed_file_of_the_same_size_is_read_again(metric, gallery, read_files):
    open_gallery(gallery, metric)
    read_files.clear()
    path = gallery / "7" / "3.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    open_gallery(gallery, metric)
    assert read_files == ["3.png"]


@pytest.mark.parametrize("damage", ["cut", "text", "names", "shape", "pickle", "nan"])
def test_a_damaged_index_is_made_anew_with_a_line(damage, metric, gallery, read_files, logged):
    expected = open_gallery(gallery, metric)
    path = index_of(metric)
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("dear")
    else:
        changes = {
            "names": {"names": arrays["names"][:5]},
            "shape": {"descriptors": arrays["descriptors"][:, 1:]},
            "pickle": {"sizes": np.array([{}] * 20, object)},
            "nan": {"descriptors": np.full_like(arrays["descriptors"], np.nan)},
        }
        np.savez(path, **{**arrays, **changes[damage]})
    read_files.clear()
    logged.clear()
    found = open_gallery(gallery, metric)
    assert len(read_files) == 20
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    (line,) = [line for line in logged.messages if "It is made anew" in line]
    assert line.startswith(f"{path}: damaged, or no index of a gallery (")
    assert path.read_bytes() == whole


def test_an_index_of_other_weights_is_not_used(made, metric, gallery, tmp_path, read_files, logged):
    own = open_gallery(gallery, metric)
    other = load_metric(metric_run(tmp_path / "other", weights=1))
    shutil.copytree(made[0] / "gallery", other.run.folder / "gallery")
    read_files.clear()
    found = open_gallery(gallery, other)
    assert len(read_files) == 20
    assert any("an index of other weights or settings. It is made anew." in line for line in logged.messages)
    assert np.abs(found.descriptors - own.descriptors).max() > 0.01


def test_settings_that_change_the_descriptors_are_known(metric, gallery, monkeypatch, read_files):
    open_gallery(gallery, metric)
    read_files.clear()
    monkeypatch.setattr(metric.distance, "cells", 2)
    assert open_gallery(gallery, metric).descriptors.shape[1] == 5
    assert len(read_files) == 20


def test_without_a_place_for_the_index_the_search_goes_on(gallery, tmp_path, logged):
    metric = load_metric(metric_run(tmp_path / "run"))
    (metric.run.folder / "gallery").write_text("in the way")
    assert len(open_gallery(gallery, metric).names) == 20
    assert any("cannot be written (File exists), so that images that are" in line for line in logged.messages)


def test_what_cannot_be_read_is_left_out_with_a_line(metric, gallery, logged):
    (gallery / "5" / "0.png").write_bytes(b"\x89PNG\r\n and no more")
    (gallery / "5" / "notes.txt").write_text("no image, and not told")
    for _ in range(2):  # also where the others are known
        logged.clear()
        found = open_gallery(gallery, metric)
        assert len(found.names) == 19
        lines = [line for line in logged.messages if line.startswith("Left out: ")]
        assert len(lines) == 1
        assert "0.png: cannot be read as an image" in lines[0]


def test_links_that_lead_back_end(metric, gallery):
    (gallery / "5" / "loop").symlink_to(gallery)
    (gallery / "others").symlink_to(gallery / "6")
    found = open_gallery(gallery, metric)
    assert len(found.names) == 24
    assert found.names[found.number_of(gallery / "others" / "1.png")] == "others/1.png"


def test_galleries_without_images_are_refused(metric, tmp_path):
    with pytest.raises(UserError, match=r"there is no such folder\. Next: --gallery DIR"):
        open_gallery(tmp_path / "none", metric)
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no image in it, nor in a folder in it\. Next: "):
        open_gallery(tmp_path / "empty", metric)
    (tmp_path / "empty" / "a.png").write_text("dear")
    with pytest.raises(UserError, match=r"none of its images can be read\. Next: "):
        open_gallery(tmp_path / "empty", metric)


def test_a_gallery_of_one_image(metric, tmp_path):
    (tmp_path / "one").mkdir()
    path = save(tmp_path / "one" / "a.png", pixels())
    opened = open_gallery(tmp_path / "one", metric)
    (found,) = search(metric, opened, [save(tmp_path / "b.png", pixels(seed=1))])
    assert [neighbour.number for neighbour in found.reranked] == [0]
    with pytest.raises(UserError, match=r"no image in it but the one that is searched for\. Next: a larger gallery"):
        list(search(metric, opened, [path]))


def test_weights_that_are_not_finite_are_told_and_not_kept(gallery, tmp_path):
    metric = load_metric(metric_run(tmp_path / "run"))
    for variable in metric.model.trainable_variables:
        variable.assign(np.nan * variable)
    with pytest.raises(UserError, match=r"0\.png: the network's map has numbers that are not finite.* Next: "):
        open_gallery(gallery, metric)
    assert not [*(metric.run.folder / "gallery").glob("*.npz")]


def test_memory_is_bounded_by_blocks(metric, gallery, monkeypatch):
    expected = open_gallery(gallery, metric).descriptors
    index_of(metric).unlink()
    blocks, describe = [], metric.descriptors
    monkeypatch.setattr(galleries, "_BLOCK", 6)
    monkeypatch.setattr(metric, "descriptors", lambda images: blocks.append(len(images)) or describe(images))
    np.testing.assert_allclose(open_gallery(gallery, metric).descriptors, expected, atol=1e-6)
    assert blocks == [6, 6, 6, 2]


def test_the_command_names_neighbours_and_their_parts(made, tmp_path, command):
    run, folder = made
    queries = [folder / "5" / "0.png", tmp_path / "none.png", folder / "9" / "1.png"]
    code, said, mistakes = command("retrieve", run, "--gallery", folder, *queries, "--top", 3)
    assert code == 2  # as one image is missing
    assert "none.png: no such file" in mistakes
    lines = [line for line in said.splitlines() if not line.startswith(f"{folder}: ")]
    assert lines[0] == f"{queries[0]} (class 5):"
    assert lines[7] == f"{queries[2]} (class 9):"
    number = r"-?\d\.\d{3}"
    for place in range(3):
        shape = (
            rf"  {place + 1}\. [✓✗] {re.escape(str(folder))}/\d/\d\.png: score {number} \(cosine {number}, number \d+"
        )
        assert re.match(shape, lines[1 + 2 * place])
        assert re.match(r"     strongest match: .+ ↔ .+, similarity .+ % of the weight$", lines[2 + 2 * place])
    assert re.match(r"first neighbour right by cosine: \d of 2$", lines[-2])
    assert re.match(r"first neighbour right after ranking again: \d of 2$", lines[-1])


def test_what_a_stopped_search_has_read_is_kept(gallery, tmp_path, read_files, monkeypatch):
    metric = load_metric(metric_run(tmp_path / "run"))
    monkeypatch.setattr(galleries, "_SAVED_AFTER", 8)
    with monkeypatch.context() as patch:
        patch.setattr(galleries, "_merged", stop_at_call(2, galleries._merged))
        with pytest.raises(KeyboardInterrupt):
            open_gallery(gallery, metric)
    assert len(read_files) == 16
    assert len(open_gallery(gallery, metric).names) == 20
    assert len(read_files) == 16 + 12


def stop_at_call(number, function):
    """`function`, but its call of this number raises KeyboardInterrupt."""
    calls = itertools.count(1)

    def stopping(*arguments):
        if next(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments)

    return stopping


def test_a_search_by_cosine_alone(made, command):
    run, folder = made
    code, said, _ = command("retrieve", run, folder / "5" / "0.png", "--gallery", folder, "--candidates", 0)
    assert code == 0
    assert said.count(": cosine ") == 5
    assert "strongest match" not in said


SMALL = ["data.name=digits_unseen", "data.validation_fraction=0", "data.augmentation=none", "distance.width=4"]


@pytest.mark.parametrize(("name", "score"), [("cifar100_unseen", "D ="), ("cifar100_structural", "1 − D/2 =")])
def test_a_search_by_a_trained_divergence(name, score, made, tmp_path, command):
    """Alone, or as the cost of matching; the command `pair` always needs cells."""
    run = metric_run(tmp_path / "run", *SMALL, name=f"bregman/{name}/input_convex")
    query, out = made[1] / "5" / "0.png", tmp_path / "sheet.png"
    code, said, _ = command("retrieve", run, query, made[1] / "6" / "1.png", "--gallery", made[1], "--out", out)
    assert code == 0
    assert said.count(score) == 10
    assert ("strongest match" in said) == (name == "cifar100_structural")
    assert "first neighbour right by divergence: " in said
    assert np.asarray(Image.open(out).convert("L")).std() > 20
    metric = load_metric(run)
    opened = open_gallery(made[1], metric)
    (found,) = search(metric, opened, [query], top=3, candidates=metric.candidates)
    expected = nearest(metric.distance, metric.described(opened.descriptors), depth=3)
    place = opened.number_of(query)
    assert [each.number for each in found.by_coarse] == expected.indices[place].tolist()
    np.testing.assert_allclose([each.coarse for each in found.by_coarse], expected.scores[place], atol=1e-5)
    data = tmp_path / "pair.json"
    code, said, _ = command("pair", run, query, made[1] / "6" / "1.png", "--out", tmp_path / "pair.png", "--json", data)
    assert code == 0
    begins = "cosine " if name == "cifar100_unseen" else f"{score} "
    assert said.startswith(begins)
    assert json.loads(data.read_text())["whole_in_words"].startswith(begins)
    if name == "cifar100_unseen":
        code, _, problem = command("retrieve", run, query, "--gallery", made[1], "--candidates", 5)
        assert code == 2
        assert "compares whole images by a divergence, and ranks none of them again" in problem
        assert command("retrieve", run, query, "--gallery", made[1], "--candidates", 0)[0] == 0


def test_a_run_that_is_trained_by_a_divergence_and_ranks_by_cosine(tmp_path):
    document = (REPOSITORY / "configs/bregman/cifar100_unseen/input_convex.yaml").read_text()
    (tmp_path / "mixed.yaml").write_text(document.replace("ranking:    {name: divergence}", "ranking: {name: cosine}"))
    metric = load_metric(metric_run(tmp_path / "run", *SMALL, name=tmp_path / "mixed.yaml"))
    assert metric.distance.get_config() == Structural().get_config()
    assert metric.candidates == 100


def test_descriptors_of_a_mixed_run_are_those_of_its_evaluation(made, tmp_path):
    """Means of 16-bit maps are taken in 32 bits."""
    settings = [*SMALL, "runtime.precision=mixed_bfloat16"]
    metric = load_metric(metric_run(tmp_path / "run", *settings, name="bregman/cifar100_unseen/input_convex"))
    images = np.concatenate([*digits_of_classes(1).values()]).astype(np.float32)
    expected = metric.distance.prepare(metric.model(images, training=False))
    described = metric.described(metric.descriptors(images))
    np.testing.assert_allclose(metric.distance.coarse(described, described), metric.distance.coarse(expected, expected))


def test_the_sheet_shows_what_was_found(made, metric, tmp_path, command):
    run, folder = made
    out = tmp_path / "sheet.png"
    code, said, _ = command("retrieve", run, "--gallery", folder, folder / "5" / "0.png", "--top", 3, "--out", out)
    assert code == 0
    assert said.splitlines()[-1] == str(out)
    assert np.asarray(Image.open(out).convert("L")).std() > 20


def test_marks_and_links_on_the_sheet(made, metric):
    opened = open_gallery(made[1], metric)
    found = list(search(metric, opened, [made[1] / "8" / "0.png"], top=4))
    images = dict(enumerate(np.concatenate([*digits_of_classes(4).values()])))
    figure = retrieval_pictures.sheet_figure(found, images, dict(enumerate(opened.names)), 4)
    assert len(figure.axes) == 1 + 4 + 2 * 4
    words = [text.get_text() for text in figure.texts]
    right = [neighbour.is_right for neighbour in (*found[0].by_coarse, *found[0].reranked)]
    assert len([word for word in words if word.startswith("✓ ")]) == sum(right)
    assert len([word for word in words if word.startswith("✗ ")]) == 8 - sum(right)
    frames = {mark: axes.spines["left"].get_linestyle() for mark, axes in zip(right[:4], figure.axes[1:5], strict=True)}
    assert len(set(map(str, frames.values()))) == len(frames) == 2
    unknown = [dataclasses.replace(each, label=None, by_coarse=(), reranked=each.reranked[:1]) for each in found]
    assert len(retrieval_pictures.sheet_figure(unknown, images, dict(enumerate(opened.names)), 4).axes) == 3


def test_a_run_that_ranks_by_cosine_is_searched_with_the_settings_of_the_paper(made, tmp_path):
    metric = load_metric(metric_run(tmp_path / "run", name="digits_unseen/margin_global"))
    assert metric.distance.get_config() == Structural().get_config()
    (found,) = search(metric, open_gallery(made[1], metric), [made[1] / "5" / "0.png"])
    assert len(found.reranked) == 5


def test_a_run_that_is_trained_by_matching_and_ranks_by_cosine_is_searched_as_it_was_trained(tmp_path):
    document = (REPOSITORY / "configs/digits_unseen/margin_structural.yaml").read_text()
    line = next(line for line in document.splitlines() if line.startswith("ranking:"))
    (tmp_path / "mixed.yaml").write_text(document.replace(line, "ranking: {name: cosine}"))
    metric = load_metric(metric_run(tmp_path / "run", "distance.entropy=0.1", name=tmp_path / "mixed.yaml"))
    trained = metric.distance.get_config()
    assert (trained["entropy"], trained["whole"]) == (0.1, "cells")
    assert metric.candidates == 100


def test_as_many_candidates_as_in_the_runs_evaluation(made, tmp_path, command):
    run = metric_run(tmp_path / "run", "ranking.candidates=2")
    words = "retrieve", run, made[1] / "5" / "0.png", "--gallery", made[1], "--top", 10
    command(*words)  # tells that it reads the gallery
    found = [command(*words, *more)[1] for more in ((), ("--candidates", 2), ("--candidates", 19))]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "IMAGE"), "the following arguments are required: --gallery"),
        (("RUN", "--gallery", "none", "IMAGE"), "none: there is no such folder"),
        (("RUN", "--gallery", "GALLERY", "IMAGE", "--label", "55"), "Did you mean `5`? Next: --label CLASS"),
        (("RUN", "--gallery", "GALLERY/5", "IMAGE", "--label", "5"), "Next: leave out --label"),
        (("RUN", "--gallery", "GALLERY", "IMAGE", "--out", "GALLERY/x.png"), "lies in the gallery"),
        (("RUN", "--gallery", "GALLERY", "IMAGE", "--out", "x.jpg"), "the picture is a PNG"),
        (("OTHER", "--gallery", "GALLERY", "IMAGE"), "a run of image recognition (cifar10/static_uns); expected a run"),
        ((".", "--gallery", "GALLERY", "IMAGE"), "not a run folder"),
    ],
)
def test_mistakes_end_in_a_message(words, message, made, run_folder, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    run, folder = made
    places = {"RUN": run, "OTHER": run_folder, "IMAGE": folder / "5" / "0.png"}
    typed = [places.get(word, word.replace("GALLERY", str(folder))) for word in words]
    code, _, said = command("retrieve", *typed)
    assert code == 2
    assert message in said
    assert "Traceback" not in said


def test_a_label_judges_images_from_elsewhere(made, tmp_path, command):
    run, folder = made
    outside = shutil.copy(folder / "7" / "0.png", tmp_path / "x.png")
    code, said, _ = command("retrieve", run, "--gallery", folder, outside, "--label", "7", "--top", 1)
    assert code == 0
    assert f"{outside} (class 7):" in said
    assert "  1. ✓ " in said  # the image that it is a copy of
