"""What the messages about a config say: which keys a schema knows, and its problems in words."""

import math
import re
from typing import get_args

import pydantic

from neural_similarity.config import older
from neural_similarity.config.fields import Section, in_32_bits
from neural_similarity.config.yaml12 import cut, shown_value
from neural_similarity.errors import nearest

_MOST_PROBLEMS = 10  # in one message
_MOST_IN_ONE_LINE = 3
_LOST = (0.0, 1.0, math.inf, -math.inf)  # what may stand for another number


# What a schema knows


def variants(schema, section):
    """The classes that a section can have: {value of its discriminator: class}.

    A section of one class gives {None: class}. What is no section gives {}.
    """
    field = schema.model_fields.get(section)
    annotation = field and field.annotation
    models = [m for m in get_args(annotation) or [annotation] if isinstance(m, type) and issubclass(m, Section)]
    if field and field.discriminator:
        return {name: m for m in models for name in get_args(m.model_fields[field.discriminator].annotation)}
    return dict.fromkeys([None], models[0]) if models else {}


def sections_of(schema):
    """The names of the sections, in no special order."""
    return [name for name in schema.model_fields if variants(schema, name)]


def keys_of(schema, section):
    """All keys that a section can have."""
    return {key for model in variants(schema, section).values() for key in model.model_fields}


def holds_text(schema, section, key):
    """Whether a key takes nothing but texts, in whatever variant of its section."""
    fields = [m.model_fields[key].annotation for m in variants(schema, section).values() if key in m.model_fields]
    return bool(fields) and all(a is str or set(map(type, get_args(a))) == {str} for a in fields)


def paths_of(schema):
    """The dotted paths of all keys that can be set, sorted."""
    return sorted(
        ["seed", *(f"{section}.{key}" for section in sections_of(schema) for key in keys_of(schema, section))]
    )


def listed(names):
    """Names in one line, sorted."""
    return ", ".join(sorted(names))


def one_of(names):
    """Values in words: "one of `a`, `b`"."""
    names = [f"`{name}`" for name in names]
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0]


def moved(path):
    """The hint for a key that an earlier version had there; "" where there is none."""
    return "".join(f" It is `{now}` now." for now, before in older.MOVED.items() if before == path)


def _renamed(path, value):
    """The hint for a value that an earlier version called so."""
    names = older.RENAMED.get(path, {})
    return "".join(
        f" It is called `{shown_value(now).strip(chr(34))}` now."
        for now, before in names.items()
        if before == value != now
    )


def _in_32_bits(value, kind):
    """The hint for numbers that `fields` refuses because of what they become; "" for all other values."""
    numbers = value if isinstance(value, list) else [value]
    numbers = [x for x in numbers if kind == "value_error" and type(x) in (int, float) and in_32_bits(x) in _LOST]
    became = ", ".join(f"{shown_value(x)} becomes {in_32_bits(x):g}" for x in numbers)
    return f" Networks compute in 32 bits: {became}." if became else ""


def elsewhere(schema, key, section=None):
    """The hint for a key that is right, but in another section than `section`; "" where there is none."""
    homes = [name for name in sections_of(schema) if name != section and key in keys_of(schema, name)]
    return f" Did you mean `{homes[0]}.{key}`?" if homes else ""


# Problems


def report(schema, error, document, place, sources):
    """The text of a pydantic error: one line per problem, each with where it comes from.

    Args:
        schema: the family's subclass of `Experiment`.
        error: what pydantic raised.
        document: what was checked.
        place: the file, as the reader knows it.
        sources: dotted path → who set the key, where that was not the file.
    """
    items = error.errors(include_url=False, include_input=False)
    problems = dict(_problem(schema, item["type"], list(item["loc"]), item.get("ctx", {}), document) for item in items)
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


def _problem(schema, kind, where, context, document):
    """(dotted path, message) of one problem; `where` leads from the file's root to it."""
    section, discriminator = (where[0] if where else ""), None
    if where:
        discriminator = getattr(schema.model_fields.get(section), "discriminator", None)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        where = [section, discriminator]
        kind = "missing" if kind == "union_tag_not_found" else kind
    elif discriminator and len(where) > 1:
        del where[1]  # which of the models it was: no level of the file
    if kind == "value_error" and len(where) < 2:  # a rule over several keys: the schema words it
        return ".".join(where), str(context["error"])
    if len(where) == 1:
        return section, _section_problem(schema, kind, section, document)
    key = where[1]
    path = f"{section}.{key}"
    models = variants(schema, section)
    condition = ""
    if key == discriminator:
        expected = one_of(models)
    else:
        choice = document[section][discriminator] if discriminator else None
        condition = f" with `{section}.{discriminator}: {choice}`" if discriminator else ""
        known = models[choice].model_fields
        if kind == "extra_forbidden":
            hint = moved(path) or nearest(key, known) or elsewhere(schema, key, section)
            return path, f"unknown key `{cut(path)}`.{hint} Known keys{condition}: {listed(known)}."
        expected = _expected(known[key])
    if kind == "missing" and len(where) == 2:  # deeper, a list is too short
        return path, f"missing key `{path}`{condition} ({expected})."
    value = document[section][key]
    hint = _renamed(path, value) or _in_32_bits(value, kind)
    return path, f"`{path}` must be {expected}; got {shown_value(value)}.{hint}"


def _section_problem(schema, kind, section, document):
    """The message about a whole section, or about a key that stands by itself, as `seed`."""
    if kind == "extra_forbidden":
        homes = dict.fromkeys(
            now.split(".")[0] for now, before in older.MOVED.items() if before.split(".")[0] == section
        )
        moved_to = " Its keys are in " + " and ".join(f"`{home}`" for home in homes) + " now." if homes else ""
        hint = moved_to or nearest(section, schema.model_fields) or elsewhere(schema, section)
        return f"unknown section `{cut(section)}`.{hint} Known sections: {listed(sections_of(schema))}."
    if not variants(schema, section):
        expected = _expected(schema.model_fields[section])
        if kind == "missing":
            return f"missing key `{section}` ({expected})."
        return f"`{section}` must be {expected}; got {shown_value(document[section])}."
    keys = listed(keys_of(schema, section))
    if kind == "missing":
        return f"missing section `{section}` ({keys})."
    return f"`{section}` must be a section with the keys {keys}; got {shown_value(document[section])}."


def _expected(field):
    """A field in words."""
    return field.description or one_of(get_args(field.annotation))


def validation_problems(error: pydantic.ValidationError) -> str:
    """What a `pydantic.ValidationError` says, in one line; of many problems the first few."""
    words = []
    for item in error.errors(include_url=False, include_input=False):
        names = (name for name in item["loc"] if "[" not in str(name))  # a type of pydantic's, as `list[str]`
        words.append(": ".join([*(f"`{name}`" for name in names), item["msg"]]))
    more = [f"and {len(words) - _MOST_IN_ONE_LINE} more"] if len(words) > _MOST_IN_ONE_LINE else []
    return "; ".join(words[:_MOST_IN_ONE_LINE] + more)
