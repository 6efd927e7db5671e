"""Cost of one transaction: its gas limit, what it would cost now, and whether the account can pay."""

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
    """What a transaction would cost if it were mined now, in wei: all of it, and the part of it for a rollup's data on L1 and its operator.

    `rollup_wei` is an upper bound, 0 on a chain without such fees and None where the chain does not tell: then it is not in `total_wei`.
    """

    total_wei: int
    rollup_wei: int | None


def check_ether(rpc: Rpc, account: str, needed_wei: int) -> None:
    """Make sure an account can pay.

    Raises:
        InsufficientEther: it cannot.
    """
    balance_wei = int(rpc.call("eth_getBalance", account, "latest"), 16)
    if balance_wei < needed_wei:
        raise InsufficientEther(account, needed_wei, balance_wei)


def cost_now(rpc: Rpc, gas: int, data: str) -> Cost:
    """What a transaction that uses so much gas would cost now, by its data.

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
    rpc: Rpc,
    sender: str,
    to: str | None,
    data: str,
    value_wei: int = 0,
    margin_bps: int = _GAS_MARGIN_BPS,
) -> int:
    """Gas limit for a transaction: the node's estimate and a margin, rounded down.

    The state may move before the transaction is mined; unused gas costs nothing.

    Raises:
        ContractReverted: it would be refused.
    """
    message = {"from": sender, "data": data, "value": hex(value_wei)}
    if to is not None:
        message["to"] = to
    try:
        # By what is mined: nodes differ in whether they would count what is pending.
        estimate = int(rpc.call("eth_estimateGas", message, "latest"), 16)
    except RpcRejected as rejection:
        raise reverted(rejection) from None
    return with_margin(estimate, margin_bps)


def with_margin(gas: int, margin_bps: int = _GAS_MARGIN_BPS) -> int:
    """A gas limit for what was estimated, rounded down."""
    return gas * (BPS + margin_bps) // BPS
