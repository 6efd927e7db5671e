"""A chain, two vaults, a market that can be moved, and keepers behind a proxy.

Blocks come steadily, whatever the keeper does. `Ground` is built once; every `Arena` stands on a copy of it, on a node of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import System
from rebalancer.devnet.environment import Actor, DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.reasons import Reason
from rebalancer.send.attempt import OPEN, Attempt
from rebalancer.send.signer import devnet_signer
from tests.chaos.proxy import Proxy, Weather
from tests.chaos.running import Keeper, Temper

__all__ = ["Arena", "Ground", "NeverCame", "build_ground"]

_GENESIS_AT = 1_680_652_800
_OPENING_E8 = {"ETH/USD": 2_000_00000000, "BTC/USD": 30_000_00000000, "USDC/USD": 1_00000000}
_ETHER_E8 = (2_000_00000000, 2_200_00000000)
"""Between these the market swings: either way WETH leaves its band."""

_BLOCK_SECONDS = 0.08
_CHAIN_SECONDS = 2
"""A block every so often by our clock, and so much later by the chain's."""

_MOVE_SECONDS = 900
"""By the chain's clock: longer than the vault's cooldown."""

_PATIENCE_SECONDS = 240.0
_PATIENT_SECONDS = 4.0
_PATIENT_MOVES = 30
_POLL_SECONDS = 0.02
_BATCH = 200
_FOREIGN_FEE_WEI = 10 * 10**9
_BLOCK_GAS = 1_000_000_000
_WORD = 32
_SLOTS = 64
_LAST = 12
_SHOWN = 240


class NeverCame(AssertionError):  # noqa: N818 (as errors are named here)
    """What was waited for did not come, or the keeper ended as it must not."""


@dataclass(frozen=True)
class Ground:
    """A built chain, to be copied."""

    state: str
    deployment: Deployment
    system: System
    vaults: tuple[str, ...]


def build_ground() -> Ground:
    """Market, system and two vaults, on a chain that is gone afterwards."""
    with Node.start(NodeSettings(genesis_at=_GENESIS_AT)) as node, node.rpc(timeout_s=60) as rpc:
        environment = build_environment(LocalChain(rpc), _OPENING_E8)
        second = environment.open_vault(1)
        state = rpc.call("anvil_dumpState")
    deployment = environment.deployment.with_vault(second)
    return Ground(state, deployment, environment.system, deployment.vaults)


