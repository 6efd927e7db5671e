// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IBasketVault, IVaultBase } from "./interfaces/IBasketVault.sol";

/// @title VaultFactory
/// @notice WHAT IT IS. Makes vaults and keeps a list of them. A vault is a minimal clone of one implementation, whose code can never
/// change. Its address depends on the creator and a salt.
///
/// ROLES. None. Anyone may make a vault under an authority of their choice. The list states only what a vault's code is, not that its
/// owner, oracle or tokens are good.
///
/// WHY THE SEED. The creator of a vault buys the first shares, and a minimum of them is locked for ever, so no later depositor can be the
/// first.
contract VaultFactory {
    using SafeERC20 for IERC20;

    /// @notice Terms of a new vault.
    /// @param authority AccessManager that decides who may call what
    /// @param seedAmounts amount of each asset that the caller pays {tok}, sent to the vault in the same transaction
    /// @param initialShares shares for the seed {share}
    /// @param receiver account that gets them, less the locked minimum
    /// @param salt any number that this caller has not used yet
    struct Params {
        string name;
        string symbol;
        address authority;
        IBasketVault.Config config;
        IBasketVault.Fees fees;
        address feeRecipient;
        uint256[] seedAmounts;
        uint256 initialShares;
        address receiver;
        bytes32 salt;
    }

    /// Code that every clone runs.
    address public immutable IMPLEMENTATION;

    /// @notice How many vaults were made here, which is the number of the latest.
    uint256 public vaultCount;

    /// @notice A vault's number in order of creation: the first has 1. It is 0 for any other address.
    mapping(address vault => uint256) public numberOf;

    mapping(uint256 number => address) private _vaults;

    /// @notice A vault was made.
    event VaultCreated(
        address indexed vault, address indexed creator, address indexed authority, string name, string symbol
    );

    constructor(address implementation) {
        IMPLEMENTATION = implementation;
    }

    /* ANYONE */

    /// @notice Makes a vault and seeds it from the caller's tokens {tok}, which must be approved for this factory.
    function createVault(Params calldata p) external returns (IBasketVault vault) {
        uint256 n = p.config.assets.length;
        if (p.seedAmounts.length != n) revert IVaultBase.LengthMismatch(p.seedAmounts.length, n);
        address clone = Clones.cloneDeterministic(IMPLEMENTATION, _salt(msg.sender, p.salt));
        vault = IBasketVault(clone);
        uint256 number = ++vaultCount;
        numberOf[clone] = number;
        _vaults[number] = clone;
        for (uint256 i; i < n; ++i) {
            _sendExact(IERC20(p.config.assets[i].token), clone, p.seedAmounts[i]);
        }
        vault.initialize(
            IVaultBase.Start(
                p.name,
                p.symbol,
                p.authority,
                p.config,
                p.fees,
                p.feeRecipient,
                p.seedAmounts,
                p.initialShares,
                p.receiver
            )
        );
        emit VaultCreated(clone, msg.sender, p.authority, p.name, p.symbol);
    }

    /// @dev Refuses tokens that move another amount than requested, as every deposit does.
    function _sendExact(IERC20 token, address to, uint256 amount) private {
        if (amount == 0) return;
        if (address(token).code.length == 0) revert IVaultBase.TransferNotExact(address(token), amount, 0);
        uint256 balance = token.balanceOf(to);
        token.safeTransferFrom(msg.sender, to, amount);
        uint256 received = Math.saturatingSub(token.balanceOf(to), balance);
        if (received != amount) revert IVaultBase.TransferNotExact(address(token), amount, received);
    }

    /* VIEWS */

    /// @notice Address of the vault that `creator` makes with `salt`.
    function vaultAddress(address creator, bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(IMPLEMENTATION, _salt(creator, salt));
    }

    /// @notice Whether a vault was made here.
    function isVault(address vault) external view returns (bool) {
        return numberOf[vault] != 0;
    }

    /// @notice Up to `count` vaults in order of creation, after the first `start`. Fewer at the end of the list, and empty past it.
    function vaults(uint256 start, uint256 count) external view returns (address[] memory page) {
        uint256 total = vaultCount;
        uint256 length = start < total ? Math.min(count, total - start) : 0;
        page = new address[](length);
        for (uint256 i; i < length; ++i) {
            page[i] = _vaults[start + i + 1];
        }
    }

    function _salt(address creator, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(creator, salt));
    }
}
