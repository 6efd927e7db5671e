// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IOracleHub } from "./IOracleHub.sol";

/// @title IBasketVault
/// @notice The public contract of a basket vault. Arrays are in basket order, one entry an asset, unless said otherwise.
/// `{tok}` smallest units of a token, `{share}` smallest units of the share, `{usd18}` US dollars times 1e18.
interface IBasketVault is IERC20 {
    /// @notice One asset of the basket.
    /// @param token the ERC-20
    /// @param targetE18 its target weight; all targets sum to exactly 1e18
    /// @param bandBps how far its weight may stray from target before a rebalance may run, 1 to 5,000
    /// @param decimals the token's decimals, read when the asset was added
    struct Asset {
        address token;
        uint64 targetE18;
        uint16 bandBps;
        uint8 decimals;
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
    }

    /// @notice Everything about a vault that governance may change, except the fee.
    struct Config {
        IOracleHub oracle;
        Policy policy;
        Asset[] assets;
    }

    /// @notice Where the policy stands.
    /// @param lossLevelE18 level of the loss bucket at `rebalancedAt`, in parts of the basket's value
    /// @param turnoverLevelE18 level of the turnover bucket at `rebalancedAt`
    /// @param rebalancedAt unix time of the last rebalance, 0 before the first
    /// @param brokenSince unix time at which a band was first seen broken, 0 while none is known to be
    /// @param epoch number of rebalances so far; each names the one it means to be
    /// @param paused whether the guardian has stopped rebalancing
    struct State {
        uint64 lossLevelE18;
        uint64 turnoverLevelE18;
        uint40 rebalancedAt;
        uint40 brokenSince;
        uint32 epoch;
        bool paused;
    }

    /// @notice The streaming fee.
    /// @param pendingShares shares owed to the recipient at `accruedAt` and not yet minted
    /// @param accruedAt unix time up to which `pendingShares` counts
    /// @param feeBps part of the basket charged per year of 365 days
    struct Fee {
        uint128 pendingShares;
        uint40 accruedAt;
        uint16 feeBps;
    }

    /* ERRORS: CONFIGURATION */

    error AlreadyInitialized();
    error FeeOutOfRange(uint256 feeBps, uint256 maximum);
    error BadFeeRecipient(address recipient);
    /// @notice A name must have 1 to 31 bytes.
    error BadName(string name);

    /* ERRORS: SHARES */

    error ZeroShares();
    error SupplyTooLarge(uint256 supply, uint256 maximum);
    error SharesBelowMinimum(uint256 shares, uint256 minimum);
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
    error ClaimFailed(address holder, address token, uint256 amountRaw);
    /// @notice The basket has no asset of that number.
    error NoSuchAsset(uint256 asset, uint256 count);
    /// @notice The vault's balance covers its ledger and all open claims, so there is no loss to write down.
    error NothingLost(uint256 asset, uint256 balanceRaw, uint256 owedRaw);
    /// @notice More is to be absorbed than was given.
    error GiftTooSmall(uint256 asset, uint256 amountRaw, uint256 giftRaw);
    /// @notice Too little gas is left to give every token a fair try, and a failed try must not be the caller's fault.
    error NotEnoughGas(uint256 gasLeft, uint256 needed);
    /// @notice Mint or redeem and rebalance of one vault cannot share a transaction.
    error SameTransaction();

    /* ERRORS: REBALANCE */

    error RebalanceIsPaused();
    error WrongEpoch(uint256 given, uint256 current);
    error CooldownActive(uint256 until);
    error OracleFault(uint256 asset, IOracleHub.Fault fault);
    error BadExecutor(address executor);
    error BoughtTooLittle(uint256 asset, uint256 boughtRaw, uint256 minimumRaw);

    /* EVENTS */

    event Initialized(string name, string symbol);
    event ConfigSet(Config config);
    event FeeSet(uint256 feeBps, address indexed recipient);
    event MintedInKind(address indexed caller, address indexed receiver, uint256 shares, uint256[] amounts);
    event RedeemedInKind(
        address indexed caller, address indexed receiver, address indexed owner, uint256 shares, uint256[] amounts
    );
    event ClaimOpened(address indexed holder, address indexed token, uint256 amountRaw);
    event Claimed(address indexed holder, address indexed token, address receiver, uint256 amountRaw);
    /// @param changes what the ledger of each asset gained (bought, positive) or lost (sold, negative) {tok}
    /// @param soldE18 value sold, at the higher prices, rounded up {usd18}
    /// @param boughtE18 value bought, at the lower prices, rounded down {usd18}
    /// @param state the state it left
    event Rebalanced(
        uint256 indexed epoch,
        address indexed caller,
        address indexed executor,
        int256[] changes,
        uint256 soldE18,
        uint256 boughtE18,
        State state
    );
    /// @notice A loss of balance was written down in the ledger.
    event Synced(uint256 indexed asset, uint256 heldBefore, uint256 heldAfter);
    /// @notice A gift was taken up into the ledger.
    event Absorbed(uint256 indexed asset, uint256 amountRaw);
    /// @notice A band was seen broken, or seen whole again (`brokenSince` = 0).
    event Poked(uint256 brokenSince);
    event RebalancePaused(address indexed caller);
    event RebalanceResumed(address indexed caller);
    event FeeCollected(address indexed recipient, uint256 shares);

