"""Contracts at addresses that are known before: CREATE2 by the deterministic-deployment factory that many chains have.

The factory's address follows from a transaction that nobody's key signed (github.com/Arachnid/deterministic-deployment-proxy). It
creates what it is given after a salt of 32 bytes. An address so follows from salt and creation code, arguments included, and from nothing
else: whoever sends it, and on whatever chain, what is there is exactly that code. What is there already cannot be created again.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc

__all__ = [
    "FACTORY",
    "PRESIGNED",
    "PRESIGNED_COST_WEI",
    "PRESIGNER",
    "address_of",
    "has_factory",
    "request",
]

FACTORY = "0x4e59b44847b379578588920ca78fbf26c0b4956c"

_FACTORY_CODE = (
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)

PRESIGNER = "0x3fab184622dc19b6109349b94811493bf2a45362"
"""The sender that follows from the signature of the factory's transaction; nobody has its key."""

PRESIGNED_COST_WEI = 100_000 * 100 * 10**9
"""What the presigner must have: 100,000 gas at 100 gwei, as it signed."""

PRESIGNED = (
    "0xf8a58085174876e800830186a08080b853"  # nonce 0, price and limit of gas, to nobody, no value
    "604580600e600039806000f350fe" + _FACTORY_CODE + "1ba0" + "22" * 32 + "a0" + "22" * 32
)
"""The transaction that creates the factory, on any chain that takes transactions without a chain id."""


def address_of(salt: int, code: bytes) -> str:
    """Where the factory puts what it creates from a salt and creation code with its arguments (EIP-1014); lower case."""
    place = bytes.fromhex(FACTORY[2:])
    return "0x" + keccak(b"\xff" + place + salt.to_bytes(32) + keccak(code))[12:].hex()


def request(salt: int, code: bytes) -> str:
    """The factory's call data to create it, as hex."""
    return "0x" + (salt.to_bytes(32) + code).hex()


def has_factory(rpc: Rpc) -> bool:
    """Whether the factory is on the chain, to the byte."""
    return bool(rpc.call("eth_getCode", FACTORY, "latest") == "0x" + _FACTORY_CODE)
