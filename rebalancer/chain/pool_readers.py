"""Which questions make a pool of each protocol whole? One reader a protocol; `rebalancer.chain.pools` asks them.

A reader yields calls, is sent their answers, and returns what it read; it does no I/O of its own. What it
makes goes through `rebalancer.pools.load`, so that what the chain says must be as whole as a file must.

Where a chain has no UniswapV3Lens, the lens runs all the same: its code is lent to the call alone
(eth_call with a state override, which Hardhat knows as well as geth). Uniswap V4 is read from PoolManager's
storage (extsload), where Pool.State lies at slot 6 of the manager, so no StateView is needed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eth_utils.crypto import keccak

from rebalancer.chain.abi import Contract, interface
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.pool_views import BALANCER_POOL, BALANCER_VAULT, CURVE, MANAGER, PAIR, TOKEN
from rebalancer.chain.rpc import Call
from rebalancer.chain.snapshot import Block
from rebalancer.errors import (
    ContractMissing,
    ContractReverted,
    LiquidityExhausted,
    RpcRejected,
    UnsupportedPool,
)
from rebalancer.pools import (
    AnyPool,
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Token,
    load,
    of_kind,
)
from rebalancer.pools.model import ETHER_ADDRESS
from rebalancer.pools.uniswap_v3_math import MAX_TICK
from rebalancer.pools.uniswap_v4 import pool_id
from rebalancer.texts import LONGEST_SYMBOL, safe_text

__all__ = [
    "At",
    "Reading",
    "Result",
    "V4Key",
    "answered",
    "balancer_pool",
    "curve_pool",
    "v2_pool",
    "v3_pools",
    "v4_pool",
    "with_balance",
]

_SLOTS = 1_000
"""Slots in one extsload: some two million gas and 32 kB of call data."""

_ETHER = Token(ETHER_ADDRESS, "ETH", 18)
_LENS_ADDRESS = "0x" + "1e" * 20
"""Where the lens stands for a call it is lent to."""

_POOLS_SLOT = 6
_LIQUIDITY_AT, _TICKS_AT, _BITMAP_AT = 3, 4, 5
"""PoolManager._pools, and members of Pool.State, by slot."""

_WORD_BITS = 256
_MAX_COINS = 8
_CURVE_ETHER = "0x" + "ee" * 20
_TRICRYPTO_MULTIPLIER, _TRICRYPTO2_MULTIPLIER = 100, 10_000
"""What the first tricrypto (which tells A_precise) and all later ones multiply A by."""

_NG_MATH = {(3, "v2.0.0"): "ng", (2, "v2.0.0"): "ng", (2, "v2.1.0"): "ng-v2.1.0"}
"""Coins and the version that the mathematics contract tells → how snapshots name it."""

_CURVE_SCALARS = (
    *("A", "A_precise", "fee", "admin_fee", "gamma", "D", "mid_fee", "out_fee", "fee_gamma"),
    *("future_A_time", "future_A_gamma_time", "MATH", "virtual_price", "totalSupply"),
    *("offpeg_fee_multiplier", "stored_rates", "price_scale()"),
)
_CURVE_LISTS = ("coins", "balances", "price_scale(uint256)", "admin_balances")
_RECEIVED = "exchange_received"
_CODE_ADDRESS = "0x" + "c0de" * 10
"""Where a coin's own code stands while it is asked through other code."""

_PROBE_PARTS = (1_000_000, 1_000, 20)
"""Parts of a balance with which what the chain answers is compared with what it answers on paper."""


Result = TypeVar("Result")
Reading = Generator[list[Call], list[Any], Result]
"""Yields calls, is sent their answers, returns what it read."""


@dataclass(frozen=True, slots=True)
class V4Key:
    """A Uniswap V4 pool without hooks in its manager; ether is address zero."""

    token0: str
    token1: str
    fee_pips: int
    tick_spacing: int

    @property
    def pool_id(self) -> str:
        """0x and 64 digits."""
        return pool_id(self.token0, self.token1, self.fee_pips, self.tick_spacing)


