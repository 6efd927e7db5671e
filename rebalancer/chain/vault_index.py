"""Index of many vaults, which finds those that need a tick with a number of requests that does not grow with them.

The index holds the state that only transactions change: holdings, configuration, state. It is read once, in pages.
After that, each block needs one request for the logs of all vaults, filtered by event and not by address; one for the
prices of all distinct tokens of each hub; and one page after another for the vaults with logs. Logs are not
interpreted: the lens reads each vault with a log again in full, at that block. So the index cannot drift from the
contracts by wrong arithmetic, and `audit` verifies it: it reads vaults without logs in turn, and reports each
difference.

A loss of balance has no log of the vault: `audit` finds it, and from then on the vault is a candidate until nothing is
missing.

`judge` evaluates all vaults at once in floats. A float is not trusted near a limit: a vault is in band only if its
bands hold by more than one part in 10^9. Every other vault that may be rebalanced is a candidate, which is read
exactly. Candidates are ranked by the value outside their bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.heads import Head
from rebalancer.chain.interfaces import interface
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, decode_vaults
from rebalancer.errors import BlockVanished, RpcRejected, UnknownVault
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18

__all__ = ["CacheMismatch", "Judgement", "VaultIndex"]

log = structlog.get_logger("rebalancer.vault_index")

_WORD = 32
_HEAD = 33
_ASSET = 20
_MOST_ASSETS = 16
_LANES = np.array([2.0**192, 2.0**128, 2.0**64, 1.0])
_SURE = 1e-9
"""Safety margin of float comparisons: about a million times the error of a few operations with 53 bits."""

_PAGE = 50
"""Vaults per read: about 30,000 gas per asset, and nodes limit an eth_call to 30 to 50 million gas."""
_BATCH = 500
_KEPT_BLOCKS = 256
"""Number of blocks for which vaults with logs are remembered, in case of a reorg."""

_SHARE_EVENTS = frozenset({"Transfer", "Approval", "EIP712DomainChanged"})
"""Events that every token has. All changes they show also have an event of minting or redeeming."""

_REASONS = (
    *(Reason.IN_BAND, Reason.BAND_BROKEN, Reason.CALENDAR_DUE, Reason.PAUSED),
    *(Reason.COOLDOWN, Reason.ORACLE_FAULT, Reason.TOTAL_OUT_OF_RANGE),
    Reason.LOSS_NOT_WRITTEN_DOWN,
)
_IN_BAND, _BROKEN, _CALENDAR, _PAUSED, _COOLING, _FAULT, _WORTHLESS, _LOSS = range(len(_REASONS))

# Words of VaultLens that depend neither on time nor on prices; the audit compares them.
_FIXED_HEAD = (0, 1, 4, 5, 6, 7, 8, 9, 14, 15, *range(20, 33))
_FIXED_ASSET = (0, 1, 2, 3, 5, 6, 7, 8, 9, 18)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All vaults at one block. Arrays have one entry per vault, in the index's order.

    `drift` is the largest distance from a target as a fraction of the basket; `value` and `misallocated` (outside the
    bands) are in USD. Distances are 0 if a price is missing or the basket is worth nothing. `candidates` are the
    addresses to read exactly, the most misallocated first.
    """

    reasons: tuple[Reason, ...]
    drift: NDArray[np.float64]
    value: NDArray[np.float64]
    misallocated: NDArray[np.float64]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheMismatch:
    """A vault without logs whose state differs from the index: an alarm. `words` are indices in the lens's answer."""

    vault: str
    block: Block
    words: tuple[int, ...]


