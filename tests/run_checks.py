"""Whether two runs are equal."""

from pathlib import Path

from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run


def without_times(rows):
    """Rows of metrics without how long steps and episodes took."""
    return [{name: value for name, value in row.items() if not name.startswith("seconds_per_")} for row in rows]


def assert_equal_runs(folder, reference):
    """Asserts that weights, accumulators and averages have the same bytes, and that all metrics but times are equal."""
    rows, expected = (without_times(read_rows(Path(f) / "metrics.jsonl")) for f in (folder, reference))
    assert rows == expected
    last = Run(reference).checkpoints.steps()[-1]
    (found, state), (wanted, wanted_state) = (Run(f).checkpoints.load(last) for f in (folder, reference))
    assert (state.step, state.pending) == (wanted_state.step, wanted_state.pending)
    assert without_times(state.rows) == rows
    assert found.keys() == wanted.keys()
    assert {name.split("/")[0] for name in found} == {"model", "optimizer"}
    assert [name for name in found if found[name].tobytes() != wanted[name].tobytes()] == []
