"""Promise D, and its part of B: what one rebalance can truly lose.

WORDS. Of asset i the vault sells x_i or buys x_i (in whole tokens). Its two sources say prices whose lower is lo_i and whose
higher is hi_i; tau_i is what a token is truly worth. s is the slippage limit, 0 <= s < 1.
- sold S = sum of x_i * hi_i over what is sold; bought B = sum of x_j * lo_j over what is bought.
- true loss L = sum of x_i * tau_i sold - sum of x_j * tau_j bought.
P2 demands B >= S * (1 - s).

CLAIMS. (1) If for every asset at least one source is right, so that lo_i <= tau_i <= hi_i, then L <= s * S.
(2) With sources that differ by at most a part d of the lower (the hub refuses more), S is at most (1 + d) times the true value sold,
so L <= s * (1 + d) * true value sold.
(3) If instead prices are wrong by a part e of what they say, |tau - price| <= e * price with e <= 1, then
L <= max(0, S - B) + 2 * e * S: what the loss bucket measures, and twice the error on what the turnover bucket measures.

HOW MANY ASSETS. Each claim is proved of one asset sold and one bought, and each is a sum over assets of what is proved of each: (1) and
(3) bound every term of L by the same term of S or B, and `adding` proves that bounds of terms are bounds of sums.

IN INTEGERS nothing is lost: S rounds up, B rounds down and the least that must come back rounds up, so the integers' S - B is at least
the exact one and the integers' B at least (1 - s) * S. `rounding` proves it with each rounding as any number in [0, 1) units.
`tests/unit/test_proofs_in_integers.py` holds settlement.settle against the same claims in exact fractions.
"""

from __future__ import annotations

from z3 import If

from tests.proofs._claims import prove, reals


def one_asset_each() -> None:
    x, y, tau, sigma, lo, hi, low, high, s = reals("x y tau sigma lo hi low high s")
    sizes = [x >= 0, y >= 0, s >= 0, s < 1]
    right = [lo > 0, lo <= tau, tau <= hi, low > 0, low <= sigma, sigma <= high]
    sold, bought = x * hi, y * low
    p2 = [bought >= sold * (1 - s)]
    prove(
        "D: if either source is right, true loss <= slippage * value sold",
        x * tau - y * sigma <= s * sold,
        because=[*sizes, *right, *p2],
    )
    (d,) = reals("d")
    prove(
        "D: and value sold <= (1 + divergence) * true value sold",
        sold <= (1 + d) * x * tau,
        because=[*sizes, *right, d >= 0, hi - lo <= d * lo],
    )


def wrong_by_a_part() -> None:
    x, y, tau, sigma, p, q, e = reals("x y tau sigma p q e")
    sold, bought = x * p, y * q
    known = [x >= 0, y >= 0, p > 0, q > 0, e >= 0, e <= 1]
    off = [tau <= (1 + e) * p, tau >= (1 - e) * p, sigma >= (1 - e) * q, sigma <= (1 + e) * q]
    measured = If(sold > bought, sold - bought, 0)
    prove(
        "B: true loss <= measured loss + 2 * oracle error * value sold",
        x * tau - y * sigma <= measured + 2 * e * sold,
        because=[*known, *off],
    )


def adding() -> None:
    a, b, c, d = reals("a b c d")
    prove("bounds of terms are bounds of sums", a + c <= b + d, because=[a <= b, c <= d])


def rounding() -> None:
    exact_sold, exact_bought, up, down, up_again, s = reals("exactSold exactBought up down upAgain s")
    sold, bought = exact_sold + up, exact_bought - down
    minimum = sold * (1 - s) + up_again
    prove(
        "D in integers: exact loss <= slippage * value sold, with nothing added for rounding",
        exact_sold - exact_bought <= s * sold,
        because=[
            *(exact_sold >= 0, exact_bought >= 0, s >= 0, s < 1),
            *(up >= 0, up < 16, down >= 0, down < 16, up_again >= 0, up_again < 1),
            bought >= minimum,
        ],
    )


def surplus_only() -> None:
    held, price, total, target, sale, unit = reals("held price total target sale unit")
    e = held * price / unit - target * total
    prove(
        "C: selling no more than the surplus never crosses the target",
        (held - sale) * price / unit - target * total >= 0,
        because=[
            unit >= 1,
            price > 0,
            total > 0,
            target >= 0,
            sale >= 0,
            e > 0,
            sale <= e * unit / price,
        ],
    )


def prove_all() -> None:
    one_asset_each()
    wrong_by_a_part()
    adding()
    rounding()
    surplus_only()
