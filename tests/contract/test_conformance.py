"""What every venue's pools keep, whichever they are: one set of rules, each held by a pool of every kind.

On a chain: a pool is read as it was put there; its quotes are what its hops take and pay, to the unit; a swap leaves it as on
paper; its logs, folded, are what is read anew. On paper: a snapshot reads back equal; hops survive encoding; what `flow_to`
says of the next unit is what quotes say; no round trip gains, and no trade is better made in two parts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise

import pytest

from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import LiquidityExhausted
from rebalancer.route import decode, encode
from rebalancer.venues import (
    VENUES,
    CurveCryptoPool,
    CurveStablePool,
    PoolState,
    Token,
    UniswapV3Pool,
    UniswapV4Pool,
    load,
    venue_named,
)
from rebalancer.venues.model import PowerCurve
from rebalancer.venues.slipstream import SlipstreamPool
from tests.contract.built import BUILDERS, UNPUBLISHED, Builder, bare
from tests.contract.desk import MAX_HOP_RAW, Desk, Fill, Way, most
from tests.contract.test_uniswap_v3_quotes import random_pool
from tests.unit.test_pool_protocols import crypto, crypto_ng, stable, stable_ng, two_later, two_ng
from tests.unit.test_read_curve import BLOCK, PLACE, OneCurvePool, curve
from tests.unit.test_wrap_venues import wsteth

CHAIN_ID = 31_337
SEEDS = (2, 9, 10, 17)
"""Of pools with a spacing of some sixty ticks or more: Hardhat records every step of a walk, and fells others."""

ON_CHAIN = [
    pytest.param(venue, build, seed, id=f"{kind}-{seed}")
    for venue, kinds in BUILDERS.items()
    for kind, build in kinds.items()
    for seed in SEEDS
]
CURVES = {
    "Curve 3pool": stable(),
    "Curve tricrypto": crypto(a_coefficient=364_500, a_multiplier=100),
    "Curve stableswap-ng": stable_ng(),
    "Curve tricrypto-ng": crypto_ng(),
    "Curve twocrypto-ng": two_ng(),
    "Curve twocrypto-ng v2.1": two_later(),
}


def slipstream() -> SlipstreamPool:
    """A pool with the liquidity of one of Uniswap V3."""
    coins = Token("0x" + "0a" * 20, "COIN", 18), Token("0x" + "0b" * 20, "COIN", 18)
    pool = random_pool(SEEDS[1], coins)
    return SlipstreamPool(**{field.name: getattr(pool, field.name) for field in fields(pool)})


ON_PAPER: dict[str, Callable[[], PoolState]] = {
    **{kind: partial(curve, snapshot) for kind, snapshot in CURVES.items()},
    "Slipstream": slipstream,
    "wstETH": wsteth,
}
"""Pools of the venues in `UNPUBLISHED`."""

on_every_chain = pytest.mark.both_chains
each_built = pytest.mark.parametrize(("venue", "build", "seed"), ON_CHAIN)


def test_every_venue_is_built_or_says_why_not(market: DevMarket) -> None:
    """A venue without a builder is not tested by anything here."""
    for venue in VENUES:
        if venue.name in UNPUBLISHED:
            built = {make().kind for make in ON_PAPER.values()}
        else:
            assert venue.name in BUILDERS, (
                f"{venue.name} has no builder: tests/contract/built.py says in BUILDERS how its pools are put"
                " on a chain, or in UNPUBLISHED why they cannot be"
            )
            makers = BUILDERS[venue.name]
            built = {make(market, SEEDS[0]).paper.kind for make in makers.values()}
        missing = set(venue.kinds) - built
        assert not missing, f"no pool of {venue.name} here is {' or '.join(sorted(missing))}"
    assert {*BUILDERS, *UNPUBLISHED} == {venue.name for venue in VENUES}


# On a chain


def ways_of(pool: PoolState) -> list[Way]:
    """Both ways between any two neighbours of its tokens."""
    ends = [token.address for token in pool.tokens]
    pairs = list(pairwise(ends))
    return [*pairs, *(pair[::-1] for pair in pairs)]


def amounts_of(rng: random.Random, possible: int) -> list[int]:
    """The least, both sides of the most, far more than that, and any size between."""
    amounts = {1, 2, 3, 999, possible // 2, possible - 1, possible, possible + 1, 2 * possible}
    amounts |= {rng.getrandbits(rng.randint(1, possible.bit_length() + 1)) for _ in range(12)}
    return sorted(amount for amount in amounts if 0 < amount <= MAX_HOP_RAW)


def any_part(rng: random.Random, possible: int) -> int:
    """An amount of any size up to what is possible, or one."""
    bits = rng.randint(1, max(possible.bit_length(), 1))
    return max(min(rng.getrandbits(bits), possible, MAX_HOP_RAW), 1)


def check_sales(pool: PoolState, way: Way, amounts: Sequence[int], fills: Sequence[Fill | None]) -> None:
    """Each amount sold on chain took what it does on paper, and paid that; what cannot be is refused, or done in part."""
    for amount, fill in zip(amounts, fills, strict=True):
        try:
            spent, paid = amount, pool.quote_in(*way, amount)
        except LiquidityExhausted as refusal:
            spent = refusal.possible_raw
            assert spent < amount
            if fill is None:
                continue
            paid = pool.quote_in(*way, spent) if spent else 0
        assert fill == (spent, paid) or (fill is None and paid == 0), f"{amount} in: {fill}"


def check_purchases(pool: PoolState, desk: Desk, way: Way, amounts: Sequence[int]) -> None:
    """Each amount bought on chain cost what it does on paper."""
    costs: list[Fill] = []
    for amount in amounts:
        try:
            costs.append(Fill(pool.quote_out(*way, amount), amount))
        except LiquidityExhausted as refusal:
            part = refusal.possible_raw
            costs.append(Fill(pool.quote_out(*way, part) if part else 0, part))
    # A unit more is there than is needed, and comes back.
    fills = desk.buys(pool, way, amounts, [cost.spent_raw + 1 for cost in costs])
    for amount, cost, fill in zip(amounts, costs, fills, strict=True):
        # The last part of what there is may cost less than a walk to the end of all prices.
        in_part = cost.paid_raw < amount
        assert fill == cost or (in_part and (fill is None or fill.paid_raw == cost.paid_raw)), (
            f"{amount} out: {fill}, on paper {cost}"
        )


def check_quotes(pool: PoolState, desk: Desk, rng: random.Random) -> int:
    """All quotes of a pool are what its hops do; how many were compared."""
    compared = 0
    for way in ways_of(pool):
        amounts = amounts_of(rng, most(pool, way))
        check_sales(pool, way, amounts, desk.sells(pool, way, amounts))
        compared += len(amounts)
        outs = amounts_of(rng, most(pool, way, exact_in=False))
        if pool.BUYS_EXACTLY:
            check_purchases(pool, desk, way, outs)
            compared += len(outs)
    return compared


@on_every_chain
@each_built
def test_pool_is_read_as_it_was_put_there(market: DevMarket, venue: str, build: Builder, seed: int) -> None:
    """By its own reference, too, and told from the pools of all other venues."""
    pool = build(market, seed).paper
    rpc = market.chain.rpc
    block = read_block(rpc)

    (found,) = read_pools(rpc, [pool.ref], block, CHAIN_ID)
    (again,) = read_pools(rpc, [found.ref], block, CHAIN_ID)

    assert type(found) is type(pool)
    assert bare(found) == bare(pool)
    assert again == found
    assert found.ref.venue == venue
    assert (found.block, found.chain_id) == (block.number, CHAIN_ID)
    assert found.kind in venue_named(venue).kinds
    if venue_named(venue).mark:
        assert find_venue(rpc, pool.address, block).name == venue


@on_every_chain
@each_built
def test_quotes_are_what_hops_take_and_pay(market: DevMarket, venue: str, build: Builder, seed: int) -> None:
    built = build(market, seed)

    assert check_quotes(built.paper, built.desk(market.chain), random.Random(seed)) >= 24


@on_every_chain
@each_built
def test_swaps_leave_the_pool_as_on_paper(market: DevMarket, venue: str, build: Builder, seed: int) -> None:
    """And pay what was quoted; then the pool quotes on as the chain's does."""
    built, rng = build(market, seed), random.Random(seed)
    pool, desk = built.paper, built.desk(market.chain)
    rpc, traded = market.chain.rpc, 0
    for _ in range(6):
        way = rng.choice(ways_of(pool))
        amount = any_part(rng, most(pool, way))
        try:
            expected, after = pool.swapped(*way, amount)
        except LiquidityExhausted:
            continue
        if expected == 0:
            continue
        assert desk.trade(pool, way, amount) == expected
        traded += 1
        (found,) = read_pools(rpc, [pool.ref], read_block(rpc), CHAIN_ID)
        # What may change without a log is the chain's affair.
        pool = replace(after, **{name: getattr(found, name) for name in pool.MAY_DRIFT})  # type: ignore[type-var]
        assert bare(found) == bare(pool)
    assert traded > 0
    check_quotes(pool, desk, rng)


