// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import { VaultFactory } from "./VaultFactory.sol";

/// @title VaultRoles
/// @notice WHAT IT IS. Gives the restricted functions of each new vault to the roles of one AccessManager, once, by a table that never
/// changes. Before that only the manager's admins may call them, after their delay.
///
/// WHICH VAULTS. Vaults that the factory makes after this contract exists and that nobody has configured yet: no function of the table has
/// a role, the vault has no admin delay and is not closed. So neither a new table nor an unknown caller undoes what admins configured by
/// hand, or what another table assigned.
///
/// WHY IT IS. Only an admin of the manager can give functions to roles. Admins wait, so that no holder is surprised. A vault that has just
/// been made has no holders to surprise. This contract is an admin without a delay. That is safe because of its limits: it changes a vault
/// once, and only new vaults of its factory; it can grant no role and set no other authority; it has no owner.
///
/// ROLES. None. Anyone may assign any new vault: only the table decides what is assigned, and to whom.
///
/// WE ASSUME, OR VAULTS WAIT. It holds the manager's ADMIN_ROLE without a delay. Otherwise `assign` reverts, and an admin can do the same
/// by hand. To change the table, governance deploys another one and revokes the role of this one. An admin assigns a vault that is older
/// than the new table and was not assigned by the old one.
/// WE ASSUME, OR A DELAY IS LOST. An admin that gives a new vault an admin delay of its own gives it roles as well: AccessManager lets the
/// delay begin after five days and does not report it before.
contract VaultRoles {
    /// @notice One line of the table.
    /// @param roleId role that may call
    /// @param selectors functions of a vault
    struct Line {
        uint64 roleId;
        bytes4[] selectors;
    }

    /// AccessManager's own role: it may call a function that has no other role.
    uint64 private constant ADMIN_ROLE = 0;

    /// AccessManager of the vaults.
    IAccessManager public immutable AUTHORITY;
    /// Factory of the vaults.
    VaultFactory public immutable FACTORY;
    /// How long any admin waits to change a vault's roles or its authority, in addition to its own delay {seconds}. AccessManager lets a
    /// new delay begin after five days.
    uint32 public immutable ADMIN_DELAY_SECONDS;
    /// Number of the first vault that this table assigns (see VaultFactory.numberOf): older vaults are not new any more.
    uint256 public immutable FIRST_VAULT;

    Line[] private _table;

    /// @notice Whether a vault was assigned. That happens once.
    mapping(address vault => bool) public assigned;

    /// @notice The vault's functions were given to the roles of the table.
    event RolesAssigned(address indexed vault);

    /// @notice The vault is not of the factory, so its functions may not be those of the table.
    error NotOfFactory(address vault);
    /// @notice The vault has another authority.
    error OtherAuthority(address vault, address authority);
    /// @notice The vault was assigned before. Governance decides about any change.
    error AlreadyAssigned(address vault);
    /// @notice The vault was made before this table, by its number in the factory.
    error VaultOlder(address vault, uint256 number, uint256 first);
    /// @notice A function of the vault has a role already.
    error HasRoles(address vault, bytes4 selector, uint64 roleId);
    /// @notice The vault has an admin delay already.
    error HasAdminDelay(address vault, uint32 delaySeconds);
    /// @notice An admin closed the vault: its restricted functions cannot be called.
    error VaultClosed(address vault);

    /// @param authority AccessManager of the vaults
    /// @param factory factory of the vaults
    /// @param adminDelaySeconds admin delay of each new vault; 0 sets none
    /// @param lines the table
    constructor(IAccessManager authority, VaultFactory factory, uint32 adminDelaySeconds, Line[] memory lines) {
        AUTHORITY = authority;
        FACTORY = factory;
        ADMIN_DELAY_SECONDS = adminDelaySeconds;
        FIRST_VAULT = factory.vaultCount() + 1;
        for (uint256 i; i < lines.length; ++i) {
            _table.push(lines[i]);
        }
    }

    /* ANYONE */

    /// @notice Gives a new vault's restricted functions to their roles.
    /// @dev Calls only the manager and, with the factory's code, the vault.
    function assign(address vault) external {
        uint256 number = FACTORY.numberOf(vault);
        if (number == 0) revert NotOfFactory(vault);
        if (number < FIRST_VAULT) revert VaultOlder(vault, number, FIRST_VAULT);
        address authority = IAccessManaged(vault).authority();
        if (authority != address(AUTHORITY)) revert OtherAuthority(vault, authority);
        if (assigned[vault]) revert AlreadyAssigned(vault);
        assigned[vault] = true;

        // Everything is checked before anything is changed: a selector may be in two lines.
        Line[] memory lines = _table;
        _checkNew(vault, lines);
        for (uint256 i; i < lines.length; ++i) {
            AUTHORITY.setTargetFunctionRole(vault, lines[i].selectors, lines[i].roleId);
        }
        if (ADMIN_DELAY_SECONDS != 0) AUTHORITY.setTargetAdminDelay(vault, ADMIN_DELAY_SECONDS);
        emit RolesAssigned(vault);
    }

    /// @dev Refuses a vault that the manager has any settings for, as far as the manager reports them.
    function _checkNew(address vault, Line[] memory lines) private view {
        if (AUTHORITY.isTargetClosed(vault)) revert VaultClosed(vault);
        uint32 delaySeconds = AUTHORITY.getTargetAdminDelay(vault);
        if (delaySeconds != 0) revert HasAdminDelay(vault, delaySeconds);
        for (uint256 i; i < lines.length; ++i) {
            bytes4[] memory selectors = lines[i].selectors;
            for (uint256 j; j < selectors.length; ++j) {
                uint64 roleId = AUTHORITY.getTargetFunctionRole(vault, selectors[j]);
                if (roleId != ADMIN_ROLE) revert HasRoles(vault, selectors[j], roleId);
            }
        }
    }

    /* VIEWS */

    /// @notice The table: what each role may call on a vault that is assigned here.
    function table() external view returns (Line[] memory) {
        return _table;
    }
}
