"""Walls between modules: which may import which, held by reading every import of the package.

An import counts wherever it stands: in a function, under TYPE_CHECKING, relative, or by name through importlib. The package's own
`__init__` stands above everything: it may import any module, and no module imports it.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

LAYERS = (
    *("texts", "units", "oracle", "words", "errors", "closing"),
    *("abi", "block", "environment", "files", "reasons", "redact", "wellknown"),
    "settings",
    *("policy", "settlement"),
    *("route", "venues", "pool_files", "market_price"),
    "plan",
    "chain",
    "send",
    "keeper",
    *("operations", "api"),
    *("devnet", "lab", "demo"),
    *("watch", "fleet"),
    "cli",
    "__main__",
)
"""Modules and packages below `rebalancer`, lowest first. Each may import itself and those before it."""

WALLS = (
    ("venues", "chain"),
    ("plan", "chain"),
    ("chain", "settings"),
    ("keeper", "settings"),
)
"""The first never imports the second, not even through other modules."""

Imports = Mapping[str, Sequence[str]]
"""Full name of each module → full names of the modules of the same package that it imports, sorted."""


def read_imports(package: Path) -> Imports:
    """All imports among the modules of a package. `package` is its folder.

    Raises:
        ValueError: an import names no module of the package, or a name that is not written in the text.
    """
    files = {_name(package, file): file for file in package.rglob("*.py")}
    return {module: sorted({*_imported(module, file, files)} - {module}) for module, file in sorted(files.items())}


def _name(package: Path, file: Path) -> str:
    parts = (package.name, *file.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(module: str, file: Path, files: Mapping[str, Path]) -> Iterator[str]:
    root = module.partition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, file, node)
            # `from package import name`: the name is a module, or something that the package's file holds.
            full = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in files else base for name in full]
        elif isinstance(node, ast.Call):
            names = _loaded_by_name(module, node)
        else:
            continue
        for name in names:
            if name.partition(".")[0] != root:
                continue
            if name not in files:
                raise ValueError(f"{module} imports {name}, which is no module")
            yield name


def _base(module: str, file: Path, node: ast.ImportFrom) -> str:
    """The package or module that an import is `from`, also where it is relative."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - (file.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _loaded_by_name(module: str, call: ast.Call) -> list[str]:
    """What `import_module` and `__import__` load. Of a text with a variable end, the package that it begins with."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else None
    if isinstance(call.func, ast.Name):
        called = call.func.id
    if called not in ("import_module", "__import__"):
        return []
    text = call.args[0] if call.args else None
    if isinstance(text, ast.JoinedStr):
        text = text.values[0]
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        raise ValueError(f"{module} imports a module whose name is not in line {call.lineno}")
    return [text.value.removesuffix(".")]


def top_of(module: str) -> str:
    """The layer of a module: its name below the package, or its outermost package's. Empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def upward_imports(imports: Imports, layers: Sequence[str]) -> list[str]:
    """Each import of a higher layer; before them, each module without a layer and each layer without a module."""
    rank = {name: at for at, name in enumerate(layers)}
    present = {top_of(module) for module in imports} - {""}
    found = [f"{name} has no layer" for name in sorted(present - set(rank))]
    found += [f"layer {name} has no module" for name in sorted(set(rank) - present)]
    rank[""] = len(layers)
    for module, imported in imports.items():
        found += [
            f"{module} imports {other}"
            for other in imported
            if rank.get(top_of(other), -1) > rank.get(top_of(module), len(layers))
        ]
    return found


def circles(imports: Imports) -> list[str]:
    """Each module that imports itself through others, with the shortest way round."""
    return [
        " → ".join((*path, module))
        for module in imports
        for path in _paths(imports, module).values()
        if len(path) > 1 and module in imports[path[-1]]
    ]


