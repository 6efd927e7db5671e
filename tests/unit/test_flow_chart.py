"""The picture of a plan: every swap in it, names and values of tokens, and files that are what they say."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from math import isqrt
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rebalancer.errors import ChartFormatUnknown, ChartingMissing
from rebalancer.lab.flow_chart import flow_chart
from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.units import E18
from rebalancer.venues import Token, UniswapV3Pool, synthetic

TOKENS = tuple(Token(f"0x{i:040x}", f"T{i}", 18) for i in range(1, 7))


def pool(number: int, a: int, b: int, depth_usd: int = 10**6) -> UniswapV3Pool:
    """A pool of two tokens, each worth a dollar."""
    return synthetic(
        TOKENS[a],
        TOKENS[b],
        fee_pips=3_000,
        tick_spacing=60,
        sqrt_price_x96=isqrt(1 << 192),
        depth1_raw=depth_usd * E18,
        address=f"0x{number:040x}",
    )


@pytest.fixture
def plan() -> Plan:
    """Two assets are sold for two, one of which others pass through, by five pools and a token outside."""
    return planned(10_000)


def planned(usd: int) -> Plan:
    """A plan of 13 times so many dollars."""
    found = plan_rebalance(
        Problem(
            tokens=tuple(token.address for token in TOKENS[:4]),
            decimals=(18,) * 4,
            sales_max_raw=(9 * usd * E18, 4 * usd * E18, 0, 0),
            needs_max_raw=(0, 0, 7 * usd * E18, 6 * usd * E18),
            prices_e18=(E18,) * 4,
            lo_e18=(E18,) * 4,
            hi_e18=(E18,) * 4,
            pools=(
                pool(11, 0, 2),
                pool(12, 0, 2, 10**5),
                pool(13, 1, 2),
                pool(14, 2, 3),
                pool(15, 0, 5),
                pool(16, 3, 5),
            ),
            gas_price_wei=usd * 10**5,
            native_price_e18=2_000 * E18,
        )
    )
    assert isinstance(found, Plan)
    return found


def words(path: Path) -> list[str]:
    """The texts of an SVG whose letters are drawn, which matplotlib writes beside them as comments."""
    return re.findall(r"<!-- (.+?) -->", path.read_text(encoding="utf-8"))


def test_flow_chart_shows_every_swap_and_what_is_sold_and_bought(plan: Plan, tmp_path: Path) -> None:
    path = flow_chart(plan, tmp_path / "made" / "plan.svg")

    assert ET.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - of our own making
    shown = words(path)
    assert len(plan.swaps) >= 5
    for number, swap in enumerate(plan.swaps, 1):
        assert shown.count(str(number)) >= 2, "on its ribbon and in its line"
        assert any(swap.pool.key[-4:] in text for text in shown)
        symbols = {token.address: token.symbol for token in swap.pool.tokens}
        assert f"{symbols[swap.token_in]} → {symbols[swap.token_out]}" in shown
    for i, symbol in enumerate(("T1", "T2")):
        assert symbol in shown
        assert f"-${plan.sales_raw[i] / E18:,.0f}" in shown
    assert any(text.startswith("T3  +$") for text in shown), "it is bought and passed through"
    assert f"+${plan.expected_buys_raw[3] / E18:,.0f}" in shown
    assert any("fees" in text and "gas" in text for text in shown)
    assert "call itself" in shown, "the bars' gas is all that the title says"


@pytest.mark.parametrize("usd", [20_000, 200, 2])
def test_flow_chart_tells_the_marks_of_its_axis_apart(usd: int, tmp_path: Path) -> None:
    """An axis of $0, $0, $0 and $1 says nothing."""
    shown = words(flow_chart(planned(usd), tmp_path / "plan.svg"))

    (end,) = (at for at, text in enumerate(shown) if text.startswith("Cost of each swap"))
    axis = [text for text in shown[:end] if re.fullmatch(r"-?\$[\d,.]+", text)]
    assert len(axis) == len(set(axis)) >= 3, axis


def test_flow_chart_of_the_same_plan_is_the_same_file(plan: Plan, tmp_path: Path) -> None:
    one, two = (flow_chart(plan, tmp_path / name) for name in ("one.svg", "two.svg"))

    assert one.read_bytes() == two.read_bytes()


def test_flow_chart_as_png_is_one(plan: Plan, tmp_path: Path) -> None:
    path = flow_chart(replace(plan, bound_by="loss"), tmp_path / "plan.png")

    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["plan.jpg", "plan"])
def test_flow_chart_in_another_format_is_refused(plan: Plan, tmp_path: Path, name: str) -> None:
    with pytest.raises(ChartFormatUnknown, match=r"\.png or \.svg"):
        flow_chart(plan, tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_flow_chart_without_matplotlib_says_what_to_install(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ChartingMissing, match="pip install"):
        flow_chart(plan, tmp_path / "plan.svg")
