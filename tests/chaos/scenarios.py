"""What is done to a keeper, as data: kinds of faults, how strong, and what its log must say of them.

A scenario is a function of an arena, a strength and a seed. It starts keepers, does its worst, and leaves with the fault over and the
vault rebalanced since; what must hold then, whatever happened, the arena judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from rebalancer.deploy import Role, SourceKind, SourceSpec, grant_roles, set_source
from rebalancer.devnet.stage import Actor
from rebalancer.send.journal import OPEN, State
from rebalancer.send.signer import devnet_signer
from tests.chaos.arena import Arena
from tests.chaos.proxy import Fault, Hold, Proxy, Weather
from tests.chaos.running import Keeper, Temper

__all__ = ["SCENARIOS", "Scenario"]

_GWEI = 10**9
_HUGE_GAS = 500_000_000
_RIVAL = 6
"""Another keeper's account."""

_FAILED = 20
_TOO_MANY_FAILURES = 22
_BOOKS_DIFFER = 23
_CHAIN_ERROR = 10
_OUTBOX_ERROR = 14


@dataclass(frozen=True)
class Scenario:
    """`play` takes an arena, a strength and a seed; the first strength is the one that a short run takes."""

    kind: str
    name: str
    play: Callable[[Arena, float, int], None]
    strengths: tuple[float, ...]
    quick: bool = True
    """Whether a short run has it."""


def _reason(arena: Arena, keeper: Keeper, pattern: str) -> None:
    """The keeper's log must say why."""
    arena.until(lambda: keeper.has_said(pattern), f"the reason in the log: {pattern}", 5)


# Bad weather between the keeper and the node


@dataclass(frozen=True)
class _Storm:
    fault: Fault
    reason: str
    """What the log says of it."""
    strikes: int = 12
    rate: float | None = None
    """How often it strikes; None: the strength says so."""
    methods: frozenset[str] = frozenset()
    exits: frozenset[int] = frozenset()

    def __call__(self, arena: Arena, strength: float, seed: int) -> None:
        arena.allowed_exits |= self.exits
        keeper = arena.running()
        rate = strength if self.rate is None else self.rate
        weather = Weather(self.fault, rate, strength, seed, self.methods)
        arena.storm(weather, self.strikes, arena.move)
        if self.reason:
            _reason(arena, keeper, self.reason)
        arena.recover()


def _outage(arena: Arena, strength: float, seed: int) -> None:
    """So long without an endpoint that the keeper gives up, and is started again by its supervisor."""
    arena.allowed_exits = {_CHAIN_ERROR, _FAILED, _TOO_MANY_FAILURES}
    keeper = arena.running(Temper(max_failures_in_a_row=int(strength)))
    weather = Weather(Fault.DROP, seed=seed)
    arena.storm(weather, 10**9, lambda: arena.until(lambda: bool(keeper.exits), "its end"), 0)
    _reason(arena, keeper, "cannot be reached")
    assert keeper.exits[0] in (_FAILED, _TOO_MANY_FAILURES)
    arena.recover()


def _spared(fault: Fault, arena: Arena, strength: float, seed: int) -> None:
    """One of two endpoints does wrong, the one that is asked first: nothing fails, and the log says which did."""
    temper = Temper(rpc_timeout_seconds=2.0)
    keeper = arena.running(temper, urls=[arena.proxy.url, arena.spare.url])

    def meanwhile() -> None:
        before = arena.epochs
        arena.move()
        arena.settle(before)

    weather = Weather(fault, strength, 0, seed)
    arena.storm(weather, 1, meanwhile, proxy=_asked_first(arena))
    _reason(arena, keeper, "event=endpoint_failed")
    assert not keeper.has_said("event=tick_failed")
    arena.recover()


