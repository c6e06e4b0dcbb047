"""Finds the images of a gallery that are most similar to an image, and which of their cells match.

q images that are searched for · n images of the gallery · d, the depth, how many neighbours are kept

The coarse score of the run's distance, from a cosine or a divergence, ranks the gallery. The first candidates are then
ranked again by the coarse score plus structural similarity. If the divergence compares whole images, there is no second
ranking.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from neural_similarity.distances import Ranking, fine_scores, nearest, reordered
from neural_similarity.errors import UserError
from neural_similarity.interpret.pairs import Link, strongest_links
from neural_similarity.interpret.trained_metrics import TrainedMetric
from neural_similarity.predict.gallery import Gallery, read_block

_BLOCK = 64  # images that are searched for at once
_LINKS = 3  # of each neighbour that are kept


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbour:
    """An image that was found.

    Attributes:
        number: which image of the gallery it is.
        coarse: the coarse score with the image that was searched for. It grows with nearness.
        rank: its place among the neighbours by the coarse score, from 1.
        is_right: whether both are of one class; None if that is not known.
        structural_similarity: SS of the two; None for a neighbour by the coarse score alone.
        links: the strongest links between their cells, the strongest first; none for such a neighbour.
    """

    number: int
    coarse: float
    rank: int
    is_right: bool | None
    structural_similarity: float | None = None
    links: tuple[Link, ...] = ()

    @property
    def score(self) -> float:
        """The coarse score, plus SS where that is known."""
        return self.coarse + (self.structural_similarity or 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What was found for one image.

    Attributes:
        path: of the image that was searched for.
        image: `(s, s, 3)` uint8, as the network saw it.
        label: its class; None if that is not known.
        by_coarse: the nearest images of the gallery by the coarse score, the nearest first.
        reranked: the nearest ones by that score + structural similarity. Empty if none were ranked so.
    """

    path: Path
    image: np.ndarray
    label: str | None
    by_coarse: tuple[Neighbour, ...]
    reranked: tuple[Neighbour, ...]


def search(
    metric: TrainedMetric,
    gallery: Gallery,
    paths: Sequence[Path],
    *,
    top: int = 5,
    candidates: int = 100,
    label: str | None = None,
) -> Iterator[Found | UserError]:
    """Yields what is found for each image, in order; or the `UserError` that says why an image cannot be read.

    Args:
        metric: the network of a run.
        gallery: what is searched.
        paths: the images that are searched for. One that lies in the gallery is not its own neighbour.
        top: how many neighbours are found.
        candidates: how many of the nearest images are ranked again by the coarse score + structural similarity. 0
            leaves them as they are, as does a network whose distance has no cells.
        label: the class of all `paths`; None where the folder in which an image lies says it, or nobody does.

    Raises:
        UserError: the gallery has no image but the one that is searched for, or the network gives numbers that are not
            finite.
    """
    candidates, searched = candidates * metric.has_cells, metric.described(gallery.descriptors)
    for start in range(0, len(paths), _BLOCK):
        block = paths[start : start + _BLOCK]
        images, readable, problems = read_block(block, metric)
        read = [path for path, is_readable in zip(block, readable, strict=True) if is_readable]
        answers = iter(_answers(metric, gallery, searched, read, images, top, candidates, label))
        problems = iter(problems)
        for is_readable in readable:
            yield next(answers if is_readable else problems)


def _answers(metric, gallery, searched, paths, images, top, candidates, label):
    """A list of `Found`, one for each of the images `(q, s, s, 3)`. `searched` are the gallery's images, described."""
    if not paths:
        return []
    descriptors, places = metric.descriptors(images), [gallery.number_of(path) for path in paths]
    if len(gallery.names) == 1 and any(place is not None for place in places):
        raise UserError(f"{gallery.folder}: no image in it but the one that is searched for. Next: a larger gallery")
    answers = [None] * len(paths)
    inside = np.array([place is not None for place in places])
    for rows in (np.flatnonzero(inside), np.flatnonzero(~inside)):
        if not len(rows):
            continue
        own = [places[row] for row in rows] if inside[rows[0]] else None
        ranked = _ranked(metric.distance, searched, metric.described(descriptors[rows]), own, top, candidates)
        for row, neighbours in zip(rows, ranked, strict=True):
            place = places[row]
            of = label or (gallery.classes[place] if gallery.classes and place is not None else None)
            by_coarse, reranked = (_judged(found, gallery, of) for found in neighbours)
            answers[row] = Found(paths[row], images[row], of, by_coarse, reranked)
    return answers


def _judged(neighbours, gallery, label):
    """The neighbours, with whether they are of the class `label`."""
    if label is None:
        return neighbours
    return tuple(dataclasses.replace(each, is_right=gallery.classes[each.number] == label) for each in neighbours)


def _ranked(distance, searched, prepared, own, top, candidates):
    """For each query (its neighbours by the coarse score, those that were ranked again).

    `own` are the queries' places, if they have any.
    """
    depth = max(top, candidates)
    ranking = nearest(distance, prepared, searched, depth=depth + (own is not None))
    if own is not None:
        ranking = _without(ranking, np.array(own))
    candidates = min(candidates, ranking.indices.shape[1])
    by_coarse = [
        tuple(Neighbour(int(n), float(score), rank, None) for rank, (n, score) in enumerate(row[:top], start=1))
        for row in np.stack(ranking, -1)
    ]
    if not candidates:
        return [(row, ()) for row in by_coarse]
    fine = fine_scores(distance, prepared, searched, ranking.indices[:, :candidates])
    order = reordered(ranking, fine, candidates).indices[:, :top]
    return list(zip(by_coarse, _matched(distance, searched, prepared, ranking, order), strict=True))


def _without(ranking, own):
    """A ranking, one neighbour less deep, without the queries themselves. `own` `(q,)` are their places."""
    order = np.argsort(ranking.indices == own[:, None], axis=1, kind="stable")[:, :-1]  # the others, in their order
    return Ranking(*(np.take_along_axis(values, order, 1) for values in ranking))


def _matched(distance, searched, prepared, ranking, order):
    """For each query the neighbours whose places in the gallery are in `order` `(q, k)`, with their links."""
    q, k = order.shape
    first = tf.nest.map_structure(lambda x: tf.repeat(tf.convert_to_tensor(x), k, axis=0), prepared)
    second = tf.nest.map_structure(lambda x: tf.gather(x, order.ravel()), searched)
    match = distance.match(first, second)
    plans, similarities = match.plan.numpy(), match.similarities.numpy()
    coarse, structural = match.whole.numpy(), match.structural_similarity.numpy()
    ranks = 1 + np.argmax(ranking.indices[:, None] == order[..., None], axis=-1)
    found = [
        Neighbour(
            number=int(order.flat[i]),
            coarse=float(coarse[i]),
            rank=int(ranks.flat[i]),
            is_right=None,
            structural_similarity=float(structural[i]),
            links=tuple(strongest_links(plans[i], similarities[i], _LINKS)),
        )
        for i in range(q * k)
    ]
    return [tuple(found[i * k : (i + 1) * k]) for i in range(q)]
