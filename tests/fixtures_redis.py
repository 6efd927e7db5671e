"""A Redis of a test's own: Debian's server on a free port, killed and started again as the test likes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.clocks import wait_for


class RedisServer:
    """One redis-server. Its data is kept between starts in `folder`, unless `durable` is false."""

    def __init__(self, binary: str, folder: Path, *, durable: bool = True) -> None:
        self._binary = binary
        self.folder = folder
        self.durable = durable
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
            "logfile": str(self.folder / "redis.log"),
            "daemonize": "no",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        self.process = subprocess.Popen([self._binary, *arguments])
        with closing(redis.Redis(port=self.port)) as client:
            wait_for("an answer of redis-server", lambda: self._answers(client))

    def _answers(self, client: redis.Redis) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "redis-server ended"
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Have it answer nobody, as SIGSTOP does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """Debian's redis-server."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not here: install it (on Debian: apt-get install redis-server).")
    return found


@pytest.fixture
def redis_server(redis_binary: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps its data when it is killed."""
    server = RedisServer(redis_binary, tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
