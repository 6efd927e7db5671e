// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { IBasketVault } from "../interfaces/IBasketVault.sol";
import { IOracleHub } from "../interfaces/IOracleHub.sol";

/// @title ShareLender
/// @notice Another protocol, which lends a token against a vault's shares and values them by `previewRedeemInKind`. With `asksLocked` it
/// refuses while a call to the vault is in progress, as `IBasketVault.locked` requires. Without it, read-only re-entrancy can rob it. For
/// local chains only.
contract ShareLender {
    using SafeERC20 for IERC20;

    uint256 private constant LENT_PERCENT = 90;

    IBasketVault public immutable vault;
    IERC20 public immutable lent;
    bool public immutable asksLocked;

    mapping(address borrower => uint256) public shares;
    mapping(address borrower => uint256) public debt;

    /// @notice A call to the vault is in progress: its views must not be used.
    error VaultLocked(address vault);
    /// @notice The debt would pass the borrower's limit {tok}.
    error LimitExceeded(uint256 askedRaw, uint256 limitRaw);

    constructor(IBasketVault vault_, IERC20 lent_, bool asksLocked_) {
        (vault, lent, asksLocked) = (vault_, lent_, asksLocked_);
    }

    /* ANYONE */

    /// @notice Takes shares as collateral {share}.
    function deposit(uint256 amount) external {
        shares[msg.sender] += amount;
        IERC20(address(vault)).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Lends to the caller, up to its limit {tok}.
    function borrow(uint256 amount) external {
        debt[msg.sender] += amount;
        uint256 most = limit(msg.sender);
        if (debt[msg.sender] > most) revert LimitExceeded(debt[msg.sender], most);
        lent.safeTransfer(msg.sender, amount);
    }

    /// @notice Largest debt of a borrower {tok}, rounded down.
    function limit(address borrower) public view returns (uint256) {
        if (asksLocked && vault.locked()) revert VaultLocked(address(vault));
        IBasketVault.Asset[] memory assets = vault.assets();
        uint256[] memory amounts = vault.previewRedeemInKind(shares[borrower]);
        address[] memory tokens = new address[](assets.length + 1);
        for (uint256 i; i < assets.length; ++i) {
            tokens[i] = assets[i].token;
        }
        tokens[assets.length] = address(lent);
        IOracleHub.Price[] memory prices = vault.oracle().prices(tokens);
        uint256 worthE18;
        for (uint256 i; i < assets.length; ++i) {
            worthE18 += amounts[i] * prices[i].primaryE18 / 10 ** assets[i].decimals;
        }
        // {tok} = {usd18} * {tok/whole} / {usd18/whole}; the lent token has 6 decimals, like USDC
        return worthE18 * LENT_PERCENT / 100 * 1e6 / prices[assets.length].primaryE18;
    }
}
