// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";

import { Venue } from "./Venue.sol";

/// @notice The functions of a Uniswap V3 pool that are used here.
interface IV3Pool {
    /// @notice Token with the lower address.
    function token0() external view returns (address);
    /// @notice Pays the output {tok} and calls back for the input.
    function swap(
        address recipient,
        bool zeroForOne,
        int256 amountSpecified,
        uint160 sqrtPriceLimitX96,
        bytes calldata data
    ) external returns (int256 amount0, int256 amount1);
}

/// @title V3Swaps
/// @notice Swaps on a pool of Uniswap V3 or of a fork, by exact input or by exact output. No price limit is set: the receiver of the result
/// checks it. Forks have other names for the callback, which their adapters add.
///
/// PAYMENT. With exact input, a pool is paid at most that input, so it takes nothing that other hops need. With exact output, the pool
/// names its own price, and may take the whole balance of the token: the writer of the route must have only that much here.
abstract contract V3Swaps is Venue {
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.Uint256Slot;

    /// The ends of the price range, exclusive (TickMath.MIN_SQRT_RATIO and MAX_SQRT_RATIO).
    uint160 private constant MIN_SQRT_PRICE_X96 = 4295128739;
    uint160 private constant MAX_SQRT_PRICE_X96 = 1461446703485210103287273052203988822378723970342;

    /// Transient: the pool whose callback is expected in the lower bits, and above it the lower half of its largest payment.
    bytes32 private constant AWAITED_POOL = keccak256("rebalancer.uniswap-v3.awaited-pool");
    /// Transient: the token of the payment in the lower bits, and above it the upper half of the largest payment.
    bytes32 private constant OWED_TOKEN = keccak256("rebalancer.uniswap-v3.owed-token");
    /// Two words hold two addresses and, in the bits above them, the limit of 192 bits: a third word would cost 200 gas.
    uint256 private constant ADDRESS_BITS = 160;
    uint256 private constant HALF_BITS = 96;
    uint256 private constant MAX_AMOUNT = type(uint192).max; // twice HALF_BITS

    /// @notice The caller is not the pool that is being swapped on, or it requests payment twice.
    error UnexpectedCallback(address caller, address awaited);
    /// @notice The pool requests more than the hop's input {tok}. The rest is for other hops.
    error CallbackAboveInput(address pool, uint256 owedRaw, uint256 inputRaw);
    /// @notice The pool requests more than the balance {tok}: the price of the output has risen.
    error CostsMore(address pool, uint256 costRaw, uint256 balanceRaw);
    /// @notice The amount has more than 192 bits {tok}.
    error AmountTooLarge(uint256 amountRaw);

    /// @dev `body` is the pool (20).
    function _swapOnV3(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 20);
        address pool = _addressAt(body, 0);
        bool zeroForOne = tokenIn < tokenOut;
        int256 specified = _toInt(amount);
        if (flags & EXACT_OUT != 0) specified = -specified;
        // The lowest 192 bits are the limit. For an exact output they are close to 2^192, which is no limit.
        uint256 limit = uint256(specified);
        AWAITED_POOL.asUint256().tstore(uint160(pool) | limit << ADDRESS_BITS);
        OWED_TOKEN.asUint256().tstore(uint160(tokenIn) | limit >> HALF_BITS << ADDRESS_BITS);
        IV3Pool(pool)
            .swap(recipient, zeroForOne, specified, zeroForOne ? MIN_SQRT_PRICE_X96 + 1 : MAX_SQRT_PRICE_X96 - 1, "");
        // A pool that requested no payment must not do so later.
        AWAITED_POOL.asUint256().tstore(0);
    }

    /// @dev 192 bits, as the limit: more than the supply of any token.
    function _toInt(uint256 amount) private pure returns (int256) {
        if (amount > MAX_AMOUNT) revert AmountTooLarge(amount);
        return int256(amount); // checked above
    }

    /// @dev Body of a callback: pays the expected pool, once.
    function _payV3(int256 amount0Delta, int256 amount1Delta) internal {
        uint256 lower = AWAITED_POOL.asUint256().tload();
        address awaited = address(uint160(lower)); // the cast removes the limit
        if (msg.sender != awaited) revert UnexpectedCallback(msg.sender, awaited);
        AWAITED_POOL.asUint256().tstore(0);
        int256 owed = amount0Delta > 0 ? amount0Delta : amount1Delta;
        if (owed <= 0) return;
        uint256 upper = OWED_TOKEN.asUint256().tload();
        uint256 limit = upper >> ADDRESS_BITS << HALF_BITS | lower >> ADDRESS_BITS;
        if (uint256(owed) > limit) revert CallbackAboveInput(msg.sender, uint256(owed), limit);
        _pay(IERC20(address(uint160(upper))), uint256(owed)); // the cast removes the limit
    }

    /// @dev Tokens report a balance that is too small in different ways, or not at all. Here it has its own error.
    function _pay(IERC20 token, uint256 owed) private {
        if (token.trySafeTransfer(msg.sender, owed)) return;
        uint256 balance = token.balanceOf(address(this));
        if (balance < owed) revert CostsMore(msg.sender, owed, balance);
        token.safeTransfer(msg.sender, owed); // reverts with the token's own reason
    }
}
