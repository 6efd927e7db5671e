// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { Venue } from "./Venue.sol";

/// @notice The function of Balancer V2's Vault that is used here.
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

    /// @notice Swaps, and takes and pays the tokens {tok}. `limit` is the least output; `deadline` is a unix time.
    function swap(SingleSwap calldata singleSwap, FundManagement calldata funds, uint256 limit, uint256 deadline)
        external
        payable
        returns (uint256 amountCalculated);
}

/// @title BalancerV2Venue
/// @notice Swaps on any pool of Balancer V2 through its Vault. No limit is set: the receiver of the result checks it. No allowance remains
/// after the call. Body: Vault (20), poolId (32).
abstract contract BalancerV2Venue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant BALANCER_V2 = 5;

    uint8 private constant GIVEN_IN = 0;

    function _swapOnBalancerV2(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 52);
        _sellsOnly(flags);
        address vault = _addressAt(body, 0);
        IERC20(tokenIn).forceApprove(vault, amount);
        IBalancerV2Vault(vault)
            .swap(
                IBalancerV2Vault.SingleSwap(bytes32(body[20:]), GIVEN_IN, tokenIn, tokenOut, amount, ""),
                IBalancerV2Vault.FundManagement(address(this), false, payable(recipient), false),
                0,
                block.timestamp
            );
        IERC20(tokenIn).forceApprove(vault, 0);
    }
}
