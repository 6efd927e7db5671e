"""Settings: which source wins, and the sentence each mistake gets."""

from __future__ import annotations

import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rebalancer.cli.session import Session
from rebalancer.errors import ConfigError
from rebalancer.settings import (
    KeeperSettings,
    Settings,
    changed,
    describe,
    load_chains,
    load_settings,
)
from rebalancer.settings.examples import EXAMPLES

VAULT = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
SECRET = "0ld-k3y"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith("REBALANCER_"):
            monkeypatch.delenv(name)
    return tmp_path


def toml(text: str) -> None:
    Path("rebalancer.toml").write_text(text)


def refused(**overrides: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=overrides)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return caught.value


# What is refused


def test_file_asked_for_and_absent_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^mine\.toml: the file does not exist"):
        load_settings(Path("mine.toml"))


def test_file_that_is_not_toml_is_refused_with_its_line() -> None:
    toml("chain_id = 1\nrpc_url =\n")
    assert re.match(r"rebalancer\.toml: it is not TOML: .*line 2", str(refused()))


def test_file_that_is_not_text_is_refused() -> None:
    Path("rebalancer.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read as text" in str(refused())


def test_env_file_with_a_broken_line_is_refused_with_its_number() -> None:
    Path(".env").write_text("REBALANCER_CHAIN_ID=1\nwhat is this\n")
    assert str(refused()).startswith(".env: line 2 is not NAME=value")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("chian_id = 1", "chian_id in rebalancer.toml: unknown setting; the closest is chain_id."),
        ("[keeper]\npol_seconds = 1", "keeper.pol_seconds in rebalancer.toml: unknown setting; the closest is keeper.poll_seconds."),
        ("[kepeer]\npoll_seconds = 1", "kepeer in rebalancer.toml: unknown setting; the closest is keeper."),
        ("keeper = 5", "keeper in rebalancer.toml: it must be a section: [keeper]."),
        ("chain_id = 'main'", "chain_id in rebalancer.toml: 'main' is not valid: it must be a valid integer, unable to parse string as an integer; for example 31337."),
        ("chain_id = true", "chain_id in rebalancer.toml: True is not valid: it must be a number, not true or false; for example 31337."),
        ("chain_id = 0", "chain_id in rebalancer.toml: 0 is not valid: it must be greater than or equal to 1; for example 31337."),
        ("[keeper]\npoll_seconds = -1", "keeper.poll_seconds in rebalancer.toml: -1 is not valid: it must be greater than 0; for example 2.0."),
        ("[keeper]\npoll_seconds = nan", "keeper.poll_seconds in rebalancer.toml: nan is not valid: it must be less than or equal to 3600"),
        ("[keeper]\nmax_fee_gwei = 'cheap'", "keeper.max_fee_gwei in rebalancer.toml: 'cheap' is not valid: it must be a valid decimal; for example 200."),
        ("[keeper]\nmax_consecutive_failures = 0", "keeper.max_consecutive_failures in rebalancer.toml: 0 is not valid"),
        ("[keeper]\nkeystore = 5", "keeper.keystore in rebalancer.toml: 5 is not valid"),
        ("[wallet]\ndevnet_account = 20", "wallet.devnet_account in rebalancer.toml: 20 is not valid: it must be less than 20"),
        ("log_level = 'loud'", "log_level in rebalancer.toml: 'loud' is not valid: it must be 'debug', 'info', 'warning' or 'error'"),
        ("vaults = ['0x12']", "vaults in rebalancer.toml: '0x12' is not valid: it must be an address: 0x and 40 hexadecimal digits; for example ["),
        ("[keeper]\nlisten = '9464'", "keeper.listen in rebalancer.toml: '9464' is not valid: it must be host:port, or off or empty for no server; for example \"127.0.0.1:9464\"."),
        ("[keeper]\nlisten = 'localhost:65536'", "keeper.listen in rebalancer.toml: 'localhost:65536' is not valid"),
        ("[alerts]\nmin_severity = 'loud'", "alerts.min_severity in rebalancer.toml: 'loud' is not valid: it must be 'info', 'warning' or 'critical'"),
        ("[alerts]\nurls = ['mine']", "alerts.urls in rebalancer.toml: it must be an Apprise URL, kind://…; for example [\"slack://"),
        ("vaults = 5", "vaults in rebalancer.toml: 5 is not valid"),
        ("[keeper]\nkeystore_password = 'x'", "keeper.keystore_password in rebalancer.toml: this file must not contain a password; set REBALANCER_KEEPER__KEYSTORE_PASSWORD instead."),
    ],
)  # fmt: skip
def test_bad_toml_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    toml(text)
    assert str(refused()).startswith(sentence)


