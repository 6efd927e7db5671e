// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "./interfaces/IExecutor.sol";
import { IV3Pool, UniswapV3Venue } from "./venues/UniswapV3Venue.sol";

/// @title RouteExecutor
/// @notice WHAT IT IS. The reference executor: turns the tokens it was just sent into others along a compact route, sends every result
/// and every leftover to its caller, and ends with nothing.
///
/// ROLES. None. Anyone may call it, for tokens they sent in the same transaction. It keeps no state, no allowance and no balance
/// between transactions; what somebody leaves here, anybody may take.
///
/// WE ASSUME NOTHING of routes, pools and routers: the caller measures what comes back and reverts if it is too little.
///
/// ROUTE. Hops one after another: venue (1 byte), amountIn (16; 0 means all there is of tokenIn), tokenIn (20), then
/// - venue 1, Uniswap V3 pool: pool (20), flags (1)
/// - venue 2, SwapRouter02: router (20), flags (1), number of pools k (1), packed path (20 + 23 k)
/// flags: bit 0, zero for one (venue 1 only); bit 1, the result goes straight to the caller. `rebalancer/plan/route.py` writes them.
contract RouteExecutor is IExecutor, UniswapV3Venue, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 private constant HEAD = 37;

    uint8 private constant UNISWAP_V3_POOL = 1;
    uint8 private constant SWAP_ROUTER_02 = 2;

    uint8 private constant ZERO_FOR_ONE = 1;
    uint8 private constant TO_CALLER = 2;

    /// @notice The route names a venue that is not known here.
    error UnknownVenue(uint256 position, uint256 venue);
    /// @notice The route ends in the middle of a hop.
    error TruncatedRoute(uint256 position, uint256 length);

    /* ANYONE */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external nonReentrant {
        // At most two tokens a hop (its input, and an output kept for later) can be left over; a hop has at least HEAD bytes.
        address[] memory touched = new address[](route.length / HEAD * 2);
        uint256 count;
        for (uint256 at; at < route.length;) {
            if (route.length < at + HEAD + 21) revert TruncatedRoute(at, route.length);
            uint8 venue = uint8(route[at]);
            uint256 amountIn = uint128(bytes16(route[at + 1:at + 17]));
            address tokenIn = address(bytes20(route[at + 17:at + 37]));
            address target = address(bytes20(route[at + 37:at + 57]));
            uint8 flags = uint8(route[at + 57]);
            address recipient = flags & TO_CALLER != 0 ? msg.sender : address(this);
            if (amountIn == 0) amountIn = IERC20(tokenIn).balanceOf(address(this));

            touched[count++] = tokenIn;
            if (venue == UNISWAP_V3_POOL) {
                bool zeroForOne = flags & ZERO_FOR_ONE != 0;
                _swapOnV3Pool(target, tokenIn, zeroForOne, amountIn, recipient);
                if (recipient == address(this)) {
                    touched[count++] = zeroForOne ? IV3Pool(target).token1() : IV3Pool(target).token0();
                }
                at += HEAD + 21;
            } else if (venue == SWAP_ROUTER_02) {
                if (route.length < at + HEAD + 22) revert TruncatedRoute(at, route.length);
                uint256 end = at + HEAD + 22 + 20 + 23 * uint256(uint8(route[at + 58]));
                if (route.length < end) revert TruncatedRoute(at, route.length);
                _swapOnRouter02(target, tokenIn, route[at + HEAD + 22:end], amountIn, recipient);
                if (recipient == address(this)) touched[count++] = address(bytes20(route[end - 20:end]));
                at = end;
            } else {
                revert UnknownVenue(at, venue);
            }
        }
        for (uint256 i; i < count; ++i) {
            uint256 left = IERC20(touched[i]).balanceOf(address(this));
            if (left != 0) IERC20(touched[i]).safeTransfer(msg.sender, left);
        }
    }
}
