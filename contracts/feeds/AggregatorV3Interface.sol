// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice The functions of a Chainlink-style price feed that are used here.
interface AggregatorV3Interface {
    /// @notice Decimals of the answer.
    function decimals() external view returns (uint8);

    /// @notice The latest round.
    /// @return roundId round of the answer, with the phase in its upper bits
    /// @return answer price times 10**decimals
    /// @return startedAt unix time the round started
    /// @return updatedAt unix time of the answer
    /// @return answeredInRound kept for compatibility, not used
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}
