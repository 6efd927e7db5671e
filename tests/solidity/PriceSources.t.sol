// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { IPriceSource } from "../../contracts/interfaces/IPriceSource.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { OddSource } from "./support/OddSource.sol";

/// @notice Prices that OracleHub reads through adapters: as a token's own feed, as its second source, and from hostile adapters.
contract PriceSourcesTest is Base {
    bytes4 internal constant PAUSED = bytes4(keccak256("oraclePaused()"));
    bytes4 internal constant RATE = bytes4(keccak256("stEthPerToken()"));
    bytes4 internal constant OF_ONE_SHARE = bytes4(keccak256("convertToAssets(uint256)"));

    MockToken internal coin;
    /// Of a coin, at 2,000 dollars.
    MockAggregator internal feed;
    /// Pauses prices, or has a rate.
    OddSource internal source;
    address internal pausableFeed;
    address internal exchangeRateFeed;

    function setUp() public override {
        super.setUp();
        coin = new MockToken("Coin", "COIN", 18);
        feed = _feed(8, 2_000e8);
        source = new OddSource();
        source.tell(PAUSED, abi.encode(false));
        source.tell(RATE, abi.encode(1.2e18));
        pausableFeed = deployCode("PausableFeed.sol:PausableFeed");
        exchangeRateFeed = deployCode("ExchangeRateFeed.sol:ExchangeRateFeed");
    }

    /* SETTING */

    function test_an_adapted_feed_is_set_only_by_the_owner() public {
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, guardian));
        oracle.setAdaptedFeed(address(coin), pausableFeed, 600, 1, 1e30, address(0), _pausable());
    }

    function test_an_adapted_feed_without_params_or_heartbeat_or_of_a_wrong_length_is_refused() public {
        _refuse(pausableFeed, 600, "", abi.encodeWithSelector(IOracleHub.NoParams.selector, pausableFeed));
        _refuse(pausableFeed, 0, _pausable(), abi.encodeWithSelector(IOracleHub.HeartbeatZero.selector, coin));
        _refuse(pausableFeed, 600, hex"12", abi.encodeWithSelector(IOracleHub.ParamsLength.selector, 1, 41));
        _refuse(exchangeRateFeed, 600, hex"12", abi.encodeWithSelector(IOracleHub.ParamsLength.selector, 1, 79));
        bytes memory params = abi.encodePacked(feed, uint8(9), source);
        _refuse(pausableFeed, 600, params, abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, feed, 9, 8));
        _refuse(address(0xADA), 600, params, "");
    }

    function test_a_range_of_rates_that_is_empty_or_starts_at_zero_is_refused() public {
        bytes memory refusal = abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, 0, 2e18);
        _refuse(exchangeRateFeed, 600, _rated(RATE, 0, 18, 0, 2e18), refusal);
        refusal = abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, 2e18 + 1, 2e18);
        _refuse(exchangeRateFeed, 600, _rated(RATE, 0, 18, 2e18 + 1, 2e18), refusal);
        refusal = abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 28, 27);
        _refuse(exchangeRateFeed, 600, _rated(RATE, 0, 28, 1e18, 2e18), refusal);
        source.tell(bytes4(keccak256("decimals()")), abi.encode(24));
        refusal = abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, source, 18, 24);
        _refuse(exchangeRateFeed, 600, _rated(0, 18, 6, 1e18, 2e18), refusal);
    }

    function test_a_price_that_is_paused_or_out_of_its_rates_range_now_is_refused() public {
        source.tell(PAUSED, abi.encode(true));
        _refuse(pausableFeed, 600, _pausable(), _unsound(pausableFeed, IOracleHub.Fault.Paused));
        bytes memory params = _rated(RATE, 0, 18, 1.2e18 + 1, 2e18);
        _refuse(exchangeRateFeed, 600, params, _unsound(exchangeRateFeed, IOracleHub.Fault.OutOfRange));
    }

    function test_an_adapted_feed_is_stored_tightened_replaced_and_removed() public {
        // Rounded inward to 24 bits, as in Oracle.t.sol.
        IOracleHub.Feed memory expected = IOracleHub.Feed({
            feed: pausableFeed,
            heartbeatSeconds: 600,
            feedDecimals: 18,
            minPriceE18: 1,
            maxPriceE18: 1 << 100,
            quote: address(0),
            params: _pausable()
        });
        vm.expectEmit(address(oracle));
        emit IOracleHub.FeedSet(address(coin), expected);
        _set(pausableFeed, 600, 1, 1 << 100, address(0), _pausable());
        assertEq(keccak256(abi.encode(oracle.feedOf(address(coin)))), keccak256(abi.encode(expected)));
        assertEq(oracle.changedAt(address(coin)), block.timestamp);

        skip(60);
        vm.prank(owner);
        oracle.tightenFeed(address(coin), 599, 1, 1 << 99);
        (expected.heartbeatSeconds, expected.maxPriceE18) = (599, 1 << 99);
        assertEq(keccak256(abi.encode(oracle.feedOf(address(coin)))), keccak256(abi.encode(expected)));
        assertEq(oracle.changedAt(address(coin)), block.timestamp);
        _check(2_000e18, IOracleHub.Fault.None);

        vm.prank(owner);
        oracle.setFeed(address(coin), address(feed), 8, 600, 1, 1 << 100);
        assertEq(oracle.feedOf(address(coin)).params, "");
        source.tell(PAUSED, abi.encode(true));
        _check(2_000e18, IOracleHub.Fault.None);
        source.tell(PAUSED, abi.encode(false));

        _set(pausableFeed, 600, 1, 1 << 100, address(0), _pausable());
        vm.prank(guardian);
        oracle.removeFeed(address(coin));
        assertEq(oracle.feedOf(address(coin)).params, "");
        _check(0, IOracleHub.Fault.NoFeed);
    }

    /* ONE SOURCE TWICE */

    function test_a_feed_behind_an_adapter_is_no_second_source() public {
        _setPausable();
        _refuseSource(chainlinkFeed, abi.encodePacked(feed, uint8(8)), address(feed));
        _refuseSource(exchangeRateFeed, _rated(RATE, 0, 18, 1e18, 2e18), address(feed));
        MockAggregator other = _feed(8, 2_000e8);
        vm.startPrank(owner);
        oracle.setFeed(address(coin), address(other), 8, 600, 1, 1e30);
        oracle.setSource(address(coin), IOracleHub.Source(pausableFeed, 600, 100, address(0), _pausable()));
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.SharedSource.selector, coin, feed));
        oracle.setFeed(address(coin), address(feed), 8, 600, 1, 1e30);
        vm.stopPrank();
    }

    function test_a_rates_contract_is_no_second_source_of_what_it_rates() public {
        _setRated(1e18, 2e18);
        source.tell(RATE, abi.encode(2_400e18));
        address rateFeed = deployCode("RateFeed.sol:RateFeed");
        _refuseSource(rateFeed, abi.encodePacked(source, RATE, uint8(18)), address(source));
    }

    function test_what_stands_behind_an_adapted_quote_is_no_second_source() public {
        address quote = makeAddr("quote");
        vm.prank(owner);
        oracle.setAdaptedFeed(quote, pausableFeed, 600, 1, 1e30, address(0), _pausable());
        MockAggregator ratio = _feed(18, 1e18);
        vm.prank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, 1e30, quote);
        _refuseSource(chainlinkFeed, abi.encodePacked(feed, uint8(8)), address(feed));
        _check(2_000e18, IOracleHub.Fault.None);
        source.tell(PAUSED, abi.encode(true));
        _check(0, IOracleHub.Fault.Paused);
    }

    /* PAUSED */

    function test_a_paused_price_is_a_fault_and_no_other_price() public {
        _setPausable();
        _check(2_000e18, IOracleHub.Fault.None);
        source.tell(PAUSED, abi.encode(true));
        _check(0, IOracleHub.Fault.Paused);
        source.tell(PAUSED, abi.encode(type(uint256).max)); // no boolean of Solidity's, and not false
        _check(0, IOracleHub.Fault.Paused);
        source.tell(PAUSED, abi.encode(false));
        _check(2_000e18, IOracleHub.Fault.None);
    }

    function test_a_flag_that_does_not_answer_counts_as_no_price() public {
        _setPausable();
        source.tell(PAUSED, new bytes(31));
        _check(0, IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.Revert);
        _check(0, IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.BurnGas);
        _check(0, IOracleHub.Fault.CallFailed);
        vm.etch(address(source), "");
        _check(0, IOracleHub.Fault.CallFailed);
    }

    function test_a_pausable_feed_is_judged_as_any_feed() public {
        _set(pausableFeed, 600, 1_000e18, 3_000e18, address(0), _pausable());
        feed.push(3_001e8);
        _check(3_001e18, IOracleHub.Fault.OutOfRange);
        feed.push(0);
        _check(0, IOracleHub.Fault.NotPositive);
        feed.push(2_000e8);
        skip(600);
        _check(2_000e18, IOracleHub.Fault.None);
        skip(1);
        _check(2_000e18, IOracleHub.Fault.Stale);
        feed.setFailing(true);
        _check(0, IOracleHub.Fault.CallFailed);
    }

    function test_a_paused_second_source_stops_and_says_why() public {
        MockAggregator own = _feed(8, 2_010e8);
        vm.startPrank(owner);
        oracle.setFeed(address(coin), address(own), 8, 600, 1, 1e30);
        oracle.setSource(address(coin), IOracleHub.Source(pausableFeed, 600, 100, address(0), _pausable()));
        vm.stopPrank();
        assertEq(_price().loE18, 2_000e18);
        assertEq(_price().hiE18, 2_010e18);
        source.tell(PAUSED, abi.encode(true));
        assertEq(uint8(_price().fault), uint8(IOracleHub.Fault.SecondUnsound));
        (IOracleHub.Reading memory first, IOracleHub.Reading memory second) = oracle.readings(address(coin));
        assertEq(uint8(first.fault), uint8(IOracleHub.Fault.None));
        assertEq(uint8(second.fault), uint8(IOracleHub.Fault.Paused));
    }

    /* RATES */

    function test_a_rate_times_a_feed_is_the_price() public {
        _setRated(1e18, 1.3e18);
        _check(2_400e18, IOracleHub.Fault.None);
        feed.push(1_000e8);
        source.tell(RATE, abi.encode(1.25e18 + 1));
        _check(1_250e18 + 1_000, IOracleHub.Fault.None);
    }

    function test_a_rate_may_stand_on_either_end_of_its_range_and_not_beyond() public {
        _setRated(1.1e18, 1.3e18);
        source.tell(RATE, abi.encode(1.1e18));
        _check(2_200e18, IOracleHub.Fault.None);
        source.tell(RATE, abi.encode(1.1e18 - 1));
        _check(0, IOracleHub.Fault.OutOfRange);
        source.tell(RATE, abi.encode(1.3e18));
        _check(2_600e18, IOracleHub.Fault.None);
        source.tell(RATE, abi.encode(1.3e18 + 1)); // a donation, say
        _check(0, IOracleHub.Fault.OutOfRange);
        source.tell(RATE, abi.encode(type(uint256).max));
        _check(0, IOracleHub.Fault.OutOfRange);
        source.misbehave(OddSource.Manner.BurnGas);
        _check(0, IOracleHub.Fault.CallFailed);
    }

    function test_a_rated_price_is_as_old_as_its_feed() public {
        _setRated(1e18, 2e18);
        skip(601);
        _check(2_400e18, IOracleHub.Fault.Stale);
        feed.push(-1);
        _check(0, IOracleHub.Fault.NotPositive);
        feed.setFailing(true);
        _check(0, IOracleHub.Fault.CallFailed);
    }

    function test_a_share_is_priced_by_its_assets_and_their_feed() public {
        // 24 decimals, worth 1.25 assets of 6 decimals.
        source.tell(bytes4(keccak256("decimals()")), abi.encode(24));
        source.tell(OF_ONE_SHARE, abi.encode(1.25e6));
        _set(exchangeRateFeed, 600, 1, 1e30, address(0), _rated(0, 24, 6, 1.2e18, 1.3e18));
        _check(2_500e18, IOracleHub.Fault.None);
        source.tell(OF_ONE_SHARE, abi.encode(1.3e6 + 1));
        _check(0, IOracleHub.Fault.OutOfRange);
    }

    function test_a_rated_price_can_have_a_quote_and_a_second_source() public {
        address quote = makeAddr("quote");
        MockAggregator quoteFeed = _feed(8, 2e8);
        MockAggregator market = _feed(8, 4_820e8);
        vm.prank(owner);
        oracle.setFeed(quote, address(quoteFeed), 8, 600, 1, 1e30);
        _set(exchangeRateFeed, 600, 1, 1e30, quote, _rated(RATE, 0, 18, 1e18, 2e18));
        bytes memory params = abi.encodePacked(market, uint8(8));
        vm.prank(owner);
        oracle.setSource(address(coin), IOracleHub.Source(chainlinkFeed, 600, 100, address(0), params));
        IOracleHub.Price memory p = _price();
        assertEq(p.loE18, 4_800e18);
        assertEq(p.hiE18, 4_820e18);
        assertEq(p.primaryE18, 4_800e18);
        market.push(4_849e8);
        assertEq(uint8(_price().fault), uint8(IOracleHub.Fault.Diverged));
    }

    /// @dev The largest of everything: no product overflows.
    function testFuzz_no_feed_and_no_rate_make_prices_revert(int192 answer, uint256 rate, uint8 decimals) public {
        decimals = uint8(bound(decimals, 0, 27));
        source.tell(RATE, abi.encode(10 ** decimals));
        _set(exchangeRateFeed, 600, 1, type(uint128).max, address(0), _rated(RATE, 0, decimals, 1, type(uint128).max));
        feed.push(answer);
        source.tell(RATE, abi.encode(rate));
        IOracleHub.Price memory p = _price();
        if (p.fault == IOracleHub.Fault.None) {
            assertEq(p.primaryE18, uint256(int256(answer)) * 1e10 * (rate * 1e18 / 10 ** decimals) / 1e18);
        }
    }

    /* HOSTILE ADAPTERS */

    function test_whatever_an_adapter_answers_is_judged() public {
        OddSource adapter = new OddSource();
        _answer(adapter, 5e18, block.timestamp, 0);
        adapter.tell(IPriceSource.readsFrom.selector, abi.encode(new address[](0)));
        _set(address(adapter), 600, 4e18, 6e18, address(0), hex"00");
        _check(5e18, IOracleHub.Fault.None);
        _answer(adapter, 0, block.timestamp, 0);
        _check(0, IOracleHub.Fault.NotPositive);
        _answer(adapter, uint256(type(uint128).max) + 1, block.timestamp, 0);
        _check(0, IOracleHub.Fault.OutOfRange);
        _answer(adapter, 7e18, block.timestamp, 0);
        _check(7e18, IOracleHub.Fault.OutOfRange);
        _answer(adapter, 5e18, block.timestamp + 1, 0);
        _check(5e18, IOracleHub.Fault.Stale);
        _answer(adapter, 5e18, block.timestamp - 601, 0);
        _check(5e18, IOracleHub.Fault.Stale);
        for (uint256 fault = 1; fault < 11; ++fault) {
            _answer(adapter, 5e18, block.timestamp, fault);
            _check(0, IOracleHub.Fault(fault));
        }
        _answer(adapter, 5e18, block.timestamp, 11);
        _check(0, IOracleHub.Fault.CallFailed);
        _answer(adapter, 5e18, block.timestamp, type(uint256).max);
        _check(0, IOracleHub.Fault.CallFailed);
        adapter.tell(IPriceSource.read.selector, new bytes(95));
        _check(0, IOracleHub.Fault.CallFailed);
        adapter.misbehave(OddSource.Manner.Revert);
        _check(0, IOracleHub.Fault.CallFailed);
        adapter.misbehave(OddSource.Manner.BurnGas);
        _check(0, IOracleHub.Fault.CallFailed);
        adapter.misbehave(OddSource.Manner.Bomb);
        _check(0, IOracleHub.Fault.CallFailed); // its third word is no fault
        vm.etch(address(adapter), "");
        _check(0, IOracleHub.Fault.CallFailed);
    }

    function testFuzz_no_answer_of_an_adapter_makes_prices_revert(bytes memory answer) public {
        OddSource adapter = new OddSource();
        _answer(adapter, 5e18, block.timestamp, 0);
        _set(address(adapter), 600, 4e18, 6e18, address(0), hex"00");
        adapter.tell(IPriceSource.read.selector, answer);
        _price();
    }

    function _answer(OddSource adapter, uint256 priceE18, uint256 updatedAt, uint256 fault) internal {
        adapter.tell(IPriceSource.read.selector, abi.encode(priceE18, updatedAt, fault));
    }

    /* HELPERS */

    function _feed(uint8 decimals, int192 answer) internal returns (MockAggregator made) {
        made = new MockAggregator(decimals, "feed");
        made.push(answer);
    }

    function _pausable() internal view returns (bytes memory) {
        return abi.encodePacked(feed, uint8(8), source);
    }

    function _rated(bytes4 selector, uint8 shareDecimals, uint8 decimals, uint128 minE18, uint128 maxE18)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodePacked(feed, uint8(8), source, selector, shareDecimals, decimals, minE18, maxE18);
    }

    function _setPausable() internal {
        _set(pausableFeed, 600, 1, 1e30, address(0), _pausable());
    }

    function _setRated(uint128 minRateE18, uint128 maxRateE18) internal {
        _set(exchangeRateFeed, 600, 1, 1e30, address(0), _rated(RATE, 0, 18, minRateE18, maxRateE18));
    }

    function _set(
        address adapter,
        uint32 heartbeatSeconds,
        uint128 minE18,
        uint128 maxE18,
        address quote,
        bytes memory params
    ) internal {
        vm.prank(owner);
        oracle.setAdaptedFeed(address(coin), adapter, heartbeatSeconds, minE18, maxE18, quote, params);
    }

    function _refuse(address adapter, uint32 heartbeatSeconds, bytes memory params, bytes memory refusal) internal {
        vm.prank(owner);
        vm.expectRevert(refusal);
        oracle.setAdaptedFeed(address(coin), adapter, heartbeatSeconds, 1, 1e30, address(0), params);
    }

    function _refuseSource(address adapter, bytes memory params, address shared) internal {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.SharedSource.selector, coin, shared));
        oracle.setSource(address(coin), IOracleHub.Source(adapter, 600, 100, address(0), params));
    }

    function _unsound(address adapter, IOracleHub.Fault fault) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, adapter, fault);
    }

    function _price() internal view returns (IOracleHub.Price memory) {
        address[] memory asked = new address[](1);
        asked[0] = address(coin);
        return oracle.prices(asked)[0];
    }

    function _check(uint256 priceE18, IOracleHub.Fault fault) internal view {
        IOracleHub.Price memory p = _price();
        assertEq(uint8(p.fault), uint8(fault), "fault");
        assertEq(p.primaryE18, priceE18, "price");
        assertEq(p.loE18, priceE18, "lo");
        assertEq(p.hiE18, priceE18, "hi");
    }
}
