// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "./MockToken.sol";

/// @notice Tokens with the quirks of real ones. Each has one quirk. Where the quirk would keep a test from its set-up, it is off until
/// `setBroken(true)`.

/// @title NoReturnToken
/// @notice USDT's quirk: transfers and approvals return nothing at all.
contract NoReturnToken is MockToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    function transfer(address to, uint256 value) public override returns (bool) {
        _transfer(msg.sender, to, value);
        _returnNothing();
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        _spendAllowance(from, msg.sender, value);
        _transfer(from, to, value);
        _returnNothing();
    }

    function approve(address spender, uint256 value) public override returns (bool) {
        _approve(msg.sender, spender, value);
        _returnNothing();
    }

    function _returnNothing() private pure {
        assembly ("memory-safe") {
            return(0, 0)
        }
    }
}

/// @title FeeToken
/// @notice Keeps a part of every transfer: what arrives is less than what was sent.
contract FeeToken is MockToken {
    uint256 public immutable feeBps;

    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 feeBps_)
        MockToken(name_, symbol_, decimals_)
    {
        feeBps = feeBps_;
    }

    function _update(address from, address to, uint256 value) internal override {
        bool moves = from != address(0) && to != address(0);
        uint256 fee = moves ? value * feeBps / 10_000 : 0;
        super._update(from, to, value - fee);
        if (fee > 0) super._update(from, address(0), fee);
    }
}

/// @title RebasingToken
/// @notice Balances change without a transfer: each is its holder's part times a factor that anyone may set.
contract RebasingToken is MockToken {
    uint256 public factorE18 = 1e18;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    /// @notice Sets the factor of all balances, times 1e18.
    function setFactor(uint256 factorE18_) external {
        factorE18 = factorE18_;
    }

    function balanceOf(address holder) public view override returns (uint256) {
        return super.balanceOf(holder) * factorE18 / 1e18;
    }

    function totalSupply() public view override returns (uint256) {
        return super.totalSupply() * factorE18 / 1e18;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value * 1e18 / factorE18);
    }
}

/// @title SwitchedToken
/// @notice Works until it is switched to broken. Then every transfer that is not a mint does what `_breakDown` does.
abstract contract SwitchedToken is MockToken {
    bool public broken;

    /// @notice Breaks the token, or repairs it.
    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        if (broken && from != address(0)) _breakDown();
        super._update(from, to, value);
    }

    function _breakDown() internal virtual;
}

/// @title RevertingToken
/// @notice Cannot be sent.
contract RevertingToken is SwitchedToken {
    /// @notice The token cannot be sent.
    error TransferRefused();

    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    function _breakDown() internal pure override {
        revert TransferRefused();
    }
}

/// @title GasBurnerToken
/// @notice Uses up all the gas it is given.
contract GasBurnerToken is SwitchedToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    function _breakDown() internal pure override {
        assembly ("memory-safe") {
            invalid()
        }
    }
}

/// @title ReturnBombToken
/// @notice Refuses with a megabyte of return data, which costs a careless caller its gas to copy.
contract ReturnBombToken is SwitchedToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    function _breakDown() internal pure override {
        assembly ("memory-safe") {
            revert(0, 1000000)
        }
    }
}

/// @title FalseReturnToken
/// @notice Moves nothing and returns `false` instead of a revert.
contract FalseReturnToken is SwitchedToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    function _breakDown() internal pure override {
        assembly ("memory-safe") {
            mstore(0, 0)
            return(0, 32)
        }
    }
}

/// @title CallbackToken
/// @notice Calls another contract before every transfer, as ERC-777 did, which lets a re-entrant caller in.
contract CallbackToken is MockToken {
    address public stranger;
    bytes public message;

    /// @notice The called contract refused.
    error StrangerRefused(bytes reason);

    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) { }

    /// @notice Sets the contract to call before each transfer, and the call data.
    function setCallback(address stranger_, bytes calldata message_) external {
        stranger = stranger_;
        message = message_;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (stranger != address(0) && from != address(0)) {
            (bool done, bytes memory reason) = stranger.call(message);
            if (!done) revert StrangerRefused(reason);
        }
        super._update(from, to, value);
    }
}
