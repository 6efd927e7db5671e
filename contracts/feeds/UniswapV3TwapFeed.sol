// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IUniswapV3PoolImmutables } from "@uniswap/v3-core/contracts/interfaces/pool/IUniswapV3PoolImmutables.sol";

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { PriceSource } from "./PriceSource.sol";
import { UniswapV3Twap } from "./UniswapV3Twap.sol";

/// @title UniswapV3TwapFeed
/// @notice Price in a Uniswap V3 pool of the token and its quote, averaged over a window, rounded down. Params: pool (20), window in
/// seconds (4), decimals of the token (1) and of the quote (1), whether the token is the pool's token0 (1).
contract UniswapV3TwapFeed is PriceSource {
    uint256 private constant MIN_WINDOW_SECONDS = 600; // an attacker must hold a pool at a wrong price for 50 blocks of mainnet

    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        (bool answered, int256 tick) = UniswapV3Twap.meanTick(_addressAt(params, 0), _window(params));
        if (!answered) return (0, 0, IOracleHub.Fault.CallFailed);
        // A pool's price is the price of token0.
        if (params[26] == 0) tick = -tick;
        priceE18 = UniswapV3Twap.priceE18(tick, uint8(params[24]), uint8(params[25]));
        return (priceE18, block.timestamp, IOracleHub.Fault.None);
    }

    /// @inheritdoc IPriceSource
    function check(address token, address quote, bytes calldata params) external view {
        _checkLength(params, 27);
        if (_window(params) < MIN_WINDOW_SECONDS) {
            revert IOracleHub.WindowTooShort(_window(params), MIN_WINDOW_SECONDS);
        }
        IUniswapV3PoolImmutables pool = IUniswapV3PoolImmutables(_addressAt(params, 0));
        bool first = params[26] == 0x01;
        (address token0, address token1) = first ? (token, quote) : (quote, token);
        // Any other byte would be read as true.
        bool known = first || params[26] == 0;
        if (!known || pool.token0() != token0 || pool.token1() != token1) {
            revert IOracleHub.SourceOfOthers(address(pool), token, quote);
        }
        _checkTokenDecimals(token, uint8(params[24]));
        _checkTokenDecimals(quote, uint8(params[25]));
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address, bytes calldata params) external pure returns (address[] memory) {
        return _list(_addressAt(params, 0));
    }

    function _window(bytes calldata params) private pure returns (uint256) {
        return uint32(bytes4(params[20:24]));
    }
}
