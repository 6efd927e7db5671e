"""What does a thief with the keeper's key take? Promise B, and C where no band is broken or one is broken once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.stage import Actor
from rebalancer.errors import ContractReverted
from rebalancer.plan import NoPlan, Plan, PlanInput, plan_rebalance
from rebalancer.route import Hop, encode
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import PoolRef
from rebalancer.venues.uniswap_v2 import pair_hop
from rebalancer.venues.uniswap_v3 import v3_hop
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96
from scripts._attacks.field import (
    DAY,
    MILLION,
    PRICES_E8,
    Act,
    Field,
    Loot,
    Result,
    Tally,
    act,
    bound_b_e18,
    dollars,
)
from scripts._attacks.search import best

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
"""In the wildest market here ether jumps up by 30 % and back in turn, this often: longer than the slippage limit climbs."""
_HIGH_E8 = 2_600 * 10**8

_LOOSE_TURNOVER_BPS = 20_000
"""A turnover budget that never binds, so that the loss budget must."""

_PIPS = 10**6
_FULL_RANGE = {3_000: 887_220, 500: 887_270, 100: 887_272}
"""Last usable tick by the pool's fee."""
_ALL = 2**126


def stolen_keeper(field: Field) -> list[Result]:
    """Sandwiches on Uniswap V3 and V2, the honest keeper's trade among them, its own executor for a loss period and a long window, and a lagging oracle."""
    results = []
    for scenario in (
        *(_searcher, _sandwich_v3, _sandwich_v2, _own_pool),
        *(_one_period, _long_window, _lagging_oracle),
    ):
        with field.undone():
            results.append(scenario(field))
    return results


# The executor that keeps what it can


def plunder(field: Field, tally: Tally, until: int, wait: int, appetite_bps: int) -> None:
    """Take what every break of a wild market lets pass, each `wait` after it was seen, part by part."""
    cooldown = field.look().policy.cooldown_seconds
    high = False
    while (now := field.chain.now()) + _FLIP_SECONDS <= until:
        high = not high
        flip_at = now + _FLIP_SECONDS
        field.move({"ETH": _HIGH_E8 if high else PRICES_E8["ETH/USD"]})
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(wait)
        while field.chain.now() < flip_at - 1:
            fill = field.worst_fill(appetite_bps)
            if fill is None:
                break
            with field.counted(tally):
                try:
                    field.keep_what_it_can(fill)
                except ContractReverted:
                    break  # too small a step, or nothing left in a budget
            field.wait(min(cooldown, flip_at - 1 - field.chain.now()))
        field.wait(flip_at - 1 - field.chain.now())


def best_plunder(
    field: Field,
    seconds: int,
    waits: tuple[int, int] = (1_200, 3_600),
    appetites_bps: tuple[int, int] = (2_500, BPS),
) -> tuple[int, int]:
    """The wait and the appetite that take most in a window."""

    def gain(parameters: tuple[int, ...]) -> int:
        tally = Tally()
        with field.undone():
            plunder(field, tally, field.chain.now() + seconds, *parameters)
        return tally.gained_e18

    wait, appetite_bps = best(gain, [waits, appetites_bps], points=3, rounds=1)
    return wait, appetite_bps


