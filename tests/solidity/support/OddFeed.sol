// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title OddFeed
/// @notice A feed with eight decimals that answers `latestRoundData` with any bytes, or not at all.
contract OddFeed {
    enum Manner {
        Answer,
        Revert,
        BurnGas,
        Bomb
    }

    uint8 public constant decimals = 8;

    Manner public manner;
    bytes public answer;

    function set(Manner manner_, bytes calldata answer_) external {
        manner = manner_;
        answer = answer_;
    }

    /// @notice A proper answer, of now.
    function setPrice(int256 answerE8) external {
        manner = Manner.Answer;
        answer = abi.encode(uint80(1), answerE8, block.timestamp, block.timestamp, uint80(1));
    }

    function latestRoundData() external view {
        if (manner == Manner.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (manner == Manner.Bomb) {
            assembly ("memory-safe") {
                return(0, 100000)
            }
        }
        bytes memory data = answer;
        bool refuse = manner == Manner.Revert;
        assembly ("memory-safe") {
            if refuse { revert(add(data, 32), mload(data)) }
            return(add(data, 32), mload(data))
        }
    }
}
