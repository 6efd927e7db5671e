// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title Routes
/// @notice Writes RouteExecutor's hops.
library Routes {
    uint8 internal constant EXACT_OUT = 1;
    uint8 internal constant TO_CALLER = 2;
    uint8 internal constant ETHER_IN = 4;
    uint8 internal constant ETHER_OUT = 8;
    uint8 internal constant PAID_FIRST = 32;

    function hop(uint8 venue, uint128 amount, MockToken tokenIn, MockToken tokenOut, uint8 flags, bytes memory body)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(venue, amount, tokenIn, tokenOut, flags, uint16(body.length), body);
    }

    function v3(MockToken tokenIn, uint128 amountIn, address pool, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return hop(1, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(pool));
    }

    function v3Out(MockToken tokenIn, uint128 amountOut, address pool, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return v3(tokenIn, amountOut, pool, flags | EXACT_OUT, tokenOut);
    }

    function router(MockToken tokenIn, uint128 amountIn, address target, uint8 flags, bytes memory path)
        internal
        pure
        returns (bytes memory)
    {
        MockToken tokenOut;
        assembly ("memory-safe") {
            tokenOut := shr(96, mload(add(add(path, 12), mload(path)))) // its last 20 bytes
        }
        return hop(2, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(target, path));
    }

    function pair(MockToken tokenIn, uint128 amountIn, address target, uint8 flags, MockToken tokenOut, uint16 feeBps)
        internal
        pure
        returns (bytes memory)
    {
        return hop(3, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(target, feeBps));
    }

    function v4(MockToken tokenIn, uint128 amountIn, address manager, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return hooked(tokenIn, amountIn, manager, flags, tokenOut, address(0));
    }

    function hooked(
        MockToken tokenIn,
        uint128 amountIn,
        address manager,
        uint8 flags,
        MockToken tokenOut,
        address hooks
    ) internal pure returns (bytes memory) {
        return hop(4, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(manager, uint24(3_000), int24(60), hooks));
    }

    function balancer(MockToken tokenIn, uint128 amountIn, address vault, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return hop(5, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(vault, bytes32("pool")));
    }

    function curve(MockToken tokenIn, uint128 amountIn, address pool, uint8 flags, MockToken tokenOut, uint8 i, uint8 j)
        internal
        pure
        returns (bytes memory)
    {
        return hop(6, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(pool, i, j));
    }

    function call(
        MockToken tokenIn,
        uint128 amountIn,
        address target,
        address spender,
        MockToken tokenOut,
        uint16 offset,
        bytes memory data
    ) internal pure returns (bytes memory) {
        return call(tokenIn, amountIn, target, 0, spender, tokenOut, offset, data);
    }

    function call(
        MockToken tokenIn,
        uint128 amountIn,
        address target,
        uint8 flags,
        address spender,
        MockToken tokenOut,
        uint16 offset,
        bytes memory data
    ) internal pure returns (bytes memory) {
        return hop(7, amountIn, tokenIn, tokenOut, flags, abi.encodePacked(target, spender, offset, data));
    }
}
