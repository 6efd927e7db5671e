"""`--unsigned`: a Safe of two of three owners does all that people do, with what the commands wrote for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import Role, System
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import ContractReverted
from rebalancer.operations.governance import read_permissions
from rebalancer.operations.launch import Governance, launch, prepare
from rebalancer.operations.spec import FeedLine
from rebalancer.operations.survey import read_feeds
from rebalancer.send.safe_batch import checksum
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from rebalancer.units import E18
from rebalancer.words import utc
from tests.commands import Ran, run
from tests.contract.governed import DAY, DELAY
from tests.contract.safe import Safe, make_safe

Cli = Callable[..., Ran]

SPEC = """
name = "Safe basket"
symbol = "SAFE"
initial_shares = "1000"
[policy]
start_slippage_bps = 60
max_slippage_bps = 120
slippage_ramp_seconds = 3600
min_progress_bps = 2000
dust_bps = 2
cooldown_seconds = 600
loss_budget_bps = 50
loss_period_seconds = 86400
turnover_budget_bps = 3000
turnover_period_seconds = 86400
[fees]
streaming_bps = 50
[[assets]]
token = "WETH"
target = "40%"
band_bps = 150
seed = "0.2"
[[assets]]
token = "WBTC"
target = "40%"
band_bps = 150
seed = "0.01333333"
[[assets]]
token = "USDC"
target = "20%"
band_bps = 150
seed = "200"
"""

WEALTH = {"WETH": 10 * E18, "WBTC": 10**8, "USDC": 50_000 * 10**6}
"""What the Safe owns of each token, raw, besides ten ether."""


@dataclass(frozen=True)
class House:
    """A system whose admin, owner, curator and guardian is one Safe, with a delay of two days."""

    market: DevMarket
    deployment: Deployment
    safe: Safe
    deployer: Wallet

    @property
    def chain(self) -> LocalChain:
        return self.market.chain

    @property
    def system(self) -> System:
        return System.of(self.deployment)

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        return contract.call(function, *args)

    def balance(self, token: str, holder: str | None = None) -> int:
        contract = contract_at(self.chain.rpc, "IERC20Metadata", token)
        return int(self.read(contract, "balanceOf", holder or self.safe.address))

    def token(self, symbol: str) -> str:
        return self.deployment.listed(symbol).address

    def wait(self, seconds: int) -> None:
        """Time passes, and every feed answers anew."""
        self.market.step(self.market.prices_e8, self.chain.now() + seconds)


@pytest.fixture(scope="session")
def session_house(session_chain: LocalChain, session_market: Deployment) -> House:
    """Built once a chain, beside the session's market."""
    market = DevMarket(session_chain, session_market)
    safe, deployer = (
        make_safe(session_chain),
        Wallet(session_chain.rpc, devnet_signer(0), 10**13),
    )
    lines = [
        FeedLine(
            session_market.listed(feed.token).address,
            feed.address,
            feed.heartbeat_seconds,
            feed.decimals,
            1,
            (1 << 128) - 1,
        )
        for feed in session_market.feeds
    ]
    keeper = devnet_signer(5).address
    people = Governance(safe.address, safe.address, safe.address, safe.address, keeper, DELAY)
    feeds = read_feeds(session_chain.rpc, lines)
    plan = prepare(deployer.address, session_market.wrapped_native, feeds, people, salt=1)
    made = launch(deployer, session_market, plan)
    return House(market, made, safe, deployer)


@pytest.fixture
def house(session_house: House, market: DevMarket) -> House:
    """With fresh prices, and a Safe that owns something; all that a test does is undone."""
    fresh = replace(session_house, market=market)
    fresh.wait(1)
    for symbol, raw in WEALTH.items():
        market.deal(symbol, fresh.safe.address, raw)
    fresh.chain.set_balance(fresh.safe.address, 10 * E18)
    return fresh


