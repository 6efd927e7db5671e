// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC165 } from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title IUpkeep
/// @notice What automation networks in the manner of Chainlink Automation call.
interface IUpkeep {
    /// @notice Whether there is anything to do, asked by `eth_call` for every block or so.
    /// @param checkData what was registered with the network
    /// @return upkeepNeeded whether `performUpkeep` would do something now
    /// @return performData what to call it with
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData);

    /// @notice Does it, in a transaction.
    function performUpkeep(bytes calldata performData) external;
}

/// @title IReceiver
/// @notice What CRE's KeystoneForwarder calls with a report, once its signatures are checked; it asks by ERC-165 first. A report that was
/// refused may be delivered again by anyone.
interface IReceiver is IERC165 {
    /// @param metadata who made the report: workflowId (32 bytes), workflowName (10), workflowOwner (20), reportId (2)
    /// @param report what the workflow wrote
    function onReport(bytes calldata metadata, bytes calldata report) external;
}
