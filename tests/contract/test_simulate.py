"""What is simulated right before signing, on every kind of node: what it lets through, and what not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import RpcRejected, SimulationDiffers, SimulationRefused
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState
from rebalancer.send.outbox import Outbox
from rebalancer.send.simulate import Simulator, check_changes
from tests.contract.test_keeper import keeper_of, move, tick

pytestmark = pytest.mark.both_chains  # nodes differ in how they simulate and word a revert

GAS = 3_000_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


def rebalanced(environment: DevEnvironment, outbox: Outbox) -> Receipt:
    move(environment, {"ETH/USD": 2_200_00000000})
    outcome = tick(keeper_of(environment, outbox)).outcome
    assert outcome is not None
    return outcome.receipt


def test_simulated_call_that_is_refused_is_refused_with_its_reason(chain: LocalChain, token: BoundContract) -> None:
    data = token.data("transfer", chain.accounts[1], 5)
    with pytest.raises(SimulationRefused, match="ERC20InsufficientBalance") as caught:
        Simulator(chain.rpc).logs(chain.accounts[0], token.address, data, GAS)
    assert caught.value.refusal.values["needed"] == 5


def test_simulated_call_leaves_its_logs_and_no_trace(chain: LocalChain, token: BoundContract) -> None:
    data = token.data("mint", chain.accounts[1], 5)
    logs = Simulator(chain.rpc).logs(chain.accounts[0], token.address, data, GAS)

    assert token.call("totalSupply") == 0
    if chain.is_anvil:
        assert logs is not None
        (event,) = (interface("MockToken").decode_log(log) for log in logs)
        assert event is not None
        assert event.values["value"] == 5
    else:
        assert logs is None  # Hardhat cannot tell


def test_node_without_the_method_is_asked_for_it_once(
    chain: LocalChain, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[str] = []
    call = chain.rpc.call

    def without(method: str, *params: Any) -> Any:
        requested.append(method)
        if method == "eth_simulateV1":
            raise RpcRejected(method, -32601, "the method does not exist")
        return call(method, *params)

    monkeypatch.setattr(chain.rpc, "call", without)
    simulator = Simulator(chain.rpc)
    for _ in range(3):
        data = token.data("mint", chain.accounts[1], 5)
        assert simulator.logs(chain.accounts[0], token.address, data, GAS) is None
    with pytest.raises(SimulationRefused):
        simulator.logs(chain.accounts[0], token.address, "0x12345678", GAS)
    assert requested.count("eth_simulateV1") == 1
    assert requested.count("eth_call") == 4


@pytest.mark.parametrize("answer", [None, [], [{}], [{"calls": []}], [{"calls": [{"status": 1}]}]])
def test_after_an_answer_that_is_no_simulation_the_call_itself_is_asked(answer: Any) -> None:
    requested = []

    class OddRpc(Rpc):
        def call(self, method: str, *params: Any) -> Any:
            requested.append(method)
            return {"timestamp": "0x1"} if method == "eth_getBlockByNumber" else answer

    assert Simulator(OddRpc("http://127.0.0.1:1")).logs("0xaa", "0xbb", "0x", GAS) is None
    assert requested[-2:] == ["eth_simulateV1", "eth_call"]


def test_changes_that_are_not_the_plans_are_named(environment: DevEnvironment, outbox: Outbox) -> None:
    receipt = rebalanced(environment, outbox)
    known = interface("BasketVault")
    (event,) = (event for log in receipt.logs if (event := known.decode_log(log)) and event.name == "Rebalanced")
    changes = list(event.values["changes"])
    sales = [max(0, -change) for change in changes]
    buys = [max(0, change) for change in changes]
    sold, bought = sales.index(max(sales)), buys.index(max(buys))
    check_changes(receipt.logs, environment.vault, sales, buys)

    buys[bought] += 1
    with pytest.raises(SimulationDiffers) as caught:
        check_changes(receipt.logs, environment.vault, sales, buys)
    assert (caught.value.asset, caught.value.planned_raw, caught.value.simulated_raw) == (
        *(bought, buys[bought], buys[bought] - 1),
    )
    buys[bought] -= 1
    for difference in (-1, 1):
        sales[sold] += difference
        with pytest.raises(SimulationDiffers) as caught:
            check_changes(receipt.logs, environment.vault, sales, buys)
        assert caught.value.asset == sold
        sales[sold] -= difference
    with pytest.raises(SimulationDiffers):
        check_changes(receipt.logs, Actor.KEEPER.address, sales, buys)
    with pytest.raises(SimulationDiffers):
        check_changes([], environment.vault, sales, buys)


def test_keeper_whose_simulation_differs_signs_nothing_and_says_why(
    environment: DevEnvironment, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market moves between the plan and the signature."""
    monkeypatch.setattr(Simulator, "logs", lambda *_: [])
    move(environment, {"ETH/USD": 2_200_00000000})
    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.SIMULATION_REFUSED
    assert "and the plan allows" in decision.text
    # A node that cannot simulate swaps apart has it planned again without single pools, which helps no more.
    attempts = outbox.attempts(31337)
    assert {(one.state, one.versions) for one in attempts} == {(AttemptState.FAILED, ())}
    assert decision.text in {one.note for one in attempts}
    monkeypatch.undo()
    assert tick(keeper_of(environment, outbox)).reason is Reason.REBALANCED
