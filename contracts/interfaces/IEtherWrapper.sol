// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice What is called on wrapped ether.
interface IEtherWrapper {
    function deposit() external payable;
    function withdraw(uint256 amount) external;
}
