"""Images that stay in their files until they are chosen.  n images · s height and width in pixels."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from neural_similarity.data.image_files import fill, middle_square, read_images
from neural_similarity.data.listing import unreadable

MOST_BYTES_IN_MEMORY = 2_000_000_000  # of the pixels of a set; the images of a larger one stay in their files


class ImageFiles:
    """Stands for an array of images `(n, s, s, 3)` uint8: `images[indices]` reads the chosen ones from their files.

    Args:
        paths: the n files.
        size: s.
        scaled: what makes a square of an image, such as `image_files.middle_square`.
        root: the folder in which the names of the files begin. A set may be moved, and has the same names there.

    Attributes:
        shape: `(n, s, s, 3)`.
        names: n texts, the paths of the files in `root`, with `/` between folders.
    """

    def __init__(self, paths: Sequence[Path], size: int, scaled: Callable, root: Path):
        self.paths = tuple(paths)
        self.size = size
        self.scaled = scaled
        self.root = root
        self.shape = (len(self.paths), size, size, 3)

    @property
    def names(self):
        """See the class."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    def __len__(self):
        """The number of images, n."""
        return len(self.paths)

    def __getitem__(self, indices):
        """The images at `indices`, which are what indexes the first axis of an array.

        Raises:
            UserError: an image cannot be read whole.
        """
        return self.read(np.arange(len(self.paths))[indices], self.scaled)

    def read(self, indices: np.ndarray, scaled: Callable | list[Callable]) -> np.ndarray:
        """The images at `indices`, `(*indices.shape, s, s, 3)` uint8.

        Args:
            indices: integers, an array of any shape.
            scaled: what makes a square of each image, in the place of the set's own; or a list of as many functions.
        """
        indices = np.asarray(indices)
        images = np.empty((indices.size, *self.shape[1:]), np.uint8)
        fill(images, [self.paths[i] for i in indices.ravel()], scaled)
        return images.reshape(*indices.shape, *self.shape[1:])

    def fingerprint(self, indices=slice(None)) -> bytes:
        """What tells these images from others without reading them: a line with name and size in bytes for each file.

        Args:
            indices: which images, as for `images[indices]`.

        Raises:
            UserError: a file is not there any more.
        """
        lines = []
        for i in np.arange(len(self.paths))[indices]:
            path = self.paths[i]
            try:
                lines.append(f"{path.relative_to(self.root).as_posix()}\t{os.stat(path).st_size}\n")
            except OSError as error:
                raise unreadable(path, error) from error
        return "".join(lines).encode("utf-8", "surrogateescape")


def read_or_stream(paths_of: Mapping[str, Sequence[Path]], size: int, root: Path) -> dict:
    """The images of a set's splits, each as `image_files.read_image` gives it.

    Args:
        paths_of: `{split: paths}`.
        size: s.
        root: the folder of the set.

    Returns:
        `{split: images}`: arrays `(n, s, s, 3)` uint8 if the pixels of all splits take at most `MOST_BYTES_IN_MEMORY`,
        and else `ImageFiles`.

    Raises:
        UserError: an image cannot be read whole, where they are read now.
    """
    if sum(map(len, paths_of.values())) * size * size * 3 <= MOST_BYTES_IN_MEMORY:
        return {split: read_images(paths, size, split) for split, paths in paths_of.items()}
    return {split: ImageFiles(paths, size, middle_square, root) for split, paths in paths_of.items()}
