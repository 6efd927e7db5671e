"""The book of many vaults against the lens: the same reasons after anything, few requests, and no difference unsaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.heads import Heads
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.chain.vault_index import VaultIndex
from rebalancer.errors import BlockVanished, UnknownVault
from rebalancer.reasons import Reason
from rebalancer.units import E18
from tests.contract.world import SEEDS, World, basket_spec

pytestmark = pytest.mark.both_chains  # nodes differ in how they search for logs


@pytest.fixture
def vaults(world: World) -> list[BoundContract]:
    """Three of one kind, one with relative bands, one with a calendar."""
    spec = basket_spec(world)
    world.give(world.admin, [6 * seed for seed in SEEDS])
    relative = tuple(replace(asset, relative_band_bps=250) for asset in spec.assets)
    calendar = replace(spec.policy, calendar_seconds=3_600)
    specs = [
        *(replace(spec, name=f"Vault {n}") for n in range(3)),
        replace(spec, name="Relative", assets=relative),
        replace(spec, name="Calendar", policy=calendar),
    ]
    return [world.open_vault(replace(each, salt=salt)) for salt, each in enumerate(specs, 1)]


def book_of(world: World, vaults: list[BoundContract], **settings: int) -> VaultIndex:
    index = VaultIndex(world.chain.rpc, world.system.lens, [vault.address for vault in vaults], **settings)
    index.load(read_block(world.chain.rpc))
    return index


def check(world: World, index: VaultIndex) -> tuple[Reason, ...]:
    """The book's reasons are the lens's, its candidates those that have something to do, its numbers near the exact ones."""
    block = index.block
    assert block is not None
    judged = index.judge(block)
    exact = read_vaults(world.chain.rpc, world.system.lens, index.vaults, block)
    assert judged.reasons == tuple(each.reason for each in exact)
    due = {
        each.address
        for each in exact
        if each.reason in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE)
        or (each.reason is Reason.IN_BAND and each.state.due_since)
    }
    assert set(judged.candidates) == due
    for row, each in enumerate(exact):
        if not each.total_e18:
            assert judged.drift[row] == 0
        else:
            assert judged.value[row] == pytest.approx(each.total_e18 / E18, rel=1e-12)
            assert each.drift_bps - 1 <= judged.drift[row] * 10_000 <= each.drift_bps + 1e-6
    return judged.reasons


def follow(index: VaultIndex, heads: Heads) -> tuple[str, ...]:
    head = heads.next(0)
    assert head is not None
    return index.advance(head)


def counted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every call from now on; a batch is one request, and is noted as one."""
    requested: list[Call] = []
    rpc = world.chain.rpc
    plain = rpc.batch_settled

    def noted(calls: Any) -> Any:
        requested.append(calls[0])
        return plain(calls)

    monkeypatch.setattr(rpc, "batch_settled", noted)
    return requested


def test_an_address_that_is_no_vault_is_refused(world: World) -> None:
    for address in (world.weth.address, world.stranger.address):
        with pytest.raises(UnknownVault, match=address):
            VaultIndex(world.chain.rpc, world.system.lens, [address]).load(read_block(world.chain.rpc))


def test_a_vault_that_is_not_in_the_book_is_not_looked_at(world: World, vaults: list[BoundContract]) -> None:
    index = book_of(world, vaults[:1])
    with pytest.raises(UnknownVault):
        index.read([vaults[1].address], read_block(world.chain.rpc))


