// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { RebalancePolicy } from "../libraries/RebalancePolicy.sol";

/// @title PolicyHarness
/// @notice Every function of RebalancePolicy as an external function, so that a test can compare it with `rebalancer/policy.py`. In the
/// library's order.
contract PolicyHarness {
    function targetE18(uint256 startE18, uint256 endE18, uint256 glideStart, uint256 glideEnd, uint256 timestamp)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.targetE18(startE18, endE18, glideStart, glideEnd, timestamp);
    }

    function bandE18(uint256 bandBps, uint256 relativeBandBps, uint256 assetTargetE18, uint256 dustBps)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.bandE18(bandBps, relativeBandBps, assetTargetE18, dustBps);
    }

    function valueDown(uint256 amountRaw, uint256 priceE18, uint256 unit) external pure returns (uint256) {
        return RebalancePolicy.valueDown(amountRaw, priceE18, unit);
    }

    function valueUp(uint256 amountRaw, uint256 priceE18, uint256 unit) external pure returns (uint256) {
        return RebalancePolicy.valueUp(amountRaw, priceE18, unit);
    }

    function fractionUp(uint256 partE18, uint256 totalE18) external pure returns (uint256) {
        return RebalancePolicy.fractionUp(partE18, totalE18);
    }

    function weigh(uint256[] calldata held, uint256[] calldata pricesE18, uint256[] calldata units)
        external
        pure
        returns (uint256[] memory valuesE18, uint256 totalE18)
    {
        return RebalancePolicy.weigh(held, pricesE18, units);
    }

    function distances(uint256[] calldata valuesE18, uint256 totalE18, uint256[] calldata targetsE18)
        external
        pure
        returns (int256[] memory distancesE18, uint256 distanceE18)
    {
        return RebalancePolicy.distances(valuesE18, totalE18, targetsE18);
    }

    function firstBroken(int256[] calldata distancesE18, uint256 totalE18, uint256[] calldata bandsE18)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.firstBroken(distancesE18, totalE18, bandsE18);
    }

    function isCalendarOpen(uint256 rebalancedAt, uint256 calendarSeconds, uint256 timestamp)
        external
        pure
        returns (bool)
    {
        return RebalancePolicy.isCalendarOpen(rebalancedAt, calendarSeconds, timestamp);
    }

    function isOpen(uint256 since, uint256 openAfterSeconds, uint256 timestamp) external pure returns (bool) {
        return RebalancePolicy.isOpen(since, openAfterSeconds, timestamp);
    }

    function driftBps(int256[] calldata distancesE18, uint256 totalE18) external pure returns (uint256) {
        return RebalancePolicy.driftBps(distancesE18, totalE18);
    }

    function surplusRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) external pure returns (uint256) {
        return RebalancePolicy.surplusRaw(assetDistanceE18, priceE18, unit);
    }

    function deficitRaw(int256 assetDistanceE18, uint256 priceE18, uint256 unit) external pure returns (uint256) {
        return RebalancePolicy.deficitRaw(assetDistanceE18, priceE18, unit);
    }

    function toDestination(
        int256[] calldata distancesE18,
        uint256 totalE18,
        uint256[] calldata bandsE18,
        uint256 destinationBps,
        uint256 dustBps
    ) external pure returns (uint256 distanceE18, uint256 needE18) {
        return RebalancePolicy.toDestination(distancesE18, totalE18, bandsE18, destinationBps, dustBps);
    }

    function checkSales(
        uint256[] calldata sales,
        uint256[] calldata minBuys,
        int256[] calldata distancesE18,
        uint256[] calldata pricesE18,
        uint256[] calldata units
    ) external pure returns (bool within) {
        return RebalancePolicy.checkSales(sales, minBuys, distancesE18, pricesE18, units);
    }

    function fitSales(
        uint256[] memory sales,
        uint256[] memory surplusesRaw,
        uint256[] memory pricesE18,
        uint256[] memory hisE18,
        uint256[] memory units,
        uint256 needE18,
        uint256 turnoverE18
    ) external pure returns (uint256[] memory) {
        return RebalancePolicy.fitSales(sales, surplusesRaw, pricesE18, hisE18, units, needE18, turnoverE18);
    }

    function fittedMinimumE18(
        uint256[] memory minBuys,
        uint256[] memory losE18,
        uint256[] memory sales,
        uint256[] memory fitted,
        uint256[] memory hisE18,
        uint256[] memory units
    ) external pure returns (uint256) {
        return RebalancePolicy.fittedMinimumE18(minBuys, losE18, sales, fitted, hisE18, units);
    }

    function checkTradeSize(uint256 asset, uint256 amountRaw, uint256 minimumRaw) external pure {
        RebalancePolicy.checkTradeSize(asset, amountRaw, minimumRaw);
    }

    function allowedSales(
        uint256[] memory surplusesRaw,
        uint256[] memory pricesE18,
        uint256[] memory hisE18,
        uint256[] memory units,
        uint256[] memory minTradesRaw,
        uint256 needE18,
        uint256 turnoverLeftE18,
        uint256 totalE18
    ) external pure returns (uint256[] memory) {
        return RebalancePolicy.allowedSales(
            surplusesRaw, pricesE18, hisE18, units, minTradesRaw, needE18, turnoverLeftE18, totalE18
        );
    }

    function slippageE18(uint256 startBps, uint256 maxBps, uint256 rampSeconds, uint256 since, uint256 timestamp)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.slippageE18(startBps, maxBps, rampSeconds, since, timestamp);
    }

    function minimumBoughtE18(uint256 soldE18, uint256 slippageLimitE18) external pure returns (uint256) {
        return RebalancePolicy.minimumBoughtE18(soldE18, slippageLimitE18);
    }

    function checkTowardTarget(
        int256[] calldata distancesBeforeE18,
        int256[] calldata distancesAfterE18,
        uint256 totalAfterE18,
        uint256 dustBps
    ) external pure {
        RebalancePolicy.checkTowardTarget(distancesBeforeE18, distancesAfterE18, totalAfterE18, dustBps);
    }

    function checkProgress(
        uint256 distanceBeforeE18,
        uint256 totalBeforeE18,
        uint256 distanceAfterE18,
        uint256 totalAfterE18,
        uint256 minProgressBps,
        uint256 dustBps
    ) external pure {
        RebalancePolicy.checkProgress(
            distanceBeforeE18, totalBeforeE18, distanceAfterE18, totalAfterE18, minProgressBps, dustBps
        );
    }

    function leak(uint256 levelE18, uint256 budgetBps, uint256 periodSeconds, uint256 elapsedSeconds)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.leak(levelE18, budgetBps, periodSeconds, elapsedSeconds);
    }

    function carryLevel(
        uint256 levelE18,
        uint256 budgetBps,
        uint256 periodSeconds,
        uint256 newBudgetBps,
        uint256 newPeriodSeconds,
        uint256 elapsedSeconds
    ) external pure returns (uint256) {
        return RebalancePolicy.carryLevel(
            levelE18, budgetBps, periodSeconds, newBudgetBps, newPeriodSeconds, elapsedSeconds
        );
    }

    function spendLoss(uint256 levelE18, uint256 lossE18, uint256 totalE18, uint256 budgetBps)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.spendLoss(levelE18, lossE18, totalE18, budgetBps);
    }

    function spendTurnover(uint256 levelE18, uint256 soldE18, uint256 totalE18, uint256 budgetBps)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.spendTurnover(levelE18, soldE18, totalE18, budgetBps);
    }

    function auctionPayRaw(uint256 startPayRaw, uint256 floorPayRaw, uint256 decaySeconds, uint256 elapsedSeconds)
        external
        pure
        returns (uint256)
    {
        return RebalancePolicy.auctionPayRaw(startPayRaw, floorPayRaw, decaySeconds, elapsedSeconds);
    }
}
