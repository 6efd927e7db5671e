"""Simulation of a rebalance as if it were mined now, and its comparison with the plan.

It runs right before signing. `eth_simulateV1` executes the rebalance in a block of its own and returns the logs,
whose `Rebalanced` event says by how much every asset changes. A node without it, or whose answer is none, is asked to
`eth_call`, which at least says whether the vault would refuse; the vault holds the plan's least
buys against what it measures either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from rebalancer.chain.interfaces import interface, reverted
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractReverted,
    RpcMalformed,
    RpcRejected,
    SimulationDiffers,
    SimulationRefused,
)
from rebalancer.units import BPS

__all__ = ["Simulated", "Simulator", "check_changes", "gas_in_turn", "message"]

log = structlog.get_logger("rebalancer.simulate")

_METHOD = "eth_simulateV1"
_LOWERED_BPS = 1
"""By how much less than planned may be sold: where a price grows by the second, as that of a staked dollar does, a surplus is some millionths
smaller one block later, and the vault sells what is left of it."""
_UNKNOWN_METHOD = frozenset({-32601, -32004})
"""JSON-RPC's and EIP-1474's codes of a method that a node does not have."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What one of several calls came to: its refusal, None if there was none, and what it returned."""

    refusal: ContractReverted | None
    returned: bytes


