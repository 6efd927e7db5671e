// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { TickMath } from "@uniswap/v4-core/src/libraries/TickMath.sol";

import { UniswapV3Twap } from "../../contracts/feeds/UniswapV3Twap.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base } from "./Base.t.sol";
import { OddFeed } from "./support/OddFeed.sol";
import { OddSource } from "./support/OddSource.sol";

/// @notice OracleHub's second sources, feeds quoted in other feeds, and the sequencer. `coin` is at 2,000 dollars by its feed.
contract SourcesTest is Base {
    bytes4 internal constant RATE = bytes4(keccak256("stEthPerToken()"));
    uint32 internal constant WINDOW = 1_800;

    MockToken internal coin;
    MockToken internal dollar;
    MockAggregator internal coinFeed;
    OddFeed internal odd;
    OddSource internal source;
    address internal rateFeed;
    address internal shareFeed;
    address internal twapFeed;

    function setUp() public override {
        super.setUp();
        coin = new MockToken("Coin", "COIN", 18);
        dollar = new MockToken("Dollar", "USD", 6);
        coinFeed = _addAsset(coin, 2_000e8);
        _addAsset(dollar, 1e8);
        odd = new OddFeed();
        odd.setPrice(2_000e8);
        source = new OddSource();
        rateFeed = deployCode("RateFeed.sol:RateFeed");
        shareFeed = deployCode("ERC4626Feed.sol:ERC4626Feed");
        twapFeed = deployCode("UniswapV3TwapFeed.sol:UniswapV3TwapFeed");
    }

    /* SETTING */

    function test_sources_are_set_and_removed_only_by_the_owner() public {
        IOracleHub.Source memory s = _feedSource();
        bytes memory refusal = abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, guardian);
        vm.startPrank(guardian);
        vm.expectRevert(refusal);
        oracle.setSource(address(coin), s);
        vm.expectRevert(refusal);
        oracle.removeSource(address(coin));
        vm.expectRevert(refusal);
        oracle.setQuotedFeed(address(coin), address(odd), 8, 600, 1, 2, address(dollar));
        vm.stopPrank();
    }

    function test_rules_that_allow_nothing_or_everything_are_refused() public {
        IOracleHub.Source memory s = _feedSource();
        s.maxDivergenceBps = 0;
        _refuse(s, abi.encodeWithSelector(IOracleHub.DivergenceOutOfRange.selector, 0, 2_000));
        s.maxDivergenceBps = 2_001;
        _refuse(s, abi.encodeWithSelector(IOracleHub.DivergenceOutOfRange.selector, 2_001, 2_000));
        s = _feedSource();
        s.adapter = address(0);
        _refuse(s, abi.encodeWithSelector(IOracleHub.NoSource.selector, coin));
        s = _feedSource();
        s.params = "";
        _refuse(s, abi.encodeWithSelector(IOracleHub.NoParams.selector, chainlinkFeed));
        s = _feedSource();
        s.heartbeatSeconds = 0;
        _refuse(s, abi.encodeWithSelector(IOracleHub.HeartbeatZero.selector, coin));
        s.heartbeatSeconds = 600;
        s.params = abi.encodePacked(odd, uint8(18));
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, odd, 18, 8));
        s.params = abi.encodePacked(odd, uint8(19));
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 19, 18));
        s = _getterSource(28, 1e28);
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 28, 27));
    }

    function test_the_loosest_and_the_strictest_rules_can_be_set() public {
        IOracleHub.Source memory s = _feedSource();
        s.maxDivergenceBps = 1;
        s.heartbeatSeconds = 1;
        _set(s);
        s.maxDivergenceBps = 2_000;
        _set(s);
        assertEq(oracle.sourceOf(address(coin)).maxDivergenceBps, 2_000);
        s = _twapSource(_tickOf2000());
        s.params = _twapParams(600, 18, 6);
        _tellSum(int256(600) * _tickOf2000());
        _set(s);
        assertEq(oracle.sourceOf(address(coin)).params, s.params);
    }

    function test_a_source_that_is_another_vaults_or_has_other_tokens_is_refused() public {
        IOracleHub.Source memory s = IOracleHub.Source(shareFeed, 1, 100, address(dollar), _shareParams(18, 6));
        _refuse(s, ""); // the coin has no assets
        s = _twapSource(_tickOf2000());
        source.tell(bytes4(keccak256("token0()")), abi.encode(address(this)));
        _refuse(s, abi.encodeWithSelector(IOracleHub.SourceOfOthers.selector, source, coin, dollar));
        s = _twapSource(_tickOf2000());
        s.params = _twapParams(WINDOW, 18, 7);
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, dollar, 7, 6));
        s.params = _twapParams(WINDOW, 18, 28);
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 28, 27));
        MockToken fine = new MockToken("Fine", "FINE", 27);
        (s.quote, s.params) = (address(fine), _twapParams(WINDOW, 18, 27));
        _refuse(s, abi.encodeWithSelector(IOracleHub.SourceOfOthers.selector, source, coin, fine));
    }

    function test_a_window_too_short_and_the_pool_of_others_are_refused() public {
        IOracleHub.Source memory s = _twapSource(_tickOf2000());
        s.params = _twapParams(599, 18, 6);
        _refuse(s, abi.encodeWithSelector(IOracleHub.WindowTooShort.selector, 599, 600));
        s = _twapSource(_tickOf2000());
        s.params = _twapParams(WINDOW, 8, 6);
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, coin, 8, 18));
        s.params = _twapParams(WINDOW, 28, 6);
        _refuse(s, abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 28, 27));
        s = _twapSource(_tickOf2000());
        source.tell(bytes4(keccak256("token1()")), abi.encode(address(this)));
        _refuse(s, abi.encodeWithSelector(IOracleHub.SourceOfOthers.selector, source, coin, dollar));
    }

    function test_a_source_that_is_unsound_or_diverges_now_is_refused() public {
        odd.set(OddFeed.Manner.BurnGas, "");
        _refuse(_feedSource(), _unsound(chainlinkFeed, IOracleHub.Fault.CallFailed));
        odd.setPrice(2_021e8);
        _refuse(_feedSource(), _unsound(chainlinkFeed, IOracleHub.Fault.Diverged));
        odd.setPrice(2_000e8);
        vm.prank(guardian);
        oracle.removeFeed(address(coin));
        _refuse(_feedSource(), _unsound(chainlinkFeed, IOracleHub.Fault.NoFeed));
        assertEq(oracle.sourceOf(address(coin)).adapter, address(0), "nothing is kept of what was refused");
    }

    function test_a_source_is_stored_told_and_removed() public {
        IOracleHub.Source memory s = _feedSource();
        vm.expectEmit(address(oracle));
        emit IOracleHub.SourceSet(address(coin), s);
        _set(s);
        assertEq(keccak256(abi.encode(oracle.sourceOf(address(coin)))), keccak256(abi.encode(s)));
        odd.setPrice(2_020e8);
        _check(2_000e18, 2_020e18, IOracleHub.Fault.None);

        vm.expectEmit(address(oracle));
        emit IOracleHub.SourceRemoved(address(coin));
        vm.prank(owner);
        oracle.removeSource(address(coin));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
        assertEq(oracle.sourceOf(address(coin)).adapter, address(0));
    }

    function test_a_source_outlives_its_tokens_feed() public {
        _set(_feedSource());
        vm.prank(guardian);
        oracle.removeFeed(address(coin));
        _check(0, 0, IOracleHub.Fault.NoFeed);
        odd.setPrice(3_000e8);

        vm.prank(owner);
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);
        _check(2_000e18, 3_000e18, IOracleHub.Fault.Diverged);
    }

    function test_a_quote_and_a_check_come_and_go_each_by_itself() public {
        address quote = _quote(2e8);
        MockAggregator ratio = new MockAggregator(18, "coin in quotes");
        ratio.push(1_000e18);
        _set(_feedSource());
        vm.startPrank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max, quote);
        odd.setPrice(2_010e8);
        _check(2_000e18, 2_010e18, IOracleHub.Fault.None);
        oracle.removeSource(address(coin));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
        assertEq(oracle.feedOf(address(coin)).quote, quote, "still in quotes");
        vm.stopPrank();
        _set(_feedSource());
        _check(2_000e18, 2_010e18, IOracleHub.Fault.None);

        vm.startPrank(owner);
        oracle.tightenFeed(address(coin), 599, oracle.feedOf(address(coin)).minPriceE18, 3_000e18);
        assertEq(oracle.feedOf(address(coin)).quote, quote, "tightened in quotes");
        _check(2_000e18, 2_010e18, IOracleHub.Fault.None);
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);
        vm.stopPrank();
        assertEq(oracle.feedOf(address(coin)).quote, address(0));
        coinFeed.push(2_005e8);
        _check(2_005e18, 2_010e18, IOracleHub.Fault.None);
    }

    function test_removing_a_source_that_never_was_changes_no_price() public {
        vm.prank(owner);
        oracle.removeSource(address(coin));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    function test_a_quote_counts_by_its_feed_alone() public {
        address quote = _quote(2e8);
        _set(_feedSource());
        MockAggregator second = new MockAggregator(8, "second opinion on the quote");
        second.push(2e8);
        IOracleHub.Source memory s = _feedSource();
        s.params = abi.encodePacked(second, uint8(8));
        vm.prank(owner);
        oracle.setSource(quote, s);
        MockAggregator ratio = new MockAggregator(18, "coin in quotes");
        ratio.push(1_000e18);
        vm.prank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max, quote);

        second.push(3e8);

        assertEq(uint8(_price(quote).fault), uint8(IOracleHub.Fault.Diverged));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    function test_a_price_that_may_not_be_used_is_still_told_with_a_second_source_or_without() public {
        vm.prank(owner);
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);
        skip(601);
        _check(2_000e18, 2_000e18, IOracleHub.Fault.Stale);
        _checkPrimary(2_000e18, IOracleHub.Fault.Stale);
        coinFeed.push(2_000e8);
        odd.setPrice(2_000e8);
        _set(_feedSource());
        vm.prank(owner); // again, as the source is known by now
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);

        skip(601);
        odd.setPrice(2_010e8);

        _check(2_000e18, 2_000e18, IOracleHub.Fault.Stale);
        _checkPrimary(2_000e18, IOracleHub.Fault.Stale);
    }

    function test_a_token_without_a_second_source_has_no_second_reading() public view {
        _checkReading(0, IOracleHub.Fault.None);
    }

    function _checkPrimary(uint256 priceE18, IOracleHub.Fault fault) internal view {
        (IOracleHub.Reading memory primary,) = oracle.readings(address(coin));
        assertEq(uint8(primary.fault), uint8(fault), "fault");
        assertEq(primary.priceE18, priceE18, "price");
    }

    /* TIGHTENING */

    function test_a_divergence_limit_is_lowered_at_once_and_never_raised() public {
        vm.prank(owner);
        manager.setTargetFunctionRole(address(oracle), _selectors(IOracleHub.tightenSource.selector), GUARDIAN_ROLE);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, keeper));
        oracle.tightenSource(address(coin), 50);
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.NoSource.selector, coin));
        oracle.tightenSource(address(coin), 50);
        _set(_feedSource());
        odd.setPrice(2_010e8);
        IOracleHub.Source memory expected = _feedSource();

        vm.startPrank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.DivergenceOutOfRange.selector, 0, 2_000));
        oracle.tightenSource(address(coin), 0);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.DivergenceLoosened.selector, 101, 100));
        oracle.tightenSource(address(coin), 101);
        oracle.tightenSource(address(coin), 100);
        _check(2_000e18, 2_010e18, IOracleHub.Fault.None);
        expected.maxDivergenceBps = 49;
        vm.expectEmit(address(oracle));
        emit IOracleHub.SourceSet(address(coin), expected);
        oracle.tightenSource(address(coin), 49);
        vm.stopPrank();

        assertEq(keccak256(abi.encode(oracle.sourceOf(address(coin)))), keccak256(abi.encode(expected)));
        _check(2_000e18, 2_010e18, IOracleHub.Fault.Diverged);
    }

    /* ONE SOURCE TWICE */

    function test_the_same_feed_is_no_second_source_in_whatever_way_it_is_read() public {
        IOracleHub.Source memory s = _feedSource();
        s.params = abi.encodePacked(coinFeed, uint8(8));
        _refuse(s, _shared(address(coinFeed)));
        s = _getterSource(8, 2_000e8);
        s.params = abi.encodePacked(coinFeed, RATE, uint8(8));
        _refuse(s, _shared(address(coinFeed)));
        s = _getterSource(18, 1e18);
        s.quote = _quoteOf("same as coin", coinFeed);
        _refuse(s, _shared(address(coinFeed)));
        // A share of itself: one coin is worth one coin.
        s.quote = address(coin);
        _refuse(s, _shared(address(coinFeed)));
        assertEq(oracle.sourceOf(address(coin)).adapter, address(0), "nothing is kept of what was refused");
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    function test_what_stands_behind_a_quoted_feed_is_no_second_source() public {
        MockAggregator quoteFeed = _feed(8, 2_000e8);
        address quote = _quoteOf("quote", quoteFeed);
        address likeIt = _quoteOf("another with the same feed", quoteFeed);
        MockAggregator ratio = _feed(18, 1e18);
        vm.prank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max, quote);

        IOracleHub.Source memory s = _feedSource();
        s.params = abi.encodePacked(quoteFeed, uint8(8));
        _refuse(s, _shared(address(quoteFeed)));
        s = _feedSource();
        s.params = abi.encodePacked(ratio, uint8(18));
        _refuse(s, _shared(address(ratio)));
        s = _getterSource(18, 1e18);
        s.quote = likeIt;
        _refuse(s, _shared(address(quoteFeed)));
        s.quote = quote;
        _refuse(s, _shared(quote));
        s.quote = _quoteOf("another of its own", _feed(8, 2_000e8));
        _set(s);
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    function test_a_feed_that_the_second_source_rests_on_cannot_become_the_first() public {
        MockAggregator quoteFeed = _feed(8, 2_000e8);
        address quote = _quoteOf("quote", quoteFeed);
        MockAggregator ratio = _feed(18, 1e18);
        IOracleHub.Source memory s = _feedSource();
        (s.params, s.quote) = (abi.encodePacked(ratio, uint8(18)), quote);
        _set(s);
        MockAggregator another = _feed(18, 1e18);

        for (uint256 i; i < 2; ++i) {
            vm.startPrank(owner);
            vm.expectRevert(_shared(address(ratio)));
            oracle.setFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max);
            vm.expectRevert(_shared(address(quoteFeed)));
            oracle.setFeed(address(coin), address(quoteFeed), 8, 600, 1, type(uint128).max);
            vm.expectRevert(_shared(quote));
            oracle.setQuotedFeed(address(coin), address(another), 18, 600, 1, type(uint128).max, quote);
            vm.stopPrank();
            assertEq(oracle.feedOf(address(coin)).feed, i == 0 ? address(coinFeed) : address(0));
            // The source outlives the feed, and is compared with the next one.
            vm.prank(guardian);
            oracle.removeFeed(address(coin));
        }
        vm.startPrank(owner);
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);
        oracle.removeSource(address(coin));
        oracle.setFeed(address(coin), address(quoteFeed), 8, 600, 1, type(uint128).max);
        vm.stopPrank();
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    /// @notice The tokens quoted in a token are not listed, so a quote's feed is only compared with the quote's own second source.
    function test_a_quotes_new_feed_is_compared_with_its_own_source_and_with_others_at_their_next_change() public {
        address quote = _quote(2e8);
        IOracleHub.Source memory s = _getterSource(18, 1_000e18);
        s.quote = quote;
        _set(s);
        IOracleHub.Source memory ofQuote = _feedSource();
        MockAggregator opinion = _feed(8, 2e8);
        ofQuote.params = abi.encodePacked(opinion, uint8(8));
        vm.startPrank(owner);
        oracle.setSource(quote, ofQuote);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.SharedSource.selector, quote, opinion));
        oracle.setFeed(quote, address(opinion), 8, 600, 1, type(uint128).max);

        oracle.setFeed(quote, address(coinFeed), 8, 600, 1, type(uint128).max);

        vm.expectRevert(_shared(address(coinFeed)));
        oracle.setFeed(address(coin), address(coinFeed), 8, 600, 1, type(uint128).max);
        vm.stopPrank();
        _refuse(s, _shared(address(coinFeed)));
    }

    function test_a_feed_of_the_zero_address_is_not_the_dollars() public {
        _quoteOf(address(0), coinFeed);
        _set(_feedSource());
        skip(10);
        vm.prank(guardian);
        oracle.removeFeed(address(0));
        assertEq(oracle.changedAt(address(coin)), block.timestamp - 10);
    }

    function _shared(address shared) internal view returns (bytes memory) {
        return abi.encodeWithSelector(IOracleHub.SharedSource.selector, coin, shared);
    }

    function _feed(uint8 decimals, int192 answer) internal returns (MockAggregator feed) {
        feed = new MockAggregator(decimals, "feed");
        feed.push(answer);
    }

    function _quoteOf(string memory name, MockAggregator feed) internal returns (address quote) {
        quote = makeAddr(name);
        _quoteOf(quote, feed);
    }

    function _quoteOf(address quote, MockAggregator feed) internal {
        vm.prank(owner);
        oracle.setFeed(quote, address(feed), 8, 1 hours, 1, type(uint128).max);
    }

    /* CHANGES */

    function test_what_was_never_set_never_changed() public {
        assertEq(oracle.changedAt(stranger), 0);
        uint256 setAt = oracle.changedAt(address(coin));
        assertEq(setAt, block.timestamp);
        skip(60);
        coinFeed.push(2_100e8);
        _price();
        assertEq(oracle.changedAt(address(coin)), setAt, "an answer is no change");
    }

    function test_every_change_of_a_tokens_own_feed_and_source_is_dated() public {
        vm.startPrank(owner);
        skip(60);
        oracle.setFeed(address(coin), address(coinFeed), 8, 1 hours, 1, type(uint128).max);
        _checkChangedNow();
        oracle.tightenFeed(address(coin), 1 hours, 2, 1e30);
        _checkChangedNow();
        odd.setPrice(2_000e8);
        oracle.setSource(address(coin), _feedSource());
        _checkChangedNow();
        oracle.tightenSource(address(coin), 90);
        _checkChangedNow();
        vm.stopPrank();
        vm.prank(guardian);
        oracle.removeFeed(address(coin));
        _checkChangedNow();
        vm.startPrank(owner);
        oracle.removeSource(address(coin));
        _checkChangedNow();
        address quote = makeAddr("quote");
        oracle.setFeed(quote, address(_feed(8, 2e8)), 8, 1 hours, 1, type(uint128).max);
        skip(60);
        oracle.setQuotedFeed(address(coin), address(_feed(18, 1_000e18)), 18, 1 hours, 1, 1e30, quote);
        _checkChangedNow();
        vm.stopPrank();
    }

    function test_every_change_of_a_quotes_feed_is_a_change_of_what_is_quoted_in_it() public {
        address[2] memory quotes = [makeAddr("the feed's quote"), makeAddr("the source's quote")];
        _quoteOf(quotes[0], _feed(8, 2e8));
        _quoteOf(quotes[1], _feed(8, 2e8));
        IOracleHub.Source memory s = _getterSource(18, 1_000e18);
        s.quote = quotes[1];
        MockAggregator ratio = _feed(18, 1_000e18);
        vm.prank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max, quotes[0]);
        _set(s);
        MockAggregator opinion = _feed(8, 2e8);
        s = _feedSource();
        (s.params, s.heartbeatSeconds) = (abi.encodePacked(opinion, uint8(8)), 1 hours);

        for (uint256 i; i < 2; ++i) {
            skip(60);
            _quoteOf(quotes[i], _feed(8, 2e8));
            _checkChangedNow();
            vm.startPrank(owner);
            oracle.tightenFeed(quotes[i], 1 hours, 2, 1e30);
            _checkChangedNow();
            opinion.push(2e8);
            oracle.setSource(quotes[i], s);
            vm.stopPrank();
            assertEq(oracle.changedAt(address(coin)), block.timestamp - 60, "a quote counts by its feed alone");
            assertEq(oracle.changedAt(quotes[i]), block.timestamp);
            vm.prank(guardian);
            oracle.removeFeed(quotes[i]);
            _checkChangedNow();
        }
    }

    function test_a_date_never_goes_back_when_a_quote_is_dropped() public {
        address quote = _quote(2e8);
        MockAggregator ratio = _feed(18, 1_000e18);
        vm.prank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1, type(uint128).max, quote);
        skip(60);
        vm.startPrank(guardian);
        oracle.removeFeed(quote);
        _checkChangedNow();
        oracle.removeFeed(address(coin));
        _checkChangedNow();
        vm.stopPrank();
        _quote(3e8);
        assertEq(oracle.changedAt(address(coin)), block.timestamp - 60, "it rests on the quote no more");
    }

    /// @dev And a minute passes, so that the next change has another time.
    function _checkChangedNow() internal {
        assertEq(oracle.changedAt(address(coin)), block.timestamp);
        skip(60);
    }

    /* TWO SOURCES */

    function test_lo_and_hi_are_the_ends_and_weights_use_the_feed_alone() public {
        _set(_feedSource());
        odd.setPrice(1_985e8);
        _check(1_985e18, 2_000e18, IOracleHub.Fault.None);
        odd.setPrice(2_015e8);
        _check(2_000e18, 2_015e18, IOracleHub.Fault.None);
        assertEq(_price().primaryE18, 2_000e18);
    }

    function test_sources_may_differ_by_the_limit_and_no_more() public {
        _set(_feedSource());
        odd.setPrice(2_020e8);
        _check(2_000e18, 2_020e18, IOracleHub.Fault.None);
        odd.setPrice(2_020e8 + 1);
        _check(2_000e18, 2_020e18 + 1e10, IOracleHub.Fault.Diverged);
        // 1 % above the lower: 2,000 / 1.01 = 1,980.19801980...
        odd.setPrice(198_019_801_981);
        _check(1_980.19801981e18, 2_000e18, IOracleHub.Fault.None);
        odd.setPrice(198_019_801_980);
        _check(1_980.1980198e18, 2_000e18, IOracleHub.Fault.Diverged);
    }

    function test_a_broken_second_source_stops_and_says_why() public {
        _set(_feedSource());
        odd.set(OddFeed.Manner.BurnGas, "");
        _checkSecond(IOracleHub.Fault.CallFailed);
        odd.set(OddFeed.Manner.Revert, "");
        _checkSecond(IOracleHub.Fault.CallFailed);
        odd.set(OddFeed.Manner.Bomb, "");
        _checkSecond(IOracleHub.Fault.NotPositive);
        odd.setPrice(-1);
        _checkSecond(IOracleHub.Fault.NotPositive);
        odd.setPrice(type(int256).max);
        _checkSecond(IOracleHub.Fault.OutOfRange);
        odd.set(OddFeed.Manner.Answer, abi.encode(1, 2_000e8, 0, block.timestamp - 601, 1));
        _checkSecond(IOracleHub.Fault.Stale);
    }

    function test_a_second_source_never_mends_the_first() public {
        _set(_feedSource());
        coinFeed.setFailing(true);
        _check(0, 0, IOracleHub.Fault.CallFailed);
        coinFeed.setFailing(false);
        coinFeed.pushAt(2_000e8, uint64(block.timestamp - 2 hours));
        assertEq(uint8(_price().fault), uint8(IOracleHub.Fault.Stale));
    }

    /* RATES */

    function test_a_getters_rate_of_any_decimals_is_priced_by_its_quote() public {
        // One coin is a thousand of what costs two dollars.
        address quote = _quote(2e8);
        for (uint8 d; d <= 27; ++d) {
            IOracleHub.Source memory s = _getterSource(d, 1_000 * 10 ** d);
            s.quote = quote;
            _set(s);
            _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
        }
    }

    function test_a_rate_that_fails_is_a_fault() public {
        _set(_getterSource(18, 2_000e18));
        source.tell(RATE, "");
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.tell(RATE, new bytes(31));
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.tell(RATE, abi.encode(0));
        _checkSecond(IOracleHub.Fault.NotPositive);
        source.tell(RATE, abi.encode(type(uint256).max));
        _checkSecond(IOracleHub.Fault.OutOfRange);
        source.misbehave(OddSource.Manner.BurnGas);
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.Revert);
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.Bomb);
        _checkSecond(IOracleHub.Fault.NotPositive);
        vm.etch(address(source), "");
        _checkSecond(IOracleHub.Fault.CallFailed);
    }

    function test_a_rate_counts_up_to_128_bits_and_not_above() public {
        _set(_getterSource(18, 2_000e18));
        source.tell(RATE, abi.encode(type(uint128).max));
        _checkReading(type(uint128).max, IOracleHub.Fault.None);
        source.tell(RATE, abi.encode(uint256(type(uint128).max) + 1));
        _checkReading(0, IOracleHub.Fault.OutOfRange);
        // Of no decimals, the same number is 10^18 times as much.
        _set(_getterSource(0, 2_000));
        source.tell(RATE, abi.encode(uint256(type(uint128).max) / 1e18));
        _checkReading(uint256(type(uint128).max) / 1e18 * 1e18, IOracleHub.Fault.None);
        source.tell(RATE, abi.encode(uint256(type(uint128).max) / 1e18 + 1));
        _checkReading(0, IOracleHub.Fault.OutOfRange);
        // So can a sound rate of a dear quote be.
        IOracleHub.Source memory s = _getterSource(18, 1_000e18);
        s.quote = _quote(2e8);
        _set(s);
        source.tell(RATE, abi.encode(uint256(1) << 127));
        _checkReading(0, IOracleHub.Fault.OutOfRange);
        source.tell(RATE, abi.encode((uint256(1) << 127) - 1));
        _checkReading((uint256(1) << 128) - 2, IOracleHub.Fault.None);
        // And of a cheap one, too little.
        source.tell(RATE, abi.encode(1));
        _checkReading(2, IOracleHub.Fault.None);
        source.tell(RATE, abi.encode(0));
        _checkReading(0, IOracleHub.Fault.NotPositive);
    }

    function test_an_erc4626_share_is_priced_by_its_asset() public {
        // The vault is the token: 24 decimals, each share worth 1.25 dollars of 6 decimals.
        _tell4626(24, 1.25e6);
        MockAggregator feed = new MockAggregator(8, "share");
        feed.push(1.26e8);
        vm.startPrank(owner);
        oracle.setFeed(address(source), address(feed), 8, 600, 1, type(uint128).max);
        IOracleHub.Source memory s = IOracleHub.Source(shareFeed, 1, 100, address(dollar), _shareParams(24, 6));
        oracle.setSource(address(source), s);
        IOracleHub.Price memory p = _price(address(source));
        assertEq(p.loE18, 1.25e18);
        assertEq(p.hiE18, 1.26e18);

        s.quote = address(coin);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.SourceOfOthers.selector, source, source, coin));
        oracle.setSource(address(source), s);
        vm.stopPrank();
    }

    function _tell4626(uint8 shareDecimals, uint256 assetsPerShare) internal {
        source.tell(bytes4(keccak256("asset()")), abi.encode(dollar));
        source.tell(bytes4(keccak256("decimals()")), abi.encode(shareDecimals));
        source.tell(bytes4(keccak256("convertToAssets(uint256)")), abi.encode(assetsPerShare));
    }

    /* AVERAGES */

    function test_a_mean_tick_is_priced_in_either_order_of_tokens() public {
        bool comesFirst = coin < dollar;
        _checkMeanOf2000();
        while ((coin < dollar) == comesFirst) {
            coin = new MockToken("Coin", "COIN", 18);
        }
        coinFeed = _addAsset(coin, 2_000e8);
        _checkMeanOf2000();
    }

    function _checkMeanOf2000() internal {
        _set(_twapSource(_tickOf2000()));
        IOracleHub.Price memory p = _price();
        assertEq(uint8(p.fault), uint8(IOracleHub.Fault.None));
        // One tick is 0.01 %.
        assertApproxEqRel(p.loE18, 2_000e18, 0.0001e18);
        assertApproxEqRel(p.hiE18, 2_000e18, 0.0001e18);
        assertLt(p.loE18, p.hiE18);
    }

    function test_a_mean_tick_of_a_quote_with_27_decimals_is_priced() public {
        dollar = new MockToken("Fine dollar", "USD", 27);
        _addAsset(dollar, 1e8);
        // 2,000e27 raw dollars for 1e18 raw coins: log(2e12) / log(1.0001) = 283,255.8.
        IOracleHub.Source memory s = _twapSource(coin < dollar ? int256(283_256) : -283_256);
        s.params = _twapParams(WINDOW, 18, 27);
        _set(s);
        assertApproxEqRel(_price().hiE18, 2_000e18, 0.0001e18);
    }

    function test_a_pool_that_does_not_answer_as_pools_do_is_a_fault() public {
        _set(_twapSource(_tickOf2000()));
        bytes4 observe = bytes4(keccak256("observe(uint32[])"));
        source.tell(observe, "");
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.tell(observe, new bytes(256));
        _checkSecond(IOracleHub.Fault.CallFailed);
        _tellTick(887_273);
        _checkSecond(IOracleHub.Fault.CallFailed);
        _tellTick(-887_273);
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.BurnGas);
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.Revert);
        _checkSecond(IOracleHub.Fault.CallFailed);
        source.misbehave(OddSource.Manner.Bomb);
        _checkSecond(IOracleHub.Fault.CallFailed);
    }

    function test_a_mean_tick_is_rounded_down_and_may_be_the_last_there_is() public {
        _set(_twapSource(_tickOf2000()));
        int256 sum = int256(uint256(WINDOW)) * _tickOf2000();
        (uint256 atE18, uint256 belowE18) = (_secondAt(sum), _secondAt(sum - int256(uint256(WINDOW))));
        assertNotEq(atE18, belowE18);
        assertEq(_secondAt(sum + int256(uint256(WINDOW)) - 1), atE18);
        assertEq(_secondAt(sum - 1), belowE18);
        // Positive and negative sums alike, whatever the order of the tokens.
        assertEq(_secondAt(-sum + int256(uint256(WINDOW)) - 1), _secondAt(-sum));
        assertEq(_secondAt(-sum - 1), _secondAt(-sum - int256(uint256(WINDOW))));

        // One end of the ticks is too dear to be sane, the other is worth nothing; both are ticks.
        (IOracleHub.Fault up, IOracleHub.Fault down) = (_faultAt(887_272), _faultAt(-887_272));
        bool first = coin < dollar;
        assertEq(uint8(up), uint8(first ? IOracleHub.Fault.OutOfRange : IOracleHub.Fault.NotPositive));
        assertEq(uint8(down), uint8(first ? IOracleHub.Fault.NotPositive : IOracleHub.Fault.OutOfRange));
    }

    function test_a_pools_answer_must_be_two_lists_of_two() public {
        _set(_twapSource(_tickOf2000()));
        bytes4 observe = bytes4(keccak256("observe(uint32[])"));
        uint256[8] memory words = [uint256(64), 160, 2, 0, 0, 2, 0, 0];
        words[4] = uint256(int256(uint256(WINDOW)) * _tickOf2000());
        source.tell(observe, abi.encode(words));
        assertEq(uint8(_price().fault), uint8(IOracleHub.Fault.None));
        words[0] = 96;
        source.tell(observe, abi.encode(words));
        _checkSecond(IOracleHub.Fault.CallFailed);
        (words[0], words[2]) = (64, 3);
        source.tell(observe, abi.encode(words));
        _checkSecond(IOracleHub.Fault.CallFailed);
        (words[0], words[2]) = (64, 2);
        bytes memory short = new bytes(255);
        for (uint256 i; i < 255; ++i) {
            short[i] = abi.encode(words)[i];
        }
        source.tell(observe, short);
        _checkSecond(IOracleHub.Fault.CallFailed);
    }

    function testFuzz_no_answer_of_a_pool_makes_prices_revert(bytes memory answer, uint256[8] memory words) public {
        _set(_twapSource(_tickOf2000()));
        source.tell(bytes4(keccak256("observe(uint32[])")), answer);
        _price();
        (words[0], words[2]) = (64, 2);
        source.tell(bytes4(keccak256("observe(uint32[])")), abi.encode(words));
        _price();
    }

    /// @dev Uniswap's own tick mathematics, of another generation and with 96 bits, is the reference.
    function testFuzz_a_ticks_price_is_uniswaps(int24 tick, uint8 baseDecimals, uint8 quoteDecimals) public pure {
        tick = int24(bound(tick, TickMath.MIN_TICK, TickMath.MAX_TICK));
        baseDecimals = uint8(bound(baseDecimals, 0, 27));
        quoteDecimals = uint8(bound(quoteDecimals, 0, 27));

        uint256 priceE18 = UniswapV3Twap.priceE18(tick, baseDecimals, quoteDecimals);

        if (priceE18 > type(uint128).max) {
            // Too large to be sane; then the inverse is too small to be told from zero.
            assertEq(UniswapV3Twap.priceE18(-int256(tick), quoteDecimals, baseDecimals), 0);
            return;
        }
        uint256 root = TickMath.getSqrtPriceAtTick(tick);
        uint256 scale = 10 ** (18 + uint256(baseDecimals));
        // {raw quote} = {raw base * 1e18} * root^2 / 2^192
        uint256 raw = root < 1 << 96
            ? Math.mulDiv(scale, root * root, 1 << 192)
            : Math.mulDiv(scale, Math.mulDiv(root, root, 1 << 64), 1 << 128);
        uint256 wantedE18 = raw / 10 ** uint256(quoteDecimals);
        assertApproxEqAbs(priceE18, wantedE18, wantedE18 / 1e6 + 2);
    }

    /* QUOTED FEEDS */

    function test_a_feed_in_bitcoin_is_priced_by_bitcoins() public {
        address bitcoin = makeAddr("what stands for bitcoin");
        MockAggregator perDollar = new MockAggregator(8, "BTC / USD");
        MockAggregator ratio = new MockAggregator(18, "WBTC / BTC");
        perDollar.push(40_000e8);
        ratio.push(0.999e18);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, ratio, IOracleHub.Fault.NoFeed));
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 1 days, 1e18, 1e23, bitcoin);
        oracle.setFeed(bitcoin, address(perDollar), 8, 600, 30_000e18, 50_000e18);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 1 days, 1e18, 1e23, bitcoin);
        // No chains: neither a quote with a quote, nor a feed quoted in itself.
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, ratio, IOracleHub.Fault.NoFeed));
        oracle.setQuotedFeed(address(dollar), address(ratio), 18, 1 days, 1, 1e23, address(coin));
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, ratio, IOracleHub.Fault.NoFeed));
        oracle.setQuotedFeed(address(dollar), address(ratio), 18, 1 days, 1, 1e23, address(dollar));
        vm.stopPrank();
        assertEq(oracle.feedOf(address(coin)).quote, bitcoin);
        _check(39_960e18, 39_960e18, IOracleHub.Fault.None);

        skip(601);
        _check(0, 0, IOracleHub.Fault.Stale);
        perDollar.push(50_001e8);
        _check(0, 0, IOracleHub.Fault.OutOfRange);
        perDollar.push(40_000e8);
        _check(39_960e18, 39_960e18, IOracleHub.Fault.None);
        ratio.push(3e18);
        _check(120_000e18, 120_000e18, IOracleHub.Fault.OutOfRange);
        skip(1 days + 1);
        perDollar.push(40_000e8);
        _check(0, 0, IOracleHub.Fault.Stale);
    }

    function test_a_quoted_price_on_either_end_of_its_range_is_sound() public {
        address quote = _quote(2e8);
        MockAggregator ratio = new MockAggregator(18, "coin in quotes");
        ratio.push(1_000e18);
        vm.startPrank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 18, 600, 1_000e18, 4_000e18, quote);
        IOracleHub.Feed memory stored = oracle.feedOf(address(coin));
        vm.stopPrank();

        ratio.push(int192(uint192(stored.minPriceE18 / 2)));
        _check(stored.minPriceE18, stored.minPriceE18, IOracleHub.Fault.None);
        ratio.push(int192(uint192(stored.maxPriceE18 / 2)));
        _check(stored.maxPriceE18, stored.maxPriceE18, IOracleHub.Fault.None);
        ratio.push(int192(uint192(stored.maxPriceE18 / 2 + 1)));
        _check(stored.maxPriceE18 + 2, stored.maxPriceE18 + 2, IOracleHub.Fault.OutOfRange);
    }

    function test_a_quoted_feed_that_cannot_be_priced_has_no_price() public {
        address quote = _quote(2e8);
        MockAggregator ratio = new MockAggregator(8, "coin in quotes");
        ratio.push(1_000e8);
        vm.startPrank(owner);
        oracle.setQuotedFeed(address(coin), address(ratio), 8, 600, 1, type(uint128).max, quote);
        ratio.push(int192(uint192(type(uint128).max)));
        _check(0, 0, IOracleHub.Fault.OutOfRange);

        // The quote's own feed is quoted in something else by now.
        ratio.push(1_000e8);
        address other = makeAddr("other");
        oracle.setFeed(other, address(ratio), 8, 600, 1, type(uint128).max);
        oracle.setQuotedFeed(quote, address(ratio), 8, 600, 1, type(uint128).max, other);
        _check(0, 0, IOracleHub.Fault.NoFeed);

        vm.stopPrank();
        vm.prank(guardian);
        oracle.removeFeed(address(coin));
        assertEq(oracle.feedOf(address(coin)).quote, address(0));
    }

    /* SEQUENCER */

    function test_no_price_is_used_while_the_sequencer_is_down_or_just_back() public {
        OddFeed uptime = new OddFeed();
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.GraceZero.selector, uptime));
        deployCode("OracleHub.sol:OracleHub", abi.encode(manager, uptime, 0));
        oracle = IOracleHub(deployCode("OracleHub.sol:OracleHub", abi.encode(manager, uptime, 3_600)));
        assertEq(oracle.SEQUENCER_FEED(), address(uptime));
        assertEq(oracle.GRACE_SECONDS(), 3_600);
        vm.prank(owner);
        oracle.setFeed(address(coin), address(odd), 8, type(uint32).max, 1, type(uint128).max);

        uptime.set(OddFeed.Manner.Revert, "");
        _check(2_000e18, 2_000e18, IOracleHub.Fault.SequencerDown);
        uptime.set(OddFeed.Manner.Answer, abi.encode(1, 1, block.timestamp - 1 days, block.timestamp, 1));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.SequencerDown);
        uptime.set(OddFeed.Manner.Answer, abi.encode(1, 0, 0, block.timestamp, 1));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.SequencerDown);
        uptime.set(OddFeed.Manner.Answer, abi.encode(1, 0, block.timestamp + 1, block.timestamp, 1));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.GracePeriod);
        uptime.set(OddFeed.Manner.Answer, abi.encode(1, 0, block.timestamp, block.timestamp, 1));
        _check(2_000e18, 2_000e18, IOracleHub.Fault.GracePeriod);
        skip(3_600);
        _check(2_000e18, 2_000e18, IOracleHub.Fault.GracePeriod);
        skip(1);
        _check(2_000e18, 2_000e18, IOracleHub.Fault.None);
    }

    /* PROMISE D */

    /// @notice D: if either source of each token is right, a trade the vault accepts truly loses no more than its slippage.
    function testFuzz_D_with_either_source_right_the_true_loss_is_within_slippage(
        uint64[4] memory answers,
        uint8 wrong,
        uint96 sold,
        uint16 slippageBps
    ) public {
        slippageBps = uint16(bound(slippageBps, 0, 300));
        (uint256 soldE18, uint256 soldTrueE18,) = _twoSources(answers[0], answers[1], wrong & 1 != 0);
        (, uint256 boughtTrueE18, uint256 boughtLoE18) = _twoSources(answers[2], answers[3], wrong & 2 != 0);
        if (soldE18 == 0 || boughtLoE18 == 0) return;

        // P2 of the policy at its edge: bought * lo >= sold * hi * (1 - s), rounded up.
        uint256 leastE18 = Math.mulDiv(uint256(sold) * (BPS - slippageBps), soldE18, BPS, Math.Rounding.Ceil);
        uint256 bought = Math.ceilDiv(leastE18, boughtLoE18);

        assertGe(bought * boughtTrueE18 * BPS, uint256(sold) * soldTrueE18 * (BPS - slippageBps));
    }

    /// @dev The price a token has by two feeds of which one may be wrong: the higher, the true one, the lower. Zeros with a fault.
    function _twoSources(uint64 right, uint64 other, bool firstIsWrong)
        internal
        returns (uint256 hiE18, uint256 trueE18, uint256 loE18)
    {
        right = uint64(bound(right, 1e4, 1e14));
        // Within 3 %, so that either side of the limit of 1 % is met often.
        other = uint64(bound(other, uint256(right) * 97 / 100, uint256(right) * 103 / 100));
        coinFeed.push(2_000e8);
        odd.setPrice(2_000e8);
        _set(_feedSource());
        coinFeed.push(int192(uint192(firstIsWrong ? other : right)));
        odd.setPrice(int256(uint256(firstIsWrong ? right : other)));
        IOracleHub.Price memory p = _price();
        if (p.fault != IOracleHub.Fault.None) {
            assertEq(uint8(p.fault), uint8(IOracleHub.Fault.Diverged));
            return (0, 0, 0);
        }
        trueE18 = uint256(right) * 1e10;
        assertTrue(p.loE18 <= trueE18 && trueE18 <= p.hiE18, "the truth is between");
        return (p.hiE18, trueE18, p.loE18);
    }

    /* HELPERS */

    function _feedSource() internal view returns (IOracleHub.Source memory) {
        return IOracleHub.Source(chainlinkFeed, 600, 100, address(0), abi.encodePacked(odd, uint8(8)));
    }

    function _getterSource(uint8 decimals, uint256 rate) internal returns (IOracleHub.Source memory) {
        source.tell(RATE, abi.encode(rate));
        return IOracleHub.Source(rateFeed, 1, 100, address(0), abi.encodePacked(source, RATE, decimals));
    }

    function _twapSource(int256 tick) internal returns (IOracleHub.Source memory) {
        (address token0, address token1) =
            coin < dollar ? (address(coin), address(dollar)) : (address(dollar), address(coin));
        source.tell(bytes4(keccak256("token0()")), abi.encode(token0));
        source.tell(bytes4(keccak256("token1()")), abi.encode(token1));
        _tellTick(tick);
        return IOracleHub.Source(twapFeed, 1, 100, address(dollar), _twapParams(WINDOW, 18, 6));
    }

    function _twapParams(uint32 window, uint8 coinDecimals, uint8 dollarDecimals) internal view returns (bytes memory) {
        return abi.encodePacked(source, window, coinDecimals, dollarDecimals, coin < dollar);
    }

    function _shareParams(uint8 shareDecimals, uint8 assetDecimals) internal pure returns (bytes memory) {
        return abi.encodePacked(shareDecimals, assetDecimals);
    }

    /// @dev Sums of ticks that stood at `tick` all through the window.
    function _tellTick(int256 tick) internal {
        int56[] memory sums = new int56[](2);
        (sums[0], sums[1]) = (type(int56).min + 7, int56(type(int56).min + 7 + tick * int256(uint256(WINDOW))));
        source.tell(bytes4(keccak256("observe(uint32[])")), abi.encode(sums, new uint160[](2)));
    }

    /// @dev Two sums that differ by this, from zero on.
    function _tellSum(int256 sum) internal {
        int56[] memory sums = new int56[](2);
        sums[1] = int56(sum);
        source.tell(bytes4(keccak256("observe(uint32[])")), abi.encode(sums, new uint160[](2)));
    }

    function _secondAt(int256 sum) internal returns (uint256) {
        _tellSum(sum);
        (, IOracleHub.Reading memory second) = oracle.readings(address(coin));
        return second.priceE18;
    }

    function _faultAt(int256 tick) internal returns (IOracleHub.Fault) {
        _tellTick(tick);
        (, IOracleHub.Reading memory second) = oracle.readings(address(coin));
        return second.fault;
    }

    function _checkReading(uint256 priceE18, IOracleHub.Fault fault) internal view {
        (, IOracleHub.Reading memory second) = oracle.readings(address(coin));
        assertEq(uint8(second.fault), uint8(fault), "fault");
        assertEq(second.priceE18, priceE18, "price");
    }

    /// @dev 2,000e6 raw dollars for 1e18 raw coins: log(2e-9) / log(1.0001) = -200,311.9.
    function _tickOf2000() internal view returns (int256) {
        return coin < dollar ? -200_312 : int256(200_312);
    }

    function _quote(int192 answerE8) internal returns (address quote) {
        quote = makeAddr("quote");
        MockAggregator feed = new MockAggregator(8, "quote");
        feed.push(answerE8);
        vm.prank(owner);
        oracle.setFeed(quote, address(feed), 8, 600, 1, type(uint128).max);
    }

    function _set(IOracleHub.Source memory s) internal {
        vm.prank(owner);
        oracle.setSource(address(coin), s);
    }

    function _refuse(IOracleHub.Source memory s, bytes memory refusal) internal {
        vm.prank(owner);
        vm.expectRevert(refusal);
        oracle.setSource(address(coin), s);
    }

    function _unsound(address adapter, IOracleHub.Fault fault) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IOracleHub.UnsoundSource.selector, adapter, fault);
    }

    function _price() internal view returns (IOracleHub.Price memory) {
        return _price(address(coin));
    }

    function _price(address token) internal view returns (IOracleHub.Price memory) {
        address[] memory asked = new address[](1);
        asked[0] = token;
        return oracle.prices(asked)[0];
    }

    function _check(uint256 loE18, uint256 hiE18, IOracleHub.Fault fault) internal view {
        IOracleHub.Price memory p = _price();
        assertEq(uint8(p.fault), uint8(fault), "fault");
        assertEq(p.loE18, loE18, "lo");
        assertEq(p.hiE18, hiE18, "hi");
    }

    function _checkSecond(IOracleHub.Fault fault) internal view {
        assertEq(uint8(_price().fault), uint8(IOracleHub.Fault.SecondUnsound));
        (IOracleHub.Reading memory primary, IOracleHub.Reading memory second) = oracle.readings(address(coin));
        assertEq(uint8(primary.fault), uint8(IOracleHub.Fault.None));
        assertEq(primary.priceE18, 2_000e18);
        assertEq(uint8(second.fault), uint8(fault));
    }
}
