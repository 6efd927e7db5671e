"""How a worker and a standby of a fleet say that they are well."""

from __future__ import annotations

import pytest
import urllib3

from rebalancer.fleet.standing import SILENT_SECONDS, Standing, served
from rebalancer.settings import Settings
from rebalancer.watch.server import Server

NOON = 1_700_000_000.0


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standing(clock: Clock) -> Standing:
    return Standing("worker", "wanda", [10, 1], lambda text: text.replace("hunter22", "-"), clock)


def test_a_process_that_hears_redis_is_well(standing: Standing, clock: Clock) -> None:
    assert standing.unready() == ()
    standing.tried("The heartbeat of chain 1")
    clock.now += SILENT_SECONDS
    assert standing.unhealthy() == ()
    clock.now += 1
    message = ("The heartbeat of chain 1 was last tried 2 min 1 s ago.",)
    assert standing.unhealthy() == standing.unready() == message


def test_a_process_that_never_asks_is_not_well_in_the_end(standing: Standing, clock: Clock) -> None:
    clock.now += SILENT_SECONDS + 1
    assert standing.unhealthy() == ("worker was last tried 2 min 1 s ago.",)


def test_a_redis_that_fails_is_said_without_secrets_until_it_answers(standing: Standing) -> None:
    standing.tried("The heartbeat of chain 1", "Redis with hunter22\x1b[2J does not answer")
    assert standing.unhealthy() == ()
    assert standing.unready() == ("The heartbeat of chain 1: Redis with -[2J does not answer",)
    standing.tried("The heartbeat of chain 1")
    assert standing.unready() == ()


def test_its_pages_are_a_keepers(standing: Standing) -> None:
    with Server(("127.0.0.1", 0), standing, None) as server:

        def get(path: str) -> urllib3.BaseHTTPResponse:
            return urllib3.request("GET", f"http://127.0.0.1:{server.port}{path}", retries=False)

        assert get("/healthz").status == get("/readyz").status == get("/metrics").status == 200
        standing.tried("The lease 1 0xab", "no answer")
        assert get("/readyz").data == b"The lease 1 0xab: no answer\n"
        status = get("/status").json()
    assert (status["role"], status["name"]) == ("worker", "wanda")
    assert status["problems"] == ["The lease 1 0xab: no answer"]
    assert [chain["chain_id"] for chain in status["chains"]] == [1, 10]


def test_a_place_that_is_taken_stops_no_worker(standing: Standing) -> None:
    with Server(("127.0.0.1", 0), standing, None) as other:
        taken = Settings.model_validate({"keeper": {"listen": f"127.0.0.1:{other.port}"}})
        with served("standby", "mona", [taken]) as mine:
            assert mine.status()["role"] == "standby"
        assert urllib3.request("GET", f"http://127.0.0.1:{other.port}/healthz").status == 200
