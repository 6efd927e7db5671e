"""Conditions of a tick: the gas price, the fees for L1 data, and the price of the native token."""

from __future__ import annotations

import math
import time

import structlog

from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.l1_fees import NO_L1_FEES, L1Fees, read_l1_fees
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractMissing, ContractReverted, L1FeeUnknown
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Conditions
from rebalancer.send.fees import read_market

__all__ = ["ConditionsReader"]

log = structlog.get_logger("rebalancer.keeper")

_NATIVE_PRICE_SECONDS = 60.0


class ConditionsReader:
    """Reads the conditions of one chain. The price of the native token is read once a minute. Not thread-safe."""

    def __init__(self, rpc: Rpc, context: KeeperContext) -> None:
        self._rpc = rpc
        self._context = context
        self._native_price_e18, self._native_price_at = 0, -math.inf
        self._l1_unknown = False

    def read(self, block: Block, configured_price_e18: int) -> Conditions:
        """The conditions at a block. `configured_price_e18` is the price of the native token where the oracle has none.

        Raises:
            ChainError: the chain could not be read.
        """
        l1_fees = self._l1_fees(block)
        return Conditions(
            read_market(self._rpc).usual_price_wei + l1_fees.operator_wei_per_gas,
            self._context.wrapped_native,
            self._price_e18(block, configured_price_e18),
            *l1_fees.line_wei,
        )

    def _price_e18(self, block: Block, configured_price_e18: int) -> int:
        if not self._context.wrapped_native:
            return 0
        if time.monotonic() - self._native_price_at < _NATIVE_PRICE_SECONDS:
            return self._native_price_e18
        hub = interface("OracleHub").at(self._context.system.oracle)
        found = 0
        try:
            ((_, _, primary_e18, fault),) = hub.call(
                self._rpc, "prices", [self._context.wrapped_native], block=block.hash
            )
            found = 0 if fault else primary_e18
        except (ContractReverted, ContractMissing):
            pass
        if not found and not configured_price_e18 and self._native_price_at == -math.inf:
            log.warning("gas_price_unknown", token=self._context.wrapped_native)
        self._native_price_e18 = found or configured_price_e18
        self._native_price_at = time.monotonic()
        return self._native_price_e18

    def _l1_fees(self, block: Block) -> L1Fees:
        """Fees for L1 data. Where the chain does not report them, they count as 0 here, and `Outbox.submit` sends
        nothing."""
        try:
            found = read_l1_fees(self._rpc, block.number)
        except L1FeeUnknown as unknown:
            if not self._l1_unknown:
                log.warning("l1_fee_unknown", why=str(unknown))
            self._l1_unknown = True
            return NO_L1_FEES
        self._l1_unknown = False
        return found
