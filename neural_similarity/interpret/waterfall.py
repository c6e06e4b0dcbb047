"""Draws how contributions add up to the structural similarity, and with the cosine to the score."""

from neural_similarity.interpret.link_pictures import colour_of
from neural_similarity.interpret.pairs import PairExplanation

_SINGLE = 7  # contributions that have a bar of their own
_OTHERS, _SUM, _COSINE, _EDGE = "#B8B8B8", "#404040", "#8C8C8C", "#202020"


def steps_of(explained: PairExplanation) -> tuple[list[float], float, int]:
    """(the largest contributions, the sum of all others, how many these are): together they are SS."""
    links = explained.strongest_links(_SINGLE)
    largest = [link.contribution for link in links]
    return largest, explained.structural_similarity - sum(largest), explained.plan.size - len(largest)


def draw_waterfall(axes, explained: PairExplanation, coloured: int, points: float) -> None:
    """Draws the contributions as bars, each of which begins where the one before it ends. The last one is their sum SS.

    The largest contributions come first. All that have no bar of their own are summed into one.

    Args:
        axes: matplotlib axes.
        explained: the `PairExplanation`.
        coloured: how many links are drawn elsewhere, in the colours that their bars have here.
        points: size of the letters.
    """
    largest, others, count = steps_of(explained)
    bars = [(f"{i + 1}", value, colour_of(i) if i < coloured else _OTHERS) for i, value in enumerate(largest)]
    bars += [(f"{count} others", others, _OTHERS)]
    starts, total = [], 0.0
    for _, value, _ in bars:
        starts.append(total)
        total += value
    _draw(axes, [*bars, ("SS", total, _SUM)], [*starts, 0.0], points)


def draw_score(axes, explained: PairExplanation, points: float) -> None:
    """Draws SS and the similarity of the whole images as bars, one on the other, and beside them their sum, the score.

    Args:
        axes, explained, points: as for `draw_waterfall`.
    """
    structural = explained.structural_similarity
    whole = "cos" if explained.whole_in_words.startswith("cosine") else "1 − D/2"
    bars = [("SS", structural, _SUM), (whole, explained.whole, _COSINE), ("score", explained.score, _SUM)]
    _draw(axes, bars, [0.0, structural, 0.0], points)


def _draw(axes, bars, starts, points):
    """Bars (name, height, colour) that begin at `starts`, with thin lines from the end of one to the next."""
    ends = [start + value for start, (_, value, _) in zip(starts, bars, strict=True)]
    low, high = min(0.0, *starts, *ends), max(0.0, *starts, *ends)
    for place, ((_, value, colour), start, end) in enumerate(zip(bars, starts, ends, strict=True)):
        axes.bar(place, value, bottom=start, width=0.72, color=colour, edgecolor=_EDGE, linewidth=0.6)
        if place + 1 < len(bars):
            axes.plot((place + 0.36, place + 1.36), (end, end), color="0.45", linewidth=0.7, zorder=0)
        words = f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.1 else f"{value:.2f}"
        where = (place, max(start, end))
        axes.annotate(words, where, (0, 2), textcoords="offset points", ha="center", fontsize=points - 1)
    axes.set_xticks(range(len(bars)), [name.replace(" ", "\n") for name, *_ in bars], fontsize=points)
    axes.set_ylim(low, high + 0.1 * (high - low) if high > low else 1.0)
    axes.axhline(0, color=_EDGE, linewidth=0.8)
    axes.tick_params(axis="y", labelsize=points)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
