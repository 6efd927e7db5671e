// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import { VaultFactory } from "./VaultFactory.sol";

/// @title VaultRoles
/// @notice WHAT IT IS. Hands the restricted functions of each new vault to the roles of one AccessManager, once, by a table that never
/// changes. Until then only the manager's admins may call them, after their delay.
///
/// WHICH VAULTS. Those that the factory makes after this contract exists, and of them only those that nobody has arranged yet: no
/// function of the table has a role, the vault has no admin delay and is not closed. So neither a new table nor a stranger who calls it
/// undoes what admins arranged by hand, or what another table handed over.
///
/// WHY IT IS. Only an admin of the manager can hand out functions, and admins wait, so that nobody is surprised by them. A vault that has
/// just been made surprises nobody. This contract is an admin that need not wait, and that is safe because of all it can not do: it
/// touches a vault once, and nothing but new vaults of its factory; it can grant no role and name no other authority; it has no owner.
///
/// ROLES. None. Anyone may hand over any new vault: what is handed over, and to whom, is the table's.
///
/// WE ASSUME, OR VAULTS WAIT. It holds the manager's ADMIN_ROLE without a delay. Where it does not, `assign` reverts, and an admin can do
/// the same by hand. To change the table, governance deploys another one and revokes the role of this one; a vault that is older than
/// the new table, and was not handed over by the old one, is handed over by an admin.
/// WE ASSUME, OR A DELAY IS LOST. An admin that gives a new vault an admin delay of its own gives it roles as well: AccessManager lets the
/// delay begin after five days and tells nobody of it before.
contract VaultRoles {
    /// @param roleId who may call
    /// @param selectors what, on a vault
    struct Line {
        uint64 roleId;
        bytes4[] selectors;
    }

    /// AccessManager's own: who may call a function that nobody was given.
    uint64 private constant ADMIN_ROLE = 0;

    IAccessManager public immutable AUTHORITY;
    VaultFactory public immutable FACTORY;
    /// How long any admin waits to reassign a vault's functions or its authority, besides its own delay. AccessManager lets a new delay
    /// begin after five days.
    uint32 public immutable ADMIN_DELAY_SECONDS;
    /// Number of the first vault that is served here (see VaultFactory.numberOf): older ones are not new any more.
    uint256 public immutable FIRST_VAULT;

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
    /// @notice The vault was made before this table, by its number in the factory.
    error VaultOlder(address vault, uint256 number, uint256 first);
    /// @notice Somebody gave a function of the vault to a role already.
    error HasRoles(address vault, bytes4 selector, uint64 roleId);
    /// @notice Somebody gave the vault an admin delay already.
    error HasAdminDelay(address vault, uint32 delaySeconds);
    /// @notice An admin closed the vault: nobody may call its restricted functions.
    error VaultClosed(address vault);

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

    /// @notice Hands a new vault's restricted functions to their roles.
    /// @dev Calls nothing but the manager and, of the factory's code, the vault.
    function assign(address vault) external {
        uint256 number = FACTORY.numberOf(vault);
        if (number == 0) revert NotOfFactory(vault);
        if (number < FIRST_VAULT) revert VaultOlder(vault, number, FIRST_VAULT);
        address authority = IAccessManaged(vault).authority();
        if (authority != address(AUTHORITY)) revert OtherAuthority(vault, authority);
        if (assigned[vault]) revert AlreadyAssigned(vault);
        assigned[vault] = true;

        // All of it is looked at before any of it is changed: a selector may stand in two lines.
        Line[] memory lines = _table;
        _checkNew(vault, lines);
        for (uint256 i; i < lines.length; ++i) {
            AUTHORITY.setTargetFunctionRole(vault, lines[i].selectors, lines[i].roleId);
        }
        if (ADMIN_DELAY_SECONDS != 0) AUTHORITY.setTargetAdminDelay(vault, ADMIN_DELAY_SECONDS);
        emit RolesAssigned(vault);
    }

    /// @dev Refuses a vault of which the manager knows anything yet, as far as the manager tells.
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

    /// @notice What each role may call on a vault that is handed over here.
    function table() external view returns (Line[] memory) {
        return _table;
    }
}
