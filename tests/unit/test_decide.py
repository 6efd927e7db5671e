"""What a keeper does about a vault, by what the lens says of it and by what becomes of the search for a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import PolicyRefused
from rebalancer.keeper import decide as module
from rebalancer.keeper.decide import (
    Action,
    Conditions,
    Verdict,
    as_traded,
    decide,
    plan_input,
    wants_plan,
)
from rebalancer.keeper.decision import explain, loss_text
from rebalancer.lab.backtest import BacktestFeed, BacktestMarket, BacktestVault
from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.settlement import Policy, Price, State
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool, PoolState, Token, UniswapV4Pool, WrappedEtherPool
from rebalancer.venues.model import ETHER_ADDRESS
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS, USD
from tests.unit.test_wait_rule import FAR, POLICY, RAMP, SEEN_AT

NO_GAS = Conditions(0)
SEEN = State(due_since=SEEN_AT)
UNSEEN = State()
REFUSED = PolicyRefused("PriceTooPoor", (1, 2))
LITTLE = PolicyRefused("TooLittleProgress", (3, 4))


def seen(state: State = SEEN, policy: Policy = POLICY, at: int = SEEN_AT) -> VaultSnapshot:
    """A vault that holds far too much ether."""
    names = {ETHER: "ETH/USD", BITCOIN: "BTC/USD", DOLLAR: "USDC/USD"}
    feeds = [BacktestFeed(name, token.address, RAMP) for token, name in names.items()]
    market = BacktestMarket(feeds, POOLS, {n: USD[t] * 10**8 for t, n in names.items()}, at)
    vault = BacktestVault("0x" + "ee" * 20, FAR.assets, FAR.held, policy, state)
    return vault.snapshot(market, at)


@pytest.fixture(scope="module")
def plan() -> Plan:
    found = plan_rebalance(Problem.of(FAR, POOLS))
    assert isinstance(found, Plan)
    return found


def after(monkeypatch: pytest.MonkeyPatch, found: Plan | NoPlan, snapshot: VaultSnapshot) -> Verdict:
    """The decision where this is what becomes of the search for a plan."""
    monkeypatch.setattr(module, "plan_rebalance", lambda _: found)
    return decide(snapshot, POOLS, NO_GAS)


def refusal(plan: Plan, why: PolicyRefused, bound_by: str | None = None) -> NoPlan:
    """The best plan there is, which the vault would refuse."""
    return NoPlan(Reason.POLICY_REFUSES, str(why), why, replace(plan, bound_by=bound_by))


# Without a search


@pytest.mark.parametrize(
    ("reason", "trades"),
    [(reason, reason in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE)) for reason in Reason],
)
def test_trades_are_sought_only_where_the_vault_would_take_them(reason: Reason, trades: bool) -> None:
    assert wants_plan(replace(seen(), reason=reason)) is trades


@pytest.mark.parametrize("reason", [Reason.BAND_BROKEN, Reason.PAUSED, Reason.IN_BAND])
def test_loss_is_written_down_before_anything_else(reason: Reason) -> None:
    lossy = replace(seen(), reason=reason, missing_raw=(0, 5, 0))

    found = decide(lossy, POOLS, NO_GAS)

    assert (found.step, found.reason) == (Action.SYNC, Reason.LOSS_NOT_WRITTEN_DOWN)
    assert f"5 raw units of {BITCOIN.address} are missing" in found.text
    assert ETHER.address not in found.text
    assert found.vault == lossy.address
    assert found.plan is None


@pytest.mark.parametrize(
    ("reason", "state", "step"),
    [
        (Reason.IN_BAND, SEEN, Action.POKE),  # the stamp of a break that is over
        (Reason.IN_BAND, UNSEEN, Action.NOTHING),
        (Reason.PAUSED, SEEN, Action.NOTHING),
        (Reason.COOLDOWN, SEEN, Action.NOTHING),
        (Reason.ORACLE_FAULT, SEEN, Action.NOTHING),
    ],
)
def test_stamp_is_cleared_where_every_weight_is_back_and_nowhere_else(
    reason: Reason, state: State, step: Action
) -> None:
    found = decide(replace(seen(state), reason=reason), POOLS, NO_GAS)

    assert (found.step, found.reason, found.plan) == (step, reason, None)


# After a search


@pytest.mark.parametrize("state", [SEEN, UNSEEN])
def test_plan_is_sent_whether_the_break_was_seen_or_not(
    plan: Plan, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = after(monkeypatch, plan, seen(state))

    assert (found.step, found.reason) == (Action.REBALANCE, Reason.BAND_BROKEN)
    assert (found.plan, found.text) == (plan, plan.text)


@pytest.mark.parametrize("state", [SEEN, UNSEEN])
@pytest.mark.parametrize(
    ("error", "bound_by"),
    [
        (PolicyRefused("LossBudgetExceeded", (1, 2)), None),
        (PolicyRefused("TurnoverBudgetExceeded", (1, 2)), "worth"),
        (LITTLE, "loss"),
        (LITTLE, "turnover"),
    ],
)
def test_what_a_budget_forbids_waits_for_it_to_refill(
    plan: Plan,
    state: State,
    error: PolicyRefused,
    bound_by: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stamp would not help: budgets refill by themselves."""
    found = after(monkeypatch, refusal(plan, error, bound_by), seen(state))

    assert (found.step, found.reason) == (Action.NOTHING, Reason.BUDGET_SPENT)
    assert found.plan == replace(plan, bound_by=bound_by)


