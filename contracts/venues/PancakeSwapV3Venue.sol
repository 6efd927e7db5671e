// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { V3Swaps } from "./V3Swaps.sol";

/// @title PancakeSwapV3Venue
/// @notice Pays a pool of PancakeSwap V3. Its hop is Uniswap V3's, because its swap is the same. Only the callback has another name.
abstract contract PancakeSwapV3Venue is V3Swaps {
    /// @notice Pays the pool that is being swapped on {tok}. Selector of IPancakeV3SwapCallback.
    function pancakeV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata) external {
        _payV3(amount0Delta, amount1Delta);
    }
}
