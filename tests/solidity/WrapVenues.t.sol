// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockERC4626 } from "../../contracts/mocks/MockERC4626.sol";
import { MockStETH, MockWstETH } from "../../contracts/mocks/MockLido.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { UniswapV3Venue } from "../../contracts/venues/UniswapV3Venue.sol";
import { Venue } from "../../contracts/venues/Venue.sol";
import { Base } from "./Base.t.sol";
import { Reenterer } from "./support/HostileVenues.sol";
import { Routes } from "./support/Routes.sol";

/// @notice What wraps a token at a fixed rate: fair ones, and ones that mean ill.
contract WrapVenuesTest is Base {
    uint8 internal constant ERC_4626 = 8;
    uint8 internal constant WSTETH = 9;
    uint128 internal constant SOLD = 2e18;

    IExecutor internal routes;
    MockERC4626 internal shares;
    ThiefOfWraps internal thief;
    MockStETH internal stETH;
    MockWstETH internal wstETH;

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        thief = new ThiefOfWraps(tokens[WETH], tokens[USDC]);
        shares = MockERC4626(deployCode("MockERC4626.sol:MockERC4626", abi.encode(tokens[WETH], uint8(0))));
        stETH = new MockStETH();
        wstETH = new MockWstETH(stETH);
        stETH.mintShares(bob, 100e18, 120e18 + 7);
    }

    /* FAIR */

    function test_a_deposit_and_a_redemption_pay_the_caller_what_the_vault_previews() public {
        tokens[WETH].mint(address(this), 10e18);
        tokens[WETH].approve(address(shares), 10e18);
        shares.deposit(10e18, bob);
        tokens[WETH].mint(address(shares), 3e18);
        uint256 bought = shares.previewDeposit(SOLD);
        tokens[WETH].mint(address(routes), SOLD);

        vm.prank(alice);
        routes.executeRoute(_hop(ERC_4626, 0, _weth(), _share(), Routes.TO_CALLER, address(shares)));

        assertEq(shares.balanceOf(alice), bought);
        uint256 returned = shares.previewRedeem(bought);
        vm.prank(alice);
        shares.transfer(address(routes), bought);
        vm.prank(alice);
        routes.executeRoute(_hop(ERC_4626, 0, _share(), _weth(), Routes.TO_CALLER, address(shares)));
        assertEq(tokens[WETH].balanceOf(alice), returned);
        assertEq(tokens[WETH].balanceOf(address(routes)) + shares.balanceOf(address(routes)), 0);
    }

    function test_a_route_goes_on_with_what_came_out() public {
        tokens[WETH].mint(address(routes), SOLD);
        bytes memory there = _hop(ERC_4626, 0, _weth(), _share(), 0, address(shares));

        vm.prank(alice);
        routes.executeRoute(bytes.concat(there, _hop(ERC_4626, 0, _share(), _weth(), 0, address(shares))));

        assertApproxEqAbs(tokens[WETH].balanceOf(alice), SOLD, 1);
        assertEq(tokens[WETH].allowance(address(routes), address(shares)), 0);
    }

    function test_a_paused_vault_refuses() public {
        shares.setLimits(0, 0);
        tokens[WETH].mint(address(routes), SOLD);

        vm.expectRevert();
        routes.executeRoute(_hop(ERC_4626, 0, _weth(), _share(), 0, address(shares)));
    }

    function test_staked_ether_that_lost_a_wei_on_the_way_is_wrapped_by_its_name_and_as_all_there_is(uint256 amount)
        public
    {
        uint128 named = uint128(bound(amount, 1e3, 20e18));
        for (uint256 i; i < 2; ++i) {
            uint256 before = wstETH.balanceOf(alice);
            vm.prank(bob);
            stETH.transfer(address(routes), named);

            vm.prank(alice);
            routes.executeRoute(_hop(WSTETH, i == 0 ? named : 0, _st(), _wst(), Routes.TO_CALLER, address(wstETH)));

            assertApproxEqAbs(wstETH.balanceOf(alice) - before, uint256(named) * 100e18 / (120e18 + 7), 2);
            assertEq(stETH.allowance(address(routes), address(wstETH)), 0);
        }
        assertEq(wstETH.balanceOf(address(routes)), 0);
    }

    function test_unwrapped_ether_is_sent_on_as_it_arrived_and_without_what_others_hold(uint256 amount) public {
        uint128 held = uint128(bound(amount, 1e3, 50e18));
        vm.startPrank(bob);
        stETH.approve(address(wstETH), type(uint256).max);
        wstETH.wrap(60e18 + 7);
        wstETH.transfer(address(routes), held);
        stETH.transfer(address(routes), 5e18);
        vm.stopPrank();

        vm.prank(alice);
        routes.executeRoute(_hop(WSTETH, 0, _wst(), _st(), Routes.TO_CALLER, address(wstETH)));

        assertApproxEqAbs(stETH.balanceOf(alice), uint256(held) * (120e18 + 7) / 100e18, 6);
        assertApproxEqAbs(stETH.balanceOf(address(routes)), 5e18, 4);
    }

    /* REFUSED */

    function test_a_body_of_another_length_is_refused() public {
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            vm.expectRevert(abi.encodeWithSelector(Venue.BadBody.selector, uint256(21), uint256(20)));
            routes.executeRoute(Routes.hop(venue, 1, _weth(), _share(), 0, abi.encodePacked(address(shares), uint8(0))));
        }
    }

    function test_an_amount_that_comes_out_is_refused() public {
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            vm.expectRevert(Venue.ExactOutUnknown.selector);
            routes.executeRoute(_hop(venue, 1, _weth(), _share(), Routes.EXACT_OUT, address(shares)));
        }
    }

    function test_a_wrapper_that_runs_another_route_is_refused() public {
        Reenterer reenterer = new Reenterer();
        MockToken itself = MockToken(address(new TokenThatReenters()));
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            routes.executeRoute(_hop(venue, 0, _weth(), tokens[USDC], 0, address(reenterer)));
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            routes.executeRoute(_hop(venue, 0, itself, tokens[USDC], 0, address(itself)));
        }
    }

    /* A WRAPPER THAT MEANS ILL */

    function test_a_wrapper_takes_no_more_than_its_hops_amount_and_no_allowance_outlives_it() public {
        for (uint256 i; i < 4; ++i) {
            uint8 venue = i < 2 ? ERC_4626 : WSTETH;
            uint256 part = 1 + i % 2;
            thief.takePart(part);
            tokens[WETH].mint(address(routes), 3 * SOLD);
            uint256 before = tokens[WETH].balanceOf(address(thief));

            vm.prank(bob);
            routes.executeRoute(_hop(venue, SOLD, _weth(), tokens[USDC], 0, address(thief)));

            uint256 taken = tokens[WETH].balanceOf(address(thief)) - before;
            assertEq(taken, SOLD / part);
            assertEq(tokens[WETH].allowance(address(routes), address(thief)), 0);
            assertEq(tokens[WETH].balanceOf(address(routes)), 0);
        }
    }

    function test_a_wrapper_that_asks_for_more_gets_nothing() public {
        thief.want(1);
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            tokens[WETH].mint(address(routes), 3 * SOLD);

            vm.expectRevert();
            routes.executeRoute(_hop(venue, SOLD, _weth(), tokens[USDC], 0, address(thief)));
        }
    }

    function test_a_wrapper_that_calls_back_as_a_pool_gets_nothing() public {
        thief.callBack();
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            tokens[WETH].mint(address(routes), 3 * SOLD);

            vm.expectRevert();
            routes.executeRoute(_hop(venue, SOLD, _weth(), tokens[USDC], 0, address(thief)));
        }
    }

    function test_a_wrapper_that_keeps_what_it_is_given_gets_nothing_of_a_vault() public {
        _breakBand();
        uint256[] memory heldBefore = vault.held();
        for (uint8 venue = ERC_4626; venue <= WSTETH; ++venue) {
            for (uint8 flags; flags <= Routes.TO_CALLER; flags += Routes.TO_CALLER) {
                bytes memory route = _hop(venue, SOLD, _weth(), tokens[USDC], flags, address(thief));

                vm.prank(keeper);
                vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
                vault.rebalance(0, _amounts(SOLD, 0, 0), _amounts(0, 0, 1), address(routes), route);
            }
        }
        assertEq(vault.held(), heldBefore);
    }

    function _hop(uint8 venue, uint128 amount, MockToken sold, MockToken bought, uint8 flags, address wrapper)
        internal
        pure
        returns (bytes memory)
    {
        return Routes.hop(venue, amount, sold, bought, flags, abi.encodePacked(wrapper));
    }

    function _weth() internal view returns (MockToken) {
        return tokens[WETH];
    }

    function _share() internal view returns (MockToken) {
        return MockToken(address(shares));
    }

    function _st() internal view returns (MockToken) {
        return MockToken(address(stETH));
    }

    function _wst() internal view returns (MockToken) {
        return MockToken(address(wstETH));
    }
}

