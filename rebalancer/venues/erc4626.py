"""ERC-4626 vault as a pool: exact quotes of deposits of its asset and redemptions of its shares, at the rate of a
block.

Quotes equal OpenZeppelin's ERC4626 (5.x) with any offset of decimals: assets times (supply + 10^offset) / (total + 1)
and back, both rounded down. There is no price impact, and the vault's own limits apply. The reader compares the vault
with these formulas: previewDeposit and previewRedeem, and a simulated redemption of shares that the call lends to an
account. A vault with other mathematics or a fee is rejected, and so is a vault whose balances are stored where they
cannot be overridden. If every redemption reverts whatever maxRedeem returns, as in Ethena's sUSDe during its cooldown,
only deposits are quoted. Deposits cannot be simulated; the quote follows previewDeposit.

`max_deposit` and `max_redeem` are maxDeposit and maxRedeem for an unused account that holds all shares in the call: 0
if the vault is paused, and at most what it can pay. A quote beyond them is refused. They do not guarantee the rate.
Anyone can raise the rate by sending assets to the vault, and a holder of nearly all shares of a small vault can make
another account's deposit buy nothing (because of the virtual shares, this costs more than it gains). Quotes use the
state of the block; later trades are protected by the minimum output that the executor's caller demands, not by this
module. So a basket should contain a share token only if its vault has an offset, or a supply that cannot be drained.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

from eth_utils.crypto import keccak

from rebalancer.abi import Call, Contract
from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted, UnsupportedPool
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.venues.fields import Snapshot, pool_of, tokens_of
from rebalancer.venues.model import (
    EMPTY_SIDE,
    MAX_AMOUNT_RAW,
    PoolBase,
    PoolRef,
    Stretches,
    Token,
    address_key,
    refs_of,
)
from rebalancer.venues.reading import PROBE_PARTS, At, Reading, Venue, answered, each, interface_of, tokens_read

__all__ = ["VENUE", "ERC4626Pool", "WrapPool", "share_vault_hop"]

_NUMBER = 8
"""Venue number in RouteExecutor."""

_MAX_WORD = 2**256 - 1
_MAX_OFFSET = 30
"""Largest accepted offset of decimals."""

_FALL = 1e-7
"""Fall of the price over a stretch, as a fraction: negligible, but enough for floats to locate a point to one part in
10^8."""

_SPARED = 1e-7
"""Fraction of a limit that a stretch leaves, so that no float exceeds the limit."""

_LEAST_DEEP = 10**6
"""Minimum size of a stretch in whole tokens."""

_HOLDER = "0x" + "1f" * 20
"""An unused account."""

_NAMESPACE = int.from_bytes(keccak(text="openzeppelin.storage.ERC20")) - 1
_ERC7201_BALANCES = int.from_bytes(keccak(_NAMESPACE.to_bytes(32))) & ~0xFF
_BALANCES_AT = (*range(12), 51, 101, 151, _ERC7201_BALANCES)
"""Slots of the mapping of balances that are tried: the first ones (OpenZeppelin's ERC-20 uses 0, solmate 3, sUSDe 4,
after its roles), those of OpenZeppelin's upgradeable contracts version 4, and that of version 5."""

_SHARES = interface_of(
    "ERC-4626 vault",
    (
        "asset() -> address",
        "totalAssets() -> uint256",
        "totalSupply() -> uint256",
        "balanceOf(address) -> uint256",
        "maxDeposit(address) -> uint256",
        "maxRedeem(address) -> uint256",
        "previewDeposit(uint256) -> uint256",
        "previewRedeem(uint256) -> uint256",
        "redeem(uint256,address,address) -> uint256",
    ),
)


def share_vault_hop(vault: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool) -> Hop:
    """A deposit into an ERC-4626 vault, or a redemption if `token_in` is the vault. Body: vault (20)."""
    flags = to_caller_flag(to_caller)
    return Hop(_NUMBER, amount_raw, token_in, token_out, address_bytes(vault), flags)


