// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice One asset's entry in a vault's ledger: an amount {tok} below 2^120, and two flags above it. Two entries share a storage slot.
type Holding is uint128;

using Holdings for Holding global;

/// @title Holdings
/// @notice Reads and changes ledger entries. The flags share the slot of the amount, so a rebalance or a redemption that needs them reads
/// no further slot.
library Holdings {
    /// Largest amount of one asset {tok}.
    uint256 internal constant MAX_RAW = (1 << 120) - 1;

    uint256 private constant CLAIMED = 1 << 120;
    uint256 private constant BARRED = 1 << 121;

    /// @notice Amount that the vault holds for its shares, by the ledger {tok}.
    function amountRaw(Holding h) internal pure returns (uint256) {
        return Holding.unwrap(h) & MAX_RAW;
    }

    /// @notice Whether the token has open claims, which are not part of the amount.
    function isClaimed(Holding h) internal pure returns (bool) {
        return Holding.unwrap(h) & CLAIMED != 0;
    }

    /// @notice Whether the asset may not be bought.
    function isBarred(Holding h) internal pure returns (bool) {
        return Holding.unwrap(h) & BARRED != 0;
    }

    /// @notice Both entries of asset i's storage slot: the even asset in the lower half, the odd one in the upper half.
    function pairOf(Holding[16] storage ledger, uint256 i) internal view returns (uint256 pair) {
        assembly ("memory-safe") {
            pair := sload(add(ledger.slot, shr(1, i)))
        }
    }

    /// @notice Writes both entries.
    function setPair(Holding[16] storage ledger, uint256 i, uint256 pair) internal {
        assembly ("memory-safe") {
            sstore(add(ledger.slot, shr(1, i)), pair)
        }
    }

    /// @notice Asset i's entry of its pair.
    function inPair(uint256 pair, uint256 i) internal pure returns (Holding) {
        unchecked {
            return Holding.wrap(uint128(pair >> ((i & 1) << 7)));
        }
    }

    /// @notice The pair with another entry of asset i.
    function withEntry(uint256 pair, uint256 i, Holding h) internal pure returns (uint256) {
        unchecked {
            uint256 shift = (i & 1) << 7;
            return pair & ~(uint256(type(uint128).max) << shift) | uint256(Holding.unwrap(h)) << shift;
        }
    }

    /// @notice The entry with another amount {tok}. The caller proves that it is at most `MAX_RAW`.
    function withAmount(Holding h, uint256 raw) internal pure returns (Holding) {
        return Holding.wrap(uint128(Holding.unwrap(h) & ~MAX_RAW | raw));
    }

    function withClaimed(Holding h, bool on) internal pure returns (Holding) {
        return Holding.wrap(uint128(on ? Holding.unwrap(h) | CLAIMED : Holding.unwrap(h) & ~CLAIMED));
    }

    function withBarred(Holding h, bool on) internal pure returns (Holding) {
        return Holding.wrap(uint128(on ? Holding.unwrap(h) | BARRED : Holding.unwrap(h) & ~BARRED));
    }
}
