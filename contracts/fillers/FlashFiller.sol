// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";

import { IBasketVault } from "../interfaces/IBasketVault.sol";
import { IExecutor } from "../interfaces/IExecutor.sol";
import { ConfigCode } from "../libraries/ConfigCode.sol";
import { IV3Pool } from "../venues/V3Swaps.sol";

/// @title FlashFiller
/// @notice WHAT IT IS. An example of open execution: an arbitrageur without capital. A Uniswap V3 pool first pays the vault what the vault
/// buys (a flash swap). Then the pool is paid with what the vault sells. The caller keeps the difference.
///
/// ROLES. None. Anyone may call it; it holds nothing between transactions.
///
/// WE ASSUME NOTHING of vaults and pools: the caller names both, and only the caller's own gain is at stake. The pool gets the amount to
/// pay out and names its price, which is at most what the vault sold: this contract holds nothing else.
contract FlashFiller is IExecutor, IUniswapV3SwapCallback {
    using ConfigCode for uint256[];
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.AddressSlot;

    /// @notice Terms of a trade.
    /// @param vault vault to fill
    /// @param epoch the vault's present `State.epoch`
    /// @param pool Uniswap V3 pool of both assets
    /// @param sell the vault's asset that pays the pool
    /// @param buy the vault's asset that the pool pays out
    /// @param soldRaw amount that the vault sells {sell tok}
    /// @param boughtRaw amount that the vault gets {buy tok}
    /// @param minGainRaw least gain of the caller {sell tok}
    struct Trade {
        IBasketVault vault;
        uint256 epoch;
        IV3Pool pool;
        uint256 sell;
        uint256 buy;
        uint256 soldRaw;
        uint256 boughtRaw;
        uint256 minGainRaw;
    }

    /// The ends of the price range, exclusive (TickMath.MIN_SQRT_RATIO and MAX_SQRT_RATIO).
    uint160 private constant MIN_SQRT_PRICE_X96 = 4295128739;
    uint160 private constant MAX_SQRT_PRICE_X96 = 1461446703485210103287273052203988822378723970342;

    /// Transient: the address that must call next, first the vault, then the pool.
    bytes32 private constant AWAITED = keccak256("rebalancer.flash-filler.awaited");

    /// @notice The caller is not the expected one.
    error NotAwaited(address caller, address awaited);
    /// @notice The gain is below the caller's minimum {sell tok}.
    error GainTooSmall(uint256 gainRaw, uint256 minimumRaw);

    /* ANYONE */

    /// @notice Fills a vault from a pool.
    /// @return gainRaw what the caller gained {sell tok}
    function fill(Trade calldata t) external returns (uint256 gainRaw) {
        uint256[] memory words = ConfigCode.load(t.vault.config());
        uint256[] memory sales = new uint256[](words.assetCount());
        uint256[] memory buys = new uint256[](words.assetCount());
        (sales[t.sell], buys[t.buy]) = (t.soldRaw, t.boughtRaw);
        IERC20 sold = IERC20(words.token(t.sell));

        AWAITED.asAddress().tstore(address(t.vault));
        t.vault.rebalance(t.epoch, sales, buys, address(this), abi.encode(t.pool, sold, t.boughtRaw));
        AWAITED.asAddress().tstore(address(0));

        gainRaw = sold.balanceOf(address(this));
        if (gainRaw < t.minGainRaw) revert GainTooSmall(gainRaw, t.minGainRaw);
        sold.safeTransfer(msg.sender, gainRaw);
    }

    /* VAULT */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external {
        (IV3Pool pool, address sold, uint256 boughtRaw) = abi.decode(route, (IV3Pool, address, uint256));
        _await(address(pool));
        bool zeroForOne = pool.token0() == sold;
        pool.swap(
            msg.sender,
            zeroForOne,
            -boughtRaw.toInt256(),
            zeroForOne ? MIN_SQRT_PRICE_X96 + 1 : MAX_SQRT_PRICE_X96 - 1,
            abi.encode(sold)
        );
    }

    /* POOL */

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 amount0Delta, int256 amount1Delta, bytes calldata data) external {
        _await(address(0));
        int256 owed = amount0Delta > 0 ? amount0Delta : amount1Delta;
        if (owed > 0) IERC20(abi.decode(data, (address))).safeTransfer(msg.sender, uint256(owed));
    }

    /// @dev Refuses any caller but the expected one, and sets the next.
    function _await(address next) private {
        address awaited = AWAITED.asAddress().tload();
        if (msg.sender != awaited) revert NotAwaited(msg.sender, awaited);
        AWAITED.asAddress().tstore(next);
    }
}
