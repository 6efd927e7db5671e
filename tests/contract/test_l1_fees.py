"""What rollups charge beside gas, or within it, from stand-ins at their contracts' addresses: asked for, weighed, limited, counted and shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import structlog

from rebalancer.abi import Call
from rebalancer.chain import l1_fees
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.l1_fees import (
    GAS_PRICE_ORACLE,
    NO_L1_FEES,
    NODE_INTERFACE,
    Rollup,
    known_rollup,
    read_l1_fees,
    transaction_bytes,
)
from rebalancer.chain.receipt import find_receipt, wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import InsufficientEther, L1FeeUnknown, SpendLimitReached
from rebalancer.keeper import Decision, Keeper, KeeperContext, KeeperOptions, Tick
from rebalancer.operations import actions
from rebalancer.operations.preview import Preview
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState, Intent
from rebalancer.send.journal import Journal
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signer import devnet_signer
from rebalancer.send.spending import Spending
from rebalancer.send.wallet import Wallet
from rebalancer.units import E18
from tests.clocks import LONGEST_SECONDS

CHAIN = 31337
GWEI = 10**9
WEI_PER_BYTE = 3 * GWEI
ARB_SYS = "0x" + "0" * 38 + "64"
ECOTONE, FJORD, ISTHMUS, JOVIAN = range(4)
SIGNER = devnet_signer(3)
VAULT = "0x" + "aa" * 20
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
SIZES = (0, 50, 100, 101, 500, 1_000, 2_100, 30_000)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chain is, is found anew in every test: the chain itself is the session's."""
    monkeypatch.setattr(l1_fees, "_KNOWN", WeakKeyDictionary())


def put(chain: LocalChain, name: str, address: str) -> None:
    chain.set_code(address, load_artifact(name).runtime_code())


def op_stack(
    chain: LocalChain,
    fork: int = JOVIAN,
    wei_per_byte: int = WEI_PER_BYTE,
    scalar: int = 0,
    constant: int = 0,
    is_out_of_order: bool = False,
) -> None:
    """Make it an OP-stack chain, or another one than it was."""
    put(chain, "MockGasPriceOracle", GAS_PRICE_ORACLE)
    oracle = contract_at(chain.rpc, "MockGasPriceOracle", GAS_PRICE_ORACLE)
    chain.transact(oracle, "set", fork, wei_per_byte, scalar, constant, is_out_of_order)


def arbitrum(chain: LocalChain, wei_per_byte: int = WEI_PER_BYTE) -> None:
    """Make it an Arbitrum chain."""
    chain.set_code(ARB_SYS, b"\xfe")
    put(chain, "MockNodeInterface", NODE_INTERFACE)
    chain.transact(contract_at(chain.rpc, "MockNodeInterface", NODE_INTERFACE), "set", wei_per_byte)


# Asking


def test_chain_that_is_no_rollup_is_asked_once_for_all(chain: LocalChain) -> None:
    assert read_l1_fees(chain.rpc, 1) == NO_L1_FEES
    requested = chain.rpc.requests
    assert read_l1_fees(chain.rpc) == NO_L1_FEES

    assert chain.rpc.requests == requested
    assert NO_L1_FEES.beside_gas_wei(1_000, 10**6) == 0
    assert known_rollup(chain.rpc) is Rollup.NONE


@pytest.mark.parametrize("fork", [FJORD, ISTHMUS, JOVIAN])
def test_op_stack_bounds_are_the_oracle_s_own_for_every_size(chain: LocalChain, fork: int) -> None:
    op_stack(chain, fork)
    oracle = contract_at(chain.rpc, "MockGasPriceOracle", GAS_PRICE_ORACLE)
    fees = read_l1_fees(chain.rpc)

    for size in SIZES:
        bound_wei = oracle.call("getL1FeeUpperBound", size)
        least_wei = oracle.call("getL1FeeUpperBound", max(size, 100))
        assert bound_wei <= fees.data_wei(size) <= least_wei * 101 // 100
    assert not fees.is_gas


