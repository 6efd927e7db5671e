// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IOracleHub } from "./IOracleHub.sol";

/// @title IVaultBase
/// @notice What both halves of a basket vault share: types, errors, events and views. Arrays are in basket order, one entry per asset,
/// unless stated otherwise. `asset` is an index into the basket. Units: `{tok}` smallest units of a token, `{share}` smallest units of the
/// share, `{usd18}` US dollars times 1e18, `Bps` ten-thousandths, `E18` fractions of 1e18, times in unix seconds.
interface IVaultBase is IERC20 {
    /// @notice One asset of the basket.
    /// @param token the ERC-20
    /// @param targetE18 its target weight; all targets sum to exactly 1e18
    /// @param bandBps how far its weight may be from its target before a rebalance may run, 1 to 5,000
    /// @param decimals the token's decimals, read when the asset was added
    /// @param relativeBandBps if not 0, the band is this part of the target weight where that is narrower than `bandBps`
    /// @param minTradeRaw least amount that one rebalance may sell or buy of it {tok}
    /// @param startTargetE18 its target weight when the glide began; all sum to exactly 1e18
    /// @param excluded whether rebalances ignore it: it has no price, no weight and no target, and is still redeemed in kind
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

    /// @notice When an asset is out of balance, and the smallest trade of it that is allowed. For the fields see `Asset`.
    struct Band {
        uint16 bandBps;
        uint16 relativeBandBps;
        uint128 minTradeRaw;
    }

    /// @notice Limits of a rebalance.
    /// @param startSlippageBps allowed loss per value sold right after a band broke
    /// @param maxSlippageBps allowed loss per value sold once the ramp has ended, at most 300
    /// @param slippageRampSeconds duration of the climb from start to max, at least 1
    /// @param minProgressBps least part by which a rebalance must shrink the total distance to target, unless it ends within dust
    /// @param dustBps distance that counts as zero, in parts of the basket's value; below every band
    /// @param cooldownSeconds least time between two rebalances
    /// @param lossBudgetBps capacity of the loss bucket, in parts of the basket's value
    /// @param lossPeriodSeconds time in which a full loss bucket drains
    /// @param turnoverBudgetBps capacity of the turnover bucket, in parts of the basket's value
    /// @param turnoverPeriodSeconds time in which a full turnover bucket drains
    /// @param destinationBps where a rebalance ends, in parts of the band: 0 at the target, 10,000 at the band's edge
    /// @param calendarSeconds if not 0, one rebalance may run in each period of this length (counted from 1970) while all bands are whole
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

    /// @notice The configuration: everything that governance may change, except the fees.
    /// @param glideStart when targets were at `startTargetE18` (unix time)
    /// @param glideEnd when they will be at `targetE18`; in between they move in a straight line
    struct Config {
        IOracleHub oracle;
        Policy policy;
        uint40 glideStart;
        uint40 glideEnd;
        Asset[] assets;
    }

    /// @notice Present state of the policy.
    /// @param lossLevelE18 level of the loss bucket at `rebalancedAt`, in parts of the basket's value
    /// @param turnoverLevelE18 level of the turnover bucket at `rebalancedAt`
    /// @param rebalancedAt unix time of the last rebalance, 0 before the first
    /// @param dueSince unix time at which a rebalance was first seen due (a band is broken, or the calendar is open and the distance
    /// exceeds dust), 0 while no rebalance is known to be due
    /// @param epoch number of rebalances and configuration changes so far; each rebalance names the epoch that it follows
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
    /// @param streamingBps part of the basket per year of 365 days, paid to the fee recipient; at most 500
    /// @param performanceBps part of a share's gain above its high-water mark, paid to the fee recipient; at most 2,000
    /// @param entryBps extra part that a depositor pays, which stays in the vault; at most 200
    /// @param exitBps part that a redeemer leaves in the vault; at most 200
    struct Fees {
        uint16 streamingBps;
        uint16 performanceBps;
        uint16 entryBps;
        uint16 exitBps;
    }

