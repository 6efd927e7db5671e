"""The keeper look by look: what it sends, tells and leaves alone, where the verdicts, the chain and the clock are scripts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from eth_abi.abi import encode
from structlog.contextvars import clear_contextvars, get_contextvars
from structlog.testing import capture_logs

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.heads import Head
from rebalancer.chain.interfaces import interface
from rebalancer.chain.l1_fees import NO_L1_FEES
from rebalancer.chain.receipt import find_receipt
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.chain.system import System
from rebalancer.errors import (
    ContractReverted,
    EndpointsDisagree,
    KeeperNotAuthorized,
    L1FeeUnknown,
    LedgerMismatch,
    RpcRejected,
    RpcTimeout,
    TooManyFailures,
    UnknownVault,
)
from rebalancer.keeper import authority, conditions, dispatch, inflight, pool_faults, reporting
from rebalancer.keeper import keeper as module
from rebalancer.keeper.context import KeeperContext, KeeperOptions
from rebalancer.keeper.decide import Action, Conditions, Verdict, decide
from rebalancer.keeper.decision import Decision, Outcome
from rebalancer.keeper.dispatch import Dispatch, DispatchInputs
from rebalancer.keeper.evaluator import Evaluation, EvaluatorOptions
from rebalancer.keeper.keeper import Keeper, Tuning
from rebalancer.keeper.outages import Scope
from rebalancer.keeper.report import Tick
from rebalancer.keeper.swaps import FailedSwap, swaps_of
from rebalancer.plan import Plan
from rebalancer.reasons import Reason
from rebalancer.route import decode
from rebalancer.send.attempt import AttemptState, Intent
from rebalancer.send.fees import GasFees
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.settlement import Fill
from rebalancer.units import E18
from rebalancer.words import utc
from tests.property.test_outbox_property import CHAIN, ME, UNIT, FakeChain, Pen
from tests.ticks import vault
from tests.unit.test_decide import seen
from tests.unit.test_outbox import Clock, OtherPen
from tests.unit.test_plan import ETHER, POOLS

ONE, TWO = vault(1), vault(2)
OTHER = "0x" + "22" * 20
_TWELVE = tuple(vault(0x100 + at) for at in range(12))
SYSTEM = System(*_TWELVE, {})  # type: ignore[call-arg, arg-type]  # of a length that mypy does not know
VAULTS = interface("BasketVault")
RULES = SendRules(fee_cap_wei=1_000 * UNIT, bump_after_blocks=3, confirmations=4, min_pending_seconds=0)


class Node(FakeChain):
    """The chain of the outbox's tests, which can also be asked what a keeper asks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.journalled = lambda _: True
        self.estimate: Any = 80_000
        self.forbidden: set[str] = set()
        self.no_vaults: set[str] = set()
        self.price: Any = RpcRejected("eth_call", 3, "execution reverted", b"\x01\x02\x03\x04")
        self.balance: Any = 10**30
        self.requested: list[str] = []
        self.is_down = False

    def call(self, method: str, *params: Any) -> Any:
        if self.is_down:
            raise RpcTimeout(self.endpoint, 3)
        self.requested.append(method)
        self._requests += 1
        return super().call(method, *params)

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = []
        for method, params in calls:
            try:
                found.append(self.call(method, *params))
            except RpcRejected as rejected:
                found.append(rejected)
        return found

    @property
    def height(self) -> int:
        return len(self.blocks) - 1

    def eth_getBlockByNumber(self, number: str, full: bool) -> Any:  # noqa: N802 (the node's name)
        at = self.height if number == "latest" else int(number, 16)
        found = super().eth_getBlockByNumber(hex(at), full)
        return found and found | {"number": hex(at), "timestamp": hex(self.time(at))}

    def succeeded(self, name: str) -> bool:
        return bool(name)

    def time(self, at: int) -> int:
        return 1_700_000_000 + 12 * at

    def eth_getBalance(self, *_: Any) -> str:  # noqa: N802
        return hex(self.balance)

    def eth_estimateGas(self, *_: Any) -> str:  # noqa: N802
        if isinstance(self.estimate, Exception):
            raise self.estimate
        return hex(self.estimate)

    def eth_simulateV1(self, *_: Any) -> Any:  # noqa: N802
        raise RpcRejected("eth_simulateV1", -32601, "it does not exist")

    def eth_call(self, message: dict[str, str], *_: Any) -> str:
        data, to = message["data"], message["to"]
        if VAULTS.functions["authority"].is_called_by(data):
            return "0x" if to in self.no_vaults else "0x" + encode(["address"], [SYSTEM.authority]).hex()
        if interface("AccessManager").functions["canCall"].is_called_by(data):
            allowed = not any(one[2:] in data for one in self.forbidden)
            return "0x" + encode(["bool", "uint32"], [allowed, 0]).hex()
        if interface("OracleHub").functions["prices"].is_called_by(data):
            if isinstance(self.price, Exception):
                raise self.price
            return "0x" + encode(["(uint256,uint256,uint256,uint8)[]"], [[self.price]]).hex()
        return "0x"  # a simulated rebalance

    def head(self) -> Head:
        return Head.at(self.height, self.block_hash(self.height), self.time(self.height))

    def pass_blocks(self, blocks: int = 1) -> Head:
        self.blocks += [[] for _ in range(blocks)]
        return self.head()

    def mined_next(self) -> Head:
        self.mine(0, heard=False)
        return self.head()


class Script:
    """An evaluator that says what it was told to say, and keeps what it was asked."""

    def __init__(self) -> None:
        self.options = EvaluatorOptions()
        self.verdicts: list[Verdict] = []
        self.reasons: dict[str, Reason] = {}
        self.drifts: dict[str, int] = {}
        self.requested: list[tuple[Conditions, frozenset[str], frozenset[Scope]]] = []
        self.tried_again: list[Verdict | None] = []
        self.without: list[frozenset[Scope]] = []
        self.retried = 0
        self.fails: Exception | None = None
        self.on_evaluate: Callable[[], None] = lambda: None

    def evaluate(
        self,
        head: Head,
        conditions: Conditions,
        in_flight: Collection[str] = (),
        without: Collection[Scope] = (),
    ) -> Evaluation:
        self.requested.append((conditions, frozenset(in_flight), frozenset(without)))
        self.on_evaluate()
        if self.fails is not None:
            raise self.fails
        block = Block(head.header.number, head.header.hash, head.header.timestamp)
        verdicts = tuple(
            Verdict(one.snapshot, Reason.IN_FLIGHT, "under way") if one.vault in in_flight else one
            for one in self.verdicts
        )
        reasons = self.reasons | {one.vault: one.reason for one in verdicts}
        return Evaluation(
            block,
            verdicts,
            reasons,
            dict.fromkeys(reasons, 3) | {one.vault: one.snapshot.state.epoch for one in verdicts},
            self.drifts | {one.vault: one.snapshot.drift_bps for one in verdicts},
            sum(one.plan is not None for one in verdicts),
        )

    def again(self, _snapshot: VaultSnapshot, _conditions: Conditions, without: Collection[Scope]) -> Verdict | None:
        self.without.append(frozenset(without))
        return self.tried_again.pop(0) if self.tried_again else None

    def retry_pools(self) -> None:
        self.retried += 1

    def doubt(self, vault: str) -> None:
        raise AssertionError(vault)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    """A rebalance that is to be sent."""
    made = decide(seen(), POOLS, Conditions(0))
    assert made.step is Action.REBALANCE
    assert made.plan is not None
    assert made.plan.settlement is not None
    return made


def of(verdict: Verdict, address: str = ONE, **changes: Any) -> Verdict:
    """The same of another vault."""
    snapshot = replace(verdict.snapshot, address=address)
    return replace(verdict, snapshot=replace(snapshot, **changes))


def quiet(verdict: Verdict, address: str = ONE) -> Verdict:
    return Verdict(of(verdict, address).snapshot, Reason.IN_BAND, "in band")


