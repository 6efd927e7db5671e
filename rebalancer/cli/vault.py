"""`rebalancer vault`: make vaults, look at them, put tokens in and take them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.text import Text

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.receipt import NoLogs
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.cli import Group
from rebalancer.cli.preview import OnlyPreviewed, asker, show_position
from rebalancer.cli.session import (
    Session,
    account_option,
    address_option,
    json_option,
    sending_options,
    vault_option,
)
from rebalancer.cli.show import (
    NOTHING,
    WholeTable,
    amount,
    bps_text,
    console,
    pairs,
    percent,
    print_json,
    usd,
)
from rebalancer.cli.unsigned import valid_option
from rebalancer.errors import (
    AmountUnreadable,
    AssetCountOutOfRange,
    ContractReverted,
    NoShares,
    NothingToClaim,
    PolicyRefused,
    TokenNotInBasket,
)
from rebalancer.keeper import explain
from rebalancer.operations import actions
from rebalancer.operations.addresses import prove_writable
from rebalancer.operations.deploy import Fees
from rebalancer.operations.minimums import large_minimums
from rebalancer.operations.preview import Position, read_position
from rebalancer.operations.spec import (
    check_bands,
    load_vault_spec,
    parse_amount,
    parse_fraction_e18,
)
from rebalancer.oracle import Fault
from rebalancer.reasons import Reason
from rebalancer.settlement import Basket, Policy, Price, weigh_basket, weights_e18
from rebalancer.units import BPS, E18
from rebalancer.words import span, utc

__all__ = ["vault"]

SHARE_DECIMALS = 18
_FAULTS = tuple(Fault)

F = TypeVar("F", bound=Callable[..., Any])


def _slippage_option(help_text: str) -> Callable[[F], F]:
    return click.option("--slippage-bps", type=click.IntRange(0, BPS), default=50, help=help_text)


_tolerance_option = click.option(
    "--tolerance-bps",
    type=click.IntRange(0, BPS),
    default=10,
    help="By how much amounts in kind may be worse than now, in basis points.",
)


_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what it would do now, and send nothing."
)
_yes_option = click.option(
    "--yes", is_flag=True, help="Send without asking, also on a chain that is no devnet."
)


@click.group(cls=Group)
def vault() -> None:
    """Create, look at, fill and empty vaults."""


@vault.command()
@click.option(
    "--spec",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file that describes the vault, as vault.example.toml does.",
)
@sending_options
@json_option
@click.pass_obj
def create(options: Any, path: Path, account: int | None, as_json: bool) -> None:
    """Make a vault as a file describes it, seed it, and hand it to its roles.

    Anyone may. The account gives the seed and gets the first shares, but for the part that stays locked for ever.
    """
    with Session.open(options) as session:
        wallet = session.wallet(account)
        factory = contract_at(session.rpc, "VaultFactory", session.system.factory)
        spec = load_vault_spec(
            path,
            session.deployment,
            fee_recipient=wallet.address,
            salt=factory.call("vaultCount"),
        )
        if session.unsigned:
            place = actions.vault_address(wallet, session.system, spec)
            session.notes.append(
                f"The vault will be at {place}: once it is made, add that to `vaults` in the settings"
            )
        else:
            prove_writable(session.settings.deployment)
        oracle = contract_at(session.rpc, "OracleHub", session.system.oracle)
        prices = oracle.call("prices", [asset.token for asset in spec.assets])
        priced = tuple(
            Price(lo, hi, primary, _FAULTS[fault].value) for lo, hi, primary, fault in prices
        )
        basket = Basket(spec.assets, spec.seed_amounts, priced, dust_bps=spec.policy.dust_bps)
        _warn_of_minimums(session, basket, spec.policy)
        made = actions.new_vault(wallet, session.system, spec)
        session.end_if_unsigned()
        session.save(session.deployment.with_vault(made.vault))
    if as_json:
        print_json(made)
        return
    out = console()
    out.print(Text.assemble("Made the vault ", (spec.name, "bold"), f" at {made.vault}."))
    out.print(
        f"{wallet.address} has {amount(made.shares, SHARE_DECIMALS)} {spec.symbol}; "
        f"{session.settings.deployment} names the vault now."
    )


def _warn_of_minimums(session: Session, basket: Basket, policy: Policy) -> None:
    """Say on standard error which minimum trades are larger than what the vault will have to trade."""
    with suppress(PolicyRefused):  # without a sound price nobody knows
        for one in large_minimums(basket, policy):
            asset = basket.assets[one.asset]
            text = one.sentence(session.symbol(asset.token), asset.decimals)
            click.echo(f"Warning: {text}.", err=True)


# Looking


@dataclass(frozen=True)
class _AssetStatus:
    """One asset, for programs; its value, weight and drift are None while its basket has no sound price, `price_e18` while it has none
    itself.

    `target_e18` is where the target is now, `end_target_e18` where it is once its glide is over. `barred`: it lost balance, and may
    not be bought; `missing_raw` is a loss that is not written down yet; `claims_raw` is owed to who redeemed, beside `held_raw`.
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
class _Status:
    """A vault, for programs. Worth, price of a share and drift are None while it cannot be weighed; `unknown` says why, else is ""."""

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
    fees: Fees
    fee_recipient: str
    fee_pending_shares: int
    assets: tuple[_AssetStatus, ...]


