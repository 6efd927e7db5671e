// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";

/// @notice RebalancePolicy for every number of the widths that the vault keeps: ratios 16 bits, durations 32, times 40, levels 64,
/// values 120. A revert is no counterexample: it stops a rebalance and harms nobody. Where an unknown is divided by an unknown the
/// solver does not come to an end: those are proved by Z3 in `rounding.py`, of integers of any size.
contract PolicyProofs is Test {
    uint256 private constant RATE = 1e14; // a basis point

    /* BUCKETS */

    function check_a_bucket_never_rises_by_waiting(uint64 level, uint16 budgetBps, uint32 period, uint40 elapsed)
        public
        pure
    {
        vm.assume(period >= 3_600);
        assert(RebalancePolicy.leak(level, budgetBps, period, elapsed) <= level);
    }

    function check_loss_spent_raises_the_level_and_never_past_the_budget(
        uint64 level,
        uint120 loss,
        uint120 total,
        uint16 budgetBps
    ) public pure {
        vm.assume(total != 0);
        uint256 next = RebalancePolicy.spendLoss(level, loss, total, budgetBps);
        assert(next >= level);
        assert(next <= budgetBps * RATE);
    }

    function check_turnover_spent_raises_the_level_and_never_past_the_budget(
        uint64 level,
        uint120 sold,
        uint120 total,
        uint16 budgetBps
    ) public pure {
        vm.assume(total != 0);
        uint256 next = RebalancePolicy.spendTurnover(level, sold, total, budgetBps);
        assert(next >= level);
        assert(next <= budgetBps * RATE);
    }

    /// @dev New rules read the level that the old ones did, or one unit more: nothing is forgiven.
    function check_a_carried_level_reads_as_before_or_one_unit_more(
        uint64 level,
        uint16 budgetBps,
        uint32 period,
        uint16 newBudgetBps,
        uint32 newPeriod,
        uint40 elapsed
    ) public pure {
        vm.assume(period >= 3_600 && newPeriod >= 3_600);
        uint256 present = RebalancePolicy.leak(level, budgetBps, period, elapsed);
        uint256 carried = RebalancePolicy.carryLevel(level, budgetBps, period, newBudgetBps, newPeriod, elapsed);
        uint256 read = RebalancePolicy.leak(carried, newBudgetBps, newPeriod, elapsed);
        assert(read >= present && read <= present + 1);
        assert(present != 0 || read == 0);
    }

    /* TIME */

    function check_nothing_is_open_before_its_time(uint40 since, uint32 openAfter, uint40 timestamp) public pure {
        if (RebalancePolicy.isOpen(since, openAfter, timestamp)) {
            assert(since != 0 && openAfter != 0 && timestamp - since >= openAfter);
        }
    }

    /// @dev One rebalance a calendar period: what was just rebalanced is not called for again.
    function check_the_calendar_opens_once_a_period(uint40 rebalancedAt, uint32 period, uint40 timestamp) public pure {
        vm.assume(rebalancedAt <= timestamp);
        if (RebalancePolicy.isCalendarOpen(rebalancedAt, period, timestamp)) {
            assert(period != 0 && rebalancedAt < timestamp);
        }
        assert(!RebalancePolicy.isCalendarOpen(timestamp, period, timestamp));
    }

    /* P1 */

    function check_a_sale_needs_a_surplus(int128 distance, uint128 price) public pure {
        vm.assume(price != 0);
        if (distance <= 0) assert(RebalancePolicy.surplusRaw(distance, price, 1e18) == 0);
        if (distance >= 0) assert(RebalancePolicy.deficitRaw(distance, price, 1e18) == 0);
    }

    function check_what_was_traded_is_nothing_or_the_minimum(uint128 amount, uint128 minimum) public pure {
        RebalancePolicy.checkTradeSize(0, amount, minimum);
        assert(amount == 0 || amount >= minimum);
    }

    /* P3 AND P4, two assets */

    function check_toward_target_means_no_further_away(
        int120[2] memory before,
        int120[2] memory afterward,
        uint120 totalAfter,
        uint16 dustBps
    ) public pure {
        int256[] memory b = new int256[](2);
        int256[] memory a = new int256[](2);
        (b[0], b[1], a[0], a[1]) = (before[0], before[1], afterward[0], afterward[1]);
        RebalancePolicy.checkTowardTarget(b, a, totalAfter, dustBps);
        uint256 dust = uint256(dustBps) * totalAfter / 10_000;
        for (uint256 i; i < 2; ++i) {
            assert(_size(a[i]) <= _size(b[i]) + dust);
            if ((b[i] > 0 && a[i] < 0) || (b[i] < 0 && a[i] > 0)) assert(_size(a[i]) <= dust);
        }
    }

    function _size(int256 d) private pure returns (uint256) {
        return d < 0 ? uint256(-d) : uint256(d);
    }
}
