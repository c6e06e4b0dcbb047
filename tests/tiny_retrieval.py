"""The sets of metric learning at a tiny size, and the folders in which people bring them."""

import dataclasses

import numpy as np
import scipy.io
from pictures import pixels, save

from neural_similarity.data import registry

BIRDS = ("001.Albatross", "002.Auklet", "010.Crow", "011.Gull")  # two for training, two for testing
CARS = ("AM General Hummer", "Acura TL", "Dodge Ram C-V", "smart fortwo")
COUNTS = {"train": 5, "test": 7}
_CLASSES = {"train": 2, "test": 2}
_SIZES = (2, 3, 3, 4)  # images of each class


def use_tiny(monkeypatch, root):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(root))
    for name in ("cub200", "cars196", "sop"):
        entry = dataclasses.replace(registry.DATA_SETS[name], counts=COUNTS, class_counts=_CLASSES)
        if name == "cub200":
            (archive,) = entry.archives
            archive = dataclasses.replace(archive, file_counts={"images/*/*.jpg": sum(_SIZES)})
            entry = dataclasses.replace(entry, archives=(archive,))
        monkeypatch.setitem(registry.DATA_SETS, name, entry)


def photo(i, j, **options):
    """The arguments of `save` for the j-th image of the i-th class: a JPEG of noise, upright or not."""
    height, width = (24 + i, 30 + j) if j % 2 else (36, 25 + i)
    return {"array": pixels(height, width, seed=[i, j]), "format": "JPEG", "quality": 90, **options}


def write_classes(folder, classes, trees=("",)):
    """Writes FOLDER/TREE/CLASS/FILE.jpg; the images of a class are dealt to the trees in turn."""
    for i, (name, size) in enumerate(zip(classes, _SIZES, strict=True)):
        for j in range(size):
            path = folder / trees[j % len(trees)] / name / f"{name.split('.')[-1].replace(' ', '_')}_{j}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, **photo(i, j))
    return folder


def write_birds(root):
    """The set where it belongs."""
    return write_classes(root / "CUB_200_2011" / "images", BIRDS)


def write_annotated_cars(folder):
    """`car_ims` with the annotations beside it. The numbers of the classes are not in the order of their names."""
    (folder / "car_ims").mkdir(parents=True)
    names = [CARS[i].replace("C-V", "C/V") for i in (1, 0, 2, 3)]
    rows = []
    for i, size in enumerate(_SIZES):
        for j in range(size):
            name = f"{len(rows) + 1:06}.jpg"
            save(folder / "car_ims" / name, **photo(i, j))
            rows.append((f"car_ims/{name}", 17, names.index(CARS[i].replace("C-V", "C/V")) + 1, j % 2))
    kinds = [("relative_im_path", object), ("bbox_x1", object), ("class", object), ("test", object)]
    content = {"annotations": np.array(rows, dtype=kinds), "class_names": np.array(names, object)}
    scipy.io.savemat(folder / "cars_annos.mat", content)
    return folder


def write_products(folder):
    """Two lists and two folders of images. Products 1 and 2 are for training, 3 and 4 for testing."""
    lines = {"Ebay_train.txt": [], "Ebay_test.txt": []}
    for i, size in enumerate(_SIZES):
        for j in range(size):
            name = f"{('bicycle', 'chair')[i % 2]}_final/{1000 + i}_{j}.JPG"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            save(folder / name, **photo(i, j))
            of_list = lines["Ebay_train.txt" if i < 2 else "Ebay_test.txt"]
            of_list.append(f"{len(of_list) + 1} {i + 1} {i % 2 + 1} {name}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(["image_id class_id super_class_id path", *rows]) + "\n")
    return folder