def test_mistyped_checksum_is_refused() -> None:
    toml('vaults = ["0x6C9FC64A53c1b71FB3f9Af64d1ae3A4931A5f4E8"]')
    assert "a character is mistyped" in str(refused())


def test_bad_variable_is_refused_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REBALANCER_KEEPER__POLL_SECONDS", "soon")
    assert str(refused()) == (
        "REBALANCER_KEEPER__POLL_SECONDS in the environment: 'soon' is not valid: it must be a "
        "valid number, unable to parse string as a number; for example 2.0."
    )
    monkeypatch.setenv("REBALANCER_KEEPER__POLL_SECONDS", "")
    Path(".env").write_text(f"REBALANCER_VAULTS={VAULT},0x1\n")
    error = refused()
    assert str(error).startswith("REBALANCER_VAULTS in .env: '0x1' is not valid")
    assert str(error).endswith(f"for example {VAULT}.")


@pytest.mark.parametrize("file", [False, True])
def test_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch, file: bool) -> None:
    if file:
        Path(".env").write_text("REBALANCER_KEEPER_POLL_SECONDS=3\n")
    else:
        monkeypatch.setenv("REBALANCER_KEEPER_POLL_SECONDS", "3")
    error = refused()
    assert error.where == ("in .env" if file else "in the environment")
    assert "the closest is REBALANCER_KEEPER__POLL_SECONDS" in str(error)


def test_bad_option_is_refused_before_what_it_overrules() -> None:
    toml("chain_id = 0")
    error = refused(chain_id=-5)
    assert (error.setting, error.where) == ("chain_id", "on the command line")
    assert "-5" in str(error)


@pytest.mark.parametrize("url", [f"node/{SECRET}", f"ftp://node/{SECRET}", f"http:///{SECRET}"])
def test_bad_url_is_refused_without_being_shown(url: str) -> None:
    error = refused(rpc_url=url)
    assert "must start with http:// or https://" in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_bad_relay_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REBALANCER_KEEPER__RELAYS", f"https://relay.example,ftp://x/{SECRET}")
    error = refused()
    assert "must start with http:// or https://" in str(error)
    assert SECRET not in str(error)


# What is taken


def test_nothing_said_gives_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.chain_id == 31337
    assert settings.rpc_url.get_secret_value() == "http://127.0.0.1:8545"
    assert settings.keeper.fee_cap_wei == 200 * 10**9


def test_option_beats_environment_beats_env_file_beats_toml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toml("chain_id = 1\nlog_level = 'error'\n[keeper]\npoll_seconds = 1\nmax_consecutive_failures = 1")
    assert load_settings().chain_id == 1
    Path(".env").write_text("REBALANCER_CHAIN_ID=2\nREBALANCER_KEEPER__POLL_SECONDS=2\nOTHER=x\n")
    assert load_settings().chain_id == 2
    monkeypatch.setenv("REBALANCER_CHAIN_ID", "3")
    assert load_settings().chain_id == 3
    settings = load_settings(overrides={"chain_id": 4, "keeper.poll_seconds": None})

    assert settings.chain_id == 4
    assert settings.log_level == "error"
    assert (settings.keeper.poll_seconds, settings.keeper.max_consecutive_failures) == (2, 1)


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.chain_id = 1
    with pytest.raises(ValidationError):
        settings.keeper.poll_seconds = 1


def test_values_are_parsed_once_and_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    checksummed = "0x6C9FC64A53c1b71FB3f9Af64d1ae3A4931A5f4E9"
    monkeypatch.setenv("REBALANCER_VAULTS", f" {checksummed} , 0x{'ab' * 20},")
    monkeypatch.setenv("REBALANCER_KEEPER__MAX_FEE_GWEI", "0.1")
    monkeypatch.setenv("rebalancer_keeper__keystore", "~/key.json")
    settings = load_settings()

    assert settings.vaults == (VAULT, "0x" + "ab" * 20)
    assert settings.keeper.max_fee_gwei == Decimal("0.1")
    assert settings.keeper.fee_cap_wei == 100_000_000
    assert settings.keeper.keystore == Path.home() / "key.json"


