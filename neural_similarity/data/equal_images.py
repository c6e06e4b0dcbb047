"""Whether images of one split are in another one too, which makes an accuracy look better than it is."""

import hashlib

from neural_similarity.data.images import Splits


def equal_images(splits: Splits) -> list[str]:
    """Counts equal images, pixel by pixel, as the network gets them. A copy of a file is thus found under any name.

    Args:
        splits: images `(n, h, w, 3)` uint8 and their labels.

    Returns:
        Lines for people, none if all is well: one for each split with images that are training images too, and one if
        the same training image is in two classes.
    """
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


def _digest(image):
    return hashlib.blake2b(image, digest_size=16).digest()  # 16 bytes an image stay in memory
