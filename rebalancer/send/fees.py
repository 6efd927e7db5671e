"""Gas fees of a transaction: the first offer, and the higher offer of a replacement.

EIP-1559: the base fee is burnt and changes by at most an eighth per block; the tip goes to the block builder. An offer
holds for several full blocks and never exceeds a cap. A replacement must raise both fields; nodes require a tenth or an
eighth more, so it is an eighth here. All values are integers. Everything except `read_market` and `suggest` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, FeeAboveCap, RpcMalformed, RpcRejected

__all__ = ["GasFees", "GasMarket", "bumped", "offer", "read_market", "replacement_of", "suggest"]

_HISTORY_BLOCKS = 10
_TIP_PERCENTILES = (50, 75)  # of the gas in each block: usual and urgent
_MIN_TIP_WEI = 10_000_000  # 0.01 gwei: some nodes do not relay less
_BASE_FEE_HEADROOM = 2  # (9/8)^5 < 2: sufficient after five full blocks


@dataclass(frozen=True)
class GasFees:
    """Fee offer of a transaction, in wei per gas: the maximum in total, and the maximum tip."""

    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int


@dataclass(frozen=True)
class GasMarket:
    """Current gas prices in wei per gas: the base fee of the next block, and tips of recent blocks."""

    base_fee_wei: int
    usual_tip_wei: int
    urgent_tip_wei: int

    @property
    def usual_price_wei(self) -> int:
        """Price of gas for a transaction in the next block."""
        return self.base_fee_wei + self.usual_tip_wei


def offer(market: GasMarket, cap_wei: int) -> GasFees:
    """Fees for the next few blocks, both at most the cap (wei per gas).

    Raises:
        FeeAboveCap: the next block's base fee alone is above the cap.
    """
    if market.base_fee_wei > cap_wei:
        raise FeeAboveCap(market.base_fee_wei, cap_wei)
    max_fee_wei = min(_BASE_FEE_HEADROOM * market.base_fee_wei + market.usual_tip_wei, cap_wei)
    return GasFees(max_fee_wei, min(market.usual_tip_wei, max_fee_wei))


def replacement_of(wei: int) -> int:
    """A fee plus an eighth, rounded up: the lowest fee that replaces it."""
    return wei + -(-wei // 8)


def bumped(before: GasFees, market: GasMarket, cap_wei: int) -> GasFees | None:
    """Fees that replace `before`: an eighth more in both fields, and at least the current prices. None if the cap is
    too low."""
    least = GasFees(
        replacement_of(before.max_fee_per_gas_wei), max(1, replacement_of(before.max_priority_fee_per_gas_wei))
    )
    if max(least.max_fee_per_gas_wei, least.max_priority_fee_per_gas_wei) > cap_wei:
        return None
    tip_wei = max(least.max_priority_fee_per_gas_wei, market.urgent_tip_wei)
    now_wei = _BASE_FEE_HEADROOM * market.base_fee_wei + tip_wei
    max_fee_wei = min(max(least.max_fee_per_gas_wei, now_wei), cap_wei)
    return GasFees(max_fee_wei, min(tip_wei, max_fee_wei))


def read_market(rpc: Rpc) -> GasMarket:
    """Current gas prices of a chain, from `eth_feeHistory`, or otherwise from the newest block and `eth_gasPrice`.

    A tip is the median over recent blocks of a percentile of the tips in the block; blocks without transactions do not
    count. If several endpoints must agree, the result is the median of their answers, the lower one of two. Tips are
    capped at `rpc.max_tip_wei`.

    Raises:
        RpcMalformed: the chain reports no gas price in any of these ways.
        ChainError: no endpoint answers.
    """
    found: list[GasMarket] = []
    failure: ChainError | None = None
    for voter in rpc.voters():
        try:
            found.append(_read_market(voter))
            if len(found) == rpc.votes:
                break
        except ChainError as lost:
            failure = lost
    if not found:
        raise failure or RpcMalformed(rpc.endpoint, "no endpoint reports a gas price")
    most_wei = rpc.max_tip_wei
    base_fee_wei, usual_wei, urgent_wei = (
        median_low(each)
        for each in zip(*((m.base_fee_wei, m.usual_tip_wei, m.urgent_tip_wei) for m in found), strict=True)
    )
    if most_wei is not None:
        usual_wei, urgent_wei = min(usual_wei, most_wei), min(urgent_wei, most_wei)
    return GasMarket(base_fee_wei, usual_wei, urgent_wei)


def _read_market(rpc: Rpc) -> GasMarket:
    """Gas prices by one endpoint."""
    try:
        history = rpc.call("eth_feeHistory", hex(_HISTORY_BLOCKS), "latest", list(_TIP_PERCENTILES))
    except (RpcRejected, RpcMalformed):
        history = None
    history = history if isinstance(history, dict) else {}
    base_fees = history.get("baseFeePerGas") or [None]
    base_fee_wei = int(base_fees[-1], 16) if base_fees[-1] else 0
    tips_wei = _read_tips(history)
    if not base_fee_wei:
        base_fee_wei, tip_wei = _read_prices(rpc)
        tips_wei = tips_wei if any(map(any, tips_wei)) else [[tip_wei]]
    usual_wei = max(median_low(tip[0] for tip in tips_wei) if tips_wei else 0, _MIN_TIP_WEI)
    urgent_wei = max(median_low(tip[-1] for tip in tips_wei) if tips_wei else 0, usual_wei)
    return GasMarket(base_fee_wei, usual_wei, urgent_wei)


def suggest(rpc: Rpc, cap_wei: int) -> GasFees:
    """Fees for the next few blocks on a chain, both at most the cap (wei per gas).

    Raises:
        As `read_market` and `offer`.
    """
    return offer(read_market(rpc), cap_wei)


def _read_tips(history: Mapping[str, Any]) -> list[list[int]]:
    """Tips of recent blocks with transactions, by percentile; missing or incomplete entries are skipped."""
    rewards, used = history.get("reward") or [], history.get("gasUsedRatio") or []
    return [
        [int(tip, 16) for tip in reward]
        for reward, part in zip(rewards, used, strict=False)
        if part and reward and all(reward)
    ]


def _read_prices(rpc: Rpc) -> tuple[int, int]:
    """Base fee of the newest block, and the tip that `eth_gasPrice` adds to it. On a chain without base fees: the gas
    price and no tip.

    Raises:
        RpcMalformed: the endpoint reports neither.
    """
    block, price = rpc.batch_settled([("eth_getBlockByNumber", ("latest", False)), ("eth_gasPrice", ())])
    known = isinstance(block, dict) and block.get("baseFeePerGas")
    base_fee_wei = int(block["baseFeePerGas"], 16) if known else 0
    price_wei = int(price, 16) if isinstance(price, str) else 0
    if not base_fee_wei and not price_wei:
        raise RpcMalformed(rpc.endpoint, "it reports no gas price")
    return base_fee_wei or price_wei, max(price_wei - base_fee_wei, 0) if base_fee_wei else 0
