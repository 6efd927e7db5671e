"""Attacks on a vault in which a token loses balance: a loss left to others, or paid by later purchases.

All holders and claimants share a loss in proportion, whatever they do first: an attacker's gain is counted against
that.
"""

from __future__ import annotations

from collections.abc import Callable

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.environment import Actor
from rebalancer.devnet.market import USDC
from rebalancer.errors import ContractReverted
from rebalancer.units import BPS, E18
from scripts.attacks.field import DAY, AttackEnv, Result, Tally
from scripts.attacks.search import best, best_of

__all__ = ["bought_again", "losses_shared"]

_HALF_SHARES = 500_000 * E18
_SIDE_USD = 250_000
_ROUNDING_E18 = 16
"""A dollar has 1e18 units here: mint, redeem, write-down and claim may each round by one unit of either token."""
_PIPS = 10**6
_LOSSES_PIPS = (7, 999_999)
_PARTS_PIPS = (7, _PIPS)
_ODD_RAW = 123_456_789
"""Makes amounts odd."""


def losses_shared(env: AttackEnv) -> list[Result]:
    """Leave before or after a loss, let others mint into it, have claims paid by later purchases, have the backing of
    claims sold, and capture returned tokens."""
    results = []
    for scenario in (
        *(_before_a_loss, _after_a_loss, _minted_into, _bought_later, _sold_behind_claims),
        _returned,
    ):
        with env.undone():
            results.append(scenario(env))
    return results


# The vault: a sound token and one that loses balance; half of the shares are the thief's


def _open(env: AttackEnv, *, shared: bool = True) -> tuple[BoundContract, list[BoundContract]]:
    """Replace the vault by one of a sound and a failing token; with `shared`, half of its shares are the thief's."""
    owner = Actor.OWNER.address
    tokens = [env.new_token("MockToken", 18, 1, owner=owner) for _ in range(2)]
    seeds = [env.raw(token.address, _SIDE_USD) + _ODD_RAW for token in tokens]
    env.vault = env.new_vault(tokens, seeds, _HALF_SHARES, owner=owner, with_roles=True)
    if shared:
        env.mint(env.thief, _HALF_SHARES)
    return tokens[1], tokens


def _lose(env: AttackEnv, failing: BoundContract, pips: int) -> None:
    """Remove these millionths of the vault's balance."""
    vault = env.vault.address
    lost = env.read(failing, "balanceOf", vault) * pips // _PIPS
    env.send(failing, "burn", vault, lost, sender=env.thief)


