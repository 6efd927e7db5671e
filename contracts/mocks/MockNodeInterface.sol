// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice For tests: the answers of an Arbitrum node at 0xc8, where it has no code.
contract MockNodeInterface {
    uint256 public constant L2_BASE_FEE_WEI = 1e7;

    uint256 public weiPerByte;

    /// @notice Sets the price of data {wei/byte}.
    function set(uint256 weiPerByte_) external {
        weiPerByte = weiPerByte_;
    }

    /// @dev A tenth more than is charged, like a node's estimate.
    function gasEstimateL1Component(address, bool, bytes calldata data)
        external
        payable
        returns (uint64 gasEstimateForL1, uint256 baseFee, uint256 l1BaseFeeEstimate)
    {
        uint256 feeWei = (140 + data.length) * weiPerByte * 11 / 10;
        return (uint64(feeWei / L2_BASE_FEE_WEI), L2_BASE_FEE_WEI, weiPerByte / 16);
    }
}
