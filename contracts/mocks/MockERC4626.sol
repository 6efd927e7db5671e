// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { MockShareVault } from "./MockRates.sol";

/// @title MockERC4626
/// @notice WHAT IT IS. OpenZeppelin's ERC-4626 with limits, as vaults that can be paused or run out of money have them: no more goes in
/// than `depositLimit`, and no more shares come back at once than `redeemLimit`. Anyone may set both. For local chains only.
contract MockERC4626 is MockShareVault {
    uint256 public depositLimit = type(uint256).max;
    uint256 public redeemLimit = type(uint256).max;

    constructor(IERC20 asset_, uint8 decimalsOffset) MockShareVault(asset_, decimalsOffset) { }

    function setLimits(uint256 depositLimit_, uint256 redeemLimit_) external {
        (depositLimit, redeemLimit) = (depositLimit_, redeemLimit_);
    }

    function maxDeposit(address) public view override returns (uint256) {
        return depositLimit;
    }

    function maxRedeem(address owner) public view override returns (uint256) {
        uint256 held = super.maxRedeem(owner);
        return held < redeemLimit ? held : redeemLimit;
    }
}

/// @title MockFeeShareVault
/// @notice WHAT IT IS. An ERC-4626 that keeps a hundredth of what is redeemed, and tells so only when it pays. For local chains only.
contract MockFeeShareVault is MockShareVault {
    constructor(IERC20 asset_) MockShareVault(asset_, 0) { }

    function redeem(uint256 shares, address receiver, address owner) public override returns (uint256) {
        uint256 fee = shares / 100;
        _transfer(owner, address(this), fee);
        return super.redeem(shares - fee, receiver, owner);
    }
}
