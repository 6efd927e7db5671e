"""Many pools asked together: how many calls go at once, whose failure is whose, and what an address or an id tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import (
    _together,
    find_v4_ref,
    find_venue,
    read_pools,
    read_pools_settled,
    read_v3_pools,
)
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    BadPoolSnapshot,
    ContractMissing,
    ContractReverted,
    PoolError,
    RpcRejected,
    RpcUnreachable,
    UnsupportedPool,
)
from rebalancer.texts import LONGEST_SYMBOL
from rebalancer.venues import (
    VENUES,
    BalancerWeightedPool,
    PoolRef,
    Token,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    of_class,
    uniswap_v2,
    uniswap_v4,
)
from rebalancer.venues.balancer_weighted import BALANCER_POOL, BALANCER_VAULT
from rebalancer.venues.curve import CURVE, with_balance
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.venues.pancakeswap_v3 import PANCAKE_POOL, PancakeSwapV3Pool
from rebalancer.venues.reading import TOKEN, At, Reading, _symbol, tokens_read
from rebalancer.venues.uniswap_v2 import PAIR
from rebalancer.venues.uniswap_v3 import V3_POOL
from rebalancer.venues.uniswap_v3_math import Q96, sqrt_at_tick
from rebalancer.venues.uniswap_v4 import MANAGER, _mapped, _signed, pool_id, v4_ref

A, B, C = ("0x" + digit * 40 for digit in "abc")


def address(digit: str) -> str:
    return "0x" + digit * 40


BLOCK = Block(7, "0x" + "cd" * 32, 1_000)
KNOWN = {A: Token(A, "AAA", 18), B: Token(B, "BBB", 6)}
AT = At(BLOCK, 1, KNOWN, None, "0x")
REFUSED = RpcRejected("eth_call", 3, "execution reverted")


class Answering(Rpc):
    """Answers by a function of method and parameters."""

    def __init__(self, answer: Callable[[str, Any], Any]) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answer = answer
        self.batches: list[int] = []
        self.problem: list[Call] = []

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.batches.append(len(calls))
        self.problem += calls
        return [self.answer(method, params) for method, params in calls]


def echo(method: str, params: Any) -> Any:
    return params


def step(*counts: int, name: str = "x") -> Reading[list[Any]]:
    """A reader that asks so many calls at a time, and returns all answers."""
    found = []
    for number, count in enumerate(counts):
        found += yield [("x", (name, number, n)) for n in range(count)]
    return found


# Together


def test_readers_are_asked_in_step_and_five_hundred_calls_at_once() -> None:
    rpc = Answering(echo)

    found = _together(rpc, [step(600, 2, name="a"), step(401, name="b"), step(name="c")])

    assert rpc.batches == [500, 500, 1, 2]
    assert found == [
        [*(("a", 0, n) for n in range(600)), ("a", 1, 0), ("a", 1, 1)],
        [("b", 0, n) for n in range(401)],
        [],
    ]
    assert _together(rpc, []) == []


@pytest.mark.parametrize(
    "error",
    [
        BadPoolSnapshot("odd"),
        ContractMissing("pool", A),
        ContractReverted("No"),
        UnsupportedPool("x"),
    ],
)
def test_failure_of_one_reader_stops_no_other(error: PoolError) -> None:
    def fails() -> Reading[Any]:
        yield [("x", ())]
        raise error

    assert _together(Answering(echo), [step(1), fails(), step(2)]) == [
        [("x", 0, 0)],
        error,
        [("x", 0, 0), ("x", 0, 1)],
    ]


@pytest.mark.parametrize("mistake", [KeyError("a"), TypeError("b"), ValueError("c"), OverflowError("d")])
def test_answer_that_nobody_thought_of_is_the_pools_failure(mistake: Exception) -> None:
    def fails() -> Reading[Any]:
        yield [("x", ())]
        raise mistake

    (found,) = _together(Answering(echo), [fails()])

    assert isinstance(found, BadPoolSnapshot)
    assert found.why == f"its answers cannot be read: {mistake!r}"


def test_failure_of_the_endpoint_is_nobody_elses() -> None:
    def down(method: str, params: Any) -> Any:
        raise RpcUnreachable("it", "down")

    with pytest.raises(RpcUnreachable):
        _together(Answering(down), [step(1)])


# Which pools

INTERFACES = (
    *(TOKEN, PAIR, PANCAKE_POOL, V3_POOL),
    *(BALANCER_POOL, BALANCER_VAULT, CURVE, MANAGER),
)


def reported(answers: Mapping[tuple[str, str], Any]) -> Answering:
    """An endpoint whose contracts answer these, by address and function, and refuse the rest."""

    def answer(method: str, params: Any) -> Any:
        message, block = params[:2]
        assert (method, block["blockHash"]) == ("eth_call", BLOCK.hash)
        for known in INTERFACES:
            for name, function in known.functions.items():
                if function.is_called_by(message["data"]) and (message["to"], name) in answers:
                    value = answers[message["to"], name]
                    if callable(value):
                        value = value(*function.arguments(message["data"]))
                    if isinstance(value, str) and value.startswith("raw:"):
                        return value[4:]
                    values = value if isinstance(value, tuple) else (value,)
                    return "0x" + function.outputs.encode(values).hex()
        return REFUSED

    return Answering(answer)


PAIR_OF = {(C, "token0"): A, (C, "token1"): B, (C, "getReserves"): (5, 9, 1)}


def test_pair_is_read_whole() -> None:
    ref = PoolRef(C, fee_pips=2_500, venue="uniswap-v2")

    rpc = reported(PAIR_OF)
    (found,) = read_pools(rpc, [ref], BLOCK, 3, tokens=KNOWN)

    assert rpc.batches == [3], "no lens, and no token that is known"
    pair = of_class(found, UniswapV2Pool)
    assert (pair.address, pair.tokens) == (C, (KNOWN[A], KNOWN[B]))
    assert (pair.reserves, pair.fee_bps, pair.chain_id, pair.block) == ((5, 9), 25, 3, 7)
    assert pair.name == "Uniswap V2 AAA/BBB 0.25%"


def test_pools_come_in_the_order_given_and_each_with_its_own_failure() -> None:
    refs = [
        PoolRef(A, venue="uniswap-v2"),
        PoolRef(B, venue="uniswap-v3"),
        PoolRef(C, venue="uniswap-v2"),
        PoolRef(C, venue="uniswap-v3"),
        PoolRef(A, venue="uniswap-v4"),
    ]
    rpc = reported(PAIR_OF)

    found = read_pools_settled(rpc, refs, BLOCK, 1, tokens=KNOWN, lens=A)

    assert [type(one) for one in found] == [
        ContractReverted,
        ContractReverted,
        UniswapV2Pool,
        ContractReverted,
        BadPoolSnapshot,
    ]
    assert "identified by its key" in str(found[4])
    # One call for both of Uniswap V3, and then one for each, as one that cannot be read hides the other.
    lenses = [call for call in rpc.problem if call[1][0]["to"] == A and len(call[1][0]["data"]) > 10]
    assert len(lenses) == 3
    with pytest.raises(ContractReverted):
        read_pools(rpc, refs[:1], BLOCK, 1)


@pytest.mark.parametrize(
    ("name", "value", "venue"),
    [
        ("slot0", (Q96, 0, 0, 0, 0, 0, False), "uniswap-v3"),
        ("lmPool", A, "pancakeswap-v3"),
        ("getReserves", (0, 0, 0), "uniswap-v2"),
        ("getNormalizedWeights", ([],), "balancer"),
        ("A", 0, "curve"),
    ],
)
def test_venue_is_told_by_what_an_address_answers(name: str, value: Any, venue: str) -> None:
    rpc = reported({(C, name): value})

    assert find_venue(rpc, C, BLOCK).name == venue
    assert rpc.batches == [sum(one.mark is not None for one in VENUES)]
    with pytest.raises(UnsupportedPool, match=f"{A} does not belong to a known venue"):
        find_venue(rpc, A, BLOCK)


def begun(its_id: str, hooks: int = 0) -> dict[str, Any]:
    (shape,) = (shape for shape in MANAGER.events.values() if shape.name == "Initialize")
    data = [500, 10, hooks, Q96, 0]
    return {
        "address": C,
        "topics": [shape.topic, its_id, "0x" + "0" * 24 + A[2:], "0x" + "0" * 24 + B[2:]],
        "data": "0x" + b"".join(word.to_bytes(32) for word in data).hex(),
        "blockNumber": "0x5",
        "transactionHash": "0x01",
        "logIndex": "0x0",
    }


def test_key_of_a_v4_pool_is_in_the_log_of_its_beginning() -> None:
    its_id = pool_id(A, B, 500, 10)
    logs = [begun(its_id)]
    rpc = Answering(lambda method, params: logs)

    assert find_v4_ref(rpc, C, its_id.upper().replace("X", "x"), from_block=9) == v4_ref(C, A, B, 500, 10)

    ((method, (problem,)),) = rpc.problem
    assert method == "eth_getLogs"
    assert (problem["address"], problem["fromBlock"], problem["toBlock"]) == (C, "0x9", "latest")
    assert problem["topics"] == [logs[0]["topics"][0], its_id.upper().replace("X", "x")]
    logs[0] = begun("0x" + "77" * 32, hooks=5)
    with pytest.raises(UnsupportedPool, match="with hooks"):
        find_v4_ref(rpc, C, "0x" + "77" * 32)
    logs.clear()
    with pytest.raises(UnsupportedPool, match="does not know"):
        find_v4_ref(rpc, C, its_id)


def test_ref_is_named_by_address_or_by_the_pools_id() -> None:
    raised = A.upper().replace("X", "x")
    assert PoolRef(raised, venue="curve").key == A
    assert v4_ref(C, A, B, 500, 10).key == pool_id(A, B, 500, 10)


# Uniswap V3, by the lens


@pytest.mark.parametrize("lens", [C, None])
def test_v3_pools_are_read_by_one_call_of_the_lens_its_own_or_lent(lens: str | None) -> None:
    states = [
        (A, B, 500, 10, Q96, 0, 7, [(-10, 7, 7), (10, 7, -7)]),
        (B, C, 3_000, 60, Q96, 0, 0, []),
    ]
    read = interface("UniswapV3Lens").functions["read"]
    known = KNOWN | {C: Token(C, "CCC", 8)}
    problem: list[Any] = []

    def answer(method: str, params: Any) -> Any:
        problem.append(params)
        return "0x" + read.outputs.encode([states]).hex()

    rpc = Answering(answer)
    pools = [address("1"), address("2")]
    one, other = read_v3_pools(rpc, lens, pools, known, BLOCK, 3)

    (params,) = problem
    assert read.arguments(params[0]["data"]) == (tuple(pools), 0)
    assert params[1]["blockHash"] == BLOCK.hash
    assert params[0]["to"] == (lens or "0x" + "1e" * 20)
    code = "0x" + load_artifact("UniswapV3Lens").runtime_code().hex()
    assert list(params[2:]) == ([] if lens else [{"0x" + "1e" * 20: {"code": code}}])
    assert (one.address, one.tokens, one.fee_pips, one.tick_spacing) == (*(pools[0], (known[A], known[B]), 500, 10),)
    assert (one.sqrt_price_x96, one.tick, one.liquidity) == (Q96, 0, 7)
    assert [tuple(tick) for tick in one.profile.ticks] == [(-10, 7, 7), (10, 7, -7)]
    assert (one.chain_id, one.block, one.name) == (3, 7, "Uniswap V3 AAA/BBB 0.05%")
    assert (other.address, other.tokens, other.liquidity) == (pools[1], (known[B], known[C]), 0)
    assert other.name == "Uniswap V3 BBB/CCC 0.3%"
    assert read_v3_pools(rpc, lens, [], known, BLOCK, 3) == ()


def test_pools_of_pancakeswap_are_read_by_the_lens_apart_from_uniswaps() -> None:
    read = interface("UniswapV3Lens").functions["read"]
    problem: list[Any] = []

    def answer(method: str, params: Any) -> Any:
        pools, _ = read.arguments(params[0]["data"])
        problem.append(pools)
        state = (A, B, 500, 10, Q96, 0, 7, [(-10, 7, 7), (10, 7, -7)])
        return "0x" + read.outputs.encode([[state] * len(pools)]).hex()

    rpc = Answering(answer)
    one, two, three = (address(digit) for digit in "123")
    refs = [
        PoolRef(one, venue="pancakeswap-v3"),
        PoolRef(two),
        PoolRef(three, venue="pancakeswap-v3"),
    ]

    found = read_pools(rpc, refs, BLOCK, 3, tokens=KNOWN, lens=C)

    assert rpc.batches == [2]
    assert sorted(problem) == [(one, three), (two,)]
    assert [type(pool) for pool in found] == [PancakeSwapV3Pool, UniswapV3Pool, PancakeSwapV3Pool]
    assert [pool.address for pool in found] == [one, two, three]
    assert found[2].name == "PancakeSwap V3 AAA/BBB 0.05%"
    assert found[2].ref == replace(refs[2], tokens=(A, B), fee_pips=500)


# Tokens


def run(reading: Reading[Any], rpc: Rpc) -> Any:
    (found,) = _together(rpc, [reading])
    if isinstance(found, Exception):
        raise found
    return found


def test_tokens_that_are_not_known_are_asked_once_each() -> None:
    rpc = reported({(C, "symbol"): "CCC", (C, "decimals"): 7})
    raised = C.upper().replace("X", "x")

    found = run(tokens_read(AT, [C, A, ETHER_ADDRESS, raised, B]), rpc)

    of_c = Token(C, "CCC", 7)
    assert found == (of_c, KNOWN[A], Token(ETHER_ADDRESS, "ETH", 18), of_c, KNOWN[B])
    assert rpc.batches == [2]
    more = reported(
        {(each, "symbol"): each[-3:] for each in (A, B, C)}
        | {(each, "decimals"): n for n, each in enumerate((A, B, C), 3)}
    )
    assert run(tokens_read(At(BLOCK, 1, {}, None, "0x"), [A, B, C]), more) == tuple(
        Token(each, each[-3:], n) for n, each in enumerate((A, B, C), 3)
    )
    assert run(tokens_read(AT, [A, B]), Answering(echo)) == (KNOWN[A], KNOWN[B])


def test_symbol_of_one_word_is_read_and_one_of_none_is_the_address() -> None:
    contract = TOKEN.at(C)
    word = "0x" + b"MKR".ljust(32, b"\0").hex()
    assert _symbol(contract, word) == "MKR"
    assert _symbol(contract, "0x" + b"\xff\0".ljust(32, b"\0").hex()) not in ("", C)
    assert _symbol(contract, "0x") == C
    for letters, is_whole in ((LONGEST_SYMBOL, True), (LONGEST_SYMBOL + 1, False)):
        text = "x" * letters
        told_by_it = "0x" + TOKEN.functions["symbol"].outputs.encode([text]).hex()
        assert (_symbol(contract, told_by_it) == text) is is_whole


# Uniswap V4


def test_v4_pool_is_read_from_its_managers_storage() -> None:
    """Words by the layout of Pool.State: slot0 packs price, tick and fees; liquidity is three on, then ticks and their bitmap."""
    whole = (1 << 126) + 5  # of a position: more than what a word with a sign of fewer bits holds
    cases = ((60, -60, 120, -1), (1, -887_272, 887_272, 3), (16_383, -16_383, 0, -(1 << 10)))
    for spacing, low, high, tick in cases:
        ref = v4_ref(C, A, B, 3_000, spacing)
        storage: dict[int, int] = {}
        state = _mapped(int(ref.key, 16) - (1 << 256 if int(ref.key, 16) >> 255 else 0), 6)
        fees = 17 + (999 << 12)
        price = sqrt_at_tick(tick) + 1
        storage[state] = price + ((tick & 0xFFFFFF) << 160) + (fees << 184) + (77 << 208)
        active = whole if low <= tick < high else 0
        storage[state + 3] = active + (5 << 128)
        for at, net in ((low, whole), (high, -whole)):
            index = at // spacing
            word = _mapped(index >> 8, state + 5)
            storage[word] = storage.get(word, 0) | 1 << (index & 255)
            storage[_mapped(at, state + 4)] = whole + ((net & (1 << 128) - 1) << 128)
        problem: list[int] = []

        def load(slots: Sequence[bytes], problem: list[int] = problem, storage: dict[int, int] = storage) -> Any:
            problem.append(len(slots))
            return ([storage.get(int.from_bytes(slot), 0).to_bytes(32) for slot in slots],)

        rpc = reported({(C, "extsload"): load})
        (found,) = read_pools(rpc, [ref], BLOCK, 1, tokens=KNOWN)
        pool = of_class(found, UniswapV4Pool)

        assert (pool.manager, pool.pool_id, pool.tokens) == (C, ref.key, (KNOWN[A], KNOWN[B]))
        assert (pool.sqrt_price_x96, pool.tick, pool.liquidity) == (price, tick, active)
        assert pool.protocol_fees_pips == (17, 999)
        assert [tuple(each) for each in pool.profile.ticks] == [
            (low, whole, whole),
            (high, whole, -whole),
        ]
        assert (pool.fee_pips > 3_000, pool.tick_spacing, pool.chain_id, pool.block) == (
            True,
            spacing,
            1,
            7,
        )
        assert pool.name == "Uniswap V4 AAA/BBB 0.3%"
        words = 2 * (887_272 // spacing // 256 + 1) + 1
        pieces = [1_000] * (words // 1_000) + [words % 1_000]
        assert problem == [2, *pieces, 2]

    with pytest.raises(UnsupportedPool, match="does not know"):
        run(
            uniswap_v4.VENUE.read(AT, [ref]),
            reported({(C, "extsload"): lambda slots: ([bytes(32)] * len(slots),)}),
        )


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (0, 24, 0),
        (1 << 23, 24, -(1 << 23)),
        ((1 << 23) - 1, 24, (1 << 23) - 1),
        (0x1FFFFFF, 24, -1),
        (255, 8, -1),
    ],
)
def test_words_with_a_sign_are_read_by_their_bits(value: int, bits: int, expected: int) -> None:
    assert _signed(value, bits) == expected


def test_pair_that_answers_nothing_is_missing() -> None:
    with pytest.raises(ContractMissing):
        run(
            uniswap_v2.VENUE.read(AT, [PoolRef(C, venue="uniswap-v2")]),
            reported({(C, "token0"): "raw:0x"}),
        )


def test_balance_is_lent_by_code_that_asks_the_coins_own_for_all_else() -> None:
    lent = with_balance(A, "0xfeed", 5)

    assert set(lent) == {A, "0x" + "c0de" * 10}
    assert lent["0x" + "c0de" * 10] == {"code": "0xfeed"}
    code = lent[A]["code"]
    assert f"7f{5:064x}" in code
    assert "70a08231" in code, "balanceOf"
    assert "c0de" * 10 in code


# Balancer


def balancer_chain(pool: BalancerWeightedPool, odd: int = 0) -> tuple[Answering, list[Any]]:
    """A Vault that pays what a pool on paper does, and `odd` more; and what it was asked for."""
    problem: list[Any] = []

    def pays(kind: int, swaps: Any, assets: Any, funds: Any) -> Any:
        ((its_id, i, j, amount, data),) = swaps
        problem.append((i, j, amount))
        assert (kind, data, "0x" + its_id.hex()) == (0, b"", pool.pool_id)
        assert assets == tuple(token.address for token in pool.tokens)
        assert funds == (ETHER_ADDRESS, False, ETHER_ADDRESS, False)
        deltas = [0] * len(assets)
        way = pool.tokens[i].address, pool.tokens[j].address
        deltas[i], deltas[j] = amount, -pool.quote_in(*way, amount) - odd
        return (deltas,)

    its_id = bytes.fromhex(pool.pool_id[2:])
    rpc = reported(
        {
            (pool.address, "getPoolId"): its_id,
            (pool.address, "getVault"): pool.vault,
            (pool.address, "getNormalizedWeights"): (list(pool.weights_e18),),
            (pool.address, "getSwapFeePercentage"): pool.fee_e18,
            (pool.vault, "getPoolTokens"): lambda asked_id: (
                [token.address for token in pool.tokens],
                list(pool.balances) if asked_id == its_id else [],
                5,
            ),
            (pool.vault, "queryBatchSwap"): pays,
        }
    )
    return rpc, problem


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_weighted_pool_is_read_with_the_powers_that_its_answers_show(version: str) -> None:
    """Weights of two to one, whose power of two the versions work out in other ways."""
    tokens = (KNOWN[A], KNOWN[B], Token(C, "CCC", 8))
    pool = BalancerWeightedPool(
        address=address("1"),
        vault=address("2"),
        pool_id=address("1") + "0" * 24,
        tokens=tokens,
        balances=(800 * 10**18 + 7, 200 * 10**6, 5),
        weights_e18=(2 * 10**17, 4 * 10**17, 4 * 10**17),
        fee_e18=3 * 10**15,
        pow_version=version,
        chain_id=3,
        block=7,
        name="Balancer AAA/BBB/CCC",
    )
    ref = PoolRef(pool.address, venue="balancer")
    known = {token.address: token for token in tokens}
    rpc, problem = balancer_chain(pool)

    assert read_pools(rpc, [ref], BLOCK, 3, tokens=known) == (pool,)

    # Any two, both ways, by a millionth, a thousandth and a twentieth of what there is, and no less than a unit.
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    parts = (1_000_000, 1_000, 20)
    assert problem == [(i, j, max(pool.balances[i] // part, 1)) for i, j in pairs for part in parts]
    rpc, _ = balancer_chain(pool, odd=1)
    with pytest.raises(UnsupportedPool, match="Balancer pool that is not weighted"):
        read_pools(rpc, [ref], BLOCK, 3, tokens=known)
