"""Authority to rebalance: the vaults that the sender accounts may rebalance now, and those that they may rebalance
later."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role
from rebalancer.errors import KeeperNotAuthorized, RpcRejected, UnknownVault
from rebalancer.keeper.context import KeeperContext
from rebalancer.send.signed import Signer

__all__ = ["Authority"]

log = structlog.get_logger("rebalancer.keeper")

_BATCH = 500
"""Most calls in one request."""
_PAGE = 50
"""Most vaults in one call of the lens."""


class Authority:
    """Permissions of the sender accounts of one keeper, read once at its start. Not thread-safe."""

    def __init__(self, rpc: Rpc, context: KeeperContext, signers: Sequence[Signer]) -> None:
        self._rpc = rpc
        self._context = context
        self._signers = signers
        self._open_later: set[str] = set()

    def check(self, *, sends: bool) -> list[KeeperNotAuthorized]:
        """Check that every address is a vault. If the keeper `sends`, return a refusal for each vault and account
        without permission, except for vaults that open execution to anyone after a time.

        Raises:
            UnknownVault: an address is not a vault.
            ChainError: the chain could not be read.
        """
        refused = self._unauthorized(sends=sends)
        self._find_open(sorted({refusal.vault for refusal in refused}))
        return [refusal for refusal in refused if refusal.vault not in self._open_later]

    def must_wait(self, snapshot: VaultSnapshot, block: Block) -> bool:
        """Whether only the vault's own keepers may rebalance it at a block, and this keeper is not one of them."""
        opens_at = snapshot.opens_at
        return snapshot.address in self._open_later and (not opens_at or block.timestamp < opens_at)

    def _find_open(self, vaults: Sequence[str]) -> None:
        """Remember the vaults that open execution to anyone after a time."""
        if not vaults:
            return
        block = read_block(self._rpc)
        for at in range(0, len(vaults), _PAGE):
            page = vaults[at : at + _PAGE]
            for snapshot in read_vaults(self._rpc, self._context.system.lens, page, block):
                if snapshot.policy.open_after_seconds:
                    log.info("waits_for_open_execution", vault=snapshot.address)
                    self._open_later.add(snapshot.address)

    def _unauthorized(self, *, sends: bool) -> list[KeeperNotAuthorized]:
        found, managers = [], interface("AccessManager")
        vault_calls = interface("BasketVault")
        selector = vault_calls.functions["rebalance"].selector
        for at in range(0, len(self._context.vaults), _BATCH):
            vaults = self._context.vaults[at : at + _BATCH]
            answers = self._rpc.batch_settled([vault_calls.at(vault).request("authority") for vault in vaults])
            for vault, answer in zip(vaults, answers, strict=True):
                if isinstance(answer, RpcRejected) or answer == "0x":
                    raise UnknownVault(vault)
            if not sends:
                continue
            authorities = [vault_calls.functions["authority"].decode(one) for one in answers]
            pairs = [
                (vault, authority, signer.address)
                for vault, authority in zip(vaults, authorities, strict=True)
                for signer in self._signers
            ]
            for first in range(0, len(pairs), _BATCH):
                some = pairs[first : first + _BATCH]
                allowed = self._rpc.batch(
                    [
                        managers.at(authority).request("canCall", account, vault, selector)
                        for vault, authority, account in some
                    ]
                )
                for (vault, _, account), answer in zip(some, allowed, strict=True):
                    immediate, _ = managers.functions["canCall"].decode(answer)
                    if not immediate:
                        found.append(KeeperNotAuthorized(account, vault, Role.KEEPER.name))
        return found