@vault.command()
@vault_option
@json_option
@click.pass_obj
def status(options: Any, vault: str | None, as_json: bool) -> None:
    """Show what a vault holds, how far it is from its targets, and why it does or does not trade."""
    with Session.open(options) as session:
        found = _read_status(session, session.vault(vault))
    if as_json:
        print_json(found)
    else:
        _show_status(found)


def _read_status(session: Session, address: str) -> _Status:
    block = read_block(session.rpc)
    contract = contract_at(session.rpc, "BasketVault", address)
    name = contract.call("name", block=block.hash)
    (snapshot,) = read_vaults(session.rpc, session.system.lens, [address], block)
    pending, _, streaming, entry, exit_, *_ = contract.call("fee", block=block.hash)
    performance = contract.call("performance", block=block.hash)[3]
    return _Status(
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
        fees=Fees(streaming, performance, entry, exit_),
        fee_recipient=contract.call("feeRecipient", block=block.hash),
        fee_pending_shares=pending,
        assets=tuple(_assets(session, snapshot, block)),
    )


def _unknown(session: Session, snapshot: VaultSnapshot) -> str:
    """Why a vault cannot be weighed; "" where it can be."""
    if snapshot.total_e18:
        return ""
    basket = snapshot.basket
    faults = ", ".join(
        f"{session.symbol(asset.token)} ({Fault(price.fault).words})"
        for asset, price in zip(basket.assets, basket.prices, strict=True)
        if price.fault != Fault.NONE and not asset.excluded
    )
    return f"no sound price for {faults}" if faults else "worth nothing, or too much to compute"


def _why(session: Session, snapshot: VaultSnapshot) -> str:
    if snapshot.reason is Reason.ORACLE_FAULT:
        return f"{_unknown(session, snapshot)}; `rebalancer prices` shows each source"
    if snapshot.reason is not Reason.BAND_BROKEN:
        return session.with_symbols(explain(snapshot))
    weighed = weigh_basket(snapshot.basket)
    bands_e18 = snapshot.basket.bands_e18
    assert weighed.broken is not None  # that is what the lens says  # noqa: S101
    asset = snapshot.basket.assets[weighed.broken]
    drift_e18 = abs(weighed.distances_e18[weighed.broken]) * E18 // weighed.total_e18
    return (
        f"{session.symbol(asset.token)} is {percent(drift_e18)} from its target and may be "
        f"{percent(bands_e18[weighed.broken])}; a rebalance may run"
    )


