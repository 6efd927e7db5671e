// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title BadShare
/// @notice Broken on purpose: a share that keeps every rule of ERC-20 and ERC-2612 but one. Each property of the share is tested against
/// the variant that breaks it, so that each property can fail. For tests only.
contract BadShare is ERC20, ERC20Permit {
    /// @notice What is broken, in the order of the properties.
    enum Fault {
        None,
        TransferMints,
        BalanceAboveSupply,
        BalancesAboveSupply,
        ZeroAddressHolds,
        TransferToZero,
        TransferFromToZero,
        SelfTransferDoubles,
        SelfTransferFromDoubles,
        TransferMoreThanBalance,
        TransferFromMoreThanBalance,
        TransferOfNothingMoves,
        TransferFromOfNothingMoves,
        TransferTakesAFee,
        TransferFromTakesAFee,
        ApproveSetsLess,
        ApproveAdds,
        AllowanceIsNotSpent,
        EndlessAllowanceIsSpent,
        AnybodyMayTransferFrom,
        BurnLeavesSupply,
        BurnFromTakesOther,
        BurnFromKeepsAllowance,
        MintLeavesSupply,
        PermitSetsLess,
        PermitKeepsNonce,
        PermitIgnoresDeadline,
        PermitOfZeroAddress,
        PermitIgnoresNonce,
        PermitIgnoresSigner
    }

    bytes32 private constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    Fault public immutable fault;

    constructor(Fault fault_) ERC20("Bad share", "BAD") ERC20Permit("Rebalancer") {
        fault = fault_;
    }

    /* ANYONE */

    /// @notice Mints shares to anyone {share}.
    function mint(address to, uint256 value) external {
        _mint(to, value);
    }

    /// @notice Burns the shares of any account {share}.
    function burn(address from, uint256 value) external {
        if (msg.sender != from && fault != Fault.BurnFromKeepsAllowance) _spendAllowance(from, msg.sender, value);
        bool other = fault == Fault.BurnFromTakesOther && msg.sender != from;
        _burn(other ? msg.sender : from, value);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (fault == Fault.TransferToZero && to == address(0)) return true;
        if (fault == Fault.SelfTransferDoubles && to == msg.sender) _mint(to, value);
        if (fault == Fault.TransferMoreThanBalance && value > balanceOf(msg.sender)) return true;
        if (fault == Fault.TransferOfNothingMoves && value == 0) return super.transfer(to, 1);
        if (fault == Fault.TransferMints) _mint(to, 1);
        return super.transfer(to, fault == Fault.TransferTakesAFee ? value - value / 100 - 1 : value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        if (fault == Fault.AnybodyMayTransferFrom) _approve(from, msg.sender, type(uint256).max);
        if (fault == Fault.TransferFromToZero && to == address(0)) return true;
        if (fault == Fault.SelfTransferFromDoubles && to == from) _mint(to, value);
        if (fault == Fault.TransferFromMoreThanBalance && value > balanceOf(from)) return true;
        if (fault == Fault.TransferFromOfNothingMoves && value == 0) _transfer(from, to, 1);
        if (fault == Fault.AllowanceIsNotSpent) _approve(from, msg.sender, allowance(from, msg.sender) + value);
        if (fault == Fault.EndlessAllowanceIsSpent && allowance(from, msg.sender) == type(uint256).max) {
            _approve(from, msg.sender, type(uint256).max - 1);
        }
        return super.transferFrom(from, to, fault == Fault.TransferFromTakesAFee ? value - value / 100 - 1 : value);
    }

    function approve(address spender, uint256 value) public override returns (bool) {
        if (fault == Fault.ApproveSetsLess) return super.approve(spender, value / 2);
        if (fault == Fault.ApproveAdds && value != 0) {
            unchecked {
                value += allowance(msg.sender, spender);
            }
        }
        return super.approve(spender, value);
    }

    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        public
        override
    {
        if (fault == Fault.PermitSetsLess) {
            super.permit(owner, spender, value, deadline, v, r, s);
            return _approve(owner, spender, value / 2);
        }
        bool late = fault == Fault.PermitIgnoresDeadline;
        if (!late && block.timestamp > deadline) revert ERC2612ExpiredSignature(deadline);
        uint256 nonce = fault == Fault.PermitIgnoresNonce || fault == Fault.PermitKeepsNonce ? 0 : _useNonce(owner);
        if (fault == Fault.PermitIgnoresNonce) _useNonce(owner);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(PERMIT_TYPE, owner, spender, value, nonce, deadline)));
        address signer = ecrecover(digest, v, r, s);
        if (fault == Fault.PermitOfZeroAddress && owner == address(0)) return;
        bool anybody = fault == Fault.PermitIgnoresSigner && signer != address(0);
        if (!anybody && (signer == address(0) || signer != owner)) revert ERC2612InvalidSigner(signer, owner);
        _approve(owner, spender, value);
    }

    /* VIEWS */

    function balanceOf(address holder) public view override returns (uint256) {
        if (fault == Fault.ZeroAddressHolds && holder == address(0)) return 1;
        return fault == Fault.BalancesAboveSupply ? 2 * super.balanceOf(holder) : super.balanceOf(holder);
    }

    function totalSupply() public view override returns (uint256) {
        uint256 supply = super.totalSupply();
        if (fault == Fault.BalanceAboveSupply) return supply / 4;
        return supply;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (fault == Fault.BurnLeavesSupply && to == address(0)) super._update(address(0), address(1), value);
        if (fault == Fault.MintLeavesSupply && from == address(0)) super._update(address(0), address(1), 1);
    }
}
