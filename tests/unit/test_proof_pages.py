"""docs/proofs.md and docs/mutation.md say what was found, of all there is to find."""

from __future__ import annotations

import json
import re
from pathlib import Path

from scripts.mutation.results import EQUIVALENT, PYTHON_EQUIVALENT, PYTHON_RESULT, RESULT, Excuses, report
from scripts.mutation.solidity_campaign import TARGETS


def test_every_symbolic_claim_is_on_the_page_and_proved(repo_root: Path) -> None:
    page = (repo_root / "docs" / "proofs.md").read_text()
    claims = {
        name.replace("_", " ")
        for path in (repo_root / "tests" / "proofs").glob("*.t.sol")
        for name in re.findall(r"function check_(\w+)", path.read_text())
    }

    reported = dict(re.findall(r"^\| \w+Proofs \| ([^|]+) \|.*\| (\w+) \|$", page, re.MULTILINE))

    assert reported.keys() == claims
    assert set(reported.values()) == {"proved"}


def test_every_claim_that_must_fail_did(repo_root: Path) -> None:
    page = (repo_root / "docs" / "proofs.md").read_text()
    source = (repo_root / "tests" / "proofs" / "Vault.t.sol").read_text()
    claims = {name.replace("_", " ") for name in re.findall(r"function checkBad_(\w+)", source)}

    reported = dict(re.findall(r"^\| MustFail \| ([^|]+) \|.*\| (\w+) \|$", page, re.MULTILINE))

    assert reported == dict.fromkeys(claims, "refuted")


def test_every_claim_put_to_z3_is_on_the_page_with_the_verdict_it_must_have(
    repo_root: Path,
) -> None:
    page = (repo_root / "docs" / "proofs.md").read_text()
    reported = dict(re.findall(r"^\| \w+\.py \| (.+) \| [\d.]+ \| ([\w -]+) \|$", page, re.MULTILINE))
    claims = {
        name: verdict
        for path in (repo_root / "tests" / "proofs").glob("*.py")
        for call, verdict in (("prove", "proved"), ("refute", "refuted"))
        for name in re.findall(rf'\b{call}\(\s*"([^"]+)"', path.read_text())
    }

    assert len(claims) > 40
    assert claims.items() <= reported.items()
    assert {name for name, verdict in reported.items() if verdict != "proved"} <= claims.keys()


def test_the_mutation_page_is_what_was_found(repo_root: Path) -> None:
    found = json.loads(RESULT.read_text())

    assert found["contracts"].keys() == TARGETS.keys()
    python = json.loads(PYTHON_RESULT.read_text())
    assert (repo_root / "docs" / "mutation.md").read_text() == report(found, python)


def test_every_excuse_of_a_mutant_gives_its_reason(repo_root: Path) -> None:
    for path, files in ((EQUIVALENT, TARGETS), (PYTHON_EQUIVALENT, {})):
        assert path.exists()
        for (target, _, at, old, new), reason in Excuses({}, path).reasons.items():
            text = (repo_root / files.get(target, target)).read_text()
            assert at in {line.strip() for line in text.splitlines()}, f"no such line: {at}"
            assert old != new
            assert reason.endswith("."), (target, at)