class Arena:
    """One scenario's world. A context manager."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground = ground
        self.folder = folder
        self.vaults = ground.vaults
        self.keepers: list[Keeper] = []
        self.allowed_exits: set[int] = set()
        """Codes with which a keeper may end by itself; it is started again, as an operator's supervisor would."""
        self.done: Counter[str] = Counter()
        """How many faults scenarios made by themselves, by kind; what proxies did, they count."""
        self.foreign: set[str] = set()
        """Transactions that this arena sent with a keeper's key."""
        self.rivals = False
        """Whether keepers compete, so that one of them may come late and be refused."""
        self.base_fee_wei: int | None = None
        """What the chain's gas costs, where it is not left to the chain."""
        self.mines = True
        self._lock = threading.RLock()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._node = Node.start(NodeSettings(genesis_at=_GENESIS_AT))
        self.node_port = self._node.port
        self.rpc = self._node.rpc(timeout_s=60)
        self.rpc.call("anvil_loadState", self.ground.state)
        self.rpc.call("anvil_setBlockTimestampInterval", _CHAIN_SECONDS)
        self.chain = LocalChain(self.rpc)
        self.market = DevMarket(self.chain, self.ground.deployment)
        ground = self.ground
        self.environment = DevEnvironment(self.chain, self.market, ground.system, ground.deployment, ground.vaults[0])
        self.market.step(dict(_OPENING_E8), self.chain.now() + _MOVE_SECONDS)
        self.rpc.call("evm_setAutomine", False)
        self.proxy = Proxy(self._node.url).__enter__()
        self.spare = Proxy(self._node.url).__enter__()
        self._deployment = self.folder / "deployment.json"
        replace(self.ground.deployment, rpc_url=None).save(self._deployment)
        self.first_block = self.height()
        self.first_held = {vault.address: vault.basket.held for vault in self.snapshots()}
        self._miner = threading.Thread(target=self._mine_steadily, daemon=True)
        self._miner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._miner.join()
        for keeper in self.keepers:
            if keeper.is_alive:
                keeper.kill()
        for proxy in (self.proxy, self.spare):
            proxy.__exit__(kind, error, traceback)
        self.rpc.close()
        self._node.stop()

    # The chain

    def _mine_steadily(self) -> None:
        with Rpc(self._node.url, timeout_s=60) as rpc:
            while not self._over.wait(_BLOCK_SECONDS):
                with self._lock:
                    if self.mines:
                        self._mine(rpc)

    def _mine(self, rpc: Rpc) -> None:
        if self.base_fee_wei is not None:
            rpc.call("anvil_setNextBlockBaseFeePerGas", hex(self.base_fee_wei))
        rpc.call("evm_mine")

    def mine(self, blocks: int = 1) -> None:
        """So many blocks at once."""
        with self._lock:
            for _ in range(blocks):
                self._mine(self.rpc)

    @contextmanager
    def no_blocks(self) -> Iterator[None]:
        """While it lasts, no block comes but those asked for."""
        with self._lock:
            self.mines = False
        try:
            yield
        finally:
            self.mines = True

    def height(self) -> int:
        """The newest block's number."""
        with self._lock:
            return int(self.rpc.call("eth_blockNumber"), 16)

    def empty_pool(self) -> None:
        """Have the node forget what waits for a block."""
        with self._lock:
            self.rpc.call("anvil_dropAllTransactions")

    def limit_blocks(self, gas: int = _BLOCK_GAS) -> None:
        """From now on blocks take no transaction with a higher gas limit; those stay in the pool."""
        with self._lock:
            self.rpc.call("evm_setBlockGasLimit", hex(gas))

    def reorg(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones; what they held is gone, from the pool as well."""
        with self._lock:
            self.rpc.call("anvil_reorg", depth, [])

    def move(self, seconds: int = _MOVE_SECONDS) -> None:
        """Let time pass and the price of ether swing, so that bands break; pools follow."""
        low, high = _ETHER_E8
        # By the chain: a reorg may have taken the last swing back.
        self.step({"ETH/USD": high if self.answer("ETH/USD") == low else low}, seconds)

    def step(self, prices_e8: Mapping[str, int], seconds: int = _MOVE_SECONDS) -> None:
        """Let time pass; every feed answers, pools follow."""
        with self._automatic():
            self.market.step({**self.market.prices_e8, **prices_e8}, self.chain.now() + seconds)

    def move_unseen(self, seconds: int) -> None:
        """Let time pass, and no feed answers."""
        with self._lock:
            self.rpc.call("evm_setNextBlockTimestamp", hex(self.chain.now() + seconds))
            self.rpc.call("evm_mine")

    def move_except(self, feed: str, factor: float) -> None:
        """All prices but the dollar's change by so much, and pools follow them; one feed repeats its old answer."""
        volatile = [name for name in self.market.prices_e8 if name != "USDC/USD"]
        prices_e8 = {name: int(self.answer(name) * factor) for name in volatile}
        before = self.answer(feed)
        self.step(prices_e8)
        (named,) = (one for one in self.ground.deployment.feeds if one.name == feed)
        with self._automatic():
            aggregator = contract_at(self.chain.rpc, "MockAggregator", str(named.aggregator))
            self.chain.transact(aggregator, "push", before)

    def answer(self, feed: str) -> int:
        """What a feed answers now, USD * 1e8."""
        with self._lock:
            reported = self._proxy_of(feed).call("latestRoundData")
        return int(reported[1])

    def _proxy_of(self, feed: str) -> BoundContract:
        (found,) = (one for one in self.ground.deployment.feeds if one.name == feed)
        return contract_at(self.chain.rpc, "MockFeedProxy", found.address)

    @contextmanager
    def _automatic(self) -> Iterator[None]:
        """While it lasts this thread's transactions are mined as they come, and nothing else is."""
        with self._lock:
            self.rpc.call("evm_setAutomine", True)
            try:
                yield
            finally:
                self.rpc.call("evm_setAutomine", False)

    @contextmanager
    def acting(self) -> Iterator[DevEnvironment]:
        """The stage, for transactions of its people."""
        with self._automatic():
            yield self.environment

    def spend_nonce(self, nonce: int, gas: int = 21_000, account: int = Actor.KEEPER) -> str:
        """Send nothing to nobody with a keeper's key, at a nonce, for more than keepers first offer; the transaction's hash."""
        address = devnet_signer(account).address
        with self._lock:
            sent = self.rpc.call(
                "eth_sendTransaction",
                {
                    "from": address,
                    "to": self.chain.accounts[-2],
                    "gas": hex(gas),
                    "nonce": hex(nonce),
                    "maxFeePerGas": hex(_FOREIGN_FEE_WEI),
                    "maxPriorityFeePerGas": hex(_FOREIGN_FEE_WEI),
                },
            )
        self.foreign.add(sent)
        return str(sent)

    def take_nonce(self) -> None:
        """Spend the next nonce of the keeper's key, and wait for the block."""
        before = self.nonce()
        self.spend_nonce(before)
        self.until(lambda: self.nonce() > before, "the nonce spent")

    def nonce(self, account: int = Actor.KEEPER) -> int:
        """How many transactions of an account the chain holds."""
        address = devnet_signer(account).address
        with self._lock:
            return int(self.rpc.call("eth_getTransactionCount", address, "latest"), 16)

    def snapshots(self) -> tuple[VaultSnapshot, ...]:
        """The vaults now."""
        with self._lock:
            return self._read_snapshots(self.rpc)

    def _read_snapshots(self, rpc: Rpc) -> tuple[VaultSnapshot, ...]:
        return read_vaults(rpc, self.ground.system.lens, self.vaults, read_block(rpc))

    def reported(self, rpc: Rpc) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """What an endpoint says of the vaults: their holdings, and the prices of them."""
        return [(one.basket.held, tuple(one.basket.prices_e18)) for one in self._read_snapshots(rpc)]

    @property
    def epochs(self) -> tuple[int, ...]:
        """How often each vault was rebalanced."""
        return tuple(vault.state.epoch for vault in self.snapshots())

    @property
    def is_broken(self) -> bool:
        """Whether any vault is out of its bands and may be rebalanced."""
        return any(vault.reason is Reason.BAND_BROKEN for vault in self.snapshots())

    # Lies that fit together

    def other_price(self, factor: float) -> dict[str, Any]:
        """A state in which the feed of ether answers so much more, as an override of calls."""
        feed = self._proxy_of("ETH/USD")
        with self._lock:
            true = feed.call("latestRoundData")
        words = (true[0], int(true[1] * factor), true[2], true[3], true[4])
        reported = b"".join(word.to_bytes(_WORD) for word in words)
        # PUSH1 len, PUSH1 12, PUSH0, CODECOPY, PUSH1 len, PUSH0, RETURN, and two to fill: the words follow at byte 12.
        code = bytes.fromhex(f"60{len(reported):02x}600c5f3960{len(reported):02x}5ff30000") + reported
        return {feed.address: {"code": "0x" + code.hex()}}

    def other_holding(self, factor: float) -> dict[str, Any]:
        """A state in which the first vault's book holds so much more of its first asset, as an override of calls."""
        vault, held = self.vaults[0], self.snapshots()[0].basket.held
        word = held[0] | held[1] << 128
        with self._lock:
            slot = next(
                slot
                for slot in range(_SLOTS)
                if int(self.rpc.call("eth_getStorageAt", vault, hex(slot), "latest"), 16) == word
            )
        lie = int(held[0] * factor) | held[1] << 128
        return {vault: {"stateDiff": {_word(slot): _word(lie)}}}

    # Keepers

    def keeper(
        self,
        temper: Temper | None = None,
        *,
        account: int = Actor.KEEPER,
        urls: Sequence[str] | None = None,
        **more: Any,
    ) -> Keeper:
        """A keeper of the vaults, which is not started yet; it asks the proxy unless told otherwise. More is as `Keeper` has it."""
        folder = self.folder / f"keeper{len(self.keepers)}"
        temper = temper or Temper()
        urls = urls or [self.proxy.url]
        made = Keeper(folder, urls, self._deployment, account, temper, **more)
        self.keepers.append(made)
        return made

    def running(self, temper: Temper | None = None, **more: Any) -> Keeper:
        """A keeper that has begun to look."""
        made = self.keeper(temper, **more)
        made.start()
        self.until(lambda: made.has_said("event=decided"), "the keeper's first look")
        return made

    # Waiting

    def pass_blocks(self, blocks: int) -> None:
        """Wait until so many more blocks have come."""
        goal = self.height() + blocks
        self.until(lambda: self.height() >= goal, f"{blocks} blocks")

    def until(self, holds: Callable[[], bool], what: str, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait for something, while keepers that end as they may are started again.

        Raises:
            NeverCame: it does not come, or a keeper ended as it must not.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            self._attend()
            if time.monotonic() > deadline:
                raise NeverCame(f"after {seconds:g} s still not: {what}\n{self.report()}")
            time.sleep(_POLL_SECONDS)

    def happens(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether something comes within so many seconds."""
        with suppress(NeverCame):
            self.until(holds, "", seconds)
            return True
        self._attend()
        return False

    def _attend(self) -> None:
        for keeper in self.keepers:
            code = keeper.ended()
            if code is None:
                continue
            if code not in self.allowed_exits:
                raise NeverCame(f"a keeper ended with {code}\n{self.report()}")
            keeper.start()

    def storm(
        self,
        weather: Weather,
        strikes: int,
        meanwhile: Callable[[], None],
        seconds: float = 12.0,
        proxy: Proxy | None = None,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Weather, in which something happens, until it has struck so often, or for so long; it has struck at least once."""
        proxy = proxy or self.proxy
        before = proxy.faults[weather.fault]
        proxy.play(weather)
        try:
            meanwhile()
            self.happens(lambda: proxy.faults[weather.fault] - before >= strikes, seconds)
            if not self.happens(lambda: proxy.faults[weather.fault] > before, patience_seconds):
                raise NeverCame(f"{weather.fault} never struck\n{self.report()}")
        finally:
            proxy.clear()

    def calm(self) -> None:
        """Wait until what broke is brought back, and what is under way has come to its end.

        A keeper may be waiting for a better price: then the chain's time passes, as it would.
        """
        for _ in range(_PATIENT_MOVES):
            if self.happens(lambda: not self.is_broken, _PATIENT_SECONDS):
                break
            self.step({})
        self.until(lambda: not self.is_broken, "vaults inside their bands")
        self.agree()

    def recover(self) -> None:
        """Nothing is wrong any more: all comes to rest, and what breaks then is brought back."""
        self.calm()
        before = self.epochs
        self.move()
        self.settle(before)

    def rebalanced(self, before: Sequence[int], seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until every vault has been rebalanced since it was at these epochs."""
        self.until(
            lambda: all(now > then for now, then in zip(self.epochs, before, strict=True)),
            f"rebalances after the epochs {before}",
            seconds,
        )

    def agree(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until every outbox says what became of everything."""
        self.until(
            lambda: all(self._is_settled(a) for keeper in self.keepers for a in keeper.attempts),
            "outboxes that agree with the chain",
            seconds,
        )

    def settle(self, before: Sequence[int], seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until every vault has been rebalanced since, and the outboxes say so."""
        self.rebalanced(before, seconds)
        self.agree(seconds)

    def _is_settled(self, attempt: Attempt) -> bool:
        if attempt.state in OPEN:
            return False
        if attempt.mined_hash is None:
            return True
        with self._lock:
            receipt = self.rpc.call("eth_getTransactionReceipt", attempt.mined_hash)
        return receipt is not None and receipt["blockHash"] == attempt.block_hash

    def report(self) -> str:
        """What keepers said last, and what their outboxes hold."""
        lines = [f"proxy: {dict(self.proxy.faults)}; epochs {self.epochs}; block {self.height()}"]
        for number, keeper in enumerate(self.keepers):
            lines += [f"keeper {number}, exits {keeper.exits}, kills {keeper.kills}:"]
            lines += [
                f"  {a.state} at epoch {a.intent.epoch}, nonce {a.nonce}, {len(a.versions)} versions {a.note}"
                for a in keeper.attempts
            ]
            logged = [line for line in keeper.message if not line.startswith("{")]
            lines += [f"  | {line[:_SHOWN]}" for line in logged[-_LAST:]]
        return "\n".join(lines)

    @property
    def faults(self) -> Counter[str]:
        """How many faults of each kind were met."""
        met = Counter({str(kind): n for kind, n in self.proxy.faults.items()})
        met.update({str(kind): n for kind, n in self.spare.faults.items()})
        return met + self.done


def _word(number: int) -> str:
    return "0x" + number.to_bytes(_WORD).hex()
