"""Heads: what is news, what was missed, and what a reorg took back, on a chain that the test writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.abi import Call
from rebalancer.chain.heads import Head, Header, Heads, _parsed
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import RpcMalformed, RpcRejected, RpcTimeout
from rebalancer.redact import socket_name
from rebalancer.texts import MOST_DEPTH


class WrittenChain(Rpc):
    """A node whose blocks are named by the test: `a3` is block 3 of branch a."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.blocks: dict[str, dict[str, Any]] = {}
        self.latest = ""
        self.requested = 0
        self.down = False

    def write(self, branch: str, first: int, last: int, parent: str = "genesis") -> None:
        for number in range(first, last + 1):
            name = f"{branch}{number}"
            self.blocks[name] = {
                "number": hex(number),
                "hash": name,
                "parentHash": parent,
                "timestamp": hex(1_000 + number),
                "baseFeePerGas": "0x7",
            }
            parent = self.latest = name

    def call(self, method: str, *params: Any) -> Any:
        self.requested += 1
        assert params[1:] == (False,), "transactions are not asked for"
        if self.down:
            raise RpcTimeout(self.endpoint, 1)
        name = self.latest if method == "eth_getBlockByNumber" else params[0]
        while params[0] not in ("latest", name) and self.blocks.get(name, {}).get("number") != params[0]:
            if name not in self.blocks:
                return None
            name = self.blocks[name]["parentHash"]
        return self.blocks.get(name)

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """One question, however many blocks."""
        requested = self.requested + 1
        found = [self.call(method, *params) for method, params in calls]
        self.requested = requested
        return found


@pytest.fixture
def chain() -> WrittenChain:
    written = WrittenChain()
    written.write("a", 1, 10)
    return written


def heads_of(chain: WrittenChain, keep: int = 16) -> Heads:
    return Heads(chain, poll_seconds=0.001, keep=keep)


def reported(head: Head | None) -> tuple[str, list[str], list[str], bool]:
    assert head is not None
    return (
        head.header.hash,
        [each.hash for each in head.missed],
        [each.hash for each in head.reorged],
        head.linked,
    )


def test_a_node_that_cannot_be_asked_loses_nothing(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.down = True
    with pytest.raises(RpcTimeout):
        heads.next(0)
    chain.down = False
    chain.write("a", 11, 12, "a10")

    assert reported(heads.next(0)) == ("a12", ["a11"], [], True)


def test_a_block_without_a_parent_is_malformed(chain: WrittenChain) -> None:
    del chain.blocks["a10"]["parentHash"]
    with pytest.raises(RpcMalformed):
        heads_of(chain).next(0)


def test_the_first_head_is_told_and_then_nothing_until_there_is_news(chain: WrittenChain) -> None:
    heads = heads_of(chain)

    assert reported(heads.next(0)) == ("a10", [], [], True)
    assert heads.next(0.01) is None


def test_each_head_follows_the_last_and_names_its_numbers(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 11, "a10")
    head = heads.next(0)

    assert reported(head) == ("a11", [], [], True)
    assert head is not None
    assert (head.header.number, head.header.timestamp, head.header.base_fee_wei) == (11, 1_011, 7)


@pytest.mark.parametrize("depth", range(1, 11))
def test_a_reorg_of_any_depth_names_what_it_took_back(depth: int) -> None:
    chain = WrittenChain()
    chain.write("a", 1, 1)
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 2, 12, "a1")
    heads.next(0)
    parent = f"a{12 - depth}"
    chain.write("b", 13 - depth, 13, parent)

    head, missed, back, linked = reported(heads.next(0))

    assert head == "b13"
    assert missed == [f"b{n}" for n in range(13 - depth, 13)]
    assert back == [f"a{n}" for n in range(13 - depth, 13)]
    assert linked


def test_a_reorg_to_a_shorter_chain_is_one(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 14, "a10")
    heads.next(0)
    chain.write("b", 12, 12, "a11")

    assert reported(heads.next(0)) == ("b12", [], ["a12", "a13", "a14"], True)


def test_a_node_that_goes_back_tells_no_news(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 13, "a10")
    heads.next(0)
    chain.latest = "a11"

    assert heads.next(0) is None
    chain.latest = "a13"
    assert heads.next(0) is None
    chain.latest = "a5"
    assert heads.next(0) is None, "older than all that is known"


def test_a_gap_longer_than_what_is_kept_is_not_followed_and_said(chain: WrittenChain) -> None:
    heads = heads_of(chain, keep=4)
    heads.next(0)
    chain.write("a", 11, 40, "a10")

    assert reported(heads.next(0)) == ("a40", [], ["a10"], False)
    chain.write("a", 41, 41, "a40")
    assert reported(heads.next(0)) == ("a41", [], [], True)


