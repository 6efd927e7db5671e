// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IOracleHub } from "./IOracleHub.sol";

/// @title IVaultBase
/// @notice What both halves of a basket vault share: types, errors, events, and what both can tell. Arrays are in basket order, one entry an asset, unless said
/// otherwise. `{tok}` smallest units of a token, `{share}` smallest units of the share, `{usd18}` US dollars times 1e18.
interface IVaultBase is IERC20 {
    /// @notice One asset of the basket.
    /// @param token the ERC-20
    /// @param targetE18 its target weight; all targets sum to exactly 1e18
    /// @param bandBps how far its weight may stray from target before a rebalance may run, 1 to 5,000
    /// @param decimals the token's decimals, read when the asset was added
    /// @param relativeBandBps if not 0, the band is this part of the target weight where that is narrower than `bandBps`
    /// @param minTradeRaw least that one rebalance may sell or buy of it {tok}
    /// @param startTargetE18 its target weight when the glide began; all sum to exactly 1e18
    /// @param excluded whether rebalances leave it alone: it has no price, no weight and no target, and is still redeemed in kind
    struct Asset {
        address token;
        uint64 targetE18;
        uint16 bandBps;
        uint8 decimals;
        uint16 relativeBandBps;
        uint128 minTradeRaw;
        uint64 startTargetE18;
        bool excluded;
    }

    /// @notice When an asset counts as out of balance, and how little of it is worth a trade; see `Asset`.
    struct Band {
        uint16 bandBps;
        uint16 relativeBandBps;
        uint128 minTradeRaw;
    }

    /// @notice What a rebalance may do.
    /// @param startSlippageBps loss allowed per value sold when a band has just broken
    /// @param maxSlippageBps loss allowed once the ramp has ended, at most 300
    /// @param slippageRampSeconds how long the climb from start to max takes, at least 1
    /// @param minProgressBps by how much a rebalance must shrink the total distance to target, unless it ends within dust
    /// @param dustBps what counts as nothing, in parts of the basket's value; below every band
    /// @param cooldownSeconds least time between two rebalances
    /// @param lossBudgetBps capacity of the loss bucket, in parts of the basket's value
    /// @param lossPeriodSeconds time in which a full loss bucket drains
    /// @param turnoverBudgetBps capacity of the turnover bucket, in parts of the basket's value
    /// @param turnoverPeriodSeconds time in which a full turnover bucket drains
    /// @param destinationBps how far from target a rebalance ends, in parts of the band: 0 at the target, 10,000 at the band's edge
    /// @param calendarSeconds if not 0, one rebalance may run in every such period (counted from 1970) with all bands whole
    /// @param openAfterSeconds if not 0, anyone may rebalance this long after it became due; until then only keepers
    struct Policy {
        uint16 startSlippageBps;
        uint16 maxSlippageBps;
        uint32 slippageRampSeconds;
        uint16 minProgressBps;
        uint16 dustBps;
        uint32 cooldownSeconds;
        uint16 lossBudgetBps;
        uint32 lossPeriodSeconds;
        uint16 turnoverBudgetBps;
        uint32 turnoverPeriodSeconds;
        uint16 destinationBps;
        uint32 calendarSeconds;
        uint32 openAfterSeconds;
    }

    /// @notice Everything about a vault that governance may change, except the fees.
    /// @param glideStart when targets were at `startTargetE18` (unix time)
    /// @param glideEnd when they will be at `targetE18`; in between they move in a straight line
    struct Config {
        IOracleHub oracle;
        Policy policy;
        uint40 glideStart;
        uint40 glideEnd;
        Asset[] assets;
    }

    /// @notice Where the policy stands.
    /// @param lossLevelE18 level of the loss bucket at `rebalancedAt`, in parts of the basket's value
    /// @param turnoverLevelE18 level of the turnover bucket at `rebalancedAt`
    /// @param rebalancedAt unix time of the last rebalance, 0 before the first
    /// @param dueSince unix time at which a rebalance was first seen due (a band broken, or the calendar open with more than dust to do), 0
    /// while none is known to be
    /// @param epoch number of rebalances and changes of the configuration so far; each rebalance names the one it means to follow
    /// @param paused whether the guardian has stopped rebalancing
    struct State {
        uint64 lossLevelE18;
        uint64 turnoverLevelE18;
        uint40 rebalancedAt;
        uint40 dueSince;
        uint32 epoch;
        bool paused;
    }

