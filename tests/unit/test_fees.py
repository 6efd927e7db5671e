"""What a transaction offers for its gas, against fee histories written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.abi import Call
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import FeeAboveCap, RpcMalformed, RpcRejected
from rebalancer.send.fees import GasFees, GasMarket, bumped, read_market, replacement_of, suggest

GWEI = 10**9


class HistoryRpc(Rpc):
    """Answers eth_feeHistory with what it was given, and is asked for nothing else unless it has a newest block or a price of gas."""

    def __init__(self, history: Any, block: Any = None, price: Any = None) -> None:
        super().__init__("http://127.0.0.1:1")
        self.history, self.block, self.price = history, block, price

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        assert calls == [("eth_getBlockByNumber", ("latest", False)), ("eth_gasPrice", ())]
        missing = RpcRejected("eth_gasPrice", -32601, "the method does not exist")
        return [self.block, missing if self.price is None else self.price]

    def call(self, method: str, *params: Any) -> Any:
        assert method == "eth_feeHistory"
        assert params == ("0xa", "latest", [50, 75])
        if isinstance(self.history, RpcRejected):
            raise self.history
        return self.history


def history(base_fees_wei: list[int], tips_wei: list[int], used: list[float]) -> dict[str, Any]:
    return {
        "baseFeePerGas": [hex(fee) for fee in base_fees_wei],
        "reward": [[hex(tip)] for tip in tips_wei],
        "gasUsedRatio": used,
    }


MISSING = RpcRejected("eth_feeHistory", -32601, "the method eth_feeHistory does not exist")
NO_HISTORY: tuple[Any, ...] = (
    *(None, {}, {"baseFeePerGas": []}, {"baseFeePerGas": [None], "reward": [], "gasUsedRatio": []}),
    *(history([0, 0], [0], [0.5]), {"baseFeePerGas": ["0x0"], "reward": None}, MISSING),
)


@pytest.mark.parametrize("answer", NO_HISTORY)
def test_suggest_without_any_price_of_gas_is_malformed(answer: Any) -> None:
    with pytest.raises(RpcMalformed, match="no gas price") as caught:
        suggest(HistoryRpc(answer), 100 * GWEI)
    assert caught.value.endpoint == "http://127.0.0.1:1"


@pytest.mark.parametrize("answer", NO_HISTORY)
@pytest.mark.parametrize(
    ("block", "price", "market"),
    [
        ({"baseFeePerGas": hex(7 * GWEI)}, hex(9 * GWEI), (7 * GWEI, 2 * GWEI)),
        ({"baseFeePerGas": hex(7 * GWEI)}, None, (7 * GWEI, GWEI // 100)),
        ({"number": "0x1"}, hex(9 * GWEI), (9 * GWEI, GWEI // 100)),
        (None, hex(9 * GWEI), (9 * GWEI, GWEI // 100)),
        ({"baseFeePerGas": "0x1"}, "0x1", (1, GWEI // 100)),
        ({"baseFeePerGas": "0x2"}, "0x1", (2, GWEI // 100)),  # a price below the base fee
        (
            {"baseFeePerGas": hex(7 * GWEI)},
            hex(7 * GWEI + GWEI // 100 + 1),
            (7 * GWEI, GWEI // 100 + 1),
        ),
    ],
)
def test_without_a_fee_history_the_block_and_the_price_of_gas_tell(
    answer: Any, block: Any, price: Any, market: tuple[int, int]
) -> None:
    found = read_market(HistoryRpc(answer, block, price))

    assert (found.base_fee_wei, found.usual_tip_wei) == market


@pytest.mark.parametrize(
    "reward",
    [None, [], [None, None], [["0x1"]], [[None], ["0x1"]], [[None, "0xffffffffff"], ["0x1", None]]],
)
def test_a_fee_history_without_all_its_tips_still_tells_the_base_fee(reward: Any) -> None:
    answer = {"baseFeePerGas": [hex(GWEI)] * 3, "reward": reward, "gasUsedRatio": [0.5, 0.5]}

    assert read_market(HistoryRpc(answer)) == GasMarket(GWEI, GWEI // 100, GWEI // 100)


@pytest.mark.parametrize("fees", [[hex(GWEI), None], [hex(GWEI), "0x0"], [None, None], ["0x0"]])
def test_the_next_blocks_base_fee_is_the_last_and_no_other_stands_in_for_it(fees: Any) -> None:
    block = {"baseFeePerGas": hex(7 * GWEI)}
    answer = {"baseFeePerGas": fees, "reward": [], "gasUsedRatio": []}

    assert read_market(HistoryRpc(answer, block)).base_fee_wei == 7 * GWEI
    answer["baseFeePerGas"] = [*fees, hex(5 * GWEI)]
    assert read_market(HistoryRpc(answer, block)).base_fee_wei == 5 * GWEI


def test_suggest_next_base_fee_above_cap_is_refused_with_numbers() -> None:
    # The last block was within the cap; the next one is not.
    rpc = HistoryRpc(history([29 * GWEI, 30 * GWEI + 1], [GWEI], [1.0]))
    with pytest.raises(FeeAboveCap, match=r"30\.000000001 gwei and the cap is 30 gwei") as caught:
        suggest(rpc, 30 * GWEI)
    assert (caught.value.base_fee_wei, caught.value.cap_wei) == (30 * GWEI + 1, 30 * GWEI)


def test_suggest_base_fee_at_the_cap_offers_the_cap() -> None:
    rpc = HistoryRpc(history([30 * GWEI, 30 * GWEI], [2 * GWEI], [0.5]))
    assert suggest(rpc, 30 * GWEI) == GasFees(30 * GWEI, 2 * GWEI)


def test_suggest_offers_twice_the_base_fee_and_the_median_tip() -> None:
    # Tips 1, 2, 9 gwei: the median is 2. The empty block's 0 does not count.
    rpc = HistoryRpc(history([10 * GWEI] * 5, [9 * GWEI, 0, GWEI, 2 * GWEI], [0.9, 0.0, 0.4, 0.5]))
    assert suggest(rpc, 100 * GWEI) == GasFees(22 * GWEI, 2 * GWEI)


def test_suggest_on_an_idle_chain_offers_the_least_tip() -> None:
    rpc = HistoryRpc(history([7, 7], [0], [0.0]))
    assert suggest(rpc, 100 * GWEI) == GasFees(14 + GWEI // 100, GWEI // 100)


def test_suggest_never_offers_a_tip_above_the_whole() -> None:
    rpc = HistoryRpc(history([5, 5], [50 * GWEI], [0.5]))
    assert suggest(rpc, 3 * GWEI) == GasFees(3 * GWEI, 3 * GWEI)


# Replacing


WEI = st.integers(1, 10**13)
MARKETS = st.builds(GasMarket, st.integers(0, 10**13), st.integers(0, 10**12), st.integers(0, 10**12))


def test_outbid_is_an_eighth_more_rounded_up() -> None:
    # 8 → 9 exactly; 9 → 9 + 9/8 = 10.125 → 11.
    assert [replacement_of(wei) for wei in (1, 7, 8, 9, 16, 10**9)] == [
        2,
        8,
        9,
        11,
        18,
        1_125_000_000,
    ]


@given(st.integers(0, 10**30))
def test_outbid_is_the_least_that_is_an_eighth_more(wei: int) -> None:
    assert 8 * replacement_of(wei) >= 9 * wei > 8 * (replacement_of(wei) - 1) or wei == 0


@given(WEI, WEI, MARKETS, WEI)
def test_bumped_raises_both_fields_by_an_eighth_and_stays_below_the_cap(
    a: int, b: int, market: GasMarket, cap_wei: int
) -> None:
    before = GasFees(max(a, b), min(a, b))
    after = bumped(before, market, cap_wei)
    if after is None:
        assert replacement_of(before.max_fee_per_gas_wei) > cap_wei
        return
    assert 8 * after.max_fee_per_gas_wei >= 9 * before.max_fee_per_gas_wei
    assert 8 * after.max_priority_fee_per_gas_wei >= 9 * before.max_priority_fee_per_gas_wei
    assert after.max_priority_fee_per_gas_wei <= after.max_fee_per_gas_wei <= cap_wei
    room = after.max_fee_per_gas_wei < cap_wei
    if room:
        assert after.max_priority_fee_per_gas_wei >= market.urgent_tip_wei
        assert after.max_fee_per_gas_wei >= 2 * market.base_fee_wei + market.urgent_tip_wei


def test_bumped_exactly_at_the_cap_is_the_last_one() -> None:
    market = GasMarket(0, 0, 0)
    assert bumped(GasFees(8, 8), market, 9) == GasFees(9, 9)
    assert bumped(GasFees(8, 8), market, 8) is None
    assert bumped(GasFees(9, 9), market, 10) is None


def test_bumped_to_what_the_market_asks_now() -> None:
    market = GasMarket(100 * GWEI, GWEI, 3 * GWEI)
    assert bumped(GasFees(10 * GWEI, GWEI), market, 500 * GWEI) == GasFees(203 * GWEI, 3 * GWEI)
    # A tip of nothing is raised too, or the new one would not replace it.
    assert bumped(GasFees(10 * GWEI, 0), GasMarket(0, 0, 0), 500 * GWEI) == GasFees(replacement_of(10 * GWEI), 1)


def test_read_market_tells_the_usual_tip_from_the_urgent_one() -> None:
    answer = history([10 * GWEI] * 3, [0, 0], [0.5, 0.5])
    answer["reward"] = [[hex(GWEI), hex(5 * GWEI)], [hex(2 * GWEI), hex(7 * GWEI)]]
    assert read_market(HistoryRpc(answer)) == GasMarket(10 * GWEI, GWEI, 5 * GWEI)


def test_tips_of_a_history_without_base_fees_count_if_any_was_paid() -> None:
    """A chain without base fees: its price is that of gas, and what was paid above it is told by the history alone."""
    answer = history([0, 0], [3 * GWEI], [0.5])
    assert read_market(HistoryRpc(answer, None, hex(9 * GWEI))) == GasMarket(9 * GWEI, 3 * GWEI, 3 * GWEI)


def test_the_next_block_is_mined_at_the_base_fee_and_the_usual_tip() -> None:
    assert GasMarket(7, 2, 5).usual_price_wei == 9


@pytest.mark.parametrize("tip_wei", [GWEI // 100 - 1, GWEI // 100, GWEI // 100 + 1])
def test_no_tip_is_below_the_least_that_nodes_pass_on(tip_wei: int) -> None:
    found = read_market(HistoryRpc(history([GWEI], [tip_wei], [0.5])))

    assert found.usual_tip_wei == found.urgent_tip_wei == max(tip_wei, GWEI // 100)


class Voters(HistoryRpc):
    """Endpoints that must agree, with the most that is believed of a tip."""

    def __init__(self, voters: list[Rpc], most_wei: int | None = None) -> None:
        super().__init__(None)
        self.all, self.max_tip_wei = voters, most_wei

    @property
    def votes(self) -> int:
        return len(self.all)

    def voters(self) -> list[Rpc]:
        return self.all


def reported(base_fee_wei: int, usual_wei: int, urgent_wei: int) -> Rpc:
    answer = history([base_fee_wei], [0], [0.5])
    answer["reward"] = [[hex(usual_wei), hex(urgent_wei)]]
    return HistoryRpc(answer)


def test_the_median_of_what_endpoints_say_is_taken_each_number_by_itself_the_lower_of_two() -> None:
    one, two = reported(10 * GWEI, 3 * GWEI, 4 * GWEI), reported(30 * GWEI, GWEI, 9 * GWEI)
    three = reported(20 * GWEI, 2 * GWEI, 2 * GWEI)
    lost = HistoryRpc(MISSING)  # and no price either

    assert read_market(Voters([one, two, three])) == GasMarket(20 * GWEI, 2 * GWEI, 4 * GWEI)
    assert read_market(Voters([one, lost, two])) == GasMarket(10 * GWEI, GWEI, 4 * GWEI)
    with pytest.raises(RpcMalformed, match="no gas price"):
        read_market(Voters([lost, lost]))
    with pytest.raises(RpcMalformed, match="no endpoint") as caught:
        read_market(Voters([]))
    assert caught.value.endpoint == "http://127.0.0.1:1"


@pytest.mark.parametrize("most_wei", [None, GWEI, 2 * GWEI, 3 * GWEI, 5 * GWEI])
def test_no_tip_is_believed_above_the_most(most_wei: int | None) -> None:
    found = read_market(Voters([reported(10 * GWEI, 2 * GWEI, 4 * GWEI)], most_wei))

    top = 9 * GWEI if most_wei is None else most_wei
    assert found == GasMarket(10 * GWEI, min(2 * GWEI, top), min(4 * GWEI, top))
