"""What rounding does in RebalancePolicy's lines and quotients, for integers of any size.

Halmos does not come to an end where an unknown is divided by an unknown. Here a quotient is what Solidity's is, a whole number q with
q * b <= a < (q + 1) * b, and products of unknowns are left to Z3's real arithmetic: every integer is a real, so what holds of all
reals with that property holds of them. That a whole number above N - 1 is at least N is said where it is needed (`whole`).

CLAIMS, in the library's order:
- a glide's target lies between its ends, and rounded targets sum to less than 1e18 by less than one an asset;
- a band is wider than dust and no wider than asked;
- value rounded up and down differ by at most one; surplus and deficit are worth no more than the distance they close;
- sales scaled to a limit are worth no more than it, each rounded up;
- the slippage limit lies between start and most and never falls with time; what must come back is no less than it says;
- a bucket drains at most budget * elapsed / period;
- an auction asks no less than its floor and no more than its start;
- of the vault: a part of an amount is no more than the amount, as of a redemption or of a loss.
"""

from __future__ import annotations

from z3 import And, ArithRef, BoolRef, If, Implies, RealVal

from tests.proofs._claims import prove, reals

E18 = 10**18
RATE = 10**14


def down(q: ArithRef, a: ArithRef, b: ArithRef) -> list[BoolRef]:
    """q is a / b, rounded down."""
    return [q * b <= a, a < (q + 1) * b]


def up(q: ArithRef, a: ArithRef, b: ArithRef) -> list[BoolRef]:
    """q is a / b, rounded up."""
    return [(q - 1) * b < a, a <= q * b]


def whole(q: ArithRef, n: ArithRef) -> BoolRef:
    """Of whole numbers: above n - 1 means at least n, below n + 1 at most n."""
    return And(Implies(q > n - 1, q >= n), Implies(q < n + 1, q <= n))


def targets() -> None:
    start, end, since, until, now, target = reals("start end since until now target")
    gliding = [start >= 0, end >= 0, since < now, now < until]
    line = down(target, start * (until - now) + end * (now - since), until - since)
    for low, high, message in ((start, end, "rising"), (end, start, "falling")):
        prove(
            f"a {message} glide stays between its ends",
            And(target >= low, target <= high),
            because=[*gliding, low <= high, *line, whole(target, low), whole(target, high)],
        )
    exact, rest = [reals(f"x{i}")[0] for i in range(16)], [reals(f"f{i}")[0] for i in range(16)]
    prove(
        "16 rounded targets sum to 1e18 less at most 16",
        And(sum(exact) - sum(rest) > E18 - 16, sum(exact) - sum(rest) <= E18),
        because=[sum(exact) == E18, *(And(f >= 0, f < 1) for f in rest)],
    )


def bands() -> None:
    band, relative, target, dust, q = reals("bandBps relativeBps target dustBps q")
    least = (dust + 1) * RATE
    widened = If(q < least, least, q)
    chosen = If(relative == 0, band * RATE, If(widened < band * RATE, widened, band * RATE))
    prove(
        "a band is wider than dust and no wider than asked",
        And(chosen > dust * RATE, chosen <= band * RATE),
        because=[
            *(dust >= 0, band >= dust + 1, relative >= 0, target >= 0),
            *down(q, relative * target, RealVal(10_000)),
        ],
    )


def values() -> None:
    a, b, above, below = reals("a b up down")
    prove(
        "rounding up and down differ by at most one",
        And(below <= above, above - below <= 1),
        because=[
            a >= 0,
            b >= 1,
            *up(above, a, b),
            *down(below, a, b),
            whole(above, below),
            whole(above, below + 1),
        ],
    )
    distance, unit, price, surplus = reals("distance unit price surplus")
    prove(
        "the surplus is worth no more than the distance it closes",
        surplus * price / unit <= distance,
        because=[distance > 0, unit >= 1, price > 0, *down(surplus, distance * unit, price)],
    )


