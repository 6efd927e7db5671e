// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IExecutor } from "./IExecutor.sol";

/// @title IRouteExecutor
/// @notice An executor that can also tell what a route would do.
interface IRouteExecutor is IExecutor {
    /// @notice What each hop of a route swaps, in order. Whatever is sent here of a token in either list comes back.
    /// @return tokensIn what it takes
    /// @return tokensOut what it leaves for the caller; 0 where a later hop takes all of it
    function readRoute(bytes calldata route)
        external
        pure
        returns (address[] memory tokensIn, address[] memory tokensOut);
}
