// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { BoundedCall } from "../libraries/BoundedCall.sol";

/// @title RateGetter
/// @notice Reads a rate that a token itself tells: ERC-4626 `convertToAssets(one share)`, or a getter such as wstETH's
/// `stEthPerToken()`. Judges nothing.
library RateGetter {
    /// @notice What a getter without arguments answers, in its own decimals.
    function get(address target, bytes4 selector) internal view returns (bool answered, uint256 rate) {
        return _word(target, abi.encodePacked(selector));
    }

    /// @notice Assets of an ERC-4626 vault for one whole share, in the asset's decimals.
    function assetsPerShare(address vault, uint256 shareDecimals) internal view returns (bool answered, uint256 rate) {
        return _word(vault, abi.encodeWithSignature("convertToAssets(uint256)", 10 ** shareDecimals));
    }

    function _word(address target, bytes memory data) private view returns (bool answered, uint256 rate) {
        uint256[] memory words = new uint256[](1);
        answered = BoundedCall.read(target, data, words);
        rate = words[0];
    }
}
