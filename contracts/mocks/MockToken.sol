// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import { Nonces } from "@openzeppelin/contracts/utils/Nonces.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title LocalToken
/// @notice WHAT IT IS. OpenZeppelin's ERC-20 with permits (ERC-2612), any decimals, and a mint that is open to all. For local
/// chains only.
///
/// Name, symbol, decimals and the version for signed permits are stored in the code, not in storage. So the code of a deployed token can be
/// copied to the address of the real token on mainnet and works there at once.
abstract contract LocalToken is ERC20, EIP712, Nonces, IERC20Permit {
    using ShortStrings for *;

    bytes32 private constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    ShortString private immutable _shortName;
    ShortString private immutable _shortSymbol;
    uint8 private immutable _decimals;

    /// @notice The permit's deadline has passed (unix times).
    error PermitExpired(uint256 deadline, uint256 nowSeconds);
    /// @notice The permit was signed by another account than the owner.
    error PermitSignerMismatch(address signer, address owner);

    /// @param name_ at most 31 bytes, like `symbol_`
    constructor(string memory name_, string memory symbol_, uint8 decimals_, string memory permitVersion)
        ERC20("", "")
        EIP712(name_, permitVersion)
    {
        _shortName = name_.toShortString();
        _shortSymbol = symbol_.toShortString();
        _decimals = decimals_;
    }

    /* ANYONE */

    /// @notice Mints to anyone {tok}.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Burns from any account {tok}.
    function burn(address from, uint256 amount) external {
        _burn(from, amount);
    }

    /// @inheritdoc IERC20Permit
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
    {
        if (block.timestamp > deadline) revert PermitExpired(deadline, block.timestamp);
        bytes32 message = keccak256(abi.encode(PERMIT_TYPE, owner, spender, value, _useNonce(owner), deadline));
        address signer = ECDSA.recover(_hashTypedDataV4(message), v, r, s);
        if (signer != owner) revert PermitSignerMismatch(signer, owner);
        _approve(owner, spender, value);
    }

    /* VIEWS */

    function name() public view override returns (string memory) {
        return _shortName.toString();
    }

    function symbol() public view override returns (string memory) {
        return _shortSymbol.toString();
    }

    function decimals() public view virtual override returns (uint8) {
        return _decimals;
    }

    /// @inheritdoc IERC20Permit
    function nonces(address owner) public view override(Nonces, IERC20Permit) returns (uint256) {
        return super.nonces(owner);
    }

    /// @inheritdoc IERC20Permit
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @notice Version of the domain for signed permits.
    function version() external view returns (string memory) {
        return _EIP712Version();
    }
}

/// @title MockToken
/// @notice A token without quirks.
contract MockToken is LocalToken {
    constructor(string memory name_, string memory symbol_, uint8 decimals_)
        LocalToken(name_, symbol_, decimals_, "1")
    { }
}
