// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "../interfaces/IBasketVault.sol";
import { IOracleHub } from "../interfaces/IOracleHub.sol";

import { Lists } from "./Lists.sol";
import { RebalancePolicy } from "./RebalancePolicy.sol";

/// @title ConfigCode
/// @notice Stores a vault's configuration as the code of a contract that cannot run. Reading n assets that way costs one cold account
/// (2,600 gas) and 3 gas per word. Storage would cost a cold slot (2,100 gas) for each.
/// LAYOUT. A STOP byte, then 32-byte words: oracle and number of assets; policy; glide and the rest of the policy; one word per asset with
/// what every rebalance reads; one more word per asset.
library ConfigCode {
    using Lists for uint256[];

    uint256 private constant HEAD_WORDS = 3;

    /// @notice The code that `load` reads: a STOP byte and the words.
    function pack(IBasketVault.Config memory config) internal pure returns (bytes memory code) {
        uint256 n = config.assets.length;
        uint256[] memory words = new uint256[](HEAD_WORDS + 2 * n);
        IBasketVault.Policy memory p = config.policy;
        words[0] = uint256(uint160(address(config.oracle))) | n << 160;
        words[1] = uint256(p.startSlippageBps) | uint256(p.maxSlippageBps) << 16 | uint256(p.slippageRampSeconds) << 32
            | uint256(p.minProgressBps) << 64 | uint256(p.dustBps) << 80 | uint256(p.cooldownSeconds) << 96
            | uint256(p.lossBudgetBps) << 128 | uint256(p.lossPeriodSeconds) << 144 | uint256(p.turnoverBudgetBps)
            << 176 | uint256(p.turnoverPeriodSeconds) << 192;
        words[2] = uint256(config.glideStart) | uint256(config.glideEnd) << 40 | uint256(p.destinationBps) << 80
            | uint256(p.calendarSeconds) << 96 | uint256(p.openAfterSeconds) << 128;
        for (uint256 i; i < n; ++i) {
            IBasketVault.Asset memory a = config.assets[i];
            words[HEAD_WORDS + i] = uint256(uint160(a.token)) | uint256(a.targetE18) << 160 | uint256(a.bandBps) << 224
                | uint256(a.decimals) << 240 | (a.excluded ? 1 << 248 : 0) | (a.relativeBandBps != 0 ? 1 << 249 : 0);
            words[HEAD_WORDS + n + i] =
                uint256(a.startTargetE18) | uint256(a.relativeBandBps) << 64 | uint256(a.minTradeRaw) << 80;
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

    function assetCount(uint256[] memory words) internal pure returns (uint256) {
        return words.at(0) >> 160;
    }

    function oracle(uint256[] memory words) internal pure returns (IOracleHub) {
        return IOracleHub(address(uint160(words.at(0))));
    }

    function policy(uint256[] memory words) internal pure returns (IBasketVault.Policy memory p) {
        uint256 w = words.at(1);
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
        w = words.at(2);
        p.destinationBps = uint16(w >> 80);
        p.calendarSeconds = uint32(w >> 96);
        p.openAfterSeconds = uint32(w >> 128);
    }

    function glideStart(uint256[] memory words) internal pure returns (uint256) {
        return uint40(words.at(2));
    }

    function glideEnd(uint256[] memory words) internal pure returns (uint256) {
        return uint40(words.at(2) >> 40);
    }

    /// @notice Word of an asset that every rebalance reads: token, target at the glide's end, band, decimals, excluded, narrow (whether it
    /// has a relative band).
    function assetWord(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        unchecked {
            return words.at(HEAD_WORDS + i);
        }
    }

    function token(uint256[] memory words, uint256 i) internal pure returns (address) {
        return address(uint160(assetWord(words, i)));
    }

    /// @notice The target at `timestamp`; see RebalancePolicy.
    function targetE18(uint256[] memory words, uint256 i, uint256 timestamp) internal pure returns (uint256) {
        uint256 endE18 = endTargetE18Of(assetWord(words, i));
        return
            RebalancePolicy.targetE18(startTargetE18(words, i), endE18, glideStart(words), glideEnd(words), timestamp);
    }

    function endTargetE18Of(uint256 word) internal pure returns (uint256) {
        return uint64(word >> 160);
    }

    /// @notice The band around a target; see RebalancePolicy.
    function bandE18(uint256[] memory words, uint256 i, uint256 word, uint256 targetE18_, uint256 dustBps)
        internal
        pure
        returns (uint256)
    {
        uint256 relativeBandBps_ = word >> 249 == 0 ? 0 : relativeBandBps(words, i);
        return RebalancePolicy.bandE18(uint16(word >> 224), relativeBandBps_, targetE18_, dustBps);
    }

    function unitOf(uint256 word) internal pure returns (uint256) {
        return 10 ** uint8(word >> 240);
    }

    function excluded(uint256[] memory words, uint256 i) internal pure returns (bool) {
        return assetWord(words, i) >> 248 & 1 != 0;
    }

    function startTargetE18(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return uint64(_second(words, i));
    }

    function relativeBandBps(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return uint16(_second(words, i) >> 64);
    }

    function minTradeRaw(uint256[] memory words, uint256 i) internal pure returns (uint256) {
        return uint128(_second(words, i) >> 80);
    }

    /// @notice The whole configuration as a struct.
    function unpack(uint256[] memory words) internal pure returns (IBasketVault.Config memory config) {
        config.oracle = oracle(words);
        config.policy = policy(words);
        config.glideStart = uint40(glideStart(words));
        config.glideEnd = uint40(glideEnd(words));
        config.assets = new IBasketVault.Asset[](assetCount(words));
        for (uint256 i; i < config.assets.length; ++i) {
            config.assets[i] = asset(words, i);
        }
    }

    // The casts reverse what `pack` did.
    function asset(uint256[] memory words, uint256 i) internal pure returns (IBasketVault.Asset memory a) {
        uint256 word = assetWord(words, i);
        a.token = address(uint160(word));
        a.targetE18 = uint64(endTargetE18Of(word));
        a.bandBps = uint16(word >> 224);
        a.decimals = uint8(word >> 240);
        a.relativeBandBps = uint16(relativeBandBps(words, i));
        a.minTradeRaw = uint128(minTradeRaw(words, i));
        a.startTargetE18 = uint64(startTargetE18(words, i));
        a.excluded = excluded(words, i);
    }

    function _second(uint256[] memory words, uint256 i) private pure returns (uint256) {
        unchecked {
            return words.at(HEAD_WORDS + assetCount(words) + i);
        }
    }
}
