"""`rebalancer fleet` as a person meets it: what it refuses, and a fleet in one process."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from rebalancer.devnet.environment import DevEnvironment
from rebalancer.reasons import Reason
from tests.clocks import wait_for
from tests.commands import free_port, run
from tests.contract.test_keeper import move
from tests.fixtures_redis import RedisServer
from tests.fleet.processes import Fleet


@pytest.fixture
def alone(environment: DevEnvironment, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without Redis."""
    found = Fleet(environment, (environment.vault, environment.open_vault(1)), "", tmp_path)
    yield found
    found.close()


def test_worker_without_redis_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(capsys, "fleet", "worker")

    assert ran.code == 17
    assert "fleet.redis_url" in ran.sentence


def test_leader_without_redis_keeps_vaults_in_one_process(environment: DevEnvironment, alone: Fleet) -> None:
    leader = alone.start("leader", "lena", "--workers", "3")
    leader.says("started")
    move(environment, {"ETH/USD": 2_200_00000000})

    def done() -> bool:
        environment.chain.mine()
        time.sleep(0.1)
        reported = [one["vault"] for one in leader.decisions if one["reason"] == Reason.REBALANCED]
        return sorted(reported) == sorted(alone.vaults)

    wait_for("both rebalances", done)
    leader.signal(signal.SIGTERM)
    assert leader.end() == 0
    assert "evaluated_here" not in leader.log


def test_standby_that_is_told_to_stop_ends_at_once(
    environment: DevEnvironment, redis_server: RedisServer, tmp_path: Path
) -> None:
    fleet = Fleet(environment, (environment.vault,), redis_server.url, tmp_path)
    try:
        leader = fleet.start("leader", "lena")
        leader.says("started")
        standby = fleet.start("leader", "mona")
        standby.says("standing_by")
        standby.signal(signal.SIGTERM)

        assert standby.end() == 0
        assert leader.process.poll() is None
    finally:
        fleet.close()


def test_worker_and_standby_say_how_they_stand(
    environment: DevEnvironment, redis_server: RedisServer, tmp_path: Path
) -> None:
    fleet = Fleet(environment, (environment.vault,), redis_server.url, tmp_path)
    try:
        fleet.start("leader", "lena").says("started")
        for kind, name, role, event in (
            ("leader", "mona", "standby", "standing_by"),
            ("worker", "wanda", "worker", "working"),
        ):
            fleet.listen = f"127.0.0.1:{free_port()}"
            fleet.start(kind, name).says(event)

            def get(path: str, at: str = fleet.listen) -> urllib3.BaseHTTPResponse:
                return urllib3.request("GET", f"http://{at}{path}")

            assert get("/healthz").status == 200
            assert get("/readyz").status == 200
            status = get("/status").json()
            assert (status["role"], status["problems"]) == (role, [])
    finally:
        fleet.close()
