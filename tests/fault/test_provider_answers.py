"""The ways in which providers and clients answer that they cannot answer, and answers that are none."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.receipt import find_receipt
from rebalancer.chain.refusals import Blame, blame
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ChainError,
    RpcBusy,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
)
from tests.clocks import LONGEST_SECONDS, SkippingClock
from tests.unit.test_endpoints import Node, over
from tests.unit.test_rpc import ScriptedServer

HASH = "0x" + "ab" * 32
ADDRESS = "0x" + "cd" * 20

ASK_SOMEBODY_ELSE = [
    (-32007, "50/second request limit reached", 429),
    (-32005, "daily request count exceeded, request rate limited", 429),
    (-32005, "limit exceeded", 200),
    (429, "Your app has exceeded its compute units per second capacity.", 429),
    (-32000, "Too Many Requests", 200),
    (-32029, "Rate limit exceeded", 200),
    (-32016, "over rate limit", 403),
    (-32097, "Rate limit reached. Sign up to get your personal endpoint", 200),
    (-32052, "API key is not allowed to access blockchain", 403),
    (-32001, "Unauthorized request", 401),
    (-32000, "project ID does not have access to archive state", 200),
    (-32000, "Must be authenticated!", 200),
    (-32600, "Unauthorized", 401),
    (-32000, "invalid api key", 200),
    (-32000, "this request is not supported by your plan", 200),
    (35, "the request timed out on the free tier, upgrade to a paid plan", 408),
    (-32001, "resource not found", 200),
    (-32002, "resource unavailable", 200),
    (-32000, "service unavailable", 200),
    (-32000, "Service Unavailable. Please try again later", 503),
    (-32603, "Internal error", 200),
    (-32603, "internal server error", 500),
    (-32000, "no available upstreams to process the request", 200),
    (-32000, "backend response too large", 502),
    (-32010, "backend is overloaded", 503),
    (-32011, "no backends available for method", 503),
    (-32000, "upstream does not have the requested block yet", 200),
    (-32000, "header not found", 200),
    (-32000, "header for hash not found", 200),
    (-32000, "unknown block", 200),
    (-39001, "Unknown block", 200),
    (-32000, "block not found", 200),
    (-32000, "could not find block: 0x123", 200),
    (-32000, "requested a future epoch (beyond 'latest')", 200),
    (-32000, "block with hash 0xabcdef was not found", 200),
    (-32000, "missing trie node 5e6f (path ) state 0x5e6f is not available", 200),
    (-32000, "required historical state unavailable (reexec=128)", 200),
    (-32000, "state already pruned", 200),
    (-32000, "historical state 0xab is not available", 200),
    (-32000, "old data not available due to pruning", 200),
    (4444, "pruned history unavailable", 200),
    (-32000, "state histories haven't been fully indexed yet", 200),
    (-32000, "distance to target block exceeds maximum proof window", 200),
    (-32000, "the node is not synchronized yet", 200),
    (-32000, "syncing", 200),
    (-32000, "request timed out", 200),
    (-32002, "request timed out", 503),
    (-32000, "context deadline exceeded", 200),
    (-32000, "execution aborted (timeout = 5s)", 200),
    (-32000, "context canceled", 200),
    (-32603, "connection refused", 200),
    (-32005, "query returned more than 10000 results", 200),
    (-32602, "Log response size exceeded", 200),
    (-32600, "You can make eth_getLogs requests with up to a 10 block range", 200),
    (-32000, "something that nobody has seen before", 200),
]


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    made = [Node(), Node()]
    for node in made:
        node.start()
    yield made
    for node in made:
        node.stop()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.start()
    yield scripted
    scripted.stop()


# Whose error


@pytest.mark.parametrize(("code", "words", "status"), ASK_SOMEBODY_ELSE)
def test_what_one_endpoint_cannot_answer_the_next_is_asked(
    nodes: list[Node], code: int, words: str, status: int
) -> None:
    nodes[1].word = "0x02"
    nodes[0].refuses(code, words, status)

    assert over(nodes).call("eth_call") == "0x02"


@pytest.mark.parametrize(("code", "words", "status"), ASK_SOMEBODY_ELSE)
def test_what_every_endpoint_says_is_raised_as_an_error_of_the_chain(
    nodes: list[Node], code: int, words: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", SkippingClock(monkeypatch).skip)
    for node in nodes:
        node.refuses(code, words, status)

    with pytest.raises(ChainError) as raised:
        over(nodes).call("eth_call")

    assert words[:40] in str(raised.value)


@pytest.mark.parametrize(
    ("code", "words", "data"),
    [
        (3, "execution reverted: too many", None),
        (-32000, "execution reverted", "0x08c379a0"),
        (-32015, "VM execution error.", "Reverted 0x1234"),
        (-32603, "Error: VM Exception while processing transaction: reverted", None),
        (-32000, "insufficient funds for gas * price + value", None),
        (-32000, "gas required exceeds allowance (30000000)", None),
        (-32000, "max fee per gas less than block base fee", None),
        (-32000, "out of gas", None),
        (-32000, "invalid opcode: INVALID", None),
    ],
)
def test_what_is_said_of_the_question_is_its_answer(nodes: list[Node], code: int, words: str, data: str | None) -> None:
    nodes[0].refuses(code, words, data=data)

    with pytest.raises(RpcRejected):
        over(nodes).call("eth_call")

    assert nodes[1].bodies == []


@pytest.mark.parametrize("words", ["nonce too low", "already known", "replacement underpriced"])
def test_what_is_said_of_a_transaction_is_its_answer_under_any_status(nodes: list[Node], words: str) -> None:
    nodes[0].refuses(-32000, words, status=400)

    with pytest.raises(RpcRejected, match=words):
        over(nodes).call("eth_sendRawTransaction", "0x00")

    assert nodes[1].bodies == []


def test_an_error_that_everybody_gives_is_nobodys_fault(nodes: list[Node]) -> None:
    for node in nodes:
        node.refuses(-32000, "no such thing")
    rpc = over(nodes)

    with pytest.raises(RpcRejected, match="no such thing"):
        rpc.call("eth_call")

    assert [each.consecutive_failures for each in rpc.health()] == [0, 0]


def test_a_method_that_one_endpoint_lacks_is_no_failure_of_it(nodes: list[Node]) -> None:
    nodes[0].refuses(-32601, "the method eth_simulateV1 does not exist/is not available")
    rpc = over(nodes)

    assert rpc.call("eth_simulateV1") == "0x01"
    assert rpc.health()[0].consecutive_failures == 0


@pytest.mark.parametrize("words", ["state 0xab is not available", "archive requests are not supported"])
def test_data_that_an_endpoint_lacks_is_no_method_that_it_lacks(words: str) -> None:
    assert blame(RpcRejected("eth_call", -32000, words)) is Blame.ENDPOINT


def test_errors_of_sending_are_the_endpoints_only_where_they_say_so() -> None:
    def of(words: str) -> Blame:
        return blame(RpcRejected("eth_sendRawTransaction", -32000, words))

    assert of("rate limit exceeded") is Blame.ENDPOINT
    assert of("nobody knows") is Blame.QUESTION


# Limits


def test_an_endpoint_that_asks_to_wait_is_left_alone_for_so_long(nodes: list[Node]) -> None:
    now = [0.0]
    rpc = over(nodes, clock=lambda: now[0])
    nodes[0].refuses(-32007, "50/second request limit reached", 429)
    nodes[0].wait = "90"
    rpc.call("eth_call")
    requested = len(nodes[0].bodies)
    nodes[1].fault = lambda body: (500, "")

    for seconds in (1, 80, 89):
        now[0] = seconds
        with pytest.raises(ChainError):
            rpc.call("eth_call")
    assert len(nodes[0].bodies) == requested

    now[0], nodes[0].fault = 91, None
    assert rpc.call("eth_call") == "0x01"


def test_a_lone_endpoint_at_its_limit_is_asked_again_after_the_wait(nodes: list[Node]) -> None:
    nodes[0].refuses(-32007, "50/second request limit reached", 429)
    nodes[0].wait = "0"
    refuse = nodes[0].fault
    left = [3]

    def fault(body: Any) -> tuple[int, str]:
        left[0] -= 1
        if left[0] == 0:
            nodes[0].fault = None
        assert refuse is not None
        return refuse(body)

    nodes[0].fault = fault

    assert over(nodes[:1], timeout_s=20).call("eth_call") == "0x01"


def test_a_wait_longer_than_the_question_has_is_told(nodes: list[Node]) -> None:
    nodes[0].refuses(-32007, "50/second request limit reached", 429)
    nodes[0].wait = "120"

    with pytest.raises(RpcBusy, match="request limit reached") as busy:
        over(nodes[:1]).call("eth_call")

    assert busy.value.retry_seconds == 120


@pytest.mark.parametrize("most", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "refusal",
    [
        lambda body: (200, {"id": None, "error": {"code": -32600, "message": "batch too large"}}),
        lambda body: (200, {"id": None, "error": {"code": -32005, "message": "limit exceeded"}}),
        lambda body: (413, {"error": {"code": -32600, "message": "too large"}}),
        lambda body: (400, "no"),
        lambda body: (200, [{"id": body[0]["id"], "result": "0x1"}]),
        lambda body: (
            200,
            [{"id": one["id"], "error": {"code": -32000, "message": "batch limit exceeded"}} for one in body],
        ),
    ],
    ids=["error", "limit", "413", "400", "part", "each"],
)
def test_batches_are_asked_in_pieces_that_the_endpoint_takes(
    server: ScriptedServer, most: int, refusal: Callable[[Any], tuple[int, Any]]
) -> None:
    sizes: list[int] = []

    def answer(body: Any) -> tuple[int, str]:
        calls = body if isinstance(body, list) else [body]
        sizes.append(len(calls))
        if len(calls) > most:
            status, reported = refusal(body)
            return status, reported if isinstance(reported, str) else json.dumps(reported)
        found = [{"id": one["id"], "result": hex(one["params"][0])} for one in calls]
        return 200, json.dumps(found if isinstance(body, list) else found[0])

    server.answer = answer
    rpc = Rpc(server.url)
    wanted = [("x", [number]) for number in range(20)]

    assert rpc.batch(wanted) == [hex(number) for number in range(20)]
    sizes.clear()
    assert rpc.batch(wanted) == [hex(number) for number in range(20)]
    assert max(sizes) <= most, "the limit is known by now"


# Answers that are none


class Raw:
    """A server that sends bytes as a test says, over plain sockets."""

    def __init__(self, send: Callable[[socket.socket], None]) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.send = send
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        try:
            connection.recv(1 << 16)
            self.send(connection)
            # Not closed before all was read, or the answer would be taken back.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self) -> None:
        self.over.set()
        self.socket.close()


def drips(begin: bytes, clock: SkippingClock) -> Callable[[socket.socket], None]:
    """A byte a second, for ever, well within any time-out of a single read."""

    def send(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            time.sleep(0.01)
            connection.sendall(b" ")
            clock.skip(1.0)

    return send


def says(body: bytes, *headers: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        head = (b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers)
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)

    return send


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["status", "header", "body", "open end"],
)
def test_an_answer_that_drips_ends_at_the_deadline(
    nodes: list[Node], begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Raw(drips(begin, SkippingClock(monkeypatch)))
    try:
        with pytest.raises((RpcTimeout, RpcUnreachable)):
            Rpc(raw.url, timeout_s=60).call("eth_call")
        both = Endpoints([raw.url, nodes[0].url], timeout_s=4 * LONGEST_SECONDS)
        assert both.call("eth_call") == "0x01"
    finally:
        raw.stop()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" * 200_000, ()),
        (b'{"result":' * 100_000, ()),
        (b'{"id": {"a": 1}, "result": "0x1"}', ()),
        (b'{"id": [], "result": "0x1"}', ()),
        (b'{"id": 1, "result": ' + b"9" * 10_000 + b"}", ()),
        (
            gzip.compress(b'{"id": 1, "result": "0x' + b"0" * (64 << 20) + b'"}'),
            (b"Content-Encoding: gzip",),
        ),
        (b" " * ((32 << 20) + 10), ()),
        (b"\xff\xfe\x00", ()),
    ],
    ids=["nested", "nested objects", "id", "id list", "digits", "gzip", "long", "bytes"],
)
def test_a_body_that_is_no_answer_is_refused_and_the_next_asked(
    nodes: list[Node], body: bytes, headers: tuple[bytes, ...]
) -> None:
    raw = Raw(says(body, *headers))
    try:
        with pytest.raises(RpcMalformed):
            Rpc(raw.url).call("eth_call")
        assert Endpoints([raw.url, nodes[0].url]).call("eth_call") == "0x01"
    finally:
        raw.stop()


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("eth_getTransactionCount", hex(1 << 63)),
        ("eth_estimateGas", hex(1 << 64)),
        ("eth_blockNumber", hex(1 << 70)),
        ("eth_gasPrice", hex(1 << 256)),
        ("eth_getBalance", "0x" + "f" * 65),
        ("eth_blockNumber", "0x"),
        ("eth_blockNumber", 7),
        ("eth_blockNumber", True),
        ("eth_call", None),
        ("eth_getLogs", None),
        ("eth_getLogs", [{"address": ADDRESS, "topics": None, "data": "0x"}]),
        ("eth_getLogs", [{"address": 1, "topics": [], "data": "0x"}]),
        *(
            (
                "eth_getBlockByNumber",
                {"number": "0x1", "hash": HASH, "parentHash": HASH, "timestamp": "0x1"} | odd,
            )
            for odd in (
                *({"number": None}, {"hash": None}, {"timestamp": None}, {"parentHash": None}),
                *({"number": "0x" + "f" * 20}, {"timestamp": "soon"}, {"hash": "0x12"}),
                *({"baseFeePerGas": "much"}, {"baseFeePerGas": 7}),
            )
        ),
        ("eth_getTransactionReceipt", {"transactionHash": HASH, "gasUsed": hex(1 << 64)}),
        ("eth_getTransactionReceipt", {"transactionHash": HASH, "logs": [{}]}),
        ("eth_feeHistory", None),
        ("eth_feeHistory", {"baseFeePerGas": ["much"]}),
    ],
)
def test_a_result_that_its_method_cannot_have_is_no_answer(server: ScriptedServer, method: str, result: Any) -> None:
    server.results(lambda call: result)

    with pytest.raises(RpcMalformed, match=method):
        Rpc(server.url).call(method, "latest", False)


def test_a_pending_block_may_lack_what_it_does_not_have_yet(server: ScriptedServer) -> None:
    block = {"number": None, "hash": None, "timestamp": "0x5"}
    server.results(lambda call: block)

    assert Rpc(server.url).call("eth_getBlockByNumber", "pending", False) == block


def test_what_an_endpoint_says_is_cut_and_steers_no_terminal(server: ScriptedServer) -> None:
    error = {
        "code": -32000,
        "message": "\x1b[2Jgone\r\nerror: all is well \u202e" + "x" * 5_000_000,
    }
    server.answer = lambda body: (200, json.dumps({"id": body["id"], "error": error}))

    with pytest.raises(RpcRejected) as refused:
        Rpc(server.url).call("eth_call")

    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


def test_a_closed_endpoint_may_be_asked_again(server: ScriptedServer) -> None:
    server.results(lambda call: "0x1")
    rpc = Rpc(server.url)
    rpc.call("x")
    rpc.close()

    assert rpc.call("x") == "0x1"


def test_a_password_may_hold_what_a_url_may_not(server: ScriptedServer) -> None:
    server.results(lambda call: "0x1")
    Rpc(server.url.replace("http://", "http://me%3A1:p%40ss%2Fw%25@")).call("x")

    assert server.authorizations == ["Basic bWU6MTpwQHNzL3cl"]


# Receipts


MINED: dict[str, Any] = {
    "transactionHash": HASH,
    "blockHash": HASH,
    "blockNumber": "0x5",
    "status": "0x1",
    "logs": [],
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x7",
    "contractAddress": None,
}
SENT = {
    "hash": HASH,
    "nonce": "0x0",
    "input": "0x",
    "from": "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0",
    "to": None,
    "gas": "0xffff",
    "gasPrice": "0x9",
}


def receipt_of(server: ScriptedServer, receipt: Any, sent: Any = SENT) -> Any:
    answers = {"eth_getTransactionReceipt": receipt, "eth_getTransactionByHash": sent}
    server.results(lambda call: answers[call["method"]])
    return find_receipt(Rpc(server.url), HASH)


@pytest.mark.parametrize("missing", ["blockHash", "blockNumber"])
def test_a_receipt_without_a_block_is_of_a_transaction_that_waits(server: ScriptedServer, missing: str) -> None:
    assert receipt_of(server, MINED | {missing: None, "status": None}) is None


@pytest.mark.parametrize(
    ("missing", "name", "value"),
    [
        ("effectiveGasPrice", "gas_price_wei", 9),
        ("gasUsed", "gas_used", 0xFFFF),
        ("contractAddress", "contract_address", "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
    ],
)
def test_what_a_receipt_lacks_its_transaction_tells(
    server: ScriptedServer, missing: str, name: str, value: Any
) -> None:
    """Of the gas, bounds from above: what counts against a limit is never less than what was paid. The address is Ethereum's own example."""
    receipt = {key: value for key, value in MINED.items() if key != missing}

    assert getattr(receipt_of(server, receipt), name) == value


@pytest.mark.parametrize("missing", ["status", "logs"])
def test_a_mined_receipt_that_does_not_tell_its_outcome_is_no_answer(server: ScriptedServer, missing: str) -> None:
    with pytest.raises(RpcMalformed, match="status or logs"):
        receipt_of(server, MINED | {missing: None})


def test_a_body_that_is_cut_short_is_a_lost_connection(nodes: list[Node]) -> None:
    def send(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": 1, "result"')

    raw = Raw(send)
    try:
        with pytest.raises(RpcUnreachable, match="the connection was lost"):
            Rpc(raw.url).call("eth_call")
    finally:
        raw.stop()
