// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title IExecutor
/// @notice What a vault calls, once, between sending what is sold and measuring what came back. Anybody may write one: the vault
/// trusts nothing it does.
interface IExecutor {
    /// @notice Swaps the tokens that were just sent here and sends every result to `msg.sender`.
    /// @param route whatever the executor understands; the caller of the vault wrote it
    function executeRoute(bytes calldata route) external;
}
