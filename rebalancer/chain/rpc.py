"""JSON-RPC client of one endpoint over HTTP.

One `Rpc` is one endpoint with one kept-alive connection. Not thread-safe. It never retries: only the caller knows
whether a repeated request is safe. It never shows the path, the query or the credentials of its URL, because they may
contain keys.
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
from typing import Any
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
from rebalancer.closing import Closing
from rebalancer.errors import ChainError, RpcBusy, RpcMalformed, RpcRejected, RpcTimeout, RpcUnreachable, WrongChain
from rebalancer.redact import Redactor, endpoint_name
from rebalancer.texts import MOST_DEPTH, nests_deeper, safe_text

__all__ = ["Rpc"]

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_OK = 200
_TOO_MANY = 429
_REFUSED_BY_SIZE = frozenset({400, 413, 414, 431})

_MOST_BYTES = 32 << 20
"""Size limit of one answer. Ten thousand logs have about six million bytes."""
_MOST_LETTERS = 300
"""Length limit of an endpoint's error message."""
_LONGEST_WAIT_SECONDS = 3600.0
"""Limit on the pause that an endpoint may request."""
_LIMITED_SECONDS = 600.0
"""Time for which an endpoint's batch limit is respected. After that, batches of twice the size are tried."""


class _WithinDeadline(RawIOBase):
    """Bytes of a connection until a deadline, so that a very slow sender cannot block forever."""

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
    """A connection class whose answers, including headers, end at a deadline."""

    class Response(HTTPResponse):
        def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            raw = self.fp.detach()  # made by `sock.makefile("rb")`
            self.fp = BufferedReader(_WithinDeadline(raw, sock, left))

    return type(connection.__name__, (connection,), {"response_class": Response})


