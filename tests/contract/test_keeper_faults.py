"""Looks that fail at any request, and blocks that are taken back: nothing is lost, told twice or sent twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.heads import Head, Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, decode_vaults, read_block
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.errors import (
    ContractReverted,
    EndpointsDisagree,
    LedgerMismatch,
    RpcRejected,
    RpcUnreachable,
    SignerUnavailable,
    SimulationRefused,
    TooManyFailures,
)
from rebalancer.keeper import Decision, Evaluator, EvaluatorOptions, KeeperContext, Tick
from rebalancer.keeper.decide import Conditions, plan_input
from rebalancer.reasons import Reason
from rebalancer.send.fees import read_market
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import settle
from tests.clocks import SkippingClock, wait_for
from tests.contract.test_keeper import UP_10_PERCENT, is_as_foreseen, move
from tests.contract.test_keeper_many import _other_books, by_vault, keeper_of, nonce, snapshot_of

pytestmark = pytest.mark.both_chains  # nodes mine, simulate and word errors differently


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


class Falters(Rpc):
    """The stage's node, but for one request, which breaks off before or after it was served."""

    def __init__(self, url: str, at: int, *, served: bool = False) -> None:
        super().__init__(url, 30.0)
        self.left = at
        self.served = served

    def _post(self, payload: Any) -> Any:
        self.left -= 1
        if self.left != 0:
            return super()._post(payload)
        if self.served:
            super()._post(payload)
        raise RpcUnreachable(self.endpoint, "it went away")


def play(environment: DevEnvironment, vaults: tuple[str, ...], journal: Path, rpc: Falters) -> list[Decision]:
    """Both vaults leave their bands and are brought back; a look that fails is followed by the next."""
    reported: list[Decision] = []
    with Outbox(journal) as outbox:
        context = KeeperContext.of(environment.deployment, vaults)
        evaluator = Evaluator(environment.chain.rpc, context, EvaluatorOptions(exact_vaults=0))
        keeper = keeper_of(environment, vaults, outbox, rpc=rpc, context=context, evaluator=evaluator)
        evaluator.rpc = rpc
        assert evaluator._vault_index is not None
        evaluator._vault_index.rpc = rpc
        heads = Heads(rpc, poll_seconds=0.01)

        def ticks() -> None:
            head: Head | None = None
            for _ in range(3):
                try:
                    head = heads.next(0) or keeper._unread
                    reported.extend(keeper.tick(head) if head else ())
                except RpcUnreachable:
                    continue
                return

        ticks()
        move(environment, UP_10_PERCENT)
        environment.chain.rpc.call("evm_setAutomine", False)
        try:
            ticks()
            environment.chain.rpc.call("evm_setAutomine", True)
            environment.chain.mine()
            ticks()
            environment.chain.mine()
            ticks()
        finally:
            environment.chain.rpc.call("evm_setAutomine", True)
        assert keeper._queue._pending == []
        assert len(keeper._in_flight._sent) <= 2
    return reported


@pytest.mark.parametrize(
    ("served", "step"),
    [
        *((False, 4), (True, 4)),
        *(pytest.param(served, 1, marks=pytest.mark.slow) for served in (False, True)),
    ],
)
def test_whichever_request_of_a_look_fails_each_vault_is_sent_and_told_of_once(
    environment: DevEnvironment, tmp_path: Path, served: bool, step: int
) -> None:
    if not environment.chain.is_anvil:
        pytest.skip("What fails is asked by this program, of whatever node.")
    vaults = environment.vault, environment.open_vault(1)
    url = environment.chain.rpc.endpoint
    unbroken = Falters(url, 0)
    before, prices = environment.chain.snapshot(), dict(environment.market.prices_e8)
    play(environment, vaults, tmp_path / "unbroken.sqlite", unbroken)
    requests = -unbroken.left
    assert requests > 30

    for at in range(1 + served, requests + 1, step):
        environment.chain.revert(before)
        before = environment.chain.snapshot()
        environment.market.prices_e8 = dict(prices)
        # Anvil forgets the state of blocks that it has made before, to the same hash.
        environment.chain.mine(at=environment.chain.now() + at)
        reported = play(
            environment,
            vaults,
            tmp_path / f"{at}.sqlite",
            falters := Falters(url, at, served=served),
        )

        assert falters.left < 0
        sent = Counter(one.vault for one in reported if one.transaction_hash and one.plan)
        done = Counter(one.vault for one in reported if one.reason is Reason.REBALANCED)
        assert done == Counter(vaults), f"request {at} of {requests}: {reported}"
        assert all(count <= 2 for count in sent.values()), "once when sent, once when mined"
        assert nonce(environment) == 2, f"request {at} of {requests}"
        settled = [one.outcome for one in reported if one.reason is Reason.REBALANCED]
        held = {vault: one.basket.held for vault, one in snapshot_of(environment, vaults).items()}
        for outcome in settled:
            assert outcome is not None
            assert outcome.settled is not None
            assert outcome.settled.held == held[outcome.before.address]


