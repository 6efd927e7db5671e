// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { IUniswapV3SwapCallback } from "@uniswap/v3-core/contracts/interfaces/callback/IUniswapV3SwapCallback.sol";

import { MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title MockPool
/// @notice The shape of a Uniswap V3 pool at a fixed price and without a fee: `rateE18` units of quote for a unit of base, times
/// 1e18. It mints what it pays. `asks` changes how it asks to be paid. A negative amount is what it must pay out, as in a real one; what it
/// asks for that rounds up. Tests with the real pool are in Python.
contract MockPool {
    using Math for uint256;

    enum Asks {
        Fairly,
        Nothing,
        Twice,
        TooMuch
    }

    MockToken public immutable token0;
    MockToken public immutable token1;
    MockToken private immutable BASE;
    MockToken private immutable QUOTE;
    uint256 public immutable rateE18;

    Asks public asks;
    /// Most of the input it takes; the rest stays with the payer, as at the end of a real pool's liquidity.
    uint256 public depth = type(uint256).max;

    error Unpaid(uint256 got, uint256 owed);

    constructor(MockToken base, MockToken quote, uint256 rateE18_) {
        (token0, token1) = base < quote ? (base, quote) : (quote, base);
        (BASE, QUOTE) = (base, quote);
        rateE18 = rateE18_;
    }

    function setAsks(Asks asks_) external {
        asks = asks_;
    }

    function setDepth(uint256 depth_) external {
        depth = depth_;
    }

    function swap(address recipient, bool zeroForOne, int256 amountSpecified, uint160, bytes calldata data)
        external
        returns (int256 amount0, int256 amount1)
    {
        MockToken paid = zeroForOne ? token0 : token1;
        bool sellsBase = paid == BASE;
        uint256 amountIn;
        uint256 amountOut;
        if (amountSpecified > 0) {
            amountIn = uint256(amountSpecified) > depth ? depth : uint256(amountSpecified);
            amountOut = sellsBase ? amountIn * rateE18 / 1e18 : amountIn * 1e18 / rateE18;
        } else {
            amountOut = uint256(-amountSpecified);
            amountIn = sellsBase ? (amountOut * 1e18).ceilDiv(rateE18) : (amountOut * rateE18).ceilDiv(1e18);
        }
        (sellsBase ? QUOTE : BASE).mint(recipient, amountOut);
        uint256 owed = asks == Asks.TooMuch ? amountIn + 1 : amountIn;
        (amount0, amount1) = zeroForOne ? (int256(owed), -int256(amountOut)) : (-int256(amountOut), int256(owed));
        if (asks == Asks.Nothing) return (amount0, amount1);
        uint256 before = paid.balanceOf(address(this));
        IUniswapV3SwapCallback(msg.sender).uniswapV3SwapCallback(amount0, amount1, data);
        uint256 got = paid.balanceOf(address(this)) - before;
        if (got < owed) revert Unpaid(got, owed);
        if (asks == Asks.Twice) IUniswapV3SwapCallback(msg.sender).uniswapV3SwapCallback(amount0, amount1, data);
    }

    /// @notice Asks a stranger for payment out of turn.
    function askAgain(address payer, bytes calldata data) external {
        IUniswapV3SwapCallback(payer).uniswapV3SwapCallback(1, -1, data);
    }
}

/// @title MockRouter
/// @notice The shape of SwapRouter02.exactInput over MockPools: one unit in, one unit out per `rateE18`, by the ends of the path alone.
contract MockRouter {
    struct ExactInputParams {
        bytes path;
        address recipient;
        uint256 amountIn;
        uint256 amountOutMinimum;
    }

    uint256 public immutable rateE18;

    constructor(uint256 rateE18_) {
        rateE18 = rateE18_;
    }

    function exactInput(ExactInputParams calldata p) external payable returns (uint256 amountOut) {
        IERC20 tokenIn = IERC20(address(bytes20(p.path[:20])));
        MockToken tokenOut = MockToken(address(bytes20(p.path[p.path.length - 20:])));
        tokenIn.transferFrom(msg.sender, address(this), p.amountIn);
        amountOut = p.amountIn * rateE18 / 1e18;
        tokenOut.mint(p.recipient, amountOut);
    }
}

/// @title MockWeth
/// @notice Wrapped ether as WETH9 does it.
contract MockWeth is MockToken {
    error WithdrawalFailed();

    constructor() MockToken("Wrapped Ether", "WETH", 18) { }

    receive() external payable {
        deposit();
    }

    function deposit() public payable {
        _mint(msg.sender, msg.value);
    }

    function withdraw(uint256 amount) external {
        _burn(msg.sender, amount);
        (bool done,) = msg.sender.call{ value: amount }("");
        if (!done) revert WithdrawalFailed();
    }
}
