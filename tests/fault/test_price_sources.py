"""Price sources by command: from a chain's TOML file through `rebalancer deploy` to what `rebalancer prices` and the doctor say.

What is wrong with the file, or with what it names, is one sentence; nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.units import E18
from tests.commands import Ran, run

OWNER = ("--account", Actor.OWNER.value)
BITCOIN = "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"
DAY = 86_400
ETHER_USD, BITCOIN_USD = 2_000, 30_000

Cli = Callable[..., Ran]


pytestmark = pytest.mark.usefixtures("only_own_settings")


@pytest.fixture
def cli(environment: DevEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command against the stage, with an addresses file of its own."""

    def command(*arguments: object) -> Ran:
        file = tmp_path / "new.json"
        return run(capsys, "--rpc-url", environment.chain.rpc.endpoint, "--deployment", file, *arguments)

    return command


def made(environment: DevEnvironment, name: str, *args: object) -> BoundContract:
    return environment.wallet(Actor.OWNER).deploy(name, *args)


def feed_of(environment: DevEnvironment, answer: int, decimals: int = 8, called: str = "feed") -> BoundContract:
    feed = made(environment, "MockAggregator", decimals, called)
    environment.wallet(Actor.OWNER).transact(feed, "push", answer)
    return feed


@pytest.fixture
def chain_toml(environment: DevEnvironment, tmp_path: Path) -> Path:
    """WETH by its feed and another one, WBTC in bitcoins and by its pool, a staked ether, a vault of USDC, and a sequencer."""
    owner = environment.wallet(Actor.OWNER)
    weth, wbtc, usdc = (environment.deployment.listed(s).address for s in ("WETH", "WBTC", "USDC"))
    pool = next(p for p in environment.deployment.pools if set(p.tokens) == {weth, wbtc})
    contract = contract_at(environment.chain.rpc, "UniswapV3Pool", pool.address)
    owner.transact(contract, "increaseObservationCardinalityNext", 16)
    environment.market.step(environment.market.prices_e8, environment.chain.now() + 3_600)
    environment.market.step(environment.market.prices_e8, environment.chain.now() + 3_600)
    staked = made(environment, "MockStakedToken", 12 * E18 // 10).address
    shares = made(environment, "MockShareVault", usdc, 7).address
    uptime = made(environment, "MockAggregator", 0, "sequencer")
    owner.transact(uptime, "pushAt", 0, environment.chain.now() - DAY)
    feeds = {name.token: name.address for name in environment.deployment.feeds}
    text = f"""
wrapped_native = "{weth}"
tokens = ["{weth}", "{wbtc}", "{usdc}"]
pools = ["{pool.address}"]

[sequencer]
feed = "{uptime.address}"
grace_seconds = 3600

[[feeds]]
token = "{weth}"
address = "{feeds["WETH"]}"
heartbeat_seconds = 3600

[[feeds]]
token = "{wbtc}"
address = "{feed_of(environment, 999 * E18 // 1_000, 18, "WBTC / BTC").address}"
heartbeat_seconds = 86400
quote = "{BITCOIN}"
min_price = 10000
max_price = 100000

[[feeds]]
token = "{BITCOIN}"
name = "BTC"
address = "{feeds["WBTC"]}"
heartbeat_seconds = 3600

[[feeds]]
token = "{usdc}"
address = "{feeds["USDC"]}"
heartbeat_seconds = 86400

[[feeds]]
token = "{staked}"
address = "{feed_of(environment, 2_401 * 10**8, called="WSTETH / USD").address}"
heartbeat_seconds = 86400

[[feeds]]
token = "{shares}"
address = "{feed_of(environment, 10**8, called="Vault share").address}"
heartbeat_seconds = 86400
description = "Vault share"

[[sources]]
token = "{weth}"
kind = "feed"
address = "{feed_of(environment, 2_004 * 10**8).address}"
heartbeat_seconds = 7200
decimals = 8
max_divergence_bps = 50

[[sources]]
token = "{wbtc}"
kind = "uniswap_v3_twap"
pool = "{pool.address}"
window_seconds = 1800
max_divergence_bps = 200

[[sources]]
token = "{staked}"
kind = "getter"
function = "stEthPerToken()"
decimals = 18
quote = "{weth}"
max_divergence_bps = 100

[[sources]]
token = "{shares}"
kind = "erc4626"
max_divergence_bps = 10
"""
    path = tmp_path / "chain.toml"
    path.write_text(text)
    return path


def deploy(cli: Cli, path: Path) -> Ran:
    return cli("deploy", "--chain", path, *OWNER)


def test_every_kind_of_source_goes_from_the_file_to_the_chain(
    environment: DevEnvironment, cli: Cli, chain_toml: Path, tmp_path: Path
) -> None:
    deployed = deploy(cli, chain_toml)
    assert deployed.code == 0, deployed.err
    known = Deployment.load(tmp_path / "new.json")
    assert [feed.name for feed in known.feeds] == [
        *("WETH/USD", "WBTC/BTC", "USDC/USD", "wstETH/USD", "SHARE/USD"),
    ]
    hub = contract_at(environment.chain.rpc, "OracleHub", known.contracts["OracleHub"])
    assert hub.call("GRACE_SECONDS") == 3_600

    shown = {one["token"]: one for one in cli("prices", "--json").json["prices"]}
    by_symbol = {token.symbol: shown[token.address] for token in known.tokens}
    assert {symbol: one["second"] for symbol, one in by_symbol.items()} == {
        "WETH": "feed",
        "WBTC": "uniswap_v3_twap",
        "USDC": "none",
        "wstETH": "getter",
        "SHARE": "erc4626",
    }
    assert {one["fault"] for one in shown.values()} == {"None"}
    assert {one["sentence"] for one in shown.values()} == {"sound"}
    assert by_symbol["WBTC"]["quote"] == BITCOIN.lower()
    assert int(by_symbol["WBTC"]["primary_e18"]) == BITCOIN_USD * 999 * E18 // 1_000
    assert int(by_symbol["wstETH"]["second_e18"]) == ETHER_USD * 12 * E18 // 10
    assert by_symbol["WETH"]["divergence_bps"] == "20"
    assert by_symbol["WETH"]["max_divergence_bps"] == "50"

    table = cli("prices", "--token", "WETH", "--token", "SHARE").out
    assert "feed $2,004.0000" in table
    assert "0.20 %" in table
    assert "erc4626 $1.0000" in table


def test_prices_say_in_words_what_is_wrong_and_the_doctor_says_it_of_a_vault(
    environment: DevEnvironment, cli: Cli, chain_toml: Path, tmp_path: Path
) -> None:
    assert deploy(cli, chain_toml).code == 0
    source = next(line for line in chain_toml.read_text().split("[[sources]]") if "7200" in line)
    second = contract_at(environment.chain.rpc, "MockAggregator", source.split('address = "')[1][:42])
    owner = environment.wallet(Actor.OWNER)
    owner.transact(second, "push", 2_020 * 10**8)

    apart = cli("prices", "--token", "WETH").out
    assert "its two sources differ by 100 bps, and the limit is 50 bps" in apart
    owner.transact(second, "setFailing", True)
    silent = cli("prices", "--token", "WETH").out
    assert "its second source has a fault: its source does not answer" in " ".join(silent.split())


@pytest.fixture
def adapted_toml(environment: DevEnvironment, chain_toml: Path) -> Path:
    """The same, and a token whose issuer can pause its price, and one by another's feed and its own rate, with a second source."""
    stock = made(environment, "MockToken", "Stock", "STOCK", 18).address
    pauser = made(environment, "MockPauser").address
    rated = made(environment, "MockStakedToken", 12 * E18 // 10).address
    text = f"""
[[feeds]]
token = "{stock}"
kind = "pausable_feed"
address = "{feed_of(environment, 50 * 10**8, called="STOCK / USD").address}"
heartbeat_seconds = 86400
paused_by = "{pauser}"

[[feeds]]
token = "{rated}"
kind = "exchange_rate_feed"
address = "{feed_of(environment, 2_001 * 10**8, called="STETH / USD").address}"
heartbeat_seconds = 86400
description = "STETH / USD"
rate_function = "stEthPerToken()"
rate_decimals = 18
min_rate = "1.1"
max_rate = "1.25"

[[sources]]
token = "{rated}"
kind = "feed"
address = "{feed_of(environment, 2_410 * 10**8).address}"
heartbeat_seconds = 86400
max_divergence_bps = 100
"""
    chain_toml.write_text(chain_toml.read_text() + text)
    return chain_toml


def named_in(path: Path, kind: str, key: str) -> str:
    """The address behind a key of the one section of a kind."""
    (section,) = [one for one in path.read_text().split("[[") if f'kind = "{kind}"' in one]
    return section.split(f'{key} = "')[1][:42]


def test_feeds_through_adapters_go_from_the_file_to_the_chain(
    environment: DevEnvironment, cli: Cli, adapted_toml: Path, tmp_path: Path
) -> None:
    deployed = deploy(cli, adapted_toml)
    assert deployed.code == 0, deployed.err
    stock = named_in(adapted_toml, "pausable_feed", "token")
    rated = named_in(adapted_toml, "exchange_rate_feed", "token")

    def shown(token: str) -> dict[str, str]:
        (one,) = cli("prices", "--token", token, "--json").json["prices"]
        return dict(one)

    assert (shown(stock)["kind"], shown(stock)["fault"]) == ("pausable_feed", "None")
    assert int(shown(stock)["primary_e18"]) == 50 * E18
    assert (shown(rated)["kind"], shown(rated)["second"]) == ("exchange_rate_feed", "feed")
    assert int(shown(rated)["primary_e18"]) == 24_012 * E18 // 10
    assert int(shown(rated)["second_e18"]) == 2_410 * E18
    assert "exchange_rate_feed $2,401.2000" in cli("prices", "--token", rated).out
    doctor = cli("doctor").out
    assert "looks wrong" not in " ".join(doctor.split())

    owner = environment.wallet(Actor.OWNER)
    pauser = contract_at(environment.chain.rpc, "MockPauser", named_in(adapted_toml, "pausable_feed", "paused_by"))
    owner.transact(pauser, "setOraclePaused", True)
    assert shown(stock)["sentence"] == "its issuer has paused its price"
    # A gift to whatever the rate is of, or a mistake there.
    owner.transact(contract_at(environment.chain.rpc, "MockStakedToken", rated), "setRate", 2 * E18)
    assert shown(rated)["fault"] == "OutOfRange"


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ('kind = "pausable_feed"', 'kind = "getter"', 17, "getter can only be a second source"),
        ('max_rate = "1.25"', 'max_rate = "1.1999"', 16, "its rate times 1e18 is 12000"),
        ('description = "STETH / USD"\n', "", 16, "its description is 'STETH / USD', not wstETH"),
        ("rate_decimals = 18", "rate_decimals = 28", 17, "28 is out of range: give a number from 0 to 27"),
        ('min_rate = "1.1"\n', "", 17, r"feeds\[8\].min_rate in .* it is missing"),
        ('"stEthPerToken()"\nrate', '"rate(uint256)"\nrate', 17, "is not a signature such as"),
        ("paused_by", "pausedby", 17, r"feeds\[7\].pausedby .*unknown key"),
        ('paused_by = "0x', 'quote = "0x', 17, r"feeds\[7\].quote .*has no feed in USD"),
    ],
)
def test_wrong_line_of_an_adapted_feed_is_named_and_nothing_is_sent(
    environment: DevEnvironment,
    cli: Cli,
    adapted_toml: Path,
    old: str,
    new: str,
    code: int,
    message: str,
) -> None:
    text = adapted_toml.read_text()
    assert old in text
    at = text.rindex(old)
    adapted_toml.write_text(text[:at] + new + text[at + len(old) :])
    before = environment.chain.block()["hash"]

    ran = deploy(cli, adapted_toml)

    assert ran.code == code, ran.err
    assert re.search(message, ran.sentence), ran.sentence
    assert environment.chain.block()["hash"] == before


