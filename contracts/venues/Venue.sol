// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title Venue
/// @notice What the adapters of all venues have in common. An adapter is one abstract contract with
/// - `uint8 internal constant <NAME>`, the number of the venue in a route, which is never used again for another venue;
/// - `function _swapOn<Name>(address tokenIn, address tokenOut, uint256 amount, uint8 flags, bytes calldata body, address recipient)
///   internal`, which sells `amount` of `tokenIn` from the balance of this contract and has the result sent to `recipient`. With EXACT_OUT,
///   `amount` is the output instead. An adapter that cannot do that reverts.
/// RouteExecutor has a line that calls it. No other code knows the venue.
abstract contract Venue {
    /// Flags of every hop.
    uint8 internal constant EXACT_OUT = 1;
    uint8 internal constant TO_CALLER = 2;
    /// tokenIn and tokenOut are WETH here, but ether at the venue.
    uint8 internal constant ETHER_IN = 4;
    uint8 internal constant ETHER_OUT = 8;

    /// @notice The body of a hop has another length than its venue requires {bytes}.
    error BadBody(uint256 length, uint256 expected);
    /// @notice The venue supports exact input only.
    error ExactOutUnknown();

    function _checkBody(bytes calldata body, uint256 expected) internal pure {
        if (body.length != expected) revert BadBody(body.length, expected);
    }

    /// @dev The address that begins at a byte of a body. The caller has checked that the body is long enough.
    function _addressAt(bytes calldata body, uint256 at) internal pure returns (address found) {
        assembly ("memory-safe") {
            found := shr(96, calldataload(add(body.offset, at)))
        }
    }

    function _sellsOnly(uint8 flags) internal pure {
        if (flags & EXACT_OUT != 0) revert ExactOutUnknown();
    }
}
