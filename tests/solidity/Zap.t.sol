// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import { IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IZap } from "../../contracts/interfaces/IZap.sol";
import { FeeToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { PausableToken } from "../../contracts/mocks/PausableToken.sol";
import { V3Swaps } from "../../contracts/venues/V3Swaps.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";
import { ZapScene } from "./support/ZapScene.sol";

/// @notice Zap: one token (or ether) in, shares out, and back, at the caller's own slippage and with nothing left behind.
contract ZapTest is ZapScene {
    /* REFUSALS: IN */

    function test_a_deposit_past_its_deadline_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        skip(1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.DeadlinePassed.selector, z.deadline, z.deadline + 1));
        zap.zapIn(z);
    }

    function test_a_deposit_of_nothing_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        z.amountIn = 0;
        vm.prank(alice);
        vm.expectRevert(IZap.ZeroAmount.selector);
        zap.zapIn(z);
    }

    function test_a_deposit_that_swaps_more_than_it_has_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        z.swapAmount = z.amountIn + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.SwapAboveAmount.selector, 1_000e6 + 1, 1_000e6));
        zap.zapIn(z);
    }

    function test_a_deposit_with_another_value_than_it_says_is_refused() public {
        IZap.In memory ether_ = _fromEther(1e18);
        IZap.In memory usdc = _fromUsdc(1_000e6);

        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.ValueMismatch.selector, 1e18 - 1, 1e18));
        zap.zapIn{ value: 1e18 - 1 }(ether_);
        vm.expectRevert(abi.encodeWithSelector(IZap.ValueMismatch.selector, 1, 0));
        zap.zapIn{ value: 1 }(usdc);
        vm.stopPrank();
    }

    function test_a_deposit_that_yields_too_few_shares_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        z.minShares = 1e18 + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.SharesBelowMinimum.selector, 1e18, 1e18 + 1));
        zap.zapIn(z);

        z.minShares = 0;
        z.swapAmount = 0;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.SharesBelowMinimum.selector, 0, 0));
        zap.zapIn(z);
        assertEq(tokens[USDC].balanceOf(alice), 1_000e6);
    }

    function test_a_deposit_without_allowance_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1_000e6)
        );
        zap.zapIn(z);
    }

    function test_ether_from_strangers_is_refused() public {
        vm.prank(alice);
        (bool done, bytes memory answer) = address(zap).call{ value: 1 }("");
        assertFalse(done);
        assertEq(answer, abi.encodeWithSelector(IZap.UnexpectedEther.selector, alice));
    }

    /* REFUSALS: OUT */

    function test_a_withdrawal_past_its_deadline_is_refused() public {
        IZap.Out memory z = _toUsdc(1e18);
        skip(1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.DeadlinePassed.selector, z.deadline, z.deadline + 1));
        zap.zapOut(z);
    }

    function test_a_withdrawal_that_yields_too_little_is_refused() public {
        IZap.Out memory z = _toUsdc(1e18);
        z.minAmountOut = 1_000e6 + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.AmountOutBelowMinimum.selector, 1_000e6, 1_000e6 + 1));
        zap.zapOut(z);
        assertEq(vault.balanceOf(alice), 1e18);
    }

    function test_a_withdrawal_of_anothers_shares_is_impossible() public {
        IZap.Out memory z = _toUsdc(1e18); // alice approved the zap
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1e18));
        zap.zapOut(z);
    }

    function test_what_would_stay_in_the_zap_or_its_executor_is_refused() public {
        address[2] memory receivers = [address(zap), address(routes)];
        for (uint256 i; i < 2; ++i) {
            IZap.In memory z = _fromUsdc(1_000e6);
            IZap.Out memory out = _toUsdc(1e18);
            (z.receiver, out.receiver) = (receivers[i], receivers[i]);

            vm.startPrank(alice);
            vm.expectRevert(abi.encodeWithSelector(IZap.BadReceiver.selector, receivers[i]));
            zap.zapIn(z);
            vm.expectRevert(abi.encodeWithSelector(IZap.BadReceiver.selector, receivers[i]));
            zap.zapOut(out);
            vm.stopPrank();
        }
    }

    /* SUCCESS */

    function test_a_deposit_of_one_token_becomes_shares() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        z.receiver = bob;

        vm.expectEmit(address(zap));
        emit IZap.ZappedIn(address(vault), alice, bob, address(tokens[USDC]), 1_000e6, 1e18);
        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(vault.balanceOf(bob), 1e18);
        assertEq(vault.held(), _amounts(25.25e18, 0.7575e8, 20_200e6));
        assertEq(_balances(alice), _amounts());
        _assertNothingLeft();
    }

    function test_a_deposit_returns_what_was_not_needed() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        // 100 more than a share takes, and a swap that is a little wrong: 0.26 WETH instead of 0.25.
        tokens[USDC].mint(alice, 120e6);
        _approve(tokens[USDC], alice, address(zap), 1_120e6);
        (z.amountIn, z.swapAmount) = (1_120e6, 820e6);
        z.route = bytes.concat(
            Routes.v3(tokens[USDC], 520e6, address(wethPool), 0, tokens[WETH]),
            Routes.v3(tokens[USDC], 300e6, address(wbtcPool), 0, tokens[WBTC])
        );

        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(_balances(alice), _amounts(0.01e18, 0, 100e6));
        _assertNothingLeft();
    }

    function test_a_deposit_of_ether_becomes_shares_and_returns_ether() public {
        IZap.In memory z = _fromEther(0.6e18);

        vm.prank(alice);
        assertEq(zap.zapIn{ value: 0.6e18 }(z), 1e18);

        assertEq(vault.balanceOf(alice), 1e18);
        // 0.25 kept, 0.25 swapped for 500 dollars; the rest comes back.
        assertEq(alice.balance, 10e18 - 0.5e18);
        assertEq(_balances(alice), _amounts());
        _assertNothingLeft();
    }

    function test_a_withdrawal_to_one_token_swaps_everything_else() public {
        IZap.Out memory z = _toUsdc(1e18);
        z.receiver = bob;

        vm.expectEmit(address(zap));
        emit IZap.ZappedOut(address(vault), alice, bob, address(tokens[USDC]), 1_000e6, 1e18);
        vm.prank(alice);
        assertEq(zap.zapOut(z), 1_000e6);

        assertEq(_balances(bob), _amounts(0, 0, 1_000e6));
        assertEq(vault.balanceOf(alice), 0);
        assertEq(vault.totalSupply(), INITIAL_SHARES);
        _assertNothingLeft();
    }

    function test_a_withdrawal_to_ether_unwraps() public {
        IZap.Out memory z = _toUsdc(1e18);
        z.tokenOut = zap.ETH();
        z.receiver = bob;
        z.route = bytes.concat(
            Routes.v3(tokens[WBTC], 0, address(wbtcPool), 0, tokens[USDC]),
            Routes.v3(tokens[USDC], 0, address(wethPool), 0, tokens[WETH])
        );

        vm.prank(alice);
        assertEq(zap.zapOut(z), 0.5e18);

        assertEq(bob.balance, 0.5e18);
        _assertNothingLeft();
    }

    function test_a_withdrawal_sends_what_the_route_left_to_the_receiver() public {
        IZap.Out memory z = _toUsdc(1e18);
        z.receiver = bob;
        wethPool.setDepth(0.1e18);

        vm.prank(alice);
        assertEq(zap.zapOut(z), 700e6);

        assertEq(_balances(bob), _amounts(0.15e18, 0, 700e6));
        _assertNothingLeft();
    }

    function test_a_withdrawal_of_a_token_that_cannot_be_sent_leaves_the_claim_to_the_caller() public {
        PausableToken stuck = new PausableToken("Stuck", "STUCK", 6);
        MockToken usdc = tokens[USDC];
        _addAsset(stuck, 1e8);
        tokens.pop();
        tokens[USDC] = stuck;
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        _deposit(alice, 1e18);
        tokens[USDC] = usdc; // what the pools trade
        stuck.pause();
        _approve(MockToken(address(vault)), alice, address(zap), 1e18);
        IZap.Out memory z = IZap.Out({
            vault: vault,
            shares: 1e18,
            tokenOut: address(tokens[WETH]),
            minAmountOut: 0.25e18,
            receiver: bob,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WBTC], 0, address(wbtcPool), 0, tokens[USDC]),
                Routes.v3(tokens[USDC], 0, address(wethPool), 0, tokens[WETH])
            )
        });

        vm.prank(alice);
        assertEq(zap.zapOut(z), 0.4e18);

        assertEq(vault.claimable(alice, address(stuck)), 200e6);
        assertEq(vault.claimable(address(zap), address(stuck)), 0);
        assertEq(tokens[WETH].balanceOf(bob), 0.4e18);
    }

    function test_in_and_out_is_never_free() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        vm.prank(alice);
        uint256 shares = zap.zapIn(z);
        IZap.Out memory out = _toUsdc(0);
        out.shares = shares;
        _approve(MockToken(address(vault)), alice, address(zap), shares);

        vm.prank(alice);
        uint256 amountOut = zap.zapOut(out);

        assertLe(amountOut + tokens[USDC].balanceOf(address(zap)), 1_000e6);
    }

    function testFuzz_a_deposit_of_any_size_leaves_nothing_behind(uint256 amount, uint256 wethPart, uint256 wbtcPart)
        public
    {
        amount = bound(amount, 100, 1_000_000e6);
        IZap.In memory z = _fromUsdc(amount);
        uint256 forWeth = amount * bound(wethPart, 1, 60) / 100;
        uint256 forWbtc = amount * bound(wbtcPart, 1, 39) / 100;
        z.swapAmount = forWeth + forWbtc;
        z.minShares = 0;
        z.route = bytes.concat(
            Routes.v3(tokens[USDC], uint128(forWeth), address(wethPool), 0, tokens[WETH]),
            Routes.v3(tokens[USDC], uint128(forWbtc), address(wbtcPool), 0, tokens[WBTC])
        );
        uint256[] memory before = vault.previewRedeemInKind(50e18);

        vm.prank(alice);
        try zap.zapIn(z) returns (uint256 shares) {
            assertEq(vault.balanceOf(alice), shares);
            assertGt(shares, 0);
            uint256[] memory after_ = vault.previewRedeemInKind(50e18);
            for (uint256 i; i < 3; ++i) {
                assertGe(after_[i], before[i], "no holder is diluted");
            }
        } catch (bytes memory answer) {
            // Too little to buy a unit of WBTC (0.0004 dollars), so no share either.
            assertEq(bytes4(answer), IZap.SharesBelowMinimum.selector);
            assertLt(forWbtc, 400);
        }
        _assertNothingLeft();
    }

    /* LEFTOVERS AND APPROVALS */

    function test_a_deposit_by_amounts_out_leaves_only_what_was_paid_with() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        tokens[USDC].mint(alice, 10e6);
        _approve(tokens[USDC], alice, address(zap), 1_010e6);
        (z.amountIn, z.swapAmount, z.minShares) = (1_010e6, 810e6, 1e18);
        z.route = bytes.concat(
            Routes.v3Out(tokens[USDC], 0.25e18, address(wethPool), Routes.TO_CALLER, tokens[WETH]),
            Routes.v3Out(tokens[USDC], 750_000, address(wbtcPool), Routes.TO_CALLER, tokens[WBTC])
        );

        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(_balances(alice), _amounts(0, 0, 10e6));
        _assertNothingLeft();
    }

    function test_a_deposit_by_amounts_out_that_cost_more_than_was_paid_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        z.route = bytes.concat(
            Routes.v3Out(tokens[USDC], 0.25e18, address(wethPool), Routes.TO_CALLER, tokens[WETH]),
            Routes.v3Out(tokens[USDC], 750_001, address(wbtcPool), Routes.TO_CALLER, tokens[WBTC])
        );

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(V3Swaps.CostsMore.selector, address(wbtcPool), 300e6 + 400, 300e6));
        zap.zapIn(z);
    }

    function test_a_deposit_returns_what_is_left_of_a_token_outside_the_basket() public {
        (MockToken middle, MockPool first, MockPool second) = _middle();
        IZap.In memory z = _fromUsdc(1_000e6);
        // 500 USDC become 500 of the middle token, straight to the zap; 300 stay with the executor, which sells all but 1 wei of them.
        z.route = bytes.concat(
            Routes.v3(tokens[USDC], 500e6, address(wethPool), 0, tokens[WETH]),
            Routes.v3(tokens[USDC], 1e6, address(first), Routes.TO_CALLER, middle),
            Routes.v3(tokens[USDC], 299e6, address(first), 0, middle),
            Routes.v3(middle, 299e18 - 1, address(second), 0, tokens[WBTC])
        );

        vm.prank(alice);
        uint256 shares = zap.zapIn(z);

        assertGt(shares, 0.99e18);
        assertEq(middle.balanceOf(alice), 1e18 + 1);
        _assertNoneLeft(middle);
        _assertNothingLeft();
    }

    function test_a_withdrawal_returns_what_is_left_of_a_token_outside_the_basket() public {
        (MockToken middle, MockPool first, MockPool second) = _middle();
        IZap.Out memory z = _toUsdc(1e18);
        z.receiver = bob;
        z.route = bytes.concat(
            Routes.v3(tokens[WBTC], 0, address(second), 0, middle),
            Routes.v3(middle, 299e18, address(first), 0, tokens[USDC])
        );

        vm.prank(alice);
        assertEq(zap.zapOut(z), 499e6);

        // No hop sells the WETH.
        assertEq(_balances(bob), _amounts(0.25e18, 0, 499e6));
        assertEq(middle.balanceOf(bob), 1e18);
        _assertNoneLeft(middle);
        _assertNothingLeft();
    }

    function test_a_withdrawal_without_a_route_pays_the_token_and_the_rest_in_kind() public {
        IZap.Out memory z = _toUsdc(1e18);
        z.route = "";

        vm.prank(alice);
        assertEq(zap.zapOut(z), 200e6);

        assertEq(_balances(alice), _amounts(0.25e18, 750_000, 200e6));
        _assertNothingLeft();
    }

    function test_a_deposit_of_a_token_outside_the_basket_returns_what_was_not_swapped() public {
        (MockToken middle, MockPool first, MockPool second) = _middle();
        middle.mint(alice, 1_100e18);
        _approve(middle, alice, address(zap), 1_100e18);
        IZap.In memory z = _paidInUsdc(1_000e6);
        (z.tokenIn, z.amountIn, z.swapAmount, z.minShares) = (address(middle), 1_100e18, 1_050e18, 1e18);
        z.route = bytes.concat(
            Routes.v3Out(middle, 750_000, address(second), Routes.TO_CALLER, tokens[WBTC]),
            Routes.v3Out(middle, 700e6, address(first), 0, tokens[USDC]),
            Routes.v3Out(tokens[USDC], 0.25e18, address(wethPool), Routes.TO_CALLER, tokens[WETH])
        );

        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(middle.balanceOf(alice), 100e18);
        assertEq(_balances(alice), _amounts());
        _assertNoneLeft(middle);
        _assertNothingLeft();
    }

    function test_a_deposit_of_a_token_that_keeps_a_fee_uses_what_arrived() public {
        FeeToken dear = new FeeToken("Fee", "FEE", 6, 100);
        dear.mint(alice, 1_000e6);
        _approve(dear, alice, address(zap), 1_000e6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        (z.tokenIn, z.swapAmount) = (address(dear), 1_000e6);
        z.route = bytes.concat(
            Routes.call(
                dear,
                0,
                address(new Giver()),
                address(0),
                tokens[USDC],
                type(uint16).max,
                abi.encodeCall(Giver.give, (tokens[USDC], 900e6))
            ),
            Routes.v3(tokens[USDC], 450e6, address(wethPool), 0, tokens[WETH]),
            Routes.v3(tokens[USDC], 270e6, address(wbtcPool), 0, tokens[WBTC])
        );

        vm.prank(alice);
        assertEq(zap.zapIn(z), 0.9e18);

        // Less six fees of 1 %: to the zap, to the executor, to the box that makes the call, and back.
        assertEq(dear.balanceOf(alice), 941_480_150);
        _assertNoneLeft(dear);
        _assertNothingLeft();
    }

    function test_fees_on_entry_and_exit_are_the_vaults() public {
        _setFlowFees(100, 50);
        IZap.In memory z = _fromUsdc(1_010e6);
        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);
        assertEq(vault.held(), _amounts(25.2525e18, 0.757575e8, 20_202e6));
        assertEq(_balances(alice), _amounts());

        IZap.Out memory out = _toUsdc(0);
        out.shares = 1e18;
        _approve(MockToken(address(vault)), alice, address(zap), 1e18);
        uint256[] memory given = vault.previewRedeemInKind(1e18);
        vm.prank(alice);
        // At the pools, rounded down by each.
        assertEq(zap.zapOut(out), given[USDC] + given[WETH] * 2_000e6 / 1e18 + given[WBTC] * 40_000e6 / 1e8);
        _assertNothingLeft();
    }

    function testFuzz_a_deposit_mints_the_most_that_any_entry_fee_allows(uint256 amount, uint256 entryBps) public {
        _setFlowFees(uint16(bound(entryBps, 0, 200)), 0);
        IZap.In memory z = _fromUsdc(bound(amount, 1e6, 1_000_000e6));
        vm.prank(alice);
        uint256 shares = zap.zapIn(z);

        // One part in a million more would have asked for more of some token than alice has left.
        uint256[] memory asked = vault.previewMintInKind(shares / 1e6 + 1);
        uint256[] memory left = _balances(alice);
        assertTrue(asked[0] > left[0] || asked[1] > left[1] || asked[2] > left[2]);
        _assertNothingLeft();
    }

    function test_a_vault_of_the_factory_is_approved_once() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        vm.prank(alice);
        zap.zapIn(z);
        for (uint256 i; i < 3; ++i) {
            assertEq(tokens[i].allowance(address(zap), address(vault)), type(uint256).max);
        }

        z = _fromUsdc(1_000e6);
        vm.expectCall(address(tokens[WETH]), abi.encodePacked(tokens[WETH].approve.selector), 0);
        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);
        _assertNothingLeft();
    }

    function test_a_standing_approval_moves_nothing_that_lies_in_the_zap() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        vm.prank(alice);
        zap.zapIn(z);
        tokens[WETH].mint(address(zap), 1e18); // somebody's mistake
        tokens[WBTC].mint(address(zap), 1e8);
        tokens[USDC].mint(address(zap), 1_000e6);

        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 0.25e18)
        );
        vault.mintInKind(1e18, bob, _amounts(1e18, 1e8, 1_000e6));
        assertEq(_balances(address(zap)), _amounts(1e18, 1e8, 1_000e6));
    }

    /* HELPERS */

    function _setFlowFees(uint16 entryBps, uint16 exitBps) private {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(0, 0, entryBps, exitBps), treasury);
    }

    /// @dev A dollar of 18 decimals that is in no basket, and its pools with USDC and WBTC.
    function _middle() private returns (MockToken middle, MockPool withUsdc, MockPool withWbtc) {
        middle = new MockToken("Middle", "MID", 18);
        withUsdc = new MockPool(middle, tokens[USDC], 1e6);
        withWbtc = new MockPool(middle, tokens[WBTC], 1e18 * 1e8 / 40_000e18);
    }
}

/// @notice Gives what is requested.
contract Giver {
    function give(MockToken token, uint256 amount) external {
        token.mint(msg.sender, amount);
    }
}