def _asked_first(arena: Arena) -> Proxy:
    """Which of two endpoints the keeper prefers."""
    places = (arena.proxy, arena.spare)
    counts = [place.requests for place in places]

    def lead() -> list[int]:
        return [place.requests - count for place, count in zip(places, counts, strict=True)]

    arena.until(lambda: max(lead()) >= 20, "requests")
    return places[lead().index(max(lead()))]


def _disagreeing(arena: Arena, strength: float, seed: int) -> None:
    """One of two endpoints lies of prices, and two must agree: nothing is sent while it lies."""
    temper = Temper(top={"rpc_quorum": 2})
    keeper = arena.running(temper, urls=[arena.proxy.url, arena.spare.url])
    before = arena.epochs

    liar = _asked_first(arena)
    keeper.freeze()
    arena.move()

    def meanwhile() -> None:
        keeper.thaw()
        _reason(arena, keeper, "do not agree on eth_call")
        assert arena.epochs == before
        assert keeper.attempts == []

    price = Weather(Fault.WRONG_PRICE, 1, 0, seed, overrides=arena.other_price(strength))
    arena.storm(price, 1, meanwhile, proxy=liar)
    arena.recover()


# Lies

_DOUBT = (
    "reason=(PolicyRefuses|Poked|SimulationRefused|NotWorthGas)|state=failed|refuse|policy says"
)
"""What a keeper says that was made to want what the chain does not."""


def _lie(fault: Fault, methods: frozenset[str], arena: Arena, strength: float, seed: int) -> None:
    """Prices or holdings are told that are not so, in calls alone or in simulations as well."""
    arena.allowed_exits = {_BOOKS_DIFFER}
    keeper = arena.running()
    overrides = (
        arena.other_price(strength) if fault is Fault.WRONG_PRICE else arena.other_holding(strength)
    )
    weather = Weather(fault, 1.0, 0, seed, methods, overrides)
    moves = Random(seed).random() < 0.5
    arena.storm(weather, 10, arena.move if moves else lambda: None)
    _reason(arena, keeper, _DOUBT)
    arena.recover()


def _hidden_receipt(arena: Arena, strength: float, seed: int) -> None:
    """A transaction is mined, and the endpoint does not know its receipt."""
    keeper = arena.running()
    weather = Weather(Fault.NO_RECEIPT, strength, 0, seed)
    arena.storm(weather, 12, arena.move)
    _reason(arena, keeper, "not mined|another transaction with its nonce|state=mined")
    arena.recover()


def _false_receipt(arena: Arena, strength: float, seed: int) -> None:
    """The endpoint has a receipt of a transaction that no block holds."""
    arena.allowed_exits = {_BOOKS_DIFFER}
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(State.SENT), "a transaction")
        arena.empty_pool()
    arena.storm(Weather(Fault.FALSE_RECEIPT, 1.0, 0, seed), int(strength), lambda: None)
    _reason(arena, keeper, "taken_back|Rebalanced")
    arena.recover()


def _wrong_nonce(arena: Arena, strength: float, seed: int) -> None:
    """The endpoint miscounts the keeper's transactions."""
    arena.allowed_exits = {_CHAIN_ERROR, _TOO_MANY_FAILURES}
    keeper = arena.running(Temper(max_failures_in_a_row=20))
    arena.recover()
    arena.storm(Weather(Fault.WRONG_NONCE, 1.0, strength, seed), 10, arena.move)
    _reason(arena, keeper, "nonce")
    if strength > 0:
        _tell_operator_to_clear(arena, keeper)
    arena.recover()


def _tell_operator_to_clear(arena: Arena, keeper: Keeper) -> None:
    """A keeper that stands behind a gap fills it when it is started again."""
    keeper.stop()
    keeper.start()


# Killed


