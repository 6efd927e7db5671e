"""Simulation of a rebalance as if it were mined now, and its comparison with the plan.

It runs right before signing. `eth_simulateV1` executes the rebalance in a block of its own and returns the logs; the
`Rebalanced` event has the change of every asset. On a node without this method, or without a valid answer, `eth_call`
shows at least whether the vault would revert. In either case, the vault checks the plan's minimum buys against its own
measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from rebalancer.chain.interfaces import interface, reverted
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractReverted, RpcMalformed, RpcRejected, SimulationDiffers, SimulationRefused
from rebalancer.units import BPS

__all__ = ["Simulated", "Simulator", "check_changes", "gas_in_turn", "message"]

log = structlog.get_logger("rebalancer.simulate")

_METHOD = "eth_simulateV1"
_LOWERED_BPS = 1
"""Sales may be smaller than planned by this much: if a price grows every second, as that of a staked dollar does, a
surplus is some millionths smaller one block later, and the vault sells what is left.
"""
_UNKNOWN_METHOD = frozenset({-32601, -32004})
"""Error codes of JSON-RPC and EIP-1474 for an unknown method."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Result of a simulated call: its revert, or None, and its return data."""

    refusal: ContractReverted | None
    returned: bytes


class Simulator:
    """Simulates on one endpoint, and remembers whether it can."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._has_simulate = True

    def logs(
        self, sender: str, to: str, data: str, gas_limit: int, before: Sequence[Mapping[str, str]] = ()
    ) -> list[Any] | None:
        """The logs of a call on the newest block's state; None if the node cannot simulate.

        `before` are calls (`message`) that run first in the same block; their results do not matter.

        Raises:
            SimulationRefused: the call would revert.
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
        """Result of the last of some calls, after the others, in one block on the newest state: the node's record, with
        `logs` and `returnData`. None if the node cannot simulate. The results of the others do not matter.

        Raises:
            SimulationRefused: the last call would revert.
        """
        done = self._attempted(messages)
        if done is None:
            return None
        why, record = done[-1]
        if why is not None:
            raise SimulationRefused(why)
        return {"returnData": "0x", **record}

    def outcomes(self, messages: Sequence[Mapping[str, str]]) -> list[Simulated] | None:
        """Results of some calls, one after another on the newest block's state; None if the node cannot simulate.

        The named senders need no keys or permission. A call that reverts changes nothing for the next one.

        Raises:
            ChainError: the node does not answer.
        """
        done = self._attempted(messages)
        if done is None:
            return None
        return [Simulated(refusal, _bytes(one.get("returnData"))) for refusal, one in done]

    def _attempted(self, messages: Sequence[Mapping[str, str]]) -> list[_Done] | None:
        """The node's result for each call; None if it cannot simulate."""
        if not self._has_simulate:
            return None
        try:
            return self._simulated(messages)
        except RpcRejected as rejection:
            self._has_simulate = rejection.code not in _UNKNOWN_METHOD
        except RpcMalformed as malformed:
            log.warning("simulation_unavailable", why=str(malformed))
        return None

    def _simulated(self, messages: Sequence[Mapping[str, str]]) -> list[_Done]:
        head = self._rpc.call("eth_getBlockByNumber", "latest", False)
        # Some nodes would use their own clock for the block's time, at which prices may be stale.
        next_second = hex(int(head["timestamp"], 16) + 1)
        request = {
            "blockStateCalls": [{"blockOverrides": {"time": next_second}, "calls": list(messages)}],
            "validation": False,
            "traceTransfers": False,
        }
        answer = self._rpc.call(_METHOD, request, "latest")
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
        """A check for the outbox: it simulates a rebalance by its sender, after other calls, and compares it with its
        plan.

        The check raises:
            SimulationRefused, SimulationDiffers: the rebalance would not do what is planned.
        """

        def check(sender: str) -> None:
            logs = self.logs(sender, vault, data, gas_limit, before)
            if logs is not None:
                check_changes(logs, vault, sales_raw, min_buys_raw, lowered_bps=_LOWERED_BPS)

        return check


_Done = tuple[ContractReverted | None, Mapping[str, Any]]


def _refusal(done: Mapping[str, Any]) -> ContractReverted | None:
    """The revert of a simulated call; None if it succeeded."""
    if int(done["status"], 16) == 1:
        return None
    # Some nodes return the revert data in the error, others in place of the result.
    error = done.get("error") or {}
    why = RpcRejected(_METHOD, 3, "reverted", _bytes(error.get("data") or done.get("returnData")))
    found = reverted(why)
    return found if isinstance(found, ContractReverted) else ContractReverted("NoReason")


def _bytes(data: Any) -> bytes:
    return bytes.fromhex(str(data or "0x").removeprefix("0x"))


def gas_in_turn(rpc: Rpc, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
    """Gas of transactions, one per block and in sequence; None if the node cannot simulate.

    Raises:
        ContractReverted: one of them would revert.
    """
    head = rpc.call("eth_getBlockByNumber", "latest", False)
    now = int(head["timestamp"], 16)
    blocks = [
        {"blockOverrides": {"time": hex(now + later)}, "calls": [message]}
        for later, message in enumerate(messages, start=1)
    ]
    request = {"blockStateCalls": blocks, "validation": False, "traceTransfers": False}
    try:
        answer = rpc.call(_METHOD, request, "latest")
        done = [block["calls"][0] for block in answer]
        found = [int(one["gasUsed"], 16) for one in done]
        failed = [one for one in done if int(one["status"], 16) != 1]
    except RpcRejected as rejection:
        log.info("simulation_unavailable", why=rejection.message)
        return None
    except (RpcMalformed, KeyError, IndexError, TypeError, ValueError):
        log.info("simulation_unavailable", why="the answer has no result")
        return None
    for one in failed:
        raise _refusal(one) or ContractReverted("NoReason")
    return found if len(found) == len(messages) else None


def message(sender: str, to: str, data: str, gas_limit: int) -> dict[str, str]:
    """A call in the format of JSON-RPC."""
    return {"from": sender, "to": to, "data": data, "gas": hex(gas_limit)}


def check_changes(
    logs: Sequence[Any], vault: str, sales_raw: Sequence[int], min_buys_raw: Sequence[int], *, lowered_bps: int = 0
) -> tuple[int, ...]:
    """Compare a vault's `Rebalanced` event with a plan: the sales, or up to `lowered_bps` less of each, and at least
    the minimum buys.

    Returns the change of each asset.

    Raises:
        SimulationDiffers: an asset changes by a different amount; without the event, all changes are 0.
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
