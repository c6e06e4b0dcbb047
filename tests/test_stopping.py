"""Signals that stop a training, and those that do not."""

import signal
import threading

import pytest
from digits_runs import digits, interrupt_at, run_main
from run_checks import assert_equal_runs

from neural_similarity.families import image_recognition
from neural_similarity.training.runs import Run
from neural_similarity.training.stopping import StopAsked

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    """What a terminal gives a program, also where the tests run under `nohup`; puts back what a test changes."""
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_its_handler_comes_back(number):
    before = signal.getsignal(number)
    with StopAsked() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert signal.getsignal(number) == before


def test_a_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopAsked():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_others_may_come_twice(number):
    with StopAsked() as asked:
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert asked()


@pytest.mark.parametrize("number", ALL)
def test_an_ignored_signal_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with StopAsked() as asked:
        signal.raise_signal(number)
        assert not asked()
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGHUP])
def test_a_stopped_run_names_the_command_that_goes_on(number, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "a run"
    interrupt_at(3, monkeypatch, number)
    assert run_main(digits(folder)) == 130
    assert capsys.readouterr().err == f"Stopped after step 3, and saved. Go on: {Run(folder).resume_command()}\n"
    assert Run(folder).checkpoints.steps() == [0, 3]


def test_before_a_run_was_begun_nothing_is_advised(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_recognition, "load_data", lambda config: signal.raise_signal(signal.SIGINT))
    assert run_main(digits(tmp_path / "run")) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_thread_trains_as_the_main_one_does(finished_run, tmp_path):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run_main(digits(tmp_path / "run"))))
    thread.start()
    thread.join()
    assert codes == [0]
    assert_equal_runs(tmp_path / "run", finished_run)
