// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import { IBasketVault, IVaultBase } from "./interfaces/IBasketVault.sol";
import { IConfigStore } from "./interfaces/IConfigStore.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title ConfigStore
/// @notice WHAT IT IS. Rules that a vault's configuration must pass, the code for each change of it, and the factory of its storage. One
/// store serves every vault. It holds no funds, keeps no state and knows no roles: its result has a meaning only for the vault that called.
/// It is separate from BasketVault so that both stay far below the size limit.
///
/// PRICES are read only where a sound price is required: of every asset when the oracle is set, and of an asset that is added or included.
/// Other changes read no price, so a policy can be tightened and an asset excluded while feeds are down.
contract ConfigStore is IConfigStore {
    using ConfigCode for uint256[];
    using SafeCast for uint256;

    uint256 private constant E18 = 1e18;
    uint256 private constant BPS = 10_000;

    uint256 private constant MIN_ASSETS = 2;
    uint256 private constant MAX_ASSETS = 16; // redeeming all of them, each failing slowly, still fits in a block
    uint256 private constant MAX_DECIMALS = 27; // above this, a cheap token's smallest unit could be worth less than 1e-18 dollars
    uint256 private constant MAX_BAND_BPS = 5_000;
    uint256 private constant MAX_SLIPPAGE_BPS = 300; // 3 %: above this a route is broken, not expensive
    uint256 private constant MAX_LOSS_BUDGET_BPS = 500; // 5 % of the basket
    uint256 private constant MAX_TURNOVER_BUDGET_BPS = 20_000; // the whole basket, twice
    uint256 private constant MIN_PERIOD_SECONDS = 1 hours;
    uint256 private constant MAX_GLIDE_SECONDS = 3 * 365 days;

    /* ANYONE */

    /// @inheritdoc IConfigStore
    function write(IBasketVault.Config calldata config) external returns (address pointer) {
        IBasketVault.Config memory c = config;
        for (uint256 i; i < c.assets.length; ++i) {
            _checkToken(c.assets[i].token, c.assets[i].decimals);
        }
        _checkPrices(c);
        pointer = _write(c);
        _checkMends(c.policy);
    }

    /// @inheritdoc IConfigStore
    function setPolicy(address config, IBasketVault.Policy calldata policy) external returns (address pointer) {
        IBasketVault.Config memory c = _present(config);
        c.policy = policy;
        pointer = _write(c); // which checks all ranges
        _checkMends(c.policy);
    }

    /// @inheritdoc IConfigStore
    function tightenPolicy(address config, IBasketVault.Policy calldata p) external returns (address pointer) {
        IBasketVault.Config memory c = _present(config);
        IBasketVault.Policy memory old = c.policy;
        // Every trade that passes under `p` passes under `old`: tests/proofs/tightening.py proves it of these lines.
        _checkNotAbove("startSlippageBps", p.startSlippageBps, old.startSlippageBps);
        _checkNotAbove("maxSlippageBps", p.maxSlippageBps, old.maxSlippageBps);
        _checkNotBelow("slippageRampSeconds", p.slippageRampSeconds, old.slippageRampSeconds);
        _checkNotBelow("minProgressBps", p.minProgressBps, old.minProgressBps);
        // Dust also keeps bands wide and the calendar closed, and the destination measures both need and progress. A change of either value
        // in either direction lets a trade pass that did not pass before.
        _checkSame("dustBps", p.dustBps, old.dustBps);
        _checkSame("destinationBps", p.destinationBps, old.destinationBps);
        _checkNotBelow("cooldownSeconds", p.cooldownSeconds, old.cooldownSeconds);
        _checkNotAbove("lossBudgetBps", p.lossBudgetBps, old.lossBudgetBps);
        _checkNotBelow("lossPeriodSeconds", p.lossPeriodSeconds, old.lossPeriodSeconds);
        _checkNotAbove("turnoverBudgetBps", p.turnoverBudgetBps, old.turnoverBudgetBps);
        _checkNotBelow("turnoverPeriodSeconds", p.turnoverPeriodSeconds, old.turnoverPeriodSeconds);
        // Changing the period could start one earlier, so tightening may only disable the calendar.
        if (p.calendarSeconds != 0) _checkSame("calendarSeconds", p.calendarSeconds, old.calendarSeconds);
        if (p.openAfterSeconds != 0) {
            if (old.openAfterSeconds == 0) revert PolicyLooser("openAfterSeconds", p.openAfterSeconds, 0);
            _checkNotBelow("openAfterSeconds", p.openAfterSeconds, old.openAfterSeconds);
        }
        c.policy = p;
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function setOracle(address config, IOracleHub oracle) external returns (address pointer) {
        IBasketVault.Config memory c = _present(config);
        c.oracle = oracle;
        _checkPrices(c);
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function setTargets(address config, uint256[] calldata targetsE18, uint256 glideSeconds)
        external
        returns (address pointer)
    {
        IBasketVault.Config memory c = _present(config);
        _checkLength(targetsE18.length, c.assets.length);
        if (glideSeconds > MAX_GLIDE_SECONDS) {
            revert GlideOutOfRange(block.timestamp, glideSeconds, MAX_GLIDE_SECONDS);
        }
        uint256[] memory startsE18 = glideSeconds == 0 ? targetsE18 : _targetsNow(c);
        _glide(c, startsE18, targetsE18, block.timestamp + glideSeconds);
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function setBands(address config, IBasketVault.Band[] calldata bands) external returns (address pointer) {
        IBasketVault.Config memory c = _present(config);
        _checkLength(bands.length, c.assets.length);
        for (uint256 i; i < bands.length; ++i) {
            _setBand(c.assets[i], bands[i]);
        }
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function addAsset(address config, address token, uint8 decimals, IBasketVault.Band calldata band)
        external
        returns (address pointer)
    {
        IBasketVault.Config memory c = _present(config);
        _checkToken(token, decimals);
        uint256 n = c.assets.length;
        IBasketVault.Asset[] memory grown = new IBasketVault.Asset[](n + 1);
        for (uint256 i; i < n; ++i) {
            grown[i] = c.assets[i];
        }
        (grown[n].token, grown[n].decimals) = (token, decimals);
        _setBand(grown[n], band);
        c.assets = grown;
        _checkPrice(c, n);
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function excludeAsset(address config, uint256 asset) external returns (address pointer) {
        IBasketVault.Config memory c = _present(config);
        _checkAsset(c, asset);
        if (c.assets[asset].excluded) revert AssetExcluded(asset);
        uint256[] memory startsE18 = _targetsNow(c);
        uint256[] memory targetsE18 = new uint256[](c.assets.length);
        for (uint256 i; i < targetsE18.length; ++i) {
            targetsE18[i] = c.assets[i].targetE18;
        }
        (startsE18[asset], targetsE18[asset]) = (0, 0);
        c.assets[asset].excluded = true;
        _scaleToOne(startsE18);
        _scaleToOne(targetsE18);
        _glide(c, startsE18, targetsE18, c.glideEnd > block.timestamp ? c.glideEnd : block.timestamp);
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function includeAsset(address config, uint256 asset) external returns (address pointer) {
        IBasketVault.Config memory c = _presentExcluding(config, asset);
        c.assets[asset].excluded = false;
        _checkPrice(c, asset);
        return _write(c);
    }

    /// @inheritdoc IConfigStore
    function removeAsset(address config, uint256 asset) external returns (address pointer) {
        IBasketVault.Config memory c = _presentExcluding(config, asset);
        uint256 last = c.assets.length - 1;
        c.assets[asset] = c.assets[last];
        IBasketVault.Asset[] memory shrunk = new IBasketVault.Asset[](last);
        for (uint256 i; i < last; ++i) {
            shrunk[i] = c.assets[i];
        }
        c.assets = shrunk;
        return _write(c);
    }

    /* INSIDE */

    function _present(address config) private view returns (IBasketVault.Config memory) {
        return ConfigCode.load(config).unpack();
    }

    function _presentExcluding(address config, uint256 asset) private view returns (IBasketVault.Config memory c) {
        c = _present(config);
        _checkAsset(c, asset);
        if (!c.assets[asset].excluded) revert AssetNotExcluded(asset);
    }

    /// @dev Present targets, rounded to a sum of exactly 1e18.
    function _targetsNow(IBasketVault.Config memory c) private view returns (uint256[] memory targetsE18) {
        targetsE18 = new uint256[](c.assets.length);
        for (uint256 i; i < targetsE18.length; ++i) {
            targetsE18[i] = RebalancePolicy.targetE18(
                c.assets[i].startTargetE18, c.assets[i].targetE18, c.glideStart, c.glideEnd, block.timestamp
            );
        }
        _scaleToOne(targetsE18);
    }

    /// @dev Scales weights to a sum of exactly 1e18, rounded down. The largest gets the rest. Refused if all are zero.
    function _scaleToOne(uint256[] memory weightsE18) private pure {
        uint256 sum;
        for (uint256 i; i < weightsE18.length; ++i) {
            sum += weightsE18[i];
        }
        if (sum == 0) revert TargetsDoNotSumToOne(0);
        uint256 largest;
        uint256 left = E18;
        for (uint256 i; i < weightsE18.length; ++i) {
            weightsE18[i] = weightsE18[i] * E18 / sum;
            left -= weightsE18[i];
            if (weightsE18[i] > weightsE18[largest]) largest = i;
        }
        weightsE18[largest] += left;
    }

    function _glide(
        IBasketVault.Config memory c,
        uint256[] memory startsE18,
        uint256[] memory targetsE18,
        uint256 glideEnd
    ) private view {
        c.glideStart = uint40(block.timestamp);
        c.glideEnd = uint40(glideEnd); // at most three years from now, or unchanged
        for (uint256 i; i < c.assets.length; ++i) {
            // A target that does not fit cannot be part of a sum of 1e18, so the cast reverts.
            c.assets[i].startTargetE18 = startsE18[i].toUint64();
            c.assets[i].targetE18 = targetsE18[i].toUint64();
        }
    }

    function _setBand(IBasketVault.Asset memory a, IBasketVault.Band calldata band) private pure {
        (a.bandBps, a.relativeBandBps, a.minTradeRaw) = (band.bandBps, band.relativeBandBps, band.minTradeRaw);
    }

    /// @dev Checks everything that needs no outside call, and stores the configuration.
    function _write(IBasketVault.Config memory c) private returns (address pointer) {
        _checkPolicy(c.policy);
        _checkAssets(c.assets, uint256(c.policy.dustBps) + 1);
        if (c.glideEnd < c.glideStart || c.glideEnd - c.glideStart > MAX_GLIDE_SECONDS) {
            revert GlideOutOfRange(c.glideStart, c.glideEnd, MAX_GLIDE_SECONDS);
        }

        bytes memory code = ConfigCode.pack(c);
        // PUSH2 size, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN: returns everything after these ten bytes.
        bytes memory initCode = abi.encodePacked(hex"61", uint16(code.length), hex"80600a5f395ff3", code);
        assembly ("memory-safe") {
            pointer := create(0, add(initCode, 32), mload(initCode))
        }
        // Creation can fail only if gas runs out, and that must not leave a vault without a configuration.
        assert(pointer != address(0));
        emit Written(msg.sender, pointer, c);
    }

    /* CHECKS */

    function _checkPolicy(IBasketVault.Policy memory p) private pure {
        if (p.startSlippageBps > p.maxSlippageBps || p.maxSlippageBps > MAX_SLIPPAGE_BPS) {
            revert SlippageOutOfRange(p.startSlippageBps, p.maxSlippageBps, MAX_SLIPPAGE_BPS);
        }
        if (p.slippageRampSeconds == 0) revert RampOutOfRange(p.slippageRampSeconds, 1);
        if (p.minProgressBps == 0 || p.minProgressBps > BPS) revert ProgressOutOfRange(p.minProgressBps, 1, BPS);
        if (p.lossBudgetBps > MAX_LOSS_BUDGET_BPS) revert BudgetOutOfRange(p.lossBudgetBps, MAX_LOSS_BUDGET_BPS);
        if (p.turnoverBudgetBps > MAX_TURNOVER_BUDGET_BPS) {
            revert BudgetOutOfRange(p.turnoverBudgetBps, MAX_TURNOVER_BUDGET_BPS);
        }
        if (p.destinationBps > BPS) revert DestinationOutOfRange(p.destinationBps, BPS);
        _checkPeriod(p.lossPeriodSeconds);
        _checkPeriod(p.turnoverPeriodSeconds);
        if (p.calendarSeconds != 0) _checkPeriod(p.calendarSeconds);
    }

    /// @dev Refuses budgets that are too small for the least rebalance that P4 accepts after the largest possible break: the whole basket
    /// in an asset of target 0. A bucket cannot be more than empty, so waiting would not help.
    // Let m be the least progress, s the loss per value sold, A and B {usd18} what lies above and below all destinations; E = A + B, A <=
    // V.
    // Selling S takes at most S off A and S off B, so P4 needs S >= m * A where A = B or B = 0, and S = m * max(A, B) suffices anywhere
    // between. That is at most m * V, at any destination, and m * V where A = V. A loss shrinks V, and S only grows with it. Dust and the
    // destination's width need less. That is not counted: a policy must not depend on values that other roles may set.
    // P6: {1} turnoverBudget >= S / V = m. Otherwise only a gift can repair that break.
    // P5: {1} lossBudget >= s * S / V = s * m. s is the largest slippage and not the start, because P2 climbs to it until there is a trade.
    // If the market requires that slippage, a smaller loss budget would refuse every time what P2 accepts.
    // Not refused, because a trade stays possible: any cooldown, ramp or period (slow), zero slippage (a trade at the oracle's price
    // passes), a minimum trade above all holdings (a deposit or the curator may change that).
    // P3: without dust, a loss of one unit lowers the target of an untraded asset that is at or above its own, and that asset then stands
    // further from it.
    function _checkMends(IBasketVault.Policy memory p) private pure {
        if (p.dustBps == 0) revert DustBelowMinimum(p.dustBps, 1);
        _checkBudget("turnoverBudgetBps", p.turnoverBudgetBps, p.minProgressBps);
        // Up: a budget of whole basis points below the exact product is too small.
        _checkBudget("lossBudgetBps", p.lossBudgetBps, (uint256(p.maxSlippageBps) * p.minProgressBps + BPS - 1) / BPS);
    }

    function _checkBudget(string memory field, uint256 budgetBps, uint256 neededBps) private pure {
        if (budgetBps < neededBps) revert BudgetBelowProgress(field, budgetBps, neededBps);
    }

    function _checkPeriod(uint256 periodSeconds) private pure {
        if (periodSeconds < MIN_PERIOD_SECONDS) revert PeriodOutOfRange(periodSeconds, MIN_PERIOD_SECONDS);
    }

    /// @dev Checks that tokens differ, bands are wider than dust, targets sum to one now and at the end, and excluded assets have no
    /// target.
    function _checkAssets(IBasketVault.Asset[] memory assets, uint256 minBandBps) private pure {
        uint256 startSumE18;
        uint256 sumE18;
        uint256 priced;
        for (uint256 i; i < assets.length; ++i) {
            IBasketVault.Asset memory a = assets[i];
            if (a.bandBps < minBandBps || a.bandBps > MAX_BAND_BPS) {
                revert BandOutOfRange(i, a.bandBps, minBandBps, MAX_BAND_BPS);
            }
            if (a.relativeBandBps > BPS) revert RelativeBandOutOfRange(i, a.relativeBandBps, BPS);
            for (uint256 j; j < i; ++j) {
                if (assets[j].token == a.token) revert DuplicateAsset(a.token);
            }
            if (!a.excluded) ++priced;
            else if (a.targetE18 | a.startTargetE18 != 0) revert AssetExcluded(i);
            startSumE18 += a.startTargetE18;
            sumE18 += a.targetE18;
        }
        if (priced < MIN_ASSETS || assets.length > MAX_ASSETS) {
            revert AssetCountOutOfRange(priced < MIN_ASSETS ? priced : assets.length, MIN_ASSETS, MAX_ASSETS);
        }
        if (sumE18 != E18) revert TargetsDoNotSumToOne(sumE18);
        if (startSumE18 != E18) revert TargetsDoNotSumToOne(startSumE18);
    }

    function _checkToken(address token, uint256 expectedDecimals) private view {
        if (token.code.length == 0) revert NotAToken(token);
        uint256 decimals = IERC20Metadata(token).decimals();
        if (decimals > MAX_DECIMALS) revert DecimalsOutOfRange(token, decimals, MAX_DECIMALS);
        if (decimals != expectedDecimals) revert DecimalsDiffer(token, expectedDecimals, decimals);
    }

    function _checkPrices(IBasketVault.Config memory c) private view {
        for (uint256 i; i < c.assets.length; ++i) {
            if (!c.assets[i].excluded) _checkPrice(c, i);
        }
    }

    function _checkPrice(IBasketVault.Config memory c, uint256 asset) private view {
        address[] memory tokens = new address[](1);
        tokens[0] = c.assets[asset].token;
        IOracleHub.Fault fault = c.oracle.prices(tokens)[0].fault;
        if (fault != IOracleHub.Fault.None) revert UnpricedAsset(tokens[0], fault);
    }

    function _checkAsset(IBasketVault.Config memory c, uint256 asset) private pure {
        if (asset >= c.assets.length) revert IVaultBase.NoSuchAsset(asset, c.assets.length);
    }

    function _checkLength(uint256 length, uint256 expected) private pure {
        if (length != expected) revert IVaultBase.LengthMismatch(length, expected);
    }

    function _checkSame(string memory field, uint256 value, uint256 current) private pure {
        if (value != current) revert PolicyDiffers(field, value, current);
    }

    function _checkNotAbove(string memory field, uint256 value, uint256 current) private pure {
        if (value > current) revert PolicyLooser(field, value, current);
    }

    function _checkNotBelow(string memory field, uint256 value, uint256 current) private pure {
        if (value < current) revert PolicyLooser(field, value, current);
    }
}