def test_a_reorg_longer_than_what_is_kept_is_not_followed_and_said(chain: WrittenChain) -> None:
    heads = heads_of(chain, keep=4)
    heads.next(0)
    chain.write("a", 11, 13, "a10")
    heads.next(0)
    chain.write("b", 8, 14, "a7")

    head, _, back, linked = reported(heads.next(0))

    assert (head, linked) == ("b14", False)
    assert back == ["a10", "a11", "a12", "a13"]


def test_a_branch_that_changes_while_it_is_read_is_left_for_the_next_head(
    chain: WrittenChain,
) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("b", 9, 11, "a8")
    del chain.blocks["b10"]

    assert heads.next(0) is None
    chain.write("a", 11, 11, "a10")
    assert reported(heads.next(0)) == ("a11", [], [], True)


def test_only_so_many_blocks_are_kept(chain: WrittenChain) -> None:
    heads = heads_of(chain, keep=4)
    heads.next(0)
    for number in range(11, 60):
        chain.write("a", number, number, f"a{number - 1}")
        heads.next(0)
    requested = chain.requested
    chain.write("b", 58, 59, "a57")

    assert reported(heads.next(0)) == ("b59", ["b58"], ["a58", "a59"], True)
    assert chain.requested == requested + 2, "one for the head, one for its parent"


def test_a_sockets_name_shows_neither_key_nor_path() -> None:
    assert socket_name("wss://me:key@node.example:8546/v3/key?x=key") == "wss://node.example:8546"
    assert socket_name("http://node.example") == "(no ws address)"


# Heads that nobody could use


def _header(number: int, branch: str = "a") -> Header:
    return Header(number, f"0x{branch}{number}", f"0x{branch}{number - 1}", 12 * number, 7)


def test_a_head_takes_over_what_the_one_before_it_told_in_vain() -> None:
    earlier = Head(_header(5), missed=(_header(3), _header(4)), reorged=(_header(3, "b"),))

    both = Head(_header(7), missed=(_header(6),)).after(earlier)

    assert both.header.number == 7
    assert [one.number for one in both.missed] == [3, 4, 5, 6]
    assert both.reorged == (_header(3, "b"),)
    assert both.linked


def test_a_head_that_takes_one_back_of_a_failed_look_names_it_as_it_may_have_been_used() -> None:
    earlier = Head(_header(5), missed=(_header(4),))

    both = Head(
        _header(5, "c"),
        missed=(_header(3, "c"), _header(4, "c")),
        reorged=(_header(3), _header(4), _header(5)),
    ).after(earlier)

    assert [one.hash for one in both.missed] == ["0xc3", "0xc4"]
    assert both.reorged == (_header(3), _header(4), _header(5))


def test_a_head_after_one_that_was_linked_to_nothing_is_not_linked_either() -> None:
    assert not Head(_header(6)).after(Head.at(5, "0xa5", 60)).linked


def test_heads_that_nobody_can_use_do_not_pile_up_for_ever() -> None:
    head = Head(_header(1))
    for number in range(2, 5_000):
        head = Head(_header(number)).after(head)
        assert len(head.missed) <= 1_000

    assert head.header.number == 4_999
    assert not head.linked


def test_a_gap_is_read_by_one_question(chain: WrittenChain) -> None:
    """Blocks that come faster than questions are answered would otherwise be told later and later."""
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 22, parent="a10")
    requested = chain.requested

    head = heads.next(0)

    assert reported(head) == ("a22", [f"a{n}" for n in range(11, 22)], [], True)
    assert chain.requested - requested == 2, "the newest, and all between"


def test_numbers_that_skip_are_linked_by_their_parents(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 14, 14, parent="a10")
    assert reported(heads.next(0)) == ("a14", [], [], True)
    chain.write("a", 17, 17, parent="a14")
    chain.write("a", 23, 23, parent="a17")

    assert reported(heads.next(0)) == ("a23", ["a17"], [], True)


def test_a_reorg_across_numbers_that_skip_names_what_it_took_back(chain: WrittenChain) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 14, 14, parent="a10")
    heads.next(0)
    chain.write("b", 15, 15, parent="a10")

    assert reported(heads.next(0)) == ("b15", [], ["a14"], True)


@pytest.mark.parametrize(("gap", "linked", "requested"), [(16, True, 2), (17, False, 1), (5_000, False, 1)])
def test_a_gap_is_read_up_to_what_is_kept_and_beyond_it_nothing_is(
    chain: WrittenChain, gap: int, linked: bool, requested: int
) -> None:
    heads = heads_of(chain, keep=16)
    heads.next(0)
    chain.write("a", 11, 10 + gap, "a10")
    chain.requested = 0

    head = heads.next(0)

    missed = [f"a{n}" for n in range(11, 10 + gap)] if linked else []
    assert reported(head) == (f"a{10 + gap}", missed, [] if linked else ["a10"], linked)
    assert chain.requested == requested


