"""Each promise must be able to fail: contracts broken on purpose, one way at a time, and the property that sees each.

A mutant is a passage of the real source and what it becomes while it is awake. All mutants of all files are compiled together,
once: which of them is awake is said by the block's coinbase (0: none), which no contract of ours reads. So there are no broken
copies that could fall behind the contracts — if a passage is gone, `test_every_passage_is_there_once` says so —, one more
mutant costs a forge run and no compilation, and forge's own cache of `.build/mutants`, which goes by content, keeps what was
compiled.

The Zap is no part of the campaign: its mutants are each seen by a test of its own suites, in a folder of their own.

Run by every `make test`: the first mutant of each promise, A to G. The others are slow. That ERC-20 and ERC-2612 properties can fail is
shown in tests/solidity/ShareProperties.t.sol, on BadShare.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1_800)  # the first run compiles the core anew

VAULT = "contracts/BasketVault.sol"
BASE = "contracts/VaultBase.sol"
EXTENSION = "contracts/VaultExtension.sol"
STORE = "contracts/ConfigStore.sol"

SUITE = "tests/solidity/Invariants.t.sol"
ROOTS = (
    *(SUITE, VAULT, EXTENSION, STORE),
    *("contracts/OracleHub.sol", "contracts/feeds/ChainlinkFeed.sol", "contracts/VaultFactory.sol"),
)
"""The suite, and the contracts it deploys by name."""
ZAP = "contracts/Zap.sol"
ZAP_EXECUTOR = "contracts/ZapExecutor.sol"
ZAP_SUITES = ("tests/solidity/Zap.t.sol", "tests/solidity/ZapAttack.t.sol")
ZAP_ROOTS = (*ROOTS[1:], *ZAP_SUITES, ZAP, ZAP_EXECUTOR, "contracts/RouteExecutor.sol")

IMPORT = re.compile(r'from "([^"]+)";')
PART = re.compile(r"\[\[(.*)\]\]")
AWAKE = "AWAKE"


@dataclass(frozen=True)
class Mutant:
    """`old` in `file` becomes `new` while the mutant is awake; `breaks` is the promise that must then be seen broken, or the test.

    `old` is a statement, or an expression in `[[ ]]` and as much around it as makes it the only one. AWAKE in `new` stands for the
    condition itself, for what is neither.
    """

    breaks: str
    name: str
    old: str
    new: str
    file: str = VAULT

    @property
    def passage(self) -> str:
        """What stands in the source."""
        return self.old.replace("[[", "", 1).replace("]]", "", 1) if PART.search(self.old) else self.old


OPENING = "_openClaim(i, token, msg.sender == owner ? receiver : owner, amount);"

MUTANTS = (
    Mutant(
        "A1",
        "redeem rounds up",
        "uint256 amount = [[h.amountRaw() * part / whole]];",
        "(h.amountRaw() * part + whole - 1) / whole",
    ),
    Mutant(
        "A1",
        "a token that refuses freezes the redemption",
        OPENING,
        "revert NothingToClaim(owner, token);",
    ),
    Mutant(
        "A1",
        "a part that cannot be sent is forfeit",
        OPENING,
        "",
    ),
    Mutant(
        "A1",
        "a redemption behind a trade is refused",
        "if (flags & (LOCK | [[refused]]) != 0) _refuse(flags);",
        "TRADE",
        BASE,
    ),
    Mutant(
        "A1",
        "the exit fee is charged twice",
        "uint256 part = shares * (BPS - [[f.exitBps()]]);",
        "2 * f.exitBps()",
    ),
    Mutant(
        "A2",
        "a claim can be paid twice",
        "uint256 units = [[amountRaw == whole ? own : Math.mulDiv(amountRaw, c.units, c.amountRaw, Math.Rounding.Ceil)]];",
        "0",
        EXTENSION,
    ),
    Mutant(
        "A2",
        "claims are forgotten in their sum",
        "(c.amountRaw, c.units) = (c.amountRaw - uint128(amountRaw), c.units - uint192(units));",
        "",
        EXTENSION,
    ),
    Mutant(
        "A2",
        "redeem leaves the ledger as it was",
        "pair = pair.withEntry(i, h.withAmount(h.amountRaw() - amount));",
        "",
    ),
    Mutant(
        "A2",
        "a stranger collects a claim",
        "if (msg.sender != holder && receiver != holder) revert NotTheClaimant(msg.sender, holder);",
        "",
        EXTENSION,
    ),
    Mutant(
        "A2",
        "a claim is paid to whoever has it paid",
        "IERC20(token).trySafeTransfer([[receiver]], amountRaw)",
        "msg.sender",
        EXTENSION,
    ),
    Mutant(
        "A2",
        "a claim is paid ahead of a loss",
        "_writeDownClaims(token);",
        "",
        EXTENSION,
    ),
    Mutant(
        "A2",
        "claims that have ended live again",
        "(c.units, c.amountRaw, c.generation) = (0, 0, [[c.generation + 1]]);",
        "c.generation",
        BASE,
    ),
    Mutant(
        "A4",
        "claims are not written down",
        "c.amountRaw = uint128(claimsBefore * balanceRaw / owedRaw);",
        "",
        BASE,
    ),
    Mutant(
        "A4",
        "the ledger bears all of a loss",
        "uint256 heldAfter = [[heldBefore * balanceRaw / owedRaw]];",
        "Math.saturatingSub(balanceRaw, claimsBefore)",
        BASE,
    ),
    Mutant(
        "A4",
        "a redemption runs ahead of a loss",
        "return balance < _owedRaw(token, h) ? _writeDown(words, asset, token, h, balance) : h;",
        "return h;",
    ),
    Mutant(
        "A5",
        "a deposit fills a hole",
        "if (balance < owedRaw) revert LossNotWrittenDown(asset, balance, owedRaw);",
        "",
        BASE,
    ),
    Mutant(
        "A5",
        "what backs claims is sold",
        "if (balance < owedRaw) revert LossNotWrittenDown(i, balance, owedRaw);",
        "",
    ),
    Mutant(
        "A5",
        "a bid fills a hole",
        "if (balance < _owedRaw(token, h)) revert LossNotWrittenDown(asset, balance, _owedRaw(token, h));",
        "",
        EXTENSION,
    ),
    Mutant(
        "A3",
        "redeem asks the oracle",
        "_checkLength(minAmounts.length, n);",
        "_checkLength(minAmounts.length, n); _readBasket(words, 0);",
    ),
    Mutant(
        "A3",
        "redeem asks the authority",
        "if (msg.sender != owner) _spendAllowance(owner, msg.sender, shares);",
        "_checkCanCall(owner, msg.data);",
    ),
    Mutant(
        "B1",
        "the loss budget forgets what was lost before",
        "[[RebalancePolicy.leak(s.lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds, elapsed)]]",
        "0",
    ),
    Mutant(
        "B1",
        "losses count half",
        "[[Math.saturatingSub(f.soldE18, f.boughtE18)]]",
        "Math.saturatingSub(f.soldE18, f.boughtE18) / 2",
    ),
    Mutant("B2", "P0 is not asked", "if (!_isDue(s, p, b)) revert RebalancePolicy.NoBandBroken();", ""),
    Mutant(
        "B3",
        "P2 is not asked",
        "if (f.boughtE18 < minimumE18) revert RebalancePolicy.PriceTooPoor(f.boughtE18, minimumE18);",
        "",
    ),
    Mutant(
        "B3",
        "the slippage limit is at its end from the beginning",
        "[[p.startSlippageBps]], p.maxSlippageBps, p.slippageRampSeconds, s.dueSince, block.timestamp",
        "p.maxSlippageBps",
    ),
    Mutant(
        "B4",
        "the turnover budget forgets what was sold before",
        "[[s.turnoverLevelE18]], p.turnoverBudgetBps, p.turnoverPeriodSeconds, block.timestamp - s.rebalancedAt",
        "0",
    ),
    Mutant("B5", "anybody may rebalance", "_checkCanCall(msg.sender, msg.data);", ""),
    Mutant(
        "B5",
        "execution opens though nothing was seen due",
        "RebalancePolicy.isOpen([[s.dueSince]], p.openAfterSeconds, block.timestamp)",
        "1",
    ),
    Mutant("B5", "a pause stops nothing", "if (s.paused) revert RebalanceIsPaused();", ""),
    Mutant("B5", "epochs stand still", "s.epoch += 1;", ""),
    Mutant(
        "B5",
        "there is no cooldown",
        "revert CooldownActive(uint256(s.rebalancedAt) + p.cooldownSeconds);",
        "",
    ),
    Mutant(
        "B6",
        "a rebalance counts as due since midnight",
        "_stampDue(due ? [[block.timestamp]] : 0);",
        "block.timestamp / 1 days * 1 days",
    ),
    Mutant(
        "B6",
        "what was due by other targets is due by the new ones",
        "_state.epoch += 1;\n        _stampDue(0);",
        "_state.epoch += 1;",
        EXTENSION,
    ),
    Mutant("B7", "nothing is barred", "h = h.withBarred(true);", "", BASE),
    Mutant("B7", "trading goes on after a loss", "_state.paused = true;", "", BASE),
    Mutant(
        "B7",
        "a rebalance buys what is barred",
        "if (minBuys.at(i) != 0 && h.isBarred()) revert PurchaseBarred(i);",
        "",
    ),
    Mutant(
        "B7",
        "an auction buys what is barred",
        "if (boughtBefore.isBarred()) revert PurchaseBarred(buy);",
        "",
        EXTENSION,
    ),
    Mutant("C1", "P1 is not asked", "_fitSales(s, p, b, t);", ""),
    Mutant(
        "C1",
        "minimum trades are not asked",
        "RebalancePolicy.checkTradeSize(i, sold, b.words.minTradeRaw(i));",
        "",
    ),
    Mutant(
        "C2",
        "P3 is not asked",
        "RebalancePolicy.checkTowardTarget(b.distancesE18, distancesE18, totalE18, p.dustBps);",
        "",
    ),
    Mutant(
        "C3",
        "P4 is not asked",
        "RebalancePolicy.checkProgress(b.distanceE18, b.totalE18, distanceE18, totalE18, p.minProgressBps, p.dustBps);",
        "",
    ),
    Mutant(
        "C4",
        "an auction sells what the oracle prices",
        "[[_isPriced(words, sell, buy)]]) revert OracleIsSound(sell, buy);\n        _seeUnpriced(a);\n        uint256 opensAt",
        "false",
        EXTENSION,
    ),
    Mutant(
        "C4",
        "an auction sells below its floor",
        "[[Math.mulDiv(lotPayRaw, amountRaw, a.lotRaw, Math.Rounding.Ceil)]]",
        "Math.mulDiv(a.floorPayRaw, amountRaw, 2 * uint256(a.lotRaw))",
        EXTENSION,
    ),
    Mutant(
        "C5",
        "an auction opens at once",
        "a.unpricedSince = uint40(block.timestamp);\n"
        "            a.clockE6 = uint64((block.timestamp + UNPRICED_SECONDS) * 1e6);",
        "a.unpricedSince = uint40(block.timestamp - UNPRICED_SECONDS); a.clockE6 = uint64(block.timestamp * 1e6);",
        EXTENSION,
    ),
    Mutant(
        "C5",
        "it counts when nobody looks",
        "if ([[block.timestamp > uint256(a.unpricedAt) + UNPRICED_GAP_SECONDS]]) {",
        "a.unpricedAt == 0",
        EXTENSION,
    ),
    Mutant(
        "C5",
        "a guardian wakes an auction",
        "if (changedAt > a.startedAt) revert AuctionTermsVoid(sell, buy, a.startedAt, changedAt);",
        "",
        EXTENSION,
    ),
    Mutant(
        "C5",
        "void terms live on",
        "if ([[_changedAt(words, sold, bought) > a.startedAt]] || _isPriced(words, sell, buy)) {",
        "false",
        EXTENSION,
    ),
    Mutant(
        "C5",
        "an auction of what is priced begins",
        "[[_isPriced(words, sell, buy)]]) revert OracleIsSound(sell, buy);\n        a.startedAt",
        "false",
        EXTENSION,
    ),
    Mutant(
        "D1",
        "what is bought is valued at the primary price alone",
        "valueDown(bought, [[b.prices.at(4 * i + LO)]], b.units.at(i))",
        "b.pricesE18.at(i)",
    ),
    Mutant(
        "D1",
        "what is sold is valued at the primary price alone",
        "valueUp(sold, [[b.prices.at(4 * i + HI)]], b.units.at(i))",
        "b.pricesE18.at(i)",
    ),
    Mutant(
        "D2",
        "faults are ignored",
        "_checkPrice(b.prices, i);",
        "",
        BASE,
    ),
    Mutant(
        "E1",
        "depositors pay for gifts",
        "amounts[i] = [[Math.ceilDiv(_held[i].amountRaw() * part, supply * BPS)]];",
        "Math.ceilDiv(IERC20(ConfigCode.load(config).token(i)).balanceOf(address(this)) * part, supply * BPS)",
    ),
    Mutant(
        "E2",
        "claims are absorbed as gifts",
        "return (IERC20(token).balanceOf(address(this)), [[_owedRaw(token, _held[asset])]]);",
        "_held[asset].amountRaw()",
        EXTENSION,
    ),
    Mutant(
        "E2",
        "absorbing books twice as much",
        "_withHeld(asset, h, h.amountRaw() + [[amountRaw]])",
        "2 * amountRaw",
        EXTENSION,
    ),
    Mutant(
        "F1",
        "nobody is asked for a role",
        "function _checkReceiver(",
        "function _checkCanCall(address caller, bytes calldata data) internal override {"
        " if (!AWAKE) super._checkCanCall(caller, data); }\n    function _checkReceiver(",
        BASE,
    ),
    Mutant(
        "F1",
        "the guardian may loosen",
        '_checkNotAbove("maxSlippageBps", p.maxSlippageBps, old.maxSlippageBps);',
        "",
        STORE,
    ),
    Mutant(
        "F1",
        "the guardian may raise fees",
        "_checkFee(fees.streamingBps, f.streamingBps());",
        "",
        EXTENSION,
    ),
    Mutant(
        "F2",
        "tightening asks for prices",
        '_checkNotAbove("startSlippageBps", p.startSlippageBps, old.startSlippageBps);',
        "_checkPrices(c);",
        STORE,
    ),
    Mutant(
        "G1",
        "a loss that did not happen is written down",
        "if (balance >= owed) revert NothingLost(asset, balance, owed);",
        "",
        EXTENSION,
    ),
    Mutant(
        "G1",
        "depositors pay a hundredth too little",
        "uint256 part = [[shares * (BPS + entryBps)]];",
        "shares * BPS * 99 / 100",
    ),
    Mutant(
        "G2",
        "earned fees are not in the supply",
        "return [[super.totalSupply() + _pendingFee(_fee, super.totalSupply())]];",
        "super.totalSupply()",
        BASE,
    ),
    Mutant(
        "G2",
        "the performance fee is charged on everything",
        "uint256 chargedE18 = [[f.chargedBps * (valueE18 - f.highWaterE18)]];",
        "f.chargedBps * valueE18",
        EXTENSION,
    ),
    Mutant(
        "G3",
        "the cooldown never ends",
        "if ([[block.timestamp < uint256(s.rebalancedAt) + p.cooldownSeconds]]) {",
        "s.rebalancedAt != 0",
    ),
    Mutant(
        "G4",
        "who came later is charged for what others gained",
        "if (burnt != 0 && burnt <= supply) f = f.lowered(supply - burnt);",
        "",
        BASE,
    ),
    Mutant(
        "G4",
        "locked shares are charged",
        "return Math.saturatingSub(_fee.leastShares(), [[balanceOf(LOCKED)]]);",
        "0",
        EXTENSION,
    ),
    Mutant(
        "G4",
        "a mark is noted at the lower prices",
        "_noteMark(f, [[highE18]], supply + shares);",
        "valueE18",
        EXTENSION,
    ),
    Mutant(
        "G4",
        "a fee begins without a mark",
        "_noteMark(f, [[highE18]], supply);",
        "0",
        EXTENSION,
    ),
    Mutant(
        "G4",
        "gains are charged at the higher prices",
        "if (valueE18 > f.highWaterE18) {",
        f"if ({AWAKE}) valueE18 = highE18; if (valueE18 > f.highWaterE18) {{",
        EXTENSION,
    ),
    Mutant(
        "G5",
        "who redeems a little ahead of a rebalance stops it",
        "_fitSales(s, p, b, t);",
        "uint256[] memory asked = t.sales; _fitSales(s, p, b, t); for (uint256 i; i < asked.length; ++i) {"
        " if (t.sales[i] != asked[i]) revert RebalancePolicy.SaleWithoutSurplus(i); }",
    ),
    Mutant(
        "G5",
        "what is allowed again stays barred",
        "_held[asset] = _held[asset].withBarred(false);",
        "",
        EXTENSION,
    ),
    Mutant("G5", "what is resumed stays paused", "_state.paused = false;", "", EXTENSION),
)

PROMISES = sorted({mutant.breaks for mutant in MUTANTS})

ZAP_MUTANTS = (
    Mutant(
        "test_a_deposit_returns_what_is_left_of_a_token_outside_the_basket",
        "a zap keeps what the route left",
        "_sendAll(touched, msg.sender);",
        "",
        ZAP,
    ),
    Mutant(
        "test_a_withdrawal_without_a_route_pays_the_token_and_the_rest_in_kind",
        "a zap out keeps what no hop sells",
        "count = _touch(touched, count, sent[i]);",
        "",
        ZAP_EXECUTOR,
    ),
    Mutant(
        "test_the_executor_works_for_the_zap_alone",
        "anybody uses the zap's executor",
        "if (msg.sender != ZAP) revert NotTheZap(msg.sender);",
        "",
        ZAP_EXECUTOR,
    ),
    Mutant(
        "test_a_hostile_vault_that_takes_less_than_it_says_keeps_nothing_in_the_zap",
        "any vault keeps its approval",
        "i < assets.length && [[!known]];",
        "known",
        ZAP,
    ),
)


def marked(number: int, mutant: Mutant) -> object:
    """The mutant as a test's parameter: slow unless it is the first of its promise's letter, as each takes some ten seconds."""
    first = next(m for m in MUTANTS if m.breaks[0] == mutant.breaks[0])
    marks = [] if mutant is first else [pytest.mark.slow]
    return pytest.param(number, mutant, marks=marks, id=f"{mutant.breaks} {mutant.name}")


# The sources


def reachable(root: Path, roots: Sequence[str]) -> list[str]:
    """Every file of ours that these need, by their imports."""
    found: list[str] = []
    waiting = [*roots, "tests/solidity/Base.t.sol"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        for target in IMPORT.findall((root / name).read_text()):
            if target.startswith("."):
                path = os.path.normpath(Path(name).parent / target)
                waiting.append(path)
    return sorted(found)


def broken(name: str, source: str, mutants: Sequence[Mutant]) -> str:
    """The source with every mutant of that file in it, each asleep until its number is the coinbase."""
    for number, mutant in enumerate(mutants, 1):
        if mutant.file != name:
            continue
        awake = f"(block.coinbase == address({number}))"
        if AWAKE in mutant.new:
            woven = mutant.new.replace(AWAKE, awake)
        elif part := PART.search(mutant.old):
            choice = f"({awake} ? {mutant.new} : {part[1]})"
            woven = mutant.old.replace(part[0], choice)
        else:
            woven = f"if ({awake}) {{ {mutant.new} }} else {{ {mutant.old} }}"
        assert mutant.passage in source, f"{mutant.name}: another mutant is woven into its passage"
        source = source.replace(mutant.passage, woven, 1)
    return source


def write(path: Path, text: str) -> None:
    """Writes what differs, so that forge compiles nothing it need not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def laid(repo_root: Path, name: str, roots: Sequence[str], mutants: Sequence[Mutant]) -> Path:
    """The roots and what they need, with these mutants in them, in a folder of that name that is kept."""
    root = repo_root / ".build" / name
    for file in reachable(repo_root, roots):
        write(root / file, broken(file, (repo_root / file).read_text(), mutants))
    for file in ("foundry.toml", "package.json", "scripts/build/solc"):
        write(root / file, (repo_root / file).read_text())
    (root / "scripts" / "build" / "solc").chmod(0o755)
    (root / "tests" / "vectors").mkdir(exist_ok=True)
    if not (root / "node_modules").is_symlink():
        (root / "node_modules").symlink_to(repo_root / "node_modules", target_is_directory=True)
    return root


