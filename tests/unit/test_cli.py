"""The command line without a chain: help, defaults, what is refused, and how failures end."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog

from rebalancer import demo
from rebalancer.chain.system import Role
from rebalancer.cli import Options, session
from rebalancer.cli.format import amount, console, pairs, percent, plain, usd
from rebalancer.cli.main import root
from rebalancer.cli.remedies import sentence
from rebalancer.cli.session import read_chains
from rebalancer.cli.tuning import RunOptions, reloaded
from rebalancer.errors import ContractReverted, RebalancerError, RpcRejected, RpcTimeout
from rebalancer.reasons import Reason
from rebalancer.settlement import Price
from rebalancer.words import counted, span, utc
from tests.commands import run

HEAVY = (
    "scipy",
    "numpy",
    "matplotlib",
    "pydantic",
    "eth_abi",
    "eth_account",
    "rich",
    "structlog",
    "web3",
)


@pytest.fixture(autouse=True)
def no_listener(only_own_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REBALANCER_KEEPER__LISTEN", "off")  # others may test at the same time


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, by the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, *path, name)


ALL = dict(commands(root))
LEAVES = [path for path, command in ALL.items() if not isinstance(command, click.Group)]


# Help


def test_commands_are_those_of_the_manual() -> None:
    assert set(LEAVES) == {
        ("demo",),
        ("devnet",),
        ("deploy",),
        ("prices",),
        ("admin", "show"),
        ("admin", "call"),
        ("admin", "grant"),
        ("admin", "revoke"),
        ("admin", "hand-over"),
        ("admin", "execute"),
        ("admin", "cancel"),
        ("vault", "create"),
        ("vault", "status"),
        ("vault", "position"),
        ("vault", "deposit"),
        ("vault", "withdraw"),
        ("vault", "claim"),
        ("vault", "sync"),
        ("vault", "set-targets"),
        ("vault", "set-bands"),
        ("plan",),
        ("pool", "snapshot"),
        ("pool", "retry"),
        ("keeper", "run"),
        ("replay",),
        ("status",),
        ("fleet", "worker"),
        ("fleet", "leader"),
        ("tx", "list"),
        ("tx", "cancel"),
        ("tx", "clear"),
        ("doctor",),
    }


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_explains_every_option_and_its_default(capsys: pytest.CaptureFixture[str], path: tuple[str, ...]) -> None:
    ran = run(capsys, *path, "--help")
    assert (ran.code, ran.err) == (0, "")
    text = " ".join(ran.out.split())
    for option in ALL[path].params:
        if isinstance(option, click.Argument):
            assert f"{option.metavar} is " in text, f"{path} {option.name}"
            continue
        assert isinstance(option, click.Option)
        assert option.help, f"{path} {option.name}"
        assert max(option.opts, key=len) in text
        given = option.default is not None and option.default != () and not option.is_flag
        if given:
            assert f"[default: {option.default}" in text, f"{path} {option.name}"


def test_every_subcommand_has_the_help_that_the_list_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = run(capsys, "--help").out
    for name in root.list_commands(click.Context(root)):
        assert re.search(rf"^  {name} +\S+", listed, re.MULTILINE)


def test_json_is_offered_wherever_a_program_would_read(capsys: pytest.CaptureFixture[str]) -> None:
    without = {path for path in LEAVES if "as_json" not in {p.name for p in ALL[path].params}}
    # A demo's record is the file it writes; a worker has nothing to say but its log.
    assert without == {("demo",), ("fleet", "worker")}


def test_no_option_takes_a_key_or_a_password() -> None:
    names = {option for command in ALL.values() for p in command.params for option in p.opts}
    assert not [name for name in names if re.search("key|pass|secret|mnemonic", name)]


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version").out == "rebalancer 0.1.0\n"


def test_importing_the_command_line_is_cheap() -> None:
    """What takes long to load is loaded by the commands that need it."""
    code = f"import sys, rebalancer.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_module_runs_as_the_program_does() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "rebalancer", "--version"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.returncode, ran.stdout) == (0, "rebalancer 0.1.0\n")


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vault", "deposit"), "Give either --shares N, or --token SYMBOL and --amount X."),
        (("vault", "deposit", "--shares", "1", "--token", "USDC"), "Give either --shares N"),
        (("vault", "deposit", "--token", "USDC"), "--token SYMBOL and --amount X"),
        (("vault", "withdraw"), "Give either --shares N or --all."),
        (("vault", "withdraw", "--all", "--shares", "1"), "Give either --shares N or --all."),
        (("vault", "status", "--vault", "0x12"), "'0x12' is not an address"),
        (
            ("vault", "status", "--vault", "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756CC2"),
            "do not match its checksum",
        ),
        (("vault", "create"), "Missing option '--spec'"),
        (("vault", "claim", "--amount", "1"), "--amount needs --token."),
        (("vault", "set-targets"), "Missing option '--target'"),
        (("vault", "deposit", "--shares", "1", "--account", "20"), "is not in the range 0<=x<=19"),
        (("devnet", "--speed", "-1"), "is not in the range"),
        (("devnet", "--rate-assets", "--fork"), "--rate-assets creates its own pools"),
        (("devnet", "--rate-assets", "--pool", "p.json"), "--rate-assets creates its own pools"),
        (("demo", "--band-bps", "0"), "0 is not in the range"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)
def test_misuse_is_told_with_the_usage(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    ran = run(capsys, *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Usage: rebalancer" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--config", "none.toml", "vault", "status"), 17, "none.toml: the file does not exist"),
        (
            ("--chain-id", "0", "vault", "status"),
            17,
            "chain_id on the command line: 0 is not valid",
        ),
        (("--rpc-url", "ftp://host", "plan"), 17, "must start with http:// or https://"),
        (("--rpc-url", "http://127.0.0.1:1", "vault", "status"), 10, "cannot be reached"),
        (("--rpc-url", "http://127.0.0.1:1", "plan"), 10, "cannot be reached"),
        (("--rpc-url", "http://127.0.0.1:1", "keeper", "run"), 10, "cannot be reached"),
        (
            ("--chain-id", "1", "vault", "claim", "--token", "ETH", "--account", "0"),
            15,
            "must not sign for chain 1: use a keystore",
        ),
        (
            ("--chain-id", "1", "vault", "deposit", "--shares", "1", "--vault", "0x" + 40 * "1"),
            15,
            "set keeper.keystore",
        ),
        (("demo", "--tape", "nowhere"), 1, "There is no tape in nowhere: give a folder"),
        (
            ("demo", "--pool", "nowhere.json"),
            12,
            "nowhere.json cannot be used (the file cannot be read",
        ),
        (("devnet", "--tape", "nowhere"), 1, "There is no tape in nowhere: give a folder"),
        (("demo", "--from", "yesterday"), 1, "'yesterday' is not a date"),
    ],
)
def test_failure_is_one_sentence_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    ran = run(capsys, *arguments)
    assert message in ran.sentence
    assert (ran.code, ran.out) == (code, "")


def test_rpc_address_is_never_shown_with_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "--rpc-url", "http://user:secret@127.0.0.1:1/v3/hidden", "plan")
    assert "http://127.0.0.1:1 cannot be reached" in ran.err
    assert "secret" not in ran.err
    assert "hidden" not in ran.err


# Endings


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command fail in the middle."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(session.Session, "open", fail)


def test_no_command_leaves_a_core_dump(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda *limit: limits.append(limit))

    run(capsys, "keeper", "run")

    assert limits == [(resource.RLIMIT_CORE, (0, 0))]


def test_debug_shows_where_a_failure_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RpcTimeout("http://node", 3))
    with pytest.raises(RpcTimeout):
        root.main(args=["--debug", "vault", "status"], prog_name="rebalancer")


def test_mistake_of_the_program_exits_70_and_says_where_to_look(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    ran = run(capsys, "vault", "status")
    assert ran.code == 70
    assert "ZeroDivisionError: division by zero" in ran.sentence
    assert "--debug" in ran.sentence
    with pytest.raises(ZeroDivisionError):
        root.main(args=["--debug", "vault", "status"], prog_name="rebalancer")


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (OSError(28, "No space left on device"), "A file or a connection cannot be used (No space"),
        (PermissionError(13, "Permission denied", "day.svg"), "day.svg cannot be used (Permission"),
        (OSError("told in words"), "A file or a connection cannot be used (told in words)"),
    ],
)
def test_what_the_operating_system_refuses_is_no_mistake_of_the_program(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    reported: str,
) -> None:
    failing(monkeypatch, error)
    ran = run(capsys, "vault", "status")
    assert ran.sentence.startswith(reported)
    assert (ran.code, ran.out) == (26, "")


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "0 vaults"), (1, "1 vault"), (2, "2 vaults"), (1_200, "1,200 vaults")],
)
def test_one_of_something_is_not_many(number: int, message: str) -> None:
    assert counted(number, "vault") == message


@pytest.mark.parametrize("group", ["admin", "fleet", "keeper", "pool", "tx", "vault"])
def test_help_of_a_group_says_the_whole_of_what_each_command_is_for(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run(capsys, group, "--help")

    _, _, listed = ran.out.partition("Commands:")
    assert listed.strip()
    assert "..." not in listed
    found = root.get_command(click.Context(root), group)
    assert isinstance(found, click.Group)
    shown = " ".join(listed.split())
    for name, command in found.commands.items():
        first = " ".join(str(command.help).split("\n\n")[0].split())
        assert f"{name} {first}" in shown


def test_hash_that_is_longer_than_a_line_is_printed_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is broken up cannot be copied."""
    name = "0x" + 32 * "ab"
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = console()
    assert out.width == 60

    out.print(f"transaction {name}, and so many words that they need a second line")
    rows = pairs()
    rows.add_row("block", f"177 ({name})")
    out.print(rows)
    out.print("words that need more than the sixty columns there are break between words")

    printed = capsys.readouterr().out
    assert printed.count(name) == 2
    assert "break \nbetween words" in printed


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (RpcTimeout("http://node", 3), "RpcTimeout", 10),
        (OSError(28, "No space left on device"), "SystemRefused", 26),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", 70),
    ],
)
def test_errors_are_json_where_json_was_asked_for(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: str,
    code: int,
) -> None:
    failing(monkeypatch, error)
    ran, plainly = (run(capsys, "vault", "status", *option) for option in (("--json",), ()))
    reported = json.loads(ran.err)
    assert (reported["error"], reported["exit_code"], ran.code, ran.out) == (kind, code, code, "")
    assert reported["sentence"] == plainly.sentence


