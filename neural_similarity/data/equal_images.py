"""Whether images of one split are in another one too, which makes an accuracy look better than it is."""

import hashlib
from collections import Counter

from neural_similarity.data.checksums import is_streamed
from neural_similarity.data.class_splits import ClassSplits
from neural_similarity.data.images import Splits

_NOT_LOOKED_FOR = [
    "the images are too many for the memory, so that each is read from its file whenever it is needed; nobody looked "
    "for copies among them"
]


def equal_images(splits: Splits) -> list[str]:
    """Counts equal images, pixel by pixel, as the network gets them. A copy of a file is thus found under any name.

    Args:
        splits: images `(n, h, w, 3)` uint8 and their labels.

    Returns:
        Lines for people, none if all is well: one for each split with images that are training images too, and one if
        the same training image is in two classes. Of images that stay in their files one line says that nobody looked.
    """
    if is_streamed(splits.train.images):
        return _NOT_LOOKED_FOR
    lines, training = [], {}
    conflicts = 0
    for image, label in zip(splits.train.images, splits.train.labels, strict=True):
        conflicts += training.setdefault(_digest(image), label) != label
    if conflicts:
        lines.append(f"images of train that are also in another class, pixel for pixel: {conflicts:,}")
    for split, part in splits.parts().items():
        equal = 0 if split == "train" else sum(_digest(image) in training for image in part.images)
        if equal:
            lines.append(f"images of {split} that are also in train, pixel for pixel: {equal:,} of {len(part):,}")
    return lines


def equal_class_images(splits: ClassSplits) -> list[str]:
    """Counts equal images, pixel by pixel, where the classes of the splits differ.

    An image of a test class that was trained on is no longer new. Of two copies in one split, one may be among the
    labelled images of an episode and the other among those to be recognised.

    Returns:
        Lines for people, none if all is well: one for each split in which images are there more than once, and one for
        each pair of splits that share images. Of images that stay in their files one line says that nobody looked.
    """
    if is_streamed(splits.train.images):
        return _NOT_LOOKED_FOR
    lines, earlier = [], {}
    for split, part in splits.parts().items():
        counts = Counter(_digest(part.images[row]) for rows in part.rows for row in rows)
        if copies := len(part) - len(counts):
            lines.append(f"images of {split} that are copies of another one there, pixel for pixel: {copies:,}")
        for other, digests in earlier.items():
            if equal := sum(count for digest, count in counts.items() if digest in digests):
                lines.append(f"images of {split} that are also in {other}, pixel for pixel: {equal:,} of {len(part):,}")
        earlier[split] = counts.keys()
    return lines


def _digest(image):
    return hashlib.blake2b(image, digest_size=16).digest()  # 16 bytes an image stay in memory
