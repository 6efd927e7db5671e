// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { Base } from "./Base.t.sol";

/// @notice The auction for when no oracle prices a pair: on the owner's terms, lot by lot, toward amounts of each token a share.
contract AuctionTest is Base {
    function setUp() public override {
        super.setUp();
        // WETH's feed dies. Of 25 WETH 10 are to stay, a tenth of one a share; USDC may grow to 50,000, 500 a share.
        feeds[WETH].setFailing(true);
        _start(_terms());
        tokens[USDC].mint(bob, 1_000_000e6);
        _approve(tokens[USDC], bob, address(vault), type(uint256).max);
    }

    /* REFUSALS */

    function test_terms_that_make_no_sense_are_refused() public {
        IBasketVault.Auction memory a = _terms();
        a.lotRaw = 0;
        _expectBad(a, WETH, USDC);
        a = _terms();
        a.floorPayRaw = 0;
        _expectBad(a, WETH, USDC);
        a = _terms();
        a.startPayRaw = a.floorPayRaw - 1;
        _expectBad(a, WETH, USDC);
        a = _terms();
        a.decaySeconds = 0;
        _expectBad(a, WETH, USDC);
        a = _terms();
        a.endsAt = uint40(block.timestamp);
        _expectBad(a, WETH, USDC);
        _expectBad(_terms(), WETH, WETH);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 3, 3));
        vault.startAuction(WETH, 3, _terms());
    }

    function test_a_bid_without_an_auction_or_after_its_end_is_refused() public {
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, USDC, WETH));
        vault.bid(USDC, WETH, 1, 1);
        vm.warp(_terms().endsAt);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, WETH, USDC));
        vault.bid(WETH, USDC, 1, 1e18);
        vm.stopPrank();
    }

    function test_while_the_oracle_prices_both_there_is_no_auction() public {
        feeds[WETH].setFailing(false);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleIsSound.selector, WETH, USDC));
        vault.bid(WETH, USDC, 1e18, type(uint256).max);
    }

    /// @dev A caller who gives the oracle too little gas to answer must not make it seem dead.
    function test_a_starved_oracle_is_not_a_dead_one() public {
        feeds[WETH].setFailing(false);
        uint256 limit = 400_000;
        for (uint256 i; i < 40; ++i) {
            vm.prank(bob);
            (bool done, bytes memory answer) =
                address(vault).call{ gas: limit }(abi.encodeCall(vault.bid, (WETH, USDC, 1e18, type(uint256).max)));
            assertFalse(done);
            if (answer.length >= 4) {
                bytes4 error_ = bytes4(answer);
                assertTrue(error_ == IVaultBase.NotEnoughGas.selector || error_ == IVaultBase.OracleIsSound.selector);
            }
            limit += 100_000;
        }
    }

    function test_more_than_a_lot_or_nothing_is_refused() public {
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LotTooLarge.selector, 2e18 + 1, 2e18));
        vault.bid(WETH, USDC, 2e18 + 1, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LotTooLarge.selector, 0, 2e18));
        vault.bid(WETH, USDC, 0, type(uint256).max);
        vm.stopPrank();
    }

    function test_a_price_above_what_the_bidder_allows_is_refused() public {
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PayAboveMaximum.selector, 5_000e6, 5_000e6 - 1));
        vault.bid(WETH, USDC, 2e18, 5_000e6 - 1);
    }

    function test_no_bid_goes_beyond_the_targets_in_units() public {
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.startPayRaw, a.floorPayRaw, a.fillRaw) = (20e18, 50_000e6, 30_000e6, 440e6);
        _start(a);
        skip(2_000); // at the floor: 1,500 each
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SoldBelowKeep.selector, 10e18 - 1, 10e18));
        vault.bid(WETH, USDC, 15e18 + 1, type(uint256).max);
        vault.bid(WETH, USDC, 9e18, type(uint256).max); // 33,500 USDC; 0.45 of a lot leaves 55 % of the fall: 1,950 each
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtAboveFill.selector, 33_500e6 + 11_700e6, 44_000e6));
        vault.bid(WETH, USDC, 6e18, type(uint256).max);
        vm.stopPrank();
    }

    function test_a_pause_or_the_guardian_ends_it_at_once() public {
        uint256 snapshot = vm.snapshotState();
        vm.prank(guardian);
        vault.pauseRebalance();
        vm.prank(bob);
        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        vault.bid(WETH, USDC, 1e18, type(uint256).max);
        vm.revertToState(snapshot);
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionStopped(address(tokens[WETH]), address(tokens[USDC]));
        vm.prank(guardian);
        vault.stopAuction(WETH, USDC);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, WETH, USDC));
        vault.bid(WETH, USDC, 1e18, type(uint256).max);
    }

    function test_the_keeper_has_no_more_rights_than_anyone() public {
        tokens[USDC].mint(keeper, 10_000e6);
        _approve(tokens[USDC], keeper, address(vault), type(uint256).max);
        vm.prank(keeper);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 5_000e6);
    }

    /* SUCCESS */

    function test_the_price_falls_from_start_to_floor_and_starts_anew_after_a_lot() public {
        skip(500); // a quarter of the way from 5,000 to 3,000
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionFilled(address(tokens[WETH]), address(tokens[USDC]), bob, 1e18, 2_250e6);
        vm.startPrank(bob);
        assertEq(vault.bid(WETH, USDC, 1e18, 2_250e6), 2_250e6);
        assertEq(vault.held(), _amounts(24e18, 0.75e8, 22_250e6));
        assertEq(_balances(address(vault)), vault.held());
        assertEq(tokens[WETH].balanceOf(bob), 1e18);

        // Half of a lot took back half of the fall: 5,000 less 250 for a lot.
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 4_750e6);
        assertEq(vault.bid(WETH, USDC, 1e18, type(uint256).max), 2_500e6, "anew");
        skip(1_000_000);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 3_000e6, "the floor");
        vm.stopPrank();
    }

    /// @dev Bids for next to nothing take next to nothing of the fall.
    function test_nobody_can_hold_the_price_up_with_dust() public {
        skip(2_000);
        vm.startPrank(bob);
        for (uint256 i; i < 100; ++i) {
            vault.bid(WETH, USDC, 1, type(uint256).max);
        }
        assertLe(vault.bid(WETH, USDC, 2e18, type(uint256).max), 3_000e6 + 101);
        vm.stopPrank();
    }

    /// @dev An excluded asset has no price by definition, whatever its feed says.
    function test_an_excluded_asset_can_be_sold_off() public {
        feeds[WETH].setFailing(false);
        vm.prank(owner);
        vault.excludeAsset(WETH);
        vm.prank(bob);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 5_000e6);
    }

    function test_an_oracle_that_does_not_answer_at_all_is_dead_too() public {
        vm.etch(address(oracle), hex"fe");
        vm.prank(bob);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 5_000e6);
    }

    function test_targets_in_units_grow_with_the_shares() public {
        _deposit(alice, 100e18); // 50 WETH, of which 20 stay
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.startPayRaw, a.floorPayRaw, a.fillRaw) = (100e18, 1_000, 1_000, type(uint128).max);
        _start(a);
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SoldBelowKeep.selector, 20e18 - 1, 20e18));
        vault.bid(WETH, USDC, 30e18 + 1, type(uint256).max);
        vault.bid(WETH, USDC, 30e18, type(uint256).max);
        vm.stopPrank();
    }

    /// @dev However bids are cut up, nobody pays less than the floor.
    function testFuzz_no_bid_pays_less_than_the_floor(uint256 amount, uint256 wait) public {
        amount = bound(amount, 1, 2e18);
        skip(bound(wait, 0, 10_000));
        vm.prank(bob);
        uint256 pay = vault.bid(WETH, USDC, amount, type(uint256).max);
        assertGe(pay * 2e18, amount * 3_000e6);
        assertEq(vault.held(), _amounts(25e18 - amount, 0.75e8, 20_000e6 + pay));
        assertEq(_balances(address(vault)), vault.held());
    }

    function _terms() internal view returns (IBasketVault.Auction memory) {
        return IVaultBase.Auction({
            lotRaw: 2e18,
            startPayRaw: 5_000e6,
            floorPayRaw: 3_000e6,
            keepRaw: 0.1e18,
            fillRaw: 500e6,
            decaySeconds: 2_000,
            clockE6: 0,
            endsAt: 1_700_000_000 + 30 days
        });
    }

    function _start(IBasketVault.Auction memory a) internal {
        vm.prank(owner);
        vault.startAuction(WETH, USDC, a);
        a.clockE6 = uint64(block.timestamp * 1e6);
        assertEq(abi.encode(vault.auctions(address(tokens[WETH]), address(tokens[USDC]))), abi.encode(a));
    }

    function _expectBad(IBasketVault.Auction memory a, uint256 sell, uint256 buy) internal {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadAuction.selector, sell, buy));
        vault.startAuction(sell, buy, a);
    }
}
