// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { VaultLens } from "../../../contracts/VaultLens.sol";
import { IBasketVault } from "../../../contracts/interfaces/IBasketVault.sol";
import { RebalancePolicy } from "../../../contracts/libraries/RebalancePolicy.sol";
import { Base } from "../Base.t.sol";
import { FairExecutor } from "./FairExecutor.sol";

/// @notice A keeper that reads what the lens tells and trades at fair prices, whatever the basket of three.
abstract contract Trader is Base {
    uint256 internal constant HEAD = 33;
    uint256 internal constant WORDS = 20;

    VaultLens internal lens;
    FairExecutor internal fair;

    function setUp() public virtual override {
        super.setUp();
        lens = VaultLens(deployCode("VaultLens.sol:VaultLens"));
        fair = new FairExecutor();
    }

    /// @dev Asks to sell that, and to buy what is wanted {usd18}, of each at least a unit; the executor pays fairly for what it gets.
    function _tradeFairlyFor(uint256[] memory sales, uint256[] memory wantsE18)
        internal
        returns (bool done, bytes memory answer)
    {
        uint256[] memory w = _words();
        FairExecutor.Order memory o;
        (o.vault, o.tokens, o.wantsE18) = (address(vault), tokens, wantsE18);
        (o.pricesE18, o.units) = (new uint256[](3), new uint256[](3));
        uint256[] memory least = new uint256[](3);
        for (uint256 i; i < 3; ++i) {
            (o.pricesE18[i], o.units[i]) = (_of(w, i, 12), 10 ** tokens[i].decimals());
            least[i] = wantsE18[i] == 0 ? 0 : 1;
        }
        bytes memory call = abi.encodeCall(vault.rebalance, (w[4], sales, least, address(fair), abi.encode(o)));
        vm.prank(keeper);
        return address(vault).call(call);
    }

    /// @dev What lies outside of destinations, and what inside, of those above their targets and of those below {usd18}.
    struct Way {
        uint256[3] aboveE18;
        uint256[3] insideE18;
        uint256[3] belowE18;
        uint256[3] spaceE18;
        uint256 aboveSumE18;
        uint256 insideSumE18;
        uint256 belowSumE18;
        uint256 spaceSumE18;
    }

    function _wayOf(uint256[] memory w) internal view returns (Way memory y) {
        IBasketVault.Policy memory p = vault.policy();
        for (uint256 i; i < 3; ++i) {
            uint256 bandE18 = RebalancePolicy.bandE18(_of(w, i, 5), _of(w, i, 6), _of(w, i, 4), p.dustBps);
            uint256 widthE18 = uint256(p.destinationBps) * bandE18 * w[16] / (BPS * E18);
            uint256 goalE18 = _of(w, i, 4) * w[16] / E18;
            uint256 valueE18 = _of(w, i, 14);
            uint256 d = valueE18 > goalE18 ? valueE18 - goalE18 : goalE18 - valueE18;
            uint256 outside = d > widthE18 ? d - widthE18 : 0;
            if (valueE18 > goalE18) {
                (y.aboveE18[i], y.insideE18[i]) = (outside, d - outside);
            } else if (_of(w, i, 18) == 0) {
                (y.belowE18[i], y.spaceE18[i]) = (outside, d - outside); // unless it may not be bought
            }
            y.aboveSumE18 += y.aboveE18[i];
            y.insideSumE18 += y.insideE18[i];
            y.belowSumE18 += y.belowE18[i];
            y.spaceSumE18 += y.spaceE18[i];
        }
    }

    /// @dev What brings every asset inside its destination: sales {tok}, a unit more than that, and what to buy {usd18}.
    function _wholeWay(uint256[] memory w) internal view returns (uint256[] memory sales, uint256[] memory wantsE18) {
        Way memory y = _wayOf(w);
        (sales, wantsE18) = (new uint256[](3), new uint256[](3));
        for (uint256 i; i < 3; ++i) {
            uint256 sellE18 = y.aboveE18[i];
            wantsE18[i] = y.belowE18[i];
            if (y.belowSumE18 > y.aboveSumE18 && y.insideSumE18 != 0) {
                sellE18 += (y.belowSumE18 - y.aboveSumE18) * y.insideE18[i] / y.insideSumE18;
            }
            if (y.aboveSumE18 > y.belowSumE18 && y.spaceSumE18 != 0) {
                wantsE18[i] += (y.aboveSumE18 - y.belowSumE18) * y.spaceE18[i] / y.spaceSumE18;
            }
            if (sellE18 != 0) sales[i] = sellE18 * 10 ** tokens[i].decimals() / _of(w, i, 12) + 1;
        }
    }

    function _words() internal view returns (uint256[] memory w) {
        IBasketVault[] memory list = new IBasketVault[](1);
        list[0] = vault;
        bytes memory packed = lens.read(list);
        w = new uint256[](packed.length / 32);
        for (uint256 i; i < w.length; ++i) {
            uint256 word;
            assembly ("memory-safe") {
                word := mload(add(add(packed, 32), mul(32, i)))
            }
            w[i] = word;
        }
    }

    function _of(uint256[] memory w, uint256 asset, uint256 word) internal pure returns (uint256) {
        return w[HEAD + WORDS * asset + word];
    }

    function _roll(uint256 seed, uint256 salt) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, salt))) >> 8;
    }
}
