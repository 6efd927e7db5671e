// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title Routes
/// @notice Writes RouteExecutor's hops.
library Routes {
    uint8 internal constant ZERO_FOR_ONE = 1;
    uint8 internal constant TO_CALLER = 2;

    function v3(MockToken tokenIn, uint128 amountIn, address pool, uint8 flags) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(1), amountIn, tokenIn, pool, flags);
    }

    function router(MockToken tokenIn, uint128 amountIn, address target, uint8 flags, bytes memory path)
        internal
        pure
        returns (bytes memory)
    {
        uint8 pools = uint8((path.length - 20) / 23);
        return abi.encodePacked(uint8(2), amountIn, tokenIn, target, flags, pools, path);
    }
}
