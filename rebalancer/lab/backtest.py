"""Backtest of a keeper on a tape, bit-exact and without a chain.

It simulates feeds that answer as on the tape and become stale, wei-exact pools that arbitrageurs move after every round
(`arbitrage.py`), a vault that is `settlement.settle` and is read as VaultLens reads it, and a keeper with a replaceable
decision function. The same tape on Anvil with the real contracts gives the same decisions, trades and ledgers
(tests/demo/test_backtest.py). Here, the ten months of the real tape need seconds.

A block has the time of its step of the tape, but at least one second more than the last block. The keeper's transaction
is mined alone, one second after the block that the keeper evaluated. Fees are paid in shares and do not move holdings,
so they are not simulated. Amounts are raw units and fractions are of 1e18, in basket order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.devnet.tape import TapeStep as Published
from rebalancer.errors import PolicyRefused
from rebalancer.keeper.decide import Action
from rebalancer.lab.arbitrage import arbitraged
from rebalancer.plan import Swap
from rebalancer.policy import (
    allowed_sales,
    is_calendar_open,
    slippage_e18,
    surplus_raw,
    to_destination,
)
from rebalancer.reasons import Reason
from rebalancer.settlement import (
    Asset,
    Basket,
    Fill,
    Policy,
    Price,
    Settlement,
    State,
    Weighed,
    budgets_left_e18,
    settle,
    weigh_basket,
)
from rebalancer.units import BPS
from rebalancer.venues import Pool

__all__ = [
    "BacktestFeed",
    "BacktestMarket",
    "BacktestTick",
    "BacktestVault",
    "Decided",
    "Trade",
    "play",
]

_FEED_UNIT = 10**10
"""Factor from a feed's 8 decimals to 18."""


@dataclass(frozen=True, slots=True)
class BacktestFeed:
    """A feed: its name on the tape, its token, and OracleHub's limits of age and price (USD * 1e8 per whole token)."""

    name: str
    token: str
    max_age_seconds: int
    min_e8: int = 1
    max_e8: int = 1 << 128


class BacktestMarket:
    """Feeds and pools. `others_e8` holds the prices of pool tokens without a feed, by address."""

    def __init__(
        self,
        feeds: Sequence[BacktestFeed],
        pools: Sequence[Pool],
        prices_e8: Mapping[str, int],
        at: int,
        others_e8: Mapping[str, int] | None = None,
    ) -> None:
        self.pools = tuple(pools)
        self._feeds = {feed.name: feed for feed in feeds}
        self._by_token = {feed.token: feed for feed in feeds}
        self._answers = {name: (prices_e8[name], at) for name in self._feeds}
        self._usd_e8 = dict(others_e8 or {})
        self._traded = {pool.key for pool in self.pools}
        self._usd_e8 |= {feed.token: prices_e8[feed.name] for feed in feeds}

    def step(self, prices_e8: Mapping[str, int], at: int) -> None:
        """Apply new rounds, then arbitrage, as `devnet.market.DevMarket.step` does on a chain."""
        for name, answer in prices_e8.items():
            self._answers[name] = (answer, at)
            self._usd_e8[self._feeds[name].token] = answer
        moved = {self._feeds[name].token for name in prices_e8}
        self.pools = tuple(
            arbitraged(pool, self._usd_e8) if self._may_pay(pool, moved) else pool for pool in self.pools
        )
        self._traded.clear()

    def _may_pay(self, pool: Pool, moved: set[str]) -> bool:
        """Whether a pool, or a price of its tokens, has changed since the last arbitrage."""
        return pool.key in self._traded or any(token.address in moved for token in pool.tokens)

    def trade(self, plan: Trade) -> tuple[dict[str, int], dict[str, int]]:
        """Execute the swaps of a plan by exact quotes. Returns the total amounts in and out, by token."""
        states = {pool.key: pool for pool in self.pools}
        given: dict[str, int] = {}
        got: dict[str, int] = {}
        for swap in plan.swaps:
            out, states[swap.pool.key] = states[swap.pool.key].swapped(
                swap.token_in, swap.token_out, swap.amount_in_raw
            )
            self._traded.add(swap.pool.key)
            given[swap.token_in] = given.get(swap.token_in, 0) + swap.amount_in_raw
            got[swap.token_out] = got.get(swap.token_out, 0) + out
        self.pools = tuple(states[pool.key] for pool in self.pools)
        return given, got

    def price(self, token: str, at: int) -> Price:
        """OracleHub's price of an asset whose only source is its feed."""
        feed = self._by_token[token]
        answer, updated_at = self._answers[feed.name]
        price_e18 = answer * _FEED_UNIT
        fault = "None"
        if at - updated_at > feed.max_age_seconds:
            fault = "Stale"
        elif not feed.min_e8 <= answer <= feed.max_e8:
            fault = "OutOfRange"
        return Price(price_e18, price_e18, price_e18, fault)


