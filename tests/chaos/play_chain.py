"""A chain that takes blocks back, dear gas, nonces that are stuck or spent by others, feeds that cannot be believed, pools that refuse."""

from __future__ import annotations

from random import Random

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.devnet.environment import Actor
from rebalancer.operations.deploy import SourceSpec, set_source
from rebalancer.send.attempt import AttemptState
from tests.chaos.arena import Arena
from tests.chaos.play import CHAIN_ERROR, GWEI, count, reason
from tests.chaos.proxy import Hold

__all__ = [
    "dear_from_the_start",
    "diverging_feed",
    "fee_spike",
    "frozen_feed",
    "refusing_pool",
    "reorg",
    "spent_before_sending",
    "spent_in_the_pool",
    "spent_while_down",
    "stale_feed",
    "stuck_before",
    "stuck_meanwhile",
]

_HUGE_GAS = 500_000_000
"""What a transaction wants that no block takes."""


def reorg(arena: Arena, strength: float, seed: int) -> None:
    """So many blocks are taken back, among them one with rebalances: the lowest of them, or any."""
    keeper = arena.running()
    depth, chance = int(strength), Random(100 * seed + int(strength))
    on_top = depth - 1 if chance.random() < 0.5 else chance.randrange(depth)
    with arena.no_blocks():
        arena.mine(depth)
        arena.move()
        arena.until(lambda: count(keeper, AttemptState.SENT) == len(arena.vaults), "transactions")
        arena.mine()
        arena.until(lambda: count(keeper, AttemptState.MINED) == len(arena.vaults), "rebalances")
        arena.mine(on_top)
        arena.reorg(depth)
        assert not all(arena.epochs)
        arena.done["reorg"] += 1
    reason(arena, keeper, "event=(reorg|reorged)")
    arena.recover()


def fee_spike(arena: Arena, strength: float, seed: int) -> None:
    """Gas becomes dear while a transaction waits for its block, and cheap again some blocks later."""
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(AttemptState.SENT), "a transaction")
        arena.base_fee_wei = int(strength * GWEI)
    arena.done["base-fee spike"] += 1
    arena.pass_blocks(6 + seed % 5)
    arena.base_fee_wei = None
    reason(arena, keeper, "gas costs more|Gas costs|not mined within|at the cap|base fee")
    arena.recover()


def dear_from_the_start(arena: Arena, strength: float, seed: int) -> None:
    """Gas is above the cap before anything is sent: nothing is, until it falls."""
    keeper = arena.running()
    before = arena.epochs
    arena.base_fee_wei = int(strength * GWEI)
    arena.mine()
    arena.move()
    arena.done["base-fee spike"] += 1
    reason(arena, keeper, "cap|NotWorthGas")
    assert arena.epochs == before
    arena.base_fee_wei = None
    arena.recover()


def _get_stuck(arena: Arena, transactions: int) -> None:
    """Send transactions with the keeper's key that want more gas than blocks have from now on."""
    with arena.no_blocks():
        for ahead in range(transactions):
            arena.spend_nonce(arena.nonce() + ahead, _HUGE_GAS)
        arena.limit_blocks(_HUGE_GAS - 1)
    arena.done["stuck nonce"] += transactions


def stuck_before(arena: Arena, strength: float, seed: int) -> None:
    """Somebody else's transactions of the key are stuck: the keeper refuses to start until they are cleared."""
    _get_stuck(arena, int(strength))
    keeper = arena.keeper()
    keeper.start()
    arena.until(lambda: keeper.ended() is not None, "its refusal")
    assert keeper.exits == [CHAIN_ERROR]
    reason(arena, keeper, "nonce")
    keeper.command("tx", "clear", "--yes")
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    arena.recover()


def stuck_meanwhile(arena: Arena, strength: float, seed: int) -> None:
    """The same, of a running keeper: it waits behind them until they are mined."""
    keeper = arena.running()
    before = arena.epochs
    _get_stuck(arena, int(strength))
    arena.move()
    arena.until(lambda: keeper.has_attempt(AttemptState.SENT, AttemptState.BUMPED), "one behind them")
    reason(arena, keeper, "not mined")
    assert arena.epochs == before
    arena.limit_blocks()
    arena.recover()


def spent_before_sending(arena: Arena, strength: float, seed: int) -> None:
    """Between signing and sending, somebody else spends the nonce, so many times."""
    keeper = arena.running()
    for turn in range(int(strength)):
        hold = arena.proxy.hold(Hold(lambda methods: "eth_sendRawTransaction" in methods))
        if turn == 0:
            arena.move()
        arena.until(hold.reached.is_set, "a transaction to be sent")
        arena.take_nonce()
        hold.let_go()
        arena.done["spent nonce"] += 1
    reason(arena, keeper, "(?i)nonce")
    arena.recover()


