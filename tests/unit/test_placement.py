"""Rendezvous hashing: balance, little movement, and the same everywhere."""

from __future__ import annotations

import pytest

from rebalancer.fleet.placement import Placement, place

VAULTS = tuple(f"0x{number:040x}" for number in range(10_000))
WORKERS = ("anna", "bert", "carl", "dora")


def owners(workers: tuple[str, ...]) -> dict[str, str]:
    shares = place(VAULTS, workers)
    return {vault: worker for worker, share in shares.items() for vault in share}


def test_place_without_workers_places_nothing() -> None:
    assert place(VAULTS, ()) == {}


def test_place_without_vaults_gives_every_worker_an_empty_share() -> None:
    assert place((), WORKERS) == dict.fromkeys(WORKERS, ())


def test_place_gives_every_vault_to_exactly_one_worker() -> None:
    shares = place(VAULTS, WORKERS)

    assert sorted(vault for share in shares.values() for vault in share) == sorted(VAULTS)
    assert set(shares) == set(WORKERS)


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
def test_shares_are_equal_but_for_chance(count: int) -> None:
    workers = tuple(f"worker-{number}" for number in range(count))
    mean = len(VAULTS) / count

    sizes = [len(share) for share in place(VAULTS, workers).values()]

    # Binomial: five standard deviations.
    assert max(abs(size - mean) for size in sizes) < 5 * (mean * (1 - 1 / count)) ** 0.5


@pytest.mark.parametrize("gone", WORKERS)
def test_worker_that_leaves_moves_only_its_own_vaults(gone: str) -> None:
    before = owners(WORKERS)
    after = owners(tuple(worker for worker in WORKERS if worker != gone))

    moved = {vault for vault in VAULTS if before[vault] != after[vault]}

    assert moved == {vault for vault, worker in before.items() if worker == gone}
    heirs = [sum(after[vault] == worker for vault in moved) for worker in WORKERS if worker != gone]
    assert min(heirs) > len(moved) / 3 * 0.8


def test_worker_that_comes_takes_vaults_only_to_itself() -> None:
    before, after = owners(WORKERS), owners((*WORKERS, "emil"))

    moved = {vault for vault in VAULTS if before[vault] != after[vault]}

    assert all(after[vault] == "emil" for vault in moved)
    assert abs(len(moved) - len(VAULTS) / 5) < 200


def test_order_of_workers_and_case_of_vaults_change_nothing() -> None:
    vaults = ("0xAB", "0xCD", "0xEF")

    assert place(vaults, WORKERS) == place(vaults, reversed(WORKERS))
    lower = place(tuple(vault.lower() for vault in vaults), WORKERS)
    assert {w: tuple(v.lower() for v in share) for w, share in place(vaults, WORKERS).items()} == lower


def test_known_vault_stays_where_older_programs_placed_it() -> None:
    # Machines of different versions must place alike: the weight is part of the protocol.
    assert place(VAULTS[:6], ("a", "b", "c")) == {"a": VAULTS[3:6], "b": (), "c": VAULTS[:3]}


def test_placement_follows_workers_that_come_and_go() -> None:
    placement = Placement(VAULTS[:100])

    assert placement.among(WORKERS) is placement.among(reversed(WORKERS))
    assert placement.among(("anna",)) == {"anna": VAULTS[:100]}
    assert placement.among(WORKERS) == place(VAULTS[:100], WORKERS)
