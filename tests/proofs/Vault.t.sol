// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { Test } from "forge-std/Test.sol";

import { BasketVault } from "../../contracts/BasketVault.sol";
import { ConfigStore } from "../../contracts/ConfigStore.sol";
import { VaultExtension } from "../../contracts/VaultExtension.sol";
import { IBasketVault, IVaultBase } from "../../contracts/interfaces/IBasketVault.sol";
import { IOracleHub } from "../../contracts/interfaces/IOracleHub.sol";
import { ConfigCode } from "../../contracts/libraries/ConfigCode.sol";
import { Holding } from "../../contracts/libraries/Holdings.sol";
import { PackedFee } from "../../contracts/libraries/PackedFee.sol";

/// @notice The vault's own code, born with books instead of filling them over time.
contract OpenVault is BasketVault {
    constructor(address extension, address pointer, address authority_) BasketVault(extension) {
        config = pointer;
        _setAuthority(authority_);
    }

    function give(address holder, uint256 shares, uint128 first, uint128 second) external {
        _mint(holder, shares);
        _held[0] = Holding.wrap(0).withAmount(uint120(first));
        _held[1] = Holding.wrap(0).withAmount(uint120(second));
    }

    function setFees(uint16 entryBps, uint16 exitBps) external {
        _fee = PackedFee.wrap(PackedFee.unwrap(_fee) | uint256(entryBps) << 184 | uint256(exitBps) << 200);
    }
}

/// @notice A token that moves balances, and answers a transfer in any of the ways there are.
contract AnyToken {
    mapping(address holder => uint256) public balanceOf;
    uint8 public manner;

    function become(uint8 manner_) external {
        manner = manner_;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function decimals() external pure returns (uint8) {
        return 18;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }

    function transfer(address to, uint256 amount) external {
        if (manner == 1) revert();
        if (manner == 2) _answer(0, 32);
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
        if (manner == 3) _answer(0, 0);
        _answer(1, 32);
    }

    function _answer(uint256 word, uint256 size) private pure {
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, size)
        }
    }
}

/// @notice An oracle and an authority that must not be reached: being called at all is the counterexample.
contract Trap is Test {
    fallback() external {
        assertTrue(false, "reached");
    }
}

/// @notice An authority that says no to everybody.
contract No {
    function canCall(address, address, bytes4) external pure returns (bool, uint32) {
        return (false, 0);
    }
}

