"""Ledgers: the transactions that may be in flight for an account, from every machine of the fleet.

This is the fence of the outbox (`rebalancer.send.fence`) in a fleet. Machines have journals of their own. Before a
version is sent for the first time, it is stored in the account's ledger under the fencing token of the account's lease.
So:

- A machine that lost the lease sends nothing new: the ledger rejects its token as soon as another machine has a newer
one.
- A machine that takes the lease finds every transaction that may have been sent, and adopts it before anything else.

An entry is removed when its attempt is final. Its cost stays for a day, so that a change of the leader does not raise
the daily spending limit. Entries are not trusted: hash, sender and nonce must be those of the signed bytes. Costs have
no signature: a program that can write to Redis can add costs, so that the account waits, or remove them, so that only
each machine's own journal limits its spending. It cannot lower costs that a machine has counted itself.

If Redis loses the ledger, the transactions of other machines are unknown. The remaining protection is that an account's
nonce is mined once, and that a vault rejects an old epoch. A machine whose account has unknown pending transactions
refuses to start (`ForeignPending`); a machine that cannot see them takes the same nonce, and one of the two
transactions is mined.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from eth_utils.crypto import keccak
from pydantic import TypeAdapter, ValidationError

from rebalancer.errors import LeaseLost, LedgerUnreadable
from rebalancer.fleet.lease import Lease
from rebalancer.fleet.names import lease_name
from rebalancer.send.attempt import Attempt, HandedOver, Intent, Kind, Version
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal
from rebalancer.send.signed import read_signed

__all__ = ["Ledger"]

log = structlog.get_logger("rebalancer.fleet")

_SPENT = "spent:"
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class _Entry:
    """One signed version. `attempt` is the hash of the attempt's first version. Addresses are lower case, bytes are 0x
    and hexadecimal."""

    attempt: str
    intent: Intent
    kind: Kind
    raw: str
    gas_limit: int
    fees: GasFees
    height: int
    beside_gas_wei: int = 0


_ENTRY = TypeAdapter(_Entry)


@dataclass
class Ledger:
    """The ledgers of the accounts whose leases this machine holds."""

    leases: Mapping[str, Lease] = field(default_factory=dict)
    """Leases by `lease_name`."""
    _spent: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Time (unix seconds) and cost (wei) of each account's transactions that are not in this machine's journal."""

    def check(self, chain_id: int, sender: str) -> None:
        """See `Fence.check`; uses only the clock of this machine.

        Raises:
            LeaseLost: the account's lease is not held, or not any more.
        """
        self._lease(chain_id, sender).check()

    def store(self, attempt: Attempt) -> None:
        """See `Fence.store`. All versions are stored, so that a lost ledger fills again.

        Raises:
            LeaseLost, TokenStale: another machine may send now; a version that was not in the ledger must not be sent.
            SharedStateUnreachable: Redis does not answer.
        """
        lease = self._lease(attempt.intent.chain_id, attempt.sender)
        entries = {_key(attempt.nonce, v): _entry(attempt, v) for v in attempt.versions}
        lease.state.put(lease.name, lease.token, entries)
        lease.check()

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """See `Fence.forget`.

        Raises:
            As `store`.
        """
        keys: dict[str, list[str]] = {}
        spent: dict[str, dict[str, str]] = {}
        for attempt in attempts:
            name = lease_name(attempt.intent.chain_id, attempt.sender)
            keys.setdefault(name, []).extend(_key(attempt.nonce, v) for v in attempt.versions)
            if attempt.cost_wei is not None:
                paid = f"{attempt.mined_at or attempt.changed_at} {attempt.cost_wei}"
                spent.setdefault(name, {})[f"{_SPENT}{attempt.nonce}"] = paid
        for name, some in keys.items():
            if name in self.leases:  # each lease holder removes its own entries
                lease = self.leases[name]
                if name in spent:
                    lease.state.put(name, lease.token, spent[name])
                lease.state.drop(name, lease.token, some)

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:
        """See `Fence.spent_elsewhere_wei`. The costs were read when the lease was taken; no other machine has spent
        since."""
        since = now - _DAY_SECONDS
        known = self._spent.get(lease_name(chain_id, sender), ())
        return sum(wei for at, wei in known if at > since)

    def adopt_into(self, journal: Journal) -> list[Attempt]:
        """Journal all transactions in the ledgers; return the changed attempts. Call it once the leases are held,
        before anything else.

        Raises:
            LedgerUnreadable: an entry is not from this program, or contradicts its signed bytes.
            LeaseLost, TokenStale, SharedStateUnreachable: as `store`.
            OutboxError: the journal cannot be written.
        """
        changed: list[Attempt] = []
        for lease in self.leases.values():
            lease.check()
            entries = dict(lease.state.entries(lease.name))
            spent = {key: entries.pop(key) for key in tuple(entries) if key.startswith(_SPENT)}
            handed = _handed_over(lease.name, entries)
            changed += journal.adopt(handed)
            self._take_spent(journal, lease, spent)
            self.forget([one for one in _own(journal, handed) if one.is_final])
        if changed:
            log.info("adopted", attempts=len(changed))
        return changed

    def _take_spent(self, journal: Journal, lease: Lease, spent: Mapping[str, str]) -> None:
        """Keep the costs of other machines within a day, and remove older ones."""
        chain_id, _, sender = lease.name.partition(":")
        mine = journal.known_nonces(int(chain_id), sender, 0)
        since = int(time.time()) - _DAY_SECONDS
        found, old = [], []
        for key, text in spent.items():
            try:
                nonce = int(key.removeprefix(_SPENT))
                at, wei = (int(part) for part in text.split())
            except ValueError:
                raise LedgerUnreadable(lease.name, key, "it has an unknown format") from None
            if min(nonce, at, wei) < 0:
                raise LedgerUnreadable(lease.name, key, "it is negative") from None
            if at <= since:
                old.append(key)
            elif nonce not in mine:
                found.append((at, wei))
        self._spent[lease.name] = tuple(found)
        lease.state.drop(lease.name, lease.token, old)

    def _lease(self, chain_id: int, sender: str) -> Lease:
        name = lease_name(chain_id, sender)
        lease = self.leases.get(name)
        if lease is None:
            raise LeaseLost(name, "it was never taken")
        return lease


