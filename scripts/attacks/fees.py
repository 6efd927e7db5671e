"""Attacks by fees: collected at a peak, avoided, or captured from others."""

from __future__ import annotations

from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.devnet.environment import Actor
from rebalancer.operations.deploy import SourceSpec, set_source
from rebalancer.units import BPS, E18
from scripts.attacks.field import DAY, MILLION, AttackEnv, Result, Tally, act, dollars
from scripts.attacks.search import best

__all__ = ["fees"]

_PERFORMANCE_BPS = 2_000
_FLOW_BPS = 200
_ERROR_BPS = 50


def fees(env: AttackEnv) -> list[Result]:
    """Performance fee at a feed's error, from a mark set too low in three ways, from a newcomer, and avoided; entry and
    exit fees paid in parts and captured from others."""
    results = []
    for scenario in (
        *(_peak, _low_mark, _dip, _off_source),
        *(_newcomer, _dodge, _in_parts, _caught),
    ):
        with env.undone():
            results.append(scenario(env))
    return results


def _set_fees(env: AttackEnv, *, performance: int = 0, entry: int = 0, leaving: int = 0, to: str) -> None:
    env.send(env.vault, "setFees", (0, performance, entry, leaving), to, sender=Actor.OWNER.address)


def _begin_performance(env: AttackEnv, to: str) -> None:
    """Set a performance fee of 20 %, with its first mark, and wait until it is due for the first time."""
    _set_fees(env, performance=_PERFORMANCE_BPS, to=to)
    env.move(seconds=30 * DAY)


def _peak(env: AttackEnv) -> Result:
    """The fee's recipient collects in the block in which every feed is above the market by its deviation threshold."""
    _begin_performance(env, env.thief)
    now = {symbol: env.price_e18(token.address) for symbol, token in env.tokens.items()}
    for symbol, price_e18 in now.items():
        env.fix_price(env.tokens[symbol].address, price_e18)
        answer = price_e18 * (BPS + _ERROR_BPS) // BPS // 10**10
        env.send(env.aggregator(symbol), "push", answer, sender=env.thief)
    tally = Tally()
    with env.counted(tally):
        env.send(env.vault, "collectPerformanceFee", sender=env.thief)
    return Result(
        "fee recipient collects the performance fee while every feed is 0.5 % above the market",
        "fee cap",
        "20 % of a false gain; the mark it sets makes the next gain free of the fee",
        tally.gained_e18,
        tally.lost_e18,
        MILLION * _ERROR_BPS * _PERFORMANCE_BPS // BPS**2,
    )


