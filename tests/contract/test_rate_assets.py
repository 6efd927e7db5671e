"""A vault of wstETH and a staked dollar like sUSDe, end to end: priced by rate x feed and the market, rebalanced by wrapping and unwrapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rebalancer.actions import withdraw_in_kind
from rebalancer.chain.contracts import contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.stage import Actor
from rebalancer.keeper import Decision
from rebalancer.policy import weigh_basket
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.units import BPS, E18
from scripts._attacks.rate_stage import RATE_PRICES_E8, RateStage, build_rate_stage
from tests.clocks import LONGEST_SECONDS
from tests.contract.test_keeper import is_as_foreseen
from tests.contract.test_keeper_many import keeper_of
from tests.fixtures_chain import GENESIS_AT

ETHER_UP = {"ETH/USD": 2_200 * 10**8, "WSTETH/USD": 2_640 * 10**8}
ETHER_DOWN = {"ETH/USD": 1_800 * 10**8, "WSTETH/USD": 2_160 * 10**8}


@pytest.fixture(scope="module")
def built(node_kind: NodeKind) -> Iterator[RateStage]:
    """A chain of its own with the environment on it."""
    settings = NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=LONGEST_SECONDS)
    with Node.start(settings) as node, node.rpc(timeout_s=LONGEST_SECONDS) as rpc:
        yield build_rate_stage(LocalChain(rpc))


@pytest.fixture
def rates(built: RateStage) -> Iterator[RateStage]:
    """The environment as it was built; all that a test does to it is undone."""
    before = built.stage.chain.snapshot()
    built.stage.market.prices_e8 = dict(RATE_PRICES_E8)
    built.move(seconds=1)
    yield built
    built.stage.chain.revert(before)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def tick(rates: RateStage, outbox: Outbox) -> Decision:
    """What a keeper decides now."""
    (decision,) = keeper_of(rates.stage, (rates.stage.vault,), outbox, receipt_seconds=30).tick()
    return decision


def at_premium(prices_e8: Mapping[str, int], token: str, premium_bps: int) -> dict[str, int]:
    """The same prices, but the market pays more (or less) for a wrapper than it is worth."""
    name = f"{token}/USD"
    return {**prices_e8, name: prices_e8[name] * (BPS + premium_bps) // BPS}


def swaps(decision: Decision) -> set[tuple[str, str, str]]:
    """Kind of pool, symbol in and symbol out, of each swap of the plan."""
    assert decision.plan is not None
    return {
        (leg.pool.kind, *(symbol(leg.pool, token) for token in (leg.token_in, leg.token_out)))  # type: ignore[attr-defined]
        for leg in decision.plan.legs
    }


def symbol(pool: object, address: str) -> str:
    (found,) = [token.symbol for token in pool.tokens if token.address == address]  # type: ignore[attr-defined]
    return str(found)


def assert_rebalanced(rates: RateStage, decision: Decision) -> None:
    """Bands are whole, the ledger is the one that the policy makes of the fill, and tokens do not stay with the executor."""
    assert decision.reason is Reason.REBALANCED, decision.text
    outcome, after = decision.outcome, rates.snapshot()
    assert outcome is not None
    assert outcome.settled is not None
    assert outcome.settled.held == after.basket.held
    assert outcome.settled.state == after.state
    assert (
        outcome.settled.loss_e18 * E18
        <= outcome.settled.slippage_limit_e18 * outcome.settled.sold_e18
    )
    assert weigh_basket(after.basket).broken is None
    for asset, held in zip(after.basket.assets, after.basket.held, strict=True):
        token = contract_at(rates.stage.chain.rpc, "IERC20Metadata", asset.token)
        assert token.call("balanceOf", rates.stage.vault) == held
        assert token.call("balanceOf", rates.stage.system.executor) == 0


def assert_pays_in_kind(rates: RateStage) -> None:
    """The owner gets a tenth of everything for a tenth of its shares."""
    owner, before = rates.stage.wallet(Actor.OWNER), rates.snapshot()
    shares = int(rates.vault.call("balanceOf", owner.address)) // 10

    redeemed = withdraw_in_kind(owner, rates.stage.vault, shares)

    expected = [held * shares // before.total_supply for held in before.basket.held]
    assert redeemed.amounts == pytest.approx(expected, rel=1e-6)
    assert min(redeemed.amounts) > 0
    assert not any(redeemed.claims.values())


# Prices


def test_wrappers_are_priced_by_their_rates_and_checked_by_the_market(rates: RateStage) -> None:
    rates.settle(at_premium(RATE_PRICES_E8, "SUSDE", 100))

    _, wsteth, _, susde = rates.snapshot().basket.prices

    assert wsteth.primary_e18 == pytest.approx(2_400 * E18, rel=1e-9)
    assert susde.primary_e18 == pytest.approx(125 * E18 // 100, rel=1e-9)
    assert susde.hi_e18 == 12_625 * E18 // 10_000
    # The pool stands within its fee of the market.
    assert wsteth.hi_e18 - wsteth.lo_e18 <= wsteth.lo_e18 * 31 // BPS


def test_reward_raises_the_price_as_it_is_counted(rates: RateStage) -> None:
    reward = 10**7 * E18
    before = rates.snapshot().basket.prices[3].primary_e18
    rates.give(reward)
    rates.send(rates.susde, "reward", reward)
    at_once = rates.snapshot().basket.prices[3].primary_e18
    rates.move(seconds=4 * 3_600)
    half = rates.snapshot().basket.prices[3].primary_e18

    assert at_once - before < E18 // 10**5
    assert half - before == pytest.approx(E18 // 200, rel=0.01)


# Wrapping and unwrapping


def test_staked_dollar_is_bought_by_a_deposit_and_not_in_its_pool(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.settle(ETHER_UP)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(decision)
    assert ("Uniswap V3", "USDe", "sUSDe") not in swaps(decision)
    assert decision.outcome is not None
    assert is_as_foreseen(decision.outcome)


def test_staked_dollar_is_redeemed_where_it_has_no_cooldown(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.send(rates.susde, "setCooldown", 0)
    rates.settle(ETHER_DOWN)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert ("ERC-4626", "sUSDe", "USDe") in swaps(decision)
    assert ("Uniswap V3", "sUSDe", "USDe") not in swaps(decision)
    assert decision.outcome is not None
    assert is_as_foreseen(decision.outcome)


def test_staked_dollar_is_sold_in_its_pool_while_it_has_a_cooldown(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.settle(ETHER_DOWN)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert ("Uniswap V3", "sUSDe", "USDe") in swaps(decision)
    assert not any(kind == "ERC-4626" for kind, *_ in swaps(decision))


def test_staked_ether_is_wrapped_where_the_market_overpays_for_it(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.settle(at_premium(ETHER_DOWN, "WSTETH", 80))

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert {
        ("Uniswap V2", "WETH", "stETH"),
        ("wstETH", "stETH", "wstETH"),
    } <= swaps(decision)


def test_wrapped_ether_is_unwrapped_where_the_market_pays_too_little_for_it(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.settle(at_premium(ETHER_UP, "WSTETH", -80))

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert {
        ("wstETH", "wstETH", "stETH"),
        ("Uniswap V2", "stETH", "WETH"),
    } <= swaps(decision)


def test_at_the_market_price_a_cheaper_pool_is_used_instead_of_wrapping(
    rates: RateStage, outbox: Outbox
) -> None:
    rates.settle(ETHER_DOWN)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert not any(kind == "wstETH" for kind, *_ in swaps(decision))


def test_deposit_at_a_rate_that_grows_by_the_second_is_made_and_verified(
    rates: RateStage, outbox: Outbox
) -> None:
    reward = 10**6 * E18
    rates.give(reward)
    rates.send(rates.susde, "reward", reward)
    rates.settle(ETHER_UP)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(decision)


def test_vault_that_was_given_assets_is_deposited_into_at_its_new_rate(
    rates: RateStage, outbox: Outbox
) -> None:
    """The market follows: a share is worth 1 % more."""
    rates.give(12_500_000 * E18)
    rates.settle(at_premium(ETHER_UP, "SUSDE", 0) | {"SUSDE/USD": 12_625 * 10**4})

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert rates.snapshot().basket.prices[3].primary_e18 == pytest.approx(
        12_625 * E18 // 10_000, rel=1e-9
    )
    assert ("ERC-4626", "USDe", "sUSDe") in swaps(decision)


# What stops it


@pytest.mark.parametrize("is_frank", [True, False], ids=["says-so", "only-reverts"])
def test_paused_vault_is_traded_in_its_pool_in_the_same_tick(
    rates: RateStage, outbox: Outbox, is_frank: bool
) -> None:
    rates.send(rates.susde, "setPaused", True, is_frank)
    rates.settle(ETHER_UP)

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert ("Uniswap V3", "USDe", "sUSDe") in swaps(decision)
    assert not any(kind == "ERC-4626" for kind, *_ in swaps(decision))
    assert_pays_in_kind(rates)


def test_stopped_steth_is_left_alone_and_redemptions_pay(rates: RateStage, outbox: Outbox) -> None:
    rates.send(rates.steth, "setStopped", True)
    rates.settle(at_premium(ETHER_UP, "WSTETH", -80))

    decision = tick(rates, outbox)

    assert_rebalanced(rates, decision)
    assert not any("stETH" in ends for _, *ends in swaps(decision))
    assert_pays_in_kind(rates)


@pytest.mark.parametrize("token", ["WSTETH", "SUSDE"])
def test_market_that_leaves_the_rate_stops_trading_and_no_redemption(
    rates: RateStage, outbox: Outbox, token: str
) -> None:
    rates.settle(at_premium(ETHER_UP, token, -1_000))

    stopped = tick(rates, outbox)
    assert_pays_in_kind(rates)
    rates.settle(ETHER_UP)
    back = tick(rates, outbox)

    assert stopped.reason is Reason.ORACLE_FAULT
    assert stopped.outcome is None
    assert_rebalanced(rates, back)


@pytest.mark.parametrize("gift_bps", [300, 5_000])
def test_rate_that_jumps_away_from_the_market_stops_trading_and_no_redemption(
    rates: RateStage, outbox: Outbox, gift_bps: int
) -> None:
    rates.settle(ETHER_UP)
    rates.give(rates.susde.call("totalAssets") * gift_bps // BPS)

    stopped = tick(rates, outbox)

    assert stopped.reason is Reason.ORACLE_FAULT
    assert_pays_in_kind(rates)
