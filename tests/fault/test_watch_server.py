"""The server of a running keeper: what each page answers when all is well and when it is not."""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3

from rebalancer.errors import ListenFailed
from rebalancer.keeper.outages import LeftOut
from rebalancer.reasons import Reason
from rebalancer.redact import HIDDEN, Redactor
from rebalancer.settings import AlertSettings, KeeperSettings, Settings
from rebalancer.units import E18
from rebalancer.watch import observers_of
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import SILENT_SECONDS, AlarmLimits
from rebalancer.watch.metrics import Metrics
from rebalancer.watch.server import MOST_CONNECTIONS, Server
from rebalancer.watch.status import MOST_DECISIONS, MOST_LISTED, MOST_VAULTS, StatusStore
from tests.clocks import calls_made
from tests.commands import free_port
from tests.ticks import CHAIN, NOON, SIGNER, breaker, decision, endpoint, outcome, tick, vault


class Served:
    """A server with what it serves, and a clock that stands still."""

    def __init__(self) -> None:
        self.now = NOON
        self.alarms = Alarms(AlarmLimits(0), 60)
        self.status_store = StatusStore([CHAIN], self.alarms, Redactor(["hunter22"]), lambda: self.now)
        self.metrics = Metrics(self.alarms)
        self.server = Server(("127.0.0.1", 0), self.status_store, self.metrics)

    def get(self, path: str, method: str = "GET") -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, f"http://127.0.0.1:{self.server.port}{path}", retries=False)

    @property
    def status(self) -> Any:
        return self.get("/status").json()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    with made.server:
        yield made


# Health


def test_keeper_that_just_began_is_healthy_and_not_ready(served: Served) -> None:
    assert served.get("/healthz").status == 200
    ready = served.get("/readyz")
    assert (ready.status, ready.data) == (503, b"Chain 1: there was no tick yet.\n")


def test_keeper_that_looks_is_healthy_and_ready(served: Served) -> None:
    served.status_store(tick())

    for path in ("/healthz", "/readyz"):
        answer = served.get(path)
        assert (answer.status, answer.data) == (200, b"ok\n")


def test_keeper_that_looks_no_more_is_neither(served: Served) -> None:
    served.status_store(tick())
    served.now = NOON + SILENT_SECONDS + 1

    for path in ("/healthz", "/readyz"):
        answer = served.get(path)
        assert (answer.status, answer.data) == (
            503,
            b"Chain 1 has had no tick for 2 min 1 s.\n",
        )


def test_keeper_that_never_looks_is_unhealthy_in_the_end(served: Served) -> None:
    served.now = NOON + SILENT_SECONDS + 1
    assert served.get("/healthz").status == 503


def test_chain_that_rests_is_healthy_and_not_ready(served: Served) -> None:
    served.status_store(tick(breakers=(breaker(why="it failed 5 times.", until=NOON + 3_600),)))
    served.now = NOON + 3_600

    assert served.get("/healthz").status == 200
    ready = served.get("/readyz")
    assert (ready.status, ready.data) == (
        503,
        b"Chain 1: the circuit breaker is open (it failed 5 times).\n",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"block": None, "failure": "no answer"},
            "Chain 1: the vaults have not been read yet (no answer).",
        ),
        (
            {
                "endpoints": (
                    endpoint("https://a", usable=False),
                    endpoint("https://b", usable=False),
                )
            },
            "Chain 1: all 2 endpoints are unusable.",
        ),
    ],
)
def test_what_keeps_it_from_its_work_is_one_sentence(served: Served, changes: dict[str, Any], sentence: str) -> None:
    served.status_store(tick(**changes))

    assert served.get("/healthz").status == 200
    assert served.get("/readyz").data.decode() == sentence + "\n"


def test_vault_whose_breaker_is_open_keeps_nothing_else_from_its_work(served: Served) -> None:
    served.status_store(tick(breakers=(breaker(vault(1)),)))
    assert served.get("/readyz").status == 200


def test_look_that_fails_after_a_good_one_leaves_it_ready(served: Served) -> None:
    served.status_store(tick())
    served.status_store(tick(block=None, failure="no answer", consecutive_failures=1))
    assert served.get("/readyz").status == 200


# Pages


def test_metrics_are_served_as_prometheus_reads_them(served: Served) -> None:
    served.metrics(tick())
    answer = served.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b'rebalancer_block_number{chain="1"} 100.0' in answer.data


