"""Relays: the endpoints that get a signed transaction, private ones first and the public one later.

Without relays everything goes to the endpoint that is read from. With relays, what the keeper
means to do goes to all of them and to nobody else, until `public_after_blocks` blocks have passed
without it (0: never). A cancellation shows nothing that is worth hiding, so it goes to both. Each
endpoint's answer is journalled; of an address only scheme and host are ever shown.

Relays tell their users apart by a signature over each request (the X-Flashbots-Signature header). It needs no key that holds anything:
ours is made anew with every start, so that relays learn nothing by it that they would not know from the transactions.
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
    """A relay's endpoint. Every request carries an account and its signature (EIP-191) of the hash of the body, in hexadecimal."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        super().__init__(url, timeout_s)
        self._identity: LocalAccount = Account.create()

    def _headers(self, body: str) -> dict[str, str]:
        digest = "0x" + keccak(text=body).hex()
        signed = self._identity.sign_message(encode_defunct(text=digest))
        return {_SIGNATURE_HEADER: f"{self._identity.address}:0x{signed.signature.hex()}"}


@dataclass(frozen=True)
class Relays:
    """Private endpoints, how they are spoken to, and when to go public instead."""

    endpoints: Sequence[Rpc] = ()
    method: str = RAW_METHOD
    public_after_blocks: int = 0
    min_pending_seconds: float = 0.0
    """However fast blocks come, nothing goes public sooner."""

    def go_public(self, attempt: Attempt, height: int) -> bool:
        """Whether an attempt's newest version goes to everybody at a block."""
        if not self.endpoints or attempt.newest.kind is Kind.CANCELLATION:
            return True
        first = attempt.versions[0]
        if time.time() < first.signed_at + self.min_pending_seconds:
            return False
        return 0 < self.public_after_blocks <= height - first.height

    def send(self, journal: Journal, public: Rpc, attempt: Attempt, height: int) -> None:
        """Send an attempt's newest version to where it goes now, and journal every answer.

        Raises:
            RpcRejected: no endpoint took it, and all that answered refused it.
            RpcUnreachable, RpcTimeout, RpcMalformed: no endpoint took it; one may have it.
        """
        failures: list[ChainError] = []
        targets: list[tuple[Rpc, bool]] = [(relay, True) for relay in self.endpoints]
        if self.go_public(attempt, height):
            targets.append((public, False))
        version = attempt.newest
        taken = {sending.endpoint for sending in version.sendings if not sending.answer}
        for endpoint, private in targets:
            try:
                method, params = self._request(attempt) if private else _raw(attempt)
                endpoint.call(method, *params)
            except ChainError as failure:
                if isinstance(failure, RpcRejected) and endpoint.endpoint in taken:
                    continue  # it took these bytes before; what it says now is that it has them
                if private:
                    log.warning("relay_failed", relay=endpoint.endpoint, why=str(failure))
                journal.record_sending(version, endpoint.endpoint, str(failure))
                failures.append(failure)
                continue
            journal.record_sending(version, endpoint.endpoint, "")
        if len(failures) < len(targets):
            return
        # Who is silent may have it: that outweighs any refusal.
        silent = [failure for failure in failures if not isinstance(failure, RpcRejected)]
        raise (silent or failures)[0]

    def _request(self, attempt: Attempt) -> tuple[str, list[Any]]:
        if self.method == RAW_METHOD:
            return _raw(attempt)
        wanted: dict[str, Any] = {"tx": "0x" + attempt.newest.raw.hex()}
        if attempt.intent.deadline_block is not None:
            wanted["maxBlockNumber"] = hex(attempt.intent.deadline_block)
        return PRIVATE_METHOD, [wanted]


def _raw(attempt: Attempt) -> tuple[str, list[Any]]:
    return RAW_METHOD, ["0x" + attempt.newest.raw.hex()]
