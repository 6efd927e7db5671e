// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import { Clones } from "@openzeppelin/contracts/proxy/Clones.sol";
import { Test } from "forge-std/Test.sol";

import { IBasketVault, IVaultBase, IVaultCore, IVaultExtension } from "../../contracts/interfaces/IBasketVault.sol";
import { IConfigStore } from "../../contracts/interfaces/IConfigStore.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { MockAggregator } from "../../contracts/mocks/MockAggregator.sol";
import { LocalToken, MockToken } from "../../contracts/mocks/MockToken.sol";
import { ScriptedExecutor } from "./support/ScriptedExecutor.sol";

/// @notice What VaultFactory does, as tests call it (the contract itself comes from its artifact, so tests need not be compiled again
/// whenever it changes).
interface IVaultFactory {
    struct Params {
        string name;
        string symbol;
        address authority;
        IBasketVault.Config config;
        IBasketVault.Fees fees;
        address feeRecipient;
        uint256[] seedAmounts;
        uint256 initialShares;
        address receiver;
        bytes32 salt;
    }

    event VaultCreated(
        address indexed vault, address indexed creator, address indexed authority, string name, string symbol
    );

    function createVault(Params calldata p) external returns (IBasketVault vault);
    function vaultAddress(address creator, bytes32 salt) external view returns (address);
    function vaultCount() external view returns (uint256);
    function vaults(uint256 start, uint256 count) external view returns (address[] memory page);
    function isVault(address vault) external view returns (bool);
    function numberOf(address vault) external view returns (uint256);
    function IMPLEMENTATION() external view returns (address);
}