    /* FACTORY */

    /// @notice Starts a vault: once, by whoever deployed it, after sending it `seedAmounts`.
    /// @param initialShares shares to exist at first {share}; `MINIMUM_SHARES` of them are locked for ever
    /// @param receiver gets the rest of them
    function initialize(
        string calldata name,
        string calldata symbol,
        address authority,
        Config calldata config,
        uint256 feeBps,
        address feeRecipient,
        uint256[] calldata seedAmounts,
        uint256 initialShares,
        address receiver
    ) external;

    /* OWNER */

    /// @notice Replaces the policy. Restricted.
    function setPolicy(Policy calldata policy) external;

    /// @notice Replaces the oracle. Restricted. Refused if any asset has no sound price there.
    function setOracle(IOracleHub oracle) external;

    /// @notice Sets the streaming fee, after minting what the old one earned to the old recipient. Restricted.
    function setFee(uint256 feeBps, address recipient) external;

    /// @notice Lets rebalances run again. Restricted.
    function resumeRebalance() external;

    /// @notice Takes tokens that were sent here unasked into the ledger, for all holders. Restricted, so that it waits: nobody can time
    /// a gift to the moment it changes what a share is worth.
    function absorb(uint256 asset, uint256 amountRaw) external;

    /* CURATOR */

    /// @notice Replaces targets and bands. Restricted.
    function setTargets(uint256[] calldata targetsE18, uint256[] calldata bandsBps) external;

    /* GUARDIAN */

    /// @notice Stops rebalances at once. Deposits and exits go on. Restricted.
    function pauseRebalance() external;

    /* KEEPER */

    /// @notice Sells surplus and buys deficit through `executor`, then checks everything. Restricted.
    /// @param epoch the `State.epoch` this rebalance means to follow; any other is refused
    /// @param sales how much of each asset to sell {tok}, 0 for none
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
    /// an asset that cannot be sent becomes `owner`'s claim.
    /// @param minAmounts least the owner accepts of each asset, sent or claimable {tok}
    /// @return amounts the owner's part of each asset {tok}
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        returns (uint256[] memory amounts);

    /// @notice `redeemInKind`, but the assets whose bits are set in `skipped` are not sent: they become `owner`'s claims, to be collected
    /// whenever the owner likes. Bits above the last asset mean nothing.
    function redeemInKindExcept(
        uint256 shares,
        address receiver,
        address owner,
        uint256[] calldata minAmounts,
        uint256 skipped
    ) external returns (uint256[] memory amounts);

    /// @notice Writes a loss down: if the vault has less of an asset than its ledger and the open claims say, the ledger follows. What
    /// comes back later is a gift (see `absorb`).
    function sync(uint256 asset) external returns (uint256 lostRaw);

    /// @notice Sends the caller's claim on a token to `receiver`.
    function claim(address token, address receiver) external returns (uint256 amountRaw);

    /// @notice Notes that a band is broken, which starts the climb of the slippage limit, or that it is whole again.
    function poke() external;

    /// @notice Mints the fee shares earned so far to the recipient.
    function collectFee() external returns (uint256 shares);

    /* VIEWS */

    function MINIMUM_SHARES() external view returns (uint256);
    function assets() external view returns (Asset[] memory);
    function held() external view returns (uint256[] memory);
    function policy() external view returns (Policy memory);
    function oracle() external view returns (IOracleHub);
    function state() external view returns (State memory);
    function fee() external view returns (Fee memory);
    function feeRecipient() external view returns (address);
    /// @notice What a holder can collect of a token that could not be sent {tok}.
    function claimable(address holder, address token) external view returns (uint256);
    /// @notice What all holders together can collect of a token {tok}.
    function totalClaimable(address token) external view returns (uint256);
    /// @notice What `mintInKind` would take now {tok}, rounded up.
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice What `redeemInKind` would give now {tok}, rounded down.
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts);
    /// @notice Whether a state-changing call is under way: other views must not be believed while it is.
    function locked() external view returns (bool);
}
