"""How heads are waited for: how often a node is asked, and what becomes of a socket. The clock is the test's."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.chain import heads as module
from rebalancer.chain.heads import Heads
from tests.unit.test_heads import WrittenChain


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


class Socket:
    """A node's socket: what it has, in order; where it has nothing, waiting for it takes its time."""

    def __init__(self, clock: Clock, *messages: Any) -> None:
        self.clock = clock
        self.messages = list(messages)
        self.sent: list[Any] = []
        self.waited: list[float] = []
        self.timeouts: list[float] = []
        self.is_closed = False

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def recv(self, timeout: float) -> str | bytes:
        assert not self.is_closed, "nobody listens to a socket that was closed"
        self.timeouts.append(timeout)
        if not self.messages:
            self.waited.append(timeout)
            self.clock.now += timeout
            raise TimeoutError
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message if isinstance(message, bytes) else json.dumps(message)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def chain() -> WrittenChain:
    written = WrittenChain()
    written.write("a", 1, 10)
    return written


SUBSCRIBED = {"jsonrpc": "2.0", "id": 1, "result": "0x1"}


def announced(chain: WrittenChain, name: str) -> dict[str, Any]:
    return {"method": "eth_subscription", "params": {"result": chain.blocks[name]}}


def connected(monkeypatch: pytest.MonkeyPatch, connect: Callable[[], Socket], chain: WrittenChain) -> Heads:
    """Heads by a socket, polled every 2 seconds without."""
    monkeypatch.setattr(module, "connect", lambda *_, **__: connect())
    return Heads(chain, "wss://node.example/key", poll_seconds=2.0)


def test_node_is_asked_once_a_poll_and_the_wait_ends_in_time(clock: Clock, chain: WrittenChain) -> None:
    heads = Heads(chain, poll_seconds=2.0)
    heads.next(0)
    chain.requested = 0

    assert heads.next(9.0) is None

    assert clock.slept == [2.0, 2.0, 2.0, 2.0, 1.0]
    assert chain.requested == 6


def test_node_is_asked_once_where_nothing_may_be_waited_for(clock: Clock, chain: WrittenChain) -> None:
    heads = Heads(chain, poll_seconds=2.0)
    heads.next(0)
    chain.requested = 0

    assert heads.next(0) is None

    assert (clock.slept, chain.requested) == ([], 1)


def test_news_ends_the_wait(clock: Clock, chain: WrittenChain) -> None:
    heads = Heads(chain, poll_seconds=2.0)
    heads.next(0)
    ask = chain.call

    def requested(method: str, *params: Any) -> Any:
        if clock.now >= 1_004.0 and chain.latest == "a10":
            chain.write("a", 11, 11, "a10")
        return ask(method, *params)

    chain.call = requested  # type: ignore[method-assign] # a block comes while it is waited for
    head = heads.next(60.0)

    assert head is not None
    assert head.header.hash == "a11"
    assert clock.slept == [2.0, 2.0]


def test_heads_go_on_for_ever(clock: Clock, chain: WrittenChain) -> None:
    heads = iter(Heads(chain, poll_seconds=2.0))
    assert next(heads).header.hash == "a10"
    chain.write("a", 11, 11, "a10")
    assert next(heads).header.hash == "a11"


