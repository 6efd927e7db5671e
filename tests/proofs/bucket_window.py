"""Promise B's closed form: what a leaky bucket lets through in any window.

WORDS. A bucket of capacity C > 0 drains at r = C / P. At each trade k, d_k seconds after the one before, its level L becomes
max(0, L - r * d_k) + x_k, and the trade is refused if that is above C. The window opens with the first trade and is W long.

CLAIM. The x_k of the window sum to at most C * (1 + W / P), whatever was in the bucket before and however the trades lie.

PROOF. Let X be what was spent in the window so far and T the time since its first trade. X <= L + r * T holds after the first trade
(`first`: L >= x, T = 0) and after each further one if it held before (`next`). At the end L <= C and T <= W (`closed form`).

Promise B adds two such buckets (`both buckets`): loss measured against the oracle is spent from one, value sold from the other, and
true loss is at most the first plus 2 * e times the second (loss_bound.py). Both are fractions of the basket's value at each trade.

WHEN RULES CHANGE the level is carried so that the bucket reads what it read, or one unit of 1e-18 more: a change never forgives. Halmos
proves that of the code itself (`check_a_carried_level_reads_as_before_or_one_unit_more`); from there on the window is one of the new rules.

IN INTEGERS the drained part rounds down and what is spent rounds up, so the integers' level is at least the exact one: `integer
step` proves the same step with any rounding in [0, 1), for exact spending. The bound gains nothing and loses nothing.
"""

from __future__ import annotations

from z3 import If

from tests.proofs._claims import prove, reals


def window() -> None:
    spent, level, time_, rate, gap, x, capacity = reals("spent level T r d x C")
    nothing_negative = [spent >= 0, level >= 0, time_ >= 0, rate > 0, gap >= 0, x >= 0]
    prove(
        "B: window, first trade",
        x <= If(level > rate * gap, level - rate * gap, 0) + x,
        because=nothing_negative,
    )
    left = If(level > rate * gap, level - rate * gap, 0)
    prove(
        "B: window, next trade",
        spent + x <= (left + x) + rate * (time_ + gap),
        because=[*nothing_negative, spent <= level + rate * time_],
    )
    period, width = reals("P W")
    prove(
        "B: a bucket lets through at most capacity * (1 + W / P)",
        spent <= capacity * (1 + width / period),
        because=[
            *nothing_negative,
            *(capacity > 0, period > 0, rate == capacity / period, width >= time_),
            *(spent <= level + rate * time_, level <= capacity),
        ],
    )


def integer_step() -> None:
    spent, level, time_, rate, gap, x, down, up = reals("spent level T r d x down up")
    drained = rate * gap - down
    left = If(drained >= level, 0, level - drained)
    prove(
        "B: window, next trade, in integers",
        spent + x <= (left + x + up) + rate * (time_ + gap),
        because=[
            *(spent >= 0, level >= 0, time_ >= 0, rate >= 0, gap >= 0, x >= 0),
            *(down >= 0, down < 1, drained >= 0, up >= 0, up < 1),
            spent <= level + rate * time_,
        ],
    )


def both_buckets() -> None:
    true_, measured, sold, e, loss, turnover, w, p, pt = reals("true measured sold e C Ct W P Pt")
    prove(
        "B: over any window, true loss <= lossBudget (1 + W/P) + 2 e turnoverBudget (1 + W/Pt)",
        true_ <= loss * (1 + w / p) + 2 * e * turnover * (1 + w / pt),
        because=[
            *(
                e >= 0,
                e <= 1,
                w >= 0,
                p > 0,
                pt > 0,
                loss >= 0,
                turnover >= 0,
                sold >= 0,
                measured >= 0,
            ),
            true_ <= measured + 2 * e * sold,
            measured <= loss * (1 + w / p),
            sold <= turnover * (1 + w / pt),
        ],
    )


def prove_all() -> None:
    window()
    integer_step()
    both_buckets()
