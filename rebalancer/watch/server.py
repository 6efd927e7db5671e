"""Who asks a running keeper how it is, and what is answered?

One HTTP server in a thread of its own, for GET alone: `/metrics` (Prometheus), `/healthz` (does the process do its work at all; a
restart may mend it), `/readyz` (can it do all of its work), `/status` (everything, as JSON). What is wrong is answered with
503 and a sentence a line. It tells nothing that is secret, and all else to whoever reaches it: it listens on this machine
alone unless the settings say otherwise.

Strangers cannot use it up: it holds `MOST_CONNECTIONS` at once, the oldest makes room for the newest, and each ends after
`PATIENCE_SECONDS` whatever its client does. It answers to its own names alone: a web page whose name is made to lead to this
machine (DNS rebinding) would otherwise be let by the browser to read all that is served.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from rebalancer.errors import ListenFailed
from rebalancer.watch.metrics import Metrics

__all__ = ["MOST_CONNECTIONS", "PATIENCE_SECONDS", "Server", "Shown", "is_loopback"]

MOST_CONNECTIONS = 32
"""Connections at once, each a file and a thread. Prometheus, a probe and some people need fewer."""

PATIENCE_SECONDS = 10.0
"""How long a connection lasts at most, from its first byte to the last of the answer."""

_SLOT_SECONDS = 1.0
"""How long a new connection waits for the oldest to end, which it does as soon as its thread runs."""

_NO_FILE_SECONDS = 0.1
"""Before a connection is accepted again that no file was left for: it stays in the queue, and would be tried without a pause."""

_TEXT = "text/plain; charset=utf-8"
_INDEX = "/metrics\n/healthz\n/readyz\n/status\n"


class Shown(Protocol):
    """What is served of a process."""

    def unhealthy(self) -> tuple[str, ...]:
        """What a restart might mend, a sentence each."""

    def unready(self) -> tuple[str, ...]:
        """What keeps it from its work, a sentence each."""

    def status(self) -> dict[str, Any]:
        """All of it, as JSON has it."""


class Server:
    """Serves what a board and metrics know. A context manager; it listens from its making on."""

    def __init__(
        self,
        at: tuple[str, int],
        status_store: Shown,
        metrics: Metrics | None,
        names: Collection[str] = (),
    ) -> None:
        """`at` is host and port; port 0 takes any that is free. `names` are the hosts that it answers to beside its own. Without metrics
        there are none to scrape.

        Raises:
            ListenFailed: the port is taken, or the host is not this machine's.
        """
        host, port = at
        try:
            self._server = _Http(at, _handler(status_store, metrics, {host, *names}))
        except (OSError, OverflowError) as failure:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            why = getattr(failure, "strerror", None) or str(failure)
            raise ListenFailed(shown, why) from failure
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="watch-http"
        )
        self._thread.daemon = True
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def is_loopback(host: str) -> bool:
    """Whether a host, as a name or an address, can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that is slow does not keep the keeper from ending
    request_queue_size = (
        4 * MOST_CONNECTIONS
    )  # of connections that wait to be accepted; more are lost, and come again after a second

    def __init__(self, at: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in at[0]:
            self.address_family = socket.AF_INET6
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: dict[socket.socket, float] = {}  # since when, the oldest first
        self._lock = threading.Lock()
        super().__init__(at, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; where no file is left for it, after a pause."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_NO_FILE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, in place of the oldest where there are too many."""
        if not self._slots.acquire(blocking=False):
            with self._lock:
                _hang_up(next(iter(self._open), None))
            if not self._slots.acquire(timeout=_SLOT_SECONDS):
                self.shutdown_request(request)
                return
        with self._lock:
            self._open[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._ended(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and leave its place to another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._ended(request)

    def service_actions(self) -> None:
        """Hang up on whoever takes too long. Called many times a second."""
        with self._lock:
            for request, since in self._open.items():
                if time.monotonic() - since <= PATIENCE_SECONDS:
                    break
                _hang_up(request)

    def _ended(self, request: socket.socket) -> None:
        with self._lock:
            del self._open[request]
        self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is its own affair."""


def _hang_up(request: socket.socket | None) -> None:
    """End what a connection's thread waits for; the thread closes it."""
    if request is not None:
        with suppress(OSError):  # the client was faster
            request.shutdown(socket.SHUT_RDWR)


def _named(host: str) -> str:
    """The name in a Host header or in the settings, without port, brackets and the dot at the end."""
    name, _, port = host.rpartition(":")
    if not (name and port.isdecimal()) or (":" in name and not name.endswith("]")):
        name = host  # it has no port
    return name.strip("[]").rstrip(".").lower()


def _handler(status_store: Shown, metrics: Metrics | None, names: Collection[str]) -> type[BaseHTTPRequestHandler]:
    known = {_named(name) for name in names}
    registry = metrics.registry if metrics else CollectorRegistry()

    class Handler(BaseHTTPRequestHandler):
        server_version = "rebalancer"
        sys_version = ""

        def do_GET(self) -> None:
            if not self._is_meant():
                body = b"This keeper does not go by that name: see keeper.allowed_hosts.\n"
                self._answer(HTTPStatus.MISDIRECTED_REQUEST, _TEXT, body)
                return
            match self.path.partition("?")[0]:
                case "/metrics":
                    encode, kind = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(HTTPStatus.OK, kind, encode(registry))
                case "/healthz":
                    self._say(status_store.unhealthy())
                case "/readyz":
                    self._say(status_store.unready())
                case "/status":
                    body = json.dumps(status_store.status(), ensure_ascii=False).encode()
                    self._answer(HTTPStatus.OK, "application/json", body)
                case "/":
                    self._answer(HTTPStatus.OK, _TEXT, _INDEX.encode())
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"There is no such page.\n")

        do_HEAD = do_GET  # noqa: N815 (http.server names it)

        def _is_meant(self) -> bool:
            """Whether the one Host that was asked for is ours: a name we know, or the address the client came to."""
            hosts = self.headers.get_all("Host", [])
            if len(hosts) != 1:
                return False
            name = _named(hosts[0].strip())
            return name in known or is_loopback(name) or name == self._address()

        def _address(self) -> str:
            """Which of this machine's addresses the client came to; of IPv4 also where IPv6 listens."""
            address: str = self.connection.getsockname()[0]
            return address.partition("%")[0].removeprefix("::ffff:")

        def _say(self, problems: tuple[str, ...]) -> None:
            status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
            self._answer(status, _TEXT, ("\n".join(problems or ("ok",)) + "\n").encode())

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server names it)
            """Nothing: a scrape every few seconds is no news."""

    return Handler
