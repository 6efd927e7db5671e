// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @notice What is called on a Uniswap V2 pair.
interface IV2Pair {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function getReserves() external view returns (uint112 reserve0, uint112 reserve1, uint32 blockTimestampLast);
    function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes calldata data) external;
}

/// @title UniswapV2Venue
/// @notice Swaps on pairs of Uniswap V2 and its forks, by the pair itself. Nothing else here knows Uniswap V2.
/// The pair asks for nothing back: it is paid first and told what to pay out, so no callback is involved.
abstract contract UniswapV2Venue {
    using SafeERC20 for IERC20;

    uint256 internal constant V2_BODY_BYTES = 2;

    uint256 private constant BPS = 10_000;

    /// @dev `body` is feeBps (2): 30 on Uniswap. A fee that is too low for the pair makes the pair refuse; too high leaves it a gift.
    function _swapOnV2Pair(
        address pair,
        address tokenIn,
        bool zeroForOne,
        bytes calldata body,
        uint256 amountIn,
        address recipient
    ) internal returns (address tokenOut) {
        (uint256 reserveIn, uint256 reserveOut,) = IV2Pair(pair).getReserves();
        if (!zeroForOne) (reserveIn, reserveOut) = (reserveOut, reserveIn);
        IERC20(tokenIn).safeTransfer(pair, amountIn);

        // What arrived, as the pair will count it: a token may keep a part for itself.
        uint256 arrived = IERC20(tokenIn).balanceOf(pair) - reserveIn;
        // {out} = {in} * {out} / {in}. Down, as the pair does not pay a unit more.
        uint256 afterFee = arrived * (BPS - uint16(bytes2(body)));
        uint256 amountOut = afterFee * reserveOut / (reserveIn * BPS + afterFee);
        IV2Pair(pair).swap(zeroForOne ? 0 : amountOut, zeroForOne ? amountOut : 0, recipient, "");
        tokenOut = zeroForOne ? IV2Pair(pair).token1() : IV2Pair(pair).token0();
    }
}
