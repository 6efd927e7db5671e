"""The JSON-RPC client on a clock of the test's, with an HTTP that answers in the test: batches, identifiers, statuses, limits."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from rebalancer.abi import Call, at_block
from rebalancer.chain import rpc as module
from rebalancer.chain.rpc import Rpc, _WithinDeadline
from rebalancer.errors import (
    ChainError,
    RpcBusy,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from rebalancer.redact import endpoint_name
from rebalancer.texts import MOST_DEPTH
from tests.unit.test_rpc import ScriptedServer

URL = "http://node.example"
LIMIT = {"code": -32005, "message": "limit exceeded"}
BROKEN = {"code": -32603, "message": "internal error"}
REVERTED = {"code": 3, "message": "execution reverted", "data": "0x01"}
BATCH = {"code": -32600, "message": "batch too large"}


class Clock:
    """Time that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Posted(Rpc):
    """A client whose HTTP is a function of the body: status, JSON, and how long to wait."""

    def __init__(self, answer: Callable[[Any], tuple[int, Any, float | None]], **settings: Any):
        super().__init__(URL, **settings)
        self.answer = answer
        self.sizes: list[int] = []
        self.ids: list[int] = []

    def _post(self, payload: Any) -> tuple[int, Any, float | None]:
        calls = payload if isinstance(payload, list) else [payload]
        self.sizes.append(len(calls))
        self.ids += [each["id"] for each in calls]
        assert all(each["jsonrpc"] == "2.0" for each in calls)
        return self.answer(payload)


def echo(body: Any) -> Any:
    """Each call's first parameter as its result."""
    calls = body if isinstance(body, list) else [body]
    reported = [{"id": each["id"], "result": each["params"][0]} for each in calls]
    return reported if isinstance(body, list) else reported[0]


def says(reported: Any, status: int = 200, wait: float | None = None) -> Posted:
    """A client that is always answered so, or as a function of the body says."""
    return Posted(lambda body: (status, reported(body) if callable(reported) else reported, wait))


def takes(most: int, refusal: Any = None) -> Posted:
    """A client of an endpoint that answers batches up to a size, and others with an error."""

    def answer(body: Any) -> tuple[int, Any, float | None]:
        if isinstance(body, list) and len(body) > most:
            return 200, {"id": None, "error": refusal or BATCH}, None
        return 200, echo(body), None

    return Posted(answer)


def calls(count: int) -> list[Call]:
    return [("x", [number]) for number in range(count)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


# Batches


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 19, 20])
def test_a_batch_is_halved_until_it_is_taken_and_the_rest_asked_by_that_size(most: int) -> None:
    rpc = takes(most)
    tried, size = [], 20
    while size > max(most, 1):
        tried.append(size)
        size //= 2
    pieces, left = [], 20
    while left:
        pieces.append(min(size, left))
        left -= pieces[-1]

    assert rpc.batch(calls(20)) == list(range(20))

    assert rpc.sizes == [*tried, *pieces]
    assert len(set(rpc.ids)) == len(rpc.ids), "no answer can be mistaken for another's"


def test_a_limit_is_believed_for_ten_minutes_and_then_twice_as_much_tried(clock: Clock) -> None:
    rpc = takes(5)
    rpc.batch(calls(20))
    learnt = clock.now

    def sizes(at: float) -> list[int]:
        clock.now = at
        rpc.sizes.clear()
        assert rpc.batch(calls(20)) == list(range(20))
        return rpc.sizes

    assert sizes(learnt + 600.0) == [5, 5, 5, 5]
    assert sizes(math.nextafter(learnt + 600.0, math.inf)) == [10, 5, 5, 5, 5]
    rpc.answer = lambda body: (200, echo(body), None)
    later = clock.now + 601.0
    assert sizes(later) == [10, 10]
    assert sizes(later + 600.0) == [10, 10]
    assert sizes(later + 601.0) == [20]
    clock.now += 601.0
    rpc.sizes.clear()
    rpc.batch(calls(3))
    assert rpc.sizes == [3]


