// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { BalancerV3Venue, IBalancerV3Vault } from "../../contracts/venues/BalancerV3Venue.sol";
import { Venue } from "../../contracts/venues/Venue.sol";
import { Base } from "./Base.t.sol";
import { Reenterer } from "./support/HostileVenues.sol";
import { Routes } from "./support/Routes.sol";

/// @notice Hops on Balancer V3 against a Vault that breaks its own rules. Tests with the real Vault are in Python.
contract BalancerV3Test is Base {
    uint8 internal constant BALANCER_V3 = 10;
    uint128 internal constant SOLD = 2e18;

    IExecutor internal routes;
    HostileBalancer internal hostile;
    address internal pool = makeAddr("pool");

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        hostile = new HostileBalancer(tokens[USDC]);
    }

    /* FAIR */

    function test_a_fair_vault_gets_the_amount_and_pays_the_caller() public {
        tokens[WETH].mint(address(routes), 3 * SOLD);

        vm.prank(alice);
        routes.executeRoute(_hop(SOLD, Routes.TO_CALLER));

        assertEq(tokens[WETH].balanceOf(address(hostile)), SOLD);
        assertEq(tokens[USDC].balanceOf(alice), SOLD);
        assertEq(tokens[WETH].balanceOf(alice), 2 * SOLD, "what is left comes back");
        assertEq(hostile.settledHint(), SOLD);
        assertEq(hostile.lastPool(), pool);
        assertEq(hostile.lastLimit(), 0);
        _assertEmpty();
    }

    function test_a_route_goes_on_with_what_a_vault_paid() public {
        tokens[WETH].mint(address(routes), SOLD);
        HostileBalancer other = new HostileBalancer(tokens[WBTC]);
        bytes memory body = abi.encodePacked(other, pool);
        bytes memory next = Routes.hop(BALANCER_V3, 0, tokens[USDC], tokens[WBTC], 0, body);

        vm.prank(alice);
        routes.executeRoute(bytes.concat(_hop(0, 0), next));

        assertEq(tokens[WBTC].balanceOf(alice), SOLD);
        _assertEmpty();
    }

    /* REFUSED */

    function test_a_body_of_another_length_is_refused() public {
        for (uint256 length; length < 60; ++length) {
            if (length == 40) continue;
            bytes memory route = Routes.hop(BALANCER_V3, 1, tokens[WETH], tokens[USDC], 0, new bytes(length));
            vm.expectRevert(abi.encodeWithSelector(Venue.BadBody.selector, length, uint256(40)));
            routes.executeRoute(route);
        }
    }

    function test_an_amount_that_comes_out_is_refused() public {
        vm.expectRevert(Venue.ExactOutUnknown.selector);
        routes.executeRoute(_hop(1, Routes.EXACT_OUT));
    }

    function test_a_callback_from_a_stranger_is_refused() public {
        tokens[WETH].mint(address(routes), SOLD);

        vm.prank(stranger);
        vm.expectRevert(_unexpected(stranger));
        BalancerV3Venue(address(routes)).balancerV3Unlocked(pool, address(tokens[WETH]), address(tokens[USDC]), bob, 1);
    }

    function test_an_address_without_code_is_refused() public {
        tokens[WETH].mint(address(routes), SOLD);

        vm.expectRevert();
        routes.executeRoute(
            Routes.hop(BALANCER_V3, SOLD, tokens[WETH], tokens[USDC], 0, abi.encodePacked(stranger, pool))
        );
    }

    /* A VAULT THAT MEANS ILL */

    function test_a_vault_that_calls_back_twice_is_refused() public {
        _expectRefused(HostileBalancer.Acts.CallsTwice, _unexpected(address(hostile)));
    }

    function test_a_vault_that_calls_back_from_its_swap_is_refused() public {
        _expectRefused(HostileBalancer.Acts.CallsInSwap, _unexpected(address(hostile)));
    }

    function test_a_vault_that_changes_the_call_is_refused() public {
        _expectRefused(HostileBalancer.Acts.ChangesCall, _unexpected(address(hostile)));
    }

    function test_a_vault_that_has_another_call_is_refused() public {
        _expectRefused(HostileBalancer.Acts.HasAnotherCall, _unexpected(hostile.accomplice()));
    }

    function test_a_vault_that_runs_a_route_is_refused() public {
        bytes memory reentrant = abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        _expectRefused(HostileBalancer.Acts.RunsARoute, reentrant);
        hostile = HostileBalancer(address(new Reenterer()));
        vm.expectRevert(reentrant);
        routes.executeRoute(_hop(SOLD, 0));
    }

    function test_a_vault_that_did_not_call_back_in_time_may_not_later() public {
        hostile.setActs(HostileBalancer.Acts.NeverCalls);
        tokens[WETH].mint(address(routes), 2 * SOLD);
        bytes memory later = abi.encodeCall(HostileBalancer.callLater, (address(routes)));
        bytes memory call =
            Routes.call(tokens[WETH], 1, address(hostile), address(0), tokens[USDC], type(uint16).max, later);

        vm.expectRevert(_unexpected(address(hostile)));
        routes.executeRoute(bytes.concat(_hop(SOLD, 0), call));
    }

    function test_a_vault_that_never_calls_back_gets_nothing() public {
        hostile.setActs(HostileBalancer.Acts.NeverCalls);
        tokens[WETH].mint(address(routes), 3 * SOLD);

        vm.prank(alice);
        routes.executeRoute(_hop(SOLD, 0));

        assertEq(tokens[WETH].balanceOf(alice), 3 * SOLD);
    }

    function test_a_vault_that_charges_more_gets_the_hops_amount(uint256 held) public {
        hostile.setActs(HostileBalancer.Acts.ChargesMore);
        held = bound(held, SOLD, 1e30);
        tokens[WETH].mint(address(routes), held);
        tokens[USDC].mint(address(routes), 7);

        vm.prank(alice);
        routes.executeRoute(_hop(SOLD, 0));

        assertEq(tokens[WETH].balanceOf(address(hostile)), SOLD);
        assertEq(tokens[WETH].balanceOf(alice), held - SOLD);
        assertEq(tokens[WETH].allowance(address(routes), address(hostile)), 0);
    }

    function test_a_vault_that_pays_too_little_gets_nothing_of_a_basket() public {
        _breakBand();
        hostile.setActs(HostileBalancer.Acts.PaysAUnit);

        vm.prank(keeper);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        vault.rebalance(0, _amounts(SOLD, 0, 0), _amounts(0, 0, 1), address(routes), _hop(SOLD, 0));

        assertEq(vault.held(), _amounts(25e18, 0.75e8, 20_000e6));
        assertEq(_balances(address(hostile)), _amounts());
    }

    function _expectRefused(HostileBalancer.Acts acts, bytes memory reason) internal {
        hostile.setActs(acts);
        tokens[WETH].mint(address(routes), 3 * SOLD);

        vm.expectRevert(reason);
        routes.executeRoute(_hop(SOLD, 0));
    }

    function _hop(uint128 amount, uint8 flags) internal view returns (bytes memory) {
        bytes memory body = abi.encodePacked(hostile, pool);
        return Routes.hop(BALANCER_V3, amount, tokens[WETH], tokens[USDC], flags, body);
    }

    function _unexpected(address caller) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(BalancerV3Venue.UnexpectedVaultCall.selector, caller);
    }

    function _assertEmpty() internal view {
        assertEq(_balances(address(routes)), _amounts());
    }
}

