"""Run of all attacks, each on the same initial state, in the order of the table; and the notes below the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rebalancer.chain.artifacts import add_artifacts_folder
from rebalancer.chain.contracts import contract_at
from rebalancer.devnet.environment import DEMO_BAND_BPS, DEMO_POLICY
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from scripts.attacks import (
    anybody,
    auctions,
    emptied,
    fees,
    griefing,
    losses,
    prices,
    rates,
    shares,
    stolen_keeper,
    wrappers,
)
from scripts.attacks.field import Attack, AttackEnv, Result, act

__all__ = ["ATTACKS", "notes", "open_env", "play"]

add_artifacts_folder(Path(__file__).resolve().parents[2] / ".build" / "test-artifacts")

_GENESIS_AT = 1_680_652_800  # arbitrary, but constant

ATTACKS: dict[str, Attack] = {
    "stolen-keeper": stolen_keeper.stolen_keeper,
    "wash-trading": stolen_keeper.wash_trading,
    "rounding": shares.in_and_out,
    "retargeting": shares.retargeting,
    "open-execution": anybody.open_execution,
    "calendar": anybody.calendar,
    "quotes": anybody.quotes,
    "auctions": auctions.auctions,
    "stale-prices": prices.stale_prices,
    "moved-average": prices.moved_average,
    "rates": rates.rates,
    "fundamental-feed": rates.fundamental_feed,
    "wrappers": wrappers.wrappers,
    "fees": fees.fees,
    "first-depositor": shares.first_depositor,
    "emptied": emptied.emptied,
    "absorbed": shares.absorbed,
    "read-only-reentrancy": shares.read_only_reentrancy,
    "griefing": griefing.griefing,
    "barred-tokens": griefing.barred_tokens,
    "losses": losses.losses_shared,
    "seized": losses.bought_again,
}
"""By the name that `--only` takes."""


@contextmanager
def open_env() -> Iterator[AttackEnv]:
    """An environment on its own chain. Runs are deterministic."""
    settings = NodeSettings(genesis_at=_GENESIS_AT, skip_state_roots=True)
    with Node.start(settings) as node, node.rpc(timeout_s=120) as rpc:
        yield AttackEnv(LocalChain(rpc))


def play(env: AttackEnv, names: Iterable[str] = ATTACKS) -> Iterator[tuple[str, list[Result]]]:
    """Results of each kind of attack, by name, as they become available."""
    for name in names:
        with env.undone():
            yield name, ATTACKS[name](env)


def notes(env: AttackEnv) -> list[str]:
    """Meaning of the figures, and how they were measured."""
    policy = DEMO_POLICY
    return [
        (
            "USD at true prices on a vault of a million dollars (40 % WETH, 40 % WBTC, 20 % USDC); where prices move, each trade counts as "
            "part of the vault's value just before it. Gas is not included, and a flash loan is free. The part of a gain that "
            "holders do not lose comes from others: liquidity providers, arbitrageurs, lenders."
        ),
        (
            f"Unless a row says otherwise: bands of {DEMO_BAND_BPS / 100:g} %, slippage limit {policy.start_slippage_bps / 100:g} % climbing "
            f"to {policy.max_slippage_bps / 100:g} % in {policy.slippage_ramp_seconds // 60} min, loss budget "
            f"{policy.loss_budget_bps / 100:g} % and turnover budget {policy.turnover_budget_bps / 100:g} % a day, cooldown "
            f"{policy.cooldown_seconds // 60} min, prices of 2,000, 30,000 and 1 dollar; no role has a delay. One break is ether up by 10 %; "
            "the wild market is ether up by 30 % and back alternately, every 70 min."
        ),
        f"Uniswap V3's pools: {', '.join(_depths(env))} move the price by 1 %. Uniswap's code is its authors'.",
        "No sandwich can take more than an executor that keeps as much as possible, so the long periods use that executor.",
        "Made by `make attacks`, which is deterministic.",
    ]


def _depths(env: AttackEnv) -> Iterator[str]:
    """USD that move each pool's price by 1 %."""
    symbols = {token.address: symbol for symbol, token in env.tokens.items()}
    for place in env.environment.deployment.pools:
        pool = contract_at(env.chain.rpc, "UniswapV3Pool", place.address)
        token = contract_at(env.chain.rpc, "MockToken", place.tokens[0])
        with env.undone():
            sqrt_x96 = env.read(pool, "slot0")[0]
            before = env.read(token, "balanceOf", env.impersonated.address)
            limit = sqrt_x96 * 995 // 1_000
            env.pull([act(pool, "swap", env.impersonated.address, True, 2**126, limit, b"")])
            paid = before - env.read(token, "balanceOf", env.impersonated.address)
        usd = env.value_e18(place.tokens[0], paid) // 10**18
        names = "/".join(symbols[token] for token in place.tokens)
        pair = f"{names} {place.fee_pips / 10_000:g} %"
        yield f"{usd:,} dollars in {pair}"