@pytest.mark.parametrize(("error", "failure"), [(LIMIT, RpcBusy), (BROKEN, RpcUnreachable), (REVERTED, None)])
def test_an_error_of_the_last_one_left_is_the_endpoints_or_the_answer(
    error: dict[str, Any], failure: type[ChainError] | None
) -> None:
    rpc = says(lambda body: {"id": None if isinstance(body, list) else body["id"], "error": error})
    if failure is None:
        answers = rpc.batch_settled(calls(3))
        assert [each.data for each in answers] == [b"\1"] * 3
        return
    with pytest.raises(failure) as raised:
        rpc.batch_settled(calls(3))
    assert type(raised.value) is failure
    assert raised.value.endpoint == URL  # type: ignore[attr-defined] # both have it
    assert error["message"] in str(raised.value)
    assert str(error["code"]) in str(raised.value)
    assert rpc.sizes == [3, 1]


def test_a_batch_is_asked_in_pieces_only_where_every_answer_refuses_it() -> None:
    def answer(body: Any) -> Any:
        reported = echo(body)
        if isinstance(body, list):
            for each in reported[: rpc_refuses[0]]:
                del each["result"]
                each["error"] = BATCH
        return reported

    rpc_refuses = [2]
    rpc = says(answer)
    refused, other, taken = rpc.batch_settled(calls(3))
    assert (type(refused), type(other), taken) == (RpcRejected, RpcRejected, 2)
    assert rpc.sizes == [3]

    rpc_refuses[0] = 3
    assert rpc.batch_settled(calls(3)) == [0, 1, 2]
    assert rpc.sizes == [3, 3, 1, 1, 1]


@pytest.mark.parametrize("reported", [7, "no", None, True, [7], [None, "x"], [[]], [{"id": "1", "result": 1}]])
def test_what_answers_no_question_of_a_batch_is_asked_for_alone(reported: Any) -> None:
    def answer(body: Any) -> tuple[int, Any, float | None]:
        return 200, reported if isinstance(body, list) else echo(body), None

    rpc = Posted(answer)

    assert rpc.batch(calls(2)) == [0, 1]
    assert rpc.sizes == [2, 1, 1]


def test_one_answer_to_many_questions_is_none() -> None:
    rpc = says({"id": 1, "result": "0x1", "error": None})

    with pytest.raises(RpcMalformed) as raised:
        rpc.batch(calls(2))

    assert (raised.value.endpoint, raised.value.reason) == (URL, "it sent one answer to a batch of requests")
    assert rpc.sizes == [2]


# Identifiers


def test_identifiers_count_on_from_question_to_question() -> None:
    rpc = says(echo)
    rpc.batch(calls(3))
    rpc.batch(calls(1))
    rpc.batch(calls(2))

    assert rpc.ids == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("reported", "right"),
    [
        ({"id": 1, "result": "a"}, True),
        ({"id": None, "result": "a"}, True),
        ({"result": "a"}, True),
        ([{"id": 1, "result": "a"}], True),
        ([{"id": None, "result": "a"}], True),
        ([{"id": 2, "result": "b"}, {"id": 1, "result": "a"}], True),
        ([{"id": None, "result": "a"}, {"id": 2, "result": "b"}], False),
        ({"id": 2, "result": "b"}, False),
        ({"id": 0, "result": "b"}, False),
        ({"id": "1", "result": "b"}, False),
        ([{"id": 2, "result": "b"}], False),
        ([7], False),
        ([None, None], False),
        ("text", False),
    ],
)
def test_a_lone_answer_is_told_by_its_identifier_or_by_having_none(reported: Any, right: bool) -> None:
    rpc = says(reported)
    if right:
        assert rpc.call("x", 1) == "a"
        return
    with pytest.raises(RpcMalformed) as raised:
        rpc.call("x", 1)
    assert (raised.value.endpoint, raised.value.reason) == (URL, "no answer to x")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"id": 1}, "neither result nor error for eth_call"),
        ({"id": 1, "error": None}, "neither result nor error for eth_call"),
        ({"id": 1, "error": None, "result": 7}, "its answer to eth_call is not data"),
        ("text", "no answer to eth_call"),
        (None, "no answer to eth_call"),
    ],
)
def test_an_answer_that_is_none_names_endpoint_and_method(answer: Any, reason: str) -> None:
    with pytest.raises(RpcMalformed) as raised:
        Rpc(URL).checked("eth_call", (), answer)

    assert (raised.value.endpoint, raised.value.reason) == (URL, reason)
    assert Rpc(URL).checked("eth_call", (), {"id": 1, "error": None, "result": "0x"}) == "0x"


