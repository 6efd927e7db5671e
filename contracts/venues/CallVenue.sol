// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";

import { IEtherWrapper } from "../interfaces/IEtherWrapper.sol";
import { Venue } from "./Venue.sol";

/// @title CallBox
/// @notice Makes one call with the tokens it was sent and sends everything on. Each clone is used once, by CallVenue. What the call
/// arranges for its sender beyond that (an allowance, an operator, a registration) is arranged for an address that never acts again.
contract CallBox {
    using SafeERC20 for IERC20;

    struct Order {
        address target;
        address spender; // nobody, if zero
        IERC20 tokenIn;
        IERC20 tokenOut;
        address recipient;
        bool etherIn;
        bool etherOut;
    }

    address private immutable EXECUTOR = msg.sender;

    /// @notice Whoever is called must not use the box for itself while it holds tokens.
    error NotTheExecutor(address caller);
    /// @notice The target paid in ether, which the order does not foresee.
    error PaidInEther(address target, uint256 amountWei);

    /// @notice Calls the target with `data`, while the spender may take all there is of tokenIn, or with all of it as ether; then sends
    /// what is left of it to the executor and all of tokenOut to the recipient. Ether that came of it is wrapped first.
    function run(Order calldata o, bytes calldata data) external {
        if (msg.sender != EXECUTOR) revert NotTheExecutor(msg.sender);
        // Whoever foresees this address may send it ether: it stays here, and holds nobody up.
        uint256 strayWei = address(this).balance;
        uint256 valueWei;
        if (o.spender != address(0)) o.tokenIn.forceApprove(o.spender, o.tokenIn.balanceOf(address(this)));
        if (o.etherIn) {
            valueWei = o.tokenIn.balanceOf(address(this));
            IEtherWrapper(address(o.tokenIn)).withdraw(valueWei);
        }
        // The route names the target, and the ether is its caller's own.
        // slither-disable-next-line arbitrary-send-eth
        (bool done, bytes memory answer) = o.target.call{ value: valueWei }(data);
        Address.verifyCallResult(done, answer); // reverts with the reason of the target where it refused
        if (o.spender != address(0)) o.tokenIn.forceApprove(o.spender, 0);
        _wrap(o, address(this).balance - strayWei);
        _sendAll(o.tokenOut, o.recipient);
        _sendAll(o.tokenIn, EXECUTOR);
    }

    /// @dev From the wrapper, whose transfer leaves too little gas to ask who it is, and from a target that pays in ether.
    receive() external payable { }

    /// @dev What a swap for ether brings is the result; what a swap of ether leaves is given back.
    function _wrap(Order calldata o, uint256 amountWei) private {
        if (amountWei == 0) return;
        if (!o.etherIn && !o.etherOut) revert PaidInEther(o.target, amountWei);
        // As above.
        // slither-disable-next-line arbitrary-send-eth
        IEtherWrapper(address(o.etherOut ? o.tokenOut : o.tokenIn)).deposit{ value: amountWei }();
    }

    function _sendAll(IERC20 token, address to) private {
        uint256 amount = token.balanceOf(address(this));
        if (amount != 0) token.safeTransfer(to, amount);
    }
}

/// @title CallVenue
/// @notice Swaps by any call at all: an aggregator with the calldata its service returned, or a venue that has no adapter here.
///
/// PAYMENT. The target, or whoever takes the tokens for it, may take the amount; or is paid it before the call, as routers want it that
/// pay out of what they hold (Uniswap's UniversalRouter) and as pools do that count what arrived (Curve's `exchange_received`).
/// Where it wants or pays ether, the hop names WETH: all of the amount is unwrapped, and ether that comes back is wrapped.
/// Whoever wants a permit signed by its caller is not served.
///
/// WHY A CLONE. A call to anywhere, made by the executor, could leave an allowance on it that takes from the next one's route. So the
/// call is made by a contract of its own, new for every hop (41,000 gas), which gets this hop's tokens and nothing else.
///
/// BODY. target (20), spender (20; 0 if none), offset (2), data. The amount is written over the 32 bytes of data from offset on, unless
/// that is 65,535.
abstract contract CallVenue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant ANY_CALL = 7;

    /// Flag: spender is paid ahead of the call instead of being allowed to take.
    uint8 private constant PAID_FIRST = 32;

    uint256 private constant DATA_AT = 42;

    /// The amount is in the data already.
    uint256 private constant FIXED = type(uint16).max;

    address payable private immutable BOX = payable(new CallBox());

    /// @notice The place for the amount does not lie inside the data.
    error AmountOutsideData(uint256 offset, uint256 length);

    function _swapByAnyCall(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        if (body.length < DATA_AT) revert BadBody(body.length, DATA_AT);
        _sellsOnly(flags);
        address spender = _addressAt(body, 20);
        uint256 offset = uint16(bytes2(body[40:]));
        bytes memory data = body[DATA_AT:];
        if (offset != FIXED) {
            if (offset + 32 > data.length) revert AmountOutsideData(offset, data.length);
            assembly ("memory-safe") {
                mstore(add(add(data, 32), offset), amount)
            }
        }
        CallBox box = CallBox(payable(Clones.clone(BOX)));
        bool paidFirst = flags & PAID_FIRST != 0;
        IERC20(tokenIn).safeTransfer(paidFirst ? spender : address(box), amount);
        CallBox.Order memory order = CallBox.Order({
            target: _addressAt(body, 0),
            spender: paidFirst ? address(0) : spender,
            tokenIn: IERC20(tokenIn),
            tokenOut: IERC20(tokenOut),
            recipient: recipient,
            etherIn: flags & ETHER_IN != 0,
            etherOut: flags & ETHER_OUT != 0
        });
        box.run(order, data);
    }
}
