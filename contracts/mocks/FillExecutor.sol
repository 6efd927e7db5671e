// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { IExecutor } from "../interfaces/IExecutor.sol";

/// @title FillExecutor
/// @notice Sends its caller exactly the amounts that its route names, out of its balance, and keeps the rest: a market in which the test
/// decides every fill. For local chains only.
contract FillExecutor is IExecutor {
    using SafeERC20 for IERC20;

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external {
        (IERC20[] memory tokens, uint256[] memory amounts) = abi.decode(route, (IERC20[], uint256[]));
        for (uint256 i; i < tokens.length; ++i) {
            tokens[i].safeTransfer(msg.sender, amounts[i]);
        }
    }
}
