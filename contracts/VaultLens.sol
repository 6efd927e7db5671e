// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultLens
/// @notice WHAT IT IS. One call that returns everything a keeper or a page needs to know of a list of vaults. Views only; nothing
/// trusts it.
///
/// LAYOUT. 32-byte words, one vault after another: HEAD words, then ASSET_WORDS for each asset. `rebalancer/chain/snapshot.py`
/// reads them.
/// Head: vault, number of assets, reason, totalSupply, epoch, rebalancedAt, brokenSince, lossLevelE18 and turnoverLevelE18 (as
/// stored), lossLeftE18 and turnoverLeftE18 (drained up to now), slippageLimitE18 now, totalE18, distanceE18, driftBps, and the ten
/// policy fields in their order.
/// Asset: token, decimals, targetE18, bandBps, held, loE18, hiE18, primaryE18, fault, valueE18, surplusRaw, deficitRaw.
/// With a reason that leaves the basket unweighed (OracleFault, TotalOutOfRange), what depends on prices is 0.
contract VaultLens {
    /// @notice Why a vault can or cannot be rebalanced now. The keeper's logs, metrics and page use the same words.
    enum Reason {
        BandBroken, // a rebalance may run
        InBand, // every weight is inside its band
        Paused, // the guardian stopped rebalancing
        Cooldown, // the last rebalance was too recent
        OracleFault, // an asset has no sound price
        TotalOutOfRange // the basket is worth nothing, or more than can be computed
    }

    uint256 public constant HEAD_WORDS = 25;
    uint256 public constant ASSET_WORDS = 12;

    /// @notice A vault is in the middle of a state-changing call, so nothing it says can be believed.
    error VaultLocked(address vault);

    /// @notice Reads vaults, in the order given.
    function read(IBasketVault[] calldata vaults) external view returns (bytes memory packed) {
        bytes[] memory parts = new bytes[](vaults.length);
        uint256 length;
        for (uint256 i; i < vaults.length; ++i) {
            parts[i] = abi.encodePacked(_read(vaults[i]));
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

    /// @dev The basket, as the policy's functions take it.
    struct Basket {
        IBasketVault.Asset[] assets;
        uint256[] held;
        IOracleHub.Price[] prices;
        uint256[] pricesE18;
        uint256[] units;
        uint256[] targetsE18;
        uint256[] bandsBps;
        uint256[] valuesE18;
        int256[] distancesE18;
    }

    function _read(IBasketVault vault) private view returns (uint256[] memory words) {
        if (vault.locked()) revert VaultLocked(address(vault));
        Basket memory b;
        b.assets = vault.assets();
        b.held = vault.held();
        uint256 n = b.assets.length;
        words = new uint256[](HEAD_WORDS + ASSET_WORDS * n);
        words[0] = uint160(address(vault));
        words[1] = n;
        words[3] = vault.totalSupply();
        bool sound = _weigh(vault.oracle(), b, words);
        _writeState(vault, words, sound);
        for (uint256 i; i < n; ++i) {
            _writeAsset(words, HEAD_WORDS + ASSET_WORDS * i, b, i, sound);
        }
    }

    /// @dev Prices and weighs the basket; leaves in words[2] what stands in the way, if anything does.
    function _weigh(IOracleHub oracle, Basket memory b, uint256[] memory words) private view returns (bool sound) {
        uint256 n = b.assets.length;
        address[] memory tokens = new address[](n);
        b.pricesE18 = new uint256[](n);
        b.units = new uint256[](n);
        b.targetsE18 = new uint256[](n);
        b.bandsBps = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            tokens[i] = b.assets[i].token;
            b.units[i] = 10 ** b.assets[i].decimals;
            b.targetsE18[i] = b.assets[i].targetE18;
            b.bandsBps[i] = b.assets[i].bandBps;
        }
        b.prices = oracle.prices(tokens);
        for (uint256 i; i < n; ++i) {
            b.pricesE18[i] = b.prices[i].primaryE18;
            if (b.prices[i].fault != IOracleHub.Fault.None) {
                words[2] = uint256(Reason.OracleFault);
                return false;
            }
        }
        try this.weigh(b.held, b.pricesE18, b.units) returns (uint256[] memory valuesE18, uint256 totalE18) {
            b.valuesE18 = valuesE18;
            words[12] = totalE18;
        } catch {
            words[2] = uint256(Reason.TotalOutOfRange);
            return false;
        }
        (b.distancesE18, words[13]) = RebalancePolicy.distances(b.valuesE18, words[12], b.targetsE18);
        words[14] = RebalancePolicy.driftBps(b.distancesE18, words[12]);
        bool whole = RebalancePolicy.firstBroken(b.distancesE18, words[12], b.bandsBps) == RebalancePolicy.NONE;
        words[2] = uint256(whole ? Reason.InBand : Reason.BandBroken);
        return true;
    }

    /// @notice `RebalancePolicy.weigh`, callable from outside so that a basket out of range can be told from a bug.
    function weigh(uint256[] memory held, uint256[] memory pricesE18, uint256[] memory units)
        external
        pure
        returns (uint256[] memory valuesE18, uint256 totalE18)
    {
        return RebalancePolicy.weigh(held, pricesE18, units);
    }

    function _writeState(IBasketVault vault, uint256[] memory words, bool sound) private view {
        IBasketVault.State memory s = vault.state();
        IBasketVault.Policy memory p = vault.policy();
        if (s.paused) {
            words[2] = uint256(Reason.Paused);
        } else if (sound && block.timestamp < uint256(s.rebalancedAt) + p.cooldownSeconds) {
            if (words[2] == uint256(Reason.BandBroken)) words[2] = uint256(Reason.Cooldown);
        }
        words[4] = s.epoch;
        words[5] = s.rebalancedAt;
        words[6] = s.brokenSince;
        words[7] = s.lossLevelE18;
        words[8] = s.turnoverLevelE18;
        uint256 elapsed = block.timestamp - s.rebalancedAt;
        words[9] = _left(s.lossLevelE18, p.lossBudgetBps, p.lossPeriodSeconds, elapsed);
        words[10] = _left(s.turnoverLevelE18, p.turnoverBudgetBps, p.turnoverPeriodSeconds, elapsed);
        words[11] = RebalancePolicy.slippageE18(
            p.startSlippageBps, p.maxSlippageBps, p.slippageRampSeconds, s.brokenSince, block.timestamp
        );
        words[15] = p.startSlippageBps;
        words[16] = p.maxSlippageBps;
        words[17] = p.slippageRampSeconds;
        words[18] = p.minProgressBps;
        words[19] = p.dustBps;
        words[20] = p.cooldownSeconds;
        words[21] = p.lossBudgetBps;
        words[22] = p.lossPeriodSeconds;
        words[23] = p.turnoverBudgetBps;
        words[24] = p.turnoverPeriodSeconds;
    }

    /// @dev What is left of a bucket now. A budget tightened below the level leaves nothing.
    function _left(uint256 levelE18, uint256 budgetBps, uint256 periodSeconds, uint256 elapsed)
        private
        pure
        returns (uint256)
    {
        uint256 budgetE18 = budgetBps * (RebalancePolicy.E18 / RebalancePolicy.BPS);
        uint256 level = RebalancePolicy.leak(levelE18, budgetBps, periodSeconds, elapsed);
        return level >= budgetE18 ? 0 : budgetE18 - level;
    }

    function _writeAsset(uint256[] memory words, uint256 at, Basket memory b, uint256 i, bool sound) private pure {
        IOracleHub.Price memory price = b.prices[i];
        words[at] = uint160(b.assets[i].token);
        words[at + 1] = b.assets[i].decimals;
        words[at + 2] = b.targetsE18[i];
        words[at + 3] = b.bandsBps[i];
        words[at + 4] = b.held[i];
        words[at + 5] = price.loE18;
        words[at + 6] = price.hiE18;
        words[at + 7] = price.primaryE18;
        words[at + 8] = uint256(price.fault);
        if (!sound) return;
        words[at + 9] = b.valuesE18[i];
        words[at + 10] = RebalancePolicy.surplusRaw(b.distancesE18[i], price.primaryE18, b.units[i]);
        words[at + 11] = RebalancePolicy.deficitRaw(b.distancesE18[i], price.primaryE18, b.units[i]);
    }
}
