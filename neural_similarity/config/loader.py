"""From a YAML file, `--set` and the environment to a checked config; every mistake ends in one `UserError`."""

import copy
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pydantic

from neural_similarity.config import messages, older
from neural_similarity.config.bregman import Bregman
from neural_similarity.config.experiment import Experiment, flattened
from neural_similarity.config.few_shot import FewShot
from neural_similarity.config.image_recognition import ImageRecognition
from neural_similarity.config.metric_learning import MetricLearning
from neural_similarity.config.paths import CONFIGS, REPOSITORY, experiment_files
from neural_similarity.config.yaml12 import cut, parse, shown_value
from neural_similarity.data.places import VARIABLE
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import read_at_most

_MOST_BYTES = 100_000  # in a config; those that are shipped have 2,000
SCHEMAS = {  # family → what its configs are checked against
    "image_recognition": ImageRecognition,
    "few_shot": FewShot,
    "metric_learning": MetricLearning,
    "bregman": Bregman,
}


def load(path: str | Path, overrides: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> Experiment:
    """Reads and checks a config.

    Args:
        path: YAML file, tried from the working folder and then from the repository's root. The `config.yaml` of a run
            folder may be of an earlier version (`config.older`).
        overrides: `section.key=value` texts of `--set`; later ones win. Of a key that takes texts, such as
            `data.root`, what follows the `=` is the value as it stands; all other values are YAML.
        environment: variables; `NEURAL_SIMILARITY_DATA`, the folder of the sets, replaces `data.root`, unless
            `overrides` set it or it is a set itself.

    Returns:
        The config: an instance of the schema of its family, a subclass of `Experiment`.

    Raises:
        UserError: with all problems of the file, one per line.
    """
    file = _find(path)
    if file is None:
        raise UserError(_not_found(path))
    place = _shown_path(file)
    document = _read(file, place)
    schema = _schema_of(document, place)
    sources = {}  # dotted path → who set it, where that was not the file
    for text in overrides:
        source = f"--set {cut(text)}"
        keys, value = _override(schema, text, source)
        _put(document, keys, value)
        sources[".".join(keys)] = source
    if environment.get(VARIABLE) and "data.root" not in sources and _has_set_under_root(document):
        _put(document, ("data", "root"), environment[VARIABLE])
        sources["data.root"] = VARIABLE
    try:
        return schema.model_validate(document)
    except pydantic.ValidationError as error:
        raise UserError(messages.report(schema, error, document, place, sources)) from None


def name_of(path: str | Path) -> str:
    """Returns a config's name: its path under configs/ without suffix, or `custom/<stem>` for a file elsewhere.

    Raises:
        UserError: the file's name has a character that cannot be printed. Results carry the name.
    """
    file = (_find(path) or Path(path)).resolve()
    if not file.stem.isprintable():
        raise UserError(f"{cut(str(path), 200)}: results carry this file's name, and it cannot be printed. Rename it.")
    if file.is_relative_to(CONFIGS):
        return file.relative_to(CONFIGS).with_suffix("").as_posix()
    return f"custom/{file.stem}"


def recipe_of(config: Experiment, name: str) -> str:
    """Returns `released` or `ours` if `config` has the recipe of the file that is called `name`, else `custom`."""
    if not (CONFIGS / f"{name}.yaml").is_file():
        return "custom"
    if load(CONFIGS / f"{name}.yaml", environment={}).config_hash() != config.config_hash():
        return "custom"
    return "released" if "released" in name.split("/") else "ours"


def run_folder(config: Experiment, name: str, runs: Path = REPOSITORY / "runs") -> Path:
    """Where a run of `config` lives: `runs/<name>/s<seed>-<hash>`, so that an edited config never meets an old run."""
    return runs / name / f"s{config.seed}-{config.run_hash()}"


def keys_called(name: str, config: Experiment) -> list[str]:
    """The dotted paths of a config's keys that have a name: `weight_decay` or `loss.weight_decay`.

    Only keys that the config itself has: a static network has two of the name `weight_decay`, a plain one has one.
    """
    return [path for path in flattened(config.to_dict()) if name in (path, path.partition(".")[2]) and path != "family"]


def takes_text(path: str, config: Experiment) -> bool:
    """Whether the key at a dotted path takes a text as it stands: `data.root` does, `loss.weight_decay` does not."""
    return "." in path and messages.holds_text(type(config), *path.split("."))


# Files


def _find(path):
    """The first of <working folder>/path and <repository>/path that exists, or None."""
    return next((file for file in (Path(path), REPOSITORY / path) if _is_there(file)), None)


def _is_there(file):
    """Whether there is something, perhaps behind a folder that may not be entered; to read it will say so."""
    try:
        os.stat(file)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _not_found(path):
    known = [file.relative_to(REPOSITORY).as_posix() for file in experiment_files()]
    path = Path(path)
    asked = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    hint = nearest(asked, sorted(known)) or " The shipped ones: ls configs/*/"
    return f"{cut(str(asked), 200)}: no such config, neither here nor from {REPOSITORY}.{hint}"


def _shown_path(file):
    """The path as the reader knows it: from the repository's root or the working folder if it is inside."""
    file = Path(os.path.abspath(file))
    folder = REPOSITORY if file.is_relative_to(REPOSITORY) else Path.cwd()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _read(file, place):
    try:
        if file.is_dir():
            inside = ", ".join(sorted(name for name in os.listdir(file) if name.endswith(".yaml"))) or "no .yaml file"
            raise UserError(f"{place}: a folder. Name a file in it: {inside}.")
        text = read_at_most(file, _MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text, from byte {error.start} on. Save it as UTF-8.") from None
    except ValueError as error:  # of `read_at_most`
        raise UserError(f"{place}: {error}, so it is no config. Start from a file in configs/.") from None
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror}). Check the path and its permissions.") from None
    document = copy.deepcopy(_parsed(text, place))
    if not isinstance(document, dict):
        raise UserError(
            f"{place}: a config is a mapping of sections, and this file holds {shown_value(document)}. "
            "Start from a file in configs/."
        )
    if (file.parent / "run.json").exists():
        return older.as_today(document)
    return document


