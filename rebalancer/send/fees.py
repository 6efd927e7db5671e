"""Gas fees of a transaction: the first offer, and the higher one of a version that replaces it.

EIP-1559: the base fee is burnt and moves by at most an eighth a block, the tip goes to whoever
builds the block. Offers are made to hold for several full blocks, and never above a cap. A
transaction that replaces another must replacement_of it on both fields; nodes ask a tenth more, some an
eighth, so it is an eighth here. Whole numbers alone; all but `read_market` and `suggest` is pure.
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
_TIP_PERCENTILES = (50, 75)  # of the gas in each block: what is usual, and what is urgent
_MIN_TIP_WEI = 10_000_000  # 0.01 gwei: builders take less, some nodes do not pass less on
_BASE_FEE_HEADROOM = 2  # (9/8)^5 < 2: still good enough after five full blocks


@dataclass(frozen=True)
class GasFees:
    """What a transaction offers, in wei per gas; it pays the base fee and the tip, at most the former."""

    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int


@dataclass(frozen=True)
class GasMarket:
    """What gas costs now, in wei per gas: the next block's base fee, and tips of recent blocks."""

    base_fee_wei: int
    usual_tip_wei: int
    urgent_tip_wei: int

    @property
    def usual_price_wei(self) -> int:
        """What a transaction pays for its gas that is mined in the next block."""
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
    """An eighth more than a fee, rounded up: the least that replaces it."""
    return wei + -(-wei // 8)


def bumped(before: GasFees, market: GasMarket, cap_wei: int) -> GasFees | None:
    """Fees that replace `before`: an eighth more on both fields, and no less than is asked now.

    None when the cap leaves no room for that.
    """
    least = GasFees(
        replacement_of(before.max_fee_per_gas_wei),
        max(1, replacement_of(before.max_priority_fee_per_gas_wei)),
    )
    if max(least.max_fee_per_gas_wei, least.max_priority_fee_per_gas_wei) > cap_wei:
        return None
    tip_wei = max(least.max_priority_fee_per_gas_wei, market.urgent_tip_wei)
    now_wei = _BASE_FEE_HEADROOM * market.base_fee_wei + tip_wei
    max_fee_wei = min(max(least.max_fee_per_gas_wei, now_wei), cap_wei)
    return GasFees(max_fee_wei, min(tip_wei, max_fee_wei))


def read_market(rpc: Rpc) -> GasMarket:
    """What gas costs on a chain now: by `eth_feeHistory`, or where that tells nothing by the newest block and `eth_gasPrice`.

    A tip is the median over recent blocks of what a percentile of their gas paid; blocks without
    transactions do not count. Where several endpoints must agree, each is asked, and the median of what they say is taken,
    the lower of two; no tip is believed above `rpc.max_tip_wei`.

    Raises:
        RpcMalformed: the chain tells no price of gas in any of these ways.
        ChainError: no endpoint that is asked answers.
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
        raise failure or RpcMalformed(rpc.endpoint, "nobody tells a price of gas")
    most_wei = rpc.max_tip_wei
    base_fee_wei, usual_wei, urgent_wei = (
        median_low(each)
        for each in zip(*((m.base_fee_wei, m.usual_tip_wei, m.urgent_tip_wei) for m in found), strict=True)
    )
    if most_wei is not None:
        usual_wei, urgent_wei = min(usual_wei, most_wei), min(urgent_wei, most_wei)
    return GasMarket(base_fee_wei, usual_wei, urgent_wei)


def _read_market(rpc: Rpc) -> GasMarket:
    """What gas costs by one endpoint."""
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
    """By percentile, the tips of recent blocks that held transactions; what is missing or of another length is left out."""
    rewards, used = history.get("reward") or [], history.get("gasUsedRatio") or []
    return [
        [int(tip, 16) for tip in reward]
        for reward, part in zip(rewards, used, strict=False)
        if part and reward and all(reward)
    ]


def _read_prices(rpc: Rpc) -> tuple[int, int]:
    """The base fee of the newest block and the tip that `eth_gasPrice` adds to it; of a chain without base fees, its price and no tip.

    Raises:
        RpcMalformed: neither tells anything.
    """
    block, price = rpc.batch_settled([("eth_getBlockByNumber", ("latest", False)), ("eth_gasPrice", ())])
    known = isinstance(block, dict) and block.get("baseFeePerGas")
    base_fee_wei = int(block["baseFeePerGas"], 16) if known else 0
    price_wei = int(price, 16) if isinstance(price, str) else 0
    if not base_fee_wei and not price_wei:
        raise RpcMalformed(rpc.endpoint, "it tells no price of gas, in a fee history or otherwise")
    return base_fee_wei or price_wei, max(price_wei - base_fee_wei, 0) if base_fee_wei else 0
