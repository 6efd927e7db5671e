// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IERC165 } from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import { KeeperGate } from "../../contracts/KeeperGate.sol";
import { VaultLens } from "../../contracts/VaultLens.sol";
import { IReceiver } from "../../contracts/interfaces/IAutomation.sol";
import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IRouteExecutor } from "../../contracts/interfaces/IRouteExecutor.sol";
import { RebalancePolicy } from "../../contracts/libraries/RebalancePolicy.sol";
import { Base } from "./Base.t.sol";
import { MockPool } from "./support/MockMarket.sol";
import { Routes } from "./support/Routes.sol";

/// @notice KeeperGate: who may press the button, and that everything but the route is found on chain.
///
/// After `_breakBand` (WETH 2,400) the vault is worth 110,000: WETH is 5,000 above target, WBTC 3,000 and USDC 2,000 below.
contract GateTest is Base {
    error TruncatedRoute(uint256 position, uint256 length);

    uint64 internal constant AUTOMATION_ROLE = 4;

    KeeperGate internal gate;
    IRouteExecutor internal routes;
    MockPool internal wethUsdc;
    MockPool internal wethWbtc;
    MockPool internal usdcWbtc;
    address internal network = makeAddr("network");
    address internal forwarder = makeAddr("forwarder");
    address internal workflows = makeAddr("owner of workflows");

    function setUp() public override {
        super.setUp();
        routes = IRouteExecutor(deployCode("RouteExecutor.sol:RouteExecutor"));
        address lens = deployCode("VaultLens.sol:VaultLens");
        gate = KeeperGate(deployCode("KeeperGate.sol:KeeperGate", abi.encode(manager, lens, routes)));
        // At the oracle's prices after `_breakBand`.
        wethUsdc = new MockPool(tokens[WETH], tokens[USDC], 2_400e6);
        wethWbtc = new MockPool(tokens[WETH], tokens[WBTC], 0.06e8);
        usdcWbtc = new MockPool(tokens[USDC], tokens[WBTC], 2.5e15);

        vm.startPrank(owner);
        manager.grantRole(KEEPER_ROLE, address(gate), 0);
        manager.grantRole(AUTOMATION_ROLE, network, 0);
        manager.setTargetFunctionRole(address(gate), _selectors(KeeperGate.performUpkeep.selector), AUTOMATION_ROLE);
        manager.setTargetFunctionRole(address(gate), _selectors(KeeperGate.removeForwarder.selector), GUARDIAN_ROLE);
        gate.setWorkflowOwner(forwarder, workflows);
        vm.stopPrank();
        vm.label(address(gate), "gate");
    }

    function _policy() internal pure override returns (IBasketVault.Policy memory p) {
        p = super._policy();
        p.minProgressBps = 2_000;
    }

    /* REFUSALS: WHO */

    function test_upkeep_by_anybody_but_automation_is_refused() public {
        _breakBand();
        bytes memory data = _data(_wholeRoute());
        address[5] memory others = [keeper, guardian, curator, forwarder, stranger];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, others[i]));
            gate.performUpkeep(data);
        }
    }

    function test_settings_by_anybody_without_the_role_are_refused() public {
        address[5] memory others = [keeper, curator, network, forwarder, stranger];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, others[i]));
            gate.setWorkflowOwner(forwarder, others[i]);
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, others[i]));
            gate.removeForwarder(forwarder);
        }
    }

    function test_nobody_can_be_neither_forwarder_nor_owner_of_workflows() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.BadWorkflowOwner.selector, address(0), workflows));
        gate.setWorkflowOwner(address(0), workflows);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.BadWorkflowOwner.selector, forwarder, address(0)));
        gate.setWorkflowOwner(forwarder, address(0));
        vm.stopPrank();
    }

    function test_a_report_from_anybody_but_the_forwarder_is_refused() public {
        _breakBand();
        address[4] memory others = [network, workflows, keeper, stranger];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(KeeperGate.UnknownForwarder.selector, others[i]));
            gate.onReport(_metadata(workflows), _data(""));
        }
    }

    function test_a_report_of_anothers_workflow_is_refused() public {
        _breakBand();
        vm.startPrank(forwarder);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.WrongWorkflowOwner.selector, stranger, workflows));
        gate.onReport(_metadata(stranger), _data(""));
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.WrongWorkflowOwner.selector, address(0), workflows));
        gate.onReport(_metadata(address(0)), _data(""));
        vm.stopPrank();
    }

    function test_a_report_whose_metadata_ends_before_the_owner_does_is_refused() public {
        _breakBand();
        bytes memory metadata = _metadata(workflows);
        for (uint256 length = 61;; --length) {
            assembly ("memory-safe") {
                mstore(metadata, length)
            }
            vm.prank(forwarder);
            vm.expectRevert(abi.encodeWithSelector(KeeperGate.MetadataTooShort.selector, length, 62));
            gate.onReport(metadata, _data(""));
            if (length == 0) break;
        }
    }

    function test_a_forwarder_that_was_removed_is_a_stranger() public {
        _breakBand();
        vm.expectEmit(address(gate));
        emit KeeperGate.ForwarderRemoved(forwarder);
        vm.prank(guardian);
        gate.removeForwarder(forwarder);

        vm.prank(forwarder);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.UnknownForwarder.selector, forwarder));
        gate.onReport(_metadata(workflows), _data(""));
    }

    function test_a_gate_that_is_no_keeper_can_poke_and_no_more() public {
        vm.prank(owner);
        manager.revokeRole(KEEPER_ROLE, address(gate));
        _breakBand();

        _perform(_wholeRoute());
        assertEq(vault.state().dueSince, block.timestamp);

        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, gate));
        _perform(_wholeRoute());
    }

    /* REFUSALS: WHAT */

    function test_upkeep_with_nothing_to_do_is_refused_with_the_vaults_reason() public {
        _expectNothing(_wholeRoute(), VaultLens.Reason.InBand);
        _pokedBreak();
        _perform(_wholeRoute());
        _expectNothing(_wholeRoute(), VaultLens.Reason.InBand);
        _setPrice(WETH, 3_000e8);
        _expectNothing(_wholeRoute(), VaultLens.Reason.Cooldown);
        feeds[USDC].push(0);
        _expectNothing(_wholeRoute(), VaultLens.Reason.OracleFault);
        vm.prank(guardian);
        vault.pauseRebalance();
        _expectNothing(_wholeRoute(), VaultLens.Reason.Paused);
        _setPrice(USDC, 1e8);
        _emptyLedger();
        vm.prank(owner);
        vault.resumeRebalance();
        _expectNothing(_wholeRoute(), VaultLens.Reason.TotalOutOfRange);
    }

    function test_an_empty_route_pokes_and_never_rebalances() public {
        _breakBand();
        _perform("");
        assertEq(vault.state().dueSince, block.timestamp);
        _expectNothing("", VaultLens.Reason.BandBroken);
    }

    function test_a_route_that_trades_nothing_that_is_due_is_refused() public {
        _pokedBreak();
        // Takes what is lacking, or ends with what is in surplus, or with nothing of the basket.
        _expectNothing(_hop(USDC, address(usdcWbtc), WBTC), VaultLens.Reason.BandBroken);
        _expectNothing(_hop(USDC, address(wethUsdc), WETH), VaultLens.Reason.BandBroken);
        _expectNothing(
            bytes.concat(_hop(WETH, address(wethUsdc), USDC), _hop(USDC, address(wethUsdc), WETH)),
            VaultLens.Reason.BandBroken
        );
    }

    function test_a_route_cut_short_is_refused() public {
        _pokedBreak();
        bytes memory route = _wholeRoute();
        uint256 length = route.length - 1;
        assembly ("memory-safe") {
            mstore(route, length)
        }
        vm.expectRevert(abi.encodeWithSelector(TruncatedRoute.selector, 80, length));
        _perform(route);
    }

    function test_a_stale_route_is_refused_by_the_vault_and_nothing_moves() public {
        _pokedBreak();
        // Almost one per cent worse than the oracle, where a tenth is allowed now.
        MockPool poor = new MockPool(tokens[WETH], tokens[USDC], 2_377e6);
        uint256[] memory before = vault.held();

        (bool needed,) = gate.checkUpkeep(_data(_hop(WETH, address(poor), USDC)));
        assertTrue(needed, "it is due, and the price is the vault's affair");
        vm.prank(network);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        gate.performUpkeep(_data(_hop(WETH, address(poor), USDC)));
        vm.prank(network);
        vm.expectRevert();
        gate.performUpkeep(
            _data(Routes.hop(1, 0, tokens[WETH], tokens[USDC], 0, abi.encodePacked(makeAddr("no pool"))))
        );

        assertEq(vault.held(), before);
        // The limit has climbed to one per cent when the ramp is over.
        _pass(1_000);
        _perform(_hop(WETH, address(poor), USDC));
        assertEq(vault.state().epoch, 1);
    }

    function test_a_route_with_a_thiefs_pool_loses_what_the_limit_allows_and_no_more() public {
        _pokedBreak();
        _pass(1_000);
        // Pays nothing, and keeps what it is paid.
        MockPool thief = new MockPool(tokens[WETH], tokens[USDC], 0);
        vm.prank(network);
        vm.expectPartialRevert(IVaultBase.BoughtTooLittle.selector);
        gate.performUpkeep(_data(_hop(WETH, address(thief), USDC)));
        thief = new MockPool(tokens[WETH], tokens[USDC], 2_375.9e6);
        vm.prank(network);
        vm.expectPartialRevert(RebalancePolicy.PriceTooPoor.selector);
        gate.performUpkeep(_data(_hop(WETH, address(thief), USDC)));

        thief = new MockPool(tokens[WETH], tokens[USDC], 2_376.1e6);
        _perform(_hop(WETH, address(thief), USDC));
        // One per cent of the 2,000 that USDC lacks: {1e-18} of 110,000
        assertApproxEqRel(vault.state().lossLevelE18, uint256(20e18) * 1e18 / 110_000e18, 0.01e18);
    }

    /* SUCCESS */

    function test_upkeep_pokes_when_a_band_broke_then_rebalances_then_rests() public {
        bytes memory data = _data(_wholeRoute());
        _assertNeeded(data, false);
        _breakBand();
        _assertNeeded(data, true);
        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(block.timestamp);
        vm.prank(network);
        gate.performUpkeep(data);
        assertEq(vault.state().epoch, 0);

        _assertNeeded(data, true);
        vm.prank(network);
        gate.performUpkeep(data);
        // 5,000 less a unit's rounding of WETH for 3,000 of WBTC and 2,000 of USDC
        assertEq(vault.held(), _amounts(25e18 - 2.083333333333333333e18, 0.825e8, 21_999_999_999));
        assertEq(vault.state().epoch, 1);
        assertEq(_balances(address(routes)), _amounts());
        assertEq(_balances(address(gate)), _amounts());
        _assertNeeded(data, false);
    }

    function test_upkeep_pokes_when_the_band_is_whole_and_the_vault_does_not_know() public {
        _pokedBreak();
        _setPrice(WETH, 2_000e8);

        _assertNeeded(_data(""), true);
        vm.expectEmit(address(vault));
        emit IVaultBase.Poked(0);
        _perform("");
        _assertNeeded(_data(""), false);
    }

    function test_a_report_does_what_an_upkeep_does() public {
        _breakBand();
        bytes memory metadata = _metadata(workflows);
        assertEq(metadata.length, 64, "what KeystoneForwarder delivers");

        vm.startPrank(forwarder);
        gate.onReport(metadata, _data(_wholeRoute()));
        assertEq(vault.state().dueSince, block.timestamp);
        assembly ("memory-safe") {
            mstore(metadata, 62)
        }
        gate.onReport(metadata, _data(_wholeRoute()));
        vm.stopPrank();

        assertEq(vault.state().epoch, 1);
    }

    function test_a_report_delivered_twice_does_what_is_due_then_which_is_nothing() public {
        _pokedBreak();
        vm.startPrank(forwarder);
        gate.onReport(_metadata(workflows), _data(_wholeRoute()));
        vm.expectRevert(
            abi.encodeWithSelector(KeeperGate.NothingToDo.selector, address(vault), VaultLens.Reason.InBand)
        );
        gate.onReport(_metadata(workflows), _data(_wholeRoute()));
        vm.stopPrank();
    }

    function test_two_forwarders_report_for_two_owners() public {
        address second = makeAddr("second forwarder");
        vm.expectEmit(address(gate));
        emit KeeperGate.WorkflowOwnerSet(second, alice);
        vm.prank(owner);
        gate.setWorkflowOwner(second, alice);
        _breakBand();

        vm.prank(second);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.WrongWorkflowOwner.selector, workflows, alice));
        gate.onReport(_metadata(workflows), _data(""));
        vm.prank(second);
        gate.onReport(_metadata(alice), _data(""));
        assertEq(vault.state().dueSince, block.timestamp);
        assertEq(gate.workflowOwnerOf(forwarder), workflows);
    }

    function test_upkeep_rebalances_when_the_calendar_says_so() public {
        IBasketVault.Policy memory p = _policy();
        p.calendarSeconds = 7 days;
        vm.prank(owner);
        vault.setPolicy(p);
        vm.warp(block.timestamp - block.timestamp % 7 days + 7 days);
        _refreshFeeds();
        // 1,000 dollars over target in 102,000: inside the band, and more than dust.
        _setPrice(WETH, 2_080e8);
        MockPool pool = new MockPool(tokens[WETH], tokens[USDC], 2_080e6);

        _perform(_hop(WETH, address(pool), USDC));
        assertEq(vault.state().dueSince, block.timestamp, "the first call stamps it");
        uint256 epoch = vault.state().epoch;
        _perform(_hop(WETH, address(pool), USDC));

        assertEq(vault.state().epoch, epoch + 1);
        assertEq(vault.state().dueSince, 0);
        _expectNothing(_hop(WETH, address(pool), USDC), VaultLens.Reason.InBand);
    }

    function test_a_route_of_one_pair_sells_no_more_than_the_other_side_lacks() public {
        _pokedBreak();

        _perform(_hop(WETH, address(wethUsdc), USDC));

        // 2,000 of the 5,000: {WETH} = 2,000 / 2,400
        uint256[] memory held = vault.held();
        assertApproxEqAbs(held[WETH], 25e18 - uint256(2_000e18) / 2_400, 1e12);
        assertEq(held[WBTC], 0.75e8);
        assertApproxEqAbs(held[USDC], 22_000e6, 10);
        assertEq(_balances(address(routes)), _amounts());

        _pass(600);
        _perform(_hop(WETH, address(wethWbtc), WBTC));
        assertEq(vault.state().epoch, 2);
        _assertNeeded(_data(_wholeRoute()), false);
    }

    function test_a_surplus_no_hop_takes_is_not_lent() public {
        // WETH and WBTC 4,300 and 2,580 over target, USDC 6,880 under.
        _setPrice(WETH, 2_400e8);
        _setPrice(WBTC, 48_000e8);
        _perform("");
        bytes memory route = _hop(WETH, address(wethUsdc), USDC);

        _perform(route);

        uint256[] memory held = vault.held();
        assertLt(held[WETH], 25e18);
        assertEq(held[WBTC], 0.75e8, "WBTC was in surplus, and would have been left for anyone");
        assertEq(_balances(address(routes)), _amounts());
    }

    function test_a_token_the_route_only_passes_through_is_not_asked_for() public {
        _pokedBreak();
        // USDC is lacking, too, and all of it goes on into WBTC.
        bytes memory route = bytes.concat(_hop(WETH, address(wethUsdc), USDC), _hop(USDC, address(usdcWbtc), WBTC));

        _perform(route);

        uint256[] memory held = vault.held();
        assertEq(held[USDC], 20_000e6);
        assertApproxEqAbs(held[WBTC], 0.825e8, 10);
    }

    function test_a_sale_below_its_minimum_trade_is_left_out() public {
        IBasketVault.Band[] memory bands = _bands(200, 200, 200);
        bands[WETH].minTradeRaw = 1e18;
        vm.prank(curator);
        vault.setBands(bands);
        _pokedBreak();

        // 2,000 dollars are less than a WETH.
        _expectNothing(_hop(WETH, address(wethUsdc), USDC), VaultLens.Reason.BandBroken);
        _perform(_hop(WETH, address(wethWbtc), WBTC));
        assertEq(vault.state().epoch, 2);
    }

    /* LOSSES */

    /// @dev Whatever else there is to do, prices or none, paused or not.
    function test_upkeep_writes_a_loss_down_first() public {
        _pokedBreak();
        tokens[USDC].burn(address(vault), 1e6);
        feeds[WBTC].setFailing(true);
        bytes memory route = _hop(WETH, address(wethWbtc), WBTC);
        _assertNeeded(_data(route), true);

        _perform(route);
        assertEq(vault.held(), _amounts(25e18, 0.75e8, 19_999e6));
        assertEq(vault.state().epoch, 0);
        _expectNothing(route, VaultLens.Reason.OracleFault);

        feeds[WBTC].setFailing(false);
        _perform(route);
        assertEq(vault.state().epoch, 1, "a loss of less than dust stops nothing");
    }

    function test_losses_of_several_tokens_are_written_down_one_by_one() public {
        tokens[WETH].burn(address(vault), 1e18);
        tokens[WBTC].burn(address(vault), 0.1e8);
        _perform("");
        _perform("");
        assertEq(vault.held(), _amounts(24e18, 0.65e8, 20_000e6));
        _expectNothing("", VaultLens.Reason.Paused);
    }

    function test_a_barred_asset_is_not_bought_and_one_beside_it_is() public {
        tokens[USDC].burn(address(vault), 1_000e6);
        _perform("");
        vm.prank(owner);
        vault.resumeRebalance();
        _pokedBreak();

        _expectNothing(_hop(WETH, address(wethUsdc), USDC), VaultLens.Reason.BandBroken);
        _perform(_hop(WETH, address(wethWbtc), WBTC));
        assertEq(vault.held()[USDC], 19_000e6);
        assertGt(vault.held()[WBTC], 0.75e8);
        assertEq(vault.state().epoch, 1);
    }

    function test_it_is_a_receiver_to_whoever_asks_by_erc165() public view {
        assertTrue(gate.supportsInterface(type(IERC165).interfaceId));
        assertTrue(gate.supportsInterface(0x805f2132), "IReceiver, as KeystoneForwarder asks");
        assertEq(bytes32(type(IReceiver).interfaceId), bytes32(bytes4(0x805f2132)));
        assertFalse(gate.supportsInterface(0xffffffff));
    }

    /// @dev What is said to be needed can be done, and what is not is refused, at any prices.
    function testFuzz_check_and_perform_agree(uint256 weth, uint256 wbtc, bool poked) public {
        weth = bound(weth, 1_000, 4_000);
        wbtc = bound(wbtc, 20_000, 80_000);
        _setPrice(WETH, int192(int256(weth * 1e8)));
        _setPrice(WBTC, int192(int256(wbtc * 1e8)));
        if (poked) vault.poke();
        // Everything into or out of USDC: whichever is in surplus is sold for whichever is lacking most.
        MockPool a = new MockPool(tokens[WETH], tokens[USDC], weth * 1e6);
        MockPool b = new MockPool(tokens[WBTC], tokens[USDC], wbtc * 1e16);
        bytes[4] memory pairs = [
            _hop(WETH, address(a), USDC),
            _hop(WBTC, address(b), USDC),
            _hop(USDC, address(a), WETH),
            _hop(USDC, address(b), WBTC)
        ];
        for (uint256 i; i < 4; ++i) {
            (bool needed, bytes memory data) = gate.checkUpkeep(_data(pairs[i]));
            vm.prank(network);
            try gate.performUpkeep(data) {
                assertTrue(needed);
                return;
            } catch (bytes memory reason) {
                // A part may be too little progress, or more than the turnover budget has left for it to be enough.
                if (needed) assertEq(bytes4(reason), RebalancePolicy.TooLittleProgress.selector);
                else assertEq(bytes4(reason), KeeperGate.NothingToDo.selector);
            }
        }
    }

    /* ROUTES */

    function test_a_route_is_read_hop_by_hop() public view {
        bytes memory route = bytes.concat(
            Routes.v3(tokens[WETH], 1, address(wethUsdc), 0, tokens[USDC]),
            Routes.v3(tokens[USDC], 1, address(wethUsdc), 0, tokens[WETH]),
            Routes.pair(tokens[WETH], 1, address(wethUsdc), 0, tokens[USDC], 30),
            Routes.router(tokens[WETH], 1, address(1), 0, abi.encodePacked(tokens[WETH], uint24(500), tokens[WBTC]))
        );
        route = bytes.concat(
            route,
            Routes.v4(tokens[WETH], 1, address(1), 0, tokens[WBTC]),
            Routes.balancer(tokens[USDC], 1, address(1), 0, tokens[WETH]),
            Routes.curve(tokens[WBTC], 1, address(1), 0, tokens[USDC], 0, 1),
            Routes.call(tokens[WBTC], 1, address(1), address(2), tokens[WETH], 0, "data")
        );

        (address[] memory tokensIn, address[] memory tokensOut) = routes.readRoute(route);

        uint8[8] memory ins = [0, 2, 0, 0, 0, 2, 1, 1];
        uint8[8] memory outs = [2, 0, 2, 1, 1, 0, 2, 0];
        for (uint256 i; i < 8; ++i) {
            assertEq(tokensIn[i], address(tokens[ins[i]]));
            assertEq(tokensOut[i], address(tokens[outs[i]]));
        }
        for (uint256 i = 8; i < tokensIn.length; ++i) {
            assertEq(tokensIn[i], address(0));
            assertEq(tokensOut[i], address(0));
        }
    }

    function test_a_result_that_a_later_hop_takes_whole_is_not_left() public view {
        bytes memory first = _hop(WETH, address(wethUsdc), USDC);
        bytes memory toCaller = Routes.v3(tokens[WETH], 0, address(wethUsdc), Routes.TO_CALLER, tokens[USDC]);
        bytes memory part = Routes.v3(tokens[USDC], 5, address(usdcWbtc), 0, tokens[WBTC]);
        bytes memory all = _hop(USDC, address(usdcWbtc), WBTC);

        assertEq(_firstOut(bytes.concat(first, all)), address(0));
        assertEq(_firstOut(bytes.concat(first, part)), address(tokens[USDC]));
        assertEq(_firstOut(bytes.concat(toCaller, all)), address(tokens[USDC]));
        assertEq(_firstOut(bytes.concat(first, _hop(WETH, address(wethWbtc), WBTC))), address(tokens[USDC]));
    }

    /* SCENE */

    function _pokedBreak() internal {
        _breakBand();
        vault.poke();
    }

    function _data(bytes memory route) internal view returns (bytes memory) {
        return abi.encode(vault, route);
    }

    /// @dev workflowId, workflowName, workflowOwner, reportId
    function _metadata(address workflowOwner) internal pure returns (bytes memory) {
        return abi.encodePacked(keccak256("workflow"), bytes10("rebalance"), workflowOwner, bytes2(0x0001));
    }

    /// @dev A hop over all there is.
    function _hop(uint256 tokenIn, address pool, uint256 tokenOut) internal view returns (bytes memory) {
        return Routes.v3(tokens[tokenIn], 0, pool, 0, tokens[tokenOut]);
    }

    /// @dev Buys 3,000 of WBTC after `_breakBand`, and USDC with the rest.
    function _wholeRoute() internal view returns (bytes memory) {
        return bytes.concat(
            Routes.v3(tokens[WETH], 1.25e18, address(wethWbtc), 0, tokens[WBTC]), _hop(WETH, address(wethUsdc), USDC)
        );
    }

    function _firstOut(bytes memory route) internal view returns (address) {
        (, address[] memory tokensOut) = routes.readRoute(route);
        return tokensOut[0];
    }

    function _perform(bytes memory route) internal {
        vm.prank(network);
        gate.performUpkeep(_data(route));
    }

    function _assertNeeded(bytes memory data, bool expected) internal view {
        (bool needed, bytes memory performData) = gate.checkUpkeep(data);
        assertEq(needed, expected);
        assertEq(performData, data);
    }

    function _expectNothing(bytes memory route, VaultLens.Reason reason) internal {
        _assertNeeded(_data(route), false);
        bytes memory data = _data(route);
        vm.prank(network);
        vm.expectRevert(abi.encodeWithSelector(KeeperGate.NothingToDo.selector, address(vault), reason));
        gate.performUpkeep(data);
    }
}
