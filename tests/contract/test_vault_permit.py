"""Allowances signed off chain (ERC-2612), checked with eth-account against each clone's own domain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalAccount
from rebalancer.errors import ContractReverted
from rebalancer.units import E18
from tests.contract.world import World, basket_spec, refused

# Nobody's account on any chain: it only signs.
SIGNER_KEY = "0x" + "5e" * 32
SIGNER: str = Account.from_key(SIGNER_KEY).address.lower()
STRANGER_KEY = "0x" + "5f" * 32
STRANGER: str = Account.from_key(STRANGER_KEY).address.lower()

VALUE = 1_000 * E18


def signed(
    world: World,
    vault: BoundContract,
    spender: str,
    deadline: int,
    key: str = SIGNER_KEY,
    nonce: int = 0,
) -> tuple[int, bytes, bytes]:
    """The signature of a permit over `VALUE`: v, r, s."""
    _, name, version, chain_id, verifying, _, _ = world.read(vault, "eip712Domain")
    message: dict[str, Any] = {
        "primaryType": "Permit",
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "domain": {
            "name": name,
            "version": version,
            "chainId": chain_id,
            "verifyingContract": verifying,
        },
        "message": {
            "owner": SIGNER,
            "spender": spender,
            "value": VALUE,
            "nonce": nonce,
            "deadline": deadline,
        },
    }
    signature = Account.from_key(key).sign_message(encode_typed_data(full_message=message))
    return signature.v, signature.r.to_bytes(32), signature.s.to_bytes(32)


@pytest.fixture
def signers_vault(world: World, vault: BoundContract) -> BoundContract:
    """The vault, with `VALUE` of its shares the signer's."""
    world.admin.transact(vault, "transfer", SIGNER, VALUE)
    return vault


def permit(
    sender: LocalAccount,
    vault: BoundContract,
    spender: str,
    deadline: int,
    signature: tuple[int, bytes, bytes],
) -> None:
    sender.transact(vault, "permit", SIGNER, spender, VALUE, deadline, *signature)


def test_domain_names_the_clone_itself(world: World, signers_vault: BoundContract) -> None:
    fields, name, version, chain_id, verifying, _, _ = world.read(signers_vault, "eip712Domain")

    assert (fields, name, version) == (b"\x0f", "Rebalancer", "1")
    assert (chain_id, verifying) == (31337, signers_vault.address)


def test_permit_lets_the_spender_redeem_without_the_owners_transaction(
    world: World, signers_vault: BoundContract
) -> None:
    bob, deadline = world.bob.address, world.chain.now() + 1_000
    permit(world.stranger, signers_vault, bob, deadline, signed(world, signers_vault, bob, deadline))
    assert world.read(signers_vault, "allowance", SIGNER, bob) == VALUE
    assert world.read(signers_vault, "nonces", SIGNER) == 1

    world.bob.transact(signers_vault, "redeemInKind", VALUE, bob, SIGNER, [0, 0, 0])

    assert world.read(signers_vault, "balanceOf", SIGNER) == 0
    assert world.read(signers_vault, "allowance", SIGNER, bob) == 0
    assert min(world.balances(world.bob)) > 0


def test_permit_is_refused_late_twice_or_of_another_hand(world: World, signers_vault: BoundContract) -> None:
    bob, deadline = world.bob.address, world.chain.now() + 1_000
    theirs = signed(world, signers_vault, bob, deadline, key=STRANGER_KEY)
    with refused("ERC2612InvalidSigner", signer=STRANGER, owner=SIGNER):
        permit(world.bob, signers_vault, bob, deadline, theirs)
    past = world.chain.now() - 1
    with refused("ERC2612ExpiredSignature", deadline=past):
        permit(world.bob, signers_vault, bob, past, signed(world, signers_vault, bob, past))

    once = signed(world, signers_vault, bob, deadline)
    permit(world.bob, signers_vault, bob, deadline, once)
    # The nonce moved on, so the same bytes now recover to somebody else.
    with pytest.raises(ContractReverted, match="ERC2612InvalidSigner"):
        permit(world.bob, signers_vault, bob, deadline, once)
    assert world.read(signers_vault, "nonces", SIGNER) == 1


def test_permit_for_one_vault_is_worth_nothing_at_another(world: World, signers_vault: BoundContract) -> None:
    other = world.open_vault(replace(basket_spec(world), salt=1))
    bob, deadline = world.bob.address, world.chain.now() + 1_000

    with pytest.raises(ContractReverted, match="ERC2612InvalidSigner"):
        permit(world.bob, other, bob, deadline, signed(world, signers_vault, bob, deadline))
    assert world.read(other, "allowance", SIGNER, bob) == 0
