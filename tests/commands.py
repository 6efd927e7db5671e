"""Runs `rebalancer` inside a test, as a user would at a shell, and gives back all it said."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from rebalancer.cli.main import root

__all__ = ["Ran", "free_port", "run"]


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, as a program reads it."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one error that was told, which must be all there is on standard error but for what was sent before."""
        (line,) = [line for line in self.err.splitlines() if not line.startswith("sent ")]
        if line.startswith("{"):
            reported = json.loads(line)
            assert reported.keys() == {"error", "sentence", "exit_code"}
            assert reported["exit_code"] == self.code
            return str(reported["sentence"])
        assert line.startswith("error: "), line
        assert line.endswith("."), line
        return line.removeprefix("error: ")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    """Run a command to its end."""
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as ended:
            root.main(args=[str(argument) for argument in arguments], prog_name="rebalancer")
    finally:
        structlog.reset_defaults()  # or later logs would go to this test's standard error
    message = capsys.readouterr()
    return Ran(int(ended.value.code or 0), message.out, message.err)


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
