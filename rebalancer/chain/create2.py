"""Contracts at predictable addresses: CREATE2 through the deterministic-deployment factory that many chains have.

The factory's address follows from a transaction without a known key
(github.com/Arachnid/deterministic-deployment-proxy). The call data is a salt of 32 bytes and creation code. The address
of the new contract depends only on salt and creation code, including arguments: the same code has the same address on
every chain, whichever account sends it. An existing contract cannot be created again.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc

__all__ = ["FACTORY", "PRESIGNED", "PRESIGNED_COST_WEI", "PRESIGNER", "address_of", "has_factory", "request"]

FACTORY = "0x4e59b44847b379578588920ca78fbf26c0b4956c"

_FACTORY_CODE = (
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)

PRESIGNER = "0x3fab184622dc19b6109349b94811493bf2a45362"
"""The sender that is recovered from the signature of the factory's transaction; its key is unknown."""

PRESIGNED_COST_WEI = 100_000 * 100 * 10**9
"""Ether that the presigner needs: 100,000 gas at 100 gwei, as signed."""

PRESIGNED = (
    "0xf8a58085174876e800830186a08080b853"  # nonce 0, gas price, gas limit, no recipient, no value
    "604580600e600039806000f350fe" + _FACTORY_CODE + "1ba0" + "22" * 32 + "a0" + "22" * 32
)
"""The transaction that creates the factory, valid on any chain that accepts transactions without a chain id."""


def address_of(salt: int, code: bytes) -> str:
    """Address of the contract that the factory creates from a salt and creation code with arguments (EIP-1014), in
    lower case."""
    factory = bytes.fromhex(FACTORY[2:])
    return "0x" + keccak(b"\xff" + factory + salt.to_bytes(32) + keccak(code))[12:].hex()


def request(salt: int, code: bytes) -> str:
    """The factory's call data for this contract, as hex."""
    return "0x" + (salt.to_bytes(32) + code).hex()


def has_factory(rpc: Rpc) -> bool:
    """Whether the chain has the factory, with exactly the expected code."""
    return bool(rpc.call("eth_getCode", FACTORY, "latest") == "0x" + _FACTORY_CODE)
