"""The notebooks run from top to bottom, and what is committed of them is the trace of such a run."""

import re
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LAYERS, MATCHING = NOTEBOOKS / "similarity_layers.ipynb", NOTEBOOKS / "structural_matching.ipynb"
OFFLINE = {  # the network of the notebook → one that random weights leave some signal
    'MobileNet(alpha=0.75, include_top=False, weights="imagenet"': "ResNet50V2(include_top=False, weights=None",
    "keras.applications.mobilenet.": "keras.applications.resnet_v2.",
    "range(20)": "range(2)",  # searches
    "range(0, 204, 50)": "range(0, 204, 150)",
}


@pytest.fixture
def this_interpreter(tmp_path, monkeypatch):
    """Makes "python3" the interpreter that runs the tests, whatever kernels are installed for the user."""
    write_kernel_spec(tmp_path / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def outputs(notebook, kind):
    return [output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == kind]


def printed(notebook):
    return "".join(output.text for output in outputs(notebook, "stream") if output.name == "stdout")


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_layers_run_and_show_what_the_text_says(this_interpreter):
    notebook = nbformat.read(LAYERS, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.executable)"))

    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()

    *lines, executable = printed(notebook).splitlines()
    assert executable == sys.executable
    rows = re.findall(r"^(.+?) +[\d,]+ parameters .* test +([\d.]+)%$", "\n".join(lines), re.MULTILINE)
    accuracies = {name: float(percent) for name, percent in rows}
    assert list(accuracies) == ["plain", "plain, wider, longer", "static", "dynamic"]
    assert min(accuracies.values()) > 50
    assert accuracies["plain"] < min(accuracies["static"], accuracies["dynamic"])  # as the text says
    assert "['Conv2D', 'Conv2D']" in lines
    assert float(lines[-1].split("largest difference")[1]) <= 1e-5
    assert len(outputs(notebook, "display_data")) == 1


def test_the_committed_outputs_of_layers_are_of_one_run_in_order():
    notebook = nbformat.read(LAYERS, as_version=4)
    nbformat.validate(notebook)
    code = code_of(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not outputs(notebook, "error")
    assert {output.name for output in outputs(notebook, "stream")} == {"stdout"}
    assert printed(notebook).count("parameters") == 4
    (picture,) = outputs(notebook, "display_data")
    assert len(picture.data["image/png"]) < 100_000
    assert LAYERS.stat().st_size < 150_000


@pytest.mark.slow
def test_matching_runs_without_a_download(this_interpreter):
    notebook = nbformat.read(MATCHING, as_version=4)
    for old, new in OFFLINE.items():
        assert sum(cell.source.count(old) for cell in code_of(notebook)) == 1, old
        for cell in code_of(notebook):
            cell.source = cell.source.replace(old, new)

    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()

    assert printed(notebook).startswith("cosine ")
    assert len(re.findall(r"candidates ranked again: \d of 4 found", printed(notebook))) == 2
    (picture,) = outputs(notebook, "execute_result")
    assert "image/jpeg" in picture.data


def test_the_committed_outputs_of_matching_are_those_that_the_text_tells():
    notebook = nbformat.read(MATCHING, as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code_of(notebook)] == [1, 2, 3]
    assert not outputs(notebook, "error")
    links = re.findall(r"row (\d), column (\d) ↔ row (\d), column (\d)", printed(notebook))
    assert len(links) == 5
    for a_row, a_column, b_row, b_column in links:  # moved by one cell, as the squares are
        assert (a_row, int(a_column) - 1) == (b_row, int(b_column))
    by_cosine, again = map(int, re.findall(r"ranked again: (\d+) of 40 found", printed(notebook)))
    assert again > by_cosine
    assert MATCHING.stat().st_size < 150_000
