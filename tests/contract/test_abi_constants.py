"""What Python and the contracts both write down is the same: orders, numbers, names, and who may call what.

And every custom error is provoked by some test.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rebalancer import oracle, policy, route, settlement, units
from rebalancer.abi import decode_logs
from rebalancer.chain import snapshot
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.chain.system import Role
from rebalancer.operations import actions, deploy
from rebalancer.reasons import LENS_REASONS
from rebalancer.venues import (
    UniswapV3Pool,
    any_call,
    balancer_v3,
    balancer_weighted,
    curve_pool,
    erc4626,
    swap_router_02,
    uniswap_v2,
    uniswap_v4,
    wsteth,
)
from tests.contract import test_policy_differential
from tests.contract.world import World


def source(repo_root: Path, path: str) -> str:
    return (repo_root / "contracts" / path).read_text()


def members(text: str, enum: str) -> list[str]:
    """Names of a Solidity enum, in order."""
    (body,) = re.findall(rf"enum {enum} {{(.*?)}}", text, re.DOTALL)
    return re.findall(r"^\s*(\w+),?", re.sub(r"//.*", "", body).replace(",", ",\n"), re.MULTILINE)


def constant(text: str, name: str) -> int:
    """Value of a Solidity constant that is a number, a shift or a literal with a unit."""
    (value,) = re.findall(rf"constant {name} = ([^;]+);", text)
    value = re.sub(r"(\d+) days", r"\1 * 86400", value)
    value = re.sub(r"(\d+)e(\d+)", r"\1 * 10**\2", value)
    assert re.fullmatch(r"[\d_ *<()-]+", value), value
    return int(eval(value))  # noqa: S307 (nothing but numbers and operators)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def struct(contract: str, function: str) -> list[str]:
    """Field names of the struct, or list of structs, that a function returns."""
    (entry,) = [e for e in load_artifact(contract).abi if e.get("name") == function]
    components: list[dict[str, Any]] = entry["outputs"][0]["components"]
    return [snake(part["name"]) for part in components]


# Orders and numbers


def test_reasons_are_the_lenses_in_its_order(repo_root: Path) -> None:
    assert members(source(repo_root, "VaultLens.sol"), "Reason") == [str(r) for r in LENS_REASONS]


def test_faults_are_the_oracles_in_its_order(repo_root: Path) -> None:
    faults = tuple(members(source(repo_root, "interfaces/IOracleHub.sol"), "Fault"))

    assert faults == snapshot._FAULTS == test_policy_differential.FAULTS
    assert faults == tuple(oracle.Fault) == ("None", *oracle.FAULT_REMEDIES)


def test_lens_words_are_counted_alike(repo_root: Path) -> None:
    lens = source(repo_root, "VaultLens.sol")

    assert constant(lens, "HEAD_WORDS") == snapshot._HEAD_WORDS
    assert constant(lens, "ASSET_WORDS") == snapshot._ASSET_WORDS
    assert snapshot._POLICY_AT + len(fields(settlement.Policy)) == snapshot._HEAD_WORDS


def test_constants_are_the_contracts(repo_root: Path) -> None:
    library = source(repo_root, "libraries/RebalancePolicy.sol")
    vault = source(repo_root, "VaultBase.sol")

    hub = source(repo_root, "OracleHub.sol")
    twap = source(repo_root, "feeds/UniswapV3Twap.sol")
    for name in ("MAX_FEED_DECIMALS", "MAX_DIVERGENCE_BPS", "E18", "BPS"):
        assert constant(hub, name) == getattr(oracle, name), name
    assert constant(source(repo_root, "feeds/Chainlink.sol"), "MAX_DECIMALS") == (oracle.MAX_FEED_DECIMALS)
    assert constant(source(repo_root, "feeds/PriceSource.sol"), "MAX_TOKEN_DECIMALS") == (oracle.MAX_TOKEN_DECIMALS)
    assert constant(source(repo_root, "feeds/UniswapV3TwapFeed.sol"), "MIN_WINDOW_SECONDS") == (
        oracle.MIN_WINDOW_SECONDS
    )
    assert constant(twap, "MAX_TICK") == oracle.MAX_TICK

    assert constant(library, "E18") == units.E18
    assert constant(library, "BPS") == constant(vault, "BPS") == units.BPS
    assert constant(library, "MAX_TOTAL_E18") == policy.MAX_TOTAL_E18
    assert constant(vault, "YEAR_SECONDS") == units.YEAR_SECONDS
    assert constant(library, "MAX_AMOUNT_RAW") == policy.MAX_HELD_RAW
    for name in ("MINIMUM_SHARES", "MINIMUM_LOCKED_RAW", "MAX_LOCKED_BPS"):
        assert constant(vault, name) == getattr(actions, name), name
    most = actions.MAX_FEES_BPS
    assert constant(vault, "MAX_STREAMING_BPS") == most.streaming_bps
    assert constant(vault, "MAX_PERFORMANCE_BPS") == most.performance_bps
    assert constant(vault, "MAX_FLOW_BPS") == most.entry_bps == most.exit_bps


def test_route_bytes_are_the_executors(repo_root: Path) -> None:
    flags = source(repo_root, "venues/Venue.sol")

    assert constant(source(repo_root, "RouteExecutor.sol"), "HEAD") == route.HEAD_BYTES
    for name in ("EXACT_OUT", "TO_CALLER", "ETHER_IN", "ETHER_OUT"):
        assert constant(flags, name) == getattr(route.Flags, name), name


def test_venues_have_the_numbers_of_their_adapters(repo_root: Path) -> None:
    numbers = {
        "UniswapV3Venue": ("UNISWAP_V3", UniswapV3Pool.NUMBER),
        "SwapRouter02Venue": ("SWAP_ROUTER_02", swap_router_02._VENUE),
        "UniswapV2Venue": ("UNISWAP_V2", uniswap_v2._NUMBER),
        "UniswapV4Venue": ("UNISWAP_V4", uniswap_v4._NUMBER),
        "BalancerV2Venue": ("BALANCER_V2", balancer_weighted._NUMBER),
        "BalancerV3Venue": ("BALANCER_V3", balancer_v3._NUMBER),
        "CurveVenue": ("CURVE", curve_pool._NUMBER),
        "CallVenue": ("ANY_CALL", any_call._VENUE),
        "ERC4626Venue": ("ERC_4626", erc4626._NUMBER),
        "WstETHVenue": ("WSTETH", wsteth._NUMBER),
    }
    for adapter, (name, number) in numbers.items():
        assert constant(source(repo_root, f"venues/{adapter}.sol"), name) == number, adapter
    assert len({number for _, number in numbers.values()}) == len(numbers)
    adapters = {path.stem for path in (repo_root / "contracts" / "venues").glob("*Venue.sol")}
    assert adapters - numbers.keys() == {"Venue", "PancakeSwapV3Venue"}, (
        "the base; and a pool of the number of Uniswap V3"
    )


def test_every_adapter_meets_a_hostile_venue(repo_root: Path) -> None:
    """By its number, or by the route that writes its hop, in the suites of hostile venues."""
    suites = [repo_root / "tests/solidity" / name for name in ("HostileVenues.t.sol", "BalancerV3.t.sol")]
    text = "".join(path.read_text() for path in suites)
    hops = {
        "UniswapV3Venue": "Routes.v3(",
        "SwapRouter02Venue": "Routes.router(",
        "UniswapV2Venue": "Routes.pair(",
        "UniswapV4Venue": "Routes.v4(",
        "BalancerV2Venue": "Routes.balancer(",
        "BalancerV3Venue": "balancerV3Unlocked",
        "CurveVenue": "Routes.curve(",
        "CallVenue": "Routes.call(",
        "ERC4626Venue": "ERC_4626",
        "WstETHVenue": "WSTETH",
        "PancakeSwapV3Venue": "PANCAKE",
    }
    adapters = {path.stem for path in (repo_root / "contracts" / "venues").glob("*Venue.sol")}
    assert hops.keys() == adapters - {"Venue"}
    assert {adapter for adapter, hop in hops.items() if hop not in text} == set()


@pytest.mark.parametrize(
    ("mirror", "contract", "function"),
    [
        (settlement.Policy, "IBasketVault", "policy"),
        (settlement.State, "IBasketVault", "state"),
        (settlement.Asset, "IBasketVault", "assets"),
        (settlement.Price, "IOracleHub", "prices"),
        (deploy.SourceSpec, "IOracleHub", "sourceOf"),
    ],
)
def test_structs_have_the_same_fields_in_the_same_order(mirror: type, contract: str, function: str) -> None:
    assert [field.name for field in fields(mirror)] == struct(contract, function)


def test_fees_are_given_in_the_contracts_order() -> None:
    (entry,) = [e for e in load_artifact("IBasketVault").abi if e.get("name") == "setFees"]
    given = [snake(part["name"]) for part in entry["inputs"][0]["components"]]

    assert given == [field.name for field in fields(deploy.VaultFees)]


def test_vault_answers_for_both_its_halves() -> None:
    """All that IBasketVault declares is in the ABI of BasketVault, whichever half runs it."""
    whole = load_artifact("BasketVault").abi
    declared = [e for e in load_artifact("IBasketVault").abi if e["type"] in ("function", "event")]

    known = {(e["type"], e["name"], str(e["inputs"])) for e in whole if "name" in e}
    assert not {(e["type"], e["name"], str(e["inputs"])) for e in declared} - known


def test_feed_and_vault_specs_are_given_in_the_contracts_order() -> None:
    functions = interface("OracleHub").functions
    set_feed = functions["setFeed"].inputs.names
    set_quoted_feed = functions["setQuotedFeed"].inputs.names
    assert set_quoted_feed == (*set_feed, "quote")
    spec = [field.name for field in fields(deploy.FeedSpec)]
    names = {"decimals": "feed_decimals"}
    plain = [names.get(name, name) for name in spec if name not in ("adapter", "params")]
    assert [snake(name) for name in set_quoted_feed[1:]] == plain
    adapted = [name for name in set_quoted_feed if name not in ("feed", "feedDecimals")]
    expected = ("token", "adapter", *adapted[1:], "params")
    assert functions["setAdaptedFeed"].inputs.names == expected


def test_packed_parameters_are_as_long_as_their_adapters_expect(repo_root: Path) -> None:
    """By the length that each adapter's `check` holds them to."""
    sizes = {"address": 20, "bool": 1, "bytes4": 4, "uint8": 1, "uint32": 4, "uint128": 16}
    for row in PRICE_SOURCES.values():
        text = source(repo_root, f"feeds/{row.adapter}.sol")
        (length,) = re.findall(r"_checkLength\(params, (\d+)\)", text)
        assert sum(sizes[one] for one in row.types) == int(length), row.word


