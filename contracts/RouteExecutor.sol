// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IExecutor } from "./interfaces/IExecutor.sol";
import { IRouteExecutor } from "./interfaces/IRouteExecutor.sol";
import { Lists } from "./libraries/Lists.sol";
import { BalancerV2Venue } from "./venues/BalancerV2Venue.sol";
import { CallVenue } from "./venues/CallVenue.sol";
import { CurveVenue } from "./venues/CurveVenue.sol";
import { UniswapV2Venue } from "./venues/UniswapV2Venue.sol";
import { IV3Pool, UniswapV3Venue } from "./venues/UniswapV3Venue.sol";
import { UniswapV4Venue } from "./venues/UniswapV4Venue.sol";

/// @title RouteHops
/// @notice What a compact route says, and how each of its hops is made: with what this contract holds, for itself or for `msg.sender`.
///
/// ROUTE. Hops one after another: venue (1 byte), amountIn (16; 0 means all there is of tokenIn), tokenIn (20), target (20), flags (1),
/// then what the venue needs
/// - 1, Uniswap V3 pool (the target): nothing
/// - 2, SwapRouter02: number of pools k (1), packed path (20 + 23 k)
/// - 3, Uniswap V2 pair, or a fork's: feeBps (2)
/// - 4, Uniswap V4's PoolManager: tokenOut (20), fee (3), tickSpacing (3, signed), hooks (20)
/// - 5, Balancer V2's Vault: tokenOut (20), poolId (32)
/// - 6, Curve pool: tokenOut (20), i (1), j (1)
/// - 7, any call: spender (20; 0 if none), tokenOut (20), offset in the data for the amount (2; 65535 for nowhere), length (2), data
/// - 8, Uniswap V3 pool (the target) again, but amountIn is what comes out, and as much goes in as that costs: nothing
/// flags: bit 0, zero for one (venues 1, 3, 8); bit 1, the result goes straight to the caller (not venue 6); bits 2 and 3, tokenIn and
/// tokenOut are WETH here but ether there (venues 4, 7); bit 4, coins are counted with uint256 instead of int128 (venue 6); bit 5, spender is
/// paid ahead of the call instead of being allowed to take (venue 7).
/// A route is split by hops that name a part of the amount, and goes on by hops that name 0. `rebalancer/plan/route.py` writes them.
abstract contract RouteHops is UniswapV3Venue, UniswapV2Venue, UniswapV4Venue, BalancerV2Venue, CurveVenue, CallVenue {
    uint256 internal constant HEAD = 58;
    uint256 private constant ADDRESS = 20;
    uint256 private constant ADDRESS_AND_FEE = 23;

    uint8 private constant UNISWAP_V3_POOL = 1;
    uint8 private constant SWAP_ROUTER_02 = 2;
    uint8 private constant UNISWAP_V2_PAIR = 3;
    uint8 private constant UNISWAP_V4 = 4;
    uint8 private constant BALANCER_V2 = 5;
    uint8 private constant CURVE_POOL = 6;
    uint8 private constant ANY_CALL = 7;
    uint8 private constant UNISWAP_V3_POOL_OUT = 8;

    uint8 private constant ZERO_FOR_ONE = 1;
    uint8 private constant TO_CALLER = 2;

    /// @notice The route names a venue that is not known here.
    error UnknownVenue(uint256 position, uint256 venue);
    /// @notice The route ends in the middle of a hop.
    error TruncatedRoute(uint256 position, uint256 length);

    /// @dev Makes the hop that begins at `at` and says where the next begins. A token that went straight to the caller is asked for by
    /// name only if somebody wants to know.
    function _hop(bytes calldata route, uint256 at, bool tells)
        internal
        returns (uint256 next, address tokenIn, address tokenOut)
    {
        if (route.length < at + HEAD) revert TruncatedRoute(at, route.length);
        // Words that end where venue and amountIn, tokenIn, and target and flags end: the casts cut what stands before.
        uint256 word = _word(route, at) >> 120;
        uint8 venue = uint8(word >> 128);
        uint256 amountIn = uint128(word);
        tokenIn = address(uint160(_word(route, at + 5)));
        word = _word(route, at + 26);
        address target = address(uint160(word >> 8));
        uint8 flags = uint8(word);
        address recipient = flags & TO_CALLER != 0 ? msg.sender : address(this);
        if (amountIn == 0 && venue != UNISWAP_V3_POOL_OUT) amountIn = IERC20(tokenIn).balanceOf(address(this));

        if (venue == UNISWAP_V3_POOL || venue == UNISWAP_V3_POOL_OUT) {
            bool zeroForOne = flags & ZERO_FOR_ONE != 0;
            int256 amount = _toInt(amountIn);
            _swapOnV3Pool(target, tokenIn, zeroForOne, venue == UNISWAP_V3_POOL ? amount : -amount, recipient);
            if (tells || recipient == address(this)) {
                tokenOut = zeroForOne ? IV3Pool(target).token1() : IV3Pool(target).token0();
            }
            return (at + HEAD, tokenIn, tokenOut);
        }
        bytes calldata body = _body(venue, route, at);
        return
            (at + HEAD + body.length, tokenIn, _swapElsewhere(venue, target, tokenIn, flags, body, amountIn, recipient));
    }

    /// @dev The 32 bytes from `at` on; the head is known to be inside the route.
    function _word(bytes calldata route, uint256 at) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(route.offset, at))
        }
    }

    /// @dev What stands between the head of the hop that begins at `at` and the next hop.
    function _body(uint8 venue, bytes calldata route, uint256 at) private pure returns (bytes calldata) {
        if (venue == SWAP_ROUTER_02) {
            uint256 pools = uint8(_slice(route, at, 1)[0]);
            return _slice(route, at, 1 + ADDRESS + ADDRESS_AND_FEE * pools);
        }
        if (venue == UNISWAP_V2_PAIR) return _slice(route, at, V2_BODY_BYTES);
        if (venue == UNISWAP_V4) return _slice(route, at, V4_BODY_BYTES);
        if (venue == BALANCER_V2) return _slice(route, at, BALANCER_BODY_BYTES);
        if (venue == CURVE_POOL) return _slice(route, at, CURVE_BODY_BYTES);
        if (venue == ANY_CALL) {
            return _slice(route, at, CALL_BODY_BYTES + _dataBytes(_slice(route, at, CALL_BODY_BYTES)));
        }
        revert UnknownVenue(at, venue);
    }

    /// @dev So many bytes after the head of the hop that begins at `at`.
    function _slice(bytes calldata route, uint256 at, uint256 length) private pure returns (bytes calldata) {
        if (route.length < at + HEAD + length) revert TruncatedRoute(at, route.length);
        return route[at + HEAD:at + HEAD + length];
    }

    /// @dev At the venues with a body; `_body` let no others through, so the last needs no check.
    function _swapElsewhere(
        uint8 venue,
        address target,
        address tokenIn,
        uint8 flags,
        bytes calldata body,
        uint256 amountIn,
        address recipient
    ) private returns (address tokenOut) {
        if (venue == SWAP_ROUTER_02) {
            _swapOnRouter02(target, tokenIn, body[1:], amountIn, recipient);
            return address(bytes20(body[body.length - ADDRESS:]));
        }
        if (venue == UNISWAP_V2_PAIR) {
            return _swapOnV2Pair(target, tokenIn, flags & ZERO_FOR_ONE != 0, body, amountIn, recipient);
        }
        if (venue == UNISWAP_V4) return _swapOnV4(target, tokenIn, flags, body, amountIn, recipient);
        if (venue == BALANCER_V2) return _swapOnBalancer(target, tokenIn, body, amountIn, recipient);
        if (venue == CURVE_POOL) return _swapOnCurve(target, tokenIn, flags, body, amountIn);
        return _swapByCall(target, tokenIn, flags, body, amountIn, recipient);
    }

    /* READING */

    /// @dev What the hop that begins at `at` would do, without doing it.
    function _readHop(bytes calldata route, uint256 at)
        internal
        view
        returns (uint256 next, address tokenIn, address tokenOut, bool takesAll, bool toCaller)
    {
        if (route.length < at + HEAD) revert TruncatedRoute(at, route.length);
        uint256 word = _word(route, at) >> 120;
        uint8 venue = uint8(word >> 128);
        takesAll = uint128(word) == 0;
        tokenIn = address(uint160(_word(route, at + 5)));
        word = _word(route, at + 26);
        toCaller = uint8(word) & TO_CALLER != 0;
        bool bare = venue == UNISWAP_V3_POOL || venue == UNISWAP_V3_POOL_OUT;
        bytes calldata body = bare ? _slice(route, at, 0) : _body(venue, route, at);
        tokenOut = _tokenOut(venue, address(uint160(word >> 8)), uint8(word), body);
        next = at + HEAD + body.length;
    }

    /// @dev What a hop swaps to.
    function _tokenOut(uint8 venue, address target, uint8 flags, bytes calldata body) private view returns (address) {
        if (venue == UNISWAP_V3_POOL || venue == UNISWAP_V3_POOL_OUT || venue == UNISWAP_V2_PAIR) {
            return flags & ZERO_FOR_ONE != 0 ? IV3Pool(target).token1() : IV3Pool(target).token0();
        }
        if (venue == SWAP_ROUTER_02) return address(bytes20(body[body.length - ADDRESS:]));
        if (venue == ANY_CALL) return address(bytes20(body[ADDRESS:]));
        return address(bytes20(body));
    }
}

