// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "./MockToken.sol";

/// @title PausableToken
/// @notice WBTC's quirk: transfers can be stopped for everybody. Anyone may do it here.
contract PausableToken is MockToken {
    bool public paused;

    /// @notice All transfers are stopped.
    error TokenPaused();

    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    /* ANYONE */

    /// @notice Stops all transfers.
    function pause() external {
        paused = true;
    }

    /// @notice Allows transfers again.
    function unpause() external {
        paused = false;
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        if (paused) revert TokenPaused();
        super._update(from, to, value);
    }
}