def test_price_that_is_paused_is_refused_before_anything_is_sent(
    environment: DevEnvironment, cli: Cli, adapted_toml: Path
) -> None:
    pauser = named_in(adapted_toml, "pausable_feed", "paused_by")
    owner = environment.wallet(Actor.OWNER)
    owner.transact(contract_at(environment.chain.rpc, "MockPauser", pauser), "setOraclePaused", True)

    ran = deploy(cli, adapted_toml)

    assert ran.code == 16
    assert f"{pauser.lower()} reports that its price is paused" in ran.sentence


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("heartbeat_seconds = 3600\n", "", 17, r"feeds\[1\].heartbeat_seconds in"),
        (
            'kind = "feed"',
            'kind = "oracle"',
            17,
            r"sources\[1\].kind in .*'oracle' is not one of feed, ",
        ),
        (
            "max_divergence_bps = 50\n",
            "max_divergence_bps = 0\n",
            17,
            "0 is out of range: give a number from 1 to 2000",
        ),
        (
            "max_divergence_bps = 200",
            "max_divergence_bps = 2001",
            17,
            "2001 is out of range: give a number from 1 to 2000",
        ),
        ("window_seconds = 1800", "window_seconds = 599", 17, r"sources\[2\].window_seconds .*599"),
        ("window_seconds = 1800\n", "", 17, r"sources\[2\].window_seconds in .* it is missing"),
        ('"stEthPerToken()"', '"stEthPerToken"', 17, "'stEthPerToken' is not a signature such as"),
        ("decimals = 18\n", "decimals = 28\n", 17, "28 is out of range: give a number from 0 to 27"),
        (
            "grace_seconds = 3600",
            "grace_seconds = 0",
            17,
            "sequencer.grace_seconds .*0 is out of range",
        ),
        ('quote = "0xbB', 'quote = "0x00', 17, "do not match its checksum"),
        ('name = "BTC"\n', 'named = "BTC"\n', 17, r"feeds\[3\].named .* unknown key"),
        ("min_price = 10000", "min_price = 30001", 16, "outside 30001"),
        ("window_seconds = 1800", "window_seconds = 9000000", 16, "has no observations for the last 9000000 s"),
        ('"stEthPerToken()"', '"getRate()"', 16, "does not answer getRate"),
        (
            "max_divergence_bps = 50\n",
            "max_divergence_bps = 19\n",
            16,
            "differ by more than 19 bps",
        ),
        ("decimals = 8\nmax", "decimals = 18\nmax", 16, "it has 8 decimals, not 18"),
    ],
)
def test_wrong_line_is_named_in_one_sentence_and_nothing_is_sent(
    environment: DevEnvironment,
    cli: Cli,
    chain_toml: Path,
    tmp_path: Path,
    old: str,
    new: str,
    code: int,
    message: str,
) -> None:
    text = chain_toml.read_text()
    assert old in text
    chain_toml.write_text(text.replace(old, new, 1))
    before = environment.chain.block()["hash"]

    ran = deploy(cli, chain_toml)

    assert ran.code == code, ran.err
    assert re.search(message, ran.sentence), ran.sentence
    assert environment.chain.block()["hash"] == before
    assert not (tmp_path / "new.json").exists()


