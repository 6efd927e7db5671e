// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Lists } from "./Lists.sol";

/// @title RebalancePolicy
/// @notice What a rebalance may do, as pure integer arithmetic. `rebalancer/policy.py` is the same code in Python, name for
/// name and in this order; a differential test holds the two equal to the unit.
///
/// UNITS. `{tok}` smallest units of a token, `{usd18}` US dollars times 1e18, `priceE18` {usd18} per whole token,
/// `unit` = 10**decimals, fractions times 1e18 end in `E18`, ratios people say aloud end in `Bps`.
/// WORDS. For asset i: value v_i = held_i * price_i, total V = sum of v_i, distance e_i = v_i - target_i * V (positive: surplus,
/// negative: deficit), total distance E = sum of |e_i|.
/// BOUNDS. Whoever calls has made sure that amounts and prices are below 2^128 and that all lists have one entry an asset, at most
/// 16. `weigh` makes sure that every value and V are at most 2^120, targets are at most 2^60 and ratios at most 2^16, so no product or
/// sum in a loop here passes 2^256: the loops are unchecked, everything else is not.
library RebalancePolicy {
    using Lists for uint256[];
    using Lists for int256[];

    uint256 internal constant E18 = 1e18;
    uint256 internal constant BPS = 10_000;

    /// Above this (1.3e18 dollars) cross-multiplication could overflow, so the basket is refused.
    uint256 internal constant MAX_TOTAL_E18 = 1 << 120;

    /// What `firstBroken` returns when every weight is inside its band.
    uint256 internal constant NONE = type(uint256).max;

    /// @notice The basket is worth nothing, or more than the arithmetic is proved for.
    error TotalOutOfRange(uint256 totalE18, uint256 maximumE18);
    /// @notice P0: every weight is inside its band.
    error NoBandBroken();
    /// @notice P1: the sale is larger than the asset's surplus over its target.
    error SaleAboveSurplus(uint256 asset, uint256 saleRaw, uint256 surplusRaw);
    /// @notice P1: the asset is not below its target, so it cannot be bought.
    error BuyWithoutDeficit(uint256 asset);
    /// @notice P2: what came back is worth less than the slippage limit allows.
    error PriceTooPoor(uint256 boughtE18, uint256 minimumE18);
    /// @notice P3: the asset crossed its target, or ended further from it, by more than dust.
    error AwayFromTarget(uint256 asset, int256 distanceBeforeE18, int256 distanceAfterE18, uint256 dustE18);
    /// @notice P4: the total distance to target shrank by less than `minProgress`.
    error TooLittleProgress(
        uint256 distanceBeforeE18, uint256 totalBeforeE18, uint256 distanceAfterE18, uint256 totalAfterE18
    );
    /// @notice P5: the trade's loss does not fit in what is left of the loss budget.
    error LossBudgetExceeded(uint256 levelE18, uint256 budgetE18);
    /// @notice P6: the trade's size does not fit in what is left of the turnover budget.
    error TurnoverBudgetExceeded(uint256 levelE18, uint256 budgetE18);

    /* VALUE */

    /// @notice Value of an amount, rounded down.
    // {usd18} = {tok} * {usd18/whole} / {tok/whole}
    function valueDown(uint256 amountRaw, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        unchecked {
            return amountRaw * priceE18 / unit;
        }
    }

    /// @notice Value of an amount, rounded up.
    function valueUp(uint256 amountRaw, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return (amountRaw * priceE18 + unit - 1) / unit;
    }

    /// @notice Part of a whole as a fraction of 1e18, rounded up.
    function fractionUp(uint256 partE18, uint256 totalE18) internal pure returns (uint256) {
        return (partE18 * E18 + totalE18 - 1) / totalE18;
    }

    /// @notice Value of every asset, rounded down, and their sum.
    function weigh(uint256[] memory held, uint256[] memory pricesE18, uint256[] memory units)
        internal
        pure
        returns (uint256[] memory valuesE18, uint256 totalE18)
    {
        unchecked {
            valuesE18 = Lists.uints(held.length);
            for (uint256 i; i < held.length; ++i) {
                uint256 valueE18 = valueDown(held.at(i), pricesE18.at(i), units.at(i));
                if (valueE18 > MAX_TOTAL_E18) revert TotalOutOfRange(valueE18, MAX_TOTAL_E18);
                valuesE18.set(i, valueE18);
                totalE18 += valueE18;
            }
            if (totalE18 == 0 || totalE18 > MAX_TOTAL_E18) revert TotalOutOfRange(totalE18, MAX_TOTAL_E18);
        }
    }

    /// @notice Signed distance of every asset from its target value (which rounds down), and the sum of their sizes.
    function distances(uint256[] memory valuesE18, uint256 totalE18, uint256[] memory targetsE18)
        internal
        pure
        returns (int256[] memory distancesE18, uint256 distanceE18)
    {
        unchecked {
            distancesE18 = Lists.ints(valuesE18.length);
            for (uint256 i; i < valuesE18.length; ++i) {
                // Both sides are at most 2^120, so the casts are exact.
                int256 d = int256(valuesE18.at(i)) - int256(targetsE18.at(i) * totalE18 / E18);
                distancesE18.set(i, d);
                distanceE18 += _size(d);
            }
        }
    }

    /* P0: IS THERE ANYTHING TO DO */

    /// @notice Index of the first asset whose weight is further from its target than its band allows, or `NONE`.
    function firstBroken(int256[] memory distancesE18, uint256 totalE18, uint256[] memory bandsBps)
        internal
        pure
        returns (uint256)
    {
        unchecked {
            for (uint256 i; i < distancesE18.length; ++i) {
                if (_size(distancesE18.at(i)) * BPS > bandsBps.at(i) * totalE18) return i;
            }
            return NONE;
        }
    }

    /// @notice Largest distance of any asset from its target in basis points of the total, rounded up.
    function driftBps(int256[] memory distancesE18, uint256 totalE18) internal pure returns (uint256 drift) {
        for (uint256 i; i < distancesE18.length; ++i) {
            uint256 bps = (_size(distancesE18.at(i)) * BPS + totalE18 - 1) / totalE18;
            if (bps > drift) drift = bps;
        }
    }

    /* P1: WHAT MAY BE SOLD AND BOUGHT */

    /// @notice Largest sale of an asset: its distance above target in raw units, rounded down; 0 at or below target.
    // {tok} = {usd18} * {tok/whole} / {usd18/whole}
    function surplusRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return assetDistanceE18 > 0 ? uint256(assetDistanceE18) * unit / priceE18 : 0;
    }

    /// @notice Largest purchase that does not cross the target: the distance below it in raw units, rounded down.
    function deficitRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return assetDistanceE18 < 0 ? uint256(-assetDistanceE18) * unit / priceE18 : 0;
    }

    /// @notice Reverts unless each sale is within its surplus and each purchase has a deficit.
    function checkSales(
        uint256[] memory sales,
        uint256[] memory minBuys,
        int256[] memory distancesE18,
        uint256[] memory pricesE18,
        uint256[] memory units
    ) internal pure {
        unchecked {
            for (uint256 i; i < sales.length; ++i) {
                if (sales.at(i) != 0) {
                    uint256 most = surplusRaw(distancesE18.at(i), pricesE18.at(i), units.at(i));
                    if (sales.at(i) > most) revert SaleAboveSurplus(i, sales.at(i), most);
                }
                if (minBuys.at(i) != 0 && distancesE18.at(i) >= 0) revert BuyWithoutDeficit(i);
            }
        }
    }

    /* P2: AT WHAT PRICE */

    /// @notice Slippage allowed now: climbs in a straight line from `startBps` to `maxBps` over `rampSeconds` (at least 1) since
    /// the band was first seen broken, rounded down. `brokenSince` = 0: not seen yet, so the climb has not begun.
    function slippageE18(uint256 startBps, uint256 maxBps, uint256 rampSeconds, uint256 brokenSince, uint256 timestamp)
        internal
        pure
        returns (uint256)
    {
        uint256 elapsed = brokenSince == 0 ? 0 : timestamp - brokenSince;
        if (elapsed >= rampSeconds) return maxBps * (E18 / BPS);
        return (startBps * rampSeconds + (maxBps - startBps) * elapsed) * (E18 / BPS) / rampSeconds;
    }

    /// @notice Least value that must come back for what was sold, rounded up.
    function minimumBoughtE18(uint256 soldE18, uint256 slippageLimitE18) internal pure returns (uint256) {
        return (soldE18 * (E18 - slippageLimitE18) + E18 - 1) / E18;
    }

    /* P3 AND P4: ONLY TOWARD THE TARGET */

    /// @notice Reverts if any asset crossed its target or ended further from it, by more than dust.
    function checkTowardTarget(
        int256[] memory distancesBeforeE18,
        int256[] memory distancesAfterE18,
        uint256 totalAfterE18,
        uint256 dustBps
    ) internal pure {
        unchecked {
            uint256 dustE18 = dustBps * totalAfterE18 / BPS;
            for (uint256 i; i < distancesBeforeE18.length; ++i) {
                int256 b = distancesBeforeE18.at(i);
                int256 a = distancesAfterE18.at(i);
                bool crossed = (b > 0 && a < 0) || (b < 0 && a > 0);
                if ((crossed && _size(a) > dustE18) || _size(a) > _size(b) + dustE18) {
                    revert AwayFromTarget(i, b, a, dustE18);
                }
            }
        }
    }

    /// @notice Reverts unless E'/V' <= (1 - minProgress) * E/V, or E' is within dust of zero.
    function checkProgress(
        uint256 distanceBeforeE18,
        uint256 totalBeforeE18,
        uint256 distanceAfterE18,
        uint256 totalAfterE18,
        uint256 minProgressBps,
        uint256 dustBps
    ) internal pure {
        if (distanceAfterE18 * BPS <= dustBps * totalAfterE18) return;
        // 2^121 * 2^120 * 2^14 < 2^256: distances are at most twice the total.
        if (distanceAfterE18 * totalBeforeE18 * BPS > (BPS - minProgressBps) * distanceBeforeE18 * totalAfterE18) {
            revert TooLittleProgress(distanceBeforeE18, totalBeforeE18, distanceAfterE18, totalAfterE18);
        }
    }

    /* P5 AND P6: LEAKY BUCKETS */

    /// @notice Level of a bucket that drains `budgetBps` of 1e18 in `periodSeconds`; the drained part rounds down.
    function leak(uint256 levelE18, uint256 budgetBps, uint256 periodSeconds, uint256 elapsedSeconds)
        internal
        pure
        returns (uint256)
    {
        uint256 drainedE18 = budgetBps * (E18 / BPS) * elapsedSeconds / periodSeconds;
        return drainedE18 >= levelE18 ? 0 : levelE18 - drainedE18;
    }

    /// @notice New level of the loss bucket. Reverts if it would pass the budget.
    function spendLoss(uint256 levelE18, uint256 lossE18, uint256 totalE18, uint256 budgetBps)
        internal
        pure
        returns (uint256 newLevelE18)
    {
        newLevelE18 = levelE18 + fractionUp(lossE18, totalE18);
        uint256 budgetE18 = budgetBps * (E18 / BPS);
        if (newLevelE18 > budgetE18) revert LossBudgetExceeded(newLevelE18, budgetE18);
    }

    /// @notice New level of the turnover bucket. Reverts if it would pass the budget.
    function spendTurnover(uint256 levelE18, uint256 soldE18, uint256 totalE18, uint256 budgetBps)
        internal
        pure
        returns (uint256 newLevelE18)
    {
        newLevelE18 = levelE18 + fractionUp(soldE18, totalE18);
        uint256 budgetE18 = budgetBps * (E18 / BPS);
        if (newLevelE18 > budgetE18) revert TurnoverBudgetExceeded(newLevelE18, budgetE18);
    }

    /// @dev |d|; d is at most 2^120 in size, so the negation cannot overflow.
    function _size(int256 d) private pure returns (uint256) {
        unchecked {
            return d >= 0 ? uint256(d) : uint256(-d);
        }
    }
}
