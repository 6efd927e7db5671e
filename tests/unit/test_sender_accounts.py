"""Limits of a key and the choice of a lane: arithmetic and lists alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rebalancer.chain.interfaces import interface
from rebalancer.errors import (
    CallNotAllowed,
    FeeAboveLimit,
    LimitError,
    NoFreeSender,
    SpendLimitReached,
)
from rebalancer.send.from_settings import sender_of
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount, as_sender, choose
from rebalancer.send.signed import SignedTransaction
from rebalancer.send.signer import devnet_signer
from rebalancer.settings import Settings

ME = "0x" + "11" * 20
VAULT = "0x" + "aa" * 20
CALL = "0x12345678" + "00" * 32


class Pen:
    """Signs anything, and keeps count."""

    def __init__(self, address: str = ME) -> None:
        self.address = address
        self.signed = 0

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        self.signed += 1
        return SignedTransaction(b"", "0x")


def transaction(**changes: Any) -> dict[str, Any]:
    return {"to": VAULT, "data": CALL, "maxFeePerGas": 10} | changes


LIMITS = KeyLimits(max_fee_per_gas_wei=10, targets=frozenset({VAULT}), selectors=frozenset({CALL[:10]}))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"to": "0x" + "bb" * 20}, CallNotAllowed),
        ({"to": None}, CallNotAllowed),
        ({"data": "0x87654321"}, CallNotAllowed),
        ({"data": "0x"}, CallNotAllowed),
        ({"to": ME}, CallNotAllowed),
        ({"maxFeePerGas": 11}, FeeAboveLimit),
        ({"to": ME, "data": "0x", "maxFeePerGas": 11}, FeeAboveLimit),
    ],
)
def test_lane_refuses_to_sign_beyond_its_limits(changes: dict[str, Any], error: type[LimitError]) -> None:
    pen = Pen()
    with pytest.raises(error):
        SenderAccount(pen, LIMITS).sign(transaction(**changes))
    assert pen.signed == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"to": VAULT.upper().replace("X", "x")},
        {"data": CALL.upper().replace("X", "x")},
        {"to": ME, "data": "0x"},  # a cancellation
    ],
)
def test_lane_signs_what_its_limits_allow(changes: dict[str, Any]) -> None:
    pen = Pen()
    SenderAccount(pen, LIMITS).sign(transaction(**changes))
    assert pen.signed == 1


def test_offer_above_the_limit_is_told_with_both_numbers() -> None:
    with pytest.raises(FeeAboveLimit) as caught:
        LIMITS.check_fee(ME, 11)

    error = caught.value
    assert (error.address, error.offered_wei, error.limit_wei) == (ME, 11, 10)


def test_signer_without_limits_signs_anything() -> None:
    pen = Pen()
    as_sender(pen).sign(transaction(to=None, maxFeePerGas=10**18))
    assert pen.signed == 1
    sender = SenderAccount(pen)
    assert as_sender(sender) is sender


def test_spend_up_to_the_limit_is_allowed_and_not_a_wei_more() -> None:
    limits = KeyLimits(max_spend_per_day_wei=100)
    limits.check_spend(ME, 60, 40)
    with pytest.raises(SpendLimitReached) as caught:
        limits.check_spend(ME, 60, 41)
    assert (caught.value.spent_wei, caught.value.more_wei, caught.value.limit_wei) == (60, 41, 100)


def test_choose_takes_the_lane_with_the_least_to_do_that_may() -> None:
    other = KeyLimits(targets=frozenset({ME}))
    senders = [
        SenderAccount(Pen("0xa")),
        SenderAccount(Pen("0xb")),
        SenderAccount(Pen("0xc"), other),
        SenderAccount(Pen("0xd"), max_open=1),
    ]
    in_flight = {"0xa": 2, "0xb": 1, "0xd": 1}
    assert choose(senders, in_flight, VAULT, VAULT, CALL).address == "0xb"
    with pytest.raises(NoFreeSender) as caught:
        choose(senders[2:], in_flight, VAULT, VAULT, CALL)
    assert (caught.value.allowed, caught.value.busy) == (1, 1)
    with pytest.raises(NoFreeSender):
        choose([], {}, VAULT, VAULT, CALL)


def test_choose_takes_an_account_that_is_idle_before_one_that_is_not() -> None:
    senders = [
        SenderAccount(Pen("0xa")),
        SenderAccount(Pen("0xb"), max_open=1),
        SenderAccount(Pen("0xc")),
    ]

    assert choose(senders, {"0xa": 1, "0xc": 2}, VAULT, VAULT, CALL).address == "0xb"
    assert choose(senders, {"0xa": 1, "0xb": 1}, VAULT, VAULT, CALL).address == "0xc"


def test_choose_holds_target_and_function_to_the_lists_of_each_account() -> None:
    others = SenderAccount(Pen("0xb"), KeyLimits(selectors=frozenset({"0x87654321"})))
    senders = [SenderAccount(Pen("0xa"), LIMITS), others]

    assert choose(senders, {"0xa": 5}, VAULT, VAULT, CALL).address == "0xa"
    assert choose(senders, {"0xb": 5}, VAULT, ME, "0x87654321").address == "0xb"


def test_one_lane_alone_says_itself_what_it_may_not() -> None:
    sender = SenderAccount(Pen(), LIMITS)
    stranger = "0x" + "bb" * 20

    with pytest.raises(CallNotAllowed) as caught:
        choose([sender], {}, VAULT, stranger, CALL)

    assert (caught.value.address, caught.value.to) == (ME, stranger)
    assert caught.value.selector == CALL[:10]
    with pytest.raises(CallNotAllowed) as caught:
        choose([sender], {}, VAULT, VAULT, "0x")
    assert (caught.value.to, caught.value.selector) == (VAULT, "")


def test_keepers_lane_rebalances_pokes_and_syncs_its_vaults_and_nothing_else() -> None:
    sender = sender_of(devnet_signer(3), Settings(), [VAULT])
    assert sender.address == devnet_signer(3).address
    functions = interface("BasketVault").functions
    allowed = {
        name.partition("(")[0]
        for name, function in functions.items()
        if sender.may(VAULT, "0x" + function.selector.hex())
    }
    assert allowed == {"rebalance", "poke", "sync"}
    assert not sender.may(ME, "0x" + functions["poke"].selector.hex())
    assert sender.limits.max_fee_per_gas_wei == 200 * 10**9
    assert sender.limits.max_spend_per_day_wei == 10**18


def test_a_lane_shows_its_account_and_never_its_key() -> None:
    signer = devnet_signer(3)

    assert repr(SenderAccount(signer)) == f"SenderAccount({signer!r})"
    assert signer.address in repr(signer).lower()