/// @title HostileBalancer
/// @notice The shape of Balancer V3's Vault, which pays one unit for each that goes in; `acts` says what it does wrong.
contract HostileBalancer {
    enum Acts {
        Fairly,
        CallsTwice,
        CallsInSwap,
        ChangesCall,
        HasAnotherCall,
        RunsARoute,
        NeverCalls,
        ChargesMore,
        PaysAUnit
    }

    Acts public acts;
    address public accomplice = address(new BalancerAccomplice());
    address public lastPool;
    uint256 public lastLimit;
    uint256 public settledHint;
    MockToken internal paid;
    bytes internal kept;

    constructor(MockToken paid_) {
        paid = paid_;
    }

    function setActs(Acts acts_) external {
        acts = acts_;
    }

    function unlock(bytes calldata data) external returns (bytes memory) {
        kept = data;
        if (acts == Acts.NeverCalls) return "";
        if (acts == Acts.RunsARoute) IExecutor(msg.sender).executeRoute("");
        if (acts == Acts.ChangesCall) kept[data.length - 1] ^= 0x01; // of the amount
        if (acts == Acts.HasAnotherCall) BalancerAccomplice(accomplice).run(msg.sender, data);
        _call(msg.sender, kept);
        if (acts == Acts.CallsTwice) _call(msg.sender, data);
        return "";
    }

    /// @notice Makes the call when nobody is swapping here any more.
    function callLater(address executor) external {
        _call(executor, kept);
    }

    function swap(IBalancerV3Vault.VaultSwapParams calldata p) external returns (uint256, uint256, uint256) {
        (lastPool, lastLimit) = (p.pool, p.limitRaw);
        if (acts == Acts.CallsInSwap) _call(msg.sender, kept);
        uint256 charged = acts == Acts.ChargesMore ? 3 * p.amountGivenRaw : p.amountGivenRaw;
        uint256 out = acts == Acts.PaysAUnit ? 1 : p.amountGivenRaw;
        return (out, charged, out);
    }

    function settle(address, uint256 amountHint) external returns (uint256) {
        settledHint = amountHint;
        return amountHint;
    }

    function sendTo(address, address to, uint256 amount) external {
        paid.mint(to, amount);
    }

    function _call(address target, bytes memory data) private {
        BubbledCall.make(target, data);
    }
}

/// @title BalancerAccomplice
/// @notice Makes a Vault's call in its place.
contract BalancerAccomplice {
    function run(address target, bytes calldata data) external {
        BubbledCall.make(target, data);
    }
}

/// @title BubbledCall
/// @notice A call whose refusal is passed on.
library BubbledCall {
    function make(address target, bytes memory data) internal {
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}
