"""The doctor: on a healthy devnet nothing is wrong; each thing broken is found, and named with its cure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.errors import ConfigError, RpcRejected
from rebalancer.operations.deploy import FeedSpec, set_feed
from rebalancer.operations.doctor import Finding, _deployer, _finality, diagnose
from rebalancer.operations.governance import Holder, Permissions
from rebalancer.send.attempt import Intent
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.settings import KeeperSettings, RpcUrl, Settings, load_settings
from rebalancer.venues import VENUES
from rebalancer.venues.reading import Venue
from rebalancer.venues.uniswap_v4 import v4_ref
from tests.commands import run

PRICES_E8 = {"ETH/USD": 1_800 * 10**8, "BTC/USD": 28_000 * 10**8, "USDC/USD": 10**8}
STRANGER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def built() -> Iterator[DevEnvironment]:
    """A devnet with a vault."""
    with Node.start() as node, node.rpc(timeout_s=60) as rpc:
        yield build_environment(LocalChain(rpc), PRICES_E8)


@pytest.fixture
def environment(built: DevEnvironment) -> Iterator[DevEnvironment]:
    """The devnet; all that a test does to it is undone."""
    before = built.chain.snapshot()
    yield built
    built.chain.revert(before)


@pytest.fixture
def settings(environment: DevEnvironment, tmp_path: Path) -> Settings:
    """Settings that fit the devnet."""
    path = tmp_path / "deployment.json"
    environment.deployment.save(path)
    keeper = {"outbox_file": tmp_path / "outbox.sqlite", "devnet_account": Actor.KEEPER.value}
    return Settings(
        rpc_url=environment.chain.rpc.endpoint,  # type: ignore[arg-type]  # parsed into the secret type
        deployment=path,
        keeper=KeeperSettings(**keeper),  # type: ignore[arg-type]  # a dict of mixed values
    )


def changed(settings: Settings, **fields: Any) -> Settings:
    """The same settings but for some; `keeper` gives the keeper's that change."""
    if "keeper" in fields:
        fields["keeper"] = settings.keeper.model_copy(update=fields["keeper"])
    return settings.model_copy(update=fields)


def wrong(settings: Settings | ConfigError, now: int | None = None) -> dict[str, Finding]:
    """What is not well, by check; each with one sentence and one cure."""
    found = {finding.check: finding for finding in diagnose(settings, now) if not finding.ok}
    for finding in found.values():
        assert finding.sentence.endswith(".")
        assert finding.remedy.endswith(".")
        assert "\n" not in finding.sentence + finding.remedy
    return found


def test_healthy_devnet_has_nothing_wrong_and_is_left_as_it_was(
    settings: Settings, environment: DevEnvironment, tmp_path: Path
) -> None:
    before = (environment.chain.block()["hash"], sorted(tmp_path.iterdir()))
    findings = diagnose(settings)

    assert [finding for finding in findings if not finding.ok] == []
    assert {finding.check for finding in findings} == {
        *("settings", "rpc", "chain", "head", "deployment", "contracts", "vaults", "feeds"),
        *("pools", "admins", "role", "keystore", "ether", "outbox"),
    }
    assert [finding.sentence for finding in findings if finding.check == "feeds"] == [
        "The price of WETH is sound: 1,800.00 USD.",
        "The price of WBTC is sound: 28,000.00 USD.",
        "The price of USDC is sound: 1.00 USD.",
    ]
    assert before == (environment.chain.block()["hash"], sorted(tmp_path.iterdir()))


def test_settings_of_two_chains_are_looked_through_chain_by_chain(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rebalancer.toml").write_text(
        f"""
        [keeper]
        devnet_account = {Actor.KEEPER.value}
        [[chains]]
        chain_id = 31337
        rpc_url = "{settings.rpc_url.get_secret_value()}"
        deployment = "{settings.deployment.name}"
        [[chains]]
        chain_id = 10
        rpc_url = "http://127.0.0.1:9"
        deployment = "other.json"
        """
    )

    reported, shown = run(capsys, "doctor", "--json"), run(capsys, "doctor")

    of = {chain: [one for one in reported.json if one["chain_id"] == chain] for chain in ("31337", "10")}
    assert all(one["ok"] for one in of["31337"])
    assert {one["check"] for one in of["10"] if not one["ok"]} >= {"rpc", "deployment"}
    assert len(of["31337"]) + len(of["10"]) == len(reported.json)
    assert reported.code == shown.code == 1
    assert shown.out.index("Chain 31337") < shown.out.index("Chain 10")


