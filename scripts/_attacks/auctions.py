"""What does an auction for want of a price give away: while it runs, and after its feed has come back and nobody has looked?"""

from __future__ import annotations

from collections.abc import Callable

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.devnet.stage import Actor
from rebalancer.operations.deploy import FeedSpec, assign_vault_roles, set_feed
from rebalancer.policy import auction_pay_raw
from rebalancer.units import BPS, E18
from scripts._attacks.field import DAY, MILLION, Field, Result, Tally, dollars
from scripts._attacks.rates import add_share, give
from scripts._attacks.search import best, best_of

__all__ = ["auctions"]

_LOT_USD = 20_000
_FLOOR_BPS = 500
_DECAY = 3_600
_KEEP_PERCENT = 50
_HOUR = 3_600
_UNPRICED = 6 * _HOUR
"""How long a pair must have been seen unpriced before bids begin."""
_GAP = 30 * 60
"""How seldom it may be seen."""
_LOOK = _GAP - 60
"""How often it is: a transaction takes a block, too."""
_OWNER = Actor.OWNER.address


def auctions(field: Field) -> list[Result]:
    """USDC's feed is dead; the owner sells half of the USDC for WETH in lots of 20,000 dollars, from 2 % above to 5 % below its worth."""
    results = []
    with field.undone():
        usdc, weth = field.tokens["USDC"], field.tokens["WETH"]
        field.send(field.aggregator("USDC"), "setFailing", True, sender=field.thief)
        _start(field, (2, usdc.address), (0, weth.address))
        for scenario in (_patient_bidder, _stale_terms, _resets_the_clock):
            with field.undone():
                results.append(scenario(field))
        for woken in (_by_the_guardian, _by_one_late_answer, _by_late_answers):
            with field.undone():
                results.append(woken(field))
    for woken in (_by_a_grace_period, _by_a_gift_unseen, _by_a_gift):
        with field.undone():
            results.append(woken(field))
    return results


def _start(field: Field, sell: tuple[int, str], buy: tuple[int, str]) -> None:
    """The owner starts an auction of one asset, by number and token, for another."""
    lot_raw, fair_raw = field.raw(sell[1], _LOT_USD), field.raw(buy[1], _LOT_USD)
    held = field.read(field.vault, "held")[sell[0]]
    a_share_raw = held * E18 // field.read(field.vault, "totalSupply")
    terms = (
        lot_raw,
        fair_raw * 102 // 100,
        fair_raw * (BPS - _FLOOR_BPS) // BPS,
        a_share_raw * _KEEP_PERCENT // 100,
        2**100,
        _DECAY,
        0,
        field.chain.now() + 30 * DAY,
        *(0, 0, 0),  # the vault notes what it sees
    )
    field.send(field.vault, "startAuction", sell[0], buy[0], terms, sender=_OWNER)
    bought = contract_at(field.chain.rpc, "MockToken", buy[1])
    field.send(bought, "approve", field.vault.address, 2**255, sender=field.thief)


def _await_bids(field: Field) -> None:
    """The pair is seen unpriced, as often as it must be, until bids begin."""
    _watch(field, _UNPRICED)


def _watch(field: Field, seconds: int) -> None:
    """Time passes, and the pair is seen unpriced as often as it must be."""
    until = field.chain.now() + seconds
    while (left := until - field.chain.now()) > 0:
        field.wait(min(left, _LOOK))
        field.send(field.vault, "pokeAuction", 2, 0, sender=field.thief)


def _bid(field: Field, sell: int, buy: int, amount_raw: int) -> str | None:
    """The thief bids at whatever price there is; why that is refused."""
    args = (sell, buy, amount_raw, 2**127)
    return field.refused(field.send, field.vault, "bid", *args, sender=field.thief)