/// @notice BasketVault for every holding (120 bits), number of shares (120 bits) and caller, in a basket of two
/// assets whose tokens each answer in any of four ways: they send, revert, refuse, or send without an answer. Gas is taken to suffice.
contract VaultProofs is Test {
    address private constant RECEIVER = address(0xCAFE);

    OpenVault internal vault;
    AnyToken[2] internal tokens;
    Trap internal trap;
    No internal no;

    function setUp() public {
        trap = new Trap();
        no = new No();
        (tokens[0], tokens[1]) = (new AnyToken(), new AnyToken());
        IVaultBase.Config memory c;
        c.oracle = IOracleHub(address(trap));
        c.assets = new IVaultBase.Asset[](2);
        for (uint256 i; i < 2; ++i) {
            c.assets[i].token = address(tokens[i]);
            c.assets[i].decimals = 18;
            (c.assets[i].targetE18, c.assets[i].startTargetE18) = (0.5e18, 0.5e18);
        }
        address pointer = address(0xC0DE);
        vm.etch(pointer, ConfigCode.pack(c));
        VaultExtension extension = new VaultExtension(new ConfigStore());
        vault = new OpenVault(address(extension), pointer, address(trap));
    }

    struct Books {
        uint256[] held;
        uint256 supply;
        uint256[2] claims;
        uint256[2] claimsOfAll;
        uint256[2] balances;
        uint256[2] received;
    }

    function _books(address holder) internal view returns (Books memory b) {
        b.held = vault.held();
        b.supply = vault.totalSupply();
        for (uint256 i; i < 2; ++i) {
            b.claims[i] = vault.claimable(holder, address(tokens[i]));
            b.claimsOfAll[i] = vault.totalClaimable(address(tokens[i]));
            b.balances[i] = tokens[i].balanceOf(address(vault));
            b.received[i] = tokens[i].balanceOf(RECEIVER);
        }
    }

    function _scene(address holder, uint120 supply, uint128[2] memory amounts, uint8[2] memory manners) internal {
        vm.assume(holder != address(0) && holder != address(vault) && holder != RECEIVER);
        vault.give(holder, supply, amounts[0], amounts[1]);
        for (uint256 i; i < 2; ++i) {
            tokens[i].mint(address(vault), amounts[i]);
            tokens[i].become(manners[i]);
        }
    }

    /* PROMISE A */

    /// @dev Whatever a redemption moves is what it says; neither the oracle nor the authority is reached, being traps.
    function check_redeem_moves_exactly_what_it_says_and_asks_nobody(
        address holder,
        uint120 supply,
        uint120 shares,
        uint128[2] memory amounts,
        uint8[2] memory manners,
        uint256 skipped
    ) public {
        _scene(holder, supply, amounts, manners);
        Books memory b = _books(holder);
        vm.prank(holder);
        uint256[] memory paid = vault.redeemInKindExcept(shares, RECEIVER, holder, new uint256[](2), skipped);
        Books memory a = _books(holder);

        assert(a.supply == b.supply - shares);
        for (uint256 i; i < 2; ++i) {
            uint256 opened = a.claims[i] - b.claims[i];
            uint256 sent = a.received[i] - b.received[i];
            assert(a.held[i] == b.held[i] - paid[i]);
            assert(opened + sent == paid[i]);
            assert(opened == 0 || sent == 0);
            assert(a.claimsOfAll[i] - b.claimsOfAll[i] == opened);
            assert(b.balances[i] - a.balances[i] == sent);
        }
    }

    /* LEDGER */

    function check_mint_moves_exactly_what_it_says(
        address holder,
        uint120 supply,
        uint120 shares,
        uint128[2] memory amounts,
        uint128[2] memory purse
    ) public {
        _scene(holder, supply, amounts, [0, 0]);
        tokens[0].mint(holder, purse[0]);
        tokens[1].mint(holder, purse[1]);
        Books memory b = _books(holder);
        uint256[] memory most = new uint256[](2);
        (most[0], most[1]) = (type(uint256).max, type(uint256).max);
        vm.prank(holder);
        uint256[] memory paid = vault.mintInKind(shares, RECEIVER, most);
        Books memory a = _books(holder);

        assert(a.supply == b.supply + shares);
        assert(vault.balanceOf(RECEIVER) == shares);
        for (uint256 i; i < 2; ++i) {
            assert(a.held[i] == b.held[i] + paid[i]);
            assert(a.balances[i] == b.balances[i] + paid[i]);
            assert(tokens[i].balanceOf(holder) == purse[i] - paid[i]);
            assert(a.claimsOfAll[i] == b.claimsOfAll[i]);
        }
    }

    /* ACCESS */

    /// @dev Every restricted function, from any caller, with an authority that says no: none goes through.
    function check_no_restricted_function_works_without_the_authoritys_yes(
        address caller,
        uint8 which,
        uint256 a,
        uint256 b
    ) public {
        vault = new OpenVault(vault.EXTENSION(), vault.config(), address(no));
        vm.assume(caller != address(no));
        IBasketVault v = IBasketVault(address(vault));
        uint256[] memory list = new uint256[](2);
        (list[0], list[1]) = (a, b);
        IVaultBase.Policy memory p;
        IVaultBase.Fees memory fees;
        IVaultBase.Band memory band;
        IVaultBase.Auction memory terms;
        bytes memory data;
        if (which == 0) data = abi.encodeCall(v.setPolicy, (p));
        else if (which == 1) data = abi.encodeCall(v.setOracle, (IOracleHub(address(uint160(a)))));
        else if (which == 2) data = abi.encodeCall(v.setFees, (fees, address(uint160(a))));
        else if (which == 3) data = abi.encodeCall(v.addAsset, (address(uint160(a)), uint8(b), band));
        else if (which == 4) data = abi.encodeCall(v.excludeAsset, (a));
        else if (which == 5) data = abi.encodeCall(v.includeAsset, (a));
        else if (which == 6) data = abi.encodeCall(v.removeAsset, (a));
        else if (which == 7) data = abi.encodeCall(v.resumeRebalance, ());
        else if (which == 8) data = abi.encodeCall(v.absorb, (a, b));
        else if (which == 9) data = abi.encodeCall(v.startAuction, (a, b, terms));
        else if (which == 10) data = abi.encodeCall(v.setTargets, (list, a));
        else if (which == 11) data = abi.encodeCall(v.setBands, (new IVaultBase.Band[](2)));
        else if (which == 12) data = abi.encodeCall(v.pauseRebalance, ());
        else if (which == 13) data = abi.encodeCall(v.tightenPolicy, (p));
        else if (which == 14) data = abi.encodeCall(v.lowerFees, (fees));
        else if (which == 15) data = abi.encodeCall(v.stopAuction, (a, b));
        else if (which == 16) data = abi.encodeCall(v.allowPurchases, (a));
        else data = abi.encodeWithSignature("setAuthority(address)", address(uint160(a)));
        vm.prank(caller);
        (bool done,) = address(vault).call(data);
        assert(!done);
    }
}

/// @notice These must fail: were the traps blind, or a token that refuses not tried, nothing above would mean anything.
contract MustFail is VaultProofs {
    function checkBad_a_trap_notices_a_call() public {
        (bool done,) = address(trap).staticcall(abi.encodeCall(IOracleHub.prices, (new address[](1))));
        done;
    }

    function checkBad_whatever_is_redeemed_is_sent(uint8 manner) public {
        _scene(address(0xBEEF), 1_000, [uint128(600), 400], [manner, 0]);
        vm.prank(address(0xBEEF));
        uint256[] memory paid = vault.redeemInKind(500, address(0xCAFE), address(0xBEEF), new uint256[](2));
        assert(tokens[0].balanceOf(address(0xCAFE)) == paid[0]);
    }
}
