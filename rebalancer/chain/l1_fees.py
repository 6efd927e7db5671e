"""Rollup fees for a transaction's L1 data and for the operator, read from the chain.

An OP-stack chain charges them in addition to gas, and no field of a transaction limits them. Its predeploy
GasPriceOracle returns both: `getL1FeeUpperBound` of a size (since Fjord; before that `getL1Fee` of bytes), and
`getOperatorFee` of an amount of gas (since Isthmus). An Arbitrum chain counts the data as gas, so it is part of
`eth_estimateGas` and of the gas used. Its NodeInterface, which only `eth_call` reaches, returns this part, a tenth
above the charge.

Both fees are linear in the size of the transaction, so reads of two sizes suffice. The reads use incompressible data:
no transaction of that size costs more. Sources: GasPriceOracle.sol and the specifications of Fjord, Isthmus and Jovian
(ethereum-optimism), NodeInterface.go and docs/arbos/gas.md (OffchainLabs/nitro).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import median_high
from typing import Any
from weakref import WeakKeyDictionary

from eth_utils.crypto import keccak

from rebalancer.abi import Call
from rebalancer.chain.interfaces import ChainInterface
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, ContractMissing, ContractReverted, L1FeeUnknown, RpcRejected
from rebalancer.units import div_up

__all__ = [
    "GAS_PRICE_ORACLE",
    "NODE_INTERFACE",
    "NO_L1_FEES",
    "L1Fees",
    "Rollup",
    "known_rollup",
    "read_l1_fees",
    "transaction_bytes",
]

GAS_PRICE_ORACLE = "0x420000000000000000000000000000000000000f"
NODE_INTERFACE = "0x00000000000000000000000000000000000000c8"
_ARB_SYS = "0x0000000000000000000000000000000000000064"
"""A precompile that has code on every Arbitrum chain; NodeInterface has no code."""

_ENVELOPE_BYTES = 110
"""Maximum size of an EIP-1559 transaction without data and signature, with each field at its maximum length here."""
_SMALL_BYTES, _LARGE_BYTES = 100, 2_100
_MILLION = 10**6
_RECIPIENT = "0x000000000000000000000000000000000000dead"
"""Recipient in the request to NodeInterface; any address gives the same answer."""


class Rollup(StrEnum):
    """Kind of chain, which determines how L1 fees are read."""

    NONE = "none"
    OP_STACK = "OP stack"
    ARBITRUM = "Arbitrum"


_KNOWN_CHAINS = {
    **dict.fromkeys((10, 130, 480, 8453, 34443, 57073, 84532, 7777777, 11155420), Rollup.OP_STACK),
    **dict.fromkeys((42161, 42170, 421614), Rollup.ARBITRUM),
}
"""Chains that certainly have such fees, even if an endpoint returns no code. Other chains are recognized by their
code."""


@dataclass(frozen=True, slots=True)
class L1Fees:
    """Fees at one block, in wei: for data a fixed part and a part for each byte above `_SMALL_BYTES`, and the
    operator's fee.

    `is_gas`: the data is charged as part of the gas, not in addition to it.
    """

    is_gas: bool = False
    least_wei: int = 0
    wei_per_byte: int = 0
    operator_wei: int = 0
    operator_wei_per_million_gas: int = 0

    def data_wei(self, size_bytes: int) -> int:
        """Maximum cost of a transaction's data, by its size without the signature."""
        return self.least_wei + self.wei_per_byte * max(0, size_bytes - _SMALL_BYTES)

    def operator_fee_wei(self, gas: int) -> int:
        """The operator's fee for a transaction, rounded up."""
        return self.operator_wei + div_up(gas * self.operator_wei_per_million_gas, _MILLION)

    def beside_gas_wei(self, size_bytes: int, gas: int) -> int:
        """Maximum cost of a transaction in addition to its gas."""
        return (0 if self.is_gas else self.data_wei(size_bytes)) + self.operator_fee_wei(gas)

    @property
    def operator_wei_per_gas(self) -> int:
        """The operator's fee per unit of gas, rounded up."""
        return div_up(self.operator_wei_per_million_gas, _MILLION)

    @property
    def line_wei(self) -> tuple[int, int]:
        """Cost of a transaction without gas, as a line: the fixed part, which may be negative, and the part per
        byte."""
        fixed_wei = self.least_wei - _SMALL_BYTES * self.wei_per_byte + self.operator_wei
        return fixed_wei, self.wei_per_byte


