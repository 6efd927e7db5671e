// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @title IOracleHub
/// @notice Prices of tokens in US dollars, each checked by its own rules. A price that fails a rule is returned with the reason, never as
/// an error: the caller decides what to do. Unit `{usd18}`: US dollars times 1e18. A `whole token` is 10**decimals of its smallest units.
interface IOracleHub {
    /// @notice Why a price must not be used. `None`: it may be used.
    enum Fault {
        None, // the price is sound
        NoFeed, // no feed is set for the token
        CallFailed, // the feed reverted, has no code, or answered with too few bytes
        NotPositive, // the answer is zero or negative
        Stale, // the answer is older than the heartbeat, or carries a time in the future
        OutOfRange, // the price is outside the sane range
        Diverged, // the two sources differ by more than the limit
        SequencerDown, // the chain's sequencer is down, or its feed does not answer
        GracePeriod, // the sequencer has returned so recently that feeds may not be up to date
        SecondUnsound, // the second source has a fault of its own, which `readings` returns
        Paused // the token's issuer reports that its price must not be used
    }

    /// @notice Price source of a token, and its rules.
    /// @param feed Chainlink-style aggregator or proxy (`latestRoundData`), per whole token, in USD or in `quote`; with `params`, an
    /// adapter (IPriceSource)
    /// @param heartbeatSeconds an answer older than this is stale
    /// @param feedDecimals decimals of the answer, at most 18; an adapter's are 18
    /// @param minPriceE18 smallest sane price {usd18/whole token}, at least 1
    /// @param maxPriceE18 largest sane price {usd18/whole token}
    /// @param quote unit of the feed's answer: 0 for USD, otherwise any address that has a USD feed here, with its own rules
    /// @param params parameters of the adapter; empty for a feed, which is read without an adapter
    struct Feed {
        address feed;
        uint32 heartbeatSeconds;
        uint8 feedDecimals;
        uint128 minPriceE18;
        uint128 maxPriceE18;
        address quote;
        bytes params;
    }

    /// @notice Second source of a token's price.
    /// @param adapter contract that reads the source (IPriceSource)
    /// @param heartbeatSeconds an answer older than this is stale; 1 is enough for a price that is computed at the time of the call
    /// @param maxDivergenceBps how far the higher of the two prices may be above the lower, in parts of the lower
    /// @param quote unit of the answer: 0 for USD, otherwise any address that has a USD feed here, with its own rules
    /// @param params parameters of the adapter
    struct Source {
        address adapter;
        uint32 heartbeatSeconds;
        uint16 maxDivergenceBps;
        address quote;
        bytes params;
    }

    /// @notice Price of one source by itself, rounded down {usd18/whole token}, and its fault.
    struct Reading {
        uint256 priceE18;
        Fault fault;
    }

    /// @notice One token's price. With a fault, the prices are the last that could be read, and must not be used.
    /// @param loE18 lower of the sources, which values what is bought {usd18/whole token}
    /// @param hiE18 higher of the sources, which values what is sold {usd18/whole token}
    /// @param primaryE18 primary source alone, which gives the weights {usd18/whole token}
    struct Price {
        uint256 loE18;
        uint256 hiE18;
        uint256 primaryE18;
        Fault fault;
    }

    /// @notice The feed or token has other decimals than the owner expects.
    error FeedDecimals(address feed, uint256 expected, uint256 actual);
    /// @notice The decimals are above the maximum: 18 for a feed, 27 for a token or rate.
    error FeedDecimalsTooMany(uint256 decimals, uint256 maximum);
    /// @notice The heartbeat must be at least one second.
    error HeartbeatZero(address token);
    /// @notice The sane range starts at zero, is empty, or is so narrow that rounding it inward empties it {usd18/whole token}.
    error BadPriceRange(uint256 minPriceE18, uint256 maxPriceE18);
    /// @notice The feed's present answer already fails its own rules.
    error UnsoundFeed(address feed, Fault fault);

    /// @notice With this second source, the token's price would have a fault: the source's own, or one of the token.
    error UnsoundSource(address adapter, Fault fault);
    /// @notice The token has no second source, or the call names no adapter.
    error NoSource(address token);
    /// @notice The adapter's parameters are missing. A feed without parameters is read without an adapter.
    error NoParams(address adapter);
    /// @notice The adapter expects parameters of another length {bytes}.
    error ParamsLength(uint256 actual, uint256 expected);
    /// @notice The pool is not of the token and its quote, or the ERC-4626 vault is not the token or not of the quote.
    error SourceOfOthers(address source, address token, address quote);
    /// @notice This feed or quote stands behind both sources of the token: they would be wrong together.
    error SharedSource(address token, address shared);
    /// @notice The averaging window is too short: too few blocks could move the average.
    error WindowTooShort(uint256 windowSeconds, uint256 minimum);
    /// @notice The divergence limit must be at least one basis point and at most `maximum` {bps}.
    error DivergenceOutOfRange(uint256 maxDivergenceBps, uint256 maximum);
    /// @notice Without a feed there is nothing to tighten.
    error NoFeedToTighten(address token);
    /// @notice Tightening cannot raise the heartbeat.
    error HeartbeatLoosened(uint256 heartbeatSeconds, uint256 presentSeconds);
    /// @notice Tightening cannot move an end of the sane range outward {usd18/whole token}.
    error PriceRangeLoosened(
        uint256 minPriceE18, uint256 maxPriceE18, uint256 presentMinPriceE18, uint256 presentMaxPriceE18
    );
    /// @notice Tightening cannot raise the divergence limit {bps}.
    error DivergenceLoosened(uint256 maxDivergenceBps, uint256 presentBps);
    /// @notice With a sequencer feed, the grace must be at least one second: after the sequencer returns, feeds need time.
    error GraceZero(address sequencerFeed);

