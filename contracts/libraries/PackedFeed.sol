// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice A feed and its rules in one word, so that checking a price reads one storage slot. From the lowest bit:
///
/// | feed 160 | heartbeatSeconds 32 | feedDecimals 8 | minPrice 24 | maxPrice 24 | flags 8 |
type PackedFeed is uint256;

using PackedFeeds for PackedFeed global;

/// @title PackedFeeds
/// @notice THE SANE RANGE is stored as two floats of 24 bits: value = mantissa << exponent, mantissa of 17 bits above an exponent of 7.
/// ROUNDING is inward: the smallest price up, the largest down, so a stored range is never wider than requested. A normalised mantissa is
/// at least 2^16, so either end moves by less than one part in 2^16 (0.0016 %), and values below 2^17 do not move.
library PackedFeeds {
    uint256 private constant HEARTBEAT_AT = 160;
    uint256 private constant DECIMALS_AT = 192;
    uint256 private constant MIN_AT = 200;
    uint256 private constant MAX_AT = 224;
    uint256 private constant FLAGS_AT = 248;

    uint256 private constant EXPONENT_BITS = 7;
    uint256 private constant EXPONENT_MASK = 127;
    uint256 private constant MANTISSA_BITS = 17;

    /// @notice The word, without flags. If no float is inside the range, the result is empty: `minPriceE18` above `maxPriceE18`.
    function pack(address feed_, uint32 heartbeatSeconds_, uint8 feedDecimals_, uint128 minE18, uint128 maxE18)
        internal
        pure
        returns (PackedFeed)
    {
        return PackedFeed.wrap(
            uint256(uint160(feed_)) | uint256(heartbeatSeconds_) << HEARTBEAT_AT | uint256(feedDecimals_) << DECIMALS_AT
                | encodeUp(minE18) << MIN_AT | encodeDown(maxE18) << MAX_AT
        );
    }

    function feed(PackedFeed f) internal pure returns (address) {
        return address(uint160(PackedFeed.unwrap(f)));
    }

    function heartbeatSeconds(PackedFeed f) internal pure returns (uint256) {
        return uint32(PackedFeed.unwrap(f) >> HEARTBEAT_AT);
    }

    function feedDecimals(PackedFeed f) internal pure returns (uint256) {
        return uint8(PackedFeed.unwrap(f) >> DECIMALS_AT);
    }

    /// @return {usd18/whole token}
    function minPriceE18(PackedFeed f) internal pure returns (uint256) {
        return decode(PackedFeed.unwrap(f) >> MIN_AT);
    }

    /// @return {usd18/whole token}
    function maxPriceE18(PackedFeed f) internal pure returns (uint256) {
        return decode(PackedFeed.unwrap(f) >> MAX_AT);
    }

    /// @notice Flags for the hub's other storage of the token. Without flags, no other slot is read.
    function flags(PackedFeed f) internal pure returns (uint256) {
        return PackedFeed.unwrap(f) >> FLAGS_AT;
    }

    /// @notice The same feed with these flags and no others.
    function withFlags(PackedFeed f, uint256 flags_) internal pure returns (PackedFeed) {
        return PackedFeed.wrap(PackedFeed.unwrap(f) << 8 >> 8 | flags_ << FLAGS_AT);
    }

    /// @notice The same feed with a range that holds every price: zero to (2^17 - 1) << 127.
    function unranged(PackedFeed f) internal pure returns (PackedFeed) {
        uint256 min = uint256(type(uint24).max) << MIN_AT;
        return PackedFeed.wrap((PackedFeed.unwrap(f) & ~min) | uint256(type(uint24).max) << MAX_AT);
    }

    /// @notice The largest float not above the value.
    function encodeDown(uint128 value) internal pure returns (uint256) {
        uint256 exponent = _exponent(value);
        return uint256(value) >> exponent << EXPONENT_BITS | exponent;
    }

    /// @notice The smallest float not below the value; it may be 2^128.
    function encodeUp(uint128 value) internal pure returns (uint256) {
        uint256 exponent = _exponent(value);
        uint256 mantissa = uint256(value) >> exponent;
        if (mantissa << exponent != value) ++mantissa;
        // A mantissa that rounding carried past 17 bits is a power of two, so halving it is exact.
        if (mantissa >> MANTISSA_BITS != 0) (mantissa, exponent) = (mantissa >> 1, exponent + 1);
        return mantissa << EXPONENT_BITS | exponent;
    }

    /// @notice The value of the float in the lowest 24 bits; higher bits are ignored.
    function decode(uint256 float) internal pure returns (uint256) {
        return uint256(uint24(float)) >> EXPONENT_BITS << (float & EXPONENT_MASK);
    }

    /// @dev Number of bits to shift out so that 17 remain: 0 to 111.
    function _exponent(uint128 value) private pure returns (uint256) {
        uint256 log = Math.log2(value);
        return log < MANTISSA_BITS ? 0 : log - MANTISSA_BITS + 1;
    }
}
