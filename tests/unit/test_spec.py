"""Vaults and chains as people write them down: read exactly, or refused in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rebalancer.chain.deployment import DeployedToken, Deployment
from rebalancer.errors import (
    AmountUnreadable,
    AssetCountOutOfRange,
    BandOutOfRange,
    ConfigError,
    RebalancerError,
    TargetsDoNotSumToOne,
    TokenNotListed,
)
from rebalancer.operations.deploy import VaultFees
from rebalancer.operations.spec import (
    PoolLine,
    check_weights,
    load_chain_spec,
    load_vault_spec,
    parse_amount,
    parse_fraction_e18,
)
from rebalancer.units import E18

WETH = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"
WBTC = "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"
USDC = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
CREATOR = "0x" + "11" * 20
KNOWN = Deployment(
    31337,
    tokens=(
        DeployedToken("WETH", WETH, 18),
        DeployedToken("WBTC", WBTC, 8),
        DeployedToken("USDC", USDC, 6),
    ),
)


@pytest.fixture
def example(repo_root: Path) -> str:
    """The example vault."""
    return (repo_root / "vault.example.toml").read_text()


# Numbers


@pytest.mark.parametrize(
    ("text", "decimals", "raw"),
    [
        ("0", 18, 0),
        ("1", 0, 1),
        ("1.5", 6, 1_500_000),
        ("1.", 6, 1_000_000),
        (" 1_000.25 ", 2, 100_025),
        ("0.000000000000000001", 18, 1),
        ("1.50000000000", 1, 15),
        (
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            0,
            2**256 - 1,
        ),
    ],
)
def test_amount_is_read_exactly(text: str, decimals: int, raw: int) -> None:
    assert parse_amount(text, decimals) == raw


@pytest.mark.parametrize("text", ["", "-1", "1,5", "1e3", ".5", "0x10", "one", "1.2.3", "٣"])
def test_amount_that_is_no_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(AmountUnreadable, match="decimal number"):
        parse_amount(text, 18)


def test_amount_finer_than_its_token_is_refused() -> None:
    with pytest.raises(AmountUnreadable, match="7 decimals, and at most 6 are possible"):
        parse_amount("0.1234567", 6)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("0.4", 4 * E18 // 10), ("40%", 4 * E18 // 10), ("33.3333333333333333 %", 333333333333333333)],
)
def test_fraction_is_read_exactly(text: str, fraction: int) -> None:
    assert parse_fraction_e18(text) == fraction


def test_weights_that_miss_one_say_by_how_much() -> None:
    names, bands = ["a", "b"], [100, 100]
    check_weights(names, [E18 // 2, E18 // 2], bands, dust_bps=2)
    with pytest.raises(TargetsDoNotSumToOne, match=r"add up to 100\.0000000000000001 %, which is 0"):
        check_weights(names, [E18 // 2, E18 // 2 + 1], bands, dust_bps=2)
    with pytest.raises(TargetsDoNotSumToOne, match="add up to 90 %, which is 10 % below 100 %"):
        check_weights(names, [E18 // 2, 4 * E18 // 10], bands, dust_bps=2)
    with pytest.raises(BandOutOfRange, match="The band of b is 2 bps: give one from 3 to 5000"):
        check_weights(names, [E18 // 2, E18 // 2], [100, 2], dust_bps=2)


# A vault


def test_example_vault_is_read_exactly(repo_root: Path) -> None:
    path = repo_root / "vault.example.toml"
    spec = load_vault_spec(path, KNOWN, fee_recipient=CREATOR, salt=3)
    assert [asset.token for asset in spec.assets] == [WETH, WBTC, USDC]
    assert [asset.target_e18 for asset in spec.assets] == [4 * 10**17, 4 * 10**17, 2 * 10**17]
    assert [asset.decimals for asset in spec.assets] == [18, 8, 6]
    assert spec.seed_amounts == (2 * 10**17, 10**6, 150 * 10**6)
    assert spec.initial_shares == 1_000 * E18
    assert (spec.fee_recipient, spec.salt) == (CREATOR, 3)
    assert spec.policy.turnover_period_seconds == 86_400
    assert spec.fees == VaultFees(streaming_bps=50)
    assert (spec.policy.destination_bps, spec.policy.calendar_seconds) == (0, 0)


def test_every_key_the_example_only_mentions_is_read(tmp_path: Path, example: str) -> None:
    """Each commented line of the example, taken in."""
    path = tmp_path / "vault.toml"
    mentioned = re.sub(r"(?m)^#(?=\w+ = )(?!fee_recipient)", "", example)
    path.write_text(mentioned)
    spec = load_vault_spec(path, KNOWN, fee_recipient=CREATOR)
    assert spec.salt == 7
    assert (spec.assets[0].relative_band_bps, spec.assets[0].min_trade_raw) == (1_000, 5 * 10**15)
    assert (spec.assets[1].relative_band_bps, spec.assets[1].min_trade_raw) == (0, 0)
    rules = spec.policy
    assert (rules.calendar_seconds, rules.open_after_seconds) == (604_800, 3_600)
    assert spec.fees == VaultFees(50, 1_000, 5, 5)


def test_weight_written_as_a_number_is_as_exact_as_a_text(tmp_path: Path, example: str) -> None:
    path = tmp_path / "vault.toml"
    path.write_text(example.replace('"40%"', "0.3999999999999999999", 1).replace('"40%"', "0.4"))
    with pytest.raises(ConfigError, match="it has 19 decimals"):
        load_vault_spec(path, KNOWN, fee_recipient=CREATOR)
    path.write_text(example.replace('"40%"', "0.4"))
    spec = load_vault_spec(path, KNOWN, fee_recipient=CREATOR)
    assert spec.assets[0].target_e18 == 4 * 10**17


ASSET = '[[assets]]\ntoken = "WETH"\ntarget = "0"\nband_bps = 150\nseed = "0"\n'


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('token = "USDC"', 'token = "DAI"', TokenNotListed, "token DAI is not in the addresses"),
        ('"20%"', '"21%"', TargetsDoNotSumToOne, "101 %, which is 1 % above 100 %"),
        ('"20%"', '"a fifth"', ConfigError, r"assets\[3\]\.target .* 'a fifth' is not valid"),
        ('"20%"', "true", ConfigError, "True is not a number"),
        ("band_bps = 150", "band_bps = 0", BandOutOfRange, "The band of WETH is 0 bps"),
        ("band_bps = 150", "band_bps = -1", ConfigError, "-1 is not a whole number"),
        ("band_bps = 150", "bands_bps = 150", ConfigError, r"assets\[1\]\.band_bps .* missing"),
        ('seed = "150"', 'seed = "0.1234567"', ConfigError, r"assets\[3\]\.seed"),
        ('name = "Three majors"', "", ConfigError, "name in .*: it is missing"),
        ('name = "Three majors"', "name = 7", ConfigError, "7 is not a text in quotes"),
        ("streaming_bps = 50", "fee_bps = 50", ConfigError, r"fees\.fee_bps .* unknown key"),
        ('symbol = "MAJ3"', 'symbol = "M"\nfee_recipient = "me"', ConfigError, "'me' is not an"),
        ('symbol = "MAJ3"', 'symbol = "M"\nfee_bps = 50', ConfigError, "fee_bps .* unknown key"),
        ("#min_trade", "mintrade", ConfigError, r"assets\[1\]\.mintrade .*closest is min_trade"),
        ("#destination_bps = 0 ", 'destination_bps = "0" ', ConfigError, "'0' is not a whole"),
        ("dust_bps = 2 ", "dust = 2 ", ConfigError, r"policy\.dust_bps .* missing"),
        ("[policy]", "[rules]", ConfigError, "policy in .*: it is missing"),
        ("[policy]", 15 * ASSET + "[policy]", AssetCountOutOfRange, "18 assets .* from 2 to 16"),
        ("[policy]", 14 * ASSET + "[policy]", AssetCountOutOfRange, "17 assets .* from 2 to 16"),
        ("[[assets]]", "[[asset]]", AssetCountOutOfRange, "0 assets"),
        ("[[assets]]", "[assets", ConfigError, "it is not TOML"),
    ],
)
def test_bad_vault_is_refused_in_a_sentence(
    tmp_path: Path, example: str, old: str, new: str, error: type[RebalancerError], message: str
) -> None:
    assert old in example
    path = tmp_path / "vault.toml"
    count = -1 if old == "[[assets]]" else 1
    path.write_text(example.replace(old, new, count))
    with pytest.raises(error, match=message) as caught:
        load_vault_spec(path, KNOWN, fee_recipient=CREATOR)
    assert str(caught.value).endswith(".")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file does not exist; name another"):
        load_vault_spec(tmp_path / "none.toml", KNOWN, fee_recipient=CREATOR)


# A chain


def test_example_chain_is_read_exactly(repo_root: Path) -> None:
    spec = load_chain_spec(repo_root / "chain.example.toml")
    assert spec.wrapped_native == WETH
    assert spec.tokens == (WETH, WBTC, USDC)
    assert [pool.address[:6] for pool in spec.pools] == [
        "0xcbcd",
        "0x88e6",
        "0x99ac",
        "0x9664",
        "0x0000",
    ]
    assert [pool.pool_id for pool in spec.pools[:4]] == [None] * 4
    assert str(spec.pools[4].pool_id)[:6] == "0x21c6"
    assert (spec.pools[4].from_block, spec.pools[4].name) == (21_688_329, spec.pools[4].pool_id)
    bitcoin = "0x" + "bb" * 20
    assert [feed.token for feed in spec.feeds] == [WETH, WBTC, bitcoin, USDC]
    assert [feed.quote for feed in spec.feeds] == [None, bitcoin, None, None]
    assert [feed.name for feed in spec.feeds] == [None, None, "BTC", None]
    assert spec.feeds[0].min_price_e18 == 100 * E18
    assert (spec.feeds[1].decimals, spec.feeds[1].max_price_e18) == (None, None)
    (source,) = spec.sources
    assert (source.token, source.kind.word) == (WETH, "uniswap_v3_twap")
    assert source.named.values == {"pool": spec.pools[1].address, "window_seconds": 1_800}
    assert (source.max_divergence_bps, spec.sequencer) == (100, None)


def test_address_with_a_mistyped_character_is_refused(tmp_path: Path, repo_root: Path) -> None:
    path = tmp_path / "chain.toml"
    text = (repo_root / "chain.example.toml").read_text()
    path.write_text(text.replace("3C756Cc2", "3C756CC2"))
    with pytest.raises(ConfigError, match="do not match its checksum"):
        load_chain_spec(path)


POOL, FORK = "0x" + "ab" * 20, "0x" + "cd" * 20
POOL_ID = "0x" + "12" * 32


def chain_naming(tmp_path: Path, pools: str) -> Path:
    path = tmp_path / "chain.toml"
    path.write_text(f'wrapped_native = "{WETH}"\ntokens = []\npools = [{pools}]\n')
    return path


def test_pools_are_named_by_address_by_pair_and_fee_or_by_manager_and_id(tmp_path: Path) -> None:
    pair = f'{{ address = "{FORK}", fee_bps = 25 }}'
    path = chain_naming(tmp_path, f'"{POOL}", {pair}, {{ manager = "{POOL}", id = "{POOL_ID}" }}')

    found = load_chain_spec(path).pools

    assert found == (
        PoolLine(POOL, where="pools[1]"),
        PoolLine(FORK, 25, where="pools[2]"),
        PoolLine(POOL, None, POOL_ID, 0, "pools[3]"),
    )


@pytest.mark.parametrize(
    ("pools", "sentence"),
    [
        (f'"{POOL}", "{POOL}"', r"pools\[2\] .*is listed twice; remove one of them"),
        ("5", r"pools\[1\] .*5 is not an address"),
        (
            f'{{ address = "{POOL}", fee_bps = 10000 }}',
            r"fee_bps .*10000 is out of range: give a number from 0 to 9999",
        ),
        (f'{{ address = "{POOL}", fee = 5 }}', r"pools\[1\]\.fee .*unknown key"),
        (f'{{ manager = "{POOL}", id = "0x12" }}', "is not an ID: 0x and 64 hexadecimal"),
        (f'{{ manager = "{POOL}" }}', r"pools\[1\]\.id .*it is missing"),
        (f'{{ id = "{POOL_ID}" }}', r"pools\[1\]\.manager .*it is missing"),
    ],
)
def test_pool_named_wrongly_is_refused(tmp_path: Path, pools: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_chain_spec(chain_naming(tmp_path, pools))