    /// @notice Present state of the streaming fee, the entry and exit fees, and the least supply, which limits the performance fee.
    /// @param pendingShares shares owed to the recipient at `accruedAt` and not yet minted
    /// @param accruedAt unix time up to which `pendingShares` counts
    /// @param leastShift binary exponent of `leastSupply`
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

    /// @notice Present state of the performance fee.
    /// @param highWaterE18 highest value of a whole share (1e18), at the higher prices, when the fee began and at each settlement since
    /// {usd18}
    /// @param settledAt unix time of the last settlement, or of the fee's beginning
    /// @param chargedBps rate of the next settlement, on gains since the last one
    /// @param nextBps rate of the settlements after the next one
    struct Performance {
        uint128 highWaterE18;
        uint40 settledAt;
        uint16 chargedBps;
        uint16 nextBps;
    }

    /// @notice Terms on which one asset is sold for another while no oracle prices both.
    /// @param lotRaw largest amount that one bid may buy {sold tok}
    /// @param startPayRaw price of a whole lot right after the start or after a lot was sold {bought tok}; selling half a lot restores half
    /// of the fall of the price
    /// @param floorPayRaw price of a whole lot `decaySeconds` later, and the least price at any time {bought tok}
    /// @param keepRaw least amount of the sold asset that must remain for each whole share (1e18) {sold tok}
    /// @param fillRaw largest amount of the bought asset that may be reached for each whole share (1e18) {bought tok}
    /// @param decaySeconds duration of the price's fall, at least 1
    /// @param clockE6 when the price begins to fall: when bids begin, or at the last lot; unix time times 1e6
    /// @param endsAt unix time from which bids are refused
    /// @param startedAt unix time of the start; a later change of a price's source ends the auction
    /// @param unpricedSince unix time since which the pair was seen unpriced without a gap of more than 30 minutes; bids begin 6 hours
    /// later
    /// @param unpricedAt unix time at which the pair was last seen unpriced
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

    /// @notice Start parameters of a vault.
    /// @param authority AccessManager that decides who may call what
    /// @param seedAmounts amount of each asset that the vault received before {tok}
    /// @param initialShares shares for the seed {share}. At least `MINIMUM_SHARES` of them are locked for ever, and at least as many as own
    /// 1,000 units of each asset of the seed. The start is refused if that is more than a hundredth of them
    /// @param receiver account that gets the other shares
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

    /// @notice The vault was started before.
    error AlreadyInitialized();
    /// @notice A fee is above its maximum {bps}.
    error FeeOutOfRange(uint256 feeBps, uint256 maximum);
    /// @notice A fee would rise, and a higher fee must wait for the owner's delay {bps}.
    error FeeNotLower(uint256 feeBps, uint256 currentBps);
    /// @notice The fee recipient is the zero address or the vault itself.
    error BadFeeRecipient(address recipient);
    /// @notice A name must have 1 to 31 bytes.
    error BadName(string name);

    /* ERRORS: SHARES */

