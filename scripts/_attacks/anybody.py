"""What can be had without any key where the policy lets anybody rebalance, where a calendar asks for it, or where a quote lies about?"""

from __future__ import annotations

from typing import Any

from eth_abi.abi import encode

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.stage import Actor
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import assign_vault_roles
from rebalancer.settlement import Policy, weigh_basket
from rebalancer.units import BPS, E18
from scripts._attacks.field import DAY, MILLION, Field, Result, Tally, bound_b_e18
from scripts._attacks.search import best
from scripts._attacks.stolen_keeper import best_plunder, break_ether_up, plunder

__all__ = ["calendar", "open_execution", "quotes"]

_OPEN_AFTER = 1_800


def open_execution(field: Field) -> list[Result]:
    """Anybody may rebalance half an hour after a break was seen, and the keeper is away."""
    results = []
    for scenario in (_fills_alone, _opens_at_once):
        with field.undone():
            results.append(scenario(field))
    return results


def _fills_alone(field: Field) -> Result:
    """The only filler there is, in the wild market: nobody competes, so it takes all that the slippage limit leaves."""
    policy = field.set_policy(open_after_seconds=_OPEN_AFTER)
    field.rebalancer = field.thief
    with field.undone():
        field.move({"ETH": 2_200 * 10**8})
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(_OPEN_AFTER - 60)
        fill = field.worst_fill()
        if fill is None or field.refused(field.keep_what_it_can, fill) is None:
            raise AssertionError("nobody but a keeper may rebalance before it opens")
    wait, appetite_bps = best_plunder(
        field, policy.loss_period_seconds, (_OPEN_AFTER, 3_600), (2_500, 2_500)
    )
    tally = Tally()
    plunder(field, tally, field.chain.now() + policy.loss_period_seconds, wait, appetite_bps)
    return Result(
        "open execution 30 min after a break: a filler without competition, one loss period of the wild market",
        "B",
        f"fills {wait / 60:.0f} min after a break, {appetite_bps / 100:.0f} % of the surplus at a time",
        tally.gained_e18,
        tally.lost_e18,
        bound_b_e18(policy, policy.loss_period_seconds),
    )


def _opens_at_once(field: Field) -> Result:
    """Somebody pokes at a spike and nobody when it is over: the next break, hours later, is open at once and at the limit's top."""
    policy = field.set_policy(open_after_seconds=_OPEN_AFTER)
    field.rebalancer = field.thief
    field.move({"ETH": 2_200 * 10**8})
    field.send(field.vault, "poke", sender=field.thief)
    field.move({"ETH": 2_000 * 10**8}, seconds=60)

    def attack(parameters: tuple[int, ...]) -> tuple[Tally, int]:
        (later,) = parameters
        field.move({"ETH": 2_200 * 10**8}, seconds=later)
        bound_e18 = field.sold_limit_e18(policy.max_slippage_bps)
        tally = Tally()
        fill = field.worst_fill()
        if fill is None:
            raise AssertionError("the scenario must break a band")
        with field.counted(tally):
            field.keep_what_it_can(fill)
        return tally, bound_e18

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters)[0].gained_e18
            except ContractReverted:  # not open yet
                return None

    found = best(gain, [(1, 14_401)], points=5, rounds=1)
    tally, bound_e18 = attack(found)
    return Result(
        "griefing by poke: poked at a spike, by nobody after it; the next break is open to anybody at once",
        "D",
        f"{found[0] // 60} min later, at {policy.max_slippage_bps / 100:g} % instead of "
        f"{policy.start_slippage_bps / 100:g} %; a keeper that pokes when bands are whole prevents it",
        tally.gained_e18,
        tally.lost_e18,
        bound_e18,
    )


# Calendar

_CALENDAR_DAYS = 7
_BAND_BPS = 100


def calendar(field: Field) -> list[Result]:
    """A policy that asks for one rebalance a day whether a band is broken or not: a stolen keeper in a quiet market, and what a stranger or that keeper has of a moment in which nobody could know that it was due."""
    results = []
    for scenario in (_quiet_market, _stranger_returns, _keeper_returns, _newborn):
        with field.undone():
            results.append(scenario(field))
    return results


