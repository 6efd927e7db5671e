// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";
import { IUniswapV3Pool } from "@uniswap/v3-core/contracts/interfaces/IUniswapV3Pool.sol";

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title BareSwapper
/// @notice WHAT IT IS. The least that a contract must do to swap on a Uniswap V3 pool: it pays from its own balance, keeps the result, and
/// checks nothing. Its callback pays any caller. Gas is measured against this minimum. It must hold no money.
contract BareSwapper is IUniswapV3SwapCallback {
    /* ANYONE */

    /// @notice Swaps until the amount is spent or the price reaches the limit.
    function swap(IUniswapV3Pool pool, IERC20 tokenIn, bool zeroForOne, uint256 amountIn, uint160 sqrtPriceLimitX96)
        external
    {
        // Local amounts are far below 2^255.
        pool.swap(address(this), zeroForOne, int256(amountIn), sqrtPriceLimitX96, abi.encode(tokenIn));
    }

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata data) external {
        int256 owed = amount0Delta > 0 ? amount0Delta : amount1Delta;
        // forge-lint: disable-next-line(erc20-unchecked-transfer) — the floor checks nothing
        abi.decode(data, (IERC20)).transfer(msg.sender, uint256(owed));
    }
}
