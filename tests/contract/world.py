"""The people of the contract suite, what they send, and how a refusal is checked to the last number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rebalancer.chain.abi import Contract, interface
from rebalancer.chain.receipt import Receipt
from rebalancer.deploy import System
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted

__all__ = ["Wallet", "World", "as_list", "refused"]


@dataclass(frozen=True)
class Wallet:
    """One of the node's accounts: a `deploy.Transactor`."""

    chain: LocalChain
    address: str

    def transact(
        self, contract: Contract, function: str, *args: Any, value_wei: int = 0
    ) -> Receipt:
        """Call a function in a transaction and wait for its receipt."""
        return self.chain.transact(
            contract, function, *args, sender=self.address, value_wei=value_wei
        )

    def deploy(self, name: str, *args: Any) -> Contract:
        """Deploy a packaged contract."""
        return self.chain.deploy(name, *args, sender=self.address)


@dataclass(frozen=True)
class World:
    """A chain with the system on it, and its people by role; roles act at once unless a test says otherwise."""

    chain: LocalChain
    system: System
    weth: Contract
    admin: Wallet
    owner: Wallet
    curator: Wallet
    guardian: Wallet
    keeper: Wallet
    alice: Wallet
    bob: Wallet
    treasury: Wallet
    stranger: Wallet

    @property
    def factory(self) -> Contract:
        """The VaultFactory."""
        return interface("VaultFactory").at(self.system.factory)

    @property
    def oracle(self) -> Contract:
        """The OracleHub."""
        return interface("OracleHub").at(self.system.oracle)

    @property
    def authority(self) -> Contract:
        """The AccessManager."""
        return interface("AccessManager").at(self.system.authority)

    @property
    def zap(self) -> Contract:
        """The Zap."""
        return interface("Zap").at(self.system.zap)

    def read(self, contract: Contract, function: str, *args: Any) -> Any:
        """Call a view at the latest block."""
        return contract.call(self.chain.rpc, function, *args)

    def balance(self, token: Contract | str, holder: Wallet | Contract | str) -> int:
        """A holder's balance of a token, raw."""
        if isinstance(token, str):
            token = interface("MockToken").at(token)
        address = holder if isinstance(holder, str) else holder.address
        return int(self.read(token, "balanceOf", address))


@contextmanager
def refused(error: str, **numbers: object) -> Iterator[None]:
    """The block must be refused by a contract with exactly this error and these numbers, by their names in the ABI."""
    with pytest.raises(ContractReverted) as caught:
        yield
    assert (caught.value.error, as_list(caught.value.values)) == (error, numbers)


def as_list(value: Any) -> Any:
    """The same with every tuple a list, as ABI decoding and Python differ in which they use."""
    if isinstance(value, tuple | list):
        return [as_list(part) for part in value]
    if isinstance(value, dict):
        return {key: as_list(part) for key, part in value.items()}
    return value
