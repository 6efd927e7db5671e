// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";

/// @notice RebalancePolicy's line-shaped functions, for every number of the widths that the vault stores them in: ratios 16 bits,
/// durations 32, times 40, levels 64, targets 64, values 120. A revert is no counterexample: it stops a rebalance and harms nobody.
contract PolicyProofs is Test {
    uint256 private constant E18 = 1e18;
    uint256 private constant RATE = 1e14; // a basis point

    /* BUCKETS */

    function check_a_bucket_never_rises_by_waiting(uint64 level, uint16 budgetBps, uint32 period, uint40 elapsed)
        public
        pure
    {
        vm.assume(period >= 3_600);
        assert(RebalancePolicy.leak(level, budgetBps, period, elapsed) <= level);
    }

    function check_a_bucket_drains_no_more_than_its_rate(uint64 level, uint16 budgetBps, uint32 period, uint40 elapsed)
        public
        pure
    {
        vm.assume(period >= 3_600);
        uint256 left = RebalancePolicy.leak(level, budgetBps, period, elapsed);
        assert((level - left) * period <= budgetBps * RATE * elapsed);
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

    /// @dev New rules read the level that the old ones did: nothing is forgiven and nothing is charged.
    function check_a_carried_level_reads_as_before(
        uint64 level,
        uint16 budgetBps,
        uint32 period,
        uint16 newBudgetBps,
        uint32 newPeriod,
        uint40 elapsed
    ) public pure {
        vm.assume(period >= 3_600 && newPeriod >= 3_600);
        uint256 present = RebalancePolicy.leak(level, budgetBps, period, elapsed);
        uint256 carried =
            RebalancePolicy.carryLevel(level, budgetBps, period, newBudgetBps, newPeriod, elapsed);
        assert(RebalancePolicy.leak(carried, newBudgetBps, newPeriod, elapsed) == present);
    }

    /* SLIPPAGE, TARGETS, BANDS, TIME */

    function check_slippage_stays_between_start_and_most(
        uint16 startBps,
        uint16 maxBps,
        uint32 ramp,
        uint40 since,
        uint40 timestamp
    ) public pure {
        vm.assume(startBps <= maxBps && ramp != 0 && since <= timestamp);
        uint256 limit = RebalancePolicy.slippageE18(startBps, maxBps, ramp, since, timestamp);
        assert(limit >= startBps * RATE);
        assert(limit <= maxBps * RATE);
    }

    function check_a_glide_stays_between_its_ends(
        uint64 startE18,
        uint64 endE18,
        uint40 glideStart,
        uint40 glideEnd,
        uint40 timestamp
    ) public pure {
        vm.assume(glideStart <= glideEnd);
        uint256 target = RebalancePolicy.targetE18(startE18, endE18, glideStart, glideEnd, timestamp);
        assert(target >= (startE18 < endE18 ? startE18 : endE18));
        assert(target <= (startE18 < endE18 ? endE18 : startE18));
    }

    function check_a_band_is_wider_than_dust_and_no_wider_than_asked(
        uint16 bandBps,
        uint16 relativeBandBps,
        uint64 targetE18,
        uint16 dustBps
    ) public pure {
        vm.assume(bandBps > dustBps);
        uint256 band = RebalancePolicy.bandE18(bandBps, relativeBandBps, targetE18, dustBps);
        assert(band > dustBps * RATE);
        assert(band <= bandBps * RATE);
    }

    function check_nothing_is_open_before_its_time(uint40 since, uint32 openAfter, uint40 timestamp) public pure {
        if (RebalancePolicy.isOpen(since, openAfter, timestamp)) {
            assert(since != 0 && openAfter != 0 && timestamp - since >= openAfter);
        }
    }

    function check_due_is_the_earlier_of_what_is_known(uint40 broken, uint40 called) public pure {
        uint256 since = RebalancePolicy.dueSince(broken, called);
        assert((since == 0) == (broken == 0 && called == 0));
        if (broken != 0) assert(since <= broken);
        if (called != 0) assert(since <= called);
        assert(since == broken || since == called);
    }

    /// @dev One rebalance a calendar period: what was just rebalanced is not called for again.
    function check_the_calendar_calls_once_a_period(uint40 rebalancedAt, uint32 period, uint40 timestamp) public pure {
        vm.assume(rebalancedAt <= timestamp);
        uint256 since = RebalancePolicy.calendarSince(rebalancedAt, period, timestamp);
        assert(since <= timestamp);
        assert(since == 0 || rebalancedAt < since);
        assert(RebalancePolicy.calendarSince(timestamp, period, timestamp) == 0);
    }

    function check_an_auction_asks_between_floor_and_start(
        uint128 start,
        uint128 floor,
        uint32 decay,
        uint40 elapsed
    ) public pure {
        vm.assume(floor <= start && decay != 0);
        uint256 pay = RebalancePolicy.auctionPayRaw(start, floor, decay, elapsed);
        assert(pay >= floor);
        assert(pay <= start);
    }

    /* VALUES */

    function check_least_to_come_back_is_no_more_than_what_was_sold(uint120 sold, uint64 limit) public pure {
        vm.assume(limit <= E18);
        uint256 least = RebalancePolicy.minimumBoughtE18(sold, limit);
        assert(least <= sold);
        assert(least * E18 >= sold * (E18 - limit));
    }

    function check_rounding_up_and_down_differ_by_at_most_one(uint128 amount, uint128 price) public pure {
        uint256 up = RebalancePolicy.valueUp(amount, price, 1e6);
        uint256 down = RebalancePolicy.valueDown(amount, price, 1e6);
        assert(down <= up && up - down <= 1);
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
