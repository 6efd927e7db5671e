// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { MockShareVault } from "../../contracts/mocks/MockRates.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base, IVaultFactory } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice WETH for USDC, while somebody sees that WETH has no price: bids begin six hours after the first that saw it.
abstract contract AuctionScene is Base {
    uint256 internal constant UNPRICED_SECONDS = 6 hours;
    uint256 internal constant GAP_SECONDS = 30 minutes;

    function setUp() public virtual override {
        super.setUp();
        tokens[USDC].mint(bob, 1_000_000e6);
        _approve(tokens[USDC], bob, address(vault), type(uint256).max);
    }

    /// @dev Of 25 WETH 10 are to stay, a tenth of one a share; USDC may grow to 50,000, 500 a share.
    function _terms() internal pure returns (IBasketVault.Auction memory) {
        return IVaultBase.Auction({
            lotRaw: 2e18,
            startPayRaw: 5_000e6,
            floorPayRaw: 3_000e6,
            keepRaw: 0.1e18,
            fillRaw: 500e6,
            decaySeconds: 2_000,
            clockE6: 0,
            endsAt: 1_700_000_000 + 30 days,
            startedAt: 0,
            unpricedSince: 0,
            unpricedAt: 0
        });
    }

    function _start(IBasketVault.Auction memory a) internal {
        vm.prank(owner);
        vault.startAuction(WETH, USDC, a);
        assertEq(abi.encode(_auction()), abi.encode(_begun(a)));
    }

    /// @dev The terms as they are stored when an auction begins: its price falls from when bids begin.
    function _begun(IBasketVault.Auction memory a) internal view returns (IBasketVault.Auction memory) {
        (a.startedAt, a.unpricedSince, a.unpricedAt) =
        (uint40(block.timestamp), uint40(block.timestamp), uint40(block.timestamp));
        a.clockE6 = uint64((block.timestamp + UNPRICED_SECONDS) * 1e6);
        return a;
    }

    function _startOpen(IBasketVault.Auction memory a) internal {
        _start(a);
        _watch(UNPRICED_SECONDS);
    }

    /// @dev Time passes, in which somebody sees every 30 minutes that the pair is unpriced.
    function _watch(uint256 durationSeconds) internal {
        while (durationSeconds != 0) {
            uint256 step = durationSeconds < GAP_SECONDS ? durationSeconds : GAP_SECONDS;
            skip(step);
            vm.prank(stranger);
            vault.pokeAuction(WETH, USDC);
            durationSeconds -= step;
        }
    }

    /// @dev WETH's feed is back, and all are fresh.
    function _heal() internal {
        feeds[WETH].setFailing(false);
        _refreshFeeds();
    }

    function _auction() internal view returns (IBasketVault.Auction memory) {
        return vault.auctions(address(tokens[WETH]), address(tokens[USDC]));
    }

    function _bid(uint256 amount) internal returns (uint256) {
        vm.prank(bob);
        return vault.bid(WETH, USDC, amount, type(uint256).max);
    }

    function _expectNotOpen(uint256 amount, uint256 opensAt) internal {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.AuctionNotOpen.selector, WETH, USDC, opensAt));
        _bid(amount);
    }

    function _expectSound(uint256 amount) internal {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleIsSound.selector, WETH, USDC));
        _bid(amount);
    }

    function _expectNone(uint256 amount) internal {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, WETH, USDC));
        _bid(amount);
    }

    /// @dev Anyone ends it.
    function _expectEnded(uint256 amount) internal {
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionStopped(address(tokens[WETH]), address(tokens[USDC]));
        vm.prank(stranger);
        vault.pokeAuction(WETH, USDC);
        assertEq(_auction().endsAt, 0);
        _expectNone(amount);
    }
}