def test_relays_are_listed_with_commas_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = (f"https://relay.example/{SECRET}", f"https://other.example/?key={SECRET}")
    monkeypatch.setenv("REBALANCER_KEEPER__RELAYS", ", ".join(urls))
    monkeypatch.setenv("REBALANCER_KEEPER__ALLOWED_TARGETS", VAULT)
    monkeypatch.setenv("REBALANCER_KEEPER__SIGNER_URL", urls[0])
    keeper = load_settings().keeper

    assert tuple(relay.get_secret_value() for relay in keeper.relays) == urls
    assert keeper.allowed_targets == (VAULT,)
    assert SECRET not in repr(keeper)
    assert "https://relay.example" in repr(keeper)


def test_places_of_alerts_are_listed_with_commas_and_only_their_kinds_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = (f"tgram://{SECRET}/12", f"mailto://{SECRET}.example?to=a%2Cb")
    monkeypatch.setenv("REBALANCER_ALERTS__URLS", ", ".join(urls))
    alerts = load_settings().alerts

    assert tuple(url.get_secret_value() for url in alerts.urls) == urls
    assert SECRET not in repr(alerts)
    assert "tgram://…" in repr(alerts)


def test_place_that_is_none_is_refused_without_showing_it() -> None:
    toml(f"[alerts]\nurls = ['json://x', '{SECRET}']")
    assert SECRET not in str(refused())


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:80", ("::1", 80)),
        ("keeper:0", ("keeper", 0)),
        ("", None),
        ("off", None),
    ],
)
def test_keeper_listens_at_host_and_port_or_nowhere(text: str, at: tuple[str, int] | None) -> None:
    toml(f"[keeper]\nlisten = '{text}'")
    assert load_settings().keeper.listens_at == at


def test_further_endpoints_are_listed_with_commas_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = (f"https://one.example/{SECRET}", f"https://two.example/?key={SECRET}")
    monkeypatch.setenv("REBALANCER_MORE_RPC_URLS", ", ".join(urls))
    monkeypatch.setenv("REBALANCER_RPC_WEBSOCKET_URL", f"wss://three.example/{SECRET}")
    settings = load_settings()

    assert tuple(url.get_secret_value() for url in settings.more_rpc_urls) == urls
    assert SECRET not in repr(settings)
    assert "https://two.example" in repr(settings)
    assert "wss://three.example" in repr(settings)


def test_a_socket_that_is_none_is_refused_without_showing_it() -> None:
    toml(f"rpc_websocket_url = 'https://node.example/{SECRET}'")
    error = refused()

    assert "it must start with ws:// or wss://" in str(error)
    assert SECRET not in str(error)


def test_secrets_are_kept_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://user:{SECRET}@node.example:8545/v3/{SECRET}?key={SECRET}"
    Path(".env").write_text(f"REBALANCER_KEEPER__KEYSTORE_PASSWORD='{SECRET}'\n")
    monkeypatch.setenv("REBALANCER_RPC_URL", url)
    settings = load_settings()

    assert settings.rpc_url.get_secret_value() == url
    assert settings.keeper.keystore_password is not None
    assert settings.keeper.keystore_password.get_secret_value() == SECRET
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.rpc_url}"):
        assert SECRET not in shown
    assert "https://node.example:8545" in repr(settings)


# Several chains

TWO = f"""
rpc_timeout_seconds = 7.5
vaults = ["{VAULT}"]
[keeper]
max_fee_gwei = 50
[[chains]]
chain_id = 1
rpc_url = "https://one.example"
[[chains]]
chain_id = 10
rpc_url = "https://ten.example"
vaults = []
keeper = {{ max_fee_gwei = 2, outbox_file = "ten.sqlite" }}
"""