NO_L1_FEES = L1Fees()


@dataclass
class _Known:
    """What was read from an endpoint: the kind of chain, and its fees at a height."""

    rollup: Rollup
    height: int | None = None
    fees: L1Fees = NO_L1_FEES


_KNOWN: WeakKeyDictionary[Rpc, _Known] = WeakKeyDictionary()


def transaction_bytes(data: str) -> int:
    """Maximum size of a transaction without its signature, by its data (0x and digits)."""
    return _ENVELOPE_BYTES + (len(data) - len("0x")) // 2


def known_rollup(rpc: Rpc) -> Rollup:
    """The kind of chain that `read_l1_fees` has found, `Rollup.NONE` before its first call. Makes no request."""
    known = _KNOWN.get(rpc)
    return known.rollup if known else Rollup.NONE


def read_l1_fees(rpc: Rpc, height: int | None = None) -> L1Fees:
    """Current fees of a chain in addition to a transaction's own gas, or for its data within the gas.

    With `height`, the newest block, fees are read once per block. If a quorum is set, that number of endpoints is read,
    and the median of each field is used (the higher of two).

    Raises:
        L1FeeUnknown: the chain charges such fees, but does not return their amount.
        ChainError: no endpoint answers.
    """
    known = _KNOWN.get(rpc)
    if known is not None:
        if known.rollup is Rollup.NONE:
            return NO_L1_FEES
        if height is not None and known.height == height:
            return known.fees
    found: list[_Known] = []
    failure: ChainError | L1FeeUnknown | None = None
    for voter in rpc.voters():
        try:
            found.append(_read(voter))
            if len(found) == rpc.votes:
                break
        except (ChainError, L1FeeUnknown) as lost:
            failure = lost
    if not found:
        raise failure or L1FeeUnknown(_chain_id(rpc), "no endpoint was read")
    rollup = max((one.rollup for one in found), key=[one.rollup for one in found].count)
    each = [one.fees for one in found if one.rollup is rollup]
    fees = L1Fees(
        each[0].is_gas,
        *(
            median_high(getattr(one, name) for one in each)
            for name in (*("least_wei", "wei_per_byte"), *("operator_wei", "operator_wei_per_million_gas"))
        ),
    )
    _KNOWN[rpc] = _Known(rollup, height, fees)
    return fees


def _chain_id(rpc: Rpc) -> int:
    return rpc.expected_chain_id or rpc.chain_id()


def _read(rpc: Rpc) -> _Known:
    """Fees from one endpoint."""
    known = _KNOWN.get(rpc)
    rollup = known.rollup if known else _rollup(rpc)
    match rollup:
        case Rollup.OP_STACK:
            return _Known(rollup, fees=_read_oracle(rpc))
        case Rollup.ARBITRUM:
            return _Known(rollup, fees=_read_node_interface(rpc))
        case _:
            return _Known(rollup)


def _rollup(rpc: Rpc) -> Rollup:
    """The kind of chain that an endpoint serves, from the code at the addresses that rollups reserve."""
    listed = _KNOWN_CHAINS.get(_chain_id(rpc))
    if listed:
        return listed
    oracle, arb_sys = (
        code not in ("0x", "0x0")
        for code in rpc.batch([("eth_getCode", (address, "latest")) for address in (GAS_PRICE_ORACLE, _ARB_SYS)])
    )
    return Rollup.OP_STACK if oracle else Rollup.ARBITRUM if arb_sys else Rollup.NONE


def _line(small_wei: int, large_wei: int, *, is_gas: bool = False) -> L1Fees:
    wei_per_byte = div_up(max(0, large_wei - small_wei), _LARGE_BYTES - _SMALL_BYTES)
    # Fees rise in steps of a byte; the line through two samples must lie above all of them.
    return L1Fees(is_gas, small_wei + wei_per_byte, wei_per_byte)