def _killed_at(state: State, arena: Arena, strength: float, seed: int) -> None:
    """`kill -9` at the first request after the outbox came to a state, as often as the strength says; then started again.

    The request may have come through or not, and blocks may come or not while the keeper is down.
    """
    temper = Temper(confirmations=3)
    if state is State.CANCELLING:
        _admit(arena, _RIVAL)
        temper = replace(temper, bump_after_blocks=1_000)
    keeper = arena.keeper(temper)
    chance = Random(seed)
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    for turn in range(int(strength)):
        if turn:
            arena.calm()
        before = {(one.id, one.state) for one in keeper.attempts}
        hold = Hold(
            lambda _, known=before: any(  # type: ignore[misc]
                one.state is state and (one.id, one.state) not in known for one in keeper.attempts
            ),
            answered=chance.random() < 0.5,
        )
        arena.proxy.hold(hold)
        _bring_to(state, arena, keeper, hold)
        keeper.kill()
        arena.done[f"kill -9: {state}"] += 1
        hold.let_go(drop=chance.random() < 0.5)
        if chance.random() < 0.5:
            at = arena.height()
            arena.until(lambda at=at: arena.height() > at + 3, "blocks meanwhile")  # type: ignore[misc]
        keeper.start()
    _reason(arena, keeper, f"state={state}")
    arena.recover()


def _bring_to(state: State, arena: Arena, keeper: Keeper, hold: Hold) -> None:
    """Have the keeper come to a state and stand still there."""
    there = hold.reached.is_set
    if state in (State.BUMPED, State.CANCELLING):
        with arena.no_blocks():
            arena.move()
            arena.until(lambda: keeper.has_attempt(State.SENT, State.BUMPED), "a transaction")
            if state is State.CANCELLING:
                keeper.freeze()
            arena.empty_pool()  # blocks come without it
        if state is State.CANCELLING:
            _let_rival_rebalance(arena)
            keeper.thaw()
    else:
        arena.move()
    arena.until(there, f"a keeper at {state}")


def _let_rival_rebalance(arena: Arena) -> None:
    """Another keeper rebalances the vault, and is gone again."""
    arena.rivals = True
    before = arena.epochs
    rival = arena.running(account=_RIVAL, urls=[arena.spare.url])
    arena.rebalanced(before)
    arena.until(lambda: not rival.has_attempt(*OPEN), "the rival's outbox")
    rival.stop()


def _admit(arena: Arena, account: int) -> None:
    """Give an account the keeper's role."""
    with arena.acting() as stage:
        members = {Role.KEEPER: [devnet_signer(account).address]}
        guardian = stage.wallet(Actor.GUARDIAN)  # keepers are the guardian's to admit
        grant_roles(guardian, stage.system.authority, members, delay_seconds=0)


def _killed_anywhere(arena: Arena, strength: float, seed: int) -> None:
    """`kill -9` at so many requests drawn by lot."""
    chance = Random(seed)
    keeper = arena.running()
    for _ in range(int(strength)):
        left = chance.randrange(1, 60)

        def counted(_methods: object) -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        hold = arena.proxy.hold(Hold(counted, answered=chance.random() < 0.5))
        if not arena.is_broken:
            arena.move()
        arena.until(hold.reached.is_set, "the request at which it is killed")
        keeper.kill()
        arena.done["kill -9: anywhere"] += 1
        hold.let_go(drop=chance.random() < 0.5)
        keeper.start()
    _reason(arena, keeper, "event=started")
    arena.recover()


def _frozen(arena: Arena, strength: float, seed: int) -> None:
    """The keeper's machine stands still while a transaction is signed and not sent, and the market moves on."""
    keeper = arena.running()
    hold = arena.proxy.hold(
        Hold(lambda _: keeper.has_attempt(State.SIGNED), answered=bool(seed % 2))
    )
    arena.move()
    arena.until(hold.reached.is_set, "a signed transaction")
    keeper.freeze()
    hold.let_go()
    arena.done["paused process"] += 1
    at = arena.height()
    arena.until(lambda: arena.height() >= at + strength, "blocks meanwhile")
    arena.move()
    keeper.thaw()
    arena.recover()


# The chain


