// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { IUniswapV3MintCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3MintCallback.sol";
import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";
import { IUniswapV3Pool } from "@uniswap/v3-core/contracts/interfaces/IUniswapV3Pool.sol";

import { IExecutor } from "../interfaces/IExecutor.sol";

/// @title ImpersonatedAccount
/// @notice WHAT IT IS. An attacker's contract: it makes the calls that it is given, in one transaction: in a direct call, as a vault's
/// executor, or inside a token's callback. It pays what Uniswap V3's pools request, from its own balance.
///
/// Anybody may use it, and its callbacks do not check the caller. For local chains only.
contract ImpersonatedAccount is IExecutor, IUniswapV3MintCallback, IUniswapV3SwapCallback {
    using SafeERC20 for IERC20;

    /// @param mayFail whether the following calls still run if this one is refused
    struct Act {
        address target;
        bool mayFail;
        bytes data;
    }

    /// @notice A call with `mayFail` was refused.
    event Refused(address indexed target, bytes reason);

    /* ANYONE */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external {
        run(abi.decode(route, (Act[])));
    }

    /// @notice Makes all calls in order.
    function run(Act[] memory acts) public {
        for (uint256 i; i < acts.length; ++i) {
            (bool done, bytes memory answer) = acts[i].target.call(acts[i].data);
            if (done) continue;
            if (acts[i].mayFail) {
                emit Refused(acts[i].target, answer);
                continue;
            }
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    /* POOLS */

    /// @inheritdoc IUniswapV3MintCallback
    function uniswapV3MintCallback(uint256 owed0, uint256 owed1, bytes calldata) external {
        if (owed0 != 0) IERC20(IUniswapV3Pool(msg.sender).token0()).safeTransfer(msg.sender, owed0);
        if (owed1 != 0) IERC20(IUniswapV3Pool(msg.sender).token1()).safeTransfer(msg.sender, owed1);
    }

    /// @inheritdoc IUniswapV3SwapCallback
    function uniswapV3SwapCallback(int256 delta0, int256 delta1, bytes calldata) external {
        // A positive delta is what the pool must receive; at most one of the two is.
        if (delta0 > 0) IERC20(IUniswapV3Pool(msg.sender).token0()).safeTransfer(msg.sender, uint256(delta0));
        if (delta1 > 0) IERC20(IUniswapV3Pool(msg.sender).token1()).safeTransfer(msg.sender, uint256(delta1));
    }
}
