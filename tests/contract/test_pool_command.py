"""`rebalancer pool` as people type it: what it saves is what the chain holds, and quotes as the chain does; whom it tells to try again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.devnet.environment import DevEnvironment
from rebalancer.devnet.market import DevMarket
from rebalancer.pool_files import load_pool
from rebalancer.send.outbox import Outbox
from rebalancer.venues import PoolRef, UniswapV3Pool, UniswapV4Pool, of_class
from tests.commands import Ran, run
from tests.contract.pools_balancer import BalancerV2
from tests.contract.pools_v4 import UniswapV4
from tests.contract.test_balancer_quotes import random_pool
from tests.contract.test_uniswap_v2_quotes import Pair
from tests.contract.test_uniswap_v3_quotes import token_pair
from tests.contract.test_uniswap_v4 import opened

Cli = Callable[..., Ran]


pytestmark = pytest.mark.usefixtures("only_own_settings")


@pytest.fixture
def cli(market: DevMarket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `rebalancer pool snapshot POOL …`, without an addresses file."""
    where: tuple[object, ...] = ("--rpc-url", market.chain.rpc.endpoint, "--chain-id", 31_337)
    where = (*where, "--deployment", tmp_path / "none.json")

    def command(*arguments: object) -> Ran:
        return run(capsys, *where, "pool", "snapshot", *arguments)

    return command


def bare(pool: Any) -> Any:
    return replace(pool, name="", block=0, chain_id=1)


def test_snapshot_of_a_v3_pool_is_the_pool_at_one_block(market: DevMarket, cli: Cli, tmp_path: Path) -> None:
    known = market.deployment.pools[0]
    file = tmp_path / "pool.json"
    market.chain.mine(2)  # Anvil knows no past states from before it last went back in time

    ran = cli(known.address, "--out", file)

    assert (ran.code, ran.err) == (0, "")
    pool = of_class(load_pool(file), UniswapV3Pool)
    assert pool.address == known.address
    assert {token.address for token in pool.tokens} == set(known.tokens)
    assert pool.name in ran.out
    assert f"at block {pool.block}" in ran.out
    assert pool.block == int(market.chain.block()["number"], 16)
    earlier = cli(known.address, "--out", tmp_path / "old.json", "--block", pool.block - 1, "--json")
    assert earlier.json["block"]["number"] == str(pool.block - 1)
    assert earlier.json["pool"] == known.address
    assert load_pool(tmp_path / "old.json").block == pool.block - 1


def test_snapshot_of_other_protocols_finds_out_what_they_are(market: DevMarket, cli: Cli, tmp_path: Path) -> None:
    chain = market.chain
    pair = Pair.opened(chain, (10**10, 10**12))
    weighted = BalancerV2.install(chain, chain.accounts[2]).rebuild(random_pool(chain, 3, "v1"))

    assert cli(pair.paper.address, "--out", "v2.json", "--fee-bps", 25).code == 0
    assert cli(weighted.address, "--out", "balancer.json").code == 0

    assert bare(load_pool("balancer.json")) == bare(weighted)
    read = load_pool("v2.json")
    way = pair.way(True)
    assert read.quote_in(*way, 10**6) == replace(pair.paper, fee_bps=25).quote_in(*way, 10**6)


def test_snapshot_of_a_v4_pool_is_found_by_id_and_by_key(market: DevMarket, cli: Cli, tmp_path: Path) -> None:
    v4 = UniswapV4.install(market.chain, market.chain.accounts[2])
    pool = opened(v4, replace(token_pair(market.chain)[0], symbol="COIN"), 11)
    key = f"{pool.token0.address}/{pool.token1.address}/3000/60"

    by_id = cli(pool.pool_id, "--manager", pool.manager, "--out", tmp_path / "id.json")
    by_key = cli(key, "--manager", pool.manager, "--out", tmp_path / "key.json")

    assert (by_id.code, by_key.code) == (0, 0)
    assert load_pool(tmp_path / "id.json") == load_pool(tmp_path / "key.json")
    assert bare(of_class(load_pool(tmp_path / "id.json"), UniswapV4Pool)) == bare(pool)


def test_snapshot_of_what_is_no_pool_is_refused_and_writes_nothing(market: DevMarket, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "pool.json"
    token = market.deployment.tokens[0].address
    refused = cli(token, "--out", file)
    assert refused.code == 12
    assert "does not belong to a known venue" in refused.sentence
    v4 = UniswapV4.install(market.chain, market.chain.accounts[2])
    unknown = cli("0x" + "12" * 32, "--manager", v4.manager.address, "--out", file)
    assert unknown.code == 12
    assert "does not know" in unknown.sentence
    for which in ("0x12", "0x" + "12" * 32, "WETH/USDC"):
        usage = cli(which, "--out", file)
        assert usage.code == 2
        assert "Uniswap V4" in usage.err
    assert not file.exists()


def test_snapshot_of_a_v4_pool_with_hooks_is_refused(market: DevMarket, cli: Cli) -> None:
    from tests.contract.pools_v4 import key_of

    v4 = UniswapV4.install(market.chain, market.chain.accounts[2])
    pool = opened(v4, token_pair(market.chain)[0], 11)
    # Flag bits of an address say which hooks it has; bit 13 is one before initialisation.
    dynamic = (*key_of(pool)[:2], 0x800000, 60, "0x" + "0" * 36 + "0080")
    market.chain.transact(v4.manager, "initialize", dynamic, pool.sqrt_price_x96)
    logs = market.chain.rpc.call("eth_getLogs", {"address": v4.manager.address, "fromBlock": "0x0"})
    its_id = logs[-1]["topics"][1]

    ran = cli(its_id, "--manager", v4.manager.address, "--out", "pool.json")

    assert ran.code == 12
    assert "with hooks" in ran.sentence


@contextmanager
def hangups(handled: bool) -> Iterator[list[int]]:
    """SIGHUP to this process, as long as that does not end it."""
    found: list[int] = []
    handler = (lambda number, _frame: found.append(number)) if handled else signal.SIG_IGN
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield found
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("is_keeper", [True, False])
def test_retry_says_which_pools_cannot_be_read_and_tells_the_keeper_that_runs_here(
    environment: DevEnvironment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_keeper: bool,
) -> None:
    nothing = PoolRef("0x" + "ab" * 20, environment.deployment.pools[0].tokens, 500)
    file, journal = tmp_path / "addresses.json", tmp_path / "outbox.sqlite"
    replace(environment.deployment, pools=(*environment.deployment.pools, nothing)).save(file)
    monkeypatch.setenv("REBALANCER_KEEPER__OUTBOX_FILE", str(journal))
    where = (
        "--rpc-url",
        environment.chain.rpc.endpoint,
        "--chain-id",
        31_337,
        "--deployment",
        file,
    )
    with Outbox(journal), hangups(is_keeper) as reported:
        ran = run(capsys, *where, "pool", "retry", "--json")
    alone = run(capsys, *where, "pool", "retry", "--json")

    assert (ran.code, ran.err) == (0, "")
    found = {one["pool"]: one["failure"] for one in json.loads(ran.out)["pools"]}
    assert [key for key, failure in found.items() if failure] == [nothing.address]
    assert len(found) == len(environment.deployment.pools) + 1
    # Whoever has the outbox open and does not take the signal is another command, which it would end.
    assert json.loads(ran.out)["keeper_process"] == (str(os.getpid()) if is_keeper else None)
    assert reported == ([signal.SIGHUP] if is_keeper else [])
    assert json.loads(alone.out)["keeper_process"] is None
