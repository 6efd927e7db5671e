"""What people get wrong, on a devnet: one sentence with what to do, and a chain that is as it was.

The typed errors behind the sentences are in tests/contract/test_actions.py; the contracts' own
refusals, with their numbers, in tests/solidity and tests/contract.
"""

from __future__ import annotations

import errno
import io
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role
from rebalancer.cli.remedies import sentence
from rebalancer.devnet.environment import (
    DEMO_POLICY,
    Actor,
    DevEnvironment,
    build_environment,
    raw_for_usd,
)
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.errors import ContractReverted, RpcUnreachable
from rebalancer.keeper import Keeper, KeeperContext, KeeperOptions
from rebalancer.operations import actions
from rebalancer.operations.actions import ETH
from rebalancer.send.attempt import AttemptState
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.units import E18
from rebalancer.words import utc
from tests.commands import Ran, run

OWNER, CURATOR, KEEPER, DEPOSITOR = (
    ("--account", actor.value) for actor in (Actor.OWNER, Actor.CURATOR, Actor.KEEPER, Actor.DEPOSITOR)
)
UP_10_PERCENT = {"ETH/USD": 2_200_00000000}

OWNER_ADDRESS = Actor.OWNER.address.lower()

Cli = Callable[..., Ran]


pytestmark = pytest.mark.usefixtures("only_own_settings")


