"""Attacks by assets priced at a rate: an ERC-4626 share that gifts move, and a staked token whose feed ignores the
market."""

from __future__ import annotations

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.devnet.environment import Actor
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import (
    FeedSpec,
    SourceSpec,
    set_feed,
    set_source,
)
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from scripts.attacks.field import (
    DAY,
    MILLION,
    AttackEnv,
    AttackFill,
    Result,
    Tally,
    act,
    bound_b_e18,
)
from scripts.attacks.search import best

__all__ = ["add_share", "fundamental_feed", "give", "rates"]

_OWNER = Actor.OWNER.address
_DIVERGENCE_BPS = 200
_SIDE_USD = 500_000


def add_share(env: AttackEnv, underlying: BoundContract, *, checked: bool) -> BoundContract:
    """Deploy an ERC-4626 vault with half a million of a token each for owner and thief, and a feed; with `checked`, its
    rate is the second source."""
    share = env.chain.deploy("MockShareVault", underlying.address, 0, sender=_OWNER)
    for account in (_OWNER, env.thief):
        amount = env.raw(underlying.address, _SIDE_USD)
        env.send(underlying, "approve", share.address, 2**255, sender=account)
        env.send(share, "deposit", amount, account, sender=account)
    feed = env.chain.deploy("MockAggregator", 8, "SHARE / USD", sender=_OWNER)
    env.send(feed, "push", 10**8, sender=_OWNER)
    hub, owner = env.environment.system.oracle, env.chain.account(_OWNER)
    set_feed(owner, hub, share.address, FeedSpec(feed.address, 8, 90 * DAY, 1, 10**30))
    if checked:
        spec = SourceSpec.of(
            PRICE_SOURCES["erc4626"],
            *(18, 18),
            quote=underlying.address,
            max_divergence_bps=_DIVERGENCE_BPS,
        )
        set_source(owner, env.environment.system, share.address, spec)
    env.decimals[share.address] = 18
    env.fix_price(share.address, E18)
    return share


