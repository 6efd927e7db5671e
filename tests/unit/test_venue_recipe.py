"""A venue is one module and one line in the registry: shown by adding one, and held by reading what the rest of the package knows."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rebalancer.venues import VENUES

TOY = '''
"""A pool that changes one token for another at one to one, for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from rebalancer.errors import LiquidityExhausted
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.venues.fields import pool_of
from rebalancer.venues.model import PoolBase, Token, check_amount, refs_of
from rebalancer.venues.reading import Venue, each, interface_of, tokens_read

TOY = interface_of(
    "toy",
    ("tokens() -> address,address", "held() -> uint256,uint256", "event Held(uint256 held0, uint256 held1)"),
)


@dataclass(frozen=True)
class ToyPool(PoolBase):
    KIND = "Toy"
    VENUE_NAME = "toy"
    EVENTS = TOY
    KEYS = {"address": "toy"}

    address: str
    tokens: tuple[Token, ...]
    held: tuple[int, int]

    fee_pips = 0

    def quote_in(self, token_in, token_out, amount_raw):
        check_amount(amount_raw)
        _, j = refs_of(self.key, self.tokens, token_in, token_out)
        if amount_raw > self.held[j]:
            raise LiquidityExhausted(self.key, token_in, amount_raw, self.held[j])
        return amount_raw

    quote_out = quote_in

    def swapped(self, token_in, token_out, amount_raw):
        out = self.quote_in(token_in, token_out, amount_raw)
        i, j = refs_of(self.key, self.tokens, token_in, token_out)
        held = list(self.held)
        held[i] += amount_raw
        held[j] -= out
        return out, replace(self, held=tuple(held))

    def spot_price(self, token_in, token_out):
        refs_of(self.key, self.tokens, token_in, token_out)
        return Fraction(1)

    def flow_to(self, token_in, token_out, marginal):
        _, j = refs_of(self.key, self.tokens, token_in, token_out)
        return (self.held[j],) * 2 if marginal < 1 else (0, 0)

    def hop(self, token_in, token_out, amount_raw, *, to_caller):
        refs_of(self.key, self.tokens, token_in, token_out)
        return Hop(200, amount_raw, token_in, token_out, address_bytes(self.address), to_caller_flag(to_caller))

    def moved(self, events):
        held = [(event.values["held0"], event.values["held1"]) for event in events]
        return replace(self, held=held[-1]) if held else self


def load(snapshot):
    return pool_of(ToyPool, snapshot)


def read(at, ref):
    pool = TOY.at(ref.address)
    answers = yield [at.ask(pool, "tokens"), at.ask(pool, "held")]
    tokens = yield from tokens_read(at, pool.result("tokens", answers[0]))
    held = list(pool.result("held", answers[1]))
    return load({**at.head("Toy"), "toy": ref.address, "tokens": [t.to_json() for t in tokens], "held": held})