@pytest.mark.parametrize("path", ["/nothing", "/status/x", "/../etc/passwd"])
def test_page_that_is_none_is_not_found(served: Served, path: str) -> None:
    assert served.get(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(served: Served, method: str) -> None:
    assert served.get("/status", method).status == 501


def test_head_and_index_are_answered(served: Served) -> None:
    assert served.get("/readyz", "HEAD").data == b""
    assert served.get("/").data == b"/metrics\n/healthz\n/readyz\n/status\n"


def test_client_that_says_nothing_keeps_no_other_waiting(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.watch.server.PATIENCE_SECONDS", 3_600.0)
    with connect(served):
        assert served.get("/healthz").status == 200


def connect(served: Served) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", served.server.port))
    made.settimeout(60)
    return made


def test_crowd_of_idle_clients_leaves_files_and_room_for_the_next(served: Served) -> None:
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(served)) for _ in range(4 * MOST_CONNECTIONS)]
        for early in crowd[:-MOST_CONNECTIONS]:
            assert early.recv(1) == b""  # it made room for a later one
        ours = len(list(files.iterdir())) - before - len(crowd)

        assert served.get("/healthz").status == 200
        assert ours <= MOST_CONNECTIONS + 1  # one that waits for its place


def test_client_that_asks_a_letter_at_a_time_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.watch.server.PATIENCE_SECONDS", 0.3)
    with connect(served) as slow:
        slow.settimeout(0.02)
        for _ in range(3_000):  # a minute, where nobody hangs up
            with suppress(TimeoutError):
                try:
                    slow.sendall(b"G")
                    if slow.recv(1) == b"":
                        return
                except ConnectionError:
                    return

    pytest.fail("nobody hung up")


def test_connection_that_no_file_is_left_for_is_not_tried_without_a_pause(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("rebalancer.watch.server.time.sleep", pauses.append)
    http = served.server._server

    class Full:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, "no file is left")

    monkeypatch.setattr(http, "socket", Full())
    with pytest.raises(OSError, match="no file"):
        http.get_request()

    assert pauses
    monkeypatch.undo()