@pytest.fixture
def cli(environment: DevEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command against the stage."""
    file = tmp_path / "deployment.json"
    environment.deployment.save(file)

    def command(*arguments: object) -> Ran:
        return run(capsys, "--rpc-url", environment.chain.rpc.endpoint, "--deployment", file, *arguments)

    return command


@pytest.fixture
def unchanged(environment: DevEnvironment) -> Iterator[None]:
    """Nothing may be sent: the chain ends with the block it began with."""
    before = environment.chain.block()["hash"]
    yield
    assert environment.chain.block()["hash"] == before


@pytest.fixture
def pockets(environment: DevEnvironment) -> None:
    """The owner and the depositor have a thousand dollars of each token."""
    for actor in (Actor.OWNER, Actor.DEPOSITOR):
        for token in environment.deployment.tokens:
            amount_raw = raw_for_usd(environment.market, token.symbol, 1_000)
            environment.market.deal(token.address, actor.address, amount_raw)


@pytest.fixture
def spec(tmp_path: Path, repo_root: Path) -> Callable[..., Path]:
    """The example vault with something replaced."""

    def write(old: str = "", new: str = "") -> Path:
        path = tmp_path / "vault.toml"
        text = (repo_root / "vault.example.toml").read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return path

    return write


# Where the chain is


def test_rpc_that_nobody_serves(cli: Cli, unchanged: None) -> None:
    ran = cli("--rpc-url", "http://127.0.0.1:1", "vault", "status")
    assert ran.code == 10
    assert "check that the node runs and that the address is right" in ran.sentence


def test_chain_id_of_another_chain(cli: Cli, unchanged: None) -> None:
    for command in (("vault", "status"), ("plan",), ("keeper", "run", "--once")):
        ran = cli("--chain-id", 5, *command)
        assert ran.code == 10
        assert "serves chain 31337, not chain 5: change the RPC address" in ran.sentence


def test_addresses_of_another_chain(environment: DevEnvironment, cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    Deployment(1).save(other)
    ran = cli("--deployment", other, "vault", "status")
    assert (ran.code, "it is for chain 1, and the settings select chain 31337" in ran.sentence) == (10, True)


def test_addresses_file_missing_or_without_a_system(environment: DevEnvironment, cli: Cli, tmp_path: Path) -> None:
    missing = cli("--deployment", "none.json", "vault", "status")
    assert "There is no addresses file at none.json: start a devnet" in missing.sentence
    bare = tmp_path / "bare.json"
    Deployment(31337).save(bare)
    ran = cli("--deployment", bare, "vault", "status", "--vault", environment.vault)
    assert ran.code == 10
    assert "rebalancer deploy" in ran.sentence


def test_symbols_that_look_like_markup_are_shown_as_they_are(
    environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None
) -> None:
    first, *others = environment.deployment.tokens
    evil = tmp_path / "evil.json"
    tokens = (replace(first, symbol="[/nope]\x1b[7m\u202e"), *others)
    replace(environment.deployment, tokens=tokens).save(evil)

    for command in (("vault", "status"), ("prices",), ("doctor",), ("plan",)):
        ran = cli("--deployment", evil, *command)
        assert ran.code in (0, 1), (command, ran.err)
        assert "\x1b" not in ran.out, command
        assert command == ("plan",) or "[/nope][7m" in ran.out, command


def test_vault_that_is_none(cli: Cli, unchanged: None) -> None:
    for command in (
        ("vault", "status"),
        ("vault", "deposit", "--shares", "1"),
        ("vault", "withdraw", "--shares", "1"),
        ("vault", "deposit", "--token", "ETH", "--amount", "1"),
        ("plan",),
    ):
        ran = cli(*command, "--vault", Actor.KEEPER.address)
        assert ran.code == 10, command
        assert f"No BasketVault is deployed at {Actor.KEEPER.address}" in ran.sentence, command


def test_contract_that_is_no_vault(environment: DevEnvironment, cli: Cli, unchanged: None) -> None:
    system, usdc = environment.system, environment.deployment.listed("USDC").address
    for address in (system.lens, system.oracle, system.authority, usdc):
        for command in (
            ("vault", "status"),
            ("vault", "position"),
            ("vault", "claim"),
            ("vault", "withdraw", "--all"),
            ("vault", "set-targets", "--target", "WETH=100%"),
            ("plan",),
            ("keeper", "run", "--once"),
        ):
            ran = cli(*command, "--vault", address)
            assert f"No BasketVault is deployed at {address}" in ran.sentence, command
            assert ran.code == 10


def test_what_stands_where_a_vault_should_be_is_named(
    environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None
) -> None:
    other = environment.chain.accounts[9]
    system, usdc = environment.system, environment.deployment.listed("USDC").address
    for address, there in (
        (system.oracle, "the OracleHub of the addresses file"),
        (usdc, "the token USDC"),
        (other, "an account without code"),
        (environment.deployment.pools[0].address, "another contract"),
    ):
        Path("rebalancer.toml").write_text(f'vaults = ["{environment.vault}", "{address}"]\n')
        named = f"No BasketVault is deployed at {address}, which is {there}: check the address"
        for command in (
            ("keeper", "run", "--once", "--dry-run", *KEEPER),
            ("vault", "status", "--vault", address),
            ("admin", "call", "--contract", address, "--function", "stopAuction", *OWNER),
        ):
            if command[0] == "admin" and address == system.oracle:
                continue  # it is known by its own functions there
            assert named in cli(*command).sentence, command


def test_deployment_without_a_file_of_the_chain(cli: Cli, unchanged: None) -> None:
    ran = cli("--deployment", "none.json", "deploy", *OWNER)
    assert "--chain: give a TOML file with this chain's tokens, pools and price" in ran.sentence
    assert "there is no addresses file at none.json to read them from" in ran.sentence
    assert ran.code == 17


# Deposits and withdrawals


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("deposit", "--shares", "0"), 16, "must be above 0: give a larger amount"),
        (
            ("deposit", "--token", "USDC", "--amount", "0"),
            16,
            "must be above 0: give a larger amount",
        ),
        (
            ("deposit", "--token", "ETH", "--amount", "0.0"),
            16,
            "must be above 0: give a larger amount",
        ),
        (("deposit", "--token", "DAI", "--amount", "1"), 10, "The token DAI is not in the address"),
        (("deposit", "--token", "USDC", "--amount", "1.2345678"), 16, "and at most 6 are possible"),
        (("deposit", "--token", "USDC", "--amount", "1000.000001"), 16, "send it 0.000001 more"),
        (("deposit", "--token", "ETH", "--amount", "20000"), 10, "holds 10000 ether"),
        (("deposit", "--token", "USDC", "--amount", "0.0001"), 13, "deposit more"),
        (("deposit", "--shares", "1000000"), 16, "reduce the amount, or send it"),
        (("withdraw", "--shares", "1"), 16, "holds 0 DEMO and needs 1"),
        (("withdraw", "--all"), 16, "has no shares of"),
        (("withdraw", "--all", "--token", "USDC"), 16, "`rebalancer vault position` shows"),
        (("claim",), 16, "has no claim on any token: check the holder"),
        (("claim", "--token", "USDC"), 16, "has no claim on USDC: check the holder"),
        (("claim", "--token", "USDC", "--amount", "0"), 16, "USDC to collect must be above 0"),
        (("claim", "--token", "USDC", "--amount", "0.0000001"), 16, "and at most 6 are possible"),
        (("claim", "--token", "DAI"), 10, "The token DAI is not in the address"),
        (("claim", "--token", "USDC", "--holder", OWNER_ADDRESS), 16, "has no claim on USDC"),
        (
            ("claim", "--token", "USDC", "--holder", OWNER_ADDRESS, "--receiver", "0x" + "1" * 40),
            16,
            f"can only have it paid to {OWNER_ADDRESS}: omit --receiver",
        ),
        (("sync", "--token", "USDC"), 10, "the vault holds all that it owes"),
        (("deposit", "--token", "USDC", "--amount", "0.0001"), 13, "is too small to buy one unit"),
    ],
)
def test_deposit_or_withdrawal_that_cannot_be(
    cli: Cli, pockets: None, unchanged: None, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ran = cli("vault", *arguments, *DEPOSITOR)
    assert message in ran.sentence
    assert (ran.code, ran.out) == (code, "")


def test_deposit_without_an_allowance_says_what_to_approve(environment: DevEnvironment, pockets: None) -> None:
    """The command line grants allowances itself; whoever calls the vault directly is told by the token."""
    wallet = environment.wallet(Actor.DEPOSITOR)
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    weth = contract_at(environment.chain.rpc, "WETH9", environment.deployment.listed("WETH").address)
    most = [2**255] * 3
    before = environment.chain.block()["hash"]
    with pytest.raises(ContractReverted) as caught:
        wallet.transact(vault, "mintInKind", E18, wallet.address, most)
    assert "check balances and allowances" in sentence(caught.value)  # WETH9 gives no reason
    assert environment.chain.block()["hash"] == before

    wallet.transact(weth, "approve", vault.address, E18)
    before = environment.chain.block()["hash"]
    with pytest.raises(ContractReverted) as caught:
        wallet.transact(vault, "mintInKind", E18, wallet.address, most)
    requested = vault.call("previewMintInKind", E18)[1]
    assert caught.value.error == "ERC20InsufficientAllowance"
    assert (caught.value.values["allowance"], caught.value.values["needed"]) == (0, requested)
    assert "approve at least the needed amount" in sentence(caught.value)
    assert environment.chain.block()["hash"] == before


# Targets and new vaults


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "Give at least one of --band, --relative and --min-trade"),
        (("--band", "WETH=1.5%"), 16, "give basis points as a whole number, such as 150 for 1.5 %"),
        (("--band", "WETH=12.5"), 16, "give basis points as a whole number, such as 150 for 1.5 %"),
        (("--relative", "WETH=x"), 16, "give basis points as a whole number"),
        (("--band", "WETH=1"), 16, "The band of WETH is 1 bps: give one from 3 to 5000 bps"),
        (("--band", "DOGE=100"), 10, "DOGE"),
    ],
)
def test_bands_that_cannot_be(cli: Cli, unchanged: None, options: tuple[str, ...], code: int, message: str) -> None:
    ran = cli("vault", "set-bands", *options, *CURATOR)
    assert ran.code == code
    assert message in ran.err


@pytest.mark.parametrize(
    ("targets", "account", "code", "message"),
    [
        ("50% 30% 21%", CURATOR, 16, "101 %, which is 1 % above 100 %"),
        ("50% 30% 19.9999%", CURATOR, 16, "which is 0.0001 % below 100 %"),
        ("50% 50%", CURATOR, 16, "There are 2 targets: give 3"),
        ("50% 30% 20%", DEPOSITOR, 16, "may not call setTargets"),
        ("50% 30% twenty", CURATOR, 16, "'twenty' is not an amount"),
        ("50 30 20", CURATOR, 16, "'50' is not an amount: give a weight of at most 1, such as"),
    ],
)
def test_targets_that_cannot_be(
    cli: Cli, unchanged: None, targets: str, account: tuple[Any, ...], code: int, message: str
) -> None:
    pairs = zip(("WETH", "WBTC", "USDC"), targets.split(), strict=False)
    options = [part for name, target in pairs for part in ("--target", f"{name}={target}")]
    ran = cli("vault", "set-targets", *options, *account)
    assert message in ran.sentence
    assert ran.code == code


def test_band_of_nothing(cli: Cli, unchanged: None) -> None:
    ran = cli("vault", "set-bands", "--band", "WETH=0", *CURATOR)
    assert "is 0 bps: give one from 3 to 5000 bps" in ran.sentence
    assert ran.code == 16


ASSET = '[[assets]]\ntoken = "WETH"\ntarget = "0"\nband_bps = 150\nseed = "0"\n'


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ('token = "USDC"', 'token = "DAI"', 10, "The token DAI is not in the addresses file"),
        ('"20%"', '"19%"', 16, "99 %, which is 1 % below 100 %"),
        ("band_bps = 150", "band_bps = 0", 16, "The band of WETH is 0 bps"),
        ("[policy]", 14 * ASSET + "[policy]", 16, "There are 17 assets"),
        ('"1000"', '"0.000000000001"', 16, "needs at least 100000000"),
        ('seed = "150"', 'seed = "1001"', 16, "holds 1000 USDC and needs 1001"),
        (
            "streaming_bps = 50",
            "streaming_bps = 501",
            16,
            "streaming_bps is 501 and may be at most 500",
        ),
        ("#entry_bps = 5 ", "entry_bps = 201 ", 16, "entry_bps is 201 and may be at most 200"),
        ("#relative_band_bps = 1000", "relative_band_bps = 10001", 10, "RelativeBandOutOfRange("),
        ("#destination_bps = 0", "destination_bps = 10001", 10, "DestinationOutOfRange("),
        ("max_slippage_bps = 120", "max_slippage_bps = 301", 10, "SlippageOutOfRange("),
        ("slippage_ramp_seconds = 3600", "slippage_ramp_seconds = 0", 10, "RampOutOfRange("),
        ("loss_period_seconds = 86400", "loss_period_seconds = 3599", 10, "PeriodOutOfRange("),
        ("loss_budget_bps = 50", "loss_budget_bps = 23", 10, "raise this budget to the needed value"),
        (
            *("turnover_budget_bps = 3000", "turnover_budget_bps = 1999", 10),
            "BudgetBelowProgress(field=turnoverBudgetBps, budgetBps=1999, neededBps=2000)",
        ),
        ('"MAJ3"', f'"{32 * "M"}"', 10, "BadName(name=MMMM"),
    ],
)
def test_vault_that_cannot_be(
    cli: Cli,
    pockets: None,
    spec: Callable[..., Path],
    unchanged: None,
    old: str,
    new: str,
    code: int,
    message: str,
) -> None:
    ran = cli("vault", "create", "--spec", spec(old, new), *OWNER)
    assert message in ran.sentence
    assert (ran.code, ran.out) == (code, "")


def test_vault_that_could_not_be_handed_to_its_roles(
    environment: DevEnvironment, cli: Cli, pockets: None, spec: Callable[..., Path]
) -> None:
    authority = contract_at(environment.chain.rpc, "AccessManager", environment.system.authority)
    revoke = (authority, "revokeRole", Role.ADMIN.value, environment.system.vault_roles)
    environment.wallet(Actor.OWNER).transact(*revoke)
    before = environment.chain.block()["hash"]

    ran = cli("vault", "create", "--spec", spec(), *DEPOSITOR)

    assert "may not call setTargetFunctionRole" in ran.sentence
    assert ran.code == 16
    assert environment.chain.block()["hash"] == before


# Prices


def spoil(environment: DevEnvironment, answer: int | None) -> None:
    """Let ETH/USD answer this, or, for None, nothing for a day."""
    feed = next(feed for feed in environment.deployment.feeds if feed.name == "ETH/USD")
    if answer is None:
        environment.chain.mine(at=environment.chain.now() + 86_400)
    else:
        aggregator = contract_at(environment.chain.rpc, "MockAggregator", str(feed.aggregator))
        environment.chain.transact(aggregator, "push", answer)


@pytest.mark.parametrize(
    ("answer", "fault", "why"),
    [
        (0, "NotPositive", "its answer is 0, which is not a price"),
        (-5, "NotPositive", "its answer is -5, which is not a price"),
        (None, "Stale", " old, and its heartbeat is 1 h 15 min"),
    ],
)
def test_price_that_is_none(
    environment: DevEnvironment,
    cli: Cli,
    pockets: None,
    spec: Callable[..., Path],
    answer: int | None,
    fault: str,
    why: str,
) -> None:
    spoil(environment, answer)
    before = environment.chain.block()["hash"]

    deployed = cli("deploy", "--redeploy", *OWNER)
    assert why in deployed.sentence
    assert deployed.code == 16
    created = cli("vault", "create", "--spec", spec(), *OWNER)
    assert "UnpricedAsset(" in created.sentence
    assert "set a working feed for this token" in created.sentence
    status = cli("vault", "status", "--json").json
    assert status["reason"] == "OracleFault"
    weth = status["assets"][0]
    assert weth["fault"] == fault
    assert (weth["price_e18"], weth["value_e18"], weth["drift_e18"]) == (None, None, None)
    assert [status[name] for name in ("total_e18", "share_price_e18", "drift_bps")] == [None] * 3
    assert status["unknown"].startswith("no sound price for WETH (its ")
    shown = " ".join(cli("vault", "status").out.split())
    assert f"value unknown: {status['unknown']}" in shown
    assert "$0.00" not in shown
    assert environment.deployment.listed("WETH").address not in shown
    assert "WETH" in cli("plan", *KEEPER).out
    known = {one["token"]: one for one in cli("prices", "--json").json["prices"]}
    assert known[weth["token"]]["primary_e18"] is None
    assert known[weth["token"]]["second_e18"] is None
    kept = cli("keeper", "run", "--once", "--json", *KEEPER)
    assert all("chain_id=31337" in line for line in kept.err.splitlines())
    assert kept.err
    assert (kept.code, kept.json["reason"], kept.json["plan"]) == (0, "OracleFault", None)
    assert environment.chain.block()["hash"] == before

    # Nobody needs a price to put in or take out in kind.
    assert cli("vault", "deposit", "--shares", "10", *DEPOSITOR).code == 0
    assert cli("vault", "withdraw", "--all", *DEPOSITOR).code == 0


def chain_file(environment: DevEnvironment, tmp_path: Path, decimals: int) -> Path:
    """The stage's chain, as a person would describe it who takes feeds to have these decimals."""
    feeds = "".join(
        f'[[feeds]]\ntoken = "{environment.deployment.listed(feed.token).address}"\n'
        f'address = "{feed.address}"\nheartbeat_seconds = 3600\ndecimals = {decimals}\n'
        for feed in environment.deployment.feeds
    )
    tokens = ", ".join(f'"{token.address}"' for token in environment.deployment.tokens)
    pools = ", ".join(f'"{pool.address}"' for pool in environment.deployment.pools)
    weth = environment.deployment.uniswap["WETH9"]
    path = tmp_path / "chain.toml"
    path.write_text(f'wrapped_native = "{weth}"\ntokens = [{tokens}]\npools = [{pools}]\n{feeds}')
    return path


def test_feed_of_other_decimals(environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None) -> None:
    ran = cli(
        "--deployment",
        "new.json",
        "deploy",
        "--chain",
        chain_file(environment, tmp_path, 18),
        *OWNER,
    )
    assert "it has 8 decimals, not 18): name the right feed" in ran.sentence
    assert ran.code == 16
    assert not Path("new.json").exists()


def test_feed_or_token_that_is_none(environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None) -> None:
    path = chain_file(environment, tmp_path, 8)
    good = path.read_text()
    for wrong, name in (
        (environment.deployment.feeds[0].address, "AggregatorV3Interface"),
        (environment.deployment.tokens[1].address, "IERC20Metadata"),
    ):
        path.write_text(good.replace(wrong, Actor.KEEPER.address))
        ran = cli("--deployment", "new.json", "deploy", "--chain", path, *OWNER)
        assert f"No {name} is deployed at {Actor.KEEPER.address}" in ran.sentence
        assert ran.code == 10


def test_second_system_by_accident(cli: Cli, unchanged: None) -> None:
    ran = cli("deploy", *OWNER)
    assert "already names a system" in ran.sentence
    assert ran.code == 16


# The addresses file


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may become longer than 64 KB, which the system refuses as it refuses a full disk: in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_deployment_on_a_full_disk_is_never_begun(
    environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None
) -> None:
    chain = chain_file(environment, tmp_path, 8)
    with full_disk():
        ran = cli("--deployment", "new.json", "deploy", "--chain", chain, *OWNER)
    assert ran.sentence.startswith("new.json cannot be written (File too large): check the path")
    assert ran.code == 26
    assert not list(tmp_path.glob("new.json*"))


def test_vault_on_a_full_disk_is_never_begun(
    cli: Cli, pockets: None, spec: Callable[..., Path], tmp_path: Path, unchanged: None
) -> None:
    file = tmp_path / "deployment.json"
    before = file.read_bytes()
    path = spec()
    with full_disk():
        ran = cli("vault", "create", "--spec", path, *OWNER)
    assert "cannot be written (File too large)" in ran.sentence
    assert ran.code == 26
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    ("blocked", "code", "message"),
    [
        ("file/new.json", 26, "cannot be written (File exists)"),
        ("/dev/null", 16, "/dev/null is not overwritten because it is not an addresses file"),
        ("mainnet.json", 16, "it is for chain 1, not 31337: name another file with --deployment"),
    ],
)
def test_deployment_to_a_path_that_is_no_place_for_it_is_never_begun(
    environment: DevEnvironment,
    cli: Cli,
    tmp_path: Path,
    unchanged: None,
    blocked: str,
    code: int,
    message: str,
) -> None:
    Path("file").write_text("where a folder should be")
    Deployment(1).save(Path("mainnet.json"))
    chain = chain_file(environment, tmp_path, 8)
    ran = cli("--deployment", blocked, "deploy", "--chain", chain, *OWNER)
    assert message in ran.sentence
    assert ran.code == code


