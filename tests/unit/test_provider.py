"""A provider for web3 over our endpoints, and our client over a provider of somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from web3 import Web3
from web3.types import RPCEndpoint

from rebalancer.chain.provider import FailoverProvider, rpc_of
from rebalancer.errors import (
    QuorumTooSmall,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from tests.unit.test_endpoints import Node

CALL = RPCEndpoint("eth_call")


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node(height=100, word="0x02")
    made.start()
    yield made
    made.stop()


def test_answers_are_given_as_json_rpc_and_numbered_on(node: Node) -> None:
    provider = FailoverProvider(node.url)

    one = provider.make_request(CALL, [])
    more = provider.make_batch_request([(CALL, []), (RPCEndpoint("eth_blockNumber"), [])])

    assert isinstance(more, list)
    assert [each["result"] for each in (one, *more)] == ["0x02", "0x02", "0x64"]
    first = one["id"]
    assert isinstance(first, int)
    assert [each["id"] for each in (one, *more)] == [first, first + 1, first + 2]
    assert {each["jsonrpc"] for each in (one, *more)} == {"2.0"}
    assert [type(body) for body in node.bodies] == [dict, list]


@pytest.mark.parametrize("data", [None, "0x1234"])
def test_refusal_is_an_error_with_its_data(node: Node, data: str | None) -> None:
    node.refuses(3, "execution reverted", data=data)

    answer = FailoverProvider([node.url]).make_request(CALL, [])

    error: dict[str, Any] = {"code": 3, "message": "execution reverted"}
    assert answer["error"] == (error | {"data": data} if data else error)
    assert "result" not in answer


def test_settings_and_time_are_the_endpoints(node: Node) -> None:
    rpc = FailoverProvider([node.url, node.url], 7.5, quorum=2, max_lag_blocks=9).rpc
    assert (rpc.timeout_s, rpc.quorum, rpc.max_lag_blocks) == (7.5, 2, 9)
    assert FailoverProvider(node.url).rpc.timeout_s == 10.0
    with pytest.raises(QuorumTooSmall):
        FailoverProvider(node.url, quorum=2)


def test_connected_is_who_answers_for_the_right_chain(node: Node) -> None:
    assert FailoverProvider(node.url, expected_chain_id=1).is_connected()
    wrong = FailoverProvider(node.url, expected_chain_id=2)
    assert wrong.is_connected() is False
    assert wrong.is_connected(show_traceback=False) is False
    with pytest.raises(WrongChain):
        wrong.is_connected(show_traceback=True)


def test_disconnected_provider_opens_new_connections(node: Node) -> None:
    provider = FailoverProvider(node.url)
    provider.make_request(CALL, [])
    provider.disconnect()
    provider.make_request(CALL, [])

    assert len(node.connections) == 2


def test_web3_over_our_provider_is_asked_by_its_own_endpoints(node: Node) -> None:
    provider = FailoverProvider(node.url)
    assert rpc_of(Web3(provider)) is provider.rpc


class Theirs:
    """A provider of somebody else's; it answers, or raises, what it is told."""

    endpoint_uri = "http://me:s3cret@node.example:8545/s3cret"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requested: list[Any] = []

    def make_request(self, method: str, params: Any) -> Any:
        self.requested.append((method, params))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Batching(Theirs):
    def make_batch_request(self, calls: Any) -> Any:
        self.requested.append(calls)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def over(provider: Any) -> Any:
    class Web:
        pass

    made: Any = Web()
    made.provider = provider
    return rpc_of(made)


def test_their_provider_is_asked_one_by_one_or_in_batches_where_it_can() -> None:
    alone = Theirs({"result": 1}, {"result": 2})
    assert over(alone).batch([("a", (1,)), ("b", ())]) == [1, 2]
    assert alone.requested == [("a", [1]), ("b", [])]

    many = Batching([{"result": 1}, {"result": 2}], {"result": 3})
    rpc = over(many)
    assert rpc.batch([("a", (1,)), ("b", ())]) == [1, 2]
    assert rpc.call("c") == 3
    assert many.requested == [[("a", [1]), ("b", [])], ("c", [])]
    assert rpc.requests == 2
    rpc.close()
    assert (rpc.endpoint, rpc.timeout_s, rpc.expected_chain_id) == (
        "http://node.example:8545",
        10.0,
        None,
    )
    assert (rpc.deadline, rpc.max_tip_wei) == (None, None)


def test_what_their_provider_says_is_checked_as_any_answer_is() -> None:
    rpc = over(Theirs({"error": {"code": 3, "message": "no", "data": "0x01"}}, {"result": "?"}))
    with pytest.raises(RpcRejected) as raised:
        rpc.call("x")
    assert raised.value.data == b"\1"
    with pytest.raises(RpcMalformed, match="not a number"):
        rpc.call("eth_blockNumber")


@pytest.mark.parametrize("answers", [[{"result": 1}], [{"result": 1}] * 3, {"result": 1}, None])
def test_another_number_of_answers_than_of_questions_is_none(answers: Any) -> None:
    with pytest.raises(RpcMalformed) as raised:
        over(Batching(answers)).batch([("a", ()), ("b", ())])

    assert raised.value.endpoint == "http://node.example:8545"
    assert raised.value.reason == "the number of answers differs from the number of requests"


def test_what_their_provider_raises_is_a_lost_endpoint_without_its_secrets() -> None:
    with pytest.raises(RpcUnreachable) as raised:
        over(Theirs(ValueError("no route to http://node.example/s3cret"))).call("x")

    assert raised.value.endpoint == "http://node.example:8545"
    assert raised.value.reason.startswith("ValueError: no route to")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__suppress_context__
    ours = RpcTimeout("it", 1)
    with pytest.raises(RpcTimeout) as passed:
        over(Theirs(ours)).call("x")
    assert passed.value is ours


def test_their_provider_without_an_address_is_named_by_its_kind() -> None:
    class Nameless:
        def make_request(self, method: str, params: Any) -> Any:
            return {"result": 1}

    assert over(Nameless()).endpoint == "Nameless"


def test_their_provider_is_not_asked_once_no_time_is_left() -> None:
    theirs = Theirs({"result": 1})
    rpc = over(theirs)
    rpc.deadline = 0.0
    with pytest.raises(RpcTimeout):
        rpc.call("x")
    assert theirs.requested == []
    assert rpc.requests == 0


@pytest.mark.parametrize(("letters", "is_whole"), [(300, True), (301, False)])
def test_of_what_their_provider_raises_three_hundred_letters_are_kept(letters: int, is_whole: bool) -> None:
    words = "m" * (letters - len("ValueError: "))
    with pytest.raises(RpcUnreachable) as raised:
        over(Theirs(ValueError(words))).call("x")

    assert (raised.value.reason == f"ValueError: {words}") is is_whole
