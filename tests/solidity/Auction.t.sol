// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { Base } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

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
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 3, 3));
        vault.startAuction(3, WETH, _terms());
    }

    function test_an_auction_is_told_with_its_terms_and_its_clock() public {
        IBasketVault.Auction memory a = _terms();
        a.clockE6 = uint64(block.timestamp * 1e6);
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionStarted(address(tokens[WETH]), address(tokens[WBTC]), a);
        vm.prank(owner);
        vault.startAuction(WETH, WBTC, _terms());
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
        bool refused;
        for (uint256 i; i < 40; ++i) {
            vm.prank(bob);
            (bool done, bytes memory answer) =
                address(vault).call{ gas: limit }(abi.encodeCall(vault.bid, (WETH, USDC, 1e18, type(uint256).max)));
            assertFalse(done);
            if (answer.length >= 4) {
                bytes4 error_ = bytes4(answer);
                assertTrue(error_ == IVaultBase.NotEnoughGas.selector || error_ == IVaultBase.OracleIsSound.selector);
                refused = refused || error_ == IVaultBase.NotEnoughGas.selector;
            }
            limit += 100_000;
        }
        assertTrue(refused, "said so");
    }

    /// @dev What 63 of 64 parts of are the oracle's 2,500,000, and 50,000 for the rest.
    function test_the_oracle_gets_its_whole_gas_or_is_not_asked() public {
        uint256 needed = uint256(2_500_000) * 64 / 63 + 50_000;
        vm.prank(bob);
        (bool done, bytes memory answer) =
            address(vault).call{ gas: 2_000_000 }(abi.encodeCall(vault.bid, (WETH, USDC, 1e18, type(uint256).max)));
        assertFalse(done);
        assertEq(bytes4(answer), IVaultBase.NotEnoughGas.selector);
        uint256 told;
        assembly ("memory-safe") {
            told := mload(add(answer, 68))
        }
        assertEq(told, needed);

        address[] memory pair = new address[](2);
        (pair[0], pair[1]) = (address(tokens[WETH]), address(tokens[USDC]));
        vm.expectCall(address(oracle), 0, 2_500_000, abi.encodeCall(IOracleHub.prices, (pair)));
        vm.prank(bob);
        vault.bid(WETH, USDC, 1e15, type(uint256).max);
    }

    function test_a_deposit_or_withdrawal_and_a_bid_share_no_transaction_in_either_order() public {
        _deposit(address(executor), 2e18);
        uint256[] memory unlimited = _prepareDeposit(address(executor), 1e18);
        tokens[USDC].mint(address(executor), 1_000_000e6);
        _approve(tokens[USDC], address(executor), address(vault), type(uint256).max);
        for (uint256 i; i < 3; ++i) {
            unlimited[i] = type(uint256).max;
        }
        bytes[2] memory flows = [
            abi.encodeCall(IVaultCore.mintInKind, (1e15, address(executor), unlimited)),
            abi.encodeCall(IVaultCore.redeemInKind, (1e15, address(executor), address(executor), _amounts()))
        ];
        bytes memory trade = abi.encodeCall(IVaultExtension.bid, (WETH, USDC, 1e15, type(uint256).max));
        bytes memory refusal = abi.encodeWithSelector(IVaultBase.SameTransaction.selector);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        for (uint256 i; i < 2; ++i) {
            uint256 snapshot = vm.snapshotState();
            steps[0] = _step(address(vault), flows[i]);
            steps[1] = _refused(address(vault), trade, refusal);
            executor.run(steps);
            vm.revertToState(snapshot);

            steps[0] = _step(address(vault), trade);
            steps[1] = _refused(address(vault), flows[i], refusal);
            executor.run(steps);
            vm.revertToState(snapshot);
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

    function test_a_bid_goes_as_far_as_the_targets_in_units_to_the_unit() public {
        IBasketVault.Auction memory a = _terms();
        (a.keepRaw, a.fillRaw) = (0.23e18, 250e6);
        _start(a);
        vm.prank(bob);
        vault.bid(WETH, USDC, 2e18, 5_000e6);
        assertEq(vault.held(), _amounts(23e18, 0.75e8, 25_000e6));
    }

    function test_all_there_is_can_be_sold_where_nothing_is_to_stay() public {
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.keepRaw) = (25e18, 0);
        _start(a);
        vm.prank(bob);
        vault.bid(WETH, USDC, 25e18, 5_000e6);
        assertEq(vault.held(), _amounts(0, 0.75e8, 25_000e6));
    }

    /// @dev 0.1 a share, of which there are 100e18 + 1: what stays is rounded up.
    function test_what_is_to_stay_is_rounded_up() public {
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.startPayRaw, a.floorPayRaw) = (20e18, 10_000e6, 10_000e6);
        _start(a);
        _deposit(alice, 1); // for a unit of WETH
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SoldBelowKeep.selector, 10e18, 10e18 + 1));
        vault.bid(WETH, USDC, 15e18 + 1, type(uint256).max);
        vault.bid(WETH, USDC, 15e18, type(uint256).max);
        vm.stopPrank();
    }

    /// @dev 1e28 a share, of which there are 100; a lot pays 2e30.
    function test_the_targets_in_units_are_exact_however_large() public {
        IBasketVault.Auction memory a = _terms();
        (a.startPayRaw, a.floorPayRaw, a.fillRaw) = (2e30, 2e30, 1e28);
        _start(a);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtAboveFill.selector, 2e30 + 20_000e6, 1e30));
        vault.bid(WETH, USDC, 2e18, type(uint256).max);
    }

    function test_the_clock_of_a_long_wait_stands_at_the_end_of_the_fall() public {
        skip(1 days);
        vm.startPrank(bob);
        assertEq(vault.bid(WETH, USDC, 1e18, type(uint256).max), 1_500e6);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 4_000e6, "half of the fall is left");
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

    function test_an_oracle_that_answers_anything_but_two_prices_is_dead() public {
        for (uint256 words; words < 12; ++words) {
            if (words == 10) continue; // two prices, which would be sound
            bytes memory zeros = new bytes(32 * words);
            vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), zeros);
            vm.prank(bob);
            vault.bid(WETH, USDC, 1e15, type(uint256).max);
        }
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

    function _terms() internal pure returns (IBasketVault.Auction memory) {
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
