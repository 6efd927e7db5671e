// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IUniswapV3MintCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3MintCallback.sol";
import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";
import { IUniswapV3Pool } from "@uniswap/v3-core/contracts/interfaces/IUniswapV3Pool.sol";

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { MockAggregator } from "./MockAggregator.sol";
import { MockToken } from "./MockToken.sol";

interface IWrappedEther {
    /// @notice Wraps the ether of the call {wei}.
    function deposit() external payable;
}

/// @title MarketDriver
/// @notice WHAT IT IS. All other participants of a local market: the oracles' reporters, the liquidity providers and the arbitrageurs, in
/// one contract so that one transaction moves the whole market one step.
///
/// It pays with tokens that it mints and with ether from the local node, so its balance has no value and its callbacks do not check the
/// caller. For local chains only.
contract MarketDriver is IUniswapV3MintCallback, IUniswapV3SwapCallback {
    using SafeERC20 for IERC20;

    struct FeedUpdate {
        MockAggregator aggregator;
        int192 answer;
    }

    struct Position {
        int24 tickLower;
        int24 tickUpper;
        uint128 liquidity;
    }

    /// A pool and the prices between which no arbitrage pays: the outside price less and plus the pool's fee.
    struct Push {
        IUniswapV3Pool pool;
        uint160 minSqrtPriceX96;
        uint160 maxSqrtPriceX96;
    }

    address public immutable weth;

    constructor(address weth_) {
        weth = weth_;
    }

    receive() external payable { }

    /* ANYONE */

    /// @notice One step of the market: new oracle rounds, then arbitrage until no pool is outside its bounds.
    function step(FeedUpdate[] calldata updates, Push[] calldata pushes) external {
        for (uint256 i; i < updates.length; ++i) {
            updates[i].aggregator.push(updates[i].answer);
        }
        for (uint256 i; i < pushes.length; ++i) {
            _push(pushes[i]);
        }
    }

    function _push(Push calldata bounds) private {
        (uint160 sqrtPriceX96,,,,,,) = bounds.pool.slot0();
        // The price limit ends the swap; the amount never does.
        if (sqrtPriceX96 > bounds.maxSqrtPriceX96) {
            bounds.pool.swap(address(this), true, type(int256).max, bounds.maxSqrtPriceX96, "");
        } else if (sqrtPriceX96 < bounds.minSqrtPriceX96) {
            bounds.pool.swap(address(this), false, type(int256).max, bounds.minSqrtPriceX96, "");
        }
    }

    /// @notice Provides liquidity, one position each.
    function provide(IUniswapV3Pool pool, Position[] calldata positions) external {
        for (uint256 i; i < positions.length; ++i) {
            Position calldata position = positions[i];
            pool.mint(address(this), position.tickLower, position.tickUpper, position.liquidity, "");
        }
    }

    /* POOLS */

    /// @inheritdoc IUniswapV3MintCallback
    function uniswapV3MintCallback(uint256 owed0, uint256 owed1, bytes calldata) external {
        if (owed0 > 0) _pay(IUniswapV3Pool(msg.sender).token0(), owed0);
        if (owed1 > 0) _pay(IUniswapV3Pool(msg.sender).token1(), owed1);
    }

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 delta0, int256 delta1, bytes calldata) external {
        // A positive delta is what the pool must receive; at most one of the two is.
        if (delta0 > 0) _pay(IUniswapV3Pool(msg.sender).token0(), uint256(delta0));
        if (delta1 > 0) _pay(IUniswapV3Pool(msg.sender).token1(), uint256(delta1));
    }

    function _pay(address token, uint256 amount) private {
        uint256 own = IERC20(token).balanceOf(address(this));
        if (own < amount) {
            uint256 missing = amount - own;
            if (token == weth) IWrappedEther(weth).deposit{ value: missing }();
            else MockToken(token).mint(address(this), missing);
        }
        IERC20(token).safeTransfer(msg.sender, amount);
    }
}