def _one_period(field: Field) -> Result:
    policy = field.look().policy
    wait, appetite_bps = best_plunder(field, policy.loss_period_seconds)
    tally = Tally()
    plunder(field, tally, field.chain.now() + policy.loss_period_seconds, wait, appetite_bps)
    return Result(
        "stolen keeper whose executor keeps what it can, one loss period of a wild market",
        "B",
        f"trades {wait / 60:.0f} min after a break, {appetite_bps / 100:.0f} % of the surplus at a time",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def _long_window(field: Field) -> Result:
    """The same for days, under a policy in which only the loss budget can stop it."""
    policy = field.set_policy(turnover_budget_bps=_LOOSE_TURNOVER_BPS)
    # Half a day is enough to see how fast the budget can be emptied; from then on any way follows its drain.
    wait, appetite_bps = best_plunder(field, DAY // 2, waits=(1_200, 1_200))
    tally = Tally(history=[(field.chain.now(), 0)])
    window = _LONG_DAYS * DAY
    plunder(field, tally, field.chain.now() + window, wait, appetite_bps)
    field.loot = Loot(tally, policy)
    return Result(
        f"the same, {_LONG_DAYS} days, turnover as good as unlimited",
        "B",
        f"{wait / 60:.0f} min, {appetite_bps / 100:.0f} %",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, window),
    )


_ORACLE_ERROR_BPS = 50
"""The deviation at which mainnet's ETH/USD and BTC/USD feeds answer anew."""


def _lagging_oracle(field: Field) -> Result:
    """The market runs ahead of every feed by as much as it may, each time in the thief's favour, for a loss period."""
    policy = field.set_policy(max_slippage_bps=200)
    tally = Tally()
    until = field.chain.now() + policy.loss_period_seconds
    high = False
    while field.chain.now() + _FLIP_SECONDS <= until:
        high = not high
        flip_at = field.chain.now() + _FLIP_SECONDS
        field.lead_bps = {}
        field.move({"ETH": _HIGH_E8 if high else PRICES_E8["ETH/USD"]})
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(policy.slippage_ramp_seconds)
        fill = field.worst_fill()
        if fill is not None:
            field.lead_bps = {
                token: _ORACLE_ERROR_BPS if sale else -_ORACLE_ERROR_BPS
                for token, sale in zip(fill.tokens, fill.sales, strict=True)
            }
            with field.counted(tally):
                field.refused(field.keep_what_it_can, fill)
        field.wait(flip_at - 1 - field.chain.now())
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
    """What the vault sells, for what, where; and the pool's price before the thief touches it."""

    sold: BoundContract
    bought: BoundContract
    pool: BoundContract
    fee_pips: int
    sale_raw: int
    sqrt_x96: int

    @property
    def zero_for_one(self) -> bool:
        return int(self.sold.address, 16) < int(self.bought.address, 16)

    def push(self, field: Field, pips: int) -> Act:
        """Sell ahead of the vault until the price is so much worse."""
        down = self.sqrt_x96 * isqrt((_PIPS - pips) * _PIPS) // _PIPS
        up = self.sqrt_x96 * _PIPS // isqrt((_PIPS - pips) * _PIPS)
        return self._swap(field, self.zero_for_one, down if self.zero_for_one else up)

    def back(self, field: Field) -> Act:
        """Buy back until the price is as it was."""
        return self._swap(field, not self.zero_for_one, self.sqrt_x96)

    def _swap(self, field: Field, zero_for_one: bool, limit: int) -> Act:
        me = field.puppet.address
        return act(self.pool, "swap", me, zero_for_one, _ALL, limit, b"", may_fail=True)

    def hop(self) -> Hop:
        """The vault's own swap."""
        ends = self.sold.address, self.bought.address
        return v3_hop(self.pool.address, self.sale_raw, *ends, to_caller=True)

    def provide(self, field: Field, liquidity: int) -> Act:
        """Become a liquidity provider over the whole range."""
        last = _FULL_RANGE[self.fee_pips]
        return act(self.pool, "mint", field.puppet.address, -last, last, liquidity, b"")

    def leave(self, field: Field, liquidity: int) -> list[Act]:
        """Take liquidity and fees back."""
        last = _FULL_RANGE[self.fee_pips]
        most = 2**128 - 1
        return [
            act(self.pool, "burn", -last, last, liquidity),
            act(self.pool, "collect", field.puppet.address, -last, last, most, most),
        ]


def break_ether_up(field: Field, e8: int = 2_200 * 10**8) -> None:
    """Ether has risen by 10 %, somebody poked, and the slippage limit has climbed to its top."""
    field.move({"ETH": e8})
    field.send(field.vault, "poke", sender=field.thief)
    field.wait(field.look().policy.slippage_ramp_seconds)


def honest_plan(field: Field) -> tuple[PlanInput, Plan]:
    """What the keeper would do now, and from what it found that."""
    now = field.look()
    asked = PlanInput.of(
        now.basket,
        field.pools(),
        slippage_limit_e18=now.slippage_limit_e18,
        loss_left_e18=now.loss_left_e18,
        turnover_left_e18=now.turnover_left_e18,
    )
    plan = plan_rebalance(asked)
    if isinstance(plan, NoPlan):
        raise AssertionError(f"the keeper must have a plan: {plan}")
    return asked, plan


def _searcher(field: Field) -> Result:
    """No key is stolen: a searcher sees the honest keeper's trade and sandwiches it, as far as its least purchases allow."""
    break_ether_up(field)
    asked, plan = honest_plan(field)
    legs = _legs(field, {frozenset(p.tokens): p for p in field.stage.deployment.pools})

    def attack(parameters: tuple[int, ...]) -> Tally:
        tally = Tally()
        with field.counted(tally):
            pushed = list(zip(legs, parameters, strict=True))
            field.pull([leg.push(field, pips) for leg, pips in pushed if pips])
            field.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
            field.pull([leg.back(field) for leg in legs])
        return tally

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).gained_e18
            except ContractReverted:
                return None

    found = best(gain, [(0, 2_000)] * len(legs))
    total_e18 = field.worths_e18(field.vault)[2]
    with field.undone():
        alone = Tally()
        with field.counted(alone):
            field.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
    sold_e18 = sum(map(field.value_e18, asked.tokens, plan.sales_raw))
    tally = attack(found)
    return Result(
        "searcher sandwiches the honest keeper's trade",
        "the plan's",
        f"moves the pools by {' and '.join(f'{pips / 10_000:.2f} %' for pips in found)}",
        tally.gained_e18,
        tally.lost_e18,
        alone.lost_e18 + sold_e18 * asked.tolerance_bps // BPS * MILLION // total_e18,
        f"unmolested it loses {dollars(alone.lost_e18)}",
    )