def spent_in_the_pool(arena: Arena, strength: float, seed: int) -> None:
    """A transaction that waits for its block is replaced by somebody else's with the same key."""
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(AttemptState.SENT), "a transaction")
        arena.spend_nonce(arena.nonce())
    arena.done["spent nonce"] += 1
    reason(arena, keeper, "(?i)nonce")
    arena.recover()


def spent_while_down(arena: Arena, strength: float, seed: int) -> None:
    """The keeper is killed with a signed transaction, and its nonce spent before it is back."""
    keeper = arena.running()
    hold = arena.proxy.hold(Hold(lambda _: keeper.has_attempt(AttemptState.SIGNED)))
    arena.move()
    arena.until(hold.reached.is_set, "a signed transaction")
    keeper.kill()
    hold.let_go(drop=True)
    for _ in range(int(strength)):
        arena.take_nonce()
        arena.done["spent nonce"] += 1
    keeper.start()
    reason(arena, keeper, "(?i)another transaction with its nonce")
    arena.recover()


# Pools


def refusing_pool(arena: Arena, strength: float, seed: int) -> None:
    """A pool has nothing left of a token, which its state does not tell: swaps on it revert, and vaults are rebalanced all the same.

    So often it is refilled, and emptied again.
    """
    keeper = arena.running()
    with arena.acting() as environment:
        tokens = [environment.deployment.listed(symbol).address for symbol in ("WBTC", "USDC")]
    (pool,) = (one.address for one in arena.ground.deployment.pools if set(one.tokens) == {*tokens})
    bitcoin = contract_at(environment.chain.rpc, "MockToken", tokens[0])
    ether_e8 = arena.answer("ETH/USD")
    for _ in range(int(strength)):
        ether_e8 = ether_e8 * 115 // 100  # so that ether is sold for bitcoin each time
        before = arena.epochs
        with arena.acting() as environment:
            gone_raw = int(bitcoin.call("balanceOf", pool))
            environment.chain.transact(bitcoin, "burn", pool, gone_raw)
        arena.step({"ETH/USD": ether_e8})
        arena.done["refusing pool"] += 1
        reason(arena, keeper, f"event=pool_left_out.*{pool}")
        arena.settle(before)
        with arena.acting() as environment:
            environment.chain.transact(bitcoin, "mint", pool, gone_raw)
        arena.calm()
    before = arena.epochs
    arena.step({"ETH/USD": ether_e8 * 115 // 100})
    arena.settle(before)


# Feeds


def stale_feed(arena: Arena, strength: float, seed: int) -> None:
    """No feed answers for so many hours: nothing is traded, and the log says so."""
    keeper = arena.running()
    arena.move_unseen(int(strength * 3_600))
    arena.done["stale feed"] += 1
    reason(arena, keeper, "reason=OracleFault.* older than its heartbeat")
    before = arena.epochs
    arena.pass_blocks(5)
    assert arena.epochs == before
    arena.step({})
    arena.recover()


def frozen_feed(arena: Arena, strength: float, seed: int) -> None:
    """A feed repeats its answer while the market, and the other feeds, move by so much: trades against it lose too much."""
    keeper = arena.running()
    arena.move_except("BTC/USD", strength)
    arena.done["frozen feed"] += 1
    reason(arena, keeper, "reason=(PolicyRefuses|Poked|NotWorthGas|NoRoute|BudgetSpent|Rebalanced)")
    arena.pass_blocks(5)
    arena.step({})
    arena.recover()


def diverging_feed(arena: Arena, strength: float, seed: int) -> None:
    """A second source says otherwise: nothing is traded until both agree again."""
    keeper = arena.running()
    with arena.acting() as environment:
        weth = environment.deployment.listed("WETH")
        second = environment.chain.deploy("MockAggregator", 8, "ETH / USD, again")
        environment.chain.transact(second, "push", arena.answer("ETH/USD"))
        source = SourceSpec.of(
            PRICE_SOURCES["feed"],
            *(second.address, 8),
            heartbeat_seconds=86_400,
            max_divergence_bps=100,
        )
        set_source(environment.wallet(Actor.OWNER), environment.system, weth.address, source)
    before = arena.epochs
    arena.move()
    arena.done["diverging feed"] += 1
    reason(arena, keeper, "reason=OracleFault.* differ by more than their limit")
    arena.pass_blocks(5)
    assert arena.epochs == before
    with arena.acting() as environment:
        environment.chain.transact(second, "push", arena.answer("ETH/USD"))
    arena.settle(before)
