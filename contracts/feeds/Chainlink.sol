// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { SOURCE_GAS } from "../libraries/BoundedCall.sol";
import { AggregatorV3Interface } from "./AggregatorV3Interface.sol";

/// @title Chainlink
/// @notice Reads a Chainlink-style feed, of prices or of an L2 sequencer's uptime. It does not check the age of an answer.
library Chainlink {
    uint256 internal constant MAX_DECIMALS = 18;

    /// @notice The latest round. `answered` is false if the feed reverts, has no code, or returns fewer than five words.
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

    /// @notice The latest answer times 1e18, exact, or the fault. `decimals` is at most 18.
    function priceOf(address feed, uint256 decimals)
        internal
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        (bool answered, int256 answer,, uint256 at) = latest(feed);
        if (!answered) return (0, 0, IOracleHub.Fault.CallFailed);
        // An answer above 2^128 cannot be sane, and scaling it could overflow. Zero minus one, and negative answers, are above it, too.
        unchecked {
            if (uint256(answer) - 1 >= type(uint128).max) {
                return (0, 0, answer <= 0 ? IOracleHub.Fault.NotPositive : IOracleHub.Fault.OutOfRange);
            }
            // {usd18/whole} = {usd/whole * 10^d} * 10^(18 - d); below 2^128 * 10^18
            return (uint256(answer) * 10 ** (MAX_DECIMALS - decimals), at, IOracleHub.Fault.None);
        }
    }

    /// @notice Reverts unless the feed has these decimals, and no more than 18.
    function checkDecimals(address feed, uint256 decimals) internal view {
        if (decimals > MAX_DECIMALS) revert IOracleHub.FeedDecimalsTooMany(decimals, MAX_DECIMALS);
        uint256 actual = AggregatorV3Interface(feed).decimals();
        if (actual != decimals) revert IOracleHub.FeedDecimals(feed, decimals, actual);
    }
}
