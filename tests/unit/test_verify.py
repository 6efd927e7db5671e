"""Books held against the policy after a rebalance, swaps held against the chain, and feeds held against pools: on scripts of a node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from structlog.testing import capture_logs

from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import ContractReverted, LedgerMismatch, RpcMalformed, RpcRejected
from rebalancer.keeper import feed_watch as feed_module
from rebalancer.keeper import swaps as swaps_module
from rebalancer.keeper import verify as module
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Conditions, decide
from rebalancer.keeper.feed_watch import FeedWatch
from rebalancer.keeper.swaps import RoutedSwap, failed_swaps, swaps_of
from rebalancer.keeper.verify import verify
from rebalancer.market_price import off_market
from rebalancer.plan import Plan
from rebalancer.route import decode
from rebalancer.send.attempt import Intent
from rebalancer.send.simulate import Simulated, Simulator
from rebalancer.settlement import Fill, Settlement, settle
from rebalancer.units import E18
from rebalancer.venues import BalancerWeightedPool, Token, load, of_class
from rebalancer.venues.curve_pool import curve_hop
from tests.unit.test_decide import seen
from tests.unit.test_keeper import SYSTEM, Node
from tests.unit.test_outbox import Clock
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS
from tests.unit.test_pool_protocols import B, balancer, ether_pool
from tests.unit.test_simulate import rebalanced

TX, ELSE = "0x" + "7e" * 32, "0x" + "7f" * 32
MINED = {"number": "0x9", "hash": "0xnine", "parentHash": "0xeight", "timestamp": hex(1_000_500)}
PARENT = {"number": "0x8", "hash": "0xeight", "parentHash": "0x", "timestamp": hex(1_000_488)}
OTHER = "0x" + "22" * 20


class Chain(Rpc):
    """Two blocks, and the logs of the second."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.logs: list[dict[str, Any]] = []
        self.blocks: dict[str, Any] = {"0xnine": MINED, "0xeight": PARENT}
        self.fails: Exception | None = None

    def call(self, method: str, *params: Any) -> Any:
        if method == "eth_getBlockByHash":
            assert params[1] is False
            return self.blocks.get(params[0])
        assert method == "eth_getLogs"
        if self.fails is not None:
            raise self.fails
        assert params == ({"blockHash": "0xnine", "address": VAULT},)
        return self.logs


BEFORE = seen()
VAULT = BEFORE.address


def planned() -> Plan:
    plan = decide(BEFORE, POOLS, Conditions(0)).plan
    assert plan is not None
    return plan


PLAN = planned()
CHANGES = [bought - sold for bought, sold in zip(PLAN.expected_buys_raw, PLAN.sales_raw, strict=True)]


def settled(prices: Any = None) -> Settlement:
    """What the policy makes of the plan's fill in the second block."""
    fill = Fill(tuple(max(0, -change) for change in CHANGES), tuple(max(0, change) for change in CHANGES))
    basket = BEFORE.basket if prices is None else replace(BEFORE.basket, prices=prices)
    return settle(
        *(BEFORE.policy, BEFORE.state, basket, fill, PLAN.min_buys_raw, 1_000_500),
        epoch=BEFORE.state.epoch,
        sales=PLAN.sales_raw,
    )


def after(prices: Any = None, **changes: Any) -> VaultSnapshot:
    """The vault after it, its books as the policy has them."""
    done = settled(prices)
    basket = replace(BEFORE.basket, held=done.held, prices=prices or BEFORE.basket.prices)
    return replace(BEFORE, basket=basket, state=done.state, **changes)


INTENT = Intent(
    *(1, VAULT, BEFORE.state.epoch, VAULT),
    interface("BasketVault")
    .at(VAULT)
    .data(
        *("rebalance", BEFORE.state.epoch, PLAN.sales_raw, PLAN.min_buys_raw),
        *(SYSTEM.executor, PLAN.route),
    ),
    1,
    "",
)
EVENT = rebalanced(VAULT, CHANGES) | {"transactionHash": TX}
RECEIPT = Receipt(
    *(TX, 9, "0xnine", 1, None),
    (rebalanced(OTHER, [1, 2, 3]), EVENT),
    1,
    True,
)


def verified(
    monkeypatch: pytest.MonkeyPatch,
    found: VaultSnapshot,
    chain: Chain | None = None,
    receipt: Receipt = RECEIPT,
    plan: Plan | None = PLAN,
) -> Any:
    node = chain or Chain()
    if chain is None:
        node.logs = [EVENT]

    def read(_rpc: Rpc, lens: str, vaults: Any, block: Block) -> tuple[VaultSnapshot, ...]:
        assert (lens, list(vaults)) == (SYSTEM.lens, [VAULT])
        return ({8: BEFORE, 9: found}[block.number],)

    monkeypatch.setattr(module, "read_vaults", read)
    return verify(node, SYSTEM.lens, INTENT, receipt, plan)


