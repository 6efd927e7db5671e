"""Figures of the quality benchmark: what `quality.py` measures and `quality_chart.py` draws. Values are USD."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rebalancer.units import BPS

__all__ = ["GAS_PRICE_WEI", "KEEPER", "BaselineFigures", "QualityFigures", "Rebalance", "Run"]

KEEPER = "keeper"
GAS_PRICE_WEI = 3 * 10**9


@dataclass(frozen=True, slots=True)
class BaselineFigures:
    """Cost of one rebalance by a baseline, in USD; `loss_usd` is None where the baseline cannot make the trades."""

    loss_usd: float | None
    gas_usd: float


@dataclass(frozen=True, slots=True)
class Rebalance:
    """One rebalance of the keeper, in USD: sale, loss, lower bound of the loss, gas, and the baselines."""

    at: int
    sold_usd: float
    loss_usd: float
    bound_usd: float
    gas_usd: float
    swaps: int
    baselines: dict[str, BaselineFigures]


@dataclass(frozen=True, slots=True)
class Run:
    """A whole tape of one vault. `outside` is the fraction of time out of band, `tracking_bps` the root mean square of
    the weights' distance from their targets, `longest_outside_s` the longest uninterrupted time out of band."""

    baseline: str
    vault_usd: int
    years: float
    rebalances: int
    pokes: int
    sold_usd: float
    loss_usd: float
    gas_usd: float
    outside: float
    longest_outside_s: int
    tracking_bps: float

    @property
    def cost_usd(self) -> float:
        """Losses and gas."""
        return self.loss_usd + self.gas_usd

    @property
    def bps_a_year(self) -> float:
        """Cost per year, in basis points of the vault's first value."""
        return self.cost_usd / self.vault_usd / self.years * BPS


@dataclass(slots=True)
class QualityFigures:
    """All figures; `rebalances` are the keeper's, by size of the vault in USD."""

    gas_price_wei: int = GAS_PRICE_WEI
    runs: list[Run] = field(default_factory=list)
    rebalances: dict[int, list[Rebalance]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of .bench/quality.json."""
        return asdict(self)