def _own(journal: Journal, handed: Sequence[HandedOver]) -> list[Attempt]:
    """The journal's attempts at the nonces of some attempts that were handed over."""
    nonces = {(one.intent.chain_id, one.sender, one.nonce) for one in handed}
    key = "chain_id = ? AND sender = ? AND nonce = ?"
    return [attempt for nonce in nonces for attempt in journal.select(key, *nonce)]


def _handed_over(lease: str, entries: Mapping[str, str]) -> list[HandedOver]:
    """The entries of a ledger as attempts, the oldest first."""
    grouped: dict[str, list[tuple[int, _Entry, Version]]] = {}
    chain_id, _, sender = lease.partition(":")
    for key, text in entries.items():
        try:
            entry = _ENTRY.validate_json(text)
            nonce, version = _checked(entry, int(chain_id), sender)
            if _key(nonce, version) != key:
                raise ValueError("its key is of another transaction")
        except ValidationError:
            raise LedgerUnreadable(lease, key, "it has an unknown format") from None
        except Exception as problem:  # noqa: BLE001 (untrusted bytes: the libraries raise many types)
            raise LedgerUnreadable(lease, key, str(problem)) from None
        grouped.setdefault(entry.attempt, []).append((nonce, entry, version))
    return [
        HandedOver(some[-1][1].intent, sender, some[-1][0], tuple(version for _, _, version in some))
        for some in grouped.values()
    ]


def _checked(entry: _Entry, chain_id: int, sender: str) -> tuple[int, Version]:
    """Nonce and version of an entry, verified against the signed bytes."""
    raw = bytes.fromhex(entry.raw.removeprefix("0x"))
    signed, signer = read_signed(raw)
    if signer != sender:
        raise ValueError("another account signed it")
    if signed["chainId"] != chain_id or entry.intent.chain_id != chain_id:
        raise ValueError("it is for another chain")
    fees = GasFees(signed["maxFeePerGas"], signed["maxPriorityFeePerGas"])
    if (entry.fees, entry.gas_limit) != (fees, signed["gas"]):
        raise ValueError("its gas differs from the signed transaction")
    does = ("0x" + signed["to"].hex(), "0x" + signed["data"].hex())
    cancels = entry.kind is Kind.CANCELLATION
    if does != ((sender, "0x") if cancels else (entry.intent.to.lower(), entry.intent.data.lower())):
        raise ValueError("its call differs from its intent")
    if entry.beside_gas_wei < 0:
        raise ValueError("its rollup fee is negative")
    transaction_hash = "0x" + keccak(raw).hex()
    version = Version(
        *(0, entry.kind, raw, transaction_hash, signed["gas"], fees, entry.height, 0),
        beside_gas_wei=entry.beside_gas_wei,
    )
    return int(signed["nonce"]), version


def _key(nonce: int | None, version: Version) -> str:
    return f"{nonce}:{version.transaction_hash}"


def _entry(attempt: Attempt, version: Version) -> str:
    entry = _Entry(
        attempt.versions[0].transaction_hash,
        attempt.intent,
        version.kind,
        "0x" + version.raw.hex(),
        version.gas_limit,
        version.fees,
        version.height,
        version.beside_gas_wei,
    )
    return _ENTRY.dump_json(entry).decode()
