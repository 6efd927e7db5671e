// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Vm } from "forge-std/Vm.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
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
                IVaultBase.Start(
                    "A", "A", address(manager), _config(), _streaming(0), treasury, _amounts(), INITIAL_SHARES, alice
                )
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
        assertEq(vault.state().dueSince, 0, "and that nothing is due until it is seen again");
        vault.poke();
        assertEq(_views(vault), seen);
    }

    /* ONE ABI */

    /// @dev Every function of IVaultExtension, by its own name, as anybody and as the owner: the vault hands exactly this call to the
    /// extension, and answers, changes and tells what the extension does when a clone of it alone runs on the same storage.
    function test_every_function_of_the_extension_is_reached_by_name() public {
        address extension = IVaultCore(implementation).EXTENSION();
        bytes[] memory calls = _calls();
        bytes4 all;
        uint256 passed;
        for (uint256 i; i < calls.length; ++i) {
            all ^= bytes4(calls[i]);
            vm.expectCall(extension, calls[i], 4); // by each caller, each way
            for (uint256 j; j < 2; ++j) {
                address caller = j == 0 ? stranger : owner;
                uint256 snapshot = vm.snapshotState();
                (bool done, bytes32 outcome) = _outcome(caller, calls[i]);
                vm.revertToState(snapshot);
                _runAlone(extension);
                (, bytes32 alone) = _outcome(caller, calls[i]);
                assertEq(outcome, alone, vm.toString(i));
                vm.revertToState(snapshot);
                if (done) ++passed;
            }
        }
        assertEq(all, type(IVaultExtension).interfaceId, "these are all");
        assertGt(passed, calls.length * 3 / 4, "and most of them do something");
    }

    /// @dev With an extension that refuses everything.
    function test_deposits_exits_and_rebalances_never_reach_the_extension() public {
        address extension = IVaultCore(implementation).EXTENSION();
        vm.etch(extension, hex"fe");
        (bool done, bytes memory answer) = address(vault).call{ gas: 1e6 }(abi.encodeCall(IVaultExtension.sync, (0)));
        assertFalse(done);
        assertEq(answer.length, 0);
        vm.expectCall(extension, "", 0);

        _deposit(alice, 2e18);
        _breakBand();
        vault.poke();
        _rebalanceFairly();
        tokens[WETH].burn(address(vault), 1e18);
        _redeem(alice, 1e18);
        _leave(alice, 7);
        vault.collectFee();
        vm.prank(creator);
        vault.transfer(bob, 1e18);
        assertGt(vault.claimable(alice, address(tokens[WETH])), 0);
        assertEq(vault.state().epoch, 1);
    }

    /// @dev Whether the call passed; and its answer, its logs, and the vault after it, as one number.
    function _outcome(address caller, bytes memory data) internal returns (bool done, bytes32 outcome) {
        bytes memory answer;
        vm.recordLogs();
        vm.startStateDiffRecording();
        vm.prank(caller);
        (done, answer) = address(vault).call(data);
        bytes32 changes;
        Vm.AccountAccess[] memory accesses = vm.stopAndReturnStateDiff();
        for (uint256 i; i < accesses.length; ++i) {
            for (uint256 j; j < accesses[i].storageAccesses.length; ++j) {
                Vm.StorageAccess memory a = accesses[i].storageAccesses[j];
                if (a.isWrite) changes = keccak256(abi.encode(changes, a.account, a.slot, a.newValue, a.reverted));
            }
        }
        outcome = keccak256(abi.encode(done, answer, vm.getRecordedLogs(), changes));
    }

    /// @dev The vault's clone runs the extension alone.
    function _runAlone(address extension) internal {
        vm.etch(
            address(vault), abi.encodePacked(hex"363d3d373d3d3d363d73", extension, hex"5af43d82803e903d91602b57fd5bf3")
        );
    }

    /// @dev Of a vault of which something can be written down, absorbed, claimed, settled, tightened and so on.
    function _calls() internal returns (bytes[] memory list) {
        MockToken fourth = new MockToken("Fourth", "FOUR", 18);
        _addAsset(fourth, 1e8);
        _deposit(alice, 4e18);
        _leave(alice, 7);
        tokens[WBTC].burn(address(vault), 0.1e8);
        tokens[WETH].mint(address(vault), 1e18);
        vm.startPrank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 0, 0), treasury);
        vault.excludeAsset(WETH);
        IBasketVault.Auction memory a;
        (a.lotRaw, a.startPayRaw, a.floorPayRaw, a.fillRaw) = (1e18, 2e9, 1e9, type(uint128).max);
        (a.decaySeconds, a.endsAt) = (1 hours, uint40(block.timestamp + 60 days));
        vault.startAuction(WETH, USDC, a);
        vm.stopPrank();
        list = new bytes[](23);
        IBasketVault.Policy memory p = _policy();
        uint256[] memory targets = _amounts(0, 0.5e18, 0.5e18);
        IVaultBase.Start memory start = IVaultBase.Start(
            "A", "A", address(manager), _config(), _streaming(0), treasury, _amounts(), INITIAL_SHARES, alice
        );
        list[0] = abi.encodeCall(IVaultExtension.initialize, (start));
        list[1] = abi.encodeCall(IVaultExtension.setPolicy, (p));
        list[2] = abi.encodeCall(IVaultExtension.setOracle, (oracle));
        list[3] = abi.encodeCall(IVaultExtension.setFees, (_streaming(7), bob));
        list[4] = abi.encodeCall(IVaultExtension.addAsset, (address(fourth), 18, IVaultBase.Band(200, 0, 0)));
        list[5] = abi.encodeCall(IVaultExtension.excludeAsset, (9));
        list[6] = abi.encodeCall(IVaultExtension.includeAsset, (WETH));
        list[7] = abi.encodeCall(IVaultExtension.removeAsset, (WETH));
        list[8] = abi.encodeCall(IVaultExtension.resumeRebalance, ());
        list[9] = abi.encodeCall(IVaultExtension.allowPurchases, (WETH));
        list[10] = abi.encodeCall(IVaultExtension.absorb, (WETH, 1e18));
        list[11] = abi.encodeCall(IVaultExtension.startAuction, (WETH, WBTC, a));
        list[12] = abi.encodeCall(IVaultExtension.setTargets, (targets, 1 days));
        list[13] = abi.encodeCall(IVaultExtension.setBands, (_bands(300, 300, 300)));
        list[14] = abi.encodeCall(IVaultExtension.pauseRebalance, ());
        list[15] = abi.encodeCall(IVaultExtension.tightenPolicy, (p));
        list[16] = abi.encodeCall(IVaultExtension.lowerFees, (_streaming(7)));
        list[17] = abi.encodeCall(IVaultExtension.stopAuction, (WETH, USDC));
        list[18] = abi.encodeCall(IVaultExtension.claim, (alice, address(tokens[WBTC]), alice, type(uint256).max));
        list[19] = abi.encodeCall(IVaultExtension.sync, (WBTC));
        list[20] = abi.encodeCall(IVaultExtension.collectPerformanceFee, ());
        list[21] = abi.encodeCall(IVaultExtension.pokeAuction, (WETH, USDC));
        list[22] = abi.encodeCall(IVaultExtension.bid, (WETH, USDC, 1e18, 2e9));
        // The owner is guardian, curator and anybody.
        vm.startPrank(owner);
        manager.grantRole(CURATOR_ROLE, owner, 0);
        manager.grantRole(GUARDIAN_ROLE, owner, 0);
        vm.stopPrank();
    }

    function _views(IBasketVault v) internal view returns (bytes memory) {
        return abi.encode(v.state(), v.held(), _sharedViews(v));
    }

    function _sharedViews(IBasketVault v) internal view returns (bytes memory) {
        return abi.encode(v.totalSupply(), v.config(), v.feeRecipient(), v.balanceOf(alice));
    }
}
