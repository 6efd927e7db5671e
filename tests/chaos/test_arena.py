"""The suite's own judgement: every check finds what it is there for, and a sound keeper passes them all."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import Actor
from rebalancer.errors import (
    ChainError,
    RpcMalformed,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from tests.chaos.arena import Arena, Ground, NeverCame
from tests.chaos.judge import rebalanced_twice, rebalances, violations, wrong_books
from tests.chaos.proxy import SECRETS, Fault, Weather
from tests.chaos.running import Keeper
from tests.clocks import LONGEST_SECONDS

MUTANTS = Path(__file__).with_name("mutants.py")


@pytest.fixture
def arena(ground: Ground, tmp_path: Path) -> Iterator[Arena]:
    with Arena(ground, tmp_path) as made:
        yield made


def mutant(arena: Arena, name: str) -> Keeper:
    """A keeper with that mistake."""
    keeper = arena.keeper(command=(str(MUTANTS), name))
    keeper.start()
    return keeper


def journal(keeper: Keeper, statement: str, *values: str) -> None:
    """Tamper with an outbox."""
    with sqlite3.connect(keeper.outbox) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("DROP INDEX IF EXISTS one_live_attempt")
        connection.execute("DROP INDEX IF EXISTS one_live_nonce")
        connection.execute(statement, values)
    connection.close()


def rebalanced(arena: Arena) -> Keeper:
    """A keeper that has rebalanced once and is gone."""
    keeper = arena.running()
    before = arena.epochs
    arena.move()
    arena.settle(before)
    keeper.kill()
    assert violations(arena) == []
    return keeper


# Keepers with a mistake


def test_keeper_that_sends_twice_is_found(arena: Arena) -> None:
    mutant(arena, "sends_twice")
    before = arena.epochs
    arena.move()
    arena.rebalanced(before)
    arena.until(lambda: arena.nonce() > len(arena.vaults), "another transaction")

    found = "\n".join(violations(arena))
    assert "was mined again at epoch 0" in found
    assert "is in no outbox" in found


@pytest.mark.chaos
def test_keeper_that_journals_something_else_is_found(arena: Arena) -> None:
    mutant(arena, "forgets")
    before = arena.epochs
    arena.move()
    arena.rebalanced(before)

    assert "is in no outbox" in "\n".join(violations(arena))


@pytest.mark.chaos
def test_keeper_that_tells_its_endpoint_is_found(arena: Arena) -> None:
    keeper = mutant(arena, "tells")
    arena.until(lambda: keeper.has_said("event=started"), "its start")

    found = "\n".join(violations(arena))
    assert all(f"said {secret}" in found for secret in SECRETS)


@pytest.mark.chaos
def test_keeper_that_ends_by_itself_is_found(arena: Arena) -> None:
    mutant(arena, "gives_up")
    with pytest.raises(NeverCame, match="a keeper ended with 70"):
        arena.until(lambda: False, "anything")


def test_keeper_that_does_nothing_is_found(arena: Arena) -> None:
    keeper = mutant(arena, "sleeps")
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    before = arena.epochs
    arena.move()
    with pytest.raises(NeverCame, match="still not: rebalances after"):
        arena.settle(before, seconds=2)


# Tampered records

NOWHERE = "0x" + "cd" * 32

AGAIN = """
    INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason, sender, state, nonce, mined_hash,
        block_number, block_hash, planned_at, changed_at)
    SELECT chain_id, vault, 99, recipient, data, gas_limit, reason, sender, state, nonce, mined_hash,
        block_number, block_hash, planned_at, changed_at FROM attempts
