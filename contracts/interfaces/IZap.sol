// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./IBasketVault.sol";

/// @title IZapExecutor
/// @notice Runs the Zap's routes.
interface IZapExecutor {
    /// @notice The caller is not the Zap that made this executor.
    error NotTheZap(address caller);

    /// @notice Runs the hops of a route and sends everything back to the Zap.
    /// @param sent tokens that were sent here, whether or not the route sells them
    /// @param route hops, see RouteHops
    /// @return touched the sent tokens, and every token that a hop sells or buys, each once: all tokens that the Zap may hold now
    function executeRoute(address[] calldata sent, bytes calldata route) external returns (address[] memory touched);
}

/// @title IZap
/// @notice One token (or ETH) in, basket shares out, and back.
interface IZap {
    /// @notice Terms of a deposit.
    /// @param vault vault to deposit in
    /// @param tokenIn token of the payment; `ETH` for native money
    /// @param amountIn amount of the payment {tok}
    /// @param swapAmount part of it that goes through `route` {tok}; the rest is deposited as it is
    /// @param minShares least shares that the caller accepts {share}
    /// @param receiver account that gets the shares
    /// @param deadline last unix second at which this may happen
    /// @param route hops for EXECUTOR, see RouteHops; results that are not of the basket return to the caller
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

    /// @notice Terms of a withdrawal.
    /// @param vault vault to withdraw from
    /// @param shares number of the caller's shares, approved for this contract {share}
    /// @param tokenOut token of the result; `ETH` for native money
    /// @param minAmountOut least result that the caller accepts {tok}
    /// @param receiver account that gets the result and the route's leftovers
    /// @param deadline last unix second at which this may happen
    /// @param route hops for EXECUTOR, see RouteHops, which gets everything that was redeemed
    struct Out {
        IBasketVault vault;
        uint256 shares;
        address tokenOut;
        uint256 minAmountOut;
        address receiver;
        uint256 deadline;
        bytes route;
    }

    /// @notice An ERC-2612 permit by the caller for this contract, of exactly the amount to spend.
    /// @param deadline last unix second at which the permit is valid
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A transfer to this contract that the caller signed for Permit2, of exactly `tokenIn` and `amountIn`.
    /// @param nonce any number that the caller has not used there
    /// @param deadline last unix second at which the signature is valid
    struct Transfer {
        uint256 nonce;
        uint256 deadline;
        bytes signature;
    }

    /// @notice The caller's deadline has passed (unix times).
    error DeadlinePassed(uint256 deadline, uint256 timestamp);
    /// @notice The payment is 0.
    error ZeroAmount();
    /// @notice The native money sent differs from the amount in the terms {wei}, or this function takes none.
    error ValueMismatch(uint256 value, uint256 expected);
    /// @notice The deposit mints fewer shares than the caller accepts, or none {share}.
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
    /// @notice The result is below what the caller accepts, or 0 {tok}.
    error AmountOutBelowMinimum(uint256 amountRaw, uint256 minimumRaw);
    /// @notice The part to swap is above the payment {tok}.
    error SwapAboveAmount(uint256 swapAmountRaw, uint256 amountRaw);
    /// @notice The receiver is the Zap or its executor, where tokens would stay.
    error BadReceiver(address receiver);
    /// @notice Native money came from another sender than the wrapper.
    error UnexpectedEther(address sender);

    /// @notice A deposit was made: `amount` of `token` {tok} for `shares` {share}.
    event ZappedIn(
        address indexed vault,
        address indexed caller,
        address indexed receiver,
        address token,
        uint256 amount,
        uint256 shares
    );
    /// @notice A withdrawal was made: `amount` of `token` {tok} for `shares` {share}.
    event ZappedOut(
        address indexed vault,
        address indexed caller,
        address indexed receiver,
        address token,
        uint256 amount,
        uint256 shares
    );

    /* ANYONE */

    /// @notice Deposits one token, approved before, or ETH: swaps along the route and mints as many shares as the results allow, rounded
    /// down.
    /// @return shares minted to the receiver {share}
    function zapIn(In calldata z) external payable returns (uint256 shares);

    /// @notice Does what `zapIn` does, with an ERC-2612 permit. A permit that fails, because it was used before or the token has no
    /// permits, does not matter if the allowance is there.
    /// @return shares minted to the receiver {share}
    function zapInWithPermit(In calldata z, Permit calldata permit) external returns (uint256 shares);

    /// @notice Does what `zapIn` does, with a transfer signed for Permit2.
    /// @return shares minted to the receiver {share}
    function zapInWithPermit2(In calldata z, Transfer calldata transfer) external returns (uint256 shares);

    /// @notice Withdraws to one token: redeems approved shares in kind and swaps along the route. A token that cannot be sent becomes the
    /// caller's claim at the vault, as in any redemption.
    /// @return amountOut amount of `tokenOut` sent to the receiver {tok}
    function zapOut(Out calldata z) external returns (uint256 amountOut);

    /// @notice Does what `zapOut` does, with an ERC-2612 permit for the shares. A permit that fails does not matter if the allowance is
    /// there.
    /// @return amountOut amount of `tokenOut` sent to the receiver {tok}
    function zapOutWithPermit(Out calldata z, Permit calldata permit) external returns (uint256 amountOut);

    /* VIEWS */

    /// @notice Value that stands for native money in place of a token.
    function ETH() external view returns (address);
    /// @notice The executor that this Zap made: only the Zap can start a route there.
    function EXECUTOR() external view returns (IZapExecutor);
}
