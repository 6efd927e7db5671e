// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { IERC165 } from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import { VaultLens } from "./VaultLens.sol";
import { IReceiver, IUpkeep } from "./interfaces/IAutomation.sol";
import { IBasketVault } from "./interfaces/IBasketVault.sol";
import { IRouteExecutor } from "./interfaces/IRouteExecutor.sol";

/// @title KeeperGate
/// @notice WHAT IT IS. The keeper that automation networks press the button of: one gate for all vaults under an authority. It holds
/// the role KEEPER there; networks hold no role at any vault.
///
/// LIFECYCLE. checkUpkeep (or a CRE workflow) says that a vault has something to do -> performUpkeep or onReport -> sync if a token lost
/// balance, poke if a rebalance became due, or is due no more, and the vault does not know, else rebalance.
///
/// DATA. `abi.encode(vault, route)` everywhere: which vault, and a standing route for EXECUTOR whose hops name 0, "all there is". A route is
/// a hint. Epoch, sales, what may be bought and which of the calls it is are read on chain when the call runs, so data cannot be too old.
///
/// ROLES, AND THE WORST EACH CAN DO.
/// - Owner: names CRE's forwarders, and whose workflows each may report.
/// - Guardian: removes a forwarder. Worst: nobody is triggered that way.
/// - Automation, and a workflow's owner through its forwarder: choose when, and by which route. Worst: what a thief of the keeper's key
///   could do, less the choice of executor and amounts: a route through pools of its own loses at most the loss budget a period,
///   and nothing while no band is broken and no calendar period is open.
/// - Anyone: asks whether there is anything to do.
///
/// ONLY WHAT THE ROUTE TRADES IS LENT. A rebalance sells those of the allowed sales that some hop takes, scaled down to what the assets
/// that the route ends with lack: what no hop touches would be left in EXECUTOR, for anyone to take, and more than is lacking would
/// cross a target. So a standing route of one pair does its part of any basket; the vault refuses a part that is too little progress.
///
/// WE ASSUME, OR IT STOPS. The route's pools still exist and are worth using, or the vault refuses the price: the limit climbs while a band
/// stays broken, so a standing route gets its chance. checkUpkeep does not try the trade: networks simulate before they send.
///
/// DELIBERATELY NOT DONE. No list of vaults: a vault under another authority refuses the gate itself. No memory of reports: one that is
/// delivered twice, or late, does what is due then. No fee, no ether, no tokens.
///
/// HOW TO STOP IT. A guardian pauses a vault, or removes a forwarder; the admin takes AUTOMATION from a network, or KEEPER from the gate.
contract KeeperGate is IUpkeep, IReceiver, AccessManaged {
    enum Action {
        None,
        Poke,
        Rebalance,
        Sync
    }

    /// Places of the words it needs in what VaultLens.read returns: see there.
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

    /// Where workflowOwner begins and ends in a report's metadata.
    uint256 private constant OWNER_AT = 42;
    uint256 private constant OWNER_END = 62;

    VaultLens public immutable LENS;
    IRouteExecutor public immutable EXECUTOR;

    /// @notice Whose workflows a forwarder may report; 0: it is no forwarder of ours.
    mapping(address forwarder => address) public workflowOwnerOf;

    /// @notice Neither a forwarder nor an owner of workflows can be nobody.
    error BadWorkflowOwner(address forwarder, address workflowOwner);
    error UnknownForwarder(address caller);
    error MetadataTooShort(uint256 length, uint256 minimum);
    error WrongWorkflowOwner(address workflowOwner, address expected);
    /// @notice The vault's reason; `BandBroken` or `CalendarDue` if the route trades nothing that is due.
    error NothingToDo(address vault, VaultLens.Reason reason);

    event WorkflowOwnerSet(address indexed forwarder, address indexed workflowOwner);
    event ForwarderRemoved(address indexed forwarder);

    constructor(address authority_, VaultLens lens, IRouteExecutor executor) AccessManaged(authority_) {
        LENS = lens;
        EXECUTOR = executor;
    }

    /* OWNER */

    /// @notice Lets a CRE forwarder deliver the reports of one owner's workflows. Restricted.
    function setWorkflowOwner(address forwarder, address workflowOwner) external restricted {
        if (forwarder == address(0) || workflowOwner == address(0)) revert BadWorkflowOwner(forwarder, workflowOwner);
        workflowOwnerOf[forwarder] = workflowOwner;
        emit WorkflowOwnerSet(forwarder, workflowOwner);
    }

    /* GUARDIAN */

    /// @notice Stops a CRE forwarder. Restricted, at once.
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

    /// @notice The same, for CRE: only from a forwarder that was set, with a report of its owner's workflows.
    /// @param metadata packed, at least up to the end of workflowOwner
    /// @param report `abi.encode(vault, route)`
    function onReport(bytes calldata metadata, bytes calldata report) external {
        address expected = workflowOwnerOf[msg.sender];
        if (expected == address(0)) revert UnknownForwarder(msg.sender);
        if (metadata.length < OWNER_END) revert MetadataTooShort(metadata.length, OWNER_END);
        address workflowOwner = address(bytes20(metadata[OWNER_AT:OWNER_END]));
        if (workflowOwner != expected) revert WrongWorkflowOwner(workflowOwner, expected);
        _perform(report);
    }

    /// @dev The gate keeps nothing, so whatever the vault, its tokens or the route's pools do in between finds nothing here.
    function _perform(bytes calldata data) private {
        (IBasketVault vault, bytes memory route) = abi.decode(data, (IBasketVault, bytes));
        Plan memory p = _plan(vault, route);
        if (p.action == Action.None) revert NothingToDo(address(vault), p.reason);
        if (p.action == Action.Poke) vault.poke();
        else if (p.action == Action.Sync) vault.sync(p.asset);
        else vault.rebalance(p.epoch, p.sales, p.minBuys, address(EXECUTOR), route);
    }

    /// @dev What there is to do for a vault; the rest is of a rebalance.
    struct Plan {
        Action action;
        VaultLens.Reason reason;
        uint256 asset; // of which a loss is to be written down
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
        // A loss is written down whatever else there is to do: deposits and rebalances wait for it.
        for (uint256 n = _word(seen, ASSETS); p.asset < n; ++p.asset) {
            if (_word(seen, HEAD_WORDS + ASSET_WORDS * p.asset + MISSING) == 0) continue;
            p.action = Action.Sync;
            return p;
        }
        bool due = p.reason == VaultLens.Reason.BandBroken || p.reason == VaultLens.Reason.CalendarDue;
        // For any other reason bands are not known, or there is nothing to be done about them.
        if (!due && p.reason != VaultLens.Reason.InBand) return p;
        if (due != (_word(seen, DUE_SINCE) != 0)) p.action = Action.Poke;
        else if (due && _fit(seen, route, p)) p.action = Action.Rebalance;
    }

    /// @dev Finds what of the allowed sales the route can trade: of the assets it takes, no more than those it ends with lack. False if
    /// that is nothing.
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
                p.minBuys[i] = 1; // the vault's own limits decide how much is enough
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

    /// @dev What an asset lacks, unless it may not be bought {tok}.
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
    /// @param checkData `abi.encode(vault, route)`, which is what comes back as `performData`
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData) {
        (IBasketVault vault, bytes memory route) = abi.decode(checkData, (IBasketVault, bytes));
        return (_plan(vault, route).action != Action.None, checkData);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IReceiver).interfaceId || interfaceId == type(IERC165).interfaceId;
    }
}
