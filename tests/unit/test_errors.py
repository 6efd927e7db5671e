"""The error tree: every class of it is built, told, compared, copied, pickled and raised, and its name is like no other's."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from rebalancer import errors
from rebalancer.cli.remedies import sentence
from rebalancer.errors import (
    AllChainsUnavailable,
    AttemptNotNamed,
    BalanceTooLow,
    ContractMissing,
    ContractReverted,
    KeeperNotAuthorized,
    L1FeeUnknown,
    LaunchStopped,
    LedgerMismatch,
    LiquidityExhausted,
    MarketMismatch,
    NothingToClaim,
    OutboxInUse,
    RebalancerError,
    RpcBusy,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    SystemMissing,
    TokenStale,
    TooManyFailures,
    VaultNotNamed,
)


def tree(kind: type[RebalancerError] = RebalancerError) -> Iterator[type[RebalancerError]]:
    yield kind
    for heir in kind.__subclasses__():
        yield from tree(heir)


EVERY = tuple(each for each in tree() if each.__module__ == errors.__name__)
RAISED = tuple(each for each in EVERY if each.template)
OF_EVERY = pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)

# Two values of each type that a field has, or of a field's name.
VALUES: Mapping[object, tuple[Any, Any]] = {
    "decimals": (18, 6),
    str: ("0x12ab", "0x34cd"),
    int: (7 * 10**16, 8 * 10**16),
    float: (2.5, 3.5),
    float | None: (1.5, None),
    int | None: (3, None),
    int | str | None: ("2024-01-01", None),
    bytes: (b"\x01\x02", b""),
    Path: (Path("folder/file.toml"), Path("folder/other.toml")),
    object: (("WETH", None), None),
    Sequence[str]: (("WETH", "WBTC"), ("USDC",)),
    Sequence[int]: ((5, 6, 7), (9,)),
    tuple[int, ...]: ((1, 2), (1, 3)),
    tuple[int | str, ...]: ((1, "two"), (2,)),
    Mapping[str, object]: ({"needed": 2, "of": "WETH"}, {}),
    Exception: (RpcTimeout("http://node", 3), RpcTimeout("http://node", 4)),
    RebalancerError: (RpcTimeout("http://node", 3), RpcTimeout("http://node", 4)),
    ContractReverted: (ContractReverted("No", {"a": 1}), ContractReverted("Never")),
}


UNTOLD: Mapping[type[RebalancerError], Sequence[str]] = {BalanceTooLow: ("token",)}
"""Fields that are for programs, beside `data`: a sentence has the token's symbol."""


def build(kind: type[RebalancerError], /, **others: int) -> RebalancerError:
    """An error whose fields have the first value of their types; the second one for a field named with 1."""
    hints = get_type_hints(kind)
    return kind(*(VALUES.get(name, VALUES[hints[name]])[others.get(name, 0)] for name in kind.__match_args__))


# Sentences


def test_a_class_is_raised_or_others_derive_from_it() -> None:
    assert len(RAISED) > 110
    for kind in set(EVERY) - set(RAISED):
        assert kind.__subclasses__()
        assert not kind.__match_args__ or kind is errors.OutboxError
        assert kind.__doc__


@OF_EVERY
def test_sentence_is_one_line_without_python_in_it(kind: type[RebalancerError]) -> None:
    message = str(build(kind))

    assert message.isprintable()
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "  " not in message
    assert message == " ".join(message.split())
    assert not re.search(r"None|Path\(|Error\(|(?<!\w)b'|\\x|\('|\['|\[\d|,\)|[{}<]", message)
    assert re.match(r"[A-Z0-9']|folder/", message)


@OF_EVERY
def test_sentence_says_what_is_wrong_and_what_to_do(kind: type[RebalancerError]) -> None:
    wrong, _, advice = sentence(build(kind)).rstrip(".").rpartition(": ")

    assert len(wrong) > 5
    assert len(advice) > 5


