// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";

import { Base } from "./Base.t.sol";

/// @notice A claim opened beside the dust of claims that lost nearly all, and a later loss.
contract ClaimCliffTest is Base {
    function test_a_claim_opened_after_a_disaster_bears_no_more_than_its_part_of_the_next_loss() public {
        uint256 shares = vault.balanceOf(creator) / 4;
        _leave(shares); // a claim on 6.25 WETH, 2^62.4 units
        // All but 2^-63 of it is lost, then found and taken up.
        uint256 balance = tokens[WETH].balanceOf(address(vault));
        tokens[WETH].burn(address(vault), balance - 6);
        vault.sync(WETH);
        tokens[WETH].mint(address(vault), balance);
        vm.prank(owner);
        vault.absorb(WETH, balance);
        _leave(shares);
        uint256 claim = vault.claimable(creator, address(tokens[WETH]));

        // 70 % is lost: everybody keeps 30 %.
        uint256 burnt = tokens[WETH].balanceOf(address(vault)) * 7 / 10;
        tokens[WETH].burn(address(vault), burnt);
        vault.sync(WETH);

        assertApproxEqRel(vault.claimable(creator, address(tokens[WETH])), claim * 3 / 10, 1e12, "the claim's part");
    }

    function _leave(uint256 shares) private {
        vm.prank(creator);
        vault.redeemInKindExcept(shares, creator, creator, new uint256[](3), 1 << WETH);
    }
}
