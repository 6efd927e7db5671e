"""The Python API: every block of docs/python.md runs, names are what they say, and a refusal sends nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

import rebalancer
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.errors import (
    ContractMissing,
    DeploymentMissing,
    NothingToSend,
    UnsupportedPool,
    VaultNotNamed,
    WrongChain,
)

_GUIDE = Path(__file__).parents[2] / "docs/python.md"


def _drift(environment: DevEnvironment) -> None:
    """Move ether's price so that a band breaks."""
    up = {"ETH/USD": environment.market.prices_e8["ETH/USD"] * 108 // 100}
    environment.market.step(environment.market.prices_e8 | up, environment.chain.now() + 900)


@pytest.fixture
def chain(environment: DevEnvironment) -> rebalancer.Chain:
    return rebalancer.connect(Web3(Web3.HTTPProvider(environment.chain.rpc.endpoint)), environment.deployment)


def test_every_block_of_the_guide_runs(
    environment: DevEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    environment.deployment.save(tmp_path / "deployment.json")
    _drift(environment)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    assert len(blocks) >= 6

    for number, block in enumerate(blocks):
        code = block.replace("http://127.0.0.1:8545", environment.chain.rpc.endpoint)
        exec(compile(code, f"docs/python.md, block {number}", "exec"), names)  # noqa: S102 (our own page)

    assert names["verdict"].step == "rebalance"
    assert names["receipt"].succeeded
    changes = names["simulation"].changes_raw
    assert changes[0] < 0 < max(changes)  # ether ran ahead: it is sold
    assert names["deposited"].shares > 0
    assert names["withdrawn"].amount_raw > 0
    assert "BalanceTooLow · " in capsys.readouterr().out


def test_every_public_name_is_there_has_a_docstring_and_imports_nothing_before_it_is_used() -> None:
    for name in rebalancer.__all__:
        assert getattr(rebalancer, name).__doc__, name
    assert set(rebalancer.__all__) <= set(dir(rebalancer))
    with pytest.raises(AttributeError, match="no attribute 'Keeper'"):
        rebalancer.Keeper  # noqa: B018 (it is to fail)
    code = "import sys, rebalancer; sys.exit(any(name.startswith('rebalancer.') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_plan_in_band_asks_for_no_call_and_sends_none(chain: rebalancer.Chain) -> None:
    vault, keeper = chain.vault(), rebalancer.devnet_signer(Actor.KEEPER)
    before = chain.block().number

    verdict = vault.plan()

    assert (verdict.reason, verdict.step, verdict.plan) == (
        rebalancer.Reason.IN_BAND,
        "nothing",
        None,
    )
    with pytest.raises(NothingToSend, match=r"InBand.*inside its band"):
        vault.simulate(verdict, keeper.address)
    with pytest.raises(NothingToSend):
        vault.send(verdict, keeper)
    assert chain.block().number == before


def test_rebalance_by_a_stranger_is_refused_before_it_is_sent(
    environment: DevEnvironment, chain: rebalancer.Chain
) -> None:
    _drift(environment)
    verdict = chain.vault().plan()
    stranger = Account.from_key(b"\x01" * 32)

    with pytest.raises(rebalancer.RebalancerError, match=r"Unauthorized|role|NotPermitted"):
        chain.vault().simulate(verdict, stranger.address)


def test_deposit_by_an_eth_account_equals_its_preview(environment: DevEnvironment, chain: rebalancer.Chain) -> None:
    vault, holder = chain.vault(), Account.create()
    environment.chain.rpc.call("anvil_setBalance", holder.address, hex(10**20))

    preview = vault.preview_deposit("ETH", 10**18, holder.address)
    assert vault.position(holder.address).shares == 0
    deposited = vault.deposit("ETH", 10**18, holder)

    assert abs(deposited.shares - preview.gets_raw[vault.address]) <= 10**12
    assert vault.position(holder.address.lower()).shares == deposited.shares
    expected = vault.preview_withdrawal("ETH", deposited.shares, holder.address)
    withdrawn = vault.withdraw("ETH", deposited.shares, holder)
    assert withdrawn.amount_raw >= min(expected.at_least_raw.values())
    assert vault.position(holder.address).shares == 0


def test_any_pool_is_read_by_its_address_and_nothing_else_is(
    environment: DevEnvironment, chain: rebalancer.Chain
) -> None:
    ref = environment.deployment.pools[0]
    without = rebalancer.connect(
        Web3(Web3.HTTPProvider(environment.chain.rpc.endpoint)),
        replace(environment.deployment, pools=()),
    )

    at = chain.block()

    assert without.pool(ref.key.upper().replace("0X", "0x"), at) == chain.pool(ref.key, at)
    assert len(chain.pools(at)) == len(environment.deployment.pools)
    with pytest.raises(UnsupportedPool):
        chain.pool(environment.vault)


def test_what_is_named_wrongly_is_said(environment: DevEnvironment, chain: rebalancer.Chain, tmp_path: Path) -> None:
    w3 = Web3(Web3.HTTPProvider(environment.chain.rpc.endpoint))
    with pytest.raises(DeploymentMissing):
        rebalancer.connect(w3, tmp_path / "none.json")
    with pytest.raises(WrongChain):
        rebalancer.connect(w3, replace(environment.deployment, chain_id=1))
    with pytest.raises(VaultNotNamed):
        rebalancer.connect(w3, replace(environment.deployment, vaults=())).vault()
    with pytest.raises(ContractMissing):
        chain.vault("0x" + "11" * 20)
