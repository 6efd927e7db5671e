"""`rebalancer plan`: the trades that the keeper would make now, with cost and reason, as tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.cli.decision_json import decision_as_json
from rebalancer.cli.format import (
    NOTHING,
    WholeTable,
    amount,
    bps_text,
    console,
    percent,
    print_json,
    usd,
)
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.options import account_option, json_option, vault_option
from rebalancer.cli.session import Session
from rebalancer.cli.tuning import RunOptions, keeper_options
from rebalancer.keeper import Decision, Keeper, KeeperContext
from rebalancer.plan import Plan
from rebalancer.settlement import Settlement
from rebalancer.units import BPS, E18

__all__ = ["plan"]


@click.command()
@vault_option
@account_option
@json_option
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw the token flows to this .png or .svg file.",
)
@click.pass_obj
def plan(options: Any, vault: str | None, account: int | None, as_json: bool, picture: Path | None) -> None:
    """Show the trades that the keeper would make now, their cost, and the reason. Sends nothing."""
    if picture is not None:
        from rebalancer.lab.chart import check_chart  # matplotlib loads slowly

        check_chart(picture)
    with Session.open(options) as session:
        address = session.vault(vault)
        set_up_logs(session.settings.model_copy(update={"log_level": "warning"}))
        keeper = Keeper(
            session.rpc,
            KeeperContext.of(session.deployment, [address]),
            [session.observer(session.settings.keeper, account)],
            None,
            keeper_options(session.settings, RunOptions(dry_run=True)),
        )
        (decision,) = keeper.tick()
        if as_json:
            print_json(decision_as_json(decision))
        else:
            _show(session, decision)
        if picture is not None:
            _draw(decision, picture, quiet=as_json)


def _draw(decision: Decision, picture: Path, *, quiet: bool) -> None:
    """The picture of the plan, if there is one."""
    if decision.plan is None:
        if not quiet:
            console().print("There is no plan to draw.")
        return
    from rebalancer.lab.flow_chart import flow_chart  # matplotlib loads slowly

    path = flow_chart(decision.plan, picture)
    if not quiet:
        console().print(f"The picture was written to {path}.")


def _show(session: Session, decision: Decision) -> None:
    out = console()
    text = session.with_symbols(decision.text).rstrip(".")
    out.print(Text.assemble((decision.reason.value, "bold"), f": {text}."))
    out.print(f"block {decision.block.number}, vault {decision.vault}", style="dim")
    found, snapshot = decision.plan, decision.snapshot
    if found is None or snapshot is None:
        return
    out.print(_trades(session, snapshot, found))
    out.print(_swaps(found))
    out.print(_costs(snapshot, found))
    if found.settlement is not None:
        out.print(_checks(snapshot, found, found.settlement))
    out.print(
        f"The best possible plan over the pools that are worth their gas is better by at most "
        f"{_part(found.certificate.gap)} ({_part(found.certificate.gap_before_rounding)} before rounding)."
    )


def _part(part: float) -> str:
    return f"{part:.1e} of the value sold" if part else "0"


def _checks(snapshot: VaultSnapshot, found: Plan, after: Settlement) -> WholeTable:
    """Results of the vault's own checks after the plan, and their limits."""
    table = WholeTable(title="Checks of the vault", title_justify="left")
    for heading in ("check", "now", "after", "limit"):
        table.add_column(heading, justify="left" if heading == "check" else "right")
    policy = snapshot.policy
    lost_e18 = after.loss_e18 * E18 // after.sold_e18
    table.add_row("loss", "", percent(lost_e18, 4), percent(after.slippage_limit_e18))
    drift = [bps_text(weighed.drift_bps) for weighed in (after.before, after.after)]
    table.add_row("largest drift", *drift, "")
    loss, turnover = policy.loss_budget_bps, policy.turnover_budget_bps
    for name, left_e18, level_e18, budget_bps in (
        ("loss budget", snapshot.loss_left_e18, after.state.loss_level_e18, loss),
        ("turnover budget", snapshot.turnover_left_e18, after.state.turnover_level_e18, turnover),
    ):
        spent_e18 = max(0, budget_bps * (E18 // BPS) - left_e18)
        cells = [percent(spent_e18), percent(level_e18)]
        bound = " (limits this plan)" if (found.bound_by or "-") in name else ""
        table.add_row(Text.assemble(name, (bound, "yellow")), *cells, bps_text(budget_bps))
    return table


def _trades(session: Session, snapshot: VaultSnapshot, found: Plan) -> WholeTable:
    table = WholeTable(title="Trades", title_justify="left")
    for heading in ("asset", "sold", "bought", "minimum bought"):
        table.add_column(heading, justify="left" if heading == "asset" else "right")
    for i, asset in enumerate(snapshot.basket.assets):
        cells = (found.sales_raw[i], found.expected_buys_raw[i], found.min_buys_raw[i])
        table.add_row(
            session.symbol(asset.token),
            *(amount(raw, asset.decimals, 8) if raw else "" for raw in cells),
        )
    return table


def _swaps(found: Plan) -> WholeTable:
    table = WholeTable(title="Route", title_justify="left")
    for heading in ("pool", "fee", "in", "share", "out", "cost"):
        table.add_column(heading, justify="left" if heading == "pool" else "right")
    for swap, share, cost in zip(found.swaps, found.shares, found.swap_costs, strict=True):
        units = {token.address: token for token in swap.pool.tokens}
        given, got = units[swap.token_in], units[swap.token_out]
        table.add_row(
            swap.pool.key,
            f"{swap.pool.fee_pips / 10_000:g} %",
            f"{amount(swap.amount_in_raw, given.decimals, 8)} {given.symbol}",
            f"{share * 100:.1f} %",
            f"{amount(swap.amount_out_raw, got.decimals, 8)} {got.symbol}",
            usd(cost.fee_e18 + cost.impact_e18),
        )
    return table


def _costs(snapshot: VaultSnapshot, found: Plan) -> WholeTable:
    sold_e18 = sum(
        raw * price // unit
        for raw, price, unit in zip(found.sales_raw, snapshot.basket.prices_e18, snapshot.basket.units, strict=True)
    )
    table = WholeTable(title="Cost by cause", title_justify="left")
    table.caption = f"The keeper accepts a cost of at most {usd(found.worth_e18)} for this rebalance."
    table.caption_justify = "left"
    for heading in ("cause", "cost", "of value sold"):
        table.add_column(heading, justify="left" if heading == "cause" else "right")
    for cause, cost_e18 in (
        ("pool fees", found.cost.fee_e18),
        ("price impact", found.cost.impact_e18),
        ("gas", found.cost.gas_e18),
        *((("L1 data", found.cost.l1_e18),) if found.cost.l1_e18 else ()),
        ("tip", found.cost.tip_e18),
        ("total", found.cost.total_e18),
    ):
        part = percent(cost_e18 * E18 // sold_e18, 4) if sold_e18 else NOTHING
        table.add_row(cause, usd(cost_e18), part)
    return table
