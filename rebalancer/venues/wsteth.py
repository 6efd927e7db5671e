"""Lido's wstETH on paper: what wrapping stETH and unwrapping pay at least, at the rate of a block.

One wstETH is one share of stETH, and a share is worth pooled ether over shares, which an oracle moves once a day and no trade does. A
transfer of stETH moves whole shares: its amount in shares, down, so that a wei or two of it stay behind. Quotes count every transfer
that a hop of the executor needs, each with both roundings (getSharesByPooledEth, getPooledEthByShares):

    wrap      to the executor, which wraps the balance that arrived
    unwrap    what unwrap says, to the executor, and its balance from there to the caller

So a quote is what arrives where neither the executor nor the caller held stETH before, of all that the executor was sent. Where a hop
names its amount, it wraps the shares that arrived, which are worth a wei more at most; dust of stETH beside what is traded may do the
same. It is never less.

The rate is that of the ether and shares of Lido's own, without those minted for outside vaults (Lido V3), as stETH computes it; getters
have to agree with it when it is read. No more can be unwrapped than is wrapped, nor wrapped than is not; while stETH is stopped, nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.units import E18
from rebalancer.venues.erc4626 import WrapPool
from rebalancer.venues.fields import Snapshot, flag_of, int_of, text_of, tokens_of
from rebalancer.venues.model import MAX_AMOUNT_RAW, PoolRef, Token, address_key, refs_of
from rebalancer.venues.reading import (
    PROBE_PARTS,
    At,
    Reading,
    Venue,
    answered,
    each,
    interface_of,
    tokens_read,
)

__all__ = ["VENUE", "WstETHPool", "wsteth_hop"]

_NUMBER = 9
"""In RouteExecutor."""

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
    """A wrap of stETH, or an unwrap where `token_in` is wstETH. Body: wstETH (20)."""
    flags = to_caller_flag(to_caller)
    return Hop(_NUMBER, amount_raw, token_in, token_out, address_bytes(wsteth), flags)


@dataclass(frozen=True)
class WstETHPool(WrapPool):
    """One state of wstETH; satisfies `PoolState`. `tokens` are stETH and wstETH.

    A share is worth `pooled` / `shares`; of all shares, those of outside vaults too, `loose` are not in wstETH. `wrapped` is wstETH's supply.

    Raises:
        BadPoolSnapshot: the state contradicts itself.
    """

    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"pooled", "shares", "loose", "wrapped", "is_stopped"})

    address: str
    tokens: tuple[Token, Token]
    pooled: int
    shares: int
    loose: int
    wrapped: int
    is_stopped: bool = False
    chain_id: int = 1
    block: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        unwrapped, wrapper = self.tokens
        if wrapper.address != self.address or unwrapped.address == self.address:
            raise BadPoolSnapshot("the second token, and it alone, is wstETH itself")
        for value in (self.pooled, self.shares):
            if not 0 < value <= MAX_AMOUNT_RAW:
                raise BadPoolSnapshot(f"{value} is not in 1 … 2^255 - 1")
        for value in (self.loose, self.wrapped):
            if not 0 <= value <= MAX_AMOUNT_RAW:
                raise BadPoolSnapshot(f"{value} is not in 0 … 2^255 - 1")

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, WstETHPool]:
        """See `Pool.swapped`. Shares change hands; the rate stays."""
        out = self.quote_in(token_in, token_out, amount_raw)
        if token_in.lower() == self.address:
            paid = self._shares_of(self._ether_of(amount_raw))
            wrapped = self.wrapped - amount_raw
            return out, replace(self, wrapped=wrapped, loose=self.loose + paid)
        return out, replace(self, wrapped=self.wrapped + out, loose=self.loose - out)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.hop`. The executor keeps the result: wstETH pays nobody else, and to send it on costs more."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        return wsteth_hop(self.address, amount_raw, self.tokens[i].address, self.tokens[j].address)

    @property
    def kind(self) -> str:
        """See `PoolState.kind`."""
        return "wstETH"

    @property
    def ref(self) -> PoolRef:
        """See `PoolState.ref`."""
        return PoolRef(self.address, tuple(token.address for token in self.tokens), 0, VENUE.name)

    def to_json(self) -> dict[str, object]:
        """The snapshot that `rebalancer.venues.load` reads back as an equal pool."""
        return {
            "chain_id": self.chain_id,
            "block": self.block,
            "address": self.address,
            "name": self.name,
            "tokens": [token.to_json() for token in self.tokens],
            "pooled": self.pooled,
            "shares": self.shares,
            "loose_shares": self.loose,
            "wrapped": self.wrapped,
            "is_stopped": self.is_stopped,
        }

    def _ether_of(self, shares: int) -> int:
        """As getPooledEthByShares."""
        return shares * self.pooled // self.shares

    def _shares_of(self, ether_raw: int) -> int:
        """As getSharesByPooledEth."""
        return ether_raw * self.shares // self.pooled

    def _arrived(self, ether_raw: int) -> int:
        """What a transfer of stETH leaves who had none with."""
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
    tokens = tokens_of(snapshot)
    if len(tokens) != 2:
        raise BadPoolSnapshot("wstETH has two tokens: stETH and itself")
    return WstETHPool(
        address=text_of(snapshot, "address"),
        tokens=(tokens[0], tokens[1]),
        pooled=int_of(snapshot, "pooled"),
        shares=int_of(snapshot, "shares"),
        loose=int_of(snapshot, "loose_shares"),
        wrapped=int_of(snapshot, "wrapped"),
        is_stopped=flag_of(snapshot, "is_stopped"),
        chain_id=int_of(snapshot, "chain_id"),
        block=int_of(snapshot, "block"),
        name=text_of(snapshot, "name"),
    )


def _read(at: At, ref: PoolRef) -> Reading[WstETHPool]:
    """wstETH whose getters answer as on paper."""
    wrapper = _WSTETH.at(ref.address)
    answers = yield [at.ask(wrapper, name) for name in ("stETH", "totalSupply")]
    steth = _STETH.at(wrapper.result("stETH", answers[0]))
    wrapped = wrapper.result("totalSupply", answers[1])
    tokens = yield from tokens_read(at, (steth.address, ref.address))
    names = ("getTotalPooledEther", "getTotalShares", "sharesOf")
    # Only Lido V3 has the last two, and only what can be stopped the first.
    optional = ("isStopped", "getExternalEther", "getExternalShares")
    answers = yield [
        *(at.ask(steth, name, *([ref.address] if name == "sharesOf" else [])) for name in names),
        *(at.ask(steth, name) for name in optional),
    ]
    pooled, shares, inside = (steth.result(name, answer) for name, answer in zip(names, answers[:3], strict=True))
    stopped, ether_outside, shares_outside = (
        answered(steth, name, answer) for name, answer in zip(optional, answers[3:], strict=True)
    )
    paper = _load(
        {
            **at.head(f"Lido {tokens[1].symbol}"),
            "address": ref.address,
            "tokens": [token.to_json() for token in tokens],
            "pooled": pooled - (ether_outside or 0),
            "shares": shares - (shares_outside or 0),
            "loose_shares": shares - inside,
            "wrapped": wrapped,
            "is_stopped": bool(stopped),
        }
    )
    amounts = sorted({1, E18, *(max(paper.pooled // part, 1) for part in PROBE_PARTS)})
    required: list[tuple[str, tuple[int, ...], int]] = [("stEthPerToken", (), paper._ether_of(E18))]
    required += [("tokensPerStEth", (), paper._shares_of(E18))]
    required += [("getWstETHByStETH", (amount,), paper._shares_of(amount)) for amount in amounts]
    required += [("getStETHByWstETH", (amount,), paper._ether_of(amount)) for amount in amounts]
    answers = yield [at.ask(wrapper, name, *given) for name, given, _ in required]
    for (name, _, expected), answer in zip(required, answers, strict=True):
        if answered(wrapper, name, answer) != expected:
            raise UnsupportedPool(f"wstETH of other mathematics ({name}, {ref.address})")
    return paper


VENUE = Venue(
    name="wsteth",
    kinds=("wstETH",),
    snapshot_key="loose_shares",
    load=_load,
    read=each(_read),
    takes=lambda ref: len(ref.tokens) == 2,
    mark=(_WSTETH, "stETH"),
)
