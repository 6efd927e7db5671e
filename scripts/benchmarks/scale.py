"""How long does a block take a keeper of very many vaults, and how does that grow with them?

Real vault contracts of 8 assets on a local node, added until there are as many as asked for; one in ten leaves a band when a price
moves. Timed is what a block costs: the logs, the prices, all vaults judged and those out of band ranked; then those out of band read
exactly, and up to a thousand of them planned on all cores over pools in memory. Beside it stands the plain way: every vault read by the lens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from rebalancer.abi import Call
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.heads import Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block
from rebalancer.chain.system import Role, System
from rebalancer.chain.vault_index import VaultIndex
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.keeper.decide import Action, Conditions, Verdict
from rebalancer.keeper.planners import Planners
from rebalancer.operations.deploy import FeedSpec, VaultFees, deploy_system, grant_roles, set_feed
from rebalancer.settlement import Asset
from rebalancer.units import E18
from rebalancer.venues import Pool, Token, synthetic
from scripts.benchmarks.plan import POLICY

__all__ = ["SIZES", "ScaleFigures", "measure_scale"]

SIZES = (100, 1_000, 10_000)
_ASSETS = 8
_PAGE = 50
_BLOCK = 100
_PLANNED = 1_000
_DEEP_USD = 50_000_000
_BLOCK_GAS = 1 << 40
_VAULT_GAS = 6_000_000


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """Seconds and requests, by what they are for; `memory_mb` is what the book added to the process."""

    vaults: int
    load_s: float
    load_requests: int
    block_s: float
    block_requests: int
    out_of_band: int
    exact_s: float
    exact_requests: int
    planned: int
    plan_s: float
    memory_mb: float


def measure_scale(sizes: Sequence[int] = SIZES, progress: Callable[[str], None] = lambda _: None) -> list[ScaleFigures]:
    """The figures of each size, on one node."""
    with (
        Node.start(NodeSettings(genesis_at=1_700_000_000, skip_state_roots=True)) as node,
        node.rpc(timeout_s=300) as rpc,
    ):
        chain = LocalChain(rpc)
        chain.run_steadily()
        bench = _Scale(chain)
        found = []
        for size in sorted(sizes):
            bench.grow(size, progress)
            found.append(bench.measure())
        return found


class _Wallet:
    """The node's first account."""

    def __init__(self, chain: LocalChain) -> None:
        self.chain = chain
        self.address = chain.accounts[0]

    @property
    def rpc(self) -> Rpc:
        return self.chain.rpc

    def transact(self, contract: BoundContract, function: str, *args: Any, value_wei: int = 0) -> Any:
        return self.chain.transact(contract, function, *args, sender=self.address, value_wei=value_wei)

    def deploy(self, name: str, *args: Any) -> BoundContract:
        return self.chain.deploy(name, *args, sender=self.address)


