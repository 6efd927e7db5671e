// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { Test } from "forge-std/Test.sol";

import { IBasketVault } from "../../../contracts/interfaces/IBasketVault.sol";
import { MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title ShareWorld
/// @notice People who hold, send, allow, sign, deposit and redeem shares, for as long as they like. Beside the vault it keeps a book of
/// its own: a list of who was to have how much, written by what each step asked for and whether the vault agreed.
contract ShareWorld is Test {
    struct Counts {
        uint256 transfers;
        uint256 spent;
        uint256 permits;
        uint256 permitsRefused;
        uint256 deposits;
        uint256 redemptions;
        uint256 refusals;
    }

    bytes32 internal constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    uint256 internal constant KEYS = 0x1000;
    uint256 public constant PEOPLE = 4;

    IBasketVault internal immutable VAULT;
    address internal immutable TREASURY;
    MockToken[] internal _tokens;

    mapping(address holder => uint256) public balances;
    mapping(address holder => mapping(address spender => uint256)) public allowances;
    mapping(address holder => uint256) public nonces;
    Counts internal _counts;
    string public firstBreach;

    constructor(IBasketVault vault, address treasury, MockToken[] memory tokens) {
        VAULT = vault;
        TREASURY = treasury;
        _tokens = tokens;
        for (uint256 i; i < PEOPLE; ++i) {
            balances[person(i)] = vault.balanceOf(person(i));
        }
    }

    /// @notice Holders with keys, so that they can sign.
    function person(uint256 seed) public pure returns (address) {
        return vm.addr(KEYS + seed % PEOPLE);
    }

    function counts() external view returns (Counts memory) {
        return _counts;
    }

    /* WHAT THEY DO */

    function transfer(uint256 fromSeed, uint256 toSeed, uint256 amount) external {
        (address from, address to) = (person(fromSeed), person(toSeed));
        amount = _about(amount, balances[from]);
        vm.prank(from);
        try VAULT.transfer(to, amount) returns (bool done) {
            _expect(done && amount <= balances[from], "a transfer of more than the balance");
            _move(from, to, amount);
            ++_counts.transfers;
        } catch {
            _expect(amount > balances[from], "a sound transfer was refused");
            ++_counts.refusals;
        }
    }

    function transferFrom(uint256 spenderSeed, uint256 fromSeed, uint256 toSeed, uint256 amount) external {
        (address spender, address from, address to) = (person(spenderSeed), person(fromSeed), person(toSeed));
        uint256 allowed = allowances[from][spender];
        amount = _about(amount, allowed < balances[from] ? allowed : balances[from]);
        vm.prank(spender);
        try VAULT.transferFrom(from, to, amount) returns (bool done) {
            _expect(done && amount <= balances[from] && amount <= allowed, "spent without an allowance");
            _spend(from, spender, amount);
            _move(from, to, amount);
            ++_counts.spent;
        } catch {
            _expect(amount > balances[from] || amount > allowed, "a sound transferFrom was refused");
            ++_counts.refusals;
        }
    }

    function approve(uint256 fromSeed, uint256 spenderSeed, uint256 amount, bool endless) external {
        (address from, address spender) = (person(fromSeed), person(spenderSeed));
        amount = endless ? type(uint256).max : amount % 200e18;
        vm.prank(from);
        _expect(VAULT.approve(spender, amount), "approve");
        allowances[from][spender] = amount;
    }

    /// @notice Signs a permit: rightly, or with another key, nonce or deadline. Anybody brings it.
    function permit(uint256 fromSeed, uint256 spenderSeed, uint256 amount, uint256 manner) external {
        (address from, address spender) = (person(fromSeed), person(spenderSeed));
        amount = amount % 200e18;
        uint256 key = manner % 8 == 1 ? KEYS + PEOPLE : KEYS + fromSeed % PEOPLE;
        uint256 nonce = manner % 8 == 2 ? nonces[from] + 1 : nonces[from];
        uint256 deadline = manner % 8 == 3 ? block.timestamp - 1 : block.timestamp;
        if (manner % 8 == 4 && nonce != 0) --nonce; // once more
        bool sound = key == KEYS + fromSeed % PEOPLE && nonce == nonces[from] && deadline == block.timestamp;
        if (_bring(key, from, spender, amount, nonce, deadline)) {
            _expect(sound, "a false permit was accepted");
            allowances[from][spender] = amount;
            ++nonces[from];
            ++_counts.permits;
        } else {
            _expect(!sound, "a sound permit was refused");
            ++_counts.permitsRefused;
        }
    }

    function deposit(uint256 holderSeed, uint256 toSeed, uint256 shares) external {
        (address holder, address to) = (person(holderSeed), person(toSeed));
        shares = 1 + shares % 50e18;
        uint256[] memory amounts = VAULT.previewMintInKind(shares);
        for (uint256 i; i < amounts.length; ++i) {
            _tokens[i].mint(holder, amounts[i]);
            vm.prank(holder);
            _tokens[i].approve(address(VAULT), amounts[i]);
        }
        vm.prank(holder);
        VAULT.mintInKind(shares, to, amounts);
        balances[to] += shares;
        ++_counts.deposits;
    }

    /// @notice Somebody redeems what is theirs, or what they are allowed to, or tries to redeem more.
    function redeem(uint256 callerSeed, uint256 holderSeed, uint256 shares) external {
        (address caller, address holder) = (person(callerSeed), person(holderSeed));
        uint256 allowed = caller == holder ? type(uint256).max : allowances[holder][caller];
        shares = _about(shares, allowed < balances[holder] ? allowed : balances[holder]);
        if (shares == 0) return;
        vm.prank(caller);
        try VAULT.redeemInKind(shares, caller, holder, new uint256[](_tokens.length)) {
            _expect(shares <= balances[holder] && shares <= allowed, "redeemed what is not theirs");
            if (caller != holder) _spend(holder, caller, shares);
            balances[holder] -= shares;
            ++_counts.redemptions;
        } catch {
            _expect(shares > balances[holder] || shares > allowed, "a sound redemption was refused");
            ++_counts.refusals;
        }
    }

    /// @notice Time earns a fee, in shares that belong to nobody else; sometimes it is collected.
    function passTime(uint256 durationSeconds, bool collect) external {
        vm.warp(block.timestamp + durationSeconds % 30 days);
        if (!collect) return;
        uint256 supply = VAULT.totalSupply();
        uint256 before = VAULT.balanceOf(TREASURY);
        uint256 shares = VAULT.collectFee();
        _expect(VAULT.totalSupply() == supply, "collecting the fee changed the supply");
        _expect(VAULT.balanceOf(TREASURY) == before + shares, "the fee went elsewhere");
    }

    /// @dev Whether the vault took a permit signed with `key`.
    function _bring(uint256 key, address from, address spender, uint256 amount, uint256 nonce, uint256 deadline)
        private
        returns (bool done)
    {
        bytes32 message = keccak256(abi.encode(PERMIT_TYPE, from, spender, amount, nonce, deadline));
        bytes32 separator = IERC20Permit(address(VAULT)).DOMAIN_SEPARATOR();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", separator, message)));
        bytes memory data = abi.encodeCall(IERC20Permit.permit, (from, spender, amount, deadline, v, r, s));
        (done,) = address(VAULT).call(data);
    }

    /* THE BOOK */

    function _move(address from, address to, uint256 amount) private {
        balances[from] -= amount;
        balances[to] += amount;
    }

    function _spend(address from, address spender, uint256 amount) private {
        if (allowances[from][spender] != type(uint256).max) allowances[from][spender] -= amount;
    }

    /// @dev From nothing to a little more than `most`.
    function _about(uint256 x, uint256 most) private pure returns (uint256) {
        return x % (most + most / 16 + 2);
    }

    function _expect(bool kept, string memory what) private {
        if (!kept && bytes(firstBreach).length == 0) firstBreach = what;
    }
}
