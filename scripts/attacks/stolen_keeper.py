"""Attacks with the keeper's key: promise B, and promise C where no band is broken or one is broken once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.environment import Actor
from rebalancer.errors import ContractReverted
from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.route import Hop, encode
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import PoolRef
from rebalancer.venues.uniswap_v2 import pair_hop
from rebalancer.venues.uniswap_v3 import v3_hop
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96
from scripts.attacks.field import (
    DAY,
    MILLION,
    PRICES_E8,
    Act,
    AttackEnv,
    Loot,
    Result,
    Tally,
    act,
    bound_b_e18,
    dollars,
)
from scripts.attacks.search import best

__all__ = [
    "best_plunder",
    "break_ether_up",
    "honest_plan",
    "plunder",
    "stolen_keeper",
    "wash_trading",
]

_LONG_DAYS = 5
_FLIP_SECONDS = 4_200
"""Interval in seconds at which ether jumps up by 30 % and back in the wildest market: longer than the slippage ramp."""
_HIGH_E8 = 2_600 * 10**8

_LOOSE_TURNOVER_BPS = 20_000
"""A turnover budget that never binds, so that only the loss budget limits."""

_PIPS = 10**6
_FULL_RANGE = {3_000: 887_220, 500: 887_270, 100: 887_272}
"""Last usable tick, by the pool's fee."""
_ALL = 2**126


def stolen_keeper(env: AttackEnv) -> list[Result]:
    """Sandwiches on Uniswap V3 and V2, also of the honest keeper's trade; the thief's own executor for a loss period
    and for longer; and an oracle that lags."""
    results = []
    for scenario in (
        *(_searcher, _sandwich_v3, _sandwich_v2, _own_pool),
        *(_one_period, _long_window, _lagging_oracle),
    ):
        with env.undone():
            results.append(scenario(env))
    return results


# An executor that keeps as much as possible


def plunder(env: AttackEnv, tally: Tally, until: int, wait: int, appetite_bps: int) -> None:
    """Take what the vault accepts at every break of a wild market, `wait` seconds after its poke, part by part."""
    cooldown = env.snapshot().policy.cooldown_seconds
    high = False
    while (now := env.chain.now()) + _FLIP_SECONDS <= until:
        high = not high
        flip_at = now + _FLIP_SECONDS
        env.move({"ETH": _HIGH_E8 if high else PRICES_E8["ETH/USD"]})
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(wait)
        while env.chain.now() < flip_at - 1:
            fill = env.worst_fill(appetite_bps)
            if fill is None:
                break
            with env.counted(tally):
                try:
                    env.keep_what_it_can(fill)
                except ContractReverted:
                    break  # the step is too small, or a budget is used up
            env.wait(min(cooldown, flip_at - 1 - env.chain.now()))
        env.wait(flip_at - 1 - env.chain.now())


def best_plunder(
    env: AttackEnv,
    seconds: int,
    waits: tuple[int, int] = (1_200, 3_600),
    appetites_bps: tuple[int, int] = (2_500, BPS),
) -> tuple[int, int]:
    """The wait and the appetite with the largest gain in a window."""

    def gain(parameters: tuple[int, ...]) -> int:
        tally = Tally()
        with env.undone():
            plunder(env, tally, env.chain.now() + seconds, *parameters)
        return tally.gained_e18

    wait, appetite_bps = best(gain, [waits, appetites_bps], points=3, rounds=1)
    return wait, appetite_bps