def _reorg(arena: Arena, strength: float, seed: int) -> None:
    """So many blocks are taken back, among them one with rebalances: the lowest of them, or any."""
    keeper = arena.running()
    depth, chance = int(strength), Random(100 * seed + int(strength))
    on_top = depth - 1 if chance.random() < 0.5 else chance.randrange(depth)
    with arena.no_blocks():
        arena.mine(depth)
        arena.move()
        arena.until(lambda: _count(keeper, State.SENT) == len(arena.vaults), "transactions")
        arena.mine()
        arena.until(lambda: _count(keeper, State.MINED) == len(arena.vaults), "rebalances")
        arena.mine(on_top)
        arena.reorg(depth)
        assert not all(arena.epochs)
        arena.done["reorg"] += 1
    _reason(arena, keeper, "event=(reorg|taken_back)")
    arena.recover()


def _count(keeper: Keeper, state: State) -> int:
    return sum(attempt.state is state for attempt in keeper.attempts)


def _fee_spike(arena: Arena, strength: float, seed: int) -> None:
    """Gas becomes dear while a transaction waits for its block, and cheap again some blocks later."""
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(State.SENT), "a transaction")
        arena.base_fee_wei = int(strength * _GWEI)
    arena.done["base-fee spike"] += 1
    at = arena.height()
    blocks = 6 + seed % 5
    arena.until(lambda: arena.height() >= at + blocks, "dear blocks")
    arena.base_fee_wei = None
    _reason(arena, keeper, "gas costs more|Gas costs|not mined within|at the cap|base fee")
    arena.recover()


def _dear_from_the_start(arena: Arena, strength: float, seed: int) -> None:
    """Gas is above the cap before anything is sent: nothing is, until it falls."""
    keeper = arena.running()
    before = arena.epochs
    arena.base_fee_wei = int(strength * _GWEI)
    arena.mine()
    arena.move()
    arena.done["base-fee spike"] += 1
    _reason(arena, keeper, "cap|NotWorthGas")
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


def _stuck_before(arena: Arena, strength: float, seed: int) -> None:
    """Somebody else's transactions of the key are stuck: the keeper refuses to start until they are cleared."""
    _get_stuck(arena, int(strength))
    keeper = arena.keeper()
    keeper.start()
    arena.until(lambda: keeper.ended() is not None, "its refusal")
    assert keeper.exits == [_CHAIN_ERROR]
    _reason(arena, keeper, "nonce")
    keeper.command("tx", "clear", "--yes")
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    arena.recover()


def _stuck_meanwhile(arena: Arena, strength: float, seed: int) -> None:
    """The same, of a running keeper: it waits behind them until they are mined."""
    keeper = arena.running()
    before = arena.epochs
    _get_stuck(arena, int(strength))
    arena.move()
    arena.until(lambda: keeper.has_attempt(State.SENT, State.BUMPED), "one behind them")
    _reason(arena, keeper, "not mined")
    assert arena.epochs == before
    arena.limit_blocks()
    arena.recover()


def _spent_before_sending(arena: Arena, strength: float, seed: int) -> None:
    """Between signing and sending, somebody else spends the nonce, so many times."""
    keeper = arena.running()
    for turn in range(int(strength)):
        hold = arena.proxy.hold(Hold(lambda methods: "eth_sendRawTransaction" in methods))
        if turn == 0:
            arena.move()
        arena.until(hold.reached.is_set, "a transaction to be sent")
        before = arena.nonce()
        arena.spend_nonce(before)
        arena.until(lambda before=before: arena.nonce() > before, "the nonce spent")  # type: ignore[misc]
        hold.let_go()
        arena.done["spent nonce"] += 1
    _reason(arena, keeper, "(?i)nonce")
    arena.recover()


def _spent_in_the_pool(arena: Arena, strength: float, seed: int) -> None:
    """A transaction that waits for its block is replaced by somebody else's with the same key."""
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(State.SENT), "a transaction")
        arena.spend_nonce(arena.nonce())
    arena.done["spent nonce"] += 1
    _reason(arena, keeper, "(?i)nonce")
    arena.recover()


