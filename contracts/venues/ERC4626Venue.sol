// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC4626 } from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @title ERC4626Venue
/// @notice Deposits an asset for shares of an ERC-4626 vault, and redeems them: tokenIn is the vault itself, or its asset. The vault pays
/// any recipient, so nothing is sent on. No limit is set: the receiver of the result checks it. No allowance remains after the call. Body:
/// vault (20).
abstract contract ERC4626Venue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant ERC_4626 = 8;

    function _swapOnERC4626(
        address tokenIn,
        address, // tokenOut follows from the vault
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 20);
        _sellsOnly(flags);
        address vault = _addressAt(body, 0);
        if (tokenIn == vault) {
            IERC4626(vault).redeem(amount, recipient, address(this));
        } else {
            IERC20(tokenIn).forceApprove(vault, amount);
            IERC4626(vault).deposit(amount, recipient);
            IERC20(tokenIn).forceApprove(vault, 0);
        }
    }
}
