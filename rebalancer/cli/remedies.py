"""Advice for failures: the sentence that the command line shows for each."""

from __future__ import annotations

from collections.abc import Mapping

from rebalancer.errors import ContractReverted, PolicyRefused, RebalancerError

__all__ = ["sentence"]

_SILENT = "the token or exchange gave no reason; check balances and allowances, or run `rebalancer doctor`"

_ADVICE: Mapping[str, str] = {
    # tokens
    "ERC20InsufficientBalance": "reduce the amount, or send the account more of the token",
    "ERC20InsufficientAllowance": "approve at least the needed amount and try again",
    "EnforcedPause": "the token is paused; wait until its issuer resumes transfers",
    # shares
    "ZeroShares": "give a number of shares above 0",
    "SupplyTooLarge": "reduce the number of shares",
    "AmountAboveMaximum": "the amount in kind has changed; try again, or allow more with --tolerance-bps",
    "AmountBelowMinimum": "the amount in kind has changed; try again, or allow more with --tolerance-bps",
    "TransferNotExact": "the token charges a transfer fee or rebases; a basket cannot hold such tokens",
    "NotEnoughGas": "send the transaction with a higher gas limit",
    "SameTransaction": "make the two calls in two transactions",
    "NotTheClaimant": "pay the claim to its holder, or use the holder's account",
    "NothingToClaim": "name an account that has a claim, or another token",
    "ClaimFailed": "the token still cannot be transferred; try again later, or name another receiver",
    "SharesBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "AmountOutBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "CostsMore": "prices have moved; try again, or allow more with --slippage-bps",
    "DeadlinePassed": "the transaction was not mined in time; try again",
    "HoldingTooLarge": "reduce the amount: a vault holds less than 2^120 raw units of a token",
    "ReentrancyGuardReentrantCall": "the vault is executing another call; make this call after it",
    # losses
    "LossNotWrittenDown": "record the loss first (`rebalancer vault sync`); a keeper does this by itself",
    "NothingLost": "the vault holds all that it owes of this asset; there is no loss to record",
    "PurchaseBarred": "the asset lost balance; the owner can allow purchases again (allowPurchases), after its delay",
    "PurchaseNotBarred": "purchases of the asset are already allowed",
    "GiftTooSmall": "reduce the amount: absorb at most the surplus balance",
    # trades
    "RebalanceIsPaused": "the owner can resume trading (resumeRebalance), after its delay",
    "WrongEpoch": "another rebalance or a configuration change came first; plan again",
    "SaleWithoutSurplus": "sell only assets that are above their target",
    "BuyWithoutDeficit": "buy only assets that are below their target",
    "NothingSold": "sell an asset, and do not return all of it",
    # auctions
    "BadAuction": "give a lot, a floor price up to the start price, a duration, and an end more than 6 hours from now",
    "NoAuction": "the owner has not started an auction, or it has ended",
    "OracleIsSound": "the oracle has valid prices of both assets, so a rebalance can trade them without an auction",
    "AuctionNotOpen": "bids start at that time, if an account calls pokeAuction at least every 30 minutes until then",
    "AuctionTermsVoid": "a price source changed after the auction was set up; the owner must start a new auction",
    # configuration
    "SeedTooSmall": "give at least the minimum of this asset, or 0",
    "SameToken": "both addresses are the same token; list it once",
    "FeeOutOfRange": "choose a fee up to the maximum",
    "BadFeeRecipient": "name an account that receives the fee, not the vault itself",
    "BadName": "use a name and a symbol of 1 to 31 bytes",
    "DuplicateAsset": "list every token once",
    "NotAToken": "there is no contract at this address; check the address and the chain",
    "DecimalsDiffer": "correct the decimals in the addresses file",
    "DecimalsOutOfRange": "omit this token",
    "TargetsDoNotSumToOne": "make the targets add up to exactly 100 %",
    "BandOutOfRange": "choose a band between minimum and maximum",
    "SlippageOutOfRange": "choose start_slippage_bps up to max_slippage_bps, and max_slippage_bps up to the maximum",
    "RampOutOfRange": "choose a slippage_ramp_seconds of at least the minimum",
    "ProgressOutOfRange": "choose a min_progress_bps between minimum and maximum",
    "BudgetOutOfRange": "choose a budget up to the maximum",
    "DustBelowMinimum": "set dust_bps to at least 1: with 0, a rounding loss of one unit would block a trade",
    "BudgetBelowProgress": "raise this budget to the needed value, or lower min_progress_bps (or max_slippage_bps); "
    "with a smaller budget, a large drift could never be corrected",
    "PeriodOutOfRange": "choose a period of at least the minimum",
    "PolicyLooser": "tighten this field or leave it unchanged; only the owner can loosen it, after its delay",
    "PolicyDiffers": "leave this field unchanged; only the owner can change it, after its delay",
    "UnpricedAsset": "set a working feed for this token in the OracleHub, or omit the token",
    "FailedDeployment": "this account already created a vault with this salt; choose another salt",
    # feeds
    "FeedDecimals": "give the feed's own decimals, or check that this is the right feed",
    "UnsoundFeed": "name the right feed, or wait for its next answer",
    "UnsoundSource": "name the right second source, or wait until it agrees with the feed",
    "NoParams": "give the adapter's parameters, or set a plain feed by setFeed",
    "ParamsLength": "give the packed parameters that the adapter's header lists",
    "SourceOfOthers": "name a pool of this token and its quote, or the ERC-4626 vault that is the token",
    "SharedSource": "name a second source that does not depend on that feed or quote",
    "WindowTooShort": "choose a window of at least the minimum",
    "DivergenceOutOfRange": "choose a limit from 1 to the maximum",
    "NoFeedToTighten": "the token has no feed; only the owner can set one",
    "HeartbeatLoosened": "give at most the current heartbeat; only the owner can set a longer one, after its delay",
    "PriceRangeLoosened": "stay inside the current range; only the owner can set a wider one, after its delay",
    "DivergenceLoosened": "give at most the current limit; only the owner can set a higher one, after its delay",
    # rights
    "AccessManagedUnauthorized": "use an account that holds the role, or ask an admin to grant it",
    "AccessManagerUnauthorizedAccount": "use an account that holds the role",
    "AccessManagerUnauthorizedCancel": "only the account that scheduled it, its guardian or an admin can cancel it",
    "AccessManagerNotReady": "the delay is not over yet; try again later",
    "AccessManagerNotScheduled": "schedule the call first, from the account that will make it",
    "AccessManagerExpired": "the scheduled call expired after one week; schedule it again",
    "AlreadyAssigned": "the vault has its roles already",
    "VaultOlder": "the vault is older than the system's role table; an admin must assign its roles",
    "HasRoles": "an admin assigned roles of this vault by hand; an admin must assign the rest",
    "HasAdminDelay": "an admin set a delay of this vault by hand; an admin must assign its roles",
    "VaultClosed": "an admin closed the vault; an admin must open it and assign its roles",
    # exchanges
    "NoReason": _SILENT,
    "Error": _SILENT,
}


def sentence(error: RebalancerError) -> str:
    """One sentence: the problem and its remedy. Refusals of the policy have the names of the contract's errors."""
    if not isinstance(error, ContractReverted | PolicyRefused):
        return str(error)
    what = str(error).removesuffix(".")
    advice = _ADVICE.get(error.error, "no state changed; see the contract's documentation of this error")
    return f"{what}: {advice}."
