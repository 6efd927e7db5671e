// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { Errors } from "@openzeppelin/contracts/utils/Errors.sol";

import { IBasketVault, IVaultBase, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { CallbackToken, FeeToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { Base, IVaultFactory } from "./Base.t.sol";

/// @notice VaultFactory and initialize: a vault begins once, with real tokens and a locked minimum.
contract FactoryTest is Base {
    /* REFUSALS: INITIALIZE */

    function test_a_vault_cannot_be_initialized_twice() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(1, 1, 1));

        vm.expectRevert(IVaultBase.AlreadyInitialized.selector);
        _initialize(vault, p);
    }

    function test_the_implementation_cannot_be_initialized() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(1, 1, 1));

        vm.expectRevert(IVaultBase.AlreadyInitialized.selector);
        _initialize(IBasketVault(implementation), p);
    }

    function test_a_vault_without_its_seed_is_refused() public {
        IBasketVault made = IBasketVault(_clone(implementation));
        tokens[WETH].mint(address(made), 25e18);
        tokens[WBTC].mint(address(made), 0.75e8 - 1);

        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));

        vm.expectRevert(
            abi.encodeWithSelector(IVaultBase.TransferNotExact.selector, address(tokens[WBTC]), 0.75e8, 0.75e8 - 1)
        );
        _initialize(made, p);
    }

    function test_what_a_vault_got_beyond_its_seed_is_a_gift() public {
        vault = IBasketVault(_clone(implementation));
        tokens[WETH].mint(address(vault), 26e18);

        _initialize(vault, _params(_config(), _amounts(25e18, 0, 0)));

        assertEq(vault.held(), _amounts(25e18, 0, 0));
    }

    function test_a_seed_above_120_bits_is_refused() public {
        IBasketVault made = IBasketVault(_clone(implementation));
        uint256 tooMuch = uint256(type(uint120).max) + 1;
        tokens[WETH].mint(address(made), tooMuch);

        IVaultFactory.Params memory p = _params(_config(), _amounts(tooMuch, 0, 0));

        vm.expectRevert(abi.encodeWithSelector(IVaultBase.HoldingTooLarge.selector, WETH, tooMuch, type(uint120).max));
        _initialize(made, p);
    }

    /* REFUSALS: CREATE */

    function test_a_seed_of_nothing_is_refused() public {
        _expectRefusal(_params(_config(), _amounts()), abi.encodeWithSelector(IVaultBase.NothingHeld.selector));
    }

    function test_a_seed_of_another_length_is_refused() public {
        _expectRefusal(
            _params(_config(), _amounts(1, 1)), abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3)
        );
    }

    function test_a_seed_that_is_not_approved_is_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(1, 1, 1));
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(factory), 0, 1)
        );
        factory.createVault(p);
    }

    function test_a_seed_of_a_token_that_keeps_a_fee_is_refused() public {
        FeeToken skimming = new FeeToken("Skimming", "SKIM", 6, 100);
        _addAsset(skimming, 1e8);
        IBasketVault.Config memory c = _config();
        c.assets[USDC].token = address(skimming);

        _expectRefusal(
            _params(c, _amounts(25e18, 0.75e8, 20_000e6)),
            abi.encodeWithSelector(IVaultBase.TransferNotExact.selector, address(skimming), 20_000e6, 19_800e6)
        );
    }

    function test_a_seed_of_something_without_code_is_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(1, 1, 1));
        p.config.assets[0].token = stranger;
        vm.prank(creator);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.TransferNotExact.selector, stranger, 1, 0));
        factory.createVault(p);
    }

    function test_a_configuration_that_fails_its_checks_makes_no_vault() public {
        IBasketVault.Config memory c = _config();
        c.assets[0].targetE18 = 0.6e18;
        _expectRefusal(
            _params(c, _amounts(1, 1, 1)), abi.encodeWithSelector(IConfigStore.TargetsDoNotSumToOne.selector, 1.1e18)
        );
        assertEq(factory.vaultCount(), 1);
    }

    function test_initial_shares_below_a_hundred_times_the_minimum_are_refused_and_one_more_is_not() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        p.initialShares = 0;
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.SharesBelowMinimum.selector, 0, 1e8));
        p.initialShares = 1e8 - 1;
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.SharesBelowMinimum.selector, 1e8 - 1, 1e8));
        p.initialShares = 1e8;
        vault = _createVault(p);
        assertEq(vault.balanceOf(creator), 1e8 - MINIMUM_SHARES);
        assertEq(vault.balanceOf(LOCKED), MINIMUM_SHARES);
    }

    function test_a_seed_of_too_few_units_is_refused_with_its_numbers_and_one_of_none_is_not() public {
        uint256[3] memory few = [uint256(1), 1_000, 99_999];
        for (uint256 i; i < 3; ++i) {
            _expectRefusal(
                _params(_config(), _amounts(25e18, few[i], 20_000e6)),
                abi.encodeWithSelector(IVaultBase.SeedTooSmall.selector, WBTC, few[i], 100_000)
            );
        }
        vault = _createVault(_config(), _amounts(25e18, 0, 100_000));
        assertEq(vault.balanceOf(LOCKED), INITIAL_SHARES / 100, "a hundredth, and no more");
        assertEq(vault.held(), _amounts(25e18, 0, 100_000));
    }

    /// @dev Whatever shares there are, the locked ones own 1,000 units of each asset of the seed, and are at most a hundredth.
    function testFuzz_the_locked_shares_own_a_thousand_units_of_each_asset(
        uint256 shares,
        uint256 a,
        uint256 b,
        uint256 c
    ) public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(_seed(a), _seed(b), _seed(c)));
        p.initialShares = bound(shares, 1e8, 1 << 120);
        vault = _createVault(p);

        uint256 locked = vault.balanceOf(LOCKED);
        assertGe(locked, MINIMUM_SHARES);
        assertLe(locked, p.initialShares / 100 + 1);
        assertEq(locked + vault.balanceOf(creator), p.initialShares);
        for (uint256 i; i < 3; ++i) {
            if (p.seedAmounts[i] != 0) assertGe(p.seedAmounts[i] * locked / p.initialShares, 1_000);
        }
        if (vault.balanceOf(creator) != 0) _redeem(creator, vault.balanceOf(creator));
        for (uint256 i; i < 3; ++i) {
            if (p.seedAmounts[i] != 0) assertGe(vault.held()[i], 1_000);
        }
    }

    /// @dev From 100,000 to 2^100, of each length alike; never one that two seeds could share.
    function _seed(uint256 x) internal pure returns (uint256) {
        return 100_000 + x % (1 << (1 + (x >> 128) % 100));
    }

    function test_a_fee_recipient_that_is_the_vault_itself_is_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        p.feeRecipient = factory.vaultAddress(creator, p.salt);
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadFeeRecipient.selector, p.feeRecipient));
    }

    function test_initial_shares_above_the_largest_supply_are_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        p.initialShares = (1 << 120) + 1;
        _expectRefusal(
            p, abi.encodeWithSelector(IVaultBase.SupplyTooLarge.selector, p.initialShares, uint256(1) << 120)
        );
    }

    function test_a_receiver_or_fee_that_is_nobodys_is_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        p.receiver = address(0);
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadReceiver.selector, address(0)));
        p.receiver = factory.vaultAddress(creator, p.salt);
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadReceiver.selector, p.receiver));
        p.receiver = creator;
        p.feeRecipient = address(0);
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadFeeRecipient.selector, address(0)));
        p.feeRecipient = treasury;
        p.fees = _streaming(501);
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.FeeOutOfRange.selector, 501, 500));
    }

    function test_names_of_no_bytes_or_more_than_31_are_refused() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        string memory long = "12345678901234567890123456789012";
        p.name = "";
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadName.selector, ""));
        p.name = long;
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadName.selector, long));
        p.name = "1234567890123456789012345678901";
        p.symbol = "";
        _expectRefusal(p, abi.encodeWithSelector(IVaultBase.BadName.selector, ""));
        p.symbol = p.name;
        _createVault(p);
    }

    function test_a_salt_serves_a_creator_once() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        _createVault(p);
        _expectRefusal(p, abi.encodeWithSelector(Errors.FailedDeployment.selector));
    }

    function test_a_token_that_calls_back_cannot_take_the_vault_over() public {
        CallbackToken calling = new CallbackToken("Calling", "CALL", 6);
        _addAsset(calling, 1e8);
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        p.config.assets[USDC].token = address(calling);
        _fund(creator, p);
        address clone = factory.vaultAddress(creator, p.salt);
        // While the seed is on its way, a stranger makes the vault theirs.
        uint256[] memory little = _amounts(1e18, 0, 0);
        bytes memory takeover = abi.encodeCall(
            IVaultExtension.initialize,
            (IVaultBase.Start(
                    "Stolen",
                    "STOLEN",
                    address(manager),
                    _config(),
                    _streaming(0),
                    stranger,
                    little,
                    INITIAL_SHARES,
                    stranger
                ))
        );
        calling.setCallback(clone, takeover);

        vm.prank(creator);
        vm.expectRevert(IVaultBase.AlreadyInitialized.selector);
        factory.createVault(p);

        assertEq(clone.code.length, 0);
        assertEq(tokens[WETH].balanceOf(creator), 25e18);
    }

    /* SUCCESS */

    function test_a_vault_is_made_where_it_was_foretold_seeded_and_listed() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        p.salt = "any";
        p.fees = _streaming(100);
        p.receiver = alice;
        address foretold = factory.vaultAddress(creator, p.salt);
        _fund(creator, p);

        vm.expectEmit(foretold);
        emit IVaultBase.Initialized("Three coins", "THREE");
        vm.expectEmit(true, false, false, true, address(store));
        emit IConfigStore.Written(foretold, address(0), p.config);
        vm.expectEmit(foretold);
        emit IVaultBase.MintedInKind(address(factory), alice, INITIAL_SHARES, p.seedAmounts);
        vm.expectEmit(foretold);
        emit IVaultBase.FeesSet(p.fees, treasury);
        vm.expectEmit(address(factory));
        emit IVaultFactory.VaultCreated(foretold, creator, address(manager), "Three coins", "THREE");
        vm.prank(creator);
        vault = factory.createVault(p);

        assertEq(address(vault), foretold);
        assertTrue(factory.isVault(foretold));
        assertEq(vault.held(), p.seedAmounts);
        assertEq(_balances(foretold), p.seedAmounts);
        // 1,000 units of 0.75e8, as parts of 100e18 and rounded up: 1e23 / 0.75e8.
        assertEq(vault.balanceOf(LOCKED), 1_333_333_333_333_334);
        assertEq(vault.balanceOf(alice), INITIAL_SHARES - 1_333_333_333_333_334);
        assertEq(vault.totalSupply(), INITIAL_SHARES);
        assertEq(vault.feeRecipient(), treasury);
        assertEq(vault.fee().accruedAt, block.timestamp);
        assertEq(vault.state().epoch, 0);
    }

    function test_vaults_are_listed_in_pages() public {
        address[4] memory made;
        made[0] = address(vault);
        for (uint256 i = 1; i < 4; ++i) {
            made[i] = address(_createVault(_config(), _amounts(25e18, 0, 0)));
        }

        assertEq(factory.vaultCount(), 4);
        address[] memory page = factory.vaults(1, 2);
        assertEq(page.length, 2);
        assertEq(page[0], made[1]);
        assertEq(page[1], made[2]);
        assertEq(factory.vaults(3, type(uint256).max).length, 1);
        assertEq(factory.vaults(4, 1).length, 0);
        assertEq(factory.vaults(type(uint256).max, 1).length, 0);
        assertFalse(factory.isVault(implementation));
    }

    function test_a_salt_of_one_creator_is_free_for_another() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0, 0));
        _createVault(p);
        tokens[WETH].mint(alice, 25e18);
        _approve(tokens[WETH], alice, address(factory), 25e18);

        vm.prank(alice);
        assertEq(address(factory.createVault(p)), factory.vaultAddress(alice, p.salt));
    }

    function test_a_gift_at_the_foretold_address_stops_no_vault_and_counts_for_nothing() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        MockToken(tokens[WETH]).mint(factory.vaultAddress(creator, p.salt), 7e18);

        vault = _createVault(p);

        assertEq(vault.held(), p.seedAmounts);
    }

    /// @dev The factory checks first; a clone made by others is called directly.
    function test_a_clone_counts_its_seed_amounts_itself() public {
        IVaultFactory.Params memory p = _params(_config(), _amounts(1, 1));
        IBasketVault clone = IBasketVault(_clone(implementation));
        tokens[WETH].mint(address(clone), 1);
        tokens[WBTC].mint(address(clone), 1);
        vm.expectRevert(abi.encodeWithSelector(IVaultBase.LengthMismatch.selector, 2, 3));
        _initialize(clone, p);
    }

    function _expectRefusal(IVaultFactory.Params memory p, bytes memory refusal) internal {
        _fund(creator, p);
        vm.prank(creator);
        vm.expectRevert(refusal);
        factory.createVault(p);
    }

    function _initialize(IBasketVault made, IVaultFactory.Params memory p) internal {
        made.initialize(
            IVaultBase.Start(
                p.name,
                p.symbol,
                p.authority,
                p.config,
                p.fees,
                p.feeRecipient,
                p.seedAmounts,
                p.initialShares,
                p.receiver
            )
        );
    }
}
