// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { Base, IVaultFactory } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice A vault that everybody has left, and that somebody comes to later: what rounding left to the locked shares is no gain, and the
/// basket keeps its proportions.
contract EmptiedTest is Base {
    uint256 internal constant PERIOD = 30 days;
    uint256 internal constant MILLION_E18 = 1_000_000e18;

    function setUp() public override {
        super.setUp();
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        p.fees.performanceBps = 2_000;
        vault = _createVault(p);
        _pass(PERIOD);
        vault.collectPerformanceFee();
        assertEq(vault.performance().highWaterE18, 1_000e18);
    }

    /* THE ISSUE'S OWN */

    function test_an_emptied_vault_that_is_refilled_is_charged_nothing() public {
        _redeem(creator, _unlocked());
        _depositWorth(alice, MILLION_E18);
        _settleTwice();

        assertEq(vault.balanceOf(treasury), 0, "199,960 dollars of fee otherwise");
        assertApproxEqRel(_worthOfE18(vault.previewRedeemInKind(vault.balanceOf(alice))), MILLION_E18, 0.001e18);
    }

    function test_an_emptied_vault_keeps_its_proportions() public {
        _redeem(creator, _unlocked());
        assertApproxEqRel(_partE18(WETH), 0.5e18, 0.001e18);
        assertApproxEqRel(_partE18(WBTC), 0.3e18, 0.001e18, "99.75 % otherwise");
        assertApproxEqRel(_partE18(USDC), 0.2e18, 0.001e18);

        _depositWorth(alice, MILLION_E18);
        assertApproxEqRel(_partE18(WBTC), 0.3e18, 0.001e18);
    }

    function test_a_share_of_an_emptied_vault_is_worth_what_it_was() public {
        uint256 before = _worthOfE18(vault.previewMintInKind(1e18));
        _redeem(creator, _unlocked());
        assertApproxEqRel(_worthOfE18(vault.previewMintInKind(1e18)), before, 0.001e18);
    }

    /* OTHERS OF THE SAME KIND */

    /// @dev An attacker mints and redeems a unit of a share, a thousand times: each time the vault keeps a unit of everything.
    function test_rounding_up_an_emptied_vault_charges_whoever_comes_nothing() public {
        _redeem(creator, _unlocked());
        uint256 before = _worthOfE18(vault.previewMintInKind(1e18));
        _roundUp(1_000);
        assertGt(_worthOfE18(vault.previewMintInKind(1e18)), before * 5 / 4, "a share seems to have gained");
        _depositWorth(alice, MILLION_E18);

        _settleTwice();

        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev The same, and a settlement between the steps: the mark of the emptied vault, and then the gain.
    function test_rounding_up_after_a_settlement_of_the_emptied_vault_charges_nothing_either() public {
        _redeem(creator, _unlocked());
        _pass(PERIOD);
        vault.collectPerformanceFee();
        _roundUp(1_000);
        _depositWorth(alice, MILLION_E18);

        _settleTwice();

        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev What the fee on exit leaves to the locked shares is no gain of those who come later.
    function test_an_exit_fee_left_to_the_locked_shares_charges_whoever_comes_nothing() public {
        vm.prank(owner);
        vault.setFees(IVaultBase.Fees(0, 2_000, 0, 200), treasury);
        _redeem(creator, _unlocked());
        assertGt(_worthOfE18(vault.previewMintInKind(1e18)), 1_000_000e18, "2 % of everything, for next to no shares");
        _depositWorth(alice, MILLION_E18);

        _settleTwice();

        assertEq(vault.balanceOf(treasury), 0);
    }

    /// @dev Any seed, any number of leavers, any newcomer, some rounding: nothing is charged while prices stand still.
    function testFuzz_no_vault_that_was_emptied_and_refilled_is_charged(
        uint256 seed,
        uint256 leavers,
        uint256 rounds,
        uint256 worthE18
    ) public {
        uint256 scale = 10 ** (seed % 5); // of USDC: 20,000 dollars, down to 2
        IVaultFactory.Params memory p =
            _params(_config(), _amounts(25e18 / scale, seed % 2 == 0 ? 0 : 75e8 / scale, 20_000e6 / scale));
        p.fees.performanceBps = 2_000;
        p.initialShares = 1e8 + (seed >> 8) % 1e22;
        vault = _createVault(p);
        _pass(PERIOD);
        vault.collectPerformanceFee();
        uint256 all = _unlocked();
        leavers = bound(leavers, 1, 5);
        for (uint256 i = leavers; i > 0; --i) {
            _redeem(creator, i == 1 ? vault.balanceOf(creator) : all / leavers);
        }
        assertEq(vault.totalSupply(), vault.balanceOf(LOCKED));
        for (uint256 i; i < 3; ++i) {
            if (p.seedAmounts[i] != 0) assertGe(vault.held()[i], 1_000);
        }
        _roundUp(bound(rounds, 0, 20));
        _depositWorth(alice, bound(worthE18, 1e18, 1_000 * MILLION_E18));

        _settleTwice();

        assertEq(vault.balanceOf(treasury), 0);
    }

    /* INSIDE */

    /// @dev The recipient settles as soon and as often as it may.
    function _settleTwice() internal {
        for (uint256 i; i < 2; ++i) {
            _pass(PERIOD);
            vault.collectPerformanceFee();
        }
    }

    function _depositWorth(address holder, uint256 worthE18) internal {
        uint256 aShare = _worthOfE18(vault.previewMintInKind(1e18));
        _deposit(holder, worthE18 * 1e18 / aShare);
    }

    /// @dev In one transaction, repeated: a unit of a share, and back.
    function _roundUp(uint256 times) internal {
        if (times == 0) return;
        address mill = address(executor);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2 * times + 3);
        uint256[] memory most = _amounts(type(uint128).max, type(uint128).max, type(uint128).max);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(mill, 1e30);
            steps[i] = _step(address(tokens[i]), abi.encodeCall(IERC20.approve, (address(vault), 1e30)));
        }
        for (uint256 i; i < times; ++i) {
            steps[2 * i + 3] = _step(address(vault), abi.encodeCall(IVaultCore.mintInKind, (1, mill, most)));
            steps[2 * i + 4] =
                _step(address(vault), abi.encodeCall(IVaultCore.redeemInKind, (1, mill, mill, _amounts())));
        }
        executor.run(steps);
    }

    /// @dev {usd18} of amounts, at the prices of the scene.
    function _worthOfE18(uint256[] memory amounts) internal pure returns (uint256) {
        return amounts[WETH] * 2_000 + amounts[WBTC] * 40_000e10 + amounts[USDC] * 1e12;
    }

    /// @dev An asset's part of the basket.
    function _partE18(uint256 asset) internal view returns (uint256) {
        uint256[] memory only = new uint256[](3);
        only[asset] = vault.held()[asset];
        return _worthOfE18(only) * E18 / _worthOfE18(vault.held());
    }
}
