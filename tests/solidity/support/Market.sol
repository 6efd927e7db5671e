// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../../contracts/mocks/MockAggregator.sol";
import { LocalToken } from "../../../contracts/mocks/MockToken.sol";
import { HostileToken } from "./HostileToken.sol";
import { Watcher } from "./Watcher.sol";

/// @title Market
/// @notice Prices, feeds, time, and tokens that misbehave: what nobody at the vault has in hand.
abstract contract Market is Watcher {
    uint256 internal constant HEARTBEAT = 1 hours;
    uint256 internal constant MAX_DIVERGENCE_BPS = 200;

    IOracleHub internal immutable HUB;
    MockAggregator[] internal _feeds;
    /// The second source of the first token; no other has one.
    MockAggregator internal immutable SECOND;
    /// The tokens whose manners change, by their ids.
    uint256 internal immutable HOSTILE;
    uint256 internal immutable HOSTILE_TOO;

    int192[] internal _firstAnswersE8;
    /// Since when each feed says something sound; 0: it does not.
    uint256[] internal _soundAt;
    uint256 internal _secondAt;
    /// Whether the guardian has taken the feed out of the hub.
    bool[] internal _removed;

    uint256 public feedsBroken;
    uint256 public tokensBroken;
    uint256 public losses;

    constructor(IOracleHub hub, MockAggregator[] memory feeds, MockAggregator second, uint256[2] memory hostile) {
        HUB = hub;
        _feeds = feeds;
        SECOND = second;
        (HOSTILE, HOSTILE_TOO) = (hostile[0], hostile[1]);
        for (uint256 i; i < feeds.length; ++i) {
            (, int256 answer,,,) = feeds[i].latestRoundData();
            _answersE8.push(int192(answer));
            _firstAnswersE8.push(int192(answer));
            _secondsE8.push(i == 0 ? int192(answer) : int192(0));
            _soundAt.push(block.timestamp);
            _removed.push(false);
        }
        _secondAt = block.timestamp;
    }

    /* ACTIONS */

    function movePrice(uint256 token, uint256 factorBps) public {
        token = token % _feeds.length;
        factorBps = _clamp(factorBps, 7_000, 14_000);
        int192 answer = _answersE8[token] * int192(int256(factorBps)) / int192(int256(BPS));
        int192 first = _firstAnswersE8[token];
        if (answer > 20 * first) answer = 20 * first;
        if (answer < first / 20) answer = first / 20;
        _answersE8[token] = answer;
        _refresh();
    }

    /// @notice The second source strays: a little, which costs the trader, or too far, which stops trading.
    function moveSecond(uint256 factorBps) public {
        factorBps = _clamp(factorBps, 9_700, 10_300);
        _refresh();
        _secondsE8[0] = _answersE8[0] * int192(int256(factorBps)) / int192(int256(BPS));
        SECOND.push(_secondsE8[0]);
    }

    /// @notice A feed fails, answers nonsense, or answers late.
    function breakFeed(uint256 token, uint256 manner) external {
        token = token % _feeds.length;
        MockAggregator feed = _feeds[token];
        ++feedsBroken;
        _soundAt[token] = 0;
        manner = manner % 4;
        if (manner == 0) feed.setFailing(true);
        else if (manner == 1) feed.push(0);
        else if (manner == 2) feed.push(-5);
        else feed.pushAt(_answersE8[token], uint64(block.timestamp - 2 * HEARTBEAT));
    }

    function breakToken(uint256 which, uint256 manner) external {
        HostileToken token = HostileToken(address(_tokens[which % 2 == 0 ? HOSTILE : HOSTILE_TOO]));
        manner = manner % (uint256(type(HostileToken.Manner).max) + 1);
        token.setManner(HostileToken.Manner(manner));
        token.setBlocked(address(VAULT));
        if (!_moves(token)) ++tokensBroken;
    }

    /// @notice A token takes from the vault by itself: a rebase down, a clawback. Of any token, from one unit to all of it; mostly of the
    /// hostile ones, and mostly a little, or soon nothing would be left to look at.
    function loseBalance(uint256 which, uint256 amount) external {
        uint256 id = which % 8 < 3 ? HOSTILE : which % 8 < 5 ? HOSTILE_TOO : _roll(which, 1) % _tokens.length;
        uint256 balance = _tokens[id].balanceOf(address(VAULT));
        uint256 manner = _roll(which, 2) % 20;
        if (manner < 5) amount = 1;
        else if (manner < 10) amount = _clamp(amount, 0, balance / 500);
        else if (manner < 18) amount = _clamp(amount, 0, balance / 8);
        else if (manner < 19) amount = _clamp(amount, 0, balance);
        else amount = _roll(which, 3) % 4 == 0 ? balance : balance / 3;
        if (amount != 0 && amount <= balance) _lose(id, amount);
    }

    function _lose(uint256 id, uint256 amount) internal {
        _tokens[id].burn(address(VAULT), amount);
        _noteShortage(id);
        ++losses;
    }

    /// @dev How much less the vault has of a token than it owes.
    function _noteShortage(uint256 id) internal {
        Sight memory s = _look();
        _lost[address(_tokens[id])] = s.owed[id] > s.present[id] ? s.owed[id] - s.present[id] : 0;
    }

    function passTime(uint256 durationSeconds, bool fresh) external {
        uint256 supply = VAULT.totalSupply();
        durationSeconds = _clamp(durationSeconds, 1, 3 days);
        uint256 mostBps = VAULT.fee().streamingBps;
        vm.warp(block.timestamp + durationSeconds);
        if (fresh) _refresh();
        // Simple interest on all shares, at most.
        uint256 most = supply * mostBps * durationSeconds / (365 days * BPS) + 1;
        _expect(VAULT.totalSupply() <= supply + most, Promise.G2, "the fee grew faster than its rate");
    }

    /* STATE */

    /// @dev Everything that can be sound is: feeds answer, sources agree, tokens behave.
    function _refresh() internal {
        for (uint256 i; i < _feeds.length; ++i) {
            _feeds[i].setFailing(false);
            _feeds[i].push(_answersE8[i]);
            _soundAt[i] = block.timestamp;
        }
        _secondsE8[0] = _answersE8[0];
        SECOND.push(_answersE8[0]);
        _secondAt = block.timestamp;
    }

    function _calm() internal {
        HostileToken(address(_tokens[HOSTILE])).setManner(HostileToken.Manner.Honest);
        HostileToken(address(_tokens[HOSTILE_TOO])).setManner(HostileToken.Manner.Honest);
    }

    /// @dev Whether every asset that is not excluded has a sound price, by what the market did to its feeds.
    function _isSound(Sight memory s) internal view returns (bool) {
        for (uint256 i; i < s.assets.length; ++i) {
            if (!s.assets[i].excluded && !_isPriced(s, i)) return false;
        }
        return true;
    }

    /// @dev Whether an asset that is not excluded has a sound price.
    function _isPriced(Sight memory s, uint256 i) internal view returns (bool) {
        uint256 token = _id[s.assets[i].token];
        if (_removed[token] || _soundAt[token] == 0 || block.timestamp > _soundAt[token] + HEARTBEAT) return false;
        if (token == 0 && block.timestamp > _secondAt + HEARTBEAT) return false;
        (uint256 a, uint256 b) = (s.pricesE18[i], s.secondsE18[i]);
        (uint256 lower, uint256 higher) = a < b ? (a, b) : (b, a);
        return higher * BPS <= lower * (BPS + MAX_DIVERGENCE_BPS);
    }

    /// @dev A feed does not answer any more.
    function _silence(uint256 id) internal {
        _feeds[id].setFailing(true);
        _soundAt[id] = 0;
    }

    /// @dev Whether the token moves when asked, as the vault understands it: exactly, and with a good answer.
    function _moves(LocalToken token) internal view returns (bool) {
        if (_id[address(token)] != HOSTILE && _id[address(token)] != HOSTILE_TOO) return true;
        HostileToken.Manner m = HostileToken(address(token)).manner();
        return m == HostileToken.Manner.Honest || m == HostileToken.Manner.ReturnsNothing
            || m == HostileToken.Manner.ReturnsFlood || m == HostileToken.Manner.RevertsOnZero
            || m == HostileToken.Manner.ApproveRace || m == HostileToken.Manner.Reenters
            || m == HostileToken.Manner.OtherDecimals;
    }

    /// @dev Whether it can leave the vault: what arrives elsewhere is the token's own business.
    function _leaves(LocalToken token) internal view returns (bool) {
        if (_moves(token)) return true;
        HostileToken.Manner m = HostileToken(address(token)).manner();
        return m == HostileToken.Manner.TakesFee || m == HostileToken.Manner.PaysBonus;
    }

    /// @dev Whether all of the basket moves, and is there.
    function _allMove(Sight memory s) internal view returns (bool) {
        for (uint256 i; i < s.assets.length; ++i) {
            if (!_moves(LocalToken(s.assets[i].token))) return false;
        }
        return true;
    }

    function _noLoss(Sight memory s) internal pure returns (bool) {
        for (uint256 i; i < s.assets.length; ++i) {
            if (s.unbooked[i] < 0) return false;
        }
        return true;
    }
}
