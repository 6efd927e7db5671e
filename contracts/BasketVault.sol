// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { TransientSlot } from "@openzeppelin/contracts/utils/TransientSlot.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { VaultBase } from "./VaultBase.sol";
import { IVaultCore } from "./interfaces/IBasketVault.sol";
import { IExecutor } from "./interfaces/IExecutor.sol";
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
/// - Owner: sets policy, oracle and fees, adds, excludes and removes assets, absorbs gifts, starts auctions. A hostile one could set an
///   oracle that lies; that waits in the timelock, and holders leave.
/// - Curator: sets targets and bands. Worst: has the vault trade back and forth, at a loss within the budgets.
/// - Guardian: stops rebalances and auctions, tightens the policy, lowers fees. Worst: weights drift, and nobody is paid.
/// - Keeper: chooses when and by which route. Worst, whatever executor it names: `lossBudget`, refilled once a period, measured
///   against the oracle, and nothing at all while no band is broken and no calendar period is open.
/// - Anyone: mint, redeem, claim, sync, poke, collect fees, bid; and rebalance, once the policy has opened that, within the same limits.
///
/// WE ASSUME, OR FUNDS ARE AT RISK. The oracle is right within its error; tokens do not lie about balances.
/// WE ASSUME, OR IT STOPS. Feeds are fresh; somebody runs a keeper; tokens can be moved. If a token cannot be moved, its part becomes
/// a claim and everything else goes on.
///
/// DELIBERATELY NOT DONE. No approval is ever given to anybody, no router is ever called, no price is asked on mint or redeem, the
/// code cannot be upgraded, and tokens sent here without being asked change no share's value.
///
/// WHEN THE ORACLE IS GONE for good, or a feed or token is: the owner excludes the asset, or sets another oracle, or starts an auction on
/// terms of its own: a floor for each pair, small lots, toward amounts of each token a share. No last price is ever used.
///
/// HOW TO STOP IT. `pauseRebalance` stops trading at once. Nothing stops `redeemInKind`.
contract BasketVault is IVaultCore, VaultBase {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using Lists for int256[];
    using Lists for address[];
    using SafeERC20 for IERC20;
    using TransientSlot for bytes32;
    using TransientSlot for TransientSlot.BooleanSlot;

    /// @inheritdoc IVaultCore
    address public immutable EXTENSION;

    constructor(address extension) {
        EXTENSION = extension;
    }

    /// @dev Runs the extension as this contract's own code, on this contract's storage, and answers what it answers.
    fallback() external {
        // slither-disable-next-line controlled-delegatecall -- whose code runs is fixed in this contract's own
        (bool done, bytes memory answer) = EXTENSION.delegatecall(msg.data);
        // Memory-safe, as all assembly of this contract must be: otherwise the compiler gives up its best optimizations for all of it.
        assembly ("memory-safe") {
            if iszero(done) { revert(add(answer, 32), mload(answer)) }
            return(add(answer, 32), mload(answer))
        }
    }

    /* KEEPER */

    /// @dev What the caller asks for.
    struct Trade {
        uint256[] sales;
        uint256[] minBuys;
        address executor;
    }

    /// @dev What a trade did, measured: what each asset gained (positive) or lost {tok}, and the values sold and bought {usd18}.
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
    ) external nonReentrant {
        if (FLOWED.asBoolean().tload()) revert SameTransaction();
        TRADED.asBoolean().tstore(true);

        State memory s = _state;
        uint256[] memory words = ConfigCode.load(config);
        Policy memory p = words.policy();
        if (!RebalancePolicy.isOpen(_dueSince(s, p), p.openAfterSeconds, block.timestamp)) {
            _checkCanCall(msg.sender, msg.data);
        }
        if (s.paused) revert RebalanceIsPaused();
        if (epoch != s.epoch) revert WrongEpoch(epoch, s.epoch);
        if (block.timestamp < uint256(s.rebalancedAt) + p.cooldownSeconds) {
            revert CooldownActive(uint256(s.rebalancedAt) + p.cooldownSeconds);
        }
        Basket memory b = _readBasket(words, p.dustBps);
        _checkDue(s, p, b);
        Trade memory t = Trade(sales, minBuys, executor);
        _checkSales(p, b, t);

        Fill memory f = _trade(b, t, route);
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
            s.brokenSince
        );
    }

    /// @dev Since when a rebalance has been due, as far as the vault knows; 0 if it is not.
    function _dueSince(State memory s, Policy memory p) private view returns (uint256) {
        return RebalancePolicy.dueSince(
            s.brokenSince, RebalancePolicy.calendarSince(s.rebalancedAt, p.calendarSeconds, block.timestamp)
        );
    }

    /// @dev P0: reverts unless a band is broken, or the calendar asks and there is more than dust to do.
    function _checkDue(State memory s, Policy memory p, Basket memory b) private view {
        if (RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsE18) != RebalancePolicy.NONE) return;
        bool called = RebalancePolicy.calendarSince(s.rebalancedAt, p.calendarSeconds, block.timestamp) != 0;
        if (!called || b.distanceE18 * BPS <= p.dustBps * b.totalE18) revert RebalancePolicy.NoBandBroken();
    }

    /// @dev Holds the sales against P1, and finds the distance to the destination where that is not the target itself.
    function _checkSales(Policy memory p, Basket memory b, Trade memory t) private pure {
        _checkLength(t.sales.length, b.tokens.length);
        _checkLength(t.minBuys.length, b.tokens.length);
        RebalancePolicy.checkSales(t.sales, t.minBuys, b.distancesE18, b.pricesE18, b.units);
        if (p.destinationBps == 0) return; // surpluses over targets never add up to more than the need
        uint256 needE18;
        (b.distanceE18, needE18) =
            RebalancePolicy.toDestination(b.distancesE18, b.totalE18, b.bandsE18, p.destinationBps, p.dustBps);
        RebalancePolicy.checkNeed(t.sales, b.pricesE18, b.units, needE18);
    }

    /// @dev Sends the sales, calls the executor, and books what the balances say. The executor may do anything: every function here
    /// that changes state is locked, and what it takes or fails to bring is found by `_settle`.
    function _trade(Basket memory b, Trade memory t, bytes calldata route) private returns (Fill memory f) {
        (uint256[] memory sales, uint256[] memory minBuys, address executor) = (t.sales, t.minBuys, t.executor);
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
                RebalancePolicy.checkTradeSize(i, sold, b.words.minTradeRaw(i));
                held_ -= sold;
                f.soldE18 += RebalancePolicy.valueUp(sold, b.prices.at(4 * i + HI), b.units.at(i));
                f.changes.set(i, -int256(sold));
            } else {
                uint256 bought = Math.saturatingSub(balance, balances.at(i));
                if (bought < minBuys.at(i)) revert BoughtTooLittle(i, bought, minBuys.at(i));
                RebalancePolicy.checkTradeSize(i, bought, b.words.minTradeRaw(i));
                held_ = _toHeld(i, Math.saturatingAdd(held_, bought));
                f.boughtE18 += RebalancePolicy.valueDown(bought, b.prices.at(4 * i + LO), b.units.at(i));
                f.changes.set(i, int256(bought));
            }
            b.held.set(i, held_);
            _held[i] = uint128(held_); // it only shrank, or passed _toHeld
        }
    }

    /// @dev Holds a trade against P2 to P6 and writes the new state, which it also leaves in `s`.
    function _settle(State memory s, Policy memory p, Basket memory b, Fill memory f) private {
        uint256 slippageLimitE18 = RebalancePolicy.slippageE18(
            p.startSlippageBps, p.maxSlippageBps, p.slippageRampSeconds, _dueSince(s, p), block.timestamp
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
        s.turnoverLevelE18 = uint64(
            RebalancePolicy.spendTurnover(
                RebalancePolicy.leak(s.turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed),
                f.soldE18,
                b.totalE18,
                p.turnoverBudgetBps
            )
        );
        if (RebalancePolicy.firstBroken(distancesE18, totalE18, b.bandsE18) == RebalancePolicy.NONE) s.brokenSince = 0;
        else if (s.brokenSince == 0) s.brokenSince = uint40(block.timestamp);
        s.rebalancedAt = uint40(block.timestamp);
        s.epoch += 1;
        _state = s;
    }

    /* ANYONE */

    /// @inheritdoc IVaultCore
    function mintInKind(uint256 shares, address receiver, uint256[] calldata maxAmounts)
        external
        nonReentrant
        returns (uint256[] memory amounts)
    {
        _enterFlow(shares, receiver);
        uint256[] memory words = ConfigCode.load(config);
        _checkLength(maxAmounts.length, words.assetCount());

        (uint256 supply, Fee memory f) = _accrueFee();
        _checkSupply(Math.saturatingAdd(supply, shares));
        amounts = _entryAmounts(shares, words.assetCount(), supply, f.entryBps);
        uint256 asked;
        for (uint256 i; i < amounts.length; ++i) {
            uint256 amount = amounts[i];
            if (amount > maxAmounts[i]) revert AmountAboveMaximum(i, amount, maxAmounts[i]);
            asked |= amount;
            if (amount != 0) _held[i] = _toHeld(i, _held[i] + amount);
        }
        if (asked == 0) revert NothingHeld();
        _mint(receiver, shares);

        // All books are done before the first token is called, so that what others read in the middle fits together.
        for (uint256 i; i < amounts.length; ++i) {
            if (amounts[i] != 0) _pull(words.token(i), amounts[i]);
        }
        emit MintedInKind(msg.sender, receiver, shares, amounts);
    }

    /// @inheritdoc IVaultCore
    function redeemInKind(uint256 shares, address receiver, address owner, uint256[] calldata minAmounts)
        external
        nonReentrant
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
        uint256[] memory words = ConfigCode.load(config);
        uint256 n = words.assetCount();
        _checkLength(minAmounts.length, n);

        (uint256 supply, Fee memory f) = _accrueFee();
        _burn(owner, shares);
        uint256 part = shares * (BPS - f.exitBps); // the burn proved that shares <= supply
        amounts = Lists.uints(n);
        for (uint256 i; i < n; ++i) {
            uint256 held_ = _held[i];
            // {tok} = {tok} * {share} / {share}. Down: those who stay keep the dust.
            uint256 amount = Math.mulDiv(held_, part, supply * BPS);
            if (amount < minAmounts[i]) revert AmountBelowMinimum(i, amount, minAmounts[i]);
            amounts.set(i, amount);
            // part <= supply * BPS, so amount <= held_, which has 128 bits.
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

    /// @inheritdoc IVaultCore
    function claim(address token, address receiver) external nonReentrant returns (uint256 amountRaw) {
        _checkReceiver(receiver);
        amountRaw = claimable[msg.sender][token];
        if (amountRaw == 0) revert NothingToClaim(msg.sender, token);
        claimable[msg.sender][token] = 0;
        totalClaimable[token] -= amountRaw;
        if (!_trySend(token, receiver, amountRaw)) revert ClaimFailed(msg.sender, token, amountRaw);
        emit Claimed(msg.sender, token, receiver, amountRaw);
    }

    /// @inheritdoc IVaultCore
    function poke() external nonReentrant {
        uint256[] memory words = ConfigCode.load(config);
        Basket memory b = _readBasket(words, words.policy().dustBps);
        bool whole = RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsE18) == RebalancePolicy.NONE;
        if (whole == (_state.brokenSince == 0)) return;
        _stampBroken(whole ? 0 : block.timestamp);
    }

    /// @inheritdoc IVaultCore
    function collectFee() external nonReentrant returns (uint256 shares) {
        return _collectFee();
    }

    /* VIEWS */

    /// @inheritdoc IVaultCore
    function held() external view returns (uint256[] memory amounts) {
        amounts = new uint256[](ConfigCode.load(config).assetCount());
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = _held[i];
        }
    }

    /// @inheritdoc IVaultCore
    function state() external view returns (State memory) {
        return _state;
    }

    /// @inheritdoc IVaultCore
    function fee() external view returns (Fee memory) {
        return _fee;
    }

    /// @inheritdoc IVaultCore
    function previewMintInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        return _entryAmounts(shares, ConfigCode.load(config).assetCount(), totalSupply(), _fee.entryBps);
    }

    /// @inheritdoc IVaultCore
    function previewRedeemInKind(uint256 shares) external view returns (uint256[] memory amounts) {
        uint256 supply = totalSupply();
        amounts = new uint256[](ConfigCode.load(config).assetCount());
        for (uint256 i; i < amounts.length; ++i) {
            amounts[i] = Math.mulDiv(_held[i], shares * (BPS - _fee.exitBps), supply * BPS);
        }
    }

    /// @inheritdoc IVaultCore
    function locked() external view returns (bool) {
        return _reentrancyGuardEntered();
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

    /// @dev What `shares` of `supply` cost: their part of each holding, and the fee on entry. Up: those who stay keep the dust.
    // {tok} = {tok} * {share} / {share}
    function _entryAmounts(uint256 shares, uint256 n, uint256 supply, uint256 entryBps)
        private
        view
        returns (uint256[] memory amounts)
    {
        amounts = new uint256[](n);
        uint256 part = shares * (BPS + entryBps); // callers hold shares to 2^120
        for (uint256 i; i < n; ++i) {
            amounts[i] = Math.mulDiv(_held[i], part, supply * BPS, Math.Rounding.Ceil);
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
}
