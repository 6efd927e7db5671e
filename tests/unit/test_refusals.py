"""Whom an error is blamed on, by its method, code, words and data."""

from __future__ import annotations

import pytest

from rebalancer.chain.refusals import Blame, blame, is_batch_refusal, is_limit
from rebalancer.errors import RpcRejected

TOO_MANY = "query returned more than 10000 results, too many"


@pytest.mark.parametrize(
    ("method", "code", "words", "expected"),
    [
        # A search that is too large for one endpoint may not be for another.
        ("eth_getLogs", -32005, TOO_MANY, Blame.UNCLEAR),
        ("eth_call", -32005, TOO_MANY, Blame.ENDPOINT),
        ("eth_call", -32000, TOO_MANY, Blame.ENDPOINT),
        ("eth_getLogs", -32000, "unauthorized", Blame.ENDPOINT),
        # A chain may have no safe or finalised block yet; any other block that a node lacks is the node's.
        ("eth_getBlockByNumber", -39001, "finalized block not found", Blame.UNCLEAR),
        ("eth_getBlockByNumber", -39001, "Safe block not found", Blame.UNCLEAR),
        ("eth_getBlockByNumber", -32000, "header not found", Blame.ENDPOINT),
        ("eth_call", -32000, "finalized block not found", Blame.ENDPOINT),
        # A method that is lacked is so by its code or by its words.
        ("eth_getLogs", -32601, "no", Blame.METHOD),
        ("eth_simulateV1", -32000, "method eth_simulateV1 not found", Blame.METHOD),
        # What a chain says of a transaction is the answer, unless an HTTP status is in its place.
        ("eth_sendRawTransaction", -32000, "nonce too low", Blame.QUESTION),
        ("eth_sendRawTransaction", 503, "nonce too low", Blame.ENDPOINT),
        ("eth_call", 3, "execution reverted", Blame.QUESTION),
        # Broken insides, and statuses of HTTP, are the endpoint's whatever it says.
        *(("eth_call", code, "?", Blame.ENDPOINT) for code in (-32603, -32001, 401, 404, 500, 599)),
        ("eth_call", -32000, "?", Blame.UNCLEAR),
        ("debug_traceTransaction", 600, "?", Blame.UNCLEAR),
        # Nobody else is asked about what must not be sent twice.
        ("eth_sendRawTransaction", -32000, "?", Blame.QUESTION),
        ("eth_signTransaction", -32000, "?", Blame.QUESTION),
    ],
)
def test_error_is_blamed_by_what_it_says(method: str, code: int, words: str, expected: Blame) -> None:
    assert blame(RpcRejected(method, code, words)) is expected


@pytest.mark.parametrize("code", [3, -32603, 429])
def test_revert_data_is_an_answer_whatever_is_said_with_it(code: int) -> None:
    message = RpcRejected("eth_call", code, "batch rate limit exceeded", b"\1")

    assert blame(message) is Blame.QUESTION
    assert not is_batch_refusal(message)


def test_limit_is_told_by_code_or_by_words() -> None:
    for code in (-32005, -32007, -32029, 429):
        assert is_limit(RpcRejected("eth_call", code, "?"))
    for words in ("Rate limit", "too many requests", "50/second", "server is busy"):
        assert is_limit(RpcRejected("eth_call", -32000, words))
    assert not is_limit(RpcRejected("eth_call", -32603, "internal error"))
    assert is_batch_refusal(RpcRejected("eth_call", -32000, "Batch of 100 is too large"))
    assert not is_batch_refusal(RpcRejected("eth_call", -32000, "?"))
