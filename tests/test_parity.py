"""The comparison with the released networks' numbers: it agrees, and with other numbers it would not."""

import json
import os
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from commands import run_tool

from neural_similarity import config as configs
from neural_similarity.errors import UserError
from neural_similarity.families.image_recognition import network
from neural_similarity.interop import parity, released_names
from neural_similarity.interop.released_names import RELEASED_NETWORKS, released_variables

GOLDEN = Path(__file__).parent / "golden"


def test_all_networks_agree():
    found = {line.split(":")[0]: (line, agrees) for line, agrees in parity.check(GOLDEN)}
    assert list(found) == sorted(RELEASED_NETWORKS)
    for name in RELEASED_NETWORKS:
        line, agrees = found[name]
        assert agrees, line
        assert line.startswith(f"{name}: agrees (float32 logits ")
        for quantity in ("losses", "penalty", "gradient norms", "gradient probes", "moving averages"):
            assert f"{quantity} " in line
    with_trajectory = {name for name, (line, _) in found.items() if "trajectory cross-entropy" in line}
    assert with_trajectory == {"dynamic_dns", "sa_spherenet", "static_dns"}
    assert [name for name, (line, _) in found.items() if "orthogonality " in line] == ["sa_spherenet"]


@pytest.mark.parametrize("name_of_network", RELEASED_NETWORKS)
def test_layouts_are_the_released_ones_and_go_back_and_forth(name_of_network):
    listed = json.loads((GOLDEN / f"{name_of_network}.json").read_text())["variables"]
    table = released_variables(network(configs.load(f"configs/cifar10/released/{name_of_network}.yaml"), 10))
    assert set(table) == set(listed)
    for name, released in table.items():
        shape = tuple(listed[name]["shape"])
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        ours = released.to_ours(array)
        assert ours.shape == tuple(released.ours.shape), name
        again = released.to_released(ours)
        assert again.shape == shape, name
        np.testing.assert_array_equal(again, array, err_msg=name)


def test_two_layouts_by_hand():
    """Row c·o + f of the matrix of static networks, and place t·o + f of dynamic UNS, for the shape (3, 3, 2, 4)."""
    kernel = np.arange(9 * 2 * 4).reshape(3, 3, 2, 4)
    taps = kernel.reshape(9, 2, 4)
    matrix = released_names._kernel_as_matrix(kernel.shape)[1](kernel)
    np.testing.assert_array_equal(matrix[1 * 4 + 3], taps[:, 1, 3])
    last_axis = released_names._taps_among_filters(kernel.shape)[1](kernel)
    assert last_axis.shape == (1, 1, 2, 36)
    np.testing.assert_array_equal(last_axis[0, 0, :, 5 * 4 + 3], taps[5, :, 3])


# Perturbed files


@pytest.fixture
def folder(tmp_path):
    """A copy of the two golden files of static_dns."""
    for suffix in ("json", "npz"):
        shutil.copy(GOLDEN / f"static_dns.{suffix}", tmp_path)
    return tmp_path


