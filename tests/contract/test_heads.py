"""Heads by subscription from a real node: pushed, linked over reorgs, and by asking while the socket is down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rebalancer.chain.heads import Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from tests.clocks import LONGEST_SECONDS, wait_for


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.start(NodeSettings(kind=NodeKind.ANVIL)) as started:
        yield started


@pytest.fixture
def rpc(node: Node) -> Iterator[Rpc]:
    with node.rpc() as requested:
        yield requested


def socket_of(node: Node) -> str:
    return node.url.replace("http", "ws")


def test_a_head_is_pushed_before_anybody_asks(node: Node, rpc: Rpc) -> None:
    with Heads(rpc, socket_of(node), poll_seconds=600) as heads:
        first = heads.next(0)
        assert first is not None
        assert heads.subscribed
        rpc.call("evm_mine")
        requested = rpc.requests
        head = heads.next(LONGEST_SECONDS)

    assert head is not None
    assert head.header.parent_hash == first.header.hash
    assert rpc.requests == requested


def test_of_many_heads_only_the_newest_is_told_with_what_it_missed(
    node: Node, rpc: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Heads(rpc, socket_of(node)) as heads:
        first = heads.next(0)
        rpc.call("anvil_mine", "0x5")
        assert heads._socket is not None
        waiting = [heads._socket.recv(LONGEST_SECONDS) for _ in range(5)]

        def received(timeout: float) -> Any:
            if not waiting:
                raise TimeoutError
            return waiting.pop(0)

        monkeypatch.setattr(heads._socket, "recv", received)
        head = heads.next(LONGEST_SECONDS)

    assert first is not None
    assert head is not None
    assert head.header.number == first.header.number + 5
    assert [each.number for each in head.missed] == [first.header.number + n for n in range(1, 5)]


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_a_reorg_on_the_node_is_told_with_what_it_took_back(node: Node, rpc: Rpc, depth: int) -> None:
    with Heads(rpc, socket_of(node), poll_seconds=0.2) as heads:
        heads.next(0)
        rpc.call("anvil_mine", "0xc")
        newest = int(rpc.call("eth_blockNumber"), 16)
        seen = heads.next(LONGEST_SECONDS)
        while seen is not None and seen.header.number < newest:
            seen = heads.next(LONGEST_SECONDS)
        assert seen is not None
        rpc.call("anvil_reorg", depth, [])
        head = heads.next(LONGEST_SECONDS)

    assert head is not None
    assert [each.number for each in head.reorged] == [seen.header.number - depth + 1 + n for n in range(depth)]
    assert head.linked


def test_a_socket_that_is_lost_is_replaced_by_asking_and_opened_again() -> None:
    with (
        Node.start(NodeSettings(kind=NodeKind.ANVIL)) as second,
        second.rpc() as rpc,
        Heads(rpc, "ws://127.0.0.1:9", poll_seconds=0.05) as heads,
    ):
        heads.next(0)
        refused = not heads.subscribed
        assert refused
        rpc.call("evm_mine")
        assert heads.next(LONGEST_SECONDS) is not None
        heads._url = socket_of(second)

        def subscribed() -> bool:
            rpc.call("evm_mine")
            heads.next(0.1)
            return heads.subscribed

        wait_for("the socket", subscribed)