    /// @notice The number of shares is 0.
    error ZeroShares();
    /// @notice The supply would pass its maximum {share}.
    error SupplyTooLarge(uint256 supply, uint256 maximum);
    /// @notice The initial shares are too few {share}: `MINIMUM_SHARES` may be at most a hundredth of them.
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
    /// @notice The seed of an asset is too small {tok}: the locked shares, at most a hundredth of all, would own less than 1,000 units of
    /// it.
    error SeedTooSmall(uint256 asset, uint256 amountRaw, uint256 minimumRaw);
    /// @notice An array does not have one entry per asset.
    error LengthMismatch(uint256 length, uint256 expected);
    /// @notice The receiver is the zero address or the vault itself.
    error BadReceiver(address receiver);
    /// @notice The vault holds nothing, so shares have no price in kind.
    error NothingHeld();
    /// @notice The mint costs more of an asset than the caller allows {tok}.
    error AmountAboveMaximum(uint256 asset, uint256 amountRaw, uint256 maximumRaw);
    /// @notice The redemption gives less of an asset than the owner accepts {tok}.
    error AmountBelowMinimum(uint256 asset, uint256 amountRaw, uint256 minimumRaw);
    /// @notice The ledger entry of an asset would pass its maximum {tok}.
    error HoldingTooLarge(uint256 asset, uint256 amountRaw, uint256 maximumRaw);
    /// @notice The token moved another amount than requested {tok}. Such tokens are not accepted.
    error TransferNotExact(address token, uint256 askedRaw, uint256 receivedRaw);
    /// @notice The holder has no claim on the token, or the requested amount is 0.
    error NothingToClaim(address holder, address token);
    /// @notice A caller other than the holder may have a claim paid only to the holder.
    error NotTheClaimant(address caller, address holder);
    /// @notice The token refused to send a claim {tok}. The claim stays.
    error ClaimFailed(address holder, address token, uint256 amountRaw);
    /// @notice The basket has no asset with this index.
    error NoSuchAsset(uint256 asset, uint256 count);
    /// @notice The vault's balance covers the ledger and all open claims {tok}, so there is no loss to write down.
    error NothingLost(uint256 asset, uint256 balanceRaw, uint256 owedRaw);
    /// @notice The vault has less of an asset than the ledger and the open claims state {tok}. `sync` must write the loss down first.
    error LossNotWrittenDown(uint256 asset, uint256 balanceRaw, uint256 owedRaw);
    /// @notice The asset lost balance, and the owner has not allowed buying it again.
    error PurchaseBarred(uint256 asset);
    /// @notice The asset may be bought already: there is nothing to allow.
    error PurchaseNotBarred(uint256 asset);
    /// @notice The vault's balances of two assets move as one: they are one token under two addresses.
    error SameToken(address token, address other);
    /// @notice The amount to absorb is larger than the gift {tok}.
    error GiftTooSmall(uint256 asset, uint256 amountRaw, uint256 giftRaw);
    /// @notice Too little gas is left to call every token with its full allowance {gas}. A token's failure must not be the caller's fault.
    error NotEnoughGas(uint256 gasLeft, uint256 needed);
    /// @notice A call that changes the vault's state is in progress.
    error ReentrancyGuardReentrantCall();
    /// @notice A mint cannot share a transaction with a rebalance, a bid or an `absorb` of the same vault. None of these can follow a
    /// redemption in the same transaction. A redemption may follow anything.
    error SameTransaction();

    /* ERRORS: REBALANCE */

    /// @notice The guardian or a loss paused rebalancing.
    error RebalanceIsPaused();
    /// @notice The rebalance names another epoch than the present one.
    error WrongEpoch(uint256 given, uint256 current);
    /// @notice The cooldown ends at `until` (unix time).
    error CooldownActive(uint256 until);
    /// @notice The oracle has no sound price for an asset, for the reason given.
    error OracleFault(uint256 asset, IOracleHub.Fault fault);
    /// @notice The executor is a token of the basket.
    error BadExecutor(address executor);
    /// @notice The token does not report the vault's balance, so the result of a trade cannot be measured.
    error BalanceUnknown(address token);
    /// @notice The trade brought less of an asset than the caller's minimum {tok}.
    error BoughtTooLittle(uint256 asset, uint256 boughtRaw, uint256 minimumRaw);
    /// @notice The rebalance sold nothing. It would change nothing but the cooldown.
    error NothingSold();

    /* ERRORS: PERFORMANCE FEE AND AUCTION */

