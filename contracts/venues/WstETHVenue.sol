// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice What is called on Lido's wstETH. What it returns is not what arrives, so nothing is read.
interface IWstETH {
    function wrap(uint256 stETHAmount) external returns (uint256 wstETHAmount);
    function unwrap(uint256 wstETHAmount) external returns (uint256 stETHAmount);
}

/// @title WstETHVenue
/// @notice Wraps stETH as Lido's wstETH, and unwraps it: tokenIn is wstETH itself, or stETH. It pays only who asks, so where the result is
/// for somebody else, as much as arrived is sent on; each transfer of stETH may lose a wei or two, as it moves whole shares. An amount of
/// stETH that was sent here in one transfer can be wrapped by its name, though a wei less may have arrived: its shares are here. No limit
/// is set: whoever receives the result checks it. No allowance outlives the call. Body: wstETH (20).
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
