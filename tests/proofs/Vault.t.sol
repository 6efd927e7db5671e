// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";
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

    function give(address holder, uint256 shares, uint120[2] calldata amounts) external {
        _mint(holder, shares);
        _held[0] = Holding.wrap(0).withAmount(amounts[0]);
        _held[1] = Holding.wrap(0).withAmount(amounts[1]);
    }

    function setFees(uint16 entryBps, uint16 exitBps) external {
        _fee = PackedFee.wrap(PackedFee.unwrap(_fee) | uint256(entryBps) << 184 | uint256(exitBps) << 200);
    }

    function open(uint256 asset, address token, address holder, uint128 amountRaw, uint192 units) external {
        _held[asset] = _held[asset].withClaimed(true);
        (_claimPools[token].amountRaw, _claimPools[token].units) = (amountRaw, units);
        _claims[holder][token].units = units;
    }

    function pool(address token) external view returns (ClaimPool memory) {
        return _claimPools[token];
    }

    function claimOf(address holder, address token) external view returns (Claim memory) {
        return _claims[holder][token];
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

/// @notice BasketVault in a basket of two assets, for every ledger (120 bits each) and every number of shares (120 bits), with any flat fee
/// the vault allows. Taken for granted in all claims: no fee is pending and none accrues with time, gas suffices, tokens do not lie about
/// balances, nobody else has shares. What more a claim takes for granted stands beside it.
/// A product or a quotient of unknowns is the same in the vault and here because both ask for it in the same words: that a part of a holding
/// is no more than the holding is assumed here, and proved by Z3 in `rounding.py`.
contract VaultProofs is Test {
    address private constant RECEIVER = address(0xCAFE);
    address private constant OTHER = address(0x07E4);
    uint256 private constant BPS = 10_000;
    uint256 private constant DUST_BPS = 10;

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
        c.policy.dustBps = uint16(DUST_BPS);
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
        uint256[2] units;
        uint256[2] unitsOfClaimant;
        uint256[2] balances;
        uint256[2] received;
    }

    function _books(address claimant) internal view returns (Books memory b) {
        b.held = vault.held();
        b.supply = vault.totalSupply();
        for (uint256 i; i < 2; ++i) {
            b.claims[i] = vault.pool(address(tokens[i])).amountRaw;
            b.units[i] = vault.pool(address(tokens[i])).units;
            b.unitsOfClaimant[i] = vault.claimOf(claimant, address(tokens[i])).units;
            b.balances[i] = tokens[i].balanceOf(address(vault));
            b.received[i] = tokens[i].balanceOf(RECEIVER);
        }
    }

    /// @dev A vault with shares and holdings, whose tokens are there in full and answer so.
    function _scene(address holder, uint120 supply, uint120[2] memory amounts, uint8[2] memory manners) internal {
        _scene(holder, supply, amounts, amounts, manners);
    }

    /// @dev The same with other balances.
    function _scene(
        address holder,
        uint120 supply,
        uint120[2] memory amounts,
        uint120[2] memory balances,
        uint8[2] memory manners
    ) internal {
        vm.assume(holder != address(0) && holder != address(vault) && holder != RECEIVER && holder != OTHER);
        vault.give(holder, supply, amounts);
        for (uint256 i; i < 2; ++i) {
            vm.assume(manners[i] < 4);
            tokens[i].mint(address(vault), balances[i]);
            tokens[i].become(manners[i]);
        }
    }

    /// @dev What `shares` of `supply` are paid of an amount: their part less the fee on the way out, down.
    function _part(uint256 amount, uint256 shares, uint256 exitBps, uint256 supply)
        internal
        pure
        returns (uint256 part)
    {
        unchecked {
            part = amount * (shares * (BPS - exitBps)) / (supply * BPS);
        }
        vm.assume(part <= amount); // proved in rounding.py
    }

    /// @dev What does not fit: 0 if a redemption moved of one asset what it says it paid, either sent or as a claim, where nobody had a claim on
    /// the token before. Differences are joined by bits instead of `&&`, which would double the paths that Halmos follows; `left` is the
    /// ledger's amount before the payment.
    function _misfit(Books memory b, Books memory a, uint256 i, uint256 left, uint256 paid)
        internal
        pure
        returns (uint256 off)
    {
        unchecked {
            uint256 sent = a.received[i] - b.received[i];
            off = (a.held[i] + paid) ^ left;
            off |= (b.balances[i] - a.balances[i]) ^ sent;
            off |= (sent + a.claims[i]) ^ paid;
            // A first claim has a unit for each of the token's, and all units are the claimant's.
            off |= (a.claims[i] ^ a.units[i]) | (a.claims[i] ^ a.unitsOfClaimant[i]);
            // Never both.
            off |= sent & (0 - _bit(a.claims[i] != 0));
        }
    }

    function _bit(bool on) internal pure returns (uint256 bit) {
        assembly ("memory-safe") {
            bit := on
        }
    }

    /* PROMISE A */

    /// @dev Whatever a redemption moves is what it says, sent or as a claim; neither the oracle nor the authority is reached, being traps. The
    /// first token answers in any of the four ways, and may be skipped; of the second nothing is held. Taken for granted: of the first the vault
    /// has what the ledger says, nobody has a claim on it, and there is no fee.
    function check_redeem_moves_exactly_what_it_says_and_asks_nobody(
        address holder,
        uint120 supply,
        uint120 shares,
        uint120 amount,
        uint8 manner,
        bool skipped
    ) public {
        _scene(holder, supply, [amount, 0], [manner, 0]);
        Books memory b = _books(RECEIVER);
        vm.prank(holder);
        uint256[] memory paid = vault.redeemInKindExcept(shares, RECEIVER, holder, new uint256[](2), skipped ? 1 : 0);
        vm.assume(paid[0] <= b.held[0]); // proved in rounding.py
        Books memory a = _books(RECEIVER);

        unchecked {
            uint256 off = (a.supply + shares) ^ b.supply;
            off |= _misfit(b, a, 0, b.held[0], paid[0]);
            assert(off == 0);
        }
    }

    /// @dev What it says is the shares' part of each holding, less the fee on the way out, rounded down. Taken for granted: tokens send,
    /// nobody has a claim on them, and of each the vault has what the ledger says or up to 2^120 more.
    function check_redeem_of_sound_tokens_pays_the_shares_part(
        address holder,
        uint120 supply,
        uint120 shares,
        uint16 exitBps,
        uint120[2] memory amounts,
        uint120[2] memory gifts
    ) public {
        vm.assume(exitBps <= 200);
        _scene(holder, supply, amounts, [0, 0]);
        tokens[0].mint(address(vault), gifts[0]);
        tokens[1].mint(address(vault), gifts[1]);
        vault.setFees(0, exitBps);
        vm.prank(holder);
        uint256[] memory paid = vault.redeemInKind(shares, RECEIVER, holder, new uint256[](2));
        uint256 off = paid[0] ^ _part(amounts[0], shares, exitBps, supply);
        off |= paid[1] ^ _part(amounts[1], shares, exitBps, supply);
        assert(off == 0);
    }

    /// @dev Who spends an allowance spends as many shares as are redeemed, and a claim that comes of it is the owner's. Taken for granted: the
    /// first token answers in any of the four ways, of the second nothing is held; of the first the vault has what the ledger says, nobody
    /// has a claim on it, and there is no fee.
    function check_redeem_by_allowance_leaves_the_claim_to_the_owner(
        address holder,
        address spender,
        uint120 supply,
        uint120 shares,
        uint128 allowed,
        uint120 amount,
        uint8 manner
    ) public {
        vm.assume(spender != holder && spender != address(0));
        _scene(holder, supply, [amount, 0], [manner, 0]);
        vm.prank(holder);
        vault.approve(spender, allowed);
        Books memory b = _books(holder);
        vm.prank(spender);
        uint256[] memory paid = vault.redeemInKind(shares, RECEIVER, holder, new uint256[](2));
        vm.assume(paid[0] <= b.held[0]); // proved in rounding.py
        Books memory a = _books(holder);

        unchecked {
            uint256 off = (a.supply + shares) ^ b.supply;
            off |= (vault.balanceOf(holder) + shares) ^ supply;
            off |= (vault.allowance(holder, spender) + shares) ^ allowed;
            off |= _misfit(b, a, 0, b.held[0], paid[0]);
            assert(off == 0);
        }
    }

    /// @dev Whatever a mint takes is what it says, and that is the shares' part and the fee on the way in, rounded up. Taken for granted: tokens
    /// send, are there to the unit, and nobody has a claim on them.
    function check_mint_moves_exactly_what_it_says(
        address holder,
        uint120 supply,
        uint120 shares,
        uint16 entryBps,
        uint120[2] memory amounts,
        uint128[2] memory purse
    ) public {
        vm.assume(entryBps <= 200);
        _scene(holder, supply, amounts, [0, 0]);
        vault.setFees(entryBps, 0);
        tokens[0].mint(holder, purse[0]);
        tokens[1].mint(holder, purse[1]);
        Books memory b = _books(RECEIVER);
        uint256[] memory most = new uint256[](2);
        (most[0], most[1]) = (type(uint256).max, type(uint256).max);
        vm.prank(holder);
        uint256[] memory paid = vault.mintInKind(shares, RECEIVER, most);
        Books memory a = _books(RECEIVER);

        assert(a.supply == b.supply + shares);
        assert(vault.balanceOf(RECEIVER) == shares && vault.balanceOf(holder) == supply);
        for (uint256 i; i < 2; ++i) {
            uint256 part = uint256(shares) * (BPS + entryBps);
            assert(paid[i] == Math.ceilDiv(b.held[i] * part, supply * BPS));
            assert(a.held[i] == b.held[i] + paid[i]);
            assert(a.balances[i] == b.balances[i] + paid[i]);
            assert(tokens[i].balanceOf(holder) == purse[i] - paid[i]);
            assert(a.claims[i] == 0);
        }
    }

    /* ACCESS */

    /// @dev Every restricted function, from any caller, with an authority that says no: none goes through, and for no other reason.
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
        (bool done, bytes memory answer) = address(vault).call(data);
        assert(!done && bytes4(answer) == IAccessManaged.AccessManagedUnauthorized.selector);
    }
}

/// @notice These must fail: were the traps blind, or a token that refuses not tried, nothing above would mean anything.
contract MustFail is VaultProofs {
    function checkBad_a_trap_notices_a_call() public {
        (bool done,) = address(trap).staticcall(abi.encodeCall(IOracleHub.prices, (new address[](1))));
        done;
    }

    function checkBad_whatever_is_redeemed_is_sent(uint8 manner) public {
        _scene(address(0xBEEF), 1_000, [uint120(600), 400], [manner, 0]);
        vm.prank(address(0xBEEF));
        uint256[] memory paid = vault.redeemInKind(500, address(0xCAFE), address(0xBEEF), new uint256[](2));
        assert(tokens[0].balanceOf(address(0xCAFE)) == paid[0]);
    }
}
