"""The notebook runs from top to bottom, and what is committed of it is the trace of such a run."""

import re
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "similarity_layers.ipynb"


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


@pytest.mark.slow
def test_it_runs_and_shows_what_it_says(this_interpreter):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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


def test_the_committed_outputs_are_of_one_run_in_order():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not outputs(notebook, "error")
    assert {output.name for output in outputs(notebook, "stream")} == {"stdout"}
    assert printed(notebook).count("parameters") == 4
    (picture,) = outputs(notebook, "display_data")
    assert len(picture.data["image/png"]) < 100_000
    assert NOTEBOOK.stat().st_size < 150_000