@pytest.fixture(scope="module")
def project(repo_root: Path) -> Path:
    """The campaign, with all its mutants."""
    return laid(repo_root, "mutants", ROOTS, MUTANTS)


@pytest.fixture(scope="module")
def zap_project(repo_root: Path) -> Path:
    """The Zap's suites, with all its mutants."""
    return laid(repo_root, "mutants.zap", ZAP_ROOTS, ZAP_MUTANTS)


# The tests


@pytest.mark.parametrize("name", sorted({mutant.file for mutant in (*MUTANTS, *ZAP_MUTANTS)}))
def test_every_passage_is_there_once(repo_root: Path, name: str) -> None:
    source = (repo_root / name).read_text()
    gone = [
        mutant.name for mutant in (*MUTANTS, *ZAP_MUTANTS) if mutant.file == name and source.count(mutant.passage) != 1
    ]

    assert not gone, f"{name} has changed; write these mutants anew"


def test_every_promise_has_a_mutant(repo_root: Path) -> None:
    named = re.findall(r"function invariant_([A-Z]\d)_", (repo_root / SUITE).read_text())

    assert sorted(named) == PROMISES


def test_no_promise_is_broken_while_all_mutants_sleep(project: Path) -> None:
    assert campaign(project, 0, "every_promise", runs=2) == ("Success", "")