def _read_oracle(rpc: Rpc) -> L1Fees:
    """Fees from an OP-stack chain's GasPriceOracle."""
    calls = [
        *(_ORACLE.request("getL1FeeUpperBound", size) for size in (_SMALL_BYTES, _LARGE_BYTES)),
        *(_ORACLE.request("getOperatorFee", gas) for gas in (0, _MILLION)),
    ]
    *answers, operator, operator_million = rpc.batch_settled(calls)
    bounds = [_reported("getL1FeeUpperBound", answer) for answer in answers]
    if any(isinstance(bound, str) for bound in bounds):
        # The function does not exist before Fjord.
        requested = [_noise(size) for size in (_SMALL_BYTES, _LARGE_BYTES)]
        answers = rpc.batch_settled([_ORACLE.request("getL1Fee", data) for data in requested])
        bounds = [_reported("getL1Fee", answer) for answer in answers]
    fees = _line(*_numbers(rpc, bounds))
    if _has_no_such(operator) and _has_no_such(operator_million):
        return fees  # an oracle before Isthmus, which has no operator fee
    fixed_wei, million_wei = _numbers(
        rpc, [_reported("getOperatorFee", answer) for answer in (operator, operator_million)]
    )
    return L1Fees(False, fees.least_wei, fees.wei_per_byte, fixed_wei, max(0, million_wei - fixed_wei))


def _read_node_interface(rpc: Rpc) -> L1Fees:
    """Fees from an Arbitrum node's NodeInterface: gas for L1 times the base fee it was computed with."""
    requested: list[Call] = [
        _NODE.request("gasEstimateL1Component", _RECIPIENT, False, _noise(size))
        for size in (_SMALL_BYTES, _LARGE_BYTES)
    ]
    found = [_reported("gasEstimateL1Component", answer) for answer in rpc.batch_settled(requested)]
    return _line(*_numbers(rpc, found), is_gas=True)


def _reported(function: str, answer: Any) -> int | str:
    """The fee in an answer, in wei, or the reason why there is no fee."""
    contract = _NODE if function == "gasEstimateL1Component" else _ORACLE
    try:
        answer_values = contract.result(function, answer)
    except (ContractReverted, ContractMissing, RpcRejected) as refusal:
        return str(refusal)
    if function == "gasEstimateL1Component":
        gas, base_fee_wei, _ = answer_values
        return int(gas * base_fee_wei)
    return int(answer_values)


def _has_no_such(answer: Any) -> bool:
    """Whether a contract has no such function: it reverts without data, or returns nothing."""
    try:
        _ORACLE.result("getOperatorFee", answer)
    except ContractReverted as refusal:
        return refusal.error == "NoReason"
    except ContractMissing:
        return True
    except RpcRejected:
        return False
    return False


def _numbers(rpc: Rpc, answer_values: Sequence[int | str]) -> tuple[int, int]:
    """Both fees.

    Raises:
        L1FeeUnknown: one of them could not be read.
    """
    numbers = [one for one in answer_values if isinstance(one, int)]
    if len(numbers) != len(answer_values):
        why = next(one for one in answer_values if isinstance(one, str))
        raise L1FeeUnknown(_chain_id(rpc), why)
    small, large = numbers
    return small, large


@cache
def _noise(size: int) -> bytes:
    """Incompressible bytes."""
    return b"".join(keccak(number.to_bytes(4)) for number in range(-(-size // 32)))[:size]


def _numbered(kind: str, *names: str) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name in names]


_ORACLE = ChainInterface.of(
    "GasPriceOracle",
    [
        {"name": name, "inputs": _numbered(given, "amount"), "outputs": _numbered("uint256", "wei")}
        for name, given in (("getL1FeeUpperBound", "uint256"), ("getL1Fee", "bytes"), ("getOperatorFee", "uint256"))
    ],
).at(GAS_PRICE_ORACLE)
_NODE = ChainInterface.of(
    "NodeInterface",
    [
        {
            "name": "gasEstimateL1Component",
            "inputs": [
                *_numbered("address", "to"),
                *_numbered("bool", "contractCreation"),
                *_numbered("bytes", "data"),
            ],
            "outputs": [
                *_numbered("uint64", "gasEstimateForL1"),
                *_numbered("uint256", "baseFee", "l1BaseFeeEstimate"),
            ],
        }
    ],
).at(NODE_INTERFACE)
