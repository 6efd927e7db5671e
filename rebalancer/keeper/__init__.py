"""The keeper: what is to be done about vaults, and doing it.

`decide` is pure. `evaluator` decides about all vaults of a chain at a block. `keeper` is the loop: `inflight` settles what it sent before,
`dispatch` sends what is to be sent now, `reporting` makes the `report` that observers receive. `supervisor` runs a keeper for each chain.
"""

from rebalancer.keeper.context import KeeperContext, KeeperOptions
from rebalancer.keeper.decision import Decision, Outcome, explain
from rebalancer.keeper.evaluator import Evaluator, EvaluatorOptions
from rebalancer.keeper.keeper import Keeper
from rebalancer.keeper.report import Observer, Tick

__all__ = [
    "Decision",
    "Evaluator",
    "EvaluatorOptions",
    "Keeper",
    "KeeperContext",
    "KeeperOptions",
    "Observer",
    "Outcome",
    "Tick",
    "explain",
]
