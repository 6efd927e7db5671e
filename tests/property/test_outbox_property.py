"""The outbox against a chain that is lazy, forgetful and goes back, with a keeper that dies at any question.

SEND-1  What is sent was in the journal before.
SEND-2  Of one epoch, no two transactions that act on the vault are ever in the chain, unless it went back.
SEND-3  A version that replaces another offers an eighth more on both fields, with the same nonce.
SEND-4  Once the chain is honest for a while, the journal says of every attempt what the chain says.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rebalancer.abi import Call
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, RpcRejected, RpcUnreachable
from rebalancer.send.attempt import OPEN, AttemptState, Intent, Kind
from rebalancer.send.fees import GasFees
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import SignedTransaction

CHAIN = 31337
ME = "0x" + "11" * 20
VAULT = "0x" + "aa" * 20
UNIT = 10**8  # ten times the least tip
CONFIRMATIONS = 4
RULES = SendRules(
    fee_cap_wei=1_000 * UNIT,
    bump_after_blocks=2,
    confirmations=CONFIRMATIONS,
    min_pending_seconds=0,
)
EPOCHS = 4


class Pen:
    """Signs in plain text: the chain below reads it."""

    address = ME

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        raw = json.dumps(dict(transaction), sort_keys=True).encode()
        return SignedTransaction(raw, name_of(raw))


def name_of(raw: bytes) -> str:
    return "0x" + hashlib.sha256(raw).hexdigest()


@dataclass(eq=False)  # one endpoint is not another
class FakeChain(Rpc):
    """One account's chain and mempool. A vault's epoch takes effect once, as the contract has it."""

    blocks: list[list[str]] = field(default_factory=lambda: [[]])
    salt: int = 0
    base_fee: int = 10 * UNIT
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    pool: dict[int, str] = field(default_factory=dict)
    refuses: bool = False
    dies_in: int | None = None
    dies_after_effect: bool = False
    journalled: Any = None

    def __post_init__(self) -> None:
        super().__init__("http://127.0.0.1:1", expected_chain_id=CHAIN)

    def chain_id(self) -> int:
        return CHAIN

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self.call(method, *params) for method, params in calls]

    def call(self, method: str, *params: Any) -> Any:
        dying = False
        if self.dies_in is not None:
            self.dies_in -= 1
            dying = self.dies_in < 0
        if dying and not self.dies_after_effect:
            raise RpcUnreachable(self.endpoint, "it died")
        answer = getattr(self, method)(*params)
        if dying:
            raise RpcUnreachable(self.endpoint, "it died")
        return answer

    # What a node answers

    def eth_blockNumber(self) -> str:  # noqa: N802 (the node's names)
        return hex(len(self.blocks) - 1)

    def eth_getCode(self, *_: Any) -> str:  # noqa: N802 (the node's name)
        return "0x"

    def eth_getBalance(self, *_: Any) -> str:  # noqa: N802
        return hex(10**30)

    def eth_getTransactionCount(self, _: str, tag: str) -> str:  # noqa: N802
        assert tag in ("latest", "pending")
        count = self.count
        while tag == "pending" and count in self.pool:
            count += 1
        return hex(count)

    def eth_feeHistory(self, *_: Any) -> Any:  # noqa: N802
        return {"baseFeePerGas": [hex(self.base_fee)], "reward": [], "gasUsedRatio": []}

    def eth_getTransactionByHash(self, name: str) -> Any:  # noqa: N802
        return {} if name in self.pool.values() or self.place(name) else None

    def eth_getBlockByNumber(self, number: str, _: bool) -> Any:  # noqa: N802
        at = int(number, 16)
        return {"hash": self.block_hash(at)} if at < len(self.blocks) else None

    def eth_getTransactionReceipt(self, name: str) -> Any:  # noqa: N802
        at = self.place(name)
        if at is None:
            return None
        return {
            "transactionHash": name,
            "blockNumber": hex(at),
            "blockHash": self.block_hash(at),
            "gasUsed": "0x1",
            "contractAddress": None,
            "logs": [],
            "effectiveGasPrice": hex(self.base_fee),
            "status": "0x1" if self.succeeded(name) else "0x0",
        }

    def debug_traceTransaction(self, *_: Any) -> Any:  # noqa: N802
        return {"output": "0x01020304"}

    def eth_sendRawTransaction(self, raw_hex: str) -> str:  # noqa: N802
        raw = bytes.fromhex(raw_hex[2:])
        name, transaction = name_of(raw), json.loads(raw)
        assert self.journalled(name), "SEND-1: it was sent before it was journalled"
        nonce = transaction["nonce"]
        if nonce < self.count:
            raise RpcRejected("eth_sendRawTransaction", -32000, "nonce too low")
        # What this node refuses another may have taken.
        self.known[name] = transaction
        if self.refuses:
            raise RpcRejected("eth_sendRawTransaction", -32000, "overloaded")
        before = self.known.get(self.pool.get(nonce, ""))
        if before is not None and before != transaction:
            for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
                if 10 * transaction[fee] < 11 * before[fee]:
                    raise RpcRejected("eth_sendRawTransaction", -32000, "underpriced")
        self.pool[nonce] = name
        return name

    # What it is

    @property
    def mined(self) -> list[str]:
        return [name for block in self.blocks for name in block]

    @property
    def count(self) -> int:
        return len(self.mined)

    def place(self, name: str) -> int | None:
        return next((at for at, block in enumerate(self.blocks) if name in block), None)

    def block_hash(self, at: int) -> str:
        return name_of(json.dumps([self.blocks[: at + 1], self.salt * (at >= self.forked)]).encode())

    forked: int = 0

    def acts(self, name: str) -> bool:
        return bool(self.known[name]["data"] != "0x")

    def succeeded(self, name: str) -> bool:
        """Whether it is the first that acts at its epoch; sending nothing always succeeds."""
        if not self.acts(name):
            return True
        data = self.known[name]["data"]
        return next(n for n in self.mined if self.known[n]["data"] == data) == name

    # What happens to it

    def mine(self, choice: int, heard: bool) -> None:
        """A block of what is in the mempool, or of any version of each nonce that was ever heard of."""
        block: list[str] = []
        while True:
            nonce = self.count + len(block)
            fitting = sorted(
                name
                for name, transaction in self.known.items()
                if transaction["nonce"] == nonce
                and transaction["maxFeePerGas"] >= self.base_fee
                and (heard or self.pool.get(nonce) == name)
            )
            if not fitting:
                break
            block.append(fitting[choice % len(fitting)])
        self.blocks.append(block)
        self.pool = {n: name for n, name in self.pool.items() if n >= self.count}

    def reorg(self, depth: int) -> None:
        """The last blocks are replaced by as many empty ones and one more; the mempool keeps what it had."""
        keep = max(1, len(self.blocks) - depth)
        self.blocks = self.blocks[:keep] + [[] for _ in range(len(self.blocks) - keep + 1)]
        self.salt += 1
        self.forked = keep


class OutboxMachine(RuleBasedStateMachine):
    """A keeper's outbox, used and killed in any order."""

    @initialize()
    def begin(self) -> None:
        structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
        self.folder = tempfile.TemporaryDirectory()
        self.chain = FakeChain()
        self.chain.journalled = self.journalled
        self.reorged = False
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        """The outbox, on a disk that need not outlive a loss of power."""
        outbox = Outbox(Path(self.folder.name) / "outbox.sqlite", RULES)
        outbox.journal.connection.execute("PRAGMA synchronous = OFF")
        return outbox

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.settle()
        self.outbox.close()
        self.folder.cleanup()
        structlog.reset_defaults()

    def journalled(self, name: str) -> bool:
        return any(
            version.transaction_hash == name for attempt in self.outbox.attempts(CHAIN) for version in attempt.versions
        )

    @contextmanager
    def may_die(self, at: int | None, after_effect: bool) -> Iterator[None]:
        """Within it the chain may fall silent at a question; then the keeper is started anew."""
        self.chain.dies_in, self.chain.dies_after_effect = at, after_effect
        try:
            yield
        except ChainError:
            pass
        finally:
            died = self.chain.dies_in is not None and self.chain.dies_in < 0
            self.chain.dies_in = None
        if died:
            self.outbox.close()
            self.outbox = self.opened()
            self.outbox.resume(self.chain)

    dying = st.one_of(st.none(), st.integers(0, 12))

    @rule(
        epoch=st.integers(0, EPOCHS - 1),
        fee=st.integers(10, 60),
        lasts=st.one_of(st.none(), st.integers(0, 6)),
        at=dying,
        after=st.booleans(),
    )
    def submit(self, epoch: int, fee: int, lasts: int | None, at: int | None, after: bool) -> None:
        deadline = None if lasts is None else len(self.chain.blocks) + lasts
        intent = Intent(CHAIN, VAULT, epoch, VAULT, f"0x{epoch + 1:08x}", 50_000, "", deadline)
        with self.may_die(at, after):
            self.outbox.submit(self.chain, [Pen()], intent, GasFees(fee * UNIT, UNIT // 7))

    @rule(at=dying, after=st.booleans())
    def advance(self, at: int | None, after: bool) -> None:
        with self.may_die(at, after):
            self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)

    @rule(at=dying, after=st.booleans(), which=st.integers(0, 20))
    def cancel(self, at: int | None, after: bool, which: int) -> None:
        in_flight = self.outbox.unsettled(CHAIN)
        if in_flight:
            with self.may_die(at, after):
                self.outbox.cancel(self.chain, Pen(), in_flight[which % len(in_flight)], "")

    @rule(choice=st.integers(0, 5), heard=st.booleans())
    def mine(self, choice: int, heard: bool) -> None:
        self.chain.mine(choice, heard)

    @rule(blocks=st.integers(1, 3))
    def pass_empty_blocks(self, blocks: int) -> None:
        self.chain.blocks += [[] for _ in range(blocks)]

    @rule()
    def forget(self) -> None:
        self.chain.pool = {}

    @rule(refuses=st.booleans())
    def overload(self, refuses: bool) -> None:
        self.chain.refuses = refuses

    @rule(base_fee=st.sampled_from([1, 10, 40, 100]))
    def set_base_fee(self, base_fee: int) -> None:
        self.chain.base_fee = base_fee * UNIT

    @precondition(lambda self: len(self.chain.blocks) > 3)
    @rule(depth=st.integers(1, 3))
    def reorg(self, depth: int) -> None:
        # A keeper that looks at no block for longer than a reorg is deep sees nothing of it.
        self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)
        self.chain.reorg(depth)
        self.reorged = True
        self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)

    @invariant()
    def no_epoch_is_acted_on_twice(self) -> None:
        if not hasattr(self, "chain") or self.reorged:
            return
        acted = [self.chain.known[n]["data"] for n in self.chain.mined if self.chain.acts(n)]
        assert len(acted) == len(set(acted)), "SEND-2"

    @invariant()
    def replaced_by_an_eighth_more(self) -> None:
        if not hasattr(self, "outbox"):
            return
        for attempt in self.outbox.attempts(CHAIN):
            signed = attempt.versions
            for cheap, dear in pairwise(signed):
                for name in ("max_fee_per_gas_wei", "max_priority_fee_per_gas_wei"):
                    assert 8 * getattr(dear.fees, name) >= 9 * getattr(cheap.fees, name), "SEND-3"
                assert json.loads(dear.raw)["nonce"] == json.loads(cheap.raw)["nonce"], "SEND-3"

    def settle(self) -> None:
        """Cheap gas and honest blocks for a while; then SEND-4."""
        self.chain.base_fee, self.chain.refuses = UNIT, False
        self.outbox.resume(self.chain)
        for _ in range(CONFIRMATIONS + 4):
            self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)
            self.chain.mine(0, heard=False)
        self.outbox.advance(self.chain, [Pen()], len(self.chain.blocks) - 1)
        claimed: set[str] = set()
        for attempt in self.outbox.attempts(CHAIN):
            assert attempt.state not in OPEN, "SEND-4"
            mined = [v for v in attempt.versions if v.transaction_hash == attempt.mined_hash]
            if attempt.state in (AttemptState.MINED, AttemptState.FINAL):
                assert self.chain.succeeded(mined[0].transaction_hash), "SEND-4"
            if attempt.state is AttemptState.CANCELLED:
                assert mined[0].kind is Kind.CANCELLATION, "SEND-4"
            if mined:
                assert self.chain.place(mined[0].transaction_hash) == attempt.block_number
                claimed.add(mined[0].transaction_hash)
        assert claimed == set(self.chain.mined), "SEND-4: the chain holds what the journal lacks"


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