def _quiet_market(field: Field) -> Result:
    policy = field.set_policy(calendar_seconds=DAY)

    def attack(parameters: tuple[int, ...]) -> Tally:
        """Ether moves by so much every day, and back the next; the keeper pokes, and trades when the limit has climbed so long."""
        move_bps, climb = parameters
        tally = Tally()
        for day in range(_CALENDAR_DAYS):
            moved_bps = move_bps if day % 2 == 0 else 0
            until = field.chain.now() + DAY
            field.move({"ETH": 2_000 * 10**8 * (BPS + moved_bps) // BPS}, seconds=DAY // 2)
            if field.look().drift_bps > _BAND_BPS:
                raise ContractReverted("the market is not quiet")
            field.send(field.vault, "poke", sender=field.thief)
            field.move(seconds=1 + climb)
            for _ in range(2):  # the calendar asks once a day: the second is refused
                fill = field.worst_fill()
                if fill is not None:
                    with field.counted(tally):
                        field.refused(field.keep_what_it_can, fill)
                field.move(seconds=policy.cooldown_seconds)
            field.move(seconds=until - field.chain.now())
        return tally

    def gain(parameters: tuple[int, ...]) -> int | None:
        with field.undone():
            try:
                return attack(parameters).gained_e18
            except ContractReverted:
                return None

    found = best(gain, [(0, 800), (0, policy.slippage_ramp_seconds)], points=6, rounds=2)
    tally = attack(found)
    # Once a day, at most all that two assets' bands hold, at the slippage limit.
    most_e18 = _CALENDAR_DAYS * MILLION * _BAND_BPS * 3 // 2 // BPS
    return Result(
        f"stolen keeper where the calendar asks every day, {_CALENDAR_DAYS} days, no band ever broken",
        "B, D",
        f"ether moves by {found[0] / 100:.2f} % a day and back; pokes and trades {found[1] // 60} min later",
        tally.gained_e18,
        tally.lost_e18,
        most_e18 * policy.max_slippage_bps // BPS,
    )


def _after_a_silence(field: Field) -> Policy:
    """The calendar's period begins while ether's feed is silent, so that a rebalance is due and nobody can know; then it answers."""
    policy = field.set_policy(calendar_seconds=DAY, open_after_seconds=_OPEN_AFTER)
    field.move({"ETH": 2_060 * 10**8})
    field.send(field.aggregator("WETH"), "setFailing", True, sender=field.thief)
    field.wait(DAY + 8 * 3_600 - field.chain.now() % DAY)
    refused = field.refused(field.send, field.vault, "poke", sender=field.thief)
    field.send(field.aggregator("WETH"), "setFailing", False, sender=field.thief)
    field.move()
    if refused != "OracleFault" or field.look().drift_bps > _BAND_BPS:
        raise AssertionError("only the calendar may ask, and not before the feed answers")
    return policy


def _first_chance(
    field: Field, policy: Policy, attack: str, promise: str, limit_e18: int
) -> Result:
    """The thief pokes as soon as it can; the best moment to trade after that."""

    def play(parameters: tuple[int, ...]) -> tuple[Tally, str | None]:
        (wait,) = parameters
        tally = Tally()
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(wait)
        fill = field.worst_fill()
        if fill is None:
            raise AssertionError("the calendar must ask")
        with field.counted(tally):
            refusal = field.refused(field.keep_what_it_can, fill)
        return tally, refusal

    def gain(parameters: tuple[int, ...]) -> int:
        with field.undone():
            return play(parameters)[0].gained_e18

    found = best(gain, [(0, _FIRST_SECONDS)], points=4, rounds=1)
    with field.undone():
        field.send(field.vault, "poke", sender=field.thief)
        field.wait(found[0])
        limit_bps = field.look().slippage_limit_e18 * BPS / E18
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
"""What counts as just after; the climb has taken a sixth of its way by then."""


def _start_limit_e18(field: Field, policy: Policy) -> int:
    """The slippage limit where it stands after that time from its start, times the surplus."""
    climbed = (policy.max_slippage_bps - policy.start_slippage_bps) * (_FIRST_SECONDS + 10)
    bps_e4 = policy.start_slippage_bps * 10**4 + climbed * 10**4 // policy.slippage_ramp_seconds
    return field.sold_limit_e18(bps_e4) // 10**4


def _stranger_returns(field: Field) -> Result:
    policy = _after_a_silence(field)
    field.rebalancer = field.thief
    return _first_chance(
        field,
        policy,
        "stranger where the calendar asks and execution opens after 30 min: a feed was silent since before the period began",
        "B5",
        0,
    )


def _keeper_returns(field: Field) -> Result:
    policy = _after_a_silence(field)
    return _first_chance(
        field,
        policy,
        "stolen keeper, the same",
        "B3",
        _start_limit_e18(field, policy),
    )


def _newborn(field: Field) -> Result:
    """A vault is made in the middle of the calendar's period, off its targets and within its bands."""
    owner = Actor.OWNER.address
    policy = field.set_policy(calendar_seconds=DAY, open_after_seconds=_OPEN_AFTER)
    field.move(seconds=DAY // 2)
    tokens = [field.new_token("MockToken", 18, 1, owner=owner) for _ in range(2)]
    for token in tokens:
        field.send(token, "mint", field.puppet.address, 10**24, sender=owner)
    seeds = [field.raw(tokens[0].address, 508_000), field.raw(tokens[1].address, 492_000)]
    field.vault = field.new_vault(tokens, seeds, 10**6 * E18, owner=owner)
    assign_vault_roles(field.account(owner), field.stage.system, field.vault.address)
    with field.undone():
        field.rebalancer = field.thief
        fill = field.worst_fill()
        if fill is None or field.refused(field.keep_what_it_can, fill) is None:
            raise AssertionError("a newborn vault is not open to anybody")
    return _first_chance(
        field,
        policy,
        "newborn vault where the calendar asks: stolen keeper in its first ten minutes; a stranger is refused",
        "B3, B5",
        _start_limit_e18(field, policy),
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
"""QuoteFiller's: signed quotes."""


def quotes(field: Field) -> list[Result]:
    """A maker's quote, once good and now bad for the maker, is played again: on another chain, twice, by another vault or filler, late."""
    with field.undone():
        return [_replayed(field)]


def _replayed(field: Field) -> Result:
    break_ether_up(field)
    filler = field.chain.deploy("QuoteFiller", sender=field.thief)
    elsewhere = field.chain.deploy("QuoteFiller", sender=field.thief)
    maker = field.chain.accounts[12]
    weth, usdc = field.tokens["WETH"], field.tokens["USDC"]
    chain_id = field.stage.deployment.chain_id
    deficit_e18 = -weigh_basket(field.look().basket).distances_e18[2]
    sold_raw = deficit_e18 * E18 // field.price_e18(weth.address) * 99 // 100
    bought_raw = field.value_e18(weth.address, sold_raw) // 10**12
    field.send(usdc, "mint", maker, 10 * bought_raw, sender=field.thief)
    for contract in (filler, elsewhere):
        field.send(usdc, "approve", contract.address, 2**255, sender=maker)

    def quote(**changes: Any) -> dict[str, Any]:
        return {
            "maker": maker,
            "vault": field.vault.address,
            "sold": weth.address,
            "soldRaw": sold_raw,
            "bought": usdc.address,
            "boughtRaw": bought_raw,
            "deadline": field.chain.now() + DAY,
            "nonce": 1,
        } | changes

    def signed(
        message: dict[str, Any], *, chain: int = chain_id, by: BoundContract = filler
    ) -> bytes:
        domain = {"name": "Rebalancer quotes", "version": "1", "chainId": chain}
        asked = {
            "types": _TYPES,
            "primaryType": "Quote",
            "domain": domain | {"verifyingContract": by.address},
            "message": {k: str(v) if isinstance(v, int) else v for k, v in message.items()},
        }
        signature: str = field.chain.rpc.call("eth_signTypedData_v4", maker, asked)
        return bytes.fromhex(signature.removeprefix("0x"))

    def play(message: dict[str, Any], signature: bytes) -> str | None:
        """The keeper has the vault trade by a quote; why that is refused."""
        route = encode([_ROUTE], [[(tuple(message.values()), signature)]])
        args = (field.look().state.epoch, [sold_raw, 0, 0], [0, 0, 1], filler.address, route)
        return field.refused(field.send, field.vault, "rebalance", *args, sender=field.rebalancer)

    with field.undone():  # or the rest would show nothing
        message = quote()
        if play(message, signed(message)) is not None:
            raise AssertionError("a good quote must be filled")
    late = quote(deadline=field.chain.now() - 1)
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
    field.send(filler, "cancel", 2, sender=maker)
    tally = Tally()
    before = field.read(usdc, "balanceOf", maker)
    refusals = []
    with field.counted(tally):
        for name, (tried, signature) in tries.items():
            refusals.append(f"{name}: {play(tried, signature)}")
    lost_raw = before - field.read(usdc, "balanceOf", maker)
    return Result(
        "a maker's quote to QuoteFiller, signed for another chain id, filler, vault or amount, late or cancelled, is played by a stolen keeper",
        "the quote's terms",
        f"all refused ({'; '.join(refusals)})",
        tally.gained_e18,
        field.value_e18(usdc.address, lost_raw),
        0,
        "lost is the maker's; the same quote, rightly signed, is filled",
    )
