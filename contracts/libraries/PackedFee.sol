// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultBase } from "../interfaces/IBasketVault.sol";

/// @notice An `IVaultBase.Fee` in one word, which every mint and redemption reads and writes. From the lowest bit: pendingShares (128),
/// accruedAt (40), streamingBps (16), entryBps (16), exitBps (16), leastShift (8), leastSupply (32).
type PackedFee is uint256;

using PackedFees for PackedFee global;

/// @title PackedFees
/// @notice Reads and changes a packed fee without unpacking the rest.
library PackedFees {
    uint256 private constant ACCRUED = (1 << 168) - 1;
    uint256 private constant RATES = ((1 << 48) - 1) << 168;
    uint256 private constant LEAST = ((1 << 40) - 1) << 216;

    function pendingShares(PackedFee f) internal pure returns (uint256) {
        return uint128(PackedFee.unwrap(f));
    }

    function accruedAt(PackedFee f) internal pure returns (uint256) {
        return uint40(PackedFee.unwrap(f) >> 128);
    }

    function streamingBps(PackedFee f) internal pure returns (uint256) {
        return uint16(PackedFee.unwrap(f) >> 168);
    }

    function entryBps(PackedFee f) internal pure returns (uint256) {
        return uint16(PackedFee.unwrap(f) >> 184);
    }

    function exitBps(PackedFee f) internal pure returns (uint256) {
        return uint16(PackedFee.unwrap(f) >> 200);
    }

    /// @notice The smallest supply since the performance fee was last settled, rounded down {share}.
    function leastShares(PackedFee f) internal pure returns (uint256) {
        uint256 least = PackedFee.unwrap(f) >> 224;
        return least << _shift(f);
    }

    /// @notice The fee accrued up to `at` (unix time). `pending` {share} is below 2^128 and `at` below 2^40.
    function withAccrued(PackedFee f, uint256 pending, uint256 at) internal pure returns (PackedFee) {
        return PackedFee.wrap(PackedFee.unwrap(f) & ~ACCRUED | pending | at << 128);
    }

    function withRates(PackedFee f, IVaultBase.Fees calldata fees) internal pure returns (PackedFee) {
        uint256 rates = uint256(fees.streamingBps) << 168 | uint256(fees.entryBps) << 184 | uint256(fees.exitBps) << 200;
        return PackedFee.wrap(PackedFee.unwrap(f) & ~RATES | rates);
    }

    /// @notice The fee after the supply was `shares` {share}: its least supply is that number, rounded down, if it is lower.
    function lowered(PackedFee f, uint256 shares) internal pure returns (PackedFee) {
        uint256 least = shares >> _shift(f);
        if (least >= PackedFee.unwrap(f) >> 224) return f;
        return PackedFee.wrap(PackedFee.unwrap(f) << 32 >> 32 | least << 224); // below 2^32, as it shrank
    }

    /// @notice The fee with a new least supply of `shares` {share}, whose 32 highest bits are kept.
    /// @param bits number of bits of `shares`
    function withLeast(PackedFee f, uint256 shares, uint256 bits) internal pure returns (PackedFee) {
        uint256 shift = bits > 32 ? bits - 32 : 0;
        return PackedFee.wrap(PackedFee.unwrap(f) & ~LEAST | shift << 216 | shares >> shift << 224);
    }

    // The casts reverse the packing.
    function unpack(PackedFee f) internal pure returns (IVaultBase.Fee memory) {
        return IVaultBase.Fee({
            pendingShares: uint128(f.pendingShares()),
            accruedAt: uint40(f.accruedAt()),
            streamingBps: uint16(f.streamingBps()),
            entryBps: uint16(f.entryBps()),
            exitBps: uint16(f.exitBps()),
            leastShift: uint8(_shift(f)),
            leastSupply: uint32(PackedFee.unwrap(f) >> 224)
        });
    }

    function _shift(PackedFee f) private pure returns (uint256) {
        return uint8(PackedFee.unwrap(f) >> 216);
    }
}
