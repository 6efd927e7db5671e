"""Delivery of a transaction over several ticks in one call, and a node that mines nothing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rebalancer.chain.receipt import Receipt, find_receipt, refusal
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import TransactionNotMined
from rebalancer.send.attempt import AttemptState, Intent
from rebalancer.send.fees import GasFees
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import Signer

__all__ = ["deliver", "no_blocks"]

_PAUSE_SECONDS = 0.01


@contextmanager
def no_blocks(chain: LocalChain) -> Iterator[None]:
    """Inside, the node mines no transaction by itself."""
    chain.rpc.call("evm_setAutomine", False)
    try:
        yield
    finally:
        chain.rpc.call("evm_setAutomine", True)


def deliver(
    outbox: Outbox, rpc: Rpc, signer: Signer, intent: Intent, fees: GasFees, timeout_s: float = 10.0
) -> Receipt:
    """Start anew, submit, and advance until a block holds it.

    Raises:
        ContractReverted: it was mined, and refused by a contract.
        TransactionNotMined: it is not mined in time. It is still under way.
        As `Outbox.resume`, `submit` and `advance`.
    """
    outbox.resume(rpc)
    attempt = outbox.submit(rpc, [signer], intent, fees)
    for _ in range(round(timeout_s / _PAUSE_SECONDS)):
        outbox.advance(rpc, [signer], int(rpc.call("eth_blockNumber"), 16))
        attempt = outbox.journal.get(attempt.id)
        if attempt.mined_hash is not None and attempt.block_number is not None:
            receipt = find_receipt(rpc, attempt.mined_hash)
            assert receipt is not None
            if attempt.state is AttemptState.FAILED:
                raise refusal(rpc, receipt)
            return receipt
        time.sleep(_PAUSE_SECONDS)
    raise TransactionNotMined(str(attempt.transaction_hash), timeout_s)
