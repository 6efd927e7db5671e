// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Ownable } from "@openzeppelin/contracts/access/Ownable.sol";
import { Ownable2Step } from "@openzeppelin/contracts/access/Ownable2Step.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IBasketVault } from "../interfaces/IBasketVault.sol";
import { IExecutor } from "../interfaces/IExecutor.sol";
import { ConfigCode } from "../libraries/ConfigCode.sol";

/// @title InventoryFiller
/// @notice WHAT IT IS. An example of open execution: a market maker fills vaults from its own inventory, which this contract holds, at
/// amounts it chooses. No pool is involved.
///
/// LIFECYCLE. VaultLens returns sales and opensAt -> operator calls fill -> the vault sends what it sells, is paid exactly what was
/// promised, and checks the trade like that of any keeper -> owner withdraws.
///
/// ROLES, AND THE WORST EACH CAN DO.
/// - Owner: sets operators, withdraws.
/// - Operator: fills. Worst, with a vault of its own: gives inventory away. Its key is a trading desk's key, and no more.
/// - Anyone, vaults included: nothing. The contract pays one promise, made in the same transaction, to the one vault it was made to.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. The operator knows the vaults it fills. What they send is measured.
///
/// HOW TO STOP IT. The owner withdraws, or removes the operators.
contract InventoryFiller is IExecutor, Ownable2Step {
    using ConfigCode for uint256[];
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.Bytes32Slot;

    /// Transient: hash of the vault to fill and of its payment; 0 while nothing is promised.
    bytes32 private constant PROMISE = keccak256("rebalancer.inventory-filler.promise");

    /// @notice Whether an account may fill.
    mapping(address account => bool) public isOperator;

    /// @notice The caller may not fill.
    error NotAnOperator(address caller);
    /// @notice The caller has no promise with this route in this transaction.
    error NothingPromised(address caller);
    /// @notice The vault sent less than it should sell {tok}.
    error ReceivedTooLittle(address token, uint256 receivedRaw, uint256 expectedRaw);

    /// @notice An account may fill, or may no longer fill.
    event OperatorSet(address indexed account, bool isOperator);

    constructor(address owner_) Ownable(owner_) { }

    /* OWNER */

    /// @notice Sets whether an account may fill. Owner only.
    function setOperator(address account, bool may) external onlyOwner {
        isOperator[account] = may;
        emit OperatorSet(account, may);
    }

    /// @notice Sends inventory to `to` {tok}. Owner only.
    function withdraw(IERC20 token, uint256 amountRaw, address to) external onlyOwner {
        token.safeTransfer(to, amountRaw);
    }

    /* OPERATOR */

    /// @notice Buys all of `sales` from a vault for exactly `buys`, one entry per asset of the vault {tok}, or reverts. Operators only.
    /// @param epoch the `State.epoch` that the amounts were computed for
    function fill(IBasketVault vault, uint256 epoch, uint256[] calldata sales, uint256[] calldata buys) external {
        if (!isOperator[msg.sender]) revert NotAnOperator(msg.sender);
        uint256[] memory words = ConfigCode.load(vault.config());
        uint256 n = words.assetCount();
        IERC20[] memory tokens = new IERC20[](n);
        uint256[] memory balances = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            tokens[i] = IERC20(words.token(i));
            if (sales[i] != 0) balances[i] = tokens[i].balanceOf(address(this));
        }
        bytes memory route = abi.encode(tokens, buys);
        PROMISE.asBytes32().tstore(_hash(address(vault), route));
        vault.rebalance(epoch, sales, buys, address(this), route);
        PROMISE.asBytes32().tstore(0); // a vault that did not call must not do so later

        for (uint256 i; i < n; ++i) {
            if (sales[i] == 0) continue;
            uint256 received = Math.saturatingSub(tokens[i].balanceOf(address(this)), balances[i]);
            if (received < sales[i]) revert ReceivedTooLittle(address(tokens[i]), received, sales[i]);
        }
    }

    /* VAULT */

    /// @inheritdoc IExecutor
    function executeRoute(bytes calldata route) external {
        if (PROMISE.asBytes32().tload() != _hash(msg.sender, route)) revert NothingPromised(msg.sender);
        PROMISE.asBytes32().tstore(0);
        (IERC20[] memory tokens, uint256[] memory buys) = abi.decode(route, (IERC20[], uint256[]));
        for (uint256 i; i < tokens.length; ++i) {
            if (buys[i] != 0) tokens[i].safeTransfer(msg.sender, buys[i]);
        }
    }

    function _hash(address vault, bytes memory route) private pure returns (bytes32) {
        return keccak256(abi.encode(vault, route));
    }
}
