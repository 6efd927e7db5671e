// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IBasketVault, IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { CallbackToken, FeeToken, NoReturnToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice mintInKind: exactly the shares asked, for the same part of every asset, rounded up.
contract MintTest is Base {
    uint256 internal constant MAX_SUPPLY = 1 << 120;

    /* REFUSALS */

    function test_mint_of_zero_shares_is_refused() public {
        vm.expectRevert(IVaultBase.ZeroShares.selector);
        vault.mintInKind(0, alice, _amounts());
    }

    function test_mint_to_nobody_or_to_the_vault_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(0)));
        vault.mintInKind(1e18, address(0), _amounts());
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(vault)));
        vault.mintInKind(1e18, address(vault), _amounts());
    }

    function test_mint_with_an_array_of_another_length_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        vault.mintInKind(1e18, alice, _amounts(1, 1));
    }

    function test_mint_above_a_maximum_names_the_asset_and_both_amounts() public {
        _prepareDeposit(alice, 1e18);

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.AmountAboveMaximum.selector, WBTC, 750_000, 749_999));
        vault.mintInKind(1e18, alice, _amounts(0.25e18, 749_999, 200e6));
    }

    function test_mint_without_allowance_or_balance_is_refused_by_the_token() public {
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 0.25e18)
        );
        vault.mintInKind(1e18, alice, _amounts(0.25e18, 750_000, 200e6));

        _prepareDeposit(alice, 1e18);
        tokens[USDC].burn(alice, 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 200e6 - 1, 200e6));
        vault.mintInKind(1e18, alice, _amounts(0.25e18, 750_000, 200e6));
    }

    function test_mint_past_the_largest_supply_is_refused_and_up_to_it_is_not() public {
        uint256 most = MAX_SUPPLY - INITIAL_SHARES;
        uint256[] memory unlimited = _amounts(type(uint256).max, type(uint256).max, type(uint256).max);

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SupplyTooLarge.selector, MAX_SUPPLY + 1, MAX_SUPPLY));
        vault.mintInKind(most + 1, alice, unlimited);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SupplyTooLarge.selector, type(uint256).max, MAX_SUPPLY));
        vault.mintInKind(type(uint256).max, alice, unlimited);

        _deposit(alice, most);
        assertEq(vault.totalSupply(), MAX_SUPPLY);
        assertEq(vault.balanceOf(alice), most);
    }

    function test_mint_that_would_pass_2_to_the_120_of_an_asset_is_refused() public {
        vault = _createVault(_config(), _amounts(type(uint120).max / 100 * 99, 1e8, 1e6));
        uint256[] memory amounts = _prepareDeposit(alice, 2e18);
        uint256 after_ = vault.held()[WETH] + amounts[WETH];

        assertGt(after_, type(uint120).max);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.HoldingTooLarge.selector, WETH, after_, type(uint120).max));
        vault.mintInKind(2e18, alice, amounts);
    }

    function test_mint_with_a_token_that_keeps_a_fee_is_refused() public {
        // The factory would refuse it too, so the clone is seeded by hand.
        FeeToken skimming = new FeeToken("Skimming", "SKIM", 18, 100);
        _addAsset(skimming, 1e8);
        IBasketVault.Config memory c = _config();
        c.assets[USDC] = _asset(address(skimming), 0.2e18, 200, 18);
        address made = _deployByHand(c, _amounts(25e18, 0.75e8, 20_000e18));
        skimming.mint(alice, 200e18);
        vm.startPrank(alice);
        skimming.approve(made, 200e18);
        tokens[WETH].mint(alice, 0.25e18);
        tokens[WETH].approve(made, 0.25e18);
        tokens[WBTC].mint(alice, 750_000);
        tokens[WBTC].approve(made, 750_000);

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.TransferNotExact.selector, address(skimming), 200e18, 198e18));
        IBasketVault(made).mintInKind(1e18, alice, _amounts(0.25e18, 750_000, 200e18));
        vm.stopPrank();
    }

    /// @dev A clone seeded by plain mints, which no token can tax.
    function _deployByHand(IBasketVault.Config memory c, uint256[] memory seed) internal returns (address made) {
        made = _clone(implementation);
        for (uint256 i; i < seed.length; ++i) {
            MockToken(c.assets[i].token).mint(made, seed[i]);
        }
        IBasketVault(made)
            .initialize(
                IVaultBase.Start(
                    "By hand", "HAND", address(manager), c, _streaming(0), treasury, seed, INITIAL_SHARES, creator
                )
            );
    }

    function test_mint_when_a_token_calls_back_cannot_reenter() public {
        CallbackToken calling = new CallbackToken("Calling", "CALL", 18);
        _switchToPair(calling);
        uint256[] memory amounts = _prepareDeposit(alice, 1e18);
        bytes memory again = abi.encodeCall(IVaultCore.mintInKind, (1, alice, amounts));
        calling.setCallback(address(vault), again);

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(CallbackToken.StrangerRefused.selector, _reentrant()));
        vault.mintInKind(1e18, alice, amounts);
    }

    /* SUCCESS */

    function test_mint_takes_the_same_part_of_everything_and_says_so() public {
        uint256[] memory amounts = _prepareDeposit(alice, 1e18);
        assertEq(amounts, _amounts(0.25e18, 750_000, 200e6));

        vm.expectEmit(address(vault));
        emit IERC20.Transfer(address(0), bob, 1e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.MintedInKind(alice, bob, 1e18, amounts);
        vm.prank(alice);
        assertEq(vault.mintInKind(1e18, bob, amounts), amounts);

        assertEq(vault.balanceOf(bob), 1e18);
        assertEq(vault.balanceOf(alice), 0);
        assertEq(vault.totalSupply(), 101e18);
        assertEq(vault.held(), _amounts(25.25e18, 0.7575e8, 20_200e6));
        assertEq(_balances(address(vault)), vault.held());
        assertEq(_balances(alice), _amounts());
    }

    function test_mint_asks_no_oracle() public {
        for (uint256 i; i < 3; ++i) {
            feeds[i].setFailing(true);
        }
        vm.etch(address(oracle), hex"fe");

        _deposit(alice, 1e18);

        assertEq(vault.balanceOf(alice), 1e18);
    }

    function test_mint_while_rebalancing_is_paused_works() public {
        vm.prank(guardian);
        vault.pauseRebalance();

        _deposit(alice, 1e18);

        assertEq(vault.balanceOf(alice), 1e18);
    }

    function test_mint_with_a_token_that_returns_nothing_works() public {
        _switchToPair(new NoReturnToken("Silent", "SILENT", 6));

        _deposit(alice, 1e18);

        assertEq(vault.held(), _amounts(10.1e18, 20_200e6));
    }

    /* EDGES */

    function test_mint_of_one_share_costs_a_unit_of_everything() public {
        uint256[] memory before = vault.held();
        assertEq(_deposit(alice, 1), _amounts(1, 1, 1));
        assertEq(vault.balanceOf(alice), 1);
        assertEq(vault.held(), _amounts(before[WETH] + 1, before[WBTC] + 1, before[USDC] + 1));
    }

    function test_mint_takes_nothing_of_an_asset_the_vault_does_not_hold() public {
        vault = _createVault(_config(), _amounts(25e18, 0, 20_000e6));
        // Not even nothing: some tokens refuse that.
        vm.expectCall(address(tokens[WBTC]), abi.encodeWithSelector(IERC20.transferFrom.selector), 0);

        assertEq(_deposit(alice, 1e18), _amounts(0.25e18, 0, 200e6));
        assertEq(vault.held(), _amounts(25.25e18, 0, 20_200e6));
    }

    function test_mint_when_nothing_is_held_is_refused() public {
        // Redemptions round down, so they never empty the ledger; it is emptied here directly.
        _emptyLedger();

        vm.expectRevert(IVaultBase.NothingHeld.selector);
        vault.mintInKind(1e18, alice, _amounts());
    }

    function test_mint_after_gifts_costs_the_same() public {
        uint256[] memory before = vault.previewMintInKind(1e18);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(address(vault), 1_000_000 * 10 ** tokens[i].decimals());
        }

        assertEq(vault.previewMintInKind(1e18), before);
        assertEq(_deposit(alice, 1e18), before);
    }

    function test_mint_of_2_to_the_112_of_an_asset_is_exact() public {
        uint256 huge = 1 << 112;
        vault = _createVault(_config(), _amounts(huge, huge, huge));

        assertEq(_deposit(alice, INITIAL_SHARES), _amounts(huge, huge, huge));
        assertEq(vault.held(), _amounts(2 * huge, 2 * huge, 2 * huge));
        assertEq(_redeem(alice, INITIAL_SHARES), _amounts(huge, huge, huge));
    }

    function testFuzz_mint_rounds_up_by_less_than_a_unit(uint256 shares) public {
        shares = bound(shares, 1, 1_000 * INITIAL_SHARES);
        uint256[] memory held = vault.held();

        uint256[] memory amounts = _deposit(alice, shares);

        for (uint256 i; i < 3; ++i) {
            uint256 exact = held[i] * shares; // in 1/INITIAL_SHARES of a unit
            assertGe(amounts[i] * INITIAL_SHARES, exact);
            assertLt(amounts[i] * INITIAL_SHARES, exact + INITIAL_SHARES);
        }
    }

    function testFuzz_mint_then_redeem_is_never_free(uint256 shares, uint256 seedShares) public {
        _switchToMatrix();
        _deposit(bob, bound(seedShares, 1, 1_000 * INITIAL_SHARES));
        shares = bound(shares, 1, 1_000 * INITIAL_SHARES);

        uint256[] memory given = _deposit(alice, shares);
        uint256[] memory back = _redeem(alice, shares);

        for (uint256 i; i < 5; ++i) {
            assertLe(back[i], given[i]);
            // And never more expensive by more than two units: one up, one down.
            assertGe(back[i] + 2, given[i]);
        }
    }

    function testFuzz_mint_leaves_no_holder_with_less(uint256 shares) public {
        _switchToMatrix();
        _deposit(bob, 7e18);
        uint256[] memory before = vault.previewRedeemInKind(7e18);

        _deposit(alice, bound(shares, 1, 1_000 * INITIAL_SHARES));

        uint256[] memory after_ = vault.previewRedeemInKind(7e18);
        for (uint256 i; i < 5; ++i) {
            assertGe(after_[i], before[i]);
        }
    }
}