# Other statuses than 200


@pytest.mark.parametrize("status", [400, 413, 414, 431])
def test_a_status_that_may_be_of_the_size_has_a_batch_asked_in_pieces(status: int) -> None:
    rpc = Posted(lambda body: (status, None, None) if isinstance(body, list) else (200, echo(body), None))

    assert rpc.batch(calls(3)) == [0, 1, 2]
    assert rpc.sizes == [3, 1, 1, 1]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503, 199, 201])
@pytest.mark.parametrize("count", [1, 2])
def test_any_other_status_fails_at_once_and_is_named(status: int, count: int) -> None:
    rpc = says(None, status)

    with pytest.raises(RpcUnreachable) as raised:
        rpc.batch(calls(count))

    assert (raised.value.endpoint, raised.value.reason) == (URL, f"it answered HTTP {status}")
    assert type(raised.value) is (RpcBusy if status == 429 else RpcUnreachable)
    assert rpc.sizes == [count]


@pytest.mark.parametrize("wait", [None, 0.0, 7.0])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_makes_any_status_a_limit(status: int, wait: float | None) -> None:
    rpc = says([{"error": BROKEN}], status, wait)

    with pytest.raises(RpcUnreachable) as raised:
        rpc.call("x", 1)

    assert raised.value.reason == f"it answered HTTP {status}: internal error"
    if status == 429 or wait is not None:
        assert isinstance(raised.value, RpcBusy)
        assert raised.value.retry_seconds == wait
    else:
        assert not isinstance(raised.value, RpcBusy)


@pytest.mark.parametrize("reported", [{"error": REVERTED}, [7, {"error": None}, {"error": REVERTED}]])
def test_a_revert_is_the_answer_under_any_status_but_that_of_a_limit(reported: Any) -> None:
    for status in (400, 500, 503):
        [answer] = says(reported, status).batch_settled(calls(1))
        assert isinstance(answer, RpcRejected)
        assert (answer.method, answer.code, answer.data) == ("x", 3, b"\1")
    with pytest.raises(RpcBusy, match="HTTP 429: execution reverted"):
        says(reported, 429).batch_settled(calls(1))
    with pytest.raises(RpcRejected, match="refused batch"):
        says(reported, 500).batch_settled(calls(2))


# Which chain


@pytest.mark.parametrize("loses", ["status", "limit", "error", "wait"])
def test_whoever_was_lost_is_asked_for_its_chain_again(loses: str) -> None:
    """Only where a chain is expected."""
    failures = {
        "status": (500, None, None),
        "limit": (429, None, None),
        "wait": (503, None, 1.0),
        "error": (200, None, None),
    }
    for expected in (None, 7):
        requested: list[str] = []
        fails = [False]

        def answer(
            body: Any, requested: list[str] = requested, fails: list[bool] = fails
        ) -> tuple[int, Any, float | None]:
            requested.append(body["method"])
            if fails[0] and loses == "error":
                return 200, {"id": body["id"], "error": BROKEN}, None
            if fails[0]:
                return failures[loses]
            return 200, {"id": body["id"], "result": "0x7"}, None

        rpc = Posted(answer, expected_chain_id=expected)
        rpc.call("x")
        rpc.call("x")
        fails[0] = True
        if loses == "error":
            raised = rpc.own_failure(rpc.batch_settled([("x", ())])[0])
            assert type(raised) is RpcUnreachable
            assert raised.reason == "internal error (code -32603)"
        else:
            with pytest.raises(RpcUnreachable):
                rpc.call("x")
        fails[0] = False
        rpc.call("x")

        check = ["eth_chainId"] if expected else []
        assert requested == [*check, "x", "x", "x", *check, "x"]


