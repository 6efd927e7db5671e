"""A keeper from start to end, with a secret in everything that can hold one: nothing that it writes, serves or sends has any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from eth_account import Account

from rebalancer.devnet.environment import Actor, DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.errors import TooManyFailures
from rebalancer.redact import HIDDEN
from rebalancer.send.signer import devnet_signer
from tests.clocks import wait_for
from tests.commands import free_port

RPC_KEY = "Zx81kQ9vWm3Prpc"
OTHER_RPC_KEY = "Yy72mB4cTn6other"
RPC_USER_PASSWORD = "rpcpassw0rd"
ALERT_KEY = "Aa55alertT0ken"
PASSWORD = "keystore-passw0rd"
KEEPER_KEY = devnet_signer(Actor.KEEPER)._account.key
PRIVATE_KEY = KEEPER_KEY.hex().removeprefix("0x")
SECRETS = (RPC_KEY, OTHER_RPC_KEY, RPC_USER_PASSWORD, ALERT_KEY, PASSWORD, PRIVATE_KEY)

PRICES_E8 = {"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8, "USDC/USD": 10**8}
UP_10_PERCENT = {"ETH/USD": 2_200 * 10**8}


class Provider:
    """Passes questions on to a node; turned spiteful, it answers each with the address it was asked at, in one way after another."""

    def __init__(self, node_url: str) -> None:
        self.spiteful = False
        self.requested = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                provider.requested += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = 200, b""
                if not provider.spiteful:
                    kind = {"Content-Type": "application/json"}
                    answer = urllib3.request("POST", node_url, body=body, headers=kind).data
                else:
                    whole = f"http://user:{RPC_USER_PASSWORD}@127.0.0.1{self.path}"
                    error = {"code": -32_000, "message": f"{whole} is over its limit"}
                    ways = [
                        (200, json.dumps({"id": None, "error": error})),
                        (429, json.dumps({"error": f"{whole}: {RPC_KEY} slow down"})),
                        (404, f"<html>{whole} is not found</html>"),
                        (302, ""),
                    ]
                    status, text = ways[provider.requested % len(ways)]
                    answer = text.encode()
                self.send_response(status, f"see {self.path}" if status != 200 else None)
                if status == 302:
                    self.send_header("Location", f"/elsewhere{self.path}")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self.server = serve(Handler)
        self.port = self.server.server_address[1]


class Inbox:
    """Where alerts go; it takes them all, and complains of the address to which they came."""

    def __init__(self) -> None:
        self.got: list[str] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(500 if len(inbox.got) == 1 else 200, f"no {self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self.server = serve(Handler)
        self.url = f"json://127.0.0.1:{self.server.server_address[1]}/{ALERT_KEY}"


def serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.fixture
def market() -> Iterator[tuple[Node, DevEnvironment]]:
    """A node of its own, on which a band is broken."""
    with Node.start(NodeSettings()) as node, node.rpc(timeout_s=60) as rpc:
        devnet = build_environment(LocalChain(rpc), PRICES_E8)
        devnet.market.step(PRICES_E8 | UP_10_PERCENT, devnet.chain.now() + 60)
        yield node, devnet


def test_nothing_a_keeper_writes_serves_or_sends_has_a_secret(
    market: tuple[Node, DevEnvironment], tmp_path: Path
) -> None:
    node, devnet = market
    devnet.deployment.save(tmp_path / "deployment.json")
    keystore = Account.encrypt(KEEPER_KEY, PASSWORD, "pbkdf2", iterations=2)
    (tmp_path / "keystore.json").write_text(json.dumps(keystore))
    first, second, inbox = Provider(node.url), Provider(node.url), Inbox()
    port = free_port()
    command = [sys.executable, "-m", "rebalancer", "keeper", "run", "--json"]
    settings = {
        "RPC_URL": f"http://user:{RPC_USER_PASSWORD}@127.0.0.1:{first.port}/v3/{RPC_KEY}",
        "MORE_RPC_URLS": f"http://127.0.0.1:{second.port}/?key={OTHER_RPC_KEY}",
        "LOG_LEVEL": "debug",
        "KEEPER__KEYSTORE": "keystore.json",
        "KEEPER__KEYSTORE_PASSWORD": PASSWORD,
        "KEEPER__LISTEN": f"127.0.0.1:{port}",
        "KEEPER__POLL_SECONDS": "0.2",
        "ALERTS__URLS": inbox.url,
        "ALERTS__MIN_SEVERITY": "info",
        "ALERTS__MIN_SIGNER_ETHER": "1000000",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REBALANCER_")} | {
        f"REBALANCER_{name}": value for name, value in settings.items()
    }
    served: list[str] = []

    def ask(path: str) -> str:
        try:
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=False)
        except urllib3.exceptions.HTTPError:
            return ""
        served.append(answer.data.decode())
        return served[-1]

    with (
        (tmp_path / "out").open("w") as out,
        (tmp_path / "err").open("w") as err,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=err) as keeper,
    ):
        try:
            wait_for(
                "a rebalance, or its end",
                lambda: '"Rebalanced"' in ask("/status") or keeper.poll() is not None,
            )
            wait_for(
                "the alert, or its end", lambda: len(inbox.got) >= 2 or keeper.poll() is not None
            )  # the signer is low: refused once, then taken
            first.spiteful = second.spiteful = True
            wait_for(
                "a rebalance, or its end",
                lambda: '"failure": ""' not in ask("/status") or keeper.poll() is not None,
            )
            for path in ("/metrics", "/healthz", "/readyz", "/status"):
                ask(path)
            code = keeper.wait(120)
        finally:
            keeper.kill()
    for server in (first.server, second.server, inbox.server):
        server.shutdown()
        server.server_close()
    reported = {
        "log": (tmp_path / "err").read_text(),
        "decisions": (tmp_path / "out").read_text(),
        "pages": "".join(served),
        "alerts": "".join(inbox.got),
        "outbox": (tmp_path / ".rebalancer/outbox.sqlite").read_bytes().decode("latin-1"),
    }

    assert code == TooManyFailures.exit_code, reported["log"][-2_000:]
    assert {where for where, text in reported.items() for secret in SECRETS if secret in text} == set()
    assert HIDDEN in reported["log"]  # or the spite was never heard
    for where, part in (
        ("log", "event=tick_failed"),
        ("decisions", '"Rebalanced"'),
        ("pages", "rebalancer_endpoint_usable"),
        ("pages", f"http://127.0.0.1:{first.port}"),
        ("alerts", "SignerLow"),
    ):
        assert part in reported[where]
