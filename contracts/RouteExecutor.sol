// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "./interfaces/IExecutor.sol";
import { IRouteExecutor } from "./interfaces/IRouteExecutor.sol";
import { Lists } from "./libraries/Lists.sol";
import { BalancerV2Venue } from "./venues/BalancerV2Venue.sol";
import { BalancerV3Venue } from "./venues/BalancerV3Venue.sol";
import { CallVenue } from "./venues/CallVenue.sol";
import { CurveVenue } from "./venues/CurveVenue.sol";
import { ERC4626Venue } from "./venues/ERC4626Venue.sol";
import { PancakeSwapV3Venue } from "./venues/PancakeSwapV3Venue.sol";
import { SwapRouter02Venue } from "./venues/SwapRouter02Venue.sol";
import { UniswapV2Venue } from "./venues/UniswapV2Venue.sol";
import { UniswapV3Venue } from "./venues/UniswapV3Venue.sol";
import { UniswapV4Venue } from "./venues/UniswapV4Venue.sol";
import { WstETHVenue } from "./venues/WstETHVenue.sol";

/// @title RouteHops
/// @notice Format of a compact route, and the code for each of its hops, which trade the balance of this contract, for itself or for
/// `msg.sender`.
///
/// ROUTE. Hops one after another, each with a head of the same form and a body for its venue (see contracts/venues):
/// venue (1 byte), amount (16; 0 means the whole balance of tokenIn), tokenIn (20), tokenOut (20), flags (1), length of the body (2), body.
/// Flags of every venue: bit 0, `amount` is the output, and the input is what it costs; bit 1, the result goes straight to the caller; bits
/// 2 and 3, tokenIn and tokenOut are WETH here but ether at the venue. The other four bits belong to the venue.
/// Hops that name a part of the amount split a route, and hops that name 0 continue it. The writer of a route is trusted: if a venue pays
/// in another token than the hop names, that token stays here and anybody may take it. `rebalancer/route.py` writes routes.
abstract contract RouteHops is
    UniswapV3Venue,
    SwapRouter02Venue,
    UniswapV2Venue,
    UniswapV4Venue,
    BalancerV2Venue,
    CurveVenue,
    CallVenue,
    PancakeSwapV3Venue,
    ERC4626Venue,
    WstETHVenue,
    BalancerV3Venue
{
    uint256 internal constant HEAD = 60;

    /// @notice The hop at `position` {bytes} names an unknown venue.
    error UnknownVenue(uint256 position, uint256 venue);
    /// @notice The route ends inside the hop at `position` {bytes}.
    error TruncatedRoute(uint256 position, uint256 length);

    /// @dev Runs the hop that begins at `at`. Returns where the next begins, and whether the result went straight to the caller.
    function _hop(bytes calldata route, uint256 at)
        internal
        returns (uint256 next, address tokenIn, address tokenOut, bool paid)
    {
        uint8 venue;
        uint256 amount;
        uint8 flags;
        bytes calldata body;
        (next, venue, amount, tokenIn, tokenOut, flags, body) = _parse(route, at);
        paid = flags & TO_CALLER != 0;
        address to = paid ? msg.sender : address(this);
        if (amount == 0 && flags & EXACT_OUT == 0) amount = IERC20(tokenIn).balanceOf(address(this));

        if (venue == UNISWAP_V3) _swapOnV3(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == SWAP_ROUTER_02) _swapOnSwapRouter02(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == UNISWAP_V2) _swapOnUniswapV2(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == UNISWAP_V4) _swapOnUniswapV4(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == BALANCER_V2) _swapOnBalancerV2(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == CURVE) _swapOnCurve(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == ANY_CALL) _swapByAnyCall(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == ERC_4626) _swapOnERC4626(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == WSTETH) _swapOnWstETH(tokenIn, tokenOut, amount, flags, body, to);
        else if (venue == BALANCER_V3) _swapOnBalancerV3(tokenIn, tokenOut, amount, flags, body, to);
        else revert UnknownVenue(at, venue);
    }

    /// @dev The parts of the hop that begins at `at`, and where the next begins.
    function _parse(bytes calldata route, uint256 at)
        internal
        pure
        returns (
            uint256 next,
            uint8 venue,
            uint256 amount,
            address tokenIn,
            address tokenOut,
            uint8 flags,
            bytes calldata body
        )
    {
        // The two writes of `body` are its offset and its length.
        // slither-disable-start write-after-write
        assembly ("memory-safe") {
            // Each word ends where amount, tokenIn, or the head ends. Masks remove the bytes in front.
            let start := add(route.offset, at)
            let head := calldataload(start)
            venue := shr(248, head)
            amount := and(shr(120, head), 0xffffffffffffffffffffffffffffffff)
            tokenIn := and(calldataload(add(start, 5)), 0xffffffffffffffffffffffffffffffffffffffff)
            let tail := calldataload(add(start, 28))
            tokenOut := and(shr(24, tail), 0xffffffffffffffffffffffffffffffffffffffff)
            flags := and(shr(16, tail), 0xff)
            body.offset := add(start, HEAD)
            body.length := and(tail, 0xffff)
            next := add(add(at, HEAD), body.length)
        }
        // slither-disable-end write-after-write
        // A head that is cut off ends beyond the route, whatever body length was read from it.
        if (route.length < next) revert TruncatedRoute(at, route.length);
    }
}

