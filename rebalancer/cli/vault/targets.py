"""`rebalancer vault set-targets` and `set-bands`: targets, bands and minimum trades of a vault's assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.cli.format import console, percent, print_json
from rebalancer.cli.options import json_option, sending_options, vault_option
from rebalancer.cli.session import Session
from rebalancer.cli.vault.output import print_done, warn_of_minimums
from rebalancer.errors import AmountUnreadable, AssetCountOutOfRange, TokenNotInBasket
from rebalancer.operations import actions
from rebalancer.operations.spec import check_bands, parse_amount, parse_fraction_e18
from rebalancer.units import E18
from rebalancer.words import utc

__all__ = ["set_bands", "set_targets"]


@click.command("set-targets")
@vault_option
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="TOKEN=WEIGHT",
    help="Target weight of an asset, such as WETH=0.4 or WETH=40%. Required for every asset of the vault.",
)
@click.option(
    "--glide",
    "glide_seconds",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="Time in which the targets move linearly to the new values, in seconds. 0 applies them at once.",
)
@sending_options
@json_option
@click.pass_obj
def set_targets(
    options: Any,
    vault: str | None,
    targets: tuple[str, ...],
    glide_seconds: int,
    account: int | None,
    as_json: bool,
) -> None:
    """Set the target weights of a vault.

    An account with a delay schedules the change; after the delay, the same command applies it.
    """
    with Session.open(options) as session:
        address = session.vault(vault)
        assets = contract_at(session.rpc, "BasketVault", address).call("assets")
        tokens = [asset[0] for asset in assets]
        wanted = _by_token(session, targets, tokens, _weight_of)
        if len(wanted) != len(tokens):
            raise AssetCountOutOfRange("targets", len(wanted), len(tokens), len(tokens))
        done = actions.set_targets(session.wallet(account), address, [wanted[token] for token in tokens], glide_seconds)
        session.end_if_unsigned()
        gliding = ""
        if done.in_force and glide_seconds and not as_json:
            gliding = _gliding(session, address)
    _report_change("targets", done, as_json, gliding)


@click.command("set-bands")
@vault_option
@click.option(
    "--band",
    "bands",
    multiple=True,
    metavar="TOKEN=BPS",
    help="New absolute band of an asset, in basis points of the vault's value. May be repeated.",
)
@click.option(
    "--relative",
    "relatives",
    multiple=True,
    metavar="TOKEN=BPS",
    help="New relative band of an asset, in basis points of its target; 0 removes it. May be repeated.",
)
@click.option(
    "--min-trade",
    "minimums",
    multiple=True,
    metavar="TOKEN=AMOUNT",
    help="New minimum trade of an asset, in whole tokens. May be repeated.",
)
@sending_options
@json_option
@click.pass_obj
def set_bands(
    options: Any,
    vault: str | None,
    bands: tuple[str, ...],
    relatives: tuple[str, ...],
    minimums: tuple[str, ...],
    account: int | None,
    as_json: bool,
) -> None:
    """Change bands and minimum trades of a vault. Values that are not named do not change.

    An account with a delay schedules the change; after the delay, the same command applies it.
    """
    if not (bands or relatives or minimums):
        raise click.UsageError("Give at least one of --band, --relative and --min-trade.")
    with Session.open(options) as session:
        address = session.vault(vault)
        assets = contract_at(session.rpc, "BasketVault", address).call("assets")
        present = {asset[0]: [asset[2], asset[4], asset[5]] for asset in assets}
        for field, pairs, parse in (
            (0, bands, _bps_of),
            (1, relatives, _bps_of),
            (2, minimums, lambda token, text: parse_amount(text, session.decimals(token))),
        ):
            for token, value in _by_token(session, pairs, present, parse).items():
                present[token][field] = value
        wanted = [(band, relative, least) for band, relative, least in present.values()]
        (now,) = read_vaults(session.rpc, session.system.lens, [address], read_block(session.rpc))
        assets_then = tuple(
            replace(asset, band_bps=band, relative_band_bps=relative, min_trade_raw=least)
            for asset, (band, relative, least) in zip(now.basket.assets, wanted, strict=True)
        )
        warn_of_minimums(session, replace(now.basket, assets=assets_then), now.policy)
        symbols = [session.symbol(token) for token in present]
        check_bands(symbols, [band for band, _, _ in wanted], now.policy.dust_bps)
        done = actions.set_bands(session.wallet(account), address, wanted)
    _report_change("bands", done, as_json)


def _by_token(session: Session, pairs: Sequence[str], known: Any, parse: Any) -> dict[str, int]:
    """TOKEN=VALUE pairs by token address."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not TOKEN=VALUE.")
        token = session.token(name.strip()).address
        if token not in known:
            raise TokenNotInBasket(name, [session.symbol(one) for one in known])
        found[token] = parse(token, value)
    return found


def _weight_of(_: str, text: str) -> int:
    weight_e18 = parse_fraction_e18(text)
    if weight_e18 > E18:
        raise AmountUnreadable(text, 'give a weight of at most 1, such as "0.4" or "40%"')
    return weight_e18


def _bps_of(_: str, text: str) -> int:
    try:
        return parse_amount(text, 0)
    except AmountUnreadable:
        why = "give basis points as a whole number, such as 150 for 1.5 %"
        raise AmountUnreadable(text, why) from None


def _gliding(session: Session, vault: str) -> str:
    """The current and the final targets of a glide, in one sentence."""
    lens, block = session.system.lens, read_block(session.rpc)
    basket = read_vaults(session.rpc, lens, [vault], block)[0].basket
    moves = "; ".join(
        f"{session.symbol(asset.token)} now {percent(now_e18)}, then {percent(asset.target_e18)}"
        for asset, now_e18 in zip(basket.assets, basket.targets_e18, strict=True)
    )
    return f"The targets glide until {utc(basket.glide_end)}: {moves}."


def _report_change(what: str, done: actions.Change, as_json: bool, gliding: str = "") -> None:
    if as_json:
        print_json(done)
    elif done.in_force:
        print_done(gliding or f"The new {what} are in force.", done)
    else:
        status = "Scheduled" if done.transaction_hash else "Already scheduled"
        console().print(
            f"{status}. To set them, run the same command again after {utc(done.executable_at or 0)}, "
            "unless the guardian cancels."
        )
