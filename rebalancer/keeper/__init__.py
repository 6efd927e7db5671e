"""The keeper: what is to be done about vaults, and doing it.

`decide` is pure; `evaluator` keeps the books of a chain; `keeper` is the keeper itself; `report` is what watchers are told.
"""

from rebalancer.keeper.context import KeeperOptions, Site
from rebalancer.keeper.decision import Decision, Outcome, explain
from rebalancer.keeper.evaluator import Evaluator, EvaluatorOptions
from rebalancer.keeper.keeper import Keeper
from rebalancer.keeper.report import Tick, Watcher

__all__ = [
    "Decision",
    "Evaluator",
    "EvaluatorOptions",
    "Keeper",
    "KeeperOptions",
    "Outcome",
    "Site",
    "Tick",
    "Watcher",
    "explain",
]
