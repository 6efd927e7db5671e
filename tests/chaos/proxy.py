"""What can an endpoint do wrong, and how is a program made to meet it?

`Proxy` stands between a keeper and a node. `weather` decides, by a seeded draw for every request that it could strike, which of them
meet its fault; every fault that was met is counted by its kind. A fault of the connection (`_Exchange`) is done with the bytes, a
false answer (`_falsified`) with the parsed ones, and a false state (`_overridden`) by having the node itself compute the lie, so that
all its answers fit together.

`hold` stops the first request of which a condition is true, before the node sees it or before its answer goes back: whoever asked
stands still at a known point, and can be killed there.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from types import TracebackType
from typing import Any, Self

import urllib3

__all__ = ["SECRETS", "Fault", "Hold", "Proxy", "Weather"]

_Json = dict[str, Any]

SECRETS = ("pr0vider-k3y", "us3r-n4me", "p4ss-w0rd")
"""In the path, the query and the credentials of the proxy's URL: none of them may be seen in a log."""

_LONGEST_SECONDS = 30.0
_TAGS = frozenset({"latest", "pending", "safe", "finalized"})


class Fault(StrEnum):
    """What the proxy can do to a request."""

    DELAY = "delay"
    DROP = "dropped connection"
    CUT = "cut body"
    TOO_MANY = "HTTP 429"
    BROKEN = "HTTP 5xx"
    ERROR_200 = "error under HTTP 200"
    ERROR_AS_RESULT = "error as a result"
    GARBAGE = "garbage"
    SILENCE = "no reply"
    STALE = "stale head"
    BACKWARDS = "head goes back"
    WRONG_CHAIN = "lie: chain id"
    WRONG_PRICE = "lie: price"
    WRONG_HOLDING = "lie: holding"
    WRONG_NONCE = "lie: nonce"
    NO_RECEIPT = "lie: no receipt"
    FALSE_RECEIPT = "lie: receipt of nothing"


_CONNECTION = frozenset(
    {
        *(Fault.DELAY, Fault.DROP, Fault.CUT, Fault.TOO_MANY, Fault.BROKEN, Fault.ERROR_200),
        *(Fault.GARBAGE, Fault.SILENCE),
    }
)

_STRIKES: Mapping[Fault, frozenset[str]] = {
    Fault.WRONG_CHAIN: frozenset({"eth_chainId"}),
    Fault.WRONG_PRICE: frozenset({"eth_call", "eth_estimateGas", "eth_simulateV1"}),
    Fault.WRONG_HOLDING: frozenset({"eth_call", "eth_estimateGas", "eth_simulateV1"}),
    Fault.WRONG_NONCE: frozenset({"eth_getTransactionCount"}),
    Fault.NO_RECEIPT: frozenset({"eth_getTransactionReceipt"}),
    Fault.FALSE_RECEIPT: frozenset({"eth_getTransactionReceipt"}),
}
"""The only methods that a fault strikes; any, where it is not named."""


@dataclass(frozen=True)
class Weather:
    """A fault, how often it strikes and how hard: `rate` is a part of the requests, `strength` seconds, blocks or nonces.

    `overrides` is what a false state says (account → EIP-style state override), `methods` narrows what is struck.
    """

    fault: Fault
    rate: float = 1.0
    strength: float = 1.0
    seed: int = 0
    methods: frozenset[str] = frozenset()
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def could_strike(self, methods: Sequence[str]) -> bool:
        """Whether a request of these methods is one of those that it may be drawn for."""
        narrowed = self.methods or _STRIKES.get(self.fault, frozenset())
        return not narrowed or not narrowed.isdisjoint(methods)


class Hold:
    """Where a program is to stand still: at the first request of which `when` is true, asked with its methods.

    `answered`: whether the node has seen it by then. `reached` tells that it stands there; `let_go` ends it, and drops the
    connection if the program is gone by then.
    """

    def __init__(self, when: Callable[[Sequence[str]], bool], *, answered: bool = False) -> None:
        self.when = when
        self.answered = answered
        self.reached = threading.Event()
        self.methods: Sequence[str] = ()
        self._over = threading.Event()
        self._drop = False

    def let_go(self, *, drop: bool = False) -> None:
        """End it: by going on, or by dropping the request."""
        self._drop = drop
        self._over.set()

    def stand(self, methods: Sequence[str]) -> bool:
        """Wait until let go; whether to go on."""
        self.methods = methods
        self.reached.set()
        self._over.wait(_LONGEST_SECONDS)
        return not self._drop


