// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Vm } from "forge-std/Vm.sol";
import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice ConfigStore: every limit of a configuration, at its edge; and that what is stored is what was given.
contract ConfigTest is Base {
    /* REFUSALS: ASSETS */

    function test_one_asset_is_too_few() public {
        IBasketVault.Config memory c = _config();
        c.assets = new IBasketVault.Asset[](1);
        c.assets[0] = _asset(address(tokens[0]), 1e18, 200, 18);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.AssetCountOutOfRange.selector, 1, 2, 16));
    }

    function test_seventeen_assets_are_too_many_and_sixteen_are_not() public {
        IBasketVault.Config memory c = _many(17);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.AssetCountOutOfRange.selector, 17, 2, 16));
        store.write(_many(16));
    }

    function test_a_token_twice_is_refused() public {
        IBasketVault.Config memory c = _config();
        c.assets[2].token = c.assets[0].token;
        c.assets[2].decimals = 18;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.DuplicateAsset.selector, c.assets[0].token));
    }

    function test_a_token_without_code_is_refused() public {
        IBasketVault.Config memory c = _config();
        c.assets[1].token = stranger;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.NotAToken.selector, stranger));
        c.assets[1].token = address(0);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.NotAToken.selector, address(0)));
    }

    function test_other_decimals_than_the_tokens_own_are_refused() public {
        IBasketVault.Config memory c = _config();
        c.assets[1].decimals = 18;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.DecimalsDiffer.selector, c.assets[1].token, 18, 8));
    }

    function test_more_than_27_decimals_are_refused_and_27_are_not() public {
        _addAsset(new MockToken("Fine", "FINE", 28), 1e8);
        _addAsset(new MockToken("Fine enough", "FINE", 27), 1e8);
        IBasketVault.Config memory c = _config();
        (c.assets[1].token, c.assets[1].decimals) = (address(tokens[3]), 28);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.DecimalsOutOfRange.selector, c.assets[1].token, 28, 27));
        (c.assets[1].token, c.assets[1].decimals) = (address(tokens[4]), 27);
        store.write(c);
    }

    function test_targets_that_do_not_sum_to_one_are_refused() public {
        IBasketVault.Config memory c = _config();
        c.assets[0].targetE18 += 1;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 1e18 + 1));
        c.assets[0].targetE18 -= 2;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 1e18 - 1));
        c.assets[0].targetE18 = 0;
        c.assets[1].targetE18 = 0;
        c.assets[2].targetE18 = 1e18;
        store.write(c);
    }

    function test_bands_of_zero_within_dust_or_above_half_are_refused() public {
        IBasketVault.Config memory c = _config();
        c.assets[2].bandBps = 0;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, 2, 0, 21, 5_000));
        c.assets[2].bandBps = 20;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, 2, 20, 21, 5_000));
        c.assets[2].bandBps = 5_001;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, 2, 5_001, 21, 5_000));
        c.assets[2].bandBps = 21;
        store.write(c);
        c.assets[2].bandBps = 5_000;
        store.write(c);
        c.policy.dustBps = 0;
        c.assets[2].bandBps = 0;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BandOutOfRange.selector, 2, 0, 1, 5_000));
    }

    /* REFUSALS: PRICES */

    function test_assets_without_a_sound_price_are_refused() public {
        IBasketVault.Config memory c = _config();
        address token = c.assets[1].token;
        feeds[1].setFailing(true);
        _expectRefusal(
            c, abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, token, IOracleHub.Fault.CallFailed)
        );
        feeds[1].setFailing(false);
        feeds[1].push(0);
        _expectRefusal(
            c, abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, token, IOracleHub.Fault.NotPositive)
        );
        feeds[1].push(-1);
        _expectRefusal(
            c, abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, token, IOracleHub.Fault.NotPositive)
        );
        feeds[1].push(40_000e8);
        skip(HEARTBEAT_SECONDS + 1);
        feeds[0].push(2_000e8);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, token, IOracleHub.Fault.Stale));
        _refreshFeeds();
        vm.prank(guardian);
        oracle.removeFeed(token);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, token, IOracleHub.Fault.NoFeed));
    }

    /* REFUSALS: POLICY */

    function test_slippage_out_of_range_is_refused() public {
        IBasketVault.Config memory c = _config();
        (c.policy.startSlippageBps, c.policy.maxSlippageBps) = (101, 100);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.SlippageOutOfRange.selector, 101, 100, 300));
        (c.policy.startSlippageBps, c.policy.maxSlippageBps) = (0, 301);
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.SlippageOutOfRange.selector, 0, 301, 300));
        (c.policy.startSlippageBps, c.policy.maxSlippageBps) = (300, 300);
        c.policy.lossBudgetBps = 150;
        store.write(c);
    }

    function test_a_ramp_of_no_time_is_refused() public {
        IBasketVault.Config memory c = _config();
        c.policy.slippageRampSeconds = 0;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.RampOutOfRange.selector, 0, 1));
    }

    function test_progress_out_of_range_is_refused() public {
        IBasketVault.Config memory c = _config();
        c.policy.minProgressBps = 0;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.ProgressOutOfRange.selector, 0, 1, 10_000));
        c.policy.minProgressBps = 10_001;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.ProgressOutOfRange.selector, 10_001, 1, 10_000));
        c.policy.minProgressBps = 10_000;
        (c.policy.lossBudgetBps, c.policy.turnoverBudgetBps) = (100, 10_000);
        store.write(c);
    }

    function test_budgets_out_of_range_are_refused() public {
        IBasketVault.Config memory c = _config();
        c.policy.lossBudgetBps = 501;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BudgetOutOfRange.selector, 501, 500));
        c.policy.lossBudgetBps = 500;
        c.policy.turnoverBudgetBps = 20_001;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.BudgetOutOfRange.selector, 20_001, 20_000));
        c.policy.turnoverBudgetBps = 20_000;
        store.write(c);
    }

    /// @dev Half of the largest break, the whole basket, is half of the basket; at 1 % that costs 0.5 %.
    function test_budgets_that_could_never_mend_the_largest_break_are_refused() public {
        IBasketVault.Config memory c = _config();
        (c.policy.minProgressBps, c.policy.maxSlippageBps) = (5_000, 100);
        (c.policy.turnoverBudgetBps, c.policy.lossBudgetBps) = (4_999, 50);
        _expectRefusal(c, _tooSmall("turnoverBudgetBps", 4_999, 5_000));
        (c.policy.turnoverBudgetBps, c.policy.lossBudgetBps) = (5_000, 49);
        _expectRefusal(c, _tooSmall("lossBudgetBps", 49, 50));
        c.policy.lossBudgetBps = 50;
        store.write(c);
        c.policy.maxSlippageBps = 101; // 50.5
        _expectRefusal(c, _tooSmall("lossBudgetBps", 50, 51));
        c.policy.lossBudgetBps = 51;
        store.write(c);
        // Without slippage nothing is lost, and a trade at the oracle's price repairs any break.
        (c.policy.startSlippageBps, c.policy.maxSlippageBps, c.policy.lossBudgetBps) = (0, 0, 0);
        store.write(c);
    }

    function test_budgets_that_could_never_mend_are_refused_whenever_the_owner_sets_a_policy() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 4_999;
        vm.prank(owner);
        vm.expectRevert(_tooSmall("turnoverBudgetBps", 4_999, 5_000));
        vault.setPolicy(p);
        p = _policy();
        p.lossBudgetBps = 49;
        vm.prank(owner);
        vm.expectRevert(_tooSmall("lossBudgetBps", 49, 50));
        vault.setPolicy(p);

        // The guardian may leave less; then all but the policy can still be changed, and the owner's next policy must be able to repair the
        // largest break again.
        (p.lossBudgetBps, p.turnoverBudgetBps) = (0, 0);
        vm.prank(guardian);
        vault.tightenPolicy(p);
        vm.prank(curator);
        vault.setBands(_bands(300, 300, 300));
        vm.prank(owner);
        vm.expectRevert(_tooSmall("turnoverBudgetBps", 0, 5_000));
        vault.setPolicy(p);
        vm.prank(owner);
        vault.setPolicy(_policy());
    }

    /// @dev All of the basket in one asset, whose target is 0: the least turnover budget lets just the least progress through.
    function testFuzz_the_least_budgets_mend_the_largest_break(uint256 least, uint256 most) public {
        IBasketVault.Policy memory p = _policy();
        p.minProgressBps = uint16(bound(least, 100, 9_000));
        p.maxSlippageBps = uint16(bound(most, 0, 300));
        (p.startSlippageBps, p.slippageRampSeconds) = (p.maxSlippageBps, 1);
        p.turnoverBudgetBps = p.minProgressBps;
        p.lossBudgetBps = uint16((uint256(p.maxSlippageBps) * p.minProgressBps + BPS - 1) / BPS);
        IBasketVault.Config memory c = _config();
        c.policy = p;
        (c.assets[WETH].targetE18, c.assets[WETH].startTargetE18) = (0, 0);
        (c.assets[WBTC].targetE18, c.assets[WBTC].startTargetE18) = (0.5e18, 0.5e18);
        (c.assets[USDC].targetE18, c.assets[USDC].startTargetE18) = (0.5e18, 0.5e18);
        vault = _createVault(c, _amounts(50e18, 0, 0)); // 100,000

        // At the oracle's price the whole turnover budget is just enough: a part of 50 WETH for as much WBTC and USDC.
        uint256 sold = 50e18 * uint256(p.minProgressBps) / BPS;
        _rebalance(_amounts(sold, 0, 0), _amounts(0, sold * 2_000 / 2 / 40_000 / 1e10, sold * 2_000 / 2 / 1e12), 0);

        assertEq(vault.state().turnoverLevelE18, uint256(p.turnoverBudgetBps) * 1e14);
    }

    function test_periods_below_an_hour_are_refused() public {
        IBasketVault.Config memory c = _config();
        c.policy.lossPeriodSeconds = 3_599;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.PeriodOutOfRange.selector, 3_599, 3_600));
        c.policy.lossPeriodSeconds = 3_600;
        c.policy.turnoverPeriodSeconds = 3_599;
        _expectRefusal(c, abi.encodeWithSelector(IConfigStore.PeriodOutOfRange.selector, 3_599, 3_600));
        c.policy.turnoverPeriodSeconds = 3_600;
        store.write(c);
    }

    /* SUCCESS */

    function test_what_is_stored_cannot_run() public {
        address pointer = store.write(_config());

        assertEq(uint8(pointer.code[0]), 0, "STOP");
        assertEq(pointer.code.length, 1 + 32 * (3 + 2 * 3));
        (bool done, bytes memory answer) = pointer.call(hex"12345678");
        assertTrue(done);
        assertEq(answer.length, 0);
    }

    function test_a_vault_tells_which_configuration_it_uses_now() public {
        vm.recordLogs();
        vm.prank(curator);
        vault.setBands(_bands(300, 300, 300));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bool told;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter != address(vault) || logs[i].topics[0] != IVaultBase.ConfigSet.selector) continue;
            assertEq(logs[i].topics[1], bytes32(uint256(uint160(vault.config()))));
            told = true;
        }
        assertTrue(told);
    }

    /// @dev Each change names the configuration it starts from; what else stands in the call data means nothing.
    function test_every_change_tells_the_store_which_configuration_it_changes() public {
        address config = vault.config();
        IBasketVault.Policy memory p = _policy();
        _expectAsked(owner, abi.encodeCall(vault.setPolicy, (p)), abi.encodeCall(store.setPolicy, (config, p)));
        config = vault.config();
        _expectAsked(
            guardian, abi.encodeCall(vault.tightenPolicy, (p)), abi.encodeCall(store.tightenPolicy, (config, p))
        );
        config = vault.config();
        _expectAsked(
            owner, abi.encodeCall(vault.setOracle, (oracle)), abi.encodeCall(store.setOracle, (config, oracle))
        );
        config = vault.config();
        uint256[] memory targetsE18 = _amounts(0.4e18, 0.4e18, 0.2e18);
        _expectAsked(
            curator,
            abi.encodeCall(vault.setTargets, (targetsE18, 1 days)),
            abi.encodeCall(store.setTargets, (config, targetsE18, 1 days))
        );
        config = vault.config();
        IBasketVault.Band[] memory bands = _bands(300, 310, 320);
        _expectAsked(curator, abi.encodeCall(vault.setBands, (bands)), abi.encodeCall(store.setBands, (config, bands)));
        config = vault.config();
        _addAsset(new MockToken("Fourth", "FOUR", 9), 1e8);
        address fourth = address(tokens[3]);
        _expectAsked(
            owner,
            abi.encodeCall(vault.addAsset, (fourth, 9, bands[0])),
            abi.encodeCall(store.addAsset, (config, fourth, 9, bands[0]))
        );
        config = vault.config();
        _expectAsked(owner, abi.encodeCall(vault.excludeAsset, (3)), abi.encodeCall(store.excludeAsset, (config, 3)));
        config = vault.config();
        _expectAsked(owner, abi.encodeCall(vault.includeAsset, (3)), abi.encodeCall(store.includeAsset, (config, 3)));
        vm.prank(owner);
        vault.excludeAsset(3);
        config = vault.config();
        _expectAsked(owner, abi.encodeCall(vault.removeAsset, (3)), abi.encodeCall(store.removeAsset, (config, 3)));
        assertEq(vault.assets().length, 3);
    }

    function testFuzz_what_is_stored_is_what_was_given(
        IBasketVault.Policy memory p,
        uint64 target,
        uint16[3] memory bands
    ) public {
        p.maxSlippageBps = uint16(bound(p.maxSlippageBps, 0, 300));
        p.startSlippageBps = uint16(bound(p.startSlippageBps, 0, p.maxSlippageBps));
        p.slippageRampSeconds = uint32(bound(p.slippageRampSeconds, 1, type(uint32).max));
        p.minProgressBps = uint16(bound(p.minProgressBps, 1, BPS));
        p.dustBps = uint16(bound(p.dustBps, 1, 4_999));
        uint256 least = (uint256(p.maxSlippageBps) * p.minProgressBps + BPS - 1) / BPS;
        p.lossBudgetBps = uint16(bound(p.lossBudgetBps, least, 500));
        p.turnoverBudgetBps = uint16(bound(p.turnoverBudgetBps, p.minProgressBps, 20_000));
        p.lossPeriodSeconds = uint32(bound(p.lossPeriodSeconds, 3_600, type(uint32).max));
        p.turnoverPeriodSeconds = uint32(bound(p.turnoverPeriodSeconds, 3_600, type(uint32).max));
        p.destinationBps = uint16(bound(p.destinationBps, 0, BPS));
        p.calendarSeconds = uint32(bound(p.calendarSeconds, 3_600, type(uint32).max));
        IBasketVault.Config memory c = _config();
        c.policy = p;
        c.assets[0].targetE18 = uint64(bound(target, 0, E18));
        c.assets[1].targetE18 = uint64(E18 - c.assets[0].targetE18);
        c.assets[2].targetE18 = 0;
        for (uint256 i; i < 3; ++i) {
            c.assets[i].bandBps = uint16(bound(bands[i], p.dustBps + 1, 5_000));
        }

        vault = _createVault(c, _amounts(25e18, 0.75e8, 20_000e6));

        assertEq(keccak256(abi.encode(vault.policy())), keccak256(abi.encode(p)));
        assertEq(keccak256(abi.encode(vault.assets())), keccak256(abi.encode(c.assets)));
        assertEq(address(vault.oracle()), address(oracle));
    }

    /// @dev Calls the vault with 32 bytes behind the parameters, and expects the store to be asked this.
    function _expectAsked(address actor, bytes memory data, bytes memory asked) internal {
        vm.expectCall(address(store), asked, 1);
        vm.prank(actor);
        (bool done,) = address(vault).call(abi.encodePacked(data, uint256(1)));
        assertTrue(done);
    }

    function _tooSmall(string memory field, uint256 budgetBps, uint256 neededBps) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IConfigStore.BudgetBelowProgress.selector, field, budgetBps, neededBps);
    }

    function _expectRefusal(IBasketVault.Config memory c, bytes memory refusal) internal {
        vm.expectRevert(refusal);
        store.write(c);
    }

    /// @dev A configuration of n new tokens; the first takes what is left of the whole.
    function _many(uint256 n) internal returns (IBasketVault.Config memory c) {
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](n);
        uint64 part = uint64(E18 / n);
        for (uint256 i; i < n; ++i) {
            MockToken token = new MockToken("One of many", "MANY", 18);
            _addAsset(token, 1e8);
            c.assets[i] = _asset(address(token), part, 200, 18);
        }
        c.assets[0].targetE18 += uint64(E18 - part * n);
        c.assets[0].startTargetE18 = c.assets[0].targetE18;
    }
}
