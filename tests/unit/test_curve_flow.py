"""How far a swap pays where the fee changes on the way, on curves whose best trade can be worked out by hand or by trying all."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.venues.curve_flow import Curve

STEP = 1 + 1 / 64


class Drawn(Curve):
    """A curve by its slope, which is also integrated; it notes where its slope was asked for."""

    def __init__(
        self,
        slope: Callable[[float], float],
        furthest: float,
        out: Callable[[float], float],
        x0: float = 1.0,
        most: float = math.inf,
    ) -> None:
        self.slope, self.end, self.paid = slope, furthest, out
        self.x0, self.most_marginal = x0, most
        self.requested: list[float] = []

    @property
    def furthest(self) -> float:
        return self.end

    def out(self, x: float) -> float:
        return self.paid(x)

    def marginal(self, x: float) -> float:
        self.requested.append(x)
        return self.slope(x)


def falling(furthest: float = 100.0) -> Drawn:
    """1 / x^2 from 1 on, as a pool of x y = 1: after x, 1 - 1 / x came out."""
    return Drawn(lambda x: x**-2, furthest, lambda x: 1 - 1 / x)


def humped(furthest: float = 100.0, x0: float = 1.0) -> Drawn:
    """Yields 0.5 at first, 1 from twice the start to four times it, nothing after."""

    def slope(x: float) -> float:
        return 0.5 if x < 2 * x0 else 1.0 if x <= 4 * x0 else 0.0

    def out(x: float) -> float:
        return 0.5 * min(x - x0, x0) + max(min(x, 4 * x0) - 2 * x0, 0.0)

    return Drawn(slope, furthest * x0, out, x0)


@pytest.mark.parametrize("target", [0.9, 0.5, 0.1, 0.01, 0.001])
def test_flow_ends_where_the_next_unit_yields_the_target(target: float) -> None:
    x, out = falling().flow(target)

    assert x == pytest.approx(target**-0.5, rel=1e-13)
    assert out == pytest.approx(1 - target**0.5, rel=1e-12)


def test_flow_ends_at_the_furthest_where_even_that_yields_more() -> None:
    assert falling(furthest=2.0).flow(0.25) == (2.0, 0.5), "where it yields just as much, too"
    assert falling(furthest=2.0).flow(0.2) == (2.0, 0.5)
    assert falling(furthest=2.0).flow(0.26)[0] == pytest.approx(0.26**-0.5, rel=1e-13)


def test_prices_are_looked_for_twice_as_far_each_time_and_never_beyond_the_furthest() -> None:
    curve = falling(furthest=1.05)
    curve.flow(0.001)
    assert curve.requested == pytest.approx([1.0, STEP, STEP**3, 1.05])
    assert max(curve.requested) == 1.05

    far = falling()
    far.flow(1e-9)
    assert far.requested == pytest.approx([1.0, *(STEP ** (2**n - 1) for n in range(1, 9)), 100.0])


@pytest.mark.parametrize(("most", "furthest"), [(0.5, 100.0), (0.4, 100.0), (9.0, 1.0), (9.0, 0.5)])
def test_nothing_flows_where_nothing_can_and_no_price_is_looked_for(most: float, furthest: float) -> None:
    curve = falling(furthest)
    curve.most_marginal = most

    assert curve.flow(0.5) == (1.0, 0.0)
    assert curve.requested == []


@pytest.mark.parametrize(
    ("target", "out"),
    # Up to 4 come out 2.5 for 3: so much a unit, on the whole.
    [(0.8, 2.5), (0.83, 2.5), (2.5 / 3, 0.0), (0.84, 0.0), (0.99, 0.0)],
)
@pytest.mark.parametrize("x0", [1.0, 3.0])
def test_a_better_price_ahead_is_worth_it_if_the_whole_of_the_way_is(target: float, out: float, x0: float) -> None:
    curve = humped(x0=x0)

    x, paid = curve.flow(target)

    assert paid == pytest.approx(out * x0, rel=1e-12)
    assert x == pytest.approx(4 * x0 if out else x0, rel=1e-12)


def test_better_prices_are_looked_for_at_places_evenly_ahead_from_the_far_end() -> None:
    curve = Drawn(lambda x: 0.1, 2.0**24, lambda x: 0.1 * (x - 1))

    assert curve.flow(0.5) == (1.0, 0.0)

    assert curve.requested == pytest.approx([1.0, *(2.0**n for n in range(23, 0, -1))])


def test_a_place_ahead_that_yields_just_the_target_is_begun_from() -> None:
    curve = Drawn(lambda x: 0.5 if x > 2.0 else 0.1, 2.0**24, lambda x: 0.1 + 0.9 * (x - 1))

    x, out = curve.flow(0.5)

    assert x == 2.0**24
    assert out > 0


@given(st.floats(0.05, 0.95), st.floats(1.5, 60.0), st.floats(0.1, 30.0), st.floats(0.0, 0.5))
def test_no_other_amount_gains_more(target: float, furthest: float, width: float, dip: float) -> None:
    """The slope falls and has one hump ahead, as where a fee falls towards balance; every other amount was tried."""

    def out(x: float) -> float:
        return (1 - 1 / x) * (1 - dip * math.exp(-(x - 1) / width))

    def slope(x: float) -> float:
        grown = math.exp(-(x - 1) / width)
        return (1 - dip * grown) / x**2 + (1 - 1 / x) * dip * grown / width

    found, paid = Drawn(slope, furthest, out).flow(target)

    gain = paid - target * (found - 1)
    grid = (1 + (furthest - 1) * n / 500 for n in range(501))
    assert gain >= max(out(x) - target * (x - 1) for x in grid) - 1e-9
    assert 1 <= found <= furthest
    assert paid == (out(found) if found > 1 else 0.0)
