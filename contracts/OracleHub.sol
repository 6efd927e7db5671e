// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";

import { AggregatorV3Interface } from "./feeds/AggregatorV3Interface.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { PackedFeed, PackedFeeds } from "./libraries/PackedFeed.sol";

/// @title OracleHub
/// @notice WHAT IT IS. A table from token to price feed, with the rules each answer must pass: positive, younger than its own
/// heartbeat, inside its own sane range. It holds no funds and knows no vault.
///
/// ROLES. The authority may set feeds (delayed: a wrong feed is how a vault would be robbed) and remove them (at once: it only
/// stops rebalancing). Anyone may read.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. A feed that passes its rules is right within its deviation threshold. The vault's loss limits
/// are limits against these prices.
/// WE ASSUME, OR IT STOPS. Feeds answer in time. A feed that reverts, burns gas, or answers nonsense is reported as a fault.
///
/// DELIBERATELY NOT DONE. No last good price, no averaging, no fallback to an unjudged source: without a sound price there is no
/// rebalance, and exits never ask for one. No dollar is assumed to be worth a dollar: a stablecoin has a feed like any token.
contract OracleHub is IOracleHub, AccessManaged {
    /// Gas one feed may use: a Chainlink proxy needs under 30,000.
    uint256 private constant FEED_GAS = 200_000;
    uint256 private constant MAX_FEED_DECIMALS = 18;

    mapping(address token => PackedFeed) private _feeds;

    constructor(address authority_) AccessManaged(authority_) { }

    /* OWNER */

    /// @inheritdoc IOracleHub
    function setFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18
    ) external restricted {
        if (feedDecimals > MAX_FEED_DECIMALS) {
            revert FeedDecimalsTooMany(feedDecimals, MAX_FEED_DECIMALS);
        }
        if (heartbeatSeconds == 0) revert HeartbeatZero(token);
        uint8 actual = AggregatorV3Interface(feed).decimals();
        if (actual != feedDecimals) revert FeedDecimals(feed, feedDecimals, actual);

        PackedFeed set = PackedFeeds.pack(feed, heartbeatSeconds, feedDecimals, minPriceE18, maxPriceE18, 0);
        if (minPriceE18 == 0 || set.minPriceE18() > set.maxPriceE18()) revert BadPriceRange(minPriceE18, maxPriceE18);
        Price memory p;
        _read(p, set);
        if (p.fault != Fault.None) revert UnsoundFeed(feed, p.fault);

        _feeds[token] = set;
        emit FeedSet(token, _unpack(set));
    }

    /* GUARDIAN */

    /// @inheritdoc IOracleHub
    function removeFeed(address token) external restricted {
        _feeds[token] = PackedFeed.wrap(0);
        emit FeedRemoved(token);
    }

    /* VIEWS */

    /// @inheritdoc IOracleHub
    function prices(address[] calldata tokens) external view returns (Price[] memory list) {
        uint256 n = tokens.length;
        list = new Price[](n);
        for (uint256 i; i < n; ++i) {
            _read(list[i], _feeds[tokens[i]]);
        }
    }

    /// @inheritdoc IOracleHub
    function feedOf(address token) external view returns (Feed memory) {
        return _unpack(_feeds[token]);
    }

    /// @dev The casts undo what `pack` did; a stored range ends below 2^128.
    function _unpack(PackedFeed f) private pure returns (Feed memory) {
        return Feed({
            feed: f.feed(),
            heartbeatSeconds: uint32(f.heartbeatSeconds()),
            feedDecimals: uint8(f.feedDecimals()),
            minPriceE18: uint128(f.minPriceE18()),
            maxPriceE18: uint128(f.maxPriceE18())
        });
    }

    /// @dev The rules, in the order in which a failure is reported. `p` comes zeroed, and is filled in place.
    function _read(Price memory p, PackedFeed f) private view {
        if (f.feed() == address(0)) {
            p.fault = Fault.NoFeed;
            return;
        }
        (bool answered, int256 answer, uint256 updatedAt) = _latest(f.feed());
        if (!answered) {
            p.fault = Fault.CallFailed;
            return;
        }
        // An answer above 2^128 cannot be sane, and scaling it could overflow.
        if (answer <= 0 || uint256(answer) > type(uint128).max) {
            p.fault = answer <= 0 ? Fault.NotPositive : Fault.OutOfRange;
            return;
        }
        unchecked {
            // {usd18/whole} = {usd/whole * 10^d} * 10^(18 - d); below 2^128 * 10^18
            uint256 priceE18 = uint256(answer) * 10 ** (MAX_FEED_DECIMALS - f.feedDecimals());
            p.loE18 = priceE18;
            p.hiE18 = priceE18;
            p.primaryE18 = priceE18;
            if (updatedAt > block.timestamp || block.timestamp - updatedAt > f.heartbeatSeconds()) {
                p.fault = Fault.Stale;
            } else if (priceE18 < f.minPriceE18() || priceE18 > f.maxPriceE18()) {
                p.fault = Fault.OutOfRange;
            }
        }
    }

    /// @dev Reads into scratch memory so that neither a revert, nor dirty bits, nor a huge answer of the feed can hurt the caller.
    function _latest(address feed) private view returns (bool answered, int256 answer, uint256 updatedAt) {
        bytes4 selector = AggregatorV3Interface.latestRoundData.selector;
        assembly ("memory-safe") {
            let out := mload(0x40)
            mstore(out, selector)
            answered := staticcall(FEED_GAS, feed, out, 4, out, 160)
            answered := and(answered, gt(returndatasize(), 159))
            answer := mload(add(out, 32))
            updatedAt := mload(add(out, 96))
        }
    }
}