def test_bad_settings_are_the_only_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides={"chain_id": 0})
    (finding,) = diagnose(caught.value)
    assert (finding.check, finding.ok) == ("settings", False)
    assert finding.sentence.startswith("chain_id on the command line")


def test_endpoint_that_is_down_is_one_finding_and_local_things_are_still_seen(
    settings: Settings,
) -> None:
    down = Settings(rpc_url="http://127.0.0.1:9/secret", deployment=settings.deployment)  # type: ignore[arg-type]  # parsed
    found = wrong(changed(settings, rpc_url=down.rpc_url))
    assert list(found) == ["rpc"]
    assert "secret" not in found["rpc"].sentence
    assert "check that the node runs" in found["rpc"].remedy


def test_further_endpoints_that_cannot_stand_in_are_found(settings: Settings) -> None:
    urls = (RpcUrl("http://127.0.0.1:9/0ld-k3y"), settings.rpc_url)
    found = wrong(changed(settings, more_rpc_urls=urls, rpc_quorum=4))

    assert set(found) == {"more rpc", "quorum"}
    assert "http://127.0.0.1:9 cannot be reached" in found["more rpc"].sentence
    assert "0ld-k3y" not in str(found)
    assert found["quorum"].sentence.startswith("4 RPC endpoints must agree and only 3 can")


def test_wrong_chain_is_found(settings: Settings) -> None:
    found = wrong(changed(settings, chain_id=10))
    assert set(found) == {"chain", "deployment", "keystore"}
    assert "serves chain 31337, not chain 10" in found["chain"].sentence
    assert "it is for chain 31337, not 10" in found["deployment"].sentence


def test_node_that_lags_is_found(settings: Settings) -> None:
    with Node.start(NodeSettings(chain_id=777)) as node:
        url = Settings(rpc_url=node.url).rpc_url  # type: ignore[arg-type]  # parsed
        lagging = changed(settings, rpc_url=url, chain_id=777)
        now = int(time.time())
        assert "head" not in wrong(lagging, now)
        assert " is 1 h old." in wrong(lagging, now + 3600)["head"].sentence


def test_missing_deployment_is_found(settings: Settings) -> None:
    found = wrong(changed(settings, deployment=Path("nowhere.json")))
    assert list(found) == ["deployment"]
    assert "`rebalancer deploy`" in found["deployment"].remedy


def test_deployment_without_the_system_is_found(settings: Settings, environment: DevEnvironment) -> None:
    replace(environment.deployment, contracts={}).save(settings.deployment)
    assert "does not name" in wrong(settings)["deployment"].sentence


def test_contract_without_code_is_found(settings: Settings, environment: DevEnvironment) -> None:
    environment.chain.set_code(environment.system.lens, b"")
    found = wrong(settings)
    assert list(found) == ["contracts"]
    assert f"There is no VaultLens at {environment.system.lens}" in found["contracts"].sentence


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("BasketVault", "IMPLEMENTATION of the VaultFactory"),
        ("VaultExtension", "EXTENSION of the BasketVault"),
        ("ConfigStore", "STORE of the VaultExtension"),
    ],
)
def test_contract_of_another_deployment_is_found(
    settings: Settings, environment: DevEnvironment, key: str, message: str
) -> None:
    """Another of the same kind, which the vaults do not run."""
    owner = environment.wallet(Actor.OWNER)
    arguments = {
        "BasketVault": [environment.system.extension],
        "VaultExtension": [environment.system.config_store],
    }
    other = owner.deploy(key, *arguments.get(key, []))
    environment.deployment.with_contracts({**environment.deployment.contracts, key: other.address}).save(
        settings.deployment
    )
    found = wrong(settings)
    assert list(found) == ["contracts"]
    assert message in found["contracts"].sentence
    assert other.address.lower() in found["contracts"].sentence.lower()


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_pool_that_is_none_is_found(settings: Settings, environment: DevEnvironment, venue: Venue) -> None:
    token = environment.deployment.tokens[1].address
    tokens = (token, environment.deployment.tokens[2].address)
    ref = v4_ref(token, *tokens, 3_000, 60)
    if venue.name != ref.venue:
        ref = replace(ref, venue=venue.name, key="")
    known = (*environment.deployment.pools, ref)
    replace(environment.deployment, pools=known).save(settings.deployment)

    found = wrong(settings)

    assert list(found) == ["pools"]
    assert found["pools"].sentence.startswith(f"The pool at {token} cannot be read: ")


