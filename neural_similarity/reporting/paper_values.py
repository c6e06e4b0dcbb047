"""Reads `results/paper_values.yaml`: those published numbers that somebody has looked up, each with its source."""

from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from neural_similarity.config import CONFIGS, experiment_files
from neural_similarity.config.fields import Section, Text
from neural_similarity.config.yaml12 import parse
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import read_at_most, shown

_MOST_BYTES = 100_000


class PaperValue(Section):
    """A published number in percent, and where it was read, in words."""

    value: Annotated[float, Field(ge=0, le=100)]
    source: Annotated[Text, Field(min_length=1)]


_Values = pydantic.TypeAdapter(dict[str, PaperValue])


def read_paper_values(path: Path) -> dict[str, PaperValue]:
    """The published numbers by config; `{}` if there is no such file.

    Raises:
        UserError: the file holds something else, or names a config that is not in configs.
    """
    if not path.exists():
        return {}
    try:
        values = _Values.validate_python(parse(read_at_most(path, _MOST_BYTES).decode("utf-8"), shown(path)))
    except (UserError, ValueError):  # pydantic's errors are ValueErrors
        raise UserError(
            f"{shown(path)}: expected `config: {{value: percent, source: where it was read}}` on each line, as "
            '`cifar10/cnn9_128: {value: 12.34, source: "Table 5 of …"}`, or `{}` for none.'
        ) from None
    known = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in experiment_files()]
    for name in values:
        if name not in known:
            raise UserError(f"{shown(path)}: `{name}` is no config under configs/.{nearest(name, known)}")
    return values
