"""Vault snapshots at one block.

Everything is read by block hash, so a reorg fails the read and two chains are never mixed. One call of VaultLens
returns any number of vaults, packed in 32-byte words; the header of contracts/VaultLens.sol describes the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import RpcMalformed
from rebalancer.oracle import Fault
from rebalancer.reasons import LENS_REASONS, Reason
from rebalancer.settlement import Asset, Basket, Policy, Price, State

__all__ = ["VaultSnapshot", "decode_vaults", "read_block", "read_vaults"]

_WORD = 32
_HEAD_WORDS = 33
_ASSET_WORDS = 20
_POLICY_AT = 20
_FAULTS = tuple(Fault)
"""IOracleHub.Fault, by number."""


@dataclass(frozen=True, slots=True)
class VaultSnapshot:
    """A vault at one block, as returned by VaultLens. Values are USD times 1e18, fractions are of 1e18, `sales_allowed`
    is in raw units.

    `opens_at` is the unix time from which anyone may rebalance, or 0; `distance_e18` is measured to the destination;
    `missing_raw` is the amount of each asset that the ledger and the open claims require but the vault does not hold.
    """

    address: str
    reason: Reason
    basket: Basket
    policy: Policy
    state: State
    total_supply: int
    loss_left_e18: int
    turnover_left_e18: int
    slippage_limit_e18: int
    opens_at: int
    total_e18: int
    distance_e18: int
    need_e18: int
    drift_bps: int
    sales_allowed: tuple[int, ...]
    missing_raw: tuple[int, ...] = ()


def read_block(rpc: Rpc, block: int | str = "latest") -> Block:
    """The block of that number or tag.

    Raises:
        RpcMalformed: there is no such block.
    """
    tag = hex(block) if isinstance(block, int) else block
    header = rpc.call("eth_getBlockByNumber", tag, False)
    if not isinstance(header, dict):
        raise RpcMalformed(rpc.endpoint, f"there is no block {block}")
    return Block(int(header["number"], 16), header["hash"], int(header["timestamp"], 16))


def read_vaults(rpc: Rpc, lens: str, vaults: Sequence[str], block: Block) -> tuple[VaultSnapshot, ...]:
    """Vaults at a block, in the order given.

    Raises:
        ContractReverted: the lens reverted, because an address is not a vault or a vault is in the middle of a call.
        ContractMissing: there is no lens at that address.
    """
    packed = interface("VaultLens").at(lens).call(rpc, "read", list(vaults), block=block.hash)
    return decode_vaults(packed, block.timestamp)


def decode_vaults(packed: bytes, timestamp: int) -> tuple[VaultSnapshot, ...]:
    """Snapshots from the result of VaultLens.read at a block with this timestamp."""
    words = [int.from_bytes(packed[at : at + _WORD]) for at in range(0, len(packed), _WORD)]
    snapshots = []
    at = 0
    while at < len(words):
        snapshots.append(_vault(words, at, timestamp))
        at += _HEAD_WORDS + _ASSET_WORDS * words[at + 1]
    return tuple(snapshots)


def _vault(words: Sequence[int], at: int, timestamp: int) -> VaultSnapshot:
    (address, count, reason, total_supply) = words[at : at + 4]
    (epoch, rebalanced_at, due_since, paused) = words[at + 4 : at + 8]
    (loss_level, turnover_level, loss_left, turnover_left) = words[at + 8 : at + 12]
    (slippage_limit, opens_at, glide_start, glide_end) = words[at + 12 : at + 16]
    (total, distance, need, drift) = words[at + 16 : at + 20]
    policy = Policy(*words[at + _POLICY_AT : at + _HEAD_WORDS])
    assets, held, prices, sales = [], [], [], []
    barred, missing = [], []
    for i in range(count):
        a = at + _HEAD_WORDS + _ASSET_WORDS * i
        token, decimals, target, start_target, _ = words[a : a + 5]
        band, relative_band, min_trade, excluded = words[a + 5 : a + 9]
        amount, lo, hi, primary, fault = words[a + 9 : a + 14]
        assets.append(
            Asset(_address(token), target, band, decimals, relative_band, min_trade, start_target, bool(excluded))
        )
        held.append(amount)
        prices.append(Price(lo, hi, primary, _FAULTS[fault].value))
        sales.append(words[a + 17])
        barred.append(bool(words[a + 18]))
        missing.append(words[a + 19])
    return VaultSnapshot(
        address=_address(address),
        reason=LENS_REASONS[reason],
        basket=Basket(
            tuple(assets), tuple(held), tuple(prices), glide_start, glide_end, timestamp, policy.dust_bps, tuple(barred)
        ),
        policy=policy,
        state=State(loss_level, turnover_level, rebalanced_at, due_since, epoch, bool(paused)),
        total_supply=total_supply,
        loss_left_e18=loss_left,
        turnover_left_e18=turnover_left,
        slippage_limit_e18=slippage_limit,
        opens_at=opens_at,
        total_e18=total,
        distance_e18=distance,
        need_e18=need,
        drift_bps=drift,
        sales_allowed=tuple(sales),
        missing_raw=tuple(missing),
    )


def _address(word: int) -> str:
    return "0x" + word.to_bytes(20).hex()
