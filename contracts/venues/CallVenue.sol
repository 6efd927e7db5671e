// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";

import { IEtherWrapper } from "../interfaces/IEtherWrapper.sol";
import { Venue } from "./Venue.sol";

/// @title CallBox
/// @notice Makes one call with the tokens it was sent and sends everything on. CallVenue uses each clone once. If the call leaves anything
/// else for its sender (an allowance, an operator, a registration), it is for an address that never acts again.
contract CallBox {
    using SafeERC20 for IERC20;

    /// @notice Terms of one call.
    /// @param target contract to call
    /// @param spender account that may take tokenIn; 0 for no account
    /// @param tokenIn token to sell
    /// @param tokenOut token to buy
    /// @param recipient account that gets tokenOut
    /// @param etherIn whether tokenIn is unwrapped and sent as ether
    /// @param etherOut whether the target pays in ether, which is wrapped
    struct Order {
        address target;
        address spender;
        IERC20 tokenIn;
        IERC20 tokenOut;
        address recipient;
        bool etherIn;
        bool etherOut;
    }

    address private immutable EXECUTOR = msg.sender;

    /// @notice The caller is not the executor: the called contract must not use the box while it holds tokens.
    error NotTheExecutor(address caller);
    /// @notice The target paid in ether, which the order does not expect {wei}.
    error PaidInEther(address target, uint256 amountWei);

    /// @notice Calls the target with `data`. The spender may take all of tokenIn, or all of it is sent as ether. Then sends the rest of
    /// tokenIn to the executor and all of tokenOut to the recipient. Ether from the call is wrapped first.
    function run(Order calldata o, bytes calldata data) external {
        if (msg.sender != EXECUTOR) revert NotTheExecutor(msg.sender);
        // Anyone who predicts this address may send it ether. That ether stays here and blocks nothing.
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
        Address.verifyCallResult(done, answer); // if the target refused, reverts with the target's reason
        if (o.spender != address(0)) o.tokenIn.forceApprove(o.spender, 0);
        _wrap(o, address(this).balance - strayWei);
        _sendAll(o.tokenOut, o.recipient);
        _sendAll(o.tokenIn, EXECUTOR);
    }

    /// @dev Ether comes from the wrapper, whose transfer leaves too little gas to check the sender, and from a target that pays in ether.
    receive() external payable { }

    /// @dev Ether from a swap for ether is the result. Ether left from a swap of ether is the rest of the input.
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
/// @notice Swaps by any call: an aggregator with the calldata its service returned, or a venue that has no adapter here.
///
/// PAYMENT. The target, or a spender that takes tokens for it, may take the amount. Or it is paid before the call: routers that pay out of
/// their balance need that (Uniswap's UniversalRouter), and pools that count what arrived (Curve's `exchange_received`). If the target
/// takes or pays ether, the hop names WETH: the whole amount is unwrapped, and ether that comes back is wrapped. A target that needs a
/// permit signed by its caller is not supported.
///
/// WHY A CLONE. If the executor itself made any call, the call could leave an allowance that takes tokens from the next user's route. So a
/// contract of its own makes the call, new for every hop (41,000 gas), which gets this hop's tokens and nothing else.
///
/// BODY. target (20), spender (20; 0 for no spender), offset (2), data. The amount is written over the 32 bytes of data from the offset on,
/// unless the offset is 65,535.
abstract contract CallVenue is Venue {
    using SafeERC20 for IERC20;

    uint8 internal constant ANY_CALL = 7;

    /// Flag: the spender is paid before the call instead of being allowed to take.
    uint8 private constant PAID_FIRST = 32;

    uint256 private constant DATA_AT = 42;

    /// Offset for data that contains the amount already.
    uint256 private constant FIXED = type(uint16).max;

    address payable private immutable BOX = payable(new CallBox());

    /// @notice The 32 bytes for the amount are not inside the data {bytes}.
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
