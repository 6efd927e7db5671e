"""The keeper: what is to be done about vaults, and doing it.

`decide` is pure; `evaluate` keeps the books of a chain; `machine` is the keeper itself; `tick` is what watchers are told.
"""

from rebalancer.keeper.decision import Decision, Outcome, explain
from rebalancer.keeper.evaluate import Evaluator, EvaluatorOptions
from rebalancer.keeper.machine import Keeper, KeeperOptions
from rebalancer.keeper.site import Site
from rebalancer.keeper.tick import Tick, Watcher

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
