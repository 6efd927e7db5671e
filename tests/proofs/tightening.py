"""Promise F: whatever rebalance passes after `tightenPolicy` passed before it.

WORDS. A prime marks the tighter policy, as ConfigStore.tightenPolicy accepts it: start, most slippage and both budgets no higher;
ramp, least progress, cooldown and both periods no lower; the calendar as it was or none; openAfter none, or there was one and it is
no shorter; dust and destination as they were. `since` is when a rebalance became due as far as the vault knows, 0 if it does not know.

CLAIM. Take any sequence of calls after the tightening, and the same calls without it. Each rebalance that passes with it passes
without it.

PROOF. By induction on the calls, with this between the two worlds (`_no_riper`): since' is 0, or since is not and since <= since'; each
bucket's level' read at any later moment is no lower than the level. A tightening may leave `since` as it is or set it to 0: both are so
related (`time`). The levels it carries are (`carried`). Then each check that passes under the new policy passes under the old
(`time`, `price`, `progress`, `budgets`), all of them together (`all_together`), and what a poke or a rebalance leaves behind is related
again (`time`, `budgets`). Neither targets, bands, prices nor holdings are part of a policy, and bands depend on dust alone of it: so
P1, P3, the need and the distances are the same numbers in both worlds.

MONOTONE are slippage, ramp, progress, cooldown, budgets, periods and openAfter. DUST IS NOT: less of it narrows relative bands and wakes
the calendar, more of it lets P3 and P4 pass. DESTINATION IS NOT: a further one lets P4 pass a rebalance that does nothing, a nearer one
lets more be sold. A CALENDAR IS NOT: another one has its periods elsewhere. The claims that each of them is are `refute`d here, and so
is that a carried level may round down.

OTHER CALLS THAT NEVER WAIT. `pauseRebalance` sets one flag, which only makes `rebalance` and `bid` revert. `stopAuction` erases an auction,
which only makes its bids revert. `lowerFees` collects what anybody may collect, then lowers numbers: a mint asks for less and a
redemption gives more of the caller's own part, and the performance fee mints fewer shares; no check depends on a fee but the caller's
own bounds. tests/solidity/Tighten.t.sol tries every call that moves money after each of them and before it.

IN INTEGERS. Quotients are Solidity's (see rounding.py); what is refuted is refuted of whole numbers.
"""

from __future__ import annotations

from z3 import And, ArithRef, Bool, BoolRef, If, Implies, Or

from tests.proofs._claims import ints, prove, reals, refute
from tests.proofs.rounding import E18, RATE, down, up, whole

BPS = 10_000


def _no_riper(new: ArithRef, old: ArithRef) -> BoolRef:
    """The moment since when it is due is unknown, or known in both worlds and no earlier."""
    return Or(new == 0, And(old != 0, old <= new))


def _opens_no_sooner(new: ArithRef, old: ArithRef) -> BoolRef:
    return Or(new == 0, And(old != 0, new >= old))


def _is_open(since: ArithRef, open_after: ArithRef, now: ArithRef) -> BoolRef:
    return And(since != 0, open_after != 0, now >= since + open_after)


def _stamped(due: BoolRef, since: ArithRef, now: ArithRef) -> ArithRef:
    """What a poke or a rebalance leaves of `since`."""
    return If(due, If(since == 0, now, since), 0)


def _left(level: ArithRef, drained: ArithRef) -> ArithRef:
    return If(drained >= level, 0, level - drained)


