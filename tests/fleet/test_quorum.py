"""A leader signs nothing that was planned from what its own endpoints do not agree on, whichever worker said it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.interfaces import interface
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import DevEnvironment
from rebalancer.errors import EndpointsDisagree
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.placement import place
from rebalancer.fleet.redis_state import LocalState
from rebalancer.fleet.transport import local_transport
from rebalancer.fleet.worker import Heartbeat, Worker
from rebalancer.keeper import EvaluatorOptions, Keeper, KeeperContext
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from tests.contract.test_keeper import UP_10_PERCENT, move
from tests.contract.test_keeper_many import keeper_of

NAMES = ("anna", "bert")
SUPPLY, EPOCH, LOSS_LEFT, SLIPPAGE, POLICY, HELD, HIGHER = 3, 4, 10, 12, 20, 33 + 9, 33 + 11
"""Words of VaultLens's answer about a vault; the last two are its first asset's, what it has of it and its higher price."""


class Liar(Rpc):
    """The stage's node, but for one word of what the lens says, which is a thousandth more and one."""

    def __init__(self, url: str, lens: str, word: int) -> None:
        super().__init__(url, 30.0)
        self.lens, self.word = lens, word

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        answers = super().batch_settled(calls)
        reads = interface("VaultLens").functions["read"]
        for at, (method, params) in enumerate(calls):
            is_of_lens = method == "eth_call" and params[0]["to"] == self.lens
            if is_of_lens and reads.is_called_by(params[0]["data"]):
                answers[at] = self._bent(answers[at])
        return answers

    def _bent(self, answer: str) -> str:
        raw = bytearray.fromhex(answer[2:])
        at = 64 + 32 * self.word  # after the offset and the length of bytes
        true = int.from_bytes(raw[at : at + 32])
        raw[at : at + 32] = (true + true // 1_000 + 1).to_bytes(32)
        return "0x" + raw.hex()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def led(environment: DevEnvironment, outbox: Outbox, stack: ExitStack, rpcs: Sequence[Rpc]) -> Keeper:
    """A leader with a quorum of two endpoints and a worker on each of these, all of this process."""
    url = environment.chain.rpc.endpoint
    context = KeeperContext.of(environment.deployment, (environment.vault,))
    quorum = stack.enter_context(Endpoints([url, url], 30.0, quorum=2))
    state, transport = LocalState(), []
    for name, rpc in zip(NAMES, rpcs, strict=True):
        stack.enter_context(rpc)
        transport.append(Worker(name, rpc, replace(context, vaults=()), state))
        stack.enter_context(Heartbeat(transport[-1], 30.0))
    evaluator = FleetEvaluator(
        quorum,
        context,
        state,
        stack.enter_context(local_transport(transport, "test")),
        20.0,
        EvaluatorOptions(),
    )
    return keeper_of(environment, (environment.vault,), outbox, rpc=quorum, evaluator=evaluator)


def test_leader_whose_quorum_agrees_with_its_worker_sends(environment: DevEnvironment, outbox: Outbox) -> None:
    url = environment.chain.rpc.endpoint
    with ExitStack() as stack:
        keeper = led(environment, outbox, stack, [Rpc(url, 30.0), Rpc(url, 30.0)])
        move(environment, UP_10_PERCENT)
        (decision,) = keeper.tick()

    assert decision.reason is Reason.IN_FLIGHT


@pytest.mark.parametrize("word", [SUPPLY, LOSS_LEFT, SLIPPAGE, POLICY, HELD, HIGHER])
def test_what_a_worker_was_told_by_a_lying_endpoint_is_not_signed_and_another_is_asked(
    environment: DevEnvironment, outbox: Outbox, word: int
) -> None:
    url, lens = environment.chain.rpc.endpoint, environment.system.lens
    (requested,) = [name for name, share in place([environment.vault], NAMES).items() if share]
    rpcs = [Liar(url, lens, word) if name == requested else Rpc(url, 30.0) for name in NAMES]
    with ExitStack() as stack:
        keeper = led(environment, outbox, stack, rpcs)
        move(environment, UP_10_PERCENT)
        with pytest.raises(EndpointsDisagree):
            keeper.tick()
        signed = [one for one in outbox.attempts(keeper.context.chain_id) if one.versions]
        environment.chain.mine()
        (decision,) = keeper.tick()

    assert signed == []
    assert decision.reason is Reason.IN_FLIGHT
    assert decision.plan is not None


def test_an_epoch_that_only_a_worker_sees_is_not_signed(environment: DevEnvironment, outbox: Outbox) -> None:
    url, lens = environment.chain.rpc.endpoint, environment.system.lens
    with ExitStack() as stack:
        keeper = led(environment, outbox, stack, [Liar(url, lens, EPOCH), Liar(url, lens, EPOCH)])
        move(environment, UP_10_PERCENT)
        (decision,) = keeper.tick()

    assert decision.reason is Reason.SIMULATION_REFUSED
    assert "WrongEpoch" in decision.text
    assert outbox.attempts(keeper.context.chain_id) == []
