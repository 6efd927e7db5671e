// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { VaultLens } from "../../contracts/VaultLens.sol";
import { IBasketVault } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice VaultLens: the words a keeper reads, each in its place, and the reason in the order that matters.
contract LensTest is Base {
    uint256 internal constant HEAD_WORDS = 33;
    uint256 internal constant ASSET_WORDS = 20;

    VaultLens internal lens;

    function setUp() public override {
        super.setUp();
        lens = VaultLens(deployCode("VaultLens.sol:VaultLens"));
    }

    /* REFUSALS */

    function test_a_vault_in_the_middle_of_a_rebalance_is_not_read() public {
        _breakBand();
        IBasketVault[] memory list = new IBasketVault[](1);
        list[0] = vault;
        ScriptedExecutor.Step[] memory fair = _bring(_amounts(0, 0.0705e8, 1_980e6));
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](3);
        (steps[0], steps[1]) = (fair[0], fair[1]);
        steps[2] = _refused(
            address(lens),
            abi.encodeCall(VaultLens.read, (list)),
            abi.encodeWithSelector(VaultLens.VaultLocked.selector, address(vault))
        );

        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(executor), abi.encode(steps));
    }

    /* SUCCESS */

    function test_every_word_is_in_its_place() public {
        _breakBand();
        vault.poke();
        _rebalance(_amounts(1.5e18, 0, 0), _amounts(0, 0.0525e8, 1_497e6), 0);
        _setPrice(WETH, 2_800e8);
        vault.poke();
        uint256 brokenAt = block.timestamp;
        _pass(500);

        uint256[] memory w = _read(vault);

        IBasketVault.State memory s = vault.state();
        IBasketVault.Policy memory p = vault.policy();
        assertEq(w.length, HEAD_WORDS + 3 * ASSET_WORDS);
        assertEq(w[0], uint160(address(vault)));
        assertEq(w[1], 3);
        assertEq(w[2], uint256(VaultLens.Reason.Cooldown));
        assertEq(w[3], INITIAL_SHARES);
        assertEq(w[4], 1);
        assertEq(w[5], brokenAt);
        assertEq(w[6], brokenAt);
        assertEq(w[7], 0, "not paused");
        assertEq(w[8], s.lossLevelE18);
        assertGt(w[8], 0);
        assertEq(w[9], s.turnoverLevelE18);
        // Both budgets leak 500 of 86,400 seconds.
        uint256 lossLeak = uint256(50e14) * 500 / 86_400;
        assertEq(w[10], 50e14 - (w[8] > lossLeak ? w[8] - lossLeak : 0));
        assertEq(w[11], 5_000e14 - (w[9] - uint256(5_000e14) * 500 / 86_400));
        assertEq(w[12], 55e14, "half way from 10 to 100 bps");
        assertEq(w[13], 0, "never open");
        assertEq(w[14], 0, "no glide");
        assertEq(w[15], 0);
        uint16[13] memory policy = [
            p.startSlippageBps,
            p.maxSlippageBps,
            uint16(p.slippageRampSeconds),
            p.minProgressBps,
            p.dustBps,
            uint16(p.cooldownSeconds),
            p.lossBudgetBps,
            0,
            p.turnoverBudgetBps,
            0,
            p.destinationBps,
            uint16(p.calendarSeconds),
            uint16(p.openAfterSeconds)
        ];
        for (uint256 i; i < 13; ++i) {
            if (i != 7 && i != 9) assertEq(w[20 + i], policy[i]);
        }
        assertEq(w[27], p.lossPeriodSeconds);
        assertEq(w[29], p.turnoverPeriodSeconds);
    }

    function test_the_basket_is_weighed_as_the_policy_does() public {
        _breakBand();

        uint256[] memory w = _read(vault);

        assertEq(w[2], uint256(VaultLens.Reason.BandBroken));
        assertEq(w[16], 110_000e18);
        assertEq(w[17], 10_000e18);
        assertEq(w[18], 5_220e18, "the need, and dust");
        assertEq(w[19], 455, "5,000 of 110,000, rounded up");
        uint256[20] memory weth = [
            uint256(uint160(address(tokens[WETH]))),
            18,
            0.5e18,
            0.5e18,
            0.5e18,
            200,
            0,
            0,
            0,
            25e18,
            2_400e18,
            2_400e18,
            2_400e18,
            0,
            60_000e18,
            2_083333333333333333,
            0,
            2_083333333333333333,
            0,
            0
        ];
        uint256[20] memory wbtc = [
            uint256(uint160(address(tokens[WBTC]))),
            8,
            0.3e18,
            0.3e18,
            0.3e18,
            200,
            0,
            0,
            0,
            0.75e8,
            40_000e18,
            40_000e18,
            40_000e18,
            0,
            30_000e18,
            0,
            0.075e8,
            0,
            0,
            0
        ];
        for (uint256 i; i < ASSET_WORDS; ++i) {
            assertEq(w[HEAD_WORDS + i], weth[i]);
            assertEq(w[HEAD_WORDS + ASSET_WORDS + i], wbtc[i]);
        }
    }

    function test_the_reason_says_what_stands_in_the_way() public {
        assertEq(_reason(), uint256(VaultLens.Reason.InBand));
        _breakBand();
        assertEq(_reason(), uint256(VaultLens.Reason.BandBroken));
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_980e6), 0);
        assertEq(_reason(), uint256(VaultLens.Reason.InBand), "nothing to do comes before too early");
        _setPrice(WETH, 3_000e8);
        assertEq(_reason(), uint256(VaultLens.Reason.Cooldown));
        _pass(600);
        assertEq(_reason(), uint256(VaultLens.Reason.BandBroken));
        feeds[USDC].push(0);
        assertEq(_reason(), uint256(VaultLens.Reason.OracleFault));
        vm.prank(guardian);
        vault.pauseRebalance();
        assertEq(_reason(), uint256(VaultLens.Reason.Paused));
    }

    function test_a_basket_out_of_range_is_read_without_its_weights() public {
        _emptyLedger();

        uint256[] memory w = _read(vault);

        assertEq(w[2], uint256(VaultLens.Reason.TotalOutOfRange));
        assertEq(w[16] + w[17] + w[18] + w[19], 0);
        assertEq(w[HEAD_WORDS + 12], 2_000e18, "prices are there");
    }

    function test_an_oracle_fault_is_named_at_its_asset() public {
        skip(HEARTBEAT_SECONDS + 1);
        _setPrice(WETH, 2_000e8);
        _setPrice(USDC, 1e8);

        uint256[] memory w = _read(vault);

        assertEq(w[2], uint256(VaultLens.Reason.OracleFault));
        assertEq(w[HEAD_WORDS + 13], uint256(IOracleHub.Fault.None));
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 13], uint256(IOracleHub.Fault.Stale));
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 9], 0.75e8, "holdings are there");
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 14], 0);
    }

    function test_vaults_of_different_sizes_follow_each_other() public {
        IBasketVault first = vault;
        _switchToPair(new MockToken("Other", "OTHER", 6));
        IBasketVault[] memory list = new IBasketVault[](3);
        (list[0], list[1], list[2]) = (first, vault, first);

        bytes memory packed = lens.read(list);

        bytes memory one = _pack(first);
        assertEq(packed, bytes.concat(one, _pack(vault), one));
        assertEq(lens.read(new IBasketVault[](0)).length, 0);
    }

    function test_a_tightened_budget_leaves_nothing_rather_than_less() public {
        _breakBand();
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_976e6), 0);
        IBasketVault.Policy memory p = _policy();
        (p.lossBudgetBps, p.turnoverBudgetBps) = (0, 1);
        vm.prank(guardian);
        vault.tightenPolicy(p);

        uint256[] memory w = _read(vault);

        assertGt(w[8], 0);
        assertEq(w[10], 0);
        assertEq(w[11], 0);
    }

    function testFuzz_the_lens_and_the_vault_agree_on_whether_a_band_is_broken(uint256 weth, uint256 wbtc) public {
        _setPrice(WETH, int192(int256(bound(weth, 1e8, 1_000_000e8))));
        _setPrice(WBTC, int192(int256(bound(wbtc, 1e8, 1_000_000e8))));

        vault.poke();

        assertEq(_reason() == uint256(VaultLens.Reason.BandBroken), vault.state().dueSince != 0);
    }

    /* LOSSES */

    /// @dev The ledger says 20,000 USDC, and claims of 2,000; a tenth of all that is gone.
    function test_what_is_missing_stands_at_its_asset_and_comes_before_any_other_reason() public {
        vm.prank(creator);
        vault.redeemInKindExcept(10e18, creator, creator, _amounts(), 1 << USDC);
        tokens[USDC].burn(address(vault), 2_000e6);
        _breakBand();

        uint256[] memory w = _read(vault);

        assertEq(w[2], uint256(VaultLens.Reason.LossNotWrittenDown));
        assertEq(w[2], 7);
        assertEq(w[HEAD_WORDS + 2 * ASSET_WORDS + 19], 2_000e6);
        assertEq(w[HEAD_WORDS + 19], 0);
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 19], 0);
        for (uint256 i; i < 3; ++i) {
            assertEq(w[HEAD_WORDS + ASSET_WORDS * i + 17], 0, "nothing is for sale");
        }
        feeds[WETH].push(0);
        assertEq(_reason(), 7, "prices do not matter to it");

        assertEq(vault.sync(USDC), 2_000e6);
        assertEq(_read(vault)[HEAD_WORDS + 2 * ASSET_WORDS + 19], 0);
        assertEq(_reason(), uint256(VaultLens.Reason.Paused));
    }

    function test_a_token_that_does_not_tell_misses_nothing() public {
        vm.mockCallRevert(address(tokens[USDC]), abi.encodeWithSelector(IERC20.balanceOf.selector), "");
        uint256[] memory w = _read(vault);
        assertEq(w[2], uint256(VaultLens.Reason.InBand));
        assertEq(w[HEAD_WORDS + 2 * ASSET_WORDS + 19], 0);
    }

    function test_a_gift_is_no_loss_and_hides_none() public {
        tokens[WBTC].mint(address(vault), 1e8);
        tokens[USDC].burn(address(vault), 1);
        uint256[] memory w = _read(vault);
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 19], 0);
        assertEq(w[HEAD_WORDS + 2 * ASSET_WORDS + 19], 1);
    }

    /// @dev After the loss of 1,000 USDC and 0.075 WBTC both are what is bought, and neither may be.
    function test_a_barred_asset_is_named_by_no_sale_and_if_there_is_no_other_that_is_the_reason() public {
        tokens[USDC].burn(address(vault), 1_000e6);
        vault.sync(USDC);
        vm.prank(owner);
        vault.resumeRebalance();
        _breakBand();

        uint256[] memory w = _read(vault);
        assertEq(w[2], uint256(VaultLens.Reason.BandBroken), "WBTC can be bought");
        assertEq(w[HEAD_WORDS + 2 * ASSET_WORDS + 18], 1);
        assertEq(w[HEAD_WORDS + ASSET_WORDS + 18], 0);
        assertGt(w[HEAD_WORDS + 2 * ASSET_WORDS + 16], 0, "a deficit it has all the same");
        (,,, uint256[] memory minBuys) = lens.allowedSales(vault);
        assertEq(minBuys, _amounts(0, 1, 0));

        tokens[WBTC].burn(address(vault), 0.075e8);
        vault.sync(WBTC);
        vm.prank(owner);
        vault.resumeRebalance();
        VaultLens.Reason reason;
        uint256[] memory sales;
        (reason,, sales, minBuys) = lens.allowedSales(vault);
        assertEq(uint256(reason), uint256(VaultLens.Reason.PurchasesBarred));
        assertEq(uint256(reason), 8);
        assertEq(sales, _amounts());
        assertEq(minBuys, _amounts());

        vm.prank(owner);
        vault.allowPurchases(WBTC);
        (reason,,, minBuys) = lens.allowedSales(vault);
        assertEq(uint256(reason), uint256(VaultLens.Reason.BandBroken));
        assertEq(minBuys, _amounts(0, 1, 0));
    }

    function _pack(IBasketVault one) internal view returns (bytes memory) {
        IBasketVault[] memory list = new IBasketVault[](1);
        list[0] = one;
        return lens.read(list);
    }

    function _read(IBasketVault one) internal view returns (uint256[] memory words) {
        bytes memory packed = _pack(one);
        words = new uint256[](packed.length / 32);
        for (uint256 i; i < words.length; ++i) {
            assembly ("memory-safe") {
                mstore(add(words, mul(32, add(i, 1))), mload(add(packed, mul(32, add(i, 1)))))
            }
        }
    }

    function _reason() internal view returns (uint256) {
        return _read(vault)[2];
    }
}
