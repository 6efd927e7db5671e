// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Lists
/// @notice Lists in memory and call data without the compiler's bounds checks and without zeroing: a rebalance of ten assets makes about
/// three hundred accesses. The caller has checked the length, and writes every entry of a list made here before reading it.
library Lists {
    function at(uint256[] memory list, uint256 i) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(list, 32), shl(5, i)))
        }
    }

    function at(int256[] memory list, uint256 i) internal pure returns (int256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(list, 32), shl(5, i)))
        }
    }

    function at(address[] memory list, uint256 i) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(add(add(list, 32), shl(5, i)))
        }
    }

    function calldataAt(uint256[] calldata list, uint256 i) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(add(list.offset, shl(5, i)))
        }
    }

    function set(uint256[] memory list, uint256 i, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore(add(add(list, 32), shl(5, i)), value)
        }
    }

    function set(int256[] memory list, uint256 i, int256 value) internal pure {
        assembly ("memory-safe") {
            mstore(add(add(list, 32), shl(5, i)), value)
        }
    }

    function set(address[] memory list, uint256 i, address value) internal pure {
        assembly ("memory-safe") {
            mstore(add(add(list, 32), shl(5, i)), value)
        }
    }

    /// @notice A list of n numbers, not zeroed.
    function uints(uint256 n) internal pure returns (uint256[] memory list) {
        assembly ("memory-safe") {
            list := mload(0x40)
            mstore(list, n)
            mstore(0x40, add(add(list, 32), shl(5, n)))
        }
    }

    /// @notice A list of n signed numbers, not zeroed.
    function ints(uint256 n) internal pure returns (int256[] memory list) {
        uint256[] memory made = uints(n);
        assembly ("memory-safe") {
            list := made
        }
    }

    /// @notice A list of n addresses, not zeroed.
    function addresses(uint256 n) internal pure returns (address[] memory list) {
        uint256[] memory made = uints(n);
        assembly ("memory-safe") {
            list := made
        }
    }
}
