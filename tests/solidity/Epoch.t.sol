// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault, IVaultBase, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base, IVaultFactory } from "./Base.t.sol";
import { MoodyToken, TwoFacedToken } from "./support/MoodyToken.sol";

/// @notice Each change of the configuration is a new epoch: what was meant for the old one is refused. And one token is one asset.
contract EpochTest is Base {
    MockToken internal fourth;

    function setUp() public override {
        super.setUp();
        fourth = new MockToken("Fourth", "FOUR", 18);
        _addAsset(fourth, 1e8);
        tokens.pop();
        feeds.pop();
        vm.startPrank(owner);
        manager.setTargetFunctionRole(
            address(vault), _selectors(IVaultExtension.setTargets.selector, IVaultExtension.setBands.selector), 0
        );
        manager.setTargetFunctionRole(address(vault), _selectors(IVaultExtension.tightenPolicy.selector), 0);
        vm.stopPrank();
    }

    /* EPOCHS */

    /// @dev All nine, one after the other (and one of them twice): each counts one, ends what was due, and refuses a rebalance made for
    /// before.
    function test_every_change_of_the_configuration_begins_an_epoch() public {
        bytes[] memory changes = _changes();
        for (uint256 i; i < changes.length; ++i) {
            _setPrice(WETH, 2_400e8);
            vault.poke();
            assertGt(vault.state().dueSince, 0);

            vm.expectEmit(address(vault));
            emit IVaultBase.Poked(0);
            vm.prank(owner);
            (bool done,) = address(vault).call(changes[i]);

            assertTrue(done, vm.toString(i));
            assertEq(vault.state().epoch, i + 1, vm.toString(i));
            assertEq(vault.state().dueSince, 0, vm.toString(i));
            uint256 n = vault.assets().length;
            vm.prank(keeper);
            vm.expectRevert(abi.encodeWithSelector(IVaultBase.WrongEpoch.selector, i, i + 1));
            vault.rebalance(i, new uint256[](n), new uint256[](n), address(executor), "");
        }
    }

    /// @dev What is in flight names assets by number. The last takes the number of the removed WETH.
    function test_a_rebalance_in_flight_when_an_asset_is_removed_is_refused() public {
        _breakBand();
        vm.startPrank(owner);
        vault.addAsset(address(fourth), 18, IVaultBase.Band(200, 0, 0));
        vault.excludeAsset(WETH);
        uint256 before = vault.state().epoch;
        vault.removeAsset(WETH);
        vm.stopPrank();
        assertEq(vault.assets()[0].token, address(fourth));

        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.WrongEpoch.selector, before, before + 1));
        vault.rebalance(before, _amounts(1, 0, 0), _amounts(0, 1, 0), address(executor), "");
    }

    function test_what_changes_no_configuration_begins_no_epoch() public {
        vm.prank(guardian);
        vault.pauseRebalance();
        vm.startPrank(owner);
        vault.setFees(_streaming(100), treasury);
        vault.resumeRebalance();
        vm.stopPrank();
        vault.collectFee();
        _deposit(alice, 1e18);
        _redeem(alice, 1e18);
        assertEq(vault.state().epoch, 0);
    }

    function _changes() internal view returns (bytes[] memory list) {
        list = new bytes[](10);
        IBasketVault.Policy memory p = _policy();
        list[0] = abi.encodeCall(IVaultExtension.setPolicy, (p));
        p.cooldownSeconds += 1;
        list[1] = abi.encodeCall(IVaultExtension.tightenPolicy, (p));
        list[2] = abi.encodeCall(IVaultExtension.setOracle, (oracle));
        list[3] = abi.encodeCall(IVaultExtension.setTargets, (_amounts(0.5e18, 0.3e18, 0.2e18), 0));
        list[4] = abi.encodeCall(IVaultExtension.setBands, (_bands(200, 200, 200)));
        list[5] = abi.encodeCall(IVaultExtension.addAsset, (address(fourth), 18, IVaultBase.Band(200, 0, 0)));
        list[6] = abi.encodeCall(IVaultExtension.excludeAsset, (3));
        list[7] = abi.encodeCall(IVaultExtension.includeAsset, (3));
        list[8] = list[6]; // once more, for only an excluded asset can be removed
        list[9] = abi.encodeCall(IVaultExtension.removeAsset, (3));
    }

    /* ONE TOKEN, TWO ADDRESSES */

    function test_a_vault_with_one_token_under_two_addresses_is_refused() public {
        TwoFacedToken twin = new TwoFacedToken("Twin", "TWIN", 6);
        (IBasketVault.Config memory c, MockToken other) = _withTwins(twin);
        IVaultFactory.Params memory p = _params(c, _amounts(25e18, 10_000e6, 20_000e6));
        _fund(creator, p);

        vm.prank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SameToken.selector, address(other), address(twin)));
        factory.createVault(p);

        // As much of each, and the other way round.
        (c.assets[1], c.assets[2]) = (c.assets[2], c.assets[1]);
        p = _params(c, _amounts(25e18, 10_000e6, 10_000e6));
        _fund(creator, p);
        vm.prank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SameToken.selector, address(twin), address(other)));
        factory.createVault(p);
    }

    function test_two_tokens_of_which_as_much_is_seeded_are_not_one() public {
        MockToken a = new MockToken("A", "A", 6);
        MockToken b = new MockToken("B", "B", 6);
        _addAsset(a, 1e8);
        _addAsset(b, 1e8);
        IBasketVault.Config memory c = _config();
        (c.assets[1], c.assets[2]) = (_asset(address(a), 0.3e18, 200, 6), _asset(address(b), 0.2e18, 200, 6));
        vault = _createVault(c, _amounts(25e18, 20_000e6, 20_000e6));
        assertEq(vault.held(), _amounts(25e18, 20_000e6, 20_000e6));
    }

    /// @dev Neither before nor after it in the list: anybody may have brought it there.
    function test_a_gift_as_large_as_another_seed_makes_no_two_tokens_one() public {
        for (uint256 seeded = 1; seeded < 3; ++seeded) {
            IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
            p.seedAmounts[seeded] = 1e9;
            p.salt = bytes32(seeded);
            tokens[3 - seeded].mint(factory.vaultAddress(creator, p.salt), 1e9);
            assertEq(_createVault(p).held(), p.seedAmounts);
        }
    }

    function test_an_asset_that_is_one_of_the_basket_under_another_address_is_not_added() public {
        TwoFacedToken twin = new TwoFacedToken("Twin", "TWIN", 6);
        (IBasketVault.Config memory c, MockToken other) = _withTwins(twin);
        IBasketVault.Asset[] memory three = new IBasketVault.Asset[](3);
        (three[0], three[1], three[2]) = (c.assets[0], c.assets[1], _config().assets[USDC]);
        c.assets = three;
        vault = _createVault(c, _amounts(25e18, 10_000e6, 20_000e6));

        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SameToken.selector, address(other), address(twin)));
        vault.addAsset(address(other), 6, IVaultBase.Band(200, 0, 0));
        vm.stopPrank();
        // With a gift on top, and of another token that the vault was given before.
        twin.mint(address(vault), 7);
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.SameToken.selector, address(other), address(twin)));
        vault.addAsset(address(other), 6, IVaultBase.Band(200, 0, 0));
        fourth.mint(address(vault), 5e18);
        vault.addAsset(address(fourth), 18, IVaultBase.Band(200, 0, 0));
        vm.stopPrank();
        assertEq(vault.held()[3], 0);
    }

    /// @dev 20,000 USDC are as many units as 0.00000002 of a token of 18 decimals: anybody could give that, every time.
    function test_a_gift_of_as_many_units_as_another_asset_has_stops_no_addition() public {
        fourth.mint(address(vault), 20_000e6);
        fourth.mint(stranger, 1e18);
        vm.prank(owner);
        vault.addAsset(address(fourth), 18, IVaultBase.Band(200, 0, 0));
        assertEq(vault.assets()[3].token, address(fourth));
    }

    function test_a_token_that_does_not_tell_its_balance_stops_no_addition() public {
        MoodyToken dead = new MoodyToken("Dead", "DEAD", 6);
        _addAsset(MockToken(address(dead)), 1e8);
        IBasketVault.Config memory c = _config();
        c.assets[USDC] = _asset(address(dead), 0.2e18, 200, 6);
        vault = _createVault(c, _amounts(25e18, 0.75e8, 20_000e6));
        fourth.mint(address(vault), 1);
        for (uint256 m = 1; m <= uint256(type(MoodyToken.Mood).max); ++m) {
            uint256 snapshot = vm.snapshotState();
            dead.setMood(MoodyToken.Mood(m));
            vm.startPrank(owner);
            vault.excludeAsset(USDC);
            vault.addAsset(address(fourth), 18, IVaultBase.Band(200, 0, 0));
            vm.stopPrank();
            assertEq(vault.assets()[3].token, address(fourth));
            vm.revertToState(snapshot);
        }
    }

    function _withTwins(TwoFacedToken twin) internal returns (IBasketVault.Config memory c, MockToken other) {
        other = MockToken(address(twin.alias_()));
        _addAsset(twin, 1e8);
        _addAsset(other, 1e8);
        c = _config();
        c.assets[1] = _asset(address(twin), 0.3e18, 200, 6);
        c.assets[2] = _asset(address(other), 0.2e18, 200, 6);
    }
}
