"""The day's limit of a key that is used from more than one folder, and the file that holds it together."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import SpendingUnwritable, SpendLimitReached
from rebalancer.send.attempt import Intent
from rebalancer.send.from_settings import outbox_of
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signer import devnet_signer
from rebalancer.send.spending import Spending
from rebalancer.settings import KeeperSettings, Settings

CHAIN = 31337
SIGNER = devnet_signer(3)
VAULT = "0x" + "aa" * 20
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"

Send = Callable[[Outbox, int, int], Any]


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


@pytest.fixture
def send(chain: LocalChain, token: BoundContract) -> Send:
    """Sends the transaction of an epoch from an outbox, with so much wei a day for its key."""

    def submit(outbox: Outbox, epoch: int, limit_wei: int) -> Any:
        data = token.data("mint", RECEIVER, 1)
        intent = Intent(CHAIN, VAULT, epoch, token.address, data, 90_000, "drift")
        sender = SenderAccount(SIGNER, KeyLimits(max_spend_per_day_wei=limit_wei))
        return outbox.submit(chain.rpc, [sender], intent)

    return submit


def settings(folder: Path, name: str, **keeper: Any) -> Settings:
    keeper = {"keystore": folder / "key.json", "spending_file": folder / "spending.sqlite"} | keeper
    return Settings(chain_id=CHAIN, keeper=KeeperSettings(outbox_file=folder / name, **keeper))


def test_key_begins_no_day_anew_in_another_folder(tmp_path: Path, send: Send) -> None:
    with outbox_of(settings(tmp_path, "one/outbox.sqlite")) as one:
        send(one, 1, 10**18)
        spent_wei = one.journal.spent_wei(CHAIN, SIGNER.address, int(time.time()))
        assert spent_wei > 0

    with outbox_of(settings(tmp_path, "two/outbox.sqlite")) as two:
        with pytest.raises(SpendLimitReached) as caught:
            send(two, 2, spent_wei + 1)
        assert caught.value.spent_wei == spent_wei
        send(two, 3, 10**18)


def test_key_begins_no_day_anew_when_its_outbox_is_removed(tmp_path: Path, send: Send) -> None:
    reported = settings(tmp_path, "outbox.sqlite")
    with outbox_of(reported) as before:
        send(before, 1, 10**18)
        spent_wei = before.journal.spent_wei(CHAIN, SIGNER.address, int(time.time()))
    for file in tmp_path.glob("outbox.sqlite*"):
        file.unlink()

    with outbox_of(reported) as after, pytest.raises(SpendLimitReached) as caught:
        send(after, 2, spent_wei + 1)

    assert caught.value.spent_wei == spent_wei


def test_own_transactions_count_once_and_at_their_cost_when_final(
    chain: LocalChain, tmp_path: Path, send: Send
) -> None:
    with outbox_of(settings(tmp_path, "outbox.sqlite")) as outbox:
        sent = send(outbox, 1, 10**18)
        now = int(time.time())
        account = (CHAIN, SIGNER.address, now)
        assert outbox.delivery.spent_wei(*account) == outbox.journal.spent_wei(*account)
        assert outbox.delivery.spending is not None
        worst_wei = outbox.delivery.spending.elsewhere_wei(*account, ())
        assert worst_wei == max(version.worst_cost_wei for version in sent.versions)

        chain.rpc.call("hardhat_mine", "0x20")
        height = int(chain.rpc.call("eth_blockNumber"), 16)
        for _ in range(2):  # it is mined, and then it is final
            outbox.advance(chain.rpc, [SIGNER], height)
        final = outbox.journal.get(sent.id)

        assert final.is_final
        assert outbox.delivery.spending.elsewhere_wei(*account, ()) == final.cost_wei
        assert outbox.delivery.spending.elsewhere_wei(*account, [final.nonce or 0]) == 0
        later = now + 86_401
        assert outbox.delivery.spending.elsewhere_wei(CHAIN, SIGNER.address, later, ()) == 0
        assert outbox.delivery.spending.elsewhere_wei(1, SIGNER.address, now, ()) == 0


def test_test_accounts_of_a_local_chain_are_not_counted(tmp_path: Path) -> None:
    with outbox_of(settings(tmp_path, "outbox.sqlite", keystore=None)) as outbox:
        assert outbox.delivery.spending is None
    elsewhere = settings(tmp_path, "outbox.sqlite", keystore=None).model_copy(update={"chain_id": 1})
    with outbox_of(elsewhere) as outbox:
        assert outbox.delivery.spending is not None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_text("no database" * 99), "not a database"),
        (lambda path: path.symlink_to("key.json"), "symbolic link"),
    ],
)
def test_file_that_cannot_be_kept_stops_before_anything_is_sent(
    tmp_path: Path, make: Callable[[Path], Any], why: str
) -> None:
    make(tmp_path / "spending.sqlite")
    with pytest.raises(SpendingUnwritable, match=why) as caught:
        outbox_of(settings(tmp_path, "outbox.sqlite"))

    assert str(caught.value).endswith("set keeper.spending_file to a file that can be written.")
    assert not (tmp_path / "outbox.sqlite").exists()


def test_note_that_cannot_be_written_sends_nothing(
    chain: LocalChain, tmp_path: Path, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Spending, _attempt: Any) -> None:
        raise SpendingUnwritable(tmp_path, "database or disk is full")

    before = chain.rpc.call("eth_getTransactionCount", SIGNER.address, "pending")
    with outbox_of(settings(tmp_path, "outbox.sqlite")) as outbox:
        monkeypatch.setattr(Spending, "store", full)
        with pytest.raises(SpendingUnwritable):
            send(outbox, 1, 10**18)

    assert chain.rpc.call("eth_getTransactionCount", SIGNER.address, "pending") == before
