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
from rebalancer.devnet.stage import DEMO_POLICY, Actor, Stage
from rebalancer.errors import EndpointsDisagree, KeeperNotAuthorized, RpcTimeout
from rebalancer.keeper import Decision, Evaluator, Keeper, KeeperOptions, Site, Tick
from rebalancer.keeper.decision import Outcome
from rebalancer.operations.deploy import grant_roles
from rebalancer.reasons import Reason
from rebalancer.send.attempt import Kind, State
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
    stage: Stage,
    outbox: Outbox | None,
    *,
    actor: Actor = Actor.KEEPER,
    pools: list[str] | None = None,
    dry_run: bool = False,
    rpc: Rpc | None = None,
) -> Keeper:
    """A keeper of the stage's vault. It evaluates by the stage's node, and does the rest by another `rpc` where that is given."""
    site = Site.of(stage.deployment, [stage.vault])
    if pools is not None:
        site = replace(site, pools=tuple(PoolRef(pool, venue="uniswap-v3") for pool in pools))
    return Keeper(
        rpc or stage.chain.rpc,
        site,
        [devnet_signer(actor)],
        outbox,
        KeeperOptions(
            dry_run=dry_run, fee_cap_wei=10_000 * 10**9, tick_timeout_seconds=LONGEST_SECONDS
        ),
        evaluator=Evaluator(stage.chain.rpc, site),
    )


def tick(keeper: Keeper, block: Block | None = None) -> Decision:
    """The only decision of a look."""
    (decision,) = keeper.tick(block)
    return decision


def look(stage: Stage) -> VaultSnapshot:
    """The vault now."""
    return read_vaults(
        stage.chain.rpc, stage.system.lens, [stage.vault], read_block(stage.chain.rpc)
    )[0]


def move(stage: Stage, prices_e8: dict[str, int], seconds: int = 900) -> None:
    """Let time pass and prices change; every feed answers."""
    stage.market.step(stage.market.prices_e8 | prices_e8, stage.chain.now() + seconds)


def set_policy(stage: Stage, policy: Policy) -> None:
    """The owner replaces the policy."""
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    fields = [getattr(policy, name) for name in policy.__slots__]
    stage.wallet(Actor.OWNER).transact(vault, "setPolicy", tuple(fields))


def nonce(stage: Stage) -> int:
    """How many transactions the keeper has sent."""
    address = Actor.KEEPER.address
    return int(stage.chain.rpc.call("eth_getTransactionCount", address, "latest"), 16)


def is_as_foreseen(outcome: Outcome) -> bool | None:
    """Whether the books are those that were predicted, to the unit; None where nothing was, or nothing can be compared."""
    if outcome.predicted is None or outcome.settled is None:
        return None
    return outcome.predicted.held == outcome.settled.held


def assert_as_foreseen(stage: Stage, decision: Decision) -> None:
    """The chain's ledger is the predicted one to the unit, and the loss is inside the limit of that moment."""
    outcome = decision.outcome
    assert outcome is not None
    assert outcome.settled is not None
    assert outcome.predicted is not None
    assert outcome.predicted.held == outcome.settled.held == look(stage).basket.held
    assert outcome.settled.state == look(stage).state
    limit_e18 = outcome.settled.slippage_limit_e18
    assert outcome.settled.loss_e18 * E18 <= limit_e18 * outcome.settled.sold_e18


def test_tick_in_band_sends_nothing_and_says_why(stage: Stage, outbox: Outbox) -> None:
    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.IN_BAND
    assert "inside its band" in decision.text
    assert nonce(stage) == 0
    assert outbox.attempts(stage.deployment.chain_id) == []