class WrapPool(PoolBase):
    """A pool that converts between a token (index 0) and its wrapper (index 1) at a rate that no trade changes, up to a
    limit.

    Subclasses define `_rate`, the exact output `_out`, and the maximum input `_most_in`.
    """

    LOGS_ARE_COMPLETE: ClassVar[bool] = False

    address: str
    tokens: tuple[Token, Token]

    @abstractmethod
    def _rate(self, i: int) -> tuple[int, int]:
        """Output per input for the token at an index, as a numerator and a denominator above 0."""

    @abstractmethod
    def _out(self, i: int, amount_raw: int) -> int:
        """Output, rounded down; 0 for 0, and not decreasing."""

    @abstractmethod
    def _most_in(self, i: int) -> int:
        """Maximum input."""

    @property
    def fee_pips(self) -> int:
        """Always 0."""
        return 0

    @property
    def moves(self) -> bool:
        """See `PoolState.moves`: rates follow the wrapper's holdings, which its logs do not show."""
        return True

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`."""
        i, _ = self._trade(token_in, token_out, amount_raw)
        most = self._most_in(i)
        if amount_raw > most:
            raise LiquidityExhausted(self.address, self.tokens[i].address, amount_raw, most)
        return self._out(i, amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. The least amount whose `quote_in` is enough."""
        i, j = self._trade(token_in, token_out, amount_raw)
        most = self._most_in(i)
        possible = self._out(i, most)
        if amount_raw > possible:
            raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, possible)
        # {in} = {out} * {in} / {out}. Up: a smaller amount does not suffice, and each further rounding down adds a
        # little.
        given, taken = self._rate(i)
        low = -(-amount_raw * taken // given)
        high, step = low, 1
        while self._out(i, min(high, most)) < amount_raw:
            low, high, step = high + 1, high + step, 2 * step
        high = min(high, most)
        while low < high:
            middle = (low + high) // 2
            if self._out(i, middle) < amount_raw:
                low = middle + 1
            else:
                high = middle
        return high

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`. 0 if no input is accepted."""
        i, _ = refs_of(self.address, self.tokens, token_in, token_out)
        return Fraction(*self._rate(i)) if self._most_in(i) else Fraction(0)

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`. The maximum input, or nothing."""
        i, _ = refs_of(self.address, self.tokens, token_in, token_out)
        if marginal >= float(self.spot_price(token_in, token_out)):
            return 0, 0
        most = self._most_in(i)
        return most, self._out(i, most)

    def shape(self, token_in: str, token_out: str) -> Stretches:
        """See `Pool.shape`. One stretch beginning at the rate, with a negligible fall of the price.

        It ends just before the limit, or where the wrapper's holdings have doubled, because floats cannot represent
        more precisely. It never promises more than is paid, so a round trip never seems to gain, and it is at most one
        part in 10^7 lower.
        """
        i, _ = refs_of(self.address, self.tokens, token_in, token_out)
        given, taken = self._rate(i)
        deep = max(self._all_of(i), _LEAST_DEEP * 10 ** self.tokens[i].decimals)
        most = min(self._most_in(i), deep)
        if not most:
            return EMPTY_SIDE
        spot = math.log(given) - math.log(taken)
        start = math.exp(-spot / 2)
        end = start * (1 + _FALL / 2)
        liquidity = most * (1 - _SPARED) / (end - start)
        return Stretches(spot, 1.0, (start, end), (liquidity, 0.0))

    def arbitraged(self, prices_e8: Sequence[int]) -> Self:  # noqa: ARG002 (protocol)
        """See `Pool.arbitraged`: no trade changes the rate."""
        return self

    def _all_of(self, i: int) -> int:
        """Approximate total of the token at an index; by default the denominator of the rate."""
        return self._rate(i)[1]


