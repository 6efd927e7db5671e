// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { BoundedCall } from "./libraries/BoundedCall.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultLens
/// @notice WHAT IT IS. One call that returns everything that a keeper or a page needs about a list of vaults. It has views only, and no
/// contract that holds funds trusts it.
///
/// LAYOUT. 32-byte words, one vault after another: HEAD_WORDS words, then ASSET_WORDS words for each asset. `rebalancer/chain/snapshot.py`
/// reads them.
/// Head: vault, number of assets, reason, totalSupply, epoch, rebalancedAt, dueSince (0: no rebalance was seen due), paused, lossLevelE18
/// and turnoverLevelE18 (as stored), lossLeftE18 and turnoverLeftE18 (drained up to now), slippageLimitE18 now, opensAt (when anyone may
/// rebalance; 0: not known, or never), glideStart, glideEnd, totalE18, distanceE18 (to the destination), needE18, driftBps, and the
/// thirteen policy fields in their order.
/// Asset: token, decimals, targetE18 at the glide's end, startTargetE18, targetE18 now, bandBps, relativeBandBps, minTradeRaw, excluded,
/// held, loE18, hiE18, primaryE18, fault, valueE18, surplusRaw, deficitRaw, saleRaw (largest sale that P1 and P6 allow now, together with
/// the sales of the other assets; 0 while no rebalance may run), barred, missingRaw (by how much the vault's balance is below its ledger
/// and the open claims).
/// With a reason that leaves the basket without values (OracleFault, TotalOutOfRange), words that depend on prices are 0. An excluded
/// asset's prices and fault are 0. If a token does not report the vault's balance, its missingRaw is 0.
contract VaultLens {
    using ConfigCode for uint256[];

    /// @notice Why a vault can or cannot be rebalanced now. The keeper's logs, metrics and page use the same names.
    enum Reason {
        BandBroken, // a rebalance may run
        InBand, // every weight is inside its band
        Paused, // the guardian, or a loss, paused rebalancing
        Cooldown, // the last rebalance was too recent
        OracleFault, // an asset has no sound price
        TotalOutOfRange, // the value of the basket is 0, or too large to compute with
        CalendarDue, // a rebalance may run because a calendar period is open
        LossNotWrittenDown, // the vault has less of a token than it owes: anyone may call `sync`
        PurchasesBarred // every asset below its target lost balance before, and the owner has not allowed buying it again
    }

    /// Words per vault.
    uint256 public constant HEAD_WORDS = 33;
    /// Words per asset.
    uint256 public constant ASSET_WORDS = 20;

    /// @notice A call that changes the vault's state is in progress, so its views may be inconsistent.
    error VaultLocked(address vault);

    /// @notice Reads vaults, in the order given. For the result see LAYOUT. Amounts, values and the rest of budgets round down; driftBps
    /// rounds up.
    function read(IBasketVault[] calldata vaults) external view returns (bytes memory packed) {
        bytes[] memory parts = new bytes[](vaults.length);
        uint256 length;
        for (uint256 i; i < vaults.length; ++i) {
            parts[i] = abi.encodePacked(_pack(vaults[i], _read(vaults[i])));
            length += parts[i].length;
        }
        packed = new bytes(length);
        uint256 at;
        for (uint256 i; i < parts.length; ++i) {
            bytes memory part = parts[i];
            assembly ("memory-safe") {
                mcopy(add(add(packed, 32), at), add(part, 32), mload(part))
            }
            at += part.length;
        }
    }

    /// @notice The sales allowed now {tok}, rounded down, as in `read`, and the purchases to name with them: 1 for every asset below its
    /// target that may be bought, 0 for the others. For contracts that build a rebalance on chain.
    function allowedSales(IBasketVault vault)
        external
        view
        returns (Reason reason, uint256 epoch, uint256[] memory sales, uint256[] memory minBuys)
    {
        Basket memory b = _read(vault);
        sales = new uint256[](b.held.length);
        minBuys = new uint256[](b.held.length);
        for (uint256 i; i < b.held.length; ++i) {
            if (b.sales.length == 0) continue; // no rebalance may run
            sales[i] = b.sales[i];
            if (b.distancesE18[i] < 0 && !b.barred[i]) minBuys[i] = 1;
        }
        return (b.reason, b.state.epoch, sales, minBuys);
    }

    /// @dev A vault with all results of the policy. Without sound prices, the fields after `prices` are empty or 0.
    struct Basket {
        uint256[] words;
        IBasketVault.Policy policy;
        IBasketVault.State state;
        Reason reason;
        uint256[] held;
        uint256[] units;
        uint256[] targetsE18;
        uint256[] bandsE18;
        bool[] barred;
        uint256[] missingRaw;
        uint256 lossLeftE18;
        uint256 turnoverLeftE18;
        IOracleHub.Price[] prices;
        uint256[] pricesE18;
        uint256[] valuesE18;
        uint256 totalE18;
        int256[] distancesE18;
        uint256 distanceE18;
        uint256 needE18;
        uint256[] surplusesRaw;
        uint256[] sales;
    }

    function _read(IBasketVault vault) private view returns (Basket memory b) {
        if (vault.locked()) revert VaultLocked(address(vault));
        b.words = ConfigCode.load(vault.config());
        b.policy = b.words.policy();
        b.state = vault.state();
        b.held = vault.held();
        _readState(b);
        bool missing = _readLosses(vault, b);
        if (_weigh(b)) _judge(b);
        if (b.state.paused) {
            b.reason = Reason.Paused;
        } else if (missing) {
            b.reason = Reason.LossNotWrittenDown;
        } else if (block.timestamp < uint256(b.state.rebalancedAt) + b.policy.cooldownSeconds && _mayRun(b.reason)) {
            b.reason = Reason.Cooldown;
        }
        if (_mayRun(b.reason)) _allow(b);
    }

    function _mayRun(Reason reason) private pure returns (bool) {
        return reason == Reason.BandBroken || reason == Reason.CalendarDue;
    }

    function _readState(Basket memory b) private view {
        IBasketVault.State memory s = b.state;
        IBasketVault.Policy memory p = b.policy;
        uint256 elapsed = block.timestamp - s.rebalancedAt;
        b.lossLeftE18 = _left(s.lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds, elapsed);
        b.turnoverLeftE18 = _left(s.turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed);
    }

    /// @dev Reads which assets may not be bought and how much is missing of each {tok}. Returns whether anything is missing.
    function _readLosses(IBasketVault vault, Basket memory b) private view returns (bool missing) {
        uint256 n = b.held.length;
        (b.barred, b.missingRaw) = (new bool[](n), new uint256[](n));
        bytes memory data = abi.encodeCall(IERC20.balanceOf, (address(vault)));
        uint256[] memory balance = new uint256[](1);
        for (uint256 i; i < n; ++i) {
            address token = b.words.token(i);
            b.barred[i] = vault.isBarred(i);
            uint256 owedRaw = b.held[i] + vault.totalClaimable(token);
            if (!BoundedCall.read(token, data, balance) || balance[0] >= owedRaw) continue;
            b.missingRaw[i] = owedRaw - balance[0];
            missing = true;
        }
    }

    /// @dev Rest of a bucket now {1e18 = the basket}. If a budget was tightened below the level, the rest is 0.
    function _left(uint256 levelE18, uint256 budgetBps, uint256 periodSeconds, uint256 elapsed)
        private
        pure
        returns (uint256)
    {
        uint256 budgetE18 = budgetBps * (RebalancePolicy.E18 / RebalancePolicy.BPS);
        uint256 level = RebalancePolicy.leak(levelE18, budgetBps, periodSeconds, elapsed);
        return level >= budgetE18 ? 0 : budgetE18 - level;
    }

    /// @dev Reads prices and computes the value of the basket. Returns false, with the reason, if that cannot be done.
    function _weigh(Basket memory b) private view returns (bool) {
        uint256 n = b.words.assetCount();
        address[] memory tokens = new address[](n);
        (b.units, b.targetsE18, b.bandsE18) = (new uint256[](n), new uint256[](n), new uint256[](n));
        for (uint256 i; i < n; ++i) {
            tokens[i] = b.words.token(i);
            uint256 word = b.words.assetWord(i);
            b.units[i] = ConfigCode.unitOf(word);
            b.targetsE18[i] = b.words.targetE18(i, block.timestamp);
            b.bandsE18[i] = b.words.bandE18(i, word, b.targetsE18[i], b.policy.dustBps);
        }
        b.prices = b.words.oracle().prices(tokens);
        b.pricesE18 = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            if (b.words.excluded(i)) b.prices[i] = IOracleHub.Price(0, 0, 0, IOracleHub.Fault.None);
            b.pricesE18[i] = b.prices[i].primaryE18;
            if (b.prices[i].fault != IOracleHub.Fault.None) b.reason = Reason.OracleFault;
        }
        if (b.reason == Reason.OracleFault) return false;
        try this.weigh(b.held, b.pricesE18, b.units) returns (uint256[] memory valuesE18, uint256 totalE18) {
            (b.valuesE18, b.totalE18) = (valuesE18, totalE18);
            return true;
        } catch {
            b.reason = Reason.TotalOutOfRange;
            return false;
        }
    }

    /// @notice `RebalancePolicy.weigh` as an external function, so that a basket out of range can be caught.
    function weigh(uint256[] memory held, uint256[] memory pricesE18, uint256[] memory units)
        external
        pure
        returns (uint256[] memory valuesE18, uint256 totalE18)
    {
        return RebalancePolicy.weigh(held, pricesE18, units);
    }

    /// @dev Computes distances and surpluses, and whether a rebalance is due.
    function _judge(Basket memory b) private view {
        (b.distancesE18, b.distanceE18) = RebalancePolicy.distances(b.valuesE18, b.totalE18, b.targetsE18);
        bool whole = RebalancePolicy.firstBroken(b.distancesE18, b.totalE18, b.bandsE18) == RebalancePolicy.NONE;
        bool dust = b.distanceE18 * RebalancePolicy.BPS <= b.policy.dustBps * b.totalE18;
        bool open = RebalancePolicy.isCalendarOpen(b.state.rebalancedAt, b.policy.calendarSeconds, block.timestamp);
        if (!whole) b.reason = Reason.BandBroken;
        else b.reason = open && !dust ? Reason.CalendarDue : Reason.InBand;
        bool buyable;
        for (uint256 i; i < b.held.length; ++i) {
            if (b.distancesE18[i] < 0 && !b.barred[i]) buyable = true;
        }
        if (_mayRun(b.reason) && !buyable) b.reason = Reason.PurchasesBarred;
        (b.distanceE18, b.needE18) = RebalancePolicy.toDestination(
            b.distancesE18, b.totalE18, b.bandsE18, b.policy.destinationBps, b.policy.dustBps
        );
        b.surplusesRaw = new uint256[](b.held.length);
        for (uint256 i; i < b.held.length; ++i) {
            b.surplusesRaw[i] = RebalancePolicy.surplusRaw(b.distancesE18[i], b.pricesE18[i], b.units[i]);
        }
    }

    function _allow(Basket memory b) private pure {
        uint256 n = b.held.length;
        uint256[] memory hisE18 = new uint256[](n);
        uint256[] memory minTradesRaw = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            hisE18[i] = b.prices[i].hiE18;
            minTradesRaw[i] = b.words.minTradeRaw(i);
        }
        b.sales = RebalancePolicy.allowedSales(
            b.surplusesRaw, b.pricesE18, hisE18, b.units, minTradesRaw, b.needE18, b.turnoverLeftE18, b.totalE18
        );
    }

    /* PACKING */

    function _pack(IBasketVault vault, Basket memory b) private view returns (uint256[] memory out) {
        uint256 n = b.held.length;
        out = new uint256[](HEAD_WORDS + ASSET_WORDS * n);
        IBasketVault.State memory s = b.state;
        IBasketVault.Policy memory p = b.policy;
        out[0] = uint160(address(vault));
        out[1] = n;
        out[2] = uint256(b.reason);
        out[3] = vault.totalSupply();
        out[4] = s.epoch;
        out[5] = s.rebalancedAt;
        out[6] = s.dueSince;
        out[7] = s.paused ? 1 : 0;
        out[8] = s.lossLevelE18;
        out[9] = s.turnoverLevelE18;
        out[10] = b.lossLeftE18;
        out[11] = b.turnoverLeftE18;
        out[12] = RebalancePolicy.slippageE18(
            p.startSlippageBps, p.maxSlippageBps, p.slippageRampSeconds, b.state.dueSince, block.timestamp
        );
        out[13] = s.dueSince == 0 || p.openAfterSeconds == 0 ? 0 : s.dueSince + p.openAfterSeconds;
        out[14] = b.words.glideStart();
        out[15] = b.words.glideEnd();
        out[16] = b.totalE18;
        out[17] = b.distanceE18;
        out[18] = b.needE18;
        if (b.distancesE18.length != 0) out[19] = RebalancePolicy.driftBps(b.distancesE18, b.totalE18);
        _packPolicy(out, p);
        for (uint256 i; i < n; ++i) {
            _packAsset(out, HEAD_WORDS + ASSET_WORDS * i, b, i);
        }
    }

    function _packPolicy(uint256[] memory out, IBasketVault.Policy memory p) private pure {
        out[20] = p.startSlippageBps;
        out[21] = p.maxSlippageBps;
        out[22] = p.slippageRampSeconds;
        out[23] = p.minProgressBps;
        out[24] = p.dustBps;
        out[25] = p.cooldownSeconds;
        out[26] = p.lossBudgetBps;
        out[27] = p.lossPeriodSeconds;
        out[28] = p.turnoverBudgetBps;
        out[29] = p.turnoverPeriodSeconds;
        out[30] = p.destinationBps;
        out[31] = p.calendarSeconds;
        out[32] = p.openAfterSeconds;
    }

    function _packAsset(uint256[] memory out, uint256 at, Basket memory b, uint256 i) private pure {
        IBasketVault.Asset memory a = b.words.asset(i);
        IOracleHub.Price memory price = b.prices[i];
        out[at] = uint160(a.token);
        out[at + 1] = a.decimals;
        out[at + 2] = a.targetE18;
        out[at + 3] = a.startTargetE18;
        out[at + 4] = b.targetsE18[i];
        out[at + 5] = a.bandBps;
        out[at + 6] = a.relativeBandBps;
        out[at + 7] = a.minTradeRaw;
        out[at + 8] = a.excluded ? 1 : 0;
        out[at + 9] = b.held[i];
        out[at + 10] = price.loE18;
        out[at + 11] = price.hiE18;
        out[at + 12] = price.primaryE18;
        out[at + 13] = uint256(price.fault);
        out[at + 18] = b.barred[i] ? 1 : 0;
        out[at + 19] = b.missingRaw[i];
        if (b.distancesE18.length == 0) return;
        out[at + 14] = b.valuesE18[i];
        out[at + 15] = b.surplusesRaw[i];
        out[at + 16] = RebalancePolicy.deficitRaw(b.distancesE18[i], price.primaryE18, b.units[i]);
        if (b.sales.length != 0) out[at + 17] = b.sales[i];
    }
}