    /// @notice The performance fee can be settled again at `until` (unix time). One settlement a period leaves few chances to catch a peak.
    error SettledTooRecently(uint256 until);
    /// @notice The floor is above the start, the lot or the floor is zero, the time to fall is zero, the end comes before bids could begin,
    /// or both assets are the same.
    error BadAuction(uint256 sell, uint256 buy);
    /// @notice There is no auction of these two assets, or it is over.
    error NoAuction(uint256 sell, uint256 buy);
    /// @notice The oracle prices both assets, so a rebalance can trade them and an auction must not.
    error OracleIsSound(uint256 sell, uint256 buy);
    /// @notice Bids begin at `opensAt` (unix time): once the pair has been seen unpriced for six hours, at least every 30 minutes (see
    /// `pokeAuction`).
    error AuctionNotOpen(uint256 sell, uint256 buy, uint256 opensAt);
    /// @notice A feed or second source of the pair was changed after the auction began (unix times), so its terms no longer hold.
    error AuctionTermsVoid(uint256 sell, uint256 buy, uint256 startedAt, uint256 changedAt);
    /// @notice The bid buys more than one lot, or nothing {sold tok}.
    error LotTooLarge(uint256 amountRaw, uint256 lotRaw);
    /// @notice The price is above the bidder's maximum {bought tok}.
    error PayAboveMaximum(uint256 payRaw, uint256 maximumRaw);
    /// @notice The bid would leave less of the sold asset than the auction keeps {sold tok}.
    error SoldBelowKeep(uint256 heldAfter, uint256 keepRaw);
    /// @notice The bid would bring the bought asset above the auction's limit {bought tok}.
    error BoughtAboveFill(uint256 heldAfter, uint256 fillRaw);

    /* EVENTS */

    /// @notice The vault was started.
    event Initialized(string name, string symbol);
    /// @notice A new configuration is in force.
    /// @param config address of the stored configuration; the store's event `Written` has its content
    event ConfigSet(address indexed config);
    /// @notice New fees are in force {bps}.
    event FeesSet(Fees fees, address indexed recipient);
    /// @notice Shares were minted {share} for `amounts`, rounded up {tok}.
    event MintedInKind(address indexed caller, address indexed receiver, uint256 shares, uint256[] amounts);
    /// @notice Shares were burned {share} for `amounts`, sent or claimable, rounded down {tok}.
    event RedeemedInKind(
        address indexed caller, address indexed receiver, address indexed owner, uint256 shares, uint256[] amounts
    );
    /// @notice A redemption could not send `amountRaw` {tok}, or was to skip it, so the holder has a claim.
    /// @param units the holder's new part of the token's claims; all units of a token share `totalClaimable` in proportion
    event ClaimOpened(address indexed holder, address indexed token, uint256 amountRaw, uint256 units);
    /// @notice A claim, or a part of it, was paid {tok}, rounded down, and `units` ended with it, rounded up.
    event Claimed(address indexed holder, address indexed token, address receiver, uint256 amountRaw, uint256 units);
    /// @notice A rebalance passed.
    /// @param epoch the epoch that the rebalance named; the vault's epoch is one higher now
    /// @param changes what the ledger of each asset gained (bought, positive) or lost (sold, negative) {tok}
    /// @param soldE18 value sold, at the higher prices, rounded up {usd18}
    /// @param boughtE18 value bought, at the lower prices, rounded down {usd18}
    /// @param lossLevelE18 loss level after the rebalance, as in `State`, in parts of the basket's value
    /// @param turnoverLevelE18 turnover level after the rebalance, as in `State`
    /// @param dueSince `State.dueSince` after the rebalance
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
    /// @notice The levels were converted to the budgets of a new policy, in parts of the basket's value.
    event LevelsCarried(uint256 lossLevelE18, uint256 turnoverLevelE18);
    /// @notice A loss of balance was written down, by the same factor in the ledger and in the open claims {tok}, rounded down. If
    /// `claimsAfter` is 0, all claims on the token have ended.
    event Synced(
        address indexed token, uint256 heldBefore, uint256 heldAfter, uint256 claimsBefore, uint256 claimsAfter
    );
    /// @notice An asset lost more than dust. It may not be bought, and trading is paused.
    /// @param lossE18 loss since its purchases were last allowed, in parts of itself
    event PurchasesBarred(address indexed token, uint256 lossE18);
    /// @notice The owner allowed purchases of the asset again.
    event PurchasesAllowed(address indexed token);
    /// @notice A gift was added to the ledger {tok}.
    event Absorbed(uint256 indexed asset, uint256 amountRaw);
    /// @notice A rebalance was seen due since `dueSince` (unix time), or no longer due (0).
    event Poked(uint256 dueSince);
    /// @notice Rebalances and auctions are paused.
    event RebalancePaused(address indexed caller);
    /// @notice Rebalances and auctions may run again.
    event RebalanceResumed(address indexed caller);
    /// @notice The streaming fee was minted to the recipient {share}, rounded down.
    event FeeCollected(address indexed recipient, uint256 shares);
    /// @notice The performance fee was settled, and `shares` minted to the recipient {share}, rounded down.
    /// @param shareValueE18 value of a whole share at the lower prices, which the fee is charged on {usd18}
    /// @param highWaterE18 mark of the next settlement {usd18}
    event PerformanceFeeCollected(
        address indexed recipient, uint256 shares, uint256 shareValueE18, uint256 highWaterE18
    );
    /// @notice A performance fee began. It charges gains above this value of a whole share {usd18}.
    event PerformanceFeeBegun(uint256 highWaterE18);
    /// @notice An asset left the basket, and `heldRaw` of it left the ledger {tok}.
    event AssetRemoved(address indexed token, uint256 heldRaw);
    /// @notice An auction began.
    event AuctionStarted(address indexed sold, address indexed bought, Auction auction);
    /// @notice An auction ended.
    event AuctionStopped(address indexed sold, address indexed bought);
    /// @notice The pair was seen unpriced. Bids begin at `opensAt` (unix times).
    event AuctionPoked(address indexed sold, address indexed bought, uint256 unpricedSince, uint256 opensAt);
    /// @notice A bid bought `soldRaw` {sold tok} for `boughtRaw`, rounded up {bought tok}.
    event AuctionFilled(
        address indexed sold, address indexed bought, address indexed bidder, uint256 soldRaw, uint256 boughtRaw
    );

