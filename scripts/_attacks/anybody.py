"""What can be had without any key where the policy lets anybody rebalance, where a calendar asks for it, or where an auction runs?"""

from __future__ import annotations

from rebalancer.devnet.stage import Actor
from rebalancer.errors import ContractReverted
from rebalancer.policy import auction_pay_raw
from rebalancer.units import BPS, E18
from scripts._attacks.field import DAY, MILLION, Field, Result, Tally, bound_b_e18, dollars
from scripts._attacks.search import best
from scripts._attacks.stolen_keeper import best_plunder, plunder

__all__ = ["auctions", "calendar", "open_execution"]

_OPEN_AFTER = 1_800


def open_execution(field: Field) -> list[Result]:
    """Anybody may rebalance half an hour after a break was seen, and the keeper is away."""
    results = []
    for scenario in (_fills_alone, _opens_at_once):
        with field.undone():
            results.append(scenario(field))
    return results


def _fills_alone(field: Field) -> Result:
    """The only filler there is, in the wild market: nobody competes, so it takes all that the slippage limit leaves."""
    policy = field.set_policy(open_after_seconds=_OPEN_AFTER)
    field.rebalancer = field.thief
    with field.undone():
        field.move({"ETH": 2_200 * 10**8})
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(_OPEN_AFTER - 60)
        fill = field.worst_fill()
        if fill is None or field.refused(field.keep_what_it_can, fill) is None:
            raise AssertionError("nobody but a keeper may rebalance before it opens")
    wait, appetite_bps = best_plunder(
        field, policy.loss_period_seconds, (_OPEN_AFTER, 3_600), (2_500, 2_500)
    )
    tally = Tally()
    plunder(field, tally, field.chain.now() + policy.loss_period_seconds, wait, appetite_bps)
    return Result(
        "open execution 30 min after a break: a filler without competition, one loss period of the wild market",
        "B",
        f"fills {wait / 60:.0f} min after a break, {appetite_bps / 100:.0f} % of the surplus at a time",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def _opens_at_once(field: Field) -> Result:
    """Somebody pokes at a spike and nobody when it is over: the next break, hours later, is open at once and at the limit's top."""
    policy = field.set_policy(open_after_seconds=_OPEN_AFTER)
    field.rebalancer = field.thief
    field.move({"ETH": 2_200 * 10**8})
    field.send(field.vault, "poke", sender=field.thief)
    field.move({"ETH": 2_000 * 10**8}, seconds=60)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (later,) = parameters
        field.move({"ETH": 2_200 * 10**8}, seconds=later)
        bound_e18 = field.sold_limit_e18(policy.max_slippage_bps)
        tally = Tally()
        fill = field.worst_fill()
        if fill is None:
            raise AssertionError("the scenario must break a band")
        with field.counted(tally):
            field.keep_what_it_can(fill)
        return tally, bound_e18

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters)[0].gained_e18
            except ContractReverted:  # not open yet
                return None

    found = best(gain, [(1, 14_401)], points=5, rounds=1)
    tally, bound_e18 = attack(found)
    return Result(
        "griefing by poke: poked at a spike, by nobody after it; the next break is open to anybody at once",
        "D",
        f"{found[0] // 60} min later, at {policy.max_slippage_bps / 100:g} % instead of "
        f"{policy.start_slippage_bps / 100:g} %; a keeper that pokes when bands are whole prevents it",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )


_CALENDAR_DAYS = 7


