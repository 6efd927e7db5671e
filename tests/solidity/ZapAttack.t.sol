// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import { IBasketVault } from "../../contracts/interfaces/IBasketVault.sol";
import { IExecutor } from "../../contracts/interfaces/IExecutor.sol";
import { IZap, IZapExecutor } from "../../contracts/interfaces/IZap.sol";
import { CallbackToken, FeeToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";
import { ZapScene } from "./support/ZapScene.sol";

/// @notice Zap among people, vaults, tokens and venues that mean harm; and that, whatever a route does, nothing stays.
contract ZapAttackTest is ZapScene {
    uint16 internal constant FIXED = type(uint16).max;

    /* PEOPLE */

    function test_an_approval_pays_for_nobody_but_who_gave_it() public {
        IZap.In memory z = _fromUsdc(1_000e6); // alice approved
        z.receiver = bob;

        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 0, 1_000e6)
        );
        zap.zapIn(z);
    }

    function test_the_executor_works_for_the_zap_alone() public {
        tokens[USDC].mint(address(routes), 1_000e6); // as between two steps of a zap

        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IZapExecutor.NotTheZap.selector, bob));
        routes.executeRoute(
            new address[](0), Routes.v3(tokens[USDC], 0, address(wethPool), Routes.TO_CALLER, tokens[WETH])
        );

        vm.prank(bob);
        (bool done,) = address(routes).call(abi.encodeCall(IExecutor.executeRoute, ("")));
        assertFalse(done, "nor by the function that vaults call");
    }

    function test_ether_forced_in_neither_counts_nor_hinders() public {
        _force(address(zap), 1 ether);
        _force(address(routes), 1 ether);
        IZap.In memory z = _fromEther(0.6e18);
        address poor = makeAddr("poor");
        z.receiver = poor;

        vm.prank(alice);
        assertEq(zap.zapIn{ value: 0.6e18 }(z), 1e18);
        assertEq(alice.balance, 10e18 - 0.5e18);

        _approve(MockToken(address(vault)), poor, address(zap), 1e18);
        IZap.Out memory out = _outToUsdc(1e18);
        (out.tokenOut, out.receiver) = (address(0), poor);
        out.route = bytes.concat(
            Routes.v3(tokens[WBTC], 0, address(wbtcPool), 0, tokens[USDC]),
            Routes.v3(tokens[USDC], 0, address(wethPool), 0, tokens[WETH])
        );
        vm.prank(poor);
        assertEq(zap.zapOut(out), 0.5e18);

        assertEq(poor.balance, 0.5e18);
        assertEq(address(zap).balance, 1 ether);
        assertEq(address(routes).balance, 1 ether);
    }

    function test_a_receiver_that_enters_again_is_refused() public {
        Receiver receiver = new Receiver(zap, vault);
        IZap.Out memory z = _toUsdc(1e18);
        (z.tokenOut, z.receiver) = (address(0), address(receiver));
        z.route = Routes.v3(tokens[WBTC], 0, address(wbtcPool), 0, tokens[USDC]);

        vm.prank(alice);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        zap.zapOut(z);
    }

    /* VAULTS */

    function test_a_hostile_vault_cannot_reenter() public {
        HostileVault hostile = new HostileVault(vault, zap);
        hostile.setActs(HostileVault.Acts.Reenters);
        IZap.In memory z = _fromUsdc(1_000e6);
        z.vault = IBasketVault(address(hostile));

        vm.prank(alice);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        zap.zapIn(z);
    }

    function test_a_hostile_vault_takes_no_more_than_was_brought_and_nothing_afterwards() public {
        HostileVault hostile = new HostileVault(vault, zap);
        hostile.setActs(HostileVault.Acts.TakesAll);
        tokens[USDC].mint(bob, 5_000e6);
        _approve(tokens[USDC], bob, address(zap), 5_000e6);
        IZap.In memory z = _fromUsdc(1_000e6);
        z.vault = IBasketVault(address(hostile));

        vm.prank(alice);
        zap.zapIn(z);

        assertEq(_balances(address(hostile)), _amounts(0.25e18, 750_000, 200e6));
        assertEq(tokens[USDC].balanceOf(bob), 5_000e6);
        for (uint256 i; i < 3; ++i) {
            assertEq(tokens[i].allowance(address(zap), address(hostile)), 0, "no approval stays");
        }
        tokens[USDC].mint(address(zap), 1e6);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(hostile), 0, 1e6)
        );
        hostile.take(tokens[USDC], address(zap), 1e6);
    }

    function test_a_hostile_vault_that_takes_less_than_it_says_keeps_nothing_in_the_zap() public {
        HostileVault hostile = new HostileVault(vault, zap);
        hostile.setActs(HostileVault.Acts.TakesNothing);
        IZap.In memory z = _fromUsdc(1_000e6);
        z.vault = IBasketVault(address(hostile));

        vm.prank(alice);
        zap.zapIn(z);

        for (uint256 k; k < 3; ++k) {
            assertEq(tokens[k].allowance(address(zap), address(hostile)), 0, "nor an approval");
        }
        assertEq(_balances(alice), _amounts(0.25e18, 750_000, 200e6));
        _assertNothingLeft();
    }

    function test_a_hostile_vault_cannot_redeem_anybodys_shares() public {
        HostileVault hostile = new HostileVault(vault, zap);
        hostile.setActs(HostileVault.Acts.Redeems);
        IZap.Out memory z = _toUsdc(1e18);
        z.vault = IBasketVault(address(hostile));

        // The hostile vault asks the real one for alice's shares, which she approved for the zap and not for it.
        vm.prank(alice);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(hostile), 0, 1e18)
        );
        zap.zapOut(z);
    }

    /* TOKENS */

    function test_a_token_that_enters_the_zap_again_is_refused() public {
        CallbackToken paid = new CallbackToken("Callback", "CB", 6);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.tokenIn = address(paid);
        paid.mint(alice, 1_000e6);
        _approve(paid, alice, address(zap), 1_000e6);
        bytes[2] memory messages = [
            abi.encodeCall(IZap.zapIn, (z)),
            abi.encodeCall(IZap.zapOut, (IZap.Out(vault, 1, address(0), 0, bob, block.timestamp, "")))
        ];
        for (uint256 i; i < messages.length; ++i) {
            paid.setCallback(address(zap), messages[i]);
            vm.prank(alice);
            vm.expectRevert(abi.encodeWithSelector(CallbackToken.StrangerRefused.selector, _reentrant()));
            zap.zapIn(z);
        }
    }

    function test_a_token_that_uses_the_executor_meanwhile_is_refused() public {
        CallbackToken hostile = new CallbackToken("Callback", "CB", 6);
        tokens.pop();
        feeds.pop();
        _addAsset(hostile, 1e8);
        vault = _createVault(_config(), _amounts(25e18, 0.75e8, 20_000e6));
        _deposit(alice, 1e18);
        IZap.Out memory z = _toUsdc(0);
        (z.shares, z.route) = (1e18, "");
        _approve(MockToken(address(vault)), alice, address(zap), 1e18);
        // While the hostile token moves to the executor, the others lie there already.
        address[] memory wanted = new address[](1);
        wanted[0] = address(tokens[WETH]);
        hostile.setCallback(address(routes), abi.encodeCall(IZapExecutor.executeRoute, (wanted, "")));

        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IZap.AmountOutBelowMinimum.selector, 0, 0));
        zap.zapOut(z);

        z.tokenOut = address(tokens[WETH]);
        vm.prank(alice);
        assertEq(zap.zapOut(z), 0.25e18);
        assertEq(vault.claimable(alice, address(hostile)), 200e6, "what would not move is a claim");
    }

    /* ROUTES */

    function test_a_route_that_calls_the_zap_is_refused() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        IZap.In memory inner = z;
        bytes memory data =
            abi.encodeCall(IZap.zapIn, (IZap.In(vault, inner.tokenIn, 1, 0, 0, bob, block.timestamp, "")));
        z.route = Routes.call(tokens[USDC], 0, address(zap), address(zap), tokens[WETH], FIXED, data);

        vm.prank(alice);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        zap.zapIn(z);
    }

    function test_a_route_of_anybody_that_calls_the_zap_spends_no_approval() public {
        _fromUsdc(1_000e6); // alice approved the zap
        IExecutor open = IExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        tokens[USDC].mint(address(open), 1);
        IZap.In memory z = _paidInUsdc(1_000e6);
        z.receiver = bob;
        bytes memory data = abi.encodeCall(IZap.zapIn, (z));
        bytes memory route = Routes.call(tokens[USDC], 0, address(zap), address(zap), tokens[WETH], FIXED, data);

        // The call comes from a box of its own, which approved the zap for the unit it has.
        vm.prank(bob);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(zap), 1, 1_000e6)
        );
        open.executeRoute(route);
        assertEq(tokens[USDC].balanceOf(alice), 1_000e6);
    }

    function test_a_route_cannot_take_an_approval_for_the_zap() public {
        IZap.In memory z = _fromUsdc(1_000e6);
        tokens[USDC].mint(bob, 5_000e6);
        _approve(tokens[USDC], bob, address(zap), type(uint256).max);
        bytes memory steal = abi.encodeCall(IERC20.transferFrom, (bob, alice, 5_000e6));
        z.route = Routes.call(tokens[USDC], 1, address(tokens[USDC]), address(0), tokens[WETH], FIXED, steal);

        vm.prank(alice);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientAllowance.selector);
        zap.zapIn(z);
    }

    /* NOTHING STAYS */

    /// @dev ZAP-0: after any route, what the zap and its executor hold of every token that it touched is nothing, and no ether either.
    function testFuzz_whatever_a_route_does_nothing_stays(uint256 seed) public {
        Bazaar bazaar = new Bazaar(_toArray());
        IZap.In memory z = _fromUsdc(1_000e6);
        tokens[USDC].mint(alice, 500e6);
        _approve(tokens[USDC], alice, address(zap), 1_500e6);
        (z.amountIn, z.swapAmount) = (1_500e6, 1_200e6);
        z.route = bytes.concat(z.route, bazaar.route(seed));

        vm.prank(alice);
        try zap.zapIn(z) { } catch { }
        _assertBazaarLeftNothing(bazaar);
    }

    function testFuzz_whatever_a_route_out_does_nothing_stays(uint256 seed) public {
        Bazaar bazaar = new Bazaar(_toArray());
        IZap.Out memory z = _toUsdc(1e18);
        z.route = bazaar.route(seed);
        if (seed % 3 == 0) z.tokenOut = address(0);

        vm.prank(alice);
        try zap.zapOut(z) { } catch { }
        _assertBazaarLeftNothing(bazaar);
    }

    function test_most_routes_of_the_bazaar_go_through() public {
        uint256 through;
        for (uint256 seed; seed < 64; ++seed) {
            Bazaar bazaar = new Bazaar(_toArray());
            IZap.In memory z = _fromUsdc(1_000e6);
            z.swapAmount = 1_000e6;
            z.route = bytes.concat(z.route, bazaar.route(uint256(keccak256(abi.encode(seed)))));
            vm.prank(alice);
            try zap.zapIn(z) {
                ++through;
            } catch { }
        }
        assertGt(through, 16);
    }

    /* HELPERS */

    /// @dev Sends ether that nobody can refuse: by a contract that is nothing but SELFDESTRUCT.
    function _force(address victim, uint256 amount) private {
        bytes memory code = abi.encodePacked(hex"73", victim, hex"ff");
        address made;
        assembly ("memory-safe") {
            made := create(amount, add(code, 32), mload(code))
        }
        assertTrue(made != address(0));
        assertEq(victim.balance, amount);
    }

    function _assertBazaarLeftNothing(Bazaar bazaar) private view {
        MockToken[] memory all = bazaar.all();
        for (uint256 i; i < all.length; ++i) {
            _assertNoneLeft(all[i]);
        }
        _assertNothingLeft();
    }

    function _toArray() private view returns (MockToken[] memory list) {
        list = new MockToken[](3);
        (list[0], list[1], list[2]) = (tokens[0], tokens[1], tokens[2]);
    }
}

