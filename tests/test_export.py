"""Export to formats that other programs run: the same outputs in a process without this package, and refusals."""

import json
import re
import subprocess
import sys
import urllib.request

import keras
import numpy as np
import pytest
from commands import run_tool
from few_shot_runs import few_shot_run
from metric_runs import metric_run

from neural_similarity import load_run
from neural_similarity.config import REPOSITORY
from neural_similarity.interop import export as module
from neural_similarity.layers import GlobalSimilarity2D

# What anybody writes who has TensorFlow alone.
READ = """
import json, sys
import numpy as np
import tensorflow as tf

saved, lite, batches, out = sys.argv[1:]
loaded, interpreter = tf.saved_model.load(saved), tf.lite.Interpreter(lite)
found = []
for images in np.load(batches).values():
    (logits,) = loaded.signatures["serving_default"](tf.constant(images)).values()
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, images)
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    found.append([logits.numpy().tolist(), answer.tolist()])
assert "neural_similarity" not in sys.modules
json.dump(found, open(out, "w"))
"""


def batches():
    random = np.random.default_rng(3)
    return [random.uniform(0, 255, (size, 32, 32, 3)).astype(np.float32) for size in (1, 3, 2)]


@pytest.mark.parametrize(
    "run_folder",
    [
        "static_uns",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("dynamic_dns", "nsl_fspherenet", "spherenet_cosine")),
    ],
    indirect=True,
)
def test_a_process_without_this_package_gets_the_same_logits(run_folder, tmp_path, command):
    """From both formats, whatever the batch size; a static network is merged."""
    for form, name in (("saved_model", "saved"), ("tflite", "model.tflite")):
        code, said, problem = command("export", run_folder, "--format", form, "--out", tmp_path / name)
        assert (code, problem) == (0, "")
        assert said.startswith(f"{tmp_path / name}: {form}, ")
        assert "(b, 32, 32, 3) → logits; max |Δ| " in said
    assert {path.name for path in tmp_path.iterdir()} == {"saved", "model.tflite"}
    np.savez(tmp_path / "batches.npz", *batches())
    arguments = [str(tmp_path / name) for name in ("saved", "model.tflite", "batches.npz", "found.json")]
    done = subprocess.run(
        [sys.executable, "-c", READ, *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model = load_run(run_folder)
    for images, found in zip(batches(), json.loads((tmp_path / "found.json").read_text()), strict=True):
        expected = model(images, training=False).numpy()
        for logits in found:
            np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(served(tmp_path / "saved", images), expected, atol=1e-5 * np.abs(expected).max())


def served(saved_model, images):
    """What the server of docs/export.md answers."""
    text = (REPOSITORY / "docs/export.md").read_text(encoding="utf-8")
    program = next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "serve.py" in code)
    command = [sys.executable, "-c", program, str(saved_model), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            address = process.stdout.readline().split()[-1]
            request = urllib.request.Request(address, json.dumps({"instances": images.tolist()}).encode())
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["predictions"]
        finally:
            process.kill()


@pytest.mark.parametrize("run_folder", ["dynamic_uns"], indirect=True)
def test_onnx(run_folder, tmp_path, command):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    code, said, _ = command("export", run_folder, "--format", "onnx", "--out", tmp_path / "model.onnx")
    assert (code, said.count("onnx, ")) == (0, 1)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for images in batches():
        expected = load_run(run_folder)(images, training=False).numpy()
        (found,) = session.run(["logits"], {"images": images})
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_onnx_takes_packages(run_folder, tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    code, _, problem = command("export", run_folder, "--format", "onnx", "--out", tmp_path / "model.onnx")
    assert code == 2
    assert 'Next, in the repository: .venv/bin/pip install -e ".[onnx]"' in problem
    assert not [*tmp_path.iterdir()]


def test_the_other_families(tmp_path, command):
    """In float32, also where a run computes in 16 bits."""
    runs = {
        "features": few_shot_run(tmp_path / "few_shot", "runtime.precision=mixed_bfloat16"),
        "map": metric_run(tmp_path / "metric"),
    }
    for name, run in runs.items():
        code, said, _ = command("export", run, "--out", tmp_path / name)
        assert code == 0
        assert f" → {name}; max |Δ| " in said
        found = module._read_saved_model(tmp_path / name)(batches()[1])
        assert found.dtype == np.float32
        if name == "map":
            np.testing.assert_allclose(found, load_run(run)(batches()[1], training=False), rtol=1e-4, atol=1e-3)


def test_a_network_that_has_yet_to_adapt_is_refused(tmp_path, command):
    settings = ["method.tasks=2", "method.inner_steps=1", "method.test_inner_steps=1"]
    run = few_shot_run(tmp_path / "run", *settings, name="cifar_fs/5shot_maml")
    code, _, problem = command("export", run, "--out", tmp_path / "saved")
    assert code == 2
    assert "cannot be exported before its network has adapted to new classes" in problem
    assert "FewShotClassifier(" in problem


def test_an_operation_that_a_format_lacks_is_named(run_folder, tmp_path, command, monkeypatch):
    """Global similarity maps over images, for which TFLite has no operation with a free batch size."""
    inputs = keras.Input((16, 16, 3))
    x = GlobalSimilarity2D()(keras.layers.Conv2D(8, 3)(inputs))
    monkeypatch.setattr(module, "_network", lambda run: (keras.Model(inputs, x), "map"))
    code, _, problem = command("export", run_folder, "--format", "tflite", "--out", tmp_path / "model.tflite")
    assert code == 2
    assert len(problem.splitlines()) == 1
    assert "tflite lacks what this network needs (TensorListReserve" in problem
    assert "Next: --format saved_model" in problem
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_written_is_refused(run_folder, tmp_path, command, monkeypatch):
    out = tmp_path / "model.tflite"
    code, _, problem = command("export", run_folder, "--format", "tflite", "--out", tmp_path / "model")
    assert (code, "ends in .tflite. Next: --out model.tflite" in problem) == (2, True)
    out.write_text("mine")
    code, _, problem = command("export", run_folder, "--format", "tflite", "--out", out)
    assert (code, "exists already" in problem) == (2, True)
    assert out.read_text() == "mine"
    code, _, problem = command("export", run_folder, "--out", tmp_path / "nowhere" / "saved")
    assert (code, "there is no folder" in problem) == (2, True)
    code, _, problem = command("export", tmp_path, "--out", tmp_path / "saved")
    assert code == 2
    monkeypatch.setattr(module, "_compare", lambda model, run: (1.0, 2.0))
    code, _, problem = command("export", run_folder, "--out", tmp_path / "saved")
    assert (code, "its logits differ by 1.0e+00 of 2.0e+00; nothing was written" in problem) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert run_tool("export", "--help") == 0
