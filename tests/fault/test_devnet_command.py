"""`rebalancer devnet` and `rebalancer keeper run` as processes: ready when they say so, gone when they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.cli.devnet import _Steps
from rebalancer.devnet.environment import Actor, DevEnvironment, set_up_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import USDC, WBTC, WETH, DevMarket
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.profile import opening_pools
from rebalancer.devnet.rate_assets import build_rate_environment
from rebalancer.devnet.uniswap import pool_address
from rebalancer.errors import NodePortBusy, RpcUnreachable
from rebalancer.operations.addresses import check_devnets
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from tests.commands import run
from tests.contract.test_keeper import keeper_of, snapshot_of, tick
from tests.contract.test_market import pool_state
from tests.fixtures_chain import GENESIS_AT, OPENING_PRICES_E8

PAIRS = [(WBTC, WETH, 3000), (USDC, WETH, 500)]
"""The pools that a fork trades in."""

SECONDS = 300


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command under way, which is gone afterwards in any case."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("REBALANCER_")}
    clean["REBALANCER_KEEPER__LISTEN"] = "off"  # others may test at the same time
    with subprocess.Popen(
        [sys.executable, "-m", "rebalancer", *arguments],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_object(process: subprocess.Popen[str]) -> Any:
    """The JSON object that tells that a devnet is ready."""
    text = ""
    assert process.stdout is not None
    while not text.endswith("}\n") or text.count("{") != text.count("}"):
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        text += line
    return json.loads(text)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ends a command as Ctrl-C does; its exit code, and what it told."""
    process.send_signal(signal.SIGINT)
    _, reported = process.communicate(timeout=SECONDS)
    return process.returncode, reported


def test_devnet_is_ready_when_it_says_so_and_gone_after_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, "devnet", "--port", "0", "--speed", "0", "--days", "1", "--json") as net:
        ready = first_object(net)
        file = tmp_path / "deployment.json"
        assert Deployment.load(file).rpc_url == ready["rpc_url"]
        assert set(ready["accounts"]) == {actor.name.lower() for actor in Actor}
        where = ("--rpc-url", ready["rpc_url"], "--deployment", file)
        assert run(capsys, *where, "vault", "status", "--json").json["reason"] == "InBand"
        paid = ("--token", "USDC", "--amount", "1000000", "--account", Actor.DEPOSITOR.value)
        assert run(capsys, *where, "vault", "deposit", *paid).code == 0

        code, reported = ended(net)
        assert (code, "Traceback" in reported) == (0, False)
        with Rpc(ready["rpc_url"]) as rpc, pytest.raises(RpcUnreachable):
            rpc.chain_id()


def test_devnet_of_rate_assets_has_a_vault_that_takes_deposits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ("--port", "0", "--speed", "0", "--days", "1")
    with started(tmp_path, "devnet", "--rate-assets", *still, "--json") as net:
        ready = first_object(net)
        where = ("--rpc-url", ready["rpc_url"], "--deployment", tmp_path / "deployment.json")
        assert run(capsys, *where, "vault", "status", "--json").json["reason"] == "InBand"
        paid = ("--token", "USDe", "--amount", "1000", "--account", Actor.DEPOSITOR.value)
        assert run(capsys, *where, "vault", "deposit", *paid).code == 0
        assert run(capsys, *where, "doctor").code == 0

        assert ended(net)[0] == 0


def test_market_of_rate_assets_earns_once_a_day_and_follows_its_rates(node_kind: NodeKind) -> None:
    settings = NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=SECONDS)
    with Node.start(settings) as node, node.rpc(timeout_s=SECONDS) as rpc:
        chain = LocalChain(rpc)
        rates = build_rate_environment(chain)
        steps = _Steps(rates.environment.market, Console(file=StringIO()), rates)
        begun, seen = chain.now(), [rates.prices_at_rates_e8(2_000 * 10**8)]
        for hours in (1, 23, 26, 34):
            steps.step({"ETH/USD": 2_000 * 10**8, "BTC/USD": 1}, begun + hours * 3_600)
            seen.append(dict(rates.environment.market.prices_e8))

    first, still, before, stepped, later = (prices["SUSDE/USD"] for prices in seen)
    assert first == still == before <= stepped < later
    assert seen[2]["WSTETH/USD"] < seen[3]["WSTETH/USD"] == seen[4]["WSTETH/USD"]


def test_devnet_plays_its_tape_while_a_keeper_looks_on(tmp_path: Path) -> None:
    tape = ("--speed", "20", "--days", "60", "--seed", "7")  # long enough for a slow start
    with started(tmp_path, "devnet", "--port", "0", *tape, "--json") as net:
        url = first_object(net)["rpc_url"]
        with Rpc(url) as rpc:
            before = read_block(rpc)
            with started(tmp_path, "--rpc-url", url, "keeper", "run", "--poll-seconds", "0.05", "--json") as keeper:
                assert keeper.stdout is not None
                seen = [json.loads(keeper.stdout.readline())["block"]["number"] for _ in range(5)]
                code, reported = ended(keeper)
            after = read_block(rpc)

        assert len(set(seen)) == 5
        assert (code, "event=stopping" in reported, "event=stopped" in reported) == (0, True, True)
        assert after.timestamp > before.timestamp
        assert ended(net)[0] == 0


