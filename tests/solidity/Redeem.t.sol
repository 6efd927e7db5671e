// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IBasketVault, IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import {
    CallbackToken,
    FalseReturnToken,
    GasBurnerToken,
    NoReturnToken,
    ReturnBombToken,
    RevertingToken,
    SwitchedToken
} from "../../contracts/mocks/AwkwardTokens.sol";
import { BlocklistToken } from "../../contracts/mocks/BlocklistToken.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice redeemInKind: the same part of every asset, rounded down, whatever prices, roles or tokens do.
contract RedeemTest is Base {
    /// What BasketVault wants to have left before it asks each token for a balance, and before each transfer: BALANCE_GAS * 64 / 63 +
    /// 50,000, and TRANSFER_GAS * 64 / 63 + 50,000.
    uint256 internal constant BALANCE_GAS_NEEDED = 151_587;
    uint256 internal constant TRANSFER_GAS_NEEDED = 354_761;

    /* REFUSALS */

    function test_redeem_of_zero_shares_is_refused() public {
        vm.prank(creator);
        vm.expectRevert(IVaultBase.ZeroShares.selector);
        vault.redeemInKind(0, creator, creator, _amounts());
    }

    function test_redeem_to_nobody_or_to_the_vault_is_refused() public {
        vm.startPrank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(0)));
        vault.redeemInKind(1e18, address(0), creator, _amounts());
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(vault)));
        vault.redeemInKind(1e18, address(vault), creator, _amounts());
        vm.stopPrank();
    }

    function test_redeem_with_an_array_of_another_length_is_refused() public {
        vm.prank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 4, 3));
        vault.redeemInKind(1e18, creator, creator, new uint256[](4));
    }

    function test_redeem_below_a_minimum_names_the_asset_and_both_amounts() public {
        vm.prank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.AmountBelowMinimum.selector, USDC, 200e6, 200e6 + 1));
        vault.redeemInKind(1e18, creator, creator, _amounts(0.25e18, 750_000, 200e6 + 1));
    }

    function test_redeem_of_more_than_the_owner_has_is_refused() public {
        _deposit(alice, 1e18);

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice, 1e18, 1e18 + 1));
        vault.redeemInKind(1e18 + 1, alice, alice, _amounts());
    }

    function test_redeem_of_anothers_shares_without_allowance_is_refused() public {
        _deposit(alice, 1e18);
        vm.prank(alice);
        vault.approve(bob, 1e18 - 1);

        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, bob, 1e18 - 1, 1e18));
        vault.redeemInKind(1e18, bob, alice, _amounts());
    }

    function test_redeem_with_little_gas_is_refused_instead_of_making_claims() public {
        _deposit(alice, 1e18);
        bytes memory message = abi.encodeCall(IVaultCore.redeemInKind, (1e18, alice, alice, _amounts()));

        // From far too little to more than enough: the shares are gone if and only if everything arrived.
        bool balanceRefused;
        bool transferRefused;
        for (uint256 gasLimit = 100_000; gasLimit < 900_000; gasLimit += 10_000) {
            uint256 snapshot = vm.snapshotState();
            vm.prank(alice);
            (bool done, bytes memory answer) = address(vault).call{ gas: gasLimit }(message);
            for (uint256 i; i < 3; ++i) {
                assertEq(vault.claimable(alice, address(tokens[i])), 0);
            }
            if (done) {
                assertEq(_balances(alice), _amounts(0.25e18, 750_000, 200e6));
            } else {
                assertEq(vault.balanceOf(alice), 1e18);
                if (answer.length != 0) {
                    assertEq(bytes4(answer), IVaultBase.NotEnoughGas.selector);
                    (uint256 left, uint256 needed) = _decodeTwo(answer);
                    assertLt(left, needed);
                    balanceRefused = balanceRefused || needed == BALANCE_GAS_NEEDED;
                    transferRefused = transferRefused || needed == TRANSFER_GAS_NEEDED;
                    assertTrue(needed == BALANCE_GAS_NEEDED || needed == TRANSFER_GAS_NEEDED);
                }
            }
            vm.revertToState(snapshot);
        }
        assertTrue(balanceRefused && transferRefused);
    }

    function test_redeem_when_a_token_calls_back_cannot_reenter() public {
        _switchToPair(new CallbackToken("Calling", "CALL", 18));
        _deposit(alice, 2e18);
        CallbackToken(address(tokens[1]))
            .setCallback(address(vault), abi.encodeCall(IVaultCore.redeemInKind, (1e18, alice, alice, _amounts(0, 0))));

        // The token insists on its callback, which is refused, so the token refuses the transfer: a claim, and no harm.
        _redeem(alice, 1e18);

        assertEq(vault.claimable(alice, address(tokens[1])), 200e18);
        assertEq(vault.balanceOf(alice), 1e18);
    }

    /* SUCCESS */

    function test_redeem_pays_the_same_part_of_everything_and_says_so() public {
        _deposit(alice, 2e18);
        uint256[] memory expected = _amounts(0.25e18, 750_000, 200e6);

        vm.expectEmit(address(vault));
        emit IERC20.Transfer(alice, address(0), 1e18);
        vm.expectEmit(address(vault));
        emit IVaultBase.RedeemedInKind(alice, bob, alice, 1e18, expected);
        vm.prank(alice);
        assertEq(vault.redeemInKind(1e18, bob, alice, expected), expected);

        assertEq(_balances(bob), expected);
        assertEq(vault.balanceOf(alice), 1e18);
        assertEq(vault.totalSupply(), 101e18);
        assertEq(vault.held(), _amounts(25.25e18, 0.7575e8, 20_200e6));
        assertEq(_balances(address(vault)), vault.held());
    }

    function test_redeem_of_anothers_shares_spends_the_allowance() public {
        _deposit(alice, 2e18);
        vm.prank(alice);
        vault.approve(bob, 1.5e18);

        vm.prank(bob);
        vault.redeemInKind(1e18, bob, alice, _amounts());

        assertEq(vault.allowance(alice, bob), 0.5e18);
        assertEq(vault.balanceOf(alice), 1e18);
        assertEq(_balances(bob), _amounts(0.25e18, 750_000, 200e6));
    }

    function test_redeem_after_pause_pays_out() public {
        _deposit(alice, 1e18);
        vm.prank(guardian);
        vault.pauseRebalance();

        assertEq(_redeem(alice, 1e18), _amounts(0.25e18, 750_000, 200e6));
    }

    function test_redeem_without_oracle_store_or_manager_pays_out() public {
        _deposit(alice, 1e18);
        vm.etch(address(oracle), hex"fe");
        vm.etch(address(store), hex"fe");
        vm.etch(address(manager), hex"fe");
        vm.etch(address(factory), hex"fe");

        _redeem(alice, 1e18);

        assertEq(_balances(alice), _amounts(0.25e18, 750_000, 200e6));
    }

    function test_redeem_with_a_token_that_returns_nothing_pays_out() public {
        _switchToPair(new NoReturnToken("Silent", "SILENT", 6));
        _deposit(alice, 1e18);

        _redeem(alice, 1e18);

        assertEq(tokens[1].balanceOf(alice), 200e6);
        assertEq(vault.claimable(alice, address(tokens[1])), 0);
    }

    /* TOKENS THAT CANNOT BE SENT */

    function test_redeem_with_a_reverting_token_makes_a_claim() public {
        _checkClaim(new RevertingToken("Reverting", "BAD", 6));
    }

    function test_redeem_with_a_token_that_returns_false_makes_a_claim() public {
        _checkClaim(new FalseReturnToken("False", "BAD", 6));
    }

    function test_redeem_with_a_token_that_burns_all_gas_makes_a_claim() public {
        _checkClaim(new GasBurnerToken("Burning", "BAD", 6));
    }

    function test_redeem_with_a_token_that_returns_a_megabyte_makes_a_claim() public {
        _checkClaim(new ReturnBombToken("Bomb", "BAD", 6));
    }

    function test_redeem_with_a_token_that_has_no_code_any_more_makes_a_claim() public {
        _switchToPair(new MockToken("Gone", "GONE", 6));
        _deposit(alice, 1e18);
        bytes memory code = address(tokens[1]).code;
        vm.etch(address(tokens[1]), "");

        _redeem(alice, 1e18);

        assertEq(tokens[0].balanceOf(alice), 0.1e18);
        assertEq(vault.claimable(alice, address(tokens[1])), 200e6);
        vm.etch(address(tokens[1]), code);
        vm.prank(alice);
        vault.claim(alice, address(tokens[1]), alice, type(uint256).max);
        assertEq(tokens[1].balanceOf(alice), 200e6);
    }

    function test_redeem_with_a_token_that_answers_too_short_or_untrue_makes_a_claim() public {
        _switchToPair(new MockToken("Odd", "ODD", 6));
        bytes[4] memory answers = [bytes(hex"01"), abi.encode(2), abi.encode(type(uint256).max), new bytes(31)];
        for (uint256 i; i < answers.length; ++i) {
            _deposit(alice, 1e18);
            vm.mockCall(address(tokens[1]), abi.encodeWithSelector(IERC20.transfer.selector), answers[i]);
            _redeem(alice, 1e18);
            vm.clearMockedCalls();
            assertGe(vault.claimable(alice, address(tokens[1])), (i + 1) * 200e6);
            assertEq(vault.totalClaimable(address(tokens[1])), vault.claimable(alice, address(tokens[1])));
        }
    }

    function test_mint_and_redeem_touch_no_token_of_which_nothing_is_due() public {
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 0));
        uint256[] memory amounts = _prepareDeposit(alice, 1e18);
        vm.etch(address(tokens[USDC]), hex"fe");

        vm.prank(alice);
        vault.mintInKind(1e18, alice, amounts);
        vm.recordLogs();
        _redeem(alice, 1e18);

        assertEq(vm.getRecordedLogs().length, 4, "a burn, two transfers, the redemption, and no claim");
        assertEq(tokens[WETH].balanceOf(alice), 0.25e18);
        assertEq(vault.claimable(alice, address(tokens[USDC])), 0);
    }

    function test_redeem_by_a_blocklisted_holder_makes_a_claim_and_freezes_nobody_else() public {
        BlocklistToken usdc = new BlocklistToken("USD Coin", "USDC", 6);
        _switchToPair(MockToken(address(usdc)));
        _deposit(alice, 1e18);
        _deposit(bob, 1e18);
        usdc.blacklist(alice);

        _redeem(alice, 1e18);
        _redeem(bob, 1e18);

        assertEq(vault.claimable(alice, address(usdc)), 200e6);
        assertEq(usdc.balanceOf(alice), 0);
        assertEq(usdc.balanceOf(bob), 200e6);
    }

    function test_redeem_by_an_approved_caller_to_a_receiver_that_refuses_leaves_the_claim_to_the_owner() public {
        BlocklistToken usdc = new BlocklistToken("USD Coin", "USDC", 6);
        _switchToPair(MockToken(address(usdc)));
        _deposit(alice, 1e18);
        vm.prank(alice);
        vault.approve(bob, 1e18);
        usdc.blacklist(stranger);

        vm.prank(bob);
        vault.redeemInKind(1e18, stranger, alice, _amounts(0, 0));

        assertEq(vault.claimable(alice, address(usdc)), 200e6);
        assertEq(vault.claimable(bob, address(usdc)) + vault.claimable(stranger, address(usdc)), 0);
    }

    /// @dev Two entries of the ledger share a slot: each redemption writes every slot.
    function test_redeem_of_any_number_of_tokens_lowers_every_entry() public {
        delete tokens;
        delete feeds;
        for (uint256 n = 1; n <= 7; ++n) {
            _addAsset(new MockToken("Token", "TOK", 18), 1e8);
            if (n == 1) continue; // too few
            IBasketVault.Config memory c;
            c.oracle = oracle;
            c.policy = _policy();
            c.assets = new IBasketVault.Asset[](n);
            uint256[] memory seed = new uint256[](n);
            for (uint256 i; i < n; ++i) {
                c.assets[i] = _asset(address(tokens[i]), uint64(1e18 / n + (i == 0 ? 1e18 % n : 0)), 200, 18);
                seed[i] = (i + 1) * 1_000e18;
            }
            vault = _createVault(c, seed);

            vm.prank(creator);
            vault.redeemInKind(30e18, creator, creator, new uint256[](n));

            for (uint256 i; i < n; ++i) {
                assertEq(vault.held()[i], seed[i] * 7 / 10);
                assertEq(tokens[i].balanceOf(address(vault)), seed[i] * 7 / 10);
            }
        }
    }

    function test_redeem_of_sixteen_tokens_that_all_burn_their_gas_fits_in_a_block() public {
        delete tokens;
        delete feeds;
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](16);
        uint256[] memory seed = new uint256[](16);
        for (uint256 i; i < 16; ++i) {
            _addAsset(new GasBurnerToken("Burning", "BAD", 18), 1e8);
            c.assets[i] = _asset(address(tokens[i]), 0.0625e18, 200, 18);
            seed[i] = 1_000e18;
        }
        vault = _createVault(c, seed);
        for (uint256 i; i < 16; ++i) {
            SwitchedToken(address(tokens[i])).setBroken(true);
        }

        vm.prank(creator);
        vault.redeemInKind{ gas: 6_500_000 }(50e18, creator, creator, new uint256[](16));

        for (uint256 i; i < 16; ++i) {
            assertEq(vault.claimable(creator, address(tokens[i])), 500e18);
        }
    }

    /// @dev Alice redeems while the token is broken, bob after it is mended; nobody is hurt by the other's claim.
    function _checkClaim(SwitchedToken token) internal {
        _switchToPair(token);
        _deposit(alice, 1e18);
        _deposit(bob, 1e18);
        token.setBroken(true);

        vm.expectEmit(address(vault));
        emit IVaultBase.ClaimOpened(alice, address(token), 200e6, 200e6);
        assertEq(_redeem(alice, 1e18), _amounts(0.1e18, 200e6));
        assertEq(tokens[0].balanceOf(alice), 0.1e18);
        assertEq(token.balanceOf(alice), 0);
        assertEq(vault.claimable(alice, address(token)), 200e6);
        assertEq(vault.held()[1], 20_200e6);
        assertEq(token.balanceOf(address(vault)), 20_400e6);

        token.setBroken(false);
        _redeem(bob, 1e18);
        assertEq(token.balanceOf(bob), 200e6);
        vm.prank(alice);
        vault.claim(alice, address(token), alice, type(uint256).max);
        assertEq(token.balanceOf(alice), 200e6);
        assertEq(token.balanceOf(address(vault)), vault.held()[1]);
    }

    /* EDGES */

    function test_redeem_after_gifts_pays_the_same() public {
        _deposit(alice, 1e18);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(address(vault), 1_000_000 * 10 ** tokens[i].decimals());
        }

        assertEq(_redeem(alice, 1e18), _amounts(0.25e18, 750_000, 200e6));
    }

    function test_redeem_of_a_share_too_small_for_any_unit_pays_nothing() public {
        _deposit(alice, 1);

        assertEq(_redeem(alice, 1), _amounts());
        assertEq(vault.totalSupply(), INITIAL_SHARES);
        assertEq(vault.held(), _amounts(25e18 + 1, 0.75e8 + 1, 20_000e6 + 1));
    }

    function test_redeem_of_everything_leaves_the_locked_minimum() public {
        _redeem(creator, _unlocked());

        // 1,000 units of 0.75e8, as parts of 100e18 and rounded up: 1e23 / 0.75e8.
        assertEq(vault.totalSupply(), 1_333_333_333_333_334);
        assertEq(vault.balanceOf(LOCKED), 1_333_333_333_333_334);
        // {tok} = held * locked / 100e18, rounded up.
        assertEq(vault.held(), _amounts(333_333_333_333_334, 1_001, 266_667));
    }

    function test_the_first_depositor_after_everybody_left_cannot_be_robbed_by_gifts() public {
        _redeem(creator, _unlocked());
        tokens[WETH].mint(address(vault), 1_000e18);

        uint256[] memory given = _deposit(alice, 1e18);

        uint256[] memory back = _redeem(alice, 1e18);
        for (uint256 i; i < 3; ++i) {
            assertLe(given[i] - back[i], 1);
        }
    }

    function testFuzz_redeem_rounds_down_by_less_than_a_unit(uint256 shares) public {
        _switchToMatrix();
        uint256[] memory held = vault.held();
        shares = bound(shares, 1, _unlocked());

        uint256[] memory amounts = _redeem(creator, shares);

        for (uint256 i; i < 5; ++i) {
            // held up to 2e33 times shares up to 1e20 fits easily.
            assertLe(amounts[i] * INITIAL_SHARES, held[i] * shares);
            assertGt((amounts[i] + 1) * INITIAL_SHARES, held[i] * shares);
            assertEq(tokens[i].balanceOf(creator), amounts[i]);
        }
    }

    function testFuzz_redeem_in_parts_never_pays_more_than_at_once(uint256 shares, uint256 part) public {
        _switchToMatrix();
        shares = bound(shares, 2, _unlocked());
        part = bound(part, 1, shares - 1);
        uint256[] memory atOnce = vault.previewRedeemInKind(shares);

        uint256[] memory first = _redeem(creator, part);
        uint256[] memory second = _redeem(creator, shares - part);

        for (uint256 i; i < 5; ++i) {
            assertLe(first[i] + second[i], atOnce[i]);
        }
    }

    function _decodeTwo(bytes memory answer) internal pure returns (uint256 a, uint256 b) {
        assembly ("memory-safe") {
            a := mload(add(answer, 36))
            b := mload(add(answer, 68))
        }
    }
}
