"""What data sets there are. Everything that identifies a set stands here, and only here.

The config's schema, the readers, `dataset_setup.sh` and the table in docs/data.md take names, classes, counts and
checksums from this file. It uses the standard library alone, because `dataset_setup.sh` reads it before anything is
installed.
"""

from dataclasses import dataclass, field

if __package__:
    from neural_similarity.data.class_lists import CIFAR_FS, FC100, MINI_IMAGENET
else:  # setup.py runs by itself
    from class_lists import CIFAR_FS, FC100, MINI_IMAGENET

FAMILIES = {  # name in configs → name for people
    "image_recognition": "image recognition",
    "few_shot": "few-shot recognition",
    "metric_learning": "metric learning",
    "bregman": "learned divergences",
}


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What a set is. A set of this class needs no set-up: a package contains it, or the images are the user's own.

    Attributes:
        name: the name in configs and commands, such as `cifar10`.
        title: the name for people, such as "CIFAR-10".
        image_size: height and width of the images in pixels; None where the config says it, as `data.image_size`.
        classes: the names of the classes, in the order of the labels; None where the files tell them.
        counts: the number of images in each split, such as `{"train": 50_000, "test": 10_000}`; None where the files
            tell it.
        origin: where the images come from, in words.
        page: address of the publisher's page; None for the user's own images.
        licence: what the publisher says about use, in words.
        families: the families of experiments that can use it, by their names in `FAMILIES`. Image recognition and
            learned divergences need the same classes in every split; few-shot recognition and metric learning need
            other classes in each.
        class_counts: the number of classes in each split, where the splits have different classes and the files tell
            their names.
    """

    name: str
    title: str
    image_size: int | None
    classes: tuple[str, ...] | None
    counts: dict[str, int] | None
    origin: str
    page: str | None
    licence: str
    families: tuple[str, ...] = ("image_recognition",)
    class_counts: dict[str, int] | None = None

    @property
    def class_splits(self):
        """Whether its splits have different classes, as few-shot recognition and metric learning need them."""
        return not {"image_recognition", "bregman"} & {*self.families}

    def serves(self):
        """The families that can use it, in words: "few-shot recognition and metric learning"."""
        return " and ".join(FAMILIES[family] for family in self.families)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A `.tar.gz` file that a publisher offers, and which of its files the set needs.

    It may also be a single file that is used without unpacking. Then `file_md5` has one path, the name of this file.

    Every file that the set needs is checked in one of three ways. A path or pattern starts in the set's folder. In a
    pattern `*` stands for any part of one name: `images/*/*.jpg` are all JPEGs two folders below the set's folder,
    and not those in `images` itself.

    Attributes:
        name: the name of the archive, such as `cifar-10-binary.tar.gz`.
        url: where it is downloaded from.
        md5: its MD5, 32 hex digits; None if its publisher gives none. Then it is the right one if it can be read to
            its end and holds everything that the three attributes below ask for.
        file_md5: path → MD5 of that file.
        file_bytes: path → size of that file, where it is known; a file of another size is not even read.
        file_counts: pattern → the number of files that fit it, none of them empty. This is for files of which no
            checksum is known.
        line_counts: path → the number of lines in that file. This is for lists of which no checksum is known.
        other_layouts: pattern of `file_counts` → the patterns under which copies have its files. What stands for the
            `*` is kept: with `{"images/*/*.jpg": ("train/*/*.jpg", "val/*/*.jpg")}`, `--from` takes
            `val/wren/1.jpg` for `images/wren/1.jpg`.
    """

    name: str
    url: str
    md5: str | None
    file_md5: dict[str, str] = field(default_factory=dict)
    file_bytes: dict[str, int] = field(default_factory=dict)
    file_counts: dict[str, int] = field(default_factory=dict)
    line_counts: dict[str, int] = field(default_factory=dict)
    other_layouts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_one_file(self):
        """Whether it is a file that the set needs as it is."""
        return self.name in self.file_md5


@dataclass(frozen=True, kw_only=True)
class DownloadedSet(DataSet):
    """A set that `dataset_setup.sh` puts in place.

    Attributes:
        folder: where the set's files lie, below the folder of all sets. It is also the folder that the archives unpack
            to.
        archives: what to download.
        released_folder: the folder's name in the authors' released code, where `--from` looks too; None if the code
            has no such folder.
        space_mb: disk space that the set-up needs, for the archives and the files, in megabytes. Nothing larger is
            downloaded, unpacked or copied.
        next_command: what to run when the set is in place.
        only_by_name: it is not among the sets that are set up when no name is given.
    """

    folder: str
    archives: tuple[Archive, ...]
    released_folder: str | None
    space_mb: int
    next_command: str
    only_by_name: bool = False


