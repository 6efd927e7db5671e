// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice For tests: an OP-stack chain's predeploy that returns the fees for L1 data and for the operator, with its forks as a switch.
/// @dev The formulas are those of the specifications of Fjord, Isthmus and Jovian. Input counts as data that cannot be compressed.
contract MockGasPriceOracle {
    enum Fork {
        Ecotone,
        Fjord,
        Isthmus,
        Jovian
    }

    /// @notice The predeploy is switched off.
    error OutOfOrder();

    Fork public fork;
    bool public isOutOfOrder;
    uint256 public weiPerByte;
    uint256 public operatorFeeScalar;
    uint256 public operatorFeeConstant;

    /// @notice Sets the fork, the price of data {wei/byte}, the parameters of the operator's fee, and whether the predeploy fails.
    function set(Fork fork_, uint256 weiPerByte_, uint256 scalar, uint256 constant_, bool isOutOfOrder_) external {
        (fork, weiPerByte, isOutOfOrder) = (fork_, weiPerByte_, isOutOfOrder_);
        (operatorFeeScalar, operatorFeeConstant) = (scalar, constant_);
    }

    /// @notice Upper bound of the L1 fee of a transaction of this size {wei}.
    function getL1FeeUpperBound(uint256 unsignedTxSize) external view returns (uint256) {
        require(fork != Fork.Ecotone && !isOutOfOrder, OutOfOrder());
        uint256 size = unsignedTxSize + 68;
        return _fee(size + size / 255 + 16);
    }

    /// @notice L1 fee of a transaction {wei}.
    function getL1Fee(bytes calldata unsignedTx) external view returns (uint256) {
        require(!isOutOfOrder, OutOfOrder());
        return fork == Fork.Ecotone ? (unsignedTx.length + 68) * weiPerByte : _fee(unsignedTx.length + 68);
    }

    /// @notice Operator's fee for an amount of gas {wei}.
    function getOperatorFee(uint256 gasUsed) external view returns (uint256) {
        require(!isOutOfOrder, OutOfOrder());
        if (fork < Fork.Isthmus) return 0;
        uint256 scaled = gasUsed * operatorFeeScalar;
        return (fork == Fork.Jovian ? scaled * 100 : scaled / 1e6) + operatorFeeConstant;
    }

    /// @dev {wei} = {millionth of a byte} * {wei/byte} / 1e6. A transaction counts for 100 bytes at least.
    function _fee(uint256 compressedSize) private view returns (uint256) {
        uint256 size = 836_500 * compressedSize;
        size = size < 142_585_600 ? 100e6 : size - 42_585_600;
        return size * weiPerByte / 1e6;
    }
}
