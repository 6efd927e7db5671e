"""Advice for failures: the sentence that the command line shows for each."""

from __future__ import annotations

from collections.abc import Mapping

from rebalancer.errors import ContractReverted, PolicyRefused, RebalancerError

__all__ = ["sentence"]

_SILENT = "a token or exchange says no more; check balances and allowances, or run `rebalancer doctor`"

_ADVICE: Mapping[str, str] = {
    # tokens
    "ERC20InsufficientBalance": "ask for less, or send the account more of the token",
    "ERC20InsufficientAllowance": "approve at least what is needed and try again",
    "EnforcedPause": "the token is paused; wait until its issuer lets it move again",
    # shares
    "ZeroShares": "say how many shares, above 0",
    "SupplyTooLarge": "ask for fewer shares",
    "AmountAboveMaximum": "its price in kind has moved; try again, or allow more with --tolerance-bps",
    "AmountBelowMinimum": "its worth in kind has moved; try again, or allow more with --tolerance-bps",
    "TransferNotExact": "the token takes a fee or rebases, and such tokens do not fit a basket",
    "NotEnoughGas": "send it with a higher gas limit",
    "SameTransaction": "do the two things in two transactions",
    "NotTheClaimant": "have it paid to its holder, or use the holder's account",
    "NothingToClaim": "name the holder of a claim, or another token",
    "ClaimFailed": "the token still cannot be sent; try again later or to another receiver",
    "SharesBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "AmountOutBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "CostsMore": "prices have moved; try again, or allow more with --slippage-bps",
    "DeadlinePassed": "it waited too long to be mined; try again",
    "HoldingTooLarge": "ask for less: a vault holds less than 2^120 raw units of a token",
    "ReentrancyGuardReentrantCall": "the vault is in the middle of a call; make this one after it",
    # losses
    "LossNotWrittenDown": "write the loss down first (`rebalancer vault sync`); a keeper does so by itself",
    "NothingLost": "the vault has all that it owes of this asset; there is nothing to write down",
    "PurchaseBarred": "the asset lost balance; the owner allows its purchases again (allowPurchases), after its delay",
    "PurchaseNotBarred": "the asset may be bought already",
    "GiftTooSmall": "absorb no more than was given",
    # trades
    "RebalanceIsPaused": "the owner lets trading run again (resumeRebalance), after its delay",
    "WrongEpoch": "another rebalance or a change of the configuration came first; look again",
    "SaleWithoutSurplus": "sell only what is above its target",
    "BuyWithoutDeficit": "buy only what is below its target",
    "NothingSold": "sell something, and do not hand all of it back",
    # auctions
    "BadAuction": "give a lot, a floor up to the start, a time to fall, and an end more than 6 hours from now",
    "NoAuction": "the owner starts one first, or it is over",
    "OracleIsSound": "the oracle prices both assets, so a rebalance trades them and no auction is needed",
    "AuctionNotOpen": "bids begin then, if somebody calls pokeAuction at least every 30 minutes until then",
    "AuctionTermsVoid": "a price source was changed after the terms were made; the owner starts a new auction",
    # configuration
    "SeedTooSmall": "give at least the minimum of this asset, or none of it",
    "SameToken": "they are one token under two addresses; list it once",
    "FeeOutOfRange": "choose a fee up to the maximum",
    "BadFeeRecipient": "name who gets the fee; the vault itself cannot",
    "BadName": "name and symbol have 1 to 31 bytes",
    "DuplicateAsset": "name every token once",
    "NotAToken": "there is no contract at this address; check the address and the chain",
    "DecimalsDiffer": "correct the decimals in the addresses file",
    "DecimalsOutOfRange": "leave this token out",
    "TargetsDoNotSumToOne": "make the targets add up to exactly 100 %",
    "BandOutOfRange": "choose a band between minimum and maximum",
    "SlippageOutOfRange": "let start_slippage_bps not exceed max_slippage_bps, and that not the maximum",
    "RampOutOfRange": "choose a slippage_ramp_seconds from the minimum on",
    "ProgressOutOfRange": "choose a min_progress_bps between minimum and maximum",
    "BudgetOutOfRange": "choose a budget up to the maximum",
    "DustBelowMinimum": "set dust_bps to at least 1: without dust, one unit lost on a trade would forbid it",
    "BudgetBelowProgress": "raise this budget to what is needed, or lower min_progress_bps (or max_slippage_bps), "
    "or a large break could never be mended",
    "PeriodOutOfRange": "choose a period from the minimum on",
    "PolicyLooser": "tighten this field or leave it; the owner loosens it, after its delay",
    "PolicyDiffers": "leave this field as it is: tightening changes it neither way; the owner does, after its delay",
    "UnpricedAsset": "set a sound feed for this token in the OracleHub, or leave the token out",
    "FailedDeployment": "this account made a vault with this salt before; choose another salt",
    # feeds
    "FeedDecimals": "name the feed's own decimals, or check that it is the right feed",
    "UnsoundFeed": "name the right feed, or wait for its next answer",
    "UnsoundSource": "name the right second source, or wait until it agrees with the feed",
    "NoParams": "give the adapter's parameters, or set a plain feed by setFeed",
    "ParamsLength": "give the parameters that the adapter's header lists, packed",
    "SourceOfOthers": "name a pool of this token and its quote, or the ERC-4626 vault that is the token",
    "SharedSource": "name a second source that does not rest on that feed or quote",
    "WindowTooShort": "average over at least the minimum",
    "DivergenceOutOfRange": "choose a limit from 1 to the maximum",
    "NoFeedToTighten": "the token has no feed; only the owner can set one",
    "HeartbeatLoosened": "give at most the present heartbeat; the owner sets a longer one, after its delay",
    "PriceRangeLoosened": "stay inside the present range; the owner sets a wider one, after its delay",
    "DivergenceLoosened": "give at most the present limit; the owner sets a higher one, after its delay",
    # rights
    "AccessManagedUnauthorized": "use an account that holds the role, or have the owner grant it",
    "AccessManagerUnauthorizedAccount": "use an account that holds the role",
    "AccessManagerUnauthorizedCancel": "only who scheduled it, its guardian or an admin can cancel it",
    "AccessManagerNotReady": "the delay is not over yet; try again later",
    "AccessManagerNotScheduled": "schedule it first, as the account that is to make the call",
    "AccessManagerExpired": "it waited for more than a week; schedule it anew",
    "AlreadyAssigned": "the vault has its roles already",
    "VaultOlder": "an admin hands over a vault that is older than the table of roles",
    "HasRoles": "an admin arranged the vault by hand; an admin hands over the rest",
    "HasAdminDelay": "an admin arranged the vault by hand; an admin hands over the rest",
    "VaultClosed": "an admin closed the vault; an admin opens it and hands it over",
    # exchanges
    "NoReason": _SILENT,
    "Error": _SILENT,
}


def sentence(error: RebalancerError) -> str:
    """One sentence: what is wrong, and what to do. The policy's refusals have the names of the contract's errors."""
    if not isinstance(error, ContractReverted | PolicyRefused):
        return str(error)
    what = str(error).removesuffix(".")
    advice = _ADVICE.get(error.error, "nothing was changed; see the contract's error for its meaning")
    return f"{what}: {advice}."