def test_a_rebalance_that_another_block_holds_after_a_reorg_is_verified_and_told_again(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    if not environment.chain.is_anvil:
        pytest.skip("Hardhat has no anvil_reorg.")
    rpc = environment.chain.rpc
    outbox.rules = SendRules(fee_cap_wei=10**13, confirmations=12)
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)

    def reported() -> Decision:
        """The rebalance, told as soon as a block holds it."""
        found: Decision = wait_for(
            "the rebalance",
            lambda: next((d for d in keeper.tick() if d.reason is Reason.REBALANCED), None),
        )
        return found

    first = reported()
    rpc.call("anvil_reorg", 1, [])
    rpc.call("evm_setAutomine", False)
    try:
        reorged = keeper.tick()
        rpc.call("anvil_mine", "0x1")
    finally:
        rpc.call("evm_setAutomine", True)
    again = reported()

    assert [one.reason for one in reorged] == [Reason.IN_FLIGHT]
    assert first.outcome is not None
    assert again.outcome is not None
    assert is_as_foreseen(again.outcome)
    assert first.outcome.receipt.block_hash != again.outcome.receipt.block_hash
    assert Reason.REBALANCED not in [one.reason for one in keeper.tick()]


def test_memory_of_attempts_ends_when_they_are_final(environment: DevEnvironment, outbox: Outbox) -> None:
    outbox.rules = SendRules(fee_cap_wei=10**13, confirmations=1)
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    for _ in range(3):
        keeper.tick()
        environment.chain.mine()
    keeper.tick()

    assert keeper._in_flight._reported == set()
    assert keeper._in_flight._sent == {}


def test_what_was_sent_before_a_look_failed_is_told_by_the_next(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = environment.vault, environment.open_vault(1)
    keeper = keeper_of(environment, vaults, outbox)
    move(environment, UP_10_PERCENT)
    acted: list[str] = []
    act = keeper._dispatch._act

    def once(*given: Any) -> Decision:
        if acted:
            raise RpcUnreachable("node", "it went away")
        acted.append(given[1].vault)
        return act(*given)

    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(keeper._dispatch, "_act", once)
            with pytest.raises(RpcUnreachable):
                keeper.tick()
        sent, *_ = keeper.tick()
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)

    assert (sent.vault, sent.reason) == (acted[0], Reason.IN_FLIGHT)
    assert sent.transaction_hash is not None
    assert sent.plan is not None


