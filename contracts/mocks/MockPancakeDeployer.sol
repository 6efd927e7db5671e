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
/// @notice Stands for PancakeV3PoolDeployer, which no npm package holds, beside the published factory and pool: a pool asks it for its
/// parameters while it is made, and the factory for the pool. It also provides the liquidity, with tokens that it mints.
///
/// For tests only: its callback does not ask who calls.
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

    /// What a pool's constructor reads.
    Parameters public parameters;
    address private _made;

    /* ANYONE */

    /// @notice Makes a pool of its published creation code, and has the factory know it. `token0` has the lower address.
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

    /// @notice What the factory calls: answers with the pool that was just made.
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

    /// @notice Takes liquidity out of positions; what they held stays owed.
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
