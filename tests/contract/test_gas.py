"""Gas and code size are committed figures: growth fails, shrinkage asks to be committed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from scripts.benchmarks import snapshot
from scripts.benchmarks.gas import FIGURES, SIZES, Figure, measure


@pytest.fixture(scope="module")
def measured() -> Mapping[str, Mapping[int, Figure]]:
    """Every figure of the bench, measured on an Anvil of its own."""
    return measure()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", FIGURES)
def test_gas_of_the_bench_is_the_committed_figure(
    measured: Mapping[str, Mapping[int, Figure]], name: str, n: int
) -> None:
    figure = f"{name}, {n} assets"
    committed = {key: gas for key, gas in snapshot.read(snapshot.GAS).items() if key == figure}

    changed = snapshot.changes("gas", committed, {figure: measured[name][n].gas})

    assert not changed, changed[0]


def test_gas_measured_again_is_the_same(measured: Mapping[str, Mapping[int, Figure]]) -> None:
    again = measure()

    assert again == measured


def test_nothing_costs_less_than_its_bare_floor(
    measured: Mapping[str, Mapping[int, Figure]],
) -> None:
    floors = [name for name in measured if name.endswith(": floor")]

    assert floors
    for floor in floors:
        for n in SIZES:
            assert measured[floor.removesuffix(": floor")][n].gas > measured[floor][n].gas, floor


def test_code_sizes_are_the_committed_figures() -> None:
    changed = snapshot.changes("bytes", snapshot.read(snapshot.SIZE), snapshot.code_sizes())

    assert not changed, "\n".join(changed)


def test_every_contract_fits_the_size_limit() -> None:
    sizes = snapshot.code_sizes()

    ours = {"BasketVault", "VaultExtension", "OracleHub", "RouteExecutor", "VaultFactory", "Zap"}
    assert ours <= sizes.keys()
    too_large = {name: size for name, size in sizes.items() if size > snapshot.MAX_CODE_BYTES}
    assert not too_large, f"above {snapshot.MAX_CODE_BYTES} bytes: {too_large}"


@pytest.mark.parametrize(
    ("committed", "now", "sentence"),
    [
        ({"zap_in, 3 assets": 10}, {"zap_in, 3 assets": 11}, "zap_in, 3 assets grew from 10 to 11"),
        ({"zap_in, 3 assets": 10}, {"zap_in, 3 assets": 9}, "shrank from 10 to 9 gas: commit"),
        ({}, {"zap_in, 3 assets": 9}, "nothing is committed"),
        ({"zap_in, 3 assets": 10}, {}, "no longer exists"),
    ],
)
def test_a_figure_that_moved_is_named_with_both_values(
    committed: Mapping[str, int], now: Mapping[str, int], sentence: str
) -> None:
    assert sentence in snapshot.changes("gas", committed, now)[0]


def test_figures_that_did_not_move_say_nothing() -> None:
    assert snapshot.changes("gas", {"a": 1}, {"a": 1}) == []
