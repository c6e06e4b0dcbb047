"""Makes the table of a file in configs/tables: a row for each method, from the result lines that there are."""

import json
from collections.abc import Iterable, Sequence

from neural_similarity import config as configs
from neural_similarity.families import family_of
from neural_similarity.reporting.differences import seed_difference
from neural_similarity.reporting.multiply_adds import multiply_adds
from neural_similarity.reporting.paper_values import PaperValue
from neural_similarity.reporting.plans import NOTHING, Plan, key_of
from neural_similarity.reporting.summary import Column, Name, Table, score_columns
from neural_similarity.training.results import Result

ABOUT_DIFFERENCES = (  # a note, for readers who do not have docs/tables.md before them
    "Differences are means over the seeds that both rows have, with the 95 % interval of Student's t. "
    "One seed (n 1) has no interval, and so cannot tell a difference from chance."
)


def result_table(plan: Plan, results: Iterable[Result], paper_values: dict[str, PaperValue]) -> Table:
    """The `Table` of a plan. docs/tables.md explains its columns.

    Args:
        plan: the `Plan`. Its scale and precision choose the lines; its seeds do not.
        results: all `Result`s that there are.
        paper_values: what `read_paper_values` returns.
    """
    planned = [run for run in plan.runs() if run.seed == plan.seeds[0]]
    rows = _rows(planned, results)
    recipes = [configs.recipe_of(run.config, run.row.config) for run in planned]
    published = [
        None if recipe == "custom" else paper_values.get(run.row.config)
        for run, recipe in zip(planned, recipes, strict=True)
    ]
    sizes = [_size(run.config) for run in planned]
    scores = score_columns(rows)
    differences, notes = _differences(plan, planned, rows)
    columns = [
        Column("method", None, [run.row.method for run in planned]),
        Column("config", None, [_name(run.row) for run in planned]),
        Column("recipe", None, recipes),
        *_paper_column(plan, recipes, published),
        *scores[:1],
        *differences,
        *scores[1:],
        Column("n", ",", [len(row) for row in rows]),
        Column("parameters", ",", [parameters for parameters, _ in sizes]),
        Column("multiply-adds", ",", [count for _, count in sizes]),
        Column("steps", ",", [run.config.schedule.scaled_train_steps for run in planned]),
        Column("scale", "g", [run.config.schedule.scale for run in planned]),
    ]
    by_source = {}
    for run, value in zip(planned, published, strict=True):
        if value:
            by_source.setdefault(value.source, []).append(run.row.method)
    notes += [f"Published, {'; '.join(methods)}: {source}." for source, methods in by_source.items()]
    return Table(columns, plan.title, tuple(notes))


def measured_at(plan: Plan, results: Sequence[Result]) -> list[Plan]:
    """Copies of a plan, one for each scale and precision at which some row has a result line; the longest scale first.

    Args:
        plan: the `Plan`.
        results: all `Result`s that there are.
    """
    recipes = {(run.row.config, run.config.config_hash()) for run in plan.runs()}
    found = {(r.scale, r.precision) for r in results if (r.config, r.config_hash) in recipes}
    found = sorted(found, key=lambda one: (-one[0], one[1]))
    return [plan.model_copy(update={"scale": scale, "precision": precision}) for scale, precision in found]


def how_it_was_run(plan: Plan) -> str:
    """ "scale 0.25, mixed_bfloat16"."""
    return f"scale {plan.scale:g}, {plan.precision}"


def _name(row):
    return Name(row.config, row.set, file=f"configs/{row.config}.yaml")


def _paper_column(plan, recipes, published):
    """The column of published scores, in a list; the list is empty if the table repeats none."""
    if plan.reproduces == NOTHING:
        return []
    cells = [value.value if value else "unverified" for value in published]
    cells = [None if recipe == "custom" else cell for recipe, cell in zip(recipes, cells, strict=True)]
    return [Column("paper", ".2f", cells)]


def _rows(planned, results):
    """The `Result`s of each planned row, one per seed; an empty list where there are none.

    A line counts whatever recipe it names: before its config became the shipped one, a run was `custom`.
    """
    by_key = {key_of(result): result for result in sorted(results, key=lambda result: result.finished)}
    rows = {}
    for key in sorted(by_key, key=lambda key: key[-1]):
        rows.setdefault(key[:-1], []).append(by_key[key])
    return [rows.get(run.key[:-1], []) for run in planned]


def _differences(plan, planned, rows):
    """A column for each baseline, and the notes below the table."""
    columns, left_out = [], {}
    for name in plan.baselines:
        at = next(i for i, run in enumerate(planned) if run.row.method == name)
        budget = planned[at].config.training_images()
        cells = []
        for run, row in zip(planned, rows, strict=True):
            same_budget = run.config.training_images() == budget
            if run is not planned[at] and row and rows[at] and not same_budget:
                left_out.setdefault(name, []).append(run.row.method)
            other = run is not planned[at] and same_budget and row and rows[at]
            cells.append(seed_difference(row, rows[at]) if other else None)
        if any(cells):
            columns.append(Column(f"− {name}, points", ".2f", cells))
    notes = []
    if columns:
        notes.append(ABOUT_DIFFERENCES)
    for name, methods in left_out.items():
        notes.append(f"Not compared with {name}, as trained on another number of images: {'; '.join(methods)}.")
    return columns, notes


def _size(config):
    """(parameters, multiply-adds for an image) of a config's network."""
    sections = {name: section for name, section in config.to_dict().items() if name not in _NOT_OF_A_NETWORK}
    key = json.dumps(sections)
    if key not in _SIZES:
        family = family_of(config)
        model = family.network(config, family.num_classes(config))
        parameters = sum(int(v.shape.num_elements()) for v in model.trainable_variables)
        _SIZES[key] = parameters, multiply_adds(model)
    return _SIZES[key]


# Sections of a config that do not change how large its network is.
_NOT_OF_A_NETWORK = ("seed", "distance", "ranking", "optimizer", "schedule", "evaluation", "checkpoint", "runtime")
_SIZES = {}  # by the other sections: a network takes some tenths of a second to build, a large one seconds
