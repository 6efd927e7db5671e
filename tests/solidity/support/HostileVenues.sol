// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";

import { IExecutor } from "../../../contracts/interfaces/IExecutor.sol";
import { MockToken } from "../../../contracts/mocks/MockToken.sol";
import { CallBox } from "../../../contracts/venues/CallVenue.sol";
import { PancakeSwapV3Venue } from "../../../contracts/venues/PancakeSwapV3Venue.sol";

interface IUnlockCallback {
    function unlockCallback(bytes calldata data) external returns (bytes memory);
}

/// @title HostileManager
/// @notice The shape of Uniswap V4's PoolManager; what it does wrong is decided by `acts`. Tests with the real one are in Python.
contract HostileManager {
    enum Acts {
        Fairly,
        AsksTwice,
        NeverAsks,
        AsksTooMuch,
        ChangesOrder,
        Reenters
    }

    Acts public acts;
    bytes internal kept;
    MockToken internal paid;

    /// Pays in this token, one unit for each that goes in.
    constructor(MockToken paid_) {
        paid = paid_;
    }

    function setActs(Acts acts_) external {
        acts = acts_;
    }

    function unlock(bytes calldata data) external returns (bytes memory) {
        kept = data;
        if (acts == Acts.NeverAsks) return "";
        if (acts == Acts.Reenters) IExecutor(msg.sender).executeRoute("");
        if (acts == Acts.ChangesOrder) kept[31] ^= 0x01; // the last bit of the token that goes in
        IUnlockCallback(msg.sender).unlockCallback(kept);
        if (acts == Acts.AsksTwice) IUnlockCallback(msg.sender).unlockCallback(data);
        return "";
    }

    /// @notice Asks for payment when nobody is swapping here any more.
    function askLater(IUnlockCallback payer) external {
        payer.unlockCallback(kept);
    }

    struct PoolKey {
        address currency0;
        address currency1;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
    }

    struct SwapParams {
        bool zeroForOne;
        int256 amountSpecified;
        uint160 sqrtPriceLimitX96;
    }

    function swap(PoolKey calldata, SwapParams calldata p, bytes calldata) external view returns (int256) {
        int128 owed = int128(p.amountSpecified);
        if (acts == Acts.AsksTooMuch) owed -= 1;
        (int128 delta0, int128 delta1) = p.zeroForOne ? (owed, -owed) : (-owed, owed);
        return int256(delta0) << 128 | int256(uint256(uint128(delta1)));
    }

    function sync(address) external { }

    function settle() external payable returns (uint256) { }

    function take(address, address to, uint256 amount) external {
        paid.mint(to, amount);
    }

    /// @notice Sends ether to an account that did not request it.
    function push(address to) external payable {
        (bool done, bytes memory answer) = to.call{ value: msg.value }("");
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}

/// @title MockPair
/// @notice The interface of a Uniswap V2 pair without its checks: it pays the amount in the call, and may call back first.
contract MockPair {
    MockToken public token0;
    MockToken public token1;
    uint112 public reserve0 = 1e24;
    uint112 public reserve1 = 1e24;
    address public reenters;

    constructor(MockToken token0_, MockToken token1_) {
        (token0, token1) = token0_ < token1_ ? (token0_, token1_) : (token1_, token0_);
        token0_.mint(address(this), reserve0);
        token1_.mint(address(this), reserve1);
    }

    function reenter(address executor) external {
        reenters = executor;
    }

    function getReserves() external view returns (uint112, uint112, uint32) {
        return (reserve0, reserve1, 0);
    }

    function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes calldata) external {
        if (reenters != address(0)) IExecutor(reenters).executeRoute("");
        if (amount0Out != 0) token0.transfer(to, amount0Out);
        if (amount1Out != 0) token1.transfer(to, amount1Out);
    }
}

/// @title Reenterer
/// @notice Whatever is called on it runs another route on its caller: a hostile vault of Balancer or a hostile pool of Curve.
contract Reenterer {
    fallback() external {
        IExecutor(msg.sender).executeRoute("");
    }
}

/// @title MockSwapper
/// @notice What CallVenue calls: a fair swap at one to one, and what a hostile target may try on the way.
contract MockSwapper {
    error NoLuck(uint256 number);

    address public lastCaller;

    function swap(IERC20 tokenIn, MockToken tokenOut, uint256 amountIn) public {
        lastCaller = msg.sender;
        tokenIn.transferFrom(msg.sender, address(this), amountIn);
        tokenOut.mint(msg.sender, amountIn);
    }

    /// @notice Swaps fairly and tries to use its caller for itself.
    function swapAndUseTheBox(IERC20 tokenIn, MockToken tokenOut, uint256 amountIn) external {
        swap(tokenIn, tokenOut, amountIn);
        CallBox.Order memory order =
            CallBox.Order(address(this), address(this), tokenIn, tokenOut, address(this), false, false);
        CallBox(payable(msg.sender)).run(order, "");
    }

    /// @notice Pays for what was sent here ahead, as a router that pays out of what it holds.
    function swapWhatArrived(IERC20 tokenIn, MockToken tokenOut) external {
        lastCaller = msg.sender;
        tokenOut.mint(msg.sender, tokenIn.balanceOf(address(this)));
    }

    /// @notice Pays one to one for the ether that comes with the call, of which it takes `amountIn` and gives the rest back.
    function swapEther(MockToken tokenOut, uint256 amountIn) external payable {
        lastCaller = msg.sender;
        tokenOut.mint(msg.sender, amountIn);
        if (msg.value != amountIn) payable(msg.sender).transfer(msg.value - amountIn);
    }

    /// @notice Pays one to one in ether.
    function swapForEther(IERC20 tokenIn, uint256 amountIn) external {
        lastCaller = msg.sender;
        tokenIn.transferFrom(msg.sender, address(this), amountIn);
        payable(msg.sender).transfer(amountIn);
    }

    function reenter(IExecutor executor) external {
        executor.executeRoute("");
    }

    function fail() external pure {
        revert NoLuck(13);
    }
}

