"""A tape on paper comes to what it comes to on a chain: every look, every decision, every trade, to the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import Actor, DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.devnet.tape import DEFAULT_MARKET, Tape, synthetic
from rebalancer.keeper import Decision, Keeper, KeeperContext, KeeperOptions
from rebalancer.keeper.decide import Action, Conditions, Verdict, decide
from rebalancer.lab.backtest import BacktestFeed, BacktestMarket, BacktestTick, BacktestVault, play
from rebalancer.reasons import Reason
from rebalancer.send.fees import read_market
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.venues import Pool, Token, UniswapV3Pool

_DAYS = 10
_FEED_UNIT = 10**10
_SAID = {Action.POKE: Reason.POKED, Action.REBALANCE: Reason.REBALANCED}


def wild_tape(seed: int) -> Tape:
    """Prices that move twice as much as usual, so that a few days break many bands."""
    market = [replace(model, volatility=2 * model.volatility, jump_sd=2 * model.jump_sd) for model in DEFAULT_MARKET]
    return synthetic(seed, _DAYS, market)


def pools_of(environment: DevEnvironment) -> tuple[UniswapV3Pool, ...]:
    """The stage's pools now."""
    rpc, deployment = environment.chain.rpc, environment.deployment
    known = {t.address: Token(t.address, t.symbol, t.decimals) for t in deployment.tokens}
    return read_v3_pools(
        *(rpc, environment.system.uniswap_v3_lens, [pool.address for pool in deployment.pools]),
        *(known, read_block(rpc), deployment.chain_id),
    )


def feeds_of(environment: DevEnvironment) -> list[BacktestFeed]:
    """The stage's feeds, as its OracleHub takes them."""
    hub = contract_at(environment.chain.rpc, "OracleHub", environment.system.oracle)
    feeds = []
    for feed in environment.deployment.feeds:
        token = environment.deployment.listed(feed.token).address
        (_, heartbeat, _, least_e18, most_e18, _, _) = hub.call("feedOf", token)
        least_e8, most_e8 = least_e18 // _FEED_UNIT, most_e18 // _FEED_UNIT
        feeds.append(BacktestFeed(feed.name, token, heartbeat, least_e8, most_e8))
    return feeds


def without_supply(snapshot: VaultSnapshot | None) -> VaultSnapshot:
    """A snapshot but for the supply, to which fees that nobody has collected are added as time passes."""
    assert snapshot is not None
    return replace(snapshot, total_supply=0)


def play_on_chain(environment: DevEnvironment, tape: Tape, outbox: Outbox) -> tuple[list[Decision], dict[int, int]]:
    """What a keeper decides at every block of a tape, and the gas price it finds there, by time."""
    keeper = Keeper(
        environment.chain.rpc,
        KeeperContext.of(environment.deployment, [environment.vault]),
        [devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(fee_cap_wei=10_000 * 10**9),
    )
    keeper.start()
    decisions: list[Decision] = []
    gas_prices: dict[int, int] = {}
    for step in tape.steps():
        mined = environment.market.step(step.prices_e8, step.at)
        gas_prices[mined.timestamp] = read_market(environment.chain.rpc).usual_price_wei
        decisions += keeper.tick(Block(mined.number, mined.hash, mined.timestamp))
    return decisions, gas_prices


@pytest.mark.parametrize("seed", [2, 5])
def test_tape_on_paper_comes_to_the_books_of_one_on_a_chain(tmp_path: Path, seed: int) -> None:
    tape = wild_tape(seed)
    settings = NodeSettings(genesis_at=tape.start - 3_600, skip_state_roots=True)
    with (
        Node.start(settings) as node,
        node.rpc() as rpc,
        Outbox(tmp_path / "outbox.sqlite") as outbox,
    ):
        chain = LocalChain(rpc)
        chain.run_steadily()
        environment = build_environment(chain, tape.first_prices_e8)
        (first,) = read_vaults(rpc, environment.system.lens, [environment.vault], read_block(rpc))
        market = BacktestMarket(feeds_of(environment), pools_of(environment), tape.first_prices_e8, tape.start)
        decisions, gas_prices = play_on_chain(environment, tape, outbox)
        pools_after = pools_of(environment)
        (last,) = read_vaults(rpc, environment.system.lens, [environment.vault], read_block(rpc))
    native = environment.deployment.uniswap["WETH9"]

    def as_the_keeper(snapshot: VaultSnapshot, pools: Sequence[Pool]) -> Verdict:
        gas_price_wei = gas_prices[snapshot.basket.timestamp]
        return decide(snapshot, pools, Conditions(gas_price_wei, native))

    vault = BacktestVault(first.address, first.basket.assets, first.basket.held, first.policy)
    ticks: list[BacktestTick[Verdict]] = list(play(vault, market, tape.steps(), as_the_keeper))

    assert len(ticks) == len(decisions)
    for tick, decision in zip(ticks, decisions, strict=True):
        assert without_supply(tick.snapshot) == without_supply(decision.snapshot)
        assert _SAID.get(tick.verdict.step, tick.verdict.reason) is decision.reason
        outcome = decision.outcome
        assert tick.fill == (outcome.fill if outcome else None)
        assert tick.settlement == (outcome.settled if outcome else None)
    steps = [tick.verdict.step for tick in ticks]
    assert steps.count(Action.REBALANCE) >= 3
    assert Action.POKE in steps
    for paper, real in zip(market.pools, pools_after, strict=True):
        assert isinstance(paper, UniswapV3Pool)
        assert replace(paper, block=real.block) == real
    assert ticks[-1].vault_after.held == last.basket.held
    assert ticks[-1].vault_after.state == last.state
