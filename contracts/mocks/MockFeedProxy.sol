// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockAggregator } from "./MockAggregator.sol";

/// @title MockFeedProxy
/// @notice WHAT IT IS. The public address of a Chainlink-shaped feed. It forwards to the aggregator of its current phase and puts the phase
/// into the upper bits of every round id: id = phase << 64 | round. Anyone may start a new phase. For local chains only.
contract MockFeedProxy {
    struct Phase {
        uint16 id;
        MockAggregator aggregator;
    }

    uint256 private constant PHASE_OFFSET = 64;

    Phase private _phase;
    mapping(uint256 phaseId => MockAggregator) public phaseAggregators;

    /// @notice A new phase began.
    event PhaseStarted(uint16 indexed phaseId, address aggregator);

    /// @notice There is no such phase.
    error UnknownPhase(uint256 phaseId);

    /// @param firstPhaseId mainnet's ETH/USD and BTC/USD feeds were in phase 6 in 2023
    constructor(MockAggregator aggregator_, uint16 firstPhaseId) {
        _startPhase(firstPhaseId, aggregator_);
    }

    /* ANYONE */

    /// @notice Starts a new phase with an aggregator.
    function setAggregator(MockAggregator aggregator_) external {
        _startPhase(_phase.id + 1, aggregator_);
    }

    function _startPhase(uint16 phaseId_, MockAggregator aggregator_) private {
        _phase = Phase(phaseId_, aggregator_);
        phaseAggregators[phaseId_] = aggregator_;
        emit PhaseStarted(phaseId_, address(aggregator_));
    }

    /* VIEWS */

    /// @notice The latest round of the present phase.
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        Phase memory phase = _phase;
        (uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) =
            phase.aggregator.latestRoundData();
        return (_withPhase(phase.id, round), answer, startedAt, updatedAt, _withPhase(phase.id, answeredIn));
    }

    /// @notice A round of any phase by its id.
    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        uint16 phaseId_ = uint16(roundId >> PHASE_OFFSET); // 80 − 64 = 16 bits
        MockAggregator past = phaseAggregators[phaseId_];
        if (address(past) == address(0)) revert UnknownPhase(phaseId_);
        // The lower 64 bits are the aggregator's own round id.
        (uint80 round, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) =
            past.getRoundData(uint64(roundId));
        return (_withPhase(phaseId_, round), answer, startedAt, updatedAt, _withPhase(phaseId_, answeredIn));
    }

    /// @notice Number of the present phase.
    function phaseId() external view returns (uint16) {
        return _phase.id;
    }

    /// @notice Aggregator of the present phase.
    function aggregator() external view returns (address) {
        return address(_phase.aggregator);
    }

    /// @notice Decimals of the answers.
    function decimals() external view returns (uint8) {
        return _phase.aggregator.decimals();
    }

    /// @notice Name of the feed.
    function description() external view returns (string memory) {
        return _phase.aggregator.description();
    }

    /// @notice Version of the aggregator.
    function version() external view returns (uint256) {
        return _phase.aggregator.version();
    }

    function _withPhase(uint16 phaseId_, uint80 round) private pure returns (uint80) {
        return (uint80(phaseId_) << uint80(PHASE_OFFSET)) | round;
    }
}