def scaled_sales() -> None:
    amount, price, unit, value, part, total, scaled, worth = reals("amount price unit value part total scaled worth")
    prove(
        "a scaled sale is worth less than its part of the limit, and one",
        worth < value * part / total + 1,
        because=[
            *(amount >= 0, price >= 0, unit >= 1, value >= 0, part >= 0, total > 0),
            *up(value, amount * price, unit),
            *down(scaled, amount * part, total),
            *(scaled >= 0, (worth - 1) * unit < scaled * price),
        ],
    )
    v, w = [reals(f"v{i}")[0] for i in range(16)], [reals(f"w{i}")[0] for i in range(16)]
    limit, ratio = reals("limit ratio")
    prove(
        "16 scaled sales are together worth no more than the limit",
        sum(w) <= limit,
        because=[
            *(And(x >= 0, y < x * ratio + 1) for x, y in zip(v, w, strict=True)),
            *(sum(v) > 0, limit > 16, sum(x * ratio for x in v) == limit - 16),
        ],
    )


def slippage() -> None:
    start, most, ramp, elapsed, limit = reals("startBps maxBps ramp elapsed limit")
    climbing = [start >= 0, start <= most, ramp >= 1, elapsed >= 0, elapsed < ramp]
    line = (start * ramp + (most - start) * elapsed) * RATE
    prove(
        "slippage stays between start and most",
        And(limit >= start * RATE, limit <= most * RATE),
        because=[
            *climbing,
            *down(limit, line, ramp),
            whole(limit, start * RATE),
            whole(limit, most * RATE),
        ],
    )
    later, then = reals("later then")
    prove(
        "slippage never falls with time",
        limit <= then,
        because=[
            *climbing,
            *(later >= elapsed, later < ramp),
            *down(limit, line, ramp),
            *down(then, (start * ramp + (most - start) * later) * RATE, ramp),
            whole(limit, then),
        ],
    )
    sold, least = reals("sold least")
    prove(
        "what must come back is at least its part of what was sold, and no more than all",
        And(least * E18 >= sold * (E18 - limit), least <= sold),
        because=[
            *(sold >= 0, limit >= 0, limit <= E18),
            *up(least, sold * (E18 - limit), RealVal(E18)),
            whole(least, sold),
        ],
    )


def buckets() -> None:
    level, budget, period, elapsed, drained = reals("level budgetBps period elapsed drained")
    left = If(drained >= level, 0, level - drained)
    known = [
        level >= 0,
        budget >= 0,
        period >= 3_600,
        elapsed >= 0,
        *down(drained, budget * RATE * elapsed, period),
    ]
    prove(
        "a bucket drains at most budget * elapsed / period, and never below nothing",
        And(left >= 0, left <= level, (level - left) * period <= budget * RATE * elapsed),
        because=[*known, drained >= 0],
    )
    spent, total, more = reals("spent total more")
    prove(
        "what is spent is charged in full",
        more * total >= spent * E18,
        because=[spent >= 0, total > 0, *up(more, spent * E18, total)],
    )


def auction() -> None:
    start, floor, decay, elapsed, fallen = reals("start floor decay elapsed fallen")
    prove(
        "an auction asks between its floor and its start",
        And(start - fallen >= floor, start - fallen <= start),
        because=[
            *(floor >= 0, floor <= start, decay >= 1, elapsed >= 0, elapsed < decay, fallen >= 0),
            *down(fallen, (start - floor) * elapsed, decay),
        ],
    )


def parts() -> None:
    amount, part, total, paid = reals("amount part whole paid")
    prove(
        "a part of an amount is no more than the amount",
        paid <= amount,
        because=[
            amount >= 0,
            part >= 0,
            part <= total,
            total > 0,
            *down(paid, amount * part, total),
        ],
    )


def prove_all() -> None:
    targets()
    bands()
    values()
    scaled_sales()
    slippage()
    buckets()
    auction()
    parts()