@OF_EVERY
def test_every_field_that_people_read_is_in_the_sentence(kind: type[RebalancerError]) -> None:
    first = build(kind)
    for name in kind.__match_args__:
        other = build(kind, **{name: 1})
        assert (str(other) == str(first)) == (name in UNTOLD.get(kind, ("data",))), name


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RpcBusy("http://node", "HTTP 429", 1.5),
            "The RPC endpoint http://node limits our requests (HTTP 429); it asks us to wait 1.5 s: send fewer requests, or add another endpoint.",
        ),
        (
            ContractMissing("BasketVault", "0x1", "a token"),
            "No BasketVault is deployed at 0x1, which is a token: check the address and the chain it belongs to.",
        ),
        (
            AllChainsUnavailable(["Chain 1: it timed out.", "Chain 10: it went away."]),
            (
                "The keeper stopped because all of its 2 chains are unavailable "
                "(Chain 1: it timed out. Chain 10: it went away): correct the causes and start it again."
            ),
        ),
        (
            LedgerMismatch("0xa", "0xb", (1, 2), (1, 3)),
            (
                "Vault 0xa holds 1, 3 raw units after 0xb, and the policy expects 1, 2: "
                "stop, and find the cause before you trade again."
            ),
        ),
        (
            MarketMismatch("feed of WETH", "a feed of the tape", None),
            (
                "The local market's feed of WETH is missing and should be a feed of the tape: "
                "restart the devnet; if this happens again, the snapshot does not describe the pool."
            ),
        ),
        (
            TokenStale("keeper", 3, None),
            (
                "The ledger of lease keeper refuses token 3 (Redis knows no token), so nothing was sent: "
                "start this machine again to wait for the lease, as another machine holds it or Redis lost its data."
            ),
        ),
        (
            AttemptNotNamed([]),
            "It is not clear which attempt is meant (those that fit: none): give the --id of a pending one; `rebalancer tx list` shows them.",
        ),
        (
            VaultNotNamed(["0xa", "0xb"]),
            "2 vaults are known here: choose one with --vault, 0xa, 0xb.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sentence_of_an_error(error: RebalancerError, message: str) -> None:
    assert str(error) == message


def test_a_reason_that_is_a_sentence_loses_its_full_stop_inside_another() -> None:
    why = str(RpcTimeout("http://node", 3))

    assert str(L1FeeUnknown(10, why)) == (
        "The L1 data fee of chain 10 cannot be read (The RPC endpoint http://node did not answer within 3 s: "
        "try again, allow more time, or use another endpoint), so nothing is sent: try again later, or use another endpoint."
    )


def test_a_class_without_a_docstring_is_described_by_its_template() -> None:
    assert RpcTimeout.__doc__ == RpcTimeout.template
    assert str(RpcTimeout.__doc__).startswith("The RPC endpoint {endpoint} did not answer")
    assert RpcBusy.__doc__ != RpcBusy.template


# Values


@OF_EVERY
def test_errors_are_equal_by_class_and_fields(kind: type[RebalancerError]) -> None:
    first = build(kind)

    assert first == build(kind)
    assert hash(first) == hash(build(kind))
    for name in kind.__match_args__:
        assert first != build(kind, **{name: 1}), name
    assert first != type("Alike", (kind,), {"template": kind.template})(*first.args)


def test_errors_of_different_kinds_with_equal_fields_differ() -> None:
    assert RpcUnreachable("http://node", "reset") != RpcBusy("http://node", "reset")
    assert RpcTimeout("http://node", 3) != "RpcTimeout"


@OF_EVERY
def test_copies_and_pickles_are_equal_and_say_the_same(kind: type[RebalancerError]) -> None:
    error = build(kind)
    error.add_note("a note")

    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 (made here)
        assert again is not error
        assert again == error
        assert str(again) == str(error)
        assert again.exit_code == error.exit_code
        assert again.__notes__ == ["a note"]
        for name in kind.__match_args__:
            assert getattr(again, name) == getattr(error, name)


def test_errors_that_a_process_of_a_pool_raises_arrive_as_they_were() -> None:
    raised = [build(kind) for kind in RAISED]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(exec, "raise error", {"error": error}) for error in raised]
        arrived = [future.exception(timeout=120) for future in running]

    assert arrived == raised
    assert [str(one) for one in arrived] == [str(one) for one in raised]