def test_tick_out_of_band_brings_every_weight_back_as_foreseen(
    stage: Stage, outbox: Outbox
) -> None:
    move(stage, UP_10_PERCENT)
    before = look(stage)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(stage, decision)
    after = look(stage)
    assert after.reason in (Reason.IN_BAND, Reason.COOLDOWN)
    assert weigh_basket(after.basket).broken is None
    assert after.drift_bps < before.drift_bps // 10
    assert after.state.epoch == before.state.epoch + 1
    (attempt,) = outbox.attempts(stage.deployment.chain_id)
    assert attempt.state is State.MINED
    executor = stage.system.executor
    for token in stage.deployment.tokens:
        held = contract_at(stage.chain.rpc, "IERC20Metadata", token.address)
        assert held.call("balanceOf", executor) == 0


def test_tick_on_the_block_of_an_earlier_rebalance_is_refused_not_repeated(
    stage: Stage, outbox: Outbox
) -> None:
    move(stage, UP_10_PERCENT)
    seen: Block = read_block(stage.chain.rpc)
    keeper = keeper_of(stage, outbox)
    first = tick(keeper, seen)
    sent = nonce(stage)

    again = tick(keeper, seen)  # a reader that lags behind

    assert first.reason is Reason.REBALANCED
    assert again.reason is Reason.NOT_YET
    assert "WrongEpoch" in again.text
    assert nonce(stage) == sent
    assert look(stage).state.epoch == 1


def test_dry_run_plans_and_sends_nothing(stage: Stage) -> None:
    move(stage, UP_10_PERCENT)

    decision = tick(keeper_of(stage, None, dry_run=True))

    assert decision.reason is Reason.DRY_RUN
    assert decision.plan is not None
    assert decision.plan.expected_buys_raw != (0, 0, 0)
    assert nonce(stage) == 0


def test_tick_within_the_cooldown_waits(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, outbox)
    move(stage, UP_10_PERCENT)
    keeper.tick()
    move(stage, {"ETH/USD": 2_600_00000000}, seconds=60)

    decision = tick(keeper)

    assert decision.reason is Reason.COOLDOWN
    assert utc(look(stage).state.rebalanced_at + DEMO_POLICY.cooldown_seconds) in decision.text


