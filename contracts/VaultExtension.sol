// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { VaultBase } from "./VaultBase.sol";
import { IVaultExtension } from "./interfaces/IBasketVault.sol";
import { IConfigStore } from "./interfaces/IConfigStore.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { BoundedCall } from "./libraries/BoundedCall.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Holding } from "./libraries/Holdings.sol";
import { Lists } from "./libraries/Lists.sol";
import { PackedFee } from "./libraries/PackedFee.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultExtension
/// @notice WHAT IT IS. The seldom used part of a basket vault: its start, governance, losses, the performance fee, auctions. BasketVault
/// declares each of these functions and runs this contract's code for it as its own, on its own storage. The address of this contract is
/// part of the code of BasketVault, so nothing can replace it. No deposit, exit or rebalance reaches it. Called at its own address it does
/// nothing, because it was never initialized.
/// Roles and what each can do: see BasketVault.
contract VaultExtension is IVaultExtension, VaultBase {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// Checks and stores configurations. Shared by every vault.
    IConfigStore public immutable STORE;

    /* FACTORY */

    constructor(IConfigStore store) {
        STORE = store;
    }

    /// @inheritdoc IVaultExtension
    function initialize(Start calldata start) external {
        if (config != address(0)) revert AlreadyInitialized();
        _checkSupply(start.initialShares);
        _checkReceiver(start.receiver);
        _checkLength(start.seedAmounts.length, start.config.assets.length);

        _name = _shortString(start.name);
        _symbol = _shortString(start.symbol);
        emit Initialized(start.name, start.symbol);
        _setAuthority(start.authority);
        _useConfig(STORE.write(start.config));
        _takeSeed(start.config.assets, start.seedAmounts);
        uint256 lockedShares = _lockedShares(start.initialShares, start.seedAmounts);
        _mint(LOCKED, lockedShares);
        _mint(start.receiver, start.initialShares - lockedShares);
        emit MintedInKind(msg.sender, start.receiver, start.initialShares, start.seedAmounts);
        _setFees(start.fees, start.feeRecipient);
    }

    /// @dev Enters the seed, which has been sent, into the ledger.
    function _takeSeed(Asset[] calldata list, uint256[] calldata seedAmounts) private {
        uint256 seeded;
        uint256[] memory balances = new uint256[](seedAmounts.length);
        for (uint256 i; i < seedAmounts.length; ++i) {
            balances[i] = IERC20(list[i].token).balanceOf(address(this));
            if (balances[i] < seedAmounts[i]) revert TransferNotExact(list[i].token, seedAmounts[i], balances[i]);
            _held[i] = _withHeld(i, Holding.wrap(0), seedAmounts[i]);
            seeded |= seedAmounts[i];
            for (uint256 j; j < i; ++j) {
                // One token under two addresses has the sum of both seeds under each address.
                bool same = balances[i] == balances[j] && balances[i] == uint256(seedAmounts[i]) + seedAmounts[j];
                if (same && seedAmounts[i] != 0 && seedAmounts[j] != 0) revert SameToken(list[i].token, list[j].token);
            }
        }
        if (seeded == 0) revert NothingHeld();
    }

    /// @dev Number of shares to lock {share}, rounded up: they own at least `MINIMUM_LOCKED_RAW` of every asset of the seed. So after all
    /// holders left, the rest that rounding leaves to them is small against what they own, and the basket keeps its proportions.
    // {share} = {tok} * {share} / {tok}. Up.
    function _lockedShares(uint256 initialShares, uint256[] calldata seedAmounts)
        private
        pure
        returns (uint256 shares)
    {
        shares = MINIMUM_SHARES;
        uint256 parts = BPS / MAX_LOCKED_BPS;
        if (initialShares < shares * parts) revert SharesBelowMinimum(initialShares, shares * parts);
        for (uint256 i; i < seedAmounts.length; ++i) {
            if (seedAmounts[i] == 0) continue;
            if (seedAmounts[i] < MINIMUM_LOCKED_RAW * parts) {
                revert SeedTooSmall(i, seedAmounts[i], MINIMUM_LOCKED_RAW * parts);
            }
            shares = Math.max(shares, Math.ceilDiv(initialShares * MINIMUM_LOCKED_RAW, seedAmounts[i]));
        }
    }

    /* OWNER */

    /// @inheritdoc IVaultExtension
    function setPolicy(Policy calldata newPolicy) external restricted guarded(0, 0) {
        _changePolicy(STORE.setPolicy(config, newPolicy));
    }

    /// @inheritdoc IVaultExtension
    function setOracle(IOracleHub newOracle) external restricted guarded(0, 0) {
        _changeConfig(STORE.setOracle(config, newOracle));
    }

    /// @inheritdoc IVaultExtension
    function setFees(Fees calldata fees, address recipient) external restricted guarded(0, 0) {
        _setFees(fees, recipient);
    }

    /// @inheritdoc IVaultExtension
    function addAsset(address token, uint8 decimals, Band calldata band) external restricted guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        _changeConfig(STORE.addAsset(config, token, decimals, band));
        uint256 n = words.assetCount();
        uint256 balance = IERC20(token).balanceOf(address(this));
        for (uint256 i; i < n && balance != 0; ++i) {
            // Anybody can bring two different tokens to the same balance by a gift, but nobody to the same supply. One token has both the
            // same. A token that does not report its balance is no reason to refuse another.
            address other = words.token(i);
            bool same = _balanceRaw(other, BALANCE_GAS) == balance;
            if (same && IERC20(other).totalSupply() == IERC20(token).totalSupply()) revert SameToken(token, other);
        }
        // It may have been in the basket before. The owner knows what it lost then.
        _held[n] = Holding.wrap(0).withClaimed(_claimPools[token].amountRaw != 0);
        lossE18[token] = 0;
    }

    /// @inheritdoc IVaultExtension
    function excludeAsset(uint256 asset) external restricted guarded(0, 0) {
        _changeConfig(STORE.excludeAsset(config, asset));
    }

    /// @inheritdoc IVaultExtension
    function includeAsset(uint256 asset) external restricted guarded(0, 0) {
        _changeConfig(STORE.includeAsset(config, asset));
    }

    /// @inheritdoc IVaultExtension
    function removeAsset(uint256 asset) external restricted guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        _changeConfig(STORE.removeAsset(config, asset)); // which checks that the asset exists and is excluded
        uint256 last = words.assetCount() - 1;
        emit AssetRemoved(words.token(asset), _held[asset].amountRaw());
        _held[asset] = _held[last];
        _held[last] = Holding.wrap(0);
    }

    /// @inheritdoc IVaultExtension
    /// @dev The climb of the slippage limit and the keepers' exclusive time start again, because nobody could trade during the pause.
    function resumeRebalance() external restricted guarded(0, 0) {
        _state.paused = false;
        emit RebalanceResumed(msg.sender);
        _stampDue(0);
    }

    /// @inheritdoc IVaultExtension
    function allowPurchases(uint256 asset) external restricted guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        _checkAsset(words, asset);
        if (!_held[asset].isBarred()) revert PurchaseNotBarred(asset);
        _held[asset] = _held[asset].withBarred(false);
        lossE18[words.token(asset)] = 0;
        emit PurchasesAllowed(words.token(asset));
        _stampDue(0);
    }

    /// @inheritdoc IVaultExtension
    /// @dev Counts as a trade: otherwise borrowed tokens could mint, take their part of the gift, and be returned.
    function absorb(uint256 asset, uint256 amountRaw) external restricted guarded(FLOW, TRADE) {
        (uint256 balance, uint256 owed) = _balanceAndOwed(asset);
        uint256 gift = Math.saturatingSub(balance, owed);
        if (amountRaw > gift) revert GiftTooSmall(asset, amountRaw, gift);
        Holding h = _held[asset];
        _held[asset] = _withHeld(asset, h, h.amountRaw() + amountRaw);
        emit Absorbed(asset, amountRaw);
    }

    /// @inheritdoc IVaultExtension
    function startAuction(uint256 sell, uint256 buy, Auction calldata terms) external restricted guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        (address sold, address bought) = _pair(words, sell, buy);
        Auction memory a = terms;
        if (
            sell == buy || a.lotRaw == 0 || a.floorPayRaw == 0 || a.startPayRaw < a.floorPayRaw || a.decaySeconds == 0
                || a.endsAt <= block.timestamp + UNPRICED_SECONDS
        ) revert BadAuction(sell, buy);
        if (_isPriced(words, sell, buy)) revert OracleIsSound(sell, buy);
        a.startedAt = uint40(block.timestamp);
        a.unpricedAt = 0; // so it is unpriced from now on
        _seeUnpriced(a);
        _auctions[sold][bought] = a;
        emit AuctionStarted(sold, bought, a);
    }

    /// @dev Records that a pair is unpriced. After a gap without such a record, the six hours and the fall of the price start again.
    function _seeUnpriced(Auction memory a) private view {
        if (block.timestamp > uint256(a.unpricedAt) + UNPRICED_GAP_SECONDS) {
            a.unpricedSince = uint40(block.timestamp);
            a.clockE6 = uint64((block.timestamp + UNPRICED_SECONDS) * 1e6);
        }
        a.unpricedAt = uint40(block.timestamp);
    }

    /// @dev The vault's balance of an asset, and what the vault owes of it: its ledger entry and all open claims {tok}.
    function _balanceAndOwed(uint256 asset) private view returns (uint256 balance, uint256 owed) {
        uint256[] memory words = ConfigCode.load(config);
        _checkAsset(words, asset);
        address token = words.token(asset);
        return (IERC20(token).balanceOf(address(this)), _owedRaw(token, _held[asset]));
    }

    /* CURATOR */

    /// @inheritdoc IVaultExtension
    function setTargets(uint256[] calldata targetsE18, uint256 glideSeconds) external restricted guarded(0, 0) {
        _changeConfig(STORE.setTargets(config, targetsE18, glideSeconds));
    }

    /// @inheritdoc IVaultExtension
    function setBands(Band[] calldata bands) external restricted guarded(0, 0) {
        _changeConfig(STORE.setBands(config, bands));
    }

    /* GUARDIAN */

    /// @inheritdoc IVaultExtension
    function pauseRebalance() external restricted guarded(0, 0) {
        _state.paused = true;
        emit RebalancePaused(msg.sender);
    }

    /// @inheritdoc IVaultExtension
    function tightenPolicy(Policy calldata newPolicy) external restricted guarded(0, 0) {
        _changePolicy(STORE.tightenPolicy(config, newPolicy));
    }

    /// @inheritdoc IVaultExtension
    function lowerFees(Fees calldata fees) external restricted guarded(0, 0) {
        PackedFee f = _fee;
        _checkFee(fees.streamingBps, f.streamingBps());
        _checkFee(fees.entryBps, f.entryBps());
        _checkFee(fees.exitBps, f.exitBps());
        _checkFee(fees.performanceBps, _performance.nextBps);
        _setFees(fees, feeRecipient);
    }

    function _checkFee(uint256 feeBps, uint256 currentBps) private pure {
        if (feeBps > currentBps) revert FeeNotLower(feeBps, currentBps);
    }

    /// @inheritdoc IVaultExtension
    function stopAuction(uint256 sell, uint256 buy) external restricted guarded(0, 0) {
        (address sold, address bought) = _pair(ConfigCode.load(config), sell, buy);
        delete _auctions[sold][bought];
        emit AuctionStopped(sold, bought);
    }

    /* ANYONE */

    /// @inheritdoc IVaultExtension
    function claim(address holder, address token, address receiver, uint256 maxAmountRaw)
        external
        guarded(0, 0)
        returns (uint256 amountRaw)
    {
        _checkReceiver(receiver);
        if (msg.sender != holder && receiver != holder) revert NotTheClaimant(msg.sender, holder);
        _writeDownClaims(token);
        (uint256 whole, uint256 own, ClaimPool memory c) = _claimOf(holder, token);
        amountRaw = Math.min(whole, maxAmountRaw);
        if (amountRaw == 0) revert NothingToClaim(holder, token);
        // The whole amount ends the claim. For a part, the units round up.
        uint256 units = amountRaw == whole ? own : Math.mulDiv(amountRaw, c.units, c.amountRaw, Math.Rounding.Ceil);
        _claims[holder][token].units = uint192(own - units);
        // A holder's amount and units are at most those of the pool.
        (c.amountRaw, c.units) = (c.amountRaw - uint128(amountRaw), c.units - uint192(units));
        _claimPools[token] = c;
        // The token gets all remaining gas: the caller pays for it, and a token that needs more than a redemption may spend is not lost.
        if (!IERC20(token).trySafeTransfer(receiver, amountRaw)) revert ClaimFailed(holder, token, amountRaw);
        emit Claimed(holder, token, receiver, amountRaw, units);
    }

    /// @dev Writes a token's loss down before a claim on it is paid, also after the token left the basket.
    function _writeDownClaims(address token) private {
        uint256[] memory words = ConfigCode.load(config);
        uint256 asset;
        while (asset < words.assetCount() && words.token(asset) != token) ++asset;
        Holding h = Holding.wrap(0).withClaimed(true);
        if (asset < words.assetCount()) h = _held[asset];
        uint256 balance = _balanceRaw(token, gasleft());
        if (balance >= _owedRaw(token, h)) return;
        h = _writeDown(words, asset, token, h, balance);
        if (asset < words.assetCount()) _held[asset] = h;
    }

    /// @inheritdoc IVaultExtension
    function sync(uint256 asset) external guarded(0, 0) returns (uint256 lostRaw) {
        (uint256 balance, uint256 owed) = _balanceAndOwed(asset);
        if (balance >= owed) revert NothingLost(asset, balance, owed);
        uint256[] memory words = ConfigCode.load(config);
        address token = words.token(asset);
        Holding h = _writeDown(words, asset, token, _held[asset], balance);
        _held[asset] = h;
        return owed - _owedRaw(token, h);
    }

    /// @inheritdoc IVaultExtension
    function collectPerformanceFee() external guarded(0, 0) returns (uint256 shares) {
        Performance memory f = _performance;
        uint256 until = f.settledAt + PERFORMANCE_PERIOD_SECONDS;
        if (block.timestamp < until) revert SettledTooRecently(until);
        (uint256 supply,) = _accrueFee(0);
        (uint256 valueE18, uint256 highE18) = _shareValuesE18(supply);
        if (valueE18 > f.highWaterE18) {
            uint256 chargedE18 = f.chargedBps * (valueE18 - f.highWaterE18);
            // The fee is on shares that existed all the time: later ones gained less, and nobody owns the locked ones.
            // {usd18 * bps} = {usd18 * bps} * {share} / {share}
            chargedE18 = Math.mulDiv(chargedE18, _chargeableShares(), supply);
            // Down. The new shares are worth `chargedE18` / (value * BPS) of the basket.
            shares = Math.mulDiv(supply, chargedE18, valueE18 * BPS - chargedE18);
        }
        f.chargedBps = f.nextBps;
        _noteMark(f, highE18, supply + shares);
        if (shares != 0) {
            if (supply + shares > MAX_SUPPLY_WITH_FEES) revert SupplyTooLarge(supply + shares, MAX_SUPPLY_WITH_FEES);
            _mint(feeRecipient, shares);
        }
        emit PerformanceFeeCollected(feeRecipient, shares, valueE18, f.highWaterE18);
    }

    /// @dev Shares that existed all the time since the last settlement, less the locked ones {share}; rounded down.
    function _chargeableShares() private view returns (uint256) {
        return Math.saturatingSub(_fee.leastShares(), balanceOf(LOCKED));
    }

    /// @dev Value of a whole share at the lower prices, rounded down, and at the higher prices, rounded up {usd18}. Refused if an asset has
    /// no sound price or is excluded: without its value, a share would seem to gain once it is included again.
    // {usd18/whole share} = {usd18} * {share/whole share} / {share}
    function _shareValuesE18(uint256 supply) private view returns (uint256 lowE18, uint256 highE18) {
        uint256[] memory words = ConfigCode.load(config);
        uint256 n = words.assetCount();
        address[] memory tokens = new address[](n);
        for (uint256 i; i < n; ++i) {
            if (words.excluded(i)) revert IConfigStore.AssetExcluded(i);
            tokens[i] = words.token(i);
        }
        uint256[] memory prices = _askPrices(words.oracle(), tokens);
        for (uint256 i; i < n; ++i) {
            _checkPrice(prices, i);
            uint256 unit = ConfigCode.unitOf(words.assetWord(i));
            uint256 amountRaw = _held[i].amountRaw();
            // Each value is below 2^248, and there are at most 16.
            lowE18 += RebalancePolicy.valueDown(amountRaw, prices.at(4 * i + LO), unit);
            highE18 += RebalancePolicy.valueUp(amountRaw, prices.at(4 * i + HI), unit);
        }
        return (Math.mulDiv(lowE18, 1e18, supply), Math.mulDiv(highE18, 1e18, supply, Math.Rounding.Ceil));
    }

    /// @dev Begins a period of the performance fee: the mark never falls, and gains of all present shares may be charged.
    function _noteMark(Performance memory f, uint256 valueE18, uint256 supply) private {
        if (valueE18 > f.highWaterE18) f.highWaterE18 = valueE18.toUint128();
        f.settledAt = uint40(block.timestamp);
        _performance = f;
        _fee = _fee.withLeast(supply, Math.log2(supply) + 1);
    }

    /// @inheritdoc IVaultExtension
    function bid(uint256 sell, uint256 buy, uint256 amountRaw, uint256 maxPayRaw)
        external
        guarded(FLOW, TRADE)
        returns (uint256 payRaw)
    {
        if (_state.paused) revert RebalanceIsPaused();
        uint256[] memory words = ConfigCode.load(config);
        (address sold, address bought) = _pair(words, sell, buy);
        Auction memory a = _auctions[sold][bought];
        if (block.timestamp >= a.endsAt) revert NoAuction(sell, buy);
        if (amountRaw == 0 || amountRaw > a.lotRaw) revert LotTooLarge(amountRaw, a.lotRaw);
        uint256 changedAt = _changedAt(words, sold, bought);
        if (changedAt > a.startedAt) revert AuctionTermsVoid(sell, buy, a.startedAt, changedAt);
        if (_isPriced(words, sell, buy)) revert OracleIsSound(sell, buy);
        _seeUnpriced(a);
        uint256 opensAt = a.unpricedSince + UNPRICED_SECONDS;
        if (block.timestamp < opensAt) revert AuctionNotOpen(sell, buy, opensAt);
        Holding soldBefore = _checkBacked(sell, sold);
        Holding boughtBefore = _checkBacked(buy, bought);
        if (boughtBefore.isBarred()) revert PurchaseBarred(buy);

        uint256 elapsedE6 = Math.min(_nowE6() - a.clockE6, uint256(a.decaySeconds) * 1e6);
        uint256 lotPayRaw =
            RebalancePolicy.auctionPayRaw(a.startPayRaw, a.floorPayRaw, uint256(a.decaySeconds) * 1e6, elapsedE6);
        // {bought tok} = {bought tok} * {sold tok} / {sold tok}. Up: existing holders keep the dust.
        payRaw = Math.mulDiv(lotPayRaw, amountRaw, a.lotRaw, Math.Rounding.Ceil);
        if (payRaw > maxPayRaw) revert PayAboveMaximum(payRaw, maxPayRaw);

        // {tok} = {tok/whole share} * {share} / {share/whole share}
        uint256 keepRaw = Math.mulDiv(a.keepRaw, totalSupply(), 1e18, Math.Rounding.Ceil);
        uint256 fillRaw = Math.mulDiv(a.fillRaw, totalSupply(), 1e18);
        uint256 soldHeld = Math.saturatingSub(soldBefore.amountRaw(), amountRaw);
        uint256 boughtHeld = boughtBefore.amountRaw() + payRaw;
        if (amountRaw > soldBefore.amountRaw() || soldHeld < keepRaw) revert SoldBelowKeep(soldHeld, keepRaw);
        if (boughtHeld > fillRaw) revert BoughtAboveFill(boughtHeld, fillRaw);
        _held[sell] = soldBefore.withAmount(soldHeld);
        _held[buy] = _withHeld(buy, boughtBefore, boughtHeld);
        // A whole lot restores the start price; a part of a lot restores that part of the fall. The rest of the fall rounds down.
        elapsedE6 = elapsedE6 * (a.lotRaw - amountRaw) / a.lotRaw;
        a.clockE6 = _nowE6() - uint64(elapsedE6); // at most the time now
        _auctions[sold][bought] = a;

        _pull(buy, bought, payRaw, 0); // `_checkBacked` has checked what is owed
        IERC20(sold).safeTransfer(msg.sender, amountRaw);
        emit AuctionFilled(sold, bought, msg.sender, amountRaw, payRaw);
    }

    /// @inheritdoc IVaultExtension
    function pokeAuction(uint256 sell, uint256 buy) external guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        (address sold, address bought) = _pair(words, sell, buy);
        Auction memory a = _auctions[sold][bought];
        if (block.timestamp >= a.endsAt) revert NoAuction(sell, buy);
        if (_changedAt(words, sold, bought) > a.startedAt || _isPriced(words, sell, buy)) {
            delete _auctions[sold][bought];
            emit AuctionStopped(sold, bought);
            return;
        }
        _seeUnpriced(a);
        _auctions[sold][bought] = a;
        emit AuctionPoked(sold, bought, a.unpricedSince, a.unpricedSince + UNPRICED_SECONDS);
    }

    /// @dev The ledger entry of an asset. Reverts if the vault has less of it than it owes.
    function _checkBacked(uint256 asset, address token) private view returns (Holding h) {
        h = _held[asset];
        uint256 balance = IERC20(token).balanceOf(address(this));
        if (balance < _owedRaw(token, h)) revert LossNotWrittenDown(asset, balance, _owedRaw(token, h));
    }

    /// @dev When a source of either price was last changed (unix time); 0 from an oracle that does not report it. A guardian may change
    /// sources at once, and must not open an auction by that.
    function _changedAt(uint256[] memory words, address sold, address bought) private view returns (uint256) {
        return Math.max(_changedAt(words.oracle(), sold), _changedAt(words.oracle(), bought));
    }

    function _changedAt(IOracleHub hub, address token) private view returns (uint256) {
        uint256[] memory answer = new uint256[](1);
        // Bounded: an oracle that burns its gas, answers less than a word or has no code is dead, and stops no bid. A caller that starves
        // it of gas gains nothing: `_isPriced`, which follows, reverts with too little gas.
        return BoundedCall.read(address(hub), abi.encodeCall(IOracleHub.changedAt, (token)), answer) ? answer[0] : 0;
    }

    /// @dev Microseconds of unix time: even a million bids a second cannot keep the price from falling.
    function _nowE6() private view returns (uint64) {
        return uint64(block.timestamp * 1e6);
    }

    /// @dev Whether both assets are included and soundly priced. The oracle gets all the gas that it may need: otherwise a caller could
    /// make it seem dead.
    function _isPriced(uint256[] memory words, uint256 sell, uint256 buy) private view returns (bool) {
        if (words.excluded(sell) || words.excluded(buy)) return false;
        uint256 needed = ORACLE_GAS * 64 / 63 + 50_000;
        if (gasleft() < needed) revert NotEnoughGas(gasleft(), needed);
        address[] memory tokens = new address[](2);
        (tokens[0], tokens[1]) = (words.token(sell), words.token(buy));
        (bool answered, bytes memory answer) =
            address(words.oracle()).staticcall{ gas: ORACLE_GAS }(abi.encodeCall(IOracleHub.prices, (tokens)));
        // Offset, length, and four words per price. The fourth word is the fault.
        if (!answered || answer.length != 320) return false;
        uint256 faults;
        assembly ("memory-safe") {
            faults := or(mload(add(answer, 192)), mload(add(answer, 320)))
        }
        return faults == 0;
    }

    /* FEES */

    function _setFees(Fees calldata fees, address recipient) private {
        _checkFeeRange(fees.streamingBps, MAX_STREAMING_BPS);
        _checkFeeRange(fees.performanceBps, MAX_PERFORMANCE_BPS);
        _checkFeeRange(fees.entryBps, MAX_FLOW_BPS);
        _checkFeeRange(fees.exitBps, MAX_FLOW_BPS);
        // The vault could never spend shares that it owns itself.
        if (recipient == address(0) || recipient == address(this)) revert BadFeeRecipient(recipient);
        _collectFee(); // what was earned so far belongs to the old recipient
        (uint256 supply, PackedFee packed) = _accrueFee(0);
        _fee = packed.withRates(fees);
        Performance memory f = _performance;
        bool begins = f.nextBps == 0 && fees.performanceBps != 0;
        if (begins || fees.performanceBps < f.chargedBps) f.chargedBps = fees.performanceBps;
        f.nextBps = fees.performanceBps;
        if (begins) {
            // Earlier gains are not charged.
            (, uint256 highE18) = _shareValuesE18(supply);
            _noteMark(f, highE18, supply);
            emit PerformanceFeeBegun(f.highWaterE18);
        } else {
            _performance = f;
        }
        feeRecipient = recipient;
        emit FeesSet(fees, recipient);
    }

    function _checkFeeRange(uint256 feeBps, uint256 maximum) private pure {
        if (feeBps > maximum) revert FeeOutOfRange(feeBps, maximum);
    }

    /* CONFIGURATION */

    function _useConfig(address pointer) private {
        config = pointer;
        emit ConfigSet(pointer);
    }

    /// @dev A change begins a new epoch: a rebalance in flight was meant for other assets, targets or limits. A rebalance that was due
    /// before counts as due only when it is seen due under the new configuration.
    function _changeConfig(address pointer) private {
        _useConfig(pointer);
        _state.epoch += 1;
        _stampDue(0);
    }

    function _changePolicy(address pointer) private {
        Policy memory old = ConfigCode.load(config).policy();
        Policy memory p = ConfigCode.load(pointer).policy();
        _changeConfig(pointer);
        State memory s = _state;
        uint256 elapsed = block.timestamp - s.rebalancedAt;
        s.lossLevelE18 = _fit(
            RebalancePolicy.carryLevel(
                s.lossLevelE18, old.lossBudgetBps, old.lossPeriodSeconds, p.lossBudgetBps, p.lossPeriodSeconds, elapsed
            )
        );
        s.turnoverLevelE18 = _fit(
            RebalancePolicy.carryLevel(
                s.turnoverLevelE18,
                old.turnoverBudgetBps,
                old.turnoverPeriodSeconds,
                p.turnoverBudgetBps,
                p.turnoverPeriodSeconds,
                elapsed
            )
        );
        _state = s;
        emit LevelsCarried(s.lossLevelE18, s.turnoverLevelE18);
    }

    /// @dev A carried level above 18 times the basket is cut. Only a much looser policy can bring it there, and that had to wait.
    function _fit(uint256 levelE18) private pure returns (uint64) {
        return uint64(Math.min(levelE18, type(uint64).max));
    }

    /// @dev The tokens of two assets of the basket.
    function _pair(uint256[] memory words, uint256 sell, uint256 buy) private pure returns (address, address) {
        _checkAsset(words, sell);
        _checkAsset(words, buy);
        return (words.token(sell), words.token(buy));
    }

    function _shortString(string calldata s) private pure returns (ShortString) {
        if (bytes(s).length == 0 || bytes(s).length > 31) revert BadName(s);
        return ShortStrings.toShortString(s);
    }
}
