"""Blame for a JSON-RPC error: whether it speaks of the question, of the endpoint that was asked, or of a method that it does not serve.

Providers and clients agree on neither codes nor words. Revert data, or the word "revert", is the question's answer wherever it comes
from. Codes and words by which endpoints say that they are at a limit, locked, not synchronised or without the data are the endpoint's.
Any other error of a read stays unclear until another endpoint was asked: if that one answers, the first was at fault; if all refuse, it
was the question.
"""

from __future__ import annotations

import re
from enum import Enum

from rebalancer.errors import RpcRejected

__all__ = ["Blame", "blame", "is_batch_refusal", "is_limit"]


class Blame(Enum):
    """What a JSON-RPC error speaks of."""

    QUESTION = "question"
    ENDPOINT = "endpoint"
    METHOD = "method"
    UNCLEAR = "unclear"


_METHOD_MISSING = -32601
_ENDPOINT_CODES = frozenset({-32001, -32002, -32005, -32007, -32010, -32016, -32029, -32603})
"""Of limits, resources that are not there, and broken insides (EIP-1474, and what providers use beside it)."""
_HTTP_CODES = frozenset({401, 402, 403, 404, 408, 413, 429, *range(500, 600)})
"""Some providers put the HTTP status where JSON-RPC has its code."""

_ENDPOINT_WORDS = re.compile(
    r"rate.?limit|limit.{0,20}(reached|exceeded)|(exceeded|over|reached).{0,40}(limit|quota|capacity)|too many|quota|throttl"
    r"|credits|requests? per|request/second|capacity|overload|\bbusy\b|unavailable|not available|try again|retry"
    r"|time[d ]*.?out|deadline exceeded|took too long|cancell?ed"
    r"|unauthori[sz]ed|forbidden|permission|access denied|api.?key|authenticat|project id|invalid token|billing|payment"
    r"|header (for hash )?not found|unknown block|block .{0,70}not found|could not find block|not processed|no such block"
    r"|missing trie node|trie|pruned|archive|historical state|state .{0,80}(not|un)|old data|too old"
    r"|not (yet )?(fully )?sync|syncing|not ready|behind|unfinalized|finalized data cannot"
    r"|internal (server )?error|upstream|backend|bad gateway|no (available|healthy|live)|connection|service|maintenance"
    r"|not whitelisted|not allowed|not enabled|disabled|plan\b|tier|subscription",
    re.IGNORECASE,
)
_QUESTION_WORDS = re.compile(
    r"revert|nonce|already known|already imported|underpriced|insufficient funds|intrinsic gas|exceeds block gas limit"
    r"|gas required exceeds|gas limit (is )?(too|reached)|exceeds the configured cap|fee cap|base fee|out of gas|invalid opcode"
    r"|stack (under|over)flow|bad jump|invalid jump|sender|signature|transaction type|replacement|oversized|vm exception|evm error",
    re.IGNORECASE,
)
_SEARCH_WORDS = re.compile(
    r"range|\d+ blocks?\b|returned more|too (many|wide|large|big)|response size|results?\b|logs?\b",
    re.IGNORECASE,
)
"""Of `eth_getLogs`: a search that is too large for one endpoint may not be for another, and smaller ones are not."""
_TAG_WORDS = re.compile(r"\b(safe|finali[sz]ed)\b", re.IGNORECASE)
"""Of a block by its tag: a chain may have none yet, and its nodes not one of them."""
_METHOD_WORDS = re.compile(
    r"method.{0,80}(not found|not supported|unsupported|not exist|not available|not implemented|not whitelisted|disabled|unknown)"
    r"|(unknown|unsupported|no such) method",
    re.IGNORECASE,
)
_LIMIT_CODES = frozenset({-32005, -32007, -32029, 429})
_LIMIT_WORDS = re.compile(
    r"rate.?limit|limit.{0,20}(reached|exceeded)|too many|throttl|requests? per|/second|overload|\bbusy\b",
    re.IGNORECASE,
)
_BATCH_WORDS = re.compile(r"batch", re.IGNORECASE)
_READS = re.compile(r"^(eth_(?!send|sign)|net_|web3_|debug_)")


def blame(rejected: RpcRejected) -> Blame:
    """What an error speaks of, as far as it can be told from one answer."""
    words = rejected.message
    if rejected.data or "revert" in words.lower():
        return Blame.QUESTION
    if rejected.method == "eth_getLogs" and _SEARCH_WORDS.search(words):
        return Blame.UNCLEAR
    if rejected.method == "eth_getBlockByNumber" and _TAG_WORDS.search(words):
        return Blame.UNCLEAR
    if rejected.code == _METHOD_MISSING or _METHOD_WORDS.search(words):
        return Blame.METHOD
    if _QUESTION_WORDS.search(words):
        return Blame.QUESTION if rejected.code not in _HTTP_CODES else Blame.ENDPOINT
    if rejected.code in _ENDPOINT_CODES or rejected.code in _HTTP_CODES:
        return Blame.ENDPOINT
    if _ENDPOINT_WORDS.search(words):
        return Blame.ENDPOINT
    return Blame.UNCLEAR if _READS.match(rejected.method) else Blame.QUESTION


def is_batch_refusal(rejected: RpcRejected) -> bool:
    """Whether an error refuses a batch for its size."""
    return not rejected.data and bool(_BATCH_WORDS.search(rejected.message))


def is_limit(rejected: RpcRejected) -> bool:
    """Whether an error of an endpoint's says that it was asked too often: that passes by itself."""
    return rejected.code in _LIMIT_CODES or bool(_LIMIT_WORDS.search(rejected.message))