def test_a_reader_who_goes_away_ends_a_command_quietly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, BrokenPipeError(32, "Broken pipe"))
    ran = run(capsys, "vault", "status")
    assert (ran.code, ran.err) == (1, "")


def test_abandoned_exits_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    ran = run(capsys, "vault", "status")
    assert (ran.code, ran.err) == (130, "Aborted.\n")

    stop = KeyboardInterrupt()
    stop.add_note("It may still be mined: approve to 0x12, transaction 0x34.")
    failing(monkeypatch, stop)
    ran = run(capsys, "vault", "status")
    assert ran.err == "Aborted. It may still be mined: approve to 0x12, transaction 0x34.\n"


def test_every_exit_code_is_in_the_manual(repo_root: Path) -> None:
    text = (repo_root / "docs" / "operating.md").read_text()
    table = text.split("| exit code |", 1)[1].split("\n\n", 1)[0]
    reported: set[int] = set()
    for cell in re.findall(r"^\| ([\d, to]+) \|", table, re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"\d+", cell)]
        reported |= set(range(numbers[0], numbers[-1] + 1))

    def codes(kind: type[RebalancerError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(each) for each in kind.__subclasses__()))

    assert reported == codes(RebalancerError) | {0, 2, 70, 130}


def test_a_terminal_without_unicode_is_no_mistake_of_the_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "rebalancer", "--chain-id", "0", "doctor"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.startswith("? settings  chain_id on the command line")


