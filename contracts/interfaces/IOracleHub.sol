// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title IOracleHub
/// @notice Prices of tokens in US dollars, each judged by its own rules. A price that fails a rule is returned with the reason,
/// never as an error, so that whoever asks decides what to do.
interface IOracleHub {
    /// @notice Why a price must not be used. `None` means it may.
    enum Fault {
        None, // the price is sound
        NoFeed, // no feed is set for the token
        CallFailed, // the feed reverted, has no code, or answered with too few bytes
        NotPositive, // the answer is zero or negative
        Stale, // the answer is older than the heartbeat, or carries a time in the future
        OutOfRange, // the price is outside the sane range
        Diverged, // the two sources differ by more than is allowed
        SequencerDown, // the chain's sequencer is down, or its feed does not say
        GracePeriod, // the sequencer is back for too short a time for feeds to have caught up
        SecondUnsound, // the second source has a fault of its own; `readings` tells which
        Paused // whoever issues the token says that its price must not be used
    }

    /// @notice How a token is priced.
    /// @param feed Chainlink-style aggregator or proxy (`latestRoundData`), per whole token, in USD or in `quote`; with `params`, an
    /// adapter (IPriceSource)
    /// @param heartbeatSeconds an answer older than this is stale
    /// @param feedDecimals decimals of the answer, at most 18; an adapter's are 18
    /// @param minPriceE18 smallest sane price {usd18/whole token}, at least 1
    /// @param maxPriceE18 largest sane price {usd18/whole token}
    /// @param quote what the feed's answer is in: 0 for USD, else any address that has a USD feed here, by its own rules
    /// @param params what the adapter reads; empty for a feed, which is read without an adapter
    struct Feed {
        address feed;
        uint32 heartbeatSeconds;
        uint8 feedDecimals;
        uint128 minPriceE18;
        uint128 maxPriceE18;
        address quote;
        bytes params;
    }

    /// @notice A second opinion on a token's price.
    /// @param adapter what reads it (IPriceSource)
    /// @param heartbeatSeconds an answer older than this is stale; 1 is enough for what is computed at the time of the call
    /// @param maxDivergenceBps how far above the lower of the two prices the higher may be, in parts of the lower
    /// @param quote what the answer is in: 0 for USD, else any address that has a USD feed here, by its own rules
    /// @param params what the adapter reads
    struct Source {
        address adapter;
        uint32 heartbeatSeconds;
        uint16 maxDivergenceBps;
        address quote;
        bytes params;
    }

    /// @notice What one source says by itself {usd18/whole token}.
    struct Reading {
        uint256 priceE18;
        Fault fault;
    }

    /// @notice One token's price. With a fault, the prices are the last that could be read, and must not be used.
    /// @param loE18 lower of the sources: what is bought is valued at this {usd18/whole token}
    /// @param hiE18 higher of the sources: what is sold is valued at this {usd18/whole token}
    /// @param primaryE18 the primary source alone: weights use this {usd18/whole token}
    struct Price {
        uint256 loE18;
        uint256 hiE18;
        uint256 primaryE18;
        Fault fault;
    }

    /// @notice The feed or token has other decimals than the owner expects.
    error FeedDecimals(address feed, uint256 expected, uint256 actual);
    /// @notice More decimals than can be computed with: 18 of a feed, 27 of a token or rate.
    error FeedDecimalsTooMany(uint256 decimals, uint256 maximum);
    /// @notice The heartbeat must be at least one second.
    error HeartbeatZero(address token);
    /// @notice The sane range starts at zero, is empty, or is so narrow that rounding it inward empties it.
    error BadPriceRange(uint256 minPriceE18, uint256 maxPriceE18);
    /// @notice The feed's present answer already fails its own rules.
    error UnsoundFeed(address feed, Fault fault);

    /// @notice With a second source, the token's price would have a fault: the source's own, or one of the token.
    error UnsoundSource(address adapter, Fault fault);
    /// @notice The token has no second source, or none is named.
    error NoSource(address token);
    /// @notice What an adapter reads must be named: a feed without parameters is read without an adapter.
    error NoParams(address adapter);
    /// @notice The adapter takes parameters of another length.
    error ParamsLength(uint256 actual, uint256 expected);
    /// @notice The pool is not of the token and its quote, or the ERC-4626 vault is not the token or not of the quote.
    error SourceOfOthers(address source, address token, address quote);
    /// @notice Both sources of the token rest on this feed, or are in this quote: they would be wrong together.
    error SharedSource(address token, address shared);
    /// @notice A shorter window is moved by too few blocks.
    error WindowTooShort(uint256 windowSeconds, uint256 minimum);
    /// @notice The divergence limit must be at least one basis point, and tell sources apart.
    error DivergenceOutOfRange(uint256 maxDivergenceBps, uint256 maximum);
    /// @notice Without a feed there is nothing to tighten.
    error NoFeedToTighten(address token);
    /// @notice Tightening cannot let an answer become older than it may be now.
    error HeartbeatLoosened(uint256 heartbeatSeconds, uint256 presentSeconds);
    /// @notice Tightening cannot move an end of the sane range outwards.
    error PriceRangeLoosened(
        uint256 minPriceE18, uint256 maxPriceE18, uint256 presentMinPriceE18, uint256 presentMaxPriceE18
    );
    /// @notice Tightening cannot let the sources differ by more than they may now.
    error DivergenceLoosened(uint256 maxDivergenceBps, uint256 presentBps);
    /// @notice After the sequencer comes back, feeds need some time.
    error GraceZero(address sequencerFeed);

