"""The numbers of the papers' tables, as far as somebody has read them: `results/paper_values.yaml`."""

from typing import Annotated

import pydantic
import yaml

from neural_similarity.config import CONFIGS
from neural_similarity.errors import UserError, nearest
from neural_similarity.files import shown

_Percent = Annotated[float, pydantic.Field(strict=True, ge=0, le=100)]
_Values = pydantic.TypeAdapter(dict[str, _Percent])


def read_paper_values(path):
    """{config: percent} of a `paper_values.yaml`; {} where there is no such file.

    Raises:
        UserError: something else than percentages, or a config that is not shipped.
    """
    if not path.exists():
        return {}
    try:
        values = _Values.validate_python(yaml.safe_load(path.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError, pydantic.ValidationError):
        raise UserError(
            f"{shown(path)}: expected `config: test accuracy in percent` on each line, as `cifar10/static_dns: 12.34`, "
            "or `{}` for none."
        ) from None
    known = [file.relative_to(CONFIGS).with_suffix("").as_posix() for file in sorted(CONFIGS.rglob("*.yaml"))]
    for name in values:
        if name not in known:
            raise UserError(f"{shown(path)}: `{name}` is no config under configs/.{nearest(name, known)}")
    return values
