"""Explains how similar two image files are to the network of a run.

python -m neural_similarity pair RUN A B [--out pair.png] [--links 5] [--json pair.json]
"""

from collections.abc import Iterator
from pathlib import Path

from neural_similarity.errors import UserError
from neural_similarity.files import shown
from neural_similarity.interpret.cells import in_words
from neural_similarity.interpret.given_images import square_images
from neural_similarity.interpret.pair_pictures import pair_figure
from neural_similarity.interpret.pairs import Link, PairExplanation, explain_descriptors
from neural_similarity.interpret.picture_files import check_png, write_png
from neural_similarity.interpret.trained_metrics import TrainedMetric, load_metric


def draw_pair(
    folder: str | Path, image_a: Path, image_b: Path, out: Path | None = None, links: int = 5, json: Path | None = None
) -> Iterator[str]:
    """Explains a pair of images. Yields the score, a line for each of the strongest links, and the paths it wrote.

    Args:
        folder: run folder of metric learning.
        image_a, image_b: image files.
        out: the PNG to write; by default `pair.png` in the run folder.
        links: how many links are told and drawn.
        json: a file for all numbers, or None.

    Raises:
        UserError: there is no run of metric learning or no checkpoint, an image cannot be read, or a file cannot be
            written.
    """
    if out is not None:
        check_png(out)
    if json is not None and not Path(json).parent.is_dir():
        raise UserError(
            f"{shown(json)}: there is no folder {shown(Path(json).parent)}. Next: make it, or --json another"
        )
    metric = load_metric(folder, with_cells=True)
    out = metric.run.folder / "pair.png" if out is None else Path(out)
    found = explain_files(metric, image_a, image_b)
    write_png(pair_figure(found, links), out)
    yield found.in_words()
    for number, link in enumerate(found.strongest_links(links), start=1):
        yield f"  {number}. {link_in_words(link, found.cells)}"
    yield shown(out)
    if json is not None:
        try:
            found.save_json(json)
        except OSError as error:
            raise UserError(f"{shown(json)}: cannot be written ({error.strerror}). Next: --json another file") from None
        yield shown(json)


def explain_files(metric: TrainedMetric, image_a: Path, image_b: Path) -> PairExplanation:
    """The `PairExplanation` of two image files.

    Raises:
        UserError: an image cannot be read, or the network gives numbers that are not finite.
    """
    images = square_images([image_a, image_b], metric.image_size, metric.scaled)
    return explain_descriptors(metric.distance, metric.descriptors(images), images, (str(image_a), str(image_b)))


def link_in_words(link: Link, cells: int) -> str:
    """A link as "upper left (1,1) ↔ centre (2,3), similarity 0.91, 6.2 % of the weight"."""
    where = " ↔ ".join(in_words(cell, cells) for cell in (link.a, link.b))
    return f"{where}, similarity {link.similarity:.2f}, {100 * link.weight:.1f} % of the weight"
