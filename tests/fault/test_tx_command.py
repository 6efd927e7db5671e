"""`rebalancer tx` on a chain that stands still: what it shows, refuses, cancels and clears."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import AttemptNotNamed
from rebalancer.send.attempt import Attempt, AttemptState, Intent
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from tests.commands import Ran, run

CHAIN = 31337
ACCOUNT = 3  # the keeper's, as the settings have it
SIGNER = devnet_signer(ACCOUNT)
VAULT = "0x" + "aa" * 20
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
FILE = Path(".rebalancer/outbox.sqlite")

Cli = Callable[..., Ran]


pytestmark = pytest.mark.usefixtures("only_own_settings")


@pytest.fixture
def cli(chain: LocalChain, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command against the session's chain."""

    def command(*arguments: object) -> Ran:
        return run(capsys, "--rpc-url", chain.rpc.endpoint, "tx", *arguments)

    return command


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


@pytest.fixture
def waiting(chain: LocalChain, token: BoundContract) -> Iterator[Attempt]:
    """An attempt that no block takes until a test mines one."""
    intent = Intent(CHAIN, VAULT, 4, token.address, token.data("mint", RECEIVER, 1), 90_000, "drift")
    chain.rpc.call("evm_setAutomine", False)
    with Outbox(FILE) as outbox:
        attempt = outbox.submit(chain.rpc, [SIGNER], intent)
    yield attempt
    chain.rpc.call("evm_setAutomine", True)


def attempts() -> list[Attempt]:
    with Outbox(FILE) as outbox:
        return outbox.attempts(CHAIN)


def advance(chain: LocalChain) -> None:
    with Outbox(FILE) as outbox:
        outbox.advance(chain.rpc, [SIGNER], int(chain.rpc.call("eth_blockNumber"), 16))


def test_words_of_a_node_are_listed_as_they_are(cli: Cli, waiting: Attempt) -> None:
    with Outbox(FILE) as outbox:
        outbox.journal.annotate(waiting, "no [/nope]\x1b[31m\nerror: \u202eforged")

    ran = cli("list")

    assert ran.code == 0
    assert all(word in ran.out for word in ("no", "[/nope][31m", "error:", "forged"))
    assert not {"\x1b", "\u202e"} & set(ran.out)


def test_list_without_an_outbox_is_a_sentence(cli: Cli) -> None:
    ran = cli("list")
    assert ran.code == 14
    assert "There is no outbox at" in ran.sentence
    assert "a keeper creates it at its first start" in ran.sentence


def test_list_shows_what_is_under_way_while_a_keeper_has_the_outbox(cli: Cli, waiting: Attempt) -> None:
    with Outbox(FILE):
        table = cli("list").out
        listed = cli("list", "--open", "--json").json["attempts"]
    assert "0x" + 40 * "a" in table
    assert "sent" in table
    (one,) = listed
    assert (one["id"], one["epoch"], one["state"]) == (str(waiting.id), "4", "sent")
    assert one["transaction_hash"] == waiting.transaction_hash
    (version,) = one["versions"]
    assert version["sendings"][0]["answer"] == ""


def test_cancel_while_a_keeper_has_the_outbox_is_refused(cli: Cli, waiting: Attempt) -> None:
    with Outbox(FILE):
        ran = cli("cancel", "--id", waiting.id)
    assert ran.code == 14
    assert "in use" in ran.sentence


@pytest.mark.parametrize("named", [(), ("--id", 99), ("--epoch", 5), ("--epoch", 4, "--vault", RECEIVER)])
def test_cancel_of_nothing_that_is_under_way_is_refused(cli: Cli, waiting: Attempt, named: tuple[object, ...]) -> None:
    ran = cli("cancel", *named)
    assert ran.code == AttemptNotNamed.exit_code
    assert "those that fit: none" in ran.sentence
    assert attempts() == [waiting]


def test_cancel_with_another_account_is_refused(cli: Cli, waiting: Attempt) -> None:
    ran = cli("cancel", "--id", waiting.id, "--account", ACCOUNT + 1)
    assert f"it is {SIGNER.address}'s" in ran.sentence


@pytest.mark.parametrize("by", ["id", "epoch"])
def test_cancel_replaces_it_and_it_never_takes_effect(
    chain: LocalChain, cli: Cli, token: BoundContract, waiting: Attempt, by: str
) -> None:
    named = ("--id", waiting.id) if by == "id" else ("--epoch", 4)
    ran = cli("cancel", *named, "--json")
    assert (ran.code, ran.json["state"]) == (0, "cancelling")
    chain.mine()
    advance(chain)

    (cancelled,) = attempts()
    assert (cancelled.state, cancelled.note) == (
        AttemptState.CANCELLED,
        "cancelled by the operator",
    )
    assert token.call("totalSupply") == 0


def foreign(chain: LocalChain) -> int:
    """Another program with the keeper's key sends something; the answer is its nonce."""
    nonce = int(chain.rpc.call("eth_getTransactionCount", SIGNER.address, "pending"), 16)
    signed = SIGNER.sign(
        {
            "type": 2,
            "chainId": CHAIN,
            "nonce": nonce,
            "to": RECEIVER,
            "data": "0x",
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
        }
    )
    chain.rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
    return nonce


def test_clear_with_nothing_in_the_way_sends_nothing(cli: Cli, waiting: Attempt) -> None:
    ran = cli("clear")
    assert (ran.code, ran.err) == (0, "")
    assert "has no stuck nonces." in ran.out
    assert [attempt.id for attempt in attempts()] == [waiting.id]


def test_clear_asks_first(chain: LocalChain, cli: Cli, waiting: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    nonce = foreign(chain)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ran = cli("clear")
    assert ran.code == 1
    assert f"nonce {nonce} of {SIGNER.address}: foreign" in ran.err
    assert [attempt.id for attempt in attempts()] == [waiting.id]


def test_clear_replaces_what_is_not_in_the_outbox(
    chain: LocalChain, cli: Cli, token: BoundContract, waiting: Attempt
) -> None:
    nonce = foreign(chain)
    before_wei = chain.balance_wei(RECEIVER)
    ran = cli("clear", "--yes", "--json")
    assert ran.json["stuck"] == [{"address": SIGNER.address, "nonce": str(nonce), "fault": "foreign"}]
    chain.mine()
    advance(chain)

    ours, *offers = attempts()
    assert (ours.state, offers[-1].state) == (AttemptState.MINED, AttemptState.MINED)
    assert {offer.state for offer in offers[:-1]} <= {AttemptState.FAILED}  # too low to replace it
    assert chain.balance_wei(RECEIVER) == before_wei
    assert token.call("totalSupply") == 1


def test_clear_fills_a_gap(chain: LocalChain, cli: Cli, token: BoundContract, waiting: Attempt) -> None:
    foreign(chain)
    intent = Intent(CHAIN, VAULT, 5, token.address, token.data("mint", RECEIVER, 1), 90_000, "drift")
    with Outbox(FILE) as outbox:
        behind = outbox.submit(chain.rpc, [SIGNER], intent)
        chain.rpc.call("anvil_dropAllTransactions")
    assert behind.nonce == (waiting.nonce or 0) + 2
    ran = cli("clear", "--yes")
    assert ran.code == 0, ran.err
    assert "(gap)" in ran.out
    chain.mine()
    advance(chain)
    assert token.call("totalSupply") == 2
