"""Weighted pool of Balancer V2: state, exact quotes of any swap, and the resulting state.

Quotes equal the pool's onSwap, and so Vault.swap: the fee is taken from the input (or added to it), both sides are
scaled to 18 decimals, and the weighted product uses fixed-point powers whose maximum error is always charged to the
trader (`balancer_math`). An exact input is limited to 30 % of the balance of the input token, an exact output to 30 %
of that of the output token.

Pools deployed since 2022 compute exponents of 1, 2 and 4 by multiplication (`pow_version` "v2"); earlier pools do not
("v1").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

from rebalancer.abi import Event
from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted, UnsupportedPool
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.units import E18, div_up
from rebalancer.venues.balancer_math import div_up_e18, mul_down_e18, mul_up_e18, pow_up
from rebalancer.venues.balancer_pool import MAX_DECIMALS, MAX_RATIO_E18, MIN_WEIGHT_E18, NO_CURVE, BalancerPoolBase
from rebalancer.venues.fields import Snapshot, pool_of, text_of
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
from rebalancer.venues.reading import (
    At,
    Reading,
    Venue,
    answered,
    each,
    interface_of,
    probes,
    quotes_of,
    results_of,
    tokens_read,
)

__all__ = [
    "BALANCER_POOL",
    "BALANCER_VAULT",
    "POW_VERSIONS",
    "VENUE",
    "BalancerWeightedPool",
    "balancer_hop",
]

POW_VERSIONS = ("v1", "v2")
"""Powers without and with shortcuts for exponents of 1, 2 and 4."""

_MAX_BALANCE_RAW = 2**112 - 1
_POOL_ID_DIGITS = 64

_NUMBER = 5
"""Venue number in RouteExecutor."""

BALANCER_POOL = interface_of(
    "Balancer pool",
    (
        "getPoolId() -> bytes32",
        "getVault() -> address",
        "getNormalizedWeights() -> uint256[]",
        "getSwapFeePercentage() -> uint256",
        "event SwapFeePercentageChanged(uint256 swapFeePercentage)",
    ),
)

BALANCER_VAULT = interface_of(
    "Balancer Vault",
    (
        "getPoolTokens(bytes32) -> address[],uint256[],uint256",
        "queryBatchSwap(uint8,(bytes32,uint256,uint256,uint256,bytes)[],address[],(address,bool,address,bool)) -> int256[]",
        "event Swap(bytes32 indexed poolId, address indexed tokenIn, address indexed tokenOut, uint256 amountIn, uint256 amountOut)",
        "event PoolBalanceChanged(bytes32 indexed poolId, address indexed liquidityProvider, address[] tokens, int256[] deltas, uint256[] protocolFeeAmounts)",
        "event PoolBalanceManaged(bytes32 indexed poolId, address indexed manager, address indexed token, int256 cashDelta, int256 managedDelta)",
    ),
)


def balancer_hop(vault: str, pool_id: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool) -> Hop:
    """A swap on any Balancer V2 pool; `pool_id` is 0x and 64 digits. Body: Vault (20), pool id (32)."""
    body = address_bytes(vault) + bytes.fromhex(pool_id.removeprefix("0x"))
    return Hop(_NUMBER, amount_raw, token_in, token_out, body, to_caller_flag(to_caller))


@dataclass(frozen=True)
class BalancerWeightedPool(BalancerPoolBase):
    """One state of one pool; implements `PoolState`.

    `balances` (raw) and `weights_e18` are in the Vault's order of `tokens`; `fee_e18` is a fraction of 1e18.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "Balancer V2 weighted"
    VENUE_NAME: ClassVar[str] = "balancer"
    KEYS: ClassVar[Mapping[str, str]] = {"fee_e18": "fee", "weights_e18": "weights"}

    address: str
    vault: str
    pool_id: str
    tokens: tuple[Token, ...]
    balances: tuple[int, ...]
    weights_e18: tuple[int, ...]
    fee_e18: int
    pow_version: str = "v2"

    def __post_init__(self) -> None:
        for field in ("address", "vault"):
            object.__setattr__(self, field, address_key(getattr(self, field)))
        object.__setattr__(self, "pool_id", self.pool_id.lower())
        if not self.pool_id.startswith(self.address) or len(self.pool_id) != 2 + _POOL_ID_DIGITS:
            raise BadPoolSnapshot(f"pool_id {self.pool_id} does not begin with the pool's address")
        count = len(self.tokens)
        if count < 2 or len({token.address for token in self.tokens}) != count:
            raise BadPoolSnapshot("a pool must have two or more different tokens")
        if len(self.balances) != count or len(self.weights_e18) != count:
            raise BadPoolSnapshot(f"there must be one balance and weight for each of {count} tokens")
        for token, balance in zip(self.tokens, self.balances, strict=True):
            if token.decimals > MAX_DECIMALS:
                raise BadPoolSnapshot(f"{token.symbol} has more than {MAX_DECIMALS} decimals")
            if not 0 <= balance <= _MAX_BALANCE_RAW:
                raise BadPoolSnapshot(f"balance {balance} is not in 0 … 2^112 - 1")
        if min(self.weights_e18) < MIN_WEIGHT_E18 or sum(self.weights_e18) != E18:
            raise BadPoolSnapshot("each weight must be 1 % or more, and their sum 1e18")
        if not 0 <= self.fee_e18 < E18:
            raise BadPoolSnapshot(f"fee {self.fee_e18} is not below 1e18")
        if self.pow_version not in POW_VERSIONS:
            raise BadPoolSnapshot(f"pow_version {self.pow_version} is not v1 or v2")

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals the pool's onSwap with a given input."""
        i, j = self._trade(token_in, token_out, amount_raw)
        # FixedPoint.mulUp: the fee is rounded up.
        net_e18 = (amount_raw - mul_up_e18(amount_raw, self.fee_e18)) * self._scales[i]
        if net_e18 > self._most_e18(i) or not self._is_open(i, j):
            raise LiquidityExhausted(self.address, self.tokens[i].address, amount_raw, self._most_in(i, j))
        balance_e18 = self._balances_e18[i]
        base = div_up_e18(balance_e18, balance_e18 + net_e18)
        exponent = self.weights_e18[i] * E18 // self.weights_e18[j]
        kept = pow_up(base, exponent, shortcuts=self._has_shortcuts)
        # If the error margin makes the power larger than one, the output is zero.
        out_e18 = mul_down_e18(self._balances_e18[j], max(0, E18 - kept))
        return out_e18 // self._scales[j]

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals the pool's onSwap with a given output."""
        i, j = self._trade(token_in, token_out, amount_raw)
        out_e18 = amount_raw * self._scales[j]
        if out_e18 > self._most_e18(j) or not self._is_open(i, j):
            possible = self._most_e18(j) // self._scales[j] if self._is_open(i, j) else 0
            raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, possible)
        balance_e18 = self._balances_e18[j]
        base = div_up_e18(balance_e18, balance_e18 - out_e18)
        exponent = div_up_e18(self.weights_e18[j], self.weights_e18[i])
        grown = pow_up(base, exponent, shortcuts=self._has_shortcuts)
        net_raw = div_up(mul_up_e18(self._balances_e18[i], grown - E18), self._scales[i])
        return div_up_e18(net_raw, E18 - self.fee_e18)

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, BalancerWeightedPool]:
        """See `Pool.swapped`. The whole input stays in the pool, including the fee."""
        out = self.quote_in(token_in, token_out, amount_raw)
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        return out, replace(self, balances=traded(self.balances, i, amount_raw, j, out))

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        most = self._most_in(i, j)
        return self._flow(i, j, marginal, most, most) if self._is_open(i, j) else (0, 0)

    def shape(self, token_in: str, token_out: str) -> PowerCurve:
        """See `Pool.shape`."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        return self._power_curve(i, j, float(self._most_in(i, j))) if self._is_open(i, j) else NO_CURVE

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        return balancer_hop(self.vault, self.pool_id, amount_raw, *self._ends(token_in, token_out), to_caller=to_caller)

    @property
    def log_sources(self) -> tuple[LogSource, ...]:
        """The pool for its fee, and the Vault for its balances."""
        return (LogSource(self.address, BALANCER_POOL), LogSource(self.vault, BALANCER_VAULT, self.pool_id))

    def moved(self, events: Sequence[Event]) -> BalancerWeightedPool:
        """See `PoolState.moved`."""
        refs = {token.address: k for k, token in enumerate(self.tokens)}
        balances, fee_e18 = list(self.balances), self.fee_e18
        for event in events:
            values = event.values
            if event.name == "Swap":
                balances[refs[values["tokenIn"]]] += values["amountIn"]
                balances[refs[values["tokenOut"]]] -= values["amountOut"]
            elif event.name == "PoolBalanceChanged":
                rows = zip(values["tokens"], values["deltas"], values["protocolFeeAmounts"], strict=True)
                for token, delta, fee in rows:
                    balances[refs[token]] += delta - fee
            elif event.name == "PoolBalanceManaged":
                balances[refs[values["token"]]] += values["cashDelta"] + values["managedDelta"]
            elif event.name == "SwapFeePercentageChanged":
                fee_e18 = values["swapFeePercentage"]
        return replace(self, balances=tuple(balances), fee_e18=fee_e18)

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`."""
        return super().to_json() | {"fee": str(Fraction(self.fee_e18, E18))}

    @cached_property
    def _scales(self) -> tuple[int, ...]:
        """Factors that scale raw units to 18 decimals."""
        return tuple(10 ** (MAX_DECIMALS - token.decimals) for token in self.tokens)

    @cached_property
    def _balances_e18(self) -> tuple[int, ...]:
        return tuple(balance * scale for balance, scale in zip(self.balances, self._scales, strict=True))

    @property
    def _has_shortcuts(self) -> bool:
        return self.pow_version != POW_VERSIONS[0]

    def _is_open(self, i: int, j: int) -> bool:
        """Whether the pool trades: an empty pool divides by zero and reverts."""
        return self.balances[i] > 0 and self.balances[j] > 0

    def _most_e18(self, index: int) -> int:
        return mul_down_e18(self._balances_e18[index], MAX_RATIO_E18)

    def _most_in(self, i: int, j: int) -> int:
        """Largest raw input whose net amount is within the ratio."""
        if not self._is_open(i, j):
            return 0
        net_raw = self._most_e18(i) // self._scales[i]
        # The fee is rounded up, so the net input is less than one unit below amount * (1 - fee).
        return (net_raw * E18 + E18 - 1) // (E18 - self.fee_e18)


