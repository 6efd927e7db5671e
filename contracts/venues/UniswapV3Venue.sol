// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";

import { V3Swaps } from "./V3Swaps.sol";

/// @title UniswapV3Venue
/// @notice Swaps on a pool of Uniswap V3, or of a fork with the same callback. Body: pool (20).
abstract contract UniswapV3Venue is V3Swaps, IUniswapV3SwapCallback {
    uint8 internal constant UNISWAP_V3 = 1;

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata) external {
        _payV3(amount0Delta, amount1Delta);
    }
}