/// @title RouteExecutor
/// @notice WHAT IT IS. The reference executor: turns the tokens it was just sent into others along a route (see RouteHops), sends every
/// result and every leftover to its caller, and ends with nothing.
///
/// ROLES. None. Anyone may call it, for tokens they sent in the same transaction. It keeps no state, no allowance and no balance
/// between transactions; what somebody leaves here, anybody may take.
///
/// WE ASSUME NOTHING of routes, pools and routers: the caller measures what comes back and reverts if it is too little.
contract RouteExecutor is IRouteExecutor, RouteHops, ReentrancyGuardTransient {
    using Lists for address[];
    using SafeERC20 for IERC20;

    /* ANYONE */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external nonReentrant {
        // At most two tokens a hop (its input, and an output kept for later) can be left over; a hop has at least HEAD bytes.
        address[] memory touched = Lists.addresses(route.length / HEAD * 2);
        uint256 count;
        for (uint256 at; at < route.length;) {
            address tokenIn;
            address tokenOut;
            (at, tokenIn, tokenOut) = _hop(route, at, false);
            touched.set(count++, tokenIn);
            if (tokenOut != address(0)) touched.set(count++, tokenOut);
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
        view
        returns (address[] memory tokensIn, address[] memory tokensOut)
    {
        // A hop has at least HEAD bytes, so there may be entries left, which stay 0.
        tokensIn = new address[](route.length / HEAD);
        tokensOut = new address[](route.length / HEAD);
        address[] memory kept = new address[](route.length / HEAD); // what later hops can take
        uint256 count;
        for (uint256 at; at < route.length; ++count) {
            bool takesAll;
            bool toCaller;
            (at, tokensIn[count], tokensOut[count], takesAll, toCaller) = _readHop(route, at);
            for (uint256 i; takesAll && i < count; ++i) {
                if (kept[i] == tokensIn[count]) tokensOut[i] = address(0);
            }
            if (!toCaller) kept[count] = tokensOut[count];
        }
    }
}
