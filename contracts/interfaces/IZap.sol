// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./IBasketVault.sol";

/// @title IZapExecutor
/// @notice Where the Zap's routes run.
interface IZapExecutor {
    /// @notice Only the Zap that made this executor may use it.
    error NotTheZap(address caller);

    /// @notice Makes the hops of a route and sends everything back to the Zap.
    /// @param sent tokens that were sent here, whether or not the route sells them
    /// @return touched those, and every token that a hop sells or buys, each once: what the Zap may hold something of now
    function executeRoute(address[] calldata sent, bytes calldata route) external returns (address[] memory touched);
}

/// @title IZap
/// @notice One token (or ETH) in, basket shares out, and back.
interface IZap {
    /// @param vault where to deposit
    /// @param tokenIn what is paid with; `ETH` for native money
    /// @param amountIn how much of it {tok}
    /// @param swapAmount how much of it goes through `route`; the rest is deposited as it is {tok}
    /// @param minShares least shares the caller accepts {share}
    /// @param receiver gets the shares
    /// @param deadline last unix second at which this may happen
    /// @param route for EXECUTOR, see RouteHops; what it brings that is not of the basket comes back
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
    /// @param route for EXECUTOR, see RouteHops, which gets all that was redeemed
    struct Out {
        IBasketVault vault;
        uint256 shares;
        address tokenOut;
        uint256 minAmountOut;
        address receiver;
        uint256 deadline;
        bytes route;
    }

    /// @notice An ERC-2612 permit by the caller for this contract, of exactly the amount to be spent.
    /// @param deadline last unix second at which it holds
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A transfer to this contract that the caller signed for Permit2, of exactly `tokenIn` and `amountIn`.
    /// @param nonce any that the caller has not used there
    /// @param deadline last unix second at which it holds
    struct Transfer {
        uint256 nonce;
        uint256 deadline;
        bytes signature;
    }

    /// @notice It is later than the caller allowed.
    error DeadlinePassed(uint256 deadline, uint256 timestamp);
    error ZeroAmount();
    /// @notice The native money sent is not the amount named, or cannot be sent here at all.
    error ValueMismatch(uint256 value, uint256 expected);
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
    error AmountOutBelowMinimum(uint256 amountRaw, uint256 minimumRaw);
    error SwapAboveAmount(uint256 swapAmountRaw, uint256 amountRaw);
    /// @notice What is sent to the Zap or its executor would stay there.
    error BadReceiver(address receiver);
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

    /* ANYONE */

    /// @notice Deposits one token, approved before, or ETH: swaps along the route and mints as many shares as the results allow.
    /// @return shares minted to the receiver {share}
    function zapIn(In calldata z) external payable returns (uint256 shares);

    /// @notice The same with an ERC-2612 permit. One that fails, because somebody sent it first or the token knows none, does not matter
    /// if the allowance is there.
    function zapInWithPermit(In calldata z, Permit calldata permit) external returns (uint256 shares);

    /// @notice The same with a transfer signed for Permit2.
    function zapInWithPermit2(In calldata z, Transfer calldata transfer) external returns (uint256 shares);

    /// @notice Withdraws to one token: redeems approved shares in kind and swaps along the route. A token that cannot be sent becomes the
    /// caller's claim at the vault, as in any redemption.
    /// @return amountOut of `tokenOut` sent to the receiver {tok}
    function zapOut(Out calldata z) external returns (uint256 amountOut);

    /// @notice The same with an ERC-2612 permit for the shares; one that fails does not matter if the allowance is there.
    function zapOutWithPermit(Out calldata z, Permit calldata permit) external returns (uint256 amountOut);

    /* VIEWS */

    /// @notice What stands for native money where a token is asked for.
    function ETH() external view returns (address);
    /// @notice The executor that this Zap made for itself: nobody else can start a route there.
    function EXECUTOR() external view returns (IZapExecutor);
}
