"""Short trainings of static DNS on the digits, by way of the command line."""

import signal

from commands import exit_code

from neural_similarity.families import main
from neural_similarity.training import loop


def run_main(arguments, default="configs/cifar10/static_dns.yaml"):
    """The exit code of the train.py whose default config is `default`."""
    return exit_code(lambda words: main(default, words), *arguments)


def digits(run_dir, *extra):
    """The arguments of a run of 25 steps on the digits, and of `extra` ones."""
    settings = ["data.name=digits", "data.augmentation=none", "model.widths=[2, 3, 4]", "data.global_batch_size=32"]
    settings += ["schedule.train_steps=25", "evaluation.every_steps=10", "schedule.warmup_steps=5"]
    return [*(word for s in settings for word in ("--set", s)), "--run-dir", str(run_dir), *extra]


def interrupt_at(step, monkeypatch, which=signal.SIGINT):
    """Sends the process a signal, Ctrl-C by default, in the middle of `step`, until the monkeypatch is undone."""
    batches = loop.batches

    def interrupted(batch, first, last):
        for number, made in enumerate(batches(batch, first, last), start=first + 1):
            if number == step:
                signal.raise_signal(which)
            yield made

    monkeypatch.setattr(loop, "batches", interrupted)


def refusal(capsys, arguments, **kwargs):
    """What a command says that refuses to train."""
    assert run_main(arguments, **kwargs) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err
