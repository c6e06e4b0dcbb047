"""What a train.py says to an option that it does not have: keys of the config are set with `--set`."""

import argparse
import shlex
from collections.abc import Sequence
from typing import NoReturn

from neural_similarity import config as configs
from neural_similarity.errors import UserError


def refuse(unknown: Sequence[str], options: argparse.Namespace, parser: argparse.ArgumentParser) -> NoReturn:
    """Ends a command line with words that its parser does not know.

    Where all of them are names of keys of the config, as in `--seed 1` or `--learning-rate=0.1`, the message says which
    `--set` does the same. Only what the config accepts is advised.

    Args:
        unknown: the words, in their order.
        options: what the parser made of the other words; `config` and `set` are looked at.
        parser: prints its usage and exits with 2 where the words are something else.

    Raises:
        UserError: with the advice; or the config itself is wrong.
    """
    settings = list(options.set)
    config = configs.load(options.config, settings)
    lines = []
    for name, values in _named(unknown):
        keys = configs.keys_called(name.lstrip("-").replace("-", "_"), config)
        if not keys:
            parser.error(f"unrecognized arguments: {shlex.join(unknown)}")
        lines.append(
            f"{name}: no option, but a key of the config. {_advice(keys, values, config, options.config, settings)}"
        )
    raise UserError("\n".join(lines))


def _named(words):
    """Yields (option, the words of its value): ("--seed", ["1"]) of `--seed 1` and of `--seed=1`."""
    names = [i for i, word in enumerate(words) if i == 0 or (word.startswith("-") and not word[1:2].isdecimal())]
    for i, end in zip(names, [*names[1:], len(words)], strict=True):
        name, equals, value = words[i].partition("=")
        yield name, [value] * bool(equals) + list(words[i + 1 : end])


def _advice(keys, values, config, file, settings):
    """The `--set` that an option stands for, which is then added to the `settings`; or what is wrong with its value."""
    accepted, problems = [], []
    for key in keys:
        if configs.takes_text(key, config):
            value = " ".join(values)  # a path with a blank, typed without quotes
        else:
            value = values[0] if len(values) == 1 else f"[{', '.join(values)}]" if values else "true"
        try:
            configs.load(file, [*settings, f"{key}={value}"])
            accepted.append(f"{key}={value}")
        except UserError as error:
            problems.append(str(error) if values else f"It needs a value: --set {key}=VALUE")
    settings += accepted[:1]
    return f"Next: {' or '.join(f'--set {shlex.quote(text)}' for text in accepted)}" if accepted else problems[0]
