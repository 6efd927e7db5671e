// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { LocalToken } from "./MockToken.sol";

/// @title BlocklistToken
/// @notice USDC's quirks: single holders can be blocked, transfers can be stopped for everybody, and permits are signed for version "2" of
/// the domain. Anyone may block and pause here; function names are USDC's.
contract BlocklistToken is LocalToken {
    bool public paused;
    mapping(address holder => bool) public isBlacklisted;

    /// @notice All transfers are stopped.
    error TokenPaused();
    /// @notice The holder is blocked.
    error HolderBlacklisted(address holder);

    constructor(string memory name_, string memory symbol_, uint8 decimals_)
        LocalToken(name_, symbol_, decimals_, "2")
    { }

    /* ANYONE */

    /// @notice Blocks a holder.
    function blacklist(address holder) external {
        isBlacklisted[holder] = true;
    }

    /// @notice Unblocks a holder.
    function unBlacklist(address holder) external {
        isBlacklisted[holder] = false;
    }

    /// @notice Stops all transfers.
    function pause() external {
        paused = true;
    }

    /// @notice Allows transfers again.
    function unpause() external {
        paused = false;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (paused) revert TokenPaused();
        if (isBlacklisted[from]) revert HolderBlacklisted(from);
        if (isBlacklisted[to]) revert HolderBlacklisted(to);
        super._update(from, to, value);
    }
}
