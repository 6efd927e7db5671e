"""Attacks on a vault of wrappers: a gift to an ERC-4626 vault before the keeper's deposit, a pause, a rate jump, and a
slashing."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.pools import read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.environment import Actor
from rebalancer.devnet.rate_assets import DIVERGENCE_BPS, RateEnvironment, build_rate_environment
from rebalancer.errors import ContractReverted
from rebalancer.keeper import Decision, Keeper, KeeperContext, KeeperOptions
from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from scripts.attacks.field import FIELD_POLICY, MILLION, AttackEnv, Result, Tally, act, dollars
from scripts.attacks.search import best

__all__ = ["wrappers"]

_FEE_CAP_WEI = 10_000 * 10**9
_RECEIPT_SECONDS = 30
_TICK_SECONDS = 120
_MOST_TICKS = 9
_ROUNDING_E18 = 10**9
"""Prices and amounts are cut after 18 digits: the sum of this rounding is less than a billionth of a dollar."""
_ETHER_UP = {"ETH/USD": 2_200 * 10**8, "WSTETH/USD": 2_640 * 10**8}
_REDEEMED_E18 = 10**5 * E18


def wrappers(env: AttackEnv) -> list[Result]:
    """Attacks on a vault of WETH, wstETH, USDe and sUSDe, priced by rate times feed, with the market as second
    source."""
    rates = build_rate_environment(env.chain, FIELD_POLICY)
    inner = AttackEnv(env.chain, rates.environment)
    rates.settle(_ETHER_UP)
    inner.send(inner.vault, "poke", sender=inner.thief)
    results = []
    with inner.undone():
        results.append(_gift_ahead_of_a_deposit(inner, rates))
    for is_frank in (True, False):
        with inner.undone():
            results.append(_paused(inner, rates, is_frank=is_frank))
    for is_slashing in (False, True):
        with inner.undone():
            results.append(_jumping_rate(inner, rates, is_slashing=is_slashing))
    return results


def _plan(env: AttackEnv, rates: RateEnvironment) -> tuple[Problem, Plan]:
    """The keeper's problem and plan at the newest block, wrapping included."""
    now, rpc, deployment = env.snapshot(), env.chain.rpc, rates.environment.deployment
    pools = read_pools(rpc, deployment.pools, read_block(rpc), deployment.chain_id)
    requested = Problem.of(
        now.basket,
        pools,
        slippage_limit_e18=now.slippage_limit_e18,
        loss_left_e18=now.loss_left_e18,
        turnover_left_e18=now.turnover_left_e18,
    )
    plan = plan_rebalance(requested)
    if isinstance(plan, NoPlan):
        raise AssertionError(f"the keeper must have a plan: {plan}")
    return requested, plan


@contextmanager
def _silence() -> Iterator[None]:
    """Log only errors inside."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


def _keeps(env: AttackEnv, rates: RateEnvironment, tally: Tally) -> list[Decision]:
    """Decisions of a new keeper, every 15 minutes until all assets are in band; its trades are counted.

    Raises:
        AssertionError: an asset is still out of band after two hours.
    """
    options = KeeperOptions(
        fee_cap_wei=_FEE_CAP_WEI,
        receipt_seconds=_RECEIPT_SECONDS,
        tick_timeout_seconds=_TICK_SECONDS,
    )
    context = KeeperContext.of(rates.environment.deployment, [env.vault.address])
    signers = [devnet_signer(Actor.KEEPER)]
    made: list[Decision] = []
    with _silence(), TemporaryDirectory() as folder, Outbox(Path(folder) / "outbox.sqlite") as box:
        keeper = Keeper(env.chain.rpc, context, signers, box, options)
        for _ in range(_MOST_TICKS):
            with env.counted(tally):
                made += keeper.tick()
            if made[-1].reason is Reason.IN_BAND:
                return made[:-1]
            rates.move()
    raise AssertionError(f"the keeper must go on: {made[-1].text}")


def _redeems(env: AttackEnv) -> str:
    """Sentence about the immediate payout of a redemption of a tenth of all shares in kind; the redemption is undone.

    Raises:
        AssertionError: a token is left as a claim.
    """
    with env.undone():
        before = env.snapshot()
        env.redeem(env.holder, _REDEEMED_E18)
        for asset, held in zip(before.basket.assets, before.basket.held, strict=True):
            token = contract_at(env.chain.rpc, "IERC20Metadata", asset.token)
            left = int(token.call("balanceOf", env.vault.address))
            paid = held * _REDEEMED_E18 // before.total_supply
            if held - left < paid * (10**6 - 1) // 10**6:
                raise AssertionError(f"a redemption did not pay its part of {asset.token} immediately")
    return "a redemption in kind is paid at once"


def _gift(env: AttackEnv, rates: RateEnvironment, bps: int) -> None:
    """Give the staked dollar's vault a part of its balance: its shares are worth more from then on."""
    amount_raw = int(rates.susde.call("totalAssets")) * bps // BPS
    if amount_raw:
        env.pull([act(rates.usde, "transfer", rates.susde.address, amount_raw)])
    rate_e18 = int(rates.susde.call("convertToAssets", E18))
    env.fix_price(rates.susde.address, rate_e18)  # a USDe is a dollar


