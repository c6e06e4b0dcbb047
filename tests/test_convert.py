"""Checkpoints of the released code, as its Saver writes them: with the names and values of the golden files."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import run_tool

from neural_similarity import config as configs
from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import network
from neural_similarity.interop.checkpoint_files import opened, prefix_of
from neural_similarity.interop.convert import convert
from neural_similarity.interop.golden import value_by_rule
from neural_similarity.interop.released_names import RELEASED_NETWORKS, released_variables

GOLDEN = Path(__file__).parent / "golden"


def config_of(name, *overrides):
    return configs.load(f"configs/cifar10/released/{name}.yaml", overrides, environment={})


@functools.cache
def golden_values(name):
    """Released name → the golden network's value. Nobody changes what is returned."""
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    table = released_variables(network(config_of(name), facts["n_class"]))
    shapes = {
        variable: (tuple(entry["shape"]), tuple(table[variable].ours.shape))
        for variable, entry in facts["variables"].items()
    }
    return {variable: value_by_rule(facts["salt"], variable, *pair) for variable, pair in shapes.items()}


def write_checkpoint(path, values, slots=True):
    """As the released train.py does at its end: every variable, and the optimiser's of every weight."""
    slot_names = ("Adam", "Adam_1") if any(name.startswith("att") for name in values) else ("Momentum",)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            for slot in slot_names if slots and not name.endswith("ExponentialMovingAverage") else ():
                tf.compat.v1.get_variable(f"{name}/{slot}", initializer=np.zeros_like(value), use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path))


def run_main(*arguments):
    return run_tool("convert", *arguments)


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory):
    """A function of a network's name: the path of its checkpoint, which is written once and never changed."""
    return functools.cache(lambda name: write_checkpoint(tmp_path_factory.mktemp(name) / "42499", golden_values(name)))


@pytest.fixture(scope="module")
def static(checkpoint_of):
    return checkpoint_of("static_dns")


@pytest.mark.parametrize("name", RELEASED_NETWORKS)
def test_a_converted_checkpoint_gives_the_golden_logits(name, checkpoint_of, tmp_path, capsys):
    config = f"configs/cifar10/released/{name}.yaml"
    assert run_main(f"{checkpoint_of(name)}.index", "--config", config, "--out", tmp_path / "model.keras") == 0
    said = capsys.readouterr().out
    assert f"model.keras: cifar10/released/{name}, " in said
    assert ("similarity.normalization: " in said) == (name not in ("static_dns", "static_uns", "sa_spherenet"))
    with np.load(GOLDEN / f"{name}.npz") as golden:
        logits = keras.models.load_model(tmp_path / "model.keras")(golden["x"].astype(np.float32), training=False)
        assert np.max(np.abs(logits - golden["eval_logits"])) <= 1e-4 * np.max(np.abs(golden["eval_logits"]))


def test_averages_are_read_as_they_are_by_a_debiased_network(static):
    """Its count of updates is not in the checkpoint."""
    ours = configs.load("configs/cifar10/static_dns.yaml", environment={})
    assert ours.batch_norm.debias
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = convert(static, config_of("static_dns"))(x, training=False)
    np.testing.assert_allclose(convert(static, ours)(x, training=False), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("static_dns", ["static_dns"]),
        ("static_uns", ["static_uns"]),
        ("dynamic_uns", ["dynamic_uns"]),
        ("nsl_fspherenet", ["dynamic_dns", "nsl_fspherenet"]),
    ],
)
def test_another_network_is_refused_and_the_right_ones_named(name, owners, checkpoint_of, capsys, tmp_path):
    checkpoint = checkpoint_of(name)
    named = " or ".join(f"configs/cifar10/released/{owner}.yaml" for owner in owners)
    others = {"static_dns", "static_uns", "dynamic_dns"} - set(owners)
    for config in (*(f"released/{other}" for other in others), "baseline"):
        assert run_main(checkpoint, "--config", f"configs/cifar10/{config}.yaml", "--out", tmp_path / "m.keras") == 2
        said = capsys.readouterr().err
        assert "of another network than the config's" in said
        assert f"Its variables are those of {named}." in said
    assert not (tmp_path / "m.keras").exists()


def test_unknown_variables_are_refused(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "1", {"resnet/filter": np.ones((3, 3), np.float32)})
    with pytest.raises(UserError, match=r"of another network than the config's \(\S+: ") as error:
        convert(checkpoint, config_of("static_dns"))
    assert "Its variables are those" not in str(error.value)


@pytest.mark.parametrize("setting", ["data.name=cifar100", "model.widths=[32, 64, 96]"])
def test_other_shapes_are_refused(static, setting):
    with pytest.raises(UserError, match=r"has the shape \[.*\], the config's network \["):
        convert(static, config_of("static_dns", setting))


def test_values_that_are_not_finite_are_refused(tmp_path):
    values = dict(golden_values("static_dns"))
    values["score/filter"] = values["score/filter"].copy()
    values["score/filter"][0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"score/filter is not finite; the network had diverged"):
        convert(write_checkpoint(tmp_path / "1", values, slots=False), config_of("static_dns"))


