"""Unsigned calls, recorded for an account whose key is elsewhere, such as a Safe.

A `CallRecorder` takes the place of a `Wallet`. It needs no key and sends nothing. Each call is simulated on the newest
block, after the calls recorded before it; a call that would revert raises an error. A call that AccessManager permits
only after a delay is kept apart, with its operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from rebalancer.abi import Function, Interface, decode_logs
from rebalancer.block import Block
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface, named_arguments, reverted
from rebalancer.chain.receipt import NoLogs, Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import ContractMissing, ContractReverted, NotByContract, RpcRejected, SimulationRefused
from rebalancer.send.costs import check_ether
from rebalancer.send.signed import Signer
from rebalancer.send.simulate import Simulator
from rebalancer.send.wallet import Wallet

__all__ = ["CallOperation", "CallRecorder", "Reading", "UnsignedCall", "read_call"]

_READABLE = (
    *("BasketVault", "OracleHub", "AccessManager", "VaultFactory", "VaultRoles", "Zap"),
    *("KeeperGate", "IERC20Metadata"),
)
"""Contracts whose functions are recognised; a signature means the same in all of them."""

_SCHEDULES_SLOT = 2
"""AccessManager's `_schedules`, a mapping of operations to a time (48 bits) and a count (32 bits above), in
OpenZeppelin 5."""

_DELEGATION = "0xef0100"
"""Code of an account with a key that delegates to a contract (EIP-7702): it pays its own gas."""

SUCCEEDS = "succeeds"
_NOT_TRIED = "not simulated: the node cannot"


@dataclass(frozen=True, slots=True)
class Reading:
    """Decoded call data: the function's signature and its arguments by name, including those of structs."""

    contract: str
    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallOperation:
    """Operation of the AccessManager that a call schedules or executes. Instants are unix seconds.

    Before it is scheduled, `earliest_at` assumes that the scheduling is mined in the next block; None if the node
    cannot simulate.
    """

    id: str
    is_scheduled: bool
    earliest_at: int | None
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class UnsignedCall:
    """A call to send. `outcome` is the result of its simulation: success, the revert, or that the node cannot
    simulate."""

    to: str
    value_wei: int
    data: str
    reading: Reading | None
    operation: CallOperation | None
    outcome: str