def test_each_chain_has_what_its_table_says_and_the_rest_from_above() -> None:
    toml(TWO)
    one, ten = load_chains()

    assert [each.chain_id for each in (one, ten)] == [1, 10]
    assert [each.rpc_url.get_secret_value() for each in (one, ten)] == [
        "https://one.example",
        "https://ten.example",
    ]
    assert one.rpc_timeout_seconds == ten.rpc_timeout_seconds == 7.5
    assert (one.vaults, ten.vaults) == ((VAULT,), ())
    assert (one.keeper.max_fee_gwei, ten.keeper.max_fee_gwei) == (Decimal(50), Decimal(2))
    assert [str(each.keeper.outbox_file) for each in (one, ten)] == [
        ".rebalancer/outbox-1.sqlite",
        "ten.sqlite",
    ]


def test_the_command_line_says_which_of_several_chains_is_meant() -> None:
    toml(TWO)
    assert load_settings(overrides={"chain_id": 10}).keeper.max_fee_gwei == 2
    assert [each.chain_id for each in load_chains(overrides={"chain_id": 10})] == [10]
    with pytest.raises(ConfigError, match="the chains 1, 10; select one with --chain-id"):
        load_settings()
    with pytest.raises(ConfigError, match="the file contains only the chains 1, 10"):
        load_settings(overrides={"chain_id": 7})


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("chains = 3", "it must be tables"),
        ("[[chains]]\nrpc_url = 'http://x'", "each table needs a chain_id"),
        ("[[chains]]\nchain_id = 1\n[[chains]]\nchain_id = 1", "it contains chain 1 twice"),
        ("[[chains]]\nchain_id = 1\nrcp_url = 'http://x'", "under [[chains]]"),
        (
            "[[chains]]\nchain_id = 1\n[chains.keeper]\nkeystore_password = 'x'",
            "must not contain a password",
        ),
        (
            "[[keeper.extra_accounts]]\nkeystore_password = 'x'",
            "set keystore_password_file instead",
        ),
        ("[[keeper.extra_accounts]]\nkeystroke = 'x'", "keeper.extra_accounts.keystroke"),
        ("[keeper]\nextra_accounts = [1]", "keeper.extra_accounts"),
        ("[[chains]]\nchain_id = 1\nkeeper = { extra_accounts = [1] }", "keeper.extra_accounts"),
    ],
)
def test_chains_and_lanes_that_are_wrong_are_refused_with_a_sentence(text: str, wrong: str) -> None:
    toml(text)
    with pytest.raises(ConfigError) as refusal:
        load_chains()
    assert wrong in str(refusal.value)


def test_lanes_are_accounts() -> None:
    toml('[[keeper.extra_accounts]]\ndevnet_account = 5\n[[keeper.extra_accounts]]\nkeystore = "second.json"')
    first, second = load_settings().keeper.extra_accounts
    assert first.devnet_account == 5
    assert str(second.keystore) == "second.json"


def test_an_account_that_is_two_lanes_is_refused_with_its_address() -> None:
    toml("[[keeper.extra_accounts]]\ndevnet_account = 5\n[[keeper.extra_accounts]]\ndevnet_account = 3")
    with pytest.raises(ConfigError, match=r"0x90f79bf6.* is configured twice"):
        Session(load_settings()).keepers(None)
    assert [one.address[:6] for one in Session(load_settings()).keepers(4)] == ["0x15d3"]


def test_what_differs_between_two_settings_is_named_and_whether_it_is_live() -> None:
    before = load_settings()
    overrides = {"keeper.max_fee_gwei": 9, "wallet.max_fee_gwei": 9, "rpc_quorum": 2}
    found = changed(before, load_settings(overrides=overrides))
    assert {each.name: each.live for each in found} == {
        "keeper.max_fee_gwei": True,
        "wallet.max_fee_gwei": False,
        "rpc_quorum": False,
    }


def test_the_example_marks_what_is_live(repo_root: Path) -> None:
    text = (repo_root / "rebalancer.example.toml").read_text()
    section, marked, comment = "", set(), ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line[1:].split("]")[0] + "."
        elif line.startswith("# "):
            comment = line
        elif line.startswith("#"):
            if "(live)" in comment:
                marked.add(section + line[1:].split(" ")[0])
            comment = ""
    assert marked == {one.name for one in describe() if one.live}