def calendar(field: Field) -> list[Result]:
    """A stolen keeper in a quiet market whose policy asks for one rebalance a day whether a band is broken or not."""
    with field.undone():
        policy = field.set_policy(calendar_seconds=DAY)

        def attack(parameters: tuple[int, ...]) -> Tally:
            """Ether moves by so much every day, and back the next."""
            (move_bps,) = parameters
            tally = Tally()
            for day in range(_CALENDAR_DAYS):
                moved_bps = move_bps if day % 2 == 0 else 0
                field.move({"ETH": 2_000 * 10**8 * (BPS + moved_bps) // BPS}, seconds=DAY // 2)
                if field.look().drift_bps > _BAND_BPS:
                    raise ContractReverted("the market is not quiet")
                field.move(seconds=DAY // 2)
                for _ in range(2):  # the calendar asks once a day: the second is refused
                    fill = field.worst_fill()
                    if fill is not None:
                        with field.counted(tally):
                            field.refused(field.keep_what_it_can, fill)
                    field.move(seconds=policy.cooldown_seconds)
            return tally

        def gain(parameters: tuple[int, ...]) -> int | None:
            with field.undone():
                try:
                    return attack(parameters).gained_e18
                except ContractReverted:
                    return None

        found = best(gain, [(0, 800)], points=6, rounds=2)
        tally = attack(found)
        # Once a day, at most all that two assets' bands hold, at the slippage limit.
        most_e18 = _CALENDAR_DAYS * MILLION * _BAND_BPS * 3 // 2 // BPS
        return [
            Result(
                f"stolen keeper where the calendar asks every day, {_CALENDAR_DAYS} days, no band ever broken",
                "B, D",
                f"ether moves by {found[0] / 100:.2f} % a day and back",
                tally.gained_e18,
                tally.lost_e18,
                most_e18 * policy.max_slippage_bps // BPS,
            )
        ]


_BAND_BPS = 100


# Auctions for want of a price

_LOT_USD = 20_000
_FLOOR_BPS = 500
_DECAY = 3_600
_KEEP_PERCENT = 50


def auctions(field: Field) -> list[Result]:
    """USDC's feed is dead; the owner sells half of the USDC for WETH in lots of 20,000 dollars, from 2 % above to 5 % below its worth."""
    results = []
    with field.undone():
        owner, weth, usdc = Actor.OWNER.address, field.tokens["WETH"], field.tokens["USDC"]
        lot_raw = field.raw(usdc.address, _LOT_USD)
        fair_raw = field.raw(weth.address, _LOT_USD)
        a_share_raw = field.look().basket.held[2] * E18 // field.read(field.vault, "totalSupply")
        terms = (
            lot_raw,
            fair_raw * 102 // 100,
            fair_raw * (BPS - _FLOOR_BPS) // BPS,
            a_share_raw * _KEEP_PERCENT // 100,
            10**18,
            _DECAY,
            0,
            field.chain.now() + 30 * DAY,
        )
        field.send(field.aggregator("USDC"), "setFailing", True, sender=field.thief)
        field.send(field.vault, "startAuction", 2, 0, terms, sender=owner)
        for scenario in (_patient_bidder, _stale_terms, _resets_the_clock):
            with field.undone():
                results.append(scenario(field))
    return results


def _patient_bidder(field: Field) -> Result:
    """The only bidder waits for the floor of every lot, until all that may be sold is."""
    usdc, weth = field.tokens["USDC"].address, field.tokens["WETH"]
    held = field.read(field.vault, "held")[2]
    lot_raw = field.raw(usdc, _LOT_USD)
    field.send(weth, "approve", field.vault.address, 2**255, sender=field.thief)

    def attack(parameters: tuple[int, ...]) -> Tally:
        (wait,) = parameters
        tally = Tally()
        with field.counted(tally):
            for _ in range(8):
                field.wait(wait)
                args = (2, 0, lot_raw, 2**127)
                if field.refused(field.send, field.vault, "bid", *args, sender=field.thief):
                    break
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(0, 2 * _DECAY)], points=5, rounds=2)
    total_e18 = field.worths_e18(field.vault)[2]
    tally = attack(found)
    floor_raw = field.read(field.vault, "auctions", usdc, weth.address)[2]
    below_e18 = field.value_e18(usdc, lot_raw) - field.value_e18(weth.address, floor_raw)
    sold_raw = held - field.read(field.vault, "held")[2]
    return Result(
        "auction for a dead feed: the only bidder waits for the floor, 5 % below what a lot is worth",
        "the auction's terms",
        f"bids every {found[0] // 60} min, until half of the asset is left as the terms say",
        tally.gained_e18,
        tally.lost_e18,
        -(-below_e18 * sold_raw * MILLION // (lot_raw * total_e18)),
    )


def _stale_terms(field: Field) -> Result:
    """Ether falls by a fifth; what a lot costs in ether is what it was, until the guardian stops the auction."""
    usdc, weth = field.tokens["USDC"].address, field.tokens["WETH"]
    lot_raw = field.raw(usdc, _LOT_USD)
    field.send(weth, "approve", field.vault.address, 2**255, sender=field.thief)
    field.fix_price(weth.address, field.price_e18(weth.address) * 80 // 100)
    tally = Tally()
    lots = 0
    with field.counted(tally):
        args = (2, 0, lot_raw, 2**127)
        while not field.refused(field.send, field.vault, "bid", *args, sender=field.thief):
            lots += 1
    return Result(
        "auction for a dead feed: what it is paid in falls by 20 %, and nobody stops the auction",
        "none",
        f"{lots} lots at the start's price, at once",
        tally.gained_e18,
        tally.lost_e18,
        None,
        "terms are amounts, not values: who starts an auction watches it",
    )


def _resets_the_clock(field: Field) -> Result:
    """What is sold lifts the price again, so a saboteur bids for as little as there is, all the time."""
    weth, vault = field.tokens["WETH"], field.vault
    field.send(weth, "approve", vault.address, 2**255, sender=field.thief)
    sold, bought = field.tokens["USDC"].address, weth.address
    tally = Tally()
    bids = 0
    until = field.chain.now() + _DECAY
    with field.counted(tally):
        while field.chain.now() < until:
            field.wait(300)
            field.send(vault, "bid", 2, 0, 1, 2**127, sender=field.thief)
            bids += 1
    _, start, floor, _, _, decay, clock_e6, _ = field.read(vault, "auctions", sold, bought)
    elapsed_e6 = field.chain.now() * 10**6 - clock_e6
    price_raw = auction_pay_raw(start, floor, decay * 10**6, min(elapsed_e6, decay * 10**6))
    above_raw = price_raw - floor
    return Result(
        "auction for a dead feed: a saboteur bids for one unit again and again, to hold the price up",
        "the auction's terms",
        f"{bids} bids in an hour hold the price of a lot {dollars(field.value_e18(bought, above_raw))} above its floor",
        tally.gained_e18,
        tally.lost_e18,
        field.value_e18(sold, bids) * _FLOOR_BPS // BPS,
    )
