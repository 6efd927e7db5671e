// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";

/// @notice What is called on a Uniswap V3 pool.
interface IV3Pool {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function swap(
        address recipient,
        bool zeroForOne,
        int256 amountSpecified,
        uint160 sqrtPriceLimitX96,
        bytes calldata data
    ) external returns (int256 amount0, int256 amount1);
}

/// @notice What is called on SwapRouter02.
interface ISwapRouter02 {
    struct ExactInputParams {
        bytes path;
        address recipient;
        uint256 amountIn;
        uint256 amountOutMinimum;
    }

    function exactInput(ExactInputParams calldata params) external payable returns (uint256 amountOut);
}

/// @title UniswapV3Venue
/// @notice Swaps on Uniswap V3, by the pool itself or through SwapRouter02. Nothing else here knows Uniswap V3.
/// No price limit is set: whoever receives the result checks it.
abstract contract UniswapV3Venue is IUniswapV3SwapCallback {
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.AddressSlot;

    /// The ends of the price range, exclusive (TickMath.MIN_SQRT_RATIO and MAX_SQRT_RATIO).
    uint160 private constant MIN_SQRT_PRICE_X96 = 4295128739;
    uint160 private constant MAX_SQRT_PRICE_X96 = 1461446703485210103287273052203988822378723970342;

    /// Transient: the pool whose callback is awaited.
    bytes32 private constant AWAITED_POOL = keccak256("rebalancer.uniswap-v3.awaited-pool");
    /// Transient: what it is paid in.
    bytes32 private constant OWED_TOKEN = keccak256("rebalancer.uniswap-v3.owed-token");

    /// @notice Only the pool that is being swapped on may ask for payment, once a swap.
    error UnexpectedCallback(address caller, address awaited);
    /// @notice The pool asks for more than there is: what was to be bought has become dearer.
    error CostsMore(address pool, uint256 costRaw, uint256 balanceRaw);
    /// @notice The amount does not fit the venue's signed argument.
    error AmountTooLarge(uint256 amountRaw);

    /// @dev Swaps on the pool itself. `amount` is what goes in or, below zero, what comes out.
    function _swapOnV3Pool(address pool, address tokenIn, bool zeroForOne, int256 amount, address recipient) internal {
        AWAITED_POOL.asAddress().tstore(pool);
        OWED_TOKEN.asAddress().tstore(tokenIn);
        IV3Pool(pool)
            .swap(recipient, zeroForOne, amount, zeroForOne ? MIN_SQRT_PRICE_X96 + 1 : MAX_SQRT_PRICE_X96 - 1, "");
        // Who did not ask must not do so later.
        AWAITED_POOL.asAddress().tstore(address(0));
    }

    function _toInt(uint256 amount) internal pure returns (int256) {
        if (amount > uint256(type(int256).max)) revert AmountTooLarge(amount);
        return int256(amount); // checked above
    }

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata) external {
        address awaited = AWAITED_POOL.asAddress().tload();
        if (msg.sender != awaited) revert UnexpectedCallback(msg.sender, awaited);
        AWAITED_POOL.asAddress().tstore(address(0));
        int256 owed = amount0Delta > 0 ? amount0Delta : amount1Delta;
        if (owed > 0) _pay(IERC20(OWED_TOKEN.asAddress().tload()), uint256(owed));
    }

    /// @dev Tokens say in many ways, or none, that there is too little; here it has a name.
    function _pay(IERC20 token, uint256 owed) private {
        if (token.trySafeTransfer(msg.sender, owed)) return;
        uint256 balance = token.balanceOf(address(this));
        if (balance < owed) revert CostsMore(msg.sender, owed, balance);
        token.safeTransfer(msg.sender, owed); // for its own reason
    }

    /// @dev Swaps along a packed path through SwapRouter02. No allowance outlives the call.
    function _swapOnRouter02(address router, address tokenIn, bytes calldata path, uint256 amountIn, address recipient)
        internal
    {
        IERC20(tokenIn).forceApprove(router, amountIn);
        ISwapRouter02(router).exactInput(ISwapRouter02.ExactInputParams(path, recipient, amountIn, 0));
        IERC20(tokenIn).forceApprove(router, 0);
    }
}
