"""Cost of a block for a keeper of up to 10,000 vaults, by number of vaults.

Real vault contracts of 8 assets on a local node; one in ten leaves a band when a price moves. The time of a block
includes the logs, the prices, the check of all vaults and the ranking of those out of band. Measured apart: the exact
read of those out of band, and plans for up to a thousand of them on all cores, over pools in memory. For comparison: a
read of every vault by the lens.
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
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.heads import Heads
from rebalancer.chain.snapshot import VaultSnapshot, read_block
from rebalancer.chain.system import Role, System
from rebalancer.chain.vault_index import VaultIndex
from rebalancer.devnet.environment import basket, equal_targets_e18, market_feeds, set_up_system
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevFeedSpec, DevMarket
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.keeper.decide import Action, Conditions, Verdict
from rebalancer.keeper.planners import Planners
from rebalancer.operations.deploy import VaultFees
from rebalancer.units import E18
from rebalancer.venues import Pool, Token, synthetic
from scripts.benchmarks.plan import POLICY

__all__ = ["SIZES", "ScaleFigures", "measure_scale"]

SIZES = (100, 1_000, 10_000)
_ASSETS = 8
_PAGE = 50
_BAND_BPS = 200
_HEARTBEAT_SECONDS = 10**9
_BLOCK = 100
_PLANNED = 1_000
_DEEP_USD = 50_000_000
_BLOCK_GAS = 1 << 40
_VAULT_GAS = 6_000_000


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """Seconds and requests of each part; `memory_mb` is the index's memory in the process."""

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


class _Scale:
    def __init__(self, chain: LocalChain) -> None:
        self.chain = chain
        self.rpc = chain.rpc
        self.owner = chain.account(chain.accounts[0])
        self.tokens = [Token(f"0x{0x70 << 152 | n:040x}", f"T{n}", 18) for n in range(_ASSETS)]
        feeds = [DevFeedSpec(f"{token.symbol}/USD", token, _HEARTBEAT_SECONDS) for token in self.tokens]
        self.market = DevMarket.build(chain, [], {feed.name: 10**8 for feed in feeds}, feeds)
        weth, members = self.market.deployment.uniswap["WETH9"], {Role.OWNER: [self.owner.address]}
        self.system: System = set_up_system(self.owner, weth, members, market_feeds(self.market))
        for token in self.tokens:
            self.market.deal(token.address, self.owner.address, 1 << 120)
            contract = contract_at(self.rpc, "MockToken", token.address)
            self.owner.transact(contract, "approve", self.system.factory, 1 << 255)
        self.vaults: list[str] = []
        self.pools = _pools(self.tokens)

    def grow(self, size: int, progress: Callable[[str], None]) -> None:
        """Create vaults up to this number, several per block."""
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
                    "from": self.owner.address,
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
                raise AssertionError("the node did not mine all vaults into its block")
            progress(f"{len(self.vaults):,} of {size:,} vaults")

    def _params(self, number: int) -> tuple[Any, ...]:
        decimals = {token.address: token.decimals for token in self.tokens}
        assets = [astuple(asset) for asset in basket(decimals, equal_targets_e18(_ASSETS), _BAND_BPS)]
        # One in ten has an eighth more of the first token, and leaves its band when that rises by a tenth.
        seeds = [1_000 * E18] * _ASSETS
        seeds[0] = seeds[0] * (112 if number % 10 == 0 else 100) // 100
        return (
            *("Vault", "V", self.system.authority),
            (self.system.oracle, astuple(POLICY), 0, 0, assets),
            astuple(VaultFees()),
            self.owner.address,
            seeds,
            1_000 * E18,
            self.owner.address,
            (number + 1).to_bytes(32),
        )

    def _set_price(self, first_e8: int) -> None:
        """Set the price of the first token, USD * 1e8."""
        self.market.step({"T0/USD": first_e8}, self.chain.now() + 1)

    def measure(self) -> ScaleFigures:
        self._set_price(10**8)
        heads = Heads(self.rpc, poll_seconds=0.01)
        heads.next(0)
        before = _resident_bytes()
        index = VaultIndex(self.rpc, self.system.lens, self.vaults, _PAGE)
        with _counted(self.rpc) as load:
            load_s = _seconds(lambda: index.load(read_block(self.rpc)))
        memory = (_resident_bytes() - before) / 2**20
        self._set_price(11 * 10**7)
        head = heads.next(0)
        if head is None:
            raise AssertionError("a block must be mined")
        with _counted(self.rpc) as each_block:
            began = time.perf_counter()
            index.advance(head)
            block = index.block
            if block is None:
                raise AssertionError("the index must be loaded")
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
            raise AssertionError("every vault out of band must have a plan")
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
    """Pools of the first token with each other one, at the moved prices."""
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
    """The number of calls in each request inside."""
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
    """Memory of this process, by Linux; 0 on other systems."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
