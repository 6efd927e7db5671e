"""Cost of a transaction: its gas limit, its current cost, and whether the account can pay."""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.chain.interfaces import reverted
from rebalancer.chain.l1_fees import read_l1_fees, transaction_bytes
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import InsufficientEther, L1FeeUnknown, RpcRejected
from rebalancer.send.fees import read_market
from rebalancer.units import BPS

__all__ = ["Cost", "check_ether", "cost_now", "estimate_gas", "with_margin"]

_GAS_MARGIN_BPS = 2_500


@dataclass(frozen=True, slots=True)
class Cost:
    """Current cost of a transaction in wei: in total, and the part for the L1 data and the operator of a rollup.

    `rollup_wei` is an upper bound; 0 on a chain without such fees. It is None, and not part of `total_wei`, if the
    chain does not report them.
    """

    total_wei: int
    rollup_wei: int | None


def check_ether(rpc: Rpc, account: str, needed_wei: int) -> None:
    """Check that an account can pay.

    Raises:
        InsufficientEther: it cannot.
    """
    balance_wei = int(rpc.call("eth_getBalance", account, "latest"), 16)
    if balance_wei < needed_wei:
        raise InsufficientEther(account, needed_wei, balance_wei)


def cost_now(rpc: Rpc, gas: int, data: str) -> Cost:
    """Current cost of a transaction with some data that uses an amount of gas.

    Raises:
        As `read_market`.
    """
    price_wei = read_market(rpc).usual_price_wei
    try:
        fees = read_l1_fees(rpc)
    except L1FeeUnknown:
        return Cost(gas * price_wei, None)
    size = transaction_bytes(data)
    beside_wei = fees.beside_gas_wei(size, gas)
    return Cost(gas * price_wei + beside_wei, beside_wei + fees.is_gas * fees.data_wei(size))


def estimate_gas(
    rpc: Rpc, sender: str, to: str | None, data: str, value_wei: int = 0, margin_bps: int = _GAS_MARGIN_BPS
) -> int:
    """Gas limit for a transaction: the node's estimate with a margin, rounded down.

    The margin covers changes of state until the transaction is mined; unused gas costs nothing.

    Raises:
        ContractReverted: the transaction would revert.
    """
    message = {"from": sender, "data": data, "value": hex(value_wei)}
    if to is not None:
        message["to"] = to
    try:
        # On the mined state: nodes differ in whether they include pending transactions.
        estimate = int(rpc.call("eth_estimateGas", message, "latest"), 16)
    except RpcRejected as rejection:
        raise reverted(rejection) from None
    return with_margin(estimate, margin_bps)


def with_margin(gas: int, margin_bps: int = _GAS_MARGIN_BPS) -> int:
    """Gas limit for an estimate, rounded down."""
    return gas * (BPS + margin_bps) // BPS
