"""When the outbox holds a transaction as final by the chain's safe or finalized block, on nodes that have one and on nodes that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import NonceGap, RpcMalformed, RpcRejected, RpcUnreachable
from rebalancer.send.attempt import Attempt, AttemptState, Intent
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.send.spending import Spending
from tests.clocks import wait_for

CHAIN = 31337
SIGNER = devnet_signer(7)
VAULT = "0x" + "aa" * 20
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"


class Tagged(Rpc):
    """A node whose block of a tag is said by the test: its number, or what it answers instead."""

    tag = "safe"
    at: int | Exception | None = None
    requested = 0

    def call(self, method: str, *params: Any) -> Any:
        if method != "eth_getBlockByNumber" or params[0] != self.tag:
            return super().call(method, *params)
        self.requested += 1
        if isinstance(self.at, Exception):
            raise self.at
        return None if self.at is None else super().call(method, hex(self.at), False)


@pytest.fixture
def node(chain: LocalChain) -> Iterator[Tagged]:
    with Tagged(chain.rpc.endpoint) as rpc:
        yield rpc


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    rules = SendRules(confirmations="safe", min_pending_seconds=0)
    spending = Spending(tmp_path / "spending.sqlite")
    with Outbox(tmp_path / "outbox.sqlite", rules, spending=spending) as box:
        yield box


@pytest.fixture
def mint(chain: LocalChain) -> Callable[[int], Intent]:
    token = chain.deploy("MockToken", "Coin", "COIN", 6)
    data = token.data("mint", RECEIVER, 1)
    return lambda epoch: Intent(CHAIN, VAULT, epoch, token.address, data, 90_000, "drift")


def height(node: Rpc) -> int:
    return int(node.call("eth_blockNumber"), 16)


def submit_and_mine(node: Rpc, outbox: Outbox, intent: Intent) -> None:
    """Hand an intent over, and wait for its block: the node answers before it has mined."""
    sent = outbox.submit(node, [SIGNER], intent)
    wait_for("the receipt", lambda: node.call("eth_getTransactionReceipt", str(sent.transaction_hash)))


def advance(node: Rpc, outbox: Outbox) -> Attempt:
    """The only attempt, one tick later."""
    outbox.advance(node, [SIGNER], height(node))
    (attempt,) = outbox.attempts(CHAIN)
    return attempt


def test_held_becomes_final_when_its_block_is_safe_and_no_sooner(
    chain: LocalChain, node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]
) -> None:
    submit_and_mine(node, outbox, mint(0))
    mined = advance(node, outbox)
    number = mined.block_number
    assert number is not None
    assert node.requested == 0  # nothing was held when it was looked for
    chain.mine(100)

    node.at = number - 1
    assert advance(node, outbox).state is AttemptState.MINED  # however deep it lies
    node.at = number
    assert advance(node, outbox).state is AttemptState.FINAL
    assert outbox.journal.watched(CHAIN) == []


def test_tag_may_be_finalized(chain: LocalChain, node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]) -> None:
    outbox.rules = SendRules(confirmations="finalized", min_pending_seconds=0)
    node.tag = "finalized"
    submit_and_mine(node, outbox, mint(0))
    node.at = height(node)
    advance(node, outbox)
    chain.mine()

    assert advance(node, outbox).state is AttemptState.FINAL


@pytest.mark.parametrize(
    "answer",
    [
        None,
        RpcRejected("eth_getBlockByNumber", -32000, "safe block not found"),
        RpcRejected("eth_getBlockByNumber", -32602, "invalid argument 0: hex string without 0x"),
        RpcMalformed("http://node", "its answer to eth_getBlockByNumber is not a block"),
    ],
)
def test_node_without_the_tag_makes_nothing_final_and_it_is_said_once(
    chain: LocalChain,
    node: Tagged,
    outbox: Outbox,
    mint: Callable[[int], Intent],
    answer: Exception | None,
) -> None:
    submit_and_mine(node, outbox, mint(0))
    node.at = answer
    advance(node, outbox)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            chain.mine(100)
            assert advance(node, outbox).state is AttemptState.MINED
    warned = [one for one in logs if one["event"] == "no_block_with_tag"]
    assert [(one["tag"], one["log_level"]) for one in warned] == [("safe", "warning")]

    node.at = height(node)
    assert advance(node, outbox).state is AttemptState.FINAL


def test_node_that_does_not_answer_fails_the_look(node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]) -> None:
    submit_and_mine(node, outbox, mint(0))
    advance(node, outbox)
    node.at = RpcUnreachable("http://node", "the connection was refused")

    with pytest.raises(RpcUnreachable):
        advance(node, outbox)


def test_reorg_below_the_safe_block_takes_back_what_is_not_final(
    chain: LocalChain, node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]
) -> None:
    """The node calls a block safe at a height where it had another one: ours is not on its chain any more."""
    fork = chain.snapshot()
    submit_and_mine(node, outbox, mint(0))
    mined = advance(node, outbox)
    chain.revert(fork)
    chain.rpc.call("evm_setAutomine", False)
    try:
        chain.mine(3)
        assert mined.block_number is not None
        node.at = mined.block_number + 1
        back = advance(node, outbox)
        assert (back.state, back.block_hash) == (AttemptState.SENT, None)
        assert "reorg" in back.note
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)
    again = advance(node, outbox)
    assert again.state is AttemptState.MINED
    assert again.block_number is not None
    assert again.block_number > node.at  # not safe yet

    node.at = again.block_number
    assert advance(node, outbox).state is AttemptState.FINAL


def test_reorg_below_what_was_final_is_told_before_anything_is_sent(
    chain: LocalChain, node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]
) -> None:
    fork = chain.snapshot()
    submit_and_mine(node, outbox, mint(0))
    advance(node, outbox)
    node.at = height(node)
    assert advance(node, outbox).state is AttemptState.FINAL
    chain.revert(fork)
    chain.mine(3)

    assert advance(node, outbox).state is AttemptState.FINAL
    with pytest.raises(NonceGap):
        outbox.submit(node, [SIGNER], mint(1))


def test_refused_elsewhere_and_used_by_another_is_final_by_the_tag_too(
    chain: LocalChain, node: Tagged, outbox: Outbox, mint: Callable[[int], Intent]
) -> None:
    chain.rpc.call("evm_setAutomine", False)
    try:
        attempt = outbox.submit(node, [SIGNER], mint(0))
        if chain.is_anvil:
            chain.rpc.call("anvil_dropTransaction", attempt.transaction_hash)
        else:
            chain.rpc.call("hardhat_dropTransaction", attempt.transaction_hash)
        chain.set_nonce(SIGNER.address, (attempt.nonce or 0) + 1)
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)
    node.at = 0
    for _ in range(4):
        chain.mine()
        lost = advance(node, outbox)
    assert (lost.state, lost.is_final) == (AttemptState.FAILED, False)

    node.at = height(node)
    assert advance(node, outbox).is_final


def test_endpoint_without_the_tag_does_not_rest_for_it_when_no_other_has_it(
    chain: LocalChain, node_url: str, outbox: Outbox, mint: Callable[[int], Intent]
) -> None:
    missing = RpcRejected("eth_getBlockByNumber", -32000, "safe block not found")

    class Before(Rpc):
        def batch_settled(self, calls: Any) -> list[Any]:
            if [list(params[:1]) for _, params in calls] == [["safe"]]:
                return [missing]
            return super().batch_settled(calls)

    with Endpoints([node_url, node_url.replace("127.0.0.1", "localhost")]) as endpoints:
        for place in endpoints._ranked:
            place.rpc.__class__ = Before
        outbox.submit(endpoints, [SIGNER], mint(0))
        outbox.advance(endpoints, [SIGNER], height(endpoints))
        chain.mine(50)
        outbox.advance(endpoints, [SIGNER], height(endpoints))

        assert [one.consecutive_failures for one in endpoints.health()] == [0, 0]
    (attempt,) = outbox.attempts(CHAIN)
    assert attempt.state is AttemptState.MINED