@pytest.fixture
def cli(
    house: House,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """Runs `rebalancer …` where the only account of the settings is a keystore that is not there: nothing may need it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("REBALANCER_")]:
        monkeypatch.delenv(name)
    house.deployment.save(tmp_path / "deployment.json")
    rpc = f'rpc_url = "{house.chain.rpc.endpoint}"\nrpc_timeout_seconds = 60\n'
    Path("rebalancer.toml").write_text(rpc + '[wallet]\nkeystore = "not-there.json"\n')
    Path("vault.toml").write_text(SPEC)
    return lambda *arguments: run(capsys, *arguments)


@dataclass(frozen=True)
class Written:
    """What a command wrote."""

    raw: Any
    now: Any
    then: Any


CHANGE = ("admin", "grant", "--role", "CURATOR", "--to", "0x" + "12" * 20)
"""Something that an admin schedules."""

_count = iter(range(10**6))


@pytest.fixture
def ask(house: House, cli: Cli) -> Callable[..., Written]:
    """Has a command written down for the Safe, and checks what holds of every such file."""

    def requested(*arguments: object) -> Written:
        file = Path(f"calls-{next(_count)}.json")
        before = house.chain.block()["hash"]
        ran = cli(*arguments, "--unsigned", file, "--from", house.safe.address)
        assert ran.code == 0, ran.err
        assert "Nothing was sent" in ran.out
        assert house.chain.block()["hash"] == before
        raw = json.loads(file.read_text())
        batches: list[Any] = []
        for step in ("now", "then"):
            path = file.with_name(f"{file.stem}.{step}.safe.json")
            assert path.exists() == (raw[step] is not None)
            if raw[step] is None:
                batches.append(None)
                continue
            batch = json.loads(path.read_text())
            assert raw[step]["safe_file"] == path.name
            assert batch["version"] == "1.0"
            assert batch["chainId"] == raw["chain_id"] == "31337"
            assert batch["meta"]["createdFromSafeAddress"].lower() == house.safe.address
            assert batch["meta"]["checksum"] == checksum(batch)
            for one, call in zip(batch["transactions"], raw[step]["calls"], strict=True):
                assert (one["to"].lower(), one["value"], one["data"]) == (
                    *(call["to"], call["value_wei"], call["data"]),
                )
                assert call["reading"] is not None
            batches.append(batch)
        return Written(raw, *batches)

    return requested


@pytest.fixture
def vault(house: House, ask: Callable[..., Written]) -> BoundContract:
    """The Safe's vault."""
    written = ask("vault", "create", "--spec", "vault.toml")
    (note,) = written.raw["notes"]
    house.safe.execute(written.now)
    return contract_at(house.chain.rpc, "BasketVault", note.split()[5].rstrip(";"))


def functions(batch: Any) -> list[str]:
    return [call["reading"]["function"].partition("(")[0] for call in batch["calls"]]


# In and out


def test_a_safe_makes_a_vault(house: House, vault: BoundContract) -> None:
    shares = house.read(vault, "balanceOf", house.safe.address)

    assert 999 * E18 < shares < 1_000 * E18
    assert house.read(vault, "feeRecipient") == house.safe.address
    factory = contract_at(house.chain.rpc, "VaultFactory", house.system.factory)
    assert house.read(factory, "isVault", vault.address)
    manager = contract_at(house.chain.rpc, "AccessManager", house.system.authority)
    selector = vault.interface.functions["setTargets"].selector
    assert house.read(manager, "getTargetFunctionRole", vault.address, selector) == Role.CURATOR


def test_a_safe_deposits_and_withdraws_in_kind(house: House, vault: BoundContract, ask: Callable[..., Written]) -> None:
    before = house.read(vault, "balanceOf", house.safe.address)
    written = ask("vault", "deposit", "--vault", vault.address, "--shares", "500")
    assert functions(written.raw["now"]) == ["approve"] * 3 + ["mintInKind"]
    house.safe.execute(written.now)
    assert house.read(vault, "balanceOf", house.safe.address) == before + 500 * E18

    held = {symbol: house.balance(house.token(symbol)) for symbol in WEALTH}
    house.safe.execute(ask("vault", "withdraw", "--vault", vault.address, "--all").now)
    assert house.read(vault, "balanceOf", house.safe.address) == 0
    assert all(house.balance(house.token(symbol)) > held[symbol] for symbol in WEALTH)


@pytest.mark.parametrize(("token", "amount"), [("USDC", "300"), ("ETH", "max")])
def test_a_safe_deposits_and_withdraws_one_token_a_day_later(
    house: House, vault: BoundContract, ask: Callable[..., Written], token: str, amount: str
) -> None:
    paid = ("--token", token, "--amount", amount, "--slippage-bps", 300)
    written = ask("vault", "deposit", "--vault", vault.address, *paid)
    before = house.read(vault, "balanceOf", house.safe.address)
    house.wait(DAY - 60)
    house.safe.execute(written.now)
    assert house.read(vault, "balanceOf", house.safe.address) > before
    if amount == "max":  # whoever executes pays the gas, so none is kept for it
        assert written.raw["now"]["calls"][0]["value_wei"] == str(10 * E18)

    out = ("--shares", "100", "--token", token, "--slippage-bps", 300)
    written = ask("vault", "withdraw", "--vault", vault.address, *out)
    assert functions(written.raw["now"]) == ["approve", "zapOut"]
    before = house.read(vault, "balanceOf", house.safe.address)
    house.safe.execute(written.now)
    assert house.read(vault, "balanceOf", house.safe.address) == before - 100 * E18


def test_a_safe_collects_its_claims_and_leaves_out_what_cannot_be_paid(
    house: House, vault: BoundContract, ask: Callable[..., Written]
) -> None:
    usdc = contract_at(house.chain.rpc, "BlocklistToken", house.token("USDC"))
    wbtc = contract_at(house.chain.rpc, "PausableToken", house.token("WBTC"))
    house.chain.transact(usdc, "blacklist", house.safe.address)
    house.chain.transact(wbtc, "pause")
    house.safe.execute(ask("vault", "withdraw", "--vault", vault.address, "--shares", "10").now)
    house.chain.transact(usdc, "unBlacklist", house.safe.address)
    before = house.balance(usdc.address)

    written = ask("vault", "claim", "--vault", vault.address)

    (note,) = written.raw["notes"]
    assert note.startswith("A claim is omitted because it would revert now: ")
    house.safe.execute(written.now)
    assert house.balance(usdc.address) > before
    assert house.read(vault, "claimable", house.safe.address, usdc.address) == 0
    assert house.read(vault, "claimable", house.safe.address, wbtc.address) > 0


def test_calls_of_a_batch_stand_or_fall_together(
    house: House, vault: BoundContract, ask: Callable[..., Written]
) -> None:
    written = ask("vault", "deposit", "--vault", vault.address, "--shares", "500")
    usdc = contract_at(house.chain.rpc, "BlocklistToken", house.token("USDC"))
    house.chain.transact(usdc, "blacklist", vault.address)

    with pytest.raises(ContractReverted):
        house.safe.execute(written.now)

    weth = contract_at(house.chain.rpc, "IERC20Metadata", house.token("WETH"))
    assert house.read(weth, "allowance", house.safe.address, vault.address) == 0


# Roles


def test_a_safe_as_curator_schedules_waits_and_makes_a_change(
    house: House, vault: BoundContract, ask: Callable[..., Written]
) -> None:
    targets = ("--target", "WETH=50%", "--target", "WBTC=30%", "--target", "USDC=20%")
    command = ("vault", "set-targets", "--vault", vault.address, *targets, "--glide", DAY)
    written = ask(*command)

    (scheduled,) = written.raw["now"]["calls"]
    (made,) = written.raw["then"]["calls"]
    assert scheduled["reading"]["function"] == "schedule(address,bytes,uint48)"
    inner = scheduled["reading"]["arguments"]["data"]
    assert inner["function"] == made["reading"]["function"] == "setTargets(uint256[],uint256)"
    assert inner["arguments"]["targetsE18"] == [str(E18 // 2), str(3 * E18 // 10), str(E18 // 5)]
    operation = made["operation"]
    assert operation == scheduled["operation"]
    assert (operation["is_scheduled"], made["outcome"]) == (False, "succeeds")
    if house.chain.is_anvil:  # Hardhat cannot try it, and so tells no time
        earliest = int(operation["earliest_at"])
        assert earliest - house.chain.now() - DELAY in range(3)
        assert written.raw["then"]["earliest"] == utc(earliest)

    house.safe.execute(written.now)
    manager = contract_at(house.chain.rpc, "AccessManager", house.system.authority)
    id_ = bytes.fromhex(operation["id"][2:])
    at = house.read(manager, "getSchedule", id_)
    assert at == house.chain.now() + DELAY
    with pytest.raises(ContractReverted):
        house.safe.execute(written.then)

    # Asked once more, there is nothing to schedule, and the time is known.
    again = ask(*command)
    assert again.now is None
    (waiting,) = again.raw["then"]["calls"]
    assert waiting["operation"]["is_scheduled"] is True
    assert int(waiting["operation"]["earliest_at"]) == at
    early = ask("admin", "execute", "--operation", operation["id"])
    assert (early.now, early.raw["then"]["calls"]) == (None, [waiting])

    house.wait(DELAY)
    assert ask(*command).then is None
    house.safe.execute(written.then)
    assert house.read(vault, "assets")[0][1] == E18 // 2


def test_a_safe_as_guardian_pauses_at_once_and_cancels(
    house: House, vault: BoundContract, ask: Callable[..., Written]
) -> None:
    called = ("admin", "call", "--contract", vault.address, "--function", "pauseRebalance")
    written = ask(*called)
    assert written.then is None
    house.safe.execute(written.now)
    assert house.read(vault, "state")[-1] is True  # paused

    bands = ("vault", "set-bands", "--vault", vault.address, "--band", "WETH=200")
    scheduled = ask(*bands)
    house.safe.execute(scheduled.now)
    operation = scheduled.raw["then"]["calls"][0]["operation"]["id"]
    house.safe.execute(ask("admin", "cancel", "--operation", operation).now)
    assert read_permissions(house.chain.rpc, house.system).operations == ()


def test_a_safe_as_admin_grants_and_as_owner_changes_a_feed(house: House, ask: Callable[..., Written]) -> None:
    new = "0x" + "12" * 20
    grant = ask("admin", "grant", "--role", "curator", "--to", new, "--delay-hours", 48)
    weth = house.token("WETH")
    hub = contract_at(house.chain.rpc, "OracleHub", house.system.oracle)
    feed = house.read(hub, "feedOf", weth)
    values = (weth, feed[0], feed[2], feed[1] + 60, feed[3], feed[4])
    arguments = [part for value in values for part in ("--arg", value)]
    change = ask("admin", "call", "--contract", "OracleHub", "--function", "setFeed", *arguments)
    for written in (grant, change):
        assert functions(written.raw["now"]) == ["schedule"]
        assert written.raw["then"]["calls"][0]["outcome"] == "succeeds"
        house.safe.execute(written.now)
    house.wait(DELAY)

    for written in (grant, change):
        house.safe.execute(written.then)

    curators = read_permissions(house.chain.rpc, house.system).held(Role.CURATOR)
    assert new in {holder.account for holder in curators}
    assert house.read(hub, "feedOf", weth)[1] == feed[1] + 60


def test_a_safe_is_the_only_admin_after_the_launch_and_makes_and_revokes_another(
    house: House, ask: Callable[..., Written]
) -> None:
    def admins() -> set[str]:
        held = read_permissions(house.chain.rpc, house.system).held(Role.ADMIN)
        return {holder.account for holder in held if holder.contract is None}

    safe, second = house.safe.address, devnet_signer(7).address
    assert admins() == {safe}
    for command, left in (
        (("hand-over", "--to", second), {safe, second}),
        (("revoke", "--role", "ADMIN", "--holder", second), {safe}),
    ):
        written = ask("admin", *command)
        house.safe.execute(written.now)
        house.wait(DELAY)
        house.safe.execute(written.then)
        assert admins() == left


# What is told


def test_what_would_be_refused_now_is_told_and_nothing_is_written(house: House, vault: BoundContract, cli: Cli) -> None:
    stranger = "0x" + "34" * 20
    for command, sender, message in (
        (("vault", "deposit", "--shares", "1000000000"), house.safe.address, "holds"),
        (("vault", "sync", "--token", "USDC"), house.safe.address, "NothingLost"),
        (("vault", "set-bands", "--band", "WETH=200"), stranger, "may not call setBands"),
        (("vault", "claim"), house.safe.address, "has no claim on any token"),
    ):
        ran = cli(*command, "--vault", vault.address, "--unsigned", "refused.json", "--from", sender)
        assert message in ran.sentence, command
        assert ran.code in (10, 16)
    assert list(Path().glob("refused*")) == []


def test_a_scheduled_call_that_would_be_refused_is_written_and_told(
    house: House, vault: BoundContract, cli: Cli
) -> None:
    ran = cli(
        *("admin", "call", "--contract", vault.address, "--function", "allowPurchases"),
        *("--arg", 99, "--unsigned", "odd.json", "--from", house.safe.address),
    )
    assert ran.code == 0, ran.err
    (call,) = json.loads(Path("odd.json").read_text())["then"]["calls"]
    assert call["outcome"].startswith("would revert now: ")
    assert f"warning: allowPurchases of Safe basket {vault.address}: would revert" in ran.err


def test_what_a_contract_account_cannot_do_says_what_to_do_instead(house: House, cli: Cli) -> None:
    where = ("--unsigned", "no.json", "--from", house.safe.address)
    deployed = cli("deploy", *where)
    assert "cannot send the deployment of contracts: deploy with an account that has" in (deployed.sentence)
    assert deployed.code == 16
    for command in (("tx", "cancel", "--id", 1), ("tx", "clear")):
        assert "only the keeper's key can use its nonces" in cli(*command, *where).sentence
    assert not Path("no.json").exists()


def test_options_that_do_not_fit_and_files_that_are_there(house: House, cli: Cli) -> None:
    Path("there.now.safe.json").write_text("mine")
    where = ("--unsigned", "there.json", "--from", house.safe.address)
    assert "--unsigned needs --from" in cli(*CHANGE, "--unsigned", "a.json").err
    assert "--from needs --unsigned" in cli(*CHANGE, *where[2:]).err
    assert "omit --account" in (cli(*CHANGE, "--unsigned", "a.json", *where[2:], "--account", 0).err)
    ran = cli(*CHANGE, *where)
    assert "there.now.safe.json cannot be written (the file exists" in ran.sentence
    assert (ran.code, Path("there.now.safe.json").read_text()) == (26, "mine")


def test_an_address_without_code_is_told(house: House, vault: BoundContract, cli: Cli) -> None:
    nobody = devnet_signer(0).address
    for symbol, raw in WEALTH.items():
        house.market.deal(symbol, nobody, raw)
    where = ("--unsigned", "calls.json", "--from", nobody)
    ran = cli("vault", "deposit", "--vault", vault.address, "--shares", "1", *where)
    assert f"{nobody} has no code on chain 31337: if it is a Safe, check" in ran.out


def test_json_is_what_the_file_has(house: House, cli: Cli) -> None:
    ran = cli(*CHANGE, "--unsigned", "a.json", "--from", house.safe.address, "--json")
    assert ran.json == json.loads(Path("a.json").read_text())


def test_a_node_that_cannot_try_calls_in_a_row_has_them_written_all_the_same(
    house: House, ask: Callable[..., Written], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.send.simulate._METHOD", "eth_simulateNothing")
    written = ask("vault", "create", "--spec", "vault.toml")
    assert functions(written.raw["now"]) == ["approve"] * 3 + ["createVault", "assign"]
    outcomes = [call["outcome"] for call in written.raw["now"]["calls"]]
    assert outcomes == ["succeeds"] + ["not simulated: the node cannot"] * 4
    house.safe.execute(written.now)
    vault = contract_at(house.chain.rpc, "BasketVault", written.raw["notes"][0].split()[5].rstrip(";"))

    house.safe.execute(ask("vault", "deposit", "--vault", vault.address, "--shares", "5").now)
    accepted = ask(*CHANGE)
    assert accepted.raw["then"]["earliest_at"] is None
    house.safe.execute(accepted.now)
    house.wait(DELAY)
    house.safe.execute(accepted.then)
