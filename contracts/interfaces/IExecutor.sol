// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title IExecutor
/// @notice Contract that a vault calls once, after it sent the tokens to sell and before it measures the result. Anybody may write one: the
/// vault trusts nothing that it does.
interface IExecutor {
    /// @notice Swaps the tokens that were just sent here and sends every result to `msg.sender`.
    /// @param route data that the executor understands; the caller of the vault wrote it
    function executeRoute(bytes calldata route) external;
}
