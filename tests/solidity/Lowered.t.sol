// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";
import { Trader } from "./support/Trader.sol";

/// @notice A rebalance sells the smaller of what its keeper requests and what is allowed when it runs: a redemption a little ahead of it
/// does not stop it.
///
/// After `_breakBand` (WETH 2,400): V = 110,000, distances +5,000, -3,000, -2,000, surplus 2.08333 WETH; a share is worth 1,100 dollars. On
/// the old contracts a redemption of one cent made the keeper's rebalance revert: its sale was above the surplus, the need or the budget.
contract LoweredTest is Trader {
    uint256 internal constant SURPLUS = 2_083333333333333333;

    /// Of 100 shares: a cent's worth, one in a hundred, half.
    uint256[3] internal redeemed = [uint256(0.01e18) / 1_100, 1e18, 50e18];

    /* AHEAD OF THE KEEPER */

    function test_a_redemption_ahead_lowers_the_sale_to_the_surplus_that_is_left() public {
        _breakBand();
        for (uint256 i; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            _redeem(creator, redeemed[i]);
            uint256 surplus = _of(_words(), WETH, 15);
            assertLt(surplus, SURPLUS);

            _sellAndCheck(SURPLUS, surplus, 0);
            vm.revertToState(snapshot);
        }
    }

    /// @dev To the edge of the bands: what must be sold is 3,020 dollars' worth, and with half of the vault half of that.
    function test_a_redemption_ahead_lowers_the_sale_to_the_need_that_is_left() public {
        IBasketVault.Policy memory p = _policy();
        p.destinationBps = 10_000;
        vm.prank(owner);
        vault.setPolicy(p);
        _breakBand();
        uint256 asked = _of(_words(), WETH, 17);
        assertApproxEqAbs(asked, uint256(3_020e18) / 2_400, 2);
        for (uint256 i; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            _redeem(creator, redeemed[i]);
            uint256 allowed = _of(_words(), WETH, 17);
            assertLt(allowed, asked);

            _sellAndCheck(asked, allowed, 2);
            vm.revertToState(snapshot);
        }
    }

    /// @dev 5 % of the basket, of which WETH's surplus at 2,600 is more.
    function test_a_redemption_ahead_lowers_the_sale_to_the_turnover_budget_that_is_left() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 500;
        p.minProgressBps = 500;
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(WETH, 2_600e8);
        uint256 asked = _of(_words(), WETH, 17);
        assertLt(asked, _of(_words(), WETH, 15));
        for (uint256 i; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            _redeem(creator, redeemed[i]);
            uint256 allowed = _of(_words(), WETH, 17);
            assertLt(allowed, asked);

            _sellAndCheck(asked, allowed, 2);
            assertLe(vault.state().turnoverLevelE18, 0.05e18);
            vm.revertToState(snapshot);
        }
    }

    /// @dev Nothing that the keeper asked at least comes for the half that is sold: it asked for the whole.
    function test_what_must_come_back_is_lowered_with_the_sale_and_no_further() public {
        _breakBand();
        uint256[] memory least = _amounts(0, 0.075e8, 1_998e6); // 4,998 dollars in all
        _redeem(creator, 50e18);
        uint256 surplus = _of(_words(), WETH, 15);
        // {usd18} = {usd18} * {tok} / {tok}, as WETH alone is sold
        uint256 minimumE18 = 4_998e18 * (surplus * 2_400) / (SURPLUS * 2_400);
        assertApproxEqAbs(minimumE18, 2_499e18, 1e6);

        // Whichever of the purchases the shortfall falls on: 5 dollars less of the one are made up by the other.
        uint256 wbtc = 0.0375e8 - 0.000125e8;
        uint256 usdc = 1_004e6;
        bytes memory route = abi.encode(_bring(_amounts(0, wbtc, usdc - 1)));
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.PriceTooPoor.selector, 2_499e18 - 1e12, minimumE18));
        vault.rebalance(0, _amounts(SURPLUS, 0, 0), least, address(executor), route);
        route = abi.encode(_bring(_amounts(0, wbtc, usdc)));
        vm.prank(keeper);
        vault.rebalance(0, _amounts(SURPLUS, 0, 0), least, address(executor), route);
        assertEq(vault.held(), _amounts(12.5e18 - surplus, 0.375e8 + wbtc, 10_000e6 + usdc));
    }

    /// @dev To the edge of the bands sales are fitted also where there is nothing to lower: no purchase makes up for another then.
    function test_minima_stay_each_tokens_own_where_no_sale_is_lowered() public {
        IBasketVault.Policy memory p = _policy();
        p.destinationBps = 10_000;
        vm.prank(owner);
        vault.setPolicy(p);
        _breakBand();
        uint256[] memory sales = _amounts(1e18, 0, 0); // 2,400 dollars, of 3,020 that are allowed
        uint256[] memory least = _amounts(0, 1, 1_000e6);
        bytes memory route = abi.encode(_bring(_amounts(0, 0.035e8, 1_000e6 - 1)));
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, USDC, 1_000e6 - 1, 1_000e6));
        vault.rebalance(1, sales, least, address(executor), route);
        route = abi.encode(_bring(_amounts(0, 0.035e8, 1_000e6)));
        vm.prank(keeper);
        vault.rebalance(1, sales, least, address(executor), route);
    }

    /// @dev What is sold is valued at the higher price when the budget is charged, and so when the sale is lowered to what it has left.
    function test_a_sale_is_lowered_at_the_higher_price() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 500;
        p.minProgressBps = 500;
        vm.prank(owner);
        vault.setPolicy(p);
        IOracleHub.Price[] memory prices = new IOracleHub.Price[](3);
        prices[WETH] = IOracleHub.Price(2_600e18, 2_602e18, 2_600e18, IOracleHub.Fault.None);
        prices[WBTC] = IOracleHub.Price(40_000e18, 40_000e18, 40_000e18, IOracleHub.Fault.None);
        prices[USDC] = IOracleHub.Price(1e18, 1e18, 1e18, IOracleHub.Fault.None);
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));

        (bool done, bytes memory answer) = _sellAll();

        assertTrue(done, vm.toString(answer));
        assertApproxEqRel(vault.state().turnoverLevelE18, 0.05e18, 1e12);
        assertLe(vault.state().turnoverLevelE18, 0.05e18);
    }

    /// @dev Half of what was asked at least, at the lower prices, and no more.
    function test_what_must_come_back_is_valued_at_the_lower_prices() public {
        IOracleHub.Price[] memory prices = new IOracleHub.Price[](3);
        prices[WETH] = IOracleHub.Price(2_400e18, 2_400e18, 2_400e18, IOracleHub.Fault.None);
        prices[WBTC] = IOracleHub.Price(39_990e18, 40_010e18, 40_000e18, IOracleHub.Fault.None);
        prices[USDC] = IOracleHub.Price(1e18, 1e18, 1e18, IOracleHub.Fault.None);
        vm.mockCall(address(oracle), abi.encodeWithSelector(IOracleHub.prices.selector), abi.encode(prices));
        _redeem(creator, 50e18);
        uint256[] memory least = _amounts(0, 0.075e8, 1_998e6);

        bytes memory route = abi.encode(_bring(_amounts(0, 0.0375e8, 999e6 - 1)));
        vm.prank(keeper);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        vault.rebalance(0, _amounts(SURPLUS, 0, 0), least, address(executor), route);
        route = abi.encode(_bring(_amounts(0, 0.0375e8, 999e6)));
        vm.prank(keeper);
        vault.rebalance(0, _amounts(SURPLUS, 0, 0), least, address(executor), route);
    }

    function test_a_minimum_of_one_stays_one_and_one_beyond_all_is_never_had() public {
        _breakBand();
        _redeem(creator, 99e18);
        bytes memory route = abi.encode(_bring(_amounts(0, 0.00075e8, 0)));
        uint256[] memory asked = _amounts(type(uint256).max, 0, 0);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.BoughtTooLittle.selector, USDC, 0, 1));
        vault.rebalance(0, asked, _amounts(0, 1, 1), address(executor), route);
        route = abi.encode(_bring(_amounts(0, 0.00075e8, 20e6)));
        vm.prank(keeper);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        vault.rebalance(0, asked, _amounts(0, 1, type(uint256).max), address(executor), route);
        vm.prank(keeper);
        vault.rebalance(0, asked, _amounts(0, 1, 1), address(executor), route);
    }

    /* THE ROUTE */

    /// @dev A pair of WETH and USDC through the real executor: a hop whose amount is 0 takes all it was lent, and nothing stays behind.
    function test_a_route_of_all_there_is_trades_what_was_lent() public {
        _switchToPair(new MockToken("Other", "OTHER", 6));
        MockPool pool = new MockPool(tokens[0], tokens[1], 2_400e6);
        address routes = deployCode("RouteExecutor.sol:RouteExecutor");
        _setPrice(0, 2_400e8);
        uint256 asked = uint256(2_000e18) / 2_400;
        for (uint256 i; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            uint256 held = 10e18 - 10e18 * redeemed[i] / 100e18;
            _redeem(creator, redeemed[i]);
            uint256[] memory before = vault.held();
            vm.prank(keeper);
            vault.rebalance(
                0,
                _amounts(asked, 0),
                _amounts(0, 1_990e6),
                routes,
                Routes.v3(tokens[0], 0, address(pool), 0, tokens[1])
            );
            uint256 sold = before[0] - vault.held()[0];
            assertApproxEqAbs(before[0], held, 1);
            assertLt(sold, asked);
            assertApproxEqAbs(sold, asked * (100e18 - redeemed[i]) / 100e18, 1e12);
            assertEq(tokens[0].balanceOf(address(pool)), sold);
            assertApproxEqAbs(vault.held()[1] - before[1], sold * 2_400 / 1e12, 1);
            assertEq(tokens[0].balanceOf(routes) + tokens[1].balanceOf(routes), 0);
            vm.revertToState(snapshot);
        }
    }

    /* WHAT IS STILL REFUSED */

    function test_a_sale_without_any_surplus_is_refused_however_small() public {
        _breakBand();
        _redeem(creator, 1e18);
        uint256[] memory asked = _amounts(SURPLUS, 1, 0);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.SaleWithoutSurplus.selector, WBTC));
        vault.rebalance(0, asked, _amounts(0, 0, 1), address(executor), "");
        asked = _amounts(SURPLUS, 0, type(uint256).max);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.SaleWithoutSurplus.selector, USDC));
        vault.rebalance(0, asked, _amounts(0, 1, 0), address(executor), "");
    }

    function test_a_sale_lowered_below_its_minimum_trade_is_refused() public {
        IBasketVault.Band[] memory bands = _bands(200, 200, 200);
        bands[WETH].minTradeRaw = 2e18;
        vm.prank(curator);
        vault.setBands(bands);
        _breakBand();
        _redeem(creator, 10e18);
        uint256 surplus = _of(_words(), WETH, 15);
        bytes memory route = abi.encode(_bring(_amounts(0, 0.0675e8, 1_800e6)));
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(RebalancePolicy.TradeTooSmall.selector, WETH, surplus, 2e18));
        vault.rebalance(1, _amounts(SURPLUS, 0, 0), _amounts(0, 1, 1), address(executor), route);
    }

    function test_a_budget_that_is_used_up_is_named() public {
        IBasketVault.Policy memory p = _policy();
        (p.turnoverBudgetBps, p.minProgressBps) = (400, 400);
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(WETH, 3_000e8);
        (bool done,) = _sellAll();
        assertTrue(done);
        // 600 of 86,400 seconds: of 4 % less than 0.03 % have come back, and the keeper may sell that and no more.
        _pass(600);
        uint256 left = _of(_words(), WETH, 17);
        assertGt(left, 0);
        (done,) = _sellAll();
        assertFalse(done, "too little progress");
        p.turnoverBudgetBps = 300;
        vm.prank(guardian);
        vault.tightenPolicy(p);
        bytes memory answer;
        (done, answer) = _sellAll();
        assertFalse(done);
        assertEq(bytes4(answer), RebalancePolicy.TurnoverBudgetExceeded.selector);
    }

    /* ANYTHING ASKED */

    function test_whoever_asks_for_all_there_can_be_sells_the_surplus() public {
        _breakBand();
        _sellAndCheck(type(uint256).max, SURPLUS, 0);
    }

    /// @dev Prices, a destination, budgets, what was sold before and what was redeemed ahead at random: never more of anything is sold than
    /// its surplus, nor of all together than the need and the budget, and what fits is sold as it was asked.
    function testFuzz_whatever_is_asked_no_more_is_sold_than_is_allowed(uint256 seed) public {
        IBasketVault.Policy memory p = _policy();
        p.minProgressBps = 1;
        p.destinationBps = uint16(_roll(seed, 1) % 2 == 0 ? 0 : _roll(seed, 2) % 10_001);
        p.turnoverBudgetBps = uint16(100 + _roll(seed, 3) % 4_000);
        p.dustBps = uint16(1 + _roll(seed, 4) % 99);
        vm.prank(owner);
        vault.setPolicy(p);
        _movePrices(seed, 10);
        if (_roll(seed, 5) % 2 == 0) {
            _sellAll();
            _pass(600 + _roll(seed, 6) % 1 days);
            _movePrices(seed, 20);
        }
        if (_roll(seed, 7) % 2 == 0) _redeem(creator, 1 + _roll(seed, 8) % 90e18);

        uint256[] memory w = _words();
        (uint256[] memory asked, uint256[] memory wantsE18) = (new uint256[](3), new uint256[](3));
        for (uint256 i; i < 3; ++i) {
            wantsE18[i] = _of(w, i, 16) * _of(w, i, 12) / 10 ** tokens[i].decimals();
            if (_of(w, i, 15) == 0) continue;
            uint256 kind = _roll(seed, 30 + i) % 4;
            if (kind == 0) asked[i] = type(uint256).max;
            else if (kind == 1) asked[i] = _of(w, i, 15) * (_roll(seed, 40 + i) % 300) / 100;
            else if (kind == 2) asked[i] = _of(w, i, 17) + _roll(seed, 40 + i) % 3;
            else asked[i] = _of(w, i, 17) * (_roll(seed, 40 + i) % 101) / 100;
        }
        uint256[] memory before = vault.held();
        (bool done,) = _tradeFairlyFor(asked, wantsE18);
        uint256[] memory after_ = vault.held();
        if (!done) return assertEq(after_, before);
        uint256 soldE18;
        uint256 askedE18;
        for (uint256 i; i < 3; ++i) {
            if (asked[i] == 0) {
                assertGe(after_[i], before[i]);
                continue;
            }
            uint256 sold = before[i] - after_[i];
            assertLe(sold, asked[i]);
            assertLe(sold, _of(w, i, 15), "P1: the surplus");
            assertEq(fair.got(tokens[i]), sold, "the executor got exactly that");
            soldE18 += RebalancePolicy.valueUp(sold, _of(w, i, 12), 10 ** tokens[i].decimals());
            uint256 most = asked[i] < _of(w, i, 15) ? asked[i] : _of(w, i, 15);
            askedE18 += RebalancePolicy.valueUp(most, _of(w, i, 12), 10 ** tokens[i].decimals());
        }
        if (p.destinationBps != 0) assertLe(soldE18, w[18], "P1: the need");
        uint256 budgetE18 = w[11] * w[16] / E18;
        assertLe(soldE18, budgetE18, "P6");
        if (askedE18 > budgetE18 || (p.destinationBps != 0 && askedE18 > w[18])) return;
        for (uint256 i; i < 3; ++i) {
            if (asked[i] == 0) continue;
            uint256 most = asked[i] < _of(w, i, 15) ? asked[i] : _of(w, i, 15);
            assertEq(before[i] - after_[i], most, "all that fits");
        }
    }

    /* SCENE */

    /// @dev Asked for so much WETH, the vault sells `allowed`, or up to `slack` units less for rounding; the executor gets exactly that,
    /// pays fairly, and the keeper's own minimum, fair for what it asked, is no hindrance.
    function _sellAndCheck(uint256 asked, uint256 allowed, uint256 slack) internal {
        uint256[] memory w = _words();
        uint256[] memory wantsE18 = new uint256[](3);
        for (uint256 i = 1; i < 3; ++i) {
            wantsE18[i] = _of(w, i, 16) * _of(w, i, 12) / 10 ** tokens[i].decimals();
        }
        uint256[] memory before = vault.held();
        (bool done, bytes memory answer) = _tradeFairlyFor(_amounts(asked, 0, 0), wantsE18);
        assertTrue(done, vm.toString(answer));
        uint256 sold = before[WETH] - vault.held()[WETH];
        assertLe(sold, allowed);
        assertGe(sold + slack, allowed);
        assertEq(fair.got(tokens[WETH]), sold);
        assertEq(_balances(address(vault)), vault.held());
    }

    function _sellAll() internal returns (bool done, bytes memory answer) {
        uint256[] memory w = _words();
        (uint256[] memory asked, uint256[] memory wantsE18) = (new uint256[](3), new uint256[](3));
        for (uint256 i; i < 3; ++i) {
            if (_of(w, i, 15) != 0) asked[i] = type(uint256).max;
            wantsE18[i] = _of(w, i, 16) * _of(w, i, 12) / 10 ** tokens[i].decimals();
        }
        return _tradeFairlyFor(asked, wantsE18);
    }

    function _movePrices(uint256 seed, uint256 salt) internal {
        _refreshFeeds();
        uint192[3] memory firstE8 = [uint192(2_000e8), 40_000e8, 1e8];
        for (uint256 i; i < 3; ++i) {
            _setPrice(i, int192(uint192(firstE8[i] * (667 + _roll(seed, salt + i) % 833) / 1_000)));
        }
    }
}
