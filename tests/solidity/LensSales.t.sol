// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import { VaultLens } from "../../contracts/VaultLens.sol";
import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";

/// @notice VaultLens says what may be sold now and from when on anyone may sell it: what it says goes, and hardly more.
///
/// Five assets with 0, 6, 8, 18 and 27 decimals, 5,000,000 dollars each: enough that a thousandth of a hundredth of them can be locked.
contract LensSalesTest is Base {
    uint256 internal constant HEAD_WORDS = 33;
    uint256 internal constant ASSET_WORDS = 20;
    uint256 internal constant N = 5;

    VaultLens internal lens;

    function setUp() public override {
        super.setUp();
        lens = VaultLens(deployCode("VaultLens.sol:VaultLens"));
        _switchToLargeMatrix();
    }

    /// @dev As `_switchToMatrix`, each 250 times as much.
    function _switchToLargeMatrix() internal {
        delete tokens;
        delete feeds;
        _addAsset(new MockToken("No decimals", "D0", 0), 50e8);
        _addAsset(new MockToken("Six decimals", "D6", 6), 1e8);
        _addAsset(new MockToken("Eight decimals", "D8", 8), 40_000e8);
        _addAsset(new MockToken("Eighteen decimals", "D18", 18), 2_000e8);
        _addAsset(new MockToken("Many decimals", "D27", 27), 0.01e8);
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](N);
        for (uint256 i; i < N; ++i) {
            c.assets[i] = _asset(address(tokens[i]), 0.2e18, 200, tokens[i].decimals());
        }
        uint256[] memory seed = new uint256[](N);
        (seed[0], seed[1], seed[2], seed[3], seed[4]) = (100_000, 5_000_000e6, 125e8, 2_500e18, 500_000_000e27);
        vault = _createVault(c, seed);
    }

    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        p.minProgressBps = 1;
        p.openAfterSeconds = 900;
    }

    /* SALES */

    /// @dev Whatever the drift, the destination, what is left of the turnover budget and the minimum trades: the sales it tells are
    /// accepted at fair prices, and a request for more sells no more.
    function testFuzz_the_sales_it_tells_are_accepted_and_more_is_not_sold(uint256 seed) public {
        IBasketVault.Policy memory p = _policy();
        p.destinationBps = uint16(_roll(seed, 1) % 3 == 0 ? 0 : _roll(seed, 2) % 10_001);
        p.turnoverBudgetBps = uint16(300 + _roll(seed, 3) % 8_000);
        vm.prank(owner);
        vault.setPolicy(p);
        _movePrices(seed, 100);
        // A first trade leaves some of the turnover budget; some of it comes back before the second.
        if (_roll(seed, 4) % 3 != 0 && _tradeAllowed()) {
            _pass(600 + _roll(seed, 5) % 12 hours);
            _movePrices(seed, 200);
        }
        bool least = _roll(seed, 6) % 3 == 0;
        if (least) _setMinimumTrades(seed);

        uint256[] memory w = _read();
        if (w[2] == uint256(VaultLens.Reason.InBand)) {
            _assertNoSales(w);
            vm.expectRevert(RebalancePolicy.NoBandBroken.selector);
            this.trade(new uint256[](N));
            return;
        }
        assertEq(w[2], uint256(VaultLens.Reason.BandBroken));
        _assertTypedSalesAgree(w);
        (uint256 bound_, uint256 dropped) = _limits(w);
        if (!least && bound_ != 0) _assertNoMoreSold(w, bound_);

        uint256[] memory sales = _sales(w);
        if (_isNothing(sales)) {
            // Scaled down, a sale may be less than the one unit of the asset without decimals; any other is left out by a minimum trade.
            for (uint256 i = 1; !least && i < N; ++i) {
                assertEq(w[_at(i) + 15], 0);
            }
            return;
        }
        try this.trade(sales) {
            for (uint256 i; i < N; ++i) {
                assertEq(vault.held()[i], sales[i] == 0 ? vault.held()[i] : w[_at(i) + 9] - sales[i]);
            }
        } catch (bytes memory reason) {
            // What minimum trades leave may be what lies inside its destination, or too little of the rest.
            assertGt(dropped, 0, vm.toString(reason));
            assertEq(bytes4(reason), RebalancePolicy.TooLittleProgress.selector);
        }
    }

    function test_without_a_limit_every_surplus_is_for_sale() public {
        IBasketVault.Policy memory p = _policy();
        p.turnoverBudgetBps = 20_000;
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(0, 60e8);
        _setPrice(4, 0.012e8);

        uint256[] memory w = _read();

        for (uint256 i; i < N; ++i) {
            assertEq(w[_at(i) + 17], w[_at(i) + 15]);
        }
        assertGt(w[_at(0) + 17], 0);
        assertGt(w[_at(4) + 17], 0);
    }

    function test_while_no_rebalance_may_run_nothing_is_for_sale() public {
        _setPrice(3, 3_000e8);
        assertGt(_read()[_at(3) + 17], 0);
        vm.prank(guardian);
        vault.pauseRebalance();
        _assertNoSales(_read());
        vm.prank(owner);
        vault.resumeRebalance();
        feeds[0].push(0);
        _assertNoSales(_read());
        _setPrice(0, 50e8);
        assertTrue(_tradeAllowed());
        _setPrice(3, 4_000e8);
        assertEq(_read()[2], uint256(VaultLens.Reason.Cooldown));
        _assertNoSales(_read());
    }

    /* OPENS AT */

    function test_opens_at_is_unknown_until_the_break_is_stamped() public {
        _setPrice(3, 3_000e8);
        assertEq(_read()[6], 0);
        assertEq(_read()[13], 0);
        vault.poke();
        assertEq(_read()[6], block.timestamp);
        assertEq(_read()[13], block.timestamp + 900);
    }

    function test_opens_at_is_zero_where_a_vault_never_opens() public {
        IBasketVault.Policy memory p = _policy();
        p.openAfterSeconds = 0;
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(3, 3_000e8);
        vault.poke();
        assertEq(_read()[6], block.timestamp);
        assertEq(_read()[13], 0);
    }

    function test_opens_at_counts_from_the_one_stamp_of_calendar_and_break() public {
        IBasketVault.Policy memory p = _policy();
        p.calendarSeconds = 1 days;
        vm.prank(owner);
        vault.setPolicy(p);
        uint256 midnight = block.timestamp - block.timestamp % 1 days + 1 days;
        vm.warp(midnight + 100);
        _refreshFeeds();
        _setPrice(3, 2_040e8); // inside its band, and more than dust
        assertEq(_read()[2], uint256(VaultLens.Reason.CalendarDue));
        assertEq(_read()[13], 0, "nobody has stamped it");
        vault.poke();
        assertEq(_read()[13], midnight + 1_000, "the calendar's");
        _pass(100);
        _setPrice(3, 3_000e8);
        vault.poke();
        assertEq(_read()[13], midnight + 1_000, "the break came later");
    }

    function testFuzz_the_vault_opens_at_the_second_it_tells(uint256 waited, bool calendar) public {
        IBasketVault.Policy memory p = _policy();
        if (calendar) p.calendarSeconds = 1 days;
        vm.prank(owner);
        vault.setPolicy(p);
        _setPrice(3, 2_400e8);
        _pass(bound(waited, 1, 2 days));
        vault.poke();
        uint256 opensAt = _read()[13];
        uint256 epoch = vault.state().epoch;
        if (opensAt > block.timestamp) {
            vm.warp(opensAt - 1);
            _refreshFeeds();
            uint256[] memory early = _sales(_read());
            vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
            this.tradeAs(stranger, early);
            vm.warp(opensAt);
            _refreshFeeds();
        }
        this.tradeAs(stranger, _sales(_read()));
        assertEq(vault.state().epoch, epoch + 1);
    }

    /* TRADES */

    /// @notice Sells exactly that at the oracle's prices, rounded in the vault's favour.
    function trade(uint256[] memory sales) external {
        this.tradeAs(keeper, sales);
    }

    function tradeAs(address caller, uint256[] memory sales) external {
        uint256[] memory buys = _fairBuys(_read(), sales);
        uint256 epoch = vault.state().epoch;
        bytes memory route = abi.encode(_bring(buys));
        vm.prank(caller);
        vault.rebalance(epoch, sales, buys, address(executor), route);
    }

    function _tradeAllowed() internal returns (bool) {
        uint256[] memory w = _read();
        uint256 epoch = w[4];
        if (w[2] != uint256(VaultLens.Reason.BandBroken) || _isNothing(_sales(w))) return false;
        this.trade(_sales(w));
        assertEq(vault.state().epoch, epoch + 1);
        return true;
    }

    /// @dev What the sales are worth, spent on what lacks most first.
    function _fairBuys(uint256[] memory w, uint256[] memory sales) internal view returns (uint256[] memory buys) {
        uint256 leftE18;
        for (uint256 i; i < N; ++i) {
            leftE18 += RebalancePolicy.valueUp(sales[i], w[_at(i) + 12], _unit(i));
        }
        buys = new uint256[](N);
        uint256 first = N;
        while (leftE18 != 0) {
            uint256 most = N;
            uint256 mostE18;
            for (uint256 i; i < N; ++i) {
                uint256 worthE18 = w[_at(i) + 16] * w[_at(i) + 12] / _unit(i);
                if (buys[i] == 0 && worthE18 > mostE18) (most, mostE18) = (i, worthE18);
            }
            // Deficits round down to units, some of which are worth 50 dollars: what is left then goes where it started, within dust.
            if (most == N) most = first;
            if (first == N) first = most;
            uint256 pieceE18 = buys[most] == 0 && mostE18 < leftE18 ? mostE18 : leftE18;
            buys[most] += (pieceE18 * _unit(most) + w[_at(most) + 12] - 1) / w[_at(most) + 12];
            leftE18 -= pieceE18;
        }
    }

    /// @dev Of some units more of each, or of all there can be, exactly what it tells is sold where surpluses are the limit; where another
    /// is, what is sold fits in it.
    function _assertNoMoreSold(uint256[] memory w, uint256 bound_) internal {
        uint256[] memory sales = _sales(w);
        uint256[] memory buys = _fairBuys(w, sales);
        uint256[] memory more = new uint256[](N);
        uint256[] memory all = new uint256[](N);
        for (uint256 i; i < N; ++i) {
            if (w[_at(i) + 15] == 0) continue; // even one of which less than a unit is for sale
            (more[i], all[i]) = (sales[i] + bound_, type(uint256).max);
        }
        uint256[] memory sold = _soldOf(w, more, buys);
        uint256 soldE18;
        for (uint256 i; i < N; ++i) {
            assertLe(sold[i], w[_at(i) + 15]);
            if (bound_ == 1) assertEq(sold[i], sales[i]);
            soldE18 += RebalancePolicy.valueUp(sold[i], w[_at(i) + 12], _unit(i));
        }
        assertLe(soldE18, w[18] + N, "the need");
        assertLe(soldE18, w[11] * w[16] / E18, "what is left of the turnover budget");
        assertEq(_soldOf(w, all, buys), sales, "all that may be");
    }

    /// @dev Sold amounts of the requested sales, if the executor brings that; nothing is changed.
    function _soldOf(uint256[] memory w, uint256[] memory asked, uint256[] memory buys)
        internal
        returns (uint256[] memory sold)
    {
        uint256 snapshot = vm.snapshotState();
        uint256[] memory least = new uint256[](N);
        for (uint256 i; i < N; ++i) {
            least[i] = buys[i] == 0 ? 0 : 1;
        }
        bytes memory route = abi.encode(_bring(buys));
        sold = new uint256[](N);
        vm.prank(keeper);
        try vault.rebalance(w[4], asked, least, address(executor), route) {
            for (uint256 i; i < N; ++i) {
                if (buys[i] == 0) sold[i] = w[_at(i) + 9] - vault.held()[i];
            }
        } catch (bytes memory reason) {
            assertEq(bytes4(reason), IVaultBase.NothingSold.selector, vm.toString(reason));
        }
        vm.revertToState(snapshot);
    }

    /// @dev How many units more are not sold: 1 if the surplus is the limit, 2 if another is, 0 if nothing is for sale; and how many
    /// sales a minimum trade has dropped.
    function _limits(uint256[] memory w) internal pure returns (uint256 bound_, uint256 dropped) {
        for (uint256 i; i < N; ++i) {
            (uint256 sale, uint256 surplus) = (w[_at(i) + 17], w[_at(i) + 15]);
            assertLe(sale, surplus);
            if (sale == 0 && w[_at(i) + 7] != 0) ++dropped;
            if (sale != 0 && bound_ != 2) bound_ = sale == surplus ? 1 : 2;
        }
    }

    function _assertTypedSalesAgree(uint256[] memory w) internal view {
        (VaultLens.Reason reason, uint256 epoch, uint256[] memory sales, uint256[] memory minBuys) =
            lens.allowedSales(vault);
        assertEq(uint256(reason), w[2]);
        assertEq(epoch, w[4]);
        assertEq(sales, _sales(w));
        for (uint256 i; i < N; ++i) {
            if (w[_at(i) + 16] != 0) assertEq(minBuys[i], 1);
            if (w[_at(i) + 15] != 0) assertEq(minBuys[i], 0);
        }
    }

    function _assertNoSales(uint256[] memory w) internal view {
        assertEq(_sales(w), new uint256[](N));
        (,, uint256[] memory sales, uint256[] memory minBuys) = lens.allowedSales(vault);
        assertEq(sales, new uint256[](N));
        assertEq(minBuys, new uint256[](N));
    }

    /* SCENE */

    function _movePrices(uint256 seed, uint256 salt) internal {
        uint192[5] memory firstE8 = [uint192(50e8), 1e8, 40_000e8, 2_000e8, 0.01e8];
        for (uint256 i; i < N; ++i) {
            // From two thirds to one and a half.
            _setPrice(i, int192(uint192(firstE8[i] * (667 + _roll(seed, salt + i) % 833) / 1_000)));
        }
    }

    /// @dev Of what is in surplus: around what is for sale of it.
    function _setMinimumTrades(uint256 seed) internal {
        uint256[] memory w = _read();
        IBasketVault.Band[] memory bands = new IBasketVault.Band[](N);
        for (uint256 i; i < N; ++i) {
            bands[i].bandBps = 200;
            if (w[_at(i) + 15] == 0 || _roll(seed, 300 + i) % 2 == 0) continue;
            bands[i].minTradeRaw = uint128(w[_at(i) + 17] * (_roll(seed, 400 + i) % 200) / 100);
        }
        vm.prank(curator);
        vault.setBands(bands);
    }

    function _read() internal view returns (uint256[] memory words) {
        IBasketVault[] memory list = new IBasketVault[](1);
        list[0] = vault;
        bytes memory packed = lens.read(list);
        words = new uint256[](packed.length / 32);
        for (uint256 i; i < words.length; ++i) {
            uint256 word;
            assembly ("memory-safe") {
                word := mload(add(add(packed, 32), mul(32, i)))
            }
            words[i] = word;
        }
    }

    function _sales(uint256[] memory w) internal pure returns (uint256[] memory sales) {
        sales = new uint256[](N);
        for (uint256 i; i < N; ++i) {
            sales[i] = w[_at(i) + 17];
        }
    }

    function _isNothing(uint256[] memory list) internal pure returns (bool) {
        uint256 all;
        for (uint256 i; i < list.length; ++i) {
            all |= list[i];
        }
        return all == 0;
    }

    function _at(uint256 asset) internal pure returns (uint256) {
        return HEAD_WORDS + ASSET_WORDS * asset;
    }

    function _unit(uint256 asset) internal view returns (uint256) {
        return 10 ** tokens[asset].decimals();
    }

    function _roll(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt))) >> 8;
    }
}
