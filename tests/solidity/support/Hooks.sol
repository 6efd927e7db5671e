// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IExecutor } from "../../../contracts/interfaces/IExecutor.sol";
import { IV4PoolManager } from "../../../contracts/venues/UniswapV4Venue.sol";
import { IUnlockCallback } from "./HostileVenues.sol";

/// @title Hooks
/// @notice Hooks of a Uniswap V4 pool that act after each swap, as `acts` says. PoolManager reads from the last bits of their address what
/// they want to be asked for, so tests put this code to an address that ends in `AFTER_SWAP`.
contract Hooks {
    enum Acts {
        Nothing,
        TakesACut,
        TakesAll,
        TakesMore,
        TakesBefore,
        TakesTooMuchBefore,
        Refuses,
        RunsARoute,
        CallsBack
    }

    /// beforeSwap and afterSwap, both of which may change what is owed.
    uint160 internal constant FLAGS = 1 << 7 | 1 << 6 | 1 << 3 | 1 << 2;
    uint256 internal constant CUT_BPS = 500;

    error NotToday(uint256 number);

    Acts public acts;

    function setActs(Acts acts_) external {
        acts = acts_;
    }

    function beforeSwap(
        address,
        IV4PoolManager.PoolKey calldata key,
        IV4PoolManager.SwapParams calldata p,
        bytes calldata
    ) external returns (bytes4, int256, uint24) {
        int128 cut;
        if (acts == Acts.TakesBefore || acts == Acts.TakesTooMuchBefore) {
            uint256 amount = uint256(-p.amountSpecified);
            if (acts == Acts.TakesTooMuchBefore) ++amount;
            else amount = amount * CUT_BPS / 10_000;
            IV4PoolManager(msg.sender).take(p.zeroForOne ? key.currency0 : key.currency1, address(this), amount);
            cut = int128(int256(amount));
        }
        return (this.beforeSwap.selector, int256(cut) << 128, 0);
    }

    function afterSwap(
        address executor,
        IV4PoolManager.PoolKey calldata key,
        IV4PoolManager.SwapParams calldata p,
        int256 delta,
        bytes calldata
    ) external returns (bytes4, int128 cut) {
        if (acts == Acts.Refuses) revert NotToday(13);
        if (acts == Acts.RunsARoute) IExecutor(executor).executeRoute("");
        if (acts == Acts.CallsBack) IUnlockCallback(executor).unlockCallback("");
        int128 out = p.zeroForOne ? int128(delta) : int128(delta >> 128);
        if (acts == Acts.TakesACut) cut = out * int128(int256(CUT_BPS)) / 10_000;
        if (acts == Acts.TakesAll) cut = out;
        if (acts == Acts.TakesMore) cut = out + 1;
        if (cut != 0) {
            address paid = p.zeroForOne ? key.currency1 : key.currency0;
            IV4PoolManager(msg.sender).take(paid, address(this), uint256(int256(cut)));
        }
        return (this.afterSwap.selector, cut);
    }
}
