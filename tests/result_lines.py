"""Result lines made by hand, for the tests of what is made of them."""

import json

import pytest

from neural_similarity.errors import UserError
from neural_similarity.training.results import Result

LINE = {
    "config": "cifar10/static_dns",
    "config_hash": "0123456789ab",
    "recipe": "ours",
    "overrides": [],
    "experiment": "nsl_image_recog/static",
    "data": "cifar10",
    "seed": 0,
    "steps": 42500,
    "scale": 1.0,
    "parameters": 1234567,
    "scores": {"test/accuracy": {"value": 0.9}},
    "seconds_per_step": 0.25,
    "peak_memory_bytes": 1_500_000_000,
    "precision": "float32",
    "strategy": "none",
    "devices": 1,
    "jit_compile": False,
    "deterministic": False,
    "device": "CPU, Some, 2 cores",
    "commit": "abcdef0123",
    "versions": {"python": "3.11.7"},
    "finished": "2026-01-02T03:04:05+00:00",
}


def result(**changes):
    """The `Result` of `LINE` with changes."""
    return Result.model_validate({**LINE, **changes})


def rows_of(line):
    """The last rows of metrics that a line, a dict, is made of."""
    step = {"step": line["steps"]}
    measured = [{**step, "split": name.split("/")[0], "accuracy": s["value"]} for name, s in line["scores"].items()]
    return [{**step, "split": "train", "seconds_per_step": line["seconds_per_step"]}, *measured]


def json_line(**changes):
    """The bytes of `LINE` with changes, which may make no valid line; None leaves a field out."""
    values = {**LINE, **changes}
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()


def score(value):
    """The `scores` of a line with this test accuracy."""
    return {"test/accuracy": {"value": value}}


def refusal(function, *arguments):
    """The message of the `UserError` that the function raises."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)
