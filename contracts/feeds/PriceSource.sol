// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";

/// @title PriceSource
/// @notice Checks of packed parameters and decimals, which all adapters share.
abstract contract PriceSource is IPriceSource {
    uint256 internal constant MAX_TOKEN_DECIMALS = 27;

    function _checkLength(bytes calldata params, uint256 expected) internal pure {
        if (params.length != expected) revert IOracleHub.ParamsLength(params.length, expected);
    }

    /// @dev The address that begins at this byte. Reading past the end reverts, which the hub treats as a failed call.
    function _addressAt(bytes calldata params, uint256 at) internal pure returns (address) {
        return address(bytes20(params[at:at + 20]));
    }

    function _checkRateDecimals(uint256 decimals) internal pure {
        if (decimals > MAX_TOKEN_DECIMALS) revert IOracleHub.FeedDecimalsTooMany(decimals, MAX_TOKEN_DECIMALS);
    }

    function _checkTokenDecimals(address token, uint256 decimals) internal view {
        _checkRateDecimals(decimals);
        uint256 actual = IERC20Metadata(token).decimals();
        if (actual != decimals) revert IOracleHub.FeedDecimals(token, decimals, actual);
    }

    function _list(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }
}