class Simulator:
    """Simulates on one endpoint, and remembers whether it can."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._has_simulate = True

    def logs(
        self,
        sender: str,
        to: str,
        data: str,
        gas_limit: int,
        before: Sequence[Mapping[str, str]] = (),
    ) -> list[Any] | None:
        """The logs that a call would leave on the newest block's state, None if the node cannot tell.

        `before` are calls (`message`) that come first in the same block; what becomes of them does not matter.

        Raises:
            SimulationRefused: a contract would refuse it.
        """
        last = message(sender, to, data, gas_limit)
        done = self.last_of([*before, last])
        if done is not None:
            return list(done["logs"])
        try:
            self._rpc.call("eth_call", last, "latest")
        except RpcRejected as rejection:
            refusal = reverted(rejection)
            if isinstance(refusal, ContractReverted):
                raise SimulationRefused(refusal) from None
            raise
        return None

    def last_of(self, messages: Sequence[Mapping[str, str]]) -> Mapping[str, Any] | None:
        """What the last of these calls does after the others, in one block on the newest one's state: the node's own record, with `logs`
        and `returnData`. None if the node cannot tell. What becomes of the others does not matter.

        Raises:
            SimulationRefused: a contract would refuse it.
        """
        done = self._attempted(messages)
        if done is None:
            return None
        why, reported = done[-1]
        if why is not None:
            raise SimulationRefused(why)
        return {"returnData": "0x", **reported}

    def outcomes(self, messages: Sequence[Mapping[str, str]]) -> list[Simulated] | None:
        """What each of some calls would come to, one after another on the newest block's state; None if the node cannot tell.

        Whoever is named sends them, whether or not that account could. A call that is refused changes nothing for the next.

        Raises:
            ChainError: the node does not answer.
        """
        done = self._attempted(messages)
        if done is None:
            return None
        return [Simulated(refusal, _bytes(one.get("returnData"))) for refusal, one in done]

    def _attempted(self, messages: Sequence[Mapping[str, str]]) -> list[_Done] | None:
        """What the node says of each call, None if it cannot simulate."""
        if not self._has_simulate:
            return None
        try:
            return self._simulated(messages)
        except RpcRejected as rejection:
            self._has_simulate = rejection.code not in _UNKNOWN_METHOD
        except RpcMalformed as malformed:
            log.warning("not_simulated", why=str(malformed))
        return None

    def _simulated(self, messages: Sequence[Mapping[str, str]]) -> list[_Done]:
        head = self._rpc.call("eth_getBlockByNumber", "latest", False)
        # Some nodes would date the block by their own clock, at which prices may be stale.
        next_second = hex(int(head["timestamp"], 16) + 1)
        wanted = {
            "blockStateCalls": [{"blockOverrides": {"time": next_second}, "calls": list(messages)}],
            "validation": False,
            "traceTransfers": False,
        }
        answer = self._rpc.call(_METHOD, wanted, "latest")
        try:
            done = answer[0]["calls"][: len(messages)]
            found = [(_refusal(one), one) for one in done]
            if len(found) != len(messages) or any(
                refusal is None and not isinstance(one["logs"], list) for refusal, one in found
            ):
                raise KeyError
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise RpcMalformed(self._rpc.endpoint, f"no result of {_METHOD}") from None
        return found

    def check_rebalance(
        self,
        vault: str,
        data: str,
        gas_limit: int,
        sales_raw: Sequence[int],
        min_buys_raw: Sequence[int],
        before: Sequence[Mapping[str, str]] = (),
    ) -> Callable[[str], None]:
        """For the outbox: simulates a rebalance by whoever is to sign it, after other calls, and holds it against its plan.

        What it returns raises:
            SimulationRefused, SimulationDiffers: it would not do what is planned.
        """

        def check(sender: str) -> None:
            logs = self.logs(sender, vault, data, gas_limit, before)
            if logs is not None:
                check_changes(logs, vault, sales_raw, min_buys_raw, lowered_bps=_LOWERED_BPS)

        return check


_Done = tuple[ContractReverted | None, Mapping[str, Any]]


def _refusal(done: Mapping[str, Any]) -> ContractReverted | None:
    """Why a simulated call was refused, None if it was not."""
    if int(done["status"], 16) == 1:
        return None
    # The revert data is with the error on some nodes, in place of a result on others.
    error = done.get("error") or {}
    why = RpcRejected(_METHOD, 3, "reverted", _bytes(error.get("data") or done.get("returnData")))
    found = reverted(why)
    return found if isinstance(found, ContractReverted) else ContractReverted("NoReason")


def _bytes(data: Any) -> bytes:
    return bytes.fromhex(str(data or "0x").removeprefix("0x"))


def gas_in_turn(rpc: Rpc, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
    """The gas that transactions would use, one a block and one after the other; None if the node cannot tell.

    Raises:
        ContractReverted: a contract would refuse one of them.
    """
    head = rpc.call("eth_getBlockByNumber", "latest", False)
    now = int(head["timestamp"], 16)
    blocks = [
        {"blockOverrides": {"time": hex(now + later)}, "calls": [message]}
        for later, message in enumerate(messages, start=1)
    ]
    wanted = {"blockStateCalls": blocks, "validation": False, "traceTransfers": False}
    try:
        answer = rpc.call(_METHOD, wanted, "latest")
        done = [block["calls"][0] for block in answer]
        found = [int(one["gasUsed"], 16) for one in done]
        failed = [one for one in done if int(one["status"], 16) != 1]
    except RpcRejected as rejection:
        log.info("not_simulated", why=rejection.message)
        return None
    except (RpcMalformed, KeyError, IndexError, TypeError, ValueError):
        log.info("not_simulated", why="the answer is none")
        return None
    for one in failed:
        raise _refusal(one) or ContractReverted("NoReason")
    return found if len(found) == len(messages) else None


def message(sender: str, to: str, data: str, gas_limit: int) -> dict[str, str]:
    """A call as nodes take it."""
    return {"from": sender, "to": to, "data": data, "gas": hex(gas_limit)}


def check_changes(
    logs: Sequence[Any],
    vault: str,
    sales_raw: Sequence[int],
    min_buys_raw: Sequence[int],
    *,
    lowered_bps: int = 0,
) -> tuple[int, ...]:
    """Compare the `Rebalanced` event of a vault with a plan: the sales, or up to `lowered_bps` less of each, and at least the buys.

    Returns by how much each asset changes.

    Raises:
        SimulationDiffers: an asset changes by something else; a vault without the event by 0.
    """
    known = interface("BasketVault")
    changes = [0] * len(sales_raw)
    for log in logs:
        event = known.decode_log(log) if log["address"].lower() == vault.lower() else None
        if event is not None and event.name == "Rebalanced":
            changes = event.values["changes"]
    for asset, (change, sale, least) in enumerate(zip(changes, sales_raw, min_buys_raw, strict=True)):
        planned = least - sale
        most = planned + sale * lowered_bps // BPS
        if change < planned or (not least and change > most):
            raise SimulationDiffers(asset, planned, change)
    return tuple(changes)