def _one_period(env: AttackEnv) -> Result:
    policy = env.snapshot().policy
    wait, appetite_bps = best_plunder(env, policy.loss_period_seconds)
    tally = Tally()
    plunder(env, tally, env.chain.now() + policy.loss_period_seconds, wait, appetite_bps)
    return Result(
        "stolen keeper whose executor keeps as much as possible, one loss period of a wild market",
        "B",
        f"trades {wait / 60:.0f} min after a break, {appetite_bps / 100:.0f} % of the surplus at a time",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def _long_window(env: AttackEnv) -> Result:
    """The same for days, under a policy in which only the loss budget limits."""
    policy = env.set_policy(turnover_budget_bps=_LOOSE_TURNOVER_BPS)
    # Half a day shows how fast the budget can be used up; after that every method follows its refill.
    wait, appetite_bps = best_plunder(env, DAY // 2, waits=(1_200, 1_200))
    tally = Tally(history=[(env.chain.now(), 0)])
    window = _LONG_DAYS * DAY
    plunder(env, tally, env.chain.now() + window, wait, appetite_bps)
    env.loot = Loot(tally, policy)
    return Result(
        f"the same, {_LONG_DAYS} days, turnover budget practically unlimited",
        "B",
        f"{wait / 60:.0f} min, {appetite_bps / 100:.0f} %",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, window),
    )


_ORACLE_ERROR_BPS = 50
"""Deviation threshold of mainnet's ETH/USD and BTC/USD feeds."""


def _lagging_oracle(env: AttackEnv) -> Result:
    """The market is ahead of every feed by the deviation threshold, in the thief's favour, for a loss period."""
    policy = env.set_policy(max_slippage_bps=200)
    tally = Tally()
    until = env.chain.now() + policy.loss_period_seconds
    high = False
    while env.chain.now() + _FLIP_SECONDS <= until:
        high = not high
        flip_at = env.chain.now() + _FLIP_SECONDS
        env.lead_bps = {}
        env.move({"ETH": _HIGH_E8 if high else PRICES_E8["ETH/USD"]})
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(policy.slippage_ramp_seconds)
        fill = env.worst_fill()
        if fill is not None:
            env.lead_bps = {
                token: _ORACLE_ERROR_BPS if sale else -_ORACLE_ERROR_BPS
                for token, sale in zip(fill.tokens, fill.sales, strict=True)
            }
            with env.counted(tally):
                env.refused(env.keep_what_it_can, fill)
        env.wait(flip_at - 1 - env.chain.now())
    return Result(
        "the same, one loss period, slippage limit 2 %, every feed 0.5 % behind the market in the thief's favour",
        "B, D",
        "trades at the end of each climb, all of the surplus",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds, _ORACLE_ERROR_BPS),
    )


# Sandwiches


@dataclass(frozen=True)
class _Leg:
    """A sale of the vault: tokens, pool, and the pool's price before the thief's first trade."""

    sold: BoundContract
    bought: BoundContract
    pool: BoundContract
    fee_pips: int
    sale_raw: int
    sqrt_x96: int

    @property
    def zero_for_one(self) -> bool:
        return int(self.sold.address, 16) < int(self.bought.address, 16)

    def push(self, env: AttackEnv, pips: int) -> Act:
        """Sell before the vault until the price is worse by these millionths."""
        down = self.sqrt_x96 * isqrt((_PIPS - pips) * _PIPS) // _PIPS
        up = self.sqrt_x96 * _PIPS // isqrt((_PIPS - pips) * _PIPS)
        return self._swap(env, self.zero_for_one, down if self.zero_for_one else up)

    def back(self, env: AttackEnv) -> Act:
        """Buy back until the price is at its start."""
        return self._swap(env, not self.zero_for_one, self.sqrt_x96)

    def _swap(self, env: AttackEnv, zero_for_one: bool, limit: int) -> Act:
        me = env.impersonated.address
        return act(self.pool, "swap", me, zero_for_one, _ALL, limit, b"", may_fail=True)

    def hop(self) -> Hop:
        """The vault's own swap."""
        ends = self.sold.address, self.bought.address
        return v3_hop(self.pool.address, self.sale_raw, *ends, to_caller=True)

    def provide(self, env: AttackEnv, liquidity: int) -> Act:
        """Provide liquidity over the whole range."""
        last = _FULL_RANGE[self.fee_pips]
        return act(self.pool, "mint", env.impersonated.address, -last, last, liquidity, b"")

    def leave(self, env: AttackEnv, liquidity: int) -> list[Act]:
        """Withdraw liquidity and fees."""
        last = _FULL_RANGE[self.fee_pips]
        most = 2**128 - 1
        return [
            act(self.pool, "burn", -last, last, liquidity),
            act(self.pool, "collect", env.impersonated.address, -last, last, most, most),
        ]


