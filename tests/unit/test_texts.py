"""Texts of strangers: what is left of them, at every door they come in by, and that nothing reads them as markup."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import rebalancer
from rebalancer.chain.deployment import DeployedToken, Deployment
from rebalancer.chain.interfaces import interface
from rebalancer.cli.format import console
from rebalancer.cli.logs import set_up_logs
from rebalancer.errors import NodeBinaryMissing, RpcRejected
from rebalancer.settings import Settings
from rebalancer.texts import LONGEST_SYMBOL, LONGEST_TEXT, nests_deeper, safe_json, safe_text
from rebalancer.venues import load
from tests.unit.pairs import A, B, pair

EVIL = "\x1b]8;;https://evil.example\x1b\\US\u202eDC\u200b\x1b[31m\nerror: all is lost\u2028\x00[/nope]"
SAFE = "]8;;https://evil.example\\USDC[31m error: all is lost [/nope]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (EVIL, SAFE),
        ("two\r\n\tlines \x85 three", "two lines three"),
        ("a\u202e\u2066b\u200d\ufe0f\u3164c\ufeff", "abc"),
        ("\ud800\ue000\U000e0041\u0378", ""),
        ("Zürich ₿ 日本 ½ [bold]", "Zürich ₿ 日本 ½ [bold]"),
        ("", ""),
    ],
)
def test_what_is_not_drawn_is_left_out(text: str, left: str) -> None:
    assert safe_text(text) == left


@given(st.text(max_size=700), st.integers(2, 400))
def test_text_is_one_line_that_is_drawn_and_fits(text: str, most: int) -> None:
    safe = safe_text(text, most)

    assert len(safe) <= most
    assert safe.isprintable()
    assert safe == safe.strip()
    assert safe_text(safe, most) == safe


def test_text_of_megabytes_is_cut_and_marked() -> None:
    assert safe_text("x" * 5_000_000) == "x" * (LONGEST_TEXT - 1) + "…"
    assert safe_text("\x00" * 5_000_000) == "…"


def test_json_is_safe_all_through() -> None:
    assert safe_json({"a\x1b": [EVIL, 1, None, True]}) == {"a": [SAFE, 1, None, True]}


# Doors


def test_sentence_of_an_error_is_one_line() -> None:
    refused = RpcRejected("eth_call", -32000, f"no\n{EVIL}" + "y" * 1_000)

    assert refused.message.startswith(f"no {SAFE}")
    assert len(refused.message) == LONGEST_TEXT
    assert str(refused).isprintable()
    assert str(NodeBinaryMissing(EVIL)).startswith(f"The program {SAFE} is not on PATH")


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("raw", "text"),
    [(EVIL.encode(), SAFE), (b"US\xffDC\xc0", "US\ufffdDC\ufffd"), (b"USDC", "USDC")],
)
def test_string_that_a_contract_answers_is_safe(raw: bytes, text: str) -> None:
    data = word(32) + word(len(raw)) + raw + bytes(-len(raw) % 32)
    shape = interface("IERC20Metadata").functions["symbol"]

    assert shape.decode(data) == text


def test_symbols_of_an_addresses_file_are_safe(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    Deployment(1, tokens=(DeployedToken(EVIL + "z" * 99, "0x" + "11" * 20, 6),)).save(file)
    (token,) = Deployment.load(file).tokens

    assert token.symbol == SAFE[: LONGEST_SYMBOL - 1] + "…"


def test_symbols_of_a_pool_file_are_safe() -> None:
    raw = pair(A, B, 9, 1, 1).to_json()
    raw["token0"] = {**A.to_json(), "symbol": EVIL}

    assert load(raw).tokens[0].symbol == SAFE[: LONGEST_SYMBOL - 1] + "…"


@pytest.fixture
def plain_logs() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.shutdown([])


@pytest.mark.parametrize("style", ["console", "logfmt", "json"])
def test_logged_value_begins_no_line_and_steers_no_terminal(
    style: Any, capsys: pytest.CaptureFixture[str], plain_logs: None
) -> None:
    set_up_logs(Settings(log_format=style))
    structlog.get_logger().warning("refused", why=EVIL, error=ValueError(EVIL))
    (line,) = capsys.readouterr().err.splitlines()

    assert "\u202e" not in line
    assert "\x1b]" not in line
    assert "\x1b[31m error" not in line


def test_shown_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[/nope] [link=https://evil.example]x[/link] :warning:")
    assert capsys.readouterr().out == "[/nope] [link=https://evil.example]x[/link] :warning:\n"


# The rule, for all that is yet to be written


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(Path(rebalancer.__file__).parent.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_no_console_reads_markup_and_no_text_is_written_in_it() -> None:
    found = []
    for path, tree in sources():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name("Console"), keywords=given):
                    message = {one.arg: ast.unparse(one.value) for one in given}
                    if (message.get("markup"), message.get("emoji")) != ("False", "False"):
                        found.append((path.name, node.lineno, "a console that reads markup"))
                case ast.Call(func=ast.Attribute(attr="from_markup")):
                    found.append((path.name, node.lineno, "markup"))
                case ast.Constant(str() as text) if "[/]" in text or "[bold" in text:
                    found.append((path.name, node.lineno, text))
                case ast.Call(func=ast.Name("Panel"), keywords=given):
                    # Rich reads markup in a panel's titles whatever the console does.
                    for one in given:
                        if one.arg in ("title", "subtitle") and not isinstance(one.value, ast.Constant):
                            shown = ast.unparse(one.value)
                            if not shown.startswith("Text(") and shown != "subtitle":
                                found.append((path.name, node.lineno, shown))
                case _:
                    pass

    assert found == []


def test_no_chart_reads_mathematics() -> None:
    pytest.importorskip("matplotlib")
    from rebalancer.lab.chart import STYLE

    assert STYLE["text.parse_math"] is False
    assert "rebalancer.lab.chart" in sys.modules


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("[" * 32 + "]" * 32, False),
        ("[" * 33 + "]" * 33, True),
        ("[" * 200_000, True),
        ('{"a":' * 33 + "1" + "}" * 33, True),
        ("[" + ",".join(["[[]]"] * 1_000) + "]", False),
        (json.dumps(["[" * 500, "]" * 500]), False),
        ('["' + "]" * 500 + '",' + "[" * 40, True),  # what a string closes is closed for nobody
        (json.dumps(["\\", '"', "[" * 99]) + "[" * 40, True),
        ('"' + "[" * 40, True),  # a string without an end
    ],
)
def test_nesting_is_told_without_parsing(text: str, deep: bool) -> None:
    assert nests_deeper(text.encode(), 32) is deep


def test_a_nested_answer_ends_no_process_whatever_pythons_limit_is(tmp_path: Path) -> None:
    path = tmp_path / "nested.json"
    path.write_text("[" * 200_000)
    program = (
        "import sys; sys.setrecursionlimit(100_000)\n"
        "from rebalancer.files import Excess, parse_json\n"
        f"try: parse_json(open({str(path)!r}).read())\n"
        "except Excess as excess: print(excess)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (0, "it is nested more than 32 deep\n"), ran.stderr