@pytest.mark.parametrize("reported", ["seven", None, 7, {}])
def test_a_chain_id_that_is_no_number_is_malformed(reported: Any) -> None:
    rpc = says(lambda body: {"id": body["id"], "result": reported})

    with pytest.raises(RpcMalformed) as raised:
        rpc.chain_id()

    assert (raised.value.endpoint, raised.value.reason) == (URL, "its chain id is not a number")


def test_a_chain_id_that_is_refused_is_the_endpoints_failure_whatever_it_says() -> None:
    with pytest.raises(RpcUnreachable, match=r"execution reverted \(code 3\)"):
        says(lambda body: {"id": body["id"], "error": REVERTED}).chain_id()
    with pytest.raises(RpcBusy, match=r"limit exceeded \(code -32005\)"):
        says(lambda body: {"id": body["id"], "error": LIMIT}).chain_id()


def test_a_chain_that_was_asked_for_is_known_from_then_on() -> None:
    rpc = Posted(lambda body: (200, {"id": body["id"], "result": "0x7"}, None), expected_chain_id=7)
    assert rpc.chain_id() == 7
    rpc.call("x")
    assert rpc.ids == [1, 2]

    other = Posted(lambda body: (200, {"id": body["id"], "result": "0x7"}, None), expected_chain_id=8)
    for _ in range(2):
        with pytest.raises(WrongChain) as raised:
            other.call("x")
        assert (raised.value.expected, raised.value.actual) == (8, 7)
    assert Posted(lambda body: (200, {"id": 1, "result": "0x7"}, None)).chain_id() == 7


# Errors of nodes


@pytest.mark.parametrize(
    ("error", "code", "message", "data"),
    [
        ({"code": -7, "message": "no", "data": "0x0102"}, -7, "no", b"\1\2"),
        ({"message": "no"}, 0, "no", b""),
        ({"code": "-7", "message": "no"}, 0, "no", b""),
        ({"code": -7}, -7, "no message", b""),
        ({"code": -7, "message": 9}, -7, "9", b""),
        ("plain words", 0, "plain words", b""),
        (["list"], 0, "['list']", b""),
        ({"code": -7, "message": "no", "data": "Reverted 0x0102"}, -7, "no", b"\1\2"),
        ({"code": -7, "message": "no", "data": "0x010"}, -7, "no", b""),
        ({"code": -7, "message": "no", "data": "0102"}, -7, "no", b""),
        ({"code": -7, "message": "no", "data": 7}, -7, "no", b""),
        ({"code": -7, "message": "no", "data": ["0x0102"]}, -7, "no", b""),
    ],
)
def test_a_nodes_error_is_read_in_whatever_shape(error: Any, code: int, message: str, data: bytes) -> None:
    reported = Rpc(URL).checked("x", (), {"error": error})

    assert isinstance(reported, RpcRejected)
    assert (reported.method, reported.code, reported.message, reported.data) == (
        "x",
        code,
        message,
        data,
    )


@pytest.mark.parametrize(("depth", "found"), [(0, True), (1, True), (8, True), (9, False)])
def test_revert_data_is_found_eight_objects_deep(depth: int, found: bool) -> None:
    data: Any = "0x0102"
    for _ in range(depth):
        data = {"data": data}

    reported = Rpc(URL).checked("x", (), {"error": {"code": 3, "message": "m", "data": data}})

    assert reported.data == (b"\1\2" if found else b"")


