"""The addresses file: what is written is read back, what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rebalancer.chain.deployment import (
    DeployedFeed,
    DeployedToken,
    Deployment,
)
from rebalancer.errors import DeploymentMalformed, DeploymentMissing
from rebalancer.venues import PoolRef
from rebalancer.venues.uniswap_v4 import v4_ref

A, B, C = ("0x" + pair * 20 for pair in ("aa", "bb", "cc"))
ETHER = "0x" + "0" * 40
POOLS = (
    PoolRef(C, (A, B), 500),
    PoolRef(A, (B, C), 2_500, "uniswap-v2"),
    v4_ref(B, ETHER, A, 3_000, 60),
    PoolRef(A, (A, B, C), venue="balancer"),
    PoolRef(C, (C, B, A), venue="curve"),
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
        ({"pools": [{**PLAIN, "venue": "uniswap-v9"}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v2", "fee_pips": 2_550}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v3", "fee_pips": 10**6}]}, "wrong kind"),
        ({"pools": [{**PLAIN, "venue": "uniswap-v4", "tick_spacing": 0}]}, "wrong kind"),
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
