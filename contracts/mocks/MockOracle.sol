// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";

/// @title MockOracle
/// @notice Answers `IOracleHub.prices` with stored prices: any spread, any size, any fault. For local chains only.
contract MockOracle {
    mapping(address token => IOracleHub.Price) private _prices;

    /* ANYONE */

    /// @notice Sets the prices of tokens.
    function setPrices(address[] calldata tokens, IOracleHub.Price[] calldata list) external {
        for (uint256 i; i < tokens.length; ++i) {
            _prices[tokens[i]] = list[i];
        }
    }

    /* VIEWS */

    /// @notice The stored prices, in the order of `tokens`.
    function prices(address[] calldata tokens) external view returns (IOracleHub.Price[] memory list) {
        list = new IOracleHub.Price[](tokens.length);
        for (uint256 i; i < tokens.length; ++i) {
            list[i] = _prices[tokens[i]];
        }
    }
}
