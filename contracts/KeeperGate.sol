// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { IERC165 } from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import { VaultLens } from "./VaultLens.sol";
import { IReceiver, IUpkeep } from "./interfaces/IAutomation.sol";
import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IRouteExecutor } from "./interfaces/IRouteExecutor.sol";

/// @title KeeperGate
/// @notice WHAT IT IS. The keeper that automation networks trigger: one gate for all vaults under an authority. It holds the role KEEPER
/// there. Networks hold no role at any vault.
///
/// LIFECYCLE. checkUpkeep (or a CRE workflow) reports that a vault needs an action -> performUpkeep or onReport -> sync if a token lost
/// balance; otherwise poke if the vault's record of a due rebalance is out of date; otherwise rebalance.
///
/// DATA. `abi.encode(vault, route)` in every call: the vault, and a standing route for EXECUTOR whose hops name the amount 0 (the whole
/// balance). A route is a hint. Epoch, sales, purchases and the kind of action are read on chain when the call runs, so data cannot be too
/// old.
///
/// ROLES, AND THE WORST EACH CAN DO.
/// - Owner: sets CRE's forwarders, and the owner of the workflows that each may report.
/// - Guardian: removes a forwarder. Worst: nothing is triggered through it.
/// - Automation, and a workflow's owner through its forwarder: choose when, and by which route. Worst: what a thief of the keeper's key
///   could do, without the choice of executor and amounts. A route through its own pools loses at most the loss budget per period, and
///   nothing while no band is broken and no calendar period is open.
/// - Anyone: checks whether an action is needed.
///
/// ONLY WHAT THE ROUTE TRADES IS LENT. A rebalance sells those of the allowed sales that a hop takes, scaled down to the deficits of the
/// assets that the route ends with. A token that no hop takes would stay in EXECUTOR, where anyone may take it. More than the deficits
/// would cross a target. So a standing route of one pair does its part of any basket. The vault refuses a part that is too little progress.
///
/// WE ASSUME, OR IT STOPS. The route's pools still exist and have a good price. Otherwise the vault refuses the price. The limit climbs
/// while a band stays broken, so a standing route can pass later. checkUpkeep does not simulate the trade: networks simulate before they
/// send.
///
/// DELIBERATELY NOT DONE. There is no list of vaults: a vault under another authority refuses the gate. There is no memory of reports: a
/// report that is delivered twice, or late, triggers what is due then. There is no fee, and the gate holds no ether and no tokens.
///
/// HOW TO STOP IT. A guardian pauses a vault, or removes a forwarder; the admin takes AUTOMATION from a network, or KEEPER from the gate.
contract KeeperGate is IUpkeep, IReceiver, AccessManaged {
    /// @notice Kind of action that a vault needs.
    enum Action {
        None,
        Poke,
        Rebalance,
        Sync
    }

    /// Positions of words in the result of VaultLens.read: see there.
    uint256 private constant ASSETS = 1;
    uint256 private constant REASON = 2;
    uint256 private constant EPOCH = 4;
    uint256 private constant DUE_SINCE = 6;
    uint256 private constant HEAD_WORDS = 33;
    uint256 private constant ASSET_WORDS = 20;
    uint256 private constant TOKEN = 0;
    uint256 private constant DECIMALS = 1;
    uint256 private constant MIN_TRADE = 7;
    uint256 private constant PRIMARY = 12;
    uint256 private constant DEFICIT = 16;
    uint256 private constant SALE = 17;
    uint256 private constant BARRED = 18;
    uint256 private constant MISSING = 19;

    /// Where workflowOwner begins and ends in a report's metadata {bytes}.
    uint256 private constant OWNER_AT = 42;
    uint256 private constant OWNER_END = 62;

    /// Lens that reads the vaults.
    VaultLens public immutable LENS;
    /// Executor of all rebalances from here.
    IRouteExecutor public immutable EXECUTOR;

    /// @notice Owner of the workflows that a forwarder may report; 0 if the address is not a forwarder of this gate.
    mapping(address forwarder => address) public workflowOwnerOf;

    /// @notice The forwarder or the owner of workflows is the zero address.
    error BadWorkflowOwner(address forwarder, address workflowOwner);
    /// @notice The caller is not a forwarder of this gate.
    error UnknownForwarder(address caller);
    /// @notice The metadata ends before workflowOwner does {bytes}.
    error MetadataTooShort(uint256 length, uint256 minimum);
    /// @notice The report is of another owner's workflow.
    error WrongWorkflowOwner(address workflowOwner, address expected);
    /// @notice The vault needs no action, for its own reason. `BandBroken` or `CalendarDue`: the route trades nothing that is due.
    error NothingToDo(address vault, VaultLens.Reason reason);

    /// @notice A forwarder may report the workflows of an owner.
    event WorkflowOwnerSet(address indexed forwarder, address indexed workflowOwner);
    /// @notice A forwarder may no longer report.
    event ForwarderRemoved(address indexed forwarder);

    constructor(address authority_, VaultLens lens, IRouteExecutor executor) AccessManaged(authority_) {
        LENS = lens;
        EXECUTOR = executor;
    }

    /* OWNER */

    /// @notice Allows a CRE forwarder to deliver the reports of one owner's workflows. Restricted.
    function setWorkflowOwner(address forwarder, address workflowOwner) external restricted {
        if (forwarder == address(0) || workflowOwner == address(0)) revert BadWorkflowOwner(forwarder, workflowOwner);
        workflowOwnerOf[forwarder] = workflowOwner;
        emit WorkflowOwnerSet(forwarder, workflowOwner);
    }

    /* GUARDIAN */

    /// @notice Removes a CRE forwarder. Restricted, at once.
    function removeForwarder(address forwarder) external restricted {
        delete workflowOwnerOf[forwarder];
        emit ForwarderRemoved(forwarder);
    }

    /* AUTOMATION */

    /// @notice Syncs, pokes or rebalances. Restricted. Reverts with `NothingToDo`, or with the vault's own reason.
    /// @param performData `abi.encode(vault, route)`
    function performUpkeep(bytes calldata performData) external restricted {
        _perform(performData);
    }

    /* FORWARDER */

    /// @notice Does what `performUpkeep` does, for CRE: only from a forwarder that was set, with a report of its owner's workflows.
    /// @param metadata packed fields, at least up to the end of workflowOwner
    /// @param report `abi.encode(vault, route)`
    function onReport(bytes calldata metadata, bytes calldata report) external {
        address expected = workflowOwnerOf[msg.sender];
        if (expected == address(0)) revert UnknownForwarder(msg.sender);
        if (metadata.length < OWNER_END) revert MetadataTooShort(metadata.length, OWNER_END);
        address workflowOwner = address(bytes20(metadata[OWNER_AT:OWNER_END]));
        if (workflowOwner != expected) revert WrongWorkflowOwner(workflowOwner, expected);
        _perform(report);
    }

    /// @dev The gate keeps nothing, so a vault, its tokens or the route's pools find nothing here during the call.
    function _perform(bytes calldata data) private {
        (IBasketVault vault, bytes memory route) = abi.decode(data, (IBasketVault, bytes));
        Plan memory p = _plan(vault, route);
        if (p.action == Action.None) revert NothingToDo(address(vault), p.reason);
        if (p.action == Action.Poke) vault.poke();
        else if (p.action == Action.Sync) vault.sync(p.asset);
        else vault.rebalance(p.epoch, p.sales, p.minBuys, address(EXECUTOR), route);
    }

    /// @dev The action that a vault needs. Epoch, sales and minBuys are for a rebalance.
    struct Plan {
        Action action;
        VaultLens.Reason reason;
        uint256 asset; // whose loss must be written down
        uint256 epoch;
        uint256[] sales;
        uint256[] minBuys;
    }

    function _plan(IBasketVault vault, bytes memory route) private view returns (Plan memory p) {
        IBasketVault[] memory one = new IBasketVault[](1);
        one[0] = vault;
        bytes memory seen = LENS.read(one);
        p.reason = VaultLens.Reason(_word(seen, REASON));
        p.epoch = _word(seen, EPOCH);
        // A loss is written down before any other action: deposits and rebalances wait for it.
        for (uint256 n = _word(seen, ASSETS); p.asset < n; ++p.asset) {
            if (_word(seen, HEAD_WORDS + ASSET_WORDS * p.asset + MISSING) == 0) continue;
            p.action = Action.Sync;
            return p;
        }
        bool due = p.reason == VaultLens.Reason.BandBroken || p.reason == VaultLens.Reason.CalendarDue;
        // For any other reason the bands are not known, or no action can repair them.
        if (!due && p.reason != VaultLens.Reason.InBand) return p;
        if (due != (_word(seen, DUE_SINCE) != 0)) p.action = Action.Poke;
        else if (due && _fit(seen, route, p)) p.action = Action.Rebalance;
    }

    /// @dev Finds which of the allowed sales the route can trade: of the assets it takes, at most the value of the deficits of the assets
    /// it ends with, rounded down. Returns false if that is nothing.
    function _fit(bytes memory seen, bytes memory route, Plan memory p) private view returns (bool) {
        (address[] memory tokensIn, address[] memory tokensOut) = EXECUTOR.readRoute(route);
        uint256 n = _word(seen, ASSETS);
        p.sales = new uint256[](n);
        p.minBuys = new uint256[](n);
        uint256 salesE18;
        uint256 deficitsE18;
        for (uint256 i; i < n; ++i) {
            uint256 at = HEAD_WORDS + ASSET_WORDS * i;
            address token = address(uint160(_word(seen, at + TOKEN)));
            // {usd18/tok} = {usd18/whole} / {tok/whole}
            (uint256 priceE18, uint256 unit) = (_word(seen, at + PRIMARY), 10 ** _word(seen, at + DECIMALS));
            if (_contains(tokensIn, token)) {
                p.sales[i] = _word(seen, at + SALE);
                salesE18 += p.sales[i] * priceE18 / unit;
            }
            uint256 deficitRaw = _buyableRaw(seen, at);
            if (deficitRaw != 0 && _contains(tokensOut, token)) {
                p.minBuys[i] = 1; // the vault's own limits decide what is enough
                deficitsE18 += deficitRaw * priceE18 / unit;
            }
        }
        uint256 sold;
        for (uint256 i; i < n; ++i) {
            if (salesE18 > deficitsE18) p.sales[i] = p.sales[i] * deficitsE18 / salesE18;
            if (p.sales[i] < _word(seen, HEAD_WORDS + ASSET_WORDS * i + MIN_TRADE)) p.sales[i] = 0;
            sold |= p.sales[i];
        }
        return sold != 0;
    }

    /// @dev Deficit of an asset {tok}, 0 if it may not be bought.
    function _buyableRaw(bytes memory seen, uint256 at) private pure returns (uint256) {
        return _word(seen, at + BARRED) == 0 ? _word(seen, at + DEFICIT) : 0;
    }

    function _word(bytes memory seen, uint256 i) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(seen, 32), shl(5, i)))
        }
    }

    function _contains(address[] memory list, address token) private pure returns (bool) {
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == token) return true;
        }
        return false;
    }

    /* VIEWS */

    /// @inheritdoc IUpkeep
    /// @param checkData `abi.encode(vault, route)`, which is returned as `performData`
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData) {
        (IBasketVault vault, bytes memory route) = abi.decode(checkData, (IBasketVault, bytes));
        return (_plan(vault, route).action != Action.None, checkData);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IReceiver).interfaceId || interfaceId == type(IERC165).interfaceId;
    }
}
