"""Addresses file of a chain: tokens, feeds, pools, contracts and vaults. A devnet or a deployment writes it, all
commands read it.

A frozen record with a JSON form. Addresses are lower case in memory and in the file. The file holds no secret:
`rpc_url` is set only for a local chain.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from rebalancer.errors import DeploymentMalformed, DeploymentMissing, TokenNotListed
from rebalancer.files import MEGABYTE, Excess, parse_json, read_text
from rebalancer.texts import LONGEST_SYMBOL, safe_json, safe_text
from rebalancer.venues import PoolRef, check_ref

__all__ = ["DeployedFeed", "DeployedToken", "Deployment", "Unfinished"]

_MOST_BYTES = 16 * MEGABYTE
"""Size limit of an addresses file: about 40,000 pools."""


@dataclass(frozen=True)
class DeployedToken:
    """An ERC-20."""

    symbol: str
    address: str
    decimals: int


@dataclass(frozen=True)
class DeployedFeed:
    """A price feed: its name on the tape ("ETH/USD") and the symbol of the token it prices.

    `aggregator` is that of the current phase on a devnet, where it can be written to; otherwise None. `description` is
    the feed's own, if an operator accepted it although it differs from the token's symbol and unit.
    """

    name: str
    token: str
    address: str
    decimals: int
    heartbeat_seconds: int
    aggregator: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """A launch in progress or interrupted: its deployer, its salt, and the contracts that are on the chain."""

    deployer: str
    salt: int
    block: int | None
    """The newest block before the launch's first transaction; None if unknown."""
    contracts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """All addresses of one chain.

    `uniswap` and `contracts` map a contract's name to its address; `contracts` has the system's contracts and, on a
    devnet, the market's. `vaults` are in order of creation. No event of the system is older than `block`; None if
    unknown. The contracts of an `unfinished` launch are in that field.
    """

    chain_id: int
    rpc_url: str | None = None
    tokens: tuple[DeployedToken, ...] = ()
    feeds: tuple[DeployedFeed, ...] = ()
    pools: tuple[PoolRef, ...] = ()
    uniswap: Mapping[str, str] = field(default_factory=dict)
    contracts: Mapping[str, str] = field(default_factory=dict)
    vaults: tuple[str, ...] = ()
    block: int | None = None
    unfinished: Unfinished | None = None

    @property
    def wrapped_native(self) -> str:
        """The token that wraps the native currency; empty if none is listed."""
        return self.uniswap.get("WETH9", "")

    def token(self, symbol_or_address: str) -> DeployedToken | None:
        """The token of that symbol or address, in any case, or None."""
        wanted = symbol_or_address.lower()
        for token in self.tokens:
            if wanted in (token.symbol.lower(), token.address):
                return token
        return None

    def listed(self, symbol_or_address: str) -> DeployedToken:
        """The token of that symbol or address, in any case.

        Raises:
            TokenNotListed: there is no such token.
        """
        token = self.token(symbol_or_address)
        if token is None:
            raise TokenNotListed(symbol_or_address, [known.symbol for known in self.tokens])
        return token

    def with_contracts(self, contracts: Mapping[str, str]) -> Self:
        """A copy with these contracts added; a contract of the same name is replaced."""
        lower = {name: address.lower() for name, address in contracts.items()}
        return replace(self, contracts={**self.contracts, **lower})

    def with_vault(self, address: str) -> Self:
        """A copy with one more vault at the end of the list."""
        others = tuple(vault for vault in self.vaults if vault != address.lower())
        return replace(self, vaults=(*others, address.lower()))

    def save(self, path: Path) -> None:
        """Write the file. It is replaced in one step, so a reader never sees a partial file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)  # a link too: otherwise its target would be written
        with draft.open("x") as file:
            file.write(json.dumps(asdict(self), indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())  # otherwise the file may be empty after a power failure
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            DeploymentMissing: there is no such file.
            DeploymentMalformed: it is not an addresses file.
        """
        try:
            raw = parse_json(read_text(path, _MOST_BYTES))
        except FileNotFoundError:
            raise DeploymentMissing(path) from None
        except Excess as excess:
            raise DeploymentMalformed(path, str(excess)) from None
        except OSError as problem:
            raise DeploymentMalformed(path, problem.strerror or str(problem)) from None
        except ValueError:
            raise DeploymentMalformed(path, "it is not JSON") from None
        try:
            return cls._from_json(safe_json(raw))
        except KeyError as missing:
            raise DeploymentMalformed(path, f"it lacks {missing}") from None
        except (TypeError, AttributeError, ValueError, OverflowError):
            raise DeploymentMalformed(path, "a field is of the wrong kind") from None

    @classmethod
    def _from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            int(raw["chain_id"]),
            raw.get("rpc_url"),
            tuple(
                DeployedToken(**{**token, "symbol": safe_text(token["symbol"], LONGEST_SYMBOL)})
                for token in raw["tokens"]
            ),
            tuple(DeployedFeed(**feed) for feed in raw["feeds"]),
            tuple(check_ref(PoolRef(**pool)) for pool in raw["pools"]),
            _addresses(raw["uniswap"]),
            _addresses(raw["contracts"]),
            tuple(address.lower() for address in raw.get("vaults", ())),
            None if raw.get("block") is None else int(raw["block"]),
            _unfinished(raw.get("unfinished")),
        )


def _unfinished(raw: Mapping[str, Any] | None) -> Unfinished | None:
    if raw is None:
        return None
    block = None if raw["block"] is None else int(raw["block"])
    return Unfinished(raw["deployer"].lower(), int(raw["salt"]), block, _addresses(raw["contracts"]))


def _addresses(raw: Mapping[str, Any]) -> dict[str, str]:
    return {name: address.lower() for name, address in raw.items()}