/// @title Thief
/// @notice Every venue in one, and at each it takes what it can get and pays one unit of `paid` for it: all that it is allowed or sent,
/// half of that, or more than that.
contract Thief {
    MockToken public token0; // what it is sold
    MockToken public token1;
    MockToken internal paid;
    uint256 public part = 1;
    /// How much more than its due it asks for.
    uint256 public greed;
    /// Whether it asks as a pool of PancakeSwap V3 does.
    bool public isPancake;
    /// The token it asks for, where it may say so: nobody's, if zero.
    address public asksFor;
    address public lastCaller;

    constructor(MockToken token0_, MockToken token1_, MockToken paid_) {
        (token0, token1, paid) = (token0_, token1_, paid_);
    }

    /// @notice From now on it takes half.
    function takeHalf() external {
        part = 2;
    }

    function askFor(address token) external {
        asksFor = token;
    }

    /// @notice From now on it is a pool of PancakeSwap V3, or one of Uniswap V3.
    function playPancake(bool plays) external {
        isPancake = plays;
    }

    /// @notice From now on it asks for so much more.
    function want(uint256 more) external {
        greed = more;
    }

    /// @notice What a target of any call is called with.
    function take(IERC20 token) external {
        _take(token);
        paid.mint(msg.sender, 1);
    }

    function _take(IERC20 token) private {
        lastCaller = msg.sender;
        token.transferFrom(msg.sender, address(this), token.allowance(msg.sender, address(this)) / part + greed);
    }

    /* UNISWAP V2 AND V3 */

    function getReserves() external view returns (uint112, uint112, uint32) {
        // Without what is sent next: that is what the pair was given.
        (MockToken first, MockToken last) = token0 < token1 ? (token0, token1) : (token1, token0);
        return (uint112(first.balanceOf(address(this))), uint112(last.balanceOf(address(this))), 0);
    }

    function swap(uint256, uint256, address to, bytes calldata) external {
        if (greed != 0) _take(token0);
        paid.mint(to, 1);
    }

    function swap(address to, bool, int256 amount, uint160, bytes calldata) external returns (int256, int256) {
        paid.mint(to, 1);
        bytes memory data = asksFor == address(0) ? bytes("") : abi.encode(asksFor);
        if (amount < 0) amount = 0; // what comes out; what goes in is for the pool to say
        int256 owed = amount + int256(greed);
        if (isPancake) PancakeSwapV3Venue(msg.sender).pancakeV3SwapCallback(owed, -1, data);
        else IUniswapV3SwapCallback(msg.sender).uniswapV3SwapCallback(owed, -1, data);
        return (amount, -1);
    }

    struct ExactInputParams {
        bytes path;
        address recipient;
        uint256 amountIn;
        uint256 amountOutMinimum;
    }

    function exactInput(ExactInputParams calldata p) external returns (uint256) {
        _take(IERC20(address(bytes20(p.path[:20]))));
        paid.mint(p.recipient, 1);
        return 1;
    }

    /* UNISWAP V4 */

    function unlock(bytes calldata data) external returns (bytes memory) {
        return IUnlockCallback(msg.sender).unlockCallback(data);
    }

    function swap(HostileManager.PoolKey calldata, HostileManager.SwapParams calldata p, bytes calldata)
        external
        view
        returns (int256)
    {
        int128 owed = int128(p.amountSpecified) - int128(uint128(greed));
        (int128 delta0, int128 delta1) = p.zeroForOne ? (owed, int128(1)) : (int128(1), owed);
        return int256(delta0) << 128 | int256(uint256(uint128(delta1)));
    }

    function sync(address) external { }

    function settle() external payable returns (uint256) { }

    function take(address, address to, uint256 amount) external {
        paid.mint(to, amount);
    }

    /* BALANCER */

    struct SingleSwap {
        bytes32 poolId;
        uint8 kind;
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

    function swap(SingleSwap calldata s, FundManagement calldata funds, uint256, uint256) external returns (uint256) {
        _take(IERC20(s.assetIn));
        paid.mint(funds.recipient, 1);
        return s.amount; // and says it paid well
    }

    /* CURVE */

    function exchange(int128, int128, uint256, uint256) external {
        _take(token0);
        paid.mint(msg.sender, 1);
    }

    /* ERC-4626 AND WSTETH */

    function deposit(uint256, address receiver) external returns (uint256) {
        _take(token0);
        paid.mint(receiver, 1);
        return 1;
    }

    function wrap(uint256) external returns (uint256) {
        _take(token0);
        paid.mint(msg.sender, 1);
        return 1;
    }
}
