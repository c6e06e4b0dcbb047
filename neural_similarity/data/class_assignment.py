"""Which classes of somebody's images are for training, for validation and for testing: by fractions or by a list."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from neural_similarity.data.class_folders import named, one_form
from neural_similarity.data.listing import unreadable
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import read_at_most

SPLITS = ("train", "validation", "test")
CLASS_SEED = 0  # of what is drawn from the classes, whatever the seed of a run, so that all seeds have the same splits
_MOST_BYTES = 1_000_000  # in a list; one of 10,000 names has some 200,000
_EXAMPLE = "`train: [cat, dog, …]`, `validation: […]` (may be left out) and `test: […]`"
_FRACTIONS = "--set 'data.class_splits=[0.64, 0.16, 0.2]'"


def assign_by_fractions(
    classes: Sequence[str], fractions: Sequence[float], seed: int, root: str | Path
) -> dict[str, list[str]]:
    """Assigns classes to the splits at random.

    The assignment depends on the names, the fractions and the seed alone: it is the same on every machine and with
    every version of the libraries.

    Args:
        classes: the names of the classes, in any order.
        fractions: the shares of train, validation and test. They add up to 1, and that of validation may be 0.
        seed: integer.
        root: the folder of the classes, for messages.

    Returns:
        `{split: names}`, the names sorted; without "validation" if its share is 0. Every split has one class at least.

    Raises:
        UserError: the fractions are not as above, or there are fewer classes than splits.
    """
    if not _are_shares(fractions):
        raise UserError(
            f"`data.class_splits` is {list(fractions)}; expected three fractions that add up to 1: the shares of the "
            f"classes for train, validation and test. Only the second may be 0. Next: {_FRACTIONS}"
        )
    shares = {split: share for split, share in zip(SPLITS, fractions, strict=True) if share}
    if len(classes) < len(shares):
        raise UserError(
            f"{root}: {len(classes)} folders of classes; expected at least {len(shares)}, one for each of "
            f"{', '.join(shares)}, as no class is in two of them. Next: add folders, each with the images of one class"
        )
    counts = dict.fromkeys(shares, 1)
    for _ in range(len(classes) - len(shares)):  # each further class goes where most are missing
        counts[max(shares, key=lambda split: shares[split] * len(classes) - counts[split])] += 1
    rest = iter(mixed(classes, seed))
    return {split: sorted(next(rest) for _ in range(count)) for split, count in counts.items()}


def mixed(classes: Sequence[str], seed: int) -> list[str]:
    """The classes in an order that looks random, and depends on their names and the seed alone, not on any library."""
    return sorted(classes, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def _are_shares(fractions):
    return (
        len(fractions) == 3
        and all(0 <= share <= 1 for share in fractions)
        and math.isclose(sum(fractions), 1, abs_tol=1e-6)
        and min(fractions[0], fractions[2]) > 0
    )


def assign_by_list(path: Path, classes: Sequence[str], root: str | Path) -> dict[str, list[str]]:
    """Reads from a file which classes the splits have.

    Args:
        path: JSON if its name ends in `.json`, else YAML: `{train: names, validation: names, test: names}`, where
            `validation` may be missing. All names are texts: `010` is the class `010`, and `no` is `no`.
        classes: the names of the classes that there are, in the Unicode form of `class_folders.one_form`.
        root: the folder of the classes, for messages.

    Returns:
        `{split: names}` in the order train, validation, test; the names are sorted.

    Raises:
        UserError: the file cannot be read, or is not as above; it names a class twice, or one that is not there.
    """
    lists = _read(path, root)
    if not isinstance(lists, dict):
        raise UserError(f"{path}: holds {_kind(lists)}; expected {_EXAMPLE}. Next: write it so")
    for key in lists:
        if key not in SPLITS:
            hint = " Did you mean `validation`?" if key.lower().startswith("val") else nearest(key, SPLITS)
            raise UserError(f"{path}: unknown key {named([key[:80]])}; expected {_EXAMPLE}.{hint} Next: rename it")
    for split in ("train", "test"):
        if split not in lists:
            raise UserError(f"{path}: the key `{split}` is missing; expected {_EXAMPLE}. Next: add it")
    seen = {}
    for split, names in lists.items():
        _check_names(path, split, names)
        for name in map(one_form, names):
            if name in seen:
                places = f"twice under `{split}`" if seen[name] == split else f"under `{seen[name]}` and `{split}`"
                raise UserError(
                    f"{path}: the class {named([name[:80]])} stands {places}; expected each class once in the whole "
                    "file. Next: delete one of the two"
                )
            seen[name] = split
    missing = sorted(name[:80] for name in seen.keys() - set(classes))
    if missing:
        hint = nearest(missing[0], set(classes) - seen.keys())
        raise UserError(
            f"{path}: names {named(missing)}, and {root} has no folder of that name.{hint} Next: correct the list, or "
            "add that folder"
        )
    return {split: sorted(map(one_form, lists[split])) for split in SPLITS if split in lists}


def _check_names(path, split, names):
    if not isinstance(names, list):
        raise UserError(
            f"{path}: `{split}` holds {_kind(names)}; expected a list of class names, as `{split}: [cat, dog]`. "
            "Next: write it so"
        )
    if not names:
        instead = ", or delete this key: validation may be left out" if split == "validation" else ""
        raise UserError(f"{path}: `{split}` names no class; expected at least one. Next: add names{instead}")
    for name in names:
        if not isinstance(name, str):
            raise UserError(
                f"{path}: `{split}` has {_kind(name)} where a class's name was expected. Next: write each name in "
                'quotes, as `["cat", "dog"]`'
            )


def _kind(value):
    """What a value is, without its content, which may be long."""
    if value is None or value == "":
        return "nothing"
    return {str: "a text", list: "a list", dict: "a mapping"}.get(type(value), f"`{value}`")


def _read(path, root):
    """The content of a list: mappings, lists and texts, and of JSON also true, false and null."""
    try:
        text = read_at_most(path, _MOST_BYTES).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            numbers = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), str)
            return json.loads(text, object_pairs_hook=_mapping, **numbers)
        return yaml.load(text, Loader=_Texts)
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such file; expected the list of each split's classes (a relative path begins in "
            f"{root}). Next: write one that holds {_EXAMPLE}, or {_FRACTIONS}"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 text from byte {error.start} on"
    except RecursionError:
        problem = "it is nested too deeply"
    except yaml.MarkedYAMLError as error:
        problem = f"line {error.problem_mark.line + 1}: {error.problem}"
    except yaml.reader.ReaderError as error:
        problem = f"{error.reason}, at character {error.position}"
    except (ValueError, OverflowError) as error:  # of `read_at_most` and of JSON; escapes that are no character
        problem = str(error)
    raise UserError(
        f"{path}: cannot be read as a list of classes ({problem}); expected YAML, or JSON in a file that ends in "
        f".json: {_EXAMPLE}. Next: correct it there"
    )


def _mapping(pairs):
    """A dictionary; a key that is given twice is refused, as only the last would count."""
    mapping = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key {named([key[:80]])} is there twice")
        mapping[key] = value
    return mapping


class _Texts(yaml.BaseLoader):
    """Reads every scalar as a text. It knows no tags, so that it makes nothing but dictionaries, lists and texts."""

    def construct_mapping(self, node, deep=False):
        """Refuses keys that are no texts, or are given twice."""
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", node.start_mark)
        try:
            _mapping([(key.value, value) for key, value in node.value])
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None
        return super().construct_mapping(node, deep)