def breaches(imports: Imports, walls: Sequence[tuple[str, str]]) -> list[str]:
    """A shortest way of each module over each wall; before them, each side of a wall that has no module."""
    present = {top_of(module) for module in imports}
    found = [f"{side} has no module" for wall in walls for side in wall if side not in present]
    run = {module: _run_by(imports, module) for module in imports}
    for inside, outside in walls:
        for module in imports:
            if top_of(module) == inside:
                ways = (path for at, path in _paths(run, module).items() if top_of(at) == outside)
                found += [" → ".join(way) for way in itertools.islice(ways, 1)]
    return found


def _run_by(imports: Imports, module: str) -> list[str]:
    """What runs when a module is imported: what it imports, then the packages around it and around these."""
    run = sorted(imports[module])
    for name in (module, *run):
        parts = name.split(".")
        run += [".".join(parts[:end]) for end in range(2, len(parts))]
    return [name for name in run if name in imports]


def _paths(imports: Mapping[str, Iterable[str]], start: str) -> dict[str, tuple[str, ...]]:
    """Every module that `start` reaches → a shortest way to it, both ends included; nearest first."""
    paths: dict[str, tuple[str, ...]] = {start: (start,)}
    queue = [start]
    for module in queue:
        for other in imports[module]:
            if other not in paths:
                paths[other] = (*paths[module], other)
                queue.append(other)
    return paths


@pytest.fixture(scope="module")
def package(repo_root: Path) -> Imports:
    """The imports of the package as it is."""
    return read_imports(repo_root / "rebalancer")


def test_no_module_imports_a_higher_layer(package: Imports) -> None:
    assert not upward_imports(package, LAYERS)


def test_no_module_imports_itself_through_others(package: Imports) -> None:
    assert not circles(package)


def test_no_import_crosses_a_wall(package: Imports) -> None:
    assert not breaches(package, WALLS)


@pytest.mark.parametrize(("inside", "outside"), WALLS)
def test_one_more_import_in_the_package_crosses_a_wall(package: Imports, inside: str, outside: str) -> None:
    inner = max(module for module in package if top_of(module) == inside)
    outer = max(module for module in package if top_of(module) == outside)

    changed = {**package, inner: [*package[inner], outer]}

    assert f"{inner} → {outer}" in breaches(changed, WALLS)


HOUSE = {
    "__init__": "from house.plan import route",
    "units": "import math",
    "chain/__init__": "",
    "chain/rpc": "from house.units import E18\nimport house.units",
    "plan/__init__": "",
    "plan/route": "from house import units\nfrom chain import rpc\nimport chain.rpc",
    "plan/inner/__init__": "",
    "plan/inner/step": "from house.plan.route import Hop",
}
"""A package without a fault: file → text. `chain` alone is another distribution's."""

HOUSE_LAYERS = ("units", "plan", "chain")
HOUSE_WALLS = (("plan", "chain"),)


def build(tmp_path: Path, changes: Mapping[str, str]) -> Imports:
    """The imports of HOUSE with some of its files changed."""
    for name, text in {**HOUSE, **changes}.items():
        file = tmp_path / "house" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return read_imports(tmp_path / "house")


def test_package_without_a_fault_passes(tmp_path: Path) -> None:
    imports = build(tmp_path, {})

    assert imports["house.plan.route"] == ["house.units"]
    assert not upward_imports(imports, HOUSE_LAYERS)
    assert not circles(imports)
    assert not breaches(imports, HOUSE_WALLS)


