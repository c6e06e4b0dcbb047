"""dataset_setup.sh puts CUB-200-2011, Cars196 and Stanford Online Products in place, at a tiny size."""

import dataclasses
import json
import os
import shutil

import pytest
import tiny_retrieval as tiny
from pictures import pixels, save
from tiny_sets import md5, run, tar_of, tree

from neural_similarity.data import brought, download, origin, registry
from neural_similarity.data.retrieval_sets import count_retrieval_set, load_retrieval_set

COUNTED = {"train": (2, 5), "test": (2, 7)}


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    tiny.use_tiny(monkeypatch, tmp_path / "root")
    monkeypatch.setattr(download, "fetch", lambda url, file, most_bytes: pytest.fail(f"{url} is asked for"))
    return tmp_path / "root"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def refused(capsys, root, *arguments):
    """What is said of a set-up that fails; nothing is left of it."""
    before = tree(root) if root.exists() else {}
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith(f"dataset_setup.sh: {arguments[0]}: ")
    assert len(err.splitlines()) == 1
    assert (tree(root) if root.exists() else {}) == before
    return err


# CUB-200-2011

LAYOUTS = {
    "unpacked": ("images", [""]),
    "the folder of that": ("CUB_200_2011/images", [""]),
    "two parts": ("", ["train", "val"]),
    "two parts of other names": ("", ["train", "test"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_birds_come_in_several_layouts(capsys, root, source, layout):
    place, trees = LAYOUTS[layout]
    tiny.write_classes(source / place, tiny.BIRDS, trees)
    (source / place / trees[0] / tiny.BIRDS[0] / "._Albatross_0.jpg").write_bytes(b"of a Mac")
    code, out, err = run(capsys, "cub200", "--from", source)
    assert (code, err) == (0, "")
    folder = root / "CUB_200_2011"
    expected = tree(tiny.write_classes(source.parent / "expected" / "images", tiny.BIRDS).parent)
    found = tree(folder)
    note = json.loads(found.pop(origin.NAME))
    assert found == expected
    assert (note["official"], note["files"]) == (False, 12)
    assert note["bytes"] == sum(map(len, expected.values()))
    assert note["md5"] == md5(b"".join(expected[name] for name in sorted(expected)))
    words = f"copied from {', '.join(f'{part}/*/*.jpg' for part in trees) if trees[0] else 'images/*/*.jpg'}, not "
    words += f"unpacked from the official archive; MD5 of all files {note['md5']}"
    assert f"cub200: complete in {folder}; its images: {words}\n" in out
    assert load_retrieval_set("cub200", root, 16).origin == words
    code, out, _ = run(capsys, "cub200")  # the note stays
    assert code == 0
    assert words in out
    assert count_retrieval_set("cub200", root) == COUNTED


def test_birds_of_the_official_archive(capsys, monkeypatch, root, source):
    images = tree(tiny.write_classes(source / "images", tiny.BIRDS))
    content = tar_of("CUB_200_2011", {f"images/{name}": image for name, image in images.items()})
    (archive,) = registry.DATA_SETS["cub200"].archives
    entry = dataclasses.replace(
        registry.DATA_SETS["cub200"], archives=(dataclasses.replace(archive, md5=md5(content)),)
    )
    monkeypatch.setitem(registry.DATA_SETS, "cub200", entry)
    shutil.rmtree(source / "images")
    (source / archive.name).write_bytes(content)
    assert run(capsys, "cub200", "--from", source)[0] == 0
    assert load_retrieval_set("cub200", root, 16).origin == "unpacked from the official CUB_200_2011.tgz"
    # what lies there without a note may be anything; a copy of which one image is lost is replaced as a whole
    (root / "CUB_200_2011" / origin.NAME).unlink()
    assert load_retrieval_set("cub200", root, 16).origin == "of unknown origin"
    (root / "CUB_200_2011" / "images" / tiny.BIRDS[0] / "Albatross_0.jpg").unlink()
    assert run(capsys, "cub200", "--from", source)[0] == 0
    assert load_retrieval_set("cub200", root, 16).origin == "unpacked from the official CUB_200_2011.tgz"


def test_half_a_copy_of_the_birds_is_refused(capsys, root, source):
    tiny.write_classes(source, tiny.BIRDS, ["train", "val"])
    shutil.rmtree(source / "val" / tiny.BIRDS[3])
    code, _, err = run(capsys, "cub200", "--from", source)
    assert code == 2
    assert f"cub200: {source}/train/*/*.jpg, val/*/*.jpg: expected 12 files, got 10 files.\n" in err
    assert "Put good copies of them, or of CUB_200_2011.tgz (MD5 97eceeb196236b17998738112f37df78) from https" in err
    assert not root.exists()


# Cars196


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda folder: tiny.write_classes(folder, tiny.CARS), "copied from class folders; no checksum of the pub"),
        (lambda folder: tiny.write_classes(folder / "images", tiny.CARS), "copied from class folders; no checksum"),
        (tiny.write_annotated_cars, "copied from car_ims and cars_annos.mat; no checksum of the publisher's is known;"),
    ],
)
def test_cars_come_in_several_layouts(capsys, root, source, write, words):
    write(source)
    code, out, err = run(capsys, "cars196", "--from", source)
    assert (code, err) == (0, "")
    assert f"cars196: complete in {root / 'cars196'}; its images: {words}" in out
    splits = load_retrieval_set("cars196", root, 16)
    assert [part.classes for part in splits.parts().values()] == [tiny.CARS[:2], tiny.CARS[2:]]
    assert splits.origin.startswith(words)
    found = [path.read_bytes() for part in splits.parts().values() for path in part.images.paths]
    brought = tree(tiny.write_classes(source.parent / "expected", tiny.CARS))
    assert found == [brought[name] for name in sorted(brought)]
    assert sorted(path.name for path in root.iterdir()) == ["cars196"]
    assert run(capsys, "cars196")[0] == 0


