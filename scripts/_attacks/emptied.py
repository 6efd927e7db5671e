"""What waits for a newcomer in a vault that everybody else has left? Promise E, and a performance fee on gains alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from rebalancer.chain.contracts import BoundContract
from rebalancer.operations.deploy import Fees
from rebalancer.units import BPS
from scripts._attacks.field import DAY, Field, Result, Tally, act, dollars
from scripts._attacks.search import best_of
from scripts._attacks.shares import LEAST_SEED_RAW, LEAST_SHARES

__all__ = ["emptied"]

_PERFORMANCE_BPS = 2_000
_DECIMALS = (0, 6, 18)
_LOOP = 100
"""Rounds of minting and redeeming next to nothing that fit in a transaction."""


def emptied(field: Field) -> list[Result]:
    """The creator, who is the fee's recipient, empties its vault, lets rounding work, and waits for a deposit of a million dollars."""
    results = []
    for decimals in _DECIMALS:
        with field.undone():
            results.append(_trap(field, decimals))
    return results


def _trap(field: Field, decimals: int) -> Result:
    tokens = [field.new_token("MockToken", decimals, 1, owner=field.thief) for _ in range(2)]
    authority = field.account(field.thief).deploy("AccessManager", field.thief)
    system = replace(field.stage.system, authority=authority.address)
    newcomer = field.chain.accounts[12]
    each_raw = field.raw(tokens[0].address, 500_000)
    for token in tokens:
        field.send(token, "mint", newcomer, each_raw, sender=field.thief)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        """Returns what thief and newcomer came to, and what rounding took from the thief before."""
        loops, keeps, larger, early = parameters
        mine = _worth_e18(field, tokens, field.thief, field.puppet.address)
        vault = field.new_vault(
            tokens,
            [LEAST_SEED_RAW * larger] * 2,
            LEAST_SHARES * 10**6,
            owner=field.thief,
            system=system,
            fees=Fees(performance_bps=_PERFORMANCE_BPS),
            recipient=field.thief,
        )
        kept = field.read(vault, "balanceOf", field.thief) * keeps // 10**6
        field.redeem(field.thief, field.read(vault, "balanceOf", field.thief) - kept, vault)
        before = _worth_e18(field, tokens, field.thief, field.puppet.address)
        for _ in range(loops):
            _round(field, vault, tokens)
        rounded = before - _worth_e18(field, tokens, field.thief, field.puppet.address)
        field.wait(30 * DAY)
        if early:
            field.send(vault, "collectPerformanceFee", sender=field.thief)
            field.wait(30 * DAY)
        theirs = _worth_e18(field, tokens, newcomer)
        held, supply = field.read(vault, "held"), field.read(vault, "totalSupply")
        field.mint(newcomer, min(each_raw * supply // there for there in held), vault)
        if not early:
            field.send(vault, "collectPerformanceFee", sender=field.thief)
        for account in (newcomer, field.thief):
            shares = field.read(vault, "balanceOf", account)
            if shares:
                field.redeem(account, shares, vault)
        tally = Tally(
            _worth_e18(field, tokens, field.thief, field.puppet.address) - mine,
            theirs - _worth_e18(field, tokens, newcomer),
        )
        return tally, rounded

    def harm(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return attack(parameters)[0].lost_e18

    found = best_of(harm, product((0, 1, 3), (0, 1, 1_000), (1, 1_000), (0, 1)))
    tally, rounded = attack(found)
    loops, keeps, larger, _ = found
    unit_e18 = field.value_e18(tokens[0].address, 1) + 1  # as values round down
    return Result(
        f"emptied vault with a performance fee of 20 %, {decimals} decimals: a newcomer of a million dollars",
        "E, fee on gains",
        f"{_LOOP * loops} rounds of mint and redeem by the creator, who loses {dollars(rounded)} by them, a seed of "
        f"{LEAST_SEED_RAW * larger:,} units{f', {keeps / 10**4:g} % of it kept' if keeps else ''}",
        tally.gained_e18,
        tally.lost_e18,
        # A unit of each token at the way in and out; and the fee on what rounding has brought to those who stayed.
        4 * unit_e18 + max(0, rounded) * _PERFORMANCE_BPS // BPS,
    )


def _round(field: Field, vault: BoundContract, tokens: list[BoundContract]) -> None:
    """Mints and redeems a share-wei, whose rounding is the vault's."""
    me = field.puppet.address
    once = [
        act(vault, "mintInKind", 1, me, [2**255] * 2),
        act(vault, "redeemInKind", 1, me, me, [0, 0]),
    ]
    approve = [act(token, "approve", vault.address, 2**255) for token in tokens]
    field.pull(approve + once * _LOOP)


def _worth_e18(field: Field, tokens: list[BoundContract], *accounts: str) -> int:
    return sum(
        field.value_e18(token.address, field.read(token, "balanceOf", account))
        for token in tokens
        for account in accounts
    )
