"""What goes wrong with a local node: nothing to run, a busy port, early and sudden death, strangers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet import node as node_module
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.errors import (
    NodeBinaryMissing,
    NodeDied,
    NodeNotReady,
    NodePortBusy,
    RpcUnreachable,
    WrongChain,
)
from tests.clocks import wait_for


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of a few lines in Anvil's place."""
    program = tmp_path / "anvil"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(node_module, "find_program", lambda name: program)


def test_start_without_the_program_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeBinaryMissing, match="make setup"):
        node_module.find_program("a-node-nobody-has")


@pytest.mark.parametrize("search", [None, "", ".", ".build/bin:node_modules/.bin"])
def test_find_program_takes_nothing_from_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str | None
) -> None:
    for folder in (".", ".build/bin", "node_modules/.bin"):
        program = tmp_path / folder / "a-node-nobody-has"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    if search is not None:
        monkeypatch.setenv("PATH", search)

    with pytest.raises(NodeBinaryMissing):
        node_module.find_program("a-node-nobody-has")


def test_find_program_takes_what_is_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "a-node-nobody-has"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node_module.find_program("a-node-nobody-has") == program


def test_start_on_a_busy_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(NodePortBusy, match=f"Port {port} is already in use") as caught:
            Node.start(NodeSettings(port=port))
    assert caught.value.port == port


def test_start_that_dies_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo 'no space left for chains' >&2; exit 7")
    with pytest.raises(NodeDied, match="no space left for chains") as caught:
        Node.start()
    assert (caught.value.binary, caught.value.exit_status) == ("anvil", 7)


def test_start_from_an_unreachable_fork_is_refused() -> None:
    settings = NodeSettings(fork_url="http://127.0.0.1:1/key", fork_block=1, ready_timeout_s=30)
    with pytest.raises((NodeDied, NodeNotReady)):
        Node.start(settings)


SECRET_URL = "http://reader:hunter22@127.0.0.1:1/v3/qzkvjxwpbtmc"