def test_fork_without_an_address_is_of_the_settings_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[NodeSettings] = []

    def start(settings: NodeSettings) -> Node:
        started.append(settings)
        raise NodePortBusy(settings.port)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Node, "start", start)
    Path(".env").write_text("REBALANCER_RPC_URL=https://node.example/key\n")
    for arguments in (
        ("--fork", "--port", "1"),
        ("--port", "1", "--fork", "https://other.example"),
    ):
        assert run(capsys, "devnet", *arguments).code == NodePortBusy.exit_code

    urls = [one.fork_url for one in started]
    assert urls == ["https://node.example/key", "https://other.example"]


def test_devnet_on_a_port_in_use_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Node.start(NodeSettings()) as node:
        ran = run(capsys, "devnet", "--port", node.port, "--days", "1")
    assert ran.code == 11
    assert "choose another --port" in ran.err
    assert not (tmp_path / "deployment.json").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (Deployment(1), "it is for chain 1, not 31337"),
        (Deployment(31337), "no devnet wrote it"),
        ("{}", "it is not an addresses file (it lacks 'chain_id')"),
        ("my notes", "it is not an addresses file (it is not JSON)"),
    ],
    ids=["another chain's", "a deployment's", "another program's", "notes"],
)
def test_devnet_writes_over_no_file_but_a_devnets(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: Deployment | str,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rebalancer.toml").write_text('chain_id = 1\ndeployment = "mainnet.json"\n')
    file = Path("mainnet.json")
    file.write_text(content) if isinstance(content, str) else content.save(file)
    before = file.read_bytes()

    ran = run(capsys, "devnet", "--port", "0", "--days", "1")

    assert f"mainnet.json is not overwritten because {why}" in ran.sentence
    assert (ran.code, ran.out) == (16, "")
    assert file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"rebalancer.toml", "mainnet.json"}


def test_devnet_outlives_a_token_that_is_paused(environment: DevEnvironment) -> None:
    reported = Console(file=StringIO(), width=200)
    steps = _Steps(environment.market, reported)
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", environment.deployment.listed("USDC").address)
    up = environment.market.prices_e8 | {"ETH/USD": 2_200_00000000}
    before = pool_states(environment.market)

    environment.chain.transact(usdc, "pause")
    for _ in range(3):
        steps.step(up, environment.chain.now() + 60)
    assert pool_states(environment.market) == before
    environment.chain.transact(usdc, "unpause")
    steps.step(up, environment.chain.now() + 60)

    assert pool_states(environment.market) != before
    assert reported.file.getvalue().count("The market step failed; prices and pools do not change.") == 1  # type: ignore[attr-defined] # a StringIO


def test_devnet_writes_over_what_a_devnet_wrote(tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    Deployment(31337, "http://127.0.0.1:1").save(file)
    check_devnets(file)
    check_devnets(tmp_path / "none.json")


def test_devnet_forks_a_live_chain_as_it_is(tmp_path: Path) -> None:
    with Node.start(NodeSettings()) as origin, origin.rpc() as rpc:
        rpc.call("hardhat_mine", hex(7))
        with started(tmp_path, "devnet", "--port", "0", "--fork", origin.url, "--json") as net:
            ready = first_object(net)
            assert ready["chain_id"] == "31337"
            with Rpc(ready["rpc_url"]) as forked:
                assert read_block(forked).number == 7
            assert ended(net)[0] == 0


def test_a_fork_is_deployed_onto_and_rebalances_while_the_original_stays(tmp_path: Path) -> None:
    with Node.start(NodeSettings(genesis_at=GENESIS_AT)) as origin, origin.rpc() as upstream:
        original = LocalChain(upstream)
        built = DevMarket.build(original, opening_pools(OPENING_PRICES_E8), OPENING_PRICES_E8)
        before = (read_block(upstream), pool_states(built))
        with (
            started(tmp_path, "devnet", "--port", "0", "--fork", origin.url, "--json") as net,
            Rpc(first_object(net)["rpc_url"]) as forked,
        ):
            chain = LocalChain(forked)
            environment = set_up_environment(DevMarket.on_fork(chain, OPENING_PRICES_E8, PAIRS))
            environment.market.step(OPENING_PRICES_E8 | {"ETH/USD": 2_200_00000000}, chain.now() + 900)
            drifted = snapshot_of(environment)
            with Outbox(tmp_path / "outbox.sqlite") as journal:
                decision = tick(keeper_of(environment, journal))

            assert decision.reason is Reason.REBALANCED
            assert snapshot_of(environment).state.epoch == 1
            assert snapshot_of(environment).drift_bps < drifted.drift_bps
            assert pool_states(environment.market) != before[1]
            assert original.code(environment.vault) == b""
            assert ended(net)[0] == 0
        assert (read_block(upstream), pool_states(built)) == before


def pool_states(market: DevMarket) -> list[tuple[int, ...]]:
    """Price, tick and liquidity of the pools of PAIRS."""
    return [pool_state(market.chain, pool_address(a.address, b.address, fee)) for a, b, fee in PAIRS]
