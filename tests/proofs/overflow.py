"""No product, sum or difference in an unchecked loop of RebalancePolicy leaves its type.

The compiler's syntax tree says what is computed inside `unchecked`: this proof lists each of them with the largest value that the
library's header (BOUNDS) gives its parts, and fails if the code holds one that is not listed here, or no longer one that is. Z3 is
not needed: all parts are at least zero and all operators grow with them, so the largest value is at the largest parts.

BOUNDS. Amounts and prices are below 2^128 (the vault's ledger is uint128, `_readBasket` refuses a larger price). Values and the total
are at most 2^120 (`weigh`). Targets are at most 1e18 (ConfigStore: they sum to it). Ratios have 16 bits, bands at most
65,535 basis points of 1e18. A distance is a value less a target's part of the total, so at most 2^120 either way. At most 16 assets.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.proofs._claims import CLAIMS, Claim

ROOT = Path(__file__).resolve().parents[2]
POLICY = "contracts/libraries/RebalancePolicy.sol"

AMOUNT = PRICE = 2**128 - 1
TOTAL = VALUE = DISTANCE = 2**120
TARGET = E18 = 10**18
RATIO = 2**16 - 1
BAND = RATIO * 10**14
ASSETS = 16
MOST = 2**256 - 1
MOST_SIGNED = 2**255 - 1

LARGEST: dict[str, tuple[int, int]] = {
    # expression: its largest value, and what its type holds
    "amountRaw * priceE18": (AMOUNT * PRICE, MOST),
    "++i": (ASSETS, MOST),
    "totalE18 += valueE18": (ASSETS * VALUE, MOST),
    "targetsE18.at(i) * totalE18": (TARGET * TOTAL, MOST),
    "int256(valuesE18.at(i)) - int256(targetsE18.at(i) * totalE18 / E18)": (
        max(VALUE, TARGET * TOTAL // E18),
        MOST_SIGNED,
    ),
    "distanceE18 += _size(d)": (ASSETS * DISTANCE, MOST),
    "_size(distancesE18.at(i)) * E18": (DISTANCE * E18, MOST),
    "bandsE18.at(i) * totalE18": (BAND * TOTAL, MOST),
    "destinationBps * bandsE18.at(i)": (RATIO * BAND, MOST),
    "destinationBps * bandsE18.at(i) * totalE18": (RATIO * BAND * TOTAL, MOST),
    "BPS * E18": (10_000 * E18, MOST),
    "size - width": (DISTANCE, MOST),  # after `if (size <= width) continue`
    "above += size - width": (ASSETS * DISTANCE, MOST),
    "below += size - width": (ASSETS * DISTANCE, MOST),
    "dustBps * totalE18": (RATIO * TOTAL, MOST),
    "(above > below ? above : below) + dustBps * totalE18 / BPS": (
        ASSETS * DISTANCE + RATIO * TOTAL // 10_000,
        MOST,
    ),
    "above + below": (2 * ASSETS * DISTANCE, MOST),
    "dustBps * totalAfterE18": (RATIO * TOTAL, MOST),
    "_size(b) + dustE18": (DISTANCE + RATIO * TOTAL // 10_000, MOST),
    "-d": (DISTANCE, MOST_SIGNED),
}

# Checked by the compiler as well; the header says that it fits, so that no sound rebalance is refused.
CROSS = 2 * TOTAL * TOTAL * 10_000


def prove_all() -> None:
    started = time.monotonic()
    found = set(_unchecked())
    unlisted, gone = found - LARGEST.keys(), LARGEST.keys() - found
    too_large = [text for text, (largest, most) in LARGEST.items() if largest > most]
    wrong = [
        *(f"not listed: {text}" for text in sorted(unlisted)),
        *(f"gone: {text}" for text in sorted(gone)),
        *too_large,
    ]
    verdict = "refuted" if wrong else "proved"
    seconds = time.monotonic() - started
    CLAIMS.append(
        Claim(
            f"none of the {len(found)} unchecked operations overflows",
            verdict,
            seconds,
            "; ".join(wrong),
        )
    )
    fits = "proved" if CROSS <= MOST else "refuted"
    CLAIMS.append(Claim("P4's cross-multiplication fits for every basket that can be weighed", fits, 0.0))


def _unchecked() -> Iterator[str]:
    """The text of every operation inside `unchecked` that could leave its type."""
    source = (ROOT / POLICY).read_bytes()
    request = {
        "language": "Solidity",
        "sources": {POLICY: {"content": source.decode()}},
        "settings": {"outputSelection": {POLICY: {"": ["ast"]}}},
    }
    run = subprocess.run(
        [ROOT / "scripts" / "build" / "solc", "--standard-json"],
        cwd=ROOT,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    yield from _operations(json.loads(run.stdout)["sources"][POLICY]["ast"], source, inside=False)


def _operations(node: Any, source: bytes, *, inside: bool) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _operations(each, source, inside=inside)
    if not isinstance(node, dict):
        return
    kind, sign = node.get("nodeType"), node.get("operator")
    inside = inside or kind == "UncheckedBlock"
    grows = (kind == "BinaryOperation" and sign in {"+", "-", "*", "**", "<<"}) or (
        kind == "Assignment" and sign != "="
    )
    if inside and (grows or (kind == "UnaryOperation" and sign in {"++", "--", "-"})):
        start, length, _ = (int(part) for part in node["src"].split(":"))
        yield " ".join(source[start : start + length].decode().split())
    for child in node.values():
        yield from _operations(child, source, inside=inside)