    /// @notice What holders pay, in basis points.
    /// @param streamingBps part of the basket a year of 365 days, to the fee recipient; at most 500
    /// @param performanceBps part of what a share gained over its high-water mark, to the fee recipient; at most 2,000
    /// @param entryBps extra part a depositor gives, which stays in the vault; at most 200
    /// @param exitBps part a redeemer leaves in the vault; at most 200
    struct Fees {
        uint16 streamingBps;
        uint16 performanceBps;
        uint16 entryBps;
        uint16 exitBps;
    }

    /// @notice Where the streaming fee stands, the fees on entry and exit, and whose gains the performance fee may charge.
    /// @param pendingShares shares owed to the recipient at `accruedAt` and not yet minted
    /// @param accruedAt unix time up to which `pendingShares` counts
    /// @param leastShift see `leastSupply`
    /// @param leastSupply `leastSupply << leastShift` is the smallest supply since the performance fee was last settled, rounded down
    struct Fee {
        uint128 pendingShares;
        uint40 accruedAt;
        uint16 streamingBps;
        uint16 entryBps;
        uint16 exitBps;
        uint8 leastShift;
        uint32 leastSupply;
    }

    /// @notice Where the performance fee stands.
    /// @param highWaterE18 highest value of a whole share (1e18), at the higher prices, when the fee began and at any settlement since {usd18}
    /// @param settledAt unix time of the last settlement, or of the fee's beginning
    /// @param chargedBps what the next settlement charges on gains since the last
    /// @param nextBps what settlements after it charge
    struct Performance {
        uint128 highWaterE18;
        uint40 settledAt;
        uint16 chargedBps;
        uint16 nextBps;
    }

    /// @notice Terms on which one asset is sold for another while no oracle prices both.
    /// @param lotRaw most one bid may buy {sold tok}
    /// @param startPayRaw what a whole lot costs right after a lot was sold, or after the start; half of a lot takes back half of what the
    /// price had fallen {bought tok}
    /// @param floorPayRaw what it costs `decaySeconds` later, and never less {bought tok}
    /// @param keepRaw what must stay of the sold asset for each whole share (1e18) {sold tok}
    /// @param fillRaw what the bought asset may at most reach for each whole share (1e18) {bought tok}
    /// @param decaySeconds how long the price takes to fall, at least 1
    /// @param clockE6 when the fall of the price begins: when bids do, or at the last lot; unix time times 1e6
    /// @param endsAt unix time from which there are no more bids
    /// @param startedAt unix time of the start; what changes a price's sources later ends the auction
    /// @param unpricedSince unix time since which the pair has been seen unpriced without a gap of more than 30 minutes; bids begin 6 hours later
    /// @param unpricedAt unix time at which it was last seen unpriced
    struct Auction {
        uint128 lotRaw;
        uint128 startPayRaw;
        uint128 floorPayRaw;
        uint128 keepRaw;
        uint128 fillRaw;
        uint32 decaySeconds;
        uint64 clockE6;
        uint40 endsAt;
        uint40 startedAt;
        uint40 unpricedSince;
        uint40 unpricedAt;
    }

    /// @notice What a vault starts with.
    /// @param authority AccessManager that says who may call what
    /// @param seedAmounts what the vault was sent of each asset {tok}
    /// @param initialShares shares for the seed {share}. Locked for ever are at least `MINIMUM_SHARES`, and as many as own 1,000 units of each asset
    /// of the seed; refused if that is more than a hundredth of them
    /// @param receiver gets the rest of them
    struct Start {
        string name;
        string symbol;
        address authority;
        Config config;
        Fees fees;
        address feeRecipient;
        uint256[] seedAmounts;
        uint256 initialShares;
        address receiver;
    }

    /* ERRORS: CONFIGURATION */

    error AlreadyInitialized();
    error FeeOutOfRange(uint256 feeBps, uint256 maximum);
    /// @notice A fee would rise, and raising one must wait.
    error FeeNotLower(uint256 feeBps, uint256 currentBps);
    error BadFeeRecipient(address recipient);
    /// @notice A name must have 1 to 31 bytes.
    error BadName(string name);

    /* ERRORS: SHARES */

