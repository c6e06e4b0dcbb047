"""The HTML page of a run, finished or not."""

import functools
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neural_similarity.config.experiment import flattened
from neural_similarity.data.streams import printable
from neural_similarity.errors import UserError
from neural_similarity.families import family_of
from neural_similarity.reporting import plans
from neural_similarity.reporting.costs import in_words
from neural_similarity.reporting.curves import points
from neural_similarity.reporting.pages import RUNS, Link, PageSection, Picture, page, relative, tried, written
from neural_similarity.reporting.plots import COLOURS, DASHES, training_figure
from neural_similarity.training.logs import read_rows
from neural_similarity.training.results import spoken
from neural_similarity.training.runs import Run, open_run

_MOST_LETTERS = 2_000  # of a value, as the list of the classes


def run_page(run: Run, path: Path, refresh_seconds: float | None = None) -> str:
    """The HTML page of a run, finished or not.

    Args:
        run: the `Run`.
        path: where the page will be, for its links.
        refresh_seconds: the browser loads the page again after so many seconds; None for never.
    """
    details, config, result = run.details, run.config, run.result
    try:
        rows, problems = read_rows(run.folder / "metrics.jsonl"), []
    except UserError as error:
        rows, problems = [], [str(error)]
    saved = max(run.checkpoints.steps(), default=0)  # the pictures of the network are drawn anew when it grows
    step, steps = (rows[-1]["step"] if rows else 0), config.schedule.scaled_train_steps
    status = "finished" if result else f"step {step:,} of {steps:,}"
    sections = [PageSection("Training", *tried(lambda: _curves(run)))]
    deviations = [_deviations(rows)] if any(row["split"] == "similarity" for row in rows) else []
    kind = config.similarity.kind if hasattr(config, "similarity") else None  # metric learning has no such section
    if kind == "static" or (kind == "dynamic" and config.family == "image_recognition"):  # else see the episode
        texts, pictures = tried(lambda: _matrices(run.folder, saved))
        sections.append(PageSection("Similarity matrices", texts, [*deviations, *pictures]))
    if getattr(config.model, "attention", False):
        sections.append(PageSection("Attention", *tried(lambda: _attention(run.folder, saved))))
    if config.family == "few_shot":
        sections.append(PageSection("A test episode", *tried(lambda: _episode(run.folder, saved))))
    sections += [
        PageSection("Config", pairs=[(name, _value(value)) for name, value in flattened(config.to_dict()).items()]),
        PageSection("Where it ran", problems, pairs=_environment(run)),
        PageSection("Tables with this config", links=_tables_of(details.config, path)),
    ]
    return page(
        title=f"{details.config}, seed {config.seed}",
        subtitle=f"{config.data.name}; recipe: {details.recipe}; {config.runtime.precision}; {status}",
        sections=sections,
        cards=_cards(run, result, rows, step, steps),
        footer=written(run.shown()),
        refresh_seconds=refresh_seconds,
    )


