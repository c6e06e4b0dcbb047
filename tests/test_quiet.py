"""The import of TensorFlow, by a package that stands in for it."""

import os
import sys
import tempfile

import pytest

from neural_similarity.command import guarded
from neural_similarity.quiet import import_tensorflow

NOTE = "import os; os.write(2, b'a note')\n"


@pytest.fixture
def tensorflow(tmp_path, monkeypatch):
    """Puts a package of this source in the place of TensorFlow."""

    def put(source):
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow/__init__.py").write_text(source)
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tensorflow", None)  # what the monkeypatch puts back is what was there before
        del sys.modules["tensorflow"]
        monkeypatch.syspath_prepend(tmp_path)

    return put


def test_notes_are_hidden(tensorflow, capfd):
    tensorflow(NOTE)
    import_tensorflow()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("module", "name"), [(tempfile, "TemporaryFile"), (os, "dup")])
def test_where_notes_cannot_be_hidden_they_are_shown(module, name, tensorflow, monkeypatch, capfd):
    """No folder for temporary files; a closed standard error."""

    def fails(*arguments):
        raise FileNotFoundError(2, "No usable temporary directory found")

    tensorflow(NOTE)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, fails)
        import_tensorflow()
    assert capfd.readouterr().err == "a note"


def test_without_a_temporary_folder_the_environment_is_not_blamed(tensorflow, monkeypatch, capfd):
    """TensorFlow itself looks for one when it is imported."""

    def fails():
        raise FileNotFoundError(2, "No usable temporary directory found")

    tensorflow("import tempfile; tempfile.gettempdir()")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", fails)
        assert guarded(import_tensorflow) == 2
    said = capfd.readouterr().err
    assert "Set the environment variable TMPDIR" in said
    assert "make install" not in said


def test_standard_error_may_be_none(tensorflow, monkeypatch):
    tensorflow(NOTE)
    monkeypatch.setattr(sys, "stderr", None)
    import_tensorflow()


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("import no_such_part", "No module named 'no_such_part'. In the repository: make install"),
        ("raise ImportError('numpy.core failed')", "cannot be imported: ImportError: numpy.core failed\n"),
        ("raise AttributeError('_ARRAY_API not found')", "cannot be imported: AttributeError: _ARRAY_API not found\n"),
        ("raise TypeError('Descriptors cannot be made')", "cannot be imported: TypeError: Descriptors cannot be made"),
    ],
)
def test_what_stops_the_import_is_told_as_what_it_is(failure, said, tensorflow, capfd):
    tensorflow(NOTE + failure)
    assert guarded(import_tensorflow) == 1
    told = capfd.readouterr().err
    assert told.startswith("a note")
    assert said in told
    assert "Traceback" not in told