    error ZeroShares();
    error SupplyTooLarge(uint256 supply, uint256 maximum);
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
    /// @notice So little of an asset cannot give the locked shares 1,000 units of it: they may be at most a hundredth of all.
    error SeedTooSmall(uint256 asset, uint256 amountRaw, uint256 minimumRaw);
    /// @notice An array does not have one entry an asset.
    error LengthMismatch(uint256 length, uint256 expected);
    error BadReceiver(address receiver);
    /// @notice The vault holds nothing, so shares have no price in kind.
    error NothingHeld();
    error AmountAboveMaximum(uint256 asset, uint256 amountRaw, uint256 maximumRaw);
    error AmountBelowMinimum(uint256 asset, uint256 amountRaw, uint256 minimumRaw);
    error HoldingTooLarge(uint256 asset, uint256 amountRaw, uint256 maximumRaw);
    /// @notice The token moved another amount than asked; such tokens are not accepted.
    error TransferNotExact(address token, uint256 askedRaw, uint256 receivedRaw);
    error NothingToClaim(address holder, address token);
    /// @notice Somebody else may only have a claim paid to its holder.
    error NotTheClaimant(address caller, address holder);
    error ClaimFailed(address holder, address token, uint256 amountRaw);
    /// @notice The basket has no asset of that number.
    error NoSuchAsset(uint256 asset, uint256 count);
    /// @notice The vault's balance covers its ledger and all open claims, so there is no loss to write down.
    error NothingLost(uint256 asset, uint256 balanceRaw, uint256 owedRaw);
    /// @notice The vault has less of an asset than its ledger and the open claims say: `sync` must write the loss down first.
    error LossNotWrittenDown(uint256 asset, uint256 balanceRaw, uint256 owedRaw);
    /// @notice The asset lost balance, and the owner has not allowed buying it again.
    error PurchaseBarred(uint256 asset);
    error PurchaseNotBarred(uint256 asset);
    /// @notice The vault's balances of two assets move as one: they are one token under two addresses.
    error SameToken(address token, address other);
    /// @notice More is to be absorbed than was given.
    error GiftTooSmall(uint256 asset, uint256 amountRaw, uint256 giftRaw);
    /// @notice Too little gas is left to give every token a fair try, and a failed try must not be the caller's fault.
    error NotEnoughGas(uint256 gasLeft, uint256 needed);
    /// @notice The vault is in the middle of a call that changes its state.
    error ReentrancyGuardReentrantCall();
    /// @notice A mint shares no transaction with a rebalance, a bid or an `absorb` of the same vault, and none of these follows a redemption in
    /// one. A redemption may follow anything.
    error SameTransaction();

    /* ERRORS: REBALANCE */

    error RebalanceIsPaused();
    error WrongEpoch(uint256 given, uint256 current);
    error CooldownActive(uint256 until);
    error OracleFault(uint256 asset, IOracleHub.Fault fault);
    error BadExecutor(address executor);
    /// @notice The token does not tell the vault's balance, so what a trade did cannot be measured.
    error BalanceUnknown(address token);
    error BoughtTooLittle(uint256 asset, uint256 boughtRaw, uint256 minimumRaw);
    /// @notice A rebalance that sells nothing changes nothing but its own cooldown.
    error NothingSold();

    /* ERRORS: PERFORMANCE FEE AND AUCTION */

    /// @notice Performance is settled once a period, so that few chances exist to catch a peak.
    error SettledTooRecently(uint256 until);
    /// @notice The floor is above the start, the lot or the floor is zero, the time to fall is zero, the end comes before bids could begin, or
    /// the assets are one.
    error BadAuction(uint256 sell, uint256 buy);
    /// @notice There is no auction of these two assets, or it is over.
    error NoAuction(uint256 sell, uint256 buy);
    /// @notice The oracle prices both assets, so a rebalance can trade them and an auction must not.
    error OracleIsSound(uint256 sell, uint256 buy);
    /// @notice A price that fails counts once it has been seen to fail for six hours, at least every 30 minutes (see `pokeAuction`).
    error AuctionNotOpen(uint256 sell, uint256 buy, uint256 opensAt);
    /// @notice A feed or second source of the pair was changed after the auction began, so its terms are void.
    error AuctionTermsVoid(uint256 sell, uint256 buy, uint256 startedAt, uint256 changedAt);
    error LotTooLarge(uint256 amountRaw, uint256 lotRaw);
    /// @notice The price is above what the bidder allowed.
    error PayAboveMaximum(uint256 payRaw, uint256 maximumRaw);
    /// @notice The bid would leave less of the sold asset than the auction keeps.
    error SoldBelowKeep(uint256 heldAfter, uint256 keepRaw);
    /// @notice The bid would bring the bought asset above what the auction fills up to.
    error BoughtAboveFill(uint256 heldAfter, uint256 fillRaw);

    /* EVENTS */

