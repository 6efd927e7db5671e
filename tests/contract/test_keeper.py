"""The keeper on a local market: every reason it can give, and books that are as foreseen to the unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.errors import EndpointsDisagree, KeeperNotAuthorized, RpcTimeout
from rebalancer.keeper import Decision, Evaluator, Keeper, KeeperContext, KeeperOptions, Tick
from rebalancer.keeper.decision import Outcome
from rebalancer.operations.deploy import grant_roles
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState, Kind
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import Policy, weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import PoolRef
from rebalancer.words import utc
from tests.clocks import LONGEST_SECONDS, SkippingClock
from tests.unit.test_rpc import ScriptedServer

pytestmark = pytest.mark.both_chains  # nodes mine, simulate and word errors differently

UP_10_PERCENT = {"ETH/USD": 2_200_00000000}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """The keeper's journal."""
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def keeper_of(
    environment: DevEnvironment,
    outbox: Outbox | None,
    *,
    actor: Actor = Actor.KEEPER,
    pools: list[str] | None = None,
    dry_run: bool = False,
    rpc: Rpc | None = None,
) -> Keeper:
    """A keeper of the stage's vault. It evaluates by the stage's node, and does the rest by another `rpc` where that is given."""
    context = KeeperContext.of(environment.deployment, [environment.vault])
    if pools is not None:
        context = replace(context, pools=tuple(PoolRef(pool, venue="uniswap-v3") for pool in pools))
    return Keeper(
        rpc or environment.chain.rpc,
        context,
        [devnet_signer(actor)],
        outbox,
        KeeperOptions(dry_run=dry_run, fee_cap_wei=10_000 * 10**9, tick_timeout_seconds=LONGEST_SECONDS),
        evaluator=Evaluator(environment.chain.rpc, context),
    )


def tick(keeper: Keeper, block: Block | None = None) -> Decision:
    """The only decision of a look."""
    (decision,) = keeper.tick(block)
    return decision


def snapshot_of(environment: DevEnvironment) -> VaultSnapshot:
    """The vault now."""
    return read_vaults(
        environment.chain.rpc,
        environment.system.lens,
        [environment.vault],
        read_block(environment.chain.rpc),
    )[0]


def move(environment: DevEnvironment, prices_e8: dict[str, int], seconds: int = 900) -> None:
    """Let time pass and prices change; every feed answers."""
    environment.market.step(environment.market.prices_e8 | prices_e8, environment.chain.now() + seconds)


def set_policy(environment: DevEnvironment, policy: Policy) -> None:
    """The owner replaces the policy."""
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    fields = [getattr(policy, name) for name in policy.__slots__]
    environment.wallet(Actor.OWNER).transact(vault, "setPolicy", tuple(fields))


def nonce(environment: DevEnvironment) -> int:
    """How many transactions the keeper has sent."""
    address = Actor.KEEPER.address
    return int(environment.chain.rpc.call("eth_getTransactionCount", address, "latest"), 16)


def is_as_foreseen(outcome: Outcome) -> bool | None:
    """Whether the books are those that were predicted, to the unit; None where nothing was, or nothing can be compared."""
    if outcome.predicted is None or outcome.settled is None:
        return None
    return outcome.predicted.held == outcome.settled.held


def assert_as_foreseen(environment: DevEnvironment, decision: Decision) -> None:
    """The chain's ledger is the predicted one to the unit, and the loss is inside the limit of that moment."""
    outcome = decision.outcome
    assert outcome is not None
    assert outcome.settled is not None
    assert outcome.predicted is not None
    assert outcome.predicted.held == outcome.settled.held == snapshot_of(environment).basket.held
    assert outcome.settled.state == snapshot_of(environment).state
    limit_e18 = outcome.settled.slippage_limit_e18
    assert outcome.settled.loss_e18 * E18 <= limit_e18 * outcome.settled.sold_e18


def test_tick_in_band_sends_nothing_and_says_why(environment: DevEnvironment, outbox: Outbox) -> None:
    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.IN_BAND
    assert "inside its band" in decision.text
    assert nonce(environment) == 0
    assert outbox.attempts(environment.deployment.chain_id) == []