class _Scale:
    def __init__(self, chain: LocalChain) -> None:
        self.chain = chain
        self.rpc = chain.rpc
        self.wallet = _Wallet(chain)
        weth = self.wallet.deploy("WETH9")
        self.system: System = deploy_system(self.wallet, weth.address)
        members = {Role.OWNER: [self.wallet.address]}
        grant_roles(self.wallet, self.system.authority, members, delay_seconds=0)
        self.tokens = [self.wallet.deploy("MockToken", f"Token {n}", f"T{n}", 18) for n in range(_ASSETS)]
        self.feeds = [self.wallet.deploy("MockAggregator", 8, f"T{n} / USD") for n in range(_ASSETS)]
        for token, feed in zip(self.tokens, self.feeds, strict=True):
            self.wallet.transact(feed, "push", 10**8)
            spec = FeedSpec(feed.address, 8, 10**9, 1, (1 << 128) - 1)
            set_feed(self.wallet, self.system.oracle, token.address, spec)
            self.wallet.transact(token, "mint", self.wallet.address, 1 << 120)
            self.wallet.transact(token, "approve", self.system.factory, 1 << 255)
        self.vaults: list[str] = []
        self.pools = _pools([Token(t.address, f"T{n}", 18) for n, t in enumerate(self.tokens)])

    def grow(self, size: int, progress: Callable[[str], None]) -> None:
        """Makes vaults until there are so many, a block of them at a time."""
        factory = contract_at(self.rpc, "VaultFactory", self.system.factory)
        batched = factory.batched
        self.rpc.call("evm_setBlockGasLimit", hex(_BLOCK_GAS))
        while len(self.vaults) < size:
            count = min(_BLOCK, size - len(self.vaults))
            first = len(self.vaults)
            self.rpc.call("evm_setAutomine", False)
            sends: list[Call] = []
            for n in range(first, first + count):
                message = {
                    "from": self.wallet.address,
                    "to": factory.address,
                    "data": batched.data("createVault", self._params(n)),
                    "gas": hex(_VAULT_GAS),
                }
                sends.append(("eth_sendTransaction", (message,)))
            self.rpc.batch(sends)
            self.rpc.call("evm_mine")
            self.rpc.call("evm_setAutomine", True)
            self.vaults += factory.call("vaults", first, count)
            if len(self.vaults) != first + count:
                raise AssertionError("the node left a vault out of its block")
            progress(f"{len(self.vaults):,} of {size:,} vaults")

    def _params(self, number: int) -> tuple[Any, ...]:
        target = E18 // _ASSETS
        assets = [astuple(Asset(token.address, target, 200, 18)) for token in self.tokens]
        # One in ten has an eighth more of the first token, and leaves its band when that rises by a tenth.
        seeds = [1_000 * E18] * _ASSETS
        seeds[0] = seeds[0] * (112 if number % 10 == 0 else 100) // 100
        return (
            *("Vault", "V", self.system.authority),
            (self.system.oracle, astuple(POLICY), 0, 0, assets),
            astuple(VaultFees()),
            self.wallet.address,
            seeds,
            1_000 * E18,
            self.wallet.address,
            (number + 1).to_bytes(32),
        )

    def measure(self) -> ScaleFigures:
        self.wallet.transact(self.feeds[0], "push", 10**8)
        heads = Heads(self.rpc, poll_seconds=0.01)
        heads.next(0)
        before = _resident_bytes()
        index = VaultIndex(self.rpc, self.system.lens, self.vaults, _PAGE)
        with _counted(self.rpc) as load:
            load_s = _seconds(lambda: index.load(read_block(self.rpc)))
        memory = (_resident_bytes() - before) / 2**20
        self.wallet.transact(self.feeds[0], "push", 11 * 10**7)
        head = heads.next(0)
        if head is None:
            raise AssertionError("a block was mined")
        with _counted(self.rpc) as each_block:
            began = time.perf_counter()
            index.advance(head)
            block = index.block
            if block is None:
                raise AssertionError("the book is loaded")
            judged = index.judge(block)
            block_s = time.perf_counter() - began
        chosen = judged.candidates[:_PLANNED]
        exact: list[VaultSnapshot] = []
        with _counted(self.rpc) as reads:
            exact_s = _seconds(lambda: exact.extend(index.read(chosen, block)))
        conditions, verdicts = Conditions(0), dict[str, Verdict]()
        with closing(Planners()) as planners:
            planners.warm()
            plan_s = _seconds(lambda: verdicts.update(planners.decide(exact, self.pools, conditions)))
        if not all(verdict.step is Action.REBALANCE for verdict in verdicts.values()):
            raise AssertionError("every vault out of band has a plan")
        return ScaleFigures(
            len(self.vaults),
            load_s,
            len(load),
            block_s,
            len(each_block),
            len(judged.candidates),
            exact_s,
            len(reads),
            len(verdicts),
            plan_s,
            memory,
        )


def _pools(tokens: Sequence[Token]) -> list[Pool]:
    """The first token against each other one, at the moved prices."""
    found: list[Pool] = []
    for n, other in enumerate(tokens[1:], 1):
        token0, token1 = sorted((tokens[0], other), key=lambda token: int(token.address, 16))
        # The first token costs 1.1 of any other one.
        up, down = (11, 10) if token0 is tokens[0] else (10, 11)
        found.append(
            synthetic(
                token0,
                token1,
                fee_pips=500,
                tick_spacing=10,
                sqrt_price_x96=isqrt(up * 2**192 // down),
                depth1_raw=_DEEP_USD * E18,
                address=f"0x{n:040x}",
            )
        )
    return found


@contextmanager
def _counted(rpc: Any) -> Iterator[list[int]]:
    """How many calls each request holds, from here on."""
    requested: list[int] = []
    plain = rpc.batch_settled

    def noted(calls: Sequence[Call]) -> list[Any]:
        requested.append(len(calls))
        return list(plain(calls))

    rpc.batch_settled = noted
    try:
        yield requested
    finally:
        del rpc.batch_settled


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _resident_bytes() -> int:
    """Memory of this process now, as Linux tells it; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
