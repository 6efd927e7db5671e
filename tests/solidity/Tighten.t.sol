// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice What removes risk works at once and needs no price; what a budget has spent survives any change of it.
contract TightenTest is Base {
    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        (p.destinationBps, p.calendarSeconds, p.openAfterSeconds) = (1_000, 7 days, 2 hours);
    }

    /* REFUSALS */

    function test_each_field_of_the_policy_can_only_be_tightened() public {
        IBasketVault.Policy memory p = _policy();
        p.startSlippageBps += 1;
        _expectLooser(p, "startSlippageBps", 11, 10);
        p = _policy();
        p.maxSlippageBps += 1;
        _expectLooser(p, "maxSlippageBps", 101, 100);
        p = _policy();
        p.slippageRampSeconds -= 1;
        _expectLooser(p, "slippageRampSeconds", 999, 1_000);
        p = _policy();
        p.minProgressBps -= 1;
        _expectLooser(p, "minProgressBps", 4_999, 5_000);
        p = _policy();
        p.dustBps += 1;
        _expectDiffers(p, "dustBps", 21, 20);
        p.dustBps -= 2;
        _expectDiffers(p, "dustBps", 19, 20);
        p = _policy();
        p.cooldownSeconds -= 1;
        _expectLooser(p, "cooldownSeconds", 599, 600);
        p = _policy();
        p.lossBudgetBps += 1;
        _expectLooser(p, "lossBudgetBps", 51, 50);
        p = _policy();
        p.lossPeriodSeconds -= 1;
        _expectLooser(p, "lossPeriodSeconds", 1 days - 1, 1 days);
        p = _policy();
        p.turnoverBudgetBps += 1;
        _expectLooser(p, "turnoverBudgetBps", 5_001, 5_000);
        p = _policy();
        p.turnoverPeriodSeconds -= 1;
        _expectLooser(p, "turnoverPeriodSeconds", 1 days - 1, 1 days);
        p = _policy();
        p.destinationBps -= 1;
        _expectDiffers(p, "destinationBps", 999, 1_000);
        p.destinationBps += 2;
        _expectDiffers(p, "destinationBps", 1_001, 1_000);
        p = _policy();
        p.calendarSeconds += 1;
        _expectDiffers(p, "calendarSeconds", 7 days + 1, 7 days);
        p = _policy();
        p.openAfterSeconds -= 1;
        _expectLooser(p, "openAfterSeconds", 2 hours - 1, 2 hours);
    }

    function test_what_is_closed_or_has_no_calendar_cannot_be_opened_or_get_one() public {
        IBasketVault.Policy memory p = _policy();
        (p.calendarSeconds, p.openAfterSeconds) = (0, 0);
        vm.prank(guardian);
        vault.tightenPolicy(p);

        p.openAfterSeconds = type(uint32).max;
        _expectLooser(p, "openAfterSeconds", type(uint32).max, 0);
        (p.openAfterSeconds, p.calendarSeconds) = (0, type(uint32).max);
        _expectDiffers(p, "calendarSeconds", type(uint32).max, 0);
    }

    function test_no_fee_can_be_raised_at_once() public {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 20, 30), treasury);
        vm.startPrank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 101, 100));
        vault.lowerFees(IVaultBase.Fees(101, 0, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 1_001, 1_000));
        vault.lowerFees(IVaultBase.Fees(0, 1_001, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 21, 20));
        vault.lowerFees(IVaultBase.Fees(0, 0, 21, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 31, 30));
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 31));
        vault.lowerFees(IVaultBase.Fees(100, 1_000, 20, 30));
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
        vm.stopPrank();
        assertEq(vault.feeRecipient(), treasury);
    }

    /* SUCCESS */

    /// @dev A dead oracle must not stop anyone from tightening.
    function test_everything_but_a_new_oracle_is_decided_without_prices() public {
        vm.etch(address(oracle), hex"fe");
        IBasketVault.Policy memory p = _policy();
        p.maxSlippageBps = 50;

        vm.prank(guardian);
        vault.tightenPolicy(p);
        vm.prank(owner);
        vault.setPolicy(_policy());
        vm.prank(curator);
        vault.setTargets(_amounts(0.4e18, 0.4e18, 0.2e18), 1 days);
        vm.prank(curator);
        vault.setBands(_bands(300, 300, 300));
        vm.prank(owner);
        vault.excludeAsset(USDC);
        vm.prank(guardian);
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
    }

    function test_a_policy_that_is_no_looser_is_in_force_at_once() public {
        IBasketVault.Policy memory p =
            IVaultBase.Policy(9, 99, 1_001, 5_001, 20, 601, 49, 1 days + 1, 999, 1 days + 1, 1_000, 0, 2 hours + 1);
        vm.prank(guardian);
        vault.tightenPolicy(p);
        assertEq(keccak256(abi.encode(vault.policy())), keccak256(abi.encode(p)));
        vm.prank(guardian);
        vault.tightenPolicy(p); // as it is
    }

    /* BUDGETS */

    /// @dev What is left of a level right after a change is what was left right before, or one unit of 1e-18 more.
    function testFuzz_a_change_of_policy_forgives_and_charges_nothing(
        uint256 elapsed,
        uint16 budgetBps,
        uint32 periodSeconds
    ) public {
        _breakBand();
        _rebalance(_amounts(1.99e18, 0, 0), _amounts(0, 0.0705e8, 1_955e6), 0);
        elapsed = bound(elapsed, 0, 2 days);
        skip(elapsed);
        IBasketVault.Policy memory p = _policy();
        p.minProgressBps = 1;
        p.turnoverBudgetBps = uint16(bound(budgetBps, 1, 20_000));
        p.turnoverPeriodSeconds = uint32(bound(periodSeconds, 1 hours, 365 days));
        uint256 present = RebalancePolicy.leak(vault.state().turnoverLevelE18, 5_000, 1 days, elapsed);

        vm.prank(owner);
        vault.setPolicy(p);

        uint256 level = vault.state().turnoverLevelE18;
        // A level is at most 64 bits, 18 times the basket; a policy that would drain more than that has drained all.
        if (level == type(uint64).max) return;
        uint256 read = RebalancePolicy.leak(level, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed);
        assertGe(read, present);
        assertLe(read, present + 1);
    }

    function test_a_tightened_budget_no_longer_drains_an_old_level_slower_than_it_had() public {
        _breakBand();
        _rebalance(_amounts(1.99e18, 0, 0), _amounts(0, 0.0705e8, 1_955e6), 0);
        skip(1 days); // all of it has drained
        IBasketVault.Policy memory p = _policy();
        (p.lossBudgetBps, p.turnoverBudgetBps) = (1, 1);

        vm.expectEmit(address(vault));
        emit IVaultBase.LevelsCarried(0, 0);
        vm.prank(guardian);
        vault.tightenPolicy(p);

        assertEq(vault.state().turnoverLevelE18, 0);
    }

    function _expectDiffers(IBasketVault.Policy memory p, string memory field, uint256 value, uint256 current)
        internal
    {
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.PolicyDiffers.selector, field, value, current));
        vault.tightenPolicy(p);
    }

    function _expectLooser(IBasketVault.Policy memory p, string memory field, uint256 value, uint256 current) internal {
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.PolicyLooser.selector, field, value, current));
        vault.tightenPolicy(p);
    }
}

