"""Curve venue: detection, reading and snapshots of its pools. Their mathematics is in `curve_stable` and
`curve_crypto`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rebalancer.abi import Call, Contract
from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.texts import safe_text
from rebalancer.units import E18
from rebalancer.venues.curve_crypto import CurveCryptoPool
from rebalancer.venues.curve_pool import CurvePoolBase
from rebalancer.venues.curve_stable import CurveStablePool
from rebalancer.venues.fields import Snapshot, int_of, pool_of, text_of, tokens_of
from rebalancer.venues.model import ETHER_ADDRESS, PoolRef
from rebalancer.venues.reading import (
    PROBE_PARTS,
    At,
    Reading,
    Venue,
    answered,
    each,
    interface_of,
    probes,
    quotes_of,
    tokens_read,
)

__all__ = ["CURVE", "VENUE", "CurvePool", "with_balance"]

CurvePool = CurveStablePool | CurveCryptoPool

CURVE = interface_of(
    "Curve pool",
    (
        "coins(uint256) -> address",
        "balances(uint256) -> uint256",
        "A() -> uint256",
        "A_precise() -> uint256",
        "fee() -> uint256",
        "admin_fee() -> uint256",
        "gamma() -> uint256",
        "D() -> uint256",
        "price_scale() -> uint256",
        "price_scale(uint256) -> uint256",
        "mid_fee() -> uint256",
        "out_fee() -> uint256",
        "fee_gamma() -> uint256",
        "future_A_time() -> uint256",
        "future_A_gamma_time() -> uint256",
        "MATH() -> address",
        "version() -> string",
        "virtual_price() -> uint256",
        "totalSupply() -> uint256",
        "offpeg_fee_multiplier() -> uint256",
        "stored_rates() -> uint256[]",
        "admin_balances(uint256) -> uint256",
        "exchange_received(int128,int128,uint256,uint256) -> uint256",
        "get_dy(int128,int128,uint256) -> uint256",
        "get_dy(uint256,uint256,uint256) -> uint256",
    ),
)

_MAX_COINS = 8
_CURVE_ETHER = "0x" + "ee" * 20
_TRICRYPTO_MULTIPLIER, _TRICRYPTO2_MULTIPLIER = 100, 10_000
"""Multipliers of A in the first tricrypto, which has A_precise, and in later ones."""

_NG_MATH = {(3, "v2.0.0"): "ng", (2, "v2.0.0"): "ng", (2, "v2.1.0"): "ng-v2.1.0"}
"""Number of coins and version of the mathematics contract → name in snapshots."""

_CURVE_SCALARS = (
    *("A", "A_precise", "fee", "admin_fee", "gamma", "D", "mid_fee", "out_fee", "fee_gamma"),
    *("future_A_time", "future_A_gamma_time", "MATH", "virtual_price", "totalSupply"),
    *("offpeg_fee_multiplier", "stored_rates", "price_scale()"),
)
_CURVE_LISTS = ("coins", "balances", "price_scale(uint256)", "admin_balances")
_RECEIVED = "exchange_received"
_CODE_ADDRESS = "0x" + "c0de" * 10
"""Address of a coin's own code while the coin's address has a substitute."""
_LENDER = "0x" + "1e" * 20
"""Sender of calls with substituted code."""


def _load(snapshot: Snapshot) -> CurveStablePool | CurveCryptoPool:
    """Load a pool: only crypto pools have gamma. Inconsistent snapshots are rejected."""
    lending, version = snapshot.get("use_lending"), _math_version(snapshot)
    if isinstance(lending, list) and any(lending):
        raise UnsupportedPool("Curve pool that lends its coins")
    if snapshot.get("offpeg_fee_multiplier") and version == "v1":
        raise UnsupportedPool("Curve pool older than stableswap-ng with a higher fee off the peg")
    if snapshot.get("gamma") is not None:
        return _load_crypto(snapshot)
    given: dict[str, Any] = {"math_version": version}
    if "rates" not in snapshot:
        given["rates"] = ()
    if version != "ng":
        given["offpeg_fee_multiplier_e10"] = 0
    pool = pool_of(CurveStablePool, snapshot, **given)
    if "virtual_price" in snapshot and "lp_token_total_supply" in snapshot:
        quoted, supply = (int_of(snapshot, "virtual_price"), int_of(snapshot, "lp_token_total_supply"))
        if pool.invariant * E18 // max(supply, 1) != quoted:
            raise BadPoolSnapshot(f"virtual_price {quoted} does not match these balances")
    return pool


def _load_crypto(snapshot: Snapshot) -> CurveCryptoPool:
    given: dict[str, Any] = {"math_version": _math_version(snapshot)}
    if given["math_version"] == "v1":
        if len(tokens_of(snapshot)) == 2:
            raise UnsupportedPool("Curve pool of two coins older than twocrypto-ng")
        given |= {"virtual_price_e18": 0, "total_supply": 0}
    if "a_multiplier" not in snapshot:
        given["a_multiplier"] = 1
    pool = pool_of(CurveCryptoPool, snapshot, **given)
    if "fee" in snapshot and int_of(snapshot, "fee") != pool.fee_e10:
        raise BadPoolSnapshot(f"fee {snapshot['fee']} does not match these balances, {pool.fee_e10}")
    if pool.is_ramping:
        # The contract computes D again before every swap, so the stored D is ignored.
        return replace(pool, d=pool.fresh_d)
    if abs(pool.d - pool.fresh_d) > pool.d_slack:
        raise BadPoolSnapshot(f"d {pool.d} does not match these balances, {pool.fresh_d}")
    return pool


def _math_version(snapshot: Snapshot) -> str:
    return text_of(snapshot, "math_version") if "math_version" in snapshot else "v1"


def _read(at: At, ref: PoolRef) -> Reading[CurvePool]:
    """Read a stable or crypto pool, and compare its quotes with ours."""
    address = ref.address
    pool = CURVE.at(address)
    listed = [(name, k) for name in _CURVE_LISTS for k in range(_MAX_COINS)]
    answers = yield [at.ask(pool, name) for name in _CURVE_SCALARS] + [at.ask(pool, name, k) for name, k in listed]
    quoted = {name: answered(pool, name, answer) for name, answer in zip(_CURVE_SCALARS, answers, strict=False)}
    lists: dict[str, list[Any]] = {name: [] for name in _CURVE_LISTS}
    for (name, _), answer in zip(listed, answers[len(_CURVE_SCALARS) :], strict=True):
        value = answered(pool, name, answer)
        if value is not None:
            lists[name].append(value)
    coins = [coin for coin in lists["coins"] if coin != ETHER_ADDRESS]
    if _CURVE_ETHER in coins:
        raise UnsupportedPool(f"Curve pool that holds ether, {address}")
    tokens = yield from tokens_read(at, coins)
    snapshot: dict[str, Any] = {
        **at.pool("Curve " + "/".join(token.symbol for token in tokens), address, tokens),
        "balances": lists["balances"][: len(tokens)],
    }
    if quoted["gamma"] is None:
        model = _load(snapshot | _stable_fields(at, quoted))
    else:
        parts = yield from _crypto_fields(at, address, len(tokens), quoted)
        # A pool of two coins has one price, without an index.
        one = quoted["price_scale()"]
        scale = lists["price_scale(uint256)"] if one is None else [one]
        model = _load({**snapshot, "price_scale": scale[: len(tokens) - 1], **parts})
    swaps = probes(model)
    kind = "int128" if isinstance(model, CurveStablePool) else "uint256"
    view = f"get_dy({kind},{kind},uint256)"
    answers = yield [at.ask(pool, view, *swap) for swap in swaps]
    expected = quotes_of(model, model.get_dy, swaps)
    for quote, answer in zip(expected, answers, strict=True):
        if (answered(pool, view, answer) or 0) != (quote or 0):
            raise UnsupportedPool(f"Curve pool with unknown mathematics, {address}")
    if isinstance(model, CurveStablePool) and model.math_version == "ng":
        yield from _check_exchange(at, pool, model, lists["admin_balances"])
    return model


def _stable_fields(at: At, quoted: Mapping[str, Any]) -> dict[str, Any]:
    """Snapshot fields of a stable pool. Only stableswap-ng pools return their stored rates."""
    found = {
        "a_coefficient": quoted["A"],
        "fee": quoted["fee"],
        "admin_fee": quoted["admin_fee"],
        "is_ramping": (quoted["future_A_time"] or 0) > at.block.timestamp,
    }
    if quoted["stored_rates"] is None:
        return found
    return found | {
        "a_coefficient": quoted["A_precise"],
        "rates": list(quoted["stored_rates"]),
        "math_version": "ng",
        "offpeg_fee_multiplier": quoted["offpeg_fee_multiplier"],
    }


def _crypto_fields(at: At, address: str, count: int, quoted: Mapping[str, Any]) -> Reading[dict[str, Any]]:
    """Snapshot fields of a crypto pool. Only tricrypto-ng and twocrypto-ng pools return their mathematics contract."""
    precise, ends_at = quoted["A_precise"], quoted["future_A_gamma_time"] or 0
    found = {
        "a_coefficient": quoted["A"] if precise is None else precise,
        "a_multiplier": _TRICRYPTO2_MULTIPLIER if precise is None else _TRICRYPTO_MULTIPLIER,
        "d": quoted["D"],
        # The first pools also compute D again until the first swap after the ramp.
        "is_ramping": ends_at > 0,
        **{name: quoted[name] for name in ("gamma", "mid_fee", "out_fee", "fee_gamma")},
    }
    if quoted["MATH"] is None:
        return found
    mathematics = CURVE.at(quoted["MATH"])
    answers = yield [at.ask(mathematics, "version")]
    version = answered(mathematics, "version", answers[0])
    if (count, version) not in _NG_MATH:
        raise UnsupportedPool(f"Curve pool with unknown mathematics {safe_text(str(version), 16)}, {address}")
    return found | {
        "math_version": _NG_MATH[count, version],
        "virtual_price": quoted["virtual_price"],
        "total_supply": quoted["totalSupply"],
        "is_ramping": ends_at > at.block.timestamp,
    }


def _check_exchange(at: At, pool: Contract, model: CurveStablePool, owed: Sequence[int]) -> Reading[None]:
    """Compare the pool's own payments; its get_dy is computed by another contract of its factory.

    `exchange_received` takes the tokens that have arrived since the pool's last update. So the call substitutes the
    first coin's code by code that
    reports a larger balance of the pool and delegates everything else to the original. Pools of coins whose balances
    change by themselves have no
    such function, and their state changes without a log.
    """
    coin = model.tokens[0].address
    (code,) = yield [("eth_getCode", (coin, {"blockHash": at.block.hash}))]
    calls: list[Call] = []
    amounts = [max(model.balances[0] // part, 1) for part in PROBE_PARTS]
    for amount in amounts:
        held = model.balances[0] + sum(owed[:1]) + amount
        method, (message, block) = at.ask(pool, _RECEIVED, 0, 1, amount, 0)
        lent = with_balance(coin, code, held)
        calls.append((method, ({**message, "from": _LENDER}, block, lent)))
    answers = yield calls
    paid = [answered(pool, _RECEIVED, answer) for answer in answers]
    if None in paid:
        raise UnsupportedPool(f"Curve pool with coins whose balances change by themselves ({pool.address})")
    ends = coin, model.tokens[1].address
    if paid != [model.quote_in(*ends, amount) for amount in amounts]:
        raise UnsupportedPool(f"Curve pool with unknown mathematics, {pool.address}")


def with_balance(coin: str, code: str, held: int) -> dict[str, dict[str, str]]:
    """State override in which every account holds `held` of a coin; the coin's own `code` answers all other calls."""
    lent = "".join(
        (
            "60003560e01c6370a0823114604557",  # if the selector is balanceOf's, jump to 0x45
            "3660006000376000600036600073",  # copy the calldata
            f"{_CODE_ADDRESS[2:]}5af4",  # delegate the call with it
            "3d600060003e6040573d6000fd",  # on failure, revert with the returned data
            "5b3d6000f3",  # 0x40: return the data
            f"5b7f{held:064x}60005260206000f3",  # 0x45: return the balance
        )
    )
    return {coin: {"code": "0x" + lent}, _CODE_ADDRESS: {"code": code}}


VENUE = Venue(
    name=CurvePoolBase.VENUE_NAME,
    kinds=(*("Curve 3pool", "Curve stableswap-ng"), *("Curve tricrypto", "Curve tricrypto-ng", "Curve twocrypto-ng")),
    snapshot_key="a_coefficient",
    load=_load,
    read=each(_read),
    mark=(CURVE, "A"),
    takes=lambda ref: len(ref.tokens) >= 2,
)
