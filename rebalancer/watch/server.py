"""Who asks a running keeper how it is, and what is answered?

One HTTP server in a thread of its own, for GET alone: `/metrics` (Prometheus), `/healthz` (does the process do its work at all; a
restart may mend it), `/readyz` (can it do all of its work), `/status` (everything, as JSON). What is wrong is answered with
503 and a sentence a line. It tells nothing that is secret, and all else to whoever reaches it: it listens on this machine
alone unless the settings say otherwise.
"""

from __future__ import annotations

import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client.exposition import choose_encoder

from rebalancer.errors import ListenFailed
from rebalancer.watch.board import Board
from rebalancer.watch.metrics import Metrics

__all__ = ["Server"]

_PATIENCE_SECONDS = 10.0
"""How long a client may take to ask."""

_TEXT = "text/plain; charset=utf-8"
_INDEX = "/metrics\n/healthz\n/readyz\n/status\n"


class Server:
    """Serves what a board and metrics know. A context manager; it listens from its making on."""

    def __init__(self, at: tuple[str, int], board: Board, metrics: Metrics) -> None:
        """`at` is host and port; port 0 takes any that is free.

        Raises:
            ListenFailed: the port is taken, or the host is not this machine's.
        """
        host, port = at
        try:
            self._server = _Http(at, _handler(board, metrics))
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


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that is slow does not keep the keeper from ending

    def __init__(self, at: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in at[0]:
            self.address_family = socket.AF_INET6
        super().__init__(at, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is its own affair."""


def _handler(board: Board, metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_SECONDS
        server_version = "rebalancer"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    encode, kind = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(HTTPStatus.OK, kind, encode(metrics.registry))
                case "/healthz":
                    self._say(board.unhealthy())
                case "/readyz":
                    self._say(board.unready())
                case "/status":
                    body = json.dumps(board.status(), ensure_ascii=False).encode()
                    self._answer(HTTPStatus.OK, "application/json", body)
                case "/":
                    self._answer(HTTPStatus.OK, _TEXT, _INDEX.encode())
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"There is no such page.\n")

        do_HEAD = do_GET  # noqa: N815 (http.server names it)

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