class Rpc(Closing):
    """One JSON-RPC endpoint over HTTP.

    If `expected_chain_id` is given, the chain id is checked before the first request, and again after each lost
    connection, because another node may answer then.
    """

    most_bytes: int = _MOST_BYTES
    """Answers with more bytes are rejected."""

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
        """Deadline of all requests (`time.monotonic`), in addition to `timeout_s`; None for no deadline."""
        self.max_tip_wei: int | None = None
        """Limit on tips of others that are taken into account (wei per gas)."""
        self._requests = 0
        self._next_id = 1
        self._most_at_once = 0
        self._limited_until = 0.0
        self._chain_known = expected_chain_id is None

    @property
    def requests(self) -> int:
        """HTTP requests made so far."""
        return self._requests

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._pool.close()
        self._pool = self._new_pool()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        pool = urllib3.connection_from_url(self.endpoint, headers=self._sent_along, retries=False, maxsize=1)
        https = self.endpoint.startswith("https")
        pool.ConnectionCls = _within(
            HTTPSConnection if https else HTTPConnection, lambda: self._answer_until - time.monotonic()
        )
        return pool

    @property
    def votes(self) -> int:
        """Number of answers to compare, if one endpoint is not trusted."""
        return 1

    def voters(self) -> Iterable[Rpc]:
        """Endpoints to read one after another until there are `votes` answers: only this one."""
        return [self]

    def chain_id(self) -> int:
        """Chain id of the endpoint.

        Raises:
            WrongChain: the id differs from the expected one.
        """
        answer = self._settle([("eth_chainId", ())])[0]
        if isinstance(answer, RpcRejected):
            raise self.own_failure(answer)  # with any message: every sound endpoint answers this request
        try:
            actual = int(answer, 16)
        except (TypeError, ValueError):
            raise RpcMalformed(self.endpoint, "its chain id is not a number") from None
        if self.expected_chain_id is not None and actual != self.expected_chain_id:
            raise WrongChain(self.expected_chain_id, actual)
        self._chain_known = True
        return actual

    def call(self, method: str, *params: Any) -> Any:
        """Result of one method.

        Raises:
            RpcUnreachable, RpcTimeout, RpcMalformed: there is no answer, or it cannot be read.
            RpcRejected: the node returned an error.
            WrongChain: the endpoint serves another chain than expected.
        """
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Results of several methods in one HTTP request, in the order of the calls.

        Raises:
            As `call`. If several methods are rejected, the first error is raised; the other methods may have run.
        """
        answers = self.batch_settled(calls)
        for answer in answers:
            if isinstance(answer, RpcRejected):
                raise answer
        return answers

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """As `batch`, but a rejected method yields its RpcRejected in place of a result."""
        if not calls:
            return []
        if not self._chain_known:
            self.chain_id()
        return self._settle(calls)

    def _settle(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, in as few HTTP requests as the endpoint accepts."""
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
        """Answers to a batch. If the endpoint accepts only smaller batches: answers to the first calls.

        Raises:
            RpcBusy, RpcUnreachable: the endpoint does not answer a single call either.
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
        """Answers to the calls of one HTTP request.

        Raises:
            _BatchRefused: a batch was not answered, possibly because of its size.
        """
        first_id = self._next_id
        self._next_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first_id + i, "method": method, "params": list(params)}
            for i, (method, params) in enumerate(calls)
        ]
        lone = len(calls) == 1
        # A single request is sent without a list: some endpoints do not support batches.
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
                raise RpcMalformed(self.endpoint, "it sent one answer to a batch of requests")
            raise _BatchRefused
        answers = body if isinstance(body, list) else [body]
        by_id = {
            answer["id"]: answer for answer in answers if isinstance(answer, dict) and isinstance(answer.get("id"), int)
        }
        if lone and len(answers) == 1 and isinstance(answers[0], dict):
            # If the endpoint could not read the id, the error has a null id.
            answer_id = answers[0].get("id")
            by_id = {first_id: answers[0]} if answer_id is None or answer_id == first_id else {}
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
        """The result in an answer, or its error.

        Raises:
            RpcMalformed: the answer has neither, or the result does not fit the method.
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
        """The failure that an answer with an HTTP status other than 200 means."""
        errors = [
            self._rejection(method, answer["error"])
            for answer in (body if isinstance(body, list) else [body])
            if isinstance(answer, dict) and answer.get("error") is not None
        ]
        message = errors[0] if errors else None
        # A revert, or an error about a transaction, answers the request whatever the status is.
        if message is not None and status != _TOO_MANY and blame(message) is Blame.QUESTION:
            return message
        reason = f"it answered HTTP {status}" + (f": {message.message}" if message else "")
        if status == _TOO_MANY or wait is not None:
            self._chain_known = self.expected_chain_id is None
            return RpcBusy(self.endpoint, reason, wait)
        return self._lost(reason)

    def _post(self, payload: Any) -> tuple[int, Any, float | None]:
        """HTTP status, JSON body (None if it is invalid and the status is not 200), and the pause that `Retry-After`
        requests."""
        # The library's messages contain the URL with its path, so none of them is passed on or chained.
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
                raise ProtocolError("the body is shorter than the announced length")
        except NewConnectionError:
            raise self._lost("the connection was refused or the host is unknown") from None
        except (ConnectTimeoutError, ReadTimeoutError):
            self.close()
            self._chain_known = self.expected_chain_id is None
            raise RpcTimeout(self.endpoint, round(seconds, 3)) from None
        except ProtocolError:
            raise self._lost("the connection was lost") from None
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
            raise RpcMalformed(self.endpoint, "the body is not a JSON object or list")
        return response.status, answer, wait

    def _headers(self, body: str) -> dict[str, str]:  # noqa: ARG002 (subclasses sign it)
        """Additional headers of one request."""
        return {}

    def _seconds_left(self) -> float:
        """Time limit of the next answer, in seconds.

        Raises:
            RpcTimeout: no time is left; no request was made.
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
        """A rejection that concerns the endpoint, as the endpoint's failure."""
        reason = f"{rejected.message} (code {rejected.code})"
        return RpcBusy(self.endpoint, reason) if is_limit(rejected) else self._lost(reason)

    def _rejection(self, method: str, error: Any) -> RpcRejected:
        """A node's error. Its text is redacted, because some nodes repeat the URL with the key."""
        if not isinstance(error, dict):
            return RpcRejected(method, 0, self._cleaned(error))
        code = error.get("code", 0)
        return RpcRejected(
            method,
            code if isinstance(code, int) else 0,
            self._cleaned(error.get("message", "no message")),
            _revert_data(error.get("data")),
        )

    def _cleaned(self, text: Any) -> str:
        """Text from an endpoint: one safe, shortened line without secrets."""
        return self._clean(safe_text(str(text), _MOST_LETTERS))


class _BatchRefused(Exception):  # noqa: N818 (never leaves this module)
    """An endpoint did not answer a batch."""


def _seconds_to_wait(header: str | None) -> float | None:
    """Pause that a `Retry-After` header requests, given as seconds or as a date (RFC 9110, 10.2.3). None if it cannot
    be read."""
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
    """Revert data in a node's error: a hex string, or (Hardhat) an object that contains one."""
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
