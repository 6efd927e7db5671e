// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC4626 } from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { MockShareVault } from "./MockRates.sol";
import { LocalToken } from "./MockToken.sol";

/// @title MockERC4626
/// @notice WHAT IT IS. OpenZeppelin's ERC-4626 with limits, like vaults that can be paused or run out of money: at most `depositLimit` goes
/// in, and at most `redeemLimit` shares come back at once. Anyone may set both. For local chains only.
contract MockERC4626 is MockShareVault {
    uint256 public depositLimit = type(uint256).max;
    uint256 public redeemLimit = type(uint256).max;

    constructor(IERC20 asset_, uint8 decimalsOffset) MockShareVault(asset_, decimalsOffset) { }

    /// @notice Sets the limits of deposits {asset tok} and redemptions {share}.
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
/// @notice WHAT IT IS. An ERC-4626 that keeps a hundredth of every redemption, which shows only when it pays. For local chains only.
contract MockFeeShareVault is MockShareVault {
    constructor(IERC20 asset_) MockShareVault(asset_, 0) { }

    function redeem(uint256 shares, address receiver, address owner) public override returns (uint256) {
        uint256 fee = shares / 100;
        _transfer(owner, address(this), fee);
        return super.redeem(shares - fee, receiver, owner);
    }
}

/// @dev Four words of storage for another purpose.
abstract contract FourWords {
    uint256[4] private _words;
}

/// @title MockStakedDollar
/// @notice WHAT IT IS. An ERC-4626 that behaves like Ethena's sUSDe. A deposit is instant. While there is a cooldown, `redeem` and
/// `withdraw` revert, although `maxRedeem` still returns the balance. A reward is counted evenly over eight hours. Less than one whole
/// share cannot be left over. Balances are stored in slot 4. Paused, it reverts, and its limits are 0 if it is `frank`. Anyone may do all
/// of this. For local chains only.
contract MockStakedDollar is FourWords, ERC4626 {
    uint256 private constant VESTING_SECONDS = 8 hours;
    uint256 private constant MIN_SHARES = 1e18;

    uint256 public cooldownSeconds;
    bool public isPaused;
    bool public isFrank;
    uint256 private _rewardRaw;
    uint256 private _rewardedAt;

    /// @notice The cooldown forbids direct redemptions.
    error CooldownIsOn();
    /// @notice The vault is paused.
    error Paused();
    /// @notice Less than one whole share would be left.
    error TooFewShares();

    constructor(IERC20 asset_, uint256 cooldownSeconds_) ERC20("Staked dollar", "sUSDe") ERC4626(asset_) {
        cooldownSeconds = cooldownSeconds_;
    }

    /* ANYONE */

    /// @notice Adds shares at the present rate; the asset must be a LocalToken.
    function mint(address to, uint256 shares) external {
        LocalToken(asset()).mint(address(this), previewMint(shares));
        _mint(to, shares);
    }

    /// @notice Sets the cooldown {seconds}; 0 allows direct redemptions.
    function setCooldown(uint256 seconds_) external {
        cooldownSeconds = seconds_;
    }

    /// @notice Pauses or resumes the vault. If `frank`, its limits are 0 during a pause.
    function setPaused(bool paused, bool frank) external {
        (isPaused, isFrank) = (paused, frank);
    }

    /// @notice Counts `amount` of the asset, which was sent here before, over the next eight hours. The last reward counts at once.
    function reward(uint256 amount) external {
        (_rewardRaw, _rewardedAt) = (amount, block.timestamp);
    }

    function redeem(uint256 shares, address receiver, address owner) public override returns (uint256) {
        if (cooldownSeconds != 0) revert CooldownIsOn();
        return super.redeem(shares, receiver, owner);
    }

    function withdraw(uint256 assets, address receiver, address owner) public override returns (uint256) {
        if (cooldownSeconds != 0) revert CooldownIsOn();
        return super.withdraw(assets, receiver, owner);
    }

    function _deposit(address caller, address receiver, uint256 assets, uint256 shares) internal override {
        if (isPaused) revert Paused();
        super._deposit(caller, receiver, assets, shares);
        _checkShares();
    }

    function _withdraw(address caller, address receiver, address owner, uint256 assets, uint256 shares)
        internal
        override
    {
        if (isPaused) revert Paused();
        super._withdraw(caller, receiver, owner, assets, shares);
        _checkShares();
    }

    function _checkShares() private view {
        if (totalSupply() != 0 && totalSupply() < MIN_SHARES) revert TooFewShares();
    }

    /* VIEWS */

    function totalAssets() public view override returns (uint256) {
        uint256 passed = block.timestamp - _rewardedAt;
        uint256 left = passed < VESTING_SECONDS ? _rewardRaw * (VESTING_SECONDS - passed) / VESTING_SECONDS : 0;
        return super.totalAssets() - left;
    }

    function maxDeposit(address receiver) public view override returns (uint256) {
        return isPaused && isFrank ? 0 : super.maxDeposit(receiver);
    }

    function maxRedeem(address owner) public view override returns (uint256) {
        return isPaused && isFrank ? 0 : super.maxRedeem(owner);
    }
}
