"""`rebalancer deploy`, interrupted and gone on with: who is admin at its end, what feeds it takes, and what it finds when it is killed at any step."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.create2 import FACTORY
from rebalancer.chain.deployment import Deployment, Unfinished
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.chain.receipt import Receipt, wait_for_receipt
from rebalancer.chain.system import Role, System
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node
from rebalancer.errors import FactoryMissing, SequencerUnwatched
from rebalancer.operations.governance import read_permissions
from rebalancer.operations.launch import Governance, launch, prepare
from rebalancer.operations.spec import FeedLine, SequencerLine
from rebalancer.operations.survey import read_feeds, read_sequencer
from rebalancer.send import wallet as wallets
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from tests.commands import Ran, run

OWNER = ("--account", Actor.OWNER.value)
TRANSACTIONS = 19  # twelve contracts, six adapters of price sources, and one for all roles, feeds and the hand-over
NOWHERE = "0x" + "12" * 20

Cli = Callable[..., Ran]


@pytest.fixture(autouse=True)
def wide_tables(only_own_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.cli.format._PLAIN_WIDTH", 400)  # no cell wraps


@pytest.fixture
def chain_toml(environment: DevEnvironment, tmp_path: Path) -> Path:
    """The stage's tokens, pools and feeds, as a person names them: without ranges."""
    feeds = "".join(
        f'[[feeds]]\ntoken = "{environment.deployment.listed(feed.token).address}"\n'
        f'address = "{feed.address}"\nheartbeat_seconds = 3600\n'
        for feed in environment.deployment.feeds
    )
    pools = ", ".join(f'"{pool.address}"' for pool in environment.deployment.pools)
    path = tmp_path / "chain.toml"
    path.write_text(
        f'wrapped_native = "{environment.deployment.wrapped_native}"\ntokens = []\npools = [{pools}]\n{feeds}'
    )
    return path


