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
"""Characters of one value: a list of many addresses fits."""


def set_up_logs(settings: Settings, *others: Settings) -> None:
    """Send the program's logs to standard error, in the format and from the level the settings name.

    Whatever part of a line is a secret of these settings, or of `others` (further chains'), is left out, even if a node or a
    library put it there.
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
    """Leaves out what has no value: `tx=None` says nothing."""
    return {key: value for key, value in event.items() if value is not None}


def _in_one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Makes what nodes, contracts and libraries wrote safe: it begins no line of its own and steers no terminal."""
    for key, value in event.items():
        if isinstance(value, str | BaseException):
            event[key] = safe_text(str(value), _LONGEST_VALUE)
    return event


def _without_secrets(renderer: Any, clean: Redactor) -> Any:
    """The renderer, with each finished line cleaned: also of what is in a traceback."""

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return clean(renderer(logger, method, event))

    return render
