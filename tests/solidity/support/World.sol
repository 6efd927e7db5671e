// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../../contracts/mocks/MockAggregator.sol";
import { Holdings } from "../../../contracts/libraries/Holdings.sol";
import { LocalToken } from "../../../contracts/mocks/MockToken.sol";
import { HostileToken } from "./HostileToken.sol";
import { Market } from "./Market.sol";
import { Rulers } from "./Rulers.sol";
import { ScriptedExecutor } from "./ScriptedExecutor.sol";
import { Watcher } from "./Watcher.sol";

/// @title World
/// @notice Everybody around one vault: holders, honest and stolen keepers, strangers with executors of their own, bidders, and what they
/// inherit from Rulers and Market. Each external function is one thing one of them does; after each, Watcher looks at what came of it.
contract World is Rulers {
    struct Counts {
        uint256 deposits;
        uint256 depositsRefused;
        uint256 redemptions;
        uint256 claimsOpened;
        uint256 claimsPaid;
        uint256 gifts;
        uint256 lossesWritten;
        uint256 feesSettled;
        uint256 honestTrades;
        uint256 honestWaits;
        uint256 hostileTrades;
        uint256 hostileRefusals;
        uint256 openTrades;
        uint256 bids;
        uint256 bidsRefused;
        uint256 refills;
        uint256 mended;
        uint256 mendsLeft;
        uint256 partlyPaid;
        uint256 auctionsEnded;
        uint256 probes;
        uint256 found;
    }

    address internal constant LOCKED = 0x000000000000000000000000000000000000dEaD;
    ScriptedExecutor internal immutable EXECUTOR = new ScriptedExecutor();
    Counts internal _counts;

    constructor(
        IBasketVault vault,
        IOracleHub hub,
        IAccessManager manager,
        address[4] memory roles,
        address[] memory holders,
        LocalToken[] memory tokens_,
        MockAggregator[] memory feeds,
        MockAggregator second,
        uint256[2] memory hostile
    ) Watcher(vault, tokens_, holders) Market(hub, feeds, second, hostile) Rulers(manager, roles) { }

    function counts() external view returns (Counts memory) {
        return _counts;
    }

    function tokens() external view returns (LocalToken[] memory) {
        return _tokens;
    }

    /* HOLDERS */

    function deposit(uint256 holderSeed, uint256 shares) external {
        _deposit(_holder(holderSeed), _clamp(shares, 1, 50e18));
    }

    function _deposit(address holder, uint256 shares) private {
        Sight memory before = _look();
        uint256[] memory amounts = VAULT.previewMintInKind(shares);
        uint256 asked;
        bool fits = true;
        for (uint256 i; i < amounts.length; ++i) {
            asked |= amounts[i];
            fits = fits && before.held[i] + amounts[i] <= Holdings.MAX_RAW;
            _fund(LocalToken(before.assets[i].token), holder, amounts[i]);
        }

        vm.prank(holder);
        try VAULT.mintInKind{ gas: CALL_GAS }(shares, holder, amounts) {
            ++_counts.deposits;
            for (uint256 i; i < amounts.length; ++i) {
                _expect(amounts[i] == 0 || before.unbooked[i] >= 0, Promise.A5, "a depositor paid for others' loss");
            }
        } catch {
            ++_counts.depositsRefused;
            bool sound = _allMove(before) && _noLoss(before) && asked != 0 && fits;
            _expect(!sound, Promise.G3, "a sound deposit was refused");
        }

        _checkKept(before, "deposit");
    }

    function redeem(uint256 holderSeed, uint256 shares) external {
        _redeem(_holder(holderSeed), shares, 0, holderSeed >> 128);
    }

    /// @notice A holder leaves and takes only a part of the assets along; the rest becomes a claim.
    function redeemExcept(uint256 holderSeed, uint256 shares, uint256 skipped) external {
        _redeem(_holder(holderSeed), shares, skipped | 1 << 255, holderSeed >> 128);
    }

    /// @dev To the holder itself, to another whom the holder names, or by another who may spend the holder's shares.
    function _redeem(address holder, uint256 shares, uint256 skipped, uint256 way) private {
        uint256 balance = VAULT.balanceOf(holder);
        if (balance == 0) return;
        shares = _clamp(shares, 1, balance);
        Sight memory before = _look();
        address receiver = way % 4 == 0 ? _holder(way >> 8) : holder;
        address caller = way % 8 < 2 ? _holder(way >> 16) : holder;
        if (caller != holder) {
            vm.prank(holder);
            VAULT.approve(caller, shares);
        }
        uint256[] memory none = new uint256[](before.held.length);
        bytes memory data = skipped >> 255 == 1
            ? abi.encodeCall(IVaultCore.redeemInKindExcept, (shares, receiver, holder, none, skipped << 1 >> 1))
            : abi.encodeCall(IVaultCore.redeemInKind, (shares, receiver, holder, none));
        uint256 exitBps = VAULT.fee().exitBps;
        if (!_call(Act(caller, address(VAULT), data))) {
            _note(Promise.A1, "a redemption was refused");
            return;
        }
        ++_counts.redemptions;
        uint256 claimant = _numberOf(caller == holder ? receiver : holder);
        _counts.claimsOpened += _checkRedeemed(before, claimant, shares, exitBps);
        _checkSent(before, _checkKeptBut(before, claimant, "redeem"), skipped);
        uint256 supply = VAULT.totalSupply();
        if (supply < _leastSupply) _leastSupply = supply;
    }

    /// @dev What can be sent was sent, and no claim on it opened.
    function _checkSent(Sight memory before, Sight memory after_, uint256 skipped) private {
        for (uint256 i; i < before.held.length; ++i) {
            uint256 id = _id[before.assets[i].token];
            if (!_leaves(_tokens[id]) || skipped >> i & 1 == 1) continue;
            bool none = after_.pools[id] <= before.pools[id];
            _expect(none, Promise.A1, "what can be sent was not sent");
        }
    }

    function _numberOf(address holder) private view returns (uint256 h) {
        while (_holders[h] != holder) ++h;
    }

    /// @notice Everybody leaves, the fees' recipient too; prices and time move; and one comes back with much. A settlement that follows
    /// sees what rounding left to the locked shares, and must not take it for a gain.
    function emptyAndRefill(uint256 seed, uint256 shares) external {
        _calm();
        VAULT.collectFee();
        address recipient = VAULT.feeRecipient();
        uint256 earned = VAULT.balanceOf(recipient);
        vm.prank(recipient);
        VAULT.transfer(_holders[0], earned);
        for (uint256 i; i < _holders.length; ++i) {
            _redeem(_holders[i], type(uint256).max, _roll(seed, i) % 4 == 0 ? _roll(seed, i) | 1 << 255 : 0, 2);
        }
        vm.warp(block.timestamp + _roll(seed, 10) % 40 days);
        _deposit(_holder(_roll(seed, 11)), _clamp(shares, 1e18, 1_000e18));
        ++_counts.refills;
        if (_roll(seed, 12) % 2 == 0) settlePerformance(_roll(seed, 13), true);
    }

    /// @notice A token is lost while it is claimed, all of it or all but next to nothing, and claimed again; it comes back, is taken up,
    /// and is claimed again.
    function loseAndFind(uint256 seed) external {
        Sight memory s = _look();
        uint256 asset = seed % s.held.length;
        uint256 id = _id[s.assets[asset].token];
        uint256 skipped = 1 << asset | 1 << 255;
        _redeem(_holder(seed >> 8), _roll(seed, 1), skipped, 2);
        uint256 balance = _tokens[id].balanceOf(address(VAULT));
        uint256 left = _roll(seed, 2) % 2 == 0 ? 0 : balance >> _roll(seed, 3) % 100;
        if (left == balance) return;
        _lose(id, balance - left);
        if (_roll(seed, 4) % 2 == 0) _sync(asset);
        _redeem(_holder(seed >> 16), _roll(seed, 5), skipped, 2);
        _tokens[id].mint(address(VAULT), balance - left);
        _noteShortage(id);
        s = _look();
        if (s.unbooked[asset] > 0) {
            bytes memory data = abi.encodeCall(IVaultExtension.absorb, (asset, uint256(s.unbooked[asset])));
            vm.prank(OWNER);
            MANAGER.schedule(address(VAULT), data, 0);
            vm.warp(block.timestamp + OWNER_DELAY);
            // Called by a test, all of this is one transaction, and refused.
            if (!_call(Act(OWNER, address(VAULT), data))) {
                vm.prank(OWNER);
                MANAGER.cancel(OWNER, address(VAULT), data);
            }
        }
        _redeem(_holder(seed >> 24), _roll(seed, 6), skipped, 2);
        ++_counts.found;
    }

    /// @notice A claim, or a part of it, goes to whom its holder says; or anyone has it paid to its holder.
    function claim(uint256 holderSeed, uint256 tokenSeed, bool calm) external {
        if (calm) _calm();
        uint256 id = tokenSeed % _tokens.length;
        Sight memory before = _look();
        uint256 h = holderSeed % _holders.length;
        for (uint256 i; i < _holders.length && before.claims[id][h] == 0; ++i) {
            h = (h + 1) % _holders.length;
        }
        if (before.claims[id][h] == 0) return;
        uint256 way = _roll(holderSeed, 1) % 4;
        uint256 most =
            _roll(holderSeed, 2) % 3 == 0 ? _roll(holderSeed, 3) % before.claims[id][h] + 1 : type(uint256).max;
        _claim(
            before, id, h, way == 0 ? STRANGER : _holders[h], way == 1 ? _holder(holderSeed >> 8) : _holders[h], most
        );
    }

    function _claim(Sight memory before, uint256 id, uint256 h, address caller, address receiver, uint256 most)
        private
    {
        uint256 had = _tokens[id].balanceOf(receiver);
        bytes memory data = abi.encodeCall(IVaultExtension.claim, (_holders[h], address(_tokens[id]), receiver, most));
        bool done = _call(Act(caller, address(VAULT), data));
        Sight memory after_ = _look();
        uint256 whole = before.claims[id][h];
        if (before.present[id] < before.owed[id]) whole = whole * before.present[id] / before.owed[id];
        uint256 paid = before.present[id] - after_.present[id];
        _checkKeptBut(before, h, "claim");
        if (!done) {
            bool ended = before.present[id] < before.owed[id] && (whole < 4 || _units[id] >> 64 >= whole);
            _expect(!_leaves(_tokens[id]) || ended, Promise.A2, "a claim was refused");
            _expect(paid == 0 && after_.claims[id][h] == before.claims[id][h], Promise.A2, "a claim was lost");
            return;
        }
        _expect(!_moves(_tokens[id]) || _tokens[id].balanceOf(receiver) == had + paid, Promise.A2, "did not arrive");
        _checkPaid(after_.claims[id][h], whole, paid, most);
        bool twice = after_.claims[id][h] == 0 && _call(Act(caller, address(VAULT), data));
        _expect(!twice, Promise.A2, "a claim was paid twice");
    }

    function _checkPaid(uint256 left, uint256 whole, uint256 paid, uint256 most) private {
        ++_counts.claimsPaid;
        _expect(paid <= most && paid <= whole + 3, Promise.A2, "more than the claim was paid");
        _expect(paid == most || paid + 3 >= whole, Promise.A2, "a claim was not paid whole");
        _expect(left + paid <= whole + 3 && left + paid + 3 >= whole, Promise.A2, "a claim was paid and kept");
        if (most == type(uint256).max) _expect(left == 0, Promise.A2, "a claim is still open");
        else ++_counts.partlyPaid;
    }

    /// @notice Somebody claims what is another's, or nobody's.
    function claimOthers(uint256 tokenSeed) external {
        address token = address(_tokens[tokenSeed % _tokens.length]);
        for (uint256 h; h <= _holders.length; ++h) {
            address holder = h == _holders.length ? STRANGER : _holders[h];
            bytes memory data = abi.encodeCall(IVaultExtension.claim, (holder, token, STRANGER, type(uint256).max));
            _expect(!_call(Act(STRANGER, address(VAULT), data)), Promise.A2, "a stranger collected a claim");
        }
    }

    function transferShares(uint256 fromSeed, uint256 toSeed, uint256 shares) external {
        address from = _holder(fromSeed);
        Sight memory before = _look();

        shares = _clamp(shares, 0, VAULT.balanceOf(from));
        vm.prank(from);
        VAULT.transfer(_holder(toSeed), shares);

        _checkKept(before, "transfer");
    }

    function give(uint256 tokenSeed, uint256 amount) external {
        LocalToken token = _tokens[tokenSeed % _tokens.length];
        Sight memory before = _look();
        uint256[] memory part = VAULT.previewRedeemInKind(1e18);
        uint256[] memory cost = VAULT.previewMintInKind(1e18);

        token.mint(address(VAULT), _clamp(amount, 1, 10 * 10 ** token.decimals()));
        ++_counts.gifts;
        _noteShortage(_id[address(token)]);

        Sight memory after_ = _look();
        bool same =
            keccak256(abi.encode(before.held, before.supply)) == keccak256(abi.encode(after_.held, after_.supply));
        _expect(same, Promise.E1, "a gift counts");
        if (!_noLoss(before)) return; // it may fill a hole, which is everybody's
        same = keccak256(abi.encode(part)) == keccak256(abi.encode(VAULT.previewRedeemInKind(1e18)));
        _expect(same, Promise.E1, "a gift is paid out");
        same = keccak256(abi.encode(cost)) == keccak256(abi.encode(VAULT.previewMintInKind(1e18)));
        _expect(same, Promise.E1, "a gift is asked of depositors");
    }

    /// @notice A loss is written down: of ledger and claims the same part, never more, and only if something is missing.
    function sync(uint256 asset) external {
        Sight memory before = _look();
        _sync(asset % 2 == 0 ? asset % before.held.length : _indexOfLoss(before));
    }

    function _sync(uint256 asset) private {
        Sight memory before = _look();
        uint256 id = _id[before.assets[asset].token];
        bool missing = before.present[id] < before.owed[id];
        try VAULT.sync(asset) returns (uint256 lostRaw) {
            ++_counts.lossesWritten;
            Sight memory after_ = _look();
            _expect(missing, Promise.G1, "a loss that did not happen was written down");
            uint256 heldRaw = _fairly(before, after_, id, before.held[asset]);
            _expect(after_.held[asset] == heldRaw, Promise.A4, "the ledger bears another part");
            uint256 pool = _fairly(before, after_, id, before.pools[id]);
            bool ended = after_.pools[id] == 0 && pool <= _units[id] >> 64;
            _expect(after_.pools[id] == pool || ended, Promise.A4, "claims bear another part");
            _expect(lostRaw == before.owed[id] - after_.owed[id], Promise.G1, "told another loss");
        } catch {
            _expect(!missing, Promise.G3, "a loss was not written down");
        }
        _checkKept(before, "sync");
    }

    /// @dev The first asset of which something is missing; the last if nothing is.
    function _indexOfLoss(Sight memory s) private pure returns (uint256 i) {
        while (i + 1 < s.held.length && s.unbooked[i] >= 0) ++i;
    }

    function collectFee() external {
        Sight memory before = _look();
        VAULT.collectFee();
        _expect(VAULT.totalSupply() == before.supply, Promise.G2, "collecting the fee changed the supply");
        _checkKept(before, "collectFee");
    }

    /// @notice Settles the performance fee: a part of what a share gained over the mark, on what was there all the time.
    function settlePerformance(uint256 waitSeconds, bool fresh) public {
        vm.warp(block.timestamp + waitSeconds % 60 days);
        if (fresh) _refresh();
        if (fresh && waitSeconds % 3 == 0) moveSecond(9_820 + waitSeconds % 360); // the sources differ, and are sound
        Sight memory before = _look();
        IVaultBase.Performance memory p = VAULT.performance();
        try VAULT.collectPerformanceFee() returns (uint256 shares) {
            ++_counts.feesSettled;
            _expect(_isSound(before), Promise.D2, "settled by an unsound price");
            _expect(block.timestamp >= p.settledAt + 30 days, Promise.G2, "settled twice in a month");
            _checkCharged(before, p, shares);
        } catch {
            _checkUntouched(before, "a refused settlement changed something");
        }
        Sight memory after_ = _look();
        bool kept =
            keccak256(abi.encode(before.held, before.unbooked)) == keccak256(abi.encode(after_.held, after_.unbooked));
        _expect(kept, Promise.G1, "settling moved assets");
    }

    /// @dev What the new shares are worth is at most the rate of what the shares gained that were there all the time and have an owner. A
    /// unit of a settled vault that nobody was in all the time has gained nothing.
    function _checkCharged(Sight memory before, IVaultBase.Performance memory p, uint256 shares) private {
        (uint256 lowE18, uint256 highE18) = _shareValues(before);
        uint256 gainE18 = Math.saturatingSub(lowE18, p.highWaterE18);
        uint256 there = Math.saturatingSub(_leastSupply, VAULT.balanceOf(LOCKED));
        // {usd18} = {usd18/whole share} * {share} / {share/whole share}
        uint256 feeE18 = lowE18 * shares / E18 * before.supply / (before.supply + shares);
        _expect(shares == 0 || gainE18 != 0, Promise.G2, "charged without a gain");
        uint256 mostE18 = gainE18 * there / E18 * p.chargedBps / BPS;
        _expect(feeE18 <= mostE18 + 2, Promise.G4, "charged more than what was there all the time gained");
        uint256 allE18 = gainE18 * before.supply / E18 * p.chargedBps / BPS;
        _expect(feeE18 <= allE18 + 2, Promise.G2, "charged more than the gain allows");
        uint256 markE18 = VAULT.performance().highWaterE18;
        _expect(markE18 >= p.highWaterE18 && markE18 + 1 >= highE18, Promise.G4, "a mark was noted low");
        _leastSupply = before.supply + shares;
    }

    function poke() external {
        Sight memory before = _look();
        try VAULT.poke() {
            uint256 since = VAULT.state().dueSince;
            // Within rounding of the edge either is right.
            if (since != 0) _expect(_isDue(before, -int256(_slack(before))), Promise.B2, "stamped while whole");
            else _expect(!_isDue(before, int256(_slack(before))), Promise.B2, "cleared while due");
            uint256 right = before.state.dueSince == 0 ? block.timestamp : before.state.dueSince;
            _expect(since == 0 || since == right, Promise.B6, "stamped with another time");
            before.state.dueSince = uint40(since);
        } catch { }
        _checkKept(before, "poke");
    }

    /* KEEPERS */

    /// @notice Moves a price far if nothing is broken, waits as long as it must, and trades well inside every rule. That must work.
    function tradeHonestly(uint256 asset, uint256 moveBps, uint256 lossBps) external {
        _prepareTrade(asset, moveBps);
        Sight memory s = _look();
        (uint256[] memory sales, uint256 soldE18, uint256 partBps) = _affordableSales(s);
        if (!_isBroken(s, int256(_slack(s))) || partBps < s.policy.minProgressBps + 100) {
            ++_counts.honestWaits;
            vm.warp(block.timestamp + s.policy.turnoverPeriodSeconds);
            return;
        }

        uint256 keptBps = BPS - _clamp(lossBps, 0, s.policy.startSlippageBps < 3 ? 0 : s.policy.startSlippageBps - 2);
        uint256[] memory buys = _buys(s, soldE18 * keptBps / BPS);
        if (_rebalance(KEEPER, sales, buys, _bring(s, buys))) {
            ++_counts.honestTrades;
        } else if (
            _isRoutine(s, sales, buys, soldE18 - soldE18 * keptBps / BPS) && _fitsLossBudget(s, soldE18, keptBps)
        ) {
            _note(Promise.G3, "a fair trade was refused");
        }
    }

    /// @dev Makes a trade possible: all that is broken is mended, a weight leaves its band, and the cooldown is over.
    function _prepareTrade(uint256 asset, uint256 moveBps) internal {
        _prepare(asset, moveBps, true);
    }

    function _prepare(uint256 asset, uint256 moveBps, bool patient) private {
        _calm();
        for (uint256 i; i < _tokens.length; ++i) {
            if (_removed[i]) _asOwner(address(HUB), _feeding(i));
            if (_removed[i]) _sourcesChangedAt[i] = block.timestamp;
            _removed[i] = false;
            _refresh();
        }
        if (_roll(asset, 300) % 4 != 0) _forgive(_roll(asset, 301) % 2 == 0);
        if (VAULT.state().paused) _asOwner(address(VAULT), abi.encodeCall(IVaultExtension.resumeRebalance, ()));
        _refresh();
        Sight memory s = _look();
        if (!_isBroken(s, int256(_slack(s)))) {
            movePrice(_id[s.assets[asset % s.assets.length].token], moveBps < type(uint256).max / 2 ? 13_000 : 7_500);
        }
        uint256 openAt = uint256(s.state.rebalancedAt) + s.policy.cooldownSeconds;
        if (patient && block.timestamp < openAt) vm.warp(openAt);
        _refresh();
    }

    /// @dev All losses are written down, and what that barred is allowed again.
    function _forgive(bool allow) internal {
        Sight memory s = _look();
        for (uint256 i; i < s.held.length; ++i) {
            if (s.unbooked[i] < 0) _sync(i);
            if (!allow || !VAULT.isBarred(i)) continue;
            _asOwner(address(VAULT), abi.encodeCall(IVaultExtension.allowPurchases, (i)));
            _allowed(s.assets[i].token);
        }
    }

    /// @notice Liveness: whatever happened, losses are written down, purchases allowed, trading resumed, feeds sound and the budgets
    /// rested: then the trade that mends all it may must pass, even if a holder leaves a little ahead of it.
    function mend(uint256 asset, uint256 moveBps, uint256 ahead) external {
        _forgive(true);
        _prepareTrade(asset, moveBps);
        Sight memory s = _look();
        uint256 rest = s.policy.lossPeriodSeconds > s.policy.turnoverPeriodSeconds
            ? s.policy.lossPeriodSeconds
            : s.policy.turnoverPeriodSeconds;
        if (block.timestamp < s.state.rebalancedAt + rest) vm.warp(s.state.rebalancedAt + rest);
        _refresh();
        s = _look();
        (uint256[] memory sales, uint256[] memory buys, bool must) = _mending(s);
        if (ahead % 2 == 0) {
            address holder = _holder(ahead >> 8);
            // A millionth of all, at most.
            uint256 most = Math.min(VAULT.balanceOf(holder), s.supply / 1e6);
            if (most != 0) _redeem(holder, _clamp(ahead >> 16, 1, most), 0, 2);
        }
        if (_rebalance(KEEPER, sales, buys, _bring(s, buys))) {
            ++_counts.mended;
            return;
        }
        ++_counts.mendsLeft;
        // Called by a test, all of this is one transaction.
        bool same = bytes4(lastRefusal) == IVaultBase.SameTransaction.selector;
        _expect(!must || same, Promise.G5, "no fair trade mends what is broken");
    }

    /// @dev Brings every asset to its destination, or as far as the whole turnover budget reaches; and whether that must pass: something is
    /// broken, the budget is no less than the least progress needs, and no unit or minimum is coarse against what is to do.
    function _mending(Sight memory s) private pure returns (uint256[] memory sales, uint256[] memory buys, bool must) {
        uint256 n = s.held.length;
        (sales, buys) = (new uint256[](n), new uint256[](n));
        must = _isBroken(s, int256(_slack(s))) && s.policy.dustBps != 0;
        (, uint256 needE18) = _outside(s);
        if (needE18 == 0) return (sales, buys, false);
        uint256 limitE18 = s.policy.turnoverBudgetBps * s.totalE18 / BPS;
        uint256 partE18 = limitE18 < needE18 ? limitE18 * E18 / needE18 : E18;
        if (partE18 < uint256(s.policy.minProgressBps) * 1e14 + 1e14 && partE18 < E18) must = false;
        for (uint256 side; side < 2; ++side) {
            uint256[] memory amounts = side == 0 ? sales : buys;
            uint256[] memory valuesE18 = _sideOf(s, side == 0, needE18);
            for (uint256 i; i < n; ++i) {
                if (valuesE18[i] == 0) continue;
                amounts[i] = valuesE18[i] * partE18 / E18 * _unit(s, i) / s.pricesE18[i] + side;
                if (s.pricesE18[i] / _unit(s, i) > s.totalE18 / 1e6) must = false;
                if (amounts[i] < s.assets[i].minTradeRaw || amounts[i] == 0) must = false;
                if (amounts[i] >= 1 << 112) must = false;
            }
        }
    }

    /// @dev What of each asset above (or below) its target takes part in trades of `needE18`: first what lies outside of destinations.
    function _sideOf(Sight memory s, bool above, uint256 needE18) private pure returns (uint256[] memory valuesE18) {
        uint256 outsideE18;
        uint256 insideE18;
        valuesE18 = new uint256[](s.held.length);
        for (uint256 i; i < s.held.length; ++i) {
            if (s.distancesE18[i] > 0 != above || s.assets[i].excluded) continue;
            uint256 size = _size(s.distancesE18[i]);
            uint256 width = s.bandsE18[i] * s.totalE18 / E18 * s.policy.destinationBps / BPS;
            valuesE18[i] = size > width ? size - width : 0;
            outsideE18 += valuesE18[i];
            insideE18 += size - valuesE18[i];
        }
        for (uint256 i; i < s.held.length && insideE18 != 0; ++i) {
            if (s.distancesE18[i] > 0 != above || s.assets[i].excluded) continue;
            valuesE18[i] += (_size(s.distancesE18[i]) - valuesE18[i]) * (needE18 - outsideE18) / insideE18;
        }
    }

    /// @notice Any sales, any purchases, any executor, by the keeper or by anybody. Whatever gets through must still keep the promises.
    function tradeHostilely(uint256 seed, uint256 saleBps, uint256 valueBps) external {
        if (_roll(seed, 200) % 4 != 0) _prepareTrade(seed, _roll(seed, 201) << 8);
        if (_roll(seed, 205) % 3 == 0) _stray(_roll(seed, 206));
        if (_roll(seed, 202) % 2 == 0) this.poke();
        if (_roll(seed, 203) % 2 == 0) vm.warp(block.timestamp + 50 minutes); // up the ramp
        Sight memory s = _look();
        address caller = _roll(seed, 207) % 4 == 0 ? STRANGER : KEEPER;
        (uint256[] memory sales, uint256[] memory asked, uint256 soldE18) = _hostileSales(s, seed, saleBps);
        uint256 valueE18 = _roll(seed, 204) % 2 == 0
            ? soldE18 * _clamp(valueBps, 9_700, 10_050) / BPS
            : soldE18 - _most(s, soldE18) * _clamp(valueBps, 8_000, 10_000) / BPS;
        ScriptedExecutor.Step[] memory steps = _misbehave(s, seed, sales, _buys(s, valueE18));

        if (_rebalance(caller, sales, asked, steps)) ++_counts.hostileTrades;
        else ++_counts.hostileRefusals;
    }

    /// @dev The second source strays to where a thief who believes the first would take most: up if its token is sold, down if bought.
    function _stray(uint256 seed) private {
        Sight memory s = _look();
        uint256 i = _indexOf(s, address(_tokens[0]));
        if (i == type(uint256).max) return;
        uint256 by = 50 + seed % 140;
        moveSecond(s.distancesE18[i] > 0 ? BPS + by : BPS - by);
    }

    /// @dev Mostly what may be sold, sometimes more, sometimes what may not be sold at all.
    function _hostileSales(Sight memory s, uint256 seed, uint256 saleBps)
        private
        pure
        returns (uint256[] memory sales, uint256[] memory asked, uint256 soldE18)
    {
        sales = new uint256[](s.held.length);
        asked = new uint256[](s.held.length);
        for (uint256 i; i < sales.length; ++i) {
            uint256 surplus = s.distancesE18[i] > 0 ? uint256(s.distancesE18[i]) * _unit(s, i) / s.pricesE18[i] : 0;
            if (_roll(seed, i) % 16 == 0) surplus = s.held[i] / 7;
            sales[i] = surplus * _clamp(saleBps, 300, 10_020) / BPS;
            soldE18 += _worth(s, i, sales[i]);
            if (s.distancesE18[i] < 0) asked[i] = 1;
        }
    }

    /// @notice The patient thief: waits for the slippage limit to climb, trades perfectly otherwise, keeps the most that can be kept,
    /// and does it again.
    function stealRepeatedly(uint256 seed) external {
        for (uint256 i; i < 4; ++i) {
            bool patient = _roll(seed, 20 + i) % 4 != 0;
            _prepare(_roll(seed, i), _roll(seed, 10 + i) << 8, patient);
            this.poke();
            if (patient) vm.warp(block.timestamp + VAULT.policy().slippageRampSeconds);
            _refresh();
            Sight memory s = _look();
            (uint256[] memory sales, uint256 soldE18,) = _affordableSales(s);
            uint256[] memory buys = _buys(s, soldE18 - _most(s, soldE18) * 999 / 1_000);
            if (_rebalance(KEEPER, sales, buys, _bring(s, buys))) ++_counts.hostileTrades;
            else ++_counts.hostileRefusals;
        }
    }

    /// @notice Anybody, at the moment the policy opens trading or just before it.
    function tradeByAnyone(uint256 seed, bool early) external {
        _forgive(true);
        _prepareTrade(seed, _roll(seed, 1) << 8);
        this.poke();
        Sight memory s = _look();
        uint256 since = s.state.dueSince;
        if (s.policy.openAfterSeconds == 0 || since == 0) return;
        uint256 opensAt = since + s.policy.openAfterSeconds;
        if (block.timestamp < opensAt) vm.warp(early && seed % 2 == 0 ? opensAt - 1 : opensAt);
        _refresh();
        s = _look();
        (uint256[] memory sales, uint256[] memory buys,) = _mending(s);
        _probe(
            seed,
            abi.encodeCall(
                IVaultCore.rebalance, (s.state.epoch, sales, buys, address(EXECUTOR), abi.encode(_bring(s, buys)))
            )
        );
        if (_rebalance(STRANGER, sales, buys, _bring(s, buys))) ++_counts.openTrades;
    }

    /// @dev Trades and redeems in one transaction, as it would be: whatever the trade does, a redemption behind it is not refused, and a
    /// mint behind it is.
    function _probe(uint256 seed, bytes memory trade) private {
        address holder = _holder(seed >> 8);
        uint256 shares = VAULT.balanceOf(holder);
        if (shares == 0) return;
        uint256 snapshot = vm.snapshotState();
        vm.prank(holder);
        VAULT.approve(address(EXECUTOR), shares);
        ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](3);
        uint256[] memory none = new uint256[](VAULT.held().length);
        steps[0] = ScriptedExecutor.Step(address(VAULT), trade, "");
        steps[1] = ScriptedExecutor.Step(
            address(VAULT), _reentering(2, none.length), abi.encodeWithSelector(IVaultBase.SameTransaction.selector)
        );
        steps[2] = ScriptedExecutor.Step(
            address(VAULT), abi.encodeCall(IVaultCore.redeemInKind, (shares, holder, holder, none)), ""
        );
        string memory how;
        try EXECUTOR.run{ gas: 3 * CALL_GAS }(steps) { }
        catch (bytes memory why) {
            if (bytes4(why) == ScriptedExecutor.UnexpectedOutcome.selector) {
                (uint256 step) = abi.decode(_tailOf(why), (uint256));
                if (step == 1) how = "minted behind a trade";
                if (step == 2) how = "a redemption behind a trade was refused";
            }
        }
        vm.revertToStateAndDelete(snapshot);
        ++_counts.probes;
        if (bytes(how).length != 0) _note(Promise.A1, how);
    }

    function _tailOf(bytes memory data) private pure returns (bytes memory tail) {
        tail = new bytes(data.length - 4);
        for (uint256 i; i < tail.length; ++i) {
            tail[i] = data[i + 4];
        }
    }

    /// @dev The most a thief would dare to take of a sale: the slippage limit of now or the whole loss budget, as if none were spent.
    function _most(Sight memory s, uint256 soldE18) internal view returns (uint256) {
        uint256 bySlippage = soldE18 * _limitE18(s) / E18;
        uint256 byBudget = s.totalE18 * s.policy.lossBudgetBps / BPS;
        return bySlippage < byBudget ? bySlippage : byBudget;
    }

    /// @dev Steps of an executor that takes, keeps, gives back, re-enters, moves a source, or gives too much.
    function _misbehave(Sight memory s, uint256 seed, uint256[] memory sales, uint256[] memory buys)
        internal
        view
        returns (ScriptedExecutor.Step[] memory steps)
    {
        uint256 manner = _roll(seed, 100) % 9;
        if (manner == 0) return new ScriptedExecutor.Step[](0); // takes everything
        if (manner == 1) buys[_roll(seed, 101) % buys.length] = 0; // forgets one
        if (manner == 2) {
            // brings one in plenty
            uint256 j = _roll(seed, 102) % buys.length;
            buys[j] = buys[j] * 3 / 2;
        }
        if (manner == 5) _concentrate(s, buys);
        steps = new ScriptedExecutor.Step[](2 * buys.length + 1);
        steps[0] = ScriptedExecutor.Step(address(VAULT), abi.encodeCall(IVaultCore.locked, ()), "");
        if (manner == 3) steps[0] = _reentry(_roll(seed, 103), s.held.length);
        if (manner == 6) {
            bytes memory move = abi.encodeCall(MockAggregator.push, (_answersE8[0] * 99 / 100));
            steps[0] = ScriptedExecutor.Step(address(SECOND), move, "");
        }
        for (uint256 i; i < buys.length; ++i) {
            steps[1 + i] = _mintStep(s, i, buys[i]);
            // gives back a part, the whole, or more than the whole of what was sold
            uint256 back = manner == 4 ? sales[i] * (_roll(seed, 104) % 13_000) / BPS : 0;
            steps[1 + buys.length + i] = _mintStep(s, i, back);
        }
    }

    /// @dev Brings in one asset what was meant for all, far beyond its target.
    function _concentrate(Sight memory s, uint256[] memory buys) internal pure {
        uint256 worthE18;
        uint256 last = buys.length;
        for (uint256 i; i < buys.length; ++i) {
            if (buys[i] == 0) continue;
            worthE18 += _worth(s, i, buys[i]);
            buys[i] = 1; // as little as may be asked
            last = i;
        }
        if (last < buys.length) buys[last] = worthE18 * _unit(s, last) / s.pricesE18[last] + 1;
    }

    /// @dev A call of whatever changes the vault and may be called by anybody, which must be refused.
    function _reentry(uint256 seed, uint256 n) internal view returns (ScriptedExecutor.Step memory) {
        return ScriptedExecutor.Step(
            address(VAULT),
            _reentering(seed % 11, n),
            abi.encodeWithSelector(IVaultBase.ReentrancyGuardReentrantCall.selector)
        );
    }

    function _reentering(uint256 which, uint256 n) internal view returns (bytes memory) {
        uint256[] memory none = new uint256[](n);
        address me = address(EXECUTOR);
        if (which == 0) return abi.encodeCall(IVaultCore.redeemInKind, (1, me, _holders[0], none));
        if (which == 1) return abi.encodeCall(IVaultCore.redeemInKindExcept, (1, me, _holders[0], none, 1));
        if (which == 2) return abi.encodeCall(IVaultCore.mintInKind, (1, me, none));
        if (which == 3) return abi.encodeCall(IVaultExtension.claim, (me, address(_tokens[0]), me, type(uint256).max));
        if (which == 4) return abi.encodeCall(IVaultCore.poke, ());
        if (which == 5) return abi.encodeCall(IVaultCore.collectFee, ());
        if (which == 6) return abi.encodeCall(IVaultExtension.collectPerformanceFee, ());
        if (which == 7) return abi.encodeCall(IVaultExtension.sync, (0));
        if (which == 8) return abi.encodeCall(IVaultExtension.bid, (0, 1, 1, type(uint256).max));
        if (which == 10) return abi.encodeCall(IVaultExtension.pokeAuction, (0, 1));
        return abi.encodeCall(IVaultCore.rebalance, (VAULT.state().epoch, none, none, me, ""));
    }

    /// @notice The hostile tokens call back into the vault whenever they move, in every way there is.
    function armTokens() external {
        bytes[] memory messages = new bytes[](11);
        for (uint256 i; i < 11; ++i) {
            messages[i] = _reentering(i, VAULT.held().length);
        }
        HostileToken(address(_tokens[HOSTILE])).setCallback(address(VAULT), messages);
        HostileToken(address(_tokens[HOSTILE])).setManner(HostileToken.Manner.Reenters);
    }

    /// @dev Tries a rebalance; if it goes through, holds what happened against the promises.
    function _rebalance(
        address caller,
        uint256[] memory sales,
        uint256[] memory asked,
        ScriptedExecutor.Step[] memory steps
    ) internal returns (bool done) {
        Sight memory before = _look();
        bytes memory data = abi.encodeCall(
            IVaultCore.rebalance, (before.state.epoch, sales, asked, address(EXECUTOR), abi.encode(steps))
        );
        vm.prank(caller);
        (done, lastRefusal) = address(VAULT).call{ gas: CALL_GAS }(data);
        if (!done) {
            _checkUntouched(before, "a refused rebalance changed something");
            return false;
        }
        lastRefusal = "";
        uint256 since = before.state.dueSince;
        uint256 opensAt = since + before.policy.openAfterSeconds;
        bool open = before.policy.openAfterSeconds != 0 && since != 0 && block.timestamp >= opensAt;
        _expect(caller == KEEPER || open, Promise.B5, "traded before it was open");
        _expect(!before.state.paused, Promise.B5, "traded while paused");
        uint256 rested = uint256(before.state.rebalancedAt) + before.policy.cooldownSeconds;
        _expect(block.timestamp >= rested, Promise.B5, "traded in the cooldown");
        _expect(_isSound(before), Promise.D2, "traded by an unsound price");
        _checkTrade(before, _look(), sales, asked);
        // The same trade again, meant for the same epoch.
        vm.prank(caller);
        (bool twice,) = address(VAULT).call{ gas: CALL_GAS }(data);
        _expect(!twice, Promise.B5, "traded twice in one epoch");
    }

    /* AUCTIONS */

    /// @notice Somebody waits for an auction to open, more or less as it must be waited, and bids: for too much, too early or for a little.
    function bidAtAuction(uint256 seed, bool deaf) external {
        Sight memory s = _look();
        (uint256 sell, uint256 buy) = _auction(s, seed);
        if (sell == buy) {
            govern(6, seed); // the owner starts one
            s = _look();
            (sell, buy) = _auction(s, seed);
        }
        if (sell == buy) return;
        uint256 silent = _id[s.assets[_roll(seed, 1) % 2 == 0 ? sell : buy].token];
        uint256 looks = _roll(seed, 3) % 4 == 0 ? _roll(seed, 4) % 16 : 16;
        if (_roll(seed, 9) % 8 == 0 && s.unbooked[buy] >= 0) {
            // What is paid with has lost a quarter, and the owner resumes trading all the same.
            if (s.held[buy] > 3) _lose(_id[s.assets[buy].token], uint256(s.unbooked[buy]) + s.held[buy] / 4);
            _sync(buy);
            _asOwner(address(VAULT), abi.encodeCall(IVaultExtension.resumeRebalance, ()));
        }
        for (uint256 i; i < looks; ++i) {
            if (deaf || i == 0) _silence(silent);
            if (_roll(seed, 20 + i) % 48 == 0) _refresh();
            _pokeAuction(sell, buy);
            if (_roll(seed, 40 + i) % 48 == 0) _tighten(5 - (_removed[silent] ? 1 : _roll(seed, 5) % 2), silent);
            uint256 longest = _roll(seed, 6) % 8 == 0 ? 2_400 : 1_800;
            vm.warp(block.timestamp + (_roll(seed, 60 + i) % 4 == 0 ? _roll(seed, 80 + i) % longest : longest));
        }
        if (_roll(seed, 7) % 8 == 0) _refresh();
        if (_roll(seed, 7) % 8 == 1) _silence(silent);
        uint256 id = _id[s.assets[seed % 2 == 0 ? sell : buy].token];
        if (_roll(seed, 7) % 8 == 2) _lose(id, _tokens[id].balanceOf(address(VAULT)) / 9);
        _bid(sell, buy, seed);
    }

    /// @dev Somebody notes that the pair is unpriced, or ends the auction if it is not, or not by the same sources any more.
    function _pokeAuction(uint256 sell, uint256 buy) private {
        Sight memory s = _look();
        (address sold, address bought) = (s.assets[sell].token, s.assets[buy].token);
        Seen storage seen = _seen[sold][bought];
        if (!_call(Act(STRANGER, address(VAULT), abi.encodeCall(IVaultExtension.pokeAuction, (sell, buy))))) return;
        bool ended = VAULT.auctions(sold, bought).endsAt == 0;
        bool may = !_isUnpriced(s, sell, buy) || _changedAt(sold, bought) > seen.startedAt;
        _expect(ended == may, Promise.C5, ended ? "a sound auction was ended" : "void terms live on");
        if (ended) ++_counts.auctionsEnded;
        else _see(seen);
        _checkKept(s, "pokeAuction");
    }

    function _see(Seen storage seen) private {
        if (block.timestamp > uint256(seen.at) + 30 minutes) seen.since = uint40(block.timestamp);
        seen.at = uint40(block.timestamp);
    }

    /// @dev When a source of either was last changed.
    function _changedAt(address sold, address bought) private view returns (uint256) {
        (uint256 a, uint256 b) = (_sourcesChangedAt[_id[sold]], _sourcesChangedAt[_id[bought]]);
        return a > b ? a : b;
    }

    function _bid(uint256 sell, uint256 buy, uint256 seed) private {
        Sight memory before = _look();
        IVaultBase.Auction memory a = VAULT.auctions(before.assets[sell].token, before.assets[buy].token);
        if (a.lotRaw == 0) return;
        uint256 amount = 1 + _roll(seed, 2) % (uint256(a.lotRaw) * 11 / 10 + 1);
        _fund(LocalToken(before.assets[buy].token), STRANGER, a.startPayRaw * uint256(2));
        Act memory act = Act(STRANGER, address(VAULT), "");
        act.data = abi.encodeCall(IVaultExtension.bid, (sell, buy, amount, type(uint256).max));
        if (!_call(act)) {
            ++_counts.bidsRefused;
            _checkUntouched(before, "a refused bid changed something");
            return;
        }
        ++_counts.bids;
        _checkOpen(before, sell, buy);
        _checkBid(before, a, sell, buy, amount);
    }

    /// @dev C5: the pair was seen unpriced for six hours, and by the sources that the terms were made for.
    function _checkOpen(Sight memory b, uint256 sell, uint256 buy) private {
        (address sold, address bought) = (b.assets[sell].token, b.assets[buy].token);
        Seen storage seen = _seen[sold][bought];
        _see(seen);
        _expect(block.timestamp >= uint256(seen.since) + 6 hours, Promise.C5, "sold before the wait was over");
        _expect(_changedAt(sold, bought) <= seen.startedAt, Promise.C5, "sold on terms older than a source");
        _expect(_isUnpriced(b, sell, buy), Promise.C4, "sold while the oracle prices both");
        _expect(b.unbooked[sell] >= 0 && b.unbooked[buy] >= 0, Promise.A5, "sold what is short of its claims");
        _expect(!_barred[bought], Promise.B7, "bought what is barred");
        _checkClaims(b, _look(), type(uint256).max, "bid");
    }

    function _checkBid(Sight memory b, IVaultBase.Auction memory a, uint256 sell, uint256 buy, uint256 amount) private {
        Sight memory s = _look();
        _expect(!b.state.paused && block.timestamp < a.endsAt, Promise.C4, "sold while paused or after the end");
        _expect(amount <= a.lotRaw && s.held[sell] == b.held[sell] - amount, Promise.C4, "sold another amount");
        uint256 paid = s.held[buy] - b.held[buy];
        _expect(paid * a.lotRaw >= a.floorPayRaw * amount, Promise.C4, "sold below the floor");
        _expect(s.held[sell] * E18 >= a.keepRaw * s.supply, Promise.C4, "sold more than may go");
        _expect(s.held[buy] * E18 <= a.fillRaw * s.supply, Promise.C4, "bought more than may come");
        for (uint256 i; i < b.held.length; ++i) {
            _expect(s.unbooked[i] == b.unbooked[i], Promise.E2, "a bid moved gifts");
            _expect(i == sell || i == buy || s.held[i] == b.held[i], Promise.C4, "a bid moved another asset");
        }
        _expect(s.supply == b.supply && s.state.epoch == b.state.epoch, Promise.C4, "a bid changed the supply");
    }

    /* ARITHMETIC */

    /// @dev The same part of every surplus: all of it, what the turnover budget has left, or what the destination needs.
    function _affordableSales(Sight memory s)
        internal
        view
        returns (uint256[] memory sales, uint256 soldE18, uint256 partBps)
    {
        uint256 surplusE18;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.distancesE18[i] > 0) surplusE18 += uint256(s.distancesE18[i]);
        }
        uint256 mostE18 = _left(s, s.state.turnoverLevelE18, s.policy.turnoverBudgetBps, s.policy.turnoverPeriodSeconds)
            * s.totalE18 / E18;
        (, uint256 needE18) = _outside(s);
        if (s.policy.destinationBps != 0 && needE18 < mostE18) mostE18 = needE18;
        partBps = surplusE18 == 0 ? 0 : mostE18 * (BPS - 1) / surplusE18;
        if (partBps > BPS) partBps = BPS;
        sales = new uint256[](s.held.length);
        for (uint256 i; i < sales.length; ++i) {
            if (s.distancesE18[i] <= 0 || s.assets[i].excluded) continue;
            sales[i] = uint256(s.distancesE18[i]) * partBps / BPS * _unit(s, i) / s.pricesE18[i];
            soldE18 += _worth(s, i, sales[i]);
        }
    }

    /// @dev Whether nothing but a rule could stand in the way: no destination or minimum of its own, no coarse units, no token's loss,
    /// and nothing barred.
    function _isRoutine(Sight memory s, uint256[] memory sales, uint256[] memory buys, uint256 lossE18)
        internal
        view
        returns (bool)
    {
        if (s.policy.destinationBps != 0 || s.policy.startSlippageBps < 3 || !_noLoss(s)) return false;
        // A loss moves all targets by its part: without dust, a purchase up to the exact target crosses it.
        if (lossE18 * BPS >= s.totalE18 * s.policy.dustBps) return false;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.assets[i].excluded) continue;
            if (buys[i] != 0 && _barred[s.assets[i].token]) return false;
            if (s.pricesE18[i] / _unit(s, i) > s.totalE18 / 1e6) return false;
            if (sales[i] != 0 && sales[i] < s.assets[i].minTradeRaw) return false;
            if (buys[i] != 0 && buys[i] < s.assets[i].minTradeRaw) return false;
        }
        return true;
    }

    function _fitsLossBudget(Sight memory s, uint256 soldE18, uint256 keptBps) internal view returns (bool) {
        uint256 leftE18 = _left(s, s.state.lossLevelE18, s.policy.lossBudgetBps, s.policy.lossPeriodSeconds);
        uint256 lossE18 = (soldE18 - soldE18 * keptBps / BPS) * E18 / s.totalE18;
        // A margin for what amounts lose when they are rounded to units.
        return lossE18 + 1e13 < leftE18;
    }

    function _left(Sight memory s, uint256 levelE18, uint256 budgetBps, uint256 periodSeconds)
        internal
        view
        returns (uint256)
    {
        uint256 budgetE18 = budgetBps * 1e14;
        uint256 drainedE18 = budgetE18 * (block.timestamp - s.state.rebalancedAt) / periodSeconds;
        uint256 now_ = drainedE18 >= levelE18 ? 0 : levelE18 - drainedE18;
        return now_ >= budgetE18 ? 0 : budgetE18 - now_;
    }

    /// @dev `valueE18` spread over the deficits in their proportion.
    function _buys(Sight memory s, uint256 valueE18) internal pure returns (uint256[] memory buys) {
        uint256 deficitE18;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.distancesE18[i] < 0) deficitE18 += uint256(-s.distancesE18[i]);
        }
        buys = new uint256[](s.held.length);
        for (uint256 i; i < buys.length; ++i) {
            if (s.distancesE18[i] >= 0 || s.assets[i].excluded) continue;
            buys[i] = valueE18 * uint256(-s.distancesE18[i]) / deficitE18 * _unit(s, i) / s.pricesE18[i];
        }
    }

    function _bring(Sight memory s, uint256[] memory buys)
        internal
        view
        returns (ScriptedExecutor.Step[] memory steps)
    {
        steps = new ScriptedExecutor.Step[](buys.length);
        for (uint256 i; i < buys.length; ++i) {
            steps[i] = _mintStep(s, i, buys[i]);
        }
    }

    function _mintStep(Sight memory s, uint256 i, uint256 amount) internal view returns (ScriptedExecutor.Step memory) {
        bytes memory mint = abi.encodeCall(LocalToken.mint, (address(VAULT), amount));
        return ScriptedExecutor.Step(s.assets[i].token, mint, "");
    }

    function _holder(uint256 seed) internal view returns (address) {
        return _holders[seed % _holders.length];
    }
}