def time() -> None:
    since, newer, after, later, now = reals("since newer openAfter later now")
    instants = [since >= 0, newer >= 0, now > 0, since <= now, newer <= now]
    prove(
        "F: a tightening leaves nothing riper, whether it forgets since when or not",
        And(_no_riper(newer, since)),
        because=[*instants, Or(newer == 0, newer == since)],
    )
    prove(
        "F: what is open after a tightening was open before",
        Implies(_is_open(newer, later, now), _is_open(since, after, now)),
        because=[
            *(*instants, after >= 0, later >= 0),
            *(_no_riper(newer, since), _opens_no_sooner(later, after)),
        ],
    )
    due, due_newly = Bool("due"), Bool("dueNewly")
    prove(
        "F: a poke or a rebalance leaves nothing riper either",
        _no_riper(_stamped(due_newly, newer, now), _stamped(due, since, now)),
        because=[*instants, _no_riper(newer, since), Implies(due_newly, due)],
    )
    at, cooldown, longer = reals("rebalancedAt cooldown longer")
    prove(
        "F: a cooldown that is over was over before",
        Implies(now >= at + longer, now >= at + cooldown),
        because=[at >= 0, cooldown >= 0, longer >= cooldown],
    )
    calendar, kept, start, distance, total, dust = reals("calendar kept start E V dustBps")
    broken = Bool("broken")
    work = distance * BPS > dust * total
    prove(
        "F: what is due under a calendar that was kept or dropped was due before",
        Implies(
            Or(broken, And(kept != 0, at < start, work)),
            Or(broken, And(calendar != 0, at < start, work)),
        ),
        because=[Or(kept == 0, kept == calendar), distance >= 0, total > 0, dust >= 0],
    )


def price() -> None:
    start, most, ramp, elapsed, limit = reals("startBps maxBps ramp elapsed limit")
    start_, most_, ramp_, elapsed_, limit_ = reals("startBps' maxBps' ramp' elapsed' limit'")
    tighter = [
        *(start_ >= 0, start_ <= start, start_ <= most_, most_ <= most, start <= most),
        *(ramp >= 1, ramp_ >= ramp, elapsed_ >= 0, elapsed_ <= elapsed),
    ]
    # How far the climb has come, at most all of it.
    climbed, climbed_ = reals("climbed climbed'")
    prove(
        "F: a longer climb that began no sooner has come no further",
        climbed_ <= climbed,
        because=[
            *tighter,
            If(elapsed >= ramp, climbed == 1, climbed * ramp == elapsed),
            If(elapsed_ >= ramp_, climbed_ == 1, climbed_ * ramp_ == elapsed_),
        ],
    )
    line = (start + (most - start) * climbed) * RATE
    line_ = (start_ + (most_ - start_) * climbed_) * RATE
    prove(
        "F: the slippage limit is no higher than before",
        limit_ <= limit,
        because=[
            *(start_ >= 0, start_ <= start, start_ <= most_, most_ <= most, start <= most),
            *(climbed_ >= 0, climbed_ <= climbed, climbed <= 1),
            *(limit <= line, line < limit + 1, limit_ <= line_, line_ < limit_ + 1),
            whole(limit_, limit),
        ],
    )
    sold, least, least_ = reals("sold least least'")
    prove(
        "F: no less must come back than before",
        least_ >= least,
        because=[
            *(sold >= 0, limit_ >= 0, limit_ <= limit, limit <= E18),
            *up(least, sold * (E18 - limit), E18),
            *up(least_, sold * (E18 - limit_), E18),
            whole(least, least_),
        ],
    )


def _progress(
    distance: ArithRef,
    total: ArithRef,
    after: ArithRef,
    total_after: ArithRef,
    least: ArithRef,
    dust: ArithRef,
) -> BoolRef:
    """P4, as coded."""
    return Or(
        after * BPS <= dust * total_after,
        after * total * BPS <= (BPS - least) * distance * total_after,
    )


def progress() -> None:
    distance, total, after, total_after, dust = reals("E V EAfter VAfter dustBps")
    least, more = reals("minProgressBps more")
    prove(
        "F: what is progress enough was enough before",
        Implies(
            _progress(distance, total, after, total_after, more, dust),
            _progress(distance, total, after, total_after, least, dust),
        ),
        because=[
            *(distance >= 0, total > 0, after >= 0, total_after > 0, dust >= 0),
            *(least >= 0, least <= more, more <= BPS),
        ],
    )


