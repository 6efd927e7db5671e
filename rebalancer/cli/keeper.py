"""`rebalancer keeper` rebalances, `rebalancer plan` shows what it would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import structlog
from rich.text import Text

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.cli import Group
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.session import (
    Session,
    account_option,
    json_option,
    read_chains,
    vault_option,
)
from rebalancer.cli.show import (
    NOTHING,
    WholeTable,
    amount,
    bps_text,
    console,
    percent,
    plain,
    print_json,
    usd,
)
from rebalancer.config import Settings, changed, value_of
from rebalancer.errors import ConfigError
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperOptions,
    Site,
    Watcher,
)
from rebalancer.keeper.machine import Tuning
from rebalancer.keeper.recording import Recorder
from rebalancer.keeper.station import Station
from rebalancer.plan import Plan
from rebalancer.send.from_settings import lane_of, max_spend_per_day_wei, outbox_of, rules_of
from rebalancer.send.signed import Signer
from rebalancer.settlement import Settlement
from rebalancer.units import BPS, E18
from rebalancer.watch import watchers_of

__all__ = ["keeper", "plan"]

log = structlog.get_logger("rebalancer.keeper")


@click.group(cls=Group)
def keeper() -> None:
    """Rebalance a vault whenever it needs it."""


@keeper.command()
@vault_option
@click.option("--once", is_flag=True, help="Look once, act if needed, and end.")
@click.option("--dry-run", is_flag=True, help="Decide and simulate, but send nothing.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.01, max=3_600),
    show_default="from the settings",
    help="Pause between two looks at the newest block.",
)
@account_option
@json_option
@click.pass_obj
def run(
    options: Any,
    vault: str | None,
    once: bool,
    dry_run: bool,
    poll_seconds: float | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Look at every new block, and rebalance when a weight has left its band.

    Without --vault, all vaults that the settings or the addresses file name. The first Ctrl-C lets the present look finish, a second
    one abandons it. Ends with 0 when stopped, 130 when abandoned, 20 to 23 when it stopped itself, and another code when it could not
    begin. Logs go to standard error; --json prints one line on standard output for each decision.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    told = _print_line if as_json else None
    asked = _Asked(vault, account, dry_run, poll_seconds)
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(noting_the_outbox())
        if once:
            for settings in chains:
                with ExitStack() as opened:
                    machine = _opened(settings, asked, opened, ())
                    machine.start()
                    for decision in machine.tick():
                        if told:
                            told(decision)
            return
        asked = replace(asked, waits=False, alone=len(chains) == 1)
        watchers = stack.enter_context(watchers_of(*chains))
        watchers += [stack.enter_context(recorder) for recorder in _recorders(chains)]
        Station(
            {settings.chain_id: partial(_opened, settings, asked) for settings in chains},
            watchers,
            on_decision=told,
            reload=partial(_reloaded, options, asked, {each.chain_id: each for each in chains}),
        ).run()


@contextmanager
def noting_the_outbox() -> Iterator[None]:
    """Within it, whoever abandons the looks under way is told what becomes of what was sent."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(
            "What was sent stands in the outbox (`rebalancer tx list`); the next start settles it."
        )
        raise


def _recorders(chains: Sequence[Settings]) -> list[Recorder]:
    """One for each file that is named, of the chains that name it."""
    chain_ids: dict[Path, list[int]] = {}
    for settings in chains:
        if settings.keeper.record is not None:
            chain_ids.setdefault(settings.keeper.record, []).append(settings.chain_id)
    return [Recorder(path, some) for path, some in chain_ids.items()]


@dataclass(frozen=True)
class _Asked:
    """What the command line says of a run. `waits`: whether a look waits for what it sent; `alone`: whether there is no other chain."""

    vault: str | None = None
    account: int | None = None
    dry_run: bool = False
    poll_seconds: float | None = None
    waits: bool = True
    alone: bool = True


def _opened(
    settings: Settings, asked: _Asked, stack: ExitStack, watchers: Sequence[Watcher]
) -> Keeper:
    """The keeper of one chain; what is to be closed after it is on the stack."""
    session = stack.enter_context(Session(settings))
    vaults = session.vaults(asked.vault)
    outbox = None if asked.dry_run else stack.enter_context(outbox_of(settings))
    signers: list[Signer] = [session.onlooker(settings.keeper, asked.account)]
    if not asked.dry_run:
        accounts = session.keepers(asked.account)
        signers = [lane_of(signer, settings, vaults) for signer in accounts]
    site, tuning = Site.of(session.deployment, vaults), _tuning(settings, asked)
    evaluator = Evaluator(session.rpc, site, tuning.evaluation)
    stack.callback(evaluator.close)
    return Keeper(
        session.rpc,
        site,
        signers,
        outbox,
        tuning.options,
        evaluator=evaluator,
        watchers=watchers,
    )


def _tuning(settings: Settings, asked: _Asked) -> Tuning:
    return Tuning(
        _options(settings, asked),
        rules_of(settings),
        EvaluatorOptions(replan_blocks=settings.keeper.replan_blocks),
        max_spend_per_day_wei(settings),
    )