def give(env: AttackEnv, underlying: BoundContract, share: BoundContract, amount_raw: int) -> None:
    """Give the share's vault tokens of the thief: the share is worth more from then on, and is redeemable for it."""
    if amount_raw:
        env.pull([act(underlying, "transfer", share.address, amount_raw)])
    rate_e18 = env.read(share, "convertToAssets", E18)
    env.fix_price(share.address, rate_e18 * env.price_e18(underlying.address) // E18)


def _open(env: AttackEnv, *, checked: bool) -> tuple[BoundContract, BoundContract, BoundContract]:
    """Replace the vault by one of a plain token and such a share, in halves. Returns token, share and the share's
    underlying token."""
    underlying = env.new_token("MockToken", 18, 1, owner=_OWNER)
    token = env.new_token("MockToken", 18, 1, owner=_OWNER)
    share = add_share(env, underlying, checked=checked)
    seeds = [env.raw(token.address, _SIDE_USD), env.raw(share.address, _SIDE_USD)]
    env.vault = env.new_vault([token, share], seeds, 10**6 * E18, owner=_OWNER, with_roles=True)
    return token, share, underlying


def _stake(env: AttackEnv, underlying: BoundContract, share: BoundContract, usd: int) -> None:
    """Deposit dollars of the underlying token for shares, from the thief's contract."""
    amount = env.raw(underlying.address, usd)
    me = env.impersonated.address
    approve = act(underlying, "approve", share.address, 2**255)
    env.pull([approve, act(share, "deposit", amount, me)])


# A component whose rate gifts can move


def rates(env: AttackEnv) -> list[Result]:
    """Gifts to an ERC-4626 component: around a mint and redemption in kind, and before a trade at the new rate, where
    the rate is the only price and where it is the second source."""
    results = []
    for scenario in (_in_kind, _breaks_the_band, _widens_the_price):
        with env.undone():
            results.append(scenario(env))
    return results


def _in_kind(env: AttackEnv) -> Result:
    """Mint, give, redeem: one transaction, with a flash loan."""
    token, share, underlying = _open(env, checked=True)
    vault, me = env.vault, env.impersonated.address
    _stake(env, underlying, share, 10**9)
    before = (E18, share.address)

    def attack(parameters: tuple[int, ...]) -> Tally:
        percent, gift_usd = parameters
        shares = percent * 10**4 * E18
        env.fix_price(before[1], before[0])
        tally = Tally()
        with env.counted(tally):
            approve = [act(one, "approve", vault.address, 2**255) for one in (token, share)]
            mint = act(vault, "mintInKind", shares, me, [2**255] * 2)
            env.pull([*approve, mint])
            give(env, underlying, share, env.raw(underlying.address, gift_usd))
            env.pull([act(vault, "redeemInKind", shares, me, me, [0, 0])])
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(1, 40_000), (0, 1_000_000)], points=5, rounds=2)
    tally = attack(found)
    return Result(
        "ERC-4626 component: mint in kind, give to the component so that its rate rises, redeem",
        "none is diluted",
        f"no gift pays: at its best {found[1]:,} dollars, around {found[0]} % of all shares",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _breaks_the_band(env: AttackEnv) -> Result:
    """The share's only price is rate times feed: the thief, who owns almost all other shares, breaks a band by a gift
    to itself."""
    _, share, underlying = _open(env, checked=False)
    policy = env.snapshot().policy

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int, str | None]:
        own_usd, gift_bps = parameters
        _stake(env, underlying, share, own_usd)
        tally = Tally()
        with env.counted(tally):
            total_raw = env.read(share, "totalAssets")
            give(env, underlying, share, total_raw * gift_bps // BPS)
            env.reprice(share.address, env.price_e18(share.address))  # the feed follows
            env.send(env.vault, "poke", sender=env.thief)
            env.wait(policy.slippage_ramp_seconds)
            limit_e18 = env.sold_limit_e18(policy.max_slippage_bps)
            fill = env.worst_fill()
            refusal = env.refused(env.keep_what_it_can, fill) if fill else "no distance"
        return tally, limit_e18, refusal

    def gain(parameters: tuple[int, ...]) -> int | None:
        with env.undone():
            tally, _, refusal = attack(parameters)
            return tally.gained_e18 if refusal is None else None

    found = best(gain, [(10**9, 10**9), (500, 5_000)], points=7, rounds=2)
    tally, limit_e18, _ = attack(found)
    return Result(
        "ERC-4626 component priced by its rate alone: a stolen keeper breaks a band by a gift, and trades",
        "D",
        f"owns a billion of the component, raises its rate by {found[1] / 100:.2f} %: the vault's part of the gift is more "
        "than the slippage",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


def _widens_the_price(env: AttackEnv) -> Result:
    """The share has a feed, and its rate is the second source: while a band is broken, a gift moves the rate up to the
    allowed divergence."""
    token, share, underlying = _open(env, checked=True)
    policy = env.snapshot().policy

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        move_percent, gift_bps = parameters
        env.reprice(token.address, E18 * (100 + move_percent) // 100)
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(policy.slippage_ramp_seconds)
        tally = Tally()
        with env.counted(tally):
            total_raw = env.read(share, "totalAssets")
            give(env, underlying, share, total_raw * gift_bps // BPS)
            limit_e18 = env.sold_limit_e18(policy.max_slippage_bps)
            fill = env.worst_fill()
            if fill is None:
                raise ContractReverted("no band is broken")
            env.keep_what_it_can(fill)
        return tally, limit_e18

    _stake(env, underlying, share, 10**6)

    gain = env.gain_of(lambda parameters: attack(parameters)[0])
    with env.undone():
        stopped = gain((-10, 300)) is None
    if not stopped:
        raise AssertionError("a rate beyond the allowed divergence must stop trading")
    found = best(gain, [(-10, 10), (0, 199)], points=5, rounds=2)
    tally, limit_e18 = attack(found)
    return Result(
        "ERC-4626 component with a feed, its rate as second source: a stolen keeper gives before it trades",
        "D",
        f"no gift pays, and one of more than 2 % of the component stops trading: at its best {found[1] / 100:.2f} %, "
        f"the other asset {found[0]:+d} %",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


# A feed that ignores the market

_CRASH_BPS = 7_000
_STEP_SECONDS = 4_200
_SUNK_E18 = 2_000 * E18 * (BPS - _CRASH_BPS) // BPS


def fundamental_feed(env: AttackEnv) -> list[Result]:
    """WETH stands for a staked token whose feed reports its backing, while the market pays 70 % less: with this feed
    alone, and with the market as second source."""
    results = []
    for scenario in (_one_source, _two_sources):
        with env.undone():
            results.append(scenario(env))
    return results


def _dump(env: AttackEnv, *, by_lo: bool = False) -> AttackFill | None:
    """The worst trade that buys only WETH, at the feed's price; None if there is no deficit of WETH."""
    now = env.snapshot()
    weighed, prices, units = weigh_basket(now.basket), now.basket.prices, now.basket.units
    deficit_e18 = -weighed.distances_e18[0]
    surplus_e18 = sum(d for d in weighed.distances_e18 if d > 0)
    if deficit_e18 <= 0 or not surplus_e18:
        return None
    room_e18 = now.turnover_left_e18 * weighed.total_e18 // E18 * 9_999 // BPS
    sold_e18 = min(deficit_e18, surplus_e18, room_e18)
    sales = [
        max(0, d) * sold_e18 // surplus_e18 * unit // price.primary_e18
        for d, price, unit in zip(weighed.distances_e18, prices, units, strict=True)
    ]
    lent_e18 = sum(sale * price.hi_e18 // unit for sale, price, unit in zip(sales, prices, units, strict=True))
    left_e18 = now.loss_left_e18 * weighed.total_e18 // E18 * (10**9 - 1) // 10**9
    kept_e18 = min(lent_e18 * now.slippage_limit_e18 // E18, left_e18)
    lo_e18 = prices[0].lo_e18 if by_lo else prices[0].primary_e18
    buy = (lent_e18 - kept_e18) * units[0] // lo_e18 + 2
    return env.fill(sales, [buy, 0, 0])


def _one_source(env: AttackEnv) -> Result:
    """Bitcoin rises all day, so that the vault repeatedly has a deficit of WETH, which a stolen keeper delivers."""
    policy = env.snapshot().policy
    weth = env.tokens["WETH"].address
    env.fix_price(weth, _SUNK_E18)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (rise_bps,) = parameters
        tally, trades = Tally(), 0
        until = env.chain.now() + policy.loss_period_seconds
        price = 30_000 * 10**8
        while env.chain.now() + _STEP_SECONDS <= until:
            price = price * (BPS + rise_bps) // BPS
            env.move({"BTC": price})
            env.send(env.vault, "poke", sender=env.thief)
            env.wait(_STEP_SECONDS - 60)
            fill = _dump(env)
            if fill is None:
                continue
            # For a vault of a million dollars by the oracle: budgets are fractions of that.
            with env.counted(tally, whole_e18=env.snapshot().total_e18):
                trades += not env.refused(env.keep_what_it_can, fill)
        return tally, trades

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters)[0].gained_e18

    found = best(gain, [(100, 1_500)], points=5, rounds=2)
    tally, trades = attack(found)
    return Result(
        "a feed that ignores the market, which is 70 % below it: stolen keeper or arbitrageurs, one source, one loss period",
        "B",
        f"the other asset rises by {found[0] / 100:g} % every 70 min; {trades} trades",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds, _CRASH_BPS),
        "the oracle's error is 70 % here: the assumption is broken, only the turnover budget limits the loss",
    )


def _two_sources(env: AttackEnv) -> Result:
    """The market, as second source, falls in the thief's favour; from 2 % on, all trading stops."""
    policy = env.snapshot().policy
    weth = env.tokens["WETH"].address
    market = env.chain.deploy("MockAggregator", 8, "market", sender=_OWNER)
    env.send(market, "push", 2_000 * 10**8, sender=_OWNER)
    spec = SourceSpec.of(
        PRICE_SOURCES["feed"],
        *(market.address, 8),
        heartbeat_seconds=90 * DAY,
        max_divergence_bps=_DIVERGENCE_BPS,
    )
    set_source(env.chain.account(_OWNER), env.environment.system, weth, spec)
    env.move({"BTC": 33_000 * 10**8})
    env.send(env.vault, "poke", sender=env.thief)
    env.move(seconds=policy.slippage_ramp_seconds)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (fall_bps,) = parameters
        answer = 2_000 * 10**8 * (BPS - fall_bps) // BPS
        env.send(market, "push", answer, sender=env.thief)
        env.fix_price(weth, answer * 10**10)
        fill = _dump(env, by_lo=True)
        if fill is None:
            raise AssertionError("the scenario must break a band")
        sold_e18 = sum(map(env.value_e18, fill.tokens, fill.sales))
        total_e18 = env.worths_e18(env.vault)[2]
        tally = Tally()
        with env.counted(tally):
            env.keep_what_it_can(fill)
        return tally, sold_e18 * policy.max_slippage_bps // BPS * MILLION // total_e18

    gain = env.gain_of(lambda parameters: attack(parameters)[0])
    if gain((_CRASH_BPS,)) is not None:
        raise AssertionError("sources with this divergence must stop trading")
    found = best(gain, [(0, _CRASH_BPS)], points=8, rounds=5)
    tally, bound_e18 = attack(found)
    return Result(
        "the same with the market as second source, one trade on the market's way down",
        "D",
        f"at its best {found[0] / 100:.2f} % below the feed, and bought at the market's price; from 2 % on, and so at 70 %, nothing passes",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )
