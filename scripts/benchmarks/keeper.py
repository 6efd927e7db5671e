"""Times of a keeper's tick, quote and plan, and of a whole tape.

One process and one Anvil on this machine, over HTTP on the loopback: the measured work is this program, the node's EVM
and their JSON, without a network. Each time has a lower bound in the table: the `eth_call` with which it begins, or the
`eth_call` that it replaces.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from rich.console import Console

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.demo import DemoOptions, run_demo
from rebalancer.devnet.environment import Actor, DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.keeper import Keeper, KeeperContext, KeeperOptions
from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.venues import Token, UniswapV3Pool
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["Times", "full_tape", "measure"]

_GENESIS_AT = 1_680_652_800
_PRICES_E8 = {"ETH/USD": 1_900 * 10**8, "BTC/USD": 28_000 * 10**8, "USDC/USD": 10**8}
_MOVED_E8 = {**_PRICES_E8, "ETH/USD": 2_100 * 10**8}  # WETH leaves its band of 1 %
_SAMPLES = 200
_WARM_UP = 20
_FEE_CAP_WEI = 10_000 * 10**9  # nothing is at stake on a local chain


@dataclass(frozen=True, slots=True)
class Times:
    """Repeated measurement of one time, in seconds."""

    samples: int
    median_s: float
    p95_s: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        return cls(len(seconds), statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1])


def measure() -> dict[str, Times]:
    """Every time, by name."""
    with _silence(), Node.start(NodeSettings(genesis_at=_GENESIS_AT)) as node, node.rpc() as rpc:
        chain = LocalChain(rpc)
        chain.run_steadily()
        bench = _Bench(build_environment(chain, _PRICES_E8))
        return dict(bench.times())


def full_tape(tape: Path, pool: Path) -> dict[str, Any]:
    """Replay a whole tape with the demo: seconds, ticks of the market, and rebalances."""
    with TemporaryDirectory() as folder:
        options = DemoOptions(tape=tape, pools=(pool,), out=Path(folder))
        started = time.perf_counter()
        summary = run_demo(options, Console()).summary
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "ticks": summary.ticks, "rebalances": summary.rebalances}


class _Bench:
    """A keeper in an environment, with timers."""

    def __init__(self, environment: DevEnvironment) -> None:
        self.environment = environment
        self.chain = environment.chain
        self.tokens = [Token(token.address, token.symbol, token.decimals) for token in environment.deployment.tokens]
        self.pools = [pool.address for pool in environment.deployment.pools]

    def times(self) -> Iterator[tuple[str, Times]]:
        """Name and time of every measurement; the vault is in band at first, and then out of band."""
        watching = self._keeper(None)
        rpc, system, vault = self.chain.rpc, self.environment.system, self.environment.vault
        lens = interface("VaultLens").at(system.lens)
        lens_call = lens.request("read", [vault], block=read_block(rpc).hash)
        yield "lens_eth_call", _timed(lambda: rpc.call(lens_call[0], *lens_call[1]))
        self._expect(watching, Reason.IN_BAND)
        yield "tick_in_band", _timed(watching.tick)

        at = self.chain.now() + 1_000
        self.environment.market.step(_MOVED_E8, at)
        self._expect(watching, Reason.DRY_RUN)
        yield "tick_out_of_band_dry_run", _timed(watching.tick)
        yield "tick_that_rebalances", self._rebalances()

        snapshot, pools = self._tick()
        found = Problem.of(
            snapshot.basket,
            pools,
            slippage_limit_e18=snapshot.slippage_limit_e18,
            loss_left_e18=snapshot.loss_left_e18,
            turnover_left_e18=snapshot.turnover_left_e18,
        )
        if not isinstance(plan_rebalance(found), Plan):
            raise AssertionError("the scenario must have a plan")
        yield "plan", _timed(lambda: plan_rebalance(found))
        yield from self._quotes(pools[0])

    def _rebalances(self) -> Times:
        """Ticks with a complete, verified rebalance, each on the same state."""
        seconds = []
        with TemporaryDirectory() as folder:
            for i in range(_SAMPLES):
                before = self.chain.snapshot()
                outbox = Outbox(Path(folder) / f"{i}.sqlite")
                keeper = self._keeper(outbox)
                started = time.perf_counter()
                (decision,) = keeper.tick()
                seconds.append(time.perf_counter() - started)
                outbox.close()
                if decision.reason is not Reason.REBALANCED:
                    raise AssertionError(f"the scenario must rebalance, but {decision.text}")
                self.chain.revert(before)
        return Times.of(seconds)

    def _quotes(self, pool: UniswapV3Pool) -> Iterator[tuple[str, Times]]:
        """The same quote from a snapshot and from Uniswap's QuoterV2."""
        rpc = self.chain.rpc
        sold, bought = pool.tokens
        amount = 10**sold.decimals
        quoter = contract_at(rpc, "QuoterV2", self.environment.deployment.uniswap["QuoterV2"])
        question = (sold.address, bought.address, amount, pool.fee_pips, 0)
        answer = quoter.call("quoteExactInputSingle", question)[0]
        ours = pool.quote_in(sold.address, bought.address, amount)
        if ours != answer:
            raise AssertionError(f"the quotes differ: {ours} and {answer}")
        method, params = quoter.batched.request("quoteExactInputSingle", question)
        yield "quote", _timed(lambda: pool.quote_in(sold.address, bought.address, amount), 2_000)
        yield "quote_by_quoter_v2_eth_call", _timed(lambda: rpc.call(method, *params))

    def _tick(self) -> tuple[VaultSnapshot, tuple[UniswapV3Pool, ...]]:
        rpc, system = self.chain.rpc, self.environment.system
        block = read_block(rpc)
        known = {token.address: token for token in self.tokens}
        (snapshot,) = read_vaults(rpc, system.lens, [self.environment.vault], block)
        pools = read_v3_pools(rpc, system.uniswap_v3_lens, self.pools, known, block, DEVNET_CHAIN_ID)
        return snapshot, pools

    def _keeper(self, outbox: Outbox | None) -> Keeper:
        return Keeper(
            self.chain.rpc,
            KeeperContext.of(self.environment.deployment, [self.environment.vault]),
            [devnet_signer(Actor.KEEPER)],
            outbox,
            KeeperOptions(dry_run=outbox is None, fee_cap_wei=_FEE_CAP_WEI),
        )

    @staticmethod
    def _expect(keeper: Keeper, reason: Reason) -> None:
        (decision,) = keeper.tick()
        if decision.reason is not reason:
            raise AssertionError(f"the scenario must end with {reason}, but {decision.text}")


def _timed(work: Callable[[], object], samples: int = _SAMPLES) -> Times:
    for _ in range(_WARM_UP):
        work()
    seconds = []
    for _ in range(samples):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Times.of(seconds)


@contextmanager
def _silence() -> Iterator[None]:
    """Log only warnings and errors inside."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        yield
    finally:
        structlog.configure(**before)
