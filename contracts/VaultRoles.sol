// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import { VaultFactory } from "./VaultFactory.sol";

/// @title VaultRoles
/// @notice WHAT IT IS. Hands the restricted functions of each new vault to the roles of one AccessManager, once, by a table that never
/// changes. Until then only the manager's admins may call them, after their delay.
///
/// WHY IT IS. Only an admin of the manager can hand out functions, and admins wait, so that nobody is surprised by them. A vault that has
/// just been made surprises nobody. This contract is an admin that need not wait, and that is safe because of all it can not do: it
/// touches a vault once, and nothing but vaults of its factory; it can grant no role and name no other authority; it has no owner.
///
/// ROLES. None. Anyone may hand over any new vault: what is handed over, and to whom, is the table's.
///
/// WE ASSUME, OR VAULTS WAIT. It holds the manager's ADMIN_ROLE without a delay. Where it does not, `assign` reverts, and an admin can do
/// the same by hand. To change the table, governance deploys another one and revokes the role of this one.
contract VaultRoles {
    /// @param roleId who may call
    /// @param selectors what, on a vault
    struct Line {
        uint64 roleId;
        bytes4[] selectors;
    }

    IAccessManager public immutable AUTHORITY;
    VaultFactory public immutable FACTORY;
    /// How long any admin waits to reassign a vault's functions or its authority, besides its own delay. AccessManager lets a new delay
    /// begin after five days.
    uint32 public immutable ADMIN_DELAY_SECONDS;

    Line[] private _table;

    /// @notice Whether a vault was handed over: that happens once.
    mapping(address vault => bool) public assigned;

    event RolesAssigned(address indexed vault);

    /// @notice Only vaults of the factory have the functions that the table means.
    error NotOfFactory(address vault);
    /// @notice The vault obeys another authority.
    error OtherAuthority(address vault, address authority);
    /// @notice The vault was handed over before; what holds now is governance's.
    error AlreadyAssigned(address vault);

    constructor(IAccessManager authority, VaultFactory factory, uint32 adminDelaySeconds, Line[] memory lines) {
        AUTHORITY = authority;
        FACTORY = factory;
        ADMIN_DELAY_SECONDS = adminDelaySeconds;
        for (uint256 i; i < lines.length; ++i) {
            _table.push(lines[i]);
        }
    }

    /* ANYONE */

    /// @notice Hands a new vault's restricted functions to their roles.
    /// @dev Calls nothing but the manager and, of the factory's code, the vault.
    function assign(address vault) external {
        if (!FACTORY.isVault(vault)) revert NotOfFactory(vault);
        address authority = IAccessManaged(vault).authority();
        if (authority != address(AUTHORITY)) revert OtherAuthority(vault, authority);
        if (assigned[vault]) revert AlreadyAssigned(vault);
        assigned[vault] = true;

        uint256 n = _table.length;
        for (uint256 i; i < n; ++i) {
            AUTHORITY.setTargetFunctionRole(vault, _table[i].selectors, _table[i].roleId);
        }
        if (ADMIN_DELAY_SECONDS != 0) AUTHORITY.setTargetAdminDelay(vault, ADMIN_DELAY_SECONDS);
        emit RolesAssigned(vault);
    }

    /* VIEWS */

    /// @notice What each role may call on a vault that is handed over here.
    function table() external view returns (Line[] memory) {
        return _table;
    }
}