def _reloaded(options: Any, asked: _Asked, running: dict[int, Settings]) -> Mapping[int, Tuning]:
    """What the settings say now, of the chains that run; what is wrong with them, or waits for a restart, is logged."""
    try:
        found = {settings.chain_id: settings for settings in read_chains(options)}
    except ConfigError as wrong:
        log.error("settings_refused", why=str(wrong))
        return {}
    tunings = {}
    for chain_id, before in running.items():
        after = found.get(chain_id)
        if after is None:
            log.warning("restart_needed", chain_id=chain_id, why="the chain is not in the settings")
            continue
        differing = changed(before, after)
        waiting = [setting.name for setting in differing if not setting.live]
        if waiting:
            log.warning("restart_needed", chain_id=chain_id, settings=waiting)
        for setting in differing:
            if setting.live:
                values = [str(value_of(each, setting.name)) for each in (before, after)]
                told = {"setting": setting.name, "before": values[0], "after": values[1]}
                log.info("setting_changed", chain_id=chain_id, **told)
        if any(setting.live for setting in differing):
            set_up_logs(after, *found.values())
            tunings[chain_id] = _tuning(after, asked)
            running[chain_id] = after
    for chain_id in found.keys() - running.keys():
        log.warning("restart_needed", chain_id=chain_id, why="the chain is new in the settings")
    return tunings


def _options(settings: Settings, asked: _Asked) -> KeeperOptions:
    keeper, socket = settings.keeper, settings.rpc_socket_url
    return KeeperOptions(
        dry_run=asked.dry_run,
        poll_seconds=asked.poll_seconds or keeper.poll_seconds,
        max_failures_in_a_row=keeper.max_failures_in_a_row,
        gives_up=asked.alone,
        rest_seconds=keeper.rest_seconds,
        fee_cap_wei=keeper.fee_cap_wei,
        receipt_seconds=keeper.receipt_timeout_seconds if asked.waits else 0,
        native_price_e18=int((keeper.native_price_usd or 0) * E18),
        look_seconds=keeper.look_timeout_seconds,
        socket_url=socket.get_secret_value() if socket else None,
    )


@click.command()
@vault_option
@account_option
@json_option
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the flows between tokens to this .png or .svg file, too.",
)
@click.pass_obj
def plan(
    options: Any, vault: str | None, account: int | None, as_json: bool, picture: Path | None
) -> None:
    """Show what the keeper would do now, and what that would cost and why. Sends nothing."""
    if picture is not None:
        from rebalancer.lab.chart import check_chart  # matplotlib takes its time to load

        check_chart(picture)
    with Session.open(options) as session:
        address = session.vault(vault)
        set_up_logs(session.settings.model_copy(update={"log_level": "warning"}))
        machine = Keeper(
            session.rpc,
            Site.of(session.deployment, [address]),
            [session.onlooker(session.settings.keeper, account)],
            None,
            _options(session.settings, _Asked(dry_run=True)),
        )
        (decision,) = machine.tick()
        if as_json:
            print_json(_as_json(decision))
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
    from rebalancer.lab.flows import flow_chart  # matplotlib takes its time to load

    path = flow_chart(decision.plan, picture)
    if not quiet:
        console().print(f"Drawn to {path}.")


# Showing


def _print_line(decision: Decision) -> None:
    import json

    click.echo(json.dumps(plain(_as_json(decision))))


def _as_json(decision: Decision) -> Mapping[str, Any]:
    """A decision, for programs."""
    snapshot, found = decision.snapshot, decision.plan
    return {
        "vault": decision.vault,
        "block": decision.block,
        "reason": decision.reason,
        "sentence": decision.text,
        "epoch": decision.epoch,
        "drift_bps": decision.drift_bps,
        "kind": decision.kind,
        "tokens": [asset.token for asset in snapshot.basket.assets] if snapshot else None,
        "plan": found and _plan_as_json(found),
        "transaction_hash": decision.transaction_hash,
    }


