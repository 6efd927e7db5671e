// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Wrapped ether: the functions that are used here.
interface IEtherWrapper {
    /// @notice Wraps the ether of the call {wei}.
    function deposit() external payable;
    /// @notice Unwraps and sends ether to the caller {wei}.
    function withdraw(uint256 amount) external;
}