VENUE = Venue(
    name="toy", kinds=("Toy",), snapshot_key="toy", load=load, read=each(read), takes=lambda ref: len(ref.tokens) == 2, mark=(TOY, "held")
)
'''

USE = """
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import find_venue
from rebalancer.chain.rpc import Rpc
from rebalancer.block import Block
from rebalancer.plan.zap import VaultLedger, plan_zap_in
from rebalancer.route import decode
from rebalancer.pool_files import load_pool, save_pool
from rebalancer.venues import KINDS, load
from rebalancer.venues.reading import TOKEN
from rebalancer.venues.toy import TOY

A, B, POOL = ("0x" + digit * 40 for digit in "12a")
NOW, NEXT = Block(7, "0x" + "7" * 64, 1_700_000_000), Block(8, "0x" + "8" * 64, 1_700_000_012)


class Scripted(Rpc):
    def __init__(self):
        super().__init__("http://127.0.0.1:1")

    def batch_settled(self, calls):
        return [self.answer(*call) for call in calls]

    def answer(self, method, params):
        if method == "eth_getBlockByNumber":
            return {"hash": {7: NOW.hash, 8: NEXT.hash}[int(params[0], 16)]}
        if method == "eth_getLogs":
            (topic,) = TOY.events
            data = "0x" + (60).to_bytes(32).hex() + (40).to_bytes(32).hex()
            place = {"blockNumber": "0x8", "transactionHash": "0x", "logIndex": "0x0"}
            return [{"address": POOL, "topics": [topic], "data": data, **place}]
        to, data = params[0]["to"], bytes.fromhex(params[0]["data"][2:])
        known = TOY if to == POOL else TOKEN
        answers = {"tokens": (A, B), "held": (50, 50), "symbol": ("T",), "decimals": (18,)}
        for function in known.functions.values():
            if function.selector == data[:4]:
                return "0x" + function.outputs.encode(answers[function.name]).hex()
        from rebalancer.errors import RpcRejected

        return RpcRejected("eth_call", 3, "execution reverted")


folder, rpc = Path(sys.argv[1]), Scripted()
assert KINDS[-1] == "Toy"
venue = find_venue(rpc, POOL, NOW)
assert venue.name == "toy", venue
from rebalancer.venues import PoolRef

book = PoolCache(rpc, [PoolRef(POOL, (A, B), venue="toy")], NOW, 1)
(pool,) = book.pools
assert pool.held == (50, 50)
assert not book.update(NEXT)
assert book.pool(POOL).held == (60, 40)
save_pool(pool, folder / "pool.json")
assert load_pool(folder / "pool.json") == pool
Deployment(1, pools=(pool.ref,)).save(folder / "addresses.json")
assert Deployment.load(folder / "addresses.json").pools == (pool.ref,)
deep = load({**pool.to_json(), "held": [10**24, 10**24]})
found = plan_zap_in(VaultLedger((A, B), (10**21, 10**21), 2 * 10**21), [deep], A, 10**18)
(hop,) = decode(found.route)
assert (hop.venue, hop.token_in, hop.token_out) == (200, A, B)
print(found.shares)
"""


def test_a_venue_is_a_module_and_a_line_in_the_registry(repo_root: Path, tmp_path: Path) -> None:
    """Found by asking, read, kept from logs, saved, named in an addresses file, planned over and put into a route."""
    copy = tmp_path / "rebalancer"
    shutil.copytree(repo_root / "rebalancer", copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (copy / "venues" / "toy.py").write_text(TOY)
    registry = copy / "venues" / "registry.py"
    text = registry.read_text()
    text = text.replace("from rebalancer.venues import (\n", "from rebalancer.venues import (\n    toy,\n", 1)
    text = re.sub(r"(VENUES: tuple\[Venue, \.\.\.\] = \(\n(?:    .*\n)*)\)", r"\1    toy.VENUE,\n)", text)
    registry.write_text(text)

    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=300,
    )

    assert done.returncode == 0, done.stderr[-2_000:]
    # Half of the deposit changes hands at one to one.
    assert 0.9 * 10**18 < int(done.stdout) <= 10**18


def test_nothing_but_venues_tells_pools_apart_by_their_class(repo_root: Path) -> None:
    package = repo_root / "rebalancer"
    classes = {
        node.name
        for file in (package / "venues").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Pool")
    }
    assert len(classes) > len(VENUES)
    found = []
    for file in package.rglob("*.py"):
        if file.parent == package / "venues":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            tested: list[ast.AST] = []
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("isinstance", "issubclass")
            ):
                tested = [node.args[1]]
            elif isinstance(node, ast.MatchClass):
                tested = [node.cls]
            names = {name.id for one in tested for name in ast.walk(one) if isinstance(name, ast.Name)}
            if names & classes:
                found.append(f"{file.relative_to(repo_root)}:{getattr(node, 'lineno', 0)} tests for {names & classes}")

    assert not found


def test_the_executor_knows_a_venue_by_one_line(repo_root: Path) -> None:
    """And by its import and its place among the adapters."""
    text = (repo_root / "contracts" / "RouteExecutor.sol").read_text()
    adapters = {path.stem for path in (repo_root / "contracts" / "venues").glob("*Venue.sol") if path.stem != "Venue"}
    numbers = {
        adapter: re.findall(
            r"uint8 internal constant (\w+) =",
            (repo_root / f"contracts/venues/{adapter}.sol").read_text(),
        )
        for adapter in adapters
    }

    for adapter, names in numbers.items():
        assert len(re.findall(rf"\b{adapter}\b", text)) == 3, adapter  # imported twice in a line, inherited once
        for name in names:
            assert len(re.findall(rf"\b{name}\b", text)) == 1, (adapter, name)