    event Initialized(string name, string symbol);
    /// @param config where STORE put it; its event `Written` tells what it says
    event ConfigSet(address indexed config);
    event FeesSet(Fees fees, address indexed recipient);
    event MintedInKind(address indexed caller, address indexed receiver, uint256 shares, uint256[] amounts);
    event RedeemedInKind(
        address indexed caller, address indexed receiver, address indexed owner, uint256 shares, uint256[] amounts
    );
    /// @param units the holder's new part of the token's claims; all units of a token share `totalClaimable` in proportion
    event ClaimOpened(address indexed holder, address indexed token, uint256 amountRaw, uint256 units);
    event Claimed(address indexed holder, address indexed token, address receiver, uint256 amountRaw, uint256 units);
    /// @param changes what the ledger of each asset gained (bought, positive) or lost (sold, negative) {tok}
    /// @param soldE18 value sold, at the higher prices, rounded up {usd18}
    /// @param boughtE18 value bought, at the lower prices, rounded down {usd18}
    /// @param lossLevelE18 what `State` says after it, as the next two
    event Rebalanced(
        uint256 indexed epoch,
        address indexed caller,
        address indexed executor,
        int256[] changes,
        uint256 soldE18,
        uint256 boughtE18,
        uint256 lossLevelE18,
        uint256 turnoverLevelE18,
        uint256 dueSince
    );
    /// @notice A new policy has other budgets, and the levels were carried over to them.
    event LevelsCarried(uint256 lossLevelE18, uint256 turnoverLevelE18);
    /// @notice A loss of balance was written down, by the same factor in the ledger and in the open claims {tok}. With `claimsAfter` 0 all
    /// claims on the token have ended.
    event Synced(
        address indexed token, uint256 heldBefore, uint256 heldAfter, uint256 claimsBefore, uint256 claimsAfter
    );
    /// @notice An asset lost more than dust, so it may not be bought, and trading is paused.
    /// @param lossE18 what it has lost since its purchases were last allowed, in parts of itself
    event PurchasesBarred(address indexed token, uint256 lossE18);
    event PurchasesAllowed(address indexed token);
    /// @notice A gift was taken up into the ledger.
    event Absorbed(uint256 indexed asset, uint256 amountRaw);
    /// @notice A rebalance was seen due, or seen due no more (`dueSince` = 0).
    event Poked(uint256 dueSince);
    event RebalancePaused(address indexed caller);
    event RebalanceResumed(address indexed caller);
    event FeeCollected(address indexed recipient, uint256 shares);
    /// @param shareValueE18 what a whole share is worth at the lower prices, by which the fee is charged
    /// @param highWaterE18 the mark that the next settlement starts from
    event PerformanceFeeCollected(
        address indexed recipient, uint256 shares, uint256 shareValueE18, uint256 highWaterE18
    );
    /// @notice A performance fee began, and charges gains above this value of a whole share.
    event PerformanceFeeBegun(uint256 highWaterE18);
    /// @notice An asset left the basket, and `heldRaw` of it the ledger.
    event AssetRemoved(address indexed token, uint256 heldRaw);
    event AuctionStarted(address indexed sold, address indexed bought, Auction auction);
    event AuctionStopped(address indexed sold, address indexed bought);
    /// @notice The pair was seen unpriced; bids begin at `opensAt`.
    event AuctionPoked(address indexed sold, address indexed bought, uint256 unpricedSince, uint256 opensAt);
    event AuctionFilled(
        address indexed sold, address indexed bought, address indexed bidder, uint256 soldRaw, uint256 boughtRaw
    );

    /* VIEWS */

    /// @notice Least shares that are locked at creation; more are where these would not own 1,000 units of every asset of the seed.
    function MINIMUM_SHARES() external view returns (uint256);
    /// @notice Where the configuration is stored; see ConfigCode.
    function config() external view returns (address);
    function feeRecipient() external view returns (address);
    /// @notice What a token has lost to write-downs since its purchases were last allowed, in parts of itself {1e18 = all}.
    function lossE18(address token) external view returns (uint256);
}

/// @title IVaultCore
/// @notice What BasketVault itself does: shares, deposits, exits and rebalances.
interface IVaultCore is IVaultBase {
    /* KEEPER */

