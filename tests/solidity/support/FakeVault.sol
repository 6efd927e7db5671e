// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import { InventoryFiller } from "../../../contracts/fillers/InventoryFiller.sol";
import { IBasketVault } from "../../../contracts/interfaces/IBasketVault.sol";
import { IExecutor } from "../../../contracts/interfaces/IExecutor.sol";

/// @title FakeVault
/// @notice Is enough like a vault to be filled, and cheats the account that fills it.
contract FakeVault {
    enum Act {
        SendsNothing,
        AsksTwice,
        AsksForMore,
        AsksThroughAFriend,
        Never
    }

    address public immutable config;
    Act public act;
    bytes private _route;

    constructor(address config_) {
        config = config_;
    }

    function setAct(Act act_) external {
        act = act_;
    }

    function rememberRoute(bytes calldata route) external {
        _route = route;
    }

    function rebalance(
        uint256,
        uint256[] calldata sales,
        uint256[] calldata buys,
        address executor,
        bytes calldata route
    ) external {
        (IERC20[] memory tokens,) = abi.decode(route, (IERC20[], uint256[]));
        for (uint256 i; act != Act.SendsNothing && i < sales.length; ++i) {
            if (sales[i] != 0) tokens[i].transfer(executor, sales[i]);
        }
        if (act == Act.Never) return;
        if (act == Act.AsksForMore) {
            uint256[] memory more = buys;
            more[more.length - 1] += 1;
            IExecutor(executor).executeRoute(abi.encode(tokens, more));
        } else if (act == Act.AsksThroughAFriend) {
            new Friend().ask(IExecutor(executor), route);
        } else {
            IExecutor(executor).executeRoute(route);
            if (act == Act.AsksTwice) IExecutor(executor).executeRoute(route);
        }
    }

    /// @notice Fills itself without asking, and asks when it is over.
    function fillAndAskLater(InventoryFiller desk, uint256[] calldata sales, uint256[] calldata buys) external {
        desk.fill(IBasketVault(address(this)), 0, sales, buys);
        desk.executeRoute(_route);
    }
}

/// @notice Asks for another.
contract Friend {
    function ask(IExecutor executor, bytes calldata route) external {
        executor.executeRoute(route);
    }
}

/// @title SigningContract
/// @notice A market maker's contract wallet (ERC-1271): its owner's signature is its own.
contract SigningContract {
    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function approve(IERC20 token, address spender) external {
        token.approve(spender, type(uint256).max);
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recover(digest, signature) == owner ? this.isValidSignature.selector : bytes4(0);
    }
}
