// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { IZapExecutor } from "../../contracts/interfaces/IZap.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { PancakeSwapV3Venue } from "../../contracts/venues/PancakeSwapV3Venue.sol";
import { UniswapV3Venue } from "../../contracts/venues/UniswapV3Venue.sol";
import { UniswapV4Venue } from "../../contracts/venues/UniswapV4Venue.sol";
import { V3Swaps } from "../../contracts/venues/V3Swaps.sol";
import { Base } from "./Base.t.sol";
import { IUnlockCallback, Thief } from "./support/HostileVenues.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";

/// @notice A hostile venue at every adapter of RouteExecutor gets the amount of its own hop, and nothing of a vault. Balancer V3's Vault has a
/// file of its own, BalancerV3.t.sol. tests/contract/test_abi_constants.py checks that no adapter is missing here.
contract HostileVenuesTest is Base {
    uint256 internal constant VENUES = 11;
    uint256 internal constant PANCAKE = 8; // a hop of Uniswap V3's, another callback
    uint8 internal constant ERC_4626 = 8;
    uint8 internal constant WSTETH = 9;
    uint16 internal constant FIXED = type(uint16).max;
    uint128 internal constant SOLD = 2e18;

    IExecutor internal routes;
    Thief internal thief; // WETH / USDC; pays one unit of USDC

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        thief = new Thief(tokens[WETH], tokens[USDC], tokens[USDC]);
    }

    /* A VENUE THAT PAYS NEXT TO NOTHING */

    function test_a_venue_that_keeps_what_it_is_given_gets_nothing_of_a_vault() public {
        _breakBand();
        uint256[] memory heldBefore = vault.held();
        for (uint256 venue; venue < VENUES; ++venue) {
            for (uint8 flags; flags <= Routes.TO_CALLER; flags += Routes.TO_CALLER) {
                bytes memory route = _atThief(venue, SOLD, flags);

                vm.prank(keeper);
                vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
                vault.rebalance(0, _amounts(SOLD, 0, 0), _amounts(0, 0, 1), address(routes), route);
            }
        }
        assertEq(vault.held(), heldBefore);
        assertEq(_balances(address(vault)), heldBefore);
        assertEq(_balances(address(thief)), _amounts());
    }

    function test_a_venue_takes_no_more_than_its_hops_amount_and_what_others_hold_comes_back() public {
        for (uint256 venue; venue < VENUES; ++venue) {
            tokens[WETH].mint(address(routes), 3 * SOLD);
            tokens[WBTC].mint(address(routes), 5e8);
            uint256 takenBefore = tokens[WETH].balanceOf(address(thief));
            bytes memory route = bytes.concat(_atThief(venue, SOLD, 0), _nothing(tokens[WBTC]));

            vm.prank(bob);
            routes.executeRoute(route);

            assertEq(tokens[WETH].balanceOf(address(thief)) - takenBefore, SOLD, "the hop's amount");
            assertEq(_balances(bob), _amounts(2 * SOLD, 5e8, 1), "all else, and the unit it paid");
            _assertEmpty();
            _burnAll(bob);
        }
    }

    function test_no_allowance_outlives_a_hop_even_where_it_was_not_used_up() public {
        thief.takeHalf();
        // SwapRouter02, Balancer, Curve, ERC-4626, wstETH and a call; the others are never allowed anything.
        for (uint256 venue; venue < VENUES; ++venue) {
            tokens[WETH].mint(address(routes), SOLD);

            routes.executeRoute(_atThief(venue, SOLD, 0));

            assertEq(tokens[WETH].allowance(address(routes), address(thief)), 0);
            if (thief.lastCaller() != address(0)) {
                assertEq(tokens[WETH].allowance(thief.lastCaller(), address(thief)), 0);
            }
            _assertEmpty();
        }
        assertTrue(thief.lastCaller() != address(0), "some were allowed");
    }

    /* A POOL THAT ASKS FOR SOMETHING ELSE */

    function test_a_pool_is_paid_in_the_token_that_is_sold_whatever_it_asks_for() public {
        thief.askFor(address(tokens[WBTC]));
        tokens[WETH].mint(address(routes), SOLD);
        tokens[WBTC].mint(address(routes), 5e8);

        vm.prank(bob);
        routes.executeRoute(bytes.concat(_hop(0, SOLD, 0), _nothing(tokens[WBTC])));

        assertEq(_balances(address(thief)), _amounts(SOLD, 0, 0));
        assertEq(_balances(bob), _amounts(0, 5e8, 1));
    }

    function test_a_pool_that_asks_for_more_than_its_hop_gets_nothing_of_a_vault() public {
        _breakBand();
        MockPool pool = new MockPool(tokens[WETH], tokens[USDC], 2_400e6);
        pool.setAsks(MockPool.Asks.TooMuch);
        // Half goes to each of two hops, and the first pool asks for one unit of the second's half.
        bytes memory route = bytes.concat(
            Routes.v3(tokens[WETH], SOLD / 2, address(pool), 0, tokens[USDC]),
            Routes.v3(tokens[WETH], SOLD / 2, address(pool), 0, tokens[USDC])
        );

        vm.prank(keeper);
        vm.expectRevert(_aboveInput(address(pool), SOLD / 2 + 1, SOLD / 2));
        vault.rebalance(0, _amounts(SOLD, 0, 0), _amounts(0, 0, 1), address(routes), route);
    }

    /// @notice Every adapter, of both executors: what a venue wants beyond its hop's amount is for other hops.
    function test_no_venue_gets_more_than_its_hops_amount_however_much_the_executor_holds() public {
        address zapRoutes = deployCode("ZapExecutor.sol:ZapExecutor"); // made by this test, which is its Zap
        address[] memory sent = new address[](1);
        sent[0] = address(tokens[WETH]);
        tokens[WETH].mint(address(routes), 3 * SOLD);
        tokens[WETH].mint(zapRoutes, 3 * SOLD);
        uint256[2] memory wants = [uint256(1), SOLD];
        for (uint256 i; i < 2; ++i) {
            thief.want(wants[i]);
            for (uint256 venue; venue < VENUES; ++venue) {
                bytes memory route = _atThief(venue, SOLD, 0);
                bytes memory refusal = _greedRefused(venue, SOLD, wants[i]);
                _expectRevert(refusal);
                routes.executeRoute(route);
                _expectRevert(refusal);
                IZapExecutor(zapRoutes).executeRoute(sent, route);
            }
        }
        assertEq(tokens[WETH].balanceOf(address(thief)), 0);
        assertEq(tokens[WETH].balanceOf(address(routes)), 3 * SOLD);
        assertEq(tokens[WETH].balanceOf(zapRoutes), 3 * SOLD);
    }

    /// @dev The adapter's own error where the venue requests payment, the token's error where the venue takes it.
    function _greedRefused(uint256 venue, uint256 amount, uint256 more) internal view returns (bytes memory) {
        if (venue == 0 || venue == PANCAKE) return _aboveInput(address(thief), amount + more, amount);
        if (venue == 3) return abi.encodeWithSelector(UniswapV4Venue.AskedTooMuch.selector, amount + more, amount);
        return "";
    }

    function _expectRevert(bytes memory refusal) internal {
        if (refusal.length == 0) vm.expectPartialRevert(IERC20Errors.ERC20InsufficientAllowance.selector);
        else vm.expectRevert(refusal);
    }

    function test_the_limit_of_a_pools_callback_is_kept_in_all_its_bits() public {
        // Its halves lie in two words: amounts around the seam, and the largest that a route can name.
        uint128[5] memory amounts = [uint128(1), (1 << 96) - 1, 1 << 96, (1 << 96) + 1, type(uint128).max];
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = amounts[i];
            deal(address(tokens[WETH]), address(routes), 2 * amount);
            bytes memory route = _hop(0, amounts[i], 0);
            thief.want(1);
            vm.expectRevert(_aboveInput(address(thief), amount + 1, amount));
            routes.executeRoute(route);
            thief.want(0);
            uint256 before = tokens[WETH].balanceOf(address(thief));
            routes.executeRoute(route);
            assertEq(tokens[WETH].balanceOf(address(thief)) - before, amount);
        }
    }

    function test_a_hop_of_all_there_is_is_limited_to_what_there_was() public {
        thief.want(1);
        tokens[WETH].mint(address(routes), SOLD);
        vm.expectRevert(_aboveInput(address(thief), SOLD + 1, SOLD));
        routes.executeRoute(_hop(0, 0, 0));
        // Of nothing, nothing is paid.
        deal(address(tokens[WETH]), address(routes), 0);
        vm.expectRevert(_aboveInput(address(thief), 1, 0));
        routes.executeRoute(_hop(0, 0, 0));
    }

    /// @notice A pool with an exact output names its price; it cannot get more than the balance.
    function test_a_hop_by_what_comes_out_is_limited_to_what_the_executor_holds() public {
        bytes memory route = Routes.v3Out(tokens[WETH], 1, address(thief), 0, tokens[USDC]);
        tokens[WETH].mint(address(routes), SOLD);
        thief.want(SOLD + 1);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.CostsMore.selector, thief, SOLD + 1, SOLD));
        routes.executeRoute(route);
        thief.want(SOLD);
        routes.executeRoute(route);
        assertEq(tokens[WETH].balanceOf(address(thief)), SOLD);
        // All 192 bits of the limit are set, and no more than the token has is paid.
        thief.want(type(uint192).max);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.CostsMore.selector, thief, type(uint192).max, 0));
        routes.executeRoute(route);
        thief.want(uint256(type(uint192).max) + 1);
        vm.expectRevert(_aboveInput(address(thief), uint256(type(uint192).max) + 1, type(uint192).max));
        routes.executeRoute(route);
    }

    function test_an_amount_that_no_limit_can_hold_is_refused() public {
        deal(address(tokens[WETH]), address(routes), uint256(1) << 192);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.AmountTooLarge.selector, uint256(1) << 192));
        routes.executeRoute(_hop(0, 0, 0));
    }

    function _aboveInput(address pool, uint256 owed, uint256 input) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(V3Swaps.CallbackAboveInput.selector, pool, owed, input);
    }

    /* CALLBACKS OUT OF TURN */

    function test_callbacks_from_strangers_are_refused() public {
        tokens[WETH].mint(address(routes), SOLD);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, stranger, address(0)));
        UniswapV3Venue(address(routes)).uniswapV3SwapCallback(int256(uint256(SOLD)), -1, abi.encode(tokens[WETH]));
        vm.expectRevert(abi.encodeWithSelector(UniswapV4Venue.UnexpectedUnlock.selector, stranger));
        IUnlockCallback(address(routes)).unlockCallback(abi.encode(tokens[WETH]));
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, stranger, address(0)));
        PancakeSwapV3Venue(address(routes)).pancakeV3SwapCallback(int256(uint256(SOLD)), -1, abi.encode(tokens[WETH]));
        vm.stopPrank();
        assertEq(tokens[WETH].balanceOf(address(routes)), SOLD);
    }

    function test_callbacks_of_other_venues_are_not_known() public {
        string[6] memory others = [
            "uniswapV2Call(address,uint256,uint256,bytes)",
            "pancakeCall(address,uint256,uint256,bytes)",
            "algebraSwapCallback(int256,int256,bytes)",
            "uniswapV3FlashCallback(uint256,uint256,bytes)",
            "receiveFlashLoan(address[],uint256[],uint256[],bytes)",
            "lockAcquired(bytes)"
        ];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(stranger);
            (bool done,) = address(routes).call(abi.encodePacked(bytes4(keccak256(bytes(others[i]))), new bytes(256)));
            assertFalse(done, others[i]);
        }
    }

    function test_a_callback_of_another_venue_is_not_awaited_while_one_is() public {
        CrossCaller pool = new CrossCaller(tokens[WETH], tokens[USDC]);
        tokens[WETH].mint(address(routes), SOLD);

        // A pool of V3 that calls back as PoolManager would, and the other way round.
        vm.expectRevert(abi.encodeWithSelector(UniswapV4Venue.UnexpectedUnlock.selector, pool));
        routes.executeRoute(Routes.v3(tokens[WETH], SOLD, address(pool), 0, tokens[USDC]));
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.UnexpectedCallback.selector, pool, address(0)));
        routes.executeRoute(Routes.v4(tokens[WETH], SOLD, address(pool), 0, tokens[USDC]));
    }

    /// @dev As `_hop`, once the thief has the shape of that venue.
    function _atThief(uint256 venue, uint128 amount, uint8 flags) internal returns (bytes memory) {
        thief.playPancake(venue == PANCAKE);
        return _hop(venue, amount, flags);
    }

    /// @dev A hop that sells `amount` of WETH for USDC at the thief's, by each adapter in turn.
    function _hop(uint256 venue, uint128 amount, uint8 flags) internal view returns (bytes memory) {
        MockToken weth = tokens[WETH];
        MockToken usdc = tokens[USDC];
        address at = address(thief);
        if (venue == 0 || venue == PANCAKE) return Routes.v3(weth, amount, at, flags, usdc);
        if (venue == 1) return Routes.router(weth, amount, at, flags, abi.encodePacked(weth, uint24(500), usdc));
        if (venue == 2) return Routes.pair(weth, amount, at, flags, usdc, 30);
        if (venue == 3) return Routes.v4(weth, amount, at, flags, usdc);
        if (venue == 4) return Routes.balancer(weth, amount, at, flags, usdc);
        if (venue == 5) return Routes.curve(weth, amount, at, flags, usdc, 0, 1);
        if (venue == 9) return Routes.hop(ERC_4626, amount, weth, usdc, flags, abi.encodePacked(at));
        if (venue == 10) return Routes.hop(WSTETH, amount, weth, usdc, flags, abi.encodePacked(at));
        // The thief is ambiguous: `take` has two forms.
        bytes memory data = abi.encodeWithSignature("take(address)", weth);
        if (venue == 6) return Routes.call(weth, amount, at, flags, at, usdc, FIXED, data);
        return Routes.call(weth, amount, at, flags | Routes.PAID_FIRST, at, usdc, FIXED, data);
    }

    /// @dev A hop that does nothing with one unit of a token, so that what there is of it is returned.
    function _nothing(MockToken token) internal pure returns (bytes memory) {
        bytes memory data = abi.encodeCall(IERC20.totalSupply, ());
        return Routes.call(token, 1, address(token), address(0), token, FIXED, data);
    }

    function _burnAll(address holder) internal {
        for (uint256 i; i < tokens.length; ++i) {
            deal(address(tokens[i]), holder, 0);
        }
    }

    function _assertEmpty() internal view {
        assertEq(_balances(address(routes)), _amounts());
    }
}

/// @notice Calls back as another protocol's venue would.
contract CrossCaller {
    MockToken public token0;
    MockToken public token1;

    constructor(MockToken token0_, MockToken token1_) {
        (token0, token1) = (token0_, token1_);
    }

    function swap(address, bool, int256, uint160, bytes calldata data) external returns (int256, int256) {
        IUnlockCallback(msg.sender).unlockCallback(data);
        return (0, 0);
    }

    function unlock(bytes calldata data) external returns (bytes memory) {
        UniswapV3Venue(msg.sender).uniswapV3SwapCallback(1, -1, data);
        return "";
    }
}
