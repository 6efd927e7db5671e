"""Many endpoints as one: who is asked, who is asked next, and what they must agree on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rebalancer.chain.endpoints import Endpoints
from rebalancer.errors import (
    EndpointsDisagree,
    QuorumTooSmall,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from rebalancer.send.fees import read_market
from tests.clocks import LONGEST_SECONDS, SkippingClock
from tests.unit.test_rpc import ScriptedServer


class Node(ScriptedServer):
    """A node of a chain at a height, which answers `eth_call` with its word and can be told to fail."""

    def __init__(self, height: int = 100, word: str = "0x01", chain_id: int = 1) -> None:
        super().__init__()
        self.height, self.word, self.chain = height, word, chain_id
        self.fault: Callable[[Any], tuple[int, str]] | None = None
        self.answer = self._reported

    def _reported(self, body: Any) -> tuple[int, str]:
        if self.fault is not None:
            return self.fault(body)
        calls = body if isinstance(body, list) else [body]
        values = {"eth_blockNumber": hex(self.height), "eth_chainId": hex(self.chain)}
        answers = [{"jsonrpc": "2.0", "id": c["id"], "result": values.get(c["method"], self.word)} for c in calls]
        return 200, json.dumps(answers if isinstance(body, list) else answers[0])

    def refuses(self, code: int, message: str, status: int = 200, data: str | None = None) -> None:
        def fault(body: Any) -> tuple[int, str]:
            error = {"code": code, "message": message} | ({"data": data} if data else {})
            calls = body if isinstance(body, list) else [body]
            answers = [{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in calls]
            return status, json.dumps(answers if isinstance(body, list) else answers[0])

        self.fault = fault

    def methods(self) -> list[str]:
        return [body["method"] for body in self.bodies]


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    made = [Node(), Node(), Node()]
    for node in made:
        node.start()
    yield made
    for node in made:
        node.stop()


def over(nodes: list[Node], **settings: Any) -> Endpoints:
    return Endpoints([node.url for node in nodes], **{"timeout_s": LONGEST_SECONDS} | settings)


def test_several_are_named_by_the_first_and_how_many_more(nodes: list[Node]) -> None:
    one = over(nodes[:1]).endpoint

    assert over(nodes).endpoint == f"{one} and 2 more"


# Refusals


def test_more_that_must_agree_than_there_are_are_refused(nodes: list[Node]) -> None:
    with pytest.raises(QuorumTooSmall) as refusal:
        over(nodes, quorum=4)

    assert (refusal.value.needed, refusal.value.count) == (4, 3)
    with pytest.raises(QuorumTooSmall):
        over(nodes, quorum=0)


def test_when_nobody_answers_the_last_failure_is_told(nodes: list[Node]) -> None:
    for node in nodes:
        node.fault = lambda body: (503, "down")

    with pytest.raises(RpcUnreachable, match="HTTP 503"):
        over(nodes).call("eth_call")

    assert [len(node.bodies) for node in nodes] == [1, 1, 1]


def test_a_nodes_refusal_of_the_question_is_an_answer(nodes: list[Node]) -> None:
    nodes[0].refuses(3, "execution reverted", data="0x1234")

    with pytest.raises(RpcRejected) as refusal:
        over(nodes).call("eth_call")

    assert refusal.value.data == b"\x12\x34"
    assert nodes[1].bodies == []


# Falling back


@pytest.mark.parametrize(
    "fault",
    [
        lambda node: node.refuses(-32005, "limit exceeded"),
        lambda node: node.refuses(-32000, "header not found"),
        lambda node: node.refuses(429, "Too Many Requests", status=429),
        lambda node: setattr(node, "fault", lambda body: (500, "")),
        lambda node: setattr(node, "fault", lambda body: (200, "<html>")),
        lambda node: setattr(node, "fault", lambda body: (200, "[]")),
        lambda node: node.stop(),
        lambda node: setattr(node, "chain", 5),
    ],
    ids=["limit", "no header", "429", "500", "html", "empty", "gone", "other chain"],
)
def test_an_endpoint_that_fails_is_passed_over_and_rests(nodes: list[Node], fault: Callable[[Node], None]) -> None:
    rpc = over(nodes, expected_chain_id=1)
    nodes[1].word = "0x02"
    fault(nodes[0])

    assert rpc.call("eth_call") == "0x02"
    requested = len(nodes[0].bodies)
    assert rpc.call("eth_call") == "0x02"

    assert len(nodes[0].bodies) == requested, "it rests"
    health = rpc.health()[0]
    assert health.backing_off
    assert health.consecutive_failures == 1
    assert health.why
    assert "0ld-k3y" not in health.why


def test_an_endpoint_is_tried_again_after_its_rest_and_rests_longer_each_time(
    nodes: list[Node],
) -> None:
    now = [0.0]
    rpc = over(nodes[:2], clock=lambda: now[0])
    nodes[0].refuses(-32005, "limit exceeded")
    backs_off = []
    for _ in range(3):
        rpc.check()
        backs_off.append(next(s / 10 for s in range(1000) if _rested(rpc, now, s / 10)))
    nodes[0].fault = None
    now[0] += 100
    rpc.check()

    assert backs_off == pytest.approx([0.5, 1.0, 2.0], abs=0.11)
    assert not rpc.health()[0].backing_off
    assert rpc.health()[0].consecutive_failures == 0


def _rested(rpc: Endpoints, now: list[float], seconds: float) -> bool:
    began, now[0] = now[0], now[0] + seconds
    backing_off = rpc.health()[0].backing_off
    now[0] = began
    return not backing_off


def test_a_silent_endpoint_leaves_time_for_the_next(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock(monkeypatch)
    rpc = over(nodes, timeout_s=2 * LONGEST_SECONDS)
    silent = rpc._ranked[0].rpc

    def waits(payload: Any) -> Any:
        seconds = silent._seconds_left()
        clock.skip(seconds)
        raise RpcTimeout(silent.endpoint, seconds)

    monkeypatch.setattr(silent, "_post", waits)
    nodes[1].word = "0x02"

    assert rpc.call("eth_call") == "0x02"


def test_no_answer_is_waited_for_beyond_the_deadline(nodes: list[Node]) -> None:
    rpc = over(nodes)
    rpc.deadline = 0.0

    with pytest.raises(RpcTimeout):
        rpc.call("eth_call")

    assert all(node.bodies == [] for node in nodes)


def test_every_endpoint_on_another_chain_is_a_wrong_chain(nodes: list[Node]) -> None:
    with pytest.raises(WrongChain):
        over(nodes, expected_chain_id=7).chain_id()


# Choosing


def test_an_endpoint_that_is_behind_is_asked_last(nodes: list[Node]) -> None:
    nodes[0].height = 96
    nodes[1].height = 97
    rpc = over(nodes, max_lag_blocks=3)
    health = rpc.check()
    nodes[2].fault = lambda body: (503, "")

    rpc.call("eth_call")

    assert [each.behind for each in health] == [True, False, False]
    assert [each.height for each in health] == [96, 97, 100]
    assert nodes[1].methods()[-1] == "eth_call" or nodes[2].methods()[-1] == "eth_call"
    assert "eth_call" not in nodes[0].methods()


def test_the_faster_of_two_is_asked_first(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock(monkeypatch)
    plain = nodes[0].answer

    def slow(body: Any) -> tuple[int, str]:
        clock.skip(3 * LONGEST_SECONDS)
        return plain(body)

    nodes[0].answer = slow
    rpc = over(nodes[:2], timeout_s=10 * LONGEST_SECONDS)
    monkeypatch.setattr(rpc._threads, "map", map)  # one after the other: what is skipped is the slow one's alone
    rpc.check()

    rpc.call("eth_call")

    assert nodes[1].methods()[-1] == "eth_call"
    assert "eth_call" not in nodes[0].methods()


def test_what_steers_a_local_node_goes_to_the_first_alone(nodes: list[Node]) -> None:
    nodes[0].fault = lambda body: (503, "")

    with pytest.raises(RpcUnreachable):
        over(nodes).call("evm_mine")

    assert nodes[1].bodies == []
    assert nodes[2].bodies == []


# Agreeing


def test_what_two_agree_on_is_confirmed_though_a_third_is_down(nodes: list[Node]) -> None:
    nodes[0].fault = lambda body: (503, "")

    assert over(nodes, quorum=2).confirm([("eth_call", ()), ("eth_call", ())]) == ["0x01", "0x01"]

    assert nodes[1].bodies
    assert nodes[2].bodies


def test_endpoints_that_disagree_confirm_nothing(nodes: list[Node]) -> None:
    nodes[1].word = "0x02"

    with pytest.raises(EndpointsDisagree) as refusal:
        over(nodes, quorum=2).confirm([("eth_call", ())])

    assert refusal.value.method == "eth_call"
    assert "0ld-k3y" not in str(refusal.value)


def test_too_few_that_answer_confirm_nothing(nodes: list[Node]) -> None:
    nodes[0].fault = nodes[1].fault = lambda body: (503, "")

    with pytest.raises(QuorumTooSmall) as refusal:
        over(nodes, quorum=2).confirm([("eth_call", ())])

    assert (refusal.value.needed, refusal.value.count) == (2, 1)


def test_a_refusal_is_confirmed_by_its_data_whatever_its_words(nodes: list[Node]) -> None:
    nodes[0].refuses(3, "execution reverted", data="0x12")
    nodes[1].refuses(-32000, "VM Exception", data="0x12")

    with pytest.raises(RpcRejected):
        over(nodes, quorum=2).confirm([("eth_call", ())])


def test_one_is_quorum_enough_where_no_more_is_asked(nodes: list[Node]) -> None:
    assert over(nodes).confirm([("eth_call", ())]) == ["0x01"]

    assert sum(len(node.bodies) for node in nodes) == 1


# What gas costs


def tells_of(node: Node, tip_gwei: int, base_gwei: int = 10) -> None:
    """Have a node tell of these fees."""
    gwei = 10**9
    reported = {
        "baseFeePerGas": [hex(base_gwei * gwei)] * 2,
        "reward": [[hex(tip_gwei * gwei)] * 2],
        "gasUsedRatio": [0.5],
    }
    node.fault = lambda body: (200, json.dumps({"id": body["id"], "result": reported}))


@pytest.mark.parametrize(("quorum", "usual"), [(2, 1), (3, 2)])
def test_the_price_of_gas_is_the_median_of_those_that_must_agree(nodes: list[Node], quorum: int, usual: int) -> None:
    for node, tip in zip(nodes, (199, 1, 2), strict=True):
        tells_of(node, tip)

    assert read_market(over(nodes, quorum=quorum)).usual_tip_wei == usual * 10**9


def test_one_that_must_agree_and_tells_nothing_does_not_stop_the_others(nodes: list[Node]) -> None:
    nodes[0].fault = lambda body: (500, "")
    tells_of(nodes[1], 3)
    tells_of(nodes[2], 3)

    assert read_market(over(nodes, quorum=3)).usual_tip_wei == 3 * 10**9


def test_no_tip_is_believed_above_the_most(nodes: list[Node]) -> None:
    tells_of(nodes[0], 199)

    market = read_market(over(nodes[:1], max_tip_wei=5 * 10**9))

    assert (market.usual_tip_wei, market.urgent_tip_wei) == (5 * 10**9, 5 * 10**9)