@OF_EVERY
def test_raise_from_keeps_the_cause(kind: type[RebalancerError]) -> None:
    cause = OSError(28, "No space left on device")
    error = build(kind)

    with pytest.raises(kind) as caught:
        raise error from cause
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__traceback__ is not None
    assert error == build(kind)


def test_lists_are_kept_as_tuples_and_mappings_as_copies() -> None:
    names = ["VaultLens"]
    values: dict[str, object] = {"needed": 2}
    missing, reverted = SystemMissing(names), ContractReverted("No", values)
    names.append("Zap")
    values.clear()

    assert missing.names == ("VaultLens",)
    assert missing.args == (("VaultLens",),)
    assert reverted.values == {"needed": 2}


def test_what_a_node_says_is_made_safe_and_kept_short() -> None:
    refused = RpcRejected("eth_call", 3, "no\x1b[2J\n" + "y" * 1_000)

    assert refused.message.startswith("no[2J y")
    assert len(refused.message) == 300
    assert refused.args[2] == refused.message


def test_errors_are_matched_by_position() -> None:
    match LiquidityExhausted("0xp", "WETH", 5, 3):
        case LiquidityExhausted(_, token, required_raw, possible_raw):
            assert (token, required_raw, possible_raw) == ("WETH", 5, 3)


# Exit codes (docs/operating.md lists them, which tests/unit/test_cli.py checks)


@OF_EVERY
def test_exit_code_is_of_this_program_and_no_success(kind: type[RebalancerError]) -> None:
    assert build(kind).exit_code in {1, *range(10, 27)}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (RpcTimeout, 10),
        (OutboxInUse, 14),
        (NothingToClaim, 16),
        (KeeperNotAuthorized, 21),
        (TooManyFailures, 22),
        (AllChainsUnavailable, 22),
        (LedgerMismatch, 23),
    ],
)
def test_exit_code_of_an_error(kind: type[RebalancerError], code: int) -> None:
    assert build(kind).exit_code == code


def test_launch_that_stopped_has_its_causes_exit_code() -> None:
    for cause in (RpcTimeout("http://node", 3), OutboxInUse(Path("outbox"), "process 7")):
        stopped = LaunchStopped(cause, 2, Path("new.json"))
        assert (stopped.exit_code, stopped.cause) == (cause.exit_code, cause)
    assert LaunchStopped.exit_code == 16


# Names


def distance(one: str, other: str) -> int:
    """Letters to insert, delete or exchange (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, row[0] = row[0], i
        for j, against in enumerate(other, start=1):
            exchanged = above + (letter != against)
            above, row[j] = row[j], min(exchanged, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def singular(name: str) -> str:
    """The name with each of its words as one thing: `LedgerMismatch` and `CacheMismatch` are one."""
    return "".join(word.removesuffix("s") for word in re.findall(r"[A-Z][a-z0-9]*", name))


def test_names_are_measured() -> None:
    assert distance("BooksDiffer", "BookDiffers") == 2
    assert distance("RpcBusy", "RpcBusy") == 0
    assert distance("FeeAboveCap", "FeeAboveLimit") == 5
    assert singular("BooksDiffer") == singular("BookDiffers") == "BookDiffer"


def test_no_two_names_differ_by_a_letter_or_an_s() -> None:
    names = [kind.__name__ for kind in EVERY]
    assert len(set(names)) == len(names)
    for one, other in combinations(names, 2):
        assert distance(one, other) > 1, (one, other)
        assert singular(one) != singular(other), (one, other)
