"""Attacks without any key: under open execution, with a calendar, and with signed quotes."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.environment import Actor
from rebalancer.errors import ContractReverted
from rebalancer.settlement import Policy, weigh_basket
from rebalancer.units import BPS, E18
from scripts.attacks.field import DAY, MILLION, AttackEnv, Result, Tally, bound_b_e18
from scripts.attacks.search import best
from scripts.attacks.stolen_keeper import best_plunder, break_ether_up, plunder

__all__ = ["calendar", "open_execution", "quotes"]

_OPEN_AFTER = 1_800


def open_execution(env: AttackEnv) -> list[Result]:
    """Open execution half an hour after a stamped break, while the keeper is offline."""
    results = []
    for scenario in (_fills_alone, _opens_at_once):
        with env.undone():
            results.append(scenario(env))
    return results


def _fills_alone(env: AttackEnv) -> Result:
    """The only filler in the wild market: without competition it takes everything that the slippage limit allows."""
    policy = env.set_policy(open_after_seconds=_OPEN_AFTER)
    env.rebalancer = env.thief
    with env.undone():
        env.move({"ETH": 2_200 * 10**8})
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(_OPEN_AFTER - 60)
        fill = env.worst_fill()
        if fill is None or env.refused(env.keep_what_it_can, fill) is None:
            raise AssertionError("only a keeper may rebalance before open execution")
    wait, appetite_bps = best_plunder(env, policy.loss_period_seconds, (_OPEN_AFTER, 3_600), (2_500, 2_500))
    tally = Tally()
    plunder(env, tally, env.chain.now() + policy.loss_period_seconds, wait, appetite_bps)
    return Result(
        "open execution 30 min after a break: a filler without competition, one loss period of the wild market",
        "B",
        f"fills {wait / 60:.0f} min after a break, {appetite_bps / 100:.0f} % of the surplus at a time",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def _opens_at_once(env: AttackEnv) -> Result:
    """A poke at a spike and no poke after it: the next break, hours later, is open immediately, at the highest
    limit."""
    policy = env.set_policy(open_after_seconds=_OPEN_AFTER)
    env.rebalancer = env.thief
    env.move({"ETH": 2_200 * 10**8})
    env.send(env.vault, "poke", sender=env.thief)
    env.move({"ETH": 2_000 * 10**8}, seconds=60)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (later,) = parameters
        env.move({"ETH": 2_200 * 10**8}, seconds=later)
        bound_e18 = env.sold_limit_e18(policy.max_slippage_bps)
        tally = Tally()
        fill = env.worst_fill()
        if fill is None:
            raise AssertionError("the scenario must break a band")
        with env.counted(tally):
            env.keep_what_it_can(fill)
        return tally, bound_e18

    def gain(parameters: tuple[int, ...]) -> int | None:
        with env.undone():
            try:
                return attack(parameters)[0].gained_e18
            except ContractReverted:  # not open yet
                return None

    found = best(gain, [(1, 14_401)], points=5, rounds=1)
    tally, bound_e18 = attack(found)
    return Result(
        "griefing by poke: a poke at a spike and none after it; the next break is open immediately",
        "D",
        f"{found[0] // 60} min later, at {policy.max_slippage_bps / 100:g} % instead of "
        f"{policy.start_slippage_bps / 100:g} %; a keeper that pokes when all assets are in band prevents it",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )


# Calendar

_CALENDAR_DAYS = 7
_BAND_BPS = 100


def calendar(env: AttackEnv) -> list[Result]:
    """A calendar of one rebalance a day, with or without a broken band: a stolen keeper in a quiet market, and a
    rebalance that becomes due while no account can see it."""
    results = []
    for scenario in (_quiet_market, _stranger_returns, _keeper_returns, _newborn):
        with env.undone():
            results.append(scenario(env))
    return results


def _quiet_market(env: AttackEnv) -> Result:
    policy = env.set_policy(calendar_seconds=DAY)

    def attack(parameters: tuple[int, ...]) -> Tally:
        """Ether moves every day and back the next day; the keeper pokes, and trades after a part of the
        slippage ramp."""
        move_bps, climb = parameters
        tally = Tally()
        for day in range(_CALENDAR_DAYS):
            moved_bps = move_bps if day % 2 == 0 else 0
            until = env.chain.now() + DAY
            env.move({"ETH": 2_000 * 10**8 * (BPS + moved_bps) // BPS}, seconds=DAY // 2)
            if env.snapshot().drift_bps > _BAND_BPS:
                raise ContractReverted("the market is not quiet")
            env.send(env.vault, "poke", sender=env.thief)
            env.move(seconds=1 + climb)
            for _ in range(2):  # a rebalance is due once a day: the second one reverts
                fill = env.worst_fill()
                if fill is not None:
                    with env.counted(tally):
                        env.refused(env.keep_what_it_can, fill)
                env.move(seconds=policy.cooldown_seconds)
            env.move(seconds=until - env.chain.now())
        return tally

    found = best(env.gain_of(attack), [(0, 800), (0, policy.slippage_ramp_seconds)], points=6, rounds=2)
    tally = attack(found)
    # Once a day, at most the width of two assets' bands, at the slippage limit.
    most_e18 = _CALENDAR_DAYS * MILLION * _BAND_BPS * 3 // 2 // BPS
    return Result(
        f"stolen keeper with a calendar of one day, {_CALENDAR_DAYS} days, no band ever broken",
        "B, D",
        f"ether moves by {found[0] / 100:.2f} % a day and back; pokes and trades {found[1] // 60} min later",
        tally.gained_e18,
        tally.lost_e18,
        most_e18 * policy.max_slippage_bps // BPS,
    )


def _after_a_silence(env: AttackEnv) -> Policy:
    """The calendar's period begins while ether's feed is down, so that nobody can see the due rebalance; then the feed
    answers."""
    policy = env.set_policy(calendar_seconds=DAY, open_after_seconds=_OPEN_AFTER)
    env.move({"ETH": 2_060 * 10**8})
    env.send(env.aggregator("WETH"), "setFailing", True, sender=env.thief)
    env.wait(DAY + 8 * 3_600 - env.chain.now() % DAY)
    refused = env.refused(env.send, env.vault, "poke", sender=env.thief)
    env.send(env.aggregator("WETH"), "setFailing", False, sender=env.thief)
    env.move()
    if refused != "OracleFault" or env.snapshot().drift_bps > _BAND_BPS:
        raise AssertionError("a rebalance must become due by the calendar, after the feed recovers")
    return policy


def _first_chance(env: AttackEnv, policy: Policy, attack: str, promise: str, limit_e18: int) -> Result:
    """The thief pokes as early as possible and then trades at the best moment."""

    def play(parameters: tuple[int, ...]) -> tuple[Tally, str | None]:
        (wait,) = parameters
        tally = Tally()
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(wait)
        fill = env.worst_fill()
        if fill is None:
            raise AssertionError("a rebalance must be due by the calendar")
        with env.counted(tally):
            refusal = env.refused(env.keep_what_it_can, fill)
        return tally, refusal

    def gain(parameters: tuple[int, ...]) -> int:
        with env.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(0, _FIRST_SECONDS)], points=4, rounds=1)
    with env.undone():
        env.send(env.vault, "poke", sender=env.thief)
        env.wait(found[0])
        limit_bps = env.snapshot().slippage_limit_e18 * BPS / E18
    tally, refusal = play(found)
    return Result(
        attack,
        promise,
        f"everything within {_FIRST_SECONDS // 60} min is refused ({refusal})"
        if refusal
        else f"{found[0] // 60} min after its poke, at {limit_bps / 100:.2f} % instead of {policy.max_slippage_bps / 100:g} %",
        tally.gained_e18,
        tally.lost_e18,
        limit_e18,
    )


_FIRST_SECONDS = 600
"""Seconds that count as "just after": a sixth of the slippage ramp."""


def _start_limit_e18(env: AttackEnv, policy: Policy) -> int:
    """The slippage limit after this time on its ramp, times the surplus."""
    climbed = (policy.max_slippage_bps - policy.start_slippage_bps) * (_FIRST_SECONDS + 10)
    bps_e4 = policy.start_slippage_bps * 10**4 + climbed * 10**4 // policy.slippage_ramp_seconds
    return env.sold_limit_e18(bps_e4) // 10**4


def _stranger_returns(env: AttackEnv) -> Result:
    policy = _after_a_silence(env)
    env.rebalancer = env.thief
    return _first_chance(
        env,
        policy,
        "stranger with a calendar and open execution after 30 min: a feed was down since before the period began",
        "B5",
        0,
    )


def _keeper_returns(env: AttackEnv) -> Result:
    policy = _after_a_silence(env)
    return _first_chance(
        env,
        policy,
        "stolen keeper, the same",
        "B3",
        _start_limit_e18(env, policy),
    )


def _newborn(env: AttackEnv) -> Result:
    """A vault created in the middle of the calendar's period, off its targets and within its bands."""
    owner = Actor.OWNER.address
    policy = env.set_policy(calendar_seconds=DAY, open_after_seconds=_OPEN_AFTER)
    env.move(seconds=DAY // 2)
    tokens = [env.new_token("MockToken", 18, 1, owner=owner) for _ in range(2)]
    for token in tokens:
        env.send(token, "mint", env.impersonated.address, 10**24, sender=owner)
    seeds = [env.raw(tokens[0].address, 508_000), env.raw(tokens[1].address, 492_000)]
    env.vault = env.new_vault(tokens, seeds, 10**6 * E18, owner=owner, with_roles=True)
    with env.undone():
        env.rebalancer = env.thief
        fill = env.worst_fill()
        if fill is None or env.refused(env.keep_what_it_can, fill) is None:
            raise AssertionError("a new vault must not be open to anybody")
    return _first_chance(
        env,
        policy,
        "new vault with a calendar: stolen keeper in its first ten minutes; a stranger is refused",
        "B3, B5",
        _start_limit_e18(env, policy),
    )


# Quotes of market makers

_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Quote": [
        {"name": "maker", "type": "address"},
        {"name": "vault", "type": "address"},
        {"name": "sold", "type": "address"},
        {"name": "soldRaw", "type": "uint256"},
        {"name": "bought", "type": "address"},
        {"name": "boughtRaw", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
    ],
}
_ROUTE = "((address,address,address,uint256,address,uint256,uint256,uint256),bytes)[]"
"""EIP-712 types of QuoteFiller."""


