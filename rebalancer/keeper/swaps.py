"""Swaps of a plan as calls: all of them by the vault's rebalance, and one by one to find those that the chain refuses.

Each swap is simulated as the vault would have it made: it moves what is sold to the executor, which makes that one hop. All go into one
`eth_simulateV1`, one after another, so that later ones have what earlier ones bring. The vault's own rules have no part in it:
where every swap works and the plan is refused all the same, no pool is at fault. Nor is one where the executor refuses a route
without any hop, which comes first; nor one whose swap works for another account than the vault, which then cannot have the token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rebalancer.chain.interfaces import interface
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.plan import Plan
from rebalancer.plan.swap import Swap
from rebalancer.route import Hop, decode, encode
from rebalancer.send.simulate import Simulated, Simulator, message
from rebalancer.units import BPS

__all__ = ["FailedSwap", "RoutedSwap", "failed_swaps", "rebalance_data", "swaps_of"]

_STEPS = 5
"""Calls a swap: what is sold is moved, what is bought is counted, the swap is made, what is bought is counted again, and what is still at the
executor is swapped for another account."""
_STEP_GAS = 5_000_000
"""Gas limit of each. Together they must fit a block only as far as they are used."""
_MOST_MISSING_BPS = 1
"""A pool that pays less than its quote by more is not what it is on paper."""


@dataclass(frozen=True, slots=True)
class RoutedSwap:
    """A leg of a plan with its hop. `holder` is the contract that holds the pool's tokens."""

    swap: Swap
    hop: Hop
    holder: str


@dataclass(frozen=True, slots=True)
class FailedSwap:
    """A swap that the chain refuses, or one that is only short: it pays less than its quote, which is the pool's fault as long as
    nobody has traded since.

    `token`: what the vault cannot send to the executor, or cannot be sent, for which no pool is at fault; "" where it is the pool.
    """

    routed: RoutedSwap
    why: str
    token: str = ""
    is_short: bool = False
    may_be_the_vaults: bool = False
    """Whether it shows only in plans of this vault, whose own trouble it may be."""


def rebalance_data(snapshot: VaultSnapshot, plan: Plan, executor: str) -> str:
    """Data of the call that has a vault trade as planned, by the route executor at an address."""
    epoch, vault = snapshot.state.epoch, interface("BasketVault").at(snapshot.address)
    return vault.data("rebalance", epoch, plan.sales_raw, plan.min_buys_raw, executor, plan.route)


def failed_swaps(
    simulator: Simulator, vault: str, executor: str, other: str, plan: Plan
) -> tuple[FailedSwap, ...] | None:
    """The swaps of a plan that do not work on the newest block, None where the node cannot tell.

    A swap of what an earlier one failed to bring is not among them. `other` is any account that tokens can be sent to.

    Raises:
        ChainError: the node does not answer.
    """
    swaps = swaps_of(plan)
    token, runner = interface("IERC20Metadata"), interface("RouteExecutor").at(executor)
    calls = [(vault, executor, runner.data("executeRoute", b""))]
    for routed in swaps:
        swap = routed.swap
        route = encode([replace(routed.hop, amount_raw=0)])  # all that was moved
        move = token.at(swap.token_in).data("transfer", executor, swap.amount_in_raw)
        count = vault, swap.token_out, token.at(swap.token_out).data("balanceOf", vault)
        run = executor, runner.data("executeRoute", route)
        calls += [(vault, swap.token_in, move), count, (vault, *run), count, (other, *run)]
    messages = [message(sender, to, data, _STEP_GAS) for sender, to, data in calls]
    answers = simulator.outcomes(messages)
    if answers is None:
        return None
    control, *answers = answers
    if control.refusal is not None:
        return ()
    has_raw: dict[str, int] = {}
    """What the vault has of tokens that were to be bought so far: it can move no more on."""
    found = []
    for at, routed in enumerate(swaps):
        swap = routed.swap
        moved, before, made, after, elsewhere = answers[_STEPS * at : _STEPS * (at + 1)]
        paid_raw = _number(after) - _number(before)
        if moved.refusal is not None or (moved.returned and not _number(moved)):
            if has_raw.get(swap.token_in, swap.amount_in_raw) >= swap.amount_in_raw:
                found.append(FailedSwap(routed, _last_reason(moved), swap.token_in))
        elif made.refusal is not None:
            token_out = "" if elsewhere.refusal is not None else swap.token_out
            found.append(FailedSwap(routed, _last_reason(made), token_out))
        elif paid_raw * BPS < swap.amount_out_raw * (BPS - _MOST_MISSING_BPS):
            why = f"it pays {paid_raw} raw units where its quote is {swap.amount_out_raw}"
            found.append(FailedSwap(routed, why, is_short=True))
        has_raw[swap.token_out] = _number(after)
    # A pool that cannot pay to an executor which cannot have the token is not at fault.
    barred = {one.token for one in found}
    return tuple(
        one for one in found if one.token or one.routed.hop.to_caller or one.routed.swap.token_out not in barred
    )


def swaps_of(plan: Plan) -> tuple[RoutedSwap, ...]:
    """The swaps of a plan in their order."""
    hops = decode(plan.route)
    return tuple(RoutedSwap(swap, hop, swap.pool.holder) for swap, hop in zip(plan.swaps, hops, strict=True))


def _last_reason(step: Simulated) -> str:
    return "it says no" if step.refusal is None else str(step.refusal).rstrip(".")


def _number(step: Simulated) -> int:
    return int.from_bytes(step.returned)
