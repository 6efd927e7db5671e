// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice The function of Curve's pools that is used here. The oldest return nothing, so no result is read.
interface ICurveStablePool {
    /// @notice Swaps `dx` of coin i {tok} for at least `minDy` of coin j {tok}.
    function exchange(int128 i, int128 j, uint256 dx, uint256 minDy) external;
}

/// @notice The same function of Curve's crypto pools, whose coin indices are unsigned.
interface ICurveCryptoPool {
    /// @notice Swaps `dx` of coin i {tok} for at least `minDy` of coin j {tok}.
    function exchange(uint256 i, uint256 j, uint256 dx, uint256 minDy) external;
}

/// @title CurveVenue
/// @notice Swaps on Curve's pools. The function that all kinds have in common pays only its caller, so a result for another account is sent
/// on. CallVenue serves pools that need ether itself. No limit is set: the receiver of the result checks it. No allowance remains after the
/// call. Body: pool (20), i (1), j (1), which are the indices of the coins in the pool.
abstract contract CurveVenue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant CURVE = 6;

    /// Flag: the pool's coin indices are uint256 instead of int128.
    uint8 private constant UNSIGNED_INDICES = 16;

    function _swapOnCurve(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 22);
        _sellsOnly(flags);
        address pool = _addressAt(body, 0);
        uint8 i = uint8(body[20]);
        uint8 j = uint8(body[21]);
        bool sendOn = recipient != address(this);
        uint256 before = sendOn ? IERC20(tokenOut).balanceOf(address(this)) : 0;
        IERC20(tokenIn).forceApprove(pool, amount);
        if (flags & UNSIGNED_INDICES != 0) ICurveCryptoPool(pool).exchange(i, j, amount, 0);
        else ICurveStablePool(pool).exchange(int128(uint128(i)), int128(uint128(j)), amount, 0);
        IERC20(tokenIn).forceApprove(pool, 0);
        if (sendOn) IERC20(tokenOut).safeTransfer(recipient, IERC20(tokenOut).balanceOf(address(this)) - before);
    }
}
