"""What pools of outside protocols are asked, and the events by which they move: signatures alone, no code.

The contracts themselves are not shipped: of most no code is published under a licence for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rebalancer.chain.abi import Interface

__all__ = ["BALANCER_POOL", "BALANCER_VAULT", "CURVE", "MANAGER", "PAIR", "TOKEN", "V3_POOL"]

_FUNCTION = re.compile(r"(\w+)\((.*?)\) -> (.*)")
_EVENT = re.compile(r"event (\w+)\((.*)\)")


def _entry(line: str) -> Mapping[str, Any]:
    """`name(types) -> types` or `event name(type [indexed] name, …)` as JSON ABI; tuples are spelt out by their types."""
    event = _EVENT.fullmatch(line)
    if event:
        inputs = [part.split() for part in event[2].split(", ")]
        return {
            "type": "event",
            "name": event[1],
            "inputs": [{"type": p[0], "name": p[-1], "indexed": "indexed" in p} for p in inputs],
        }
    function = _FUNCTION.fullmatch(line)
    if function is None:
        raise ValueError(f"{line!r} is neither a function nor an event")
    return {
        "type": "function",
        "name": function[1],
        "inputs": _parameters(function[2]),
        "outputs": _parameters(function[3]),
    }


def _parameters(types: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in types.split(",") if kind]


def _interface(name: str, lines: Iterable[str]) -> Interface:
    return Interface.of(name, [_entry(line) for line in lines])


TOKEN = _interface("ERC-20", ("symbol() -> string", "decimals() -> uint8"))

PAIR = _interface(
    "Uniswap V2 pair",
    (
        "token0() -> address",
        "token1() -> address",
        "getReserves() -> uint112,uint112,uint32",
        "event Sync(uint112 reserve0, uint112 reserve1)",
    ),
)

V3_POOL = _interface(
    "Uniswap V3 pool",
    (
        "slot0() -> uint160,int24,uint16,uint16,uint16,uint8,bool",
        "event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick)",
        "event Mint(address sender, address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
        "event Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
    ),
)

MANAGER = _interface(
    "Uniswap V4 PoolManager",
    (
        "extsload(bytes32[]) -> bytes32[]",
        "event Initialize(bytes32 indexed id, address indexed currency0, address indexed currency1, uint24 fee, int24 tickSpacing, address hooks, uint160 sqrtPriceX96, int24 tick)",
        "event Swap(bytes32 indexed id, address indexed sender, int128 amount0, int128 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick, uint24 fee)",
        "event ModifyLiquidity(bytes32 indexed id, address indexed sender, int24 tickLower, int24 tickUpper, int256 liquidityDelta, bytes32 salt)",
        "event ProtocolFeeUpdated(bytes32 indexed id, uint24 protocolFee)",
    ),
)

BALANCER_POOL = _interface(
    "Balancer pool",
    (
        "getPoolId() -> bytes32",
        "getVault() -> address",
        "getNormalizedWeights() -> uint256[]",
        "getSwapFeePercentage() -> uint256",
        "event SwapFeePercentageChanged(uint256 swapFeePercentage)",
    ),
)

BALANCER_VAULT = Interface.of(
    "Balancer Vault",
    [
        _entry("getPoolTokens(bytes32) -> address[],uint256[],uint256"),
        _entry(
            "event Swap(bytes32 indexed poolId, address indexed tokenIn, address indexed tokenOut, uint256 amountIn, uint256 amountOut)"
        ),
        _entry(
            "event PoolBalanceChanged(bytes32 indexed poolId, address indexed liquidityProvider, address[] tokens, int256[] deltas, uint256[] protocolFeeAmounts)"
        ),
        _entry(
            "event PoolBalanceManaged(bytes32 indexed poolId, address indexed manager, address indexed token, int256 cashDelta, int256 managedDelta)"
        ),
        {
            "type": "function",
            "name": "queryBatchSwap",
            "inputs": [
                {"type": "uint8"},
                {
                    "type": "tuple[]",
                    "components": [
                        {"type": kind}
                        for kind in ("bytes32", "uint256", "uint256", "uint256", "bytes")
                    ],
                },
                {"type": "address[]"},
                {
                    "type": "tuple",
                    "components": [
                        {"type": kind} for kind in ("address", "bool", "address", "bool")
                    ],
                },
            ],
            "outputs": [{"type": "int256[]"}],
        },
    ],
)

CURVE = _interface(
    "Curve pool",
    (
        "coins(uint256) -> address",
        "balances(uint256) -> uint256",
        "A() -> uint256",
        "A_precise() -> uint256",
        "fee() -> uint256",
        "admin_fee() -> uint256",
        "gamma() -> uint256",
        "D() -> uint256",
        "price_scale() -> uint256",
        "price_scale(uint256) -> uint256",
        "mid_fee() -> uint256",
        "out_fee() -> uint256",
        "fee_gamma() -> uint256",
        "future_A_time() -> uint256",
        "future_A_gamma_time() -> uint256",
        "MATH() -> address",
        "version() -> string",
        "virtual_price() -> uint256",
        "totalSupply() -> uint256",
        "offpeg_fee_multiplier() -> uint256",
        "stored_rates() -> uint256[]",
        "admin_balances(uint256) -> uint256",
        "exchange_received(int128,int128,uint256,uint256) -> uint256",
        "get_dy(int128,int128,uint256) -> uint256",
        "get_dy(uint256,uint256,uint256) -> uint256",
    ),
)
