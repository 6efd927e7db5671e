// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./IBasketVault.sol";
import { IOracleHub } from "./IOracleHub.sol";

/// @title IConfigStore
/// @notice Checks a vault's configuration and stores it as code.
interface IConfigStore {
    error AssetCountOutOfRange(uint256 count, uint256 minimum, uint256 maximum);
    error DuplicateAsset(address token);
    error NotAToken(address token);
    error DecimalsOutOfRange(address token, uint256 decimals, uint256 maximum);
    error DecimalsDiffer(address token, uint256 expected, uint256 actual);
    error TargetsDoNotSumToOne(uint256 sumE18);
    error BandOutOfRange(uint256 asset, uint256 bandBps, uint256 minimum, uint256 maximum);
    error SlippageOutOfRange(uint256 startBps, uint256 maxBps, uint256 maximum);
    error RampOutOfRange(uint256 rampSeconds, uint256 minimum);
    error ProgressOutOfRange(uint256 minProgressBps, uint256 minimum, uint256 maximum);
    error BudgetOutOfRange(uint256 budgetBps, uint256 maximum);
    error PeriodOutOfRange(uint256 periodSeconds, uint256 minimum);
    /// @notice A token of the basket has no sound price at the oracle.
    error UnpricedAsset(address token, IOracleHub.Fault fault);

    /// @notice Checks everything about `config` and returns where it is stored (see ConfigCode).
    function write(IBasketVault.Config calldata config) external returns (address pointer);
}
