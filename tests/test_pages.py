"""The Python in the pages on metric learning runs, block after block."""

import re

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
