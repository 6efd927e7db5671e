// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { Chainlink } from "./Chainlink.sol";
import { PriceSource } from "./PriceSource.sol";
import { RateGetter } from "./RateGetter.sol";

/// @title ExchangeRateFeed
/// @notice A base price times an exchange rate, rounded down: STETH / USD times wstETH's `stEthPerToken()`, or an asset's feed times an
/// ERC-4626 vault's `convertToAssets(one share)`. The rate has its own sane range. Outside it, the price has the fault `OutOfRange`, so a
/// rate that a donation or a bug moves cannot price the token. The age of the price is that of the base feed. Params: base feed (20), its
/// decimals (1), contract with the rate (20), selector of a function without arguments (4; zero for an ERC-4626 vault), decimals of the
/// share (1; zero without one) and of the rate (1), smallest and largest sane rate times 1e18 (16 each).
contract ExchangeRateFeed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params)
        external
        view
        returns (uint256 priceE18, uint256 updatedAt, IOracleHub.Fault fault)
    {
        (priceE18, updatedAt, fault) = Chainlink.priceOf(_addressAt(params, 0), uint8(params[20]));
        if (fault != IOracleHub.Fault.None) return (0, 0, fault);
        uint256 rateE18;
        (rateE18, fault) = _rateE18(params);
        if (fault != IOracleHub.Fault.None) return (0, 0, fault);
        (uint256 minE18, uint256 maxE18) = _range(params);
        bool sane = rateE18 >= minE18 && rateE18 <= maxE18 && priceE18 <= type(uint128).max;
        if (!sane) return (0, 0, IOracleHub.Fault.OutOfRange);
        // {usd18/whole} = {usd18/base} * {base18/whole} / 1e18, down; both are below 2^128
        priceE18 = priceE18 * rateE18 / 1e18;
    }

    function _rateE18(bytes calldata params) private view returns (uint256, IOracleHub.Fault) {
        address target = _addressAt(params, 21);
        bytes4 selector = bytes4(params[41:45]);
        uint256 decimals = uint8(params[46]);
        if (selector == 0) return RateGetter.assetsPerShareE18(target, uint8(params[45]), decimals);
        return RateGetter.getE18(target, selector, decimals);
    }

    function _range(bytes calldata params) private pure returns (uint256 minE18, uint256 maxE18) {
        return (uint128(bytes16(params[47:63])), uint128(bytes16(params[63:79])));
    }

    /// @inheritdoc IPriceSource
    function check(address, address, bytes calldata params) external view {
        _checkLength(params, 79);
        Chainlink.checkDecimals(_addressAt(params, 0), uint8(params[20]));
        _checkRateDecimals(uint8(params[46]));
        bool isVault = bytes4(params[41:45]) == 0;
        if (isVault) _checkTokenDecimals(_addressAt(params, 21), uint8(params[45]));
        (uint256 minE18, uint256 maxE18) = _range(params);
        if (minE18 == 0 || minE18 > maxE18) revert IOracleHub.BadPriceRange(minE18, maxE18);
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address, bytes calldata params) external pure returns (address[] memory list) {
        list = new address[](2);
        (list[0], list[1]) = (_addressAt(params, 0), _addressAt(params, 21));
    }
}
