"""Attacks on the auction of an asset that cannot be priced: while it runs, and after the feed is back and nobody has
poked."""

from __future__ import annotations

from collections.abc import Callable

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import Actor
from rebalancer.operations.deploy import FeedSpec, set_feed
from rebalancer.policy import auction_pay_raw
from rebalancer.units import BPS, E18
from scripts.attacks.field import DAY, MILLION, AttackEnv, Result, Tally, dollars
from scripts.attacks.rates import add_share, give
from scripts.attacks.search import best, best_of

__all__ = ["auctions"]

_LOT_USD = 20_000
_FLOOR_BPS = 500
_DECAY = 3_600
_KEEP_PERCENT = 50
_HOUR = 3_600
_UNPRICED = 6 * _HOUR
"""Seconds for which a pair must be recorded as unpriced before bids begin."""
_GAP = 30 * 60
"""The longest allowed interval between two records, in seconds."""
_LOOK = _GAP - 60
"""The interval that is used: one block shorter, for the transaction's own block."""
_OWNER = Actor.OWNER.address


def auctions(env: AttackEnv) -> list[Result]:
    """USDC's feed is dead. The owner sells half of the USDC for WETH in lots of 20,000 dollars, from 2 % above to 5 %
    below par."""
    results = []
    with env.undone():
        usdc, weth = env.tokens["USDC"], env.tokens["WETH"]
        env.send(env.aggregator("USDC"), "setFailing", True, sender=env.thief)
        _start(env, (2, usdc.address), (0, weth.address))
        for scenario in (_patient_bidder, _stale_terms, _resets_the_clock):
            with env.undone():
                results.append(scenario(env))
        for woken in (_by_the_guardian, _by_one_late_answer, _by_late_answers):
            with env.undone():
                results.append(woken(env))
    for woken in (_by_a_grace_period, _by_a_gift_unseen, _by_a_gift):
        with env.undone():
            results.append(woken(env))
    return results


def _start(env: AttackEnv, sell: tuple[int, str], buy: tuple[int, str]) -> None:
    """Start an auction of one asset, by index and token, for another, as the owner."""
    lot_raw, fair_raw = env.raw(sell[1], _LOT_USD), env.raw(buy[1], _LOT_USD)
    held = env.read(env.vault, "held")[sell[0]]
    a_share_raw = held * E18 // env.read(env.vault, "totalSupply")
    terms = (
        lot_raw,
        fair_raw * 102 // 100,
        fair_raw * (BPS - _FLOOR_BPS) // BPS,
        a_share_raw * _KEEP_PERCENT // 100,
        2**100,
        _DECAY,
        0,
        env.chain.now() + 30 * DAY,
        *(0, 0, 0),  # fields that the vault sets
    )
    env.send(env.vault, "startAuction", sell[0], buy[0], terms, sender=_OWNER)
    bought = contract_at(env.chain.rpc, "MockToken", buy[1])
    env.send(bought, "approve", env.vault.address, 2**255, sender=env.thief)


def _await_bids(env: AttackEnv) -> None:
    """Record the pair as unpriced, as often as required, until bids begin."""
    _watch(env, _UNPRICED)


def _watch(env: AttackEnv, seconds: int) -> None:
    """Advance time and record the pair as unpriced as often as required."""
    until = env.chain.now() + seconds
    while (left := until - env.chain.now()) > 0:
        env.wait(min(left, _LOOK))
        env.send(env.vault, "pokeAuction", 2, 0, sender=env.thief)


def _bid(env: AttackEnv, sell: int, buy: int, amount_raw: int) -> str | None:
    """A bid of the thief at the current price; the error if it reverts."""
    args = (sell, buy, amount_raw, 2**127)
    return env.refused(env.send, env.vault, "bid", *args, sender=env.thief)


