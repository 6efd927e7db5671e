// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { RouteHops } from "./RouteExecutor.sol";
import { IZapExecutor } from "./interfaces/IZap.sol";

/// @title ZapExecutor
/// @notice WHAT IT IS. The Zap's own executor, made by it. Routes (see RouteHops) may call any contract, so they run here and not in the
/// contract that users approve. Only the Zap may start a route, so no other account can use what lies here between two of its steps.
///
/// LEFTOVERS. Everything goes back to the Zap: the rest of the tokens it sent, and of every token that a hop sells or buys.
contract ZapExecutor is IZapExecutor, RouteHops {
    using SafeERC20 for IERC20;

    /// The Zap that made this executor.
    address public immutable ZAP = msg.sender;

    /* ZAP */

    /// @inheritdoc IZapExecutor
    /// @dev The Zap's lock also protects this contract.
    function executeRoute(address[] calldata sent, bytes calldata route) external returns (address[] memory touched) {
        if (msg.sender != ZAP) revert NotTheZap(msg.sender);
        // A hop touches two tokens at most, and has at least HEAD bytes.
        touched = new address[](sent.length + route.length / HEAD * 2);
        uint256 count;
        for (uint256 i; i < sent.length; ++i) {
            count = _touch(touched, count, sent[i]);
        }
        for (uint256 at; at < route.length;) {
            address tokenIn;
            address tokenOut;
            (at, tokenIn, tokenOut,) = _hop(route, at);
            count = _touch(touched, count, tokenIn);
            count = _touch(touched, count, tokenOut);
        }
        assembly ("memory-safe") {
            mstore(touched, count) // the list is shorter than its allocation
        }
        for (uint256 i; i < count; ++i) {
            uint256 left = IERC20(touched[i]).balanceOf(address(this));
            if (left != 0) IERC20(touched[i]).safeTransfer(ZAP, left);
        }
    }

    /// @dev Adds a token to the first `count` entries of the list, unless it is among them. Returns the new count.
    function _touch(address[] memory touched, uint256 count, address token) private pure returns (uint256) {
        for (uint256 i; i < count; ++i) {
            if (touched[i] == token) return count;
        }
        touched[count] = token;
        return count + 1;
    }
}
