// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { Base } from "./Base.t.sol";
import { OddFeed } from "./support/OddFeed.sol";

/// @notice OracleHub: a price that passes every rule, or the first rule it broke.
contract OracleTest is Base {
    OddFeed internal odd;
    address internal coin = makeAddr("coin");

    function setUp() public override {
        super.setUp();
        odd = new OddFeed();
        odd.setPrice(5e8);
        vm.prank(owner);
        oracle.setFeed(coin, address(odd), 8, 600, 4e18, 6e18);
    }

    /* REFUSALS */

    function test_feeds_are_set_and_removed_only_by_their_roles() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, stranger));
        oracle.setFeed(coin, address(odd), 8, 600, 1, 2);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, keeper));
        oracle.removeFeed(coin);
    }

    function test_a_feed_with_other_decimals_is_refused() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.FeedDecimals.selector, address(odd), 18, 8));
        oracle.setFeed(coin, address(odd), 18, 600, 4e18, 6e18);
    }

    function test_a_feed_with_more_than_18_decimals_is_refused() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.FeedDecimalsTooMany.selector, 19, 18));
        oracle.setFeed(coin, address(odd), 19, 600, 4e18, 6e18);
    }

    function test_a_heartbeat_of_zero_is_refused() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.HeartbeatZero.selector, coin));
        oracle.setFeed(coin, address(odd), 8, 0, 4e18, 6e18);
    }

    function test_an_empty_price_range_is_refused() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, 0, 6e18));
        oracle.setFeed(coin, address(odd), 8, 600, 0, 6e18);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, 6e18 + 1, 6e18));
        oracle.setFeed(coin, address(odd), 8, 600, 6e18 + 1, 6e18);
        // No float of 24 bits lies between these.
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, 5e18, 5e18));
        oracle.setFeed(coin, address(odd), 8, 600, 5e18, 5e18);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, type(uint128).max, type(uint128).max));
        oracle.setFeed(coin, address(odd), 8, 600, type(uint128).max, type(uint128).max);
        vm.stopPrank();
    }

    function test_a_feed_whose_present_answer_is_unsound_is_refused() public {
        vm.startPrank(owner);
        odd.setPrice(0);
        vm.expectRevert(
            abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, address(odd), IOracleHub.Fault.NotPositive)
        );
        oracle.setFeed(coin, address(odd), 8, 600, 4e18, 6e18);
        odd.setPrice(7e8);
        vm.expectRevert(
            abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, address(odd), IOracleHub.Fault.OutOfRange)
        );
        oracle.setFeed(coin, address(odd), 8, 600, 4e18, 6e18);
        odd.setPrice(5e8);
        skip(601);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, address(odd), IOracleHub.Fault.Stale));
        oracle.setFeed(coin, address(odd), 8, 600, 4e18, 6e18);
        odd.set(OddFeed.Manner.Revert, "");
        vm.expectRevert(
            abi.encodeWithSelector(IOracleHub.UnsoundFeed.selector, address(odd), IOracleHub.Fault.CallFailed)
        );
        oracle.setFeed(coin, address(odd), 8, 600, 4e18, 6e18);
        vm.stopPrank();
    }

    /* SUCCESS */

    function test_a_feed_is_stored_read_and_removed() public {
        // 3e18 is between 85,265 and 85,266 times 2^45, 7e18 between 99,475 and 99,476 times 2^46.
        IOracleHub.Feed memory expected =
            IOracleHub.Feed(address(odd), 601, 8, 85_266 << 45, 99_475 << 46, address(0), "");
        vm.expectEmit(address(oracle));
        emit IOracleHub.FeedSet(coin, expected);
        vm.prank(owner);
        oracle.setFeed(coin, address(odd), 8, 601, 3e18, 7e18);
        assertEq(keccak256(abi.encode(oracle.feedOf(coin))), keccak256(abi.encode(expected)));

        IOracleHub.Price memory p = _read();
        assertEq(p.loE18, 5e18);
        assertEq(p.hiE18, 5e18);
        assertEq(p.primaryE18, 5e18);
        assertEq(uint8(p.fault), uint8(IOracleHub.Fault.None));

        vm.expectEmit(address(oracle));
        emit IOracleHub.FeedRemoved(coin);
        vm.prank(guardian);
        oracle.removeFeed(coin);
        _check(IOracleHub.Fault.NoFeed);
        assertEq(oracle.feedOf(coin).feed, address(0));
    }

    function test_the_narrowest_rules_there_are_can_be_set() public {
        skip(1);
        odd.setPrice(5e8);
        // 5e18 in 17 bits is 71,054 and a half times 2^46: this is the float below it, and the feed says exactly that.
        uint128 float = 65_536 << 40;
        MockAggregator feed = new MockAggregator(18, "one price");
        feed.push(int192(int256(uint256(float))));
        vm.prank(owner);
        oracle.setFeed(coin, address(feed), 18, 1, float, float);
        assertEq(oracle.feedOf(coin).minPriceE18, float);
        assertEq(oracle.feedOf(coin).maxPriceE18, float);
        skip(1);
        _check(IOracleHub.Fault.None);
        skip(1);
        _check(IOracleHub.Fault.Stale);
    }

    function test_prices_of_no_tokens_are_none() public view {
        assertEq(oracle.prices(new address[](0)).length, 0);
    }

    function testFuzz_prices_are_the_same_alone_and_in_company(uint8 count, uint256 seed) public view {
        address[4] memory known = [coin, address(tokens[WETH]), address(tokens[USDC]), address(1)];
        address[] memory asked = new address[](count % 20);
        for (uint256 i; i < asked.length; ++i) {
            asked[i] = known[uint256(keccak256(abi.encode(seed, i))) % 4];
        }

        IOracleHub.Price[] memory list = oracle.prices(asked);

        assertEq(list.length, asked.length);
        for (uint256 i; i < asked.length; ++i) {
            address[] memory one = new address[](1);
            one[0] = asked[i];
            assertEq(keccak256(abi.encode(list[i])), keccak256(abi.encode(oracle.prices(one)[0])));
        }
    }

    function test_answers_of_any_decimals_are_scaled_exactly() public {
        for (uint8 d; d <= 18; ++d) {
            MockAggregator feed = new MockAggregator(d, "scaled");
            feed.push(int192(int256(123 * 10 ** d)));
            vm.prank(owner);
            oracle.setFeed(coin, address(feed), d, 600, 1, type(uint128).max);
            assertEq(_read().primaryE18, 123e18);
        }
    }

    function test_prices_come_in_the_order_asked() public view {
        address[] memory asked = new address[](4);
        (asked[0], asked[1], asked[2], asked[3]) = (address(tokens[USDC]), coin, address(1), address(tokens[WETH]));

        IOracleHub.Price[] memory list = oracle.prices(asked);

        assertEq(list[0].primaryE18, 1e18);
        assertEq(list[1].primaryE18, 5e18);
        assertEq(uint8(list[2].fault), uint8(IOracleHub.Fault.NoFeed));
        assertEq(list[3].primaryE18, 2_000e18);
    }

    /* TIGHTENING */

    function test_tightening_is_the_guardians_and_never_loosens() public {
        IOracleHub.Feed memory f = oracle.feedOf(coin);
        vm.prank(owner);
        manager.setTargetFunctionRole(address(oracle), _selectors(IOracleHub.tightenFeed.selector), GUARDIAN_ROLE);
        vm.prank(curator);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, curator));
        oracle.tightenFeed(coin, 600, f.minPriceE18, f.maxPriceE18);

        vm.startPrank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.NoFeedToTighten.selector, address(1)));
        oracle.tightenFeed(address(1), 600, 1, 2);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.HeartbeatZero.selector, coin));
        oracle.tightenFeed(coin, 0, f.minPriceE18, f.maxPriceE18);
        vm.expectRevert(abi.encodeWithSelector(IOracleHub.HeartbeatLoosened.selector, 601, 600));
        oracle.tightenFeed(coin, 601, f.minPriceE18, f.maxPriceE18);
        vm.expectRevert(
            abi.encodeWithSelector(
                IOracleHub.PriceRangeLoosened.selector, f.minPriceE18 - 1, f.maxPriceE18, f.minPriceE18, f.maxPriceE18
            )
        );
        oracle.tightenFeed(coin, 600, f.minPriceE18 - 1, f.maxPriceE18);
        vm.expectRevert(
            abi.encodeWithSelector(
                IOracleHub.PriceRangeLoosened.selector, f.minPriceE18, f.maxPriceE18 + 1, f.minPriceE18, f.maxPriceE18
            )
        );
        oracle.tightenFeed(coin, 600, f.minPriceE18, f.maxPriceE18 + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IOracleHub.BadPriceRange.selector, f.maxPriceE18, uint256(f.maxPriceE18) - 1)
        );
        oracle.tightenFeed(coin, 600, f.maxPriceE18, f.maxPriceE18 - 1);
        vm.stopPrank();
        assertEq(keccak256(abi.encode(oracle.feedOf(coin))), keccak256(abi.encode(f)), "nothing changed");
    }

    function test_a_feed_is_tightened_while_it_answers_and_while_it_does_not() public {
        IOracleHub.Feed memory f = oracle.feedOf(coin);
        vm.startPrank(owner);
        oracle.tightenFeed(coin, 600, f.minPriceE18, f.maxPriceE18); // as it is
        assertEq(keccak256(abi.encode(oracle.feedOf(coin))), keccak256(abi.encode(f)));
        odd.set(OddFeed.Manner.Revert, "");

        // 3e18 is out of the old range, so the new one starts at its end; floats between.
        (f.heartbeatSeconds, f.minPriceE18, f.maxPriceE18) = (599, 80_000 << 46, 81_000 << 46);
        vm.expectEmit(address(oracle));
        emit IOracleHub.FeedSet(coin, f);
        oracle.tightenFeed(coin, 599, 80_000 << 46, 81_000 << 46);
        vm.stopPrank();

        assertEq(keccak256(abi.encode(oracle.feedOf(coin))), keccak256(abi.encode(f)));
        odd.setPrice(5e8);
        _check(IOracleHub.Fault.OutOfRange);
    }

    function testFuzz_tightening_leaves_no_answer_sound_that_was_not(
        uint32 heartbeat,
        uint128 min,
        uint128 max,
        int256 answerE8,
        uint256 updatedAt
    ) public {
        IOracleHub.Feed memory f = oracle.feedOf(coin);
        answerE8 = bound(answerE8, 3e8, 7e8);
        updatedAt = bound(updatedAt, block.timestamp - 700, block.timestamp);
        odd.set(OddFeed.Manner.Answer, abi.encode(1, answerE8, updatedAt, updatedAt, 1));
        bool soundBefore = _read().fault == IOracleHub.Fault.None;
        heartbeat = uint32(bound(heartbeat, 0, 700));
        min = uint128(bound(min, uint256(f.minPriceE18) * 99 / 100, uint256(f.maxPriceE18)));
        max = uint128(bound(max, uint256(f.minPriceE18), uint256(f.maxPriceE18) * 101 / 100));

        vm.prank(owner);
        try oracle.tightenFeed(coin, heartbeat, min, max) {
            assertTrue(heartbeat <= 600 && min >= f.minPriceE18 && max <= f.maxPriceE18 && min <= max);
        } catch {
            assertTrue(
                heartbeat == 0 || heartbeat > 600 || min < f.minPriceE18 || max > f.maxPriceE18
                    || uint256(min) * 65_536 > uint256(max) * 65_535,
                "refused without a reason"
            );
        }

        if (_read().fault == IOracleHub.Fault.None) assertTrue(soundBefore);
    }

    /* FAULTS */

    function test_an_answer_ages_until_its_heartbeat_and_no_longer() public {
        skip(600);
        _check(IOracleHub.Fault.None);
        skip(1);
        _check(IOracleHub.Fault.Stale);
        assertEq(_read().primaryE18, 5e18, "the last price is still told");
    }

    function test_an_answer_from_the_future_or_without_a_time_is_stale() public {
        odd.set(OddFeed.Manner.Answer, abi.encode(1, 5e8, 0, block.timestamp + 1, 1));
        _check(IOracleHub.Fault.Stale);
        odd.set(OddFeed.Manner.Answer, abi.encode(1, 5e8, 0, type(uint256).max, 1));
        _check(IOracleHub.Fault.Stale);
        odd.set(OddFeed.Manner.Answer, abi.encode(1, 5e8, 0, 0, 1));
        _check(IOracleHub.Fault.Stale);
    }

    function test_a_price_on_either_end_of_its_range_is_sound_and_one_step_past_is_not() public {
        IOracleHub.Feed memory f = oracle.feedOf(coin);
        int256 leastE8 = int256(uint256(f.minPriceE18) / 1e10 + 1); // neither end is a multiple of 1e10
        int256 mostE8 = int256(uint256(f.maxPriceE18) / 1e10);
        odd.setPrice(leastE8);
        _check(IOracleHub.Fault.None);
        odd.setPrice(leastE8 - 1);
        _check(IOracleHub.Fault.OutOfRange);
        odd.setPrice(mostE8);
        _check(IOracleHub.Fault.None);
        odd.setPrice(mostE8 + 1);
        _check(IOracleHub.Fault.OutOfRange);
    }

    function test_a_range_whose_ends_are_floats_is_exact_to_the_last_unit() public {
        MockAggregator feed = new MockAggregator(18, "fine");
        feed.push(131_071 << 40);
        vm.prank(owner);
        oracle.setFeed(coin, address(feed), 18, 600, 65_537 << 40, 131_071 << 41);
        assertEq(oracle.feedOf(coin).minPriceE18, 65_537 << 40);
        assertEq(oracle.feedOf(coin).maxPriceE18, 131_071 << 41);

        feed.push(65_537 << 40);
        _check(IOracleHub.Fault.None);
        feed.push((65_537 << 40) - 1);
        _check(IOracleHub.Fault.OutOfRange);
        feed.push(131_071 << 41);
        _check(IOracleHub.Fault.None);
        feed.push((131_071 << 41) + 1);
        _check(IOracleHub.Fault.OutOfRange);
    }

    function testFuzz_a_stored_range_is_never_wider_than_asked_and_hardly_narrower(
        uint128 min,
        uint128 max,
        uint8 shift
    ) public {
        min = uint128(bound(min >> shift % 128, 1, 1e18));
        max = uint128(bound(max >> shift % 128, 1e18, type(uint128).max));
        MockAggregator feed = new MockAggregator(18, "one dollar");
        // A power of two is a float, so between any two ends around it there is one.
        feed.push(1 << 59);
        if (min > 1 << 59) min = 1 << 59;
        vm.prank(owner);
        oracle.setFeed(coin, address(feed), 18, 600, min, max);

        IOracleHub.Feed memory f = oracle.feedOf(coin);
        assertGe(f.minPriceE18, min);
        assertLe(f.maxPriceE18, max);
        assertLt((f.minPriceE18 - min) * 65_536, uint256(min), "less than 1 / 2^16 above");
        assertLt(uint256(max - f.maxPriceE18) * 65_536, max, "less than 1 / 2^16 below");
        if (min < 1 << 17) assertEq(f.minPriceE18, min);
        assertEq(f.heartbeatSeconds, 600);
        assertEq(f.feedDecimals, 18);
        assertEq(f.feed, address(feed));
    }

    function test_zero_and_negative_answers_are_not_positive() public {
        int256[3] memory answers = [int256(0), -1, type(int256).min];
        for (uint256 i; i < 3; ++i) {
            odd.setPrice(answers[i]);
            _check(IOracleHub.Fault.NotPositive);
        }
    }

    function test_an_answer_too_large_to_scale_is_out_of_range() public {
        odd.setPrice(int256(1 << 128));
        _check(IOracleHub.Fault.OutOfRange);
        odd.setPrice(type(int256).max);
        _check(IOracleHub.Fault.OutOfRange);
    }

    function test_an_answer_is_scaled_up_to_128_bits_and_not_above() public {
        odd.setPrice(int256(uint256(type(uint128).max)));
        _check(IOracleHub.Fault.OutOfRange);
        assertEq(_read().primaryE18, uint256(type(uint128).max) * 1e10, "scaled, and outside its range");
        odd.setPrice(int256(uint256(type(uint128).max) + 1));
        _check(IOracleHub.Fault.OutOfRange);
        assertEq(_read().primaryE18, 0, "not scaled");
        odd.setPrice(1);
        _check(IOracleHub.Fault.OutOfRange);
        assertEq(_read().primaryE18, 1e10);
    }

    function test_a_feed_that_reverts_burns_gas_or_says_too_little_has_failed() public {
        odd.set(OddFeed.Manner.Revert, abi.encode(1, 5e8, block.timestamp, block.timestamp, 1));
        _check(IOracleHub.Fault.CallFailed);
        odd.set(OddFeed.Manner.BurnGas, "");
        _check(IOracleHub.Fault.CallFailed);
        odd.set(OddFeed.Manner.Answer, new bytes(159));
        _check(IOracleHub.Fault.CallFailed);
        odd.set(OddFeed.Manner.Answer, "");
        _check(IOracleHub.Fault.CallFailed);
        vm.etch(address(odd), "");
        _check(IOracleHub.Fault.CallFailed);
    }

    function test_a_feed_that_says_too_much_costs_no_memory() public {
        odd.set(OddFeed.Manner.Bomb, "");
        // 100,000 zero bytes: the answer is zero, and nothing else happens.
        _check(IOracleHub.Fault.NotPositive);
    }

    function test_dirty_bits_in_other_words_of_the_answer_do_not_matter() public {
        odd.set(
            OddFeed.Manner.Answer,
            abi.encode(type(uint256).max, 5e8, type(uint256).max, block.timestamp, type(uint256).max)
        );
        _check(IOracleHub.Fault.None);
    }

    function test_one_bad_feed_spoils_no_other() public {
        odd.set(OddFeed.Manner.BurnGas, "");
        address[] memory asked = new address[](2);
        (asked[0], asked[1]) = (coin, address(tokens[WETH]));

        IOracleHub.Price[] memory list = oracle.prices(asked);

        assertEq(uint8(list[0].fault), uint8(IOracleHub.Fault.CallFailed));
        assertEq(uint8(list[1].fault), uint8(IOracleHub.Fault.None));
    }

    function testFuzz_no_answer_makes_prices_revert(uint8 manner, bytes memory answer) public {
        odd.set(OddFeed.Manner(manner % 4), answer);
        IOracleHub.Price memory p = _read();
        if (p.fault == IOracleHub.Fault.None) {
            assertGe(p.primaryE18, 4e18);
            assertLe(p.primaryE18, 6e18);
        }
    }

    function testFuzz_a_sound_price_is_positive_young_and_in_range(int256 answerE8, uint256 updatedAt) public {
        odd.set(OddFeed.Manner.Answer, abi.encode(1, answerE8, updatedAt, updatedAt, 1));
        IOracleHub.Feed memory f = oracle.feedOf(coin);
        bool sound = answerE8 > 0 && answerE8 <= 6e8 && updatedAt <= block.timestamp;
        sound = sound && uint256(answerE8) * 1e10 >= f.minPriceE18 && uint256(answerE8) * 1e10 <= f.maxPriceE18;
        sound = sound && block.timestamp - updatedAt <= f.heartbeatSeconds;

        assertEq(_read().fault == IOracleHub.Fault.None, sound);
    }

    function _read() internal view returns (IOracleHub.Price memory) {
        address[] memory asked = new address[](1);
        asked[0] = coin;
        return oracle.prices(asked)[0];
    }

    function _check(IOracleHub.Fault fault) internal view {
        assertEq(uint8(_read().fault), uint8(fault));
    }
}
