// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import { IBasketVault, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { Base, IVaultFactory } from "./Base.t.sol";

/// @notice What VaultRoles does, as tests call it (the contract itself comes from its artifact).
interface IVaultRoles {
    struct Line {
        uint64 roleId;
        bytes4[] selectors;
    }

    event RolesAssigned(address indexed vault);

    error NotOfFactory(address vault);
    error OtherAuthority(address vault, address authority);
    error AlreadyAssigned(address vault);
    error VaultOlder(address vault, uint256 number, uint256 first);
    error HasRoles(address vault, bytes4 selector, uint64 roleId);
    error HasAdminDelay(address vault, uint32 delaySeconds);
    error VaultClosed(address vault);

    function assign(address vault) external;
    function FIRST_VAULT() external view returns (uint256);
    function assigned(address vault) external view returns (bool);
    function table() external view returns (Line[] memory);
}

/// @notice VaultRoles: new vaults get their roles from anyone who asks, and what was arranged before is left alone.
contract RolesTest is Base {
    uint32 internal constant DELAY = 2 days;

    /// Functions of the first line are the curator's, of the second the guardian's.
    bytes4 internal constant FIRST = IVaultExtension.setTargets.selector;
    bytes4 internal constant LAST = IVaultExtension.stopAuction.selector;

    IVaultRoles internal roles;

    function setUp() public override {
        super.setUp();
        roles = _deployRoles();
    }

    /* REFUSALS */

    function test_a_vault_older_than_the_table_is_refused_and_keeps_what_it_has() public {
        IBasketVault older = _make(owner);
        roles = _deployRoles();
        assertEq(roles.FIRST_VAULT(), 3);

        _refuse(vault, abi.encodeWithSelector(IVaultRoles.VaultOlder.selector, vault, 1, 3));
        _refuse(older, abi.encodeWithSelector(IVaultRoles.VaultOlder.selector, older, 2, 3));

        assertEq(manager.getTargetFunctionRole(address(older), FIRST), 0, "its admins' alone");
        roles.assign(address(_make(stranger)));
    }

    function test_what_no_factory_made_or_another_authority_rules_is_refused() public {
        _refuse(IBasketVault(implementation), abi.encodeWithSelector(IVaultRoles.NotOfFactory.selector, implementation));
        AccessManager another = new AccessManager(owner);
        manager = another;
        IBasketVault made = _make(stranger);
        _refuse(made, abi.encodeWithSelector(IVaultRoles.OtherAuthority.selector, made, another));
    }

    function test_a_vault_with_a_role_made_by_hand_is_refused_whichever_function_has_it() public {
        bytes4[2] memory ends = [FIRST, LAST];
        for (uint256 i; i < 2; ++i) {
            IBasketVault made = _make(stranger);
            vm.prank(owner);
            manager.setTargetFunctionRole(address(made), _selectors(ends[i]), 77);

            _refuse(made, abi.encodeWithSelector(IVaultRoles.HasRoles.selector, made, ends[i], 77));

            assertEq(manager.getTargetFunctionRole(address(made), ends[i]), 77);
            assertEq(manager.getTargetFunctionRole(address(made), ends[1 - i]), 0, "nothing was handed over");
        }
    }

    function test_a_vault_with_an_admin_delay_made_by_hand_is_refused() public {
        IBasketVault made = _make(stranger);
        vm.prank(owner);
        manager.setTargetAdminDelay(address(made), 30 days);
        skip(5 days);
        _refuse(made, abi.encodeWithSelector(IVaultRoles.HasAdminDelay.selector, made, 30 days));
        assertEq(manager.getTargetAdminDelay(address(made)), 30 days);
    }

    function test_a_closed_vault_is_refused_until_it_is_opened() public {
        IBasketVault made = _make(stranger);
        vm.prank(owner);
        manager.setTargetClosed(address(made), true);
        _refuse(made, abi.encodeWithSelector(IVaultRoles.VaultClosed.selector, made));
        vm.prank(owner);
        manager.setTargetClosed(address(made), false);
        roles.assign(address(made));
    }

    function test_a_vault_is_handed_over_once_by_whichever_table() public {
        IVaultRoles another = _deployRoles(); // both are there before the vaults
        IBasketVault made = _make(stranger);
        roles.assign(address(made));
        vm.prank(owner);
        manager.setTargetFunctionRole(address(made), _selectors(FIRST, LAST), 0);

        _refuse(made, abi.encodeWithSelector(IVaultRoles.AlreadyAssigned.selector, made));

        made = _make(stranger);
        roles.assign(address(made));
        vm.expectRevert(abi.encodeWithSelector(IVaultRoles.HasRoles.selector, made, FIRST, CURATOR_ROLE));
        another.assign(address(made));
    }

    function test_without_the_admins_role_nothing_is_handed_over() public {
        IBasketVault made = _make(stranger);
        vm.prank(owner);
        manager.revokeRole(0, address(roles));
        vm.expectRevert(
            abi.encodeWithSelector(IAccessManager.AccessManagerUnauthorizedAccount.selector, address(roles), 0)
        );
        roles.assign(address(made));
        assertFalse(roles.assigned(address(made)));
    }

    /* SUCCESS */

    function test_anyone_hands_a_new_vault_to_its_roles() public {
        IBasketVault made = _make(stranger);
        assertEq(roles.FIRST_VAULT(), 2);

        vm.expectEmit(address(roles));
        emit IVaultRoles.RolesAssigned(address(made));
        vm.prank(stranger);
        roles.assign(address(made));

        IVaultRoles.Line[] memory lines = roles.table();
        for (uint256 i; i < lines.length; ++i) {
            for (uint256 j; j < lines[i].selectors.length; ++j) {
                assertEq(manager.getTargetFunctionRole(address(made), lines[i].selectors[j]), lines[i].roleId);
            }
        }
        assertEq(manager.getTargetFunctionRole(address(made), IVaultCore.rebalance.selector), 0, "not in the table");
        skip(5 days);
        assertEq(manager.getTargetAdminDelay(address(made)), DELAY);
        vm.prank(guardian);
        made.pauseRebalance();
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
        made.pauseRebalance();
    }

    function test_a_function_in_two_lines_is_the_last_ones() public {
        IVaultRoles.Line[] memory lines = new IVaultRoles.Line[](2);
        lines[0] = IVaultRoles.Line(CURATOR_ROLE, _selectors(FIRST));
        lines[1] = IVaultRoles.Line(GUARDIAN_ROLE, _selectors(FIRST));
        roles = _deployRoles(lines, 0);
        IBasketVault made = _make(stranger);

        roles.assign(address(made));

        assertEq(manager.getTargetFunctionRole(address(made), FIRST), GUARDIAN_ROLE);
        skip(30 days);
        assertEq(manager.getTargetAdminDelay(address(made)), 0);
    }

    /* NUMBERS */

    function test_vaults_are_numbered_from_one_on() public {
        assertEq(factory.numberOf(address(vault)), 1);
        address made = address(_make(stranger));
        assertEq(factory.numberOf(made), 2);
        assertEq(factory.vaults(1, 1)[0], made, "the second of the list");
        assertTrue(factory.isVault(made));
        assertEq(factory.numberOf(implementation), 0);
        assertFalse(factory.isVault(implementation));
    }

    /* HELPERS */

    function _deployRoles() internal returns (IVaultRoles) {
        IVaultRoles.Line[] memory lines = new IVaultRoles.Line[](2);
        lines[0] = IVaultRoles.Line(CURATOR_ROLE, _selectors(FIRST, IVaultExtension.setBands.selector));
        lines[1] = IVaultRoles.Line(GUARDIAN_ROLE, _selectors(IVaultExtension.pauseRebalance.selector, LAST));
        return _deployRoles(lines, DELAY);
    }

    function _deployRoles(IVaultRoles.Line[] memory lines, uint32 delaySeconds) internal returns (IVaultRoles made) {
        made = IVaultRoles(deployCode("VaultRoles.sol:VaultRoles", abi.encode(manager, factory, delaySeconds, lines)));
        vm.prank(owner);
        manager.grantRole(0, address(made), 0);
    }

    /// @dev A vault that nobody has given roles yet.
    function _make(address by) internal returns (IBasketVault) {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        _fund(by, p);
        vm.prank(by);
        return factory.createVault(p);
    }

    function _refuse(IBasketVault made, bytes memory refusal) internal {
        vm.prank(stranger);
        vm.expectRevert(refusal);
        roles.assign(address(made));
    }
}