def asked_as(port: int, *hosts: str) -> int:
    """The status of an answer to a request with such Host headers."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        headers = "".join(f"Host: {host}\r\n" for host in hosts)
        client.sendall(f"GET /status HTTP/1.1\r\n{headers}\r\n".encode())
        return int(client.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(
    "host",
    [
        "rebind.example",
        "rebind.example:9464",
        "127.0.0.1.nip.example",
        "10.0.0.9",
        "[fe80::1]:9464",
        "",
    ],
)
def test_name_that_is_not_its_own_reads_nothing(served: Served, host: str) -> None:
    assert asked_as(served.server.port, host) == 421


def test_no_name_and_two_names_read_nothing(served: Served) -> None:
    assert asked_as(served.server.port) == 421
    assert asked_as(served.server.port, "localhost", "rebind.example") == 421


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:9464", "localhost.", "127.0.0.1", "127.0.0.1:80", "[::1]:9464", "::1"],
)
def test_loopback_names_are_its_own(served: Served, host: str) -> None:
    assert asked_as(served.server.port, host) == 200


def test_bound_host_reached_address_and_named_hosts_are_its_own(served: Served) -> None:
    everywhere = ("0.0.0.0", 0)  # noqa: S104 (a container's)
    names = ["Keeper", "[fd00::7]"]
    with Server(everywhere, served.status_store, served.metrics, names) as server:
        for host in ("0.0.0.0", "keeper:9464", "fd00::7", "127.0.0.1"):  # noqa: S104 (as above)
            assert asked_as(server.port, host) == 200
        assert asked_as(server.port, "10.0.0.9") == 421


def test_port_that_is_taken_is_refused_in_one_sentence(served: Served) -> None:
    at = ("127.0.0.1", served.server.port)
    with pytest.raises(ListenFailed) as caught:
        Server(at, served.status_store, served.metrics)

    assert caught.value.where == f"127.0.0.1:{served.server.port}"
    assert str(caught.value).startswith(f"The keeper cannot listen at 127.0.0.1:{at[1]} (Address")
    assert "keeper.listen" in str(caught.value)


def test_host_that_is_another_machines_is_refused(served: Served) -> None:
    with pytest.raises(ListenFailed):
        Server(("192.0.2.1", 0), served.status_store, served.metrics)


# Status


def test_status_before_the_first_look_says_so(served: Served) -> None:
    assert served.status["chains"] == [{"chain_id": CHAIN, "ticks": 0}]


def test_status_tells_the_newest_look(served: Served) -> None:
    served.status_store(tick())
    served.status_store(
        tick(
            NOON + 12,
            seconds=0.5,
            attempts={"sent": 1},
            waiting_blocks=2,
            breakers=(breaker(vault(1), "refused", NOON + 60),),
        )
    )
    (chain,) = served.status["chains"]

    assert (chain["ticks"], chain["at"], chain["seconds"]) == (2, NOON + 12, 0.5)
    assert chain["block"]["number"] == 100
    assert chain["reasons"] == {"InBand": 2}
    assert chain["attempts"] == {"sent": 1}
    assert chain["waiting_blocks"] == 2
    assert chain["signers"] == [{"address": SIGNER, "balance_wei": str(E18)}]
    assert chain["breakers"] == [{"scope": vault(1), "why": "refused", "since": NOON - 60, "until": NOON + 60}]
    assert [one["name"] for one in chain["endpoints"]] == [
        "https://one.example",
        "https://two.example",
    ]


def test_status_keeps_the_last_block_through_a_failed_look(served: Served) -> None:
    served.status_store(tick())
    served.status_store(tick(block=None, failure="no answer"))
    (chain,) = served.status["chains"]

    assert chain["block"]["number"] == 100
    assert chain["failure"] == "no answer"


def test_vaults_out_of_band_come_before_those_that_are_furthest_inside(served: Served) -> None:
    reasons = {
        vault(1): Reason.IN_BAND,
        vault(2): Reason.BAND_BROKEN,
        vault(3): Reason.IN_BAND,
        vault(4): Reason.ORACLE_FAULT,
    }
    drifts = {vault(1): 190, vault(2): 210, vault(3): 20, vault(4): 0}
    broken = decision(2, text="a weight is 210 bps off its target")
    served.status_store(tick(reasons=reasons, drifts_bps=drifts, decisions=(broken,)))
    (chain,) = served.status["chains"]

    assert [one["vault"] for one in chain["furthest"]] == [vault(2), vault(4), vault(1), vault(3)]
    assert chain["furthest"][0] == {
        "vault": vault(2),
        "reason": "BandBroken",
        "drift_bps": 210,
        "text": "a weight is 210 bps off its target",
    }
    assert chain["furthest"][1]["text"] == ""


def test_sentence_goes_with_its_reason(served: Served) -> None:
    served.status_store(tick(reasons={vault(1): Reason.BAND_BROKEN}, decisions=(decision(1),)))
    served.status_store(tick(reasons={vault(1): Reason.IN_BAND}))
    (chain,) = served.status["chains"]

    assert chain["furthest"][0]["text"] == ""


def test_decision_made_again_is_one_line(served: Served) -> None:
    for after in range(5):
        served.status_store(tick(NOON + after, decisions=(decision(1, Reason.NOT_WORTH_GAS, at=NOON + after),)))
    quiet = decision(2, Reason.IN_BAND)
    served.status_store(tick(NOON + 9, decisions=(quiet, decision(2, Reason.COOLDOWN))))
    (chain,) = served.status["chains"]

    assert [(one["reason"], one["times"]) for one in chain["decisions"]] == [
        ("Cooldown", 1),
        ("NotWorthGas", 5),
    ]
    assert chain["decisions"][1]["at"] == NOON + 4


def test_rebalance_is_told_with_its_cost(served: Served) -> None:
    mined = decision(reason=Reason.REBALANCED, outcome=outcome(10_000, 12), transaction_hash="0x7e")
    served.status_store(tick(decisions=(mined,)))
    (chain,) = served.status["chains"]
    reported = chain["decisions"][0]

    assert (reported["sold_usd"], reported["loss_usd"], reported["loss_bps"]) == (
        10_000.0,
        12.0,
        12.0,
    )
    assert (reported["drift_bps"], reported["drift_after_bps"]) == (240, 30)
    assert reported["transaction_hash"] == "0x7e"


def test_size_of_status_does_not_grow_with_vaults(served: Served) -> None:
    def page(vaults: int) -> bytes:
        every = [vault(i) for i in range(vaults)]
        made = tick(
            reasons=dict.fromkeys(every, Reason.ORACLE_FAULT),
            decisions=tuple(decision(i, Reason.ORACLE_FAULT) for i in range(vaults)),
            breakers=tuple(breaker(each) for each in every),
            differing_vaults=tuple(every),
            diverged_pools=tuple(every),
            left_out=tuple(LeftOut(each, "TF", 0.0, 60.0) for each in every),
        )
        served.status_store(made)
        served.alarms.observe(made)
        return served.get("/status").data

    small, large = len(page(100)), page(10_000)
    (chain,) = json.loads(large)["chains"]

    assert len(large) < small + 100
    assert len(chain["furthest"]) == MOST_VAULTS
    assert len(chain["decisions"]) == MOST_DECISIONS
    assert len(chain["breakers"]) == len(chain["differing_vaults"]) == MOST_LISTED
    assert (chain["vaults"], chain["breakers_open"], chain["vaults_differing"]) == (10_000,) * 3
    assert chain["reasons"] == {"OracleFault": 10_000}


def test_texts_of_others_are_cleaned_and_cut(served: Served) -> None:
    served.status_store(
        tick(
            failure="no hunter22 " + "x" * 400,
            breakers=(breaker(why="hunter22"),),
            decisions=(decision(text="hunter22"),),
        )
    )
    served.alarms.observe(tick(breakers=(breaker(why="hunter22"),)))
    page = served.get("/status").data.decode() + served.get("/readyz").data.decode()
    (chain,) = served.status["chains"]

    assert "hunter22" not in page
    assert HIDDEN in page
    assert len(chain["failure"]) == 300


def test_looks_and_questions_at_once_do_not_disturb_each_other(served: Served) -> None:
    ended = threading.Event()
    mistakes: list[Exception] = []

    def ask(path: str) -> Callable[[], None]:
        def run() -> None:
            try:
                while not ended.is_set():
                    assert served.get(path).status == 200
            except (AssertionError, urllib3.exceptions.HTTPError) as mistake:
                mistakes.append(mistake)

        return run

    served.status_store(tick())
    threads = [threading.Thread(target=ask(path)) for path in ("/status", "/metrics", "/readyz")]
    for thread in threads:
        thread.start()
    for number in range(300):
        reasons = {vault(i): Reason.BAND_BROKEN for i in range(number % 7, number % 31)}
        made = tick(reasons=reasons, decisions=(decision(number, Reason.BUDGET_SPENT),))
        served.status_store(made)
        served.metrics(made)
        served.alarms.observe(made)
    ended.set()
    for thread in threads:
        thread.join()

    assert mistakes == []


# All together


def settings(listen: str, **alerts: Any) -> Settings:
    return Settings(chain_id=CHAIN, keeper=KeeperSettings(listen=listen), alerts=AlertSettings(**alerts))


def test_watchers_serve_what_they_are_told_until_they_end() -> None:
    url = f"127.0.0.1:{free_port()}"
    with observers_of(settings(url)) as observers:
        for observer in observers:
            observer(tick(differing_vaults=(vault(1),)))
        status = urllib3.request("GET", f"http://{url}/status", retries=False).json()
        metrics = urllib3.request("GET", f"http://{url}/metrics", retries=False).data.decode()

    assert [one["alarm"] for one in status["alarms"]] == ["VaultIndexMismatch"]
    assert 'rebalancer_alarms{alarm="VaultIndexMismatch",chain="1",severity="critical"} 1.0' in metrics
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        urllib3.request("GET", f"http://{url}/status", retries=False)


def test_watchers_of_a_keeper_that_listens_nowhere_still_watch() -> None:
    with observers_of(settings("off")) as observers:
        for observer in observers:
            observer(tick())


def test_keeper_that_listens_to_other_machines_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for listen, warned in ((f"127.0.0.1:{free_port()}", False), (f"0.0.0.0:{free_port()}", True)):
        with observers_of(settings(listen)):
            message = capsys.readouterr().out
        assert ("listens_beyond_this_machine" in message) is warned


def test_mistake_of_a_watcher_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with observers_of(settings("off")) as observers:
        for observer in observers:
            observer(tick(seconds="long"))

    assert "observer_failed" in capsys.readouterr().out


def test_watchers_do_little_for_each_of_ten_thousand_vaults() -> None:
    every = {vault(i): Reason.IN_BAND for i in range(10_000)}
    drifts = {each: i % 200 for i, each in enumerate(every)}
    with observers_of(settings("off")) as observers:
        calls = []
        for after in range(3):
            made = tick(NOON + after, reasons=every, drifts_bps=drifts)
            calls.append(calls_made(lambda: [observer(made) for observer in observers]))  # noqa: B023 (called before the loop goes on)

    assert max(calls) < len(every)
