"""Sabotage without gain, and redemption with a hostile token: promise A."""

from __future__ import annotations

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import Actor
from rebalancer.devnet.market import USDC, WBTC
from rebalancer.units import BPS, E18
from scripts.attacks.field import MILLION, AttackEnv, Result, Tally, act, dollars
from scripts.attacks.search import best
from scripts.attacks.stolen_keeper import break_ether_up, honest_plan

__all__ = ["barred_tokens", "griefing"]

_MOST_ASSETS = 16


def griefing(env: AttackEnv) -> list[Result]:
    """Dust, gas, a redemption just before the keeper's trade, and a gift of a token just before its addition."""
    results = []
    for scenario in (_dust, _gas, _ahead_of_the_keeper, _ahead_of_an_addition):
        with env.undone():
            results.append(scenario(env))
    return results


def _dust(env: AttackEnv) -> Result:
    """Repeated gifts of one unit of every token, and the same deposit, redemption and rebalance after them as
    before."""
    vault = env.vault
    tally = Tally()
    with env.counted(tally):
        gifts = [act(t, "transfer", vault.address, 1) for t in env.tokens.values()]
        env.pull(gifts * 100)
        env.mint(env.holder, 10**6)
        env.redeem(env.holder, 10**6)
    env.move({"ETH": 2_200 * 10**8})
    fill = env.worst_fill()
    if fill is None:
        raise AssertionError("the scenario must break a band")
    env.keep_what_it_can(fill)  # reverts if dust blocks the trade
    return Result(
        "griefing by dust: 300 gifts of one unit",
        "A, E",
        "minting, redeeming and rebalancing go on",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _gas(env: AttackEnv) -> Result:
    """Sixteen tokens that each burn all gas of a transfer: the gas of a redemption, and what remains as claims."""
    owner, holder = Actor.OWNER.address, env.holder
    tokens = [env.new_token("GasBurnerToken", 18, 1, owner=owner) for _ in range(_MOST_ASSETS)]
    each_usd = 10**6 // _MOST_ASSETS
    seeds = [env.raw(token.address, each_usd) for token in tokens]
    vault = env.new_vault(tokens, seeds, 10**6 * E18, owner=owner)
    half = 10**6 * E18 // 2
    env.send(vault, "transfer", holder, half, sender=owner)
    for token in tokens:
        env.send(token, "setBroken", True, sender=env.thief)
    tally = Tally()
    with env.counted(tally, vault):
        receipt = env.redeem(holder, half, vault)
    claims = [env.read(vault, "claimable", holder, token.address) for token in tokens]
    if claims != [seed // 2 for seed in seeds]:
        raise AssertionError(f"every token must have become a claim of half: {claims}")
    return Result(
        f"griefing by gas: {_MOST_ASSETS} tokens that burn all gas they get",
        "A",
        f"redeeming takes {-(-receipt.gas_used // 10**6)} million gas at most and leaves {len(claims)} claims",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _ahead_of_the_keeper(env: AttackEnv) -> Result:
    """The keeper sells the whole surplus that it read; a redemption in between makes the surplus smaller."""
    break_ether_up(env)
    problem, plan = honest_plan(env)
    spoiler = env.chain.accounts[12]
    env.send(env.vault, "transfer", spoiler, 200_000 * E18, sender=env.holder)
    total_e18 = env.worths_e18(env.vault)[2]
    sold_e18 = sum(map(env.value_e18, problem.tokens, plan.sales_raw))

    def attack(parameters: tuple[int, ...]) -> Tally:
        (cents,) = parameters
        tally = Tally()
        if cents:
            env.redeem(spoiler, cents * E18 // 100)
        with env.counted(tally, whole_e18=total_e18):
            env.rebalance_by_route(plan.sales_raw, plan.min_buys_raw, plan.route)
        return tally

    def stops(parameters: tuple[int, ...]) -> int | None:
        """The smaller the amount that makes the keeper's call revert, the better; None if it succeeds."""
        with env.undone():
            refused = env.refused(attack, (_cents(*parameters),))
        return -parameters[0] if refused else None

    with env.undone():
        alone = attack((0,))
    found = best(env.harm_of(attack), [(1, 2_000_000)], points=5, rounds=2)
    try:
        least = _cents(*best(stops, [(0, _DECADES * 10)], points=8, rounds=3))
        refused = f"refused only by a redemption of {least / 100:,.2f} dollars or more, which misses a minimum purchase"
    except ValueError:
        refused = "no redemption of up to 10 % of the vault has it refused"
    tally = attack(found)
    return Result(
        "griefing by a redemption of a cent, or more, just before the keeper's rebalance",
        "G3; the plan's",
        f"the rebalance sells the rest of the surplus; {refused}",
        tally.gained_e18,
        tally.lost_e18,
        alone.lost_e18 + sold_e18 * problem.tolerance_bps // BPS * MILLION // total_e18,
        f"at worst {dollars(found[0] * E18 // 100)} dollars redeemed; without the attack it loses {dollars(alone.lost_e18)}",
    )


def _ahead_of_an_addition(env: AttackEnv) -> Result:
    """The owner adds a token; a saboteur has sent the vault as many units of it as it holds of another, as if both were
    one token."""
    owner, vault = Actor.OWNER.address, env.vault
    token = env.new_token("MockToken", 18, 1, owner=owner)
    add = (token.address, 18, (100, 0, 0))
    with env.undone():
        if env.refused(env.send, vault, "addAsset", *add, sender=owner) is not None:
            raise AssertionError("the owner must be able to add the token after the gift")
    gift = min(env.read(one, "balanceOf", vault.address) for one in env.tokens.values())
    tally = Tally()
    with env.counted(tally):
        env.send(token, "transfer", vault.address, gift, sender=env.thief)
        refusal = env.refused(env.send, vault, "addAsset", *add, sender=owner)
        # One unit more, in the transaction that adds it, so that no gift fits in between.
        env.grant(Role.OWNER, env.impersonated.address)
        mend = act(token, "transfer", vault.address, 1)
        again = env.refused(env.pull, [mend, act(vault, "addAsset", *add)])
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
    """From a cent to 10 % of the vault, in ten steps per factor of ten."""
    return round(10 ** (tenth / 10))


# Hostile tokens


def barred_tokens(env: AttackEnv) -> list[Result]:
    """An issuer blocks the vault or a holder, or pauses its token: what a holder of half the vault receives,
    and when."""
    usdc = contract_at(env.chain.rpc, "BlocklistToken", USDC.address)
    wbtc = contract_at(env.chain.rpc, "PausableToken", WBTC.address)
    vault, holder = env.vault.address, env.holder
    cases = (
        ("the vault is on USDC's blocklist", usdc, ("blacklist", vault), ("unBlacklist", vault)),
        ("the holder is on USDC's blocklist", usdc, ("blacklist", holder), ()),
        ("WBTC is paused", wbtc, ("pause",), ("unpause",)),
    )
    results = []
    for what, token, bar, unbar in cases:
        with env.undone():
            results.append(_barred(env, what, token, bar, unbar))
    return results


def _barred(env: AttackEnv, what: str, token: BoundContract, bar: tuple[str, ...], unbar: tuple[str, ...]) -> Result:
    holder, vault = env.holder, env.vault
    receiver = env.chain.accounts[11]
    assets = [asset.token for asset in env.snapshot().basket.assets]
    due = env.read(vault, "previewRedeemInKind", env.read(vault, "balanceOf", holder))
    due_e18 = sum(env.value_e18(a, amount) for a, amount in zip(assets, due, strict=True))

    def has_e18(account: str) -> int:
        return sum(
            env.value_e18(a, env.read(contract_at(env.chain.rpc, "MockToken", a), "balanceOf", account)) for a in assets
        )

    before = has_e18(holder)
    _, everything, _ = env.worths_e18(vault)
    env.send(token, *bar, sender=env.thief)
    env.redeem(holder, env.read(vault, "balanceOf", holder))
    at_once = has_e18(holder) - before
    claim = env.value_e18(token.address, env.read(vault, "claimable", holder, token.address))
    if unbar:
        env.send(token, *unbar, sender=env.thief)
    # A blocked holder can still name another receiver.
    env.send(vault, "claim", holder, token.address, receiver, 2**255, sender=holder)
    in_the_end = at_once + has_e18(receiver)
    _, left, _ = env.worths_e18(vault)
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
