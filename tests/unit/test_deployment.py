"""The addresses file: what is written is read back, what is damaged is named."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rebalancer.chain.deployment import (
    DeployedFeed,
    DeployedToken,
    Deployment,
    Unfinished,
)
from rebalancer.errors import DeploymentMalformed, DeploymentMissing, TokenNotListed
from rebalancer.venues import PoolRef, check_ref
from rebalancer.venues.uniswap_v4 import pool_id, v4_ref

A, B, C = ("0x" + pair * 20 for pair in ("aa", "bb", "cc"))
ETHER = "0x" + "0" * 40
POOLS = (
    PoolRef(C, (A, B), 500),
    PoolRef(A, (B, C), 2_500, "uniswap-v2"),
    v4_ref(B, ETHER, A, 3_000, 60),
    PoolRef(A, (A, B, C), venue="balancer"),
    PoolRef(C, (C, B, A), venue="curve"),
    PoolRef(B, (A, C), 2_500, "pancakeswap-v3"),
)

DEPLOYMENT = Deployment(
    31337,
    "http://127.0.0.1:8545",
    (DeployedToken("WETH", A, 18), DeployedToken("USDC", B, 6)),
    (DeployedFeed("ETH/USD", "WETH", C, 8, 3600, A),),
    POOLS,
    {"UniswapV3Factory": A, "WETH9": A},
    {"MarketDriver": B},
)


PLAIN = {"address": A, "tokens": [A, B], "fee_pips": 0, "tick_spacing": 0}


def test_save_then_load_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deployment.json"
    DEPLOYMENT.save(path)

    assert Deployment.load(path) == DEPLOYMENT
    assert [file.name for file in path.parent.iterdir()] == ["deployment.json"]


def test_load_a_file_in_excess_says_so(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room

    with pytest.raises(DeploymentMalformed) as caught:
        Deployment.load(path)

    assert caught.value.path == path


def test_wrapped_native_is_the_token_named_or_none() -> None:
    assert DEPLOYMENT.wrapped_native == A
    assert Deployment(1).wrapped_native == ""


def test_load_nothing_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeploymentMissing, match="rebalancer deploy"):
        Deployment.load(tmp_path / "deployment.json")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "wrong kind"),
        ({"pools": None}, "wrong kind"),
        ({"tokens": [{"symbol": "WETH"}]}, "wrong kind"),
        ({"chain_id": "mainnet"}, "wrong kind"),
        ({"uniswap": [1]}, "wrong kind"),
        ({"pools": [{"address": A, "token0": A, "token1": B}]}, "wrong kind"),
        ({"pools": [{"tokens": [A, B], "fee_pips": 500}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v9"}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v2", "fee_pips": 2_550}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v3", "fee_pips": 10**6}]}, "wrong kind"),
        ({"pools": [asdict(replace(POOLS[0], key=A))]}, "wrong kind"),
        ({"pools": [asdict(replace(POOLS[4], key=A))]}, "wrong kind"),
        ({"pools": [asdict(v4_ref(C, A, B, 500, 0))]}, "wrong kind"),
        ({"pools": [{**asdict(POOLS[2]), "key": ""}]}, "wrong kind"),
        ({"pools": [{**asdict(POOLS[2]), "fee_pips": 3_001}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "balancer", "tokens": [A]}]}, "wrong kind"),
    ],
)
def test_load_damaged_says_so(tmp_path: Path, damage: str | dict[str, object], reason: str) -> None:
    path = tmp_path / "deployment.json"
    DEPLOYMENT.save(path)
    good = json.loads(path.read_text())
    path.write_text(damage if isinstance(damage, str) else json.dumps({**good, **damage}))

    with pytest.raises(DeploymentMalformed, match=reason):
        Deployment.load(path)


def test_load_without_a_field_names_it(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps({"chain_id": 1}))
    with pytest.raises(DeploymentMalformed, match="tokens"):
        Deployment.load(path)


def test_token_by_symbol_or_address_in_any_case() -> None:
    weth = DEPLOYMENT.tokens[0]
    assert DEPLOYMENT.token("weth") == DEPLOYMENT.token(A.upper().replace("X", "x")) == weth
    assert DEPLOYMENT.token("DOGE") is None


def test_with_contracts_adds_and_replaces() -> None:
    more = DEPLOYMENT.with_contracts({"MarketDriver": C.upper().replace("X", "x"), "Zap": A})
    assert more.contracts == {"MarketDriver": C, "Zap": A}
    assert DEPLOYMENT.contracts == {"MarketDriver": B}


def test_with_vault_puts_it_last_and_names_each_once() -> None:
    raised = B.upper().replace("X", "x")
    some = DEPLOYMENT.with_vault(A).with_vault(raised).with_vault(C)
    assert some.vaults == (A, B, C)
    assert some.with_vault(raised).vaults == (A, C, B)
    assert DEPLOYMENT.vaults == ()


def test_token_that_is_not_listed_is_told_with_those_that_are() -> None:
    assert DEPLOYMENT.listed("usdc") == DEPLOYMENT.tokens[1]
    with pytest.raises(TokenNotListed) as raised:
        DEPLOYMENT.listed("DOGE")
    assert (raised.value.wanted, raised.value.known) == ("DOGE", ("WETH", "USDC"))


def test_all_that_is_in_the_file_is_read_and_addresses_are_lower_case(tmp_path: Path) -> None:
    whole = replace(
        DEPLOYMENT,
        vaults=(A, B),
        block=17,
        unfinished=Unfinished(C, 5, 16, {"Lens": A}),
    )
    path = tmp_path / "deployment.json"
    whole.save(path)
    raw = json.loads(path.read_text())
    for name in ("uniswap", "contracts"):
        raw[name] = {key: each.upper().replace("X", "x") for key, each in raw[name].items()}
    raw["vaults"] = [each.upper().replace("X", "x") for each in raw["vaults"]]
    raw["unfinished"]["deployer"] = C.upper().replace("X", "x")
    raw["pools"][1]["address"] = A.upper().replace("X", "x")
    raw["pools"][1]["tokens"] = [each.upper().replace("X", "x") for each in (B, C)]
    path.write_text(json.dumps(raw))

    assert Deployment.load(path) == whole
    raw["unfinished"]["block"] = None
    path.write_text(json.dumps(raw))
    assert Deployment.load(path).unfinished == Unfinished(C, 5, None, {"Lens": A})
    for name in ("vaults", "block", "unfinished", "rpc_url"):
        del raw[name]
    path.write_text(json.dumps(raw))
    assert Deployment.load(path) == replace(DEPLOYMENT, rpc_url=None)


def test_save_replaces_what_is_there_and_writes_through_no_link(tmp_path: Path) -> None:
    path, other = tmp_path / "deployment.json", tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "deployment.json.new").symlink_to(other)
    path.write_text("old")

    DEPLOYMENT.save(path)

    assert Deployment.load(path) == DEPLOYMENT
    assert other.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deployment.json", "other"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[1]", "a field is of the wrong kind"),
        ('{"chain_id": 1}', "it lacks 'tokens'"),
        ('{"chain_id": 1e999}', "a field is of the wrong kind"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_path(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)

    with pytest.raises(DeploymentMalformed) as raised:
        Deployment.load(path)

    assert (raised.value.path, raised.value.reason) == (path, reason)


def test_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeploymentMalformed) as raised:
        Deployment.load(tmp_path)
    assert raised.value.path == tmp_path
    assert raised.value.reason


@pytest.mark.parametrize(
    ("venue", "tokens", "fee_pips", "spacing", "right"),
    [
        ("uniswap-v2", (A, B), 0, 0, True),
        ("uniswap-v2", (A, B), 100, 0, True),
        ("uniswap-v2", (A, B), 101, 0, False),
        ("uniswap-v3", (A, B), 0, 0, True),
        ("uniswap-v3", (A, B), 999_999, 0, True),
        ("uniswap-v3", (A, B), 1_000_000, 0, False),
        ("uniswap-v3", (A, B), -1, 0, False),
        ("uniswap-v3", (A, B, C), 500, 0, False),
        ("pancakeswap-v3", (A, B), 999_999, 0, True),
        ("pancakeswap-v3", (A, B), 1_000_000, 0, False),
        ("pancakeswap-v3", (A,), 500, 0, False),
        ("uniswap-v4", (A, B), 500, 1, True),
        ("uniswap-v4", (A, B), 500, 0, False),
        ("uniswap-v4", (A,), 500, 1, False),
        ("curve", (A, B), 0, 0, True),
        ("curve", (A,), 0, 0, False),
        ("balancer", (A, B, C), 0, 0, True),
        ("balancer-v3", (A, B, C), 0, 0, True),
        ("balancer-v3", (A,), 0, 0, False),
    ],
)
def test_pool_is_told_as_its_venue_wants(
    venue: str, tokens: tuple[str, ...], fee_pips: int, spacing: int, right: bool
) -> None:
    ref = PoolRef(C, tokens, fee_pips, venue, spacing)
    if venue == "uniswap-v4":
        ref = replace(ref, key=pool_id(tokens[0], tokens[-1], fee_pips, spacing))
    if right:
        assert check_ref(ref) is ref
        return
    with pytest.raises(ValueError, match=f"{C} is not a valid reference to a pool of {venue}"):
        check_ref(ref)
