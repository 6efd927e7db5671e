// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { MockToken } from "./MockToken.sol";

interface IPancakeFactory {
    function feeAmountTickSpacing(uint24 fee) external view returns (int24);
    function createPool(address token0, address token1, uint24 fee) external returns (address pool);
}

interface IPancakePool {
    function token0() external view returns (MockToken);
    function token1() external view returns (MockToken);
    function mint(address recipient, int24 tickLower, int24 tickUpper, uint128 liquidity, bytes calldata data) external;
    function burn(int24 tickLower, int24 tickUpper, uint128 liquidity) external;
}

/// @title MockPancakeDeployer
/// @notice Replaces PancakeV3PoolDeployer, which no npm package holds, for the published factory and pool. A new pool reads its parameters
/// from it, and the factory gets the pool from it. It also provides the liquidity, with tokens that it mints.
///
/// For tests only: its callback does not check the caller.
contract MockPancakeDeployer {
    struct Parameters {
        address factory;
        address token0;
        address token1;
        uint24 fee;
        int24 tickSpacing;
    }

    struct Position {
        int24 tickLower;
        int24 tickUpper;
        uint128 liquidity;
    }

    /// Parameters that a pool's constructor reads.
    Parameters public parameters;
    address private _made;

    /* ANYONE */

    /// @notice Makes a pool from its published creation code, and registers it in the factory. `token0` has the lower address.
    function create(IPancakeFactory factory, address token0, address token1, uint24 fee, bytes memory code) external {
        parameters = Parameters(address(factory), token0, token1, fee, factory.feeAmountTickSpacing(fee));
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), "no pool was made");
        _made = made;
        factory.createPool(token0, token1, fee);
    }

    /// @notice Called by the factory: returns the pool that was just made.
    function deploy(address, address, address, uint24, int24) external view returns (address pool) {
        return _made;
    }

    /// @notice Provides liquidity, one position each.
    function provide(IPancakePool pool, Position[] calldata positions) external {
        for (uint256 i; i < positions.length; ++i) {
            Position calldata position = positions[i];
            pool.mint(address(this), position.tickLower, position.tickUpper, position.liquidity, "");
        }
    }

    /// @notice Removes liquidity from positions. Their tokens stay owed.
    function withdraw(IPancakePool pool, Position[] calldata positions) external {
        for (uint256 i; i < positions.length; ++i) {
            pool.burn(positions[i].tickLower, positions[i].tickUpper, positions[i].liquidity);
        }
    }

    /* POOLS */

    /// @notice IPancakeV3MintCallback.
    function pancakeV3MintCallback(uint256 owed0, uint256 owed1, bytes calldata) external {
        if (owed0 > 0) IPancakePool(msg.sender).token0().mint(msg.sender, owed0);
        if (owed1 > 0) IPancakePool(msg.sender).token1().mint(msg.sender, owed1);
    }
}