/// @notice Answers like a vault, and does harm where it can.
contract HostileVault {
    enum Acts {
        Reenters,
        TakesAll,
        TakesNothing,
        Redeems
    }

    IBasketVault internal immutable VAULT;
    IZap internal immutable ZAP;
    Acts internal acts;

    constructor(IBasketVault vault, IZap zap) {
        VAULT = vault;
        ZAP = zap;
    }

    function setActs(Acts acts_) external {
        acts = acts_;
    }

    function assets() external view returns (IBasketVault.Asset[] memory) {
        return VAULT.assets();
    }

    function totalSupply() external view returns (uint256) {
        return VAULT.totalSupply();
    }

    function previewMintInKind(uint256 shares) external view returns (uint256[] memory) {
        return VAULT.previewMintInKind(shares);
    }

    function mintInKind(uint256, address, uint256[] calldata most) external returns (uint256[] memory) {
        if (acts == Acts.Reenters) ZAP.zapOut(IZap.Out(VAULT, 1, address(0), 0, address(this), block.timestamp, ""));
        IBasketVault.Asset[] memory list = VAULT.assets();
        for (uint256 i; i < list.length && acts == Acts.TakesAll; ++i) {
            IERC20(list[i].token).transferFrom(msg.sender, address(this), most[i]);
        }
        return most;
    }

    function redeemInKind(uint256 shares, address, address owner, uint256[] calldata least)
        external
        returns (uint256[] memory)
    {
        return VAULT.redeemInKind(shares, address(this), owner, least);
    }

    function take(MockToken token, address from, uint256 amount) external {
        token.transferFrom(from, address(this), amount);
    }
}

