"""Each promise must be able to fail: one-line mutations of the contracts, and the test that catches each.

A mutant is the real source with one passage replaced, compiled in a copy of the project, so it can
never fall behind the contracts: if the passage is gone, the test says so. Slow: every mutant is
compiled with the optimizer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VAULT = "contracts/BasketVault.sol"
INVARIANTS = "tests/solidity/Invariants.t.sol:InvariantsTest"


@dataclass(frozen=True)
class Mutant:
    """`old` replaced by `new` in `file`; `test` of `suite` must then fail."""

    name: str
    old: str
    new: str
    test: str
    suite: str = INVARIANTS
    file: str = VAULT


MUTANTS = [
    Mutant(
        "redeem asks the oracle",
        "_checkLength(minAmounts.length, n);",
        "_checkLength(minAmounts.length, n); _readBasket(words);",
        "invariant_A_redeemAlwaysWorks",
    ),
    Mutant(
        "a token that refuses freezes the redemption",
        "claimable[owner][token] += amount;",
        "revert ClaimFailed(owner, token, amount);",
        "invariant_A_redeemAlwaysWorks",
    ),
    Mutant(
        "redeem is stopped by a pause",
        "if (msg.sender != owner) _spendAllowance(owner, msg.sender, shares);",
        "if (_state.paused) revert RebalanceIsPaused();",
        "invariant_A_redeemAlwaysWorks",
    ),
    Mutant(
        "gifts count",
        "Math.mulDiv(_held[i], shares, supply, rounding);",
        "Math.mulDiv(IERC20(ConfigCode.load(_config).token(i)).balanceOf(address(this)), shares, supply, rounding);",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "mint rounds down",
        "supply, Math.Rounding.Ceil);\n        uint256 asked;",
        "supply, Math.Rounding.Floor);\n        uint256 asked;",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "redeem rounds up",
        "Math.mulDiv(held_, shares, supply);",
        "Math.mulDiv(held_, shares, supply, Math.Rounding.Ceil);",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "P0 is not asked",
        "revert RebalancePolicy.NoBandBroken();",
        "",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "P1 is not asked",
        "RebalancePolicy.checkSales(sales, minBuys, b.distancesE18, b.pricesE18, b.units);",
        "",
        "test_rebalance_that_sells_more_than_the_surplus_is_refused",
        "tests/solidity/Rebalance.t.sol:RebalanceTest",
    ),
    Mutant(
        "P2 is not asked",
        "if (f.boughtE18 < minimumE18) revert RebalancePolicy.PriceTooPoor(f.boughtE18, minimumE18);",
        "",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "P3 is not asked",
        "RebalancePolicy.checkTowardTarget(b.distancesE18, distancesE18, totalE18, p.dustBps);",
        "",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "P4 is not asked",
        "RebalancePolicy.checkProgress(b.distanceE18, b.totalE18, distanceE18, totalE18, p.minProgressBps, p.dustBps);",
        "",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "P5 forgets what was lost before",
        "RebalancePolicy.leak(s.lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds, elapsed),",
        "0,",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "earned fees are not in the supply",
        "return super.totalSupply() + _pendingFee(_fee, super.totalSupply());",
        "return super.totalSupply();",
        "invariant_supplyMatchesLedger",
    ),
    Mutant(
        "redeem leaves the ledger as it was",
        "if (amount != 0) _held[i] = uint128(held_ - amount);",
        "",
        "invariant_ledgerIsSolvent",
    ),
    Mutant(
        "a claim can be paid twice",
        "claimable[msg.sender][token] = 0;",
        "",
        "invariant_BCE_promisesAreKept",
    ),
    Mutant(
        "gifts are absorbed that claims are owed",
        "return (IERC20(token).balanceOf(address(this)), _held[asset] + totalClaimable[token]);",
        "return (IERC20(token).balanceOf(address(this)), _held[asset]);",
        "test_absorb_cannot_touch_what_is_owed_to_claims",
        "tests/solidity/Exit.t.sol:ExitTest",
    ),
    Mutant(
        "the executor may re-enter",
        ") external restricted nonReentrant {\n        if (FLOWED",
        ") external restricted {\n        if (FLOWED",
        "test_rebalance_lets_the_executor_reenter_nothing",
        "tests/solidity/Rebalance.t.sol:RebalanceTest",
    ),
    Mutant(
        "mint may follow a rebalance in one transaction",
        "if (TRADED.asBoolean().tload()) revert SameTransaction();",
        "",
        "test_mint_or_redeem_and_rebalance_share_no_transaction_in_either_order",
        "tests/solidity/Rebalance.t.sol:RebalanceTest",
    ),
    Mutant(
        "a zap keeps what the route left",
        "_sendAll(touched, msg.sender);",
        "",
        "test_a_deposit_returns_what_is_left_of_a_token_outside_the_basket",
        "tests/solidity/Zap.t.sol:ZapTest",
        "contracts/Zap.sol",
    ),
    Mutant(
        "a zap out keeps what no hop sells",
        "count = _touch(touched, count, sent[i]);",
        "",
        "test_a_withdrawal_without_a_route_pays_the_token_and_the_rest_in_kind",
        "tests/solidity/Zap.t.sol:ZapTest",
        "contracts/ZapExecutor.sol",
    ),
    Mutant(
        "anybody uses the zap's executor",
        "if (msg.sender != ZAP) revert NotTheZap(msg.sender);",
        "",
        "test_the_executor_works_for_the_zap_alone",
        "tests/solidity/ZapAttack.t.sol:ZapAttackTest",
        "contracts/ZapExecutor.sol",
    ),
    Mutant(
        "any vault keeps its approval",
        "i < assets.length && !known;",
        "i < assets.length && known;",
        "test_a_hostile_vault_takes_no_more_than_was_brought_and_nothing_afterwards",
        "tests/solidity/ZapAttack.t.sol:ZapAttackTest",
        "contracts/Zap.sol",
    ),
]


@pytest.fixture(scope="module")
def project(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project, compiled, in which every named test passes."""
    root = tmp_path_factory.mktemp("mutants")
    for name in ("foundry.toml", "package.json", "scripts/solc"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(repo_root / name, root / name)
    for name in ("contracts", "tests/solidity"):
        shutil.copytree(repo_root / name, root / name)
    (root / "tests" / "vectors").mkdir()
    (root / "node_modules").symlink_to(repo_root / "node_modules", target_is_directory=True)
    for suite in sorted({mutant.suite for mutant in MUTANTS}):
        wanted = {mutant.test for mutant in MUTANTS if mutant.suite == suite}
        outcome = run_forge(root, suite, sorted(wanted))
        assert outcome.keys() >= {with_parentheses(test) for test in wanted}
        assert set(outcome.values()) == {"Success"}, outcome
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(project: Path, mutant: Mutant) -> None:
    source = (project / mutant.file).read_text()
    assert source.count(mutant.old) == 1, f"{mutant.file} has changed; write this mutant anew"

    (project / mutant.file).write_text(source.replace(mutant.old, mutant.new))
    try:
        outcome = run_forge(project, mutant.suite, [mutant.test])
    finally:
        (project / mutant.file).write_text(source)

    assert outcome == {with_parentheses(mutant.test): "Failure"}


def run_forge(root: Path, suite: str, tests: list[str]) -> dict[str, str]:
    """Status of each of the named tests of one suite, by name."""
    path, contract = suite.split(":")
    names = "|".join(tests)
    command = ["forge", "test", "--json", "--match-path", path, "--match-contract", contract]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
    environment |= {"FOUNDRY_INVARIANT_RUNS": "24", "FOUNDRY_INVARIANT_DEPTH": "100"}
    run = subprocess.run(
        [*command, "--match-test", f"^({names})$|^({names})\\("],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stdout.startswith("{"), f"the mutant does not compile:\n{run.stdout}{run.stderr}"
    results = json.loads(run.stdout)[suite]["test_results"]
    return {name: result["status"] for name, result in results.items()}


def with_parentheses(test: str) -> str:
    """Forge names tests with their arguments, of which ours have none."""
    return test if test.endswith(")") else f"{test}()"
