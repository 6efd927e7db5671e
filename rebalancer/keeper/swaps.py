"""Swaps of a plan as calls: all of them in the vault's rebalance, or one by one to find those that the chain rejects.

Each swap is simulated as in a rebalance: the vault moves the tokens to the executor, which executes the one hop. One
`eth_simulateV1` runs all swaps in sequence, so that later swaps can use the output of earlier ones. The vault's own
rules are not part of it: if every swap works and the plan is still rejected, no pool is at fault. Nor is a pool at
fault if the executor rejects an empty route, which is tried first, or if the swap works for an account other than the
vault, because then the vault cannot receive the token.
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
"""Calls per swap: move the tokens sold, count the tokens bought, swap, count again, and swap what is left at the
executor for another account.
"""
_STEP_GAS = 5_000_000
"""Gas limit of each call. A block must fit only the gas that is used."""
_MOST_MISSING_BPS = 1
"""A pool that pays less than its quote by more than this does not match its cached state."""


@dataclass(frozen=True, slots=True)
class RoutedSwap:
    """A swap of a plan with its hop. `holder` is the contract that holds the pool's tokens."""

    swap: Swap
    hop: Hop
    holder: str


@dataclass(frozen=True, slots=True)
class FailedSwap:
    """A swap that the chain rejects. If `is_short`, it only pays less than its quote, which is the pool's fault unless
    somebody has traded meanwhile.

    `token`: the token that the vault cannot send to the executor or cannot receive, so that no pool is at fault; "" if
    the pool is at fault.
    """

    routed: RoutedSwap
    why: str
    token: str = ""
    is_short: bool = False
    may_be_the_vaults: bool = False
    """Whether it fails only in plans of this vault, so that the vault itself may be the cause."""


def rebalance_data(snapshot: VaultSnapshot, plan: Plan, executor: str) -> str:
    """Call data for a vault's rebalance by a plan, with the route executor at an address."""
    epoch, vault = snapshot.state.epoch, interface("BasketVault").at(snapshot.address)
    return vault.data("rebalance", epoch, plan.sales_raw, plan.min_buys_raw, executor, plan.route)


def failed_swaps(
    simulator: Simulator, vault: str, executor: str, other: str, plan: Plan
) -> tuple[FailedSwap, ...] | None:
    """The swaps of a plan that fail on the newest block; None if the node cannot simulate.

    A swap that lacks the output of an earlier failed swap is not among them. `other` is any account that can receive
    the tokens.

    Raises:
        ChainError: the node does not answer.
    """
    swaps = swaps_of(plan)
    token, runner = interface("IERC20Metadata"), interface("RouteExecutor").at(executor)
    calls = [(vault, executor, runner.data("executeRoute", b""))]
    for routed in swaps:
        swap = routed.swap
        route = encode([replace(routed.hop, amount_raw=0)])  # everything that was moved
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
    """Balance of the vault in tokens bought so far: it can move no more than that."""
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
            why = f"it pays {paid_raw} raw units, but its quote is {swap.amount_out_raw}"
            found.append(FailedSwap(routed, why, is_short=True))
        has_raw[swap.token_out] = _number(after)
    # If the executor cannot receive a token, a pool that pays in it is not at fault.
    barred = {one.token for one in found}
    return tuple(
        one for one in found if one.token or one.routed.hop.to_caller or one.routed.swap.token_out not in barred
    )


def swaps_of(plan: Plan) -> tuple[RoutedSwap, ...]:
    """The swaps of a plan in their order."""
    hops = decode(plan.route)
    return tuple(RoutedSwap(swap, hop, swap.pool.holder) for swap, hop in zip(plan.swaps, hops, strict=True))


def _last_reason(step: Simulated) -> str:
    return "it returned false" if step.refusal is None else str(step.refusal).rstrip(".")


def _number(step: Simulated) -> int:
    return int.from_bytes(step.returned)
