// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @notice What is called on Curve's pools. The oldest return nothing, so nothing is read.
interface ICurveStablePool {
    function exchange(int128 i, int128 j, uint256 dx, uint256 minDy) external;
}

/// @notice The same on pools of the crypto kind, which count coins without a sign.
interface ICurveCryptoPool {
    function exchange(uint256 i, uint256 j, uint256 dx, uint256 minDy) external;
}

/// @title CurveVenue
/// @notice Swaps on Curve's pools. Nothing else here knows Curve. Pools that all kinds of Curve's have in common pay only who asks, so
/// the result stays here until the route ends. Pools that want ether itself are served by CallVenue. No limit is set: whoever receives the
/// result checks it.
abstract contract CurveVenue {
    using SafeERC20 for IERC20;

    uint256 internal constant CURVE_BODY_BYTES = 22;

    uint8 private constant UNSIGNED_INDICES = 16;

    /// @dev `body` is tokenOut (20), i (1), j (1): places of the coins in the pool. No allowance outlives the call.
    function _swapOnCurve(address pool, address tokenIn, uint8 flags, bytes calldata body, uint256 amountIn)
        internal
        returns (address tokenOut)
    {
        tokenOut = address(bytes20(body));
        uint8 i = uint8(body[20]);
        uint8 j = uint8(body[21]);
        IERC20(tokenIn).forceApprove(pool, amountIn);
        if (flags & UNSIGNED_INDICES != 0) ICurveCryptoPool(pool).exchange(i, j, amountIn, 0);
        else ICurveStablePool(pool).exchange(int128(uint128(i)), int128(uint128(j)), amountIn, 0);
        IERC20(tokenIn).forceApprove(pool, 0);
    }
}
