// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { IBasketVault, IVaultBase } from "../../../contracts/interfaces/IBasketVault.sol";
import { LocalToken } from "../../../contracts/mocks/MockToken.sol";

/// @title Watcher
/// @notice Sees what a vault is and did, from outside and with arithmetic of its own, holds it against the promises, and remembers the
/// first way in which each was broken. It knows prices because it sets them (see Market), and losses because it counts them.
abstract contract Watcher is Test {
    /// @notice What may never happen, by the letters of the promises in README and docs/security.md. A3 (an exit needs nothing but the
    /// tokens), A2's sums and G2's sum are read off the vault's present state, by InvariantsTest.
    enum Promise {
        A1, // a redemption pays held * shares / supply, less the exit fee, sent or owed, and is never refused
        A2, // a claim is covered, and is paid whole to its holder
        B1, // losses of any window stay within the loss budget and what it refills
        B2, // nothing is traded unless a band is broken or the calendar asks
        B3, // a trade loses at most the slippage limit of that moment
        B4, // sales of any window stay within the turnover budget and what it refills
        B5, // nobody but a keeper trades before the policy opens it, in the cooldown, while paused, or in another's place
        C1, // only surplus is sold, only deficit is bought, no more than needed, and nothing else moves
        C2, // no asset crosses its target or ends further from it, beyond dust
        C3, // a trade brings the basket nearer to its destination, by the least progress
        C4, // a bid pays at least the floor, within keep and fill, and only while no oracle prices both
        D1, // the slippage limit holds by whichever of the sources is right
        D2, // nothing is traded or settled while a price is unsound or the sources differ
        E1, // a gift changes what no share is worth
        E2, // what is absorbed was given, and no other call books or spends gifts
        F1, // nothing that adds risk happens without its role and its delay, or after it was cancelled
        F2, // what removes risk works at once, whatever the feeds do
        G1, // no call but a trade, a bid, a loss written down or a fee earned leaves a share with less of anything
        G2, // fees are no more than their rates, and every share has a holder or is a fee
        G3 // who keeps all rules is let through
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
    /// What tokens took from the vault by themselves and no `sync` has written down yet.
    mapping(address token => uint256) internal _lost;

    constructor(IBasketVault vault, LocalToken[] memory tokens) {
        VAULT = vault;
        _tokens = tokens;
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

    /// @dev Since when a rebalance is due: the stamp, or the start of a calendar period without one.
    function _dueSince(Sight memory s) internal view returns (uint256 since) {
        since = s.state.brokenSince;
        uint256 period = s.policy.calendarSeconds;
        if (period == 0) return since;
        uint256 start = block.timestamp / period * period;
        if (s.state.rebalancedAt < start && (since == 0 || start < since)) since = start;
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

    /// @dev No call but a trade, a bid or a loss written down may leave a share with less of anything, to the unit and without any price.
    function _checkKept(Sight memory before, string memory what) internal {
        Sight memory after_ = _look();
        for (uint256 i; i < before.held.length; ++i) {
            uint256 j = _indexOf(after_, before.assets[i].token);
            if (j == type(uint256).max) {
                _note(Promise.G1, what);
                continue;
            }
            _expect(after_.held[j] * before.supply >= before.held[i] * after_.supply, Promise.G1, what);
            _expect(after_.unbooked[j] == before.unbooked[i], Promise.E2, what);
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

    /// @dev One redemption: each asset's part of the shares, less the exit fee, left the vault or became a claim.
    function _checkRedeemed(
        Sight memory before,
        uint256[] memory owedBefore,
        address holder,
        uint256 shares,
        uint256 exitBps
    ) internal {
        for (uint256 i; i < before.held.length; ++i) {
            address token = before.assets[i].token;
            uint256 part = before.held[i] * (shares * (BPS - exitBps)) / (before.supply * BPS);
            uint256 sent = before.balances[i] - LocalToken(token).balanceOf(address(VAULT));
            uint256 owed = VAULT.claimable(holder, token) - owedBefore[i];
            _expect(sent + owed == part, Promise.A1, "paid another part");
            _expect(VAULT.held()[i] == before.held[i] - part, Promise.A1, "booked another part");
        }
    }

    /// @dev One trade: everything that can be seen to have happened.
    function _checkTrade(Sight memory b, Sight memory a, uint256[] memory sales, uint256[] memory asked) internal {
        bool calls = b.policy.calendarSeconds != 0
            && b.state.rebalancedAt < block.timestamp / b.policy.calendarSeconds * b.policy.calendarSeconds;
        _expect(calls || _isBroken(b, -int256(_slack(b))), Promise.B2, "traded while no band was broken");
        _expect(a.supply == b.supply, Promise.C1, "a trade changed the supply");
        _expect(a.state.epoch == b.state.epoch + 1, Promise.B5, "epochs do not count trades");
        _checkAmounts(b, a, sales, asked);
        _checkDistances(b, a);
        _checkPrices(b, a);
        _checkBudgets(b, a);
    }

    /// @dev C1: what moved, and how much of it.
    function _checkAmounts(Sight memory b, Sight memory a, uint256[] memory sales, uint256[] memory asked) private {
        uint256 soldE18;
        for (uint256 i; i < b.held.length; ++i) {
            _expect(a.unbooked[i] >= b.unbooked[i], Promise.E2, "a gift was traded away");
            if (a.held[i] == b.held[i]) continue;
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
        uint256 since = _dueSince(s);
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