@pytest.mark.parametrize("command", [("plan",), ("replay", "day.jsonl")])
def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    ran = run(capsys, "--rpc-url", "http://127.0.0.1:1", *command, "--picture", "x.pdf")
    assert ran.sentence == "Cannot draw x.pdf: name the chart .png or .svg."
    assert (ran.code, ran.out) == (1, "")


def test_two_demos_do_not_write_into_one_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with demo._alone_in(tmp_path):
        ran = run(capsys, "demo", "--out", tmp_path)
    assert "Another demo writes into" in ran.sentence
    assert "name another folder with --out" in ran.sentence
    assert ran.code == 11
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_settings_that_are_taken_over_are_logged_with_what_they_were(tmp_path: Path) -> None:
    file = tmp_path / "rebalancer.toml"
    file.write_text("[keeper]\nmax_fee_gwei = 50\noutbox_file = 'a.sqlite'\n")
    options = Options()
    (before,) = read_chains(options)
    file.write_text("[keeper]\nmax_fee_gwei = 20\noutbox_file = 'b.sqlite'\n")

    with structlog.testing.capture_logs() as logs:
        tunings = reloaded(options, RunOptions(), {31337: before})
    structlog.reset_defaults()

    assert tunings[31337].options.fee_cap_wei == 20 * 10**9
    assert [(line["event"], line["chain_id"]) for line in logs] == [
        *(("restart_needed", 31337), ("setting_changed", 31337)),
    ]
    reported = {name: logs[1][name] for name in ("setting", "before", "after")}
    assert reported == {"setting": "keeper.max_fee_gwei", "before": "50", "after": "20"}