@on_every_chain
@each_built
def test_logs_folded_are_what_is_read_anew(market: DevMarket, venue: str, build: Builder, seed: int) -> None:
    """Swaps and all else that moves it, some in one range of blocks."""
    built, rng, rpc = build(market, seed), random.Random(seed), market.chain.rpc
    desk = built.desk(market.chain)
    book = PoolCache(rpc, [built.paper.ref], read_block(rpc), CHAIN_ID)
    seen = {bare(book.pool(built.paper.key))}
    for turn in range(6):
        pool = book.pool(built.paper.key)
        if turn % 2:
            built.stir(pool, rng)
        else:
            way = rng.choice(ways_of(pool))
            amount = any_part(rng, most(pool, way))
            try:
                sells = pool.quote_in(*way, amount) > 0
            except LiquidityExhausted:
                sells = False
            if sells:
                desk.trade(pool, way, amount)
        if rng.random() < 0.7:
            assert book.update(read_block(rpc)) == ()
            assert book.check() == ()
            seen.add(bare(book.pool(built.paper.key)))

    assert book.update(read_block(rpc)) == ()
    assert book.check() == ()
    assert len({*seen, bare(book.pool(built.paper.key))}) > 1


# On paper


@pytest.fixture(
    params=[*(pytest.param(one.values, id=one.id) for one in ON_CHAIN), *ON_PAPER],
)
def paper(market: DevMarket, request: pytest.FixtureRequest) -> PoolState:
    """A pool of every kind: as the chain has it, but for those whose code is not published."""
    if isinstance(request.param, str):
        return ON_PAPER[request.param]()
    _, build, seed = request.param
    made: PoolState = build(market, seed).paper
    return made