def test_books_that_are_the_policys_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        outcome = verified(monkeypatch, after())

    assert outcome.settled == settled()
    assert (outcome.before, outcome.after, outcome.receipt) == (BEFORE, after(), RECEIPT)
    assert (outcome.plan, outcome.predicted) == (PLAN, PLAN.settlement)
    assert outcome.fill == Fill(PLAN.sales_raw, PLAN.expected_buys_raw)
    assert logs == []
    blind = verified(monkeypatch, after(), plan=None)
    assert (blind.plan, blind.predicted, blind.settled) == (None, None, settled())


def test_a_fill_other_than_planned_is_logged_and_settles_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = replace(PLAN, expected_buys_raw=tuple(buy + (buy > 0) for buy in PLAN.expected_buys_raw))
    with capture_logs() as logs:
        assert verified(monkeypatch, after(), plan=other).settled == settled()

    assert [one["event"] for one in logs] == ["filled_differently"]


@pytest.mark.parametrize("what", ["held", "state"])
def test_one_unit_of_difference_is_told_with_both_books(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    found = after()
    if what == "held":
        held = (found.basket.held[0] + 1, *found.basket.held[1:])
        found = replace(found, basket=replace(found.basket, held=held))
    else:
        found = replace(found, state=replace(found.state, epoch=found.state.epoch + 1))
    with pytest.raises(LedgerMismatch) as caught:
        verified(monkeypatch, found)

    error = caught.value
    assert (error.vault, error.transaction_hash) == (VAULT, TX)
    assert (error.expected_held, error.actual_held) == (settled().held, found.basket.held)


def test_books_that_the_policy_would_have_refused_differ_from_what_was_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stolen = [-(change < 0) * 10**30 for change in CHANGES]
    receipt = replace(RECEIPT, logs=(rebalanced(VAULT, stolen),))
    with pytest.raises(LedgerMismatch) as caught:
        verified(monkeypatch, after(), receipt=receipt)

    assert caught.value.expected_held == BEFORE.basket.held


def logged(event: str, tx: str) -> dict[str, Any]:
    known = interface("BasketVault")
    topic = next(one for one, each in known.events.items() if each.name == event)
    word = "0x" + "00" * 32
    return EVENT | {"topics": [topic, word, word, word], "data": word * 1, "transactionHash": tx}


def test_books_prove_nothing_where_others_acted_on_the_vault_in_its_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = (after().basket.held[0] + 1, *after().basket.held[1:])
    found = replace(after(), basket=replace(after().basket, held=held))
    chain = Chain()
    transfer = logged("Transfer", ELSE) | {"topics": logged("Transfer", ELSE)["topics"][:3]}
    chain.logs = [EVENT, transfer]
    with pytest.raises(LedgerMismatch):
        verified(monkeypatch, found, chain)
    chain.logs = [EVENT, rebalanced(VAULT, CHANGES) | {"transactionHash": ELSE}]
    with capture_logs() as logs:
        outcome = verified(monkeypatch, found, chain)
    assert outcome.settled is None
    assert [one["why"] for one in logs] == ["its block has other transactions of the vault"]
    unknown = EVENT | {"topics": ["0x" + "77" * 32], "transactionHash": ELSE}
    chain.logs = [unknown]
    assert verified(monkeypatch, found, chain).settled is None


def test_books_settle_at_the_prices_after_the_block_or_before_it_and_else_prove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved = tuple(
        replace(
            price,
            **{
                name: getattr(price, name) * 1001 // 1000
                for name in ("low_e18", "high_e18", "primary_e18")
                if hasattr(price, name)
            },
        )
        for price in BEFORE.basket.prices
    )
    assert verified(monkeypatch, after(moved)).settled == settled(moved)
    before = replace(after(), basket=replace(after().basket, prices=moved))
    assert verified(monkeypatch, before).settled == settled()
    held = (after().basket.held[0] + 1, *after().basket.held[1:])
    with capture_logs() as logs:
        odd = replace(before, basket=replace(before.basket, held=held))
        assert verified(monkeypatch, odd).settled is None
    assert [one["why"] for one in logs] == ["a price changed in its block"]


def test_a_node_that_forgot_the_state_verifies_nothing_and_one_without_the_event_is_malformed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = Chain()
    chain.fails = RpcRejected("eth_getLogs", -32000, "pruned")
    with capture_logs() as logs:
        assert verified(monkeypatch, after(), chain) is None
    assert [one["event"] for one in logs] == ["not_verified"]
    bare = replace(RECEIPT, logs=(rebalanced(OTHER, [1, 2, 3]),))
    with pytest.raises(RpcMalformed, match="no Rebalanced event") as caught:
        verified(monkeypatch, after(), receipt=bare)
    assert caught.value.endpoint == "http://127.0.0.1:1"
    chain = Chain()
    del chain.blocks["0xeight"]
    with pytest.raises(RpcMalformed, match="no block 0xeight") as caught:
        verified(monkeypatch, after(), chain)
    assert caught.value.endpoint == "http://127.0.0.1:1"


# Which swaps of a plan fail


def number(value: int) -> Simulated:
    return Simulated(None, value.to_bytes(32, "big"))


NO = Simulated(ContractReverted("TransferFailed"), b"")
FINE = Simulated(None, b"")


class Steps(Simulator):
    """Answers with the steps of each swap as a test has them."""

    def __init__(self, *swaps: Any, control: Simulated = FINE, can: bool = True) -> None:
        self.given = [control, *(step for routed in swaps for step in routed)]
        self.can = can
        self.messages: list[Any] = []

    def outcomes(self, messages: Any) -> Any:
        self.messages = list(messages)
        return self.given if self.can else None


SWAPS = swaps_of(PLAN)


def works(at: int, moved: Simulated | None = None, **changes: Any) -> list[Simulated]:
    """The five steps of a swap that pays its quote, but for what is changed."""
    out = SWAPS[at].swap.amount_out_raw
    steps = {"moved": moved or number(1), "before": number(7), "made": FINE}
    steps |= {"after": number(7 + out), "elsewhere": NO}
    return list((steps | changes).values())


def found_failed(*swaps: Any, **more: Any) -> Any:
    return failed_swaps(Steps(*swaps, **more), VAULT, SYSTEM.executor, OTHER, PLAN)


def test_each_swap_is_simulated_as_the_vault_would_have_it_made() -> None:
    assert len(SWAPS) >= 2
    steps = Steps(*map(works, range(len(SWAPS))))

    assert failed_swaps(steps, VAULT, SYSTEM.executor, OTHER, PLAN) == ()

    token, runner = interface("IERC20Metadata"), interface("RouteExecutor").at(SYSTEM.executor)
    first, *rest = steps.messages
    assert first == {
        "from": VAULT,
        "to": SYSTEM.executor,
        "data": runner.data("executeRoute", b""),
        "gas": hex(5_000_000),
    }
    for at, routed in enumerate(SWAPS):
        moved, before, made, later, elsewhere = rest[5 * at : 5 * at + 5]
        swap = routed.swap
        assert (moved["from"], moved["to"]) == (VAULT, swap.token_in)
        assert moved["data"] == token.at(swap.token_in).data("transfer", SYSTEM.executor, swap.amount_in_raw)
        assert before == later
        assert (before["to"], before["data"]) == (*(swap.token_out, token.at(swap.token_out).data("balanceOf", VAULT)),)
        assert (made["from"], elsewhere["from"]) == (VAULT, OTHER)
        assert made["to"] == elsewhere["to"] == SYSTEM.executor
        assert made["data"] == elsewhere["data"]
        ((route,),) = (interface("RouteExecutor").functions["executeRoute"].arguments(made["data"]),)
        assert list(decode(route)) == [replace(routed.hop, amount_raw=0)]


def test_no_swap_fails_where_the_node_cannot_tell_or_no_route_is_taken() -> None:
    assert found_failed(can=False) is None
    assert found_failed(*([NO] * 5 for _ in SWAPS), control=NO) == ()


@pytest.mark.parametrize("moved", [NO, number(0)])
def test_a_token_that_the_vault_cannot_move_is_at_fault_and_no_pool(moved: Simulated) -> None:
    (failed,) = found_failed(works(0, moved), *map(works, range(1, len(SWAPS))))

    assert (failed.routed, failed.token, failed.is_short) == (
        SWAPS[0],
        SWAPS[0].swap.token_in,
        False,
    )
    assert failed.why == ("it returned false" if moved is not NO else str(NO.refusal).rstrip("."))
    assert found_failed(works(0, FINE), *map(works, range(1, len(SWAPS)))) == ()


def test_a_pool_that_refuses_everybody_is_at_fault_and_one_that_refuses_the_vault_is_not() -> None:
    rest = [works(at) for at in range(1, len(SWAPS))]
    (failed,) = found_failed(works(0, made=NO, elsewhere=NO), *rest)
    assert (failed.routed, failed.token) == (SWAPS[0], "")
    (failed,) = found_failed(works(0, made=NO, elsewhere=FINE), *rest)
    assert failed.token == SWAPS[0].swap.token_out


def test_a_pool_that_pays_a_basis_point_less_than_its_quote_is_none_that_fails() -> None:
    rest = [works(at) for at in range(1, len(SWAPS))]
    out = SWAPS[0].swap.amount_out_raw
    enough = -(-out * 9_999 // 10_000)
    assert found_failed(works(0, after=number(7 + enough)), *rest) == ()
    (failed,) = found_failed(works(0, after=number(7 + enough - 1)), *rest)
    assert (failed.is_short, failed.token) == (True, "")
    assert failed.why == f"it pays {enough - 1} raw units, but its quote is {out}"


def test_a_quote_is_missed_by_more_than_a_basis_point_and_not_by_one() -> None:
    swaps = (replace(PLAN.swaps[0], amount_out_raw=10_000), *PLAN.swaps[1:])
    plan = replace(PLAN, swaps=swaps)
    rest = [works(at) for at in range(1, len(SWAPS))]
    for paid, fails in ((9_999, 0), (9_998, 1)):
        steps = Steps(works(0, after=number(7 + paid)), *rest)
        found = failed_swaps(steps, VAULT, SYSTEM.executor, OTHER, plan)
        assert found is not None
        assert len(found) == fails


def test_a_swap_of_what_an_earlier_one_failed_to_bring_is_not_at_fault() -> None:
    verdict = decide(BEFORE, POOLS[1:], Conditions(0))  # by dollars alone
    assert verdict.plan is not None
    swaps = swaps_of(verdict.plan)
    chained = [
        at for at, routed in enumerate(swaps) if any(routed.swap.token_in == one.swap.token_out for one in swaps[:at])
    ]
    assert chained, [(one.swap.token_in, one.swap.token_out) for one in swaps]
    last = chained[0]
    need = swaps[last].swap.amount_in_raw
    for has, blamed in ((need - 1, 1), (need, 2)):
        steps = []
        for at, routed in enumerate(swaps):
            out = routed.swap.amount_out_raw
            step = [number(1), number(7), FINE, number(7 + out), NO]
            if at < last:
                step = [number(1), number(7), NO, number(has), NO]
            if at == last:
                step[0] = NO
            steps.append(step)
        found = failed_swaps(Steps(*steps), VAULT, SYSTEM.executor, OTHER, verdict.plan)
        assert found is not None
        by_token = [one.token for one in found]
        assert (swaps[last].swap.token_in in by_token) is (blamed == 2)


def test_a_pool_that_cannot_pay_an_executor_which_cannot_have_the_token_is_not_at_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap = SWAPS[0].swap
    ends = swap.token_in, swap.token_out
    curve = curve_hop(swap.pool.key, 1, *ends, 0, 1, unsigned=False)
    direct = RoutedSwap(swap, SWAPS[0].hop, swap.pool.key)
    plan = replace(PLAN, swaps=(swap, swap))
    for first, count in ((RoutedSwap(swap, curve, swap.pool.key), 1), (direct, 2)):
        monkeypatch.setattr(swaps_module, "swaps_of", lambda _plan, one=first: (one, direct))
        steps = Steps(works(0, made=NO, elsewhere=NO), works(0, made=NO, elsewhere=FINE))
        found = failed_swaps(steps, VAULT, SYSTEM.executor, OTHER, plan)
        assert found is not None
        assert len(found) == count
        assert found[-1].token == swap.token_out


def test_the_holder_of_what_is_swapped_is_the_contract_that_many_pools_share() -> None:
    v4 = ether_pool().as_traded(Token(B, "WETH", 18))
    weighted = of_class(load(balancer()), BalancerWeightedPool)
    own = PLAN.swaps[0].pool
    for pool, holder in (
        (v4, ether_pool().manager),
        (weighted, weighted.vault),
        (own, own.key),
    ):
        swaps = (replace(PLAN.swaps[0], pool=pool), *PLAN.swaps[1:])
        assert swaps_of(replace(PLAN, swaps=swaps))[0].holder == holder


# Feeds and pools


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Prices(Node):
    """Prices that an oracle tells, by token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.usd = {BITCOIN: 30_000, DOLLAR: 1, ETHER: 2_000}
        self.faults: set[Any] = set()

    def eth_call(self, message: dict[str, str], *_: Any) -> str:
        assert message["to"] == SYSTEM.oracle
        reported = [(1, 1, usd * E18, int(token in self.faults)) for token, usd in self.usd.items()]
        return "0x" + encode(["(uint256,uint256,uint256,uint8)[]"], [reported]).hex()


def watch(monkeypatch: pytest.MonkeyPatch, node: Node) -> FeedWatch:
    places: Any = ("a place",)
    context = KeeperContext(1, SYSTEM, (VAULT,), places, (BITCOIN, DOLLAR, ETHER), ETHER.address)

    def read(_rpc: Any, given: Any, _block: Block, chain_id: int, **more: Any) -> Any:
        assert (given, chain_id) == (places, 1)
        assert set(more["tokens"]) == {BITCOIN.address, DOLLAR.address, ETHER.address}
        assert more["lens"] == SYSTEM.uniswap_v3_lens
        return POOLS

    monkeypatch.setattr(feed_module, "read_pools", read)
    return FeedWatch(node, context)


BLOCK = Block(9, "0x" + "99" * 32, 1_000)


def test_a_feed_off_the_market_is_told_by_its_symbol_once_a_minute_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    node = Prices()
    feeds = watch(monkeypatch, node)
    with capture_logs() as logs:
        assert feeds.check(BLOCK, [BEFORE]) == {}
        node.usd[ETHER] = 2_200
        clock.now += 59.9
        assert feeds.check(BLOCK, [BEFORE]) == {}
        clock.now += 0.1
        found = feeds.check(BLOCK, [BEFORE])
        assert set(found) == {ETHER.address}
        assert found[ETHER.address].startswith("WETH: the feed price is 2,200 USD")
        clock.now += 60
        assert feeds.check(BLOCK, [BEFORE]) == found
        node.usd[ETHER] = 2_000
        clock.now += 60
        assert feeds.check(BLOCK, [BEFORE]) == {}
    assert [(one["event"], one["token"]) for one in logs] == [
        ("feed_off_market", ETHER.address),
        ("feed_back_at_market", ETHER.address),
    ]


def test_a_token_is_held_to_the_widest_limit_of_the_vaults_that_have_it(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    node = Prices()
    node.usd[ETHER] = 2_040  # 2 % off
    given: list[Any] = []
    plain = off_market

    def kept(prices: Any, pools: Any, most: int, limits: Any) -> Any:
        given.append((prices, most, dict(limits)))
        return plain(prices, pools, most, limits)

    monkeypatch.setattr(feed_module, "off_market", kept)
    feeds = watch(monkeypatch, node)
    narrow, wide = (replace(BEFORE, policy=replace(BEFORE.policy, max_slippage_bps=bps)) for bps in (50, 250))
    assert set(feeds.check(BLOCK, [narrow])) == {ETHER.address}
    clock.now += 60
    assert feeds.check(BLOCK, [narrow, wide, narrow]) == {}
    node.faults = {BITCOIN}
    clock.now += 60
    feeds.check(BLOCK, [])
    tokens = [asset.token for asset in BEFORE.basket.assets]
    assert [one[2] for one in given] == [dict.fromkeys(tokens, 50), dict.fromkeys(tokens, 250), {}]
    assert {one[1] for one in given} == {300}
    node.faults = set()
    clock.now += 60
    feeds.check(BLOCK, [replace(BEFORE, policy=replace(BEFORE.policy, max_slippage_bps=0))])
    assert given[-1][2] == dict.fromkeys(tokens, 0)
    assert BITCOIN.address in given[0][0]
    assert given[2][0] == {DOLLAR.address: E18, ETHER.address: 2_040 * E18}


def test_a_comparison_that_fails_leaves_what_was_found_and_waits_for_its_time(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    node = Prices()
    node.usd[ETHER] = 2_200
    feeds = watch(monkeypatch, node)
    found = feeds.check(BLOCK, [BEFORE])
    node.is_down = True
    clock.now += 60
    with capture_logs() as logs:
        assert feeds.check(BLOCK, [BEFORE]) == found
        node.is_down = False
        node.usd[ETHER] = 2_000
        clock.now += 59
        assert feeds.check(BLOCK, [BEFORE]) == found
    assert [one["event"] for one in logs] == ["feeds_not_compared"]
    nothing = FeedWatch(node, KeeperContext(1, SYSTEM, (VAULT,), (), ()))
    before = len(node.requested)
    assert nothing.check(BLOCK, [BEFORE]) == {}
    assert len(node.requested) == before
