// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { V3Swaps } from "./V3Swaps.sol";

/// @title PancakeSwapV3Venue
/// @notice Swaps on a pool of PancakeSwap V3. Body: pool (20).
abstract contract PancakeSwapV3Venue is V3Swaps {
    uint8 internal constant PANCAKESWAP_V3 = 8;

    /// @notice Selector of IPancakeV3SwapCallback.
    function pancakeV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata) external {
        _payV3(amount0Delta, amount1Delta);
    }
}
