"""A connection between a program and a node that passes bytes on until it is told to stop, or to break.

For WebSockets: `hold` makes a subscription fall silent, `drop` ends every connection, as gateways do.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

__all__ = ["Relay"]

_CHUNK = 1 << 16
_LONGEST_SECONDS = 30.0


class Relay:
    """Listens on a port of its own, and connects each client to the node. A context manager."""

    def __init__(self, node_port: int) -> None:
        self.connections = 0
        """How many clients came, since the beginning."""
        self._node = ("127.0.0.1", node_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _end(self._listener)
        self.go_on()
        self.drop()

    def hold(self) -> None:
        """What the node says stays here."""
        self._flows.clear()

    def go_on(self) -> None:
        """What the node said meanwhile, and all that it says, is passed on."""
        self._flows.set()

    def drop(self) -> None:
        """End every connection; new ones may come."""
        ended, self._open = self._open, []
        for one in ended:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                node = socket.create_connection(self._node)
            except OSError:
                return
            self.connections += 1
            self._open += [client, node]
            for source, target, waits in ((client, node, False), (node, client, True)):
                thread = threading.Thread(target=self._pass_on, args=(source, target, waits), daemon=True)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, waits: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if waits:
                    self._flows.wait(_LONGEST_SECONDS)
                target.sendall(data)
        _end(source)
        _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