def _cards(run, result, rows, step, steps):
    if result:
        cards = [(spoken(name), str(score)) for name, score in result.scores.items()]
        cards += [("parameters", f"{result.parameters:,}"), ("steps", f"{result.steps:,}")]
        cards += [("a step took", f"{result.seconds_per_step:.3g} s")]
        return [*cards, ("memory at most", f"{result.peak_memory_bytes / 1e9:.2f} GB")]
    cards = [("step", f"{step:,} of {steps:,}")]
    seconds = [row["seconds_per_step"] for row in rows if "seconds_per_step" in row]
    if seconds:
        typical = sorted(seconds)[len(seconds) // 2]
        cards += [("a step takes", f"{typical:.3g} s"), ("left", f"about {in_words(typical * (steps - step))}")]
    last = {row["split"]: row for row in rows}
    measure = family_of(run.config).headline(run.config).split("/")[1]
    cards += [
        (f"{spoken(f'{split}/{measure}')}, step {row['step']:,}", f"{100 * row[measure]:.2f} %")
        for split, row in last.items()
        if measure in row
    ]
    return cards


def _curves(run):
    figure = training_figure([run.folder])
    caption = "Left: each logged value as a dot, and a running mean. Right: the score at each evaluation."
    return [Picture.of(figure, "Training loss and score over the steps", caption)]


def _deviations(rows):
    alt = "Mean distance of M from the identity over the steps, one line per layer"
    return Picture.of(_deviation_figure(rows), alt, "How far M is from the identity, on average.")


@functools.lru_cache(maxsize=1)
def _matrices(folder, saved):
    """The picture of M in the checkpoint of step `saved`, in a list; the list is empty if there is no M to draw."""
    from neural_similarity.interpret.matrix_pictures import predicted_figure, trained_figure

    run = open_run(folder)
    figure, caption = trained_figure(run), "M of every layer: at the start, now, and the change."
    if figure is None:
        figure = predicted_figure(run, _test_images(folder))
        caption = "M as the network predicts it: its mean, and how far it is from the identity at every pixel."
    return [Picture.of(figure, "The similarity matrices of every layer", caption, wide=True)] if figure else []


def _deviation_figure(rows):
    """Mean |M − I| of each layer over the steps, from the rows of the split "similarity"."""
    layers = [name for row in rows if row["split"] == "similarity" for name in row if name not in ("step", "split")]
    figure = Figure((9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, name in enumerate(dict.fromkeys(layers)):
        curve = points(rows, "similarity", name)
        dash = DASHES[i // len(COLOURS) % len(DASHES)]
        axes.plot(list(curve), list(curve.values()), dash, color=COLOURS[i % len(COLOURS)], marker=".", label=name)
    axes.set(xlabel="step", ylabel="mean |M − I|", xlim=(0, None), ylim=(0, None))
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


@functools.lru_cache(maxsize=1)
def _test_images(folder):
    """The test images that a network is shown. Read once, however often a page is written anew."""
    from neural_similarity.interpret.images import FIRST_IMAGES, named_images

    return named_images(open_run(folder), FIRST_IMAGES)


@functools.lru_cache(maxsize=1)
def _attention(folder, saved):
    """The picture of where the network of step `saved` looks, in a list."""
    from neural_similarity.families import load_run
    from neural_similarity.interpret.attention import attention_figure, attention_maps, three_pixels

    images = _test_images(folder)
    pixels = three_pixels(images.shape[1])
    figure = attention_figure(images, attention_maps(load_run(folder), images, pixels), pixels)
    caption = "For three pixels of each image, marked by a cross: where each attention layer looks."
    return [Picture.of(figure, "Where the attention layers look", caption, wide=True)]


@functools.lru_cache(maxsize=1)
def _episode(folder, saved):
    """The picture of how the network of step `saved` answers a test episode, in a list."""
    from neural_similarity.interpret.episodes import run_figure

    figure, words = run_figure(open_run(folder), 0)
    return [Picture.of(figure, "Support images, queries and answers of a test episode", words, wide=True)]


def _environment(run):
    details, result = run.details, run.result
    pairs = [(name.replace("_", " "), value or "unknown") for name, value in details.environment.items()]
    pairs += [("--set", ", ".join(details.overrides) or "nothing")]
    pairs += [(name.replace("_", " "), _value(value)) for name, value in details.facts.items()]
    if result:
        pairs += [("finished", result.finished), ("config hash", result.config_hash)]
    return [*pairs, ("run folder", run.shown())]


def _value(value):
    """A value as text, in a line that does not flood the page."""
    if isinstance(value, bool):
        value = str(value).lower()  # as YAML has it
    text = printable(", ".join(map(str, value)) if isinstance(value, list) else value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} …"


def _tables_of(config, path):
    """The tables that have a row with a config, each with a link if its page is there."""
    found = [name for name in plans.names() if any(row.config == config for row in plans.load_plan(name).rows)]
    links = []
    for name in found:
        report = RUNS / "tables" / f"{name}.html"
        note = "" if report.exists() else f"(its page is written by: python -m neural_similarity report {name})"
        links.append(Link(name, relative(report, path) if report.exists() else None, note))
    return links or [Link("none")]