def test_op_stack_before_fjord_is_asked_for_the_fee_of_bytes(chain: LocalChain) -> None:
    op_stack(chain, ECOTONE)
    fees = read_l1_fees(chain.rpc)

    assert fees.data_wei(1_000) == (1_000 + 68 + 1) * WEI_PER_BYTE
    assert fees.operator_fee_wei(10**6) == 0


@pytest.mark.parametrize(("fork", "fee_wei"), [(FJORD, 0), (ISTHMUS, 7 + 41), (JOVIAN, 7 + 123_456 * 333 * 100)])
def test_operator_s_fee_is_the_fork_s_rounded_up(chain: LocalChain, fork: int, fee_wei: int) -> None:
    op_stack(chain, fork, scalar=333, constant=7)
    oracle = contract_at(chain.rpc, "MockGasPriceOracle", GAS_PRICE_ORACLE)
    found_wei = read_l1_fees(chain.rpc).operator_fee_wei(123_456)

    assert found_wei - oracle.call("getOperatorFee", 123_456) in (0, 1)
    assert found_wei - fee_wei in (0, 1)


def test_oracle_is_asked_once_a_block_and_again_at_the_next(chain: LocalChain) -> None:
    op_stack(chain)
    before = read_l1_fees(chain.rpc, 10)
    requested = chain.rpc.requests
    assert read_l1_fees(chain.rpc, 10) is before
    assert chain.rpc.requests == requested

    op_stack(chain, wei_per_byte=2 * WEI_PER_BYTE)
    requested = chain.rpc.requests
    after = read_l1_fees(chain.rpc, 11)
    assert after.data_wei(1_000) == pytest.approx(2 * before.data_wei(1_000), rel=1e-9)
    assert chain.rpc.requests == requested + 1


def test_oracle_that_refuses_is_no_silent_zero(chain: LocalChain) -> None:
    op_stack(chain)
    read_l1_fees(chain.rpc, 10)
    op_stack(chain, is_out_of_order=True)

    assert read_l1_fees(chain.rpc, 10).data_wei(1_000) > 0  # asked at that block already
    with pytest.raises(L1FeeUnknown, match="The L1 data fee of chain 31337 ") as caught:
        read_l1_fees(chain.rpc, 11)
    assert caught.value.chain_id == CHAIN


def test_code_that_is_no_oracle_s_is_no_silent_zero(chain: LocalChain) -> None:
    chain.set_code(GAS_PRICE_ORACLE, b"\x00")  # answers nothing to everything

    with pytest.raises(L1FeeUnknown):
        read_l1_fees(chain.rpc)


@pytest.mark.parametrize("chain_id", [10, 8453, 42161])
def test_known_rollup_that_shows_no_code_is_not_believed(
    chain: LocalChain, chain_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain.rpc, "expected_chain_id", chain_id)

    with pytest.raises(L1FeeUnknown, match=f"chain {chain_id} "):
        read_l1_fees(chain.rpc)


def test_arbitrum_s_data_is_gas_and_costs_nothing_beside_it(chain: LocalChain) -> None:
    arbitrum(chain)
    fees = read_l1_fees(chain.rpc)

    assert fees.is_gas
    assert known_rollup(chain.rpc) is Rollup.ARBITRUM
    assert fees.data_wei(1_000) == pytest.approx(1_140 * WEI_PER_BYTE * 1.1, rel=1e-2)
    assert fees.beside_gas_wei(1_000, 10**6) == 0


# Limits and what was spent


class OpNode(Rpc):
    """Tells what an OP-stack node tells in receipts."""

    reported: dict[str, str] = {"l1Fee": hex(5 * 10**12), "l1GasPrice": "0x1"}  # noqa: RUF012 (replaced, never changed)

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        answers = super().batch_settled(calls)
        return [
            answer | self.reported if method == "eth_getTransactionReceipt" and answer else answer
            for (method, _), answer in zip(calls, answers, strict=True)
        ]