def test_refusals_of_the_policy_are_errors_of_the_contracts(repo_root: Path) -> None:
    """Name and number of numbers."""
    files = [repo_root / "rebalancer" / f"{name}.py" for name in ("policy", "settlement")]
    text = "".join(file.read_text() for file in files)
    names = set(re.findall(r'(?:PolicyRefused|_spend)\(\s*"(\w+)"', text))
    library = {shape.name for shape in interface("RebalancePolicy").errors.values()}
    vault = {shape.name for shape in interface("BasketVault").errors.values()}

    assert library <= names <= library | vault


# Roles


def test_roles_are_labelled_on_chain_as_they_are_here(session_world: World) -> None:
    logs = session_world.chain.rpc.call("eth_getLogs", {"address": session_world.authority.address, "fromBlock": "0x0"})
    labels = {
        event.values["roleId"]: event.values["label"]
        for event in decode_logs(logs, session_world.authority.interface)
        if event.name == "RoleLabel"
    }

    assert labels == {role.value: role.name for role in Role if role is not Role.ADMIN}
    for role in (Role.OWNER, Role.CURATOR):
        guardian = session_world.read(session_world.authority, "getRoleGuardian", role.value)
        assert guardian == Role.GUARDIAN.value


@pytest.mark.parametrize(
    ("contract", "assigned"),
    [
        ("BasketVault", deploy._VAULT_FUNCTIONS),
        ("OracleHub", deploy._HUB_FUNCTIONS),
        ("KeeperGate", deploy._GATE_FUNCTIONS),
    ],
)
def test_every_restricted_function_belongs_to_one_role(
    repo_root: Path, contract: str, assigned: dict[Role, tuple[str, ...]]
) -> None:
    """What nobody was given, only the admin could call."""
    files = [f"{contract}.sol", *(["VaultExtension.sol"] if contract == "BasketVault" else [])]
    text = re.sub(r"//.*", "", "".join(source(repo_root, file) for file in files))
    restricted = re.findall(r"function (\w+)\([^{}]*?\brestricted\b", text)
    # Checked by hand, because the policy may open it to anyone.
    restricted += re.findall(r"function (\w+)\([^}]*?\b_checkCanCall\b", text)
    given = [name for names in assigned.values() for name in names]

    assert restricted
    assert sorted(given) == sorted(restricted)


