"""Classification of JSON-RPC errors: caused by the request, by the endpoint, or by a method that the endpoint does not
serve.

Providers and clients use different codes and messages. Revert data, or the word "revert", is an answer to the request
from any endpoint. Codes and words for rate limits, missing authorization, missing synchronization or missing data
concern the endpoint. Any other error of a read is unclear until another endpoint is tried: if that one answers, the
first was at fault; if all reject, the request was.
"""

from __future__ import annotations

import re
from enum import Enum

from rebalancer.errors import RpcRejected

__all__ = ["Blame", "blame", "is_batch_refusal", "is_limit"]


class Blame(Enum):
    """Cause of a JSON-RPC error."""

    QUESTION = "question"
    ENDPOINT = "endpoint"
    METHOD = "method"
    UNCLEAR = "unclear"


_METHOD_MISSING = -32601
_ENDPOINT_CODES = frozenset({-32001, -32002, -32005, -32007, -32010, -32016, -32029, -32603})
"""Codes for limits, missing resources and internal errors (EIP-1474, and further codes that providers use)."""
_HTTP_CODES = frozenset({401, 402, 403, 404, 408, 413, 429, *range(500, 600)})
"""HTTP statuses that some providers return as the JSON-RPC code."""

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
    r"range|\d+ blocks?\b|returned more|too (many|wide|large|big)|response size|results?\b|logs?\b", re.IGNORECASE
)
"""For `eth_getLogs`: a search that is too large for one endpoint may be accepted by another, or in smaller pieces."""
_TAG_WORDS = re.compile(r"\b(safe|finali[sz]ed)\b", re.IGNORECASE)
"""For a block by tag: a chain may not have such a block yet, on any of its nodes."""
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
    """Cause of an error, as far as one answer shows it."""
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
    """Whether an error rejects a batch because of its size."""
    return not rejected.data and bool(_BATCH_WORDS.search(rejected.message))


def is_limit(rejected: RpcRejected) -> bool:
    """Whether an endpoint's error is a rate limit, which ends by itself."""
    return rejected.code in _LIMIT_CODES or bool(_LIMIT_WORDS.search(rejected.message))
