// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title MockCurvePool
/// @notice The interface of Curve's pools for two coins at a fixed rate with a fee of 4 basis points: the old kind, which has int128
/// indices and returns nothing, or the crypto kind, which has uint256 indices and returns the amount paid. Each refuses the other's call.
/// Curve publishes no compiled pools on npm. For local chains only.
contract MockCurvePool {
    using SafeERC20 for IERC20;

    uint256 private constant FEE_BPS = 4;
    uint256 private constant BPS = 10_000;

    IERC20[2] public coins;
    uint256 public immutable rateE18;
    bool public immutable isCrypto;

    /// @notice The call is that of the other kind.
    error WrongKind();
    /// @notice The result is below the caller's minimum {tok}.
    error PaidTooLittle(uint256 dy, uint256 minDy);

    /// @param rateE18_ smallest units of coin 1 for one of coin 0, times 1e18
    constructor(IERC20 coin0, IERC20 coin1, uint256 rateE18_, bool isCrypto_) {
        coins = [coin0, coin1];
        rateE18 = rateE18_;
        isCrypto = isCrypto_;
    }

    /// @notice Result of `exchange` {tok}: {j} = {i} * {j} / {i}, down, less the fee.
    function getDy(uint256 i, uint256 dx) public view returns (uint256) {
        return (i == 0 ? dx * rateE18 / 1e18 : dx * 1e18 / rateE18) * (BPS - FEE_BPS) / BPS;
    }

    /// @notice The old kind.
    function exchange(int128 i, int128 j, uint256 dx, uint256 minDy) external {
        if (isCrypto) revert WrongKind();
        _exchange(uint128(i), uint128(j), dx, minDy);
    }

    /// @notice The crypto kind.
    function exchange(uint256 i, uint256 j, uint256 dx, uint256 minDy) external returns (uint256) {
        if (!isCrypto) revert WrongKind();
        return _exchange(i, j, dx, minDy);
    }

    function _exchange(uint256 i, uint256 j, uint256 dx, uint256 minDy) private returns (uint256 dy) {
        dy = getDy(i, dx);
        if (i == j || dy < minDy) revert PaidTooLittle(dy, minDy);
        coins[i].safeTransferFrom(msg.sender, address(this), dx);
        coins[j].safeTransfer(msg.sender, dy);
    }
}