def test_excluded_asset_needs_no_price(settings: Settings, environment: DevEnvironment) -> None:
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.OWNER).transact(vault, "excludeAsset", 0)
    environment.wallet(Actor.GUARDIAN).transact(
        contract_at(environment.chain.rpc, "OracleHub", environment.system.oracle),
        "removeFeed",
        environment.deployment.listed("WETH").address,
    )
    assert wrong(settings) == {}
    assert f"WETH is excluded from {environment.vault} and needs no price." in [
        finding.sentence for finding in diagnose(settings)
    ]


def test_address_that_is_no_vault_is_found(settings: Settings, environment: DevEnvironment) -> None:
    found = wrong(changed(settings, vaults=(STRANGER, environment.vault)))
    assert list(found) == ["vaults"]
    assert STRANGER in found["vaults"].sentence


def test_no_vault_at_all_is_found(settings: Settings, environment: DevEnvironment) -> None:
    replace(environment.deployment, vaults=()).save(settings.deployment)
    assert wrong(settings)["vaults"].sentence == "No vault is known."


def test_paused_vault_is_found(settings: Settings, environment: DevEnvironment) -> None:
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
    found = wrong(settings)
    assert list(found) == ["vaults"]
    assert "paused" in found["vaults"].sentence


def test_stale_feed_is_found(settings: Settings, environment: DevEnvironment) -> None:
    environment.chain.mine(at=environment.chain.now() + 3 * 86_400)
    findings = [finding for finding in diagnose(settings) if not finding.ok]
    assert [finding.sentence for finding in findings] == [
        f"The price of {symbol} is not sound (Stale): its answer is older than its heartbeat."
        for symbol in ("WETH", "WBTC", "USDC")
    ]


def test_removed_feed_is_found(settings: Settings, environment: DevEnvironment) -> None:
    hub = contract_at(environment.chain.rpc, "OracleHub", environment.system.oracle)
    token = environment.deployment.listed("WBTC").address
    environment.wallet(Actor.GUARDIAN).transact(hub, "removeFeed", token)
    found = wrong(settings)
    assert list(found) == ["feeds"]
    assert found["feeds"].sentence == "The price of WBTC is not sound (NoFeed): no feed is set for it."
    assert "set a feed" in found["feeds"].remedy


def test_account_without_the_role_is_found_where_the_vault_never_opens(
    settings: Settings, environment: DevEnvironment
) -> None:
    assert wrong(changed(settings, keeper={"devnet_account": 9})) == {}
    reported = [one.sentence for one in diagnose(changed(settings, keeper={"devnet_account": 9}))]
    assert any("and may rebalance it 1 h after it is due." in sentence for sentence in reported)
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    closed = astuple(replace(DEMO_POLICY, open_after_seconds=0))
    environment.wallet(Actor.OWNER).transact(vault, "setPolicy", closed)
    found = wrong(changed(settings, keeper={"devnet_account": 9}))
    assert list(found) == ["role"]
    assert devnet_signer(9).address in found["role"].sentence


def test_feed_that_left_the_market_is_found(settings: Settings, environment: DevEnvironment) -> None:
    feed = next(one for one in environment.deployment.feeds if one.token == "WETH")
    aggregator = contract_at(environment.chain.rpc, "MockAggregator", str(feed.aggregator))
    environment.chain.transact(aggregator, "push", 1_700 * 10**8)
    found = wrong(settings)
    assert list(found) == ["feeds"]
    assert found["feeds"].sentence == (
        f"The feed {feed.address} of WETH looks wrong: the feed price is 1,700 USD; the listed pools and the other feeds "
        "imply 1,800 USD."
    )


def test_feed_of_another_token_is_found(settings: Settings, environment: DevEnvironment) -> None:
    other = environment.wallet(Actor.OWNER).deploy("MockAggregator", 8, "BTC / USD")
    environment.chain.transact(other, "push", 1_800 * 10**8)
    spec = FeedSpec(other.address, 8, 3_600, 1, 10**30)
    weth = environment.deployment.listed("WETH").address
    set_feed(environment.wallet(Actor.OWNER), environment.system.oracle, weth, spec)
    found = wrong(settings)
    assert list(found) == ["feeds"]
    assert "its description is 'BTC / USD', not WETH / USD" in found["feeds"].sentence


class Refusing(Rpc):
    """An endpoint that searches at most so many blocks for logs, and none before one."""

    most, first = 10**9, 0

    def batch_settled(self, calls: Any) -> list[Any]:
        return [self._refusal(call) or Rpc.batch_settled(self, [call])[0] for call in calls]

    def _refusal(self, call: Any) -> RpcRejected | None:
        method, params = call
        if method != "eth_getLogs":
            return None
        start, end = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
        if end - start < self.most and start >= self.first:
            return None
        return RpcRejected(method, -32005, "too many blocks")