def _load(snapshot: Snapshot) -> BalancerWeightedPool:
    return pool_of(BalancerWeightedPool, snapshot, fee_e18=_fee_e18(text_of(snapshot, "fee")))


def _fee_e18(text: str) -> int:
    """A fee from a fraction such as "3/1000"."""
    try:
        fee = Fraction(text) * E18
    except (ValueError, ZeroDivisionError):
        raise BadPoolSnapshot(f"fee {text!r} is not a fraction") from None
    if fee.denominator != 1:
        raise BadPoolSnapshot(f"fee {text} has more than 18 decimals")
    return fee.numerator


def _read(at: At, ref: PoolRef) -> Reading[BalancerWeightedPool]:
    """Read a weighted pool, and detect its version of the powers from its quotes."""
    pool = BALANCER_POOL.at(ref.address)
    pool_id, vault_address, weights, fee = yield from results_of(
        at, pool, "getPoolId", "getVault", "getNormalizedWeights", "getSwapFeePercentage"
    )
    vault = BALANCER_VAULT.at(vault_address)
    answers = yield [at.ask(vault, "getPoolTokens", pool_id)]
    assets, balances, _ = vault.result("getPoolTokens", answers[0])
    tokens = yield from tokens_read(at, assets)
    snapshot = {
        **at.pool("Balancer " + "/".join(token.symbol for token in tokens), ref.address, tokens),
        "pool_id": "0x" + bytes(pool_id).hex(),
        "vault": vault_address,
        "balances": list(balances),
        "fee": f"{fee}/{10**18}",
        "weights": list(weights),
    }
    versions = [_load({**snapshot, "pow_version": version}) for version in ("v2", "v1")]
    # Only quotes show the version of the powers, and only pairs with weights 1:1, 2:1 or 4:1 have different quotes.
    swaps = probes(versions[0], every_pair=True)
    funds = (ETHER_ADDRESS, False, ETHER_ADDRESS, False)
    answers = yield [
        at.ask(vault, "queryBatchSwap", 0, [(pool_id, i, j, amount, b"")], list(assets), funds)
        for i, j, amount in swaps
    ]
    changes = [answered(vault, "queryBatchSwap", answer) for answer in answers]
    quotes = [-deltas[j] if deltas else None for deltas, (_, j, _) in zip(changes, swaps, strict=True)]
    for model in versions:
        if quotes == quotes_of(model, model.quote_in, swaps):
            return model
    raise UnsupportedPool(f"Balancer pool that is not weighted, {ref.address}")


VENUE = Venue(
    name=BalancerWeightedPool.VENUE_NAME,
    kinds=(BalancerWeightedPool.KIND,),
    snapshot_key="weights",
    load=_load,
    read=each(_read),
    mark=(BALANCER_POOL, "getNormalizedWeights"),
    takes=lambda ref: len(ref.tokens) >= 2,
)
