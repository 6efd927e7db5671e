"""Ape compiles, tests, deploys and opens a console from the checkout, with nothing set and nothing downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import System
from rebalancer.devnet.environment import DevEnvironment
from rebalancer.operations.governance import read_permissions
from rebalancer.send.signer import devnet_signer


def ape(repo_root: Path, home: Path, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The finished `ape`, in an environment that holds nothing but an empty home, the system's PATH and these settings."""
    program = Path(sys.executable).with_name("ape")
    node = Path(shutil.which("node") or "node").parent
    return subprocess.run(
        [program, *args],
        cwd=repo_root,
        env={"HOME": str(home), "PATH": f"{node}:/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
    )


def test_ape_compiles_with_openzeppelin_from_node_modules(repo_root: Path, tmp_path: Path) -> None:
    source = "contracts/ConfigStore.sol"
    assert "@openzeppelin/contracts" in (repo_root / source).read_text()

    run = ape(repo_root, tmp_path, "compile", "--force", source)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "0.8.30+commit.73712a01" in run.stdout + run.stderr
    assert list(tmp_path.iterdir()) == []


def test_ape_runs_contract_tests_on_its_own_anvil(repo_root: Path, tmp_path: Path) -> None:
    suite = "tests/contract/test_local_chain.py"

    run = ape(
        repo_root,
        tmp_path,
        *("test", "--network", "ethereum:local:foundry", "--chain", "anvil", "-q", suite),
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert " failed" not in run.stdout


def on(environment: DevEnvironment) -> tuple[str, str]:
    return "--network", f"ethereum:local:{environment.chain.rpc.endpoint}"


def test_console_has_vault_lens_and_plan_at_hand(repo_root: Path, tmp_path: Path, environment: DevEnvironment) -> None:
    file = tmp_path / "deployment.json"
    environment.deployment.save(file)
    code = "print(vault.address, plan().reason, len(lens.read([vault.address])), len(system.pools()))"

    run = ape(
        repo_root,
        tmp_path,
        "console",
        *on(environment),
        "-c",
        code,
        REBALANCER_DEPLOYMENT=str(file),
    )

    assert run.returncode == 0, run.stdout + run.stderr
    length = len(
        contract_at(environment.chain.rpc, "VaultLens", environment.system.lens).call("read", [environment.vault])
    )
    assert f"{environment.vault} InBand {length} {len(environment.deployment.pools)}" in run.stdout


def test_console_without_an_addresses_file_says_so_and_starts(
    repo_root: Path, tmp_path: Path, environment: DevEnvironment
) -> None:
    nowhere = str(tmp_path / "none.json")

    run = ape(
        repo_root,
        tmp_path,
        *("console", *on(environment), "-c", "print(rebalancer.connect.__name__)"),
        REBALANCER_DEPLOYMENT=nowhere,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "No vault, lens and plan(): " in run.stdout
    assert nowhere in run.stdout
    assert "connect" in run.stdout.splitlines()


def test_deploy_is_signed_by_an_account_of_ape(repo_root: Path, tmp_path: Path, environment: DevEnvironment) -> None:
    file, chain_toml = tmp_path / "new.json", tmp_path / "chain.toml"
    weth = environment.deployment.wrapped_native
    feed = next(feed for feed in environment.deployment.feeds if feed.token == "WETH")
    chain_toml.write_text(
        f'wrapped_native = "{weth}"\ntokens = ["{weth}"]\npools = []\n'
        f'[[feeds]]\ntoken = "{weth}"\naddress = "{feed.address}"\nheartbeat_seconds = 3600\n'
    )
    signer = devnet_signer(1)  # TEST::1 has the same key

    def sent() -> int:
        return int(environment.chain.rpc.call("eth_getTransactionCount", signer.address, "latest"), 16)

    before = sent()
    where = ("--deployment", str(file), "--chain", str(chain_toml))
    shown = ape(
        repo_root,
        tmp_path,
        "run",
        "deploy",
        "--account",
        "TEST::1",
        *on(environment),
        *where,
        "--plan",
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Nothing was sent." in shown.stdout
    assert (sent(), file.exists()) == (before, False)

    run = ape(repo_root, tmp_path, "run", "deploy", "--account", "TEST::1", *on(environment), *where)

    assert run.returncode == 0, run.stdout + run.stderr
    assert sent() > before + 10
    permissions = read_permissions(environment.chain.rpc, System.of(Deployment.load(file)))
    assert [holder.account for holder in permissions.admins()] == [signer.address]