    /* VIEWS */

    /// @notice Least number of shares that are locked at creation {share}. More are locked if these would not own 1,000 units of each asset
    /// of the seed.
    function MINIMUM_SHARES() external view returns (uint256);
    /// @notice Address of the stored configuration; see ConfigCode.
    function config() external view returns (address);
    /// @notice Account that receives the streaming and the performance fee.
    function feeRecipient() external view returns (address);
    /// @notice Loss of a token by write-downs since its purchases were last allowed, in parts of itself (1e18 is all), rounded up.
    function lossE18(address token) external view returns (uint256);
}

/// @title IVaultCore
/// @notice The functions of BasketVault itself: shares, deposits, exits and rebalances.
interface IVaultCore is IVaultBase {
    /* KEEPER */

    /// @notice Sells surplus and buys deficit through `executor`, then checks the result. Restricted until the policy opens it to anyone.
    /// @param epoch the `State.epoch` that this rebalance follows; any other epoch is refused
    /// @param sales largest amount of each asset to sell {tok}, 0 for no sale. The vault sells less where surplus, need or turnover budget
    /// have shrunk. The purchases must then be worth, at the lower prices, the same part of the value of all `minBuys`. So a redemption
    /// ahead of a rebalance cannot stop it
    /// @param minBuys least amount that must come back of each asset {tok}; an asset with 0 is not bought, and what arrives of it is a gift
    /// @param executor contract that gets the sales and is called once with `route`
    /// @param route data for the executor; the vault does not read it
    function rebalance(
        uint256 epoch,
        uint256[] calldata sales,
        uint256[] calldata minBuys,
        address executor,
        bytes calldata route
    ) external;

    /* ANYONE */

    /// @notice Mints exactly `shares` {share} for the same part of every asset, rounded up, plus the entry fee.
    /// @param maxAmounts largest amount of each asset that the caller pays {tok}
    /// @return amounts what the caller paid {tok}
    function mintInKind(uint256 shares, address receiver, uint256[] calldata maxAmounts)
        external
        returns (uint256[] memory amounts);

    /// @notice Burns `shares` {share} for the same part of every asset less the exit fee, rounded down. Works whatever happens to prices,
    /// roles or tokens: an asset that cannot be sent becomes a claim, of `receiver` if `owner` calls, otherwise of `owner`. A loss of
    /// balance that is not written down yet is written down first, so that every holder bears the same part.
    /// @param minAmounts least amount of each asset that the owner accepts, sent or claimable {tok}
    /// @return amounts the owner's part of each asset {tok}
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        returns (uint256[] memory amounts);

