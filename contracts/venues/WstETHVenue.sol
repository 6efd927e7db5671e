// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice The functions of Lido's wstETH that are used here. The returned amount may differ from the amount that arrives, so it is not
/// read.
interface IWstETH {
    /// @notice Wraps an amount of stETH {wei}.
    function wrap(uint256 stETHAmount) external returns (uint256 wstETHAmount);
    /// @notice Unwraps an amount of wstETH {wei}.
    function unwrap(uint256 wstETHAmount) external returns (uint256 stETHAmount);
}

/// @title WstETHVenue
/// @notice Wraps stETH as Lido's wstETH, and unwraps it: tokenIn is wstETH itself, or stETH. wstETH pays only its caller, so for another
/// recipient the amount that arrived is sent on. Each transfer of stETH may lose a wei or two, because it moves whole shares. The whole
/// amount of one transfer of stETH can be wrapped, though a wei less may have arrived: its shares are here. No limit is set: the receiver
/// of the result checks it. No allowance remains after the call. Body: wstETH (20).
abstract contract WstETHVenue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant WSTETH = 9;

    function _swapOnWstETH(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 20);
        _sellsOnly(flags);
        address wstETH = _addressAt(body, 0);
        bool sendOn = recipient != address(this);
        uint256 before = sendOn ? IERC20(tokenOut).balanceOf(address(this)) : 0;
        if (tokenIn == wstETH) {
            IWstETH(wstETH).unwrap(amount);
        } else {
            IERC20(tokenIn).forceApprove(wstETH, amount);
            IWstETH(wstETH).wrap(amount);
            IERC20(tokenIn).forceApprove(wstETH, 0);
        }
        if (sendOn) IERC20(tokenOut).safeTransfer(recipient, IERC20(tokenOut).balanceOf(address(this)) - before);
    }
}
