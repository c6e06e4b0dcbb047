"""Shipped configs by name, and the two ways in which the tests of `config` load one."""

import pytest

from neural_similarity.config import REPOSITORY, load
from neural_similarity.errors import UserError

DYNAMIC = "configs/cifar10/dynamic_dns.yaml"
STATIC = "configs/cifar10/static_uns.yaml"
BASELINE = "configs/cifar10/baseline.yaml"
SPHERE = "configs/cifar10/sa_spherenet.yaml"
FOLDER = "configs/folder/dynamic_dns.yaml"
TEXT = (REPOSITORY / DYNAMIC).read_text()
SHIPPED = sorted(
    file.relative_to(REPOSITORY).as_posix()
    for name in ("cifar10", "cifar100", "folder")
    for file in (REPOSITORY / "configs" / name).rglob("*.yaml")
)


def settings(path, *overrides, environment=()):
    """The config, without looking at the environment of the tests."""
    return load(path, overrides, dict(environment))


def message(path, *overrides, environment=()):
    """The text of the refusal."""
    with pytest.raises(UserError) as caught:
        settings(path, *overrides, environment=environment)
    return str(caught.value)
