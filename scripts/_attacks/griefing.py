"""What can somebody spoil who gains nothing by it, and what do holders keep when a token turns against the vault? Promise A."""

from __future__ import annotations

from collections.abc import Callable

from rebalancer.chain.abi import Contract, interface
from rebalancer.deploy import assign_vault_roles
from rebalancer.devnet.market import USDC, WBTC
from rebalancer.devnet.stage import Actor
from rebalancer.units import E18
from scripts._attacks.field import Field, Result, Tally, act

__all__ = ["barred_tokens", "griefing", "losses_shared"]

_MOST_ASSETS = 16


def griefing(field: Field) -> list[Result]:
    """Dust and gas."""
    results = []
    for scenario in (_dust, _gas):
        with field.undone():
            results.append(scenario(field))
    return results


def _dust(field: Field) -> Result:
    """A unit of every token, again and again, and the same deposit, redemption and rebalance after it as before."""
    vault = field.vault
    tally = Tally()
    with field.counted(tally):
        gifts = [act(t, "transfer", vault.address, 1) for t in field.tokens.values()]
        field.pull(gifts * 100)
        field.mint(field.holder, 10**6)
        field.redeem(field.holder, 10**6)
    field.move({"ETH": 2_200 * 10**8})
    fill = field.worst_fill()
    if fill is None:
        raise AssertionError("the scenario must break a band")
    field.keep_what_it_can(fill)  # raises if dust stood in the way
    return Result(
        "griefing by dust: 300 gifts of one unit",
        "A, E",
        "minting, redeeming and rebalancing go on",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _gas(field: Field) -> Result:
    """Sixteen tokens, each of which burns all the gas a transfer gets: what redeeming costs, and what it leaves."""
    owner, holder = Actor.OWNER.address, field.holder
    tokens = [field.new_token("GasBurnerToken", 18, 1, owner=owner) for _ in range(_MOST_ASSETS)]
    each_usd = 10**6 // _MOST_ASSETS
    seeds = [field.raw(token.address, each_usd) for token in tokens]
    vault = field.new_vault(tokens, seeds, 10**6 * E18, owner=owner)
    half = 10**6 * E18 // 2
    field.send(vault, "transfer", holder, half, sender=owner)
    for token in tokens:
        field.send(token, "setBroken", True, sender=field.thief)
    tally = Tally()
    with field.counted(tally, vault):
        receipt = field.redeem(holder, half, vault)
    claims = [field.read(vault, "claimable", holder, token.address) for token in tokens]
    if claims != [seed // 2 for seed in seeds]:
        raise AssertionError(f"every token must have become a claim of half: {claims}")
    return Result(
        f"griefing by gas: {_MOST_ASSETS} tokens that burn all they get",
        "A",
        f"redeeming takes {-(-receipt.gas_used // 10**6)} million gas at most and leaves {len(claims)} claims",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


# Tokens that turn against the vault


def barred_tokens(field: Field) -> list[Result]:
    """An issuer shuts the vault or a holder out, or stops its token: what one holder of half the vault takes out, and when."""
    usdc = interface("BlocklistToken").at(USDC.address)
    wbtc = interface("PausableToken").at(WBTC.address)
    vault, holder = field.vault.address, field.holder
    cases = (
        ("the vault is on USDC's blocklist", usdc, ("blacklist", vault), ("unBlacklist", vault)),
        ("the holder is on USDC's blocklist", usdc, ("blacklist", holder), ()),
        ("WBTC is paused", wbtc, ("pause",), ("unpause",)),
    )
    results = []
    for what, token, bar, unbar in cases:
        with field.undone():
            results.append(_barred(field, what, token, bar, unbar))
    return results


def _barred(
    field: Field, what: str, token: Contract, bar: tuple[str, ...], unbar: tuple[str, ...]
) -> Result:
    holder, vault = field.holder, field.vault
    receiver = field.chain.accounts[11]
    assets = [asset.token for asset in field.look().basket.assets]
    due = field.read(vault, "previewRedeemInKind", field.read(vault, "balanceOf", holder))
    due_e18 = sum(field.value_e18(a, amount) for a, amount in zip(assets, due, strict=True))

    def has_e18(account: str) -> int:
        return sum(
            field.value_e18(a, field.read(interface("MockToken").at(a), "balanceOf", account))
            for a in assets
        )

    before = has_e18(holder)
    _, everything, _ = field.worths_e18(vault)
    field.send(token, *bar, sender=field.thief)
    field.redeem(holder, field.read(vault, "balanceOf", holder))
    at_once = has_e18(holder) - before
    claim = field.value_e18(token.address, field.read(vault, "claimable", holder, token.address))
    if unbar:
        field.send(token, *unbar, sender=field.thief)
    # One whom the issuer has shut out can still name another account.
    field.send(vault, "claim", token.address, receiver, sender=holder)
    in_the_end = at_once + has_e18(receiver)
    _, left, _ = field.worths_e18(vault)
    how = "when the ban ends" if unbar else "by another account, at once"
    return Result(
        f"barred token: {what}",
        "A",
        f"a holder gets {_percent(at_once, due_e18)} at once, {_percent(claim, due_e18)} as a claim, "
        f"{_percent(in_the_end, due_e18)} {how}",
        0,
        everything - left - in_the_end,
        0,
    )


def _percent(part_e18: int, whole_e18: int) -> str:
    return f"{part_e18 * 100 / whole_e18:.2f} %"


def losses_shared(field: Field) -> list[Result]:
    """A token loses balance in the vault: can one holder leave the loss to the others?"""
    return [
        _before_a_loss(field),
        _after_a_loss(field),
        _returned(field),
    ]


_LOST_PERCENT = 20
_THIEF_PERCENT = 50


_HALF_SHARES = 500_000 * E18


def _rebasing_vault(
    field: Field, *, shared: bool = True
) -> tuple[Contract, Contract, list[Contract]]:
    """A vault of a plain and a rebasing token, half of whose shares are the thief's if it is shared."""
    owner = Actor.OWNER.address
    plain = field.new_token("MockToken", 18, 1, owner=owner)
    rebasing = field.new_token("RebasingToken", 18, 1, owner=owner)
    tokens = [plain, rebasing]
    seeds = [field.raw(token.address, 250_000) for token in tokens]
    vault = field.new_vault(tokens, seeds, _HALF_SHARES, owner=owner)
    if shared:
        field.mint(field.thief, _HALF_SHARES, vault)
    return vault, rebasing, tokens


def _leave(
    field: Field,
    before: Callable[[Contract], None],
    after: Callable[[Contract, Contract], None],
) -> tuple[int, int]:
    """What thief and others have in the end, USD * 1e18, if the rebasing token loses a fifth of every balance in between.

    The thief's own tokens of that kind are put where nothing is lost, so that only the vault's loss counts.
    """
    with field.undone():
        vault, rebasing, _ = _rebasing_vault(field)
        for account in (field.thief, field.puppet.address):
            held = field.read(rebasing, "balanceOf", account)
            field.send(rebasing, "burn", account, held, sender=field.thief)
        before(vault)
        factor = E18 * (100 - _LOST_PERCENT) // 100
        field.send(rebasing, "setFactor", factor, sender=field.thief)
        after(vault, rebasing)
        mine, others, _ = field.worths_e18(vault)
        return mine, others


def _fair(field: Field) -> tuple[int, int]:
    """What both have if the loss is written down before anybody leaves."""

    def leave(vault: Contract, _rebasing: Contract) -> None:
        field.send(vault, "sync", 1, sender=field.thief)
        field.redeem(field.thief, _HALF_SHARES, vault)

    return _leave(field, lambda _vault: None, leave)


def _before_a_loss(field: Field) -> Result:
    """Redeem just before, leave the token as a claim: claims are paid before the ledger."""
    thief = field.thief

    def skip(vault: Contract) -> None:
        field.send(
            vault, "redeemInKindExcept", _HALF_SHARES, thief, thief, [0, 0], 0b10, sender=thief
        )

    def collect(vault: Contract, rebasing: Contract) -> None:
        field.send(vault, "claim", rebasing.address, thief, sender=thief)

    return _compared(
        field,
        "a holder of half knows of a 20 % loss of one token ahead: redeems, and leaves that token as a claim",
        _leave(field, skip, collect),
    )


def _after_a_loss(field: Field) -> Result:
    """Redeem just after, before anybody has written the loss down."""

    def redeem(vault: Contract, _rebasing: Contract) -> None:
        field.redeem(field.thief, _HALF_SHARES, vault)

    return _compared(
        field,
        "a holder of half redeems just after a 20 % loss of one token, before anybody calls sync",
        _leave(field, lambda _vault: None, redeem),
    )


def _returned(field: Field) -> Result:
    """A loss is written down, the thief mints, what was lost is returned, and governance absorbs it for all."""
    owner = Actor.OWNER.address
    with field.undone():
        vault, _, (token, _) = _rebasing_vault(field, shared=False)
        assign_vault_roles(field.account(owner), field.stage.system, vault.address)
        mine, others, _ = field.worths_e18(vault)
        lost = field.read(vault, "held")[0] * _LOST_PERCENT // 100
        field.send(token, "burn", vault.address, lost, sender=field.thief)
        field.send(vault, "sync", 0, sender=field.thief)
        field.mint(field.thief, _HALF_SHARES, vault)
        field.send(token, "mint", vault.address, lost, sender=field.thief)
        field.send(vault, "absorb", 0, lost, sender=owner)
        field.redeem(field.thief, _HALF_SHARES, vault)
        mine_after, others_after, _ = field.worths_e18(vault)
    return Result(
        "20 % of one token is lost, written down, returned and absorbed; in between somebody mints as much as there is",
        "none",
        "whoever holds shares when governance absorbs shares in it",
        mine_after - mine,
        others - others_after,
        None,
        "a token that loses balance breaks an assumption",
    )


def _compared(field: Field, attack: str, ended: tuple[int, int]) -> Result:
    mine, others = _fair(field)
    return Result(
        attack,
        "none",
        "against all bearing the loss alike",
        ended[0] - mine,
        others - ended[1],
        None,
        "a token that loses balance breaks an assumption",
    )
