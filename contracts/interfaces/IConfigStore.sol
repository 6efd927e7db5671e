// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./IBasketVault.sol";
import { IOracleHub } from "./IOracleHub.sol";

/// @title IConfigStore
/// @notice Checks a vault's configuration and stores it as code. Everything but `write` has the name and the parameters of the function
/// of IBasketVault that calls it, and before them `config`: where the present configuration is stored. Each returns where the new one is.
interface IConfigStore {
    error AssetCountOutOfRange(uint256 count, uint256 minimum, uint256 maximum);
    error DuplicateAsset(address token);
    error NotAToken(address token);
    error DecimalsOutOfRange(address token, uint256 decimals, uint256 maximum);
    error DecimalsDiffer(address token, uint256 expected, uint256 actual);
    error TargetsDoNotSumToOne(uint256 sumE18);
    error BandOutOfRange(uint256 asset, uint256 bandBps, uint256 minimum, uint256 maximum);
    error RelativeBandOutOfRange(uint256 asset, uint256 relativeBandBps, uint256 maximum);
    error SlippageOutOfRange(uint256 startBps, uint256 maxBps, uint256 maximum);
    error RampOutOfRange(uint256 rampSeconds, uint256 minimum);
    error ProgressOutOfRange(uint256 minProgressBps, uint256 minimum, uint256 maximum);
    error BudgetOutOfRange(uint256 budgetBps, uint256 maximum);
    /// @notice Without dust, one unit lost on a trade would forbid it.
    error DustBelowMinimum(uint256 dustBps, uint256 minimum);
    /// @notice The budget is too small for the least progress, at the most slippage, in the largest break: that could never be mended.
    error BudgetBelowProgress(string field, uint256 budgetBps, uint256 neededBps);
    error PeriodOutOfRange(uint256 periodSeconds, uint256 minimum);
    error DestinationOutOfRange(uint256 destinationBps, uint256 maximum);
    error GlideOutOfRange(uint256 glideStart, uint256 glideEnd, uint256 maximumSeconds);
    /// @notice In this respect the policy would allow more than now, and that must wait.
    error PolicyLooser(string field, uint256 value, uint256 current);
    /// @notice In this respect any other value would allow something that is not allowed now, and that must wait.
    error PolicyDiffers(string field, uint256 value, uint256 current);
    /// @notice A token of the basket has no sound price at the oracle.
    error UnpricedAsset(address token, IOracleHub.Fault fault);
    /// @notice The asset is excluded already, or it still has a target.
    error AssetExcluded(uint256 asset);
    error AssetNotExcluded(uint256 asset);

    /// @notice A vault (the caller) has a new configuration.
    event Written(address indexed vault, address indexed config, IBasketVault.Config values);

    /// @notice Checks everything about a first configuration and returns where it is stored (see ConfigCode). As `setPolicy`, it refuses
    /// a policy under which the largest break could never be mended.
    function write(IBasketVault.Config calldata config) external returns (address pointer);

    /// @notice Refused with BudgetBelowProgress if the largest break could never be mended.
    function setPolicy(address config, IBasketVault.Policy calldata policy) external returns (address pointer);
    /// @notice Refused unless whatever passes under the new policy passes under the present one. What removes risk is never refused for being
    /// too tight: a guardian may leave budgets that mend nothing, and then only `setPolicy` mends that.
    function tightenPolicy(address config, IBasketVault.Policy calldata policy) external returns (address pointer);
    function setOracle(address config, IOracleHub oracle) external returns (address pointer);
    function setTargets(address config, uint256[] calldata targetsE18, uint256 glideSeconds)
        external
        returns (address pointer);
    function setBands(address config, IBasketVault.Band[] calldata bands) external returns (address pointer);
    function addAsset(address config, address token, uint8 decimals, IBasketVault.Band calldata band)
        external
        returns (address pointer);
    function excludeAsset(address config, uint256 asset) external returns (address pointer);
    function includeAsset(address config, uint256 asset) external returns (address pointer);
    function removeAsset(address config, uint256 asset) external returns (address pointer);
}