def limit(pool: PoolState, way: Way) -> int:
    """The most that can go in and still brings more out."""
    return min(most(pool, way), pool.flow_to(*way, 0.0)[0])


def rounding(pool: PoolState, way: Way, out: int) -> float:
    """Raw units of what comes out by which quotes of about `out` may be off the curve that they round."""
    # What goes in is rounded, too, and a unit of it may be worth many units out.
    unit = 2 + 2 * pool.most_per_unit(*way)
    curve = pool.shape(*way)
    if isinstance(curve, PowerCurve):
        # Its powers are right to 1e-14 of what they are of, which is all that the pool has.
        return unit + curve.balance_out / 10**13
    if isinstance(pool, CurveStablePool | CurveCryptoPool):
        return unit + out / 10**10
    if isinstance(pool, UniswapV3Pool | UniswapV4Pool):
        # Each boundary that is passed rounds.
        return (2 + 2 * len(pool.profile.ticks)) * unit
    return unit


def test_snapshot_reads_back_equal_and_is_told_by_one_key(paper: PoolState) -> None:
    snapshot = json.loads(json.dumps(paper.to_json()))

    assert load(snapshot) == paper
    assert type(load(snapshot)) is type(paper)
    keys = [venue.name for venue in VENUES if venue.snapshot_key in snapshot]
    assert keys == [paper.ref.venue]


