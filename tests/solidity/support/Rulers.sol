// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import { IVaultBase, IVaultExtension } from "../../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../../contracts/interfaces/IOracleHub.sol";
import { LocalToken } from "../../../contracts/mocks/MockToken.sol";
import { Market } from "./Market.sol";

/// @title Rulers
/// @notice Owner and curator, who must wait; the guardian, who need not; and everybody else, who may not.
abstract contract Rulers is Market {
    /// @notice One restricted call.
    struct Act {
        address actor;
        address target;
        bytes data;
    }

    uint256 public constant OWNER_DELAY = 2 days;
    uint256 public constant CURATOR_DELAY = 1 days;
    uint256 internal constant LOOSENING = 16;
    uint256 internal constant TIGHTENING = 6;

    IAccessManager internal immutable MANAGER;
    address internal immutable OWNER;
    address internal immutable CURATOR;
    address internal immutable GUARDIAN;
    address internal immutable KEEPER;
    address internal immutable STRANGER = makeAddr("nobody");

    uint256 public actsDone;
    uint256 public actsCancelled;
    uint256 public actsRefused;
    uint256 public tightenings;
    uint256[LOOSENING] public doneByKind;

    /// @notice Since when an auction's pair has been seen unpriced without a gap of more than 30 minutes, and when it was last seen so.
    struct Seen {
        uint40 startedAt;
        uint40 since;
        uint40 at;
    }

    mapping(address sold => mapping(address bought => Seen)) internal _seen;
    /// When a feed or second source of a token was last changed, by its id.
    mapping(uint256 id => uint256) internal _sourcesChangedAt;
    /// The call that sets the first token's second source as it is at the start.
    bytes private _secondSource;

    constructor(IAccessManager manager, address[4] memory roles) {
        MANAGER = manager;
        address token = address(_tokens[0]);
        _secondSource = abi.encodeCall(IOracleHub.setSource, (token, HUB.sourceOf(token)));
        (OWNER, CURATOR, GUARDIAN, KEEPER) = (roles[0], roles[1], roles[2], roles[3]);
    }

    /* ACTIONS */

    /// @notice Owner or curator changes something: never at once, never before the delay, never after the guardian said no.
    function govern(uint256 kindSeed, uint256 seed) public {
        uint256 kind = kindSeed % LOOSENING;
        Act memory act = _loosening(kind, seed);
        if (act.data.length == 0) return;
        _expect(!_call(act), Promise.F1, "done without a delay");
        uint256 delay = act.actor == OWNER ? OWNER_DELAY : CURATOR_DELAY;
        vm.prank(act.actor);
        MANAGER.schedule(act.target, act.data, 0);
        bool cancelled = _roll(seed, 90) % 5 == 0;
        if (cancelled) {
            vm.prank(GUARDIAN);
            MANAGER.cancel(act.actor, act.target, act.data);
            ++actsCancelled;
        } else {
            vm.warp(block.timestamp + delay - 1);
            _expect(!_call(act), Promise.F1, "done before its delay");
        }
        vm.warp(block.timestamp + (cancelled ? delay : 1));
        if (_roll(seed, 91) % 8 != 0) _refresh();
        if (kind == 6 && _roll(seed, 92) % 8 != 0) _silence(_id[VAULT.assets()[_sold(act)].token]);
        Sight memory before = _look();
        bool done = _call(act);
        _expect(!(done && cancelled), Promise.F1, "done after it was cancelled");
        if (done) {
            ++actsDone;
            ++doneByKind[kind];
            _follow(kind, act, before);
        } else if (!cancelled) {
            ++actsRefused;
            vm.prank(act.actor);
            MANAGER.cancel(act.actor, act.target, act.data);
        }
    }

    /// @notice The guardian removes risk: that works now, with feeds down and tokens broken, and opens no auction to bids.
    function tighten(uint256 kindSeed, uint256 seed) external {
        uint256 kind = kindSeed % TIGHTENING;
        if (kind == 5 && _removed[seed % _tokens.length]) kind = 4;
        _tighten(kind, seed);
    }

    function _tighten(uint256 kind, uint256 seed) internal {
        Act memory act = _tightening(kind, seed);
        Sight memory before = _look();
        bool bidBefore = _wouldSell(before, seed);
        _expect(_call(act), Promise.F2, "a tightening was refused");
        ++tightenings;
        if (kind == 1) _remember(0, 0, VAULT.policy());
        if (kind == 4) _removed[seed % _tokens.length] = true;
        if (kind > 3) _sourcesChangedAt[seed % _tokens.length] = block.timestamp;
        _checkKept(before, "tighten");
        _expect(bidBefore || !_wouldSell(before, seed), Promise.C5, "a guardian opened an auction");
    }

    /// @dev Whether a bid for one unit would pass now.
    function _wouldSell(Sight memory s, uint256 seed) private returns (bool would) {
        (uint256 sell, uint256 buy) = _auction(s, seed);
        if (sell == buy) return false;
        uint256 snapshot = vm.snapshotState();
        _fund(LocalToken(s.assets[buy].token), STRANGER, 1 << 100);
        would = _call(
            Act(STRANGER, address(VAULT), abi.encodeCall(IVaultExtension.bid, (sell, buy, 1, type(uint256).max)))
        );
        vm.revertToStateAndDelete(snapshot);
    }

    /// @dev A pair with an auction; the same number twice if there is none.
    function _auction(Sight memory s, uint256 seed) internal view returns (uint256 sell, uint256 buy) {
        uint256 n = s.assets.length;
        for (uint256 i; i < n * n; ++i) {
            uint256 pair = (seed % (n * n) + i) % (n * n);
            (sell, buy) = (pair / n, pair % n);
            if (sell == buy) continue;
            if (VAULT.auctions(s.assets[sell].token, s.assets[buy].token).endsAt > block.timestamp) return (sell, buy);
        }
        return (0, 0);
    }

    function _fund(LocalToken token, address holder, uint256 amount) internal {
        token.mint(holder, amount);
        vm.startPrank(holder);
        // Whatever it answers: some tokens answer nothing, some want the allowance to be zero first.
        (bool reset,) = address(token).call(abi.encodeCall(token.approve, (address(VAULT), 0)));
        (bool done,) = address(token).call(abi.encodeCall(token.approve, (address(VAULT), amount)));
        assert(reset && done);
        vm.stopPrank();
    }

    /// @dev What the call that starts an auction sells.
    function _sold(Act memory act) private pure returns (uint256 sell) {
        (sell,) = abi.decode(_tail(act.data), (uint256, uint256));
    }

    /// @notice The guardian tries to loosen instead: only tighter is tightening.
    function loosenAtOnce(uint256 fieldSeed, uint256 by) external {
        IVaultBase.Policy memory p = VAULT.policy();
        by = 1 + by % 50;
        uint256 field = fieldSeed % 13;
        if (field == 0) p.startSlippageBps += uint16(by);
        else if (field == 1) p.maxSlippageBps += uint16(by);
        else if (field == 2) p.slippageRampSeconds = _less(p.slippageRampSeconds, by);
        else if (field == 3) p.minProgressBps = uint16(_less(p.minProgressBps, by));
        else if (field == 4) p.dustBps = by % 2 == 0 ? p.dustBps + 1 : uint16(_less(p.dustBps, 1));
        else if (field == 5) p.cooldownSeconds = _less(p.cooldownSeconds, by);
        else if (field == 6) p.lossBudgetBps += uint16(by);
        else if (field == 7) p.lossPeriodSeconds = _less(p.lossPeriodSeconds, by);
        else if (field == 8) p.turnoverBudgetBps += uint16(by);
        else if (field == 9) p.turnoverPeriodSeconds = _less(p.turnoverPeriodSeconds, by);
        else if (field == 10 && by % 2 == 0) p.destinationBps = uint16(_less(p.destinationBps, by));
        else if (field == 10) p.destinationBps = uint16(p.destinationBps + by < BPS ? p.destinationBps + by : BPS);
        else if (field == 11) p.calendarSeconds = p.calendarSeconds == 0 ? 1 days : p.calendarSeconds + uint32(by);
        else p.openAfterSeconds = p.openAfterSeconds == 0 ? uint32(by) : _less(p.openAfterSeconds, by);
        if (keccak256(abi.encode(p)) == keccak256(abi.encode(VAULT.policy()))) return;
        bool done = _call(Act(GUARDIAN, address(VAULT), abi.encodeCall(IVaultExtension.tightenPolicy, (p))));
        _expect(!done, Promise.F1, "the guardian loosened the policy");

        IVaultBase.Fees memory f = _fees();
        if (field % 4 == 0) f.streamingBps += uint16(by);
        else if (field % 4 == 1) f.performanceBps += uint16(by);
        else if (field % 4 == 2) f.entryBps += uint16(by);
        else f.exitBps += uint16(by);
        done = _call(Act(GUARDIAN, address(VAULT), abi.encodeCall(IVaultExtension.lowerFees, (f))));
        _expect(!done, Promise.F1, "the guardian raised a fee");
    }

    /// @notice Somebody without the role tries what is restricted.
    function intrude(uint256 who, uint256 kindSeed, uint256 seed) external {
        uint256 kind = kindSeed % (LOOSENING + TIGHTENING);
        Act memory act = kind < LOOSENING ? _loosening(kind, seed) : _tightening(kind - LOOSENING, seed);
        if (act.data.length == 0) return;
        address[5] memory all = [OWNER, CURATOR, GUARDIAN, KEEPER, STRANGER];
        address intruder = all[who % 5];
        if (intruder == act.actor) return;
        act.actor = intruder;
        _expect(!_call(act), Promise.F1, "done without the role");
    }

    /* WHAT RULERS DO */

    /// @dev What must wait, with good arguments more often than not. No data: there is nothing to do of this kind now.
    function _loosening(uint256 kind, uint256 seed) private view returns (Act memory act) {
        act = Act(kind == 13 || kind == 14 ? CURATOR : OWNER, address(VAULT), "");
        uint256 n = VAULT.held().length;
        uint256 asset = _roll(seed, 1) % n;
        if (kind == 0) act.data = abi.encodeCall(IVaultExtension.setPolicy, (_anyPolicy(seed)));
        else if (kind == 1) act.data = abi.encodeCall(IVaultExtension.setFees, (_anyFees(seed), VAULT.feeRecipient()));
        else if (kind == 2) act.data = _adding(seed);
        else if (kind == 3) act.data = abi.encodeCall(IVaultExtension.excludeAsset, (asset));
        else if (kind == 4) act.data = abi.encodeCall(IVaultExtension.includeAsset, (_anExcluded(asset)));
        else if (kind == 5) act.data = abi.encodeCall(IVaultExtension.removeAsset, (_anExcluded(asset)));
        else if (kind == 6) act.data = _starting(seed, asset, (asset + 1 + _roll(seed, 2) % (n - 1)) % n);
        else if (kind == 7) act.data = abi.encodeCall(IVaultExtension.resumeRebalance, ());
        else if (kind == 8) act.data = _absorbing(seed, asset);
        else if (kind == 9) act.data = abi.encodeCall(IVaultExtension.setOracle, (HUB));
        else if (kind == 10) act.data = _feeding(seed % _tokens.length);
        else if (kind == 11) act.data = _doubting();
        else if (kind == 12) act.data = abi.encodeCall(IOracleHub.removeSource, (address(_tokens[1])));
        else if (kind == 13) act.data = _retargeting(seed, n);
        else if (kind == 14) act.data = abi.encodeCall(IVaultExtension.setBands, (_anyBands(seed, n)));
        else act.data = _allowing(asset, n);
        if (kind > 9 && kind < 13) act.target = address(HUB);
    }

    function _tightening(uint256 kind, uint256 seed) private view returns (Act memory act) {
        act = Act(GUARDIAN, address(VAULT), "");
        uint256 n = VAULT.held().length;
        if (kind == 0) {
            act.data = abi.encodeCall(IVaultExtension.pauseRebalance, ());
        } else if (kind == 1) {
            act.data = abi.encodeCall(IVaultExtension.tightenPolicy, (_tighter(seed)));
        } else if (kind == 2) {
            act.data = abi.encodeCall(IVaultExtension.lowerFees, (_lower(seed)));
        } else if (kind == 3) {
            act.data = abi.encodeCall(IVaultExtension.stopAuction, (seed % n, (seed % n + 1) % n));
        } else if (kind == 4) {
            act = Act(
                GUARDIAN, address(HUB), abi.encodeCall(IOracleHub.removeFeed, (address(_tokens[seed % _tokens.length])))
            );
        } else {
            address token = address(_tokens[seed % _tokens.length]);
            IOracleHub.Feed memory f = HUB.feedOf(token); // the same rules again: a change, too
            bytes memory same =
                abi.encodeCall(IOracleHub.tightenFeed, (token, f.heartbeatSeconds, f.minPriceE18, f.maxPriceE18));
            act = Act(GUARDIAN, address(HUB), same);
        }
    }

    /// @dev What an act that was done must have left as it was, and what the watcher must know of it.
    function _follow(uint256 kind, Act memory act, Sight memory before) private {
        if (kind == 0) _remember(0, 0, VAULT.policy());
        if (kind == 3) {
            _glideStart = block.timestamp;
            if (_glideEnd < block.timestamp) _glideEnd = block.timestamp;
        }
        if (kind == 13) {
            (, uint256 glideSeconds) = abi.decode(_tail(act.data), (uint256[], uint256));
            (_glideStart, _glideEnd) = (block.timestamp, block.timestamp + glideSeconds);
        }
        if (kind == 10) _removed[_id[abi.decode(_tail(act.data), (address))]] = false;
        if (kind > 9 && kind < 13) _sourcesChangedAt[_id[abi.decode(_tail(act.data), (address))]] = block.timestamp;
        bool clears = kind != 1 && kind != 6 && kind != 8 && (kind < 10 || kind > 12);
        _expect(!clears || VAULT.state().dueSince == 0, Promise.B6, "a change left the stamp of before");
        bool renumbers = clears && kind != 7 && kind != 15;
        uint256 epoch = before.state.epoch + (renumbers ? 1 : 0);
        _expect(VAULT.state().epoch == epoch, Promise.B5, "epochs do not count changes");
        if (kind == 15) _allowed(before.assets[abi.decode(_tail(act.data), (uint256))].token);
        if (kind == 2) _allowed(abi.decode(_tail(act.data), (address)));
        if (kind == 1) _checkBegun(before);
        if (kind == 6) _checkStarted(act, before);
        if (kind == 5) _checkRemoved(before);
        else if (kind == 8) _checkAbsorbed(act, before);
        else _checkKept(before, "govern");
    }

    function _allowed(address token) internal {
        (_barred[token], _lossE18[token]) = (false, 0);
    }

    /// @dev A performance fee that begins notes what a share is worth, at the higher prices.
    function _checkBegun(Sight memory before) private {
        IVaultBase.Performance memory p = VAULT.performance();
        if (p.settledAt != block.timestamp || p.nextBps == 0) return;
        (, uint256 highE18) = _shareValues(before);
        _expect(p.highWaterE18 + 1 >= highE18, Promise.G4, "a fee began below what a share was worth");
        _leastSupply = before.supply;
    }

    /// @dev What a whole share is worth at the lower prices, rounded up, and at the higher ones, rounded down {usd18}.
    function _shareValues(Sight memory s) internal pure returns (uint256 lowE18, uint256 highE18) {
        for (uint256 i; i < s.held.length; ++i) {
            (uint256 a, uint256 b) = (s.pricesE18[i], s.secondsE18[i]);
            lowE18 += s.held[i] * (a < b ? a : b) / _unit(s, i) + 1;
            highE18 += s.held[i] * (a < b ? b : a) / _unit(s, i);
        }
        return (lowE18 * E18 / s.supply + 1, highE18 * E18 / s.supply);
    }

    /// @dev An auction begins for what no oracle prices, and is seen so now.
    function _checkStarted(Act memory act, Sight memory before) private {
        (uint256 sell, uint256 buy) = abi.decode(_tail(act.data), (uint256, uint256));
        _expect(_isUnpriced(before, sell, buy), Promise.C5, "started while the oracle prices both");
        _seen[before.assets[sell].token][before.assets[buy].token] =
            Seen(uint40(block.timestamp), uint40(block.timestamp), uint40(block.timestamp));
    }

    /// @dev Whether one of both is excluded or has no sound price.
    function _isUnpriced(Sight memory s, uint256 sell, uint256 buy) internal view returns (bool) {
        if (s.assets[sell].excluded || s.assets[buy].excluded) return true;
        return !_isPriced(s, sell) || !_isPriced(s, buy);
    }

    /// @dev One asset left the basket; all others are as they were.
    function _checkRemoved(Sight memory before) private {
        Sight memory after_ = _look();
        uint256 gone;
        for (uint256 i; i < before.held.length; ++i) {
            uint256 j = _indexOf(after_, before.assets[i].token);
            if (j != type(uint256).max) {
                _expect(after_.held[j] == before.held[i], Promise.G1, "removed another asset");
                continue;
            }
            ++gone;
            _noteShortage(_id[before.assets[i].token]);
            _expect(before.assets[i].excluded, Promise.G1, "removed an asset that was not excluded");
        }
        _expect(gone == 1 && after_.supply == before.supply, Promise.G1, "removed more than one asset");
    }

    /// @dev E2: exactly that much, from the gift alone.
    function _checkAbsorbed(Act memory act, Sight memory before) private {
        (uint256 asset, uint256 amount) = abi.decode(_tail(act.data), (uint256, uint256));
        Sight memory after_ = _look();
        _expect(int256(amount) <= before.unbooked[asset], Promise.E2, "absorbed what was not given");
        for (uint256 i; i < before.held.length; ++i) {
            uint256 more = i == asset ? amount : 0;
            _expect(after_.held[i] == before.held[i] + more, Promise.E2, "absorbed something else");
            _expect(after_.balances[i] == before.balances[i], Promise.E2, "absorbing moved tokens");
        }
    }

    /* ARGUMENTS */

    function _adding(uint256 seed) private view returns (bytes memory) {
        if (VAULT.held().length > 8) return "";
        uint256 token = _roll(seed, 1) % _tokens.length;
        IVaultBase.Band memory band = IVaultBase.Band(uint16(100 + _roll(seed, 2) % 900), 0, 0);
        return abi.encodeCall(IVaultExtension.addAsset, (address(_tokens[token]), _tokens[token].decimals(), band));
    }

    function _anExcluded(uint256 otherwise) private view returns (uint256) {
        IVaultBase.Asset[] memory assets = VAULT.assets();
        for (uint256 i; i < assets.length; ++i) {
            if (assets[i].excluded) return i;
        }
        return otherwise;
    }

    /// @dev Lots of a twentieth, from 20 % above the price of the market down to 10 % below, as far as from half to twice of each.
    function _starting(uint256 seed, uint256 sell, uint256 buy) private view returns (bytes memory) {
        Sight memory s = _look();
        IVaultBase.Auction memory a;
        a.lotRaw = uint128(s.held[sell] / 20 + 1);
        uint256 worthE8 = a.lotRaw * uint256(int256(_answersE8[_id[s.assets[sell].token]])) / _unit(s, sell);
        uint256 fair = worthE8 * _unit(s, buy) / uint256(int256(_answersE8[_id[s.assets[buy].token]])) + 1;
        (a.startPayRaw, a.floorPayRaw) = (uint128(fair * 12 / 10 + 1), uint128(fair * 9 / 10 + 1));
        a.keepRaw = uint128(s.held[sell] * E18 / s.supply / 2);
        a.fillRaw = uint128(s.held[buy] * E18 / s.supply * 2 + fair * E18 / s.supply);
        a.decaySeconds = uint32(1 + _roll(seed, 3) % 1 days);
        a.endsAt = uint40(block.timestamp + OWNER_DELAY + 30 days);
        return abi.encodeCall(IVaultExtension.startAuction, (sell, buy, a));
    }

    function _absorbing(uint256 seed, uint256 asset) private view returns (bytes memory) {
        Sight memory s = _look();
        uint256 pool = s.pools[_id[s.assets[asset].token]];
        uint256 most = s.unbooked[asset] <= 0 ? pool : uint256(s.unbooked[asset]);
        if (_roll(seed, 4) % 4 == 0) most += pool;
        return most == 0 ? bytes("") : abi.encodeCall(IVaultExtension.absorb, (asset, 1 + _roll(seed, 3) % most));
    }

    /// @dev An asset that is barred.
    function _allowing(uint256 asset, uint256 n) private view returns (bytes memory) {
        for (uint256 i; i < n; ++i) {
            uint256 barred = (asset + i) % n;
            if (VAULT.isBarred(barred)) return abi.encodeCall(IVaultExtension.allowPurchases, (barred));
        }
        return "";
    }

    function _feeding(uint256 token) internal view returns (bytes memory) {
        return abi.encodeCall(
            IOracleHub.setFeed,
            (address(_tokens[token]), address(_feeds[token]), 8, uint32(HEARTBEAT), 1, type(uint128).max)
        );
    }

    function _doubting() private view returns (bytes memory) {
        return _secondSource;
    }

    function _retargeting(uint256 seed, uint256 n) private view returns (bytes memory) {
        IVaultBase.Asset[] memory assets = VAULT.assets();
        uint256[] memory targets = new uint256[](n);
        uint256 left = E18;
        uint256 last;
        for (uint256 i; i < n; ++i) {
            if (assets[i].excluded) continue;
            targets[i] = left * (_roll(seed, i) % 70) / 100;
            left -= targets[i];
            last = i;
        }
        targets[last] += left;
        uint256 glideSeconds = _roll(seed, 80) % 2 == 0 ? 0 : 1 + _roll(seed, 81) % 20 days;
        return abi.encodeCall(IVaultExtension.setTargets, (targets, glideSeconds));
    }

    function _anyBands(uint256 seed, uint256 n) private view returns (IVaultBase.Band[] memory bands) {
        bands = new IVaultBase.Band[](n);
        uint256[] memory held = VAULT.held();
        for (uint256 i; i < n; ++i) {
            bands[i].bandBps = uint16(30 + _roll(seed, i) % 970);
            if (_roll(seed, 20 + i) % 3 == 0) bands[i].relativeBandBps = uint16(_roll(seed, 40 + i) % 3_000);
            if (_roll(seed, 60 + i) % 3 == 0) bands[i].minTradeRaw = uint128(held[i] / 500);
        }
    }

    function _anyPolicy(uint256 seed) private view returns (IVaultBase.Policy memory p) {
        p = VAULT.policy();
        p.startSlippageBps = uint16(5 + _roll(seed, 10) % 40);
        p.maxSlippageBps = uint16(p.startSlippageBps + _roll(seed, 11) % (300 - p.startSlippageBps));
        p.slippageRampSeconds = uint32(1 + _roll(seed, 12) % 1 days);
        p.minProgressBps = uint16(100 + _roll(seed, 13) % 4_000);
        p.dustBps = uint16(_roll(seed, 14) % 25);
        p.cooldownSeconds = uint32(_roll(seed, 15) % 1 hours);
        // Never too small to repair the largest break: that is refused.
        p.lossBudgetBps = uint16((uint256(p.maxSlippageBps) * p.minProgressBps + BPS - 1) / BPS + _roll(seed, 16) % 100);
        p.lossPeriodSeconds = uint32(1 hours + _roll(seed, 17) % 7 days);
        p.turnoverBudgetBps = uint16(p.minProgressBps + _roll(seed, 18) % 8_000);
        p.turnoverPeriodSeconds = uint32(1 hours + _roll(seed, 19) % 2 days);
        p.destinationBps = _roll(seed, 20) % 3 == 0 ? uint16(_roll(seed, 21) % (BPS + 1)) : 0;
        p.calendarSeconds = _roll(seed, 22) % 4 == 0 ? uint32(1 hours + _roll(seed, 23) % 7 days) : 0;
        p.openAfterSeconds = _roll(seed, 24) % 2 == 0 ? uint32(1 + _roll(seed, 25) % 1 days) : 0;
    }

    function _tighter(uint256 seed) private view returns (IVaultBase.Policy memory p) {
        p = VAULT.policy();
        if (_roll(seed, 10) % 4 == 0) p.startSlippageBps = uint16(_less(p.startSlippageBps, 1));
        if (_roll(seed, 11) % 4 == 0 && p.maxSlippageBps > p.startSlippageBps) --p.maxSlippageBps;
        if (_roll(seed, 12) % 4 == 0) p.slippageRampSeconds += 60;
        if (_roll(seed, 13) % 4 == 0 && p.minProgressBps < BPS) ++p.minProgressBps;
        if (_roll(seed, 15) % 4 == 0) p.cooldownSeconds += 10;
        if (_roll(seed, 16) % 4 == 0) p.lossBudgetBps = uint16(_less(p.lossBudgetBps, 1));
        if (_roll(seed, 17) % 4 == 0) p.lossPeriodSeconds += 600;
        if (_roll(seed, 18) % 4 == 0) p.turnoverBudgetBps = uint16(_less(p.turnoverBudgetBps, 10));
        if (_roll(seed, 19) % 4 == 0) p.turnoverPeriodSeconds += 600;
        if (_roll(seed, 21) % 4 == 0) p.calendarSeconds = 0;
        if (_roll(seed, 22) % 4 == 0) p.openAfterSeconds = p.openAfterSeconds == 0 ? 0 : p.openAfterSeconds + 5;
    }

    function _anyFees(uint256 seed) private pure returns (IVaultBase.Fees memory f) {
        f.streamingBps = uint16(_roll(seed, 30) % 501);
        if (_roll(seed, 36) % 3 != 0) f.performanceBps = uint16(_roll(seed, 31) % 2_001);
        if (_roll(seed, 32) % 2 == 0) f.entryBps = uint16(_roll(seed, 33) % 201);
        if (_roll(seed, 34) % 2 == 0) f.exitBps = uint16(_roll(seed, 35) % 201);
    }

    function _lower(uint256 seed) private view returns (IVaultBase.Fees memory f) {
        f = _fees();
        f.streamingBps = uint16(_less(f.streamingBps, _roll(seed, 30) % 10));
        f.performanceBps = uint16(_less(f.performanceBps, _roll(seed, 31) % 50));
        f.entryBps = uint16(_less(f.entryBps, _roll(seed, 32) % 5));
        f.exitBps = uint16(_less(f.exitBps, _roll(seed, 33) % 5));
    }

    function _fees() private view returns (IVaultBase.Fees memory) {
        IVaultBase.Fee memory f = VAULT.fee();
        return IVaultBase.Fees(f.streamingBps, VAULT.performance().nextBps, f.entryBps, f.exitBps);
    }

    function _less(uint256 x, uint256 by) private pure returns (uint32) {
        return uint32(x > by ? x - by : 0);
    }

    /* CALLS */

    function _call(Act memory act) internal returns (bool done) {
        vm.prank(act.actor);
        (done,) = act.target.call{ gas: CALL_GAS }(act.data);
    }

    /// @dev The owner does something in its proper time.
    function _asOwner(address target, bytes memory data) internal {
        vm.prank(OWNER);
        MANAGER.schedule(target, data, 0);
        vm.warp(block.timestamp + OWNER_DELAY);
        _refresh(); // the hub takes no feed that is not sound
        _expect(_call(Act(OWNER, target, data)), Promise.G3, "the owner was refused");
    }

    /// @dev The arguments of a call, without its selector.
    function _tail(bytes memory data) private pure returns (bytes memory tail) {
        tail = new bytes(data.length - 4);
        for (uint256 i; i < tail.length; ++i) {
            tail[i] = data[i + 4];
        }
    }
}
