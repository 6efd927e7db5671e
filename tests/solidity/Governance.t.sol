// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { Base } from "./Base.t.sol";

/// @notice Who may change what, after how long, and that nothing else may.
contract GovernanceTest is Base {
    /* REFUSALS */

    function test_every_restricted_call_is_refused_to_everybody_without_the_role() public {
        bytes[18] memory calls = _restrictedCalls();
        address[18] memory allowed = [
            owner,
            owner,
            owner,
            owner,
            curator,
            guardian,
            keeper,
            curator,
            owner,
            owner,
            owner,
            owner,
            owner,
            owner,
            guardian,
            guardian,
            guardian,
            owner
        ];
        address[6] memory actors = [owner, curator, guardian, keeper, creator, stranger];
        for (uint256 i; i < calls.length; ++i) {
            for (uint256 j; j < actors.length; ++j) {
                if (actors[j] == allowed[i]) continue;
                vm.prank(actors[j]);
                (bool done, bytes memory answer) = address(vault).call(calls[i]);
                assertFalse(done);
                assertEq(answer, abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, actors[j]));
            }
        }
    }

    function test_targets_with_an_array_of_another_length_are_refused() public {
        vm.startPrank(curator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        vault.setTargets(_amounts(0.5e18, 0.5e18), 0);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        vault.setBands(new IBasketVault.Band[](2));
        vm.stopPrank();
    }

    function test_targets_that_do_not_sum_to_one_are_refused() public {
        vm.startPrank(curator);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 1e18 - 1));
        vault.setTargets(_amounts(0.5e18, 0.3e18, 0.2e18 - 1), 0);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 1e18 + 1));
        vault.setTargets(_amounts(0.5e18, 0.3e18, 0.2e18 + 1), 0);
        // 2^64 + 0.5e18 would be 0.5e18 in 64 bits.
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 64, (1 << 64) + 0.5e18)
        );
        vault.setTargets(_amounts((1 << 64) + 0.5e18, 0.3e18, 0.2e18), 0);
        vm.stopPrank();
    }

    function test_bands_out_of_range_are_refused() public {
        vm.startPrank(curator);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, WBTC, 0, 21, 5_000));
        vault.setBands(_bands(200, 0, 200));
        // Dust is 20.
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, USDC, 20, 21, 5_000));
        vault.setBands(_bands(200, 200, 20));
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, WETH, 5_001, 21, 5_000));
        vault.setBands(_bands(5_001, 200, 200));
        vault.setBands(_bands(21, 21, 5_000));
        vm.stopPrank();
    }

    function test_a_policy_whose_dust_reaches_a_band_is_refused() public {
        IBasketVault.Policy memory p = _policy();
        p.dustBps = 200;
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, WETH, 200, 201, 5_000));
        vault.setPolicy(p);
    }

    function test_an_oracle_without_a_sound_price_is_refused() public {
        IOracleHub empty = IOracleHub(deployCode("OracleHub.sol:OracleHub", abi.encode(manager, address(0), 0)));
        vm.prank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, address(tokens[WETH]), IOracleHub.Fault.NoFeed)
        );
        vault.setOracle(empty);
    }

    /* OWNER */

    function test_the_policy_can_be_replaced_whole() public {
        IBasketVault.Policy memory p =
            IVaultBase.Policy(1, 300, 7, 10_000, 19, 8, 500, 3_600, 20_000, 3_601, 10_000, 3_602, 1);
        IBasketVault.Asset[] memory assets = vault.assets();

        vm.prank(owner);
        vault.setPolicy(p);

        assertEq(keccak256(abi.encode(vault.policy())), keccak256(abi.encode(p)));
        assertEq(keccak256(abi.encode(vault.assets())), keccak256(abi.encode(assets)));
        assertEq(address(vault.oracle()), address(oracle));
    }

    function test_the_oracle_can_be_replaced() public {
        IOracleHub next = IOracleHub(deployCode("OracleHub.sol:OracleHub", abi.encode(manager, address(0), 0)));
        for (uint256 i; i < 3; ++i) {
            vm.prank(owner);
            next.setFeed(address(tokens[i]), address(feeds[i]), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        }
        IBasketVault.Config memory expected = _config();
        expected.oracle = next;

        vm.expectEmit(true, false, false, true, address(store));
        emit IConfigStore.Written(address(vault), address(0), expected);
        vm.prank(owner);
        vault.setOracle(next);

        assertEq(address(vault.oracle()), address(next));
    }

    function test_a_delayed_owner_must_wait_and_the_guardian_can_cancel() public {
        address slowOwner = makeAddr("slow owner");
        uint64 role = 9;
        vm.startPrank(owner);
        manager.grantRole(role, slowOwner, 2 days);
        manager.setRoleGuardian(role, GUARDIAN_ROLE);
        manager.setTargetFunctionRole(address(vault), _selectors(IVaultExtension.setPolicy.selector), role);
        vm.stopPrank();
        IBasketVault.Policy memory p = _policy();
        (p.maxSlippageBps, p.lossBudgetBps) = (300, 150);
        bytes memory message = abi.encodeCall(IVaultExtension.setPolicy, (p));

        vm.startPrank(slowOwner);
        vm.expectPartialRevert(IAccessManager.AccessManagerNotScheduled.selector);
        vault.setPolicy(p);
        manager.schedule(address(vault), message, 0);
        vm.expectPartialRevert(IAccessManager.AccessManagerNotReady.selector);
        vault.setPolicy(p);
        vm.stopPrank();

        vm.prank(guardian);
        manager.cancel(slowOwner, address(vault), message);
        skip(2 days);
        _refreshFeeds();
        vm.prank(slowOwner);
        vm.expectPartialRevert(IAccessManager.AccessManagerNotScheduled.selector);
        vault.setPolicy(p);

        vm.startPrank(slowOwner);
        manager.schedule(address(vault), message, 0);
        skip(2 days);
        _refreshFeeds();
        vault.setPolicy(p);
        vm.stopPrank();
        assertEq(vault.policy().maxSlippageBps, 300);
    }

    function test_only_the_authority_names_its_successor() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, owner));
        IAccessManaged(address(vault)).setAuthority(stranger);

        address next = address(new NextManager());
        vm.prank(owner);
        manager.updateAuthority(address(vault), next);
        assertEq(IAccessManaged(address(vault)).authority(), next);
    }

    /* CURATOR */

    function test_targets_can_be_moved_and_the_climb_begins_anew() public {
        _breakBand();
        vault.poke();
        IBasketVault.Config memory expected = _config();
        (expected.assets[WETH].targetE18, expected.assets[WETH].startTargetE18) = (0.6e18, 0.6e18);
        (expected.assets[WBTC].targetE18, expected.assets[WBTC].startTargetE18) = (0.4e18, 0.4e18);
        (expected.assets[USDC].targetE18, expected.assets[USDC].startTargetE18) = (0, 0);
        (expected.glideStart, expected.glideEnd) = (uint40(block.timestamp), uint40(block.timestamp));

        vm.expectEmit(true, false, false, true, address(store));
        emit IConfigStore.Written(address(vault), address(0), expected);
        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(0);
        vm.prank(curator);
        vault.setTargets(_amounts(0.6e18, 0.4e18, 0), 0);

        assertEq(keccak256(abi.encode(vault.assets())), keccak256(abi.encode(expected.assets)));
        assertEq(vault.state().dueSince, 0);
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp);
    }

    function test_an_asset_with_target_zero_can_be_sold_out() public {
        vm.prank(curator);
        vault.setTargets(_amounts(0.6e18, 0.4e18, 0), 0);
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 20_000;
        vm.prank(owner);
        vault.setPolicy(p);

        // V = 100,000: all 20,000 USDC for 5 WETH and 0.25 WBTC
        _rebalance(_amounts(0, 0, 20_000e6), _amounts(5e18, 0.25e8, 0), 2);

        assertEq(vault.held(), _amounts(30e18, 1e8, 0));
    }

    /* GUARDIAN */

    function test_pause_and_resume_say_who_did_it() public {
        vm.expectEmit(address(vault));
        emit IVaultBase.RebalancePaused(guardian);
        vm.prank(guardian);
        vault.pauseRebalance();
        assertTrue(vault.state().paused);

        vm.expectEmit(address(vault));
        emit IVaultBase.RebalanceResumed(owner);
        vm.prank(owner);
        vault.resumeRebalance();
        assertFalse(vault.state().paused);
    }

    function test_pause_works_while_the_oracle_does_not() public {
        vm.etch(address(oracle), hex"fe");

        vm.prank(guardian);
        vault.pauseRebalance();

        assertTrue(vault.state().paused);
    }

    function _restrictedCalls() internal view returns (bytes[18] memory calls) {
        uint256[] memory none = _amounts();
        IBasketVault.Band memory band;
        IBasketVault.Auction memory terms;
        calls[0] = abi.encodeCall(IVaultExtension.setPolicy, (_policy()));
        calls[1] = abi.encodeCall(IVaultExtension.setOracle, (oracle));
        calls[2] = abi.encodeCall(IVaultExtension.setFees, (_streaming(0), treasury));
        calls[3] = abi.encodeCall(IVaultExtension.resumeRebalance, ());
        calls[4] = abi.encodeCall(IVaultExtension.setTargets, (none, 0));
        calls[5] = abi.encodeCall(IVaultExtension.pauseRebalance, ());
        calls[6] = abi.encodeCall(IVaultCore.rebalance, (0, none, none, address(executor), ""));
        calls[7] = abi.encodeCall(IVaultExtension.setBands, (new IBasketVault.Band[](0)));
        calls[8] = abi.encodeCall(IVaultExtension.addAsset, (address(executor), 18, band));
        calls[9] = abi.encodeCall(IVaultExtension.excludeAsset, (0));
        calls[10] = abi.encodeCall(IVaultExtension.includeAsset, (0));
        calls[11] = abi.encodeCall(IVaultExtension.removeAsset, (0));
        calls[12] = abi.encodeCall(IVaultExtension.absorb, (0, 0));
        calls[13] = abi.encodeCall(IVaultExtension.startAuction, (0, 1, terms));
        calls[14] = abi.encodeCall(IVaultExtension.stopAuction, (0, 1));
        calls[15] = abi.encodeCall(IVaultExtension.tightenPolicy, (_policy()));
        calls[16] = abi.encodeCall(IVaultExtension.lowerFees, (_streaming(0)));
        calls[17] = abi.encodeCall(IVaultExtension.allowPurchases, (0));
    }
}

/// @notice Something with code, which is all an authority must be.
contract NextManager { }
