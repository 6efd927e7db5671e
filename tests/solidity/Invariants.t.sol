// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";
import { console } from "forge-std/console.sol";

import { Base } from "./Base.t.sol";
import { HostileToken } from "./support/HostileToken.sol";
import { Market } from "./support/Market.sol";
import { Rulers } from "./support/Rulers.sol";
import { Watcher } from "./support/Watcher.sol";
import { World } from "./support/World.sol";

/// @notice The promises, after any sequence of what holders, keepers, thieves, bidders, tokens, feeds, governance and time may do
/// (support/World.sol).
///
/// The basket: 18, 8, 6 and 27 decimals; the one with 6 is hostile. One with 0 and a second hostile one may be added. 100,000 dollars,
/// every kind of fee, an owner who waits two days and a curator who waits one.
///
/// `invariant_every_promise` is the long campaign (`make invariants`). Each promise also has a test of its own name, so that a broken one
/// is seen by its name and `tests/property/test_mutants.py` can ask for one alone; forge gives each the same short campaign.
contract InvariantsTest is Base {
    uint256 internal constant FRAGILE = 2;
    uint256 internal constant FRAGILE_TOO = 5;
    uint64 internal constant OWNER_ROLE = 4;

    World internal world;
    address[] internal holders;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deployCore();
        _addAsset(new MockToken("Wrapped Ether", "WETH", 18), 2_000e8);
        _addAsset(new MockToken("Wrapped Bitcoin", "WBTC", 8), 40_000e8);
        _addAsset(MockToken(address(new HostileToken("USD Coin", "USDC", 6))), 1e8);
        _addAsset(new MockToken("Many decimals", "D27", 27), 0.5e8);
        _addAsset(new MockToken("No decimals", "D0", 0), 50e8);
        _addAsset(MockToken(address(new HostileToken("Hook", "HOOK", 18))), 10e8);
        MockAggregator second = new MockAggregator(8, "WETH / USD too");
        second.push(2_000e8);
        vm.prank(owner);
        oracle.setSource(
            address(tokens[0]),
            IOracleHub.Source({
                adapter: chainlinkFeed,
                heartbeatSeconds: HEARTBEAT_SECONDS,
                maxDivergenceBps: 200,
                quote: address(0),
                params: abi.encodePacked(second, uint8(8))
            })
        );
        uint256[] memory seed = new uint256[](4);
        (seed[0], seed[1], seed[2], seed[3]) = (20e18, 0.75e8, 20_000e6, 20_000e27);
        vault = _createVault(_config(), seed);
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(200, 1_000, 10, 10), treasury);

        holders.push(creator);
        holders.push(alice);
        holders.push(bob);
        holders.push(makeAddr("carol"));
        LocalToken[] memory all = new LocalToken[](tokens.length);
        for (uint256 i; i < all.length; ++i) {
            all[i] = tokens[i];
        }
        world = new World(
            vault,
            oracle,
            manager,
            [makeAddr("slow owner"), curator, guardian, keeper],
            holders,
            all,
            feeds,
            second,
            [FRAGILE, FRAGILE_TOO]
        );
        vm.label(address(world), "world");
        _slowDown();
        targetContract(address(world));
        targetSelector(FuzzSelector(address(world), _actions()));
    }

    function _config() internal view override returns (IVaultBase.Config memory c) {
        c.oracle = oracle;
        c.policy = _policy();
        c.policy.turnoverBudgetBps = 5_000;
        c.policy.minProgressBps = 1_000;
        c.policy.openAfterSeconds = 2 hours;
        c.assets = new IVaultBase.Asset[](4);
        uint64[4] memory targets = [uint64(0.4e18), 0.3e18, 0.2e18, 0.1e18];
        for (uint256 i; i < 4; ++i) {
            IVaultBase.Asset memory a = c.assets[i];
            (a.token, a.decimals, a.bandBps) = (address(tokens[i]), tokens[i].decimals(), 200);
            (a.targetE18, a.startTargetE18) = (targets[i], targets[i]);
        }
    }

    /// @dev What loosens waits from here on, and the guardian may cancel it.
    function _slowDown() internal {
        bytes4[] memory slow = new bytes4[](11);
        slow[0] = IVaultExtension.setPolicy.selector;
        slow[1] = IVaultExtension.setOracle.selector;
        slow[2] = IVaultExtension.setFees.selector;
        slow[3] = IVaultExtension.addAsset.selector;
        slow[4] = IVaultExtension.excludeAsset.selector;
        slow[5] = IVaultExtension.includeAsset.selector;
        slow[6] = IVaultExtension.removeAsset.selector;
        slow[7] = IVaultExtension.resumeRebalance.selector;
        slow[8] = IVaultExtension.absorb.selector;
        slow[9] = IVaultExtension.startAuction.selector;
        slow[10] = IVaultExtension.allowPurchases.selector;
        bytes4[] memory curators = new bytes4[](2);
        (curators[0], curators[1]) = (IVaultExtension.setTargets.selector, IVaultExtension.setBands.selector);
        bytes4[] memory guardians = new bytes4[](4);
        guardians[0] = IVaultExtension.pauseRebalance.selector;
        guardians[1] = IVaultExtension.tightenPolicy.selector;
        guardians[2] = IVaultExtension.lowerFees.selector;
        guardians[3] = IVaultExtension.stopAuction.selector;
        bytes4[] memory hubs = new bytes4[](3);
        (hubs[0], hubs[1], hubs[2]) =
        (IOracleHub.setFeed.selector, IOracleHub.setSource.selector, IOracleHub.removeSource.selector);
        vm.startPrank(owner);
        manager.setTargetFunctionRole(address(vault), slow, OWNER_ROLE);
        manager.setTargetFunctionRole(address(oracle), hubs, OWNER_ROLE);
        manager.setTargetFunctionRole(address(oracle), _selectors(IOracleHub.tightenFeed.selector), GUARDIAN_ROLE);
        manager.setTargetFunctionRole(address(vault), curators, CURATOR_ROLE);
        manager.setTargetFunctionRole(address(vault), guardians, GUARDIAN_ROLE);
        manager.setTargetFunctionRole(address(vault), _selectors(IVaultCore.rebalance.selector), KEEPER_ROLE);
        manager.setRoleGuardian(OWNER_ROLE, GUARDIAN_ROLE);
        manager.setRoleGuardian(CURATOR_ROLE, GUARDIAN_ROLE);
        manager.grantRole(OWNER_ROLE, makeAddr("slow owner"), uint32(world.OWNER_DELAY()));
        manager.grantRole(CURATOR_ROLE, curator, uint32(world.CURATOR_DELAY()));
        vm.stopPrank();
        skip(10 days); // a longer delay of a role takes effect at once, a role's guardian after some days
        for (uint256 i; i < feeds.length; ++i) {
            feeds[i].push(feeds[i].latestRound() == 0 ? int192(1) : _answer(i));
        }
    }

    function _answer(uint256 i) internal view returns (int192) {
        (, int256 answer,,,) = feeds[i].latestRoundData();
        return int192(answer);
    }

    /// @dev What the world may do; the more important things more often.
    function _actions() internal pure returns (bytes4[] memory actions) {
        actions = new bytes4[](43);
        actions[0] = World.deposit.selector;
        actions[1] = World.redeem.selector;
        actions[2] = World.redeem.selector;
        actions[3] = World.redeemExcept.selector;
        actions[4] = World.claim.selector;
        actions[5] = World.claimOthers.selector;
        actions[6] = World.transferShares.selector;
        actions[7] = World.give.selector;
        actions[8] = World.sync.selector;
        actions[9] = World.collectFee.selector;
        actions[10] = World.settlePerformance.selector;
        actions[11] = World.poke.selector;
        actions[12] = World.tradeHonestly.selector;
        actions[13] = World.tradeHonestly.selector;
        actions[14] = World.tradeHostilely.selector;
        actions[15] = World.tradeHostilely.selector;
        actions[16] = World.tradeHostilely.selector;
        actions[17] = World.stealRepeatedly.selector;
        actions[18] = World.tradeByAnyone.selector;
        actions[19] = World.armTokens.selector;
        actions[20] = World.bidAtAuction.selector;
        actions[21] = World.bidAtAuction.selector;
        actions[22] = Market.movePrice.selector;
        actions[23] = Market.moveSecond.selector;
        actions[24] = Market.breakFeed.selector;
        actions[25] = Market.breakToken.selector;
        actions[26] = Market.breakToken.selector;
        actions[27] = Market.loseBalance.selector;
        actions[28] = Market.passTime.selector;
        actions[29] = Rulers.govern.selector;
        actions[30] = Rulers.govern.selector;
        actions[31] = Rulers.govern.selector;
        actions[32] = Rulers.govern.selector;
        actions[33] = Rulers.tighten.selector;
        actions[34] = Rulers.loosenAtOnce.selector;
        actions[35] = Rulers.intrude.selector;
        actions[36] = World.emptyAndRefill.selector;
        actions[37] = World.mend.selector;
        actions[38] = World.mend.selector;
        actions[39] = Market.loseBalance.selector;
        actions[40] = World.sync.selector;
        actions[41] = World.claim.selector;
        actions[42] = World.loseAndFind.selector;
    }

    /* PROMISES */

    /// @notice All of them at once, after every call: the long campaign.
    function invariant_every_promise() public {
        for (uint256 i; i <= uint256(type(Watcher.Promise).max); ++i) {
            _checkKept(Watcher.Promise(i));
        }
        _checkCovered();
        _checkBarred();
        _checkSupply();
        _checkExit();
    }

    function invariant_A1_a_redemption_pays_its_part_or_opens_a_claim() public view {
        _checkKept(Watcher.Promise.A1);
    }

    function invariant_A2_claims_are_covered_and_paid() public view {
        _checkKept(Watcher.Promise.A2);
        _checkCovered();
    }

    function invariant_A3_an_exit_needs_nothing_but_the_tokens() public {
        _checkExit();
    }

    function invariant_A4_a_loss_is_borne_by_every_share_and_claim_alike() public view {
        _checkKept(Watcher.Promise.A4);
    }

    function invariant_A5_nobody_pays_into_a_hole() public view {
        _checkKept(Watcher.Promise.A5);
    }

    function invariant_B1_losses_stay_within_the_budget_of_any_window() public view {
        _checkKept(Watcher.Promise.B1);
    }

    function invariant_B2_nothing_is_traded_while_no_band_is_broken() public view {
        _checkKept(Watcher.Promise.B2);
    }

    function invariant_B3_a_trade_loses_at_most_the_slippage_limit() public view {
        _checkKept(Watcher.Promise.B3);
    }

    function invariant_B4_sales_stay_within_the_turnover_of_any_window() public view {
        _checkKept(Watcher.Promise.B4);
    }

    function invariant_B5_only_who_may_trades_and_only_when_it_is_time() public view {
        _checkKept(Watcher.Promise.B5);
    }

    function invariant_B6_time_runs_since_a_rebalance_was_seen_due() public view {
        _checkKept(Watcher.Promise.B6);
    }

    function invariant_B7_what_was_lost_is_not_bought_again() public view {
        _checkKept(Watcher.Promise.B7);
        _checkBarred();
    }

    function invariant_C1_only_surplus_is_sold_and_only_deficit_bought() public view {
        _checkKept(Watcher.Promise.C1);
    }

    function invariant_C2_no_asset_crosses_its_target_or_ends_further_away() public view {
        _checkKept(Watcher.Promise.C2);
    }

    function invariant_C3_every_trade_makes_progress() public view {
        _checkKept(Watcher.Promise.C3);
    }

    function invariant_C4_bids_keep_the_terms_of_their_auction() public view {
        _checkKept(Watcher.Promise.C4);
    }

    function invariant_C5_an_auction_opens_late_and_by_no_guardian() public view {
        _checkKept(Watcher.Promise.C5);
    }

    function invariant_D1_the_limit_holds_by_either_source() public view {
        _checkKept(Watcher.Promise.D1);
    }

    function invariant_D2_nothing_is_traded_by_an_unsound_price() public view {
        _checkKept(Watcher.Promise.D2);
    }

    function invariant_E1_gifts_change_no_shares_worth() public view {
        _checkKept(Watcher.Promise.E1);
    }

    function invariant_E2_only_gifts_are_absorbed_and_none_is_spent() public view {
        _checkKept(Watcher.Promise.E2);
    }

    function invariant_F1_risk_waits_for_its_role_and_its_delay() public view {
        _checkKept(Watcher.Promise.F1);
    }

    function invariant_F2_tightening_works_at_once() public view {
        _checkKept(Watcher.Promise.F2);
    }

    function invariant_G1_no_other_call_leaves_a_share_with_less() public view {
        _checkKept(Watcher.Promise.G1);
    }

    function invariant_G2_fees_keep_their_rates_and_shares_their_sum() public view {
        _checkKept(Watcher.Promise.G2);
        _checkSupply();
    }

    function invariant_G3_who_keeps_all_rules_is_let_through() public view {
        _checkKept(Watcher.Promise.G3);
    }

    function invariant_G4_only_what_was_there_all_the_time_is_charged() public view {
        _checkKept(Watcher.Promise.G4);
    }

    function invariant_G5_whatever_is_broken_can_be_mended() public view {
        _checkKept(Watcher.Promise.G5);
    }

    /* THE WORLD */

    /// @notice A fixed walk of the same world. It shows that the actors do real work: a handler that is always refused proves nothing.
    function test_the_world_is_not_idle() public {
        bytes4[] memory actions = _actions();
        for (uint256 i; i < 500; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("walk", i)));
            _act(actions[seed % actions.length], seed);
            if (i % 50 == 0) invariant_every_promise();
        }
        // What chance has left out of what rulers may do.
        for (uint256 i; i < 16 * 40; ++i) {
            if (world.doneByKind(i % 16) != 0) continue;
            // Or there is nothing to take back, to remove or to allow.
            if (i % 16 == 4 || i % 16 == 5) world.govern(3, uint256(keccak256(abi.encode("exclude", i))));
            if (i % 16 == 15) world.loseAndFind(i);
            world.govern(i % 16, uint256(keccak256(abi.encode("rule", i))));
        }
        invariant_every_promise();

        World.Counts memory c = world.counts();
        console.log("deposits", c.deposits, "refused", c.depositsRefused);
        console.log("redemptions", c.redemptions, "claims opened", c.claimsOpened);
        console.log("claims paid", c.claimsPaid, "gifts", c.gifts);
        console.log("losses", world.losses(), "written down", c.lossesWritten);
        console.log("honest trades", c.honestTrades, "waits", c.honestWaits);
        console.log("hostile trades", c.hostileTrades, "refusals", c.hostileRefusals);
        console.log("open trades", c.openTrades, "fees settled", c.feesSettled);
        console.log("bids", c.bids, "refused", c.bidsRefused);
        console.log("acts", world.actsDone(), "cancelled", world.actsCancelled());
        console.log("acts refused", world.actsRefused(), "tightenings", world.tightenings());
        console.log("feeds broken", world.feedsBroken(), "tokens broken", world.tokensBroken());
        console.log("refills", c.refills, "auctions ended", c.auctionsEnded);
        console.log("mended", c.mended, "left", c.mendsLeft);
        console.log("partly paid", c.partlyPaid, "probes", c.probes);
        for (uint256 i; i < 16; ++i) {
            console.log("  act", i, world.doneByKind(i));
            assertGt(world.doneByKind(i), 0, "every kind of act was done");
        }
        assertGt(c.deposits, 3);
        assertGt(c.redemptions, 20);
        assertGt(c.claimsOpened, 10);
        assertGt(c.claimsPaid, 3);
        assertGt(c.gifts, 3);
        assertGt(c.lossesWritten, 0);
        assertGt(c.feesSettled, 0);
        assertGt(c.honestTrades, 10);
        assertGt(c.hostileTrades, 20);
        assertGt(c.hostileRefusals, 20);
        assertGt(c.openTrades, 0);
        assertGt(c.bids, 0);
        assertGt(c.refills, 3);
        assertGt(c.mended, 3);
        assertGt(c.partlyPaid, 0);
        assertGt(c.auctionsEnded, 0);
        assertGt(c.probes, 0);
        assertGt(c.found, 0);
        assertGt(world.tightenings(), 10);
        assertGt(world.feedsBroken(), 5);
        assertGt(world.tokensBroken(), 5);
    }

    /// @dev One action with arguments from a seed. Functions of booleans refuse other words, so those get one.
    function _act(bytes4 action, uint256 seed) internal {
        (uint256 a, uint256 b) = (uint256(keccak256(abi.encode(seed, 1))), uint256(keccak256(abi.encode(seed, 2))));
        bytes memory data = abi.encodePacked(action, a, b, keccak256(abi.encode(seed, 3)));
        bool flag = seed >> 255 == 1;
        if (action == World.claim.selector) data = abi.encodeCall(World.claim, (a, b, flag));
        if (action == Market.passTime.selector) data = abi.encodeCall(Market.passTime, (a, flag));
        if (action == World.settlePerformance.selector) data = abi.encodeCall(World.settlePerformance, (a, flag));
        if (action == World.tradeByAnyone.selector) data = abi.encodeCall(World.tradeByAnyone, (a, flag));
        if (action == World.bidAtAuction.selector) data = abi.encodeCall(World.bidAtAuction, (a, flag));
        (bool done, bytes memory answer) = address(world).call(data);
        assertTrue(done, string.concat("an actor failed by itself: ", vm.toString(action), " ", vm.toString(answer)));
    }

    /* CHECKS */

    function _checkKept(Watcher.Promise which) internal view {
        string memory breach = world.firstBreach(which);
        assertTrue(bytes(breach).length == 0, string.concat(_name(which), ": ", breach));
    }

    function _name(Watcher.Promise which) internal pure returns (string memory) {
        string[27] memory names = [
            "A1",
            "A2",
            "A4",
            "A5",
            "B1",
            "B2",
            "B3",
            "B4",
            "B5",
            "B6",
            "B7",
            "C1",
            "C2",
            "C3",
            "C4",
            "C5",
            "D1",
            "D2",
            "E1",
            "E2",
            "F1",
            "F2",
            "G1",
            "G2",
            "G3",
            "G4",
            "G5"
        ];
        return names[uint256(which)];
    }

    /// @dev A3: with oracle, store, authority and hub gone, everybody gets every asset that can move, and a claim on the others.
    function _checkExit() internal {
        uint256 snapshot = vm.snapshotState();
        vm.etch(address(oracle), hex"fe");
        vm.etch(address(store), hex"fe");
        vm.etch(address(manager), hex"fe");
        IVaultBase.Asset[] memory assets = vault.assets();
        for (uint256 i; i < holders.length; ++i) {
            uint256 shares = vault.balanceOf(holders[i]);
            if (shares == 0) continue;
            uint256[] memory part = vault.previewRedeemInKind(shares);
            uint256[] memory there = _thereAndOwed(assets, holders[i]);
            vm.prank(holders[i]);
            uint256[] memory paid = vault.redeemInKind(shares, holders[i], holders[i], new uint256[](part.length));
            assertEq(paid, part, "A3: what was foretold");
            uint256[] memory left = _thereAndOwed(assets, holders[i]);
            for (uint256 j; j < part.length; ++j) {
                // A loss that this redemption wrote down has lessened claims of before.
                if (world.lost(assets[j].token) != 0) continue;
                assertApproxEqAbs(there[j] - left[j], part[j], 3, "A3: sent or owed");
            }
        }
        vm.revertToState(snapshot);
    }

    /// @dev What is in the vault and not owed to the holder. One number an asset: a claim takes from it as a payment does.
    function _thereAndOwed(IVaultBase.Asset[] memory assets, address holder)
        internal
        view
        returns (uint256[] memory n)
    {
        n = new uint256[](assets.length);
        for (uint256 i; i < n.length; ++i) {
            LocalToken token = LocalToken(assets[i].token);
            // A vault that has lost more than this holder is owed: count from high up.
            n[i] = (1 << 200) + token.balanceOf(address(vault)) - vault.claimable(holder, address(token));
        }
    }

    /// @dev A2: what the vault says it holds and owes is there, but for what tokens took themselves and nobody has written down yet; and
    /// claims sum to their pool, but for what each rounds down.
    function _checkCovered() internal view {
        LocalToken[] memory all = world.tokens();
        IVaultBase.Asset[] memory assets = vault.assets();
        uint256[] memory held = vault.held();
        for (uint256 i; i < all.length; ++i) {
            uint256 claims;
            for (uint256 j; j < holders.length; ++j) {
                claims += vault.claimable(holders[j], address(all[i]));
            }
            uint256 owed = vault.totalClaimable(address(all[i]));
            assertLe(claims, owed, "A2: claims are more than their pool");
            assertLe(owed, claims + holders.length, "A2: a pool is more than its claims");
            for (uint256 j; j < assets.length; ++j) {
                if (assets[j].token == address(all[i])) owed += held[j];
            }
            assertGe(all[i].balanceOf(address(vault)) + world.lost(address(all[i])), owed, "A2: not covered");
        }
    }

    /// @dev B7: what lost more than dust is barred, and nothing else is.
    function _checkBarred() internal view {
        IVaultBase.Asset[] memory assets = vault.assets();
        for (uint256 i; i < assets.length; ++i) {
            assertEq(vault.isBarred(i), world.barred(assets[i].token), "B7: another asset is barred");
        }
    }

    /// @dev G2: every share has a holder, or is a fee that is not yet minted: simple interest since it was last booked, rounded down.
    function _checkSupply() internal view {
        IVaultBase.Fee memory f = vault.fee();
        uint256 minted = vault.balanceOf(LOCKED) + vault.balanceOf(treasury);
        for (uint256 i; i < holders.length; ++i) {
            minted += vault.balanceOf(holders[i]);
        }
        // As many as own 1,000 units of the coarsest seed.
        assertEq(vault.balanceOf(LOCKED), INITIAL_SHARES * 1_000 / 0.75e8 + 1, "G2: the locked shares");
        uint256 booked = minted + f.pendingShares;
        uint256 earned = booked * f.streamingBps * (block.timestamp - f.accruedAt) / (365 days * BPS);
        assertEq(vault.totalSupply(), booked + earned, "G2: the supply");
    }
}
