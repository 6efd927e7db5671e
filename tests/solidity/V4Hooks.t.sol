// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { IV4PoolManager, UniswapV4Venue } from "../../contracts/venues/UniswapV4Venue.sol";
import { Base } from "./Base.t.sol";
import { Hooks } from "./support/Hooks.sol";
import { Routes } from "./support/Routes.sol";

interface IRealManager {
    error CurrencyNotSettled();
    error HookDeltaExceedsSwapAmount();
    error WrappedError(address target, bytes4 selector, bytes reason, bytes details);

    function initialize(IV4PoolManager.PoolKey calldata key, uint160 sqrtPriceX96) external returns (int24);
}

interface ILiquidityProvider {
    struct Position {
        int24 tickLower;
        int24 tickUpper;
        int256 liquidityDelta;
        bytes32 salt;
    }

    function modifyLiquidity(IV4PoolManager.PoolKey calldata key, Position calldata position, bytes calldata hookData)
        external
        payable
        returns (int256);
}

/// @notice Pools with hooks, in the PoolManager its authors published: what the hooks can do to a route, and what a vault makes of it.
contract V4HooksTest is Base {
    string internal constant OUT = "node_modules/@uniswap/v4-core/out/";
    uint128 internal constant SOLD = 2e18;

    IExecutor internal routes;
    address internal uniswap; // its PoolManager
    Hooks internal hooks;

    function setUp() public override {
        super.setUp();
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        uniswap = deployCode(string.concat(OUT, "PoolManager.sol/PoolManager.json"), abi.encode(owner));
        // The last bits say: ask before and after a swap, and let it change what is owed.
        hooks = Hooks(address(uint160(0x4444 << 144 | 1 << 7 | 1 << 6 | 1 << 3 | 1 << 2)));
        deployCodeTo("Hooks.sol:Hooks", address(hooks));
        _openPool();
    }

    /// @dev WETH and USDC at 2,400, 24 million dollars deep.
    function _openPool() internal {
        address provider = deployCode(
            string.concat(OUT, "PoolModifyLiquidityTest.sol/PoolModifyLiquidityTest.json"), abi.encode(uniswap)
        );
        bool wethFirst = tokens[WETH] < tokens[USDC];
        (address token0, address token1) =
            wethFirst ? (address(tokens[WETH]), address(tokens[USDC])) : (address(tokens[USDC]), address(tokens[WETH]));
        IV4PoolManager.PoolKey memory key = IV4PoolManager.PoolKey(token0, token1, 3_000, 60, address(hooks));
        // The root of 2,400e6 / 1e18, or of its inverse, times 2^96.
        uint160 sqrtPriceX96 = wethFirst
            ? uint160(Math.sqrt(uint256(2_400e6) << 192) / 1e9)
            : uint160(Math.sqrt((uint256(1e18) << 190) / 2_400e6) * 2);
        IRealManager(uniswap).initialize(key, sqrtPriceX96);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(address(this), 1e30);
            tokens[i].approve(provider, type(uint256).max);
        }
        // The root of 10,000 WETH times 24 million USDC, raw.
        ILiquidityProvider(provider).modifyLiquidity(key, ILiquidityProvider.Position(-887_220, 887_220, 4.9e17, 0), "");
    }

    /* ALLOWED, AND COUNTED BY WHOEVER RECEIVES */

    function test_hooks_that_do_nothing_change_nothing() public {
        uint256 bought = _sell();

        // 0.3 % fee and 2 bps of the pool's depth
        assertApproxEqRel(bought, 4_800e6 * 997 / 1_000, 0.001e18);
    }

    function test_hooks_may_take_a_cut_of_the_result() public {
        uint256 fair = _sell();
        hooks.setActs(Hooks.Acts.TakesACut);

        uint256 bought = _sell();

        assertApproxEqRel(bought, fair * 95 / 100, 0.001e18);
        assertApproxEqRel(tokens[USDC].balanceOf(address(hooks)), fair * 5 / 100, 0.001e18);
    }

    function test_hooks_may_take_a_cut_of_the_input_but_not_beyond_it() public {
        uint256 fair = _sell();
        hooks.setActs(Hooks.Acts.TakesBefore);
        tokens[WETH].mint(address(routes), 5e18); // for other hops

        uint256 bought = _sell();

        assertApproxEqRel(bought, fair * 95 / 100, 0.001e18);
        assertEq(tokens[WETH].balanceOf(address(hooks)), SOLD * 5 / 100);
        assertEq(tokens[WETH].balanceOf(alice), 5e18, "and what it did not take came back");
        hooks.setActs(Hooks.Acts.TakesTooMuchBefore);
        tokens[WETH].mint(address(routes), 5e18);
        vm.expectRevert(IRealManager.HookDeltaExceedsSwapAmount.selector);
        routes.executeRoute(_hop(0));
    }

    function test_hooks_may_take_all_and_then_nothing_comes_back() public {
        hooks.setActs(Hooks.Acts.TakesAll);

        assertEq(_sell(), 0);
    }

    function test_hooks_that_take_a_cut_get_nothing_of_a_vault() public {
        _breakBand();
        Hooks.Acts[3] memory all = [Hooks.Acts.TakesACut, Hooks.Acts.TakesBefore, Hooks.Acts.TakesAll];
        for (uint256 i; i < all.length; ++i) {
            hooks.setActs(all[i]);
            // With a unit from elsewhere, so that something was bought.
            tokens[USDC].mint(address(routes), 1);

            vm.prank(keeper);
            vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
            vault.rebalance(0, _amounts(SOLD, 0, 0), _amounts(0, 0, 1), address(routes), _hop(0));
        }
        assertEq(vault.held(), _amounts(25e18, 0.75e8, 20_000e6));
        assertEq(_balances(address(hooks)), _amounts());
    }

    /* REFUSED */

    function test_hooks_that_take_more_than_the_result_are_refused() public {
        hooks.setActs(Hooks.Acts.TakesMore);
        tokens[USDC].mint(address(routes), 1_000e6);
        tokens[WETH].mint(address(routes), SOLD);

        // What is owed beyond the amount is not paid, whatever there is of it.
        vm.expectRevert(IRealManager.CurrencyNotSettled.selector);
        routes.executeRoute(_hop(0));
    }

    function test_hooks_that_refuse_say_why() public {
        hooks.setActs(Hooks.Acts.Refuses);
        _expectHookFailure(abi.encodeWithSelector(Hooks.NotToday.selector, 13));
    }

    function test_hooks_that_run_a_route_are_refused() public {
        hooks.setActs(Hooks.Acts.RunsARoute);
        _expectHookFailure(_reentrant());
    }

    function test_hooks_that_call_back_are_refused() public {
        hooks.setActs(Hooks.Acts.CallsBack);
        _expectHookFailure(abi.encodeWithSelector(UniswapV4Venue.UnexpectedUnlock.selector, hooks));
    }

    function _expectHookFailure(bytes memory reason) internal {
        tokens[WETH].mint(address(routes), SOLD);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRealManager.WrappedError.selector,
                hooks,
                Hooks.afterSwap.selector,
                reason,
                abi.encodeWithSignature("HookCallFailed()")
            )
        );
        routes.executeRoute(_hop(0));
    }

    /// @dev Sells for alice, who keeps the result; what came of it.
    function _sell() internal returns (uint256 bought) {
        uint256 before = tokens[USDC].balanceOf(alice);
        tokens[WETH].mint(address(routes), SOLD);
        vm.prank(alice);
        routes.executeRoute(_hop(0));
        assertEq(_balances(address(routes)), _amounts());
        assertEq(tokens[WETH].allowance(address(routes), uniswap), 0);
        return tokens[USDC].balanceOf(alice) - before;
    }

    function _hop(uint8 flags) internal view returns (bytes memory) {
        return Routes.hooked(tokens[WETH], SOLD, uniswap, flags, tokens[USDC], address(hooks));
    }
}
