// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IBasketVault, IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { Holding } from "../../contracts/libraries/Holdings.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { MoodyToken } from "./support/MoodyToken.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice Tokens that lose balance: who bears it. The ledger and all open claims, by the same factor, whichever account acts first.
///
/// The vault holds 15 WETH and 30,000 of a token of 6 decimals, half and half; a third of it is alice's, who leaves the token as a claim
/// where a test says so.
contract LossesTest is Base {
    MockToken internal token;
    MoodyToken internal moody;

    function setUp() public override {
        super.setUp();
        moody = new MoodyToken("Moody", "MOOD", 6);
        token = MockToken(address(moody));
        _switchToPair(token);
        _deposit(alice, 50e18);
    }

    /* REFUSALS */

    /// @dev Bob would pay 10,000 into the hole, and alice's claim of 10,000 would take it out.
    function test_mint_into_a_hole_is_refused_and_passes_once_it_is_written_down() public {
        _leave(alice, 2);
        _lose(20_000e6);
        uint256[] memory asked = _prepareDeposit(bob, 50e18);
        vm.prank(bob);
        vm.expectRevert(_notWrittenDown(10_000e6, 30_000e6));
        vault.mintInKind(50e18, bob, asked);

        vault.sync(1);
        uint256[] memory given = _deposit(bob, 50e18);
        assertEq(_claim(alice, token), 3_333.333333e6, "10,000 otherwise");
        uint256[] memory back = _redeem(bob, 50e18);

        assertEq(given[1], 3_333.333333e6);
        assertEq(back, given, "nobody takes a part of it");
    }

    function testFuzz_mint_into_any_hole_is_refused(uint256 lost, uint256 shares, bool claimed) public {
        if (claimed) _leave(alice, 2);
        lost = bound(lost, 1, 30_000e6);
        _lose(lost);
        shares = bound(shares, 1, 1_000e18);
        uint256[] memory asked = _prepareDeposit(bob, shares);
        vm.prank(bob);
        vm.expectRevert(_notWrittenDown(30_000e6 - lost, 30_000e6));
        vault.mintInKind(shares, bob, asked);
    }

    /// @dev 10,000 back a claim of 10,000, and the ledger still says 20,000: 7,000 would be left for the claim.
    function test_a_rebalance_that_sells_what_backs_claims_is_refused() public {
        _leave(alice, 2);
        _lose(20_000e6);
        _setPrice(1, 1.5e8);
        _expectTradeRefused(_amounts(0, 3_000e6), _amounts(2.25e18, 0), _notWrittenDown(10_000e6, 30_000e6));

        vault.sync(1);
        vm.prank(owner);
        vault.resumeRebalance();
        _setPrice(1, 6e8); // 6,666.666667 are worth 40,000 beside 20,000 of WETH
        _rebalance(_amounts(0, 1_666e6), _amounts(4.998e18, 0), 0);

        assertEq(_claim(alice, token), 3_333.333333e6, "as much as before the sale");
        assertLe(vault.held()[1], token.balanceOf(address(vault)));
    }

    function test_a_rebalance_that_buys_into_a_hole_is_refused() public {
        _leave(alice, 2);
        _lose(15_000e6);
        _setPrice(0, 3_000e8);
        _expectTradeRefused(_amounts(1e18, 0), _amounts(0, 3_000e6), _notWrittenDown(15_000e6, 30_000e6));
    }

    /* LOSSES */

    /// @dev Of 30,000 everything is lost, and the vault buys 10,000 again: alice's claim of 10,000 was lost with the rest.
    function test_what_is_bought_after_a_loss_pays_no_older_claim() public {
        _leave(alice, 2);
        _lose(30_000e6);
        assertEq(vault.sync(1), 30_000e6);
        assertEq(vault.claimable(alice, address(token)), 0);
        _allowAndResume(1);
        _rebalance(_amounts(5e18, 0), _amounts(0, 10_000e6), 0);

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, alice, address(token)));
        vault.claim(alice, address(token), alice, type(uint256).max);
        assertEq(token.balanceOf(address(vault)), 10_000e6);
        assertEq(vault.held()[1], 10_000e6);
    }

    function testFuzz_what_is_bought_after_a_loss_backs_the_ledger_alone(uint256 lost) public {
        _leave(alice, 2);
        lost = bound(lost, 3_000e6, 30_000e6);
        _lose(lost);
        vault.sync(1);
        _allowAndResume(1);
        uint256 left = vault.held()[1];
        uint256 buy = (20_000e6 - left) / 2;
        _rebalance(_amounts(buy * 1e12 / 2_000, 0), _amounts(0, buy), 0);

        uint256 due = uint256(10_000e6) * (30_000e6 - lost) / 30_000e6;
        assertEq(due == 0 ? 0 : _claim(alice, token), due);
        assertEq(vault.held()[1], left + buy);
        assertApproxEqAbs(token.balanceOf(address(vault)), left + buy, 2, "two units of dust");
    }

    /// @dev Who knows of a loss of a half, and leaves the token as a claim, is no better off than who stays.
    function test_a_claim_made_before_a_loss_bears_it_like_a_share() public {
        _leave(alice, 2);
        _lose(15_000e6);
        vault.sync(1);

        assertEq(_claim(alice, token), 5_000e6, "10,000 otherwise");
        assertEq(_redeem(creator, 50e18)[1], 5_000e6);
    }

    function test_a_redemption_after_a_loss_bears_it_and_bars_the_asset_as_sync_would() public {
        _lose(15_000e6);
        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(token), 30_000e6, 15_000e6, 0, 0);
        vm.expectEmit(address(vault));
        emit IVaultBase.PurchasesBarred(address(token), 0.5e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.RebalancePaused(address(vault));
        assertEq(vault.previewRedeemInKind(50e18), _amounts(5e18, 5_000e6));
        assertEq(_redeem(alice, 50e18), _amounts(5e18, 5_000e6), "10,000 otherwise");

        assertEq(_redeem(creator, 50e18), _amounts(5e18, 5_000e6));
        assertTrue(vault.isBarred(1));
        assertTrue(vault.state().paused);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingLost.selector, 1, 5_000e6, 5_000e6));
        vault.sync(1);
    }

    /// @dev Sync, alice's claim and bob's redemption, in every order, of tokens with 0 to 27 decimals: the same numbers to the last unit.
    function testFuzz_whoever_acts_first_everybody_gets_the_same(
        uint256 decimals,
        uint256 claimShares,
        uint256 bobShares,
        uint256 lossE18,
        bool skips
    ) public {
        _switchTo([0, 6, 8, 18, 27][decimals % 5]);
        _deposit(alice, bound(claimShares, 1, 1_000e18));
        _deposit(bob, bound(bobShares, 1, 1_000e18));
        _leave(alice, 2);
        uint256 balance = token.balanceOf(address(vault));
        lossE18 = bound(lossE18, 0, 1e18);
        if (lossE18 > 1e18 - 1e9) lossE18 = 1e18; // a claim that has lost all but 2^-32 ends where another opens: below
        _lose(Math.max(1, Math.mulDiv(balance, lossE18, 1e18)));
        uint8[3][6] memory orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        uint256[] memory first;
        for (uint256 i; i < 6; ++i) {
            uint256 snapshot = vm.snapshotState();
            uint256[] memory outcome = _act(orders[i], skips ? 2 : 0);
            vm.revertToState(snapshot);
            if (i == 0) first = outcome;
            assertEq(outcome, first, vm.toString(i));
        }
        assertLe(first[0] + first[1] + first[2] + first[3], token.balanceOf(address(vault)), "no more than there was");
        assertGe(first[0] + first[1] + first[2] + first[3] + 3, token.balanceOf(address(vault)), "and no less");
    }

    /// @dev What alice was paid, bob was paid, the ledger holds and bob may claim at the end, and what a share of the creator's gives.
    function _act(uint8[3] memory order, uint256 skipped) internal returns (uint256[] memory outcome) {
        outcome = new uint256[](5);
        for (uint256 i; i < 3; ++i) {
            if (order[i] == 0) {
                try vault.sync(1) { } catch { }
            } else if (order[i] == 1) {
                vm.prank(alice);
                try vault.claim(alice, address(token), alice, type(uint256).max) { } catch { }
            } else {
                _leave(bob, skipped);
            }
        }
        (outcome[0], outcome[1]) = (token.balanceOf(alice), token.balanceOf(bob));
        (outcome[2], outcome[3]) = (vault.held()[1], vault.claimable(bob, address(token)));
        // A claim of nothing was refused, and may leave the loss to nobody if it was the only one to see it.
        outcome[4] = vault.previewRedeemInKind(1e18)[1];
    }

    /// @dev Three people leave one after the other, and after each something is lost: each bears what came after it left, as the ledger
    /// does.
    function testFuzz_each_claim_bears_the_losses_after_it(uint256 decimals, uint256 seed) public {
        _switchTo([0, 6, 8, 18, 27][decimals % 5]);
        address[3] memory people = [alice, bob, stranger];
        for (uint256 i; i < 3; ++i) {
            _deposit(people[i], 1e15 + uint256(keccak256(abi.encode(seed, i))) % 100e18);
        }
        uint256[4] memory due;
        for (uint256 i; i < 3; ++i) {
            due[i] = _leave(people[i], 2)[1];
            due[3] = vault.held()[1];
            uint256 balance = token.balanceOf(address(vault));
            uint256 left =
                balance - Math.mulDiv(balance, uint256(keccak256(abi.encode(seed, i, "loss"))) % 0.9e18, 1e18);
            _lose(balance - left);
            uint256 owed = vault.held()[1] + vault.totalClaimable(address(token));
            if (left < owed) vault.sync(1);
            for (uint256 j; j < 4 && left < owed; ++j) {
                if (j <= i || j == 3) due[j] = Math.mulDiv(due[j], left, owed);
            }
            assertLe(vault.held()[1] + vault.totalClaimable(address(token)), token.balanceOf(address(vault)));
        }

        for (uint256 i; i < 3; ++i) {
            assertApproxEqAbs(vault.claimable(people[i], address(token)), due[i], 8);
        }
        assertApproxEqAbs(vault.held()[1], due[3], 8);
        for (uint256 i; i < 3; ++i) {
            if (vault.claimable(people[i], address(token)) != 0) _claim(people[i], token);
        }
        assertGe(token.balanceOf(address(vault)), vault.held()[1]);
    }

    /* TOTAL LOSS */

    function test_claims_made_after_a_total_loss_are_whole_and_older_ones_worth_nothing() public {
        _leave(alice, 2);
        _lose(30_000e6);
        vault.sync(1);
        token.mint(address(vault), 20_000e6);
        vm.prank(owner);
        vault.absorb(1, 20_000e6);
        assertEq(vault.claimable(alice, address(token)), 0);
        _deposit(alice, 100e18);
        vm.prank(creator);
        vault.redeemInKindExcept(50e18, creator, creator, _amounts(0, 0), 2);
        assertEq(vault.claimable(creator, address(token)), 10_000e6);
        assertEq(vault.claimable(alice, address(token)), 0);
        _leave(alice, 2);

        assertEq(vault.totalClaimable(address(token)), 30_000e6);
        assertEq(_claim(alice, token), 20_000e6, "her new claim alone");
        assertEq(_claim(creator, token), 10_000e6);
        assertEq(token.balanceOf(address(vault)), vault.held()[1]);
    }

    /// @dev Of so few units that nothing else would end it before the next claim.
    function test_a_small_claim_of_which_all_is_lost_ends_too() public {
        vm.prank(alice);
        vault.redeemInKindExcept(1e18, alice, alice, _amounts(0, 0), 2);
        assertLt(vault.claimable(alice, address(token)), 1 << 32);
        _lose(30_000e6);
        vault.sync(1);
        token.mint(address(vault), 20_000e6);
        vm.prank(owner);
        vault.absorb(1, 20_000e6);
        vm.prank(creator);
        uint256 due = vault.redeemInKindExcept(50e18, creator, creator, _amounts(0, 0), 2)[1];

        assertGt(due, 0);
        assertEq(vault.claimable(alice, address(token)), 0);
        assertEq(_claim(creator, token), due);
    }

    /// @dev Of 27 decimals, so little is left that units could no longer tell it: claims end, and new ones are whole.
    function test_claims_of_which_next_to_nothing_is_left_end() public {
        _switchTo(27);
        _deposit(alice, 50e18);
        _leave(alice, 2);
        _lose(token.balanceOf(address(vault)) - 1e12);
        vault.sync(1);

        assertEq(vault.claimable(alice, address(token)), 0);
        assertEq(vault.totalClaimable(address(token)), 0);
        assertLe(vault.held()[1], 1e12);
        vm.prank(creator);
        uint256 due = vault.redeemInKindExcept(50e18, creator, creator, _amounts(0, 0), 2)[1];
        assertEq(_claim(creator, token), due);
    }

    /// @dev A half is lost a hundred times, and more is claimed in between: alice's claim is halved each time, and ends after the 64th.
    /// @dev A barred asset's dust pauses nothing, and what is more than dust does, again and again.
    function test_a_second_seizure_after_trading_was_resumed_pauses_it_again() public {
        _lose(token.balanceOf(address(vault)) / 5);
        vault.sync(1);
        vm.prank(owner);
        vault.resumeRebalance();
        _lose(1);
        vault.sync(1);
        assertFalse(vault.state().paused);
        _lose(token.balanceOf(address(vault)) / 5);
        vault.sync(1);
        assertTrue(vault.state().paused);
        assertTrue(vault.isBarred(1));
    }

    /// @dev Somebody else opens a claim after each loss: all but 2^-32 of the first is lost before it ends, and none opened later ends with
    /// it.
    function test_a_claim_survives_thirty_two_losses_of_a_half_beside_new_claims() public {
        _switchTo(27);
        _deposit(alice, 50e18);
        uint256 due = _leave(alice, 2)[1];
        for (uint256 i = 1; i <= 100; ++i) {
            uint256 balance = token.balanceOf(address(vault));
            _lose(balance - balance / 2);
            vault.sync(1);
            due /= 2;
            assertApproxEqAbs(vault.claimable(alice, address(token)), i < 34 ? due : 0, 2);
            token.mint(address(vault), 100_000e27);
            vm.prank(owner);
            vault.absorb(1, 100_000e27);
            _deposit(bob, 10e18);
            if (i == 33) {
                vm.expectEmit(true, false, false, false, address(vault)); // her claim ends, with an event
                emit IVaultBase.Synced(address(token), 0, 0, 0, 0);
            }
            _leave(bob, 2);
        }

        _claim(bob, token);
        assertGe(token.balanceOf(address(vault)), vault.held()[1] + vault.totalClaimable(address(token)));
        assertEq(vault.totalClaimable(address(token)), 0, "bob's were all there were");
    }

    /// @dev The most units a claim can have, and claims up to 2^128: nothing overflows, and people go on leaving.
    function test_the_largest_claims_stop_no_redemption() public {
        _switchTo(27);
        token.mint(address(vault), (1 << 118) - vault.held()[1]);
        vm.startPrank(owner);
        vault.absorb(1, (1 << 118) - vault.held()[1]);
        vm.stopPrank();
        _deposit(alice, 100e18);
        _leave(alice, 2);
        _lose(token.balanceOf(address(vault)) - (token.balanceOf(address(vault)) >> 31));
        vault.sync(1);
        assertGt(vault.claimable(alice, address(token)), 0);
        token.mint(address(vault), 1 << 118);
        vm.prank(owner);
        vault.absorb(1, 1 << 118);
        for (uint256 i; i < 1_030; ++i) {
            _deposit(bob, 100e18);
            _leave(bob, 2);
        }

        assertEq(vault.totalClaimable(address(token)), type(uint128).max);
        assertGe(token.balanceOf(address(vault)), vault.held()[1] + vault.totalClaimable(address(token)));
        assertEq(_redeem(creator, 50e18)[1], vault.held()[1], "one half goes, one stays");
        assertGt(_claim(alice, token), 0);
        assertGt(_claim(bob, token), type(uint128).max / 2);
    }

    /* CLAIMS */

    /// @dev Of 7 units for two claims of 10 each, 3 are the first's to take, and all that is left the second's.
    function test_the_last_claim_takes_what_is_left() public {
        _claimUnits(alice, 10);
        _claimUnits(bob, 10);
        _lose(token.balanceOf(address(vault)) * 13 / 20 - 1);
        vault.sync(1);
        assertEq(vault.totalClaimable(address(token)), 7);

        assertEq(_claim(alice, token), 3);
        assertEq(_claim(bob, token), 4);
        assertEq(vault.totalClaimable(address(token)), 0);
    }

    function test_a_claim_of_a_single_unit_is_written_down_with_the_rest() public {
        _claimUnits(alice, 1);
        assertEq(vault.totalClaimable(address(token)), 1);
        _lose(token.balanceOf(address(vault)) / 2);
        vault.sync(1);

        assertEq(vault.totalClaimable(address(token)), 0);
        assertEq(vault.claimable(alice, address(token)), 0);
    }

    function test_a_claim_that_a_loss_left_a_single_unit_of_bears_the_next_one_too() public {
        _claimUnits(alice, 2);
        _lose(token.balanceOf(address(vault)) * 2 / 5);
        vault.sync(1);
        assertEq(vault.totalClaimable(address(token)), 1);
        _lose(token.balanceOf(address(vault)) / 2);
        vault.sync(1);

        assertEq(vault.totalClaimable(address(token)), 0);
    }

    function test_flags_of_an_entry_leave_its_amount() public pure {
        Holding h = Holding.wrap(8).withBarred(true).withClaimed(true);
        assertEq(h.amountRaw(), 8);
        assertTrue(h.isBarred() && h.isClaimed());
        h = h.withBarred(false).withAmount(9);
        assertTrue(!h.isBarred() && h.isClaimed());
        assertEq(Holding.unwrap(h.withClaimed(false)), 9);
    }

    /// @dev A claim on this many units of the token, by a redemption of the fewest shares.
    function _claimUnits(address holder, uint256 units) internal {
        uint256 shares = units * vault.totalSupply() / vault.held()[1] + 1;
        _deposit(holder, shares);
        vm.prank(holder);
        vault.redeemInKindExcept(shares, holder, holder, _amounts(0, 0), 2);
        assertEq(vault.claimable(holder, address(token)), units);
    }

    function testFuzz_a_claim_in_parts_is_the_claim_and_costs_no_other_a_unit(uint256 a, uint256 b, uint256 lost)
        public
    {
        _deposit(bob, 30e18 + 7);
        _leave(alice, 2);
        _lose(bound(lost, 1, 30_000e6));
        _leave(bob, 2);
        uint256 whole = vault.claimable(alice, address(token));
        uint256 others = vault.claimable(bob, address(token));
        if (whole < 2) return;
        a = bound(a, 1, whole - 1);
        b = bound(b, 1, type(uint128).max);
        vm.startPrank(alice);
        assertEq(vault.claim(alice, address(token), alice, a), a);
        uint256 rest = vault.claimable(alice, address(token));
        assertLe(rest, whole - a);
        assertGe(rest + 1, whole - a);
        if (rest != 0) assertEq(vault.claim(alice, address(token), stranger, b), Math.min(rest, b));
        vm.stopPrank();

        assertGe(vault.claimable(bob, address(token)), others);
        assertLe(vault.totalClaimable(address(token)) + vault.held()[1], token.balanceOf(address(vault)));
    }

    function test_claims_of_an_owner_that_names_a_receiver_are_the_receivers() public {
        vm.prank(alice);
        vault.redeemInKindExcept(50e18, bob, alice, _amounts(0, 0), 2);

        assertEq(vault.claimable(bob, address(token)), 10_000e6);
        assertEq(vault.claimable(alice, address(token)), 0);
        assertEq(_claim(bob, token), 10_000e6);
    }

    function test_claims_of_who_spends_an_allowance_are_the_owners() public {
        vm.prank(alice);
        vault.approve(bob, 50e18);
        vm.prank(bob);
        vault.redeemInKindExcept(50e18, stranger, alice, _amounts(0, 0), 2);

        assertEq(tokens[0].balanceOf(stranger), 5e18);
        assertEq(vault.claimable(alice, address(token)), 10_000e6);
        assertEq(vault.claimable(bob, address(token)) + vault.claimable(stranger, address(token)), 0);
    }

    /* TOKENS THAT DO NOT TELL */

    /// @dev Whatever a token answers when asked for a balance, and whether or not something is lost: its holders leave, and nobody's claim
    /// or ledger suffers where it told nothing.
    function test_redeem_with_a_token_that_does_not_tell_its_balance_pays_out() public {
        for (uint256 m = 1; m <= uint256(type(MoodyToken.Mood).max); ++m) {
            for (uint256 lost; lost < 2; ++lost) {
                uint256 snapshot = vm.snapshotState();
                _lose(lost * 15_000e6);
                moody.setMood(MoodyToken.Mood(m));
                bool told = MoodyToken.Mood(m) == MoodyToken.Mood.Floods;
                uint256 due = told && lost == 1 ? 5_000e6 : 10_000e6;
                assertEq(vault.previewRedeemInKind(50e18)[1], due, vm.toString(m));
                assertEq(_redeem(alice, 50e18), _amounts(5e18, due), vm.toString(m));

                moody.setMood(MoodyToken.Mood.Tells);
                assertEq(token.balanceOf(alice), due, vm.toString(m));
                assertEq(vault.isBarred(1), told && lost == 1, vm.toString(m));
                vm.revertToState(snapshot);
            }
        }
    }

    function test_redeem_of_sixteen_tokens_that_burn_their_gas_both_ways_fits_in_a_block() public {
        delete tokens;
        delete feeds;
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](16);
        uint256[] memory seed = new uint256[](16);
        for (uint256 i; i < 16; ++i) {
            _addAsset(MockToken(address(new MoodyToken("Burning", "BAD", 18))), 1e8);
            c.assets[i] = _asset(address(tokens[i]), 0.0625e18, 200, 18);
            seed[i] = 1_000e18;
        }
        vault = _createVault(c, seed);
        for (uint256 i; i < 16; ++i) {
            MoodyToken(address(tokens[i])).setMood(MoodyToken.Mood.BurnsGas);
            MoodyToken(address(tokens[i])).setGas(0, 1e9);
        }

        vm.prank(creator);
        vault.redeemInKind{ gas: 8_500_000 }(50e18, creator, creator, new uint256[](16));

        for (uint256 i; i < 16; ++i) {
            assertEq(vault.claimable(creator, address(tokens[i])), 500e18);
        }
    }

    /// @dev Sold together with another asset, what left would not be seen.
    function test_a_trade_of_a_token_that_does_not_tell_is_refused() public {
        _setPrice(1, 1.5e8);
        for (uint256 m = 1; m <= uint256(type(MoodyToken.Mood).max); ++m) {
            if (MoodyToken.Mood(m) == MoodyToken.Mood.Floods) continue;
            uint256 snapshot = vm.snapshotState();
            moody.setMood(MoodyToken.Mood(m));
            bytes memory unknown = abi.encodeWithSelector(IVaultBase.BalanceUnknown.selector, address(token));
            _expectTradeRefused(_amounts(0, 3_000e6), _amounts(2.25e18, 0), unknown);
            vm.revertToState(snapshot);
            // From inside the trade on.
            ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
            steps[0] = _bring(_amounts(2.25e18, 0))[0];
            steps[1] = _step(address(token), abi.encodeCall(MoodyToken.setMood, (MoodyToken.Mood(m))));
            vm.prank(keeper);
            vm.expectRevert(unknown);
            vault.rebalance(0, _amounts(0, 3_000e6), _amounts(2.25e18, 0), address(executor), abi.encode(steps));
        }
    }

    /// @dev A claim is paid, too, by a token that does not tell.
    function test_claim_of_a_token_that_does_not_tell_its_balance_pays_out() public {
        _leave(alice, 2);
        for (uint256 m = 1; m <= uint256(type(MoodyToken.Mood).max); ++m) {
            uint256 snapshot = vm.snapshotState();
            moody.setMood(MoodyToken.Mood(m));
            assertEq(_claim(alice, token), 10_000e6, vm.toString(m));
            vm.revertToState(snapshot);
        }
    }

    /// @dev The token takes nearly all the gas that a redemption gives it to tell a balance. Whatever gas the caller brings: either the
    /// loss is written down, or nothing happens.
    function test_no_gas_limit_lets_a_redemption_skip_a_loss() public {
        moody.setGas(90_000, 0);
        _lose(15_000e6);
        _tryEveryGasLimit(abi.encodeCall(IVaultCore.redeemInKind, (50e18, alice, alice, _amounts(0, 0))));
        // Nothing that comes after the look at the balance needs as much gas here: all is left as claims.
        _tryEveryGasLimit(abi.encodeCall(IVaultCore.redeemInKindExcept, (50e18, alice, alice, _amounts(0, 0), 3)));
    }

    function _tryEveryGasLimit(bytes memory message) internal {
        uint256 done;
        bool starved;
        for (uint256 gasLimit = 60_000; gasLimit < 900_000; gasLimit += 5_000) {
            uint256 snapshot = vm.snapshotState();
            vm.prank(alice);
            (bool ok, bytes memory answer) = address(vault).call{ gas: gasLimit }(message);
            if (ok) {
                ++done;
                assertEq(token.balanceOf(alice) + vault.claimable(alice, address(token)), 5_000e6);
                assertTrue(vault.isBarred(1));
            } else if (answer.length != 0) {
                assertEq(bytes4(answer), IVaultBase.NotEnoughGas.selector);
                starved = true;
            }
            vm.revertToState(snapshot);
        }
        assertTrue(done != 0 && starved);
    }

    /// @dev The same of a claim, whose token has all the gas there is.
    function test_no_gas_limit_lets_a_claim_skip_a_loss() public {
        _leave(alice, 2);
        moody.setGas(400_000, 0);
        _lose(15_000e6);
        bytes memory message = abi.encodeCall(vault.claim, (alice, address(token), alice, type(uint256).max));
        uint256 done;
        for (uint256 gasLimit = 60_000; gasLimit < 900_000; gasLimit += 5_000) {
            uint256 snapshot = vm.snapshotState();
            vm.prank(alice);
            (bool ok,) = address(vault).call{ gas: gasLimit }(message);
            if (ok) ++done;
            assertEq(token.balanceOf(alice), ok ? 5_000e6 : 0);
            vm.revertToState(snapshot);
        }
        assertGt(done, 0);
    }

    /* TOKENS THAT NEED GAS */

    function test_a_claim_of_a_token_that_needs_much_gas_is_paid() public {
        uint256[3] memory needs = [uint256(290_000), 2_000_000, 10_000_000];
        for (uint256 i; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            moody.setGas(0, needs[i]);
            _redeem(alice, 50e18);
            assertEq(vault.claimable(alice, address(token)), 10_000e6, "more than a redemption gives it");

            assertEq(_claim(alice, token), 10_000e6);
            assertEq(token.balanceOf(alice), 10_000e6);
            vm.revertToState(snapshot);
        }
    }

    /* INSIDE */

    /// @dev Half WETH, half a token of these decimals: 200,000 at 0.1.
    function _switchTo(uint256 decimals) internal {
        moody = new MoodyToken("Moody", "MOOD", uint8(decimals));
        token = MockToken(address(moody));
        tokens.pop();
        feeds.pop();
        _addAsset(token, 0.1e8);
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](2);
        c.assets[0] = _asset(address(tokens[0]), 0.5e18, 200, 18);
        c.assets[1] = _asset(address(token), 0.5e18, 200, uint8(decimals));
        vault = _createVault(c, _amounts(10e18, 200_000 * 10 ** decimals));
    }

    /// @dev So much of the vault's balance is gone, and nobody has told the vault.
    function _lose(uint256 amountRaw) internal {
        token.burn(address(vault), amountRaw);
    }

    function _notWrittenDown(uint256 balanceRaw, uint256 owedRaw) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, 1, balanceRaw, owedRaw);
    }

    function _expectTradeRefused(uint256[] memory sales, uint256[] memory buys, bytes memory refusal) internal {
        bytes memory route = abi.encode(_bring(buys));
        uint256 epoch = vault.state().epoch;
        vm.prank(keeper);
        vm.expectRevert(refusal);
        vault.rebalance(epoch, sales, buys, address(executor), route);
    }

    function _allowAndResume(uint256 asset) internal {
        vm.startPrank(owner);
        vault.allowPurchases(asset);
        vault.resumeRebalance();
        vm.stopPrank();
    }
}

