// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import { IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { RebasingToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { Base } from "./Base.t.sol";

/// @notice redeemInKindExcept, sync, absorb: leaving without some assets, writing losses down, taking gifts up.
contract ExitTest is Base {
    RebasingToken internal token;

    function setUp() public override {
        super.setUp();
        token = new RebasingToken("Shrinking", "SHR", 6);
        _switchToPair(token);
        _deposit(alice, 50e18);
    }

    function _leaveWithout(address holder, uint256 shares, uint256 skipped) internal returns (uint256[] memory) {
        vm.prank(holder);
        return vault.redeemInKindExcept(shares, holder, holder, _amounts(0, 0), skipped);
    }

    /* REFUSALS */

    function test_sync_without_a_loss_is_refused_with_its_numbers() public {
        _leaveWithout(alice, 10e18, 2);

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingLost.selector, 1, 30_000e6, 30_000e6));
        vault.sync(1);
    }

    function test_sync_and_absorb_of_an_asset_that_is_not_there_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 2, 2));
        vault.sync(2);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 9, 2));
        vault.absorb(9, 1);
    }

    function test_absorb_of_more_than_was_given_is_refused() public {
        tokens[0].mint(address(vault), 5);

        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.GiftTooSmall.selector, 0, 6, 5));
        vault.absorb(0, 6);
    }

    function test_absorb_by_anybody_else_is_refused() public {
        tokens[0].mint(address(vault), 5);

        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
        vault.absorb(0, 5);
    }

    function test_absorb_cannot_touch_what_is_owed_to_claims() public {
        _leaveWithout(alice, 50e18, 3);

        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.GiftTooSmall.selector, 1, 1, 0));
        vault.absorb(1, 1);
    }

    /* SUCCESS */

    function test_absorb_fills_the_ledger_to_its_last_unit_and_not_beyond() public {
        uint256 held = vault.held()[0];
        tokens[0].mint(address(vault), type(uint120).max - held + 1);
        vm.startPrank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(
                IVaultBase.HoldingTooLarge.selector, 0, uint256(type(uint120).max) + 1, type(uint120).max
            )
        );
        vault.absorb(0, type(uint120).max - held + 1);
        vault.absorb(0, type(uint120).max - held);
        vm.stopPrank();
        assertEq(vault.held()[0], type(uint120).max);
    }

    function test_redeem_except_sends_the_others_and_keeps_the_skipped_as_claims() public {
        vm.expectEmit(address(vault));
        emit IVaultBase.ClaimOpened(alice, address(token), 10_000e6, 10_000e6);
        uint256[] memory amounts = _leaveWithout(alice, 50e18, 2);

        assertEq(amounts, _amounts(5e18, 10_000e6));
        assertEq(tokens[0].balanceOf(alice), 5e18);
        assertEq(token.balanceOf(alice), 0);
        assertEq(vault.claimable(alice, address(token)), 10_000e6);
        assertEq(vault.totalClaimable(address(token)), 10_000e6);
        assertEq(vault.held(), _amounts(10e18, 20_000e6));
        vm.prank(alice);
        assertEq(vault.claim(alice, address(token), alice, type(uint256).max), 10_000e6);
        assertEq(vault.totalClaimable(address(token)), 0);
    }

    function test_redeem_except_nothing_is_redeem() public {
        uint256 before = vm.snapshotState();
        uint256[] memory plain = _redeem(alice, 7e18 + 1);
        vm.revertToState(before);

        assertEq(_leaveWithout(alice, 7e18 + 1, 0), plain);
        assertEq(vault.totalClaimable(address(token)), 0);
    }

    function test_sync_writes_a_loss_down_for_all_alike() public {
        token.setFactor(0.5e18);

        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(tokens[1]), 30_000e6, 15_000e6, 0, 0);
        vm.prank(stranger);
        assertEq(vault.sync(1), 15_000e6);

        assertEq(vault.held()[1], 15_000e6);
        assertEq(_redeem(alice, 50e18)[1], 5_000e6);
        assertEq(token.balanceOf(alice), 5_000e6);
        assertEq(token.balanceOf(address(vault)), vault.held()[1]);
    }

    function test_sync_writes_claims_down_by_the_same_factor() public {
        _leaveWithout(alice, 50e18, 2); // claims 10,000, ledger 20,000
        token.setFactor(0.5e18);

        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(token), 20_000e6, 10_000e6, 10_000e6, 5_000e6);
        assertEq(vault.sync(1), 15_000e6);

        assertEq(vault.held()[1], 10_000e6);
        vm.prank(alice);
        assertEq(vault.claim(alice, address(token), alice, type(uint256).max), 5_000e6);
        assertEq(token.balanceOf(address(vault)), 10_000e6);
    }

    function test_sync_after_everything_is_lost_leaves_the_others_to_leave_with() public {
        _leaveWithout(alice, 25e18, 2);
        token.setFactor(0);

        vault.sync(1);

        assertEq(vault.held()[1], 0);
        assertEq(_redeem(alice, 25e18), _amounts(2.5e18, 0));
    }

    function test_absorb_takes_a_gift_up_for_all_alike() public {
        tokens[0].mint(address(vault), 3e18);
        assertEq(vault.held()[0], 15e18, "a gift is inert");

        vm.expectEmit(address(vault));
        emit IVaultBase.Absorbed(0, 3e18);
        vm.prank(owner);
        vault.absorb(0, 3e18);

        assertEq(vault.held()[0], 18e18);
        assertEq(_redeem(alice, 50e18)[0], 6e18);
    }

    function test_what_was_lost_and_came_back_can_be_absorbed() public {
        token.setFactor(0.5e18);
        vault.sync(1);
        token.setFactor(1e18);

        vm.prank(owner);
        vault.absorb(1, 15_000e6);

        assertEq(vault.held()[1], 30_000e6);
    }

    /* EDGES */

    function testFuzz_the_vault_always_covers_ledger_and_claims_after_sync(
        uint256 shares,
        uint256 skipped,
        uint256 factorE18
    ) public {
        shares = bound(shares, 1, 50e18);
        factorE18 = bound(factorE18, 0.01e18, 1e18);
        _leaveWithout(alice, shares, skipped);
        token.setFactor(factorE18);
        uint256 claims = vault.totalClaimable(address(token));
        if (token.balanceOf(address(vault)) < vault.held()[1] + claims) vault.sync(1);

        uint256 balance = token.balanceOf(address(vault));
        uint256 owed = vault.held()[1] + vault.totalClaimable(address(token));
        assertLe(owed, balance);
        assertGe(owed + 2, balance, "each is rounded down by less than a unit");
        assertApproxEqAbs(vault.totalClaimable(address(token)), claims * factorE18 / E18, 2, "by the same factor");
    }
}
