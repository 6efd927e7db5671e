// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { GasBurnerToken, SwitchedToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { Base } from "./Base.t.sol";

/// @notice claim: a token that could not be sent waits for its holder, apart from the basket.
contract ClaimTest is Base {
    SwitchedToken internal token;

    function setUp() public override {
        super.setUp();
        token = new GasBurnerToken("Burning", "BAD", 6);
        _switchToPair(token);
        _deposit(alice, 1e18);
        token.setBroken(true);
        _redeem(alice, 1e18);
    }

    /* REFUSALS */

    function test_claim_to_nobody_or_to_the_vault_is_refused() public {
        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(0)));
        vault.claim(alice, address(token), address(0), type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(vault)));
        vault.claim(alice, address(token), address(vault), type(uint256).max);
        vm.stopPrank();
    }

    function test_claim_of_nothing_is_refused() public {
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, bob, address(token)));
        vault.claim(bob, address(token), bob, type(uint256).max);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, alice, address(tokens[0])));
        vault.claim(alice, address(tokens[0]), alice, type(uint256).max);
    }

    function test_claim_while_the_token_still_refuses_keeps_the_claim() public {
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.ClaimFailed.selector, alice, address(token), 200e6));
        vault.claim(alice, address(token), alice, type(uint256).max);

        assertEq(vault.claimable(alice, address(token)), 200e6);
    }

    /// @dev From far too little gas to more than enough: the claim is gone if and only if it arrived.
    function test_claim_with_little_gas_is_refused_and_kept() public {
        token.setBroken(false);
        uint256 refused;
        for (uint256 gasLimit = 5_000; gasLimit < 200_000; gasLimit += 1_000) {
            uint256 snapshot = vm.snapshotState();
            vm.prank(alice);
            bytes memory message = abi.encodeCall(vault.claim, (alice, address(token), alice, type(uint256).max));
            (bool done,) = address(vault).call{ gas: gasLimit }(message);
            if (!done) ++refused;
            assertEq(vault.claimable(alice, address(token)), done ? 0 : 200e6);
            assertEq(token.balanceOf(alice), done ? 200e6 : 0);
            vm.revertToState(snapshot);
        }
        assertTrue(refused > 10 && refused < 190);
    }

    function test_claim_by_anybody_to_anybody_but_its_holder_is_refused() public {
        token.setBroken(false);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NotTheClaimant.selector, stranger, alice));
        vault.claim(alice, address(token), stranger, type(uint256).max);

        assertEq(vault.claimable(alice, address(token)), 200e6);
    }

    /* SUCCESS */

    function test_claim_after_the_token_recovers_pays_to_any_receiver_once() public {
        token.setBroken(false);

        vm.expectEmit(address(vault));
        emit IVaultBase.Claimed(alice, address(token), bob, 200e6, 200e6);
        vm.prank(alice);
        assertEq(vault.claim(alice, address(token), bob, type(uint256).max), 200e6);

        assertEq(token.balanceOf(bob), 200e6);
        assertEq(vault.claimable(alice, address(token)), 0);
        assertEq(vault.held()[1], 20_000e6);
        assertEq(token.balanceOf(address(vault)), 20_000e6);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, alice, address(token)));
        vault.claim(alice, address(token), alice, type(uint256).max);
    }

    /// @dev A contract that cannot call the vault is paid all the same.
    function test_claim_by_anybody_pays_its_holder() public {
        token.setBroken(false);

        vm.prank(stranger);
        assertEq(vault.claim(alice, address(token), alice, type(uint256).max), 200e6);

        assertEq(token.balanceOf(alice), 200e6);
    }

    function test_claim_of_a_part_leaves_the_rest() public {
        token.setBroken(false);

        vm.startPrank(alice);
        assertEq(vault.claim(alice, address(token), bob, 150e6), 150e6);
        assertEq(vault.claimable(alice, address(token)), 50e6);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, alice, address(token)));
        vault.claim(alice, address(token), alice, 0);
        assertEq(vault.claim(alice, address(token), alice, 50e6 + 1), 50e6);
        vm.stopPrank();

        assertEq(token.balanceOf(bob), 150e6);
        assertEq(token.balanceOf(alice), 50e6);
        assertEq(vault.totalClaimable(address(token)), 0);
    }

    /* EDGES */

    function test_claims_of_one_holder_add_up() public {
        token.setBroken(false);
        _deposit(alice, 2e18);
        token.setBroken(true);
        _redeem(alice, 2e18);

        assertEq(vault.claimable(alice, address(token)), 600e6);
    }

    function test_an_open_claim_changes_no_share() public view {
        // 20,000e6 held for 100e18 shares, as before the claim was opened; the claim's 200e6 are apart.
        assertEq(vault.previewRedeemInKind(1e18), _amounts(0.1e18, 200e6));
        assertEq(token.balanceOf(address(vault)), 20_200e6);
    }

    function test_an_open_claim_cannot_be_traded_away() public {
        token.setBroken(false);
        _setPrice(1, 1.5e8); // the token is 60 % of the basket
        // V = 20,000 + 30,000; surplus = 5,000 dollars = 3,333.333333 tokens of the 20,000 held, claims aside.
        _rebalance(_amounts(0, 3_333.333333e6), _amounts(2.499e18, 0), 0);

        assertEq(token.balanceOf(address(vault)), vault.held()[1] + 200e6);
        vm.prank(alice);
        assertEq(vault.claim(alice, address(token), alice, type(uint256).max), 200e6);
    }

    function test_claim_works_while_paused_and_without_oracle_store_or_manager() public {
        token.setBroken(false);
        vm.prank(guardian);
        vault.pauseRebalance();
        vm.etch(address(oracle), hex"fe");
        vm.etch(address(store), hex"fe");
        vm.etch(address(manager), hex"fe");

        vm.prank(alice);
        assertEq(vault.claim(alice, address(token), alice, type(uint256).max), 200e6);
    }
}
