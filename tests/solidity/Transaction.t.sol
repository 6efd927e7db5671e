// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { Base } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice What one transaction may do to a vault, in which order. The attacker is a contract with borrowed tokens that may call
/// everything: it is a keeper, and the account that executes what the owner scheduled.
contract TransactionTest is Base {
    uint256 internal constant GIFT = 10_000e6;
    uint256 internal constant BORROWED = 99 * INITIAL_SHARES; // of 100: 9,900 of the gift

    address internal attacker;

    function setUp() public override {
        super.setUp();
        attacker = address(executor);
        vm.startPrank(owner);
        manager.grantRole(manager.ADMIN_ROLE(), attacker, 0);
        manager.grantRole(KEEPER_ROLE, attacker, 0);
        vm.stopPrank();
        uint256[] memory cost = vault.previewMintInKind(BORROWED);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(attacker, 2 * cost[i]);
            _approve(tokens[i], attacker, address(vault), type(uint256).max);
        }
    }

    /* A GIFT */

    /// @dev All six orders of mint, absorb and redeem: whatever is refused, the rest goes on, and nothing is made by it.
    function test_no_order_of_mint_absorb_and_redeem_takes_a_part_of_a_gift() public {
        uint8[3][6] memory orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for (uint256 i; i < 6; ++i) {
            uint256 snapshot = vm.snapshotState();
            uint256[] memory before = _balances(attacker);
            tokens[USDC].mint(address(vault), GIFT);
            ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](3);
            for (uint256 j; j < 3; ++j) {
                steps[j] = _part(orders[i][j]);
            }
            new Persistent().run(executor, steps);

            uint256[] memory back = vault.previewRedeemInKind(vault.balanceOf(attacker));
            for (uint256 j; j < 3; ++j) {
                assertLe(tokens[j].balanceOf(attacker) + back[j], before[j], vm.toString(i));
            }
            vm.revertToState(snapshot);
        }
    }

    function test_mint_then_absorb_in_one_transaction_is_refused() public {
        tokens[USDC].mint(address(vault), GIFT);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](3);
        steps[0] = _part(0);
        steps[1] = _refused(address(vault), _part(1).data, _same());
        steps[2] = _part(2);

        executor.run(steps);

        assertEq(tokens[USDC].balanceOf(attacker), 2 * 20_000e6 * 99, "9,900 dollars more otherwise");
        assertEq(vault.held()[USDC], 20_000e6);
    }

    function test_absorb_then_mint_in_one_transaction_is_refused() public {
        tokens[USDC].mint(address(vault), GIFT);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        steps[0] = _part(1);
        steps[1] = _refused(address(vault), _part(0).data, _same());

        executor.run(steps);

        assertEq(vault.held()[USDC], 20_000e6 + GIFT);
        assertEq(vault.balanceOf(attacker), 0);
    }

    function test_redeem_then_absorb_in_one_transaction_is_refused() public {
        _give(10e18);
        tokens[USDC].mint(address(vault), GIFT);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        steps[0] = _redeeming(10e18);
        steps[1] = _refused(address(vault), _part(1).data, _same());

        executor.run(steps);

        assertEq(vault.held()[USDC], 18_000e6);
    }

    function test_absorb_then_redeem_in_one_transaction_pays_what_was_the_holders() public {
        _give(10e18);
        tokens[USDC].mint(address(vault), GIFT);
        uint256 before = tokens[USDC].balanceOf(attacker);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        steps[0] = _part(1);
        steps[1] = _redeeming(10e18);

        executor.run(steps);

        assertEq(tokens[USDC].balanceOf(attacker) - before, (20_000e6 + GIFT) / 10);
    }

    function test_each_in_a_transaction_of_its_own_passes() public {
        tokens[USDC].mint(address(vault), GIFT);
        uint256 before = tokens[USDC].balanceOf(attacker);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
        for (uint256 i; i < 3; ++i) {
            steps[0] = _part(i);
            executor.run(steps);
        }
        assertEq(vault.balanceOf(attacker), 0);
        assertEq(tokens[USDC].balanceOf(attacker) - before, GIFT * 99 / 100, "it waited for the gift, as anybody may");
    }

    /* A TRADE */

    function test_redeem_after_a_rebalance_in_one_transaction_pays_out() public {
        _give(10e18);
        _breakBand();
        uint256[] memory before = _balances(attacker);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](3);
        steps[0] = _trading("");
        steps[1] = _redeeming(10e18);
        steps[2] = _refused(address(vault), _part(0).data, _same());

        executor.run(steps);

        assertEq(vault.balanceOf(attacker), 0);
        for (uint256 i; i < 3; ++i) {
            uint256 sold = i == WETH ? 2.083e18 : 0;
            assertApproxEqAbs(tokens[i].balanceOf(attacker) - before[i] - sold, vault.held()[i] / 9, 1);
        }
    }

    function test_a_rebalance_after_a_mint_or_a_redemption_in_one_transaction_is_refused() public {
        _give(10e18);
        _breakBand();
        for (uint256 i; i < 2; ++i) {
            ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
            steps[0] = i == 0 ? _part(0) : _redeeming(1e18);
            steps[1] = _trading(_same());
            executor.run(steps);
        }
        assertEq(vault.state().rebalancedAt, 0);
    }

    function test_redeem_from_inside_a_rebalance_is_refused() public {
        _give(10e18);
        _breakBand();
        ScriptedExecutor.Step[] memory inner = new ScriptedExecutor.Step[](3);
        inner[0] = _refused(address(vault), _redeeming(1e18).data, _reentrant());
        ScriptedExecutor.Step[] memory bring = _bring(_amounts(0, 0.075e8 - 1, 1_999e6 + 1e6 - 1));
        (inner[1], inner[2]) = (bring[0], bring[1]);
        vm.prank(keeper);
        vault.rebalance(
            0, _amounts(2.083e18, 0, 0), _amounts(0, 0.075e8 - 1, 1_999e6 + 1e6 - 1), attacker, abi.encode(inner)
        );
        assertEq(vault.balanceOf(attacker), 10e18);
    }

    /* INSIDE */

    /// @dev 0: mint; 1: absorb; 2: redeem what was minted.
    function _part(uint256 what) internal view returns (ScriptedExecutor.Step memory) {
        if (what == 1) return _step(address(vault), abi.encodeCall(IVaultExtension.absorb, (USDC, GIFT)));
        if (what == 2) return _redeeming(BORROWED);
        uint256[] memory most = _amounts(type(uint128).max, type(uint128).max, type(uint128).max);
        return _step(address(vault), abi.encodeCall(IVaultCore.mintInKind, (BORROWED, attacker, most)));
    }

    function _redeeming(uint256 shares) internal view returns (ScriptedExecutor.Step memory) {
        bytes memory data = abi.encodeCall(IVaultCore.redeemInKind, (shares, attacker, attacker, _amounts()));
        return _step(address(vault), data);
    }

    /// @dev The fair rebalance after a band broke.
    function _trading(bytes memory refusal) internal view returns (ScriptedExecutor.Step memory) {
        uint256[] memory buys = _amounts(0, 0.075e8 - 1, 1_999e6 + 1e6 - 1);
        bytes memory data = abi.encodeCall(
            IVaultCore.rebalance, (0, _amounts(2.083e18, 0, 0), buys, attacker, abi.encode(_bring(buys)))
        );
        return _refused(address(vault), data, refusal);
    }

    function _same() internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IVaultBase.SameTransaction.selector);
    }

    function _give(uint256 shares) internal {
        vm.prank(creator);
        vault.transfer(attacker, shares);
    }
}

/// @notice Goes on when a step is refused.
contract Persistent {
    function run(ScriptedExecutor attacker, ScriptedExecutor.Step[] memory steps) external {
        for (uint256 i; i < steps.length; ++i) {
            ScriptedExecutor.Step[] memory one = new ScriptedExecutor.Step[](1);
            one[0] = steps[i];
            try attacker.run(one) { } catch { }
        }
    }
}
