"""Private relays: who gets which version, what an error or silence of theirs does, and when all go public."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import RpcRejected, RpcTimeout
from rebalancer.send.attempt import Attempt, AttemptState, Intent
from rebalancer.send.fees import suggest
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.relay import PRIVATE_METHOD, RAW_METHOD, Relays
from rebalancer.send.signer import devnet_signer
from tests.outboxes import deliver

pytestmark = pytest.mark.both_chains  # nodes differ in what they refuse and when they mine

CHAIN = 31337
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
VAULT = "0x" + "aa" * 20
SIGNER = devnet_signer(10)
RULES = SendRules(fee_cap_wei=10**12, bump_after_blocks=2, confirmations=3, min_pending_seconds=0)


class Relay(Rpc):
    """A relay that keeps what it gets, and answers as it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(f"https://{name}.example/a-secret-path?key=a-secret-key")
        self.got: list[tuple[str, Any]] = []
        self.failure: Exception | None = None

    def call(self, method: str, *params: Any) -> Any:
        self.got.append((method, params[0]))
        if self.failure is not None:
            raise self.failure
        return "0x" + "00" * 32

    @property
    def taken(self) -> list[str]:
        """The transactions it got."""
        return [got["tx"] if isinstance(got, dict) else got for _, got in self.got]


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


@pytest.fixture
def held(chain: LocalChain, token: BoundContract) -> Iterator[None]:
    """No block comes unless a test mines one, once the token is there."""
    assert token.address
    chain.rpc.call("hardhat_setNextBlockBaseFeePerGas", hex(10**9))
    chain.rpc.call("evm_setAutomine", False)
    yield
    chain.rpc.call("evm_setAutomine", True)


@pytest.fixture
def relays() -> tuple[Relay, Relay]:
    return Relay("one"), Relay("two")


Opened = Callable[..., Outbox]


@pytest.fixture
def opened(tmp_path: Path, relays: tuple[Relay, Relay]) -> Iterator[Opened]:
    """Opens an outbox that sends by the relays."""
    boxes: list[Outbox] = []

    def make(method: str = RAW_METHOD, public_after_blocks: int = 0) -> Outbox:
        boxes.append(
            Outbox(
                tmp_path / f"{len(boxes)}.sqlite",
                RULES,
                Relays(relays, method, public_after_blocks),
            )
        )
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


def mint(token: BoundContract, deadline_block: int | None = None) -> Intent:
    data = token.data("mint", RECEIVER, 1)
    return Intent(CHAIN, VAULT, 0, token.address, data, 200_000, "a test", deadline_block)


def height(chain: LocalChain) -> int:
    return int(chain.rpc.call("eth_blockNumber"), 16)


def public(chain: LocalChain) -> int:
    """How many of ours the public knows."""
    counts = [int(chain.rpc.call("eth_getTransactionCount", SIGNER.address, tag), 16) for tag in ("latest", "pending")]
    return counts[1] - counts[0]


def answers(attempt: Attempt) -> dict[str, str]:
    """What the endpoints said to the newest version, by host."""
    return {sending.endpoint: sending.answer for sending in attempt.newest.sendings}


def raw(attempt: Attempt) -> str:
    return "0x" + attempt.newest.raw.hex()