    event FeedSet(address indexed token, Feed feed);
    event FeedRemoved(address indexed token);
    event SourceSet(address indexed token, Source source);
    event SourceRemoved(address indexed token);

    /// @notice Sets or replaces a token's feed. Restricted: it adds risk, so the authority makes it wait.
    /// The range is stored in 24 bits an end, rounded inward: never wider than asked, and either end moves by less than 1/65,536 of itself.
    /// `feedOf` and `FeedSet` tell the range that holds. Refused if the token's second source rests on the same feed. What is not checked:
    /// whether a token that is quoted in this one has this feed behind its other source.
    /// @param feedDecimals what the owner expects; refused if the feed says otherwise
    function setFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18
    ) external;

    /// @notice As `setFeed`, for a feed that answers in `quote`, which has a USD feed here: WBTC/BTC, where BTC/USD is set for an address
    /// that stands for BTC. The sane range is of the product. The quote counts by its feed alone: a second source of the quote is not
    /// asked, and the token's own second source is what checks the product. Refused if the token's second source rests on the same feed as
    /// this one or its quote, or is in the same quote. A later change of the quote's feed is not checked. Restricted.
    function setQuotedFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18,
        address quote
    ) external;

    /// @notice As `setQuotedFeed`, for a price that an adapter reads: a feed that can be paused, a feed times an exchange rate, or any other
    /// `IPriceSource`. `quote` is 0 for USD. The adapter checks its parameters. Restricted.
    function setAdaptedFeed(
        address token,
        address adapter,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18,
        address quote,
        bytes calldata params
    ) external;

    /// @notice Sets or replaces a token's second source. The adapter checks its parameters. Refused unless the token's price is sound with
    /// it, and if it rests on a feed that the token's feed or its quote is read from, or is in the same quote. A later change of a quote's
    /// feed is not checked. It survives a change of the token's feed. Restricted, with delay: a loose one replaces a strict one.
    function setSource(address token, Source calldata source) external;

    /// @notice Leaves a token with its feed alone. Restricted, with delay: it removes a check.
    function removeSource(address token) external;

    /// @notice Narrows the rules of a token's feed, at once: no end of the range moves outwards, no answer may become older. It may leave
    /// the present answer unsound, which stops rebalancing. `feedOf` tells the ends that hold; they can be passed on unchanged. Restricted.
    function tightenFeed(address token, uint32 heartbeatSeconds, uint128 minPriceE18, uint128 maxPriceE18) external;

    /// @notice Lowers how far a token's two sources may differ, at once. Restricted.
    function tightenSource(address token, uint16 maxDivergenceBps) external;

    /// @notice Removes a token's feed: vaults that hold the token stop rebalancing, and nothing else. Restricted.
    function removeFeed(address token) external;

    /// @notice Prices of several tokens, in the order asked. Never reverts because of a feed.
    function prices(address[] calldata tokens) external view returns (Price[] memory);

    /// @notice How the token is priced, with the sane range that holds; all zero without a feed.
    function feedOf(address token) external view returns (Feed memory);

    /// @notice The token's second source; all zero without one.
    function sourceOf(address token) external view returns (Source memory);

    /// @notice What each of a token's sources says by itself; the second is zero and without a fault where there is none.
    function readings(address token) external view returns (Reading memory primary, Reading memory second);

    /// @notice When something that the token's price rests on was last changed here: its feed, its second source, and the feeds of the
    /// quotes of both {unix seconds; 0 if never}. Setting, tightening and removing all count; new answers of a feed do not.
    /// What was agreed on before that time was agreed on under other rules. The guardian changes some of them at once, and by itself that
    /// must make no call possible that was not: whoever sells at terms that were made earlier, as in an auction, asks here and drops them.
    function changedAt(address token) external view returns (uint256);

    /// @notice Uptime feed of the chain's sequencer (answer 0 = up, `startedAt` = since when); 0 where there is none.
    function SEQUENCER_FEED() external view returns (address);

    /// @notice How long after the sequencer's return prices are not used.
    function GRACE_SECONDS() external view returns (uint256);
}
