// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { Vm } from "forge-std/Vm.sol";

import { Base } from "./Base.t.sol";

/// @notice poke: anyone notes when a band broke, and when it became whole.
contract PokeTest is Base {
    /* REFUSALS */

    function test_poke_with_any_oracle_fault_is_refused_and_changes_nothing() public {
        _breakBand();
        feeds[USDC].push(0);

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, USDC, IOracleHub.Fault.NotPositive));
        vault.poke();

        assertEq(vault.state().dueSince, 0);
    }

    function test_poke_of_a_basket_worth_nothing_is_refused() public {
        _emptyLedger();

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TotalOutOfRange.selector, 0, 1 << 120));
        vault.poke();
    }

    /* SUCCESS */

    function test_poke_when_a_band_is_broken_notes_the_time_once() public {
        _breakBand();
        uint256 brokenAt = block.timestamp;

        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(brokenAt);
        vm.prank(stranger);
        vault.poke();
        assertEq(vault.state().dueSince, brokenAt);

        _pass(100);
        _expectSilence();
        assertEq(vault.state().dueSince, brokenAt);
    }

    function test_poke_when_the_band_is_whole_again_forgets() public {
        _breakBand();
        vault.poke();
        _setPrice(WETH, 2_000e8);

        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(0);
        vault.poke();

        assertEq(vault.state().dueSince, 0);
    }

    function test_poke_while_whole_does_nothing() public {
        _expectSilence();

        assertEq(vault.state().dueSince, 0);
    }

    function test_poke_while_paused_works() public {
        _breakBand();
        vm.prank(guardian);
        vault.pauseRebalance();

        vault.poke();

        assertEq(vault.state().dueSince, block.timestamp);
    }

    function test_poke_changes_nothing_else() public {
        _breakBand();
        IBasketVault.State memory expected = vault.state();
        uint256[] memory held = vault.held();

        vault.poke();

        expected.dueSince = uint40(block.timestamp);
        assertEq(keccak256(abi.encode(vault.state())), keccak256(abi.encode(expected)));
        assertEq(vault.held(), held);
        assertEq(vault.totalSupply(), INITIAL_SHARES);
    }

    function _expectSilence() internal {
        vm.recordLogs();
        vault.poke();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 0);
    }
}