def carried() -> None:
    budget, period, budget_, period_ = reals("budget period budget' period'")
    prove(
        "F: a smaller budget over a longer period drains no faster",
        budget_ / period_ <= budget / period,
        because=[budget_ >= 0, budget_ <= budget, period >= 3_600, period_ >= period],
    )
    level, most, drained, drained_later, added, drained_newly = ints(
        "level most drained drainedLater added drainedNewly"
    )
    # What the old rate drains until the change and from then on, exactly, and what the new one does.
    until, since, until_, since_ = reals("until since until' since'")
    present = _left(level, drained)
    raised = If(present + added > most, most, present + added)
    prove(
        "F: a carried level never reads lower than the old one would have",
        _left(If(present == 0, 0, raised), drained_newly) >= _left(level, drained_later),
        because=[
            *(level >= 0, level <= most),
            *(until_ >= 0, until_ <= until, since_ >= 0, since_ <= since),
            *down(drained, until, 1),
            *down(drained_later, until + since, 1),
            *up(added, until_, 1),
            *down(drained_newly, until_ + since_, 1),
        ],
    )


def budgets() -> None:
    level, fuller, rate, slower, gap, drained, drained_ = reals("level fuller rate slower gap drained drained'")
    prove(
        "F: a fuller bucket that drains no faster reads no less for ever",
        _left(fuller, drained_) >= _left(level, drained),
        because=[
            *(level >= 0, fuller >= level, slower >= 0, slower <= rate, gap >= 0),
            *(drained >= 0, drained_ >= 0, slower * gap <= rate * gap),
            *down(drained, rate * gap, 1),
            *down(drained_, slower * gap, 1),
            whole(drained_, drained),
        ],
    )
    left, left_, spent, budget, budget_ = reals("left left' spent budgetBps budgetBps'")
    prove(
        "F: what fits in the smaller budget fitted before, and leaves no less in the bucket",
        Implies(
            left_ + spent <= budget_ * RATE,
            And(left + spent <= budget * RATE, left_ + spent >= left + spent),
        ),
        because=[left >= 0, left_ >= left, spent >= 0, budget_ >= 0, budget_ <= budget],
    )


def all_together() -> None:
    """All checks of a rebalance in both worlds, with what is proved above of their parts."""
    shared = reals("now rebalancedAt start E V EAfter VAfter dustBps sold bought lost")
    now, at, start, distance, total, after, total_after, dust, sold, bought, lost = shared
    broken, keeper, inside = Bool("broken"), Bool("keeper"), Bool("inside")

    def passes(mark: str) -> tuple[BoolRef, list[ArithRef]]:
        own = reals(
            " ".join(
                name + mark
                for name in [
                    "since",
                    "openAfter",
                    "cooldown",
                    "calendar",
                    "least",
                    "minProgressBps",
                    "lossLeft",
                    "lossBudget",
                    "soldLeft",
                    "soldBudget",
                ]
            )
        )
        since, open_after, cooldown, calendar, least, more, loss, most_loss, turned, most_turned = own
        called = And(calendar != 0, at < start, distance * BPS > dust * total)
        checks = And(
            Or(keeper, _is_open(since, open_after, now)),
            now >= at + cooldown,
            Or(broken, called),
            inside,  # P1, the need and P3: the same numbers in both worlds
            bought >= least,
            _progress(distance, total, after, total_after, more, dust),
            loss + lost <= most_loss,
            turned + sold <= most_turned,
        )
        return checks, own

    old, before = passes("")
    new, afterward = passes("'")
    since, open_after, cooldown, calendar, least, more, loss, most_loss, turned, most_turned = zip(
        before, afterward, strict=True
    )
    prove(
        "F: a rebalance that passes every check after a tightening passed every check before",
        Implies(new, old),
        because=[
            *(x >= 0 for x in (*shared, *before, *afterward)),
            *(total > 0, total_after > 0, now > 0, more[0] <= more[1], more[1] <= BPS),
            *(_no_riper(since[1], since[0]), _opens_no_sooner(open_after[1], open_after[0])),
            *(cooldown[0] <= cooldown[1], Or(calendar[1] == 0, calendar[1] == calendar[0])),
            *(least[0] <= least[1], loss[0] <= loss[1], most_loss[1] <= most_loss[0]),
            *(turned[0] <= turned[1], most_turned[1] <= most_turned[0]),
        ],
    )


