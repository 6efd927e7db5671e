"""The zap paid by signature: permits of tokens and shares, and Permit2 as it is published, signed with eth-account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.receipt import Receipt
from rebalancer.devnet.local import LocalAccount
from rebalancer.devnet.uniswap import PERMIT2_ADDRESS
from rebalancer.errors import ContractReverted
from rebalancer.wellknown import DEVNET_CHAIN_ID
from tests.contract.test_vault_zap import (
    LATER,
    PAID_USDC,
    ZapIn,
    ZapOut,
    assert_nothing_left_behind,
    usdc_in,
    usdc_out,
)
from tests.contract.world import INITIAL_SHARES, World, refused

__all__ = ["usdc_in", "usdc_out"]  # fixtures

# Nobody's account on any chain: it signs, and the node sends for it.
SIGNER_KEY = "0x" + "5e" * 32

_DOMAIN = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


@pytest.fixture
def signer(world: World) -> Iterator[LocalAccount]:
    """Whose key the test has."""
    address: str = Account.from_key(SIGNER_KEY).address.lower()
    world.chain.set_balance(address, 10**20)
    with world.chain.impersonating(address) as sender:
        yield world.chain.account(sender)


@pytest.fixture
def deposit(world: World, signer: LocalAccount, usdc_in: ZapIn) -> ZapIn:
    """The signer's 100,000 USDC, approved for nobody."""
    world.give(signer, [0, 0, PAID_USDC])
    return replace(usdc_in, receiver=signer.address)


def _signature(domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any]) -> Any:
    full = {
        "primaryType": next(iter(types)),
        "types": types | {"EIP712Domain": [f for f in _DOMAIN if f["name"] in domain]},
        "domain": domain,
        "message": message,
    }
    return Account.from_key(SIGNER_KEY).sign_message(encode_typed_data(full_message=full))


def permit(world: World, token: BoundContract, signer: LocalAccount, value: int) -> tuple[int, int, bytes, bytes]:
    """Zap.Permit of so much of a token for the zap."""
    names = ("name", "version") if token is world.usdc else ()
    domain = {name: world.read(token, name) for name in names}
    if not names:
        _, domain["name"], domain["version"], *_ = world.read(token, "eip712Domain")
    domain |= {"chainId": DEVNET_CHAIN_ID, "verifyingContract": token.address}
    fields = ("owner", "spender", "value", "nonce", "deadline")
    types = {"Permit": [{"name": f, "type": "address" if f in ("owner", "spender") else "uint256"} for f in fields]}
    nonce = world.read(token, "nonces", signer.address)
    numbers = (signer.address, world.zap.address, value, nonce, LATER)
    signed = _signature(domain, types, dict(zip(fields, numbers, strict=True)))
    return LATER, signed.v, signed.r.to_bytes(32), signed.s.to_bytes(32)


def permit2(world: World, token: BoundContract, amount: int, nonce: int) -> tuple[int, int, bytes]:
    """Zap.Transfer of so much of a token, signed for Permit2."""
    domain = {
        "name": "Permit2",
        "chainId": DEVNET_CHAIN_ID,
        "verifyingContract": PERMIT2_ADDRESS,
    }
    types = {
        "PermitTransferFrom": [
            {"name": "permitted", "type": "TokenPermissions"},
            {"name": "spender", "type": "address"},
            {"name": "nonce", "type": "uint256"},
            {"name": "deadline", "type": "uint256"},
        ],
        "TokenPermissions": [
            {"name": "token", "type": "address"},
            {"name": "amount", "type": "uint256"},
        ],
    }
    message = {
        "permitted": {"token": token.address, "amount": amount},
        "spender": world.zap.address,
        "nonce": nonce,
        "deadline": LATER,
    }
    signed = _signature(domain, types, message)
    return nonce, LATER, bytes(signed.signature)


def send(sender: LocalAccount, zap: BoundContract, function: str, order: ZapIn | ZapOut, by: Any) -> Receipt:
    return sender.transact(zap, function, tuple(asdict(order).values()), by)


# ERC-2612