def break_ether_up(env: AttackEnv, e8: int = 2_200 * 10**8) -> None:
    """Raise ether by 10 %, poke, and wait until the slippage limit is at its maximum."""
    env.move({"ETH": e8})
    env.send(env.vault, "poke", sender=env.thief)
    env.wait(env.snapshot().policy.slippage_ramp_seconds)


def honest_plan(env: AttackEnv) -> tuple[Problem, Plan]:
    """The honest keeper's problem and plan at the newest block."""
    now = env.snapshot()
    problem = Problem.of(
        now.basket,
        env.pools(),
        slippage_limit_e18=now.slippage_limit_e18,
        loss_left_e18=now.loss_left_e18,
        turnover_left_e18=now.turnover_left_e18,
    )
    plan = plan_rebalance(problem)
    if isinstance(plan, NoPlan):
        raise AssertionError(f"the keeper must have a plan: {plan}")
    return problem, plan


def _searcher(env: AttackEnv) -> Result:
    """No key is stolen: a searcher sandwiches the honest keeper's trade, as far as its minimum purchases allow."""
    break_ether_up(env)
    problem, plan = honest_plan(env)
    swaps = _swaps(env, {frozenset(p.tokens): p for p in env.environment.deployment.pools})

    def attack(parameters: tuple[int, ...]) -> Tally:
        tally = Tally()
        with env.counted(tally):
            pushed = list(zip(swaps, parameters, strict=True))
            env.pull([swap.push(env, pips) for swap, pips in pushed if pips])
            env.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
            env.pull([swap.back(env) for swap in swaps])
        return tally

    found = best(env.gain_of(attack), [(0, 2_000)] * len(swaps))
    total_e18 = env.worths_e18(env.vault)[2]
    with env.undone():
        alone = Tally()
        with env.counted(alone):
            env.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
    sold_e18 = sum(map(env.value_e18, problem.tokens, plan.sales_raw))
    tally = attack(found)
    return Result(
        "searcher sandwiches the honest keeper's trade",
        "the plan's",
        f"moves the pools by {' and '.join(f'{pips / 10_000:.2f} %' for pips in found)}",
        tally.gained_e18,
        tally.lost_e18,
        alone.lost_e18 + sold_e18 * problem.tolerance_bps // BPS * MILLION // total_e18,
        f"without the attack it loses {dollars(alone.lost_e18)}",
    )


