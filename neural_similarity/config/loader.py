"""From a YAML file, `--set` and the environment to a checked `Config`; every mistake ends in one `UserError`."""

import json
import os
import re
from pathlib import Path
from typing import get_args

import pydantic
import yaml

from neural_similarity.config.paths import CONFIGS, REPOSITORY
from neural_similarity.config.schema import Config, Section
from neural_similarity.errors import UserError, nearest

DATA_VARIABLE = "NEURAL_SIMILARITY_DATA"
_MOST_PROBLEMS = 10  # in one message


def load(path, overrides=(), environment=os.environ):
    """Reads and checks a config.

    Args:
        path: YAML file, tried from the working folder and then from the repository's root.
        overrides: `section.key=value` texts of `--set`; later ones win. Their values are YAML.
        environment: variables; `NEURAL_SIMILARITY_DATA`, the folder of the sets, replaces `data.root`, unless
            `overrides` set it or it is a set itself.

    Returns:
        The `Config`.

    Raises:
        UserError: with all problems of the file, one per line.
    """
    file = _find(path)
    if file is None:
        raise UserError(_not_found(path))
    place = _shown_path(file)
    sections = _read(file, place)
    sources = {}  # dotted path → who set it, where that was not the file
    for text in overrides:
        source = f"--set {_cut(text)}"
        keys, value = _override(text, source)
        _put(sections, keys, value)
        sources[".".join(keys)] = source
    if environment.get(DATA_VARIABLE) and "data.root" not in sources and _has_set_under_root(sections):
        _put(sections, ("data", "root"), environment[DATA_VARIABLE])
        sources["data.root"] = DATA_VARIABLE
    try:
        return Config.model_validate(sections)
    except pydantic.ValidationError as error:
        raise UserError(_report(_problems(error, sections), place, sources)) from None


def name_of(path):
    """Returns a config's name: its path under configs/ without suffix, or `custom/<stem>` for a file elsewhere."""
    file = (_find(path) or Path(path)).resolve()
    if file.is_relative_to(CONFIGS):
        return file.relative_to(CONFIGS).with_suffix("").as_posix()
    return f"custom/{file.stem}"


def recipe_of(config, name):
    """Returns `released` or `ours` if `config` has the recipe of the file that is called `name`, else `custom`."""
    if not (CONFIGS / f"{name}.yaml").is_file():
        return "custom"
    if load(CONFIGS / f"{name}.yaml", environment={}).config_hash() != config.config_hash():
        return "custom"
    return "released" if "released" in name.split("/") else "ours"


def run_folder(config, name):
    """Where a run of `config` lives: `runs/<name>/s<seed>-<hash>`, so that an edited config never meets an old run."""
    return REPOSITORY / "runs" / name / f"s{config.seed}-{config.run_hash()}"


# Files


def _find(path):
    """The first of <working folder>/path and <repository>/path that exists, or None."""
    return next((file for file in (Path(path), REPOSITORY / path) if os.path.exists(file)), None)


def _not_found(path):
    known = [file.relative_to(REPOSITORY).as_posix() for file in CONFIGS.rglob("*.yaml")]
    path = Path(path)
    asked = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
    hint = nearest(asked, sorted(known)) or " The shipped ones: ls configs/*/"
    return f"{_cut(str(asked), 200)}: no such config, neither here nor from {REPOSITORY}.{hint}"


def _shown_path(file):
    """The path as the reader knows it: from the repository's root or the working folder if it is inside."""
    file = Path(os.path.abspath(file))
    folder = REPOSITORY if file.is_relative_to(REPOSITORY) else Path.cwd()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _read(file, place):
    try:
        text = file.read_bytes().decode("utf-8")
    except IsADirectoryError:
        inside = ", ".join(sorted(entry.name for entry in file.glob("*.yaml"))) or "no .yaml file"
        raise UserError(f"{place}: a folder. Name a file in it: {inside}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text, from byte {error.start} on. Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror}). Check the path and its permissions.") from None
    sections = _parse(text, place)
    if not isinstance(sections, dict):
        raise UserError(
            f"{place}: a config is a mapping of sections ({', '.join(Config.model_fields)}); "
            f"this file holds {_shown(sections)}. Start from a file in configs/."
        )
    return sections


# YAML


class _Yaml(yaml.SafeLoader):
    """YAML 1.2's plain scalars, so that `5e-4` is a number; no aliases, tags, dates, duplicate or non-text keys."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 – PyYAML's registries; empty ones keep those of YAML 1.1 out
    yaml_constructors = {}  # noqa: RUF012

    def compose_node(self, parent, index):
        """Refuses aliases: a config is read top to bottom, and a few of them can expand without bound."""
        if self.check_event(yaml.AliasEvent):
            raise _refusal("aliases are not allowed, write the value out", self.peek_event())
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        """Refuses keys that are given twice or are no plain names."""
        lines = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or not key.isprintable():
                raise _refusal(f"a key has to be a name, not {_shown(key)}", key_node)
            if key in lines:
                raise _refusal(f"the key `{_cut(key)}` is there twice, first in line {lines[key]}", key_node)
            lines[key] = key_node.start_mark.line + 1
        # Past SafeLoader's own form, whose addition is the merge key `<<`.
        return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep)

    def refuse_tag(self, node):
        """Refuses `!!python/object` and all other tags but those of plain YAML."""
        raise _refusal(f"the tag {_shown(node.tag)} is not allowed", node)


def _refusal(problem, where):
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)


def _scalar(name, pattern, first, convert):
    """Teaches `_Yaml` one kind of plain scalar."""

    def construct(loader, node):
        text = loader.construct_scalar(node)
        try:
            return convert(text)
        except (ValueError, KeyError):  # an explicit tag on something else, or more digits than Python takes
            raise _refusal(f"cannot read {_shown(text)} as {name}", node) from None

    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first)
    _Yaml.add_constructor(f"tag:yaml.org,2002:{name}", construct)


_DIGITS = list("-+0123456789")
_BOOLEANS = {text: value for value in (True, False) for text in (str(value), str(value).lower(), str(value).upper())}
_scalar("null", "~|null|Null|NULL|", ["~", "n", "N", ""], lambda text: None)
_scalar("bool", "|".join(_BOOLEANS), list("tTfF"), _BOOLEANS.__getitem__)
_scalar("int", r"[-+]?[0-9]+", _DIGITS, int)
_scalar(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    [*_DIGITS, "."],
    lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower())),
)
_Yaml.add_constructor(None, _Yaml.refuse_tag)
_Yaml.add_constructor("tag:yaml.org,2002:str", yaml.SafeLoader.construct_yaml_str)
_Yaml.add_constructor("tag:yaml.org,2002:seq", yaml.SafeLoader.construct_yaml_seq)
_Yaml.add_constructor("tag:yaml.org,2002:map", yaml.SafeLoader.construct_yaml_map)


def _parse(text, place, lines=True):
    """Text → dictionaries, lists and scalars; `lines`: whether a message names the line."""
    try:
        return yaml.load(text, Loader=_Yaml)
    except yaml.MarkedYAMLError as error:
        place += f", line {error.problem_mark.line + 1}" if lines else ""
        problem = error.problem
    except RecursionError:
        problem = "nested too deeply"
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: escapes that are no character
        problem = getattr(error, "reason", str(error))
    raise UserError(f"{place}: not readable as YAML: {problem}.")


# Overrides


def _override(text, source):
    """`optimizer.learning_rate=0.05` → (("optimizer", "learning_rate"), 0.05)."""
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals:
        raise UserError(f"{source}: expected `section.key=value`, as in `--set optimizer.learning_rate=0.05`.")
    keys = tuple(path.split("."))
    if path == "seed" or (len(keys) == 2 and _variants(keys[0])):
        return keys, _parse(value, source, lines=False)
    if _variants(path):
        raise UserError(f"{source}: `{path}` is a section. Known keys: {_listed(_keys(path))}; set them one by one.")
    raise UserError(
        f"{source}: unknown key `{_cut(path)}`.{nearest(path, _paths()) or _elsewhere(keys[-1])} "
        f"Known sections: {_listed(_sections())}."
    )


def _put(sections, keys, value):
    *section, key = keys
    target = sections.setdefault(section[0], {}) if section else sections
    if isinstance(target, dict):  # else the file is wrong there, and the check will say so
        target[key] = value


def _has_set_under_root(sections):
    """Whether `data.root` is the folder of the sets; with `data.name: folder` it is one of them."""
    data = sections.get("data")
    return isinstance(data, dict) and data.get("name") != "folder"


# What the schema knows


def _variants(section):
    """The models of a section by the value that tells them apart, or by None if there is one; {} for no section."""
    field = Config.model_fields.get(section)
    annotation = field and field.annotation
    models = [m for m in get_args(annotation) or [annotation] if isinstance(m, type) and issubclass(m, Section)]
    if field and field.discriminator:
        return {name: m for m in models for name in get_args(m.model_fields[field.discriminator].annotation)}
    return dict.fromkeys([None], models[0]) if models else {}


def _sections():
    return [name for name in Config.model_fields if _variants(name)]


def _keys(section):
    """All keys that a section can have."""
    return {key for model in _variants(section).values() for key in model.model_fields}


def _paths():
    return sorted(["seed", *(f"{section}.{key}" for section in _sections() for key in _keys(section))])


def _elsewhere(key, section=None):
    """The hint for a key that is right, but in another section than `section`."""
    homes = [name for name in _sections() if name != section and key in _keys(name)]
    return f" Did you mean `{homes[0]}.{key}`?" if homes else ""


def _expected(field):
    """A field in words."""
    return field.description or _one_of(get_args(field.annotation))


def _one_of(names):
    names = [f"`{name}`" for name in names]
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0]


# Messages


def _report(problems, place, sources):
    """One line per problem, each with where it comes from."""
    lines = []
    for path, problem in problems.items():
        # A problem of several keys names them; those that the file did not set are told beside it.
        named = set(re.findall(r"`([\w.]+)", problem))
        beside = [source for key, source in sources.items() if {key, key.partition(".")[0]} & named]
        where = f"{place} with {', '.join(beside)}" if beside else place
        lines.append(f"{sources.get(path, where)}: {problem}")
    if len(lines) > _MOST_PROBLEMS:
        lines[_MOST_PROBLEMS:] = [f"… and {len(lines) - _MOST_PROBLEMS} more."]
    return "\n".join(lines)


def _problems(error, sections):
    """pydantic's errors → {dotted path: our message}, one per path."""
    items = error.errors(include_url=False, include_input=False)
    return dict(_problem(item["type"], list(item["loc"]), item.get("ctx", {}), sections) for item in items)


