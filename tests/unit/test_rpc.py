"""The JSON-RPC client against a server that answers exactly what each test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rebalancer.abi import at_block
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    RpcBusy,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from rebalancer.redact import endpoint_name
from tests.clocks import LONGEST_SECONDS

SECRET = "0ld-k3y"


class ScriptedServer:
    """Answers each request body with `answer(body) -> (status, text)` and remembers the requests."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.signatures: list[tuple[str | None, str]] = []
        self.connections: set[object] = set()
        self.answer: Callable[[Any], tuple[int, str]] = lambda body: (200, "{}")
        self.wait: str | None = None
        self.headers: dict[str, str] = {}
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                body = json.loads(sent)
                script.signatures.append((self.headers.get("X-Flashbots-Signature"), sent))
                script.bodies.append(body)
                script.paths.append(self.path)
                script.authorizations.append(self.headers.get("Authorization"))
                script.connections.add(self.client_address)
                status, text = script.answer(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                if script.wait is not None:
                    self.send_header("Retry-After", script.wait)
                for name, value in script.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v3/{SECRET}?token={SECRET}"

    def start(self) -> None:
        """Answer from now on."""
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self) -> None:
        """Be gone; once more changes nothing."""
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def results(self, value: Callable[[Any], Any]) -> None:
        """Answer every call with a result, alone or in a batch."""

        def answer(body: Any) -> tuple[int, str]:
            calls = body if isinstance(body, list) else [body]
            answers = [{"jsonrpc": "2.0", "id": c["id"], "result": value(c)} for c in calls]
            return 200, json.dumps(answers if isinstance(body, list) else answers[0])

        self.answer = answer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture
def rpc(server: ScriptedServer) -> Iterator[Rpc]:
    with Rpc(server.url, timeout_s=5) as client:
        yield client


def test_call_error_in_http_200_is_rejected(server: ScriptedServer, rpc: Rpc) -> None:
    error = {"code": -32000, "message": "header not found"}
    server.answer = lambda body: (200, json.dumps({"id": body["id"], "error": error}))

    with pytest.raises(RpcRejected, match="header not found") as caught:
        rpc.call("eth_call")
    assert (caught.value.code, caught.value.method) == (-32000, "eth_call")
    assert caught.value.data == b""


@pytest.mark.parametrize(
    "data",
    [
        "0x08c379a0ff",
        {"message": "reverted", "txHash": "0x00", "data": "0x08c379a0ff"},  # Hardhat
        "Reverted 0x08c379a0ff",  # Parity and its descendants
    ],
)
def test_call_revert_data_in_any_shape_is_bytes(server: ScriptedServer, rpc: Rpc, data: object) -> None:
    error = {"code": 3, "message": "execution reverted", "data": data}
    server.answer = lambda body: (200, json.dumps({"id": body["id"], "error": error}))

    with pytest.raises(RpcRejected) as caught:
        rpc.call("eth_call")
    assert caught.value.data == bytes.fromhex("08c379a0ff")


def test_call_error_with_null_id_is_rejected(server: ScriptedServer, rpc: Rpc) -> None:
    error = {"code": -32700, "message": "parse error"}
    server.answer = lambda body: (200, json.dumps({"id": None, "error": error}))

    with pytest.raises(RpcRejected, match="parse error"):
        rpc.call("eth_call")


def test_error_under_another_status_is_the_endpoints(server: ScriptedServer, rpc: Rpc) -> None:
    error = {"code": -32700, "message": "parse error"}
    server.answer = lambda body: (400, json.dumps({"id": None, "error": error}))

    with pytest.raises(RpcUnreachable, match="HTTP 400: parse error"):
        rpc.call("eth_call")


@pytest.mark.parametrize("text", ["<html>hello</html>", "", "null", "[]", '{"id": 77, "result": 1}'])
def test_call_body_not_json_rpc_is_malformed(server: ScriptedServer, rpc: Rpc, text: str) -> None:
    server.answer = lambda body: (200, text)

    with pytest.raises(RpcMalformed):
        rpc.call("eth_blockNumber")


