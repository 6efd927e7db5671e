// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice The functions of a Uniswap V2 pair that are used here.
interface IV2Pair {
    /// @notice Balances that the pair counts {tok}.
    function getReserves() external view returns (uint112 reserve0, uint112 reserve1, uint32 blockTimestampLast);
    /// @notice Pays out these amounts {tok}, if what arrived before is enough.
    function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes calldata data) external;
}

/// @title UniswapV2Venue
/// @notice Swaps on pairs of Uniswap V2 and its forks. The hop pays the pair first and names the amount to pay out, so there is no
/// callback. Body: pair (20), feeBps (2; 30 on Uniswap). With a fee below the pair's, the pair refuses. With a fee above it, the difference
/// is a gift to the pair.
abstract contract UniswapV2Venue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant UNISWAP_V2 = 3;

    uint256 private constant BPS = 10_000;

    function _swapOnUniswapV2(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 22);
        _sellsOnly(flags);
        address pair = _addressAt(body, 0);
        bool zeroForOne = tokenIn < tokenOut;
        (uint256 reserveIn, uint256 reserveOut,) = IV2Pair(pair).getReserves();
        if (!zeroForOne) (reserveIn, reserveOut) = (reserveOut, reserveIn);
        IERC20(tokenIn).safeTransfer(pair, amount);

        // The amount that arrived, as the pair counts it: a token may keep a part for itself.
        uint256 arrived = IERC20(tokenIn).balanceOf(pair) - reserveIn;
        // {out} = {in} * {out} / {in}. Down: the pair does not pay one unit more.
        uint256 afterFee = arrived * (BPS - uint16(bytes2(body[20:])));
        uint256 amountOut = afterFee * reserveOut / (reserveIn * BPS + afterFee);
        IV2Pair(pair).swap(zeroForOne ? 0 : amountOut, zeroForOne ? amountOut : 0, recipient, "");
    }
}
