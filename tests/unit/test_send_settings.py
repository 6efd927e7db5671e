"""What settings make of an outbox: its rules on a local chain and elsewhere, its relays, and who counts what keys spend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rebalancer.errors import OutboxError, SpendingUnwritable
from rebalancer.send.from_settings import outbox_of, rules_of
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.relay import PRIVATE_METHOD, RelayRpc
from rebalancer.settings import AccountSettings, KeeperSettings, Settings

GWEI = 10**9


def settings(folder: Path, chain_id: int = 1, **keeper: Any) -> Settings:
    given = {
        "outbox_file": folder / "outbox.sqlite",
        "spending_file": folder / "spending.sqlite",
    } | keeper
    return Settings(
        chain_id=chain_id,
        rpc_timeout_seconds=7.5,
        keeper=KeeperSettings.model_validate(given),
    )


@pytest.mark.parametrize("chain_id", [1, 31337])
@pytest.mark.parametrize("given", [{}, {"confirmations": 30}, {"min_pending_seconds": 5.0}, {"confirmations": "safe"}])
def test_a_local_chain_is_final_and_hurried_at_once_unless_the_settings_say(
    tmp_path: Path, chain_id: int, given: dict[str, Any]
) -> None:
    found = rules_of(settings(tmp_path, chain_id, **given, bump_after_blocks=9, max_fee_gwei=50))

    unset = {"confirmations": 1, "min_pending_seconds": 0.0}
    if chain_id == 1:
        unset = {"confirmations": 12, "min_pending_seconds": 12.0}
    assert found == SendRules(fee_cap_wei=50 * GWEI, bump_after_blocks=9, **unset | given)


def test_relays_are_asked_as_the_settings_say(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        relays=["https://one.example/path", "https://two.example"],
        relay_method=PRIVATE_METHOD,
        public_after_blocks=4,
        min_pending_seconds=3.0,
    )
    with outbox_of(given) as outbox:
        relays = outbox.delivery.relays
        assert [one.endpoint for one in relays.endpoints] == [
            *("https://one.example", "https://two.example"),
        ]
        assert all(isinstance(one, RelayRpc) for one in relays.endpoints)
        assert {one.timeout_s for one in relays.endpoints} == {7.5}
        assert (relays.method, relays.public_after_blocks) == (PRIVATE_METHOD, 4)
        assert relays.min_pending_seconds == 3.0
        assert outbox.path == tmp_path / "outbox.sqlite"


@pytest.mark.parametrize(
    "keys",
    [
        {"keystore": "key.json"},
        {"signer_url": "http://signer"},
        {"extra_accounts": [{"devnet_account": 4}, {"keystore": "key.json"}]},
        {"extra_accounts": [{"signer_url": "http://signer"}, {"devnet_account": 4}]},
    ],
)
def test_any_key_of_ones_own_is_counted_on_a_local_chain_too(tmp_path: Path, keys: dict[str, Any]) -> None:
    with outbox_of(settings(tmp_path, 31337, **keys)) as outbox:
        assert outbox.delivery.spending is not None
        assert outbox.delivery.spending.path == tmp_path / "spending.sqlite"


def test_test_accounts_are_counted_nowhere_but_on_a_real_chain(tmp_path: Path) -> None:
    accounts = (AccountSettings(devnet_account=4),)
    with outbox_of(settings(tmp_path, 31337, extra_accounts=accounts)) as outbox:
        assert outbox.delivery.spending is None
    with outbox_of(settings(tmp_path, 1, extra_accounts=accounts)) as outbox:
        assert outbox.delivery.spending is not None


@pytest.mark.parametrize("chain_id", [1, 31337])
def test_an_outbox_that_cannot_be_opened_leaves_no_file_of_spending_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain_id: int
) -> None:
    closed = []
    monkeypatch.setattr("rebalancer.send.spending.Spending.close", lambda self: closed.append(self.path))
    (tmp_path / "outbox.sqlite").mkdir()

    with pytest.raises(OutboxError, match="Is a directory"):
        outbox_of(settings(tmp_path, chain_id))

    assert closed == [tmp_path / "spending.sqlite"] * (chain_id == 1)


def test_user_without_a_home_is_told_which_file_could_not_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_self: Path) -> Path:
        raise RuntimeError("no home")

    given = settings(tmp_path)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(SpendingUnwritable, match="no home") as caught:
        outbox_of(given)

    assert caught.value.path == tmp_path / "spending.sqlite"