def _plan_as_json(found: Plan) -> Mapping[str, Any]:
    """A plan, for programs."""
    after, certificate = found.settlement, found.certificate
    return {
        "sales_raw": found.sales_raw,
        "expected_buys_raw": found.expected_buys_raw,
        "min_buys_raw": found.min_buys_raw,
        "bound_by": found.bound_by,
        "was_cut": found.was_cut,
        "worth_e18": found.worth_e18,
        "cost": {
            "fee_e18": found.cost.fee_e18,
            "impact_e18": found.cost.impact_e18,
            "gas_e18": found.cost.gas_e18,
            "l1_e18": found.cost.l1_e18,
            "tip_e18": found.cost.tip_e18,
            "total_e18": found.cost.total_e18,
        },
        "legs": [
            {
                "pool": leg.pool.key,
                "token_in": leg.token_in,
                "token_out": leg.token_out,
                "amount_in_raw": leg.amount_in_raw,
                "amount_out_raw": leg.amount_out_raw,
                "share": share,
                "fee_e18": cost.fee_e18,
                "impact_e18": cost.impact_e18,
                "gas_e18": cost.gas_e18,
            }
            for leg, share, cost in zip(found.legs, found.shares, found.leg_costs, strict=True)
        ],
        "certificate": {
            "value_e18": certificate.value_e18,
            "bound_e18": certificate.bound_e18,
            "all_pools_bound_e18": certificate.all_pools_bound_e18,
            "gap_before_rounding": certificate.gap_before_rounding,
            "gap": certificate.gap,
        },
        "settlement": after
        and {
            "held": after.held,
            "sold_e18": after.sold_e18,
            "bought_e18": after.bought_e18,
            "loss_e18": after.loss_e18,
            "slippage_limit_e18": after.slippage_limit_e18,
            "drift_before_bps": after.before.drift_bps,
            "drift_after_bps": after.after.drift_bps,
            "loss_level_e18": after.state.loss_level_e18,
            "turnover_level_e18": after.state.turnover_level_e18,
        },
        "route": found.route,
    }


def _show(session: Session, decision: Decision) -> None:
    out = console()
    text = session.with_symbols(decision.text).rstrip(".")
    out.print(Text.assemble((decision.reason.value, "bold"), f": {text}."))
    out.print(f"block {decision.block.number}, vault {decision.vault}", style="dim")
    found, snapshot = decision.plan, decision.snapshot
    if found is None or snapshot is None:
        return
    out.print(_trades(session, snapshot, found))
    out.print(_legs(found))
    out.print(_costs(snapshot, found))
    if found.settlement is not None:
        out.print(_checks(snapshot, found, found.settlement))
    out.print(
        f"At most {_part(found.certificate.gap)} short of the best there could be over the pools "
        f"that earn their gas ({_part(found.certificate.gap_before_rounding)} before rounding)."
    )


def _part(part: float) -> str:
    return f"{part:.1e} of what is sold" if part else "nothing"


def _checks(snapshot: VaultSnapshot, found: Plan, after: Settlement) -> WholeTable:
    """What the vault's own checks will compute, beside what they allow."""
    table = WholeTable(title="What the vault will find", title_justify="left")
    for heading in ("check", "now", "after", "allowed"):
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
        bound = " (binds)" if (found.bound_by or "-") in name else ""
        table.add_row(Text.assemble(name, (bound, "yellow")), *cells, bps_text(budget_bps))
    return table


def _trades(session: Session, snapshot: VaultSnapshot, found: Plan) -> WholeTable:
    table = WholeTable(title="Trades", title_justify="left")
    for heading in ("asset", "sells", "buys", "at least"):
        table.add_column(heading, justify="left" if heading == "asset" else "right")
    for i, asset in enumerate(snapshot.basket.assets):
        cells = (found.sales_raw[i], found.expected_buys_raw[i], found.min_buys_raw[i])
        table.add_row(
            session.symbol(asset.token),
            *(amount(raw, asset.decimals, 8) if raw else "" for raw in cells),
        )
    return table


def _legs(found: Plan) -> WholeTable:
    table = WholeTable(title="Route", title_justify="left")
    for heading in ("pool", "fee", "in", "share", "out", "cost"):
        table.add_column(heading, justify="left" if heading == "pool" else "right")
    for leg, share, cost in zip(found.legs, found.shares, found.leg_costs, strict=True):
        units = {token.address: token for token in leg.pool.tokens}
        given, got = units[leg.token_in], units[leg.token_out]
        table.add_row(
            leg.pool.key,
            f"{leg.pool.fee_pips / 10_000:g} %",
            f"{amount(leg.amount_in_raw, given.decimals, 8)} {given.symbol}",
            f"{share * 100:.1f} %",
            f"{amount(leg.amount_out_raw, got.decimals, 8)} {got.symbol}",
            usd(cost.fee_e18 + cost.impact_e18),
        )
    return table


def _costs(snapshot: VaultSnapshot, found: Plan) -> WholeTable:
    sold_e18 = sum(
        raw * price // unit
        for raw, price, unit in zip(
            found.sales_raw, snapshot.basket.prices_e18, snapshot.basket.units, strict=True
        )
    )
    table = WholeTable(title="Cost by cause", title_justify="left")
    table.caption = f"bringing this home is worth up to {usd(found.worth_e18)}"
    table.caption_justify = "left"
    for heading in ("cause", "cost", "of what is sold"):
        table.add_column(heading, justify="left" if heading == "cause" else "right")
    for cause, cost_e18 in (
        ("pool fees", found.cost.fee_e18),
        ("price impact", found.cost.impact_e18),
        ("gas", found.cost.gas_e18),
        *((("L1 data", found.cost.l1_e18),) if found.cost.l1_e18 else ()),
        ("tip", found.cost.tip_e18),
        ("all", found.cost.total_e18),
    ):
        part = percent(cost_e18 * E18 // sold_e18, 4) if sold_e18 else NOTHING
        table.add_row(cause, usd(cost_e18), part)
    return table