/// @notice The scene all tests share: actors with one role each, an oracle, and a vault of 100,000 dollars.
///
/// | asset | decimals | price  | held   | target | band |
/// | WETH  | 18       | 2,000  | 25     | 50 %   | 2 %  |
/// | WBTC  | 8        | 40,000 | 0.75   | 30 %   | 2 %  |
/// | USDC  | 6        | 1      | 20,000 | 20 %   | 2 %  |
///
/// 100e18 shares exist, so a share is worth 1,000 dollars. Nothing is traded until a test moves a price.
abstract contract Base is Test {
    uint256 internal constant E18 = 1e18;
    uint256 internal constant BPS = 10_000;
    uint256 internal constant INITIAL_SHARES = 100e18;
    uint256 internal constant MINIMUM_SHARES = 1e6;
    uint32 internal constant HEARTBEAT_SECONDS = 1 hours;
    address internal constant LOCKED = 0x000000000000000000000000000000000000dEaD;

    uint256 internal constant WETH = 0;
    uint256 internal constant WBTC = 1;
    uint256 internal constant USDC = 2;

    uint64 internal constant CURATOR_ROLE = 1;
    uint64 internal constant GUARDIAN_ROLE = 2;
    uint64 internal constant KEEPER_ROLE = 3;

    address internal owner = makeAddr("owner");
    address internal curator = makeAddr("curator");
    address internal guardian = makeAddr("guardian");
    address internal keeper = makeAddr("keeper");
    address internal creator = makeAddr("creator");
    address internal alice = makeAddr("alice");
    address internal bob = makeAddr("bob");
    address internal stranger = makeAddr("stranger");
    address internal treasury = makeAddr("treasury");

    AccessManager internal manager;
    IOracleHub internal oracle;
    IConfigStore internal store;
    IVaultFactory internal factory;
    address internal implementation;
    IBasketVault internal vault;
    ScriptedExecutor internal executor;
    /// What reads a Chainlink-style feed as a second source.
    address internal chainlinkFeed;

    MockToken[] internal tokens;
    MockAggregator[] internal feeds;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        _deployCore();
        _addAsset(new MockToken("Wrapped Ether", "WETH", 18), 2_000e8);
        _addAsset(new MockToken("Wrapped Bitcoin", "WBTC", 8), 40_000e8);
        _addAsset(new MockToken("USD Coin", "USDC", 6), 1e8);
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
    }

    /* DEPLOYMENT */

    function _deployCore() internal {
        manager = new AccessManager(owner);
        oracle = IOracleHub(deployCode("OracleHub.sol:OracleHub", abi.encode(manager, address(0), 0)));
        store = IConfigStore(deployCode("ConfigStore.sol:ConfigStore"));
        address extension = deployCode("VaultExtension.sol:VaultExtension", abi.encode(store));
        implementation = deployCode("BasketVault.sol:BasketVault", abi.encode(extension));
        factory = IVaultFactory(deployCode("VaultFactory.sol:VaultFactory", abi.encode(implementation)));
        executor = new ScriptedExecutor();
        chainlinkFeed = deployCode("ChainlinkFeed.sol:ChainlinkFeed");
        vm.label(address(manager), "manager");
        vm.label(address(oracle), "oracle");
        vm.label(address(store), "store");
        vm.label(address(executor), "executor");

        vm.startPrank(owner);
        manager.grantRole(CURATOR_ROLE, curator, 0);
        manager.grantRole(GUARDIAN_ROLE, guardian, 0);
        manager.grantRole(KEEPER_ROLE, keeper, 0);
        manager.setTargetFunctionRole(address(oracle), _selectors(IOracleHub.removeFeed.selector), GUARDIAN_ROLE);
        vm.stopPrank();
    }

    /// @dev Adds a token with a feed of 8 decimals to what `_config` builds from.
    function _addAsset(MockToken token, int192 answerE8) internal returns (MockAggregator feed) {
        feed = new MockAggregator(8, string.concat(token.symbol(), " / USD"));
        feed.push(answerE8);
        vm.prank(owner);
        oracle.setFeed(address(token), address(feed), 8, HEARTBEAT_SECONDS, 1, type(uint128).max);
        vm.label(address(token), token.symbol());
        tokens.push(token);
        feeds.push(feed);
    }

    function _policy() internal pure virtual returns (IBasketVault.Policy memory) {
        return IVaultBase.Policy({
            startSlippageBps: 10,
            maxSlippageBps: 100,
            slippageRampSeconds: 1_000,
            minProgressBps: 5_000,
            dustBps: 20,
            cooldownSeconds: 600,
            lossBudgetBps: 50,
            lossPeriodSeconds: 1 days,
            turnoverBudgetBps: 5_000,
            turnoverPeriodSeconds: 1 days,
            destinationBps: 0,
            calendarSeconds: 0,
            openAfterSeconds: 0
        });
    }

    /// @dev An asset that has been at its target all along, with an absolute band and no minimum trade.
    function _asset(address token, uint64 targetE18, uint16 bandBps, uint8 decimals)
        internal
        pure
        returns (IBasketVault.Asset memory)
    {
        return IVaultBase.Asset(token, targetE18, bandBps, decimals, 0, 0, targetE18, false);
    }

    /// @dev Fees of which only the streaming one is charged.
    function _streaming(uint256 bps) internal pure returns (IBasketVault.Fees memory) {
        return IVaultBase.Fees(uint16(bps), 0, 0, 0);
    }

    /// @dev Bands without relative bands or minimum trades.
    function _bands(uint16 a, uint16 b, uint16 c) internal pure returns (IBasketVault.Band[] memory bands) {
        bands = new IBasketVault.Band[](3);
        (bands[0].bandBps, bands[1].bandBps, bands[2].bandBps) = (a, b, c);
    }

    function _config() internal view virtual returns (IBasketVault.Config memory c) {
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](3);
        c.assets[WETH] = _asset(address(tokens[WETH]), 0.5e18, 200, 18);
        c.assets[WBTC] = _asset(address(tokens[WBTC]), 0.3e18, 200, 8);
        c.assets[USDC] = _asset(address(tokens[USDC]), 0.2e18, 200, 6);
    }

    function _params(IBasketVault.Config memory config, uint256[] memory seedAmounts)
        internal
        view
        returns (IVaultFactory.Params memory)
    {
        return IVaultFactory.Params({
            name: "Three coins",
            symbol: "THREE",
            authority: address(manager),
            config: config,
            fees: _streaming(0),
            feeRecipient: treasury,
            seedAmounts: seedAmounts,
            initialShares: INITIAL_SHARES,
            receiver: creator,
            salt: bytes32(factory.vaultCount())
        });
    }

    function _createVault(IBasketVault.Config memory config, uint256[] memory seedAmounts)
        internal
        returns (IBasketVault made)
    {
        made = _createVault(_params(config, seedAmounts));
    }

    function _createVault(IVaultFactory.Params memory p) internal returns (IBasketVault made) {
        _fund(creator, p);
        vm.prank(creator);
        made = factory.createVault(p);
        _giveRoles(made);
    }

    function _fund(address from, IVaultFactory.Params memory p) internal {
        for (uint256 i; i < p.config.assets.length && i < p.seedAmounts.length; ++i) {
            MockToken token = MockToken(p.config.assets[i].token);
            token.mint(from, p.seedAmounts[i]);
            _approve(token, from, address(factory), p.seedAmounts[i]);
        }
    }

    /// @dev The owner (admin of the manager) keeps the rest.
    function _giveRoles(IBasketVault made) internal {
        vm.startPrank(owner);
        manager.setTargetFunctionRole(
            address(made),
            _selectors(IVaultExtension.setTargets.selector, IVaultExtension.setBands.selector),
            CURATOR_ROLE
        );
        bytes4[] memory guards = _selectors(
            IVaultExtension.pauseRebalance.selector,
            IVaultExtension.tightenPolicy.selector,
            IVaultExtension.lowerFees.selector,
            IVaultExtension.stopAuction.selector
        );
        manager.setTargetFunctionRole(address(made), guards, GUARDIAN_ROLE);
        manager.setTargetFunctionRole(address(made), _selectors(IVaultCore.rebalance.selector), KEEPER_ROLE);
        vm.stopPrank();
        vm.label(address(made), "vault");
    }

    /// @dev Makes `vault` a basket of WETH (10, at 2,000) and `other` (20,000 whole ones, at 1), half and half, bands 2 %.
    function _switchToPair(MockToken other) internal {
        MockToken weth = tokens[WETH];
        MockAggregator wethFeed = feeds[WETH];
        delete tokens;
        delete feeds;
        tokens.push(weth);
        feeds.push(wethFeed);
        _addAsset(other, 1e8);
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](2);
        c.assets[0] = _asset(address(weth), 0.5e18, 200, 18);
        c.assets[1] = _asset(address(other), 0.5e18, 200, other.decimals());
        vault = _createVault(c, _amounts(10e18, 20_000 * 10 ** other.decimals()));
    }

    /// @dev Makes `vault` a basket of five assets with 0, 6, 8, 18 and 27 decimals, 20,000 dollars and 20 % each, bands 2 %.
    function _switchToMatrix() internal {
        delete tokens;
        delete feeds;
        _addAsset(new MockToken("No decimals", "D0", 0), 0.2e8);
        _addAsset(new MockToken("Six decimals", "D6", 6), 1e8);
        _addAsset(new MockToken("Eight decimals", "D8", 8), 40_000e8);
        _addAsset(new MockToken("Eighteen decimals", "D18", 18), 2_000e8);
        _addAsset(new MockToken("Many decimals", "D27", 27), 0.1e8);
        IBasketVault.Config memory c;
        c.oracle = oracle;
        c.policy = _policy();
        c.assets = new IBasketVault.Asset[](5);
        for (uint256 i; i < 5; ++i) {
            c.assets[i] = _asset(address(tokens[i]), 0.2e18, 200, tokens[i].decimals());
        }
        uint256[] memory seed = new uint256[](5);
        (seed[0], seed[1], seed[2], seed[3], seed[4]) = (100_000, 20_000e6, 0.5e8, 10e18, 200_000e27);
        vault = _createVault(c, seed);
    }

    function _clone(address code) internal returns (address) {
        return Clones.clone(code);
    }

    /// @dev Writes zero over every word of the ledger, found by what `held` reads.
    function _emptyLedger() internal {
        vm.record();
        uint256[] memory before = vault.held();
        (bytes32[] memory reads,) = vm.accesses(address(vault));
        for (uint256 i; i < reads.length; ++i) {
            uint256 word = uint256(vm.load(address(vault), reads[i]));
            // Two assets a word; the configuration's address has no upper half.
            if (uint128(word) == before[0] || word == before[before.length - 1]) {
                vm.store(address(vault), reads[i], 0);
            }
        }
        assertEq(vault.held(), new uint256[](before.length), "the ledger is empty");
    }

    /* MARKET */

    function _setPrice(uint256 asset, int192 answerE8) internal {
        feeds[asset].push(answerE8);
    }

    /// @dev Repeats every feed's answer with the present time.
    function _refreshFeeds() internal {
        for (uint256 i; i < feeds.length; ++i) {
            (, int256 answer,,,) = feeds[i].latestRoundData();
            feeds[i].push(int192(answer));
        }
    }

    /// @dev Time passes, and feeds stay fresh.
    function _pass(uint256 durationSeconds) internal {
        skip(durationSeconds);
        _refreshFeeds();
    }

    /// @dev WETH at 2,400: the vault is worth 110,000, WETH is 5,000 above target, WBTC 3,000 and USDC 2,000 below.
    function _breakBand() internal {
        _setPrice(WETH, 2_400e8);
    }

    /* ACTORS */

    /// @dev Works for tokens that return nothing, too.
    function _approve(MockToken token, address from, address spender, uint256 amount) internal {
        vm.prank(from);
        (bool done,) = address(token).call(abi.encodeCall(token.approve, (spender, amount)));
        assertTrue(done, "approved");
    }

    /// @dev Gives the holder what `shares` cost now and approves it.
    function _prepareDeposit(address holder, uint256 shares) internal returns (uint256[] memory amounts) {
        amounts = vault.previewMintInKind(shares);
        for (uint256 i; i < amounts.length; ++i) {
            tokens[i].mint(holder, amounts[i]);
            _approve(tokens[i], holder, address(vault), amounts[i]);
        }
    }

    function _deposit(address holder, uint256 shares) internal returns (uint256[] memory amounts) {
        amounts = _prepareDeposit(holder, shares);
        vm.prank(holder);
        vault.mintInKind(shares, holder, amounts);
    }

    function _redeem(address holder, uint256 shares) internal returns (uint256[] memory) {
        uint256[] memory none = new uint256[](vault.held().length);
        vm.prank(holder);
        return vault.redeemInKind(shares, holder, holder, none);
    }

    /// @dev All shares but the locked ones.
    function _unlocked() internal view returns (uint256) {
        return vault.totalSupply() - vault.balanceOf(LOCKED);
    }

    /// @dev The holder redeems all it has, and leaves those assets as claims whose bits are set in `skipped`.
    function _leave(address holder, uint256 skipped) internal returns (uint256[] memory) {
        uint256[] memory none = new uint256[](vault.held().length);
        uint256 shares = vault.balanceOf(holder);
        vm.prank(holder);
        return vault.redeemInKindExcept(shares, holder, holder, none, skipped);
    }

    /// @dev The holder has all of its claim on a token paid to itself.
    function _claim(address holder, MockToken token) internal returns (uint256) {
        vm.prank(holder);
        return vault.claim(holder, address(token), holder, type(uint256).max);
    }

    /// @dev Sells all of WETH's surplus after `_breakBand` and buys at the oracle's price what closes the other two.
    function _rebalanceFairly() internal {
        _rebalance(_amounts(2.083e18, 0, 0), _amounts(0, 0.075e8 - 1, 1_999e6 + 1e6 - 1), 0);
    }

    /// @dev The keeper sells `sales`; the executor brings exactly `buys`.
    function _rebalance(uint256[] memory sales, uint256[] memory buys, uint256 epoch) internal {
        bytes memory route = abi.encode(_bring(buys));
        vm.prank(keeper);
        vault.rebalance(epoch, sales, buys, address(executor), route);
    }

    /* SCRIPTS */

    /// @dev Steps that hand the vault `buys`.
    function _bring(uint256[] memory buys) internal view returns (ScriptedExecutor.Step[] memory steps) {
        uint256 count;
        for (uint256 i; i < buys.length; ++i) {
            if (buys[i] != 0) ++count;
        }
        steps = new ScriptedExecutor.Step[](count);
        count = 0;
        for (uint256 i; i < buys.length; ++i) {
            if (buys[i] == 0) continue;
            steps[count++] = _step(address(tokens[i]), abi.encodeCall(LocalToken.mint, (address(vault), buys[i])));
        }
    }

    function _step(address target, bytes memory data) internal pure returns (ScriptedExecutor.Step memory) {
        return ScriptedExecutor.Step(target, data, "");
    }

    function _refused(address target, bytes memory data, bytes memory expectedError)
        internal
        pure
        returns (ScriptedExecutor.Step memory)
    {
        return ScriptedExecutor.Step(target, data, expectedError);
    }

    function _reentrant() internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IVaultBase.ReentrancyGuardReentrantCall.selector);
    }

    /* ARRAYS */

    function _amounts(uint256 a, uint256 b) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _amounts(uint256 a, uint256 b, uint256 c) internal pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _amounts() internal pure returns (uint256[] memory) {
        return new uint256[](3);
    }

    function _selectors(bytes4 selector) internal pure returns (bytes4[] memory list) {
        list = new bytes4[](1);
        list[0] = selector;
    }

    function _selectors(bytes4 a, bytes4 b) internal pure returns (bytes4[] memory list) {
        list = new bytes4[](2);
        (list[0], list[1]) = (a, b);
    }

    function _selectors(bytes4 a, bytes4 b, bytes4 c, bytes4 d) internal pure returns (bytes4[] memory list) {
        list = new bytes4[](4);
        (list[0], list[1], list[2], list[3]) = (a, b, c, d);
    }

    /* CHECKS */

    function _balances(address holder) internal view returns (uint256[] memory balances) {
        balances = new uint256[](tokens.length);
        for (uint256 i; i < tokens.length; ++i) {
            balances[i] = tokens[i].balanceOf(holder);
        }
    }
}
