// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IConfigStore } from "./interfaces/IConfigStore.sol";
import { IExecutor } from "./interfaces/IExecutor.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Lists } from "./libraries/Lists.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title BasketVault
/// @notice WHAT IT IS. A basket of up to 16 tokens with target weights, and an ERC-20 share that is a claim on the same part of every
/// token. People mint and redeem shares in kind. A keeper may trade, only toward the targets, only when a weight has left its
/// band, and only at a price the vault measures itself.
///
/// LIFECYCLE. initialize (seed, minimum locked) -> mintInKind / redeemInKind at any time -> band breaks -> poke or rebalance -> ...
///
/// ROLES, AND THE WORST EACH CAN DO. Roles live in an OpenZeppelin AccessManager, with a delay per function and a guardian's cancel.
/// - Owner: sets policy, oracle and fee, absorbs gifts. A hostile one could set an oracle that lies; that waits in the timelock, and holders leave.
/// - Curator: sets targets and bands. Worst: has the vault trade back and forth, at a loss within the budgets.
/// - Guardian: stops rebalances. Worst: weights drift.
/// - Keeper: chooses when and by which route. Worst, whatever executor it names: `lossBudget`, refilled once a period, measured
///   against the oracle, and nothing at all while no band is broken.
/// - Anyone: mint, redeem, claim, sync, poke, collectFee.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. The oracle is right within its error; tokens do not lie about balances.
/// WE ASSUME, OR IT STOPS. Feeds are fresh; somebody runs a keeper; tokens can be moved. If a token cannot be moved, its part becomes
/// a claim and everything else goes on.
///
/// DELIBERATELY NOT DONE. No approval is ever given to anybody, no router is ever called, no price is asked on mint or redeem, the
/// code cannot be upgraded, and tokens sent here without being asked change no share's value.
///
/// HOW TO STOP IT. `pauseRebalance` stops trading at once. Nothing stops `redeemInKind`.
contract BasketVault is IBasketVault, ERC20Permit, AccessManaged, ReentrancyGuardTransient {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using Lists for int256[];
    using Lists for address[];
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    /* CONSTANTS */

    uint256 private constant BPS = 10_000;
    uint256 private constant YEAR_SECONDS = 365 days;

    /// Locked at creation for ever, so that the price of a share in kind can never be driven up to where rounding hurts.
    uint256 public constant MINIMUM_SHARES = 1e6;

    uint256 private constant MAX_ASSETS = 16; // redeeming all of them, each failing slowly, still fits in a block
    uint256 private constant MAX_FEE_BPS = 500; // 5 % a year

    /// Largest supply minting may reach, so that fee arithmetic can never overflow and stand in the way of a redemption.
    uint256 private constant MAX_SUPPLY = 1 << 120;

    /// Gas one outgoing transfer may use: the heaviest honest tokens need under 200,000.
    uint256 private constant TRANSFER_GAS = 300_000;

    /// Where minimum shares go: nobody has its key.
    address private constant LOCKED = 0x000000000000000000000000000000000000dEaD;

    /// What `_config` says in the implementation behind clones, which must never be initialized.
    address private constant IMPLEMENTATION = address(1);

    /// Transient: whether this transaction has minted or redeemed, or has rebalanced.
    bytes32 private constant FLOWED = keccak256("rebalancer.vault.flowed");
    bytes32 private constant TRADED = keccak256("rebalancer.vault.traded");

    /* IMMUTABLES */

    /// Checks and stores configurations. Shared by every clone.
    IConfigStore public immutable STORE;

    /* STORAGE: CONFIGURATION */

    address private _config; // where STORE put it; see ConfigCode
    address public feeRecipient;
    ShortString private _name;
    ShortString private _symbol;

    /* STORAGE: BOOKS */

    State private _state;
    Fee private _fee;
    uint128[MAX_ASSETS] private _held;

    /// @inheritdoc IBasketVault
    mapping(address holder => mapping(address token => uint256)) public claimable;
    /// @inheritdoc IBasketVault
    mapping(address token => uint256) public totalClaimable;

    /* FACTORY */

    constructor(IConfigStore store) ERC20("", "") ERC20Permit("Rebalancer") AccessManaged(address(0)) {
        STORE = store;
        _config = IMPLEMENTATION;
    }

    /// @inheritdoc IBasketVault
    function initialize(
        string calldata name_,
        string calldata symbol_,
        address authority_,
        Config calldata config_,
        uint256 feeBps,
        address feeRecipient_,
        uint256[] calldata seedAmounts,
        uint256 initialShares,
        address receiver
    ) external {
        if (_config != address(0)) revert AlreadyInitialized();
        if (initialShares <= MINIMUM_SHARES) revert SharesBelowMinimum(initialShares, MINIMUM_SHARES + 1);
        _checkSupply(initialShares);
        _checkReceiver(receiver);

        _name = _shortString(name_);
        _symbol = _shortString(symbol_);
        emit Initialized(name_, symbol_);
        _setAuthority(authority_);
        _setConfig(config_);
        _setFee(feeBps, feeRecipient_);

        _checkLength(seedAmounts.length, config_.assets.length);
        uint256 seeded;
        for (uint256 i; i < seedAmounts.length; ++i) {
            uint256 balance = IERC20(config_.assets[i].token).balanceOf(address(this));
            if (balance < seedAmounts[i]) revert TransferNotExact(config_.assets[i].token, seedAmounts[i], balance);
            _held[i] = _toHeld(i, seedAmounts[i]);
            seeded |= seedAmounts[i];
        }
        if (seeded == 0) revert NothingHeld();

        _mint(LOCKED, MINIMUM_SHARES);
        _mint(receiver, initialShares - MINIMUM_SHARES);
        emit MintedInKind(msg.sender, receiver, initialShares, seedAmounts);
    }

    /* OWNER */

    /// @inheritdoc IBasketVault
    function setPolicy(Policy calldata policy_) external restricted nonReentrant {
        Config memory c = ConfigCode.load(_config).unpack();
        c.policy = policy_;
        _setConfig(c);
    }

    /// @inheritdoc IBasketVault
    function setOracle(IOracleHub oracle_) external restricted nonReentrant {
        Config memory c = ConfigCode.load(_config).unpack();
        c.oracle = oracle_;
        _setConfig(c);
    }

    /// @inheritdoc IBasketVault
    function setFee(uint256 feeBps, address recipient) external restricted nonReentrant {
        _setFee(feeBps, recipient);
    }

    /// @inheritdoc IBasketVault
    function resumeRebalance() external restricted nonReentrant {
        _state.paused = false;
        emit RebalanceResumed(msg.sender);
    }

    /// @inheritdoc IBasketVault
    function absorb(uint256 asset, uint256 amountRaw) external restricted nonReentrant {
        (uint256 balance, uint256 owed) = _balanceAndOwed(asset);
        uint256 gift = Math.saturatingSub(balance, owed);
        if (amountRaw > gift) revert GiftTooSmall(asset, amountRaw, gift);
        _held[asset] = _toHeld(asset, _held[asset] + amountRaw);
        emit Absorbed(asset, amountRaw);
    }

    /* CURATOR */

    /// @inheritdoc IBasketVault
    function setTargets(uint256[] calldata targetsE18, uint256[] calldata bandsBps) external restricted nonReentrant {
        Config memory c = ConfigCode.load(_config).unpack();
        _checkLength(targetsE18.length, c.assets.length);
        _checkLength(bandsBps.length, c.assets.length);
        for (uint256 i; i < c.assets.length; ++i) {
            // A target that does not fit cannot be part of a sum of 1e18, and a band that does not fit is out of range.
            c.assets[i].targetE18 = targetsE18[i].toUint64();
            c.assets[i].bandBps = bandsBps[i].toUint16();
        }
        _setConfig(c);
        // The climb of the slippage limit belongs to a break of the old bands.
        _state.brokenSince = 0;
        emit Poked(0);
    }

    /* GUARDIAN */

    /// @inheritdoc IBasketVault
    function pauseRebalance() external restricted nonReentrant {
        _state.paused = true;
        emit RebalancePaused(msg.sender);
    }

    /* KEEPER */

    /// @dev The basket as the policy sees it, read once a call.
    struct Basket {
        address[] tokens;
        uint256[] units;
        uint256[] targetsE18;
        uint256[] bandsBps;
        uint256[] held;
        uint256[] pricesE18;
        uint256[] losE18;
        uint256[] hisE18;
        int256[] distancesE18;
        uint256 distanceE18;
        uint256 totalE18;
    }

    /// @dev What a trade did, measured: what each asset gained (positive) or lost {tok}, and the values sold and bought {usd18}.
    struct Fill {
        int256[] changes;
        uint256 soldE18;
        uint256 boughtE18;
    }

    /// @inheritdoc IBasketVault
    function rebalance(
        uint256 epoch,
        uint256[] calldata sales,
        uint256[] calldata minBuys,
        address executor,
        bytes calldata route
    ) external restricted nonReentrant {
        if (FLOWED.asBoolean().tload()) revert SameTransaction();
        TRADED.asBoolean().tstore(true);

        State memory s = _state;
        uint256[] memory words = ConfigCode.load(_config);
        Policy memory p = words.policy();
        if (s.paused) revert RebalanceIsPaused();
        if (epoch != s.epoch) revert WrongEpoch(epoch, s.epoch);
        if (block.timestamp < uint256(s.rebalancedAt) + p.cooldownSeconds) {
            revert CooldownActive(uint256(s.rebalancedAt) + p.cooldownSeconds);
        }

        Basket memory b = _readBasket(words);
        if (RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsBps) == RebalancePolicy.NONE) {
            revert RebalancePolicy.NoBandBroken();
        }
        _checkLength(sales.length, b.tokens.length);
        _checkLength(minBuys.length, b.tokens.length);
        Fill memory f = _trade(b, sales, minBuys, executor, route);
        _settle(s, p, b, f);
        emit Rebalanced(epoch, msg.sender, executor, f.changes, f.soldE18, f.boughtE18, s);
    }

    /// @dev Prices and weighs the basket. Reverts on any oracle fault.
    function _readBasket(uint256[] memory words) private view returns (Basket memory b) {
        uint256 n = words.assetCount();
        b.tokens = Lists.addresses(n);
        b.units = Lists.uints(n);
        b.targetsE18 = Lists.uints(n);
        b.bandsBps = Lists.uints(n);
        b.held = Lists.uints(n);
        b.pricesE18 = Lists.uints(n);
        b.losE18 = Lists.uints(n);
        b.hisE18 = Lists.uints(n);
        for (uint256 i; i < n; ++i) {
            b.tokens.set(i, words.token(i));
            b.units.set(i, words.unit(i));
            b.targetsE18.set(i, words.targetE18(i));
            b.bandsBps.set(i, words.bandBps(i));
            b.held.set(i, _held[i]);
        }
        IOracleHub.Price[] memory prices = words.oracle().prices(b.tokens);
        for (uint256 i; i < n; ++i) {
            IOracleHub.Price memory price = prices[i];
            if (price.fault != IOracleHub.Fault.None) revert OracleFault(i, price.fault);
            // The policy's arithmetic is proved for prices below 2^128; an oracle that says more is out of its mind.
            if ((price.primaryE18 | price.loE18 | price.hiE18) >> 128 != 0) {
                revert OracleFault(i, IOracleHub.Fault.OutOfRange);
            }
            b.pricesE18.set(i, price.primaryE18);
            b.losE18.set(i, price.loE18);
            b.hisE18.set(i, price.hiE18);
        }
        uint256[] memory valuesE18;
        (valuesE18, b.totalE18) = RebalancePolicy.weigh(b.held, b.pricesE18, b.units);
        (b.distancesE18, b.distanceE18) = RebalancePolicy.distances(valuesE18, b.totalE18, b.targetsE18);
    }

    /// @dev Holds the sales against P1, sends them, calls the executor, and books what the balances say. The executor may do anything: every function here
    /// that changes state is locked, and what it takes or fails to bring is found by `_settle`.
    function _trade(
        Basket memory b,
        uint256[] memory sales,
        uint256[] memory minBuys,
        address executor,
        bytes calldata route
    ) private returns (Fill memory f) {
        RebalancePolicy.checkSales(sales, minBuys, b.distancesE18, b.pricesE18, b.units);
        uint256 n = b.tokens.length;
        uint256[] memory balances = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            address token = b.tokens.at(i);
            // A token has no business being called as an executor, whatever it may answer to.
            if (token == executor) revert BadExecutor(executor);
            if (sales.at(i) | minBuys.at(i) != 0) balances.set(i, IERC20(token).balanceOf(address(this)));
        }
        for (uint256 i; i < n; ++i) {
            if (sales.at(i) != 0) IERC20(b.tokens.at(i)).safeTransfer(executor, sales.at(i));
        }
        IExecutor(executor).executeRoute(route);

        f.changes = new int256[](n);
        for (uint256 i; i < n; ++i) {
            if (sales.at(i) | minBuys.at(i) == 0) continue;
            uint256 balance = IERC20(b.tokens.at(i)).balanceOf(address(this));
            uint256 held_ = b.held.at(i);
            if (sales.at(i) != 0) {
                // What the executor brought back was not sold; more than it got is a gift.
                uint256 sold = Math.saturatingSub(balances.at(i), balance);
                held_ -= sold;
                f.soldE18 += RebalancePolicy.valueUp(sold, b.hisE18.at(i), b.units.at(i));
                f.changes.set(i, -int256(sold));
            } else {
                uint256 bought = Math.saturatingSub(balance, balances.at(i));
                if (bought < minBuys.at(i)) revert BoughtTooLittle(i, bought, minBuys.at(i));
                held_ = _toHeld(i, Math.saturatingAdd(held_, bought));
                f.boughtE18 += RebalancePolicy.valueDown(bought, b.losE18.at(i), b.units.at(i));
                f.changes.set(i, int256(bought));
            }
            b.held.set(i, held_);
            _held[i] = uint128(held_); // it only shrank, or passed _toHeld
        }
    }

    /// @dev Holds a trade against P2 to P6 and writes the new state, which it also leaves in `s`.
    function _settle(State memory s, Policy memory p, Basket memory b, Fill memory f) private {
        uint256 slippageLimitE18 = RebalancePolicy.slippageE18(
            p.startSlippageBps, p.maxSlippageBps, p.slippageRampSeconds, s.brokenSince, block.timestamp
        );
        uint256 minimumE18 = RebalancePolicy.minimumBoughtE18(f.soldE18, slippageLimitE18);
        if (f.boughtE18 < minimumE18) revert RebalancePolicy.PriceTooPoor(f.boughtE18, minimumE18);

        (uint256[] memory valuesE18, uint256 totalE18) = RebalancePolicy.weigh(b.held, b.pricesE18, b.units);
        (int256[] memory distancesE18, uint256 distanceE18) =
            RebalancePolicy.distances(valuesE18, totalE18, b.targetsE18);
        RebalancePolicy.checkTowardTarget(b.distancesE18, distancesE18, totalE18, p.dustBps);
        RebalancePolicy.checkProgress(b.distanceE18, b.totalE18, distanceE18, totalE18, p.minProgressBps, p.dustBps);

        uint256 elapsed = block.timestamp - s.rebalancedAt;
        // Levels are at most their budgets: 0.05e18 and 2e18 fit in 64 bits.
        s.lossLevelE18 = uint64(
            RebalancePolicy.spendLoss(
                RebalancePolicy.leak(s.lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds, elapsed),
                Math.saturatingSub(f.soldE18, f.boughtE18),
                b.totalE18,
                p.lossBudgetBps
            )
        );
        s.turnoverLevelE18 = uint64(
            RebalancePolicy.spendTurnover(
                RebalancePolicy.leak(s.turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed),
                f.soldE18,
                b.totalE18,
                p.turnoverBudgetBps
            )
        );
        if (RebalancePolicy.firstBroken(distancesE18, totalE18, b.bandsBps) == RebalancePolicy.NONE) s.brokenSince = 0;
        else if (s.brokenSince == 0) s.brokenSince = uint40(block.timestamp);
        s.rebalancedAt = uint40(block.timestamp);
        s.epoch += 1;
        _state = s;
    }

    /* ANYONE */

    /// @inheritdoc IBasketVault
    function mintInKind(uint256 shares, address receiver, uint256[] calldata maxAmounts)
        external
        nonReentrant
        returns (uint256[] memory amounts)
    {
        _enterFlow(shares, receiver);
        uint256[] memory words = ConfigCode.load(_config);
        _checkLength(maxAmounts.length, words.assetCount());

        uint256 supply = _accrueFee();
        _checkSupply(Math.saturatingAdd(supply, shares));
        amounts = _partOfHeld(shares, words.assetCount(), supply, Math.Rounding.Ceil);
        uint256 asked;
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = amounts[i];
            if (amount > maxAmounts[i]) revert AmountAboveMaximum(i, amount, maxAmounts[i]);
            if (amount == 0) continue;
            asked |= amount;
            IERC20 token = IERC20(words.token(i));
            uint256 balance = token.balanceOf(address(this));
            token.safeTransferFrom(msg.sender, address(this), amount);
            // Not checked: a token whose balance wraps. It would have to lie, and lying tokens are not for baskets.
            uint256 received = token.balanceOf(address(this)) - balance;
            if (received != amount) revert TransferNotExact(address(token), amount, received);
            _held[i] = _toHeld(i, _held[i] + amount);
        }
        if (asked == 0) revert NothingHeld();

        _mint(receiver, shares);
        emit MintedInKind(msg.sender, receiver, shares, amounts);
    }

    /// @inheritdoc IBasketVault
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        nonReentrant
        returns (uint256[] memory amounts)
    {
        return _redeem(shares, receiver, owner, minAmounts, 0);
    }

    /// @inheritdoc IBasketVault
    function redeemInKindExcept(
        uint256 shares,
        address receiver,
        address owner,
        uint256[] calldata minAmounts,
        uint256 skipped
    ) external nonReentrant returns (uint256[] memory amounts) {
        return _redeem(shares, receiver, owner, minAmounts, skipped);
    }

    /// @dev Nothing but tokens is called, and only after all books are done; no token's answer can make it fail.
    function _redeem(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts, uint256 skipped)
        private
        returns (uint256[] memory amounts)
    {
        _enterFlow(shares, receiver);
        if (msg.sender != owner) _spendAllowance(owner, msg.sender, shares);
        uint256[] memory words = ConfigCode.load(_config);
        uint256 n = words.assetCount();
        _checkLength(minAmounts.length, n);

        uint256 supply = _accrueFee();
        _burn(owner, shares);
        amounts = Lists.uints(n);
        for (uint256 i; i < n; ++i) {
            uint256 held_ = _held[i];
            // {tok} = {tok} * {share} / {share}. Down: those who stay keep the dust.
            uint256 amount = Math.mulDiv(held_, shares, supply);
            if (amount < minAmounts[i]) revert AmountBelowMinimum(i, amount, minAmounts[i]);
            amounts.set(i, amount);
            // The burn proved shares <= supply, so amount <= held_, which has 128 bits.
            if (amount != 0) _held[i] = uint128(held_ - amount);
        }
        for (uint256 i; i < n; ++i) {
            uint256 amount = amounts.at(i);
            if (amount == 0) continue;
            address token = words.token(i);
            if (skipped >> i & 1 != 0 || !_trySend(token, receiver, amount)) {
                claimable[owner][token] += amount;
                totalClaimable[token] += amount;
                emit ClaimOpened(owner, token, amount);
            }
        }
        emit RedeemedInKind(msg.sender, receiver, owner, shares, amounts);
    }

    /// @inheritdoc IBasketVault
    function claim(address token, address receiver) external nonReentrant returns (uint256 amountRaw) {
        _checkReceiver(receiver);
        amountRaw = claimable[msg.sender][token];
        if (amountRaw == 0) revert NothingToClaim(msg.sender, token);
        claimable[msg.sender][token] = 0;
        totalClaimable[token] -= amountRaw;
        if (!_trySend(token, receiver, amountRaw)) revert ClaimFailed(msg.sender, token, amountRaw);
        emit Claimed(msg.sender, token, receiver, amountRaw);
    }

    /// @inheritdoc IBasketVault
    function sync(uint256 asset) external nonReentrant returns (uint256 lostRaw) {
        (uint256 balance, uint256 owed) = _balanceAndOwed(asset);
        if (balance >= owed) revert NothingLost(asset, balance, owed);
        uint128 before = _held[asset];
        // Claims are paid before the ledger: they were promised first.
        uint128 left = uint128(Math.saturatingSub(balance, owed - before)); // below `before`
        _held[asset] = left;
        emit Synced(asset, before, left);
        return before - left;
    }

    /// @dev The vault's balance of an asset, and what it owes: its ledger and all open claims {tok}.
    function _balanceAndOwed(uint256 asset) private view returns (uint256 balance, uint256 owed) {
        uint256[] memory words = ConfigCode.load(_config);
        if (asset >= words.assetCount()) revert NoSuchAsset(asset, words.assetCount());
        address token = words.token(asset);
        return (IERC20(token).balanceOf(address(this)), _held[asset] + totalClaimable[token]);
    }

    /// @inheritdoc IBasketVault
    function poke() external nonReentrant {
        Basket memory b = _readBasket(ConfigCode.load(_config));
        bool whole = RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsBps) == RebalancePolicy.NONE;
        if (whole == (_state.brokenSince == 0)) return;
        _state.brokenSince = whole ? 0 : uint40(block.timestamp);
        emit Poked(_state.brokenSince);
    }

    /// @inheritdoc IBasketVault
    function collectFee() external nonReentrant returns (uint256 shares) {
        return _collectFee();
    }

    /* VIEWS */

    /// @inheritdoc IBasketVault
    function assets() external view returns (Asset[] memory) {
        return ConfigCode.load(_config).unpack().assets;
    }

    /// @inheritdoc IBasketVault
    function held() external view returns (uint256[] memory amounts) {
        amounts = new uint256[](ConfigCode.load(_config).assetCount());
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = _held[i];
        }
    }

    /// @inheritdoc IBasketVault
    function policy() external view returns (Policy memory) {
        return ConfigCode.load(_config).policy();
    }

    /// @inheritdoc IBasketVault
    function oracle() external view returns (IOracleHub) {
        return ConfigCode.load(_config).oracle();
    }

    /// @inheritdoc IBasketVault
    function state() external view returns (State memory) {
        return _state;
    }

    /// @inheritdoc IBasketVault
    function fee() external view returns (Fee memory) {
        return _fee;
    }

    /// @inheritdoc IBasketVault
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        return _partOfHeld(shares, ConfigCode.load(_config).assetCount(), totalSupply(), Math.Rounding.Ceil);
    }

    /// @inheritdoc IBasketVault
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        return _partOfHeld(shares, ConfigCode.load(_config).assetCount(), totalSupply(), Math.Rounding.Floor);
    }

    /// @inheritdoc IBasketVault
    function locked() external view returns (bool) {
        return _reentrancyGuardEntered();
    }

    /// @notice Shares in existence, those of the fee that are earned and not yet minted included.
    function totalSupply() public view override(ERC20, IERC20) returns (uint256) {
        return super.totalSupply() + _pendingFee(_fee, super.totalSupply());
    }

    /// @inheritdoc IERC20Metadata
    function name() public view override returns (string memory) {
        return ShortStrings.toString(_name);
    }

    /// @inheritdoc IERC20Metadata
    function symbol() public view override returns (string memory) {
        return ShortStrings.toString(_symbol);
    }

    /* FLOW */

    /// @dev What mint and redeem both begin with.
    function _enterFlow(uint256 shares, address receiver) private {
        if (TRADED.asBoolean().tload()) revert SameTransaction();
        FLOWED.asBoolean().tstore(true);
        if (shares == 0) revert ZeroShares();
        _checkReceiver(receiver);
    }

    /// @dev The part of each holding that `shares` of `supply` stand for.
    // {tok} = {tok} * {share} / {share}
    function _partOfHeld(uint256 shares, uint256 n, uint256 supply, Math.Rounding rounding)
        private
        view
        returns (uint256[] memory amounts)
    {
        amounts = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            amounts[i] = Math.mulDiv(_held[i], shares, supply, rounding);
        }
    }

    /// @dev Tries to send; false if the token refused in any way. A token can neither burn all gas nor flood memory: it gets
    /// `TRANSFER_GAS`, and 32 bytes of its answer are read.
    function _trySend(address token, address receiver, uint256 amount) private returns (bool sent) {
        // Or the caller could starve the transfer by a low gas limit and turn a sound token into a claim.
        uint256 needed = TRANSFER_GAS * 64 / 63 + 50_000;
        if (gasleft() < needed) revert NotEnoughGas(gasleft(), needed);
        bytes memory data = abi.encodeCall(IERC20.transfer, (receiver, amount));
        assembly ("memory-safe") {
            mstore(0, 0)
            sent := call(TRANSFER_GAS, token, 0, add(data, 32), mload(data), 0, 32)
            // Either nothing came back from something with code, or at least a word, and that word is 1.
            switch returndatasize()
            case 0 { sent := and(sent, gt(extcodesize(token), 0)) }
            default { sent := and(sent, and(gt(returndatasize(), 31), eq(mload(0), 1))) }
        }
    }

    /* FEE */

    /// @dev Books the fee up to now and returns the total supply.
    function _accrueFee() private returns (uint256 supply) {
        Fee memory f = _fee;
        uint256 minted = super.totalSupply();
        uint256 pending = _pendingFee(f, minted); // at most 128 bits
        _fee = Fee(uint128(pending), uint40(block.timestamp), f.feeBps);
        return minted + pending;
    }

    /// @dev Fee shares earned and not minted: those booked, and simple interest on all shares since, rounded down. At most 2^128 - 1:
    /// after centuries uncollected the fee stops growing rather than stop redemptions.
    function _pendingFee(Fee memory f, uint256 minted) private view returns (uint256) {
        uint256 supply = minted + f.pendingShares;
        uint256 earned = supply * f.feeBps * (block.timestamp - f.accruedAt) / (YEAR_SECONDS * BPS);
        return Math.min(f.pendingShares + earned, type(uint128).max);
    }

    function _setFee(uint256 feeBps, address recipient) private {
        if (feeBps > MAX_FEE_BPS) revert FeeOutOfRange(feeBps, MAX_FEE_BPS);
        if (recipient == address(0)) revert BadFeeRecipient(recipient);
        _collectFee(); // what was earned belongs to whom it was earned for
        _fee.accruedAt = uint40(block.timestamp);
        _fee.feeBps = uint16(feeBps);
        feeRecipient = recipient;
        emit FeeSet(feeBps, recipient);
    }

    /// @dev Mints what the fee has earned. Earning less than a share changes nothing, so that it is not lost.
    function _collectFee() private returns (uint256 shares) {
        shares = _pendingFee(_fee, super.totalSupply());
        if (shares == 0) return 0;
        _fee.pendingShares = 0;
        _fee.accruedAt = uint40(block.timestamp);
        _mint(feeRecipient, shares);
        emit FeeCollected(feeRecipient, shares);
    }

    function _setConfig(Config memory c) private {
        _config = STORE.write(c);
        emit ConfigSet(c);
    }

    /* CHECKS */

    function _checkReceiver(address receiver) private view {
        if (receiver == address(0) || receiver == address(this)) revert BadReceiver(receiver);
    }

    function _checkLength(uint256 length, uint256 expected) private pure {
        if (length != expected) revert LengthMismatch(length, expected);
    }

    function _checkSupply(uint256 supply) private pure {
        if (supply > MAX_SUPPLY) revert SupplyTooLarge(supply, MAX_SUPPLY);
    }

    function _toHeld(uint256 asset, uint256 amountRaw) private pure returns (uint128) {
        if (amountRaw > type(uint128).max) revert HoldingTooLarge(asset, amountRaw, type(uint128).max);
        return uint128(amountRaw);
    }

    function _shortString(string calldata s) private pure returns (ShortString) {
        if (bytes(s).length == 0 || bytes(s).length > 31) revert BadName(s);
        return ShortStrings.toShortString(s);
    }
}
