"""A strict reader of YAML: the plain scalars of YAML 1.2, and nothing that a config does not need."""

import json
import re

import yaml

from neural_similarity.errors import UserError


def parse(text: str, place: str, lines: bool = True):
    """Text → dictionaries, lists and scalars.

    Args:
        text: YAML.
        place: what a message calls the text: a path, or a `--set`.
        lines: whether a message names the line.

    Raises:
        UserError: the text is no YAML, or has something that is refused: aliases, tags, keys that are given twice.
    """
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


def shown_value(value) -> str:
    """A value as YAML would write it, in one short line."""
    text = json.dumps(value, ensure_ascii=False)
    return cut(text if text.isprintable() else json.dumps(value))


def cut(text: str, longest: int = 80) -> str:
    """A text that the user wrote, in one short line."""
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return text if text.isprintable() else json.dumps(text)[1:-1]


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
                raise _refusal(f"a key has to be a name, not {shown_value(key)}", key_node)
            if key in lines:
                raise _refusal(f"the key `{cut(key)}` is there twice, first in line {lines[key]}", key_node)
            lines[key] = key_node.start_mark.line + 1
        # SafeLoader's own form would add the merge key `<<`.
        return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep)

    def refuse_tag(self, node):
        """Refuses `!!python/object` and all other tags but those of plain YAML."""
        raise _refusal(f"the tag {shown_value(node.tag)} is not allowed", node)


def _refusal(problem, where):
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)


def _scalar(name, pattern, first, convert):
    """Teaches `_Yaml` one kind of plain scalar."""

    def construct(loader, node):
        text = loader.construct_scalar(node)
        try:
            return convert(text)
        except (ValueError, KeyError):  # an explicit tag on something else, or more digits than Python takes
            raise _refusal(f"cannot read {shown_value(text)} as {name}", node) from None

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
