"""Local node: start and reliable end of a chain on this machine.

A node is a child process, Anvil or Hardhat. It listens on 127.0.0.1 only and holds the keys of the public test
accounts. Its default chain ID is 31337, so nothing that is signed here is valid on a real chain. It ends with its
context, and also when its parent is killed: a watchdog process waits until the parent's pipe closes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from rebalancer.chain.rpc import Rpc
from rebalancer.environment import child_environment
from rebalancer.errors import (
    ChainError,
    NodeBinaryMissing,
    NodeDied,
    NodeNotReady,
    NodePortBusy,
    WrongChain,
)
from rebalancer.redact import Redactor
from rebalancer.wellknown import DEVNET_CHAIN_ID, TEST_MNEMONIC

__all__ = ["Node", "NodeKind", "NodeSettings", "find_program"]

_HOST = "127.0.0.1"
_HARDFORK = "cancun"
_ACCOUNTS = 20
_ACCOUNT_ETHER = 10_000
_BLOCK_GAS_LIMIT = 1_000_000_000  # allows building a pool of hundreds of ticks in a few transactions
_FORK = "origin"
_STATES_KEPT = 256  # blocks readable by hash; each needs a copy of the whole state
_LOG_TAIL_LINES = 12
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02


class NodeKind(StrEnum):
    """The program that runs the chain."""

    ANVIL = "anvil"
    HARDHAT = "hardhat"


@dataclass(frozen=True)
class NodeSettings:
    """Settings of a node. `port` 0 selects a free port; times are unix seconds.

    Anvil 1.7 recomputes the state root over the whole state in every block. `skip_state_roots` prevents this and makes
    a chain of thousands of blocks with a full market five times as fast; its block headers then contain no valid state
    root. Hardhat does not need it.
    """

    kind: NodeKind = NodeKind.ANVIL
    port: int = 0
    chain_id: int = DEVNET_CHAIN_ID
    genesis_at: int | None = None
    fork_url: str | None = field(default=None, repr=False)
    fork_block: int | None = None
    skip_state_roots: bool = False
    log_path: Path | None = None
    ready_timeout_s: float = 60.0


class Node:
    """A running chain. Create it with `Node.start`, preferably in a `with` statement."""

    def __init__(
        self,
        settings: NodeSettings,
        port: int,
        process: subprocess.Popen[bytes],
        watchdog: subprocess.Popen[bytes],
        folder: Path,
        log_path: Path,
        ground: Node | None,
    ) -> None:
        self.settings = settings
        self.kind = settings.kind
        self.port = port
        self.url = f"http://{_HOST}:{port}"
        self.log_path = log_path
        self._process = process
        self._watchdog = watchdog
        self._folder = folder
        self._ground = ground

    @classmethod
    def start(cls, settings: NodeSettings | None = None) -> Self:
        """Start a node and wait until it answers with the expected chain ID.

        Raises:
            NodeBinaryMissing: the program is not installed.
            NodePortBusy: another program listens on the given port.
            NodeDied, NodeNotReady: the node exited, or does not answer in time.
            WrongChain: another node took the port in the meantime.
        """
        settings = settings or NodeSettings()
        is_plain_anvil = settings.kind is NodeKind.ANVIL and settings.fork_url is None
        if not (is_plain_anvil and settings.skip_state_roots):
            return cls._start(settings, None)
        # Anvil computes no state roots on a fork, so it forks an empty Anvil (`ground`).
        ground = cls._start(replace(settings, port=0, log_path=None), None)
        try:
            return cls._start(replace(settings, fork_url=ground.url, fork_block=0), ground)
        except BaseException:
            ground.stop()
            raise

    @classmethod
    def _start(cls, settings: NodeSettings, ground: Node | None) -> Self:
        program = find_program(settings.kind)
        port = _claim_port(settings.port)
        folder = Path(tempfile.mkdtemp(prefix="rebalancer-node-"))
        log_path = settings.log_path or folder / "node.log"
        arguments = {NodeKind.ANVIL: _anvil, NodeKind.HARDHAT: _hardhat}[settings.kind]
        with log_path.open("wb") as log:
            # Its own session: Ctrl-C reaches only this program, which ends the node after the current tick.
            process = subprocess.Popen(
                [str(program), *arguments(settings, port, folder)],
                cwd=_working_folder(settings.kind, program, folder),
                env=child_environment() | {"HARDHAT_DISABLE_TELEMETRY_PROMPT": "true", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = cls(settings, port, process, _watch(process.pid, folder), folder, log_path, ground)
        try:
            node._await_ready()
        except BaseException:
            node.stop()
            raise
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def rpc(self, timeout_s: float = 30.0) -> Rpc:
        """A new client of this node. It refuses any other chain."""
        return Rpc(self.url, timeout_s, expected_chain_id=self.settings.chain_id)

    def log_tail(self) -> str:
        """The last lines of the node's log, without the secrets of the forked endpoint's URL."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        tail = "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])
        url = self.settings.fork_url
        return tail if url is None else Redactor.of_url(url)(tail)

    def stop(self) -> None:
        """End the node and remove its files, except a log at `log_path`. May be called twice."""
        _signal_group(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._dismiss_watchdog()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._ground is not None:
            self._ground.stop()

    def kill(self) -> None:
        """End the node at once, like a crash: without flushing data or closing connections."""
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._dismiss_watchdog()

    def _dismiss_watchdog(self) -> None:
        # Killed before its pipe closes, so that it never kills another process with a reused ID.
        self._watchdog.kill()
        self._watchdog.wait()
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        with self.rpc(timeout_s=2.0) as rpc:
            while True:
                if not self.is_alive():
                    raise NodeDied(self.kind, self._process.returncode, self.log_tail())
                try:
                    rpc.chain_id()
                    if self.kind is NodeKind.HARDHAT:
                        rpc.call("hardhat_setLoggingEnabled", False)
                    if self.kind is NodeKind.HARDHAT and self.settings.fork_url is not None:
                        # On a fork of a private chain, Hardhat runs calls only on blocks that it mined itself.
                        rpc.call("hardhat_mine", "0x1")
                except WrongChain:
                    raise
                except ChainError:
                    if time.monotonic() > deadline:
                        raise NodeNotReady(self.kind, self.settings.ready_timeout_s, self.log_tail()) from None
                    time.sleep(_POLL_SECONDS)
                else:
                    return


def find_program(name: str) -> Path:
    """Path of a node's program: the one that `make setup` installed in this package's checkout, or the one on PATH.

    It never uses the working directory, even if PATH contains it, because another user may own that folder. Foundry's
    own programs in .build/bin come before npm's wrappers, which always exit with 0.

    Raises:
        NodeBinaryMissing: the program was not found.
    """
    checkout = Path(__file__).resolve().parent.parent.parent
    for folder in (Path(".build", "bin"), Path("node_modules", ".bin")):
        program = checkout / folder / name
        if os.access(program, os.X_OK):
            return program
    folders = filter(os.path.isabs, os.environ.get("PATH", os.defpath).split(os.pathsep))
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise NodeBinaryMissing(name)
    return Path(found)


def _claim_port(port: int) -> int:
    """The port, or a free one for 0. Raises NodePortBusy if a program listens there."""
    with socket.socket() as probe:
        # As servers do: a port with a connection in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise NodePortBusy(port) from None
        claimed: int = probe.getsockname()[1]
        return claimed


def _anvil(settings: NodeSettings, port: int, folder: Path) -> list[str]:
    arguments = [
        *("--host", _HOST, "--port", str(port), "--chain-id", str(settings.chain_id)),
        *("--hardfork", _HARDFORK, "--gas-limit", str(_BLOCK_GAS_LIMIT)),
        *("--accounts", str(_ACCOUNTS), "--balance", str(_ACCOUNT_ETHER)),
        *("--mnemonic", TEST_MNEMONIC, "--prune-history", str(_STATES_KEPT)),
        *("--cache-path", str(folder)),
        *("--order", "fifo", "--no-request-size-limit", "--quiet"),
    ]
    if settings.genesis_at is not None:
        arguments += ["--timestamp", str(settings.genesis_at)]
    if settings.fork_url is not None:
        # By an alias that foundry.toml resolves: other users can see command lines, and the URL may contain a key.
        (folder / "foundry.toml").write_text(f"[rpc_endpoints]\n{_FORK} = {json.dumps(settings.fork_url)}\n")
        arguments += ["--fork-url", _FORK]
    if settings.fork_block is not None:
        arguments += ["--fork-block-number", str(settings.fork_block)]
    if settings.fork_url is not None and settings.skip_state_roots:
        # The ground is empty: cached state of another chain at block 0 must not be used.
        arguments += ["--no-storage-caching", "--no-rate-limit"]
    return arguments


def _hardhat(settings: NodeSettings, port: int, folder: Path) -> list[str]:
    network: dict[str, object] = {
        "chainId": settings.chain_id,
        "hardfork": _HARDFORK,
        "blockGasLimit": _BLOCK_GAS_LIMIT,
        "accounts": {
            "mnemonic": TEST_MNEMONIC,
            "count": _ACCOUNTS,
            "accountsBalance": str(_ACCOUNT_ETHER * 10**18),
        },
    }
    if settings.genesis_at is not None:
        moment = time.gmtime(settings.genesis_at)
        network["initialDate"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
    if settings.fork_url is not None:
        forking: dict[str, object] = {"url": settings.fork_url}
        if settings.fork_block is not None:
            forking["blockNumber"] = settings.fork_block
        network["forking"] = forking
    config = folder / "hardhat.config.cjs"
    content = {"paths": {"root": str(folder)}, "networks": {"hardhat": network}}
    config.write_text(f"module.exports = {json.dumps(content)};\n")
    return ["--config", str(config), "node", "--hostname", _HOST, "--port", str(port)]


def _working_folder(kind: NodeKind, program: Path, folder: Path) -> Path:
    """The node's folder with its configuration; Hardhat runs only in a folder whose node_modules contains it."""
    if kind is NodeKind.HARDHAT and program.parent.name == ".bin" and program.parent.parent.name == "node_modules":
        return program.parent.parent.parent
    return folder


def _watch(group: int, folder: Path) -> subprocess.Popen[bytes]:
    """A shell that kills the node and removes its files when its input pipe closes, which is when this program ends."""
    clean_up = 'read _; kill -s KILL -- "-$1"; rm -rf -- "$2"'
    return subprocess.Popen(
        ["/bin/sh", "-c", clean_up, "watchdog", str(group), str(folder)],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