/// @notice What a guardian does at once makes no call possible that moves money and was not possible: each call is tried after it, and
/// again in the world where it was not done. tests/proofs/tightening.py proves it of the policy's arithmetic.
///
/// WBTC's feed is quoted in a bitcoin that has a feed of its own, WETH has a second feed, USDC a second one quoted in a dollar.
contract InstantTest is Base {
    /// @dev One call, by whom, of which contract.
    struct Call {
        address actor;
        address target;
        bytes data;
    }

    MockToken internal bitcoin;
    MockToken internal dollar;
    MockAggregator internal wethAgain; // of WETH

    function setUp() public override {
        super.setUp();
        bitcoin = new MockToken("Bitcoin", "BTC", 8);
        dollar = new MockToken("Dollar", "DOLLAR", 6);
        wethAgain = _steady(2_000e8);
        MockAggregator one = _steady(1e8);
        bytes4[] memory tightenings = _selectors(IOracleHub.tightenFeed.selector, IOracleHub.tightenSource.selector);
        vm.startPrank(owner);
        manager.setTargetFunctionRole(address(oracle), tightenings, GUARDIAN_ROLE);
        oracle.setFeed(address(bitcoin), address(feeds[WBTC]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        oracle.setFeed(address(dollar), address(_steady(1e8)), 8, type(uint32).max, 1, type(uint128).max);
        oracle.setQuotedFeed(
            address(tokens[WBTC]), address(one), 8, type(uint32).max, 1, type(uint128).max, address(bitcoin)
        );
        _setSource(WETH, address(wethAgain), address(0));
        _setSource(USDC, address(_steady(1e8)), address(dollar));
        vm.stopPrank();
    }

    function _setSource(uint256 asset, address feed, address quote) internal {
        oracle.setSource(
            address(tokens[asset]),
            IOracleHub.Source(chainlinkFeed, type(uint32).max, 1_000, quote, abi.encodePacked(feed, uint8(8)))
        );
    }

    /// @dev A feed that is never late.
    function _steady(int192 answerE8) internal returns (MockAggregator feed) {
        feed = new MockAggregator(8, "");
        feed.push(answerE8);
    }

    /// @dev What tries came to, so that none of them proves nothing.
    struct Tally {
        uint256 accepted;
        uint256 passed;
        uint256 stopped;
    }

    /// @dev Whether somebody pokes the auction while time passes.
    bool internal pokes;

    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        (p.minProgressBps, p.destinationBps, p.calendarSeconds, p.openAfterSeconds) = (2_000, 500, 1 days, 2 hours);
    }

    /// @dev Relative bands that dust keeps from being narrower than 21 basis points, and some that are wider.
    function _config() internal view override returns (IBasketVault.Config memory c) {
        c = super._config();
        c.assets[WBTC].relativeBandBps = 50;
        c.assets[USDC].relativeBandBps = 500;
    }

    /// @dev Any policy that `tightenPolicy` accepts, after any history: a rebalance that passes under it passes under the one before.
    function test_what_passes_after_a_tightening_passed_before() public {
        Tally memory t;
        uint256 start = vm.snapshotState();
        for (uint256 seed; seed < 400; ++seed) {
            _live(seed);
            Call memory tightening = Call(guardian, address(vault), abi.encodeCall(vault.tightenPolicy, (_near(seed))));
            _try(t, tightening, _anyTrade(seed), seed % 3 == 0 ? _roll(seed, 60) % 1 days : 0);
            vm.revertToState(start);
        }
        assertGt(t.accepted, 150);
        assertGt(t.passed, 50);
        assertGt(t.stopped, 20);
    }

    function test_what_passes_after_any_other_call_of_the_guardian_passed_before() public {
        Tally memory t;
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 20, 30), treasury);
        _startAuction();
        uint256 start = vm.snapshotState();
        for (uint256 seed; seed < 400; ++seed) {
            _live(seed);
            _try(t, _anyGuard(seed), _anyCall(seed), 0);
            vm.revertToState(start);
        }
        assertEq(t.accepted, 400);
        assertGt(t.passed, 100);
        assertGt(t.stopped, 20);
    }

    /// @dev Of the hub, at once or up to eight hours before the other, while somebody pokes the auction or nobody does. On the old
    /// contracts an auction that nobody had ended woke at once when its feed was removed, or its rules were tightened until they failed.
    function test_what_passes_after_a_call_of_the_guardian_at_the_hub_passed_before() public {
        Tally memory t;
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 20, 30), treasury);
        _startAuction();
        uint256 start = vm.snapshotState();
        for (uint256 seed; seed < 400; ++seed) {
            _live(seed);
            pokes = _roll(seed, 75) % 2 == 0;
            _try(t, _anyTightening(seed), _anyCall(seed), _roll(seed, 76) % 2 == 0 ? 0 : _roll(seed, 77) % 8 hours);
            vm.revertToState(start);
        }
        assertEq(t.accepted, 400);
        assertGt(t.passed, 150);
        assertGt(t.stopped, 15);
    }

    /// @dev While WETH's feed is dead; bids have begun, and then it is back.
    function _startAuction() internal {
        feeds[WETH].setFailing(true);
        vm.prank(owner);
        vault.startAuction(
            WETH, USDC, IVaultBase.Auction(2e18, 5_000e6, 3_000e6, 0, 1e12, 2_000, 0, 1_800_000_000, 0, 0, 0)
        );
        _openAuction();
        feeds[WETH].setFailing(false);
        _refreshFeeds();
    }

    /// @dev Six hours pass in which somebody sees the pair unpriced.
    function _openAuction() internal {
        for (uint256 i; i < 13; ++i) {
            if (i != 0) skip(30 minutes);
            vault.pokeAuction(WETH, USDC);
        }
    }

    /// @dev Makes the guardian's call, waits, and makes the other; then the same without the guardian's.
    function _try(Tally memory t, Call memory first, Call memory second, uint256 waitSeconds) internal {
        uint256 here = vm.snapshotState();
        if (!_make(first)) return; // it asks for more than now, or less: refused
        ++t.accepted;
        _wait(waitSeconds);
        bool passesAfter = _make(second);
        vm.revertToState(here);
        _wait(waitSeconds);
        bool passesBefore = _make(second);
        assertTrue(passesBefore || !passesAfter, "possible only after what should remove risk");
        if (passesAfter) ++t.passed;
        else if (passesBefore) ++t.stopped;
    }

    function _make(Call memory c) internal returns (bool done) {
        bytes memory data = c.data;
        if (c.target == address(vault) && bytes4(data) == IVaultCore.rebalance.selector) {
            // The same trade in the epoch there is: what a keeper would send after the change.
            uint256 epoch = vault.state().epoch;
            assembly ("memory-safe") {
                mstore(add(data, 36), epoch)
            }
        }
        vm.prank(c.actor);
        (done,) = c.target.call(data);
    }

    function _wait(uint256 seconds_) internal {
        if (seconds_ == 0) return;
        while (pokes && seconds_ > 30 minutes) {
            skip(30 minutes);
            _tryTo(abi.encodeCall(vault.pokeAuction, (WETH, USDC)));
            seconds_ -= 30 minutes;
        }
        skip(seconds_);
        if (!feeds[WETH].failing()) _refreshFeeds();
        _tryTo(abi.encodeCall(vault.poke, ()));
    }

    function _tryTo(bytes memory data) internal returns (bool done) {
        (done,) = address(vault).call(data);
    }

    /* HISTORIES */

    /// @dev Prices move, a rebalance may fill the buckets, prices move again, a break may be stamped, time passes, a feed may die.
    function _live(uint256 seed) internal {
        skip(_roll(seed, 1) % 2 days);
        _move(seed, 10);
        if (_roll(seed, 2) % 2 == 0) {
            _make(_trade(keeper, 50 + _roll(seed, 3) % 50, _roll(seed, 4) % 12));
            skip(_roll(seed, 5) % 2 days);
            _move(seed, 20);
        }
        if (_roll(seed, 6) % 2 == 0) vault.poke();
        skip(_roll(seed, 7) % 3 hours);
        _refreshFeeds();
    }

    function _move(uint256 seed, uint256 salt) internal {
        _refreshFeeds();
        // Mostly by a little, so that it matters how narrow a band is.
        uint256 width = _roll(seed, salt) % 4 == 0 ? 2_000 : 150;
        uint256 wethE8 = 2_000e8 * (BPS - width + _roll(seed, salt + 1) % (2 * width)) / BPS;
        _setPrice(WETH, int192(int256(wethE8)));
        wethAgain.push(
            int192(int256(wethE8 * (_one(seed, salt + 3) ? BPS - 20 + _roll(seed, salt + 4) % 40 : BPS) / BPS))
        );
        _setPrice(WBTC, int192(int256(40_000e8 * (BPS - width + _roll(seed, salt + 2) % (2 * width)) / BPS)));
    }

    /// @dev The present policy with some fields moved: mostly the tight way, dust, destination and calendar either way.
    function _near(uint256 seed) internal view returns (IBasketVault.Policy memory p) {
        p = vault.policy();
        if (_one(seed, 30)) p.startSlippageBps = uint16(_roll(seed, 40) % 11);
        if (_one(seed, 31)) {
            p.maxSlippageBps = uint16(p.startSlippageBps + _roll(seed, 41) % (101 - p.startSlippageBps));
        }
        if (_one(seed, 32)) p.slippageRampSeconds += uint32(_roll(seed, 42) % 10_000);
        if (_one(seed, 33)) p.minProgressBps += uint16(_roll(seed, 43) % 4_000);
        if (_one(seed, 34)) p.dustBps = uint16(_roll(seed, 44) % 22);
        if (_one(seed, 35)) p.cooldownSeconds += uint32(_roll(seed, 45) % 1 days);
        if (_one(seed, 36)) p.lossBudgetBps = uint16(_roll(seed, 46) % 51);
        if (_one(seed, 37)) p.lossPeriodSeconds += uint32(_roll(seed, 47) % 30 days);
        if (_one(seed, 38)) p.turnoverBudgetBps = uint16(_roll(seed, 48) % 5_001);
        if (_one(seed, 39)) p.turnoverPeriodSeconds += uint32(_roll(seed, 49) % 30 days);
        if (_one(seed, 50)) p.destinationBps = uint16(_roll(seed, 51) % 10_001);
        if (_one(seed, 52)) p.calendarSeconds = _one(seed, 53) ? 7 days : 0;
        if (_one(seed, 54)) p.openAfterSeconds = _one(seed, 55) ? 0 : uint32(2 hours + _roll(seed, 56) % 1 days);
    }

    function _one(uint256 seed, uint256 salt) internal pure returns (bool) {
        return _roll(seed, salt) % 6 == 0;
    }

    /* CALLS */

    function _anyGuard(uint256 seed) internal view returns (Call memory) {
        uint256 kind = _roll(seed, 70) % 3;
        if (kind == 0) return Call(guardian, address(vault), abi.encodeCall(vault.pauseRebalance, ()));
        if (kind == 1) return Call(guardian, address(vault), abi.encodeCall(vault.stopAuction, (WETH, USDC)));
        IVaultBase.Fees memory f = IVaultBase.Fees(
            uint16(_roll(seed, 71) % 101),
            uint16(_roll(seed, 72) % 1_001),
            uint16(_roll(seed, 73) % 21),
            uint16(_roll(seed, 74) % 31)
        );
        return Call(guardian, address(vault), abi.encodeCall(vault.lowerFees, (f)));
    }

    /// @dev Of a token, or of what it is quoted in; mostly until the present answers fail.
    function _anyTightening(uint256 seed) internal view returns (Call memory) {
        address[5] memory all =
            [address(tokens[WETH]), address(tokens[WBTC]), address(tokens[USDC]), address(bitcoin), address(dollar)];
        address token = all[_roll(seed, 100) % 5];
        uint256 kind = _roll(seed, 101) % 3;
        if (kind == 0 && (token == all[WETH] || token == all[USDC])) {
            uint16 limitBps = uint16(1 + _roll(seed, 102) % 1_000 / (1 + _roll(seed, 103) % 100));
            return Call(guardian, address(oracle), abi.encodeCall(oracle.tightenSource, (token, limitBps)));
        }
        if (kind == 1) return Call(guardian, address(oracle), abi.encodeCall(oracle.removeFeed, (token)));
        IOracleHub.Feed memory f = oracle.feedOf(token);
        uint32 heartbeat = _roll(seed, 104) % 2 == 0 ? f.heartbeatSeconds : uint32(1 + _roll(seed, 105) % 1 hours);
        address[] memory one = new address[](1);
        one[0] = token;
        uint128 priceE18 = uint128(oracle.prices(one)[0].primaryE18);
        (uint128 least, uint128 most) = (f.minPriceE18, f.maxPriceE18);
        if (_roll(seed, 106) % 2 == 0) (least, most) = (uint128(priceE18 * (_roll(seed, 107) % 200) / 100 + 1), most);
        return Call(guardian, address(oracle), abi.encodeCall(oracle.tightenFeed, (token, heartbeat, least, most)));
    }

    /// @dev Any call that moves money; callers of mint and redeem set themselves no bound.
    function _anyCall(uint256 seed) internal returns (Call memory) {
        uint256 kind = _roll(seed, 80) % 8;
        uint256 shares = _roll(seed, 81) % 120e18;
        uint256[] memory all = _amounts(type(uint256).max, type(uint256).max, type(uint256).max);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(bob, 1e30);
            _approve(tokens[i], bob, address(vault), type(uint256).max);
        }
        if (kind == 0) return _anyTrade(seed);
        if (kind == 1) {
            if (_roll(seed, 82) % 4 != 0) {
                feeds[WETH].setFailing(true);
                if (_roll(seed, 87) % 2 == 0) _openAuction();
            }
            return Call(
                bob,
                address(vault),
                abi.encodeCall(vault.bid, (WETH, USDC, 1 + _roll(seed, 83) % 2.1e18, type(uint256).max))
            );
        }
        if (kind == 2) return Call(bob, address(vault), abi.encodeCall(vault.mintInKind, (shares, bob, all)));
        if (kind == 3) {
            return Call(creator, address(vault), abi.encodeCall(vault.redeemInKind, (shares, bob, creator, _amounts())));
        }
        if (kind == 4) {
            if (_roll(seed, 84) % 2 == 0) {
                vm.prank(creator);
                vault.redeemInKindExcept(1e18, creator, creator, _amounts(), 1 << USDC);
            }
            bytes memory data = abi.encodeCall(vault.claim, (creator, address(tokens[USDC]), bob, type(uint256).max));
            return Call(creator, address(vault), data);
        }
        if (kind == 5) return Call(stranger, address(vault), abi.encodeCall(vault.collectPerformanceFee, ()));
        if (kind == 6) return Call(stranger, address(vault), abi.encodeCall(vault.collectFee, ()));
        if (_roll(seed, 85) % 2 == 0) tokens[WETH].mint(address(vault), 1e18);
        address actor = _roll(seed, 86) % 2 == 0 ? owner : stranger;
        return Call(actor, address(vault), abi.encodeCall(vault.absorb, (WETH, 1e18)));
    }

    /// @dev Part of every surplus for part of every deficit, by the keeper or by anybody, at a loss of up to 1.2 %; or nothing at all.
    function _anyTrade(uint256 seed) internal view returns (Call memory) {
        address actor = _roll(seed, 90) % 4 == 0 ? stranger : keeper;
        uint256 part = _roll(seed, 91) % 4 == 0 ? 0 : 1 + _roll(seed, 92) % 101;
        return _trade(actor, part, _roll(seed, 93) % 3 == 0 ? _roll(seed, 94) % 120 : _roll(seed, 94) % 12);
    }

    function _trade(address actor, uint256 partPercent, uint256 lossBps) internal view returns (Call memory) {
        uint256[] memory held = vault.held();
        uint256[] memory valuesE18 = new uint256[](3);
        uint256[] memory units = _amounts(1e18, 1e8, 1e6);
        uint256 totalE18;
        for (uint256 i; i < 3; ++i) {
            valuesE18[i] = held[i] * _priceE18(i) / units[i];
            totalE18 += valuesE18[i];
        }
        uint256[] memory targetsE18 = _amounts(0.5e18, 0.3e18, 0.2e18);
        (uint256[] memory sales, uint256[] memory buys) = (_amounts(), _amounts());
        for (uint256 i; i < 3; ++i) {
            uint256 goalE18 = targetsE18[i] * totalE18 / E18;
            if (valuesE18[i] > goalE18) {
                sales[i] = (valuesE18[i] - goalE18) * partPercent / 100 * units[i] / _priceE18(i);
            } else {
                uint256 boughtE18 = (goalE18 - valuesE18[i]) * partPercent / 100 * (BPS - lossBps) / BPS;
                buys[i] = boughtE18 * units[i] / _priceE18(i);
            }
        }
        bytes memory route = abi.encode(_bring(buys));
        uint256 epoch = vault.state().epoch;
        bytes memory data = abi.encodeCall(vault.rebalance, (epoch, sales, buys, address(executor), route));
        return Call(actor, address(vault), data);
    }

    function _priceE18(uint256 asset) internal view returns (uint256) {
        (, int256 answer,,,) = feeds[asset].latestRoundData();
        return uint256(answer) * 1e10;
    }

    function _roll(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt)));
    }
}
