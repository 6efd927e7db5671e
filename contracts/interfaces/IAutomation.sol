// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC165 } from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title IUpkeep
/// @notice Functions that automation networks like Chainlink Automation call.
interface IUpkeep {
    /// @notice Whether an action is needed. Networks read this by `eth_call` in about every block.
    /// @param checkData data that was registered with the network
    /// @return upkeepNeeded whether `performUpkeep` would act now
    /// @return performData data for `performUpkeep`
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData);

    /// @notice Performs the action, in a transaction.
    /// @param performData result of `checkUpkeep`
    function performUpkeep(bytes calldata performData) external;
}

/// @title IReceiver
/// @notice Receiver of reports from CRE's KeystoneForwarder, which checks their signatures first and finds receivers by ERC-165. Anyone may
/// deliver a report again that was refused.
interface IReceiver is IERC165 {
    /// @notice Acts on a report.
    /// @param metadata origin of the report: workflowId (32 bytes), workflowName (10), workflowOwner (20), reportId (2)
    /// @param report data that the workflow wrote
    function onReport(bytes calldata metadata, bytes calldata report) external;
}