@pytest.mark.usefixtures("held")
def test_relays_get_every_version_and_the_public_none(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    outbox = opened()
    first = outbox.submit(chain.rpc, [SIGNER], mint(token))
    at = first.newest.height
    (bumped,) = outbox.advance(chain.rpc, [SIGNER], at + 2)

    for relay in relays:
        assert relay.got == [(RAW_METHOD, raw(first)), (RAW_METHOD, raw(bumped))]
    for attempt in (first, bumped):
        assert answers(attempt) == {"https://one.example": "", "https://two.example": ""}
    assert public(chain) == 0
    # A builder behind a relay takes it.
    chain.rpc.call("eth_sendRawTransaction", raw(bumped))
    chain.mine()
    (mined,) = outbox.advance(chain.rpc, [SIGNER], height(chain))
    assert (mined.state, token.call("totalSupply")) == (AttemptState.MINED, 1)


@pytest.mark.usefixtures("held")
def test_private_method_gets_the_deadline(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    attempt = opened(PRIVATE_METHOD).submit(chain.rpc, [SIGNER], mint(token, deadline_block=10**6))
    wanted = {"tx": raw(attempt), "maxBlockNumber": hex(10**6)}
    assert [relay.got for relay in relays] == [[(PRIVATE_METHOD, wanted)]] * 2


@pytest.mark.usefixtures("held")
def test_unmined_for_long_enough_goes_public_too(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    outbox = opened(public_after_blocks=4)
    attempt = outbox.submit(chain.rpc, [SIGNER], mint(token))
    at = attempt.newest.height
    outbox.advance(chain.rpc, [SIGNER], at + 2)
    assert public(chain) == 0
    (attempt,) = outbox.advance(chain.rpc, [SIGNER], at + 4)

    assert public(chain) == 1
    assert answers(attempt)[chain.rpc.endpoint] == ""
    assert len(relays[0].got) == 3
    chain.mine()
    outbox.advance(chain.rpc, [SIGNER], height(chain))
    assert token.call("totalSupply") == 1


@pytest.mark.usefixtures("held")
def test_never_public_means_never(chain: LocalChain, token: BoundContract, opened: Opened) -> None:
    outbox = opened(public_after_blocks=0)
    at = outbox.submit(chain.rpc, [SIGNER], mint(token)).newest.height
    for later in range(2, 60, 2):
        outbox.advance(chain.rpc, [SIGNER], at + later)
    assert public(chain) == 0


@pytest.mark.usefixtures("held")
def test_one_relay_that_fails_is_enough_of_the_other(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    relays[0].failure = RpcTimeout("https://one.example", 10)
    outbox = opened()
    attempt = outbox.submit(chain.rpc, [SIGNER], mint(token))

    assert attempt.state is AttemptState.SENT
    (attempt,) = outbox.attempts(CHAIN)
    message = answers(attempt)
    assert message["https://two.example"] == ""
    assert "did not answer within 10 s" in message["https://one.example"]
    assert "secret" not in str(message)


@pytest.mark.usefixtures("held")
def test_all_relays_silent_leaves_it_signed_and_the_next_block_sends_it_again(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    relays[0].failure = RpcTimeout("https://one.example", 10)
    relays[1].failure = RpcRejected(RAW_METHOD, -32000, "overloaded")
    outbox = opened()
    with pytest.raises(RpcTimeout):
        outbox.submit(chain.rpc, [SIGNER], mint(token))
    (attempt,) = outbox.attempts(CHAIN)
    assert attempt.state is AttemptState.SIGNED
    relays[0].failure = relays[1].failure = None
    (sent,) = outbox.advance(chain.rpc, [SIGNER], attempt.newest.height)

    assert sent.state is AttemptState.SENT
    assert relays[0].taken == [raw(attempt)] * 2
    assert set(answers(sent).values()) == {""}


@pytest.mark.usefixtures("held")
def test_all_relays_refusing_fails_it_with_their_words(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    for relay in relays:
        relay.failure = RpcRejected(RAW_METHOD, -32000, "we do not serve this builder")
    outbox = opened()
    with pytest.raises(RpcRejected, match="do not serve"):
        outbox.submit(chain.rpc, [SIGNER], mint(token))
    (attempt,) = outbox.attempts(CHAIN)
    assert attempt.state is AttemptState.FAILED
    assert "do not serve" in attempt.note
    assert public(chain) == 0


@pytest.mark.usefixtures("held")
def test_cancellation_goes_to_the_relays_and_to_the_public(
    chain: LocalChain, token: BoundContract, opened: Opened, relays: tuple[Relay, Relay]
) -> None:
    outbox = opened()
    attempt = outbox.submit(chain.rpc, [SIGNER], mint(token))
    cancelling = outbox.cancel(chain.rpc, SIGNER, attempt, "a test")
    assert relays[0].taken[-1] == raw(cancelling)
    assert public(chain) == 1
    chain.mine()
    (cancelled,) = outbox.advance(chain.rpc, [SIGNER], height(chain))

    assert cancelled.state is AttemptState.CANCELLED
    assert token.call("totalSupply") == 0


@pytest.mark.usefixtures("held")
def test_two_private_ones_in_a_row_take_two_nonces(chain: LocalChain, token: BoundContract, opened: Opened) -> None:
    """The public count of what is pending does not know them: the journal does."""
    outbox = opened()
    one = outbox.submit(chain.rpc, [SIGNER], mint(token))
    two = outbox.submit(chain.rpc, [SIGNER], replace(mint(token), epoch=1))
    assert two.nonce == (one.nonce or 0) + 1
    assert [attempt.state for attempt in outbox.resume(chain.rpc)] == [AttemptState.SENT] * 2


def test_relay_that_is_a_real_endpoint_delivers(
    chain: LocalChain, node_url: str, token: BoundContract, tmp_path: Path
) -> None:
    relay = Rpc(node_url)
    with Outbox(tmp_path / "outbox.sqlite", RULES, Relays([relay])) as outbox:
        deliver(outbox, chain.rpc, SIGNER, mint(token), suggest(chain.rpc, RULES.fee_cap_wei))
    relay.close()
    assert token.call("totalSupply") == 1
