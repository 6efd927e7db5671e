"""How does one endpoint answer a JSON-RPC question over HTTP?

One `Rpc` is one endpoint and one kept-alive connection; it is not meant to be shared by threads.
It never retries: who asks knows whether asking twice is safe. It never prints the path, the query
or the credentials of its URL, because providers put keys there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from rebalancer.abi import Call
from rebalancer.chain.refusals import Blame, blame, is_batch_refusal, is_limit
from rebalancer.chain.results import wrong_result
from rebalancer.errors import (
    ChainError,
    RpcBusy,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from rebalancer.redact import Redactor, endpoint_name
from rebalancer.texts import MOST_DEPTH, nests_deeper, safe_text

__all__ = ["Rpc"]

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_OK = 200
_TOO_MANY = 429
_REFUSED_BY_SIZE = frozenset({400, 413, 414, 431})

_MOST_BYTES = 32 << 20
"""Of one answer. Ten thousand logs are some six million bytes."""
_MOST_LETTERS = 300
"""Of what an endpoint says of an error."""
_LONGEST_WAIT_SECONDS = 3600.0
"""An endpoint that asks to be left alone for longer is asked again after so long."""
_LIMITED_SECONDS = 600.0
"""For so long an endpoint's limit of a batch is believed; after that, twice as many questions are tried."""


class _WithinDeadline(RawIOBase):
    """A connection's bytes until a time: whoever sends one byte a second is not waited for for ever."""

    def __init__(self, raw: Any, sock: socket, left: Callable[[], float]) -> None:
        self._raw, self._sock, self._left = raw, sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._left()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def _within(connection: type[HTTPConnection], left: Callable[[], float]) -> type[HTTPConnection]:
    """A kind of connection whose answers, headers included, end when no time is left."""

    class Response(HTTPResponse):
        def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            raw = self.fp.detach()  # made by `sock.makefile("rb")`
            self.fp = BufferedReader(_WithinDeadline(raw, sock, left))

    return type(connection.__name__, (connection,), {"response_class": Response})


