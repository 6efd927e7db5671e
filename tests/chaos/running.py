"""A keeper as operators run it: the command in a process of its own, with a settings file, an outbox and a log.

It is started, killed, frozen and started again; whatever it said, of all its lives, stays readable here.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rebalancer.errors import OutboxUnreadable
from rebalancer.send.attempt import Attempt, AttemptState
from rebalancer.send.journal import read_attempts
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["Keeper", "Temper"]

_STOP_SECONDS = 120.0
_CONTEXT = Path(__file__).parent / "clock"


@dataclass(frozen=True)
class Temper:
    """The settings of a keeper that scenarios change. Times are in seconds."""

    poll_seconds: float = 0.05
    rpc_timeout_seconds: float = 1.0
    tick_timeout_seconds: float = 5.0
    max_consecutive_failures: int = 1_000
    bump_after_blocks: int = 3
    confirmations: int = 12
    max_fee_gwei: int = 200
    top: Mapping[str, object] = field(default_factory=dict)
    """More settings above the tables, as TOML has them."""
    senders: tuple[int, ...] = ()
    """Further accounts that it sends from."""
    tables: str = ""
    """More tables, as TOML has them."""

    def toml(self, urls: Sequence[str], deployment: Path, outbox: Path, account: int) -> str:
        """The settings file of a keeper that asks these endpoints."""
        more = ", ".join(f'"{url}"' for url in urls[1:])
        lines = [
            f'rpc_url = "{urls[0]}"',
            f"more_rpc_urls = [{more}]",
            f"chain_id = {DEVNET_CHAIN_ID}",
            f"rpc_timeout_seconds = {self.rpc_timeout_seconds}",
            f'deployment = "{deployment}"',
            'log_format = "logfmt"',
            *(f"{name} = {value}" for name, value in self.top.items()),
            "[keeper]",
            f"devnet_account = {account}",
            f"max_fee_gwei = {self.max_fee_gwei}",
            f"poll_seconds = {self.poll_seconds}",
            f"tick_timeout_seconds = {self.tick_timeout_seconds}",
            f"max_consecutive_failures = {self.max_consecutive_failures}",
            f"bump_after_blocks = {self.bump_after_blocks}",
            f"confirmations = {self.confirmations}",
            f'outbox_file = "{outbox}"',
            'listen = "off"',
            *(f"[[keeper.extra_accounts]]\ndevnet_account = {sender}" for sender in self.senders),
            self.tables,
        ]
        return "\n".join(lines) + "\n"


class Keeper:
    """One keeper and all its lives. Its account is the local chain's of that number."""

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str],
        deployment: Path,
        account: int,
        temper: Temper,
        outbox: Path | None = None,
        command: Sequence[str] = ("-m", "rebalancer"),
        act: Sequence[str] = ("keeper", "run", "--json"),
    ) -> None:
        """`command` is what Python runs, `act` what that is to do."""
        folder.mkdir()
        self.folder = folder
        self.accounts = (account, *temper.senders)
        """Whom it sends from."""
        self.outbox = outbox or folder / "outbox.sqlite"
        self.exits: list[int] = []
        """Codes of the lives that ended by themselves, or were stopped."""
        self.kills = 0
        self.clock_seconds = ""
        """By how much its clock is wrong: seconds, or "drunk" for another error at every look."""
        self._command = tuple(command)
        self._act = tuple(act)
        self._settings = folder / "rebalancer.toml"
        self._settings.write_text(temper.toml(urls, deployment, self.outbox, account))
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    # Life

    def start(self) -> None:
        """Begin a life."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REBALANCER_")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if self.clock_seconds:
            environment |= {"PYTHONPATH": str(_CONTEXT), "CHAOS_CLOCK": self.clock_seconds}
        self._process = subprocess.Popen(
            [sys.executable, *self._command, "--config", str(self._settings), *self._act],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line.rstrip("\n"))  # appending is atomic

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """The code with which this life ended by itself, told once; None while it runs or is over and told."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        self._end()
        self.exits.append(process.returncode)
        return process.returncode

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._end()

    def freeze(self) -> None:
        """Take the processor from it, as a pause of its machine does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Give it back."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end and wait; the code it ends with."""
        process = self._process
        if process is None:
            return self.exits[-1] if self.exits else 0
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._end()
        self.exits.append(process.returncode)
        return process.returncode

    def command(self, *arguments: str) -> None:
        """Have the operator run another command with the same settings while the keeper is down."""
        done = subprocess.run(
            [sys.executable, *self._command, "--config", str(self._settings), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self._lines += [*done.stdout.splitlines(), *done.stderr.splitlines()]
        assert done.returncode == 0, done.stderr

    def limit_files(self, most_bytes: int | None) -> None:
        """Let no file of it grow beyond so many bytes, as on a full disk; None for no limit."""
        most = resource.RLIM_INFINITY if most_bytes is None else most_bytes
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def _end(self) -> None:
        for reader in self._readers:
            reader.join()
        self._readers.clear()
        self._process = None

    # What it said and wrote

    @property
    def message(self) -> list[str]:
        """All lines of its log and output, of all lives."""
        return list(self._lines)

    def has_said(self, pattern: str, since: int = 0) -> bool:
        """Whether a line from number `since` on has this in it."""
        sought = re.compile(pattern)
        return any(sought.search(line) for line in self.message[since:])

    @property
    def attempts(self) -> list[Attempt]:
        """What its outbox holds; nothing while there is none, or it is just being made."""
        try:
            return read_attempts(self.outbox, DEVNET_CHAIN_ID)
        except OutboxUnreadable:
            return []

    def has_attempt(self, *states: AttemptState) -> bool:
        """Whether any attempt is in one of these states."""
        return any(attempt.state in states for attempt in self.attempts)
