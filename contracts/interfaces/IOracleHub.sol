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
        OutOfRange // the price is outside the sane range
    }

    /// @notice How a token is priced.
    /// @param feed Chainlink-style aggregator or proxy (`latestRoundData`), quoted in USD per whole token
    /// @param heartbeatSeconds an answer older than this is stale
    /// @param feedDecimals decimals of the answer, at most 18
    /// @param minPriceE18 smallest sane price {usd18/whole token}, at least 1
    /// @param maxPriceE18 largest sane price {usd18/whole token}
    struct Feed {
        address feed;
        uint32 heartbeatSeconds;
        uint8 feedDecimals;
        uint128 minPriceE18;
        uint128 maxPriceE18;
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

    /// @notice The feed answers with other decimals than the owner expects.
    error FeedDecimals(address feed, uint256 expected, uint256 actual);
    /// @notice Feed answers with more than 18 decimals cannot be scaled without loss.
    error FeedDecimalsTooMany(uint256 decimals, uint256 maximum);
    /// @notice The heartbeat must be at least one second.
    error HeartbeatZero(address token);
    /// @notice The sane range starts at zero, is empty, or is so narrow that rounding it inward empties it.
    error BadPriceRange(uint256 minPriceE18, uint256 maxPriceE18);
    /// @notice The feed's present answer already fails its own rules.
    error UnsoundFeed(address feed, Fault fault);

    event FeedSet(address indexed token, Feed feed);
    event FeedRemoved(address indexed token);

    /// @notice Sets or replaces a token's feed. Restricted: it adds risk, so the authority makes it wait.
    /// The range is stored in 24 bits an end, rounded inward: never wider than asked, and either end moves by less than 1/65,536 of itself.
    /// `feedOf` and `FeedSet` tell the range that holds.
    /// @param feedDecimals what the owner expects; refused if the feed says otherwise
    function setFeed(
        address token,
        address feed,
        uint8 feedDecimals,
        uint32 heartbeatSeconds,
        uint128 minPriceE18,
        uint128 maxPriceE18
    ) external;

    /// @notice Removes a token's feed: vaults that hold the token stop rebalancing, and nothing else. Restricted.
    function removeFeed(address token) external;

    /// @notice Prices of several tokens, in the order asked. Never reverts because of a feed.
    function prices(address[] calldata tokens) external view returns (Price[] memory);

    /// @notice How the token is priced, with the sane range that holds; all zero without a feed.
    function feedOf(address token) external view returns (Feed memory);
}