def change_arrays(folder, change):
    with np.load(folder / "static_dns.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(folder / "static_dns.npz", **arrays)


def change_facts(folder, change):
    path = folder / "static_dns.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def run_main(*arguments):
    return run_tool("parity", *arguments)


def test_one_changed_logit_is_seen(folder, capsys):
    def change(arrays):
        arrays["eval_logits"][1, 3] += 1e-3 * np.max(np.abs(arrays["eval_logits"]))

    change_arrays(folder, change)
    assert run_main(folder, "--no-require-all") == 1
    assert capsys.readouterr().out.startswith("static_dns: differs in float32 logits, logits (float32 logits 1.0e-03, ")


def test_every_other_quantity_is_compared(folder):
    def change_numbers(arrays):
        arrays["train_loss"] = arrays["train_loss"] * 1.001
        arrays["reg"] = arrays["reg"] * 1.0001
        arrays["trajectory_fit_reg"][3] *= 1.1

    def change_listed(facts):
        last = facts["variables"]["score/filter"]
        last["grad_norm"] *= 1.01
        last["grad_probe"][2] += 0.1 * last["grad_norm"]
        last["fit_grad_probe"][1] += 0.1 * last["fit_grad_norm"]
        mean = facts["variables"]["root/bn/root/bn/moments/Squeeze/ExponentialMovingAverage"]
        mean["after_one_training_pass"]["sum"] += 0.01

    change_arrays(folder, change_numbers)
    change_facts(folder, change_listed)
    ((line, agrees),) = parity.check(folder, require_all=False)
    quantities = "float32 moving averages, losses, moving averages, penalty, gradient norms, gradient probes"
    assert line.startswith(f"static_dns: differs in {quantities}, trajectory cross-entropy, trajectory penalty (")
    assert ", 0 of " in line  # and no moved tie explains it away
    assert not agrees


def test_a_number_that_is_none_does_not_agree(folder, monkeypatch):
    errors = {"losses": 1e-5, "logits": np.nan}
    monkeypatch.setattr(parity, "Comparison", lambda _: types.SimpleNamespace(errors=lambda: (errors, "")))
    ((line, agrees),) = parity.check(folder, require_all=False)
    assert line == "static_dns: differs in logits (losses 1.0e-05, logits nan)"
    assert not agrees


def wrong_salt(folder):
    change_facts(folder, lambda facts: facts.update(salt="other:"))


def wrong_sum(folder):
    change_facts(folder, lambda facts: facts["variables"]["score/filter"].update(sum=0.0))


def missing_variable(folder):
    change_facts(folder, lambda facts: facts["variables"].pop("score/filter"))


def another_variable(folder):
    change_facts(folder, lambda facts: facts["variables"].update({"score/bias": facts["variables"]["score/filter"]}))


def missing_npz(folder):
    (folder / "static_dns.npz").unlink()


def truncated_npz(folder):
    path = folder / "static_dns.npz"
    path.write_bytes(path.read_bytes()[:3000])


def damaged_npz(folder):
    content = bytearray((folder / "static_dns.npz").read_bytes())
    content[2000] ^= 255
    (folder / "static_dns.npz").write_bytes(content)


def missing_angles(folder):
    """A sa_spherenet without its penalty of angles."""
    (folder / "static_dns.json").unlink()
    (folder / "static_dns.npz").unlink()
    shutil.copy(GOLDEN / "sa_spherenet.json", folder / "sa_spherenet.json")
    with np.load(GOLDEN / "sa_spherenet.npz") as file:
        np.savez(folder / "sa_spherenet.npz", **{name: array for name, array in file.items() if name != "orth"})


def truncated_json(folder):
    path = folder / "static_dns.json"
    path.write_text(path.read_text()[:3000])


def empty_json(folder):
    (folder / "static_dns.json").write_text("{}")


def with_array(name, array):
    """A `static_dns.npz` with another array; None leaves it out."""

    def damage(folder):
        change_arrays(folder, lambda arrays: arrays.pop(name) if array is None else arrays.update({name: array}))

    return damage


def with_fact(name, value):
    return lambda folder: change_facts(folder, lambda facts: facts.update({name: value}))


def with_entry(**changes):
    return lambda folder: change_facts(folder, lambda facts: facts["variables"]["score/filter"].update(changes))


def pipe(suffix):
    def damage(folder):
        (folder / f"static_dns.{suffix}").unlink()
        os.mkfifo(folder / f"static_dns.{suffix}")

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_array("x", np.zeros((2, 32, 32, 3), np.int8)), "`x` must be uint8 of the shape [2, 32, 32, 3]; got int8"),
        (with_array("x", np.zeros((10**4, 32, 32, 3), np.uint8)), "got uint8 [10000, 32, 32, 3]"),
        (with_array("y", np.array(["a", "b"])), "`y` holds <U1, and not plain numbers"),
        (with_array("y", np.array([0, 10])), "expected labels `y` from 0 to 9."),
        (with_array("eval_logits", np.ones((2, 10), np.complex64)), "`eval_logits` holds complex64"),
        (with_array("train_loss", np.float32(np.nan)), "`train_loss` has numbers that are not finite"),
        (with_array("train_loss", None), "`train_loss` is missing"),
        (with_array("trajectory_lr", None), "`trajectory_fit_reg` must be float64 of the shape [0, 2]"),
        (
            with_array("trajectory_lr", np.float64(1)),
            "`trajectory_lr` must be float64 of the shape [1]; got",
        ),
        (with_array("trajectory_lr", np.ones(3)), "`trajectory_fit_reg` must be"),
        (with_array("trajectory_lr", np.ones(2000)), "a trajectory of more than 1,000 steps"),
        (with_array("more", np.ones(3)), "`more` does not belong in it"),
        (with_fact("n_class", "ten"), "`n_class`: Input should be a valid integer"),
        (with_fact("n_class", 10**9), "`n_class`: Input should be less than"),
        (with_fact("salt", None), "`salt`: Input should be a valid string"),
        (with_fact("variables", [1]), "`variables`: Input should be a valid dictionary"),
        (with_entry(shape=[10**9, 10**9]), "score/filter has another shape than in our static_dns"),
        (with_entry(shape=[1, 1]), "score/filter has another shape than in our static_dns"),
        (with_entry(sum="1"), "`sum`: Input should be a valid number"),
        (with_entry(grad_norm=None), "neither a weight nor a moving average"),
        (pipe("json"), "a pipe, not a file"),
        (pipe("npz"), "a pipe, not a file"),
        (wrong_salt, "static_dns.json: root/filter sums to"),
        (wrong_sum, "static_dns.json: score/filter sums to"),
        (missing_variable, "score/filter is in one of them only"),
        (another_variable, "score/bias is in one of them only"),
        (missing_npz, "No such file"),
        (truncated_npz, "cannot read them"),
        (damaged_npz, "cannot read them"),
        (truncated_json, "cannot read them"),
        (missing_angles, "sa_spherenet.npz: lacks the array orth."),
        (empty_json, "expected n_class, salt and variables"),
    ],
)
def test_damaged_files_end_in_one_line(damage, message, folder, capsys):
    damage(folder)
    assert run_main(folder, "--no-require-all") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(("static_dns: ", "sa_spherenet: "))
    assert message in line