@dataclass(frozen=True, kw_only=True)
class RegroupedSet(DataSet):
    """A set that takes its images from another one, and splits them in its own way.

    Attributes:
        images_of: the name of the other set, a DownloadedSet. To set it up is all the set-up there is.
        next_command: what to run when the set is in place.
    """

    images_of: str
    next_command: str


@dataclass(frozen=True, kw_only=True)
class BroughtSet(DataSet):
    """A set that is not downloaded. `dataset_setup.sh NAME --from DIR` builds it from the user's images.

    Attributes:
        what_to_bring: what DIR may hold, in words.
        checked_by: how it is checked that the set is whole, in words.
        folder: where the set's files lie, below the folder of all sets.
        space_mb: disk space that the set-up needs, in megabytes.
        next_command: what to run when the set is in place.
    """

    what_to_bring: str
    checked_by: str
    folder: str
    space_mb: int
    next_command: str


_CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_CIFAR = {
    "image_size": 32,
    "counts": {"train": 50_000, "test": 10_000},
    "origin": "downloaded from its publisher",
    "page": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "The publisher states no licence, and asks users to cite the technical report that the page names.",
}


def _by_class(lists):
    """What the entries of sets with 600 images per class have in common; `lists` is {split: its classes}."""
    return {
        "classes": tuple(name for names in lists.values() for name in names),
        "counts": {split: len(names) * 600 for split, names in lists.items()},
        "families": ("few_shot",),
    }


_OF_CIFAR100 = {
    "image_size": 32,
    "origin": "the images of `cifar100`, those for training and those for test together",
    "page": _CIFAR["page"],
    "licence": "that of `cifar100`",
    "images_of": "cifar100",
}

_OF_MANY_OWNERS = "The photographs have many owners; see the publisher's page for the terms of use."

_TEN_DIGITS = tuple("0123456789")

_DIGITS = {
    "image_size": 32,
    "classes": _TEN_DIGITS,
    "origin": "contained in scikit-learn",
    "page": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    "licence": "scikit-learn's description of the set states no licence; see the page for the original's.",
}

_IDX = {
    "image_size": 28,
    "counts": {"train": 60_000, "test": 10_000},
    "families": ("bregman",),
    "released_folder": None,
    "space_mb": 100,
    "only_by_name": True,
}


