// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { Base, IVaultFactory } from "./Base.t.sol";

/// @notice The performance fee: over a high-water mark, by itself, seldom, and only at sound prices. Fees on entry and exit.
contract PerformanceFeeTest is Base {
    uint256 internal constant PERIOD = 30 days;

    /* REFUSALS */

    function test_fees_above_their_constants_are_refused() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeOutOfRange.selector, 2_001, 2_000));
        vault.setFees(IVaultBase.Fees(0, 2_001, 0, 0), treasury);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeOutOfRange.selector, 201, 200));
        vault.setFees(IVaultBase.Fees(0, 0, 201, 0), treasury);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeOutOfRange.selector, 201, 200));
        vault.setFees(IVaultBase.Fees(0, 0, 0, 201), treasury);
        vault.setFees(IVaultBase.Fees(500, 2_000, 200, 200), treasury);
        vm.stopPrank();
    }

    function test_performance_is_not_settled_at_an_unsound_price() public {
        _charge(1_000);
        _pass(PERIOD);
        feeds[WBTC].setFailing(true);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, WBTC, IOracleHub.Fault.CallFailed));
        vault.collectPerformanceFee();
    }

    function test_performance_is_not_settled_while_an_asset_is_excluded() public {
        _charge(1_000);
        _pass(PERIOD);
        vm.prank(owner);
        vault.excludeAsset(USDC);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.AssetExcluded.selector, USDC));
        vault.collectPerformanceFee();
    }

    function test_performance_is_settled_once_in_thirty_days() public {
        _charge(1_000);
        for (uint256 i; i < 3; ++i) {
            uint256 until = block.timestamp + PERIOD;
            _pass(PERIOD - 1);
            vm.expectRevert(abi.encodeWithSelector(IVaultBase.SettledTooRecently.selector, until));
            vault.collectPerformanceFee();
            _pass(1);
            vault.collectPerformanceFee();
        }
    }

    function test_a_fee_does_not_begin_at_an_unsound_price_or_while_an_asset_is_excluded() public {
        feeds[WBTC].setFailing(true);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, WBTC, IOracleHub.Fault.CallFailed));
        vault.setFees(IVaultBase.Fees(0, 1, 0, 0), treasury);
        feeds[WBTC].setFailing(false);
        vault.excludeAsset(USDC);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.AssetExcluded.selector, USDC));
        vault.setFees(IVaultBase.Fees(0, 1, 0, 0), treasury);
        vault.setFees(IVaultBase.Fees(1, 0, 1, 1), treasury);
        vm.stopPrank();
        assertEq(vault.performance().settledAt, 0);
    }

    function test_performance_is_not_charged_past_the_largest_supply_of_fees() public {
        _deposit(alice, (1 << 120) - INITIAL_SHARES);
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(500, 2_000, 0, 0), treasury);
        _pass(30 * 365 days);
        assertEq(vault.totalSupply(), 1 << 121, "the streaming fee stops there");
        vault.collectPerformanceFee();
        assertEq(vault.totalSupply(), 1 << 121);

        for (uint256 i; i < 3; ++i) {
            (, int256 answer,,,) = feeds[i].latestRoundData();
            feeds[i].push(int192(answer * 100));
        }
        _pass(PERIOD);
        vm.expectPartialRevert(IVaultBase.SupplyTooLarge.selector);
        vault.collectPerformanceFee();
        _redeem(alice, vault.balanceOf(alice));
    }

    /* SUCCESS */

    function test_a_fee_that_begins_notes_the_value() public {
        vm.expectEmit(address(vault));
        emit IVaultBase.PerformanceFeeBegun(1_000e18);
        _charge(1_000);
        _checkMark(1_000);

        _pass(PERIOD);
        vm.expectEmit(address(vault));
        emit IVaultBase.PerformanceFeeCollected(treasury, 0, 1_000e18, 1_000e18);
        vm.recordLogs();
        assertEq(vault.collectPerformanceFee(), 0);
        assertEq(vm.getRecordedLogs().length, 1, "no shares, no transfer");
        _checkMark(1_000);
    }

    function test_a_fee_that_a_vault_is_born_with_notes_the_value_at_birth() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        p.fees.performanceBps = 1_500;
        _fund(creator, p);
        vm.expectEmit(factory.vaultAddress(creator, p.salt));
        emit IVaultBase.PerformanceFeeBegun(1_000e18);
        vm.prank(creator);
        vault = factory.createVault(p);
        _checkMark(1_500);
    }

    /// @dev The recipient of the issue: settles while the market is down by 40,000, and again when it is back.
    function test_a_settlement_after_a_dip_charges_nothing_on_no_gain() public {
        _charge(2_000);
        _setPrice(WETH, 400e8);
        _trySettle();
        _pass(PERIOD);
        _setPrice(WETH, 400e8);
        _trySettle();
        _pass(PERIOD);
        _setPrice(WETH, 2_000e8);

        _trySettle();

        assertEq(vault.balanceOf(treasury), 0, "7,999 dollars otherwise");
        assertEq(vault.performance().highWaterE18, 1_000e18);
    }

    /// @dev Of what does not divide, the mark rounds up: a unit of rounding is no gain.
    function test_a_mark_is_rounded_up() public {
        _deposit(alice, 7);
        uint256[] memory held = vault.held();
        uint256 totalE18 = held[WETH] * 2_000 + held[WBTC] * 40_000 * 1e10 + held[USDC] * 1e12;
        uint256 supply = vault.totalSupply();
        assertGt(totalE18 * 1e18 % supply, 0);

        _charge(2_000);

        assertEq(vault.performance().highWaterE18, totalE18 * 1e18 / supply + 1);
    }

    /// @dev A fee that was dropped and begins again in a dip: the old mark stands.
    function test_a_fee_that_begins_again_in_a_dip_keeps_the_mark() public {
        _charge(2_000);
        _charge(0);
        _setPrice(WETH, 400e8);
        _charge(2_000);
        _trySettle();
        _pass(PERIOD);
        _setPrice(WETH, 2_000e8);

        _trySettle();

        assertEq(vault.balanceOf(treasury), 0);
        _checkMark(2_000);
    }

    /// @dev One of two sources of a price is 6.4 % of WETH too low, or all are, when the fee begins and at every other settlement.
    function testFuzz_a_source_that_is_off_makes_no_gain(uint256 lowBps, bool others) public {
        lowBps = bound(lowBps, 1, 1_000);
        if (!others) lowBps = 640;
        _mockLow(lowBps, others);
        _charge(2_000);
        for (uint256 i; i < 4; ++i) {
            _pass(PERIOD);
            if (i % 2 == 0) _mockLow(lowBps, others);
            else vm.clearMockedCalls();
            _trySettle();
        }

        assertEq(vault.balanceOf(treasury), 0, "639 dollars otherwise");
        assertEq(vault.performance().highWaterE18, 1_000e18);
    }

    /// @dev And one that is too high raises the mark, so that its return charges nothing either.
    function test_a_source_that_is_off_upward_charges_nothing() public {
        _charge(2_000);
        _pass(PERIOD);
        IOracleHub.Price[] memory prices = _prices();
        prices[WETH].hiE18 = 2_200e18;
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
        _trySettle();
        assertEq(vault.performance().highWaterE18, 1_050e18);
        vm.clearMockedCalls();
        _pass(PERIOD);
        _setPrice(WETH, 2_200e8);
        _trySettle();
        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev A share gains 100 of 1,100: the fee of 10 % is 10, so its shares are worth 1,000 of 110,000.
    function test_a_gain_is_charged_at_its_rate() public {
        _charge(1_000);
        _pass(PERIOD);
        _setPrice(WETH, 2_400e8);

        uint256 shares = vault.collectPerformanceFee();

        assertApproxEqRel(shares * 110_000 / vault.totalSupply(), 1_000, 0.001e18);
        assertEq(shares, _feeShares(1_000));
        assertEq(vault.balanceOf(treasury), shares);
        assertEq(vault.performance().highWaterE18, 1_100e18);
    }

    /// @dev Alice doubles the vault an hour before the settlement: the gain was not hers, and only the half that gained is charged.
    function test_shares_that_came_after_the_gain_are_not_charged() public {
        _charge(1_000);
        _pass(PERIOD - 1 hours);
        _setPrice(WETH, 2_400e8);
        _deposit(alice, INITIAL_SHARES);
        _pass(1 hours);
        uint256 shares = vault.collectPerformanceFee();

        // Of 220,000, a fee on half of the gain of 20,000.
        assertApproxEqRel(shares * 220_000e18 / vault.totalSupply(), 1_000e18, 0.0001e18);
        _pass(PERIOD);
        _setPrice(WETH, 2_800e8);
        uint256 supply = vault.totalSupply();
        shares = vault.collectPerformanceFee();
        // The mark is that before the last fee, so of a gain of 20,000 the 1,000 that it took are won back first.
        assertApproxEqRel(shares * 240_000e18 / (supply + shares), 1_900e18, 0.01e18, "from now on all are");
    }

    /// @dev Of 100 shares that gained 99 leave, and others come: one is charged.
    function test_shares_that_left_are_not_charged_when_others_come() public {
        _deposit(alice, 99 * INITIAL_SHARES);
        _charge(1_000);
        _pass(PERIOD);
        _setPrice(WETH, 2_400e8);
        _redeem(alice, 99 * INITIAL_SHARES);
        _deposit(bob, 99 * INITIAL_SHARES);

        uint256 shares = vault.collectPerformanceFee();

        // Of 11,000,000, a fee on the 10,000 that a hundredth gained.
        assertApproxEqRel(shares * 11_000_000e18 / vault.totalSupply(), 1_000e18, 0.0001e18);
    }

    function test_the_least_supply_begins_anew_with_the_shares_of_the_fee() public {
        _charge(1_000);
        _pass(PERIOD);
        _setPrice(WETH, 2_400e8);
        assertGt(vault.collectPerformanceFee(), 0);
        IVaultBase.Fee memory f = vault.fee();
        assertEq(f.leastSupply, vault.totalSupply() >> f.leastShift);
    }

    /// @dev It sinks with what is redeemed, however little or much, and rises with nothing until the next settlement.
    function test_the_least_supply_sinks_with_redemptions_alone() public {
        _charge(1_000);
        uint256 least = INITIAL_SHARES;
        uint256[4] memory left = [uint256(1e18), 40e18, 1e18, 20e18];
        for (uint256 i; i < left.length; ++i) {
            _redeem(creator, left[i]);
            least -= left[i];
            IVaultBase.Fee memory f = vault.fee();
            assertEq(uint256(f.leastSupply) << f.leastShift, least >> f.leastShift << f.leastShift);
            _deposit(bob, 50e18);
            _redeem(bob, 25e18);
            assertEq(abi.encode(vault.fee()), abi.encode(f), "what came since is more than what left");
            _redeem(bob, 25e18);
        }
    }

    function test_what_was_lost_must_be_won_back_before_anything_is_charged() public {
        _charge(2_000);
        _pass(PERIOD);
        _setPrice(WETH, 1_500e8);
        assertEq(vault.collectPerformanceFee(), 0);
        assertEq(vault.performance().highWaterE18, 1_000e18);
        _pass(PERIOD);
        _setPrice(WETH, 2_000e8);
        assertEq(vault.collectPerformanceFee(), 0);
    }

    function test_the_lower_price_counts() public {
        _charge(1_000);
        _pass(PERIOD);
        IOracleHub.Price[] memory prices = new IOracleHub.Price[](3);
        prices[WETH] = IOracleHub.Price(2_000e18, 2_500e18, 2_400e18, IOracleHub.Fault.None);
        prices[WBTC] = IOracleHub.Price(40_000e18, 50_000e18, 45_000e18, IOracleHub.Fault.None);
        prices[USDC] = IOracleHub.Price(1e18, 1.2e18, 1.1e18, IOracleHub.Fault.None);
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
        assertEq(vault.collectPerformanceFee(), 0);
    }

    /// @dev A raise takes effect on what is gained after the next settlement; a cut on all that is not settled.
    function test_a_raise_does_not_reach_back_and_a_cut_does() public {
        _charge(1_000);
        _pass(PERIOD);
        _setPrice(WETH, 2_400e8);
        _charge(2_000);
        assertEq(vault.performance().chargedBps, 1_000);
        assertEq(vault.performance().nextBps, 2_000);
        uint256 snapshot = vm.snapshotState();
        uint256 shares = vault.collectPerformanceFee();
        assertEq(shares, _feeShares(1_000));
        assertEq(vault.performance().chargedBps, 2_000);

        vm.revertToState(snapshot);
        vm.prank(guardian);
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
        assertEq(vault.collectPerformanceFee(), 0);
    }

    function test_mint_and_redeem_settle_nothing() public {
        _charge(2_000);
        _pass(PERIOD);
        _setPrice(WETH, 3_000e8);
        bytes memory before = abi.encode(vault.performance());
        _deposit(alice, 5e18);
        _redeem(alice, 5e18);
        assertEq(abi.encode(vault.performance()), before);
        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev Deposits and withdrawals move the value of a share only by their fees, so they cannot make a gain to be charged.
    function testFuzz_the_fee_is_at_most_its_part_of_the_gain(uint256 price, uint256 bps) public {
        bps = bound(bps, 0, 2_000);
        _charge(bps);
        _pass(PERIOD);
        _setPrice(WETH, int192(int256(bound(price, 1e8, 1_000_000e8))));
        uint256 worth = _worthE18();

        uint256 shares = vault.collectPerformanceFee();

        uint256 gain = worth > 100_000e18 ? worth - 100_000e18 : 0;
        assertLe(shares * worth / vault.totalSupply(), gain * bps / 10_000 + 1e6);
    }

    /* ENTRY AND EXIT */

    function test_entry_and_exit_fees_stay_with_those_who_stay() public {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(0, 0, 100, 50), treasury);

        // A tenth, and 1 % of it.
        uint256[] memory paid = _deposit(alice, 10e18);
        assertEq(paid, _amounts(2.525e18, 0.07575e8, 2_020e6));
        assertEq(vault.totalSupply(), 110e18);
        uint256[] memory foreseen = vault.previewRedeemInKind(10e18);
        uint256[] memory got = _redeem(alice, 10e18);
        assertEq(got, foreseen);
        // 10 of 110 shares, less 0.5 %.
        assertEq(got[USDC], uint256(22_020e6) * 10 * 9_950 / (110 * 10_000));
        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev Nobody makes anything by going in and out, whatever the fees.
    function testFuzz_a_round_trip_never_pays(uint256 shares, uint256 entryBps, uint256 exitBps) public {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(0, 0, uint16(bound(entryBps, 0, 200)), uint16(bound(exitBps, 0, 200))), treasury);
        shares = bound(shares, 1, 1_000_000e18);
        uint256[] memory paid = _deposit(alice, shares);
        uint256[] memory got = _redeem(alice, shares);
        for (uint256 i; i < 3; ++i) {
            assertLe(got[i], paid[i]);
            assertGe(vault.held()[i], _amounts(25e18, 0.75e8, 20_000e6)[i]);
        }
    }

    /// @dev Shares of a fee on a gain of 100 a share to 1,100, in a supply of 100e18: the 32 highest bits of it are known, less the locked
    /// ones.
    function _feeShares(uint256 bps) internal view returns (uint256) {
        uint256 charged = (INITIAL_SHARES >> 35 << 35) - vault.balanceOf(LOCKED);
        uint256 chargedE18 = bps * 100e18 * charged / INITIAL_SHARES;
        return INITIAL_SHARES * chargedE18 / (1_100e18 * 10_000 - chargedE18);
    }

    function _checkMark(uint256 bps) internal view {
        IBasketVault.Performance memory f = vault.performance();
        assertEq(f.highWaterE18, 1_000e18);
        assertEq(f.settledAt, block.timestamp);
        assertEq(f.chargedBps, bps);
        assertEq(f.nextBps, bps);
    }

    /// @dev The recipient collects as often as it likes.
    function _trySettle() internal {
        vm.prank(treasury);
        try vault.collectPerformanceFee() { } catch { }
    }

    function _prices() internal pure returns (IOracleHub.Price[] memory prices) {
        prices = new IOracleHub.Price[](3);
        prices[WETH] = IOracleHub.Price(2_000e18, 2_000e18, 2_000e18, IOracleHub.Fault.None);
        prices[WBTC] = IOracleHub.Price(40_000e18, 40_000e18, 40_000e18, IOracleHub.Fault.None);
        prices[USDC] = IOracleHub.Price(1e18, 1e18, 1e18, IOracleHub.Fault.None);
    }

    /// @dev The lower price of WETH, or of all, is too low.
    function _mockLow(uint256 lowBps, bool others) internal {
        IOracleHub.Price[] memory prices = _prices();
        for (uint256 i; i < (others ? 3 : 1); ++i) {
            prices[i].loE18 -= prices[i].loE18 * lowBps / BPS;
        }
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
    }

    function _charge(uint256 bps) internal {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(0, uint16(bps), 0, 0), treasury);
    }

    function _worthE18() internal view returns (uint256) {
        (, int256 answer,,,) = feeds[WETH].latestRoundData();
        return 25 * uint256(answer) * 1e10 + 50_000e18;
    }
}
