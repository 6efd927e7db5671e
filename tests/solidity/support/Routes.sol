// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title Routes
/// @notice Writes RouteExecutor's hops.
library Routes {
    uint8 internal constant ZERO_FOR_ONE = 1;
    uint8 internal constant TO_CALLER = 2;
    uint8 internal constant ETHER_IN = 4;
    uint8 internal constant ETHER_OUT = 8;
    uint8 internal constant PAID_FIRST = 32;

    function v3(MockToken tokenIn, uint128 amountIn, address pool, uint8 flags) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(1), amountIn, tokenIn, pool, flags);
    }

    function v3Out(MockToken tokenIn, uint128 amountOut, address pool, uint8 flags)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(uint8(8), amountOut, tokenIn, pool, flags);
    }

    function router(MockToken tokenIn, uint128 amountIn, address target, uint8 flags, bytes memory path)
        internal
        pure
        returns (bytes memory)
    {
        uint8 pools = uint8((path.length - 20) / 23);
        return abi.encodePacked(uint8(2), amountIn, tokenIn, target, flags, pools, path);
    }

    function pair(MockToken tokenIn, uint128 amountIn, address target, uint8 flags, uint16 feeBps)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(uint8(3), amountIn, tokenIn, target, flags, feeBps);
    }

    function v4(MockToken tokenIn, uint128 amountIn, address manager, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            uint8(4), amountIn, tokenIn, manager, flags, tokenOut, uint24(3_000), int24(60), address(0)
        );
    }

    function hooked(
        MockToken tokenIn,
        uint128 amountIn,
        address manager,
        uint8 flags,
        MockToken tokenOut,
        address hooks
    ) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(4), amountIn, tokenIn, manager, flags, tokenOut, uint24(3_000), int24(60), hooks);
    }

    function balancer(MockToken tokenIn, uint128 amountIn, address vault, uint8 flags, MockToken tokenOut)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(uint8(5), amountIn, tokenIn, vault, flags, tokenOut, bytes32("pool"));
    }

    function curve(MockToken tokenIn, uint128 amountIn, address pool, uint8 flags, MockToken tokenOut, uint8 i, uint8 j)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(uint8(6), amountIn, tokenIn, pool, flags, tokenOut, i, j);
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
        return abi.encodePacked(
            uint8(7), amountIn, tokenIn, target, flags, spender, tokenOut, offset, uint16(data.length), data
        );
    }
}
