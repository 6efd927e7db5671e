// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice The function of SwapRouter02 that is used here.
interface ISwapRouter02 {
    struct ExactInputParams {
        bytes path;
        address recipient;
        uint256 amountIn;
        uint256 amountOutMinimum;
    }

    /// @notice Swaps along a path and pays the recipient {tok}.
    function exactInput(ExactInputParams calldata params) external payable returns (uint256 amountOut);
}

/// @title SwapRouter02Venue
/// @notice Swaps along a path of Uniswap V3 pools through SwapRouter02. No limit is set: the receiver of the result checks it. No allowance
/// remains after the call. Body: router (20), packed path (20 + 23 per pool), which begins with tokenIn and ends with tokenOut.
abstract contract SwapRouter02Venue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant SWAP_ROUTER_02 = 2;

    function _swapOnSwapRouter02(
        address tokenIn,
        address,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _sellsOnly(flags);
        address router = address(bytes20(body));
        IERC20(tokenIn).forceApprove(router, amount);
        ISwapRouter02(router).exactInput(ISwapRouter02.ExactInputParams(body[20:], recipient, amount, 0));
        IERC20(tokenIn).forceApprove(router, 0);
    }
}
