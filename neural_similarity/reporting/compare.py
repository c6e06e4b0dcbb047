"""Compares two few-shot runs on the same test episodes.

python -m neural_similarity compare RUN OTHER [--episodes N] [--out FILE.jsonl]

Accuracies of single episodes differ a lot, as some episodes are harder than others; but an episode that is hard for one
network tends to be hard for the other too. Their difference varies less, so the interval of the mean difference is
narrower than the intervals of the two means suggest.
"""

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np

from neural_similarity.config import differing_keys
from neural_similarity.config.experiment import flattened
from neural_similarity.errors import UserError
from neural_similarity.families import few_shot
from neural_similarity.families.few_shot_evaluation import episode_measures, interval95
from neural_similarity.files import shown
from neural_similarity.reporting.record import RESULTS, append_line
from neural_similarity.training.results import Score, what_ran

_FIELDS = ("config", "config_hash", "recipe", "overrides", "seed", "steps", "scale", "protocol", "precision", "commit")
_NEXT_OUT = "Next: --out results/differences/few_shot.jsonl"


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much better one of two lists of accuracies is, episode by episode.

    Attributes:
        mean: of other − one.
        interval95: half the width of the 95 % interval of that mean: 1.96 · standard deviation / √n.
        won, lost, equal: in how many episodes `other` is better, worse, and as good.
    """

    mean: float
    interval95: float
    won: int
    lost: int
    equal: int

    def in_words(self) -> str:
        """Which run is better, or that these episodes do not tell."""
        if abs(self.mean) <= self.interval95:
            return "0 lies in the interval: no difference can be told from these episodes."
        better = "OTHER" if self.mean > 0 else "RUN"
        return (
            f"0 lies outside of the interval: {better} is better by "
            f"{100 * abs(self.mean):.2f} ± {100 * self.interval95:.2f} points."
        )


def paired_difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """The `Difference` of two arrays of accuracies `(episodes,)`, of the same episodes in the same order; 2 or more."""
    differences = np.asarray(other, np.float64) - np.asarray(one, np.float64)
    return Difference(
        float(np.mean(differences)),
        interval95(differences),
        *(int(np.sum(kind)) for kind in (differences > 0, differences < 0, differences == 0)),
    )


def compare(run, other, episodes: int | None = None, out: Path | None = None):
    """Compares the newest checkpoints of two runs on the same test episodes. Yields the lines that tell the result.

    Args:
        run, other: the folders of two few-shot runs.
        episodes: how many test episodes; by default as many as the config of `run` evaluates.
        out: a `.jsonl` file that gets one more line; docs/few_shot.md explains its fields.

    Raises:
        UserError: a folder has no few-shot run, the runs are tested on different episodes or have no checkpoint, the
            data are missing or others, `episodes` is 1, or `out` is no file for such lines.
    """
    _check_out(out)
    runs = [few_shot.open_few_shot_run(folder) for folder in (run, other)]
    _check_same_episodes(*runs)
    config = runs[0].config
    episodes = episodes or config.evaluation.episodes
    if episodes < 2:
        raise UserError("One episode has no interval. Compare on more: --episodes 600")
    splits = few_shot.load_run_data(runs[0])
    runs[0].check_facts(splits.facts())
    measured = []
    for name, one in zip(("RUN", "OTHER"), runs, strict=True):
        accuracies, step = _accuracies(one, splits.test, episodes)
        score = Score(value=float(np.mean(accuracies)), interval95=interval95(accuracies), n=episodes)
        measured.append((accuracies, step, score))
        yield f"{name:<5}  {one.details.config}, seed {one.config.seed}, {_progress(one, step)} ({one.shown()})"
        yield f"       test accuracy {score}   {one.config.protocol()}"
    modes = [one.config.batch_norm.mode for one in runs]
    if "batch" in modes and modes[0] != modes[1]:
        yield "Not alike: with batch norm `batch` an answer may use the other queries; with the other mode it may not."
    difference = paired_difference(measured[0][0], measured[1][0])
    yield (
        f"OTHER − RUN: {100 * difference.mean:+.2f} ± {100 * difference.interval95:.2f} points (95 %, paired, the same "
        f"{episodes:,} episodes). OTHER is better in {difference.won:,}, worse in {difference.lost:,}, "
        f"equal in {difference.equal:,}."
    )
    yield difference.in_words()
    yield "The interval is about the choice of the episodes. Training with other seeds may give another difference."
    if out:
        append_line(out, json.dumps(_line(runs, measured, difference)))
        yield f"{shown(out)}: added"


def _check_out(out):
    if out is None:
        return
    if out.suffix != ".jsonl" or out.is_dir():
        raise UserError(f"{shown(out)}: expected a file NAME.jsonl. {_NEXT_OUT}")
    if out.resolve().parent == RESULTS.resolve():
        raise UserError(
            f"{shown(out)}: the files in this folder hold result lines, of which the tables are made. {_NEXT_OUT}"
        )


def _check_same_episodes(run, other):
    """Raises a `UserError` unless both runs are tested on the same episodes."""
    differing = [key for key in differing_keys(run.config, other.config) if key.startswith(("data.name", "episode."))]
    if differing:
        one, two = (flattened(each.config.to_dict()) for each in (run, other))
        differences = [f"`{key}` is {one[key]} and {two[key]}" for key in differing]
    else:
        one, two = run.facts, other.facts
        names = [name for name in ("test_classes", "data_checksum") if one.get(name) != two.get(name)]
        differences = [f"the `{name}` in their files run.json differ" for name in names]
    if differences:
        raise UserError(
            f"{run.shown()} and {other.shown()} are not tested on the same episodes: {'; '.join(differences)}. "
            "Compare runs with the same images, the same test classes and the same section `episode`."
        )


def _accuracies(run, test, episodes):
    """The accuracies `(episodes,)` of a run's newest checkpoint on the images `test`, and the checkpoint's step."""
    model = few_shot.build_model(run.config, run.facts)
    step = run.load_weights(model)
    measure = episode_measures(run.config, model, run.runtime.jit_compile)
    _, accuracies = measure(test, "test", episodes)
    queries = run.config.episode.n_way * run.config.episode.n_query
    return np.rint(accuracies * queries) / queries, step  # without the rounding of float32: equal means equal


def _progress(run, step):
    """ "step 400", or "step 40 of 400" if the run is not finished."""
    steps = run.config.schedule.scaled_train_steps
    return f"step {step:,}" if step == steps else f"step {step:,} of {steps:,}"


def _line(runs, measured, difference):
    """What a comparison leaves in a file."""
    config = runs[0].config
    described = []
    for run, (_, step, score) in zip(runs, measured, strict=True):
        ran = what_ran(run)
        further = {"checkpoint_step": step, "test_accuracy": score.model_dump(include={"value", "interval95"})}
        described.append({name: ran[name] for name in _FIELDS} | further)
    return {
        "run": described[0],
        "other": described[1],
        "data": config.data.name,
        "data_checksum": runs[0].facts["data_checksum"],
        "episode": config.episode.model_dump(),
        "difference": difference.mean,
        "interval95": difference.interval95,
        "n": measured[0][2].n,
        "won": difference.won,
        "lost": difference.lost,
        "equal": difference.equal,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
