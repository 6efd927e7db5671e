// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "../interfaces/IBasketVault.sol";
import { IOracleHub } from "../interfaces/IOracleHub.sol";

import { Lists } from "./Lists.sol";

/// @title ConfigCode
/// @notice Keeps a vault's configuration as the code of a contract that cannot run. Reading n assets that way costs one cold account
/// (2,600 gas) and 3 gas a word, where storage would cost a cold slot (2,100 gas) for each.
/// LAYOUT. A STOP byte, then 32-byte words: oracle; policy; one word an asset.
library ConfigCode {
    using Lists for uint256[];

    uint256 private constant HEAD_WORDS = 2;

    /// @notice What `load` will read: a STOP byte and the words.
    function pack(IBasketVault.Config memory config) internal pure returns (bytes memory code) {
        uint256 n = config.assets.length;
        uint256[] memory words = new uint256[](HEAD_WORDS + n);
        words[0] = uint160(address(config.oracle));
        words[1] = _packPolicy(config.policy);
        for (uint256 i; i < n; ++i) {
            IBasketVault.Asset memory a = config.assets[i];
            words[HEAD_WORDS + i] = uint256(uint160(a.token)) | uint256(a.targetE18) << 160 | uint256(a.bandBps) << 224
                | uint256(a.decimals) << 240;
        }
        return abi.encodePacked(hex"00", words);
    }

    /// @notice All words of a configuration.
    function load(address pointer) internal view returns (uint256[] memory words) {
        assembly ("memory-safe") {
            let size := sub(extcodesize(pointer), 1)
            words := mload(0x40)
            mstore(words, shr(5, size))
            mstore(0x40, add(add(words, 32), size))
            extcodecopy(pointer, add(words, 32), 1, size)
        }
    }

    function _asset(uint256[] memory words, uint256 i) private pure returns (uint256) {
        unchecked {
            return words.at(i + HEAD_WORDS);
        }
    }

    function assetCount(uint256[] memory words) internal pure returns (uint256) {
        return words.length - HEAD_WORDS;
    }

    function token(uint256[] memory words, uint256 i) internal pure returns (address) {
        return address(uint160(_asset(words, i)));
    }

    function targetE18(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return uint64(_asset(words, i) >> 160);
    }

    function bandBps(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return uint16(_asset(words, i) >> 224);
    }

    /// @notice 10**decimals {tok/whole}.
    function unit(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return 10 ** uint8(_asset(words, i) >> 240);
    }

    function oracle(uint256[] memory words) internal pure returns (IOracleHub) {
        return IOracleHub(address(uint160(words[0])));
    }

    function policy(uint256[] memory words) internal pure returns (IBasketVault.Policy memory p) {
        uint256 w = words[1];
        p.startSlippageBps = uint16(w);
        p.maxSlippageBps = uint16(w >> 16);
        p.slippageRampSeconds = uint32(w >> 32);
        p.minProgressBps = uint16(w >> 64);
        p.dustBps = uint16(w >> 80);
        p.cooldownSeconds = uint32(w >> 96);
        p.lossBudgetBps = uint16(w >> 128);
        p.lossPeriodSeconds = uint32(w >> 144);
        p.turnoverBudgetBps = uint16(w >> 176);
        p.turnoverPeriodSeconds = uint32(w >> 192);
    }

    function unpack(uint256[] memory words) internal pure returns (IBasketVault.Config memory config) {
        config.oracle = oracle(words);
        config.policy = policy(words);
        uint256 n = assetCount(words);
        config.assets = new IBasketVault.Asset[](n);
        for (uint256 i; i < n; ++i) {
            uint256 w = words[HEAD_WORDS + i];
            config.assets[i] =
                IBasketVault.Asset(address(uint160(w)), uint64(w >> 160), uint16(w >> 224), uint8(w >> 240));
        }
    }

    function _packPolicy(IBasketVault.Policy memory p) private pure returns (uint256) {
        return uint256(p.startSlippageBps) | uint256(p.maxSlippageBps) << 16 | uint256(p.slippageRampSeconds) << 32
            | uint256(p.minProgressBps) << 64 | uint256(p.dustBps) << 80 | uint256(p.cooldownSeconds) << 96
            | uint256(p.lossBudgetBps) << 128 | uint256(p.lossPeriodSeconds) << 144 | uint256(p.turnoverBudgetBps)
            << 176 | uint256(p.turnoverPeriodSeconds) << 192;
    }
}
