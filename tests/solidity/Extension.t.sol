// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { Base } from "./Base.t.sol";

/// @notice Two contracts, one vault: what BasketVault does not know runs in VaultExtension, on the vault's own storage and nowhere else.
contract ExtensionTest is Base {
    function test_a_function_that_neither_half_has_is_refused() public {
        (bool done, bytes memory answer) = address(vault).call(abi.encodeWithSignature("nothing()"));
        assertFalse(done);
        assertEq(answer.length, 0);
    }

    function test_no_half_takes_ether() public {
        vm.deal(alice, 3);
        vm.startPrank(alice);
        (bool plain,) = address(vault).call{ value: 1 }("");
        (bool core,) = address(vault).call{ value: 1 }(abi.encodeCall(IVaultCore.poke, ()));
        (bool extension,) = address(vault).call{ value: 1 }(abi.encodeCall(IVaultExtension.sync, (0)));
        vm.stopPrank();
        assertFalse(plain || core || extension);
    }

    function test_errors_of_the_extension_come_through_whole() public {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.NothingLost.selector, WETH, 25e18, 25e18));
        vault.sync(WETH);
    }

    /// @dev Neither the extension nor the implementation is a vault: nobody can start them, and no function of theirs does anything.
    function test_the_code_itself_is_no_vault() public {
        address[2] memory code = [implementation, IVaultCore(implementation).EXTENSION()];
        for (uint256 i; i < 2; ++i) {
            IBasketVault bare = IBasketVault(code[i]);
            assertEq(bare.totalSupply(), 0);
            assertEq(bare.config(), address(1));
            vm.expectRevert(IVaultBase.AlreadyInitialized.selector);
            bare.initialize(
                "A", "A", address(manager), _config(), _streaming(0), treasury, _amounts(), INITIAL_SHARES, alice
            );
            vm.startPrank(owner);
            (bool paused,) = address(bare).call(abi.encodeCall(IVaultExtension.pauseRebalance, ()));
            (bool absorbed,) = address(bare).call(abi.encodeCall(IVaultExtension.absorb, (0, 0)));
            (bool bid,) = address(bare).call{ gas: 5_000_000 }(abi.encodeCall(IVaultExtension.bid, (0, 1, 1, 1)));
            vm.stopPrank();
            assertFalse(paused || absorbed || bid);
        }
    }

    /// @dev What one half writes the other reads, in every slot that either declares.
    function test_both_halves_read_the_same_books() public {
        address extension = IVaultCore(implementation).EXTENSION();
        _breakBand();
        vault.poke();
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(100, 200, 30, 40), treasury);
        vm.prank(guardian);
        vault.pauseRebalance();
        _deposit(alice, 3e18);
        bytes memory seen = _views(vault);
        bytes memory shared = _sharedViews(vault);

        // The vault's clone, run by the extension alone, on the same storage.
        vm.etch(
            address(vault), abi.encodePacked(hex"363d3d373d3d3d363d73", extension, hex"5af43d82803e903d91602b57fd5bf3")
        );
        assertEq(address(vault).code.length, 45);
        assertEq(_sharedViews(vault), shared);
        vm.prank(owner);
        vault.resumeRebalance();
        vm.etch(
            address(vault),
            abi.encodePacked(hex"363d3d373d3d3d363d73", implementation, hex"5af43d82803e903d91602b57fd5bf3")
        );
        assertFalse(vault.state().paused, "the core sees what the extension wrote");
        vm.prank(guardian);
        vault.pauseRebalance();
        assertEq(_views(vault), seen);
    }

    function _views(IBasketVault v) internal view returns (bytes memory) {
        return abi.encode(v.state(), v.held(), _sharedViews(v));
    }

    function _sharedViews(IBasketVault v) internal view returns (bytes memory) {
        return abi.encode(v.totalSupply(), v.config(), v.feeRecipient(), v.balanceOf(alice));
    }
}
