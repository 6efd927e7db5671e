// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

// Gas that one price source may use: a Chainlink proxy needs under 30,000, a Uniswap V3 pool with all its observations under 100,000.
uint256 constant SOURCE_GAS = 200_000;

/// @title BoundedCall
/// @notice Reads words from an outside contract. Neither a revert, nor missing code, nor spent gas, nor a huge answer can hurt the caller.
library BoundedCall {
    /// @notice Fills `words` with the first words of the answer. Returns false if there is no answer, or a shorter one.
    function read(address target, bytes memory data, uint256[] memory words) internal view returns (bool answered) {
        assembly ("memory-safe") {
            let size := shl(5, mload(words))
            answered := staticcall(SOURCE_GAS, target, add(data, 32), mload(data), add(words, 32), size)
            answered := and(answered, iszero(lt(returndatasize(), size)))
        }
    }
}
