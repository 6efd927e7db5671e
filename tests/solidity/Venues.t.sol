// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { MockCurvePool } from "../../contracts/mocks/MockCurvePool.sol";
import { CallBox, CallVenue } from "../../contracts/venues/CallVenue.sol";

import { UniswapV4Venue } from "../../contracts/venues/UniswapV4Venue.sol";
import { Venue } from "../../contracts/venues/Venue.sol";
import { V3Swaps } from "../../contracts/venues/V3Swaps.sol";
import { Base } from "./Base.t.sol";
import { HostileManager, IUnlockCallback, MockPair, MockSwapper, Reenterer } from "./support/HostileVenues.sol";
import { MockPool, MockWeth } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";

/// @notice RouteExecutor's venues against counterparts that do not play fair. With the real ones they are tested in Python.
contract VenuesTest is Base {
    error TruncatedRoute(uint256 position, uint256 length);

    uint16 internal constant FIXED = type(uint16).max;
    uint128 internal constant AMOUNT = 1e18;

    IExecutor internal routes;
    HostileManager internal manager4; // pays USDC
    MockPair internal pair; // WETH / USDC
    MockSwapper internal swapper;
    Reenterer internal reenterer;

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        manager4 = new HostileManager(tokens[USDC]);
        pair = new MockPair(tokens[WETH], tokens[USDC]);
        swapper = new MockSwapper();
        reenterer = new Reenterer();
        tokens[WETH].mint(address(routes), AMOUNT);
    }

    /* ROUTES */

    function test_a_route_that_ends_anywhere_inside_a_body_is_refused() public {
        bytes[5] memory hops = [
            Routes.pair(tokens[WETH], 1, address(pair), 0, tokens[USDC], 30),
            _v4(),
            Routes.balancer(tokens[WETH], 1, address(pair), 0, tokens[USDC]),
            Routes.curve(tokens[WETH], 1, address(pair), 0, tokens[USDC], 0, 1),
            _swap(AMOUNT, FIXED)
        ];
        for (uint256 h; h < hops.length; ++h) {
            bytes memory hop = hops[h];
            for (uint256 length = hop.length - 1; length >= 60; --length) {
                assembly ("memory-safe") {
                    mstore(hop, length)
                }
                vm.expectRevert(abi.encodeWithSelector(TruncatedRoute.selector, 0, length));
                routes.executeRoute(hop);
            }
        }
    }

    function test_a_body_of_another_length_than_its_venues_is_refused() public {
        bytes memory long = new bytes(53);
        uint8[5] memory venues = [1, 3, 4, 5, 6];
        uint256[5] memory lengths = [uint256(20), 22, 46, 52, 22];
        for (uint256 v; v < venues.length; ++v) {
            for (uint256 length; length <= long.length; ++length) {
                if (length == lengths[v]) continue;
                bytes memory body = new bytes(length);
                bytes memory route = Routes.hop(venues[v], 1, tokens[WETH], tokens[USDC], 0, body);
                vm.expectRevert(abi.encodeWithSelector(Venue.BadBody.selector, length, lengths[v]));
                routes.executeRoute(route);
            }
        }
        vm.expectRevert(abi.encodeWithSelector(Venue.BadBody.selector, 41, 42));
        routes.executeRoute(Routes.hop(7, 1, tokens[WETH], tokens[USDC], 0, new bytes(41)));
    }

    function test_venues_that_only_sell_refuse_to_buy() public {
        bytes[6] memory hops = [
            Routes.router(tokens[WETH], 1, address(pair), 1, abi.encodePacked(tokens[WETH], uint24(500), tokens[USDC])),
            Routes.pair(tokens[WETH], 1, address(pair), 1, tokens[USDC], 30),
            Routes.v4(tokens[WETH], 1, address(manager4), 1, tokens[USDC]),
            Routes.balancer(tokens[WETH], 1, address(pair), 1, tokens[USDC]),
            Routes.curve(tokens[WETH], 1, address(pair), 1, tokens[USDC], 0, 1),
            Routes.call(tokens[WETH], 1, address(pair), 1, address(0), tokens[USDC], FIXED, "")
        ];
        for (uint256 h; h < hops.length; ++h) {
            vm.expectRevert(Venue.ExactOutUnknown.selector);
            routes.executeRoute(hops[h]);
        }
    }

    /* UNISWAP V2 */

    function test_a_pair_of_a_fork_is_asked_for_what_its_fee_leaves() public {
        vm.prank(alice);
        routes.executeRoute(Routes.pair(tokens[WETH], 0, address(pair), 0, tokens[USDC], 25));

        // 1e18 less 0.25 % against 1e24 on either side
        assertEq(tokens[USDC].balanceOf(alice), uint256(0.9975e18) * 1e24 / (1e24 + 0.9975e18));
        _assertEmpty();
    }

    function test_a_pair_that_runs_another_route_is_refused() public {
        pair.reenter(address(routes));

        vm.expectRevert(_reentrant());
        routes.executeRoute(Routes.pair(tokens[WETH], 0, address(pair), 0, tokens[USDC], 30));
    }

    /* UNISWAP V3 */

    function test_a_pool_that_did_not_ask_in_time_may_not_ask_later() public {
        MockPool pool = new MockPool(tokens[WETH], tokens[USDC], 2_000e6);
        pool.setAsks(MockPool.Asks.Nothing);
        bytes memory later = abi.encodeCall(MockPool.askAgain, (address(routes), abi.encode(tokens[WETH])));
        bytes memory route =
            bytes.concat(Routes.v3(tokens[WETH], 1, address(pool), 0, tokens[USDC]), _call(address(pool), later));

        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, address(pool), address(0)));
        routes.executeRoute(route);
    }

    /* UNISWAP V4 */

    function test_a_manager_that_plays_fair_is_paid_and_pays() public {
        vm.prank(alice);
        routes.executeRoute(_v4());

        assertEq(tokens[WETH].balanceOf(address(manager4)), AMOUNT);
        assertEq(tokens[USDC].balanceOf(alice), AMOUNT);
        _assertEmpty();
    }

    function test_a_callback_from_a_stranger_is_refused() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(UniswapV4Venue.UnexpectedUnlock.selector, stranger));
        IUnlockCallback(address(routes)).unlockCallback("");
    }

    function test_a_manager_may_call_back_once() public {
        manager4.setActs(HostileManager.Acts.AsksTwice);

        vm.expectRevert(_unexpectedUnlock());
        routes.executeRoute(_v4());
    }

    function test_a_manager_that_did_not_call_back_in_time_may_not_later() public {
        manager4.setActs(HostileManager.Acts.NeverAsks);
        bytes memory later = abi.encodeCall(HostileManager.askLater, (IUnlockCallback(address(routes))));

        vm.expectRevert(_unexpectedUnlock());
        routes.executeRoute(bytes.concat(_v4(), _call(address(manager4), later)));
    }

    function test_a_manager_that_asks_more_than_the_amount_gets_nothing() public {
        manager4.setActs(HostileManager.Acts.AsksTooMuch);

        // The executor holds more than the hop's part: it is meant for other hops.
        vm.expectRevert(abi.encodeWithSelector(UniswapV4Venue.AskedTooMuch.selector, AMOUNT / 2 + 1, AMOUNT / 2));
        routes.executeRoute(Routes.v4(tokens[WETH], uint128(AMOUNT / 2), address(manager4), 0, tokens[USDC]));
    }

    function test_a_manager_that_hands_back_another_order_is_refused() public {
        manager4.setActs(HostileManager.Acts.ChangesOrder);

        vm.expectRevert(_unexpectedUnlock());
        routes.executeRoute(_v4());
    }

    function test_a_manager_that_runs_another_route_is_refused() public {
        manager4.setActs(HostileManager.Acts.Reenters);

        vm.expectRevert(_reentrant());
        routes.executeRoute(_v4());
    }

    function test_ether_that_nobody_waits_for_is_refused() public {
        vm.deal(stranger, 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(UniswapV4Venue.UnexpectedEther.selector, address(manager4), uint256(1)));
        manager4.push{ value: 1 }(address(routes));
    }

    /* BALANCER, CURVE */

    function test_a_balancer_vault_that_runs_another_route_is_refused() public {
        vm.expectRevert(_reentrant());
        routes.executeRoute(Routes.balancer(tokens[WETH], 0, address(reenterer), 0, tokens[USDC]));
    }

    function test_a_curve_pool_that_runs_another_route_is_refused() public {
        vm.expectRevert(_reentrant());
        routes.executeRoute(Routes.curve(tokens[WETH], 0, address(reenterer), 0, tokens[USDC], 0, 1));
    }

    function test_a_curve_pool_of_the_other_kind_is_refused() public {
        MockCurvePool pool = new MockCurvePool(tokens[WETH], tokens[USDC], 2_000e6, true);

        vm.expectRevert(MockCurvePool.WrongKind.selector);
        routes.executeRoute(Routes.curve(tokens[WETH], 0, address(pool), 0, tokens[USDC], 0, 1));
    }

    function test_a_result_of_curve_is_sent_on_to_the_caller_without_what_others_hold() public {
        MockCurvePool pool = new MockCurvePool(tokens[WETH], tokens[USDC], 2_000e6, false);
        tokens[USDC].mint(address(pool), 2_000e6);
        tokens[USDC].mint(address(routes), 7e6);
        bytes memory hop = Routes.curve(tokens[WETH], 0, address(pool), Routes.TO_CALLER, tokens[USDC], 0, 1);

        vm.prank(alice);
        routes.executeRoute(hop);

        assertEq(tokens[USDC].balanceOf(alice), 1_999.2e6, "less 4 bps");
        assertEq(tokens[USDC].balanceOf(address(routes)), 7e6, "for a hop that names it");
        vm.prank(alice);
        routes.executeRoute(
            Routes.hop(6, 7e6, tokens[USDC], tokens[WETH], 0, abi.encodePacked(pool, uint8(1), uint8(0)))
        );
        assertEq(tokens[WETH].allowance(address(routes), address(pool)), 0);
        _assertEmpty();
    }

    /* ANY CALL */

    function test_a_call_swaps_and_leaves_no_allowance() public {
        vm.prank(alice);
        routes.executeRoute(_swap(0.4e18, FIXED));

        assertEq(_balances(alice), _amounts(0.6e18, 0, 0.4e18), "what the target did not take came back");
        assertEq(tokens[WETH].allowance(swapper.lastCaller(), address(swapper)), 0);
        assertEq(tokens[WETH].allowance(address(routes), address(swapper)), 0);
        assertEq(_balances(swapper.lastCaller()), _amounts());
        _assertEmpty();
    }

    function test_a_call_gets_the_amount_written_into_its_data() public {
        vm.prank(alice);
        routes.executeRoute(_swap(7, 4 + 64)); // the third argument

        assertEq(tokens[USDC].balanceOf(alice), AMOUNT);
        _assertEmpty();
    }

    function test_an_amount_that_does_not_fit_into_the_data_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(CallVenue.AmountOutsideData.selector, 69, 100));
        routes.executeRoute(_swap(7, 69));
    }

    function test_a_call_that_is_refused_says_why() public {
        vm.expectRevert(abi.encodeWithSelector(MockSwapper.NoLuck.selector, 13));
        routes.executeRoute(_call(address(swapper), abi.encodeCall(MockSwapper.fail, ())));
    }

    function test_a_target_that_runs_another_route_is_refused() public {
        vm.expectRevert(_reentrant());
        routes.executeRoute(_call(address(swapper), abi.encodeCall(MockSwapper.reenter, (routes))));
    }

    function test_a_target_that_wants_to_be_paid_first_is() public {
        bytes memory data = abi.encodeCall(MockSwapper.swapWhatArrived, (tokens[WETH], tokens[USDC]));
        vm.prank(alice);
        routes.executeRoute(
            Routes.call(
                tokens[WETH], 0, address(swapper), Routes.PAID_FIRST, address(swapper), tokens[USDC], FIXED, data
            )
        );

        assertEq(_balances(alice), _amounts(0, 0, AMOUNT));
        assertEq(tokens[WETH].allowance(swapper.lastCaller(), address(swapper)), 0);
        _assertEmpty();
    }

    function test_a_target_is_paid_in_ether_and_what_it_leaves_is_wrapped() public {
        MockWeth weth = _etherIn(AMOUNT);
        bytes memory data = abi.encodeCall(MockSwapper.swapEther, (tokens[USDC], 0.7e18));
        uint8 flags = Routes.ETHER_IN | Routes.TO_CALLER;
        vm.prank(alice);
        routes.executeRoute(Routes.call(weth, 0, address(swapper), flags, address(0), tokens[USDC], FIXED, data));

        assertEq(tokens[USDC].balanceOf(alice), 0.7e18);
        assertEq(weth.balanceOf(alice), 0.3e18);
        assertEq(address(swapper).balance, 0.7e18);
        assertEq(weth.balanceOf(address(routes)) + weth.balanceOf(swapper.lastCaller()), 0);
        assertEq(address(routes).balance + swapper.lastCaller().balance, 0);
    }

    function test_a_target_that_pays_in_ether_pays_weth() public {
        MockWeth weth = new MockWeth();
        vm.deal(address(swapper), AMOUNT);
        bytes memory route = _forEther(weth, Routes.ETHER_OUT);
        vm.prank(alice);
        routes.executeRoute(route);

        assertEq(weth.balanceOf(alice), AMOUNT);
        assertEq(address(routes).balance + swapper.lastCaller().balance, 0);
        _assertEmpty();
    }

    function test_ether_that_a_call_does_not_foresee_is_refused() public {
        MockWeth weth = new MockWeth();
        vm.deal(address(swapper), AMOUNT);

        vm.expectRevert(abi.encodeWithSelector(CallBox.PaidInEther.selector, swapper, AMOUNT));
        routes.executeRoute(_forEther(weth, 0));
    }

    function test_ether_sent_ahead_to_where_the_next_box_will_be_holds_nobody_up() public {
        vm.deal(vm.computeCreateAddress(address(routes), vm.getNonce(address(routes))), 1);
        vm.prank(alice);
        routes.executeRoute(_swap(AMOUNT, FIXED));

        assertEq(tokens[USDC].balanceOf(alice), AMOUNT);
        assertEq(swapper.lastCaller().balance, 1, "it was the address that was meant");
        _assertEmpty();
    }

    function test_a_target_cannot_use_the_box_for_itself() public {
        bytes memory data = abi.encodeCall(MockSwapper.swapAndUseTheBox, (tokens[WETH], tokens[USDC], AMOUNT));

        vm.expectRevert(abi.encodeWithSelector(CallBox.NotTheExecutor.selector, address(swapper)));
        routes.executeRoute(Routes.call(tokens[WETH], 0, address(swapper), address(swapper), tokens[USDC], FIXED, data));
    }

    function test_an_allowance_planted_by_a_call_is_worth_nothing() public {
        bytes memory plant = abi.encodeCall(tokens[USDC].approve, (stranger, type(uint256).max));
        vm.prank(stranger);
        routes.executeRoute(Routes.call(tokens[WETH], 1, address(tokens[USDC]), address(0), tokens[USDC], FIXED, plant));

        assertEq(tokens[USDC].allowance(address(routes), stranger), 0);
        tokens[WETH].mint(address(routes), AMOUNT);
        vm.prank(alice);
        routes.executeRoute(_swap(AMOUNT, FIXED));
        assertEq(tokens[USDC].allowance(swapper.lastCaller(), stranger), 0, "every call has a box of its own");
    }

    /// @dev Wrapped ether that the executor holds `amount` of.
    function _etherIn(uint256 amount) internal returns (MockWeth weth) {
        weth = new MockWeth();
        vm.deal(address(this), amount);
        weth.deposit{ value: amount }();
        weth.transfer(address(routes), amount);
    }

    /// @dev A swap of all WETH of the basket for ether.
    function _forEther(MockWeth weth, uint8 flags) internal view returns (bytes memory) {
        bytes memory data = abi.encodeCall(MockSwapper.swapForEther, (tokens[WETH], AMOUNT));
        return Routes.call(tokens[WETH], 0, address(swapper), flags, address(swapper), weth, FIXED, data);
    }

    function _v4() internal view returns (bytes memory) {
        return Routes.v4(tokens[WETH], 0, address(manager4), 0, tokens[USDC]);
    }

    /// @dev A call that swaps `amount`, with all there is.
    function _swap(uint256 amount, uint16 offset) internal view returns (bytes memory) {
        bytes memory data = abi.encodeCall(MockSwapper.swap, (tokens[WETH], tokens[USDC], amount));
        return Routes.call(tokens[WETH], 0, address(swapper), address(swapper), tokens[USDC], offset, data);
    }

    /// @dev A call with one unit of WETH and no allowance.
    function _call(address target, bytes memory data) internal view returns (bytes memory) {
        return Routes.call(tokens[WETH], 1, target, address(0), tokens[USDC], FIXED, data);
    }

    function _unexpectedUnlock() internal view returns (bytes memory) {
        return abi.encodeWithSelector(UniswapV4Venue.UnexpectedUnlock.selector, address(manager4));
    }

    function _assertEmpty() internal view {
        assertEq(_balances(address(routes)), _amounts());
        assertEq(address(routes).balance, 0);
    }
}
