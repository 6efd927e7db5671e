// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Lists } from "./Lists.sol";

/// @title RebalancePolicy
/// @notice Limits of a rebalance, as pure integer arithmetic. `rebalancer/policy.py` is the same code in Python, with the same names in the
/// same order. A differential test holds both equal to the last unit.
///
/// UNITS. `{tok}` smallest units of a token, `{usd18}` US dollars times 1e18, `priceE18` {usd18} per whole token,
/// `unit` = 10**decimals, fractions times 1e18 end in `E18`, basis points end in `Bps`.
/// WORDS. For asset i: value v_i = held_i * price_i, total V = sum of v_i, distance e_i = v_i - target_i * V (positive: surplus, negative:
/// deficit). Its destination is the range within `destination` * band_i * V of the target: the target itself for 0, up to the band's edge
/// for 1. Total distance E = sum of the part of each e_i outside its destination; with destination 0, sum of |e_i|.
/// BOUNDS. The caller has checked that amounts and prices are below 2^128 and that all lists have one entry per asset, at most 16. `weigh`
/// checks that every value and V are at most 2^120. Targets are at most 2^60 and ratios at most 2^16, so no product or sum in a loop here
/// passes 2^256: the loops are unchecked, everything else is checked.
library RebalancePolicy {
    using Lists for uint256[];
    using Lists for int256[];

    uint256 internal constant E18 = 1e18;
    uint256 internal constant BPS = 10_000;

    /// Above this (1.3e18 dollars) cross-multiplication could overflow, so the basket is refused.
    uint256 internal constant MAX_TOTAL_E18 = 1 << 120;

    /// Largest amount of a sale or purchase; its value at any sound price is below 2^248 {tok}.
    uint256 internal constant MAX_AMOUNT_RAW = (1 << 120) - 1;

    /// Result of `firstBroken` when every weight is inside its band.
    uint256 internal constant NONE = type(uint256).max;

    /// @notice The value of the basket is 0, or above the range for which the arithmetic is proved {usd18}.
    error TotalOutOfRange(uint256 totalE18, uint256 maximumE18);
    /// @notice P0: every weight is inside its band.
    error NoBandBroken();
    /// @notice P1: the asset is not above its target, so it cannot be sold.
    error SaleWithoutSurplus(uint256 asset);
    /// @notice P1: the asset is not below its target, so it cannot be bought.
    error BuyWithoutDeficit(uint256 asset);
    /// @notice P1: the sale or purchase is below the asset's minimum trade {tok}.
    error TradeTooSmall(uint256 asset, uint256 amountRaw, uint256 minimumRaw);
    /// @notice P2: the purchases are worth less than the slippage limit requires {usd18}.
    error PriceTooPoor(uint256 boughtE18, uint256 minimumE18);
    /// @notice P3: the asset crossed its target, or ended further from it, by more than dust {usd18}.
    error AwayFromTarget(uint256 asset, int256 distanceBeforeE18, int256 distanceAfterE18, uint256 dustE18);
    /// @notice P4: the total distance to target shrank by less than `minProgress` {usd18}.
    error TooLittleProgress(
        uint256 distanceBeforeE18, uint256 totalBeforeE18, uint256 distanceAfterE18, uint256 totalAfterE18
    );
    /// @notice P5: the trade's loss does not fit in the rest of the loss budget, in parts of the basket's value.
    error LossBudgetExceeded(uint256 levelE18, uint256 budgetE18);
    /// @notice P6: the trade's size does not fit in the rest of the turnover budget, in parts of the basket's value.
    error TurnoverBudgetExceeded(uint256 levelE18, uint256 budgetE18);

    /* TARGETS AND BANDS */

    /// @notice Target weight at `timestamp`, on the straight line from one target to the next, rounded down. The sum of rounded targets may
    /// be below 1e18, by less than one unit per asset.
    function targetE18(uint256 startE18, uint256 endE18, uint256 glideStart, uint256 glideEnd, uint256 timestamp)
        internal
        pure
        returns (uint256)
    {
        if (timestamp >= glideEnd) return endE18;
        if (timestamp <= glideStart) return startE18;
        return (startE18 * (glideEnd - timestamp) + endE18 * (timestamp - glideStart)) / (glideEnd - glideStart);
    }

    /// @notice Band around a target: the narrower of `bandBps` of the basket and, unless 0, `relativeBandBps` of the target (rounded down).
    /// It is never so narrow that dust could break it. `bandBps` is above `dustBps`.
    function bandE18(uint256 bandBps, uint256 relativeBandBps, uint256 assetTargetE18, uint256 dustBps)
        internal
        pure
        returns (uint256)
    {
        uint256 absoluteE18 = bandBps * (E18 / BPS);
        if (relativeBandBps == 0) return absoluteE18;
        uint256 relativeE18 = relativeBandBps * assetTargetE18 / BPS;
        uint256 leastE18 = (dustBps + 1) * (E18 / BPS);
        if (relativeE18 < leastE18) relativeE18 = leastE18;
        return relativeE18 < absoluteE18 ? relativeE18 : absoluteE18;
    }

    /* VALUE */

    /// @notice Value of an amount {usd18}, rounded down.
    // {usd18} = {tok} * {usd18/whole} / {tok/whole}
    function valueDown(uint256 amountRaw, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        unchecked {
            return amountRaw * priceE18 / unit;
        }
    }

    /// @notice Value of an amount {usd18}, rounded up.
    function valueUp(uint256 amountRaw, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return (amountRaw * priceE18 + unit - 1) / unit;
    }

    /// @notice Part of a whole as a fraction of 1e18, rounded up.
    function fractionUp(uint256 partE18, uint256 totalE18) internal pure returns (uint256) {
        return (partE18 * E18 + totalE18 - 1) / totalE18;
    }

    /// @notice Value of every asset, rounded down, and their sum {usd18}.
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

    /// @notice Signed distance of every asset from its target value (which rounds down), and the sum of their absolute values {usd18}.
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

    /* P0: WHETHER A REBALANCE IS NEEDED */

    /// @notice Index of the first asset whose weight is further from its target than its band allows, or `NONE`.
    function firstBroken(int256[] memory distancesE18, uint256 totalE18, uint256[] memory bandsE18)
        internal
        pure
        returns (uint256)
    {
        unchecked {
            for (uint256 i; i < distancesE18.length; ++i) {
                if (_size(distancesE18.at(i)) * E18 > bandsE18.at(i) * totalE18) return i;
            }
            return NONE;
        }
    }

    /// @notice Whether the calendar allows a rebalance: there was none in the present period. Periods of `calendarSeconds` are counted from
    /// 1970; 0 means no calendar.
    function isCalendarOpen(uint256 rebalancedAt, uint256 calendarSeconds, uint256 timestamp)
        internal
        pure
        returns (bool)
    {
        return calendarSeconds != 0 && rebalancedAt < timestamp - timestamp % calendarSeconds;
    }

    /// @notice Whether anyone may rebalance: `openAfterSeconds` after it was first seen due at `since` (0: not seen due). Never if
    /// `openAfterSeconds` is 0.
    function isOpen(uint256 since, uint256 openAfterSeconds, uint256 timestamp) internal pure returns (bool) {
        return since != 0 && openAfterSeconds != 0 && timestamp >= since + openAfterSeconds;
    }

    /// @notice Largest distance of any asset from its target in basis points of the total, rounded up.
    function driftBps(int256[] memory distancesE18, uint256 totalE18) internal pure returns (uint256 drift) {
        for (uint256 i; i < distancesE18.length; ++i) {
            uint256 bps = (_size(distancesE18.at(i)) * BPS + totalE18 - 1) / totalE18;
            if (bps > drift) drift = bps;
        }
    }

    /* P1: WHAT MAY BE SOLD AND BOUGHT */

    /// @notice Largest sale of an asset: its distance above target {tok}, rounded down; 0 at or below target.
    // {tok} = {usd18} * {tok/whole} / {usd18/whole}
    function surplusRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return assetDistanceE18 > 0 ? uint256(assetDistanceE18) * unit / priceE18 : 0;
    }

    /// @notice Largest purchase that does not cross the target: the distance below it {tok}, rounded down.
    function deficitRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) internal pure returns (uint256) {
        return assetDistanceE18 < 0 ? uint256(-assetDistanceE18) * unit / priceE18 : 0;
    }

    /// @notice Total distance of all assets outside their destinations, and the value that must be sold to bring all of them there {usd18}:
    /// the larger of the sums above and below, plus dust for the loss of the trades themselves. A destination's width rounds down.
    function toDestination(
        int256[] memory distancesE18,
        uint256 totalE18,
        uint256[] memory bandsE18,
        uint256 destinationBps,
        uint256 dustBps
    ) internal pure returns (uint256 distanceE18, uint256 needE18) {
        unchecked {
            uint256 above;
            uint256 below;
            for (uint256 i; i < distancesE18.length; ++i) {
                int256 d = distancesE18.at(i);
                // 2^14 * 2^60 * 2^120 < 2^256
                uint256 width = destinationBps * bandsE18.at(i) * totalE18 / (BPS * E18);
                uint256 size = _size(d);
                if (size <= width) continue;
                if (d > 0) above += size - width;
                else below += size - width;
            }
            return (above + below, (above > below ? above : below) + dustBps * totalE18 / BPS);
        }
    }

    /// @notice Reverts unless each asset to sell has a surplus and each to buy a deficit. Returns whether each sale is within its surplus.
    function checkSales(
        uint256[] memory sales,
        uint256[] memory minBuys,
        int256[] memory distancesE18,
        uint256[] memory pricesE18,
        uint256[] memory units
    ) internal pure returns (bool within) {
        unchecked {
            within = true;
            for (uint256 i; i < sales.length; ++i) {
                int256 d = distancesE18.at(i);
                if (sales.at(i) != 0) {
                    if (d <= 0) revert SaleWithoutSurplus(i);
                    if (sales.at(i) > surplusRaw(d, pricesE18.at(i), units.at(i))) within = false;
                }
                if (minBuys.at(i) != 0 && d >= 0) revert BuyWithoutDeficit(i);
            }
        }
    }

    /// @notice Sales lowered to what P1 and P6 allow {tok}: each to its surplus, then all by the same factor until they are worth at most
    /// `needE18` at primary prices and `turnoverE18` at the higher ones. Rounded down. Sales that are allowed stay unchanged.
    function fitSales(
        uint256[] memory sales,
        uint256[] memory surplusesRaw,
        uint256[] memory pricesE18,
        uint256[] memory hisE18,
        uint256[] memory units,
        uint256 needE18,
        uint256 turnoverE18
    ) internal pure returns (uint256[] memory fitted) {
        fitted = Lists.uints(sales.length);
        for (uint256 i; i < sales.length; ++i) {
            fitted.set(i, sales.at(i) < surplusesRaw.at(i) ? sales.at(i) : surplusesRaw.at(i));
        }
        return _scaledTo(_scaledTo(fitted, pricesE18, units, needE18), hisE18, units, turnoverE18);
    }

    /// @notice Least value that the purchases must reach {usd18}, at the lower prices, for sales lowered from `sales` to `fitted`: the
    /// value of `minBuys` times the value of `fitted` over the value of `sales`, both at the higher prices. Rounded down. It is the whole
    /// value of `minBuys` if nothing is sold, or if no basket could hold that much.
    // {usd18} = {usd18} * {usd18} / {usd18}
    function fittedMinimumE18(
        uint256[] memory minBuys,
        uint256[] memory losE18,
        uint256[] memory sales,
        uint256[] memory fitted,
        uint256[] memory hisE18,
        uint256[] memory units
    ) internal pure returns (uint256 minimumE18) {
        uint256[] memory wanted = _capped(minBuys);
        for (uint256 i; i < wanted.length; ++i) {
            minimumE18 += valueDown(wanted.at(i), losE18.at(i), units.at(i));
        }
        uint256 askedE18 = _worthUp(_capped(sales), hisE18, units);
        if (minimumE18 > MAX_TOTAL_E18 || askedE18 == 0) return minimumE18;
        return minimumE18 * _worthUp(fitted, hisE18, units) / askedE18;
    }

    /// @dev Amounts limited so that their values at sound prices cannot overflow. No real trade is larger.
    function _capped(uint256[] memory amounts) private pure returns (uint256[] memory capped) {
        capped = Lists.uints(amounts.length);
        for (uint256 i; i < amounts.length; ++i) {
            capped.set(i, amounts.at(i) < MAX_AMOUNT_RAW ? amounts.at(i) : MAX_AMOUNT_RAW);
        }
    }

    /// @dev The sum of the values of amounts, each rounded up.
    function _worthUp(uint256[] memory amounts, uint256[] memory pricesE18, uint256[] memory units)
        private
        pure
        returns (uint256 sumE18)
    {
        for (uint256 i; i < amounts.length; ++i) {
            sumE18 += valueUp(amounts.at(i), pricesE18.at(i), units.at(i));
        }
    }

    /// @notice Reverts if an asset was traded, but less of it than its minimum {tok}.
    function checkTradeSize(uint256 asset, uint256 amountRaw, uint256 minimumRaw) internal pure {
        if (amountRaw != 0 && amountRaw < minimumRaw) revert TradeTooSmall(asset, amountRaw, minimumRaw);
    }

    /// @notice Sales that P1 and P6 allow together {tok}: every surplus, all scaled down by the same factor to the need and to the rest of
    /// the turnover budget. A sale below its minimum trade becomes 0. Rounded down.
    function allowedSales(
        uint256[] memory surplusesRaw,
        uint256[] memory pricesE18,
        uint256[] memory hisE18,
        uint256[] memory units,
        uint256[] memory minTradesRaw,
        uint256 needE18,
        uint256 turnoverLeftE18,
        uint256 totalE18
    ) internal pure returns (uint256[] memory sales) {
        uint256[] memory scaled = _scaledTo(surplusesRaw, pricesE18, units, needE18);
        scaled = _scaledTo(scaled, hisE18, units, turnoverLeftE18 * totalE18 / E18);
        sales = Lists.uints(scaled.length); // a new list: `scaled` may be the caller's
        for (uint256 i; i < scaled.length; ++i) {
            sales.set(i, scaled.at(i) < minTradesRaw.at(i) ? 0 : scaled.at(i));
        }
    }

    /// @dev The amounts, scaled so that their values, each rounded up, sum to at most `limitE18`.
    function _scaledTo(uint256[] memory amounts, uint256[] memory pricesE18, uint256[] memory units, uint256 limitE18)
        private
        pure
        returns (uint256[] memory scaled)
    {
        uint256 n = amounts.length;
        uint256 sumE18 = _worthUp(amounts, pricesE18, units);
        if (sumE18 <= limitE18) return amounts;
        scaled = Lists.uints(n);
        // Rounding each value up again may add one unit per asset.
        uint256 partE18 = limitE18 > n ? limitE18 - n : 0;
        for (uint256 i; i < n; ++i) {
            scaled.set(i, amounts.at(i) * partE18 / sumE18);
        }
    }

    /* P2: AT WHAT PRICE */

    /// @notice Slippage allowed now: climbs in a straight line from `startBps` to `maxBps` over `rampSeconds` (at least 1) from `since`,
    /// when a rebalance was first seen due. Rounded down. If `since` is 0, the climb has not begun.
    function slippageE18(uint256 startBps, uint256 maxBps, uint256 rampSeconds, uint256 since, uint256 timestamp)
        internal
        pure
        returns (uint256)
    {
        uint256 elapsed = since == 0 ? 0 : timestamp - since;
        if (elapsed >= rampSeconds) return maxBps * (E18 / BPS);
        return (startBps * rampSeconds + (maxBps - startBps) * elapsed) * (E18 / BPS) / rampSeconds;
    }

    /// @notice Least value of the purchases for the value sold {usd18}, rounded up.
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

    /// @notice Level to store when budget or period change: the present level, raised by what the new rate will subtract for the time
    /// since. Rounds up: read at once it is the present level or one unit (1e-18) more, and with a slower rate it is never read lower than
    /// with the old one.
    function carryLevel(
        uint256 levelE18,
        uint256 budgetBps,
        uint256 periodSeconds,
        uint256 newBudgetBps,
        uint256 newPeriodSeconds,
        uint256 elapsedSeconds
    ) internal pure returns (uint256) {
        uint256 presentE18 = leak(levelE18, budgetBps, periodSeconds, elapsedSeconds);
        if (presentE18 == 0) return 0;
        uint256 toDrain = newBudgetBps * (E18 / BPS) * elapsedSeconds;
        // Not as (a + b - 1) / b: in this form `leak` subtracts the same quotient that is added here, which a prover can see.
        return presentE18 + toDrain / newPeriodSeconds + (toDrain % newPeriodSeconds == 0 ? 0 : 1);
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

    /* AUCTION: WHEN THE ORACLE IS GONE */

    /// @notice Price of a whole lot now {bought tok}: falls in a straight line from `startPayRaw` to `floorPayRaw` over `decaySeconds` (at
    /// least 1), rounded up. Both times have the same unit.
    function auctionPayRaw(uint256 startPayRaw, uint256 floorPayRaw, uint256 decaySeconds, uint256 elapsedSeconds)
        internal
        pure
        returns (uint256)
    {
        if (elapsedSeconds >= decaySeconds) return floorPayRaw;
        uint256 fallenRaw = (startPayRaw - floorPayRaw) * elapsedSeconds / decaySeconds;
        return startPayRaw - fallenRaw;
    }

    /// @dev |d|; d is at most 2^120 in size, so the negation cannot overflow.
    function _size(int256 d) private pure returns (uint256) {
        unchecked {
            return d >= 0 ? uint256(d) : uint256(-d);
        }
    }
}