    /// @notice Sells surplus and buys deficit through `executor`, then checks everything. Restricted until the policy opens it to anyone.
    /// @param epoch the `State.epoch` this rebalance means to follow; any other is refused
    /// @param sales how much of each asset to sell at most {tok}, 0 for none. Less is sold where surplus, need or turnover budget allow less by
    /// then; what comes back must then be worth, at the lower prices, the same part of what all `minBuys` are: nobody can stop a rebalance
    /// by redeeming ahead of it
    /// @param minBuys least that must come back of each asset {tok}; an asset with 0 is not bought, and what arrives of it is a gift
    /// @param executor gets the sales, and is called once with `route`
    function rebalance(
        uint256 epoch,
        uint256[] calldata sales,
        uint256[] calldata minBuys,
        address executor,
        bytes calldata route
    ) external;

    /* ANYONE */

    /// @notice Mints exactly `shares` for the same part of every asset, rounded up.
    /// @param maxAmounts most the caller gives of each asset {tok}
    /// @return amounts what the caller gave {tok}
    function mintInKind(uint256 shares, address receiver, uint256[] calldata maxAmounts)
        external
        returns (uint256[] memory amounts);

    /// @notice Burns `shares` for the same part of every asset, rounded down. Works whatever happens to prices, roles or tokens:
    /// an asset that cannot be sent becomes a claim, of `receiver` if `owner` calls, else of `owner`. A loss of balance that nobody has
    /// written down yet is written down first, so that it falls on all alike.
    /// @param minAmounts least the owner accepts of each asset, sent or claimable {tok}
    /// @return amounts the owner's part of each asset {tok}
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        returns (uint256[] memory amounts);

    /// @notice `redeemInKind`, but the assets whose bits are set in `skipped` are not sent: they become claims, to be collected
    /// whenever the claimant likes. Bits above the last asset mean nothing.
    function redeemInKindExcept(
        uint256 shares,
        address receiver,
        address owner,
        uint256[] calldata minAmounts,
        uint256 skipped
    ) external returns (uint256[] memory amounts);

    /// @notice Notes that a rebalance is due, which starts the climb of the slippage limit and the time to open execution, or that it is no
    /// more.
    function poke() external;

    /// @notice Mints the streaming fee's shares earned so far to the recipient.
    function collectFee() external returns (uint256 shares);

    /* VIEWS */

    function held() external view returns (uint256[] memory);
    /// @notice What a holder can collect of a token that could not be sent {tok}, rounded down: a part of `totalClaimable`.
    function claimable(address holder, address token) external view returns (uint256);
    /// @notice What all holders together can collect of a token {tok}. A loss of the token lowers it as it lowers the ledger.
    function totalClaimable(address token) external view returns (uint256);
    /// @notice Whether an asset may not be bought, because it lost balance.
    function isBarred(uint256 asset) external view returns (bool);
    function state() external view returns (State memory);
    function fee() external view returns (Fee memory);
    /// @notice What `mintInKind` would take now {tok}, rounded up.
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice What `redeemInKind` would give now {tok}, rounded down.
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice Whether a state-changing call is under way: other views must not be believed while it is.
    function locked() external view returns (bool);
    function assets() external view returns (Asset[] memory);
    function policy() external view returns (Policy memory);
    function oracle() external view returns (IOracleHub);
    function performance() external view returns (Performance memory);
    /// @notice The auction in which `sold` is sold for `bought`; all zero if there is none.
    function auctions(address sold, address bought) external view returns (Auction memory);
    /// @notice What runs when a function of IVaultExtension is called: part of the vault's own code, which nothing can replace.
    function EXTENSION() external view returns (address);
}

/// @title IVaultExtension
/// @notice What a vault does seldom: its start, governance, losses and claims, performance fee and auctions. Called at the vault's own address.
interface IVaultExtension is IVaultBase {
    /* FACTORY */

    /// @notice Starts a vault: once, by whoever deployed it, after sending it the seed.
    function initialize(Start calldata start) external;

    /* OWNER */

    /// @notice Replaces the policy. Restricted. Levels of the budgets are carried over.
    function setPolicy(Policy calldata newPolicy) external;

    /// @notice Replaces the oracle. Restricted. Refused if any asset that is not excluded has no sound price there.
    function setOracle(IOracleHub newOracle) external;

    /// @notice Sets all fees, after minting what the old ones earned to the old recipient. Restricted. A performance fee that begins notes
    /// what a share is worth now, at the higher prices, and is refused while an asset has no sound price or is excluded. One that changes
    /// charges what was gained up to the next settlement at the lower of the old and the new.
    function setFees(Fees calldata fees, address recipient) external;