def test_call_answer_without_result_is_malformed(server: ScriptedServer, rpc: Rpc) -> None:
    server.answer = lambda body: (200, json.dumps({"id": body["id"]}))

    with pytest.raises(RpcMalformed, match="neither result nor error") as caught:
        rpc.call("eth_blockNumber")
    assert caught.value.endpoint == rpc.endpoint == endpoint_name(server.url)


def test_call_http_error_is_unreachable(server: ScriptedServer, rpc: Rpc) -> None:
    server.answer = lambda body: (503, "busy")

    with pytest.raises(RpcUnreachable, match="HTTP 503"):
        rpc.call("eth_blockNumber")


def test_call_slow_answer_is_timeout(server: ScriptedServer) -> None:
    given_up = threading.Event()

    def slow(body: Any) -> tuple[int, str]:
        given_up.wait(LONGEST_SECONDS)
        return 200, "{}"

    server.answer = slow
    with Rpc(server.url, timeout_s=0.2) as client, pytest.raises(RpcTimeout, match=r"0\.2 s"):
        client.call("eth_blockNumber")
    given_up.set()


def test_call_nobody_listens_is_unreachable(server: ScriptedServer) -> None:
    with Rpc("http://127.0.0.1:1", timeout_s=2) as client, pytest.raises(RpcUnreachable):
        client.call("eth_blockNumber")


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://localhost", "http://", "http://x:y"])
def test_rpc_address_not_http_is_unreachable(url: str) -> None:
    with pytest.raises(RpcUnreachable, match="must start with http"):
        Rpc(url)


def test_call_wrong_chain_asks_nothing_else(server: ScriptedServer) -> None:
    server.results(lambda call: "0x1")
    with (
        Rpc(server.url, expected_chain_id=31337) as client,
        pytest.raises(WrongChain, match="chain 1, not chain 31337") as caught,
    ):
        client.call("eth_sendRawTransaction", "0x00")
    assert (caught.value.expected, caught.value.actual) == (31337, 1)
    assert [body["method"] for body in server.bodies] == ["eth_chainId"]


def test_call_right_chain_is_checked_once(server: ScriptedServer) -> None:
    server.results(lambda call: hex(31337))
    with Rpc(server.url, expected_chain_id=31337) as client:
        client.call("eth_blockNumber")
        client.call("eth_blockNumber")
    methods = [body["method"] for body in server.bodies]
    assert methods == ["eth_chainId", "eth_blockNumber", "eth_blockNumber"]


def test_call_after_lost_connection_checks_the_chain_again(server: ScriptedServer) -> None:
    with Rpc(server.url, expected_chain_id=31337) as client:
        server.results(lambda call: hex(31337))
        client.call("eth_blockNumber")
        server.answer = lambda body: (502, "")
        with pytest.raises(RpcUnreachable):
            client.call("eth_blockNumber")
        server.results(lambda call: "0x1")

        with pytest.raises(WrongChain):
            client.call("eth_blockNumber")


def test_batch_is_one_request_in_order_of_calls(server: ScriptedServer, rpc: Rpc) -> None:
    def reversed_answers(body: Any) -> tuple[int, str]:
        return 200, json.dumps([{"id": c["id"], "result": c["params"][0]} for c in body[::-1]])

    server.answer = reversed_answers

    assert rpc.batch([("a", [1]), ("b", [2]), ("c", [3])]) == [1, 2, 3]
    assert len(server.bodies) == 1


def test_batch_one_refused_is_raised_or_settled(server: ScriptedServer, rpc: Rpc) -> None:
    def half(body: Any) -> tuple[int, str]:
        error = {"code": 3, "message": "no", "data": "0x01"}
        return 200, json.dumps([{"id": body[0]["id"], "result": 5}, {"id": body[1]["id"], "error": error}])

    server.answer = half

    with pytest.raises(RpcRejected, match="refused b"):
        rpc.batch([("a", []), ("b", [])])
    good, bad = rpc.batch_settled([("a", []), ("b", [])])
    assert good == 5
    assert isinstance(bad, RpcRejected)
    assert bad.data == b"\x01"


