"""A vault of wstETH and a staked dollar like sUSDe, end to end: priced by rate x feed and the market, rebalanced by wrapping and unwrapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.pools import read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.environment import Actor, raw_for_usd
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.rate_assets import RATE_PRICES_E8, RateEnvironment, build_rate_environment
from rebalancer.keeper import Decision
from rebalancer.operations.actions import (
    deposit_in_kind,
    deposit_token,
    withdraw_in_kind,
    withdraw_token,
)
from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool
from tests.clocks import LONGEST_SECONDS
from tests.contract.test_keeper import is_as_foreseen
from tests.contract.test_keeper_many import keeper_of
from tests.fixtures_chain import GENESIS_AT

ETHER_UP = {"ETH/USD": 2_200 * 10**8, "WSTETH/USD": 2_640 * 10**8}
_MOST_TICKS = 9
_SLIPPAGE_BPS = 50
ETHER_DOWN = {"ETH/USD": 1_800 * 10**8, "WSTETH/USD": 2_160 * 10**8}


@pytest.fixture(scope="module")
def built(node_kind: NodeKind) -> Iterator[RateEnvironment]:
    """A chain of its own with the environment on it."""
    settings = NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=LONGEST_SECONDS)
    with Node.start(settings) as node, node.rpc(timeout_s=LONGEST_SECONDS) as rpc:
        yield build_rate_environment(LocalChain(rpc))


@pytest.fixture
def rates(built: RateEnvironment) -> Iterator[RateEnvironment]:
    """The environment as it was built; all that a test does to it is undone."""
    before = built.environment.chain.snapshot()
    built.environment.market.prices_e8 = dict(RATE_PRICES_E8)
    built.move(seconds=1)
    yield built
    built.environment.chain.revert(before)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def trade(rates: RateEnvironment, outbox: Outbox) -> list[Decision]:
    """The rebalances of a keeper that looks every 15 minutes until all bands are whole: what is dear waits for the slippage limit to climb."""
    keeper = keeper_of(rates.environment, (rates.environment.vault,), outbox, receipt_seconds=30)
    made: list[Decision] = []
    for _ in range(_MOST_TICKS):
        made += [one for one in keeper.tick() if one.reason is not Reason.POKED]
        if made[-1].reason is Reason.IN_BAND:
            return made[:-1]
        rates.move()
    raise AssertionError([one.text for one in made])


def at_premium(prices_e8: Mapping[str, int], token: str, premium_bps: int) -> dict[str, int]:
    """The same prices, but the market pays more (or less) for a wrapper than it is worth."""
    name = f"{token}/USD"
    return {**prices_e8, name: prices_e8[name] * (BPS + premium_bps) // BPS}


def swaps(made: Sequence[Decision]) -> set[tuple[str, str, str]]:
    """Kind of pool, symbol in and symbol out, of each swap that was made."""
    plans = [one.plan for one in made if one.reason is Reason.REBALANCED]
    return {
        (swap.pool.kind, *(symbol(swap.pool, token) for token in (swap.token_in, swap.token_out)))  # type: ignore[attr-defined] # a Pool has tokens
        for plan in plans
        if plan is not None
        for swap in plan.swaps
    }


def symbol(pool: object, address: str) -> str:
    (found,) = [token.symbol for token in pool.tokens if token.address == address]  # type: ignore[attr-defined] # a Pool has tokens
    return str(found)


def assert_rebalanced(rates: RateEnvironment, made: Sequence[Decision]) -> None:
    """Bands are whole, each loss is within its limit, the ledger is what the vault holds, and nothing stays with the executor."""
    done = [one.outcome for one in made if one.reason is Reason.REBALANCED and one.outcome]
    all_settled = [outcome.settled for outcome in done if outcome.settled]
    assert 0 < len(all_settled) == len(done), [one.text for one in made]
    for settled in all_settled:
        assert settled.loss_e18 * E18 <= settled.slippage_limit_e18 * settled.sold_e18
    after = rates.snapshot()
    assert all_settled[-1].held == after.basket.held
    assert weigh_basket(after.basket).broken is None
    for asset, held in zip(after.basket.assets, after.basket.held, strict=True):
        token = contract_at(rates.environment.chain.rpc, "IERC20Metadata", asset.token)
        assert token.call("balanceOf", rates.environment.vault) == held
        assert token.call("balanceOf", rates.environment.system.executor) == 0


def assert_all_as_foreseen(made: Sequence[Decision]) -> None:
    """Each ledger is the predicted one to the unit."""
    assert all(is_as_foreseen(one.outcome) for one in made if one.outcome is not None)


def pools_now(rates: RateEnvironment, *, wrapping: bool = True) -> list[Pool]:
    """The pools at the newest block, with or without those that wrap and unwrap."""
    rpc, deployment = rates.environment.chain.rpc, rates.environment.deployment
    refs = [ref for ref in deployment.pools if wrapping or ref.venue not in ("erc4626", "wsteth")]
    return list(read_pools(rpc, refs, read_block(rpc), deployment.chain_id))


def losses_bps(rates: RateEnvironment) -> tuple[float, float]:
    """What a rebalance of all that is due would lose now with wrapping and in pools alone, in basis points of what is sold."""
    now, found = rates.snapshot(), []
    for wrapping in (True, False):
        problem = Problem.of(now.basket, pools_now(rates, wrapping=wrapping))
        plan = plan_rebalance(problem)
        assert isinstance(plan, Plan)
        sold_e18, bought_e18 = problem.values_e18(plan.sales_raw, plan.expected_buys_raw)
        assert sold_e18 > weigh_basket(now.basket).total_e18 // 50
        found.append((sold_e18 - bought_e18) * BPS / sold_e18)
    with_wrapping, without = found
    return with_wrapping, without


def assert_pays_in_kind(rates: RateEnvironment) -> None:
    """The owner gets a tenth of everything for a tenth of its shares."""
    owner, before = rates.environment.wallet(Actor.OWNER), rates.snapshot()
    shares = int(rates.vault.call("balanceOf", owner.address)) // 10

    redeemed = withdraw_in_kind(owner, rates.environment.vault, shares)

    expected = [held * shares // before.total_supply for held in before.basket.held]
    assert redeemed.amounts == pytest.approx(expected, rel=1e-6)
    assert min(redeemed.amounts) > 0
    assert not any(redeemed.claims.values())


def depositor_shares(rates: RateEnvironment) -> int:
    return int(rates.vault.call("balanceOf", Actor.DEPOSITOR.address))


# Prices


def test_wrappers_are_priced_by_their_rates_and_checked_by_the_market(
    rates: RateEnvironment,
) -> None:
    rates.settle(at_premium(RATE_PRICES_E8, "SUSDE", 100))

    _, wsteth, _, susde = rates.snapshot().basket.prices

    assert wsteth.primary_e18 == pytest.approx(2_400 * E18, rel=1e-9)
    assert susde.primary_e18 == pytest.approx(125 * E18 // 100, rel=1e-9)
    assert susde.hi_e18 == 12_625 * E18 // 10_000
    # The pool stands within its fee of the market.
    assert wsteth.hi_e18 - wsteth.lo_e18 <= wsteth.lo_e18 * 31 // BPS


def test_reward_raises_the_price_as_it_is_counted(rates: RateEnvironment) -> None:
    before = rates.snapshot().basket.prices[3].primary_e18
    rates.reward(10**7 * E18)
    at_once = rates.snapshot().basket.prices[3].primary_e18
    rates.move(seconds=4 * 3_600)
    half = rates.snapshot().basket.prices[3].primary_e18

    assert at_once - before < E18 // 10**5
    assert half - before == pytest.approx(E18 // 200, rel=0.01)


# Wrapping and unwrapping


def test_staked_dollar_is_bought_by_a_deposit_and_not_in_its_pool(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.settle(ETHER_UP)
    with_wrapping, in_pools = losses_bps(rates)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert_all_as_foreseen(made)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(made)
    assert ("Uniswap V3", "USDe", "sUSDe") not in swaps(made)
    # Half of what is sold ends as sUSDe, whose pool would take a fee of 5 bps.
    assert in_pools - with_wrapping > 2


def test_staked_dollar_is_redeemed_where_it_has_no_cooldown(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.send(rates.susde, "setCooldown", 0)
    rates.settle(ETHER_DOWN)
    with_wrapping, in_pools = losses_bps(rates)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert_all_as_foreseen(made)
    assert ("ERC-4626", "sUSDe", "USDe") in swaps(made)
    assert ("Uniswap V3", "sUSDe", "USDe") not in swaps(made)
    assert in_pools - with_wrapping > 2


def test_staked_dollar_is_sold_in_its_pool_while_it_has_a_cooldown(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.settle(ETHER_DOWN)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert ("Uniswap V3", "sUSDe", "USDe") in swaps(made)
    assert not any(kind == "ERC-4626" for kind, *_ in swaps(made))


def test_staked_ether_is_wrapped_where_the_market_overpays_for_it(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.settle(at_premium(ETHER_DOWN, "WSTETH", 80))
    with_wrapping, in_pools = losses_bps(rates)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert {
        ("Uniswap V2", "WETH", "stETH"),
        ("wstETH", "stETH", "wstETH"),
    } <= swaps(made)
    # Half of what is sold ends as wstETH: 80 bps too dear and a fee of 5, where the pair of stETH takes 30.
    assert in_pools - with_wrapping > 15


def test_wrapped_ether_is_unwrapped_where_the_market_pays_too_little_for_it(
    rates: RateEnvironment, outbox: Outbox
) -> None:
    rates.settle(at_premium(ETHER_UP, "WSTETH", -80))
    with_wrapping, in_pools = losses_bps(rates)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert {
        ("wstETH", "wstETH", "stETH"),
        ("Uniswap V2", "stETH", "WETH"),
    } <= swaps(made)
    assert in_pools - with_wrapping > 15


def test_at_the_market_price_a_cheaper_pool_is_used_instead_of_wrapping(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.settle(ETHER_DOWN)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert not any(kind == "wstETH" for kind, *_ in swaps(made))


def test_deposit_at_a_rate_that_grows_by_the_second_is_made_and_verified(
    rates: RateEnvironment, outbox: Outbox
) -> None:
    rates.reward(10**6 * E18)
    rates.settle(ETHER_UP)

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(made)


def test_vault_that_was_given_assets_is_deposited_into_at_its_new_rate(rates: RateEnvironment, outbox: Outbox) -> None:
    """The market follows: a share is worth 1 % more."""
    rates.change_staked(100)
    rates.settle(ETHER_UP | {"SUSDE/USD": 12_625 * 10**4})

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert rates.snapshot().basket.prices[3].primary_e18 == pytest.approx(12_625 * E18 // 10_000, rel=1e-9)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(made)


# From a deposit to a redemption


def test_vault_of_wrappers_from_deposit_to_redemption(rates: RateEnvironment, outbox: Outbox) -> None:
    """In by one token and in kind, a break of the band, a rebalance, a day of rewards, out by one token and in kind."""
    environment, depositor = rates.environment, rates.environment.wallet(Actor.DEPOSITOR)
    for token in environment.deployment.tokens:
        environment.market.deal(token.address, depositor.address, raw_for_usd(environment.market, token.symbol, 10**6))
    rates.send(rates.susde, "setCooldown", 0)
    staked = rates.susde.call("totalAssets")
    zapped = partial(
        deposit_token,
        depositor,
        environment.system,
        environment.vault,
        rates.usde.address,
        10**4 * E18,
    )
    before = environment.chain.snapshot()
    in_pools = zapped(pools_now(rates, wrapping=False), _SLIPPAGE_BPS)
    assert rates.susde.call("totalAssets") == staked
    environment.chain.revert(before)

    by_token = zapped(pools_now(rates), _SLIPPAGE_BPS)
    assert rates.susde.call("totalAssets") - staked == pytest.approx(2_000 * E18, rel=0.01)
    # A fifth of it saves the pool's fee of 5 bps.
    assert by_token.shares * BPS > in_pools.shares * (BPS + 0.9)
    in_kind = deposit_in_kind(depositor, environment.vault, 10**4 * E18)
    assert min(in_kind.amounts) > 0

    rates.settle(ETHER_UP)
    assert weigh_basket(rates.snapshot().basket).broken is not None
    made = trade(rates, outbox)
    assert_rebalanced(rates, made)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(made)

    worth_e18 = weigh_basket(rates.snapshot().basket).total_e18
    for _ in range(10):
        rates.earn()
        rates.move(rates.prices_at_rates_e8(ETHER_UP["ETH/USD"]), seconds=86_400)
    grown_e18 = weigh_basket(rates.snapshot().basket).total_e18
    # Ten days of 3 % a year on 30 % in wstETH and of 10 % a year on 20 % in sUSDe.
    expected_bps = (300 * 0.3 + 1_000 * 0.2) * 10 / 365
    assert (grown_e18 - worth_e18) * BPS / worth_e18 == pytest.approx(expected_bps, rel=0.03)
    assert rates.snapshot().reason is Reason.IN_BAND

    staked, dollars = (
        rates.susde.call("totalAssets"),
        rates.usde.call("balanceOf", depositor.address),
    )
    half = depositor_shares(rates) // 2
    out = withdraw_token(
        depositor,
        environment.system,
        environment.vault,
        rates.usde.address,
        half,
        pools_now(rates),
        _SLIPPAGE_BPS,
    )
    assert rates.susde.call("totalAssets") < staked
    assert rates.usde.call("balanceOf", depositor.address) - dollars == out.amount_raw
    snapshot = rates.snapshot()
    left = depositor_shares(rates)
    paid = withdraw_in_kind(depositor, environment.vault, left)
    assert paid.amounts == pytest.approx(
        [held * left // snapshot.total_supply for held in snapshot.basket.held], rel=1e-6
    )
    assert not any(paid.claims.values())
    assert depositor_shares(rates) == 0


# What stops it


@pytest.mark.parametrize("is_frank", [True, False], ids=["says-so", "only-reverts"])
def test_paused_vault_is_traded_in_its_pool(rates: RateEnvironment, outbox: Outbox, is_frank: bool) -> None:
    rates.send(rates.susde, "setPaused", True, is_frank)
    rates.settle(ETHER_UP)

    made = trade(rates, outbox)

    assert made[0].reason is Reason.REBALANCED  # in the first tick
    assert_rebalanced(rates, made)
    assert ("Uniswap V3", "USDe", "sUSDe") in swaps(made)
    assert not any(kind == "ERC-4626" for kind, *_ in swaps(made))
    assert_pays_in_kind(rates)


def test_stopped_steth_is_left_alone_and_redemptions_pay(rates: RateEnvironment, outbox: Outbox) -> None:
    rates.send(rates.steth, "setStopped", True)
    rates.settle(at_premium(ETHER_UP, "WSTETH", -40))

    made = trade(rates, outbox)

    assert_rebalanced(rates, made)
    assert not any("stETH" in ends for _, *ends in swaps(made))
    assert_pays_in_kind(rates)


@pytest.mark.parametrize("token", ["WSTETH", "SUSDE"])
def test_market_that_leaves_the_rate_stops_trading_and_no_redemption(
    rates: RateEnvironment, outbox: Outbox, token: str
) -> None:
    rates.settle(at_premium(RATE_PRICES_E8 | ETHER_UP, token, -1_000))
    keeper = keeper_of(rates.environment, (rates.environment.vault,), outbox, receipt_seconds=30)

    (stopped,) = keeper.tick()

    assert stopped.reason is Reason.ORACLE_FAULT
    assert stopped.outcome is None
    assert_pays_in_kind(rates)
    rates.settle(RATE_PRICES_E8 | ETHER_UP)
    assert_rebalanced(rates, trade(rates, outbox))


@pytest.mark.parametrize("change_bps", [300, 5_000, -300, -5_000])
def test_rate_that_jumps_away_from_the_market_stops_trading_and_no_redemption(
    rates: RateEnvironment, outbox: Outbox, change_bps: int
) -> None:
    """Up by a gift, down by a slashing."""
    rates.settle(ETHER_UP)
    rates.change_staked(change_bps)
    keeper = keeper_of(rates.environment, (rates.environment.vault,), outbox, receipt_seconds=30)

    (stopped,) = keeper.tick()

    assert stopped.reason is Reason.ORACLE_FAULT
    assert stopped.outcome is None
    assert_pays_in_kind(rates)
