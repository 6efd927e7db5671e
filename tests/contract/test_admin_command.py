"""`rebalancer admin` as people type it: looking, scheduling, executing, cancelling, granting, handing over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rebalancer.chain.system import Role
from rebalancer.operations.doctor import diagnose
from rebalancer.settings import KeeperSettings, Settings
from rebalancer.units import E18
from rebalancer.words import span, utc
from tests.commands import Ran, run
from tests.contract.governed import DAY, DELAY, PEOPLE, Governed
from tests.contract.world import World, basket_spec

Cli = Callable[..., Ran]


@pytest.fixture(autouse=True)
def wide_tables(only_own_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.cli.format._PLAIN_WIDTH", 400)  # no cell wraps


@pytest.fixture
def cli(governed: Governed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `rebalancer admin …`; the last word is who does."""
    file = tmp_path / "deployment.json"
    governed.deployment.save(file)
    where = ("--rpc-url", governed.chain.rpc.endpoint, "--deployment", file)

    def command(*arguments: object, by: str | None = None) -> Ran:
        account = () if by is None else ("--account", PEOPLE.index(by))
        return run(capsys, *where, "admin", *arguments, *account)

    return command


def test_table_shows_roles_delays_and_what_is_scheduled(governed: Governed, cli: Cli) -> None:
    before = governed.chain.block()["hash"]
    shown = cli().out
    assert cli("show").out == shown
    for name in ("admin", "owner", "curator", "guardian", "keeper"):
        assert governed[name].address in shown
    assert "VaultRoles" in shown
    assert "2 d" in shown
    assert "0 s" in shown
    assert "not" not in shown.split(), "of those who need not wait"
    assert "No calls are scheduled." in shown
    assert governed.chain.block()["hash"] == before

    usdc = governed.market.deployment.listed("USDC").address
    removal = ("call", "--contract", "OracleHub", "--function", "removeSource", "--arg", usdc)
    assert "Scheduled as operation 0x" in cli(*removal, by="owner").out
    assert "Already scheduled as operation" in cli(*removal, by="owner").out
    shown = " ".join(cli().out.split())
    assert "OracleHub.removeSource(" in shown
    assert governed["owner"].address in shown


def test_scheduled_call_is_executed_or_cancelled_by_its_id(governed: Governed, cli: Cli) -> None:
    usdc = governed.market.deployment.listed("USDC").address
    removal = ("call", "--contract", "OracleHub", "--function", "removeSource", "--arg", usdc)
    first = cli(*removal, "--json", by="owner").json
    assert (first["in_force"], first["transaction_hash"] is None) == (False, False)
    operation = ("--operation", first["operation"])
    assert len(first["operation"]) == len("0x") + 64
    assert first["operation"] in cli("show").out

    assert "AccessManagerNotReady" in cli("execute", *operation, by="owner").sentence
    assert "AccessManagerUnauthorizedCancel" in cli("cancel", *operation, by="stranger").sentence
    assert "Cancelled." in cli("cancel", *operation, by="guardian").out
    assert "is not the id of exactly one scheduled operation" in cli("execute", *operation, by="owner").sentence

    again = cli(*removal, "--json", by="owner").json
    for short in ("0x", "0", again["operation"][:5]):
        reported = cli("cancel", "--operation", short, by="guardian").sentence
        assert "is not the id of exactly one scheduled operation" in reported
    governed.wait(DELAY)
    ran = cli("execute", "--operation", again["operation"][:10], "--json", by="owner")
    assert ran.json["in_force"] is True
    assert ran.err.startswith(f"sent removeSource to {governed.system.oracle}: transaction 0x")
    assert cli("show", "--json").json["operations"] == []