class Rpc:
    """One JSON-RPC endpoint over HTTP.

    Before the first question it asks the endpoint for its chain id when `expected_chain_id` is
    given, and again after every loss of connection: the node that comes back may be another.
    """

    most_bytes: int = _MOST_BYTES
    """Length of an answer above which it is refused."""

    def __init__(self, url: str, timeout_s: float = 10.0, expected_chain_id: int | None = None) -> None:
        self.endpoint = endpoint_name(url)
        self.timeout_s = timeout_s
        self.expected_chain_id = expected_chain_id
        if "(" in self.endpoint:
            raise RpcUnreachable(self.endpoint, "it must start with http:// or https://")
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._sent_along = dict(_HEADERS)
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._sent_along |= urllib3.make_headers(basic_auth=secret)
        self._clean = Redactor.of_url(url)
        self._answer_until = math.inf
        self._pool = self._new_pool()
        self.deadline: float | None = None
        """Until when (`time.monotonic`) answers are of use, whatever `timeout_s` says; None for no such time."""
        self.max_tip_wei: int | None = None
        """Most that is believed of what others pay as a tip (wei per gas)."""
        self._requests = 0
        self._next_id = 1
        self._most_at_once = 0
        self._limited_until = 0.0
        self._chain_known = expected_chain_id is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def requests(self) -> int:
        """HTTP requests made so far."""
        return self._requests

    def close(self) -> None:
        """Drop the connection; the next question opens a new one."""
        self._pool.close()
        self._pool = self._new_pool()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        pool = urllib3.connection_from_url(self.endpoint, headers=self._sent_along, retries=False, maxsize=1)
        https = self.endpoint.startswith("https")
        pool.ConnectionCls = _within(
            HTTPSConnection if https else HTTPConnection,
            lambda: self._answer_until - time.monotonic(),
        )
        return pool

    @property
    def votes(self) -> int:
        """How many answers are wanted where one endpoint's word is not enough."""
        return 1

    def voters(self) -> Iterable[Rpc]:
        """Who is asked, one after another until there are `votes` answers: itself alone."""
        return [self]

    def chain_id(self) -> int:
        """The chain id the endpoint serves.

        Raises:
            WrongChain: it is not the expected one.
        """
        answer = self._settle([("eth_chainId", ())])[0]
        if isinstance(answer, RpcRejected):
            raise self.own_failure(answer)  # whatever it says: the question has an answer everywhere
        try:
            actual = int(answer, 16)
        except (TypeError, ValueError):
            raise RpcMalformed(self.endpoint, "its chain id is not a number") from None
        if self.expected_chain_id is not None and actual != self.expected_chain_id:
            raise WrongChain(self.expected_chain_id, actual)
        self._chain_known = True
        return actual

    def call(self, method: str, *params: Any) -> Any:
        """The result of one method.

        Raises:
            RpcUnreachable, RpcTimeout, RpcMalformed: no answer, or none that can be read.
            RpcRejected: the node answered with an error.
            WrongChain: the endpoint serves another chain than expected.
        """
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results of many methods, asked in one HTTP request, in the order of the calls.

        Raises:
            As `call`; of several refused methods the first is raised, the others may have run.
        """
        answers = self.batch_settled(calls)
        for answer in answers:
            if isinstance(answer, RpcRejected):
                raise answer
        return answers

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """As `batch`, but a refused method yields its RpcRejected in place of a result."""
        if not calls:
            return []
        if not self._chain_known:
            self.chain_id()
        return self._settle(calls)

    def _settle(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, in as few requests as the endpoint takes."""
        results: list[Any] = []
        while len(results) < len(calls):
            rest = calls[len(results) :]
            some = rest[: self._at_once(len(rest))]
            results += self._settle_at_once(some) if len(some) == 1 else self._settle_batch(some)
        return results

    def _at_once(self, wanted: int) -> int:
        if not self._most_at_once:
            return wanted
        if time.monotonic() > self._limited_until:
            self._most_at_once *= 2
            self._limited_until = time.monotonic() + _LIMITED_SECONDS
        return min(wanted, self._most_at_once)

    def _settle_batch(self, calls: Sequence[Call]) -> list[Any]:
        """A batch's answers; only those to its first calls where the endpoint takes smaller batches alone.

        Raises:
            RpcBusy, RpcUnreachable: it does not answer a lone one either.
        """
        size = len(calls)
        while size > 1:
            try:
                answers = self._settle_at_once(calls[:size])
                break
            except _BatchRefused:
                size //= 2
        else:
            answers = self._settle_at_once(calls[:1])
            alone = answers[0]
            if isinstance(alone, RpcRejected) and blame(alone) is Blame.ENDPOINT:
                raise self.own_failure(alone)
        if size < len(calls):
            self._most_at_once = size
            self._limited_until = time.monotonic() + _LIMITED_SECONDS
        return answers

    def _settle_at_once(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to one request.

        Raises:
            _BatchRefused: many were not answered, perhaps because they are too many.
        """
        first_id = self._next_id
        self._next_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first_id + i, "method": method, "params": list(params)}
            for i, (method, params) in enumerate(calls)
        ]
        lone = len(calls) == 1
        # A lone question goes out bare: some endpoints do not serve batches.
        status, body, wait = self._post(requests[0] if lone else requests)
        method = calls[0][0] if lone else "batch"
        if status != _OK:
            failure = self._not_ok(status, body, wait, method)
            if not lone and status in _REFUSED_BY_SIZE:
                raise _BatchRefused
            if not lone or not isinstance(failure, RpcRejected):
                raise failure
            return [failure]
        if isinstance(body, dict) and not lone:
            if body.get("error") is None:
                raise RpcMalformed(self.endpoint, "one answer to many questions")
            raise _BatchRefused
        answers = body if isinstance(body, list) else [body]
        by_id = {
            answer["id"]: answer for answer in answers if isinstance(answer, dict) and isinstance(answer.get("id"), int)
        }
        if lone and len(answers) == 1 and isinstance(answers[0], dict):
            # Errors found before the id could be read carry a null id.
            reported = answers[0].get("id")
            by_id = {first_id: answers[0]} if reported is None or reported == first_id else {}
        results: list[Any] = []
        for i, (method, params) in enumerate(calls):
            answer = by_id.get(first_id + i)
            if answer is None and not lone:
                raise _BatchRefused
            results.append(self.checked(method, params, answer))
        if not lone and all(isinstance(r, RpcRejected) and is_batch_refusal(r) for r in results):
            raise _BatchRefused
        return results

    def checked(self, method: str, params: Sequence[Any], answer: Any) -> Any:
        """An answer's result, or the rejection that it tells.

        Raises:
            RpcMalformed: it is neither, or no result that the method can have.
        """
        if not isinstance(answer, dict):
            raise RpcMalformed(self.endpoint, f"no answer to {method}")
        if answer.get("error") is not None:
            return self._rejection(method, answer["error"])
        if "result" not in answer:
            raise RpcMalformed(self.endpoint, f"neither result nor error for {method}")
        if wrong := wrong_result(method, params, answer["result"]):
            raise RpcMalformed(self.endpoint, wrong)
        return answer["result"]

    def _not_ok(self, status: int, body: Any, wait: float | None, method: str) -> ChainError:
        """What an answer under another HTTP status than 200 means."""
        errors = [
            self._rejection(method, answer["error"])
            for answer in (body if isinstance(body, list) else [body])
            if isinstance(answer, dict) and answer.get("error") is not None
        ]
        message = errors[0] if errors else None
        # A revert is the question's answer whatever the status, and so is what a node says of a transaction.
        if message is not None and status != _TOO_MANY and blame(message) is Blame.QUESTION:
            return message
        reason = f"it answered HTTP {status}" + (f": {message.message}" if message else "")
        if status == _TOO_MANY or wait is not None:
            self._chain_known = self.expected_chain_id is None
            return RpcBusy(self.endpoint, reason, wait)
        return self._lost(reason)

    def _post(self, payload: Any) -> tuple[int, Any, float | None]:
        """HTTP status, the JSON that came (None for what is none under another status than 200), and how long to wait by `Retry-After`."""
        # The library's own messages name the URL with its path, so none is passed on or chained.
        seconds = self._seconds_left()
        self._answer_until = time.monotonic() + seconds
        self._requests += 1
        body = json.dumps(payload)
        try:
            response = self._pool.request(
                "POST",
                self._target,
                body=body,
                headers={**self._pool.headers, **self._headers(body)},
                timeout=urllib3.Timeout(total=seconds),
                preload_content=False,
                decode_content=False,
            )
            data = response.read(self.most_bytes + 1)
            if len(data) <= self.most_bytes and response.length_remaining:
                raise ProtocolError("the body is shorter than its header says")
        except NewConnectionError:
            raise self._lost("the connection was refused or the host is unknown") from None
        except (ConnectTimeoutError, ReadTimeoutError):
            self.close()
            self._chain_known = self.expected_chain_id is None
            raise RpcTimeout(self.endpoint, round(seconds, 3)) from None
        except ProtocolError:
            raise self._lost("the connection broke off") from None
        except SSLError:
            raise self._lost("its TLS certificate or protocol was not accepted") from None
        except HTTPError as error:
            raise self._lost(type(error).__name__) from None
        if len(data) > self.most_bytes:
            response.close()
            raise RpcMalformed(self.endpoint, f"its answer is longer than {self.most_bytes:,} bytes")
        response.release_conn()
        wait = _seconds_to_wait(response.headers.get("Retry-After"))
        try:
            answer = None if nests_deeper(data, MOST_DEPTH) else json.loads(data.decode())
        except ValueError:
            answer = None
        if response.status != _OK:
            return response.status, answer, wait
        if not isinstance(answer, dict | list) or not answer:
            raise RpcMalformed(self.endpoint, "the body is not a JSON object")
        return response.status, answer, wait

    def _headers(self, body: str) -> dict[str, str]:  # noqa: ARG002 (for those that sign it)
        """What goes with a request beside what goes with all of them."""
        return {}

    def _seconds_left(self) -> float:
        """How long the next answer may take.

        Raises:
            RpcTimeout: no time is left, and nothing was asked.
        """
        if self.deadline is None:
            return self.timeout_s
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RpcTimeout(self.endpoint, 0)
        return min(left, self.timeout_s)

    def _lost(self, reason: str) -> RpcUnreachable:
        self._chain_known = self.expected_chain_id is None
        return RpcUnreachable(self.endpoint, reason)

    def own_failure(self, rejected: RpcRejected) -> RpcUnreachable:
        """An error that speaks of the endpoint and not of the question, as the failure that it is."""
        reason = f"{rejected.message} (code {rejected.code})"
        return RpcBusy(self.endpoint, reason) if is_limit(rejected) else self._lost(reason)

    def _rejection(self, method: str, error: Any) -> RpcRejected:
        """A node's error. Some repeat the address that they were asked at, and the key in it: that is left out."""
        if not isinstance(error, dict):
            return RpcRejected(method, 0, self._last_reason(error))
        code = error.get("code", 0)
        return RpcRejected(
            method,
            code if isinstance(code, int) else 0,
            self._last_reason(error.get("message", "no message")),
            _revert_data(error.get("data")),
        )

    def _last_reason(self, text: Any) -> str:
        """A stranger's words: one safe line, cut, without secrets."""
        return self._clean(safe_text(str(text), _MOST_LETTERS))


class _BatchRefused(Exception):  # noqa: N818 (never leaves this module)
    """An endpoint did not answer a batch of several questions."""


def _seconds_to_wait(header: str | None) -> float | None:
    """What a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3). None where it cannot be read."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else None


def _revert_data(data: Any) -> bytes:
    """Revert data as nodes pass it: a hex string, or (Hardhat) an object that holds one."""
    for _ in range(8):
        if not isinstance(data, dict):
            break
        data = data.get("data")
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data[data.index("0x") + 2 :])
    except ValueError:
        return b""
