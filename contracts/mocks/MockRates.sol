// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC4626 } from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title MockShareVault
/// @notice WHAT IT IS. OpenZeppelin's ERC-4626 as it is, with any offset between its decimals and the asset's. What is sent to it is its
/// holders' gain. For local chains only.
contract MockShareVault is ERC4626 {
    uint8 private immutable DECIMALS_OFFSET;

    constructor(IERC20 asset_, uint8 decimalsOffset) ERC20("Shares", "SHARE") ERC4626(asset_) {
        DECIMALS_OFFSET = decimalsOffset;
    }

    function _decimalsOffset() internal view override returns (uint8) {
        return DECIMALS_OFFSET;
    }
}

/// @title MockStakedToken
/// @notice WHAT IT IS. A token that tells its own rate as wstETH does. Anyone may set it. For local chains only.
contract MockStakedToken is ERC20 {
    uint256 public stEthPerToken;

    constructor(uint256 rate) ERC20("Wrapped staked ether", "wstETH") {
        stEthPerToken = rate;
    }

    function setRate(uint256 rate) external {
        stEthPerToken = rate;
    }
}