/// @notice The auction for when no oracle prices a pair: on the owner's terms, lot by lot, toward amounts of each token a share.
contract AuctionTest is AuctionScene {
    /// @dev WETH's feed dies, and bids have just begun.
    function setUp() public override {
        super.setUp();
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
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
        a.endsAt = uint40(block.timestamp + UNPRICED_SECONDS); // no bid could be made
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
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionStarted(address(tokens[WETH]), address(tokens[WBTC]), _begun(_terms()));
        IBasketVault.Auction memory lies = _terms();
        (lies.clockE6, lies.startedAt, lies.unpricedSince, lies.unpricedAt) = (1, 1, 1, uint40(block.timestamp));
        vm.prank(owner);
        vault.startAuction(WETH, WBTC, lies); // what it keeps itself, it sets itself
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
        _heal();
        _expectSound(1e18);
    }

    /// @dev A caller who gives the oracle too little gas to answer must not make it seem dead.
    function test_a_starved_oracle_is_not_a_dead_one() public {
        _heal();
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

    function test_a_deposit_and_a_bid_share_no_transaction_and_a_withdrawal_only_after_it() public {
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
            steps[1] = i == 0 ? _refused(address(vault), flows[i], refusal) : _step(address(vault), flows[i]);
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
        _startOpen(a);
        _watch(2_000); // at the floor: 1,500 each
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
        _startOpen(a);
        vm.prank(bob);
        vault.bid(WETH, USDC, 2e18, 5_000e6);
        assertEq(vault.held(), _amounts(23e18, 0.75e8, 25_000e6));
    }

    function test_all_there_is_can_be_sold_where_nothing_is_to_stay() public {
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.keepRaw) = (25e18, 0);
        _startOpen(a);
        vm.prank(bob);
        vault.bid(WETH, USDC, 25e18, 5_000e6);
        assertEq(vault.held(), _amounts(0, 0.75e8, 25_000e6));
    }

    /// @dev 0.1 a share, of which there are 100e18 + 1: what stays is rounded up.
    function test_what_is_to_stay_is_rounded_up() public {
        IBasketVault.Auction memory a = _terms();
        (a.lotRaw, a.startPayRaw, a.floorPayRaw) = (20e18, 10_000e6, 10_000e6);
        _startOpen(a);
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
        _startOpen(a);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtAboveFill.selector, 2e30 + 20_000e6, 1e30));
        vault.bid(WETH, USDC, 2e18, type(uint256).max);
    }

    function test_the_clock_of_a_long_wait_stands_at_the_end_of_the_fall() public {
        _watch(1 days);
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
        _watch(500); // a quarter of the way from 5,000 to 3,000
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
        vm.stopPrank();
        _watch(1_000_000);
        assertEq(_bid(2e18), 3_000e6, "the floor");
    }

    /// @dev Bids for next to nothing take next to nothing of the fall.
    function test_nobody_can_hold_the_price_up_with_dust() public {
        _watch(2_000);
        vm.startPrank(bob);
        for (uint256 i; i < 100; ++i) {
            vault.bid(WETH, USDC, 1, type(uint256).max);
        }
        assertLe(vault.bid(WETH, USDC, 2e18, type(uint256).max), 3_000e6 + 101);
        vm.stopPrank();
    }

    /// @dev An excluded asset has no price by definition, whatever its feed says.
    function test_an_excluded_asset_can_be_sold_off() public {
        _heal();
        _expectEnded(2e18);
        vm.prank(owner);
        vault.excludeAsset(WETH);
        _startOpen(_terms());
        _heal();
        assertEq(_bid(2e18), 5_000e6);

        vm.prank(owner);
        vault.includeAsset(WETH);
        _expectSound(2e18);
        _expectEnded(2e18);
    }

    function test_an_oracle_that_does_not_answer_at_all_is_dead_too() public {
        vm.etch(address(oracle), hex"fe");
        vm.prank(bob);
        assertEq(vault.bid(WETH, USDC, 2e18, type(uint256).max), 5_000e6);
    }

    /// @dev One from before `changedAt`, and one that answers it with less than a word.
    function test_an_oracle_that_does_not_tell_when_its_sources_changed_has_not_changed_them() public {
        bytes memory question = abi.encodeWithSelector(IOracleHub.changedAt.selector);
        vm.mockCallRevert(address(oracle), question, "");
        assertEq(_bid(2e18), 5_000e6);
        vm.mockCall(address(oracle), question, hex"ffff");
        assertEq(_bid(2e18), 5_000e6);
        vm.etch(address(oracle), "");
        assertEq(_bid(2e18), 5_000e6, "nor has one that is no more");
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
        _startOpen(a);
        vm.startPrank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SoldBelowKeep.selector, 20e18 - 1, 20e18));
        vault.bid(WETH, USDC, 30e18 + 1, type(uint256).max);
        vault.bid(WETH, USDC, 30e18, type(uint256).max);
        vm.stopPrank();
    }

    /// @dev However bids are cut up, nobody pays less than the floor.
    function testFuzz_no_bid_pays_less_than_the_floor(uint256 amount, uint256 wait) public {
        amount = bound(amount, 1, 2e18);
        _watch(bound(wait, 0, 10_000));
        vm.prank(bob);
        uint256 pay = vault.bid(WETH, USDC, amount, type(uint256).max);
        assertGe(pay * 2e18, amount * 3_000e6);
        assertEq(vault.held(), _amounts(25e18 - amount, 0.75e8, 20_000e6 + pay));
        assertEq(_balances(address(vault)), vault.held());
    }

    function _expectBad(IBasketVault.Auction memory a, uint256 sell, uint256 buy) internal {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadAuction.selector, sell, buy));
        vault.startAuction(sell, buy, a);
    }
}

/// @notice Terms that nobody ended when prices were back must not wake: a fault counts once somebody has seen it, and it has lasted.
///
/// The terms sell 22 WETH in one lot, from 55,000 USDC down to 33,000. Bids had begun and the price had fallen when the feed came back,
/// and for five days nobody looked. On the old contracts the first second of any later fault sold 22 WETH, worth 44,000, for 33,000: a
/// loss of 11,000, of which the floor is all that is left of the limits.
contract AuctionSleepTest is AuctionScene {
    uint256 internal constant LOT = 22e18;
    uint256 internal constant SECOND = 4; // in `feeds`, of WETH's second source

    MockToken internal dollar; // what WETH's feed answers in
    address internal weth;

    /// @dev WETH is quoted in a dollar that has a feed of its own, and a second feed stands beside it.
    function setUp() public override {
        super.setUp();
        weth = address(tokens[WETH]);
        dollar = new MockToken("Dollar", "DOLLAR", 6);
        _addFeed(1e8);
        _addFeed(2_000e8);
        vm.startPrank(owner);
        bytes4[] memory tightenings = _selectors(IOracleHub.tightenFeed.selector, IOracleHub.tightenSource.selector);
        manager.setTargetFunctionRole(address(oracle), tightenings, GUARDIAN_ROLE);
        oracle.setFeed(address(dollar), address(feeds[3]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        oracle.setQuotedFeed(weth, address(feeds[WETH]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max, address(dollar));
        oracle.setSource(
            weth,
            IOracleHub.Source(
                chainlinkFeed, HEARTBEAT_SECONDS, 500, address(0), abi.encodePacked(feeds[SECOND], uint8(8))
            )
        );
        vm.stopPrank();
    }

    /* WHAT USED TO WAKE THEM */

    function test_a_feed_that_the_guardian_removes_wakes_no_terms() public {
        _fallAsleep();
        vm.prank(guardian);
        oracle.removeFeed(weth);
        _expectVoid();
    }

    function test_a_feed_that_the_guardian_tightens_wakes_no_terms() public {
        _fallAsleep();
        vm.prank(guardian);
        oracle.tightenFeed(weth, HEARTBEAT_SECONDS, 2_001e18, 2_002e18); // until its answer is out of range
        _expectVoid();
    }

    function test_a_source_that_the_guardian_tightens_wakes_no_terms() public {
        _fallAsleep();
        feeds[SECOND].push(2_010e8);
        vm.prank(guardian);
        oracle.tightenSource(weth, 1);
        _expectVoid();
    }

    function test_a_quotes_feed_that_the_guardian_removes_wakes_no_terms() public {
        _fallAsleep();
        vm.prank(guardian);
        oracle.removeFeed(address(dollar));
        _expectVoid();
    }

    function test_a_quotes_feed_that_the_guardian_tightens_wakes_no_terms() public {
        _fallAsleep();
        vm.prank(guardian);
        oracle.tightenFeed(address(dollar), HEARTBEAT_SECONDS, 2e18, 3e18);
        _expectVoid();
    }

    function test_a_feed_of_the_bought_asset_that_the_guardian_removes_wakes_no_terms() public {
        _fallAsleep();
        vm.prank(guardian);
        oracle.removeFeed(address(tokens[USDC]));
        _expectVoid();
    }

    function test_a_new_oracle_of_another_asset_ends_nothing() public {
        feeds[WETH].setFailing(true);
        _startOpen(_large());
        vm.prank(guardian);
        oracle.removeFeed(address(tokens[WBTC]));
        assertEq(_bid(LOT), 55_000e6);
    }

    /// @dev One of an hour: the chain's sequencer was down and is back.
    function test_a_sequencers_grace_wakes_no_terms() public {
        MockAggregator uptime = _switchToSequencedHub();
        _fallAsleep();
        uptime.pushAt(1, uint64(block.timestamp));
        _expectStillAsleep();
        skip(30 minutes);
        _refreshFeeds();
        uptime.pushAt(0, uint64(block.timestamp));
        _expectStillAsleep();
        skip(1 hours);
        _refreshFeeds();
        _expectStillAsleep();
        skip(1);
        _expectSound(LOT);
        _expectEnded(LOT);
    }

    function test_a_late_heartbeat_wakes_no_terms() public {
        _fallAsleep();
        skip(HEARTBEAT_SECONDS + 1);
        _expectStillAsleep();
        skip(1 hours);
        _expectStillAsleep();
        _refreshFeeds();
        _expectSound(LOT);
        _expectEnded(LOT);
    }

    /// @dev The pair must be seen unpriced for six hours again, and then the price starts from its top, not from where it had fallen to.
    function test_a_fault_that_lasts_opens_terms_again_from_the_start_of_their_price() public {
        _fallAsleep();
        feeds[WETH].setFailing(true);
        _expectStillAsleep();
        vault.pokeAuction(WETH, USDC);
        uint256 opensAt = block.timestamp + UNPRICED_SECONDS;
        _watch(UNPRICED_SECONDS - 1);
        _expectNotOpen(LOT, opensAt);
        skip(1);
        assertEq(_bid(LOT), 55_000e6);
    }

    /// @dev 60 coins of 2,000 dollars back the shares. For 1.2 of them, 2,400 dollars, the share's rate is 2 % above its feed.
    function test_a_donation_to_an_erc4626_second_source_wakes_no_terms() public {
        MockToken coin = _switchToShares();
        _fallAsleep();
        coin.mint(weth, 1.2e18);
        address[] memory one = new address[](1);
        one[0] = weth;
        assertEq(uint8(oracle.prices(one)[0].fault), uint8(IOracleHub.Fault.Diverged));

        _expectStillAsleep();
        skip(GAP_SECONDS);
        _refreshFeeds();
        _expectStillAsleep();
    }

    /* WHEN BIDS BEGIN */

    function test_no_bid_within_six_hours_and_the_price_begins_to_fall_with_the_first() public {
        feeds[WETH].setFailing(true);
        uint256 opensAt = block.timestamp + UNPRICED_SECONDS;
        _start(_terms());
        _expectNotOpen(2e18, opensAt);
        _watch(UNPRICED_SECONDS - 1);
        _expectNotOpen(2e18, opensAt);
        skip(1);
        uint256 snapshot = vm.snapshotState();
        assertEq(_bid(2e18), 5_000e6, "the start");
        vm.revertToState(snapshot);
        skip(1_000);
        assertEq(_bid(2e18), 4_000e6, "half way");
        vm.revertToState(snapshot);
        vault.pokeAuction(WETH, USDC);
        _watch(2_000);
        assertEq(_bid(2e18), 3_000e6, "the floor");
    }

    function test_what_nobody_saw_does_not_count() public {
        feeds[WETH].setFailing(true);
        _start(_terms());
        skip(UNPRICED_SECONDS);
        _expectNotOpen(2e18, block.timestamp + UNPRICED_SECONDS);
        skip(10 days);
        _expectNotOpen(2e18, block.timestamp + UNPRICED_SECONDS);
    }

    function test_after_half_an_hour_in_which_nobody_looked_all_begins_again_and_not_before() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        skip(GAP_SECONDS);
        uint256 snapshot = vm.snapshotState();
        assertEq(_bid(1e18), 1_600e6, "30 minutes are no gap");
        skip(GAP_SECONDS);
        assertEq(_bid(1e18), 1_500e6, "and a bid is a look");
        vm.revertToState(snapshot);

        skip(1);
        uint256 opensAt = block.timestamp + UNPRICED_SECONDS;
        _expectNotOpen(1e18, opensAt);
        vm.expectEmit(address(vault));
        emit IVaultBase.AuctionPoked(weth, address(tokens[USDC]), block.timestamp, opensAt);
        vault.pokeAuction(WETH, USDC);
        _watch(UNPRICED_SECONDS - 1);
        _expectNotOpen(1e18, opensAt);
        skip(1);
        assertEq(_bid(1e18), 2_500e6, "and so does the fall");
    }

    /// @dev Lot by lot, each when its price has fallen all the way, until what is to stay is left: 15 WETH for 22,500.
    function test_what_has_no_price_for_long_is_sold_to_the_floor_and_as_far_as_the_targets() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        for (uint256 i; i < 7; ++i) {
            _watch(1 days);
            assertEq(_bid(2e18), 3_000e6);
        }
        _watch(1 days);
        assertEq(_bid(1e18), 1_500e6);
        assertEq(vault.held(), _amounts(10e18, 0.75e8, 42_500e6));
        assertEq(_balances(address(vault)), vault.held());
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SoldBelowKeep.selector, 10e18 - 1, 10e18));
        _bid(1);
    }

    /* WHO ENDS IT */

    function test_no_auction_is_started_while_the_pair_is_priced() public {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleIsSound.selector, WETH, USDC));
        vm.prank(owner);
        vault.startAuction(WETH, USDC, _terms());
    }

    function test_an_excluded_asset_has_no_price_whatever_its_feed_says() public {
        vm.prank(owner);
        vault.excludeAsset(USDC);
        _start(_terms());
        _watch(UNPRICED_SECONDS);
        _refreshFeeds();
        assertEq(_bid(2e18), 5_000e6);
        vm.prank(owner);
        vault.includeAsset(USDC);
        _expectSound(2e18);
        _expectEnded(2e18);
    }

    function test_anyone_ends_it_when_the_pair_is_priced_again_and_nobody_before() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        address[3] memory all = [stranger, bob, keeper];
        for (uint256 i; i < 3; ++i) {
            vm.prank(all[i]);
            vault.pokeAuction(WETH, USDC);
            assertEq(_auction().lotRaw, 2e18);
        }
        assertEq(_bid(1e15), 2.5e6, "as before");
        _heal();
        _expectEnded(1e15);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, WETH, USDC));
        vault.pokeAuction(WETH, USDC);
    }

    function test_an_auction_that_ended_by_time_is_not_poked() public {
        feeds[WETH].setFailing(true);
        _start(_terms());
        vm.warp(_terms().endsAt);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoAuction.selector, WETH, USDC));
        vault.pokeAuction(WETH, USDC);
    }

    /// @dev A caller who gives the oracle too little gas must end nothing and stamp nothing.
    function test_a_poke_that_starves_the_oracle_is_refused() public {
        feeds[WETH].setFailing(true);
        _start(_terms());
        _heal();
        bytes32 before = keccak256(abi.encode(_auction()));
        for (uint256 limit = 200_000; limit < 2_500_000; limit += 100_000) {
            (bool done,) = address(vault).call{ gas: limit }(abi.encodeCall(vault.pokeAuction, (WETH, USDC)));
            assertFalse(done);
        }
        assertEq(keccak256(abi.encode(_auction())), before);
        _expectEnded(2e18);
    }

    /* WHAT ELSE STOPS A BID */

    function test_a_paused_vault_takes_no_bid_and_its_unpriced_hours_still_count() public {
        feeds[WETH].setFailing(true);
        _start(_terms());
        vm.prank(guardian);
        vault.pauseRebalance();
        _watch(UNPRICED_SECONDS);
        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        _bid(2e18);
        vm.prank(owner);
        vault.resumeRebalance();
        assertEq(_bid(2e18), 5_000e6);
    }

    /// @dev 1,000 USDC, a twentieth of them, are lost.
    function test_no_bid_brings_an_asset_that_may_not_be_bought() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        tokens[USDC].burn(address(vault), 1_000e6);
        vault.sync(USDC);
        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        _bid(2e18);
        vm.startPrank(owner);
        vault.resumeRebalance();
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PurchaseBarred.selector, USDC));
        _bid(2e18);
        vm.prank(owner);
        vault.allowPurchases(USDC);
        assertEq(_bid(2e18), 5_000e6);
    }

    function test_an_asset_that_may_not_be_bought_can_be_sold() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        tokens[WETH].burn(address(vault), 5e18);
        vault.sync(WETH);
        vm.prank(owner);
        vault.resumeRebalance();
        assertTrue(vault.isBarred(WETH));
        assertEq(_bid(2e18), 5_000e6);
    }

    function test_a_loss_of_either_asset_is_written_down_before_a_bid() public {
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        uint256 snapshot = vm.snapshotState();
        for (uint256 i; i < 3; i += 2) {
            tokens[i].burn(address(vault), 1);
            uint256 left = vault.held()[i] - 1;
            vm.expectRevert(abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, i, left, left + 1));
            _bid(2e18);
            vault.sync(i);
            assertEq(_bid(2e18), 5_000e6, "a unit is no reason to pause");
            vm.revertToState(snapshot);
        }
        tokens[WBTC].burn(address(vault), 1);
        assertEq(_bid(2e18), 5_000e6, "another asset's does not matter");
    }

    /// @dev What backs a claim is not sold: 10 WETH are claimed, and only 20 of 25 are left.
    function test_what_backs_claims_is_not_sold_in_an_auction() public {
        vm.prank(creator);
        vault.redeemInKindExcept(40e18, creator, creator, _amounts(), 1 << WETH);
        feeds[WETH].setFailing(true);
        _startOpen(_terms());
        tokens[WETH].burn(address(vault), 5e18);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, WETH, 20e18, 25e18));
        _bid(2e18);
    }

    /* SCENE */

    function _large() internal pure returns (IBasketVault.Auction memory a) {
        a = _terms();
        (a.lotRaw, a.startPayRaw, a.floorPayRaw) = (uint128(LOT), 55_000e6, 33_000e6);
        (a.keepRaw, a.fillRaw) = (0, 1_000e6);
    }

    /// @dev An auction begins, its price falls to the floor, prices are back, and five days pass.
    function _fallAsleep() internal {
        feeds[WETH].setFailing(true);
        _startOpen(_large());
        _watch(GAP_SECONDS);
        _heal();
        _expectSound(LOT);
        for (uint256 i; i < 5; ++i) {
            _pass(1 days);
        }
        _expectSound(LOT);
    }

    /// @dev No bid, although the pair is unpriced, and six hours of somebody's looking would be needed.
    function _expectStillAsleep() internal {
        uint256[] memory before = vault.held();
        _expectNotOpen(LOT, block.timestamp + UNPRICED_SECONDS);
        _expectNotOpen(1, block.timestamp + UNPRICED_SECONDS);
        assertEq(vault.held(), before);
    }

    /// @dev No bid ever, and anyone ends it, for the sources are other ones than those it began with.
    function _expectVoid() internal {
        IBasketVault.Auction memory a = _auction();
        uint256 changedAt = block.timestamp;
        bytes memory void =
            abi.encodeWithSelector(IVaultBase.AuctionTermsVoid.selector, WETH, USDC, uint256(a.startedAt), changedAt);
        for (uint256 i; i < 5; ++i) {
            vm.expectRevert(void);
            _bid(LOT);
            skip(GAP_SECONDS);
        }
        assertEq(vault.held(), _amounts(25e18, 0.75e8, 20_000e6));
        _expectEnded(LOT);
    }

    function _addFeed(int192 answerE8) internal {
        MockAggregator feed = new MockAggregator(8, "");
        feed.push(answerE8);
        feeds.push(feed);
    }

    function _switchToSequencedHub() internal returns (MockAggregator uptime) {
        uptime = new MockAggregator(0, "uptime");
        uptime.pushAt(0, uint64(block.timestamp - 30 days));
        IOracleHub hub =
            IOracleHub(deployCode("OracleHub.sol:OracleHub", abi.encode(manager, uptime, uint256(1 hours))));
        vm.startPrank(owner);
        for (uint256 i; i < 3; ++i) {
            hub.setFeed(address(tokens[i]), address(feeds[i]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        }
        vault.setOracle(hub);
        vm.stopPrank();
        oracle = hub;
    }

    /// @dev Puts shares of an ERC-4626 vault in WETH's place, that are priced by a feed and by their rate.
    function _switchToShares() internal returns (MockToken coin) {
        coin = new MockToken("Coin", "COIN", 18);
        MockShareVault share = new MockShareVault(coin, 0);
        weth = address(share);
        coin.mint(creator, 60e18);
        vm.startPrank(creator);
        coin.approve(weth, 60e18);
        share.deposit(60e18, creator);
        share.approve(address(factory), 25e18);
        vm.stopPrank();
        _addFeed(2_000e8); // the coin's
        address shareFeed = deployCode("ERC4626Feed.sol:ERC4626Feed");
        vm.startPrank(owner);
        oracle.setFeed(address(coin), address(feeds[5]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        oracle.setFeed(weth, address(feeds[WETH]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        oracle.setSource(weth, IOracleHub.Source(shareFeed, 1, 190, address(coin), hex"1212"));
        vm.stopPrank();
        tokens[WETH] = MockToken(weth);
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        for (uint256 i = 1; i < 3; ++i) {
            tokens[i].mint(creator, p.seedAmounts[i]);
            _approve(tokens[i], creator, address(factory), p.seedAmounts[i]);
        }
        vm.prank(creator);
        vault = factory.createVault(p);
        _giveRoles(vault);
        _approve(tokens[USDC], bob, address(vault), type(uint256).max);
    }
}
