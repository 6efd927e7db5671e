// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IExecutor } from "../../../contracts/interfaces/IExecutor.sol";
import { RebalancePolicy } from "../../../contracts/libraries/RebalancePolicy.sol";
import { LocalToken, MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title FairExecutor
/// @notice Pays for what it got at the prices of its order, in the vault's favour by less than a unit of each, and spreads that in
/// proportion over the assets that the vault wants. It keeps what it got, and counts only what arrived since the last call.
contract FairExecutor is IExecutor {
    /// @param wantsE18 what is wanted of each token {usd18}; 0: none
    struct Order {
        address vault;
        MockToken[] tokens;
        uint256[] pricesE18;
        uint256[] units;
        uint256[] wantsE18;
    }

    mapping(MockToken token => uint256) public seen;
    mapping(MockToken token => uint256) public got;

    function executeRoute(bytes calldata route) external {
        Order memory o = abi.decode(route, (Order));
        uint256 leftE18;
        uint256 wantedE18;
        for (uint256 i; i < o.tokens.length; ++i) {
            uint256 balance = o.tokens[i].balanceOf(address(this));
            got[o.tokens[i]] = balance - seen[o.tokens[i]];
            seen[o.tokens[i]] = balance;
            leftE18 += RebalancePolicy.valueUp(got[o.tokens[i]], o.pricesE18[i], o.units[i]);
            wantedE18 += o.wantsE18[i];
        }
        for (uint256 i; i < o.tokens.length; ++i) {
            if (o.wantsE18[i] == 0) continue;
            uint256 partE18 = leftE18 * o.wantsE18[i] / wantedE18;
            (leftE18, wantedE18) = (leftE18 - partE18, wantedE18 - o.wantsE18[i]);
            LocalToken(address(o.tokens[i])).mint(o.vault, (partE18 * o.units[i] + o.pricesE18[i] - 1) / o.pricesE18[i]);
        }
    }
}