@pytest.mark.parametrize(("number", "mutant"), [marked(number, mutant) for number, mutant in enumerate(MUTANTS, 1)])
def test_mutant_is_caught(project: Path, number: int, mutant: Mutant) -> None:
    status, reason = "", ""
    for seed in range(6):  # chance decides which campaign comes across it first
        status, reason = campaign(project, number, mutant.breaks, runs=40, seed=seed)
        if status == "Failure":
            break

    assert status == "Failure", f"{mutant.breaks} did not see that {mutant.name}"
    # A3 is seen by a redemption that fails, which tells its own reason.
    assert mutant.breaks == "A3" or f"{mutant.breaks}: " in reason, reason


@pytest.mark.slow
def test_no_test_of_the_zap_fails_while_its_mutants_sleep(zap_project: Path) -> None:
    for mutant in ZAP_MUTANTS:
        assert forge_test(zap_project, 0, "Zap*", mutant.breaks) == ("Success", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "mutant"),
    [pytest.param(number, mutant, id=mutant.name) for number, mutant in enumerate(ZAP_MUTANTS, 1)],
)
def test_mutant_of_the_zap_is_caught(zap_project: Path, number: int, mutant: Mutant) -> None:
    status, _ = forge_test(zap_project, number, "Zap*", mutant.breaks)

    assert status == "Failure", f"{mutant.breaks} did not see that {mutant.name}"