@pytest.fixture
def node(chain: LocalChain) -> Iterator[OpNode]:
    with OpNode(chain.rpc.endpoint) as rpc:
        yield rpc


@pytest.fixture
def mint(chain: LocalChain) -> Callable[[int], Intent]:
    """An intent of an epoch."""
    token = chain.deploy("MockToken", "Coin", "COIN", 6)
    data = token.data("mint", RECEIVER, 1)
    return lambda epoch: Intent(CHAIN, VAULT, epoch, token.address, data, 90_000, "drift")


def sender(limit_wei: int) -> SenderAccount:
    return SenderAccount(SIGNER, KeyLimits(max_spend_per_day_wei=limit_wei))


def test_day_s_limit_counts_twice_the_bound_of_what_is_charged_beside_gas(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    op_stack(chain, wei_per_byte=10**15, scalar=1, constant=10**9)
    fees = read_l1_fees(node)
    intent = mint(1)
    beside_wei = 2 * fees.beside_gas_wei(transaction_bytes(intent.data), intent.gas_limit)
    assert beside_wei > 2 * fees.data_wei(100)

    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        attempt = outbox.submit(node, [sender(10 * E18)], intent)
        (version,) = attempt.versions
        gas_wei = version.gas_limit * version.fees.max_fee_per_gas_wei
        assert version.worst_cost_wei == gas_wei + beside_wei
        with pytest.raises(SpendLimitReached) as caught:
            # Room for its gas, which is a thousandth of it.
            outbox.submit(node, [sender(version.worst_cost_wei + beside_wei // 2)], mint(2))

    assert caught.value.spent_wei == version.worst_cost_wei
    assert caught.value.more_wei > beside_wei > 1_000 * gas_wei


def test_bytes_signed_are_no_larger_than_what_is_counted(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        attempt = outbox.submit(node, [SIGNER], mint(1))

    signature_bytes = 67
    unsigned_bytes = len(attempt.newest.raw) - signature_bytes
    assert unsigned_bytes <= transaction_bytes(attempt.intent.data) <= unsigned_bytes + 80


def test_nothing_is_signed_while_the_fee_is_unknown(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    op_stack(chain, is_out_of_order=True)
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        with pytest.raises(L1FeeUnknown):
            outbox.submit(node, [SIGNER], mint(1))
        (attempt,) = outbox.attempts(CHAIN)

    assert (attempt.state, attempt.versions) == (AttemptState.FAILED, ())
    assert "cannot be read" in attempt.note


def test_arbitrum_is_limited_by_its_gas_alone(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    arbitrum(chain)
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        (version,) = outbox.submit(node, [SIGNER], mint(1)).versions

    assert version.beside_gas_wei == 0


def test_what_was_charged_is_in_the_journal_the_spending_and_after_a_restart(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    op_stack(chain)
    node.reported = node.reported | {"operatorFeeScalar": "0x2", "operatorFeeConstant": "0x5"}
    rules = SendRules(confirmations=1, min_pending_seconds=0)
    path, now = tmp_path / "outbox.sqlite", int(time.time())
    spending = Spending(tmp_path / "spending.sqlite")
    with Outbox(path, rules, spending=spending) as outbox:
        sent = outbox.submit(node, [SIGNER], mint(1))
        wait_for_receipt(chain.rpc, str(sent.transaction_hash), LONGEST_SECONDS)
        assert spending.elsewhere_wei(CHAIN, SIGNER.address, now, ()) == sent.newest.worst_cost_wei
        chain.mine(2)
        for _ in range(2):
            outbox.advance(node, [SIGNER], int(node.call("eth_blockNumber"), 16))
        receipt = find_receipt(node, str(sent.transaction_hash))
        spent_wei = spending.elsewhere_wei(CHAIN, SIGNER.address, now, ())
    journal = Journal(path)
    (attempt,) = journal.attempts(CHAIN)
    counted_wei = journal.spent_wei(CHAIN, SIGNER.address, now)
    journal.close()

    assert receipt is not None
    beside_wei = 5 * 10**12 + 1 + 5  # two millionths of a wei a unit of gas, rounded up
    assert receipt.beside_gas_wei == receipt.rollup_wei == beside_wei
    assert receipt.cost_wei == receipt.gas_used * receipt.gas_price_wei + beside_wei
    assert attempt.state is AttemptState.FINAL
    assert attempt.cost_wei == counted_wei == spent_wei == receipt.cost_wei


def test_receipt_of_a_jovian_block_has_a_hundred_times_the_scalar(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    node.reported = node.reported | {"operatorFeeScalar": "0x2", "daFootprintGasScalar": "0x190"}
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        sent = outbox.submit(node, [SIGNER], mint(1))
    receipt = wait_for_receipt(node, str(sent.transaction_hash), LONGEST_SECONDS)

    assert receipt.operator_fee_wei == receipt.gas_used * 200


def test_receipt_of_arbitrum_has_the_data_within_its_gas(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    node.reported = {"gasUsedForL1": hex(1_234), "l1BlockNumber": "0x1"}
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        sent = outbox.submit(node, [SIGNER], mint(1))
    receipt = wait_for_receipt(node, str(sent.transaction_hash), LONGEST_SECONDS)

    assert receipt.cost_wei == receipt.gas_used * receipt.gas_price_wei
    assert receipt.rollup_wei == 1_234 * receipt.gas_price_wei


def test_receipt_without_the_fee_of_an_op_stack_chain_counts_the_most_it_can_be(
    chain: LocalChain, node: OpNode, mint: Callable[[int], Intent], tmp_path: Path
) -> None:
    op_stack(chain)
    node.reported = {}
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        sent = outbox.submit(node, [SIGNER], mint(1))
    wait_for_receipt(chain.rpc, str(sent.transaction_hash), LONGEST_SECONDS)
    with structlog.testing.capture_logs() as logs:
        receipt = find_receipt(node, str(sent.transaction_hash))
    bound_wei = read_l1_fees(node).data_wei(transaction_bytes(sent.intent.data))

    assert receipt is not None
    assert receipt.l1_fee_wei == bound_wei > 0
    assert [one["event"] for one in logs] == ["l1_fee_not_in_receipt"]

    op_stack(chain, is_out_of_order=True)
    with structlog.testing.capture_logs() as logs:
        assert find_receipt(node, str(sent.transaction_hash)) is not None
    assert [one["event"] for one in logs] == ["l1_fee_not_counted"]


def test_wallet_that_cannot_pay_for_its_data_is_told_before(chain: LocalChain) -> None:
    op_stack(chain, wei_per_byte=100 * E18)
    wallet = Wallet(chain.rpc, SIGNER, 10_000 * GWEI)

    with pytest.raises(InsufficientEther) as caught:
        wallet.send(RECEIVER)
    assert caught.value.needed_wei > 10_000 * E18
    op_stack(chain, is_out_of_order=True)
    assert wallet.send(RECEIVER).succeeded  # a person's action is not held up by an oracle


# Weighing


def keeper_of(environment: DevEnvironment, outbox: Outbox | None) -> Keeper:
    return Keeper(
        environment.chain.rpc,
        KeeperContext.of(environment.deployment, [environment.vault]),
        [devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(fee_cap_wei=10_000 * GWEI),
    )


@pytest.fixture
def broken(environment: DevEnvironment) -> DevEnvironment:
    """A stage whose vault has a weight out of its band."""
    prices = environment.market.prices_e8 | {"ETH/USD": 2_200_00000000}
    environment.market.step(prices, environment.chain.now() + 900)
    return environment


def tick(keeper: Keeper) -> Decision:
    (decision,) = keeper.tick()
    return decision


def test_rebalance_whose_data_costs_more_than_it_is_worth_is_not_worth_its_gas(
    broken: DevEnvironment,
) -> None:
    keeper = keeper_of(broken, None)
    keeper.options = replace(keeper.options, dry_run=True)
    cheap = tick(keeper)
    assert cheap.reason is Reason.DRY_RUN
    assert cheap.plan is not None
    assert cheap.plan.cost.l1_e18 == 0

    for dear, name in ((op_stack, "OP stack"), (arbitrum, "Arbitrum")):
        before = broken.chain.snapshot()
        l1_fees._KNOWN.clear()
        # A dollar for a byte would be nothing beside millions, so it is a thousand ether.
        dear(broken.chain, wei_per_byte=1_000 * E18)
        decision = tick(keeper)
        broken.chain.revert(before)

        assert decision.reason is Reason.NOT_WORTH_GAS, name
        assert "gas, L1 data and tip" in decision.text
        assert decision.plan is not None
        assert decision.plan.cost.l1_e18 > decision.plan.worth_e18


def test_rebalance_weighs_its_data_by_the_bytes_it_will_have(broken: DevEnvironment) -> None:
    op_stack(broken.chain, scalar=10)
    fees = read_l1_fees(broken.chain.rpc)
    keeper = keeper_of(broken, None)
    keeper.options = replace(keeper.options, dry_run=True)
    ticks: list[Tick] = []
    keeper.reporter.observers = (ticks.append,)
    plan = tick(keeper).plan
    assert plan is not None
    assert ticks[0].inputs is not None
    price_e18 = ticks[0].inputs.conditions.native_price_e18

    size = 130 + 65 * len(plan.swaps)
    # {usd} = {wei} * {usd/ether} / {wei/ether}
    weighed_e18 = (fees.data_wei(size) + fees.operator_wei) * price_e18 // E18
    assert plan.cost.l1_e18 == pytest.approx(weighed_e18, rel=1e-6)
    assert plan.cost.total_e18 == sum(
        getattr(plan.cost, name) for name in ("fee_e18", "impact_e18", "gas_e18", "l1_e18", "tip_e18")
    )
    assert "L1 data" in plan.text


def test_unknown_fee_is_told_and_nothing_is_sent(broken: DevEnvironment, tmp_path: Path) -> None:
    op_stack(broken.chain, is_out_of_order=True)
    with (
        Outbox(tmp_path / "outbox.sqlite") as outbox,
        structlog.testing.capture_logs() as logs,
    ):
        keeper = keeper_of(broken, outbox)
        first = tick(keeper)
        assert tick(keeper).reason is first.reason is Reason.NOT_SENT
        assert "The L1 data fee of chain" in first.text
        assert [one["event"] for one in logs].count("l1_fee_unknown") == 1

        op_stack(broken.chain)
        assert tick(keeper).transaction_hash is not None


def test_preview_shows_what_data_costs(environment: DevEnvironment) -> None:
    wallet, shown = environment.wallet(Actor.OWNER), list[Preview]()
    shares = contract_at(environment.chain.rpc, "BasketVault", environment.vault).call("balanceOf", wallet.address)

    class Enough(Exception):  # noqa: N818 (ends the action)
        pass

    def ask(preview: Preview) -> None:
        shown.append(preview)
        raise Enough

    for case in ("none", "told", "refused"):
        if case != "none":
            op_stack(environment.chain, is_out_of_order=case == "refused")
        l1_fees._KNOWN.clear()
        with pytest.raises(Enough):
            actions.withdraw_in_kind(wallet, environment.vault, shares // 2, confirm=ask)
    plain, charged, unknown = shown

    assert plain.rollup_wei == 0
    assert unknown.rollup_wei is None
    assert charged.rollup_wei is not None
    assert charged.rollup_wei > 100 * WEI_PER_BYTE
    assert plain.cost_wei is not None
    assert charged.cost_wei is not None
    assert charged.cost_wei >= charged.rollup_wei + (charged.gas or 0)
