"""Description of the settings: name, variable, default, example, limits and text of each, and a comparison of settings.

Example files, errors and the log of a reload use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Secret, SecretStr
from pydantic.fields import FieldInfo

from rebalancer.environment import PREFIX
from rebalancer.settings.schema import LIVE, SEPARATOR, TABLES, Settings

__all__ = ["Setting", "changed", "describe", "value_of", "variable_name"]

_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}

_SHOWN_BOUND = 10**9
"""Larger bounds only protect a type; no user comes near them."""


@dataclass(frozen=True)
class Setting:
    """One setting, for people. `default` is as in TOML, empty for none; `name` is its path there.

    `limits` is a sentence with the accepted values, empty if the type alone sets them. A running keeper applies a
    change of a `live` setting when it reloads its settings.
    """

    name: str
    variable: str
    default: str
    example: str
    description: str
    limits: str
    secret: bool
    live: bool


def describe() -> tuple[Setting, ...]:
    """Every setting, in the order of the example files."""
    return tuple(_described(Settings, ()))


def changed(before: Settings, after: Settings) -> tuple[Setting, ...]:
    """The settings whose values differ between two objects."""
    return tuple(setting for setting in describe() if value_of(before, setting.name) != value_of(after, setting.name))


def value_of(settings: Settings, name: str) -> Any:
    """A setting's value by its name (`keeper.poll_seconds`). A secret value prints without its secret."""
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
            _limits(field),
            secret=_is_secret(field.annotation),
            live=marks == LIVE and path != ("wallet",),
        )


def _limits(field: FieldInfo) -> str:
    """The bounds or the choices of a setting as a sentence; bounds beyond `_SHOWN_BOUND` are left out."""
    if get_origin(field.annotation) is Literal:
        return f"One of {', '.join(get_args(field.annotation))}."
    bounds = [
        f"{words} {bound}"
        for part in field.metadata
        for name, words in _BOUNDS.items()
        if (bound := getattr(part, name, None)) is not None and bound < _SHOWN_BOUND
    ]
    return f"{', '.join(bounds).capitalize()}." if bounds else ""


def _is_secret(annotation: Any) -> bool:
    """Whether a type hides its value, or contains a type that does."""
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
