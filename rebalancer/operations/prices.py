"""Readings of the OracleHub: the price of a token from each source, their divergence, and faults, at one block.

`rebalancer prices` and `rebalancer doctor` use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.price_sources import word_of
from rebalancer.chain.rpc import Rpc
from rebalancer.oracle import Fault, divergence_bps

__all__ = ["PriceReading", "read_prices"]

_FAULTS = tuple(Fault)


@dataclass(frozen=True, slots=True)
class PriceReading:
    """A token's price from its feed and from its second source, in USD times 1e18; 0 if there is none.

    `fault` is that of the price that vaults use, `primary_fault` and `second_fault` those of each source. `quote` is
    the token that the feed answers in, None for USD. `kind` names the adapter that reads the feed, None for a plain
    feed; `second` names the second source, None if there is none. `divergence_bps` is None unless both sources are
    sound, `max_divergence_bps` is None without a second source.
    """

    token: str
    fault: Fault
    lo_e18: int
    hi_e18: int
    primary_e18: int
    primary_fault: Fault
    quote: str | None
    kind: str | None
    second: str | None
    second_e18: int
    second_fault: Fault
    divergence_bps: int | None
    max_divergence_bps: int | None

    @property
    def sentence(self) -> str:
        """The state of the price as text: `sound`, or the fault and its source."""
        if self.fault is Fault.SECOND_UNSOUND:
            return f"{self.fault.words}: {self.second_fault.words}"
        if self.fault is Fault.DIVERGED:
            return (
                f"its two sources differ by {self.divergence_bps} bps, and the limit is {self.max_divergence_bps} bps"
            )
        return self.fault.words


def read_prices(
    rpc: Rpc, oracle: str, tokens: Sequence[str], block: Block, contracts: Mapping[str, str]
) -> tuple[PriceReading, ...]:
    """Readings of tokens at a block, in the order of `tokens`.

    `contracts` (name → address) are those of the addresses file; an adapter that is not among them is named by its
    address.

    Raises:
        ContractMissing: there is no OracleHub at the address.
    """
    hub = contract_at(rpc, "OracleHub", oracle)
    prices = hub.call("prices", list(tokens), block=block.hash)
    found = []
    for token, (lo, hi, _, fault) in zip(tokens, prices, strict=True):
        primary, second = hub.call("readings", token, block=block.hash)
        adapter, _, limit, *_ = hub.call("sourceOf", token, block=block.hash)
        feed, *_, quote, params = hub.call("feedOf", token, block=block.hash)
        checked = bool(int(adapter, 16))
        both = checked and primary[1] == second[1] == 0
        found.append(
            PriceReading(
                token,
                _FAULTS[fault],
                lo,
                hi,
                primary[0],
                _FAULTS[primary[1]],
                quote if int(quote, 16) else None,
                word_of(feed, contracts) if params else None,
                word_of(adapter, contracts) if checked else None,
                second[0],
                _FAULTS[second[1]],
                divergence_bps(primary[0], second[0]) if both else None,
                limit if checked else None,
            )
        )
    return tuple(found)
