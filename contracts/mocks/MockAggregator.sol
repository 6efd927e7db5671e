// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AggregatorV3Interface } from "../feeds/AggregatorV3Interface.sol";

/// @title MockAggregator
/// @notice WHAT IT IS. One phase of a Chainlink-shaped feed: rounds counted from 1, each with an answer and its time, packed into
/// one slot as in Chainlink's own aggregators. Anyone may add rounds, with any timestamp. For local chains only.
contract MockAggregator is AggregatorV3Interface {
    struct Round {
        int192 answer;
        uint64 updatedAt;
    }

    uint256 public constant version = 4;

    uint8 public immutable decimals;

    string public description;
    uint32 public latestRound;
    bool public failing;
    mapping(uint256 roundId => Round) private _rounds;

    /// @notice A round was added.
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    /// @notice There is no such round.
    error NoDataPresent(uint256 roundId);
    /// @notice The feed was set to fail.
    error FeedFailing();

    constructor(uint8 decimals_, string memory description_) {
        decimals = decimals_;
        description = description_;
    }

    /* ANYONE */

    /// @notice Adds a round with the present time.
    function push(int192 answer) external {
        pushAt(answer, uint64(block.timestamp));
    }

    /// @notice Adds a round with any time: a stale feed is one whose last round is old.
    function pushAt(int192 answer, uint64 updatedAt) public {
        uint32 roundId = ++latestRound;
        _rounds[roundId] = Round(answer, updatedAt);
        emit AnswerUpdated(answer, roundId, updatedAt);
    }

    /// @notice Makes every read revert, or stops doing so.
    function setFailing(bool failing_) external {
        failing = failing_;
    }

    /* VIEWS */

    /// @inheritdoc AggregatorV3Interface
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return getRoundData(latestRound);
    }

    /// @notice A round by its number.
    function getRoundData(uint80 roundId) public view returns (uint80, int256, uint256, uint256, uint80) {
        if (failing) revert FeedFailing();
        Round memory round = _rounds[roundId];
        if (round.updatedAt == 0) revert NoDataPresent(roundId);
        return (roundId, round.answer, round.updatedAt, round.updatedAt, roundId);
    }
}
