// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { CallbackToken, NoReturnToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice Answers as a hub does; once it was told what to expect, only that, to the byte.
contract StrictHub {
    IOracleHub internal immutable hub;
    bytes32 internal expected;

    constructor(IOracleHub hub_) {
        hub = hub_;
    }

    function expect(bytes calldata words) external {
        expected = keccak256(words);
    }

    function prices(address[] calldata tokens) external view returns (IOracleHub.Price[] memory) {
        require(expected == 0 || keccak256(msg.data) == expected, "other words");
        return hub.prices(tokens);
    }
}

/// @notice rebalance: every rule, one unit inside and one unit outside.
///
/// Most tests stand after `_breakBand` (WETH 2,400): V = 110,000, distances +5,000, -3,000, -2,000, surplus 2.08333 WETH.
/// The fair trade is 2 WETH (4,800) for 0.0705 WBTC (2,820) and 1,980 USDC.
contract RebalanceTest is Base {
    /* REFUSALS: BEFORE ANYTHING MOVES */

    function test_rebalance_by_a_stranger_is_refused() public {
        _breakBand();
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
        vault.rebalance(0, _amounts(), _amounts(), address(executor), "");
    }

    function test_rebalance_while_paused_is_refused_until_resumed() public {
        _breakBand();
        vm.prank(guardian);
        vault.pauseRebalance();

        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        _tradeFairly(0);

        vm.prank(owner);
        vault.resumeRebalance();
        _tradeFairly(0);
    }

    function test_rebalance_of_another_epoch_is_refused() public {
        _breakBand();
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.WrongEpoch.selector, 1, 0));
        _tradeFairly(1);

        _tradeFairly(0);
        _pass(600);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.WrongEpoch.selector, 0, 1));
        _tradeFairly(0);
    }

    function test_rebalance_before_the_cooldown_is_over_is_refused() public {
        _breakBand();
        _tradeFairly(0);
        uint256 until = block.timestamp + 600;

        _pass(599);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.CooldownActive.selector, until));
        _tradeFairly(1);

        _pass(1);
        vm.expectRevert(RebalancePolicy.NoBandBroken.selector);
        _tradeFairly(1);
    }

    function test_rebalance_with_any_oracle_fault_is_refused_and_names_the_asset() public {
        _breakBand();

        feeds[WBTC].setFailing(true);
        _expectFault(WBTC, IOracleHub.Fault.CallFailed);
        feeds[WBTC].setFailing(false);

        feeds[USDC].push(0);
        _expectFault(USDC, IOracleHub.Fault.NotPositive);
        feeds[USDC].push(-1);
        _expectFault(USDC, IOracleHub.Fault.NotPositive);
        feeds[USDC].push(type(int192).max);
        _expectFault(USDC, IOracleHub.Fault.OutOfRange);
        feeds[USDC].push(1e8);

        feeds[WETH].pushAt(2_400e8, uint64(block.timestamp - HEARTBEAT_SECONDS - 1));
        _expectFault(WETH, IOracleHub.Fault.Stale);
        feeds[WETH].pushAt(2_400e8, uint64(block.timestamp + 1));
        _expectFault(WETH, IOracleHub.Fault.Stale);
        feeds[WETH].pushAt(2_400e8, uint64(block.timestamp - HEARTBEAT_SECONDS));
        _tradeFairly(0);

        vm.prank(guardian);
        oracle.removeFeed(address(tokens[WETH]));
        _pass(600);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, WETH, IOracleHub.Fault.NoFeed));
        _tradeFairly(1);
    }

    function test_rebalance_while_every_weight_is_inside_its_band_is_refused() public {
        vm.expectRevert(RebalancePolicy.NoBandBroken.selector);
        _tradeFairly(0);

        // 52 % of 104,166.67 is WETH when it costs 2,166.67: exactly on the band is inside it.
        // {usd}: 25 p / (25 p + 50,000) = 0.52 -> p = 52,000 / 24 = 2,166.666...
        _setPrice(WETH, 2_166_66666666);
        vm.expectRevert(RebalancePolicy.NoBandBroken.selector);
        _tradeFairly(0);
        _setPrice(WETH, 2_166_66666667);
        _rebalance(_amounts(0.96e18, 0, 0), _amounts(0, 0.031e8, 839e6), 0);
    }

    function test_rebalance_of_a_basket_worth_too_much_is_refused() public {
        vault = _createVault(_config(), _amounts(1 << 112, 1e8, 1e6));
        // {usd18} = 2^112 * 2,000e18 / 1e18
        uint256 worth = 2_000 << 112;

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TotalOutOfRange.selector, worth, 1 << 120));
        _tradeFairly(0);
    }

    function test_rebalance_of_a_basket_worth_nothing_is_refused() public {
        _emptyLedger();

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TotalOutOfRange.selector, 0, 1 << 120));
        _tradeFairly(0);
    }

    function test_rebalance_with_an_array_of_another_length_is_refused() public {
        _breakBand();
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        _rebalance(_amounts(2e18, 0), _amounts(), 0);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        _rebalance(_amounts(), _amounts(0, 1), 0);
    }

    function test_rebalance_that_asks_to_sell_more_than_the_surplus_sells_the_surplus() public {
        _breakBand();
        uint256 surplus = 2_083333333333333333; // 5,000 / 2,400, rounded down
        uint256[4] memory asked = [surplus, surplus + 1, 25e18, type(uint256).max];
        for (uint256 i; i < asked.length; ++i) {
            uint256 snapshot = vm.snapshotState();
            _rebalance(_amounts(asked[i], 0, 0), _amounts(0, 0.075e8, 2_000e6), 0);
            assertEq(vault.held(), _amounts(25e18 - surplus, 0.825e8, 22_000e6));
            assertEq(tokens[WETH].balanceOf(address(executor)), surplus);
            vm.revertToState(snapshot);
        }
    }

    function test_rebalance_that_sells_what_is_not_in_surplus_is_refused() public {
        _breakBand();
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.SaleWithoutSurplus.selector, WBTC));
        _rebalance(_amounts(0, 1, 0), _amounts(), 0);
    }

    function test_rebalance_that_buys_what_is_not_in_deficit_is_refused() public {
        _breakBand();
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.BuyWithoutDeficit.selector, WETH));
        _rebalance(_amounts(), _amounts(1, 0, 0), 0);

        // At target to the unit: WETH 2,400 and WBTC 44,000 leave WBTC (33,000 of 113,000 = 29.2 %) below, so move it to
        // 30 % of the whole: 0.75 p = 0.3 (80,000 + 0.75 p) -> p = 45,714.2857..., one unit above is a surplus of dust.
        _setPrice(WBTC, 45_714_28571429);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.BuyWithoutDeficit.selector, WBTC));
        _rebalance(_amounts(), _amounts(0, 1, 0), 0);
    }

    /* REFUSALS: LOSSES */

    /// @dev 400 USDC are lost. On the old contracts the keeper bought as many again, and again after the next loss.
    function test_rebalance_that_buys_what_was_lost_is_refused_until_the_owner_allows_it() public {
        tokens[USDC].burn(address(vault), 400e6);
        vault.sync(USDC);
        _breakBand();
        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        _tradeFairly(0);
        vm.prank(owner);
        vault.resumeRebalance();
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.PurchaseBarred.selector, USDC));
        _tradeFairly(0);

        uint256 snapshot = vm.snapshotState();
        _rebalance(_amounts(1.2e18, 0, 0), _amounts(0, 0.072e8, 0), 0);
        vm.revertToState(snapshot);
        vm.prank(owner);
        vault.allowPurchases(USDC);
        _tradeFairly(0);
    }

    /// @dev Of an asset it trades, by a unit. One it does not trade is not asked.
    function test_rebalance_while_a_loss_is_not_written_down_is_refused() public {
        _breakBand();
        uint256 snapshot = vm.snapshotState();
        for (uint256 i; i < 3; ++i) {
            tokens[i].burn(address(vault), 1);
            uint256 owed = vault.held()[i];
            vm.expectRevert(abi.encodeWithSelector(IVaultBase.LossNotWrittenDown.selector, i, owed - 1, owed));
            _tradeFairly(0);
            vault.sync(i);
            _tradeFairly(0);
            vm.revertToState(snapshot);
        }
        tokens[USDC].burn(address(vault), 1);
        _rebalance(_amounts(1.24e18, 0, 0), _amounts(0, 0.0744e8, 0), 0);
    }

    /* REFUSALS: THE EXECUTOR */

    function test_rebalance_through_a_token_of_the_basket_is_refused() public {
        _breakBand();
        for (uint256 i; i < 3; ++i) {
            vm.prank(keeper);
            vm.expectRevert(abi.encodeWithSelector(IVaultBase.BadExecutor.selector, address(tokens[i])));
            vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(tokens[i]), "");
        }
    }

    function test_rebalance_through_nobody_or_the_vault_is_refused() public {
        _breakBand();
        address[2] memory nobody = [stranger, address(vault)];
        for (uint256 i; i < 2; ++i) {
            vm.prank(keeper);
            vm.expectRevert(bytes(""));
            vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), nobody[i], "");
        }
    }

    function test_rebalance_whose_executor_fails_passes_its_error_on() public {
        _breakBand();
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
        steps[0] = _step(address(oracle), hex"deadbeef");

        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(ScriptedExecutor.UnexpectedOutcome.selector, 0, false, ""));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(executor), abi.encode(steps));
    }

    function test_rebalance_whose_executor_takes_the_money_is_refused() public {
        _breakBand();
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, WBTC, 0, 1));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 0), address(executor), _nothing());
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 0, 4_795.2e18));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(), address(executor), _nothing());
    }

    function test_rebalance_that_brings_less_than_the_keeper_asked_is_refused() public {
        _breakBand();
        bytes memory route = abi.encode(_bring(_amounts(0, 0.0705e8, 1_980e6)));

        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, USDC, 1_980e6, 1_980e6 + 1));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_980e6 + 1), address(executor), route);
    }

    function test_rebalance_lets_the_executor_reenter_nothing() public {
        _deposit(address(executor), 1e18);
        _breakBand();
        vm.startPrank(owner);
        manager.grantRole(0, address(executor), 0);
        manager.grantRole(CURATOR_ROLE, address(executor), 0);
        manager.grantRole(GUARDIAN_ROLE, address(executor), 0);
        manager.grantRole(KEEPER_ROLE, address(executor), 0);
        vm.stopPrank();
        bytes[] memory calls = _everyChange(address(executor));
        ScriptedExecutor.Step[] memory fair = _bring(_fairBuys());
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](calls.length + fair.length);
        for (uint256 i; i < calls.length; ++i) {
            steps[i] = _refused(address(vault), calls[i], _reentrant());
        }
        for (uint256 i; i < fair.length; ++i) {
            steps[calls.length + i] = fair[i];
        }

        // Every step must be refused for re-entry, or the executor reverts and so does this.
        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _fairBuys(), address(executor), abi.encode(steps));

        assertEq(vault.state().epoch, 1);
    }

    /// @dev A call of every function that changes state.
    function _everyChange(address self) internal view returns (bytes[] memory calls) {
        uint256[] memory three = _amounts();
        IVaultBase.Auction memory terms;
        calls = new bytes[](28);
        calls[0] = abi.encodeCall(IVaultCore.mintInKind, (1, self, three));
        calls[1] = abi.encodeCall(IVaultCore.redeemInKind, (1, self, self, three));
        calls[2] = abi.encodeCall(IVaultExtension.claim, (self, address(tokens[0]), self, type(uint256).max));
        calls[3] = abi.encodeCall(IVaultCore.poke, ());
        calls[4] = abi.encodeCall(IVaultCore.collectFee, ());
        calls[5] = abi.encodeCall(IVaultCore.rebalance, (0, three, three, self, ""));
        calls[6] = abi.encodeCall(IVaultExtension.setTargets, (three, 0));
        calls[7] = abi.encodeCall(IVaultExtension.setPolicy, (_policy()));
        calls[8] = abi.encodeCall(IVaultExtension.setOracle, (oracle));
        calls[9] = abi.encodeCall(IVaultExtension.setFees, (IVaultBase.Fees(1, 0, 0, 0), self));
        calls[10] = abi.encodeCall(IVaultExtension.pauseRebalance, ());
        calls[11] = abi.encodeCall(IVaultExtension.resumeRebalance, ());
        calls[12] = abi.encodeCall(IVaultCore.redeemInKindExcept, (1, self, self, three, 1));
        calls[13] = abi.encodeCall(IVaultExtension.sync, (0));
        calls[14] = abi.encodeCall(IVaultExtension.absorb, (0, 1));
        calls[15] = abi.encodeCall(IVaultExtension.startAuction, (WETH, USDC, terms));
        calls[16] = abi.encodeCall(IVaultExtension.stopAuction, (WETH, USDC));
        calls[17] = abi.encodeCall(IVaultExtension.bid, (WETH, USDC, 1, 1));
        calls[18] = abi.encodeCall(IVaultExtension.collectPerformanceFee, ());
        calls[19] = abi.encodeCall(IVaultExtension.tightenPolicy, (_policy()));
        calls[20] = abi.encodeCall(IVaultExtension.lowerFees, (IVaultBase.Fees(0, 0, 0, 0)));
        calls[21] = abi.encodeCall(IVaultExtension.setBands, (_bands(1, 1, 1)));
        calls[22] = abi.encodeCall(IVaultExtension.addAsset, (self, 18, _bands(1, 1, 1)[0]));
        calls[23] = abi.encodeCall(IVaultExtension.excludeAsset, (0));
        calls[24] = abi.encodeCall(IVaultExtension.includeAsset, (0));
        calls[25] = abi.encodeCall(IVaultExtension.removeAsset, (0));
        calls[26] = abi.encodeCall(IVaultExtension.pokeAuction, (WETH, USDC));
        calls[27] = abi.encodeCall(IVaultExtension.allowPurchases, (0));
    }

    /// @dev Sold 2 WETH at 2,410, so 4,815.18 at least are due; bought 0.0725 WBTC at 39,900 and 1,924 USDC at 0.999.
    function test_sold_counts_at_the_higher_price_and_bought_at_the_lower() public {
        _breakBand();
        IOracleHub.Price[] memory prices = oracle.prices(_tokenAddresses());
        (prices[WETH].loE18, prices[WETH].hiE18) = (2_390e18, 2_410e18);
        (prices[WBTC].loE18, prices[WBTC].hiE18) = (39_900e18, 40_100e18);
        (prices[USDC].loE18, prices[USDC].hiE18) = (0.999e18, 1.001e18);
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 4_814.826e18, 4_815.18e18));
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0725e8, 1_924e6), 0);
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0725e8, 1_925e6), 0);
    }

    function test_a_token_that_is_not_traded_is_not_touched() public {
        _breakBand();
        vm.etch(address(tokens[USDC]), hex"fe");
        _rebalance(_amounts(1.24e18, 0, 0), _amounts(0, 0.0744e8, 0), 0);
    }

    function test_a_price_of_128_bits_is_a_price() public {
        for (uint256 i; i < 3; ++i) {
            IOracleHub.Price[] memory prices = oracle.prices(_tokenAddresses());
            prices[i].hiE18 = type(uint128).max;
            vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
            vault.poke();
            vm.clearMockedCalls();
        }
    }

    function test_weights_are_by_the_price_itself_whatever_the_sources_between_which_it_lies() public {
        IOracleHub.Price[] memory prices = oracle.prices(_tokenAddresses());
        (prices[WETH].loE18, prices[WETH].hiE18) = (1_000e18, 3_000e18);
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
        vault.poke();
        assertEq(vault.state().dueSince, 0);
    }

    function test_the_oracle_is_asked_in_the_abis_own_words() public {
        StrictHub strict = new StrictHub(oracle);
        vm.prank(owner);
        vault.setOracle(IOracleHub(address(strict)));
        strict.expect(abi.encodeCall(IOracleHub.prices, (_tokenAddresses())));
        vault.poke();
    }

    function test_rebalance_refuses_what_is_no_price_of_any_kind() public {
        _breakBand();
        IOracleHub.Price[] memory prices = oracle.prices(_tokenAddresses());
        for (uint256 i; i < 3; ++i) {
            for (uint256 part; part < 3; ++part) {
                IOracleHub.Price[] memory lies = abi.decode(abi.encode(prices), (IOracleHub.Price[]));
                if (part == 0) lies[i].loE18 = 1 << 128;
                else if (part == 1) lies[i].hiE18 = 1 << 128;
                else lies[i].primaryE18 = 1 << 128;
                _expectRefused(abi.encode(lies), IVaultBase.OracleFault.selector, i, IOracleHub.Fault.OutOfRange);
            }
        }
        // As many words as asked for, of which one is no head; then the right heads, and a word too few or too many.
        bytes memory answer = abi.encode(prices);
        bytes32 none = bytes32(uint256(64));
        for (uint256 head; head < 2; ++head) {
            bytes memory odd = abi.encode(prices);
            assembly ("memory-safe") {
                mstore(add(add(odd, 32), shl(5, head)), none)
            }
            _expectRefused(odd, IVaultBase.OracleFault.selector, 0, IOracleHub.Fault.CallFailed);
        }
        bytes memory shorter = abi.encode(prices);
        assembly ("memory-safe") {
            mstore(shorter, sub(mload(shorter), 32))
        }
        _expectRefused(shorter, IVaultBase.OracleFault.selector, 0, IOracleHub.Fault.CallFailed);
        _expectRefused(abi.encodePacked(answer, none), IVaultBase.OracleFault.selector, 0, IOracleHub.Fault.CallFailed);
        vm.clearMockedCalls();

        bytes memory why = abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, oracle, IOracleHub.Fault.Stale);
        vm.mockCallRevert(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), why);
        vm.expectRevert(why);
        vault.poke();
    }

    function _expectRefused(bytes memory answer, bytes4 error_, uint256 asset, IOracleHub.Fault fault) internal {
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), answer);
        vm.expectRevert(abi.encodeWithSelector(error_, asset, fault));
        vault.poke();
    }

    function _tokenAddresses() internal view returns (address[] memory list) {
        list = new address[](3);
        for (uint256 i; i < 3; ++i) {
            list[i] = address(tokens[i]);
        }
    }

    function test_rebalance_says_that_it_is_locked_while_it_runs() public {
        _breakBand();
        Witness witness = new Witness(vault, _fairBuys(), tokens);

        assertFalse(vault.locked());
        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _fairBuys(), address(witness), "");

        assertTrue(witness.sawLocked());
        assertFalse(vault.locked());
    }

    function test_rebalance_of_a_token_that_calls_back_cannot_reenter() public {
        _switchToPair(new CallbackToken("Calling", "CALL", 18));
        _setPrice(0, 2_400e8);
        // e = +2,000 WETH: sell 0.8 of it for 1,920 of the other.
        CallbackToken(address(tokens[1])).setCallback(address(vault), abi.encodeCall(IVaultCore.poke, ()));
        tokens[1].mint(address(executor), 1_920e18);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
        steps[0] = _step(address(tokens[1]), abi.encodeCall(IERC20.transfer, (address(vault), 1_920e18)));

        vm.prank(keeper);
        vm.expectPartialRevert(ScriptedExecutor.UnexpectedOutcome.selector);
        vault.rebalance(0, _amounts(0.8e18, 0), _amounts(0, 1), address(executor), abi.encode(steps));
    }

    /* REFUSALS: SAME TRANSACTION */

    function test_mint_and_rebalance_share_no_transaction_and_redeem_only_after_it() public {
        _breakBand();
        vm.prank(owner);
        manager.grantRole(KEEPER_ROLE, address(executor), 0);
        _deposit(address(executor), 2e18);
        _prepareDeposit(address(executor), 1e18);
        uint256[] memory unlimited = _amounts(type(uint256).max, type(uint256).max, type(uint256).max);
        bytes[2] memory flows = [
            abi.encodeCall(IVaultCore.mintInKind, (1e18, address(executor), unlimited)),
            abi.encodeCall(IVaultCore.redeemInKind, (1e18, address(executor), address(executor), _amounts()))
        ];
        bytes memory trade = abi.encodeCall(
            IVaultCore.rebalance,
            (0, _amounts(2e18, 0, 0), _fairBuys(), address(executor), abi.encode(_bring(_fairBuys())))
        );
        bytes memory refusal = abi.encodeWithSelector(IVaultBase.SameTransaction.selector);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        for (uint256 i; i < 2; ++i) {
            uint256 snapshot = vm.snapshotState();
            steps[0] = _step(address(vault), flows[i]);
            steps[1] = _refused(address(vault), trade, refusal);
            executor.run(steps);
            vm.revertToState(snapshot);

            steps[0] = _step(address(vault), trade);
            // Who leaves is never refused for what the transaction did before: it takes its part of what was traded, and no more.
            steps[1] = i == 0 ? _refused(address(vault), flows[i], refusal) : _step(address(vault), flows[i]);
            executor.run(steps);
            vm.revertToState(snapshot);
        }
    }

    function test_mint_in_one_vault_and_rebalance_of_another_share_a_transaction() public {
        IBasketVault first = vault;
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        uint256[] memory amounts = _prepareDeposit(address(executor), 1e18);
        _breakBand();
        vm.prank(owner);
        manager.grantRole(KEEPER_ROLE, address(executor), 0);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        steps[0] = _step(address(vault), abi.encodeCall(IVaultCore.mintInKind, (1e18, bob, amounts)));
        vault = first; // who gets what is bought
        bytes memory route = abi.encode(_bring(_fairBuys()));
        steps[1] = _step(
            address(first),
            abi.encodeCall(IVaultCore.rebalance, (0, _amounts(2e18, 0, 0), _fairBuys(), address(executor), route))
        );

        executor.run(steps);

        assertEq(first.state().epoch, 1);
    }

    /* P2: PRICE */

    function test_rebalance_at_the_worst_allowed_price_passes_and_a_unit_worse_is_refused() public {
        _breakBand();
        // 4,800 sold, 0.1 % allowed: 4,795.2 must come back, 2,820 of it in WBTC.
        uint256[] memory buys = _amounts(0, 0.0705e8, 1_975.2e6 - 1);

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 4_795.2e18 - 1e12, 4_795.2e18));
        _rebalance(_amounts(2e18, 0, 0), buys, 0);

        buys[USDC] += 1;
        _rebalance(_amounts(2e18, 0, 0), buys, 0);
        assertEq(vault.state().lossLevelE18, _up(4.8e18 * E18, 110_000e18));
    }

    function test_the_slippage_limit_climbs_from_the_poke_on() public {
        _breakBand();
        vault.poke();
        uint256[4] memory elapsed = [uint256(0), 500, 1_000, 3_000];
        // 10, 55, 100, 100 bps of 4,800
        uint256[4] memory minimum = [uint256(4_795.2e18), 4_773.6e18, 4_752e18, 4_752e18];
        for (uint256 i; i < 4; ++i) {
            uint256 snapshot = vm.snapshotState();
            _pass(elapsed[i]);
            uint256[] memory buys = _amounts(0, 0.0705e8, (minimum[i] - 2_820e18) / 1e12);

            buys[USDC] -= 1;
            vm.expectRevert(
                abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, minimum[i] - 1e12, minimum[i])
            );
            _rebalance(_amounts(2e18, 0, 0), buys, 0);
            buys[USDC] += 1;
            _rebalance(_amounts(2e18, 0, 0), buys, 0);
            vm.revertToState(snapshot);
        }
    }

    function test_the_slippage_limit_does_not_climb_while_nobody_pokes() public {
        _breakBand();
        _pass(30 days);

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 4_795.2e18 - 1e12, 4_795.2e18));
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_975.2e6 - 1), 0);
    }

    function test_rebalance_that_leaves_a_band_broken_starts_the_climb() public {
        _setPrice(WETH, 3_000e8); // V = 125,000: e = +12,500, -7,500, -5,000; turnover budget 12,500
        uint40 brokenAt = uint40(block.timestamp);
        _rebalance(_amounts(2.5e18, 0, 0), _amounts(0, 0.1125e8, 3_000e6), 0);
        assertEq(vault.state().dueSince, brokenAt);

        _pass(1_000);
        // e = +5,000, -3,000, -2,000; the limit is at its end: 1 % of 4,800 for 1.6 WETH at 3,000.
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 4_752e18 - 1e12, 4_752e18));
        _rebalance(_amounts(1.6e18, 0, 0), _amounts(0, 0.0705e8, 1_932e6 - 1), 1);
        _rebalance(_amounts(1.6e18, 0, 0), _amounts(0, 0.0705e8, 1_932e6), 1);
        assertEq(vault.state().dueSince, 0, "whole again");
    }

    /* P3: ONLY TOWARD THE TARGET */

    function test_rebalance_may_cross_a_target_by_dust_and_not_a_unit_more() public {
        _breakBand();
        // WETH 55,200, WBTC 32,580, USDC 22,220: V = 110,000, and USDC is 220 = 0.2 % of it above its 22,000.
        vm.expectRevert(
            abi.encodeWithSelector(
                RebalancePolicy.AwayFromTarget.selector, USDC, -2_000e18, 220.0000008e18, 220.000000002e18
            )
        );
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0645e8, 2_220e6 + 1), 0);

        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0645e8, 2_220e6), 0);
        assertEq(vault.held(), _amounts(23e18, 0.8145e8, 22_220e6));
    }

    function test_rebalance_may_leave_an_asset_further_away_by_dust_and_not_a_unit_more() public {
        _breakBand();
        // 1,200 sold and more bought: V grows by d, and untouched USDC falls back by 0.2 d. Dust is 0.002 (110,000 + d), so
        // d = 1,111.11 is the limit; a unit of WBTC is 0.0004.
        vm.expectRevert(
            abi.encodeWithSelector(
                RebalancePolicy.AwayFromTarget.selector, USDC, -2_000e18, -2_222.22224e18, 222.2222224e18
            )
        );
        _rebalance(_amounts(0.5e18, 0, 0), _amounts(0, 5_777_778, 0), 0);

        // One unit less passes this rule and meets the next.
        vm.expectPartialRevert(RebalancePolicy.TooLittleProgress.selector);
        _rebalance(_amounts(0.5e18, 0, 0), _amounts(0, 5_777_777, 0), 0);
    }

    /* P4: PROGRESS */

    function test_rebalance_that_halves_the_distance_passes_and_a_unit_less_is_refused() public {
        _setPrice(WETH, 2_500e8); // V = 112,500: e = +6,250, -3,750, -2,500
        vm.expectRevert(
            abi.encodeWithSelector(
                RebalancePolicy.TooLittleProgress.selector, 12_500e18, 112_500e18, 6_250.000001e18, 112_499.999999e18
            )
        );
        _rebalance(_amounts(1.25e18, 0, 0), _amounts(0, 0.05e8, 1_125e6 - 1), 0);

        _rebalance(_amounts(1.25e18, 0, 0), _amounts(0, 0.05e8, 1_125e6), 0);
    }

    function test_rebalance_that_trades_nothing_is_refused() public {
        _breakBand();
        vm.prank(keeper);
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(0, _amounts(), _amounts(), address(executor), _nothing());
        vm.prank(keeper);
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(0, _amounts(), _amounts(0, 1, 1), address(executor), abi.encode(_bring(_fairBuys())));
    }

    function test_rebalance_whose_executor_gives_everything_back_is_refused() public {
        _breakBand();
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
        steps[0] = _step(address(tokens[WETH]), abi.encodeCall(IERC20.transfer, (address(vault), 2e18)));

        vm.prank(keeper);
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(), address(executor), abi.encode(steps));
    }

    /// @dev WETH is 32.5 dollars beyond the edge of its band, less than the dust of 208.5; the rest lies inside. So there is no progress to
    /// make, and the old contracts let a rebalance pass that moved nothing: it took an epoch, and began a cooldown.
    function test_an_empty_rebalance_of_a_break_within_dust_of_its_destination_is_refused() public {
        IBasketVault.Policy memory p = _policy();
        p.destinationBps = 10_000;
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(WETH, 2_170e8);
        vault.poke();
        assertEq(vault.state().dueSince, block.timestamp);
        ScriptedExecutor.Step[] memory back = new ScriptedExecutor.Step[](1);
        back[0] = _step(address(tokens[WETH]), abi.encodeCall(IERC20.transfer, (address(vault), 0.1e18)));

        vm.startPrank(keeper);
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(1, _amounts(), _amounts(), address(executor), _nothing());
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(1, _amounts(0.1e18, 0, 0), _amounts(), address(executor), abi.encode(back));
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(1, _amounts(0.1e18, 0, 0), _amounts(0, 1, 0), address(executor), _givesBackAndBrings(back[0]));
        vm.stopPrank();

        _rebalance(_amounts(0.1e18, 0, 0), _amounts(0, 0.0054e8, 1e6), 1);
        assertEq(vault.state().dueSince, 0);
    }

    function _givesBackAndBrings(ScriptedExecutor.Step memory back) internal view returns (bytes memory) {
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](2);
        (steps[0], steps[1]) = (back, _bring(_amounts(0, 0.001e8, 0))[0]);
        return abi.encode(steps);
    }

    /* P5: LOSS BUDGET */

    function test_rebalance_may_lose_the_whole_budget_and_not_a_unit_more() public {
        _setLossBudget(3); // 33 dollars of 110,000
        _breakBand();
        vault.poke();
        _pass(1_000);
        uint256[] memory buys = _amounts(0, 0.0705e8, 1_947e6 - 1); // 33.000001 less than 4,800

        // 33.000001e18 * 1e18 / 110,000e18, rounded up
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.LossBudgetExceeded.selector, 300000009090910, 3e14));
        _rebalance(_amounts(2e18, 0, 0), buys, 1);

        buys[USDC] += 1;
        _rebalance(_amounts(2e18, 0, 0), buys, 1);
        assertEq(vault.state().lossLevelE18, 3e14);
    }

    function test_the_loss_budget_leaks_exactly() public {
        _setLossBudget(3);
        _breakBand();
        vault.poke();
        _pass(1_000);
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_947e6), 1);

        // A quarter of the period later a quarter of the budget is back.
        _setPrice(WETH, 3_000e8);
        vault.poke();
        _pass(21_600);
        // V = 69,000 + 32,820 + 21,947 = 123,767; e_WETH = +7,116.5
        uint256 most = 0.75e14 * 123_767e18 / E18 / 1e12; // in units of USDC
        uint256 sold = 2e18; // 6,000 dollars for 0.09 WBTC (3,600) and the rest in USDC
        uint256[] memory buys = _amounts(0, 0.09e8, 2_400e6 - most - 1);

        uint256 level = 2.25e14 + _up((most + 1) * 1e12 * E18, 123_767e18);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.LossBudgetExceeded.selector, level, 3e14));
        _rebalance(_amounts(sold, 0, 0), buys, 2);

        buys[USDC] += 1;
        _rebalance(_amounts(sold, 0, 0), buys, 2);
        assertLe(vault.state().lossLevelE18, 3e14);
        assertGt(vault.state().lossLevelE18, 3e14 - 1e8, "a unit of USDC is less than 1e-10 of the basket");
    }

    function test_the_loss_budget_is_empty_again_after_its_period() public {
        _breakBand();
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_975.2e6), 0);
        assertGt(vault.state().lossLevelE18, 0);

        _pass(1 days);
        _setPrice(WETH, 3_000e8);
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.09e8, 2_400e6), 1);

        assertEq(vault.state().lossLevelE18, 0);
    }

    function test_a_gain_earns_no_budget() public {
        _breakBand();
        _rebalance(_amounts(2e18, 0, 0), _amounts(0, 0.0705e8, 1_975.2e6), 0);
        uint256 level = vault.state().lossLevelE18;

        _setPrice(WETH, 3_000e8);
        skip(600);
        _refreshFeeds();
        _rebalance(_amounts(1.6e18, 0, 0), _amounts(0, 0.07e8, 2_100e6), 1); // 100 more than sold

        assertEq(vault.state().lossLevelE18, level - uint256(50e14) * 600 / 1 days);
    }

    /* P6: TURNOVER BUDGET */

    function test_rebalance_may_sell_the_whole_turnover_budget_and_not_a_unit_more() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 400;
        vm.prank(guardian);
        vault.tightenPolicy(p);
        _setPrice(WETH, 2_500e8); // V = 112,500: 4 % is 4,500 or 1.8 WETH

        uint256 snapshot = vm.snapshotState();
        _rebalance(_amounts(1.8e18 + 1, 0, 0), _amounts(0, 0.0675e8, 1_800e6), 1);
        assertLe(vault.state().turnoverLevelE18, 4e16);
        assertApproxEqAbs(vault.held()[WETH], 23.2e18, 2, "rounded down");
        vm.revertToState(snapshot);

        _rebalance(_amounts(1.8e18, 0, 0), _amounts(0, 0.0675e8, 1_800e6), 1);
        assertEq(vault.state().turnoverLevelE18, 4e16);

        // A tenth of the period later a tenth of the budget is back: 0.4 % of V.
        _setPrice(WETH, 3_000e8);
        _pass(8_640);
        // V = 69,600 + 32,700 + 21,800 = 124,100
        uint256 most = uint256(0.4e16 * 124_100) / 3_000;
        uint256[] memory buys = _amounts(0, 0.0074e8, 201e6);
        p.minProgressBps = 1; // so small a trade
        vm.prank(owner);
        vault.setPolicy(p);
        snapshot = vm.snapshotState();
        _rebalance(_amounts(most + 1, 0, 0), buys, 3);
        assertLe(vault.state().turnoverLevelE18, 4e16);
        assertApproxEqAbs(vault.held()[WETH], 23.2e18 - most, 2);
        vm.revertToState(snapshot);
        _rebalance(_amounts(most, 0, 0), buys, 3);
        assertEq(vault.held()[WETH], 23.2e18 - most);
        assertApproxEqAbs(vault.state().turnoverLevelE18, 4e16, 1);
    }

    function test_a_budget_of_zero_lets_nothing_be_sold() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 0;
        vm.prank(guardian);
        vault.tightenPolicy(p);
        _breakBand();

        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TurnoverBudgetExceeded.selector, 0, 0));
        _tradeFairly(1);
    }

    /* SUCCESS */

    function test_rebalance_moves_the_ledger_by_what_was_measured_and_says_so() public {
        _breakBand();
        skip(77);
        uint256[] memory buys = _amounts(0, 0.0705e8, 1_979e6);
        IBasketVault.State memory after_ = IVaultBase.State({
            lossLevelE18: uint64(_up(1e18 * E18, 110_000e18)),
            turnoverLevelE18: uint64(_up(4_800e18 * E18, 110_000e18)),
            rebalancedAt: uint40(block.timestamp),
            dueSince: 0,
            epoch: 1,
            paused: false
        });

        int256[] memory changes = new int256[](3);
        (changes[WETH], changes[1], changes[2]) = (-2e18, 0.0705e8, 1_979e6);

        _expectRebalanced(changes, 4_800e18, 4_799e18, after_);
        _rebalance(_amounts(2e18, 0, 0), buys, 0);

        assertEq(vault.held(), _amounts(23e18, 0.8205e8, 21_979e6));
        assertEq(_balances(address(vault)), vault.held());
        assertEq(tokens[WETH].balanceOf(address(executor)), 2e18);
        assertEq(keccak256(abi.encode(vault.state())), keccak256(abi.encode(after_)));
        assertEq(vault.totalSupply(), INITIAL_SHARES);
    }

    /// @dev Of epoch 0, by the keeper.
    function _expectRebalanced(int256[] memory changes, uint256 soldE18, uint256 boughtE18, IBasketVault.State memory s)
        internal
    {
        (uint256 loss, uint256 turnover, uint256 since) = (s.lossLevelE18, s.turnoverLevelE18, s.dueSince);
        address by = address(executor);
        vm.expectEmit(address(vault));
        emit IVaultBase.Rebalanced(0, keeper, by, changes, soldE18, boughtE18, loss, turnover, since);
    }

    function test_rebalance_with_several_surpluses_and_one_purchase_works() public {
        // WBTC and WETH up by 10 %: V = 55,000 + 33,000 + 20,000 = 108,000; e = +1,000, +600, -1,600.
        _setPrice(WETH, 2_200e8);
        _setPrice(WBTC, 44_000e8);
        vm.prank(curator);
        vault.setBands(_bands(100, 100, 100));

        _rebalance(_amounts(0.45e18, 0.0135e8, 0), _amounts(0, 0, 1_584e6), 1);

        assertEq(vault.held(), _amounts(24.55e18, 0.7365e8, 21_584e6));
    }

    function test_rebalance_with_a_token_that_returns_nothing_works() public {
        _switchToPair(new NoReturnToken("Silent", "SILENT", 6));
        _setPrice(1, 1.2e8); // 24,000 of 44,000; surplus 2,000 = 1,666.67 tokens

        _rebalance(_amounts(0, 1_600e6), _amounts(0.96e18, 0), 0);

        assertEq(vault.held(), _amounts(10.96e18, 18_400e6));
    }

    function test_rebalance_of_2_to_the_112_units_is_exact() public {
        uint256 huge = 1 << 112;
        MockToken other = new MockToken("Another", "ANOTHER", 18);
        tokens[WETH] = new MockToken("Huge", "HUGE", 18);
        _addAsset(tokens[WETH], 1e8);
        (tokens[WETH], feeds[WETH]) = (tokens[3], feeds[3]);
        _switchToPair(other);
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = vault.assets();
        vault = _createVault(c, _amounts(huge, huge));
        _setPrice(0, 1.25e8); // e = +0.125 huge dollars = 0.1 huge tokens

        _rebalance(_amounts(huge / 10, 0), _amounts(0, huge / 8), 0);

        assertEq(vault.held(), _amounts(huge - huge / 10, huge + huge / 8));
    }

    /* GIFTS */

    function test_gifts_in_the_vault_are_not_counted_as_bought() public {
        _breakBand();
        tokens[WBTC].mint(address(vault), 0.0705e8);
        tokens[USDC].mint(address(vault), 1_980e6);

        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, WBTC, 0, 1));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(executor), _nothing());
    }

    function test_what_arrives_and_was_not_asked_for_is_a_gift() public {
        _breakBand();
        bytes memory route = abi.encode(_bring(_amounts(0.1e18, 0.0705e8, 1_980e6)));

        // WETH comes back in part: 1.9 are sold. USDC is not asked for, so it is not booked.
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 2_820e18, 4_555.44e18));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 0), address(executor), route);

        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(executor), route);
        assertEq(vault.held(), _amounts(23.1e18, 0.8205e8, 21_980e6));
    }

    function test_more_of_the_sold_asset_coming_back_is_a_gift() public {
        _breakBand();
        bytes memory route = abi.encode(_bring(_amounts(3e18, 0.105e8, 2_800e6)));

        vm.prank(keeper);
        vm.expectRevert(IVaultBase.NothingSold.selector);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(executor), route);

        // Beside a sale it is one: V = 114,000 at USDC 1.2, WETH 3,000 above its target, USDC 1,200 above, WBTC 4,200 below.
        _setPrice(USDC, 1.2e8);
        route = abi.encode(_bring(_amounts(0, 0.07195e8, 3e6)));
        vm.prank(keeper);
        vault.rebalance(0, _amounts(1.2e18, 0, 1e6), _amounts(0, 1, 0), address(executor), route);

        assertEq(vault.held(), _amounts(23.8e18, 0.82195e8, 20_000e6), "the 2 USDC too many are not booked");
        assertEq(tokens[USDC].balanceOf(address(vault)), 20_002e6);
    }

    /* FUZZ */

    function testFuzz_rebalance_never_costs_more_than_slippage_and_rounding(uint256 sale, uint256 wbtc, uint256 usdc)
        public
    {
        _breakBand();
        vault.poke();
        _pass(1_000);
        sale = bound(sale, 1.05e18, 2.083e18);
        uint256[] memory buys = _amounts(0, bound(wbtc, 1, 0.08e8), bound(usdc, 1, 2_200e6));
        uint256 before = _worth();

        bytes memory route = abi.encode(_bring(buys));
        vm.prank(keeper);
        try vault.rebalance(0, _amounts(sale, 0, 0), buys, address(executor), route) {
            assertGe(_worth() + sale * 2_400 / 100 + 1, before);
            assertGe(_worth() + 50 * before / BPS, before);
        } catch (bytes memory answer) {
            bytes4 why = bytes4(answer);
            assertTrue(
                why == RebalancePolicy.PriceTooPoor.selector || why == RebalancePolicy.AwayFromTarget.selector
                    || why == RebalancePolicy.TooLittleProgress.selector
            );
            assertEq(_worth(), before);
        }
    }

    /* HELPERS */

    function _fairBuys() internal pure returns (uint256[] memory) {
        return _amounts(0, 0.0705e8, 1_980e6);
    }

    function _tradeFairly(uint256 epoch) internal {
        _rebalance(_amounts(2e18, 0, 0), _fairBuys(), epoch);
    }

    function _expectFault(uint256 asset, IOracleHub.Fault fault) internal {
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.OracleFault.selector, asset, fault));
        _tradeFairly(0);
    }

    function _setLossBudget(uint16 lossBudgetBps) internal {
        IBasketVault.Policy memory p = _policy();
        p.lossBudgetBps = lossBudgetBps; // tighter than an owner could set it
        vm.prank(guardian);
        vault.tightenPolicy(p);
    }

    /// @dev The route of an executor that does nothing.
    function _nothing() internal pure returns (bytes memory) {
        return abi.encode(new ScriptedExecutor.Step[](0));
    }

    function _up(uint256 a, uint256 b) internal pure returns (uint256) {
        return (a + b - 1) / b;
    }

    /// @dev The ledger's worth at WETH 2,400.
    function _worth() internal view returns (uint256) {
        uint256[] memory held = vault.held();
        return held[WETH] * 2_400 + held[WBTC] * 40_000 * 1e10 + held[USDC] * 1e12;
    }
}

/// @notice An executor that notes what the vault says of itself.
contract Witness {
    IBasketVault internal immutable VAULT;
    uint256[] internal _buys;
    MockToken[] internal _tokens;
    bool public sawLocked;

    constructor(IBasketVault vault, uint256[] memory buys, MockToken[] memory tokens) {
        VAULT = vault;
        _buys = buys;
        _tokens = tokens;
    }

    function executeRoute(bytes calldata) external {
        sawLocked = VAULT.locked();
        for (uint256 i; i < _buys.length; ++i) {
            LocalToken(address(_tokens[i])).mint(address(VAULT), _buys[i]);
        }
    }
}
