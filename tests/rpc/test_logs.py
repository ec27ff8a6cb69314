"""Log lines: their shape, their level, those of libraries, and what they must not tell."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from streamgauge_server import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leaves the logging of the test's process as it was."""
    configuration = structlog.get_config() if structlog.is_configured() else None
    handlers, level = logging.root.handlers, logging.root.level
    levels = {name: logging.getLogger(name).level for name in ("aiosqlite", "alembic", "asyncio", "sqlalchemy")}
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if configuration is not None:
        structlog.configure(**configuration)
    logging.root.handlers, logging.root.level = handlers, level
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)


def configured(level: Any = "info", format: Any = "json", **options: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, format, stream=stream, **options)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_time_level_and_event() -> None:
    stream = configured()
    structlog.get_logger().info("hello", b=1, a="ü\n")
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "b", "a"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["event"], line["a"]) == ("info", "hello", "ü\n")


def test_lines_below_the_level_are_dropped_those_of_libraries_too() -> None:
    stream = configured("warning")
    for logger in (structlog.get_logger(), logging.getLogger("grpc")):
        logger.info("quiet")
        logger.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud", "loud"]


def test_lines_of_libraries_have_the_same_shape_and_chatter_is_left_out() -> None:
    stream = configured()
    logging.getLogger("grpc").error("broke %s", "down")
    logging.getLogger("alembic.runtime").info("running")
    logging.getLogger("sqlalchemy.engine").warning("odd")
    assert [(line["event"], line["level"], line["logger"]) for line in lines(stream)] == [
        ("broke down", "error", "grpc"),
        ("odd", "warning", "sqlalchemy.engine"),
    ]


def test_a_worker_signs_its_lines() -> None:
    stream = configured(worker=2)
    structlog.get_logger().info("hello")
    logging.getLogger("grpc").warning("hello")
    assert [line["worker"] for line in lines(stream)] == [2, 2]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_trace_has_no_values_of_local_variables(format: str) -> None:
    stream = configured(format=format)
    authorization = "hunter" + "2"
    try:
        raise ValueError(f"no more than {len(authorization)}")
    except ValueError as error:
        structlog.get_logger().error("unexpected", exc_info=error)
        logging.getLogger("grpc").exception("unexpected")
    text = stream.getvalue()
    assert text.count("ValueError: no more than 7") == 2
    assert "hunter2" not in text


def test_without_a_terminal_lines_are_json_by_default() -> None:
    stream = configured(format="auto")
    structlog.get_logger().info("hello")
    assert lines(stream)[0]["event"] == "hello"


def test_inside_of_another_program_lines_go_to_its_logging(caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    logs.configure_embedded()
    structlog.stdlib.get_logger("streamgauge.server").warning("hello", a=1)
    assert [(record.name, record.message) for record in caplog.records] == [("streamgauge.server", "hello")]
    assert capsys.readouterr().out == ""


def test_a_program_that_has_configured_structlog_keeps_its_own() -> None:
    seen: list[Any] = []

    def swallow(logger: Any, name: str, event: Any) -> Any:
        seen.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[swallow])
    logs.configure_embedded()
    structlog.get_logger().info("mine")
    assert seen == ["mine"]
