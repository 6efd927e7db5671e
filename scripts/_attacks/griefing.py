"""What can somebody spoil who gains nothing by it, and what do holders keep when a token turns against the vault? Promise A."""

from __future__ import annotations

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.devnet.market import USDC, WBTC
from rebalancer.devnet.stage import Actor
from rebalancer.errors import ContractReverted
from rebalancer.units import BPS, E18
from scripts._attacks.field import MILLION, Field, Result, Tally, act, dollars
from scripts._attacks.search import best
from scripts._attacks.stolen_keeper import break_ether_up, honest_plan

__all__ = ["barred_tokens", "griefing"]

_MOST_ASSETS = 16


def griefing(field: Field) -> list[Result]:
    """Dust, gas, a redemption just ahead of the keeper, and a gift of a token just ahead of its addition."""
    results = []
    for scenario in (_dust, _gas, _ahead_of_the_keeper, _ahead_of_an_addition):
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


def _ahead_of_the_keeper(field: Field) -> Result:
    """The keeper sells all of the surplus it saw; somebody redeems in between, so that there is less of it."""
    break_ether_up(field)
    asked, plan = honest_plan(field)
    spoiler = field.chain.accounts[12]
    field.send(field.vault, "transfer", spoiler, 200_000 * E18, sender=field.holder)
    total_e18 = field.worths_e18(field.vault)[2]
    sold_e18 = sum(map(field.value_e18, asked.tokens, plan.sales_raw))

    def attack(parameters: tuple[int, ...]) -> Tally:
        (cents,) = parameters
        tally = Tally()
        if cents:
            field.redeem(spoiler, cents * E18 // 100)
        with field.counted(tally, whole_e18=total_e18):
            field.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
        return tally

    def harm(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).lost_e18
            except ContractReverted:
                return None

    def stops(parameters: tuple[int, ...]) -> int | None:
        """The less it takes to have the keeper refused, the better; None if it is not."""
        with field.undone():
            refused = field.refused(attack, (_cents(*parameters),))
        return -parameters[0] if refused else None

    with field.undone():
        alone = attack((0,))
    found = best(harm, [(1, 2_000_000)], points=5, rounds=2)
    try:
        least = _cents(*best(stops, [(0, _DECADES * 10)], points=8, rounds=3))
        refused = f"refused only by a redemption of {least / 100:,.2f} dollars or more, at which a least purchase is missed"
    except ValueError:
        refused = "no redemption of up to 10 % of the vault has it refused"
    tally = attack(found)
    return Result(
        "griefing by a redemption of a cent, or more, just ahead of the keeper's rebalance",
        "G3; the plan's",
        f"the rebalance sells what is left of the surplus; {refused}",
        tally.gained_e18,
        tally.lost_e18,
        alone.lost_e18 + sold_e18 * asked.tolerance_bps // BPS * MILLION // total_e18,
        f"at worst {dollars(found[0] * E18 // 100)} dollars redeemed; unmolested it loses {dollars(alone.lost_e18)}",
    )


def _ahead_of_an_addition(field: Field) -> Result:
    """The owner adds a token; somebody has sent the vault as many units of it as it has of another, as if both were one token."""
    owner, vault = Actor.OWNER.address, field.vault
    token = field.new_token("MockToken", 18, 1, owner=owner)
    add = (token.address, 18, (100, 0, 0))
    with field.undone():
        if field.refused(field.send, vault, "addAsset", *add, sender=owner) is not None:
            raise AssertionError("without the gift it is added")
    gift = min(field.read(one, "balanceOf", vault.address) for one in field.tokens.values())
    tally = Tally()
    with field.counted(tally):
        field.send(token, "transfer", vault.address, gift, sender=field.thief)
        refusal = field.refused(field.send, vault, "addAsset", *add, sender=owner)
        # A unit more, in the transaction that adds it, and nobody can come between.
        field.grant(Role.OWNER, field.puppet.address)
        mend = act(token, "transfer", vault.address, 1)
        again = field.refused(field.pull, [mend, act(vault, "addAsset", *add)])
    return Result(
        "griefing by a gift of a token that the owner is about to add, of as many units as the vault has of another",
        "none" if refusal else "G3",
        f"{gift:,} units: refused ({refusal}), passes with a unit more sent in the same transaction"
        if refusal and not again
        else f"{gift:,} units: {refusal or 'it is added'}",
        tally.gained_e18,
        tally.lost_e18,
        None if refusal else 0,
        "costs the owner time, nobody money" if refusal else "",
    )


_DECADES = 7


def _cents(tenth: int) -> int:
    """From a cent to 10 % of the vault, in ten steps a decade."""
    return round(10 ** (tenth / 10))


# Tokens that turn against the vault


def barred_tokens(field: Field) -> list[Result]:
    """An issuer shuts the vault or a holder out, or stops its token: what one holder of half the vault takes out, and when."""
    usdc = contract_at(field.chain.rpc, "BlocklistToken", USDC.address)
    wbtc = contract_at(field.chain.rpc, "PausableToken", WBTC.address)
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
    field: Field, what: str, token: BoundContract, bar: tuple[str, ...], unbar: tuple[str, ...]
) -> Result:
    holder, vault = field.holder, field.vault
    receiver = field.chain.accounts[11]
    assets = [asset.token for asset in field.look().basket.assets]
    due = field.read(vault, "previewRedeemInKind", field.read(vault, "balanceOf", holder))
    due_e18 = sum(field.value_e18(a, amount) for a, amount in zip(assets, due, strict=True))

    def has_e18(account: str) -> int:
        return sum(
            field.value_e18(
                a, field.read(contract_at(field.chain.rpc, "MockToken", a), "balanceOf", account)
            )
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
    field.send(vault, "claim", holder, token.address, receiver, 2**255, sender=holder)
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
