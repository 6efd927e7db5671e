// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { BoundedCall } from "../libraries/BoundedCall.sol";

/// @title UniswapV3Twap
/// @notice Reads a Uniswap V3 pool's price, averaged over a window that ends now. Nothing that happens within one block moves it: the pool
/// weighs each price by the seconds it lasted. The mean is of ticks, so it is the geometric mean of prices, to 0.01 %.
library UniswapV3Twap {
    /// The ends of the tick range.
    int256 private constant MAX_TICK = 887_272;
    /// 2^128 / sqrt(1.0001), rounded: the factor of one tick down in the square root of the price.
    uint256 private constant TICK_X128 = 340265354078544963557816517032075149313;
    uint256 private constant ONE_X128 = 1 << 128;

    /// @notice Mean tick over the last `windowSeconds`, rounded down. `answered` is false if the pool's observations do not reach back to
    /// the window's start.
    function meanTick(address pool, uint256 windowSeconds) internal view returns (bool answered, int256 tick) {
        uint32[] memory secondsAgos = new uint32[](2);
        secondsAgos[0] = uint32(windowSeconds); // 32 bits as stored
        // The answer is two arrays of two. Words: offsets 0 and 1, length 2, cumulative ticks 3 and 4, then words that are not needed.
        uint256[] memory words = new uint256[](8);
        answered = BoundedCall.read(pool, abi.encodeWithSignature("observe(uint32[])", secondsAgos), words)
            && words[0] == 64 && words[2] == 2;
        if (!answered) return (false, 0);
        unchecked {
            // {tick} = {tick * s} / {s}. The pool's sums of 56 bits wrap around, and their difference is still right.
            int256 sum = int56(int256(words[4])) - int56(int256(words[3]));
            sum = int56(sum);
            tick = sum / int256(windowSeconds);
            if (sum < 0 && sum % int256(windowSeconds) != 0) --tick;
        }
        answered = tick >= -MAX_TICK && tick <= MAX_TICK;
    }

    /// @notice Whole quote tokens for one whole base token, times 1e18, at `tick` (raw quote per raw base = 1.0001^tick). Rounded down. The
    /// largest number if the price is too large to compute. Decimals are at most 27 each.
    function priceE18(int256 tick, uint256 baseDecimals, uint256 quoteDecimals) internal pure returns (uint256) {
        uint256 root = _rootX128(uint256(tick < 0 ? -tick : tick));
        uint256 scale = 10 ** (18 + baseDecimals); // below 2^150
        uint256 unit = 10 ** quoteDecimals;
        if (tick < 0) return Math.mulDiv(Math.mulDiv(scale, root, ONE_X128), root, ONE_X128) / unit;
        uint256 half = Math.mulDiv(scale, ONE_X128, root); // below 2^(150 + 65)
        if (half >> 128 >= root) return type(uint256).max;
        return Math.mulDiv(half, ONE_X128, root) / unit;
    }

    /// @dev 1.0001^(-size / 2) by repeated squaring, from 2^128 down to 2^64. Each step rounds down by less than one unit.
    function _rootX128(uint256 size) private pure returns (uint256 rootX128) {
        rootX128 = ONE_X128;
        uint256 factorX128 = TICK_X128;
        unchecked {
            // Factors are below 2^128 and the root is at most 2^128, so no product reaches 2^256.
            for (; size != 0; size >>= 1) {
                if (size & 1 != 0) rootX128 = rootX128 * factorX128 >> 128;
                factorX128 = factorX128 * factorX128 >> 128;
            }
        }
    }
}