def quotes(env: AttackEnv) -> list[Result]:
    """Replay of a maker's quote that has become bad for the maker: on another chain, twice, by another vault or filler,
    late."""
    with env.undone():
        return [_replayed(env)]


def _replayed(env: AttackEnv) -> Result:
    break_ether_up(env)
    filler = env.chain.deploy("QuoteFiller", sender=env.thief)
    elsewhere = env.chain.deploy("QuoteFiller", sender=env.thief)
    maker = env.chain.accounts[12]
    weth, usdc = env.tokens["WETH"], env.tokens["USDC"]
    chain_id = env.environment.deployment.chain_id
    deficit_e18 = -weigh_basket(env.snapshot().basket).distances_e18[2]
    sold_raw = deficit_e18 * E18 // env.price_e18(weth.address) * 99 // 100
    bought_raw = env.value_e18(weth.address, sold_raw) // 10**12
    env.send(usdc, "mint", maker, 10 * bought_raw, sender=env.thief)
    for contract in (filler, elsewhere):
        env.send(usdc, "approve", contract.address, 2**255, sender=maker)

    def quote(**changes: Any) -> dict[str, Any]:
        return {
            "maker": maker,
            "vault": env.vault.address,
            "sold": weth.address,
            "soldRaw": sold_raw,
            "bought": usdc.address,
            "boughtRaw": bought_raw,
            "deadline": env.chain.now() + DAY,
            "nonce": 1,
        } | changes

    def signed(message: dict[str, Any], *, chain: int = chain_id, by: BoundContract = filler) -> bytes:
        domain = {"name": "Rebalancer quotes", "version": "1", "chainId": chain}
        requested = {
            "types": _TYPES,
            "primaryType": "Quote",
            "domain": domain | {"verifyingContract": by.address},
            "message": {k: str(v) if isinstance(v, int) else v for k, v in message.items()},
        }
        signature: str = env.chain.rpc.call("eth_signTypedData_v4", maker, requested)
        return bytes.fromhex(signature.removeprefix("0x"))

    def play(message: dict[str, Any], signature: bytes) -> str | None:
        """The error with which a trade by a quote reverts; None if it succeeds."""
        route = encode([_ROUTE], [[(tuple(message.values()), signature)]])
        args = (env.snapshot().state.epoch, [sold_raw, 0, 0], [0, 0, 1], filler.address, route)
        return env.refused(env.send, env.vault, "rebalance", *args, sender=env.rebalancer)

    with env.undone():  # control: the quote itself is valid
        message = quote()
        if play(message, signed(message)) is not None:
            raise AssertionError("a good quote must be filled")
    late = quote(deadline=env.chain.now() - 1)
    other = quote(vault=elsewhere.address)
    used = quote(nonce=2)
    tries = {
        "another chain": (message, signed(message, chain=1)),
        "another filler": (message, signed(message, by=elsewhere)),
        "another vault": (other, signed(other)),
        "better amounts": (quote(soldRaw=1), signed(message)),
        "late": (late, signed(late)),
        "a cancelled number": (used, signed(used)),
    }
    env.send(filler, "cancel", 2, sender=maker)
    tally = Tally()
    before = env.read(usdc, "balanceOf", maker)
    refusals = []
    with env.counted(tally):
        for name, (tried, signature) in tries.items():
            refusals.append(f"{name}: {play(tried, signature)}")
    lost_raw = before - env.read(usdc, "balanceOf", maker)
    return Result(
        "a maker's quote to QuoteFiller, signed for another chain id, filler, vault or amount, late or cancelled, is replayed by a stolen keeper",
        "the quote's terms",
        f"all refused ({'; '.join(refusals)})",
        tally.gained_e18,
        env.value_e18(usdc.address, lost_raw),
        0,
        "the loss is the maker's; the same quote with a valid signature is filled",
    )