def test_tick_out_of_band_brings_every_weight_back_as_foreseen(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    before = snapshot_of(environment)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(environment, decision)
    after = snapshot_of(environment)
    assert after.reason in (Reason.IN_BAND, Reason.COOLDOWN)
    assert weigh_basket(after.basket).broken is None
    assert after.drift_bps < before.drift_bps // 10
    assert after.state.epoch == before.state.epoch + 1
    (attempt,) = outbox.attempts(environment.deployment.chain_id)
    assert attempt.state is AttemptState.MINED
    executor = environment.system.executor
    for token in environment.deployment.tokens:
        held = contract_at(environment.chain.rpc, "IERC20Metadata", token.address)
        assert held.call("balanceOf", executor) == 0


def test_tick_on_the_block_of_an_earlier_rebalance_is_refused_not_repeated(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    move(environment, UP_10_PERCENT)
    seen: Block = read_block(environment.chain.rpc)
    keeper = keeper_of(environment, outbox)
    first = tick(keeper, seen)
    sent = nonce(environment)

    again = tick(keeper, seen)  # a reader that lags behind

    assert first.reason is Reason.REBALANCED
    assert again.reason is Reason.NOT_YET
    assert "WrongEpoch" in again.text
    assert nonce(environment) == sent
    assert snapshot_of(environment).state.epoch == 1


def test_dry_run_plans_and_sends_nothing(environment: DevEnvironment) -> None:
    move(environment, UP_10_PERCENT)

    decision = tick(keeper_of(environment, None, dry_run=True))

    assert decision.reason is Reason.DRY_RUN
    assert decision.plan is not None
    assert decision.plan.expected_buys_raw != (0, 0, 0)
    assert nonce(environment) == 0


def test_tick_within_the_cooldown_waits(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, outbox)
    move(environment, UP_10_PERCENT)
    keeper.tick()
    move(environment, {"ETH/USD": 2_600_00000000}, seconds=60)

    decision = tick(keeper)

    assert decision.reason is Reason.COOLDOWN
    assert utc(snapshot_of(environment).state.rebalanced_at + DEMO_POLICY.cooldown_seconds) in decision.text


def test_tick_while_paused_waits(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.PAUSED
    assert nonce(environment) == 0


def test_tick_with_a_stale_price_waits_and_names_the_token(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    usdc = environment.deployment.listed("USDC")
    environment.chain.mine(at=environment.chain.now() + 2 * 86_400)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.ORACLE_FAULT
    assert f"{usdc.address} (its answer is older than its heartbeat)" in decision.text
    assert nonce(environment) == 0


def test_tick_without_a_pool_says_no_route(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)

    decision = tick(keeper_of(environment, outbox, pools=[]))

    assert decision.reason is Reason.NO_ROUTE
    assert nonce(environment) == 0


def test_tick_with_little_turnover_left_trades_what_it_may_and_says_what_bound_it(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    set_policy(environment, replace(DEMO_POLICY, min_progress_bps=100, turnover_budget_bps=100))
    move(environment, UP_10_PERCENT)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert decision.plan.bound_by == "turnover"
    assert_as_foreseen(environment, decision)
    assert snapshot_of(environment).turnover_left_e18 < E18 // BPS
    assert snapshot_of(environment).state.due_since == snapshot_of(environment).state.rebalanced_at


def test_tick_with_the_turnover_budget_spent_waits(environment: DevEnvironment, outbox: Outbox) -> None:
    set_policy(
        environment,
        replace(
            DEMO_POLICY,
            min_progress_bps=100,
            turnover_budget_bps=100,
            cooldown_seconds=0,
            turnover_period_seconds=2**32 - 1,
        ),
    )
    move(environment, UP_10_PERCENT)
    keeper, before = keeper_of(environment, outbox), snapshot_of(environment).state.epoch
    keeper.tick()
    move(environment, {}, seconds=60)

    decision = tick(keeper)

    assert decision.reason is Reason.BUDGET_SPENT
    assert snapshot_of(environment).state.epoch == before + 1


def test_tick_above_the_slippage_limit_pokes_and_trades_once_it_has_climbed(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    set_policy(environment, replace(DEMO_POLICY, start_slippage_bps=0))
    move(environment, UP_10_PERCENT)
    keeper = keeper_of(environment, outbox)

    poked = tick(keeper)
    move(environment, {}, seconds=DEMO_POLICY.slippage_ramp_seconds)
    traded = tick(keeper)

    assert poked.reason is Reason.POKED
    assert traded.reason is Reason.REBALANCED
    assert_as_foreseen(environment, traded)


def test_what_came_of_a_poke_tells_the_vaults_own_epoch_and_drift(environment: DevEnvironment, outbox: Outbox) -> None:
    set_policy(environment, replace(DEMO_POLICY, start_slippage_bps=0))
    move(environment, UP_10_PERCENT)
    before = snapshot_of(environment)
    assert before.state.epoch > 0

    with structlog.testing.capture_logs() as logs:
        poked = tick(keeper_of(environment, outbox))

    assert (poked.reason, poked.kind) == (Reason.POKED, "poke")
    assert (poked.epoch, poked.drift_bps) == (before.state.epoch, before.drift_bps)
    attempts = [line for line in logs if line["event"] == "attempt"]
    assert {(line["kind"], line["epoch"]) for line in attempts} == {("poke", None)}
    assert {line["chain_id"] for line in attempts} == {31337}


def test_a_vault_that_cannot_be_weighed_has_no_drift(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, outbox)
    ticks: list[Tick] = []
    keeper.reporter.observers = (ticks.append,)
    environment.chain.mine(at=environment.chain.now() + 86_400)

    decision = tick(keeper)

    assert (decision.reason, decision.drift_bps, decision.kind) == (Reason.ORACLE_FAULT, None, "")
    assert ticks[-1].drifts_bps == {}


def test_tick_clears_the_break_once_prices_are_back(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.DEPOSITOR).transact(vault, "poke")
    move(environment, {"ETH/USD": 2_000_00000000})
    assert snapshot_of(environment).state.due_since > 0

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.POKED
    assert snapshot_of(environment).state.due_since == 0


# What else a vault may ask for


def test_tick_ends_where_the_policy_says_within_the_band(environment: DevEnvironment, outbox: Outbox) -> None:
    """Half of the band is left: what is too much of WETH shrinks to about half of its band."""
    set_policy(environment, replace(DEMO_POLICY, destination_bps=5_000))
    move(environment, UP_10_PERCENT)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert decision.plan.bound_by is None
    assert_as_foreseen(environment, decision)
    after = snapshot_of(environment)
    weighed = weigh_basket(after.basket)
    off_e18, band_e18 = (
        weighed.distances_e18[0] * E18 // weighed.total_e18,
        after.basket.bands_e18[0],
    )
    assert band_e18 * 45 // 100 < off_e18 < band_e18 * 55 // 100
    assert after.distance_e18 * BPS <= 2 * DEMO_POLICY.dust_bps * after.total_e18


def test_tick_rebalances_once_a_day_where_the_calendar_says_so(environment: DevEnvironment, outbox: Outbox) -> None:
    day = 86_400
    set_policy(environment, replace(DEMO_POLICY, calendar_seconds=day))
    move(environment, {"ETH/USD": 2_020_00000000}, seconds=day)
    keeper, before = keeper_of(environment, outbox), snapshot_of(environment).state.epoch
    assert snapshot_of(environment).reason is Reason.CALENDAR_DUE
    assert weigh_basket(snapshot_of(environment).basket).broken is None

    first = tick(keeper)
    move(environment, {"ETH/USD": 2_040_00000000})
    again = tick(keeper)
    # The limit climbs from when the vault knows that it is due, and better prices are waited for until it has.
    move(environment, {}, seconds=day)
    poked = tick(keeper)
    move(environment, {}, seconds=DEMO_POLICY.slippage_ramp_seconds)
    next_day = tick(keeper)

    assert poked.reason is Reason.POKED
    assert first.reason is next_day.reason is Reason.REBALANCED
    assert_as_foreseen(environment, next_day)
    assert again.reason is Reason.IN_BAND
    assert snapshot_of(environment).state.epoch == before + 2


def test_tick_follows_targets_that_glide(environment: DevEnvironment, outbox: Outbox) -> None:
    """From 40 % WETH down to 20 % within ten days, a day at a time."""
    vault, day = contract_at(environment.chain.rpc, "BasketVault", environment.vault), 86_400
    targets = [asset[1] for asset in vault.call("assets")]
    moved = 2 * E18 // 10
    ends = [targets[0] - moved, targets[1] + moved, *targets[2:]]
    environment.wallet(Actor.CURATOR).transact(vault, "setTargets", ends, 10 * day)
    keeper, epochs = keeper_of(environment, outbox), 0
    for _ in range(11):
        move(environment, {}, seconds=day)
        decision = tick(keeper)
        if decision.reason is Reason.REBALANCED:
            assert_as_foreseen(environment, decision)
            epochs += 1

    basket = snapshot_of(environment).basket
    assert epochs >= 4
    assert basket.targets_e18 == ends
    assert snapshot_of(environment).drift_bps <= basket.assets[0].band_bps


def test_tick_leaves_alone_what_is_below_its_minimum_trade(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    before = snapshot_of(environment).basket
    usdc = next(i for i, asset in enumerate(before.assets) if asset.decimals == 6)
    assert weigh_basket(before).distances_e18[usdc] < 0
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    bands = [(asset.band_bps, 0, before.held[usdc] if i == usdc else 10**3) for i, asset in enumerate(before.assets)]
    environment.wallet(Actor.CURATOR).transact(vault, "setBands", bands)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(environment, decision)
    after = snapshot_of(environment).basket
    changed = [now != then for now, then in zip(after.held, before.held, strict=True)]
    assert changed == [True, True, False]


def test_tick_trades_the_others_of_a_basket_with_an_excluded_asset(environment: DevEnvironment, outbox: Outbox) -> None:
    vault, usdc = (
        contract_at(environment.chain.rpc, "BasketVault", environment.vault),
        environment.deployment.listed("USDC"),
    )
    place = [asset.token for asset in snapshot_of(environment).basket.assets].index(usdc.address)
    environment.wallet(Actor.OWNER).transact(vault, "excludeAsset", place)
    hub = contract_at(environment.chain.rpc, "OracleHub", environment.system.oracle)
    environment.wallet(Actor.GUARDIAN).transact(hub, "removeFeed", usdc.address)
    held = snapshot_of(environment).basket.held[place]
    move(environment, UP_10_PERCENT)

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(environment, decision)
    assert snapshot_of(environment).basket.held[place] == held


def test_start_with_a_key_that_is_not_the_keepers_is_refused(environment: DevEnvironment, outbox: Outbox) -> None:
    set_policy(environment, replace(DEMO_POLICY, open_after_seconds=0))
    with pytest.raises(KeeperNotAuthorized) as refused:
        keeper_of(environment, outbox, actor=Actor.DEPOSITOR).start()

    assert refused.value.account == Actor.DEPOSITOR.address


def test_feed_that_leaves_the_market_is_told_until_it_is_back(environment: DevEnvironment, outbox: Outbox) -> None:
    """By more than the vault's policy allows and the pools' fee, which are 150 bps; the vault itself may think that all is well."""
    reported: list[Tick] = []
    keeper = keeper_of(environment, outbox, dry_run=True)
    keeper.reporter.observers = (reported.append,)
    keeper.feed_watch.every_seconds = 0
    feed = next(one for one in environment.deployment.feeds if one.token == "WETH")
    weth, aggregator = environment.deployment.listed("WETH").address, str(feed.aggregator)

    with structlog.testing.capture_logs() as logs:
        for usd in (2_000, 2_028, 2_035, 1_965, 2_000):
            push = contract_at(environment.chain.rpc, "MockAggregator", aggregator)
            environment.chain.transact(push, "push", usd * 10**8)
            keeper.tick()

    assert [set(one.off_market) for one in reported] == [set(), set(), {weth}, {weth}, set()]
    assert reported[2].off_market[weth].startswith("WETH: the feed price is 2,035 USD; the listed")
    ours = [line["event"] for line in logs if line["event"].startswith("feed_")]
    assert ours == ["feed_off_market", "feed_back_at_market"]


def test_market_that_cannot_be_read_stops_no_look(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(environment, outbox, dry_run=True)
    keeper.reporter.observers = (lambda _: None,)

    def fails(*_: object, **__: object) -> None:
        raise RpcTimeout("somewhere", 1.0)

    monkeypatch.setattr("rebalancer.keeper.feed_watch.read_pools", fails)
    with structlog.testing.capture_logs() as logs:
        assert tick(keeper).reason is Reason.IN_BAND

    assert [line["event"] for line in logs if "feed" in line["event"]] == ["feeds_not_compared"]


def test_stranger_carries_on_when_the_keeper_is_gone_for_good(
    environment: DevEnvironment, outbox: Outbox, tmp_path: Path
) -> None:
    """No owner, curator, guardian or keeper does anything any more: the vault goes on with whoever comes."""
    move(environment, UP_10_PERCENT)
    assert tick(keeper_of(environment, outbox)).reason is Reason.REBALANCED
    for gone in (Actor.KEEPER, Actor.OWNER, Actor.CURATOR, Actor.GUARDIAN):
        environment.chain.set_balance(gone.address, 0)

    with Outbox(tmp_path / "stranger.sqlite") as own:
        stranger = keeper_of(environment, own, actor=Actor.DEPOSITOR)
        stranger.start()
        for usd in (2_600, 2_200):
            prices_e8 = {"ETH/USD": usd * 10**8}
            move(environment, prices_e8, seconds=DEMO_POLICY.turnover_period_seconds)
            poked, waits = tick(stranger), tick(stranger)
            assert (poked.reason, waits.reason) == (Reason.POKED, Reason.NOT_YET)
            assert "only the vault's own keepers may rebalance it until" in waits.text
            move(environment, {}, seconds=DEMO_POLICY.open_after_seconds)

            served = tick(stranger)

            assert served.reason is Reason.REBALANCED
            assert_as_foreseen(environment, served)


class Altering(ScriptedServer):
    """A node that tells what another tells, but for the vaults' lens, of which it changes the last bit."""

    def __init__(self, node: Rpc, lens: str) -> None:
        super().__init__()

        def result(call: Any) -> Any:
            found = node.call(call["method"], *call["params"])
            if call["method"] != "eth_call" or call["params"][0]["to"] != lens:
                return found
            return found[:-1] + ("1" if found[-1] == "0" else "0")

        self.results(result)


def test_a_rebalance_on_which_endpoints_do_not_agree_is_not_sent(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    before = nonce(environment)
    with Rpc(environment.chain.rpc.endpoint) as node:
        liar = Altering(node, environment.system.lens)
        liar.start()
        endpoints = Endpoints([environment.chain.rpc.endpoint, liar.url], 30.0, quorum=2)
        keeper = keeper_of(environment, outbox, rpc=endpoints)
        try:
            keeper.start()
            with pytest.raises(EndpointsDisagree) as refusal:
                keeper.tick()
        finally:
            liar.stop()

    assert refusal.value.method == "eth_call"
    assert nonce(environment) == before
    assert outbox.attempts(environment.deployment.chain_id) == []


def test_a_rebalance_on_which_endpoints_agree_is_sent(environment: DevEnvironment, outbox: Outbox) -> None:
    move(environment, UP_10_PERCENT)
    url = environment.chain.rpc.endpoint
    keeper = keeper_of(environment, outbox, rpc=Endpoints([url, url], 30.0, quorum=2))
    keeper.start()

    assert tick(keeper).reason is Reason.REBALANCED


def test_a_look_that_takes_too_long_fails_and_the_next_does_not(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, outbox)
    keeper.options = replace(keeper.options, tick_timeout_seconds=0.0)
    with pytest.raises(RpcTimeout):
        keeper.tick()
    keeper.options = replace(keeper.options, tick_timeout_seconds=LONGEST_SECONDS)

    assert tick(keeper).reason is Reason.IN_BAND
    assert keeper.rpc.deadline is None


def test_run_ticks_at_every_block_that_the_socket_announces(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, outbox)
    socket = environment.chain.rpc.endpoint.replace("http", "ws")
    keeper.options = replace(keeper.options, socket_url=socket, poll_seconds=3_600.0)
    seen: list[int] = []

    def on_decision(decision: Decision) -> None:
        seen.append(decision.block.number)
        if len(seen) == 3:
            keeper.stop()
        else:
            environment.chain.rpc.call("evm_mine")

    keeper.run(on_decision)  # which would not come back in time, were a poll waited for

    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]


def test_chain_that_makes_no_blocks_is_told_of_now_and_then(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SkippingClock(monkeypatch)
    monkeypatch.setattr("rebalancer.keeper.reporting._IDLE_SECONDS", 6_000.0)
    keeper = keeper_of(environment, outbox)
    keeper.options = replace(keeper.options, poll_seconds=0.01)
    polls = 0
    idle = keeper.reporter.idle

    def poll() -> None:
        nonlocal polls
        polls += 1
        clock.skip(1_500.0)
        idle()

    monkeypatch.setattr(keeper.reporter, "idle", poll)
    reported: list[Tick] = []
    polls_before: list[int] = []

    def watch(each: Tick) -> None:
        reported.append(each)
        polls_before.append(polls)
        if len(reported) == 4:
            keeper.stop()

    keeper.reporter.observers = (watch,)
    keeper.run()
    first, *others = reported

    assert first.inputs is not None
    assert [(each.inputs, each.decisions, each.requests) for each in others] == [(None, (), 0)] * 3
    assert {each.block for each in reported} == {first.block}
    assert [later - sooner for sooner, later in pairwise(polls_before)] == [4, 4, 4]
    assert others[-1].reasons == first.reasons
    assert all(endpoint.usable for endpoint in others[-1].endpoints)


def test_look_tells_what_was_decided_and_not_only_what_the_lens_says(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    move(environment, UP_10_PERCENT)
    keeper = keeper_of(environment, outbox)
    keeper.options = replace(keeper.options, fee_cap_wei=1)
    reported: list[Tick] = []
    keeper.reporter.observers = (reported.append,)
    decision = tick(keeper)

    assert decision.reason is Reason.NOT_SENT
    assert reported[0].reasons == {environment.vault: Reason.NOT_SENT}


def test_look_after_a_pause_cancels_what_others_have_made_obsolete(
    environment: DevEnvironment, outbox: Outbox, tmp_path: Path
) -> None:
    members = {Role.KEEPER: [Actor.DEPOSITOR.address]}
    grant_roles(environment.wallet(Actor.GUARDIAN), environment.system.authority, members, delay_seconds=0)
    move(environment, UP_10_PERCENT)
    paused = keeper_of(environment, outbox)
    paused.options = replace(paused.options, receipt_seconds=0)
    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        tick(paused)
        forget(environment)
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)
    with Outbox(tmp_path / "other.sqlite") as other:
        assert tick(keeper_of(environment, other, actor=Actor.DEPOSITOR)).reason is Reason.REBALANCED
    environment.chain.mine(outbox.rules.bump_after_blocks)

    paused.tick()

    (attempt,) = outbox.attempts(environment.deployment.chain_id)
    assert [version.kind for version in attempt.versions] == [Kind.ORIGINAL, Kind.CANCELLATION]
    assert attempt.note == "the vault's epoch is now 1"


def forget(environment: DevEnvironment) -> None:
    """The node loses what is pending."""
    chain = environment.chain
    for pending in chain.rpc.call("eth_getBlockByNumber", "pending", False)["transactions"]:
        method = "anvil_dropTransaction" if chain.is_anvil else "hardhat_dropTransaction"
        chain.rpc.call(method, pending)