def test_zap_in_with_a_permit_needs_no_approval_before(
    world: World, vault: BoundContract, signer: LocalAccount, deposit: ZapIn
) -> None:
    by = permit(world, world.usdc, signer, PAID_USDC)
    with refused("ERC20InsufficientAllowance", spender=world.zap.address, allowance=0, needed=PAID_USDC):
        world.give(world.bob, [0, 0, PAID_USDC])
        send(world.bob, world.zap, "zapInWithPermit", deposit, by)

    send(signer, world.zap, "zapInWithPermit", deposit, by)

    assert world.balance(vault, signer) > 0
    assert world.read(world.usdc, "allowance", signer.address, world.zap.address) == 0
    assert_nothing_left_behind(world, vault)


def test_zap_in_with_a_permit_that_somebody_sent_first_goes_through(
    world: World, vault: BoundContract, signer: LocalAccount, deposit: ZapIn
) -> None:
    by = permit(world, world.usdc, signer, PAID_USDC)
    world.stranger.transact(world.usdc, "permit", signer.address, world.zap.address, PAID_USDC, *by)

    send(signer, world.zap, "zapInWithPermit", deposit, by)

    assert world.balance(vault, signer) > 0


def test_zap_in_with_a_permit_of_weth_which_accepts_any_call_takes_nothing(
    world: World, signer: LocalAccount, deposit: ZapIn
) -> None:
    world.give(signer, [10**18, 0, 0])
    order = replace(deposit, token_in=world.weth.address, amount_in=10**18, swap_amount=0)
    with pytest.raises(ContractReverted):
        send(signer, world.zap, "zapInWithPermit", order, (LATER, 27, bytes(32), bytes(32)))
    assert world.balance(world.weth, signer) == 10**18


def test_zap_out_with_a_permit_needs_no_approval_before(
    world: World, vault: BoundContract, signer: LocalAccount, usdc_out: ZapOut
) -> None:
    shares = INITIAL_SHARES // 10
    world.admin.transact(vault, "approve", world.zap.address, 0)
    world.admin.transact(vault, "transfer", signer.address, shares)
    by = permit(world, vault, signer, shares)

    send(signer, world.zap, "zapOutWithPermit", replace(usdc_out, receiver=signer.address), by)

    assert world.balance(vault, signer) == 0
    # A tenth of a million dollars, less what the pools take.
    assert 99_000 * 10**6 < world.balance(world.usdc, signer) < 100_000 * 10**6
    assert_nothing_left_behind(world, vault)


# Permit2


def test_zap_in_with_permit2_takes_what_was_signed_once(
    world: World, vault: BoundContract, signer: LocalAccount, deposit: ZapIn
) -> None:
    signer.transact(world.usdc, "approve", PERMIT2_ADDRESS, (1 << 256) - 1)
    by = permit2(world, world.usdc, PAID_USDC, 256 + 3)
    with pytest.raises(ContractReverted):  # InvalidSigner
        send(world.bob, world.zap, "zapInWithPermit2", deposit, by)
    assert world.balance(world.usdc, signer) == PAID_USDC

    send(signer, world.zap, "zapInWithPermit2", deposit, by)

    assert world.balance(vault, signer) > 0
    at = contract_at(world.chain.rpc, "Permit2", PERMIT2_ADDRESS)
    assert world.read(at, "nonceBitmap", signer.address, 1) == 1 << 3
    assert_nothing_left_behind(world, vault)
    world.give(signer, [0, 0, PAID_USDC])
    before = world.balance(world.usdc, signer)
    with pytest.raises(ContractReverted):  # InvalidNonce
        send(signer, world.zap, "zapInWithPermit2", deposit, by)
    assert world.balance(world.usdc, signer) == before


def test_permit2_signs_for_the_chain_it_is_on(world: World) -> None:
    at = contract_at(world.chain.rpc, "Permit2", PERMIT2_ADDRESS)
    message = encode_typed_data(
        {"name": "Permit2", "chainId": DEVNET_CHAIN_ID, "verifyingContract": PERMIT2_ADDRESS},
        {"Nothing": [{"name": "at_all", "type": "uint256"}]},
        {"at_all": 0},
    )
    assert bytes(world.read(at, "DOMAIN_SEPARATOR")) == message.header
