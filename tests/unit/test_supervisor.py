"""Whoever sends SIGHUP has pools that are left out tried again, by keepers and by a fleet's workers."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ConfigError
from rebalancer.fleet.redis_state import LocalState
from rebalancer.fleet.worker import Worker
from rebalancer.keeper.supervisor import Supervisor


class Retrier:
    """Counts how often it is told."""

    def __init__(self) -> None:
        self.reported = Counter[str]()

    def retry_pools(self) -> None:
        self.reported["retry"] += 1

    def tune(self, _tuning: object) -> None:
        self.reported["tune"] += 1


def no_settings() -> dict[int, Any]:
    return {}


def bad_settings() -> dict[int, Any]:
    raise ConfigError("rpc_url", "", "it is none")


@pytest.mark.parametrize("reload", [None, no_settings, bad_settings])
def test_every_keeper_tries_pools_again_whatever_the_settings_say(reload: Any) -> None:
    keepers = {1: Retrier(), 10: Retrier()}
    supervisor = Supervisor({}, reload=reload)
    supervisor._keepers = keepers  # type: ignore[assignment]  # all that is asked of them here
    supervisor._reload()

    assert [one.reported for one in keepers.values()] == [Counter(retry=1)] * 2


def test_every_evaluator_of_a_worker_tries_pools_again() -> None:
    worker = Worker("anna", Rpc("http://127.0.0.1:1"), SimpleNamespace(), LocalState())  # type: ignore[arg-type] # this test needs no context
    evaluators = [Retrier(), Retrier()]
    worker._evaluators = [SimpleNamespace(evaluator=one) for one in evaluators]  # type: ignore[misc]  # stand-ins
    worker.retry_pools()

    assert [one.reported["retry"] for one in evaluators] == [1, 1]
