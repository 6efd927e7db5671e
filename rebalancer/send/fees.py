"""What should a transaction offer for its gas?

EIP-1559: the base fee is burnt and moves by at most an eighth a block, the tip goes to whoever
builds the block. Offers are made to hold for several full blocks, and never above a cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low
from typing import Any

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import FeeAboveCap, RpcMalformed

__all__ = ["Fees", "suggest"]

_HISTORY_BLOCKS = 10
_TIP_PERCENTILE = 50  # of the gas in each block
_MIN_TIP_WEI = 10_000_000  # 0.01 gwei: builders take less, some nodes do not pass less on
_BASE_FEE_HEADROOM = 2  # (9/8)^5 < 2: still good enough after five full blocks


@dataclass(frozen=True)
class Fees:
    """What a transaction offers, in wei per gas; it pays the base fee and the tip, at most the former."""

    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int


def suggest(rpc: Rpc, cap_wei: int) -> Fees:
    """Fees for the next few blocks, both at most the cap (wei per gas).

    The tip is the median of what the median gas of recent blocks paid; blocks without
    transactions do not count.

    Raises:
        FeeAboveCap: the next block's base fee alone is above the cap.
        RpcMalformed: the chain has no base fee.
    """
    history = rpc.call("eth_feeHistory", hex(_HISTORY_BLOCKS), "latest", [_TIP_PERCENTILE])
    base_fee_wei, tips_wei = _read_history(rpc, history)
    if base_fee_wei > cap_wei:
        raise FeeAboveCap(base_fee_wei, cap_wei)
    tip_wei = max(median_low(tips_wei) if tips_wei else 0, _MIN_TIP_WEI)
    max_fee_wei = min(_BASE_FEE_HEADROOM * base_fee_wei + tip_wei, cap_wei)
    return Fees(max_fee_wei, min(tip_wei, max_fee_wei))


def _read_history(rpc: Rpc, history: Any) -> tuple[int, list[int]]:
    """The next block's base fee, and the tips of recent blocks that held transactions."""
    try:
        base_fee_wei = int(history["baseFeePerGas"][-1], 16)
        tips_wei = [
            int(reward[0], 16)
            for reward, used in zip(history["reward"], history["gasUsedRatio"], strict=True)
            if used > 0
        ]
    except (KeyError, IndexError, TypeError, ValueError):
        raise RpcMalformed(rpc.endpoint, "its fee history has no base fees or tips") from None
    return base_fee_wei, tips_wei