"""

TAMPERED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "another block": (
        "UPDATE attempts SET block_hash = ?",
        (NOWHERE,),
        "no block holds 0x[0-9a-f]+ where it says",
    ),
    "another transaction": (
        "UPDATE attempts SET mined_hash = ?",
        (NOWHERE,),
        f"no block holds {NOWHERE}",
    ),
    "failed": (
        "UPDATE attempts SET state = 'failed', mined_hash = NULL, block_hash = NULL",
        (),
        "a block holds it all the same",
    ),
    "unfinished": ("UPDATE attempts SET state = 'sent'", (), "is not settled"),
    "a nonce twice": (AGAIN, (), "nonce [01] of 0x[0-9a-f]+ is claimed 2 times"),
    "nothing": ("DELETE FROM versions", (), "is in no outbox"),
    "a secret": ("UPDATE attempts SET note = ?", SECRETS[:1], f"wrote {SECRETS[0]}"),
}


@pytest.fixture(scope="module")
def settled(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """An arena after one sound rebalance, whose outbox may be tampered with."""
    with Arena(ground, tmp_path_factory.mktemp("settled")) as made:
        rebalanced(made)
        yield made


@pytest.mark.parametrize("how", TAMPERED)
def test_outbox_that_does_not_say_what_the_chain_says_is_found(settled: Arena, how: str) -> None:
    (keeper,) = settled.keepers
    statement, values, finding = TAMPERED[how]
    whole = {path: path.read_bytes() for path in keeper.folder.glob("outbox*")}
    try:
        journal(keeper, statement, *values)
        assert re.search(finding, "\n".join(violations(settled)))
    finally:
        for path in keeper.folder.glob("outbox*"):
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
    assert violations(settled) == []


def test_books_that_are_not_the_tokens_are_found(settled: Arena) -> None:
    before = settled.chain.snapshot()
    with settled.acting() as environment:
        environment.market.deal("WBTC", settled.vaults[0], 1)
    found = violations(settled)
    settled.chain.revert(before)

    assert len(found) == 1
    assert "and it owns" in found[0]


def test_books_that_are_not_the_events_are_found(settled: Arena) -> None:
    events = rebalances(settled)
    assert wrong_books(settled, events) == []

    (found,) = wrong_books(settled, events[1:])
    assert f"the book of {events[0][0]} says" in found
    assert "and its events" in found


def test_epoch_that_was_rebalanced_twice_is_found(settled: Arena) -> None:
    first, second = rebalances(settled)
    assert rebalanced_twice([first, second]) == []

    (found,) = rebalanced_twice([first, second, first])
    assert found == f"epoch 0 of {first[0]} was rebalanced 2 times"


@pytest.mark.chaos
def test_transaction_of_the_key_that_nobody_journalled_is_found(arena: Arena) -> None:
    rebalanced(arena)
    arena.spend_nonce(arena.nonce())
    arena.foreign.clear()
    arena.until(lambda: arena.nonce() == 3, "the stranger's transaction")

    (found,) = violations(arena)
    assert "at nonce 2 is in no outbox" in found


# Bad weather

ANSWERS: dict[Fault, type[ChainError]] = {
    Fault.DROP: RpcUnreachable,
    Fault.CUT: RpcUnreachable,
    Fault.TOO_MANY: RpcUnreachable,
    Fault.BROKEN: RpcUnreachable,
    Fault.ERROR_200: RpcUnreachable,
    Fault.ERROR_AS_RESULT: RpcMalformed,
    Fault.GARBAGE: RpcMalformed,
    Fault.SILENCE: RpcTimeout,
    Fault.DELAY: RpcTimeout,
    Fault.WRONG_CHAIN: WrongChain,
}


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "in a batch"])
@pytest.mark.parametrize("fault", ANSWERS)
def test_weather_is_met_counted_and_over_when_it_is_cleared(settled: Arena, fault: Fault, batched: bool) -> None:
    calls: list[Any] = [("eth_chainId", ()), ("eth_blockNumber", ())]
    requested = calls if batched else calls[1:]
    before = settled.proxy.faults[fault]
    late = ANSWERS[fault] is RpcTimeout
    seconds, strength = (0.3, LONGEST_SECONDS) if late else (LONGEST_SECONDS, 0.6)
    with (
        Rpc(settled.proxy.url, seconds, expected_chain_id=31337) as rpc,
        Rpc(settled.proxy.url, LONGEST_SECONDS, expected_chain_id=31337) as patient,
    ):
        settled.proxy.play(Weather(fault, strength=strength))
        for seed in range(3):
            settled.proxy.play(Weather(fault, strength=strength, seed=seed))
            with pytest.raises(ANSWERS[fault]):
                rpc.batch(requested)
        settled.proxy.clear()
        patient.batch(requested)
    assert settled.proxy.faults[fault] - before >= 3


LIES: dict[Fault, Callable[[Arena, Rpc], Any]] = {
    Fault.STALE: lambda arena, rpc: rpc.call("eth_blockNumber"),
    Fault.BACKWARDS: lambda arena, rpc: rpc.call("eth_getBlockByNumber", "latest", False)["hash"],
    Fault.WRONG_NONCE: lambda arena, rpc: rpc.call(
        "eth_getTransactionCount", arena.chain.accounts[Actor.KEEPER], "latest"
    ),
    Fault.NO_RECEIPT: lambda arena, rpc: rpc.call("eth_getTransactionReceipt", arena.keepers[0].attempts[0].mined_hash),
    Fault.FALSE_RECEIPT: lambda arena, rpc: rpc.call("eth_getTransactionReceipt", NOWHERE),
    Fault.WRONG_PRICE: lambda arena, rpc: arena.reported(rpc),
    Fault.WRONG_HOLDING: lambda arena, rpc: arena.reported(rpc),
}


@pytest.mark.parametrize("fault", LIES)
def test_lie_is_told_counted_and_over_when_it_is_cleared(settled: Arena, fault: Fault) -> None:
    overrides = {
        Fault.WRONG_PRICE: settled.other_price(1.1),
        Fault.WRONG_HOLDING: settled.other_holding(1.1),
    }
    before = settled.proxy.faults[fault]
    with settled.no_blocks(), Rpc(settled.proxy.url) as rpc:
        true = LIES[fault](settled, rpc)
        weather = Weather(fault, strength=3, overrides=overrides.get(fault, {}))
        settled.proxy.play(weather)
        reported = LIES[fault](settled, rpc)
        settled.proxy.clear()
        assert LIES[fault](settled, rpc) == true
    assert reported != true
    assert settled.proxy.faults[fault] == before + 1


def test_storm_that_never_strikes_is_no_storm(settled: Arena) -> None:
    weather = Weather(Fault.DROP, rate=0.0)
    with pytest.raises(NeverCame, match="never struck"):
        settled.storm(weather, 1, lambda: None, seconds=0.1, patience_seconds=0.1)


def test_same_seed_strikes_the_same_requests(settled: Arena) -> None:
    def struck(seed: int) -> list[bool]:
        settled.proxy.play(Weather(Fault.TOO_MANY, rate=0.5, seed=seed))
        found = []
        with Rpc(settled.proxy.url) as rpc:
            for _ in range(30):
                try:
                    rpc.call("eth_blockNumber")
                    found.append(False)
                except RpcUnreachable:
                    found.append(True)
        settled.proxy.clear()
        return found

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)


@pytest.mark.chaos
def test_reorg_takes_a_rebalance_back(arena: Arena) -> None:
    keeper = rebalanced(arena)
    lowest = min(attempt.block_number or 0 for attempt in keeper.attempts)
    with arena.no_blocks():
        arena.reorg(arena.height() - lowest + 1)

    assert arena.epochs == (0, 0)
    assert any("no block holds" in one for one in violations(arena))