@dataclass(frozen=True)
class At:
    """What every reader needs."""

    block: Block
    chain_id: int
    tokens: Mapping[str, Token]
    lens: str | None

    def ask(self, contract: Contract, function: str, *args: Any) -> Call:
        return contract.request(function, *args, block=self.block.hash)

    def head(self, name: str) -> dict[str, Any]:
        return {"chain_id": self.chain_id, "block": self.block.number, "name": name}


def answered(contract: Contract, function: str, answer: Any) -> Any:
    """What a function answered, or None where there is no such function."""
    try:
        return contract.result(function, answer)
    except (ContractReverted, ContractMissing, RpcRejected):
        return None


def _tokens(at: At, addresses: Iterable[str]) -> Reading[tuple[Token, ...]]:
    """Tokens by address; who is not known is asked."""
    wanted = [address.lower() for address in addresses]
    unknown = [a for a in dict.fromkeys(wanted) if a not in at.tokens and a != ETHER_ADDRESS]
    found = {ETHER_ADDRESS: _ETHER, **at.tokens}
    if unknown:
        contracts = [TOKEN.at(address) for address in unknown]
        answers = yield [at.ask(c, name) for c in contracts for name in ("symbol", "decimals")]
        for n, contract in enumerate(contracts):
            symbol = _symbol(contract, answers[2 * n])
            decimals = contract.result("decimals", answers[2 * n + 1])
            found[contract.address] = Token(contract.address, symbol, decimals)
    return tuple(found[address] for address in wanted)


def _symbol(contract: Contract, answer: Any) -> str:
    """A symbol; some old tokens tell theirs in one word instead of a text."""
    try:
        found = str(contract.result("symbol", answer))
    except ContractMissing:
        word = bytes.fromhex(answer.removeprefix("0x")) if isinstance(answer, str) else b""
        found = word.rstrip(b"\0").decode("utf-8", "replace")
    return safe_text(found, LONGEST_SYMBOL) or contract.address


def v2_pool(at: At, address: str, fee_bps: int) -> Reading[AnyPool]:
    """A pair; its fee is not to be read of it."""
    pair = PAIR.at(address)
    names = ("token0", "token1", "getReserves")
    answers = yield [at.ask(pair, name) for name in names]
    token0, token1, reserves = (
        pair.result(name, a) for name, a in zip(names, answers, strict=True)
    )
    tokens = yield from _tokens(at, (token0, token1))
    fee = f"{fee_bps / 100:g}%"
    return load(
        {
            **at.head(f"Uniswap V2 {tokens[0].symbol}/{tokens[1].symbol} {fee}"),
            "address": address,
            "tokens": [token.to_json() for token in tokens],
            "reserves": list(reserves[:2]),
            "fee_bps": fee_bps,
        }
    )


def v3_pools(at: At, addresses: Sequence[str]) -> Reading[tuple[AnyPool, ...]]:
    """All of them by one call of the lens, its own or lent."""
    lens = interface("UniswapV3Lens").at(at.lens or _LENS_ADDRESS)
    method, (message, block) = at.ask(lens, "read", list(addresses), 0)
    if at.lens is None:
        code = "0x" + load_artifact("UniswapV3Lens").runtime_code().hex()
        answers = yield [(method, (message, block, {_LENS_ADDRESS: {"code": code}}))]
    else:
        answers = yield [(method, (message, block))]
    states = lens.result("read", answers[0])
    tokens = yield from _tokens(at, [address for state in states for address in state[:2]])
    pools = []
    for n, (address, state) in enumerate(zip(addresses, states, strict=True)):
        _, _, fee, spacing, sqrt_price_x96, tick, liquidity, ticks = state
        token0, token1 = tokens[2 * n : 2 * n + 2]
        pools.append(
            load(
                {
                    **at.head(f"Uniswap V3 {token0.symbol}/{token1.symbol} {fee / 10_000:g}%"),
                    "pool": address,
                    "scalars": {
                        "fee": fee,
                        "tick_spacing": spacing,
                        "sqrt_price_x96": sqrt_price_x96,
                        "tick": tick,
                        "liquidity": liquidity,
                    },
                    "tick_data": {str(t): [gross, net, at.block.number] for t, gross, net in ticks},
                    "token0": token0.to_json(),
                    "token1": token1.to_json(),
                }
            )
        )
    return tuple(pools)