def _assets(session: Session, snapshot: VaultSnapshot, block: Block) -> Sequence[_AssetStatus]:
    basket = snapshot.basket
    count = len(basket.assets)
    contract = contract_at(session.rpc, "BasketVault", snapshot.address).batched
    claims = session.rpc.batch(
        [
            contract.request("totalClaimable", asset.token, block=block.hash)
            for asset in basket.assets
        ]
    )
    values: Sequence[int | None] = [None] * count
    weights: Sequence[int | None] = values
    drifts: Sequence[int | None] = values
    if snapshot.total_e18:
        weighed = weigh_basket(basket)
        values, weights = weighed.values_e18, weights_e18(weighed)
        drifts = [
            weight - target for weight, target in zip(weights, basket.targets_e18, strict=True)
        ]
    return [
        _AssetStatus(
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


def _show_status(found: _Status) -> None:
    table = WholeTable(title=f"{found.name} ({found.symbol})", title_justify="left")
    table.add_column("asset")
    for heading in ("held", "price", "value", "weight", "target", "band", "drift"):
        table.add_column(heading, justify="right")
    for asset in found.assets:
        held = amount(asset.held_raw, asset.decimals, 8)
        if asset.excluded:
            table.add_row(asset.symbol, held, Text("excluded", style="yellow"), *[NOTHING] * 5)
            continue
        sound = asset.value_e18 is not None
        table.add_row(
            asset.symbol,
            held,
            Text(asset.fault, style="red") if asset.price_e18 is None else usd(asset.price_e18),
            usd(asset.value_e18 or 0) if sound else NOTHING,
            percent(asset.weight_e18 or 0) if sound else NOTHING,
            _target(asset),
            f"± {percent(asset.band_e18)}",
            _drift(asset.drift_e18, asset.band_e18),
        )
    out = console()
    out.print(table)
    for asset in found.assets:
        for note in _losses(asset):
            out.print(note)
    colours = {"InBand": "green", "BandBroken": "yellow", "CalendarDue": "yellow"}
    colour = colours.get(found.reason, "red")
    out.print(Text.assemble((found.reason, colour), f": {found.sentence}."))
    gliding = found.block.timestamp < found.glide_end
    lines = (
        ("vault", found.vault),
        ("worth", _worth(found)),
        ("supply", f"{amount(found.total_supply, SHARE_DECIMALS, 6)} {found.symbol}"),
        ("slippage allowed now", percent(found.slippage_limit_e18)),
        ("loss budget left", f"{percent(found.loss_left_e18)} of the basket"),
        ("turnover budget left", f"{percent(found.turnover_left_e18)} of the basket"),
        ("epoch", f"{found.epoch} rebalances and changes of the configuration"),
        ("targets glide until", _moment(found.block, found.glide_end) if gliding else ""),
        ("due since", _moment(found.block, found.due_since)),
        ("open to anyone from", _moment(found.block, found.opens_at)),
        ("fees", f"{_fees(found.fees)}, to {found.fee_recipient}"),
        ("block", f"{found.block.number} ({found.block.hash})"),
    )
    rows = pairs()
    for label, value in lines:
        if value:
            rows.add_row(Text(label, style="dim"), value)
    out.print(rows)


def _worth(found: _Status) -> str | Text:
    if found.total_e18 is None or found.share_price_e18 is None:
        return Text.assemble(("unknown", "red"), f": {found.unknown}")
    return f"{usd(found.total_e18)}, {usd(found.share_price_e18, 6)} a share"


def _losses(asset: _AssetStatus) -> Iterator[Text]:
    """What holders must know of an asset beside what is held of it."""
    if asset.missing_raw:
        missing = f"{amount(asset.missing_raw, asset.decimals)} {asset.symbol}"
        why = f"{missing} are missing: `rebalancer vault sync` writes the loss down."
        yield Text(why, style="red")
    if asset.barred:
        why = f"{asset.symbol} lost balance and may not be bought until the owner allows it."
        yield Text(why, style="red")
    if asset.claims_raw:
        claims = f"{amount(asset.claims_raw, asset.decimals)} {asset.symbol}"
        why = f"{claims} are owed to who redeemed: `rebalancer vault claim` pays them."
        yield Text(why, style="yellow")


def _target(asset: _AssetStatus) -> str:
    """Where the target is, and where it glides to."""
    if asset.target_e18 == asset.end_target_e18:
        return percent(asset.target_e18)
    return f"{percent(asset.target_e18)} → {percent(asset.end_target_e18)}"


def _moment(block: Block, at: int) -> str:
    """A time, and how far it is from the block; nothing for none."""
    if at == 0:
        return ""
    seconds = at - block.timestamp
    when = f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
    return f"{utc(at)} ({when})"


def _fees(fees: Fees) -> str:
    parts = [f"{bps_text(fees.streaming_bps)} a year"]
    for bps, what in (
        (fees.performance_bps, "of gains"),
        (fees.entry_bps, "on entry"),
        (fees.exit_bps, "on exit"),
    ):
        if bps:
            parts.append(f"{bps_text(bps)} {what}")
    return ", ".join(parts)


def _drift(drift_e18: int | None, band_e18: int) -> str | Text:
    if drift_e18 is None:
        return NOTHING
    outside = abs(drift_e18) > band_e18
    style = "yellow" if outside else "green"
    return Text(percent(drift_e18, plus=True), style=style)


# In and out


@vault.command()
@vault_option
@click.option("--shares", help="In kind: how many shares to mint, as a decimal number.")
@click.option(
    "--token", help="Through the zap: the token to pay with, by symbol or address, or ETH."
)
@click.option(
    "--amount",
    "paid",
    help="At most how much of --token, in whole tokens, as a decimal number; or max for all there is, but of ether what the gas may cost.",
)
@_slippage_option(
    "How much worse than now the pools may become, in basis points; what is not needed for it comes back."
)
@_tolerance_option
@_dry_run_option
@_yes_option
@valid_option
@sending_options
@json_option
@click.pass_obj
def deposit(
    options: Any,
    vault: str | None,
    shares: str | None,
    token: str | None,
    paid: str | None,
    slippage_bps: int,
    tolerance_bps: int,
    dry_run: bool,
    yes: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Put tokens in and get shares: every asset in kind (--shares), or one token (--token, --amount).

    Shows what it would do, and asks before it sends anything on a chain that is no devnet.
    """
    if (shares is None) == (token is None) or (token is None) != (paid is None):
        raise click.UsageError("Say either --shares N, or --token SYMBOL and --amount X.")
    with suppress(OnlyPreviewed), Session.open(options) as session:
        wallet, address = session.wallet(account, signs=not dry_run), session.vault(vault)
        ask = asker(session, dry_run, yes, as_json)
        if shares is not None:
            minted = parse_amount(shares, SHARE_DECIMALS)
            in_kind = actions.deposit_in_kind(wallet, address, minted, tolerance_bps, ask)
            session.end_if_unsigned()
            if as_json:
                print_json(in_kind)
                return
            given = _in_kind(session, address, in_kind.amounts)
            _tell(f"Minted {amount(in_kind.shares, SHARE_DECIMALS)} shares for {given}.", in_kind)
            return
        known = session.token(str(token))
        zapped = actions.deposit_token(
            wallet,
            session.system,
            address,
            known.address,
            None if paid == "max" else parse_amount(str(paid), known.decimals),
            session.pools(read_block(session.rpc)),
            slippage_bps,
            ask,
        )
        session.end_if_unsigned()
        if as_json:
            print_json(zapped)
            return
        _tell(
            f"Minted {amount(zapped.shares, SHARE_DECIMALS)} shares for "
            f"{amount(zapped.amount_raw, known.decimals)} {known.symbol}"
            f"{_returned(session, zapped.returned)}.",
            zapped,
        )


@vault.command()
@vault_option
@click.option("--shares", help="How many shares to redeem, as a decimal number.")
@click.option("--all", "everything", is_flag=True, help="All shares the account has.")
@click.option(
    "--token",
    show_default="every asset in kind",
    help="Through the zap: the one token to get, by symbol or address, or ETH.",
)
@_slippage_option("With --token: how much less than now promised may come out, in basis points.")
@_tolerance_option
@_dry_run_option
@_yes_option
@valid_option
@sending_options
@json_option
@click.pass_obj
def withdraw(
    options: Any,
    vault: str | None,
    shares: str | None,
    everything: bool,
    token: str | None,
    slippage_bps: int,
    tolerance_bps: int,
    dry_run: bool,
    yes: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Give shares back and get tokens: every asset in kind, or all in one token (--token).

    Shows what it would do, and asks before it sends anything on a chain that is no devnet. In kind works whatever happens to prices,
    roles or exchanges; an asset that cannot be sent becomes a claim, which `rebalancer vault claim` collects.
    """
    if (shares is None) != everything:
        raise click.UsageError("Say either --shares N or --all.")
    with suppress(OnlyPreviewed), Session.open(options) as session:
        wallet, address = session.wallet(account, signs=not dry_run), session.vault(vault)
        ask = asker(session, dry_run, yes, as_json)
        redeemed = (
            contract_at(session.rpc, "BasketVault", address).call("balanceOf", wallet.address)
            if shares is None
            else parse_amount(shares, SHARE_DECIMALS)
        )
        if everything and not redeemed:
            raise NoShares(wallet.address, address)
        if token is None:
            in_kind = actions.withdraw_in_kind(wallet, address, redeemed, tolerance_bps, ask)
            session.end_if_unsigned()
            if as_json:
                print_json(in_kind)
                return
            got = _in_kind(session, address, in_kind.sent)
            _tell(f"Redeemed {amount(redeemed, SHARE_DECIMALS)} shares for {got}.", in_kind)
            for claimed, raw in in_kind.claims.items():
                owed = f"{amount(raw, session.decimals(claimed))} {session.symbol(claimed)}"
                console().print(
                    f"{owed} could not be sent, and wait for `rebalancer vault claim`.",
                    style="yellow",
                )
            return
        known = session.token(token)
        zapped = actions.withdraw_token(
            wallet,
            session.system,
            address,
            known.address,
            redeemed,
            session.pools(read_block(session.rpc)),
            slippage_bps,
            ask,
        )
        session.end_if_unsigned()
        if as_json:
            print_json(zapped)
            return
        _tell(
            f"Redeemed {amount(redeemed, SHARE_DECIMALS)} shares for "
            f"{amount(zapped.amount_raw, known.decimals)} {known.symbol}"
            f"{_returned(session, zapped.returned)}.",
            zapped,
        )


@vault.command()
@vault_option
@address_option("--address", "Whose shares and claims to show.", "the account")
@account_option
@json_option
@click.pass_obj
def position(
    options: Any, vault: str | None, address: str | None, account: int | None, as_json: bool
) -> None:
    """Show what an account owns of a vault: shares, what they redeem for in kind, their worth, and claims. Needs no key."""
    with Session.open(options) as session:
        holder = address or session.onlooker(session.settings.wallet, account).address
        found = _position(session, session.vault(vault), holder)
        if as_json:
            print_json(found)
        else:
            show_position(session, found)


def _position(session: Session, vault: str, holder: str) -> Position:
    others = [token.address for token in session.deployment.tokens]
    return read_position(session.rpc, vault, holder, others)


@vault.command()
@vault_option
@click.option(
    "--token",
    show_default="all that are owed",
    help="The token to collect, by symbol or address.",
)
@click.option(
    "--amount",
    "wanted",
    show_default="all",
    help="With --token: at most how much of it, in whole tokens, as a decimal number.",
)
@address_option(
    "--holder", "Whose claim it is; anyone may have it paid to its holder.", "the account"
)
@address_option(
    "--receiver", "Who gets the token; the holder alone may name another.", "the holder"
)
@sending_options
@json_option
@click.pass_obj
def claim(
    options: Any,
    vault: str | None,
    token: str | None,
    wanted: str | None,
    holder: str | None,
    receiver: str | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Collect tokens that could not be sent when shares were redeemed; `rebalancer vault position` lists them.

    A token that still cannot be sent holds up no other; the command then ends with that token's error.
    """
    if token is None and wanted is not None:
        raise click.UsageError("Say with --token what --amount is of.")
    with Session.open(options) as session:
        wallet, address = session.wallet(account), session.vault(vault)
        known = None if token is None else session.token(token)
        if known is None:
            owed = list(_position(session, address, holder or wallet.address).claims_raw)
            if not owed:
                raise NothingToClaim(holder or wallet.address, "any token")
        else:
            owed = [known.address]
        most = None if known is None or wanted is None else parse_amount(wanted, known.decimals)
        claimed, refusals = [], []
        for each in owed:
            try:
                one = actions.claim(
                    wallet, address, each, holder=holder, receiver=receiver, amount_raw=most
                )
                claimed.append(one)
            except ContractReverted as refused:
                refusals.append(refused)
            except NoLogs:
                continue  # it is written down
        session.notes += [
            f"A claim is left out, as it would be refused now: {str(one).rstrip('.')}"
            for one in refusals
        ]
        session.end_if_unsigned()
        if as_json:
            if token is None or claimed:
                print_json(claimed if token is None else claimed[0])
        else:
            for one in claimed:
                symbol, decimals = session.symbol(one.token), session.decimals(one.token)
                collected = f"{amount(one.amount_raw, decimals)} {symbol}"
                _tell(f"Collected {collected} for {one.receiver}.", one)
        if refusals:
            raise refusals[0]


@vault.command()
@vault_option
@click.option("--token", required=True, help="The token that lost balance, by symbol or address.")
@sending_options
@json_option
@click.pass_obj
def sync(options: Any, vault: str | None, token: str, account: int | None, as_json: bool) -> None:
    """Write a loss of a token down: holdings and open claims shrink alike. Anyone may; a keeper does it by itself.

    A loss of more than dust bars buying the token and pauses trading, until the owner calls allowPurchases
    and resumeRebalance (`rebalancer admin call`).
    """
    with Session.open(options) as session:
        known = session.token(token)
        written = actions.sync(session.wallet(account), session.vault(vault), known.address)
    if as_json:
        print_json(written)
        return
    lost = f"{amount(written.lost_raw, known.decimals)} {known.symbol}"
    barred = " It may not be bought now, and trading is paused." if written.is_barred else ""
    _tell(f"Wrote a loss of {lost} down.{barred}", written)


# Targets


@vault.command("set-targets")
@vault_option
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="TOKEN=WEIGHT",
    help='One for each asset: a symbol or address, and "0.4" or "40%".',
)
@click.option(
    "--glide",
    "glide_seconds",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How long the targets take to move there, in a straight line; 0 for at once.",
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
    """Move the targets of a vault.

    Who has to wait schedules them; the same command again, once the delay is over, sets them.
    """
    with Session.open(options) as session:
        address = session.vault(vault)
        assets = contract_at(session.rpc, "BasketVault", address).call("assets")
        tokens = [asset[0] for asset in assets]
        wanted = _by_token(session, targets, tokens, _weight_of)
        if len(wanted) != len(tokens):
            raise AssetCountOutOfRange("targets", len(wanted), len(tokens), len(tokens))
        done = actions.set_targets(
            session.wallet(account), address, [wanted[token] for token in tokens], glide_seconds
        )
        session.end_if_unsigned()
        gliding = ""
        if done.in_force and glide_seconds and not as_json:
            gliding = _gliding(session, address)
    _tell_change("targets", done, as_json, gliding)


@vault.command("set-bands")
@vault_option
@click.option(
    "--band",
    "bands",
    multiple=True,
    metavar="TOKEN=BPS",
    help="A band to change, in basis points of the basket.",
)
@click.option(
    "--relative",
    "relatives",
    multiple=True,
    metavar="TOKEN=BPS",
    help="A relative band to change, in basis points of the target; 0 for none.",
)
@click.option(
    "--min-trade",
    "minimums",
    multiple=True,
    metavar="TOKEN=AMOUNT",
    help="A minimum trade to change, in whole tokens.",
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
    """Change bands and minimum trades of a vault; what is not named stays.

    Who has to wait schedules them; the same command again, once the delay is over, sets them.
    """
    if not (bands or relatives or minimums):
        raise click.UsageError("Say what to change: --band, --relative or --min-trade.")
    with Session.open(options) as session:
        address = session.vault(vault)
        assets = contract_at(session.rpc, "BasketVault", address).call("assets")
        present = {asset[0]: [asset[2], asset[4], asset[5]] for asset in assets}
        for place, pairs, parse in (
            (0, bands, _bps_of),
            (1, relatives, _bps_of),
            (2, minimums, lambda token, text: parse_amount(text, session.decimals(token))),
        ):
            for token, value in _by_token(session, pairs, present, parse).items():
                present[token][place] = value
        wanted = [(band, relative, least) for band, relative, least in present.values()]
        (now,) = read_vaults(session.rpc, session.system.lens, [address], read_block(session.rpc))
        assets_then = tuple(
            replace(asset, band_bps=band, relative_band_bps=relative, min_trade_raw=least)
            for asset, (band, relative, least) in zip(now.basket.assets, wanted, strict=True)
        )
        _warn_of_minimums(session, replace(now.basket, assets=assets_then), now.policy)
        symbols = [session.symbol(token) for token in present]
        check_bands(symbols, [band for band, _, _ in wanted], now.policy.dust_bps)
        done = actions.set_bands(session.wallet(account), address, wanted)
    _tell_change("bands", done, as_json)


def _bps_of(_: str, text: str) -> int:
    try:
        return parse_amount(text, 0)
    except AmountUnreadable:
        why = "basis points are a whole number, such as 150 for 1.5 %"
        raise AmountUnreadable(text, why) from None


def _weight_of(_: str, text: str) -> int:
    weight_e18 = parse_fraction_e18(text)
    if weight_e18 > E18:
        raise AmountUnreadable(text, 'a weight is at most 1, such as "0.4" or "40%"')
    return weight_e18


def _gliding(session: Session, vault: str) -> str:
    """Where targets that glide are now, and where they will be."""
    lens, block = session.system.lens, read_block(session.rpc)
    basket = read_vaults(session.rpc, lens, [vault], block)[0].basket
    moves = "; ".join(
        f"{session.symbol(asset.token)} now {percent(now_e18)}, then {percent(asset.target_e18)}"
        for asset, now_e18 in zip(basket.assets, basket.targets_e18, strict=True)
    )
    return f"The targets glide until {utc(basket.glide_end)}: {moves}."


def _tell_change(what: str, done: actions.Change, as_json: bool, gliding: str = "") -> None:
    if as_json:
        print_json(done)
    elif done.in_force:
        _tell(gliding or f"The new {what} are in force.", done)
    else:
        said = "Scheduled" if done.transaction_hash else "Scheduled before"
        console().print(
            f"{said}: the same command sets them from {utc(done.executable_at or 0)} on, "
            "unless the guardian cancels."
        )


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


def _in_kind(session: Session, vault: str, amounts: Sequence[int]) -> str:
    assets = contract_at(session.rpc, "BasketVault", vault).call("assets")
    return ", ".join(
        f"{amount(raw, asset[3])} {session.symbol(asset[0])}"
        for asset, raw in zip(assets, amounts, strict=True)
    )


def _returned(session: Session, returned: Any) -> str:
    if not returned:
        return ""
    back = ", ".join(
        f"{amount(raw, session.decimals(token))} {session.symbol(token)}"
        for token, raw in returned.items()
    )
    return f"; {back} came back"


def _tell(what: str, done: Any) -> None:
    console().print(what)
    console().print(f"transaction {done.transaction_hash}, gas {done.gas_used:,}", style="dim")