def test_of_what_a_node_says_three_hundred_letters_are_kept() -> None:
    reported = Rpc(URL).checked("x", (), {"error": {"code": 3, "message": "m" * 1_000}})

    assert reported.message.count("m") in range(299, 301)
    assert len(reported.message) <= 301
    short = Rpc(URL).checked("x", (), {"error": {"code": 3, "message": "m" * 300}})
    assert short.message == "m" * 300
    longer = Rpc(URL).checked("x", (), {"error": {"code": 3, "message": "m" * 301}})
    assert longer.message != "m" * 301


# Deadlines


def test_an_answer_may_take_what_is_left_and_no_more_than_one_question(clock: Clock) -> None:
    rpc = Rpc(URL, timeout_s=5.0)
    assert rpc._seconds_left() == 5.0
    for left, seconds in ((0.5, 0.5), (5.0, 5.0), (9.0, 5.0)):
        rpc.deadline = clock.now + left
        assert rpc._seconds_left() == seconds
    for left in (0.0, -1.0):
        rpc.deadline = clock.now + left
        with pytest.raises(RpcTimeout) as raised:
            rpc.call("x")
        assert (raised.value.endpoint, raised.value.timeout_s) == (URL, 0)
        assert rpc.requests == 0


# Addresses


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h.example:0/x", "http://h.example"),
        ("http://H.example:80", "http://h.example:80"),
        ("http://h.example:99999", "(unreadable address)"),
        ("http://[::1", "(unreadable address)"),
        ("httpss://h.example", "(no http address)"),
        ("http:///x", "(no http address)"),
    ],
)
def test_an_endpoint_is_named_by_scheme_host_and_port(url: str, shown: str) -> None:
    assert endpoint_name(url) == shown
    if "(" in shown:
        with pytest.raises(RpcUnreachable) as raised:
            Rpc(url)
        assert raised.value.endpoint == shown


def test_a_block_is_a_number_a_tag_or_a_hash() -> None:
    pinned = {"blockHash": "0x" + "ab" * 32, "requireCanonical": True}
    assert at_block(b"\xab" * 32) == at_block("0x" + "ab" * 32) == pinned
    assert at_block(0) == "0x0"
    for text in ("latest", "0x10", "0x" + "ab" * 31, "0x" + "ab" * 32 + "0"):
        assert at_block(text) == text


@pytest.mark.parametrize("reported", ["[]", "{}", "7", "null", "<html>"])
def test_a_body_that_is_no_object_is_refused_without_asking_in_pieces(reported: str) -> None:
    server = ScriptedServer()
    server.start()
    server.answer = lambda body: (200, reported)
    try:
        with pytest.raises(RpcMalformed) as raised:
            Rpc(server.url).batch(calls(2))
    finally:
        server.stop()

    assert raised.value.reason == "the body is not a JSON object or list"
    assert len(server.bodies) == 1


def test_a_redirect_is_not_followed() -> None:
    """It would tell a stranger what the endpoint's address holds, and be another endpoint."""
    other, server = ScriptedServer(), ScriptedServer()
    other.results(lambda call: "0x1")
    server.headers = {"Location": other.url}
    server.answer = lambda body: (307, "")
    for each in (other, server):
        each.start()
    try:
        with pytest.raises(RpcUnreachable, match="HTTP 307"):
            Rpc(server.url).call("eth_blockNumber")
    finally:
        for each in (other, server):
            each.stop()

    assert (len(server.bodies), other.bodies) == (1, [])


def test_tls_that_is_none_is_said() -> None:
    server = ScriptedServer()
    server.start()
    try:
        with pytest.raises(RpcUnreachable) as raised:
            Rpc(server.url.replace("http:", "https:")).call("x")
    finally:
        server.stop()

    assert raised.value.reason == "its TLS certificate or protocol was not accepted"