def v4_pool(at: At, manager_address: str, key: V4Key) -> Reading[AnyPool]:
    """A pool without hooks, by its key in its manager."""
    manager, spacing = MANAGER.at(manager_address), key.tick_spacing
    state = int.from_bytes(keccak(bytes.fromhex(key.pool_id[2:]) + _POOLS_SLOT.to_bytes(32)))
    slot0, liquidity = yield from _slots(at, manager, [state, state + _LIQUIDITY_AT])
    if slot0 == 0:
        raise UnsupportedPool(f"Uniswap V4 that {manager_address} does not know ({key.pool_id})")
    last = MAX_TICK // spacing // _WORD_BITS + 1
    places = range(-last, last + 1)
    words = yield from _slots(at, manager, [_mapped(word, state + _BITMAP_AT) for word in places])
    ticks = [
        (word * _WORD_BITS + bit) * spacing
        for word, map_ in zip(places, words, strict=True)
        for bit in range(_WORD_BITS)
        if map_ >> bit & 1
    ]
    values = yield from _slots(at, manager, [_mapped(tick, state + _TICKS_AT) for tick in ticks])
    token0, token1 = yield from _tokens(at, (key.token0, key.token1))
    protocol_fees = slot0 >> 184 & 0xFFFFFF
    return load(
        {
            **at.head(f"Uniswap V4 {token0.symbol}/{token1.symbol} {key.fee_pips / 10_000:g}%"),
            "pool_id": key.pool_id,
            "pool_manager": manager_address,
            "scalars": {
                "fee": key.fee_pips,
                "tick_spacing": spacing,
                "sqrt_price_x96": slot0 & (1 << 160) - 1,
                "tick": _signed(slot0 >> 160, 24),
                "liquidity": liquidity & (1 << 128) - 1,
                "protocol_fee_zero_for_one": protocol_fees & 0xFFF,
                "protocol_fee_one_for_zero": protocol_fees >> 12,
            },
            "tick_data": {
                str(tick): [value & (1 << 128) - 1, _signed(value >> 128, 128), at.block.number]
                for tick, value in zip(ticks, values, strict=True)
            },
            "token0": token0.to_json(),
            "token1": token1.to_json(),
        }
    )


def _slots(at: At, manager: Contract, slots: Sequence[int]) -> Reading[list[int]]:
    """Words of PoolManager's storage."""
    if not slots:
        return []
    parts = [slots[start : start + _SLOTS] for start in range(0, len(slots), _SLOTS)]
    answers = yield [
        at.ask(manager, "extsload", [slot.to_bytes(32) for slot in part]) for part in parts
    ]
    words = [manager.result("extsload", answer) for answer in answers]
    return [int.from_bytes(word) for part in words for word in part]


def _mapped(key: int, slot: int) -> int:
    """Where a Solidity mapping by a number keeps its value."""
    return int.from_bytes(keccak(key.to_bytes(32, signed=True) + slot.to_bytes(32)))


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def balancer_pool(at: At, address: str) -> Reading[AnyPool]:
    """A weighted pool, by the mathematics that its answers show."""
    pool = BALANCER_POOL.at(address)
    names = ("getPoolId", "getVault", "getNormalizedWeights", "getSwapFeePercentage")
    answers = yield [at.ask(pool, name) for name in names]
    its_id, vault_address, weights, fee = (
        pool.result(name, answer) for name, answer in zip(names, answers, strict=True)
    )
    vault = BALANCER_VAULT.at(vault_address)
    answers = yield [at.ask(vault, "getPoolTokens", its_id)]
    assets, balances, _ = vault.result("getPoolTokens", answers[0])
    tokens = yield from _tokens(at, assets)
    snapshot = {
        **at.head("Balancer " + "/".join(token.symbol for token in tokens)),
        "address": address,
        "pool_id": "0x" + bytes(its_id).hex(),
        "vault": vault_address,
        "tokens": [token.to_json() for token in tokens],
        "balances": list(balances),
        "fee": f"{fee}/{10**18}",
        "weights": list(weights),
    }
    known = [
        of_kind(load({**snapshot, "pow_version": version}), BalancerWeightedPool)
        for version in ("v2", "v1")
    ]
    # Nothing tells which powers a pool takes but what it answers.
    swaps = _probes(known[0])
    funds = (ETHER_ADDRESS, False, ETHER_ADDRESS, False)
    answers = yield [
        at.ask(vault, "queryBatchSwap", 0, [(its_id, i, j, amount, b"")], list(assets), funds)
        for i, j, amount in swaps
    ]
    told = [answered(vault, "queryBatchSwap", answer) for answer in answers]
    chain = [-deltas[j] if deltas else None for deltas, (_, j, _) in zip(told, swaps, strict=True)]
    for paper in known:
        if chain == [_quote(paper, *swap) for swap in swaps]:
            return paper
    raise UnsupportedPool(f"Balancer that answer otherwise than weighted ones ({address})")