def test_cars_of_two_trees_may_have_the_same_names(capsys, root, source):
    tiny.write_classes(source, tiny.CARS, ["train", "test"])
    for i, path in enumerate(sorted(source.rglob("*.jpg"))):
        path.rename(path.with_name(f"{i % 3:05}.jpg"))
    assert run(capsys, "cars196", "--from", source)[0] == 0
    found = sorted(tree(root / "cars196" / "images").values())
    assert found == sorted(tree(source).values())


CAR_MISTAKES = {  # what is done to the annotated folder → what is said
    "an image is missing": (
        lambda s: (s / "car_ims" / "000003.jpg").unlink(),
        "cars_annos.mat: names 000003.jpg, which is not in car_ims. Next: complete",
    ),
    "no annotations": (
        lambda s: (s / "cars_annos.mat").unlink(),
        "expected 4 folders, each with the images of a class, or car_ims with cars_annos.mat beside it; found 1",
    ),
    "something else": (
        lambda s: (s / "cars_annos.mat").write_text("cars"),
        "cars_annos.mat: cannot be read as the annotations of Cars196 (",
    ),
}


@pytest.mark.parametrize("kind", CAR_MISTAKES)
def test_mistakes_in_annotated_cars(capsys, root, source, kind):
    damage, said = CAR_MISTAKES[kind]
    damage(tiny.write_annotated_cars(source))
    assert said in refused(capsys, root, "cars196", "--from", source)


def test_cars_with_other_counts_are_refused(capsys, root, source):
    tiny.write_classes(source, tiny.CARS)
    next((source / tiny.CARS[3]).iterdir()).unlink()
    said = refused(capsys, root, "cars196", "--from", source)
    assert f"{source}: the split `test` has 2 classes with 6 images; expected 2 classes with 7 images. Next: " in said
    assert said.endswith(f"then: ./dataset_setup.sh cars196 --from {source}\n")


# Stanford Online Products


@pytest.mark.parametrize("inner", ["", "Stanford_Online_Products"])
def test_products_are_copied_as_the_lists_name_them(capsys, root, source, inner):
    tiny.write_products(source / inner)
    expected = tree(source / inner)
    (source / inner / "bicycle_final" / "more.JPG").write_bytes(b"not in a list")
    code, out, err = run(capsys, "sop", "--from", source)
    assert (code, err) == (0, "")
    folder = root / "Stanford_Online_Products"
    assert f"sop: complete in {folder}; its images: copied from a folder in the publisher's layout; no check" in out
    found = tree(folder)
    assert found.pop(origin.NAME)
    assert found == expected
    splits = load_retrieval_set("sop", root, 16)
    assert [part.classes for part in splits.parts().values()] == [("1", "2"), ("3", "4")]
    assert splits.train.names[:3] == ("bicycle_final/1000_0.JPG", "bicycle_final/1000_1.JPG", "chair_final/1001_0.JPG")


def damage_line(number, text):
    def change(folder):
        lines = (folder / "Ebay_test.txt").read_text().splitlines()
        lines[number - 1] = text
        (folder / "Ebay_test.txt").write_text("\n".join(lines))

    return change


