// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { BoundedCall } from "../libraries/BoundedCall.sol";
import { Chainlink } from "./Chainlink.sol";
import { PriceSource } from "./PriceSource.sol";

/// @notice The function of a contract that can pause a price.
interface IOraclePaused {
    /// @notice Whether the price must not be used.
    function oraclePaused() external view returns (bool);
}

/// @title PausableFeed
/// @notice A Chainlink-style feed together with a contract that has `oraclePaused()`. While the flag is set, the price has the fault
/// `Paused`; while the flag cannot be read, `CallFailed`. Robinhood's Stock Tokens have the flag: the issuer sets it on the token during a
/// corporate action, and the token's feed does not stop (https://docs.robinhood.com/chain/oracles-and-price-feeds). Params: feed (20), its
/// decimals (1), the contract with the flag (20).
contract PausableFeed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        uint256[] memory paused = new uint256[](1);
        bytes memory data = abi.encodeCall(IOraclePaused.oraclePaused, ());
        if (!BoundedCall.read(_addressAt(params, 21), data, paused)) return (0, 0, IOracleHub.Fault.CallFailed);
        if (paused[0] != 0) return (0, 0, IOracleHub.Fault.Paused);
        return Chainlink.priceOf(_addressAt(params, 0), uint8(params[20]));
    }

    /// @inheritdoc IPriceSource
    function check(address, address, bytes calldata params) external view {
        _checkLength(params, 41);
        Chainlink.checkDecimals(_addressAt(params, 0), uint8(params[20]));
    }

    /// @inheritdoc IPriceSource
    /// @dev The flag is not part of the price: it can only stop both sources at once.
    function readsFrom(address, bytes calldata params) external pure returns (address[] memory) {
        return _list(_addressAt(params, 0));
    }
}
