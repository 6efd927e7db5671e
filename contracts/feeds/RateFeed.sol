// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { PriceSource } from "./PriceSource.sol";
import { RateGetter } from "./RateGetter.sol";

/// @title RateFeed
/// @notice A function without arguments that returns a rate in the quote, such as wstETH's `stEthPerToken()`, rounded down to 1e18. Params:
/// the contract (20), the function's selector (4), decimals of the rate (1).
contract RateFeed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        (priceE18, fault) = RateGetter.getE18(_addressAt(params, 0), bytes4(params[20:24]), uint8(params[24]));
        updatedAt = block.timestamp;
    }

    /// @inheritdoc IPriceSource
    function check(address, address, bytes calldata params) external pure {
        _checkLength(params, 25);
        _checkRateDecimals(uint8(params[24]));
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address, bytes calldata params) external pure returns (address[] memory) {
        return _list(_addressAt(params, 0));
    }
}