def _patient_bidder(field: Field) -> Result:
    """The only bidder waits for the floor of every lot, until all that may be sold is."""
    usdc, weth = field.tokens["USDC"].address, field.tokens["WETH"]
    held = field.read(field.vault, "held")[2]
    lot_raw = field.raw(usdc, _LOT_USD)
    _await_bids(field)

    def attack(parameters: tuple[int, ...]) -> Tally:
        (wait,) = parameters
        tally = Tally()
        with field.counted(tally):
            for _ in range(8):
                _watch(field, wait)
                if _bid(field, 2, 0, lot_raw):
                    break
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(0, 2 * _HOUR)], points=5, rounds=2)
    total_e18 = field.worths_e18(field.vault)[2]
    tally = attack(found)
    floor_raw = field.read(field.vault, "auctions", usdc, weth.address)[2]
    below_e18 = field.value_e18(usdc, lot_raw) - field.value_e18(weth.address, floor_raw)
    sold_raw = held - field.read(field.vault, "held")[2]
    return Result(
        "auction for a dead feed: the only bidder waits for the floor, 5 % below what a lot is worth",
        "C4",
        f"bids every {found[0] // 60} min, until half of the asset is left as the terms say",
        tally.gained_e18,
        tally.lost_e18,
        -(-below_e18 * sold_raw * MILLION // (lot_raw * total_e18)),
    )


def _stale_terms(field: Field) -> Result:
    """Ether falls by a fifth; what a lot costs in ether is what it was, until the guardian stops the auction."""
    usdc, weth = field.tokens["USDC"].address, field.tokens["WETH"]
    lot_raw = field.raw(usdc, _LOT_USD)
    _await_bids(field)
    field.fix_price(weth.address, field.price_e18(weth.address) * 80 // 100)
    tally = Tally()
    lots = 0
    with field.counted(tally):
        while not _bid(field, 2, 0, lot_raw):
            lots += 1
    return Result(
        "auction for a dead feed: what it is paid in falls by 20 %, and nobody stops the auction",
        "none",
        f"{lots} lots near the start's price, as soon as bids begin",
        tally.gained_e18,
        tally.lost_e18,
        None,
        "terms are amounts, not values: who starts an auction watches it",
    )


def _resets_the_clock(field: Field) -> Result:
    """What is sold lifts the price again, so a saboteur bids for as little as there is, all the time."""
    weth, vault = field.tokens["WETH"], field.vault
    sold, bought = field.tokens["USDC"].address, weth.address
    tally = Tally()
    bids = 0
    _await_bids(field)
    until = field.chain.now() + _DECAY
    with field.counted(tally):
        while field.chain.now() < until:
            field.wait(300)
            field.send(vault, "bid", 2, 0, 1, 2**127, sender=field.thief)
            bids += 1
    _, start, floor, _, _, decay, clock_e6, *_ = field.read(vault, "auctions", sold, bought)
    elapsed_e6 = field.chain.now() * 10**6 - clock_e6
    price_raw = auction_pay_raw(start, floor, decay * 10**6, min(elapsed_e6, decay * 10**6))
    above_raw = price_raw - floor
    return Result(
        "auction for a dead feed: a saboteur bids for one unit again and again, to hold the price up",
        "C4",
        f"{bids} bids in an hour hold the price of a lot {dollars(field.value_e18(bought, above_raw))} above its floor",
        tally.gained_e18,
        tally.lost_e18,
        field.value_e18(sold, bids) * _FLOOR_BPS // BPS,
    )


# Auctions asleep: the feed is back, ether has fallen by a fifth since, and the old terms still stand

_ASLEEP_DAYS = 10


def _fall_asleep(field: Field) -> None:
    """USDC's feed answers again; nobody looks for days, in which ether falls."""
    field.send(field.aggregator("USDC"), "setFailing", False, sender=field.thief)
    field.move({"ETH": 1_600 * 10**8}, seconds=_ASLEEP_DAYS * DAY)


def _use(
    field: Field, sell: int, buy: int, lot_raw: int, seconds: int, advance: Callable[[int], None]
) -> list[str]:
    """The thief pokes as often as it must for so long, then takes all it can at the floor. Returns the refusals."""
    refusals = set()
    until = field.chain.now() + seconds
    while (left := until - field.chain.now()) > 0:
        advance(min(left, _LOOK))
        for attempt in ("pokeAuction", "bid"):
            # A bid before the floor is only tried, and a poke of terms that are void would end them.
            args = (sell, buy) if attempt == "pokeAuction" else (sell, buy, lot_raw, 1)
            refusals.add(field.refused(field.send, field.vault, attempt, *args, sender=field.thief))
    for _ in range(8):
        refusal = _bid(field, sell, buy, lot_raw)
        refusals.add(refusal)
        if refusal:
            break
        for _ in range(-(-_DECAY // _LOOK)):
            advance(_LOOK)
            refusals.add(
                field.refused(field.send, field.vault, "pokeAuction", sell, buy, sender=field.thief)
            )
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
        f"auction asleep for {_ASLEEP_DAYS} days since its feed came back, 20 % off the market, woken by {attack}",
        "none" if reason else "C4",
        f"{how(found)}: {', '.join(refusals)}",
        tally.gained_e18,
        tally.lost_e18,
        None if reason else 0,
        reason,
    )


def _by_the_guardian(field: Field) -> Result:
    """A stolen guardian makes the pair unpriced, at once and for good."""
    hub = contract_at(field.chain.rpc, "OracleHub", field.stage.system.oracle)
    usdc = field.tokens["USDC"].address
    lot_raw = field.raw(usdc, _LOT_USD)
    _fall_asleep(field)
    field.grant(Role.GUARDIAN, field.thief)
    ways = (("removeFeed", (usdc,)), ("tightenFeed", (usdc, 1, E18 // 2, E18 * 2)))

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        way, hours = parameters
        tally = Tally()
        with field.counted(tally):
            field.send(hub, ways[way][0], *ways[way][1], sender=field.thief)
            if not hours:
                return tally, [_bid(field, 2, 0, lot_raw) or ""]
            refusals = _use(field, 2, 0, lot_raw, hours * _HOUR, field.wait)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best_of(gain, [(way, hours) for way in range(2) for hours in (0, 8)])
    return _woken(
        "a stolen guardian, who removes or tightens the feed",
        lambda _: f"{ways[0][0]} or {ways[1][0]}, bids at once or after 8 h",
        play,
        found,
    )


def _by_one_late_answer(field: Field) -> Result:
    """The feed is late once, by less than six hours."""
    lot_raw = field.raw(field.tokens["USDC"].address, _LOT_USD)
    _fall_asleep(field)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        (late,) = parameters
        tally = Tally()
        with field.counted(tally):
            field.send(field.aggregator("USDC"), "setFailing", True, sender=field.thief)
            refusals = _use(field, 2, 0, lot_raw, late, lambda s: field.move(seconds=s))
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(60, _UNPRICED - 600)], points=4, rounds=1)
    return _woken(
        "one late answer of that feed, by up to six hours",
        lambda _: f"at most {(_UNPRICED - 600) // 60} min late",
        play,
        found,
    )


def _by_late_answers(field: Field) -> Result:
    """The feed is late again and again, by a minute, and nobody but the thief looks: it looks only then."""
    lot_raw = field.raw(field.tokens["USDC"].address, _LOT_USD)
    _fall_asleep(field)
    feed = field.aggregator("USDC")

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        (apart,) = parameters
        tally = Tally()

        def late(seconds: int) -> None:
            del seconds
            field.send(feed, "setFailing", False, sender=field.thief)
            field.move(seconds=apart)
            field.send(feed, "setFailing", True, sender=field.thief)

        with field.counted(tally):
            refusals = _use(field, 2, 0, lot_raw, _UNPRICED + 3 * _HOUR, late)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        """Of about equal ones, the one that needs fewest late answers."""
        with field.undone():
            return play(parameters)[0].gained_e18 // (5_000 * E18) * DAY + parameters[0]

    found = best(gain, [(_GAP // 2, 2 * _GAP)], points=6, rounds=3)
    return _woken(
        "an answer that is late by a minute again and again, while nobody else looks",
        lambda at: f"late every {at[0] // 60} min",
        play,
        found,
        "whoever looks in between ends the auction; what nobody looks at for less than half an hour counts as seen",
    )


def _by_a_grace_period(field: Field) -> Result:
    """On an L2: its sequencer stops for hours, in which nobody can do anything, and for an hour after it no price counts."""
    usdc, weth = field.tokens["USDC"], field.tokens["WETH"]
    sequencer = field.chain.deploy("MockAggregator", 0, "sequencer", sender=_OWNER)
    field.send(sequencer, "push", 0, sender=_OWNER)
    authority = field.stage.system.authority
    hub = field.chain.deploy("OracleHub", authority, sequencer.address, _HOUR, sender=_OWNER)
    for feed in field.stage.deployment.feeds:
        spec = FeedSpec(feed.address, feed.decimals, 30 * DAY, 1, 10**30)
        field.wait(_HOUR)
        set_feed(field.account(_OWNER), hub.address, field.tokens[feed.token].address, spec)
    field.send(field.vault, "setOracle", hub.address, sender=_OWNER)
    field.send(field.aggregator("USDC"), "setFailing", True, sender=field.thief)
    lot_raw = field.raw(usdc.address, _LOT_USD)
    _start(field, (2, usdc.address), (0, weth.address))
    _fall_asleep(field)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        stops, hours = parameters
        tally = Tally()
        refusals: set[str] = set()
        with field.counted(tally):
            for _ in range(stops):
                field.send(sequencer, "push", 1, sender=_OWNER)
                field.wait(hours * _HOUR)
                field.send(sequencer, "push", 0, sender=_OWNER)
                # Never after the grace, when the pair is priced.
                refusals |= set(_use(field, 2, 0, lot_raw, _HOUR - 120, field.wait))
        return tally, sorted(refusals)

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best_of(gain, [(stops, hours) for stops in (1, 2, 3) for hours in (1, 4, 12)])
    return _woken(
        "a sequencer's grace period of an hour",
        lambda _: "up to three stops of up to 12 h",
        play,
        found,
    )


# A second source that a gift moves


def _by_a_gift(field: Field) -> Result:
    """Somebody looked once while the pair was priced."""
    return _given(field, looked_at=True)


def _by_a_gift_unseen(field: Field) -> Result:
    """Nobody did."""
    return _given(field, looked_at=False)


def _given(field: Field, *, looked_at: bool) -> Result:
    """What the auction is paid in is a share of an ERC-4626 vault, whose rate is its second source; a gift to it lets the sources diverge."""
    token, share, underlying = _share_vault(field)
    field.send(field.feed_of(token.address), "setFailing", True, sender=field.thief)
    _start(field, (0, token.address), (1, share.address))
    lot_raw = field.raw(token.address, _LOT_USD)
    field.send(field.feed_of(token.address), "setFailing", False, sender=field.thief)
    field.wait(_ASLEEP_DAYS * DAY)
    field.reprice(token.address, E18 * 125 // 100)
    if looked_at:
        field.send(field.vault, "pokeAuction", 0, 1, sender=_OWNER)

    def play(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
        gift_usd, hours = parameters
        tally = Tally()
        with field.counted(tally):
            give(field, underlying, share, field.raw(underlying.address, gift_usd))
            refusals = _use(field, 0, 1, lot_raw, hours * _HOUR, field.wait)
        return tally, refusals

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(0, 40_000), (7, 12)], points=5, rounds=2)
    return _woken(
        "a gift to an ERC-4626 vault that is a second source, "
        + ("after anybody has looked once" if looked_at else "while nobody looks"),
        lambda at: (
            "gifts of up to 40,000 dollars"
            if looked_at
            else f"{at[0]:,} dollars given, bids after {at[1]} h"
        ),
        play,
        found,
        ""
        if looked_at
        else "six hours in the open, and whoever looks before the gift ends it; the terms are the owner's",
    )


def _share_vault(field: Field) -> tuple[BoundContract, BoundContract, BoundContract]:
    """The field's vault is now one of a plain token and a share of an ERC-4626 vault with a feed of its own, checked by its rate."""
    underlying = field.new_token("MockToken", 18, 1, owner=_OWNER)
    token = field.new_token("MockToken", 18, 1, owner=_OWNER)
    share = add_share(field, underlying, checked=True)
    seeds = [field.raw(token.address, 500_000), field.raw(share.address, 500_000)]
    field.vault = field.new_vault([token, share], seeds, 10**6 * E18, owner=_OWNER)
    assign_vault_roles(field.account(_OWNER), field.stage.system, field.vault.address)
    return token, share, underlying