/// @notice Gets ether and goes through the zap again.
contract Receiver {
    IZap internal immutable ZAP;
    IBasketVault internal immutable VAULT;

    constructor(IZap zap, IBasketVault vault) {
        ZAP = zap;
        VAULT = vault;
    }

    receive() external payable {
        ZAP.zapOut(IZap.Out(VAULT, 1, address(0), 0, address(this), block.timestamp, ""));
    }
}

/// @notice Six tokens, among them one outside the basket and one that keeps a fee, and routes over venues that are honest, shallow,
/// generous with dust, or paid in something else than they said.
contract Bazaar {
    MockToken[] internal tokens;
    OddVenue internal odd;

    constructor(MockToken[] memory basket) {
        for (uint256 i; i < basket.length; ++i) {
            tokens.push(basket[i]);
        }
        tokens.push(new MockToken("Outside", "OUT", 18));
        tokens.push(new MockToken("Dust", "DUST", 0));
        tokens.push(new FeeToken("Fee", "FEE", 6, 100));
        odd = new OddVenue();
    }

    function all() external view returns (MockToken[] memory) {
        return tokens;
    }

    /// @notice Up to six hops that follow from the seed.
    function route(uint256 seed) external returns (bytes memory made) {
        for (uint256 hop; hop <= seed % 6; ++hop) {
            uint256 dice = uint256(keccak256(abi.encode(seed, hop)));
            MockToken tokenIn = tokens[dice % tokens.length];
            MockToken tokenOut = tokens[(dice % tokens.length + 1 + (dice >> 8) % (tokens.length - 1)) % tokens.length];
            uint8 toCaller = (dice >> 16) % 2 == 0 ? Routes.TO_CALLER : 0;
            uint256 kind = (dice >> 24) % 4;
            if (kind < 2) made = bytes.concat(made, _pool(dice, tokenIn, tokenOut, toCaller, kind == 1));
            else made = bytes.concat(made, _odd(dice, tokenIn, tokenOut, kind == 3));
        }
    }

    /// @dev A pool of one to one that may be shallow: it leaves what it does not take. Or one from which a unit is bought.
    function _pool(uint256 dice, MockToken tokenIn, MockToken tokenOut, uint8 flags, bool buys)
        private
        returns (bytes memory)
    {
        MockPool pool = new MockPool(tokenIn, tokenOut, 1e18);
        if ((dice >> 32) % 2 == 0) pool.setDepth((dice >> 40) % 1e6);
        return buys
            ? Routes.v3Out(tokenIn, uint128(1 + (dice >> 48) % 2), address(pool), flags, tokenOut)
            : Routes.v3(tokenIn, 0, address(pool), flags, tokenOut);
    }

    /// @dev A call that takes half, pays dust, and drops a unit of both at the executor, at its caller, or both.
    function _odd(uint256 dice, MockToken tokenIn, MockToken tokenOut, bool fixed_)
        private
        view
        returns (bytes memory)
    {
        bytes memory data = abi.encodeCall(OddVenue.trade, (fixed_ ? 0 : 1, tokenIn, tokenOut, dice >> 56));
        return Routes.call(tokenIn, 0, address(odd), address(odd), tokenOut, fixed_ ? type(uint16).max : 4, data);
    }
}

/// @notice Keeps to nothing.
contract OddVenue {
    function trade(uint256 amountIn, MockToken tokenIn, MockToken tokenOut, uint256 dice) external {
        tokenIn.transferFrom(msg.sender, address(this), amountIn / 2);
        tokenOut.mint(msg.sender, dice % 3);
        if (dice & 8 != 0) tokenIn.mint(msg.sender, 1);
    }
}
