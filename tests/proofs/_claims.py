"""How the proofs here speak to Z3: `prove(claim, because=...)` asks for a counterexample and wants to hear that there is none;
`refute` asks the same of a claim that is false and wants to see one.

Only `make prove` can import this: z3-solver lives in an environment of its own. A time-out is told as a time-out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from z3 import And, ArithRef, BoolRef, Int, Not, Real, Solver, sat, unsat

__all__ = ["CLAIMS", "Claim", "ints", "prove", "reals", "refute"]

TIMEOUT_MS = 120_000


@dataclass(frozen=True)
class Claim:
    """What was asked and what came of it: `proved`, `refuted` or `time-out`. `false` says that it must be refuted."""

    name: str
    verdict: str
    seconds: float
    counterexample: str = ""
    false: bool = False


CLAIMS: list[Claim] = []


def reals(names: str) -> list[ArithRef]:
    """Real numbers of these names."""
    return [Real(name) for name in names.split()]


def ints(names: str) -> list[ArithRef]:
    """Whole numbers of these names."""
    return [Int(name) for name in names.split()]


def prove(name: str, claim: BoolRef, *, because: list[BoolRef]) -> None:
    """Holds that the claim follows from the hypotheses, which must not contradict one another: from those all follows."""
    CLAIMS.append(_asked(name, claim, because, false=False))


def refute(name: str, claim: BoolRef, *, because: list[BoolRef]) -> None:
    """Holds that the claim does not follow from the hypotheses: whoever proves such a claim proves anything."""
    CLAIMS.append(_asked(name, claim, because, false=True))


def _asked(name: str, claim: BoolRef, because: list[BoolRef], *, false: bool) -> Claim:
    solver = Solver()
    solver.set("timeout", TIMEOUT_MS)
    started = time.monotonic()
    solver.add(And(because))
    if solver.check() != sat:
        seconds = time.monotonic() - started
        return Claim(name, "no example of its hypotheses", seconds, false=false)
    solver.add(Not(claim))
    answer = solver.check()
    verdict = "proved" if answer == unsat else "refuted" if answer == sat else "time-out"
    counterexample = str(solver.model()) if answer == sat else ""
    return Claim(name, verdict, time.monotonic() - started, counterexample, false)
