// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice What a rebalance gains by being due counts from when somebody saw it due: the climb of the slippage limit, and when anyone may.
///
/// A calendar of a week; the limit climbs from 0.1 % to 1 % in 1,000 seconds; anyone may come after 300. WETH at 2,040 raises its value by
/// 1,000 dollars: 500 above its target in 101,000, inside its band, and more than dust. Sold are 0.2 WETH, 408 dollars: 0.1 % of that is
/// 0.408, and 1 % is 4.08. On the old contracts both counted from the period's start.
contract CalendarTest is Base {
    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        (p.calendarSeconds, p.openAfterSeconds, p.minProgressBps) = (7 days, 300, 1_000);
    }

    /* FROM WHEN */

    /// @dev A vault's last rebalance was in 1970, so its first period has long begun.
    function test_a_vault_just_born_is_neither_open_nor_at_the_ramps_end() public {
        vault = _createVault(_config(), _amounts(25.5e18, 0.75e8, 20_000e6));
        assertEq(vault.state().dueSince, 0);
        _refuseStranger();
        // 408 dollars at 2,000 each: 0.204 WETH
        _expectLimit(0.204e18, 10);
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp);
        _expectLimit(0.204e18, 10);
        _refuseStranger();
    }

    function test_anyone_may_come_some_time_after_the_stamp_however_late_in_the_period_it_is() public {
        _toPeriod(6 days);
        _refuseStranger();
        vault.poke();
        _pass(299);
        _refuseStranger();
        _pass(1);
        _trade(stranger, 0.2e18, _bought(10));
        assertEq(vault.state().epoch, 1);
    }

    /// @dev Feeds fail an hour before the period begins, and are back two days later.
    function test_after_a_fault_that_lasted_into_the_period_nothing_has_climbed() public {
        _toPeriod(0);
        vm.warp(block.timestamp - 1 hours);
        feeds[WETH].setFailing(true);
        skip(1 hours + 2 days);
        vm.expectRevert();
        vault.poke();
        feeds[WETH].setFailing(false);
        _refreshFeeds();

        _refuseStranger();
        _expectLimit(0.2e18, 10);
        vault.poke();
        _refuseStranger();
        _expectLimit(0.2e18, 10);
        _pass(1_000);
        _expectLimit(0.2e18, 100);
    }

    function test_a_band_that_breaks_later_does_not_move_the_stamp() public {
        _toPeriod(1 days);
        vault.poke();
        uint256 stamp = block.timestamp;
        _pass(500);
        _breakBand();
        vault.poke();
        assertEq(vault.state().dueSince, stamp);
    }

    /* UNTIL WHEN */

    function test_poke_forgets_the_stamp_when_neither_band_nor_calendar_asks() public {
        _toPeriod(1 days);
        vault.poke();
        _pass(500);
        _setPrice(WETH, 2_001e8);
        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(0);
        vault.poke();
        assertEq(vault.state().dueSince, 0);

        _setPrice(WETH, 2_040e8);
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp, "anew");
        _expectLimit(0.2e18, 10);
    }

    function test_the_periods_rebalance_takes_the_stamp_and_the_next_period_begins_without() public {
        _toPeriod(1 days);
        vault.poke();
        _trade(keeper, 0.2e18, _bought(0));
        assertEq(vault.state().dueSince, 0);
        _pass(1 hours);
        _setPrice(WETH, 2_080e8);
        vault.poke();
        assertEq(vault.state().dueSince, 0, "no second one");
        vm.warp(_periodStart() + 7 days + 3 days);
        _refreshFeeds();
        assertEq(vault.state().dueSince, 0);
        _refuseStranger();
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp);
    }

    function test_a_rebalance_that_leaves_a_band_broken_begins_the_climb_if_nobody_had() public {
        _toPeriod(1 days);
        _setPrice(WETH, 3_000e8); // V = 125,000: e = +12,500, -7,500, -5,000
        _trade(keeper, 2.5e18, _amounts(0, 0.1125e8, 3_000e6));
        assertEq(vault.state().dueSince, block.timestamp);
    }

    /// @dev Each call that changes the configuration, and those that let trading go on, in an order in which each is possible.
    function test_every_change_of_the_configuration_takes_the_stamp_and_begins_an_epoch() public {
        MockToken fresh = new MockToken("Fresh", "FRESH", 6);
        _addAsset(fresh, 1e8);
        IBasketVault.Policy memory tighter = _policy();
        tighter.maxSlippageBps = 90;
        uint256[] memory four = new uint256[](4);
        (four[0], four[1], four[2]) = (0.4e18, 0.4e18, 0.2e18);
        IBasketVault.Band[] memory bands = new IBasketVault.Band[](4);
        for (uint256 i; i < 4; ++i) {
            bands[i].bandBps = 300;
        }

        _expectTaken(owner, abi.encodeCall(vault.setPolicy, (_policy())));
        _expectTaken(owner, abi.encodeCall(vault.setOracle, (oracle)));
        _expectTaken(guardian, abi.encodeCall(vault.tightenPolicy, (tighter)));
        _expectTaken(owner, abi.encodeCall(vault.addAsset, (address(fresh), 6, IVaultBase.Band(300, 0, 0))));
        _expectTaken(curator, abi.encodeCall(vault.setTargets, (four, 1 days)));
        _expectTaken(curator, abi.encodeCall(vault.setBands, (bands)));
        _expectTaken(owner, abi.encodeCall(vault.excludeAsset, (3)));
        _expectTaken(owner, abi.encodeCall(vault.includeAsset, (3)));
        _expectTaken(owner, abi.encodeCall(vault.excludeAsset, (3)));
        _expectTaken(owner, abi.encodeCall(vault.removeAsset, (3)));
        assertEq(vault.state().epoch, 10);
    }

    function test_resuming_and_allowing_purchases_take_the_stamp_and_begin_no_epoch() public {
        tokens[USDC].burn(address(vault), 1_000e6);
        vault.sync(USDC);
        for (uint256 i; i < 2; ++i) {
            _breakBand();
            vault.poke();
            assertEq(vault.state().dueSince, block.timestamp, "also while paused");
            vm.expectEmit(address(vault));
            emit IVaultBase.Poked(0);
            vm.prank(owner);
            if (i == 0) vault.resumeRebalance();
            else vault.allowPurchases(USDC);
            assertEq(vault.state().dueSince, 0);
            assertEq(vault.state().epoch, 0);
            _pass(5_000);
        }
        _refuseStranger();
    }

    function test_what_is_no_part_of_the_configuration_leaves_the_stamp() public {
        _breakBand();
        vault.poke();
        vm.startPrank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 20, 30), treasury);
        vm.stopPrank();
        vm.startPrank(guardian);
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
        vault.pauseRebalance();
        vm.stopPrank();
        _deposit(alice, 1e18);
        _redeem(alice, 1e18);
        assertEq(vault.state().dueSince, block.timestamp);
        assertEq(vault.state().epoch, 0);
    }

    /// @dev A rebalance of before must not run after: assets may have other numbers, and limits other values.
    function testFuzz_a_rebalance_meant_for_the_old_configuration_is_refused(uint8 kind) public {
        _breakBand();
        bytes memory data;
        address by = owner;
        if (kind % 4 == 0) data = abi.encodeCall(vault.setPolicy, (_policy()));
        else if (kind % 4 == 1) data = abi.encodeCall(vault.excludeAsset, (USDC));
        else if (kind % 4 == 2) (by, data) = (curator, abi.encodeCall(vault.setBands, (_bands(100, 100, 100))));
        else (by, data) = (guardian, abi.encodeCall(vault.tightenPolicy, (_policy())));
        vm.prank(by);
        (bool done,) = address(vault).call(data);
        assertTrue(done);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.WrongEpoch.selector, 0, 1));
        _rebalance(_amounts(1e18, 0, 0), _amounts(0, 0.0599e8, 0), 0);
    }

    /* SCENE */

    function _periodStart() internal view returns (uint256) {
        return block.timestamp - block.timestamp % 7 days;
    }

    /// @dev To so long after the start of the next period, with half a percent to do.
    function _toPeriod(uint256 late) internal {
        vm.warp(_periodStart() + 7 days + late);
        _refreshFeeds();
        _setPrice(WETH, 2_040e8);
    }

    /// @dev 408 dollars less this many basis points: 200 in WBTC, the rest in USDC, rounded up.
    function _bought(uint256 lessBps) internal pure returns (uint256[] memory) {
        return _amounts(0, 0.005e8, (408e6 * (BPS - lessBps) + BPS - 1) / BPS - 200e6);
    }

    /// @dev The limit now is that many basis points, to the unit; nothing is changed.
    function _expectLimit(uint256 sale, uint256 limitBps) internal {
        uint256 snapshot = vm.snapshotState();
        uint256[] memory buys = _bought(limitBps);
        buys[USDC] -= 1;
        bytes memory route = abi.encode(_bring(buys));
        uint256 epoch = vault.state().epoch;
        vm.prank(keeper);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        vault.rebalance(epoch, _amounts(sale, 0, 0), buys, address(executor), route);
        _trade(keeper, sale, _bought(limitBps));
        vm.revertToState(snapshot);
    }

    function _trade(address by, uint256 sale, uint256[] memory buys) internal {
        bytes memory route = abi.encode(_bring(buys));
        uint256 epoch = vault.state().epoch;
        vm.prank(by);
        vault.rebalance(epoch, _amounts(sale, 0, 0), buys, address(executor), route);
    }

    function _refuseStranger() internal {
        uint256 epoch = vault.state().epoch;
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
        vault.rebalance(epoch, _amounts(0.2e18, 0, 0), _amounts(0, 1, 1), address(executor), "");
    }

    function _expectTaken(address by, bytes memory data) internal {
        uint256 epoch = vault.state().epoch;
        _pass(1 hours);
        _setPrice(WETH, 3_000e8);
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp);
        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(0);
        vm.prank(by);
        (bool done,) = address(vault).call(data);
        assertTrue(done);
        assertEq(vault.state().dueSince, 0);
        assertEq(vault.state().epoch, epoch + 1);
    }
}
