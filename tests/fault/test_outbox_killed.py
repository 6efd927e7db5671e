"""A keeper killed between any two states of its outbox: one epoch, one transaction, whatever happens.

The token's supply counts how often the transaction took effect; nothing but the outbox keeps it
from taking effect twice.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.receipt import wait_for_receipt
from rebalancer.devnet.local import LocalChain
from rebalancer.send.attempt import AttemptState, Kind
from rebalancer.send.fees import suggest
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from tests.clocks import wait_for
from tests.fault.deliver_and_stop import CAP_WEI, RULES, SIGNER, intent
from tests.outboxes import deliver, no_blocks

SCRIPT = Path(__file__).with_name("deliver_and_stop.py")
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"

# Where it is killed → what the journal then says, and what resuming finds.
POINTS = {
    "planned": (AttemptState.PLANNED, AttemptState.FAILED),
    "signed, not stored": (AttemptState.PLANNED, AttemptState.FAILED),
    "signed": (AttemptState.SIGNED, AttemptState.SENT),
    "sent, not stored": (AttemptState.SIGNED, AttemptState.MINED),
    "sent": (AttemptState.SENT, AttemptState.MINED),
    "mined, not stored": (AttemptState.SENT, AttemptState.MINED),
    "mined": (AttemptState.MINED, AttemptState.MINED),
}


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


def deliver_and_kill(chain_url: str, outbox: Path, point: str, token: BoundContract) -> None:
    """Deliver in another process and kill it, as `kill -9` does, where it stops."""
    data = token.data("mint", RECEIVER, 1)
    command = [sys.executable, str(SCRIPT), chain_url, str(outbox), point, token.address, data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line == "stopped\n" for line in lines), f"it never came to {point!r}"
        process.kill()


def nonce(chain: LocalChain) -> int:
    signer = devnet_signer(SIGNER).address
    return int(chain.rpc.call("eth_getTransactionCount", signer, "latest"), 16)


def await_nonce(chain: LocalChain, wanted: int) -> None:
    """Anvil mines a moment after it has answered: what was sent before the kill is mined after it."""
    wait_for("the block with what was sent", lambda: nonce(chain) >= wanted)


@pytest.mark.parametrize("point", POINTS)
def test_killed_then_resumed_and_asked_again_is_mined_once(
    chain: LocalChain, node_url: str, token: BoundContract, tmp_path: Path, point: str
) -> None:
    path = tmp_path / "outbox.sqlite"
    before = nonce(chain)
    deliver_and_kill(node_url, path, point, token)
    left, found = POINTS[point]
    if found is AttemptState.MINED:
        await_nonce(chain, before + 1)
    with Outbox(path) as outbox:
        (attempt,) = outbox.attempts(31337)
        assert attempt.state is left
        resumed = outbox.resume(chain.rpc)
        (attempt,) = outbox.attempts(31337)
        assert attempt.state is found
        assert [one.id for one in resumed] == ([] if left is AttemptState.MINED else [attempt.id])

        wanted = intent(token.address, token.data("mint", RECEIVER, 1))
        fees = suggest(chain.rpc, CAP_WEI)
        receipt = deliver(outbox, chain.rpc, devnet_signer(SIGNER), wanted, fees)
        again = deliver(outbox, chain.rpc, devnet_signer(SIGNER), wanted, fees)
        mined = [one for one in outbox.attempts(31337) if one.state is AttemptState.MINED]

    assert receipt == again
    assert token.call("totalSupply") == 1
    assert nonce(chain) == before + 1
    assert [one.transaction_hash for one in mined] == [receipt.transaction_hash]
    assert [one.block_hash for one in mined] == [receipt.block_hash]


@pytest.mark.parametrize("forgotten", [False, True], ids=["pending", "forgotten by the node"])
@pytest.mark.parametrize("point", ["signed", "sent, not stored", "sent"])
def test_killed_before_a_block_came_is_mined_once(
    chain: LocalChain,
    node_url: str,
    token: BoundContract,
    tmp_path: Path,
    point: str,
    forgotten: bool,
) -> None:
    path = tmp_path / "outbox.sqlite"
    before = nonce(chain)
    chain.rpc.call("evm_setAutomine", False)
    try:
        deliver_and_kill(node_url, path, point, token)
        if forgotten:
            chain.rpc.call("anvil_dropAllTransactions")
        with Outbox(path) as outbox:
            for _ in range(2):
                (resumed,) = outbox.resume(chain.rpc)
                assert resumed.state is AttemptState.SENT
        assert len(chain.rpc.call("txpool_content")["pending"]) == 1
        chain.mine()
        with Outbox(path) as outbox:
            (resumed,) = outbox.resume(chain.rpc)
            assert resumed.state is AttemptState.MINED
    finally:
        chain.rpc.call("evm_setAutomine", True)

    assert token.call("totalSupply") == 1
    assert nonce(chain) == before + 1


def test_killed_twice_in_a_row_is_mined_once(
    chain: LocalChain, node_url: str, token: BoundContract, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.sqlite"
    for point in ("planned", "signed", "sent", "mined"):
        deliver_and_kill(node_url, path, point, token)
    with Outbox(path) as outbox:
        states = [attempt.state for attempt in outbox.attempts(31337)]

    assert states == [AttemptState.FAILED, AttemptState.MINED]
    assert token.call("totalSupply") == 1


# Later steps: what is under way is replaced, cancelled, or was taken back by a reorg


def height(chain: LocalChain) -> int:
    return int(chain.rpc.call("eth_blockNumber"), 16)


# Where it is killed → whether the new version is in the journal then.
STEPS = {"signed, not stored": False, "signed": True, "sent, not stored": True, "done": True}


@pytest.mark.parametrize("forgotten", [False, True], ids=["pending", "forgotten by the node"])
@pytest.mark.parametrize("point", STEPS)
@pytest.mark.parametrize("step", ["bump", "cancel"])
def test_killed_while_replacing_takes_effect_at_most_once(
    chain: LocalChain,
    node_url: str,
    token: BoundContract,
    tmp_path: Path,
    step: str,
    point: str,
    forgotten: bool,
) -> None:
    path = tmp_path / "outbox.sqlite"
    before = nonce(chain)
    kind = {"bump": Kind.BUMP, "cancel": Kind.CANCELLATION}[step]
    stored = STEPS[point]
    with no_blocks(chain):
        deliver_and_kill(node_url, path, f"{step}: {point}", token)
        if forgotten:
            chain.rpc.call("anvil_dropAllTransactions")
        with Outbox(path, RULES) as outbox:
            (attempt,) = outbox.attempts(31337)
            assert [version.kind for version in attempt.versions] == [
                Kind.ORIGINAL,
                *([kind] if stored else []),
            ]
            (resumed,) = outbox.resume(chain.rpc)
            assert resumed.state is (attempt.standing if stored else AttemptState.SENT)
            chain.mine()
            outbox.advance(chain.rpc, [devnet_signer(SIGNER)], height(chain))
            (settled,) = outbox.attempts(31337)

    cancelled = step == "cancel" and stored
    assert settled.state is (AttemptState.CANCELLED if cancelled else AttemptState.MINED)
    assert settled.mined_hash == settled.newest.transaction_hash
    assert token.call("totalSupply") == (0 if cancelled else 1)
    assert nonce(chain) == before + 1


@pytest.mark.parametrize("point", ["signed", "sent, not stored", "done"])
def test_killed_while_a_reorg_is_dealt_with_is_mined_once(
    chain: LocalChain, node_url: str, token: BoundContract, tmp_path: Path, point: str
) -> None:
    path = tmp_path / "outbox.sqlite"
    before = nonce(chain)
    fork = chain.snapshot()
    deliver_and_kill(node_url, path, "mined", token)
    chain.revert(fork)
    with no_blocks(chain):
        chain.mine(2)
        deliver_and_kill(node_url, path, f"reorg: {point}", token)
        with Outbox(path, RULES) as outbox:
            (attempt,) = outbox.attempts(31337)
            assert attempt.state is AttemptState.SENT
            (resumed,) = outbox.resume(chain.rpc)
            assert resumed.versions[0].raw == attempt.versions[0].raw
            chain.mine()
            outbox.advance(chain.rpc, [], height(chain))
            (settled,) = outbox.attempts(31337)

    assert settled.state is AttemptState.MINED
    assert token.call("totalSupply") == 1
    assert nonce(chain) == before + 1


def test_killed_before_and_after_it_is_final_stays_so(
    chain: LocalChain, node_url: str, token: BoundContract, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.sqlite"
    deliver_and_kill(node_url, path, "mined", token)
    chain.mine(3)
    deliver_and_kill(node_url, path, "final: done", token)
    with Outbox(path, RULES) as outbox:
        (attempt,) = outbox.attempts(31337)
        assert attempt.state is AttemptState.FINAL
        assert outbox.resume(chain.rpc) == []
        assert wait_for_receipt(chain.rpc, str(attempt.mined_hash), 1).block_hash == (attempt.block_hash)
    assert token.call("totalSupply") == 1