def poke(verdict: Verdict, address: str = ONE) -> Verdict:
    return Verdict(of(verdict, address).snapshot, Reason.BAND_BROKEN, "seen now", Action.POKE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Desk:
    """A keeper with its script, its chain, its outbox, and what it told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
        self.node = Node()
        self.node.pass_blocks(10)
        self.script = Script()
        self.outbox = Outbox(folder / "outbox.sqlite", RULES)
        self.monkeypatch = monkeypatch
        self.verdict = verdict
        self.ticks: list[Tick] = []
        self.verified: Any = None
        self.reads: list[list[str]] = []
        self.changed: dict[str, dict[str, Any]] = {}
        for reads in (authority, inflight):
            monkeypatch.setattr(reads, "read_vaults", self.read_vaults)
        monkeypatch.setattr(inflight, "verify", self.verify)
        self.keeper = self.made()

    def made(
        self,
        *vaults: str,
        signers: Sequence[Any] | None = None,
        dry: bool = False,
        wrapped_native: str = "",
        **options: Any,
    ) -> Keeper:
        places: tuple[Any, ...] = ()
        context = KeeperContext(CHAIN, SYSTEM, vaults or (ONE,), places, (), wrapped_native)
        reported = {"receipt_seconds": 0.0, "fee_cap_wei": 1_000 * UNIT, "dry_run": dry} | options
        self.keeper = Keeper(
            self.node,
            context,
            signers or [Pen()],
            None if dry else self.outbox,
            KeeperOptions(**reported),
            evaluator=self.script,
            observers=[self.ticks.append],
        )
        return self.keeper

    def read_vaults(self, _rpc: Any, lens: str, vaults: Sequence[str], _block: Block) -> tuple[VaultSnapshot, ...]:
        assert lens == SYSTEM.lens
        assert set(vaults) <= {ONE, TWO}
        self.reads.append(list(vaults))
        return tuple(of(self.verdict, one, **self.changed.get(one, {})).snapshot for one in vaults)

    def verify(self, _rpc: Any, lens: str, intent: Intent, receipt: Any, plan: Plan | None = None) -> Outcome:
        assert lens == SYSTEM.lens
        if isinstance(self.verified, Exception):
            raise self.verified
        snapshot = of(self.verdict, intent.vault).snapshot
        return Outcome(receipt, Fill((), ()), snapshot, snapshot, plan, None, None)

    def tick(self, head: Head | None = None) -> tuple[Decision, ...]:
        return self.keeper.tick(head or self.node.head())

    def decisions_by_vault(self, head: Head | None = None) -> dict[str, Decision]:
        return {one.vault: one for one in self.tick(head)}

    def decision(self, head: Head | None = None) -> Decision:
        """The first: what came of what was sent comes before what is decided now."""
        return self.tick(head)[0]

    def differ(self, address: str = ONE) -> LedgerMismatch:
        return LedgerMismatch(address, "0xbad", (1,), (2,))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, clock: Clock) -> Iterator[Desk]:
    assert clock.now
    made = Desk(tmp_path, monkeypatch, verdict)
    yield made
    made.outbox.close()


# What is sent


def test_a_rebalance_is_sent_as_planned_told_when_mined_and_told_once(desk: Desk) -> None:
    sent = of(desk.verdict)
    desk.script.verdicts = [sent]
    assert sent.plan is not None

    found = desk.decision()

    assert (found.reason, found.kind, found.text) == (Reason.IN_FLIGHT, "rebalance", sent.text)
    (attempt,) = desk.outbox.attempts(CHAIN)
    assert found.transaction_hash == attempt.transaction_hash
    assert attempt.intent == Intent(
        *(CHAIN, ONE, sent.snapshot.state.epoch, ONE),
        VAULTS.at(ONE).data(
            *("rebalance", sent.snapshot.state.epoch),
            *(sent.plan.sales_raw, sent.plan.min_buys_raw, SYSTEM.executor, sent.plan.route),
        ),
        100_000,  # the estimate and a quarter
        sent.text,
        None,
    )
    assert attempt.newest.fees == GasFees(20 * UNIT + UNIT // 10, UNIT // 10)
    assert attempt.newest.height == desk.node.height
    assert desk.script.requested[-1][1] == frozenset()
    desk.script.verdicts = [quiet(desk.verdict)]
    reported = desk.decision(desk.node.mined_next())
    assert (reported.reason, reported.transaction_hash) == (
        Reason.REBALANCED,
        attempt.transaction_hash,
    )


def test_what_was_mined_is_told_before_what_is_decided_and_again_after_a_reorg(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.script.verdicts = [quiet(desk.verdict)]
    in_flight = desk.decision(desk.node.pass_blocks())
    assert in_flight.reason is Reason.IN_FLIGHT
    assert desk.script.requested[-1][1] == {ONE}

    reported = desk.decision(desk.node.mined_next())

    assert (reported.reason, reported.kind, reported.vault) == (Reason.REBALANCED, "rebalance", ONE)
    assert reported.outcome is not None
    assert reported.outcome.plan == desk.verdict.plan
    assert reported.drift_bps == desk.verdict.snapshot.drift_bps
    assert (reported.plan, reported.snapshot) == (
        of(desk.verdict).plan,
        of(desk.verdict).snapshot,
    )
    assert desk.decision(desk.node.pass_blocks()).reason is Reason.IN_BAND
    desk.node.reorg(2)
    desk.decision(desk.node.head())
    again = desk.decision(desk.node.mined_next())
    assert (again.reason, again.transaction_hash) == (Reason.REBALANCED, reported.transaction_hash)


@pytest.mark.parametrize(("missing", "asset"), [(None, None), ((0, 0, 4), 2), ((0, 3, 4), 1)])
def test_a_poke_and_a_sync_end_no_epoch_and_are_given_up_after_some_blocks(
    desk: Desk, missing: tuple[int, ...] | None, asset: int | None
) -> None:
    if missing is None:
        wanted, data = poke(desk.verdict), VAULTS.at(ONE).data("poke")
    else:
        snapshot = of(desk.verdict, missing_raw=missing).snapshot
        wanted = Verdict(snapshot, Reason.LOSS_NOT_WRITTEN_DOWN, "a loss", Action.SYNC)
        data = VAULTS.at(ONE).data("sync", asset)
    desk.script.verdicts = [wanted]
    height = desk.node.height

    found = desk.decision()

    kind = "poke" if missing is None else "sync"
    assert (found.reason, found.kind) == (Reason.IN_FLIGHT, kind)
    (attempt,) = desk.outbox.attempts(CHAIN)
    assert (attempt.intent.epoch, attempt.intent.data) == (-height, data)
    assert attempt.intent.deadline_block == height + 20
    desk.script.verdicts = [quiet(desk.verdict)]
    done = desk.decision(desk.node.mined_next())
    assert done.reason is (Reason.POKED if missing is None else Reason.SYNCED)
    assert (done.text, done.kind) == (wanted.text, kind)
    assert done.epoch == wanted.snapshot.state.epoch


@pytest.mark.parametrize("step", [Action.REBALANCE, Action.POKE, Action.SYNC])
def test_a_dry_run_says_what_it_would_do_and_sends_nothing(desk: Desk, step: Action) -> None:
    wanted = of(desk.verdict, missing_raw=(0, 1, 0))
    desk.script.verdicts = [replace(wanted, step=step)]
    desk.made(dry=True).start()
    desk.made(dry_run=True)  # with an outbox

    found = desk.decision()

    would = {Action.REBALANCE: "", Action.POKE: "would poke: ", Action.SYNC: "would sync: "}[step]
    assert (found.reason, found.text) == (Reason.DRY_RUN, would + wanted.text)
    assert not desk.node.known
    assert "eth_getTransactionCount" not in desk.node.requested


def test_a_dry_run_needs_no_role(desk: Desk) -> None:
    desk.node.forbidden = {ME}
    desk.made(dry=True).start()
    with pytest.raises(KeeperNotAuthorized):
        desk.made().start()


# What is refused


def refused() -> RpcRejected:
    return RpcRejected("eth_estimateGas", 3, "execution reverted", b"\xde\xad\xbe\xef")


@pytest.mark.parametrize("step", [Action.REBALANCE, Action.POKE])
def test_a_vault_that_is_refused_so_often_is_left_alone_for_a_while(desk: Desk, clock: Clock, step: Action) -> None:
    desk.script.verdicts = [replace(of(desk.verdict), step=step)]
    desk.made(max_consecutive_failures=3, backoff_seconds=60.0)
    desk.node.estimate = refused()
    seen_reasons = [desk.decision(desk.node.pass_blocks()).reason for _ in range(4)]
    assert seen_reasons == [Reason.SIMULATION_REFUSED] * 3 + [Reason.HALTED]
    assert desk.script.requested[-1][1] == {ONE}
    (breaker,) = desk.keeper.reporter.open_breakers(clock.now)
    assert (breaker.scope, breaker.until) == (ONE, clock.now + 60)
    assert "deadbeef" in breaker.why
    halted = desk.decision(desk.node.pass_blocks())
    assert "deadbeef" in halted.text
    clock.now += 60
    desk.node.estimate = 1

    assert desk.decision(desk.node.pass_blocks()).reason is Reason.IN_FLIGHT
    assert desk.script.requested[-1][1] == frozenset()
    assert desk.keeper.reporter.open_breakers(clock.now) == ()


def test_a_refusal_that_newer_blocks_overtake_is_the_plans_after_so_many(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.made(max_consecutive_failures=3)
    desk.node.estimate = refused()
    reasons = []
    for _ in range(4):
        head = desk.node.pass_blocks()
        desk.node.pass_blocks()
        reasons.append(desk.decision(head).reason)
    assert reasons == [Reason.NOT_YET] * 2 + [Reason.SIMULATION_REFUSED] * 2
    desk.node.estimate = 1
    assert desk.decision(desk.node.pass_blocks()).reason is Reason.IN_FLIGHT
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.decision(desk.node.mined_next())
    desk.script.verdicts = [of(desk.verdict)]
    desk.script.verdicts = [of(desk.verdict, state=replace(desk.verdict.snapshot.state, epoch=9))]
    desk.node.estimate = refused()
    head = desk.node.pass_blocks()
    desk.node.pass_blocks()
    assert desk.decision(head).reason is Reason.NOT_YET, "what was sent began it anew"


def test_a_refusal_after_what_others_have_under_way_is_nobodys_fault(desk: Desk) -> None:
    desk.made(ONE, TWO, max_consecutive_failures=1)
    desk.script.verdicts = [of(desk.verdict, TWO)]
    desk.tick()
    desk.script.verdicts = [of(desk.verdict), quiet(desk.verdict, TWO)]
    desk.node.estimate = refused()

    found = {one.vault: one for one in desk.tick(desk.node.pass_blocks())}

    assert found[ONE].reason is Reason.NOT_YET
    assert "deadbeef" in found[ONE].text
    assert "other vaults" in found[ONE].text
    assert desk.keeper.reporter.open_breakers(1e12) == ()


def test_what_a_limit_forbids_is_not_sent_and_blames_nobody(desk: Desk) -> None:
    poor = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=1))
    desk.made(signers=[poor], max_consecutive_failures=1)
    desk.script.verdicts = [of(desk.verdict)]
    assert desk.decision().reason is Reason.NOT_SENT
    desk.made(max_consecutive_failures=1, fee_cap_wei=1)
    assert desk.decision(desk.node.pass_blocks()).reason is Reason.NOT_SENT
    desk.made(max_consecutive_failures=1)
    desk.node.balance = 0
    found = desk.decision(desk.node.pass_blocks())
    assert found.reason is Reason.NOT_SENT
    assert found.transaction_hash is None
    assert desk.keeper.reporter.open_breakers(0) == ()


def test_what_the_node_does_not_take_is_not_sent_and_told_once(desk: Desk, clock: Clock) -> None:
    desk.made(max_consecutive_failures=1)
    desk.script.verdicts = [of(desk.verdict)]
    desk.node.refuses = True

    found = desk.decision()

    assert found.reason is Reason.NOT_SENT
    assert "overloaded" in found.text
    assert [one.scope for one in desk.keeper.reporter.open_breakers(clock.now)] == [ONE]
    assert desk.decision(desk.node.pass_blocks()).reason is Reason.HALTED


def test_a_node_that_fails_otherwise_fails_the_look(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.monkeypatch.setattr(
        desk.node,
        "eth_getTransactionCount",
        lambda *_: (_ for _ in ()).throw(RpcRejected("eth_getTransactionCount", -32000, "no")),
        raising=False,
    )
    with pytest.raises(RpcRejected):
        desk.tick()


def test_what_a_contract_refused_in_a_block_counts_against_its_vault(desk: Desk, clock: Clock) -> None:
    desk.made(ONE, max_consecutive_failures=1)
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.monkeypatch.setattr(desk.node, "succeeded", lambda _: False, raising=False)
    desk.script.verdicts = [quiet(desk.verdict)]

    reported = desk.decision(desk.node.mined_next())

    assert reported.reason is Reason.REVERTED
    assert reported.text == desk.outbox.attempts(CHAIN)[0].note
    assert [one.scope for one in desk.keeper.reporter.open_breakers(clock.now)] == [ONE]


def test_what_was_cancelled_is_told_with_its_reason_and_blames_nobody(desk: Desk) -> None:
    desk.made(ONE, max_consecutive_failures=1)
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.changed[ONE] = {"state": replace(desk.verdict.snapshot.state, epoch=5)}
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick(desk.node.pass_blocks(2))  # read again after a pause: the epoch is over
    assert desk.outbox.attempts(CHAIN)[0].state is AttemptState.CANCELLING

    reported = desk.decision(desk.node.mined_next())

    assert reported.reason is Reason.CANCELLED
    assert "epoch is now 5" in reported.text
    assert desk.keeper.reporter.open_breakers(1e12) == ()


def test_the_report_has_the_reason_of_the_newest_decision_for_every_vault(desk: Desk) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict)]
    desk.script.reasons = {TWO: Reason.IN_BAND}

    desk.tick()

    assert desk.ticks[-1].reasons == {ONE: Reason.IN_FLIGHT, TWO: Reason.IN_BAND}


# Books that differ


def test_books_that_differ_end_a_keeper_of_one_vault_and_are_told(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.verified = desk.differ()

    with pytest.raises(LedgerMismatch):
        desk.tick(desk.node.mined_next())

    (reported,) = desk.keeper._queue.take()
    assert (reported.reason, reported.text) == (Reason.HALTED, str(desk.verified))


def test_of_two_vaults_the_first_is_left_alone_for_good_and_the_second_ends_the_keeper(
    desk: Desk, clock: Clock
) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.verified = desk.differ()
    desk.script.verdicts = [of(desk.verdict), of(desk.verdict, TWO)]

    found = [(one.vault, one.reason) for one in desk.tick(desk.node.mined_next())]

    assert found[0] == (ONE, Reason.HALTED)
    assert (TWO, Reason.IN_FLIGHT) in found
    (breaker,) = desk.keeper.reporter.open_breakers(clock.now + 1e9)
    assert (breaker.scope, breaker.until) == (ONE, None)
    desk.verified = desk.differ(TWO)
    with pytest.raises(LedgerMismatch):
        desk.tick(desk.node.mined_next())


def test_books_are_compared_again_after_a_restart(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick(desk.node.mined_next())
    desk.made().start()
    assert desk.decision(desk.node.pass_blocks()).reason is Reason.IN_BAND, "it was told before"
    desk.verified = desk.differ()

    with pytest.raises(LedgerMismatch):
        desk.made().start()

    desk.made(ONE, TWO).start()
    assert [one.scope for one in desk.keeper.reporter.open_breakers(1e12)] == [ONE]


# Who may


def test_a_vault_that_an_account_may_not_rebalance_is_left_alone_unless_there_is_no_other(
    desk: Desk,
) -> None:
    desk.node.forbidden = {TWO}
    desk.made(ONE, TWO).start()
    (breaker,) = desk.keeper.reporter.open_breakers(1e12)
    assert (breaker.scope, breaker.until) == (TWO, None)
    desk.script.verdicts = [of(desk.verdict), of(desk.verdict, TWO)]
    found = {one.vault: one for one in desk.tick()}
    assert [found[one].reason for one in (ONE, TWO)] == [Reason.IN_FLIGHT, Reason.HALTED]
    assert TWO in found[TWO].text

    desk.node.forbidden = {ONE, TWO}
    with pytest.raises(KeeperNotAuthorized) as caught:
        desk.made(ONE, TWO).start()
    assert (caught.value.account, caught.value.vault, caught.value.role) == (ME, ONE, "KEEPER")


@pytest.mark.parametrize("answer", ["nothing", "refusal"])
def test_an_address_that_is_no_vaults_is_refused(desk: Desk, answer: str) -> None:
    if answer == "nothing":
        desk.node.no_vaults = {TWO}
    else:
        desk.monkeypatch.setattr(
            desk.node,
            "eth_call",
            lambda *_: (_ for _ in ()).throw(RpcRejected("eth_call", 3, "no", b"")),
            raising=False,
        )
    with pytest.raises(UnknownVault) as caught:
        desk.made(*((ONE, TWO) if answer == "nothing" else (TWO,))).start()
    assert TWO in str(caught.value)


def test_a_guest_waits_for_the_keepers_time_to_end_and_stamps_first(desk: Desk) -> None:
    policy = replace(desk.verdict.snapshot.policy, open_after_seconds=600)
    desk.node.forbidden = {ONE}
    desk.changed[ONE] = {"policy": policy}
    desk.made(ONE).start()
    state = desk.verdict.snapshot.state
    unseen = of(desk.verdict, state=replace(state, due_since=0), opens_at=0)
    desk.script.verdicts = [unseen]
    assert desk.decision().kind == "poke"
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick(desk.node.mined_next())
    later = desk.node.time(desk.node.height + 2)
    waits = of(desk.verdict, state=replace(state, due_since=7), opens_at=later)
    desk.script.verdicts = [waits]
    found = desk.decision(desk.node.pass_blocks())
    assert found.reason is Reason.NOT_YET
    assert utc(later) in found.text

    assert desk.decision(desk.node.pass_blocks()).kind == "rebalance"


# What is told


def test_what_was_sent_in_a_look_that_failed_is_told_by_the_next_and_the_rest_decided_anew(
    desk: Desk,
) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict), of(desk.verdict, TWO)]
    plain = Dispatch._act

    def act(self: Dispatch, at: DispatchInputs, one: Verdict) -> Decision:
        if one.vault == TWO:
            raise RpcTimeout("node", 3)
        return plain(self, at, one)

    with desk.monkeypatch.context() as patch:
        patch.setattr(Dispatch, "_act", act)
        with pytest.raises(RpcTimeout):
            desk.tick()
    desk.script.verdicts = [quiet(desk.verdict), quiet(desk.verdict, TWO)]

    found = desk.tick(desk.node.pass_blocks())

    assert [(one.vault, one.reason, one.kind) for one in found] == [
        (ONE, Reason.IN_FLIGHT, "rebalance"),
        (ONE, Reason.IN_FLIGHT, ""),
        (TWO, Reason.IN_BAND, ""),
    ]


def test_a_head_whose_look_failed_is_part_of_the_next(desk: Desk) -> None:
    heads = []
    desk.script.verdicts = [quiet(desk.verdict)]
    plain = desk.script.evaluate

    def kept(head: Head, *more: Any) -> Evaluation:
        heads.append(head)
        return plain(head, *more)

    desk.script.evaluate = kept  # type: ignore[method-assign, assignment]  # to see what it is asked
    desk.script.fails = RpcTimeout("node", 3)
    first = desk.node.head()
    with pytest.raises(RpcTimeout):
        desk.tick(first)
    desk.script.fails = None
    second = desk.node.pass_blocks()
    desk.tick(second)
    desk.tick(desk.node.pass_blocks())

    assert heads[1] == second.after(first)
    assert heads[2] == desk.node.head()
    assert desk.node.deadline is None


def test_vaults_that_were_not_read_are_told_of_when_their_reason_changes(desk: Desk) -> None:
    reasons = [
        Reason.IN_BAND,
        Reason.COOLDOWN,
        Reason.COOLDOWN,
        Reason.ORACLE_FAULT,
        Reason.IN_BAND,
    ]
    desk.made(ONE)
    reported = []
    for reason in reasons:
        desk.script.reasons, desk.script.drifts = {ONE: reason}, {ONE: 40}
        reported.append([(one.reason, one.drift_bps) for one in desk.tick(desk.node.pass_blocks())])
        assert desk.ticks[-1].reasons == {ONE: reason}

    assert reported == [
        [],
        [(Reason.COOLDOWN, 40)],
        [],
        [(Reason.ORACLE_FAULT, None)],
        [(Reason.IN_BAND, 40)],
    ]


def test_what_an_earlier_run_sent_is_told_without_its_plan(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.made().start()
    desk.script.verdicts = [quiet(desk.verdict)]

    reported = desk.decision(desk.node.mined_next())

    assert (reported.reason, reported.plan) == (Reason.REBALANCED, None)
    assert reported.snapshot == of(desk.verdict).snapshot


def test_how_far_weights_are_off_is_told_of_what_can_be_weighed(desk: Desk) -> None:
    desk.made(ONE, TWO)
    desk.script.reasons = {ONE: Reason.ORACLE_FAULT, TWO: Reason.COOLDOWN}
    desk.script.drifts = {ONE: 40, TWO: 50}
    desk.tick()
    assert desk.ticks[-1].drifts_bps == {TWO: 50}
    worthless = Verdict(of(desk.verdict, total_e18=0).snapshot, Reason.TOTAL_OUT_OF_RANGE, "0")
    desk.script.verdicts = [worthless, quiet(desk.verdict, TWO)]
    found = desk.decisions_by_vault(desk.node.pass_blocks())
    drift_bps = desk.verdict.snapshot.drift_bps
    assert (found[ONE].drift_bps, found[TWO].drift_bps) == (None, drift_bps)
    assert desk.ticks[-1].drifts_bps == {TWO: drift_bps}


def test_who_watches_is_told_of_losses_and_of_what_the_books_have_wrong(desk: Desk) -> None:
    lossy = of(desk.verdict, missing_raw=(10**18, 0, 0)).snapshot
    desk.script.verdicts = [Verdict(lossy, Reason.PAUSED, "paused")]
    plain = desk.script.evaluate
    desk.monkeypatch.setattr(
        desk.script,
        "evaluate",
        lambda *reported: replace(plain(*reported), diverged_pools=("0xpool",), differing_vaults=("0xvault",)),
    )
    desk.tick()
    assert set(desk.ticks[-1].losses) == {ONE}
    assert desk.ticks[-1].diverged_pools == ("0xpool",)
    assert desk.ticks[-1].differing_vaults == ("0xvault",)


def test_a_look_without_a_head_asks_for_the_newest_block(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]

    (found,) = desk.keeper.tick()

    assert found.block == Block(
        desk.node.height, desk.node.block_hash(desk.node.height), desk.node.time(desk.node.height)
    )
    assert desk.ticks[-1].block == found.block
    assert desk.keeper.tick(desk.ticks[-1].block)[0].block == found.block


def test_what_feeds_are_off_the_market_is_told_to_who_watches(desk: Desk) -> None:
    seen_vaults: list[Any] = []

    def tick(block: Block, vaults: Sequence[VaultSnapshot]) -> dict[str, str]:
        seen_vaults.append((block.number, [one.address for one in vaults]))
        return {"0xt": "off"}

    desk.monkeypatch.setattr(desk.keeper.feed_watch, "check", tick)
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick()
    assert desk.ticks[-1].off_market == {"0xt": "off"}
    assert seen_vaults == [(desk.node.height, [ONE])]
    desk.keeper.reporter.observers = ()
    desk.node.requested.clear()
    desk.keeper.reporter._balances_wei = {}
    desk.tick(desk.node.pass_blocks())
    assert "eth_getBalance" not in desk.node.requested
    assert len(seen_vaults) == 1, "nobody watches"


def test_what_is_begun_in_time_may_be_brought_to_its_end(desk: Desk, clock: Clock) -> None:
    desk.made(tick_timeout_seconds=12.0)
    deadlines: list[float | None] = []
    plain = Dispatch._act

    def act(self: Dispatch, at: DispatchInputs, one: Verdict) -> Decision:
        deadlines.append(desk.node.deadline)
        return plain(self, at, one)

    desk.monkeypatch.setattr(Dispatch, "_act", act)
    desk.script.verdicts = [quiet(desk.verdict)]
    wait = [0.0]

    def slow() -> None:
        clock.now += wait[0]

    desk.script.on_evaluate = slow
    for wait[0] in (0.0, 11.0):
        began = clock.now
        desk.tick(desk.node.pass_blocks())
        late = began + wait[0] + desk.node.timeout_s
        assert deadlines[-1] == max(began + 12.0, late)
    assert desk.node.deadline is None


def test_what_a_look_logs_says_of_which_chain(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    clear_contextvars()
    desk.tick()

    assert get_contextvars() == {"chain_id": CHAIN}


def test_every_page_of_very_many_vaults_is_checked(desk: Desk) -> None:
    desk.monkeypatch.setattr(authority, "_BATCH", 1)
    desk.node.no_vaults = {TWO}
    for dry in (True, False):
        with pytest.raises(UnknownVault):
            desk.made(ONE, TWO, dry=dry).start()
    desk.node.no_vaults = set()
    desk.node.forbidden = {OTHER}
    desk.made(ONE, TWO, signers=[Pen(), OtherPen()])
    with pytest.raises(KeeperNotAuthorized) as caught:
        desk.keeper.start()
    assert caught.value.account == OTHER


def test_a_vault_the_look_came_to_too_late_is_told_so_and_one_that_needs_nothing_is_not(
    desk: Desk, clock: Clock
) -> None:
    desk.made(ONE, TWO, tick_timeout_seconds=12.0)
    desk.script.verdicts = [of(desk.verdict), quiet(desk.verdict, TWO)]
    wait = [12.0]

    def slow() -> None:
        clock.now += wait[0]

    desk.script.on_evaluate = slow
    assert desk.decisions_by_vault()[ONE].reason is Reason.IN_FLIGHT, "just in time"
    wait[0] = 12.1
    desk.script.verdicts = [of(desk.verdict, TWO), quiet(desk.verdict)]
    found = desk.decisions_by_vault(desk.node.mined_next())
    assert found[TWO].reason is Reason.NOT_YET
    assert "no time left" in found[TWO].text
    assert found[ONE].reason is Reason.IN_BAND


def test_a_look_waits_for_what_it_sent_and_tells_what_came_of_it(desk: Desk, clock: Clock) -> None:
    desk.made(ONE, TWO, receipt_seconds=30.0)
    desk.script.verdicts = [of(desk.verdict), quiet(desk.verdict, TWO)]

    def mined_after_a_while() -> None:
        if len(clock.slept) == 4:
            desk.node.mined_next()

    clock.on_sleep = mined_after_a_while
    found = desk.decisions_by_vault()

    assert [found[one].reason for one in (ONE, TWO)] == [Reason.REBALANCED, Reason.IN_BAND]
    assert clock.slept == [0.001, 0.002, 0.004, 0.008]


def test_a_look_waits_no_longer_than_it_is_told_to_and_not_at_all_once_stopped(desk: Desk, clock: Clock) -> None:
    desk.made(receipt_seconds=30.0)
    desk.script.verdicts = [of(desk.verdict)]
    began = clock.now
    assert desk.decision().reason is Reason.IN_FLIGHT
    assert 28 < clock.now - began <= 30
    assert max(clock.slept) == 1.0
    desk.made(TWO, receipt_seconds=30.0)
    desk.script.verdicts = [of(desk.verdict, TWO)]
    desk.keeper.stop()
    clock.slept.clear()
    desk.tick(desk.node.pass_blocks())
    assert len(clock.slept) == 1


def test_a_tick_counts_what_is_under_way_and_how_long_it_has_waited(desk: Desk, clock: Clock) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict), of(desk.verdict, TWO)]
    desk.script.on_evaluate = lambda: clock.sleep(0.5)
    before = len(desk.node.requested)
    desk.tick()
    first = desk.ticks[-1]
    # What is asked for the tick itself is not part of it.
    assert first.requests == len(desk.node.requested) - before - 1
    before = len(desk.node.requested)
    assert (first.attempts, first.waiting_blocks) == ({"sent": 2}, 0)
    assert (first.candidates, first.planned) == (2, 2)
    assert (first.failure, first.consecutive_failures, first.seconds) == ("", 0, 0.5)
    assert first.at == clock.now
    assert first.block == Block(
        desk.node.height, desk.node.block_hash(desk.node.height), desk.node.time(desk.node.height)
    )
    assert first.inputs is not None
    assert first.inputs.in_flight == frozenset()
    (endpoint,) = first.endpoints
    assert (endpoint.name, endpoint.height, endpoint.usable) == (*(desk.node.endpoint, desk.node.height, True),)
    desk.tick(desk.node.pass_blocks(2))
    assert desk.ticks[-1].waiting_blocks == 2
    assert desk.ticks[-1].requests == len(desk.node.requested) - before
    assert desk.ticks[-1].inputs.in_flight == {ONE, TWO}  # type: ignore[union-attr] # the tick has its inputs


def test_balances_are_asked_once_a_minute_and_stand_while_nobody_tells(desk: Desk, clock: Clock) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    seen_wei = []
    for seconds, wei in ((0, 5), (60, 6), (0.1, 7), (61, 8)):
        clock.now += seconds
        desk.node.balance = wei
        desk.tick(desk.node.pass_blocks())
        seen_wei.append(desk.ticks[-1].balances_wei)
    assert seen_wei == [{ME: 5}, {ME: 5}, {ME: 7}, {ME: 8}]
    clock.now += 61
    desk.node.balance = 9
    plain = desk.node.batch

    def silent(calls: Sequence[Call]) -> list[Any]:
        if calls and calls[0][0] == "eth_getBalance":
            raise RpcTimeout("node", 3)
        return plain(calls)

    desk.monkeypatch.setattr(desk.node, "batch", silent, raising=False)
    desk.tick(desk.node.pass_blocks())
    assert desk.ticks[-1].balances_wei == {ME: 8}


def test_a_watcher_that_fails_stops_neither_the_keeper_nor_the_others(desk: Desk) -> None:
    def broken(_tick: Tick) -> None:
        raise ValueError("no room on the screen")

    desk.keeper.reporter.observers = (broken, *desk.keeper.reporter.observers)
    desk.script.verdicts = [quiet(desk.verdict)]
    with capture_logs() as logs:
        assert desk.decision().reason is Reason.IN_BAND

    assert len(desk.ticks) == 1
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["observer_failed"]


def test_a_decision_is_logged_loudly_when_it_is_news(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    levels = []
    for _ in range(2):
        with capture_logs() as logs:
            desk.tick(desk.node.pass_blocks())
        levels += [one["log_level"] for one in logs if one["event"] == "decided"]

    assert levels == ["info", "debug"]


# Conditions


@pytest.mark.parametrize(
    ("price", "settings", "found"),
    [
        ((0, 0, 2_000 * E18, 0), 7, 2_000 * E18),
        ((0, 0, 2_000 * E18, 1), 7, 7),
        ((0, 0, 0, 0), 7, 7),
        (None, 7, 7),
        (None, 0, 0),
    ],
)
def test_gas_is_worth_what_the_oracle_says_or_else_the_settings_asked_once_a_minute(
    desk: Desk, clock: Clock, price: Any, settings: int, found: int
) -> None:
    desk.made(native_price_e18=settings, wrapped_native=ETHER.address)
    desk.script.verdicts = [quiet(desk.verdict)]
    if price is not None:
        desk.node.price = price
    with capture_logs() as logs:
        desk.tick()
        assert desk.script.requested[-1][0] == Conditions(10 * UNIT + UNIT // 10, ETHER.address, found, *(0, 0))
        desk.node.price = (0, 0, 9 * E18, 0)
        clock.now += 59.9
        desk.tick(desk.node.pass_blocks())
        assert desk.script.requested[-1][0].native_price_e18 == found
        clock.now += 0.1
        desk.tick(desk.node.pass_blocks())
        assert desk.script.requested[-1][0].native_price_e18 == 9 * E18
    reported = [one["event"] for one in logs]
    assert reported.count("gas_price_unknown") == (found == 0)


def test_fees_of_a_rollup_that_does_not_tell_are_not_weighed_and_told_of_once(desk: Desk) -> None:
    unknown = [True]

    def reported(_rpc: Any, height: int) -> Any:
        assert height == desk.node.height
        if unknown[0]:
            raise L1FeeUnknown(CHAIN, "it does not answer")
        return NO_L1_FEES

    desk.monkeypatch.setattr(conditions, "read_l1_fees", reported)
    desk.script.verdicts = [quiet(desk.verdict)]
    with capture_logs() as logs:
        for unknown[0] in (True, True, False, True):
            desk.tick(desk.node.pass_blocks())

    assert [one["event"] for one in logs].count("l1_fee_unknown") == 2


# Pools that refuse


def test_epochs_are_read_again_after_a_pause_of_those_that_have_something_under_way(
    desk: Desk,
) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict), quiet(desk.verdict, TWO)]
    desk.tick()
    desk.outbox.fill(desk.node, Pen(), 1, GasFees(40 * UNIT, UNIT), "a gap")
    desk.reads.clear()
    for blocks, reads in ((1, []), (2, [[ONE]]), (1, [])):
        desk.tick(desk.node.pass_blocks(blocks))
        assert desk.reads == reads
        desk.reads.clear()
    assert desk.ticks[-1].waiting_blocks == 4


def test_a_nonce_that_was_only_filled_is_no_news_and_what_is_final_is_forgotten(
    desk: Desk,
) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick()
    assert desk.ticks[-1].waiting_blocks == 0
    desk.outbox.fill(desk.node, Pen(), 0, GasFees(40 * UNIT, UNIT), "a gap")
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick(desk.node.pass_blocks())
    desk.script.verdicts = [quiet(desk.verdict)]
    found = desk.tick(desk.node.mined_next())
    assert [one.reason for one in found] == [Reason.REBALANCED, Reason.IN_BAND]
    assert len(desk.keeper._in_flight._reported) == 2
    for _ in range(2):
        desk.tick(desk.node.pass_blocks(5))
    assert desk.keeper._in_flight._reported == set()
    assert desk.keeper._in_flight._sent == {}


def test_what_was_mined_and_has_no_receipt_now_is_told_by_a_later_look(desk: Desk) -> None:
    desk.made(ONE, TWO)
    desk.script.verdicts = [of(desk.verdict), of(desk.verdict, TWO)]
    desk.tick()
    desk.script.verdicts = []
    plain = find_receipt
    lost = str(desk.outbox.attempts(CHAIN)[0].transaction_hash)
    with desk.monkeypatch.context() as patch:
        patch.setattr(inflight, "find_receipt", lambda rpc, name: None if name == lost else plain(rpc, name))
        reported = desk.tick(desk.node.mined_next())
        assert [one.vault for one in reported] == [TWO]

    assert [one.vault for one in desk.tick(desk.node.pass_blocks())] == [ONE]


@pytest.mark.parametrize("agrees", [True, False])
def test_a_rebalance_is_sent_once_a_quorum_says_the_same_of_the_vault(desk: Desk, agrees: bool) -> None:
    for asks in (dispatch, reporting):
        desk.monkeypatch.setattr(asks, "Endpoints", Node)
    sent = of(desk.verdict)
    head = desk.node.head()
    confirmed: list[Any] = []
    doubted: list[str] = []

    def confirm(calls: Sequence[Call]) -> list[Any]:
        confirmed.append(calls)
        return ["an answer"]

    def health() -> list[SimpleNamespace]:
        flags = [(False, False), (True, False), (False, True)]
        return [
            SimpleNamespace(endpoint=f"e{at}", height=at, latency_seconds=0.5, backing_off=r, behind=b)
            for at, (r, b) in enumerate(flags)
        ]

    desk.monkeypatch.setattr(desk.node, "confirm", confirm, raising=False)
    desk.monkeypatch.setattr(desk.node, "health", health, raising=False)
    desk.monkeypatch.setattr(desk.node, "quorum", 2, raising=False)
    desk.monkeypatch.setattr(type(interface("VaultLens").at(SYSTEM.lens)), "result", lambda *reported: reported[2])
    found = sent.snapshot if agrees else replace(sent.snapshot, drift_bps=1)
    desk.monkeypatch.setattr(
        dispatch,
        "decode_vaults",
        lambda answer, at: (found,) if (answer, at) == ("an answer", head.header.timestamp) else (),
    )
    desk.monkeypatch.setattr(desk.script, "doubt", doubted.append)
    lens = interface("VaultLens").at(SYSTEM.lens)
    desk.script.verdicts = [sent]
    if agrees:
        assert desk.decision(head).reason is Reason.IN_FLIGHT
        assert [(one.name, one.height, one.usable) for one in desk.ticks[-1].endpoints] == [
            *(("e0", 0, True), ("e1", 1, False), ("e2", 2, False)),
        ]
    else:
        with pytest.raises(EndpointsDisagree):
            desk.tick(head)
        assert desk.outbox.attempts(CHAIN) == []
    assert confirmed == [[lens.request("read", [ONE], block=head.header.hash)]]
    assert doubted == ([] if agrees else [ONE])
    desk.monkeypatch.setattr(desk.node, "quorum", 1, raising=False)
    desk.script.verdicts = [of(desk.verdict, state=replace(desk.verdict.snapshot.state, epoch=8))]
    desk.tick(desk.node.pass_blocks())
    assert len(confirmed) == 1


@pytest.mark.parametrize("count", [0, 1, 5, 6, 9])
def test_pools_that_are_left_out_are_named_where_trades_were_sought_the_first_of_many(desk: Desk, count: int) -> None:
    names = [f"0x{number:02x}" for number in range(count)]
    for name in names:
        desk.keeper._pool_faults.outages.failed(Scope(name), "TF", float(desk.node.time(desk.node.height)))
    sought = Verdict(of(desk.verdict).snapshot, Reason.AWAITS_PRICE, "it waits")
    desk.script.verdicts = [sought]

    text = desk.decision().text

    shown = f"; pools left out: {', '.join(names[:5])}" if count else ""
    assert text == "it waits" + shown + (f" and {count - 5} more" if count > 5 else "")
    cooling = of(desk.verdict, reason=Reason.COOLDOWN).snapshot
    desk.script.verdicts = [Verdict(cooling, Reason.COOLDOWN, "it cools down")]
    assert desk.decision(desk.node.pass_blocks()).text == "it cools down"


def test_a_plan_uses_a_pool_by_its_key_its_holder_or_its_tokens(verdict: Verdict) -> None:
    plan = verdict.plan
    assert plan is not None
    routed = swaps_of(plan)[0]
    pool, token = routed.swap.pool, routed.swap.token_in
    assert pool_faults.uses(plan, [Scope("0xnone"), Scope(pool.key)])
    assert pool_faults.uses(plan, [Scope(routed.holder, token)])
    assert pool_faults.uses(plan, [Scope("", routed.swap.token_out)])
    assert not pool_faults.uses(plan, [])
    assert not pool_faults.uses(plan, [Scope("0xnone"), Scope("", "0xnone"), Scope(pool.key, "0xnone")])


# Pools that refuse, where the node does not simulate single swaps


def apart(desk: Desk, bad: set[str]) -> Keeper:
    """A keeper on a node that refuses whatever swaps on a bad pool, and says no more."""
    snapshot = of(desk.verdict).snapshot

    def again(_snapshot: Any, _conditions: Any, without: Collection[Scope]) -> Verdict:
        left = [
            pool
            for pool in POOLS
            if not any(one.covers(pool.key, pool.address, [token.address for token in pool.tokens]) for one in without)
        ]
        return decide(snapshot, left, Conditions(0))

    def estimate(rpc: Any, sender: str, to: str, data: str) -> int:
        assert (rpc, sender, to) == (desk.node, ME, ONE)
        if not VAULTS.functions["rebalance"].is_called_by(data):
            return 1
        route = VAULTS.functions["rebalance"].arguments(data)[4]
        if bad & {"0x" + hop.body.hex() for hop in decode(route)}:  # all are pools of Uniswap V3
            raise ContractReverted("TransferFailed")
        return 1

    desk.script.again = again  # type: ignore[method-assign]  # plans for real
    for estimates in (dispatch, pool_faults):
        desk.monkeypatch.setattr(estimates, "estimate_gas", estimate)
    desk.script.verdicts = [of(desk.verdict)]
    return desk.made(max_consecutive_failures=1)


def test_the_pool_without_which_plans_pass_is_left_out_for_the_vault(desk: Desk) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    keys = {swap.pool.key for swap in plan.swaps}
    assert len(keys) > 1
    for key in sorted(keys):
        apart(desk, {key})
        reported = [one.reason for one in desk.tick(desk.node.pass_blocks())]
        left = {one.subject for one in desk.ticks[-1].left_out}
        passes = decide(of(desk.verdict).snapshot, [pool for pool in POOLS if pool.key != key], Conditions(0))
        if passes.step is Action.REBALANCE:
            assert left == {f"{key} for {ONE}"}
            assert Reason.IN_FLIGHT in reported
            for attempt in desk.outbox.unsettled(CHAIN):
                desk.outbox.journal.advance(attempt, AttemptState.FAILED)
            desk.node.pool.clear()


def test_pools_that_pass_in_other_plans_are_not_at_fault(desk: Desk) -> None:
    """Each alone is in a plan that passes: only both together are refused."""
    plan = desk.verdict.plan
    assert plan is not None
    keys = {swap.pool.key for swap in plan.swaps}
    apart(desk, set())

    def estimate(_rpc: Any, _sender: str, _vault: str, data: str) -> int:
        route = VAULTS.functions["rebalance"].arguments(data)[4]
        if keys <= {"0x" + hop.body.hex() for hop in decode(route)}:  # as above
            raise ContractReverted("TransferFailed")
        return 1

    for estimates in (dispatch, pool_faults):
        desk.monkeypatch.setattr(estimates, "estimate_gas", estimate)
    passing = [
        decide(of(desk.verdict).snapshot, [one for one in POOLS if one.key != key], Conditions(0))
        for key in sorted(keys)
    ]
    shown = [{swap.pool.key for swap in one.plan.swaps} if one.plan else set() for one in passing]
    innocent = keys & set().union(*shown)
    blamed_keys = {key for key, found in zip(sorted(keys), shown, strict=True) if found} - innocent
    desk.decision()

    assert {one.subject.split()[0] for one in desk.ticks[-1].left_out} == blamed_keys


def test_where_no_plan_passes_no_pool_is_at_fault(desk: Desk, clock: Clock) -> None:
    apart(desk, {pool.key for pool in POOLS})

    assert desk.decision().reason is Reason.SIMULATION_REFUSED
    assert desk.ticks[-1].left_out == ()
    assert [one.scope for one in desk.keeper.reporter.open_breakers(clock.now)] == [ONE]


def test_a_pool_that_refuses_is_blamed_though_a_newer_block_hides_who_only_pays_less(
    desk: Desk,
) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    short, refuses = swaps_of(plan)[:2]
    blamed(desk, FailedSwap(short, "short", is_short=True), FailedSwap(refuses, "TF"), failures=9)
    head = desk.node.pass_blocks()
    desk.node.pass_blocks()
    desk.tick(head)

    assert [one.subject for one in desk.ticks[-1].left_out] == [refuses.swap.pool.key]


def blamed(desk: Desk, *failed: FailedSwap, failures: int = 1) -> Keeper:
    """A keeper whose rebalances a simulation refuses, by the fault of these swaps."""
    keeper = desk.made(max_consecutive_failures=failures)
    desk.script.verdicts = [of(desk.verdict)]
    desk.monkeypatch.setattr(
        desk.node,
        "eth_call",
        lambda *_: (_ for _ in ()).throw(RpcRejected("eth_call", 3, "reverted", b"\x01\x02\x03\x04")),
        raising=False,
    )
    desk.monkeypatch.setattr(pool_faults, "failed_swaps", lambda *_: failed)
    return keeper


def test_a_pool_that_refuses_its_swap_is_left_out_and_the_vault_planned_for_without_it(
    desk: Desk,
) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    routed = swaps_of(plan)[0]
    blamed(desk, FailedSwap(routed, "TF"))
    better = Verdict(of(desk.verdict).snapshot, Reason.AWAITS_PRICE, "no other")
    desk.script.tried_again = [better]

    found = desk.decision()

    key = routed.swap.pool.key
    assert desk.script.without == [frozenset({Scope(key)})]
    assert found.reason is better.reason
    assert found.text == f"no other; pools left out: {key}"
    (reported,) = desk.ticks[-1].left_out
    now = desk.node.time(desk.node.height)
    assert (reported.subject, reported.why, reported.until) == (key, "TF", now + 60)
    desk.tick(desk.node.pass_blocks())
    assert desk.script.requested[-1][2] == {Scope(key)}
    desk.keeper.retry_pools()
    desk.tick(desk.node.pass_blocks())
    assert desk.script.requested[-1][2] == frozenset()
    assert desk.script.retried == 1


def test_a_pool_is_named_whoever_holds_its_tokens_and_only_for_its_time(desk: Desk) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    routed = replace(swaps_of(plan)[0], holder="0xmanager")
    blamed(desk, FailedSwap(routed, "TF"))
    desk.tick()
    assert [one.subject for one in desk.ticks[-1].left_out] == [routed.swap.pool.key]
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.tick(desk.node.pass_blocks(5))
    assert desk.ticks[-1].left_out == ()


def test_a_token_or_a_pool_that_may_be_the_vaults_fault_is_left_out_for_it_alone(
    desk: Desk,
) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    routed = swaps_of(plan)[0]
    for failed, scope in (
        (FailedSwap(routed, "blocked", routed.swap.token_in), Scope("", routed.swap.token_in)),
        (FailedSwap(routed, "TF", may_be_the_vaults=True), Scope(routed.swap.pool.key)),
    ):
        blamed(desk, failed)
        desk.script.without.clear()
        assert desk.decision(desk.node.pass_blocks()).reason is Reason.NOT_YET
        assert desk.script.without == [frozenset({scope})]
        (reported,) = desk.ticks[-1].left_out
        assert reported.subject == f"{scope} for {ONE}"
        desk.tick(desk.node.pass_blocks())
        assert desk.script.requested[-1][2] == frozenset(), "others may trade on it"


def test_a_refusal_that_is_no_pools_fault_is_the_vaults(desk: Desk, clock: Clock) -> None:
    blamed(desk)

    assert desk.decision().reason is Reason.SIMULATION_REFUSED
    assert [one.scope for one in desk.keeper.reporter.open_breakers(clock.now)] == [ONE]


def test_a_node_that_cannot_simulate_swaps_blames_no_pool(desk: Desk) -> None:
    blamed(desk)

    def fails(*_: Any) -> Any:
        raise RpcRejected("eth_simulateV1", -32000, "too much")

    desk.monkeypatch.setattr(pool_faults, "failed_swaps", fails)
    assert desk.decision().reason is Reason.SIMULATION_REFUSED
    assert desk.ticks[-1].left_out == ()


def test_a_pool_that_only_pays_less_is_blamed_unless_a_newer_block_has_come(desk: Desk) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    blamed(desk, FailedSwap(swaps_of(plan)[0], "short", is_short=True), failures=9)
    head = desk.node.pass_blocks()
    desk.node.pass_blocks()
    desk.tick(head)
    assert desk.ticks[-1].left_out == ()
    desk.tick(desk.node.head())
    assert len(desk.ticks[-1].left_out) == 1


def test_a_vault_is_planned_for_anew_so_often_and_then_at_the_next_block(desk: Desk) -> None:
    plan = desk.verdict.plan
    assert plan is not None
    blamed(desk, FailedSwap(swaps_of(plan)[0], "TF"))
    desk.script.tried_again = [of(desk.verdict)] * 9

    found = desk.decision()

    assert found.reason is Reason.NOT_YET
    assert "next block" in found.text
    assert len(desk.script.without) == 4


# Settings, and the loop


def test_other_settings_hold_from_the_next_look_on(desk: Desk) -> None:
    sender = SenderAccount(Pen(), KeyLimits(max_fee_per_gas_wei=5, targets=frozenset({ONE})))
    desk.made(ONE, signers=[sender, Pen()])
    desk.node.estimate = refused()
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    options = KeeperOptions(max_consecutive_failures=1, backoff_seconds=7.0, fee_cap_wei=99, receipt_seconds=0)
    rules, evaluation = SendRules(fee_cap_wei=3), EvaluatorOptions(replan_blocks=8)
    desk.keeper.tune(Tuning(options, rules, evaluation, 1_234))
    assert desk.keeper.options is not options
    desk.tick(desk.node.pass_blocks())

    assert desk.keeper.options is options
    assert desk.outbox.rules is rules
    assert desk.script.options is evaluation
    assert sender.limits == KeyLimits(99, 1_234, frozenset({ONE}))
    (breaker,) = desk.keeper.reporter.open_breakers(0)
    assert breaker.until is not None
    assert breaker.until - breaker.since == 7.0


class FakeHeads:
    """Heads as a test gives them: one is a failure, None no new block; when none is left the keeper is stopped."""

    def __init__(self, desk: Desk, script: Sequence[Any], subscribed: bool = True) -> None:
        self.desk, self.script, self.subscribed = desk, list(script), subscribed
        self.waits: list[float] = []

    def __call__(self, rpc: Any, url: str | None, *, poll_seconds: float) -> FakeHeads:
        assert (rpc, url, poll_seconds) == (self.desk.node, None, 2.0)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def next(self, wait: float) -> Head | None:
        self.waits.append(wait)
        found = self.script.pop(0)
        if not self.script:
            self.desk.keeper.stop()
        if isinstance(found, Exception):
            raise found
        head: Head | None = found() if callable(found) else found
        return head


def run(desk: Desk, *script: Any, subscribed: bool = True, **more: Any) -> FakeHeads:
    heads = FakeHeads(desk, script, subscribed)
    desk.monkeypatch.setattr(module, "Heads", heads)
    paused: list[float] = []
    desk.monkeypatch.setattr(desk.keeper._stopping, "wait", paused.append)
    heads.paused = paused  # type: ignore[attr-defined]
    desk.keeper.run(**more)
    return heads


def test_the_loop_looks_at_every_head_and_hands_on_what_is_decided(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    decided: list[Decision] = []
    alive = []
    heads = run(
        desk,
        *[desk.node.pass_blocks] * 3,
        on_decision=decided.append,
        alive=lambda: alive.append(1),
    )

    assert [one.block.number for one in decided] == [11, 12, 13]
    assert len(alive) == 3
    assert heads.waits == [2.0] * 3
    assert heads.paused == []  # type: ignore[attr-defined]
    assert [tick.subscribed for tick in desk.ticks] == [True] * 3


def test_a_loop_without_announcements_pauses_between_questions(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    heads = run(desk, *[desk.node.pass_blocks] * 2, subscribed=False)

    assert heads.waits == [0, 0]
    assert heads.paused == [2.0, 2.0]  # type: ignore[attr-defined]
    assert not desk.ticks[-1].subscribed


def test_a_loop_that_fails_so_often_in_a_row_ends_with_the_last_failure(desk: Desk) -> None:
    desk.made(max_consecutive_failures=3)
    desk.script.verdicts = [quiet(desk.verdict)]
    down = RpcTimeout("node", 3)
    with pytest.raises(TooManyFailures) as caught:
        run(desk, down, down, desk.node.pass_blocks, down, down, down, None)

    assert (caught.value.failures, caught.value.last) == (3, down)
    assert [tick.consecutive_failures for tick in desk.ticks] == [1, 2, 0, 1, 2, 3]
    assert [(tick.candidates, tick.planned) for tick in desk.ticks[:3]] == [(0, 0), (0, 0), (1, 0)]
    assert [tick.failure for tick in desk.ticks[-2:]] == [str(down)] * 2
    assert desk.ticks[-1].inputs is None
    assert desk.ticks[-1].block is None
    assert [one.scope for one in desk.ticks[-1].breakers] == ["chain"]


def test_a_look_that_failed_says_how_much_it_asked(desk: Desk) -> None:
    desk.made(max_consecutive_failures=9)
    desk.node.call("eth_blockNumber")
    desk.script.fails = RpcTimeout("node", 3)
    before = len(desk.node.requested)
    run(desk, desk.node.pass_blocks)

    assert desk.ticks[-1].requests == len(desk.node.requested) - before > 0


def test_a_loop_that_does_not_give_up_rests_and_tries_again(desk: Desk, clock: Clock) -> None:
    desk.made(max_consecutive_failures=1, backoff_seconds=5.0, gives_up=False)
    desk.script.verdicts = [quiet(desk.verdict)]
    heads = FakeHeads(desk, [RpcTimeout("node", 3), desk.node.pass_blocks])
    desk.monkeypatch.setattr(module, "Heads", heads)
    paused: list[float] = []

    def wait(seconds: float) -> None:
        paused.append(seconds)
        clock.now += seconds

    desk.monkeypatch.setattr(desk.keeper._stopping, "wait", wait)
    desk.keeper.run()

    assert paused == [2.0, 1.0, 1.0, 1.0]
    assert [tick.consecutive_failures for tick in desk.ticks] == [1, 0]


def test_what_was_decided_before_a_look_failed_is_told_at_the_end(desk: Desk) -> None:
    desk.made(ONE, max_consecutive_failures=2)
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.script.fails = RpcTimeout("node", 3)
    decided: list[Decision] = []
    with pytest.raises(TooManyFailures):
        run(desk, desk.node.mined_next, None, None, on_decision=decided.append)

    assert [one.reason for one in decided] == [Reason.REBALANCED]
    assert [len(tick.decisions) for tick in desk.ticks[1:]] == [0, 1]


def test_books_that_differ_end_the_loop_and_are_told(desk: Desk) -> None:
    desk.script.verdicts = [of(desk.verdict)]
    desk.tick()
    desk.verified = desk.differ()
    decided: list[Decision] = []
    with pytest.raises(LedgerMismatch):
        run(desk, desk.node.mined_next, None, on_decision=decided.append)

    assert [one.reason for one in decided] == [Reason.HALTED]
    assert desk.ticks[-1].failure == str(desk.verified)
    assert 0 < desk.ticks[-1].requests < len(desk.node.requested) - desk.ticks[0].requests
    assert desk.ticks[-1].decisions == tuple(decided)


def test_watchers_are_told_now_and_then_of_a_chain_without_blocks(desk: Desk, clock: Clock) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]

    def after(seconds: float) -> Callable[[], None]:
        def turn() -> None:
            clock.now += seconds

        return turn

    run(
        desk,
        after(99),
        desk.node.pass_blocks,
        after(14.9),
        after(0.1),
        after(14.9),
        after(15),
        None,
    )

    assert [tick.inputs is None for tick in desk.ticks] == [False, True, True]
    assert desk.ticks[1].block == desk.ticks[0].block
    assert desk.ticks[1].decisions == ()


def test_an_unread_head_is_looked_at_again_before_the_next_is_waited_for(desk: Desk) -> None:
    desk.script.verdicts = [quiet(desk.verdict)]
    desk.script.fails = RpcTimeout("node", 3)

    def recovered() -> None:
        desk.script.fails = None

    heads = run(desk, desk.node.pass_blocks, recovered, None)

    assert heads.waits == [2.0, 0, 2.0]
    assert [tick.failure != "" for tick in desk.ticks] == [True, False]
    assert heads.paused == [2.0]  # type: ignore[attr-defined]
