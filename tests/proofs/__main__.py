"""Runs every proof over the reals and the integers and prints what came of each, as JSON; `make prove` calls it."""

from __future__ import annotations

import json
import sys

from tests.proofs import bucket_window, convergence, loss_bound, overflow, rounding, tightening
from tests.proofs._claims import CLAIMS

if __name__ == "__main__":
    reported = []
    for module in (loss_bound, bucket_window, convergence, rounding, overflow, tightening):
        CLAIMS.clear()
        module.prove_all()
        reported += [
            {
                "file": module.__name__.rpartition(".")[2],
                "name": claim.name,
                "verdict": claim.verdict,
                "seconds": claim.seconds,
                "counterexample": claim.counterexample,
                "false": claim.false,
            }
            for claim in CLAIMS
        ]
    json.dump(reported, sys.stdout)