@pytest.mark.parametrize("most", [10**9, 7])
def test_admins_are_looked_up_from_the_block_of_the_deployment_on(
    settings: Settings, environment: DevEnvironment, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    block = environment.deployment.block
    assert block
    monkeypatch.setattr(Refusing, "first", block)
    monkeypatch.setattr(Refusing, "most", most)
    monkeypatch.setattr("rebalancer.operations.doctor.Rpc", Refusing)
    reported = [one for one in diagnose(settings) if one.check == "admins"]
    assert [(one.ok, one.sentence) for one in reported] == [
        (True, "The delay of each admin is at least that of owner and curator.")
    ]


def test_admins_that_could_not_be_looked_up_are_no_pass(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(Refusing, "most", 0)
    monkeypatch.setattr("rebalancer.operations.doctor.Rpc", Refusing)
    (found,) = [one for one in diagnose(settings) if one.check == "admins"]
    assert found.ok is None
    assert "could not be checked: the endpoint refuses the search" in found.sentence
    assert found.remedy
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rebalancer.toml").write_text(
        f'rpc_url = "{settings.rpc_url.get_secret_value()}"\ndeployment = "{settings.deployment}"\n'
        f"[keeper]\ndevnet_account = {Actor.KEEPER.value}\n"
    )
    shown = run(capsys, "doctor")
    assert shown.code == 1
    assert "? admins  The admins" in shown.out
    assert "✗" not in shown.out


@pytest.mark.parametrize(
    ("admin", "owner", "ok"),
    [
        ("deployer", "deployer", True),
        ("both", "deployer", False),
        ("deployer", "safe", False),
        ("safe", "deployer", None),
    ],
)
def test_plain_account_that_deployed_is_admin_only_where_it_is_everything(
    admin: str, owner: str, ok: bool | None
) -> None:
    """On a chain whose keys not everybody knows; None: nothing is said."""
    rpc = Answers({"eth_getCode": "0x"})
    roles = {Role.ADMIN: admin, Role.OWNER: owner}
    held = [
        Holder(role, account, 1, 0)
        for role, whose in roles.items()
        for account in (("deployer", "safe") if whose == "both" else (whose,))
    ]
    block = Block(1, "0x01", 1)
    found = Permissions(block, (*held, Holder(Role.ADMIN, "x", 1, 0, "VaultRoles")), (), (), "deployer")
    message = [one.ok for one in _deployer(rpc, found, 1)]  # type: ignore[arg-type]  # of an Rpc it needs no more
    assert message == ([] if ok is None else [ok])
    assert not list(_deployer(rpc, found, 31337))  # type: ignore[arg-type]  # as above
    contract = Answers({"eth_getCode": "0x6001"})
    assert not list(_deployer(contract, found, 1))  # type: ignore[arg-type]  # as above


class Answers:
    """An endpoint that knows some answers by heart."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def call(self, method: str, *_: Any) -> Any:
        return self.answers[method]


def test_account_without_ether_is_found(settings: Settings, environment: DevEnvironment) -> None:
    environment.chain.set_balance(Actor.KEEPER.address, 10**9)
    found = wrong(settings)
    assert list(found) == ["ether"]
    assert found["ether"].remedy.startswith("send it at least 0.")


def test_gas_above_the_cap_is_found(settings: Settings) -> None:
    found = wrong(changed(settings, keeper={"max_fee_gwei": Decimal("0.000000001")}))
    assert list(found) == ["ether"]
    assert "the cap is" in found["ether"].sentence


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    key = devnet_signer(Actor.KEEPER)._account.key
    path.write_text(json.dumps(Account.encrypt(key, PASSWORD, "pbkdf2", iterations=2**18)))
    path.chmod(0o600)
    return path


def test_keystore_missing_or_of_another_kind_is_found(settings: Settings, tmp_path: Path) -> None:
    absent = wrong(changed(settings, keeper={"keystore": tmp_path / "absent"}))
    assert list(absent) == ["keystore"]
    (tmp_path / "present").write_text("{}")
    (tmp_path / "present").chmod(0o600)
    other = wrong(changed(settings, keeper={"keystore": tmp_path / "present"}))
    assert "holds no encrypted key" in other["keystore"].sentence


def test_keystore_whose_password_will_be_asked_for_is_judged_by_its_address(settings: Settings, keystore: Path) -> None:
    requested = changed(settings, keeper={"keystore": keystore})
    assert wrong(requested) == {}
    (sentence,) = [one.sentence for one in diagnose(requested) if one.check == "keystore"]
    assert Actor.KEEPER.address in sentence
    assert "will prompt for its password" in sentence


def test_password_that_is_wrong_or_open_to_others_is_found(settings: Settings, keystore: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong")
    password.chmod(0o644)
    reported = changed(settings, keeper={"keystore": keystore, "keystore_password_file": password})
    found = wrong(reported)
    assert set(found) == {"password", "keystore"}
    assert found["password"].remedy == f"run `chmod 600 {password}`."

    password.write_text(PASSWORD)
    password.chmod(0o600)
    assert wrong(reported) == {}


@pytest.mark.parametrize(
    ("kdf", "rounds", "why"),
    [("pbkdf2", 2**18 - 1, "pbkdf2 with c=262143"), ("scrypt", 4096, "scrypt with n=4096, r=8")],
)
def test_keystore_whose_password_is_quickly_guessed_is_found(
    settings: Settings, tmp_path: Path, kdf: Any, rounds: int, why: str
) -> None:
    path = tmp_path / "weak.json"
    made = Account.encrypt(devnet_signer(Actor.KEEPER)._account.key, PASSWORD, kdf, 2)
    made["crypto"]["kdfparams"]["c" if kdf == "pbkdf2" else "n"] = rounds  # not opened here
    path.write_text(json.dumps(made))
    path.chmod(0o600)

    found = wrong(changed(settings, keeper={"keystore": path}))

    assert list(found) == ["keystore"]
    assert found["keystore"].sentence.endswith(f"can be guessed quickly with the file: {why}.")


def test_files_that_others_can_open_are_found_each_by_its_name(
    settings: Settings, keystore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = tmp_path / "day-2026-11-30.jsonl.gz"
    outbox = settings.keeper.outbox_file
    Outbox(outbox).close()
    secret = tmp_path / "lane-password"
    sender = settings.keeper.model_copy(update={"keystore_password_file": secret, "extra_accounts": ()})
    reported = changed(
        settings,
        keeper={
            "keystore": keystore,
            "record_file": tmp_path / "day-%Y-%m-%d.jsonl.gz",
            "extra_accounts": (sender,),
        },
    )
    lock = outbox.with_name(outbox.name + ".lock")
    paths = [secret, Path(".env"), keystore, outbox, lock, record]
    for path in paths:
        path.touch()
        path.chmod(0o600)
    assert wrong(reported) == {}

    for path in paths:
        path.chmod(0o640)
    found = [one for one in diagnose(reported) if not one.ok]

    assert [one.remedy for one in found] == [f"run `chmod 600 {path}`." for path in paths]
    assert [one.check for one in found] == [*("password", "password", "keystore", "outbox", "outbox", "record")]


def test_outbox_that_cannot_be_written_or_read_is_found(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database")
    below = changed(settings, keeper={"outbox_file": tmp_path / "file" / "outbox"})
    assert list(wrong(below)) == ["outbox"]
    damaged = changed(settings, keeper={"outbox_file": tmp_path / "file"})
    assert "cannot be read" in wrong(damaged)["outbox"].sentence


def test_outbox_in_use_or_with_open_ends_is_told(settings: Settings) -> None:
    path = settings.keeper.outbox_file
    with Outbox(path) as outbox:
        assert "used by process" in diagnose(settings)[-1].sentence
        outbox.journal.plan(Intent(31337, STRANGER, 0, STRANGER, "0x", 1, "a test"), STRANGER)
    (finding,) = [finding for finding in diagnose(settings) if finding.check == "outbox"]
    assert finding.ok
    assert finding.sentence.endswith("Unresolved transactions in it: 1.")


class TagNode(Rpc):
    """Answers with a block of the tag, null, or a refusal."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answer = answer

    def call(self, method: str, *params: Any) -> Any:
        assert (method, params) == ("eth_getBlockByNumber", ("safe", False))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [None, RpcRejected("eth_getBlockByNumber", -32000, "safe block not found")])
def test_node_without_the_block_that_makes_final_is_told_of(answer: Any) -> None:
    (finding,) = _finality(TagNode(answer), KeeperSettings(confirmations="safe"))

    assert not finding.ok
    assert "has no safe block" in finding.sentence
    assert "keeper.confirmations" in finding.remedy


def test_node_with_the_block_that_makes_final_is_well() -> None:
    (finding,) = _finality(TagNode({"number": "0x7"}), KeeperSettings(confirmations="safe"))

    assert (finding.ok, finding.sentence) == (True, "The chain's safe block is 7.")
    assert list(_finality(TagNode(None), KeeperSettings())) == []
