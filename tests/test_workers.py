"""Several workers: how they are found, how they meet, and that two of them train as one machine with two replicas."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from commands import run_tool
from digits_runs import digits, refusal, run_main
from run_checks import assert_equal_runs, without_times

from neural_similarity import config as configs
from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.training.logs import read_rows
from neural_similarity.training.runs import Run
from neural_similarity.training.runtime import Runtime
from neural_similarity.training.workers import Workers

STATIC = "nsl_image_recog/static/train.py"
MIRRORED = """
import sys
from neural_similarity.families import family_of, main
import neural_similarity.training
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
main(sys.argv[1], sys.argv[2:])
"""
FEW_SHOT = ["data.name=digits", "data.augmentation=none", "model.filters=4", "method.tasks=2"]
FEW_SHOT += ["schedule.train_steps=6", "schedule.boundaries_steps=[3]"]
FEW_SHOT += ["evaluation.episodes=4", "evaluation.validation_episodes=4"]
FAMILIES = {
    "few_shot/cifar_fs/train.py": ("configs/cifar_fs/5shot_maml.yaml", FEW_SHOT),
    "metric_learning/diml/train.py": ("configs/quickstart/diml.yaml", ["schedule.train_steps=4"]),
    "metric_learning/bregman/train.py": ("configs/quickstart/bregman.yaml", ["schedule.train_steps=4"]),
}


def addresses(count=2):
    """Addresses on this machine that are free."""
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{door.getsockname()[1]}" for door in doors)


def named(**task):
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1", "b:2"]}, "task": task})}


ALONE = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
SLURM = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[07-08]"}
SLURM["SLURM_STEP_TASKS_PER_NODE"] = "2(x2)"


@pytest.fixture
def environment(monkeypatch):
    """Sets environment variables, and no other of TF_CONFIG and SLURM's."""
    for name in [name for name in os.environ if name == "TF_CONFIG" or name.startswith("SLURM")]:
        monkeypatch.delenv(name)

    def change(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


def test_workers_are_found_in_tf_config(environment):
    environment(named(type="worker", index=1))
    assert Workers.found() == Workers(("a:1", "b:2"), 1)
    cluster = {"chief": ["c:0"], "worker": ["a:1", "b:2"]}
    environment({"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})})
    assert Workers.found() == Workers(("c:0", "a:1", "b:2"), 1)
    environment({"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}})})
    assert Workers.found().is_chief


def test_workers_are_found_in_a_slurm_step(environment):
    environment(SLURM)
    assert Workers.found() == Workers(("gpu07:8888", "gpu07:8889", "gpu08:8888", "gpu08:8889"), 2)
    environment({"SLURM_STEP_NODELIST": "gpu[9-10]", "SLURMD_NODENAME": "gpu10"})
    assert Workers.found() == Workers(("gpu9:8888", "gpu9:8889", "gpu10:8888", "gpu10:8889"), 2)
    environment({"SLURMD_NODENAME": "gpu9"})
    with pytest.raises(UserError, match=r"task 2 runs on gpu9, .* gpu10:8888.*--distribution=block"):
        Workers.found()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, r"neither is set here.*launch --workers 2"),
        ({"TF_CONFIG": "{"}, r"TF_CONFIG is '\{', and cannot be understood.*Expected"),
        ({"TF_CONFIG": "[]"}, "cannot be understood|not one of"),
        (named(type="ps", index=0), "not one of the chief and the workers"),
        (named(type="worker", index=2), "not one of the chief and the workers"),
        (named(type="worker", index=-1), "not one of the chief and the workers"),
        (named(type="chief", index=0), "not one of the chief and the workers"),
        (named(), "not one of the chief and the workers"),
        ({"TF_CONFIG": ALONE.replace('"a:1"', '"a:1", "a:1"')}, "Two workers have one address"),
        ({"TF_CONFIG": ALONE.replace('"a:1"', '"a:1", "b"')}, "'b': not the address of a worker"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'},
            "two workers or more",
        ),
        ({**SLURM, "SLURM_STEP_NODELIST": "gpu[07"}, "SLURM's variables do not name the workers.*srun"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM's variables do not name the workers.*srun"),
    ],
)
def test_workers_that_are_not_to_be_found(variables, message, environment):
    environment(variables)
    with pytest.raises(UserError, match=message):
        Workers.found()


def test_the_command_line_tells_it(environment, tmp_path, capsys):
    environment({})
    wanted = ["--set", "runtime.strategy=multi_worker"]
    assert "neither is set here" in refusal(capsys, digits(tmp_path / "run", *wanted))
    environment(named(type="worker", index=1))
    assert "2 devices cannot share it" in refusal(
        capsys, digits(tmp_path / "run", *wanted, "--set", "data.global_batch_size=33")
    )
    assert not (tmp_path / "run").exists()


def meet(workers, statements, seconds=20.0):
    """What each of the workers says that meets the others: a message, or None."""
    said = {}

    def one(index):
        try:
            said[index] = Workers(workers, index).meet(statements[index], seconds)
        except UserError as error:
            said[index] = str(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in statements]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_workers_meet():
    same = {"config": "abc", "version": "1"}
    assert meet(addresses(3), {0: same, 1: same, 2: same}) == {0: None, 1: None, 2: None}


def test_workers_that_would_train_something_else_are_told():
    one, other = {"config": "abc", "version": "1"}, {"config": "abd", "version": "1"}
    said = meet(addresses(3), {0: one, 1: one, 2: other})
    assert len(set(said.values())) == 1
    assert "Worker 2" in said[0]
    assert "in config: worker 2 has abd, worker 0 has abc" in said[0]


def test_a_worker_that_does_not_come_is_named():
    here = addresses(3)
    said = meet(here, {0: {}, 1: {}}, seconds=1.0)
    assert f"Not all of the 3 workers came in time. Missing: worker 2 ({here[2]})" in said[0]
    assert said[1] == said[0]
    assert f"did not reach worker 0, the chief, at {here[0]}" in meet(here, {1: {}}, seconds=0.5)[1]


def test_a_worker_that_left_again_is_missing():
    here = addresses(3)
    said = {}
    chief = threading.Thread(target=lambda: said.update(meet(here, {0: {}}, seconds=3.0)))
    chief.start()
    host, port = here[0].split(":")
    come = None
    while come is None:
        with contextlib.suppress(OSError):
            come = socket.create_connection((host, int(port)), timeout=1)
    with come:  # worker 1 comes, and is gone before worker 2 is there
        come.sendall(b'{"worker": 1, "statement": {"the workers": "any"}}\n')
    said.update(meet(here, {2: {}}, seconds=3.0))
    chief.join()
    assert f"Missing: worker 1 ({here[1]})" in said[0]
    assert said[2] == said[0]


def test_strangers_do_not_disturb_a_meeting():
    here = addresses()
    host, port = here[0].split(":")

    def knock():
        for said in (
            b"",
            b"GET / HTTP/1.0\r\n\r\n",
            b"[1]\n",
            b'{"worker": 9, "statement": {}}\n',
            b'{"worker": []}\n',
        ):
            for _ in range(100):
                try:
                    with socket.create_connection((host, int(port)), timeout=1) as connection:
                        connection.sendall(said)
                    break
                except OSError:
                    time.sleep(0.05)

    said = {}
    chief = threading.Thread(target=lambda: said.update(meet(here, {0: {}})))
    chief.start()
    knock()
    said.update(meet(here, {1: {}}))
    chief.join()
    assert said == {0: None, 1: None}


def test_an_address_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as door:
        taken = f"127.0.0.1:{door.getsockname()[1]}"
        assert "cannot listen on port" in meet((taken, "127.0.0.1:1"), {0: {}})[0]


def test_a_run_goes_on_with_as_many_workers(environment):
    environment(named(type="worker", index=0))
    with pytest.raises(
        UserError, match=r"began with 3 workers and 3 devices in all\. Here are 2 workers and 2 devices"
    ):
        Runtime("multi_worker", 3, "float32", False, False, workers=3).start()
    section = configs.load(REPOSITORY / "configs/cifar10/static_dns.yaml", ["runtime.strategy=multi_worker"]).runtime
    runtime = Runtime.resolve(section)
    assert (runtime.devices, runtime.workers) == (2, 2)
    assert runtime.alone() == Runtime("none", 1, "float32", False, False)


# What `launch` does with its processes is tested with small programs in place of a train.py.


def fake(folder, code):
    """A train.py that runs some code; `index` is the number of the worker."""
    script = folder / "train.py"
    head = "import json, os, signal, sys, time; index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
    script.write_text(head + code)
    return str(script)


def test_launch_passes_on_what_workers_say(tmp_path, command, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,5,6")
    script = fake(
        tmp_path, "print(index, sys.argv[1:], os.environ['CUDA_VISIBLE_DEVICES'])\nprint('!', file=sys.stderr)"
    )
    code, out, err = command("launch", "--workers", "2", script, "--set", "seed=1", "--resume")
    assert code == 0
    asked = "['--set', 'seed=1', '--resume', '--set', 'runtime.strategy=multi_worker']"
    assert sorted(out.splitlines()) == [f"[0] 0 {asked} 3,4", f"[1] 1 {asked} 5,6"]
    assert err in ("[0] !\n", "[1] !\n")


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "Worker 1 was ended by SIGKILL, and so the others were ended too."),
        ("sys.exit(7)", 7, "Worker 1 ended with the code 7, and so"),
        ("print('a: wrong.', file=sys.stderr); sys.exit(2)", 2, "[1] a: wrong.\n"),
    ],
)
def test_launch_ends_all_workers_when_one_dies(ending, code, message, tmp_path, command):
    script = fake(tmp_path, f"if index: {ending}\ntime.sleep(60)")
    began = time.monotonic()
    found, _, err = command("launch", "--workers", "2", script)
    assert time.monotonic() - began < 30
    assert found == code
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_launch_passes_a_signal_on(tmp_path):
    ending = "lambda *_: (print('saved', flush=True), sys.exit(130))"
    script = fake(tmp_path, f"signal.signal(signal.SIGTERM, {ending})\nprint('here', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "neural_similarity", "launch", "--workers", "2", script],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sorted(process.stdout.readline() for _ in range(2)) == ["[0] here\n", "[1] here\n"]
    process.send_signal(signal.SIGTERM)
    assert sorted(process.communicate()[0].splitlines()) == ["[0] saved", "[1] saved"]
    assert process.returncode == 130


def test_launch_refuses_what_does_not_train(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert run_tool("launch", "--workers", "2", str(REPOSITORY / STATIC)) == 2
    assert "2 workers cannot share 3 GPUs equally" in capsys.readouterr().err
    assert run_tool("launch", "--workers", "1", str(REPOSITORY / STATIC)) == 2
    assert f"takes one process: python {REPOSITORY / STATIC}" in capsys.readouterr().err
    assert run_tool("launch", "--workers", "2", "README.md") == 2
    assert "not a train.py" in capsys.readouterr().err
    assert run_tool("launch", "--workers", "2", str(REPOSITORY / STATIC), "--eval-only") == 2
    assert "--eval-only --set runtime.strategy=multi_worker" in capsys.readouterr().err


# Trainings.


def launched(script, *arguments, workers=2):
    command = [sys.executable, "-m", "neural_similarity", "launch", "--workers", str(workers), script]
    return subprocess.Popen(
        [*command, *map(str, arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    """What a launch printed that ended well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def mirrored(config, *arguments):
    """Trains in one process with two replicas."""
    words = [sys.executable, "-c", MIRRORED, config, *map(str, arguments), "--set", "runtime.strategy=mirrored"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def assert_alike(folder, other):
    """The same training, to rounding."""
    rows, others = (without_times(read_rows(f / "metrics.jsonl")) for f in (folder, other))
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    losses, other_losses = ([row["loss"] for row in r if "loss" in row] for r in (rows, others))
    assert losses == pytest.approx(other_losses, rel=1e-4)
    last = Run(folder).checkpoints.steps()[-1]
    arrays, expected = (Run(f).checkpoints.load(last)[0] for f in (folder, other))
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 25 steps by two workers, and what was printed."""
    folder = tmp_path_factory.mktemp("workers") / "trained"
    return folder, finished(launched(STATIC, *digits(folder)))


def test_two_workers_are_one_machine_with_two_replicas(trained, tmp_path, capsys):
    folder, printed = trained
    assert all(line.startswith("[0] ") for line in printed.splitlines())  # the chief alone tells how it goes
    assert Run(folder).runtime == Runtime("multi_worker", 2, "float32", False, False, workers=2)
    assert Run(folder).result.workers == 2
    mirrored("configs/cifar10/static_dns.yaml", *digits(tmp_path / "mirrored"))
    assert_alike(folder, tmp_path / "mirrored")
    evaluation = ["--config", str(folder / "config.yaml"), "--run-dir", str(folder), "--eval-only"]
    assert run_main(evaluation) == 0  # in one process
    assert str(Run(folder).result.scores["test/accuracy"]) in capsys.readouterr().out


def rows_are_there(folder, process, count):
    """Waits until so many rows of metrics are there."""
    until = time.monotonic() + 120
    while len(read_rows(folder / "metrics.jsonl")) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def workers_of(process):
    """The processes that a launch has started."""
    return list(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))


def test_a_killed_worker_ends_the_run_and_it_resumes_to_the_same_bytes(trained, tmp_path):
    folder = tmp_path / "killed"
    often = ("--set", "checkpoint.every_minutes=0.001")
    process = launched(STATIC, *digits(folder, *often))
    rows_are_there(folder, process, 2)  # that is, the first evaluation
    os.kill(workers_of(process)[1], signal.SIGKILL)
    killed = time.monotonic()
    err = process.communicate(timeout=60)[1]
    assert time.monotonic() - killed < 30
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "Worker 1 was ended by SIGKILL" in err
    assert "--resume" in err
    assert Run(folder).checkpoints.steps()[-1] >= 1
    finished(launched(STATIC, *digits(folder, *often, "--resume")))
    assert_equal_runs(folder, trained[0])


@pytest.mark.slow
def test_two_workers_stop_at_the_same_step(trained, tmp_path):
    folder = tmp_path / "stopped"
    process = launched(STATIC, *digits(folder))
    rows_are_there(folder, process, 1)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert err.count("\n") == 1
    step = Run(folder).checkpoints.steps()[-1]
    assert f"Stopped after step {step}, and saved. Go on: python -m neural_similarity launch --workers 2" in err
    assert step in (10, 20)
    finished(launched(STATIC, *digits(folder, "--resume")))
    assert_equal_runs(folder, trained[0])


@pytest.mark.slow
@pytest.mark.parametrize("script", FAMILIES)
def test_every_family_trains_on_two_workers(script, tmp_path):
    config, settings = FAMILIES[script]
    words = ["--config", config, *(word for setting in settings for word in ("--set", setting))]
    finished(launched(script, *words, "--run-dir", tmp_path / "workers"))
    mirrored(config, *words, "--run-dir", tmp_path / "mirrored")
    assert_alike(tmp_path / "workers", tmp_path / "mirrored")


@pytest.fixture
def two_networks():
    """The names of two network namespaces, joined by a cable; and the addresses in them."""
    names, hosts = (f"nsl_{os.getpid()}_a", f"nsl_{os.getpid()}_b"), ("10.83.0.1", "10.83.0.2")

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=False).returncode == 0

    if not (shutil.which("ip") and all(ip("netns", "add", name) for name in names)):
        pytest.skip("this machine allows no network namespaces")
    try:
        ends = [f"e{os.getpid()}{name[-1]}" for name in names]
        assert ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, host, end in zip(names, hosts, ends, strict=True):
            assert ip("link", "set", end, "netns", name)
            assert ip("-n", name, "addr", "add", f"{host}/24", "dev", end)
            assert ip("-n", name, "link", "set", "lo", "up")
            assert ip("-n", name, "link", "set", end, "up")
        yield names, hosts, lambda: ip("-n", names[1], "link", "set", ends[1], "down")
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.mark.slow
def test_a_lost_network_ends_every_worker_in_one_message(two_networks, tmp_path):
    names, hosts, cut = two_networks
    folder = tmp_path / "run"
    settings = [*digits(folder), "--set", "runtime.strategy=multi_worker", "--set", "schedule.train_steps=2000"]
    workers = [f"{host}:5000" for host in hosts]
    processes = []
    for index, name in enumerate(names):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        words = ["ip", "netns", "exec", name, sys.executable, STATIC, *settings]
        variables = {**os.environ, "TF_CONFIG": json.dumps(task)}
        processes.append(
            subprocess.Popen(
                words, cwd=REPOSITORY, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        )
    rows_are_there(folder, processes[0], 2)
    assert cut()
    began = time.monotonic()
    for process in processes:
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert err.count("\n") == 1
        assert "cannot be reached any more" in err
        assert "--resume" in err
    assert time.monotonic() - began < 60
    assert Run(folder).checkpoints.load_newest()[1].step >= 10
