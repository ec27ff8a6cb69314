"""Logging: one line per event on standard error, as JSON or for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock, SystemClock, isoformat

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_Event = MutableMapping[str, Any]
_Processor = Callable[[Any, str, _Event], Any]

_CHATTY = ("alembic", "asyncio", "httpcore", "httpx", "sqlalchemy", "uvicorn")
"""Libraries whose informational lines say nothing to an operator."""


def configure(level: Level, format: Format, *, stream: TextIO | None = None, worker: int | None = None) -> None:
    """Sends all log lines of the process to `stream`, those of libraries too. For programs, not for embedding.

    `stream` is standard error by default. `worker` is the number of this process among several; every line tells it.
    """
    stream = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    before: list[_Processor] = [_Stamp(SystemClock(), worker)]
    rendering: list[_Processor] = (
        # Traces without local variables: among those are the tokens of callers.
        [structlog.processors.format_exc_info, _as_json]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*before, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def configure_embedded() -> None:
    """Hands log lines to the standard library's `logging`, unless the program has configured structlog itself.

    Without this, structlog prints everything: not what somebody wants who starts a server inside of their tests.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


class _Stamp:
    """Puts time, level and event before the fields, and the worker's number where there is one.

    The text of a second is made once: it is most of the work.
    """

    def __init__(self, clock: Clock, worker: int | None) -> None:
        self._clock = clock
        self._worker = {} if worker is None else {"worker": worker}
        self._second = -1
        self._text = ""

    def __call__(self, logger: Any, name: str, event: _Event) -> _Event:
        second, micros = divmod(self._clock.now(), MICROS_PER_SECOND)
        if second != self._second:
            self._second = second
            self._text = isoformat(second * MICROS_PER_SECOND).removesuffix("Z")
        timestamp = f"{self._text}.{micros // 1000:03d}Z"
        level = _LEVEL_NAMES.get(name, name)
        return {"timestamp": timestamp, "level": level, "event": event.pop("event"), **self._worker, **event}


def _as_json(logger: Any, name: str, event: _Event) -> str:
    return _encode(event)


# One encoder for all lines: `json.dumps` with a `default` makes a new one each time, which costs as much as encoding.
_encode = json.JSONEncoder(default=str, check_circular=False).encode
_LEVEL_NAMES = {"warn": "warning", "exception": "error"}
