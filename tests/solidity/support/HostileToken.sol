// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { LocalToken } from "../../../contracts/mocks/MockToken.sol";

/// @title HostileToken
/// @notice A token of any decimals whose manners can be changed at any time, as those of an upgradeable token can. Rebasing is `mint` to a
/// holder or `burn` from it: a balance that changes without a transfer.
contract HostileToken is LocalToken {
    enum Manner {
        Honest,
        ReturnsNothing, // moves, and answers with no bytes
        ReturnsFalse, // moves nothing, and says so without a revert
        ReturnsFlood, // moves, and answers with a word of 1 and 100,000 bytes more
        Reverts,
        RevertsOnZero, // refuses to move nothing
        RevertsWithFlood, // with 100,000 bytes of reasons
        BurnsGas, // uses up all the gas it is given
        TakesFee, // less arrives than was sent: 1 % and 1
        PaysBonus, // more arrives than was sent: 1
        Blocks, // refuses one holder, coming and going
        Paused, // refuses everybody but reads
        ApproveRace, // refuses to change an allowance that is not zero, as USDT does
        Reenters, // calls a stranger before it moves, as ERC-777 did, and goes on whatever the answer was
        OtherDecimals // says that it has one decimal more
    }

    Manner public manner;
    address public blocked;
    address public stranger;
    bytes[] internal _messages;
    /// How many calls of the stranger succeeded.
    uint256 public entered;

    error Refused();

    constructor(string memory name_, string memory symbol_, uint8 decimals_)
        LocalToken(name_, symbol_, decimals_, "1")
    { }

    /* ANYONE */

    function setManner(Manner manner_) external {
        manner = manner_;
    }

    function setBlocked(address blocked_) external {
        blocked = blocked_;
    }

    /// @notice What is called on `stranger_` before each transfer while the manner is `Reenters`.
    function setCallback(address stranger_, bytes[] calldata messages) external {
        stranger = stranger_;
        delete _messages;
        for (uint256 i; i < messages.length; ++i) {
            _messages.push(messages[i]);
        }
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        _misbehave(msg.sender, to, value);
        super.transfer(to, value);
        _answer();
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        _misbehave(from, to, value);
        super.transferFrom(from, to, value);
        _answer();
    }

    function approve(address spender, uint256 value) public override returns (bool) {
        if (manner == Manner.ApproveRace && value != 0 && allowance(msg.sender, spender) != 0) revert Refused();
        super.approve(spender, value);
        if (manner == Manner.ReturnsNothing) _answer();
        return true;
    }

    /* VIEWS */

    function decimals() public view override returns (uint8) {
        return manner == Manner.OtherDecimals ? super.decimals() + 1 : super.decimals();
    }

    /* INSIDE */

    /// @dev What it does before it moves anything.
    function _misbehave(address from, address to, uint256 value) private {
        if (manner == Manner.Reverts || manner == Manner.Paused) revert Refused();
        if (manner == Manner.RevertsOnZero && value == 0) revert Refused();
        if (manner == Manner.Blocks && (from == blocked || to == blocked)) revert Refused();
        if (manner == Manner.Reenters) {
            for (uint256 i; i < _messages.length; ++i) {
                (bool done,) = stranger.call(_messages[i]);
                if (done) ++entered;
            }
        }
        if (manner == Manner.ReturnsFalse) {
            assembly ("memory-safe") {
                mstore(0, 0)
                return(0, 32)
            }
        }
        if (manner == Manner.RevertsWithFlood) {
            assembly ("memory-safe") {
                revert(0, 100000)
            }
        }
        if (manner == Manner.BurnsGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
    }

    /// @dev How it answers after it moved. Nothing runs behind it.
    function _answer() private view {
        if (manner == Manner.ReturnsNothing) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        uint256 length = manner == Manner.ReturnsFlood ? 100_032 : 32;
        assembly ("memory-safe") {
            let answer := mload(64)
            mstore(answer, 1)
            return(answer, length)
        }
    }

    function _update(address from, address to, uint256 value) internal override {
        bool moves = from != address(0) && to != address(0);
        super._update(from, to, value);
        if (!moves) return;
        if (manner == Manner.TakesFee) {
            uint256 fee = value / 100 + 1;
            super._update(to, address(0), fee < value ? fee : value);
        }
        if (manner == Manner.PaysBonus) super._update(address(0), to, 1);
    }
}