def _spent_while_down(arena: Arena, strength: float, seed: int) -> None:
    """The keeper is killed with a signed transaction, and its nonce spent before it is back."""
    keeper = arena.running()
    hold = arena.proxy.hold(Hold(lambda _: keeper.has_attempt(State.SIGNED)))
    arena.move()
    arena.until(hold.reached.is_set, "a signed transaction")
    keeper.kill()
    hold.let_go(drop=True)
    for _ in range(int(strength)):
        before = arena.nonce()
        arena.spend_nonce(before)
        arena.until(lambda before=before: arena.nonce() > before, "the nonce spent")  # type: ignore[misc]
        arena.done["spent nonce"] += 1
    keeper.start()
    _reason(arena, keeper, "(?i)another transaction with its nonce")
    arena.recover()


# Feeds


def _stale_feed(arena: Arena, strength: float, seed: int) -> None:
    """No feed answers for so many hours: nothing is traded, and the log says so."""
    keeper = arena.running()
    arena.move_unseen(int(strength * 3_600))
    arena.done["stale feed"] += 1
    _reason(arena, keeper, "reason=OracleFault.* Stale")
    before = arena.epochs
    at = arena.height()
    arena.until(lambda: arena.height() > at + 5, "blocks meanwhile")
    assert arena.epochs == before
    arena.step({})
    arena.recover()


def _frozen_feed(arena: Arena, strength: float, seed: int) -> None:
    """A feed repeats its answer while the market, and the other feeds, move by so much: trades against it lose too much."""
    keeper = arena.running()
    arena.move_except("BTC/USD", strength)
    arena.done["frozen feed"] += 1
    _reason(
        arena, keeper, "reason=(PolicyRefuses|Poked|NotWorthGas|NoRoute|BudgetSpent|Rebalanced)"
    )
    at = arena.height()
    arena.until(lambda: arena.height() > at + 5, "blocks meanwhile")
    arena.step({})
    arena.recover()


def _diverging_feed(arena: Arena, strength: float, seed: int) -> None:
    """A second source says otherwise: nothing is traded until both agree again."""
    keeper = arena.running()
    with arena.acting() as stage:
        weth = stage.deployment.listed("WETH")
        second = stage.chain.deploy("MockAggregator", 8, "ETH / USD, again")
        stage.chain.transact(second, "push", arena.answer("ETH/USD"))
        nobody = "0x" + "00" * 20
        source = SourceSpec(
            SourceKind.FEED, second.address, 86_400, 8, weth.decimals, b"\0" * 4, nobody, 100
        )
        set_source(stage.wallet(Actor.OWNER), stage.system.oracle, weth.address, source)
    before = arena.epochs
    arena.move()
    arena.done["diverging feed"] += 1
    _reason(arena, keeper, "reason=OracleFault.* Diverged")
    at = arena.height()
    arena.until(lambda: arena.height() > at + 5, "blocks meanwhile")
    assert arena.epochs == before
    with arena.acting() as stage:
        stage.chain.transact(second, "push", arena.answer("ETH/USD"))
    arena.settle(before)


# The machine


def _clock(arena: Arena, strength: float, seed: int) -> None:
    """The keeper's clock is wrong by so many days, or by another error at every look."""
    keeper = arena.keeper()
    keeper.clock_seconds = str(strength * 86_400) if strength else "drunk"
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    arena.done["clock skew"] += 1
    arena.recover()
    # Right again, in the next life: what was written under the wrong clock is still understood.
    keeper.kill()
    keeper.clock_seconds = ""
    keeper.start()
    arena.recover()