    /// @notice Does what `redeemInKind` does, but does not send the assets whose bits are set in `skipped`: they become claims, to be
    /// collected at any later time. Bits above the last asset are ignored.
    function redeemInKindExcept(
        uint256 shares,
        address receiver,
        address owner,
        uint256[] calldata minAmounts,
        uint256 skipped
    ) external returns (uint256[] memory amounts);

    /// @notice Records that a rebalance is due, or no longer due. A recorded rebalance starts the climb of the slippage limit and the time
    /// until execution opens to anyone.
    function poke() external;

    /// @notice Mints to the recipient the shares that the streaming fee has earned so far {share}, rounded down.
    function collectFee() external returns (uint256 shares);

    /* VIEWS */

    /// @notice Ledger amount of each asset {tok}. Gifts and claims are not part of it.
    function held() external view returns (uint256[] memory);
    /// @notice What a holder can collect of a token that was not sent {tok}, rounded down: a part of `totalClaimable`.
    function claimable(address holder, address token) external view returns (uint256);
    /// @notice What all holders together can collect of a token {tok}. A loss of the token lowers it by the same factor as the ledger.
    function totalClaimable(address token) external view returns (uint256);
    /// @notice Whether an asset may not be bought, because it lost balance.
    function isBarred(uint256 asset) external view returns (bool);
    /// @notice Present state of the policy: levels, times, epoch, pause.
    function state() external view returns (State memory);
    /// @notice Present state of the streaming fee, and the entry and exit fees.
    function fee() external view returns (Fee memory);
    /// @notice What `mintInKind` would cost now {tok}, rounded up.
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice What `redeemInKind` would give now {tok}, rounded down.
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice Whether a call that changes state is in progress. If so, other views may be inconsistent: do not use them.
    function locked() external view returns (bool);
    /// @notice All assets, in basket order.
    function assets() external view returns (Asset[] memory);
    /// @notice The policy in force.
    function policy() external view returns (Policy memory);
    /// @notice The oracle in force.
    function oracle() external view returns (IOracleHub);
    /// @notice Present state of the performance fee.
    function performance() external view returns (Performance memory);
    /// @notice The auction in which `sold` is sold for `bought`; all zero if there is none.
    function auctions(address sold, address bought) external view returns (Auction memory);
    /// @notice The contract that runs the functions of IVaultExtension. It is part of the vault's own code, and nothing can replace it.
    function EXTENSION() external view returns (address);
}

/// @title IVaultExtension
/// @notice The seldom used functions of a vault: start, governance, losses and claims, performance fee and auctions. They are called at the
/// vault's own address.
interface IVaultExtension is IVaultBase {
    /* FACTORY */

    /// @notice Starts a vault, once, after it received the seed. Only the account that deployed it may call.
    function initialize(Start calldata start) external;

    /* OWNER */

    /// @notice Replaces the policy. Restricted. Levels of the budgets are carried over.
    function setPolicy(Policy calldata newPolicy) external;

    /// @notice Replaces the oracle. Restricted. Refused if any asset that is not excluded has no sound price in the new one.
    function setOracle(IOracleHub newOracle) external;

    /// @notice Sets all fees, after minting what the old fees earned to the old recipient. Restricted. A performance fee that begins
    /// records the value of a share at the higher prices, and is refused while an asset has no sound price or is excluded. If the rate
    /// changes, the next settlement charges the lower of the old and the new rate.
    function setFees(Fees calldata fees, address recipient) external;

    /// @notice Adds an asset with target 0. Restricted. Refused unless its decimals are as given and it has a sound price.
    function addAsset(address token, uint8 decimals, Band calldata band) external;

    /// @notice Excludes an asset whose feed or token has died. It is then neither priced nor traded, and the targets of the others grow in
    /// proportion. It is redeemed and minted in kind as before. Restricted.
    function excludeAsset(uint256 asset) external;

    /// @notice Includes an excluded asset again, with target 0. Restricted. Refused unless it has a sound price.
    function includeAsset(uint256 asset) external;

    /// @notice Removes an excluded asset. The last asset takes its index. The rest of the vault's holding leaves the ledger without a
    /// price: a holder who wants a part of it must redeem before. Restricted.
    function removeAsset(uint256 asset) external;

