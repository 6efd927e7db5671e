// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AggregatorV3Interface } from "../feeds/AggregatorV3Interface.sol";

/// @title OneSlotFeed
/// @notice WHAT IT IS. The cheapest possible feed: reading it costs one slot, so gas measured with it is almost only the reader's own.
/// Anyone may set its answer. For local chains only.
contract OneSlotFeed is AggregatorV3Interface {
    struct Round {
        int192 answer;
        uint64 updatedAt;
    }

    uint8 public constant decimals = 8;

    Round private _round;

    constructor(int192 answer) {
        set(answer);
    }

    /* ANYONE */

    /// @notice Sets the answer.
    function set(int192 answer) public {
        _round = Round(answer, uint64(block.timestamp));
    }

    /* VIEWS */

    /// @inheritdoc AggregatorV3Interface
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        Round memory round = _round;
        return (1, round.answer, round.updatedAt, round.updatedAt, 1);
    }
}