@pytest.mark.parametrize(("depth", "linked"), [(4, True), (5, False)])
def test_a_reorg_is_followed_as_far_back_as_blocks_are_kept(chain: WrittenChain, depth: int, linked: bool) -> None:
    """Of five that are kept the oldest may be the last that both branches have: four can be taken back."""
    heads = heads_of(chain, keep=5)
    for number in range(11, 31):
        chain.write("a", number, number, f"a{number - 1}")
        heads.next(0)
    chain.write("b", 31 - depth, 31, f"a{30 - depth}")

    head, missed, back, is_linked = reported(heads.next(0))

    assert (head, is_linked) == ("b31", linked)
    assert missed == ([f"b{n}" for n in range(31 - depth, 31)] if linked else [])
    assert back == [f"a{n}" for n in range(31 - depth if linked else 26, 31)]


def test_a_block_in_between_that_an_endpoint_does_not_tell_is_asked_for_by_its_hash(
    chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 14, "a10")
    monkeypatch.setattr(chain, "batch_settled", lambda calls: [None, RpcRejected("x", 0, "no"), chain.blocks["a13"]])

    assert reported(heads.next(0)) == ("a14", ["a11", "a12", "a13"], [], True)


@pytest.mark.parametrize(
    ("odd", "is_news"),
    [({}, True), ({"hash": "a9"}, False), ({"number": "0xc"}, False), ({"number": "0xd"}, False)],
)
def test_a_parent_that_is_not_the_one_asked_for_or_not_below_is_left_for_the_next_head(
    chain: WrittenChain, odd: dict[str, str], is_news: bool
) -> None:
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 12, "a10")
    requested = chain.call

    def call(method: str, *params: Any) -> Any:
        found = requested(method, *params)
        return found | odd if method == "eth_getBlockByHash" else found

    chain.call = call  # type: ignore[method-assign] # what a node says
    chain.batch_settled = lambda calls: []  # type: ignore[method-assign] # it tells of no block by its number

    assert (heads.next(0) is not None) == is_news


def test_a_block_before_fees_had_a_base_has_none(chain: WrittenChain) -> None:
    chain.blocks["a10"]["baseFeePerGas"] = None
    head = heads_of(chain).next(0)
    assert head is not None
    assert head.header == Header(10, "a10", "a9", 1_010, 0)
    del chain.blocks["a10"]["baseFeePerGas"]
    assert heads_of(chain).next(0) == head


@pytest.mark.parametrize("missing", ["number", "hash", "parentHash", "timestamp"])
def test_a_block_that_lacks_what_every_block_has_is_malformed(chain: WrittenChain, missing: str) -> None:
    del chain.blocks["a10"][missing]

    with pytest.raises(RpcMalformed) as raised:
        heads_of(chain).next(0)

    assert raised.value.endpoint == chain.endpoint
    assert raised.value.reason == "a block without number, hash, parent or time"


def test_only_a_chain_that_is_not_linked_and_a_reorg_are_warned_of(chain: WrittenChain) -> None:
    heads = heads_of(chain, keep=4)
    with capture_logs() as logs:
        heads.next(0)
        chain.write("a", 11, 12, "a10")
        heads.next(0)
    assert logs == []
    with capture_logs() as logs:
        chain.write("b", 12, 13, "a11")
        heads.next(0)
        chain.write("b", 14, 40, "b13")
        heads.next(0)

    assert [(each["event"], each.get("depth"), each["block"]) for each in logs] == [
        ("reorg", 1, 13),
        ("chain_not_linked", None, 40),
    ]


@pytest.mark.parametrize(("unused", "linked"), [(1_000, True), (1_001, False)])
def test_a_thousand_blocks_that_nobody_used_are_told_and_not_one_more(unused: int, linked: bool) -> None:
    """Missed and taken back are counted together."""
    earlier = Head(
        _header(1_000),
        missed=tuple(_header(n) for n in range(3, 500)),
        reorged=tuple(_header(n, "b") for n in range(3, 203)),
    )
    left = unused - 498 - 200

    head = Head(
        _header(2_000),
        missed=tuple(_header(n) for n in range(1_001, 1_001 + left - 1)),
        reorged=(_header(2, "b"),),
    ).after(earlier)

    assert head.linked == linked
    assert len(head.missed) + len(head.reorged) == (unused if linked else 0)
    if linked:
        assert [each.number for each in head.reorged] == list(range(2, 203))


def test_one_block_in_between_is_asked_for_by_its_hash(chain: WrittenChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number it could be of another branch, and be asked for twice."""
    heads = heads_of(chain)
    heads.next(0)
    chain.write("a", 11, 12, "a10")
    batches: list[Any] = []

    def requested(calls: Any) -> list[Any]:
        batches.append(calls)
        return []

    monkeypatch.setattr(chain, "batch_settled", requested)

    assert reported(heads.next(0)) == ("a12", ["a11"], [], True)
    assert batches == []


def test_message_may_nest_as_deep_as_any_answer_does_and_no_deeper() -> None:
    assert _parsed("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    with pytest.raises(ValueError, match="nested too deeply"):
        _parsed("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1))
