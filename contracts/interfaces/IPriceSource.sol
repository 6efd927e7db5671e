// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "./IOracleHub.sol";

/// @title IPriceSource
/// @notice An adapter that reads one kind of price source for OracleHub. One adapter serves all tokens: it has no state and no owner.
/// `params` (packed bytes, stored in the hub) states what it reads for a token.
///
/// The hub checks the answer: zero, too large, older than the heartbeat, outside the sane range, or too far from the other source. The hub
/// calls `read` with bounded gas and takes three words of the answer, so an adapter that reverts, burns gas or returns anything else can
/// only make a price faulty. `check` and `readsFrom` are called only when an owner sets a feed or source; they may revert.
interface IPriceSource {
    /// @notice Price of one whole `token` now, with these parameters, rounded down.
    /// @return priceE18 price in the quote of the source: USD, or a token with a USD feed in the hub {quote18/whole token}
    /// @return updatedAt unix time of the answer; `block.timestamp` if the source is computed at the time of the call
    /// @return fault why there is no price; the other two words have no meaning then
    function read(address token, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault);

    /// @notice Reverts with an error of IOracleHub unless the parameters are well-formed and fit the token, the quote and the source.
    function check(address token, address quote, bytes calldata params) external view;

    /// @notice The contracts whose answers become the price. Two sources of one token must not have one in common.
    function readsFrom(address token, bytes calldata params) external view returns (address[] memory);
}