/// @notice Both kinds of wrapper at once, which takes what it is allowed and pays a unit.
contract ThiefOfWraps {
    MockToken internal sold;
    MockToken internal paid;
    uint256 internal part = 1;
    uint256 internal greed;
    bool internal callsBack;

    constructor(MockToken sold_, MockToken paid_) {
        (sold, paid) = (sold_, paid_);
    }

    function takePart(uint256 part_) external {
        part = part_;
    }

    function want(uint256 more) external {
        greed = more;
    }

    function callBack() external {
        callsBack = true;
    }

    function deposit(uint256 amount, address to) external returns (uint256) {
        return _take(amount, to);
    }

    function wrap(uint256 amount) external returns (uint256) {
        return _take(amount, msg.sender);
    }

    function _take(uint256 amount, address to) private returns (uint256) {
        if (callsBack) UniswapV3Venue(msg.sender).uniswapV3SwapCallback(int256(amount), -1, "");
        sold.transferFrom(msg.sender, address(this), amount / part + greed);
        paid.mint(to, 1);
        return 1;
    }
}

/// @notice A share token that runs another route when it is redeemed or unwrapped.
contract TokenThatReenters {
    function balanceOf(address) external pure returns (uint256) {
        return 1;
    }

    fallback() external {
        IExecutor(msg.sender).executeRoute("");
    }
}
