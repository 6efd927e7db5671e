"""What is a person to do about a failure? The sentence that is shown for each."""

from __future__ import annotations

from collections.abc import Mapping

from rebalancer.errors import ContractReverted, RebalancerError

__all__ = ["sentence"]

_SILENT = (
    "a token or exchange says no more; check balances and allowances, or run `rebalancer doctor`"
)

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
    "ClaimFailed": "the token still cannot be sent; try again later or to another receiver",
    "SharesBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "AmountOutBelowMinimum": "prices have moved; try again, or allow more with --slippage-bps",
    "CostsMore": "prices have moved; try again, or allow more with --slippage-bps",
    "DeadlinePassed": "it waited too long to be mined; try again",
    # configuration
    "FeeOutOfRange": "choose a fee up to the maximum",
    "BadFeeRecipient": "name who gets the fee",
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
    "PeriodOutOfRange": "choose a period from the minimum on",
    "UnpricedAsset": "set a sound feed for this token in the OracleHub, or leave the token out",
    "FailedDeployment": "this account made a vault with this salt before; choose another salt",
    # feeds
    "FeedDecimals": "name the feed's own decimals, or check that it is the right feed",
    "UnsoundFeed": "name the right feed, or wait for its next answer",
    "UnsoundSource": "name the right second source, or wait until it agrees with the feed",
    "SourceOfOthers": "name a pool of this token and its quote, or the ERC-4626 vault that is the token",
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
    # exchanges
    "NoReason": _SILENT,
    "Error": _SILENT,
}


def sentence(error: RebalancerError) -> str:
    """One sentence: what is wrong, and what to do."""
    if not isinstance(error, ContractReverted):
        return str(error)
    what = str(error).removesuffix(".")
    advice = _ADVICE.get(
        error.error, "nothing was changed; see the contract's error for its meaning"
    )
    return f"{what}: {advice}."
