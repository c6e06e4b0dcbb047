"""Reads scikit-learn's handwritten digits: 1,797 real images, for trying things out without a download."""

import numpy as np

from neural_similarity.data.images import ImageSet, Splits, stratified_split
from neural_similarity.data.registry import DATA_SETS


def load_digits():
    """Reads the digits, 8×8 pixels in grey, in the shape of CIFAR's images.

    Every image is scaled up bilinearly, and its grey level is repeated in three channels. A fifth of every class is the
    test set, always the same one.

    Returns:
        Splits of 1,437 training and 360 test images `(n, 32, 32, 3)` uint8, with labels `(n,)` int32 and no validation
        images. The classes are "0" to "9".
    """
    from PIL import Image
    from sklearn import datasets

    digits = datasets.load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (n, 8, 8); grey levels 0–16 become 0–255
    large = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in grey])
    images = np.repeat(large[..., None], 3, axis=-1)
    train, test = stratified_split(ImageSet(images, digits.target.astype(np.int32)), fraction=0.2, seed=0)
    return Splits(train, None, test, DATA_SETS["digits"].classes)
