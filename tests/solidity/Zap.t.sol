// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { Zap } from "../../contracts/Zap.sol";
import { IBasketVault } from "../../contracts/interfaces/IBasketVault.sol";
import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { PausableToken } from "../../contracts/mocks/PausableToken.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { MockPool, MockWeth } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";

/// @notice Zap: one token (or ether) in, shares out, and back, at the caller's own slippage and with nothing left behind.
///
/// WETH costs 2,000 USDC and WBTC 40,000 USDC at the pools, which take no fee, so 1,000 dollars are a share.
contract ZapTest is Base {
    Zap internal zap;
    IExecutor internal routes;
    MockPool internal wethPool; // WETH / USDC
    MockPool internal wbtcPool; // WBTC / USDC

    function setUp() public override {
        super.setUp();
        // The scene's WETH is wrapped ether here.
        MockWeth weth = new MockWeth();
        feeds[WETH] = _addAsset(weth, 2_000e8);
        tokens[WETH] = weth;
        tokens.pop();
        feeds.pop();
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        routes = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        zap = Zap(payable(deployCode("Zap.sol:Zap", abi.encode(routes, weth))));
        wethPool = new MockPool(tokens[WETH], tokens[USDC], 2_000e6);
        wbtcPool = new MockPool(tokens[WBTC], tokens[USDC], 40_000e6 * 1e18 / 1e8);
        vm.deal(address(weth), 1_000e18);
        vm.deal(alice, 10e18);
    }

    /* REFUSALS: IN */

    function test_a_deposit_past_its_deadline_is_refused() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        skip(1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.DeadlinePassed.selector, z.deadline, z.deadline + 1));
        zap.zapIn(z);
    }

    function test_a_deposit_of_nothing_is_refused() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        z.amountIn = 0;
        vm.prank(alice);
        vm.expectRevert(Zap.ZeroAmount.selector);
        zap.zapIn(z);
    }

    function test_a_deposit_that_swaps_more_than_it_has_is_refused() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        z.swapAmount = z.amountIn + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.SwapAboveAmount.selector, 1_000e6 + 1, 1_000e6));
        zap.zapIn(z);
    }

    function test_a_deposit_with_another_value_than_it_says_is_refused() public {
        Zap.In memory ether_ = _fromEther(1e18);
        Zap.In memory usdc = _fromUsdc(1_000e6);

        vm.startPrank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.ValueMismatch.selector, 1e18 - 1, 1e18));
        zap.zapIn{ value: 1e18 - 1 }(ether_);
        vm.expectRevert(abi.encodeWithSelector(Zap.ValueMismatch.selector, 1, 0));
        zap.zapIn{ value: 1 }(usdc);
        vm.stopPrank();
    }

    function test_a_deposit_that_yields_too_few_shares_is_refused() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        z.minShares = 1e18 + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.SharesBelowMinimum.selector, 1e18, 1e18 + 1));
        zap.zapIn(z);

        z.minShares = 0;
        z.swapAmount = 0;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.SharesBelowMinimum.selector, 0, 0));
        zap.zapIn(z);
        assertEq(tokens[USDC].balanceOf(alice), 1_000e6);
    }

    function test_a_deposit_without_allowance_is_refused() public {
        Zap.In memory z = _fromUsdc(1_000e6);
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
        assertEq(answer, abi.encodeWithSelector(Zap.UnexpectedEther.selector, alice));
    }

    /* REFUSALS: OUT */

    function test_a_withdrawal_past_its_deadline_is_refused() public {
        Zap.Out memory z = _toUsdc(1e18);
        skip(1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.DeadlinePassed.selector, z.deadline, z.deadline + 1));
        zap.zapOut(z);
    }

    function test_a_withdrawal_that_yields_too_little_is_refused() public {
        Zap.Out memory z = _toUsdc(1e18);
        z.minAmountOut = 1_000e6 + 1;
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Zap.AmountOutBelowMinimum.selector, 1_000e6, 1_000e6 + 1));
        zap.zapOut(z);
        assertEq(vault.balanceOf(alice), 1e18);
    }

    function test_a_withdrawal_of_anothers_shares_is_impossible() public {
        Zap.Out memory z = _toUsdc(1e18); // alice approved the zap
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1e18));
        zap.zapOut(z);
    }

    /* SUCCESS */

    function test_a_deposit_of_one_token_becomes_shares() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        z.receiver = bob;

        vm.expectEmit(address(zap));
        emit Zap.ZappedIn(address(vault), alice, bob, address(tokens[USDC]), 1_000e6, 1e18);
        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(vault.balanceOf(bob), 1e18);
        assertEq(vault.held(), _amounts(25.25e18, 0.7575e8, 20_200e6));
        assertEq(_balances(alice), _amounts());
        _assertNothingLeft();
    }

    function test_a_deposit_returns_what_was_not_needed() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        // 100 more than a share takes, and a swap that is a little wrong: 0.26 WETH instead of 0.25.
        tokens[USDC].mint(alice, 120e6);
        _approve(tokens[USDC], alice, address(zap), 1_120e6);
        (z.amountIn, z.swapAmount) = (1_120e6, 820e6);
        z.route = bytes.concat(
            Routes.v3(tokens[USDC], 520e6, address(wethPool), 0), Routes.v3(tokens[USDC], 300e6, address(wbtcPool), 0)
        );

        vm.prank(alice);
        assertEq(zap.zapIn(z), 1e18);

        assertEq(_balances(alice), _amounts(0.01e18, 0, 100e6));
        _assertNothingLeft();
    }

    function test_a_deposit_of_ether_becomes_shares_and_returns_ether() public {
        Zap.In memory z = _fromEther(0.6e18);

        vm.prank(alice);
        assertEq(zap.zapIn{ value: 0.6e18 }(z), 1e18);

        assertEq(vault.balanceOf(alice), 1e18);
        // 0.25 kept, 0.25 swapped for 500 dollars; the rest comes back.
        assertEq(alice.balance, 10e18 - 0.5e18);
        assertEq(_balances(alice), _amounts());
        _assertNothingLeft();
    }

    function test_a_withdrawal_to_one_token_swaps_everything_else() public {
        Zap.Out memory z = _toUsdc(1e18);
        z.receiver = bob;

        vm.expectEmit(address(zap));
        emit Zap.ZappedOut(address(vault), alice, bob, address(tokens[USDC]), 1_000e6, 1e18);
        vm.prank(alice);
        assertEq(zap.zapOut(z), 1_000e6);

        assertEq(_balances(bob), _amounts(0, 0, 1_000e6));
        assertEq(vault.balanceOf(alice), 0);
        assertEq(vault.totalSupply(), INITIAL_SHARES);
        _assertNothingLeft();
    }

    function test_a_withdrawal_to_ether_unwraps() public {
        Zap.Out memory z = _toUsdc(1e18);
        z.tokenOut = zap.ETH();
        z.receiver = bob;
        z.route = bytes.concat(
            Routes.v3(tokens[WBTC], 0, address(wbtcPool), Routes.ZERO_FOR_ONE),
            Routes.v3(tokens[USDC], 0, address(wethPool), 0)
        );

        vm.prank(alice);
        assertEq(zap.zapOut(z), 0.5e18);

        assertEq(bob.balance, 0.5e18);
        _assertNothingLeft();
    }

    function test_a_withdrawal_sends_what_the_route_left_to_the_receiver() public {
        Zap.Out memory z = _toUsdc(1e18);
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
        Zap.Out memory z = Zap.Out({
            vault: vault,
            shares: 1e18,
            tokenOut: address(tokens[WETH]),
            minAmountOut: 0.25e18,
            receiver: bob,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WBTC], 0, address(wbtcPool), Routes.ZERO_FOR_ONE),
                Routes.v3(tokens[USDC], 0, address(wethPool), 0)
            )
        });

        vm.prank(alice);
        assertEq(zap.zapOut(z), 0.4e18);

        assertEq(vault.claimable(alice, address(stuck)), 200e6);
        assertEq(vault.claimable(address(zap), address(stuck)), 0);
        assertEq(tokens[WETH].balanceOf(bob), 0.4e18);
    }

    function test_in_and_out_is_never_free() public {
        Zap.In memory z = _fromUsdc(1_000e6);
        vm.prank(alice);
        uint256 shares = zap.zapIn(z);
        Zap.Out memory out = _toUsdc(0);
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
        Zap.In memory z = _fromUsdc(amount);
        uint256 forWeth = amount * bound(wethPart, 1, 60) / 100;
        uint256 forWbtc = amount * bound(wbtcPart, 1, 39) / 100;
        z.swapAmount = forWeth + forWbtc;
        z.minShares = 0;
        z.route = bytes.concat(
            Routes.v3(tokens[USDC], uint128(forWeth), address(wethPool), 0),
            Routes.v3(tokens[USDC], uint128(forWbtc), address(wbtcPool), 0)
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
            assertEq(bytes4(answer), Zap.SharesBelowMinimum.selector);
            assertLt(forWbtc, 400);
        }
        _assertNothingLeft();
    }

    /* HOSTILE VAULTS AND RECEIVERS */

    function test_a_hostile_vault_cannot_reenter() public {
        HostileVault hostile = new HostileVault(vault, zap);
        Zap.In memory z = _fromUsdc(1_000e6);
        z.vault = IBasketVault(address(hostile));

        vm.prank(alice);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        zap.zapIn(z);
    }

    /* HELPERS */

    /// @dev A fair deposit: half to WETH, 30 % to WBTC, the rest as it is.
    function _fromUsdc(uint256 amount) internal returns (Zap.In memory) {
        tokens[USDC].mint(alice, amount);
        _approve(tokens[USDC], alice, address(zap), amount);
        uint256 forWeth = amount / 2;
        uint256 forWbtc = amount * 3 / 10;
        return Zap.In({
            vault: vault,
            tokenIn: address(tokens[USDC]),
            amountIn: amount,
            swapAmount: forWeth + forWbtc,
            minShares: 0,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[USDC], uint128(forWeth), address(wethPool), 0),
                Routes.v3(tokens[USDC], uint128(forWbtc), address(wbtcPool), 0)
            )
        });
    }

    /// @dev A share needs 0.25 WETH as it is and 0.25 WETH swapped for 200 USDC and 300 dollars of WBTC; the rest is too much.
    function _fromEther(uint256 amount) internal view returns (Zap.In memory) {
        return Zap.In({
            vault: vault,
            tokenIn: address(0),
            amountIn: amount,
            swapAmount: 0.25e18,
            minShares: 1e18,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WETH], 0.25e18, address(wethPool), Routes.ZERO_FOR_ONE),
                Routes.v3(tokens[USDC], 300e6, address(wbtcPool), 0)
            )
        });
    }

    /// @dev Alice gets `shares` and wants them in USDC.
    function _toUsdc(uint256 shares) internal returns (Zap.Out memory) {
        if (shares != 0) _deposit(alice, shares);
        _approve(MockToken(address(vault)), alice, address(zap), shares);
        return Zap.Out({
            vault: vault,
            shares: shares,
            tokenOut: address(tokens[USDC]),
            minAmountOut: 0,
            receiver: alice,
            deadline: block.timestamp,
            route: bytes.concat(
                Routes.v3(tokens[WETH], 0, address(wethPool), Routes.ZERO_FOR_ONE),
                Routes.v3(tokens[WBTC], 0, address(wbtcPool), Routes.ZERO_FOR_ONE)
            )
        });
    }

    function _assertNothingLeft() internal view {
        address[2] memory places = [address(zap), address(routes)];
        for (uint256 i; i < 2; ++i) {
            for (uint256 j; j < tokens.length; ++j) {
                assertEq(tokens[j].balanceOf(places[i]), 0);
            }
            assertEq(places[i].balance, 0);
            assertEq(vault.balanceOf(places[i]), 0);
        }
        for (uint256 j; j < tokens.length; ++j) {
            assertEq(tokens[j].allowance(address(zap), address(vault)), 0);
        }
    }
}

/// @notice Answers like a vault, and on mint tries to go through the zap again.
contract HostileVault {
    IBasketVault internal immutable VAULT;
    Zap internal immutable ZAP;

    constructor(IBasketVault vault, Zap zap) {
        VAULT = vault;
        ZAP = zap;
    }

    function assets() external view returns (IBasketVault.Asset[] memory) {
        return VAULT.assets();
    }

    function held() external view returns (uint256[] memory) {
        return VAULT.held();
    }

    function totalSupply() external view returns (uint256) {
        return VAULT.totalSupply();
    }

    function previewMintInKind(uint256 shares) external view returns (uint256[] memory) {
        return VAULT.previewMintInKind(shares);
    }

    function mintInKind(uint256, address, uint256[] calldata) external returns (uint256[] memory) {
        ZAP.zapOut(Zap.Out(VAULT, 1, address(0), 0, address(this), block.timestamp, ""));
        return new uint256[](0);
    }
}
