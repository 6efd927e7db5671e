"""What may be under way for an account, whichever machine signed it?

The fence of the outbox (`rebalancer.send.fence`) in a fleet. Machines have journals of their own; before a version is sent for the first
time it is put into the account's ledger, under the fencing token of the account's lease. So

- who lost the lease sends nothing new: the ledger refuses its token, at the very moment another's is newer;
- who takes the lease finds everything that may have been sent, and adopts it before it does anything else.

An entry is removed when its attempt is final; what it cost stays for a day, so that what an account may spend in a day is not more for
changing hands. Transactions are not believed: hash, sender and nonce must be those of the bytes, which the account signed. What was spent is
signed by nobody: whoever writes to Redis can add to it, so that the account waits, or remove it, so that the day's limit holds for each
machine's own journal alone; it can lower nothing that a machine has counted itself.

When Redis loses the ledger, nobody knows any more what another machine sent. Then what holds is what always does: an account's nonce is
mined once, and a vault refuses an epoch that is over. A machine whose account has transactions pending that it does not know refuses
to start (`ForeignPending`); one that cannot see them takes the same nonce, and one of the two is mined.
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
    """One signed version. `attempt` is the hash of its attempt's first version; addresses are lower case, bytes 0x and hexadecimal."""

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
    """The ledgers of the accounts that this machine holds leases for."""

    leases: Mapping[str, Lease] = field(default_factory=dict)
    """By `lease_name`."""
    _spent: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """When (unix seconds) and how much (wei) each account paid for transactions that this machine's journal does not have."""

    # The outbox's fence

    def check(self, chain_id: int, sender: str) -> None:
        """As `Fence` has it: by this machine's own clock.

        Raises:
            LeaseLost: the account's lease is not held, or not any more.
        """
        self._lease(chain_id, sender).check()

    def store(self, attempt: Attempt) -> None:
        """As `Fence` has it. All its versions are put, so that a ledger that was lost fills again.

        Raises:
            LeaseLost, TokenStale: another machine may send by now; what was not in the ledger must not be sent.
            SharedStateUnreachable: nobody can tell.
        """
        lease = self._lease(attempt.intent.chain_id, attempt.sender)
        entries = {_key(attempt.nonce, v): _entry(attempt, v) for v in attempt.versions}
        lease.state.put(lease.name, lease.token, entries)
        lease.check()

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """As `Fence` has it.

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
            if name in self.leases:  # what is not this machine's is its holder's to remove
                lease = self.leases[name]
                if name in spent:
                    lease.state.put(name, lease.token, spent[name])
                lease.state.drop(name, lease.token, some)

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:
        """As `Fence` has it: by what was known when the lease was taken, since when nobody else has spent."""
        since = now - _DAY_SECONDS
        known = self._spent.get(lease_name(chain_id, sender), ())
        return sum(wei for at, wei in known if at > since)

    # Taking over

    def adopt_into(self, journal: Journal) -> list[Attempt]:
        """Journal all that the ledgers have; what that changed. To be done once the leases are held, before anything else.

        Raises:
            LedgerUnreadable: an entry is not one of this program's, or lies.
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
        """Keep what others paid within a day, and remove what is older."""
        chain_id, _, sender = lease.name.partition(":")
        mine = journal.known_nonces(int(chain_id), sender, 0)
        since = int(time.time()) - _DAY_SECONDS
        found, old = [], []
        for key, text in spent.items():
            try:
                nonce = int(key.removeprefix(_SPENT))
                at, wei = (int(part) for part in text.split())
            except ValueError:
                raise LedgerUnreadable(lease.name, key, "it has another shape") from None
            if min(nonce, at, wei) < 0:
                raise LedgerUnreadable(lease.name, key, "it is below 0") from None
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
    """A journal's attempts at the nonces of what was handed over."""
    nonces = {(one.intent.chain_id, one.sender, one.nonce) for one in handed}
    key = "chain_id = ? AND sender = ? AND nonce = ?"
    return [attempt for nonce in nonces for attempt in journal.select(key, *nonce)]


def _handed_over(lease: str, entries: Mapping[str, str]) -> list[HandedOver]:
    """A ledger's entries, as attempts, the oldest first."""
    grouped: dict[str, list[tuple[int, _Entry, Version]]] = {}
    chain_id, _, sender = lease.partition(":")
    for key, text in entries.items():
        try:
            entry = _ENTRY.validate_json(text)
            nonce, version = _checked(entry, int(chain_id), sender)
            if _key(nonce, version) != key:
                raise ValueError("it is another transaction's")
        except ValidationError:
            raise LedgerUnreadable(lease, key, "it has another shape") from None
        except Exception as problem:  # noqa: BLE001 (bytes from outside: three libraries' decoders raise what they like)
            raise LedgerUnreadable(lease, key, str(problem)) from None
        grouped.setdefault(entry.attempt, []).append((nonce, entry, version))
    return [
        HandedOver(some[-1][1].intent, sender, some[-1][0], tuple(version for _, _, version in some))
        for some in grouped.values()
    ]


def _checked(entry: _Entry, chain_id: int, sender: str) -> tuple[int, Version]:
    """Nonce and version of an entry, from the bytes that were signed."""
    raw = bytes.fromhex(entry.raw.removeprefix("0x"))
    signed, signer = read_signed(raw)
    if signer != sender:
        raise ValueError("another account signed it")
    if signed["chainId"] != chain_id or entry.intent.chain_id != chain_id:
        raise ValueError("it is of another chain")
    fees = GasFees(signed["maxFeePerGas"], signed["maxPriorityFeePerGas"])
    if (entry.fees, entry.gas_limit) != (fees, signed["gas"]):
        raise ValueError("its gas is not what was signed")
    does = ("0x" + signed["to"].hex(), "0x" + signed["data"].hex())
    cancels = entry.kind is Kind.CANCELLATION
    if does != ((sender, "0x") if cancels else (entry.intent.to.lower(), entry.intent.data.lower())):
        raise ValueError("it does not do what was meant")
    if entry.beside_gas_wei < 0:
        raise ValueError("it costs less than its gas")
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