def test_pool_of_other_tokens_is_named(environment: DevEnvironment, cli: Cli, chain_toml: Path) -> None:
    other = next(
        pool
        for pool in environment.deployment.pools
        if environment.deployment.listed("WBTC").address not in pool.tokens
    )
    text = chain_toml.read_text()
    at = text.index('pool = "') + len('pool = "')
    chain_toml.write_text(text[:at] + other.address + text[at + 42 :])

    ran = deploy(cli, chain_toml)

    assert f"the tokens of the pool {other.address} are " in ran.sentence
    assert ran.code == 16


@pytest.mark.parametrize("section", ["feeds", "sources"])
def test_token_named_twice_is_refused(cli: Cli, chain_toml: Path, section: str) -> None:
    text = chain_toml.read_text()
    parts = text.split(f"[[{section}]]")
    again = parts[1].split("[[")[0]
    chain_toml.write_text(f"{text}\n[[{section}]]{again}")

    ran = deploy(cli, chain_toml)

    assert "remove one of them" in ran.sentence
    assert f"{section}[" in ran.sentence


def test_source_of_a_token_without_a_feed_is_refused(environment: DevEnvironment, cli: Cli, chain_toml: Path) -> None:
    stranger = Actor.KEEPER.address
    source = f'\n[[sources]]\ntoken = "{stranger}"\nkind = "erc4626"\nmax_divergence_bps = 10\n'
    chain_toml.write_text(chain_toml.read_text() + source)

    ran = deploy(cli, chain_toml)

    assert f"sources[5].token in {chain_toml}: {stranger} has no feed" in ran.sentence


