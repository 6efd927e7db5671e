// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IExecutor } from "./IExecutor.sol";

/// @title IRouteExecutor
/// @notice An executor that can also list the tokens of a route.
interface IRouteExecutor is IExecutor {
    /// @notice Tokens that each hop of a route swaps, in order. The executor sends back all that it has of a token in either list.
    /// @param route hops, see RouteHops
    /// @return tokensIn token that the hop takes
    /// @return tokensOut token that the hop leaves for the caller; 0 where a later hop takes all of it
    function readRoute(bytes calldata route)
        external
        pure
        returns (address[] memory tokensIn, address[] memory tokensOut);
}