    /// @notice A token's feed and its rules were set or tightened.
    event FeedSet(address indexed token, Feed feed);
    /// @notice A token's feed was removed.
    event FeedRemoved(address indexed token);
    /// @notice A token's second source was set or tightened.
    event SourceSet(address indexed token, Source source);
    /// @notice A token's second source was removed.
    event SourceRemoved(address indexed token);

    /// @notice Sets or replaces a token's feed. Restricted: it adds risk, so the authority makes it wait.
    /// The range is stored in 24 bits per end, rounded inward: it is never wider than requested, and either end moves by less than 1/65,536
    /// of itself. `feedOf` and `FeedSet` have the range that is in force. Refused if the token's second source has the same feed behind it.
    /// Not checked: whether a token that is quoted in this one has this feed behind its other source.
    /// @param feedDecimals decimals that the owner expects; refused if the feed has others
    /// @param heartbeatSeconds an answer older than this is stale
    /// @param minPriceE18 smallest sane price {usd18/whole token}
    /// @param maxPriceE18 largest sane price {usd18/whole token}
    function setFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18
    ) external;

    /// @notice Sets or replaces a token's feed, as `setFeed`, by one that answers in `quote`, which has a USD feed here. Example: WBTC/BTC,
    /// where BTC/USD is set for an address that stands for BTC. The sane range applies to the product {usd18/whole token}. Only the feed of
    /// the quote counts: a second source of the quote is not read, and the token's own second source checks the product. Refused if the
    /// token's second source has this feed or the quote's feed behind it, or is in the same quote. A later change of the quote's feed is
    /// not checked. Restricted.
    function setQuotedFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18,
        address quote
    ) external;

    /// @notice Sets or replaces a token's feed, as `setQuotedFeed`, by an adapter: a feed that can be paused, a feed times an exchange
    /// rate, or any other `IPriceSource`. `quote` is 0 for USD. The adapter checks its parameters. Restricted.
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
    /// it, and refused if it shares a feed with the token's feed or that feed's quote, or is in the same quote. A later change of a quote's
    /// feed is not checked. The source stays when the token's feed changes. Restricted, with delay: a loose source may replace a strict
    /// one.
    function setSource(address token, Source calldata source) external;

    /// @notice Removes a token's second source: its feed alone gives the price. Restricted, with delay: it removes a check.
    function removeSource(address token) external;

    /// @notice Tightens the rules of a token's feed, at once: no end of the range moves outward {usd18/whole token}, and the heartbeat does
    /// not grow. The present answer may then be unsound, which stops rebalancing. `feedOf` returns the ends in force, which can be passed
    /// unchanged. Restricted.
    function tightenFeed(address token, uint32 heartbeatSeconds, uint128 minPriceE18, uint128 maxPriceE18) external;

    /// @notice Lowers the limit for the difference of a token's two sources, at once. Restricted.
    function tightenSource(address token, uint16 maxDivergenceBps) external;

    /// @notice Removes a token's feed: vaults with the token stop rebalancing, and nothing else changes. Restricted.
    function removeFeed(address token) external;

    /// @notice Prices of several tokens, in the order of `tokens`. Never reverts because of a feed.
    function prices(address[] calldata tokens) external view returns (Price[] memory);

    /// @notice A token's feed and its rules, with the sane range that is in force; all zero without a feed.
    function feedOf(address token) external view returns (Feed memory);

    /// @notice The token's second source; all zero without one.
    function sourceOf(address token) external view returns (Source memory);

    /// @notice Price of each of a token's sources by itself. Without a second source, `second` is zero and has no fault.
    function readings(address token) external view returns (Reading memory primary, Reading memory second);

    /// @notice When a source of the token's price was last changed here: its feed, its second source, or the feeds of the quotes of both
    /// {unix seconds; 0 if never}. Setting, tightening and removing count; new answers of a feed do not. Terms that were agreed before that
    /// time were agreed under other rules. The guardian changes some sources at once, and that alone must not make a new call possible. So
    /// a contract that sells at terms made earlier, such as an auction, reads this time and drops the terms.
    function changedAt(address token) external view returns (uint256);

    /// @notice Uptime feed of the chain's sequencer (answer 0 = up, `startedAt` = since when); 0 where there is none.
    function SEQUENCER_FEED() external view returns (address);

    /// @notice How long after the sequencer's return prices are not used {seconds}.
    function GRACE_SECONDS() external view returns (uint256);
}
