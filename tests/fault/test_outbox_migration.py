"""An outbox file of version 1 or 2: what it knew is known afterwards, and killed half-way it is as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import OutboxUnreadable
from rebalancer.send import journal_file
from rebalancer.send.attempt import AttemptState, Kind
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal, read_attempts
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import SignedTransaction
from rebalancer.send.signer import devnet_signer

CHAIN = 31337
SIGNER = devnet_signer(9)
VAULT = "0x" + "aa" * 20
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
GWEI = 10**9
SCHEMA = Path(__file__).with_name("outbox_1.sql")


def signed(nonce: int, to: str, data: str) -> SignedTransaction:
    return SIGNER.sign(
        {
            "type": 2,
            "chainId": CHAIN,
            "nonce": nonce,
            "to": to,
            "data": data,
            "value": 0,
            "gas": 200_000,
            "maxFeePerGas": 50 * GWEI,
            "maxPriorityFeePerGas": 2 * GWEI,
        }
    )


def old_file(path: Path, to: str, data: str, first_nonce: int) -> list[SignedTransaction]:
    """Version 1 with a planned, a signed, a sent, a mined and a failed attempt, of epochs 0 to 4."""
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA.read_text())
    connection.execute("PRAGMA journal_mode = WAL")
    all_signed = []
    block = (5, "0x" + "cc" * 32)
    for epoch, state in enumerate(("mined", "sent", "signed", "planned", "failed")):
        transaction = signed(first_nonce + epoch, to, data)
        all_signed.append(transaction)
        was_signed = state != "planned"
        held = block if state in ("mined", "failed") else (None, None)
        connection.execute(
            "INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason,"
            " sender, state, nonce, raw, transaction_hash, block_number, block_hash, note,"
            " planned_at, changed_at) VALUES (?, ?, ?, ?, ?, 200000, 'drift', ?, ?, ?, ?, ?, ?, ?,"
            " ?, 100, 200)",
            (
                *(CHAIN, VAULT, epoch, to, data, SIGNER.address, state),
                first_nonce + epoch if was_signed else None,
                transaction.raw if was_signed else None,
                transaction.hash if was_signed else None,
                *held,
                "the contract refused" if state == "failed" else "",
            ),
        )
    connection.commit()
    connection.close()
    return all_signed


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return found


def test_every_attempt_of_version_1_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    transactions = old_file(path, VAULT, "0x1234", 7)
    journal = Journal(path)
    attempts = journal.attempts(CHAIN)
    journal.close()

    assert [attempt.state for attempt in attempts] == [
        *(
            AttemptState.MINED,
            AttemptState.SENT,
            AttemptState.SIGNED,
            AttemptState.PLANNED,
            AttemptState.FAILED,
        ),
    ]
    assert [attempt.intent.epoch for attempt in attempts] == [0, 1, 2, 3, 4]
    for attempt, transaction in zip(attempts, transactions, strict=True):
        assert (attempt.intent.deadline_block, attempt.planned_at) == (None, 100)
        if attempt.state is AttemptState.PLANNED:
            assert attempt.versions == ()
            continue
        (only,) = attempt.versions
        assert (only.kind, only.raw, only.transaction_hash) == (*(Kind.ORIGINAL, transaction.raw, transaction.hash),)
        assert only.fees == GasFees(50 * GWEI, 2 * GWEI)
        assert (attempt.raw, attempt.transaction_hash) == (transaction.raw, transaction.hash)
    assert attempts[0].block_number == attempts[4].block_number == 5
    assert attempts[4].note == "the contract refused"
    assert version(path) == 3
    Journal(path).close()


def test_migration_that_is_cut_off_leaves_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.sqlite"
    old_file(path, VAULT, "0x1234", 7)

    def cut_off(raw: bytes) -> GasFees:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "fees_of", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Journal(path)
    assert version(path) == 1
    journal = Journal(path)
    assert len(journal.attempts(CHAIN)) == 5
    journal.close()


def test_attempts_of_version_2_are_kept_and_cost_what_they_did(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA.with_name("outbox_2.sql").read_text())
    sent = signed(7, VAULT, "0x1234")
    connection.execute(
        "INSERT INTO attempts (id, chain_id, vault, epoch, recipient, data, gas_limit, reason, sender,"
        " state, nonce, mined_hash, block_number, block_hash, gas_used, gas_price_wei, mined_at,"
        " planned_at, changed_at) VALUES (1, ?, ?, 0, ?, '0x1234', 200000, 'drift', ?, 'mined', 7, ?,"
        " 5, ?, 50000, 3, 150, 100, 200)",
        (CHAIN, VAULT, VAULT, SIGNER.address, sent.hash, "0x" + "cc" * 32),
    )
    connection.execute(
        "INSERT INTO versions VALUES (1, 1, 'original', ?, ?, 200000, 50, 2, 4, 100)",
        (sent.raw, sent.hash),
    )
    connection.commit()
    connection.close()
    journal = Journal(path)
    (attempt,) = journal.attempts(CHAIN)
    journal.close()

    assert (attempt.cost_wei, attempt.beside_gas_wei) == (150_000, 0)
    assert (attempt.newest.raw, attempt.newest.worst_cost_wei) == (sent.raw, 200_000 * 50)
    assert version(path) == 3
    assert read_attempts(path, CHAIN) == [attempt]


def test_file_of_version_1_is_not_migrated_by_who_only_looks(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    old_file(path, VAULT, "0x1234", 7)
    with pytest.raises(OutboxUnreadable, match="version 1 is not 3"):
        read_attempts(path, CHAIN)
    assert version(path) == 1


def test_what_version_1_had_sent_is_mined_once_after_the_migration(chain: LocalChain, tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    token: BoundContract = chain.deploy("MockToken", "Coin", "COIN", 6)
    data = token.data("mint", RECEIVER, 1)
    nonce = int(chain.rpc.call("eth_getTransactionCount", SIGNER.address, "latest"), 16)
    # As if epoch 0 had been mined before: epochs 1 and 2 are the chain's next two.
    chain.set_nonce(SIGNER.address, nonce + 1)
    old_file(path, token.address, data, nonce)
    with Outbox(path) as outbox:
        outbox.resume(chain.rpc)
        outbox.resume(chain.rpc)
        states = [attempt.state for attempt in outbox.attempts(CHAIN)]

    assert states == [
        AttemptState.MINED,
        AttemptState.MINED,
        AttemptState.MINED,
        AttemptState.FAILED,
        AttemptState.FAILED,
    ]
    assert token.call("totalSupply") == 2