def _idx_files(address, *md5):
    """The four files of a set in the format IDX.

    `md5` are the checksums of the training images, training labels, test images and test labels, in this order.
    """
    names = (f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
    return tuple(
        Archive(name=name, url=f"{address}/{name}", md5=of_file, file_md5={name: of_file})
        for name, of_file in zip(names, md5, strict=True)
    )


DATA_SETS: dict[str, DataSet] = {
    entry.name: entry
    for entry in (
        DownloadedSet(
            name="cifar10",
            title="CIFAR-10",
            classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            folder="cifar-10-batches-bin",
            archives=(
                Archive(
                    name="cifar-10-binary.tar.gz",
                    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    md5="c32a1d4ab5d03f1284b67883e8d87530",
                    file_md5={
                        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
                        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
                    },
                    file_bytes=dict.fromkeys(
                        (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"), 30_730_000
                    ),
                ),
            ),
            released_folder="cifar-10",
            space_mb=400,
            next_command="python nsl_image_recog/dynamic_dns/train.py",
            families=("image_recognition", "bregman"),
            **_CIFAR,
        ),
        DownloadedSet(
            name="cifar100",
            title="CIFAR-100",
            classes=tuple(_CIFAR100_CLASSES.split()),
            folder="cifar-100-binary",
            archives=(
                Archive(
                    name="cifar-100-binary.tar.gz",
                    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                    md5="03b5dce01913d631647c71ecec9e9cb8",
                    file_md5={
                        "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
                        "test.bin": "4499cfba6c016c1be1438163640a0898",
                    },
                    file_bytes={"train.bin": 153_700_000, "test.bin": 30_740_000},
                ),
            ),
            released_folder="cifar-100",
            space_mb=400,
            next_command="python nsl_image_recog/dynamic_dns/train.py --config configs/cifar100/dynamic_dns.yaml",
            **_CIFAR,
        ),
        DownloadedSet(
            name="mnist",
            title="MNIST",
            classes=_TEN_DIGITS,
            origin="downloaded from a mirror, as its publisher's page no longer offers the files to everyone",
            page="http://yann.lecun.com/exdb/mnist/",
            licence="The publisher's page states no licence.",
            folder="mnist",
            archives=_idx_files(
                "https://storage.googleapis.com/cvdf-datasets/mnist",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            next_command="python metric_learning/bregman/train.py --config configs/bregman/mnist/input_convex.yaml",
            **_IDX,
        ),
        DownloadedSet(
            name="fashion_mnist",
            title="Fashion-MNIST",
            classes=(
                *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
                *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
            ),
            origin="downloaded from its publisher",
            page="https://github.com/zalandoresearch/fashion-mnist",
            licence="MIT",
            folder="fashion-mnist",
            archives=_idx_files(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            next_command="python metric_learning/bregman/train.py "
            "--config configs/bregman/fashion_mnist/input_convex.yaml",
            **_IDX,
        ),
        RegroupedSet(
            name="cifar_fs",
            title="CIFAR-FS",
            next_command="python few_shot/cifar_fs/train.py",
            **_OF_CIFAR100,
            **_by_class(CIFAR_FS),
        ),
        RegroupedSet(
            name="fc100",
            title="FC100",
            next_command="python few_shot/cifar_fs/train.py --config configs/fc100/5shot_protonet.yaml",
            **_OF_CIFAR100,
            **_by_class(FC100),
        ),
        BroughtSet(
            name="mini_imagenet",
            title="Mini-ImageNet",
            image_size=84,
            origin="built from images that you bring",
            page="https://github.com/twitter-research/meta-learning-lstm",
            licence="ImageNet's terms of access hold: research and teaching that are not commercial.",
            what_to_bring="those of Mini-ImageNet with its lists train.csv, val.csv and test.csv, one folder for each "
            "class, or ImageNet and the lists",
            checked_by="the number of images in each class",
            folder="mini-imagenet",
            space_mb=1_300,
            next_command="python few_shot/mini_imagenet/train.py",
            **_by_class(MINI_IMAGENET),
        ),
        DownloadedSet(
            name="cub200",
            title="CUB-200-2011",
            image_size=None,
            classes=None,
            counts={"train": 5_864, "test": 5_924},
            class_counts={"train": 100, "test": 100},
            origin="downloaded from its publisher",
            page="https://data.caltech.edu/records/65de6-vp158",
            licence=_OF_MANY_OWNERS,
            families=("metric_learning",),
            folder="CUB_200_2011",
            archives=(
                Archive(
                    name="CUB_200_2011.tgz",
                    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                    md5="97eceeb196236b17998738112f37df78",
                    file_counts={"images/*/*.jpg": 11_788},
                    other_layouts={"images/*/*.jpg": ("train/*/*.jpg", "val/*/*.jpg", "test/*/*.jpg")},
                ),
            ),
            released_folder="cub200",
            space_mb=2_600,
            next_command="python metric_learning/diml/train.py",
            only_by_name=True,
        ),
        BroughtSet(
            name="cars196",
            title="Cars196",
            image_size=None,
            classes=None,
            counts={"train": 8_054, "test": 8_131},
            class_counts={"train": 98, "test": 98},
            origin="copied from images that you bring",
            page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
            licence=_OF_MANY_OWNERS,
            families=("metric_learning",),
            what_to_bring="a folder of images for each of the 196 classes, or `car_ims` with cars_annos.mat beside it",
            checked_by="the number of classes and images in each split",
            folder="cars196",
            space_mb=2_200,
            next_command="python metric_learning/diml/train.py --config configs/cars196/multisimilarity_plugin.yaml",
        ),
        BroughtSet(
            name="sop",
            title="Stanford Online Products",
            image_size=None,
            classes=None,
            counts={"train": 59_551, "test": 60_502},
            class_counts={"train": 11_318, "test": 11_316},
            origin="copied from images that you bring",
            page="https://cvgl.stanford.edu/projects/lifted_struct/",
            licence=_OF_MANY_OWNERS,
            families=("metric_learning",),
            what_to_bring="Ebay_train.txt and Ebay_test.txt with the folders of images beside them, such as "
            "`bicycle_final`",
            checked_by="the number of classes and images in each split",
            folder="Stanford_Online_Products",
            space_mb=3_400,
            next_command="python metric_learning/diml/train.py --config configs/sop/margin_structural.yaml",
        ),
        RegroupedSet(
            name="cifar100_unseen",
            title="CIFAR-100, unseen classes",
            classes=tuple(_CIFAR100_CLASSES.split()),
            counts={"train": 30_000, "test": 30_000},
            class_counts={"train": 50, "test": 50},
            families=("metric_learning",),
            next_command="python metric_learning/diml/train.py --config configs/cifar100_unseen/margin_global.yaml",
            **_OF_CIFAR100,
        ),
        DataSet(
            name="digits",
            counts={"train": 1_437, "test": 360},
            title="Handwritten digits",
            families=("image_recognition", "few_shot"),
            **_DIGITS,
        ),
        DataSet(
            name="digits_unseen",
            title="Handwritten digits, unseen classes",
            counts={"train": 901, "test": 896},
            class_counts={"train": 5, "test": 5},
            families=("metric_learning",),
            **_DIGITS,
        ),
        DataSet(
            name="folder",
            title="Your own images",
            image_size=None,
            classes=None,
            counts=None,
            origin="in a folder of yours, `data.root`",
            page=None,
            licence="that of your images",
            families=("image_recognition", "few_shot", "metric_learning"),
        ),
    )
}
