// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IBasketVault } from "../../contracts/interfaces/IBasketVault.sol";
import { RevertingToken } from "../../contracts/mocks/AwkwardTokens.sol";
import { MockToken } from "../../contracts/mocks/MockToken.sol";
import { console } from "forge-std/console.sol";

import { Base } from "./Base.t.sol";
import { World } from "./support/World.sol";

/// @notice The promises, after any sequence of what holders, keepers, the market, governance and time may do (support/World.sol).
///
/// The basket: 18, 8, 6 and 27 decimals; the one with 6 can refuse to move. 100,000 dollars, a fee of 2 %.
contract InvariantsTest is Base {
    uint256 internal constant FRAGILE = 2;

    World internal world;
    address[] internal holders;

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deployCore();
        _addAsset(new MockToken("Wrapped Ether", "WETH", 18), 2_000e8);
        _addAsset(new MockToken("Wrapped Bitcoin", "WBTC", 8), 40_000e8);
        _addAsset(new RevertingToken("USD Coin", "USDC", 6), 1e8);
        _addAsset(new MockToken("Many decimals", "D27", 27), 0.5e8);
        uint256[] memory seed = new uint256[](4);
        (seed[0], seed[1], seed[2], seed[3]) = (20e18, 0.75e8, 20_000e6, 20_000e27);
        vault = _createVault(_config(), seed);
        vm.prank(owner);
        vault.setFees(_streaming(200), treasury);

        holders.push(creator);
        holders.push(alice);
        holders.push(bob);
        holders.push(makeAddr("carol"));
        world = new World(vault, [owner, curator, guardian, keeper], holders, tokens, feeds, FRAGILE);
        vm.label(address(world), "world");
        targetContract(address(world));
        targetSelector(FuzzSelector(address(world), _actions()));
    }

    function _config() internal view override returns (IBasketVault.Config memory c) {
        c.oracle = oracle;
        c.policy = _policy();
        c.policy.turnoverBudgetBps = 5_000;
        c.policy.minProgressBps = 1_000;
        c.assets = new IBasketVault.Asset[](4);
        c.assets[0] = _asset(address(tokens[0]), 0.4e18, 200, 18);
        c.assets[1] = _asset(address(tokens[1]), 0.3e18, 200, 8);
        c.assets[2] = _asset(address(tokens[2]), 0.2e18, 200, 6);
        c.assets[3] = _asset(address(tokens[3]), 0.1e18, 200, 27);
    }

    /// @dev What the world may do; the more important things more often.
    function _actions() internal pure returns (bytes4[] memory actions) {
        actions = new bytes4[](25);
        actions[0] = World.deposit.selector;
        actions[1] = World.redeem.selector;
        actions[2] = World.redeem.selector;
        actions[3] = World.claim.selector;
        actions[4] = World.transferShares.selector;
        actions[5] = World.give.selector;
        actions[6] = World.collectFee.selector;
        actions[7] = World.poke.selector;
        actions[8] = World.tradeHonestly.selector;
        actions[9] = World.tradeHonestly.selector;
        actions[10] = World.tradeHostilely.selector;
        actions[11] = World.tradeHostilely.selector;
        actions[12] = World.tradeHostilely.selector;
        actions[13] = World.movePrice.selector;
        actions[14] = World.breakFeed.selector;
        actions[15] = World.breakToken.selector;
        actions[16] = World.passTime.selector;
        actions[17] = World.setTargets.selector;
        actions[18] = World.setPolicy.selector;
        actions[19] = World.setFee.selector;
        actions[20] = World.pause.selector;
        actions[21] = World.redeemExcept.selector;
        actions[22] = World.sync.selector;
        actions[23] = World.absorb.selector;
        actions[24] = World.stealRepeatedly.selector;
    }

    /* PROMISES */

    /// @notice A: everybody can leave now, with everything that is theirs, even if all that is not the tokens is gone.
    function invariant_A_redeemAlwaysWorks() public {
        _checkExit();
    }

    /// @notice All others: none was seen broken after any single step.
    function invariant_BCE_promisesAreKept() public view {
        _checkPromises();
    }

    /// @notice What the vault says it holds and owes is there.
    function invariant_ledgerIsSolvent() public view {
        _checkSolvent();
    }

    /// @notice Every share has a holder, or is a fee that is not yet minted.
    function invariant_supplyMatchesLedger() public view {
        _checkSupply();
    }

    /// @notice A fixed walk of the same world. It shows that the actors do real work: a handler that is always refused proves nothing.
    function test_the_world_is_not_idle() public {
        bytes4[] memory actions = _actions();
        for (uint256 i; i < 600; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("walk", i)));
            bytes memory data = abi.encodePacked(
                actions[seed % actions.length],
                keccak256(abi.encode(seed, 1)),
                keccak256(abi.encode(seed, 2)),
                keccak256(abi.encode(seed, 3))
            );
            // Functions of booleans refuse other words; the walk gives them one.
            if (actions[seed % actions.length] == World.breakToken.selector) {
                data = abi.encodeCall(World.breakToken, (seed >> 255 == 1));
            } else if (actions[seed % actions.length] == World.passTime.selector) {
                data = abi.encodeCall(World.passTime, (seed >> 8, seed >> 254 != 0));
            }
            (bool done,) = address(world).call(data);
            assertTrue(done, "no actor fails by itself");
            if (i % 20 == 0) {
                _checkExit();
                _checkSolvent();
                _checkSupply();
                _checkPromises();
            }
        }

        World.Counts memory c = world.counts();
        console.log("deposits", c.deposits, "refused", c.depositsRefused);
        console.log("redemptions", c.redemptions, "with a claim", c.claimsOpened);
        console.log("claims paid", c.claimsPaid, "gifts", c.gifts);
        console.log("gifts absorbed", c.giftsAbsorbed);
        console.log("honest trades", c.honestTrades, "waits", c.honestWaits);
        console.log("hostile trades", c.hostileTrades, "refusals", c.hostileRefusals);
        console.log("targets set", c.targetsSet, "policies set", c.policiesSet);
        console.log("pauses", c.pauses);
        console.log("feeds broken", c.feedsBroken, "tokens broken", c.tokensBroken);
        assertGt(c.deposits, 10);
        assertGt(c.redemptions, 20);
        assertGt(c.claimsOpened, 5);
        assertGt(c.claimsPaid, 3);
        assertGt(c.gifts, 10);
        assertGt(c.giftsAbsorbed, 3);
        assertGt(c.honestTrades, 20);
        assertGt(c.hostileTrades, 20);
        assertGt(c.hostileRefusals, 20);
        assertGt(c.targetsSet, 5);
        assertGt(c.policiesSet, 5);
        assertGt(c.feedsBroken, 5);
        assertGt(c.tokensBroken, 3);
    }

    /* CHECKS */

    function _checkExit() internal {
        uint256 snapshot = vm.snapshotState();
        vm.etch(address(oracle), hex"fe");
        vm.etch(address(store), hex"fe");
        vm.etch(address(manager), hex"fe");
        for (uint256 i; i < holders.length; ++i) {
            uint256 shares = vault.balanceOf(holders[i]);
            if (shares == 0) continue;
            uint256[] memory expected = vault.previewRedeemInKind(shares);
            uint256[] memory before = _balances(holders[i]);
            uint256[] memory owedBefore = _claims(holders[i]);
            assertEq(_redeem(holders[i], shares), expected, "A: what was foretold");
            uint256[] memory after_ = _balances(holders[i]);
            uint256[] memory owedAfter = _claims(holders[i]);
            for (uint256 j; j < tokens.length; ++j) {
                assertEq(after_[j] + owedAfter[j] - before[j] - owedBefore[j], expected[j], "A: sent or owed");
                if (j != FRAGILE) assertEq(owedAfter[j], owedBefore[j], "A: what can be sent is sent");
            }
        }
        vm.revertToState(snapshot);
    }

    function _checkPromises() internal view {
        assertEq(world.firstBreach(World.Promise.Exit), "", "A");
        assertEq(world.firstBreach(World.Promise.BoundedLoss), "", "B");
        assertEq(world.firstBreach(World.Promise.TowardTarget), "", "C");
        assertEq(world.firstBreach(World.Promise.InertGifts), "", "E");
        assertEq(
            world.firstBreach(World.Promise.KeptValue), "", "value leaves only by redemption, fee and bounded loss"
        );
        assertEq(world.firstBreach(World.Promise.HonestKeeper), "", "an honest keeper is let through");
    }

    function _checkSolvent() internal view {
        uint256[] memory held = vault.held();
        for (uint256 i; i < tokens.length; ++i) {
            uint256 claims;
            for (uint256 j; j < holders.length; ++j) {
                claims += vault.claimable(holders[j], address(tokens[i]));
            }
            assertEq(vault.totalClaimable(address(tokens[i])), claims);
            assertGe(tokens[i].balanceOf(address(vault)), held[i] + claims);
        }
    }

    function _claims(address holder) internal view returns (uint256[] memory claims) {
        claims = new uint256[](tokens.length);
        for (uint256 i; i < tokens.length; ++i) {
            claims[i] = vault.claimable(holder, address(tokens[i]));
        }
    }

    function _checkSupply() internal view {
        IBasketVault.Fee memory f = vault.fee();
        uint256 minted = vault.balanceOf(LOCKED) + vault.balanceOf(treasury);
        for (uint256 i; i < holders.length; ++i) {
            minted += vault.balanceOf(holders[i]);
        }
        assertEq(vault.balanceOf(LOCKED), MINIMUM_SHARES);
        uint256 booked = minted + f.pendingShares;
        // Simple interest since it was last booked, rounded down.
        uint256 earned = booked * f.streamingBps * (block.timestamp - f.accruedAt) / (365 days * BPS);
        assertEq(vault.totalSupply(), booked + earned);
    }
}
