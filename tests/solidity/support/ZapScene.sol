// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IZap, IZapExecutor } from "../../../contracts/interfaces/IZap.sol";
import { MockToken } from "../../../contracts/mocks/MockToken.sol";
import { Base } from "../Base.t.sol";
import { MockPool, MockWeth } from "./MockMarket.sol";
import { Routes } from "./Routes.sol";

/// @notice What all tests of the Zap share: the scene's vault, whose WETH is wrapped ether here, and a market.
///
/// WETH costs 2,000 USDC and WBTC 40,000 USDC at the pools, which take no fee, so 1,000 dollars are a share.
abstract contract ZapScene is Base {
    IZap internal zap;
    IZapExecutor internal routes;
    MockPool internal wethPool; // WETH / USDC
    MockPool internal wbtcPool; // WBTC / USDC

    function setUp() public virtual override {
        super.setUp();
        MockWeth weth = new MockWeth();
        feeds[WETH] = _addAsset(weth, 2_000e8);
        tokens[WETH] = weth;
        tokens.pop();
        feeds.pop();
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        zap = IZap(deployCode("Zap.sol:Zap", abi.encode(weth, factory)));
        routes = zap.EXECUTOR();
        wethPool = new MockPool(tokens[WETH], tokens[USDC], 2_000e6);
        wbtcPool = new MockPool(tokens[WBTC], tokens[USDC], 40_000e6 * 1e18 / 1e8);
        vm.deal(address(weth), 1_000e18);
        vm.deal(alice, 10e18);
        vm.label(address(zap), "zap");
        vm.label(address(routes), "routes");
    }

    /// @dev A fair deposit that alice pays and approves: half to WETH, 30 % to WBTC, the rest as it is.
    function _fromUsdc(uint256 amount) internal returns (IZap.In memory) {
        tokens[USDC].mint(alice, amount);
        _approve(tokens[USDC], alice, address(zap), amount);
        return _paidInUsdc(amount);
    }

    function _paidInUsdc(uint256 amount) internal view returns (IZap.In memory) {
        uint256 forWeth = amount / 2;
        uint256 forWbtc = amount * 3 / 10;
        return IZap.In({
            vault: vault,
            tokenIn: address(tokens[USDC]),
            amountIn: amount,
            swapAmount: forWeth + forWbtc,
            minShares: 0,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[USDC], uint128(forWeth), address(wethPool), 0, tokens[WETH]),
                Routes.v3(tokens[USDC], uint128(forWbtc), address(wbtcPool), 0, tokens[WBTC])
            )
        });
    }

    /// @dev A share needs 0.25 WETH as it is and 0.25 WETH swapped for 200 USDC and 300 dollars of WBTC; the rest is too much.
    function _fromEther(uint256 amount) internal view returns (IZap.In memory) {
        return IZap.In({
            vault: vault,
            tokenIn: address(0),
            amountIn: amount,
            swapAmount: 0.25e18,
            minShares: 1e18,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WETH], 0.25e18, address(wethPool), 0, tokens[USDC]),
                Routes.v3(tokens[USDC], 300e6, address(wbtcPool), 0, tokens[WBTC])
            )
        });
    }

    /// @dev Alice gets `shares`, approves them and wants them in USDC.
    function _toUsdc(uint256 shares) internal returns (IZap.Out memory) {
        if (shares != 0) _deposit(alice, shares);
        _approve(MockToken(address(vault)), alice, address(zap), shares);
        return _outToUsdc(shares);
    }

    function _outToUsdc(uint256 shares) internal view returns (IZap.Out memory) {
        return IZap.Out({
            vault: vault,
            shares: shares,
            tokenOut: address(tokens[USDC]),
            minAmountOut: 0,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WETH], 0, address(wethPool), 0, tokens[USDC]),
                Routes.v3(tokens[WBTC], 0, address(wbtcPool), 0, tokens[USDC])
            )
        });
    }

    function _assertNothingLeft() internal view {
        address[2] memory places = [address(zap), address(routes)];
        for (uint256 i; i < 2; ++i) {
            for (uint256 j; j < tokens.length; ++j) {
                _assertNoneAt(tokens[j], places[i]);
            }
            assertEq(places[i].balance, 0, "no ether");
            assertEq(vault.balanceOf(places[i]), 0, "no shares");
        }
    }

    function _assertNoneLeft(MockToken token) internal view {
        _assertNoneAt(token, address(zap));
        _assertNoneAt(token, address(routes));
    }

    function _assertNoneAt(MockToken token, address place) private view {
        assertEq(token.balanceOf(place), 0, string.concat("no ", token.symbol()));
    }
}
