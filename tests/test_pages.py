"""The Python in the pages on metric learning runs, block after block; and what they say was measured."""

import collections
import json
import re

import numpy as np
import pytest
from layer_checks import KERAS_WARNINGS

from neural_similarity.config import REPOSITORY

pytestmark = KERAS_WARNINGS


@pytest.mark.parametrize("page", ["docs/metric_learning.md", "docs/bregman.md"])
def test_blocks_run(page, capsys):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert capsys.readouterr().out


def test_the_numbers_of_learned_divergences_are_those_of_the_result_lines():
    """Every "mean ± deviation" in a table of the page is that of a score over the seeds of a recipe."""
    page = (REPOSITORY / "docs/bregman.md").read_text(encoding="utf-8").partition("## What was measured")[2]
    known, lines = set(), collections.defaultdict(dict)
    for name in ("bregman", "cifar100_unseen", "cifar_fs"):
        for line in (REPOSITORY / f"results/{name}.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(line)
            lines[line["config_hash"], line["steps"], line["precision"]][line["seed"]] = line["scores"]
    for seeds in lines.values():
        for score in next(iter(seeds.values())):
            values = [100 * scores[score]["value"] for scores in seeds.values() if score in scores]
            interval = next(iter(seeds.values()))[score].get("interval95")
            if len(values) == 1 and interval:  # over the episodes
                known.add(f"{values[0]:.2f} ± {100 * interval:.2f}")
            if len(values) > 1:
                known.add(f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}")
    told = [
        cell for row in page.splitlines() if row.startswith("|") for cell in re.findall(r"\d+\.\d+ ± \d+\.\d+", row)
    ]
    assert len(told) > 80
    assert [cell for cell in told if cell not in known] == []