@pytest.mark.parametrize(
    "text",
    [
        "import house.chain.rpc",
        "import house.chain.rpc as rpc",
        "import math, house.chain.rpc",
        "from house.chain.rpc import Rpc",
        "from house.chain.rpc import *",
        "from house.chain import rpc",
        "from ..chain import rpc",
        "from ..chain.rpc import Rpc",
        "def read():\n    from house.chain.rpc import Rpc\n",
        "class Reader:\n    import house.chain.rpc\n",
        "try:\n    import house.chain.rpc\nexcept ImportError:\n    pass\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.chain.rpc import Rpc\n",
        "from importlib import import_module\nimport_module('house.chain.rpc')",
        "import importlib\nimportlib.import_module('house.chain.rpc')",
        "__import__('house.chain.rpc')",
    ],
)
def test_import_of_any_form_crosses_a_wall(tmp_path: Path, text: str) -> None:
    imports = build(tmp_path, {"plan/route": text})

    assert "house.plan.route → house.chain.rpc" in breaches(imports, HOUSE_WALLS)
    assert upward_imports(imports, HOUSE_LAYERS) == ["house.plan.route imports house.chain.rpc"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan/route", "from house import chain"),
        ("plan/route", "from house.chain import Rpc"),
        ("plan/route", "from .. import chain"),
        ("plan/route", "def read(name):\n    import_module(f'house.chain.{name}')"),
        ("plan/__init__", "from .. import chain"),
        ("plan/inner/__init__", "from ...chain import Rpc"),
        ("plan/inner/step", "from ...chain import Rpc"),
    ],
)
def test_import_of_a_package_crosses_a_wall(tmp_path: Path, name: str, text: str) -> None:
    imports = build(tmp_path, {name: text})

    module = f"house/{name}".removesuffix("/__init__").replace("/", ".")
    assert f"{module} → house.chain" in breaches(imports, HOUSE_WALLS)
    assert upward_imports(imports, HOUSE_LAYERS) == [f"{module} imports house.chain"]


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        (
            {"tools/__init__": "", "tools/one": "import house.chain.rpc"},
            "house.plan.route → house.tools.one → house.chain.rpc",
        ),
        (
            {"tools/__init__": "import house.chain.rpc", "tools/one": ""},
            "house.plan.route → house.tools → house.chain.rpc",
        ),
    ],
)
def test_import_through_other_modules_crosses_a_wall(tmp_path: Path, changes: Mapping[str, str], way: str) -> None:
    imports = build(tmp_path, {"plan/route": "from house.tools.one import A", **changes})

    assert way in breaches(imports, HOUSE_WALLS)
    assert f"house.plan.inner.step → {way}" in breaches(imports, HOUSE_WALLS)


def test_wall_of_a_missing_module_is_reported(tmp_path: Path) -> None:
    assert breaches(build(tmp_path, {}), (("plan", "settings"),)) == ["settings has no module"]


def test_layers_that_differ_from_the_package_are_reported(tmp_path: Path) -> None:
    imports = build(tmp_path, {"tools": ""})

    assert upward_imports(imports, (*HOUSE_LAYERS, "roof")) == [
        "tools has no layer",
        "layer roof has no module",
    ]


def test_import_of_the_package_itself_is_upward(tmp_path: Path) -> None:
    imports = build(tmp_path, {"chain/rpc": "from house import connect"})

    assert upward_imports(imports, HOUSE_LAYERS) == ["house.chain.rpc imports house"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"plan/route": "from house.plan import legs", "plan/legs": "import house.plan.route"},
            [
                "house.plan.legs → house.plan.route → house.plan.legs",
                "house.plan.route → house.plan.legs → house.plan.route",
            ],
        ),
        (
            {"plan/__init__": "from .route import Hop", "plan/route": "from . import __version__"},
            [
                "house.plan → house.plan.route → house.plan",
                "house.plan.route → house.plan → house.plan.route",
            ],
        ),
    ],
)
def test_circle_is_reported(tmp_path: Path, changes: Mapping[str, str], expected: Sequence[str]) -> None:
    assert circles(build(tmp_path, changes)) == expected


def test_circle_of_three_modules_is_reported(tmp_path: Path) -> None:
    imports = build(tmp_path, {"a": "import house.b", "b": "import house.c", "c": "import house.a"})

    assert circles(imports)[0] == "house.a → house.b → house.c → house.a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import house.roof", "house.plan.route imports house.roof, which is no module"),
        ("name = 'x'\nimport_module(name)", "whose name is not in line 2"),
        ("import_module(f'{name}.rpc')", "whose name is not in line 1"),
    ],
)
def test_import_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, {"plan/route": text})