class Proxy:
    """A JSON-RPC endpoint that passes on what it is asked, and does wrong as it is told. A context manager."""

    def __init__(self, node_url: str) -> None:
        self.faults: Counter[Fault] = Counter()
        """How many requests met which fault, since the beginning."""
        self.requests = 0
        self._node = urllib3.PoolManager(retries=False, maxsize=16, block=False)
        self._node_url = node_url
        self._lock = threading.Lock()
        self._weather: Weather | None = None
        self._draws = Random(0)
        self._holds: list[Hold] = []
        self._cleared = threading.Event()
        self._head_at_onset = 0
        proxy = self

        class Handler(_Exchange):
            pass

        Handler.proxy = proxy
        self._http = _Server(("127.0.0.1", 0), Handler)
        key, user, word = SECRETS
        port = self._http.server_address[1]
        self.url = f"http://{user}:{word}@127.0.0.1:{port}/v2/{key}?token={key}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()
        for hold in self._holds:
            hold.let_go(drop=True)
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._node.clear()

    # Steering

    def play(self, weather: Weather) -> None:
        """From now on requests meet this fault, and no other."""
        height = self.ask_node([_question("eth_blockNumber")])[0]["result"]
        with self._lock:
            self._weather, self._draws = weather, Random(weather.seed)
            self._head_at_onset = int(height, 16)
            self._cleared = threading.Event()

    def clear(self) -> None:
        """From now on every request is passed on; who waits for nothing is hung up on."""
        with self._lock:
            self._weather = None
            self._cleared.set()

    def hold(self, hold: Hold) -> Hold:
        """Stop the next request that fits; once."""
        with self._lock:
            self._holds.append(hold)
        return hold

    # What exchanges ask

    def draw(self, methods: Sequence[str]) -> tuple[Weather, Random] | None:
        """The fault of a request, if it is to meet one, with chance of its own; counted."""
        with self._lock:
            self.requests += 1
            weather = self._weather
            if weather is None or not weather.could_strike(methods):
                return None
            if self._draws.random() >= weather.rate:
                return None
            return weather, Random(self._draws.random())

    def count(self, fault: Fault) -> None:
        """One more was met."""
        with self._lock:
            self.faults[fault] += 1

    def held(self, methods: Sequence[str], *, answered: bool) -> Hold | None:
        """Where this request is to stand still, if anywhere."""
        with self._lock:
            waiting = [h for h in self._holds if h.answered is answered and not h.reached.is_set()]
        # Without the lock: a condition may take its time.
        return next((hold for hold in waiting if hold.when(methods)), None)

    def wait_until_cleared(self, seconds: float = _LONGEST_SECONDS) -> None:
        """Wait for better weather."""
        with self._lock:
            cleared = self._cleared
        cleared.wait(seconds)

    def lowered(self, weather: Weather) -> int:
        """The height at which a stale node stands."""
        return max(0, self._head_at_onset - int(weather.strength))

    def pass_on(self, body: bytes) -> tuple[int, bytes]:
        """What the node answers to a body."""
        answer = self._node.request(
            "POST",
            self._node_url,
            body=body,
            headers={"Content-Type": "application/json"},
            timeout=60.0,
        )
        return answer.status, answer.data

    def ask_node(self, questions: Sequence[_Json]) -> list[_Json]:
        """What the node answers to questions, in their order."""
        found = json.loads(self.pass_on(json.dumps(list(questions)).encode())[1])
        by_id = {one["id"]: one for one in found}
        return [by_id[question["id"]] for question in questions]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed break connections; that is what they are here for."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        requested = json.loads(body)
        questions = requested if isinstance(requested, list) else [requested]
        methods = [question["method"] for question in questions]
        hold = self.proxy.held(methods, answered=False)
        if hold is not None and not hold.stand(methods):
            self._hang_up()
            return
        drawn = self.proxy.draw(methods)
        if drawn is not None and drawn[0].fault in _CONNECTION:
            self._mistreat(*drawn, body, requested)
            return
        if drawn is None:
            status, answer = self.proxy.pass_on(body)
        else:
            status, answer = 200, self._falsified(*drawn, requested)
        hold = self.proxy.held(methods, answered=True)
        if hold is not None and not hold.stand(methods):
            self._hang_up()
            return
        self._answer(status, answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Say nothing."""

    # The connection

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _mistreat(self, weather: Weather, chance: Random, body: bytes, requested: Any) -> None:
        """Do wrong to the connection. Half of what breaks it was passed on before: the node did what was asked."""
        proxy, fault = self.proxy, weather.fault
        proxy.count(fault)
        match fault:
            case Fault.DELAY:
                proxy.wait_until_cleared(weather.strength)
                self._answer(*proxy.pass_on(body))
            case Fault.DROP:
                if chance.random() < 0.5:
                    proxy.pass_on(body)
                self._hang_up()
            case Fault.CUT:
                answer = proxy.pass_on(body)[1]
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: chance.randrange(len(answer))])
                self.close_connection = True
            case Fault.TOO_MANY:
                headers = {"Retry-After": "1"} if chance.random() < 0.5 else {}
                self._answer(429, b"Too Many Requests", headers)
            case Fault.BROKEN:
                status = chance.choice((500, 502, 503, 504))
                self._answer(status, b"<html><h1>Bad Gateway</h1></html>")
            case Fault.ERROR_200:
                error = {"code": -32005, "message": "daily request count exceeded"}
                asked_id = None if isinstance(requested, list) else requested["id"]
                answer = json.dumps({"jsonrpc": "2.0", "id": asked_id, "error": error}).encode()
                self._answer(200, answer)
            case Fault.GARBAGE:
                self._answer(200, chance.choice(_GARBAGE))
            case _:
                if chance.random() < 0.5:
                    proxy.pass_on(body)
                proxy.wait_until_cleared()
                self._hang_up()

    # The answers

    def _falsified(self, weather: Weather, chance: Random, requested: Any) -> bytes:
        """The answer to a question or a batch, with a lie wherever the fault has one to tell."""
        questions: list[_Json] = requested if isinstance(requested, list) else [requested]
        put = [self._put(weather, question) for question in questions]
        answers = self.proxy.ask_node(put)
        reported = [
            self._reported(weather, chance, question, answer)
            for question, answer in zip(questions, answers, strict=True)
        ]
        if put != questions or reported != answers:
            self.proxy.count(weather.fault)
        return json.dumps(reported if isinstance(requested, list) else reported[0]).encode()

    def _put(self, weather: Weather, question: _Json) -> _Json:
        """A question as the node is asked it."""
        if weather.fault in (Fault.STALE, Fault.BACKWARDS):
            return _as_of(question, self.proxy.lowered(weather))
        if weather.fault in (Fault.WRONG_PRICE, Fault.WRONG_HOLDING):
            return _overridden(question, weather.overrides)
        return question

    def _reported(self, weather: Weather, chance: Random, question: _Json, answer: _Json) -> _Json:
        """An answer as it is passed on."""
        method, result = question["method"], answer.get("result")
        match weather.fault:
            case Fault.ERROR_AS_RESULT:
                return answer | {"result": chance.choice(_ERRORS)}
            case Fault.STALE | Fault.BACKWARDS:
                top = self.proxy.lowered(weather)
                if method == "eth_blockNumber":
                    return answer | {"result": hex(top)}
                if isinstance(result, dict) and int(result.get("blockNumber") or "0x0", 16) > top:
                    return answer | {"result": None}
            case Fault.WRONG_CHAIN:
                return answer | {"result": "0x1"} if method == "eth_chainId" else answer
            case Fault.WRONG_NONCE if method == "eth_getTransactionCount":
                lie = max(0, int(str(result), 16) + int(weather.strength))
                return answer | {"result": hex(lie)}
            case Fault.NO_RECEIPT if method == "eth_getTransactionReceipt":
                return answer | {"result": None}
            case Fault.FALSE_RECEIPT if method == "eth_getTransactionReceipt" and result is None:
                return answer | {"result": self._receipt(question["params"][0])}
        return answer

    def _receipt(self, transaction_hash: str) -> _Json:
        """A receipt of a transaction that no block holds: it says that the newest one does."""
        requested = _question("eth_getBlockByNumber", "latest", False)
        head = self.proxy.ask_node([requested])[0]["result"]
        return {
            "transactionHash": transaction_hash,
            "blockNumber": head["number"],
            "blockHash": head["hash"],
            "gasUsed": hex(200_000),
            "contractAddress": None,
            "logs": [],
            "effectiveGasPrice": head["baseFeePerGas"],
            "status": "0x1",
        }


_GARBAGE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"<html><body>Checking your browser</body></html>",
    b'{"jsonrpc": "2.0", "id": 1, "resul',
    b'{"jsonrpc": "2.0", "id": "somebody else\'s", "result": "0x1"}',
    b'[{"jsonrpc": "2.0", "id": 999999999, "result": null}]',
    b'"0x10"',
    b"\xff\xfe\x00\x01",
)

_ERRORS: tuple[Any, ...] = (
    {"code": -32000, "message": "upstream error"},
    {"error": {"code": -32603, "message": "internal error"}},
    "error: header not found",
    "Too Many Requests",
    {},
)


def _question(method: str, *params: Any) -> _Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}


def _as_of(question: _Json, height: int) -> _Json:
    """A question as of an older block: its tags become that block's number, and so do later numbers."""

    def older(parameter: Any) -> Any:
        return hex(height) if isinstance(parameter, str) and parameter in _TAGS else parameter

    return question | {"params": [older(one) for one in question["params"]]}


def _overridden(question: _Json, overrides: Mapping[str, Any]) -> _Json:
    """A question about a state in which some accounts are otherwise."""
    method, params = question["method"], list(question["params"])
    if method in ("eth_call", "eth_estimateGas"):
        params = [*params, "latest"] if len(params) == 1 else params
        return question | {"params": [*params[:2], dict(overrides)]}
    if method == "eth_simulateV1":
        calls = [
            block | {"stateOverrides": dict(overrides) | block.get("stateOverrides", {})}
            for block in params[0]["blockStateCalls"]
        ]
        return question | {"params": [params[0] | {"blockStateCalls": calls}, *params[1:]]}
    return question
