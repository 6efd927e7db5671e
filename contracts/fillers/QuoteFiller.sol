// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import { IExecutor } from "../interfaces/IExecutor.sol";

/// @title QuoteFiller
/// @notice WHAT IT IS. An executor for quotes that market makers sign off chain (RFQ). An account that may rebalance a vault passes the
/// quotes in the route. Each maker gets what its quote requests and pays the vault what it offers, from its own wallet.
///
/// LIFECYCLE. A maker approves this contract and signs quotes -> keeper, or anyone once the vault is open, calls rebalance with this
/// executor and the signed quotes as route -> each quote is filled whole, once.
///
/// ROLES. None. A maker is bound only by its signature, may be a contract (ERC-1271), and can cancel a nonce.
///
/// WE ASSUME NOTHING of vaults and callers: a maker's tokens go only to the vault that its quote names, and only for the whole amount that
/// it requests. The contract holds nothing between transactions. Tokens that are left here may be taken by anybody.
///
/// HOW TO STOP IT. A maker cancels its quotes, or revokes its approval.
contract QuoteFiller is IExecutor, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice Terms that a maker signs.
    /// @param maker account that signs, pays `boughtRaw` of `bought` to the vault, and gets `soldRaw` of `sold`
    /// @param vault the only vault that may be filled
    /// @param sold token that the vault sells
    /// @param soldRaw amount of it {sold tok}
    /// @param bought token that the vault buys
    /// @param boughtRaw amount of it {bought tok}
    /// @param deadline unix time of the last block in which the quote can be filled
    /// @param nonce any number; of a maker's quotes with one number, at most one is filled
    struct Quote {
        address maker;
        address vault;
        address sold;
        uint256 soldRaw;
        address bought;
        uint256 boughtRaw;
        uint256 deadline;
        uint256 nonce;
    }

    /// @notice A quote and its maker's signature.
    struct SignedQuote {
        Quote quote;
        bytes signature;
    }

    /// EIP-712 type hash of `Quote`.
    bytes32 public constant QUOTE_TYPE = keccak256(
        "Quote(address maker,address vault,address sold,uint256 soldRaw,address bought,uint256 boughtRaw,uint256 deadline,uint256 nonce)"
    );

    /// @notice Whether a maker's nonce was filled or cancelled.
    mapping(address maker => mapping(uint256 nonce => bool)) public isUsed;

    /// @notice The quote is for another vault than the caller.
    error WrongVault(address caller, address vault);
    /// @notice The quote's deadline has passed (unix times).
    error QuoteExpired(uint256 deadline, uint256 nowSeconds);
    /// @notice The nonce was filled or cancelled.
    error NonceUsed(address maker, uint256 nonce);
    /// @notice The maker did not sign this quote.
    error BadQuoteSignature(address maker, bytes32 digest);
    /// @notice The vault sold less than the quote requests {tok}.
    error SoldTooLittle(address token, uint256 soldRaw, uint256 askedRaw);

    /// @notice A quote was filled, whole.
    event QuoteFilled(address indexed maker, address indexed vault, uint256 nonce);
    /// @notice A maker cancelled its quotes with this nonce.
    event QuoteCancelled(address indexed maker, uint256 nonce);

    constructor() EIP712("Rebalancer quotes", "1") { }

    /* MAKER */

    /// @notice Cancels the caller's quotes with this nonce.
    function cancel(uint256 nonce) external {
        isUsed[msg.sender][nonce] = true;
        emit QuoteCancelled(msg.sender, nonce);
    }

    /* VAULT */

    /// @inheritdoc IExecutor
    /// @param route `abi.encode(SignedQuote[])`; the rest of the sold tokens returns to the vault
    function executeRoute(bytes calldata route) external nonReentrant {
        SignedQuote[] memory list = abi.decode(route, (SignedQuote[]));
        for (uint256 i; i < list.length; ++i) {
            _fill(list[i].quote, list[i].signature);
        }
        for (uint256 i; i < list.length; ++i) {
            IERC20 sold = IERC20(list[i].quote.sold);
            uint256 left = sold.balanceOf(address(this));
            if (left != 0) sold.safeTransfer(msg.sender, left);
        }
    }

    function _fill(Quote memory q, bytes memory signature) private {
        if (msg.sender != q.vault) revert WrongVault(msg.sender, q.vault);
        if (block.timestamp > q.deadline) revert QuoteExpired(q.deadline, block.timestamp);
        if (isUsed[q.maker][q.nonce]) revert NonceUsed(q.maker, q.nonce);
        bytes32 digest = quoteDigest(q);
        if (!SignatureChecker.isValidSignatureNow(q.maker, digest, signature)) {
            revert BadQuoteSignature(q.maker, digest);
        }
        isUsed[q.maker][q.nonce] = true;
        emit QuoteFilled(q.maker, q.vault, q.nonce);

        uint256 balance = IERC20(q.sold).balanceOf(address(this));
        if (balance < q.soldRaw) revert SoldTooLittle(q.sold, balance, q.soldRaw);
        IERC20(q.sold).safeTransfer(q.maker, q.soldRaw);
        // The maker signed this transfer, for this vault, and the line above has paid for it.
        // slither-disable-next-line arbitrary-send-erc20
        IERC20(q.bought).safeTransferFrom(q.maker, msg.sender, q.boughtRaw);
    }

    /* VIEWS */

    /// @notice Digest that a maker signs (EIP-712).
    function quoteDigest(Quote memory q) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(QUOTE_TYPE, q)));
    }
}