def test_tick_while_paused_waits(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    stage.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.PAUSED
    assert nonce(stage) == 0


def test_tick_with_a_stale_price_waits_and_names_the_token(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)
    usdc = stage.deployment.listed("USDC")
    stage.chain.mine(at=stage.chain.now() + 2 * 86_400)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.ORACLE_FAULT
    assert f"{usdc.address} (its answer is older than its heartbeat)" in decision.text
    assert nonce(stage) == 0


def test_tick_without_a_pool_says_no_route(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)

    decision = tick(keeper_of(stage, outbox, pools=[]))

    assert decision.reason is Reason.NO_ROUTE
    assert nonce(stage) == 0


def test_tick_with_little_turnover_left_trades_what_it_may_and_says_what_bound_it(
    stage: Stage, outbox: Outbox
) -> None:
    set_policy(stage, replace(DEMO_POLICY, min_progress_bps=100, turnover_budget_bps=100))
    move(stage, UP_10_PERCENT)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert decision.plan.bound_by == "turnover"
    assert_as_foreseen(stage, decision)
    assert look(stage).turnover_left_e18 < E18 // BPS
    assert look(stage).state.due_since == look(stage).state.rebalanced_at


def test_tick_with_the_turnover_budget_spent_waits(stage: Stage, outbox: Outbox) -> None:
    set_policy(
        stage,
        replace(
            DEMO_POLICY,
            min_progress_bps=100,
            turnover_budget_bps=100,
            cooldown_seconds=0,
            turnover_period_seconds=2**32 - 1,
        ),
    )
    move(stage, UP_10_PERCENT)
    keeper, before = keeper_of(stage, outbox), look(stage).state.epoch
    keeper.tick()
    move(stage, {}, seconds=60)

    decision = tick(keeper)

    assert decision.reason is Reason.BUDGET_SPENT
    assert look(stage).state.epoch == before + 1


def test_tick_above_the_slippage_limit_pokes_and_trades_once_it_has_climbed(
    stage: Stage, outbox: Outbox
) -> None:
    set_policy(stage, replace(DEMO_POLICY, start_slippage_bps=0))
    move(stage, UP_10_PERCENT)
    keeper = keeper_of(stage, outbox)

    poked = tick(keeper)
    move(stage, {}, seconds=DEMO_POLICY.slippage_ramp_seconds)
    traded = tick(keeper)

    assert poked.reason is Reason.POKED
    assert traded.reason is Reason.REBALANCED
    assert_as_foreseen(stage, traded)


def test_what_came_of_a_poke_tells_the_vaults_own_epoch_and_drift(
    stage: Stage, outbox: Outbox
) -> None:
    set_policy(stage, replace(DEMO_POLICY, start_slippage_bps=0))
    move(stage, UP_10_PERCENT)
    before = look(stage)
    assert before.state.epoch > 0

    with structlog.testing.capture_logs() as logs:
        poked = tick(keeper_of(stage, outbox))

    assert (poked.reason, poked.kind) == (Reason.POKED, "poke")
    assert (poked.epoch, poked.drift_bps) == (before.state.epoch, before.drift_bps)
    attempts = [line for line in logs if line["event"] == "attempt"]
    assert {(line["kind"], line["epoch"]) for line in attempts} == {("poke", None)}
    assert {line["chain_id"] for line in attempts} == {31337}


def test_a_vault_that_cannot_be_weighed_has_no_drift(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, outbox)
    ticks: list[Tick] = []
    keeper.reporter.watchers = (ticks.append,)
    stage.chain.mine(at=stage.chain.now() + 86_400)

    decision = tick(keeper)

    assert (decision.reason, decision.drift_bps, decision.kind) == (Reason.ORACLE_FAULT, None, "")
    assert ticks[-1].drifts_bps == {}


def test_tick_clears_the_break_once_prices_are_back(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    stage.wallet(Actor.DEPOSITOR).transact(vault, "poke")
    move(stage, {"ETH/USD": 2_000_00000000})
    assert look(stage).state.due_since > 0

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.POKED
    assert look(stage).state.due_since == 0


# What else a vault may ask for


def test_tick_ends_where_the_policy_says_within_the_band(stage: Stage, outbox: Outbox) -> None:
    """Half of the band is left: what is too much of WETH shrinks to about half of its band."""
    set_policy(stage, replace(DEMO_POLICY, destination_bps=5_000))
    move(stage, UP_10_PERCENT)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert decision.plan.bound_by is None
    assert_as_foreseen(stage, decision)
    after = look(stage)
    weighed = weigh_basket(after.basket)
    off_e18, band_e18 = (
        weighed.distances_e18[0] * E18 // weighed.total_e18,
        after.basket.bands_e18[0],
    )
    assert band_e18 * 45 // 100 < off_e18 < band_e18 * 55 // 100
    assert after.distance_e18 * BPS <= 2 * DEMO_POLICY.dust_bps * after.total_e18


def test_tick_rebalances_once_a_day_where_the_calendar_says_so(
    stage: Stage, outbox: Outbox
) -> None:
    day = 86_400
    set_policy(stage, replace(DEMO_POLICY, calendar_seconds=day))
    move(stage, {"ETH/USD": 2_020_00000000}, seconds=day)
    keeper, before = keeper_of(stage, outbox), look(stage).state.epoch
    assert look(stage).reason is Reason.CALENDAR_DUE
    assert weigh_basket(look(stage).basket).broken is None

    first = tick(keeper)
    move(stage, {"ETH/USD": 2_040_00000000})
    again = tick(keeper)
    # The limit climbs from when the vault knows that it is due, and better prices are waited for until it has.
    move(stage, {}, seconds=day)
    poked = tick(keeper)
    move(stage, {}, seconds=DEMO_POLICY.slippage_ramp_seconds)
    next_day = tick(keeper)

    assert poked.reason is Reason.POKED
    assert first.reason is next_day.reason is Reason.REBALANCED
    assert_as_foreseen(stage, next_day)
    assert again.reason is Reason.IN_BAND
    assert look(stage).state.epoch == before + 2


def test_tick_follows_targets_that_glide(stage: Stage, outbox: Outbox) -> None:
    """From 40 % WETH down to 20 % within ten days, a day at a time."""
    vault, day = contract_at(stage.chain.rpc, "BasketVault", stage.vault), 86_400
    targets = [asset[1] for asset in vault.call("assets")]
    moved = 2 * E18 // 10
    ends = [targets[0] - moved, targets[1] + moved, *targets[2:]]
    stage.wallet(Actor.CURATOR).transact(vault, "setTargets", ends, 10 * day)
    keeper, epochs = keeper_of(stage, outbox), 0
    for _ in range(11):
        move(stage, {}, seconds=day)
        decision = tick(keeper)
        if decision.reason is Reason.REBALANCED:
            assert_as_foreseen(stage, decision)
            epochs += 1

    basket = look(stage).basket
    assert epochs >= 4
    assert basket.targets_e18 == ends
    assert look(stage).drift_bps <= basket.assets[0].band_bps


def test_tick_leaves_alone_what_is_below_its_minimum_trade(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)
    before = look(stage).basket
    usdc = next(i for i, asset in enumerate(before.assets) if asset.decimals == 6)
    assert weigh_basket(before).distances_e18[usdc] < 0
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    bands = [
        (asset.band_bps, 0, before.held[usdc] if i == usdc else 10**3)
        for i, asset in enumerate(before.assets)
    ]
    stage.wallet(Actor.CURATOR).transact(vault, "setBands", bands)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(stage, decision)
    after = look(stage).basket
    changed = [now != then for now, then in zip(after.held, before.held, strict=True)]
    assert changed == [True, True, False]


def test_tick_trades_the_others_of_a_basket_with_an_excluded_asset(
    stage: Stage, outbox: Outbox
) -> None:
    vault, usdc = (
        contract_at(stage.chain.rpc, "BasketVault", stage.vault),
        stage.deployment.listed("USDC"),
    )
    place = [asset.token for asset in look(stage).basket.assets].index(usdc.address)
    stage.wallet(Actor.OWNER).transact(vault, "excludeAsset", place)
    hub = contract_at(stage.chain.rpc, "OracleHub", stage.system.oracle)
    stage.wallet(Actor.GUARDIAN).transact(hub, "removeFeed", usdc.address)
    held = look(stage).basket.held[place]
    move(stage, UP_10_PERCENT)

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.REBALANCED
    assert_as_foreseen(stage, decision)
    assert look(stage).basket.held[place] == held


def test_start_with_a_key_that_is_not_the_keepers_is_refused(stage: Stage, outbox: Outbox) -> None:
    set_policy(stage, replace(DEMO_POLICY, open_after_seconds=0))
    with pytest.raises(KeeperNotAuthorized) as refused:
        keeper_of(stage, outbox, actor=Actor.DEPOSITOR).start()

    assert refused.value.account == Actor.DEPOSITOR.address


def test_feed_that_leaves_the_market_is_told_until_it_is_back(stage: Stage, outbox: Outbox) -> None:
    """By more than the vault's policy allows and the pools' fee, which are 150 bps; the vault itself may think that all is well."""
    told: list[Tick] = []
    keeper = keeper_of(stage, outbox, dry_run=True)
    keeper.reporter.watchers = (told.append,)
    keeper.feed_watch.every_seconds = 0
    feed = next(one for one in stage.deployment.feeds if one.token == "WETH")
    weth, aggregator = stage.deployment.listed("WETH").address, str(feed.aggregator)

    with structlog.testing.capture_logs() as logs:
        for usd in (2_000, 2_028, 2_035, 1_965, 2_000):
            push = contract_at(stage.chain.rpc, "MockAggregator", aggregator)
            stage.chain.transact(push, "push", usd * 10**8)
            keeper.tick()

    assert [set(one.off_market) for one in told] == [set(), set(), {weth}, {weth}, set()]
    assert told[2].off_market[weth].startswith("WETH: the feed says 2,035 USD, and the listed")
    ours = [line["event"] for line in logs if line["event"].startswith("feed_")]
    assert ours == ["feed_off_market", "feed_back_at_market"]


def test_market_that_cannot_be_read_stops_no_look(
    stage: Stage, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(stage, outbox, dry_run=True)
    keeper.reporter.watchers = (lambda _: None,)

    def fails(*_: object, **__: object) -> None:
        raise RpcTimeout("somewhere", 1.0)

    monkeypatch.setattr("rebalancer.keeper.feed_watch.read_pools", fails)
    with structlog.testing.capture_logs() as logs:
        assert tick(keeper).reason is Reason.IN_BAND

    assert [line["event"] for line in logs if "feed" in line["event"]] == ["feeds_not_compared"]


def test_stranger_carries_on_when_the_keeper_is_gone_for_good(
    stage: Stage, outbox: Outbox, tmp_path: Path
) -> None:
    """No owner, curator, guardian or keeper does anything any more: the vault goes on with whoever comes."""
    move(stage, UP_10_PERCENT)
    assert tick(keeper_of(stage, outbox)).reason is Reason.REBALANCED
    for gone in (Actor.KEEPER, Actor.OWNER, Actor.CURATOR, Actor.GUARDIAN):
        stage.chain.set_balance(gone.address, 0)

    with Outbox(tmp_path / "stranger.sqlite") as own:
        stranger = keeper_of(stage, own, actor=Actor.DEPOSITOR)
        stranger.start()
        for usd in (2_600, 2_200):
            prices_e8 = {"ETH/USD": usd * 10**8}
            move(stage, prices_e8, seconds=DEMO_POLICY.turnover_period_seconds)
            poked, waits = tick(stranger), tick(stranger)
            assert (poked.reason, waits.reason) == (Reason.POKED, Reason.NOT_YET)
            assert "its keepers have it to themselves until" in waits.text
            move(stage, {}, seconds=DEMO_POLICY.open_after_seconds)

            served = tick(stranger)

            assert served.reason is Reason.REBALANCED
            assert_as_foreseen(stage, served)


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


def test_a_rebalance_on_which_endpoints_do_not_agree_is_not_sent(
    stage: Stage, outbox: Outbox
) -> None:
    move(stage, UP_10_PERCENT)
    before = nonce(stage)
    with Rpc(stage.chain.rpc.endpoint) as node:
        liar = Altering(node, stage.system.lens)
        liar.start()
        endpoints = Endpoints([stage.chain.rpc.endpoint, liar.url], 30.0, quorum=2)
        keeper = keeper_of(stage, outbox, rpc=endpoints)
        try:
            keeper.start()
            with pytest.raises(EndpointsDisagree) as refusal:
                keeper.tick()
        finally:
            liar.stop()

    assert refusal.value.method == "eth_call"
    assert nonce(stage) == before
    assert outbox.attempts(stage.deployment.chain_id) == []


def test_a_rebalance_on_which_endpoints_agree_is_sent(stage: Stage, outbox: Outbox) -> None:
    move(stage, UP_10_PERCENT)
    url = stage.chain.rpc.endpoint
    keeper = keeper_of(stage, outbox, rpc=Endpoints([url, url], 30.0, quorum=2))
    keeper.start()

    assert tick(keeper).reason is Reason.REBALANCED


def test_a_look_that_takes_too_long_fails_and_the_next_does_not(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, outbox)
    keeper.options = replace(keeper.options, tick_timeout_seconds=0.0)
    with pytest.raises(RpcTimeout):
        keeper.tick()
    keeper.options = replace(keeper.options, tick_timeout_seconds=LONGEST_SECONDS)

    assert tick(keeper).reason is Reason.IN_BAND
    assert keeper.rpc.deadline is None


def test_run_ticks_at_every_block_that_the_socket_announces(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, outbox)
    socket = stage.chain.rpc.endpoint.replace("http", "ws")
    keeper.options = replace(keeper.options, socket_url=socket, poll_seconds=3_600.0)
    seen: list[int] = []

    def on_decision(decision: Decision) -> None:
        seen.append(decision.block.number)
        if len(seen) == 3:
            keeper.stop()
        else:
            stage.chain.rpc.call("evm_mine")

    keeper.run(on_decision)  # which would not come back in time, were a poll waited for

    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]


def test_chain_that_makes_no_blocks_is_told_of_now_and_then(
    stage: Stage, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SkippingClock(monkeypatch)
    monkeypatch.setattr("rebalancer.keeper.reporting._IDLE_SECONDS", 6_000.0)
    keeper = keeper_of(stage, outbox)
    keeper.options = replace(keeper.options, poll_seconds=0.01)
    polls = 0
    idle = keeper.reporter.idle

    def poll() -> None:
        nonlocal polls
        polls += 1
        clock.skip(1_500.0)
        idle()

    monkeypatch.setattr(keeper.reporter, "idle", poll)
    told: list[Tick] = []
    polls_before: list[int] = []

    def watch(look: Tick) -> None:
        told.append(look)
        polls_before.append(polls)
        if len(told) == 4:
            keeper.stop()

    keeper.reporter.watchers = (watch,)
    keeper.run()
    first, *others = told

    assert first.looked is not None
    assert [(look.looked, look.decisions, look.requests) for look in others] == [(None, (), 0)] * 3
    assert {look.block for look in told} == {first.block}
    assert [later - sooner for sooner, later in pairwise(polls_before)] == [4, 4, 4]
    assert others[-1].reasons == first.reasons
    assert all(endpoint.usable for endpoint in others[-1].endpoints)


def test_look_tells_what_was_decided_and_not_only_what_the_lens_says(
    stage: Stage, outbox: Outbox
) -> None:
    move(stage, UP_10_PERCENT)
    keeper = keeper_of(stage, outbox)
    keeper.options = replace(keeper.options, fee_cap_wei=1)
    told: list[Tick] = []
    keeper.reporter.watchers = (told.append,)
    decision = tick(keeper)

    assert decision.reason is Reason.NOT_SENT
    assert told[0].reasons == {stage.vault: Reason.NOT_SENT}


def test_look_after_a_pause_cancels_what_others_have_made_obsolete(
    stage: Stage, outbox: Outbox, tmp_path: Path
) -> None:
    members = {Role.KEEPER: [Actor.DEPOSITOR.address]}
    grant_roles(stage.wallet(Actor.GUARDIAN), stage.system.authority, members, delay_seconds=0)
    move(stage, UP_10_PERCENT)
    paused = keeper_of(stage, outbox)
    paused.options = replace(paused.options, receipt_seconds=0)
    stage.chain.rpc.call("evm_setAutomine", False)
    try:
        tick(paused)
        forget(stage)
    finally:
        stage.chain.rpc.call("evm_setAutomine", True)
    with Outbox(tmp_path / "other.sqlite") as other:
        assert tick(keeper_of(stage, other, actor=Actor.DEPOSITOR)).reason is Reason.REBALANCED
    stage.chain.mine(outbox.rules.bump_after_blocks)

    paused.tick()

    (attempt,) = outbox.attempts(stage.deployment.chain_id)
    assert [version.kind for version in attempt.versions] == [Kind.ORIGINAL, Kind.CANCELLATION]
    assert attempt.note == "the vault's epoch is 1 by now"


def forget(stage: Stage) -> None:
    """The node loses what is pending."""
    chain = stage.chain
    for pending in chain.rpc.call("eth_getBlockByNumber", "pending", False)["transactions"]:
        method = "anvil_dropTransaction" if chain.is_anvil else "hardhat_dropTransaction"
        chain.rpc.call(method, pending)