def test_hop_survives_encoding(paper: PoolState) -> None:
    for way in ways_of(paper):
        hop = paper.hop(*way, 7, to_caller=True)
        requested = [hop, paper.hop(*way, 0, to_caller=False)]
        requested += [hop.buying(9)] if paper.BUYS_EXACTLY else []

        assert decode(encode(requested)) == tuple(requested)
        assert (hop.token_in, hop.token_out, hop.amount_raw) == (*way, 7)


SHARES = (0.999, 0.9, 0.5, 0.1)
"""Of what the first unit yields: where flows end."""


def test_next_unit_after_a_flow_yields_its_price_and_the_one_before_no_less(
    paper: PoolState,
) -> None:
    """The planner's derivative against quotes, over a step both ways; the flow's own sum against the quote of it."""
    for way in ways_of(paper):
        most_in, first = limit(paper, way), paper.first_unit(*way)
        for price in (first * share for share in SHARES):
            amount, out = paper.flow_to(*way, price)
            assert amount <= most_in
            if amount < 2:
                continue
            paid = paper.quote_in(*way, amount)
            off = rounding(paper, way, paid)
            assert abs(out - paid) <= off + paid * 1e-9
            for part in (100, 10):
                step = max(amount // part, 1)
                if amount + step <= most_in:
                    more = paper.quote_in(*way, amount + step) - paid
                    assert more <= step * price * (1 + 1e-6) + off
                before = paper.quote_in(*way, amount - step) if amount > step else 0
                assert paid - before >= step * price * (1 - 1e-6) - off


def test_no_trade_gains_there_and_back_or_in_two_parts(paper: PoolState) -> None:
    """But for rounding, and for Curve's fee."""
    rng = random.Random(paper.key)
    for way in 4 * ways_of(paper):
        amount = any_part(rng, limit(paper, way))
        if not 1 < amount <= limit(paper, way):
            continue
        out, after = paper.swapped(*way, amount)
        if out == 0:
            continue
        try:
            assert after.quote_in(*way[::-1], out) <= amount
        except LiquidityExhausted as refusal:
            assert refusal.possible_raw < out  # noqa: PT017 (not all can come back)

        first = rng.randint(1, amount - 1)
        try:
            part, between = paper.swapped(*way, first)
            parts = part + between.quote_in(*way, amount - first)
        except LiquidityExhausted:
            continue
        if part:  # what is sold for nothing may be refused
            assert parts - out <= rounding(paper, way, out) + part * bought_back(paper)


def bought_back(pool: PoolState) -> Fraction:
    """What part of the first trade's output a second may have beside its own: Curve's fee of it.

    Curve takes its fee from what comes out and leaves it in the pool, where a second part may buy it, and a fee that rises with
    what is traded at once is lower for the first. All others take it from what goes in.
    """
    if isinstance(pool, CurveCryptoPool):
        return Fraction(max(pool.mid_fee_e10, pool.out_fee_e10), 10**10)
    if isinstance(pool, CurveStablePool):
        return Fraction(pool.fee_e10 * max(pool.offpeg_fee_multiplier_e10, 10**10), 10**20)
    return Fraction(0)


def test_pool_of_curve_is_read_and_kept_by_its_own_reference() -> None:
    """From an endpoint that answers as such pools do: no code of theirs is published to run."""
    for snapshot in CURVES.values():
        pool = curve(snapshot)
        rpc = OneCurvePool(pool)

        (found,) = read_pools(rpc, [PLACE], BLOCK, 1)
        assert found == pool
        assert read_pools(rpc, [found.ref], BLOCK, 1) == (pool,)
        assert find_venue(rpc, pool.address, BLOCK).name == found.ref.venue == "curve"
        assert PoolCache(rpc, [found.ref], BLOCK, 1).check() == ()