def _problem(kind, where, context, sections):
    """(path, message) of one error; `where` leads from the file's root to it."""
    if kind == "value_error" and len(where) < 2:  # a rule over several keys: the schema words it
        return ".".join(where), str(context["error"])
    section, discriminator = where[0], getattr(Config.model_fields.get(where[0]), "discriminator", None)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        where = [section, discriminator]
        kind = "missing" if kind == "union_tag_not_found" else kind
    elif discriminator and len(where) > 1:
        del where[1]  # which of the models it was: no level of the file
    if len(where) == 1:
        return section, _section_problem(kind, section, sections)
    key = where[1]
    path = f"{section}.{key}"
    variants = _variants(section)
    condition = ""
    if key == discriminator:
        expected = _one_of(variants)
    else:
        choice = sections[section][discriminator] if discriminator else None
        condition = f" with `{section}.{discriminator}: {choice}`" if discriminator else ""
        known = variants[choice].model_fields
        if kind == "extra_forbidden":
            hint = nearest(key, known) or _elsewhere(key, section)
            return path, f"unknown key `{_cut(path)}`.{hint} Known keys{condition}: {_listed(known)}."
        expected = _expected(known[key])
    if kind == "missing" and len(where) == 2:  # deeper, a list is too short
        return path, f"missing key `{path}`{condition} ({expected})."
    return path, f"`{path}` must be {expected}; got {_shown(sections[section][key])}."


def _section_problem(kind, section, sections):
    if kind == "extra_forbidden":
        hint = nearest(section, Config.model_fields) or _elsewhere(section)
        return f"unknown section `{_cut(section)}`.{hint} Known sections: {_listed(_sections())}."
    if section == "seed":
        expected = _expected(Config.model_fields["seed"])
        if kind == "missing":
            return f"missing key `seed` ({expected})."
        return f"`seed` must be {expected}; got {_shown(sections['seed'])}."
    if kind == "missing":
        return f"missing section `{section}` ({_listed(_keys(section))})."
    return f"`{section}` must be a section with the keys {_listed(_keys(section))}; got {_shown(sections[section])}."


def _listed(names):
    return ", ".join(sorted(names))


def _shown(value):
    """A value as YAML would write it, in one short line."""
    text = json.dumps(value, ensure_ascii=False)
    return _cut(text if text.isprintable() else json.dumps(value))


def _cut(text, longest=80):
    """A text that the user wrote, in one short line."""
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return text if text.isprintable() else json.dumps(text)[1:-1]
