// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";

import { Venue } from "./Venue.sol";

/// @notice The functions of Balancer V3's Vault that are used here.
interface IBalancerV3Vault {
    struct VaultSwapParams {
        uint8 kind; // 0: exactly `amountGivenRaw` goes in
        address pool;
        address tokenIn;
        address tokenOut;
        uint256 amountGivenRaw;
        uint256 limitRaw;
        bytes userData;
    }

    /// @notice Calls back with `data`, during which the caller may build up debts.
    function unlock(bytes calldata data) external returns (bytes memory);
    /// @notice Swaps {tok}; the caller owes the input and is owed the output.
    function swap(VaultSwapParams calldata params)
        external
        returns (uint256 amountCalculatedRaw, uint256 amountInRaw, uint256 amountOutRaw);
    /// @notice Credits what arrived of a token, at most `amountHint` {tok}.
    function settle(address token, uint256 amountHint) external returns (uint256 credit);
    /// @notice Pays out what the caller is owed {tok}.
    function sendTo(address token, address to, uint256 amount) external;
}

/// @title BalancerV3Venue
/// @notice Swaps on any pool of Balancer V3 through Vault.unlock. No limit is set: the receiver of the result checks it.
/// Body: Vault (20), pool (20).
///
/// PAYMENT. The Vault gets exactly the hop's amount, whatever it charges for the swap. It gets nothing that other hops need. The real Vault
/// reverts if anything is still owed at the end.
///
/// HOOKS. A pool's hooks run inside the swap and get no data. They may refuse it, keep a part of its result and call any contract. They
/// cannot run a route here, because one is running, and cannot make the callback, because it was made already.
abstract contract BalancerV3Venue is Venue {
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.Bytes32Slot;

    uint8 internal constant BALANCER_V3 = 10;

    uint8 private constant EXACT_IN = 0;

    /// Transient: hash of the Vault whose callback is expected and of the call it must make.
    bytes32 private constant EXPECTED_CALL = keccak256("rebalancer.balancer-v3.expected-call");

    /// @notice The caller is not the Vault that is being unlocked, or it calls twice, or with other data than it was given.
    error UnexpectedVaultCall(address caller);

    function _swapOnBalancerV3(
        address tokenIn,
        address tokenOut,
        uint256 amount,
        uint8 flags,
        bytes calldata body,
        address recipient
    ) internal {
        _checkBody(body, 40);
        _sellsOnly(flags);
        address vault = _addressAt(body, 0);
        bytes memory data =
            abi.encodeCall(this.balancerV3Unlocked, (_addressAt(body, 20), tokenIn, tokenOut, recipient, amount));
        EXPECTED_CALL.asBytes32().tstore(keccak256(abi.encodePacked(vault, data)));
        IBalancerV3Vault(vault).unlock(data);
        // A Vault that did not call back must not do so later.
        EXPECTED_CALL.asBytes32().tstore(0);
    }

    /// @notice Swaps, pays and collects {tok}: the call that an unlocked Vault makes back.
    /// @dev The compiler finds functions in the order of their selectors. This one's, 0xffc63a20, is the last, so the others cost no more
    /// gas for it.
    function balancerV3Unlocked(address pool, address tokenIn, address tokenOut, address recipient, uint256 amountIn)
        external
    {
        if (keccak256(abi.encodePacked(msg.sender, msg.data)) != EXPECTED_CALL.asBytes32().tload()) {
            revert UnexpectedVaultCall(msg.sender);
        }
        EXPECTED_CALL.asBytes32().tstore(0);
        IBalancerV3Vault vault = IBalancerV3Vault(msg.sender);
        (,, uint256 amountOut) =
            vault.swap(IBalancerV3Vault.VaultSwapParams(EXACT_IN, pool, tokenIn, tokenOut, amountIn, 0, ""));
        IERC20(tokenIn).safeTransfer(msg.sender, amountIn);
        vault.settle(tokenIn, amountIn);
        vault.sendTo(tokenOut, recipient, amountOut);
    }
}
