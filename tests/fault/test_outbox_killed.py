"""A keeper killed between any two states of its outbox: one epoch, one transaction, whatever happens.

The token's supply counts how often the transaction took effect; nothing but the outbox keeps it
from taking effect twice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rebalancer.chain.abi import Contract
from rebalancer.devnet.local import LocalChain
from rebalancer.send.fees import suggest
from rebalancer.send.outbox import Outbox, State
from rebalancer.send.signer import devnet_signer
from tests.fault.deliver_and_stop import CAP_WEI, SIGNER, intent

SCRIPT = Path(__file__).with_name("deliver_and_stop.py")
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"

# Where it is killed → what the journal then says, and what resuming finds.
POINTS = {
    "planned": (State.PLANNED, State.FAILED),
    "signed, not stored": (State.PLANNED, State.FAILED),
    "signed": (State.SIGNED, State.SENT),
    "sent, not stored": (State.SIGNED, State.MINED),
    "sent": (State.SENT, State.MINED),
    "mined, not stored": (State.SENT, State.MINED),
    "mined": (State.MINED, State.MINED),
}


@pytest.fixture
def token(chain: LocalChain) -> Contract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


def deliver_and_kill(chain_url: str, outbox: Path, point: str, token: Contract) -> None:
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
    deadline = time.monotonic() + 30
    while nonce(chain) < wanted:
        assert time.monotonic() < deadline, "what was sent is never mined"
        time.sleep(0.01)


@pytest.mark.parametrize("point", POINTS)
def test_killed_then_resumed_and_asked_again_is_mined_once(
    chain: LocalChain, node_url: str, token: Contract, tmp_path: Path, point: str
) -> None:
    path = tmp_path / "outbox.sqlite"
    before = nonce(chain)
    deliver_and_kill(node_url, path, point, token)
    left, found = POINTS[point]
    if found is State.MINED:
        await_nonce(chain, before + 1)
    with Outbox(path) as outbox:
        (attempt,) = outbox.attempts(31337)
        assert attempt.state is left
        resumed = outbox.resume(chain.rpc)
        (attempt,) = outbox.attempts(31337)
        assert attempt.state is found
        assert [one.id for one in resumed] == ([] if left is State.MINED else [attempt.id])

        wanted = intent(token.address, token.data("mint", RECEIVER, 1))
        fees = suggest(chain.rpc, CAP_WEI)
        receipt = outbox.deliver(chain.rpc, devnet_signer(SIGNER), wanted, fees, 10)
        again = outbox.deliver(chain.rpc, devnet_signer(SIGNER), wanted, fees, 10)
        mined = [one for one in outbox.attempts(31337) if one.state is State.MINED]

    assert receipt == again
    assert token.call(chain.rpc, "totalSupply") == 1
    assert nonce(chain) == before + 1
    assert [one.transaction_hash for one in mined] == [receipt.transaction_hash]
    assert [one.block_hash for one in mined] == [receipt.block_hash]


@pytest.mark.parametrize("forgotten", [False, True], ids=["pending", "forgotten by the node"])
@pytest.mark.parametrize("point", ["signed", "sent, not stored", "sent"])
def test_killed_before_a_block_came_is_mined_once(
    chain: LocalChain,
    node_url: str,
    token: Contract,
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
                assert resumed.state is State.SENT
        assert len(chain.rpc.call("txpool_content")["pending"]) == 1
        chain.mine()
        with Outbox(path) as outbox:
            (resumed,) = outbox.resume(chain.rpc)
            assert resumed.state is State.MINED
    finally:
        chain.rpc.call("evm_setAutomine", True)

    assert token.call(chain.rpc, "totalSupply") == 1
    assert nonce(chain) == before + 1


def test_killed_twice_in_a_row_is_mined_once(
    chain: LocalChain, node_url: str, token: Contract, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.sqlite"
    for point in ("planned", "signed", "sent", "mined"):
        deliver_and_kill(node_url, path, point, token)
    with Outbox(path) as outbox:
        states = [attempt.state for attempt in outbox.attempts(31337)]

    assert states == [State.FAILED, State.MINED]
    assert token.call(chain.rpc, "totalSupply") == 1
