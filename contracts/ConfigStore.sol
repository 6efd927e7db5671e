// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Metadata } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";

import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IConfigStore } from "./interfaces/IConfigStore.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";

/// @title ConfigStore
/// @notice WHAT IT IS. The rules a vault's configuration must pass, and the place that stores it. One store serves every vault; it
/// holds no funds, keeps no state and knows no roles: what it returns means something only to the vault that asked.
/// It is apart from BasketVault so that both stay far below the size limit.
contract ConfigStore is IConfigStore {
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

    /// @inheritdoc IConfigStore
    function write(IBasketVault.Config calldata config) external returns (address pointer) {
        _checkPolicy(config.policy);
        _checkAssets(config.assets, config.policy.dustBps + 1);
        _checkPrices(config.oracle, config.assets);

        bytes memory code = ConfigCode.pack(config);
        // PUSH2 size, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN: returns everything after these ten bytes.
        bytes memory initCode = abi.encodePacked(hex"61", uint16(code.length), hex"80600a5f395ff3", code);
        assembly ("memory-safe") {
            pointer := create(0, add(initCode, 32), mload(initCode))
        }
        // Creation can only fail for want of gas, which must not leave a vault without a configuration.
        assert(pointer != address(0));
    }

    function _checkPolicy(IBasketVault.Policy calldata p) private pure {
        if (p.startSlippageBps > p.maxSlippageBps || p.maxSlippageBps > MAX_SLIPPAGE_BPS) {
            revert SlippageOutOfRange(p.startSlippageBps, p.maxSlippageBps, MAX_SLIPPAGE_BPS);
        }
        if (p.slippageRampSeconds == 0) revert RampOutOfRange(p.slippageRampSeconds, 1);
        if (p.minProgressBps == 0 || p.minProgressBps > BPS) revert ProgressOutOfRange(p.minProgressBps, 1, BPS);
        if (p.lossBudgetBps > MAX_LOSS_BUDGET_BPS) revert BudgetOutOfRange(p.lossBudgetBps, MAX_LOSS_BUDGET_BPS);
        if (p.turnoverBudgetBps > MAX_TURNOVER_BUDGET_BPS) {
            revert BudgetOutOfRange(p.turnoverBudgetBps, MAX_TURNOVER_BUDGET_BPS);
        }
        if (p.lossPeriodSeconds < MIN_PERIOD_SECONDS) revert PeriodOutOfRange(p.lossPeriodSeconds, MIN_PERIOD_SECONDS);
        if (p.turnoverPeriodSeconds < MIN_PERIOD_SECONDS) {
            revert PeriodOutOfRange(p.turnoverPeriodSeconds, MIN_PERIOD_SECONDS);
        }
    }

    /// @dev Tokens must differ, have code, and say the decimals that were given; bands are wider than dust; targets sum to one.
    function _checkAssets(IBasketVault.Asset[] calldata assets, uint256 minBandBps) private view {
        if (assets.length < MIN_ASSETS || assets.length > MAX_ASSETS) {
            revert AssetCountOutOfRange(assets.length, MIN_ASSETS, MAX_ASSETS);
        }
        uint256 sumE18;
        for (uint256 i; i < assets.length; ++i) {
            IBasketVault.Asset calldata a = assets[i];
            if (a.token.code.length == 0) revert NotAToken(a.token);
            uint256 decimals = IERC20Metadata(a.token).decimals();
            if (decimals > MAX_DECIMALS) revert DecimalsOutOfRange(a.token, decimals, MAX_DECIMALS);
            if (decimals != a.decimals) revert DecimalsDiffer(a.token, a.decimals, decimals);
            if (a.bandBps < minBandBps || a.bandBps > MAX_BAND_BPS) {
                revert BandOutOfRange(i, a.bandBps, minBandBps, MAX_BAND_BPS);
            }
            for (uint256 j; j < i; ++j) {
                if (assets[j].token == a.token) revert DuplicateAsset(a.token);
            }
            sumE18 += a.targetE18;
        }
        if (sumE18 != E18) revert TargetsDoNotSumToOne(sumE18);
    }

    function _checkPrices(IOracleHub oracle, IBasketVault.Asset[] calldata assets) private view {
        address[] memory tokens = new address[](assets.length);
        for (uint256 i; i < assets.length; ++i) {
            tokens[i] = assets[i].token;
        }
        IOracleHub.Price[] memory prices = oracle.prices(tokens);
        for (uint256 i; i < prices.length; ++i) {
            if (prices[i].fault != IOracleHub.Fault.None) revert UnpricedAsset(tokens[i], prices[i].fault);
        }
    }
}
