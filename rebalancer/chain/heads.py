"""New blocks of a chain, each linked to the previous one, with reorgs.

Heads come through a WebSocket subscription if a URL is configured, and by polling otherwise or while the socket is
down. Each head is linked to the previous head by parent hashes: the missed blocks between them are read, and reorged
blocks are returned. If several heads wait, only the newest is returned; the others are among its missed blocks.

A known head is ignored: a node that lags or goes back only repeats old blocks. A head at a known height with another
hash is a reorg, even if its chain is shorter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from rebalancer.chain.rpc import Rpc
from rebalancer.closing import Closing
from rebalancer.errors import ChainError, RpcMalformed
from rebalancer.redact import socket_name
from rebalancer.texts import MOST_DEPTH, nests_deeper

__all__ = ["Head", "Header", "Heads"]

log = structlog.get_logger("rebalancer.heads")

_MOST_UNUSED = 1_000
_OPEN_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
"""Pause before a lost socket is reopened: doubled after each failure, up to the maximum."""


@dataclass(frozen=True, slots=True)
class Header:
    """A block header. `timestamp` is unix seconds, `base_fee_wei` is per unit of gas (0 before EIP-1559)."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee_wei: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block. `missed` are the blocks between the previous head and this one, `reorged` those that left the
    chain; both in ascending order of number.

    `linked` is false if the head could not be traced back to a previous one: all state derived from logs must then be
    read again.
    """

    header: Header
    missed: tuple[Header, ...] = ()
    reorged: tuple[Header, ...] = ()
    linked: bool = True

    @classmethod
    def at(cls, number: int, block_hash: str, timestamp: int) -> Head:
        """A block without known parent; it is not linked."""
        return cls(Header(number, block_hash, "", timestamp, 0), linked=False)

    def after(self, earlier: Head) -> Head:
        """This head combined with an earlier head that was not processed, or not completely.

        Blocks of the earlier head that this head reorgs are in `reorged` too, because the failed tick may have used
        them. After more than `_MOST_UNUSED` blocks the result is not linked: endpoints do not search that many blocks
        for logs.
        """
        gone = {each.hash for each in self.reorged}
        kept = [each for each in (*earlier.missed, earlier.header) if each.hash not in gone]
        reorged = sorted((*earlier.reorged, *self.reorged), key=lambda one: one.number)
        if len(kept) + len(self.missed) + len(reorged) > _MOST_UNUSED:
            return Head(self.header, linked=False)
        return Head(self.header, (*kept, *self.missed), tuple(reorged), self.linked and earlier.linked)


class Heads(Closing):
    """The heads of one chain, in order. Not thread-safe."""

    def __init__(self, rpc: Rpc, socket_url: str | None = None, *, poll_seconds: float = 2.0, keep: int = 128) -> None:
        """`keep`: number of blocks to remember. A longer gap or reorg is not traced."""
        self.rpc = rpc
        self.poll_seconds = poll_seconds
        self.keep = keep
        self._url = socket_url
        self._socket: ClientConnection | None = None
        self._retry_at = 0.0
        self._failures = 0
        self._chain: dict[int, Header] = {}
        self._top = -1

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def subscribed(self) -> bool:
        """Whether heads come through a socket now."""
        return self._socket is not None

    def next(self, timeout_s: float) -> Head | None:
        """The next new head; None if there is none within the timeout.

        Raises:
            ChainError: the chain could not be read. The known blocks are kept.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            header = self._announced(deadline) if self._connected() else None
            if header is None:
                # Poll once in a while too: a subscription can fall silent.
                header = self._read("eth_getBlockByNumber", "latest")
            if header is not None and (head := self._follow(header)) is not None:
                return head
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if self._socket is None:
                time.sleep(min(left, self.poll_seconds))

    # The socket

    def _connected(self) -> bool:
        if self._url is None or (self._socket is None and time.monotonic() < self._retry_at):
            return False
        if self._socket is not None:
            return True
        try:
            socket = connect(self._url, open_timeout=_OPEN_SECONDS, max_size=1 << 20)
            request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
            socket.send(json.dumps(request))
            answer = _parsed(socket.recv(timeout=_OPEN_SECONDS))
            if not isinstance(answer, dict) or "result" not in answer:
                socket.close()
                raise ValueError("subscription refused")
        except (OSError, WebSocketException, ValueError) as failure:
            self._lost(failure)
            return False
        self._socket, self._failures = socket, 0
        log.info("subscribed", socket=socket_name(self._url))
        return True

    def _lost(self, failure: Exception) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        pause = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(self._failures, 20))
        self._failures += 1
        self._retry_at = time.monotonic() + pause
        # Not the text of the failure: it may hold the URL's path.
        log.warning(
            "socket_lost",
            socket=socket_name(self._url or ""),
            why=type(failure).__name__,
            failures=self._failures,
            retry_seconds=pause,
        )

    def _announced(self, deadline: float) -> Header | None:
        """The newest head from the socket. Waits until the deadline, but at most one polling interval."""
        socket, newest = self._socket, None
        wait = max(0.0, min(deadline - time.monotonic(), self.poll_seconds))
        while socket is not None:
            try:
                notice = _parsed(socket.recv(timeout=wait))
                newest = _header(notice["params"]["result"], self.rpc.endpoint)
            except TimeoutError:
                return newest
            except (OSError, WebSocketException) as failure:
                self._lost(failure)
                return newest
            except (KeyError, TypeError, ValueError, ChainError):
                pass  # not a notification of a head
            wait = 0.0
        return newest

    # The chain

    def _read(self, method: str, block: str) -> Header | None:
        found = self.rpc.call(method, block, False)
        return None if found is None else _header(found, self.rpc.endpoint)

    def _follow(self, header: Header) -> Head | None:
        """Link a header to the known blocks; None if the header is not new."""
        known = self._chain.get(header.number)
        if known is not None and known.hash == header.hash:
            return None
        if not self._chain:
            return self._began(header, linked=True)
        if header.number < min(self._chain):
            return None
        if header.number - self._top > self.keep:
            return self._began(header, linked=False)
        branch = [header]
        between = self._between(header)
        by_hash = {each.hash: each for each in self._chain.values()}
        while True:
            first = branch[-1]
            parent = by_hash.get(first.parent_hash)
            if parent is not None and parent.number < first.number:
                break
            if first.number - 1 < min(self._chain) or len(branch) > self.keep:
                return self._began(header, linked=False)
            found = between.get(first.parent_hash)
            if found is None:
                found = self._read("eth_getBlockByHash", first.parent_hash)
            if found is None or found.hash != first.parent_hash or found.number >= first.number:
                return None  # the branch changes during the read; the next head will resolve it
            branch.append(found)
        ancestor = parent.number
        gone = [n for n in sorted(self._chain) if ancestor < n <= self._top]
        reorged = tuple(self._chain.pop(n) for n in gone)
        for each in branch:
            self._chain[each.number] = each
        self._top = header.number
        for number in [n for n in self._chain if n <= self._top - self.keep]:
            del self._chain[number]
        if reorged:
            log.warning("reorg", depth=len(reorged), block=header.number, hash=header.hash)
        return Head(header, tuple(reversed(branch[1:])), reorged)

    def _between(self, header: Header) -> dict[str, Header]:
        """Blocks between the newest known block and a later one, by hash, read in one batch. Blocks that the endpoint
        lacks are left out.

        Read one by one, they would take longer than a fast chain needs to produce new ones.
        """
        numbers = range(self._top + 1, header.number)
        if len(numbers) <= 1:
            return {}
        answers = self.rpc.batch_settled([("eth_getBlockByNumber", (hex(number), False)) for number in numbers])
        found = [_header(each, self.rpc.endpoint) for each in answers if isinstance(each, dict)]
        return {each.hash: each for each in found}

    def _began(self, header: Header, *, linked: bool) -> Head:
        reorged = tuple(self._chain[n] for n in sorted(self._chain)) if not linked else ()
        self._chain = {header.number: header}
        self._top = header.number
        if not linked:
            log.warning("chain_not_linked", block=header.number, hash=header.hash)
        return Head(header, reorged=reorged, linked=linked)

    def __iter__(self) -> Iterator[Head]:
        """Heads, without end."""
        while True:
            if (head := self.next(self.poll_seconds)) is not None:
                yield head


def _parsed(message: str | bytes) -> Any:
    """The JSON value of a node's message.

    Raises:
        ValueError: the message is not JSON, or is nested too deeply.
    """
    text = message if isinstance(message, str) else message.decode()
    if nests_deeper(text.encode(), MOST_DEPTH):
        raise ValueError("it is nested too deeply")
    return json.loads(text)


def _header(found: Mapping[str, Any], endpoint: str) -> Header:
    try:
        return Header(
            int(found["number"], 16),
            found["hash"],
            found["parentHash"],
            int(found["timestamp"], 16),
            int(found.get("baseFeePerGas") or "0x0", 16),
        )
    except (KeyError, TypeError, ValueError):
        raise RpcMalformed(endpoint, "a block without number, hash, parent or time") from None
