"""Loading of the settings: command line, environment, `.env` and TOML file, in this order of precedence, parsed once.

Nothing else in the package reads settings from the environment. An error is one sentence that names the setting, its
source, and a valid example; it never shows a secret.

In the environment a setting is REBALANCER_ and its name, sections split by two underscores:
`keeper.poll_seconds` is REBALANCER_KEEPER__POLL_SECONDS. An empty variable counts as unset.
Relative paths are relative to the working directory.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import BaseModel, ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from rebalancer.environment import LOCK, is_setting
from rebalancer.errors import ConfigError
from rebalancer.files import MEGABYTE, Excess, read_text
from rebalancer.settings.describe import describe, variable_name
from rebalancer.settings.schema import ENV_ONLY, Settings

__all__ = ["load_chains", "load_settings"]

DEFAULT_FILE = Path("rebalancer.toml")

_SECTIONS = tuple(name for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel))
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class _Source:
    """Values from one source. `where` follows the name of a setting in a sentence."""

    where: str
    by_variable: bool
    values: Mapping[str, Any]

    def has(self, path: Sequence[str]) -> bool:
        found: Any = self.values
        for part in path:
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
        return True


def load_settings(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_file: Path = Path(".env"),
) -> Settings:
    """Read all sources and parse them, once.

    `file` is a TOML file that must exist; without it, `rebalancer.toml` is read if it exists. `overrides` are the
    command line's values by name (`keeper.poll_seconds`); None is not set. In a file of several chains, the command
    line's `chain_id` selects one.

    Raises:
        ConfigError: a setting is not valid, in one sentence.
    """
    found = load_chains(file, overrides, env_file)
    if len(found) > 1:
        ids = ", ".join(str(one.chain_id) for one in found)
        why = f"the file contains the chains {ids}; select one with --chain-id"
        raise ConfigError("chains", f"in {file or DEFAULT_FILE}", why)
    return found[0]


def load_chains(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_file: Path = Path(".env"),
) -> tuple[Settings, ...]:
    """The settings of every chain, in the file's order; one element if the file has no `[[chains]]`.

    A chain's table overrides everything but the command line, whose `chain_id` selects one chain. A chain without its
    own `outbox_file` gets the common name with its chain ID appended.

    Raises:
        ConfigError: a setting is not valid, in one sentence.
    """
    toml = _toml(file)
    values = dict(toml.values)
    tables = values.pop("chains", None)
    sources = [
        _Source("on the command line", False, _nested(overrides or {})),
        _environment(),
        _dotenv(env_file),
        _Source(toml.where, False, values),
    ]
    if tables is None:
        return (_parsed(sources),)
    if not (isinstance(tables, list) and tables and all(isinstance(one, dict) for one in tables)):
        raise ConfigError("chains", toml.where, "it must be tables: one [[chains]] for each chain")
    wanted = (overrides or {}).get("chain_id")
    found: dict[int, Settings] = {}
    for table in tables:
        if "chain_id" not in table:
            raise ConfigError("chains", toml.where, "each table needs a chain_id; for example 1")
        if wanted is not None and wanted != table["chain_id"]:
            continue
        here = f"under [[chains]] {toml.where}"
        _refuse_passwords(table, here)
        settings = _parsed([sources[0], _Source(here, False, table), *sources[1:]])
        if settings.chain_id in found:
            raise ConfigError("chains", toml.where, f"it contains chain {settings.chain_id} twice")
        if len(tables) > 1 and "outbox_file" not in table.get("keeper", {}):
            path = settings.keeper.outbox_file
            mine = path.with_name(f"{path.stem}-{settings.chain_id}{path.suffix}")
            keeper = settings.keeper.model_copy(update={"outbox_file": mine})
            settings = settings.model_copy(update={"keeper": keeper})
        found[settings.chain_id] = settings
    if not found:
        ids = ", ".join(str(table["chain_id"]) for table in tables)
        raise ConfigError("chain_id", "on the command line", f"the file contains only the chains {ids}")
    return tuple(found.values())


def _parsed(sources: Sequence[_Source]) -> Settings:
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        merged = _merge(merged, source.values)
    try:
        return Settings(**merged)
    except ValidationError as error:
        # Without a cause: pydantic's own text may contain a secret.
        raise _explained(error, sources) from None


def _environment() -> _Source:
    where = "in the environment"
    with LOCK:
        _refuse_unknown_variables(os.environ, where)
        return _Source(where, True, EnvSettingsSource(Settings)())


def _dotenv(path: Path) -> _Source:
    where = f"in {path}"
    if not path.is_file():
        return _Source(where, True, {})
    try:
        bindings = list(parse_stream(StringIO(read_text(path, MEGABYTE))))
    except Excess as excess:
        raise ConfigError(str(path), "", f"{excess}; correct or remove it") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "", "it cannot be read as text; correct or remove it") from None
    for binding in bindings:
        if binding.error:
            line = f"line {binding.original.line} is not NAME=value; correct or remove it"
            raise ConfigError(str(path), "", line)
    _refuse_unknown_variables([binding.key for binding in bindings if binding.key], where)
    found = DotEnvSettingsSource(Settings, env_file=path)()
    # A .env file may also hold variables of other programs.
    ours = {name: value for name, value in found.items() if name in Settings.model_fields}
    return _Source(where, True, ours)


def _toml(path: Path | None) -> _Source:
    requested = path is not None
    path = path or DEFAULT_FILE
    where = f"in {path}"
    try:
        values = tomllib.loads(read_text(path, MEGABYTE))
    except FileNotFoundError:
        if requested:
            raise ConfigError(str(path), "", "the file does not exist; name another") from None
        return _Source(where, False, {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "", f"it is not TOML: {error}; correct it") from None
    except Excess as excess:
        raise ConfigError(str(path), "", f"{excess}; correct or remove it") from None
    except RecursionError:
        raise ConfigError(str(path), "", "it is nested too deeply; correct or remove it") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "", "it cannot be read as text; correct or remove it") from None
    _refuse_passwords(values, where)
    return _Source(where, False, values)


def _refuse_passwords(values: Mapping[str, Any], where: str) -> None:
    for section, content in values.items():
        if not isinstance(content, dict):
            continue
        if ENV_ONLY in content:
            variable = variable_name((section, ENV_ONLY))
            why = f"this file must not contain a password; set {variable} instead"
            raise ConfigError(f"{section}.{ENV_ONLY}", where, why)
        accounts = content.get("extra_accounts", ())
        if isinstance(accounts, list) and any(isinstance(one, dict) and ENV_ONLY in one for one in accounts):
            why = "this file must not contain a password; set keystore_password_file instead"
            raise ConfigError(f"{section}.extra_accounts", where, why)


def _refuse_unknown_variables(names: Iterable[str], where: str) -> None:
    known = [setting.variable for setting in describe()]
    for name in names:
        if is_setting(name) and name.upper() not in known:
            raise ConfigError(name, where, _unknown(name.upper(), known))


def _explained(error: ValidationError, sources: Sequence[_Source]) -> ConfigError:
    """The first validation error, as a sentence."""
    wrong = error.errors(include_url=False, include_context=False)[0]
    path = [part for part in wrong["loc"] if isinstance(part, str)]
    settings = {setting.name: setting for setting in describe()}
    # Deeper parts of a location are pydantic's, such as the branch of a union.
    while len(path) > 2 or (len(path) == 2 and path[0] not in _SECTIONS):
        path.pop()
    source = next(source for source in sources if source.has(path))
    name = ".".join(path)
    if name == "keeper.extra_accounts":
        inner = [part for part in wrong["loc"] if isinstance(part, str)][2:]
        what = wrong["msg"].removeprefix("Value error, ").replace("Input should", "it must")
        return ConfigError(".".join((name, *inner)), source.where, what)
    if wrong["type"] == "extra_forbidden":
        return ConfigError(name, source.where, _unknown(name, [*settings, *_SECTIONS]))
    if name not in settings:
        return ConfigError(name, source.where, f"it must be a section: [{name}]")
    setting = settings[name]
    problem = wrong["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    value = "" if setting.secret else f"{_shown(wrong['input'])} is not valid: "
    shown_name = setting.variable if source.by_variable else name
    example = setting.example.strip("[]").replace('"', "") if source.by_variable else setting.example
    return ConfigError(shown_name, source.where, f"{value}{problem}; for example {example}")


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"the closest is {nearest[0]}" if nearest else f"the settings are {', '.join(known)}"
    return f"unknown setting; {hint}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(under, value) if both else value  # type: ignore[arg-type] # both are tables
    return merged