def _sandwich_v3(field: Field) -> Result:
    """Both legs of a rebalance, through the public RouteExecutor, between the thief's own trades in the same pools."""
    policy = field.look().policy
    break_ether_up(field)
    legs = _legs(field, {frozenset(p.tokens): p for p in field.stage.deployment.pools})

    def attack(parameters: tuple[int, ...]) -> Tally:
        *pushes, own_percent = parameters
        tally = Tally()
        liquidity = [field.read(leg.pool, "liquidity") * own_percent // 100 for leg in legs]
        with field.counted(tally):
            if own_percent:
                field.pull(
                    [leg.provide(field, own) for leg, own in zip(legs, liquidity, strict=True)]
                )
            field.pull(
                [leg.push(field, push) for leg, push in zip(legs, pushes, strict=True) if push]
            )
            sales = [sum(leg.sale_raw for leg in legs), 0, 0]
            field.rebalance_by_route(sales, [0, 1, 1], encode([leg.hop() for leg in legs]))
            field.pull([leg.back(field) for leg in legs])
            if own_percent:
                for leg, own in zip(legs, liquidity, strict=True):
                    field.pull(leg.leave(field, own))
        return tally

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).gained_e18
            except ContractReverted:
                return None

    found = best(gain, [(0, 15_000), (0, 15_000), (0, 10_000)], points=6)
    limit_e18 = field.sold_limit_e18(policy.max_slippage_bps)
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


