// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { Ownable } from "@openzeppelin/contracts/access/Ownable.sol";
import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { FlashFiller } from "../../contracts/fillers/FlashFiller.sol";
import { InventoryFiller } from "../../contracts/fillers/InventoryFiller.sol";
import { QuoteFiller } from "../../contracts/fillers/QuoteFiller.sol";
import { IBasketVault, IVaultBase, IVaultCore } from "../../contracts/interfaces/IBasketVault.sol";
import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { FeeToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";
import { IV3Pool } from "../../contracts/venues/V3Swaps.sol";
import { Base } from "./Base.t.sol";
import { FakeVault, SigningContract } from "./support/FakeVault.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice Open execution: some time after a rebalance became due anyone may do it, with an executor of their own, within the same limits.
///
/// After `_breakBand` (WETH 2,400) the vault is worth 110,000: WETH is 5,000 above target, WBTC 3,000 and USDC 2,000 below. The limit
/// climbs from 0.1 % to 1 % in 1,000 seconds; anyone may come after 300.
contract OpenTest is Base {
    uint32 internal constant OPEN_AFTER = 300;

    InventoryFiller internal desk;
    QuoteFiller internal quotes;
    FlashFiller internal flash;
    MockPool internal pool;
    address internal boss = makeAddr("owner of the desk");
    address internal operator = makeAddr("operator of the desk");
    address internal maker;
    uint256 internal makerKey;

    function setUp() public override {
        super.setUp();
        desk = InventoryFiller(deployCode("InventoryFiller.sol:InventoryFiller", abi.encode(boss)));
        quotes = QuoteFiller(deployCode("QuoteFiller.sol:QuoteFiller"));
        flash = FlashFiller(deployCode("FlashFiller.sol:FlashFiller"));
        pool = new MockPool(tokens[WETH], tokens[WBTC], 0.06e8);
        (maker, makerKey) = makeAddrAndKey("maker");
        vm.prank(boss);
        desk.setOperator(operator, true);
        for (uint256 i; i < 3; ++i) {
            tokens[i].mint(address(desk), 1_000_000 * 10 ** tokens[i].decimals());
            tokens[i].mint(maker, 1_000_000 * 10 ** tokens[i].decimals());
            _approve(tokens[i], maker, address(quotes), type(uint256).max);
        }
    }

    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        p.openAfterSeconds = OPEN_AFTER;
    }

    /* WHEN */

    function test_a_stranger_is_refused_until_the_keepers_time_is_over() public {
        _pokedBreak();
        _pass(OPEN_AFTER - 1);
        _expectClosed();

        _pass(1);
        _fillAsStranger();
        assertEq(vault.state().epoch, 1);
    }

    function test_a_keeper_need_not_wait() public {
        _pokedBreak();
        _tradeFairly(keeper);
        assertEq(vault.state().epoch, 1);
    }

    function test_a_break_nobody_stamped_never_opens() public {
        _breakBand();
        _pass(365 days);
        _expectClosed();
    }

    function test_a_stranger_may_stamp_the_break_and_wait() public {
        _breakBand();
        _pass(1 days);
        vm.prank(stranger);
        vault.poke();
        _expectClosed();
        _pass(OPEN_AFTER);
        _fillAsStranger();
        assertEq(vault.state().epoch, 1);
    }

    function test_a_vault_that_does_not_open_stays_closed() public {
        IBasketVault.Policy memory p = _policy();
        p.openAfterSeconds = 0;
        vm.prank(owner);
        vault.setPolicy(p);
        _pokedBreak();
        _pass(365 days);
        _expectClosed();
    }

    function test_a_calendar_period_opens_as_a_break_does() public {
        IBasketVault.Policy memory p = _policy();
        p.calendarSeconds = 7 days;
        vm.prank(owner);
        vault.setPolicy(p);
        // 1,000 dollars over target: inside the band, and more than dust.
        _setPrice(WETH, 2_080e8);
        vm.warp(block.timestamp - block.timestamp % 7 days + 7 days + 1 days);
        _refreshFeeds();
        (uint256[] memory sales, uint256[] memory buys) = (_amounts(0.2884e18, 0, 0), _amounts(0, 0.015e8, 0));
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, desk));
        desk.fill(vault, 1, sales, buys); // a day into the period, which nobody has stamped

        vault.poke();
        _pass(OPEN_AFTER - 1);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, desk));
        desk.fill(vault, 1, sales, buys);

        _pass(1);
        vm.prank(operator);
        desk.fill(vault, 1, sales, buys);
        assertEq(vault.state().epoch, 2);
    }

    function test_a_stale_stamp_opens_nothing_while_every_band_is_whole() public {
        _pokedBreak();
        _pass(OPEN_AFTER);
        _setPrice(WETH, 2_000e8);

        vm.prank(operator);
        vm.expectRevert(RebalancePolicy.NoBandBroken.selector);
        desk.fill(vault, 0, _amounts(), _amounts());
        assertGt(vault.state().dueSince, 0, "nobody poked");
    }

    function test_a_new_target_closes_what_the_old_one_opened() public {
        _pokedBreak();
        _pass(OPEN_AFTER);
        vm.prank(curator);
        vault.setTargets(_amounts(0.4e18, 0.4e18, 0.2e18), 0);

        _expectClosed();
        vault.poke();
        _expectClosed();
    }

    function test_after_a_fill_that_leaves_a_band_broken_the_vault_is_still_open_but_cools_down() public {
        _setPrice(WETH, 3_000e8);
        vault.poke();
        _pass(OPEN_AFTER);
        // WETH is 12,500 over target in 125,000; 6,300 of it is enough progress and leaves the band broken.
        (uint256[] memory sales, uint256[] memory buys) = (_amounts(2.1e18, 0, 0), _amounts(0, 0.09e8, 2_700e6));
        vm.startPrank(operator);
        desk.fill(vault, 0, sales, buys);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.CooldownActive.selector, block.timestamp + 600));
        desk.fill(vault, 1, sales, buys);
        vm.stopPrank();
    }

    function test_a_paused_vault_is_open_to_nobody() public {
        _pokedBreak();
        _pass(OPEN_AFTER);
        vm.prank(guardian);
        vault.pauseRebalance();
        (uint256[] memory sales, uint256[] memory buys) = _fair();

        vm.prank(operator);
        vm.expectRevert(IVaultBase.RebalanceIsPaused.selector);
        desk.fill(vault, 0, sales, buys);
    }

    /* ONE MECHANISM FOR ALL */

    function test_a_keeper_a_solver_a_desk_a_quote_and_an_arbitrageur_leave_the_same_vault() public {
        _pokedBreak();
        _pass(OPEN_AFTER);
        uint256 state = vm.snapshotState();
        (uint256[] memory sales, uint256[] memory buys) = _single();

        _trade(keeper, sales, buys);
        bytes32 expected = _books();

        vm.revertToState(state);
        address routes = deployCode("RouteExecutor.sol:RouteExecutor");
        vm.prank(makeAddr("solver"));
        vault.rebalance(0, sales, _amounts(0, 1, 0), routes, Routes.v3(tokens[WETH], 0, address(pool), 0, tokens[WBTC]));
        assertEq(_books(), expected, "solver");

        vm.revertToState(state);
        vm.prank(operator);
        desk.fill(vault, 0, sales, buys);
        assertEq(_books(), expected, "market maker");

        vm.revertToState(state);
        vm.prank(stranger);
        vault.rebalance(0, sales, buys, address(quotes), _signed(_quote(sales[WETH], buys[WBTC])));
        assertEq(_books(), expected, "quote");

        vm.revertToState(state);
        vm.prank(stranger);
        flash.fill(_flashTrade(sales[WETH], buys[WBTC], 0));
        assertEq(_books(), expected, "arbitrageur");
    }

    /* THE LIMIT AS AN AUCTION */

    /// @dev What a filler keeps of what it bought, at the oracle's price, is at most the limit's part, and a unit more is refused.
    function testFuzz_a_filler_gains_what_the_limit_allows_and_no_more(uint256 waited, uint256 sale) public {
        waited = bound(waited, OPEN_AFTER, 2_000);
        sale = bound(sale, 1.05e18, 2.08e18);
        _pokedBreak();
        _pass(waited);
        // {usd18}: WETH at 2,400, USDC at 1; both without a spread
        uint256 soldE18 = sale * 2_400;
        uint256 limitE18 = RebalancePolicy.slippageE18(10, 100, 1_000, 1, 1 + waited);
        uint256 leastE18 = RebalancePolicy.minimumBoughtE18(soldE18, limitE18);
        // 0.05 WBTC is worth 2,000, the rest is in USDC; up, as a unit less is refused.
        uint256 usdc = (leastE18 - 2_000e18 + 1e12 - 1) / 1e12;
        vm.assume(usdc <= 2_200e6);

        vm.startPrank(operator);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        desk.fill(vault, 0, _amounts(sale, 0, 0), _amounts(0, 0.05e8, usdc - 1));
        uint256[] memory before = _balances(address(desk));
        desk.fill(vault, 0, _amounts(sale, 0, 0), _amounts(0, 0.05e8, usdc));
        vm.stopPrank();

        uint256[] memory afterwards = _balances(address(desk));
        assertEq(afterwards[WETH] - before[WETH], sale);
        uint256 paidE18 = (before[WBTC] - afterwards[WBTC]) * 40_000e10 + (before[USDC] - afterwards[USDC]) * 1e12;
        uint256 gainE18 = soldE18 - paidE18;
        assertLe(gainE18, soldE18 * limitE18 / E18);
        assertGe(gainE18 + 1e12, soldE18 * limitE18 / E18, "to the unit");
    }

    /* HOSTILE FILLERS */

    function test_a_filler_that_pays_less_than_it_said_is_refused() public {
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        uint256[] memory less = _amounts(0, buys[WBTC], buys[USDC] - 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, USDC, less[USDC], buys[USDC]));
        vault.rebalance(0, sales, buys, address(executor), abi.encode(_bring(less)));
    }

    function test_a_filler_that_pays_somebody_else_is_refused() public {
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
        steps[0] = _step(address(tokens[USDC]), abi.encodeCall(LocalToken.mint, (alice, 10_000e6)));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, WBTC, 0, buys[WBTC]));
        vault.rebalance(0, sales, buys, address(executor), abi.encode(steps));
    }

    function test_a_filler_cannot_reenter_the_vault_it_fills() public {
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        ScriptedExecutor.Step[] memory fair = _bring(buys);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](4);
        (steps[0], steps[1]) = (fair[0], fair[1]);
        bytes memory again = abi.encodeCall(IVaultCore.rebalance, (1, sales, buys, address(executor), ""));
        steps[2] = _refused(address(vault), again, _reentrant());
        steps[3] = _refused(address(vault), abi.encodeCall(IVaultCore.poke, ()), _reentrant());

        vm.prank(stranger);
        vault.rebalance(0, sales, buys, address(executor), abi.encode(steps));

        assertEq(vault.state().epoch, 1);
    }

    function test_a_filler_whose_payment_loses_a_fee_on_the_way_is_refused() public {
        FeeToken taxed = new FeeToken("Taxed", "TAX", 6, 0);
        FeeToken taxing = new FeeToken("Taxed", "TAX", 6, 100);
        _switchToPair(taxed);
        // The token begins to charge one per cent of every transfer.
        vm.etch(address(taxed), address(taxing).code);
        taxed.mint(address(desk), 10_000e6);
        _setPrice(0, 2_400e8);
        vault.poke();
        _pass(OPEN_AFTER);

        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, 1, 1_980e6, 2_000e6));
        desk.fill(vault, 0, _amounts(uint256(2_000e18) / 2_400, 0), _amounts(0, 2_000e6));
    }

    /* INVENTORY FILLER */

    function test_fill_by_anybody_but_an_operator_is_refused() public {
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        address[3] memory others = [boss, keeper, stranger];
        for (uint256 i; i < 3; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NotAnOperator.selector, others[i]));
            desk.fill(vault, 0, sales, buys);
        }
        vm.expectEmit(address(desk));
        emit InventoryFiller.OperatorSet(operator, false);
        vm.prank(boss);
        desk.setOperator(operator, false);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NotAnOperator.selector, operator));
        desk.fill(vault, 0, sales, buys);
    }

    function test_only_the_owner_of_the_desk_withdraws_and_names_operators() public {
        address[2] memory others = [operator, stranger];
        for (uint256 i; i < 2; ++i) {
            vm.startPrank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, others[i]));
            desk.withdraw(tokens[WETH], 1, others[i]);
            vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, others[i]));
            desk.setOperator(others[i], true);
            vm.stopPrank();
        }
        vm.prank(boss);
        desk.withdraw(tokens[WETH], 5e18, alice);
        assertEq(tokens[WETH].balanceOf(alice), 5e18);
    }

    function test_the_desk_pays_nobody_it_promised_nothing() public {
        bytes memory route = abi.encode(tokens, _amounts(1, 1, 1));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NothingPromised.selector, stranger));
        desk.executeRoute(route);

        // Not even a vault that is open, when somebody else rebalances it.
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NothingPromised.selector, vault));
        vault.rebalance(0, sales, buys, address(desk), abi.encode(tokens, buys));
    }

    function test_a_false_vault_gets_what_it_was_promised_at_most_and_only_for_what_it_owes() public {
        FakeVault fake = new FakeVault(vault.config());
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        uint256[] memory before = _balances(address(desk));

        // It sends nothing.
        vm.prank(operator);
        vm.expectRevert(
            abi.encodeWithSelector(InventoryFiller.ReceivedTooLittle.selector, tokens[WETH], 0, sales[WETH])
        );
        desk.fill(IBasketVault(address(fake)), 0, sales, buys);
        // It asks twice, for more, or through a friend.
        tokens[WETH].mint(address(fake), 100e18);
        for (uint256 i = 1; i < 4; ++i) {
            fake.setAct(FakeVault.Act(i));
            vm.prank(operator);
            vm.expectPartialRevert(InventoryFiller.NothingPromised.selector);
            desk.fill(IBasketVault(address(fake)), 0, sales, buys);
        }
        assertEq(_balances(address(desk)), before);

        // It asks after the fill, in the same transaction.
        fake.setAct(FakeVault.Act.Never);
        fake.rememberRoute(abi.encode(tokens, buys));
        vm.prank(boss);
        desk.setOperator(address(fake), true);
        vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NothingPromised.selector, fake));
        fake.fillAndAskLater(desk, sales, buys);
    }

    function test_fill_pays_exactly_the_promise_and_keeps_what_was_sold() public {
        _openBreak();
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        uint256[] memory before = _balances(address(desk));
        uint256[] memory held = vault.held();

        vm.prank(operator);
        desk.fill(vault, 0, sales, buys);

        uint256[] memory afterwards = _balances(address(desk));
        for (uint256 i; i < 3; ++i) {
            assertEq(afterwards[i], before[i] + sales[i] - buys[i]);
            assertEq(vault.held()[i], held[i] + buys[i] - sales[i]);
        }
        // A second promise does not live on the first.
        vm.prank(address(vault));
        vm.expectRevert(abi.encodeWithSelector(InventoryFiller.NothingPromised.selector, vault));
        desk.executeRoute(abi.encode(tokens, buys));
    }

    /* QUOTE FILLER */

    function test_a_quote_for_another_vault_is_refused() public {
        _openBreak();
        QuoteFiller.Quote memory q = _quote(1e18, 0.06e8);
        q.vault = alice;
        _expectQuoteRefused(q, abi.encodeWithSelector(QuoteFiller.WrongVault.selector, vault, alice));
    }

    function test_a_quote_after_its_deadline_is_refused() public {
        _openBreak();
        QuoteFiller.Quote memory q = _quote(1e18, 0.06e8);
        q.deadline = block.timestamp - 1;
        _expectQuoteRefused(
            q, abi.encodeWithSelector(QuoteFiller.QuoteExpired.selector, block.timestamp - 1, block.timestamp)
        );
    }

    function test_a_quote_changed_after_signing_is_refused_whatever_was_changed() public {
        _openBreak();
        QuoteFiller.Quote memory q = _quote(1.25e18, 0.075e8);
        bytes memory signature = _sign(q);
        for (uint256 i; i < 6; ++i) {
            QuoteFiller.Quote memory changed = _quote(1.25e18, 0.075e8);
            if (i == 0) changed.maker = address(desk);
            if (i == 1) changed.sold = address(tokens[USDC]);
            if (i == 2) changed.soldRaw -= 1;
            if (i == 3) changed.boughtRaw += 1;
            if (i == 4) changed.deadline += 1;
            if (i == 5) changed.nonce += 1;
            bytes memory route = _route(changed, signature);
            bytes32 digest = quotes.quoteDigest(changed);
            vm.prank(stranger);
            vm.expectRevert(abi.encodeWithSelector(QuoteFiller.BadQuoteSignature.selector, changed.maker, digest));
            vault.rebalance(0, _amounts(1.25e18, 0, 0), _amounts(0, 0.075e8, 0), address(quotes), route);
        }
    }

    function test_a_quote_signed_for_another_chain_or_filler_is_refused() public {
        _openBreak();
        QuoteFiller.Quote memory q = _quote(1.25e18, 0.075e8);
        bytes memory route = _route(q, _sign(q));
        uint256 signedFor = block.chainid;
        bytes32 signedDigest = quotes.quoteDigest(q);

        // Twice: the separator of the chain it was deployed on is cached.
        for (uint256 i = 1; i < 3; ++i) {
            vm.chainId(signedFor + i);
            bytes32 digest = quotes.quoteDigest(q);
            assertNotEq(digest, signedDigest);
            vm.prank(stranger);
            vm.expectRevert(abi.encodeWithSelector(QuoteFiller.BadQuoteSignature.selector, maker, digest));
            vault.rebalance(0, _amounts(1.25e18, 0, 0), _amounts(0, 0.075e8, 0), address(quotes), route);
        }
        vm.chainId(signedFor);
        QuoteFiller other = QuoteFiller(deployCode("QuoteFiller.sol:QuoteFiller"));
        bytes32 otherDigest = other.quoteDigest(q);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(QuoteFiller.BadQuoteSignature.selector, maker, otherDigest));
        vault.rebalance(0, _amounts(1.25e18, 0, 0), _amounts(0, 0.075e8, 0), address(other), route);

        vm.prank(stranger);
        vault.rebalance(0, _amounts(1.25e18, 0, 0), _amounts(0, 0.075e8, 0), address(quotes), route);
        assertTrue(quotes.isUsed(maker, q.nonce));
    }

    function test_a_quote_is_filled_once() public {
        _openBreak();
        QuoteFiller.Quote memory q = _quote(1.25e18, 0.075e8);
        QuoteFiller.SignedQuote[] memory twice = new QuoteFiller.SignedQuote[](2);
        twice[0] = QuoteFiller.SignedQuote(q, _sign(q));
        twice[1] = twice[0];
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(QuoteFiller.NonceUsed.selector, maker, q.nonce));
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 0), address(quotes), abi.encode(twice));
    }

    function test_a_quote_that_was_cancelled_is_refused() public {
        _openBreak();
        vm.expectEmit(address(quotes));
        emit QuoteFiller.QuoteCancelled(maker, 7);
        vm.prank(maker);
        quotes.cancel(7);
        _expectQuoteRefused(_quote(1e18, 0.06e8), abi.encodeWithSelector(QuoteFiller.NonceUsed.selector, maker, 7));
    }

    function test_a_quote_that_asks_for_more_than_is_sold_is_refused() public {
        _openBreak();
        _expectQuoteRefused(
            _quote(1.25e18 + 1, 0.075e8),
            abi.encodeWithSelector(QuoteFiller.SoldTooLittle.selector, tokens[WETH], 1.25e18, 1.25e18 + 1)
        );
    }

    function test_two_makers_fill_one_rebalance_and_what_nobody_asked_for_goes_back() public {
        _openBreak();
        SigningContract house = new SigningContract(maker);
        tokens[USDC].mint(address(house), 10_000e6);
        house.approve(tokens[USDC], address(quotes));
        QuoteFiller.SignedQuote[] memory list = new QuoteFiller.SignedQuote[](2);
        QuoteFiller.Quote memory q = _quote(1.2e18, 0.072e8);
        list[0] = QuoteFiller.SignedQuote(q, _sign(q));
        QuoteFiller.Quote memory r = _quote(0.75e18, 1_800e6);
        (r.maker, r.bought) = (address(house), address(tokens[USDC]));
        list[1] = QuoteFiller.SignedQuote(r, _sign(r));

        vm.prank(keeper);
        vault.rebalance(0, _amounts(2e18, 0, 0), _amounts(0, 1, 1), address(quotes), abi.encode(list));

        assertEq(vault.held(), _amounts(25e18 - 1.95e18, 0.822e8, 21_800e6), "0.05 came back");
        assertEq(tokens[WETH].balanceOf(address(house)), 0.75e18);
        assertEq(_balances(address(quotes)), _amounts());
        assertTrue(quotes.isUsed(maker, 7));
        assertTrue(quotes.isUsed(address(house), 7));
    }

    /* FLASH FILLER */

    function test_a_pool_pays_the_vault_and_the_difference_is_the_callers() public {
        _openBreak();
        // The limit is 0.37 % by now: 0.075 WBTC less that much, and the pool wants a unit more than the oracle's price.
        uint256 bought = 0.075e8 - 0.075e8 * 37 / 10_000;
        FlashFiller.Trade memory t = _flashTrade(1.25e18, bought, 0);

        vm.prank(stranger);
        uint256 gain = flash.fill(t);

        assertEq(vault.held(), _amounts(25e18 - 1.25e18, 0.75e8 + bought, 20_000e6));
        assertEq(tokens[WETH].balanceOf(stranger), gain);
        assertApproxEqRel(gain, uint256(1.25e18) * 37 / 10_000, 0.001e18);
        assertEq(_balances(address(flash)), _amounts());
    }

    function test_a_flash_fill_that_gains_too_little_is_undone() public {
        _openBreak();
        FlashFiller.Trade memory t = _flashTrade(1.25e18, 0.0748e8, 0.1e18);
        uint256 cost = uint256(0.0748e8) * 1e18 / 0.06e8 + 1;
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(FlashFiller.GainTooSmall.selector, 1.25e18 - cost, 0.1e18));
        flash.fill(t);
    }

    function test_the_pool_of_a_flash_fill_gets_what_the_vault_sold_and_no_more() public {
        _openBreak();
        uint256 cost = Math.ceilDiv(uint256(0.0748e8) * 1e18, 0.06e8);
        FlashFiller.Trade memory t = _flashTrade(cost, 0.0748e8, 0);
        pool.setAsks(MockPool.Asks.TooMuch);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, flash, cost, cost + 1));
        flash.fill(t);

        pool.setAsks(MockPool.Asks.Fairly);
        vm.prank(stranger);
        assertEq(flash.fill(t), 0);
        assertEq(tokens[WETH].balanceOf(address(pool)), cost);
    }

    function test_nobody_calls_the_flash_filler_out_of_turn() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(FlashFiller.NotAwaited.selector, stranger, address(0)));
        flash.executeRoute(abi.encode(pool, tokens[WETH], 1));
        vm.prank(address(pool));
        vm.expectRevert(abi.encodeWithSelector(FlashFiller.NotAwaited.selector, pool, address(0)));
        flash.uniswapV3SwapCallback(1, -1, abi.encode(tokens[WETH]));
        _openBreak();
        pool.setAsks(MockPool.Asks.Twice);
        FlashFiller.Trade memory t = _flashTrade(1.25e18, 0.0748e8, 0);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(FlashFiller.NotAwaited.selector, pool, address(0)));
        flash.fill(t);
    }

    /* SCENE */

    function _pokedBreak() internal {
        _breakBand();
        vault.poke();
    }

    function _openBreak() internal {
        _pokedBreak();
        _pass(OPEN_AFTER);
    }

    /// @dev 5,000 less some dollars for what the other two lack, at the oracle's prices.
    function _fair() internal pure returns (uint256[] memory sales, uint256[] memory buys) {
        return (_amounts(2e18, 0, 0), _amounts(0, 0.072e8, 1_920e6));
    }

    /// @dev 3,000 for all that WBTC lacks but a unit: 60 % of the way, and what the pool takes for that to the unit.
    function _single() internal pure returns (uint256[] memory sales, uint256[] memory buys) {
        return (_amounts(1.249999833333333334e18, 0, 0), _amounts(0, 0.075e8 - 1, 0));
    }

    function _expectClosed() internal {
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, desk));
        desk.fill(vault, 0, sales, buys);
    }

    function _fillAsStranger() internal {
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        vm.prank(stranger);
        vault.rebalance(0, sales, buys, address(executor), abi.encode(_bring(buys)));
    }

    function _tradeFairly(address caller) internal {
        (uint256[] memory sales, uint256[] memory buys) = _fair();
        _trade(caller, sales, buys);
    }

    function _trade(address caller, uint256[] memory sales, uint256[] memory buys) internal {
        vm.prank(caller);
        vault.rebalance(0, sales, buys, address(executor), abi.encode(_bring(buys)));
    }

    function _quote(uint256 soldRaw, uint256 boughtRaw) internal view returns (QuoteFiller.Quote memory) {
        return QuoteFiller.Quote({
            maker: maker,
            vault: address(vault),
            sold: address(tokens[WETH]),
            soldRaw: soldRaw,
            bought: address(tokens[WBTC]),
            boughtRaw: boughtRaw,
            deadline: block.timestamp,
            nonce: 7
        });
    }

    function _sign(QuoteFiller.Quote memory q) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(makerKey, quotes.quoteDigest(q));
        return abi.encodePacked(r, s, v);
    }

    function _signed(QuoteFiller.Quote memory q) internal view returns (bytes memory) {
        return _route(q, _sign(q));
    }

    function _route(QuoteFiller.Quote memory q, bytes memory signature) internal pure returns (bytes memory) {
        QuoteFiller.SignedQuote[] memory list = new QuoteFiller.SignedQuote[](1);
        list[0] = QuoteFiller.SignedQuote(q, signature);
        return abi.encode(list);
    }

    function _expectQuoteRefused(QuoteFiller.Quote memory q, bytes memory expected) internal {
        bytes memory route = _signed(q);
        vm.prank(stranger);
        vm.expectRevert(expected);
        vault.rebalance(0, _amounts(1.25e18, 0, 0), _amounts(0, 1, 0), address(quotes), route);
    }

    function _flashTrade(uint256 soldRaw, uint256 boughtRaw, uint256 minGainRaw)
        internal
        view
        returns (FlashFiller.Trade memory)
    {
        return FlashFiller.Trade(
            vault, vault.state().epoch, IV3Pool(address(pool)), WETH, WBTC, soldRaw, boughtRaw, minGainRaw
        );
    }

    function _books() internal view returns (bytes32) {
        return keccak256(abi.encode(vault.held(), vault.state()));
    }
}
