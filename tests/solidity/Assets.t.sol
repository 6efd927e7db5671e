// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice Adding, excluding, including and removing assets, without a last price and without getting in the way of an exit.
contract AssetsTest is Base {
    /* REFUSALS */

    function test_an_asset_that_is_none_cannot_be_excluded_included_or_removed() public {
        vm.startPrank(owner);
        bytes memory refusal = abi.encodeWithSelector(IVaultBase.NoSuchAsset.selector, 3, 3);
        vm.expectRevert(refusal);
        vault.excludeAsset(3);
        vm.expectRevert(refusal);
        vault.includeAsset(3);
        vm.expectRevert(refusal);
        vault.removeAsset(3);
        vm.stopPrank();
    }

    function test_what_is_excluded_is_not_excluded_again_and_what_is_not_is_neither_included_nor_removed() public {
        vm.startPrank(owner);
        bytes memory refusal = abi.encodeWithSelector(IConfigStore.AssetNotExcluded.selector, USDC);
        vm.expectRevert(refusal);
        vault.includeAsset(USDC);
        vm.expectRevert(refusal);
        vault.removeAsset(USDC);
        vault.excludeAsset(USDC);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.AssetExcluded.selector, USDC));
        vault.excludeAsset(USDC);
        vm.stopPrank();
    }

    function test_the_last_two_priced_assets_stay() public {
        vm.startPrank(owner);
        vault.excludeAsset(USDC);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.AssetCountOutOfRange.selector, 1, 2, 16));
        vault.excludeAsset(WBTC);
        vm.stopPrank();
    }

    function test_an_asset_with_all_of_the_target_cannot_be_excluded() public {
        vm.prank(curator);
        vault.setTargets(_amounts(0, 0, 1e18), 0);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 0));
        vault.excludeAsset(USDC);
    }

    function test_an_excluded_asset_gets_no_target() public {
        vm.prank(owner);
        vault.excludeAsset(USDC);
        vm.prank(curator);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.AssetExcluded.selector, USDC));
        vault.setTargets(_amounts(0.5e18, 0.3e18, 0.2e18), 0);
    }

    function test_an_asset_comes_in_only_with_a_sound_price_and_its_own_decimals() public {
        MockToken fresh = new MockToken("Fresh", "FRESH", 6);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.DecimalsDiffer.selector, address(fresh), 18, 6));
        vault.addAsset(address(fresh), 18, IVaultBase.Band(200, 0, 0));
        vm.expectRevert(
            abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, address(fresh), IOracleHub.Fault.NoFeed)
        );
        vault.addAsset(address(fresh), 6, IVaultBase.Band(200, 0, 0));
        vm.expectRevert(abi.encodeWithSelector(IConfigStore.DuplicateAsset.selector, address(tokens[USDC])));
        vault.addAsset(address(tokens[USDC]), 6, IVaultBase.Band(200, 0, 0));
        vault.excludeAsset(USDC);
        vm.stopPrank();
        vm.prank(guardian);
        oracle.removeFeed(address(tokens[USDC]));
        vm.prank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(IConfigStore.UnpricedAsset.selector, address(tokens[USDC]), IOracleHub.Fault.NoFeed)
        );
        vault.includeAsset(USDC);
    }

    /* SUCCESS */

    function test_without_a_dead_feed_the_others_trade_on_in_their_proportions() public {
        feeds[USDC].setFailing(true);
        _breakBand();
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, USDC, IOracleHub.Fault.CallFailed));
        vault.poke();

        vm.prank(owner);
        vault.excludeAsset(USDC);

        // 50 : 30 becomes 62.5 : 37.5 of 90,000. WETH's 60,000 are 3,750 above 56,250.
        IBasketVault.Asset[] memory a = vault.assets();
        assertEq(a[WETH].targetE18, 0.625e18);
        assertEq(a[WBTC].targetE18, 0.375e18);
        assertTrue(a[USDC].excluded);
        _rebalance(_amounts(1.5625e18 + 1, 0, 0), _amounts(0, 0.09375e8 - 1, 0), 1);
        assertEq(vault.held(), _amounts(25e18 - 1.5625e18, 0.84375e8 - 1, 20_000e6), "no unit more than that");
    }

    function test_an_excluded_asset_is_neither_sold_nor_bought() public {
        _breakBand();
        vm.prank(owner);
        vault.excludeAsset(USDC);

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.SaleWithoutSurplus.selector, USDC));
        _rebalance(_amounts(0, 0, 1), _amounts(0, 1, 0), 1);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.BuyWithoutDeficit.selector, USDC));
        _rebalance(_amounts(1e18, 0, 0), _amounts(0, 0, 1), 1);
    }

    function test_an_excluded_asset_is_minted_and_redeemed_in_kind_as_before() public {
        feeds[USDC].setFailing(true);
        vm.prank(owner);
        vault.excludeAsset(USDC);

        assertEq(_deposit(alice, 10e18), _amounts(2.5e18, 0.075e8, 2_000e6));
        assertEq(_redeem(alice, 10e18), _amounts(2.5e18, 0.075e8, 2_000e6));
    }

    function test_an_asset_included_again_has_no_target_until_the_curator_gives_it_one() public {
        vm.startPrank(owner);
        vault.excludeAsset(USDC);
        vault.includeAsset(USDC);
        vm.stopPrank();

        IBasketVault.Asset[] memory a = vault.assets();
        assertFalse(a[USDC].excluded);
        assertEq(a[USDC].targetE18, 0);
        vm.prank(curator);
        vault.setTargets(_amounts(0.5e18, 0.3e18, 0.2e18), 1 days);
    }

    function test_an_added_asset_is_bought_once_it_has_a_target() public {
        MockToken fresh = new MockToken("Fresh", "FRESH", 6);
        _addAsset(fresh, 1e8);
        vm.prank(owner);
        vault.addAsset(address(fresh), 6, IVaultBase.Band(300, 0, 7));
        uint256[] memory targets = new uint256[](4);
        (targets[0], targets[1], targets[2], targets[3]) = (0.5e18, 0.3e18, 0.1e18, 0.1e18);
        vm.prank(curator);
        vault.setTargets(targets, 0);

        uint256[] memory sales = new uint256[](4);
        uint256[] memory buys = new uint256[](4);
        (sales[2], buys[3]) = (10_000e6, 9_995e6);
        _rebalance(sales, buys, 2);

        assertEq(vault.held()[3], 9_995e6);
        assertEq(vault.assets()[3].minTradeRaw, 7);
    }

    function test_a_removed_asset_leaves_the_ledger_and_the_last_takes_its_number() public {
        vm.prank(owner);
        vault.excludeAsset(WETH);
        vm.expectEmit(address(vault));
        emit IVaultBase.AssetRemoved(address(tokens[WETH]), 25e18);
        vm.prank(owner);
        vault.removeAsset(WETH);

        assertEq(vault.held(), _amounts(20_000e6, 0.75e8));
        IBasketVault.Asset[] memory a = vault.assets();
        assertEq(a.length, 2);
        assertEq(a[0].token, address(tokens[USDC]));
        assertEq(a[1].token, address(tokens[WBTC]));
        assertEq(_redeemTwo(creator, 10e18), _amounts(2_000e6, 0.075e8));
    }

    function test_claims_on_a_removed_asset_are_still_paid() public {
        uint256[] memory none = _amounts();
        vm.prank(creator);
        vault.redeemInKindExcept(10e18, creator, creator, none, 1 << WETH);
        vm.startPrank(owner);
        vault.excludeAsset(WETH);
        vault.removeAsset(WETH);
        vm.stopPrank();

        vm.prank(creator);
        assertEq(vault.claim(creator, address(tokens[WETH]), creator, type(uint256).max), 2.5e18);
        assertEq(tokens[WETH].balanceOf(creator), 2.5e18);
    }

    function test_a_claim_of_a_single_unit_is_owed_when_its_asset_comes_back() public {
        address weth = address(tokens[WETH]);
        // One unit of 25e18: 4 shares of 100e18 are due exactly that.
        vm.prank(creator);
        vault.redeemInKindExcept(4, creator, creator, new uint256[](3), 1 << WETH);
        assertEq(vault.claimable(creator, weth), 1);
        vm.startPrank(owner);
        vault.excludeAsset(WETH);
        vault.removeAsset(WETH);
        vault.addAsset(weth, 18, IVaultBase.Band(200, 0, 0));

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.GiftTooSmall.selector, 2, 25e18, 25e18 - 1));
        vault.absorb(2, 25e18);
        vault.absorb(2, 25e18 - 1);
        vm.stopPrank();
    }

    function test_tokens_of_which_nothing_is_there_are_not_taken_for_one() public {
        MockToken first = new MockToken("First", "ONE", 18);
        MockToken second = new MockToken("Second", "TWO", 18);
        _addAsset(first, 1e8);
        _addAsset(second, 1e8);

        vm.startPrank(owner);
        vault.addAsset(address(first), 18, IVaultBase.Band(200, 0, 0));
        vault.addAsset(address(second), 18, IVaultBase.Band(200, 0, 0));
        vm.stopPrank();
        assertEq(vault.assets().length, 5);
    }

    /// @dev What was left of it comes back to all holders, through the same gates as any gift.
    function test_a_removed_asset_that_comes_back_is_a_gift() public {
        address weth = address(tokens[WETH]);
        vm.startPrank(owner);
        vault.excludeAsset(WETH);
        vault.removeAsset(WETH);
        vault.addAsset(weth, 18, IVaultBase.Band(200, 0, 0));
        assertEq(vault.held()[2], 0);
        vault.absorb(2, 25e18);
        vm.stopPrank();
        assertEq(vault.held()[2], 25e18);
    }

    /// @dev Whatever is excluded from whatever targets, the rest sums to one and keeps its order.
    function testFuzz_excluding_keeps_the_proportions_of_the_rest(uint256 first, uint256 second, uint256 asset) public {
        first = bound(first, 0.01e18, 0.9e18);
        second = bound(second, 0.01e18, 0.98e18 - first < 0.01e18 ? 0.01e18 : 0.98e18 - first);
        uint256[] memory targets = _amounts(first, second, 1e18 - first - second);
        vm.prank(curator);
        vault.setTargets(targets, 0);
        asset = bound(asset, 0, 2);
        vm.prank(owner);
        vault.excludeAsset(asset);

        IBasketVault.Asset[] memory a = vault.assets();
        uint256 sum;
        for (uint256 i; i < 3; ++i) {
            sum += a[i].targetE18;
            if (i == asset) assertEq(a[i].targetE18, 0);
            else assertApproxEqAbs(a[i].targetE18, targets[i] * 1e18 / (1e18 - targets[asset]), 2);
            assertEq(a[i].startTargetE18, a[i].targetE18);
        }
        assertEq(sum, 1e18);
    }

    function _redeemTwo(address holder, uint256 shares) internal returns (uint256[] memory) {
        vm.prank(holder);
        return vault.redeemInKind(shares, holder, holder, _amounts(0, 0));
    }
}