def test_what_a_socket_announces_is_told_without_asking(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, SUBSCRIBED, announced(chain, "a10"))
    heads = connected(monkeypatch, lambda: socket, chain)

    head = heads.next(60.0)

    assert head is not None
    assert (head.header.number, head.header.timestamp, head.header.base_fee_wei) == (10, 1_010, 7)
    assert (chain.requested, clock.slept) == (0, [])
    assert heads.subscribed
    assert socket.sent == [{"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}]
    heads.close()
    assert socket.is_closed
    assert not heads.subscribed


def test_of_several_that_wait_the_newest_is_told_and_what_is_none_is_passed_over(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [{"method": "other"}, ["?"], {"params": {"result": {"number": "0xb"}}}]
    messages = [SUBSCRIBED, announced(chain, "a9"), *noise, announced(chain, "a10")]
    heads = connected(monkeypatch, lambda: Socket(clock, *messages), chain)

    head = heads.next(60.0)

    assert head is not None
    assert head.header.hash == "a10"
    assert heads.subscribed
    assert clock.now == 1_000.0, "what is there already is not waited for"


def test_silent_socket_is_waited_for_and_the_node_asked_once_a_poll(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription can fall silent; and it does not sleep beside its waiting."""
    socket = Socket(clock, SUBSCRIBED)
    heads = connected(monkeypatch, lambda: socket, chain)
    heads.next(0)
    assert socket.waited == [0.0]
    chain.requested, socket.waited[:] = 0, []

    assert heads.next(5.0) is None

    assert socket.waited[:3] == [2.0, 2.0, 1.0]
    assert clock.slept == []
    assert chain.requested <= 4


def test_socket_that_cannot_be_opened_is_tried_less_and_less_often(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 1, 2, 4 … and at most 60 seconds; the node is asked meanwhile."""
    tried: list[float] = []

    def connect() -> Socket:
        tried.append(clock.now)
        raise OSError("no route to host")

    heads = connected(monkeypatch, connect, chain)
    heads.poll_seconds = 0.5
    head = heads.next(0)
    assert head is not None
    assert head.header.hash == "a10"
    heads.next(300.0)

    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert not heads.subscribed


@pytest.mark.parametrize("answer", [{"jsonrpc": "2.0", "id": 1, "error": {"code": -32601}}, ["?"], "no"])
def test_node_that_refuses_to_subscribe_is_asked_instead(
    answer: Any, clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, answer)
    heads = connected(monkeypatch, lambda: socket, chain)

    head = heads.next(0)

    assert head is not None
    assert not heads.subscribed
    assert socket.is_closed


def test_socket_that_breaks_is_opened_again_and_begins_with_short_pauses(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = [Socket(clock, SUBSCRIBED, ConnectionError("reset")) for _ in range(3)]
    opened: list[float] = []

    def connect() -> Socket:
        opened.append(clock.now)
        return sockets[len(opened) - 1]

    heads = connected(monkeypatch, connect, chain)
    heads.poll_seconds = 0.5
    heads.next(0)
    assert not heads.subscribed
    heads.next(2.5)

    assert opened == [1_000.0, 1_001.0, 1_002.0]
    assert all(socket.is_closed for socket in sockets)


def test_reorg_from_before_what_is_known_is_linked_to_nothing_without_reading_on(
    clock: Clock, chain: WrittenChain
) -> None:
    heads = Heads(chain, poll_seconds=2.0)
    heads.next(0)
    chain.requested = 0
    chain.write("b", 5, 12, "a4")

    head = heads.next(0)

    assert head is not None
    assert (head.header.hash, head.linked) == ("b12", False)
    assert [each.hash for each in head.reorged] == ["a10"]
    assert head.missed == ()
    assert chain.requested <= 4


def test_block_older_than_what_is_kept_is_no_news(clock: Clock, chain: WrittenChain) -> None:
    """A node that lags that far behind is not believed."""
    heads = Heads(chain, poll_seconds=2.0, keep=4)
    for number in range(11, 30):
        chain.write("a", number, number, f"a{number - 1}")
        heads.next(0)
    chain.write("b", 15, 15, "a14")

    assert heads.next(0) is None
    chain.latest = "a29"
    assert heads.next(0) is None


def test_only_block_that_is_known_can_be_taken_back(clock: Clock, chain: WrittenChain) -> None:
    heads = Heads(chain, poll_seconds=2.0)
    heads.next(0)
    chain.write("b", 10, 10, "a9")

    head = heads.next(0)

    assert head is not None
    assert (head.header.hash, head.linked) == ("b10", False)
    assert [each.hash for each in head.reorged] == ["a10"]


def test_socket_has_five_seconds_to_open_and_a_mebibyte_a_message(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, SUBSCRIBED, announced(chain, "a10"))
    opened: list[tuple[str, dict[str, Any]]] = []

    def connect(url: str, **settings: Any) -> Socket:
        opened.append((url, settings))
        return socket

    monkeypatch.setattr(module, "connect", connect)
    heads = Heads(chain, "wss://node.example/key", poll_seconds=2.0)
    heads.next(60.0)

    assert opened == [("wss://node.example/key", {"open_timeout": 5.0, "max_size": 1_048_576})]
    assert socket.timeouts == [5.0, 2.0, 0.0]


def test_socket_may_send_bytes(clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [json.dumps(each).encode() for each in (SUBSCRIBED, announced(chain, "a10"))]
    heads = connected(monkeypatch, lambda: Socket(clock, *messages), chain)

    head = heads.next(60.0)

    assert head is not None
    assert (head.header.hash, chain.requested) == ("a10", 0)


def test_message_that_is_no_json_or_nests_too_deeply_is_passed_over(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [b"\xff", b"{", b"[" * 100_000 + b"]" * 100_000]
    messages = [SUBSCRIBED, *odd, announced(chain, "a10")]
    heads = connected(monkeypatch, lambda: Socket(clock, *messages), chain)

    head = heads.next(60.0)

    assert head is not None
    assert (head.header.hash, chain.requested, heads.subscribed) == ("a10", 0, True)


def test_socket_that_breaks_after_it_announced_has_that_told(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, SUBSCRIBED, announced(chain, "a9"), ConnectionError("reset"))
    heads = connected(monkeypatch, lambda: socket, chain)
    with capture_logs() as logs:
        head = heads.next(60.0)

    assert head is not None
    assert (head.header.hash, chain.requested) == ("a9", 0)
    assert not heads.subscribed
    assert [
        (each["socket"], each["why"], each["failures"], each["retry_seconds"])
        for each in logs
        if each["event"] == "socket_lost"
    ] == [("wss://node.example", "ConnectionError", 1, 1.0)]


def test_socket_is_opened_again_at_its_time_and_not_before(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[float] = []

    def connect() -> Socket:
        opened.append(clock.now)
        raise OSError

    heads = connected(monkeypatch, connect, chain)
    heads.next(0)
    for now in (1_000.999, 1_001.0):
        clock.now = now
        heads.next(0)

    assert opened == [1_000.0, 1_001.0]


@pytest.mark.parametrize(("left", "wait"), [(0.5, 0.5), (9.0, 2.0)])
def test_socket_is_waited_for_no_longer_than_a_poll_or_what_is_left(
    left: float, wait: float, clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, SUBSCRIBED)
    heads = connected(monkeypatch, lambda: socket, chain)
    heads.next(0)
    socket.waited.clear()

    heads.next(left)

    assert socket.waited[0] == wait
    assert sum(socket.waited) == left
    assert clock.now == 1_000.0 + left


def test_socket_is_closed_at_the_end_of_its_use(
    clock: Clock, chain: WrittenChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(clock, SUBSCRIBED, announced(chain, "a10"))
    with connected(monkeypatch, lambda: socket, chain) as heads:
        heads.next(60.0)
        assert heads.subscribed

    assert socket.is_closed
    assert not heads.subscribed
