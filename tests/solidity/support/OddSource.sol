// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title OddSource
/// @notice Stands for a pool, an ERC-4626 vault or a rate: answers each function with the bytes it was told, or goes wrong.
contract OddSource {
    enum Manner {
        Answer,
        Revert,
        BurnGas,
        Bomb
    }

    Manner public manner;
    mapping(bytes4 selector => bytes) private _answers;

    function misbehave(Manner manner_) external {
        manner = manner_;
    }

    function tell(bytes4 selector, bytes calldata answer) external {
        _answers[selector] = answer;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        if (manner == Manner.Revert) revert("odd");
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
        return _answers[msg.sig];
    }
}
