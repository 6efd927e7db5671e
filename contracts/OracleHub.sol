// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { Chainlink } from "./feeds/Chainlink.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { IPriceSource } from "./interfaces/IPriceSource.sol";
import { BoundedCall } from "./libraries/BoundedCall.sol";
import { PackedFeed, PackedFeeds } from "./libraries/PackedFeed.sol";

/// @title OracleHub
/// @notice WHAT IT IS. A table from token to price feed, with the rules that each answer must pass: positive, younger than the token's
/// heartbeat, inside the token's sane range. A feed may answer in a quote that has a feed of its own. A token may have a second source. The
/// hub holds no funds and knows no vault.
///
/// SOURCES. A token's own Chainlink-style feed is read directly, because that is cheapest. Everything else (second sources, averages,
/// rates, feeds that can be paused) is read through an adapter (`IPriceSource`) by its address: the hub knows no kinds of sources. An
/// adapter is called with bounded gas, and its answer must pass the same rules as a feed's.
///
/// TWO SOURCES. The feed alone is the primary price. `loE18` and `hiE18` are the lower and the higher of both. What is sold is valued at
/// the higher price, what is bought at the lower. So if either source is right, the true loss stays inside the slippage limit. A second
/// source that fails, or differs by more than its limit, is a fault: it stops trading and never starts it. Two sources with a common feed
/// would be wrong together, so they are refused: no feed and no quote may stand behind both.
///
/// ROLES. The authority may set feeds and sources and remove sources. That waits: a wrong price is the way to rob a vault. At once it may
/// tighten the rules of a feed or source, or remove a feed: that only stops rebalancing. Anyone may read.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. Of a token's sources, one that passes its rules is right within its deviation threshold. The vault's
/// loss limits are limits against these prices. Adapters that the owner sets read what their parameters state, and list what they read. The
/// owner knows where feeds come from: sources are compared by the addresses that are read, so two proxies of one aggregator look like two
/// feeds. A later change of a quote's feed is not checked against the tokens that use the quote, because the hub has no list of them. The
/// owner must check, before such a change, that none of these tokens has the new feed behind its other source.
/// WE ASSUME, OR IT STOPS. Sources answer in time. A source or adapter that reverts, burns gas, or answers nonsense is reported as a fault.
///
/// DELIBERATELY NOT DONE. There is no last good price, no average of sources, and no fallback to an unchecked source: without a sound price
/// there is no rebalance. Exits read no price. The hub does not assume that a stablecoin is worth a dollar: it has a feed like any token.
/// The sequencer's feed cannot be changed, because it belongs to the chain. Another feed needs another hub, which a vault takes over by
/// `setOracle`.
contract OracleHub is IOracleHub, AccessManaged {
    uint256 private constant E18 = 1e18;
    uint256 private constant BPS = 10_000;
    uint8 private constant MAX_FEED_DECIMALS = 18;
    uint256 private constant MAX_DIVERGENCE_BPS = 2_000; // 20 %: sources that may differ by more do not check each other

    /// Flags of a packed feed: the answer is in `_quotes`, a second source is in `_sources`, the feed is an adapter that takes `_params`.
    uint256 private constant QUOTED = 1;
    uint256 private constant CHECKED = 2;
    uint256 private constant ADAPTED = 4;

    /// @inheritdoc IOracleHub
    address public immutable SEQUENCER_FEED;
    /// @inheritdoc IOracleHub
    uint256 public immutable GRACE_SECONDS;

    mapping(address token => PackedFeed) private _feeds;
    mapping(address token => address) private _quotes;
    mapping(address token => bytes) private _params;
    mapping(address token => Source) private _sources;
    mapping(address token => Times) private _changed;

    /// Unix times of the last change of a token's feed and of its second source; 0 if there was none. 40 bits last 34,000 years.
    struct Times {
        uint40 feedAt;
        uint40 sourceAt;
    }

    /// @param authority_ AccessManager that decides who may call what
    /// @param sequencerFeed uptime feed of the chain's sequencer; 0 on a chain without one, where the grace is not used
    /// @param graceSeconds time after the sequencer's return during which prices are not used
    constructor(address authority_, address sequencerFeed, uint256 graceSeconds) AccessManaged(authority_) {
        if (sequencerFeed != address(0) && graceSeconds == 0) revert GraceZero(sequencerFeed);
        SEQUENCER_FEED = sequencerFeed;
        GRACE_SECONDS = graceSeconds;
    }

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
        Chainlink.checkDecimals(feed, feedDecimals);
        _setFeed(token, Feed(feed, heartbeatSeconds, feedDecimals, minPriceE18, maxPriceE18, address(0), ""));
    }

    /// @inheritdoc IOracleHub
    function setQuotedFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18,
        address quote
    ) external restricted {
        Chainlink.checkDecimals(feed, feedDecimals);
        _setFeed(token, Feed(feed, heartbeatSeconds, feedDecimals, minPriceE18, maxPriceE18, quote, ""));
    }

    /// @inheritdoc IOracleHub
    function setAdaptedFeed(
        address token,
        address adapter,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18,
        address quote,
        bytes calldata params
    ) external restricted {
        if (params.length == 0) revert NoParams(adapter);
        IPriceSource(adapter).check(token, quote, params);
        _setFeed(token, Feed(adapter, heartbeatSeconds, MAX_FEED_DECIMALS, minPriceE18, maxPriceE18, quote, params));
    }

    function _setFeed(address token, Feed memory asked) private {
        if (asked.heartbeatSeconds == 0) revert HeartbeatZero(token);
        uint256 flags = asked.quote == address(0) ? 0 : QUOTED;
        if (_sources[token].adapter != address(0)) flags |= CHECKED;
        if (asked.params.length != 0) flags |= ADAPTED;
        _feeds[token] = _pack(asked).withFlags(flags);
        _quotes[token] = asked.quote;
        _params[token] = asked.params;
        _changed[token].feedAt = uint40(block.timestamp);
        _checkIndependent(token);

        // Checked as it is stored, so that no feed is quoted in itself. The second source is not checked here: its fault can only stop
        // trading.
        Price memory p;
        _primary(p, token, _feeds[token]);
        if (p.fault != Fault.None) revert UnsoundFeed(asked.feed, p.fault);
        emit FeedSet(token, _unpack(token));
    }

    function _pack(Feed memory asked) private pure returns (PackedFeed packed) {
        packed = PackedFeeds.pack(
            asked.feed, asked.heartbeatSeconds, asked.feedDecimals, asked.minPriceE18, asked.maxPriceE18
        );
        if (asked.minPriceE18 == 0 || packed.minPriceE18() > packed.maxPriceE18()) {
            revert BadPriceRange(asked.minPriceE18, asked.maxPriceE18);
        }
    }

    /// @dev Refuses two sources that would be wrong together. Behind each source stands what it reads and what its quote's feed reads.
    /// Called once both are stored. Without a second source there is nothing to compare.
    function _checkIndependent(address token) private view {
        Source storage second = _sources[token];
        if (second.adapter == address(0)) return;
        (address quote, address otherQuote) = (_quotes[token], second.quote);
        if (quote != address(0) && quote == otherQuote) revert SharedSource(token, quote);
        address[][2] memory first = [_behind(token), _behind(quote)];
        address[][2] memory other = [IPriceSource(second.adapter).readsFrom(token, second.params), _behind(otherQuote)];
        for (uint256 i; i < 4; ++i) {
            _checkDisjoint(token, first[i >> 1], other[i & 1]);
        }
    }

    function _checkDisjoint(address token, address[] memory some, address[] memory others) private pure {
        for (uint256 i; i < some.length; ++i) {
            for (uint256 j; j < others.length; ++j) {
                if (some[i] == others[j]) revert SharedSource(token, some[i]);
            }
        }
    }

    /// @dev Addresses that a token's feed reads. Empty for USD, which is 0, and for a token without a feed.
    function _behind(address token) private view returns (address[] memory list) {
        PackedFeed f = token == address(0) ? PackedFeed.wrap(0) : _feeds[token];
        if (f.feed() == address(0)) return list;
        if (f.flags() & ADAPTED != 0) return IPriceSource(f.feed()).readsFrom(token, _params[token]);
        list = new address[](1);
        list[0] = f.feed();
    }

    /// @inheritdoc IOracleHub
    /// @dev Takes the source in memory: as calldata, the compiler would no longer inline how `prices` reads a token, which costs 36 gas.
    function setSource(address token, Source memory source) external restricted {
        if (source.maxDivergenceBps == 0 || source.maxDivergenceBps > MAX_DIVERGENCE_BPS) {
            revert DivergenceOutOfRange(source.maxDivergenceBps, MAX_DIVERGENCE_BPS);
        }
        if (source.adapter == address(0)) revert NoSource(token);
        if (source.heartbeatSeconds == 0) revert HeartbeatZero(token);
        if (source.params.length == 0) revert NoParams(source.adapter);
        IPriceSource(source.adapter).check(token, source.quote, source.params);
        _sources[token] = source;
        PackedFeed feed = _feeds[token];
        if (feed.feed() != address(0)) _feeds[token] = feed.withFlags(feed.flags() | CHECKED);
        _changed[token].sourceAt = uint40(block.timestamp);
        _checkIndependent(token);

        (Fault fault,) = _second(token);
        if (fault == Fault.None) {
            Price memory p;
            _readMore(p, token, _feeds[token]);
            fault = p.fault;
        }
        if (fault != Fault.None) revert UnsoundSource(source.adapter, fault);
        emit SourceSet(token, source);
    }

    /// @inheritdoc IOracleHub
    function removeSource(address token) external restricted {
        delete _sources[token];
        _changed[token].sourceAt = uint40(block.timestamp);
        _feeds[token] = _feeds[token].withFlags(_feeds[token].flags() & ~CHECKED);
        emit SourceRemoved(token);
    }

    /* GUARDIAN */

    /// @inheritdoc IOracleHub
    /// @dev Does not read the feed: rules can be tightened until the present answer fails them, and while the feed does not answer.
    function tightenFeed(address token, uint32 heartbeatSeconds, uint128 minPriceE18, uint128 maxPriceE18)
        external
        restricted
    {
        PackedFeed feed = _feeds[token];
        if (feed.feed() == address(0)) revert NoFeedToTighten(token);
        if (heartbeatSeconds == 0) revert HeartbeatZero(token);
        if (heartbeatSeconds > feed.heartbeatSeconds()) {
            revert HeartbeatLoosened(heartbeatSeconds, feed.heartbeatSeconds());
        }
        if (minPriceE18 < feed.minPriceE18() || maxPriceE18 > feed.maxPriceE18()) {
            revert PriceRangeLoosened(minPriceE18, maxPriceE18, feed.minPriceE18(), feed.maxPriceE18());
        }
        Feed memory asked = _unpack(token);
        (asked.heartbeatSeconds, asked.minPriceE18, asked.maxPriceE18) = (heartbeatSeconds, minPriceE18, maxPriceE18);
        _feeds[token] = _pack(asked).withFlags(feed.flags());
        _changed[token].feedAt = uint40(block.timestamp);
        emit FeedSet(token, _unpack(token));
    }

    /// @inheritdoc IOracleHub
    function tightenSource(address token, uint16 maxDivergenceBps) external restricted {
        Source storage source = _sources[token];
        if (source.adapter == address(0)) revert NoSource(token);
        if (maxDivergenceBps == 0) revert DivergenceOutOfRange(maxDivergenceBps, MAX_DIVERGENCE_BPS);
        if (maxDivergenceBps > source.maxDivergenceBps) {
            revert DivergenceLoosened(maxDivergenceBps, source.maxDivergenceBps);
        }
        source.maxDivergenceBps = maxDivergenceBps;
        _changed[token].sourceAt = uint40(block.timestamp);
        emit SourceSet(token, source);
    }

    /// @inheritdoc IOracleHub
    function removeFeed(address token) external restricted {
        _feeds[token] = PackedFeed.wrap(0);
        _quotes[token] = address(0);
        delete _params[token];
        _changed[token].feedAt = uint40(block.timestamp);
        emit FeedRemoved(token);
    }

    /* VIEWS */

    /// @inheritdoc IOracleHub
    /// @dev Fills its answer in place: the same in plain Solidity costs 370 gas more for each token.
    function prices(address[] calldata tokens) external view returns (Price[] memory) {
        uint256 n = tokens.length;
        Price[] memory list = _answerOf(n);
        for (uint256 i; i < n; ++i) {
            address token = tokens[i];
            PackedFeed f = _feeds[token];
            if (f.flags() == 0) _readFeed(list[i], f);
            else _readMore(list[i], token, f);
        }
        if (SEQUENCER_FEED != address(0)) _heedSequencer(list);
        assembly ("memory-safe") {
            // The whole ABI-encoded answer stands behind the list's pointers to its prices.
            return(add(list, shl(5, add(n, 1))), add(64, shl(7, n)))
        }
    }

    /// @dev A list of n zeroed prices. They stand next to each other behind the list's pointers, with a head of 32 (where the list begins)
    /// and n: that is the ABI encoding of the list.
    function _answerOf(uint256 n) private pure returns (Price[] memory list) {
        assembly ("memory-safe") {
            list := mload(0x40)
            mstore(list, n)
            let answer := add(list, shl(5, add(n, 1)))
            mstore(answer, 32)
            mstore(add(answer, 32), n)
            let price := add(answer, 64)
            calldatacopy(price, calldatasize(), shl(7, n)) // zeros
            for { let place := add(list, 32) } lt(place, answer) { place := add(place, 32) } {
                mstore(place, price)
                price := add(price, 128)
            }
            mstore(0x40, price)
        }
    }

    /// @inheritdoc IOracleHub
    function readings(address token) external view returns (Reading memory primary, Reading memory second) {
        Price memory p;
        _primary(p, token, _feeds[token]);
        (primary.fault, primary.priceE18) = (p.fault, p.primaryE18);
        if (_sources[token].adapter != address(0)) (second.fault, second.priceE18) = _second(token);
    }

    /// @inheritdoc IOracleHub
    function feedOf(address token) external view returns (Feed memory) {
        return _unpack(token);
    }

    /// @inheritdoc IOracleHub
    function sourceOf(address token) external view returns (Source memory) {
        return _sources[token];
    }

    /// @inheritdoc IOracleHub
    /// @dev It never decreases: a quote is dropped by a change of the token itself, which is later than any earlier change of the quote.
    /// Only the feed of a quote counts, as in `prices`.
    function changedAt(address token) external view returns (uint256) {
        Times storage own = _changed[token];
        uint256 primaryAt = Math.max(own.feedAt, _quoteChangedAt(_quotes[token]));
        return Math.max(primaryAt, Math.max(own.sourceAt, _quoteChangedAt(_sources[token].quote)));
    }

    /// @dev 0 for USD.
    function _quoteChangedAt(address quote) private view returns (uint256) {
        return quote == address(0) ? 0 : _changed[quote].feedAt;
    }

    /// @dev The casts undo what `pack` did; a stored range ends below 2^128.
    function _unpack(address token) private view returns (Feed memory) {
        PackedFeed f = _feeds[token];
        return Feed({
            feed: f.feed(),
            heartbeatSeconds: uint32(f.heartbeatSeconds()),
            feedDecimals: uint8(f.feedDecimals()),
            minPriceE18: uint128(f.minPriceE18()),
            maxPriceE18: uint128(f.maxPriceE18()),
            quote: _quotes[token],
            params: _params[token]
        });
    }

    /* READING */

    /// @dev Reads a feed and applies its rules, in the order in which a failure is reported. `p` comes zeroed, and is filled in place. The
    /// code of `Chainlink.priceOf` and `_readAdapter` is written out here: shared, it costs 190 gas more for each token.
    function _readFeed(Price memory p, PackedFeed f) private view {
        (bool answered, int256 answer,, uint256 updatedAt) = Chainlink.latest(f.feed());
        if (!answered) {
            p.fault = f.feed() == address(0) ? Fault.NoFeed : Fault.CallFailed;
            return;
        }
        // An answer above 2^128 cannot be sane, and scaling it could overflow. Zero minus one, and negative answers, are above it, too.
        unchecked {
            if (uint256(answer) - 1 >= type(uint128).max) {
                p.fault = answer <= 0 ? Fault.NotPositive : Fault.OutOfRange;
                return;
            }
        }
        unchecked {
            // {usd18/whole} = {usd/whole * 10^d} * 10^(18 - d); below 2^128 * 10^18
            uint256 priceE18 = uint256(answer) * 10 ** (MAX_FEED_DECIMALS - f.feedDecimals());
            _fill(p, priceE18);
            if (updatedAt > block.timestamp || block.timestamp - updatedAt > f.heartbeatSeconds()) {
                p.fault = Fault.Stale;
            } else if (priceE18 < f.minPriceE18() || priceE18 > f.maxPriceE18()) {
                p.fault = Fault.OutOfRange;
            }
        }
    }

    /// @dev Does what `_readFeed` does, for a feed that is an adapter.
    function _readAdapter(Price memory p, PackedFeed f, address token, bytes memory params) private view {
        uint256[] memory words = new uint256[](3);
        if (!BoundedCall.read(f.feed(), abi.encodeCall(IPriceSource.read, (token, params)), words)) {
            p.fault = Fault.CallFailed;
            return;
        }
        (uint256 priceE18, uint256 updatedAt, uint256 fault) = (words[0], words[1], words[2]);
        if (fault > uint256(type(Fault).max)) p.fault = Fault.CallFailed;
        else if (fault != 0) p.fault = Fault(fault);
        else if (priceE18 == 0) p.fault = Fault.NotPositive;
        else if (priceE18 > type(uint128).max) p.fault = Fault.OutOfRange;
        if (p.fault != Fault.None) return;
        (p.loE18, p.hiE18, p.primaryE18) = (priceE18, priceE18, priceE18);
        if (updatedAt > block.timestamp || block.timestamp - updatedAt > f.heartbeatSeconds()) {
            p.fault = Fault.Stale;
        } else if (priceE18 < f.minPriceE18() || priceE18 > f.maxPriceE18()) {
            p.fault = Fault.OutOfRange;
        }
    }

    function _fill(Price memory p, uint256 priceE18) private pure {
        p.loE18 = priceE18;
        p.hiE18 = priceE18;
        p.primaryE18 = priceE18;
    }

    /// @dev Does what `_readFeed` does, for a token with an adapter, a quote or a second source.
    function _readMore(Price memory p, address token, PackedFeed f) private view {
        _primary(p, token, f);
        if (f.flags() & CHECKED != 0 && p.fault == Fault.None) _compare(p, token);
    }

    /// @dev The feed's price in USD, rounded down. The range of a quoted feed applies to the product.
    function _primary(Price memory p, address token, PackedFeed f) private view {
        if (f.flags() & QUOTED == 0) return _readOwn(p, token, f);
        _readOwn(p, token, f.unranged());
        (Fault fault, uint256 priceE18) = _inUsd(p.fault, p.primaryE18, _quotes[token]);
        _fill(p, priceE18);
        bool sane = priceE18 >= f.minPriceE18() && priceE18 <= f.maxPriceE18();
        p.fault = fault == Fault.None && !sane ? Fault.OutOfRange : fault;
    }

    function _readOwn(Price memory p, address token, PackedFeed f) private view {
        if (f.flags() & ADAPTED == 0) _readFeed(p, f);
        else _readAdapter(p, f, token, _params[token]);
    }

    /// @dev Value of `ratioE18` of `quote` in USD {usd18}, rounded down. A quote's own feed must be in USD.
    function _inUsd(Fault fault, uint256 ratioE18, address quote) private view returns (Fault, uint256 priceE18) {
        if (fault != Fault.None) return (fault, 0);
        if (ratioE18 > type(uint128).max) return (Fault.OutOfRange, 0);
        if (quote == address(0)) return (Fault.None, ratioE18);
        PackedFeed f = _feeds[quote];
        if (f.flags() & QUOTED != 0) return (Fault.NoFeed, 0);
        Price memory usd;
        _readOwn(usd, quote, f);
        if (usd.fault != Fault.None) return (usd.fault, 0);
        // {usd18/whole} = {quote18/whole} * {usd18/quote} / 1e18; both are below 2^128
        return (Fault.None, ratioE18 * usd.primaryE18 / E18);
    }

    /// @dev Widens `p` to the second source's price, or gives it a fault.
    function _compare(Price memory p, address token) private view {
        (Fault fault, uint256 secondE18) = _second(token);
        if (fault != Fault.None) {
            p.fault = Fault.SecondUnsound;
            return;
        }
        if (secondE18 < p.loE18) p.loE18 = secondE18;
        else p.hiE18 = secondE18;
        // Both are below 2^128.
        if ((p.hiE18 - p.loE18) * BPS > p.loE18 * _sources[token].maxDivergenceBps) p.fault = Fault.Diverged;
    }

    /// @dev The second source's price in USD {usd18/whole token}, rounded down, or its own fault and 0.
    function _second(address token) private view returns (Fault fault, uint256 priceE18) {
        Source storage s = _sources[token];
        Price memory own;
        PackedFeed f = PackedFeeds.pack(s.adapter, s.heartbeatSeconds, MAX_FEED_DECIMALS, 0, 0).unranged();
        _readAdapter(own, f, token, s.params);
        (fault, priceE18) = _inUsd(own.fault, own.primaryE18, s.quote);
        if (fault != Fault.None) return (fault, 0);
        if (priceE18 == 0) return (Fault.NotPositive, 0);
        if (priceE18 > type(uint128).max) return (Fault.OutOfRange, 0);
    }

    /// @dev Gives every price the chain's own fault, if there is one.
    function _heedSequencer(Price[] memory list) private view {
        Fault halt = _sequencer();
        for (uint256 i; i < list.length && halt != Fault.None; ++i) {
            list[i].fault = halt;
        }
    }

    /// @dev Why no price of this chain may be used now. A sequencer feed that does not answer, or has not begun, counts as a stopped
    /// sequencer.
    function _sequencer() private view returns (Fault) {
        (bool answered, int256 down, uint256 since,) = Chainlink.latest(SEQUENCER_FEED);
        if (!answered || down != 0 || since == 0) return Fault.SequencerDown;
        bool settled = since <= block.timestamp && block.timestamp - since > GRACE_SECONDS;
        return settled ? Fault.None : Fault.GracePeriod;
    }
}
