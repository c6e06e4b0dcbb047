"""The command line of every train.py."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from neural_similarity import config as configs
from neural_similarity.command import add_config_arguments, check_clone, guarded
from neural_similarity.data.places import typed_path
from neural_similarity.data.streams import Parser
from neural_similarity.errors import UserError
from neural_similarity.families.unknown_options import refuse


def main(default_config: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a train.py: reads the command line, trains or evaluates, and exits with a code of `command.guarded`.

    Args:
        default_config: the config that is trained without `--config`, from the repository's root. A train.py takes
            every config that belongs to the same folder as this one (`Experiment.owner`).
        arguments: instead of the command line's, for tests.
    """
    sys.exit(guarded(lambda: _main(default_config, arguments)))


def _main(default_config, arguments):
    started = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    if started.name == "train.py":  # elsewhere it is a notebook, or somebody's own program
        check_clone(started)
    own = configs.load(default_config, environment={}).owner()
    parser = _parser(own, default_config)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        refuse(unknown, options, parser)
    config = configs.load(options.config, options.set)
    if config.owner() != own:
        words = ["python", f"{config.owner()}/train.py", "--config", str(options.config)]
        words += [word for text in options.set for word in ("--set", text)]
        words += ["--run-dir", str(options.run_dir)] if options.run_dir else []
        words += [
            f"--{name.replace('_', '-')}" for name in ("resume", "eval_only", "dry_run") if getattr(options, name)
        ]
        command = shlex.join(words)
        raise UserError(f"{options.config}: a config of another experiment. From {configs.REPOSITORY}, run {command}")

    from neural_similarity.families import actions  # here, as TensorFlow takes seconds: a mistake is told before
    from neural_similarity.training.runs import Run

    name = configs.name_of(options.config)
    run = Run(options.run_dir or configs.run_folder(config, name))
    if options.dry_run:
        actions.dry_run(config, run)
    elif options.eval_only:
        actions.evaluate(config, run)
    else:
        result = actions.train(config, name, run, overrides=options.set, resume=options.resume)
        if result:  # the chief of several workers has it
            actions.say_result(result, run)


def _parser(owner, default_config):
    parser = Parser(prog=f"python {owner}/train.py")
    add_config_arguments(parser, default_config)
    parser.add_argument("--run-dir", type=typed_path, help="run folder (default: runs/<config's path>/s<seed>-<hash>)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--resume", action="store_true", help="go on with an unfinished run")
    action.add_argument("--eval-only", action="store_true", help="evaluate the run's newest checkpoint")
    action.add_argument("--dry-run", action="store_true", help="show what would be run, and whether the data are there")
    return parser
