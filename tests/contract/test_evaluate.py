"""Vaults that are all read exactly, and vaults of which a book tells which to read: the same verdicts, in the same order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.heads import Heads
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.errors import ContractReverted
from rebalancer.keeper import Evaluator, EvaluatorOptions, KeeperContext
from rebalancer.keeper.decide import Action, Conditions, Verdict
from rebalancer.keeper.evaluator import Evaluation
from rebalancer.reasons import Reason
from rebalancer.settlement import Policy
from rebalancer.units import E18
from tests.contract.test_keeper import move
from tests.contract.test_keeper_losses import lose

pytestmark = pytest.mark.both_chains  # nodes differ in what they answer of past blocks

CONDITIONS = Conditions(10**9)
ACTIONS = 60
POLICIES = (
    DEMO_POLICY,
    replace(DEMO_POLICY, start_slippage_bps=0),
    replace(DEMO_POLICY, calendar_seconds=7_200),
    replace(DEMO_POLICY, destination_bps=5_000, cooldown_seconds=0),
)


@contextmanager
def evaluators(environment: DevEnvironment, vaults: tuple[str, ...]) -> Iterator[tuple[Evaluator, Evaluator]]:
    """One that reads all vaults exactly, and one that goes by the book."""
    context = KeeperContext.of(environment.deployment, vaults)
    both = tuple(Evaluator(environment.chain.rpc, context, EvaluatorOptions(exact_vaults=exact)) for exact in (50, 0))
    try:
        yield both[0], both[1]
    finally:
        for one in both:
            one.close()


def set_policy(environment: DevEnvironment, vault: str, policy: Policy) -> None:
    fields = [getattr(policy, name) for name in policy.__slots__]
    owner = environment.wallet(Actor.OWNER)
    owner.transact(contract_at(environment.chain.rpc, "BasketVault", vault), "setPolicy", tuple(fields))


def sent(verdict: Verdict) -> tuple[str, Reason, Action, str, object]:
    plan = verdict.plan
    return verdict.vault, verdict.reason, verdict.step, verdict.text, plan and plan.route


def assert_same(exact: Evaluation, booked: Evaluation) -> None:
    assert exact.reasons == booked.reasons
    assert exact.epochs == booked.epochs
    for vault, drift_bps in booked.drifts_bps.items():
        assert exact.drifts_bps[vault] - 1 <= drift_bps <= exact.drifts_bps[vault]
    read = {verdict.vault for verdict in booked.verdicts}
    assert [sent(one) for one in exact.verdicts if one.vault in read] == [sent(one) for one in booked.verdicts]
    unread = [one for one in exact.verdicts if one.vault not in read]
    assert all(one.step is Action.NOTHING for one in unread)


def actions(environment: DevEnvironment, vaults: tuple[str, ...], dice: random.Random) -> Iterator[str]:
    """Something that happens to the market or to a vault, again and again; its name."""

    def someones(actor: Actor, function: str, *given: object) -> Callable[[str], None]:
        def act(vault: str) -> None:
            environment.wallet(actor).transact(
                contract_at(environment.chain.rpc, "BasketVault", vault), function, *given
            )

        return act

    owner = Actor.OWNER.address
    names: dict[str, Callable[[str], None]] = {
        "pause": someones(Actor.GUARDIAN, "pauseRebalance"),
        "resume": someones(Actor.OWNER, "resumeRebalance"),
        "poke": someones(Actor.DEPOSITOR, "poke"),
        "redeem": someones(Actor.OWNER, "redeemInKind", 10 * E18, owner, owner, [0, 0, 0]),
        "glide": someones(Actor.CURATOR, "setTargets", [5 * E18 // 10, 3 * E18 // 10, 2 * E18 // 10], 7_200),
        "bands": someones(Actor.CURATOR, "setBands", [(150, 0, 0), (100, 500, 0), (200, 0, 0)]),
        "exclude": someones(Actor.OWNER, "excludeAsset", 2),
        "include": someones(Actor.OWNER, "includeAsset", 2),
        "time": lambda _: environment.chain.mine(at=environment.chain.now() + dice.randrange(1, 4_000)),
    }
    opening = {"ETH/USD": 2_000_00000000, "BTC/USD": 30_000_00000000}
    for _ in range(ACTIONS):
        if dice.random() < 0.5:
            prices = {name: int(e8 * dice.uniform(0.85, 1.2)) for name, e8 in opening.items()}
            move(environment, prices, dice.randrange(1, 3_000))
            yield "prices"
            continue
        name = dice.choice(sorted(names))
        try:
            names[name](dice.choice(vaults))
        except ContractReverted:
            continue  # it is as it was to become
        yield name


def test_by_the_book_verdicts_are_those_of_exact_reads_whatever_happens(
    environment: DevEnvironment,
) -> None:
    vaults = (
        environment.vault,
        *(environment.open_vault(number) for number in range(1, len(POLICIES))),
    )
    for vault, policy in zip(vaults, POLICIES, strict=True):
        set_policy(environment, vault, policy)
    dice = random.Random(7)
    heads = Heads(environment.chain.rpc, poll_seconds=0.01)
    seen: set[str] = set()
    steps: set[Action] = set()
    with evaluators(environment, vaults) as (exact, booked):
        for name in actions(environment, vaults, dice):
            head = heads.next(0)
            assert head is not None
            found = exact.evaluate(head, CONDITIONS)
            assert_same(found, booked.evaluate(head, CONDITIONS))
            seen.add(name)
            steps |= {verdict.step for verdict in found.verdicts}
        # A loss of balance has no log: the book finds it when it reads all again, and looks there at the next block.
        lose(environment, 10, vault=environment.vault)
        environment.chain.mine()
        booked.options = replace(booked.options, audit_vaults=len(vaults))
        for is_known in (False, True):
            head = heads.next(0)
            assert head is not None
            found, by_book = exact.evaluate(head, CONDITIONS), booked.evaluate(head, CONDITIONS)
            if is_known:
                assert_same(found, by_book)
            environment.chain.mine()
        steps |= {verdict.step for verdict in found.verdicts}

    assert seen >= {"prices", "pause", "poke", "redeem", "glide", "exclude", "time"}
    assert steps == set(Action)


def test_the_vault_that_is_furthest_out_comes_first_wherever_it_stands_in_the_settings(
    environment: DevEnvironment,
) -> None:
    other = environment.open_vault(1)
    half = 500 * E18
    owner = Actor.OWNER.address
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    shares = vault.call("balanceOf", owner) // 2
    assert shares > half
    environment.wallet(Actor.OWNER).transact(vault, "redeemInKind", shares, owner, owner, [0, 0, 0])
    move(environment, {"ETH/USD": 2_200_00000000})
    head = Heads(environment.chain.rpc).next(0)
    assert head is not None

    with evaluators(environment, (environment.vault, other)) as both:
        orders = [[one.vault for one in each.evaluate(head, CONDITIONS).verdicts] for each in both]

    assert orders == [[other, environment.vault]] * 2


def test_a_vault_for_which_no_time_was_left_is_planned_for_first_at_the_next_look(
    environment: DevEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = (environment.vault, environment.open_vault(1))
    move(environment, {"ETH/USD": 2_200_00000000})
    heads = Heads(environment.chain.rpc, poll_seconds=0.01)
    requested: list[list[str]] = []
    with evaluators(environment, vaults) as (exact, _):
        decide = exact.planners.decide

        def only_the_first(due: list[VaultSnapshot], *given: object) -> dict[str, Verdict]:
            requested.append([one.address for one in due])
            return decide(due[:1], *given)  # type: ignore[arg-type] # handed through

        monkeypatch.setattr(exact.planners, "decide", only_the_first)
        for _ in range(3):
            head = heads.next(0)
            assert head is not None
            found = exact.evaluate(head, CONDITIONS)
            environment.chain.mine()

    first, last = requested[0]
    assert requested == [[first, last], [last, first], [first, last]]
    assert [one.reason for one in found.verdicts if one.vault == last] == [Reason.NOT_YET]
