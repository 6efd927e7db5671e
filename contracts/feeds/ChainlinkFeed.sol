// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { SOURCE_GAS } from "../libraries/BoundedCall.sol";
import { AggregatorV3Interface } from "./AggregatorV3Interface.sol";

/// @title ChainlinkFeed
/// @notice Reads a Chainlink-style feed, of prices or of an L2 sequencer's uptime. Judges nothing.
library ChainlinkFeed {
    /// @notice The latest round; not `answered` if the feed reverts, has no code, or says fewer than five words.
    /// @dev Reads into scratch memory, so that neither dirty bits nor a huge answer of the feed can hurt the caller.
    function latest(address feed)
        internal
        view
        returns (bool answered, int256 answer, uint256 startedAt, uint256 updatedAt)
    {
        bytes4 selector = AggregatorV3Interface.latestRoundData.selector;
        assembly ("memory-safe") {
            let out := mload(0x40)
            mstore(out, selector)
            answered := staticcall(SOURCE_GAS, feed, out, 4, out, 160)
            answered := and(answered, gt(returndatasize(), 159))
            answer := mload(add(out, 32))
            startedAt := mload(add(out, 64))
            updatedAt := mload(add(out, 96))
        }
    }
}
