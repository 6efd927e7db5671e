"""Example files of the settings: the texts of rebalancer.example.toml and .env.example, made from the schema.

`python -m rebalancer.settings.examples` writes both files into the working directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import wrap

from rebalancer.settings.describe import Setting, describe
from rebalancer.settings.schema import ENV_ONLY, Settings

__all__ = ["EXAMPLES", "example_env", "example_toml"]

_COLUMNS = 118

_TOML_HEADER = """\
# Settings of rebalancer. Copy this file to rebalancer.toml and remove the # before each setting that you change. The
# values are the defaults, or examples where there is no default. The environment and .env override this file; the
# command line overrides all of them. A running keeper applies the settings marked (live) when it receives SIGHUP;
# the others apply at the next start.
"""

_EXTRA_ACCOUNTS = """
# Additional sending accounts, each with its own nonces, so that a pending transaction of one account does not delay the
# others. Each table takes the settings of [wallet]. Each account needs the keeper role, and a password file if it has
# a keystore.
#
# [[keeper.extra_accounts]]
# keystore = "keys/second.json"
# keystore_password_file = "/run/secrets/second-password"
"""

_CHAINS = """
# Several chains in one keeper: one table for each chain, with the settings that differ from those above. Each chain has
# its own journal. For a command that works on one chain, --chain-id selects the chain.
#
# [[chains]]
# chain_id = 1
# rpc_url = "https://node.example"
# deployment = "mainnet.json"
#
# [[chains]]
# chain_id = 10
# rpc_url = "https://optimism.example"
# deployment = "optimism.json"
# keeper = { max_fee_gwei = 1, bump_after_blocks = 10, confirmations = "safe" }
"""

_ENV_HEADER = """\
# Settings of rebalancer as environment variables. Copy this file to .env and remove the # before each variable that you
# set. Passwords belong here or in the environment, all else in rebalancer.toml; rebalancer.example.toml describes each.
"""


def example_toml() -> str:
    """The text of rebalancer.example.toml."""
    return _TOML_HEADER + "".join(_toml()) + _CHAINS


def example_env() -> str:
    """The text of .env.example."""
    sections = (
        "".join(f"#{one.variable}={_plain(_value(one))}\n" for one in settings)
        for _, settings in groupby(describe(), _section)
    )
    return _ENV_HEADER + "\n".join(sections)


EXAMPLES = {"rebalancer.example.toml": example_toml, ".env.example": example_env}
"""Each example file by its name, with the function that makes its text."""


def _toml() -> Iterator[str]:
    for section, settings in groupby(describe(), _section):
        if section:
            yield f"\n[{section}]  # {Settings.model_fields[section].description}\n"
        for one in settings:
            name = one.name.rpartition(".")[2]
            if name != ENV_ONLY:
                mark = " (live)" if one.live else ""
                text = " ".join(part for part in (one.description, one.limits) if part)
                yield "\n" + "".join(f"# {line}\n" for line in wrap(text + mark, _COLUMNS))
                yield f"#{name} = {_value(one)}\n"
        if section == "keeper":
            yield _EXTRA_ACCOUNTS


def _section(setting: Setting) -> str:
    return setting.name.rpartition(".")[0]


def _value(setting: Setting) -> str:
    """The default, or the example if there is no default; nothing for a password."""
    if setting.name.endswith(ENV_ONLY):
        return ""
    return setting.default if setting.default.strip('[]"') else setting.example


def _plain(toml: str) -> str:
    """A value of TOML as a variable holds it: without quotes, a list separated by commas."""
    return toml.strip("[]").replace('"', "").replace(", ", ",")


if __name__ == "__main__":
    for name, text in EXAMPLES.items():
        Path(name).write_text(text())