@dataclass(frozen=True, slots=True)
class BacktestVault:
    """A vault's ledger and policy. Deposits and withdrawals are not simulated, so its supply does not change."""

    address: str
    assets: tuple[Asset, ...]
    held: tuple[int, ...]
    policy: Policy
    state: State = field(default_factory=State)
    total_supply: int = 0

    def snapshot(self, market: BacktestMarket, at: int) -> VaultSnapshot:
        """The result of VaultLens.read in a block at the time `at`."""
        policy, state = self.policy, self.state
        prices = tuple(market.price(asset.token, at) for asset in self.assets)
        none = (False,) * len(self.assets)  # no token loses balance in a backtest
        basket = Basket(self.assets, self.held, prices, 0, 0, at, policy.dust_bps, none)
        loss_left, turnover_left = budgets_left_e18(policy, state, at)
        blind = VaultSnapshot(
            address=self.address,
            reason=Reason.ORACLE_FAULT,
            basket=basket,
            policy=policy,
            state=state,
            total_supply=self.total_supply,
            loss_left_e18=loss_left,
            turnover_left_e18=turnover_left,
            slippage_limit_e18=slippage_e18(
                *(policy.start_slippage_bps, policy.max_slippage_bps),
                *(policy.slippage_ramp_seconds, state.due_since, at),
            ),
            opens_at=state.due_since + policy.open_after_seconds
            if state.due_since and policy.open_after_seconds
            else 0,
            total_e18=0,
            distance_e18=0,
            need_e18=0,
            drift_bps=0,
            sales_allowed=(0,) * len(self.assets),
            missing_raw=(0,) * len(self.assets),
        )
        try:
            return _judged(blind)
        except PolicyRefused as refusal:
            if refusal.error == "OracleFault":
                return blind
            return replace(blind, reason=Reason.TOTAL_OUT_OF_RANGE)

    def poked(self, market: BacktestMarket, at: int) -> BacktestVault:
        """The vault after `BasketVault.poke` in a block at the time `at`."""
        seen = self.snapshot(market, at)
        due = _is_due(seen, weigh_basket(seen.basket))
        if due == (self.state.due_since != 0):
            return self
        return replace(self, state=replace(self.state, due_since=at if due else 0))

    def rebalanced(self, market: BacktestMarket, plan: Trade, fill: Fill, at: int) -> tuple[BacktestVault, Settlement]:
        """The vault after `BasketVault.rebalance` in a block at the time `at`, and the settlement.

        Raises:
            PolicyRefused: the contract would refuse it.
        """
        settled = settle(
            self.policy,
            self.state,
            self.snapshot(market, at).basket,
            fill,
            plan.min_buys_raw,
            at,
            epoch=self.state.epoch,
            sales=plan.sales_raw,
        )
        return replace(self, held=settled.held, state=settled.state), settled


def _is_due(seen: VaultSnapshot, weighed: Weighed) -> bool:
    """BasketVault._isDue: a band is broken, or the calendar is open and the distance exceeds the dust threshold."""
    policy, state = seen.policy, seen.state
    return weighed.broken is not None or (
        is_calendar_open(state.rebalanced_at, policy.calendar_seconds, seen.basket.timestamp)
        and weighed.distance_e18 * BPS > policy.dust_bps * weighed.total_e18
    )


