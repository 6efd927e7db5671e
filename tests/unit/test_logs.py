"""Searches for logs at endpoints that take few blocks at once, find few logs, or change their minds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import RpcRejected

FILTER = {"address": ["0x" + "ab" * 20]}
WORDS = [
    (-32600, "You can make eth_getLogs requests with up to a 10 block range"),
    (-32005, "query returned more than 10000 results"),
    (-32602, "block range is too wide"),
    (-32000, "nobody knows why"),
]


class Node(Rpc):
    """Has a log in every third block, and refuses searches that `refuses` tells of, by their first and last block."""

    def __init__(self, refuses: Callable[[int, int], bool], why: tuple[int, str] = WORDS[0]) -> None:
        super().__init__("http://127.0.0.1:1")
        self.refuses, self.why = refuses, why
        self.requested: list[int] = []
        self.searched: list[tuple[int, int]] = []
        self.heads = ["a"]

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.requested.append(len(calls))
        head = self.heads.pop(0) if len(self.heads) > 1 else self.heads[0]
        return [self._one(head, method, params) for method, params in calls]

    def _one(self, head: str, method: str, params: Any) -> Any:
        if method != "eth_getLogs":
            return head
        first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
        self.searched.append((first, last))
        if self.refuses(first, last):
            return RpcRejected(method, *self.why)
        return [{"block": number} for number in range(first, last + 1) if number % 3 == 0]


def blocks(found: Sequence[Mapping[str, Any]] | None) -> list[int]:
    """Where logs were found, upward."""
    return sorted(each["block"] for each in found or ())


@pytest.mark.parametrize("why", WORDS)
@pytest.mark.parametrize("most", [1, 2, 10, 37, 500])
def test_what_is_too_much_is_asked_in_pieces_and_the_limit_remembered(why: tuple[int, str], most: int) -> None:
    node = Node(lambda first, last: last - first >= most, why)
    search = LogSearch()

    reported, found = search.find(node, [FILTER], 1, 100, [("head", [])])

    assert (reported, blocks(found)) == (["a"], list(range(3, 101, 3)))
    assert search.most_blocks <= most or most >= 100
    node.requested.clear()
    search.find(node, [FILTER], 101, 200, [("head", [])])
    assert len(node.requested) == 1


def test_a_search_with_too_many_logs_is_halved_where_they_are() -> None:
    node = Node(lambda first, last: sum(n % 3 == 0 for n in range(first, last + 1)) > 5)

    assert blocks(LogSearch().find(node, [FILTER], 1, 90)[1]) == list(range(3, 91, 3))


def test_logs_of_a_single_block_that_are_refused_cannot_be_had() -> None:
    node = Node(lambda first, last: first <= 7 <= last)

    assert LogSearch().find(node, [FILTER], 1, 20, [("head", [])]) == (["a"], None)


def test_very_many_searches_are_not_made() -> None:
    node = Node(lambda first, last: last > first)
    search = LogSearch()
    search.find(node, [FILTER], 1, 2)
    node.requested.clear()

    assert search.find(node, [FILTER], 1, 1_000)[1] is None
    assert sum(node.requested) <= 1


def test_logs_are_not_put_together_from_two_chains() -> None:
    node = Node(lambda first, last: last - first >= 10)
    node.heads = ["a", "b"]

    assert LogSearch().find(node, [FILTER], 1, 100, [("head", [])])[1] is None


def test_a_refusal_beside_the_search_is_raised() -> None:
    node = Node(lambda first, last: False)
    node.heads = [RpcRejected("head", -32000, "no")]  # type: ignore[list-item]  # what a node says

    with pytest.raises(RpcRejected, match="no"):
        LogSearch().find(node, [FILTER], 1, 100, [("head", [])])


def test_a_search_covers_two_thousand_blocks_until_one_is_refused() -> None:
    node = Node(lambda first, last: False)

    LogSearch().find(node, [FILTER], 5, 4_005)

    assert node.searched == [(5, 2_004), (2_005, 4_004), (4_005, 4_005)]


@pytest.mark.parametrize("size", range(2, 20))
def test_what_is_refused_is_asked_again_in_halves_that_cover_it(size: int) -> None:
    node = Node(lambda first, last: last - first + 1 == size)
    search = LogSearch()

    found = search.find(node, [FILTER], 1, size)[1]

    half = size // 2
    pieces = [(n, min(size, n + half - 1)) for n in range(1, size + 1, half)]
    assert node.searched == [(1, size), *pieces]
    assert blocks(found) == list(range(3, size + 1, 3))
    assert search.most_blocks == half


@pytest.mark.parametrize("searches", [200, 201])
def test_two_hundred_searches_are_made_and_not_one_more(searches: int) -> None:
    node = Node(lambda first, last: False)
    search = LogSearch()
    search.most_blocks = 1

    reported, found = search.find(node, [FILTER], 1, searches, [("head", [])])

    made = searches <= 200
    assert reported == ["a"]
    assert (found is not None) == made
    assert node.requested == [1 + searches] if made else [1]


def test_each_filter_is_searched_for_over_all_blocks() -> None:
    node = Node(lambda first, last: last - first >= 8)

    reported, found = LogSearch().find(node, [FILTER, FILTER], 1, 20)

    assert reported == []
    assert blocks(found) == sorted([*range(3, 21, 3)] * 2)
