"""Whether the matches between the cells of images are what their score depends on, and what people would match.

    deletion_test, image_deletion_test   the score falls more without the strongest cells than without others
    self_match                           an image matches itself cell by cell
    flip_consistency                     an image and its mirror image match cell by mirrored cell
    keypoint_hit_rate                    matched cells hold the same part of a bird

p pairs · r cells of an image, cells² row by row · c channels · s height and width in pixels · m masked cells · k parts
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from neural_similarity.distances import Structural
from neural_similarity.interpret.cells import masked


class Deletion(NamedTuple):
    """Scores of pairs before and after cells were masked, `(p,)` each.

    Attributes:
        before: with all cells.
        strongest: without the m cells of an image that contribute most to the score.
        central: without the m cells nearest to the middle of an image. What a photo shows is mostly there, so that
            this is the harder comparison.
        random: without m cells of an image that are drawn at random.
    """

    before: np.ndarray
    strongest: np.ndarray
    central: np.ndarray
    random: np.ndarray


def deletion_test(distance: Structural, a, b, m: int, seed: int = 0) -> Deletion:
    """Masks cells of the descriptors of both images: fast, as the network does not run again.

    A masked cell is taken away: no weight goes to it, and the weights of the other cells grow so that their sum is one
    again. The vectors of the images as a whole stay as they are, so that the cosine does not change. This says whether
    the strongest cells are more similar than the rest, and not what the network makes of an image without them; for
    that see `image_deletion_test`.

    Args:
        distance: what compares the images.
        a, b: `(p, 1 + r, c)`, what `distance.descriptors` returned for the first and the second image of each pair.
        m: from 1 to r − 1.
        seed: of the random cells. The same seed, m and p give the same cells.

    Raises:
        ValueError: `m` is out of range.
    """

    def score_without(chosen):
        return _score(distance, *(_without(x, cells) for x, cells in zip((a, b), chosen, strict=True)))

    return _deletion(distance, a, b, m, seed, score_without)


def image_deletion_test(
    embed: Callable, distance: Structural, images_a: np.ndarray, images_b: np.ndarray, m: int, seed: int = 0
) -> Deletion:
    """Masks cells of the first image of each pair, and lets the network look at it again.

    A masked cell gets the mean colour of its image. The second image stays whole: masked cells look alike, so that
    masking both images would add a match between these cells, and the score could rise.

    Args:
        embed: from images `(p, s, s, 3)` of 0 to 255 to what `distance.descriptors` returns for them.
        distance: what compares the images.
        images_a, images_b: `(p, s, s, 3)` from 0 to 255, the first and the second image of each pair.
        m, seed: as for `deletion_test`.

    Raises:
        ValueError: `m` is out of range.
    """
    b = embed(images_b)

    def score_without(chosen):
        return _score(distance, embed(masked(images_a, chosen[0], distance.cells)), b)

    return _deletion(distance, embed(images_a), b, m, seed, score_without)


def self_match(distance: Structural, a) -> np.ndarray:
    """How much of the weight stays in its cell when images are matched with themselves: `(p,)`, one at best.

    Args:
        distance: what compares the images.
        a: `(p, 1 + r, c)`, what `distance.descriptors` returned for them.
    """
    return np.trace(_match(distance, a, a).plan.numpy(), axis1=1, axis2=2)


def flip_consistency(distance: Structural, a, mirrored) -> np.ndarray:
    """How much of the weight lies in cells that send most of it to their own mirror image: `(p,)`, one at best.

    Args:
        distance: what compares the images.
        a: `(p, 1 + r, c)`, what `distance.descriptors` returned for images.
        mirrored: likewise for the images with left and right exchanged.
    """
    found = _match(distance, a, mirrored)
    cells = distance.cells
    own = np.arange(cells * cells).reshape(cells, cells)[:, ::-1].ravel()
    hits = np.argmax(found.plan.numpy(), axis=2) == own
    return np.sum(found.u.numpy() * hits, axis=1)


def keypoint_hit_rate(plan: np.ndarray, parts_a: np.ndarray, parts_b: np.ndarray) -> np.ndarray:
    """How much of the weight of cells that hold a part goes to cells that hold the same part.

    Args:
        plan: T, `(p, r, r)`.
        parts_a, parts_b: `(p, r, k)` bools: which parts each cell of the first and of the second images holds.
            `data.bird_parts` reads them.

    Returns:
        `(p,)`; NaN for a pair whose first image has no part in a cell with weight.
    """
    same = np.einsum("prk,psk->prs", parts_a.astype(np.int32), parts_b.astype(np.int32)) > 0
    counted = plan * parts_a.any(2)[..., None]
    total = counted.sum((1, 2))
    return np.divide((counted * same).sum((1, 2)), total, out=np.full(len(plan), np.nan), where=total > 0)


def _deletion(distance, a, b, m, seed, score_without):
    r = distance.cells**2
    if not 1 <= m < r:
        raise ValueError(f"`m` must be from 1 to {r - 1}, as an image has {r} cells. Received: {m}")
    found = _match(distance, a, b)
    contributions = found.contributions.numpy()
    p = len(contributions)
    strongest = [_largest(contributions.sum(axis), m) for axis in (2, 1)]
    central = np.broadcast_to(_central(distance.cells)[:m], (p, m))
    drawn = np.random.default_rng(seed).random((2, p, r))
    scores = map(score_without, (strongest, (central, central), [_largest(numbers, m) for numbers in drawn]))
    return Deletion(found.score.numpy(), *scores)


def _match(distance, a, b):
    return distance.match(distance.described(a), distance.described(b))


def _score(distance, a, b):
    return _match(distance, a, b).score.numpy()


def _largest(numbers, m):
    """`(p, m)`, the places of the m largest of `(p, r)` numbers."""
    return np.argsort(-numbers, axis=1, kind="stable")[:, :m]


def _central(cells):
    """The numbers of all cells, from the middle of the image outwards."""
    places = np.arange(cells) - (cells - 1) / 2
    return np.argsort((places[:, None] ** 2 + places**2).ravel(), kind="stable")


def _without(descriptors, chosen):
    """`(p, 1 + r − m, c)`: descriptors without the cells `chosen` `(p, m)`."""
    kept = np.ones((len(chosen), descriptors.shape[1]), bool)
    np.put_along_axis(kept, chosen + 1, False, axis=1)
    return np.asarray(descriptors)[kept].reshape(len(chosen), -1, descriptors.shape[-1])