def test_scheduled_change_of_a_vault_is_told_by_its_name_in_percent_and_in_days(
    governed: Governed, world: World, cli: Cli
) -> None:
    contract = governed.make_vault(basket_spec(world))
    vault, name = contract.address, governed.read(contract, "name")
    assets = governed.read(contract, "assets")
    weights = [E18 * 2 // 5] + [E18 * 3 // 5 // (len(assets) - 1)] * (len(assets) - 1)
    weights[-1] += E18 - sum(weights)
    call = ("call", "--contract", vault, "--function", "setTargets")
    message = cli(*call, "--arg", json.dumps(weights), "--arg", 10 * DAY, by="curator").out
    assert "(unix seconds)" not in message
    assert " UTC, unless it is cancelled" in " ".join(message.split())

    (operation,) = cli("show", "--json").json["operations"]

    assert operation["call"].startswith(f"{name} {vault}.setTargets(targets [40 %, ")
    assert operation["call"].endswith(", glide 10 d)")
    shown = " ".join(cli().out.split())
    assert f"{utc(int(operation['executable_at']))} (in 2 d)" in shown


def test_scheduled_struct_is_told_by_the_names_of_its_fields_with_units(
    governed: Governed, world: World, cli: Cli
) -> None:
    contract = governed.make_vault(basket_spec(world))
    bands = json.dumps([[150, 1_000, 5], [150, 0, 0], [150, 0, 0]])
    call = ("call", "--contract", contract.address, "--function", "setBands", "--arg", bands)
    cli(*call, by="curator")

    (operation,) = cli("show", "--json").json["operations"]

    message = "setBands(bands [{band 1.5 %, relativeBand 10 %, minTradeRaw 5}, {band 1.5 %, "
    assert message in operation["call"]


def test_guardian_tightens_at_once(governed: Governed, cli: Cli) -> None:
    weth = governed.market.deployment.listed("WETH").address
    feed = governed.read(governed.hub, "feedOf", weth)
    values = (weth, feed[1] - 1, feed[3], feed[4])
    given = [part for value in values for part in ("--arg", value)]
    called = ("call", "--contract", governed.hub.address, "--function", "tightenFeed", *given)

    assert cli(*called, by="guardian").out.startswith("Done.")
    assert governed.read(governed.hub, "feedOf", weth)[1] == feed[1] - 1
    assert "may not call tightenFeed" in cli(*called, by="keeper").sentence
    looser = [given[1], given[3], given[5], given[7]]
    looser[1] = feed[1] + 1
    options = [part for value in looser for part in ("--arg", value)]
    ran = cli("call", "--contract", "OracleHub", "--function", "tightenFeed", *options, by="guardian")
    present = (feed[1] + 1, span(feed[1] + 1), feed[1] - 1, span(feed[1] - 1))
    assert "HeartbeatLoosened(heartbeatSeconds={} ({}), presentSeconds={} ({}))".format(*present) in (ran.sentence)


def test_role_is_taken_from_nobody_who_does_not_hold_it(governed: Governed, cli: Cli) -> None:
    """A mistyped address would be scheduled, and leave the one that was meant in its role."""
    before = governed.chain.block()["hash"]
    stranger = governed["stranger"].address

    ran = cli("revoke", "--role", "keeper", "--holder", stranger, by="guardian")

    assert (ran.code, f"{stranger} does not hold the role KEEPER" in ran.sentence) == (16, True)
    assert governed.chain.block()["hash"] == before


def test_keeper_is_revoked_and_another_appointed(governed: Governed, cli: Cli) -> None:
    old, new = governed["keeper"].address, governed["newcomer"].address
    governed.wait(5 * DAY)

    assert cli("revoke", "--role", "keeper", "--holder", old, by="guardian").out.startswith("Done.")
    assert cli("grant", "--role", "keeper", "--to", new, by="guardian").out.startswith("Done.")

    (holder,) = [h for h in governed.permissions().held(Role.KEEPER) if h.contract is None]
    assert (holder.account, holder.delay_seconds) == (new, 0)
    assert holder.since == governed.chain.now() + DELAY
    assert f"from {utc(holder.since)}" in " ".join(cli().out.split())


def test_admin_is_handed_over_by_command(governed: Governed, cli: Cli) -> None:
    old, new = governed["admin"].address, governed["newcomer"].address
    message = cli("hand-over", "--to", new, by="admin")
    assert "Scheduled as operation" in message.out
    dismissal = ("revoke", "--role", "ADMIN", "--holder", old)
    assert f"{old} is the only admin" in cli(*dismissal, by="admin").sentence
    governed.wait(DELAY)
    reported = cli("hand-over", "--to", new, by="admin").out
    assert f"{new} becomes the only admin when it runs: rebalancer admin {' '.join(dismissal)}" in (
        " ".join(reported.split())
    )
    (holder,) = [h for h in governed.permissions().held(Role.ADMIN) if h.account == new]
    assert holder.delay_seconds == DELAY

    assert "may not call revokeRole" in cli(*dismissal, by="stranger").sentence
    assert "Scheduled as operation" in cli(*dismissal, by="newcomer").out
    governed.wait(DELAY)
    assert cli(*dismissal, by="newcomer").out.startswith("Done.")
    admins = [holder.contract or holder.account for holder in governed.permissions().held(Role.ADMIN)]
    assert sorted(admins) == sorted(["VaultRoles", new])


def test_nothing_keeps_whoever_calls_it_and_dismisses_the_others(cli: Cli) -> None:
    """`accept`, run by whoever deployed, would have thrown out the Safe that was to be the admin."""
    assert "No such command 'accept'" in cli("accept", by="admin").err


def test_what_cannot_be_meant_is_one_sentence(governed: Governed, cli: Cli) -> None:
    before = governed.chain.block()["hash"]
    unknown = ("call", "--contract", "OracleHub", "--function", "setPrice")
    assert "OracleHub has no function setPrice: check the name" in cli(*unknown, by="owner").sentence
    few = ("call", "--contract", "OracleHub", "--function", "removeFeed")
    assert "0 arguments were given, and the function has 1 parameter" in cli(*few, by="owner").sentence
    nowhere = cli("call", "--contract", "Oracle", "--function", "removeFeed", by="owner")
    assert "'Oracle' is neither the name of a contract in the addresses file nor an address" in nowhere.err
    assert "Missing option '--to'" in cli("hand-over", by="admin").err
    assert governed.chain.block()["hash"] == before


# The doctor


def test_doctor_warns_of_an_admin_who_waits_less_than_the_owner(governed: Governed, tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    governed.deployment.save(file)
    keeper = {"outbox_file": tmp_path / "outbox.sqlite", "devnet_account": PEOPLE.index("keeper")}
    settings = Settings(
        rpc_url=governed.chain.rpc.endpoint,  # type: ignore[arg-type]  # parsed into the secret type
        deployment=file,
        keeper=KeeperSettings(**keeper),  # type: ignore[arg-type]  # a dict of mixed values
    )

    def admins() -> list[str]:
        return [found.sentence for found in diagnose(settings) if found.check == "admins"]

    assert admins() == ["The delay of each admin is at least that of owner and curator."]
    hasty = (Role.ADMIN.value, governed["newcomer"].address, DELAY - 1)
    governed.schedule("admin", governed.manager, "grantRole", *hasty)
    governed.wait(DELAY)
    governed["admin"].transact(governed.manager, "grantRole", *hasty)

    (sentence,) = admins()
    assert sentence.startswith(
        f"The admin {hasty[1]} has a delay of 1 d 23 h 59 min, which is shorter than the owner's"
    )
    assert sentence.endswith("so that delay protects nobody.")