def _legs(field: Field, pools: Mapping[frozenset[str], PoolRef]) -> list[_Leg]:
    """Ether's whole surplus for each deficit, in the pool of the two."""
    basket = field.look().basket
    weth = field.tokens["WETH"]
    legs = []
    for asset, distance_e18 in zip(basket.assets, weigh_basket(basket).distances_e18, strict=True):
        if distance_e18 >= 0:
            continue
        pool = pools[frozenset({weth.address, asset.token})]
        contract = contract_at(field.chain.rpc, "UniswapV3Pool", pool.address)
        sale = -distance_e18 * 10**18 // basket.prices_e18[0] * 9_999 // BPS
        sqrt_x96 = field.read(contract, "slot0")[0]
        bought = contract_at(field.chain.rpc, "MockToken", asset.token)
        legs.append(_Leg(weth, bought, contract, pool.fee_pips, sale, sqrt_x96))
    return legs


_OWN_FEE_PIPS = 100
_OWN_USD = 50_000_000


def _own_pool(field: Field) -> Result:
    """No sandwich is needed where all liquidity is the thief's: a new pool opens at the price that suits it."""
    policy = field.look().policy
    break_ether_up(field)
    factory = contract_at(
        field.chain.rpc, "UniswapV3Factory", field.stage.deployment.uniswap["UniswapV3Factory"]
    )
    weth = field.tokens["WETH"]
    pools = {}
    for other in (field.tokens["WBTC"], field.tokens["USDC"]):
        pair = (weth.address, other.address)
        field.send(factory, "createPool", *pair, _OWN_FEE_PIPS, sender=field.thief)
        address = field.read(factory, "getPool", *pair, _OWN_FEE_PIPS)
        pools[frozenset(pair)] = PoolRef(address, pair, _OWN_FEE_PIPS)

    def attack(parameters: tuple[int, ...]) -> Tally:
        """Each pool opens `parameters` millionths below the market."""
        tally = Tally()
        for pool, pips in zip(pools.values(), parameters, strict=True):
            tokens = sorted(pool.tokens, key=lambda token: int(token, 16))
            worths = [
                field.price_e18(token) * (_PIPS - pips if token == weth.address else _PIPS)
                for token in tokens
            ]
            decimals = [field.decimals[token] for token in tokens]
            sqrt_x96 = sqrt_price_x96(worths[0], worths[1], decimals[0], decimals[1])
            contract = contract_at(field.chain.rpc, "UniswapV3Pool", pool.address)
            field.send(contract, "initialize", sqrt_x96, sender=field.thief)
        legs = _legs(field, pools)
        with field.counted(tally):
            # {liquidity} = {raw} * sqrt price, of the side that is WETH
            liquidity = [
                field.raw(weth.address, _OWN_USD) * leg.sqrt_x96 // 2**96
                if leg.zero_for_one
                else field.raw(weth.address, _OWN_USD) * 2**96 // leg.sqrt_x96
                for leg in legs
            ]
            for leg, own in zip(legs, liquidity, strict=True):
                field.pull([leg.provide(field, own)])
            sales = [sum(leg.sale_raw for leg in legs), 0, 0]
            field.rebalance_by_route(sales, [0, 1, 1], encode([leg.hop() for leg in legs]))
            for leg, own in zip(legs, liquidity, strict=True):
                field.pull(leg.leave(field, own))
        return tally

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).gained_e18
            except ContractReverted:
                return None

    found = best(gain, [(0, 15_000), (0, 15_000)])
    limit_e18 = field.sold_limit_e18(policy.max_slippage_bps)
    tally = attack(found)
    return Result(
        "stolen keeper trades in a Uniswap V3 pool that is all its own",
        "B, D",
        f"opens the pools {found[0] / 10_000:.2f} % and {found[1] / 10_000:.2f} % below the market",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


def _sandwich_v2(field: Field) -> Result:
    """The same in a Uniswap V2 pair of WETH and USDC, of whatever depth suits the thief best."""
    policy = field.look().policy
    break_ether_up(field)
    weth, usdc = field.tokens["WETH"], field.tokens["USDC"]
    basket = field.look().basket
    deficit_e18 = -weigh_basket(basket).distances_e18[2]
    sale = deficit_e18 * 10**18 // basket.prices_e18[0] * 9_999 // BPS
    down = int(weth.address, 16) < int(usdc.address, 16)

    def attack(parameters: tuple[int, ...]) -> Tally:
        depth_usd, front_usd = parameters
        tally = Tally()
        pair = _pair(field, weth, usdc, depth_usd)

        def reserves() -> tuple[int, int]:
            first, second, _ = field.read(pair, "getReserves")
            return (first, second) if down else (second, first)

        def swap(sells_weth: bool, amount: int) -> None:
            into, out_of = reserves() if sells_weth else reserves()[::-1]
            # UniswapV2Library.getAmountOut
            out = amount * 997 * out_of // (into * 1_000 + amount * 997)
            outs = (0, out) if sells_weth == down else (out, 0)
            pay = act(weth if sells_weth else usdc, "transfer", pair.address, amount)
            field.pull([pay, act(pair, "swap", *outs, field.puppet.address, b"")])

        weth_before, usdc_before = reserves()
        with field.counted(tally):
            if front_usd:
                swap(True, field.raw(weth.address, front_usd))
            hop = pair_hop(pair.address, sale, weth.address, usdc.address, to_caller=True)
            field.rebalance_by_route([sale, 0, 0], [0, 0, 1], encode([hop]))
            # Buying back pays until the price is one fee below the market's, where the pair began.
            weth_now, usdc_now = reserves()
            back = (
                isqrt(weth_now * usdc_now * usdc_before * 997 // (weth_before * 1_000)) - usdc_now
            )
            if back > 0:
                swap(False, back)
        return tally

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).gained_e18
            except ContractReverted:
                return None

    found = best(gain, [(_THIN_USD, _DEEP_USD), (0, 50_000)], points=9, rounds=4)
    limit_e18 = deficit_e18 * policy.max_slippage_bps // BPS
    total_e18 = field.worths_e18(field.vault)[2]
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


def _pair(field: Field, one: BoundContract, other: BoundContract, depth_usd: int) -> BoundContract:
    """A Uniswap V2 pair at the market's prices."""
    owner = Actor.OWNER.address
    factory = field.chain.deploy("UniswapV2Factory", owner, sender=owner)
    field.send(factory, "createPair", one.address, other.address, sender=owner)
    pair = contract_at(
        field.chain.rpc, "UniswapV2Pair", field.read(factory, "getPair", one.address, other.address)
    )
    for token in (one, other):
        field.market.deal(token.address, pair.address, field.raw(token.address, depth_usd))
    field.send(pair, "mint", owner, sender=owner)
    return pair


# Trading without need


def wash_trading(field: Field) -> list[Result]:
    """Trades that no market asked for: in band, back and forth, and one break in as many parts as possible."""
    results = []
    for scenario in (_break_bands, _back_and_forth, _nibble_at_a_break):
        with field.undone():
            results.append(scenario(field))
    return results


def _any_trade(field: Field) -> None:
    """A rebalance of next to nothing."""
    held = field.look().basket.held
    field.keep_what_it_can(field.fill([held[0] // 10_000, 0, 0], [0, 1, 0]))


def _break_bands(field: Field) -> Result:
    """Whatever the thief does without the market's help, no band breaks and no trade passes."""
    usdc = field.tokens["USDC"]
    pools = [
        contract_at(field.chain.rpc, "UniswapV3Pool", p.address)
        for p in field.stage.deployment.pools
    ]
    me, vault = field.puppet.address, field.vault
    half = 500_000 * E18

    def push(pool: BoundContract) -> None:
        sqrt_x96 = field.read(pool, "slot0")[0]
        field.pull([act(pool, "swap", me, True, _ALL, sqrt_x96 * 8 // 10, b"")])

    def skip() -> None:
        field.mint(field.thief, half)
        thief = field.thief
        field.send(vault, "redeemInKindExcept", half, thief, thief, [0, 0, 0], 1, sender=thief)

    tries: dict[str, Callable[[], object]] = {
        "as it is": lambda: None,
        "gives USDC": lambda: field.pull(
            [act(usdc, "transfer", vault.address, field.raw(usdc.address, 5_000_000))]
        ),
        "mints half": lambda: field.mint(field.thief, half),
        "redeems all but WETH": skip,
        **{f"pushes pool {i}": partial(push, pool) for i, pool in enumerate(pools)},
        "syncs": lambda: field.refused(field.send, vault, "sync", 0, sender=field.thief),
    }
    tally = Tally()
    passed = []
    for name, prepare in tries.items():
        with field.undone(), field.counted(tally):
            prepare()
            field.send(vault, "poke", sender=field.thief)
            if field.refused(_any_trade, field) != "NoBandBroken":
                passed.append(name)
    if passed:
        raise AssertionError(f"a trade in band was not refused as such: {passed}")
    return Result(
        "stolen keeper tries to break a band itself: gifts, mint, redeem in part, pushed pools, sync",
        "B",
        f"{len(tries)} ways, all refused: NoBandBroken; it pays for its gifts and fees",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _back_and_forth(field: Field) -> Result:
    """After its trade the thief trades back, as far as anything lets it, at any size."""
    policy = field.look().policy
    break_ether_up(field)
    tally = Tally()
    first = field.worst_fill()
    if first is None:
        raise AssertionError("the scenario must break a band")
    surplus_e18 = sum(d for d in weigh_basket(field.look().basket).distances_e18 if d > 0)
    total_e18 = field.worths_e18(field.vault)[2]
    with field.counted(tally):
        field.keep_what_it_can(first)
    field.wait(policy.cooldown_seconds)
    assets = field.look().basket.assets
    refusals = set()
    for sold in range(3):
        for bought in range(3):
            for usd in (1, 100, 10_000) if sold != bought else ():
                sales, buys = [0, 0, 0], [0, 0, 0]
                sales[sold] = field.raw(assets[sold].token, usd)
                buys[bought] = field.raw(assets[bought].token, usd) * 99 // 100
                with field.counted(tally):
                    refusals.add(field.refused(field.keep_what_it_can, field.fill(sales, buys)))
    return Result(
        "stolen keeper trades back and forth after one break of 10 %",
        "C",
        f"one trade passes, 18 more are refused: {', '.join(sorted(map(str, refusals)))}",
        tally.gained_e18,
        tally.lost_e18,
        surplus_e18 * policy.max_slippage_bps // BPS * MILLION // total_e18,
    )


def _nibble_at_a_break(field: Field) -> Result:
    """One break in as many trades as pass: each must bring a fifth of the way, and rounds in the vault's favour."""
    policy = field.look().policy
    break_ether_up(field)
    surplus_e18 = sum(d for d in weigh_basket(field.look().basket).distances_e18 if d > 0)
    total_e18 = field.worths_e18(field.vault)[2]

    def play(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        tally, trades = Tally(), 0
        while (fill := field.worst_fill(*parameters)) is not None:
            with field.counted(tally):
                if field.refused(field.keep_what_it_can, fill):
                    break
            trades += 1
            field.move(seconds=policy.cooldown_seconds)
        return tally, trades

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(1_500, BPS)])
    tally, trades = play(found)
    allowed_e18 = surplus_e18 + trades * total_e18 * policy.dust_bps // BPS
    return Result(
        "stolen keeper nibbles at one break of 10 % in many trades",
        "C, D",
        f"{trades} trade{'s' if trades != 1 else ''} of {found[0] / 100:.0f} % of the surplus each",
        tally.gained_e18,
        tally.lost_e18,
        allowed_e18 * policy.max_slippage_bps // BPS * MILLION // total_e18,
    )