@pytest.mark.parametrize("error", [REFUSED, LITTLE])
@pytest.mark.parametrize("bound_by", ["slippage", "worth", None])
def test_what_the_vault_refuses_has_it_stamp_the_break_once(
    plan: Plan, error: PolicyRefused, bound_by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slippage limit climbs from the stamp on, and lets more through later."""
    none = refusal(plan, error, bound_by)
    first, later = (after(monkeypatch, none, seen(state)) for state in (UNSEEN, SEEN))

    assert (first.step, first.reason) == (Action.POKE, Reason.BAND_BROKEN)
    assert (later.step, later.reason) == (Action.NOTHING, Reason.POLICY_REFUSES)
    assert first.plan == later.plan == none.refused
    assert first.text == later.text


def test_refusal_is_told_in_the_vaults_words_but_little_progress_by_the_limit(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    halfway = seen(SEEN, at=SEEN_AT + RAMP // 2)
    poor = after(monkeypatch, refusal(plan, REFUSED), halfway)
    little = after(monkeypatch, refusal(plan, LITTLE), halfway)

    just_below = replace(halfway, slippage_limit_e18=E18 * 12 // 1_000 - 1)
    less = after(monkeypatch, refusal(plan, LITTLE), just_below)

    assert poor.text == str(REFUSED)
    assert "no more than the 119 bps allowed now" in less.text
    assert "no more than the 120 bps allowed now" in little.text
    assert "too small to count as progress" in little.text


@pytest.mark.parametrize(
    ("reason", "first"),
    [
        (Reason.POLICY_REFUSES, Action.POKE),
        (Reason.AWAITS_PRICE, Action.POKE),
        (Reason.NO_ROUTE, Action.NOTHING),
        (Reason.NOT_WORTH_GAS, Action.NOTHING),
        (Reason.BUDGET_SPENT, Action.NOTHING),
    ],
)
def test_break_is_stamped_only_where_a_limit_that_climbs_helps(
    plan: Plan, reason: Reason, first: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = NoPlan(reason, "so it is", refused=plan)
    unseen, known = (after(monkeypatch, none, seen(state)) for state in (UNSEEN, SEEN))

    assert (unseen.step, known.step) == (first, Action.NOTHING)
    assert unseen.reason is (Reason.BAND_BROKEN if first is Action.POKE else reason)
    assert (known.reason, known.text, known.plan) == (reason, "so it is", plan)


def test_budget_that_is_spent_stops_a_real_search_without_a_stamp() -> None:
    """A turnover budget of 1 % lets too little of 5 % home to count as the progress of 20 % asked for."""
    tight = replace(POLICY, turnover_budget_bps=100, min_progress_bps=9_000)

    found = decide(seen(UNSEEN, tight), POOLS, NO_GAS)

    assert (found.step, found.reason) == (Action.NOTHING, Reason.BUDGET_SPENT)


def test_poor_pools_of_a_real_search_have_the_break_stamped() -> None:
    """Of each swap 0.3 % goes to the pool, and the limit begins at 0.1 %."""
    early = replace(POLICY, start_slippage_bps=10)

    first, later = (decide(seen(state, early), POOLS, NO_GAS) for state in (UNSEEN, SEEN))

    assert (first.step, first.reason) == (Action.POKE, Reason.BAND_BROKEN)
    assert later.step is Action.NOTHING


# What a plan is sought from


def test_search_is_within_what_is_left_of_each_budget() -> None:
    snapshot = replace(seen(), loss_left_e18=E18 // 100, turnover_left_e18=E18 // 5, slippage_limit_e18=E18 // 125)

    problem = plan_input(snapshot, POOLS, Conditions(7 * 10**9))

    assert problem.loss_max_e18 == snapshot.total_e18 // 100
    assert problem.sold_max_e18 == snapshot.total_e18 // 5
    assert problem.slippage_limit_e18 == E18 // 125
    assert problem.gas_price_wei == 7 * 10**9
    assert problem.pools == POOLS
    assert problem.rules is not None
    assert problem.rules.state == snapshot.state


def test_destination_of_the_policy_is_that_of_the_search() -> None:
    inside = seen(policy=replace(POLICY, destination_bps=5_000))

    assert plan_input(seen(), POOLS, NO_GAS).need_max_e18 is None
    assert plan_input(inside, POOLS, NO_GAS).need_max_e18 == inside.need_e18


@pytest.mark.parametrize(
    ("wrapped", "price_e18", "told_e18", "expected_e18"),
    [
        (ETHER.address, 2_000 * E18, 5 * E18, 2_000 * E18),  # the vault's own price goes first
        (ETHER.address, 0, 5 * E18, 5 * E18),  # of an excluded asset it has none
        ("0x" + "99" * 20, 2_000 * E18, 5 * E18, 5 * E18),  # it does not hold the token
        ("0x" + "99" * 20, 2_000 * E18, 0, 0),  # nobody knows
    ],
)
def test_gas_is_weighed_at_the_vaults_own_price_of_ether(
    wrapped: str, price_e18: int, told_e18: int, expected_e18: int
) -> None:
    snapshot = seen()
    basket = snapshot.basket
    if not price_e18:
        ether, bitcoin, dollar = basket.assets
        assets = (
            replace(ether, excluded=True, target_e18=0, start_target_e18=0),
            bitcoin,
            replace(dollar, target_e18=6 * E18 // 10, start_target_e18=6 * E18 // 10),
        )
        prices = (Price(0, 0, 0), *basket.prices[1:])
        snapshot = replace(snapshot, basket=replace(basket, assets=assets, prices=prices))

    found = plan_input(snapshot, POOLS, Conditions(1, wrapped, told_e18))

    assert found.native_price_e18 == expected_e18


def test_pools_of_ether_trade_as_the_wrapped_token_where_the_vault_knows_it() -> None:
    ether = Token(ETHER_ADDRESS, "ETH", 18)
    v3 = POOLS[1]
    state = v3.sqrt_price_x96, v3.tick, v3.liquidity
    v4 = UniswapV4Pool("0x" + "a4" * 20, ether, DOLLAR, v3.profile, *state)
    pools: list[PoolState] = [POOLS[0], v4, v3]
    tokens = (BITCOIN, ETHER, DOLLAR)

    known: tuple[Pool, ...] = as_traded(pools, tokens, ETHER.address)
    unknown = as_traded(pools, tokens, "0x" + "99" * 20)

    assert known == (POOLS[0], WrappedEtherPool(v4, ETHER), v3)
    assert unknown == (POOLS[0], v3)


# What it says


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": Reason.BAND_BROKEN, "drift_bps": 511}, "a weight is 511 bps off its target"),
        ({"reason": Reason.CALENDAR_DUE}, "a calendar rebalance is due"),
        ({"reason": Reason.IN_BAND, "drift_bps": 7}, "the furthest is 7 bps off"),
        ({"reason": Reason.PAUSED}, "the guardian has paused rebalancing"),
        (
            {"reason": Reason.COOLDOWN, "state": State(rebalanced_at=SEEN_AT)},
            "lasts until 1970-01-12 13:56:40 UTC",  # 1,000,000 s and a cooldown of 600
        ),
        ({"reason": Reason.TOTAL_OUT_OF_RANGE}, "worth nothing"),
        (
            {"reason": Reason.LOSS_NOT_WRITTEN_DOWN, "missing_raw": (0, 5, 6)},
            f"5 raw units of {BITCOIN.address}, 6 raw units of {DOLLAR.address} are missing",
        ),
    ],
)
def test_reason_is_told_with_its_numbers(changes: dict[str, object], words: str) -> None:
    assert words in explain(replace(seen(), **changes))  # type: ignore[arg-type] # as in the table


def test_fault_of_the_oracle_names_the_tokens_that_have_one_and_no_other() -> None:
    snapshot = seen()
    prices = list(snapshot.basket.prices)
    prices[1] = replace(prices[1], fault="Stale")
    blind = replace(
        snapshot,
        reason=Reason.ORACLE_FAULT,
        basket=replace(snapshot.basket, prices=tuple(prices)),
    )

    assert explain(blind) == f"no valid price for {BITCOIN.address} (its answer is older than its heartbeat)"


def test_owner_is_told_of_a_loss_above_dust_and_of_what_is_barred() -> None:
    snapshot = seen()
    dust = snapshot.basket.held[1] * POLICY.dust_bps // BPS
    barred = replace(snapshot.basket, barred=(False, True, False))

    def reported(missing: int, state: State = UNSEEN, is_barred: bool = False) -> str:
        found = replace(snapshot, missing_raw=(0, missing, 0), state=state)
        return loss_text(replace(found, basket=barred) if is_barred else found)

    purchases = replace(snapshot, reason=Reason.PURCHASES_BARRED, basket=barred)
    assert f"the only token to buy is {BITCOIN.address}, which lost balance" in explain(purchases)
    paused = replace(snapshot, reason=Reason.PAUSED, basket=barred)
    assert f"because {BITCOIN.address} lost balance" in explain(paused)
    assert reported(0) == reported(dust) == ""
    assert f"{dust + 1} raw units of {BITCOIN.address}" in reported(dust + 1)
    assert reported(0, is_barred=True) == (
        f"{BITCOIN.address} lost balance: the owner may allow its purchases (allowPurchases)"
    )
    assert reported(0, State(paused=True), is_barred=True).endswith("(resumeRebalance)")
    assert reported(0, State(paused=True)) == ""