def test_a_folder_without_golden_networks(tmp_path, capsys):
    assert run_main(tmp_path) == 2
    assert "no NAME.json of a golden network" in capsys.readouterr().err


def test_an_unknown_network_is_not_passed_over(folder, capsys):
    for path in folder.iterdir():
        path.rename(path.with_stem("static_dnns"))
    assert run_main(folder, "--no-require-all") == 1
    known = ", ".join(RELEASED_NETWORKS)
    assert capsys.readouterr().out == f"static_dnns: unknown; known are {known}\n"


def test_all_networks_are_required_unless_said_otherwise(folder, monkeypatch, capsys):
    monkeypatch.setattr(parity, "Comparison", lambda _: types.SimpleNamespace(errors=lambda: ({"losses": 1e-5}, "")))
    for options in ([], ["--require-all"]):
        assert run_main(folder, *options) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == sorted(RELEASED_NETWORKS)
        missing = "sa_spherenet: sa_spherenet.json is missing; --no-require-all compares those that are there"
        assert missing in lines
    assert run_main(folder, "--no-require-all") == 0
    assert capsys.readouterr().out == "static_dns: agrees (losses 1.0e-05)\n"


def test_a_changed_penalty_of_angles_is_seen(folder):
    for suffix in ("json", "npz"):
        shutil.copy(GOLDEN / f"sa_spherenet.{suffix}", folder)
        (folder / f"static_dns.{suffix}").unlink()
    with np.load(folder / "sa_spherenet.npz") as file:
        arrays = dict(file)
    arrays["orth"] = arrays["orth"] * 1.0001
    del arrays["trajectory_lr"], arrays["trajectory_fit_reg"]  # which take half of the time
    np.savez(folder / "sa_spherenet.npz", **arrays)
    ((line, agrees),) = parity.check(folder, require_all=False)
    assert line.startswith("sa_spherenet: differs in orthogonality (")
    assert not agrees


@pytest.mark.parametrize(
    ("options", "code", "verdict"), [([], 1, "differs in logits"), (["--rtol", "0.01"], 0, "agrees")]
)
def test_rtol_replaces_the_table_of_tolerances(options, code, verdict, folder, monkeypatch, capsys):
    settled = "2 of 7 ties settled, before: gradient probes 1.0e-02"
    comparison = types.SimpleNamespace(errors=lambda: ({"losses": 1e-5, "logits": 2e-4}, settled))
    monkeypatch.setattr(parity, "Comparison", lambda _: comparison)
    assert run_main(folder, "--no-require-all", *options) == code
    line = f"static_dns: {verdict} (losses 1.0e-05, logits 2.0e-04, {settled})\n"
    assert capsys.readouterr().out == line


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match=r"no NAME\.json of a golden network"):
        list(parity.check("no/such/folder"))