PRODUCT_MISTAKES = {
    "an image is missing": (
        lambda s: (s / "bicycle_final" / "1002_1.JPG").unlink(),
        "Ebay_test.txt, line 3: names bicycle_final/1002_1.JPG, which is not there. Next: complete ",
    ),
    "a folder is missing": (lambda s: shutil.rmtree(s / "chair_final"), "Ebay_train.txt, line 4: names chair_final/"),
    "a list is missing": (
        lambda s: (s / "Ebay_test.txt").unlink(),
        "neither there nor in Stanford_Online_Products are",
    ),
    "another kind of line": (damage_line(2, "1 3 bicycle_final/1002_0.JPG"), "line 2: '1 3 bicycle_final/1002_0.JPG'"),
    "a path that leads away": (damage_line(2, "1 3 1 ../x.JPG"), "expected `image_id class_id super_class_id path`"),
    "an image twice": (
        damage_line(3, "2 3 1 bicycle_final/1002_0.JPG"),
        "line 3: names bicycle_final/1002_0.JPG a sec",
    ),
    "a class in both lists": (damage_line(2, "1 2 1 bicycle_final/1002_0.JPG"), "the class 2 stands in Ebay_train.txt"),
    "a class less": (damage_line(2, ""), "the split `test` has 2 classes with 6 images; expected 2 classes with 7"),
    "no text": (lambda s: (s / "Ebay_train.txt").write_bytes(b"\xff"), "Ebay_train.txt: cannot be read as a list ("),
}


@pytest.mark.parametrize("kind", PRODUCT_MISTAKES)
def test_mistakes_in_the_products(capsys, root, source, kind):
    damage, said = PRODUCT_MISTAKES[kind]
    damage(tiny.write_products(source))
    text = refused(capsys, root, "sop", "--from", source)
    assert said in text
    assert " Next: " in text


# Building


def test_an_interrupted_copy_leaves_nothing(capsys, monkeypatch, root, source):
    copy, calls = shutil.copyfile, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return copy(*arguments)

    tiny.write_products(source)
    monkeypatch.setattr(brought.shutil, "copyfile", interrupted)
    code, _, err = run(capsys, "sop", "--from", source)
    assert code == 130
    assert err.endswith(
        f"sop: interrupted; nothing is kept. Next, to begin anew: ./dataset_setup.sh sop --from {source}\n"
    )
    assert tree(root) == {}
    (root / "Stanford_Online_Products.unfinished" / "old").mkdir(parents=True)  # of a process that was killed
    assert run(capsys, "sop", "--from", source)[0] == 0
    assert sorted(path.name for path in root.iterdir()) == ["Stanford_Online_Products"]


def test_two_copies_at_once(capsys, root, source):
    tiny.write_products(source)
    root.mkdir()
    with download.alone(root / ".Stanford_Online_Products.lock"):
        assert "another process is copying it to" in refused(capsys, root, "sop", "--from", source)


@pytest.mark.parametrize("name", ["cars196", "sop"])
def test_what_is_in_the_place_of_a_set_is_not_touched(capsys, root, source, name):
    tiny.write_products(source)
    tiny.write_classes(source, tiny.CARS, ["images"])
    folder = root / registry.DATA_SETS[name].folder
    folder.mkdir(parents=True)
    save(folder / "mine.png", pixels())
    arguments = (name, "--from", source if name == "sop" else source / "images")
    said = refused(capsys, root, *arguments)
    assert f"{folder}: is there already, and does not hold the set. Next: move it away" in said
    os.rename(folder, root / "mine")
    assert run(capsys, *arguments)[0] == 0
    shutil.rmtree(next(path for path in folder.rglob("*") if path.is_dir() and any(path.glob("*.[jJ]*"))))
    assert "Next: move " in refused(capsys, root, name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cars196", "a folder of images for each of the 196 classes, or `car_ims` with cars_annos.mat beside it"),
        ("sop", "Ebay_train.txt and Ebay_test.txt with the folders of images beside them, such as `bicycle_final`"),
    ],
)
def test_without_images_it_says_what_to_bring(capsys, root, name, words):
    said = refused(capsys, root, name)
    assert f"{name}: it is not downloaded. Bring the images, in a folder DIR: {words} (docs/data.md" in said
    assert said.endswith(f"Next: ./dataset_setup.sh {name} --from DIR\n")


def test_a_note_that_is_damaged_is_no_note(tmp_path):
    for content in (b"{", b"[]", b'{"made_from": "x"}', b"\xff", b" " * 20_000):
        (tmp_path / origin.NAME).write_bytes(content)
        assert origin.read_note(tmp_path) == "of unknown origin"
