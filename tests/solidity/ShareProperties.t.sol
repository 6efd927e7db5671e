// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import { IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { BadShare } from "../../contracts/mocks/BadShare.sol";

import { Base } from "./Base.t.sol";
import { ShareProperties } from "./support/ShareProperties.sol";
import { ShareWorld } from "./support/ShareWorld.sol";

/// @notice The properties of ShareProperties, of a vault that charges a fee while they are tried.
contract SharePropertiesTest is Base, ShareProperties {
    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        vault.setFees(_streaming(500), treasury);
        _deposit(anna, EACH);
        _deposit(ben, EACH);
        _deposit(cleo, EACH);
        skip(30 days);
        assertGt(vault.totalSupply(), INITIAL_SHARES + 3 * EACH, "a fee is pending");
    }

    function _share() internal view override returns (IERC20) {
        return vault;
    }

    function _issue(address holder, uint256 amount) internal override {
        _deposit(holder, amount);
    }

    function _burning(address holder, uint256 amount) internal view override returns (bytes memory) {
        return abi.encodeCall(IVaultCore.redeemInKind, (amount, stranger, holder, _amounts()));
    }
}

/// @notice The same of any other share. Not a suite of its own: forge leaves out what has to be constructed with arguments.
contract PropertiesOf is ShareProperties {
    BadShare internal immutable SHARE;

    constructor(BadShare share) {
        SHARE = share;
        share.mint(anna, EACH);
        share.mint(ben, EACH);
        share.mint(cleo, EACH);
    }

    function _share() internal view override returns (IERC20) {
        return SHARE;
    }

    function _issue(address holder, uint256 amount) internal override {
        SHARE.mint(holder, amount);
    }

    function _burning(address holder, uint256 amount) internal pure override returns (bytes memory) {
        return abi.encodeCall(BadShare.burn, (holder, amount));
    }
}

/// @notice Each property fails on the share that breaks it, and none fails on the one that breaks nothing.
contract BadShareTest is Base {
    function setUp() public override {
        vm.warp(1_700_000_000);
    }

    function test_a_share_without_a_fault_has_every_property() public {
        PropertiesOf properties = new PropertiesOf(new BadShare(BadShare.Fault.None));
        bytes4[] memory all = _properties();
        for (uint256 i; i < all.length; ++i) {
            assertTrue(_holds(properties, all[i]), vm.toString(i));
        }
    }

    function test_each_property_fails_on_the_share_that_breaks_it() public {
        bytes4[] memory all = _properties();
        assertEq(all.length, uint256(type(BadShare.Fault).max), "one fault a property");
        for (uint256 i; i < all.length; ++i) {
            PropertiesOf properties = new PropertiesOf(new BadShare(BadShare.Fault(i + 1)));
            assertFalse(_holds(properties, all[i]), vm.toString(i + 1));
        }
    }

    /// @dev In the order of BadShare.Fault.
    function _properties() internal pure returns (bytes4[] memory list) {
        list = new bytes4[](29);
        list[0] = ShareProperties.test_ERC20_BASE_001_transfers_and_approvals_leave_the_supply.selector;
        list[1] = ShareProperties.test_ERC20_BASE_002_no_balance_is_above_the_supply.selector;
        list[2] = ShareProperties.test_ERC20_BASE_003_all_balances_are_not_above_the_supply.selector;
        list[3] = ShareProperties.test_ERC20_BASE_004_the_zero_address_has_nothing.selector;
        list[4] = ShareProperties.test_ERC20_BASE_005_transfer_to_the_zero_address_is_refused.selector;
        list[5] = ShareProperties.test_ERC20_BASE_006_transferFrom_to_the_zero_address_is_refused.selector;
        list[6] = ShareProperties.test_ERC20_BASE_007_transfer_to_oneself_changes_nothing.selector;
        list[7] = ShareProperties.test_ERC20_BASE_008_transferFrom_to_oneself_changes_nothing.selector;
        list[8] = ShareProperties.test_ERC20_BASE_009_transfer_of_more_than_the_balance_is_refused.selector;
        list[9] = ShareProperties.test_ERC20_BASE_010_transferFrom_of_more_than_the_balance_is_refused.selector;
        list[10] = ShareProperties.test_ERC20_BASE_011_transfer_of_nothing_moves_nothing.selector;
        list[11] = ShareProperties.test_ERC20_BASE_012_transferFrom_of_nothing_moves_nothing.selector;
        list[12] = ShareProperties.test_ERC20_BASE_013_transfer_moves_exactly_that_much.selector;
        list[13] = ShareProperties.test_ERC20_BASE_014_transferFrom_moves_exactly_that_much.selector;
        list[14] = ShareProperties.test_ERC20_BASE_015_approve_sets_the_allowance.selector;
        list[15] = ShareProperties.test_ERC20_BASE_016_approve_again_replaces_the_allowance.selector;
        list[16] = ShareProperties.test_ERC20_BASE_017_transferFrom_spends_the_allowance.selector;
        list[17] = ShareProperties.test_ERC20_EIP_2_an_endless_allowance_is_not_spent.selector;
        list[18] = ShareProperties.test_ERC20_EIP_1_transferFrom_needs_an_allowance.selector;
        list[19] = ShareProperties.test_ERC20_BURNABLE_001_burning_takes_from_balance_and_supply.selector;
        list[20] = ShareProperties.test_ERC20_BURNABLE_002_burning_for_another_takes_from_that_one.selector;
        list[21] = ShareProperties.test_ERC20_BURNABLE_003_burning_for_another_spends_the_allowance.selector;
        list[22] = ShareProperties.test_ERC20_MINTABLE_001_minting_adds_to_balance_and_supply.selector;
        list[23] = ShareProperties.test_ERC2612_1_permit_sets_the_allowance.selector;
        list[24] = ShareProperties.test_ERC2612_2_permit_uses_up_one_nonce.selector;
        list[25] = ShareProperties.test_ERC2612_3_permit_after_its_deadline_is_refused.selector;
        list[26] = ShareProperties.test_ERC2612_4_permit_of_the_zero_address_is_refused.selector;
        list[27] = ShareProperties.test_ERC2612_5_permit_with_a_used_or_future_nonce_is_refused.selector;
        list[28] = ShareProperties.test_ERC2612_6_permit_that_the_owner_did_not_sign_is_refused.selector;
    }

    /// @dev Whether the property holds for a few amounts. Nothing it did remains.
    function _holds(PropertiesOf properties, bytes4 property) internal returns (bool holds) {
        uint256 snapshot = vm.snapshotState();
        (bool first,) = address(properties).call(abi.encodeWithSelector(property, 1_000));
        vm.revertToState(snapshot);
        (bool second,) = address(properties).call(abi.encodeWithSelector(property, 7e18));
        vm.revertToState(snapshot);
        return first && second;
    }
}