/// @notice Claims on a token that left the basket, and that comes back.
contract RemovedLossesTest is Base {
    MockToken internal usdc;

    function setUp() public override {
        super.setUp();
        usdc = tokens[USDC];
        _deposit(alice, 50e18);
        _leave(alice, 1 << USDC); // claims 10,000, ledger 20,000
        vm.startPrank(owner);
        vault.excludeAsset(USDC);
        vault.removeAsset(USDC);
        vm.stopPrank();
        // What the ledger held is nobody's, and first to be lost.
        usdc.burn(address(vault), 20_000e6);
    }

    function test_a_claim_on_a_removed_token_bears_its_loss() public {
        usdc.burn(address(vault), 4_000e6);

        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(usdc), 0, 0, 10_000e6, 6_000e6);
        assertEq(_claim(alice, usdc), 6_000e6);

        assertEq(vault.totalClaimable(address(usdc)), 0);
        assertFalse(vault.state().paused, "what is not traded pauses nothing");
        assertEq(vault.lossE18(address(usdc)), 0);
    }

    function test_a_claim_on_a_removed_token_is_paid_in_full_without_a_loss() public {
        assertEq(_claim(alice, usdc), 10_000e6);
    }

    function test_a_claim_on_a_removed_token_of_which_all_is_lost_ends() public {
        usdc.burn(address(vault), 10_000e6);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingToClaim.selector, alice, address(usdc)));
        vault.claim(alice, address(usdc), alice, type(uint256).max);
    }

    function test_claims_on_a_token_that_comes_back_are_not_the_baskets() public {
        _addBack();
        assertEq(vault.held()[2], 0);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.GiftTooSmall.selector, 2, 1, 0));
        vault.absorb(2, 1);
        usdc.burn(address(vault), 2_500e6);

        assertEq(vault.sync(2), 2_500e6);
        assertEq(_claim(alice, usdc), 7_500e6);
    }

    /// @dev What it had lost by itself, below dust, is not added to what it loses later.
    function test_a_token_that_comes_back_begins_without_losses() public {
        _addBack();
        usdc.burn(address(vault), 1e6);
        vault.sync(2);
        assertGt(vault.lossE18(address(usdc)), 0);
        vm.startPrank(owner);
        vault.excludeAsset(2);
        vault.removeAsset(2);
        vm.stopPrank();
        _addBack();
        assertEq(vault.lossE18(address(usdc)), 0);
    }

    /// @dev A loss from before it came back is found, too; and a deposit into it waits for the write-down.
    function test_a_loss_from_before_a_token_came_back_is_written_down() public {
        usdc.burn(address(vault), 5_000e6);
        _addBack();
        usdc.mint(address(vault), 1_000e6);
        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(usdc), 0, 0, 10_000e6, 6_000e6);
        vault.sync(2);
        usdc.mint(address(vault), 2_000e6);
        vm.prank(owner);
        vault.absorb(2, 2_000e6);
        usdc.burn(address(vault), 4_000e6); // of 8,000, a half

        uint256[] memory asked = _prepareDeposit(bob, 1e18);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, 2, 4_000e6, 8_000e6));
        vault.mintInKind(1e18, bob, asked);
        assertEq(_claim(alice, usdc), 3_000e6);
        assertEq(vault.held()[2], 1_000e6);
        assertTrue(vault.isBarred(2));
    }

    function test_claims_by_number_follow_the_token() public {
        vm.startPrank(owner);
        vault.addAsset(address(usdc), 6, IVaultBase.Band(200, 0, 0));
        vault.excludeAsset(WETH);
        vm.expectRevert(); // two priced assets must remain: WBTC and USDC
        vault.excludeAsset(WBTC);
        vault.removeAsset(WETH); // USDC takes its number
        vm.stopPrank();
        usdc.burn(address(vault), 4_000e6);
        assertEq(vault.assets()[0].token, address(usdc));

        assertEq(vault.sync(0), 4_000e6);
        assertEq(_claim(alice, usdc), 6_000e6);
    }

    function _addBack() internal {
        vm.prank(owner);
        vault.addAsset(address(usdc), 6, IVaultBase.Band(200, 0, 0));
    }
}

