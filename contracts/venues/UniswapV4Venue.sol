// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";

import { IEtherWrapper } from "../interfaces/IEtherWrapper.sol";
import { Venue } from "./Venue.sol";

/// @notice The functions of Uniswap V4's PoolManager that are used here. Currency 0 is ether.
interface IV4PoolManager {
    struct PoolKey {
        address currency0;
        address currency1;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
    }

    struct SwapParams {
        bool zeroForOne;
        int256 amountSpecified;
        uint160 sqrtPriceLimitX96;
    }

    /// @notice Calls back with `data`, during which the caller may build up debts.
    function unlock(bytes calldata data) external returns (bytes memory);
    /// @notice Swaps; `delta` has the changes of both currencies, 128 bits each {tok}.
    function swap(PoolKey calldata key, SwapParams calldata params, bytes calldata hookData)
        external
        returns (int256 delta);
    /// @notice Starts to count what arrives of a currency.
    function sync(address currency) external;
    /// @notice Credits what arrived since `sync`, or the ether of the call {tok}.
    function settle() external payable returns (uint256 paid);
    /// @notice Pays out what the caller is owed {tok}.
    function take(address currency, address to, uint256 amount) external;
}

/// @title UniswapV4Venue
/// @notice Swaps on Uniswap V4 through PoolManager.unlock. Routes name tokens only. If a pool holds ether, the hop names WETH: exactly what
/// the pool takes is unwrapped, and what it pays is wrapped. No ether is ever left. No price limit is set: the receiver of the result
/// checks it.
/// Body: PoolManager (20), fee (3), tickSpacing (3, signed), hooks (20).
///
/// HOOKS. A pool's hooks run inside the swap and get no data. They may refuse it. They may take a part, even all, of the result. They may
/// call any contract, but can run no route here and make no callback. They cannot make the hop cost more than its amount. The hop takes
/// what PoolManager reports as the result after the hooks. The receiver of the result checks it, as in every venue.
abstract contract UniswapV4Venue is Venue {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.AddressSlot;
    using TransientSlot for TransientSlot.Bytes32Slot;

    /// Task of the callback, which PoolManager hands back unchanged.
    struct V4Order {
        address tokenIn;
        address tokenOut;
        bool etherIn;
        bool etherOut;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
        uint256 amountIn;
        address recipient;
    }

    uint8 internal constant UNISWAP_V4 = 4;

    /// The ends of the price range, exclusive (TickMath.MIN_SQRT_PRICE and MAX_SQRT_PRICE).
    uint160 private constant MIN_SQRT_PRICE_X96 = 4295128739;
    uint160 private constant MAX_SQRT_PRICE_X96 = 1461446703485210103287273052203988822378723970342;

    /// Transient: hash of the PoolManager whose callback is expected and of the order it must hand back.
    bytes32 private constant AWAITED_ORDER = keccak256("rebalancer.uniswap-v4.awaited-order");
    /// Transient: the address that may send ether now.
    bytes32 private constant AWAITED_PAYER = keccak256("rebalancer.uniswap-v4.awaited-payer");

    /// @notice The caller is not the PoolManager that is being unlocked, or it calls twice, or with another order than it was given.
    error UnexpectedUnlock(address caller);
    /// @notice PoolManager charges more for the swap than the hop's amount {tok}.
    error AskedTooMuch(uint256 askedRaw, uint256 amountInRaw);
    /// @notice Ether came from another sender than the one that unwraps or pays out at that moment {wei}.
    error UnexpectedEther(address sender, uint256 amountWei);

    function _swapOnUniswapV4(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 46);
        _sellsOnly(flags);
        address manager = _addressAt(body, 0);
        bytes memory order = abi.encode(
            V4Order({
                tokenIn: tokenIn,
                tokenOut: tokenOut,
                etherIn: flags & ETHER_IN != 0,
                etherOut: flags & ETHER_OUT != 0,
                fee: uint24(bytes3(body[20:])),
                tickSpacing: int24(uint24(bytes3(body[23:]))),
                hooks: _addressAt(body, 26),
                amountIn: amount,
                recipient: recipient
            })
        );
        AWAITED_ORDER.asBytes32().tstore(_hash(manager, order));
        IV4PoolManager(manager).unlock(order);
        // A PoolManager that did not call back must not do so later.
        AWAITED_ORDER.asBytes32().tstore(0);
    }

    /// @notice Swaps, pays and collects inside PoolManager's callback, as PoolManager requires. Selector of IUnlockCallback.
    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        if (_hash(msg.sender, data) != AWAITED_ORDER.asBytes32().tload()) revert UnexpectedUnlock(msg.sender);
        AWAITED_ORDER.asBytes32().tstore(0);
        V4Order memory order = abi.decode(data, (V4Order));
        IV4PoolManager manager = IV4PoolManager(msg.sender);
        address currencyIn = order.etherIn ? address(0) : order.tokenIn;
        address currencyOut = order.etherOut ? address(0) : order.tokenOut;

        bool zeroForOne = currencyIn < currencyOut;
        (address currency0, address currency1) = zeroForOne ? (currencyIn, currencyOut) : (currencyOut, currencyIn);
        int256 delta = manager.swap(
            IV4PoolManager.PoolKey(currency0, currency1, order.fee, order.tickSpacing, order.hooks),
            IV4PoolManager.SwapParams(
                zeroForOne,
                -order.amountIn.toInt256(), // negative: exactly this much goes in
                zeroForOne ? MIN_SQRT_PRICE_X96 + 1 : MAX_SQRT_PRICE_X96 - 1
            ),
            ""
        );
        // The upper half is of currency 0, the lower of currency 1. This contract owes negative amounts. PoolManager refuses to end with a
        // debt.
        (int128 delta0, int128 delta1) = (int128(delta >> 128), int128(delta));
        (int128 deltaIn, int128 deltaOut) = zeroForOne ? (delta0, delta1) : (delta1, delta0);
        if (deltaIn < 0) {
            uint256 owed = uint256(-int256(deltaIn));
            // The executor may hold more of the token, for other hops.
            if (owed > order.amountIn) revert AskedTooMuch(owed, order.amountIn);
            _settle(manager, currencyIn, order.tokenIn, owed);
        }
        if (deltaOut > 0) _take(manager, currencyOut, order.tokenOut, uint256(int256(deltaOut)), order.recipient);
        return "";
    }

    function _hash(address manager, bytes memory order) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(manager, order));
    }

    function _settle(IV4PoolManager manager, address currency, address token, uint256 owed) private {
        manager.sync(currency);
        if (currency != address(0)) {
            IERC20(token).safeTransfer(address(manager), owed);
            manager.settle();
        } else {
            AWAITED_PAYER.asAddress().tstore(token);
            IEtherWrapper(token).withdraw(owed);
            AWAITED_PAYER.asAddress().tstore(address(0));
            // The caller's route names the manager, and the ether is the caller's own.
            // slither-disable-next-line arbitrary-send-eth
            manager.settle{ value: owed }();
        }
    }

    function _take(IV4PoolManager manager, address currency, address token, uint256 amount, address recipient) private {
        if (currency != address(0)) return manager.take(currency, recipient, amount);
        AWAITED_PAYER.asAddress().tstore(address(manager));
        manager.take(currency, address(this), amount);
        AWAITED_PAYER.asAddress().tstore(address(0));
        // As above: the route names the token, and the caller measures what came back.
        // slither-disable-next-line arbitrary-send-eth
        IEtherWrapper(token).deposit{ value: amount }();
        if (recipient != address(this)) IERC20(token).safeTransfer(recipient, amount);
    }

    /// @dev WETH9 leaves 2,300 gas for this function, which needs a tenth.
    receive() external payable {
        if (msg.sender != AWAITED_PAYER.asAddress().tload()) revert UnexpectedEther(msg.sender, msg.value);
    }
}
