// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../../contracts/mocks/MockAggregator.sol";
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
    }

    ScriptedExecutor internal immutable EXECUTOR = new ScriptedExecutor();
    address[] internal _holders;
    Counts internal _counts;
    /// What a share was worth at the settlement of the performance fee where it was worth most {usd18 per 1e18 shares}.
    uint256 internal _highWaterE18;

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
    ) Watcher(vault, tokens_) Market(hub, feeds, second, hostile) Rulers(manager, roles) {
        _holders = holders;
    }

    function counts() external view returns (Counts memory) {
        return _counts;
    }

    function tokens() external view returns (LocalToken[] memory) {
        return _tokens;
    }

    /* HOLDERS */

    function deposit(uint256 holderSeed, uint256 shares) external {
        address holder = _holder(holderSeed);
        shares = _clamp(shares, 1, 50e18);
        Sight memory before = _look();
        uint256[] memory amounts = VAULT.previewMintInKind(shares);
        for (uint256 i; i < amounts.length; ++i) {
            _fund(LocalToken(before.assets[i].token), holder, amounts[i]);
        }

        vm.prank(holder);
        try VAULT.mintInKind{ gas: CALL_GAS }(shares, holder, amounts) {
            ++_counts.deposits;
        } catch {
            ++_counts.depositsRefused;
            _expect(!_allMove(before), Promise.G3, "a sound deposit was refused");
        }

        _checkKept(before, "deposit");
    }

    function redeem(uint256 holderSeed, uint256 shares) external {
        _redeem(_holder(holderSeed), shares, 0, false);
    }

    /// @notice A holder leaves and takes only a part of the assets along; the rest becomes a claim.
    function redeemExcept(uint256 holderSeed, uint256 shares, uint256 skipped) external {
        _redeem(_holder(holderSeed), shares, skipped, true);
    }

    function _redeem(address holder, uint256 shares, uint256 skipped, bool except) private {
        uint256 balance = VAULT.balanceOf(holder);
        if (balance == 0) return;
        shares = _clamp(shares, 1, balance);
        Sight memory before = _look();
        uint256[] memory owed = _claims(before, holder);
        uint256 exitBps = VAULT.fee().exitBps;
        bytes memory data = except
            ? abi.encodeCall(
                IVaultCore.redeemInKindExcept, (shares, holder, holder, new uint256[](owed.length), skipped)
            )
            : abi.encodeCall(IVaultCore.redeemInKind, (shares, holder, holder, new uint256[](owed.length)));

        if (!_call(Act(holder, address(VAULT), data))) {
            _note(Promise.A1, "a redemption was refused");
            return;
        }
        ++_counts.redemptions;
        _checkRedeemed(before, owed, holder, shares, exitBps);
        uint256[] memory owedNow = _claims(before, holder);
        for (uint256 i; i < owed.length; ++i) {
            if (owedNow[i] == owed[i]) continue;
            ++_counts.claimsOpened;
            bool could = _leaves(LocalToken(before.assets[i].token)) && before.unbooked[i] >= 0;
            _expect(!could || skipped >> i & 1 == 1, Promise.A1, "what can be sent was not sent");
        }
        _checkKept(before, "redeem");
    }

    /// @notice The next holder with a claim on the token collects it.
    function claim(uint256 holderSeed, uint256 tokenSeed, bool calm) external {
        if (calm) _calm();
        LocalToken token = _tokens[tokenSeed % _tokens.length];
        (address holder, uint256 amount) = _claimant(holderSeed, token);
        if (amount == 0) return;
        Sight memory before = _look();
        uint256 balance = token.balanceOf(holder);
        uint256 there = token.balanceOf(address(VAULT));

        bool done = _call(Act(holder, address(VAULT), abi.encodeCall(IVaultCore.claim, (address(token), holder))));
        if (done) {
            ++_counts.claimsPaid;
            _expect(token.balanceOf(address(VAULT)) == there - amount, Promise.A2, "another sum left for a claim");
            bool honest = !_moves(token) || token.balanceOf(holder) == balance + amount;
            _expect(honest, Promise.A2, "a claim was not paid whole");
            _expect(VAULT.claimable(holder, address(token)) == 0, Promise.A2, "a claim is still open");
        } else {
            _expect(!_leaves(token) || there < amount, Promise.A2, "a claim was refused");
            _expect(VAULT.claimable(holder, address(token)) == amount, Promise.A2, "a claim was lost");
        }
        _checkKept(before, "claim");
    }

    /// @notice Somebody claims what is another's, or nobody's.
    function claimOthers(uint256 tokenSeed) external {
        address token = address(_tokens[tokenSeed % _tokens.length]);
        Act memory act = Act(STRANGER, address(VAULT), abi.encodeCall(IVaultCore.claim, (token, STRANGER)));
        _expect(!_call(act), Promise.A2, "a stranger collected a claim");
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

        Sight memory after_ = _look();
        bool same =
            keccak256(abi.encode(before.held, before.supply)) == keccak256(abi.encode(after_.held, after_.supply));
        _expect(same, Promise.E1, "a gift counts");
        same = keccak256(abi.encode(part)) == keccak256(abi.encode(VAULT.previewRedeemInKind(1e18)));
        _expect(same, Promise.E1, "a gift is paid out");
        same = keccak256(abi.encode(cost)) == keccak256(abi.encode(VAULT.previewMintInKind(1e18)));
        _expect(same, Promise.E1, "a gift is asked of depositors");
    }

    /// @notice A loss is written down: exactly what is missing, never more, and only if something is.
    function sync(uint256 asset) external {
        Sight memory before = _look();
        asset = asset % 2 == 0 ? asset % before.held.length : _indexOfLoss(before);
        uint256 missing = before.unbooked[asset] < 0 ? uint256(-before.unbooked[asset]) : 0;
        try VAULT.sync(asset) {
            ++_counts.lossesWritten;
            uint256 written = missing < before.held[asset] ? missing : before.held[asset];
            _expect(missing != 0, Promise.G1, "a loss that did not happen was written down");
            _expect(VAULT.held()[asset] == before.held[asset] - written, Promise.G1, "wrote down another loss");
            // What claims are short of, no ledger can give.
            _lost[before.assets[asset].token] = missing - written;
            before.held[asset] -= written;
            before.unbooked[asset] += int256(written);
        } catch {
            _expect(missing == 0, Promise.G3, "a loss was not written down");
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

    /// @notice Settles the performance fee: a part of what a share gained since it was worth most, and nothing of anything else.
    function settlePerformance(uint256 waitSeconds, bool fresh) external {
        vm.warp(block.timestamp + waitSeconds % 60 days);
        if (fresh) _refresh();
        Sight memory before = _look();
        IVaultBase.Performance memory p = VAULT.performance();
        try VAULT.collectPerformanceFee() returns (uint256 shares) {
            ++_counts.feesSettled;
            _expect(_isSound(before), Promise.D2, "settled by an unsound price");
            _expect(block.timestamp >= p.settledAt + 30 days, Promise.G2, "settled twice in a month");
            uint256 totalE18;
            for (uint256 i; i < before.held.length; ++i) {
                uint256 lower = before.pricesE18[i] < before.secondsE18[i] ? before.pricesE18[i] : before.secondsE18[i];
                totalE18 += before.held[i] * lower / _unit(before, i);
            }
            uint256 shareE18 = totalE18 * E18 / before.supply;
            uint256 gainE18 = _highWaterE18 == 0 || shareE18 < _highWaterE18 ? 0 : shareE18 - _highWaterE18;
            // {usd18}: what the new shares are worth is at most the fee on the gain of all old ones.
            uint256 feeE18 = totalE18 * shares / (before.supply + shares);
            uint256 mostE18 = gainE18 * before.supply / E18 * p.chargedBps / BPS;
            _expect(feeE18 <= mostE18 + _slack(before), Promise.G2, "charged more than the gain allows");
            if (shareE18 > _highWaterE18) _highWaterE18 = shareE18;
        } catch {
            _checkUntouched(before, "a refused settlement changed something");
        }
        Sight memory after_ = _look();
        bool kept =
            keccak256(abi.encode(before.held, before.unbooked)) == keccak256(abi.encode(after_.held, after_.unbooked));
        _expect(kept, Promise.G1, "settling moved assets");
    }

    function poke() external {
        Sight memory before = _look();
        try VAULT.poke() {
            bool stamped = VAULT.state().brokenSince != 0;
            // Within rounding of the edge either is right.
            if (stamped) _expect(_isBroken(before, -int256(_slack(before))), Promise.B2, "stamped while whole");
            else _expect(!_isBroken(before, int256(_slack(before))), Promise.B2, "cleared while broken");
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
        _calm();
        for (uint256 i; i < _tokens.length; ++i) {
            if (_removed[i]) _asOwner(address(HUB), _feeding(i));
            _removed[i] = false;
            _refresh();
        }
        if (VAULT.state().paused) _asOwner(address(VAULT), abi.encodeCall(IVaultExtension.resumeRebalance, ()));
        _refresh();
        Sight memory s = _look();
        if (!_isBroken(s, int256(_slack(s)))) {
            movePrice(_id[s.assets[asset % s.assets.length].token], moveBps < type(uint256).max / 2 ? 13_000 : 7_500);
        }
        uint256 openAt = uint256(s.state.rebalancedAt) + s.policy.cooldownSeconds;
        if (block.timestamp < openAt) vm.warp(openAt);
        _refresh();
    }

    /// @notice Any sales, any purchases, any executor, by the keeper or by anybody. Whatever gets through must still keep the promises.
    function tradeHostilely(uint256 seed, uint256 saleBps, uint256 valueBps) external {
        if (_roll(seed, 200) % 4 != 0) _prepareTrade(seed, _roll(seed, 201) << 8);
        if (_roll(seed, 205) % 3 == 0) _stray(_roll(seed, 206));
        if (_roll(seed, 202) % 2 == 0) try VAULT.poke() { } catch { }
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
            _prepareTrade(_roll(seed, i), _roll(seed, 10 + i) << 8);
            try VAULT.poke() { } catch { }
            vm.warp(block.timestamp + VAULT.policy().slippageRampSeconds);
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
        _prepareTrade(seed, _roll(seed, 1) << 8);
        try VAULT.poke() { } catch { }
        Sight memory s = _look();
        uint256 since = _dueSince(s);
        if (s.policy.openAfterSeconds == 0 || since == 0) return;
        uint256 opensAt = since + s.policy.openAfterSeconds;
        if (block.timestamp < opensAt) vm.warp(early ? opensAt - 1 : opensAt);
        _refresh();
        s = _look();
        (uint256[] memory sales, uint256 soldE18,) = _affordableSales(s);
        uint256[] memory buys = _buys(s, soldE18);
        if (_rebalance(STRANGER, sales, buys, _bring(s, buys))) ++_counts.openTrades;
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
            _reentering(seed % 10, n),
            abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
        );
    }

    function _reentering(uint256 which, uint256 n) internal view returns (bytes memory) {
        uint256[] memory none = new uint256[](n);
        address me = address(EXECUTOR);
        if (which == 0) return abi.encodeCall(IVaultCore.redeemInKind, (1, me, _holders[0], none));
        if (which == 1) return abi.encodeCall(IVaultCore.redeemInKindExcept, (1, me, _holders[0], none, 1));
        if (which == 2) return abi.encodeCall(IVaultCore.mintInKind, (1, me, none));
        if (which == 3) return abi.encodeCall(IVaultCore.claim, (address(_tokens[0]), me));
        if (which == 4) return abi.encodeCall(IVaultCore.poke, ());
        if (which == 5) return abi.encodeCall(IVaultCore.collectFee, ());
        if (which == 6) return abi.encodeCall(IVaultExtension.collectPerformanceFee, ());
        if (which == 7) return abi.encodeCall(IVaultExtension.sync, (0));
        if (which == 8) return abi.encodeCall(IVaultExtension.bid, (0, 1, 1, type(uint256).max));
        return abi.encodeCall(IVaultCore.rebalance, (VAULT.state().epoch, none, none, me, ""));
    }

    /// @notice The hostile tokens call back into the vault whenever they move, in every way there is.
    function armTokens() external {
        bytes[] memory messages = new bytes[](10);
        for (uint256 i; i < 10; ++i) {
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
        uint256 since = _dueSince(before);
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

    /// @notice Somebody bids, for too much, too early or for a little.
    function bidAtAuction(uint256 seed, bool deaf) external {
        if (deaf) _feeds[_roll(seed, 1) % _feeds.length].setFailing(true);
        if (deaf) _soundAt[_roll(seed, 1) % _feeds.length] = 0;
        Sight memory before = _look();
        (uint256 sell, uint256 buy) = _auction(before, seed);
        if (sell == buy) return;
        IVaultBase.Auction memory a = VAULT.auctions(before.assets[sell].token, before.assets[buy].token);
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
        _checkBid(before, a, sell, buy, amount);
    }

    function _checkBid(Sight memory b, IVaultBase.Auction memory a, uint256 sell, uint256 buy, uint256 amount) private {
        Sight memory s = _look();
        _expect(!b.state.paused && block.timestamp < a.endsAt, Promise.C4, "sold while paused or after the end");
        address[] memory pair = new address[](2);
        (pair[0], pair[1]) = (b.assets[sell].token, b.assets[buy].token);
        IOracleHub.Price[] memory prices = HUB.prices(pair);
        bool unpriced = prices[0].fault != IOracleHub.Fault.None || prices[1].fault != IOracleHub.Fault.None
            || b.assets[sell].excluded || b.assets[buy].excluded;
        _expect(unpriced, Promise.C4, "sold while the oracle prices both");
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

    /// @dev A pair with an auction; the same number twice if there is none.
    function _auction(Sight memory s, uint256 seed) private view returns (uint256 sell, uint256 buy) {
        uint256 n = s.assets.length;
        for (uint256 i; i < n * n; ++i) {
            uint256 pair = (seed % (n * n) + i) % (n * n);
            (sell, buy) = (pair / n, pair % n);
            if (sell == buy) continue;
            if (VAULT.auctions(s.assets[sell].token, s.assets[buy].token).endsAt > block.timestamp) return (sell, buy);
        }
        return (0, 0);
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

    /// @dev Whether nothing but a rule could stand in the way: no destination or minimum of its own, no coarse units, no token's loss.
    function _isRoutine(Sight memory s, uint256[] memory sales, uint256[] memory buys, uint256 lossE18)
        internal
        pure
        returns (bool)
    {
        if (s.policy.destinationBps != 0 || s.policy.startSlippageBps < 3 || !_noLoss(s)) return false;
        // A loss moves all targets by its part: without dust, whoever buys to the very target crosses it.
        if (lossE18 * BPS >= s.totalE18 * s.policy.dustBps) return false;
        for (uint256 i; i < s.held.length; ++i) {
            if (s.assets[i].excluded) continue;
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

    function _fund(LocalToken token, address holder, uint256 amount) private {
        token.mint(holder, amount);
        vm.startPrank(holder);
        // Whatever it answers: some tokens answer nothing, some want the allowance to be zero first.
        (bool reset,) = address(token).call(abi.encodeCall(token.approve, (address(VAULT), 0)));
        (bool done,) = address(token).call(abi.encodeCall(token.approve, (address(VAULT), amount)));
        assert(reset && done);
        vm.stopPrank();
    }

    function _claims(Sight memory s, address holder) private view returns (uint256[] memory owed) {
        owed = new uint256[](s.assets.length);
        for (uint256 i; i < owed.length; ++i) {
            owed[i] = VAULT.claimable(holder, s.assets[i].token);
        }
    }

    function _claimant(uint256 seed, LocalToken token) private view returns (address holder, uint256 amount) {
        for (uint256 i; i < _holders.length && amount == 0; ++i) {
            holder = _holders[(seed % _holders.length + i) % _holders.length];
            amount = VAULT.claimable(holder, address(token));
        }
    }

    function _holder(uint256 seed) internal view returns (address) {
        return _holders[seed % _holders.length];
    }
}
