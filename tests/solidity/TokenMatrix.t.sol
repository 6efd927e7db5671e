// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockOracle } from "../../contracts/mocks/MockOracle.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";

import { Base, IVaultFactory } from "./Base.t.sol";
import { HostileToken } from "./support/HostileToken.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice Decimals 0, 6, 8, 18 and 27, times every manner of HostileToken, times amounts from 1 unit to 2^112, at every entry point.
/// What must happen is a table (`_outcome`): a token that lies is refused on the way in and survived on the way out.
///
/// The vault holds `amount` of the token and as much of an honest one, for 100e18 shares. Of the smallest amount, which a vault must have
/// at least, one unit moves.
contract TokenMatrixTest is Base {
    enum Entry {
        Create,
        Mint,
        Redeem,
        RedeemExcept,
        Claim,
        Sync,
        Absorb,
        Rebalance
    }

    enum Outcome {
        Exact, // exactly what was asked moved, and the ledger says so
        Claim, // nothing moved, and the holder's claim grew by it
        Refused // nothing changed
    }

    uint256 internal constant MANNERS = uint256(type(HostileToken.Manner).max) + 1;
    uint256 internal constant SMALLEST = 100_000;
    uint256 internal constant LARGEST = 1 << 112;
    uint256 internal constant CALL_GAS = 8_000_000;

    HostileToken internal token;
    MockToken internal honest;
    uint256 internal amount;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deployCore();
    }

    /* THE TABLE */

    /// @dev What must come of a token of that manner at that entry, and with which error. No error: the token gave no reason.
    function _outcome(Entry entry, HostileToken.Manner m) internal view returns (Outcome outcome, bytes4 reason) {
        if (entry == Entry.Sync || entry == Entry.Absorb) return (Outcome.Exact, 0); // they only ask for balances
        if (entry == Entry.RedeemExcept) return (Outcome.Claim, 0); // the token is not even called
        bool inward = entry == Entry.Create || entry == Entry.Mint;
        if (inward && (m == HostileToken.Manner.TakesFee || m == HostileToken.Manner.PaysBonus)) {
            return (Outcome.Refused, IVaultBase.TransferNotExact.selector);
        }
        if (entry == Entry.Create && m == HostileToken.Manner.OtherDecimals) {
            bool many = token.decimals() > 27;
            bytes4 error_ = many ? IConfigStore.DecimalsOutOfRange.selector : IConfigStore.DecimalsDiffer.selector;
            return (Outcome.Refused, error_);
        }
        bool fails = m == HostileToken.Manner.Reverts || m == HostileToken.Manner.Paused
            || m == HostileToken.Manner.Blocks || m == HostileToken.Manner.ReturnsFalse
            || m == HostileToken.Manner.RevertsWithFlood || m == HostileToken.Manner.BurnsGas;
        if (!fails) return (Outcome.Exact, 0);
        if (entry == Entry.Redeem) return (Outcome.Claim, 0);
        if (entry == Entry.Claim) return (Outcome.Refused, IVaultBase.ClaimFailed.selector);
        if (m == HostileToken.Manner.ReturnsFalse) {
            return (Outcome.Refused, SafeERC20.SafeERC20FailedOperation.selector);
        }
        bool silent = m == HostileToken.Manner.RevertsWithFlood || m == HostileToken.Manner.BurnsGas;
        return (Outcome.Refused, silent ? bytes4(0) : HostileToken.Refused.selector);
    }

    /* EVERY ENTRY */

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_create(uint256 x) public {
        _everyAmount(Entry.Create, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_mint(uint256 x) public {
        _everyAmount(Entry.Mint, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_redeem(uint256 x) public {
        _everyAmount(Entry.Redeem, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_redeem_except(uint256 x) public {
        _everyAmount(Entry.RedeemExcept, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_claim(uint256 x) public {
        _everyAmount(Entry.Claim, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_sync(uint256 x) public {
        _everyAmount(Entry.Sync, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_absorb(uint256 x) public {
        _everyAmount(Entry.Absorb, x);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_matrix_rebalance(uint256 x) public {
        _everyAmount(Entry.Rebalance, x);
    }

    /// @dev The ends of the range, and one amount between them.
    function _everyAmount(Entry entry, uint256 x) internal {
        // One of each length, not only long ones.
        uint256 between = SMALLEST + 1 + (x >> 8) % (1 << x % 112) % (LARGEST - SMALLEST);
        uint256[3] memory amounts = [SMALLEST, between, LARGEST];
        uint8[5] memory decimals = [0, 6, 8, 18, 27];
        for (uint256 i; i < amounts.length; ++i) {
            for (uint256 j; j < decimals.length; ++j) {
                uint256 snapshot = vm.snapshotState();
                _open(entry, decimals[j], amounts[i]);
                _everyManner(entry, decimals[j]);
                vm.revertToState(snapshot);
            }
        }
    }

    function _everyManner(Entry entry, uint8 decimals) internal {
        for (uint256 m; m < MANNERS; ++m) {
            uint256 snapshot = vm.snapshotState();
            string memory what = string.concat(vm.toString(decimals), " decimals, manner ", vm.toString(m));
            _try(entry, HostileToken.Manner(m), string.concat(what, ", amount ", vm.toString(amount)));
            vm.revertToState(snapshot);
        }
    }

    /* ONE CELL */

    /// @dev One call: by whom, of what, how much of the token it is about, and how much of it was there and held before.
    struct Cell {
        address caller;
        address target;
        bytes data;
        uint256 moved;
        uint256 there;
        uint256 held;
        string what;
    }

    function _try(Entry entry, HostileToken.Manner manner, string memory what) internal {
        Cell memory c = _prepare(entry);
        c.what = what;
        bool none = address(vault) == address(0);
        token.setBlocked(none ? creator : address(vault));
        token.setCallback(none ? address(factory) : address(vault), _reentries());
        token.setManner(manner);
        if (!none) (c.there, c.held) = (token.balanceOf(address(vault)), vault.held()[1]);

        vm.prank(c.caller);
        (bool done, bytes memory answer) = c.target.call{ gas: CALL_GAS }(c.data);

        (Outcome outcome, bytes4 reason) = _outcome(entry, manner);
        assertEq(done, outcome != Outcome.Refused, what);
        assertEq(token.entered(), 0, what);
        if (done) {
            if (none) vault = abi.decode(answer, (IBasketVault));
            _checkBooks(entry, outcome, c);
        } else {
            assertEq(bytes4(answer), reason, what);
            assertEq(factory.vaultCount(), none ? 0 : 1, what);
            if (none) return;
            assertEq(token.balanceOf(address(vault)), c.there, what);
            assertEq(vault.held()[1], c.held, what);
        }
    }

    /// @dev After a call that was not refused: the ledger moved as foretold, and the tokens with it or a claim instead.
    function _checkBooks(Entry entry, Outcome outcome, Cell memory c) internal view {
        uint256 held = vault.held()[1];
        uint256 there = token.balanceOf(address(vault));
        bool inward = entry == Entry.Create || entry == Entry.Mint || entry == Entry.Absorb;
        uint256 booked = entry == Entry.Claim ? 0 : c.moved;
        assertEq(held, inward ? c.held + booked : c.held - booked, c.what);
        bool still = entry == Entry.Absorb || entry == Entry.Sync || outcome == Outcome.Claim;
        uint256 paid = still ? 0 : c.moved;
        assertEq(there, inward ? c.there + paid : c.there - paid, c.what);
        uint256 owed = vault.claimable(creator, address(token));
        assertEq(owed, outcome == Outcome.Claim ? c.moved : 0, c.what);
        assertEq(vault.totalClaimable(address(token)), owed, c.what);
        assertEq(there, held + owed, c.what);
    }

    /* ARRANGE */

    /// @dev A vault with `amount_` of a token of that many decimals. Of `Create`, only what it takes to make one.
    function _open(Entry entry, uint8 decimals, uint256 amount_) internal {
        delete tokens;
        delete feeds;
        delete vault;
        amount = amount_;
        honest = new MockToken("Honest", "OK", 18);
        token = new HostileToken("Hostile", "HOST", decimals);
        _addAsset(honest, 1e8);
        _addAsset(MockToken(address(token)), 1e8);
        if (entry == Entry.Create) return;
        vault = _createVault(_config(), _amounts(amount, amount));
        if (entry == Entry.Rebalance) _reprice(decimals);
    }

    function _config() internal view override returns (IBasketVault.Config memory c) {
        c.oracle = oracle;
        c.policy = _policy();
        c.policy.turnoverBudgetBps = 5_000;
        c.assets = new IBasketVault.Asset[](2);
        c.assets[0] = _asset(address(honest), 0.5e18, 200, 18);
        c.assets[1] = _asset(address(token), 0.5e18, 200, token.decimals());
    }

    /// @dev The call of this entry. The token still behaves.
    function _prepare(Entry entry) internal returns (Cell memory c) {
        (c.caller, c.target, c.moved) = (creator, address(vault), amount);
        if (entry == Entry.Create) {
            IVaultFactory.Params memory p = _params(_config(), _amounts(amount, amount));
            _fund(creator, p);
            (c.target, c.data) = (address(factory), abi.encodeCall(IVaultFactory.createVault, (p)));
        } else if (entry == Entry.Mint) {
            // As many shares again cost as much again.
            c.moved = _part(100);
            uint256 shares = amount == SMALLEST ? INITIAL_SHARES / amount : INITIAL_SHARES;
            uint256[] memory amounts = _prepareDeposit(alice, shares);
            (c.caller, c.data) = (alice, abi.encodeCall(IVaultCore.mintInKind, (shares, alice, amounts)));
        } else if (entry == Entry.Redeem || entry == Entry.RedeemExcept || entry == Entry.Claim) {
            _prepareExit(entry, c);
        } else if (entry == Entry.Sync) {
            c.moved = _part(50);
            token.burn(address(vault), c.moved);
            c.data = abi.encodeCall(IVaultExtension.sync, (1));
        } else if (entry == Entry.Absorb) {
            c.moved = _part(100);
            token.mint(address(vault), c.moved);
            (c.caller, c.data) = (owner, abi.encodeCall(IVaultExtension.absorb, (1, c.moved)));
        } else {
            // A sixth is its surplus: a little less, for a unit can be worth far less than 1e-18 dollars.
            c.moved = amount / 6 - amount / 1e6;
            ScriptedExecutor.Step[] memory steps = new ScriptedExecutor.Step[](1);
            steps[0] = _step(address(honest), abi.encodeCall(LocalToken.mint, (address(vault), _worth(c.moved) + 1)));
            c.caller = keeper;
            uint256 epoch = vault.state().epoch;
            c.data = abi.encodeCall(
                IVaultCore.rebalance,
                (epoch, _amounts(0, c.moved), _amounts(1, 0), address(executor), abi.encode(steps))
            );
        }
    }

    /// @dev This many hundredths of each holding, or one unit of the smallest holding.
    function _part(uint256 hundredths) internal view returns (uint256) {
        return amount == SMALLEST ? 1 : amount * hundredths / 100;
    }

    function _prepareExit(Entry entry, Cell memory c) internal {
        uint256[] memory none = _amounts(0, 0);
        c.moved = _part(60); // {tok} = {tok} * {share} / {share}, down
        uint256 shares = amount == SMALLEST ? INITIAL_SHARES / amount : 60e18;
        c.data = abi.encodeCall(IVaultCore.redeemInKindExcept, (shares, creator, creator, none, 2));
        if (entry == Entry.Redeem) {
            c.data = abi.encodeCall(IVaultCore.redeemInKind, (shares, creator, creator, none));
        } else if (entry == Entry.Claim) {
            vm.prank(creator);
            (bool done,) = c.target.call(c.data);
            assertTrue(done);
            c.data = abi.encodeCall(IVaultExtension.claim, (creator, address(token), creator, type(uint256).max));
        }
    }

    /// @dev Prices at which the token is worth 60 % of the basket: as near as a price can come to 60,000 dollars for all of it. The
    /// honest token is a dollar, so a unit of it is 1e-18 dollars.
    function _reprice(uint8 decimals) internal {
        uint256 priceE18 = 60_000e18 * 10 ** decimals / amount;
        if (priceE18 == 0) priceE18 = 1;
        if (priceE18 > type(uint120).max) priceE18 = type(uint120).max;
        MockOracle told = new MockOracle();
        address[] memory list = new address[](2);
        (list[0], list[1]) = (address(honest), address(token));
        IOracleHub.Price[] memory prices = new IOracleHub.Price[](2);
        prices[0] = IOracleHub.Price(1e18, 1e18, 1e18, IOracleHub.Fault.None);
        prices[1] = IOracleHub.Price(priceE18, priceE18, priceE18, IOracleHub.Fault.None);
        told.setPrices(list, prices);
        vm.startPrank(owner);
        vault.setOracle(IOracleHub(address(told)));
        vm.stopPrank();
        _holdHonest(_worth(amount) * 2 / 3);
    }

    /// @dev Makes the vault hold that much of the honest token: what is too much is lost, what is missing given.
    function _holdHonest(uint256 wanted) internal {
        uint256 there = honest.balanceOf(address(vault));
        if (wanted < there) {
            honest.burn(address(vault), there - wanted);
            vault.sync(0);
            if (vault.isBarred(0)) {
                vm.startPrank(owner);
                vault.allowPurchases(0);
                vault.resumeRebalance();
                vm.stopPrank();
            }
        } else if (wanted > there) {
            honest.mint(address(vault), wanted - there);
            vm.prank(owner);
            vault.absorb(0, wanted - there);
        }
        assertEq(vault.held()[0], wanted);
    }

    // {usd18} = {tok} * {usd18/whole} / {tok/whole}
    function _worth(uint256 amountRaw) internal view returns (uint256) {
        address[] memory list = new address[](1);
        list[0] = address(token);
        return amountRaw * vault.oracle().prices(list)[0].primaryE18 / 10 ** vault.assets()[1].decimals;
    }

    /// @dev Every way back in that anybody has.
    function _reentries() internal view returns (bytes[] memory calls) {
        uint256[] memory none = _amounts(0, 0);
        calls = new bytes[](8);
        calls[0] = abi.encodeCall(IVaultCore.redeemInKind, (1, address(token), address(token), none));
        calls[1] = abi.encodeCall(IVaultCore.mintInKind, (1, address(token), none));
        calls[2] = abi.encodeCall(IVaultExtension.claim, (creator, address(token), creator, type(uint256).max));
        calls[3] = abi.encodeCall(IVaultCore.poke, ());
        calls[4] = abi.encodeCall(IVaultCore.collectFee, ());
        calls[5] = abi.encodeCall(IVaultExtension.sync, (1));
        calls[6] = abi.encodeCall(IVaultExtension.collectPerformanceFee, ());
        calls[7] = abi.encodeCall(IVaultExtension.bid, (0, 1, 1, 1));
    }
}
