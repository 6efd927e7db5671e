// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @notice What is called on Balancer V2's Vault.
interface IBalancerV2Vault {
    struct SingleSwap {
        bytes32 poolId;
        uint8 kind; // 0: exactly `amount` goes in
        address assetIn;
        address assetOut;
        uint256 amount;
        bytes userData;
    }

    struct FundManagement {
        address sender;
        bool fromInternalBalance;
        address payable recipient;
        bool toInternalBalance;
    }

    function swap(SingleSwap calldata singleSwap, FundManagement calldata funds, uint256 limit, uint256 deadline)
        external
        payable
        returns (uint256 amountCalculated);
}

/// @title BalancerV2Venue
/// @notice Swaps on any pool of Balancer V2 through its Vault. Nothing else here knows Balancer. No limit is set: whoever receives the
/// result checks it.
abstract contract BalancerV2Venue {
    using SafeERC20 for IERC20;

    uint256 internal constant BALANCER_BODY_BYTES = 52;

    uint8 private constant GIVEN_IN = 0;

    /// @dev `body` is tokenOut (20), poolId (32). No allowance outlives the call.
    function _swapOnBalancer(address vault, address tokenIn, bytes calldata body, uint256 amountIn, address recipient)
        internal
        returns (address tokenOut)
    {
        tokenOut = address(bytes20(body));
        IERC20(tokenIn).forceApprove(vault, amountIn);
        IBalancerV2Vault(vault)
            .swap(
                IBalancerV2Vault.SingleSwap(bytes32(body[20:]), GIVEN_IN, tokenIn, tokenOut, amountIn, ""),
                IBalancerV2Vault.FundManagement(address(this), false, payable(recipient), false),
                0,
                block.timestamp
            );
        IERC20(tokenIn).forceApprove(vault, 0);
    }
}
