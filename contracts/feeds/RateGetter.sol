// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { BoundedCall } from "../libraries/BoundedCall.sol";

/// @title RateGetter
/// @notice Reads a rate that a contract returns: ERC-4626 `convertToAssets(one share)`, or a getter such as wstETH's
/// `stEthPerToken()`. Rates are scaled to 1e18, rounded down. Decimals are at most 27.
library RateGetter {
    /// @notice Rate from a getter without arguments, which returns it with `decimals`.
    function getE18(address target, bytes4 selector, uint256 decimals)
        internal
        view
        returns (uint256 rateE18, IOracleHub.Fault fault)
    {
        return _scaled(target, abi.encodePacked(selector), decimals);
    }

    /// @notice Assets of an ERC-4626 vault for one whole share {whole assets times 1e18}.
    function assetsPerShareE18(address vault, uint256 shareDecimals, uint256 assetDecimals)
        internal
        view
        returns (uint256 rateE18, IOracleHub.Fault fault)
    {
        bytes memory data = abi.encodeWithSignature("convertToAssets(uint256)", 10 ** shareDecimals);
        return _scaled(vault, data, assetDecimals);
    }

    /// @dev A rate above 2^128 cannot be sane, and scaling it could overflow.
    function _scaled(address target, bytes memory data, uint256 decimals)
        private
        view
        returns (uint256, IOracleHub.Fault)
    {
        uint256[] memory words = new uint256[](1);
        if (!BoundedCall.read(target, data, words)) return (0, IOracleHub.Fault.CallFailed);
        if (words[0] > type(uint128).max) return (0, IOracleHub.Fault.OutOfRange);
        return (words[0] * 1e18 / 10 ** decimals, IOracleHub.Fault.None);
    }
}
