// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { PolicyHarness } from "../../contracts/mocks/PolicyHarness.sol";

/// @notice RebalancePolicy alone: hand-computed anchors, edges, and what must hold for any numbers. Equality with the Python policy is
/// tested elsewhere.
contract PolicyTest is Test {
    uint256 internal constant E18 = 1e18;
    uint256 internal constant NONE = type(uint256).max;
    uint256 internal constant MAX_TOTAL_E18 = 1 << 120;

    PolicyHarness internal policy = new PolicyHarness();

    /* VALUE */

    function test_value_rounds_as_its_name_says() public view {
        // 1 unit of 8 decimals at 0.33333333 dollars: 3.3333333e9 of 1e18
        assertEq(policy.valueDown(1, 0.33333333e18 + 1, 1e8), 3333333300);
        assertEq(policy.valueUp(1, 0.33333333e18 + 1, 1e8), 3333333301);
        assertEq(policy.valueUp(1, 0.33333333e18, 1e8), 3333333300);
        assertEq(policy.valueUp(0, 1e18, 1e8), 0);
        assertEq(policy.fractionUp(1, 3), 333333333333333334);
        assertEq(policy.fractionUp(1, 1e30), 1);
    }

    function test_value_of_the_largest_amount_at_the_largest_price_does_not_overflow() public view {
        uint256 most = type(uint128).max;
        assertEq(policy.valueUp(most, most, 1e27), (most * most + 1e27 - 1) / 1e27);
        assertEq(policy.valueDown(most, most, 1), most * most);
    }

    function test_a_basket_worth_nothing_or_too_much_is_refused() public {
        _expectTotal(0);
        policy.weigh(_list(0, 0), _list(1e18, 1e18), _list(1, 1));
        // Worth less than 1e-18 dollars each.
        _expectTotal(0);
        policy.weigh(_list(1, 1), _list(1, 1), _list(1e18, 1e18));

        (, uint256 totalE18) = policy.weigh(_list(MAX_TOTAL_E18 - 1, 1), _list(1, 1), _list(1, 1));
        assertEq(totalE18, MAX_TOTAL_E18);
        _expectTotal(MAX_TOTAL_E18 + 1);
        policy.weigh(_list(MAX_TOTAL_E18, 1), _list(1, 1), _list(1, 1));
        _expectTotal(uint256(type(uint128).max) ** 2);
        policy.weigh(_list(type(uint128).max, 1), _list(type(uint128).max, 1), _list(1, 1));
    }

    /* P0 */

    function test_a_weight_on_its_band_is_inside_it() public view {
        uint256 totalE18 = 10_000e18;
        assertEq(policy.firstBroken(_signed(200e18, -200e18), totalE18, _list(0.02e18, 0.02e18)), NONE);
        assertEq(policy.firstBroken(_signed(200e18, -200e18 - 1), totalE18, _list(0.02e18, 0.02e18)), 1);
        assertEq(policy.firstBroken(_signed(200e18 + 1, -200e18 - 1), totalE18, _list(0.02e18, 0.02e18)), 0);
        assertEq(policy.driftBps(_signed(200e18, -200e18), totalE18), 200);
        assertEq(policy.driftBps(_signed(200e18, -200e18 - 1), totalE18), 201);
        assertEq(policy.driftBps(_signed(0, 0), totalE18), 0);
    }

    /* P1 */

    function test_surplus_and_deficit_are_on_their_own_side_only() public view {
        assertEq(policy.surplusRaw(5_000e18, 2_400e18, 1e18), 2_083333333333333333);
        assertEq(policy.surplusRaw(-5_000e18, 2_400e18, 1e18), 0);
        assertEq(policy.surplusRaw(0, 2_400e18, 1e18), 0);
        assertEq(policy.deficitRaw(-5_000e18, 2_400e18, 1e18), 2_083333333333333333);
        assertEq(policy.deficitRaw(5_000e18, 2_400e18, 1e18), 0);
        assertEq(policy.surplusRaw(int256(MAX_TOTAL_E18), 1, 1e27), MAX_TOTAL_E18 * 1e27);
    }

    /* P2 */

    function test_slippage_is_a_straight_line_with_flat_ends() public view {
        assertEq(policy.slippageE18(10, 100, 1_000, 0, 5_000), 10e14, "not seen broken");
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, 5_000), 10e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, 5_001), 10.09e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, 5_500), 55e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, 5_999), 99.91e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, 6_000), 100e14);
        assertEq(policy.slippageE18(10, 100, 1_000, 5_000, type(uint40).max), 100e14);
        assertEq(policy.slippageE18(0, 1, 3, 1, 2), 33333333333333, "rounds down");
        assertEq(policy.slippageE18(50, 50, 1, 7, 7), 50e14, "flat");
    }

    function test_the_least_that_must_come_back_rounds_up() public view {
        assertEq(policy.minimumBoughtE18(4_800e18, 10e14), 4_795.2e18);
        assertEq(policy.minimumBoughtE18(1, 1), 1);
        assertEq(policy.minimumBoughtE18(0, 10e14), 0);
        assertEq(policy.minimumBoughtE18(1_001, 0), 1_001);
    }

    /* P3 */

    function test_crossing_by_dust_is_allowed_and_by_more_is_not() public {
        // dust: 10 of 10,000
        policy.checkTowardTarget(_signed(100, -100), _signed(-10, 10), 10_000, 10);
        vm.expectRevert(
            abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, 0, int256(100), int256(-11), 10)
        );
        policy.checkTowardTarget(_signed(100, -100), _signed(-11, 10), 10_000, 10);
        vm.expectRevert(
            abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, 1, int256(-100), int256(11), 10)
        );
        policy.checkTowardTarget(_signed(100, -100), _signed(-10, 11), 10_000, 10);
    }

    function test_ending_further_away_by_dust_is_allowed_and_by_more_is_not() public {
        policy.checkTowardTarget(_signed(100, 0), _signed(110, -10), 10_000, 10);
        vm.expectRevert(
            abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, 0, int256(100), int256(111), 10)
        );
        policy.checkTowardTarget(_signed(100, 0), _signed(111, 0), 10_000, 10);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, 1, int256(0), int256(-11), 10));
        policy.checkTowardTarget(_signed(100, 0), _signed(100, -11), 10_000, 10);
    }

    function test_dust_rounds_down() public {
        policy.checkTowardTarget(_signed(5, 0), _signed(-9, 0), 9_999, 10);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.AwayFromTarget.selector, 0, int256(5), int256(-10), 9));
        policy.checkTowardTarget(_signed(5, 0), _signed(-10, 0), 9_999, 10);
    }

    /* P4 */

    function test_progress_is_measured_against_the_total_of_its_time() public {
        policy.checkProgress(1_000, 10_000, 500, 10_000, 5_000, 0);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TooLittleProgress.selector, 1_000, 10_000, 501, 10_000));
        policy.checkProgress(1_000, 10_000, 501, 10_000, 5_000, 0);
        // The same distance of a smaller basket is a larger part.
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TooLittleProgress.selector, 1_000, 10_000, 500, 9_999));
        policy.checkProgress(1_000, 10_000, 500, 9_999, 5_000, 0);
    }

    function test_ending_within_dust_is_progress_enough() public {
        policy.checkProgress(11, 10_000, 10, 10_000, 10_000, 10);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TooLittleProgress.selector, 12, 10_000, 11, 10_000));
        policy.checkProgress(12, 10_000, 11, 10_000, 10_000, 10);
    }

    function test_progress_of_the_largest_basket_does_not_overflow() public {
        policy.checkProgress(2 * MAX_TOTAL_E18, MAX_TOTAL_E18, 2 * MAX_TOTAL_E18 / 2, MAX_TOTAL_E18, 5_000, 0);
        vm.expectPartialRevert(RebalancePolicy.TooLittleProgress.selector);
        policy.checkProgress(2 * MAX_TOTAL_E18, MAX_TOTAL_E18, 2 * MAX_TOTAL_E18, MAX_TOTAL_E18, 1, 0);
    }

    /* P5, P6 */

    function test_buckets_leak_by_the_second_and_round_against_the_spender() public view {
        // 100 bps a day: 1e16 / 86,400 = 115,740,740,740.74 a second
        assertEq(policy.leak(1e16, 100, 86_400, 0), 1e16);
        assertEq(policy.leak(1e16, 100, 86_400, 1), 1e16 - 115740740740);
        assertEq(policy.leak(1e16, 100, 86_400, 86_399), 115740740741);
        assertEq(policy.leak(1e16, 100, 86_400, 86_400), 0);
        assertEq(policy.leak(1e16, 100, 86_400, type(uint40).max), 0);
        assertEq(policy.leak(1e16, 0, 86_400, 1 days), 1e16, "a budget of nothing drains nothing");
    }

    function test_buckets_fill_to_the_brim_and_not_over() public {
        assertEq(policy.spendLoss(0.4e16, 60, 10_000, 100), 1e16);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.LossBudgetExceeded.selector, 1e16 + 1, 1e16));
        policy.spendLoss(0.4e16 + 1, 60, 10_000, 100);
        assertEq(policy.spendTurnover(0.4e16, 60, 10_000, 100), 1e16);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TurnoverBudgetExceeded.selector, 1e16 + 1, 1e16));
        policy.spendTurnover(0.4e16 + 1, 60, 10_000, 100);
        assertEq(policy.spendLoss(0, 1, 1e30, 100), 1, "rounds up");
    }

    /* FOR ANY NUMBERS */

    function testFuzz_rounding_up_and_down_differ_by_at_most_one(uint128 amount, uint128 price, uint8 decimals)
        public
        view
    {
        uint256 unit = 10 ** bound(decimals, 0, 27);
        uint256 down = policy.valueDown(amount, price, unit);
        uint256 up = policy.valueUp(amount, price, unit);
        assertLe(down, up);
        assertLe(up - down, 1);
        assertEq(up == down, uint256(amount) * price % unit == 0);
    }

    function testFuzz_selling_the_surplus_never_crosses_the_target(
        uint120 value,
        uint120 rest,
        uint64 target,
        uint128 price
    ) public view {
        value = uint120(bound(value, 1, 1 << 119));
        rest = uint120(bound(rest, 0, (1 << 119) - 1));
        price = uint128(bound(price, 1, type(uint128).max));
        uint256 total = uint256(value) + rest;
        uint256 t = bound(target, 0, E18);
        (int256[] memory d,) = policy.distances(_list(value, rest), total, _list(t, E18 - t));

        uint256 most = policy.surplusRaw(d[0], price, 1e18);

        assertLe(policy.valueDown(most, price, 1e18), d[0] > 0 ? uint256(d[0]) : 0);
    }

    function testFuzz_distances_sum_to_rounding_and_stay_below_twice_the_total(uint120 a, uint120 b, uint64 target)
        public
        view
    {
        uint256 va = bound(a, 1, 1 << 119);
        uint256 vb = bound(b, 0, 1 << 119);
        uint256 t = bound(target, 0, E18);
        (int256[] memory d, uint256 distance) = policy.distances(_list(va, vb), va + vb, _list(t, E18 - t));

        int256 sum = d[0] + d[1];
        assertGe(sum, 0);
        assertLe(sum, 1, "each target rounds down by less than one");
        assertLe(distance, 2 * (va + vb) + 1);
        assertEq(distance, _size(d[0]) + _size(d[1]));
    }

    function testFuzz_slippage_never_falls_with_time(
        uint16 start,
        uint16 most,
        uint32 ramp,
        uint40 since,
        uint40 a,
        uint40 b
    ) public view {
        most = uint16(bound(most, 0, 300));
        start = uint16(bound(start, 0, most));
        ramp = uint32(bound(ramp, 1, type(uint32).max));
        uint256 early = bound(a, since, type(uint40).max);
        uint256 late = bound(b, early, type(uint40).max);

        uint256 s0 = policy.slippageE18(start, most, ramp, since, early);
        uint256 s1 = policy.slippageE18(start, most, ramp, since, late);
        assertLe(s0, s1);
        assertGe(s0, uint256(start) * 1e14);
        assertLe(s1, uint256(most) * 1e14);
    }

    function testFuzz_leaking_in_two_steps_never_drains_more_than_in_one(
        uint64 level,
        uint16 budget,
        uint32 period,
        uint32 first,
        uint32 second
    ) public view {
        level = uint64(bound(level, 0, 2e18));
        budget = uint16(bound(budget, 0, 20_000));
        period = uint32(bound(period, 3_600, type(uint32).max));

        uint256 once = policy.leak(level, budget, period, uint256(first) + second);
        uint256 twice = policy.leak(policy.leak(level, budget, period, first), budget, period, second);
        assertLe(once, twice);
        assertLe(twice - once, 1);
    }

    function testFuzz_losses_in_any_window_stay_within_budget_times_one_plus_windows(uint256 seed) public view {
        uint256 budget = 50;
        uint256 period = 1 days;
        uint256 level;
        uint256 spent;
        uint256 window;
        for (uint256 i; i < 24; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 elapsed = seed % 20_000;
            if (i > 0) window += elapsed; // the window opens with the first trade
            uint256 loss = seed >> 128;
            loss = loss % 60e14;
            level = policy.leak(level, budget, period, elapsed);
            try policy.spendLoss(level, loss, E18, budget) returns (uint256 next) {
                level = next;
                spent += loss;
            } catch { }
            // {1e-18 of V} spent <= budget * (1 + W / P)
            assertLe(spent * period, budget * 1e14 * (period + window));
        }
        assertGt(spent, 0);
    }

    /* HELPERS */

    function _expectTotal(uint256 totalE18) internal {
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TotalOutOfRange.selector, totalE18, MAX_TOTAL_E18));
    }

    function _list(uint256 a, uint256 b) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _signed(int256 a, int256 b) internal pure returns (int256[] memory list) {
        list = new int256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _size(int256 d) internal pure returns (uint256) {
        return d < 0 ? uint256(-d) : uint256(d);
    }
}
