"""Two machines with journals of their own send for one account, by turns, and are killed, stopped and continued at any question.

Everything that holds of one outbox (test_outbox_property.py) holds of both together, on the same lazy, forgetful chain that goes back:

FLEET-1  What is sent was in the ledger before, under the newest token.
FLEET-2  Who was the leader and does not know that it no longer is sends nothing.
FLEET-3  Of one epoch, no two transactions that act on the vault are ever in the chain, unless it went back.
FLEET-4  Once the chain is honest for a while, whoever leads, the two journals say of every transaction what the chain says.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from rebalancer.errors import ChainError, FleetError, SharedStateUnreachable, TokenStale
from rebalancer.fleet import ledger as ledger_module
from rebalancer.fleet.lease import Lease
from rebalancer.fleet.ledger import Ledger
from rebalancer.fleet.names import lease_name
from rebalancer.fleet.redis_state import LocalState
from rebalancer.send.attempt import OPEN, AttemptState, Intent, Version
from rebalancer.send.fees import GasFees
from rebalancer.send.nonces import clear_on_start
from rebalancer.send.outbox import Outbox
from tests.property.test_outbox_property import (
    CHAIN,
    CONFIRMATIONS,
    EPOCHS,
    ME,
    RULES,
    UNIT,
    VAULT,
    FakeChain,
    OutboxMachine,
    Pen,
    name_of,
)

NAMES = ("anna", "bert")


class Dying(LocalState):
    """Falls silent at a question, before or after it did what it was asked."""

    dies_in: int | None = None
    dies_after_effect = False

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        dying = False
        if self.dies_in is not None:
            self.dies_in -= 1
            dying = self.dies_in < 0
        if dying and not self.dies_after_effect:
            raise SharedStateUnreachable("redis://x", "it died")
        super().put(lease, token, entries)
        if dying:
            raise SharedStateUnreachable("redis://x", "it died")


class Held(Lease):
    """A lease that its holder believes in for ever: only the ledger knows better."""

    def _renew_on(self) -> None:
        """Nobody renews it."""


def read_plain(entry: ledger_module._Entry, chain_id: int, sender: str) -> tuple[int, Version]:
    """What the ledger reads from bytes, of the pen's plain text."""
    raw = bytes.fromhex(entry.raw[2:])
    signed = json.loads(raw)
    assert (signed["chainId"], sender) == (chain_id, ME)
    fees = GasFees(signed["maxFeePerGas"], signed["maxPriorityFeePerGas"])
    assert fees == entry.fees
    version = Version(0, entry.kind, raw, name_of(raw), signed["gas"], fees, entry.height, 0)
    return signed["nonce"], version


