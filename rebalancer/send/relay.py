"""Relays: the endpoints that receive a signed transaction, private ones first and the public one later.

Without relays, transactions go to the RPC endpoint. With relays, a transaction goes to all relays, and to the public
endpoint only after `public_after_blocks` blocks (0: never). A cancellation reveals nothing, so it goes to both at once.
Each endpoint's answer is journalled; only scheme and host of an address are ever shown.

Relays identify their users by a signature over each request (the X-Flashbots-Signature header). The key holds no funds:
it is created at each start, so relays learn nothing from it that the transactions do not show.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, RpcRejected
from rebalancer.send.attempt import Attempt, Kind
from rebalancer.send.journal import Journal

__all__ = ["PRIVATE_METHOD", "RAW_METHOD", "RelayRpc", "Relays"]

log = structlog.get_logger("rebalancer.relay")

RAW_METHOD = "eth_sendRawTransaction"
PRIVATE_METHOD = "eth_sendPrivateTransaction"
_SIGNATURE_HEADER = "X-Flashbots-Signature"


class RelayRpc(Rpc):
    """Endpoint of a relay. Every request carries an account and its signature (EIP-191) of the hex-encoded hash of the
    body."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        super().__init__(url, timeout_s)
        self._identity: LocalAccount = Account.create()

    def _headers(self, body: str) -> dict[str, str]:
        digest = "0x" + keccak(text=body).hex()
        signed = self._identity.sign_message(encode_defunct(text=digest))
        return {_SIGNATURE_HEADER: f"{self._identity.address}:0x{signed.signature.hex()}"}


@dataclass(frozen=True)
class Relays:
    """Private endpoints, the method to send with, and when to send publicly."""

    endpoints: Sequence[Rpc] = ()
    method: str = RAW_METHOD
    public_after_blocks: int = 0
    min_pending_seconds: float = 0.0
    """Minimum age of a transaction before it is sent publicly, however fast blocks come."""

    def go_public(self, attempt: Attempt, height: int) -> bool:
        """Whether an attempt's newest version is sent to the public endpoint at a block."""
        if not self.endpoints or attempt.newest.kind is Kind.CANCELLATION:
            return True
        first = attempt.versions[0]
        if time.time() < first.signed_at + self.min_pending_seconds:
            return False
        return 0 < self.public_after_blocks <= height - first.height

    def send(self, journal: Journal, public: Rpc, attempt: Attempt, height: int) -> None:
        """Send an attempt's newest version to its current targets, and journal every answer.

        Raises:
            RpcRejected: no endpoint accepted it, and all answers are rejections.
            RpcUnreachable, RpcTimeout, RpcMalformed: no endpoint accepted it, but one may have it.
        """
        failures: list[ChainError] = []
        targets: list[tuple[Rpc, bool]] = [(relay, True) for relay in self.endpoints]
        if self.go_public(attempt, height):
            targets.append((public, False))
        version = attempt.newest
        accepted = {sending.endpoint for sending in version.sendings if not sending.answer}
        for endpoint, private in targets:
            try:
                method, params = self._request(attempt) if private else _raw(attempt)
                endpoint.call(method, *params)
            except ChainError as failure:
                if isinstance(failure, RpcRejected) and endpoint.endpoint in accepted:
                    continue  # it accepted these bytes before; now it reports a duplicate
                if private:
                    log.warning("relay_failed", relay=endpoint.endpoint, why=str(failure))
                journal.record_sending(version, endpoint.endpoint, str(failure))
                failures.append(failure)
                continue
            journal.record_sending(version, endpoint.endpoint, "")
        if len(failures) < len(targets):
            return
        # A silent endpoint may have the transaction: that outweighs any rejection.
        silent = [failure for failure in failures if not isinstance(failure, RpcRejected)]
        raise (silent or failures)[0]

    def _request(self, attempt: Attempt) -> tuple[str, list[Any]]:
        if self.method == RAW_METHOD:
            return _raw(attempt)
        request: dict[str, Any] = {"tx": "0x" + attempt.newest.raw.hex()}
        if attempt.intent.deadline_block is not None:
            request["maxBlockNumber"] = hex(attempt.intent.deadline_block)
        return PRIVATE_METHOD, [request]


def _raw(attempt: Attempt) -> tuple[str, list[Any]]:
    return RAW_METHOD, ["0x" + attempt.newest.raw.hex()]
