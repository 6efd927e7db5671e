"""A token loses balance in the vault: can anybody leave the loss to others, or have the vault buy again what is taken from it?

All bear a loss alike, holders and claimants, whoever acts first: what an attacker gains is counted against that.
"""

from __future__ import annotations

from collections.abc import Callable

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.market import USDC
from rebalancer.devnet.stage import Actor
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import assign_vault_roles
from rebalancer.units import BPS, E18
from scripts._attacks.field import DAY, Field, Result, Tally
from scripts._attacks.search import best, best_of

__all__ = ["bought_again", "losses_shared"]

_HALF_SHARES = 500_000 * E18
_SIDE_USD = 250_000
_ROUNDING_E18 = 16
"""A dollar has 1e18 units here: mint, redeem, write-down and claim may each round one of either token."""
_PIPS = 10**6
_LOSSES_PIPS = (7, 999_999)
_PARTS_PIPS = (7, _PIPS)
_ODD_RAW = 123_456_789
"""So that amounts are not round."""


def losses_shared(field: Field) -> list[Result]:
    """Leave before a loss or after it, let others mint into it, have claims paid by later purchases, have what backs claims sold, and catch what comes back."""
    results = []
    for scenario in (
        *(_before_a_loss, _after_a_loss, _minted_into, _bought_later, _sold_behind_claims),
        _returned,
    ):
        with field.undone():
            results.append(scenario(field))
    return results


# The vault: a sound token and one that will lose balance, half of the shares the thief's


def _open(field: Field, *, shared: bool = True) -> tuple[BoundContract, list[BoundContract]]:
    """The field's vault is now one of a sound and a failing token, half of whose shares are the thief's if it is shared."""
    owner = Actor.OWNER.address
    tokens = [field.new_token("MockToken", 18, 1, owner=owner) for _ in range(2)]
    seeds = [field.raw(token.address, _SIDE_USD) + _ODD_RAW for token in tokens]
    field.vault = field.new_vault(tokens, seeds, _HALF_SHARES, owner=owner)
    assign_vault_roles(field.account(owner), field.stage.system, field.vault.address)
    if shared:
        field.mint(field.thief, _HALF_SHARES)
    return tokens[1], tokens


def _lose(field: Field, failing: BoundContract, pips: int) -> None:
    """So many millionths of what the vault has are gone."""
    vault = field.vault.address
    lost = field.read(failing, "balanceOf", vault) * pips // _PIPS
    field.send(failing, "burn", vault, lost, sender=field.thief)