def test_vaults_that_a_look_has_no_time_to_send_for_wait_for_the_next_and_nothing_fails(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = environment.vault, environment.open_vault(1)
    keeper = keeper_of(environment, vaults, outbox)
    move(environment, UP_10_PERCENT)
    act = keeper._dispatch._act

    def slow(*given: Any) -> Decision:
        decision = act(*given)
        clock.skip(3_600.0)
        return decision

    clock = SkippingClock(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(keeper._dispatch, "_act", slow)
        first = by_vault(keeper.tick())
    monkeypatch.undo()
    second = by_vault(keeper.tick())

    assert [one.reason for one in first.values()] == [Reason.IN_FLIGHT, Reason.NOT_YET]
    (waited,) = (vault for vault, one in first.items() if one.reason is Reason.NOT_YET)
    assert "no time left" in first[waited].text
    assert second[waited].reason is Reason.IN_FLIGHT


def test_a_vault_that_is_left_alone_is_not_planned_for(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = environment.vault, environment.open_vault(1)
    keeper = keeper_of(environment, vaults, outbox)
    move(environment, UP_10_PERCENT)
    keeper._vault_breakers.of(vaults[0]).trip("its books differ", 1.0)
    requested: list[tuple[Conditions, frozenset[str]]] = []
    evaluate = keeper.evaluator.evaluate

    def noted(head: Head, conditions: Conditions, left_alone: Any, without: Any) -> Any:
        requested.append((conditions, frozenset(left_alone)))
        return evaluate(head, conditions, left_alone, without)

    monkeypatch.setattr(keeper.evaluator, "evaluate", noted)
    decisions = by_vault(keeper.tick())

    assert requested[0][1] == {vaults[0]}
    assert (decisions[vaults[0]].reason, decisions[vaults[0]].plan) == (Reason.HALTED, None)
    assert decisions[vaults[0]].text == "its books differ"
    assert decisions[vaults[1]].reason is Reason.IN_FLIGHT


def refuses(rpc: Rpc, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the node refuses a method."""
    plain = rpc.batch_settled

    def answers(calls: Any) -> list[Any]:
        if calls[0][0] == method:
            return [RpcRejected(method, -32_005, "too many requests")]
        return plain(calls)

    monkeypatch.setattr(rpc, "batch_settled", answers)


def test_a_transaction_that_the_node_refuses_is_told_once(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    with monkeypatch.context() as patch:
        refuses(environment.chain.rpc, "eth_sendRawTransaction", patch)
        (refused,) = keeper.tick()
    again = keeper.tick()

    assert refused.reason is Reason.NOT_SENT
    assert "too many requests" in refused.text
    assert [one.reason for one in again] == [Reason.IN_FLIGHT]


def test_an_endpoint_without_a_fee_history_is_asked_otherwise(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    refuses(environment.chain.rpc, "eth_feeHistory", monkeypatch)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.IN_FLIGHT


def test_an_endpoint_that_refuses_to_tell_a_balance_is_not_the_vaults_failure(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    refuses(environment.chain.rpc, "eth_getBalance", monkeypatch)

    with pytest.raises(RpcRejected):
        keeper.tick()

    assert dict(keeper._vault_breakers.items()) == {}


def test_a_signer_that_is_away_for_a_moment_stops_nothing(environment: DevEnvironment, outbox: Outbox) -> None:
    here = devnet_signer(Actor.KEEPER)
    move(environment, UP_10_PERCENT)

    class Remote:
        address = here.address
        is_away = True

        def sign(self, transaction: Any) -> Any:
            if not self.is_away:
                return here.sign(transaction)
            raise SignerUnavailable("http://signer", f"no answer to {len(transaction)} fields")

    signer = Remote()
    keeper = keeper_of(environment, (environment.vault,), outbox, signer=signer)
    (first,) = keeper.tick()
    signer.is_away = False
    (second,) = keeper.tick()

    assert first.reason is Reason.NOT_SENT
    assert second.reason is Reason.IN_FLIGHT


def test_watchers_are_told_of_books_that_differ_before_the_keeper_ends(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rebalancer.keeper.verify.settle",
        lambda *given, **named: _other_books(settle(*given, **named)),
    )
    ticks: list[Tick] = []
    handed: list[Decision] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,), receipt_seconds=30)
    move(environment, UP_10_PERCENT)

    with pytest.raises(LedgerMismatch) as differ:
        keeper.run(handed.append)

    assert ticks[-1].failure == str(differ.value)
    assert [one.reason for one in ticks[-1].decisions] == [Reason.IN_FLIGHT, Reason.HALTED]
    assert tuple(handed) == ticks[-1].decisions
    assert [one.scope for one in ticks[-1].breakers] == [environment.vault]


def test_the_last_failure_tells_what_was_not_told_yet(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,))
    keeper.options = replace(keeper.options, poll_seconds=0.01)
    move(environment, UP_10_PERCENT)
    keeper.tick()
    ticks.clear()

    def unreported(rpc: Rpc) -> Any:
        raise RpcRejected("eth_feeHistory", -32_005, "too many requests")

    monkeypatch.setattr("rebalancer.keeper.conditions.read_market", unreported)
    with pytest.raises(TooManyFailures):
        keeper.run()

    assert [tick.decisions for tick in ticks[:-1]] == [(), ()]
    assert [one.reason for one in ticks[-1].decisions] == [Reason.REBALANCED]
    assert ticks[-1].requests > 0


def test_a_look_that_works_after_failed_ones_says_so_once(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,))
    keeper.options = replace(keeper.options, poll_seconds=0.01, max_consecutive_failures=3)
    requested: list[Rpc] = []

    def untold_twice(rpc: Rpc) -> Any:
        requested.append(rpc)
        if len(requested) <= 2:
            raise RpcRejected("eth_feeHistory", -32_005, "too many requests")
        return read_market(rpc)

    monkeypatch.setattr("rebalancer.keeper.conditions.read_market", untold_twice)
    with capture_logs() as logs:
        keeper.run(lambda _: keeper.stop())

    assert [(log["event"], log["failures"]) for log in logs if log["event"].startswith("tick_")] == [
        *(("tick_failed", 1), ("tick_failed", 2), ("tick_recovered", 2))
    ]


def test_a_watcher_that_breaks_stops_neither_the_keeper_nor_other_watchers(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,))

    def broken(tick: Tick) -> None:
        raise OSError(28, f"no space left on the device for block {tick.block}")

    keeper.reporter.observers = (broken, *keeper.reporter.observers)
    keeper.tick(read_block(environment.chain.rpc))

    assert len(ticks) == 1
    assert ticks[0].reasons == {environment.vault: Reason.IN_BAND}


def test_a_vault_that_is_named_twice_is_one(environment: DevEnvironment, outbox: Outbox) -> None:
    context = KeeperContext.of(environment.deployment, [environment.vault, "0x" + environment.vault[2:].upper()])
    assert context.vaults == (environment.vault,)
    move(environment, UP_10_PERCENT)
    named = (environment.vault, "0x" + environment.vault[2:].upper())
    (decision,) = keeper_of(environment, named, outbox).tick()

    assert decision.reason is Reason.IN_FLIGHT


def test_a_share_that_changes_hands_in_its_block_hides_no_difference(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    rpc = environment.chain.rpc
    data = contract_at(rpc, "BasketVault", environment.vault).data("transfer", Actor.DEPOSITOR.address, 1)
    fees = {"maxPriorityFeePerGas": hex(1), "maxFeePerGas": hex(2_000 * 10**9)}
    rpc.call("evm_setAutomine", False)
    try:
        keeper.tick()
        message = {"from": Actor.OWNER.address, "to": environment.vault, "data": data}
        moved = rpc.call("eth_sendTransaction", message | fees)
        environment.chain.mine()
    finally:
        rpc.call("evm_setAutomine", True)
    receipt = rpc.call("eth_getTransactionReceipt", moved)
    assert (receipt["status"], len(receipt["logs"])) == ("0x1", 1)
    monkeypatch.setattr(
        "rebalancer.keeper.verify.settle",
        lambda *given, **named: _other_books(settle(*given, **named)),
    )

    with pytest.raises(LedgerMismatch):
        keeper.tick()


def test_a_plan_that_never_passes_is_no_matter_of_fast_blocks(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer block comes before every refusal, and yet the vault is left alone after some."""
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)

    def refused(*given: Any, **named: Any) -> Any:
        raise SimulationRefused(ContractReverted("BelowMinimum"))

    def newer(rpc: Rpc, *given: Any) -> Block:
        block = read_block(rpc)
        return replace(block, number=block.number + 1)

    monkeypatch.setattr(keeper._dispatch._simulator, "logs", refused)
    monkeypatch.setattr("rebalancer.keeper.dispatch.read_block", newer)
    reasons = []
    for _ in range(6):
        environment.chain.mine()
        (decision,) = keeper.tick(Head.at(*block_of(environment)))
        reasons.append(decision.reason)

    assert reasons[:2] == [Reason.NOT_YET] * 2
    assert reasons[2:5] == [Reason.SIMULATION_REFUSED] * 3
    assert reasons[5] is Reason.HALTED


def block_of(environment: DevEnvironment) -> tuple[int, str, int]:
    """The newest block's number, hash and time."""
    block = read_block(environment.chain.rpc)
    return block.number, block.hash, block.timestamp


def test_what_the_quorum_says_is_held_against_what_was_planned_from(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quorum agrees, on another state than that which the plan was made from."""
    url = environment.chain.rpc.endpoint
    endpoints = Endpoints([url, url], 30.0, quorum=2)
    keeper = keeper_of(environment, (environment.vault,), outbox, rpc=endpoints)
    move(environment, UP_10_PERCENT)
    seen = "rebalancer.keeper.dispatch.decode_vaults"

    def richer(packed: bytes, timestamp: int) -> tuple[VaultSnapshot, ...]:
        return tuple(replace(one, total_supply=one.total_supply + 1) for one in decode_vaults(packed, timestamp))

    monkeypatch.setattr(seen, richer)
    with pytest.raises(EndpointsDisagree):
        keeper.tick()
    assert outbox.attempts(environment.chain.rpc.chain_id()) == []

    monkeypatch.setattr(seen, decode_vaults)
    (decision,) = keeper.tick()
    assert decision.reason is Reason.IN_FLIGHT


def test_gas_is_weighed_by_the_oracle_where_the_vault_lacks_its_token(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    ticks: list[Tick] = []
    keeper.reporter.observers = (ticks.append,)
    keeper.tick()
    (tick,) = ticks
    assert tick.inputs is not None
    conditions = tick.inputs.conditions
    snapshot = tick.inputs.verdicts[0].snapshot
    known = dict(zip((a.token for a in snapshot.basket.assets), snapshot.basket.prices, strict=True))

    assert conditions.native_price_e18 == known[environment.deployment.wrapped_native].primary_e18 > 0
    elsewhere = replace(conditions, wrapped_native="0x" + "ee" * 20)
    assert plan_input(snapshot, (), elsewhere).native_price_e18 == conditions.native_price_e18


def test_gas_is_weighed_by_the_settings_where_no_oracle_prices_its_token(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    context = replace(
        KeeperContext.of(environment.deployment, (environment.vault,)),
        wrapped_native="0x" + "ee" * 20,
    )
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, context=context, observers=(ticks,))

    keeper.tick()
    keeper.options = replace(keeper.options, native_price_e18=5)
    keeper._conditions._native_price_at = -math.inf
    keeper.tick()

    inputs_of_ticks = [tick.inputs for tick in ticks]
    assert [each.conditions.native_price_e18 for each in inputs_of_ticks if each] == [0, 5]