def _leave_as_claim(env: AttackEnv, pips: int) -> None:
    """Redeem these millionths of the thief's shares and leave the failing token as a claim."""
    thief = env.thief
    args = (_HALF_SHARES * pips // _PIPS, thief, thief, [0, 0], 0b10)
    env.send(env.vault, "redeemInKindExcept", *args, sender=thief)


def _resume(env: AttackEnv) -> None:
    """Resume rebalances and purchases, if stopped, as the owner after its delay."""
    for call in (("resumeRebalance",), ("allowPurchases", 1)):
        env.refused(env.send, env.vault, *call, sender=Actor.OWNER.address)


def _against_fair(env: AttackEnv, pips: int, play: Callable[[BoundContract], None]) -> tuple[int, int]:
    """Gain of the thief and loss of the others, compared with an equal share of the loss (millionths) for all."""
    with env.undone():
        failing, _ = _open(env)
        held_raw = env.read(env.vault, "held")[1]
        mine_before, others_before, _ = env.worths_e18(env.vault)
        each_e18 = env.value_e18(failing.address, held_raw * pips // _PIPS) // 2
        play(failing)
        mine, others, _ = env.worths_e18(env.vault)
    return mine + each_e18 - mine_before, others_before - each_e18 - others


def _searched(env: AttackEnv, attack: str, how: str, play: Callable[[int, int, BoundContract], None]) -> Result:
    """The worst loss, and the worst part of the thief's shares for an attack."""

    def played(parameters: tuple[int, ...]) -> tuple[int, int]:
        loss, part = parameters
        return _against_fair(env, loss, lambda failing: play(loss, part, failing))

    def gain(parameters: tuple[int, ...]) -> int | None:
        try:
            return played(parameters)[0]
        except ContractReverted:
            return None

    found = best(gain, [_LOSSES_PIPS, _PARTS_PIPS], points=5, rounds=2)
    gained_e18, lost_e18 = played(found)
    loss, part = found
    return Result(
        attack,
        "A",
        f"{how}: compared with an equal share of the loss for all, nothing pays; at its best {_percent(part)} of its shares, a loss of {_percent(loss)}",
        gained_e18,
        lost_e18,
        _ROUNDING_E18,
    )


def _percent(pips: int) -> str:
    return f"{pips / 10_000:.4g} %"


# Redemptions around a loss


def _before_a_loss(env: AttackEnv) -> Result:
    """Redeem just before the loss, and leave the token as a claim."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _leave_as_claim(env, part)
        _lose(env, failing, loss)
        env.claim(failing, env.thief)

    return _searched(
        env,
        "a holder of half knows of a loss of one token ahead: redeems, and leaves that token as a claim",
        "claims first",
        play,
    )


def _after_a_loss(env: AttackEnv) -> Result:
    """Redeem just after the loss, before the write-down."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _lose(env, failing, loss)
        env.redeem(env.thief, _HALF_SHARES * part // _PIPS)

    return _searched(
        env,
        "a holder of half redeems just after a loss of one token, before anybody calls sync",
        "redeems first",
        play,
    )


# Deposits and purchases after a loss


def _minted_into(env: AttackEnv) -> Result:
    """The thief has a claim on a token; the token loses balance; a newcomer mints as early as possible; the thief
    claims."""
    newcomer = env.chain.accounts[12]
    deposit_usd = 100_000

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, bool]:
        loss, part = parameters
        failing, tokens = _open(env)
        _leave_as_claim(env, part)
        _lose(env, failing, loss)
        for token in tokens:
            amount = env.raw(token.address, deposit_usd)
            env.send(token, "mint", newcomer, amount, sender=env.thief)

        def has_e18() -> int:
            held = [env.read(token, "balanceOf", newcomer) for token in tokens]
            return sum(map(env.value_e18, (token.address for token in tokens), held))

        before, mine = has_e18(), env.worths_e18(env.vault)[0]
        shares = deposit_usd * E18 // 2
        waits = env.refused(env.mint, newcomer, shares) == "LossNotWrittenDown"
        if waits:
            env.send(env.vault, "sync", 1, sender=newcomer)
            env.mint(newcomer, shares)
        env.claim(failing, env.thief)
        env.redeem(newcomer, shares)
        return Tally(env.worths_e18(env.vault)[0] - mine, before - has_e18()), waits

    found = best(env.harm_of(lambda parameters: attack(parameters)[0]), [_LOSSES_PIPS, _PARTS_PIPS], points=5, rounds=2)
    tally, waits = attack(found)
    return Result(
        "a newcomer mints before a loss is written down, while the thief has a claim on that token",
        "A, G1",
        f"a claim of {_percent(found[1])} of the thief's shares, a loss of {_percent(found[0])}; "
        + ("the mint is refused until the loss is written down" if waits else "the mint passes"),
        tally.gained_e18,
        tally.lost_e18,
        _ROUNDING_E18,
    )


def _bought_later(env: AttackEnv) -> Result:
    """The loss is written down, the owner allows purchases of the token again, and the thief then claims."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _leave_as_claim(env, part)
        _lose(env, failing, loss)
        env.send(env.vault, "sync", 1, sender=env.thief)
        _resume(env)
        fill = env.worst_fill(greed_bps=0)
        if fill is None:
            raise AssertionError("a loss must make room for purchases")
        # A stranger's contract fills it, not the thief's.
        impersonated, env.impersonated = env.impersonated, env.chain.deploy("ImpersonatedAccount")
        env.send(failing, "mint", env.impersonated.address, fill.buys[1] + 1, sender=env.thief)
        refusal = env.refused(env.keep_what_it_can, fill)
        env.impersonated = impersonated
        if refusal not in (None, "NoBandBroken"):
            raise AssertionError(f"the purchase must pass: {refusal}")
        env.claim(failing, env.thief)

    return _searched(
        env,
        "a loss is written down and the token bought again: earlier claims take the purchase",
        "claims after the purchase",
        play,
    )


def _sold_behind_claims(env: AttackEnv) -> Result:
    """The others have claims on a token; it loses balance and rises in price; a stolen keeper sells it before they
    collect."""
    claimant = env.chain.accounts[12]
    shares = _HALF_SHARES // 2

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, str]:
        loss, rise = parameters
        failing, tokens = _open(env)
        env.send(env.vault, "transfer", claimant, shares, sender=Actor.OWNER.address)
        args = (shares, claimant, claimant, [0, 0], 0b10)
        env.send(env.vault, "redeemInKindExcept", *args, sender=claimant)
        due_raw = env.read(env.vault, "claimable", claimant, failing.address)
        plain = env.raw(tokens[0].address, 10**6)
        env.send(tokens[0], "mint", env.impersonated.address, plain, sender=env.thief)
        _lose(env, failing, loss)
        env.reprice(failing.address, (100 + rise) * E18 // 100)
        mine = env.worths_e18(env.vault)[0]
        refusal = _sell(env) or "nothing"
        env.send(env.vault, "sync", 1, sender=env.thief)
        _resume(env)
        _sell(env)
        env.claim(failing, claimant)
        paid_raw = env.read(failing, "balanceOf", claimant)
        fair_raw = due_raw * (_PIPS - loss) // _PIPS
        tally = Tally(
            env.worths_e18(env.vault)[0] - mine,
            env.value_e18(failing.address, fair_raw - paid_raw),
        )
        return tally, refusal

    found = best(env.harm_of(lambda parameters: attack(parameters)[0]), [_LOSSES_PIPS, (5, 200)], points=5, rounds=2)
    tally, refusal = attack(found)
    return Result(
        "stolen keeper sells a token that lost balance while others have claims on it",
        "A",
        f"a loss of {_percent(found[0])}, then {found[1]} % more expensive; the sale is refused ({refusal}) until the loss is written down; "
        "what the claimant loses is counted, what the keeper gains is its slippage",
        tally.gained_e18,
        tally.lost_e18,
        _ROUNDING_E18,
    )


def _sell(env: AttackEnv) -> str | None:
    """The error of the keeper's worst trade; None if it succeeds."""
    fill = env.worst_fill()
    return env.refused(env.keep_what_it_can, fill) if fill is not None else None


_LOST_PERCENT = 20


def _returned(env: AttackEnv) -> Result:
    """A loss is written down, the thief mints, the lost tokens come back, and governance absorbs them for all
    holders."""
    owner = Actor.OWNER.address
    _, (token, _) = _open(env, shared=False)
    vault = env.vault
    mine, others, _ = env.worths_e18(vault)
    lost = env.read(vault, "held")[0] * _LOST_PERCENT // 100
    env.send(token, "burn", vault.address, lost, sender=env.thief)
    env.send(vault, "sync", 0, sender=env.thief)
    env.mint(env.thief, _HALF_SHARES)
    env.send(token, "mint", vault.address, lost, sender=env.thief)
    env.send(vault, "absorb", 0, lost, sender=owner)
    env.redeem(env.thief, _HALF_SHARES)
    mine_after, others_after, _ = env.worths_e18(vault)
    return Result(
        "20 % of one token is lost, written down, returned and absorbed; in between a thief mints as many shares as exist",
        "none",
        "all who hold shares at the absorption receive a part",
        mine_after - mine,
        others - others_after,
        None,
        "a returned token is a gift to them, also to a thief who mints during the owner's delay",
    )


# Seized, and bought again


_SEIZURE_DAYS = 20


def bought_again(env: AttackEnv) -> list[Result]:
    """USDC's issuer seizes the vault's balance day by day; the honest keeper writes losses down and restores the
    basket."""
    results = []
    with env.undone():
        results.append(_seized(env))
    return results


def _seized(env: AttackEnv) -> Result:
    usdc, vault = contract_at(env.chain.rpc, "BlocklistToken", USDC.address), env.vault
    owner = Actor.OWNER.address
    held_e18 = env.value_e18(USDC.address, env.read(vault, "held")[2])
    dust_bps = env.snapshot().policy.dust_bps

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        bps, resumes = parameters
        tally, bought = Tally(), 0
        with env.counted(tally):
            for _ in range(_SEIZURE_DAYS):
                env.move(seconds=DAY)
                seized = env.read(usdc, "balanceOf", vault.address) * bps // BPS
                env.send(usdc, "burn", vault.address, seized, sender=env.thief)
                env.send(usdc, "mint", env.thief, seized, sender=env.thief)
                env.refused(env.send, vault, "sync", 2, sender=env.rebalancer)
                if resumes:  # without allowing purchases
                    env.refused(env.send, vault, "resumeRebalance", sender=owner)
                fill = env.worst_fill(greed_bps=0)
                if fill is not None and not env.refused(env.keep_what_it_can, fill):
                    bought += 1
        return tally, bought

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters)[0].gained_e18

    (bps,) = best(lambda at: gain((*at, 0)), [(1, BPS)], points=6, rounds=2)
    found = best_of(gain, [(bps, 0), (bps, 1), (BPS, 1)])
    tally, bought = attack(found)
    return Result(
        f"seized token: USDC's issuer takes a part of the vault's balance every day for {_SEIZURE_DAYS} days; an honest keeper",
        "F",
        f"{found[0] / 100:g} % a day; {bought} purchases: the first loss above dust blocks them and pauses trading; "
        f"the owner {'resumes it' if found[1] else 'does not act'}",
        tally.gained_e18,
        tally.lost_e18,
        # The vault's balance, purchases while losses were still dust, and the continuing fee on shares.
        held_e18 * (BPS + dust_bps) // BPS + 10**6 * E18 * 50 * (_SEIZURE_DAYS + 1) // (365 * BPS),
    )