def _patient_bidder(env: AttackEnv) -> Result:
    """The only bidder waits for the floor price of every lot until everything is sold."""
    usdc, weth = env.tokens["USDC"].address, env.tokens["WETH"]
    held = env.read(env.vault, "held")[2]
    lot_raw = env.raw(usdc, _LOT_USD)
    _await_bids(env)

    def attack(parameters: tuple[int, ...]) -> Tally:
        (wait,) = parameters
        tally = Tally()
        with env.counted(tally):
            for _ in range(8):
                _watch(env, wait)
                if _bid(env, 2, 0, lot_raw):
                    break
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(0, 2 * _HOUR)], points=5, rounds=2)
    total_e18 = env.worths_e18(env.vault)[2]
    tally = attack(found)
    floor_raw = env.read(env.vault, "auctions", usdc, weth.address)[2]
    below_e18 = env.value_e18(usdc, lot_raw) - env.value_e18(weth.address, floor_raw)
    sold_raw = held - env.read(env.vault, "held")[2]
    return Result(
        "auction for a dead feed: the only bidder waits for the floor, 5 % below a lot's value",
        "C4",
        f"bids every {found[0] // 60} min, until half of the asset is left, as the terms require",
        tally.gained_e18,
        tally.lost_e18,
        -(-below_e18 * sold_raw * MILLION // (lot_raw * total_e18)),
    )


def _stale_terms(env: AttackEnv) -> Result:
    """Ether falls by a fifth; the price of a lot in ether stays, until the guardian stops the auction."""
    usdc, weth = env.tokens["USDC"].address, env.tokens["WETH"]
    lot_raw = env.raw(usdc, _LOT_USD)
    _await_bids(env)
    env.fix_price(weth.address, env.price_e18(weth.address) * 80 // 100)
    tally = Tally()
    lots = 0
    with env.counted(tally):
        while not _bid(env, 2, 0, lot_raw):
            lots += 1
    return Result(
        "auction for a dead feed: the payment token falls by 20 %, and nobody stops the auction",
        "none",
        f"{lots} lots near the start's price, as soon as bids begin",
        tally.gained_e18,
        tally.lost_e18,
        None,
        "terms are amounts, not values: the owner must watch the auction",
    )


def _resets_the_clock(env: AttackEnv) -> Result:
    """A sale raises the price again, so a saboteur keeps bidding for the smallest amount."""
    weth, vault = env.tokens["WETH"], env.vault
    sold, bought = env.tokens["USDC"].address, weth.address
    tally = Tally()
    bids = 0
    _await_bids(env)
    until = env.chain.now() + _DECAY
    with env.counted(tally):
        while env.chain.now() < until:
            env.wait(300)
            env.send(vault, "bid", 2, 0, 1, 2**127, sender=env.thief)
            bids += 1
    _, start, floor, _, _, decay, clock_e6, *_ = env.read(vault, "auctions", sold, bought)
    elapsed_e6 = env.chain.now() * 10**6 - clock_e6
    price_raw = auction_pay_raw(start, floor, decay * 10**6, min(elapsed_e6, decay * 10**6))
    above_raw = price_raw - floor
    return Result(
        "auction for a dead feed: a saboteur repeatedly bids for one unit, to hold the price up",
        "C4",
        f"{bids} bids in an hour hold the price of a lot {dollars(env.value_e18(bought, above_raw))} above its floor",
        tally.gained_e18,
        tally.lost_e18,
        env.value_e18(sold, bids) * _FLOOR_BPS // BPS,
    )


# Auctions left open: the feed is back, ether has fallen by a fifth, and the old terms are still valid

_ASLEEP_DAYS = 10


def _fall_asleep(env: AttackEnv) -> None:
    """USDC's feed recovers; nobody pokes for days, while ether falls."""
    env.send(env.aggregator("USDC"), "setFailing", False, sender=env.thief)
    env.move({"ETH": 1_600 * 10**8}, seconds=_ASLEEP_DAYS * DAY)


def _use(env: AttackEnv, sell: int, buy: int, lot_raw: int, seconds: int, advance: Callable[[int], None]) -> list[str]:
    """The thief pokes as often as required for this time, then buys everything at the floor price. Returns the
    errors."""
    refusals = set()
    until = env.chain.now() + seconds
    while (left := until - env.chain.now()) > 0:
        advance(min(left, _LOOK))
        for attempt in ("pokeAuction", "bid"):
            # A bid before the floor is only tried; a poke would end an auction with void terms.
            args = (sell, buy) if attempt == "pokeAuction" else (sell, buy, lot_raw, 1)
            refusals.add(env.refused(env.send, env.vault, attempt, *args, sender=env.thief))
    for _ in range(8):
        refusal = _bid(env, sell, buy, lot_raw)
        refusals.add(refusal)
        if refusal:
            break
        for _ in range(-(-_DECAY // _LOOK)):
            advance(_LOOK)
            refusals.add(env.refused(env.send, env.vault, "pokeAuction", sell, buy, sender=env.thief))
    return sorted(refusal for refusal in refusals if refusal)


def _woken(
    attack: str,
    how: Callable[[tuple[int, ...]], str],
    play: Callable[[tuple[int, ...]], tuple[Tally, list[str]]],
    found: tuple[int, ...],
    reason: str = "",
) -> Result:
    tally, refusals = play(found)
    return Result(
        f"auction left open for {_ASLEEP_DAYS} days after its feed came back, 20 % off the market, resumed by {attack}",
        "none" if reason else "C4",
        f"{how(found)}: {', '.join(refusals)}",
        tally.gained_e18,
        tally.lost_e18,
        None if reason else 0,
        reason,
    )


def _by_the_guardian(env: AttackEnv) -> Result:
    """A stolen guardian makes the pair unpriced, immediately and permanently."""
    hub = contract_at(env.chain.rpc, "OracleHub", env.environment.system.oracle)
    usdc = env.tokens["USDC"].address
    lot_raw = env.raw(usdc, _LOT_USD)
    _fall_asleep(env)
    env.grant(Role.GUARDIAN, env.thief)
    ways = (("removeFeed", (usdc,)), ("tightenFeed", (usdc, 1, E18 // 2, E18 * 2)))

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        way, hours = parameters
        tally = Tally()
        with env.counted(tally):
            env.send(hub, ways[way][0], *ways[way][1], sender=env.thief)
            if not hours:
                return tally, [_bid(env, 2, 0, lot_raw) or ""]
            refusals = _use(env, 2, 0, lot_raw, hours * _HOUR, env.wait)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best_of(gain, [(way, hours) for way in range(2) for hours in (0, 8)])
    return _woken(
        "a stolen guardian, who removes or tightens the feed",
        lambda _: f"{ways[0][0]} or {ways[1][0]}, bids at once or after 8 h",
        play,
        found,
    )


def _by_one_late_answer(env: AttackEnv) -> Result:
    """The feed is late once, by less than six hours."""
    lot_raw = env.raw(env.tokens["USDC"].address, _LOT_USD)
    _fall_asleep(env)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        (late,) = parameters
        tally = Tally()
        with env.counted(tally):
            env.send(env.aggregator("USDC"), "setFailing", True, sender=env.thief)
            refusals = _use(env, 2, 0, lot_raw, late, lambda s: env.move(seconds=s))
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(60, _UNPRICED - 600)], points=4, rounds=1)
    return _woken(
        "one late answer of that feed, by up to six hours",
        lambda _: f"at most {(_UNPRICED - 600) // 60} min late",
        play,
        found,
    )


def _by_late_answers(env: AttackEnv) -> Result:
    """The feed is repeatedly late by a minute, and only the thief pokes, at exactly these times."""
    lot_raw = env.raw(env.tokens["USDC"].address, _LOT_USD)
    _fall_asleep(env)
    feed = env.aggregator("USDC")

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        (apart,) = parameters
        tally = Tally()

        def late(seconds: int) -> None:
            del seconds
            env.send(feed, "setFailing", False, sender=env.thief)
            env.move(seconds=apart)
            env.send(feed, "setFailing", True, sender=env.thief)

        with env.counted(tally):
            refusals = _use(env, 2, 0, lot_raw, _UNPRICED + 3 * _HOUR, late)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        """Of nearly equal results, the one with the fewest late answers."""
        with env.undone():
            return play(parameters)[0].gained_e18 // (5_000 * E18) * DAY + parameters[0]

    found = best(gain, [(_GAP // 2, 2 * _GAP)], points=6, rounds=3)
    return _woken(
        "an answer that is repeatedly late by a minute, while nobody else pokes",
        lambda at: f"late every {at[0] // 60} min",
        play,
        found,
        "a poke in between ends the auction; less than half an hour without a poke counts as recorded",
    )


def _by_a_grace_period(env: AttackEnv) -> Result:
    """On an L2: the sequencer is down for hours, without any transaction, and for an hour after that no price
    is valid."""
    usdc, weth = env.tokens["USDC"], env.tokens["WETH"]
    sequencer = env.chain.deploy("MockAggregator", 0, "sequencer", sender=_OWNER)
    env.send(sequencer, "push", 0, sender=_OWNER)
    authority = env.environment.system.authority
    hub = env.chain.deploy("OracleHub", authority, sequencer.address, _HOUR, sender=_OWNER)
    for feed in env.environment.deployment.feeds:
        spec = FeedSpec(feed.address, feed.decimals, 30 * DAY, 1, 10**30)
        env.wait(_HOUR)
        set_feed(env.chain.account(_OWNER), hub.address, env.tokens[feed.token].address, spec)
    env.send(env.vault, "setOracle", hub.address, sender=_OWNER)
    env.send(env.aggregator("USDC"), "setFailing", True, sender=env.thief)
    lot_raw = env.raw(usdc.address, _LOT_USD)
    _start(env, (2, usdc.address), (0, weth.address))
    _fall_asleep(env)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        stops, hours = parameters
        tally = Tally()
        refusals: set[str] = set()
        with env.counted(tally):
            for _ in range(stops):
                env.send(sequencer, "push", 1, sender=_OWNER)
                env.wait(hours * _HOUR)
                env.send(sequencer, "push", 0, sender=_OWNER)
                # Not after the grace period, when the pair has a price.
                refusals |= set(_use(env, 2, 0, lot_raw, _HOUR - 120, env.wait))
        return tally, sorted(refusals)

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best_of(gain, [(stops, hours) for stops in (1, 2, 3) for hours in (1, 4, 12)])
    return _woken(
        "a sequencer's grace period of an hour",
        lambda _: "up to three stops of up to 12 h",
        play,
        found,
    )


# A second source that a gift moves


def _by_a_gift(env: AttackEnv) -> Result:
    """One poke while the pair was priced."""
    return _given(env, looked_at=True)


def _by_a_gift_unseen(env: AttackEnv) -> Result:
    """No poke at all."""
    return _given(env, looked_at=False)


def _given(env: AttackEnv, *, looked_at: bool) -> Result:
    """The auction is paid in shares of an ERC-4626 vault, whose rate is the second source; a gift makes the sources
    diverge."""
    token, share, underlying = _share_vault(env)
    env.send(env.feed_of(token.address), "setFailing", True, sender=env.thief)
    _start(env, (0, token.address), (1, share.address))
    lot_raw = env.raw(token.address, _LOT_USD)
    env.send(env.feed_of(token.address), "setFailing", False, sender=env.thief)
    env.wait(_ASLEEP_DAYS * DAY)
    env.reprice(token.address, E18 * 125 // 100)
    if looked_at:
        env.send(env.vault, "pokeAuction", 0, 1, sender=_OWNER)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        gift_usd, hours = parameters
        tally = Tally()
        with env.counted(tally):
            give(env, underlying, share, env.raw(underlying.address, gift_usd))
            refusals = _use(env, 0, 1, lot_raw, hours * _HOUR, env.wait)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(0, 40_000), (7, 12)], points=5, rounds=2)
    return _woken(
        "a gift to an ERC-4626 vault that is a second source, "
        + ("after one poke" if looked_at else "without any poke"),
        lambda at: "gifts of up to 40,000 dollars" if looked_at else f"{at[0]:,} dollars given, bids after {at[1]} h",
        play,
        found,
        ""
        if looked_at
        else "the attack takes six hours, and a poke before the gift ends the auction; the terms are the owner's",
    )


def _share_vault(env: AttackEnv) -> tuple[BoundContract, BoundContract, BoundContract]:
    """Replace the vault by one of a plain token and an ERC-4626 share with a feed, checked by its rate."""
    underlying = env.new_token("MockToken", 18, 1, owner=_OWNER)
    token = env.new_token("MockToken", 18, 1, owner=_OWNER)
    share = add_share(env, underlying, checked=True)
    seeds = [env.raw(token.address, 500_000), env.raw(share.address, 500_000)]
    env.vault = env.new_vault([token, share], seeds, 10**6 * E18, owner=_OWNER, with_roles=True)
    return token, share, underlying
