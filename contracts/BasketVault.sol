// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { VaultBase } from "./VaultBase.sol";
import { IBasketVault, IVaultCore, IVaultExtension } from "./interfaces/IBasketVault.sol";
import { IExecutor } from "./interfaces/IExecutor.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Holding, Holdings } from "./libraries/Holdings.sol";
import { Lists } from "./libraries/Lists.sol";
import { PackedFee } from "./libraries/PackedFee.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title BasketVault
/// @notice WHAT IT IS. A basket of up to 16 tokens with target weights, and an ERC-20 share. A share is a claim on the same part of every
/// token. Holders mint and redeem shares in kind. A keeper may trade only toward the targets, only when a weight has left its band, and
/// only at a price that the vault measures itself.
///
/// LIFECYCLE. initialize (seed, minimum locked) -> mintInKind / redeemInKind at any time -> band breaks -> poke or rebalance -> ...
///
/// ROLES, AND THE WORST EACH CAN DO. Roles live in an OpenZeppelin AccessManager, with a delay per function and a guardian's cancel.
/// - Owner: sets policy, oracle and fees, adds, excludes and removes assets, absorbs gifts, starts auctions. Worst: sets an oracle that
///   lies. That waits in the timelock, and holders can leave.
/// - Curator: sets targets and bands. Worst: makes the vault trade back and forth, at a loss within the budgets.
/// - Guardian: stops rebalances and auctions, tightens the policy, lowers fees. Worst: weights drift, and the fee recipient is not paid.
/// - Keeper: chooses when and by which route. Worst, with any executor: holders lose `lossBudget`, refilled once a period, measured against
///   the oracle. It can do nothing while no band is broken and no calendar period is open.
/// - Anyone: mint, redeem, claim, sync, poke, collect fees, bid. Anyone may also rebalance once the policy opens it, within the same
///   limits.
///
/// LOSSES. If a token takes balance away, its ledger entry and the open claims on it are written down by the same factor. `sync` does it,
/// or the redemption or claim that comes first. Until then no deposit and no trade of that token passes. After a loss of more than dust,
/// trading pauses and the token is not bought until the owner allows it.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. The oracle is right within its error. Tokens do not lie about balances.
/// WE ASSUME, OR IT STOPS. Feeds are fresh. An operator runs a keeper. Tokens can be moved. If a token cannot be moved, its part becomes a
/// claim and everything else goes on.
///
/// DELIBERATELY NOT DONE. The vault approves nobody, calls no router, and reads no price on mint or redeem. Its code cannot be upgraded.
/// Tokens that arrive without a deposit change no share's value.
///
/// WHEN THE ORACLE IS GONE for good, or a feed or a token is: the owner excludes the asset, sets another oracle, or starts an auction on
/// explicit terms: a floor for each pair, small lots, and the amount of each token per share to reach. The last known price is never used.
///
/// TWO CONTRACTS, ONE ADDRESS. VaultExtension holds the functions that are called seldom and runs on this storage. They are declared here
/// as well, so a vault has one ABI. Redemptions never reach the extension.
///
/// HOW TO STOP IT. `pauseRebalance` stops trading at once. Nothing stops `redeemInKind`.
contract BasketVault is IBasketVault, VaultBase, ERC20Permit {
    using ConfigCode for uint256[];
    using Holdings for Holding[16];
    using Holdings for uint256;
    using Lists for uint256[];
    using Lists for int256[];
    using Lists for address[];
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.Uint256Slot;

    /// @inheritdoc IVaultCore
    address public immutable EXTENSION;

    constructor(address extension) ERC20Permit("Rebalancer") {
        EXTENSION = extension;
    }

    /* KEEPER */

    /// @dev What the caller requests. If the sales were lowered, `minBuys` only names which assets may be bought, and `minimumE18` holds
    /// the total value they must reach {usd18}: the contract cannot know of which asset the route brings less.
    struct Trade {
        uint256[] sales;
        uint256[] minBuys;
        address executor;
        uint256 minimumE18;
    }

    /// @dev Measured result of a trade: the change of each asset, gained (positive) or lost {tok}, and the values sold and bought {usd18}.
    struct Fill {
        int256[] changes;
        uint256 soldE18;
        uint256 boughtE18;
    }

    /// @inheritdoc IVaultCore
    function rebalance(
        uint256 epoch,
        uint256[] calldata sales,
        uint256[] calldata minBuys,
        address executor,
        bytes calldata route
    ) external guarded(FLOW, TRADE) {
        State memory s = _state;
        uint256[] memory words = ConfigCode.load(config);
        Policy memory p = words.policy();
        if (!RebalancePolicy.isOpen(s.dueSince, p.openAfterSeconds, block.timestamp)) {
            _checkCanCall(msg.sender, msg.data);
        }
        if (s.paused) revert RebalanceIsPaused();
        if (epoch != s.epoch) revert WrongEpoch(epoch, s.epoch);
        if (block.timestamp < uint256(s.rebalancedAt) + p.cooldownSeconds) {
            revert CooldownActive(uint256(s.rebalancedAt) + p.cooldownSeconds);
        }
        Basket memory b = _readBasket(words, p.dustBps);
        if (!_isDue(s, p, b)) revert RebalancePolicy.NoBandBroken();
        Trade memory t = Trade(sales, minBuys, executor, 0);
        s.turnoverLevelE18 = uint64( // it only sank
            RebalancePolicy.leak(
                s.turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds, block.timestamp - s.rebalancedAt
            )
        );
        _fitSales(s, p, b, t);

        Fill memory f = _trade(b, t, route);
        if (f.boughtE18 < t.minimumE18) revert RebalancePolicy.PriceTooPoor(f.boughtE18, t.minimumE18);
        _settle(s, p, b, f);
        emit Rebalanced(
            epoch,
            msg.sender,
            executor,
            f.changes,
            f.soldE18,
            f.boughtE18,
            s.lossLevelE18,
            s.turnoverLevelE18,
            s.dueSince
        );
    }

    /// @dev Checks the sales against P1 and lowers them to what P1 and P6 allow. A redemption just ahead of a rebalance lowers surplus,
    /// need and budget, and the rebalance follows. Also finds the distance to the destination where the destination is not the target
    /// itself.
    function _fitSales(State memory s, Policy memory p, Basket memory b, Trade memory t) private pure {
        uint256 n = b.tokens.length;
        _checkLength(t.sales.length, n);
        _checkLength(t.minBuys.length, n);
        bool fits = RebalancePolicy.checkSales(t.sales, t.minBuys, b.distancesE18, b.pricesE18, b.units);
        uint256 budgetE18 = p.turnoverBudgetBps * (RebalancePolicy.E18 / BPS);
        if (s.turnoverLevelE18 >= budgetE18) {
            revert RebalancePolicy.TurnoverBudgetExceeded(s.turnoverLevelE18, budgetE18);
        }
        uint256 turnoverE18 = (budgetE18 - s.turnoverLevelE18) * b.totalE18 / RebalancePolicy.E18;
        uint256 needE18 = type(uint256).max; // surpluses over targets never add up to more than the need
        if (p.destinationBps != 0) {
            (b.distanceE18, needE18) =
                RebalancePolicy.toDestination(b.distancesE18, b.totalE18, b.bandsE18, p.destinationBps, p.dustBps);
        }
        // Surpluses are worth about half of the distance, and at the higher prices less than all of it, so there is seldom anything to
        // lower.
        if (fits && p.destinationBps == 0 && b.distanceE18 <= turnoverE18) return;

        uint256[] memory surpluses = Lists.uints(n);
        (uint256[] memory losE18, uint256[] memory hisE18) = (Lists.uints(n), Lists.uints(n));
        for (uint256 i; i < n; ++i) {
            bool sold = t.sales.at(i) != 0; // so it has a price
            surpluses.set(
                i, sold ? RebalancePolicy.surplusRaw(b.distancesE18.at(i), b.pricesE18.at(i), b.units.at(i)) : 0
            );
            hisE18.set(i, sold ? b.prices.at(4 * i + HI) : 0);
            losE18.set(i, t.minBuys.at(i) != 0 ? b.prices.at(4 * i + LO) : 0);
        }
        uint256[] memory fitted =
            RebalancePolicy.fitSales(t.sales, surpluses, b.pricesE18, hisE18, b.units, needE18, turnoverE18);
        bool lowered;
        for (uint256 i; i < n; ++i) {
            if (fitted.at(i) != t.sales.at(i)) lowered = true;
        }
        if (!lowered) return;
        t.minimumE18 = RebalancePolicy.fittedMinimumE18(t.minBuys, losE18, t.sales, fitted, hisE18, b.units);
        for (uint256 i; i < n; ++i) {
            if (t.minBuys.at(i) != 0) t.minBuys.set(i, 1);
        }
        t.sales = fitted;
    }

    /// @dev Sends the sales, calls the executor, and updates the ledger by the measured balances. The executor may do anything: every
    /// function here that changes state is locked, and `_settle` finds what the executor takes or fails to bring.
    function _trade(Basket memory b, Trade memory t, bytes calldata route) private returns (Fill memory f) {
        (uint256[] memory sales, uint256[] memory minBuys, address executor) = (t.sales, t.minBuys, t.executor);
        uint256 n = b.tokens.length;
        uint256[] memory balances = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            address token = b.tokens.at(i);
            // A token must not be called as an executor, even if it has the function.
            if (token == executor) revert BadExecutor(executor);
            if (sales.at(i) | minBuys.at(i) == 0) continue;
            Holding h = Holding.wrap(uint128(b.entries.at(i))); // as it was stored
            if (minBuys.at(i) != 0 && h.isBarred()) revert PurchaseBarred(i);
            uint256 balance = _knownBalanceRaw(token);
            uint256 owedRaw = _owedRaw(token, h);
            // What backs claims is not for sale, and no purchase may cover a loss.
            if (balance < owedRaw) revert LossNotWrittenDown(i, balance, owedRaw);
            balances.set(i, balance);
        }
        for (uint256 i; i < n; ++i) {
            if (sales.at(i) != 0) IERC20(b.tokens.at(i)).safeTransfer(executor, sales.at(i));
        }
        IExecutor(executor).executeRoute(route);

        f.changes = new int256[](n);
        for (uint256 i; i < n; ++i) {
            if (sales.at(i) | minBuys.at(i) == 0) continue;
            uint256 balance = _knownBalanceRaw(b.tokens.at(i));
            uint256 held_ = b.held.at(i);
            Holding h = Holding.wrap(uint128(b.entries.at(i))); // as it was stored
            if (sales.at(i) != 0) {
                // What the executor returned counts as not sold. What it returned beyond that is a gift.
                uint256 sold = Math.saturatingSub(balances.at(i), balance);
                RebalancePolicy.checkTradeSize(i, sold, b.words.minTradeRaw(i));
                held_ -= sold;
                f.soldE18 += RebalancePolicy.valueUp(sold, b.prices.at(4 * i + HI), b.units.at(i));
                f.changes.set(i, -int256(sold));
            } else {
                uint256 bought = Math.saturatingSub(balance, balances.at(i));
                if (bought < minBuys.at(i)) revert BoughtTooLittle(i, bought, minBuys.at(i));
                RebalancePolicy.checkTradeSize(i, bought, b.words.minTradeRaw(i));
                held_ = Math.saturatingAdd(held_, bought);
                f.boughtE18 += RebalancePolicy.valueDown(bought, b.prices.at(4 * i + LO), b.units.at(i));
                f.changes.set(i, int256(bought));
            }
            b.held.set(i, held_);
            _held[i] = _withHeld(i, h, held_);
        }
        if (f.soldE18 == 0) revert NothingSold();
    }

    /// @dev The vault's balance {tok}. Reverts if the token does not report it: a caller that starves the token of gas must not hide a
    /// sale.
    function _knownBalanceRaw(address token) private view returns (uint256 balanceRaw) {
        balanceRaw = _balanceRaw(token, gasleft());
        if (balanceRaw == type(uint256).max) revert BalanceUnknown(token);
    }

    /// @dev Checks a trade against P2 to P6 and writes the new state, which it also leaves in `s`.
    function _settle(State memory s, Policy memory p, Basket memory b, Fill memory f) private {
        uint256 slippageLimitE18 = RebalancePolicy.slippageE18(
            p.startSlippageBps, p.maxSlippageBps, p.slippageRampSeconds, s.dueSince, block.timestamp
        );
        uint256 minimumE18 = RebalancePolicy.minimumBoughtE18(f.soldE18, slippageLimitE18);
        if (f.boughtE18 < minimumE18) revert RebalancePolicy.PriceTooPoor(f.boughtE18, minimumE18);

        (uint256[] memory valuesE18, uint256 totalE18) = RebalancePolicy.weigh(b.held, b.pricesE18, b.units);
        (int256[] memory distancesE18, uint256 distanceE18) =
            RebalancePolicy.distances(valuesE18, totalE18, b.targetsE18);
        RebalancePolicy.checkTowardTarget(b.distancesE18, distancesE18, totalE18, p.dustBps);
        if (p.destinationBps != 0) {
            (distanceE18,) =
                RebalancePolicy.toDestination(distancesE18, totalE18, b.bandsE18, p.destinationBps, p.dustBps);
        }
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
        s.turnoverLevelE18 =
            uint64(RebalancePolicy.spendTurnover(s.turnoverLevelE18, f.soldE18, b.totalE18, p.turnoverBudgetBps));
        // A calendar period allows one rebalance, so only a broken band keeps the stamp.
        if (RebalancePolicy.firstBroken(distancesE18, totalE18, b.bandsE18) == RebalancePolicy.NONE) s.dueSince = 0;
        else if (s.dueSince == 0) s.dueSince = uint40(block.timestamp);
        s.rebalancedAt = uint40(block.timestamp);
        s.epoch += 1;
        _state = s;
    }

    /* ANYONE */

    /// @inheritdoc IVaultCore
    function mintInKind(uint256 shares, address receiver, uint256[] calldata maxAmounts)
        external
        guarded(TRADE, FLOW)
        returns (uint256[] memory amounts)
    {
        _checkFlow(shares, receiver);
        uint256[] memory words = ConfigCode.load(config);
        _checkLength(maxAmounts.length, words.assetCount());

        (uint256 supply, PackedFee f) = _accrueFee(0);
        _checkSupply(Math.saturatingAdd(supply, shares));
        amounts = _entryAmounts(shares, words.assetCount(), supply, f.entryBps());
        uint256 asked;
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = amounts[i];
            if (amount > maxAmounts[i]) revert AmountAboveMaximum(i, amount, maxAmounts[i]);
            asked |= amount;
            if (amount == 0) continue;
            Holding h = _held[i];
            _held[i] = _withHeld(i, h, h.amountRaw() + amount);
        }
        if (asked == 0) revert NothingHeld();
        _mint(receiver, shares);

        // The ledger is complete before the first token is called, so a view that a token reads during the call is consistent.
        for (uint256 i; i < amounts.length; ++i) {
            if (amounts[i] == 0) continue;
            address token = words.token(i);
            _pull(i, token, amounts[i], _owedRaw(token, _held[i]) - amounts[i]);
        }
        emit MintedInKind(msg.sender, receiver, shares, amounts);
    }

    /// @inheritdoc IVaultCore
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        guarded(0, FLOW)
        returns (uint256[] memory amounts)
    {
        return _redeem(shares, receiver, owner, minAmounts, 0);
    }

    /// @inheritdoc IVaultCore
    function redeemInKindExcept(
        uint256 shares,
        address receiver,
        address owner,
        uint256[] calldata minAmounts,
        uint256 skipped
    ) external guarded(0, FLOW) returns (uint256[] memory amounts) {
        return _redeem(shares, receiver, owner, minAmounts, skipped);
    }

    /// @dev Calls tokens only, and only after the ledger is complete. No answer of a token can make it fail.
    function _redeem(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts, uint256 skipped)
        private
        returns (uint256[] memory amounts)
    {
        _checkFlow(shares, receiver);
        if (msg.sender != owner) _spendAllowance(owner, msg.sender, shares);
        uint256[] memory words = ConfigCode.load(config);
        uint256 n = words.assetCount();
        _checkLength(minAmounts.length, n);

        (uint256 supply, PackedFee f) = _accrueFee(shares);
        _burn(owner, shares);
        amounts = Lists.uints(n);
        unchecked {
            // The burn proved that shares <= supply, which is at most 2^121, and holdings are below 2^120: no product passes 2^256.
            uint256 part = shares * (BPS - f.exitBps());
            uint256 whole = supply * BPS;
            uint256 pair; // of ledger entries, which share a slot
            for (uint256 i; i < n; ++i) {
                if (i & 1 == 0) pair = _held.pairOf(i);
                Holding h = _afterLoss(words, i, pair.inPair(i));
                // {tok} = {tok} * {share} / {share}. Down: those who stay keep the dust.
                uint256 amount = h.amountRaw() * part / whole;
                uint256 least = minAmounts.calldataAt(i);
                if (amount < least) revert AmountBelowMinimum(i, amount, least);
                amounts.set(i, amount);
                // part <= whole, so amount is at most what is held.
                pair = pair.withEntry(i, h.withAmount(h.amountRaw() - amount));
                if (i & 1 == 1 || i + 1 == n) _held.setPair(i, pair);
            }
        }
        for (uint256 i; i < n; ++i) {
            uint256 amount = amounts.at(i);
            if (amount == 0) continue;
            address token = words.token(i);
            if (skipped >> i & 1 != 0 || !_trySend(token, receiver, amount)) {
                // A spender with an allowance acts for the owner. Its receiver may be only a station on the way, so the claim is the
                // owner's.
                _openClaim(i, token, msg.sender == owner ? receiver : owner, amount);
            }
        }
        emit RedeemedInKind(msg.sender, receiver, owner, shares, amounts);
    }

    /// @dev The ledger entry of an asset after a loss that was not written down yet. The caller stores it. A token that does not report its
    /// balance lost nothing.
    function _afterLoss(uint256[] memory words, uint256 asset, Holding h) private returns (Holding) {
        if (Holding.unwrap(h) == 0) return h;
        // Otherwise the caller could starve the token by a low gas limit and leave a loss to other holders.
        if (gasleft() < BALANCE_GAS * 64 / 63 + 50_000) {
            revert NotEnoughGas(gasleft(), BALANCE_GAS * 64 / 63 + 50_000);
        }
        address token = words.token(asset);
        uint256 balance = _balanceRaw(token, BALANCE_GAS);
        return balance < _owedRaw(token, h) ? _writeDown(words, asset, token, h, balance) : h;
    }

    /// @dev Records a claim of a holder on an amount of a token, in units at their present value, rounded down.
    function _openClaim(uint256 asset, address token, address holder, uint256 amountRaw) private {
        ClaimPool memory c = _claimPools[token];
        if (c.units >> 32 > c.amountRaw) {
            // Losses left less than 2^-32 of the earlier claims. They end here, because the next loss could end this new claim with them.
            uint256 heldRaw = _held[asset].amountRaw();
            emit Synced(token, heldRaw, heldRaw, c.amountRaw, 0);
            (c.units, c.amountRaw, c.generation) = (0, 0, c.generation + 1);
        }
        // Only a token with a larger supply than any real token could bring all claims to 2^128.
        uint256 amount = Math.min(amountRaw, type(uint128).max - c.amountRaw);
        // {unit} = {tok} * {unit} / {tok}; units stay below 2^64 times the amount
        uint256 units = c.amountRaw == 0 ? amount : Math.mulDiv(amount, c.units, c.amountRaw);
        (c.amountRaw, c.units) = (c.amountRaw + uint128(amount), c.units + uint192(units));
        _claimPools[token] = c;
        _held[asset] = _held[asset].withClaimed(true);
        Claim memory own = _claims[holder][token];
        uint256 before = own.generation == c.generation ? own.units : 0;
        _claims[holder][token] = Claim(uint192(before + units), c.generation);
        emit ClaimOpened(holder, token, amount, units);
    }

    /// @inheritdoc IVaultCore
    function poke() external guarded(0, 0) {
        uint256[] memory words = ConfigCode.load(config);
        Policy memory p = words.policy();
        State memory s = _state;
        bool due = _isDue(s, p, _readBasket(words, p.dustBps));
        if (due == (s.dueSince != 0)) return;
        _stampDue(due ? block.timestamp : 0);
    }

    /// @inheritdoc IVaultCore
    function collectFee() external guarded(0, 0) returns (uint256 shares) {
        return _collectFee();
    }

    /* VIEWS */

    /// @inheritdoc IVaultCore
    function held() external view returns (uint256[] memory amounts) {
        amounts = new uint256[](ConfigCode.load(config).assetCount());
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = _held[i].amountRaw();
        }
    }

    /// @inheritdoc IVaultCore
    function isBarred(uint256 asset) external view returns (bool) {
        return _held[asset].isBarred();
    }

    /// @inheritdoc IVaultCore
    function claimable(address holder, address token) external view returns (uint256 amountRaw) {
        (amountRaw,,) = _claimOf(holder, token);
    }

    /// @inheritdoc IVaultCore
    function totalClaimable(address token) external view returns (uint256) {
        return _claimPools[token].amountRaw;
    }

    /// @inheritdoc IVaultCore
    function assets() external view returns (Asset[] memory list) {
        uint256[] memory words = ConfigCode.load(config);
        list = new Asset[](words.assetCount());
        for (uint256 i; i < list.length; ++i) {
            list[i] = words.asset(i);
        }
    }

    /// @inheritdoc IVaultCore
    function policy() external view returns (Policy memory) {
        return ConfigCode.load(config).policy();
    }

    /// @inheritdoc IVaultCore
    function oracle() external view returns (IOracleHub) {
        return ConfigCode.load(config).oracle();
    }

    /// @inheritdoc IVaultCore
    function performance() external view returns (Performance memory) {
        return _performance;
    }

    /// @inheritdoc IVaultCore
    function auctions(address sold, address bought) external view returns (Auction memory) {
        return _auctions[sold][bought];
    }

    /// @inheritdoc IVaultCore
    function state() external view returns (State memory) {
        return _state;
    }

    /// @inheritdoc IVaultCore
    function fee() external view returns (Fee memory) {
        return _fee.unpack();
    }

    /// @inheritdoc IVaultCore
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        return _entryAmounts(shares, ConfigCode.load(config).assetCount(), totalSupply(), _fee.entryBps());
    }

    /// @inheritdoc IVaultCore
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        uint256[] memory words = ConfigCode.load(config);
        uint256 supply = totalSupply();
        amounts = new uint256[](words.assetCount());
        for (uint256 i; i < amounts.length; ++i) {
            address token = words.token(i);
            uint256 held_ = _held[i].amountRaw();
            uint256 owedRaw = _owedRaw(token, _held[i]);
            uint256 balance = _balanceRaw(token, BALANCE_GAS);
            if (balance < owedRaw) held_ = held_ * balance / owedRaw; // as `sync` will write it down
            amounts[i] = held_ * (shares * (BPS - _fee.exitBps())) / (supply * BPS);
        }
    }

    /// @inheritdoc IVaultCore
    function locked() external view returns (bool) {
        return DOING.asUint256().tload() & LOCK != 0;
    }

    /// @inheritdoc VaultBase
    function totalSupply() public view override(ERC20, IERC20, VaultBase) returns (uint256) {
        return VaultBase.totalSupply();
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

    /// @dev Checks that mint and redeem share.
    function _checkFlow(uint256 shares, address receiver) private view {
        if (shares == 0) revert ZeroShares();
        _checkReceiver(receiver);
    }

    /// @dev Cost of `shares` of `supply`: their part of each holding, plus the entry fee. Rounds up: existing holders keep the dust.
    // {tok} = {tok} * {share} / {share}
    function _entryAmounts(uint256 shares, uint256 n, uint256 supply, uint256 entryBps)
        private
        view
        returns (uint256[] memory amounts)
    {
        amounts = new uint256[](n);
        uint256 part = shares * (BPS + entryBps);
        for (uint256 i; i < n; ++i) {
            amounts[i] = Math.ceilDiv(_held[i].amountRaw() * part, supply * BPS);
        }
    }

    /// @dev Tries to send. Returns false if the token refused in any way. A token can neither burn all gas nor flood memory: it gets
    /// `TRANSFER_GAS`, and 32 bytes of its answer are read.
    function _trySend(address token, address receiver, uint256 amount) private returns (bool sent) {
        // Otherwise the caller could starve the transfer by a low gas limit and turn a good token into a claim.
        uint256 needed = TRANSFER_GAS * 64 / 63 + 50_000;
        if (gasleft() < needed) revert NotEnoughGas(gasleft(), needed);
        uint256 selector = uint32(IERC20.transfer.selector);
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, shl(224, selector))
            mstore(add(data, 4), receiver)
            mstore(add(data, 36), amount)
            mstore(0, 0)
            sent := call(TRANSFER_GAS, token, 0, data, 68, 0, 32)
            // Success: an address with code returned nothing, or it returned at least one word, and that word is 1.
            switch returndatasize()
            case 0 { sent := and(sent, gt(extcodesize(token), 0)) }
            default { sent := and(sent, and(gt(returndatasize(), 31), eq(mload(0), 1))) }
        }
    }

    /* EXTENSION */

    // IVaultExtension documents who may call each of these and what it does. VaultExtension holds the code. Parameters are named and
    // mentioned so that wallets and explorers show them. The statements that mention them cost nothing.
    // slither-disable-start redundant-statements

    /// @inheritdoc IVaultExtension
    function initialize(Start calldata start) external {
        start;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function setPolicy(Policy calldata newPolicy) external {
        newPolicy;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function setOracle(IOracleHub newOracle) external {
        newOracle;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function setFees(Fees calldata fees, address recipient) external {
        (fees, recipient);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function addAsset(address token, uint8 decimals, Band calldata band) external {
        (token, decimals, band);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function excludeAsset(uint256 asset) external {
        asset;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function includeAsset(uint256 asset) external {
        asset;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function removeAsset(uint256 asset) external {
        asset;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function resumeRebalance() external {
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function allowPurchases(uint256 asset) external {
        asset;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function absorb(uint256 asset, uint256 amountRaw) external {
        (asset, amountRaw);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function startAuction(uint256 sell, uint256 buy, Auction calldata terms) external {
        (sell, buy, terms);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function setTargets(uint256[] calldata targetsE18, uint256 glideSeconds) external {
        (targetsE18, glideSeconds);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function setBands(Band[] calldata bands) external {
        bands;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function pauseRebalance() external {
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function tightenPolicy(Policy calldata newPolicy) external {
        newPolicy;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function lowerFees(Fees calldata fees) external {
        fees;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function stopAuction(uint256 sell, uint256 buy) external {
        (sell, buy);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function claim(address holder, address token, address receiver, uint256 maxAmountRaw) external returns (uint256) {
        (holder, token, receiver, maxAmountRaw);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function sync(uint256 asset) external returns (uint256) {
        asset;
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function collectPerformanceFee() external returns (uint256) {
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function pokeAuction(uint256 sell, uint256 buy) external {
        (sell, buy);
        _extend();
    }

    /// @inheritdoc IVaultExtension
    function bid(uint256 sell, uint256 buy, uint256 amountRaw, uint256 maxPayRaw) external returns (uint256) {
        (sell, buy, amountRaw, maxPayRaw);
        _extend();
    }

    // slither-disable-end redundant-statements

    /// @dev Runs the extension as this contract's own code, on this contract's storage, and ends the call with its answer: it never
    /// returns.
    function _extend() private {
        address extension = EXTENSION;
        // Memory-safe, as all assembly of this contract must be: otherwise the compiler turns off its best optimizations for the whole
        // contract.
        assembly ("memory-safe") {
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            let done := delegatecall(gas(), extension, data, calldatasize(), 0, 0)
            returndatacopy(data, 0, returndatasize())
            if iszero(done) { revert(data, returndatasize()) }
            return(data, returndatasize())
        }
    }
}
