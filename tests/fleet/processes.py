"""Machines of a fleet as processes, started, stopped, continued and killed as a test likes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis
from urllib3 import PoolManager

from rebalancer.devnet.environment import DevEnvironment
from tests.clocks import LONGEST_SECONDS, wait_for

__all__ = ["Fleet", "Gate", "Machine"]


@dataclass
class Machine:
    """One process, and all it says."""

    name: str
    text: Path
    reported: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """Its log so far."""
        return self.text.read_text()

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """What it decided so far; a line that is being written is left out."""
        lines = self.reported.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def says(self, event: str, seconds: float = LONGEST_SECONDS) -> None:
        """Wait until its log has an event."""
        pattern = re.compile(rf"\bevent={event}\b")
        wait_for(f"{event} of {self.name}:\n{self.log}", lambda: pattern.search(self.log), seconds)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = LONGEST_SECONDS) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)


@dataclass
class Fleet:
    """Where machines run, and against what."""

    environment: DevEnvironment
    vaults: tuple[str, ...]
    redis_url: str
    folder: Path
    lease_seconds: float = 60.0
    worker_timeout_seconds: float = 60.0
    extra: str = ""
    listen: str = "off"
    machines: list[Machine] = field(default_factory=list)

    def start(self, kind: str, name: str, *arguments: str, url: str = "") -> Machine:
        """A worker, or a leader with a journal of its own, which asks the node by `url` if given; `keeper` is one alone."""
        settings = self.folder / f"{name}.toml"
        deployment = self.folder / "deployment.json"
        self.environment.deployment.save(deployment)
        settings.write_text(
            f"""
            rpc_url = "{url or self.environment.chain.rpc.endpoint}"
            deployment = "{deployment}"
            vaults = {json.dumps(list(self.vaults))}
            log_format = "logfmt"
            log_level = "debug"
            [keeper]
            poll_seconds = 0.05
            max_fee_gwei = 10000
            max_spend_ether_per_day = 1000
            outbox_file = "{self.folder / name}.sqlite"
            listen = "{self.listen}"
            {self.extra}
            [fleet]
            {f'redis_url = "{self.redis_url}"' if self.redis_url else ""}
            name = "test"
            worker_name = "{name}"
            lease_seconds = {self.lease_seconds}
            heartbeat_seconds = 0.2
            worker_timeout_seconds = {self.worker_timeout_seconds}
            """
        )
        command = ["fleet", kind] if kind != "keeper" else ["keeper", "run"]
        if kind != "worker":
            arguments = ("--json", *arguments)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("REBALANCER_")}
        text = self.folder / f"{name}-{len(self.machines)}.log"
        reported = text.with_suffix(".out")
        with text.open("wb") as log, reported.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "rebalancer", "--config", settings, *command, *arguments],
                stdout=out,
                stderr=log,
                cwd=self.folder,
                env=clean,
            )
        machine = Machine(name, text, reported, process)
        self.machines.append(machine)
        return machine

    def workers(self, names: Iterable[str]) -> list[Machine]:
        """Workers that are at work."""
        found = [self.start("worker", name) for name in names]
        for worker in found:
            worker.says("working")
        return found

    def end_leases(self) -> None:
        """Have the leases that are held be over, as they are some time after their holders' death."""
        with redis.Redis.from_url(self.redis_url) as state:
            held = list(state.scan_iter(match="test:lease:*"))
            assert held
            state.delete(*held)

    def close(self) -> None:
        """End all that are left, stopped ones too."""
        for machine in self.machines:
            if machine.process.poll() is None:
                machine.kill()


class Gate:
    """An RPC endpoint in front of a node, which holds requests of some methods before or after they are passed on."""

    def __init__(self, url: str) -> None:
        self.node = url
        self.held = threading.Event()
        """Set while a request is being held."""
        self._method = ""
        self._after = False
        self._opened = threading.Event()
        self._opened.set()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                gate._hold(body, after=False)
                answer = gate._pool.request("POST", gate.node, body=body, headers={"Content-Type": "application/json"})
                gate._hold(body, after=True)
                with suppress(OSError):  # whoever asked may be dead by now
                    self.send_response(answer.status)
                    self.send_header("Content-Length", str(len(answer.data)))
                    self.end_headers()
                    self.wfile.write(answer.data)

            def log_message(self, *_: object) -> None:
                """Not said."""

        self._pool = PoolManager(maxsize=32)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where to ask."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close_for(self, method: str, *, after: bool = False) -> None:
        """Hold the next request of a method, before or after the node has it, and all like it."""
        self.held.clear()
        self._opened.clear()
        self._method, self._after = method, after

    def open(self) -> None:
        """Let everything through."""
        self._method = ""
        self._opened.set()

    def stop(self) -> None:
        """End it."""
        self.open()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._pool.clear()

    def _hold(self, body: bytes, *, after: bool) -> None:
        if self._method and after is self._after and self._method.encode() in body:
            self.held.set()
            self._opened.wait(600)
