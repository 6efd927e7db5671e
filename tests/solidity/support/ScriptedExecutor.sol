// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IExecutor } from "../../../contracts/interfaces/IExecutor.sol";

/// @title ScriptedExecutor
/// @notice Does exactly what its route says: a list of calls to anybody. Honest or hostile is for the script to decide.
contract ScriptedExecutor is IExecutor {
    /// @param expectedError the call must be refused with exactly these bytes; empty: it must succeed
    struct Step {
        address target;
        bytes data;
        bytes expectedError;
    }

    /// @notice A step did not end as the script said.
    error UnexpectedOutcome(uint256 step, bool succeeded, bytes answer);

    function executeRoute(bytes calldata route) external {
        run(abi.decode(route, (Step[])));
    }

    /// @notice The same outside a rebalance: several calls in one transaction.
    function run(Step[] memory steps) public {
        for (uint256 i; i < steps.length; ++i) {
            (bool succeeded, bytes memory answer) = steps[i].target.call(steps[i].data);
            bool expected =
                steps[i].expectedError.length == 0 ? succeeded : keccak256(answer) == keccak256(steps[i].expectedError);
            if (!expected) revert UnexpectedOutcome(i, succeeded, answer);
        }
    }
}