def campaign(root: Path, number: int, promise: str, runs: int, seed: int = 0) -> tuple[str, str]:
    """How the campaign of one promise ends with one mutant awake: its status and reason."""
    failures = f"cache/mutant-{number}"
    shutil.rmtree(root / failures, ignore_errors=True)
    return forge_test(
        root,
        number,
        "Invariants",
        f"invariant_{promise}",
        FOUNDRY_INVARIANT_RUNS=str(runs),
        FOUNDRY_FUZZ_SEED=hex(0x5EED + seed),
        FOUNDRY_INVARIANT_DEPTH="120",
        FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT="0",
        FOUNDRY_INVARIANT_FAILURE_PERSIST_DIR=failures,
    )


def forge_test(root: Path, number: int, suite: str, test: str, **settings: str) -> tuple[str, str]:
    """Status and reason of the one test of a suite whose name begins like this, with one mutant awake (0: none)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
    environment |= {"FOUNDRY_BLOCK_COINBASE": f"0x{number:040x}", **settings}
    run = subprocess.run(
        [
            "forge",
            "test",
            "--json",
            "--match-path",
            f"tests/solidity/{suite}.t.sol",
            "--match-test",
            f"^{test}",
        ],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stdout.startswith("{"), f"no test was run:\n{run.stdout}{run.stderr}"
    (suite_found,) = json.loads(run.stdout).values()
    (result,) = suite_found["test_results"].values()
    return result["status"], result["reason"] or ""
