"""Promise C: rebalances bring the basket back, geometrically.

WORDS. E is the total distance to the destination and V the basket's value, before a rebalance; E' and V' after it; mu the least
progress, 0 < mu <= 1; dust a part of V. P4 demands E' <= dust * V', or E' * V <= (1 - mu) * E * V' (cross-multiplied, as coded).

CLAIM. With prices, targets and bands unmoved, after k rebalances E/V is within dust, or at most (1 - mu)^k times what it was.

PROOF. By induction on k (`step`), with q standing for (1 - mu)^k, any number from 0 to 1.

IN INTEGERS P4 is compared without a division, so it holds of the integer E, V, E', V' exactly: no rounding enters. Those differ from
the exact values by rounding of values (down, below 1 each) and of targets (down, below 1 each): of each asset by less than 1 + n * t_i
where t_i is its target, so E by less than 2 * n units of 1e-18 dollars (`rounded_distance`, for one asset; targets sum to at most 1).
A destination's width rounds down too: by less than one unit more an asset.
"""

from __future__ import annotations

from z3 import And, Or

from tests.proofs._claims import prove, reals


def step() -> None:
    e0, v0, e, v, e_after, v_after, mu, dust, q = reals("e0 v0 e v eAfter vAfter mu dust q")
    values = [v0 > 0, v > 0, v_after > 0, e0 >= 0, e >= 0, e_after >= 0]
    numbers = [mu > 0, mu <= 1, dust >= 0, dust < 1, q >= 0, q <= 1]
    p4 = Or(e_after <= dust * v_after, e_after * v <= (1 - mu) * e * v_after)
    prove(
        "C: one rebalance shrinks the distance by minProgress, or ends within dust",
        Or(e_after / v_after <= dust, e_after / v_after <= (1 - mu) * (e / v)),
        because=[*values, *numbers, p4],
    )
    # With x = E/V, so that the solver sees products and no quotients.
    x0, x, x_after = reals("x0 x xAfter")
    prove(
        "C: k rebalances shrink it by (1 - minProgress)^k, or end within dust",
        Or(x_after <= dust, x_after <= (1 - mu) * q * x0),
        because=[
            *numbers,
            *(x0 >= 0, x >= 0, x_after >= 0),
            Or(x_after <= dust, x_after <= (1 - mu) * x),
            x <= q * x0,
        ],
    )
    prove(
        "C: once within dust, it stays within dust",
        x_after <= dust,
        because=[
            *numbers,
            x >= 0,
            x <= dust,
            x_after >= 0,
            Or(x_after <= dust, x_after <= (1 - mu) * x),
        ],
    )


def rounded_distance() -> None:
    v, total, t, down, total_down, target_down, n = reals("v V t a A b n")
    exact = v - t * total
    rounded = (v - down) - (t * (total - total_down) - target_down)
    prove(
        "C: a distance in integers is within 1 + n * target units of the exact one",
        And(rounded - exact < 1 + n * t, exact - rounded < 1 + n * t),
        because=[
            *(t >= 0, t <= 1, n >= 2, n <= 16, v >= 0, total >= v),
            *(
                down >= 0,
                down < 1,
                total_down >= 0,
                total_down < n,
                target_down >= 0,
                target_down < 1,
            ),
        ],
    )


def prove_all() -> None:
    step()
    rounded_distance()