def _leave_as_claim(field: Field, pips: int) -> None:
    """The thief redeems so many millionths of its shares and leaves the failing token as a claim."""
    thief = field.thief
    args = (_HALF_SHARES * pips // _PIPS, thief, thief, [0, 0], 0b10)
    field.send(field.vault, "redeemInKindExcept", *args, sender=thief)


def _resume(field: Field) -> None:
    """The owner, after its delay, lets the vault trade and buy again, as far as either was stopped."""
    for call in (("resumeRebalance",), ("allowPurchases", 1)):
        field.refused(field.send, field.vault, *call, sender=Actor.OWNER.address)


def _against_fair(
    field: Field, pips: int, play: Callable[[BoundContract], None]
) -> tuple[int, int]:
    """What the thief gains and the others lose against all bearing a loss of so many millionths alike."""
    with field.undone():
        failing, _ = _open(field)
        held_raw = field.read(field.vault, "held")[1]
        mine_before, others_before, _ = field.worths_e18(field.vault)
        each_e18 = field.value_e18(failing.address, held_raw * pips // _PIPS) // 2
        play(failing)
        mine, others, _ = field.worths_e18(field.vault)
    return mine + each_e18 - mine_before, others_before - each_e18 - others


def _searched(
    field: Field, attack: str, how: str, play: Callable[[int, int, BoundContract], None]
) -> Result:
    """The worst loss and the worst part of the thief's shares to do something with."""

    def played(parameters: tuple[int, ...]) -> tuple[int, int]:
        loss, part = parameters
        return _against_fair(field, loss, lambda failing: play(loss, part, failing))

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
        f"{how}: against all bearing it alike, nothing pays; at its best {_percent(part)} of its shares, a loss of {_percent(loss)}",
        gained_e18,
        lost_e18,
        _ROUNDING_E18,
    )


def _percent(pips: int) -> str:
    return f"{pips / 10_000:.4g} %"


# Who leaves, when


def _before_a_loss(field: Field) -> Result:
    """Redeem just before, leave the token as a claim."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _leave_as_claim(field, part)
        _lose(field, failing, loss)
        field.claim(failing, field.thief)

    return _searched(
        field,
        "a holder of half knows of a loss of one token ahead: redeems, and leaves that token as a claim",
        "claims first",
        play,
    )


def _after_a_loss(field: Field) -> Result:
    """Redeem just after, before anybody has written the loss down."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _lose(field, failing, loss)
        field.redeem(field.thief, _HALF_SHARES * part // _PIPS)

    return _searched(
        field,
        "a holder of half redeems just after a loss of one token, before anybody calls sync",
        "redeems first",
        play,
    )


# Who pays for a hole


def _minted_into(field: Field) -> Result:
    """The thief has left a token as a claim; it loses balance; a newcomer mints, as soon as it may; the thief claims."""
    newcomer = field.chain.accounts[12]
    deposit_usd = 100_000

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, bool]:
        loss, part = parameters
        failing, tokens = _open(field)
        _leave_as_claim(field, part)
        _lose(field, failing, loss)
        for token in tokens:
            amount = field.raw(token.address, deposit_usd)
            field.send(token, "mint", newcomer, amount, sender=field.thief)

        def has_e18() -> int:
            held = [field.read(token, "balanceOf", newcomer) for token in tokens]
            return sum(map(field.value_e18, (token.address for token in tokens), held))

        before, mine = has_e18(), field.worths_e18(field.vault)[0]
        shares = deposit_usd * E18 // 2
        waits = field.refused(field.mint, newcomer, shares) == "LossNotWrittenDown"
        if waits:
            field.send(field.vault, "sync", 1, sender=newcomer)
            field.mint(newcomer, shares)
        field.claim(failing, field.thief)
        field.redeem(newcomer, shares)
        return Tally(field.worths_e18(field.vault)[0] - mine, before - has_e18()), waits

    def harm(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters)[0].lost_e18
            except ContractReverted:
                return None

    found = best(harm, [_LOSSES_PIPS, _PARTS_PIPS], points=5, rounds=2)
    tally, waits = attack(found)
    return Result(
        "a newcomer mints into a hole that is not written down, while the thief has a claim on that token",
        "A, G1",
        f"a claim of {_percent(found[1])} of the thief's shares, a loss of {_percent(found[0])}; "
        + ("the mint is refused until the loss is written down" if waits else "the mint passes"),
        tally.gained_e18,
        tally.lost_e18,
        _ROUNDING_E18,
    )


def _bought_later(field: Field) -> Result:
    """The loss is written down, the owner lets the vault buy the token again, and the thief then claims."""

    def play(loss: int, part: int, failing: BoundContract) -> None:
        _leave_as_claim(field, part)
        _lose(field, failing, loss)
        field.send(field.vault, "sync", 1, sender=field.thief)
        _resume(field)
        fill = field.worst_fill(greed_bps=0)
        if fill is None:
            raise AssertionError("a loss must make room for purchases")
        # Not the thief's puppet fills it, but a stranger's.
        puppet, field.puppet = field.puppet, field.chain.deploy("Puppet")
        field.send(failing, "mint", field.puppet.address, fill.buys[1] + 1, sender=field.thief)
        refusal = field.refused(field.keep_what_it_can, fill)
        field.puppet = puppet
        if refusal not in (None, "NoBandBroken"):
            raise AssertionError(f"the purchase must pass: {refusal}")
        field.claim(failing, field.thief)

    return _searched(
        field,
        "a loss is written down and the token bought again: claims from before take what was bought",
        "claims after the purchase",
        play,
    )


def _sold_behind_claims(field: Field) -> Result:
    """The others have left the token as claims; it loses balance and rises in price; a stolen keeper sells it before they collect."""
    claimant = field.chain.accounts[12]
    shares = _HALF_SHARES // 2

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, str]:
        loss, rise = parameters
        failing, tokens = _open(field)
        field.send(field.vault, "transfer", claimant, shares, sender=Actor.OWNER.address)
        args = (shares, claimant, claimant, [0, 0], 0b10)
        field.send(field.vault, "redeemInKindExcept", *args, sender=claimant)
        due_raw = field.read(field.vault, "claimable", claimant, failing.address)
        plain = field.raw(tokens[0].address, 10**6)
        field.send(tokens[0], "mint", field.puppet.address, plain, sender=field.thief)
        _lose(field, failing, loss)
        field.reprice(failing.address, (100 + rise) * E18 // 100)
        mine = field.worths_e18(field.vault)[0]
        refusal = _sell(field) or "nothing"
        field.send(field.vault, "sync", 1, sender=field.thief)
        _resume(field)
        _sell(field)
        field.claim(failing, claimant)
        paid_raw = field.read(failing, "balanceOf", claimant)
        fair_raw = due_raw * (_PIPS - loss) // _PIPS
        tally = Tally(
            field.worths_e18(field.vault)[0] - mine,
            field.value_e18(failing.address, fair_raw - paid_raw),
        )
        return tally, refusal

    def harm(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters)[0].lost_e18
            except ContractReverted:
                return None

    found = best(harm, [_LOSSES_PIPS, (5, 200)], points=5, rounds=2)
    tally, refusal = attack(found)
    return Result(
        "stolen keeper sells a token that lost balance from under the claims on it",
        "A",
        f"a loss of {_percent(found[0])}, then {found[1]} % dearer; the sale is refused ({refusal}) until the loss is written down; "
        "what the claimant loses is counted, what the keeper gains is its slippage",
        tally.gained_e18,
        tally.lost_e18,
        _ROUNDING_E18,
    )


def _sell(field: Field) -> str | None:
    """The keeper's worst trade; why it is refused."""
    fill = field.worst_fill()
    return field.refused(field.keep_what_it_can, fill) if fill is not None else None


_LOST_PERCENT = 20


def _returned(field: Field) -> Result:
    """A loss is written down, the thief mints, what was lost is returned, and governance absorbs it for all."""
    owner = Actor.OWNER.address
    _, (token, _) = _open(field, shared=False)
    vault = field.vault
    mine, others, _ = field.worths_e18(vault)
    lost = field.read(vault, "held")[0] * _LOST_PERCENT // 100
    field.send(token, "burn", vault.address, lost, sender=field.thief)
    field.send(vault, "sync", 0, sender=field.thief)
    field.mint(field.thief, _HALF_SHARES)
    field.send(token, "mint", vault.address, lost, sender=field.thief)
    field.send(vault, "absorb", 0, lost, sender=owner)
    field.redeem(field.thief, _HALF_SHARES)
    mine_after, others_after, _ = field.worths_e18(vault)
    return Result(
        "20 % of one token is lost, written down, returned and absorbed; in between somebody mints as much as there is",
        "none",
        "whoever holds shares when governance absorbs shares in it",
        mine_after - mine,
        others - others_after,
        None,
        "what comes back is a gift: whoever mints before the owner's delay is over shares in it",
    )


# Seized, and bought again


_SEIZURE_DAYS = 20


def bought_again(field: Field) -> list[Result]:
    """USDC's issuer takes what the vault has of it day by day; the honest keeper writes losses down and mends the basket."""
    results = []
    with field.undone():
        results.append(_seized(field))
    return results


def _seized(field: Field) -> Result:
    usdc, vault = contract_at(field.chain.rpc, "BlocklistToken", USDC.address), field.vault
    owner = Actor.OWNER.address
    held_e18 = field.value_e18(USDC.address, field.read(vault, "held")[2])
    dust_bps = field.look().policy.dust_bps

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        bps, resumes = parameters
        tally, bought = Tally(), 0
        with field.counted(tally):
            for _ in range(_SEIZURE_DAYS):
                field.move(seconds=DAY)
                seized = field.read(usdc, "balanceOf", vault.address) * bps // BPS
                field.send(usdc, "burn", vault.address, seized, sender=field.thief)
                field.send(usdc, "mint", field.thief, seized, sender=field.thief)
                field.refused(field.send, vault, "sync", 2, sender=field.rebalancer)
                if resumes:  # and does not allow purchases
                    field.refused(field.send, vault, "resumeRebalance", sender=owner)
                fill = field.worst_fill(greed_bps=0)
                if fill is not None and not field.refused(field.keep_what_it_can, fill):
                    bought += 1
        return tally, bought

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return attack(parameters)[0].gained_e18

    (bps,) = best(lambda at: gain((*at, 0)), [(1, BPS)], points=6, rounds=2)
    found = best_of(gain, [(bps, 0), (bps, 1), (BPS, 1)])
    tally, bought = attack(found)
    return Result(
        f"seized token: USDC's issuer takes a part of what the vault has every day for {_SEIZURE_DAYS} days; an honest keeper",
        "F",
        f"{found[0] / 100:g} % a day; {bought} purchases: the first loss above dust bars them and pauses trading, "
        f"the owner {'resumes it' if found[1] else 'is silent'}",
        tally.gained_e18,
        tally.lost_e18,
        # What there was of it, and what was bought again while losses were still dust; fees on shares go on.
        held_e18 * (BPS + dust_bps) // BPS + 10**6 * E18 * 50 * (_SEIZURE_DAYS + 1) // (365 * BPS),
    )
