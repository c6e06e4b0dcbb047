"""The runner that trains what a table lacks. The trainings are stand-ins, but for one at the end."""

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter

import pytest
from commands import exit_code

from neural_similarity.config import REPOSITORY
from neural_similarity.errors import UserError
from neural_similarity.reporting import reproduce, runner
from neural_similarity.reporting.plans import load_plan
from neural_similarity.reporting.record import read_results, record
from neural_similarity.reporting.runner import Runner, claimed, last_step

PLAN = """
title: A table
reproduces: nothing
scale: 1
precision: float32
seeds: [0, 1]
baselines: [Plain]
rows:
  - {method: Plain, config: cifar10/baseline}
  - {method: Static, config: cifar10/static_dns}
"""
ALL = ["Plain, seed 0", "Static, seed 0", "Plain, seed 1", "Static, seed 1"]
COPY = """
import shutil, sys, time
source, target, log = sys.argv[1:4]
open(log, "a").write(f"{target} {' '.join(sys.argv[4:])}\\n")
print("step 5 of a stand-in")
time.sleep(SECONDS)
shutil.copytree(source, target, dirs_exist_ok=True)
"""
FAIL = "print('out of luck'); raise SystemExit(3)"
UNTIL_STOPPED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(130)))
print("training", flush=True)
time.sleep(60)
"""


@pytest.fixture
def workshop(tmp_path, make_run, monkeypatch):
    """A runner whose trainings copy finished run folders; `started()` tells which, in their order."""
    (tmp_path / "mine.yaml").write_text(PLAN)
    log = tmp_path / "started"
    log.touch()
    finished = {}
    for config, method in (("cifar10/baseline", "Plain"), ("cifar10/static_dns", "Static")):
        for seed in (0, 1):
            finished[f"{method}, seed {seed}"] = make_run(f"{method}{seed}", {"config": config, "seed": seed})
    monkeypatch.setattr(runner, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.05)

    class Workshop:
        runs, results = tmp_path / "runs", tmp_path / "results"
        scripts = {}  # noqa: RUF012  str of a job → what it does instead of being copied
        seconds = 0
        source = finished

        def runner(self):
            return Runner(load_plan(str(tmp_path / "mine.yaml")), self.runs, self.results, None, [])

        def command(self, plan, job):
            script = self.scripts.get(str(job), COPY.replace("SECONDS", str(self.seconds)))
            return [sys.executable, "-c", script, str(finished[str(job)]), str(job.folder), str(log)]

        def started(self):
            by_folder = {str(job.folder): str(job) for job in self.all}
            lines = [line.partition(" ") for line in log.read_text().splitlines()]
            return [" ".join(filter(None, (by_folder[folder], words))) for folder, _, words in lines]

    made = Workshop()
    made.all = made.runner().missing()
    monkeypatch.setattr(runner, "command_of", made.command)
    return made


def test_what_is_missing_is_trained_and_recorded_once(workshop, capsys):
    assert list(map(str, workshop.all)) == ALL
    workshop.runner().work()
    assert workshop.started() == ALL
    assert {(r.config, r.seed) for r in read_results(workshop.results / "cifar10.jsonl")} == {
        (config, seed) for config in ("cifar10/baseline", "cifar10/static_dns") for seed in (0, 1)
    }
    said = capsys.readouterr().out
    assert "Plain, seed 1: begins. 2 of 4 runs are done; left: about " in said
    assert "  step 5 of a stand-in\n" in said
    assert workshop.runner().missing() == []
    workshop.runner().work()
    assert len(workshop.started()) == 4


def test_a_failed_run_does_not_stop_the_others_and_is_told(workshop, capsys):
    workshop.scripts["Static, seed 0"] = FAIL
    worker = workshop.runner()
    worker.work()
    assert worker.failures == {"Static, seed 0": ["out of luck", "Its process ended with code 3."]}
    assert workshop.started() == [name for name in ALL if name != "Static, seed 0"]
    del workshop.scripts["Static, seed 0"]
    workshop.runner().work()  # the next time it is tried again
    assert workshop.runner().missing() == []


def test_an_unfinished_run_goes_on_and_a_finished_one_is_only_recorded(workshop):
    first, second = workshop.all[:2]
    shutil.copytree(workshop.source[str(first)], first.folder)
    (first.folder / "result.json").unlink()
    shutil.copytree(workshop.source[str(second)], second.folder)
    workshop.runner().work()
    assert workshop.started() == [f"{ALL[0]} --resume", *ALL[2:]]
    assert workshop.runner().missing() == []


def test_a_killed_training_is_told_as_such(workshop):
    workshop.scripts["Static, seed 0"] = "import os; print('at work', flush=True); os.kill(os.getpid(), 9)"
    worker = workshop.runner()
    worker.work()
    assert worker.failures["Static, seed 0"] == [
        "at work",
        "Its process was killed by signal 9, perhaps as memory was short.",
    ]


def test_a_training_that_somebody_began_by_hand_is_waited_for(workshop):
    """It was reading its data when the runner looked, and so had not locked its folder yet."""
    job = workshop.all[0]
    workshop.scripts[ALL[0]] = FAIL
    held = {}

    def command(plan, wanted, make=runner.command_of):
        if wanted.folder == job.folder and not held:
            held["file"] = os.open(job.folder / "lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(held["file"], fcntl.LOCK_EX)
        return make(plan, wanted)

    def finish():
        while len(workshop.started()) < 3:
            time.sleep(0.05)
        shutil.copytree(workshop.source[ALL[0]], job.folder, dirs_exist_ok=True)
        os.close(held["file"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "command_of", command)
        other = threading.Thread(target=finish)
        other.start()
        worker = workshop.runner()
        worker.work()
        other.join()
    assert worker.failures == {}
    assert workshop.runner().missing() == []


def test_a_run_of_another_recipe_than_the_row_is_told_once(workshop):
    """Somebody changed the config while the table was trained."""
    workshop.source[ALL[0]] = workshop.source[ALL[1]]
    worker = workshop.runner()
    worker.work()
    assert list(worker.failures) == [ALL[0]]
    assert "has another recipe than the row" in worker.failures[ALL[0]][0]


def test_a_damaged_run_is_told_and_left_alone(workshop):
    folder = workshop.all[0].folder
    shutil.copytree(workshop.source[ALL[0]], folder)
    (folder / "result.json").write_text("{")
    worker = workshop.runner()
    worker.work()
    ((name, lines),) = worker.failures.items()
    assert name == ALL[0]
    assert "result.json: damaged" in lines[0]
    assert (folder / "result.json").read_text() == "{"


def test_two_runners_never_train_the_same_run(workshop):
    workshop.seconds = 0.3
    threads = [threading.Thread(target=workshop.runner().work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(workshop.started()) == Counter(ALL)
    assert len(read_results(workshop.results / "cifar10.jsonl")) == 4


@pytest.mark.parametrize("by", ["a runner", "a training whose runner was killed"])
def test_a_run_that_another_process_trains_is_waited_for(workshop, by, capsys):
    job = workshop.all[0]
    job.folder.mkdir(parents=True)
    name = "claim" if by == "a runner" else "lock"
    held = os.open(job.folder / name, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)

    def finish():
        while len(workshop.started()) < 3:
            time.sleep(0.05)
        time.sleep(0.3)
        shutil.copytree(workshop.source[ALL[0]], job.folder, dirs_exist_ok=True)
        os.close(held)

    other = threading.Thread(target=finish)
    other.start()
    workshop.runner().work()
    other.join()
    assert workshop.started() == ALL[1:]
    assert workshop.runner().missing() == []
    assert capsys.readouterr().out.count("another process trains it") == 1


def test_a_signal_stops_the_training_and_then_the_runner(workshop, capfd):
    workshop.scripts[ALL[0]] = UNTIL_STOPPED

    def stop():
        while "training" not in capfd.readouterr().out:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=stop)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        workshop.runner().work()
    other.join()
    assert workshop.started() == []
    with claimed(workshop.all[0].folder) as mine:
        assert mine


def test_lines_that_are_recorded_at_once_are_all_there(workshop, tmp_path):
    threads = [
        threading.Thread(target=record, args=(f, tmp_path / "r")) for f in workshop.source.values() for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_results(tmp_path / "r" / "cifar10.jsonl")) == 4


def test_the_last_step_is_read_from_the_metrics(tmp_path):
    assert last_step(tmp_path) == 0
    path = tmp_path / "metrics.jsonl"
    for text, step in (("", 0), ('{"step": 10}\n', 10), ('{"step": 10}\n{"step": 2', 10), ("\x00\n", 0), ("[]\n", 0)):
        path.write_text(text)
        assert last_step(tmp_path) == step
    path.write_text("".join(json.dumps({"step": n, "x": "y" * 100}) + "\n" for n in range(1, 200)))
    assert last_step(tmp_path) == 199


# The command


def test_the_list_of_the_tables(capsys):
    assert exit_code(reproduce.main) == 0
    out = capsys.readouterr().out
    assert "\nquickstart" in out
    assert "Neural similarity on CIFAR-10" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--table", "cifar1"], "Did you mean `cifar10`?"),
        (["--table", "cifar10", "--scale", "0"], "expected a number above 0, as 0.02; got '0'"),
        (["--table", "cifar10", "--scale", "1e-9"], "rounds to 0 steps"),
        (["--table", "cifar10", "--seeds", "x"], "invalid int value: 'x'"),
        (["--table", "cifar10", "--seeds", "-1"], "--seeds -1: expected different whole numbers from 0 on"),
        (["--table", "cifar10", "--seeds", "1", "1"], "--seeds 1 1: expected different whole numbers"),
        (["--scale", "0.02", "--dry-run"], "--scale goes with --table NAME"),
        (["--check", "--table", "cifar10"], "--check is about all tables"),
        (["--table", "quickstart", "--results", "README.md"], "README.md: a file, and a folder is wanted"),
        (["--table", "cifar10", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["--table", "quickstart", "--out", "configs"], "configs: a folder. Name a file with --out."),
        (["--tabel", "cifar10"], "unrecognized arguments: --tabel"),
    ],
)
def test_mistakes_are_told_in_one_message(words, said, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert exit_code(reproduce.main, *words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_missing_data_are_told_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NEURAL_SIMILARITY_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("neural_similarity.training.environment.environment", lambda: {"device": "Here"})
    words = ["--table", "cifar10", "--scale", "0.001", "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    assert exit_code(reproduce.main, *words) == 2
    captured = capsys.readouterr()
    assert "./dataset_setup.sh cifar10" in captured.err
    assert "To train: 36 of 36 runs: about " in captured.out
    assert "(Some of that was measured on another machine: CPU, " in captured.out
    assert "This one: Here.)" in captured.out
    assert not (tmp_path / "runs").exists()
    assert exit_code(reproduce.main, *words, "--dry-run") == 0
    assert "  Static DNS, seed 2 (cifar10/static_dns): 42 steps; about " in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_a_table_from_nothing(tmp_path, capfd):
    """Two real trainings on the digits, of which one fails; then the table in a file, and nothing to do."""
    changes = {
        "seeds: [0, 1]": "seeds: [5]",
        "scale: 1": "scale: 0.03",
        "cifar10/baseline": 'quickstart/baseline, set: ["model.widths=[2, 3, 4]"]',
        "cifar10/static_dns": "quickstart/sa_spherenet, set: [optimizer.learning_rate=1e38]",
    }
    text = PLAN
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "mine.yaml").write_text(text)
    words = ["--table", tmp_path / "mine.yaml", "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    assert exit_code(reproduce.main, *words, "--format", "csv", "--out", tmp_path / "table.csv") == 1
    out, err = capfd.readouterr()
    assert "Failed: Static, seed 5\n" in err
    assert "  Its process ended with code 2.\n" in err
    assert "Training stopped: " in err
    table = (tmp_path / "table.csv").read_text()
    assert table in out
    plain, static = table.splitlines()[1:]
    (line,) = read_results(tmp_path / "results" / "quickstart.jsonl")
    assert str(100 * line.scores["test/accuracy"].value) in plain
    assert line.steps == 10
    assert static.startswith("Static,")
    with pytest.raises(UserError, match="not finished"):
        record(next((tmp_path / "runs" / "quickstart" / "sa_spherenet").iterdir()), tmp_path / "results")