def curve_pool(at: At, address: str) -> Reading[AnyPool]:
    """A stable or a tricrypto pool, whose answers are those of the one on paper."""
    pool = CURVE.at(address)
    listed = [(name, k) for name in _CURVE_LISTS for k in range(_MAX_COINS)]
    answers = yield [at.ask(pool, name) for name in _CURVE_SCALARS] + [
        at.ask(pool, name, k) for name, k in listed
    ]
    told = {
        name: answered(pool, name, answer)
        for name, answer in zip(_CURVE_SCALARS, answers, strict=False)
    }
    lists: dict[str, list[Any]] = {name: [] for name in _CURVE_LISTS}
    for (name, _), answer in zip(listed, answers[len(_CURVE_SCALARS) :], strict=True):
        value = answered(pool, name, answer)
        if value is not None:
            lists[name].append(value)
    coins = [coin for coin in lists["coins"] if coin != ETHER_ADDRESS]
    if _CURVE_ETHER in coins:
        raise UnsupportedPool(f"Curve that hold ether ({address})")
    tokens = yield from _tokens(at, coins)
    snapshot: dict[str, Any] = {
        **at.head("Curve " + "/".join(token.symbol for token in tokens)),
        "address": address,
        "tokens": [token.to_json() for token in tokens],
        "balances": lists["balances"][: len(tokens)],
    }
    if told["gamma"] is None:
        paper = load(snapshot | _curve_stable(at, told))
    else:
        parts = yield from _curve_crypto(at, address, len(tokens), told)
        # With two coins there is one price, which is told without a number.
        one = told["price_scale()"]
        scale = lists["price_scale(uint256)"] if one is None else [one]
        paper = load({**snapshot, "price_scale": scale[: len(tokens) - 1], **parts})
    if not isinstance(paper, CurveStablePool | CurveCryptoPool):
        raise UnsupportedPool(paper.PROTOCOL)
    swaps = _probes(paper)
    kind = "int128" if isinstance(paper, CurveStablePool) else "uint256"
    view = f"get_dy({kind},{kind},uint256)"
    answers = yield [at.ask(pool, view, *swap) for swap in swaps]
    for swap, answer in zip(swaps, answers, strict=True):
        if (answered(pool, view, answer) or 0) != (_quote(paper, *swap) or 0):
            raise UnsupportedPool(f"Curve of other mathematics ({address})")
    if isinstance(paper, CurveStablePool) and paper.math_version == "ng":
        yield from _check_exchange(at, pool, paper, lists["admin_balances"])
    return paper


def _curve_stable(at: At, told: Mapping[str, Any]) -> dict[str, Any]:
    """Only pools of stableswap-ng tell the rates they store."""
    found = {
        "a_coefficient": told["A"],
        "fee": told["fee"],
        "admin_fee": told["admin_fee"],
        "is_ramping": (told["future_A_time"] or 0) > at.block.timestamp,
    }
    if told["stored_rates"] is None:
        return found
    return found | {
        "a_coefficient": told["A_precise"],
        "rates": list(told["stored_rates"]),
        "math_version": "ng",
        "offpeg_fee_multiplier": told["offpeg_fee_multiplier"],
    }