/// @notice The share after any sequence of what people may do with it (support/ShareWorld.sol): it says what their own book says.
contract ShareInvariantsTest is Base {
    ShareWorld internal world;

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        vault.setFees(_streaming(500), treasury);
        ShareWorld people = new ShareWorld(vault, treasury, tokens);
        for (uint256 i; i < people.PEOPLE(); ++i) {
            _deposit(people.person(i), 10e18);
        }
        world = new ShareWorld(vault, treasury, tokens);
        targetContract(address(world));
        bytes4[] memory actions = new bytes4[](9);
        actions[0] = ShareWorld.transfer.selector;
        actions[1] = ShareWorld.transferFrom.selector;
        actions[2] = ShareWorld.transferFrom.selector;
        actions[3] = ShareWorld.approve.selector;
        actions[4] = ShareWorld.approve.selector;
        actions[5] = ShareWorld.permit.selector;
        actions[6] = ShareWorld.deposit.selector;
        actions[7] = ShareWorld.redeem.selector;
        actions[8] = ShareWorld.passTime.selector;
        targetSelector(FuzzSelector(address(world), actions));
    }

    function invariant_ERC20_ERC2612_shares_follow_the_book() public view {
        assertEq(world.firstBreach(), "");
        uint256 sum = vault.balanceOf(LOCKED) + vault.balanceOf(creator) + vault.balanceOf(treasury);
        for (uint256 i; i < world.PEOPLE(); ++i) {
            address holder = world.person(i);
            assertEq(vault.balanceOf(holder), world.balances(holder), "balance");
            assertEq(IERC20Permit(address(vault)).nonces(holder), world.nonces(holder), "nonce");
            for (uint256 j; j < world.PEOPLE(); ++j) {
                address spender = world.person(j);
                assertEq(vault.allowance(holder, spender), world.allowances(holder, spender), "allowance");
            }
            sum += vault.balanceOf(holder);
        }
        // What is not yet anybody's is the fee's.
        assertGe(vault.totalSupply(), sum, "supply");
        assertEq(vault.balanceOf(LOCKED), 1_333_333_333_333_334, "1,000 units of 0.75e8");
        assertEq(vault.balanceOf(address(0)) + vault.balanceOf(address(vault)), 0);
    }

    function afterInvariant() public {
        uint256 supply = vault.totalSupply();
        vault.collectFee();
        uint256 sum = vault.balanceOf(LOCKED) + vault.balanceOf(creator) + vault.balanceOf(treasury);
        for (uint256 i; i < world.PEOPLE(); ++i) {
            sum += vault.balanceOf(world.person(i));
        }
        assertEq(sum, supply, "all shares have a holder once the fee is collected");
    }

    /// @notice A fixed walk: everybody gets something done, and something refused.
    function test_the_people_are_not_idle() public {
        for (uint256 i; i < 400; ++i) {
            uint256 x = uint256(keccak256(abi.encode("people", i)));
            (uint256 a, uint256 b, uint256 c) = (x >> 16, x >> 48, x >> 80);
            if (x % 8 == 0) world.transfer(a, b, c);
            else if (x % 8 == 1) world.transferFrom(a, b, b >> 8, c);
            else if (x % 8 == 2) world.approve(a, b, c, b % 5 == 0);
            else if (x % 8 == 3) world.permit(a, b, c, c >> 64);
            else if (x % 8 == 4) world.deposit(a, b, c);
            else if (x % 8 == 5) world.passTime(a, b % 2 == 0);
            else world.redeem(b % 3 == 0 ? a : b, b, c);
        }

        invariant_ERC20_ERC2612_shares_follow_the_book();
        afterInvariant();
        ShareWorld.Counts memory counts = world.counts();
        assertGt(counts.transfers, 20);
        assertGt(counts.spent, 5);
        assertGt(counts.permits, 10);
        assertGt(counts.permitsRefused, 5);
        assertGt(counts.deposits, 20);
        assertGt(counts.redemptions, 20);
        assertGt(counts.refusals, 5);
    }
}
