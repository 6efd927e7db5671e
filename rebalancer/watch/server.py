"""HTTP server for metrics, health and status of a running keeper.

It runs in a thread of its own and serves GET only: `/metrics` (Prometheus), `/healthz` (whether a restart can help),
`/readyz` (whether the keeper can do all of its work), `/status` (everything, as JSON). A problem is answered with 503
and one sentence a line. The server serves no secrets, and has no password: it listens on the loopback address unless
the settings say otherwise.

The server bounds what clients can use: at most `MOST_CONNECTIONS` connections at once, of which a new one replaces the
oldest, and at most `PATIENCE_SECONDS` a connection. It answers requests for its own host names only; otherwise a web
page whose name resolves to this machine (DNS rebinding) could read everything that is served.
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
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from rebalancer.closing import Closing
from rebalancer.errors import ListenFailed
from rebalancer.watch.metrics import Metrics

__all__ = ["MOST_CONNECTIONS", "PATIENCE_SECONDS", "Server", "Shown", "is_loopback"]

MOST_CONNECTIONS = 32
"""Most connections at once; each takes a file descriptor and a thread. Prometheus, a probe and some people need
fewer."""

PATIENCE_SECONDS = 10.0
"""Longest time a connection may last, from its first byte to the last byte of the answer."""

_SLOT_SECONDS = 1.0
"""Time that a new connection waits for the oldest one to close."""

_NO_FILE_SECONDS = 0.1
"""Pause before the next accept when there are no file descriptors left; the connection stays in the queue."""

_TEXT = "text/plain; charset=utf-8"
_INDEX = "/metrics\n/healthz\n/readyz\n/status\n"


class Shown(Protocol):
    """The state of a process that the server shows."""

    def unhealthy(self) -> tuple[str, ...]:
        """Problems that a restart can fix, one sentence each."""

    def unready(self) -> tuple[str, ...]:
        """Problems that keep the process from its work, one sentence each."""

    def status(self) -> dict[str, Any]:
        """The whole state, as a JSON document."""


class Server(Closing):
    """HTTP server of a status store and metrics. A context manager; it listens from its construction on."""

    def __init__(
        self, at: tuple[str, int], status_store: Shown, metrics: Metrics | None, names: Collection[str] = ()
    ) -> None:
        """`at` is host and port; port 0 takes any free port. `names` are further host names to answer to. Without
        `metrics`, `/metrics` is empty.

        Raises:
            ListenFailed: the port is taken, or the host is not an address of this machine.
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

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def is_loopback(host: str) -> bool:
    """Whether a host, as a name or an address, is always this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client does not delay the end of the keeper
    request_queue_size = 4 * MOST_CONNECTIONS  # connections that wait for accept; a client retries beyond that

    def __init__(self, at: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in at[0]:
            self.address_family = socket.AF_INET6
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: dict[socket.socket, float] = {}  # by start time, the oldest first
        self._lock = threading.Lock()
        super().__init__(at, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; pause where there are no file descriptors left."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_NO_FILE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own. At the limit, close the oldest connection first."""
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
        """Serve a connection and release its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._ended(request)

    def service_actions(self) -> None:
        """Close connections that take too long. Called many times a second."""
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
        """Nothing: a client that disconnects is no error."""


def _hang_up(request: socket.socket | None) -> None:
    """Shut a connection down; its thread then closes it."""
    if request is not None:
        with suppress(OSError):  # the client has closed it
            request.shutdown(socket.SHUT_RDWR)


def _named(host: str) -> str:
    """The host name in a Host header or setting, without port, brackets and final dot."""
    name, _, port = host.rpartition(":")
    if not (name and port.isdecimal()) or (":" in name and not name.endswith("]")):
        name = host  # no port
    return name.strip("[]").rstrip(".").lower()


def _handler(status_store: Shown, metrics: Metrics | None, names: Collection[str]) -> type[BaseHTTPRequestHandler]:
    known = {_named(name) for name in names}
    registry = metrics.registry if metrics else CollectorRegistry()

    class Handler(BaseHTTPRequestHandler):
        server_version = "rebalancer"
        sys_version = ""

        def do_GET(self) -> None:
            if not self._is_meant():
                body = b"This keeper does not serve this host name: see keeper.allowed_hosts.\n"
                self._answer(HTTPStatus.MISDIRECTED_REQUEST, _TEXT, body)
                return
            match self.path.partition("?")[0]:
                case "/metrics":
                    encode, kind = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(HTTPStatus.OK, kind, encode(registry))
                case "/healthz":
                    self._answer_problems(status_store.unhealthy())
                case "/readyz":
                    self._answer_problems(status_store.unready())
                case "/status":
                    body = json.dumps(status_store.status(), ensure_ascii=False).encode()
                    self._answer(HTTPStatus.OK, "application/json", body)
                case "/":
                    self._answer(HTTPStatus.OK, _TEXT, _INDEX.encode())
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"There is no such page.\n")

        do_HEAD = do_GET  # noqa: N815 (http.server names it)

        def _is_meant(self) -> bool:
            """Whether the Host header is one of our names, a loopback name, or the address of this connection."""
            hosts = self.headers.get_all("Host", [])
            if len(hosts) != 1:
                return False
            name = _named(hosts[0].strip())
            return name in known or is_loopback(name) or name == self._address()

        def _address(self) -> str:
            """The local address of this connection; an IPv4 address also where the socket is IPv6."""
            address: str = self.connection.getsockname()[0]
            return address.partition("%")[0].removeprefix("::ffff:")

        def _answer_problems(self, problems: tuple[str, ...]) -> None:
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
            """Nothing: a scrape every few seconds needs no log line."""

    return Handler