    /// @notice Lets rebalances run again. A rebalance that was due before counts as due only when it is seen again. Restricted.
    function resumeRebalance() external;

    /// @notice Allows purchases of an asset that lost balance. Restricted.
    function allowPurchases(uint256 asset) external;

    /// @notice Adds tokens that arrived without a deposit to the ledger, for all holders. Restricted, so that it waits: nobody can time a
    /// deposit to the moment at which the value of a share rises.
    /// @param amountRaw amount to add, at most the gift {tok}
    function absorb(uint256 asset, uint256 amountRaw) external;

    /// @notice Starts the auction of one asset for another, lot by lot, while no oracle prices both. Restricted. Refused while the oracle
    /// prices both. Bids begin six hours later. Of the terms' times, only `endsAt` and `decaySeconds` are read; the vault sets the others.
    function startAuction(uint256 sell, uint256 buy, Auction calldata terms) external;

    /* CURATOR */

    /// @notice Moves all targets in a straight line from their present values to `targetsE18` within `glideSeconds` (0: at once).
    /// Restricted.
    function setTargets(uint256[] calldata targetsE18, uint256 glideSeconds) external;

    /// @notice Replaces all bands and minimum trades. Restricted.
    function setBands(Band[] calldata bands) external;

    /* GUARDIAN */

    /// @notice Pauses rebalances and auctions at once. Deposits and exits go on. Restricted.
    function pauseRebalance() external;

    /// @notice Replaces the policy by one that allows no more in any respect. Restricted, at once.
    function tightenPolicy(Policy calldata newPolicy) external;

    /// @notice Lowers fees: each new fee is at most the old one {bps}. Restricted, at once.
    function lowerFees(Fees calldata fees) external;

    /// @notice Ends an auction. Restricted, at once.
    function stopAuction(uint256 sell, uint256 buy) external;

    /* ANYONE */

    /// @notice Sends a holder's claim on a token, or a part of it, to `receiver`. The holder may name any receiver. Any other caller may
    /// only have it paid to the holder, so a contract that cannot call this function is paid, too. The token gets all remaining gas.
    /// @param maxAmountRaw most to send {tok}
    /// @return amountRaw what was sent {tok}
    function claim(address holder, address token, address receiver, uint256 maxAmountRaw)
        external
        returns (uint256 amountRaw);

    /// @notice Writes a loss down: if the vault has less of an asset than the ledger and the open claims state, both shrink by the same
    /// factor, rounded down. Losses add up since purchases were last allowed. Once they exceed dust, buying the asset is barred and trading
    /// pauses; so does each further single loss of more than dust. Balance that returns later is a gift (see `absorb`).
    /// @return lostRaw what the ledger and the claims lost together {tok}
    function sync(uint256 asset) external returns (uint256 lostRaw);

    /// @notice Settles the performance fee and mints it to the recipient {share}, rounded down. At most once in 30 days, and only while
    /// every asset has a sound price. The fee is charged on a share's gain above the mark at the lower prices, for the shares that existed
    /// all the time since the last settlement and are not locked. The new mark is at the higher prices.
    function collectPerformanceFee() external returns (uint256 shares);

    /// @notice Records that an auction's pair is unpriced. Ends the auction if the oracle prices both assets, or if a source of either
    /// price was changed after the auction began.
    function pokeAuction(uint256 sell, uint256 buy) external;

    /// @notice Buys up to one lot from an auction with the caller's tokens.
    /// @param sell asset that the vault sells and the caller gets
    /// @param buy asset that the caller pays with
    /// @param amountRaw amount to buy {sold tok}
    /// @param maxPayRaw largest amount that the caller pays {bought tok}
    /// @return payRaw what was paid {tok}, rounded up
    function bid(uint256 sell, uint256 buy, uint256 amountRaw, uint256 maxPayRaw) external returns (uint256 payRaw);
}

/// @title IBasketVault
/// @notice The public contract of a basket vault.
interface IBasketVault is IVaultCore, IVaultExtension { }
