// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IBasketVault, IVaultBase } from "./interfaces/IBasketVault.sol";
import { IExecutor } from "./interfaces/IExecutor.sol";

/// @notice Wrapped native money.
interface IWETH is IERC20 {
    function deposit() external payable;
    function withdraw(uint256 amount) external;
}

/// @title Zap
/// @notice WHAT IT IS. One token (or ETH) in, basket shares out, and back. It swaps along the caller's route, then mints or redeems in
/// kind like anybody else: the caller bears the caller's own slippage, no oracle is asked, and no holder is diluted.
///
/// ROLES. None. It holds nothing between transactions and only ever spends what the caller sent in the same one.
///
/// WE ASSUME, OR THE CALLER'S OWN DEPOSIT IS AT RISK: the vault named is a real one (see VaultFactory.isVault) and `minShares` or
/// `minAmountOut` is what the caller can live with; the route is not checked in any other way.
///
/// LEFTOVERS. Everything that was not needed goes back: of a deposit to the caller, of a withdrawal to its receiver. A route that goes
/// through a token outside the basket must spend all of it (an amount of 0 does): what it leaves of such a token is lost.
contract Zap is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// What stands for native money where a token is asked for.
    address public constant ETH = address(0);

    IExecutor public immutable EXECUTOR;
    IWETH public immutable WETH;

    /// @notice It is later than the caller allowed.
    error DeadlinePassed(uint256 deadline, uint256 timestamp);
    error ZeroAmount();
    /// @notice The native money sent is not the amount named.
    error ValueMismatch(uint256 value, uint256 expected);
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
    error AmountOutBelowMinimum(uint256 amountRaw, uint256 minimumRaw);
    error SwapAboveAmount(uint256 swapAmountRaw, uint256 amountRaw);
    /// @notice Native money comes only from unwrapping.
    error UnexpectedEther(address sender);

    event ZappedIn(
        address indexed vault,
        address indexed caller,
        address indexed receiver,
        address token,
        uint256 amount,
        uint256 shares
    );
    event ZappedOut(
        address indexed vault,
        address indexed caller,
        address indexed receiver,
        address token,
        uint256 amount,
        uint256 shares
    );

    constructor(IExecutor executor, IWETH weth) {
        EXECUTOR = executor;
        WETH = weth;
    }

    /// @param vault where to deposit
    /// @param tokenIn what is paid with; `ETH` for native money
    /// @param amountIn how much of it {tok}
    /// @param swapAmount how much of it goes through `route`; the rest is deposited as it is {tok}
    /// @param minShares least shares the caller accepts {share}
    /// @param receiver gets the shares
    /// @param deadline last unix second at which this may happen
    /// @param route for EXECUTOR; its results must be tokens of the basket
    struct In {
        IBasketVault vault;
        address tokenIn;
        uint256 amountIn;
        uint256 swapAmount;
        uint256 minShares;
        address receiver;
        uint256 deadline;
        bytes route;
    }

    /// @param vault where to withdraw
    /// @param shares how many of the caller's shares, approved for this contract {share}
    /// @param tokenOut what is wanted; `ETH` for native money
    /// @param minAmountOut least of it the caller accepts {tok}
    /// @param receiver gets it, and what the route left over
    /// @param deadline last unix second at which this may happen
    /// @param route for EXECUTOR, which gets all tokens of the basket but `tokenOut`
    struct Out {
        IBasketVault vault;
        uint256 shares;
        address tokenOut;
        uint256 minAmountOut;
        address receiver;
        uint256 deadline;
        bytes route;
    }

    /* ANYONE */

    /// @notice Deposits one token: swaps along the route and mints as many shares as the results allow.
    /// @return shares minted to the receiver {share}
    function zapIn(In calldata z) external payable nonReentrant returns (uint256 shares) {
        _checkDeadline(z.deadline);
        if (z.amountIn == 0) revert ZeroAmount();
        if (z.swapAmount > z.amountIn) revert SwapAboveAmount(z.swapAmount, z.amountIn);
        uint256 expectedValue = z.tokenIn == ETH ? z.amountIn : 0;
        if (msg.value != expectedValue) revert ValueMismatch(msg.value, expectedValue);

        IERC20 token = z.tokenIn == ETH ? WETH : IERC20(z.tokenIn);
        if (z.tokenIn == ETH) WETH.deposit{ value: msg.value }();
        else token.safeTransferFrom(msg.sender, address(this), z.amountIn);
        if (z.swapAmount != 0) {
            token.safeTransfer(address(EXECUTOR), z.swapAmount);
            EXECUTOR.executeRoute(z.route);
        }

        IBasketVault.Asset[] memory assets = z.vault.assets();
        uint256[] memory balances = _balances(assets);
        shares = _mostShares(z.vault, balances);
        if (shares < z.minShares || shares == 0) revert SharesBelowMinimum(shares, z.minShares);
        uint256[] memory amounts = z.vault.previewMintInKind(shares);
        for (uint256 i; i < assets.length; ++i) {
            if (amounts[i] != 0) IERC20(assets[i].token).forceApprove(address(z.vault), amounts[i]);
        }
        z.vault.mintInKind(shares, z.receiver, balances);

        for (uint256 i; i < assets.length; ++i) {
            if (assets[i].token != address(token)) _sendAll(IERC20(assets[i].token), msg.sender);
        }
        if (z.tokenIn == ETH) _sendAllAsEther(msg.sender);
        else _sendAll(token, msg.sender);
        emit ZappedIn(address(z.vault), msg.sender, z.receiver, z.tokenIn, z.amountIn, shares);
    }

    /// @notice Withdraws to one token: redeems in kind and swaps along the route. A token that cannot be sent becomes the caller's claim
    /// at the vault, as in any redemption.
    /// @return amountOut of `tokenOut` sent to the receiver {tok}
    function zapOut(Out calldata z) external nonReentrant returns (uint256 amountOut) {
        _checkDeadline(z.deadline);
        IBasketVault.Asset[] memory assets = z.vault.assets();
        z.vault.redeemInKind(z.shares, address(this), msg.sender, new uint256[](assets.length));

        IERC20 token = z.tokenOut == ETH ? WETH : IERC20(z.tokenOut);
        for (uint256 i; i < assets.length; ++i) {
            if (assets[i].token != address(token)) _sendAll(IERC20(assets[i].token), address(EXECUTOR));
        }
        if (z.route.length != 0) EXECUTOR.executeRoute(z.route);

        amountOut = token.balanceOf(address(this));
        if (amountOut < z.minAmountOut || amountOut == 0) revert AmountOutBelowMinimum(amountOut, z.minAmountOut);
        if (z.tokenOut == ETH) _sendAllAsEther(z.receiver);
        else _sendAll(token, z.receiver);
        for (uint256 i; i < assets.length; ++i) {
            _sendAll(IERC20(assets[i].token), z.receiver);
        }
        emit ZappedOut(address(z.vault), msg.sender, z.receiver, z.tokenOut, amountOut, z.shares);
    }

    /// @dev Unwrapping pays here.
    receive() external payable {
        if (msg.sender != address(WETH)) revert UnexpectedEther(msg.sender);
    }

    /* INSIDE */

    function _balances(IBasketVault.Asset[] memory assets) private view returns (uint256[] memory balances) {
        balances = new uint256[](assets.length);
        for (uint256 i; i < assets.length; ++i) {
            balances[i] = IERC20(assets[i].token).balanceOf(address(this));
        }
    }

    /// @dev The most shares these balances can mint. Rounded down, so what the vault asks, rounded up, is always covered.
    // {share} = {tok} * {share} / {tok}
    function _mostShares(IBasketVault vault, uint256[] memory balances) private view returns (uint256 shares) {
        uint256[] memory held = vault.held();
        uint256 supply = vault.totalSupply();
        shares = type(uint256).max;
        for (uint256 i; i < held.length; ++i) {
            if (held[i] != 0) shares = Math.min(shares, Math.mulDiv(balances[i], supply, held[i]));
        }
        if (shares == type(uint256).max) revert IVaultBase.NothingHeld();
    }

    function _sendAll(IERC20 token, address to) private {
        uint256 balance = token.balanceOf(address(this));
        if (balance != 0) token.safeTransfer(to, balance);
    }

    function _sendAllAsEther(address to) private {
        uint256 balance = WETH.balanceOf(address(this));
        if (balance == 0) return;
        WETH.withdraw(balance);
        Address.sendValue(payable(to), balance);
    }

    function _checkDeadline(uint256 deadline) private view {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline, block.timestamp);
    }
}