    /// @notice Adds an asset, with target 0. Restricted. Refused unless its decimals are as given and it has a sound price.
    function addAsset(address token, uint8 decimals, Band calldata band) external;

    /// @notice Excludes an asset whose feed or token has died: from then on it is neither priced nor traded, and the targets of the others
    /// grow in proportion. It is redeemed and minted in kind as before. Restricted.
    function excludeAsset(uint256 asset) external;

    /// @notice Takes an excluded asset back, with target 0. Restricted. Refused unless it has a sound price.
    function includeAsset(uint256 asset) external;

    /// @notice Removes an excluded asset; the last asset takes its number. What the vault still holds of it leaves the ledger without a
    /// price, so whoever wants a part of that redeems before. Restricted.
    function removeAsset(uint256 asset) external;

    /// @notice Lets rebalances run again; what was due before is due only once it is seen again. Restricted.
    function resumeRebalance() external;

    /// @notice Lets an asset be bought again that lost balance. Restricted.
    function allowPurchases(uint256 asset) external;

    /// @notice Takes tokens that were sent here unasked into the ledger, for all holders. Restricted, so that it waits: nobody can time
    /// a gift to the moment it changes what a share is worth.
    function absorb(uint256 asset, uint256 amountRaw) external;

    /// @notice Offers one asset for another, lot by lot, for as long as no oracle prices both. Restricted. Refused while the oracle does.
    /// Bids begin six hours later; the terms' times but `endsAt` and `decaySeconds` are set here.
    function startAuction(uint256 sell, uint256 buy, Auction calldata terms) external;

    /* CURATOR */

    /// @notice Moves all targets in a straight line from where they are now to `targetsE18` within `glideSeconds` (0: at once). Restricted.
    function setTargets(uint256[] calldata targetsE18, uint256 glideSeconds) external;

    /// @notice Replaces all bands and minimum trades. Restricted.
    function setBands(Band[] calldata bands) external;

    /* GUARDIAN */

    /// @notice Stops rebalances and auctions at once. Deposits and exits go on. Restricted.
    function pauseRebalance() external;

    /// @notice Replaces the policy by one that allows no more in any respect. Restricted, at once.
    function tightenPolicy(Policy calldata newPolicy) external;

    /// @notice Replaces the fees by ones of which none is higher. Restricted, at once.
    function lowerFees(Fees calldata fees) external;

    /// @notice Ends an auction. Restricted, at once.
    function stopAuction(uint256 sell, uint256 buy) external;

    /* ANYONE */

    /// @notice Sends a holder's claim on a token, or a part of it, to `receiver`: wherever the holder says, and to the holder itself whoever
    /// calls, so that a contract that cannot call this is paid, too. The token gets all the gas there is.
    /// @param maxAmountRaw most to send {tok}
    /// @return amountRaw what was sent {tok}
    function claim(address holder, address token, address receiver, uint256 maxAmountRaw)
        external
        returns (uint256 amountRaw);

    /// @notice Writes a loss down: if the vault has less of an asset than its ledger and the open claims say, both follow, by the same
    /// factor. Losses of more than dust, added up since purchases were last allowed, bar buying the asset and pause trading, and so does
    /// every further loss of more than dust by itself. What comes back later
    /// is a gift (see `absorb`).
    /// @return lostRaw what ledger and claims lost together {tok}
    function sync(uint256 asset) external returns (uint256 lostRaw);

    /// @notice Settles the performance fee, at most once in 30 days and only while every asset has a sound price, and mints it to the recipient.
    /// It charges what a share gained over the mark at the lower prices, on shares that were there all the time since the last settlement
    /// and are not locked; the new mark is at the higher prices.
    function collectPerformanceFee() external returns (uint256 shares);

    /// @notice Notes that an auction's pair is unpriced, or ends the auction if the oracle prices both, or if a source of either price was
    /// changed after it began.
    function pokeAuction(uint256 sell, uint256 buy) external;

    /// @notice Buys up to a lot from an auction with the caller's tokens.
    /// @param sell the asset the vault sells, and the caller gets
    /// @param buy the asset the caller pays with
    /// @param amountRaw how much of `sell` {tok}
    /// @param maxPayRaw most the caller pays {tok}
    /// @return payRaw what was paid {tok}, rounded up
    function bid(uint256 sell, uint256 buy, uint256 amountRaw, uint256 maxPayRaw) external returns (uint256 payRaw);
}

/// @title IBasketVault
/// @notice The public contract of a basket vault.
interface IBasketVault is IVaultCore, IVaultExtension { }
