"""Log output: to standard error, as key=value, JSON or colored for a terminal, without secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from rebalancer.redact import Redactor
from rebalancer.settings import Settings
from rebalancer.texts import safe_text

__all__ = ["set_up_logs"]

_LONGEST_VALUE = 4_000
"""Maximum length of one value, in characters: a list of many addresses fits."""


def set_up_logs(settings: Settings, *others: Settings) -> None:
    """Send the program's logs to standard error, with the format and the minimum level of the settings.

    Secrets of these settings and of `others` (the settings of other chains) are removed from each line, even if a node
    or a library wrote them.
    """
    style = settings.log_format
    if style == "auto":
        style = "console" if sys.stderr.isatty() else "logfmt"
    renderers: dict[str, Any] = {
        "console": structlog.dev.ConsoleRenderer,
        "logfmt": lambda: structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event"], drop_missing=True
        ),
        "json": structlog.processors.JSONRenderer,
    }
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _without_nothing,
            _in_one_line,
            _without_secrets(renderers[style](), Redactor.of(settings, *others)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _without_nothing(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove keys without a value, such as `tx=None`."""
    return {key: value for key, value in event.items() if value is not None}


def _in_one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape text from nodes, contracts and libraries: it cannot start a new line or control the terminal."""
    for key, value in event.items():
        if isinstance(value, str | BaseException):
            event[key] = safe_text(str(value), _LONGEST_VALUE)
    return event


def _without_secrets(renderer: Any, clean: Redactor) -> Any:
    """The renderer with secrets removed from each finished line, including a traceback."""

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return clean(renderer(logger, method, event))

    return render
