"""Resource names and short texts."""

from __future__ import annotations

import pytest
from streamgauge_server.model.names import SubjectName, id_problem, parse_descriptor, parse_subject, text_problem
from streamgauge_server.model.values import SubjectKind


@pytest.mark.parametrize(
    "name", ["sources/orders", "jobs/a-b_c.~1", "assets/x", "metricTypes/job-types/choices/7", "sources/" + "a" * 128]
)
def test_a_subject_is_its_resource_name(name: str) -> None:
    subject = parse_subject(name)
    assert str(subject) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "orders",
        "sources",
        "sources/",
        "sources//orders",
        "/sources/orders",
        "sources/orders/",
        "sources/a/b",
        "sources/a b",
        "sources/ä",
        "sources/a\n",
        "sources/..",
        "sources/" + "a" * 129,
        "Sources/orders",
        "tokens/x",
        "metricTypes/x",
        "metricTypes/x/choices/",
        "metricTypes/x/columns/1",
    ],
)
def test_anything_else_is_none(name: str) -> None:
    assert parse_subject(name) is None


def test_a_metric_may_hold_slashes() -> None:
    assert parse_descriptor("metricDescriptors/sources/a/b c") == (SubjectKind.SOURCE, "a/b c")
    assert parse_descriptor("metricDescriptors/sources/") is None
    assert parse_descriptor("metricDescriptors/colours/a") is None
    assert parse_descriptor("metricDescriptors/assets/" + "é" * 255) == (SubjectKind.ASSET, "é" * 255)
    assert parse_descriptor("metricDescriptors/assets/" + "é" * 256) is None


def test_the_length_of_a_text_is_counted_in_bytes() -> None:
    assert text_problem("ä" * 127, 255) is None
    assert text_problem("ä" * 128, 255) == "must have at most 255 bytes, has 256"


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x7f", "\x85"])
def test_control_characters_are_refused(text: str) -> None:
    assert text_problem(text, 255) == "must not hold control characters"


def test_an_id_tells_its_length_when_it_is_too_long() -> None:
    assert id_problem("a" * 128) is None
    assert "has 129" in str(id_problem("a" * 129))


def test_subjects_of_different_kinds_differ() -> None:
    assert SubjectName(SubjectKind.SOURCE, "a") != SubjectName(SubjectKind.JOB, "a")