def _curve_crypto(
    at: At, address: str, count: int, told: Mapping[str, Any]
) -> Reading[dict[str, Any]]:
    """Only pools of tricrypto-ng and twocrypto-ng tell which mathematics they use."""
    precise, ends_at = told["A_precise"], told["future_A_gamma_time"] or 0
    found = {
        "a_coefficient": told["A"] if precise is None else precise,
        "a_multiplier": _TRICRYPTO2_MULTIPLIER if precise is None else _TRICRYPTO_MULTIPLIER,
        "d": told["D"],
        # The first ones compute D again until the first swap after the ramp, too.
        "is_ramping": ends_at > 0,
        **{name: told[name] for name in ("gamma", "mid_fee", "out_fee", "fee_gamma")},
    }
    if told["MATH"] is None:
        return found
    mathematics = CURVE.at(told["MATH"])
    answers = yield [at.ask(mathematics, "version")]
    version = answered(mathematics, "version", answers[0])
    if (count, version) not in _NG_MATH:
        raise UnsupportedPool(f"Curve of mathematics {safe_text(str(version), 16)} ({address})")
    return found | {
        "math_version": _NG_MATH[count, version],
        "virtual_price": told["virtual_price"],
        "total_supply": told["totalSupply"],
        "is_ramping": ends_at > at.block.timestamp,
    }


def _check_exchange(
    at: At, pool: Contract, paper: CurveStablePool, owed: Sequence[int]
) -> Reading[None]:
    """What the pool itself pays, which its get_dy leaves to a contract of its factory.

    `exchange_received` takes what has come in since the pool last looked. So the first coin's code is lent to the call
    with more in the pool's balance; all else of the coin is as it is. Pools of coins whose balances change by
    themselves have no such function, and their state moves without a log.
    """
    coin = paper.tokens[0].address
    (code,) = yield [("eth_getCode", (coin, {"blockHash": at.block.hash}))]
    calls: list[Call] = []
    amounts = [max(paper.balances[0] // part, 1) for part in _PROBE_PARTS]
    for amount in amounts:
        held = paper.balances[0] + sum(owed[:1]) + amount
        method, (message, block) = at.ask(pool, _RECEIVED, 0, 1, amount, 0)
        lent = with_balance(coin, code, held)
        calls.append((method, ({**message, "from": _LENS_ADDRESS}, block, lent)))
    answers = yield calls
    paid = [answered(pool, _RECEIVED, answer) for answer in answers]
    if None in paid:
        raise UnsupportedPool(
            f"Curve that hold coins whose balances change by themselves ({pool.address})"
        )
    ends = coin, paper.tokens[1].address
    if paid != [paper.quote_in(*ends, amount) for amount in amounts]:
        raise UnsupportedPool(f"Curve of other mathematics ({pool.address})")


def with_balance(coin: str, code: str, held: int) -> dict[str, dict[str, str]]:
    """The state override of a call in which everybody holds `held` of a coin, whose own `code` answers all else."""
    lent = "".join(
        (
            "60003560e01c6370a0823114604557",  # the selector is balanceOf's: go to 0x45
            "3660006000376000600036600073",  # copy the calldata, and with it
            f"{_CODE_ADDRESS[2:]}5af4",  # delegate the call
            "3d600060003e6040573d6000fd",  # on failure revert with what was returned
            "5b3d6000f3",  # 0x40: return it
            f"5b7f{held:064x}60005260206000f3",  # 0x45: return the balance
        )
    )
    return {coin: {"code": "0x" + lent}, _CODE_ADDRESS: {"code": code}}


def _probes(
    pool: BalancerWeightedPool | CurveStablePool | CurveCryptoPool,
) -> list[tuple[int, int, int]]:
    """(i, j, amount) of every ordered pair of neighbours, by parts of what the pool holds."""
    count = len(pool.tokens)
    pairs = [(k, (k + 1) % count) for k in range(count)]
    return [
        (i, j, max(pool.balances[i] // part, 1))
        for one, other in pairs
        for i, j in ((one, other), (other, one))
        for part in _PROBE_PARTS
    ]


def _quote(
    pool: BalancerWeightedPool | CurveStablePool | CurveCryptoPool, i: int, j: int, amount: int
) -> int | None:
    """What the pool's own view would answer; None where it refuses."""
    way = pool.tokens[i].address, pool.tokens[j].address
    try:
        if isinstance(pool, BalancerWeightedPool):
            return pool.quote_in(*way, amount)
        return pool.get_dy(*way, amount)
    except LiquidityExhausted:
        return None