def test_no_checkpoint_and_damaged_ones_get_one_message(static, tmp_path, capsys):
    config = ("--config", "configs/cifar10/released/static_dns.yaml", "--out", tmp_path / "m.keras")
    assert run_main(tmp_path / "nothing", *config) == 2
    assert f"{tmp_path / 'nothing'}: no TensorFlow 1 checkpoint that can be read (" in capsys.readouterr().err
    for suffix in (".index", ".data-00000-of-00001"):
        for other in (".index", ".data-00000-of-00001"):
            (tmp_path / f"bad{other}").write_bytes(Path(f"{static}{other}").read_bytes())
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert run_main(tmp_path / "bad", *config) == 2
        said = capsys.readouterr().err
        assert str(tmp_path / "bad") in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1


# Where it lies, and what lies in its place


@pytest.mark.parametrize("name", ["[a]", "a*b?", "{x}", "~", "a b", "ä\\"])
def test_the_signs_of_a_pattern_mean_themselves(static, name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    for suffix in (".index", ".data-00000-of-00001"):
        (folder / f"[1]{suffix}").write_bytes(Path(f"{static}{suffix}").read_bytes())
    for path in (folder / "[1]", folder / "[1].index", folder / "[1].data-00000-of-00001", folder):
        with opened(prefix_of(path)) as variables:
            np.testing.assert_array_equal(variables.read("score/filter"), golden_values("static_dns")["score/filter"])


def test_a_checkpoint_of_the_first_format(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("a", initializer=np.ones(3, np.float32), use_resource=False)
        session.run(variable.initializer)
        tf.compat.v1.train.Saver(write_version=1).save(session, str(tmp_path / "1"))
    with opened(tmp_path / "1") as variables:
        np.testing.assert_array_equal(variables.read("a"), [1, 1, 1])


def test_a_folder_is_told_apart_from_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r": a folder\. No file in it ends in \.index\."):
        prefix_of(tmp_path)
    for name in ("500.index", "42499.index", "42499.meta", "checkpoint"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r": a folder\. Name a checkpoint in it: 42499, 500\."):
        prefix_of(tmp_path)
    (tmp_path / "500").mkdir()
    assert prefix_of(tmp_path / "500") == tmp_path / "500"  # the files beside the folder


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001", ""])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(static, suffix, tmp_path):
    for other in (".index", ".data-00000-of-00001"):
        if other != suffix:
            (tmp_path / f"1{other}").write_bytes(Path(f"{static}{other}").read_bytes())
    os.mkfifo(tmp_path / f"1{suffix}")
    with pytest.raises(UserError, match=r"no TensorFlow 1 checkpoint that can be read \(1\S* is a pipe, not a file\)"):
        convert(tmp_path / "1", config_of("static_dns"))


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64, np.float64, "S1"])
def test_other_types_than_the_released_codes_are_refused(dtype, tmp_path):
    values = dict(golden_values("static_dns"))
    values["score/filter"] = np.ones(values["score/filter"].shape).astype(dtype)
    checkpoint = write_checkpoint(tmp_path / "1", values, slots=False)
    with pytest.raises(UserError, match=r"score/filter holds \w+; the released code saves float32\.$"):
        convert(checkpoint, config_of("static_dns"))


def test_messages_name_the_users_files(static, tmp_path):
    (tmp_path / "1.index").write_bytes(Path(f"{static}.index").read_bytes())
    with pytest.raises(UserError, match=rf"damaged at \S+ \(.*{tmp_path}/1\.data-00000-of-00001"):
        convert(tmp_path / "1", config_of("static_dns"))


def test_a_few_shot_config_is_refused(static, tmp_path, capsys):
    config = ("--config", "configs/quickstart/few_shot.yaml")
    assert run_main(static, *config, "--out", tmp_path / "m.keras") == 2
    assert "of the family `few_shot`; the released checkpoints are of image recognition" in capsys.readouterr().err


# What is written


def test_a_file_that_is_there_is_not_written_over(static, tmp_path, capsys):
    (tmp_path / "m.keras").write_text("mine")
    config = ("--config", "configs/cifar10/released/static_dns.yaml")
    assert run_main(static, *config, "--out", tmp_path / "m.keras") == 2
    assert "exists already" in capsys.readouterr().err
    assert run_main(static, *config, "--out", tmp_path / "m.h5") == 2
    assert "--out model.keras" in capsys.readouterr().err
    assert (tmp_path / "m.keras").read_text() == "mine"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import keras
from neural_similarity.interop.keras_files import save_whole
model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(1000)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
save_whole(model, Path(sys.argv[1]) / "model.keras")
"""


@pytest.mark.slow
def test_a_disk_without_room_leaves_no_file(tmp_path):
    """The operating system itself refuses the write, here because of a limit on the size of files."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert f"{tmp_path}/model.keras: cannot be written (" in done.stderr
    assert list(tmp_path.iterdir()) == []
