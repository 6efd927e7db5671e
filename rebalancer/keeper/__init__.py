"""The keeper: decisions about vaults, and the transactions that execute them.

`decide` is pure. `evaluator` decides about all vaults of a chain at a block. `keeper` is the loop: `inflight` settles
earlier transactions, `dispatch` sends new ones, `reporting` makes the `report` that observers receive. `supervisor`
runs a keeper for each chain.
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
