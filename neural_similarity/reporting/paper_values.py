"""Reads `results/paper_values.yaml`: those numbers of the papers' tables that somebody has looked up there."""

from pathlib import Path
from typing import Annotated

import pydantic
import yaml

from neural_similarity.config import CONFIGS
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import read_at_most, shown

_MOST_BYTES = 100_000
_Percent = Annotated[float, pydantic.Field(strict=True, ge=0, le=100)]
_Values = pydantic.TypeAdapter(dict[str, _Percent])


def read_paper_values(path: Path) -> dict[str, float]:
    """The published numbers in percent by config: `{"cifar10/static_dns": 12.34}`; `{}` if there is no such file.

    Raises:
        UserError: the file holds something else than percentages, or names a config that is not in configs.
    """
    if not path.exists():
        return {}
    try:
        values = _Values.validate_python(yaml.safe_load(read_at_most(path, _MOST_BYTES)))
    except (yaml.YAMLError, ValueError, RecursionError):  # pydantic's errors are ValueErrors
        raise UserError(
            f"{shown(path)}: expected `config: test accuracy in percent` on each line, as `cifar10/static_dns: 12.34`, "
            "or `{}` for none."
        ) from None
    known = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in sorted(CONFIGS.rglob("*.yaml"))]
    for name in values:
        if name not in known:
            raise UserError(f"{shown(path)}: `{name}` is no config under configs/.{nearest(name, known)}")
    return values