def test_batch_refused_as_a_whole_is_rejected(server: ScriptedServer, rpc: Rpc) -> None:
    error = {"code": -32600, "message": "batches are off"}
    server.answer = lambda body: (200, json.dumps({"id": None, "error": error}))

    with pytest.raises(RpcRejected, match="batches are off"):
        rpc.batch([("a", []), ("b", [])])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("7", 7.0), ("0", 0.0), ("-3", 0.0), ("1e9", 3_600.0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        *(("nan", None), ("soon", None), (None, None)),
    ],
)
def test_wait_that_a_busy_node_asks_for_is_taken_within_reason(
    server: ScriptedServer, rpc: Rpc, header: str | None, seconds: float | None
) -> None:
    server.wait = header
    server.answer = lambda _: (429, "{}")

    with pytest.raises(RpcBusy) as caught:
        rpc.call("eth_blockNumber")

    assert caught.value.retry_seconds == seconds


def test_batch_answer_missing_is_malformed(server: ScriptedServer, rpc: Rpc) -> None:
    """Asked alone, too: an endpoint that answers some of a batch may have a limit."""

    def answer(body: Any) -> tuple[int, str]:
        first = body[0]["id"] if isinstance(body, list) else 1 if body["method"] == "a" else 0
        return 200, json.dumps([{"id": first, "result": 1}])

    server.answer = answer

    with pytest.raises(RpcMalformed, match="no answer to a"):
        rpc.batch([("a", []), ("b", [])])


def test_batch_of_nothing_asks_nothing(server: ScriptedServer, rpc: Rpc) -> None:
    assert rpc.batch([]) == []
    assert server.bodies == []


@pytest.mark.parametrize("batched", [False, True])
def test_error_in_place_of_a_result_is_no_answer(server: ScriptedServer, rpc: Rpc, batched: bool) -> None:
    server.results(lambda call: {"code": -32000, "message": "upstream error"})
    calls = [("eth_gasPrice", ()), ("eth_blockNumber", ())] if batched else [("eth_gasPrice", ())]
    with pytest.raises(RpcMalformed, match="its answer to eth_gasPrice is not a number"):
        rpc.batch(calls)


def test_calls_share_one_connection_and_the_whole_address(server: ScriptedServer, rpc: Rpc) -> None:
    server.results(lambda call: "0x1")
    for _ in range(5):
        rpc.call("eth_blockNumber")
    assert len(server.connections) == 1
    assert set(server.paths) == {f"/v3/{SECRET}?token={SECRET}"}


def test_credentials_are_sent_and_never_shown(server: ScriptedServer) -> None:
    url = server.url.replace("http://", f"http://alice:{SECRET}@")
    with Rpc(url) as client:
        server.results(lambda call: "0x1")
        client.call("eth_blockNumber")
        server.answer = lambda body: (500, "")
        with pytest.raises(RpcUnreachable) as caught:
            client.call("eth_blockNumber")
    assert server.authorizations[0] is not None
    assert server.authorizations[0].startswith("Basic ")
    seen: BaseException | None = caught.value
    while seen is not None:
        assert SECRET not in str(seen)
        seen = None if seen.__suppress_context__ else seen.__cause__ or seen.__context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://mainnet.example/v3/{SECRET}", "https://mainnet.example"),
        (f"https://u:{SECRET}@h.example:444/{SECRET}?k={SECRET}", "https://h.example:444"),
        ("http://[::1]:8545/x", "http://[::1]:8545"),
        (f"{SECRET}", "(no http address)"),
    ],
)
def test_endpoint_name_hides_what_may_be_secret(url: str, shown: str) -> None:
    assert endpoint_name(url) == shown


def test_at_block_by_hash_must_be_canonical() -> None:
    block_hash = bytes(range(32))
    pinned = {"blockHash": "0x" + block_hash.hex(), "requireCanonical": True}
    assert at_block(block_hash) == pinned
    assert at_block("0x" + block_hash.hex()) == pinned
    assert at_block(255) == "0xff"
    assert at_block("latest") == "latest"