def _full_disk(arena: Arena, strength: float, seed: int) -> None:
    """No file of the keeper may grow by more than so many bytes; its supervisor starts it again with room."""
    arena.allowed_exits = {_OUTBOX_ERROR}
    keeper = arena.running()
    largest = max(path.stat().st_size for path in keeper.folder.glob("outbox*"))
    keeper.limit_files(largest + int(strength))
    for _ in range(8):
        before = arena.epochs
        arena.move()
        if arena.happens(lambda: bool(keeper.exits), 3):
            break
        arena.settle(before)
    assert keeper.exits == [_OUTBOX_ERROR], keeper.exits
    arena.done["full disk"] += 1
    _reason(arena, keeper, "cannot be written")
    arena.recover()


# Two of them


def _same_outbox(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers share key and outbox: the second is refused until the first is gone, then takes over."""
    arena.allowed_exits = {_OUTBOX_ERROR}
    first = arena.running()
    second = arena.keeper(outbox=first.outbox)
    second.start()
    arena.until(lambda: bool(second.exits), "the second's refusal")
    arena.done["two keepers: one outbox"] += 1
    _reason(arena, second, "is in use by")
    arena.recover()
    arena.keepers.remove(first)
    first.kill()
    arena.until(lambda: second.has_said("event=decided"), "the second's first look")
    arena.recover()


def _same_key(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers share a key and have an outbox each, as nobody should."""
    arena.rivals = True
    arena.allowed_exits = {_CHAIN_ERROR, _TOO_MANY_FAILURES}
    temper = Temper()
    arena.running(temper)
    arena.running(temper)
    for _ in range(int(strength)):
        arena.done["two keepers: one key"] += 1
        arena.recover()


def _two_keys(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers with keys of their own look after one vault."""
    arena.rivals = True
    _admit(arena, _RIVAL)
    temper = Temper()
    arena.running(temper)
    arena.running(temper, account=_RIVAL)
    for _ in range(int(strength)):
        arena.done["two keepers: two keys"] += 1
        arena.recover()


_CALLS = frozenset({"eth_call"})
_EXACT = frozenset[str]()
_LOST = "cannot be reached|did not answer"

_STORMS: Mapping[Fault, tuple[_Storm, tuple[float, ...]]] = {
    Fault.DELAY: (_Storm(Fault.DELAY, "did not answer within", 6, 0.3), (1.5, 3.0)),
    Fault.DROP: (_Storm(Fault.DROP, "the connection broke off"), (0.2, 0.05, 0.6, 1.0)),
    Fault.CUT: (_Storm(Fault.CUT, "broke off|not JSON|not a JSON"), (0.2, 0.05, 0.6)),
    Fault.TOO_MANY: (_Storm(Fault.TOO_MANY, "HTTP 429"), (0.2, 0.05, 0.6)),
    Fault.BROKEN: (_Storm(Fault.BROKEN, "HTTP 50"), (0.2, 0.05, 0.6)),
    Fault.ERROR_200: (_Storm(Fault.ERROR_200, "daily request count"), (0.2, 0.05, 0.6)),
    Fault.ERROR_AS_RESULT: (_Storm(Fault.ERROR_AS_RESULT, "tick_failed"), (0.1, 0.02, 0.5)),
    Fault.GARBAGE: (_Storm(Fault.GARBAGE, "did not answer in JSON-RPC"), (0.2, 0.05, 0.6)),
    Fault.SILENCE: (_Storm(Fault.SILENCE, "did not answer within", 4), (0.2, 1.0)),
    Fault.STALE: (_Storm(Fault.STALE, "", rate=1.0), (3, 0, 12)),
    Fault.BACKWARDS: (_Storm(Fault.BACKWARDS, "", rate=0.3), (2, 9)),
    Fault.WRONG_CHAIN: (
        _Storm(Fault.WRONG_CHAIN, "serves chain 1, not chain", 2, 1.0),
        (1,),
    ),
}

_BRIEFLY = (
    *(Fault.DELAY, Fault.DROP, Fault.TOO_MANY, Fault.ERROR_200, Fault.ERROR_AS_RESULT),
    *(Fault.SILENCE, Fault.BACKWARDS),
)
"""The storms of a short run; what the others do to one request, the tests of the arena show."""

_SPARED = (Fault.DROP, Fault.SILENCE, Fault.TOO_MANY, Fault.GARBAGE, Fault.ERROR_200)

SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(fault, "storm", storm, strengths, fault in _BRIEFLY)
        for fault, (storm, strengths) in _STORMS.items()
    ),
    *(
        Scenario(fault, "one of two endpoints", partial(_spared, fault), (0.5, 1.0), quick=False)
        for fault in _SPARED
    ),
    Scenario(Fault.DROP, "outage", _outage, (5, 20), quick=False),
    Scenario(
        Fault.WRONG_PRICE, "in calls", partial(_lie, Fault.WRONG_PRICE, _CALLS), (1.1, 0.9, 2)
    ),
    Scenario(
        Fault.WRONG_PRICE, "in all", partial(_lie, Fault.WRONG_PRICE, _EXACT), (1.1, 0.9), False
    ),
    Scenario(Fault.WRONG_PRICE, "against a quorum", _disagreeing, (1.003, 0.997), False),
    Scenario(
        Fault.WRONG_HOLDING,
        "in calls",
        partial(_lie, Fault.WRONG_HOLDING, _CALLS),
        (1.1, 0.9, 2),
        False,
    ),
    Scenario(
        Fault.WRONG_HOLDING, "in all", partial(_lie, Fault.WRONG_HOLDING, _EXACT), (1.1, 0.9), False
    ),
    Scenario(Fault.WRONG_NONCE, "miscounted", _wrong_nonce, (3, -1, 1, -5)),
    Scenario(Fault.NO_RECEIPT, "hidden", _hidden_receipt, (1.0, 0.5), False),
    Scenario(Fault.FALSE_RECEIPT, "made up", _false_receipt, (1, 5)),
    *(
        Scenario(f"kill -9: {state}", "killed", partial(_killed_at, state), (1, 2), quick)
        for state, quick in (
            (State.PLANNED, False),
            (State.SIGNED, False),
            (State.SENT, True),
            (State.BUMPED, False),
            (State.CANCELLING, False),
            (State.MINED, False),
            (State.FINAL, False),
        )
    ),
    Scenario("kill -9: anywhere", "killed", _killed_anywhere, (1, 4), False),
    Scenario("paused process", "frozen", _frozen, (4, 20)),
    Scenario("reorg", "of a rebalance", _reorg, (3, 1, 2, 4, 5, 6, 7, 8, 9, 10)),
    Scenario("base-fee spike", "while it waits", _fee_spike, (30, 150, 500)),
    Scenario("base-fee spike", "before it is sent", _dear_from_the_start, (500,), False),
    Scenario("stuck nonce", "before the start", _stuck_before, (1, 3), False),
    Scenario("stuck nonce", "meanwhile", _stuck_meanwhile, (1, 3)),
    Scenario("spent nonce", "before it is sent", _spent_before_sending, (1, 3)),
    Scenario("spent nonce", "in the pool", _spent_in_the_pool, (1,), False),
    Scenario("spent nonce", "while down", _spent_while_down, (1, 3), False),
    Scenario("stale feed", "no answers", _stale_feed, (2, 50)),
    Scenario("frozen feed", "one repeats", _frozen_feed, (1.1, 0.8)),
    Scenario("diverging feed", "two sources", _diverging_feed, (1,)),
    Scenario("clock skew", "wrong", _clock, (0, 1, -1, 3_650, -10_000)),
    Scenario("full disk", "no room", _full_disk, (0, 4_096, 20_000)),
    Scenario("two keepers: one outbox", "side by side", _same_outbox, (1,), False),
    Scenario("two keepers: one key", "side by side", _same_key, (1, 3), False),
    Scenario("two keepers: two keys", "side by side", _two_keys, (1, 3)),
)