class VaultIndex:
    """Index of many vaults. Not thread-safe."""

    def __init__(self, rpc: Rpc, lens: str, vaults: Sequence[str], page: int = _PAGE) -> None:
        """`page`: number of vaults per call of the lens."""
        self.rpc = rpc
        self.vaults = tuple(vault.lower() for vault in vaults)
        self.page = page
        self._lens = interface("VaultLens").at(lens)
        self._search = LogSearch()
        self._row = {vault: row for row, vault in enumerate(self.vaults)}
        n = len(self.vaults)
        self._fixed: list[bytes] = [b""] * n
        self._hubs: list[str] = [""] * n
        self._slots: dict[tuple[str, str], int] = {}
        self._touched: dict[int, set[str]] = {}
        self._audited = 0
        self._block: Block | None = None
        self._loaded_at = 0
        shape = (n, _MOST_ASSETS)
        self._held, self._unit = np.zeros(shape), np.ones(shape)
        self._start, self._end = np.zeros(shape), np.zeros(shape)
        self._band, self._relative = np.zeros(shape), np.zeros(shape)
        self._counted = np.zeros(shape, dtype=bool)
        self._price_at = np.zeros(shape, dtype=np.int64)
        self._glide_start, self._glide_end = np.zeros(n), np.zeros(n)
        self._rebalanced_at, self._due_since = np.zeros(n), np.zeros(n)
        self._cooldown, self._calendar = np.zeros(n), np.zeros(n)
        self._dust, self._destination = np.zeros(n), np.zeros(n)
        self._paused = np.zeros(n, dtype=bool)
        self._barred, self._missing = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self._epoch = [0] * n
        events = interface("BasketVault").events
        self._topics = [sorted(topic for topic, event in events.items() if event.name not in _SHARE_EVENTS)]

    @property
    def block(self) -> Block | None:
        """Block of the index; None before `load`."""
        return self._block

    @property
    def epochs(self) -> dict[str, int]:
        """Epoch of every vault, by address."""
        return dict(zip(self.vaults, self._epoch, strict=True))

    # Reading

    def load(self, block: Block) -> None:
        """Read every vault at a block.

        Raises:
            UnknownVault: an address is not a vault.
        """
        self._read_again(self.vaults, block)
        self._touched.clear()
        self._block, self._loaded_at = block, block.number

    def advance(self, head: Head) -> tuple[str, ...]:
        """Follow the chain to a head. Returns the vaults that were read again, in the index's order.

        Vaults with logs in reorged blocks are read again, too. If the head is not linked to the index's block, all
        vaults are read again.

        Raises:
            BlockVanished: the endpoint does not have the head.
        """
        block = Block(head.header.number, head.header.hash, head.header.timestamp)
        first = head.missed[0].number if head.missed else head.header.number
        # Logs of blocks that no head named, or before the first read, are unknown.
        follows = head.linked and self._block is not None and first <= self._block.number + 1
        if not follows or any(gone.number <= self._loaded_at for gone in head.reorged):
            self.load(block)
            return self.vaults
        changed: set[str] = set()
        for header in head.reorged:
            changed |= self._touched.get(header.number, set())
        hashes = {each.number: each.hash for each in (*head.missed, head.header)}
        touched: dict[int, set[str]] = {}
        logs = self._logs(first, block)
        if logs is None:
            self.load(block)
            return self.vaults
        for entry in logs:
            number, vault = int(entry["blockNumber"], 16), entry["address"].lower()
            if hashes.get(number) != entry["blockHash"]:
                self.load(block)  # the logs are from another chain than the heads, so they are not used
                return self.vaults
            if vault in self._row:
                touched.setdefault(number, set()).add(vault)
                changed.add(vault)
        again = tuple(vault for vault in self.vaults if vault in changed)
        self._read_again(again, block)
        # Last: after a failed read, these blocks must be processed again.
        for header in head.reorged:
            self._touched.pop(header.number, None)
        self._touched |= touched
        self._block = block
        for number in [n for n in self._touched if n <= block.number - _KEPT_BLOCKS]:
            del self._touched[number]
        return again

    def _logs(self, first: int, block: Block) -> list[Any] | None:
        """Logs of the vaults from a block on, or None if unavailable: a single block is searched by hash, several by
        number."""
        requested = {"topics": self._topics}
        if first == block.number:
            (found,) = self.rpc.batch_settled([("eth_getLogs", [requested | {"blockHash": block.hash}])])
            if isinstance(found, RpcRejected):
                log.warning("logs_refused", block=block.number, why=found.message)
                return None
            return list(found)
        # For blocks that an endpoint does not have yet, it may return an empty list.
        newest: Call = ("eth_getBlockByNumber", [hex(block.number), False])
        (header,), logs = self._search.find(self.rpc, [requested], first, block.number, [newest])
        if header is None or header["hash"] != block.hash:
            raise BlockVanished(block.number, block.hash)
        return logs

    def read(self, vaults: Sequence[str], block: Block) -> tuple[VaultSnapshot, ...]:
        """Exact snapshots of vaults at a block, in the order given. Also records whether balance is missing, which no
        log shows.

        Raises:
            UnknownVault: a vault is not in the index.
        """
        for vault in vaults:
            if vault.lower() not in self._row:
                raise UnknownVault(vault)
        found = tuple(
            snapshot
            for packed in self._packed([vault.lower() for vault in vaults], block)
            for snapshot in decode_vaults(packed, block.timestamp)
        )
        for snapshot in found:
            self._missing[self._row[snapshot.address]] = any(snapshot.missing_raw)
        return found

    def audit(self, block: Block, count: int) -> tuple[CacheMismatch, ...]:
        """Read the next vaults in turn, with or without logs, and report those that differ from the index.

        `block` must be the index's block. The chain's state replaces that of the index.
        """
        n = len(self.vaults)
        chosen = [self.vaults[(self._audited + i) % n] for i in range(min(count, n))]
        before = {vault: self._fixed[self._row[vault]] for vault in chosen}
        self._read_again(chosen, block)
        self._audited = (self._audited + len(chosen)) % n if n else 0
        found = []
        for vault in chosen:
            after = self._fixed[self._row[vault]]
            if after == before[vault]:
                continue
            words = tuple(
                at // _WORD
                for at in range(0, max(len(after), len(before[vault])), _WORD)
                if after[at : at + _WORD] != before[vault][at : at + _WORD]
            )
            found.append(CacheMismatch(vault, block, words))
            log.error("book_differs", vault=vault, block=block.number, words=words)
        return tuple(found)

    def _packed(self, vaults: Sequence[str], block: Block) -> Iterator[bytes]:
        for at in range(0, len(vaults), self.page):
            page = list(vaults[at : at + self.page])
            yield self._lens.call(self.rpc, "read", page, block=block.hash)

    def _read_again(self, vaults: Sequence[str], block: Block) -> None:
        if not vaults:
            return
        self._read_hubs(vaults, block)
        at = 0
        for packed in self._packed(vaults, block):
            at += self._take(packed)
        if at != len(vaults):
            raise UnknownVault(vaults[at])

    def _read_hubs(self, vaults: Sequence[str], block: Block) -> None:
        """Read the hub that prices the tokens of each vault."""
        vault_interface = interface("BasketVault")
        for at in range(0, len(vaults), _BATCH):
            some = vaults[at : at + _BATCH]
            calls: list[Call] = [vault_interface.at(vault).request("oracle", block=block.hash) for vault in some]
            answers = self.rpc.batch_settled(calls)
            for vault, answer in zip(some, answers, strict=True):
                if isinstance(answer, RpcRejected) or answer == "0x":
                    raise UnknownVault(vault)
                self._hubs[self._row[vault]] = vault_interface.functions["oracle"].decode(answer)

    def _take(self, packed: bytes) -> int:
        """Store an answer of the lens. Returns the number of vaults in it."""
        lanes = np.frombuffer(packed, dtype=">u8").reshape(-1, 4).astype(np.float64)
        words = lanes @ _LANES
        at = taken = 0
        while at < len(words):
            count = int(words[at + 1])
            end = at + _HEAD + _ASSET * count
            row = self._row["0x" + packed[at * _WORD + 12 : at * _WORD + _WORD].hex()]
            head, assets = words[at : at + _HEAD], words[at + _HEAD : end].reshape(count, _ASSET)
            self._take_head(row, head)
            self._take_assets(row, assets, packed[(at + _HEAD) * _WORD : end * _WORD])
            fixed = [at + word for word in _FIXED_HEAD]
            fixed += [at + _HEAD + _ASSET * i + w for i in range(count) for w in _FIXED_ASSET]
            self._fixed[row] = b"".join(packed[w * _WORD : (w + 1) * _WORD] for w in fixed)
            at, taken = end, taken + 1
        return taken

    def _take_head(self, row: int, head: NDArray[np.float64]) -> None:
        self._rebalanced_at[row], self._due_since[row], paused = head[5:8]
        self._paused[row] = paused != 0
        self._epoch[row] = int(head[4])
        self._glide_start[row], self._glide_end[row] = head[14:16]
        policy = head[20:33]
        self._dust[row], self._cooldown[row] = policy[4], policy[5]
        self._destination[row], self._calendar[row] = policy[10], policy[11]

    def _take_assets(self, row: int, assets: NDArray[np.float64], packed: bytes) -> None:
        count, hub = len(assets), self._hubs[row]
        for array in (self._held, self._start, self._end, self._band, self._relative):
            array[row] = 0.0
        self._counted[row] = False
        self._unit[row, :count] = 10.0 ** assets[:, 1]
        self._end[row, :count], self._start[row, :count] = assets[:, 2] / E18, assets[:, 3] / E18
        self._band[row, :count], self._relative[row, :count] = assets[:, 5], assets[:, 6]
        self._counted[row, :count] = assets[:, 8] == 0
        self._held[row, :count] = assets[:, 9]
        self._barred[row], self._missing[row] = (assets[:, 18:20] != 0).any(axis=0)
        for i in range(count):
            word = packed[_ASSET * i * _WORD : (_ASSET * i + 1) * _WORD]
            slot = (hub, "0x" + word[12:].hex())
            self._price_at[row, i] = self._slots.setdefault(slot, len(self._slots))

    # Judging

    def prices(self, block: Block) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Price of every distinct token in USD (0 with a fault), and whether it is sound. One request for all hubs."""
        by_hub: dict[str, list[tuple[str, int]]] = {}
        for (hub, token), slot in self._slots.items():
            by_hub.setdefault(hub, []).append((token, slot))
        hubs = interface("OracleHub")
        calls: list[Call] = [
            hubs.at(hub).request("prices", [token for token, _ in tokens], block=block.hash)
            for hub, tokens in by_hub.items()
        ]
        found, sound = np.zeros(len(self._slots)), np.zeros(len(self._slots), dtype=bool)
        for tokens, answer in zip(by_hub.values(), self.rpc.batch(calls), strict=True):
            for (_, slot), (_, _, primary, fault) in zip(tokens, hubs.functions["prices"].decode(answer), strict=True):
                found[slot], sound[slot] = primary / E18, fault == 0
        return found, sound

    def judge(self, block: Block) -> Judgement:
        """Judgement of every vault at the index's block."""
        prices, sound = self.prices(block)
        now = float(block.timestamp)
        counted = self._counted
        price = np.where(counted, prices[self._price_at], 0.0)
        values = self._held / self._unit * price
        total = values.sum(axis=1)
        targets = self._targets(now)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(counted, np.abs(values / total[:, None] - targets), 0.0)
        band = self._bands(targets)
        weighed = (total > 0) & np.isfinite(apart).all(axis=1)
        priced = (sound[self._price_at] | ~counted).all(axis=1)
        near = (counted & (apart >= band * (1 - _SURE))).any(axis=1)
        period = np.where(self._calendar > 0, self._calendar, 1.0)
        called = (self._calendar > 0) & (self._rebalanced_at < now - now % period)
        width = band * (self._destination[:, None] / BPS)
        to_go = np.where(counted, np.maximum(apart - width, 0.0), 0.0).sum(axis=1)
        called &= to_go > self._dust / BPS * (1 - _SURE)
        cooling = now < self._rebalanced_at + self._cooldown
        reasons = np.full(len(self.vaults), _IN_BAND)
        reasons[called] = _CALENDAR
        reasons[near] = _BROKEN
        reasons[cooling & (near | called)] = _COOLING
        reasons[~weighed] = _WORTHLESS
        reasons[~priced] = _FAULT
        reasons[self._missing] = _LOSS
        reasons[self._paused] = _PAUSED
        # The vault still has a timestamp of a broken band that is whole again; it must be cleared.
        stale = (reasons == _IN_BAND) & (self._due_since > 0)
        due = (reasons == _BROKEN) | (reasons == _CALENDAR)
        # Vaults that lost balance are read exactly, so that the loss is reported as long as it lasts.
        wanted = np.flatnonzero(due | stale | self._missing | self._barred)
        known = weighed & priced
        beyond = np.where(counted, np.maximum(apart - band, 0.0), 0.0).sum(axis=1)
        misallocated = np.where(known, beyond * total, 0.0)
        order = wanted[np.argsort(-misallocated[wanted], kind="stable")]
        return Judgement(
            tuple(_REASONS[code] for code in reasons.tolist()),
            np.where(known, apart.max(axis=1), 0.0),
            total,
            misallocated,
            tuple(self.vaults[row] for row in order.tolist()),
        )

    def _targets(self, now: float) -> NDArray[np.float64]:
        start, end = self._glide_start[:, None], self._glide_end[:, None]
        span = np.where(end > start, end - start, 1.0)
        walked = np.clip((now - start) / span, 0.0, 1.0)
        moving = self._start + (self._end - self._start) * walked
        return np.where(now >= end, self._end, moving)

    def _bands(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        absolute = self._band / BPS
        least = (self._dust[:, None] + 1) / BPS
        relative = np.maximum(self._relative / BPS * targets, least)
        return np.where(self._relative > 0, np.minimum(absolute, relative), absolute)