@pytest.mark.parametrize("script", ["cat foundry.toml >&2; exit 7", "cat foundry.toml; sleep 60"])
def test_address_that_is_forked_is_in_no_command_line_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    stand_in(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/arguments; {script}')
    settings = NodeSettings(fork_url=SECRET_URL, ready_timeout_s=1)
    with pytest.raises((NodeDied, NodeNotReady)) as caught:
        Node.start(settings)

    message = f"{caught.value} {settings} {(tmp_path / 'arguments').read_text()}"
    assert "--fork-url" in message
    assert "127.0.0.1:1" in message  # its configuration had the address
    assert not any(secret in message for secret in ("reader", "hunter22", "qzkvjxwpbtmc"))


def test_child_inherits_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    popen = subprocess.Popen

    def spy(*arguments: Any, **options: Any) -> Any:
        started.append(options["env"])
        return popen(*arguments, **options)

    monkeypatch.setenv("REBALANCER_KEEPER__KEYSTORE_PASSWORD", "hunter22")
    monkeypatch.setattr("rebalancer.devnet.node.subprocess.Popen", spy)
    stand_in(tmp_path, monkeypatch, "env >&2; exit 7")
    with pytest.raises(NodeDied) as caught:
        Node.start()

    assert len(started) == 2  # the node and its watchdog
    assert all("PATH" in one for one in started)
    assert not any(name.startswith("REBALANCER_") for one in started for name in one)
    assert "hunter22" not in str(caught.value)


def test_start_that_never_answers_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    stand_in(tmp_path, monkeypatch, f"echo $$ > {pid_file}; echo thinking; exec sleep 60")
    with pytest.raises(NodeNotReady, match=r"within 0\.3 s.*thinking"):
        Node.start(NodeSettings(ready_timeout_s=0.3))
    assert not Path("/proc", pid_file.read_text().strip()).exists()


def test_client_of_another_chain_is_refused() -> None:
    with (
        Node.start(NodeSettings(chain_id=777)) as node,
        Rpc(node.url, expected_chain_id=31337) as rpc,
        pytest.raises(WrongChain, match="serves chain 777, not chain 31337"),
    ):
        rpc.call("eth_blockNumber")


@pytest.mark.parametrize("kind", list(NodeKind))
def test_killed_node_is_unreachable_and_leaves_nothing(kind: NodeKind) -> None:
    with Node.start(NodeSettings(kind=kind)) as node:
        rpc = node.rpc(timeout_s=5)
        rpc.call("eth_blockNumber")
        node.kill()

        with pytest.raises(RpcUnreachable):
            rpc.call("eth_blockNumber")
        assert not node.is_alive()
    assert not listens(node.port)
    assert not node.log_path.exists()


def test_stop_ends_the_node_and_may_be_repeated() -> None:
    node = Node.start()
    assert node.is_alive()
    assert listens(node.port)
    node.stop()
    node.stop()

    assert not node.is_alive()
    assert not listens(node.port)


def test_exception_within_ends_the_node() -> None:
    ports = []

    def fail() -> None:
        with Node.start() as node:
            ports.append(node.port)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not listens(ports[0])


def test_log_asked_for_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "anvil.log"
    with Node.start(NodeSettings(log_path=log)):
        pass
    assert log.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("skip_state_roots", [False, True])
def test_starter_that_is_killed_takes_the_node_with_it(
    number: signal.Signals, skip_state_roots: bool, repo_root: Path
) -> None:
    program = (
        "import time; from rebalancer.devnet.node import Node, NodeSettings\n"
        f"node = Node.start(NodeSettings(skip_state_roots={skip_state_roots}))\n"
        "print(node.port, node.log_path.parent, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=repo_root) as starter:
        assert starter.stdout is not None
        port_text, folder = starter.stdout.readline().split()
        port = int(port_text)
        assert listens(port)
        os.kill(starter.pid, number)
        starter.wait()

    wait_for("the end of the node", lambda: not listens(port))
    wait_for("the end of its files", lambda: not Path(folder).exists())


@pytest.mark.parametrize("kind", list(NodeKind))
def test_fork_of_another_node_sees_its_state(kind: NodeKind) -> None:
    with Node.start() as origin:
        upstream = LocalChain(origin.rpc())
        token = upstream.deploy("MockToken", "Coin", "COIN", 6)
        upstream.transact(token, "mint", upstream.accounts[5], 42)
        height = int(upstream.block()["number"], 16)
        upstream.transact(token, "mint", upstream.accounts[5], 1)
        settings = NodeSettings(kind=kind, fork_url=origin.url, fork_block=height)
        with Node.start(settings) as node:
            fork = LocalChain(node.rpc())
            forked = contract_at(fork.rpc, token.name, token.address)
            assert forked.call("balanceOf", upstream.accounts[5]) == 42
            fork.transact(token, "mint", upstream.accounts[5], 100)
            assert forked.call("balanceOf", upstream.accounts[5]) == 142
        assert token.call("balanceOf", upstream.accounts[5]) == 43


def test_without_state_roots_the_past_can_still_be_read() -> None:
    with Node.start(NodeSettings(skip_state_roots=True, genesis_at=1_600_000_000)) as node:
        chain = LocalChain(node.rpc())
        assert chain.now() == 1_600_000_000
        token = chain.deploy("MockToken", "Coin", "COIN", 6)
        past = chain.transact(token, "mint", chain.accounts[5], 42)
        for _ in range(200):
            chain.transact(token, "mint", chain.accounts[5], 1)

        assert int(chain.block()["stateRoot"], 16) == 0
        assert token.call("balanceOf", chain.accounts[5], block=past.block_hash) == 42
        assert token.call("balanceOf", chain.accounts[5]) == 242


def test_genesis_is_when_it_was_told_to_be() -> None:
    for kind in NodeKind:
        with Node.start(NodeSettings(kind=kind, genesis_at=1_680_000_000)) as node:
            assert LocalChain(node.rpc()).now() == 1_680_000_000
