// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./IBasketVault.sol";
import { IOracleHub } from "./IOracleHub.sol";

/// @title IConfigStore
/// @notice Checks a vault's configuration and stores it as code. Every function but `write` has the name and the parameters of the function
/// of IBasketVault that calls it, after `config`: the address of the present configuration. Each returns the address of the new one.
interface IConfigStore {
    /// @notice The number of priced assets is below its minimum, or the number of all assets above its maximum.
    error AssetCountOutOfRange(uint256 count, uint256 minimum, uint256 maximum);
    /// @notice The token is in the basket twice.
    error DuplicateAsset(address token);
    /// @notice The address has no code.
    error NotAToken(address token);
    /// @notice The token has more decimals than the maximum.
    error DecimalsOutOfRange(address token, uint256 decimals, uint256 maximum);
    /// @notice The token has other decimals than the owner expects.
    error DecimalsDiffer(address token, uint256 expected, uint256 actual);
    /// @notice The sum of the targets, at the start or the end of the glide, is not exactly 1e18.
    error TargetsDoNotSumToOne(uint256 sumE18);
    /// @notice The band is not wider than dust, or is above its maximum {bps}.
    error BandOutOfRange(uint256 asset, uint256 bandBps, uint256 minimum, uint256 maximum);
    /// @notice The relative band is above its maximum {bps}.
    error RelativeBandOutOfRange(uint256 asset, uint256 relativeBandBps, uint256 maximum);
    /// @notice The start slippage is above the largest one, or that is above its maximum {bps}.
    error SlippageOutOfRange(uint256 startBps, uint256 maxBps, uint256 maximum);
    /// @notice The slippage ramp is too short {seconds}.
    error RampOutOfRange(uint256 rampSeconds, uint256 minimum);
    /// @notice The least progress is outside its range {bps}.
    error ProgressOutOfRange(uint256 minProgressBps, uint256 minimum, uint256 maximum);
    /// @notice The loss or turnover budget is above its maximum {bps}.
    error BudgetOutOfRange(uint256 budgetBps, uint256 maximum);
    /// @notice Dust is too small: without dust, a loss of one unit in a trade would forbid the trade {bps}.
    error DustBelowMinimum(uint256 dustBps, uint256 minimum);
    /// @notice The budget is too small {bps}: after the largest break, the least progress at the largest slippage would not fit in it, so
    /// no rebalance could ever pass.
    error BudgetBelowProgress(string field, uint256 budgetBps, uint256 neededBps);
    /// @notice The budget's period, or the calendar's, is too short {seconds}.
    error PeriodOutOfRange(uint256 periodSeconds, uint256 minimum);
    /// @notice The destination is above its maximum {bps of the band}.
    error DestinationOutOfRange(uint256 destinationBps, uint256 maximum);
    /// @notice The glide ends before it starts, or takes longer than the maximum. From `setTargets`, `glideEnd` is the requested duration
    /// {seconds}.
    error GlideOutOfRange(uint256 glideStart, uint256 glideEnd, uint256 maximumSeconds);
    /// @notice The policy would allow more than now by this field, and that must wait for the owner's delay.
    error PolicyLooser(string field, uint256 value, uint256 current);
    /// @notice Any other value of this field would allow a trade that is not allowed now, and that must wait for the owner's delay.
    error PolicyDiffers(string field, uint256 value, uint256 current);
    /// @notice A token of the basket has no sound price at the oracle.
    error UnpricedAsset(address token, IOracleHub.Fault fault);
    /// @notice The asset is excluded, or an excluded asset has a target.
    error AssetExcluded(uint256 asset);
    /// @notice The asset is not excluded.
    error AssetNotExcluded(uint256 asset);

    /// @notice A new configuration was stored for the caller, `vault`.
    event Written(address indexed vault, address indexed config, IBasketVault.Config values);

    /// @notice Checks a vault's first configuration and returns the address where it is stored (see ConfigCode). As `setPolicy`, it refuses
    /// a policy under which no rebalance could ever repair the largest break.
    function write(IBasketVault.Config calldata config) external returns (address pointer);

    /// @notice Replaces the policy. Refused with BudgetBelowProgress if no rebalance could ever repair the largest break.
    function setPolicy(address config, IBasketVault.Policy calldata policy) external returns (address pointer);
    /// @notice Replaces the policy by a tighter one. Refused unless every trade that passes under the new policy passes under the present
    /// one. A change that removes risk is never refused as too tight: a guardian may leave budgets under which no rebalance passes, and
    /// then only `setPolicy` fixes that.
    function tightenPolicy(address config, IBasketVault.Policy calldata policy) external returns (address pointer);
    /// @notice Replaces the oracle. Refused unless every asset that is not excluded has a sound price.
    function setOracle(address config, IOracleHub oracle) external returns (address pointer);
    /// @notice Moves all targets in a straight line to `targetsE18` (sum 1e18) within `glideSeconds`.
    function setTargets(address config, uint256[] calldata targetsE18, uint256 glideSeconds)
        external
        returns (address pointer);
    /// @notice Replaces all bands and minimum trades.
    function setBands(address config, IBasketVault.Band[] calldata bands) external returns (address pointer);
    /// @notice Adds an asset with target 0. Refused unless its decimals are as given and it has a sound price.
    function addAsset(address config, address token, uint8 decimals, IBasketVault.Band calldata band)
        external
        returns (address pointer);
    /// @notice Excludes an asset. The targets of the others grow in proportion; the largest gets the rest of the rounding.
    function excludeAsset(address config, uint256 asset) external returns (address pointer);
    /// @notice Includes an excluded asset again, with target 0. Refused unless it has a sound price.
    function includeAsset(address config, uint256 asset) external returns (address pointer);
    /// @notice Removes an excluded asset. The last asset takes its index.
    function removeAsset(address config, uint256 asset) external returns (address pointer);
}
