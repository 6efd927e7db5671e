"""Installation of Uniswap V3, WETH9, Multicall3 and Permit2 on a local chain, at their mainnet addresses.

Their code is the one that the authors published on npm. Mainnet's deployer account creates factory, SwapRouter and
position manager at mainnet's nonces, so they get their mainnet addresses. The code of SwapRouter02, QuoterV2, WETH9,
Multicall3 and Permit2 is copied to their addresses. Pool addresses follow from CREATE2. Contracts that exist, as on a
fork, do not change.

Two things differ from mainnet: the factory's owner is the deployer account, and the position manager has no descriptor,
so `tokenURI` of a position reverts.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.crypto import keccak

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import MarketMismatch

__all__ = ["PERMIT2_ADDRESS", "WETH_ADDRESS", "Uniswap", "install", "pool_address"]

WETH_ADDRESS = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"

PERMIT2_ADDRESS = "0x000000000022d473030f116ddee9f6b43ac78ba3"
"""Address that the Zap uses. The code caches mainnet's signing domain, and computes that of other chains."""

_DEPLOYER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
_FACTORY = (0, "0x1f98431c8ad98523631ae4a59f267346ea31f984")
_SWAP_ROUTER = (4, "0xe592427a0aece92de3edee1f18e0157c05861564")
_POSITION_MANAGER = (8, "0xc36442b4a4522e871399cd717abdd847ab11fe88")
"""The deployer's nonce, and the resulting address."""

_SWAP_ROUTER_02 = "0x68b3465833fb72a70ecdf485e0e4c7bd8665fc45"
_QUOTER_V2 = "0x61ffe014ba17989e743c5f6cb21bf9697530b21e"
_MULTICALL3 = "0xca11bde05977b3631167028862be2a173976ca11"
_FACTORY_V2 = "0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"  # required by SwapRouter02; Uniswap V2 is not installed
_ZERO = "0x" + "0" * 40

_ONE_BP_TIER = (100, 1)
"""Fee in millionths and tick spacing that mainnet's governance added after deployment."""

_WETH_STORAGE = (b"Wrapped Ether", b"WETH", 18)
"""Name, symbol and decimals, which WETH9's constructor writes to slots 0, 1 and 2."""


@dataclass(frozen=True)
class Uniswap:
    """The installed contracts."""

    factory: BoundContract
    swap_router: BoundContract
    swap_router_02: BoundContract
    position_manager: BoundContract
    quoter: BoundContract
    weth: BoundContract
    multicall3: BoundContract

    def addresses(self) -> dict[str, str]:
        """Published name of each contract → its address."""
        contracts = (
            *(self.factory, self.swap_router, self.swap_router_02, self.position_manager),
            *(self.quoter, self.weth, self.multicall3),
        )
        return {contract.name: contract.address for contract in contracts}


def install(chain: LocalChain) -> Uniswap:
    """Install all contracts that do not exist yet.

    Raises:
        MarketMismatch: a contract's address differs from mainnet's.
    """
    weth = _weth(chain)
    multicall3 = contract_at(chain.rpc, "Multicall3", _MULTICALL3)
    for name, address in (("Multicall3", _MULTICALL3), ("Permit2", PERMIT2_ADDRESS)):
        if not chain.code(address):
            chain.set_code(address, load_artifact(name).runtime_code())

    factory = _create(chain, "UniswapV3Factory", _FACTORY)
    fee_pips, spacing = _ONE_BP_TIER
    if factory.call("feeAmountTickSpacing", fee_pips) == 0:
        with chain.impersonating(_DEPLOYER) as owner:
            chain.transact(factory, "enableFeeAmount", fee_pips, spacing, sender=owner)
    router = _create(chain, "SwapRouter", _SWAP_ROUTER, factory.address, weth.address)
    manager = _create(
        chain,
        "NonfungiblePositionManager",
        _POSITION_MANAGER,
        *(factory.address, weth.address, _ZERO),
    )
    router_02 = _copy(
        chain,
        "SwapRouter02",
        _SWAP_ROUTER_02,
        *(_FACTORY_V2, factory.address, manager.address, weth.address),
    )
    quoter = _copy(chain, "QuoterV2", _QUOTER_V2, factory.address, weth.address)
    return Uniswap(factory, router, router_02, manager, quoter, weth, multicall3)


def pool_address(token_a: str, token_b: str, fee_pips: int) -> str:
    """Address that mainnet's factory gives the pool of two tokens (PoolAddress.computeAddress), lower case."""
    low, high = sorted((int(token_a, 16), int(token_b, 16)))
    salt = keccak(low.to_bytes(32) + high.to_bytes(32) + fee_pips.to_bytes(32))
    init_code_hash = keccak(load_artifact("UniswapV3Pool").creation_code())
    factory = bytes.fromhex(_FACTORY[1].removeprefix("0x"))
    return "0x" + keccak(b"\xff" + factory + salt + init_code_hash)[12:].hex()


def _create(chain: LocalChain, name: str, creation: tuple[int, str], *args: str) -> BoundContract:
    """Create a contract from mainnet's deployer account, at its nonce."""
    nonce, address = creation
    known = contract_at(chain.rpc, name, address)
    if chain.code(address):
        return known
    chain.set_balance(_DEPLOYER, 10**20)
    chain.set_nonce(_DEPLOYER, nonce)
    with chain.impersonating(_DEPLOYER) as deployer:
        made = chain.deploy(name, *args, sender=deployer)
    if made.address != address:
        raise MarketMismatch(f"{name} address", address, made.address)
    return known


def _copy(chain: LocalChain, name: str, address: str, *args: str) -> BoundContract:
    """Deploy a contract at any address, and copy its code with its immutables to `address`."""
    known = contract_at(chain.rpc, name, address)
    if not chain.code(address):
        chain.set_code(address, chain.code(chain.deploy(name, *args).address))
    return known


def _weth(chain: LocalChain) -> BoundContract:
    if not chain.code(WETH_ADDRESS):
        chain.set_code(WETH_ADDRESS, load_artifact("WETH9").runtime_code())
        name, symbol, decimals = _WETH_STORAGE
        chain.set_storage(WETH_ADDRESS, 0, _short_string(name))
        chain.set_storage(WETH_ADDRESS, 1, _short_string(symbol))
        chain.set_storage(WETH_ADDRESS, 2, decimals.to_bytes(32))
    return contract_at(chain.rpc, "WETH9", WETH_ADDRESS)


def _short_string(text: bytes) -> bytes:
    """A string of less than 32 bytes in Solidity's storage format: left-aligned, twice its length in the last byte."""
    return text.ljust(31, b"\0") + bytes([2 * len(text)])