def test_any_other_failure_of_http_is_named_by_its_kind_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rpc = Rpc(URL + "/secret")

    def fails(*_: Any, **__: Any) -> Any:
        raise HTTPError("http://node.example/secret")

    monkeypatch.setattr(rpc._pool, "request", fails)
    with pytest.raises(RpcUnreachable) as raised:
        rpc.call("x")

    assert (raised.value.endpoint, raised.value.reason) == (URL, "HTTPError")
    assert raised.value.__suppress_context__


def test_a_timeout_is_told_to_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = Posted(echo, timeout_s=0.12345)

    def slow(*_: Any, **__: Any) -> Any:
        raise ReadTimeoutError(rpc._pool, "/", "slow")

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "request", slow)
    with pytest.raises(RpcTimeout) as raised:
        Rpc._post(rpc, {})

    assert (raised.value.endpoint, raised.value.timeout_s) == (URL, 0.123)
    # Who did not answer may be another node by the time it does.
    for expected, requested in ((None, True), (7, False)):
        one = Rpc(URL, expected_chain_id=expected)
        one._chain_known = True
        with pytest.raises(RpcTimeout):
            one._post({})
        assert one._chain_known is requested


@pytest.mark.parametrize(
    ("rest", "path"),
    [("", "/"), ("/", "/"), ("/v3/k", "/v3/k"), ("/v3?k=1", "/v3?k=1"), ("?k=1", "/?k=1")],
)
def test_the_whole_address_is_asked_and_no_more(rest: str, path: str) -> None:
    server = ScriptedServer()
    server.results(lambda call: "0x1")
    server.start()
    try:
        with Rpc(f"http://127.0.0.1:{server.port}{rest}") as rpc:
            assert rpc.call("eth_blockNumber") == "0x1"
    finally:
        server.stop()

    assert server.paths == [path]
    assert server.authorizations == [None]


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_no_byte_is_waited_for_once_no_time_is_left(left: float) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"abc")
        reader = ours.makefile("rb", buffering=0)
        assert _WithinDeadline(reader, ours, lambda: 0.5).readinto(bytearray(2)) == 2
        assert ours.gettimeout() == 0.5
        with pytest.raises(TimeoutError):
            _WithinDeadline(reader, ours, lambda: left).readinto(bytearray(1))
        assert ours.gettimeout() == 0.5
        reader.close()


@pytest.mark.parametrize(("spare", "right"), [(0, True), (-1, False)])
def test_body_is_read_up_to_the_most_and_no_further(spare: int, right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer()
    server.results(lambda call: "0x1")
    server.start()
    body = len('{"jsonrpc": "2.0", "id": 1, "result": "0x1"}')
    monkeypatch.setattr(Rpc, "most_bytes", body + spare)
    try:
        with Rpc(server.url) as rpc:
            if right:
                assert rpc.call("eth_blockNumber") == "0x1"
            else:
                with pytest.raises(RpcMalformed) as raised:
                    rpc.call("eth_blockNumber")
                reason = f"its answer is longer than {body + spare} bytes"
                assert (raised.value.endpoint, raised.value.reason) == (rpc.endpoint, reason)
    finally:
        server.stop()


@pytest.mark.parametrize(("spare", "right"), [(0, True), (1, False)])
def test_answer_may_nest_as_deep_as_any_does_and_no_deeper(spare: int, right: bool) -> None:
    depth = MOST_DEPTH - 1 + spare  # the answer itself is one
    server = ScriptedServer()
    server.answer = lambda body: (200, '{"id": 1, "result": ' + "[" * depth + "]" * depth + "}")
    server.start()
    try:
        with Rpc(server.url) as rpc:
            if right:
                assert rpc.call("a_method") != []
            else:
                with pytest.raises(RpcMalformed, match="not a JSON object"):
                    rpc.call("a_method")
    finally:
        server.stop()
