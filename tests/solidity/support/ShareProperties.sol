// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { Test } from "forge-std/Test.sol";
import { Vm } from "forge-std/Vm.sol";

/// @title ShareProperties
/// @notice What every ERC-20 with permits must do, one test a property, whatever stands behind `_share`.
///
/// ERC20-BASE, -BURNABLE and -MINTABLE are the ids of the catalogue in github.com/crytic/properties (PROPERTIES.md), whose statements
/// these tests check with code of their own. Burning is redeeming, minting is depositing. The catalogue's other groups say nothing
/// here: shares cannot be paused (that they move while rebalances are paused is in Share.t.sol) and have no `increaseAllowance`.
/// ERC20-EIP are the sentences of EIP-20 that the catalogue leaves out, ERC2612 those of EIP-2612, numbered in their order there.
abstract contract ShareProperties is Test {
    bytes32 internal constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    uint256 internal constant EACH = 30e18;
    uint256 internal constant SIGNER_KEY = 0x5e5e;

    address internal anna = vm.addr(SIGNER_KEY);
    address internal ben = makeAddr("ben");
    address internal cleo = makeAddr("cleo");

    /// @dev The share under test; anna, ben and cleo have `EACH` of it.
    function _share() internal view virtual returns (IERC20);

    /// @dev Gives `amount` new shares to `holder`.
    function _issue(address holder, uint256 amount) internal virtual;

    /// @dev The call that burns `amount` shares of `holder`.
    function _burning(address holder, uint256 amount) internal view virtual returns (bytes memory);

    /* SUPPLY */

    function test_ERC20_BASE_001_transfers_and_approvals_leave_the_supply(uint256 x) public {
        uint256 supply = _share().totalSupply();
        _do(anna, abi.encodeCall(IERC20.transfer, (ben, _part(x))));
        _do(ben, abi.encodeCall(IERC20.approve, (cleo, x)));
        _try(cleo, abi.encodeCall(IERC20.transferFrom, (ben, anna, _part(x))));

        assertEq(_share().totalSupply(), supply);
    }

    function test_ERC20_BASE_002_no_balance_is_above_the_supply(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.transfer, (ben, _part(x))));

        assertLe(_share().balanceOf(anna), _share().totalSupply());
        assertLe(_share().balanceOf(ben), _share().totalSupply());
    }

    function test_ERC20_BASE_003_all_balances_are_not_above_the_supply(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.transfer, (ben, _part(x))));

        assertLe(_share().balanceOf(anna) + _share().balanceOf(ben) + _share().balanceOf(cleo), _share().totalSupply());
    }

    function test_ERC20_BASE_004_the_zero_address_has_nothing(uint256 x) public {
        _try(anna, abi.encodeCall(IERC20.transfer, (address(0), _part(x))));

        assertEq(_share().balanceOf(address(0)), 0);
    }

    /* REFUSALS */

    function test_ERC20_BASE_005_transfer_to_the_zero_address_is_refused(uint256 x) public {
        assertFalse(_try(anna, abi.encodeCall(IERC20.transfer, (address(0), _part(x)))));
    }

    function test_ERC20_BASE_006_transferFrom_to_the_zero_address_is_refused(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.approve, (ben, EACH)));
        assertFalse(_try(ben, abi.encodeCall(IERC20.transferFrom, (anna, address(0), _part(x)))));
    }

    function test_ERC20_BASE_009_transfer_of_more_than_the_balance_is_refused(uint256 x) public {
        uint256 more = bound(x, _share().balanceOf(anna) + 1, type(uint256).max);
        assertFalse(_try(anna, abi.encodeCall(IERC20.transfer, (ben, more))));
        assertEq(_share().balanceOf(anna), EACH);
    }

    function test_ERC20_BASE_010_transferFrom_of_more_than_the_balance_is_refused(uint256 x) public {
        uint256 more = bound(x, _share().balanceOf(anna) + 1, type(uint256).max);
        _do(anna, abi.encodeCall(IERC20.approve, (ben, type(uint256).max)));
        assertFalse(_try(ben, abi.encodeCall(IERC20.transferFrom, (anna, ben, more))));
        assertEq(_share().balanceOf(anna), EACH);
    }

    function test_ERC20_EIP_1_transferFrom_needs_an_allowance(uint256 x) public {
        uint256 allowed = _part(x) - 1;
        _do(anna, abi.encodeCall(IERC20.approve, (ben, allowed)));
        assertFalse(_try(ben, abi.encodeCall(IERC20.transferFrom, (anna, ben, allowed + 1))));
        assertFalse(_try(cleo, abi.encodeCall(IERC20.transferFrom, (anna, cleo, 1))));
    }

    /* TRANSFERS */

    function test_ERC20_BASE_007_transfer_to_oneself_changes_nothing(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.transfer, (anna, _part(x))));
        assertEq(_share().balanceOf(anna), EACH);
    }

    function test_ERC20_BASE_008_transferFrom_to_oneself_changes_nothing(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.approve, (anna, EACH)));
        _do(anna, abi.encodeCall(IERC20.transferFrom, (anna, anna, _part(x))));
        assertEq(_share().balanceOf(anna), EACH);
    }

    function test_ERC20_BASE_011_transfer_of_nothing_moves_nothing(uint256) public {
        _do(anna, abi.encodeCall(IERC20.transfer, (ben, 0)));
        assertEq(_share().balanceOf(anna), EACH);
        assertEq(_share().balanceOf(ben), EACH);
    }

    function test_ERC20_BASE_012_transferFrom_of_nothing_moves_nothing(uint256) public {
        _do(ben, abi.encodeCall(IERC20.transferFrom, (anna, ben, 0)));
        assertEq(_share().balanceOf(anna), EACH);
        assertEq(_share().balanceOf(ben), EACH);
    }

    function test_ERC20_BASE_013_transfer_moves_exactly_that_much(uint256 x) public {
        uint256 amount = _part(x);
        vm.recordLogs();
        _do(anna, abi.encodeCall(IERC20.transfer, (ben, amount)));

        assertTrue(_logged(IERC20.Transfer.selector, anna, ben, amount));
        assertEq(_share().balanceOf(anna), EACH - amount);
        assertEq(_share().balanceOf(ben), EACH + amount);
        assertEq(_share().balanceOf(cleo), EACH);
    }

    function test_ERC20_BASE_014_transferFrom_moves_exactly_that_much(uint256 x) public {
        uint256 amount = _part(x);
        _do(anna, abi.encodeCall(IERC20.approve, (cleo, amount)));
        vm.recordLogs();
        _do(cleo, abi.encodeCall(IERC20.transferFrom, (anna, ben, amount)));

        assertTrue(_logged(IERC20.Transfer.selector, anna, ben, amount));
        assertEq(_share().balanceOf(anna), EACH - amount);
        assertEq(_share().balanceOf(ben), EACH + amount);
        assertEq(_share().balanceOf(cleo), EACH);
    }

    /* ALLOWANCES */

    function test_ERC20_BASE_015_approve_sets_the_allowance(uint256 x) public {
        vm.recordLogs();
        _do(anna, abi.encodeCall(IERC20.approve, (ben, x)));
        assertTrue(_logged(IERC20.Approval.selector, anna, ben, x));
        assertEq(_share().allowance(anna, ben), x);
        assertEq(_share().allowance(ben, anna), 0);
    }

    function test_ERC20_BASE_016_approve_again_replaces_the_allowance(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.approve, (ben, x)));
        _do(anna, abi.encodeCall(IERC20.approve, (ben, x / 2)));
        assertEq(_share().allowance(anna, ben), x / 2);
    }

    function test_ERC20_BASE_017_transferFrom_spends_the_allowance(uint256 x) public {
        uint256 amount = _part(x);
        _do(anna, abi.encodeCall(IERC20.approve, (ben, EACH)));
        _do(ben, abi.encodeCall(IERC20.transferFrom, (anna, cleo, amount)));
        assertEq(_share().allowance(anna, ben), EACH - amount);
    }

    /// @dev No sentence of EIP-20, but what OpenZeppelin's token promises and every router counts on.
    function test_ERC20_EIP_2_an_endless_allowance_is_not_spent(uint256 x) public {
        _do(anna, abi.encodeCall(IERC20.approve, (ben, type(uint256).max)));
        _do(ben, abi.encodeCall(IERC20.transferFrom, (anna, ben, _part(x))));
        assertEq(_share().allowance(anna, ben), type(uint256).max);
    }

    /* BURN AND MINT */

    function test_ERC20_BURNABLE_001_burning_takes_from_balance_and_supply(uint256 x) public {
        uint256 amount = _part(x);
        uint256 supply = _share().totalSupply();
        _do(anna, _burning(anna, amount));
        assertEq(_share().balanceOf(anna), EACH - amount);
        assertEq(_share().totalSupply(), supply - amount);
    }

    function test_ERC20_BURNABLE_002_burning_for_another_takes_from_that_one(uint256 x) public {
        uint256 amount = _part(x);
        uint256 supply = _share().totalSupply();
        assertFalse(_try(ben, _burning(anna, amount)), "not without an allowance");
        _do(anna, abi.encodeCall(IERC20.approve, (ben, amount)));
        _do(ben, _burning(anna, amount));
        assertEq(_share().balanceOf(anna), EACH - amount);
        assertEq(_share().balanceOf(ben), EACH);
        assertEq(_share().totalSupply(), supply - amount);
    }

    function test_ERC20_BURNABLE_003_burning_for_another_spends_the_allowance(uint256 x) public {
        uint256 amount = _part(x);
        _do(anna, abi.encodeCall(IERC20.approve, (ben, EACH)));
        _do(ben, _burning(anna, amount));
        assertEq(_share().allowance(anna, ben), EACH - amount);
    }

    function test_ERC20_MINTABLE_001_minting_adds_to_balance_and_supply(uint256 x) public {
        uint256 amount = _part(x);
        uint256 supply = _share().totalSupply();
        _issue(ben, amount);
        assertEq(_share().balanceOf(ben), EACH + amount);
        assertEq(_share().totalSupply(), supply + amount);
    }

    /* PERMITS */

    function test_ERC2612_1_permit_sets_the_allowance(uint256 x) public {
        bytes memory permit = _permit(anna, ben, x, _nonce(), block.timestamp, SIGNER_KEY);
        vm.recordLogs();
        _do(cleo, permit);
        assertTrue(_logged(IERC20.Approval.selector, anna, ben, x));
        assertEq(_share().allowance(anna, ben), x);
    }

    function test_ERC2612_2_permit_uses_up_one_nonce(uint256 x) public {
        uint256 nonce = _nonce();
        _do(cleo, _permit(anna, ben, x, nonce, block.timestamp, SIGNER_KEY));
        assertEq(_nonce(), nonce + 1);
        assertEq(IERC20Permit(address(_share())).nonces(ben), 0);
    }

    function test_ERC2612_3_permit_after_its_deadline_is_refused(uint256 x) public {
        uint256 deadline = bound(x, 0, block.timestamp - 1);
        assertFalse(_try(cleo, _permit(anna, ben, x, _nonce(), deadline, SIGNER_KEY)));
        assertEq(_share().allowance(anna, ben), 0);
    }

    function test_ERC2612_4_permit_of_the_zero_address_is_refused(uint256 x) public {
        // A signature of nobody recovers to the zero address.
        bytes memory forged =
            abi.encodeCall(IERC20Permit.permit, (address(0), ben, x, block.timestamp, 27, bytes32(0), bytes32(0)));
        assertFalse(_try(ben, forged));
        assertEq(_share().allowance(address(0), ben), 0);
    }

    function test_ERC2612_5_permit_with_a_used_or_future_nonce_is_refused(uint256 x) public {
        bytes memory permit = _permit(anna, ben, x, _nonce(), block.timestamp, SIGNER_KEY);
        _do(cleo, permit);
        assertFalse(_try(cleo, permit), "twice");
        assertFalse(_try(cleo, _permit(anna, ben, x, _nonce() + 1 + x % 9, block.timestamp, SIGNER_KEY)), "early");
    }

    function test_ERC2612_6_permit_that_the_owner_did_not_sign_is_refused(uint256 x) public {
        uint256 other = bound(x, 1, type(uint128).max);
        vm.assume(other != SIGNER_KEY);
        assertFalse(_try(ben, _permit(anna, ben, x, _nonce(), block.timestamp, other)));
        assertEq(_share().allowance(anna, ben), 0);
    }

    /* HELPERS */

    /// @dev An amount from 1 to all that one holder has.
    function _part(uint256 x) internal pure returns (uint256) {
        return 1 + x % EACH;
    }

    function _nonce() internal view returns (uint256) {
        return IERC20Permit(address(_share())).nonces(anna);
    }

    function _permit(address holder, address spender, uint256 value, uint256 nonce, uint256 deadline, uint256 key)
        internal
        view
        returns (bytes memory)
    {
        bytes32 message = keccak256(abi.encode(PERMIT_TYPE, holder, spender, value, nonce, deadline));
        bytes32 separator = IERC20Permit(address(_share())).DOMAIN_SEPARATOR();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", separator, message)));
        return abi.encodeCall(IERC20Permit.permit, (holder, spender, value, deadline, v, r, s));
    }

    /// @dev Whether the share has logged this since `vm.recordLogs`.
    function _logged(bytes32 selector, address first, address second, uint256 value) internal returns (bool found) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length && !found; ++i) {
            found = logs[i].emitter == address(_share()) && logs[i].topics[0] == selector
                && logs[i].topics[1] == bytes32(uint256(uint160(first)))
                && logs[i].topics[2] == bytes32(uint256(uint160(second)))
                && abi.decode(logs[i].data, (uint256)) == value;
        }
    }

    function _do(address caller, bytes memory data) internal {
        assertTrue(_try(caller, data), "refused");
    }

    /// @dev Whether the share did as asked: neither a revert nor an answer of `false`.
    function _try(address caller, bytes memory data) internal returns (bool) {
        address share = address(_share());
        vm.prank(caller);
        (bool done, bytes memory answer) = share.call(data);
        return done && (answer.length != 32 || abi.decode(answer, (uint256)) != 0);
    }
}
