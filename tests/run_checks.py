"""When two runs are equal."""

from pathlib import Path

from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run


def assert_equal_runs(folder, reference):
    """The same bytes in weights, optimiser slots and averages, and the same metrics but for times."""
    rows, expected = (
        [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in read_rows(Path(f) / "metrics.jsonl")]
        for f in (folder, reference)
    )
    assert rows == expected
    last = Run(reference).checkpoints.steps()[-1]
    (own, own_state), (other, other_state) = (Run(f).checkpoints.load(last) for f in (folder, reference))
    assert own_state == other_state
    assert own.keys() == other.keys()
    assert {name.split("/")[0] for name in own} == {"model", "optimizer"}
    assert [name for name in own if own[name].tobytes() != other[name].tobytes()] == []