def test_redis_url_shows_neither_password_nor_options() -> None:
    toml(f"[fleet]\nredis_url = 'rediss://keeper:{SECRET}@redis.example:6380/2?ssl_certfile={SECRET}'")
    settings = load_settings()

    assert SECRET not in repr(settings)
    assert "rediss://redis.example:6380/2" in repr(settings)


def test_redis_url_of_another_kind_is_refused_and_not_shown() -> None:
    toml(f"[fleet]\nredis_url = 'https://redis.example/{SECRET}'")
    with pytest.raises(ConfigError, match="redis://, rediss:// or unix://") as caught:
        load_settings()

    assert SECRET not in str(caught.value)


# What is written down of them


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_files_are_those_made_from_the_schema(repo_root: Path, name: str) -> None:
    assert (repo_root / name).read_text() == EXAMPLES[name](), (
        "run `python -m rebalancer.settings.examples` in the project's folder"
    )


def test_example_shows_the_limits_of_a_setting() -> None:
    limits = {one.name: one.limits for one in describe()}
    assert limits["keeper.poll_seconds"] == "More than 0, at most 3600."
    assert limits["wallet.devnet_account"] == "At least 0, less than 20."
    assert limits["alerts.min_severity"] == "One of info, warning, critical."
    assert limits["chain_id"] == "At least 1."
    assert limits["rpc_url"] == ""


def test_example_toml_lists_every_setting_at_its_default(repo_root: Path) -> None:
    text = (repo_root / "rebalancer.example.toml").read_text()
    assert tomllib.loads(text) == {"wallet": {}, "keeper": {}, "alerts": {}, "fleet": {}}
    listed = tomllib.loads(re.sub(r"(?m)^#(?=\w)", "", text))
    names = {
        f"{section}.{name}" if isinstance(content, dict) else section
        for section, content in listed.items()
        for name in (content if isinstance(content, dict) else [""])
    }
    assert names == {one.name for one in describe() if not one.name.endswith("_password")}

    toml(re.sub(r"(?m)^#(?=\w)", "", text))
    assert _without_examples(load_settings()) == _without_examples(Settings())


def test_example_env_lists_every_variable_at_its_default(repo_root: Path) -> None:
    text = (repo_root / ".env.example").read_text()
    listed = re.findall(r"(?m)^#(REBALANCER_\w+)=", text)
    assert listed == [one.variable for one in describe()]

    Path(".env").write_text(re.sub(r"(?m)^#(?=\w)", "", text))
    assert _without_examples(load_settings()) == _without_examples(Settings())


def test_every_setting_is_described() -> None:
    for setting in describe():
        assert setting.description.endswith(".")
        assert setting.example


def _without_examples(settings: Settings) -> dict[str, Any]:
    """The settings that have a default: the example files show an example of the others."""
    flat = settings.model_dump(exclude={"vaults", "more_rpc_urls", "rpc_websocket_url"})
    for section in ("wallet", "keeper"):
        for name in ("keystore", "keystore_password_file", "signer_url", "signer_address"):
            del flat[section][name]
    del flat["keeper"]["relays"], flat["keeper"]["allowed_targets"], flat["keeper"]["record_file"]
    del flat["keeper"]["allowed_hosts"], flat["keeper"]["native_price_usd"]
    flat["keeper"]["spending_file"] = flat["keeper"]["spending_file"].expanduser()
    del flat["alerts"]["urls"]
    del flat["fleet"]["redis_url"], flat["fleet"]["worker_name"]
    return flat


@pytest.mark.parametrize(
    ("message", "meant"),
    [(3, 3), ("3", 3), ("safe", "safe"), ("finalized", "finalized")],
)
def test_confirmations_are_blocks_or_a_tag(message: Any, meant: int | str) -> None:
    assert KeeperSettings(confirmations=message).confirmations == meant


@pytest.mark.parametrize("message", [0, -1, True, 1.5, "latest", "SAFE", "", "-1"])
def test_confirmations_of_anything_else_say_what_would_do(tmp_path: Path, message: Any) -> None:
    shown = str(message).lower() if isinstance(message, bool) else repr(message).replace("'", '"')
    file = tmp_path / "rebalancer.toml"
    file.write_text(f"[keeper]\nconfirmations = {shown}\n")

    with pytest.raises(ConfigError, match="a number of blocks of at least 1, or safe or finalized"):
        load_settings(file, env_file=tmp_path / ".env")
