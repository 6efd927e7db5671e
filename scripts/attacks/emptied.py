"""Attack on a newcomer in a vault that all others have left: promise E, and a performance fee on gains."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from rebalancer.chain.contracts import BoundContract
from rebalancer.operations.deploy import VaultFees
from rebalancer.units import BPS
from scripts.attacks.field import DAY, AttackEnv, Result, Tally, act, dollars
from scripts.attacks.search import best_of
from scripts.attacks.shares import LEAST_SEED_RAW, LEAST_SHARES

__all__ = ["emptied"]

_PERFORMANCE_BPS = 2_000
_DECIMALS = (0, 6, 18)
_LOOP = 100
"""Rounds of minting and redeeming the smallest amount that fit in one transaction."""


def emptied(env: AttackEnv) -> list[Result]:
    """The creator, who receives the fee, empties its vault, exploits rounding, and waits for a deposit of a million
    dollars."""
    results = []
    for decimals in _DECIMALS:
        with env.undone():
            results.append(_trap(env, decimals))
    return results


def _trap(env: AttackEnv, decimals: int) -> Result:
    tokens = [env.new_token("MockToken", decimals, 1, owner=env.thief) for _ in range(2)]
    authority = env.chain.account(env.thief).deploy("AccessManager", env.thief)
    system = replace(env.environment.system, authority=authority.address)
    newcomer = env.chain.accounts[12]
    each_raw = env.raw(tokens[0].address, 500_000)
    for token in tokens:
        env.send(token, "mint", newcomer, each_raw, sender=env.thief)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        """Returns the result of thief and newcomer, and the thief's loss by rounding before."""
        loops, keeps, larger, early = parameters
        mine = _worth_e18(env, tokens, env.thief, env.impersonated.address)
        vault = env.new_vault(
            tokens,
            [LEAST_SEED_RAW * larger] * 2,
            LEAST_SHARES * 10**6,
            owner=env.thief,
            system=system,
            fees=VaultFees(performance_bps=_PERFORMANCE_BPS),
            recipient=env.thief,
        )
        kept = env.read(vault, "balanceOf", env.thief) * keeps // 10**6
        env.redeem(env.thief, env.read(vault, "balanceOf", env.thief) - kept, vault)
        before = _worth_e18(env, tokens, env.thief, env.impersonated.address)
        for _ in range(loops):
            _round(env, vault, tokens)
        rounded = before - _worth_e18(env, tokens, env.thief, env.impersonated.address)
        env.wait(30 * DAY)
        if early:
            env.send(vault, "collectPerformanceFee", sender=env.thief)
            env.wait(30 * DAY)
        theirs = _worth_e18(env, tokens, newcomer)
        held, supply = env.read(vault, "held"), env.read(vault, "totalSupply")
        env.mint(newcomer, min(each_raw * supply // there for there in held), vault)
        if not early:
            env.send(vault, "collectPerformanceFee", sender=env.thief)
        for account in (newcomer, env.thief):
            shares = env.read(vault, "balanceOf", account)
            if shares:
                env.redeem(account, shares, vault)
        tally = Tally(
            _worth_e18(env, tokens, env.thief, env.impersonated.address) - mine,
            theirs - _worth_e18(env, tokens, newcomer),
        )
        return tally, rounded

    def harm(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters)[0].lost_e18

    found = best_of(harm, product((0, 1, 3), (0, 1, 1_000), (1, 1_000), (0, 1)))
    tally, rounded = attack(found)
    loops, keeps, larger, _ = found
    unit_e18 = env.value_e18(tokens[0].address, 1) + 1  # values round down
    return Result(
        f"emptied vault with a performance fee of 20 %, {decimals} decimals: a newcomer of a million dollars",
        "E, fee on gains",
        f"{_LOOP * loops} rounds of mint and redeem by the creator, who loses {dollars(rounded)} by them, a seed of "
        f"{LEAST_SEED_RAW * larger:,} units{f', {keeps / 10**4:g} % of it kept' if keeps else ''}",
        tally.gained_e18,
        tally.lost_e18,
        # A unit of each token at entry and exit, and the fee on the gain of the remaining holders by rounding.
        4 * unit_e18 + max(0, rounded) * _PERFORMANCE_BPS // BPS,
    )


def _round(env: AttackEnv, vault: BoundContract, tokens: list[BoundContract]) -> None:
    """Mint and redeem one share-wei; the vault keeps the rounding."""
    me = env.impersonated.address
    once = [
        act(vault, "mintInKind", 1, me, [2**255] * 2),
        act(vault, "redeemInKind", 1, me, me, [0, 0]),
    ]
    approve = [act(token, "approve", vault.address, 2**255) for token in tokens]
    env.pull(approve + once * _LOOP)


def _worth_e18(env: AttackEnv, tokens: list[BoundContract], *accounts: str) -> int:
    return sum(
        env.value_e18(token.address, env.read(token, "balanceOf", account)) for token in tokens for account in accounts
    )
