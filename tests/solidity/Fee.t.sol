// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { PackedFee } from "../../contracts/libraries/PackedFee.sol";
import { Base } from "./Base.t.sol";

/// @notice The streaming fee: simple interest in shares, counted in totalSupply from the second it is earned.
contract FeeTest is Base {
    uint256 internal constant YEAR_SECONDS = 365 days;

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        vault.setFees(_streaming(200), treasury);
    }

    /* REFUSALS */

    function test_fee_above_five_percent_is_refused() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeOutOfRange.selector, 501, 500));
        vault.setFees(_streaming(501), treasury);
        vault.setFees(_streaming(500), treasury);
        vm.stopPrank();
        assertEq(vault.fee().streamingBps, 500);
    }

    function test_fee_for_nobody_is_refused() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadFeeRecipient.selector, address(0)));
        vault.setFees(_streaming(100), address(0));
    }

    function test_fee_for_the_vault_itself_is_refused() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadFeeRecipient.selector, address(vault)));
        vault.setFees(_streaming(100), address(vault));
    }

    /* SUCCESS */

    function test_fee_of_a_year_is_its_rate() public {
        skip(YEAR_SECONDS);

        // 2 % of 100e18
        assertEq(vault.totalSupply(), 102e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.FeeCollected(treasury, 2e18);
        vm.prank(stranger);
        assertEq(vault.collectFee(), 2e18);

        assertEq(vault.balanceOf(treasury), 2e18);
        assertEq(vault.totalSupply(), 102e18);
        assertEq(vault.fee().pendingShares, 0);
        assertEq(vault.fee().accruedAt, block.timestamp);
    }

    function test_fee_collected_twice_in_a_second_is_nothing_the_second_time() public {
        skip(1 days);
        vault.collectFee();
        uint256 supply = vault.totalSupply();

        assertEq(vault.collectFee(), 0);
        assertEq(vault.totalSupply(), supply);
    }

    function test_fee_is_counted_in_what_mint_costs_and_redeem_pays() public {
        skip(YEAR_SECONDS);

        // 25e18 * 1e18 / 102e18
        assertEq(vault.previewRedeemInKind(1e18)[WETH], 245098039215686274);
        assertEq(_redeem(creator, 1e18)[WETH], 245098039215686274);
        uint256 supply = vault.totalSupply();
        assertEq(supply, 101e18);
        assertEq(vault.fee().pendingShares, 2e18, "booked, not yet minted");
        // The same price the other way, rounded up.
        assertEq(_deposit(alice, 1e18)[WETH], 245098039215686275);
    }

    function test_fee_that_is_booked_and_not_minted_earns_as_all_shares_do() public {
        skip(YEAR_SECONDS);
        _redeem(creator, 1e18);
        assertEq(vault.fee().pendingShares, 2e18);

        skip(YEAR_SECONDS);

        // 2 % of 99e18 minted and 2e18 booked ones
        assertEq(vault.totalSupply(), 101e18 + 2.02e18);
    }

    function test_fee_that_changes_charges_the_old_rate_until_now() public {
        skip(YEAR_SECONDS / 2);
        vm.expectEmit(address(vault));
        emit IVaultBase.FeeCollected(treasury, 1e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.FeesSet(_streaming(400), bob);
        vm.prank(owner);
        vault.setFees(_streaming(400), bob);
        skip(YEAR_SECONDS / 4);

        // 1e18 at 2 % for half a year; then 4 % of 101e18 for a quarter.
        assertEq(vault.totalSupply(), 101e18 + 1.01e18);
        vault.collectFee();
        assertEq(vault.balanceOf(treasury), 1e18, "the old recipient's");
        assertEq(vault.balanceOf(bob), 1.01e18);
    }

    function test_fee_of_zero_adds_nothing() public {
        vm.prank(owner);
        vault.setFees(_streaming(0), treasury);
        skip(10 * YEAR_SECONDS);

        assertEq(vault.totalSupply(), INITIAL_SHARES);
        assertEq(vault.collectFee(), 0);
    }

    function test_fee_does_not_move_the_basket() public {
        uint256[] memory held = vault.held();
        skip(YEAR_SECONDS);
        vault.collectFee();

        assertEq(vault.held(), held);
    }

    /* EDGES */

    function test_the_least_supply_keeps_its_32_highest_bits() public pure {
        for (uint256 bits = 1; bits <= 122; ++bits) {
            uint256 shares = type(uint256).max >> (256 - bits);
            uint256 shift = bits < 32 ? 0 : bits - 32;
            IVaultBase.Fee memory f = PackedFee.wrap(type(uint256).max).withLeast(shares, bits).unpack();
            assertEq(f.leastShift, shift);
            assertEq(f.leastSupply, shares >> shift);
            assertEq(f.pendingShares, type(uint128).max);
            assertEq(f.exitBps, type(uint16).max);
        }
    }

    function test_fee_uncollected_for_a_thousand_years_stops_no_redemption() public {
        vm.prank(owner);
        vault.setFees(_streaming(500), treasury);
        _deposit(alice, (1 << 120) - INITIAL_SHARES);
        vm.warp(block.timestamp + 1_000 * YEAR_SECONDS);

        uint256[] memory amounts = _redeem(alice, vault.balanceOf(alice));

        // 5 % a year for 1,000 years is 50 times the supply, but all shares stop at 2^121: alice keeps almost half.
        assertApproxEqRel(amounts[WETH], uint256(25e18) * (1 << 120) / INITIAL_SHARES / 2, 1e9);
        assertEq(vault.totalSupply(), INITIAL_SHARES + vault.fee().pendingShares);
        vault.collectFee();
        assertEq(vault.balanceOf(treasury), 1 << 120);
    }

    function test_fee_that_would_pass_121_bits_stops_growing_instead() public {
        vm.prank(owner);
        vault.setFees(_streaming(500), treasury);
        _deposit(alice, (1 << 120) - INITIAL_SHARES);
        vm.warp(block.timestamp + 10_000 * YEAR_SECONDS);

        assertEq(vault.totalSupply(), 1 << 121);
        _redeem(alice, 1e18);
        vault.collectFee();
        assertEq(vault.balanceOf(treasury), 1 << 120);
        vm.warp(block.timestamp + 10_000 * YEAR_SECONDS);
        assertEq(vault.totalSupply(), 1 << 121, "what was redeemed makes room, and no more");
        _redeem(alice, vault.balanceOf(alice));
    }

    function test_new_rates_leave_the_rest_of_the_packed_fee() public view {
        IVaultBase.Fee memory f = this.withRates(PackedFee.wrap(type(uint256).max), IVaultBase.Fees(1, 2, 3, 4));
        assertEq(f.pendingShares, type(uint128).max);
        assertEq(f.accruedAt, type(uint40).max);
        assertEq(f.leastShift, type(uint8).max);
        assertEq(f.leastSupply, type(uint32).max);
        assertEq(abi.encode(f.streamingBps, f.entryBps, f.exitBps), abi.encode(1, 3, 4));
    }

    function withRates(PackedFee f, IVaultBase.Fees calldata fees) external pure returns (IVaultBase.Fee memory) {
        return f.withRates(fees).unpack();
    }

    function testFuzz_fee_only_grows_by_its_rule(uint256 feeBps, uint256 elapsed, uint256 minted) public {
        feeBps = bound(feeBps, 0, 500);
        elapsed = bound(elapsed, 0, 10 * YEAR_SECONDS);
        vm.prank(owner);
        vault.setFees(_streaming(feeBps), treasury);
        _deposit(alice, bound(minted, 1, 1_000 * INITIAL_SHARES));
        uint256 supply = vault.totalSupply();

        skip(elapsed);

        uint256 earned = supply * feeBps * elapsed / (YEAR_SECONDS * BPS);
        assertEq(vault.totalSupply(), supply + earned);
        assertEq(vault.collectFee(), earned);
        assertEq(vault.totalSupply(), supply + earned);
    }

    function testFuzz_fee_collected_often_compounds_and_never_passes_the_exponential(uint256 times) public {
        times = bound(times, 1, 50);
        for (uint256 i; i < times; ++i) {
            skip(YEAR_SECONDS / 50);
            vault.collectFee();
        }

        // 1 + r t <= supply / start <= e^(r t), and e^x <= 1 + x + x^2 below 1.
        uint256 x = 0.02e18 * times / 50;
        assertLe(vault.totalSupply(), INITIAL_SHARES + INITIAL_SHARES * (x + x * x / E18) / E18);
        assertGe(vault.totalSupply() + times, INITIAL_SHARES + INITIAL_SHARES * x / E18);
    }
}