class CallRecorder(Wallet):
    """A wallet that records what it would send.

    `now` has the calls that can be executed at once, in order; `then` those that wait for their operation.
    """

    def __init__(self, rpc: Rpc, who: Signer, fee_cap_wei: int, deadline_seconds: int) -> None:
        super().__init__(rpc, who, fee_cap_wei)
        self.deadline_seconds = deadline_seconds
        code = str(rpc.call("eth_getCode", who.address, "latest")).lower()
        self.has_code = code != "0x"
        self.pays_gas = not self.has_code or code.startswith(_DELEGATION)
        self.now: list[UnsignedCall] = []
        self.then: list[UnsignedCall] = []
        self._simulator = Simulator(rpc)

    def transact(self, contract: BoundContract, function: str, *args: Any, value_wei: int = 0) -> Receipt:
        """Record a call, and the call that it schedules.

        Raises:
            As `send`.
        """
        receipt = super().transact(contract, function, *args, value_wei=value_wei)
        if contract.name == "AccessManager" and function == "schedule":
            target, data, _ = args
            events = decode_logs(receipt.logs, contract.interface)
            at = next((e.values["schedule"] for e in events if e.name == "OperationScheduled"), None)
            operation = self._operation(contract, target, data, at, is_scheduled=False)
            first = self.now[-1]
            self.now[-1] = UnsignedCall(first.to, first.value_wei, first.data, first.reading, operation, first.outcome)
            self._note(contract, target, "0x" + data.hex(), operation)
        return receipt

    def send(self, to: str | None, data: str = "0x", *, value_wei: int = 0, what: str = "a transaction") -> Receipt:
        """Record a call, and return a receipt with its simulated logs; without logs if the node cannot simulate.

        Raises:
            ContractReverted: the call would revert now, after the calls recorded before.
            InsufficientEther: the account does not have the ether that the call sends.
            NotByContract: it is a deployment.
        """
        if to is None:
            raise NotByContract(f"the {what}", "deploy with an account that has a key")
        check_ether(self.rpc, self.address, value_wei)
        message = self._message(to, data, value_wei)
        logs = self._try(message)
        outcome = _NOT_TRIED if logs is None else SUCCEEDS
        self.now.append(UnsignedCall(to.lower(), value_wei, data, read_call(data), None, outcome))
        block = read_block(self.rpc)
        return Receipt("", block.number, block.hash, 0, None, tuple(logs or ()), 0, True)

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        """Read from a contract as it would be after the recorded calls.

        Raises:
            NoLogs: the node cannot simulate.
            As `BoundContract.call`.
        """
        if not self.now:
            return super().read(contract, function, *args)
        requested = self._message(contract.address, contract.data(function, *args), 0)
        try:
            done = self._simulator.last_of([*self._messages(), requested])
        except SimulationRefused as refused:
            raise refused.refusal from None
        if done is None:
            raise NoLogs
        return contract.batched.result(function, done["returnData"])

    def later(self, target: str, data: str, executable_at: int) -> bool:
        """Record a call that is scheduled and not due yet."""
        manager = self._authority(target)
        raw = bytes.fromhex(data.removeprefix("0x"))
        operation = self._operation(manager, target, raw, executable_at, is_scheduled=True)
        self._note(manager, target, data, operation)
        return True

    def block(self) -> Block:
        """The newest block, on which calls are simulated."""
        return read_block(self.rpc)

    def _note(self, manager: BoundContract, target: str, data: str, operation: CallOperation) -> None:
        outcome = self._try_when_due(manager, target, data, operation)
        self.then.append(UnsignedCall(target.lower(), 0, data, read_call(data), operation, outcome))

    def _message(self, to: str, data: str, value_wei: int) -> dict[str, str]:
        return {"from": self.address, "to": to, "data": data, "value": hex(value_wei)}

    def _messages(self) -> list[dict[str, str]]:
        return [self._message(call.to, call.data, call.value_wei) for call in self.now]

    def _try(self, message: Mapping[str, str]) -> Sequence[Any] | None:
        """The logs of a call; None if the node cannot simulate, () if it only confirms success."""
        try:
            done = self._simulator.last_of([*self._messages(), message])
        except SimulationRefused as refused:
            raise refused.refusal from None
        if done is not None:
            return list(done["logs"])
        if self.now:
            return None  # it may depend on earlier calls, which only eth_simulateV1 can execute first
        try:
            self.rpc.call("eth_call", message, "latest")
        except RpcRejected as rejection:
            raise reverted(rejection) from None
        return ()

    def _try_when_due(self, manager: BoundContract, target: str, data: str, operation: CallOperation) -> str:
        """Outcome of a call if its delay were over now: simulated with the operation's time changed to the newest
        block's."""
        key = bytes.fromhex(operation.id.removeprefix("0x")) + _SCHEDULES_SLOT.to_bytes(32)
        schedule = (1 << 48) + self.block().timestamp
        changed = {"0x" + keccak(key).hex(): "0x" + schedule.to_bytes(32).hex()}
        try:
            self.rpc.call(
                "eth_call", self._message(target, data, 0), "latest", {manager.address: {"stateDiff": changed}}
            )
        except RpcRejected as rejection:
            refusal = reverted(rejection)
            if not isinstance(refusal, ContractReverted):
                return _NOT_TRIED
            return "would revert now: " + str(refusal).rstrip(".")
        return SUCCEEDS

    def _operation(
        self, manager: BoundContract, target: str, data: bytes, at: int | None, *, is_scheduled: bool
    ) -> CallOperation:
        found = manager.call("hashOperation", self.address, target, data)
        lasts = manager.call("expiration")
        return CallOperation("0x" + found.hex(), is_scheduled, at, None if at is None else at + lasts)

    def _authority(self, target: str) -> BoundContract:
        """The AccessManager of a contract, which may be the contract itself."""
        try:
            found = contract_at(self.rpc, "OracleHub", target).call("authority")
        except (ContractMissing, ContractReverted):
            found = target
        return contract_at(self.rpc, "AccessManager", str(found))


def read_call(data: str) -> Reading | None:
    """A decoded call of one of the system's contracts, or of a token; None for other calls. A call inside it is decoded
    too."""
    for name in _READABLE:
        known = interface(name)
        for function in known.functions.values():
            if function.is_called_by(data):
                return Reading(name, function.signature, _arguments(known, function, data))
    return None


def _arguments(known: Interface, function: Function, data: str) -> dict[str, Any]:
    found = named_arguments(known, function, data)
    inner = found.get("data")
    if known.name == "AccessManager" and isinstance(inner, bytes):
        found["data"] = read_call("0x" + inner.hex()) or inner
    return found