def test_quote_without_a_feed_in_usd_is_refused(environment: DevEnvironment, cli: Cli, chain_toml: Path) -> None:
    wbtc = environment.deployment.listed("WBTC").address
    weth = environment.deployment.listed("WETH").address
    text = chain_toml.read_text()
    assert f'quote = "{weth}"' in text
    chain_toml.write_text(text.replace(f'quote = "{weth}"', f'quote = "{wbtc}"'))

    ran = deploy(cli, chain_toml)

    assert f"sources[3].quote in {chain_toml}: {wbtc} has no feed in USD" in ran.sentence


@pytest.mark.parametrize("shared", ["feed", "quote"])
def test_source_that_rests_on_what_the_feed_rests_on_is_refused(
    environment: DevEnvironment, cli: Cli, chain_toml: Path, shared: str
) -> None:
    """The staked ether's second source is a rate in WETH: its feed may be neither WETH's own nor one that answers in WETH."""
    weth = environment.deployment.listed("WETH").address
    parts = chain_toml.read_text().split("[[feeds]]")
    of_weth, of_staked = (parts[n].split('address = "')[1][:42] for n in (1, 5))
    new = of_weth
    if shared == "quote":
        new = feed_of(environment, 12 * E18 // 10, 18, "wstETH / ETH").address + f'"\nquote = "{weth}'
    parts[5] = parts[5].replace(of_staked, new)
    chain_toml.write_text("[[feeds]]".join(parts))

    ran = deploy(cli, chain_toml)

    behind = of_weth if shared == "feed" else weth
    assert f"it depends on {behind.lower()}, and so does the token's feed" in ran.sentence
    assert ran.code == 16


def test_sequencer_that_is_down_is_refused(environment: DevEnvironment, cli: Cli, chain_toml: Path) -> None:
    uptime = contract_at(environment.chain.rpc, "MockAggregator", chain_toml.read_text().split('feed = "')[1][:42])
    environment.wallet(Actor.OWNER).transact(uptime, "push", 1)
    assert "it reports that the sequencer is down" in deploy(cli, chain_toml).sentence
    environment.wallet(Actor.OWNER).transact(uptime, "push", 2_000 * 10**8)
    assert "an uptime feed answers 0 or 1" in deploy(cli, chain_toml).sentence


def test_second_system_of_a_real_chain_needs_its_file_again(
    cli: Cli, chain_toml: Path, environment: DevEnvironment
) -> None:
    """The addresses file holds no ranges and no second sources: a system without them would be a weaker one."""
    assert deploy(cli, chain_toml).code == 0
    before = environment.chain.block()["hash"]

    ran = cli("deploy", "--redeploy", *OWNER)

    assert "--chain: give the TOML file with this chain's price sources" in ran.sentence
    assert environment.chain.block()["hash"] == before
