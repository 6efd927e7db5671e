// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title MockStETH
/// @notice WHAT IT IS. A token whose balances are parts of a pool, with Lido's arithmetic. A transfer moves the whole shares that its
/// amount is worth, rounded down. The rate is that of the pool's own ether and shares. Other vaults have shares, too. Anyone may mint, add
/// to the pool and stop it. For local chains only.
contract MockStETH is IERC20 {
    string public constant name = "Staked ether";
    string public constant symbol = "stETH";
    uint8 public constant decimals = 18;

    uint256 public ownEther;
    uint256 public ownShares;
    uint256 public getExternalShares;
    bool public isStopped;
    mapping(address => uint256) public sharesOf;
    mapping(address => mapping(address => uint256)) public allowance;

    /// @notice Transfers are stopped.
    error Stopped();
    /// @notice The balance or the allowance is too small.
    error NotEnough();

    /* ANYONE */

    /// @notice Adds shares, and ether with them at any rate.
    function mintShares(address to, uint256 shares, uint256 etherRaw) external {
        sharesOf[to] += shares;
        ownShares += shares;
        ownEther += etherRaw;
    }

    /// @notice Adds shares of other vaults.
    function mintExternal(address to, uint256 shares) external {
        sharesOf[to] += shares;
        getExternalShares += shares;
    }

    /// @notice A day's reward.
    function reward(uint256 etherRaw) external {
        ownEther += etherRaw;
    }

    /// @notice Stops transfers, or allows them again.
    function setStopped(bool stopped) external {
        isStopped = stopped;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        if (allowance[from][msg.sender] < amount) revert NotEnough();
        allowance[from][msg.sender] -= amount;
        _move(from, to, amount);
        return true;
    }

    function _move(address from, address to, uint256 amount) private {
        if (isStopped) revert Stopped();
        uint256 shares = getSharesByPooledEth(amount);
        if (sharesOf[from] < shares) revert NotEnough();
        sharesOf[from] -= shares;
        sharesOf[to] += shares;
        emit Transfer(from, to, amount);
    }

    /* VIEWS */

    /// @notice Shares for an amount of ether {wei}, rounded down.
    function getSharesByPooledEth(uint256 amount) public view returns (uint256) {
        return Math.mulDiv(amount, ownShares, ownEther);
    }

    /// @notice Ether for a number of shares {wei}, rounded down.
    function getPooledEthByShares(uint256 shares) public view returns (uint256) {
        return Math.mulDiv(shares, ownEther, ownShares);
    }

    /// @notice All shares, those of other vaults included.
    function getTotalShares() external view returns (uint256) {
        return ownShares + getExternalShares;
    }

    /// @notice Ether of the other vaults' shares {wei}, rounded down.
    function getExternalEther() public view returns (uint256) {
        return getPooledEthByShares(getExternalShares);
    }

    /// @notice All ether, that of other vaults included {wei}.
    function getTotalPooledEther() public view returns (uint256) {
        return ownEther + getExternalEther();
    }

    function totalSupply() external view returns (uint256) {
        return getTotalPooledEther();
    }

    function balanceOf(address holder) external view returns (uint256) {
        return getPooledEthByShares(sharesOf[holder]);
    }
}

/// @title MockWstETH
/// @notice WHAT IT IS. One token is one share of MockStETH, which this contract holds. For local chains only.
contract MockWstETH is ERC20 {
    MockStETH public immutable stETH;

    constructor(MockStETH stETH_) ERC20("Wrapped staked ether", "wstETH") {
        stETH = stETH_;
    }

    /* ANYONE */

    /// @notice Adds wrapped shares at the present rate.
    function mint(address to, uint256 shares) external {
        stETH.mintShares(address(this), shares, stETH.getPooledEthByShares(shares));
        _mint(to, shares);
    }

    /// @notice Wraps stETH {wei}.
    function wrap(uint256 amount) external returns (uint256 shares) {
        shares = stETH.getSharesByPooledEth(amount);
        _mint(msg.sender, shares);
        require(stETH.transferFrom(msg.sender, address(this), amount));
    }

    /// @notice Unwraps into stETH {wei}.
    function unwrap(uint256 shares) external returns (uint256 amount) {
        amount = stETH.getPooledEthByShares(shares);
        _burn(msg.sender, shares);
        require(stETH.transfer(msg.sender, amount));
    }

    /* VIEWS */

    /// @notice wstETH for an amount of stETH {wei}, rounded down.
    function getWstETHByStETH(uint256 amount) external view returns (uint256) {
        return stETH.getSharesByPooledEth(amount);
    }

    /// @notice stETH for an amount of wstETH {wei}, rounded down.
    function getStETHByWstETH(uint256 shares) external view returns (uint256) {
        return stETH.getPooledEthByShares(shares);
    }

    /// @notice stETH for one whole wstETH {wei}, rounded down.
    function stEthPerToken() external view returns (uint256) {
        return stETH.getPooledEthByShares(1 ether);
    }

    /// @notice wstETH for one whole stETH {wei}, rounded down.
    function tokensPerStEth() external view returns (uint256) {
        return stETH.getSharesByPooledEth(1 ether);
    }
}
