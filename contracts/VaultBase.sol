// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IVaultBase } from "./interfaces/IBasketVault.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Holding, Holdings } from "./libraries/Holdings.sol";
import { Lists } from "./libraries/Lists.sol";
import { PackedFee } from "./libraries/PackedFee.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultBase
/// @notice WHAT IT IS. The storage of a basket vault, and what both halves of its code need: BasketVault, and VaultExtension, which
/// BasketVault runs as its own code. Both inherit this contract first and declare no storage themselves, so they agree on every slot. The
/// slots of the permits, which only BasketVault inherits, come last.
abstract contract VaultBase is IVaultBase, ERC20, AccessManaged {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using Lists for address[];
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.Uint256Slot;

    /* CONSTANTS */

    uint256 internal constant BPS = 10_000;
    uint256 internal constant YEAR_SECONDS = 365 days;

    /// Least number of shares locked at creation for ever: nobody can drive the price of a share so high that rounding costs holders much.
    uint256 public constant MINIMUM_SHARES = 1e6;
    /// Least amount of every asset of the seed that the locked shares own {tok}, and the largest part of all shares that may be locked.
    uint256 internal constant MINIMUM_LOCKED_RAW = 1_000;
    uint256 internal constant MAX_LOCKED_BPS = 100;

    uint256 internal constant MAX_ASSETS = 16; // redeeming all of them, each failing slowly, still fits in a block
    uint256 internal constant MAX_STREAMING_BPS = 500; // 5 % a year
    uint256 internal constant MAX_PERFORMANCE_BPS = 2_000; // 20 % of the gain
    uint256 internal constant MAX_FLOW_BPS = 200; // 2 % on entry, and on exit
    uint256 internal constant PERFORMANCE_PERIOD_SECONDS = 30 days; // long enough that few peaks are caught

    /// Largest supply that minting may reach, and largest supply with fees, where fees stop growing: no product of shares, basis points and
    /// a holding can pass 2^256 and block a redemption.
    uint256 internal constant MAX_SUPPLY = 1 << 120;
    uint256 internal constant MAX_SUPPLY_WITH_FEES = 1 << 121;

    /// Gas that one outgoing transfer of a redemption may use: the most expensive honest tokens need under 200,000.
    uint256 internal constant TRANSFER_GAS = 300_000;
    /// Gas that a token may use to report a balance to a redemption: the most expensive honest tokens need under 50,000.
    uint256 internal constant BALANCE_GAS = 100_000;

    /// How long a pair must have been seen unpriced before bids begin (longer than feeds are late and sequencers' grace periods last), and
    /// the longest gap between two such sightings.
    uint256 internal constant UNPRICED_SECONDS = 6 hours;
    uint256 internal constant UNPRICED_GAP_SECONDS = 30 minutes;

    /// Gas that the oracle may use to price two assets: nine sources at 200,000 each (see BoundedCall), and a margin.
    uint256 internal constant ORACLE_GAS = 2_500_000;

    /// Owner of the locked shares: nobody has its key.
    address internal constant LOCKED = 0x000000000000000000000000000000000000dEaD;

    /// Value of `config` in the implementation behind clones, which must never be initialized.
    address internal constant IMPLEMENTATION = address(1);

    /// Transient: the kinds of action below that this transaction is doing or has done here.
    bytes32 internal constant DOING = keccak256("rebalancer.vault.doing");
    uint256 internal constant LOCK = 1; // a call that changes state is in progress
    uint256 internal constant FLOW = 2; // a mint or a redemption
    uint256 internal constant TRADE = 4; // a rebalance, a bid, or an absorbed gift

    // slither-disable-start uninitialized-state -- looking at each half alone, it misses what the other writes

    /* STORAGE: CONFIGURATION */

    /// @inheritdoc IVaultBase
    address public config;
    /// @inheritdoc IVaultBase
    address public feeRecipient;
    ShortString internal _name;
    ShortString internal _symbol;

    /* STORAGE: LEDGER */

    State internal _state;
    PackedFee internal _fee;
    Performance internal _performance;
    Holding[MAX_ASSETS] internal _held;

    /// @dev All open claims on a token: an amount {tok} that losses shrink, and the units that share it. Units of an older generation are
    /// worth nothing. Claims end when losses have left less than 2^-64 of them, or less than 2^-32 when another claim opens. So each claim
    /// has lost all but 2^-32 of itself when it ends, and units fit in 192 bits.
    struct ClaimPool {
        uint128 amountRaw;
        uint64 generation;
        uint192 units;
    }

    /// @dev A holder's part of a token's claims.
    struct Claim {
        uint192 units;
        uint64 generation;
    }

    mapping(address token => ClaimPool) internal _claimPools;
    mapping(address holder => mapping(address token => Claim)) internal _claims;
    /// @inheritdoc IVaultBase
    mapping(address token => uint256) public lossE18;
    mapping(address sold => mapping(address bought => Auction)) internal _auctions;

    // slither-disable-end uninitialized-state

    /* LOCK */

    /// @dev Locks the vault for the call. The call is refused in a transaction that did any of `refused` before. After the call, the
    /// transaction has done `done`.
    modifier guarded(uint256 refused, uint256 done) {
        uint256 flags = DOING.asUint256().tload();
        if (flags & (LOCK | refused) != 0) _refuse(flags);
        DOING.asUint256().tstore(flags | LOCK);
        _;
        DOING.asUint256().tstore(flags | done);
    }

    function _refuse(uint256 flags) private pure {
        if (flags & LOCK != 0) revert ReentrancyGuardReentrantCall();
        revert SameTransaction();
    }

    /* FACTORY */

    constructor() ERC20("", "") AccessManaged(address(0)) {
        config = IMPLEMENTATION;
    }

    /* BASKET */

    /// @dev The basket as the policy sees it, read once per call.
    struct Basket {
        uint256[] words;
        address[] tokens;
        uint256[] units;
        uint256[] targetsE18;
        uint256[] bandsE18;
        uint256[] held;
        uint256[] entries; // of the ledger: `held` with its flags
        uint256[] prices;
        uint256[] pricesE18;
        int256[] distancesE18;
        uint256 distanceE18;
        uint256 totalE18;
    }

    /// @dev Reads prices and computes the value of the basket. Reverts on any oracle fault of an asset that is not excluded.
    function _readBasket(uint256[] memory words, uint256 dustBps) internal view returns (Basket memory b) {
        uint256 n = words.assetCount();
        b.words = words;
        b.tokens = Lists.addresses(n);
        b.units = Lists.uints(n);
        b.targetsE18 = Lists.uints(n);
        b.bandsE18 = Lists.uints(n);
        b.held = Lists.uints(n);
        b.entries = Lists.uints(n);
        b.pricesE18 = Lists.uints(n);
        bool glides = block.timestamp < words.glideEnd();
        for (uint256 i; i < n; ++i) {
            uint256 word = words.assetWord(i);
            b.tokens.set(i, address(uint160(word)));
            b.units.set(i, ConfigCode.unitOf(word));
            uint256 targetE18 = glides ? words.targetE18(i, block.timestamp) : ConfigCode.endTargetE18Of(word);
            b.targetsE18.set(i, targetE18);
            b.bandsE18.set(i, words.bandE18(i, word, targetE18, dustBps));
            Holding h = _held[i];
            b.entries.set(i, Holding.unwrap(h));
            b.held.set(i, h.amountRaw());
        }
        b.prices = _askPrices(words.oracle(), b.tokens);
        for (uint256 i; i < n; ++i) {
            if (words.excluded(i)) {
                // Its value and its target are 0 here: it is neither in surplus nor in deficit, so it can be neither sold nor bought.
                b.pricesE18.set(i, 0);
                continue;
            }
            _checkPrice(b.prices, i);
            b.pricesE18.set(i, b.prices.at(4 * i + PRIMARY));
        }
        uint256[] memory valuesE18;
        (valuesE18, b.totalE18) = RebalancePolicy.weigh(b.held, b.pricesE18, b.units);
        (b.distancesE18, b.distanceE18) = RebalancePolicy.distances(valuesE18, b.totalE18, b.targetsE18);
    }

    /// Positions of a price's four words, as in IOracleHub.Price.
    uint256 internal constant LO = 0;
    uint256 internal constant HI = 1;
    uint256 internal constant PRIMARY = 2;
    uint256 internal constant FAULT = 3;

    /// @dev Reverts unless the price of an asset is sound. The policy's arithmetic is proved for prices below 2^128; no real price is
    /// larger.
    function _checkPrice(uint256[] memory prices, uint256 i) internal pure {
        uint256 fault = prices.at(4 * i + FAULT);
        if (fault != 0) revert OracleFault(i, IOracleHub.Fault(fault));
        if ((prices.at(4 * i + PRIMARY) | prices.at(4 * i + LO) | prices.at(4 * i + HI)) >> 128 != 0) {
            revert OracleFault(i, IOracleHub.Fault.OutOfRange);
        }
    }

    /// @dev `hub.prices(tokens)`, as four words per token. Decoding structs would add more than a third to the cost of weighing the basket.
    function _askPrices(IOracleHub hub, address[] memory tokens) internal view returns (uint256[] memory prices) {
        uint256 n = tokens.length;
        uint256 selector = uint32(IOracleHub.prices.selector);
        prices = Lists.uints(4 * n);
        bool sound;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, shl(224, selector))
            mstore(add(data, 4), 32)
            mcopy(add(data, 36), tokens, add(32, shl(5, n)))
            let answered := staticcall(gas(), hub, data, add(68, shl(5, n)), data, 64)
            if iszero(answered) {
                returndatacopy(data, 0, returndatasize())
                revert(data, returndatasize())
            }
            // Offset and length, then the prices.
            sound := and(
                eq(returndatasize(), add(64, shl(7, n))),
                and(eq(mload(data), 32), eq(mload(add(data, 32)), n))
            )
            if sound { returndatacopy(add(prices, 32), 64, shl(7, n)) }
        }
        if (!sound) revert OracleFault(0, IOracleHub.Fault.CallFailed);
    }

    /* TOKENS */

    /// @dev Takes exactly `amount` from the caller {tok}. Reverts unless the vault had all that it owes of the token before.
    function _pull(uint256 asset, address token, uint256 amount, uint256 owedRaw) internal {
        uint256 balance = IERC20(token).balanceOf(address(this));
        if (balance < owedRaw) revert LossNotWrittenDown(asset, balance, owedRaw);
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        // Not checked: a token whose balance wraps. It would have to lie, and tokens that lie must not be in a basket.
        uint256 received = IERC20(token).balanceOf(address(this)) - balance;
        if (received != amount) revert TransferNotExact(token, amount, received);
    }

    /// @dev What the vault owes of a token: its ledger entry and all open claims {tok}.
    function _owedRaw(address token, Holding h) internal view returns (uint256 owedRaw) {
        owedRaw = h.amountRaw();
        if (h.isClaimed()) owedRaw += _claimPools[token].amountRaw;
    }

    /// @dev The vault's balance {tok}, or the largest number if the token does not report it. The token gets `gasLimit` gas. Any token can
    /// neither burn more nor flood memory.
    function _balanceRaw(address token, uint256 gasLimit) internal view returns (uint256 balanceRaw) {
        uint256 selector = uint32(IERC20.balanceOf.selector);
        assembly ("memory-safe") {
            mstore(0, shl(224, selector))
            mstore(4, address())
            let told := staticcall(gasLimit, token, 0, 36, 0, 32)
            balanceRaw := or(mload(0), sub(and(told, gt(returndatasize(), 31)), 1))
        }
    }

    /* LOSSES AND CLAIMS */

    /// @dev Writes down the ledger entry of a token and its claims by the same factor, if the vault has less than it owes. Both round
    /// down: the rest is a gift. The caller stores the entry. `asset` is the token's index, or the count of assets if the token is not in
    /// the basket.
    // {tok} = {tok} * {tok} / {tok}
    function _writeDown(uint256[] memory words, uint256 asset, address token, Holding h, uint256 balanceRaw)
        internal
        returns (Holding)
    {
        ClaimPool memory c = _claimPools[token];
        uint256 heldBefore = h.amountRaw();
        uint256 claimsBefore = c.amountRaw;
        uint256 owedRaw = heldBefore + claimsBefore; // below 2^129, and more than balanceRaw
        uint256 heldAfter = heldBefore * balanceRaw / owedRaw;
        if (claimsBefore != 0) {
            c.amountRaw = uint128(claimsBefore * balanceRaw / owedRaw); // it only shrank
            if (c.units >> 64 >= c.amountRaw) (c.units, c.amountRaw, c.generation) = (0, 0, c.generation + 1);
            _claimPools[token] = c;
        }
        emit Synced(token, heldBefore, heldAfter, claimsBefore, c.amountRaw);

        h = h.withAmount(heldAfter).withClaimed(c.amountRaw != 0);
        if (asset == words.assetCount()) return h;
        // {1} = {tok} / {tok}. Up. A loss adds at most 1e18, and 2^190 losses cannot happen.
        uint256 partE18 = RebalancePolicy.fractionUp(owedRaw - balanceRaw, owedRaw);
        uint256 dustE18 = words.policy().dustBps * (RebalancePolicy.E18 / BPS);
        uint256 sumE18 = lossE18[token] + partE18;
        lossE18[token] = sumE18;
        bool bars = sumE18 > dustE18 && !h.isBarred();
        if (bars) {
            h = h.withBarred(true);
            emit PurchasesBarred(token, sumE18);
        }
        if (bars || partE18 > dustE18) {
            _state.paused = true;
            emit RebalancePaused(address(this));
        }
        return h;
    }

    /// @dev What a holder can collect of a token {tok}, rounded down, with the holder's units and the token's pool.
    // {tok} = {unit} * {tok} / {unit}
    function _claimOf(address holder, address token)
        internal
        view
        returns (uint256 amountRaw, uint256 units, ClaimPool memory c)
    {
        c = _claimPools[token];
        Claim memory own = _claims[holder][token];
        if (own.units == 0 || own.generation != c.generation) return (0, 0, c);
        units = own.units;
        amountRaw = Math.mulDiv(units, c.amountRaw, c.units);
    }

    /* FEE */

    /// @notice All shares {share}, including fee shares that are earned and not minted yet.
    function totalSupply() public view virtual override(ERC20, IERC20) returns (uint256) {
        return super.totalSupply() + _pendingFee(_fee, super.totalSupply());
    }

    /// @dev Records the fee up to now, and that `burnt` shares will be burned. Returns the total supply before the burn.
    function _accrueFee(uint256 burnt) internal returns (uint256 supply, PackedFee f) {
        f = _fee;
        uint256 minted = super.totalSupply();
        uint256 pending = _pendingFee(f, minted);
        supply = minted + pending;
        f = f.withAccrued(pending, block.timestamp);
        // If `burnt` is more than the supply, the burn itself reverts later.
        if (burnt != 0 && burnt <= supply) f = f.lowered(supply - burnt);
        _fee = f;
    }

    /// @dev Fee shares earned and not minted {share}: those recorded, and simple interest on all shares since, rounded down. They stop
    /// growing where the total supply would pass `MAX_SUPPLY_WITH_FEES`.
    function _pendingFee(PackedFee f, uint256 minted) internal view returns (uint256) {
        unchecked {
            uint256 pending = f.pendingShares();
            // The total supply is at most 2^121, as the lines below ensure; 2^121 * 2^9 * 2^40 < 2^256.
            pending += (minted + pending) * f.streamingBps() * (block.timestamp - f.accruedAt()) / (YEAR_SECONDS * BPS);
            uint256 most = MAX_SUPPLY_WITH_FEES - minted;
            return pending < most ? pending : most;
        }
    }

    /// @dev Mints what the fee has earned. If that is less than one share, nothing changes, so the fraction is not lost.
    function _collectFee() internal returns (uint256 shares) {
        shares = _pendingFee(_fee, super.totalSupply());
        if (shares == 0) return 0;
        _fee = _fee.withAccrued(0, block.timestamp);
        _mint(feeRecipient, shares);
        emit FeeCollected(feeRecipient, shares);
    }

    /* DUE */

    /// @dev Whether a rebalance is due: a band is broken, or the calendar is open and the distance exceeds dust.
    function _isDue(State memory s, Policy memory p, Basket memory b) internal view returns (bool) {
        if (RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsE18) != RebalancePolicy.NONE) return true;
        return RebalancePolicy.isCalendarOpen(s.rebalancedAt, p.calendarSeconds, block.timestamp)
            && b.distanceE18 * BPS > p.dustBps * b.totalE18;
    }

    /// @dev Records since when a rebalance is due: now, or 0 if none is.
    function _stampDue(uint256 dueSince) internal {
        _state.dueSince = uint40(dueSince);
        emit Poked(dueSince);
    }

    /* CHECKS */

    function _checkReceiver(address receiver) internal view {
        if (receiver == address(0) || receiver == address(this)) revert BadReceiver(receiver);
    }

    function _checkAsset(uint256[] memory words, uint256 asset) internal pure {
        if (asset >= words.assetCount()) revert NoSuchAsset(asset, words.assetCount());
    }

    function _checkLength(uint256 length, uint256 expected) internal pure {
        if (length != expected) revert LengthMismatch(length, expected);
    }

    function _checkSupply(uint256 supply) internal pure {
        if (supply > MAX_SUPPLY) revert SupplyTooLarge(supply, MAX_SUPPLY);
    }

    /// @dev The ledger entry with another amount {tok}.
    function _withHeld(uint256 asset, Holding h, uint256 amountRaw) internal pure returns (Holding) {
        if (amountRaw > Holdings.MAX_RAW) revert HoldingTooLarge(asset, amountRaw, Holdings.MAX_RAW);
        return h.withAmount(amountRaw);
    }
}
