// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title BareBasket
/// @notice WHAT IT IS. The least that a basket of tokens must do: take n tokens in for shares and give n tokens out for shares, from its
/// balances, with no ledger, limit, lock, role or check. Gas is measured against this minimum. It is not safe to hold anything.
contract BareBasket is ERC20 {
    IERC20[] private _tokens;

    constructor(IERC20[] memory tokens) ERC20("Bare basket", "BARE") {
        _tokens = tokens;
    }

    /* ANYONE */

    /// @notice Takes these amounts and mints as many shares as the caller names.
    function mint(uint256 shares, uint256[] calldata amounts) external {
        for (uint256 i; i < amounts.length; ++i) {
            // forge-lint: disable-next-line(erc20-unchecked-transfer) — the floor checks nothing
            _tokens[i].transferFrom(msg.sender, address(this), amounts[i]);
        }
        _mint(msg.sender, shares);
    }

    /// @notice Burns shares and gives the same part of every balance.
    function redeem(uint256 shares) external {
        uint256 supply = totalSupply();
        uint256 n = _tokens.length;
        for (uint256 i; i < n; ++i) {
            IERC20 token = _tokens[i];
            // forge-lint: disable-next-line(erc20-unchecked-transfer) — the floor checks nothing
            token.transfer(msg.sender, token.balanceOf(address(this)) * shares / supply);
        }
        _burn(msg.sender, shares);
    }
}