def test_the_book_says_what_the_lens_says_after_everything_that_happens(
    world: World, vaults: list[BoundContract]
) -> None:
    heads = Heads(world.chain.rpc, poll_seconds=0.01)
    heads.next(0)
    index = book_of(world, vaults)
    one, two, three, *_ = (vault.address for vault in vaults)
    assert check(world, index)[:4] == (Reason.IN_BAND,) * 4

    # Prices move, and nothing else: no vault is read again, all are judged anew.
    world.move_market({"ETH": 2_200}, seconds=60)
    assert follow(index, heads) == ()
    assert check(world, index)[:3] == (Reason.BAND_BROKEN,) * 3

    # Out of band they are stamped; back inside, the stamp is to be cleared.
    world.stranger.transact(vaults[0], "poke")
    assert follow(index, heads) == (one,)
    world.move_market({"ETH": 2_000}, seconds=60)
    follow(index, heads)
    assert check(world, index)[0] is Reason.IN_BAND
    assert one in index.judge(read_block(world.chain.rpc)).candidates

    # Deposits, withdrawals, pauses, targets that glide, bands, assets left out.
    world.give(world.alice, SEEDS)
    world.approve(world.alice, vaults[1], SEEDS)
    world.alice.transact(vaults[1], "mintInKind", 10 * E18, world.alice.address, SEEDS)
    world.guardian.transact(vaults[2], "pauseRebalance")
    assert follow(index, heads) == (two, three)
    assert check(world, index)[2] is Reason.PAUSED
    world.alice.transact(vaults[1], "redeemInKind", 5 * E18, world.alice.address, world.alice.address, [0, 0, 0])
    glide = [5 * E18 // 10, 3 * E18 // 10, 2 * E18 // 10]
    world.curator.transact(vaults[0], "setTargets", glide, 7_200)
    world.curator.transact(vaults[3], "setBands", [(100, 0, 0), (100, 50, 0), (100, 0, 0)])
    world.owner.transact(vaults[4], "excludeAsset", 2)
    follow(index, heads)
    check(world, index)
    for _ in range(4):
        world.move_market(seconds=1_900)
        follow(index, heads)
        check(world, index)

    # A feed that falls silent is a fault of those that hold its token.
    world.guardian.transact(world.oracle, "removeFeed", world.wbtc.address)
    follow(index, heads)
    assert set(check(world, index)) == {Reason.ORACLE_FAULT, Reason.PAUSED}


def test_candidates_come_by_the_value_that_is_out_of_place(world: World, vaults: list[BoundContract]) -> None:
    index = book_of(world, vaults[:3])
    world.give(world.alice, SEEDS)
    world.approve(world.alice, vaults[1], SEEDS)
    world.alice.transact(vaults[1], "mintInKind", 1_000 * E18, world.alice.address, SEEDS)
    world.move_market({"ETH": 2_200}, seconds=60)
    index.load(read_block(world.chain.rpc))
    block = index.block
    assert block is not None

    judged = index.judge(block)
    exact = index.read(judged.candidates, block)

    assert [each.address for each in exact] == list(judged.candidates)
    assert judged.candidates[0] == vaults[1].address
    assert judged.misallocated[1] > judged.misallocated[0]


def test_a_block_costs_the_same_few_requests_however_many_vaults(
    world: World, vaults: list[BoundContract], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads(world.chain.rpc, poll_seconds=0.01)
    heads.next(0)
    books = [book_of(world, vaults[:1]), book_of(world, vaults)]
    world.move_market({"ETH": 2_001}, seconds=60)
    head = heads.next(0)
    assert head is not None
    costs = []
    for index in books:
        with monkeypatch.context() as patch:
            requested = counted(world, patch)
            assert index.advance(head) == ()
            block = index.block
            assert block is not None
            index.judge(block)
            costs.append([method for method, _ in requested])

    assert costs[0] == costs[1] == ["eth_getLogs", "eth_call"]


def test_a_vault_is_read_in_pages(world: World, vaults: list[BoundContract], monkeypatch: pytest.MonkeyPatch) -> None:
    requested = counted(world, monkeypatch)
    index = book_of(world, vaults, page=2)

    assert len([call for call in requested if call[0] == "eth_call"]) == 1 + 3, "oracles, and 3 pages"
    check(world, index)


def test_the_audit_tells_what_no_log_told(world: World, vaults: list[BoundContract]) -> None:
    if not world.chain.rpc.call("web3_clientVersion").startswith("anvil"):
        pytest.skip("only Anvil's storage is tampered with here")
    index = book_of(world, vaults[:3])
    block = index.block
    assert block is not None
    assert index.audit(block, 3) == ()
    vault = vaults[1]
    held = world.read(vault, "held")
    (slot,) = [
        hex(n)
        for n in range(64)
        if int(world.chain.rpc.call("eth_getStorageAt", vault.address, hex(n), "latest"), 16)
        == held[0] + (held[1] << 128)
    ]
    word = (held[0] - 1) + (held[1] << 128)
    world.chain.rpc.call("anvil_setStorageAt", vault.address, slot, f"0x{word:064x}")
    world.chain.rpc.call("evm_mine")
    after = read_block(world.chain.rpc)

    assert [each.vault for each in index.audit(after, 1)] == []
    (differs,) = index.audit(after, 1)
    assert differs.vault == vault.address
    assert len(differs.words) == 1
    assert index.audit(after, 3) == (), "what the chain says is booked"


def test_a_block_that_a_failed_look_has_booked_and_a_reorg_took_back_leaves_no_trace(
    world: World, vaults: list[BoundContract]
) -> None:
    heads = Heads(world.chain.rpc, poll_seconds=0.01)
    heads.next(0)
    index = book_of(world, vaults)
    before = world.chain.snapshot()
    world.guardian.transact(vaults[1], "pauseRebalance")
    first = heads.next(0)
    assert first is not None
    index.advance(first)  # and then the look fails
    world.chain.revert(before)
    world.chain.mine()
    then = heads.next(0)
    assert then is not None

    assert index.advance(then.after(first)) == (vaults[1].address,)
    assert check(world, index)[1] is Reason.IN_BAND


def test_a_book_that_was_read_at_a_block_that_is_taken_back_is_read_again(
    world: World, vaults: list[BoundContract]
) -> None:
    heads = Heads(world.chain.rpc, poll_seconds=0.01)
    heads.next(0)
    before = world.chain.snapshot()
    world.guardian.transact(vaults[1], "pauseRebalance")
    heads.next(0)
    index = book_of(world, vaults)
    assert check(world, index)[1] is Reason.PAUSED
    world.chain.revert(before)
    world.chain.mine()

    assert follow(index, heads) == index.vaults
    assert check(world, index)[1] is Reason.IN_BAND


def test_a_head_that_does_not_follow_on_the_book_has_it_read_again(world: World, vaults: list[BoundContract]) -> None:
    index = book_of(world, vaults)
    world.guardian.transact(vaults[1], "pauseRebalance")
    world.chain.mine()

    follow(index, Heads(world.chain.rpc, poll_seconds=0.01))

    assert check(world, index)[1] is Reason.PAUSED


def test_logs_of_an_endpoint_that_does_not_have_the_head_yet_are_not_believed(
    world: World, vaults: list[BoundContract], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = Heads(world.chain.rpc, poll_seconds=0.01)
    heads.next(0)
    index = book_of(world, vaults)
    world.guardian.transact(vaults[1], "pauseRebalance")
    world.chain.mine()
    head = heads.next(0)
    assert head is not None
    assert head.missed
    rpc = world.chain.rpc
    plain = rpc.batch_settled

    def behind(calls: Any) -> Any:
        if calls[-1][0] == "eth_getLogs":
            return [None, []]
        return plain(calls)

    with monkeypatch.context() as patch:
        patch.setattr(rpc, "batch_settled", behind)
        with pytest.raises(BlockVanished):
            index.advance(head)
    index.advance(head)

    assert check(world, index)[1] is Reason.PAUSED
