"""`rebalancer deploy` over pools of every protocol: found out from what a person names, read by all commands, refused with their sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.snapshot import read_block
from rebalancer.cli import Options
from rebalancer.cli.session import Session
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.venues import PoolRef, WrappedEtherPool
from rebalancer.venues.uniswap_v4 import v4_ref
from tests.commands import Ran, run
from tests.contract.pools_balancer import BalancerV2
from tests.contract.pools_v4 import ETHER, UniswapV4, key_of
from tests.contract.test_balancer_quotes import random_pool
from tests.contract.test_uniswap_v2_quotes import Pair
from tests.contract.test_uniswap_v3_quotes import token_pair
from tests.contract.test_uniswap_v4 import opened

Cli = Callable[..., Ran]
OWNER = ("--account", Actor.OWNER.value)


pytestmark = pytest.mark.usefixtures("only_own_settings")


@pytest.fixture
def deploy(environment: DevEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Deploys anew over the pools that are named, with the stage's feeds."""

    def command(*pools: str) -> Ran:
        feeds = "".join(
            f'[[feeds]]\ntoken = "{environment.deployment.listed(feed.token).address}"\n'
            f'address = "{feed.address}"\nheartbeat_seconds = 3600\n'
            for feed in environment.deployment.feeds
        )
        weth = environment.deployment.wrapped_native
        path = tmp_path / "chain.toml"
        path.write_text(f'wrapped_native = "{weth}"\ntokens = []\npools = [{", ".join(pools)}]\n{feeds}')
        where = ("--rpc-url", environment.chain.rpc.endpoint, "--deployment", tmp_path / "new.json")
        return run(capsys, *where, "deploy", "--chain", path, *OWNER)

    return command


def test_deploy_over_pools_of_all_protocols_names_them_and_session_reads_them(
    environment: DevEnvironment, deploy: Cli, tmp_path: Path
) -> None:
    chain = environment.chain
    v3 = environment.deployment.pools[0]
    coins = token_pair(chain)
    pair = Pair.opened(chain, (10**10, 10**12))
    weighted = BalancerV2.install(chain, chain.accounts[2]).rebuild(random_pool(chain, 3, "v1"))
    v4 = UniswapV4.install(chain, chain.accounts[2])
    of_ether = opened(v4, coins[0], 11)
    manager = of_ether.manager

    ran = deploy(
        f'"{v3.address}"',
        f'{{ address = "{pair.paper.address}", fee_bps = 25 }}',
        f'"{weighted.address}"',
        f'{{ manager = "{manager}", id = "{of_ether.pool_id}" }}',
    )

    assert ran.code == 0, ran.err
    made = Deployment.load(tmp_path / "new.json")
    ends = tuple(token.address for token in pair.paper.tokens)
    assert made.pools == (
        v3,
        PoolRef(pair.paper.address, ends, 2_500, "uniswap-v2"),
        PoolRef(
            weighted.address,
            tuple(token.address for token in weighted.tokens),
            venue="balancer",
        ),
        v4_ref(manager, ETHER.address, coins[0].address, 3_000, 60),
    )
    listed = {token.address for token in made.tokens}
    assert {*ends, coins[0].address} <= listed
    assert ETHER.address not in listed

    options = Options(None, chain.rpc.endpoint, None, tmp_path / "new.json")
    with Session.open(options) as session:
        read = session.pools(read_block(session.rpc))
    assert [pool.key for pool in read[:3]] == [pool.address for pool in made.pools[:3]]
    assert read[1].fee_pips == 2_500
    assert isinstance(read[3], WrappedEtherPool)
    assert read[3].weth.address == made.wrapped_native
    way = made.wrapped_native, coins[0].address
    paid = of_ether.quote_in(ETHER.address, coins[0].address, 10**12)
    assert read[3].quote_in(*way, 10**12) == paid


def test_deploy_over_what_is_no_pool_says_which_and_why(
    environment: DevEnvironment, deploy: Cli, tmp_path: Path
) -> None:
    chain = environment.chain
    v4 = UniswapV4.install(chain, chain.accounts[2])
    pool = opened(v4, token_pair(chain)[0], 11)
    weth = replace(pool.token1, address=environment.deployment.wrapped_native)
    around = replace(pool, token1=weth)
    chain.transact(v4.manager, "initialize", key_of(around), around.sqrt_price_x96)
    v3, token = environment.deployment.pools[0].address, environment.deployment.tokens[1].address
    unknown = "0x" + "12" * 32
    before = chain.block()["hash"]

    for named, pool_name, why in (
        (f'"{token}"', token, "does not belong to a known venue"),
        (f'"{Actor.KEEPER.address}"', Actor.KEEPER.address, "does not belong to a known venue"),
        (f'{{ address = "{v3}", fee_bps = 30 }}', v3, "report their fee, so omit fee_bps"),
        (f'{{ manager = "{pool.manager}", id = "{unknown}" }}', unknown, "does not know"),
        (f'{{ manager = "{v3}", id = "{pool.pool_id}" }}', pool.pool_id, "does not know"),
        (f'{{ manager = "{around.manager}", id = "{around.pool_id}" }}', around.pool_id, "wrap"),
    ):
        ran = deploy(named)
        assert ran.code == 16
        assert ran.sentence.startswith(f"The pool {pool_name} cannot be used (")
        assert why in ran.sentence
        assert ran.sentence.endswith("name another pool, or omit it.")

    assert chain.block()["hash"] == before
    assert not (tmp_path / "new.json").exists()
