"""Lido's wstETH as a pool: guaranteed results of wrapping stETH and unwrapping, at the rate of a block.

One wstETH is one share of stETH. The value of a share is pooled ether divided by shares; an oracle changes it once a
day, and trades do not. A transfer of stETH moves whole shares: the amount is converted to shares, rounded down, so a
wei or two stay behind. Quotes include every transfer that a hop of the executor needs, each with both roundings
(getSharesByPooledEth, getPooledEthByShares):

    wrap      to the executor, which wraps the balance that arrived
    unwrap    the amount that unwrap returns to the executor, and then its balance to the caller

A quote is the amount that arrives if the executor and the caller held no stETH before, and the executor's whole input
is used. If a hop names its amount, it wraps the shares that arrived, which may be worth one wei more; existing dust of
stETH can have the same effect. The result is never less.

The rate uses the ether and shares of Lido itself, without those minted for external vaults (Lido V3), as in stETH; the
reader checks it against the getters. The maximum unwrap is the wrapped amount, and the maximum wrap the unwrapped
amount; both are 0 while stETH is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.units import E18
from rebalancer.venues.erc4626 import WrapPool
from rebalancer.venues.fields import Snapshot, pool_of, tokens_of
from rebalancer.venues.model import MAX_AMOUNT_RAW, PoolRef, Token, address_key, refs_of
from rebalancer.venues.reading import (
    PROBE_PARTS,
    At,
    Reading,
    Venue,
    answered,
    each,
    interface_of,
    results_of,
    tokens_read,
)

__all__ = ["VENUE", "WstETHPool", "wsteth_hop"]

_NUMBER = 9
"""Venue number in RouteExecutor."""

_WSTETH = interface_of(
    "Lido's wstETH",
    (
        "stETH() -> address",
        "totalSupply() -> uint256",
        "stEthPerToken() -> uint256",
        "tokensPerStEth() -> uint256",
        "getWstETHByStETH(uint256) -> uint256",
        "getStETHByWstETH(uint256) -> uint256",
    ),
)

_STETH = interface_of(
    "Lido's stETH",
    (
        "getTotalPooledEther() -> uint256",
        "getTotalShares() -> uint256",
        "sharesOf(address) -> uint256",
        "isStopped() -> bool",
        "getExternalEther() -> uint256",
        "getExternalShares() -> uint256",
    ),
)


def wsteth_hop(wsteth: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool = False) -> Hop:
    """A wrap of stETH, or an unwrap if `token_in` is wstETH. Body: wstETH (20)."""
    flags = to_caller_flag(to_caller)
    return Hop(_NUMBER, amount_raw, token_in, token_out, address_bytes(wsteth), flags)


@dataclass(frozen=True)
class WstETHPool(WrapPool):
    """One state of wstETH; implements `PoolState`. `tokens` are stETH and wstETH.

    A share is worth `pooled` / `shares`. `loose` are all shares outside wstETH, including those of external vaults.
    `wrapped` is wstETH's supply.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "wstETH"
    VENUE_NAME: ClassVar[str] = "wsteth"
    KEYS: ClassVar[Mapping[str, str]] = {"loose": "loose_shares"}
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"pooled", "shares", "loose", "wrapped", "is_stopped"})

    address: str
    tokens: tuple[Token, Token]
    pooled: int
    shares: int
    loose: int
    wrapped: int
    is_stopped: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        unwrapped, wrapper = self.tokens
        if wrapper.address != self.address or unwrapped.address == self.address:
            raise BadPoolSnapshot("only the second token must be wstETH itself")
        for value in (self.pooled, self.shares):
            if not 0 < value <= MAX_AMOUNT_RAW:
                raise BadPoolSnapshot(f"{value} is not in 1 … 2^255 - 1")
        for value in (self.loose, self.wrapped):
            if not 0 <= value <= MAX_AMOUNT_RAW:
                raise BadPoolSnapshot(f"{value} is not in 0 … 2^255 - 1")

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, WstETHPool]:
        """See `Pool.swapped`. Shares change owners; the rate does not change."""
        out = self.quote_in(token_in, token_out, amount_raw)
        if token_in.lower() == self.address:
            paid = self._shares_of(self._ether_of(amount_raw))
            wrapped = self.wrapped - amount_raw
            return out, replace(self, wrapped=wrapped, loose=self.loose + paid)
        return out, replace(self, wrapped=self.wrapped + out, loose=self.loose - out)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:  # noqa: ARG002 (protocol)
        """See `Pool.hop`. The executor keeps the result: wstETH pays only its caller, and a further transfer costs
        more."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        return wsteth_hop(self.address, amount_raw, self.tokens[i].address, self.tokens[j].address)

    def _ether_of(self, shares: int) -> int:
        """getPooledEthByShares."""
        return shares * self.pooled // self.shares

    def _shares_of(self, ether_raw: int) -> int:
        """getSharesByPooledEth."""
        return ether_raw * self.shares // self.pooled

    def _arrived(self, ether_raw: int) -> int:
        """Balance after a transfer of stETH to an account without any."""
        return self._ether_of(self._shares_of(ether_raw))

    def _rate(self, i: int) -> tuple[int, int]:
        return (self.pooled, self.shares) if i else (self.shares, self.pooled)

    def _out(self, i: int, amount_raw: int) -> int:
        if i:
            return self._arrived(self._arrived(self._ether_of(amount_raw)))
        return self._shares_of(self._arrived(amount_raw))

    def _most_in(self, i: int) -> int:
        if self.is_stopped:
            return 0
        return min(self.wrapped if i else self._ether_of(self.loose), MAX_AMOUNT_RAW)


def _load(snapshot: Snapshot) -> WstETHPool:
    if len(tokens_of(snapshot)) != 2:
        raise BadPoolSnapshot("wstETH must have two tokens: stETH and itself")
    return pool_of(WstETHPool, snapshot)


def _read(at: At, ref: PoolRef) -> Reading[WstETHPool]:
    """Read wstETH, and compare its getters with the formulas."""
    wrapper = _WSTETH.at(ref.address)
    unwrapped, wrapped = yield from results_of(at, wrapper, "stETH", "totalSupply")
    steth = _STETH.at(unwrapped)
    tokens = yield from tokens_read(at, (steth.address, ref.address))
    names = ("getTotalPooledEther", "getTotalShares", "sharesOf")
    # Only Lido V3 has the last two; the first exists only in versions that can be stopped.
    optional = ("isStopped", "getExternalEther", "getExternalShares")
    answers = yield [
        *(at.ask(steth, name, *([ref.address] if name == "sharesOf" else [])) for name in names),
        *(at.ask(steth, name) for name in optional),
    ]
    pooled, shares, inside = (steth.result(name, answer) for name, answer in zip(names, answers[:3], strict=True))
    stopped, ether_outside, shares_outside = (
        answered(steth, name, answer) for name, answer in zip(optional, answers[3:], strict=True)
    )
    model = _load(
        {
            **at.pool(f"Lido {tokens[1].symbol}", ref.address, tokens),
            "pooled": pooled - (ether_outside or 0),
            "shares": shares - (shares_outside or 0),
            "loose_shares": shares - inside,
            "wrapped": wrapped,
            "is_stopped": bool(stopped),
        }
    )
    amounts = sorted({1, E18, *(max(model.pooled // part, 1) for part in PROBE_PARTS)})
    required: list[tuple[str, tuple[int, ...], int]] = [("stEthPerToken", (), model._ether_of(E18))]
    required += [("tokensPerStEth", (), model._shares_of(E18))]
    required += [("getWstETHByStETH", (amount,), model._shares_of(amount)) for amount in amounts]
    required += [("getStETHByWstETH", (amount,), model._ether_of(amount)) for amount in amounts]
    answers = yield [at.ask(wrapper, name, *given) for name, given, _ in required]
    for (name, _, expected), answer in zip(required, answers, strict=True):
        if answered(wrapper, name, answer) != expected:
            raise UnsupportedPool(f"wstETH with unknown mathematics ({name}, {ref.address})")
    return model


VENUE = Venue(
    name=WstETHPool.VENUE_NAME,
    kinds=(WstETHPool.KIND,),
    snapshot_key="loose_shares",
    load=_load,
    read=each(_read),
    takes=lambda ref: len(ref.tokens) == 2,
    mark=(_WSTETH, "stETH"),
)
