"""Pool faults: the pools that a keeper leaves out because the chain rejects swaps on them, for all vaults or for one.

When the chain rejects a plan, its swaps are simulated one by one (`rebalancer.keeper.swaps`). If the node cannot
simulate, plans without each pool are tried instead. A fault that may be the vault's own leaves the pool out for that
vault only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import structlog

from rebalancer.block import Block
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import ContractReverted, RpcRejected
from rebalancer.keeper.decide import Action, Conditions, Verdict
from rebalancer.keeper.outages import LeftOut, Outages, Scope
from rebalancer.keeper.resources import KeeperResources
from rebalancer.keeper.swaps import FailedSwap, failed_swaps, rebalance_data, swaps_of
from rebalancer.plan import Plan
from rebalancer.send.costs import estimate_gas

__all__ = ["PoolFaults", "uses"]

log = structlog.get_logger("rebalancer.keeper")

_MOST_POOLS_APART = 8
"""With more pools in a plan, no plans without each pool are tried."""


class PoolFaults:
    """The left-out pools of one chain. Not thread-safe."""

    def __init__(self, resources: KeeperResources) -> None:
        self.outages = Outages()
        """Pools left out for every vault."""
        self.unread: tuple[LeftOut, ...] = ()
        """Pools that the newest evaluation could not read."""
        self._rpc, self._context, self._signers = resources.rpc, resources.context, resources.signers
        self._evaluator, self._simulator = resources.evaluator, resources.simulator
        self._outages_of: dict[str, Outages] = {}
        """Pools left out for one vault only, because the fault may be the vault's own."""

    def forget(self) -> None:
        """Retry all pools at once."""
        self.outages.forget()
        self._outages_of.clear()

    def left_out(self, block: Block | None) -> tuple[LeftOut, ...]:
        """The pools that are left out at a block: they rejected swaps, or could not be read."""
        now = block.timestamp if block else 0
        of_vaults = [
            replace(one, subject=f"{one.subject} for {vault}")
            for vault, outages in self._outages_of.items()
            for one in outages.reported(outages.scopes(now))
        ]
        return (*self.outages.reported(self.outages.scopes(now)), *of_vaults, *self.unread)

    def without(self, block: Block, vault: str) -> frozenset[Scope]:
        """The pools that are left out for a vault."""
        of_all, of_it = self.outages.scopes(block.timestamp), self._outages_of.get(vault)
        return of_all if of_it is None else of_all | of_it.scopes(block.timestamp)

    def blame(self, block: Block, conditions: Conditions, verdict: Verdict, refusal: str) -> bool:
        """Leave out the pools whose swaps make the chain reject a plan with `refusal`; return whether there are any.

        Raises:
            ChainError: the chain could not be read.
        """
        plan = verdict.plan
        if plan is None:
            return False
        try:
            failed = self._failed_swaps(block, conditions, verdict, plan)
        except RpcRejected as rejected:
            log.warning("swaps_not_simulated", vault=verdict.vault, why=str(rejected))
            return False
        now = float(block.timestamp)
        for one in failed:
            swap, key = one.routed.swap, one.routed.swap.pool.key
            if one.token or one.may_be_the_vaults:
                scope = Scope("" if one.token else key, one.token)
                outages = self._outages_of.setdefault(verdict.vault, Outages())
                left_out = [outages.failed(scope, one.why, now)]
            else:
                ends = swap.token_in, swap.token_out
                left_out = self.outages.refused(key, one.routed.holder, ends, one.why, now)
            for each in left_out:
                log.warning(
                    "pool_left_out",
                    pool=each.subject,
                    vault=verdict.vault,
                    block=block.number,
                    why=each.why,
                    seconds=each.until - now,
                    refusal=refusal,
                )
        return bool(failed)

    def worked(self, verdict: Verdict) -> None:
        """Note that the chain accepts a plan: the pools in it that were left out before work again."""
        if verdict.plan is None:
            return
        for routed in swaps_of(verdict.plan):
            pool, ends = ((routed.swap.pool.key, routed.holder), (routed.swap.token_in, routed.swap.token_out))
            own = self._outages_of.get(verdict.vault, Outages())
            for scope in (*self.outages.worked(*pool, *ends), *own.worked(*pool, *ends)):
                log.info("pool_recovered", pool=str(scope), vault=verdict.vault)

    def _failed_swaps(self, block: Block, conditions: Conditions, verdict: Verdict, plan: Plan) -> Sequence[FailedSwap]:
        executor = self._context.system.executor
        other = self._signers[0].address
        failed = failed_swaps(self._simulator, verdict.vault, executor, other, plan)
        if failed is None:
            return self._failed_apart(block, conditions, verdict, plan)
        if any(one.is_short for one in failed) and read_block(self._rpc).hash != block.hash:
            return [one for one in failed if not one.is_short]  # others may have traded meanwhile
        return failed

    def _failed_apart(self, block: Block, conditions: Conditions, verdict: Verdict, plan: Plan) -> list[FailedSwap]:
        """Without a simulation of single swaps: the pools that no accepted plan uses, if the chain accepts plans
        without them.

        If the chain accepts no plan, the vault itself may be the cause, and no pool is blamed.
        """
        swaps = {routed.swap.pool.key: routed for routed in swaps_of(plan)}
        if not 1 < len(swaps) <= _MOST_POOLS_APART:
            return []
        left_out = self.without(block, verdict.vault)

        def sound(without: Collection[str]) -> set[str]:
            """The pools of a plan without some pools, if the chain accepts that plan."""
            scopes = left_out | {Scope(key) for key in without}
            found = self._evaluator.again(verdict.snapshot, conditions, scopes)
            if found is None or found.plan is None or found.step is not Action.REBALANCE:
                return set()
            data = rebalance_data(found.snapshot, found.plan, self._context.system.executor)
            try:
                estimate_gas(self._rpc, self._signers[0].address, verdict.vault, data)
            except ContractReverted:
                return set()
            return {swap.pool.key for swap in found.plan.swaps}

        passed = [sound([key]) for key in swaps]
        suspects = [key for key, found in zip(swaps, passed, strict=True) if found]
        if not suspects:  # several pools may be at fault
            passed = [sound(swaps.keys() - {key}) for key in swaps]
            suspects = list(swaps) if any(passed) else []
        innocent = set().union(*passed)
        why = "the chain accepts plans without it"
        return [FailedSwap(swaps[key], why, may_be_the_vaults=True) for key in suspects if key not in innocent]


def uses(plan: Plan, without: Collection[Scope]) -> bool:
    """Whether a plan uses a left-out pool."""
    return bool(without) and any(
        scope.covers(routed.swap.pool.key, routed.holder, [token.address for token in routed.swap.pool.tokens])
        for routed in swaps_of(plan)
        for scope in without
    )
