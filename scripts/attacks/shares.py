"""Attacks by minting and redeeming at the right moment: promise E, and harm to others that rely on a view."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import Actor
from rebalancer.units import E18
from scripts.attacks.field import AttackEnv, Result, Tally, act, bound_b_e18, dollars
from scripts.attacks.search import best, best_of

__all__ = [
    "LEAST_SEED_RAW",
    "LEAST_SHARES",
    "absorbed",
    "first_depositor",
    "in_and_out",
    "read_only_reentrancy",
    "retargeting",
]

_OTHER_TARGETS = [E18 // 10, E18 // 10, 8 * E18 // 10]


def retargeting(env: AttackEnv) -> list[Result]:
    """A stolen curator: a mint and redemption around its own change of targets; and, with a stolen keeper, a whole loss
    period."""
    results = []
    for scenario in (_retarget_with_mint, _retarget_and_trade):
        with env.undone():
            results.append(scenario(env))
    return results


def _retarget_with_mint(env: AttackEnv) -> Result:
    """Mint, change the targets, redeem: one transaction."""
    env.grant(Role.CURATOR, env.impersonated.address)
    vault, me = env.vault, env.impersonated.address

    def attack(parameters: tuple[int, ...]) -> Tally:
        percent, stable_percent = parameters
        shares = percent * 10**4 * E18
        targets = [(100 - stable_percent) * E18 // 200] * 2
        targets.append(E18 - sum(targets))
        most = [2**255] * 3
        acts = [act(token, "approve", vault.address, 2**255) for token in env.tokens.values()]
        acts += [
            act(vault, "mintInKind", shares, me, most),
            act(vault, *env.targets_call(targets)),
            act(vault, "redeemInKind", shares, me, me, [0, 0, 0]),
        ]
        tally = Tally()
        with env.counted(tally):
            env.pull(acts)
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    found = best(gain, [(1, 100_000), (10, 90)], points=5, rounds=2)
    tally = attack(found)
    return Result(
        "stolen curator mints, changes the targets and redeems, in one transaction",
        "none is diluted",
        f"{found[0]} % of all shares, {found[1]} % USDC",
        tally.gained_e18,
        tally.lost_e18,
        0,
    )


def _retarget_and_trade(env: AttackEnv) -> Result:
    """With the keeper's key as well, the thief breaks bands by targets, for a loss period without any price change."""
    policy = env.set_policy(turnover_budget_bps=20_000)
    env.grant(Role.CURATOR, env.thief)
    targets = [asset.target_e18 for asset in env.snapshot().basket.assets]
    tally = Tally()
    until = env.chain.now() + policy.loss_period_seconds
    flips = 0
    while env.chain.now() + policy.cooldown_seconds <= until:
        flips += 1
        env.set_targets(_OTHER_TARGETS if flips % 2 else targets, env.thief)
        fill = env.worst_fill()
        if fill is not None:
            with env.counted(tally):
                env.refused(env.keep_what_it_can, fill)
        env.move(seconds=policy.cooldown_seconds)
    return Result(
        "stolen curator and stolen keeper retarget back and forth, one loss period",
        "B",
        f"{flips} changes of target, {_OTHER_TARGETS[-1] * 100 // E18} % USDC and back",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def in_and_out(env: AttackEnv) -> list[Result]:
    """Rounding, a thousand times: mint and redeem the number of shares with the best rounding."""
    vault, me = env.vault, env.impersonated.address
    rounds = 100

    def attack(parameters: tuple[int, ...]) -> Tally:
        (shares,) = parameters
        acts = [act(token, "approve", vault.address, 2**255) for token in env.tokens.values()]
        once = [
            act(vault, "mintInKind", shares, me, [2**255] * 3),
            act(vault, "redeemInKind", shares, me, me, [0, 0, 0]),
        ]
        tally = Tally()
        with env.counted(tally):
            env.pull(acts + once * rounds)
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return attack(parameters).gained_e18

    with env.undone():
        found = best(gain, [(1, 10**13)], points=9, rounds=4)
        tally = attack(found)
    return [
        Result(
            "rounding: mint and redeem the smallest amounts",
            "none is diluted",
            f"{rounds} times {found[0]:.2g} share-wei",
            tally.gained_e18,
            tally.lost_e18,
            0,
        )
    ]


# The first depositor

LEAST_SEED_RAW = 100_000
LEAST_SHARES = 10**8
_DECIMALS = (0, 6, 8, 18, 27)
_DEPOSIT_USD = 10_000


def first_depositor(env: AttackEnv) -> list[Result]:
    """A vault created by the thief, with the smallest allowed seed and the thief's own authority, for all decimals."""
    results = []
    for decimals in _DECIMALS:
        with env.undone():
            results.append(_first_depositor(env, decimals))
    return results


def _first_depositor(env: AttackEnv, decimals: int) -> Result:
    """The thief gives tokens (and as owner absorbs them) just before a victim's deposit of 10,000 dollars; then both
    withdraw."""
    victim = env.holder
    tokens = [env.new_token("MockToken", decimals, 1, owner=env.thief) for _ in range(2)]
    authority = env.chain.account(env.thief).deploy("AccessManager", env.thief)
    system = replace(env.environment.system, authority=authority.address)
    for token in tokens:
        amount = env.raw(token.address, _DEPOSIT_USD)
        env.send(token, "mint", victim, amount, sender=env.thief)

    def attack(parameters: tuple[int, ...]) -> Tally:
        gift_usd, absorbs, looks_after, leaves = parameters
        tally = Tally()
        mine, theirs = _sums(env, tokens)
        vault = env.new_vault(tokens, [LEAST_SEED_RAW] * 2, LEAST_SHARES, owner=env.thief, system=system)
        mine_shares = env.read(vault, "balanceOf", env.thief)
        if leaves:
            env.redeem(env.thief, mine_shares, vault)
        wanted = _most_shares(env, vault, tokens, victim) if not looks_after else 0
        for i, token in enumerate(tokens):
            gift = env.raw(token.address, gift_usd)
            if gift:
                env.send(token, "transfer", vault.address, gift, sender=env.thief)
                if absorbs:
                    env.send(vault, "absorb", i, gift, sender=env.thief)
        wanted = wanted or _most_shares(env, vault, tokens, victim)
        balances = [env.read(token, "balanceOf", victim) for token in tokens]
        for token, balance in zip(tokens, balances, strict=True):
            env.send(token, "approve", vault.address, balance, sender=victim)
        if wanted and not env.refused(env.send, vault, "mintInKind", wanted, victim, balances, sender=victim):
            env.redeem(victim, wanted, vault)
        if not leaves:
            env.redeem(env.thief, mine_shares, vault)
        mine_after, theirs_after = _sums(env, tokens)
        tally.gained_e18, tally.lost_e18 = mine_after - mine, theirs - theirs_after
        return tally

    def gain(parameters: tuple[int, ...]) -> int:
        """Harm first; the thief's cost decides between equal results."""
        with env.undone():
            tally = attack(parameters)
            return tally.lost_e18 * 10**9 + tally.gained_e18

    found = best_of(gain, product((7, 999_983), (0, 1), (0, 1), (0, 1)))
    tally = attack(found)
    unit_e18 = env.value_e18(tokens[0].address, 1) + 1  # values round down
    return Result(
        f"first depositor and gifts, {decimals} decimals, the smallest seed, a victim of 10,000 dollars a token",
        "E",
        f"gives {found[0]:,} dollars a token{' and absorbs them' if found[1] else ''}"
        + (", with all but the locked shares redeemed" if found[3] else ""),
        tally.gained_e18,
        tally.lost_e18,
        2 * len(tokens) * unit_e18,  # a unit of each token at entry and at exit
    )


def _most_shares(env: AttackEnv, vault: BoundContract, tokens: list[BoundContract], holder: str) -> int:
    """The most shares that a holder's tokens can mint now."""
    held: list[int] = env.read(vault, "held")
    supply: int = env.read(vault, "totalSupply")
    balances: list[int] = [env.read(token, "balanceOf", holder) for token in tokens]
    return min(have * supply // there for have, there in zip(balances, held, strict=True))


def _sums(env: AttackEnv, tokens: list[BoundContract]) -> tuple[int, int]:
    """Value of the tokens of thief and victim, in USD * 1e18."""

    def holds(account: str) -> int:
        return sum(env.value_e18(token.address, env.read(token, "balanceOf", account)) for token in tokens)

    return holds(env.thief), holds(env.holder)


# Gifts that governance absorbs

_GIFT_USD = 100_000


def absorbed(env: AttackEnv) -> list[Result]:
    """Mint, have a gift absorbed, redeem: one transaction, by a contract that may execute governance proposals."""
    with env.undone():
        vault, me = env.vault, env.impersonated.address
        usdc = env.tokens["USDC"]
        gift = env.raw(usdc.address, _GIFT_USD)
        env.send(usdc, "transfer", vault.address, gift, sender=env.thief)
        env.grant(Role.OWNER, me)
        approve = [act(token, "approve", vault.address, 2**255) for token in env.tokens.values()]

        def attack(parameters: tuple[int, ...]) -> tuple[Tally, list[str]]:
            at, times = parameters
            shares = times * 10**6 * E18
            acts = [
                act(vault, "mintInKind", shares, me, [2**255] * 3, may_fail=True),
                act(vault, "redeemInKind", shares, me, me, [0, 0, 0], may_fail=True),
            ]
            acts.insert(at, act(vault, "absorb", 2, gift, may_fail=True))
            tally = Tally()
            with env.counted(tally):
                receipt = env.pull([*approve, *acts])
            return tally, env.refusals(receipt)

        def gain(parameters: tuple[int, ...]) -> int:
            with env.undone():
                return attack(parameters)[0].gained_e18

        found = best_of(gain, product((0, 1, 2), (1, 99)))
        tally, refusals = attack(found)
    where = ("before both", "between them", "after both")[found[0]]
    return [
        Result(
            f"flash loan: mint, absorb a gift of {_GIFT_USD:,} dollars and redeem, in one transaction and any order",
            "E",
            f"{found[1]} times the vault, absorbed {where}: refused ({', '.join(sorted(set(refusals)))})",
            tally.gained_e18,
            tally.lost_e18,
            0,
            "holders get all of the gift",
        )
    ]


# Views in the middle of a call


def read_only_reentrancy(env: AttackEnv) -> list[Result]:
    """A token of the basket calls the thief in the middle of a mint, while a lending protocol values shares by
    a view."""
    results = []
    for asks_locked in (False, True):
        with env.undone():
            results.append(_borrow_in_the_middle(env, asks_locked=asks_locked))
    return results


_LENDER_USD = 10_000_000
_COLLATERAL_USD = 100_000
_LENT_PERCENT = 90  # as in ShareLender


def _borrow_in_the_middle(env: AttackEnv, *, asks_locked: bool) -> Result:
    owner = Actor.OWNER.address
    plain = env.new_token("MockToken", 18, 1_000, owner=owner)
    calling = env.new_token("CallbackToken", 18, 1, owner=owner)
    seed_usd = 10**6 - _COLLATERAL_USD
    seeds = [env.raw(token.address, seed_usd // 2) for token in (plain, calling)]
    shares = seed_usd * E18
    vault = env.new_vault([plain, calling], seeds, shares, owner=owner)
    usdc, me = env.tokens["USDC"], env.impersonated.address
    lender = env.chain.deploy("ShareLender", vault.address, usdc.address, asks_locked, sender=owner)
    env.market.deal(usdc.address, lender.address, _LENDER_USD * 10**6)
    collateral = _COLLATERAL_USD * E18
    env.pull(
        [
            *(act(t, "approve", vault.address, 2**255) for t in (plain, calling)),
            act(vault, "mintInKind", collateral, me, [2**255] * 2),
            act(vault, "approve", lender.address, collateral),
            act(lender, "deposit", collateral),
        ]
    )
    lens = contract_at(env.chain.rpc, "VaultLens", env.environment.system.lens)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, str | None]:
        (minted_percent,) = parameters
        # Value of shares if only the first token were in the ledger, without the second and the new shares.
        borrowed_usd = _COLLATERAL_USD * _LENT_PERCENT // 100 * (200 + minted_percent) // 200 - 1
        borrow = act(lender, "borrow", borrowed_usd * 10**6, may_fail=True)
        snapshot = act(lens, "read", [vault.address], may_fail=True)
        inside = env.impersonated.data("run", [snapshot, borrow])
        message = bytes.fromhex(inside.removeprefix("0x"))
        minted = 10**6 * E18 * minted_percent // 100
        tally = Tally()
        with env.counted(tally, vault):
            env.send(calling, "setCallback", me, message, sender=env.thief)
            receipt = env.pull([act(vault, "mintInKind", minted, me, [2**255] * 2)])
            env.send(calling, "setCallback", "0x" + "0" * 40, b"", sender=env.thief)
            env.pull([act(vault, "redeemInKind", minted, me, me, [0, 0])])
        refusals = env.refusals(receipt)
        if refusals[:1] != ["VaultLocked"]:
            raise AssertionError(f"the lens must revert in the middle of a mint: {refusals}")
        return tally, refusals[-1] if len(refusals) > 1 else None

    found = best(env.gain_of(lambda parameters: attack(parameters)[0]), [(0, 10_000)])
    tally, refused = attack(found)
    borrowed_e18 = env.read(lender, "debt", me) * 10**12
    lent_e18 = max(0, borrowed_e18 - _COLLATERAL_USD * E18)
    gained_e18 = tally.gained_e18 - (_COLLATERAL_USD * E18 if borrowed_e18 else 0)
    who = "checks locked()" if asks_locked else "does not check locked()"
    return Result(
        f"read-only re-entrancy: borrow against shares in the middle of a mint, from a lender that {who}",
        "none is diluted",
        refused or f"mints {found[0] / 100:.0f} times the vault by a flash loan",
        gained_e18,
        tally.lost_e18,
        0,
        f"the lender loses {dollars(lent_e18)}; VaultLens reverts",
    )
