// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import { IExecutor } from "../interfaces/IExecutor.sol";

/// @title QuoteFiller
/// @notice WHAT IT IS. An executor for quotes that market makers sign off chain (RFQ): whoever may rebalance a vault carries the quotes
/// in the route; each maker is paid what it asked for and pays the vault what it offered, from its own wallet.
///
/// LIFECYCLE. A maker approves this contract and signs quotes -> keeper, or anyone once the vault is open, calls rebalance with this
/// executor and the signed quotes as route -> each quote is filled whole, once.
///
/// ROLES. None. A maker is bound by its signature and nothing else, may be a contract (ERC-1271), and can cancel a nonce.
///
/// WE ASSUME NOTHING of vaults and callers: a maker's tokens leave only to the vault its quote names, against all that it asks for. It
/// holds nothing between transactions; what somebody leaves here, anybody may take.
///
/// HOW TO STOP IT. A maker cancels, or takes its approval back.
contract QuoteFiller is IExecutor, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @param maker signs, pays `boughtRaw` of `bought` to the vault, and gets `soldRaw` of `sold`
    /// @param vault the only one that may be filled
    /// @param sold what the vault sells
    /// @param bought what the vault buys
    /// @param deadline unix time of the last block it can be filled in
    /// @param nonce any number; a maker's quotes of one number are filled once at most
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

    struct SignedQuote {
        Quote quote;
        bytes signature;
    }

    bytes32 public constant QUOTE_TYPE = keccak256(
        "Quote(address maker,address vault,address sold,uint256 soldRaw,address bought,uint256 boughtRaw,uint256 deadline,uint256 nonce)"
    );

    /// @notice Whether a maker's nonce was filled or cancelled.
    mapping(address maker => mapping(uint256 nonce => bool)) public isUsed;

    error WrongVault(address caller, address vault);
    error QuoteExpired(uint256 deadline, uint256 nowSeconds);
    error NonceUsed(address maker, uint256 nonce);
    error BadQuoteSignature(address maker, bytes32 digest);
    /// @notice The vault sold less than the quote asks for.
    error SoldTooLittle(address token, uint256 soldRaw, uint256 askedRaw);

    event QuoteFilled(address indexed maker, address indexed vault, uint256 nonce);
    event QuoteCancelled(address indexed maker, uint256 nonce);

    constructor() EIP712("Rebalancer quotes", "1") { }

    /* MAKER */

    /// @notice Makes the caller's quotes of this number worthless.
    function cancel(uint256 nonce) external {
        isUsed[msg.sender][nonce] = true;
        emit QuoteCancelled(msg.sender, nonce);
    }

    /* VAULT */

    /// @inheritdoc IExecutor
    /// @param route `abi.encode(SignedQuote[])`; what no quote asks for of what they sell goes back
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
        // Signed by the maker, for this vault, and paid for in the line above.
        // slither-disable-next-line arbitrary-send-erc20
        IERC20(q.bought).safeTransferFrom(q.maker, msg.sender, q.boughtRaw);
    }

    /* VIEWS */

    /// @notice What a maker signs (EIP-712).
    function quoteDigest(Quote memory q) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(QUOTE_TYPE, q)));
    }
}
