"""How does one endpoint answer a JSON-RPC question over HTTP?

One `Rpc` is one endpoint and one kept-alive connection; it is not meant to be shared by threads.
It never retries: who asks knows whether asking twice is safe. It never prints the path, the query
or the credentials of its URL, because providers put keys there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from rebalancer.chain.results import wrong_result
from rebalancer.errors import RpcMalformed, RpcRejected, RpcTimeout, RpcUnreachable, WrongChain
from rebalancer.redact import Redactor

__all__ = ["Call", "Rpc", "at_block", "endpoint_name", "socket_name"]

Call = tuple[str, Sequence[Any]]
"""A method and its parameters, as JSON."""

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_OK = 200


def endpoint_name(url: str) -> str:
    """What may be shown of an RPC URL: scheme://host:port, without credentials, path or query."""
    return _shown(url, "http")


def socket_name(url: str) -> str:
    """The same of a WebSocket's URL."""
    return _shown(url, "ws")


def _shown(url: str, scheme: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "(unreadable address)"
    if parts.scheme not in (scheme, scheme + "s") or not parts.hostname:
        return f"(no {scheme} address)"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def at_block(block: int | str | bytes) -> Any:
    """The block parameter of a read: a number, a tag, or a block hash (EIP-1898).

    A hash must belong to the canonical chain, so that a reorg fails the read instead of letting
    one decision mix two chains.
    """
    if isinstance(block, bytes):
        return {"blockHash": "0x" + block.hex(), "requireCanonical": True}
    if isinstance(block, int):
        return hex(block)
    if len(block) == 2 + 64:
        return {"blockHash": block, "requireCanonical": True}
    return block


class Rpc:
    """One JSON-RPC endpoint over HTTP.

    Before the first question it asks the endpoint for its chain id when `expected_chain_id` is
    given, and again after every loss of connection: the node that comes back may be another.
    """

    def __init__(
        self, url: str, timeout_s: float = 10.0, expected_chain_id: int | None = None
    ) -> None:
        self.endpoint = endpoint_name(url)
        self.timeout_s = timeout_s
        self.expected_chain_id = expected_chain_id
        if "(" in self.endpoint:
            raise RpcUnreachable(self.endpoint, "it must start with http:// or https://")
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = dict(_HEADERS)
        if parts.username is not None:
            secret = f"{parts.username}:{parts.password or ''}"
            headers |= urllib3.make_headers(basic_auth=secret)
        self._clean = Redactor.of_url(url)
        self._pool = urllib3.connection_from_url(
            self.endpoint,
            headers=headers,
            retries=False,
            maxsize=1,
        )
        self.deadline: float | None = None
        """Until when (`time.monotonic`) answers are of use, whatever `timeout_s` says; None for no such time."""
        self._requests = 0
        self._next_id = 1
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

    def chain_id(self) -> int:
        """The chain id the endpoint serves.

        Raises:
            WrongChain: it is not the expected one.
        """
        answer = self._settle([("eth_chainId", ())])[0]
        if isinstance(answer, RpcRejected):
            raise answer
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
        first_id = self._next_id
        self._next_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first_id + i, "method": method, "params": list(params)}
            for i, (method, params) in enumerate(calls)
        ]
        # A lone question goes out bare: some endpoints do not serve batches.
        body = self._post(requests if len(requests) > 1 else requests[0])
        if isinstance(body, dict) and len(calls) > 1 and "error" in body:
            raise self._rejection("batch", body["error"])
        answers = body if isinstance(body, list) else [body]
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        if len(calls) == 1 and len(answers) == 1 and isinstance(answers[0], dict):
            # Errors found before the id could be read carry a null id.
            by_id = {first_id: answers[0]} if answers[0].get("id") in (first_id, None) else {}
        results: list[Any] = []
        for i, (method, _) in enumerate(calls):
            answer = by_id.get(first_id + i)
            if answer is None:
                raise RpcMalformed(self.endpoint, f"no answer to {method}")
            if answer.get("error") is not None:
                results.append(self._rejection(method, answer["error"]))
            elif "result" in answer:
                if wrong := wrong_result(method, answer["result"]):
                    raise RpcMalformed(self.endpoint, wrong)
                results.append(answer["result"])
            else:
                raise RpcMalformed(self.endpoint, f"neither result nor error for {method}")
        return results

    def _post(self, payload: Any) -> Any:
        # The library's own messages name the URL with its path, so none is passed on or chained.
        seconds = self._seconds_left()
        self._requests += 1
        body = json.dumps(payload)
        try:
            response = self._pool.request(
                "POST",
                self._target,
                body=body,
                headers={**self._pool.headers, **self._headers(body)},
                timeout=urllib3.Timeout(total=seconds),
            )
        except NewConnectionError:
            raise self._lost("the connection was refused or the host is unknown") from None
        except (ConnectTimeoutError, ReadTimeoutError):
            self._chain_known = self.expected_chain_id is None
            raise RpcTimeout(self.endpoint, round(seconds, 3)) from None
        except ProtocolError:
            raise self._lost("the connection broke off") from None
        except SSLError:
            raise self._lost("its TLS certificate or protocol was not accepted") from None
        except HTTPError as error:
            raise self._lost(type(error).__name__) from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        if isinstance(answer, dict | list) and answer:
            return answer
        if response.status != _OK:
            raise self._lost(f"it answered HTTP {response.status}")
        raise RpcMalformed(self.endpoint, "the body is not a JSON object")

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

    def _rejection(self, method: str, error: Any) -> RpcRejected:
        """A node's error. Some repeat the address that they were asked at, and the key in it: that is left out."""
        if not isinstance(error, dict):
            return RpcRejected(method, 0, self._clean(str(error)))
        code = error.get("code", 0)
        return RpcRejected(
            method,
            code if isinstance(code, int) else 0,
            self._clean(str(error.get("message", "no message"))),
            _revert_data(error.get("data")),
        )


def _revert_data(data: Any) -> bytes:
    """Revert data as nodes pass it: a hex string, or (Hardhat) an object that holds one."""
    while isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data[data.index("0x") + 2 :])
    except ValueError:
        return b""