def what_is_not_monotone() -> None:
    dust, other, distance, total, at, now = ints("dustBps otherBps E V rebalancedAt now")
    band, relative, target = ints("bandBps relativeBps target")
    ratios = [dust >= 0, other >= 0, dust <= 100, other <= 100, total > 0, total <= 1_000_000]

    def width(of: ArithRef) -> ArithRef:
        part, least = relative * target / BPS, (of + 1) * RATE
        wide = If(part < least, least, part)
        return If(wide < band * RATE, wide, band * RATE)

    asset = [band == 200, relative == 100, target == E18 // 100]
    refute(
        "FALSE: with less dust every band is as wide as before",
        width(other) >= width(dust),
        because=[*ratios, *asset, other <= dust],
    )
    refute(
        "FALSE: with less dust a calendar asks for nothing that it did not ask for",
        Implies(distance * BPS > other * total, distance * BPS > dust * total),
        because=[*ratios, distance >= 0, distance <= total, other <= dust],
    )
    after = ints("EAfter")[0]
    least = 5_000
    sizes = [distance >= 0, distance <= total, after >= 0, after <= total]
    refute(
        "FALSE: with more dust nothing is progress enough that was not",
        Implies(
            _progress(distance, total, after, total, least, other),
            _progress(distance, total, after, total, least, dust),
        ),
        because=[*ratios, *sizes, other >= dust],
    )
    destination, moved = ints("destinationBps movedBps")
    destinations = [destination >= 0, destination <= BPS, moved >= 0, moved <= BPS]

    def outside(d: ArithRef, of: ArithRef) -> ArithRef:
        # One asset this far above its target, another as far below, both with the same band.
        room = of * band * total / (BPS * BPS)
        return 2 * If(d > room, d - room, 0)

    refute(
        "FALSE: a further destination passes nothing that did not pass",
        Implies(
            _progress(outside(distance, moved), total, outside(after, moved), total, least, 0),
            _progress(outside(distance, destination), total, outside(after, destination), total, least, 0),
        ),
        because=[
            *(*sizes, *destinations, band == 200, total == 1_000_000, moved >= destination),
            after == distance,  # nothing was traded
        ],
    )
    refute(
        "FALSE: a nearer destination lets no more be sold",
        outside(distance, moved) <= outside(distance, destination),
        because=[*sizes, *destinations, band == 200, total == 1_000_000, moved <= destination],
    )
    refute(
        "FALSE: a longer calendar begins no period sooner",
        Implies(at < now - now % (10 * 86_400), at < now - now % (7 * 86_400)),
        because=[at > 1_600_000_000, now > at, now < 1_800_000_000],
    )
    level, elapsed, gap = ints("level elapsed gap")
    period, longer = 100_000_003, 100_000_004

    def drained(of: int, seconds: ArithRef) -> ArithRef:
        return RATE * seconds / of

    present = _left(level, drained(period, elapsed))
    refute(
        "FALSE: a carried level that rounds down never reads lower than the old one would have",
        _left(
            If(present == 0, 0, present + drained(longer, elapsed)),
            drained(longer, elapsed + gap),
        )
        >= _left(level, drained(period, elapsed + gap)),
        because=[level > 0, level < E18, elapsed > 0, elapsed < 86_400, gap >= 0, gap < 86_400],
    )


def prove_all() -> None:
    time()
    price()
    progress()
    carried()
    budgets()
    all_together()
    what_is_not_monotone()
