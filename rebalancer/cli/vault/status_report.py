"""Status of a vault as data: holdings, weights, drift, and why it does or does not trade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.cli.format import percent
from rebalancer.cli.session import Session
from rebalancer.keeper import explain
from rebalancer.operations.deploy import VaultFees
from rebalancer.oracle import Fault
from rebalancer.reasons import Reason
from rebalancer.settlement import weigh_basket, weights_e18
from rebalancer.units import E18

__all__ = ["AssetStatus", "VaultStatus", "read_status"]


@dataclass(frozen=True)
class AssetStatus:
    """Status of one asset. Amounts are raw units, prices USD times 1e18, weights and drifts fractions of 1e18.

    `price_e18` is None without a sound price of the asset; value, weight and drift are None if any asset of the basket
    has none. `target_e18` is the current target, `end_target_e18` the target after the glide. `barred`: the asset lost
    balance, and purchases are blocked. `missing_raw` is a loss that is not recorded yet. `claims_raw` is owed to former
    holders, in addition to `held_raw`.
    """

    token: str
    symbol: str
    decimals: int
    held_raw: int
    price_e18: int | None
    fault: str
    value_e18: int | None
    weight_e18: int | None
    target_e18: int
    end_target_e18: int
    band_e18: int
    min_trade_raw: int
    excluded: bool
    drift_e18: int | None
    barred: bool
    missing_raw: int
    claims_raw: int


@dataclass(frozen=True)
class VaultStatus:
    """Status of a vault. Value, share price and drift are None while a price is missing; `unknown` is the reason."""

    vault: str
    name: str
    symbol: str
    block: Block
    reason: str
    sentence: str
    unknown: str
    total_e18: int | None
    total_supply: int
    share_price_e18: int | None
    drift_bps: int | None
    slippage_limit_e18: int
    loss_left_e18: int
    turnover_left_e18: int
    epoch: int
    rebalanced_at: int
    due_since: int
    opens_at: int
    glide_end: int
    paused: bool
    fees: VaultFees
    fee_recipient: str
    fee_pending_shares: int
    assets: tuple[AssetStatus, ...]


def read_status(session: Session, address: str) -> VaultStatus:
    block = read_block(session.rpc)
    contract = contract_at(session.rpc, "BasketVault", address)
    name = contract.call("name", block=block.hash)
    (snapshot,) = read_vaults(session.rpc, session.system.lens, [address], block)
    pending, _, streaming, entry, exit_, *_ = contract.call("fee", block=block.hash)
    performance = contract.call("performance", block=block.hash)[3]
    return VaultStatus(
        vault=address,
        name=name,
        symbol=contract.call("symbol", block=block.hash),
        block=block,
        reason=snapshot.reason.value,
        sentence=_why(session, snapshot),
        unknown=_unknown(session, snapshot),
        total_e18=snapshot.total_e18 or None,
        total_supply=snapshot.total_supply,
        share_price_e18=snapshot.total_e18 * E18 // snapshot.total_supply or None,
        drift_bps=snapshot.drift_bps if snapshot.total_e18 else None,
        slippage_limit_e18=snapshot.slippage_limit_e18,
        loss_left_e18=snapshot.loss_left_e18,
        turnover_left_e18=snapshot.turnover_left_e18,
        epoch=snapshot.state.epoch,
        rebalanced_at=snapshot.state.rebalanced_at,
        due_since=snapshot.state.due_since,
        opens_at=snapshot.opens_at,
        glide_end=snapshot.basket.glide_end,
        paused=snapshot.state.paused,
        fees=VaultFees(streaming, performance, entry, exit_),
        fee_recipient=contract.call("feeRecipient", block=block.hash),
        fee_pending_shares=pending,
        assets=tuple(_assets(session, snapshot, block)),
    )


def _unknown(session: Session, snapshot: VaultSnapshot) -> str:
    """Why a vault cannot be valued; "" if it can."""
    if snapshot.total_e18:
        return ""
    basket = snapshot.basket
    faults = ", ".join(
        f"{session.symbol(asset.token)} ({Fault(price.fault).words})"
        for asset, price in zip(basket.assets, basket.prices, strict=True)
        if price.fault != Fault.NONE and not asset.excluded
    )
    return f"no sound price for {faults}" if faults else "its value is zero or too large to compute"


def _why(session: Session, snapshot: VaultSnapshot) -> str:
    if snapshot.reason is Reason.ORACLE_FAULT:
        return f"{_unknown(session, snapshot)}; `rebalancer prices` shows each source"
    if snapshot.reason is not Reason.BAND_BROKEN:
        return session.with_symbols(explain(snapshot))
    weighed = weigh_basket(snapshot.basket)
    bands_e18 = snapshot.basket.bands_e18
    assert weighed.broken is not None  # the lens reported a broken band  # noqa: S101
    asset = snapshot.basket.assets[weighed.broken]
    drift_e18 = abs(weighed.distances_e18[weighed.broken]) * E18 // weighed.total_e18
    return (
        f"{session.symbol(asset.token)} is {percent(drift_e18)} from its target, and its band is "
        f"{percent(bands_e18[weighed.broken])}; a rebalance is allowed"
    )


def _assets(session: Session, snapshot: VaultSnapshot, block: Block) -> Sequence[AssetStatus]:
    basket = snapshot.basket
    count = len(basket.assets)
    contract = contract_at(session.rpc, "BasketVault", snapshot.address).batched
    claims = session.rpc.batch(
        [contract.request("totalClaimable", asset.token, block=block.hash) for asset in basket.assets]
    )
    values: Sequence[int | None] = [None] * count
    weights: Sequence[int | None] = values
    drifts: Sequence[int | None] = values
    if snapshot.total_e18:
        weighed = weigh_basket(basket)
        values, weights = weighed.values_e18, weights_e18(weighed)
        drifts = [weight - target for weight, target in zip(weights, basket.targets_e18, strict=True)]
    return [
        AssetStatus(
            asset.token,
            session.symbol(asset.token),
            asset.decimals,
            basket.held[i],
            basket.prices[i].primary_e18 if basket.prices[i].fault == Fault.NONE else None,
            basket.prices[i].fault,
            values[i],
            weights[i],
            basket.targets_e18[i],
            asset.target_e18,
            basket.bands_e18[i],
            asset.min_trade_raw,
            asset.excluded,
            drifts[i],
            basket.is_barred(i),
            snapshot.missing_raw[i],
            contract.result("totalClaimable", claims[i]),
        )
        for i, asset in enumerate(basket.assets)
    ]
