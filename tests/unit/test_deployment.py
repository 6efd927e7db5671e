"""The addresses file: what is written is read back, what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rebalancer.chain.deployment import (
    DeployedFeed,
    DeployedPool,
    DeployedToken,
    Deployment,
)
from rebalancer.errors import DeploymentMalformed, DeploymentMissing

A, B, C = ("0x" + pair * 20 for pair in ("aa", "bb", "cc"))

DEPLOYMENT = Deployment(
    31337,
    "http://127.0.0.1:8545",
    (DeployedToken("WETH", A, 18), DeployedToken("USDC", B, 6)),
    (DeployedFeed("ETH/USD", "WETH", C, 8, 3600, A),),
    (DeployedPool(C, A, B, 500),),
    {"UniswapV3Factory": A},
    {"MarketDriver": B},
)


def test_save_then_load_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deployment.json"
    DEPLOYMENT.save(path)

    assert Deployment.load(path) == DEPLOYMENT
    assert [file.name for file in path.parent.iterdir()] == ["deployment.json"]


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
