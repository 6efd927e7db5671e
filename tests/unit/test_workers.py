"""What goes to one worker together."""

from __future__ import annotations

import pytest

from tests.conftest import unit_of


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/unit/test_hop.py::test_x[a::b]", "tests/unit/test_hop.py"),
        ("tests/contract/test_keeper.py::test_x[anvil]", "tests/contract/test_keeper.py"),
        ("tests/contract/test_keeper.py::test_x[hardhat-3]", "tests/contract on hardhat"),
        ("tests/contract/test_venues.py::test_x[V4-hardhat-kept]", "tests/contract on hardhat"),
        ("tests/demo/test_demo.py::test_x[hardhat]", "tests/demo/test_demo.py"),
        ("tests/solidity/Losses.t.sol::LossesTest::test_x", "tests/solidity"),
        ("tests/solidity/test_items.py::test_x", "tests/solidity"),
    ],
)
def test_a_worker_gets_a_file_or_all_of_forge_or_all_on_hardhat(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit
