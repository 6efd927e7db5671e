// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IERC20 } from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { ShortString, ShortStrings } from "@openzeppelin/contracts/utils/ShortStrings.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

import { IVaultBase } from "./interfaces/IBasketVault.sol";
import { IOracleHub } from "./interfaces/IOracleHub.sol";
import { ConfigCode } from "./libraries/ConfigCode.sol";
import { Lists } from "./libraries/Lists.sol";
import { RebalancePolicy } from "./libraries/RebalancePolicy.sol";

/// @title VaultBase
/// @notice WHAT IT IS. The storage of a basket vault, and what both halves of its code need: BasketVault, and VaultExtension, which
/// BasketVault runs as its own code. Both inherit this and declare no storage themselves, so they agree on every slot.
abstract contract VaultBase is IVaultBase, ERC20Permit, AccessManaged, ReentrancyGuardTransient {
    using ConfigCode for uint256[];
    using Lists for uint256[];
    using Lists for address[];
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    uint256 internal constant BPS = 10_000;
    uint256 internal constant YEAR_SECONDS = 365 days;

    /// Locked at creation for ever, so that the price of a share in kind can never be driven up to where rounding hurts.
    uint256 public constant MINIMUM_SHARES = 1e6;

    uint256 internal constant MAX_ASSETS = 16; // redeeming all of them, each failing slowly, still fits in a block
    uint256 internal constant MAX_STREAMING_BPS = 500; // 5 % a year
    uint256 internal constant MAX_PERFORMANCE_BPS = 2_000; // 20 % of the gain
    uint256 internal constant MAX_FLOW_BPS = 200; // 2 % on the way in, and on the way out
    uint256 internal constant PERFORMANCE_PERIOD_SECONDS = 30 days; // seldom enough that few peaks are caught

    /// Largest supply minting may reach, so that fee arithmetic can never overflow and stand in the way of a redemption.
    uint256 internal constant MAX_SUPPLY = 1 << 120;

    /// Gas one outgoing transfer may use: the heaviest honest tokens need under 200,000.
    uint256 internal constant TRANSFER_GAS = 300_000;

    /// Gas the oracle may use to say that it prices two assets: nine sources at 200,000 each (see BoundedCall), and some.
    uint256 internal constant ORACLE_GAS = 2_500_000;

    /// Where minimum shares go: nobody has its key.
    address internal constant LOCKED = 0x000000000000000000000000000000000000dEaD;

    /// What `config` says in the implementation behind clones, which must never be initialized.
    address internal constant IMPLEMENTATION = address(1);

    /// Transient: whether this transaction has minted or redeemed, or has rebalanced.
    bytes32 internal constant FLOWED = keccak256("rebalancer.vault.flowed");
    bytes32 internal constant TRADED = keccak256("rebalancer.vault.traded");

    // slither-disable-start uninitialized-state -- looking at each half alone, it misses what the other writes

    /* STORAGE: CONFIGURATION */

    /// @inheritdoc IVaultBase
    address public config;
    address public feeRecipient;
    ShortString internal _name;
    ShortString internal _symbol;

    /* STORAGE: BOOKS */

    State internal _state;
    Fee internal _fee;
    Performance internal _performance;
    uint128[MAX_ASSETS] internal _held;

    /// @inheritdoc IVaultBase
    mapping(address holder => mapping(address token => uint256)) public claimable;
    /// @inheritdoc IVaultBase
    mapping(address token => uint256) public totalClaimable;
    mapping(address sold => mapping(address bought => Auction)) internal _auctions;

    // slither-disable-end uninitialized-state

    /* FACTORY */

    constructor() ERC20("", "") ERC20Permit("Rebalancer") AccessManaged(address(0)) {
        config = IMPLEMENTATION;
    }

    /* BASKET */

    /// @dev The basket as the policy sees it, read once a call.
    struct Basket {
        uint256[] words;
        address[] tokens;
        uint256[] units;
        uint256[] targetsE18;
        uint256[] bandsE18;
        uint256[] held;
        uint256[] prices;
        uint256[] pricesE18;
        int256[] distancesE18;
        uint256 distanceE18;
        uint256 totalE18;
    }

    /// @dev Prices and weighs the basket. Reverts on any oracle fault of an asset that is not excluded.
    function _readBasket(uint256[] memory words, uint256 dustBps) internal view returns (Basket memory b) {
        uint256 n = words.assetCount();
        b.words = words;
        b.tokens = Lists.addresses(n);
        b.units = Lists.uints(n);
        b.targetsE18 = Lists.uints(n);
        b.bandsE18 = Lists.uints(n);
        b.held = Lists.uints(n);
        b.pricesE18 = Lists.uints(n);
        bool glides = block.timestamp < words.glideEnd();
        for (uint256 i; i < n; ++i) {
            uint256 word = words.assetWord(i);
            b.tokens.set(i, address(uint160(word)));
            b.units.set(i, ConfigCode.unitOf(word));
            uint256 targetE18 = glides ? words.targetE18(i, block.timestamp) : ConfigCode.endTargetE18Of(word);
            b.targetsE18.set(i, targetE18);
            b.bandsE18.set(i, words.bandE18(i, word, targetE18, dustBps));
            b.held.set(i, _held[i]);
        }
        b.prices = _askPrices(words.oracle(), b.tokens);
        for (uint256 i; i < n; ++i) {
            if (words.excluded(i)) {
                // Worth nothing here, with a target of nothing: neither in surplus nor in deficit, so it can be neither sold nor bought.
                b.pricesE18.set(i, 0);
                continue;
            }
            uint256 fault = b.prices.at(4 * i + FAULT);
            if (fault != 0) revert OracleFault(i, IOracleHub.Fault(fault));
            // The policy's arithmetic is proved for prices below 2^128; an oracle that says more is out of its mind.
            uint256 primaryE18 = b.prices.at(4 * i + PRIMARY);
            if ((primaryE18 | b.prices.at(4 * i + LO) | b.prices.at(4 * i + HI)) >> 128 != 0) {
                revert OracleFault(i, IOracleHub.Fault.OutOfRange);
            }
            b.pricesE18.set(i, primaryE18);
        }
        uint256[] memory valuesE18;
        (valuesE18, b.totalE18) = RebalancePolicy.weigh(b.held, b.pricesE18, b.units);
        (b.distancesE18, b.distanceE18) = RebalancePolicy.distances(valuesE18, b.totalE18, b.targetsE18);
    }

    /// Where the parts of a price are among its four words; as IOracleHub.Price has them.
    uint256 internal constant LO = 0;
    uint256 internal constant HI = 1;
    uint256 internal constant PRIMARY = 2;
    uint256 internal constant FAULT = 3;

    /// @dev `hub.prices(tokens)`, as four words a token. Decoding structs would cost more than a third of what weighing the basket does.
    function _askPrices(IOracleHub hub, address[] memory tokens) internal view returns (uint256[] memory prices) {
        uint256 n = tokens.length;
        uint256 selector = uint32(IOracleHub.prices.selector);
        prices = Lists.uints(4 * n);
        bool sound;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, shl(224, selector))
            mstore(add(data, 4), 32)
            mcopy(add(data, 36), tokens, add(32, shl(5, n)))
            let answered := staticcall(gas(), hub, data, add(68, shl(5, n)), data, 64)
            if iszero(answered) {
                returndatacopy(data, 0, returndatasize())
                revert(data, returndatasize())
            }
            // Offset and length, then the prices.
            sound := and(
                eq(returndatasize(), add(64, shl(7, n))),
                and(eq(mload(data), 32), eq(mload(add(data, 32)), n))
            )
            if sound { returndatacopy(add(prices, 32), 64, shl(7, n)) }
        }
        if (!sound) revert OracleFault(0, IOracleHub.Fault.CallFailed);
    }

    /* TOKENS */

    /// @dev Takes exactly that amount from the caller.
    function _pull(address token, uint256 amount) internal {
        uint256 balance = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        // Not checked: a token whose balance wraps. It would have to lie, and lying tokens are not for baskets.
        uint256 received = IERC20(token).balanceOf(address(this)) - balance;
        if (received != amount) revert TransferNotExact(token, amount, received);
    }

    /* FEE */

    /// @notice Shares in existence, those of the fee that are earned and not yet minted included.
    function totalSupply() public view override(ERC20, IERC20) returns (uint256) {
        return super.totalSupply() + _pendingFee(_fee, super.totalSupply());
    }

    /// @dev Books the fee up to now and returns the total supply.
    function _accrueFee() internal returns (uint256 supply, Fee memory f) {
        f = _fee;
        uint256 minted = super.totalSupply();
        uint256 pending = _pendingFee(f, minted); // at most 128 bits
        (f.pendingShares, f.accruedAt) = (uint128(pending), uint40(block.timestamp));
        _fee = f;
        return (minted + pending, f);
    }

    /// @dev Fee shares earned and not minted: those booked, and simple interest on all shares since, rounded down. At most 2^128 - 1:
    /// after centuries uncollected the fee stops growing rather than stop redemptions.
    function _pendingFee(Fee memory f, uint256 minted) internal view returns (uint256) {
        uint256 supply = minted + f.pendingShares;
        uint256 earned = supply * f.streamingBps * (block.timestamp - f.accruedAt) / (YEAR_SECONDS * BPS);
        return Math.min(f.pendingShares + earned, type(uint128).max);
    }

    /// @dev Mints what the fee has earned. Earning less than a share changes nothing, so that it is not lost.
    function _collectFee() internal returns (uint256 shares) {
        shares = _pendingFee(_fee, super.totalSupply());
        if (shares == 0) return 0;
        _fee.pendingShares = 0;
        _fee.accruedAt = uint40(block.timestamp);
        _mint(feeRecipient, shares);
        emit FeeCollected(feeRecipient, shares);
    }

    /* CHECKS */

    function _stampBroken(uint256 brokenSince) internal {
        _state.brokenSince = uint40(brokenSince); // 0 or now
        emit Poked(brokenSince);
    }

    /* CHECKS */

    function _checkReceiver(address receiver) internal view {
        if (receiver == address(0) || receiver == address(this)) revert BadReceiver(receiver);
    }

    function _checkAsset(uint256[] memory words, uint256 asset) internal pure {
        if (asset >= words.assetCount()) revert NoSuchAsset(asset, words.assetCount());
    }

    function _checkLength(uint256 length, uint256 expected) internal pure {
        if (length != expected) revert LengthMismatch(length, expected);
    }

    function _checkSupply(uint256 supply) internal pure {
        if (supply > MAX_SUPPLY) revert SupplyTooLarge(supply, MAX_SUPPLY);
    }

    function _toHeld(uint256 asset, uint256 amountRaw) internal pure returns (uint128) {
        if (amountRaw > type(uint128).max) revert HoldingTooLarge(asset, amountRaw, type(uint128).max);
        return uint128(amountRaw);
    }
}
