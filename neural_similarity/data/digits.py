"""Handwritten digits that come with scikit-learn: 1,797 real images, for trying things out without a download."""

import numpy as np

from neural_similarity.data.images import ImageSet, Splits, stratified_split


def load_digits():
    """Reads scikit-learn's digits (8×8, grey) in CIFAR's shape; a fixed, stratified fifth is the test set.

    Returns:
        Splits of 1,437 and 360 images `(n, 32, 32, 3)` uint8, scaled up bilinearly, three equal channels; no
        validation images; classes "0" to "9".
    """
    from PIL import Image
    from sklearn import datasets

    digits = datasets.load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (n, 8, 8), 0–16 → 0–255
    large = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in grey])
    images = np.repeat(large[..., None], 3, axis=-1)
    train, test = stratified_split(ImageSet(images, digits.target.astype(np.int32)), fraction=0.2, seed=0)
    return Splits(train, None, test, tuple(map(str, range(10))))
