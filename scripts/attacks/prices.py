"""Attacks by wrong and moved prices: promise D; minting and redemption in kind must be immune."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.devnet.environment import Actor
from rebalancer.errors import ContractReverted, PolicyRefused
from rebalancer.operations.actions import deposit_token, withdraw_token
from rebalancer.operations.deploy import SourceSpec, set_source
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from rebalancer.units import BPS, E18
from scripts.attacks.field import MILLION, AttackEnv, Result, Tally, act
from scripts.attacks.search import best

__all__ = ["moved_average", "stale_prices"]

_THIEF = 10
_FEE_CAP_WEI = 10_000 * 10**9


def stale_prices(env: AttackEnv) -> list[Result]:
    """Deposit at an old price and withdrawal at a new one: in kind, and through the Zap."""
    return [
        _in_and_out(env, "mint and redeem in kind", _in_kind, points=5),
        _in_and_out(env, "zap in and out", _zapped, points=3),
    ]


def _in_and_out(
    env: AttackEnv,
    way: str,
    play: Callable[[AttackEnv, int, Callable[[], None]], None],
    *,
    points: int,
) -> Result:
    """The market is some percent ahead of the ether feed; the thief deposits, the feed catches up, the thief
    withdraws."""

    def attack(parameters: tuple[int, ...]) -> Tally:
        lead_percent, usd = parameters
        tally = Tally()
        env.run_ahead("WETH", lead_percent * 100)
        with env.counted(tally):
            play(env, usd, lambda: env.catch_up("WETH"))
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(-20, 20), (1_000, 1_000_000)], points=points, rounds=1)
    with env.undone():
        tally = attack(found)
    return Result(
        f"stale price: {way} around a feed's answer",
        "none is diluted",
        f"market {found[0]:+d} % ahead, {found[1]:,} dollars",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _in_kind(env: AttackEnv, usd: int, catch_up: Callable[[], None]) -> None:
    shares = usd * E18
    env.mint(env.thief, shares)
    catch_up()
    env.redeem(env.thief, shares)


def _zapped(env: AttackEnv, usd: int, catch_up: Callable[[], None]) -> None:
    wallet = Wallet(env.chain.rpc, devnet_signer(_THIEF), _FEE_CAP_WEI)
    system, usdc = env.environment.system, env.tokens["USDC"].address
    made = deposit_token(wallet, system, env.vault.address, usdc, usd * 10**6, env.pools(), BPS)
    catch_up()
    withdraw_token(wallet, system, env.vault.address, usdc, made.shares, env.pools(), BPS)


# A second source that trades can move

_WINDOW_SECONDS = 1_800
_DIVERGENCE_BPS = 200
_BLOCK_SECONDS = 12


def moved_average(env: AttackEnv) -> list[Result]:
    """WETH's second source is its pool's average; the thief moves the pool, or the feed is wrong."""
    results = []
    with env.undone():
        pool = contract_at(env.chain.rpc, "UniswapV3Pool", _watch_average(env))
        for scenario in (_within_a_block, _held_for_blocks, _wrong_feed):
            with env.undone():
                results.append(scenario(env, pool.address))
    return results


def _watch_average(env: AttackEnv) -> str:
    """Set the second source, after the pool has observations of more than a window. Returns the pool."""
    weth, usdc = env.tokens["WETH"].address, env.tokens["USDC"].address
    (pool,) = [p.address for p in env.environment.deployment.pools if set(p.tokens) == {weth, usdc}]
    contract = contract_at(env.chain.rpc, "UniswapV3Pool", pool)
    env.send(contract, "increaseObservationCardinalityNext", 512, sender=env.thief)
    for seconds in (1, _WINDOW_SECONDS):
        _push(env, pool, 100)
        env.wait(seconds)
        env.move()
    env.wait(_WINDOW_SECONDS)
    spec = SourceSpec.of(
        PRICE_SOURCES["uniswap_v3_twap"],
        *(pool, _WINDOW_SECONDS, 18, 6, int(weth, 16) < int(usdc, 16)),
        quote=usdc,
        max_divergence_bps=_DIVERGENCE_BPS,
    )
    set_source(env.chain.account(Actor.OWNER.address), env.environment.system, weth, spec)
    return pool


def _push(env: AttackEnv, pool: str, pips: int) -> None:
    """Move the price of WETH by these millionths, by purchases of the thief; negative: by sales."""
    weth, usdc = env.tokens["WETH"].address, env.tokens["USDC"].address
    contract = contract_at(env.chain.rpc, "UniswapV3Pool", pool)
    sqrt_x96 = env.read(contract, "slot0")[0]
    factor = isqrt((10**6 + abs(pips)) * 10**6)
    up = (pips > 0) == (int(weth, 16) < int(usdc, 16))  # of token0 in token1
    limit = sqrt_x96 * factor // 10**6 if up else sqrt_x96 * 10**6 // factor
    env.pull([act(contract, "swap", env.impersonated.address, not up, 2**126, limit, b"")])


def _break_band(env: AttackEnv) -> int:
    """Raise ether by 10 % for a whole window, so that the average includes it; the slippage limit is at its maximum."""
    env.move({"ETH": 2_200 * 10**8})
    env.move(seconds=_WINDOW_SECONDS)
    env.send(env.vault, "poke", sender=env.thief)
    env.move(seconds=env.snapshot().policy.slippage_ramp_seconds)
    return env.sold_limit_e18(env.snapshot().policy.max_slippage_bps)


def _within_a_block(env: AttackEnv, pool: str) -> Result:
    """A stolen keeper moves the pool, trades, and moves it back, in one block."""
    bound_e18 = _break_band(env)

    def attack(parameters: tuple[int, ...]) -> Tally:
        (pips,) = parameters
        tally = Tally()
        with env.counted(tally):
            if pips:
                _push(env, pool, pips)
            fill = env.worst_fill()
            if fill is None:
                raise AssertionError("the scenario must break a band")
            env.keep_what_it_can(fill)
            if pips:
                env.move()
        return tally

    found = best(env.gain_of(attack), [(-500_000, 500_000)], points=9)
    tally = attack(found)
    return Result(
        "stolen keeper moves the pool of the 30 min average within one block",
        "D",
        f"moves it by {found[0] / 10_000:+.2f} %: the average does not move, and moving the pool has a cost",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )


def _held_for_blocks(env: AttackEnv, pool: str) -> Result:
    """A saboteur moves the pool in every block and arbitrageurs move it back, until the sources diverge and trading
    stops."""

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        pips = _growing(*parameters)
        tally, blocks = Tally(), 0
        with env.counted(tally):
            while env.snapshot().basket.prices[0].fault == "None" and blocks < 150:
                _push(env, pool, pips)
                env.move(seconds=_BLOCK_SECONDS)
                blocks += 1
        return tally, blocks

    def gain(parameters: tuple[int, ...]) -> int | None:
        with env.undone():
            tally, _ = attack(parameters)
            stopped = env.snapshot().basket.prices[0].fault == "Diverged"
            return tally.gained_e18 if stopped else None

    found = best(gain, [(0, 99)], points=4, rounds=2)
    tally, blocks = attack(found)
    return Result(
        "saboteur holds that pool away for blocks, against arbitrage, until the sources diverge by 2 %",
        "D: it stops",
        f"{_growing(*found) / 10_000:+,.0f} %, {blocks} block{'s' if blocks != 1 else ''}; then no trade passes",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _growing(step: int) -> int:
    """Pushes from 3 % to twenty-fold, in even logarithmic steps; millionths."""
    pips: int = 30_000 * 107**step // 100**step
    return pips


def _wrong_feed(env: AttackEnv, _pool: str) -> Result:
    """The feed has an error in the thief's favour; the average equals the market."""
    _break_band(env)
    env.move(seconds=_WINDOW_SECONDS)
    weth = env.tokens["WETH"].address
    hub = contract_at(env.chain.rpc, "OracleHub", env.environment.system.oracle)
    aggregator = env.aggregator("WETH")
    slippage_bps = env.snapshot().policy.max_slippage_bps

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (behind_bps,) = parameters
        _, (right_e18, _) = env.read(hub, "readings", weth)
        answer = right_e18 * (BPS - behind_bps) // BPS // 10**10
        env.send(aggregator, "push", answer, sender=env.thief)
        _, (right_e18, _) = env.read(hub, "readings", weth)
        env.fix_price(weth, right_e18)
        fill = env.worst_fill()
        if fill is None:
            raise AssertionError("the scenario must break a band")
        sold_e18 = env.value_e18(weth, fill.sales[0])
        total_e18 = env.worths_e18(env.vault)[2]
        tally = Tally()
        with env.counted(tally):
            env.keep_what_it_can(fill)
        return tally, sold_e18 * slippage_bps // BPS * MILLION // total_e18

    def gain(parameters: tuple[int, ...]) -> int | None:
        with env.undone():
            try:
                return attack(parameters)[0].gained_e18
            except (ContractReverted, PolicyRefused):  # the sources diverge too far
                return None

    found = best(gain, [(-300, 300)], points=7)
    tally, bound_e18 = attack(found)
    return Result(
        "the feed is wrong and the average right: stolen keeper sells by the feed",
        "D",
        f"no error pays: at its best the feed is {-found[0] / 100:+.2f} % off",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )
