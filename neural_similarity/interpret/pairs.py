"""Why two images are similar: which cells of one match which cells of the other, and what each match adds to the score.

    from neural_similarity.interpret import explain_pair

r = cells² cells of an image, row by row · s height and width of an image in pixels · c channels
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from neural_similarity.data.image_files import resized_centre
from neural_similarity.distances import Structural
from neural_similarity.errors import UserError
from neural_similarity.files import write_atomically
from neural_similarity.interpret.given_images import name_of, square_images

_SIZE = 224  # of the images, where neither the network nor the images say


class Link(NamedTuple):
    """Two cells that transport links.

    Attributes:
        a, b: row and column of the cell in each image, from 0.
        weight: T of the two cells: the share of the images' weight that goes from one to the other.
        similarity: S of the two cells.
        contribution: T · S, what the link adds to the structural similarity.
    """

    a: tuple[int, int]
    b: tuple[int, int]
    weight: float
    similarity: float
    contribution: float


@dataclasses.dataclass(frozen=True, eq=False)
class PairExplanation:
    """How two images match, in numbers. `ops.Match` says what they are.

    Attributes:
        names: what the two images are called.
        images: `(2, s, s, 3)` uint8, as the network saw them.
        u: `(r,)` float32, the weight of each cell of the first image; the sum is one.
        v: `(r,)` float32, likewise of the second image.
        plan: T, `(r, r)` float32, how much of the weight links two cells.
        similarities: S, `(r, r)` float32, of two cells.
        whole: how similar the two images as a whole are: their cosine, or 1 − D/2 where a divergence D compares them.
        residual: the mass that the rows of `plan` have too much or too little. More sweeps make it smaller.
        matching: the settings of the matching, by name.
        whole_in_words: `whole` as "cosine 0.610" or "1 − D/2 = 0.610".
    """

    names: tuple[str, str]
    images: np.ndarray
    u: np.ndarray
    v: np.ndarray
    plan: np.ndarray
    similarities: np.ndarray
    whole: float
    residual: float
    matching: Mapping
    whole_in_words: str

    @property
    def cells(self) -> int:
        """How many cells there are in a row."""
        return round(len(self.u) ** 0.5)

    @property
    def contributions(self) -> np.ndarray:
        """T ∘ S, `(r, r)` float32: what each link adds to the structural similarity."""
        return self.plan * self.similarities

    @property
    def structural_similarity(self) -> float:
        """SS, the sum of all contributions."""
        return float(self.contributions.sum(dtype=np.float64))

    @property
    def score(self) -> float:
        """`whole` + SS: what images are ranked by."""
        return self.whole + self.structural_similarity

    def strongest_links(self, m: int = 5) -> list[Link]:
        """The `m` links that contribute most, the strongest first; fewer where fewer cells have weight."""
        return strongest_links(self.plan, self.similarities, m)

    def in_words(self) -> str:
        """The score and what it is made of, as "cosine 0.610 + structural similarity 0.720 = score 1.330"."""
        parts = f"{self.whole_in_words} + structural similarity {self.structural_similarity:.3f}"
        return f"{parts} = score {self.score:.3f}"

    def to_json(self) -> str:
        """All numbers as JSON, without the images; cells are numbered row by row, from 0."""
        arrays = ("u", "v", "plan", "similarities", "contributions")
        numbers = ("whole", "structural_similarity", "score", "residual")
        return json.dumps(
            {
                "images": list(self.names),
                "cells": self.cells,
                "matching": dict(self.matching),
                "whole_in_words": self.whole_in_words,
                **{name: getattr(self, name) for name in numbers},
                "strongest_links": [link._asdict() for link in self.strongest_links()],
                **{name: getattr(self, name).tolist() for name in arrays},
            }
        )

    def save_json(self, path: str | Path) -> None:
        """Writes `to_json()` to a file.

        Raises:
            OSError: the file cannot be written.
        """
        write_atomically(path, self.to_json() + "\n")

    def draw(self, path: str | Path, links: int = 5) -> None:
        """Draws the explanation to a PNG; `pair_pictures.pair_figure` says what it shows.

        Args:
            path: the file.
            links: how many links are drawn.

        Raises:
            UserError: `path` does not end in .png, or cannot be written.
        """
        from neural_similarity.interpret.pair_pictures import pair_figure  # here: the numbers need no matplotlib
        from neural_similarity.interpret.picture_files import check_png, write_png

        write_png(pair_figure(self, links), check_png(path))


def strongest_links(plan: np.ndarray, similarities: np.ndarray, m: int) -> list[Link]:
    """The `m` links that contribute most, the strongest first. Links without weight are left out.

    Args:
        plan, similarities: T and S, `(r, r)`.
        m: how many at most.
    """
    cells = round(len(plan) ** 0.5)
    contributions = plan * similarities
    linked = np.argwhere(plan > 0)
    strongest = np.argsort(-contributions[plan > 0], kind="stable")[:m]
    links = []
    for i, j in linked[strongest].tolist():
        numbers = (float(values[i, j]) for values in (plan, similarities, contributions))
        links.append(Link(divmod(i, cells), divmod(j, cells), *numbers))
    return links


def explain_pair(
    model,
    image_a,
    image_b,
    *,
    cells: int = 4,
    whole: str = "map",
    entropy: float = 0.05,
    sweeps: int = 20,
    marginals: str = "correlation",
    preprocess: Callable | None = None,
    embeddings=None,
    scaled: Callable = resized_centre,
) -> PairExplanation:
    """Explains how similar two images are by which of their cells match.

    The model may be any network that ends with a map. It needs no training with structural similarity:

        model = keras.applications.MobileNet(include_top=False)
        explained = explain_pair(model, "a.jpg", "b.jpg", preprocess=keras.applications.mobilenet.preprocess_input)
        explained.draw("pair.png")

    Args:
        model: a Keras model from images `(b, h, w, 3)` to a map `(b, y, x, c)`: `load_run(RUN)` of a run of metric
            learning, or one of `keras.applications` with `include_top=False`.
        image_a, image_b: a path, a Pillow image, or an array `(H, W, 3)` from 0 to 255, each. They are scaled to the
            model's size; if it takes every size, to 224, or to their own if both are squares of one size.
        cells, whole, entropy, sweeps, marginals: as for `distances.Structural`.
        preprocess: what the model wants done to images `(2, s, s, 3)` float32 from 0 to 255. None for models that take
            these, as those of a run do.
        embeddings: describes the images as a whole in the place of `whole`: an array `(2, c)`, or a function that
            makes one of what the model is given, as the same network with its pooling.
        scaled: what makes a square of an image. `image_files.middle_square` suits networks of small images.

    Returns:
        A `PairExplanation`.

    Raises:
        UserError: a file cannot be read as an image, or the model's map is zero or not finite.
        ValueError: the model does not end with a map, or an argument is not as above.
    """
    images = square_images([image_a, image_b], _size(model, image_a, image_b), scaled)
    batch = images.copy() if preprocess is None else preprocess(images.copy())  # some change what they are given
    maps = _call(model, batch)
    if len(maps.shape) != 4:
        raise ValueError(
            f"`model` must end with a map (b, y, x, c), as networks of keras.applications do with include_top=False. "
            f"Received one whose output has the shape {tuple(maps.shape)}"
        )
    if callable(embeddings):
        embeddings = _call(embeddings, batch)
    distance = Structural(
        cells=cells,
        whole=whole if embeddings is None else tf.convert_to_tensor(embeddings),
        entropy=entropy,
        sweeps=sweeps,
        marginals=marginals,
    )
    names = name_of(image_a, "image a"), name_of(image_b, "image b")
    return explain_descriptors(distance, distance.descriptors(maps), images, names)


def explain_descriptors(distance: Structural, descriptors, images, names) -> PairExplanation:
    """The `PairExplanation` of two images whose descriptors are known.

    Args:
        distance: what compares them.
        descriptors: `(2, 1 + r, c)`, what `distance.descriptors` returned for them.
        images: `(2, s, s, 3)` from 0 to 255.
        names: what the two are called.

    Raises:
        UserError: a descriptor has numbers that are not finite, or is zero.
    """
    for descriptor, name in zip(np.asarray(descriptors), names, strict=True):
        if not np.isfinite(descriptor).all():
            raise UserError(
                f"{name}: the network's map has numbers that are not finite; expected numbers. "
                "Next: a model whose training did not diverge"
            )
        if np.linalg.norm(descriptor[0]) < 0.99:  # else it has length one
            raise UserError(
                f"{name}: the network's map is zero, or as good as zero, so that nothing can be compared. "
                "Next: a trained model, and the `preprocess` that it was trained with"
            )
    found = distance.match(*(distance.described(one) for one in (descriptors[:1], descriptors[1:])))
    return PairExplanation(
        names=tuple(names),
        images=np.round(images).astype(np.uint8),
        **{name: getattr(found, name)[0].numpy() for name in ("u", "v", "plan", "similarities")},
        whole=float(found.whole[0]),
        residual=float(found.residual[0]),
        matching={
            "cells": distance.cells,
            "whole": distance.whole_is if isinstance(distance.whole_is, str) else "embeddings",
            **distance.matching,
        },
        whole_in_words=distance.coarse_in_words(float(found.whole[0])),
    )


def _call(network, batch):
    return network(batch, training=False) if isinstance(network, tf.keras.Model) else network(batch)


def _size(model, *images):
    """The size of the images: the model's, or else that of both images, or else the usual one."""
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4 and shape[1] is not None:
        if shape[1] != shape[2]:
            raise ValueError(f"`model` must take square images. Received one for images of {shape[1]}×{shape[2]}")
        return shape[1]
    shapes = {np.shape(image)[:2] for image in images if isinstance(image, np.ndarray)}
    if len(shapes) == 1 and all(isinstance(image, np.ndarray) for image in images):
        ((height, width),) = shapes
        if height == width:
            return height
    return _SIZE
