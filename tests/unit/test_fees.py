"""What a transaction offers for its gas, against fee histories written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import FeeAboveCap, RpcMalformed
from rebalancer.send.fees import Fees, suggest

GWEI = 10**9


class HistoryRpc(Rpc):
    """Answers eth_feeHistory with what it was given."""

    def __init__(self, history: Any) -> None:
        super().__init__("http://127.0.0.1:1")
        self.history = history

    def call(self, method: str, *params: Any) -> Any:
        assert method == "eth_feeHistory"
        assert params[1] == "latest"
        return self.history


def history(base_fees_wei: list[int], tips_wei: list[int], used: list[float]) -> dict[str, Any]:
    return {
        "baseFeePerGas": [hex(fee) for fee in base_fees_wei],
        "reward": [[hex(tip)] for tip in tips_wei],
        "gasUsedRatio": used,
    }


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"baseFeePerGas": []},
        {"baseFeePerGas": [None], "reward": [], "gasUsedRatio": []},
        {"baseFeePerGas": ["0x1", "0x1"], "reward": [["0x1"]], "gasUsedRatio": []},
        {"baseFeePerGas": ["0x1", "0x1"], "reward": None, "gasUsedRatio": [0.5]},
    ],
)
def test_suggest_without_base_fees_is_malformed(answer: Any) -> None:
    with pytest.raises(RpcMalformed):
        suggest(HistoryRpc(answer), 100 * GWEI)


def test_suggest_next_base_fee_above_cap_is_refused_with_numbers() -> None:
    # The last block was within the cap; the next one is not.
    rpc = HistoryRpc(history([29 * GWEI, 30 * GWEI + 1], [GWEI], [1.0]))
    with pytest.raises(FeeAboveCap, match=r"30\.000000001 gwei and the cap is 30 gwei") as caught:
        suggest(rpc, 30 * GWEI)
    assert (caught.value.base_fee_wei, caught.value.cap_wei) == (30 * GWEI + 1, 30 * GWEI)


def test_suggest_base_fee_at_the_cap_offers_the_cap() -> None:
    rpc = HistoryRpc(history([30 * GWEI, 30 * GWEI], [2 * GWEI], [0.5]))
    assert suggest(rpc, 30 * GWEI) == Fees(30 * GWEI, 2 * GWEI)


def test_suggest_offers_twice_the_base_fee_and_the_median_tip() -> None:
    # Tips 1, 2, 9 gwei: the median is 2. The empty block's 0 does not count.
    rpc = HistoryRpc(history([10 * GWEI] * 5, [9 * GWEI, 0, GWEI, 2 * GWEI], [0.9, 0.0, 0.4, 0.5]))
    assert suggest(rpc, 100 * GWEI) == Fees(22 * GWEI, 2 * GWEI)


def test_suggest_on_an_idle_chain_offers_the_least_tip() -> None:
    rpc = HistoryRpc(history([7, 7], [0], [0.0]))
    assert suggest(rpc, 100 * GWEI) == Fees(14 + GWEI // 100, GWEI // 100)


def test_suggest_never_offers_a_tip_above_the_whole() -> None:
    rpc = HistoryRpc(history([5, 5], [50 * GWEI], [0.5]))
    assert suggest(rpc, 3 * GWEI) == Fees(3 * GWEI, 3 * GWEI)
