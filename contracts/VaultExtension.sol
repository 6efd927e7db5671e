// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { VaultBase } from "./VaultBase.sol";
import { IVaultExtension } from "./interfaces/IBasketVault.sol";
import { IConfigStore } from "./interfaces/IConfigStore.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Lists } from "./libraries/Lists.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultExtension
/// @notice WHAT IT IS. The part of a basket vault that runs seldom: its start, governance, the performance fee, auctions. BasketVault
/// passes every call it does not know to this contract and runs it as its own code, on its own storage; which contract that is stands
/// in the code of BasketVault, so nothing can replace it. Called at its own address it does nothing: it was never initialized.
/// Roles and what each can do: see BasketVault.
contract VaultExtension is IVaultExtension, VaultBase {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using SafeCast for uint256;
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    /// Checks and stores configurations. Shared by every vault.
    IConfigStore public immutable STORE;

    /* FACTORY */

    constructor(IConfigStore store) {
        STORE = store;
    }

    /// @inheritdoc IVaultExtension
    function initialize(
        string calldata name_,
        string calldata symbol_,
        address authority_,
        Config calldata config_,
        Fees calldata fees,
        address feeRecipient_,
        uint256[] calldata seedAmounts,
        uint256 initialShares,
        address receiver
    ) external {
        if (config != address(0)) revert AlreadyInitialized();
        if (initialShares <= MINIMUM_SHARES) revert SharesBelowMinimum(initialShares, MINIMUM_SHARES + 1);
        _checkSupply(initialShares);
        _checkReceiver(receiver);

        _name = _shortString(name_);
        _symbol = _shortString(symbol_);
        emit Initialized(name_, symbol_);
        _setAuthority(authority_);
        _useConfig(STORE.write(config_));
        _setFees(fees, feeRecipient_);

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

    /// @inheritdoc IVaultExtension
    function setPolicy(Policy calldata) external restricted nonReentrant {
        _changePolicy();
    }

    /// @inheritdoc IVaultExtension
    function setOracle(IOracleHub) external restricted nonReentrant {
        _changeConfig();
    }

    /// @inheritdoc IVaultExtension
    function setFees(Fees calldata fees, address recipient) external restricted nonReentrant {
        _setFees(fees, recipient);
    }

    /// @inheritdoc IVaultExtension
    function addAsset(address, uint8, Band calldata) external restricted nonReentrant {
        _changeConfig();
    }

    /// @inheritdoc IVaultExtension
    function excludeAsset(uint256) external restricted nonReentrant {
        _changeBasket();
    }

    /// @inheritdoc IVaultExtension
    function includeAsset(uint256) external restricted nonReentrant {
        _changeBasket();
    }

    /// @inheritdoc IVaultExtension
    function removeAsset(uint256 asset) external restricted nonReentrant {
        uint256[] memory words = ConfigCode.load(config);
        _changeConfig(); // which knows that the asset exists and is excluded
        uint256 last = words.assetCount() - 1;
        emit AssetRemoved(words.token(asset), _held[asset]);
        _held[asset] = _held[last];
        _held[last] = 0;
    }

    /// @inheritdoc IVaultExtension
    function resumeRebalance() external restricted nonReentrant {
        _state.paused = false;
        emit RebalanceResumed(msg.sender);
    }

    /// @inheritdoc IVaultExtension
    function absorb(uint256 asset, uint256 amountRaw) external restricted nonReentrant {
        (uint256 balance, uint256 owed) = _balanceAndOwed(asset);
        uint256 gift = Math.saturatingSub(balance, owed);
        if (amountRaw > gift) revert GiftTooSmall(asset, amountRaw, gift);
        _held[asset] = _toHeld(asset, _held[asset] + amountRaw);
        emit Absorbed(asset, amountRaw);
    }

    /// @inheritdoc IVaultExtension
    function startAuction(uint256 sell, uint256 buy, Auction calldata terms) external restricted nonReentrant {
        (address sold, address bought) = _pair(ConfigCode.load(config), sell, buy);
        Auction memory a = terms;
        if (
            sell == buy || a.lotRaw == 0 || a.floorPayRaw == 0 || a.startPayRaw < a.floorPayRaw || a.decaySeconds == 0
                || a.endsAt <= block.timestamp
        ) revert BadAuction(sell, buy);
        a.clockE6 = _nowE6();
        _auctions[sold][bought] = a;
        emit AuctionStarted(sold, bought, a);
    }

    /// @dev The vault's balance of an asset, and what it owes: its ledger and all open claims {tok}.
    function _balanceAndOwed(uint256 asset) private view returns (uint256 balance, uint256 owed) {
        uint256[] memory words = ConfigCode.load(config);
        _checkAsset(words, asset);
        address token = words.token(asset);
        return (IERC20(token).balanceOf(address(this)), _held[asset] + totalClaimable[token]);
    }

    /* CURATOR */

    /// @inheritdoc IVaultExtension
    function setTargets(uint256[] calldata, uint256) external restricted nonReentrant {
        _changeBasket();
    }

    /// @inheritdoc IVaultExtension
    function setBands(Band[] calldata) external restricted nonReentrant {
        _changeBasket();
    }

    /* GUARDIAN */

    /// @inheritdoc IVaultExtension
    function pauseRebalance() external restricted nonReentrant {
        _state.paused = true;
        emit RebalancePaused(msg.sender);
    }

    /// @inheritdoc IVaultExtension
    function tightenPolicy(Policy calldata) external restricted nonReentrant {
        _changePolicy();
    }

    /// @inheritdoc IVaultExtension
    function lowerFees(Fees calldata fees) external restricted nonReentrant {
        Fee memory f = _fee;
        _checkFee(fees.streamingBps, f.streamingBps);
        _checkFee(fees.entryBps, f.entryBps);
        _checkFee(fees.exitBps, f.exitBps);
        _checkFee(fees.performanceBps, _performance.nextBps);
        _setFees(fees, feeRecipient);
    }

    function _checkFee(uint256 feeBps, uint256 currentBps) private pure {
        if (feeBps > currentBps) revert FeeNotLower(feeBps, currentBps);
    }

    /// @inheritdoc IVaultExtension
    function stopAuction(uint256 sell, uint256 buy) external restricted nonReentrant {
        (address sold, address bought) = _pair(ConfigCode.load(config), sell, buy);
        delete _auctions[sold][bought];
        emit AuctionStopped(sold, bought);
    }

    /* ANYONE */

    /// @inheritdoc IVaultExtension
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

    /// @inheritdoc IVaultExtension
    function collectPerformanceFee() external nonReentrant returns (uint256 shares) {
        Performance memory f = _performance;
        uint256 until = f.settledAt + PERFORMANCE_PERIOD_SECONDS;
        if (block.timestamp < until) revert SettledTooRecently(until);
        Basket memory b = _readBasket(ConfigCode.load(config), 0);
        uint256[] memory losE18 = Lists.uints(b.held.length);
        for (uint256 i; i < losE18.length; ++i) {
            // Without its value a share would seem to gain once it is included again.
            if (b.words.excluded(i)) revert IConfigStore.AssetExcluded(i);
            losE18.set(i, b.prices.at(4 * i + LO));
        }
        (, uint256 totalE18) = RebalancePolicy.weigh(b.held, losE18, b.units);

        (uint256 supply,) = _accrueFee();
        // {usd18/whole share} = {usd18} * {share/whole share} / {share}
        uint256 valueE18 = Math.mulDiv(totalE18, 1e18, supply);
        if (f.highWaterE18 != 0 && valueE18 > f.highWaterE18) {
            uint256 charged = f.chargedBps * (valueE18 - f.highWaterE18);
            // Down. These shares of the new supply are worth `charged` / (value * BPS) of the basket.
            shares = Math.mulDiv(supply, charged, valueE18 * BPS - charged);
        }
        if (valueE18 > f.highWaterE18) f.highWaterE18 = valueE18.toUint128();
        f.chargedBps = f.nextBps;
        f.settledAt = uint40(block.timestamp);
        _performance = f;
        if (shares != 0) _mint(feeRecipient, shares);
        emit PerformanceFeeCollected(feeRecipient, shares, valueE18);
    }

    /// @inheritdoc IVaultExtension
    function bid(uint256 sell, uint256 buy, uint256 amountRaw, uint256 maxPayRaw)
        external
        nonReentrant
        returns (uint256 payRaw)
    {
        if (FLOWED.asBoolean().tload()) revert SameTransaction();
        TRADED.asBoolean().tstore(true);
        if (_state.paused) revert RebalanceIsPaused();
        uint256[] memory words = ConfigCode.load(config);
        (address sold, address bought) = _pair(words, sell, buy);
        Auction memory a = _auctions[sold][bought];
        if (block.timestamp >= a.endsAt) revert NoAuction(sell, buy);
        if (amountRaw == 0 || amountRaw > a.lotRaw) revert LotTooLarge(amountRaw, a.lotRaw);
        if (!words.excluded(sell) && !words.excluded(buy) && _isPriced(words.oracle(), sold, bought)) {
            revert OracleIsSound(sell, buy);
        }

        uint256 elapsedE6 = Math.min(_nowE6() - a.clockE6, uint256(a.decaySeconds) * 1e6);
        uint256 lotPayRaw =
            RebalancePolicy.auctionPayRaw(a.startPayRaw, a.floorPayRaw, uint256(a.decaySeconds) * 1e6, elapsedE6);
        // {bought tok} = {bought tok} * {sold tok} / {sold tok}. Up: those who stay keep the dust.
        payRaw = Math.mulDiv(lotPayRaw, amountRaw, a.lotRaw, Math.Rounding.Ceil);
        if (payRaw > maxPayRaw) revert PayAboveMaximum(payRaw, maxPayRaw);

        // {tok} = {tok/whole share} * {share} / {share/whole share}
        uint256 keepRaw = Math.mulDiv(a.keepRaw, totalSupply(), 1e18, Math.Rounding.Ceil);
        uint256 fillRaw = Math.mulDiv(a.fillRaw, totalSupply(), 1e18);
        uint256 soldHeld = Math.saturatingSub(_held[sell], amountRaw);
        uint256 boughtHeld = _held[buy] + payRaw;
        if (amountRaw > _held[sell] || soldHeld < keepRaw) revert SoldBelowKeep(soldHeld, keepRaw);
        if (boughtHeld > fillRaw) revert BoughtAboveFill(boughtHeld, fillRaw);
        _held[sell] = uint128(soldHeld); // it only shrank
        _held[buy] = _toHeld(buy, boughtHeld);
        // A whole lot starts the price anew, a part of one takes that part of its fall back. The rest of the fall rounds down.
        elapsedE6 = elapsedE6 * (a.lotRaw - amountRaw) / a.lotRaw;
        _auctions[sold][bought].clockE6 = _nowE6() - uint64(elapsedE6); // at most the time now

        _pull(bought, payRaw);
        IERC20(sold).safeTransfer(msg.sender, amountRaw);
        emit AuctionFilled(sold, bought, msg.sender, amountRaw, payRaw);
    }

    /// @dev Microseconds of unix time, so that not even a million bids a second can hold a price up.
    function _nowE6() private view returns (uint64) {
        return uint64(block.timestamp * 1e6);
    }

    /// @dev Whether the oracle prices both soundly. It gets all the gas it may need, or the caller could make it seem dead.
    function _isPriced(IOracleHub hub, address sold, address bought) private view returns (bool) {
        uint256 needed = ORACLE_GAS * 64 / 63 + 50_000;
        if (gasleft() < needed) revert NotEnoughGas(gasleft(), needed);
        address[] memory tokens = new address[](2);
        (tokens[0], tokens[1]) = (sold, bought);
        (bool answered, bytes memory answer) =
            address(hub).staticcall{ gas: ORACLE_GAS }(abi.encodeCall(IOracleHub.prices, (tokens)));
        // Offset, length, and four words a price, of which the last is the fault.
        if (!answered || answer.length != 320) return false;
        uint256 faults;
        assembly ("memory-safe") {
            faults := or(mload(add(answer, 192)), mload(add(answer, 320)))
        }
        return faults == 0;
    }

    /* VIEWS */

    /// @inheritdoc IVaultExtension
    function assets() external view returns (Asset[] memory list) {
        uint256[] memory words = ConfigCode.load(config);
        list = new Asset[](words.assetCount());
        for (uint256 i; i < list.length; ++i) {
            list[i] = words.asset(i);
        }
    }

    /// @inheritdoc IVaultExtension
    function policy() external view returns (Policy memory) {
        return ConfigCode.load(config).policy();
    }

    /// @inheritdoc IVaultExtension
    function oracle() external view returns (IOracleHub) {
        return ConfigCode.load(config).oracle();
    }

    /// @inheritdoc IVaultExtension
    function performance() external view returns (Performance memory) {
        return _performance;
    }

    /// @inheritdoc IVaultExtension
    function auctions(address sold, address bought) external view returns (Auction memory) {
        return _auctions[sold][bought];
    }

    /* FEES */

    function _setFees(Fees calldata fees, address recipient) private {
        _checkFeeRange(fees.streamingBps, MAX_STREAMING_BPS);
        _checkFeeRange(fees.performanceBps, MAX_PERFORMANCE_BPS);
        _checkFeeRange(fees.entryBps, MAX_FLOW_BPS);
        _checkFeeRange(fees.exitBps, MAX_FLOW_BPS);
        if (recipient == address(0)) revert BadFeeRecipient(recipient);
        _collectFee(); // what was earned belongs to whom it was earned for
        _fee = Fee(_fee.pendingShares, uint40(block.timestamp), fees.streamingBps, fees.entryBps, fees.exitBps);
        Performance memory f = _performance;
        if (fees.performanceBps < f.chargedBps) f.chargedBps = fees.performanceBps;
        f.nextBps = fees.performanceBps;
        _performance = f;
        feeRecipient = recipient;
        emit FeesSet(fees, recipient);
    }

    function _checkFeeRange(uint256 feeBps, uint256 maximum) private pure {
        if (feeBps > maximum) revert FeeOutOfRange(feeBps, maximum);
    }

    /* CONFIGURATION */

    /// @dev Passes this very call on to the store, with where the present configuration is behind it, and uses what comes back.
    function _changeConfig() private {
        bytes memory answer = Address.functionCall(address(STORE), abi.encodePacked(msg.data, config));
        _useConfig(abi.decode(answer, (address)));
    }

    function _useConfig(address pointer) private {
        config = pointer;
        emit ConfigSet(pointer);
    }

    /// @dev The climb of the slippage limit belongs to a break of the old targets and bands.
    function _changeBasket() private {
        _changeConfig();
        _stampBroken(0);
    }

    function _changePolicy() private {
        Policy memory old = ConfigCode.load(config).policy();
        _changeConfig();
        Policy memory p = ConfigCode.load(config).policy();
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

    /// @dev A carried level above 18 times the basket is cut: only a far looser policy could bring it there, and that has waited.
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
