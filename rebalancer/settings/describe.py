"""Description of the settings: name, variable, default, example and text of each, and what differs between two settings objects.

Example files, errors and the log of a reload are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Secret, SecretStr

from rebalancer.environment import PREFIX
from rebalancer.settings.schema import LIVE, SEPARATOR, TABLES, Settings

__all__ = ["Setting", "changed", "describe", "value_of", "variable_name"]


@dataclass(frozen=True)
class Setting:
    """One setting, for people. `default` is as in TOML, empty for none; `name` is its path there.

    `live` says whether a running keeper takes a change over when it is told to read its settings again.
    """

    name: str
    variable: str
    default: str
    example: str
    description: str
    secret: bool
    live: bool = False


def describe() -> tuple[Setting, ...]:
    """Every setting there is, in the order of the example files."""
    return tuple(_described(Settings, ()))


def changed(before: Settings, after: Settings) -> tuple[Setting, ...]:
    """The settings in which two differ."""
    return tuple(
        setting
        for setting in describe()
        if value_of(before, setting.name) != value_of(after, setting.name)
    )


def value_of(settings: Settings, name: str) -> Any:
    """A setting's value by its name (`keeper.poll_seconds`). What is secret hides itself when it is written."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def variable_name(path: Sequence[str]) -> str:
    return PREFIX + SEPARATOR.join(path).upper()


def _described(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.default, BaseModel):
            yield from _described(type(field.default), here)
            continue
        marks = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if marks == TABLES:
            continue
        yield Setting(
            ".".join(here),
            variable_name(here),
            _toml_value(field.default),
            _toml_value((field.examples or [""])[0]),
            str(field.description),
            secret=_is_secret(field.annotation),
            live=marks == LIVE and path != ("wallet",),
        )


def _is_secret(annotation: Any) -> bool:
    """Whether a type is one that hides its value, or is made of one."""
    if isinstance(annotation, type) and issubclass(annotation, Secret | SecretStr):
        return True
    return any(_is_secret(part) for part in get_args(annotation))


def _toml_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Secret):
        value = value.get_secret_value()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
