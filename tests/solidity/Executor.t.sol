// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { UniswapV3Venue } from "../../contracts/venues/UniswapV3Venue.sol";
import { V3Swaps } from "../../contracts/venues/V3Swaps.sol";
import { CallbackToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { MockPool, MockRouter } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";

/// @notice RouteExecutor: what its caller sent goes along the route, and everything comes back.
contract ExecutorTest is Base {
    error UnknownVenue(uint256 position, uint256 venue);
    error TruncatedRoute(uint256 position, uint256 length);

    IExecutor internal routes;
    MockPool internal pool; // WETH / USDC at 2,000
    MockPool internal second; // USDC / WBTC at 40,000
    MockRouter internal router; // WETH to USDC at 2,000

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        pool = new MockPool(tokens[WETH], tokens[USDC], 2_000e6);
        second = new MockPool(tokens[USDC], tokens[WBTC], 1e18 * 1e8 / 40_000e6);
        router = new MockRouter(2_000e6);
    }

    /* REFUSALS */

    function test_a_route_with_an_unknown_venue_is_refused() public {
        bytes memory route = Routes.v3(tokens[WETH], 1e18, address(pool), 0, tokens[USDC]);
        route[0] = 0x63;
        tokens[WETH].mint(address(routes), 1e18);

        vm.expectRevert(abi.encodeWithSelector(UnknownVenue.selector, 0, 99));
        routes.executeRoute(route);
        route = bytes.concat(Routes.v3(tokens[WETH], 1e18, address(pool), 0, tokens[USDC]), route);
        vm.expectRevert(abi.encodeWithSelector(UnknownVenue.selector, 80, 99));
        routes.executeRoute(route);
    }

    function test_a_route_that_ends_anywhere_inside_a_hop_is_refused() public {
        tokens[WETH].mint(address(routes), 1e18);
        bytes memory direct = Routes.v3(tokens[WETH], 1, address(pool), 0, tokens[USDC]);
        bytes memory routed = Routes.router(tokens[WETH], 1, address(router), 0, _path());
        for (uint256 length = 1; length < direct.length; ++length) {
            vm.expectRevert(abi.encodeWithSelector(TruncatedRoute.selector, 0, length));
            routes.executeRoute(_head(direct, length));
        }
        for (uint256 length = 1; length < routed.length; ++length) {
            vm.expectRevert(abi.encodeWithSelector(TruncatedRoute.selector, 0, length));
            routes.executeRoute(_head(routed, length));
        }
    }

    function test_payment_is_refused_to_whoever_is_not_being_swapped_on() public {
        tokens[WETH].mint(address(routes), 1e18);

        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, stranger, address(0)));
        UniswapV3Venue(address(routes)).uniswapV3SwapCallback(1e18, -1, abi.encode(tokens[WETH]));
    }

    function test_a_pool_is_paid_once_a_swap() public {
        tokens[WETH].mint(address(routes), 2e18);
        pool.setAsks(MockPool.Asks.Twice);

        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, address(pool), address(0)));
        routes.executeRoute(Routes.v3(tokens[WETH], 1e18, address(pool), 0, tokens[USDC]));
    }

    function test_a_token_that_calls_back_cannot_run_another_route() public {
        CallbackToken calling = new CallbackToken("Calling", "CALL", 18);
        MockPool odd = new MockPool(calling, tokens[USDC], 1e6);
        calling.mint(address(routes), 1e18);
        calling.setCallback(address(routes), abi.encodeCall(IExecutor.executeRoute, ("")));

        vm.expectRevert(
            abi.encodeWithSelector(
                CallbackToken.StrangerRefused.selector,
                abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            )
        );
        routes.executeRoute(Routes.v3(calling, 1e18, address(odd), 0, tokens[USDC]));
    }

    /* SUCCESS */

    function test_a_hop_on_a_pool_returns_its_result_to_the_caller() public {
        tokens[WETH].mint(address(routes), 1e18);

        vm.prank(alice);
        routes.executeRoute(Routes.v3(tokens[WETH], 1e18, address(pool), 0, tokens[USDC]));

        assertEq(tokens[USDC].balanceOf(alice), 2_000e6);
        _assertEmpty();
    }

    function test_a_hop_may_pay_the_caller_directly() public {
        tokens[WETH].mint(address(routes), 1e18);

        vm.prank(alice);
        routes.executeRoute(Routes.v3(tokens[WETH], 0, address(pool), Routes.TO_CALLER, tokens[USDC]));

        assertEq(tokens[USDC].balanceOf(alice), 2_000e6);
        _assertEmpty();
    }

    function test_a_hop_works_in_the_other_direction() public {
        tokens[USDC].mint(address(routes), 2_000e6);

        vm.prank(alice);
        routes.executeRoute(Routes.v3(tokens[USDC], 2_000e6, address(pool), 0, tokens[WETH]));

        assertEq(tokens[WETH].balanceOf(alice), 1e18);
        _assertEmpty();
    }

    function test_hops_pass_results_on_and_return_what_is_left_over() public {
        tokens[WETH].mint(address(routes), 3e18);
        bytes memory route = bytes.concat(
            Routes.v3(tokens[WETH], 2e18, address(pool), 0, tokens[USDC]),
            Routes.v3(tokens[USDC], 3_000e6, address(second), 0, tokens[WBTC])
        );

        vm.prank(alice);
        routes.executeRoute(route);

        // 1 WETH unused, 4,000 - 3,000 USDC kept, 0.075 WBTC bought
        assertEq(_balances(alice), _amounts(1e18, 0.075e8, 1_000e6));
        _assertEmpty();
    }

    function test_a_pool_that_runs_dry_leaves_the_rest_to_the_caller() public {
        tokens[WETH].mint(address(routes), 3e18);
        pool.setDepth(1e18);

        vm.prank(alice);
        routes.executeRoute(Routes.v3(tokens[WETH], 0, address(pool), 0, tokens[USDC]));

        assertEq(_balances(alice), _amounts(2e18, 0, 2_000e6));
        _assertEmpty();
    }

    function test_a_hop_through_the_router_leaves_no_allowance() public {
        tokens[WETH].mint(address(routes), 2e18);

        vm.prank(alice);
        routes.executeRoute(Routes.router(tokens[WETH], 1e18, address(router), 0, _path()));

        assertEq(_balances(alice), _amounts(1e18, 0, 2_000e6));
        assertEq(tokens[WETH].allowance(address(routes), address(router)), 0);
        _assertEmpty();
    }

    function test_an_empty_route_does_nothing() public {
        tokens[WETH].mint(address(routes), 1e18);
        routes.executeRoute("");
        assertEq(tokens[WETH].balanceOf(address(routes)), 1e18, "and leaves what nobody named for anybody");
    }

    function test_a_rebalance_runs_through_it() public {
        _breakBand();
        // The pool pays 2,400 for a WETH, and USDC alone is too little of a remedy: two hops.
        pool = new MockPool(tokens[WETH], tokens[USDC], 2_400e6);
        bytes memory route = bytes.concat(
            Routes.v3(tokens[WETH], 0, address(pool), 0, tokens[USDC]),
            Routes.v3(tokens[USDC], 2_820e6, address(second), Routes.TO_CALLER, tokens[WBTC])
        );

        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_980e6), address(routes), route);

        assertEq(vault.held(), _amounts(23e18, 0.8205e8, 21_980e6));
        _assertEmpty();
    }

    /* HOSTILE POOLS */

    function test_a_pool_that_asks_too_much_takes_no_more_than_its_input_though_there_is_more() public {
        tokens[WETH].mint(address(routes), 2e18);
        pool.setAsks(MockPool.Asks.TooMuch);

        vm.expectRevert(abi.encodeWithSelector(V3Swaps.CallbackAboveInput.selector, address(pool), 1e18 + 1, 1e18));
        routes.executeRoute(Routes.v3(tokens[WETH], 1e18, address(pool), 0, tokens[USDC]));
    }

    function _path() internal view returns (bytes memory) {
        return abi.encodePacked(tokens[WETH], uint24(3_000), tokens[USDC]);
    }

    function _head(bytes memory all, uint256 length) internal pure returns (bytes memory part) {
        part = new bytes(length);
        for (uint256 i; i < length; ++i) {
            part[i] = all[i];
        }
    }

    function _assertEmpty() internal view {
        assertEq(_balances(address(routes)), _amounts());
    }
}
