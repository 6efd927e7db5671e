// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { Base } from "./Base.t.sol";

/// @notice What removes risk works at once and needs no price; what a budget has spent survives any change of it.
contract TightenTest is Base {
    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        (p.destinationBps, p.calendarSeconds, p.openAfterSeconds) = (1_000, 7 days, 2 hours);
    }

    /* REFUSALS */

    function test_each_field_of_the_policy_can_only_be_tightened() public {
        IBasketVault.Policy memory p = _policy();
        p.startSlippageBps += 1;
        _expectLooser(p, "startSlippageBps", 11, 10);
        p = _policy();
        p.maxSlippageBps += 1;
        _expectLooser(p, "maxSlippageBps", 101, 100);
        p = _policy();
        p.slippageRampSeconds -= 1;
        _expectLooser(p, "slippageRampSeconds", 999, 1_000);
        p = _policy();
        p.minProgressBps -= 1;
        _expectLooser(p, "minProgressBps", 4_999, 5_000);
        p = _policy();
        p.dustBps += 1;
        _expectLooser(p, "dustBps", 21, 20);
        p = _policy();
        p.cooldownSeconds -= 1;
        _expectLooser(p, "cooldownSeconds", 599, 600);
        p = _policy();
        p.lossBudgetBps += 1;
        _expectLooser(p, "lossBudgetBps", 51, 50);
        p = _policy();
        p.lossPeriodSeconds -= 1;
        _expectLooser(p, "lossPeriodSeconds", 1 days - 1, 1 days);
        p = _policy();
        p.turnoverBudgetBps += 1;
        _expectLooser(p, "turnoverBudgetBps", 1_001, 1_000);
        p = _policy();
        p.turnoverPeriodSeconds -= 1;
        _expectLooser(p, "turnoverPeriodSeconds", 1 days - 1, 1 days);
        p = _policy();
        p.destinationBps -= 1;
        _expectLooser(p, "destinationBps", 999, 1_000);
        p = _policy();
        p.calendarSeconds += 1;
        _expectLooser(p, "calendarSeconds", 7 days + 1, 0);
        p = _policy();
        p.openAfterSeconds -= 1;
        _expectLooser(p, "openAfterSeconds", 2 hours - 1, 2 hours);
    }

    function test_what_is_closed_or_has_no_calendar_cannot_be_opened_or_get_one() public {
        IBasketVault.Policy memory p = _policy();
        (p.calendarSeconds, p.openAfterSeconds) = (0, 0);
        vm.prank(guardian);
        vault.tightenPolicy(p);

        p.openAfterSeconds = type(uint32).max;
        _expectLooser(p, "openAfterSeconds", type(uint32).max, 0);
        (p.openAfterSeconds, p.calendarSeconds) = (0, type(uint32).max);
        _expectLooser(p, "calendarSeconds", type(uint32).max, 0);
    }

    function test_no_fee_can_be_raised_at_once() public {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(100, 1_000, 20, 30), treasury);
        vm.startPrank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 101, 100));
        vault.lowerFees(IVaultBase.Fees(101, 0, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 1_001, 1_000));
        vault.lowerFees(IVaultBase.Fees(0, 1_001, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 21, 20));
        vault.lowerFees(IVaultBase.Fees(0, 0, 21, 0));
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.FeeNotLower.selector, 31, 30));
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 31));
        vault.lowerFees(IVaultBase.Fees(100, 1_000, 20, 30));
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
        vm.stopPrank();
        assertEq(vault.feeRecipient(), treasury);
    }

    /* SUCCESS */

    /// @dev A dead oracle must not stop anyone from tightening.
    function test_everything_but_a_new_oracle_is_decided_without_prices() public {
        vm.etch(address(oracle), hex"fe");
        IBasketVault.Policy memory p = _policy();
        p.maxSlippageBps = 50;

        vm.prank(guardian);
        vault.tightenPolicy(p);
        vm.prank(owner);
        vault.setPolicy(_policy());
        vm.prank(curator);
        vault.setTargets(_amounts(0.4e18, 0.4e18, 0.2e18), 1 days);
        vm.prank(curator);
        vault.setBands(_bands(300, 300, 300));
        vm.prank(owner);
        vault.excludeAsset(USDC);
        vm.prank(guardian);
        vault.lowerFees(IVaultBase.Fees(0, 0, 0, 0));
    }

    function test_a_policy_that_is_no_looser_is_in_force_at_once() public {
        IBasketVault.Policy memory p =
            IVaultBase.Policy(9, 99, 1_001, 5_001, 19, 601, 49, 1 days + 1, 999, 1 days + 1, 1_001, 0, 2 hours + 1);
        vm.prank(guardian);
        vault.tightenPolicy(p);
        assertEq(keccak256(abi.encode(vault.policy())), keccak256(abi.encode(p)));
        vm.prank(guardian);
        vault.tightenPolicy(p); // as it is
    }

    /* BUDGETS */

    /// @dev What is left of a level right after a change is what was left right before.
    function testFuzz_a_change_of_policy_forgives_and_charges_nothing(
        uint256 elapsed,
        uint16 budgetBps,
        uint32 periodSeconds
    ) public {
        _breakBand();
        _rebalance(_amounts(1.99e18, 0, 0), _amounts(0, 0.0705e8, 1_955e6), 0);
        elapsed = bound(elapsed, 0, 2 days);
        skip(elapsed);
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = uint16(bound(budgetBps, 0, 20_000));
        p.turnoverPeriodSeconds = uint32(bound(periodSeconds, 1 hours, 365 days));
        uint256 present = RebalancePolicy.leak(vault.state().turnoverLevelE18, 1_000, 1 days, elapsed);

        vm.prank(owner);
        vault.setPolicy(p);

        uint256 level = vault.state().turnoverLevelE18;
        // A level is at most 64 bits, 18 times the basket; a policy that would drain more than that has drained all.
        if (level == type(uint64).max) return;
        assertEq(RebalancePolicy.leak(level, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed), present);
    }

    function test_a_tightened_budget_no_longer_drains_an_old_level_slower_than_it_had() public {
        _breakBand();
        _rebalance(_amounts(1.99e18, 0, 0), _amounts(0, 0.0705e8, 1_955e6), 0);
        skip(1 days); // all of it has drained
        IBasketVault.Policy memory p = _policy();
        (p.lossBudgetBps, p.turnoverBudgetBps) = (1, 1);

        vm.expectEmit(address(vault));
        emit IVaultBase.LevelsCarried(0, 0);
        vm.prank(guardian);
        vault.tightenPolicy(p);

        assertEq(vault.state().turnoverLevelE18, 0);
    }

    function _expectLooser(IBasketVault.Policy memory p, string memory field, uint256 value, uint256 current) internal {
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.PolicyLooser.selector, field, value, current));
        vault.tightenPolicy(p);
    }
}