@functools.lru_cache(maxsize=512)
def _parsed(text, place):
    """The document in a file. The tables read hundreds of files many times, and parsing one takes milliseconds."""
    return parse(text, place)


def _schema_of(document, place):
    """The schema of the family that a config names."""
    if "family" not in document and "rows" in document:
        raise UserError(
            f"{place}: the rows of a table, and no config. Next: python reproduce_tables.py --table {Path(place).stem}"
        )
    if "family" not in document:
        raise UserError(f"{place}: missing key `family` ({messages.one_of(SCHEMAS)}). It is a config's first line.")
    family = document["family"]
    if not isinstance(family, str) or family not in SCHEMAS:
        hint = nearest(family, SCHEMAS)
        raise UserError(f"{place}: `family` must be {messages.one_of(SCHEMAS)}; got {shown_value(family)}.{hint}")
    return SCHEMAS[family]


# Overrides


def _override(schema, text, source):
    """`optimizer.learning_rate=0.05` → (("optimizer", "learning_rate"), 0.05)."""
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals:
        raise UserError(f"{source}: expected `section.key=value`, as in `--set optimizer.learning_rate=0.05`.")
    keys = tuple(path.split("."))
    if path == "seed" or (len(keys) == 2 and messages.variants(schema, keys[0])):
        return keys, _value(schema, keys, value, source)
    if path == "family":
        raise UserError(f"{source}: a config keeps its family. Take another file with --config.")
    if messages.variants(schema, path):
        known = messages.listed(messages.keys_of(schema, path))
        raise UserError(f"{source}: `{path}` is a section. Known keys: {known}; set them one by one.")
    hint = messages.moved(path) or nearest(path, messages.paths_of(schema)) or messages.elsewhere(schema, keys[-1])
    known = messages.listed(messages.sections_of(schema))
    raise UserError(f"{source}: unknown key `{cut(path)}`.{hint} Known sections: {known}.")


def _value(schema, keys, text, source):
    """The value that a text means: the text itself where the key takes texts, elsewhere what it is in YAML."""
    if not text.isprintable():
        raise UserError(f"{source}: the value has a character that cannot be printed. Leave it out.")
    if len(keys) == 2 and messages.holds_text(schema, *keys):
        return text
    if "#" in text:
        raise UserError(f"{source}: `#` begins a comment, and a value on the command line has none. Leave it out.")
    return parse(text, source, lines=False)


def _put(document, keys, value):
    *section, key = keys
    target = document.setdefault(section[0], {}) if section else document
    if isinstance(target, dict):  # else the file is wrong there, and the check will say so
        target[key] = value


def _has_set_under_root(document):
    """Whether `data.root` is the folder of the sets; with `data.name: folder` it is one of them."""
    data = document.get("data")
    return isinstance(data, dict) and data.get("name") != "folder"
