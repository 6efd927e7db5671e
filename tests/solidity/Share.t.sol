// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC5267 } from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

import { Base } from "./Base.t.sol";

/// @notice The share as a token: ERC-20, ERC-2612, and its own name in every clone.
contract ShareTest is Base {
    bytes32 internal constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    address internal signer;
    uint256 internal signerKey;

    function setUp() public override {
        super.setUp();
        (signer, signerKey) = makeAddrAndKey("signer");
        _deposit(signer, 5e18);
    }

    /* REFUSALS */

    function test_permit_after_its_deadline_is_refused() public {
        uint256 deadline = block.timestamp;
        (uint8 v, bytes32 r, bytes32 s) = _sign(bob, 1e18, 0, deadline);
        skip(1);

        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, deadline));
        IERC20Permit(address(vault)).permit(signer, bob, 1e18, deadline, v, r, s);
    }

    function test_permit_signed_for_another_amount_nonce_or_vault_is_refused() public {
        (uint8 v, bytes32 r, bytes32 s) = _sign(bob, 1e18, 0, block.timestamp);
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        IERC20Permit(address(vault)).permit(signer, bob, 2e18, block.timestamp, v, r, s);

        (v, r, s) = _sign(bob, 1e18, 1, block.timestamp);
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        IERC20Permit(address(vault)).permit(signer, bob, 1e18, block.timestamp, v, r, s);

        (v, r, s) = _sign(bob, 1e18, 0, block.timestamp);
        address other = address(_createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6)));
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        IERC20Permit(other).permit(signer, bob, 1e18, block.timestamp, v, r, s);
    }

    /* SUCCESS */

    function test_permit_lets_the_spender_redeem_once() public {
        (uint8 v, bytes32 r, bytes32 s) = _sign(bob, 1e18, 0, block.timestamp);

        vm.prank(stranger);
        IERC20Permit(address(vault)).permit(signer, bob, 1e18, block.timestamp, v, r, s);
        assertEq(vault.allowance(signer, bob), 1e18);
        assertEq(IERC20Permit(address(vault)).nonces(signer), 1);

        vm.prank(bob);
        vault.redeemInKind(1e18, bob, signer, _amounts());
        assertEq(_balances(bob), _amounts(0.25e18, 750_000, 200e6));
        vm.expectPartialRevert(ERC20Permit.ERC2612InvalidSigner.selector);
        IERC20Permit(address(vault)).permit(signer, bob, 1e18, block.timestamp, v, r, s);
    }

    function test_the_permit_domain_can_be_read_and_names_the_clone() public view {
        (, string memory name, string memory version, uint256 chainId, address verifyingContract,,) =
            IERC5267(address(vault)).eip712Domain();

        assertEq(name, "Rebalancer");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifyingContract, address(vault));
        assertEq(
            IERC20Permit(address(vault)).DOMAIN_SEPARATOR(),
            keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256("Rebalancer"),
                    keccak256("1"),
                    block.chainid,
                    address(vault)
                )
            )
        );
    }

    function test_shares_have_the_clones_own_name() public view {
        assertEq(IERC20Metadata(address(vault)).name(), "Three coins");
        assertEq(IERC20Metadata(address(vault)).symbol(), "THREE");
        assertEq(IERC20Metadata(address(vault)).decimals(), 18);
    }

    function test_transfers_move_shares_and_nothing_else() public {
        uint256[] memory held = vault.held();

        vm.prank(signer);
        assertTrue(vault.transfer(bob, 2e18));
        vm.prank(bob);
        vault.approve(alice, 1e18);
        vm.expectEmit(address(vault));
        emit IERC20.Transfer(bob, alice, 1e18);
        vm.prank(alice);
        assertTrue(vault.transferFrom(bob, alice, 1e18));

        assertEq(vault.balanceOf(signer), 3e18);
        assertEq(vault.balanceOf(bob), 1e18);
        assertEq(vault.balanceOf(alice), 1e18);
        assertEq(vault.totalSupply(), 105e18);
        assertEq(vault.held(), held);
    }

    function test_transfers_work_while_a_rebalance_is_paused() public {
        vm.prank(guardian);
        vault.pauseRebalance();

        vm.prank(signer);
        vault.transfer(bob, 1e18);

        assertEq(vault.balanceOf(bob), 1e18);
    }

    function _sign(address spender, uint256 value, uint256 nonce, uint256 deadline)
        internal
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 message = keccak256(abi.encode(PERMIT_TYPE, signer, spender, value, nonce, deadline));
        bytes32 separator = IERC20Permit(address(vault)).DOMAIN_SEPARATOR();
        return vm.sign(signerKey, keccak256(abi.encodePacked(hex"1901", separator, message)));
    }
}
