"""A keeper's delivery in a process of its own, which stops at a given point and waits to be killed.

Run by test_outbox_killed.py: deliver_and_stop.py URL OUTBOX POINT TOKEN DATA

A point may name the step in which it lies, "bump: signed": then what comes before that step is done
without a stop.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rebalancer.abi import Call
from rebalancer.chain.rpc import Rpc
from rebalancer.send.attempt import Intent
from rebalancer.send.fees import suggest
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import SignedTransaction
from rebalancer.send.signer import DevnetSigner, devnet_signer

SIGNER = 5
CAP_WEI = 10**12
RULES = SendRules(fee_cap_wei=CAP_WEI, bump_after_blocks=2, confirmations=3, min_pending_seconds=0)


def intent(token: str, data: str, epoch: int = 0) -> Intent:
    """What the tests deliver: the token stands in for a vault."""
    return Intent(31337, token, epoch, token, data, 200_000, "a test")


def stop() -> None:
    """Tell the parent, and wait for its kill."""
    print("stopped", flush=True)
    time.sleep(600)


class StoppingSigner(DevnetSigner):
    """Stops before or after it signs."""

    point = ""

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        if self.point == "planned":
            stop()
        signed = super().sign(transaction)
        if self.point == "signed, not stored":
            stop()
        return signed


class StoppingRpc(Rpc):
    """Stops around what is sent and what is read of it."""

    point = ""
    sent = False

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        methods = [method for method, _ in calls]
        sending = "eth_sendRawTransaction" in methods
        reading = "eth_getTransactionReceipt" in methods and self.sent
        if (sending and self.point == "signed") or (reading and self.point == "sent"):
            stop()
        answers = super().batch_settled(calls)
        if sending and self.point == "sent, not stored":
            stop()
        receipts = zip(methods, answers, strict=True)
        is_read = any(answer for method, answer in receipts if method.endswith("Receipt"))
        if reading and is_read and self.point == "mined, not stored":
            stop()
        self.sent = self.sent or sending
        return answers


def main(url: str, outbox: str, point: str, token: str, data: str) -> None:
    """Go up to the point."""
    rpc = StoppingRpc(url)
    signer = StoppingSigner(devnet_signer(SIGNER)._account)
    step, _, rest = point.rpartition(": ")
    with Outbox(Path(outbox), RULES) as box:
        if step:
            later(box, rpc, signer, step, rest, intent(token, data))
            return
        rpc.point = StoppingSigner.point = point
        attempt = box.submit(rpc, [signer], intent(token, data), suggest(rpc, CAP_WEI))
        while box.journal.get(attempt.id).block_number is None:
            box.advance(rpc, [signer], int(rpc.call("eth_blockNumber"), 16))
            time.sleep(0.01)
        if point == "mined":
            stop()


def later(box: Outbox, rpc: StoppingRpc, signer: StoppingSigner, step: str, point: str, wanted: Intent) -> None:
    """Do one step with a transaction that is under way, or was: it is sent here if it is new."""
    attempt = box.submit(rpc, [signer], wanted)
    height = int(rpc.call("eth_blockNumber"), 16)
    rpc.point = StoppingSigner.point = point
    rpc.sent = False
    if step == "bump":
        box.advance(rpc, [signer], height + 2)
    elif step == "cancel":
        box.cancel(rpc, signer, attempt, "a test")
    else:
        box.advance(rpc, [signer], height)
    if point == "done":
        stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
