// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC4626 } from "@openzeppelin/contracts/interfaces/IERC4626.sol";

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { PriceSource } from "./PriceSource.sol";
import { RateGetter } from "./RateGetter.sol";

/// @title ERC4626Feed
/// @notice Price of a token that is an ERC-4626 vault, in its asset, which is the quote: `convertToAssets` of one share, rounded down.
/// Params: decimals of the share (1) and of the asset (1).
contract ERC4626Feed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address token, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        (priceE18, fault) = RateGetter.assetsPerShareE18(token, uint8(params[0]), uint8(params[1]));
        updatedAt = block.timestamp;
    }

    /// @inheritdoc IPriceSource
    function check(address token, address quote, bytes calldata params) external view {
        _checkLength(params, 2);
        if (IERC4626(token).asset() != quote) revert IOracleHub.SourceOfOthers(token, token, quote);
        _checkTokenDecimals(token, uint8(params[0]));
        _checkTokenDecimals(quote, uint8(params[1]));
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address token, bytes calldata) external pure returns (address[] memory) {
        return _list(token);
    }
}
