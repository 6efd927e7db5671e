// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
import { Test } from "forge-std/Test.sol";

import { IBasketVault, IVaultBase } from "../../../contracts/interfaces/IBasketVault.sol";
import { LocalToken } from "../../../contracts/mocks/MockToken.sol";

/// @title Watcher
/// @notice Sees what a vault is and did, from outside and with arithmetic of its own, holds it against the promises, and remembers the
/// first way in which each was broken. It knows prices because it sets them (see Market), and losses because it counts them.
abstract contract Watcher is Test {
    /// @notice What may never happen, by the letters of the promises in README and docs/security.md. A3 (an exit needs nothing but the
    /// tokens), A2's sums, B7's flags and G2's sum are read off the vault's present state, by InvariantsTest.
    enum Promise {
        A1, // a redemption pays held * shares / supply, less the exit fee, sent or owed, and is never refused
        A2, // claims sum to at most their pool, which is covered once losses are written down, and are paid once, to whom the holder says
        A4, // a loss of a token is borne by every share and every claim by the same factor, whichever account acts first
        A5, // nothing is minted, traded or bid for while a loss of what moves is not written down
        B1, // losses of any window stay within the loss budget and what it refills
        B2, // nothing is traded unless a band is broken or the calendar asks
        B3, // a trade loses at most the slippage limit of that moment
        B4, // sales of any window stay within the turnover budget and what it refills
        B5, // nobody but a keeper trades before the policy opens it, in the cooldown, while paused, or in another's place
        B6, // the slippage limit climbs, and anyone may trade, only since a rebalance was seen due under the present configuration
        B7, // what lost more than dust is not bought again, and stops trading, until the owner says otherwise
        C1, // only surplus is sold, only deficit is bought, no more than needed, and nothing else moves
        C2, // no asset crosses its target or ends further from it, beyond dust
        C3, // a trade brings the basket nearer to its destination, by the least progress
        C4, // a bid pays at least the floor, within keep and fill, and only while no oracle prices both
        C5, // no bid within six hours of the pair being seen unpriced, nor on terms older than a source; no call of a guardian opens one
        D1, // the slippage limit holds by whichever of the sources is right
        D2, // nothing is traded or settled while a price is unsound or the sources differ
        E1, // a gift changes what no share is worth
        E2, // what is absorbed was given, and no other call books or spends gifts
        F1, // nothing that adds risk happens without its role and its delay, or after it was cancelled
        F2, // what removes risk works at once, whatever the feeds do
        G1, // no call but a trade, a bid, a loss written down or a fee earned leaves a share with less of anything
        G2, // fees are no more than their rates, and every share has a holder or is a fee
        G3, // who keeps all rules is let through
        G4, // marks never fall, and only what shares that were there all the time gained over one, at the lower prices, is charged
        G5 // from every broken state that may be traded in, some trade passes
    }

    /// @notice What can be seen of the vault at one moment.
    struct Sight {
        IVaultBase.Asset[] assets;
        IVaultBase.Policy policy;
        IVaultBase.State state;
        uint256[] held;
        uint256[] balances;
        int256[] unbooked;
        uint256[] pricesE18;
        uint256[] secondsE18;
        uint256[] bandsE18;
        int256[] distancesE18;
        uint256 totalE18;
        uint256 supply;
        // Of every token there is, by its id: what the vault has and owes of it, all its claims, and each holder's.
        uint256[] present;
        uint256[] owed;
        uint256[] pools;
        uint256[][] claims;
        uint256 markE18;
    }

    /// @notice A trade's part of the basket, and the rates at which the budgets refilled from then on {1e-18 of V, per second}.
    struct Spent {
        uint64 lossE18;
        uint64 soldE18;
        uint64 lossRate;
        uint64 soldRate;
        uint40 at;
    }

    /// @notice For who looks into a failure with `forge test -vvvv`.
    event Breach(Promise which, string how, bytes lastRefusal);

    uint256 internal constant E18 = 1e18;
    uint256 internal constant BPS = 10_000;

    /// What one transaction gets: enough for six tokens that burn all they are given.
    uint256 internal constant CALL_GAS = 6_000_000;

    IBasketVault public immutable VAULT;

    /// All tokens there are, in the basket or not.
    LocalToken[] internal _tokens;
    mapping(address token => uint256) internal _id;
    int192[] internal _answersE8;
    /// What the second source says; 0: there is none.
    int192[] internal _secondsE8;

    mapping(Promise => string) internal _broken;
    /// Why the vault last refused a trade.
    bytes public lastRefusal;
    Spent[] internal _spent;
    uint256 internal _glideStart;
    uint256 internal _glideEnd;
    /// All accounts with shares or claims, except the fees' recipient.
    address[] internal _holders;
    /// How much less the vault has than it owes: what tokens took by themselves and nobody has written down yet.
    mapping(address token => uint256) internal _lost;
    /// What a token lost since its purchases were last allowed, and whether they are barred.
    mapping(address token => uint256) internal _lossE18;
    mapping(address token => bool) internal _barred;
    /// At most how many units share the claims on a token, by its id: claims end when losses leave too little for each of them.
    mapping(uint256 id => uint256) internal _units;
    /// Smallest supply since performance was last settled.
    uint256 internal _leastSupply;

    constructor(IBasketVault vault, LocalToken[] memory tokens, address[] memory holders) {
        VAULT = vault;
        _tokens = tokens;
        _holders = holders;
        _leastSupply = vault.totalSupply();
        for (uint256 i; i < tokens.length; ++i) {
            _id[address(tokens[i])] = i;
        }
    }

    /* WHAT WAS SEEN */

    function firstBreach(Promise which) external view returns (string memory) {
        return _broken[which];
    }

    function lost(address token) external view returns (uint256) {
        return _lost[token];
    }

    function barred(address token) external view returns (bool) {
        return _barred[token];
    }

    function _note(Promise which, string memory how) internal {
        if (bytes(_broken[which]).length != 0) return;
        _broken[which] = how;
        emit Breach(which, how, lastRefusal);
    }

    function _expect(bool kept, Promise which, string memory how) internal {
        if (!kept) _note(which, how);
    }

    /* LOOKING */

    function _look() internal view returns (Sight memory s) {
        s.assets = VAULT.assets();
        s.policy = VAULT.policy();
        s.state = VAULT.state();
        s.held = VAULT.held();
        s.supply = VAULT.totalSupply();
        uint256 n = s.held.length;
        s.balances = new uint256[](n);
        s.unbooked = new int256[](n);
        s.pricesE18 = new uint256[](n);
        s.secondsE18 = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            LocalToken token = LocalToken(s.assets[i].token);
            s.balances[i] = token.balanceOf(address(VAULT));
            // Gifts: what is there and neither held for shares nor owed to a claim. Less than nothing: a loss.
            s.unbooked[i] = int256(s.balances[i]) - int256(s.held[i] + VAULT.totalClaimable(address(token)));
            if (s.assets[i].excluded) continue;
            s.pricesE18[i] = uint256(int256(_answersE8[_id[address(token)]])) * 1e10;
            s.secondsE18[i] = uint256(int256(_secondsE8[_id[address(token)]])) * 1e10;
            if (s.secondsE18[i] == 0) s.secondsE18[i] = s.pricesE18[i];
            s.totalE18 += _worth(s, i, s.held[i]);
        }
        _measure(s);
        s.markE18 = VAULT.performance().highWaterE18;
        _lookAtClaims(s);
    }

    function _lookAtClaims(Sight memory s) private view {
        uint256 n = _tokens.length;
        (s.present, s.owed, s.pools) = (new uint256[](n), new uint256[](n), new uint256[](n));
        s.claims = new uint256[][](n);
        for (uint256 id; id < n; ++id) {
            s.present[id] = _tokens[id].balanceOf(address(VAULT));
            s.pools[id] = VAULT.totalClaimable(address(_tokens[id]));
            s.owed[id] = s.pools[id];
            s.claims[id] = new uint256[](_holders.length);
            for (uint256 h; h < _holders.length && s.pools[id] != 0; ++h) {
                s.claims[id][h] = VAULT.claimable(_holders[h], address(_tokens[id]));
            }
        }
        for (uint256 i; i < s.held.length; ++i) {
            s.owed[_id[s.assets[i].token]] += s.held[i];
        }
    }

    /// @dev Distances to the targets of now, and bands.
    function _measure(Sight memory s) private view {
        uint256 n = s.held.length;
        s.distancesE18 = new int256[](n);
        s.bandsE18 = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            uint256 targetE18 = _targetE18(s.assets[i]);
            s.distancesE18[i] = int256(_worth(s, i, s.held[i])) - int256(targetE18 * s.totalE18 / E18);
            s.bandsE18[i] = uint256(s.assets[i].bandBps) * 1e14;
            if (s.assets[i].relativeBandBps == 0) continue;
            uint256 relativeE18 = targetE18 * s.assets[i].relativeBandBps / BPS;
            uint256 leastE18 = (uint256(s.policy.dustBps) + 1) * 1e14;
            if (relativeE18 < leastE18) relativeE18 = leastE18;
            if (relativeE18 < s.bandsE18[i]) s.bandsE18[i] = relativeE18;
        }
    }

    /// @dev On the straight line between the two targets; the vault's may be one unit less.
    function _targetE18(IVaultBase.Asset memory a) internal view returns (uint256) {
        if (block.timestamp >= _glideEnd) return a.targetE18;
        int256 way = int256(uint256(a.targetE18)) - int256(uint256(a.startTargetE18));
        int256 gone = way * int256(block.timestamp - _glideStart) / int256(_glideEnd - _glideStart);
        return uint256(int256(uint256(a.startTargetE18)) + gone);
    }

    function _worth(Sight memory s, uint256 i, uint256 amount) internal pure returns (uint256) {
        return amount * s.pricesE18[i] / _unit(s, i);
    }

    function _unit(Sight memory s, uint256 i) internal pure returns (uint256) {
        return 10 ** s.assets[i].decimals;
    }

    /// @dev What rounding may make of a distance: a few units of 1e-18 of the basket.
    function _slack(Sight memory s) internal pure returns (uint256) {
        return s.totalE18 / 1e16 + 100;
    }

    function _size(int256 d) internal pure returns (uint256) {
        return d < 0 ? uint256(-d) : uint256(d);
    }

    function _indexOf(Sight memory s, address token) internal pure returns (uint256) {
        for (uint256 i; i < s.assets.length; ++i) {
            if (s.assets[i].token == token) return i;
        }
        return type(uint256).max;
    }

    /// @dev Whether some weight is out of its band by more than `slackE18`, which may be negative.
    function _isBroken(Sight memory s, int256 slackE18) internal pure returns (bool) {
        for (uint256 i; i < s.held.length; ++i) {
            int256 size = int256(_size(s.distancesE18[i])) - slackE18;
            if (size * int256(E18) > int256(s.bandsE18[i] * s.totalE18)) return true;
        }
        return false;
    }

    /// @dev How far all assets lie outside their destinations, and what must be sold to bring all there.
    function _outside(Sight memory s) internal pure returns (uint256 distanceE18, uint256 needE18) {
        uint256 above;
        uint256 below;
        for (uint256 i; i < s.held.length; ++i) {
            uint256 width = s.bandsE18[i] * s.totalE18 / E18 * s.policy.destinationBps / BPS;
            uint256 size = _size(s.distancesE18[i]);
            if (size <= width) continue;
            if (s.distancesE18[i] > 0) above += size - width;
            else below += size - width;
        }
        return (above + below, above > below ? above : below);
    }

    /* CHECKS */

    /// @dev No call but a trade or a bid may leave a share with less of anything, to the unit and without any price, but for its part of a
    /// loss; and none at all a claim.
    function _checkKept(Sight memory before, string memory what) internal {
        _checkKeptBut(before, type(uint256).max, what);
    }

    /// @dev The same, but for the claims of one holder.
    function _checkKeptBut(Sight memory before, uint256 exempt, string memory what)
        internal
        returns (Sight memory after_)
    {
        after_ = _look();
        for (uint256 i; i < before.held.length; ++i) {
            uint256 j = _indexOf(after_, before.assets[i].token);
            if (j == type(uint256).max) {
                _note(Promise.G1, what);
                continue;
            }
            uint256 id = _id[before.assets[i].token];
            uint256 heldRaw = _fairly(before, after_, id, before.held[i]);
            bool kept = after_.held[j] * before.supply >= heldRaw * after_.supply;
            _expect(kept, _isWrittenDown(before, after_, id) ? Promise.A4 : Promise.G1, what);
            _checkGifts(before, after_, id, what);
            if (_isWrittenDown(before, after_, id)) _noteLoss(before, after_, j, id);
        }
        _checkClaims(before, after_, exempt, what);
        _expect(after_.markE18 >= before.markE18, Promise.G4, "a mark fell");
        bool stamped = after_.state.dueSince != before.state.dueSince && after_.state.dueSince != 0;
        _expect(!stamped, Promise.B6, what);
    }

    /// @dev Whether a loss of the token was written down in between.
    function _isWrittenDown(Sight memory before, Sight memory after_, uint256 id) internal pure returns (bool) {
        return before.present[id] < before.owed[id] && after_.present[id] >= after_.owed[id];
    }

    /// @dev What is left of an amount of the ledger or the claims after a loss that was written down in between: the same part for all.
    function _fairly(Sight memory before, Sight memory after_, uint256 id, uint256 amount)
        internal
        pure
        returns (uint256)
    {
        return _isWrittenDown(before, after_, id) ? amount * before.present[id] / before.owed[id] : amount;
    }

    /// @dev What a redemption in between booked as a claim on the token: what left the ledger and did not leave the vault.
    function _openedRaw(Sight memory before, Sight memory after_, uint256 id) internal view returns (uint256) {
        uint256 i = _indexOf(before, address(_tokens[id]));
        uint256 j = _indexOf(after_, address(_tokens[id]));
        if (i == type(uint256).max || j == type(uint256).max) return 0;
        uint256 fell = Math.saturatingSub(_fairly(before, after_, id, before.held[i]), after_.held[j]);
        return Math.saturatingSub(fell, Math.saturatingSub(before.present[id], after_.present[id]));
    }

    /// @dev What was given stays as it was; all that a loss that was written down leaves over is rounding.
    function _checkGifts(Sight memory before, Sight memory after_, uint256 id, string memory what) internal {
        uint256 overBefore = Math.saturatingSub(before.present[id], before.owed[id]);
        uint256 overAfter = Math.saturatingSub(after_.present[id], after_.owed[id]);
        if (!_isWrittenDown(before, after_, id)) {
            uint256 lessBefore = Math.saturatingSub(before.owed[id], before.present[id]);
            uint256 lessAfter = Math.saturatingSub(after_.owed[id], after_.present[id]);
            uint256 given = overBefore;
            // What is left of claims that end because another opens.
            if (_isFaint(id, before.pools[id]) && overAfter > given) given += before.pools[id];
            _expect(overAfter == given && lessBefore == lessAfter, Promise.E2, what);
            return;
        }
        _expect(overAfter <= 2 + (_units[id] >> 31), Promise.A4, "wrote down more than was lost");
    }

    /// @dev A loss of an asset of the basket was written down: beyond dust, it stops trading and bars buying it.
    function _noteLoss(Sight memory before, Sight memory after_, uint256 asset, uint256 id) private {
        address token = address(_tokens[id]);
        _lossE18[token] += Math.ceilDiv((before.owed[id] - before.present[id]) * E18, before.owed[id]);
        if (_lossE18[token] <= uint256(before.policy.dustBps) * 1e14) return;
        if (!_barred[token]) _expect(after_.state.paused, Promise.B7, "trading goes on after a loss");
        _barred[token] = true;
        _expect(VAULT.isBarred(asset), Promise.B7, "what was lost may be bought again");
    }

    /// @dev Every claim but those of one holder is what it was, less its part of a loss, to the rounding of a few units.
    function _checkClaims(Sight memory before, Sight memory after_, uint256 exempt, string memory what) internal {
        for (uint256 id; id < _tokens.length; ++id) {
            if (_isWrittenDown(before, after_, id)) _lost[address(_tokens[id])] = 0;
            if (before.pools[id] == 0 && after_.pools[id] == 0) continue;
            uint256 pool = _fairly(before, after_, id, before.pools[id]);
            // All claims end when losses have left next to nothing of them.
            bool ended = _isWrittenDown(before, after_, id) && _units[id] >> 64 >= pool;
            if (ended) pool = 0;
            for (uint256 h; h < _holders.length; ++h) {
                if (h == exempt) continue;
                uint256 fair = ended ? 0 : _fairly(before, after_, id, before.claims[id][h]);
                bool kept = after_.claims[id][h] + 3 >= fair && after_.claims[id][h] <= fair + 3;
                if (after_.claims[id][h] == 0 && _isFaint(id, pool)) kept = true;
                _expect(kept, Promise.A4, what);
            }
            uint256 opened = _openedRaw(before, after_, id);
            if (opened != 0 && after_.pools[id] == opened) {
                _units[id] = opened; // the only claim is a new one: those of before, if any, ended
            } else if (after_.pools[id] > pool) {
                uint256 more = after_.pools[id] - pool;
                _units[id] = pool == 0 ? more : _units[id] + Math.mulDiv(more, _units[id], pool);
            } else {
                _units[id] = pool == 0 ? 0 : Math.mulDiv(_units[id], after_.pools[id], pool);
            }
        }
    }

    /// @dev Nothing in the vault changed but what may change with anything: gifts, and the names of assets.
    function _checkUntouched(Sight memory before, string memory what) internal {
        Sight memory after_ = _look();
        bytes memory was = abi.encode(before.held, before.supply, before.state, before.assets, before.policy);
        bytes memory is_ = abi.encode(after_.held, after_.supply, after_.state, after_.assets, after_.policy);
        _expect(keccak256(was) == keccak256(is_), Promise.G1, what);
        _expect(keccak256(abi.encode(before.unbooked)) == keccak256(abi.encode(after_.unbooked)), Promise.E2, what);
    }

    /// @dev One redemption: each asset's part of the shares, less the exit fee, left the vault or became a claim of one holder.
    function _checkRedeemed(Sight memory before, uint256 claimant, uint256 shares, uint256 exitBps)
        internal
        returns (uint256 opened)
    {
        Sight memory after_ = _look();
        shares *= BPS - exitBps;
        for (uint256 i; i < before.held.length; ++i) {
            uint256 id = _id[before.assets[i].token];
            // A redemption writes a loss down first, and bears its part.
            bool isLost = before.present[id] < before.owed[id];
            uint256 heldRaw = before.held[i];
            if (isLost) heldRaw = heldRaw * before.present[id] / before.owed[id];
            uint256 part = heldRaw * shares / (before.supply * BPS);
            _expect(after_.held[i] == heldRaw - part, isLost ? Promise.A4 : Promise.A1, "booked another part");
            if (before.present[id] - after_.present[id] == part) continue;
            ++opened;
            bool none = before.present[id] == after_.present[id];
            _expect(none, isLost ? Promise.A4 : Promise.A1, "paid another part");
            _checkOwed(before, after_, id, claimant, part);
        }
    }

    /// @dev Whether losses have left so little of the claims on a token that they end when another opens, or about as little.
    function _isFaint(uint256 id, uint256 pool) internal view returns (bool) {
        return pool != 0 && _units[id] >> 31 >= pool;
    }

    /// @dev A holder's claim grew by that much, to rounding.
    function _checkOwed(Sight memory before, Sight memory after_, uint256 id, uint256 claimant, uint256 part) private {
        uint256 pool = before.pools[id];
        uint256 was = before.claims[id][claimant];
        bool isLost = before.present[id] < before.owed[id];
        if (isLost) {
            pool = pool * before.present[id] / before.owed[id];
            was = _units[id] >> 64 >= pool ? 0 : was * before.present[id] / before.owed[id];
        }
        if (_isFaint(id, pool) && after_.claims[id][claimant] <= part) was = 0;
        uint256 owed = after_.claims[id][claimant];
        bool fair = owed + 3 >= was + part && owed <= was + part + 3;
        _expect(fair, isLost ? Promise.A4 : Promise.A1, "owes another part");
    }

    /// @dev One trade: everything that can be seen to have happened.
    function _checkTrade(Sight memory b, Sight memory a, uint256[] memory sales, uint256[] memory asked) internal {
        _expect(_isDue(b, -int256(_slack(b))), Promise.B2, "traded while no band was broken");
        _expect(a.supply == b.supply, Promise.C1, "a trade changed the supply");
        _expect(a.state.epoch == b.state.epoch + 1, Promise.B5, "epochs do not count trades");
        _checkAmounts(b, a, sales, asked);
        _checkDistances(b, a);
        _checkPrices(b, a);
        _checkBudgets(b, a);
        _checkClaims(b, a, type(uint256).max, "trade");
        uint256 since = b.state.dueSince == 0 ? block.timestamp : b.state.dueSince;
        // Within rounding of a band's edge either is right.
        bool kept = a.state.dueSince == since && _isBroken(a, -int256(_slack(a)));
        bool cleared = a.state.dueSince == 0 && !_isBroken(a, int256(_slack(a)));
        _expect(kept || cleared, Promise.B6, "another stamp after a trade");
    }

    /// @dev Whether a rebalance is due: a band is broken, or the calendar is open and there is more than dust to do.
    function _isDue(Sight memory s, int256 slackE18) internal view returns (bool) {
        if (_isBroken(s, slackE18)) return true;
        uint256 period = s.policy.calendarSeconds;
        if (period == 0 || s.state.rebalancedAt >= block.timestamp / period * period) return false;
        int256 distanceE18 = -slackE18 * int256(s.held.length);
        for (uint256 i; i < s.held.length; ++i) {
            distanceE18 += int256(_size(s.distancesE18[i]));
        }
        return distanceE18 * int256(BPS) > int256(s.policy.dustBps * s.totalE18);
    }

    /// @dev C1: what moved, and how much of it.
    function _checkAmounts(Sight memory b, Sight memory a, uint256[] memory sales, uint256[] memory asked) private {
        uint256 soldE18;
        for (uint256 i; i < b.held.length; ++i) {
            _expect(a.unbooked[i] >= b.unbooked[i], Promise.E2, "a gift was traded away");
            if (a.held[i] == b.held[i]) continue;
            _expect(b.unbooked[i] >= 0, Promise.A5, "traded what is short of its claims");
            _expect(a.held[i] < b.held[i] || !_barred[b.assets[i].token], Promise.B7, "bought what is barred");
            _expect(sales[i] != 0 || asked[i] != 0, Promise.C1, "moved an asset that was not named");
            _expect(!b.assets[i].excluded, Promise.C1, "traded an excluded asset");
            uint256 moved = a.held[i] > b.held[i] ? a.held[i] - b.held[i] : b.held[i] - a.held[i];
            _expect(moved >= b.assets[i].minTradeRaw, Promise.C1, "traded less than the minimum");
            if (a.held[i] < b.held[i]) {
                int256 mostE18 = b.distancesE18[i] + int256(_slack(b));
                _expect(int256(_worth(b, i, moved)) <= mostE18, Promise.C1, "sold more than the surplus");
                soldE18 += _worth(b, i, moved);
            } else {
                _expect(b.distancesE18[i] < int256(_slack(b)), Promise.C1, "bought without a deficit");
            }
        }
        (, uint256 needE18) = _outside(b);
        if (b.policy.destinationBps != 0) {
            uint256 dustE18 = b.totalE18 * b.policy.dustBps / BPS;
            _expect(soldE18 <= needE18 + dustE18 + b.held.length * _slack(b), Promise.C1, "sold more than was needed");
        }
    }

    /// @dev C2 and C3.
    function _checkDistances(Sight memory b, Sight memory a) private {
        uint256 dustE18 = a.totalE18 * b.policy.dustBps / BPS + _slack(a);
        for (uint256 i; i < b.held.length; ++i) {
            uint256 sizeAfter = _size(a.distancesE18[i]);
            bool crossed = (b.distancesE18[i] > 0) != (a.distancesE18[i] > 0) && a.distancesE18[i] != 0;
            _expect(!crossed || sizeAfter <= dustE18, Promise.C2, "crossed a target");
            _expect(sizeAfter <= _size(b.distancesE18[i]) + dustE18, Promise.C2, "ended further away");
        }
        (uint256 outBefore,) = _outside(b);
        (uint256 outAfter,) = _outside(a);
        if (outAfter <= dustE18 + b.held.length * _slack(a)) return;
        uint256 slack = b.held.length * _slack(b) * a.totalE18 * BPS;
        _expect(
            outAfter * b.totalE18 * BPS <= outBefore * a.totalE18 * (BPS - b.policy.minProgressBps) + slack,
            Promise.C3,
            "made too little progress"
        );
    }

    /// @dev B3 and D1: what was lost, by each source alone.
    function _checkPrices(Sight memory b, Sight memory a) private {
        uint256 limitE18 = _limitE18(b);
        for (uint256 source; source < 2; ++source) {
            uint256[] memory prices = source == 0 ? b.pricesE18 : b.secondsE18;
            uint256 soldE18;
            uint256 boughtE18;
            for (uint256 i; i < b.held.length; ++i) {
                if (a.held[i] < b.held[i]) soldE18 += (b.held[i] - a.held[i]) * prices[i] / _unit(b, i) + 1;
                else boughtE18 += (a.held[i] - b.held[i]) * prices[i] / _unit(b, i) + 1;
            }
            bool within = boughtE18 * E18 + b.held.length * E18 >= soldE18 * (E18 - limitE18);
            _expect(within, source == 0 ? Promise.B3 : Promise.D1, "lost more than the slippage limit");
        }
    }

    /// @dev Where the slippage limit is on its climb.
    function _limitE18(Sight memory s) internal view returns (uint256) {
        uint256 since = s.state.dueSince;
        uint256 ramp = s.policy.slippageRampSeconds;
        uint256 climbed = since == 0 ? 0 : block.timestamp - since;
        if (climbed > ramp) climbed = ramp;
        return uint256(s.policy.startSlippageBps) * 1e14 + uint256(s.policy.maxSlippageBps - s.policy.startSlippageBps)
            * 1e14 * climbed / ramp;
    }

    /// @dev B1 and B4: every window that ends now.
    function _checkBudgets(Sight memory b, Sight memory a) private {
        uint256 soldE18;
        for (uint256 i; i < b.held.length; ++i) {
            if (a.held[i] < b.held[i]) soldE18 += _worth(b, i, b.held[i] - a.held[i]);
        }
        uint256 lossE18 = b.totalE18 > a.totalE18 ? b.totalE18 - a.totalE18 : 0;
        _remember(lossE18 * E18 / b.totalE18, soldE18 * E18 / b.totalE18, b.policy);
        uint256 lossBudget = uint256(b.policy.lossBudgetBps) * 1e14;
        uint256 soldBudget = uint256(b.policy.turnoverBudgetBps) * 1e14;
        Spent memory sum;
        for (uint256 i = _spent.length; i > 0; --i) {
            Spent memory one = _spent[i - 1];
            (sum.lossE18, sum.soldE18) = (sum.lossE18 + one.lossE18, sum.soldE18 + one.soldE18);
            // The fastest the budgets refilled at any time in the window.
            if (one.lossRate > sum.lossRate) sum.lossRate = one.lossRate;
            if (one.soldRate > sum.soldRate) sum.soldRate = one.soldRate;
            uint256 window = block.timestamp - one.at;
            _expect(sum.lossE18 <= lossBudget + sum.lossRate * window, Promise.B1, "lost more than a window may");
            _expect(sum.soldE18 <= soldBudget + sum.soldRate * window, Promise.B4, "sold more than a window may");
        }
    }

    /// @dev A trade, or (with nothing spent) the start of another policy.
    function _remember(uint256 lossE18, uint256 soldE18, IVaultBase.Policy memory p) internal {
        _spent.push(
            Spent({
                lossE18: uint64(lossE18),
                soldE18: uint64(soldE18),
                // Up: a unit in a second is far below what the vault itself rounds up in a trade.
                lossRate: uint64(uint256(p.lossBudgetBps) * 1e14 / p.lossPeriodSeconds + 1),
                soldRate: uint64(uint256(p.turnoverBudgetBps) * 1e14 / p.turnoverPeriodSeconds + 1),
                at: uint40(block.timestamp)
            })
        );
    }

    /* NUMBERS */

    /// @dev A number from `least` to `most`; forge-std's `bound` does the same and logs it.
    function _clamp(uint256 x, uint256 least, uint256 most) internal pure returns (uint256) {
        if (x >= least && x <= most) return x;
        return least + x % (most - least + 1);
    }

    function _roll(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt))) >> 8;
    }
}