# Sentences and numbers


def test_every_refusal_of_a_contract_says_what_to_do() -> None:
    known = sentence(ContractReverted("CooldownActive", {"until": 7}))
    assert known == (
        "The contract refused with CooldownActive(until=7): no state changed; "
        "see the contract's documentation of this error."
    )
    short = ContractReverted("ERC20InsufficientAllowance", {"allowance": 1, "needed": 2})
    assert sentence(short).endswith("needed=2): approve at least the needed amount and try again.")


@pytest.mark.parametrize(
    ("raw", "decimals", "most", "text"),
    [
        (0, 18, None, "0"),
        (1, 18, None, "0.000000000000000001"),
        (1_234_567_890_000, 6, None, "1,234,567.89"),
        (10**18 + 1, 18, 4, "1.0000…"),
        (15 * 10**17, 18, 4, "1.5"),
        (-15 * 10**17, 18, None, "-1.5"),
        (42, 0, None, "42"),
    ],
)
def test_amounts_are_exact_or_marked(raw: int, decimals: int, most: int | None, text: str) -> None:
    assert amount(raw, decimals, most) == text


def test_money_and_parts_are_rounded_to_the_nearest() -> None:
    assert usd(1_994_999_999_999_999_999) == "$1.99"
    assert usd(1_995_000_000_000_000_000) == "$2.00"
    assert usd(-1_234_567 * 10**18) == "-$1,234,567.00"
    assert percent(399_999 * 10**12) == "40.00 %"
    assert percent(-5 * 10**13, 3) == "-0.005 %"
    assert (percent(-(10**13)), percent(10**13, plus=True), usd(-(10**13))) == (
        *("0.00 %", "0.00 %"),
        "$0.00",
    )
    assert (percent(10**16, plus=True), percent(-(10**16), plus=True)) == ("+1.00 %", "-1.00 %")


def test_instants_and_durations_are_told_in_words() -> None:
    assert utc(1_680_734_111) == "2023-04-05 22:35:11 UTC"
    assert [span(s) for s in (-5, 59, 60, 90, 7_200, 7_260, 86_400, 172_798)] == [
        *("0 s", "59 s", "1 min", "1 min 30 s", "2 h", "2 h 1 min", "1 d", "1 d 23 h 59 min"),
    ]
    reported = ContractReverted("E", {"deadline": 1_680_734_111, "delaySeconds": 172_798, "minimum": 90})
    assert str(reported) == (
        "The contract refused with E(deadline=1680734111 (2023-04-05 22:35:11 UTC), "
        "delaySeconds=172798 (1 d 23 h 59 min), minimum=90)."
    )


def test_json_has_whole_numbers_as_strings() -> None:
    value = {"a": 2**70, "b": (True, None, 0.5), "c": Price(1, 2, 3), "d": Reason.IN_BAND}
    assert plain(value) == {
        "a": "1180591620717411303424",
        "b": [True, None, "0.5"],
        "c": {"lo_e18": "1", "hi_e18": "2", "primary_e18": "3", "fault": "None"},
        "d": "InBand",
    }
    assert plain(b"\x01\xff") == "0x01ff"
    assert plain({"role": Role.OWNER}) == {"role": "OWNER"}


def test_failure_that_repeats_a_secret_is_told_without_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "Zx81kQ9vWm3P"

    def failing(*_: object) -> None:
        raise RpcRejected("eth_call", 1, f"no project {secret}")

    monkeypatch.setattr("rebalancer.cli.tx.read_attempts", failing)
    monkeypatch.setenv("REBALANCER_RPC_URL", f"https://node.example/{secret}")
    ran = run(capsys, "tx", "list")

    assert ran.code == 10
    assert "no project (secret)" in ran.sentence
