"""What writes check before they know any subject or metric."""

from __future__ import annotations

import pytest
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind, ValueType
from streamgauge_server.services.write_checks import (
    INVALID_TIME,
    Refusals,
    batch_error,
    clip,
    start_problem,
    time_problem,
    value_problem,
)

NOW = 1_000_000_000_000
LIMITS = Limits()


@pytest.mark.parametrize("time", [0, 1, NOW, NOW + 600_000_000])
def test_good_moments(time: int) -> None:
    assert time_problem(time, NOW, LIMITS) is None


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        (-1, "must not be before 1970-01-01T00:00:00Z"),
        (INVALID_TIME, "is not a valid timestamp: nanos must be between 0 and 999,999,999"),
        (253_402_300_800_000_000, "must not be after the year 9999"),
        (2**64, "must not be after the year 9999"),
        (
            NOW + 600_000_001,
            "must be at most 600 s ahead of the server's clock (1970-01-12T13:46:40Z), is 600.000001 s ahead",
        ),
    ],
)
def test_bad_moments(time: int, problem: str) -> None:
    assert time_problem(time, NOW, LIMITS) == problem


def test_a_start_is_not_after_the_first_sample() -> None:
    assert start_problem(5, 5) is None
    assert start_problem(6, 5) == "must not be after the moment of the sample"
    assert start_problem(-1, 5) == "must not be before 1970-01-01T00:00:00Z"
    assert start_problem(INVALID_TIME, 5) == "is not a valid timestamp: nanos must be between 0 and 999,999,999"


def test_texts_are_measured_in_bytes() -> None:
    limits = Limits(max_text_bytes=4)
    assert value_problem("éé", limits) is None
    assert value_problem("ééx", limits) == "must have at most 4 bytes, has 5"
    assert value_problem("abcd", limits) is None
    assert value_problem("abcde", limits) == "must have at most 4 bytes, has 5"


@pytest.mark.parametrize("text", ["", "x" * 63, "x" * 255, "é" * 127])
def test_what_is_short_is_not_cut(text: str) -> None:
    assert clip(text) == text


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "👋" * 64, "x" * 100_000])
def test_what_is_long_is_cut_at_a_character(text: str) -> None:
    cut = clip(text)
    assert text.startswith(cut)
    assert 252 <= len(cut.encode()) <= 255


def test_a_batch_error_names_every_item_and_is_always_a_bad_argument() -> None:
    refusals = Refusals()
    refusals.add_unknown(1, SubjectName(SubjectKind.JOB, "j"))
    refusals.add(2, "sources/a", "time", "is bad")
    error = batch_error(refusals.errors, "observations")
    assert error.reason == Reason.INVALID_FIELD
    assert error.metadata == {"field": "observations[1].subject"}
    assert [(v.field, v.reason) for v in error.violations] == [
        ("observations[1].subject", Reason.JOB_NOT_FOUND),
        ("observations[2].time", Reason.INVALID_FIELD),
    ]
    assert error.message.endswith("(and 1 more)")


def test_a_batch_error_that_begins_with_a_wrong_type_tells_the_types() -> None:
    refusals = Refusals()
    refusals.add_type_mismatch(3, "sources/a", 'values["x"]', "x", ValueType.INT64, ValueType.STRING)
    error = batch_error(refusals.errors, "observations")
    assert error.reason == Reason.VALUE_TYPE_MISMATCH
    assert error.metadata == {"metric": "x", "expected": "INT64", "actual": "STRING"}