def test_addresses_that_cannot_be_saved_after_all_are_printed(
    environment: DevEnvironment,
    cli: Cli,
    pockets: None,
    spec: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up while transactions are mined; what is printed is gone on from."""
    chain, path, saved = chain_file(environment, tmp_path, 8), spec(), tmp_path / "printed.json"
    save, states = Deployment.save, []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fills_up(deployment: Deployment, file: Path) -> None:
        states.append(deployment)
        (save if len(states) < 4 else full)(deployment, file)

    monkeypatch.setattr(Deployment, "save", fills_up)
    deployed = cli("--deployment", "new.json", "deploy", "--chain", chain, *OWNER)
    assert deployed.code == 26
    assert "save the content printed on standard output to this file" in deployed.sentence
    saved.write_text(deployed.out)
    begun = Deployment.load(saved).unfinished
    assert begun is not None
    assert list(begun.contracts) == ["AccessManager", "OracleHub", "ConfigStore"]
    assert all(environment.chain.code(address) for address in begun.contracts.values())
    monkeypatch.setattr(Deployment, "save", save)
    assert cli("--deployment", saved, "deploy", "--chain", chain, *OWNER).code == 0
    system = Deployment.load(saved)
    assert begun.contracts.items() <= system.contracts.items()
    assert environment.chain.code(system.contracts["VaultFactory"])

    monkeypatch.setattr(Deployment, "save", full)
    made = cli("--deployment", saved, "vault", "create", "--spec", path, "--json", *OWNER)
    assert made.code == 26
    saved.write_text(made.out)
    (vault,) = Deployment.load(saved).vaults
    assert environment.chain.code(vault)


# And all of it right


def test_right_input_goes_all_the_way(
    environment: DevEnvironment, cli: Cli, pockets: None, spec: Callable[..., Path], tmp_path: Path
) -> None:
    """A system, a vault, money in, a broken band, a rebalance, money out: every step by command."""
    new = tmp_path / "new.json"
    roles = ("--keeper", Actor.KEEPER.address, "--curator", Actor.CURATOR.address)
    deployed = cli(
        "--deployment",
        new,
        "deploy",
        "--chain",
        chain_file(environment, tmp_path, 8),
        *roles,
        *OWNER,
    )
    assert deployed.code == 0, deployed.err
    assert all(line.startswith("sent ") for line in deployed.err.splitlines())

    def on(*arguments: object) -> Ran:
        ran = cli("--deployment", new, *arguments)
        assert ran.code == 0, ran.err
        return ran

    made = on("vault", "create", "--spec", spec(), "--json", *OWNER).json
    assert Deployment.load(new).vaults == (made["vault"],)
    zapped = on("vault", "deposit", "--token", "USDC", "--amount", "500", "--json", *DEPOSITOR)
    assert int(zapped.json["shares"]) > 400 * E18
    weights = ("WETH=55%", "WBTC=25%", "USDC=0.2")
    options = [part for weight in weights for part in ("--target", weight)]
    assert on("vault", "set-targets", *options, "--json", *CURATOR).json["in_force"] is True

    planned = on("plan", "--json", *KEEPER).json
    assert planned["reason"] == "DryRun"
    assert on("vault", "status", "--json").json["reason"] == "BandBroken"
    dry = on("keeper", "run", "--once", "--dry-run", "--json", *KEEPER).json
    assert dry["plan"] == planned["plan"]
    done = on("keeper", "run", "--once", "--json", *KEEPER).json
    assert done["reason"] == "Rebalanced"
    assert done["plan"]["sales_raw"] == planned["plan"]["sales_raw"]
    status = on("vault", "status", "--json").json
    # One for the new targets, one for the rebalance.
    assert (status["reason"], status["epoch"]) == ("InBand", "2")

    got = on("vault", "withdraw", "--all", "--token", "ETH", "--json", *DEPOSITOR).json
    assert int(got["amount_raw"]) >= int(got["expected_raw"]) > 0
    assert on("vault", "status").out.count("WETH") >= 1


def test_glide_and_bands_by_command_are_shown_by_status(environment: DevEnvironment, cli: Cli) -> None:
    curator, vault = CURATOR, contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    options = ("--target", "WETH=20%", "--target", "WBTC=60%", "--target", "USDC=20%")
    begun = cli("vault", "set-targets", *options, "--glide", 1_000, *curator).out
    until = utc(snapshot_of(environment).basket.glide_end)
    message = " ".join(begun.split())
    assert f"The targets glide until {until}: WETH now 40.00 %, then 20.00 %; WBTC now " in message
    assert "in force" not in message
    bands = ("--band", "WBTC=300", "--relative", "WETH=100", "--min-trade", "USDC=12.5")
    assert cli("vault", "set-bands", *bands, "--json", *curator).json["in_force"] is True
    set_at = vault.call("assets")
    assert [(a[2], a[4], a[5]) for a in set_at] == [
        (100, 100, 0),
        (300, 0, 0),
        (100, 0, 12_500_000),
    ]
    environment.chain.mine(at=snapshot_of(environment).basket.glide_start + 500)

    shown = cli("vault", "status").out
    reported = cli("vault", "status", "--json").json

    assert "30.00 % → 20.00 %" in shown
    assert "targets glide until" in shown
    assert "due since" not in shown
    weth, wbtc, usdc = reported["assets"]
    assert (weth["target_e18"], weth["end_target_e18"]) == (str(3 * E18 // 10), str(2 * E18 // 10))
    # A hundredth of the target now: 0.3 %.
    assert weth["band_e18"] == str(30 * E18 // 10_000)
    assert (wbtc["band_e18"], usdc["min_trade_raw"]) == (str(3 * E18 // 100), "12500000")
    assert reported["reason"] == "BandBroken"


def test_minimum_trade_that_no_band_releases_is_said_beforehand(
    environment: DevEnvironment, cli: Cli, spec: Callable[..., Path]
) -> None:
    made = cli("vault", "create", "--spec", spec('#min_trade = "0.005"', 'min_trade = "9"'), *OWNER)
    fits = cli("vault", "set-bands", "--min-trade", "WETH=0.1", "--json", *CURATOR)
    ran = cli("vault", "set-bands", "--min-trade", "WETH=50", "--json", *CURATOR)
    seen = cli("doctor")

    assert "Warning: The minimum trade of WETH, 9.000000, is more than" in made.err
    assert "WETH is never traded." in made.err
    assert (fits.code, "Warning" in fits.err) == (0, False)
    assert ran.json["in_force"] is True
    assert ran.err.startswith("Warning: The minimum trade of WETH, 50.000000, is more than 2.5")
    assert "is not traded until its drift is 2001 bps" in ran.err
    assert "The minimum trade of WETH, 50.000000" in " ".join(seen.out.split())


def test_bands_of_a_token_the_vault_has_not_are_refused(
    environment: DevEnvironment, cli: Cli, tmp_path: Path, unchanged: None
) -> None:
    ran = cli("vault", "set-bands", "--band", "DAI=100", *CURATOR)
    assert "The token DAI is not" in ran.sentence
    lacking = environment.deployment.tokens[-1]
    shrunk = replace(lacking, symbol="LINK", address="0x" + 40 * "5")
    replace(environment.deployment, tokens=(*environment.deployment.tokens, shrunk)).save(tmp_path / "deployment.json")
    for command in (("set-bands", "--band", "LINK=100", *CURATOR), ("sync", "--token", "LINK")):
        ran = cli("vault", *command)
        assert "The vault's basket has no " in ran.sentence
        assert ran.sentence.endswith("name one of its tokens, WETH, WBTC, USDC.")
    ran = cli("vault", "set-bands", "--relative", "WETH=10001", *CURATOR)
    assert "RelativeBandOutOfRange(asset=0, relativeBandBps=10001, maximum=10000)" in ran.sentence
    assert cli("vault", "set-bands", "--band", "WETH", *CURATOR).code == 2


def test_calendar_fees_and_what_is_left_out_are_shown_by_status(environment: DevEnvironment, cli: Cli) -> None:
    vault, owner, day = (
        contract_at(environment.chain.rpc, "BasketVault", environment.vault),
        environment.wallet(Actor.OWNER),
        86_400,
    )
    rules = replace(DEMO_POLICY, calendar_seconds=day, open_after_seconds=3_600)
    owner.transact(vault, "setPolicy", astuple(rules))
    owner.transact(vault, "setFees", (50, 1_000, 5, 10), Actor.FEE_RECIPIENT.address)
    owner.transact(vault, "excludeAsset", 2)
    at = environment.chain.now() // day * day + day + 60
    environment.market.step(environment.market.prices_e8 | {"ETH/USD": 2_010_00000000}, at)

    shown = " ".join(cli("vault", "status").out.split())
    reported = cli("vault", "status", "--json").json

    assert "CalendarDue: a calendar rebalance is due" in shown
    assert "USDC │ 100,000 │ excluded │" in shown.replace("┃", "│")
    assert "0.50 % per year, 10.00 % of gains, 0.05 % on entry, 0.10 % on exit" in shown
    assert list(reported["fees"].values()) == ["50", "1000", "5", "10"]
    assert [asset["excluded"] for asset in reported["assets"]] == [False, False, True]
    assert (reported["due_since"], reported["opens_at"]) == ("0", "0"), "nobody has told the vault"

    environment.wallet(Actor.DEPOSITOR).transact(vault, "poke")
    due = environment.chain.now()
    shown = " ".join(cli("vault", "status").out.split())
    reported = cli("vault", "status", "--json").json
    assert (reported["due_since"], reported["opens_at"]) == (str(due), str(due + 3_600))
    assert f"{utc(due + 3_600)} (in " in shown


def test_losses_and_claims_are_shown_and_mended(environment: DevEnvironment, cli: Cli, pockets: None) -> None:
    """A holder whom USDC has blocked leaves; USDC is lost, written down, collected, and allowed again."""
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", environment.deployment.listed("USDC").address)
    depositor = Actor.DEPOSITOR.address
    assert cli("vault", "deposit", "--shares", "100", *DEPOSITOR).code == 0
    environment.chain.transact(usdc, "blacklist", depositor)
    assert "could not be transferred" in cli("vault", "withdraw", "--all", *DEPOSITOR).out
    assert "is owed to former holders" in cli("vault", "status").out
    refused = cli("vault", "claim", "--token", "USDC", *DEPOSITOR)
    assert "the token still cannot be transferred; try again later, or name another receiver" in refused.sentence
    balance = usdc.call("balanceOf", environment.vault)
    environment.chain.set_token_balance(usdc.address, environment.vault, balance // 2)
    shown = " ".join(cli("vault", "status").out.split())
    assert "USDC is missing from the vault: record the loss with `rebalancer vault sync`." in shown
    assert "LossNotWrittenDown: " in shown
    ran = cli("vault", "deposit", "--shares", "1", *OWNER)
    assert "record the loss first (`rebalancer vault sync`)" in ran.sentence

    ran = cli("vault", "sync", "--token", "USDC", *KEEPER)

    assert "Purchases of it are blocked, and trading is paused." in " ".join(ran.out.split())
    reported = cli("vault", "status", "--json").json
    assert [asset["barred"] for asset in reported["assets"]] == [False, False, True]
    assert [asset["missing_raw"] for asset in reported["assets"]] == ["0", "0", "0"]
    shown = " ".join(cli("vault", "status").out.split())
    assert "USDC lost balance: purchases are blocked until the owner calls allowPurchases." in shown
    environment.chain.transact(usdc, "unBlacklist", depositor)
    claim = ("vault", "claim", "--token", "USDC")
    part = cli(*claim, "--amount", "0.5", "--receiver", OWNER_ADDRESS, *DEPOSITOR)
    assert f"Collected 0.5 USDC for {OWNER_ADDRESS}." in " ".join(part.out.split())
    rest = cli(*claim, "--holder", depositor, "--json", *KEEPER).json
    owed = int(reported["assets"][2]["claims_raw"])
    assert int(rest["amount_raw"]) == owed - 500_000
    assert rest["receiver"] == depositor.lower()
    call = ("admin", "call", "--contract", environment.vault, "--function")
    assert "Done." in cli(*call, "allowPurchases", "--arg", "2", *OWNER).out
    assert "purchases of the asset are already allowed" in cli(*call, "allowPurchases", "--arg", "2", *OWNER).sentence
    assert "Done." in cli(*call, "resumeRebalance", *OWNER).out
    assert cli("vault", "status", "--json").json["reason"] == "BandBroken"


def snapshot_of(environment: DevEnvironment) -> VaultSnapshot:
    rpc = environment.chain.rpc
    return read_vaults(rpc, environment.system.lens, [environment.vault], read_block(rpc))[0]


def test_right_input_is_told_to_people_too(cli: Cli, pockets: None, tmp_path: Path) -> None:
    """The same without --json: tables and sentences that name what moved."""
    assert "InBand" in cli("vault", "status").out
    assert "Minted 10 shares for" in cli("vault", "deposit", "--shares", "10", *DEPOSITOR).out
    zapped = cli("vault", "deposit", "--token", "ETH", "--amount", "0.1", *DEPOSITOR).out
    assert "for 0.1 ETH" in zapped
    assert "ETH, " in cli("vault", "withdraw", "--shares", "5", *DEPOSITOR).out
    options = ("--target", "WETH=0.5", "--target", "WBTC=0.3", "--target", "USDC=20%")
    assert "in force" in cli("vault", "set-targets", *options, *CURATOR).out
    picture = tmp_path / "plan.svg"
    planned = cli("plan", "--picture", picture, *KEEPER).out
    for message in ("DryRun", "Trades", "Route", "pool fees", "price impact", "gas"):
        assert message in planned
    assert "Checks of the vault" in planned
    assert "The best possible plan over the pools that are worth their gas is better by at most" in " ".join(
        planned.split()
    )
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    ran = cli("keeper", "run", "--once", *KEEPER)
    assert "event=decided" in ran.err
    assert "reason=Rebalanced" in ran.err
    assert cli("doctor").code == 0


# A node that dies


@pytest.fixture
def doomed() -> Iterator[tuple[Node, DevEnvironment]]:
    """A node of its own, on which a band is broken."""
    prices_e8 = {"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8, "USDC/USD": 10**8}
    with Node.start(NodeSettings()) as node, node.rpc(timeout_s=60) as rpc:
        environment = build_environment(LocalChain(rpc), prices_e8)
        environment.market.step(prices_e8 | UP_10_PERCENT, environment.chain.now() + 60)
        yield node, environment


def dies_at(monkeypatch: pytest.MonkeyPatch, node: Node, method: str, *, after: bool) -> None:
    """Kill the node when it is asked this, before or after it answers."""
    settle = Rpc.batch_settled

    def killing(self: Rpc, calls: Any) -> list[Any]:
        requested = any(name == method for name, _ in calls)
        if requested and not after:
            node.kill()
        answers = settle(self, calls)
        if requested and after:
            node.kill()
        return answers

    monkeypatch.setattr(Rpc, "batch_settled", killing)


@pytest.mark.parametrize(
    ("method", "after", "states"),
    [
        ("eth_getBlockByNumber", False, []),
        ("eth_feeHistory", False, []),
        ("eth_estimateGas", False, []),
        ("eth_estimateGas", True, []),
        ("eth_sendRawTransaction", False, [AttemptState.SIGNED]),
        ("eth_sendRawTransaction", True, [AttemptState.SENT]),
    ],
)
def test_node_killed_in_mid_tick_leaves_a_journal_that_says_how_far_it_came(
    doomed: tuple[Node, DevEnvironment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    after: bool,
    states: list[AttemptState],
) -> None:
    node, environment = doomed
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        keeper = Keeper(
            environment.chain.rpc,
            KeeperContext.of(environment.deployment, [environment.vault]),
            [devnet_signer(Actor.KEEPER)],
            outbox,
            KeeperOptions(fee_cap_wei=10**13, receipt_seconds=1),
        )
        keeper.start()
        dies_at(monkeypatch, node, method, after=after)
        with pytest.raises(RpcUnreachable):
            keeper.tick()
        assert [attempt.state for attempt in outbox.attempts(31337)] == states


def test_node_killed_in_mid_tick_ends_the_command_with_a_sentence(
    doomed: tuple[Node, DevEnvironment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node, environment = doomed
    file = tmp_path / "deployment.json"
    environment.deployment.save(file)
    dies_at(monkeypatch, node, "eth_estimateGas", after=False)
    monkeypatch.setenv("REBALANCER_KEEPER__MAX_CONSECUTIVE_FAILURES", "3")
    monkeypatch.setenv("REBALANCER_KEEPER__LISTEN", "off")
    ran = run(
        capsys,
        *("--rpc-url", node.url, "--deployment", file),
        *("keeper", "run", "--poll-seconds", "0.01", *KEEPER),
    )
    assert ran.code == 22
    assert ran.err.splitlines()[-1].startswith("error: The keeper stopped after 3 consecutive failed ticks")
    assert ran.err.count("event=tick_failed") == 3
    with Outbox(tmp_path / ".rebalancer" / "outbox.sqlite") as outbox:
        assert outbox.attempts(31337) == []


def test_node_killed_during_a_deposit_ends_the_command_with_a_sentence(
    doomed: tuple[Node, DevEnvironment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node, environment = doomed
    file = tmp_path / "deployment.json"
    environment.deployment.save(file)
    dies_at(monkeypatch, node, "eth_sendRawTransaction", after=False)
    ran = run(
        capsys,
        *("--rpc-url", node.url, "--deployment", file),
        *("vault", "deposit", "--token", "ETH", "--amount", "1", *DEPOSITOR),
    )
    assert ran.code == 10
    assert "may or may not have been sent" in ran.sentence
    assert "look for it on the chain before you try again" in ran.sentence


# Before money moves


@pytest.mark.usefixtures("pockets")
def test_a_dry_run_shows_what_a_deposit_would_do_and_sends_nothing(
    environment: DevEnvironment, cli: Cli, unchanged: None
) -> None:
    paid = ("vault", "deposit", "--token", "USDC", "--amount", "500", "--dry-run", *DEPOSITOR)
    shown = " ".join(cli(*paid).out.split())
    reported = cli(*paid, "--json").json

    usdc, zap = environment.deployment.listed("USDC").address, environment.system.zap
    assert "pays 498." in shown
    assert "at most 500 USDC" in shown
    assert "known once" not in shown, "the node tells what the zap takes after the approval"
    assert f"approval 500 USDC to {zap} (" in shown
    assert "cost of swaps $" in shown
    assert reported["at_most_raw"] == {usdc: "500000000"}
    (approval,) = reported["approvals"]
    assert (approval["token"], approval["spender"], approval["amount_raw"]) == (
        *(usdc, zap),
        "500000000",
    )
    assert 20_000 < int(approval["gas"]) < 100_000
    assert 200_000 < int(reported["gas"]) < 1_000_000, "after the approval, as the node simulates it"
    shares, least = (int(reported[name][environment.vault]) for name in ("gets_raw", "at_least_raw"))
    assert least == shares * 9_950 // 10_000
    given, got, swaps = (int(reported[name]) for name in ("given_e18", "got_e18", "swap_cost_e18"))
    assert 497 * E18 < given < 500 * E18
    assert 0 < swaps <= given - got + 10**12 < E18

    in_kind = ("vault", "deposit", "--shares", "10", "--dry-run", "--json", *DEPOSITOR)
    reported = cli(*in_kind).json
    assert (len(reported["approvals"]), reported["swap_cost_e18"]) == (3, "0")
    assert reported["gets_raw"] == {environment.vault: str(10 * E18)}


def test_a_dry_run_of_a_withdrawal_says_what_comes_out_at_least(
    environment: DevEnvironment, cli: Cli, pockets: None
) -> None:
    assert cli("vault", "deposit", "--shares", "100", *DEPOSITOR).code == 0
    before = environment.chain.block()["hash"]
    options = ("vault", "withdraw", "--all", "--dry-run", "--json", *DEPOSITOR)
    in_kind, ether = cli(*options).json, cli(*options, "--token", "ETH").json
    spoil(environment, None)
    before_spoiled = environment.chain.block()["hash"]
    unknown = cli(*options).json
    shown = cli(*[each for each in options if each != "--json"]).out

    assert len(in_kind["gets_raw"]) == 3
    assert in_kind["approvals"] == []
    assert int(in_kind["gas"]) > 50_000
    (got,) = ether["gets_raw"].values()
    assert list(ether["gets_raw"]) == [ETH]
    assert int(ether["at_least_raw"][ETH]) == int(got) * 9_950 // 10_000
    assert [one["token"] for one in ether["approvals"]] == [environment.vault]
    assert (unknown["given_e18"], unknown["got_e18"]) == (None, None)
    assert "unknown: a price is not sound" in shown
    assert before != before_spoiled == environment.chain.block()["hash"]


@pytest.mark.parametrize("given", [("--token", "USDC", "--amount", "500"), ("--shares", "10")])
def test_ether_for_the_approvals_alone_approves_nothing(
    environment: DevEnvironment, cli: Cli, pockets: None, unchanged: None, given: tuple[str, ...]
) -> None:
    environment.chain.set_balance(Actor.DEPOSITOR.address, 15 * 10**13)  # 150,000 gas
    deposit = ("vault", "deposit", *given, *DEPOSITOR)

    dry = cli(*deposit, "--dry-run")
    ran = cli(*deposit)

    assert (dry.code, ran.code) == (0, 10)
    assert "Warning: " in dry.err
    for message in (dry.err, ran.err):
        assert "holds 0.00015 ether and needs up to 0.000" in message
        assert "sent approve" not in message


def test_second_deposit_in_kind_approves_each_token_once(environment: DevEnvironment, cli: Cli, pockets: None) -> None:
    """What the first was allowed and did not take is no reason to allow 0 first."""
    deposit = ("vault", "deposit", "--shares", "10", *DEPOSITOR)
    assert cli(*deposit).code == 0

    ran = cli(*deposit)

    assert ran.code == 0, ran.err
    reported = [line.split(" to ")[0] for line in ran.err.splitlines()]
    assert reported == ["sent approve"] * 3 + ["sent mintInKind"]


def test_gas_of_a_withdrawal_is_previewed_as_it_is_used(cli: Cli, pockets: None) -> None:
    """Not what is kept back for tokens that misbehave, which nobody pays for."""
    assert cli("vault", "deposit", "--shares", "100", *DEPOSITOR).code == 0
    withdraw = ("vault", "withdraw", "--shares", "50", "--json", *DEPOSITOR)

    reported, done = cli(*withdraw, "--dry-run").json, cli(*withdraw).json

    assert abs(int(reported["gas"]) - int(done["gas_used"])) < 10_000


def test_money_moves_on_a_real_chain_only_after_a_yes(
    environment: DevEnvironment, cli: Cli, pockets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage's chain, taken for a real one where it is asked whether to ask."""
    monkeypatch.setattr("rebalancer.cli.preview.DEVNET_CHAIN_ID", 5)
    deposit = ("vault", "deposit", "--shares", "1", *DEPOSITOR)
    before = environment.chain.block()["hash"]

    ran = cli(*deposit)
    assert (ran.code, "add --yes, or run this in a terminal" in ran.err) == (2, True)
    assert cli(*deposit, "--dry-run").code == 0
    for answer in ("n\n", ""):
        stdin = io.StringIO(answer)
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", stdin)
        ran = cli(*deposit)
        assert (ran.code, "Send the transactions?" in ran.err, "Aborted!" in ran.err) == (1, True, True)
    assert environment.chain.block()["hash"] == before

    sent = cli(*deposit, "--yes")
    assert (sent.code, "Minted 1 shares" in sent.out) == (0, True)
    reported = [line.split(" to ")[0] for line in sent.err.splitlines()]
    assert reported == ["sent approve"] * 3 + ["sent mintInKind"]
    assert all(len(line.rpartition("transaction 0x")[2]) == 64 for line in sent.err.splitlines())


@pytest.mark.parametrize("token", ["USDC", "ETH"])
def test_all_of_a_token_is_deposited_but_what_the_gas_may_cost(
    environment: DevEnvironment, cli: Cli, pockets: None, token: str
) -> None:
    rpc, account = environment.chain.rpc, Actor.DEPOSITOR.address
    environment.chain.set_balance(account, 2 * E18)

    ran = cli("vault", "deposit", "--token", token, "--amount", "max", "--json", *DEPOSITOR)

    assert ran.code == 0, ran.err
    usdc = contract_at(rpc, "IERC20Metadata", environment.deployment.listed("USDC").address)
    left_wei = int(rpc.call("eth_getBalance", account, "latest"), 16)
    if token == "ETH":
        assert int(ran.json["amount_raw"]) > 199 * E18 // 100
        assert left_wei > 0
    else:
        assert ran.json["amount_raw"] == "1000000000"
        assert usdc.call("balanceOf", account) == int(ran.json["returned"].get(usdc.address, "0"))
    environment.chain.set_balance(account, 10**12)
    poor = cli("vault", "deposit", "--token", "ETH", "--amount", "max", *DEPOSITOR)
    assert "no more than the gas costs: send it some first" in poor.sentence
    assert poor.code == 16


def test_a_deposit_that_is_interrupted_names_the_transaction_and_what_may_still_be_taken(
    environment: DevEnvironment, pockets: None
) -> None:
    sent: dict[str, str] = {}

    def reported(what: str, transaction_hash: str) -> None:
        sent[what] = transaction_hash
        if what.startswith("approve") and len(sent) == 3:
            raise KeyboardInterrupt

    wallet = environment.wallet(Actor.DEPOSITOR)
    wallet.on_sent = reported
    with pytest.raises(KeyboardInterrupt) as stopped:
        actions.deposit_in_kind(wallet, environment.vault, E18)

    notes = stopped.value.__notes__
    what, transaction_hash = list(sent.items())[-1]
    assert notes[0] == f"It may still be mined: {what}, transaction {transaction_hash}."
    assert len(notes) == 4
    assert all(f"{environment.vault} still has an allowance of " in note for note in notes[1:])
    assert "USDC" in notes[3]


def test_position_shows_shares_content_worth_and_claims(environment: DevEnvironment, cli: Cli, pockets: None) -> None:
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", environment.deployment.listed("USDC").address)
    depositor = Actor.DEPOSITOR.address.lower()
    nothing = cli("vault", "position", "--json", *DEPOSITOR).json
    assert (nothing["shares"], nothing["worth_e18"], nothing["claims_raw"]) == ("0", "0", {})

    assert cli("vault", "deposit", "--shares", "100", *DEPOSITOR).code == 0
    environment.chain.transact(usdc, "blacklist", depositor)
    left = cli("vault", "withdraw", "--shares", "40", "--json", *DEPOSITOR).json
    shown = " ".join(cli("vault", "position", "--address", depositor).out.split())
    reported = cli("vault", "position", "--address", depositor, "--json").json

    owed = int(left["claims"][usdc.address])
    assert [int(sent) for sent in left["sent"]][2] == 0 < owed == int(left["amounts"][2])
    assert reported["claims_raw"] == {usdc.address: str(owed)}
    assert abs(int(reported["claims_e18"]) - 8 * E18) < E18 // 100
    assert (reported["shares"], reported["holder"]) == (str(60 * E18), depositor)
    assert int(reported["part_e18"]) == 60 * E18 * E18 // int(reported["supply"])
    assert abs(int(reported["worth_e18"]) - 60 * E18) < E18 // 10
    assert "shares 60, 0.0120 % of the supply" in shown
    assert "USDC, value $" in shown
    assert "`rebalancer vault claim` collects them" in shown

    refused = cli("vault", "claim", *DEPOSITOR)
    assert "the token still cannot be transferred" in refused.sentence
    environment.chain.transact(usdc, "unBlacklist", depositor)
    (collected,) = cli("vault", "claim", "--json", *DEPOSITOR).json
    assert int(collected["amount_raw"]) == owed
    spoil(environment, None)
    assert cli("vault", "position", "--json", *DEPOSITOR).json["worth_e18"] is None
    assert "value unknown" in " ".join(cli("vault", "position", *DEPOSITOR).out.split())


# Narrow terminals


@pytest.mark.parametrize("width", [80, 60, 40])
def test_no_number_and_no_address_is_cut_in_a_narrow_terminal(
    environment: DevEnvironment,
    cli: Cli,
    pockets: None,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    move = {"ETH/USD": 2_200_00000000, "BTC/USD": 123_456_00000000}
    environment.market.step(environment.market.prices_e8 | move, environment.chain.now() + 900)
    for command in (
        ("vault", "status"),
        ("vault", "position", *DEPOSITOR),
        ("vault", "deposit", "--token", "USDC", "--amount", "500", "--dry-run", *DEPOSITOR),
        ("plan", *KEEPER),
        ("prices",),
        ("admin", "show"),
        ("doctor",),
    ):
        monkeypatch.setattr("rebalancer.cli.format._PLAIN_WIDTH", 400)
        wide = cli(*command).out
        monkeypatch.setattr("rebalancer.cli.format._PLAIN_WIDTH", width)
        narrow = cli(*command).out

        # A line is longer only where an address or a hash is in it, which stays in one piece.
        assert command == ("doctor",) or all(
            len(line) <= width or re.search(r"0x[0-9a-f]{40}", line) for line in narrow.splitlines()
        )
        whole = "".join(narrow.split())
        for number in re.findall(r"0x[0-9a-f]+|[$\d][\d,.]*…?", wide):
            assert number in whole, (command, number)
