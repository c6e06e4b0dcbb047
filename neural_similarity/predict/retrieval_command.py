"""Searches a folder for the images that are most similar to some images, and says which parts match.

python -m neural_similarity retrieve RUN --gallery DIR image.png … [--top 5] [--candidates 100] [--out sheet.png]
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from neural_similarity.errors import UserError, nearest
from neural_similarity.files import shown
from neural_similarity.interpret.pair_command import link_in_words
from neural_similarity.interpret.picture_files import check_png, write_png
from neural_similarity.interpret.trained_metrics import load_metric
from neural_similarity.predict.gallery import open_gallery, read_block
from neural_similarity.predict.retrieval import search

MOST_DRAWN = 12  # images that are searched for on one sheet


def retrieve(
    folder: str | Path,
    gallery: str | Path,
    paths: Sequence[Path],
    *,
    top: int = 5,
    candidates: int | None = None,
    label: str | None = None,
    out: Path | None = None,
) -> Iterator[tuple[str, bool]]:
    """Yields the lines that tell what is found, and whether each line is an answer.

    An image that cannot be read has a line that says why, with False, and the others are answered all the same. If the
    classes of two images or more are known, the last lines say how often the first neighbour has the right one.

    Args:
        folder: run folder of metric learning.
        gallery: the folder that is searched, with all folders in it.
        paths, top, label: as for `retrieval.search`.
        candidates: as for `retrieval.search`; None for as many as in the run's own evaluation.
        out: the PNG to draw a sheet to, of the first `MOST_DRAWN` images; or None.

    Raises:
        UserError: there is no run of metric learning or no checkpoint, the gallery has no images or no such class, or
            `out` is no PNG, lies in the gallery, or cannot be written.
    """
    if out is not None:
        _check_outside(check_png(out), Path(gallery))
    metric = load_metric(folder)
    if candidates and not metric.has_cells:
        raise UserError(
            f"--candidates {candidates}: this run compares whole images by a divergence, and ranks none of them again. "
            "Next: leave out --candidates"
        )
    searched = open_gallery(gallery, metric)
    _check_label(label, searched)
    candidates = metric.candidates if candidates is None else candidates
    drawn, known = [], []
    for found in search(metric, searched, paths, top=top, candidates=candidates, label=label):
        if isinstance(found, UserError):
            yield str(found), False
            continue
        yield from ((line, True) for line in _lines(found, searched, metric))
        if found.label is not None:
            known.append(found)
        if out is not None and len(drawn) < MOST_DRAWN:
            drawn.append(found)
    yield from ((line, True) for line in _summary(known, metric.distance.coarse_name))
    if drawn:
        yield _draw(drawn, searched, metric, out), True


def _check_outside(out, gallery):
    if out.resolve().is_relative_to(gallery.resolve()):
        raise UserError(
            f"{shown(out)}: lies in the gallery, where the picture would become one of the images that are searched. "
            "Next: --out a file in another folder"
        )


def _check_label(label, gallery):
    if label is None or (gallery.classes and label in gallery.classes):
        return
    if gallery.classes is None:
        raise UserError(
            f"{gallery.folder}: its images do not lie in folders of their classes, so that nothing can be compared "
            f"with `--label {label}`; expected {gallery.folder}/CLASS/*.jpg. Next: leave out --label"
        )
    raise UserError(
        f"--label {label}: no class of {gallery.folder}, which has {len(set(gallery.classes)):,} of them."
        f"{nearest(label, set(gallery.classes))} Next: --label CLASS, the name of a folder there"
    )


def _lines(found, gallery, metric):
    in_words = metric.distance.coarse_in_words
    yield f"{found.path}{f' (class {found.label})' if found.label is not None else ''}:"
    for place, neighbour in enumerate(found.reranked or found.by_coarse, start=1):
        mark = {True: "✓ ", False: "✗ ", None: ""}[neighbour.is_right]
        words = f"  {place}. {mark}{shown(gallery.path(neighbour.number))}: "
        if neighbour.structural_similarity is None:
            yield f"{words}{in_words(neighbour.coarse)}"
            continue
        yield (
            f"{words}score {neighbour.score:.3f} ({in_words(neighbour.coarse)}, number {neighbour.rank} before ranking "
            f"again; structural similarity {neighbour.structural_similarity:.3f})"
        )
        for link in neighbour.links[:1]:
            yield f"     strongest match: {link_in_words(link, metric.distance.cells)}"


def _summary(known, coarse):
    """How often the first neighbour is right, of the images whose class is known."""
    if len(known) < 2:
        return
    right = sum(found.by_coarse[0].is_right for found in known)
    yield f"first neighbour right by {coarse}: {right} of {len(known)}"
    if known[0].reranked:
        right = sum(found.reranked[0].is_right for found in known)
        yield f"first neighbour right after ranking again: {right} of {len(known)}"


def _draw(drawn, gallery, metric, out):
    from neural_similarity.interpret.retrieval_pictures import sheet_figure  # here: the lines need no matplotlib

    numbers = sorted({neighbour.number for found in drawn for neighbour in (*found.by_coarse, *found.reranked)})
    images, _, problems = read_block([gallery.path(number) for number in numbers], metric)
    if problems:  # changed since they were found
        raise problems[0]
    names = {number: gallery.names[number] for number in numbers}
    cells = metric.distance.cells if metric.has_cells else None
    images = dict(zip(numbers, images, strict=True))
    how = {"by": metric.distance.coarse_name}
    if not metric.has_cells:
        how["in_words"] = metric.distance.coarse_in_words
    write_png(sheet_figure(drawn, images, names, cells, **how), out)
    return shown(out)