def _low_mark(env: AttackEnv) -> Result:
    """The fee begins, and sets its mark, while the owner has excluded an asset."""
    owner = Actor.OWNER.address
    env.send(env.vault, "excludeAsset", 0, sender=owner)
    waits = env.refused(_set_fees, env, performance=_PERFORMANCE_BPS, to=env.thief)
    env.send(env.vault, "includeAsset", 0, sender=owner)
    if waits:
        _set_fees(env, performance=_PERFORMANCE_BPS, to=env.thief)
    env.move(seconds=30 * DAY)
    tally = Tally()
    with env.counted(tally):
        env.send(env.vault, "collectPerformanceFee", sender=env.thief)
    return Result(
        "a performance fee begins while 40 % of the vault is excluded, and is settled once it is included",
        "fee on gains",
        f"no price has moved; it cannot begin until the asset is included ({waits})" if waits else "no price has moved",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _dip(env: AttackEnv) -> Result:
    """Ether falls and recovers; the recipient settles, which sets a mark, at any allowed time."""

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, str | None]:
        dip_percent, days = parameters
        tally = Tally()
        with env.counted(tally):
            _set_fees(env, performance=_PERFORMANCE_BPS, to=env.thief)
            dip_e8 = 2_000 * 10**8 * (100 - dip_percent) // 100
            env.move({"ETH": dip_e8}, seconds=max(1, days * DAY))
            refusal = env.refused(env.send, env.vault, "collectPerformanceFee", sender=env.thief)
            env.move({"ETH": 2_000 * 10**8}, seconds=30 * DAY)
            env.send(env.vault, "collectPerformanceFee", sender=env.thief)
        return tally, refusal

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters)[0].gained_e18

    found = best(gain, [(0, 90), (0, 60)], points=4, rounds=2)
    tally, refusal = attack(found)
    when = f"refused then ({refusal})" if refusal else "settled then, which lowers no mark"
    return Result(
        "fee recipient waits for a dip of ether to set the first mark, and settles when the dip is over",
        "fee on gains",
        f"no dip of up to 90 % pays: at its best {found[0]} %, {found[1]} days after the fee began; {when}",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


_DIVERGENCE_BPS = 200


def _off_source(env: AttackEnv) -> Result:
    """Ether's second source has an error in the recipient's favour, when the fee begins and when it is settled."""
    weth = env.tokens["WETH"].address
    other = env.chain.deploy("MockAggregator", 8, "second", sender=env.thief)
    env.send(other, "push", 2_000 * 10**8, sender=env.thief)
    spec = SourceSpec.of(
        PRICE_SOURCES["feed"],
        *(other.address, 8),
        heartbeat_seconds=90 * DAY,
        max_divergence_bps=_DIVERGENCE_BPS,
    )
    set_source(env.chain.account(Actor.OWNER.address), env.environment.system, weth, spec)

    def attack(parameters: tuple[int, ...]) -> Tally:
        tally = Tally()
        answers = [2_000 * 10**8 * (BPS + off) // BPS for off in parameters]
        with env.counted(tally):
            env.send(other, "push", answers[0], sender=env.thief)
            _set_fees(env, performance=_PERFORMANCE_BPS, to=env.thief)
            env.move(seconds=30 * DAY)
            env.send(other, "push", answers[1], sender=env.thief)
            env.send(env.vault, "collectPerformanceFee", sender=env.thief)
        return tally

    most = _DIVERGENCE_BPS * 98 // 100  # below the feed, the limit is relative to the lower price
    found = best(env.gain_of(attack), [(-most, most), (-most, most)], points=5, rounds=2)
    tally = attack(found)
    return Result(
        "fee recipient starts a performance fee, and settles, while ether's second source is off",
        "fee on gains",
        f"marked at the high price, charged at the low one: no error up to {most / 100:g} % pays",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _newcomer(env: AttackEnv) -> Result:
    """A deposit of a million dollars in kind, just before the settlement of a gain of 20 % that others made."""
    newcomer = env.chain.accounts[12]
    _begin_performance(env, env.thief)
    env.move({"ETH": 3_000 * 10**8})
    shares = 10**6 * E18
    for token, amount in zip(env.tokens.values(), env.read(env.vault, "previewMintInKind", shares), strict=True):
        env.market.deal(token.address, newcomer, amount)
    env.mint(newcomer, shares)
    total_e18 = env.worths_e18(env.vault)[2]
    supply = env.read(env.vault, "totalSupply")
    env.send(env.vault, "collectPerformanceFee", sender=env.thief)
    supply_after = env.read(env.vault, "totalSupply")
    in_e18 = total_e18 * shares // supply
    lost_e18 = in_e18 - total_e18 * shares // supply_after
    return Result(
        "a newcomer deposits just before a gain of 20 % that others made is settled",
        "none",
        "loss of the newcomer and gain of the fee's recipient, on a deposit of a million dollars",
        lost_e18 * MILLION // in_e18,
        lost_e18 * MILLION // in_e18,
        None,
        "a fee per share does not distinguish depositors; settle first",
    )


def _dodge(env: AttackEnv) -> Result:
    """A holder of half redeems, triggers the fee on the others, and mints again, in one transaction."""
    vault, me, recipient = env.vault, env.impersonated.address, Actor.FEE_RECIPIENT.address
    env.mint(env.thief, 10**6 * E18)
    shares = 10**6 * E18
    env.send(vault, "transfer", me, shares, sender=env.thief)
    _begin_performance(env, recipient)
    env.move({"ETH": 3_000 * 10**8})
    collect = act(vault, "collectPerformanceFee")
    approve = [act(token, "approve", vault.address, 2**255) for token in env.tokens.values()]
    redeem = act(vault, "redeemInKind", shares, me, me, [0, 0, 0])

    def played(*, dodges: bool) -> tuple[int, int, int]:
        """Final value of the thief, the recipient and the others."""
        with env.undone():
            env.pull([*approve, redeem, collect] if dodges else [collect, redeem])
            mine, others, total = env.worths_e18(vault)
            supply = env.read(vault, "totalSupply")
            theirs = total * env.read(vault, "balanceOf", recipient) // supply
            return mine, theirs, others - theirs

    before = env.worths_e18(vault)[2]
    honest, dodged = played(dodges=False), played(dodges=True)
    gained, missed, lost = (
        (dodged[0] - honest[0]) * MILLION // before,
        (honest[1] - dodged[1]) * MILLION // before,
        (honest[2] - dodged[2]) * MILLION // before,
    )
    return Result(
        "a holder of half avoids the performance fee on a gain of 20 %: redeems, has it collected, and may mint again",
        "none is diluted",
        "in one transaction; a unit of each token may round the other way",
        gained,
        lost,
        sum(env.value_e18(token.address, 1) for token in env.tokens.values()),
        f"the recipient misses {dollars(missed)}",
    )


def _in_parts(env: AttackEnv) -> Result:
    """A deposit as large as the vault enters and leaves, in the cheapest number of parts."""
    _set_fees(env, entry=_FLOW_BPS, leaving=_FLOW_BPS, to=Actor.FEE_RECIPIENT.address)
    vault, me = env.vault, env.impersonated.address
    shares = 10**6 * E18
    approve = [act(token, "approve", vault.address, 2**255) for token in env.tokens.values()]

    def attack(parameters: tuple[int, ...]) -> Tally:
        (parts,) = parameters
        part = shares // parts
        mint = act(vault, "mintInKind", part, me, [2**255] * 3)
        redeem = act(vault, "redeemInKind", part, me, me, [0, 0, 0])
        tally = Tally()
        with env.counted(tally):
            env.pull([*approve, *[mint] * parts, *[redeem] * parts])
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(1, 61)], points=5, rounds=2)
    with env.undone():
        at_once = attack((1,))
    tally = attack(found)
    return Result(
        "fees of 2 % on entry and exit: a million dollars in and out in parts",
        "none is diluted",
        f"{found[0]} parts pay {dollars(-tally.gained_e18)}, one pays {dollars(-at_once.gained_e18)}: "
        "fees stay in the vault, so a large holder pays partly to itself",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _caught(env: AttackEnv) -> Result:
    """A mint ahead of another's deposit of five times the vault, whose entry fee goes to all holders; there is no exit
    fee."""
    _set_fees(env, entry=_FLOW_BPS, to=Actor.FEE_RECIPIENT.address)
    whale = env.chain.accounts[12]
    deposit = 5 * 10**6 * E18
    for token, amount in zip(
        env.tokens.values(),
        env.read(env.vault, "previewMintInKind", 2 * deposit),
        strict=True,
    ):
        env.market.deal(token.address, whale, amount)

    def attack(parameters: tuple[int, ...]) -> tuple[int, int]:
        """Gain of the thief and of the earlier holders."""
        (percent,) = parameters
        shares = percent * 10**4 * E18
        mine, others, total = env.worths_e18(env.vault)
        supply = env.read(env.vault, "totalSupply")
        if shares:
            env.mint(env.thief, shares)
        env.mint(whale, deposit)
        if shares:
            env.redeem(env.thief, shares)
        mine_after, _, total_after = env.worths_e18(env.vault)
        theirs = total_after * supply // env.read(env.vault, "totalSupply")
        return (mine_after - mine) * MILLION // total, (others - theirs) * MILLION // total

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters)[0]

    found = best(gain, [(0, 2_000)])
    with env.undone():
        _, alone = attack((0,))
    gained, lost = attack(found)
    return Result(
        "fee of 2 % on entry, none on exit: mint ahead of a deposit of five times the vault, redeem after it",
        "none is diluted",
        f"mints {found[0]} % of the vault",
        gained,
        lost,
        0,
        f"of the deposit's fee holders get {dollars(-lost)}, alone they get {dollars(-alone)}",
    )