/// @notice A token that is taken away is not bought again until the owner says so.
contract SeizedTest is Base {
    MockToken internal usdc;

    function setUp() public override {
        super.setUp();
        usdc = tokens[USDC];
    }

    /* BARRED */

    function test_a_loss_of_more_than_dust_bars_purchases_and_pauses() public {
        usdc.burn(address(vault), 40e6 + 1);
        vm.expectEmit(address(vault));
        emit IVaultBase.Synced(address(usdc), 20_000e6, 19_960e6 - 1, 0, 0);
        vm.expectEmit(address(vault));
        emit IVaultBase.PurchasesBarred(address(usdc), 0.00200000005e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.RebalancePaused(address(vault));
        vault.sync(USDC);

        assertTrue(vault.isBarred(USDC));
        assertTrue(vault.state().paused);
        assertFalse(vault.isBarred(WETH) || vault.isBarred(WBTC));
    }

    function test_a_loss_of_dust_does_neither() public {
        usdc.burn(address(vault), 40e6);
        vault.sync(USDC);

        assertFalse(vault.isBarred(USDC));
        assertFalse(vault.state().paused);
        assertEq(vault.lossE18(address(usdc)), 0.002e18);
    }

    /// @dev However long they take: what was lost since purchases were last allowed is one sum.
    function testFuzz_small_losses_add_up(uint256 lost) public {
        lost = bound(lost, 1e6, 40e6);
        uint256 sum;
        while (!vault.isBarred(USDC)) {
            assertLe(sum, 40e6, "no more than dust before it is barred");
            usdc.burn(address(vault), lost);
            vault.sync(USDC);
            sum += lost;
            _pass(1 days);
        }
        assertGt(sum, 39e6, "and not before that");
        assertTrue(vault.state().paused);
    }

    function test_allowing_purchases_begins_the_sum_anew() public {
        usdc.burn(address(vault), 1_000e6);
        vault.sync(USDC);
        vm.expectEmit(address(vault));
        emit IVaultBase.PurchasesAllowed(address(usdc));
        vm.prank(owner);
        vault.allowPurchases(USDC);
        assertEq(vault.lossE18(address(usdc)), 0);
        assertTrue(vault.state().paused, "trading is another matter");
        usdc.burn(address(vault), 38e6);
        vault.sync(USDC);
        assertFalse(vault.isBarred(USDC));
    }

    function test_allowing_what_is_not_barred_is_refused() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PurchaseNotBarred.selector, USDC));
        vault.allowPurchases(USDC);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 3, 3));
        vault.allowPurchases(3);
        vm.stopPrank();
    }

    /* TRADES */

    function test_a_rebalance_cannot_buy_it_until_the_owner_allows_that() public {
        _seize();
        _resume();
        (uint256[] memory sales, uint256[] memory buys) = _honest();
        _expectBarred(sales, buys);

        vm.prank(owner);
        vault.allowPurchases(USDC);
        _rebalance(sales, buys, 0);
        assertEq(vault.held()[USDC], 16_000e6);
    }

    function test_a_rebalance_may_still_sell_it() public {
        usdc.burn(address(vault), 10_000e6);
        vault.sync(USDC);
        _resume();
        _setPrice(USDC, 4e8); // 40,000 of 120,000: 16,000 above its target
        _rebalance(_amounts(0, 0, 4_000e6), _amounts(5e18 - 1, 0.15e8 - 1, 0), 0);

        assertEq(vault.held()[USDC], 6_000e6);
        assertTrue(vault.isBarred(USDC));
    }

    function test_a_rebalance_between_the_others_goes_on() public {
        _seize();
        _resume();
        _setPrice(WBTC, 60_000e8); // 45,000 beside 50,000: 16,500 above its target of 28,500, WETH 2,500 above its own
        vm.prank(owner);
        vault.setPolicy(_loose());
        _setPrice(WETH, 1_000e8); // 25,000 of 70,000: 10,000 below its target, WBTC 24,000 above
        _rebalance(_amounts(0, 0.16e8, 0), _amounts(9.6e18, 0, 0), 1);
        assertEq(vault.held()[USDC], 0);
    }

    /// @dev Everything that is there of the token is taken, day after day, and an honest keeper would buy its fifth again each time: 20 %
    /// lost on day 1, 67 % by day 5, 98.8 % by day 20.
    function test_a_token_that_is_seized_day_by_day_costs_one_seizure() public {
        for (uint256 day = 1; day <= 20; ++day) {
            if (usdc.balanceOf(address(vault)) != 0) _seize();
            _resume(); // an owner who is careless about that alone
            (uint256[] memory sales, uint256[] memory buys) = _honest();
            _expectBarred(sales, buys);
            _pass(1 days);
            assertEq(_worth(), 80_000);
        }
    }

    /* AUCTIONS */

    function test_a_bid_cannot_pay_with_it_until_the_owner_allows_that() public {
        _seize();
        _resume();
        _startAuction(WETH, USDC, 1e18, 2_000e6);
        usdc.mint(bob, 2_000e6);
        _approve(usdc, bob, address(vault), 2_000e6);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PurchaseBarred.selector, USDC));
        vault.bid(WETH, USDC, 1e18, 2_000e6);

        vm.prank(owner);
        vault.allowPurchases(USDC);
        vm.prank(bob);
        vault.bid(WETH, USDC, 1e18, 2_000e6);
        assertEq(vault.held()[USDC], 2_000e6);
    }

    function test_a_bid_may_still_buy_it() public {
        usdc.burn(address(vault), 10_000e6);
        vault.sync(USDC);
        _resume();
        _startAuction(USDC, WETH, 2_000e6, 1e18);
        tokens[WETH].mint(bob, 1e18);
        _approve(tokens[WETH], bob, address(vault), 1e18);
        vm.prank(bob);
        vault.bid(USDC, WETH, 2_000e6, 1e18);
        assertEq(vault.held()[USDC], 8_000e6);
    }

    function test_a_bid_on_what_backs_claims_or_into_a_hole_is_refused() public {
        _deposit(alice, 50e18);
        _leave(alice, 1 << USDC);
        usdc.burn(address(vault), 20_000e6);
        bytes memory hole = abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, USDC, 10_000e6, 30_000e6);
        _startAuction(USDC, WETH, 2_000e6, 1e18);
        vm.prank(bob);
        vm.expectRevert(hole);
        vault.bid(USDC, WETH, 2_000e6, 1e18);
        _startAuction(WETH, USDC, 1e18, 2_000e6);
        vm.prank(bob);
        vm.expectRevert(hole);
        vault.bid(WETH, USDC, 1e18, 2_000e6);
    }

    /* INSIDE */

    /// @dev All of it is taken, and somebody tells the vault.
    function _seize() internal {
        usdc.burn(address(vault), usdc.balanceOf(address(vault)));
        vault.sync(USDC);
    }

    function _resume() internal {
        vm.prank(owner);
        vault.resumeRebalance();
    }

    /// @dev What an honest keeper trades when 80,000 dollars are left and USDC is all gone.
    function _honest() internal pure returns (uint256[] memory sales, uint256[] memory buys) {
        return (_amounts(5e18, 0.15e8, 0), _amounts(0, 0, 16_000e6));
    }

    function _expectBarred(uint256[] memory sales, uint256[] memory buys) internal {
        bytes memory route = abi.encode(_bring(buys));
        uint256 epoch = vault.state().epoch;
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PurchaseBarred.selector, USDC));
        vault.rebalance(epoch, sales, buys, address(executor), route);
    }

    /// @dev {usd} of the ledger at the prices of the scene.
    function _worth() internal view returns (uint256) {
        uint256[] memory held = vault.held();
        return held[WETH] * 2_000 / 1e18 + held[WBTC] * 40_000 / 1e8 + held[USDC] / 1e6;
    }

    function _loose() internal pure returns (IBasketVault.Policy memory p) {
        p = _policy();
        p.minProgressBps = 1_000;
    }

    /// @dev An auction at a fixed price whose bids have begun: its pair has been unpriced, and seen to be, for six hours.
    function _startAuction(uint256 sell, uint256 buy, uint128 lotRaw, uint128 payRaw) internal {
        feeds[USDC].setFailing(true);
        IBasketVault.Auction memory a;
        (a.lotRaw, a.startPayRaw, a.floorPayRaw) = (lotRaw, payRaw, payRaw);
        (a.fillRaw, a.decaySeconds, a.endsAt) = (type(uint128).max, 1 hours, uint40(block.timestamp + 3 days));
        vm.prank(owner);
        vault.startAuction(sell, buy, a);
        for (uint256 i; i < 12; ++i) {
            skip(30 minutes);
            vault.pokeAuction(sell, buy);
        }
    }
}
