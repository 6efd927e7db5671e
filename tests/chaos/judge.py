"""What must be true when all is over, whatever was done to a keeper.

At most one rebalance of an epoch is in the chain, and an account whose rebalance was mined was not mined again for that epoch. The
vaults' books are their tokens, and what their events add up to. The outbox says what the chain says: what it has as mined is, what it
gave up is not, no nonce is claimed twice, and whatever the key signed is in it. No key and no part of an endpoint's address was said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.send.attempt import OPEN, Attempt, AttemptState
from rebalancer.send.journal import read_attempts
from rebalancer.send.signer import devnet_signer
from tests.chaos.arena import Arena
from tests.chaos.proxy import SECRETS
from tests.chaos.running import Keeper

__all__ = ["violations"]

_BATCH = 200
_WORD_DIGITS = 64
_DONE = (AttemptState.MINED, AttemptState.FINAL, AttemptState.CANCELLED)

_Json = Mapping[str, Any]


def violations(arena: Arena) -> list[str]:
    """What is not as it must be, once all is settled; nothing if all is well."""
    events = rebalances(arena)
    found = [*rebalanced_twice(events), *wrong_books(arena, events), *_wrong_nonces(arena)]
    for keeper in arena.keepers:
        found += _wrong_outbox(arena, keeper)
    sent = _transactions(arena)
    if not arena.rivals:
        found += _sent_twice(sent)
    return [*found, *_unknown(arena, sent), *_leaks(arena)]


# The vaults


def rebalances(arena: Arena) -> list[tuple[str, _Json]]:
    """The vault and the values of every `Rebalanced` event since the beginning."""
    known = interface("BasketVault")
    logs = arena.rpc.call(
        "eth_getLogs",
        {
            "address": list(arena.vaults),
            "fromBlock": hex(arena.first_block + 1),
            "toBlock": "latest",
        },
    )
    decoded = [(log["address"], known.decode_log(log)) for log in logs]
    return [(vault, event.values) for vault, event in decoded if event and event.name == "Rebalanced"]


def rebalanced_twice(events: Sequence[tuple[str, _Json]]) -> list[str]:
    """Epochs of vaults of which the chain holds more than one rebalance."""
    counts = Counter((vault, event["epoch"]) for vault, event in events)
    return [
        f"epoch {epoch} of {vault} was rebalanced {times} times"
        for (vault, epoch), times in sorted(counts.items())
        if times > 1
    ]


def wrong_books(arena: Arena, events: Sequence[tuple[str, _Json]]) -> list[str]:
    """Vaults whose book is not what they own, or not what their events add up to."""
    found = []
    for vault in arena.snapshots():
        held = vault.basket.held
        owned = tuple(
            contract_at(arena.rpc, "IERC20Metadata", asset.token).call("balanceOf", vault.address)
            for asset in vault.basket.assets
        )
        changes = [event["changes"] for address, event in events if address == vault.address]
        first = arena.first_held[vault.address]
        reported = tuple(raw + sum(each[i] for each in changes) for i, raw in enumerate(first))
        if owned != held:
            found.append(f"the book of {vault.address} says {held} and it owns {owned}")
        if reported != held:
            found.append(f"the book of {vault.address} says {held} and its events {reported}")
    return found


# The outboxes


def _journals(arena: Arena) -> list[list[Attempt]]:
    """What each outbox holds; one that cannot be read fails."""
    files = {keeper.outbox for keeper in arena.keepers if keeper.outbox.exists()}
    return [read_attempts(file, arena.ground.deployment.chain_id) for file in sorted(files)]


def _wrong_nonces(arena: Arena) -> list[str]:
    """Nonces of which more than one attempt says that it is mined."""
    found = []
    for attempts in _journals(arena):
        claims = Counter((one.sender, one.nonce) for one in attempts if one.mined_hash is not None)
        found += [
            f"nonce {nonce} of {sender} is claimed {times} times"
            for (sender, nonce), times in claims.items()
            if times > 1
        ]
    return found


def _wrong_outbox(arena: Arena, keeper: Keeper) -> list[str]:
    """Attempts that are not what the chain says."""
    attempts = keeper.attempts
    claimed = {one.mined_hash for one in attempts if one.state in _DONE}
    found = []
    for attempt in attempts:
        name = f"attempt {attempt.id} at epoch {attempt.intent.epoch} ({attempt.state})"
        receipts = [
            arena.rpc.call("eth_getTransactionReceipt", version.transaction_hash) for version in attempt.versions
        ]
        mined = {each["transactionHash"]: each for each in receipts if each is not None}
        at = mined.get(str(attempt.mined_hash))
        if attempt.state in OPEN:
            found.append(f"{name} is not settled")
        elif attempt.state in _DONE:
            if at is None or at["blockHash"] != attempt.block_hash:
                found.append(f"{name}: no block holds {attempt.mined_hash} where it says")
            elif int(at["status"], 16) != 1:
                found.append(f"{name}: {attempt.mined_hash} was refused by the vault")
        elif any(int(one["status"], 16) == 1 and tx not in claimed for tx, one in mined.items()):
            # Another attempt may claim it: two may be signed to the same bytes.
            found.append(f"{name}: a block holds it all the same")
    return found


# What the keepers' accounts sent


def _transactions(arena: Arena) -> list[_Json]:
    """All transactions of keepers' accounts since the beginning, in the chain's order, each with its `status`."""
    accounts = {devnet_signer(one).address for keeper in arena.keepers for one in keeper.accounts}
    numbers = range(arena.first_block + 1, arena.height() + 1)
    blocks: list[Any] = []
    for first in range(0, len(numbers), _BATCH):
        chunk = numbers[first : first + _BATCH]
        blocks += arena.rpc.batch([("eth_getBlockByNumber", (hex(n), True)) for n in chunk])
    sent = [tx for block in blocks for tx in block["transactions"] if tx["from"] in accounts]
    return [tx | {"status": arena.rpc.call("eth_getTransactionReceipt", tx["hash"])["status"]} for tx in sent]


def _sent_twice(sent: Sequence[_Json]) -> list[str]:
    """Epochs at which an account was mined again although it had been mined."""
    selector = "0x" + interface("BasketVault").functions["rebalance"].selector.hex()
    done: set[tuple[str, str, int]] = set()
    found = []
    for tx in sent:
        if not tx["input"].startswith(selector):
            continue
        epoch = int(tx["input"][len(selector) :][:_WORD_DIGITS], 16)
        key = tx["from"], tx["to"], epoch
        if key in done:
            found.append(f"{tx['from']} was mined again at epoch {epoch} of {tx['to']}")
        if int(tx["status"], 16) == 1:
            done.add(key)
    return found


def _unknown(arena: Arena, sent: Sequence[_Json]) -> list[str]:
    """Transactions of keepers that are in no outbox."""
    known = {v.transaction_hash for of in _journals(arena) for one in of for v in one.versions}
    return [
        f"{tx['hash']} of {tx['from']} at nonce {int(tx['nonce'], 16)} is in no outbox"
        for tx in sent
        if tx["hash"] not in known | arena.foreign
    ]


# What they said


def _leaks(arena: Arena) -> list[str]:
    """Keys and parts of the endpoint's address that were said or written."""
    secrets = {*SECRETS}
    for account in {one for keeper in arena.keepers for one in keeper.accounts}:
        secrets.add(devnet_signer(account)._account.key.hex().removeprefix("0x"))
    found = []
    for number, keeper in enumerate(arena.keepers):
        text = "\n".join(keeper.message)
        files = [path for path in keeper.folder.glob("outbox*") if path.is_file()]
        written = b"".join(path.read_bytes() for path in files)
        found += [f"keeper {number} said {one}" for one in sorted(secrets) if one in text]
        found += [f"keeper {number} wrote {one}" for one in sorted(secrets) if one.encode() in written]
    return found