@dataclass(frozen=True)
class ERC4626Pool(WrapPool):
    """One state of one vault; implements `PoolState`. `tokens` are the asset and the share, whose address is the
    vault's.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "ERC-4626"
    VENUE_NAME: ClassVar[str] = "erc4626"
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"total_assets", "total_supply", "max_deposit", "max_redeem"})

    address: str
    tokens: tuple[Token, Token]
    total_assets: int
    total_supply: int
    decimals_offset: int
    max_deposit: int
    max_redeem: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        asset, share = self.tokens
        if share.address != self.address or asset.address == self.address:
            raise BadPoolSnapshot("only the second token must be the vault itself")
        for value in (self.total_assets, self.total_supply, self.max_deposit, self.max_redeem):
            if not 0 <= value <= _MAX_WORD:
                raise BadPoolSnapshot(f"{value} is not in 0 … 2^256 - 1")
        if not 0 <= self.decimals_offset <= _MAX_OFFSET:
            raise BadPoolSnapshot(f"decimals_offset {self.decimals_offset} is not in 0 … {_MAX_OFFSET}")

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, ERC4626Pool]:
        """See `Pool.swapped`. Conservative: a deposit does not raise the redeemable amount, and a redemption does not
        raise the deposit limit."""
        out = self.quote_in(token_in, token_out, amount_raw)
        if token_in.lower() == self.address:
            return out, replace(
                self,
                total_assets=self.total_assets - out,
                total_supply=self.total_supply - amount_raw,
                max_redeem=self.max_redeem - amount_raw,
            )
        endless = self.max_deposit == _MAX_WORD
        return out, replace(
            self,
            total_assets=self.total_assets + amount_raw,
            total_supply=self.total_supply + out,
            max_deposit=self.max_deposit if endless else self.max_deposit - amount_raw,
        )

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        return share_vault_hop(self.address, amount_raw, *self._ends(token_in, token_out), to_caller=to_caller)

    def _rate(self, i: int) -> tuple[int, int]:
        # The vault adds virtual amounts: one unit of assets and 10^offset shares.
        shares, assets = self.total_supply + 10**self.decimals_offset, self.total_assets + 1
        return (assets, shares) if i else (shares, assets)

    def _out(self, i: int, amount_raw: int) -> int:
        given, taken = self._rate(i)
        return amount_raw * given // taken

    def _most_in(self, i: int) -> int:
        if i:
            return min(self.max_redeem, self.total_supply, MAX_AMOUNT_RAW)
        shares, assets = self._rate(0)
        # The total assets and shares after the deposit must fit into words.
        room = min(_MAX_WORD - assets, ((_MAX_WORD - shares + 1) * assets - 1) // shares)
        return max(min(self.max_deposit, MAX_AMOUNT_RAW, room), 0)


def _load(snapshot: Snapshot) -> ERC4626Pool:
    if len(tokens_of(snapshot)) != 2:
        raise BadPoolSnapshot("a vault must have two tokens: its asset and its share")
    return pool_of(ERC4626Pool, snapshot)


def _read(at: At, ref: PoolRef) -> Reading[ERC4626Pool]:
    """Read a vault, and compare its answers with the formulas."""
    vault = _SHARES.at(ref.address)
    names = ("asset", "totalAssets", "totalSupply")
    # Each candidate slot is overridden with its own index in the list, counted from 1, so the balance shows which slot
    # is read.
    marks = _in_slots(vault, dict(zip(_BALANCES_AT, range(1, len(_BALANCES_AT) + 1), strict=True)))
    answers = yield [*(at.ask(vault, name) for name in names), _as_holder(at.ask(vault, "balanceOf", _HOLDER), marks)]
    asset, total_assets, total_supply = (
        vault.result(name, answer) for name, answer in zip(names, answers[:3], strict=True)
    )
    mark = answered(vault, "balanceOf", answers[3])
    if mark is None or not 0 < mark <= len(_BALANCES_AT):
        raise UnsupportedPool(f"ERC-4626 vault whose balances cannot be overridden ({ref.address})")
    tokens = yield from tokens_read(at, (asset, ref.address))
    lent = _in_slots(vault, {_BALANCES_AT[mark - 1]: total_supply})
    answers = yield [
        at.ask(vault, "maxDeposit", _HOLDER),
        _as_holder(at.ask(vault, "maxRedeem", _HOLDER), lent),
        _as_holder(at.ask(vault, "balanceOf", _HOLDER), lent),
    ]
    if answered(vault, "balanceOf", answers[2]) != total_supply:
        raise UnsupportedPool(f"ERC-4626 vault whose balances cannot be overridden, {ref.address}")
    model = _load(
        {
            **at.pool(f"ERC-4626 {tokens[0].symbol}/{tokens[1].symbol}", ref.address, tokens),
            "total_assets": total_assets,
            "total_supply": total_supply,
            "decimals_offset": tokens[1].decimals - tokens[0].decimals,
            "max_deposit": vault.result("maxDeposit", answers[0]),
            "max_redeem": vault.result("maxRedeem", answers[1]),
        }
    )
    pays_out = yield from _check(at, vault, model, lent)
    return model if pays_out else replace(model, max_redeem=0)


def _check(at: At, vault: Contract, model: ERC4626Pool, lent: dict[str, Any]) -> Reading[bool]:
    """Compare previews of parts of the holdings and of a whole token, and simulated redemptions within the limit.

    Returns False if every redemption reverts.

    Raises:
        UnsupportedPool: an answer differs from the formulas.
    """
    asset, share = model.tokens
    wholes = [{1, 10**token.decimals} for token in model.tokens]
    for whole, held in zip(wholes, (model.total_assets, model.total_supply), strict=True):
        whole |= {max(held // part, 1) for part in PROBE_PARTS}
    most = model._most_in(1)
    required = [("previewDeposit", 0, amount) for amount in sorted(wholes[0])]
    required += [("previewRedeem", 1, amount) for amount in sorted(wholes[1])]
    redeemed = sorted(amount for amount in wholes[1] if model._out(1, amount) and amount <= most)
    calls = [at.ask(vault, name, amount) for name, _, amount in required]
    calls += [_as_holder(at.ask(vault, "redeem", amount, _HOLDER, _HOLDER), lent) for amount in redeemed]
    required += [("redeem", 1, amount) for amount in redeemed]
    answers = yield calls
    found = [answered(vault, name, answer) for (name, *_), answer in zip(required, answers, strict=True)]
    previews = len(required) - len(redeemed)
    pays_out = not redeemed or any(paid is not None for paid in found[previews:])
    compared = len(required) if pays_out else previews
    for (name, i, amount), paid in zip(required[:compared], found, strict=False):
        if paid != model._out(i, amount):
            raise UnsupportedPool(
                f"ERC-4626 vault with unknown mathematics ({name} of {share.symbol} for {asset.symbol}, {vault.address})"
            )
    return pays_out


def _in_slots(vault: Contract, shares: Mapping[int, int]) -> dict[str, Any]:
    """State override in which an unused account holds shares of a vault, by the slot of the balances."""
    holder = bytes(12) + bytes.fromhex(_HOLDER[2:])
    words = {"0x" + keccak(holder + slot.to_bytes(32)).hex(): f"0x{held:064x}" for slot, held in shares.items()}
    return {vault.address: {"stateDiff": words}}


def _as_holder(call: Call, lent: dict[str, Any]) -> Call:
    method, (message, block) = call
    return method, ({**message, "from": _HOLDER}, block, lent)


VENUE = Venue(
    name=ERC4626Pool.VENUE_NAME,
    kinds=(ERC4626Pool.KIND,),
    snapshot_key="decimals_offset",
    load=_load,
    read=each(_read),
    takes=lambda ref: len(ref.tokens) == 2,
    mark=(_SHARES, "asset"),
)
