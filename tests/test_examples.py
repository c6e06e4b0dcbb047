"""The `>>>` examples in the docstrings run and print what they say."""

import ast
import doctest
import importlib

import keras
import pytest

from neural_similarity.config import REPOSITORY

FILES = sorted((REPOSITORY / "neural_similarity").rglob("*.py"))
WITH_EXAMPLES = [file for file in FILES if ">>> " in file.read_text(encoding="utf-8")]
MODULES = [".".join(file.relative_to(REPOSITORY).with_suffix("").parts) for file in WITH_EXAMPLES]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """With Keras at hand, and all that the example's own module has or imports."""
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={"keras": keras})
    assert found.attempted > 0
    assert found.failed == 0


LAYERS = REPOSITORY / "neural_similarity" / "layers"


@pytest.mark.parametrize("name", ["batch_norm", "dynamic", "global_similarity", "predictor", "sphere", "static"])
def test_every_layer_has_an_example(name):
    tree = ast.parse((LAYERS / f"{name}.py").read_text(encoding="utf-8"))
    (layer,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    assert ">>> " in ast.get_docstring(layer)