@pytest.fixture
def deploy(
    environment: DevEnvironment,
    chain_toml: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """Deploys onto the stage's chain into an addresses file of its own."""

    def command(*options: object) -> Ran:
        where = ("--rpc-url", environment.chain.rpc.endpoint, "--deployment", tmp_path / "new.json")
        return run(capsys, *where, "deploy", "--chain", chain_toml, *OWNER, *options)

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new.json"


def sent(environment: DevEnvironment, account: str = Actor.OWNER.address) -> int:
    """How many transactions an account has sent."""
    return int(environment.chain.rpc.call("eth_getTransactionCount", account, "latest"), 16)


def holders(environment: DevEnvironment, file: Path) -> dict[tuple[str, str], int]:
    system = System.of(Deployment.load(file))
    found = read_permissions(environment.chain.rpc, system)
    return {(h.role.name, h.contract or h.account): h.delay_seconds for h in found.holders}


def feed_of(environment: DevEnvironment, answer_e8: int, called: str) -> BoundContract:
    feed = environment.wallet(Actor.OWNER).deploy("MockAggregator", 8, called)
    environment.wallet(Actor.OWNER).transact(feed, "push", answer_e8)
    return feed


# Who is admin


def test_admin_that_is_a_contract_is_the_only_one_when_the_launch_ends(
    environment: DevEnvironment, deploy: Cli, file: Path
) -> None:
    safe, guardian = environment.system.gate, Actor.GUARDIAN.address
    before = sent(environment)

    ran = deploy("--admin", safe, "--owner", safe, "--guardian", guardian, "--delay-hours", "48")

    assert ran.code == 0, ran.err
    assert sent(environment) - before == TRANSACTIONS
    assert holders(environment, file) == {
        ("ADMIN", safe): 48 * 3_600,
        ("ADMIN", "VaultRoles"): 0,
        ("OWNER", safe): 48 * 3_600,
        ("CURATOR", safe): 48 * 3_600,
        ("GUARDIAN", guardian): 0,
        ("KEEPER", safe): 0,
        ("KEEPER", "KeeperGate"): 0,
    }
    assert f"{safe} is now the only admin" in ran.out
    assert "accept" not in ran.out


def test_admin_that_is_nobody_is_refused_before_anything_is_sent(
    environment: DevEnvironment, deploy: Cli, file: Path
) -> None:
    """A mistyped admin cannot be taken back: there is none but it."""
    before = sent(environment)

    ran = deploy("--admin", NOWHERE)

    assert ran.code == 16
    assert ran.sentence.startswith(f"The admin {NOWHERE} is neither a contract on this chain nor")
    assert (sent(environment), file.exists()) == (before, False)


# What feeds it takes


@pytest.mark.parametrize(
    ("answer_e8", "called", "message"),
    [
        (112_000_000, "ETH / USD", "the feed price is 1.12 USD; the listed pools"),
        (112_000_000, "a feed", "the feed price is 1.12 USD; the listed pools"),
        (2_000 * 10**8, "ETH / BTC", "so it answers in BTC, not in USD"),
        (2_000 * 10**8, "BTC / USD", "its description is 'BTC / USD', not WETH / USD"),
        (2_090 * 10**8, "ETH / USD", "the feed price is 2,090 USD; the listed pools"),
    ],
)
def test_feed_of_another_unit_or_token_is_refused_in_one_sentence(
    environment: DevEnvironment,
    deploy: Cli,
    chain_toml: Path,
    file: Path,
    answer_e8: int,
    called: str,
    message: str,
) -> None:
    right = next(feed.address for feed in environment.deployment.feeds if feed.token == "WETH")
    wrong = feed_of(environment, answer_e8, called).address
    chain_toml.write_text(chain_toml.read_text().replace(right, wrong))
    before = sent(environment)

    ran = deploy()

    assert ran.code == 16
    assert ran.sentence.startswith(f"The feed {wrong} cannot be used (for WETH, ")
    assert message in ran.sentence
    assert (sent(environment), file.exists()) == (before, False)


def test_feed_of_another_name_is_taken_where_a_person_says_so_and_the_pools_agree(
    environment: DevEnvironment, deploy: Cli, chain_toml: Path, file: Path
) -> None:
    right = next(feed.address for feed in environment.deployment.feeds if feed.token == "WETH")
    other = feed_of(environment, 2_000 * 10**8, "Ether price").address
    text = chain_toml.read_text().replace(right, other)
    chain_toml.write_text(text.replace(f'address = "{other}"', f'address = "{other}"\ndescription = "Ether price"'))

    assert deploy().code == 0
    assert {feed.description for feed in Deployment.load(file).feeds} == {None, "Ether price"}


def test_feed_that_nothing_confirms_is_refused(environment: DevEnvironment, deploy: Cli, chain_toml: Path) -> None:
    right = next(feed.address for feed in environment.deployment.feeds if feed.token == "WETH")
    silent = feed_of(environment, 2_000 * 10**8, "a feed").address
    text = chain_toml.read_text().replace(right, silent)
    start, end = text.index("pools = ["), text.index("]\n[[feeds]]")
    chain_toml.write_text(text[:start] + "pools = [" + text[end:])

    ran = deploy()

    assert "no listed pool confirms its price; give its description" in ran.sentence


def test_owner_is_refused_the_same_feeds(
    environment: DevEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    environment.deployment.save(known)
    weth = environment.deployment.listed("WETH").address
    wrong, right = (feed_of(environment, usd * 10**6, "ETH / USD").address for usd in (112, 200_000))

    def set_feed(feed: str, *more: str) -> Ran:
        values = [weth, feed, 8, 3_600, 1, 10**30]
        arguments = [part for value in values for part in ("--arg", value)]
        where = ("--rpc-url", environment.chain.rpc.endpoint, "--deployment", known)
        call = ("admin", "call", "--contract", "OracleHub", "--function", "setFeed")
        return run(capsys, *where, *call, *arguments, *OWNER, *more)

    before = sent(environment)
    ran = set_feed(wrong)
    assert ran.code == 16
    assert "for WETH, the feed price is 1.12 USD; the listed pools" in ran.sentence
    assert "not 'Ether'" in set_feed(right, "--description", "Ether").sentence
    assert sent(environment) == before
    assert set_feed(right).out.startswith("Done.")


def test_owner_is_refused_the_same_feeds_behind_an_adapter(
    environment: DevEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    environment.deployment.save(known)
    weth = environment.deployment.listed("WETH").address
    owner, row = environment.wallet(Actor.OWNER), PRICE_SOURCES["pausable_feed"]
    pauser = owner.deploy("MockPauser")
    adapter = environment.deployment.contracts["PausableFeed"]
    wrong, right, other = (
        feed_of(environment, usd * 10**6, called).address
        for usd, called in ((112, "ETH / USD"), (200_000, "ETH / USD"), (200_000, "BTC / USD"))
    )

    def set_feed(feed: str) -> Ran:
        params = "0x" + row.params(feed, 8, pauser.address).hex()
        values = [weth, adapter, 3_600, 1, 10**30, "0x" + "00" * 20, params]
        arguments = [part for value in values for part in ("--arg", value)]
        where = ("--rpc-url", environment.chain.rpc.endpoint, "--deployment", known)
        call = ("admin", "call", "--contract", "OracleHub", "--function", "setAdaptedFeed")
        return run(capsys, *where, *call, *arguments, *OWNER)

    before = sent(environment)
    assert "for WETH, the feed price is 1.12 USD; the listed pools" in set_feed(wrong).sentence
    assert "its description is 'BTC / USD', not WETH / USD" in set_feed(other).sentence
    assert sent(environment) == before
    owner.transact(pauser, "setOraclePaused", True)
    assert "its issuer has paused its price" in set_feed(right).sentence
    owner.transact(pauser, "setOraclePaused", False)
    assert set_feed(right).out.startswith("Done.")


class ChainOf:
    """An endpoint that knows its chain and nothing else."""

    def __init__(self, chain_id: int) -> None:
        self.number = chain_id

    def chain_id(self) -> int:
        return self.number


@pytest.mark.parametrize("chain_id", [10, 8453, 42161])
def test_chain_with_a_sequencer_is_not_priced_without_its_feed(chain_id: int) -> None:
    with pytest.raises(SequencerUnwatched, match=r"name its uptime feed, .* under \[sequencer\]"):
        read_sequencer(ChainOf(chain_id), None)  # type: ignore[arg-type]  # of an Rpc it needs no more
    read_sequencer(ChainOf(1), None)  # type: ignore[arg-type]  # as above


# Killed at every step


@pytest.mark.parametrize("moment", ["before it is sent", "after it is mined"])
def test_launch_that_is_killed_at_every_transaction_does_each_once(
    environment: DevEnvironment, file: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    owner = environment.wallet(Actor.OWNER)
    lines = [
        FeedLine(environment.deployment.listed(feed.token).address, feed.address, 3_600, 8, 1, 10**30)
        for feed in environment.deployment.feeds
    ]
    someone = Actor.CURATOR.address
    roles = Governance(environment.system.gate, someone, someone, someone, someone, 0)
    weth, feeds = environment.deployment.wrapped_native, read_feeds(environment.chain.rpc, lines)
    plan = prepare(owner.address, weth, feeds, roles)
    wanted, before, allowed = plan.system.contracts(), sent(environment), 0

    def hand_over(self: Wallet, signed: Any) -> None:
        if moment == "before it is sent" and sent(environment) - before >= allowed:
            raise KeyboardInterrupt
        send(self, signed)

    def receipt(*arguments: Any) -> Receipt:
        found = wait(*arguments)
        if moment == "after it is mined" and sent(environment) - before > allowed:
            raise KeyboardInterrupt
        return found

    send, wait = Wallet._hand_over, wait_for_receipt
    monkeypatch.setattr(Wallet, "_hand_over", hand_over)
    monkeypatch.setattr(wallets, "wait_for_receipt", receipt)
    Deployment(31337, uniswap={"WETH9": weth}).save(file)
    begun_at = int(environment.chain.block()["number"], 16)
    for allowed in range(TRANSACTIONS):
        with pytest.raises(KeyboardInterrupt):
            launch(owner, Deployment.load(file), plan, lambda state: state.save(file))
        begun = Deployment.load(file)
        assert begun.contracts == {}
        assert begun.unfinished is not None
        assert begun.unfinished.contracts == dict([*wanted.items()][:allowed])
        assert begun.unfinished.block == begun_at
    allowed = TRANSACTIONS
    launch(owner, Deployment.load(file), plan, lambda state: state.save(file))

    made = Deployment.load(file)
    assert (made.contracts, made.block, made.unfinished) == (wanted, begun_at, None)
    assert sent(environment) - before == TRANSACTIONS
    assert {account for role, account in holders(environment, file) if role == "ADMIN"} == {
        *(environment.system.gate, "VaultRoles")
    }


def test_unfinished_system_is_used_by_nobody_and_finished_by_who_began_it(
    environment: DevEnvironment,
    deploy: Cli,
    chain_toml: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = Unfinished(Actor.OWNER.address, 0, 1)
    Deployment(31337, unfinished=begun).save(file)
    where = ("--rpc-url", environment.chain.rpc.endpoint, "--deployment", file)

    ran = run(capsys, *where, "admin", "show")
    assert f"have {Actor.OWNER.address} run `rebalancer deploy` again" in ran.sentence
    other = run(capsys, *where, "deploy", "--chain", chain_toml, "--account", "5")
    assert f"that {Actor.OWNER.address} started, and {Actor.FEE_RECIPIENT.address} cannot" in (other.sentence)
    (file.parent / "new.json.new").write_text('{"chain_id": 313')  # killed while it was written
    assert deploy().code == 0
    assert Deployment.load(file).block == 1
    assert "already names a system" in deploy().sentence


def test_file_that_is_lost_is_made_again_and_one_that_is_damaged_is_kept(
    environment: DevEnvironment, deploy: Cli, file: Path
) -> None:
    assert deploy().code == 0
    first, before = Deployment.load(file), sent(environment)
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    damaged = deploy()
    assert damaged.code == 16
    assert "is not overwritten because it is not an addresses file (it is not JSON)" in (damaged.sentence)
    file.unlink()

    other = deploy("--owner", Actor.CURATOR.address)
    assert "differs from the request" in other.sentence
    file.unlink(missing_ok=True)
    again = deploy()

    assert again.code == 0, again.err
    assert Deployment.load(file) == replace(first, block=None)
    assert sent(environment) == before


def test_second_system_is_at_other_addresses(environment: DevEnvironment, deploy: Cli, file: Path) -> None:
    assert deploy().code == 0
    first = Deployment.load(file).contracts

    Deployment.load(file).with_vault(environment.vault).save(file)

    assert deploy("--redeploy").code == 0

    assert Deployment.load(file).vaults == ()
    second = Deployment.load(file).contracts
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


# Money


def test_launch_that_the_account_cannot_pay_is_not_begun(environment: DevEnvironment, deploy: Cli, file: Path) -> None:
    environment.chain.set_balance(Actor.OWNER.address, 10**16)
    before = sent(environment)

    ran = deploy()

    assert ran.code == 10
    assert f"{Actor.OWNER.address} holds 0.01 ether" in ran.sentence
    assert (sent(environment), file.exists()) == (before, False)


def test_launch_that_runs_out_of_money_half_way_goes_on_when_there_is_some(
    environment: DevEnvironment, deploy: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, send = sent(environment), Wallet.send

    def spend(self: Wallet, *arguments: Any, **options: Any) -> Receipt:
        if sent(environment) - before == 5:
            environment.chain.set_balance(Actor.OWNER.address, 10**12)
        return send(self, *arguments, **options)

    monkeypatch.setattr(Wallet, "send", spend)
    ran = deploy()
    assert ran.code == 10
    assert ran.sentence.startswith("The deployment stopped after 5 transactions (")
    assert f"correct the cause, then run the same command again, which continues from {file}" in (ran.sentence)
    monkeypatch.setattr(Wallet, "send", send)
    environment.chain.set_balance(Actor.OWNER.address, 10**21)

    assert deploy().code == 0
    assert sent(environment) - before == TRANSACTIONS


def test_plan_tells_all_calls_and_their_gas_and_sends_nothing(
    environment: DevEnvironment, deploy: Cli, file: Path
) -> None:
    before = (environment.chain.block()["hash"], sent(environment))
    plan = deploy("--plan", "--json", "--admin", environment.system.gate).json
    shown = deploy("--plan", "--admin", environment.system.gate).out
    assert (environment.chain.block()["hash"], sent(environment)) == before
    assert not file.exists()
    *creations, last = plan["transactions"]
    assert {one["to"] for one in creations} == {FACTORY}
    assert last["to"] == plan["contracts"]["AccessManager"]
    reported = [call.partition("(")[0] for call in last["calls"]]
    assert reported.count("OracleHub.setFeed") == 3
    assert "AccessManager.setRoleGuardian(role OWNER, guardian GUARDIAN)" in last["calls"]
    assert "AccessManager.setRoleAdmin(role KEEPER, admin GUARDIAN)" in last["calls"]
    assert any("functions [setFeed, " in call for call in last["calls"])
    assert not any("functions [0x" in call or ", 0x" in call.partition("functions [")[2] for call in last["calls"])
    assert reported[-2:] == ["AccessManager.grantRole", "AccessManager.renounceRole"]
    assert "Nothing was sent." in shown
    assert all(call in shown for call in last["calls"])

    assert deploy("--admin", environment.system.gate).code == 0

    end = int(environment.chain.block()["number"], 16) + 1
    used = [int(environment.chain.block(n)["gasUsed"], 16) for n in range(end - TRANSACTIONS, end)]
    expected = [int(one["gas"]) for one in plan["transactions"]]
    assert all(abs(one - other) <= other // 100 for one, other in zip(expected, used, strict=True))
    assert int(plan["gas"]) == sum(expected)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # Ape leaves its sockets to the garbage collector
)
def test_ape_runs_the_very_command_on_its_own_endpoint(
    tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(repo_root / "scripts" / "deploy.py"))["cli"]
    path = tmp_path / "chain.toml"
    options = ["--delay-hours", "48", *map(str, OWNER), "--plan", "--json"]
    with Node.start() as node, node.rpc(timeout_s=60) as rpc:
        weth = LocalChain(rpc).deploy("WETH9").address
        path.write_text(f'wrapped_native = "{weth}"\ntokens = []\npools = []\n')
        network = ["--network", f"ethereum:local:{node.url}", "--deployment", "new.json"]

        ran = CliRunner().invoke(script, [*network, "--chain", str(path), *options])
        refused = CliRunner().invoke(script, [*network, "--chain", "none.toml", *options])
        ours = run(capsys, "--rpc-url", node.url, "deploy", "--chain", path, *options).json

    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output[ran.output.index("{") :]) == ours
    assert refused.exit_code == 17
    assert "none.toml" in refused.output


# Addresses


def test_addresses_are_the_same_on_every_chain_but_for_what_hangs_on_the_chain() -> None:
    deployer, someone = Actor.OWNER.address, Actor.CURATOR.address
    roles = Governance(someone, someone, someone, someone, someone, 172_800)

    def contracts(**changed: Any) -> dict[str, str]:
        requested: dict[str, Any] = {"weth": NOWHERE, "governance": roles} | changed
        sender = requested.pop("deployer", deployer)
        return prepare(sender, requested.pop("weth"), {}, **requested).system.contracts()

    def moved(**changed: Any) -> set[str]:
        return {name for name, place in contracts(**changed).items() if place != here[name]}

    here = contracts()
    assert moved() == set()
    assert moved(governance=replace(roles, admin=deployer, owner=deployer)) == set()
    assert moved(weth=someone) == {"Zap"}
    assert moved(sequencer=SequencerLine(NOWHERE, 3_600)) == {"OracleHub"}
    assert moved(governance=replace(roles, delay_seconds=0)) == {"VaultRoles"}
    assert moved(deployer=someone) == {"AccessManager", "OracleHub", "VaultRoles", "KeeperGate"}
    assert moved(salt=1) == here.keys()


# The factory


@pytest.fixture(scope="module")
def bare() -> Iterator[LocalChain]:
    """A local chain from which the factory is taken away, which Anvil has from the first block on."""
    with Node.start() as node, node.rpc(timeout_s=60) as rpc:
        chain = LocalChain(rpc)
        chain.set_code(FACTORY, b"")
        yield chain


def plan_of(wallet: Wallet) -> Any:
    one = wallet.address
    return prepare(one, NOWHERE, {}, Governance(one, one, one, one, one, 0))


def test_chain_without_the_factory_is_told_in_one_sentence(bare: LocalChain, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = Wallet(bare.rpc, devnet_signer(0), 10**13)
    monkeypatch.setitem(wallet.__dict__, "chain_id", 777)
    with pytest.raises(FactoryMissing, match="Chain 777 has no deterministic-deployment"):
        launch(wallet, Deployment(777), plan_of(wallet))
    assert bare.code(FACTORY) == b""


def test_local_chain_without_the_factory_gets_it_by_its_own_transaction(bare: LocalChain) -> None:
    wallet = Wallet(bare.rpc, devnet_signer(1), 10**13)
    plan = plan_of(wallet)

    made = launch(wallet, Deployment(31337), plan)

    assert made.contracts == plan.system.contracts()
    assert all(bare.code(address) for address in made.contracts.values())
    found = read_permissions(bare.rpc, plan.system, made.block or 0)
    assert [holder.account for holder in found.held(Role.OWNER)] == [wallet.address]
