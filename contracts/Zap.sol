// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { VaultFactory } from "./VaultFactory.sol";
import { ZapExecutor } from "./ZapExecutor.sol";
import { IBasketVault, IVaultBase } from "./interfaces/IBasketVault.sol";
import { IZap, IZapExecutor } from "./interfaces/IZap.sol";

/// @notice Wrapped native money: the functions that are used here.
interface IWETH is IERC20 {
    /// @notice Wraps the ether of the call {wei}.
    function deposit() external payable;
    /// @notice Unwraps and sends ether to the caller {wei}.
    function withdraw(uint256 amount) external;
}

/// @notice The function of Permit2 that is used here: one transfer that its owner signed for the caller.
interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    /// @notice Takes exactly `requestedAmount` {tok} from the owner to `to`.
    function permitTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes calldata signature
    ) external;
}

/// @title Zap
/// @notice WHAT IT IS. One token (or ETH) in, basket shares out, and back. It swaps along the caller's route, then mints or redeems in kind
/// like any other account. The caller bears the caller's own slippage, no oracle is read, and no holder is diluted.
///
/// PAYMENT. `zapIn` takes ETH, or a token that its owner approved for this contract. `zapInWithPermit` takes a token by an ERC-2612 permit
/// in the same transaction. `zapInWithPermit2` takes it by a signed transfer of Permit2, for which the token is approved there. `zapOut`
/// takes approved shares, `zapOutWithPermit` takes them by a permit. Only the caller's own tokens are ever taken: another account cannot
/// use the caller's signature or approval.
///
/// ROLES. None. It holds nothing between transactions and spends only what the caller sent in the same transaction.
///
/// WE ASSUME, OR THE CALLER'S OWN DEPOSIT IS AT RISK. The vault is a real one (see VaultFactory.isVault). `minShares` or `minAmountOut` is
/// an amount that the caller accepts: the route is not checked in any other way.
///
/// LEFTOVERS. Everything that was not needed goes back, to the caller of a deposit or the receiver of a withdrawal: the rest of the
/// payment, of every token of the basket, and of every token that a hop of the route sells or buys. A token that a venue sends here and no
/// hop names is a gift, and so is forced ether. A gift neither counts nor blocks anything.
///
/// APPROVALS. Vaults of the factory are approved without limit, once for each token: their code cannot change, it takes tokens only from
/// its caller, and between transactions there is nothing here to take. Any other vault is approved only for the balances of this call, and
/// the approval ends with it.
contract Zap is IZap, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @inheritdoc IZap
    address public constant ETH = address(0);

    /// Permit2 has the same address on every chain.
    IPermit2 public constant PERMIT2 = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);

    /// @inheritdoc IZap
    IZapExecutor public immutable EXECUTOR = new ZapExecutor();
    /// Wrapped native money of the chain.
    IWETH public immutable WETH;
    /// Factory whose vaults are approved without limit.
    VaultFactory public immutable FACTORY;

    constructor(IWETH weth, VaultFactory factory) {
        WETH = weth;
        FACTORY = factory;
    }

    /* ANYONE */

    /// @inheritdoc IZap
    function zapIn(In calldata z) external payable nonReentrant returns (uint256 shares) {
        _checkIn(z);
        if (z.tokenIn == ETH) WETH.deposit{ value: msg.value }();
        else IERC20(z.tokenIn).safeTransferFrom(msg.sender, address(this), z.amountIn);
        return _deposit(z);
    }

    /// @inheritdoc IZap
    function zapInWithPermit(In calldata z, Permit calldata permit) external nonReentrant returns (uint256 shares) {
        _checkIn(z);
        _permit(z.tokenIn, z.amountIn, permit);
        IERC20(z.tokenIn).safeTransferFrom(msg.sender, address(this), z.amountIn);
        return _deposit(z);
    }

    /// @inheritdoc IZap
    function zapInWithPermit2(In calldata z, Transfer calldata transfer)
        external
        nonReentrant
        returns (uint256 shares)
    {
        _checkIn(z);
        PERMIT2.permitTransferFrom(
            IPermit2.PermitTransferFrom(
                IPermit2.TokenPermissions(z.tokenIn, z.amountIn), transfer.nonce, transfer.deadline
            ),
            IPermit2.SignatureTransferDetails(address(this), z.amountIn),
            msg.sender, // so only the caller's own signature is valid
            transfer.signature
        );
        return _deposit(z);
    }

    function _checkIn(In calldata z) private view {
        _check(z.deadline, z.receiver);
        if (z.amountIn == 0) revert ZeroAmount();
        if (z.swapAmount > z.amountIn) revert SwapAboveAmount(z.swapAmount, z.amountIn);
        uint256 expectedValue = z.tokenIn == ETH ? z.amountIn : 0;
        if (msg.value != expectedValue) revert ValueMismatch(msg.value, expectedValue);
    }

    /// @dev The payment has arrived. Of a token with a transfer fee, it is less than `amountIn`.
    function _deposit(In calldata z) private returns (uint256 shares) {
        IERC20 token = z.tokenIn == ETH ? WETH : IERC20(z.tokenIn);
        address[] memory touched;
        if (z.swapAmount != 0) {
            token.safeTransfer(address(EXECUTOR), Math.min(z.swapAmount, token.balanceOf(address(this))));
            address[] memory sent = new address[](1);
            sent[0] = address(token);
            touched = EXECUTOR.executeRoute(sent, z.route);
        }

        address[] memory assets = _assets(z.vault);
        uint256[] memory balances = new uint256[](assets.length);
        for (uint256 i; i < assets.length; ++i) {
            balances[i] = IERC20(assets[i]).balanceOf(address(this));
        }
        shares = _mostShares(z.vault, balances);
        if (shares < z.minShares || shares == 0) revert SharesBelowMinimum(shares, z.minShares);
        _mint(z, shares, assets, balances);

        if (z.tokenIn == ETH) _sendAllAsEther(msg.sender); // first: the lists may hold WETH
        else _sendAll(address(token), msg.sender);
        _sendAll(touched, msg.sender);
        _sendAll(assets, msg.sender);
        emit ZappedIn(address(z.vault), msg.sender, z.receiver, z.tokenIn, z.amountIn, shares);
    }

    /// @dev Largest number of shares that these balances can mint {share}, rounded down. The vault states the cost of its whole supply,
    /// entry fees included. What the vault charges for the result, rounded up, is therefore always covered.
    // {share} = {tok} * {share} / {tok}
    function _mostShares(IBasketVault vault, uint256[] memory balances) private view returns (uint256 shares) {
        uint256 supply = vault.totalSupply();
        uint256[] memory asked = vault.previewMintInKind(supply);
        shares = type(uint256).max;
        for (uint256 i; i < asked.length; ++i) {
            if (asked[i] != 0) shares = Math.min(shares, Math.mulDiv(balances[i], supply, asked[i]));
        }
        if (shares == type(uint256).max) revert IVaultBase.NothingHeld();
    }

    function _mint(In calldata z, uint256 shares, address[] memory assets, uint256[] memory balances) private {
        address vault = address(z.vault);
        bool known = FACTORY.isVault(vault);
        for (uint256 i; i < assets.length; ++i) {
            if (IERC20(assets[i]).allowance(address(this), vault) < balances[i]) {
                IERC20(assets[i]).forceApprove(vault, known ? type(uint256).max : balances[i]);
            }
        }
        z.vault.mintInKind(shares, z.receiver, balances);
        for (uint256 i; i < assets.length && !known; ++i) {
            IERC20(assets[i]).forceApprove(vault, 0);
        }
    }

    /// @inheritdoc IZap
    function zapOut(Out calldata z) external nonReentrant returns (uint256 amountOut) {
        return _withdraw(z);
    }

    /// @inheritdoc IZap
    function zapOutWithPermit(Out calldata z, Permit calldata permit)
        external
        nonReentrant
        returns (uint256 amountOut)
    {
        _permit(address(z.vault), z.shares, permit);
        return _withdraw(z);
    }

    function _withdraw(Out calldata z) private returns (uint256 amountOut) {
        _check(z.deadline, z.receiver);
        address[] memory assets = _assets(z.vault);
        z.vault.redeemInKind(z.shares, address(EXECUTOR), msg.sender, new uint256[](assets.length));
        address[] memory touched = EXECUTOR.executeRoute(assets, z.route);

        IERC20 token = z.tokenOut == ETH ? WETH : IERC20(z.tokenOut);
        amountOut = token.balanceOf(address(this));
        if (amountOut < z.minAmountOut || amountOut == 0) revert AmountOutBelowMinimum(amountOut, z.minAmountOut);
        if (z.tokenOut == ETH) _sendAllAsEther(z.receiver); // first: the list may hold WETH
        else _sendAll(address(token), z.receiver);
        _sendAll(touched, z.receiver);
        emit ZappedOut(address(z.vault), msg.sender, z.receiver, z.tokenOut, amountOut, z.shares);
    }

    /// @dev Only the wrapper may send ether here, when it unwraps.
    receive() external payable {
        if (msg.sender != address(WETH)) revert UnexpectedEther(msg.sender);
    }

    /* INSIDE */

    /// @dev A failed permit shows when the tokens are taken: WETH, for example, accepts any call and does nothing.
    function _permit(address token, uint256 amount, Permit calldata p) private {
        try IERC20Permit(token).permit(msg.sender, address(this), amount, p.deadline, p.v, p.r, p.s) { } catch { }
    }

    function _assets(IBasketVault vault) private view returns (address[] memory tokens) {
        IBasketVault.Asset[] memory assets = vault.assets();
        tokens = new address[](assets.length);
        for (uint256 i; i < assets.length; ++i) {
            tokens[i] = assets[i].token;
        }
    }

    function _sendAll(address[] memory tokens, address to) private {
        for (uint256 i; i < tokens.length; ++i) {
            _sendAll(tokens[i], to);
        }
    }

    function _sendAll(address token, address to) private {
        uint256 balance = IERC20(token).balanceOf(address(this));
        if (balance != 0) IERC20(token).safeTransfer(to, balance);
    }

    function _sendAllAsEther(address to) private {
        uint256 balance = WETH.balanceOf(address(this));
        if (balance == 0) return;
        WETH.withdraw(balance);
        Address.sendValue(payable(to), balance);
    }

    function _check(uint256 deadline, address receiver) private view {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline, block.timestamp);
        if (receiver == address(this) || receiver == address(EXECUTOR)) revert BadReceiver(receiver);
    }
}