class FleetMachine(OutboxMachine):
    """Two machines; `outbox` is the leader's."""

    @initialize()
    def begin(self) -> None:
        structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
        self.patched = mock.patch.object(ledger_module, "_checked", read_plain)
        self.patched.start()
        self.folder = tempfile.TemporaryDirectory()
        self.chain = FakeChain()
        self.chain.journalled = self.stored
        self.reorged = False
        self.state = Dying()
        self.lives = 0
        self.leader = 0
        self.ghosts: list[Outbox | None] = [None, None]
        self.outbox = self.lead()

    def opened(self) -> Outbox:
        """Called where a machine died: it comes back as the leader."""
        return self.lead()

    def lead(self) -> Outbox:
        """A new process of the machine that is to lead: it takes the lease, adopts, and resumes."""
        self.lives += 1
        name, who = lease_name(CHAIN, ME), NAMES[self.leader]
        held = self.state._leases.pop(name, None)  # it has ended by now
        assert held is None or held[1] < self.lives
        lease = Held(self.state, name, f"{who}-{self.lives}", 3_600.0)
        assert lease.take()
        ledger = Ledger({name: lease})
        outbox = Outbox(Path(self.folder.name) / f"{who}.sqlite", RULES, fence=ledger)
        outbox.journal.connection.execute("PRAGMA synchronous = OFF")
        ledger.adopt_into(outbox.journal)
        # As a keeper does that starts; in the end some node takes what fills a gap.
        refuses, self.chain.refuses = self.chain.refuses, False
        clear_on_start(outbox, self.chain, [Pen()])
        self.chain.refuses = refuses
        return outbox

    def stored(self, name: str) -> bool:
        """FLEET-1, as the chain asks it of whatever it is sent."""
        return any(name in key for key, _ in self.state.entries(lease_name(CHAIN, ME)))

    @contextmanager
    def may_die(self, at: int | None, after_effect: bool) -> Iterator[None]:
        # Odd questions are Redis's.
        redis_dies = at is not None and at % 4 == 3
        if redis_dies:
            self.state.dies_in, self.state.dies_after_effect = (at or 0) // 6, after_effect
        try:
            with super().may_die(None if redis_dies else at, after_effect):
                yield
        finally:
            died = self.state.dies_in is not None and self.state.dies_in < 0
            self.state.dies_in = None
        if died:
            self.outbox.close()
            self.outbox = self.lead()
            self.outbox.resume(self.chain)

    @rule(stopped=st.booleans(), fee=st.integers(10, 60))
    def hand_over_in_the_middle(self, stopped: bool, fee: int) -> None:
        """The other takes the lead while something is under way, and decides the same, as the vault's epoch is still the same."""
        in_flight = [one.intent for one in self.outbox.unsettled(CHAIN)]
        self.hand_over(stopped=stopped)
        for intent in in_flight:
            with self.may_die(None, False):
                self.outbox.submit(self.chain, [Pen()], intent, GasFees(fee * UNIT, UNIT // 7))

    @rule(stopped=st.booleans())
    def hand_over(self, stopped: bool) -> None:
        """The other machine takes the lead, because this one was killed, or stopped and knows nothing of it."""
        former, self.leader = self.leader, 1 - self.leader
        if stopped:
            self.ghosts[former] = self.outbox
        else:
            self.outbox.close()
        waking, self.ghosts[self.leader] = self.ghosts[self.leader], None
        if waking is not None:
            waking.close()
        self.outbox = self.lead()
        self.outbox.resume(self.chain)

    @precondition(lambda self: any(self.ghosts))
    @rule(epoch=st.integers(0, EPOCHS - 1), what=st.sampled_from(["submit", "advance", "resume"]))
    def continue_a_former_leader(self, epoch: int, what: str) -> None:
        """FLEET-2: it goes on where it was stopped, and ends."""
        at = next(at for at, ghost in enumerate(self.ghosts) if ghost is not None)
        ghost, self.ghosts[at] = self.ghosts[at], None
        assert ghost is not None
        before = dict(self.chain.pool), len(self.chain.known)
        entries = self.state.entries(lease_name(CHAIN, ME))
        height = len(self.chain.blocks) - 1
        intent = Intent(CHAIN, VAULT, epoch, VAULT, f"0x{epoch + 1:08x}", 50_000, "")
        try:
            if what == "submit":
                ghost.submit(self.chain, [Pen()], intent, GasFees(60 * UNIT, UNIT // 7))
            elif what == "advance":
                ghost.advance(self.chain, [Pen()], height)
            else:
                ghost.resume(self.chain)
        except (TokenStale, ChainError):
            pass
        ghost.close()
        assert (dict(self.chain.pool), len(self.chain.known)) == before, "FLEET-2"
        assert self.state.entries(lease_name(CHAIN, ME)) == entries, "FLEET-2"

    def settle(self) -> None:
        """FLEET-4, for each as leader."""
        for _ in NAMES:
            self.chain.base_fee, self.chain.refuses = UNIT, False
            clear_on_start(self.outbox, self.chain, [Pen()])
            self.outbox.resume(self.chain)
            for _ in range(CONFIRMATIONS + 4):
                self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)
                self.chain.mine(0, heard=False)
            self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)
            assert all(one.state not in OPEN for one in self.outbox.attempts(CHAIN)), "FLEET-4"
            self.hand_over(stopped=False)
        claimed: set[str] = set()
        for _ in NAMES:
            for attempt in self.outbox.attempts(CHAIN):
                assert attempt.state not in OPEN, "FLEET-4"
                if attempt.mined_hash is None:
                    continue
                if attempt.state in (AttemptState.MINED, AttemptState.FINAL):
                    assert self.chain.succeeded(attempt.mined_hash), "FLEET-4"
                assert self.chain.place(attempt.mined_hash) == attempt.block_number, "FLEET-4"
                claimed.add(attempt.mined_hash)
            self.hand_over(stopped=False)
        assert claimed == set(self.chain.mined), "FLEET-4: the chain holds what both journals lack"

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        try:
            super().teardown()
            for ghost in self.ghosts:
                if ghost is not None:
                    ghost.close()
        finally:
            self.patched.stop()


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_ghost_is_refused_by_the_ledger_though_it_believes_in_its_lease() -> None:
    state, name = LocalState(), lease_name(CHAIN, ME)
    first = Held(state, name, "anna", 3_600.0)
    assert first.take()
    state._leases.clear()
    assert Held(state, name, "bert", 3_600.0).take()

    first.check()
    with pytest.raises(FleetError, match="the newest is 2"):
        state.put(name, first.token, {"1:0x": "{}"})


def test_cancellation_that_a_reorg_removed_fills_its_nonce_again_though_its_epoch_was_sent_anew() -> None:
    """Found by the machine: the cancelled attempt counted as failed, so later nonces were thought to wait for nobody's transaction."""
    state = FleetMachine()
    try:
        state.begin()
        state.submit(after=False, at=11, epoch=1, fee=50, lasts=None)
        state.pass_empty_blocks(blocks=2)
        state.submit(after=False, at=None, epoch=0, fee=37, lasts=None)
        state.cancel(after=False, at=None, which=0)
        state.forget()
        state.forget()
        state.forget()
        state.mine(choice=1, heard=True)
        state.submit(after=False, at=None, epoch=0, fee=10, lasts=None)
        state.overload(refuses=True)
        state.hand_over(stopped=False)
        state.submit(after=False, at=0, epoch=0, fee=10, lasts=0)
        state.submit(after=True, at=3, epoch=1, fee=10, lasts=None)
        state.forget()
        state.reorg(depth=1)
    finally:
        state.teardown()
