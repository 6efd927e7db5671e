// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { LocalToken, MockToken } from "../../../contracts/mocks/MockToken.sol";

/// @title MoodyToken
/// @notice A token that reports balances, and moves them, with a set gas use and in a set mood. It moves exactly the requested amount in
/// every mood.
contract MoodyToken is LocalToken {
    enum Mood {
        Tells,
        Reverts,
        BurnsGas,
        Floods, // the right answer, and 100,000 bytes more
        TellsShort, // 31 bytes
        TellsNothing,
        TellsGarbage, // all bits
        RevertsWithFlood
    }

    Mood public mood;
    uint256 public balanceGas;
    uint256 public transferGas;

    error Refused();

    constructor(string memory name_, string memory symbol_, uint8 decimals_)
        LocalToken(name_, symbol_, decimals_, "1")
    { }

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    function setGas(uint256 balanceGas_, uint256 transferGas_) external {
        (balanceGas, transferGas) = (balanceGas_, transferGas_);
    }

    function balanceOf(address holder) public view override returns (uint256) {
        uint256 balance = super.balanceOf(holder);
        if (mood != Mood.Tells) _misbehave(balance);
        _use(balanceGas);
        return balance;
    }

    function _misbehave(uint256 told) private view {
        if (mood == Mood.Reverts) revert Refused();
        if (mood == Mood.TellsGarbage) told = type(uint256).max;
        uint256 length = mood == Mood.TellsShort ? 31 : mood == Mood.TellsNothing ? 0 : 32;
        if (mood == Mood.Floods) length = 100_000;
        (bool burns, bool reverts) = (mood == Mood.BurnsGas, mood == Mood.RevertsWithFlood);
        assembly ("memory-safe") {
            if burns { invalid() }
            if reverts { revert(0, 100000) }
            let answer := mload(64)
            mstore(answer, told)
            return(answer, length)
        }
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from != address(0) && to != address(0)) _use(transferGas);
        super._update(from, to, value);
    }

    /// @dev Uses up about that much gas.
    function _use(uint256 amount) private view {
        uint256 start = gasleft();
        while (start - gasleft() < amount) { }
    }
}

/// @title TwoFacedToken
/// @notice A token that its alias may move for anybody.
contract TwoFacedToken is MockToken {
    TokenAlias public immutable alias_;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) MockToken(name_, symbol_, decimals_) {
        alias_ = new TokenAlias(this);
    }

    function moveFor(address from, address to, uint256 value) external {
        require(msg.sender == address(alias_));
        _transfer(from, to, value);
    }
}

/// @title TokenAlias
/// @notice The same token under a second address, as some old ones have.
contract TokenAlias {
    TwoFacedToken public immutable token;

    constructor(TwoFacedToken token_) {
        token = token_;
    }

    function mint(address to, uint256 value) external {
        token.mint(to, value);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        token.moveFor(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        token.moveFor(from, to, value);
        return true;
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function balanceOf(address holder) external view returns (uint256) {
        return token.balanceOf(holder);
    }

    function totalSupply() external view returns (uint256) {
        return token.totalSupply();
    }

    function decimals() external view returns (uint8) {
        return token.decimals();
    }

    function symbol() external pure returns (string memory) {
        return "ALIAS";
    }
}