def _sandwich_v3(env: AttackEnv) -> Result:
    """Both swaps of a rebalance, through the public RouteExecutor, between the thief's own trades in the same pools."""
    policy = env.snapshot().policy
    break_ether_up(env)
    swaps = _swaps(env, {frozenset(p.tokens): p for p in env.environment.deployment.pools})

    def attack(parameters: tuple[int, ...]) -> Tally:
        *pushes, own_percent = parameters
        tally = Tally()
        liquidity = [env.read(swap.pool, "liquidity") * own_percent // 100 for swap in swaps]
        with env.counted(tally):
            if own_percent:
                env.pull([swap.provide(env, own) for swap, own in zip(swaps, liquidity, strict=True)])
            env.pull([swap.push(env, push) for swap, push in zip(swaps, pushes, strict=True) if push])
            sales = [sum(swap.sale_raw for swap in swaps), 0, 0]
            env.rebalance_by_route(sales, [0, 1, 1], encode([swap.hop() for swap in swaps]))
            env.pull([swap.back(env) for swap in swaps])
            if own_percent:
                for swap, own in zip(swaps, liquidity, strict=True):
                    env.pull(swap.leave(env, own))
        return tally

    found = best(env.gain_of(attack), [(0, 15_000), (0, 15_000), (0, 10_000)], points=6)
    limit_e18 = env.sold_limit_e18(policy.max_slippage_bps)
    tally = attack(found)
    return Result(
        "stolen keeper sandwiches its own trade in Uniswap V3's deep pools",
        "B, D",
        f"moves the pools by {found[0] / 10_000:.2f} % and {found[1] / 10_000:.2f} %, "
        f"provides {found[2]} % of their liquidity on top",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


def _swaps(env: AttackEnv, pools: Mapping[frozenset[str], PoolRef]) -> list[_Leg]:
    """Sell ether's whole surplus for each deficit, in the pool of the pair."""
    basket = env.snapshot().basket
    weth = env.tokens["WETH"]
    swaps = []
    for asset, distance_e18 in zip(basket.assets, weigh_basket(basket).distances_e18, strict=True):
        if distance_e18 >= 0:
            continue
        pool = pools[frozenset({weth.address, asset.token})]
        contract = contract_at(env.chain.rpc, "UniswapV3Pool", pool.address)
        sale = -distance_e18 * 10**18 // basket.prices_e18[0] * 9_999 // BPS
        sqrt_x96 = env.read(contract, "slot0")[0]
        bought = contract_at(env.chain.rpc, "MockToken", asset.token)
        swaps.append(_Leg(weth, bought, contract, pool.fee_pips, sale, sqrt_x96))
    return swaps


_OWN_FEE_PIPS = 100
_OWN_USD = 50_000_000


def _own_pool(env: AttackEnv) -> Result:
    """A new pool with only the thief's liquidity, opened at the best price for the thief: no sandwich is needed."""
    policy = env.snapshot().policy
    break_ether_up(env)
    factory = contract_at(env.chain.rpc, "UniswapV3Factory", env.environment.deployment.uniswap["UniswapV3Factory"])
    weth = env.tokens["WETH"]
    pools = {}
    for other in (env.tokens["WBTC"], env.tokens["USDC"]):
        pair = (weth.address, other.address)
        env.send(factory, "createPool", *pair, _OWN_FEE_PIPS, sender=env.thief)
        address = env.read(factory, "getPool", *pair, _OWN_FEE_PIPS)
        pools[frozenset(pair)] = PoolRef(address, pair, _OWN_FEE_PIPS)

    def attack(parameters: tuple[int, ...]) -> Tally:
        """Each pool opens `parameters` millionths below the market."""
        tally = Tally()
        for pool, pips in zip(pools.values(), parameters, strict=True):
            tokens = sorted(pool.tokens, key=lambda token: int(token, 16))
            worths = [env.price_e18(token) * (_PIPS - pips if token == weth.address else _PIPS) for token in tokens]
            decimals = [env.decimals[token] for token in tokens]
            sqrt_x96 = sqrt_price_x96(worths[0], worths[1], decimals[0], decimals[1])
            contract = contract_at(env.chain.rpc, "UniswapV3Pool", pool.address)
            env.send(contract, "initialize", sqrt_x96, sender=env.thief)
        swaps = _swaps(env, pools)
        with env.counted(tally):
            # {liquidity} = {raw} * sqrt price, of the side that is WETH
            liquidity = [
                env.raw(weth.address, _OWN_USD) * swap.sqrt_x96 // 2**96
                if swap.zero_for_one
                else env.raw(weth.address, _OWN_USD) * 2**96 // swap.sqrt_x96
                for swap in swaps
            ]
            for swap, own in zip(swaps, liquidity, strict=True):
                env.pull([swap.provide(env, own)])
            sales = [sum(swap.sale_raw for swap in swaps), 0, 0]
            env.rebalance_by_route(sales, [0, 1, 1], encode([swap.hop() for swap in swaps]))
            for swap, own in zip(swaps, liquidity, strict=True):
                env.pull(swap.leave(env, own))
        return tally

    found = best(env.gain_of(attack), [(0, 15_000), (0, 15_000)])
    limit_e18 = env.sold_limit_e18(policy.max_slippage_bps)
    tally = attack(found)
    return Result(
        "stolen keeper trades in a Uniswap V3 pool with only its own liquidity",
        "B, D",
        f"opens the pools {found[0] / 10_000:.2f} % and {found[1] / 10_000:.2f} % below the market",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


def _sandwich_v2(env: AttackEnv) -> Result:
    """The same in a Uniswap V2 pair of WETH and USDC, with the best depth for the thief."""
    policy = env.snapshot().policy
    break_ether_up(env)
    weth, usdc = env.tokens["WETH"], env.tokens["USDC"]
    basket = env.snapshot().basket
    deficit_e18 = -weigh_basket(basket).distances_e18[2]
    sale = deficit_e18 * 10**18 // basket.prices_e18[0] * 9_999 // BPS
    down = int(weth.address, 16) < int(usdc.address, 16)

    def attack(parameters: tuple[int, ...]) -> Tally:
        depth_usd, front_usd = parameters
        tally = Tally()
        pair = _pair(env, weth, usdc, depth_usd)

        def reserves() -> tuple[int, int]:
            first, second, _ = env.read(pair, "getReserves")
            return (first, second) if down else (second, first)

        def swap(sells_weth: bool, amount: int) -> None:
            into, out_of = reserves() if sells_weth else reserves()[::-1]
            # UniswapV2Library.getAmountOut
            out = amount * 997 * out_of // (into * 1_000 + amount * 997)
            outs = (0, out) if sells_weth == down else (out, 0)
            pay = act(weth if sells_weth else usdc, "transfer", pair.address, amount)
            env.pull([pay, act(pair, "swap", *outs, env.impersonated.address, b"")])

        weth_before, usdc_before = reserves()
        with env.counted(tally):
            if front_usd:
                swap(True, env.raw(weth.address, front_usd))
            hop = pair_hop(pair.address, sale, weth.address, usdc.address, to_caller=True)
            env.rebalance_by_route([sale, 0, 0], [0, 0, 1], encode([hop]))
            # Buying back pays until the price is one fee below the market's, the pair's first price.
            weth_now, usdc_now = reserves()
            back = isqrt(weth_now * usdc_now * usdc_before * 997 // (weth_before * 1_000)) - usdc_now
            if back > 0:
                swap(False, back)
        return tally

    found = best(env.gain_of(attack), [(_THIN_USD, _DEEP_USD), (0, 50_000)], points=9, rounds=4)
    limit_e18 = deficit_e18 * policy.max_slippage_bps // BPS
    total_e18 = env.worths_e18(env.vault)[2]
    tally = attack(found)
    return Result(
        "stolen keeper sandwiches its own trade in a Uniswap V2 pair",
        "B, D",
        f"finds a pair of {found[0]:,} dollars a side, sells {found[1]:,} dollars ahead",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18 * MILLION // total_e18,
    )


_THIN_USD, _DEEP_USD = 700_000, 15_000_000


def _pair(env: AttackEnv, one: BoundContract, other: BoundContract, depth_usd: int) -> BoundContract:
    """A Uniswap V2 pair at the market's prices."""
    owner = Actor.OWNER.address
    factory = env.chain.deploy("UniswapV2Factory", owner, sender=owner)
    env.send(factory, "createPair", one.address, other.address, sender=owner)
    pair = contract_at(env.chain.rpc, "UniswapV2Pair", env.read(factory, "getPair", one.address, other.address))
    for token in (one, other):
        env.market.deal(token.address, pair.address, env.raw(token.address, depth_usd))
    env.send(pair, "mint", owner, sender=owner)
    return pair


# Trades without a reason


def wash_trading(env: AttackEnv) -> list[Result]:
    """Trades without a reason: in band, back and forth, and one break in as many parts as possible."""
    results = []
    for scenario in (_break_bands, _back_and_forth, _nibble_at_a_break):
        with env.undone():
            results.append(scenario(env))
    return results


def _any_trade(env: AttackEnv) -> None:
    """A rebalance of the smallest amounts."""
    held = env.snapshot().basket.held
    env.keep_what_it_can(env.fill([held[0] // 10_000, 0, 0], [0, 1, 0]))


def _break_bands(env: AttackEnv) -> Result:
    """Without a market move, the thief can break no band and make no trade."""
    usdc = env.tokens["USDC"]
    pools = [contract_at(env.chain.rpc, "UniswapV3Pool", p.address) for p in env.environment.deployment.pools]
    me, vault = env.impersonated.address, env.vault
    half = 500_000 * E18

    def push(pool: BoundContract) -> None:
        sqrt_x96 = env.read(pool, "slot0")[0]
        env.pull([act(pool, "swap", me, True, _ALL, sqrt_x96 * 8 // 10, b"")])

    def skip() -> None:
        env.mint(env.thief, half)
        thief = env.thief
        env.send(vault, "redeemInKindExcept", half, thief, thief, [0, 0, 0], 1, sender=thief)

    tries: dict[str, Callable[[], object]] = {
        "as it is": lambda: None,
        "gives USDC": lambda: env.pull([act(usdc, "transfer", vault.address, env.raw(usdc.address, 5_000_000))]),
        "mints half": lambda: env.mint(env.thief, half),
        "redeems all but WETH": skip,
        **{f"pushes pool {i}": partial(push, pool) for i, pool in enumerate(pools)},
        "syncs": lambda: env.refused(env.send, vault, "sync", 0, sender=env.thief),
    }
    tally = Tally()
    passed = []
    for name, prepare in tries.items():
        with env.undone(), env.counted(tally):
            prepare()
            env.send(vault, "poke", sender=env.thief)
            if env.refused(_any_trade, env) != "NoBandBroken":
                passed.append(name)
    if passed:
        raise AssertionError(f"a trade in band did not revert with NoBandBroken: {passed}")
    return Result(
        "stolen keeper tries to break a band itself: gifts, mint, redeem in part, pushed pools, sync",
        "B",
        f"{len(tries)} ways, all refused: NoBandBroken; it pays for its gifts and fees",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _back_and_forth(env: AttackEnv) -> Result:
    """After its trade the thief tries to trade back, at every size."""
    policy = env.snapshot().policy
    break_ether_up(env)
    tally = Tally()
    first = env.worst_fill()
    if first is None:
        raise AssertionError("the scenario must break a band")
    surplus_e18 = sum(d for d in weigh_basket(env.snapshot().basket).distances_e18 if d > 0)
    total_e18 = env.worths_e18(env.vault)[2]
    with env.counted(tally):
        env.keep_what_it_can(first)
    env.wait(policy.cooldown_seconds)
    assets = env.snapshot().basket.assets
    refusals = set()
    for sold in range(3):
        for bought in range(3):
            for usd in (1, 100, 10_000) if sold != bought else ():
                sales, buys = [0, 0, 0], [0, 0, 0]
                sales[sold] = env.raw(assets[sold].token, usd)
                buys[bought] = env.raw(assets[bought].token, usd) * 99 // 100
                with env.counted(tally):
                    refusals.add(env.refused(env.keep_what_it_can, env.fill(sales, buys)))
    return Result(
        "stolen keeper trades back and forth after one break of 10 %",
        "C",
        f"one trade passes, 18 more are refused: {', '.join(sorted(map(str, refusals)))}",
        tally.gained_e18,
        tally.lost_e18,
        surplus_e18 * policy.max_slippage_bps // BPS * MILLION // total_e18,
    )


def _nibble_at_a_break(env: AttackEnv) -> Result:
    """One break in as many trades as possible: each must make a fifth of the progress, and rounds in the vault's
    favour."""
    policy = env.snapshot().policy
    break_ether_up(env)
    surplus_e18 = sum(d for d in weigh_basket(env.snapshot().basket).distances_e18 if d > 0)
    total_e18 = env.worths_e18(env.vault)[2]

    def play(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        tally, trades = Tally(), 0
        while (fill := env.worst_fill(*parameters)) is not None:
            with env.counted(tally):
                if env.refused(env.keep_what_it_can, fill):
                    break
            trades += 1
            env.move(seconds=policy.cooldown_seconds)
        return tally, trades

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(1_500, BPS)])
    tally, trades = play(found)
    allowed_e18 = surplus_e18 + trades * total_e18 * policy.dust_bps // BPS
    return Result(
        "stolen keeper splits one break of 10 % into many trades",
        "C, D",
        f"{trades} trade{'s' if trades != 1 else ''} of {found[0] / 100:.0f} % of the surplus each",
        tally.gained_e18,
        tally.lost_e18,
        allowed_e18 * policy.max_slippage_bps // BPS * MILLION // total_e18,
    )
