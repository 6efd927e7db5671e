// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { PolicyHarness } from "../../contracts/mocks/PolicyHarness.sol";

/// @notice RebalancePolicy on both sides of each of its edges, computed by hand. What must hold for any numbers is in Policy.t.sol.
contract PolicyEdgesTest is Test {
    uint256 internal constant E18 = 1e18;
    uint256 internal constant MAX_TOTAL_E18 = 1 << 120;

    PolicyHarness internal policy = new PolicyHarness();

    /* TARGETS AND BANDS */

    function test_a_glide_is_a_straight_line_with_flat_ends() public view {
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 999), 0.2e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 1_000), 0.2e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 1_001), 0.2006e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 1_500), 0.5e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 1_999), 0.7994e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 2_000), 0.8e18);
        assertEq(policy.targetE18(0.2e18, 0.8e18, 1_000, 2_000, 2_001), 0.8e18);
        assertEq(policy.targetE18(0.8e18, 0.2e18, 1_000, 2_000, 1_250), 0.65e18, "falling");
        assertEq(policy.targetE18(1, 2, 5, 5, 5), 2, "a glide of no length is over");
        assertEq(policy.targetE18(1, 2, 0, 3, 2), 1, "rounds down");
    }

    function test_a_band_is_the_narrower_of_two_and_wider_than_dust() public view {
        assertEq(policy.bandE18(200, 0, 0.1e18, 20), 0.02e18, "no relative band");
        assertEq(policy.bandE18(200, 1_000, 0.1e18, 20), 0.01e18, "a tenth of the target");
        assertEq(policy.bandE18(200, 5_000, 0.5e18, 20), 0.02e18, "a half of the target is wider");
        assertEq(policy.bandE18(200, 1, 0.01e18, 20), 0.0021e18, "dust and one basis point");
        assertEq(policy.bandE18(21, 1, 0.01e18, 20), 0.0021e18);
        assertEq(policy.bandE18(5_000, 3_333, E18 - 1, 0), 0.3333e18 - 1, "rounds down");
        assertEq(policy.bandE18(1, 1, 0, 0), 0.0001e18, "a target of nothing");
    }

    /* VALUE */

    function test_one_asset_alone_may_be_worth_the_maximum_and_no_more() public {
        (, uint256 totalE18) = policy.weigh(_list(MAX_TOTAL_E18, 0), _list(1, 1), _list(1, 1));
        assertEq(totalE18, MAX_TOTAL_E18);
        vm.expectRevert(
            abi.encodeWithSelector(RebalancePolicy.TotalOutOfRange.selector, MAX_TOTAL_E18 + 1, MAX_TOTAL_E18)
        );
        policy.weigh(_list(MAX_TOTAL_E18 + 1, 5), _list(1, 1), _list(1, 1));
        (, totalE18) = policy.weigh(_list(1, 0), _list(1, 1), _list(1, 1));
        assertEq(totalE18, 1, "the smallest basket");
    }

    function test_every_value_is_told() public view {
        (uint256[] memory values,) = policy.weigh(_pair(3, 5), _pair(7, 11), _pair(1, 2));
        assertEq(values, _pair(21, 27));
    }

    function test_distances_are_signed_and_targets_round_down() public view {
        (int256[] memory d, uint256 distanceE18) = policy.distances(_list(70, 31), 101, _list(0.5e18, 0.5e18));
        assertEq(d[0], 20);
        assertEq(d[1], -19);
        assertEq(distanceE18, 39);
    }

    /* P0 */

    function test_drift_is_the_largest_and_rounds_up() public view {
        assertEq(policy.driftBps(_signs(300, -100), 10_000), 300);
        assertEq(policy.driftBps(_signs(-100, 300), 10_000), 300);
        assertEq(policy.driftBps(_signs(1, 0), 9_999), 2, "one basis point and a little");
    }

    function test_the_calendar_is_open_once_in_every_period() public view {
        assertFalse(policy.isCalendarOpen(0, 0, 864_005), "no calendar");
        assertTrue(policy.isCalendarOpen(863_999, 86_400, 864_005));
        assertTrue(policy.isCalendarOpen(863_999, 86_400, 864_000), "from the first second on");
        assertFalse(policy.isCalendarOpen(863_999, 86_400, 863_999));
        assertFalse(policy.isCalendarOpen(864_000, 86_400, 864_005), "rebalanced in its first second");
        assertFalse(policy.isCalendarOpen(864_004, 86_400, 864_005));
        assertTrue(policy.isCalendarOpen(7, 1, 8));
    }

    function test_execution_opens_when_its_time_has_come_and_not_before() public view {
        assertFalse(policy.isOpen(0, 10, 1_000), "not due");
        assertFalse(policy.isOpen(0, 10, 10));
        assertFalse(policy.isOpen(5, 0, 1_000), "never opens");
        assertFalse(policy.isOpen(5, 10, 14));
        assertTrue(policy.isOpen(5, 10, 15));
        assertTrue(policy.isOpen(5, 10, 16));
        assertTrue(policy.isOpen(1, 10, 11));
        assertTrue(policy.isOpen(5, 1, 6));
    }

    /* P1 */

    function test_the_smallest_distance_is_a_surplus_or_a_deficit() public view {
        assertEq(policy.surplusRaw(1, 1, 1e18), 1e18);
        assertEq(policy.deficitRaw(-1, 1, 1e18), 1e18);
        assertEq(policy.surplusRaw(-1, 1, 1e18), 0);
        assertEq(policy.deficitRaw(1, 1, 1e18), 0);
        assertEq(policy.surplusRaw(2, 3, 1), 0, "rounds down");
        assertEq(policy.deficitRaw(-2, 3, 1), 0, "rounds down");
    }

    function test_what_lies_outside_its_destination_counts() public view {
        // Halfway to bands of 2 %, 0.5 % and 3 % of 10,000: 100, 25 and 150 wide.
        uint256[] memory bands = _list(0.02e18, 0.005e18, 0.03e18);
        (uint256 distanceE18, uint256 needE18) =
            policy.toDestination(_signed(300e18, -100e18, -200e18), 10_000e18, bands, 5_000, 0);
        assertEq(distanceE18, 325e18);
        assertEq(needE18, 200e18, "200 above, 125 below");
        (distanceE18, needE18) = policy.toDestination(_signed(-300e18, 100e18, 200e18), 10_000e18, bands, 5_000, 0);
        assertEq(distanceE18, 325e18);
        assertEq(needE18, 200e18, "125 above, 200 below");
        (distanceE18, needE18) = policy.toDestination(_signed(99e18, -25e18, -151e18), 10_000e18, bands, 5_000, 0);
        assertEq(distanceE18, 1e18, "inside, on the edge, and outside");
        assertEq(needE18, 1e18);
    }

    function test_a_destination_at_the_target_is_the_target_and_widths_round_down() public view {
        uint256[] memory bands = _list(0.02e18, 0.02e18, 0.02e18);
        (uint256 distanceE18, uint256 needE18) = policy.toDestination(_signed(1, -1, 0), 10_000, bands, 0, 0);
        assertEq(distanceE18, 2);
        assertEq(needE18, 1);
        // 99.99
        (distanceE18, needE18) = policy.toDestination(_signed(100, -100, 0), 9_999, bands, 5_000, 0);
        assertEq(distanceE18, 2);
        assertEq(needE18, 1);
    }

    function test_the_need_includes_dust() public view {
        uint256[] memory bands = _list(0.02e18, 0.02e18, 0.02e18);
        (uint256 distanceE18, uint256 needE18) = policy.toDestination(_signed(7, -9, 0), 9_999, bands, 0, 10);
        assertEq(distanceE18, 16);
        assertEq(needE18, 9 + 9, "10 basis points of 9,999, rounded down");
        (, needE18) = policy.toDestination(_signed(0, 0, 0), 10_000, bands, 0, 10);
        assertEq(needE18, 10);
    }

    function test_an_asset_that_is_not_traded_needs_no_price() public view {
        policy.checkSales(_pair(0, 0), _pair(0, 0), _signs(5, -5), _pair(0, 0), _pair(1, 1));
    }

    function test_a_sale_may_be_the_whole_surplus_and_a_purchase_needs_the_smallest_deficit() public {
        assertTrue(policy.checkSales(_pair(5, 0), _pair(0, 1), _signs(5, -1), _pair(1, 1), _pair(1, 1)));
        assertTrue(policy.checkSales(_pair(1, 0), _pair(0, 1), _signs(1, -1), _pair(1, 1), _pair(1, 1)));
        assertFalse(policy.checkSales(_pair(6, 0), _pair(0, 1), _signs(5, -1), _pair(1, 1), _pair(1, 1)));
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.SaleWithoutSurplus.selector, 1));
        policy.checkSales(_pair(0, 1), _pair(0, 0), _signs(5, -5), _pair(1, 1), _pair(1, 1));
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.BuyWithoutDeficit.selector, 1));
        policy.checkSales(_pair(5, 0), _pair(0, 1), _signs(5, 0), _pair(1, 1), _pair(1, 1));
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.BuyWithoutDeficit.selector, 0));
        policy.checkSales(_pair(0, 0), _pair(1, 0), _signs(1, -1), _pair(1, 1), _pair(1, 1));
    }

    function test_sales_shrink_to_surplus_need_and_budget_and_what_must_come_back_with_them() public view {
        uint256[] memory prices = _pair(E18, E18);
        // Within everything: as asked.
        _expectFit(_pair(3, 3), _pair(0, 4), _pair(3, 3), 6e18, 6e18, _pair(3, 3), 4e18, prices);
        // The first to its surplus: 5 of 6 are left.
        _expectFit(_pair(3, 3), _pair(11, 1), _pair(2, 9), 6e18, 6e18, _pair(2, 3), 10e18, prices);
        // Half of the need, of which two wei are for rounding up.
        _expectFit(_pair(300, 300), _pair(7, 2), _pair(300, 300), 300e18, 600e18, _pair(149, 149), 4.47e18, prices);
        _expectFit(
            _pair(300, 0), _pair(0, 8), _pair(300, 0), 600e18, 150e18, _pair(149, 0), 3.97333333333333333e18 + 3, prices
        );
        // No real trade has such amounts: no value overflows, and an impossible minimum is required in full.
        uint256 most = type(uint256).max;
        _expectFit(_pair(most, 0), _pair(0, most), _pair(5, 0), most, most, _pair(5, 0), ((1 << 120) - 1) * E18, prices);
    }

    function _expectFit(
        uint256[] memory sales,
        uint256[] memory buys,
        uint256[] memory surpluses,
        uint256 needE18,
        uint256 turnoverE18,
        uint256[] memory fitted,
        uint256 minimumE18,
        uint256[] memory prices
    ) internal view {
        assertEq(policy.fitSales(sales, surpluses, prices, prices, _pair(1, 1), needE18, turnoverE18), fitted);
        assertEq(policy.fittedMinimumE18(buys, prices, sales, fitted, prices, _pair(1, 1)), minimumE18);
    }

    function test_a_trade_is_nothing_or_at_least_its_minimum() public {
        policy.checkTradeSize(0, 0, 5);
        policy.checkTradeSize(0, 5, 5);
        policy.checkTradeSize(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TradeTooSmall.selector, 2, 4, 5));
        policy.checkTradeSize(2, 4, 5);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TradeTooSmall.selector, 2, 1, 2));
        policy.checkTradeSize(2, 1, 2);
    }

    function test_allowed_sales_are_the_surpluses_where_need_and_turnover_allow() public view {
        _checkAllowed(_pair(10, 20), _pair(1, 1), _pair(0, 0), 30, E18, 30, _pair(10, 20));
    }

    function test_allowed_sales_shrink_alike_to_the_need() public view {
        _checkAllowed(_pair(10, 20), _pair(1, 1), _pair(0, 0), 29, E18, 30, _pair(9, 18));
        // Of 30,000 at most 15,000, less one an asset for rounding: 14,998.
        _checkAllowed(_pair(10_000, 20_000), _pair(1, 1), _pair(0, 0), 15_000, E18, 30_000, _pair(4_999, 9_998));
        _checkAllowed(_pair(10_000, 20_000), _pair(1, 1), _pair(0, 0), 2, E18, 30_000, _pair(0, 0));
        _checkAllowed(_pair(10_000, 20_000), _pair(1, 1), _pair(0, 0), 1, E18, 30_000, _pair(0, 0));
        _checkAllowed(_pair(10_000, 20_000), _pair(1, 1), _pair(0, 0), 5, E18, 30_000, _pair(1, 2));
    }

    function test_allowed_sales_shrink_alike_to_what_is_left_of_the_turnover_at_the_higher_price() public view {
        // Worth 60 at the higher price, of 101 half may go: 50.5, so 50, so 48.
        _checkAllowed(_pair(10, 20), _pair(2, 2), _pair(0, 0), 30, 0.5e18, 101, _pair(8, 16));
        _checkAllowed(_pair(10, 20), _pair(2, 2), _pair(0, 0), 30, 0, 101, _pair(0, 0));
        _checkAllowed(_pair(10, 20), _pair(2, 2), _pair(0, 0), 30, 2e18, 30, _pair(10, 20));
    }

    function test_allowed_sales_leave_out_what_is_below_its_minimum() public view {
        _checkAllowed(_pair(10, 20), _pair(1, 1), _pair(10, 21), 30, E18, 30, _pair(10, 0));
        _checkAllowed(_pair(10, 20), _pair(1, 1), _pair(11, 20), 30, E18, 30, _pair(0, 20));
    }

    function test_allowed_sales_of_cheap_units_are_nothing_where_the_limit_is_rounding() public view {
        uint256[] memory sales =
            policy.allowedSales(_pair(30_000, 0), _pair(1, 1), _pair(1, 1), _pair(10, 10), _pair(0, 0), 2, E18, 1e30);
        assertEq(sales, _pair(0, 0));
    }

    function test_allowed_sales_of_a_large_basket_keep_to_the_turnover_to_the_unit() public view {
        uint256[] memory sales = policy.allowedSales(
            _pair(1e30, 1e6), _pair(1, 1), _pair(1, 1), _pair(1, 1), _pair(0, 0), 2e30, E18, 1e30
        );
        assertLt(sales[0], 1e30);
    }

    function test_allowed_sales_write_every_entry_whatever_was_in_memory() public pure {
        uint256[] memory surpluses = _pair(10, 20);
        uint256[] memory one = _pair(1, 1);
        uint256[] memory minimums = _pair(11, 20);
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, 1024) { i := add(i, 32) } { mstore(add(free, i), not(0)) }
        }
        uint256[] memory sales = RebalancePolicy.allowedSales(surpluses, one, one, one, minimums, 30, E18, 30);
        assertEq(sales, _pair(0, 20));
    }

    function _checkAllowed(
        uint256[] memory surpluses,
        uint256[] memory his,
        uint256[] memory minimums,
        uint256 need,
        uint256 turnoverLeftE18,
        uint256 total,
        uint256[] memory expected
    ) internal view {
        uint256[] memory sales = policy.allowedSales(
            surpluses, _pair(1, 1), his, _pair(1, 1), minimums, need, turnoverLeftE18, total
        );
        assertEq(sales, expected);
    }

    /* P2 */

    function test_the_climb_begins_when_it_became_due() public view {
        assertEq(policy.slippageE18(10, 100, 1_000, 1, 501), 55e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 0, 1), 10e14);
        assertEq(policy.slippageE18(10, 100, 1, 7, 8), 100e14);
    }

    function test_the_smallest_part_that_must_come_back_rounds_up() public view {
        assertEq(policy.minimumBoughtE18(1, E18 - 1), 1);
    }

    /* P3 */

    function test_without_dust_nothing_may_cross_or_move_away() public {
        policy.checkTowardTarget(_signs(1, -1), _signs(0, 0), 10_000, 0);
        policy.checkTowardTarget(_signs(2, -2), _signs(1, -1), 10_000, 0);
        _expectAway(0, 1, -1);
        policy.checkTowardTarget(_signs(1, -1), _signs(-1, 0), 10_000, 0);
        _expectAway(1, -1, 1);
        policy.checkTowardTarget(_signs(1, -1), _signs(0, 1), 10_000, 0);
        _expectAway(0, 0, 1);
        policy.checkTowardTarget(_signs(0, 0), _signs(1, 0), 10_000, 0);
        _expectAway(1, 0, -1);
        policy.checkTowardTarget(_signs(0, 0), _signs(0, -1), 10_000, 0);
        _expectAway(0, 2, 3);
        policy.checkTowardTarget(_signs(2, -2), _signs(3, 0), 10_000, 0);
    }

    /* P4 */

    function test_progress_is_measured_to_the_unit() public {
        policy.checkProgress(1_000e18, 10_000e18, 500e18, 10_000e18, 5_000, 0);
        vm.expectPartialRevert(RebalancePolicy.TooLittleProgress.selector);
        policy.checkProgress(1_000e18, 10_000e18, 500e18 + 1, 10_000e18, 5_000, 0);
        policy.checkProgress(11e18, 10_000e18, 10e18, 10_000e18, 10_000, 10);
        vm.expectPartialRevert(RebalancePolicy.TooLittleProgress.selector);
        policy.checkProgress(11e18, 10_000e18, 10e18 + 1, 10_000e18, 10_000, 10);
    }

    /// @dev Lists are read without bounds checks: what lies behind them in memory must not count.
    function test_what_lies_behind_a_list_does_not_count() public pure {
        int256[] memory before = _signs(1, -1);
        int256[] memory afterward = _signs(0, 0);
        uint256[] memory behind = new uint256[](1_000);
        RebalancePolicy.checkTowardTarget(before, afterward, 10_000, 0);
        assertEq(RebalancePolicy.driftBps(afterward, 10_000), 0);
        assertEq(behind.length, 1_000);
    }

    /* P5, P6 */

    function test_a_carried_level_reads_the_same_under_the_new_rules() public view {
        // A quarter of a day drains 0.25 % of 1 % a day, and 1 % of 2 % a half day.
        uint256 carried = policy.carryLevel(1e16, 100, 86_400, 200, 43_200, 21_600);
        assertEq(carried, 1.75e16);
        assertEq(policy.leak(carried, 200, 43_200, 21_600), 0.75e16);
        assertEq(policy.carryLevel(1e16, 100, 86_400, 200, 43_200, 86_400), 0, "what is empty stays so");
        assertEq(policy.carryLevel(1, 100, 86_400, 200, 43_200, 0), 1);
        assertEq(policy.carryLevel(1e16, 0, 3_600, 1, 7_000, 3), 1e16 + 42857142858, "rounds up");
        // At all but the same rate nothing is left 26 s later, so nothing may be 9 s after a change that slows it.
        carried = policy.carryLevel(34_999_999, 1, 100_000_003, 1, 100_000_004, 26);
        assertEq(policy.leak(34_999_999, 1, 100_000_003, 35), 1);
        assertEq(policy.leak(carried, 1, 100_000_004, 35), 1, "no less than without the change");
    }

    /* AUCTION */

    function test_an_auctions_price_falls_in_a_straight_line_and_rounds_up() public view {
        assertEq(policy.auctionPayRaw(1_000, 400, 100, 0), 1_000);
        assertEq(policy.auctionPayRaw(1_000, 400, 100, 50), 700);
        assertEq(policy.auctionPayRaw(1_000, 400, 100, 99), 406);
        assertEq(policy.auctionPayRaw(1_000, 400, 100, 100), 400);
        assertEq(policy.auctionPayRaw(1_000, 400, 100, 101), 400);
        assertEq(policy.auctionPayRaw(1_000, 0, 3, 1), 667, "rounds up");
    }

    /* HELPERS */

    function _expectAway(uint256 asset, int256 before, int256 afterward) internal {
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, asset, before, afterward, 0));
    }

    function _list(uint256 a, uint256 b) internal pure returns (uint256[] memory) {
        return _pair(a, b);
    }

    function _pair(uint256 a, uint256 b) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _list(uint256 a, uint256 b, uint256 c) internal pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _signs(int256 a, int256 b) internal pure returns (int256[] memory list) {
        list = new int256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _signed(int256 a, int256 b, int256 c) internal pure returns (int256[] memory list) {
        list = new int256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }
}
