// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { VaultLens } from "../../contracts/VaultLens.sol";
import { IBasketVault } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { Trader } from "./support/Trader.sol";

/// @notice From every broken state some trade passes: under any policy an owner may set, with any targets and bands, after any break, a
/// keeper that trades at fair prices brings every weight into its band, in as many rebalances as the turnover budget makes of it.
///
/// Between two rebalances it waits until the budget is whole again. Then at most 1 / turnoverBudget of them are needed, and a few for
/// what rounding leaves.
contract LivenessTest is Trader {
    function testFuzz_any_break_is_mended_under_any_policy_an_owner_may_set(uint256 seed) public {
        _makeVault(seed);
        _break(seed, 100);
        _mend();
    }

    /// @dev Whatever happened to the basket before, and to its budgets.
    function testFuzz_a_break_is_mended_after_another_and_after_redemptions_and_deposits(uint256 seed) public {
        _makeVault(seed);
        _break(seed, 100);
        _step();
        if (_roll(seed, 1) % 2 == 0) _redeem(creator, 1 + _roll(seed, 2) % 99e18);
        if (_roll(seed, 3) % 2 == 0) _deposit(alice, 1 + _roll(seed, 4) % 1_000e18);
        _break(seed, 200);
        _mend();
    }

    /// @dev Tokens vanish, of one asset or of all; anyone writes that down, and the owner lets trading go on.
    function testFuzz_a_break_is_mended_after_losses_once_the_owner_allows_it(uint256 seed) public {
        _makeVault(seed);
        _break(seed, 100);
        for (uint256 i; i < 3; ++i) {
            if (_roll(seed, 10 + i) % 3 == 0) continue;
            uint256 held = vault.held()[i];
            uint256 lost = _roll(seed, 20 + i) % (held * 95 / 100 + 1);
            if (lost == 0) continue;
            if (_roll(seed, 30 + i) % 2 == 0 && held > 1e4) {
                vm.prank(creator);
                vault.redeemInKindExcept(1 + _roll(seed, 40 + i) % 10e18, creator, creator, _amounts(), 1 << i);
            }
            tokens[i].burn(address(vault), lost);
            assertGt(_of(_words(), i, 19), 0);
            if (!vault.state().paused) assertEq(_words()[2], uint256(VaultLens.Reason.LossNotWrittenDown));
            vm.prank(stranger);
            vault.sync(i);
        }
        for (uint256 i; i < 3; ++i) {
            if (!vault.isBarred(i)) continue;
            assertTrue(vault.state().paused);
            vm.prank(owner);
            vault.allowPurchases(i);
        }
        if (vault.state().paused) {
            assertEq(_words()[2], uint256(VaultLens.Reason.Paused));
            vm.prank(owner);
            vault.resumeRebalance();
        }
        _mend();
    }

    /// @dev What is barred stays out, and the others move as far as they can: whatever the basket, nothing is bought of it.
    function testFuzz_a_barred_asset_is_never_bought_and_stops_no_trade_between_the_others(uint256 seed) public {
        uint256 asset = _roll(seed, 1) % 3;
        tokens[asset].burn(address(vault), vault.held()[asset] / 4);
        vault.sync(asset);
        vm.prank(owner);
        vault.resumeRebalance();
        _break(seed, 100);
        uint256 before = vault.held()[asset];
        uint256[] memory w = _words();
        for (uint256 i; i < 5; ++i) {
            _step();
            assertLe(vault.held()[asset], before);
        }
        // If one of the others can be bought and nothing else is lacking, it was.
        bool lacking = _of(w, asset, 16) != 0;
        if (!lacking) _mend();
    }

    /// @dev Without dust, one unit gained or lost moves the target of an asset that is not traded, and the trade is refused: only the
    /// oracle's price to the unit would do. So an owner may not set it.
    function test_a_policy_without_dust_is_refused() public {
        IBasketVault.Policy memory p = _policy();
        p.dustBps = 0;
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.DustBelowMinimum.selector, 0, 1));
        vault.setPolicy(p);
    }

    /* THE KEEPER */

    function _mend() internal {
        uint256 budgetBps = vault.policy().turnoverBudgetBps;
        uint256 most = 2 * BPS / budgetBps + 4;
        for (uint256 i; i < most; ++i) {
            if (!_step()) return;
        }
        assertTrue(_isWhole(_words()), "mended in bounded time");
    }

    /// @dev Waits for whole budgets and for the cooldown, and rebalances; false if there is nothing to do.
    function _step() internal returns (bool) {
        IBasketVault.Policy memory p = vault.policy();
        _pass(p.turnoverPeriodSeconds + p.cooldownSeconds);
        uint256[] memory w = _words();
        if (_isWhole(w)) return false;
        (uint256[] memory sales, uint256[] memory wantsE18) = _wholeWay(w);
        (bool done, bytes memory answer) = _tradeFairlyFor(sales, wantsE18);
        if (!done && _of(w, 0, 18) + _of(w, 1, 18) + _of(w, 2, 18) != 0) return false;
        assertTrue(done, vm.toString(answer));
        return true;
    }

    /// @dev Or what is left outside the destinations is less than a unit of each is worth.
    function _isWhole(uint256[] memory w) internal view returns (bool) {
        if (w[2] != uint256(VaultLens.Reason.BandBroken) && w[2] != uint256(VaultLens.Reason.CalendarDue)) {
            assertTrue(w[2] == uint256(VaultLens.Reason.InBand) || w[2] == uint256(VaultLens.Reason.PurchasesBarred));
            return true;
        }
        uint256 unitsE18;
        for (uint256 i; i < 3; ++i) {
            unitsE18 += 2 * _of(w, i, 12) / 10 ** tokens[i].decimals() + 2;
        }
        return w[17] <= unitsE18;
    }

    /* ANYTHING THERE CAN BE */

    /// @dev Any policy the store accepts: its budgets not below what progress needs. A turnover budget below 2 % only makes the test slow,
    /// and progress of all but a hundredth, or no dust at all, is beyond what rounding to units allows: what the vault gains by it moves
    /// every target up, and an asset that stood at its target would cross it.
    function _makeVault(uint256 seed) internal {
        IBasketVault.Config memory c = _config();
        IBasketVault.Policy memory p = c.policy;
        p.maxSlippageBps = uint16(_roll(seed, 51) % 301);
        p.startSlippageBps = uint16(_roll(seed, 52) % (p.maxSlippageBps + 1));
        p.slippageRampSeconds = uint32(1 + _roll(seed, 53) % 7 days);
        p.minProgressBps = uint16(1 + _roll(seed, 54) % 9_900);
        p.dustBps = uint16(1 + _roll(seed, 55) % 300);
        p.cooldownSeconds = uint32(_roll(seed, 57) % 2 days);
        uint256 least = (uint256(p.maxSlippageBps) * p.minProgressBps + BPS - 1) / BPS;
        p.lossBudgetBps = uint16(_roll(seed, 58) % 2 == 0 ? least : least + _roll(seed, 59) % (501 - least));
        least = p.minProgressBps < 200 ? 200 : p.minProgressBps;
        p.turnoverBudgetBps = uint16(_roll(seed, 60) % 2 == 0 ? least : least + _roll(seed, 61) % (20_001 - least));
        p.lossPeriodSeconds = uint32(1 hours + _roll(seed, 62) % 30 days);
        p.turnoverPeriodSeconds = uint32(1 hours + _roll(seed, 63) % 30 days);
        p.destinationBps = uint16(_roll(seed, 64) % 2 == 0 ? 0 : _roll(seed, 65) % 10_001);
        p.calendarSeconds = uint32(_roll(seed, 66) % 2 == 0 ? 0 : 1 hours + _roll(seed, 67) % 30 days);
        p.openAfterSeconds = uint32(_roll(seed, 68) % 1 days);
        uint256 first = _roll(seed, 69) % 4 == 0 ? 0 : _roll(seed, 70) % (E18 + 1);
        uint256 second = _roll(seed, 71) % (E18 - first + 1);
        uint64[3] memory targets = [uint64(first), uint64(second), uint64(E18 - first - second)];
        for (uint256 i; i < 3; ++i) {
            (c.assets[i].targetE18, c.assets[i].startTargetE18) = (targets[i], targets[i]);
            c.assets[i].bandBps = uint16(p.dustBps + 1 + _roll(seed, 72 + i) % (5_000 - p.dustBps));
            if (_roll(seed, 75 + i) % 2 == 0) c.assets[i].relativeBandBps = uint16(_roll(seed, 78 + i) % 10_001);
        }
        // Anything from a hundredth to a hundred times as much as the usual.
        uint256[] memory seeds = _amounts(25e18, 0.75e8, 20_000e6);
        for (uint256 i; i < 3; ++i) {
            seeds[i] = seeds[i] * (100 + _roll(seed, 81 + i) % 100_000) / 1_000;
        }
        vault = _createVault(c, seeds);
    }

    /// @dev Each price to anything from a tenth to ten times what it was.
    function _break(uint256 seed, uint256 salt) internal {
        _refreshFeeds();
        for (uint256 i; i < 3; ++i) {
            (, int256 answer,,,) = feeds[i].latestRoundData();
            uint256 part = _roll(seed, salt + i) % 2 == 0
                ? 10 + _roll(seed, salt + 10 + i) % 90
                : 100 + _roll(seed, salt + 10 + i) % 900;
            _setPrice(i, int192(int256(uint256(answer) * part / 100)));
        }
    }
}