def test_roles_hold_on_chain_for_every_restricted_function(world: World, vault: Any) -> None:
    for contract, functions in (
        (vault, deploy._VAULT_FUNCTIONS),
        (world.oracle, deploy._HUB_FUNCTIONS),
        (contract_at(world.chain.rpc, "KeeperGate", world.system.gate), deploy._GATE_FUNCTIONS),
    ):
        for role, names in functions.items():
            for name in names:
                selector = contract.interface.functions[name].selector
                held = world.read(world.authority, "getTargetFunctionRole", contract.address, selector)
                assert held == role.value, name


def test_the_gate_is_a_keeper_and_nobody_may_use_it_yet(session_world: World) -> None:
    world = session_world
    held = world.read(world.authority, "hasRole", Role.KEEPER.value, world.system.gate)
    assert held == (True, 0)
    for wallet in (world.admin, world.owner, world.guardian, world.keeper, world.stranger):
        held = world.read(world.authority, "hasRole", Role.AUTOMATION.value, wallet.address)
        assert held == (False, 0)


# Errors


def test_every_custom_error_is_provoked_by_a_test(repo_root: Path) -> None:
    """Named by a test that asks a chain: `"Name"` in Python, `Name.selector` in Solidity."""
    declared: dict[str, str] = {}
    for path in sorted((repo_root / "contracts").rglob("*.sol")):
        if "mocks" not in path.parts:
            for name in re.findall(r"^\s*error (\w+)\(", path.read_text(), re.MULTILINE):
                declared[name] = path.name
    tests = [
        path
        for suite in ("contract", "solidity")
        for path in (repo_root / "tests" / suite).rglob("*")
        if path.suffix in (".py", ".sol") and path != Path(__file__)
    ]
    text = "\n".join(path.read_text() for path in tests)
    provoked = set(re.findall(r'"(\w+)"', text)) | set(re.findall(r"\b(\w+)\.selector", text))

    assert len(declared) > 50
    missing = {name: where for name, where in declared.items() if name not in provoked}
    assert missing == {}, f"no test expects {missing}"