def _gift_ahead_of_a_deposit(env: AttackEnv, rates: RateEnvironment) -> Result:
    """The keeper's deposit buys fewer shares, each of higher value."""
    requested, plan = _plan(env, rates)
    if not any(swap.pool.key == rates.susde.address for swap in plan.swaps):
        raise AssertionError("the keeper must plan a deposit")
    sold_e18 = sum(map(env.value_e18, requested.tokens, plan.sales_raw))
    total_e18 = env.worths_e18(env.vault)[2]

    def attack(parameters: tuple[int, ...]) -> Tally:
        (bps,) = parameters
        tally = Tally()
        with env.counted(tally):
            _gift(env, rates, bps)
            env.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
        return tally

    gain = env.gain_of(attack)
    with env.undone():
        alone = attack((0,))
    if gain((2 * DIVERGENCE_BPS,)) is not None:
        raise AssertionError("a gift beyond the allowed divergence must stop the trade")
    refused = bisect_left(range(2 * DIVERGENCE_BPS), True, key=lambda bps: gain((bps,)) is None)
    found = best(gain, [(0, DIVERGENCE_BPS)], points=5, rounds=2)
    tally = attack(found)
    return Result(
        "donated ERC-4626: a gift just before the keeper's deposit, so that it buys fewer shares",
        "the plan's",
        f"no gift pays: at its best {found[0] / 100:.2f} %; from {refused / 100:.2f} % on the trade is refused and planned again",
        tally.gained_e18,
        tally.lost_e18,
        alone.lost_e18 + sold_e18 * requested.tolerance_bps // BPS * MILLION // total_e18,
        f"{_redeems(env)}; without the attack it loses {dollars(alone.lost_e18)}",
    )


def _paused(env: AttackEnv, rates: RateEnvironment, *, is_frank: bool) -> Result:
    """The keeper uses other pools, whether the vault reports its pause or only reverts."""
    alone = Tally()
    with env.undone():
        _keeps(env, rates, alone)
    rates.send(rates.susde, "setPaused", True, is_frank)
    bound_e18 = env.sold_limit_e18(env.snapshot().policy.max_slippage_bps)
    tally = Tally()
    made = _keeps(env, rates, tally)
    plans = [one.plan for one in made if one.reason is Reason.REBALANCED and one.plan]
    if made[0].reason is not Reason.REBALANCED:
        raise AssertionError(f"the keeper must go on in the first tick: {made[0].text}")
    if any(swap.pool.key == rates.susde.address for plan in plans for swap in plan.swaps):
        raise AssertionError("no swap may use a paused vault")
    how = "its limits are 0" if is_frank else "its limits are unlimited, and it reverts"
    return Result(
        f"paused ERC-4626: {how} while the keeper wants to deposit",
        "D",
        f"the keeper buys the share in its pool: {len(plans)} rebalances, the first in the first tick, and all assets are in band",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
        f"{_redeems(env)}; without the attack it loses {dollars(alone.lost_e18)}",
    )


def _sold_limit_e18(env: AttackEnv) -> int:
    """Promise D for one trade at the highest limit and the higher price of both sources, for a vault of a million
    dollars."""
    now = env.snapshot()
    weighed, prices = weigh_basket(now.basket), now.basket.prices
    sold_e18 = sum(
        distance_e18 * price.hi_e18 // price.primary_e18
        for distance_e18, price in zip(weighed.distances_e18, prices, strict=True)
        if distance_e18 > 0
    )
    most_e18 = sold_e18 * FIELD_POLICY.max_slippage_bps // BPS
    return most_e18 * MILLION // env.worths_e18(env.vault)[2] + _ROUNDING_E18


def _jumping_rate(env: AttackEnv, rates: RateEnvironment, *, is_slashing: bool) -> Result:
    """The rate leaves the market, and a stolen keeper trades. The rate is wrong, up or down; or right, after a
    slashing."""
    env.wait(FIELD_POLICY.slippage_ramp_seconds)
    env.market.step(env.market.prices_e8, env.chain.now() + 1)

    def jump(bps: int) -> None:
        if bps:
            rates.change_staked(bps)
        if is_slashing:
            rate_e18 = int(rates.susde.call("convertToAssets", E18))
            env.fix_price(rates.susde.address, rate_e18)  # a USDe is a dollar

    def attack(parameters: tuple[int, ...]) -> Tally:
        jump(*parameters)
        tally = Tally()
        with env.counted(tally):
            fill = env.worst_fill()
            if fill is None:
                raise ContractReverted("no band is broken")
            env.keep_what_it_can(fill)
        return tally

    gain = env.gain_of(attack)
    for bps in (DIVERGENCE_BPS + 10, -DIVERGENCE_BPS - 10, 5_000, -5_000):
        if gain((bps,)) is not None:
            raise AssertionError("a rate beyond the allowed divergence must stop trading")
    with env.undone():
        jump(-5_000)
        pays = _redeems(env)
    most_bps = 0 if is_slashing else DIVERGENCE_BPS
    found = best(gain, [(-DIVERGENCE_BPS, most_bps)], points=9, rounds=3)
    with env.undone():
        jump(*found)
        bound_e18 = _sold_limit_e18(env)
    tally = attack(found)
    name = (
        "a staked dollar is slashed and its market has not moved: a stolen keeper trades"
        if is_slashing
        else "a rate that jumps while the market stays, which is right: a stolen keeper trades by it"
    )
    return Result(
        name,
        "D",
        f"at its best {found[0] / 100:+.2f} %; beyond 2 % nothing passes",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
        f"also where half of it is lost, {pays}",
    )