def _judged(blind: VaultSnapshot) -> VaultSnapshot:
    """VaultLens._judge and _allow: the snapshot of a vault whose prices are sound.

    Raises:
        PolicyRefused: a price is not sound, or the total is out of range.
    """
    basket, policy, state = blind.basket, blind.policy, blind.state
    weighed = weigh_basket(basket)
    if weighed.broken is not None:
        reason = Reason.BAND_BROKEN
    else:
        reason = Reason.CALENDAR_DUE if _is_due(blind, weighed) else Reason.IN_BAND
    if state.paused:
        reason = Reason.PAUSED
    elif reason is not Reason.IN_BAND:
        backoff_until = state.rebalanced_at + policy.cooldown_seconds
        reason = Reason.COOLDOWN if basket.timestamp < backoff_until else reason
    distance, need = to_destination(
        *(weighed.distances_e18, weighed.total_e18, basket.bands_e18),
        *(policy.destination_bps, policy.dust_bps),
    )
    seen = replace(
        blind,
        reason=reason,
        total_e18=weighed.total_e18,
        distance_e18=distance,
        need_e18=need,
        drift_bps=weighed.drift_bps,
    )
    if reason not in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE):
        return seen
    surpluses = list(map(surplus_raw, weighed.distances_e18, basket.prices_e18, basket.units))
    sales = allowed_sales(
        *(surpluses, basket.prices_e18, basket.his_e18, basket.units, basket.min_trades_raw),
        *(need, blind.turnover_left_e18, weighed.total_e18),
    )
    return replace(seen, sales_allowed=tuple(sales))


class Trade(Protocol):
    """Sales, minimum purchases, and the swaps in order. A `Plan` is one."""

    @property
    def sales_raw(self) -> tuple[int, ...]: ...

    @property
    def min_buys_raw(self) -> tuple[int, ...]: ...

    @property
    def swaps(self) -> tuple[Swap, ...]: ...


class Decided(Protocol):
    """The next action for a vault, and its reason. A `Verdict` is one."""

    @property
    def step(self) -> Action: ...

    @property
    def reason(self) -> Reason: ...

    @property
    def plan(self) -> Trade | None: ...


AnyDecided = TypeVar("AnyDecided", bound=Decided)


@dataclass(frozen=True, slots=True)
class BacktestTick(Generic[AnyDecided]):
    """One tick: snapshot, pools, decision, and the settlement of a rebalance."""

    at: int
    snapshot: VaultSnapshot
    pools: tuple[Pool, ...]
    verdict: AnyDecided
    vault_after: BacktestVault
    fill: Fill | None = None
    settlement: Settlement | None = None


def play(
    vault: BacktestVault,
    market: BacktestMarket,
    steps: Iterable[Published],
    decide: Callable[[VaultSnapshot, Sequence[Pool]], AnyDecided],
) -> Iterator[BacktestTick[AnyDecided]]:
    """Replay a tape, with one tick of the keeper per block. Changes `market`.

    Raises:
        PolicyRefused: the policy refuses a plan, which means that the plan's prediction was wrong.
    """
    now = 0
    for published in steps:
        now = max(published.at, now + 1)
        market.step(published.prices_e8, now)
        snapshot, pools = vault.snapshot(market, now), market.pools
        verdict = decide(snapshot, pools)
        fill: Fill | None = None
        settlement: Settlement | None = None
        at = now
        if verdict.step is Action.POKE:
            now += 1
            vault = vault.poked(market, now)
        elif verdict.step is Action.REBALANCE and verdict.plan is not None:
            now += 1
            given, got = market.trade(verdict.plan)
            net = [got.get(a.token, 0) - given.get(a.token, 0) for a in vault.assets]
            fill = Fill(tuple(max(0, -raw) for raw in net), tuple(max(0, raw) for raw in net))
            vault, settlement = vault.rebalanced(market, verdict.plan, fill, now)
        yield BacktestTick(at, snapshot, pools, verdict, vault, fill, settlement)