/// @title RouteExecutor
/// @notice WHAT IT IS. The reference executor: swaps the tokens it was just sent along a route (see RouteHops), sends every result and
/// every leftover to its caller, and ends with no balance.
///
/// ROLES. None. Anyone may call it, for tokens they sent in the same transaction. It keeps no state, no allowance and no balance between
/// transactions. Tokens that are left here may be taken by anybody.
///
/// WE ASSUME NOTHING of routes, pools and routers: the caller measures what comes back and reverts if it is too little.
contract RouteExecutor is IRouteExecutor, RouteHops, ReentrancyGuardTransient {
    using Lists for address[];
    using SafeERC20 for IERC20;

    /* ANYONE */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external nonReentrant {
        // At most two tokens per hop (its input, and an output kept for later) can be left over. A hop has at least HEAD bytes.
        address[] memory touched = Lists.addresses(route.length / (HEAD / 2));
        uint256 count;
        for (uint256 at; at < route.length;) {
            address tokenIn;
            address tokenOut;
            bool paid;
            (at, tokenIn, tokenOut, paid) = _hop(route, at);
            unchecked {
                touched.set(count++, tokenIn); // at most two entries per hop
                if (!paid) touched.set(count++, tokenOut);
            }
        }
        for (uint256 i; i < count; ++i) {
            IERC20 token = IERC20(touched.at(i));
            uint256 left = token.balanceOf(address(this));
            if (left != 0) token.safeTransfer(msg.sender, left);
        }
    }

    /* VIEWS */

    /// @inheritdoc IRouteExecutor
    function readRoute(bytes calldata route)
        external
        pure
        returns (address[] memory tokensIn, address[] memory tokensOut)
    {
        // A hop has at least HEAD bytes, so the lists may be too long. The rest of them stays 0.
        tokensIn = new address[](route.length / HEAD);
        tokensOut = new address[](route.length / HEAD);
        address[] memory kept = new address[](route.length / HEAD); // outputs that later hops can take
        uint256 count;
        for (uint256 at; at < route.length; ++count) {
            uint256 amount;
            uint8 flags;
            (at,, amount, tokensIn[count], tokensOut[count], flags,) = _parse(route, at);
            for (uint256 i; amount == 0 && i < count; ++i) {
                if (kept[i] == tokensIn[count]) tokensOut[i] = address(0);
            }
            if (flags & TO_CALLER == 0) kept[count] = tokensOut[count];
        }
    }
}
