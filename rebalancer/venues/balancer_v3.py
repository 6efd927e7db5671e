"""Weighted pool of Balancer V3: state, exact quotes in both directions, reader, logs, hop and snapshot.

Quotes equal Vault.swap. The Vault scales amounts to 18 decimals, applies each token's rate, takes the fee from the
input (exact in) or adds it (exact out), and rounds each step in its own favour; the weighted product is the pool's
(`balancer_math`, powers of 2022). An exact input is limited to 30 % of the balance of the input token, an exact output
to 30 % of that of the output token. The chain refuses a swap below the Vault's minimum trade amount (1e6 with 18
decimals): `quote_in` returns 0 for it.

Pools have one of two forms. Those of 2026 (npm's 1.0.0) add one unit to the balance of the input token, and keep every
balance above a minimum (`min_balances_e18`); earlier pools do neither. The reader compares the form with the pool's own
`onSwap`.

The aggregate fee (protocol and pool creator) is a part of the swap fee and leaves the balances immediately. Balances
are those after the yield fee due at the block's rates, as in Vault.getPoolData. Pools with hooks around swaps are
rejected, because hooks may change amounts or the fee. Pools that are not initialized are rejected, too: the Vault has
no data of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from rebalancer.abi import Call, Contract, Event
from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted, UnsupportedPool
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.units import E18, div_up
from rebalancer.venues.balancer_math import div_up_e18, mul_down_e18, mul_up_e18, pow_up
from rebalancer.venues.balancer_pool import MAX_DECIMALS, MAX_RATIO_E18, MIN_WEIGHT_E18, NO_CURVE, BalancerPoolBase
from rebalancer.venues.fields import Snapshot, flag_of, pool_of
from rebalancer.venues.model import (
    ETHER_ADDRESS,
    LogSource,
    PoolRef,
    PowerCurve,
    Token,
    address_key,
    refs_of,
    traded,
)
from rebalancer.venues.reading import At, Reading, Venue, answered, each, interface_of, probes, tokens_read

__all__ = ["VENUE", "BalancerV3RatedPool", "BalancerV3WeightedPool", "balancer_v3_hop"]

_MAX_BALANCE = 2**128 - 1
"""Largest balance in PackedTokenBalance, both raw and with 18 decimals."""

_MAX_TOKENS = 8
_WITH_RATE = 1
_EXACT_IN = 0

_NUMBER = 10
"""Venue number in RouteExecutor."""

_POOL = interface_of(
    "Balancer V3 pool",
    (
        "getVault() -> address",
        "getNormalizedWeights() -> uint256[]",
        "getMinTokenBalances() -> uint256[]",
        "getWeightedPoolImmutableData() -> (address[],uint256[],uint256[])",
        "onSwap((uint8,uint256,uint256[],uint256,uint256,address,bytes)) -> uint256",
    ),
)

_VAULT = interface_of(
    "Balancer V3 Vault",
    (
        "getPoolData(address) -> (bytes32,address[],(uint8,address,bool)[],uint256[],uint256[],uint256[],uint256[])",
        "getPoolConfig(address) -> ((bool,bool,bool,bool),uint256,uint256,uint256,uint40,uint32,bool,bool,bool,bool)",
        "getHooksConfig(address) -> (bool,bool,bool,bool,bool,bool,bool,bool,bool,bool,address)",
        "isPoolPaused(address) -> bool",
        "isVaultPaused() -> bool",
        "getMinimumTradeAmount() -> uint256",
        "event Swap(address indexed pool, address indexed tokenIn, address indexed tokenOut, uint256 amountIn, uint256 amountOut, uint256 swapFeePercentage, uint256 swapFeeAmount)",
        "event LiquidityAdded(address indexed pool, address indexed liquidityProvider, uint8 indexed kind, uint256 totalSupply, uint256[] amountsAddedRaw, uint256[] swapFeeAmountsRaw)",
        "event LiquidityRemoved(address indexed pool, address indexed liquidityProvider, uint8 indexed kind, uint256 totalSupply, uint256[] amountsRemovedRaw, uint256[] swapFeeAmountsRaw)",
        "event SwapFeePercentageChanged(address indexed pool, uint256 swapFeePercentage)",
        "event AggregateSwapFeePercentageChanged(address indexed pool, uint256 aggregateSwapFeePercentage)",
        "event PoolPausedStateChanged(address indexed pool, bool paused)",
        "event PoolRecoveryModeStateChanged(address indexed pool, bool recoveryMode)",
    ),
)


def balancer_v3_hop(vault: str, pool: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool) -> Hop:
    """A swap on any Balancer V3 pool. Body: Vault (20), pool (20)."""
    body = address_bytes(vault) + address_bytes(pool)
    return Hop(_NUMBER, amount_raw, token_in, token_out, body, to_caller_flag(to_caller))


@dataclass(frozen=True)
class BalancerV3WeightedPool(BalancerPoolBase):
    """One state of one pool; implements `PoolState`.

    All sequences are in the Vault's order of `tokens`. `balances` are raw; `rates_e18`, `weights_e18`, `fee_e18`,
    `aggregate_fee_e18` (the part of the swap fee that leaves the pool), `min_trade_e18` and `min_balances_e18` (empty
    for the earlier form) have 18 decimals. `in_recovery`: no aggregate fee is taken. `is_paused` includes a pause of
    the whole Vault, which emits no log for the pool, and a pause may end by time without any log.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "Balancer V3 weighted"
    VENUE_NAME: ClassVar[str] = "balancer-v3"
    KEYS: ClassVar[Mapping[str, str]] = {
        "rates_e18": "rates",
        "weights_e18": "normalized_weights",
        "min_balances_e18": "min_balances",
        "fee_e18": "fee",
        "aggregate_fee_e18": "aggregate_fee",
        "min_trade_e18": "min_trade",
    }
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"is_paused"})

    address: str
    vault: str
    tokens: tuple[Token, ...]
    balances: tuple[int, ...]
    rates_e18: tuple[int, ...]
    weights_e18: tuple[int, ...]
    min_balances_e18: tuple[int, ...]
    fee_e18: int
    aggregate_fee_e18: int
    min_trade_e18: int
    is_paused: bool = False
    in_recovery: bool = False

    def __post_init__(self) -> None:
        for field in ("address", "vault"):
            object.__setattr__(self, field, address_key(getattr(self, field)))
        count = len(self.tokens)
        if not 2 <= count <= _MAX_TOKENS or len({t.address for t in self.tokens}) != count:
            raise BadPoolSnapshot(f"a pool must have 2 to {_MAX_TOKENS} different tokens")
        if {len(self.balances), len(self.rates_e18), len(self.weights_e18)} != {count}:
            raise BadPoolSnapshot(f"there must be one balance, rate and weight for each of {count} tokens")
        if len(self.min_balances_e18) not in (0, count) or min(self.min_balances_e18, default=0) < 0:
            raise BadPoolSnapshot("minimum balances must be 0 or more, and given for all tokens or for none")
        if any(token.decimals > MAX_DECIMALS for token in self.tokens):
            raise BadPoolSnapshot(f"a token has more than {MAX_DECIMALS} decimals")
        if min(self.rates_e18) <= 0 or min(self.balances) < 0:
            raise BadPoolSnapshot("rates must be above 0, and balances 0 or more")
        if max(*self.balances, *self._live_e18) > _MAX_BALANCE:
            raise BadPoolSnapshot("a balance, raw or with 18 decimals, has more than 128 bits")
        if min(self.weights_e18) < MIN_WEIGHT_E18 or sum(self.weights_e18) != E18:
            raise BadPoolSnapshot("each weight must be 1 % or more, and their sum 1e18")
        if not 0 <= self.fee_e18 < E18 or not 0 <= self.aggregate_fee_e18 <= E18:
            raise BadPoolSnapshot("the fee must be below 1e18, and its aggregate part at most 1e18")
        if self.min_trade_e18 < 0:
            raise BadPoolSnapshot(f"min_trade {self.min_trade_e18} is below 0")

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals amountOut of Vault.swap, exact in."""
        i, j = self._trade(token_in, token_out, amount_raw)
        most = self._most_in(i, j)
        if amount_raw > most:
            raise LiquidityExhausted(self.address, self.tokens[i].address, amount_raw, most)
        return self._out(i, j, amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals amountIn of Vault.swap, exact out.

        Raises:
            LiquidityExhausted: also for an amount below the Vault's minimum trade, which no input can buy.
        """
        i, j = self._trade(token_in, token_out, amount_raw)
        most = self._most_out(i, j)
        cost = self._cost(i, j, amount_raw) if amount_raw <= most else None
        if cost is None:
            raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, most)
        return cost[0]

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, Self]:
        """See `Pool.swapped`. The input stays in the pool, except the aggregate part of its fee."""
        out = self.quote_in(token_in, token_out, amount_raw)
        if out == 0 and not self._is_enough(token_in, token_out, amount_raw):
            return 0, self
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        stays = self._stays(i, amount_raw, self._fee_e18(i, amount_raw))
        return out, replace(self, balances=traded(self.balances, i, stays, j, out))

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        most = self._most_in(i, j)
        return self._flow(i, j, marginal, most, int(_float_down(most))) if most else (0, 0)

    def shape(self, token_in: str, token_out: str) -> PowerCurve:
        """See `Pool.shape`."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        most = self._most_in(i, j)
        return self._power_curve(i, j, _float_down(most)) if most else NO_CURVE

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        return balancer_v3_hop(
            self.vault, self.address, amount_raw, *self._ends(token_in, token_out), to_caller=to_caller
        )

    @property
    def log_sources(self) -> tuple[LogSource, ...]:
        """The Vault: all its logs that change a pool name the pool's address."""
        return (LogSource(self.vault, _VAULT, "0x" + self.address[2:].rjust(64, "0")),)

    def moved(self, events: Sequence[Event]) -> Self:
        """See `PoolState.moved`."""
        pool = self
        for event in events:
            pool = pool._moved_by(event)
        return pool

    def _moved_by(self, event: Event) -> Self:
        values = event.values
        if event.name == "Swap":
            indices = {token.address: k for k, token in enumerate(self.tokens)}
            deltas = [0] * len(self.tokens)
            fee_raw = self._aggregate_of(values["swapFeeAmount"])
            deltas[indices[values["tokenIn"]]] += values["amountIn"] - fee_raw
            deltas[indices[values["tokenOut"]]] -= values["amountOut"]
            return self._moved_by_amounts(deltas)
        if event.name in ("LiquidityAdded", "LiquidityRemoved"):
            added = event.name == "LiquidityAdded"
            amounts = values["amountsAddedRaw"] if added else values["amountsRemovedRaw"]
            rows = zip(amounts, values["swapFeeAmountsRaw"], strict=True)
            return self._moved_by_amounts(
                [(amount if added else -amount) - self._aggregate_of(fee) for amount, fee in rows]
            )
        if event.name == "SwapFeePercentageChanged":
            return replace(self, fee_e18=values["swapFeePercentage"])
        if event.name == "AggregateSwapFeePercentageChanged":
            return replace(self, aggregate_fee_e18=values["aggregateSwapFeePercentage"])
        if event.name == "PoolPausedStateChanged":
            return replace(self, is_paused=values["paused"])
        return replace(self, in_recovery=values["recoveryMode"])

    def _moved_by_amounts(self, deltas: Sequence[int]) -> Self:
        rows = zip(self.balances, deltas, strict=True)
        return replace(self, balances=tuple(balance + delta for balance, delta in rows))

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`."""
        return super().to_json() | {"rate_providers": not self.LOGS_ARE_COMPLETE}

    @cached_property
    def _factors(self) -> tuple[int, ...]:
        """Factors that scale raw units to 18 decimals at the token's rate; the factors have 18 decimals themselves."""
        rows = zip(self.tokens, self.rates_e18, strict=True)
        return tuple(10 ** (MAX_DECIMALS - token.decimals) * rate for token, rate in rows)

    @cached_property
    def _factors_up(self) -> tuple[int, ...]:
        """Factors for outputs, with the rate rounded up by the Vault: one unit more, unless it is whole."""
        rows = zip(self.tokens, self.rates_e18, strict=True)
        return tuple(10 ** (MAX_DECIMALS - token.decimals) * (rate + (rate % E18 > 0)) for token, rate in rows)

    @cached_property
    def _live_e18(self) -> tuple[int, ...]:
        rows = zip(self.balances, self._factors, strict=True)
        return tuple(mul_down_e18(balance, factor) for balance, factor in rows)

    @cached_property
    def _most_in_of(self) -> dict[tuple[int, int], int]:
        """Cached results of `_most_in`."""
        return {}

    @property
    def _extra(self) -> int:
        """Units that the pool adds to the balance of the input token."""
        return 1 if self.min_balances_e18 else 0

    def _min_balance_e18(self, index: int) -> int:
        return self.min_balances_e18[index] if self.min_balances_e18 else 0

    def _is_open(self, i: int, j: int) -> bool:
        """Whether any swap is possible, as far as the input is concerned."""
        if self.is_paused or not (self._live_e18[i] and self._live_e18[j]):
            return False
        return self._live_e18[i] + self._extra >= self._min_balance_e18(i)

    def _aggregate_of(self, fee_raw: int) -> int:
        """The part of a swap fee that leaves the pool."""
        return 0 if self.in_recovery else mul_down_e18(fee_raw, self.aggregate_fee_e18)

    def _given_e18(self, i: int, amount_raw: int) -> int:
        return mul_down_e18(amount_raw, self._factors[i])

    def _fee_e18(self, i: int, amount_raw: int) -> int:
        """Fee of an input, rounded up."""
        return mul_up_e18(self._given_e18(i, amount_raw), self.fee_e18)

    def _net_e18(self, i: int, amount_raw: int) -> int:
        """An input less its fee, as the pool sees it."""
        return self._given_e18(i, amount_raw) - self._fee_e18(i, amount_raw)

    def _stays(self, i: int, amount_raw: int, fee_e18: int) -> int:
        """Growth of a balance by an input, less the aggregate part of the fee."""
        return amount_raw - self._aggregate_of(fee_e18 * E18 // self._factors[i])

    def _is_enough(self, token_in: str, token_out: str, amount_raw: int) -> bool:
        """Whether both sides reach the Vault's minimum trade amount."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        net = self._net_e18(i, amount_raw)
        return net >= self.min_trade_e18 and self._out_e18(i, j, net) >= self.min_trade_e18

    def _out_e18(self, i: int, j: int, net_e18: int) -> int:
        """The pool's answer for an exact input, without its checks."""
        balance_e18 = self._live_e18[i] + self._extra
        base = div_up_e18(balance_e18, balance_e18 + net_e18)
        exponent = self.weights_e18[i] * E18 // self.weights_e18[j]
        kept = pow_up(base, exponent, shortcuts=True)
        # If the error margin makes the power larger than one, the output is zero.
        return mul_down_e18(self._live_e18[j], max(0, E18 - kept))

    def _in_e18(self, i: int, j: int, out_e18: int) -> int:
        """The pool's answer for an exact output, without its checks."""
        balance_e18 = self._live_e18[j]
        base = div_up_e18(balance_e18, balance_e18 - out_e18)
        exponent = div_up_e18(self.weights_e18[j], self.weights_e18[i])
        grown = pow_up(base, exponent, shortcuts=True)
        return mul_up_e18(self._live_e18[i] + self._extra, grown - E18)

    def _out(self, i: int, j: int, amount_raw: int) -> int:
        """Raw output for an amount within the pool's limit; 0 if the Vault refuses it as too small."""
        net = self._net_e18(i, amount_raw)
        if net < self.min_trade_e18:
            return 0
        out = self._out_e18(i, j, net)
        return out * E18 // self._factors_up[j] if out >= self.min_trade_e18 else 0

    def _cost(self, i: int, j: int, amount_raw: int) -> tuple[int, int] | None:
        """Raw input for an output within the pool's limit, and the fee with 18 decimals; None if the Vault refuses it
        as too small."""
        out = mul_up_e18(amount_raw, self._factors_up[j])
        if out < self.min_trade_e18:
            return None
        net = self._in_e18(i, j, out)
        if net < self.min_trade_e18:
            return None
        fee = div_up(net * self.fee_e18, E18 - self.fee_e18)
        return div_up_e18(net + fee, self._factors[i]), fee

    def _room(self, i: int) -> int:
        """Raw units by which a balance can grow within 128 bits, both raw and with 18 decimals."""
        largest = ((_MAX_BALANCE + 1) * E18 - 1) // self._factors[i]
        return min(largest, _MAX_BALANCE) - self.balances[i]

    def _most_in(self, i: int, j: int) -> int:
        """Largest raw input."""
        if (i, j) not in self._most_in_of:
            self._most_in_of[i, j] = self._find_most_in(i, j) if self._is_open(i, j) else 0
        return self._most_in_of[i, j]

    def _find_most_in(self, i: int, j: int) -> int:
        net = mul_down_e18(self._live_e18[i] + self._extra, MAX_RATIO_E18)
        # The fee is rounded up, so the net input is less than one unit below amount * (1 - fee).
        given = (net * E18 + E18 - 1) // (E18 - self.fee_e18)
        most = ((given + 1) * E18 - 1) // self._factors[i]
        room = self._room(i)

        def fits(amount_raw: int) -> bool:
            if self._stays(i, amount_raw, self._fee_e18(i, amount_raw)) > room:
                return False
            left = self._live_e18[j] - self._out_e18(i, j, self._net_e18(i, amount_raw))
            return left >= self._min_balance_e18(j)

        return _last(most, fits)

    def _most_out(self, i: int, j: int) -> int:
        """Largest raw output."""
        if not self._is_open(i, j):
            return 0
        live = self._live_e18[j]
        out = min(mul_down_e18(live, MAX_RATIO_E18), live - self._min_balance_e18(j))
        room = self._room(i)

        def fits(amount_raw: int) -> bool:
            cost = self._cost(i, j, amount_raw)
            return cost is None or self._stays(i, *cost) <= room

        return _last(max(out * E18 // self._factors_up[j], 0), fits)


class BalancerV3RatedPool(BalancerV3WeightedPool):
    """A pool with a rate provider. Its rates change without a log, so it is read at every block."""

    LOGS_ARE_COMPLETE: ClassVar[bool] = False
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"is_paused", "rates_e18", "balances"})

    @property
    def moves(self) -> bool:
        """See `PoolState.moves`."""
        return True


def _last(most: int, is_possible: Callable[[int], bool]) -> int:
    """The largest number from 0 to `most` that is possible. Above an impossible number, no number is possible."""
    if is_possible(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_possible(middle) else (low, middle)
    return low


def _float_down(number: int) -> float:
    """The nearest float that is not larger."""
    near = float(number)
    return near if int(near) <= number else math.nextafter(near, 0.0)


def _load(snapshot: Snapshot) -> BalancerV3WeightedPool:
    rated = flag_of(snapshot, "rate_providers")
    return pool_of(BalancerV3RatedPool if rated else BalancerV3WeightedPool, snapshot)


def _read(at: At, ref: PoolRef) -> Reading[BalancerV3WeightedPool]:
    """Read a pool without hooks around swaps, and compare its own quotes with the formula."""
    pool = _POOL.at(ref.address)
    names = ("getVault", "getNormalizedWeights", "getMinTokenBalances")
    answers = yield [at.ask(pool, name) for name in names]
    vault = _VAULT.at(pool.result("getVault", answers[0]))
    weights = pool.result("getNormalizedWeights", answers[1])
    minimums = answered(pool, "getMinTokenBalances", answers[2]) or ()
    own = ("getPoolData", "getPoolConfig", "getHooksConfig", "isPoolPaused")
    all_pools = ("isVaultPaused", "getMinimumTradeAmount")
    answers = yield [*(at.ask(vault, name, ref.address) for name in own), *(at.ask(vault, name) for name in all_pools)]
    data, config, hooks, *flags = (
        vault.result(name, answer) for name, answer in zip((*own, *all_pools), answers, strict=True)
    )
    _, _, _, dynamic_fee, before_swap, after_swap, *_ = hooks
    if dynamic_fee or before_swap or after_swap:
        raise UnsupportedPool(f"Balancer V3 with hooks around swaps ({ref.address})")
    _, assets, infos, balances, live, rates, scales = data
    _, fee, aggregate_fee, *_, in_recovery = config
    tokens = yield from tokens_read(at, assets)
    pool_paused, vault_paused, min_trade = flags
    model = _load(
        {
            **at.pool("Balancer V3 " + "/".join(token.symbol for token in tokens), ref.address, tokens),
            "vault": vault.address,
            "balances": list(balances),
            "rates": list(rates),
            "rate_providers": any(kind == _WITH_RATE for kind, _, _ in infos),
            "normalized_weights": list(weights),
            "min_balances": list(minimums),
            "fee": fee,
            "aggregate_fee": aggregate_fee,
            "min_trade": min_trade,
            "is_paused": pool_paused or vault_paused,
            "in_recovery": in_recovery,
        }
    )
    known_scales = tuple(10 ** (MAX_DECIMALS - token.decimals) for token in tokens)
    if tuple(scales) != known_scales or tuple(live) != model._live_e18:
        raise UnsupportedPool(f"Balancer V3 with a different scaling of balances ({ref.address})")
    yield from _check(at, pool, model)
    return model


def _check(at: At, pool: Contract, model: BalancerV3WeightedPool) -> Reading[None]:
    """Compare the pool's own quotes, exact in, for parts of its balances. This detects a pool of another formula or
    form."""
    # The pool itself ignores a pause: the Vault enforces it.
    running = replace(model, is_paused=False)
    swaps = [(i, j, amount, running._net_e18(i, amount)) for i, j, amount in probes(running, every_pair=True)]
    answers = yield [
        _as_vault(
            at.ask(pool, "onSwap", (_EXACT_IN, net, list(model._live_e18), i, j, ETHER_ADDRESS, b"")), model.vault
        )
        for i, j, _, net in swaps
    ]
    for (i, j, amount, net), answer in zip(swaps, answers, strict=True):
        expected = running._out_e18(i, j, net) if amount <= running._most_in(i, j) else None
        if answered(pool, "onSwap", answer) != expected:
            raise UnsupportedPool(f"Balancer V3 with quotes that differ from weighted pools ({model.address})")


def _as_vault(call: Call, vault: str) -> Call:
    """The call with the Vault as sender: earlier pools accept no other sender."""
    method, (message, block) = call
    return method, ({**message, "from": vault}, block)


VENUE = Venue(
    name=BalancerV3WeightedPool.VENUE_NAME,
    kinds=(BalancerV3WeightedPool.KIND,),
    snapshot_key="normalized_weights",
    load=_load,
    read=each(_read),
    takes=lambda ref: len(ref.tokens) >= 2,
    mark=(_POOL, "getWeightedPoolImmutableData"),
)
