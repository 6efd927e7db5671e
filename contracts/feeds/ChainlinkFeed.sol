// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { Chainlink } from "./Chainlink.sol";
import { PriceSource } from "./PriceSource.sol";

/// @title ChainlinkFeed
/// @notice A Chainlink-style feed. Params: feed (20), its decimals (1).
contract ChainlinkFeed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        return Chainlink.priceOf(_addressAt(params, 0), uint8(params[20]));
    }

    /// @inheritdoc IPriceSource
    function check(address, address, bytes calldata params) external view {
        _checkLength(params, 21);
        Chainlink.checkDecimals(_addressAt(params, 0), uint8(params[20]));
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address, bytes calldata params) external pure returns (address[] memory) {
        return _list(_addressAt(params, 0));
    }
}
