// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC4626 } from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title MockShareVault
/// @notice WHAT IT IS. OpenZeppelin's ERC-4626 unchanged, with any offset between its decimals and the asset's. Tokens sent to it are its
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
/// @notice WHAT IT IS. A token that returns its own rate like wstETH. Anyone may set it. For local chains only.
contract MockStakedToken is ERC20 {
    uint256 public stEthPerToken;

    constructor(uint256 rate) ERC20("Wrapped staked ether", "wstETH") {
        stEthPerToken = rate;
    }

    /// @notice Sets the rate.
    function setRate(uint256 rate) external {
        stEthPerToken = rate;
    }
}

/// @title MockPauser
/// @notice WHAT IT IS. It returns whether a price is paused, like Robinhood's Stock Tokens. Anyone may set it. For local chains only.
contract MockPauser {
    bool public oraclePaused;

    /// @notice Sets the flag.
    function setOraclePaused(bool paused) external {
        oraclePaused = paused;
    }
}

/// @title MockObservations
/// @notice WHAT IT IS. The part of a Uniswap V3 pool that returns averages, with any two sums of ticks. Anyone may set them. For local
/// chains only.
contract MockObservations {
    address public immutable token0;
    address public immutable token1;

    int56[] private _sums = new int56[](2);

    constructor(address one, address other) {
        (token0, token1) = one < other ? (one, other) : (other, one);
    }

    /// @notice Sets the cumulative ticks at the start and the end of the window.
    function setSums(int56 before, int56 after_) external {
        (_sums[0], _sums[1]) = (before, after_);
    }

    /// @notice The two sums.
    function observe(uint32[] calldata) external view returns (int56[] memory, uint160[] memory) {
        return (_sums, new uint160[](2));
    }
}
